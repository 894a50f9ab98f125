//! What a power cut leaves behind: the fate of every pending unit and of an erase that was caught.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use super::cells::{Defect, Pending};
use super::state::State;
use super::{Rng, SEED_DROP_ALL, SEED_KEEP_ALL, Step};
use crate::Erase;

/// The piece that a disk writes wholly or not at all.
const SECTOR_BYTES: usize = 512;
/// Flash with program units from this size up keeps an ECC for each, which a torn program leaves wrong.
const ECC_UNIT_BYTES_MIN: u32 = 16;
/// What a chip programs at once within a unit.
const WORD_BYTES: usize = 4;
/// How often marginal cells read right at most.
const MARGINAL_READS_MAX: u64 = 8;

/// What becomes of one pending unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Dropped,
    Torn,
}

/// How a cut was. Were each unit's fate drawn evenly, a long group would never be kept wholly but for one unit, and
/// it is there that a log is weak.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// All share one fate.
    All(Fate),
    /// The medium worked in order and came as far as this unit, which is torn.
    InOrder { torn: u64 },
    /// All share one fate but for one in eight.
    Mostly(Fate),
    /// Each for itself.
    Mixed,
}

impl Cut {
    fn from_seed(seed: u64, rng: &mut Rng, units: u64) -> Self {
        match seed {
            SEED_DROP_ALL => Self::All(Fate::Dropped),
            SEED_KEEP_ALL => Self::All(Fate::Kept),
            _ => Self::draw(rng, units),
        }
    }

    fn draw(rng: &mut Rng, units: u64) -> Self {
        match rng.below(8) {
            0 => Self::All(Fate::Torn),
            1 | 2 => Self::InOrder { torn: rng.below(units) },
            3 | 4 => Self::Mostly(Fate::Kept),
            5 => Self::Mostly(Fate::Dropped),
            _ => Self::Mixed,
        }
    }

    /// The fate of the unit that was programmed as the `position`-th of those pending.
    fn fate(self, position: u64, rng: &mut Rng) -> Fate {
        match self {
            Self::All(fate) => fate,
            Self::InOrder { torn } if position < torn => Fate::Kept,
            Self::InOrder { torn } if position == torn => Fate::Torn,
            Self::InOrder { .. } => Fate::Dropped,
            Self::Mostly(fate) if !rng.one_in(8) => fate,
            Self::Mostly(_) | Self::Mixed => match rng.below(3) {
                0 => Fate::Kept,
                1 => Fate::Dropped,
                _ => Fate::Torn,
            },
        }
    }
}

/// What an interrupted erase leaves.
#[derive(Clone, Copy, Debug)]
enum Form {
    Untouched,
    HeadOverZeros,
    PartlyBlank,
    Unstable,
    BlankForAWhile,
}

impl Form {
    fn from_seed(seed: u64, rng: &mut Rng) -> Self {
        match seed {
            SEED_DROP_ALL => Self::Untouched,
            SEED_KEEP_ALL => Self::BlankForAWhile,
            _ => Self::draw(rng),
        }
    }

    fn draw(rng: &mut Rng) -> Self {
        match rng.below(5) {
            0 => Self::Untouched,
            1 => Self::HeadOverZeros,
            2 => Self::PartlyBlank,
            3 => Self::Unstable,
            _ => Self::BlankForAWhile,
        }
    }
}

impl State {
    /// Decides what is left, and lets the next boot begin.
    pub(super) fn power_on(&mut self, seed: u64) {
        self.story.steps.push(Step::PowerOn { seed });
        self.rng = Rng::new(seed);
        let pending = self.take_pending(0..self.segments.len());
        let units = pending.iter().map(|(_, pending)| self.units_in(pending)).sum();
        let cut = Cut::from_seed(seed, &mut self.rng, units);
        self.settle(pending, cut);
        let form = Form::from_seed(seed, &mut self.rng);
        self.interrupt_erase(form);
        self.boot += 1;
        self.cut = false;
    }

    /// Ends an erase that failed: the segment holds anything, what was pending in it too.
    pub(super) fn fail_erase(&mut self) {
        let Some(segment) = self.erasing.map(|erasing| erasing.segment as usize) else {
            return;
        };
        let pending = self.take_pending(segment..segment + 1);
        self.settle(pending, Cut::Mixed);
        let form = Form::draw(&mut self.rng);
        self.interrupt_erase(form);
    }

    /// Ends a program that failed: its units hold anything.
    pub(super) fn fail_program(&mut self, segment: u32) {
        if let Some(failed) = self.segment_mut(segment).pending.pop() {
            self.settle(vec![(segment, failed)], Cut::Mixed);
        }
    }

    fn units_in(&self, pending: &Pending) -> u64 {
        self.units(pending.offset, pending.bytes.len()).len() as u64
    }

    /// All that is pending in these segments, in the order in which it was programmed.
    fn take_pending(&mut self, segments: Range<usize>) -> Vec<(u32, Pending)> {
        let mut all = Vec::new();
        for index in segments {
            if !self.segments[index].pending.is_empty() {
                let pending = core::mem::take(&mut Arc::make_mut(&mut self.segments[index]).pending);
                all.extend(pending.into_iter().map(|pending| (index as u32, pending)));
            }
        }
        all.sort_by_key(|(_, pending)| pending.operation);
        all
    }

    /// Lets each unit meet its fate.
    fn settle(&mut self, all: Vec<(u32, Pending)>, cut: Cut) {
        let unit_bytes = self.geometry.unit_bytes as usize;
        let mut position = 0;
        for (segment, pending) in all {
            for (unit, bytes) in pending.bytes.chunks(unit_bytes).enumerate() {
                let offset = pending.offset as usize + unit * unit_bytes;
                match cut.fate(position, &mut self.rng) {
                    Fate::Kept => {
                        let target = self.segment_mut(segment);
                        target.make_readable(&(offset..offset + bytes.len()));
                        target.set_cells(offset, bytes);
                    }
                    Fate::Dropped => {}
                    Fate::Torn if self.geometry.erase == Erase::Physical => {
                        self.tear_cells(segment, offset, bytes);
                    }
                    Fate::Torn => self.tear_sectors(segment, offset, bytes),
                }
                position += 1;
            }
        }
    }

    /// A program of cells that was cut.
    fn tear_cells(&mut self, segment: u32, offset: usize, new: &[u8]) {
        let mut torn = vec![0; new.len()];
        self.segments[segment as usize].cells(offset, &mut torn);
        let by_words = self.rng.one_in(2);
        for (cells, bytes) in torn.chunks_mut(WORD_BYTES).zip(new.chunks(WORD_BYTES)) {
            let eighths = if by_words && !self.rng.one_in(3) {
                // This word was programmed already, or not reached yet.
                8 * self.rng.below(2) as u8
            } else {
                1 + self.rng.below(7) as u8
            };
            for (cell, byte) in cells.iter_mut().zip(bytes) {
                let to_clear = *cell & !byte;
                *cell &= !(to_clear & self.rng.mask(eighths));
            }
        }
        let range = offset..offset + new.len();
        let reads_left = 1 + self.rng.below(MARGINAL_READS_MAX) as u32;
        let form = self.rng.below(4);
        let has_ecc = self.has_ecc();
        let target = self.segment_mut(segment);
        match form {
            0 => {
                target.set_cells(offset, new);
                target.defects.push(Defect::Marginal { range, reads_left, later: torn });
            }
            1 if has_ecc => target.defects.push(Defect::Unreadable { range }),
            _ => target.set_cells(offset, &torn),
        }
    }

    /// A write of sectors that was cut.
    fn tear_sectors(&mut self, segment: u32, offset: usize, new: &[u8]) {
        if self.rng.one_in(8) {
            let range = offset..offset + new.len();
            return self.segment_mut(segment).defects.push(Defect::Unreadable { range });
        }
        for (sector, bytes) in new.chunks(SECTOR_BYTES).enumerate() {
            if self.rng.one_in(2) {
                self.segment_mut(segment).set_cells(offset + sector * SECTOR_BYTES, bytes);
            }
        }
    }

    /// Leaves the segment that was being erased in this form. On block media an erase touches nothing.
    fn interrupt_erase(&mut self, form: Form) {
        let Some(erasing) = self.erasing.take() else {
            return;
        };
        if self.geometry.erase == Erase::Logical || matches!(form, Form::Untouched) {
            return;
        }
        let len = self.geometry.segment_bytes as usize;
        let mut bytes = vec![0; len];
        self.segments[erasing.segment as usize].cells(0, &mut bytes);
        let mut defects = Vec::new();
        match form {
            Form::Untouched => {}
            Form::HeadOverZeros => {
                let head = self.head_bytes();
                bytes[head..].fill(0);
            }
            Form::PartlyBlank => self.blank_in_places(&mut bytes),
            Form::Unstable => {
                self.blank_in_places(&mut bytes);
                let ends = [self.rng.below(len as u64) as usize, self.rng.below(len as u64) as usize];
                let range = ends[0].min(ends[1])..ends[0].max(ends[1]) + 1;
                let refuses = self.has_ecc() && self.rng.one_in(4);
                defects.push(if refuses { Defect::Unreadable { range } } else { Defect::Unstable { range } });
            }
            Form::BlankForAWhile => {
                bytes.fill(0xFF);
                let mut later = bytes.clone();
                later.iter_mut().for_each(|byte| *byte &= !self.rng.mask(1));
                let reads_left = 1 + self.rng.below(MARGINAL_READS_MAX) as u32;
                defects.push(Defect::Marginal { range: 0..len, reads_left, later });
            }
        }
        let target = self.segment_mut(erasing.segment);
        target.set_cells(0, &bytes);
        target.defects.retain(|defect| matches!(defect, Defect::Stuck { .. }));
        target.defects.append(&mut defects);
    }

    /// How much of the head stands while the rest is zeroed: mostly little, since what stands there is the header.
    fn head_bytes(&mut self) -> usize {
        let unit = u64::from(self.geometry.unit_bytes);
        let units = u64::from(self.geometry.segment_bytes) / unit;
        let most = if self.rng.one_in(2) { units } else { units.min(1 + 512 / unit) };
        (self.rng.below(most) * unit) as usize
    }

    /// Erases some stretches, spares some, and leaves others on their way.
    fn blank_in_places(&mut self, bytes: &mut [u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = rest.len().min(16 + self.rng.below(496) as usize);
            let (stretch, after) = rest.split_at_mut(len);
            match self.rng.below(3) {
                0 => stretch.fill(0xFF),
                1 => {}
                _ => stretch.iter_mut().for_each(|byte| *byte |= self.rng.mask(4)),
            }
            rest = after;
        }
    }

    /// Whether a unit that was not wholly programmed is known as such to the chip.
    fn has_ecc(&self) -> bool {
        self.geometry.unit_bytes >= ECC_UNIT_BYTES_MIN
    }
}
