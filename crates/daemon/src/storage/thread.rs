//! The storage thread: applies what waits, syncs once for all of it, answers, keeps house when nobody wants anything.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use penstock_spool::{
    Error, Fate, Finding, Incoming, MessageId, MountOptions, Recipient, ScrubStep, Stamp, Status, Step,
};
use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use super::queue::{Command, NewMessage, ScrubAnswer, ScrubOrder, Settle, StoreAnswer, Stored, Ticket};
use super::scrub::{STEP_BYTES, Watch};
use super::{Shared, State, waiting};
use penstock_settings::Volume as Settings;

use crate::boxstate::Kept;
use crate::control::{MailId, Store};
use crate::deliver::Delivery;
use crate::ledger::Kind;
use crate::volume::{self, Medium, Mounted, Place, Spool};

/// The longest that a commit waits for others to share its sync.
const WINDOW: Duration = Duration::from_millis(1);
/// How long after a failed write the volume is tried again, and how often then.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(30);
/// How soon it is looked again whether the last message that was open for reading is closed.
const RETRY_SOON: Duration = Duration::from_secs(1);

/// An answer on its way to who waits for it.
pub(crate) enum Answered {
    /// A message was taken, or not.
    Stored(StoreAnswer, Result<Accepted, Error>),
    /// A change was made, or not.
    Settled(Settle, Result<(), Error>),
    /// A message that could not be given out was repaired.
    Mended(Recovered),
    /// The volume was mounted, at last or anew, or asked for: what is queued may differ from what was known.
    Arrived(Box<Arrived>),
    /// The volume cannot be used, which is told once.
    Absent(Store, crate::Error),
    /// A write failed: what is queued there cannot be released.
    Failed(Store, Error),
}

/// What a volume holds.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) store: Store,
    /// The name of the volume.
    pub(crate) volume: [u8; 16],
    pub(crate) queued: Vec<Recovered>,
    /// The state of the box, as this volume has it.
    pub(crate) kept: Kept,
}

/// A message on the volume that has recipients to be tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recovered {
    pub(crate) id: MailId,
    pub(crate) size_bytes: u32,
    pub(crate) attempts: u16,
}

/// All messages that have recipients to be tried. Those that wait for the operator are not among them.
fn queued(spool: &Spool, store: Store) -> Vec<Recovered> {
    let to_try = |id: MessageId| {
        let fates = spool.fates(id).unwrap_or_default();
        fates.iter().any(|(_, _, fate)| matches!(fate, Fate::Queued | Fate::Deferred))
    };
    spool
        .queue(MessageId(0))
        .filter(|summary| !summary.damaged && to_try(summary.id))
        .map(|summary| Recovered {
            id: MailId { store, number: summary.id.0 },
            size_bytes: summary.size_bytes,
            attempts: summary.attempts,
        })
        .collect()
}

impl Answered {
    /// Tells who waits for it, and release of what there is to be released.
    pub(crate) fn deliver(self, delivery: &Arc<Delivery>) {
        match self {
            Self::Stored(answer, Ok(accepted)) => {
                let id = accepted.id;
                // Before it is offered: how long it waits depends on what is there already.
                let verdict = delivery.await_verdict(id, &accepted.recipients);
                if answer.send(Ok(Stored { id, verdict })).is_ok() {
                    delivery.offer(accepted);
                } else {
                    // It took so long that the sender was told to come back, and will.
                    delivery.renounce(id);
                }
            }
            Self::Stored(answer, Err(error)) => {
                // Who asked may have gone meanwhile.
                let _ = answer.send(Err(error));
            }
            Self::Settled(settle, synced) => settle(synced),
            Self::Mended(message) => delivery.give_back_mended(message),
            Self::Arrived(arrived) => {
                let store = arrived.store;
                delivery.arrived(*arrived);
                delivery.mark_renounced(store);
            }
            Self::Absent(store, error) => delivery.lost(store, &error.to_string()),
            Self::Failed(store, error) => delivery.lost(store, &error.to_string()),
        }
    }
}

/// A message that is in custody.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) id: MailId,
    pub(crate) size_bytes: u64,
    pub(crate) received: Stamp,
    pub(crate) recipients: Vec<Recipient>,
}

/// A message whose COMMIT waits for the sync.
struct Committed {
    answer: StoreAnswer,
    accepted: Accepted,
}

/// A message on its way in.
struct Begun {
    incoming: Incoming,
    received: Stamp,
    recipients: Vec<Recipient>,
}

/// A message that comes in pieces: as far as it went well.
type Open = Result<Begun, Error>;

/// Opens the volume, and serves it until it is to be closed.
pub(super) fn run(
    shared: &Arc<Shared>,
    place: &Place,
    settings: &Settings,
    answer_to: mpsc::UnboundedSender<Vec<Answered>>,
) -> Result<(), Error> {
    let tell = |answered| {
        // Nobody is left to hear it when the runtime is gone.
        let _ = answer_to.send(vec![answered]);
    };
    match waiting::wait_for(shared, place, tell) {
        Some(mounted) => Thread::new(Arc::clone(shared), mounted, settings, answer_to).run(),
        None => Ok(()),
    }
}

struct Thread {
    shared: Arc<Shared>,
    medium: Medium,
    options: MountOptions,
    spool: Spool,
    open: HashMap<Ticket, Open>,
    committed: Vec<Committed>,
    /// Messages that a failed write leaves in doubt. Their senders were told to come back, so none of them is to be found
    /// as mail when the volume is mounted anew.
    refused: Vec<MessageId>,
    changed: Vec<Settle>,
    /// Answers that wait for no sync, or had it.
    answers: Vec<Answered>,
    answer_to: mpsc::UnboundedSender<Vec<Answered>>,
    /// When the first of `committed` came.
    first_commit: Option<Instant>,
    /// When the volume is tried again after a write failed.
    retry_at: Option<Instant>,
    watch: Watch,
    closing: bool,
}

impl Thread {
    fn new(
        shared: Arc<Shared>,
        mounted: Mounted,
        settings: &Settings,
        answer_to: mpsc::UnboundedSender<Vec<Answered>>,
    ) -> Self {
        let Mounted { medium, spool, options, took } = mounted;
        shared.facts().mount_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let watch = Watch::new(settings, &spool, shared.clock.stamp());
        let mut thread = Self {
            shared,
            medium,
            options,
            spool,
            open: HashMap::new(),
            committed: Vec::new(),
            refused: Vec::new(),
            changed: Vec::new(),
            answers: Vec::new(),
            answer_to,
            first_commit: None,
            retry_at: None,
            watch,
            closing: false,
        };
        thread.arrive(true);
        thread
    }

    /// Lets everybody know of a volume that was mounted.
    fn arrive(&mut self, is_first: bool) {
        let note = self.shared.numbers.mounted(&self.spool, is_first);
        self.shared.noted_numbers.store(note, Relaxed);
        self.shared.set(State::Well, None, false);
        self.publish();
        self.tell_queued();
        self.answer();
    }

    fn tell_queued(&mut self) {
        let arrived = Arrived {
            store: self.shared.store,
            volume: self.spool.info().volume,
            queued: queued(&self.spool, self.shared.store),
            kept: Kept::read(&self.spool),
        };
        self.answers.push(Answered::Arrived(Box::new(arrived)));
    }

    fn run(mut self) -> Result<(), Error> {
        let mut commands = Vec::new();
        while !self.closing {
            self.shared.begin();
            self.shared.queue.take(&mut commands);
            if commands.is_empty() && !self.keep_house() {
                self.answer();
                let until = self.retry_at.into_iter().chain(self.watch.next_step()).min();
                self.shared.rest();
                self.shared.queue.wait(&mut commands, until);
                self.shared.begin();
            }
            self.apply_all(&mut commands);
            self.gather(&mut commands);
            self.sync();
            self.answer();
        }
        info!(volume = self.shared.store.as_str(), "closing the volume");
        if self.spool.info().read_only {
            return Err(Error::ReadOnly);
        }
        self.spool.close().map(|_| ())
    }

    /// Waits for the other transactions that are under way, as long as the window is open.
    fn gather(&mut self, commands: &mut Vec<Command>) {
        while let Some(first_commit) = self.first_commit {
            let others = self.shared.transactions.load(Relaxed).saturating_sub(self.committed.len());
            let until = first_commit + WINDOW;
            if others == 0 || self.closing || Instant::now() >= until {
                return;
            }
            self.shared.queue.wait_for_commits(commands, others, until);
            self.apply_all(commands);
        }
    }

    fn apply_all(&mut self, commands: &mut Vec<Command>) {
        for command in commands.drain(..) {
            self.shared.begin();
            self.apply(command);
        }
    }

    fn apply(&mut self, command: Command) {
        match command {
            // Who asked was told meanwhile that it is not to be: it took too long.
            Command::Store(_, _, answer) if answer.is_closed() => {}
            Command::Store(new, _permit, answer) => {
                let committed = self.begin(*new).and_then(|begun| self.commit(begun));
                self.take_commit(committed, answer);
            }
            Command::Begin(ticket, new, _permit) => {
                let open = self.begin(*new);
                self.open.insert(ticket, open);
            }
            Command::Piece(ticket, piece, _permit) => {
                let Some(Ok(begun)) = self.open.get_mut(&ticket) else { return };
                if let Err(error) = self.spool.write(&mut begun.incoming, &piece)
                    && let Some(Ok(begun)) = self.open.insert(ticket, Err(error))
                {
                    self.spool.abort(begun.incoming);
                }
            }
            Command::Commit(ticket, answer) => match self.open.remove(&ticket).unwrap_or(Err(Error::Stale)) {
                Ok(begun) if answer.is_closed() => self.spool.abort(begun.incoming),
                open => {
                    let committed = open.and_then(|begun| self.commit(begun));
                    self.take_commit(committed, answer);
                }
            },
            Command::Abort(ticket) => {
                if let Some(Ok(begun)) = self.open.remove(&ticket) {
                    self.spool.abort(begun.incoming);
                }
            }
            Command::Change(change) => self.changed.push(change(&mut self.spool)),
            Command::Look(look) => look(&mut self.spool),
            // What has failed cannot be released; it is told when the volume is mounted anew.
            Command::TellAgain if self.is_failed() => {}
            Command::TellAgain => self.tell_queued(),
            Command::Scrub(order, answer) => {
                // Who asked may have gone meanwhile.
                let _ = answer.send(self.order_scrub(order));
            }
            Command::Close => self.closing = true,
        }
    }

    fn begin(&mut self, new: NewMessage) -> Result<Begun, Error> {
        let NewMessage { begin, recipients, declared_bytes, mut head } = new;
        let reserve = declared_bytes.map(|declared| declared.max(head.len() as u64));
        self.shared.numbers.before_message(&mut self.spool);
        let mut incoming = self.spool.begin(&begin, &recipients, reserve)?;
        self.shared.numbers.given(incoming.id());
        let head = head.with_number(self.mail_id(incoming.id()));
        match self.spool.write(&mut incoming, head) {
            Ok(()) => Ok(Begun { incoming, received: begin.received, recipients }),
            Err(error) => {
                self.spool.abort(incoming);
                Err(error)
            }
        }
    }

    fn commit(&mut self, begun: Begun) -> Result<Accepted, Error> {
        let Begun { incoming, received, recipients } = begun;
        let (size_bytes, id) = (incoming.size_bytes(), incoming.id());
        self.spool.commit(incoming).inspect_err(|error| {
            if matches!(error, Error::Write(_)) {
                self.refused.push(id);
            }
        })?;
        Ok(Accepted { id: self.mail_id(id), size_bytes, received, recipients })
    }

    fn mail_id(&self, id: MessageId) -> MailId {
        MailId { store: self.shared.store, number: id.0 }
    }

    fn take_commit(&mut self, committed: Result<Accepted, Error>, answer: StoreAnswer) {
        match committed {
            Ok(accepted) => {
                self.first_commit.get_or_insert_with(Instant::now);
                self.committed.push(Committed { answer, accepted });
            }
            Err(error) => {
                self.look_for_failure(Some(error));
                self.answers.push(Answered::Stored(answer, Err(error)));
            }
        }
    }

    /// Makes durable what was applied, and prepares the answers.
    fn sync(&mut self) {
        self.first_commit = None;
        if self.committed.is_empty() && self.changed.is_empty() {
            return;
        }
        self.shared.begin();
        let synced = self.spool.sync();
        self.look_for_failure(synced.err());
        let metrics = &self.shared.metrics;
        if synced.is_ok() && !self.committed.is_empty() {
            metrics.commit_groups.add(1);
            metrics.accepted.add(self.committed.len() as u64);
            metrics.accepted_bytes.add(self.committed.iter().map(|c| c.accepted.size_bytes).sum());
        }
        if synced.is_err() {
            let in_doubt = self.committed.iter().map(|committed| MessageId(committed.accepted.id.number));
            self.refused.extend(in_doubt);
        }
        let stored = self
            .committed
            .drain(..)
            .map(|Committed { answer, accepted }| Answered::Stored(answer, synced.map(|()| accepted)));
        let settled = self.changed.drain(..).map(|settle| Answered::Settled(settle, synced));
        self.answers.extend(stored.chain(settled));
        self.publish();
    }

    fn answer(&mut self) {
        if !self.answers.is_empty() {
            // Nobody is left to hear it when the runtime is gone.
            let _ = self.answer_to.send(std::mem::take(&mut self.answers));
        }
    }

    /// Lets the other threads see how the volume stands.
    fn publish(&mut self) {
        let info = self.spool.info();
        let counters = self.spool.counters();
        self.shared.facts().info = Some(info);
        self.shared.clock.set_boot(info.boot);
        let metrics = self.shared.metrics.volume(self.shared.store);
        metrics.syncs.set(counters.syncs);
        metrics.programmed_bytes.set(counters.programmed_bytes);
        *self.shared.scrub.lock().unwrap_or_else(PoisonError::into_inner) = self.watch.view();
    }

    /// Does a bounded piece of housekeeping. Whether there was any.
    fn keep_house(&mut self) -> bool {
        match self.spool.step(self.shared.clock.stamp()) {
            Ok(Step::Idle) => self.retry() || self.scrub(),
            Ok(Step::More) => {
                self.publish();
                true
            }
            Ok(Step::Damaged(id)) => {
                error!(
                    code = "PS-D212",
                    id = %self.mail_id(id),
                    "a message on the volume is damaged; it is kept and not given out"
                );
                true
            }
            Err(error) => {
                // Space that housekeeping lacks comes with deliveries.
                debug!(%error, "housekeeping");
                self.look_for_failure(Some(error));
                false
            }
        }
    }

    fn order_scrub(&mut self, order: ScrubOrder) -> ScrubAnswer {
        let done = match order {
            ScrubOrder::Begin(mode) => self.watch.begin(&mut self.spool, mode).map_err(Some),
            ScrubOrder::Stop if self.watch.stop(&mut self.spool) => Ok(0),
            ScrubOrder::Stop => Err(None),
        };
        self.publish();
        done
    }

    /// Goes through a bounded piece of the volume, if that is due. Whether it did.
    fn scrub(&mut self) -> bool {
        if self.is_failed() {
            // What is found could not be put right, nor be recorded.
            return false;
        }
        let Some(scrub) = self.watch.due(&self.spool) else { return false };
        let begun = Instant::now();
        let done = match self.spool.scrub_step(scrub, STEP_BYTES) {
            Ok(ScrubStep::Progress(_)) => Ok(()),
            Ok(ScrubStep::Found(finding)) => self.tell_finding(finding),
            Ok(ScrubStep::Done(_)) => self.finish_scrub(),
            Err(error) => Err(error),
        };
        let noted = self.watch.stepped(&mut self.spool, begun.elapsed());
        let synced = done.and(noted.and_then(|noted| if noted { self.spool.sync() } else { Ok(()) }));
        if let Err(error) = synced {
            debug!(%error, "scrub");
            self.look_for_failure(Some(error));
        }
        self.publish();
        self.answer();
        true
    }

    fn finish_scrub(&mut self) -> Result<(), Error> {
        let at = self.shared.clock.stamp();
        let Some(result) = self.watch.finish(&mut self.spool, at)? else { return Ok(()) };
        self.shared.metrics.scrub_passes.add(1);
        let found = result.found;
        let checked = format!("{} messages of {} bytes read", found.messages, found.message_bytes);
        let text = match found.flaws() {
            None => format!("{checked}: all is as it was written"),
            Some(flaws) => format!("{checked}: {flaws}"),
        };
        info!(text, "the volume was gone through");
        self.spool.record_event(&Kind::Scrubbed.event(at, None, text))?;
        self.spool.sync()
    }

    /// Records and counts what a pass found, and gives to release what can be delivered again.
    fn tell_finding(&mut self, finding: Finding) -> Result<(), Error> {
        let metrics = &self.shared.metrics;
        let (kind, message, text) = match finding {
            Finding::Unsteady(id) => {
                metrics.scrub_unsteady.add(1);
                (Kind::Repaired, Some(id), "could be read only at another try".to_owned())
            }
            Finding::Repaired(id) => {
                metrics.scrub_repaired.add(1);
                let text = "flipped bits were put right and SHA-256 agrees; it was written again elsewhere";
                (Kind::Repaired, Some(id), text.to_owned())
            }
            Finding::Repairable(id) => {
                let text = "flipped bits were found that can be put right; it was not written again";
                (Kind::Rot, Some(id), text.to_owned())
            }
            Finding::Damaged(id) => {
                metrics.scrub_damaged.add(1);
                let text =
                    "the bytes on the volume are not those that were written; it is kept and not given out";
                (Kind::Damaged, Some(id), text.to_owned())
            }
            Finding::Records { segment, frames } => {
                metrics.scrub_rot.add(u64::from(frames));
                let text = format!("{frames} records of fates and state in segment {segment} cannot be read");
                (Kind::Rot, None, text)
            }
            Finding::Header { segment, copies } => {
                metrics.scrub_rot.add(1);
                (
                    Kind::Rot,
                    None,
                    format!("{copies} of 2 copies of the header of segment {segment} can be read"),
                )
            }
        };
        let id = message.map(|id| self.mail_id(id).to_string());
        if kind == Kind::Damaged {
            error!(code = "PS-D213", id, "a scrub found a damaged message: ask the sender for it again");
        } else {
            warn!(code = "PS-D214", id, text, "a scrub found rot; if it goes on, plan to replace the disk");
        }
        if let (Kind::Repaired, Some(id)) = (kind, message)
            && let Some(recovered) =
                queued(&self.spool, self.shared.store).into_iter().find(|it| it.id == self.mail_id(id))
        {
            self.answers.push(Answered::Mended(recovered));
        }
        self.spool.record_event(&kind.event(self.shared.clock.stamp(), message, text))?;
        self.spool.sync()
    }

    fn is_failed(&self) -> bool {
        self.shared.state.load(Relaxed) == State::Failed as u8
    }

    /// Tells once that the log takes nothing more, and sets the time to try again.
    fn look_for_failure(&mut self, error: Option<Error>) {
        let Some(error @ (Error::Write(_) | Error::ReadOnly)) = error else { return };
        if self.is_failed() {
            return;
        }
        self.shared.set(State::Failed, Some(error.to_string()), false);
        self.retry_at = Some(Instant::now() + RETRY_AFTER);
        error!(
            code = "PS-D201",
            volume = self.shared.store.as_str(),
            %error,
            "a write to the volume failed: it takes no mail, what it accepted stays readable, nothing of it is released \
             since its fate could not be recorded; tried again every 30 s. Check the disk"
        );
        self.answers.push(Answered::Failed(self.shared.store, error));
    }

    /// Mounts the volume anew when it is time. Whether anything was done.
    fn retry(&mut self) -> bool {
        if self.retry_at.is_none_or(|at| Instant::now() < at) {
            return false;
        }
        if Arc::strong_count(&self.shared.open_messages) > 1 {
            // The new mount would know nothing of what they keep from being reused.
            self.retry_at = Some(Instant::now() + RETRY_SOON);
            return false;
        }
        self.medium.forget_failure();
        let volume = self.shared.store.as_str();
        match self.mount_anew() {
            Ok(spool) => {
                // What was begun on the old mount cannot be ended on the new one.
                self.open.values_mut().for_each(|open| *open = Err(Error::Stale));
                self.spool = spool;
                self.watch.forget();
                self.retry_at = None;
                self.arrive(false);
                warn!(code = "PS-D202", volume, "the volume can be written again; mail is taken as before");
            }
            Err(error) => {
                self.retry_at = Some(Instant::now() + RETRY_AFTER);
                warn!(code = "PS-D203", volume, %error, "the volume still fails");
            }
        }
        true
    }

    /// A second mount that has proven that it can write. The first one stays what it is, so that nothing is lost if not.
    fn mount_anew(&mut self) -> Result<Spool, Error> {
        let mut spool = volume::mount(self.medium.clone(), self.options)?;
        let text = "the volume can be written again".to_owned();
        let at = self.shared.clock.stamp();
        for id in &self.refused {
            refuse(&mut spool, *id, at)?;
        }
        spool.record_event(&Kind::VolumeRecovered.event(at, None, text))?;
        spool.sync()?;
        self.refused.clear();
        Ok(spool)
    }
}

/// Writes down of a message, if it is there, that it is not to be: its sender was told to come back.
pub(crate) fn refuse(spool: &mut Spool, id: MessageId, at: Stamp) -> Result<(), Error> {
    let Some(fates) = spool.fates(id) else { return Ok(()) };
    for (first, count, _) in fates {
        let (fate, attempts, reply_code) = (Fate::RefusedInSession, 0, 0);
        spool.set_status(id, &Status { first, count, fate, attempts, reply_code, at })?;
    }
    let text = "its sender had been told to come back before it was safe, so it is not delivered".to_owned();
    spool.record_event(&Kind::TooLate.event(at, Some(id), text))
}
