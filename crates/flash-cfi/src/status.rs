//! The status register, as Intel's chips have it.
//!
//! ```text
//!   7      6            5      4        3        2                  1       0
//!   ready  erase        erase  program  supply   program suspended  block   reserved
//!          suspended    error  error    too low                     locked
//! ```

use crate::error::Error;

/// One chip's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(pub(crate) u8);

impl Status {
    pub(crate) const READY: u8 = 1 << 7;
    pub(crate) const ERASE_SUSPENDED: u8 = 1 << 6;
    pub(crate) const ERASE_ERROR: u8 = 1 << 5;
    pub(crate) const PROGRAM_ERROR: u8 = 1 << 4;
    pub(crate) const SUPPLY_LOW: u8 = 1 << 3;
    pub(crate) const LOCKED: u8 = 1 << 1;

    pub(crate) const fn is_ready(self) -> bool {
        self.0 & Self::READY != 0
    }

    pub(crate) const fn has_erase_suspended(self) -> bool {
        self.0 & Self::ERASE_SUSPENDED != 0
    }

    /// What the chip found wrong. A lock or a low supply sets the bit of the operation too and explains it.
    pub(crate) const fn verdict(self) -> Result<(), Error> {
        const BOTH: u8 = Status::ERASE_ERROR | Status::PROGRAM_ERROR;
        if self.0 & Self::LOCKED != 0 {
            Err(Error::Locked)
        } else if self.0 & Self::SUPPLY_LOW != 0 {
            Err(Error::Voltage)
        } else if self.0 & BOTH == BOTH {
            Err(Error::Sequence)
        } else if self.0 & Self::PROGRAM_ERROR != 0 {
            Err(Error::Program)
        } else if self.0 & Self::ERASE_ERROR != 0 {
            Err(Error::Erase)
        } else {
            Ok(())
        }
    }
}
