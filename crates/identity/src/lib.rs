//! What makes a box this box: its identity, and the seed of its random numbers, as bytes in flash.
//!
//! Firmware and Linux read the same partitions, so this crate knows no operating system: bytes in, records out. Who reads
//! and programs flash, and where random bytes come from, is for its callers. `FORMAT.md` beside it draws the bytes.

#![no_std]

extern crate alloc;

mod identity;
mod seed;

pub use identity::{Found, IDENTITY_PLACE_BYTES, Identity, NameError, Serial, find_identity, local_mac};
pub use seed::{Next, SEED_BYTES, SEED_RECORD_BYTES, SeedRecord, Seeds, rotate, survey};

use crc::{CRC_32_ISCSI, Crc, Table};

const CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0xFF)
}

/// A field of a record. The callers' offsets lie within their records, which are arrays; a field that did not would be
/// zeros.
fn field<const N: usize>(record: &[u8], at: usize) -> [u8; N] {
    record.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
}
