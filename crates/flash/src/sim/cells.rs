//! One segment: what its cells hold, what is pending over them, and what is wrong with it.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use super::rng::Rng;

/// The piece that a copy of a medium copies when it first writes to it.
const PAGE_BYTES: usize = 4096;

/// A program that was not synced.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// The operation that programmed it: pending programs may overlap on block media, and then the later one counts.
    pub(super) operation: u64,
    /// Where in the segment.
    pub(super) offset: u32,
    /// What the cells would hold afterwards.
    pub(super) bytes: Arc<[u8]>,
    /// Whether a sync still makes it durable: not after one that failed.
    pub(super) hardens: bool,
}

impl Pending {
    fn range(&self) -> Range<usize> {
        range_at(self.offset, self.bytes.len())
    }
}

/// Something wrong with a range of a segment. All but stuck bits are gone with the next erase.
#[derive(Clone, Debug)]
pub(super) enum Defect {
    /// Reads differently each time.
    Unstable { range: Range<usize> },
    /// Reads as it should so many times, then as `later` for good.
    Marginal { range: Range<usize>, reads_left: u32, later: Vec<u8> },
    /// Refuses to be read, until it is programmed again.
    Unreadable { range: Range<usize> },
    /// These bits of one byte always read 1, or always 0.
    Stuck { offset: usize, mask: u8, ones: bool },
}

/// One segment. Cloning it copies pointers.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// What survives a power cut. An absent page holds `blank` bytes.
    pages: Vec<Option<Arc<[u8; PAGE_BYTES]>>>,
    blank: u8,
    /// One bit for each unit: programmed since the last erase. Empty stands for none.
    programmed: Vec<u64>,
    /// Programs over the cells, oldest first.
    pub(super) pending: Vec<Pending>,
    pub(super) defects: Vec<Defect>,
    /// Whether an erase was seen through since the segment was made or last torn.
    pub(super) erased: bool,
    pub(super) erases: u64,
}

impl Segment {
    pub(super) fn new(blank: u8) -> Self {
        Self {
            pages: Vec::new(),
            blank,
            programmed: Vec::new(),
            pending: Vec::new(),
            defects: Vec::new(),
            erased: false,
            erases: 0,
        }
    }

    /// Whether reading it needs no bookkeeping.
    pub(super) fn is_sound(&self) -> bool {
        self.defects.is_empty()
    }

    /// What the cells hold.
    pub(super) fn cells(&self, offset: usize, into: &mut [u8]) {
        for (page, within, part) in pages_of(offset, into.len()) {
            match self.pages.get(page) {
                Some(Some(bytes)) => into[part.clone()].copy_from_slice(&bytes[within..within + part.len()]),
                _ => into[part].fill(self.blank),
            }
        }
    }

    /// Makes the cells hold `bytes`.
    pub(super) fn set_cells(&mut self, offset: usize, bytes: &[u8]) {
        for (page, within, part) in pages_of(offset, bytes.len()) {
            if self.pages.len() <= page {
                self.pages.resize(page + 1, None);
            }
            let blank = self.blank;
            let target = self.pages[page].get_or_insert_with(|| Arc::new([blank; PAGE_BYTES]));
            Arc::make_mut(target)[within..within + part.len()].copy_from_slice(&bytes[part]);
        }
    }

    /// What the cells and the pending programs over them hold.
    pub(super) fn content(&self, offset: usize, into: &mut [u8]) {
        self.cells(offset, into);
        let wanted = offset..offset + into.len();
        for pending in &self.pending {
            let held = pending.range();
            let common = intersection(&held, &wanted);
            if !common.is_empty() {
                into[shift(&common, wanted.start)]
                    .copy_from_slice(&pending.bytes[shift(&common, held.start)]);
            }
        }
    }

    /// What a read gives back: the content, as the defects let it through.
    pub(super) fn read(&mut self, offset: usize, into: &mut [u8], rng: &mut Rng) -> Result<(), Range<usize>> {
        let wanted = offset..offset + into.len();
        self.age(&wanted);
        self.content(offset, into);
        for defect in &self.defects {
            match defect {
                Defect::Unstable { range } => {
                    let common = intersection(range, &wanted);
                    rng.fill(&mut into[shift(&common, wanted.start)]);
                }
                Defect::Unreadable { range } => {
                    let common = intersection(range, &wanted);
                    if !common.is_empty() {
                        return Err(common);
                    }
                }
                Defect::Stuck { offset, mask, ones } if wanted.contains(offset) => {
                    let byte = &mut into[offset - wanted.start];
                    *byte = if *ones { *byte | mask } else { *byte & !mask };
                }
                Defect::Stuck { .. } | Defect::Marginal { .. } => {}
            }
        }
        Ok(())
    }

    /// Counts one read of `wanted` for the marginal cells in it, and lets go those that had their last good one.
    fn age(&mut self, wanted: &Range<usize>) {
        let mut worn = Vec::new();
        self.defects.retain_mut(|defect| match defect {
            Defect::Marginal { range, reads_left, later } if !intersection(range, wanted).is_empty() => {
                if *reads_left == 0 {
                    worn.push((range.start, core::mem::take(later)));
                    return false;
                }
                *reads_left -= 1;
                true
            }
            _ => true,
        });
        for (offset, bytes) in worn {
            self.set_cells(offset, &bytes);
        }
    }

    /// Programming a range of a disk makes it readable again.
    pub(super) fn make_readable(&mut self, programmed: &Range<usize>) {
        let defects = core::mem::take(&mut self.defects);
        for defect in defects {
            match defect {
                Defect::Unreadable { range } => {
                    let rest = without(&range, programmed);
                    self.defects.extend(rest.map(|range| Defect::Unreadable { range }));
                }
                other => self.defects.push(other),
            }
        }
    }

    /// Flips bits of one byte, wherever it is held.
    pub(super) fn flip(&mut self, offset: usize, mask: u8) {
        for pending in self.pending.iter_mut().rev() {
            let range = pending.range();
            if range.contains(&offset) {
                let mut bytes = Vec::from(&*pending.bytes);
                bytes[offset - range.start] ^= mask;
                pending.bytes = Arc::from(bytes);
                return;
            }
        }
        let mut byte = [0];
        self.cells(offset, &mut byte);
        self.set_cells(offset, &[byte[0] ^ mask]);
    }

    /// Whether a unit was programmed since the last erase.
    pub(super) fn is_programmed(&self, unit: usize) -> bool {
        self.programmed.get(unit / 64).is_some_and(|word| word >> (unit % 64) & 1 == 1)
    }

    /// Remembers that these units were programmed.
    pub(super) fn mark_programmed(&mut self, units: Range<usize>) {
        let words = units.end.div_ceil(64);
        if self.programmed.len() < words {
            self.programmed.resize(words, 0);
        }
        for unit in units {
            self.programmed[unit / 64] |= 1 << (unit % 64);
        }
    }

    /// Makes `bytes` durable. Older pending programs under them are gone: no cut brings them back.
    pub(super) fn harden(&mut self, offset: u32, bytes: &[u8]) {
        let hardened = range_at(offset, bytes.len());
        for pending in core::mem::take(&mut self.pending) {
            let held = pending.range();
            for rest in without(&held, &hardened) {
                let bytes = Arc::from(&pending.bytes[shift(&rest, held.start)]);
                self.pending.push(Pending { offset: rest.start as u32, bytes, ..pending });
            }
        }
        self.set_cells(hardened.start, bytes);
    }

    /// Makes durable what is pending and can still be made so.
    pub(super) fn harden_pending(&mut self) {
        let mut all = core::mem::take(&mut self.pending);
        self.pending = all.extract_if(.., |pending| !pending.hardens).collect();
        for pending in all {
            self.harden(pending.offset, &pending.bytes);
        }
    }

    /// Begins anew: every unit can be programmed once. A physical erase makes everything read 0xFF.
    pub(super) fn finish_erase(&mut self, physical: bool) {
        if physical {
            self.pages.clear();
            self.blank = 0xFF;
            self.pending.clear();
            self.defects.retain(|defect| matches!(defect, Defect::Stuck { .. }));
        }
        self.programmed.clear();
        self.erased = true;
    }
}

/// The range of `len` bytes at `offset`.
pub(super) fn range_at(offset: u32, len: usize) -> Range<usize> {
    offset as usize..offset as usize + len
}

/// What two ranges have in common; an empty range that lies within `a` where they have nothing.
fn intersection(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    let start = b.start.clamp(a.start, a.end);
    start..b.end.clamp(start, a.end)
}

/// What is left of `a` without `b`.
fn without(a: &Range<usize>, b: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let common = intersection(a, b);
    [a.start..common.start, common.end..a.end].into_iter().filter(|rest| !rest.is_empty())
}

/// The same range, seen from `origin`. An empty one may lie anywhere.
fn shift(range: &Range<usize>, origin: usize) -> Range<usize> {
    if range.is_empty() { 0..0 } else { range.start - origin..range.end - origin }
}

/// The pages that `len` bytes at `offset` lie on: page, offset in the page, range of the bytes.
fn pages_of(offset: usize, len: usize) -> impl Iterator<Item = (usize, usize, Range<usize>)> {
    let mut done = 0;
    core::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done;
        let within = at % PAGE_BYTES;
        let part = done..len.min(done + PAGE_BYTES - within);
        done = part.end;
        Some((at / PAGE_BYTES, within, part))
    })
}
