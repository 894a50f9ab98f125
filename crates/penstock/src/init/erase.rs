//! All mail destroyed: what the second command of a factory reset asks for.
//!
//! The whole disk is made zeros, as the disk itself does it best, and the flash that holds mail while the disk is broken is
//! erased. The service must not run. It finds a blank disk afterwards and makes a new volume of it.

use std::fs::OpenOptions;
use std::io::{self, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::thread;

use penstock_flash_linux::Mtd;
use rustix::fs::{FallocateFlags, fallocate};
use tokio::sync::oneshot;

use super::Error;
use super::log::say;

/// The partition of flash with mail.
const PARTITION: &str = "mail";
/// As much is made zeros at once, in bytes.
const CHUNK_BYTES: u64 = 256 * 1024 * 1024;

/// An erasure that goes on by itself.
#[derive(Debug)]
pub(super) struct Erasure(oneshot::Receiver<Result<(), Error>>);

impl Erasure {
    /// Begins.
    pub(super) fn begin(disk: PathBuf) -> Result<Self, Error> {
        let (tell, told) = oneshot::channel();
        let erase = move || {
            // Whoever has gone does not want to know.
            let _ = tell.send(erase(&disk));
        };
        thread::Builder::new().name("erase".into()).spawn(erase).map_err(Error::io("start a thread"))?;
        Ok(Self(told))
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<Result<(), Error>> {
        match self.0.try_recv() {
            Ok(ended) => Some(ended),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => {
                Some(Err(Error::io("erase the mail")(io::ErrorKind::BrokenPipe.into())))
            }
        }
    }
}

fn erase(disk: &Path) -> Result<(), Error> {
    zero(disk).map_err(|source| Error::Disk { path: disk.to_owned(), source })?;
    // A board without such flash has no mail in it.
    let Ok(partition) = Mtd::find(PARTITION) else { return Ok(()) };
    let flash = Mtd::open(&partition, true)?;
    let sectors = u32::try_from(flash.size_bytes() / u64::from(flash.erase_bytes())).unwrap_or(u32::MAX);
    (0..sectors).try_for_each(|sector| Ok(flash.erase(sector)?))
}

/// Makes a disk, or a file, zeros.
fn zero(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let size_bytes = file.seek(SeekFrom::End(0))?;
    let mut told = 0;
    let mut at = 0;
    while at < size_bytes {
        let len = CHUNK_BYTES.min(size_bytes - at);
        fallocate(&file, FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE, at, len)?;
        at += len;
        let percent = at * 100 / size_bytes;
        if percent >= told + 10 {
            told = percent;
            say(&format!("erasing: {percent} %"));
        }
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn nothing_of_what_was_there_is_left() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[0xA5; 3 * 1024 * 1024 + 17]).unwrap();
        match zero(file.path()) {
            // Not every file system of a host can do what a block device can.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return,
            done => done.unwrap(),
        }
        let bytes = std::fs::read(file.path()).unwrap();
        assert_eq!(bytes.len(), 3 * 1024 * 1024 + 17);
        assert!(bytes.iter().all(|byte| *byte == 0));
    }
}
