//! Messages and events as the operator sees them.

use std::collections::VecDeque;

use penstock_spool::{Envelope, Error as SpoolError, Event, Fate, MessageId, Summary};

use super::{Operator, refusal, unavailable};
use crate::control::envelope::{parameters, recipient_views};
use crate::control::types::{
    EventFilter, EventPage, EventView, MailState, MessageView, QueueFilter, QueuePage, QueueRow,
    RecipientView,
};
use crate::control::{Kind as Fault, MailId, Refusal, Store};
use crate::deliver::Note;
use crate::ledger::Kind;
use crate::storage::{OpenMessage, State, Storage};
use crate::volume::Spool;

/// Messages whose envelopes are opened in one step of the storage thread.
const OPENED_PER_STEP: usize = 32;
/// Messages that a search looks at for one page.
const SEARCHED_PER_PAGE: usize = 4096;

/// A message as the log knows it, opened so that its envelope can be read elsewhere.
struct Listed {
    id: MailId,
    /// Whether its volume can be read. If not, what cannot be read of it says nothing.
    is_reachable: bool,
    summary: Summary,
    fates: Vec<(u16, u16, Fate)>,
    open: Option<OpenMessage>,
}

/// A message with its envelope.
struct Read {
    id: MailId,
    is_reachable: bool,
    summary: Summary,
    fates: Vec<(u16, u16, Fate)>,
    envelope: Option<Envelope>,
    sha256: Option<[u8; 32]>,
}

pub(super) async fn queue(operator: &Operator, filter: QueueFilter) -> Result<QueuePage, Refusal> {
    let mut from = filter.from.map_or(0, MailId::key);
    let limit = filter.limit as usize;
    let (mut rows, mut next, mut looked_at) = (Vec::new(), None, 0);
    let kept = filter.state == Some(MailState::Kept);
    let unreachable = 'pages: loop {
        let (listed, unreachable) = list_all(operator, from, kept).await;
        let Some(last) = listed.last().map(|listed| listed.id) else { break unreachable };
        looked_at += listed.len();
        let read = blocking(move || listed.into_iter().map(Listed::read).collect::<Vec<_>>()).await?;
        for read in read {
            let id = read.id;
            let row = read.row(&operator.delivery.noted(id), operator.clock.mono_ms());
            if filter.state.is_some_and(|state| state != row.state) || !read.concerns(&filter) {
                continue;
            }
            if rows.len() == limit {
                next = Some(id);
                break 'pages unreachable;
            }
            rows.push(row);
        }
        from = last.key() + 1;
        if looked_at >= SEARCHED_PER_PAGE {
            next = Some(MailId::from_key(from));
            break unreachable;
        }
    };
    let (mut messages, mut bytes) = (0, 0);
    for storage in operator.volumes.all() {
        let sums = storage.look(|spool| {
            spool.queue(MessageId(0)).fold((0, 0), |(count, bytes): (u64, u64), summary| {
                (count + 1, bytes + u64::from(summary.size_bytes))
            })
        });
        if let Ok((count, size)) = sums.await {
            messages += count;
            bytes += size;
        }
    }
    let now_unix_ms = operator.clock.stamp().unix_ms;
    Ok(QueuePage { now_unix_ms, rows, next, messages, bytes, unreachable })
}

/// The next messages of all volumes in order of arrival, and the names of those volumes that do not answer.
async fn list_all(operator: &Operator, from: u64, kept: bool) -> (Vec<Listed>, Vec<String>) {
    let (mut all, mut unreachable) = (Vec::new(), Vec::new());
    for storage in operator.volumes.all() {
        let (store, is_well) = (storage.store(), storage.is_well());
        match storage.look(move |spool| list(spool, store, is_well, from, kept)).await {
            Ok(listed) => all.push(listed),
            Err(_) => unreachable.push(store.as_str().to_owned()),
        }
    }
    let mut all: Vec<Listed> = all.into_iter().flatten().collect();
    all.sort_by_key(|listed| listed.id.key());
    // Beyond these another volume may have some that come in between.
    all.truncate(OPENED_PER_STEP);
    (all, unreachable)
}

/// The next messages of a volume, from a key on.
fn list(spool: &mut Spool, store: Store, is_well: bool, from: u64, kept: bool) -> Vec<Listed> {
    // The first number whose key is not below it.
    let number = from >> 1;
    let is_past = MailId { store, number }.key() < from;
    let from = MessageId(number + u64::from(is_past));
    let page: Vec<Summary> = if kept {
        spool.kept(from).take(OPENED_PER_STEP).collect()
    } else {
        spool.queue(from).take(OPENED_PER_STEP).collect()
    };
    page.into_iter().map(|summary| Listed::open(spool, store, is_well, summary)).collect()
}

pub(super) async fn show(operator: &Operator, id: MailId) -> Result<MessageView, Refusal> {
    let (storage, message) = operator.find(id)?;
    let is_well = storage.is_well();
    let opened = storage.look(move |spool| {
        let summary = spool.summary(message).ok_or(SpoolError::NoSuchMessage(message))?;
        Ok(Listed::open(spool, id.store, is_well, summary))
    });
    let listed = opened.await.map_err(unavailable)?.map_err(|error| refusal(id, error))?;
    let read = blocking(move || listed.read()).await?;
    let filter = EventFilter { message: Some(id), kind: None, limit: crate::control::types::PAGE_ROWS_MAX };
    let events = events(operator, filter).await?.events;
    let mut row = read.row(&operator.delivery.noted(id), operator.clock.mono_ms());
    if row.last_reply.is_none() && read.summary.open_recipients > 0 {
        let failed = [Kind::Deferred.as_str(), Kind::Held.as_str()];
        let last = events.iter().rev().find(|event| failed.contains(&event.kind.as_str()));
        row.last_reply = last.map(|event| event.text.clone());
    }
    let begin = read.envelope.as_ref().map(|envelope| &envelope.begin);
    Ok(MessageView {
        now_unix_ms: operator.clock.stamp().unix_ms,
        sha256: read.sha256.map(|sha256| sha256.iter().map(|byte| format!("{byte:02x}")).collect()),
        client: begin.and_then(|begin| begin.client).map(|client| client.to_string()),
        helo: begin.map(|begin| begin.helo.clone()),
        tls: begin.is_some_and(|begin| begin.tls),
        parameters: read.parameters(),
        recipient_list: read.recipients(),
        row,
        events,
    })
}

impl Listed {
    fn open(spool: &mut Spool, store: Store, is_reachable: bool, summary: Summary) -> Self {
        let fates = spool.fates(summary.id).unwrap_or_default();
        let id = MailId { store, number: summary.id.0 };
        Self {
            id,
            is_reachable,
            summary,
            fates,
            open: spool.open(summary.id).ok().map(OpenMessage::unleased),
        }
    }

    fn read(self) -> Read {
        let Self { id, is_reachable, summary, fates, open } = self;
        let mut open = open;
        let envelope = open.as_mut().and_then(|open| open.message.envelope().ok());
        let sha256 = open.as_ref().map(|open| open.message.sha256());
        Read { id, is_reachable, summary, fates, envelope, sha256 }
    }
}

impl Read {
    fn state(&self, note: &Note) -> MailState {
        let has = |fate: Fate| self.fates.iter().any(|(_, _, it)| *it == fate);
        if note.in_flight {
            MailState::InFlight
        } else if self.summary.open_recipients == 0 {
            MailState::Kept
        } else if self.summary.damaged || self.envelope.is_none() && self.is_reachable {
            MailState::Damaged
        } else if has(Fate::Deferred) {
            MailState::Deferred
        } else if has(Fate::Queued) {
            MailState::Queued
        } else {
            MailState::Held
        }
    }

    fn row(&self, note: &Note, mono_ms: u64) -> QueueRow {
        let envelope = self.envelope.as_ref();
        let first_open = self.fates.iter().find(|(_, _, fate)| !fate.is_final()).map_or(0, |run| run.0);
        QueueRow {
            id: self.id,
            state: self.state(note),
            received_unix_ms: envelope
                .map(|envelope| envelope.begin.received)
                .and_then(|received| received.trusted.then_some(received.unix_ms)),
            size_bytes: u64::from(self.summary.size_bytes),
            sender: envelope.map(|envelope| envelope.begin.sender.clone()),
            recipient: envelope
                .and_then(|envelope| envelope.recipients.get(usize::from(first_open)))
                .map(|recipient| recipient.address.clone()),
            recipients: u32::from(self.summary.recipients),
            open_recipients: u32::from(self.summary.open_recipients),
            attempts: u32::from(self.summary.attempts),
            next_attempt_in_ms: note.due_mono_ms.map(|due| due.saturating_sub(mono_ms)),
            last_reply: note.said.clone(),
        }
    }

    /// Whether the filter's address is among its own.
    fn concerns(&self, filter: &QueueFilter) -> bool {
        let Some(wanted) = &filter.address else { return true };
        let wanted = wanted.to_ascii_lowercase();
        let Some(envelope) = &self.envelope else { return false };
        let recipients = envelope.recipients.iter().map(|recipient| &recipient.address);
        std::iter::once(&envelope.begin.sender)
            .chain(recipients)
            .any(|address| address.to_ascii_lowercase().contains(&wanted))
    }

    fn recipients(&self) -> Vec<RecipientView> {
        let recipients = self.envelope.as_ref().map_or(&[][..], |envelope| &envelope.recipients);
        recipient_views(recipients, &self.fates)
    }

    fn parameters(&self) -> String {
        self.envelope.as_ref().map_or(String::new(), |envelope| parameters(&envelope.begin))
    }
}

pub(super) async fn events(operator: &Operator, filter: EventFilter) -> Result<EventPage, Refusal> {
    let limit = filter.limit as usize;
    let (mut all, mut more) = (VecDeque::new(), false);
    let concerned = |storage: &&Storage| filter.message.is_none_or(|id| id.store == storage.store());
    let mut reached = Err(unavailable(SpoolError::ReadOnly));
    for storage in operator.volumes.all().filter(concerned) {
        if storage.state() == State::Absent {
            continue;
        }
        match newest(storage, &filter).await {
            Ok((newest, left_off)) => {
                more |= left_off;
                all = merged(all, newest);
                reached = Ok(());
            }
            Err(refusal) if reached.is_err() => reached = Err(refusal),
            Err(_) => {}
        }
    }
    reached?;
    more |= all.len() > limit;
    let surplus = all.len().saturating_sub(limit);
    Ok(EventPage { events: all.into_iter().skip(surplus).collect(), more })
}

/// The newest events of a volume that pass the filter, oldest first, and whether there are older ones.
async fn newest(storage: &Storage, filter: &EventFilter) -> Result<(VecDeque<EventView>, bool), Refusal> {
    let (store, filter) = (storage.store(), filter.clone());
    let events = storage.look(Spool::events).await.map_err(unavailable)?;
    let limit = filter.limit as usize;
    let wanted = move |event: &Event| {
        let message = filter.message.is_none_or(|id| event.message == Some(MessageId(id.number)));
        message && filter.kind.as_deref().is_none_or(|kind| kind == Kind::name_of(event.code))
    };
    blocking(move || {
        let (mut newest, mut more) = (VecDeque::new(), false);
        for event in events.filter(wanted) {
            newest.push_back(event_view(event, store));
            if newest.len() > limit {
                newest.pop_front();
                more = true;
            }
        }
        (newest, more)
    })
    .await
}

/// What happened on two volumes, in one row. The order on each is the order in which it happened; between them only the
/// clock tells.
fn merged(mut one: VecDeque<EventView>, mut other: VecDeque<EventView>) -> VecDeque<EventView> {
    let mut all = VecDeque::with_capacity(one.len() + other.len());
    while let (Some(first), Some(second)) = (one.front(), other.front()) {
        let next = if second.at_unix_ms < first.at_unix_ms { &mut other } else { &mut one };
        all.extend(next.pop_front());
    }
    all.extend(one);
    all.extend(other);
    all
}

fn event_view(event: Event, store: Store) -> EventView {
    EventView {
        at_unix_ms: event.at.unix_ms,
        clock_trusted: event.at.trusted,
        boot: event.at.boot,
        kind: Kind::name_of(event.code).to_owned(),
        message: event.message.map(|id| MailId { store, number: id.0 }),
        text: event.text,
    }
}

/// Does on a thread of its own what would hold the others up.
pub(super) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(read).await.map_err(|_| {
        Refusal::new(
            Fault::Unavailable,
            "PS-D254",
            "the daemon is stopping",
            "Start it again, then ask again.",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at_unix_ms: u64, text: &str) -> EventView {
        EventView {
            at_unix_ms,
            clock_trusted: true,
            boot: 1,
            kind: "started".into(),
            message: None,
            text: text.into(),
        }
    }

    #[test]
    fn events_of_two_volumes_come_by_the_clock_and_those_of_one_in_their_order() {
        let disk = [event(10, "d1"), event(40, "d2"), event(5, "d3, the clock was set back")];
        let nor = [event(20, "n1"), event(30, "n2")];
        let all = merged(disk.into(), nor.into());
        let texts: Vec<_> = all.iter().map(|event| &event.text[..2]).collect();
        assert_eq!(texts, ["d1", "n1", "n2", "d2", "d3"]);
    }
}
