//! How a volume comes to be: in full, or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FallocateFlags, RenameFlags};
use rustix::io::Errno;

use crate::aligned::AlignedBuffer;
use crate::error::VolumeError;
use crate::volume::{Volume, geometry_of, lock, open_for_writing};

/// How much is written at once while a file is written out.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// What a new volume shall be.
#[derive(Clone, Copy, Debug)]
pub struct Create {
    /// The size of a file in bytes, rounded down to whole segments. A device is taken as large as it is.
    pub size_bytes: u64,
    /// The size of a segment in bytes, a multiple of 4 KiB.
    pub segment_bytes: u32,
    /// Whether a file that exists is replaced, and a device taken, whatever they hold. Devices always exist.
    pub overwrite: bool,
}

impl Volume {
    /// Creates a volume and opens it. `progress` is told the bytes done and the bytes in all.
    ///
    /// A file is written out with zeros under the name `PATH.partial`, synced, and only then given its name: a file
    /// with holes would have its blocks allocated on the first write to each, which makes that write slow, its sync a
    /// journal commit, and running out of space a thing that happens to acknowledged mail. Of a device nothing is
    /// written: its blocks are all there, and what they hold does not matter to a medium with
    /// [`Erase::Logical`](penstock_flash::Erase::Logical).
    ///
    /// # Errors
    /// [`VolumeError`]. Whatever the error, there is no partial file afterwards, and a file that was not to be
    /// overwritten is untouched.
    pub fn create(
        path: impl AsRef<Path>,
        options: &Create,
        progress: impl FnMut(u64, u64),
    ) -> Result<Self, VolumeError> {
        // What a link points at is the volume, not the link.
        let path = fs::canonicalize(&path).unwrap_or_else(|_| path.as_ref().to_owned());
        let path = path.as_path();
        match fs::metadata(path) {
            Ok(_) if !options.overwrite => Err(VolumeError::Exists { path: path.to_owned() }),
            Ok(metadata) if metadata.file_type().is_block_device() => Self::open(path, options.segment_bytes),
            Ok(_) => {
                remove_unused(path)?;
                create_file(path, options, progress)
            }
            Err(_) => create_file(path, options, progress),
        }
    }
}

/// Removes a file, unless another process has it as its volume. It goes before its successor is written, since there
/// is seldom room for both.
fn remove_unused(path: &Path) -> Result<(), VolumeError> {
    let (file, _) = open_for_writing(path, OpenOptions::new().write(true))?;
    lock(&file, path)?;
    fs::remove_file(path).map_err(VolumeError::io("remove", path))
}

fn create_file(path: &Path, options: &Create, progress: impl FnMut(u64, u64)) -> Result<Volume, VolumeError> {
    let Create { size_bytes, segment_bytes, .. } = *options;
    let geometry = geometry_of(size_bytes, segment_bytes).ok_or_else(|| VolumeError::BadSize {
        path: path.to_owned(),
        size_bytes,
        segment_bytes,
    })?;
    let partial = Partial::begin(path)?;
    let total_bytes = geometry.capacity_bytes();
    write_out(&partial.file, total_bytes, progress)
        .map_err(|error| write_error(error, path, &partial.file, total_bytes))?;
    let (file, direct) = partial.finish(path)?;
    Volume::assemble(path, file, direct, segment_bytes)
}

/// A file that has not got its name yet, and is removed unless it gets it.
struct Partial {
    path: PathBuf,
    file: File,
    direct: bool,
    finished: bool,
}

impl Partial {
    /// Begins with an empty file. What an earlier attempt left behind when the power failed is reused.
    fn begin(target: &Path) -> Result<Self, VolumeError> {
        let mut name = OsString::from(target);
        name.push(".partial");
        let path = PathBuf::from(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600);
        let (file, direct) = open_for_writing(&path, &options)?;
        lock(&file, &path)?;
        let partial = Self { path, file, direct, finished: false };
        partial.file.set_len(0).map_err(VolumeError::io("truncate", &partial.path))?;
        Ok(partial)
    }

    /// Gives it its name, if that is still free, and makes the name durable.
    fn finish(mut self, target: &Path) -> Result<(File, bool), VolumeError> {
        rename_new(&self.path, target)?;
        self.finished = true;
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let synced = File::open(parent).and_then(|directory| directory.sync_all());
        synced.map_err(VolumeError::io("sync", parent))?;
        let file = self.file.try_clone().map_err(VolumeError::io("open", target))?;
        Ok((file, self.direct))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.finished {
            // The error that led here is the one to report.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn rename_new(from: &Path, to: &Path) -> Result<(), VolumeError> {
    let renamed = match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The file system cannot rename so. A hard link does not replace either.
        Err(Errno::INVAL | Errno::NOSYS) => fs::hard_link(from, to).and_then(|()| fs::remove_file(from)),
        renamed => renamed.map_err(Into::into),
    };
    renamed.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => VolumeError::Exists { path: to.to_owned() },
        _ => VolumeError::io("name", to)(error),
    })
}

/// Fills the file with zeros, so that all its blocks are allocated and written, and syncs it.
fn write_out(file: &File, total_bytes: u64, mut progress: impl FnMut(u64, u64)) -> io::Result<()> {
    if available_bytes(file)? < total_bytes {
        return Err(Errno::NOSPC.into());
    }
    // Where it can be done, all blocks are had at once: in one piece, and not after minutes of writing too few.
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, total_bytes) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    let zeros = AlignedBuffer::new(CHUNK_BYTES);
    let mut done_bytes = 0;
    while done_bytes < total_bytes {
        progress(done_bytes, total_bytes);
        let len = (total_bytes - done_bytes).min(CHUNK_BYTES as u64);
        file.write_all_at(&zeros[..len as usize], done_bytes)?;
        done_bytes += len;
    }
    file.sync_all()?;
    progress(total_bytes, total_bytes);
    Ok(())
}

/// Says what the operator has to do about an error while writing out.
fn write_error(error: io::Error, path: &Path, file: &File, size_bytes: u64) -> VolumeError {
    if Errno::from_io_error(&error) != Some(Errno::NOSPC) {
        return VolumeError::io("write", path)(error);
    }
    let available_bytes = available_bytes(file).unwrap_or(0);
    VolumeError::NoSpace { path: path.to_owned(), size_bytes, available_bytes }
}

/// What the file system has left for this process, in bytes.
fn available_bytes(file: &File) -> Result<u64, Errno> {
    let stat = rustix::fs::fstatvfs(file)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
