//! A slot from the serial line: nothing is erased before the whole bundle is in memory and verified there.

use core::fmt::Write;

use embedded_storage::nor_flash::NorFlash;
use penstock_console::{Failure, Place};
use penstock_slots::{Condition, Kept, begin_reflash, put_on_trial, take_on_faith};

use super::{NOT_READ_BACK, failure, lost};
use crate::bare::begin::Begun;
use crate::bare::flash::{Banks, Chips};
use crate::bare::ground::{boot_state, load};
use crate::decide::state;
use crate::load::Loader;

/// So much is programmed at once, in bytes, and compared.
const PIECE_BYTES: usize = 64 * 1024;

/// A bundle on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coming {
    pub(super) place: Place,
    pub(super) len_bytes: usize,
}

impl Coming {
    /// Takes the next bytes.
    pub(super) fn take(&mut self, loader: &mut Loader<'_>, block: &[u8]) -> Result<(), Failure> {
        let end = self.len_bytes + block.len();
        let room = loader.memory().get_mut(self.len_bytes..end);
        room.ok_or_else(|| failure("PS-X004", "what was sent is longer than the slot"))?
            .copy_from_slice(block);
        self.len_bytes = end;
        Ok(())
    }

    /// Verifies what came and writes it to its slot. Until all of that reads back the slot is
    /// nothing, and then it is on trial.
    pub(super) fn write(
        self,
        (begun, banks): (&Begun, &Banks),
        loader: &mut Loader<'_>,
        out: &mut dyn Write,
        pause: &mut dyn FnMut(),
    ) -> Result<(), Failure> {
        let Place { kept, slot } = self.place;
        let said = |error: crate::Error| failure(error.code(), error);
        let mut journal = boot_state(banks).map_err(said)?;
        let before = state(&journal);
        let floor = before.pair(kept).floor;
        let verified = loader.verify(self.len_bytes, (kept, slot), begun.keys(), floor);
        let bundle = verified.map_err(|rejected| failure(rejected.code(), rejected))?;
        writeln!(out, "verified; erasing").map_err(lost)?;

        let empty = begin_reflash(&before, kept, slot);
        journal.append(&empty).map_err(|error| failure(error.code(), error))?;
        let part = banks.part(self.place.name()).map_err(said)?;
        let chip = |error: penstock_flash_cfi::Error| failure(error.code(), error);
        for sector in 0..bundle.len().div_ceil(Chips::ERASE_SIZE) {
            part.erase_sector(sector).map_err(chip)?;
            pause();
        }
        let mut back = alloc::vec![0; PIECE_BYTES];
        for (number, piece) in bundle.chunks(PIECE_BYTES).enumerate() {
            let at = number * PIECE_BYTES;
            // Whole words: what is left of the last one stays erased.
            let whole = piece.len() - piece.len() % Chips::WRITE_SIZE;
            let (words, rest) = piece.split_at(whole);
            part.program_at(at, words).map_err(chip)?;
            if !rest.is_empty() {
                let mut word = [0xFF; Chips::WRITE_SIZE];
                word[..rest.len()].copy_from_slice(rest);
                part.program_at(at + whole, &word).map_err(chip)?;
            }
            let back = &mut back[..piece.len()];
            part.read_at(at, back).map_err(chip)?;
            if back != piece {
                return Err(failure(NOT_READ_BACK, "the slot does not read back as it was written"));
            }
            pause();
        }
        let held = loader.loaded().map(|(_, manifest)| manifest.held).unwrap_or_default();
        let now = state(&journal);
        // A firmware without tries left leads to the prompt of stage 0 if there is no other; a system, to the rescue.
        let other = (kept, slot.other());
        let needs_trial = kept == Kept::System
            || now.pair(kept).condition(slot.other()) == Condition::Confirmed
                && load((begun, banks), loader, other, floor, pause).is_ok();
        let next = if needs_trial {
            put_on_trial(&now, kept, slot, held, true)
        } else {
            take_on_faith(&now, kept, slot, held)
        };
        journal.append(&next).map_err(|error| failure(error.code(), error))?;
        writeln!(out, "{} holds {}, and is tried first from the next start on", self.place, held.version())
            .map_err(lost)
    }
}
