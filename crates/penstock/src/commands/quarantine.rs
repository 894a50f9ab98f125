//! `penstock quarantine`: what is held for the operator, and what can be done about it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use penstock_daemon::control::MailId;
use penstock_daemon::control::quarantine::{BounceRequest, HeldFilter, HeldPage, HeldRow};
use penstock_daemon::control::types::{
    ActionResult, IDS_MAX, MessageView, PAGE_ROWS_MAX, Refused, Selection,
};
use serde::Serialize;

use super::queue::sender;
use super::{acted, export, write_json};
use crate::args::{Held, HeldOnes, Quarantine};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::text::human::{count, counted, plain, since, size};
use crate::text::progress::Progress;
use crate::text::{Cell, Column, Screen, Style, Table};

pub(super) async fn run(client: &Client, asked: Quarantine, screen: &mut Screen) -> Result<(), Failure> {
    let json = asked.daemon().json;
    match asked {
        Quarantine::List { held, limit, .. } => list(client, held, limit, json, screen).await,
        Quarantine::Retry { which, .. } => retry(client, which, json, screen).await,
        Quarantine::Export { dir, which, reason, .. } => {
            write_out(client, &dir, which, reason, json, screen).await
        }
        Quarantine::Bounce { ids, force, reason, .. } => {
            bounce(client, ids, force, reason, json, screen).await
        }
    }
}

fn filter(domain: Option<String>, said: Option<String>) -> HeldFilter {
    HeldFilter { domain, said, from: None, limit: PAGE_ROWS_MAX }
}

async fn list(
    client: &Client,
    held: Held,
    mut left: u64,
    json: bool,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let mut filter = filter(held.domain, held.said);
    let mut all = HeldPage::default();
    // As many as were asked for; what is held is for people to look at.
    loop {
        filter.limit = u32::try_from(left).unwrap_or(u32::MAX).min(PAGE_ROWS_MAX);
        let page = client.held(&filter).await?;
        left = left.saturating_sub(page.rows.len() as u64);
        all.rows.extend(page.rows);
        (all.now_unix_ms, all.next, all.unreachable) = (page.now_unix_ms, page.next, page.unreachable);
        match page.next {
            Some(next) if left > 0 => filter.from = Some(next),
            _ => break,
        }
    }
    if json {
        return write_json(&all, screen);
    }
    let mut table = Table::new([
        Column::left("ID"),
        Column::right("HELD"),
        Column::right("SIZE"),
        Column::yielding("FROM"),
        Column::yielding("FOR"),
        Column::left("WHY"),
        Column::yielding("SAID"),
    ]);
    for row in &all.rows {
        table.row(cells(row, all.now_unix_ms));
    }
    if all.rows.is_empty() {
        writeln!(screen, "nothing is held")?;
    } else {
        table.write(screen)?;
        writeln!(screen, "\n{} held", counted(all.rows.len() as u64, "message"))?;
    }
    for volume in &all.unreachable {
        writeln!(screen, "what is on the {} is not among them: it does not answer", plain(volume))?;
    }
    if all.next.is_some() {
        writeln!(screen, "there are more: --limit COUNT")?;
    }
    Ok(())
}

fn cells(row: &HeldRow, now_unix_ms: u64) -> [Cell; 7] {
    let unknown = || "?".to_owned();
    let style = if row.why == "damaged" { Style::Bad } else { Style::Warning };
    let first = row.recipients.first().map_or_else(unknown, |first| plain(first));
    let recipients = match row.held_recipients.saturating_sub(1) {
        0 => first,
        more => format!("{first} +{more}"),
    };
    [
        row.id.to_string().into(),
        row.held_unix_ms.map_or_else(unknown, |then| since(now_unix_ms, then)).into(),
        size(row.size_bytes).into(),
        row.sender.as_deref().map_or_else(unknown, sender).into(),
        recipients.into(),
        Cell::styled(plain(&row.why), Some(style)),
        plain(&row.said).into(),
    ]
}

/// The next of the messages that are meant, a page of them at a time.
struct Meant {
    ids: Vec<MailId>,
    filter: Option<HeldFilter>,
}

impl Meant {
    fn new(which: HeldOnes) -> Self {
        let HeldOnes { ids, domain, said, .. } = which;
        let filter = ids.is_empty().then(|| filter(domain, said));
        Self { ids, filter }
    }

    /// `None` when there are no more.
    async fn next(&mut self, client: &Client) -> Result<Option<Vec<MailId>>, Failure> {
        if !self.ids.is_empty() {
            return Ok(Some(std::mem::take(&mut self.ids)));
        }
        let Some(filter) = &mut self.filter else { return Ok(None) };
        let page = client.held(filter).await?;
        match page.next {
            Some(next) => filter.from = Some(next),
            None => self.filter = None,
        }
        Ok(Some(page.rows.into_iter().map(|row| row.id).collect()))
    }
}

async fn retry(client: &Client, which: HeldOnes, json: bool, screen: &mut Screen) -> Result<(), Failure> {
    let mut meant = Meant::new(which);
    let (mut done, mut refused) = (0, Vec::new());
    let mut progress = Progress::new("giving back", json);
    while let Some(ids) = meant.next(client).await? {
        for ids in ids.chunks(IDS_MAX) {
            let result = client.release(&Selection::Ids(ids.to_vec())).await?;
            done += result.messages;
            refused.extend(result.refused);
            progress.so_far(&counted(done, "message"));
        }
    }
    drop(progress);
    let is = if done == 1 { "is" } else { "are" };
    let summary = format!("{} {is} tried again as the next hop takes mail.", counted(done, "message"));
    acted(&ActionResult { summary, messages: done, refused }, json, screen)
}

/// What was written.
#[derive(Debug, Default, Serialize)]
struct Written {
    written: u64,
    written_bytes: u64,
    /// Those that were there already.
    present: u64,
    refused: Vec<Refused>,
}

/// What stands beside a message: what `penstock show` tells of it.
#[derive(Debug, Serialize)]
struct Beside<'a> {
    #[serde(flatten)]
    view: &'a MessageView,
}

async fn write_out(
    client: &Client,
    dir: &Path,
    which: HeldOnes,
    reason: String,
    json: bool,
    screen: &mut Screen,
) -> Result<(), Failure> {
    if !dir.exists() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| Failure::file(dir, "made", &error))?;
    }
    let mut meant = Meant::new(which);
    let mut written = Written::default();
    let mut progress = Progress::new("writing", json);
    while let Some(ids) = meant.next(client).await? {
        for id in ids {
            match write_one(client, dir, id, &reason).await {
                Ok(Some(bytes)) => {
                    written.written += 1;
                    written.written_bytes += bytes;
                }
                Ok(None) => written.present += 1,
                Err(Failure::Told(Exit::Failed, error))
                    if error.code.starts_with("PS-S") || error.code == "PS-D102" =>
                {
                    written.refused.push(Refused { id, error });
                }
                Err(failure) => return Err(failure),
            }
            progress.so_far(&counted(written.written, "message"));
        }
    }
    drop(progress);
    if json {
        write_json(&written, screen)?;
    } else {
        let present = match written.present {
            0 => String::new(),
            there => format!(", {} had been there", count(there)),
        };
        writeln!(
            screen,
            "{} written to {} ({}){present}",
            counted(written.written, "message"),
            dir.display(),
            size(written.written_bytes)
        )?;
        for refused in &written.refused {
            writeln!(screen, "{}: {}", refused.id, plain(&refused.error.to_string()))?;
        }
    }
    if written.refused.is_empty() {
        return Ok(());
    }
    screen.flush()?;
    Err(Failure::Silent(Exit::Failed))
}

/// Writes a message and its envelope, in that order, so that who finds both has all of it. `None` if they are there.
async fn write_one(client: &Client, dir: &Path, id: MailId, reason: &str) -> Result<Option<u64>, Failure> {
    let beside = dir.join(format!("{id}.json"));
    if beside.exists() {
        return Ok(None);
    }
    let view = client.show(id).await?;
    let path = dir.join(format!("{id}.eml"));
    // What a run that was cut has left of it is no message.
    if path.exists() {
        fs::remove_file(&path).map_err(|error| Failure::file(&path, "removed", &error))?;
    }
    let exported = export::to_file(client, id, reason.to_owned(), &path).await?;
    let new = dir.join(format!("{id}.json.new"));
    let failed = |error: std::io::Error| Failure::file(&new, "written", &error);
    let mut file: File =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(failed)?;
    serde_json::to_writer_pretty(&mut file, &Beside { view: &view })?;
    writeln!(file).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&new, &beside).map_err(failed)?;
    Ok(Some(exported.size_bytes))
}

async fn bounce(
    client: &Client,
    ids: Vec<MailId>,
    force: bool,
    reason: String,
    json: bool,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let (mut done, mut refused) = (0, Vec::new());
    // One by one: each waits for the smarthost.
    for id in ids {
        match client.bounce(&BounceRequest { id, force, reason: reason.clone() }).await {
            Ok(result) => done += result.messages,
            Err(Failure::Told(Exit::Failed, error)) => refused.push(Refused { id, error }),
            Err(failure) => return Err(failure),
        }
    }
    let helps: Vec<String> = refused.iter().map(|refused| refused.error.help.clone()).collect();
    let summary = format!("The senders of {} were told.", counted(done, "message"));
    let told = acted(&ActionResult { summary, messages: done, refused }, json, screen);
    // What can be done is the same for many.
    let mut said: Vec<&String> = Vec::new();
    for help in helps.iter().filter(|help| !help.is_empty() && !json) {
        if !said.contains(&help) {
            writeln!(screen, "{}", plain(help))?;
            said.push(help);
        }
    }
    screen.flush()?;
    told
}
