//! The medium as it is: its segments, the erase in progress, the faults that wait, and each operation on them.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use super::cells::{Defect, Pending, Segment, range_at};
use super::{Counters, Fault, Rng, Step, Story};
use crate::{Erase, EraseProgress, Error, Geometry};

/// How many polls a physical erase takes.
const ERASE_POLLS: u32 = 3;
/// The code with which an erase fails when its segment is worn out: EIO.
const WORN_OUT: i32 = 5;

/// An operation that can change the medium.
#[derive(Clone, Copy)]
pub(super) enum Operation<'a> {
    Program { segment: u32, offset: u32, bytes: &'a [u8], through: bool },
    Sync,
    StartErase { segment: u32 },
    PollErase,
}

/// An erase in progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Erasing {
    pub(super) segment: u32,
    polls_left: u32,
}

/// A fault that has not struck yet.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    at: u64,
    fault: Fault,
}

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) geometry: Geometry,
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) erasing: Option<Erasing>,
    pub(super) rng: Rng,
    pub(super) operations: u64,
    /// Which handles are alive: those of this boot.
    pub(super) boot: u32,
    pub(super) cut: bool,
    pub(super) counters: Counters,
    pub(super) story: Story,
    /// A copy for each operation in which the power failed during it, once they are wanted.
    pub(super) branches: Option<Vec<State>>,
    waiting: Vec<Waiting>,
    sync_ignored: bool,
    erases_max: u64,
}

impl State {
    pub(super) fn new(geometry: Geometry) -> Result<Self, Error> {
        if !geometry.is_valid() {
            return Err(Error::Geometry);
        }
        let blank = if geometry.erase == Erase::Physical { 0xFF } else { 0 };
        let untouched = Arc::new(Segment::new(blank));
        Ok(Self {
            geometry,
            segments: vec![untouched; geometry.segments as usize],
            erasing: None,
            rng: Rng::new(0),
            operations: 0,
            boot: 0,
            cut: false,
            counters: Counters::default(),
            story: Story::default(),
            branches: None,
            waiting: Vec::new(),
            sync_ignored: false,
            erases_max: u64::MAX,
        })
    }

    /// Makes the cells hold `image`.
    pub(super) fn load(&mut self, image: &[u8]) -> Result<(), Error> {
        if image.len() as u64 > self.geometry.capacity_bytes() {
            return Err(Error::Geometry);
        }
        let parts = image.chunks(self.geometry.segment_bytes as usize);
        for (segment, bytes) in self.segments.iter_mut().zip(parts) {
            Arc::make_mut(segment).set_cells(0, bytes);
        }
        Ok(())
    }

    /// What can be read, but for the defects.
    pub(super) fn image(&self) -> Vec<u8> {
        let segment_bytes = self.geometry.segment_bytes as usize;
        let mut image = vec![0; segment_bytes * self.segments.len()];
        for (segment, into) in self.segments.iter().zip(image.chunks_mut(segment_bytes)) {
            segment.content(0, into);
        }
        image
    }

    pub(super) fn segment_mut(&mut self, segment: u32) -> &mut Segment {
        Arc::make_mut(&mut self.segments[segment as usize])
    }

    /// Does one operation on behalf of a handle of `boot`.
    pub(super) fn operate(&mut self, boot: u32, operation: &Operation<'_>) -> Result<EraseProgress, Error> {
        if self.cut || boot != self.boot {
            return Err(Error::PowerCut);
        }
        if let Err(error) = self.check(operation) {
            self.counters.violations += 1;
            return Err(error);
        }
        if let Some(mut branches) = self.branches.take() {
            let mut branch = self.clone();
            branch.inject(branch.operations, Fault::Cut);
            // The cut is what it ends with, by design.
            let _ = branch.perform(operation);
            branches.push(branch);
            self.branches = Some(branches);
        }
        self.perform(operation)
    }

    /// An independent copy, which keeps no branches.
    pub(super) fn fork(&mut self) -> Self {
        let branches = self.branches.take();
        let fork = self.clone();
        self.branches = branches;
        fork
    }

    /// What the caller owes.
    fn check(&self, operation: &Operation<'_>) -> Result<(), Error> {
        match *operation {
            Operation::Program { segment, offset, bytes, .. } => {
                self.geometry.check_program(segment, offset, bytes.len())?;
                if self.erasing.is_some_and(|erasing| erasing.segment == segment) {
                    return Err(Error::EraseBusy);
                }
                let mut units = self.units(offset, bytes.len());
                let target = &self.segments[segment as usize];
                match units.find(|unit| !target.erased || target.is_programmed(*unit)) {
                    Some(unit) => {
                        Err(Error::NotErased { segment, offset: unit as u32 * self.geometry.unit_bytes })
                    }
                    None => Ok(()),
                }
            }
            Operation::StartErase { segment } => {
                self.geometry.check_read(segment, 0, 0)?;
                if self.erasing.is_some() { Err(Error::EraseBusy) } else { Ok(()) }
            }
            Operation::Sync | Operation::PollErase => Ok(()),
        }
    }

    fn perform(&mut self, operation: &Operation<'_>) -> Result<EraseProgress, Error> {
        self.strike_due();
        let cut = self.take_due(|fault| matches!(fault, Fault::Cut)).is_some();
        let done = match *operation {
            Operation::Program { segment, offset, bytes, through } => {
                self.program(segment, offset, bytes, through && !cut)
            }
            Operation::Sync if cut => Ok(EraseProgress::Done),
            Operation::Sync => self.sync(),
            Operation::StartErase { segment } => self.start_erase(segment),
            Operation::PollErase if cut => Ok(EraseProgress::Busy),
            Operation::PollErase => self.poll_erase(),
        };
        self.operations += 1;
        if cut {
            self.cut = true;
            return Err(Error::PowerCut);
        }
        done
    }

    fn program(
        &mut self,
        segment: u32,
        offset: u32,
        bytes: &[u8],
        through: bool,
    ) -> Result<EraseProgress, Error> {
        self.counters.program_requests += 1;
        self.counters.through_requests += u64::from(through);
        self.counters.programmed_bytes += bytes.len() as u64;
        let units = self.units(offset, bytes.len());
        self.segment_mut(segment).mark_programmed(units);
        let (mut target, mut at) = (segment, offset);
        match self.take_due(Fault::concerns_program) {
            Some(Fault::IgnoreProgram) => return Ok(EraseProgress::Done),
            Some(Fault::Misdirect { segment, offset }) => (target, at) = (segment, offset),
            Some(Fault::FailProgram { code }) => {
                self.lay(segment, offset, bytes);
                self.fail_program(segment);
                return Err(Error::Io { code });
            }
            _ => {}
        }
        if self.geometry.check_read(target, at, bytes.len()).is_err() {
            return Ok(EraseProgress::Done);
        }
        self.lay(target, at, bytes);
        if through && !self.sync_ignored {
            let target = self.segment_mut(target);
            if let Some(pending) = target.pending.pop() {
                target.harden(pending.offset, &pending.bytes);
            }
        }
        Ok(EraseProgress::Done)
    }

    /// Lays a program over the cells: physical media can only clear bits.
    fn lay(&mut self, segment: u32, offset: u32, bytes: &[u8]) {
        let physical = self.geometry.erase == Erase::Physical;
        let operation = self.operations;
        let target = self.segment_mut(segment);
        let mut result = Vec::from(bytes);
        if physical {
            target.content(offset as usize, &mut result);
            result.iter_mut().zip(bytes).for_each(|(cell, byte)| *cell &= byte);
        } else {
            target.make_readable(&range_at(offset, bytes.len()));
        }
        target.pending.push(Pending { operation, offset, bytes: Arc::from(result), hardens: true });
    }

    fn sync(&mut self) -> Result<EraseProgress, Error> {
        self.counters.syncs += 1;
        let failure = self.take_due(|fault| matches!(fault, Fault::FailSync { .. }));
        if self.sync_ignored && failure.is_none() {
            return Ok(EraseProgress::Done);
        }
        for segment in &mut self.segments {
            if segment.pending.is_empty() {
                continue;
            }
            let segment = Arc::make_mut(segment);
            if failure.is_some() {
                segment.pending.iter_mut().for_each(|pending| pending.hardens = false);
            } else {
                segment.harden_pending();
            }
        }
        match failure {
            Some(Fault::FailSync { code }) => Err(Error::Io { code }),
            _ => Ok(EraseProgress::Done),
        }
    }

    fn start_erase(&mut self, segment: u32) -> Result<EraseProgress, Error> {
        self.counters.erases += 1;
        let polls_left = if self.geometry.erase == Erase::Physical { ERASE_POLLS } else { 1 };
        self.erasing = Some(Erasing { segment, polls_left });
        let target = self.segment_mut(segment);
        target.erased = false;
        target.erases += 1;
        Ok(EraseProgress::Busy)
    }

    fn poll_erase(&mut self) -> Result<EraseProgress, Error> {
        let Some(erasing) = self.erasing.as_mut() else {
            return Ok(EraseProgress::Done);
        };
        erasing.polls_left -= 1;
        let Erasing { segment, polls_left } = *erasing;
        let code = match self.take_due(|fault| matches!(fault, Fault::FailErase { .. })) {
            Some(Fault::FailErase { code }) => Some(code),
            _ if self.segments[segment as usize].erases > self.erases_max => Some(WORN_OUT),
            _ => None,
        };
        if let Some(code) = code {
            self.fail_erase();
            return Err(Error::Io { code });
        }
        if polls_left > 0 {
            return Ok(EraseProgress::Busy);
        }
        let ignored = self.take_due(|fault| matches!(fault, Fault::IgnoreErase)).is_some();
        let physical = self.geometry.erase == Erase::Physical && !ignored;
        self.segment_mut(segment).finish_erase(physical);
        self.erasing = None;
        Ok(EraseProgress::Done)
    }

    pub(super) fn read(
        &mut self,
        boot: u32,
        segment: u32,
        offset: u32,
        into: &mut [u8],
    ) -> Result<(), Error> {
        if self.cut || boot != self.boot {
            return Err(Error::PowerCut);
        }
        self.geometry.check_read(segment, offset, into.len())?;
        self.strike_due();
        self.counters.read_requests += 1;
        self.counters.read_bytes += into.len() as u64;
        if let Some(Fault::FailRead { code }) = self.take_due(|fault| matches!(fault, Fault::FailRead { .. }))
        {
            return Err(Error::Io { code });
        }
        let physical = self.geometry.erase == Erase::Physical;
        if physical && self.erasing.is_some_and(|erasing| erasing.segment == segment) {
            self.rng.fill(into);
            return Ok(());
        }
        let target = &mut self.segments[segment as usize];
        if target.is_sound() {
            target.content(offset as usize, into);
            return Ok(());
        }
        Arc::make_mut(target)
            .read(offset as usize, into, &mut self.rng)
            .map_err(|bad| Error::Unreadable { segment, offset: bad.start as u32 })
    }

    /// Writes a fault down and lets it wait for its operation; what speaks of no operation strikes when it is due.
    pub(super) fn inject(&mut self, at: u64, fault: Fault) {
        self.story.steps.push(Step::Inject { at, fault });
        self.waiting.push(Waiting { at, fault });
        self.strike_due();
    }

    /// The first fault that is due and of the kind that is asked for.
    fn take_due(&mut self, kind: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let due = |waiting: &Waiting| waiting.at <= self.operations && kind(&waiting.fault);
        let position = self.waiting.iter().position(due)?;
        Some(self.waiting.remove(position).fault)
    }

    /// Lets all faults strike that are due and speak of the medium rather than of an operation.
    fn strike_due(&mut self) {
        while let Some(fault) = self.take_due(Fault::concerns_medium) {
            self.strike(fault);
        }
    }

    fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::NoSync => self.sync_ignored = true,
            Fault::Endurance { erases } => self.erases_max = erases,
            Fault::Flip { segment, offset, mask } => {
                if let Some(target) = self.target(segment, offset, 1) {
                    target.flip(offset as usize, mask);
                }
            }
            Fault::Stuck { segment, offset, mask, ones } => {
                if let Some(target) = self.target(segment, offset, 1) {
                    target.defects.push(Defect::Stuck { offset: offset as usize, mask, ones });
                }
            }
            Fault::Unreadable { segment, offset, len_bytes } => {
                let range = range_at(offset, len_bytes as usize);
                if let Some(target) = self.target(segment, offset, range.len()) {
                    target.defects.push(Defect::Unreadable { range });
                }
            }
            _ => {}
        }
    }

    /// The segment of a fault; none where the fault lies beside the medium.
    fn target(&mut self, segment: u32, offset: u32, len: usize) -> Option<&mut Segment> {
        self.geometry.check_read(segment, offset, len).ok()?;
        Some(self.segment_mut(segment))
    }

    /// The units that `len` bytes at `offset` lie on.
    pub(super) fn units(&self, offset: u32, len: usize) -> Range<usize> {
        let unit = self.geometry.unit_bytes as usize;
        offset as usize / unit..(offset as usize + len).div_ceil(unit)
    }
}
