//! What a volume can be kept on, as one medium: a file or block device, or a partition of NOR flash.

use penstock_flash::{EraseProgress, Error, Geometry, Medium, ReadAt};
use penstock_flash_linux::{MtdReader, MtdVolume, Volume, VolumeReader};

/// What a volume is kept on.
#[derive(Debug)]
pub(crate) enum Backing {
    Volume(Volume),
    Nor(MtdVolume),
}

/// The handle that reads it.
#[derive(Clone, Debug)]
pub(crate) enum BackingReader {
    Volume(VolumeReader),
    Nor(MtdReader),
}

/// Does the same to whichever it is.
macro_rules! whichever {
    ($self:expr, $medium:ident => $done:expr) => {
        match $self {
            Self::Volume($medium) => $done,
            Self::Nor($medium) => $done,
        }
    };
}

impl Backing {
    /// As [`Volume::forget_failure`]. NOR flash tells of each program what became of it, and has nothing to forget.
    pub(crate) fn forget_failure(&mut self) {
        if let Self::Volume(volume) = self {
            volume.forget_failure();
        }
    }
}

impl Medium for Backing {
    type Reader = BackingReader;

    fn geometry(&self) -> Geometry {
        whichever!(self, medium => medium.geometry())
    }

    fn reader(&self) -> BackingReader {
        match self {
            Self::Volume(volume) => BackingReader::Volume(volume.reader()),
            Self::Nor(nor) => BackingReader::Nor(nor.reader()),
        }
    }

    fn program(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        whichever!(self, medium => medium.program(segment, offset, bytes))
    }

    fn program_behind(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        whichever!(self, medium => medium.program_behind(segment, offset, bytes))
    }

    fn program_through(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        whichever!(self, medium => medium.program_through(segment, offset, bytes))
    }

    fn sync(&mut self) -> Result<(), Error> {
        whichever!(self, medium => medium.sync())
    }

    fn start_erase(&mut self, segment: u32) -> Result<(), Error> {
        whichever!(self, medium => medium.start_erase(segment))
    }

    fn poll_erase(&mut self) -> Result<EraseProgress, Error> {
        whichever!(self, medium => medium.poll_erase())
    }
}

impl ReadAt for BackingReader {
    fn read(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), Error> {
        whichever!(self, reader => reader.read(segment, offset, into))
    }

    fn read_uncached(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), Error> {
        whichever!(self, reader => reader.read_uncached(segment, offset, into))
    }
}
