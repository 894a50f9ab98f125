//! The hardware watchdog: it resets the box unless it is fed.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;

use super::Error;

/// The first one that the kernel found.
const DEVICE: &str = "/dev/watchdog";

/// `WDIOF_CARDRESET`: it was the watchdog.
const CARD_RESET: nix::libc::c_int = 0x20;

mod calls {
    //! What is neither read nor write. The macro of `nix` makes an unsafe function of it.
    #![allow(unsafe_code, unreachable_pub, missing_docs, reason = "made by a macro")]
    nix::ioctl_read!(boot_status, b'W', 2, nix::libc::c_int);
}
use calls::boot_status;

/// The watchdog, armed.
#[derive(Debug)]
pub(super) struct Watchdog(File);

impl Watchdog {
    /// Opening it arms it. Its time is the driver's, half a minute and more.
    pub(super) fn open() -> Result<Self, Error> {
        OpenOptions::new().write(true).open(DEVICE).map(Self).map_err(Error::NoWatchdog)
    }

    /// Whether it was what reset the box. `None` where the driver does not say.
    #[allow(unsafe_code, reason = "the kernel has no other interface for this")]
    pub(super) fn has_bitten(&self) -> Option<bool> {
        let mut status: nix::libc::c_int = 0;
        // SAFETY: the file is open during the call. WDIOC_GETBOOTSTATUS fills one int, which is what the pointer points to;
        // the size of it is part of the number of the call. Only `open` makes files that come here, from the device of the
        // watchdog.
        let told = unsafe { boot_status(self.0.as_raw_fd(), &raw mut status) };
        told.ok().map(|_| status & CARD_RESET != 0)
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
