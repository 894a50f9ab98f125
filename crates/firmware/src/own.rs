//! What makes the box this box, from flash: its identity, and the seed of its random numbers.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use embedded_storage::nor_flash::NorFlash;
use penstock_identity::{Found, Identity, SEED_BYTES, SeedRecord, find_identity, rotate, survey};

use penstock_settings::{
    FILE_BYTES_MAX, LEASES_AT, LentAddress, RECORD_HEADER_BYTES, newest_record, survey_leases,
};

use crate::part::Part;

/// The identity. `None` on a box that has none yet, or whose own is damaged: init tells people.
pub fn identity<N: NorFlash>(from: &Part<'_, N>) -> Option<Identity> {
    let mut sector = vec![0; N::ERASE_SIZE.min(from.size_bytes())];
    from.read_at(0, &mut sector).ok()?;
    match find_identity(&sector) {
        Found::Identity(identity) => Some(identity),
        Found::Blank(_) | Found::Damaged => None,
    }
}

/// What somebody set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The text of the settings.
    pub text: String,
    /// The address that a DHCP server lent last, while these settings held.
    pub lent: Option<LentAddress>,
}

/// The settings. `None` if there are none that are intact.
pub fn settings<N: NorFlash>(from: &Part<'_, N>) -> Option<Kept> {
    let count = from.size_bytes() / N::ERASE_SIZE;
    let room = N::ERASE_SIZE.min(RECORD_HEADER_BYTES + FILE_BYTES_MAX);
    let mut sectors: Vec<Vec<u8>> = Vec::with_capacity(count);
    for sector in 0..count {
        let mut bytes = vec![0; room];
        // One that cannot be read holds nothing; the other one may.
        if from.read_at(sector * N::ERASE_SIZE, &mut bytes).is_err() {
            bytes.clear();
        }
        sectors.push(bytes);
    }
    let (sector, record) = newest_record(sectors.iter().map(Vec::as_slice)).ok()?;
    let mut leases = vec![0; N::ERASE_SIZE.saturating_sub(LEASES_AT)];
    let is_read = from.read_at(sector * N::ERASE_SIZE + LEASES_AT, &mut leases).is_ok();
    let lent = if is_read { survey_leases(&leases).0 } else { None };
    Some(Kept { text: record.text, lent })
}

/// Random bytes for one start, and what they are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed {
    /// The bytes.
    pub bytes: [u8; SEED_BYTES],
    /// The stored seed is in them, and cannot be used again: its successor is in flash.
    pub is_rotated: bool,
}

/// Makes the seed for this start of the stored one and of what the machine gave, and writes down what follows the stored one
/// before it is used. `now_ms` is the clock on board.
pub fn seed<N: NorFlash>(from: &Part<'_, N>, given: Option<[u8; 32]>, now_ms: u64) -> Seed {
    let fresh = given.unwrap_or_default();
    let rotated = rotated(from, &fresh, now_ms);
    let bytes = rotated.unwrap_or_else(|| rotate(None, &fresh).1);
    Seed { bytes, is_rotated: rotated.is_some() }
}

fn rotated<N: NorFlash>(from: &Part<'_, N>, fresh: &[u8; 32], now_ms: u64) -> Option<[u8; SEED_BYTES]> {
    let count = from.size_bytes() / N::ERASE_SIZE;
    let mut sectors: Vec<Vec<u8>> = Vec::with_capacity(count);
    for sector in 0..count {
        let mut bytes = vec![0; N::ERASE_SIZE];
        from.read_at(sector * N::ERASE_SIZE, &mut bytes).ok()?;
        sectors.push(bytes);
    }
    let seeds = survey(&sectors.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let stored = seeds.newest?;
    let (next, used) = rotate(Some(&stored.seed), fresh);
    let sequence = stored.sequence.checked_add(1)?;
    let record = SeedRecord { sequence, unix_ms: now_ms, trusted: false, seed: next };
    let place = seeds.next;
    if place.erase {
        from.erase_sector(place.sector).ok()?;
    }
    let at = place.sector * N::ERASE_SIZE + place.offset;
    let bytes = record.to_bytes();
    from.program_at(at, &bytes).ok()?;
    let mut back = [0; 68];
    let back = back.get_mut(..bytes.len())?;
    from.read_at(at, back).ok()?;
    (back == bytes).then_some(used)
}
