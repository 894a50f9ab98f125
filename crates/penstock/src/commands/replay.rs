//! `penstock replay`

use std::io::Write as _;
use std::time::Duration;

use penstock_daemon::control::MailId;
use penstock_daemon::control::replay::{ReplayPage, ReplayRequest, Which};
use penstock_daemon::control::types::Refused;
use serde::Serialize;

use super::times::{Day, moment};
use super::write_json;
use crate::args::Replay;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::text::Screen;
use crate::text::human::{count, counted, moment as shown, plain, size};
use crate::text::keys::Keys;
use crate::text::progress::Progress;

/// Messages with which it could not be done are named so far.
const REFUSED_SHOWN: usize = 20;
/// How a time may be given.
const TIME_HELP: &str = "Such as 06:00, '2026-03-01 06:00' or 2026-03-01T06:00:00Z.";

/// What all pages together came to.
#[derive(Debug, Default, Serialize)]
struct Sum {
    dry_run: bool,
    messages: u64,
    bytes: u64,
    recipients: u64,
    undated: u64,
    /// When the first of all kept mail was delivered, as far as it was asked for and is known.
    oldest_unix_ms: Option<u64>,
    resumed_at: Option<MailId>,
    /// The message that asks the server for a report that it arrives.
    asks: Option<MailId>,
    /// Where it was stopped; the same command goes on there.
    next: Option<MailId>,
    refused: Vec<Refused>,
    unreachable: Vec<String>,
}

impl Sum {
    fn add(&mut self, page: ReplayPage) {
        self.messages += page.messages;
        self.bytes += page.bytes;
        self.recipients += page.recipients;
        self.undated += page.undated;
        self.oldest_unix_ms = self.oldest_unix_ms.into_iter().chain(page.oldest_unix_ms).min();
        self.resumed_at = self.resumed_at.or(page.resumed_at);
        self.asks = self.asks.or(page.asks);
        self.next = page.next;
        self.refused.extend(page.refused);
        for volume in page.unreachable {
            if !self.unreachable.contains(&volume) {
                self.unreachable.push(volume);
            }
        }
    }
}

pub(super) async fn run(client: &Client, asked: Replay, screen: &mut Screen) -> Result<(), Failure> {
    let json = asked.daemon.json;
    let mut request = request(asked)?;
    if !json && !request.dry_run {
        writeln!(screen, "{}", before(request.as_attachment))?;
        screen.flush()?;
    }
    let mut sum = Sum { dry_run: request.dry_run, ..Sum::default() };
    let done = pages(client, &mut request, &mut sum, json).await;
    if done.is_err() && request.below.is_none() {
        // Not a single page came.
        return done;
    }
    if json {
        write_json(&sum, screen)?;
    } else {
        tell(&sum, &request, screen)?;
    }
    screen.flush()?;
    match done {
        Ok(()) if sum.refused.is_empty() && sum.unreachable.is_empty() && sum.next.is_none() => Ok(()),
        Ok(()) => Err(Failure::Silent(Exit::Failed)),
        Err(failure) => Err(failure),
    }
}

fn request(asked: Replay) -> Result<ReplayRequest, Failure> {
    let Replay {
        ids,
        mailbox,
        domain,
        database,
        all: _,
        from,
        until,
        as_attachment,
        dry_run,
        again,
        reason,
        ..
    } = asked;
    let time = |option: &str, text: Option<String>| {
        text.map(|text| moment(option, &text, Day::Last, TIME_HELP)).transpose()
    };
    let (from_unix_ms, until_unix_ms) = (time("--from", from)?, time("--until", until)?);
    if from_unix_ms.zip(until_unix_ms).is_some_and(|(from, until)| from >= until) {
        let message = "--until is not after --from: nothing lies between";
        return Err(Failure::new(Exit::Usage, "PS-D308", message, TIME_HELP));
    }
    let which = match (mailbox, domain, database) {
        (Some(mailbox), ..) => Which::Mailbox(mailbox),
        (_, Some(domain), _) => Which::Domain(domain),
        (.., Some(database)) => Which::Database(database),
        _ if !ids.is_empty() => Which::Ids(ids),
        _ => Which::All,
    };
    Ok(ReplayRequest {
        which,
        from_unix_ms,
        until_unix_ms,
        as_attachment,
        dry_run,
        position: None,
        below: None,
        again,
        reason,
    })
}

/// Page by page, until there is no more or somebody has seen enough.
async fn pages(
    client: &Client,
    request: &mut ReplayRequest,
    sum: &mut Sum,
    json: bool,
) -> Result<(), Failure> {
    let mut progress = Progress::new("replaying", json);
    let keys = Keys::take();
    loop {
        let page = client.replay(request).await?;
        let next = page.next;
        request.below = Some(page.below);
        sum.add(page);
        progress.so_far(&format!("{}, {}", counted(sum.messages, "message"), size(sum.bytes)));
        request.position = next;
        request.again = false;
        if next.is_none() || keys.end_within(Duration::ZERO) {
            return Ok(());
        }
    }
}

/// What has to be known before it begins.
const fn before(as_attachment: bool) -> &'static str {
    if as_attachment {
        "Each message goes as an attachment of a new one from postmaster, so that no server takes it for one it has had."
    } else {
        "Exchange discards, without a word, what it has taken in the last days. If messages do not appear in a mailbox\n\
         that was put back to an older state, replay them with --as-attachment."
    }
}

fn tell(sum: &Sum, request: &ReplayRequest, screen: &mut Screen) -> Result<(), Failure> {
    let what = format!(
        "{} ({}) to {}",
        counted(sum.messages, "message"),
        size(sum.bytes),
        counted(sum.recipients, "recipient")
    );
    if let Some(at) = sum.resumed_at {
        writeln!(
            screen,
            "It went on at {at}, where the same replay was cut before; --again would begin anew."
        )?;
    }
    match (sum.dry_run, request.as_attachment) {
        (true, _) => writeln!(screen, "Would go out once more: {what}. Nothing was done.")?,
        (false, false) => {
            writeln!(screen, "To be delivered once more: {what}; `penstock watch` shows how far that is.")?;
        }
        (false, true) => {
            writeln!(screen, "Queued as attachments: {what}; `penstock watch` shows how far that is.")?;
        }
    }
    if let Some(id) = sum.asks {
        writeln!(
            screen,
            "{id} asks the server for a report that it arrives: `penstock show {id}` tells whether it came, and \
             `penstock status` if not."
        )?;
    }
    if sum.undated > 0 {
        let of = counted(sum.undated, "message");
        writeln!(screen, "Among them {of} of which it is not known when they were delivered.")?;
    }
    match (sum.oldest_unix_ms, request.from_unix_ms) {
        (Some(oldest), Some(from)) if from < oldest => writeln!(
            screen,
            "Not all of the time asked for is there: the oldest mail that is kept was delivered {}.",
            shown(oldest)
        )?,
        (Some(oldest), _) => {
            writeln!(screen, "The oldest mail that is kept was delivered {}.", shown(oldest))?;
        }
        (None, _) if sum.dry_run => {
            writeln!(screen, "When the oldest mail that is kept was delivered is not known.")?;
        }
        (None, _) => {}
    }
    for volume in &sum.unreachable {
        writeln!(screen, "What is on the {} was left out: it cannot be used now.", plain(volume))?;
    }
    for refused in sum.refused.iter().take(REFUSED_SHOWN) {
        writeln!(screen, "{}: {}", refused.id, plain(&refused.error.to_string()))?;
    }
    if let Some(more) = sum.refused.len().checked_sub(REFUSED_SHOWN).filter(|more| *more > 0) {
        writeln!(screen, "and {} more; --json has them all", count(more as u64))?;
    }
    if let Some(next) = sum.next {
        writeln!(screen, "It was stopped at {next}; the same command goes on there.")?;
    }
    Ok(())
}
