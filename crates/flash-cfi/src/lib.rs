//! A driver for parallel NOR flash that describes itself (CFI, JEDEC JESD68) and takes Intel's commands.
//!
//! [`Flash`] is the driver: it finds out by the query what chips there are, programs in whole buffers, erases in steps,
//! and reports what the status register says. It implements [`embedded_storage::nor_flash::NorFlash`] and, so that an
//! erase stalls nobody, [`penstock_flash::nor::Driver`]; `penstock_flash::nor::Nor` makes a medium of it.
//!
//! It sees the chips through [`Bus`], words on an address and data bus and a clock, and so runs on a host against
//! `fake` chips as it does on a board, where the bus is [`Mapped`] memory. What it leaves to others: which part of the
//! chip is whose, reading back what matters, and not running code from chips that it programs.

#![no_std]

#[cfg(feature = "fake")]
extern crate std;

mod bus;
mod chip;
mod error;
#[cfg(feature = "fake")]
pub mod fake;
mod flash;
mod query;
mod status;

pub use bus::{Bus, Mapped};
pub use error::Error;
pub use flash::Flash;
pub use query::{ERASE_REGIONS_MAX, EraseRegion, Locks, Query, Times};
