//! The hardware watchdog: it resets the box unless it is fed.

use std::fs::{File, OpenOptions};
use std::io::Write as _;

use super::Error;

/// The first one that the kernel found.
const DEVICE: &str = "/dev/watchdog";

/// The watchdog, armed.
#[derive(Debug)]
pub(super) struct Watchdog(File);

impl Watchdog {
    /// Opening it arms it. Its time is the driver's, half a minute and more.
    pub(super) fn open() -> Result<Self, Error> {
        OpenOptions::new().write(true).open(DEVICE).map(Self).map_err(Error::NoWatchdog)
    }

    /// Puts the reset off.
    pub(super) fn feed(&mut self) {
        // What cannot be fed resets the box, which is what it is for.
        let _ = self.0.write_all(b"1");
    }

    /// Lets the box be switched off in peace. The letter is what tells this from a process that ended.
    pub(super) fn disarm(mut self) {
        let _ = self.0.write_all(b"V");
    }
}
