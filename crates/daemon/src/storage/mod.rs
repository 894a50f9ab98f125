//! The storage thread and the handle through which everybody else speaks to it.
//!
//! One thread owns the log and is the only one that writes. Whatever waits for it is applied at once and shares one
//! sync (*group commit*); only then is anybody answered. What a client is told is therefore on flash.
//!
//! # The window
//! A sync costs as much for one message as for a hundred. So when a commit waits, the thread looks at how many other
//! transactions are under way. If every one of them waits too, there is nobody to wait for: a single session never
//! waits. Else it waits for them, at most 1 ms after the first.
//!
//! Commands are bounded in bytes by a semaphore, and in number by the sessions that can send them.
//!
//! # Two volumes
//! Each volume has a thread of its own with all of this; [`Volumes`] is what stands above them. A thread that has no
//! volume yet, since it is missing or cannot be mounted, tries to open it every 30 s. One that is stuck in a write or a
//! read that neither works nor fails is noticed by who asks: after [`STALLED_AFTER`] nobody waits for it any longer.

mod draft;
mod numbers;
mod queue;
mod scrub;
mod source;
mod thread;
mod volumes;
mod waiting;

use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use penstock_settings::Settings;
use penstock_spool::{Error, Info, MessageId, RESERVE_STEP_BYTES};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

pub(crate) use draft::Draft;
use numbers::Numbers;
use queue::{Command, Queue};
pub(crate) use queue::{NewMessage, ScrubAnswer, ScrubOrder, Stored};
pub(crate) use source::Source;
pub(crate) use thread::{Accepted, Answered, Arrived, Recovered, refuse};
pub(crate) use volumes::{RESERVE_MESSAGE_BYTES_MAX, Volumes};

use crate::clock::Clock;
use crate::control::volume::ScrubView;
use crate::control::{MailId, Store};
use crate::metrics::Metrics;
use crate::volume::{Message, Place, Spool};

/// How long a volume may take for one read or write before it counts as stuck. A disk that is only slow, or an eMMC that
/// cleans up inside, takes a second or two; senders wait ten minutes for the answer to their end of data.
pub(crate) const STALLED_AFTER: Duration = Duration::from_secs(10);

/// What may wait for the storage thread, in bytes: some pieces for each of many fast senders, and little beside the
/// memory that the daemon may take.
const QUEUED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The stack of the storage thread. Records are encoded and pages written on it, a few KiB each.
const STACK_BYTES: usize = 512 * 1024;

/// The handle to the storage thread.
#[derive(Clone)]
pub(crate) struct Storage {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    /// As the settings name it.
    name: String,
    queue: Queue,
    memory: Arc<Semaphore>,
    clock: Arc<Clock>,
    metrics: Arc<Metrics>,
    numbers: Arc<Numbers>,
    /// Transactions between MAIL and the verdict on their message.
    transactions: AtomicUsize,
    next_ticket: AtomicU64,
    state: AtomicU8,
    /// Since when the thread is at what it does now, in monotonic ms and one more; 0 while it waits for work.
    busy_since: AtomicU64,
    /// Reads by others that have not come back for too long.
    stuck_reads: AtomicUsize,
    /// Whether thread or readers have been at it for too long.
    stalled: watch::Sender<bool>,
    /// What is known of the volume, as of the last group, and how long its mount took in ms.
    facts: Mutex<Facts>,
    /// How the watch over the volume stands.
    scrub: Mutex<ScrubView>,
    /// The note about numbers that is on the volume.
    noted_numbers: AtomicU64,
    /// Cloned for each message that is open for reading.
    open_messages: Arc<()>,
}

/// What is known of a volume without asking its thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// `None` until it was mounted for the first time.
    pub(crate) info: Option<Info>,
    pub(crate) mount_ms: u64,
    /// Why it does not do its work, in the words of the last error.
    pub(crate) trouble: Option<String>,
    /// It is there, and another version of Penstock wrote on it what this one cannot read.
    pub(crate) is_of_other_version: bool,
}

/// What a volume is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It is not there, or cannot be mounted: nothing.
    Absent,
    /// It takes mail and gives it out.
    Well,
    /// A write failed: what it has can perhaps be read. It is mounted anew every 30 s until that works.
    Failed,
    /// A read or a write has not come back for [`STALLED_AFTER`], be it well or failed.
    Stalled,
}

impl Shared {
    fn set(&self, state: State, trouble: Option<String>, is_of_other_version: bool) {
        self.state.store(state as u8, Relaxed);
        let mut facts = self.facts();
        (facts.trouble, facts.is_of_other_version) = (trouble, is_of_other_version);
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread begins something that may take time.
    fn begin(&self) {
        self.busy_since.store(self.clock.host_mono_ms() + 1, Relaxed);
    }

    /// The thread waits for work.
    fn rest(&self) {
        self.busy_since.store(0, Relaxed);
    }
}

/// Says that a transaction is under way, for as long as it lives.
pub(crate) struct Transaction(Arc<Shared>);

impl Transaction {
    /// The volume that it counts for.
    pub(crate) fn store(&self) -> Store {
        self.0.store
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.0.transactions.fetch_sub(1, Relaxed);
    }
}

/// A read that does not come back.
struct StuckRead(Arc<Shared>);

impl Drop for StuckRead {
    fn drop(&mut self) {
        self.0.stuck_reads.fetch_sub(1, Relaxed);
    }
}

/// A message that is open for reading. While it lives its segments are not reused.
pub(crate) struct OpenMessage {
    pub(crate) message: Message,
    _open: Option<Arc<()>>,
}

impl OpenMessage {
    /// A message whose envelope is looked at for a moment. It does not keep a failed volume from being mounted anew.
    pub(crate) fn unleased(message: Message) -> Self {
        Self { message, _open: None }
    }
}

/// The storage threads, running.
pub(crate) struct Started {
    pub(crate) volumes: Volumes,
    pub(crate) threads: Vec<Running>,
}

/// A storage thread that runs.
pub(crate) struct Running {
    /// Its answers in batches, to be handed on by [`Answered::deliver`] in their order.
    pub(crate) answers: mpsc::UnboundedReceiver<Vec<Answered>>,
    /// Ends after [`Storage::close`].
    pub(crate) thread: JoinHandle<Result<(), Error>>,
}

/// Starts a storage thread for each volume. Each says first whether it has its volume.
///
/// # Errors
/// What the operating system says about a new thread.
pub(crate) fn start(
    settings: &Settings,
    clock: &Arc<Clock>,
    metrics: &Arc<Metrics>,
) -> std::io::Result<Started> {
    let places: Vec<Place> =
        [Some(Place::disk(settings)), Place::reserve(settings)].into_iter().flatten().collect();
    let numbers = Arc::new(Numbers::new(places.len()));
    let (mut storages, mut threads) = (Vec::new(), Vec::new());
    for place in places {
        let shared = Arc::new(Shared {
            store: place.store,
            name: place.name(),
            queue: Queue::default(),
            memory: Arc::new(Semaphore::new(QUEUED_BYTES_MAX)),
            clock: Arc::clone(clock),
            metrics: Arc::clone(metrics),
            numbers: Arc::clone(&numbers),
            transactions: AtomicUsize::new(0),
            next_ticket: AtomicU64::new(0),
            state: AtomicU8::new(State::Absent as u8),
            busy_since: AtomicU64::new(0),
            stuck_reads: AtomicUsize::new(0),
            stalled: watch::Sender::new(false),
            facts: Mutex::default(),
            scrub: Mutex::default(),
            noted_numbers: AtomicU64::new(0),
            open_messages: Arc::new(()),
        });
        let (answer_to, answers) = mpsc::unbounded_channel();
        let (for_thread, volume) = (Arc::clone(&shared), settings.volume.clone());
        let name = format!("storage-{}", place.store.as_str());
        let builder = std::thread::Builder::new().name(name).stack_size(STACK_BYTES);
        let thread = builder.spawn(move || thread::run(&for_thread, &place, &volume, answer_to))?;
        storages.push(Storage { shared });
        threads.push(Running { answers, thread });
    }
    Ok(Started { volumes: Volumes::new(storages), threads })
}

impl Storage {
    /// Which volume it is.
    pub(crate) fn store(&self) -> Store {
        self.shared.store
    }

    /// The volume as the settings name it.
    pub(crate) fn name(&self) -> &str {
        &self.shared.name
    }

    /// The name of a message of this volume.
    pub(crate) fn mail_id(&self, id: MessageId) -> MailId {
        MailId { store: self.shared.store, number: id.0 }
    }

    /// Counts a transaction that has begun with MAIL.
    pub(crate) fn transaction(&self) -> Transaction {
        self.shared.transactions.fetch_add(1, Relaxed);
        Transaction(Arc::clone(&self.shared))
    }

    /// Whether a message of that size could be taken now, by what was known at the last sync.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Full`].
    pub(crate) fn check_room(&self, declared_bytes: Option<u64>) -> Result<(), Error> {
        if !self.is_well() {
            return Err(Error::ReadOnly);
        }
        let wanted = declared_bytes.unwrap_or(RESERVE_STEP_BYTES);
        let free_bytes = self.shared.facts().info.map_or(0, |info| info.free_bytes());
        if wanted > free_bytes { Err(Error::Full) } else { Ok(()) }
    }

    /// What the volume is good for.
    pub(crate) fn state(&self) -> State {
        if *self.shared.stalled.borrow() {
            return State::Stalled;
        }
        let state = self.shared.state.load(Relaxed);
        let all = [State::Absent, State::Well, State::Failed];
        all.into_iter().find(|it| *it as u8 == state).unwrap_or(State::Absent)
    }

    /// Whether the volume takes mail and records what becomes of it.
    pub(crate) fn is_well(&self) -> bool {
        self.state() == State::Well
    }

    /// What is known of it.
    pub(crate) fn facts(&self) -> Facts {
        self.shared.facts().clone()
    }

    /// Looks whether the thread is stuck, and tells those who wait for it. The state, if that is another than before.
    fn look_for_stall(&self) -> Option<State> {
        let shared = &self.shared;
        let since = shared.busy_since.load(Relaxed);
        let busy_ms = shared.clock.host_mono_ms().saturating_sub(since.saturating_sub(1));
        // Who has no volume is not asked anything.
        let is_open = shared.state.load(Relaxed) != State::Absent as u8;
        let is_stuck = since > 0 && u128::from(busy_ms) >= STALLED_AFTER.as_millis();
        let stalled = is_open && (is_stuck || shared.stuck_reads.load(Relaxed) > 0);
        shared
            .stalled
            .send_if_modified(|was| std::mem::replace(was, stalled) != stalled)
            .then(|| self.state())
    }

    /// Counts a read that does not come back, for as long as the result lives.
    fn stuck(&self) -> StuckRead {
        self.shared.stuck_reads.fetch_add(1, Relaxed);
        StuckRead(Arc::clone(&self.shared))
    }

    /// Waits for an answer, as long as the thread is not stuck.
    async fn answered<T>(&self, answered: oneshot::Receiver<T>) -> Result<T, Error> {
        let mut stalled = self.shared.stalled.subscribe();
        tokio::select! {
            biased;
            answered = answered => answered.map_err(|_| Error::ReadOnly),
            _ = stalled.wait_for(|stalled| *stalled) => Err(Error::ReadOnly),
        }
    }

    /// Asks the thread, if it can be asked.
    fn ask(&self, command: Command) -> Result<(), Error> {
        if matches!(self.state(), State::Absent | State::Stalled) {
            return Err(Error::ReadOnly);
        }
        self.shared.queue.push(command);
        Ok(())
    }

    /// Has the thread tell release once more what is queued.
    fn tell_again(&self) {
        self.shared.queue.push(Command::TellAgain);
    }

    /// Whether the thread lives: it answers, or has no volume, or is known to be stuck in one.
    pub(crate) async fn lives(&self) -> bool {
        self.state() == State::Absent || self.look(|_| ()).await.is_ok()
    }

    /// How the watch over the volume stands.
    pub(crate) fn scrub(&self) -> ScrubView {
        self.shared.scrub.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the volume gone through, or stops that.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] if the volume cannot be reached.
    pub(crate) async fn order_scrub(&self, order: ScrubOrder) -> Result<ScrubAnswer, Error> {
        let (answer, answered) = oneshot::channel();
        self.ask(Command::Scrub(order, answer))?;
        self.answered(answered).await
    }

    /// Takes a whole message into custody. It is durable when this returns.
    ///
    /// # Errors
    /// As `Spool::begin`, `write`, `commit` and `sync`: the message is then not there, or will not be delivered.
    pub(crate) async fn store_whole(&self, new: Box<NewMessage>) -> Result<Stored, Error> {
        let permit = self.permit(new.head.len()).await?;
        let (answer, answered) = oneshot::channel();
        self.ask(Command::Store(new, permit, answer))?;
        self.answered(answered).await?
    }

    /// Begins a message that comes in pieces.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] if the volume cannot be reached. Everything else is told by [`Incoming::commit`].
    pub(crate) async fn begin(&self, new: Box<NewMessage>) -> Result<Incoming, Error> {
        let permit = self.permit(new.head.len()).await?;
        let ticket = self.shared.next_ticket.fetch_add(1, Relaxed);
        self.ask(Command::Begin(ticket, new, permit))?;
        Ok(Incoming { storage: self.clone(), ticket: Some(ticket) })
    }

    /// Runs something that appends to the log. It is durable when this returns `Ok`.
    ///
    /// # Errors
    /// What `change` says, or the sync after it. Where the volume is stuck it may become durable later.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Spool) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.ask(Command::Change(Box::new(move |spool| {
            let changed = change(spool);
            Box::new(move |synced| {
                // Who asked may have gone meanwhile.
                let _ = answer.send(changed.and_then(|value| synced.map(|()| value)));
            })
        })))?;
        self.answered(answered).await?
    }

    /// Asks the log something that costs no writing.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] if the volume cannot be reached.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Spool) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.ask(Command::Look(Box::new(move |spool| {
            let _ = answer.send(look(spool));
        })))?;
        self.answered(answered).await
    }

    /// Opens a message for reading, and asks something more at the same moment.
    ///
    /// # Errors
    /// As `Spool::open`.
    pub(crate) async fn open_with<T: Send + 'static>(
        &self,
        id: MessageId,
        look: impl FnOnce(&mut Spool) -> T + Send + 'static,
    ) -> Result<(OpenMessage, T), Error> {
        let open = Arc::clone(&self.shared.open_messages);
        let opened = self.look(move |spool| {
            let message = spool.open(id)?;
            Ok((OpenMessage { message, _open: Some(open) }, look(spool)))
        });
        opened.await?
    }

    /// Asks the thread to close the volume and end. Commands that come later are not answered.
    pub(crate) fn close(&self) {
        self.shared.queue.push(Command::Close);
    }

    async fn permit(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        let bytes = u32::try_from(bytes.min(QUEUED_BYTES_MAX)).unwrap_or(u32::MAX);
        let mut stalled = self.shared.stalled.subscribe();
        tokio::select! {
            biased;
            permit = Arc::clone(&self.shared.memory).acquire_many_owned(bytes) => {
                permit.map_err(|_| Error::ReadOnly)
            }
            _ = stalled.wait_for(|stalled| *stalled) => Err(Error::ReadOnly),
        }
    }
}

/// A message on its way to the storage thread in pieces. Dropping it gives it up.
pub(crate) struct Incoming {
    storage: Storage,
    ticket: Option<u64>,
}

impl Incoming {
    /// Adds a piece, when there is room for it.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] if the volume cannot be reached.
    pub(crate) async fn push(&self, piece: Vec<u8>) -> Result<(), Error> {
        let permit = self.storage.permit(piece.len()).await?;
        match self.ticket {
            Some(ticket) => self.storage.ask(Command::Piece(ticket, piece, permit)),
            None => Ok(()),
        }
    }

    /// Which volume it goes to.
    pub(crate) fn store(&self) -> Store {
        self.storage.store()
    }

    /// Takes the message into custody. It is durable when this returns `Ok`.
    ///
    /// # Errors
    /// Whatever went wrong since it was begun: the message is then not there.
    pub(crate) async fn commit(mut self) -> Result<Stored, Error> {
        let (answer, answered) = oneshot::channel();
        if let Some(ticket) = self.ticket {
            self.storage.ask(Command::Commit(ticket, answer))?;
            self.ticket = None;
        }
        self.storage.answered(answered).await?
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.storage.shared.queue.push(Command::Abort(ticket));
        }
    }
}
