//! A partition of raw NOR flash as a medium.
//!
//! The log wants few and large segments, so sectors are grouped as [`penstock_flash::nor`] groups them: firmware and Linux
//! see the same volume. What is programmed is read back before it counts, since a chip that is protected, worn or gone may
//! say that all is well; so nobody is told that mail is safe which is not there. Writes to the device are synchronous, and
//! a sync has nothing left to wait for.
//!
//! An erase takes of the order of a second. It goes on in a thread of its own, and the kernel has the chip suspend it while
//! something is read or programmed.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use penstock_flash::nor::SEGMENT_BYTES_MIN;
use penstock_flash::{Erase, EraseProgress, Error, Geometry, Medium, ReadAt};
use rustix::io::Errno;

use crate::counters::{Counters, Tally};
use crate::error::VolumeError;
use crate::mtd::{Mtd, MtdError};
use crate::volume::lock;

/// The smallest program unit in bytes, whatever the chip allows. Chips with an ECC want none of its words, of up to 32
/// bytes, programmed twice; and it is the same in the firmware, since a volume has one unit for good.
const NOR_UNIT_BYTES_MIN: u32 = 64;

/// How long a poll waits for an erase, so that who polls does not spin.
const POLL: Duration = Duration::from_millis(5);
/// The stack of the thread that erases, which does nothing but one system call.
const STACK_BYTES: usize = 64 * 1024;

/// What a volume needs of raw flash. Places and lengths are in bytes from its start.
pub(crate) trait Cells: Send + Sync + 'static {
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), MtdError>;
    fn program(&self, offset: u64, bytes: &[u8]) -> Result<(), MtdError>;
    fn erase(&self, sector: u32) -> Result<(), MtdError>;
}

impl Cells for Mtd {
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), MtdError> {
        Self::read(self, offset, into)
    }

    fn program(&self, offset: u64, bytes: &[u8]) -> Result<(), MtdError> {
        Self::program(self, offset, bytes)
    }

    fn erase(&self, sector: u32) -> Result<(), MtdError> {
        Self::erase(self, sector)
    }
}

/// A partition of NOR flash as a medium. It is locked for as long as this, or a reader of it, exists.
#[derive(Debug)]
pub struct MtdVolume<C = Mtd> {
    shared: Arc<Shared<C>>,
    erasing: Option<Erasing>,
}

/// What volume, readers and the thread that erases have in common.
#[derive(Debug)]
struct Shared<C> {
    cells: C,
    geometry: Geometry,
    sectors_per_segment: u32,
    tally: Tally,
}

/// An erase that is under way.
#[derive(Debug)]
struct Erasing {
    segment: u32,
    done: Receiver<Result<(), Error>>,
}

impl MtdVolume {
    /// Opens the device of a partition, and locks it against every other process that opens it so. What it holds is not
    /// looked at. A rest smaller than a segment is left alone.
    ///
    /// # Errors
    /// [`VolumeError::Mtd`], [`VolumeError::InUse`], [`VolumeError::BadSize`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, VolumeError> {
        let path = path.as_ref();
        let mtd = Mtd::open(path, true).map_err(VolumeError::Mtd)?;
        lock(mtd.file(), path)?;
        let (size_bytes, erase_bytes, unit_bytes) = (mtd.size_bytes(), mtd.erase_bytes(), mtd.unit_bytes());
        let volume = Self::assemble(mtd, size_bytes, erase_bytes, unit_bytes);
        volume.ok_or_else(|| VolumeError::BadSize {
            path: path.to_owned(),
            size_bytes,
            segment_bytes: erase_bytes.max(SEGMENT_BYTES_MIN),
        })
    }

    /// Whether nothing was ever written there: every byte reads as erased flash does.
    ///
    /// # Errors
    /// What the flash says.
    pub fn is_blank(&self) -> Result<bool, VolumeError> {
        const PIECE_BYTES: usize = 64 * 1024;
        let mut piece = vec![0; PIECE_BYTES];
        let size_bytes = self.shared.cells.size_bytes();
        for at in (0..size_bytes).step_by(PIECE_BYTES) {
            let piece = &mut piece[..PIECE_BYTES.min((size_bytes - at) as usize)];
            self.shared.cells.read(at, piece).map_err(VolumeError::Mtd)?;
            if piece.iter().any(|byte| *byte != 0xFF) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl<C> MtdVolume<C> {
    /// `None` where the sizes make no volume.
    fn assemble(cells: C, size_bytes: u64, erase_bytes: u32, unit_bytes: u32) -> Option<Self> {
        let segment_bytes = SEGMENT_BYTES_MIN.checked_next_multiple_of(erase_bytes)?;
        let segments = u32::try_from(size_bytes / u64::from(segment_bytes)).ok()?;
        let unit_bytes = unit_bytes.max(NOR_UNIT_BYTES_MIN);
        let geometry = Geometry { segments, segment_bytes, unit_bytes, erase: Erase::Physical };
        let sectors_per_segment = segment_bytes / erase_bytes;
        let shared = Shared { cells, geometry, sectors_per_segment, tally: Tally::default() };
        geometry.is_valid().then(|| Self { shared: Arc::new(shared), erasing: None })
    }

    /// What went through the volume since it was opened.
    pub fn counters(&self) -> Counters {
        self.shared.tally.snapshot()
    }
}

impl<C> Shared<C> {
    fn address(&self, segment: u32, offset: u32) -> u64 {
        u64::from(segment) * u64::from(self.geometry.segment_bytes) + u64::from(offset)
    }
}

impl<C: Cells> Shared<C> {
    fn erase(&self, segment: u32) -> Result<(), Error> {
        let first = segment * self.sectors_per_segment;
        (first..first + self.sectors_per_segment)
            .try_for_each(|sector| self.cells.erase(sector).map_err(|error| translate(&error, segment, 0)))
    }
}

impl<C: Cells> Medium for MtdVolume<C> {
    type Reader = MtdReader<C>;

    fn geometry(&self) -> Geometry {
        self.shared.geometry
    }

    fn reader(&self) -> MtdReader<C> {
        MtdReader { shared: Arc::clone(&self.shared) }
    }

    /// Durable, and read back, when it returns `Ok`.
    fn program(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.shared.geometry.check_program(segment, offset, bytes.len())?;
        if self.erasing.as_ref().is_some_and(|erasing| erasing.segment == segment) {
            return Err(Error::EraseBusy);
        }
        self.shared.tally.program(bytes.len(), false);
        let at = self.shared.address(segment, offset);
        self.shared.cells.program(at, bytes).map_err(|error| translate(&error, segment, offset))
    }

    /// Nothing is left to be done: each program was durable when it returned.
    fn sync(&mut self) -> Result<(), Error> {
        self.shared.tally.sync();
        Ok(())
    }

    fn start_erase(&mut self, segment: u32) -> Result<(), Error> {
        self.shared.geometry.check_read(segment, 0, 0)?;
        if self.erasing.is_some() {
            return Err(Error::EraseBusy);
        }
        let (tell, done) = sync_channel(1);
        let shared = Arc::clone(&self.shared);
        thread::Builder::new()
            .name("erase".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                // Whoever began it may have gone; then the erase was for nobody.
                let _ = tell.send(shared.erase(segment));
            })
            .map_err(|error| Error::Io { code: error.raw_os_error().unwrap_or_default() })?;
        self.erasing = Some(Erasing { segment, done });
        Ok(())
    }

    /// Waits for a few milliseconds at most.
    fn poll_erase(&mut self) -> Result<EraseProgress, Error> {
        let Some(erasing) = &self.erasing else { return Ok(EraseProgress::Done) };
        let ended = match erasing.done.recv_timeout(POLL) {
            Err(RecvTimeoutError::Timeout) => return Ok(EraseProgress::Busy),
            Ok(ended) => ended,
            // The thread is gone without a word.
            Err(RecvTimeoutError::Disconnected) => Err(Error::Io { code: Errno::IO.raw_os_error() }),
        };
        self.erasing = None;
        ended.map(|()| EraseProgress::Done)
    }
}

/// The handle that reads an [`MtdVolume`], from any thread.
#[derive(Debug)]
pub struct MtdReader<C = Mtd> {
    shared: Arc<Shared<C>>,
}

impl<C> Clone for MtdReader<C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<C: Cells> ReadAt for MtdReader<C> {
    fn read(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), Error> {
        self.shared.geometry.check_read(segment, offset, into.len())?;
        self.shared.tally.read(into.len());
        let at = self.shared.address(segment, offset);
        self.shared.cells.read(at, into).map_err(|error| match translate(&error, segment, offset) {
            Error::Io { code } if code == Errno::IO.raw_os_error() => Error::Unreadable { segment, offset },
            other => other,
        })
    }
}

fn translate(error: &MtdError, segment: u32, offset: u32) -> Error {
    match error {
        MtdError::NotAsWritten { .. } => Error::Mismatch { segment, offset },
        MtdError::Io { source, .. } => {
            Error::Io { code: source.raw_os_error().unwrap_or(Errno::IO.raw_os_error()) }
        }
        _ => Error::OutOfBounds { segment, offset },
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::*;

    const SECTOR_BYTES: u32 = 16 * 1024;
    const SECTORS: u32 = 64;

    /// A chip in memory, as NOR is: programs clear bits, erases set them.
    #[derive(Default)]
    struct Chip {
        cells: Mutex<Vec<u8>>,
        /// Programs are said to be done, and are not.
        is_protected: AtomicBool,
        /// Held by who wants an erase to take its time.
        erasing: Mutex<()>,
    }

    impl Chip {
        fn new() -> Arc<Self> {
            let cells = Mutex::new(vec![0xFF; (SECTORS * SECTOR_BYTES) as usize]);
            Arc::new(Self { cells, ..Self::default() })
        }
    }

    impl Cells for Arc<Chip> {
        fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), MtdError> {
            let at = offset as usize;
            into.copy_from_slice(&self.cells.lock().unwrap()[at..at + into.len()]);
            Ok(())
        }

        fn program(&self, offset: u64, bytes: &[u8]) -> Result<(), MtdError> {
            let mut cells = self.cells.lock().unwrap();
            let cells = &mut cells[offset as usize..offset as usize + bytes.len()];
            if !self.is_protected.load(Relaxed) {
                cells.iter_mut().zip(bytes).for_each(|(cell, byte)| *cell &= byte);
            }
            if cells == bytes {
                return Ok(());
            }
            Err(MtdError::NotAsWritten { path: PathBuf::new(), offset })
        }

        fn erase(&self, sector: u32) -> Result<(), MtdError> {
            let _wait = self.erasing.lock().unwrap();
            let from = (sector * SECTOR_BYTES) as usize;
            self.cells.lock().unwrap()[from..from + SECTOR_BYTES as usize].fill(0xFF);
            Ok(())
        }
    }

    fn volume(chip: &Arc<Chip>) -> MtdVolume<Arc<Chip>> {
        MtdVolume::assemble(Arc::clone(chip), u64::from(SECTORS * SECTOR_BYTES), SECTOR_BYTES, 1).unwrap()
    }

    fn erase(volume: &mut MtdVolume<Arc<Chip>>, segment: u32) {
        volume.start_erase(segment).unwrap();
        while volume.poll_erase().unwrap() == EraseProgress::Busy {}
    }

    #[test]
    fn sectors_are_grouped_and_units_are_those_of_the_firmware() {
        let geometry = volume(&Chip::new()).geometry();
        assert_eq!((geometry.segments, geometry.segment_bytes), (16, 64 * 1024));
        assert_eq!((geometry.unit_bytes, geometry.erase), (NOR_UNIT_BYTES_MIN, Erase::Physical));
        assert!(MtdVolume::assemble(Chip::new(), 1000, SECTOR_BYTES, 1).is_none(), "less than a segment");
    }

    #[test]
    fn a_log_is_formatted_written_and_found_again() {
        let chip = Chip::new();
        let mut medium = volume(&chip);
        medium.program(3, 128, &[0x5A; 192]).unwrap();
        let mut found = [0; 192];
        medium.reader().read(3, 128, &mut found).unwrap();
        assert_eq!(found, [0x5A; 192]);
        erase(&mut medium, 3);
        medium.reader().read(3, 128, &mut found).unwrap();
        assert_eq!(found, [0xFF; 192]);
        medium.program(3, 128, &[0xA5; 64]).unwrap();
        medium.sync().unwrap();
    }

    #[test]
    fn what_does_not_read_back_was_not_programmed() {
        let chip = Chip::new();
        let mut medium = volume(&chip);
        chip.is_protected.store(true, Relaxed);
        assert_eq!(medium.program(1, 64, &[0; 64]), Err(Error::Mismatch { segment: 1, offset: 64 }));
        chip.is_protected.store(false, Relaxed);
        medium.program(1, 64, &[0x0F; 64]).unwrap();
        let again = medium.program(1, 64, &[0xF0; 64]);
        assert_eq!(again, Err(Error::Mismatch { segment: 1, offset: 64 }), "cells that are not erased");
    }

    #[test]
    fn while_a_segment_is_erased_others_are_read_and_programmed() {
        let chip = Chip::new();
        let mut medium = volume(&chip);
        let slow = chip.erasing.lock().unwrap();
        medium.start_erase(5).unwrap();
        assert_eq!(medium.poll_erase(), Ok(EraseProgress::Busy));
        assert_eq!(medium.start_erase(6), Err(Error::EraseBusy));
        assert_eq!(medium.program(5, 0, &[0; 64]), Err(Error::EraseBusy));
        medium.program(6, 0, &[0; 64]).unwrap();
        medium.reader().read(6, 0, &mut [0; 64]).unwrap();
        drop(slow);
        while medium.poll_erase().unwrap() == EraseProgress::Busy {}
        medium.program(5, 0, &[0; 64]).unwrap();
    }

    #[test]
    fn what_the_contract_forbids_is_refused() {
        let mut medium = volume(&Chip::new());
        assert!(matches!(medium.program(0, 1, &[0; 64]), Err(Error::Misaligned { .. })));
        assert!(matches!(medium.program(0, 0, &[0; 1]), Err(Error::Misaligned { .. })));
        assert!(matches!(medium.program(16, 0, &[0; 64]), Err(Error::OutOfBounds { .. })));
        assert!(matches!(medium.start_erase(16), Err(Error::OutOfBounds { .. })));
        assert_eq!(medium.poll_erase(), Ok(EraseProgress::Done), "nothing was begun");
    }
}
