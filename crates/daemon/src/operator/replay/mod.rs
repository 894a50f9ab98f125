//! Delivered mail that is still kept goes out once more: as it is, or as an attachment of a new message.
//!
//! *As it is*: the recipients are set back from delivered to queued, which costs a record of some bytes each and no room;
//! release then finds them like any others. *As an attachment*: a new message is stored that holds the old one byte for
//! byte, with a Message-ID of its own that stays the same through all attempts, and the old one stays delivered. It is
//! stored rather than made on its way out, so that nothing that delivers mail has to know of it, and so that what a server
//! is offered twice is the same twice. It takes room, for which kept mail goes, the oldest first; as a replay begins with
//! the oldest, what goes has mostly been replayed.
//!
//! Each step of the storage thread writes down what it did and how far the replay has come in one group. After a power cut
//! the same request goes on there: nothing is left out, and of attachments at most the last is made a second time.

mod choose;
mod times;
mod wrap;

use std::sync::Arc;
use std::time::{Duration, Instant};

use penstock_spool::{Error as SpoolError, META_VALUE_BYTES_MAX, MessageId, Stamp};
use serde::{Deserialize, Serialize};

use super::{CHANGES_PER_STEP, GivenBack, Operator, refusal, unavailable};
use crate::control::replay::{ReplayPage, ReplayRequest, Which};
use crate::control::types::Refused;
use crate::control::{Kind as Fault, MailId, Refusal, Store, Who};
use crate::ledger::{Kind, META_REPLAY};
use crate::storage::{Recovered, Storage};
use crate::volume::Spool;
use choose::{Chosen, Meant};

/// The key under which a volume keeps how far a replay has come there.
const RUN: &[u8] = b"run";
/// What was cut so long ago is no longer the same replay, in milliseconds: a day.
const RESUMED_WITHIN_MS: u64 = 24 * 3600 * 1000;
/// A page ends, after what it is at, when it has taken so long: far less than a request may.
const PAGE_TIME: Duration = Duration::from_secs(10);
/// A page of attachments ends when it has copied so much, in bytes.
const COPIED_BYTES_A_PAGE: u64 = 64 * 1024 * 1024;

/// How far a replay has come, as it is kept on the volume.
#[derive(Debug, Serialize, Deserialize)]
struct Run {
    /// What was asked for, without position and reason.
    request: ReplayRequest,
    next: MailId,
    below: u64,
    at_unix_ms: u64,
    clock_trusted: bool,
}

impl Run {
    /// Whether the same is asked for again, and not too long ago.
    fn is_resumed_by(&self, request: &ReplayRequest, now: Stamp) -> bool {
        let is_dated = self.clock_trusted && now.trusted;
        let is_late = is_dated && now.unix_ms.saturating_sub(self.at_unix_ms) > RESUMED_WITHIN_MS;
        self.request == *request && !is_late
    }
}

/// What makes two requests parts of one replay. `None` where none is kept: what names its messages is short.
fn run_of(request: &ReplayRequest) -> Option<ReplayRequest> {
    let is_long = !matches!(request.which, Which::Ids(_)) && !request.dry_run;
    is_long.then(|| ReplayRequest {
        position: None,
        below: None,
        again: false,
        reason: None,
        ..request.clone()
    })
}

/// A page: what is to be replayed from a position on, and how far that went.
pub(super) async fn page(
    operator: &Operator,
    request: ReplayRequest,
    who: &Who,
) -> Result<ReplayPage, Refusal> {
    let meant = Meant::by(&request.which, &operator.directory)?;
    let run = run_of(&request);
    let mut page = ReplayPage::default();
    let (mut position, mut below) = (request.position, request.below);
    if position.is_none() {
        if !request.again
            && let Some(kept) = kept_run(operator, run.as_ref()).await
        {
            (position, below) = (Some(kept.next), Some(kept.below));
            page.resumed_at = position;
        }
        refuse_unknown_volumes(operator, &request, &mut page);
    }
    page.below = match below {
        Some(below) => below,
        None => next_number(operator).await,
    };
    let at = position.unwrap_or(MailId::disk(0));
    // One volume after the other: a page is of one of them.
    for storage in operator.volumes.all().filter(|storage| storage.store() >= at.store) {
        let from = if storage.store() == at.store { at.number } else { 0 };
        if !storage.is_well() {
            page.unreachable.push(storage.store().as_str().to_owned());
            continue;
        }
        let (request, meant, run, below) = (&request, meant.as_ref(), run.as_ref(), page.below);
        let replaying = Replaying { operator, storage, request, meant, run, who, below };
        let left = replaying.go(MessageId(from), &mut page).await?;
        if let Some(next) = left {
            page.next = Some(MailId { store: storage.store(), number: next.0 });
            return Ok(page);
        }
    }
    if run.is_some() {
        forget_position(operator).await.map_err(unavailable)?;
    }
    Ok(page)
}

/// How far the same replay had come when it was cut.
async fn kept_run(operator: &Operator, run: Option<&ReplayRequest>) -> Option<Run> {
    let (run, now) = (run?, operator.clock.stamp());
    let mut furthest: Option<Run> = None;
    for storage in operator.volumes.all() {
        let kept =
            storage.look(|spool| spool.meta(META_REPLAY, RUN).map(<[u8]>::to_vec)).await.ok().flatten();
        let kept: Option<Run> = kept.and_then(|kept| serde_json::from_slice(&kept).ok());
        let kept = kept.filter(|kept| kept.is_resumed_by(run, now));
        furthest = furthest.into_iter().chain(kept).max_by_key(|kept| kept.next);
    }
    furthest
}

/// The number that the next message gets. Numbers of all volumes are in step.
async fn next_number(operator: &Operator) -> u64 {
    let mut next = 0;
    for storage in operator.volumes.all() {
        next = next.max(storage.look(|spool| spool.next_id().0).await.unwrap_or(0));
    }
    next
}

/// Tells of messages that are named and cannot be anywhere.
fn refuse_unknown_volumes(operator: &Operator, request: &ReplayRequest, page: &mut ReplayPage) {
    let Which::Ids(ids) = &request.which else { return };
    for id in ids.iter().filter(|id| operator.volumes.of(id.store).is_none()) {
        page.refused.push(Refused { id: *id, error: Refusal::no_such_message(*id).body });
    }
}

async fn forget_position(operator: &Operator) -> Result<(), SpoolError> {
    for storage in operator.volumes.all().filter(|storage| storage.is_well()) {
        storage.change(|spool| spool.put_meta(META_REPLAY, RUN, &[])).await?;
    }
    Ok(())
}

/// What was asked for when a replay began, and which messages came later.
#[derive(Clone)]
struct Began {
    request: ReplayRequest,
    below: u64,
}

/// A page on one volume.
struct Replaying<'a> {
    operator: &'a Operator,
    storage: &'a Storage,
    request: &'a ReplayRequest,
    /// Whose mail, where that is not everybody's.
    meant: Option<&'a Meant>,
    run: Option<&'a ReplayRequest>,
    who: &'a Who,
    /// Messages with lower numbers only.
    below: u64,
}

impl Replaying<'_> {
    /// Does it. Where there is more, the first message that was not looked at.
    async fn go(&self, from: MessageId, page: &mut ReplayPage) -> Result<Option<MessageId>, Refusal> {
        let found =
            choose::choose(self.storage, self.request, self.meant, from..MessageId(self.below), page).await?;
        if self.request.dry_run {
            for chosen in &found.chosen {
                page.count(chosen);
            }
            return Ok(found.next);
        }
        let stopped = if self.request.as_attachment {
            self.wrap(found.chosen, page).await?
        } else {
            self.set_back(found.chosen, page).await?
        };
        Ok(stopped.or(found.next))
    }

    /// Sets recipients back to be delivered again. Where room ran out, the first message that was left.
    async fn set_back(
        &self,
        mut chosen: Vec<Chosen>,
        page: &mut ReplayPage,
    ) -> Result<Option<MessageId>, Refusal> {
        let begun = Instant::now();
        while let Some(first) = chosen.first() {
            if begun.elapsed() >= PAGE_TIME {
                return Ok(Some(first.id));
            }
            let rest = chosen.split_off(CHANGES_PER_STEP.min(chosen.len()));
            let step = std::mem::replace(&mut chosen, rest);
            let (store, at, run) = (self.storage.store(), self.operator.clock.stamp(), self.run());
            let asked = self.asked_by();
            let is_first = page.asks.is_none() && self.request.position.is_none();
            let storage = self.storage.clone();
            let change = async move {
                storage.change(move |spool| Step::set_back(spool, store, &step, at, run, &asked)).await
            };
            // On its own: whoever asked may go away, and what is set back has to be known to release all the same.
            let delivery = Arc::clone(&self.operator.delivery);
            let told = tokio::spawn(async move {
                let step = change.await?;
                // Before it can go.
                let asks = step.asking().filter(|_| is_first).map(|id| MailId { store, number: id.0 });
                let asks = asks.filter(|id| delivery.read_back(*id));
                for given in &step.given {
                    super::take_back(&delivery, given);
                }
                Ok::<_, SpoolError>((step, asks))
            });
            let (step, asks) =
                told.await.map_err(|_| unavailable(SpoolError::ReadOnly))?.map_err(unavailable)?;
            page.asks = page.asks.or(asks);
            step.done.iter().for_each(|chosen| page.count(chosen));
            let name = |id: MessageId| self.storage.mail_id(id);
            page.refused.extend(step.refused.iter().map(|(id, error)| refused(name(*id), *error)));
            if let Some(id) = step.full_at {
                return self.stop(id, page).map(Some);
            }
        }
        Ok(None)
    }

    /// Stores a new message for each. Where the page has copied enough, or room ran out, the first message that was left.
    async fn wrap(&self, chosen: Vec<Chosen>, page: &mut ReplayPage) -> Result<Option<MessageId>, Refusal> {
        let (mut copied_bytes, begun) = (0, Instant::now());
        for chosen in chosen {
            if copied_bytes >= COPIED_BYTES_A_PAGE || begun.elapsed() >= PAGE_TIME {
                return Ok(Some(chosen.id));
            }
            let name = self.storage.mail_id(chosen.id);
            let new = match wrap::store(self.operator, self.storage, &chosen).await {
                Ok(Some(new)) => new,
                // It is an attachment itself.
                Ok(None) => continue,
                Err(SpoolError::Full | SpoolError::TooManyMessages) => {
                    return self.stop(chosen.id, page).map(Some);
                }
                Err(error @ (SpoolError::NoSuchMessage(_) | SpoolError::Damaged(_))) => {
                    page.refused.push(refused(name, error));
                    continue;
                }
                Err(error) => return Err(unavailable(error)),
            };
            copied_bytes += u64::from(chosen.size_bytes);
            let text = format!(
                "sent again as an attachment, {new}{} (to {})",
                self.asked_by(),
                chosen.recipients_text()
            );
            let event = Kind::Replayed.event(self.operator.clock.stamp(), Some(chosen.id), text);
            let (run, at) = (self.run(), self.operator.clock.stamp());
            let next = self.storage.mail_id(MessageId(chosen.id.0 + 1));
            let noted = self.storage.change(move |spool| {
                spool.record_event(&event)?;
                note_position(spool, run, next, at)
            });
            noted.await.map_err(unavailable)?;
            page.count(&chosen);
        }
        Ok(None)
    }

    /// There is no room for more. An error where nothing at all was done, lest whoever goes on does so for ever.
    fn stop(&self, id: MessageId, page: &mut ReplayPage) -> Result<MessageId, Refusal> {
        let refusal = Refusal::new(
            Fault::Conflict,
            SpoolError::Full.code(),
            "there is no room for more undelivered mail",
            "When the next hop has taken some of it, run this again: it goes on where it stopped.",
        );
        if page.messages == 0 {
            return Err(refusal);
        }
        page.stopped = Some(refusal.body);
        Ok(id)
    }

    fn run(&self) -> Option<Began> {
        self.run.map(|request| Began { request: request.clone(), below: self.below })
    }

    fn asked_by(&self) -> String {
        let reason = self.request.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        format!(", asked for by {}{reason}", self.who)
    }
}

impl ReplayPage {
    fn count(&mut self, chosen: &Chosen) {
        self.messages += 1;
        self.bytes += u64::from(chosen.size_bytes);
        self.recipients += u64::from(chosen.recipients_count());
        self.undated += u64::from(chosen.is_undated);
    }
}

/// What a step of the storage thread did.
#[derive(Default)]
struct Step {
    done: Vec<Chosen>,
    given: Vec<GivenBack>,
    refused: Vec<(MessageId, SpoolError)>,
    full_at: Option<MessageId>,
}

impl Step {
    /// The first message that goes to one mailbox: a report says of it whether it arrives.
    fn asking(&self) -> Option<MessageId> {
        self.done.iter().find(|chosen| chosen.recipients_count() == 1).map(|chosen| chosen.id)
    }

    fn set_back(
        spool: &mut Spool,
        store: Store,
        step: &[Chosen],
        at: Stamp,
        run: Option<Began>,
        asked: &str,
    ) -> Result<Self, SpoolError> {
        let mut this = Self::default();
        for chosen in step {
            let was_queued = super::has_queued(spool, chosen.id);
            let runs = || chosen.runs.iter().copied();
            match runs().try_for_each(|(first, count)| spool.replay(chosen.id, first, count, at)) {
                Ok(()) => {}
                Err(SpoolError::Full) => {
                    this.full_at = Some(chosen.id);
                    break;
                }
                // It has made room for other mail meanwhile, or somebody else has replayed it.
                Err(
                    error @ (SpoolError::NoSuchMessage(_)
                    | SpoolError::Damaged(_)
                    | SpoolError::NotDelivered(_)),
                ) => {
                    this.refused.push((chosen.id, error));
                    continue;
                }
                Err(error) => return Err(error),
            }
            let text = format!("to be delivered again{asked} (to {})", chosen.recipients_text());
            unless_full(spool.record_event(&Kind::Replayed.event(at, Some(chosen.id), text)))?;
            let id = MailId { store, number: chosen.id.0 };
            let message = Recovered { id, size_bytes: chosen.size_bytes, attempts: 0 };
            this.given.push(GivenBack { message, was_queued });
            this.done.push(chosen.clone());
        }
        let last = step.last().map(|chosen| MessageId(chosen.id.0 + 1));
        if let Some(next) = this.full_at.or(last) {
            unless_full(note_position(spool, run, MailId { store, number: next.0 }, at))?;
        }
        Ok(this)
    }
}

/// What is set back has to be known to release, also where there is no room left to say more about it.
fn unless_full(done: Result<(), SpoolError>) -> Result<(), SpoolError> {
    match done {
        Err(SpoolError::Full) => Ok(()),
        done => done,
    }
}

/// Keeps how far a replay has come, if it is one of which that is kept.
fn note_position(spool: &mut Spool, run: Option<Began>, next: MailId, at: Stamp) -> Result<(), SpoolError> {
    let Some(Began { request, below }) = run else { return Ok(()) };
    let run = Run { request, next, below, at_unix_ms: at.unix_ms, clock_trusted: at.trusted };
    let value = serde_json::to_vec(&run).unwrap_or_default();
    debug_assert!(value.len() <= META_VALUE_BYTES_MAX, "addresses are bounded");
    spool.put_meta(META_REPLAY, RUN, &value)
}

fn refused(id: MailId, error: SpoolError) -> Refused {
    let error = match error {
        SpoolError::NotDelivered(_) => choose::nothing_delivered(id),
        other => refusal(id, other),
    };
    Refused { id, error: error.body }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(which: Which) -> ReplayRequest {
        ReplayRequest {
            which,
            from_unix_ms: Some(5),
            until_unix_ms: None,
            as_attachment: false,
            dry_run: false,
            position: None,
            below: None,
            again: false,
            reason: None,
        }
    }

    #[test]
    fn a_replay_that_was_cut_is_gone_on_with_when_the_same_is_asked_for_within_a_day() {
        const HOUR_MS: u64 = 3600 * 1000;
        let all = request(Which::All);
        let kept = |clock_trusted: bool| Run {
            request: run_of(&all).unwrap(),
            next: MailId::disk(7),
            below: 9,
            at_unix_ms: 1_000_000,
            clock_trusted,
        };
        let at = |hours: u64, trusted: bool| Stamp { unix_ms: 1_000_000 + hours * HOUR_MS, boot: 1, trusted };
        let other_words = ReplayRequest { reason: Some("once more".into()), ..all.clone() };
        assert!(kept(true).is_resumed_by(&run_of(&other_words).unwrap(), at(24, true)));
        assert!(!kept(true).is_resumed_by(&all, at(25, true)), "too long ago");
        assert!(kept(true).is_resumed_by(&all, at(25, false)), "nothing tells how long ago");
        assert!(kept(false).is_resumed_by(&all, at(25, true)));
        for other in [
            ReplayRequest { from_unix_ms: None, ..all.clone() },
            ReplayRequest { as_attachment: true, ..all.clone() },
            request(Which::Domain("example.org".into())),
        ] {
            assert!(!kept(true).is_resumed_by(&run_of(&other).unwrap(), at(1, true)), "{other:?}");
        }
        assert_eq!(run_of(&ReplayRequest { dry_run: true, ..all }), None);
        assert_eq!(run_of(&request(Which::Ids(vec![MailId::disk(7)]))), None);
    }

    #[test]
    fn how_far_a_replay_has_come_fits_into_a_value_of_the_log() {
        let longest = request(Which::Mailbox("\"".repeat(crate::control::replay::ADDRESS_BYTES_MAX)));
        let run = Run {
            request: ReplayRequest { from_unix_ms: Some(u64::MAX), until_unix_ms: Some(u64::MAX), ..longest },
            next: MailId::disk(u64::MAX),
            below: u64::MAX,
            at_unix_ms: u64::MAX,
            clock_trusted: false,
        };
        assert!(serde_json::to_vec(&run).unwrap().len() <= META_VALUE_BYTES_MAX);
    }
}
