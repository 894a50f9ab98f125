//! The storage thread: applies what waits, syncs once for all of it, answers, keeps house when nobody wants anything.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use penstock_spool::{Error, Fate, Incoming, MessageId, MountOptions, Stamp, Step};
use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use super::Shared;
use super::queue::{Command, NewMessage, Settle, StoreAnswer, Ticket};
use crate::control::MailId;
use crate::deliver::Delivery;
use crate::ledger::Kind;
use crate::volume::{self, Medium, Mounted, Spool};

/// The longest that a commit waits for others to share its sync.
const WINDOW: Duration = Duration::from_millis(1);
/// How long after a failed write the volume is tried again, and how often then.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// How soon it is looked again whether the last message that was open for reading is closed.
const RETRY_SOON: Duration = Duration::from_secs(1);

/// An answer on its way to who waits for it.
pub(crate) enum Answered {
    /// A message was taken, or not.
    Stored(StoreAnswer, Result<Accepted, Error>),
    /// A change was made, or not.
    Settled(Settle, Result<(), Error>),
    /// The volume was mounted anew: what is queued may differ from what was known.
    Remounted(Vec<Recovered>),
}

/// A message on the volume that has recipients to be tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recovered {
    pub(crate) id: MessageId,
    pub(crate) size_bytes: u32,
    pub(crate) attempts: u16,
}

/// All messages that have recipients to be tried. Those that wait for the operator are not among them.
pub(crate) fn queued(spool: &Spool) -> Vec<Recovered> {
    let to_try = |id: MessageId| {
        let fates = spool.fates(id).unwrap_or_default();
        fates.iter().any(|(_, _, fate)| matches!(fate, Fate::Queued | Fate::Deferred))
    };
    spool
        .queue(MessageId(0))
        .filter(|summary| !summary.damaged && to_try(summary.id))
        .map(|summary| Recovered {
            id: summary.id,
            size_bytes: summary.size_bytes,
            attempts: summary.attempts,
        })
        .collect()
}

impl Answered {
    /// Tells who waits for it, and release of what there is to be released.
    pub(crate) fn deliver(self, delivery: &Delivery) {
        match self {
            Self::Stored(answer, stored) => {
                // A client that has gone meanwhile does not change what was taken.
                let _ = answer.send(stored.map(|accepted| accepted.id));
                if let Ok(accepted) = stored {
                    delivery.offer(accepted);
                }
            }
            Self::Settled(settle, synced) => settle(synced),
            Self::Remounted(queued) => delivery.start_over(&queued),
        }
    }
}

/// A message that is in custody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted {
    pub(crate) id: MessageId,
    pub(crate) size_bytes: u64,
    pub(crate) received: Stamp,
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
}

/// A message that comes in pieces: as far as it went well.
type Open = Result<Begun, Error>;

pub(super) struct Thread {
    shared: Arc<Shared>,
    medium: Medium,
    options: MountOptions,
    spool: Spool,
    open: HashMap<Ticket, Open>,
    committed: Vec<Committed>,
    changed: Vec<Settle>,
    /// Answers that wait for no sync, or had it.
    answers: Vec<Answered>,
    answer_to: mpsc::UnboundedSender<Vec<Answered>>,
    /// When the first of `committed` came.
    first_commit: Option<Instant>,
    /// When the volume is tried again after a write failed.
    retry_at: Option<Instant>,
    closing: bool,
}

impl Thread {
    pub(super) fn new(
        shared: Arc<Shared>,
        mounted: Mounted,
        answer_to: mpsc::UnboundedSender<Vec<Answered>>,
    ) -> Self {
        let Mounted { medium, spool, options } = mounted;
        let mut thread = Self {
            shared,
            medium,
            options,
            spool,
            open: HashMap::new(),
            committed: Vec::new(),
            changed: Vec::new(),
            answers: Vec::new(),
            answer_to,
            first_commit: None,
            retry_at: None,
            closing: false,
        };
        thread.publish();
        thread
    }

    pub(super) fn run(mut self) -> Result<(), Error> {
        let mut commands = Vec::new();
        while !self.closing {
            self.shared.queue.take(&mut commands);
            if commands.is_empty() && !self.keep_house() {
                self.shared.queue.wait(&mut commands, self.retry_at);
            }
            self.apply_all(&mut commands);
            self.gather(&mut commands);
            self.sync();
            self.answer();
        }
        info!("closing the volume");
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
            self.apply(command);
        }
    }

    fn apply(&mut self, command: Command) {
        match command {
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
            Command::Commit(ticket, answer) => {
                let open = self.open.remove(&ticket).unwrap_or(Err(Error::Stale));
                let committed = open.and_then(|begun| self.commit(begun));
                self.take_commit(committed, answer);
            }
            Command::Abort(ticket) => {
                if let Some(Ok(begun)) = self.open.remove(&ticket) {
                    self.spool.abort(begun.incoming);
                }
            }
            Command::Change(change) => self.changed.push(change(&mut self.spool)),
            Command::Look(look) => look(&mut self.spool),
            Command::Close => self.closing = true,
        }
    }

    fn begin(&mut self, new: NewMessage) -> Result<Begun, Error> {
        let NewMessage { begin, recipients, declared_bytes, mut head } = new;
        let reserve = declared_bytes.map(|declared| declared.max(head.len() as u64));
        let mut incoming = self.spool.begin(&begin, &recipients, reserve)?;
        let head = head.with_number(incoming.id());
        match self.spool.write(&mut incoming, head) {
            Ok(()) => Ok(Begun { incoming, received: begin.received }),
            Err(error) => {
                self.spool.abort(incoming);
                Err(error)
            }
        }
    }

    fn commit(&mut self, begun: Begun) -> Result<Accepted, Error> {
        let Begun { incoming, received } = begun;
        let size_bytes = incoming.size_bytes();
        self.spool.commit(incoming).map(|id| Accepted { id, size_bytes, received })
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
        let synced = self.spool.sync();
        self.look_for_failure(synced.err());
        let metrics = &self.shared.metrics;
        if synced.is_ok() && !self.committed.is_empty() {
            metrics.commit_groups.add(1);
            metrics.accepted.add(self.committed.len() as u64);
            metrics.accepted_bytes.add(self.committed.iter().map(|c| c.accepted.size_bytes).sum());
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
        self.shared.free_bytes.store(info.free_bytes(), Relaxed);
        self.shared.clock.set_boot(info.boot);
        self.shared.metrics.syncs.set(counters.syncs);
        self.shared.metrics.programmed_bytes.set(counters.programmed_bytes);
    }

    /// Does a bounded piece of housekeeping. Whether there was any.
    fn keep_house(&mut self) -> bool {
        match self.spool.step(self.shared.clock.stamp()) {
            Ok(Step::Idle) => self.retry(),
            Ok(Step::More) => {
                self.publish();
                true
            }
            Ok(Step::Damaged(id)) => {
                error!(
                    code = "PS-D212",
                    id = %MailId::disk(id.0),
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

    /// Tells once that the log takes nothing more, and sets the time to try again.
    fn look_for_failure(&mut self, error: Option<Error>) {
        let failed = matches!(error, Some(Error::Write(_) | Error::ReadOnly));
        if failed && !self.shared.failed.swap(true, Relaxed) {
            self.retry_at = Some(Instant::now() + RETRY_AFTER);
            error!(
                code = "PS-D201",
                error = error.map(tracing::field::display),
                "a write to the volume failed: mail is answered with 4xx, what was accepted stays readable, nothing \
                 is released since its fate could not be recorded; tried again every 30 s. Check the disk"
            );
        }
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
        match self.mount_anew() {
            Ok(spool) => {
                // What was begun on the old mount cannot be ended on the new one.
                self.open.values_mut().for_each(|open| *open = Err(Error::Stale));
                self.spool = spool;
                self.retry_at = None;
                self.shared.failed.store(false, Relaxed);
                self.publish();
                self.answers.push(Answered::Remounted(queued(&self.spool)));
                warn!(code = "PS-D202", "the volume can be written again; mail is taken as before");
            }
            Err(error) => {
                self.retry_at = Some(Instant::now() + RETRY_AFTER);
                warn!(code = "PS-D203", %error, "the volume still fails");
            }
        }
        self.answer();
        true
    }

    /// A second mount that has proven that it can write. The first one stays what it is, so that nothing is lost if not.
    fn mount_anew(&self) -> Result<Spool, Error> {
        let mut spool = volume::mount(self.medium.clone(), self.options)?;
        let text = "the volume can be written again".to_owned();
        spool.record_event(&Kind::VolumeRecovered.event(self.shared.clock.stamp(), None, text))?;
        spool.sync()?;
        Ok(spool)
    }
}
