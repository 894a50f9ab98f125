//! A medium that fails on demand: what crash tests, power-cut tests and benches put between the log and a volume.
//!
//! A process that is killed leaves behind what it had written, synced or not, since the kernel still has it. To kill
//! it and have that mean a power cut, what was not synced must die with it: with `discard` it stays in this process's
//! memory until the sync. With `nosync` on top nothing is ever written, which shows that a test can fail.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use penstock_flash::{EraseProgress, Error, Geometry, Medium, ReadAt};
use rustix::io::Errno;

use crate::counters::{Counters, Tally};

/// How often it is looked whether what hangs still does.
const HANG_POLL: Duration = Duration::from_millis(20);

/// What shall go wrong.
///
/// A fault is asked for in words, divided by commas or white space:
///
/// | word | meaning |
/// |---|---|
/// | `discard` | programs stay in memory until they are synced |
/// | `nosync` | a sync does nothing and reports success |
/// | `sync_delay=2000us` | each sync, and each program that is written through, takes that much longer |
/// | `fail_program_after=N` | after N programs, every further one fails with EIO; 0 is from now on |
/// | `fail_sync_after=N` | the same for syncs; what was pending is in doubt for good |
/// | `fail_read_after=N` | the same for reads |
/// | `hang` | whatever is asked for does not come back, until a control file no longer says so |
/// | `control=PATH` | while this file exists, its words replace all others; it is looked at before every operation |
///
/// The counts are of all operations since the medium was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Whether programs stay in memory until they are synced.
    pub discard: bool,
    /// Whether a sync does nothing and reports success.
    pub nosync: bool,
    /// How much longer each sync takes.
    pub sync_delay: Duration,
    /// After how many programs all further ones fail.
    pub fail_program_after: Option<u64>,
    /// After how many syncs all further ones fail.
    pub fail_sync_after: Option<u64>,
    /// After how many reads all further ones fail.
    pub fail_read_after: Option<u64>,
    /// Whether nothing comes back.
    pub hang: bool,
    /// A file whose words replace all these while it exists.
    pub control: Option<PathBuf>,
}

impl Faults {
    /// What counts at this moment, once nothing hangs.
    fn now(&self) -> Result<Cow<'_, Self>, Error> {
        loop {
            let faults = self.asked_for()?;
            if !faults.hang {
                return Ok(faults);
            }
            thread::sleep(HANG_POLL);
        }
    }

    fn asked_for(&self) -> Result<Cow<'_, Self>, Error> {
        let Some(path) = &self.control else {
            return Ok(Cow::Borrowed(self));
        };
        match std::fs::read_to_string(path) {
            // A control file that says nothing intelligible must not pass for one that asks for nothing.
            Ok(words) => words.parse().map(Cow::Owned).map_err(|FaultsError(_)| io_error(Errno::INVAL)),
            Err(_) => Ok(Cow::Borrowed(self)),
        }
    }
}

impl FromStr for Faults {
    type Err = FaultsError;

    fn from_str(words: &str) -> Result<Self, FaultsError> {
        let mut faults = Self::default();
        for word in words.split([',', ' ', '\n', '\t']).filter(|word| !word.is_empty()) {
            let refused = || FaultsError(word.to_owned());
            let count = |value: &str| value.parse().map(Some).map_err(|_| refused());
            match word.split_once('=') {
                None if word == "discard" => faults.discard = true,
                None if word == "nosync" => faults.nosync = true,
                None if word == "hang" => faults.hang = true,
                Some(("sync_delay", value)) => {
                    let micros = value.strip_suffix("us").and_then(|micros| micros.parse().ok());
                    faults.sync_delay = Duration::from_micros(micros.ok_or_else(refused)?);
                }
                Some(("fail_program_after", value)) => faults.fail_program_after = count(value)?,
                Some(("fail_sync_after", value)) => faults.fail_sync_after = count(value)?,
                Some(("fail_read_after", value)) => faults.fail_read_after = count(value)?,
                Some(("control", path)) if !path.is_empty() => faults.control = Some(path.into()),
                _ => return Err(refused()),
            }
        }
        Ok(faults)
    }
}

/// A word that asks for no fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultsError(String);

impl fmt::Display for FaultsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` asks for no fault that is known", self.0)
    }
}

impl std::error::Error for FaultsError {}

/// A medium with faults. Without any it passes all through.
#[derive(Debug)]
pub struct Faulty<M: Medium> {
    inner: M,
    reader: FaultyReader<M::Reader>,
}

/// A program that is held back.
#[derive(Debug)]
struct Held {
    segment: u32,
    offset: u32,
    bytes: Box<[u8]>,
    /// A sync failed over it: it can be read, and no later sync writes it.
    lost: bool,
}

#[derive(Debug)]
struct Shared {
    faults: Faults,
    /// Oldest first.
    held: RwLock<Vec<Held>>,
    tally: Tally,
}

impl<M: Medium> Faulty<M> {
    /// Puts faults before a medium.
    pub fn new(inner: M, faults: Faults) -> Self {
        let shared = Arc::new(Shared { faults, held: RwLock::default(), tally: Tally::default() });
        let reader = FaultyReader { inner: inner.reader(), shared };
        Self { inner, reader }
    }

    /// The medium behind.
    pub fn inner(&self) -> &M {
        &self.inner
    }

    /// The medium behind, to be changed.
    pub fn inner_mut(&mut self) -> &mut M {
        &mut self.inner
    }

    /// What was asked of this medium; what became of it is in the counters of the one behind.
    pub fn counters(&self) -> Counters {
        self.reader.counters()
    }

    fn hold(&self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.inner.geometry().check_program(segment, offset, bytes.len())?;
        self.held_mut(|held| held.push(Held { segment, offset, bytes: bytes.into(), lost: false }));
        Ok(())
    }

    fn held_mut(&self, change: impl FnOnce(&mut Vec<Held>)) {
        change(&mut self.reader.shared.held.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Begins a program: counts it, and fails it if it is to fail.
    fn begin_program(&self, len: usize, through: bool) -> Result<Cow<'_, Faults>, Error> {
        let faults = self.reader.shared.faults.now()?;
        let before = self.counters().program_requests;
        self.reader.shared.tally.program(len, through);
        fail_after(faults.fail_program_after, before)?;
        Ok(faults)
    }

    /// Writes what is held back.
    fn write_held(&mut self) -> Result<(), Error> {
        let held = self.reader.shared.held.read().unwrap_or_else(PoisonError::into_inner);
        for Held { segment, offset, bytes, .. } in held.iter().filter(|held| !held.lost) {
            self.inner.program(*segment, *offset, bytes)?;
        }
        Ok(())
    }
}

impl<M: Medium> Medium for Faulty<M> {
    type Reader = FaultyReader<M::Reader>;

    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn reader(&self) -> Self::Reader {
        self.reader.clone()
    }

    fn program(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        let faults = self.begin_program(bytes.len(), false)?;
        if faults.discard {
            self.hold(segment, offset, bytes)
        } else {
            self.inner.program(segment, offset, bytes)
        }
    }

    fn program_through(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        let faults = self.begin_program(bytes.len(), true)?;
        thread::sleep(faults.sync_delay);
        match (faults.nosync, faults.discard) {
            (false, _) => self.inner.program_through(segment, offset, bytes),
            (true, false) => self.inner.program(segment, offset, bytes),
            (true, true) => self.hold(segment, offset, bytes),
        }
    }

    fn sync(&mut self) -> Result<(), Error> {
        let shared = Arc::clone(&self.reader.shared);
        let faults = shared.faults.now()?;
        let before = self.counters().syncs;
        shared.tally.sync();
        thread::sleep(faults.sync_delay);
        let failed = fail_after(faults.fail_sync_after, before);
        if faults.nosync && failed.is_ok() {
            return Ok(());
        }
        let synced = failed.and_then(|()| self.write_held()).and_then(|()| self.inner.sync());
        self.held_mut(|held| match synced {
            Ok(()) => held.retain(|held| held.lost),
            Err(_) => held.iter_mut().for_each(|held| held.lost = true),
        });
        synced
    }

    fn start_erase(&mut self, segment: u32) -> Result<(), Error> {
        self.inner.start_erase(segment)?;
        self.held_mut(|held| held.retain(|held| held.segment != segment));
        Ok(())
    }

    fn poll_erase(&mut self) -> Result<EraseProgress, Error> {
        self.inner.poll_erase()
    }
}

/// The handle that reads a [`Faulty`].
#[derive(Clone, Debug)]
pub struct FaultyReader<R: ReadAt> {
    inner: R,
    shared: Arc<Shared>,
}

impl<R: ReadAt> FaultyReader<R> {
    /// What was asked of the medium, by all handles.
    pub fn counters(&self) -> Counters {
        self.shared.tally.snapshot()
    }
}

impl<R: ReadAt> ReadAt for FaultyReader<R> {
    fn read(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), Error> {
        let faults = self.shared.faults.now()?;
        let before = self.counters().read_requests;
        self.shared.tally.read(into.len());
        fail_after(faults.fail_read_after, before)?;
        // Held until all is read: a sync must not move what is wanted from memory to the medium in between.
        let held = self.shared.held.read().unwrap_or_else(PoisonError::into_inner);
        self.inner.read(segment, offset, into)?;
        for held in held.iter().filter(|held| held.segment == segment) {
            overlay(held, offset, into);
        }
        Ok(())
    }
}

/// Lays the bytes of a program over what was read at `offset` of its segment.
fn overlay(held: &Held, offset: u32, into: &mut [u8]) {
    let start = held.offset.max(offset);
    let end = (held.offset as usize + held.bytes.len()).min(offset as usize + into.len());
    let Some(len) = end.checked_sub(start as usize) else {
        return;
    };
    let (from, to) = ((start - held.offset) as usize, (start - offset) as usize);
    into[to..to + len].copy_from_slice(&held.bytes[from..from + len]);
}

fn fail_after(limit: Option<u64>, before: u64) -> Result<(), Error> {
    if limit.is_some_and(|limit| before >= limit) { Err(io_error(Errno::IO)) } else { Ok(()) }
}

fn io_error(errno: Errno) -> Error {
    Error::Io { code: errno.raw_os_error() }
}
