//! The medium under a volume: one type for both, so that the spool is compiled once, and a disk that is read back.
//!
//! The spool reads back by itself what it programs into chips, and takes a disk's word. Nobody looks after the disk of a
//! box in rescue, so here its word is checked too: what was programmed is read, past caches where that can be done, before
//! the write counts.

use penstock_flash::{Erase, EraseProgress, Error, Geometry, Medium, ReadAt};

/// How much is read back at once, in bytes.
const READ_BACK_BYTES: usize = 4096;

/// A disk or a NOR flash.
#[derive(Debug)]
pub(crate) enum Backing<D, N> {
    Disk(D),
    Nor(N),
}

/// A handle that reads one of them.
#[derive(Clone, Debug)]
pub(crate) enum BackingReader<D, N> {
    Disk(D),
    Nor(N),
}

impl<D: Medium, N: Medium> Backing<D, N> {
    fn read_back(&self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        if self.geometry().erase == Erase::Physical {
            return Ok(());
        }
        let reader = self.reader();
        let mut seen = [0; READ_BACK_BYTES];
        let mut at = offset;
        for part in bytes.chunks(READ_BACK_BYTES) {
            let Some(seen) = seen.get_mut(..part.len()) else { continue };
            reader.read_uncached(segment, at, seen)?;
            if seen != part {
                return Err(Error::Mismatch { segment, offset: at });
            }
            at = at.saturating_add(READ_BACK_BYTES as u32);
        }
        Ok(())
    }
}

impl<D: Medium, N: Medium> Medium for Backing<D, N> {
    type Reader = BackingReader<D::Reader, N::Reader>;

    fn geometry(&self) -> Geometry {
        match self {
            Self::Disk(disk) => disk.geometry(),
            Self::Nor(nor) => nor.geometry(),
        }
    }

    fn reader(&self) -> Self::Reader {
        match self {
            Self::Disk(disk) => BackingReader::Disk(disk.reader()),
            Self::Nor(nor) => BackingReader::Nor(nor.reader()),
        }
    }

    fn program(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        match self {
            Self::Disk(disk) => disk.program(segment, offset, bytes)?,
            Self::Nor(nor) => nor.program(segment, offset, bytes)?,
        }
        self.read_back(segment, offset, bytes)
    }

    fn program_through(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        match self {
            Self::Disk(disk) => disk.program_through(segment, offset, bytes)?,
            Self::Nor(nor) => nor.program_through(segment, offset, bytes)?,
        }
        self.read_back(segment, offset, bytes)
    }

    fn sync(&mut self) -> Result<(), Error> {
        match self {
            Self::Disk(disk) => disk.sync(),
            Self::Nor(nor) => nor.sync(),
        }
    }

    fn start_erase(&mut self, segment: u32) -> Result<(), Error> {
        match self {
            Self::Disk(disk) => disk.start_erase(segment),
            Self::Nor(nor) => nor.start_erase(segment),
        }
    }

    fn poll_erase(&mut self) -> Result<EraseProgress, Error> {
        match self {
            Self::Disk(disk) => disk.poll_erase(),
            Self::Nor(nor) => nor.poll_erase(),
        }
    }
}

impl<D: ReadAt, N: ReadAt> ReadAt for BackingReader<D, N> {
    fn read(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), Error> {
        match self {
            Self::Disk(disk) => disk.read(segment, offset, into),
            Self::Nor(nor) => nor.read(segment, offset, into),
        }
    }

    fn read_uncached(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), Error> {
        match self {
            Self::Disk(disk) => disk.read_uncached(segment, offset, into),
            Self::Nor(nor) => nor.read_uncached(segment, offset, into),
        }
    }
}
