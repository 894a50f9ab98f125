//! A bundle written into the other slot, so that whenever the power goes the box starts what it ran before, or the new
//! one, whole.
//!
//! The order is that of `penstock_slots`: all of the bundle is verified in memory; it is written down that the other slot holds
//! nothing; the slot is erased, programmed and read back; it is written down that it is to be tried. The block with the
//! manifest is programmed last, so that a slot that was left half written holds nothing for whoever looks.

use std::sync::{Mutex, PoisonError};

use penstock_daemon::keeper::slots::{Doing, Progress};
use penstock_slots::{Bundle, Kept, VerifyingKey, verify};

use super::error::SlotsError;
use super::nor::Nor;
use super::state::{BootState, Running};

/// What the manifest has to itself, in bytes.
const PAGE_BYTES: usize = 4096;
/// As much is compared at once, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// What a box needs to know of itself to take an update.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) keys: &'a [VerifyingKey],
    pub(crate) board: &'a str,
    pub(crate) running: Running,
}

/// Takes an update. `bytes` are the bundle as it came, all of it; `slot` is the slot of its kind that does not run.
pub(crate) fn take<S: Nor, F: Nor>(
    state: &Mutex<BootState<S>>,
    slot: &F,
    bytes: &[u8],
    kept: Kept,
    facts: Facts<'_>,
    mut heard: impl FnMut(Progress),
) -> Result<(), SlotsError> {
    let locked = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let all_bytes = bytes.len() as u64;
    heard(Progress { doing: Doing::Verifying, done_bytes: 0, all_bytes });
    let floor = locked().pair(kept).floor;
    let Bundle { manifest, .. } = verify(bytes, facts.keys, kept, facts.board, floor)?;
    if all_bytes > slot.size_bytes() {
        return Err(SlotsError::TooLarge { bundle_bytes: all_bytes, slot_bytes: slot.size_bytes() });
    }
    let running = facts.running.of(kept);
    locked().begin(kept, running, manifest.held)?;
    write(slot, bytes, &mut heard)?;
    compare(slot, bytes, &mut heard)?;
    locked().end(kept, running, manifest.held)
}

/// Writes sector by sector. The page with the manifest comes last: until then the slot holds nothing.
fn write<F: Nor>(slot: &F, bytes: &[u8], heard: &mut impl FnMut(Progress)) -> Result<(), SlotsError> {
    let failed = |error: F::Error| SlotsError::Flash(error.to_string());
    let all_bytes = bytes.len() as u64;
    let sector_bytes = slot.erase_bytes() as usize;
    let (page, _) = bytes.split_at(PAGE_BYTES.min(bytes.len()));
    let mut done_bytes = 0;
    for (sector, content) in (0_u32..).zip(bytes.chunks(sector_bytes.max(PAGE_BYTES))) {
        heard(Progress { doing: Doing::Writing, done_bytes, all_bytes });
        slot.erase(sector).map_err(failed)?;
        let at = u64::from(sector) * sector_bytes as u64;
        let ahead = if sector == 0 { page.len() } else { 0 };
        slot.program(at + ahead as u64, content.get(ahead..).unwrap_or_default()).map_err(failed)?;
        done_bytes += content.len() as u64;
    }
    slot.program(0, page).map_err(failed)
}

/// Reads back all of it. What was verified in memory is what stands in flash, or nothing counts.
fn compare<F: Nor>(slot: &F, bytes: &[u8], heard: &mut impl FnMut(Progress)) -> Result<(), SlotsError> {
    let all_bytes = bytes.len() as u64;
    let mut back = vec![0; PIECE_BYTES];
    for (wanted, at) in bytes.chunks(PIECE_BYTES).zip((0_u64..).step_by(PIECE_BYTES)) {
        heard(Progress { doing: Doing::Comparing, done_bytes: at, all_bytes });
        let found = back.get_mut(..wanted.len()).unwrap_or_default();
        slot.read(at, found).map_err(|error| SlotsError::Flash(error.to_string()))?;
        if let Some(first) = found.iter().zip(wanted).position(|(found, wanted)| found != wanted) {
            return Err(SlotsError::NotAsWritten { offset: at + first as u64 });
        }
    }
    Ok(())
}
