//! A volume that is open: programming, syncing, reading, and how it is opened and locked.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Seek, SeekFrom};
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use penstock_flash::{Erase, EraseProgress, Error, Geometry, Medium, ReadAt, UNIT_BYTES_MAX};
use rustix::fs::{Advice, OFlags, ioctl_blkpbszget};
use rustix::io::{Errno, ReadWriteFlags, pwritev2};

use crate::aligned::{AlignedBuffer, is_aligned};
use crate::counters::{Counters, Tally};
use crate::error::VolumeError;

/// The program unit in bytes. Devices whose blocks are larger are refused; where they are smaller, as on most eMMC,
/// page cache and file system still work in pages.
const UNIT_BYTES: u32 = 4096;
const _: () = assert!(UNIT_BYTES <= UNIT_BYTES_MAX);

/// Bytes that are not aligned go through a buffer of this size.
const BOUNCE_BYTES: usize = 256 * 1024;

/// A file or block device as a medium. The volume is locked for as long as this, or a reader of it, exists.
#[derive(Debug)]
pub struct Volume {
    shared: Arc<Shared>,
    /// Made when it is first needed: who programs from an [`AlignedBuffer`] never needs it.
    bounce: Option<AlignedBuffer>,
    /// Whether single writes can be written through; unlearned when the kernel says no.
    writes_through: bool,
    /// The error of the sync that failed, after which nothing is written any more.
    failed: Option<i32>,
    erasing: Option<u32>,
}

/// What volume and readers have in common.
#[derive(Debug)]
struct Shared {
    /// Opened for direct I/O where that is possible. It holds the lock.
    writes: File,
    direct: bool,
    /// Opened for reading through the page cache. A direct write drops the pages under it before it returns.
    reads: File,
    geometry: Geometry,
    tally: Tally,
}

impl Volume {
    /// Opens a regular file or a block device that holds segments of `segment_bytes`, and locks it against every
    /// other process that opens it so. What it holds is not looked at. A rest smaller than a segment is left alone.
    ///
    /// # Errors
    /// [`VolumeError::InUse`] and all others but those of creating.
    pub fn open(path: impl AsRef<Path>, segment_bytes: u32) -> Result<Self, VolumeError> {
        let path = path.as_ref();
        let (writes, direct) = open_for_writing(path, OpenOptions::new().read(true).write(true))?;
        lock(&writes, path)?;
        Self::assemble(path, writes, direct, segment_bytes)
    }

    /// Whether programs go past the page cache. Where the file system does not allow it they go through it, which is
    /// slower, and an error shows itself only at the sync.
    pub fn is_direct(&self) -> bool {
        self.shared.direct
    }

    /// What went through the volume since it was opened.
    pub fn counters(&self) -> Counters {
        self.shared.tally.snapshot()
    }

    /// Makes a volume of a file that was opened by [`open_for_writing`] and locked.
    pub(crate) fn assemble(
        path: &Path,
        writes: File,
        direct: bool,
        segment_bytes: u32,
    ) -> Result<Self, VolumeError> {
        let geometry = geometry(path, &writes, segment_bytes)?;
        let reads = File::open(path).map_err(VolumeError::io("open", path))?;
        let identity = |file: &File| {
            let metadata = file.metadata().map_err(VolumeError::io("examine", path))?;
            Ok((metadata.dev(), metadata.ino()))
        };
        if identity(&writes)? != identity(&reads)? {
            // Somebody put another file in its place between the two calls.
            return Err(VolumeError::InUse { path: path.to_owned() });
        }
        let shared = Arc::new(Shared { writes, direct, reads, geometry, tally: Tally::default() });
        Ok(Self { shared, bounce: None, writes_through: true, failed: None, erasing: None })
    }

    /// Lets writes be tried again after a sync that failed.
    ///
    /// What was programmed since the last sync that succeeded stays in doubt, whatever later syncs say: only for who
    /// takes stock of the medium anew and writes nothing where it had written, as the log does when it mounts.
    pub fn forget_failure(&mut self) {
        self.failed = None;
    }

    /// Refuses what the contract forbids, and everything after a sync that failed.
    fn check_program(&self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.check_alive()?;
        self.shared.geometry.check_program(segment, offset, bytes.len())?;
        if self.erasing == Some(segment) { Err(Error::EraseBusy) } else { Ok(()) }
    }

    fn check_alive(&self) -> Result<(), Error> {
        self.failed.map_or(Ok(()), |code| Err(Error::Io { code }))
    }

    /// Writes from where the bytes lie, or by way of the bounce buffer.
    fn write(&mut self, mut at: u64, bytes: &[u8], flags: ReadWriteFlags) -> Result<(), Errno> {
        if !self.shared.direct || is_aligned(bytes) {
            return write_all(&self.shared.writes, at, bytes, flags);
        }
        let bounce = self.bounce.get_or_insert_with(|| AlignedBuffer::new(BOUNCE_BYTES));
        for chunk in bytes.chunks(BOUNCE_BYTES) {
            bounce[..chunk.len()].copy_from_slice(chunk);
            write_all(&self.shared.writes, at, &bounce[..chunk.len()], flags)?;
            at += chunk.len() as u64;
        }
        Ok(())
    }

    /// Remembers that a sync failed.
    fn fail(&mut self, error: Errno) -> Error {
        let code = error.raw_os_error();
        self.failed = Some(code);
        Error::Io { code }
    }
}

impl Medium for Volume {
    type Reader = VolumeReader;

    fn geometry(&self) -> Geometry {
        self.shared.geometry
    }

    fn reader(&self) -> VolumeReader {
        VolumeReader { shared: Arc::clone(&self.shared) }
    }

    /// Bytes that begin at a multiple of [`ALIGN_BYTES`](crate::ALIGN_BYTES) in memory are not copied.
    fn program(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.check_program(segment, offset, bytes)?;
        self.shared.tally.program(bytes.len(), false);
        let at = self.shared.address(segment, offset);
        self.write(at, bytes, ReadWriteFlags::empty())
            .map_err(|error| Error::Io { code: error.raw_os_error() })
    }

    /// One request (`RWF_DSYNC`), which the kernel sends as FUA where the device has it. An error may be that of a
    /// sync, so that nothing is written after it.
    fn program_through(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.check_program(segment, offset, bytes)?;
        if self.writes_through {
            let at = self.shared.address(segment, offset);
            match self.write(at, bytes, ReadWriteFlags::DSYNC) {
                // No such flag in this file system or this kernel.
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => self.writes_through = false,
                done => {
                    self.shared.tally.program(bytes.len(), true);
                    return done.map_err(|error| self.fail(error));
                }
            }
        }
        self.program(segment, offset, bytes)?;
        self.sync()
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.check_alive()?;
        self.shared.tally.sync();
        rustix::fs::fdatasync(&self.shared.writes).map_err(|error| self.fail(error))
    }

    fn start_erase(&mut self, segment: u32) -> Result<(), Error> {
        self.shared.geometry.check_read(segment, 0, 0)?;
        if self.erasing.is_some() {
            return Err(Error::EraseBusy);
        }
        self.erasing = Some(segment);
        Ok(())
    }

    /// Done at once: nothing is written.
    fn poll_erase(&mut self) -> Result<EraseProgress, Error> {
        self.erasing = None;
        Ok(EraseProgress::Done)
    }
}

/// The handle that reads a [`Volume`], from any thread.
#[derive(Clone, Debug)]
pub struct VolumeReader {
    shared: Arc<Shared>,
}

impl VolumeReader {
    /// What went through the volume since it was opened, by all handles.
    pub fn counters(&self) -> Counters {
        self.shared.tally.snapshot()
    }
}

impl ReadAt for VolumeReader {
    fn read(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), Error> {
        self.shared.geometry.check_read(segment, offset, into.len())?;
        self.shared.tally.read(into.len());
        read_at(&self.shared.reads, &self.shared.geometry, segment, offset, into)
    }

    fn read_uncached(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), Error> {
        self.shared.geometry.check_read(segment, offset, into.len())?;
        self.shared.tally.read(into.len());
        read_past_cache(&self.shared.reads, &self.shared.geometry, segment, offset, into)
    }
}

/// Reads from where a place of the medium is in its file. That there is such a place was checked.
pub(crate) fn read_at(
    file: &File,
    geometry: &Geometry,
    segment: u32,
    offset: u32,
    into: &mut [u8],
) -> Result<(), Error> {
    let at = address(geometry, segment, offset);
    file.read_exact_at(into, at).map_err(|error| read_error(&error, segment, offset))
}

/// As [`read_at`]; what the page cache holds of it is dropped before, so that the device is asked, and after, so that who
/// reads all of a volume leaves the cache to others.
pub(crate) fn read_past_cache(
    file: &File,
    geometry: &Geometry,
    segment: u32,
    offset: u32,
    into: &mut [u8],
) -> Result<(), Error> {
    let at = address(geometry, segment, offset);
    drop_cached(file, at, into.len());
    let read = read_at(file, geometry, segment, offset, into);
    drop_cached(file, at, into.len());
    read
}

/// Lets the kernel forget the pages of a stretch of a file. It may keep those that are in use; that is no error.
fn drop_cached(file: &File, at: u64, len: usize) {
    const PAGE_BYTES: u64 = 4096;
    let first = at - at % PAGE_BYTES;
    let end = (at + len as u64).next_multiple_of(PAGE_BYTES);
    let _ = rustix::fs::fadvise(file, first, NonZeroU64::new(end - first), Advice::DontNeed);
}

/// A medium error is EIO through the page cache and one of the others past it. The end of a file that somebody cut
/// short has no number at all.
fn read_error(error: &io::Error, segment: u32, offset: u32) -> Error {
    match Errno::from_io_error(error) {
        Some(Errno::IO | Errno::NODATA | Errno::ILSEQ | Errno::BADMSG) | None => {
            Error::Unreadable { segment, offset }
        }
        Some(other) => Error::Io { code: other.raw_os_error() },
    }
}

impl Shared {
    fn address(&self, segment: u32, offset: u32) -> u64 {
        address(&self.geometry, segment, offset)
    }
}

fn address(geometry: &Geometry, segment: u32, offset: u32) -> u64 {
    u64::from(segment) * u64::from(geometry.segment_bytes) + u64::from(offset)
}

fn write_all(file: &File, mut at: u64, mut bytes: &[u8], flags: ReadWriteFlags) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match pwritev2(file, &[IoSlice::new(bytes)], at, flags) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                bytes = &bytes[written..];
                at += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Opens a regular file or a block device with direct I/O, or without where the file system does not allow it. Says
/// which. A block device that the kernel uses (a mounted file system) is refused.
pub(crate) fn open_for_writing(path: &Path, options: &OpenOptions) -> Result<(File, bool), VolumeError> {
    let is_device = check_kind(path)?;
    let exclusive = if is_device { OFlags::EXCL } else { OFlags::empty() };
    let open = |flags: OFlags| options.clone().custom_flags(flags.bits() as i32).open(path);
    let opened = match open(exclusive | OFlags::DIRECT) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
            open(exclusive).map(|file| (file, false))
        }
        opened => opened.map(|file| (file, true)),
    };
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::ResourceBusy => VolumeError::InUse { path: path.to_owned() },
        io::ErrorKind::AlreadyExists => VolumeError::Exists { path: path.to_owned() },
        _ => VolumeError::io("open", path)(error),
    })
}

/// Whether it is a block device. What is neither that nor a regular file is refused before it is opened: opening a FIFO
/// would wait for its other end.
pub(crate) fn check_kind(path: &Path) -> Result<bool, VolumeError> {
    match std::fs::metadata(path).map(|metadata| metadata.file_type()) {
        Ok(kind) if kind.is_block_device() => Ok(true),
        Ok(kind) if !kind.is_file() => Err(VolumeError::WrongKind { path: path.to_owned() }),
        // What does not exist may be about to be created.
        Ok(_) | Err(_) => Ok(false),
    }
}

/// Locks it for as long as it is open, or says that another holds the lock.
pub(crate) fn lock(file: &File, path: &Path) -> Result<(), VolumeError> {
    file.try_lock().map_err(|error| lock_error(error, path))
}

/// Locks it against those who lock it whole, and beside others who lock it so.
pub(crate) fn lock_shared(file: &File, path: &Path) -> Result<(), VolumeError> {
    file.try_lock_shared().map_err(|error| lock_error(error, path))
}

fn lock_error(error: TryLockError, path: &Path) -> VolumeError {
    match error {
        TryLockError::WouldBlock => VolumeError::InUse { path: path.to_owned() },
        TryLockError::Error(error) => VolumeError::io("lock", path)(error),
    }
}

pub(crate) fn geometry(path: &Path, file: &File, segment_bytes: u32) -> Result<Geometry, VolumeError> {
    let metadata = file.metadata().map_err(VolumeError::io("examine", path))?;
    let size_bytes = if metadata.file_type().is_block_device() {
        let block_bytes =
            ioctl_blkpbszget(file).map_err(|error| VolumeError::io("examine", path)(error.into()))?;
        if block_bytes > UNIT_BYTES {
            return Err(VolumeError::BlockTooLarge { path: path.to_owned(), block_bytes });
        }
        let mut device = file;
        device.seek(SeekFrom::End(0)).map_err(VolumeError::io("measure", path))?
    } else {
        metadata.len()
    };
    geometry_of(size_bytes, segment_bytes).ok_or_else(|| VolumeError::BadSize {
        path: path.to_owned(),
        size_bytes,
        segment_bytes,
    })
}

/// The geometry of a volume of this size, if it can have one.
pub(crate) fn geometry_of(size_bytes: u64, segment_bytes: u32) -> Option<Geometry> {
    let segments = u32::try_from(size_bytes.checked_div(u64::from(segment_bytes))?).ok()?;
    let geometry = Geometry { segments, segment_bytes, unit_bytes: UNIT_BYTES, erase: Erase::Logical };
    geometry.is_valid().then_some(geometry)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EBADF: Error = Error::Io { code: 9 };

    fn file(dir: &tempfile::TempDir) -> std::path::PathBuf {
        let path = dir.path().join("volume");
        std::fs::write(&path, vec![0; 1 << 20]).unwrap();
        path
    }

    #[test]
    fn after_a_sync_that_failed_nothing_is_written_any_more_and_all_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir);
        // A file that is open for reading only fails every write, and with it what was to be written through.
        let mut volume = Volume::assemble(&path, File::open(&path).unwrap(), false, 4096).unwrap();
        assert_eq!(volume.program(0, 0, &[1; 4096]), Err(EBADF));
        assert_eq!(volume.sync(), Ok(()), "a program that failed concerns its own units only");
        assert_eq!(volume.program_through(0, 0, &[1; 4096]), Err(EBADF));
        let synced = volume.shared.tally.snapshot().syncs;
        assert_eq!(volume.sync(), Err(EBADF));
        assert_eq!(volume.program(1, 0, &[1; 4096]), Err(EBADF));
        assert_eq!(volume.shared.tally.snapshot().syncs, synced, "the kernel would report success");
        assert_eq!(volume.reader().read(1, 0, &mut [0; 4096]), Ok(()));
    }

    #[test]
    fn without_direct_io_all_is_as_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir);
        let writes = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let mut volume = Volume::assemble(&path, writes, false, 8192).unwrap();
        let bytes: Vec<u8> = (0..8193).map(|index| index as u8).collect();
        volume.program(3, 0, &bytes[1..]).unwrap();
        volume.program_through(4, 0, &bytes[1..4097]).unwrap();
        volume.sync().unwrap();
        assert!(volume.bounce.is_none(), "the page cache takes bytes from anywhere");
        let mut found = vec![0; 8192];
        volume.reader().read(3, 0, &mut found).unwrap();
        assert_eq!(found, bytes[1..]);
        volume.reader().read(4, 0, &mut found[..4096]).unwrap();
        assert_eq!(found[..4096], bytes[1..4097]);
    }

    #[test]
    fn where_writing_through_is_not_known_a_sync_does_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir);
        let writes = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let mut volume = Volume::assemble(&path, writes, false, 4096).unwrap();
        volume.writes_through = false;
        volume.program_through(0, 0, &[1; 4096]).unwrap();
        let counters = volume.counters();
        assert_eq!((counters.programmed_bytes, counters.through_requests, counters.syncs), (4096, 0, 1));
    }
}
