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
use crate::storage::OpenMessage;
use crate::volume::Spool;

/// Messages whose envelopes are opened in one step of the storage thread.
const OPENED_PER_STEP: usize = 32;
/// Messages that a search looks at for one page.
const SEARCHED_PER_PAGE: usize = 4096;

/// A message as the log knows it, opened so that its envelope can be read elsewhere.
struct Listed {
    summary: Summary,
    fates: Vec<(u16, u16, Fate)>,
    open: Option<OpenMessage>,
}

/// A message with its envelope.
struct Read {
    summary: Summary,
    fates: Vec<(u16, u16, Fate)>,
    envelope: Option<Envelope>,
    sha256: Option<[u8; 32]>,
}

pub(super) async fn queue(operator: &Operator, filter: QueueFilter) -> Result<QueuePage, Refusal> {
    let mut from = filter.from.map_or(MessageId(0), |id| MessageId(id.number));
    let limit = filter.limit as usize;
    let (mut rows, mut next, mut looked_at) = (Vec::new(), None, 0);
    'pages: loop {
        let kept = filter.state == Some(MailState::Kept);
        let listed =
            operator.storage.look(move |spool| list(spool, from, kept)).await.map_err(unavailable)?;
        let Some(last) = listed.last().map(|listed| listed.summary.id) else { break };
        looked_at += listed.len();
        let read = blocking(move || listed.into_iter().map(Listed::read).collect::<Vec<_>>()).await?;
        for read in read {
            let id = read.summary.id;
            let row = read.row(&operator.delivery.noted(id), operator.clock.mono_ms());
            if filter.state.is_some_and(|state| state != row.state) || !read.concerns(&filter) {
                continue;
            }
            if rows.len() == limit {
                next = Some(MailId::disk(id.0));
                break 'pages;
            }
            rows.push(row);
        }
        from = MessageId(last.0 + 1);
        if looked_at >= SEARCHED_PER_PAGE {
            next = Some(MailId::disk(from.0));
            break;
        }
    }
    let sums = operator.storage.look(|spool| {
        spool.queue(MessageId(0)).fold((0, 0), |(count, bytes): (u64, u64), summary| {
            (count + 1, bytes + u64::from(summary.size_bytes))
        })
    });
    let (messages, bytes) = sums.await.map_err(unavailable)?;
    Ok(QueuePage { now_unix_ms: operator.clock.stamp().unix_ms, rows, next, messages, bytes })
}

fn list(spool: &mut Spool, from: MessageId, kept: bool) -> Vec<Listed> {
    let page: Vec<Summary> = if kept {
        spool.kept(from).take(OPENED_PER_STEP).collect()
    } else {
        spool.queue(from).take(OPENED_PER_STEP).collect()
    };
    page.into_iter()
        .map(|summary| {
            let fates = spool.fates(summary.id).unwrap_or_default();
            Listed { summary, fates, open: spool.open(summary.id).ok().map(OpenMessage::unleased) }
        })
        .collect()
}

pub(super) async fn show(operator: &Operator, message: MessageId) -> Result<MessageView, Refusal> {
    let id = MailId::disk(message.0);
    let opened = operator.storage.look(move |spool| {
        let summary = spool.summary(message).ok_or(SpoolError::NoSuchMessage(message))?;
        let fates = spool.fates(message).unwrap_or_default();
        Ok(Listed { summary, fates, open: spool.open(message).ok().map(OpenMessage::unleased) })
    });
    let listed = opened.await.map_err(unavailable)?.map_err(|error| refusal(id, error))?;
    let read = blocking(move || listed.read()).await?;
    let filter = EventFilter { message: Some(id), kind: None, limit: crate::control::types::PAGE_ROWS_MAX };
    let events = events(operator, filter).await?.events;
    let mut row = read.row(&operator.delivery.noted(message), operator.clock.mono_ms());
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
    fn read(self) -> Read {
        let Self { summary, fates, open } = self;
        let mut open = open;
        let envelope = open.as_mut().and_then(|open| open.message.envelope().ok());
        let sha256 = open.as_ref().map(|open| open.message.sha256());
        Read { summary, fates, envelope, sha256 }
    }
}

impl Read {
    fn state(&self, note: &Note) -> MailState {
        let has = |fate: Fate| self.fates.iter().any(|(_, _, it)| *it == fate);
        if note.in_flight {
            MailState::InFlight
        } else if self.summary.open_recipients == 0 {
            MailState::Kept
        } else if self.summary.damaged || self.envelope.is_none() {
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
            id: MailId::disk(self.summary.id.0),
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
    let events = operator.storage.look(Spool::events).await.map_err(unavailable)?;
    let wanted = move |event: &Event| {
        let message = filter
            .message
            .is_none_or(|id| id.store == Store::Disk && event.message == Some(MessageId(id.number)));
        message && filter.kind.as_deref().is_none_or(|kind| kind == Kind::name_of(event.code))
    };
    let limit = filter.limit as usize;
    let (newest, more) = blocking(move || {
        let (mut newest, mut more) = (VecDeque::new(), false);
        for event in events.filter(wanted) {
            newest.push_back(event);
            if newest.len() > limit {
                newest.pop_front();
                more = true;
            }
        }
        (newest, more)
    })
    .await?;
    Ok(EventPage { events: newest.into_iter().map(event_view).collect(), more })
}

fn event_view(event: Event) -> EventView {
    EventView {
        at_unix_ms: event.at.unix_ms,
        clock_trusted: event.at.trusted,
        boot: event.at.boot,
        kind: Kind::name_of(event.code).to_owned(),
        message: event.message.map(|id| MailId::disk(id.0)),
        text: event.text,
    }
}

async fn blocking<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(read).await.map_err(|_| {
        Refusal::new(
            Fault::Unavailable,
            "PS-D254",
            "the daemon is stopping",
            "Start it again, then ask again.",
        )
    })
}
