//! What is known of the slots, in flash; and every change of it that userland makes.
//!
//! Each change is written down and read back before anything is done on the strength of it. `penstock_slots` decides what may
//! be done; here it is only carried to flash.

use penstock_slots::{
    Held, Journal, Kept, Pair, Slot, State, begin_update, end_update, mark_good, roll_back,
};

use super::error::SlotsError;
use super::nor::{Nor, SectorsOf};

/// Which slots run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) system: Slot,
    pub(crate) firmware: Slot,
}

impl Running {
    pub(crate) const fn of(self, kept: Kept) -> Slot {
        match kept {
            Kept::System => self.system,
            Kept::Firmware => self.firmware,
        }
    }
}

/// The lowest security versions of a box that knows no higher ones, as its image says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Floors {
    pub(crate) system: u32,
    pub(crate) firmware: u32,
}

/// What is known of the slots.
#[derive(Debug)]
pub(crate) struct BootState<F: Nor> {
    journal: Journal<SectorsOf<F>>,
    floors: Floors,
}

impl<F: Nor> BootState<F> {
    /// Reads it.
    pub(crate) fn open(flash: F, floors: Floors) -> Result<Self, SlotsError> {
        Ok(Self { journal: Journal::open(SectorsOf(flash))?, floors })
    }

    /// Whether there was something and none of it can be read: defaults count.
    pub(crate) fn is_corrupt(&self) -> bool {
        self.journal.is_corrupt()
    }

    /// As it stands; defaults where nothing does.
    fn state(&self) -> State {
        let new = || State::new(self.floors.system, self.floors.firmware);
        self.journal.newest().copied().unwrap_or_else(new)
    }

    /// What is known of a pair. What the image says of floors counts where it is higher.
    pub(crate) fn pair(&self, kept: Kept) -> Pair {
        let mut pair = *self.state().pair(kept);
        pair.floor = pair.floor.max(match kept {
            Kept::System => self.floors.system,
            Kept::Firmware => self.floors.firmware,
        });
        pair
    }

    /// The other slot is about to be written.
    pub(crate) fn begin(&mut self, kept: Kept, running: Slot, new: Held) -> Result<(), SlotsError> {
        self.append(begin_update(&self.state(), kept, running, new)?)
    }

    /// The other slot is written, and read back.
    pub(crate) fn end(&mut self, kept: Kept, running: Slot, new: Held) -> Result<(), SlotsError> {
        self.append(end_update(&self.state(), kept, running, new)?)
    }

    /// What runs has proved itself.
    pub(crate) fn mark_good(&mut self, kept: Kept, running: Slot, held: Held) -> Result<(), SlotsError> {
        self.append(mark_good(&self.state(), kept, running, held)?)
    }

    /// Back to the other slot, with the next start.
    pub(crate) fn roll_back(&mut self, kept: Kept, running: Slot, there: Held) -> Result<(), SlotsError> {
        self.append(roll_back(&self.state(), kept, running, there)?)
    }

    fn append(&mut self, state: State) -> Result<(), SlotsError> {
        Ok(self.journal.append(&state)?)
    }
}
