//! What a box runs before Linux, and instead of it.
//!
//! Two programs share this library. *Stage 0* stands at the reset vector and is never updated: it picks one of two
//! firmwares, verifies it in memory and starts it. The *firmware* does the same with two systems and hands over to Linux;
//! where none starts or stays up it takes the mail itself.
//!
//! Everything that only decides, checks or lays out bytes is in modules that the host tests: [`board`], [`tree`], [`plan`],
//! [`load`], [`decide`], [`kernel`], [`gzip`], [`edit`], [`journal`], [`own`], [`handover`], [`report`], [`show`],
//! [`work`], [`hops`], [`guard`]. What touches the machine is in `bare`,
//! which exists for bare metal only, and so is `unsafe`. Policy is `penstock-slots`', the spool
//! `penstock-rescue`'s.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(target_os = "none")]
pub mod bare;
pub mod board;
pub mod decide;
pub mod edit;
mod error;
pub mod guard;
pub mod gzip;
pub mod handover;
pub mod hops;
pub mod journal;
pub mod kernel;
pub mod load;
pub mod own;
pub mod part;
pub mod plan;
pub mod report;
pub mod show;
#[cfg(test)]
mod testing;
pub mod tree;
pub mod work;

pub use error::Error;

/// The version of stage 0 and firmware.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
