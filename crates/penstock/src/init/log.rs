//! What is told where: on the serial line what a person there should know, in a file in memory what the service writes.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::thread;

use super::{DAEMON_ID, Error, directory};

/// The directory of the log. The console may read it.
const DIRECTORY: &str = "/run/log";
/// The newest lines.
pub(crate) const FILE: &str = "/run/log/penstock";
/// The lines before them.
pub(crate) const OLDER_FILE: &str = "/run/log/penstock.1";
/// How long each of the two files grows. They are memory.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// The longest line that is kept whole.
const LINE_BYTES_MAX: u64 = 4096;

/// Says something on the serial line.
pub(super) fn say(line: &str) {
    // The line discipline may be that of an editor, which does not add the carriage return.
    let text = format!("\r[init] {}\r\n", line.replace('\n', "\r\n       "));
    // Where nobody listens nobody can be told.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Keeps what comes out of a pipe, until it is closed.
pub(super) fn keep(pipe: impl Read + Send + 'static) -> Result<(), Error> {
    directory(DIRECTORY, 0, 0o750)?;
    let mut log = Log::open(Path::new(FILE), Path::new(OLDER_FILE))
        .map_err(|source| Error::File { path: FILE.into(), source })?;
    let copy = move || {
        let mut lines = BufReader::new(pipe);
        let mut line = Vec::new();
        // A reader that fails has nothing more to say, and a log that is full of its own errors helps nobody.
        while let Ok(1..) = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            if log.append(&line).is_err() {
                break;
            }
            line.clear();
        }
        // A pipe that nobody reads would stop its writer.
        let _ = io::copy(&mut lines, &mut io::sink());
    };
    thread::Builder::new().name("log".into()).spawn(copy).map_err(Error::io("start a thread"))?;
    Ok(())
}

/// Two files, of which one grows.
struct Log {
    path: PathBuf,
    older: PathBuf,
    file: File,
    len_bytes: u64,
}

impl Log {
    fn open(path: &Path, older: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        // Whatever the mask of this process: the console reads it.
        file.set_permissions(Permissions::from_mode(0o640))?;
        if rustix::process::getuid().is_root() {
            chown(path, None, Some(DAEMON_ID))?;
        }
        let len_bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), older: older.to_owned(), file, len_bytes })
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.len_bytes >= FILE_BYTES_MAX {
            std::fs::rename(&self.path, &self.older)?;
            *self = Self::open(&self.path, &self.older)?;
        }
        self.file.write_all(line)?;
        self.len_bytes += line.len() as u64;
        Ok(())
    }
}

/// The last line that was kept, for a person who wants to know why something ended.
pub(super) fn last_line() -> Option<String> {
    let text = std::fs::read(FILE).ok()?;
    let text = String::from_utf8_lossy(&text);
    text.lines().next_back().map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_keeps_the_newest_lines_and_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let (path, older) = (folder.path().join("log"), folder.path().join("log.1"));
        let mut log = Log::open(&path, &older).unwrap();
        let line = [b'x'; 999];
        for _ in 0..700 {
            log.append(&line).unwrap();
        }
        log.append(b"the last\n").unwrap();
        let (new, old) = (std::fs::read(&path).unwrap(), std::fs::read(&older).unwrap());
        assert!(new.ends_with(b"the last\n"));
        assert!(new.len() as u64 <= FILE_BYTES_MAX + 999 && old.len() as u64 <= FILE_BYTES_MAX + 999);
        assert!(new.len() + old.len() > FILE_BYTES_MAX as usize);
    }
}
