//! Whose bytes are where: a medium that remembers each frame that is programmed, and what a fault touched.
//!
//! What may be lost to rot is what the rot touched, so a check needs to know which frames that were. They are taken
//! from the bytes given to the medium, not from what the log says of itself.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

use penstock_flash::sim::{Fault, Sim, SimMedium, SimReader};
use penstock_flash::{Erase, EraseProgress, Error, Geometry, Medium};

/// The header of a frame, and the magic with which it begins (FORMAT.md).
const HEADER_BYTES: usize = 24;
const MAGIC: [u8; 2] = [0x50, 0x53];
const ALIGN: usize = 16;
/// Kinds of frames.
const SEGMENT_HEADER: u8 = 1;
const STATUS: u8 = 7;
const META: u8 = 8;
/// Those that tell of what was durable before them.
const TELLING: [u8; 3] = [SEGMENT_HEADER, 11, 14];

/// A frame that was programmed.
#[derive(Clone, Debug)]
struct Frame {
    range: Range<u32>,
    kind: u8,
    id: u64,
    /// How many barriers there had been.
    barriers: u64,
    /// A fault struck it.
    is_touched: bool,
}

impl Frame {
    /// Notes that a fault struck it.
    fn touch(&mut self, segment: u32, touched: &mut Touched) {
        self.is_touched = true;
        let about = match self.kind {
            STATUS => About::Fate(self.id),
            META => About::State,
            kind if kind > SEGMENT_HEADER && kind < STATUS => About::Message(self.id),
            _ => return,
        };
        let touches = touched.entry(about).or_default();
        touches.segments.insert(segment);
        touches.barriers = touches.barriers.max(self.barriers);
    }

    /// Whether it tells of what was durable when it was programmed, and can be relied upon to.
    fn tells(&self) -> bool {
        !self.is_touched && TELLING.contains(&self.kind)
    }
}

/// What a frame that can be touched says something of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum About {
    Message(u64),
    Fate(u64),
    State,
}

/// Where frames about one thing were touched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touches {
    pub(crate) segments: BTreeSet<u32>,
    /// How many barriers there had been when the last of the frames was programmed.
    barriers: u64,
    /// The log stopped when nothing on the medium could tell that one of them had to be there.
    pub(crate) went_unnoticed: bool,
}

/// What faults have touched so far.
pub(crate) type Touched = BTreeMap<About, Touches>;

/// Where the frames of a medium are.
#[derive(Clone, Debug)]
pub(crate) struct Owners {
    segments: Vec<Rc<Vec<Frame>>>,
    pub(crate) touched: Touched,
    /// Faults that wait for an operation, with its number.
    waiting: Vec<(u64, Fault)>,
    /// Bytes that stay bad, whatever is programmed over them.
    stuck: Vec<(u32, u32)>,
    /// Whether what was programmed is read back.
    reads_back: bool,
    /// Messages that were touched in a segment that was erased after that.
    pub(crate) erased: BTreeSet<u64>,
    /// Barriers so far.
    barriers: u64,
    /// The operation of the last one.
    last_barrier: u64,
    /// How many there were when what was programmed by then was known durable to no mount after it: that is tail, which
    /// is written anew, and nothing names it where it stands.
    untold: Vec<Range<u64>>,
}

impl Owners {
    pub(crate) fn new(geometry: &Geometry) -> Self {
        Self {
            segments: vec![Rc::default(); geometry.segments as usize],
            touched: Touched::default(),
            waiting: Vec::new(),
            stuck: Vec::new(),
            reads_back: geometry.erase == Erase::Physical,
            erased: BTreeSet::new(),
            barriers: 0,
            last_barrier: 0,
            untold: Vec::new(),
        }
    }

    /// Forgets what was touched and erased so far, after a cut in that operation.
    pub(crate) fn begin_case(&mut self, cut: u64) {
        self.touched = Touched::default();
        self.erased.clear();
        if self.last_barrier == cut && self.barriers > 0 {
            // The power failed in it.
            self.barriers -= 1;
        }
    }

    /// The log stopped, and another one mounts what is there. A frame that was programmed after the last barrier of which
    /// anything durable tells could be missing without a trace.
    fn mounted(&mut self) {
        let frames = self.segments.iter().flat_map(|frames| frames.iter());
        let durable = frames.filter(|frame| frame.barriers < self.barriers && frame.tells());
        let told = durable.map(|frame| frame.barriers).max().unwrap_or(0);
        self.untold.push(told..self.barriers + 1);
        for touches in self.touched.values_mut() {
            touches.went_unnoticed |= self.untold.iter().any(|untold| untold.contains(&touches.barriers));
        }
    }

    fn barrier(&mut self, operation: u64) {
        self.last_barrier = operation;
        self.barriers += 1;
    }

    /// A fault will strike at that operation, or has struck if it speaks of none.
    pub(crate) fn expect(&mut self, at: u64, fault: Fault) {
        match fault {
            Fault::Flip { segment, offset, .. } => self.touch(segment, offset..offset + 1),
            Fault::Stuck { segment, offset, .. } => {
                self.touch(segment, offset..offset + 1);
                self.stuck.push((segment, offset));
            }
            Fault::Unreadable { segment, offset, len_bytes } => {
                self.touch(segment, offset..offset + len_bytes);
            }
            _ => self.waiting.push((at, fault)),
        }
    }

    /// Touches all frames that reach into a range.
    pub(crate) fn touch(&mut self, segment: u32, range: Range<u32>) {
        let Self { segments, touched, .. } = self;
        let Some(frames) = segments.get_mut(segment as usize) else { return };
        let is_in_range = |f: &&mut Frame| f.range.start < range.end && range.start < f.range.end;
        Rc::make_mut(frames).iter_mut().filter(is_in_range).for_each(|frame| frame.touch(segment, touched));
    }

    fn program(&mut self, now: u64, segment: u32, offset: u32, bytes: &[u8]) {
        let mut new = frames_of(offset, bytes, self.barriers);
        let is_due = |(at, fault): &(u64, Fault)| {
            *at <= now
                && matches!(fault, Fault::IgnoreProgram | Fault::Misdirect { .. } | Fault::FailProgram { .. })
        };
        if let Some(at) = self.waiting.iter().position(is_due) {
            let (_, fault) = self.waiting.remove(at);
            // On cells it is read back before it counts, so that nothing may be lost to it.
            let is_caught = fault == Fault::IgnoreProgram && self.reads_back;
            if !is_caught {
                new.iter_mut().for_each(|frame| frame.touch(segment, &mut self.touched));
            }
            if let Fault::Misdirect { segment, offset } = fault {
                self.touch(segment, offset..offset + bytes.len() as u32);
            }
        }
        for (_, stuck) in self.stuck.iter().filter(|(stuck_segment, _)| *stuck_segment == segment) {
            let is_struck = |frame: &&mut Frame| frame.range.contains(stuck);
            new.iter_mut().filter(is_struck).for_each(|frame| frame.touch(segment, &mut self.touched));
        }
        Rc::make_mut(&mut self.segments[segment as usize]).extend(new);
    }

    fn erase(&mut self, segment: u32) {
        let here = self.touched.iter().filter(|(_, touches)| touches.segments.contains(&segment));
        let messages = here.filter_map(|(about, _)| match about {
            About::Message(id) => Some(*id),
            About::Fate(_) | About::State => None,
        });
        self.erased.extend(messages);
        self.segments[segment as usize] = Rc::default();
    }

    /// A place on the medium that something was programmed to, drawn by two numbers.
    pub(crate) fn place(&self, draw: u64, within: u64) -> Option<(u32, Range<u32>)> {
        let total: usize = self.segments.iter().map(|frames| frames.len()).sum();
        let mut nth = (draw % total.max(1) as u64) as usize;
        for (segment, frames) in self.segments.iter().enumerate() {
            if let Some(frame) = frames.get(nth) {
                let offset =
                    frame.range.start + (within % u64::from(frame.range.end - frame.range.start)) as u32;
                return Some((segment as u32, offset..frame.range.end));
            }
            nth -= frames.len();
        }
        None
    }
}

/// The frames in a program.
fn frames_of(offset: u32, bytes: &[u8], barriers: u64) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut at = 0;
    while let Some(header) = bytes.get(at..at + HEADER_BYTES).filter(|header| header.starts_with(&MAGIC)) {
        let number =
            |range: Range<usize>| header[range].iter().rev().fold(0, |n: u64, b| n << 8 | u64::from(*b));
        let len = (HEADER_BYTES + number(4..8) as usize).next_multiple_of(ALIGN);
        let start = offset + at as u32;
        frames.push(Frame {
            range: start..start + len as u32,
            kind: header[2],
            id: number(8..16),
            barriers,
            is_touched: false,
        });
        at += len;
    }
    frames
}

/// A medium that keeps [`Owners`].
pub(crate) struct Watched {
    medium: SimMedium,
    sim: Rc<Sim>,
    owners: Rc<RefCell<Owners>>,
}

impl Watched {
    pub(crate) fn new(sim: &Rc<Sim>, owners: &Rc<RefCell<Owners>>) -> Self {
        owners.borrow_mut().mounted();
        Self { medium: sim.medium(), sim: Rc::clone(sim), owners: Rc::clone(owners) }
    }
}

impl Medium for Watched {
    type Reader = SimReader;

    fn geometry(&self) -> Geometry {
        self.medium.geometry()
    }

    fn reader(&self) -> SimReader {
        self.medium.reader()
    }

    fn program(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.owners.borrow_mut().program(self.sim.operations(), segment, offset, bytes);
        self.medium.program(segment, offset, bytes)
    }

    fn program_through(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        let operation = self.sim.operations();
        self.owners.borrow_mut().program(operation, segment, offset, bytes);
        let done = self.medium.program_through(segment, offset, bytes);
        if done.is_ok() {
            self.owners.borrow_mut().barrier(operation);
        }
        done
    }

    fn sync(&mut self) -> Result<(), Error> {
        let operation = self.sim.operations();
        let done = self.medium.sync();
        if done.is_ok() {
            self.owners.borrow_mut().barrier(operation);
        }
        done
    }

    fn start_erase(&mut self, segment: u32) -> Result<(), Error> {
        self.owners.borrow_mut().erase(segment);
        self.medium.start_erase(segment)
    }

    fn poll_erase(&mut self) -> Result<EraseProgress, Error> {
        self.medium.poll_erase()
    }
}
