//! The log of messages and their fate.
//!
//! A volume is an append-only log of CRC-checked frames on a [`penstock_flash::Medium`]. It takes messages from many
//! sessions at once and makes them durable in groups, notes what becomes of each recipient, gives messages back
//! checked, and finds its space again. `FORMAT.md` draws the bytes, `DESIGN.md` says why they are so.
//!
//! The crate does no I/O of its own, keeps no time and starts no threads: one owner drives a [`Spool`], any thread
//! may read a [`Message`].

#![no_std]

extern crate alloc;
#[cfg(feature = "proof")]
extern crate std;

mod ahead;
mod anchor;
mod checkpoint;
mod error;
mod events;
mod facts;
mod fates;
mod format;
mod frame;
mod incoming;
mod index;
#[cfg(feature = "proof")]
mod inside;
mod landmark;
mod lives;
mod log;
mod mend;
mod mount;
#[cfg_attr(not(feature = "proof"), doc(hidden))]
pub mod proof;
mod reader;
mod reading;
mod reclaim;
mod record;
mod reserve;
mod salvage;
mod scrub;
mod scrub_records;
mod segment;
mod settle;
mod spool;
mod state;
mod summary;
mod walk;

pub use error::Error;
pub use events::Events;
pub use facts::{Facts, SegmentCounts};
pub use format::format;
pub use incoming::Incoming;
pub use log::{Buffers, Counters};
pub use mount::MountReport;
pub use reader::{Envelope, Message};
pub use reclaim::STEP_BYTES;
pub use record::{
    Begin, Body, ENVID_BYTES_MAX, EVENT_TEXT_BYTES_MAX, Event, Fate, HELO_BYTES_MAX, META_KEY_BYTES_MAX,
    META_VALUE_BYTES_MAX, MessageId, Notify, ORCPT_BYTES_MAX, PATH_BYTES_MAX, RECIPIENTS_MAX, Recipient, Ret,
    Stamp, Status,
};
pub use salvage::{Salvage, Shape};
pub use scrub::{Finding, SCRUB_FRAME_BYTES, Scrub, ScrubMode, ScrubProgress, ScrubReport, ScrubStep};
pub use spool::{Info, MountOptions, RESERVE_STEP_BYTES, Spool, Step, Summary, WEAR_GAP_MAX};
pub use state::META_KEYS_MAX;
