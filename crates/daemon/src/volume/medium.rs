//! The medium as the daemon uses it: with a thread that writes behind, perhaps with faults, and mountable twice.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use penstock_flash as flash;
use penstock_flash::{EraseProgress, Geometry};
use penstock_flash_linux::WriteBehind;

use super::backing::Backing;
use crate::Error;
use crate::control::Store;

#[cfg(not(feature = "faults"))]
type Disk = Backing;
#[cfg(feature = "faults")]
type Disk = penstock_flash_linux::Faulty<Backing>;
/// What mail is kept on, with a thread that writes while the storage thread appends.
type Opened = WriteBehind<Disk>;

/// The environment variables that name the faults of the disk and of the reserve, in builds for tests.
#[cfg(feature = "faults")]
pub const FAULTS_VARIABLES: [&str; 2] = ["PENSTOCK_FAULT", "PENSTOCK_FAULT_RESERVE"];

/// The handle that reads the volume on any thread.
pub(crate) type Reader = <Opened as flash::Medium>::Reader;

/// The volume as a medium that can be mounted a second time while the first mount still reads: so it is tried again
/// after a failed write, without letting go of what can be read.
#[derive(Clone, Debug)]
pub(crate) struct Medium(Arc<Mutex<Opened>>);

impl Medium {
    pub(super) fn new(opened: Backing, store: Store) -> Result<Self, Error> {
        let opened = WriteBehind::new(with_faults(opened, store)?).map_err(Error::System)?;
        Ok(Self(Arc::new(Mutex::new(opened))))
    }

    fn lock(&self) -> MutexGuard<'_, Opened> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets writes be tried again after a write or a sync that failed. What they do to what was in doubt is for the log
    /// to know: to be called before a mount and at no other time.
    pub(crate) fn forget_failure(&self) {
        let mut opened = self.lock();
        opened.forget_failure();
        #[cfg(feature = "faults")]
        opened.medium().inner_mut().forget_failure();
        #[cfg(not(feature = "faults"))]
        opened.medium().forget_failure();
    }
}

#[cfg(not(feature = "faults"))]
fn with_faults(opened: Backing, _: Store) -> Result<Disk, Error> {
    Ok(opened)
}

/// The environment names the faults, for each volume its own.
#[cfg(feature = "faults")]
fn with_faults(opened: Backing, store: Store) -> Result<Disk, Error> {
    let [disk, reserve] = FAULTS_VARIABLES;
    let variable = match store {
        Store::Disk => disk,
        Store::Nor => reserve,
    };
    let words = std::env::var(variable).unwrap_or_default();
    let faults = words.parse().map_err(|error| Error::Faults(format!("{error}")))?;
    if !words.is_empty() {
        tracing::warn!(faults = words, "the medium has faults on demand: this is a build for tests");
    }
    Ok(penstock_flash_linux::Faulty::new(opened, faults))
}

impl flash::Medium for Medium {
    type Reader = Reader;

    fn geometry(&self) -> Geometry {
        self.lock().geometry()
    }

    fn reader(&self) -> Reader {
        self.lock().reader()
    }

    fn program(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), flash::Error> {
        self.lock().program(segment, offset, bytes)
    }

    fn program_behind(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), flash::Error> {
        self.lock().program_behind(segment, offset, bytes)
    }

    fn program_through(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), flash::Error> {
        self.lock().program_through(segment, offset, bytes)
    }

    fn sync(&mut self) -> Result<(), flash::Error> {
        self.lock().sync()
    }

    fn start_erase(&mut self, segment: u32) -> Result<(), flash::Error> {
        self.lock().start_erase(segment)
    }

    fn poll_erase(&mut self) -> Result<EraseProgress, flash::Error> {
        self.lock().poll_erase()
    }
}
