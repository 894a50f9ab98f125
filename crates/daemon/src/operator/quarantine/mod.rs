//! Mail that is held for the operator: what there is and why, and telling its sender.
//!
//! # Telling a sender
//! The report is handed to the smarthost at once, by the request itself, and what it is about ends when the smarthost has
//! answered 250. It is not put into the log to be sent later: all that is in there goes to the next hops, and mail to
//! third parties is not to get in among it. So a smarthost that is away costs the operator another try, and nothing more;
//! if the power is cut between its 250 and our record, the next try tells the sender a second time.

mod reason;
mod rule;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use penstock_release::State as HopState;
use penstock_settings::HopAddress;
use penstock_spool::{Envelope, Error as SpoolError, Fate, MessageId, Stamp, Status as FateOf, Summary};

use super::{Operator, postmaster, refusal, unavailable, view};
use crate::control::quarantine::{BounceRequest, HeldFilter, HeldPage, HeldRow};
use crate::control::types::ActionResult;
use crate::control::{Kind as Fault, MailId, Refusal, Who};
use crate::dsn::{About, Outcome, Report};
use crate::header;
use crate::ledger::Kind;
use crate::storage::{OpenMessage, Source, Storage};
use crate::volume::Spool;
use reason::{Reason, Said};
use rule::{Alignment, Case, Objection, may_bounce};

/// Held messages that a page looks at.
const LOOKED_AT_PER_PAGE: usize = 1024;
/// Envelopes that are opened in one step of the storage thread.
const OPENED_PER_STEP: usize = 32;
/// Recipients that are named of a message.
const NAMED_MAX: usize = 8;
/// How long handing over a report may take: less than a request.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(45);

/// A message with recipients that are held.
struct Held {
    summary: Summary,
    /// Who is held, by number.
    numbers: Vec<u16>,
}

impl Held {
    fn of(spool: &Spool, summary: Summary) -> Option<Self> {
        let fates = spool.fates(summary.id).unwrap_or_default().into_iter();
        let held = fates.filter(|(_, _, fate)| *fate == Fate::Held);
        let numbers: Vec<u16> =
            held.flat_map(|(first, count, _)| first..first.saturating_add(count)).collect();
        (!numbers.is_empty()).then_some(Self { summary, numbers })
    }
}

/// Why messages are held, by number: what the ledger says of each, oldest first.
type Reasons = BTreeMap<u64, Vec<(Stamp, Reason)>>;

/// Reads why these messages, in ascending order, are held. What was said before they were given back is of yesterday.
async fn reasons(storage: &Storage, ids: Vec<MessageId>) -> Result<Reasons, Refusal> {
    let events = storage.look(Spool::events).await.map_err(unavailable)?;
    view::blocking(move || {
        let mut reasons = Reasons::new();
        for event in events {
            let Some(id) = event.message.filter(|id| ids.binary_search(id).is_ok()) else { continue };
            if event.code == Kind::Released as u16 {
                reasons.remove(&id.0);
            } else if event.code == Kind::Held as u16 || event.code == Kind::Damaged as u16 {
                reasons.entry(id.0).or_default().push((event.at, Reason::read(event.code, &event.text)));
            }
        }
        reasons
    })
    .await
}

/// A page of what is held, in order of arrival, one volume after the other.
pub(super) async fn list(operator: &Operator, filter: HeldFilter) -> Result<HeldPage, Refusal> {
    let mut page = HeldPage { now_unix_ms: operator.clock.stamp().unix_ms, ..HeldPage::default() };
    let at = filter.from.unwrap_or(MailId::disk(0));
    for storage in operator.volumes.all().filter(|storage| storage.store() >= at.store) {
        let from = if storage.store() == at.store { at.number } else { 0 };
        match list_of(storage, &filter, MessageId(from), &mut page).await {
            Ok(Some(next)) => {
                page.next = Some(storage.mail_id(next));
                break;
            }
            Ok(None) => {}
            Err(_) => page.unreachable.push(storage.store().as_str().to_owned()),
        }
    }
    Ok(page)
}

/// Adds what a volume has; where there is more, the first message that was not looked at.
async fn list_of(
    storage: &Storage,
    filter: &HeldFilter,
    from: MessageId,
    page: &mut HeldPage,
) -> Result<Option<MessageId>, Refusal> {
    let looked = storage.look(move |spool| {
        let all = spool.queue(from).filter_map(|summary| Held::of(spool, summary));
        let mut found: Vec<Held> = all.take(LOOKED_AT_PER_PAGE + 1).collect();
        let more = if found.len() > LOOKED_AT_PER_PAGE { found.pop() } else { None };
        (found, more.map(|held| held.summary.id))
    });
    let (found, next) = looked.await.map_err(unavailable)?;
    let reasons = reasons(storage, found.iter().map(|held| held.summary.id).collect()).await?;
    for part in found.chunks(OPENED_PER_STEP) {
        let ids: Vec<MessageId> = part.iter().map(|held| held.summary.id).collect();
        for (held, envelope) in part.iter().zip(envelopes(storage, ids).await?) {
            let id = held.summary.id;
            let row = row(storage.mail_id(id), held, envelope.as_ref(), reasons.get(&id.0));
            if !is_wanted(filter, held, envelope.as_ref(), &row) {
                continue;
            }
            if page.rows.len() == filter.limit as usize {
                return Ok(Some(id));
            }
            page.rows.push(row);
        }
    }
    Ok(next)
}

/// The envelopes of messages, as far as they can be read.
async fn envelopes(storage: &Storage, ids: Vec<MessageId>) -> Result<Vec<Option<Envelope>>, Refusal> {
    let opened = storage.look(move |spool| {
        ids.into_iter().map(|id| spool.open(id).ok().map(OpenMessage::unleased)).collect::<Vec<_>>()
    });
    let opened = opened.await.map_err(unavailable)?;
    let read = |open: Option<OpenMessage>| open.and_then(|mut open| open.message.envelope().ok());
    view::blocking(move || opened.into_iter().map(read).collect()).await
}

fn row(
    id: MailId,
    held: &Held,
    envelope: Option<&Envelope>,
    reasons: Option<&Vec<(Stamp, Reason)>>,
) -> HeldRow {
    let begin = envelope.map(|envelope| &envelope.begin);
    let last = reasons.and_then(|reasons| reasons.last());
    HeldRow {
        id,
        received_unix_ms: begin.and_then(|begin| begin.received.trusted.then_some(begin.received.unix_ms)),
        size_bytes: u64::from(held.summary.size_bytes),
        sender: begin.map(|begin| begin.sender.clone()),
        recipients: addresses(held, envelope).take(NAMED_MAX).map(str::to_owned).collect(),
        held_recipients: u32::try_from(held.numbers.len()).unwrap_or(u32::MAX),
        held_unix_ms: last.and_then(|(at, _)| at.trusted.then_some(at.unix_ms)),
        why: last.map_or(reason::Cause::Other, |(_, reason)| reason.cause).as_str().to_owned(),
        said: last
            .map_or_else(|| "the ledger does not say why".to_owned(), |(_, reason)| reason.text.clone()),
    }
}

fn addresses<'e>(held: &'e Held, envelope: Option<&'e Envelope>) -> impl Iterator<Item = &'e str> {
    let recipients = envelope.map_or(&[][..], |envelope| &envelope.recipients);
    let address = |number: &u16| recipients.get(usize::from(*number)).map(|it| it.address.as_str());
    held.numbers.iter().filter_map(address)
}

fn is_wanted(filter: &HeldFilter, held: &Held, envelope: Option<&Envelope>, row: &HeldRow) -> bool {
    let of_domain = |domain: &String| {
        addresses(held, envelope)
            .filter_map(|address| address.rsplit_once('@'))
            .any(|(_, its)| its.eq_ignore_ascii_case(domain))
    };
    let says = |wanted: &String| {
        let wanted = wanted.to_ascii_lowercase();
        row.said.to_ascii_lowercase().contains(&wanted) || row.why == wanted
    };
    filter.domain.as_ref().is_none_or(of_domain) && filter.said.as_ref().is_none_or(says)
}

/// A message whose sender is to be told.
struct Bounced {
    storage: Storage,
    id: MailId,
    envelope: Envelope,
    header: header::Header,
    /// Those of whom the sender is told, by number, with what was said of each.
    failed: Vec<(u16, Said)>,
    server: String,
    smarthost: HopAddress,
}

/// Tells the sender of a message of those recipients that are held, if the rule allows it, and ends them.
pub(super) async fn bounce(
    operator: &Operator,
    request: BounceRequest,
    who: &Who,
) -> Result<ActionResult, Refusal> {
    // One after the other: nobody is told of the same message twice.
    let _turn = operator.bouncing.lock().await;
    let bounced = prepare(operator, &request).await?;
    let (id, count) = (bounced.id, bounced.failed.len());
    let (delivery, clock, settings) =
        (Arc::clone(&operator.delivery), Arc::clone(&operator.clock), Arc::clone(&operator.settings));
    let why = format!("{who}: {}", request.reason);
    // On its own: whoever asked may go away, and what the smarthost took has to be recorded all the same.
    let told = tokio::spawn(async move {
        let now = clock.stamp();
        let message = bounced.report(settings.system.hostname.as_str(), &postmaster(&settings), now);
        let sender = &bounced.envelope.begin.sender;
        let handed = delivery.hand_over(&bounced.smarthost, sender, &message);
        let said = match tokio::time::timeout(HAND_OVER_TIMEOUT, handed).await {
            Ok(Ok(said)) => said,
            Ok(Err(not)) => return Err(not_taken(&bounced.smarthost, &not.said, not.is_in_doubt)),
            Err(_) => return Err(not_taken(&bounced.smarthost, "it did not answer in time", true)),
        };
        bounced.record(clock.stamp(), &said, &why).await.map_err(unavailable)
    });
    told.await.map_err(|_| unavailable(SpoolError::ReadOnly))??;
    let of = if count == 1 { "1 recipient".to_owned() } else { format!("{count} recipients") };
    let summary = format!("The sender of {id} was told of {of}.");
    Ok(ActionResult { summary, messages: 1, refused: Vec::new() })
}

fn not_taken(smarthost: &HopAddress, said: &str, is_in_doubt: bool) -> Refusal {
    let help = if is_in_doubt {
        "It may have taken the report all the same; another try would then tell the sender twice."
    } else {
        "Nothing was changed; try it again when the smarthost takes mail."
    };
    Refusal::new(
        Fault::Unavailable,
        "PS-D279",
        format!("the smarthost {smarthost} did not take the report: {said}"),
        help,
    )
}

/// Finds what may be told, or why nothing may.
async fn prepare(operator: &Operator, request: &BounceRequest) -> Result<Bounced, Refusal> {
    let id = request.id;
    let (storage, message) = operator.find(id)?;
    let found = storage
        .open_with(message, move |spool| spool.summary(message).and_then(|summary| Held::of(spool, summary)));
    let (open, held) = found.await.map_err(|error| refusal(id, error))?;
    let Some(held) = held else {
        return Err(Refusal::new(
            Fault::Conflict,
            "PS-D280",
            format!("nothing of message {id} is held"),
            "`penstock show` tells what became of each recipient.",
        ));
    };
    let reasons = reasons(storage, vec![message]).await?.remove(&message.0).unwrap_or_default();
    let (mut source, envelope) = Source::open(open, storage).await.map_err(|error| refusal(id, error))?;
    let header = header::read(&mut source).await.map_err(|error| refusal(id, error))?;
    let smarthost = operator.settings.bounce.smarthost.address().cloned();
    let (mut failed, mut objection, mut server) = (Vec::new(), None, None);
    for number in &held.numbers {
        let Some(recipient) = envelope.recipients.get(usize::from(*number)) else { continue };
        let of_it = reasons.iter().rev().map(|(_, reason)| reason);
        let reason = of_it.clone().find(|reason| reason.names.contains(&recipient.address));
        let reason = reason.or_else(|| of_it.clone().find(|reason| reason.concerns(&recipient.address)));
        let case = Case {
            sender: &envelope.begin.sender,
            notify: recipient.notify,
            reason,
            has_smarthost: smarthost.is_some(),
            is_hop_healthy: is_healthy(operator, reason.and_then(|reason| reason.hop.as_deref())),
            alignment: Alignment::Unknown,
            is_forced: request.force,
        };
        match (may_bounce(&case), reason.and_then(|reason| reason.reply.clone())) {
            (Ok(()), Some(said)) => {
                failed.push((*number, said));
                server = server.or_else(|| reason.and_then(|reason| reason.hop.clone()));
            }
            (Ok(()), None) => {}
            (Err(against), _) => objection = objection.or(Some(against)),
        }
    }
    match (smarthost, objection) {
        (Some(smarthost), _) if !failed.is_empty() => {
            let server = server.unwrap_or_default();
            Ok(Bounced { storage: storage.clone(), id, envelope, header, failed, server, smarthost })
        }
        (_, objection) => {
            let (code, what, help) = objection.unwrap_or(Objection::NotRefused).told();
            Err(Refusal::new(Fault::Conflict, code, format!("nobody is told of message {id}: {what}"), help))
        }
    }
}

/// Whether the next hop of that name takes mail now. One that is no longer in the settings cannot be asked any more.
fn is_healthy(operator: &Operator, name: Option<&str>) -> bool {
    let now = operator.delivery.now();
    let release = operator.delivery.release();
    name.is_some_and(|name| release.hops(now).any(|hop| hop.name == name && hop.state == HopState::Healthy))
}

impl Bounced {
    fn report(&self, hostname: &str, postmaster: &str, now: Stamp) -> Vec<u8> {
        let failed: Vec<_> = self
            .failed
            .iter()
            .filter_map(|(number, said)| {
                let recipient = self.envelope.recipients.get(usize::from(*number))?;
                Some(About { recipient, status: said.enhanced.unwrap_or((5, 0, 0)), said: said.to_string() })
            })
            .collect();
        let id = self.id.to_string();
        Report {
            outcome: Outcome::Failed,
            hostname,
            postmaster,
            id: &id,
            boot: now.boot,
            unix_ms: now.unix_ms,
            begin: &self.envelope.begin,
            header: &self.header,
            about: &failed,
            server: &self.server,
        }
        .write()
    }

    /// Ends the recipients of whom the sender was told.
    async fn record(self, at: Stamp, said: &str, why: &str) -> Result<(), SpoolError> {
        let message = MessageId(self.id.number);
        let names: Vec<&str> = self
            .failed
            .iter()
            .filter_map(|(number, _)| self.envelope.recipients.get(usize::from(*number)))
            .map(|recipient| recipient.address.as_str())
            .collect();
        let first = names.first().copied().unwrap_or_default();
        let more = names.len().saturating_sub(1);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let text = format!(
            "its sender was told by {why} ({first}{more} did not get it; {} said {said})",
            self.smarthost
        );
        let event = Kind::Bounced.event(at, Some(message), text);
        let failed: Vec<u16> = self.failed.iter().map(|(number, _)| *number).collect();
        let ended = move |spool: &mut Spool| {
            let fates = spool.fates(message).ok_or(SpoolError::NoSuchMessage(message))?;
            let held = fates.into_iter().filter(|(_, _, fate)| *fate == Fate::Held);
            // Somebody may have given it back meanwhile: what is on its way goes on.
            let held = held.flat_map(|(first, count, _)| first..first.saturating_add(count));
            for first in held.filter(|number| failed.binary_search(number).is_ok()).collect::<Vec<_>>() {
                let (count, fate, attempts, reply_code) = (1, Fate::Removed, 0, 0);
                spool.set_status(message, &FateOf { first, count, fate, attempts, reply_code, at })?;
            }
            spool.record_event(&event)
        };
        self.storage.change(ended).await
    }
}
