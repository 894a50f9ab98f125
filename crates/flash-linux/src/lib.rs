//! Files and block devices under Linux as a [`Medium`](penstock_flash::Medium).
//!
//! [`Volume`] is a regular file, written out in full when it is created, or a whole block device. It programs by
//! direct I/O, so that an error is told where it happens and not at some later sync, and reads through the page
//! cache, so that many small reads in a row cost one request. [`WriteBehind`] lets its owner compute while it writes. The
//! README holds the measurements behind that. [`MtdVolume`] is a partition of
//! raw NOR flash, and [`Mtd`] the partition itself.
//!
//! What is in a volume is the log's business: a volume knows neither format nor header, and takes the size of its
//! segments from its caller.

mod aligned;
mod behind;
mod blank;
mod counters;
mod create;
mod error;
#[cfg(feature = "faults")]
mod faulty;
mod image;
mod mtd;
mod mtd_volume;
pub mod qualify;
mod volume;

pub use aligned::{ALIGN_BYTES, AlignedBuffer};
pub use behind::{WriteBehind, WriteBehindReader};
pub use blank::is_blank;
pub use counters::Counters;
pub use create::Create;
pub use error::VolumeError;
#[cfg(feature = "faults")]
pub use faulty::{Faults, FaultsError, Faulty, FaultyReader};
pub use image::{Image, ImageReader};
pub use mtd::{Mtd, MtdError};
pub use mtd_volume::{MtdReader, MtdVolume};
pub use volume::{Volume, VolumeReader};
