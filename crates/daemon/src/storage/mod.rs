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

mod draft;
mod queue;
mod scrub;
mod source;
mod thread;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use penstock_settings::Settings;
use penstock_spool::{Error, MessageId, RESERVE_STEP_BYTES};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

pub(crate) use draft::Draft;
use queue::{Command, Queue};
pub(crate) use queue::{NewMessage, ScrubAnswer, ScrubOrder};
pub(crate) use source::Source;
pub(crate) use thread::{Accepted, Answered, Recovered, queued};

use crate::clock::Clock;
use crate::control::volume::ScrubView;
use crate::metrics::Metrics;
use crate::volume::{Message, Mounted, Spool};

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
    queue: Queue,
    memory: Arc<Semaphore>,
    clock: Arc<Clock>,
    metrics: Arc<Metrics>,
    /// Transactions between MAIL and the verdict on their message.
    transactions: AtomicUsize,
    next_ticket: AtomicU64,
    /// What mail may still take, as of the last group.
    free_bytes: AtomicU64,
    /// A write failed: nothing is taken until the volume has been mounted anew.
    failed: AtomicBool,
    /// How the watch over the volume stands.
    scrub: Mutex<ScrubView>,
    /// Cloned for each message that is open for reading.
    open_messages: Arc<()>,
}

/// Says that a transaction is under way, for as long as it lives.
pub(crate) struct Transaction(Arc<Shared>);

impl Drop for Transaction {
    fn drop(&mut self) {
        self.0.transactions.fetch_sub(1, Relaxed);
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

/// A storage thread that runs.
pub(crate) struct Started {
    pub(crate) storage: Storage,
    /// Its answers in batches, to be handed on by [`Answered::deliver`] in their order.
    pub(crate) answers: mpsc::UnboundedReceiver<Vec<Answered>>,
    /// Ends after [`Storage::close`].
    pub(crate) thread: JoinHandle<Result<(), Error>>,
}

/// Starts the storage thread on a mounted volume.
///
/// # Errors
/// What the operating system says about a new thread.
pub(crate) fn start(
    mounted: Mounted,
    settings: &Settings,
    clock: Arc<Clock>,
    metrics: Arc<Metrics>,
) -> std::io::Result<Started> {
    let shared = Arc::new(Shared {
        queue: Queue::default(),
        memory: Arc::new(Semaphore::new(QUEUED_BYTES_MAX)),
        clock,
        metrics,
        transactions: AtomicUsize::new(0),
        next_ticket: AtomicU64::new(0),
        free_bytes: AtomicU64::new(0),
        failed: AtomicBool::new(false),
        scrub: Mutex::default(),
        open_messages: Arc::new(()),
    });
    let (answer_to, answers) = mpsc::unbounded_channel();
    let thread = thread::Thread::new(Arc::clone(&shared), mounted, &settings.volume, answer_to);
    let builder = std::thread::Builder::new().name("storage".into()).stack_size(STACK_BYTES);
    let thread = builder.spawn(move || thread.run())?;
    Ok(Started { storage: Storage { shared }, answers, thread })
}

impl Storage {
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
        if self.shared.failed.load(Relaxed) {
            return Err(Error::ReadOnly);
        }
        let wanted = declared_bytes.unwrap_or(RESERVE_STEP_BYTES);
        if wanted > self.shared.free_bytes.load(Relaxed) { Err(Error::Full) } else { Ok(()) }
    }

    /// Whether the volume takes nothing, since a write failed.
    pub(crate) fn is_failed(&self) -> bool {
        self.shared.failed.load(Relaxed)
    }

    /// How the watch over the volume stands.
    pub(crate) fn scrub(&self) -> ScrubView {
        self.shared.scrub.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the volume gone through, or stops that.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] if the storage thread has ended.
    pub(crate) async fn order_scrub(&self, order: ScrubOrder) -> Result<ScrubAnswer, Error> {
        let (answer, answered) = oneshot::channel();
        self.shared.queue.push(Command::Scrub(order, answer));
        answered.await.map_err(|_| Error::ReadOnly)
    }

    /// Takes a whole message into custody. It is durable when this returns.
    ///
    /// # Errors
    /// As `Spool::begin`, `write`, `commit` and `sync`: the message is then not there.
    pub(crate) async fn store(&self, new: Box<NewMessage>) -> Result<MessageId, Error> {
        let permit = self.permit(new.head.len()).await?;
        let (answer, answered) = oneshot::channel();
        self.shared.queue.push(Command::Store(new, permit, answer));
        answered.await.unwrap_or(Err(Error::ReadOnly))
    }

    /// Begins a message that comes in pieces.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] if the storage thread has ended. Everything else is told by [`Incoming::commit`].
    pub(crate) async fn begin(&self, new: Box<NewMessage>) -> Result<Incoming, Error> {
        let permit = self.permit(new.head.len()).await?;
        let ticket = self.shared.next_ticket.fetch_add(1, Relaxed);
        self.shared.queue.push(Command::Begin(ticket, new, permit));
        Ok(Incoming { storage: self.clone(), ticket: Some(ticket) })
    }

    /// Runs something that appends to the log. It is durable when this returns `Ok`.
    ///
    /// # Errors
    /// What `change` says, or the sync after it.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Spool) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.shared.queue.push(Command::Change(Box::new(move |spool| {
            let changed = change(spool);
            Box::new(move |synced| {
                // Who asked may have gone meanwhile.
                let _ = answer.send(changed.and_then(|value| synced.map(|()| value)));
            })
        })));
        answered.await.unwrap_or(Err(Error::ReadOnly))
    }

    /// Asks the log something that costs no writing.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] if the storage thread has ended.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Spool) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.shared.queue.push(Command::Look(Box::new(move |spool| {
            let _ = answer.send(look(spool));
        })));
        answered.await.map_err(|_| Error::ReadOnly)
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
        Arc::clone(&self.shared.memory).acquire_many_owned(bytes).await.map_err(|_| Error::ReadOnly)
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
    /// [`Error::ReadOnly`] if the storage thread has ended.
    pub(crate) async fn push(&self, piece: Vec<u8>) -> Result<(), Error> {
        let permit = self.storage.permit(piece.len()).await?;
        if let Some(ticket) = self.ticket {
            self.storage.shared.queue.push(Command::Piece(ticket, piece, permit));
        }
        Ok(())
    }

    /// Takes the message into custody. It is durable when this returns `Ok`.
    ///
    /// # Errors
    /// Whatever went wrong since it was begun: the message is then not there.
    pub(crate) async fn commit(mut self) -> Result<MessageId, Error> {
        let (answer, answered) = oneshot::channel();
        if let Some(ticket) = self.ticket.take() {
            self.storage.shared.queue.push(Command::Commit(ticket, answer));
        }
        answered.await.unwrap_or(Err(Error::ReadOnly))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.storage.shared.queue.push(Command::Abort(ticket));
        }
    }
}
