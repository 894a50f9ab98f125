//! The memory that outlasts a reset, in which one start leaves word for the next (`penstock_slots::Mailbox`).
//!
//! The firmware writes into it, before it starts the kernel, what a reset that nobody announces means: that the system failed.
//! So whoever ends the box in order says so here. The kernel has that memory as a device of its own (MTD), since it must not
//! use it as memory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use penstock_flash_linux::Mtd;
use penstock_slots::{Cause, MAILBOX_BYTES, Mailbox, is_steady};

use super::Error;

/// What the device is called.
const NAME: &str = "mailbox";

/// The mailbox of the box.
#[derive(Debug)]
pub(super) struct Letterbox {
    file: File,
    known: Mailbox,
}

impl Letterbox {
    /// Opens it. `None` where there is none: something else than our firmware has started the kernel.
    pub(super) fn open() -> Option<Result<Self, Error>> {
        let device = Mtd::find(NAME).ok()?;
        Some(Self::open_at(&device).map_err(Error::Mailbox))
    }

    fn open_at(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut bytes = [0; MAILBOX_BYTES];
        file.read_exact_at(&mut bytes, 0)?;
        // What is damaged counts as what a new box has: no failure is made up.
        let known = Mailbox::from_bytes(&bytes).unwrap_or(Mailbox::NEW);
        Ok(Self { file, known })
    }

    /// What it says.
    pub(super) const fn known(&self) -> Mailbox {
        self.known
    }

    /// Says why there will be a reset.
    pub(super) fn announce(&mut self, cause: Cause) -> Result<(), Error> {
        self.write(Mailbox { cause, ..self.known })
    }

    /// All has been well for long enough: what was before does not count any more.
    pub(super) fn calm(&mut self) -> Result<(), Error> {
        self.write(Mailbox { was_trial: false, ..is_steady(self.known) })
    }

    fn write(&mut self, mailbox: Mailbox) -> Result<(), Error> {
        let put = || {
            let bytes = mailbox.to_bytes();
            self.file.write_all_at(&bytes, 0)?;
            let mut back = [0; MAILBOX_BYTES];
            self.file.read_exact_at(&mut back, 0)?;
            if back == bytes { Ok(()) } else { Err(io::Error::other("it does not hold what was written")) }
        };
        put().map_err(Error::Mailbox)?;
        self.known = mailbox;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letterbox(content: &[u8]) -> (tempfile::NamedTempFile, Letterbox) {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().write_all_at(content, 0).unwrap();
        let letterbox = Letterbox::open_at(file.path()).unwrap();
        (file, letterbox)
    }

    fn left(file: &tempfile::NamedTempFile) -> Mailbox {
        Mailbox::from_bytes(&std::fs::read(file.path()).unwrap()).unwrap()
    }

    #[test]
    fn a_reset_is_announced_and_what_was_counted_stays() {
        let before = Mailbox { cause: Cause::Watchdog, resets: 2, was_trial: true, turn: 1, since_s: 77 };
        let (file, mut letterbox) = letterbox(&before.to_bytes());
        letterbox.announce(Cause::Asked).unwrap();
        assert_eq!(left(&file), Mailbox { cause: Cause::Asked, ..before });
        letterbox.announce(Cause::Panic).unwrap();
        assert_eq!(left(&file).cause, Cause::Panic);
    }

    #[test]
    fn once_all_is_well_earlier_failures_do_not_count() {
        let before = Mailbox { cause: Cause::Watchdog, resets: 2, was_trial: true, turn: 3, since_s: 77 };
        let (file, mut letterbox) = letterbox(&before.to_bytes());
        letterbox.calm().unwrap();
        assert_eq!(
            left(&file),
            Mailbox { cause: Cause::Watchdog, ..Mailbox::NEW },
            "a reset from here on is a failure"
        );
    }

    #[test]
    fn what_is_damaged_makes_up_no_failure() {
        let (_file, letterbox) = letterbox(&[0x5A; 4096]);
        assert_eq!(letterbox.known(), Mailbox::NEW);
        let short = tempfile::NamedTempFile::new().unwrap();
        assert!(Letterbox::open_at(short.path()).is_err());
    }
}
