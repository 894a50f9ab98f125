//! What the spool asks of flash.
//!
//! [`Medium`] is the seam between the log and whatever holds its bytes: a NOR chip, an MTD partition, an eMMC, a file.
//! This module holds the trait and its contract and nothing else; adapters and simulators live in modules of their
//! own, drivers in crates of their own (`flash-cfi`, `flash-linux`).
//!
//! A medium is an array of *segments* of equal size. A segment is erased as a whole and programmed in *units*, each
//! at most once between two erases. The contract of each method says what a power cut may leave behind: that, and
//! nothing friendlier, is what the log is built on and what the simulators produce.

#![no_std]

#[cfg(feature = "sim")]
extern crate alloc;
#[cfg(feature = "sim")]
extern crate std;

mod error;
pub mod nor;
#[cfg(feature = "sim")]
pub mod sim;

pub use error::Error;

/// The largest program unit a medium may have, in bytes.
pub const UNIT_BYTES_MAX: u32 = 4096;

/// How a segment comes to be programmable again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erase {
    /// The medium erases: every byte reads 0xFF afterwards, it takes time, and it wears (NOR, NAND).
    Physical,
    /// The medium overwrites: an erase does no I/O and the content stays what it was (block devices, files).
    Logical,
}

/// The shape of a medium, known when it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// How many segments there are.
    pub segments: u32,
    /// The size of each segment in bytes, a multiple of `unit_bytes`.
    pub segment_bytes: u32,
    /// The smallest piece that can be programmed, in bytes: a power of two, at most [`UNIT_BYTES_MAX`]. On block
    /// media at least the physical block, since rewriting a part of one can tear the rest of it.
    pub unit_bytes: u32,
    /// What an erase does.
    pub erase: Erase,
}

impl Geometry {
    /// The size of the whole medium in bytes.
    pub const fn capacity_bytes(&self) -> u64 {
        self.segments as u64 * self.segment_bytes as u64
    }

    /// Whether the numbers fit together as their documentation asks.
    pub const fn is_valid(&self) -> bool {
        self.segments > 0
            && self.unit_bytes.is_power_of_two()
            && self.unit_bytes <= UNIT_BYTES_MAX
            && self.segment_bytes > 0
            && self.segment_bytes.is_multiple_of(self.unit_bytes)
    }

    /// Checks that `len` bytes at `offset` of `segment` lie on the medium.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`].
    pub fn check_read(&self, segment: u32, offset: u32, len: usize) -> Result<(), Error> {
        let end = u64::from(offset) + len as u64;
        if segment >= self.segments || end > u64::from(self.segment_bytes) {
            return Err(Error::OutOfBounds { segment, offset });
        }
        Ok(())
    }

    /// Checks that `len` bytes at `offset` of `segment` lie on the medium and are whole program units.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`], [`Error::Misaligned`].
    pub fn check_program(&self, segment: u32, offset: u32, len: usize) -> Result<(), Error> {
        self.check_read(segment, offset, len)?;
        let unit = self.unit_bytes as usize;
        if !(offset as usize).is_multiple_of(unit) || !len.is_multiple_of(unit) {
            return Err(Error::Misaligned { segment, offset });
        }
        Ok(())
    }
}

/// How far an erase has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EraseProgress {
    /// Still going on: poll again.
    Busy,
    /// Finished, and durable.
    Done,
}

/// A cheap handle for reading, which other threads may hold while one owner writes.
pub trait ReadAt: Clone {
    /// Fills `into` from `offset` of `segment`. Any offset and length within a segment are allowed.
    ///
    /// Bytes that were programmed read back as programmed, synced or not; others read as whatever is there.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`]; [`Error::Unreadable`] or [`Error::Io`] where the medium fails. `into` is then undefined.
    fn read(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), Error>;

    /// As [`read`](ReadAt::read), but from the medium itself, past any cache above it that can be passed: for who wants
    /// to know what the cells hold. Slower where there is a cache.
    ///
    /// # Errors
    /// As [`read`](ReadAt::read).
    fn read_uncached(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), Error> {
        self.read(segment, offset, into)
    }
}

/// Storage with the semantics of flash.
///
/// # What a power cut may leave behind
/// Until [`sync`](Medium::sync) returned `Ok`, what was programmed since the sync before it is, unit by unit and in
/// any order, wholly there, not there, or torn: on physical media any subset of the bits that had to change, which
/// may even read right a few times and then wrong; on block media any mix of old and new 512-byte sectors; and where
/// there is an ECC, as on every block medium, a torn unit may refuse to be read ([`Error::Unreadable`]), and a read
/// that touches it fails as a whole. What was synced stays. An erase that was cut leaves anything at all in that
/// segment, an intact head over a zeroed tail and cells that read differently each time among it; no other segment
/// changes.
///
/// # What the caller owes
/// A unit is programmed at most once between two erases of its segment, also on media that would allow more, and
/// never where the segment was not erased. A medium that is new has not been erased, whatever it reads; a unit whose
/// program failed or was cut counts as programmed. One owner programs, syncs and erases; readers may read at any
/// time.
pub trait Medium {
    /// The handle that reads.
    type Reader: ReadAt;

    /// The shape of the medium; the same for as long as it is open.
    fn geometry(&self) -> Geometry;

    /// A handle for reading, independent of this one.
    fn reader(&self) -> Self::Reader;

    /// Programs whole units. When it returns, the bytes can be read back but need not survive a power cut.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`], [`Error::Misaligned`]; [`Error::Io`] and others where the medium fails: the units
    /// concerned then hold anything and must not be programmed again before an erase.
    fn program(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error>;

    /// As [`program`](Medium::program), but may return before it is done, so that the caller computes meanwhile: for who
    /// has more to do before it waits for a sync. The bytes can be read back all the same; a reader waits for them if
    /// need be.
    ///
    /// # Errors
    /// As [`program`](Medium::program), about these bytes or others that were programmed so before. An error that comes
    /// later is told by the next call of this method and by **every** [`sync`](Medium::sync) that follows.
    fn program_behind(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.program(segment, offset, bytes)
    }

    /// Programs whole units so that **these bytes** are durable when it returns (FUA, `RWF_DSYNC`). It promises
    /// nothing about what was programmed before it.
    ///
    /// # Errors
    /// As [`program`](Medium::program) and [`sync`](Medium::sync).
    fn program_through(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.program(segment, offset, bytes)?;
        self.sync()
    }

    /// A full barrier: all that was programmed and erased before is durable when it returns `Ok`.
    ///
    /// # Errors
    /// After an error nothing is known about what was programmed since the last sync that succeeded, **and another
    /// sync does not bring it back**: the kernel has marked the pages clean (Rebello et al., ATC 2020). Write it
    /// elsewhere.
    fn sync(&mut self) -> Result<(), Error>;

    /// Begins to erase a segment. Nothing in that segment is programmed until [`poll_erase`](Medium::poll_erase)
    /// said [`EraseProgress::Done`]; other segments may be read and programmed meanwhile. One erase at a time.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`], [`Error::EraseBusy`], and what the medium reports.
    fn start_erase(&mut self, segment: u32) -> Result<(), Error>;

    /// Goes on with the erase that was begun, for a bounded time. Until it is done, and after an error, the segment
    /// reads as anything. Where no erase was begun, all is done.
    ///
    /// # Errors
    /// What the medium reports: the erase is over, and the segment holds anything.
    fn poll_erase(&mut self) -> Result<EraseProgress, Error>;
}

/// A medium may be lent.
impl<M: Medium> Medium for &mut M {
    type Reader = M::Reader;

    fn geometry(&self) -> Geometry {
        (**self).geometry()
    }

    fn reader(&self) -> M::Reader {
        (**self).reader()
    }

    fn program(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        (**self).program(segment, offset, bytes)
    }

    fn program_behind(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        (**self).program_behind(segment, offset, bytes)
    }

    fn program_through(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        (**self).program_through(segment, offset, bytes)
    }

    fn sync(&mut self) -> Result<(), Error> {
        (**self).sync()
    }

    fn start_erase(&mut self, segment: u32) -> Result<(), Error> {
        (**self).start_erase(segment)
    }

    fn poll_erase(&mut self) -> Result<EraseProgress, Error> {
        (**self).poll_erase()
    }
}
