//! Which of two slots boots.
//!
//! A box holds each kind of software, its firmware and its system, twice. This crate says which of the two is started, and
//! whether any is: [`Manifest`] is what a signature covers, [`State`] what is known of the slots, [`Journal`] the place in
//! flash where that is written down without ever being written over, [`Mailbox`] what a reset leaves in memory for the
//! boot behind it, and [`pick`] the policy, a pure function. Policy is in code and only facts are in flash, so that a
//! policy that turns out wrong is mended by an update.
//!
//! Firmware and userland both use it: firmware picks and counts, userland writes the other slot, and marks a slot good
//! once it has proved itself. Reading and programming flash, and starting anything, is theirs. `FORMAT.md` draws the
//! bytes, `README.md` has the rules and where they come from.

#![no_std]

extern crate alloc;

mod change;
mod journal;
mod keys;
mod mailbox;
mod manifest;
mod pick;
mod state;

pub use ed25519_dalek::VerifyingKey;

pub use change::{
    Refusal, begin_reflash, begin_update, end_update, is_steady, mark_good, put_on_trial, roll_back,
    take_on_faith,
};
pub use journal::{Journal, JournalError, RECORD_PLACE_BYTES, Sectors};
pub use keys::parse_keys;
pub use mailbox::{Cause, MAILBOX_BYTES, Mailbox, RESCUE_FIRST_S, RESCUE_LONGEST_S};
pub use manifest::{
    BOARD_BYTES_MAX, Bundle, KEYS, MANIFEST_BYTES, Manifest, PARTS_MAX, Part, Rejected, SIGNED_BYTES, verify,
};
pub use pick::{Boot, Choice, Rescue, pick};
pub use state::{Condition, Failure, Held, Kept, Pair, STATE_BYTES, Slot, State, TRIES, Version};

use crc::{CRC_32_ISCSI, Crc, Table};

const CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

/// A field of a record. The callers' offsets lie within their records, which are arrays; a field that did not would be
/// zeros.
fn field<const N: usize>(record: &[u8], at: usize) -> [u8; N] {
    record.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
}
