//! A medium that writes while its owner computes.
//!
//! What the log appends is summed twice and copied before it is written. Done in turn, processor and disk wait for each
//! other; [`WriteBehind`] gives the writing a thread of its own. Only [`program_behind`](Medium::program_behind) goes that
//! way: all else happens on the caller's thread, and tells its own errors, as if this were not there.
//!
//! Nothing is promised early. A sync waits for what is on its way and fails if any of it failed, then and ever after; a
//! read waits for what it would read.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use penstock_flash::{EraseProgress, Error, Geometry, Medium, ReadAt, UNIT_BYTES_MAX};

use crate::aligned::AlignedBuffer;

/// What is handed over at once, in bytes: the daemon's group of mail.
const SLOT_BYTES: usize = 512 * 1024;
const _: () = assert!(SLOT_BYTES.is_multiple_of(UNIT_BYTES_MAX as usize));
/// One that is being written and one that is written next, so that the medium never waits for a copy.
const SLOTS: usize = 2;

/// The stack of the writer, which does nothing but one system call after another.
const STACK_BYTES: usize = 128 * 1024;

/// A medium with a thread that writes behind its owner's back.
#[derive(Debug)]
pub struct WriteBehind<M: Medium> {
    medium: Arc<Mutex<M>>,
    reader: WriteBehindReader<M::Reader>,
    geometry: Geometry,
    /// An erase was begun. Until it is done nothing is handed over, so that what must not be programmed meanwhile is
    /// refused where it is asked for.
    erasing: bool,
    writer: Option<JoinHandle<()>>,
}

/// A place on the medium.
#[derive(Clone, Copy, Debug)]
struct Span {
    segment: u32,
    offset: u32,
    len: usize,
}

impl Span {
    fn overlaps(&self, other: &Self) -> bool {
        let end = |span: &Self| u64::from(span.offset) + span.len as u64;
        self.segment == other.segment
            && u64::from(self.offset) < end(other)
            && u64::from(other.offset) < end(self)
    }
}

/// What is on its way from the owner to the writer.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    /// Something in it changed: for the owner, the writer and readers alike.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Oldest first.
    waiting: VecDeque<(Span, AlignedBuffer)>,
    being_written: Option<Span>,
    free: Vec<AlignedBuffer>,
    /// Why a program failed. What was waiting then was given up, and nothing more is taken.
    failed: Option<Error>,
    closing: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as it must.
    fn wait_while(&self, must_wait: impl FnMut(&mut State) -> bool) -> MutexGuard<'_, State> {
        self.changed.wait_while(self.lock(), must_wait).unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands bytes over, at most [`SLOT_BYTES`], when there is a slot for them.
    fn put(&self, span: Span, bytes: &[u8]) -> Result<(), Error> {
        let mut state = self.wait_while(|state| state.failed.is_none() && state.on_their_way() == SLOTS);
        if let Some(error) = state.failed {
            return Err(error);
        }
        let mut buffer = state.free.pop().unwrap_or_else(|| AlignedBuffer::new(SLOT_BYTES));
        // Nobody waits for the lock while this is copied but the writer, for a moment, and readers.
        buffer[..span.len].copy_from_slice(bytes);
        state.waiting.push_back((span, buffer));
        self.changed.notify_all();
        Ok(())
    }

    /// The writer's next piece of work; none when it shall end.
    fn take(&self) -> Option<(Span, AlignedBuffer)> {
        let mut state = self.wait_while(|state| state.waiting.is_empty() && !state.closing);
        let (span, buffer) = state.waiting.pop_front()?;
        state.being_written = Some(span);
        Some((span, buffer))
    }

    /// The writer is done with a piece of work.
    fn finish(&self, buffer: AlignedBuffer, done: Result<(), Error>) {
        let mut state = self.lock();
        state.being_written = None;
        state.free.push(buffer);
        if let Err(error) = done {
            state.failed = Some(error);
            // They may rely on what failed, and whoever learns of it writes everything anew.
            state.waiting.clear();
        }
        self.changed.notify_all();
    }

    /// Waits until nothing is on its way any more. An error if something failed.
    fn settle(&self) -> Result<(), Error> {
        self.wait_while(|state| state.on_their_way() > 0).failed.map_or(Ok(()), Err)
    }

    /// Waits until nothing is on its way to that place.
    fn settle_at(&self, place: Span) {
        drop(self.wait_while(|state| {
            let waiting = state.waiting.iter().map(|(span, _)| span);
            waiting.chain(&state.being_written).any(|span| span.overlaps(&place))
        }));
    }
}

impl State {
    fn on_their_way(&self) -> usize {
        self.waiting.len() + usize::from(self.being_written.is_some())
    }
}

fn lock<M>(medium: &Mutex<M>) -> MutexGuard<'_, M> {
    medium.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<M: Medium + Send + 'static> WriteBehind<M> {
    /// Gives a medium a thread that writes.
    ///
    /// # Errors
    /// What the operating system says about a new thread.
    pub fn new(medium: M) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let geometry = medium.geometry();
        let reader = WriteBehindReader { inner: medium.reader(), queue: Arc::clone(&queue) };
        let medium = Arc::new(Mutex::new(medium));
        let target = Arc::clone(&medium);
        let write = move || {
            while let Some((Span { segment, offset, len }, buffer)) = queue.take() {
                let done = lock(&target).program(segment, offset, &buffer[..len]);
                queue.finish(buffer, done);
            }
        };
        let writer = thread::Builder::new().name("writer".into()).stack_size(STACK_BYTES).spawn(write)?;
        Ok(Self { medium, reader, geometry, erasing: false, writer: Some(writer) })
    }
}

impl<M: Medium> WriteBehind<M> {
    /// The medium behind. While this is held nothing is written.
    pub fn medium(&self) -> MutexGuard<'_, M> {
        lock(&self.medium)
    }

    /// Lets programs be handed over again after one failed.
    ///
    /// What was on its way then stays in doubt: only for who takes stock of the medium anew and writes nothing where it
    /// had written, as the log does when it mounts.
    pub fn forget_failure(&mut self) {
        self.queue().lock().failed = None;
    }

    fn queue(&self) -> &Queue {
        &self.reader.queue
    }
}

/// Writes what was handed over, and only then lets go of the medium.
impl<M: Medium> Drop for WriteBehind<M> {
    fn drop(&mut self) {
        self.queue().lock().closing = true;
        self.queue().changed.notify_all();
        if let Some(writer) = self.writer.take() {
            // It panics only where the medium does.
            let _ = writer.join();
        }
    }
}

impl<M: Medium> Medium for WriteBehind<M> {
    type Reader = WriteBehindReader<M::Reader>;

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn reader(&self) -> Self::Reader {
        self.reader.clone()
    }

    fn program(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.medium().program(segment, offset, bytes)
    }

    fn program_behind(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        if self.erasing {
            return self.program(segment, offset, bytes);
        }
        self.geometry.check_program(segment, offset, bytes.len())?;
        for (index, slot) in bytes.chunks(SLOT_BYTES).enumerate() {
            let span = Span { segment, offset: offset + (index * SLOT_BYTES) as u32, len: slot.len() };
            self.queue().put(span, slot)?;
        }
        Ok(())
    }

    fn program_through(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.medium().program_through(segment, offset, bytes)
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.queue().settle()?;
        self.medium().sync()
    }

    /// Waits for what is on its way, lest it come after the erase.
    fn start_erase(&mut self, segment: u32) -> Result<(), Error> {
        // If some of it failed, that is for the next sync to tell: it has nothing to do with this segment.
        let _ = self.queue().settle();
        self.medium().start_erase(segment)?;
        self.erasing = true;
        Ok(())
    }

    fn poll_erase(&mut self) -> Result<EraseProgress, Error> {
        let progress = self.medium().poll_erase();
        self.erasing = progress == Ok(EraseProgress::Busy);
        progress
    }
}

/// The handle that reads a [`WriteBehind`], from any thread.
#[derive(Clone, Debug)]
pub struct WriteBehindReader<R> {
    inner: R,
    queue: Arc<Queue>,
}

impl<R> WriteBehindReader<R> {
    /// The handle that reads the medium behind, and what is not on its way any more.
    pub fn inner(&self) -> &R {
        &self.inner
    }
}

impl<R: ReadAt> ReadAt for WriteBehindReader<R> {
    fn read(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), Error> {
        self.queue.settle_at(Span { segment, offset, len: into.len() });
        self.inner.read(segment, offset, into)
    }

    fn read_uncached(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), Error> {
        self.queue.settle_at(Span { segment, offset, len: into.len() });
        self.inner.read_uncached(segment, offset, into)
    }
}
