//! The list from a file that somebody writes anew: read whenever it has changed and is at rest.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Trouble;
use crate::directory::{FILE_BYTES_MAX, List, Reading};
use penstock_spool::Stamp;

/// What is read at once.
const PIECE_BYTES: usize = 256 * 1024;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    modified: (i64, i64),
    size: u64,
    inode: u64,
}

impl Mark {
    fn of(metadata: &Metadata) -> Self {
        Self {
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            size: metadata.size(),
            inode: metadata.ino(),
        }
    }

    /// The file as it stands; `None` if there is none that can be looked at.
    pub(super) fn now(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|metadata| Self::of(&metadata))
    }

    /// When it was written, in ms since 1970.
    fn unix_ms(&self) -> u64 {
        let (seconds, nanos) = self.modified;
        let seconds = u64::try_from(seconds).unwrap_or_default();
        seconds.saturating_mul(1000).saturating_add(u64::try_from(nanos).unwrap_or_default() / 1_000_000)
    }
}

/// What a file had in it.
pub(super) struct FromFile {
    pub(super) list: List,
    /// When it was written.
    pub(super) at: Stamp,
    /// How long ago that was.
    pub(super) age: Duration,
    pub(super) mark: Mark,
}

/// Reads a file, for a list with that key. Blocks.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(path: &Path, key: [u8; 16], now: Stamp, place: &str) -> Result<FromFile, Trouble> {
    let unreadable = |error: io::Error| {
        let help = "Check that it is there and that the service may read it. The list from before counts.";
        Trouble::new(
            "PS-D287",
            format!("the list of recipients {place} cannot be read: {error}"),
            help.to_owned(),
        )
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let mark = Mark::of(&file.metadata().map_err(unreadable)?);
    // What was written in the future was written now.
    let unix_ms = mark.unix_ms().min(now.unix_ms);
    let at = Stamp { unix_ms, ..now };
    let mut reading = Reading::new(key, at, place.to_owned());
    let mut piece = vec![0; PIECE_BYTES];
    let mut size_bytes = 0u64;
    // Of one that is too large, or never ends, no more is read than shows it.
    while size_bytes <= FILE_BYTES_MAX {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => {
                size_bytes += count as u64;
                reading.push(piece.get(..count).unwrap_or_default());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    let after = Mark::of(&file.metadata().map_err(unreadable)?);
    if after != mark {
        return Err(Trouble::new(
            "PS-D287",
            format!("the list of recipients {place} changed while it was read"),
            "It is read again when it is at rest. Write it under another name and rename it.".to_owned(),
        ));
    }
    let read = reading.finish().map_err(|mistakes| {
        let help = "Correct it: until then the list from before counts. `penstock recipients import --dry-run` tells all mistakes.";
        Trouble::new("PS-D287", format!("the list of recipients {place} is not right: {mistakes}"), help.to_owned())
    })?;
    let written = UNIX_EPOCH + Duration::from_millis(mark.unix_ms());
    let age = SystemTime::now().duration_since(written).unwrap_or_default();
    Ok(FromFile { list: read.list, at, age, mark })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(unix_ms: u64) -> Stamp {
        Stamp { unix_ms, boot: 1, trusted: true }
    }

    #[test]
    fn a_file_is_of_when_it_was_written_and_never_of_the_future() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipients.csv");
        std::fs::write(&path, "mia@example.org\n").unwrap();
        let written = Mark::now(&path).unwrap().unix_ms();
        let later = read(&path, [7; 16], stamp(written + 5_000), "it").ok().unwrap();
        assert_eq!((later.at.unix_ms, later.list.len()), (written, 1));
        assert_eq!(later.list.about.imported, later.at);
        let before = read(&path, [7; 16], stamp(written - 5_000), "it").ok().unwrap();
        assert_eq!(before.at.unix_ms, written - 5_000);
        assert_eq!(Mark::now(&path), Some(before.mark));
    }

    #[test]
    fn what_cannot_be_read_is_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipients.csv");
        let trouble = |path: &Path| read(path, [7; 16], stamp(1), "the file").err().unwrap();
        assert!(trouble(&path).body.message.contains("cannot be read"));
        std::fs::write(&path, "mia@example.org\nnobody\n").unwrap();
        let wrong = trouble(&path);
        assert!(wrong.body.message.contains("line 2: no address"), "{}", wrong.body.message);
        assert_eq!(wrong.body.code, "PS-D287");
        // What never ends is no list.
        assert!(trouble(Path::new("/dev/zero")).body.message.contains("the file is not right"));
    }
}
