//! Simulated flash whose power can be cut.
//!
//! # The fault model
//! The simulator does what the contract of [`Medium`] permits, and the worst of it. It keeps two things apart: the
//! *cells*, which is what a power cut leaves, and the *pending* programs laid over them, which is what can be read but
//! was not synced. Everything follows from an explicit seed; there is no clock and no thread in here.
//!
//! **Rules, enforced.** A unit is programmed once between two erases, in a segment whose erase was seen through to
//! [`EraseProgress::Done`]; all else is [`Error::NotErased`] and counted in [`Counters::violations`], so that a caller
//! which swallows the error is found too. The rule holds on block media as well, though a disk would not mind: a log
//! that keeps it never rewrites a sector which holds acknowledged bytes. A new medium has *not* been erased, even
//! though a physical one reads 0xFF: blank does not prove that an erase finished. A unit whose program was cut counts
//! as programmed, even where nothing of it is left. A physical erase takes several polls, and the segment reads
//! differently each time until it is done.
//!
//! **Class A: the power fails.** The operation that is caught in flight, and each one after it, says
//! [`Error::PowerCut`]. When power returns, each pending unit by itself and in any order is
//! - kept, or dropped;
//! - torn, on physical media: any subset of its words of 4 bytes was programmed, in any order, and within a word any
//!   subset of the bits that had to change did change;
//! - torn, on block media: each 512-byte sector is either old or new;
//! - *marginal*, on physical media: it reads right a few times, and then as if torn (a cell that was charged just above
//!   the threshold; seen on linux-mtd in 2011);
//! - unreadable, on block media and on physical media with units of 16 bytes or more, which are those with ECC.
//!
//! A physical erase that was caught leaves its segment in one of these forms, none of which counts as erased:
//! - the old data, untouched;
//! - an intact head over a zeroed tail (Spansion S29GL512N zero-fills from the end before it erases; Linux
//!   `drivers/mtd/ubi/io.c`, `nor_erase_prepare`);
//! - 0xFF in places, old data elsewhere, with some bits on their way;
//! - cells that read differently each time;
//! - 0xFF everywhere, which reads so a few times and then no more.
//!
//! [`program_through`](Medium::program_through) hardens its own units and leaves earlier ones pending. A sync that
//! *fails* ([`Fault::FailSync`]) leaves all that was pending forever in doubt: it still reads back, and no later sync
//! hardens it, which is what Linux does (Rebello et al., ATC 2020).
//!
//! **Class B: the medium is not what it says.** Flipped and stuck bits, ranges that cannot be read, programs that go
//! elsewhere, programs and erases that do nothing and report success, I/O errors, segments that wear out; see
//! [`Fault`]. And, to show that a test can fail at all, [`Fault::NoSync`]: a medium on which nothing ever hardens.
//!
//! **Not modelled**: a cut that harms segments which nobody was writing (paired pages of MLC NAND), timing, and
//! locks.
//!
//! # How it is used
//! [`Sim`] is the chip on the bench: it outlives power cuts, takes faults, counts, and is cheap to clone: a clone is
//! an independent copy that shares, until it writes, all pages with the original. [`Sim::medium`] is what the log
//! gets; it is dead after a cut, and [`Sim::power_on`] hands out the next one.
//!
//! ```
//! use penstock_flash::{Erase, EraseProgress, Error, Geometry, Medium, ReadAt, sim::Sim};
//! let sim = Sim::new(Geometry { segments: 4, segment_bytes: 4096, unit_bytes: 8, erase: Erase::Physical })?;
//! let mut medium = sim.medium();
//! medium.start_erase(0)?;
//! while medium.poll_erase()? == EraseProgress::Busy {}
//! medium.program(0, 0, &[0x5A; 8])?;
//! medium.sync()?;
//! sim.cut_after(0);
//! assert_eq!(medium.program(0, 8, &[0; 8]), Err(Error::PowerCut));
//! let medium = sim.power_on(7);
//! let mut bytes = [0; 8];
//! medium.reader().read(0, 0, &mut bytes)?;
//! assert_eq!(bytes, [0x5A; 8]);
//! println!("replay: {}", sim.story());
//! # Ok::<(), Error>(())
//! ```
//!
//! Every operation that can change the medium is numbered, from 0, over all boots; reads are not. A cut in each of
//! them is tried without running the workload again for each: [`Sim::branch_everywhere`] keeps, for every operation,
//! a copy in which the power failed during it.

mod cells;
mod fault;
mod power;
mod rng;
mod state;

use alloc::sync::Arc;
use alloc::vec::Vec;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use fault::{Fault, Step, Story, StoryError};
pub use rng::Rng;
use state::{Operation, State};

use crate::{EraseProgress, Error, Geometry, Medium, ReadAt};

/// The seed with which a power cut drops everything that was pending.
pub const SEED_DROP_ALL: u64 = 0;
/// The seed with which a power cut keeps everything that was pending.
pub const SEED_KEEP_ALL: u64 = 1;

/// What was asked of the medium since it was made, over all boots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls of `read`.
    pub read_requests: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Calls of `program` and `program_through`.
    pub program_requests: u64,
    /// Bytes programmed.
    pub programmed_bytes: u64,
    /// Calls of `program_through` alone.
    pub through_requests: u64,
    /// Calls of `sync`.
    pub syncs: u64,
    /// Erases begun, in all segments together.
    pub erases: u64,
    /// Calls that broke the caller's side of the contract and were refused.
    pub violations: u64,
}

/// A simulated medium: the chip itself, which survives its power cuts.
///
/// A clone is an independent medium with the same content, faults and history, but keeps no branches. Handles and readers stay with the
/// medium that they were taken from.
#[derive(Debug)]
pub struct Sim {
    state: Arc<Mutex<State>>,
}

impl Clone for Sim {
    fn clone(&self) -> Self {
        Self::from_state(self.lock().fork())
    }
}

impl Sim {
    /// A new medium: 0xFF on physical media, zeros on block media, no segment erased yet.
    ///
    /// # Errors
    /// [`Error::Geometry`] where [`Geometry::is_valid`] says no.
    pub fn new(geometry: Geometry) -> Result<Self, Error> {
        Ok(Self::from_state(State::new(geometry)?))
    }

    /// A medium that holds `image`, with no segment erased. What `image` is too short for reads as on a new one.
    ///
    /// # Errors
    /// [`Error::Geometry`] for an invalid geometry or an image larger than the medium.
    pub fn from_image(geometry: Geometry, image: &[u8]) -> Result<Self, Error> {
        let mut state = State::new(geometry)?;
        state.load(image)?;
        Ok(Self::from_state(state))
    }

    /// The shape of the medium.
    pub fn geometry(&self) -> Geometry {
        self.lock().geometry
    }

    /// A handle that works until the next power cut.
    ///
    /// The contract allows one owner; the simulator does not check that no other is still in use.
    pub fn medium(&self) -> SimMedium {
        let boot = self.lock().boot;
        SimMedium { state: Arc::clone(&self.state), boot }
    }

    /// Lets the next `operations` operations complete, and fails the power during the one after them.
    pub fn cut_after(&self, operations: u64) {
        let at = self.operations() + operations;
        self.inject_at(at, Fault::Cut);
    }

    /// Lets `fault` strike now, or at the next operation that it concerns.
    pub fn inject(&self, fault: Fault) {
        let at = self.operations();
        self.inject_at(at, fault);
    }

    /// Lets `fault` strike at the operation with number `at`, or at the first one after it that it concerns.
    pub fn inject_at(&self, at: u64, fault: Fault) {
        self.lock().inject(at, fault);
    }

    /// Injects every fault of a story. The seeds of its power-ons are the caller's to use: [`Story::seeds`].
    pub fn inject_story(&self, story: &Story) {
        for (at, fault) in story.faults() {
            self.inject_at(at, fault);
        }
    }

    /// Decides by `seed` what the power cut left behind, and hands out a handle to it. Where the power did not fail
    /// yet, it fails now, between two operations.
    ///
    /// [`SEED_DROP_ALL`] and [`SEED_KEEP_ALL`] do what they say; any other seed draws how the cut was, and then each
    /// unit's fate.
    pub fn power_on(&self, seed: u64) -> SimMedium {
        self.lock().power_on(seed);
        self.medium()
    }

    /// Whether the power is off.
    pub fn is_cut(&self) -> bool {
        self.lock().cut
    }

    /// How many operations there have been; the next one has this number.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// What has been asked of the medium.
    pub fn counters(&self) -> Counters {
        self.lock().counters
    }

    /// How often each segment was erased.
    pub fn erase_counts(&self) -> Vec<u64> {
        self.lock().segments.iter().map(|segment| segment.erases).collect()
    }

    /// All that was injected and decided so far, as one line with which it can be done again.
    pub fn story(&self) -> Story {
        self.lock().story.clone()
    }

    /// What the medium holds, pending programs included, without the defects that strike while reading.
    pub fn image(&self) -> Vec<u8> {
        self.lock().image()
    }

    /// From now on, keeps for every operation a copy of the medium in which the power failed during it.
    pub fn branch_everywhere(&self) {
        self.lock().branches.get_or_insert_default();
    }

    /// The copies kept since the last call, in the order of their operations. The operation during which the power
    /// failed is `operations() - 1` of each.
    pub fn take_branches(&self) -> Vec<Sim> {
        let branches = self.lock().branches.as_mut().map(core::mem::take).unwrap_or_default();
        branches.into_iter().map(Self::from_state).collect()
    }

    fn from_state(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// No code panics while it holds the lock, and if a test does, the state is still whole.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The handle that writes to a [`Sim`], until the power fails.
#[derive(Debug)]
pub struct SimMedium {
    state: Arc<Mutex<State>>,
    boot: u32,
}

impl SimMedium {
    fn operate(&self, operation: &Operation<'_>) -> Result<EraseProgress, Error> {
        lock(&self.state).operate(self.boot, operation)
    }
}

impl Medium for SimMedium {
    type Reader = SimReader;

    fn geometry(&self) -> Geometry {
        lock(&self.state).geometry
    }

    fn reader(&self) -> SimReader {
        SimReader { state: Arc::clone(&self.state), boot: self.boot }
    }

    fn program(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.operate(&Operation::Program { segment, offset, bytes, through: false }).map(drop)
    }

    fn program_through(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.operate(&Operation::Program { segment, offset, bytes, through: true }).map(drop)
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.operate(&Operation::Sync).map(drop)
    }

    fn start_erase(&mut self, segment: u32) -> Result<(), Error> {
        self.operate(&Operation::StartErase { segment }).map(drop)
    }

    fn poll_erase(&mut self) -> Result<EraseProgress, Error> {
        self.operate(&Operation::PollErase)
    }
}

/// The handle that reads a [`Sim`], until the power fails.
#[derive(Clone, Debug)]
pub struct SimReader {
    state: Arc<Mutex<State>>,
    boot: u32,
}

impl ReadAt for SimReader {
    fn read(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), Error> {
        lock(&self.state).read(self.boot, segment, offset, into)
    }
}
