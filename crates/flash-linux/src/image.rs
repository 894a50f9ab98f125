//! A volume that is only looked at.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use penstock_flash::{EraseProgress, Error, Geometry, Medium, ReadAt};
use rustix::io::Errno;

use crate::error::VolumeError;
use crate::volume::{check_kind, geometry, lock_shared, read_at, read_past_cache};

/// A file or block device as a medium that refuses to be written. It is locked against every process that would write.
#[derive(Debug)]
pub struct Image {
    shared: Arc<Shared>,
}

/// What the image and its readers have in common.
#[derive(Debug)]
struct Shared {
    /// It holds the lock.
    file: File,
    geometry: Geometry,
}

impl Image {
    /// Opens a regular file or a block device that holds segments of `segment_bytes`, for reading.
    ///
    /// # Errors
    /// As [`Volume::open`](crate::Volume::open).
    pub fn open(path: impl AsRef<Path>, segment_bytes: u32) -> Result<Self, VolumeError> {
        let path = path.as_ref();
        check_kind(path)?;
        let file = File::open(path).map_err(VolumeError::io("open", path))?;
        lock_shared(&file, path)?;
        let geometry = geometry(path, &file, segment_bytes)?;
        Ok(Self { shared: Arc::new(Shared { file, geometry }) })
    }
}

const READ_ONLY: Error = Error::Io { code: Errno::ROFS.raw_os_error() };

impl Medium for Image {
    type Reader = ImageReader;

    fn geometry(&self) -> Geometry {
        self.shared.geometry
    }

    fn reader(&self) -> ImageReader {
        ImageReader { shared: Arc::clone(&self.shared) }
    }

    fn program(&mut self, _: u32, _: u32, _: &[u8]) -> Result<(), Error> {
        Err(READ_ONLY)
    }

    /// Nothing was written, so nothing is to be done.
    fn sync(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn start_erase(&mut self, _: u32) -> Result<(), Error> {
        Err(READ_ONLY)
    }

    fn poll_erase(&mut self) -> Result<EraseProgress, Error> {
        Ok(EraseProgress::Done)
    }
}

/// The handle that reads an [`Image`], from any thread.
#[derive(Clone, Debug)]
pub struct ImageReader {
    shared: Arc<Shared>,
}

impl ReadAt for ImageReader {
    fn read(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), Error> {
        self.shared.geometry.check_read(segment, offset, into.len())?;
        read_at(&self.shared.file, &self.shared.geometry, segment, offset, into)
    }

    fn read_uncached(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), Error> {
        self.shared.geometry.check_read(segment, offset, into.len())?;
        read_past_cache(&self.shared.file, &self.shared.geometry, segment, offset, into)
    }
}
