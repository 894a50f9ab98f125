//! What the storage thread is asked, and how long it waits for more before it syncs.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use penstock_spool::{Begin, Error, Recipient, ScrubMode};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::draft::Draft;
use crate::control::MailId;
use crate::deliver::Awaited;
use crate::volume::Spool;

/// A message with its envelope, as it came.
#[derive(Debug)]
pub(crate) struct NewMessage {
    pub(crate) begin: Begin,
    pub(crate) recipients: Vec<Recipient>,
    /// The SIZE of MAIL.
    pub(crate) declared_bytes: Option<u64>,
    /// The message, or as much of it as has come.
    pub(crate) head: Draft,
}

/// A message that is in custody.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) id: MailId,
    /// The next hop's word on it, where that can be expected soon.
    pub(crate) verdict: Option<Awaited>,
}

/// Tells what has become of a change, once its sync has ended.
pub(crate) type Settle = Box<dyn FnOnce(Result<(), Error>) + Send>;
pub(super) type Change = Box<dyn FnOnce(&mut Spool) -> Settle + Send>;
pub(super) type Look = Box<dyn FnOnce(&mut Spool) + Send>;
/// What the operator wants of the watch over the volume.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ScrubOrder {
    /// A pass, now.
    Begin(ScrubMode),
    /// No pass.
    Stop,
}

/// The number of the pass that was begun, or of the one that is in its way; of no pass to stop nothing.
pub(crate) type ScrubAnswer = Result<u64, Option<u64>>;
pub(super) type StoreAnswer = oneshot::Sender<Result<Stored, Error>>;

/// What the storage thread is asked.
pub(super) enum Command {
    /// A whole message.
    Store(Box<NewMessage>, OwnedSemaphorePermit, StoreAnswer),
    /// The head of a message that comes in pieces.
    Begin(Ticket, Box<NewMessage>, OwnedSemaphorePermit),
    /// More of it.
    Piece(Ticket, Vec<u8>, OwnedSemaphorePermit),
    /// Its end.
    Commit(Ticket, StoreAnswer),
    /// It is not to be.
    Abort(Ticket),
    /// Something that appends, and is told of after the sync.
    Change(Change),
    /// Something that only reads what is in memory, or opens.
    Look(Look),
    /// Tell release what is queued, in order with the other answers.
    TellAgain,
    /// Go through the volume now, or stop doing so.
    Scrub(ScrubOrder, oneshot::Sender<ScrubAnswer>),
    /// Stop cleanly.
    Close,
}

impl Command {
    /// Whether a client waits for it at its end of data.
    fn is_commit(&self) -> bool {
        matches!(self, Self::Store(..) | Self::Commit(..))
    }
}

/// A message that comes in pieces, between the listener and the storage thread.
pub(super) type Ticket = u64;

#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    wake: Condvar,
}

#[derive(Default)]
struct Inner {
    commands: Vec<Command>,
    commits: usize,
    /// The storage thread sleeps until there are so many commits; 0 stands for any command.
    sleeps_for_commits: Option<usize>,
}

impl Queue {
    pub(super) fn push(&self, command: Command) {
        let mut inner = self.lock();
        inner.commits += usize::from(command.is_commit());
        inner.commands.push(command);
        let wakes = inner.sleeps_for_commits.is_some_and(|wanted| wanted <= inner.commits);
        if wakes {
            inner.sleeps_for_commits = None;
            drop(inner);
            self.wake.notify_one();
        }
    }

    /// Takes all commands that wait into `commands`, which is empty.
    pub(super) fn take(&self, commands: &mut Vec<Command>) {
        Self::take_from(&mut self.lock(), commands);
    }

    /// Waits for a command, at most until then, and takes what there is.
    pub(super) fn wait(&self, commands: &mut Vec<Command>, until: Option<Instant>) {
        let inner = self.lock();
        let mut inner = if inner.commands.is_empty() { self.sleep(inner, 0, until) } else { inner };
        Self::take_from(&mut inner, commands);
    }

    /// Waits until so many commits have come, at most until then, and takes what there is.
    pub(super) fn wait_for_commits(&self, commands: &mut Vec<Command>, commits: usize, until: Instant) {
        let inner = self.lock();
        let mut inner = if inner.commits < commits { self.sleep(inner, commits, Some(until)) } else { inner };
        Self::take_from(&mut inner, commands);
    }

    fn sleep<'a>(
        &'a self,
        mut inner: MutexGuard<'a, Inner>,
        commits: usize,
        until: Option<Instant>,
    ) -> MutexGuard<'a, Inner> {
        inner.sleeps_for_commits = Some(commits);
        while inner.sleeps_for_commits.is_some() {
            let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            // The longest sleep that the operating system's clock can hold on any platform is far above this.
            let left = left.min(Duration::from_secs(3600));
            inner = self.wake.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        inner.sleeps_for_commits = None;
        inner
    }

    fn take_from(inner: &mut Inner, commands: &mut Vec<Command>) {
        std::mem::swap(&mut inner.commands, commands);
        inner.commits = 0;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
