//! What a volume writes and erases while mail comes and goes: write amplification and wear, counted, not timed.
//!
//! The medium is memory, a block device of 4 KiB sectors in its manners. Messages are of 4, 8, 16 … 256 KiB, as many of
//! one kind as of another, which makes 72 KiB on average: what planners of Exchange reckon with is 75. Eight sessions
//! share a sync on the way in, five on the way out.
//!
//! Wear is what the medium was asked to erase. The anchors, the first two segments, are told of apart: nothing else ever
//! stands there, and roots are few.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use penstock_flash::sim::Rng;
use penstock_flash::{Erase, EraseProgress, Error, Geometry, Medium, ReadAt};
use penstock_spool::{MessageId, MountOptions, Step, format};
use serde_json::{Value, json};

use crate::mail::{Bench, Mail, delivered, mount, stamp};

const GEOMETRY: Geometry =
    Geometry { segments: 256, segment_bytes: 1 << 20, unit_bytes: 4096, erase: Erase::Logical };
const SESSIONS_IN: usize = 8;
const SESSIONS_OUT: usize = 5;

const ANCHORS: usize = 2;

/// A medium in memory.
#[derive(Clone)]
pub struct Memory(Rc<RefCell<Cells>>);

struct Cells {
    bytes: Vec<u8>,
    /// How often each segment was erased.
    erases: Vec<u64>,
}

impl Memory {
    fn new() -> Self {
        let bytes = vec![0; GEOMETRY.capacity_bytes() as usize];
        let erases = vec![0; GEOMETRY.segments as usize];
        Self(Rc::new(RefCell::new(Cells { bytes, erases })))
    }
}

fn address(segment: u32, offset: u32) -> usize {
    segment as usize * GEOMETRY.segment_bytes as usize + offset as usize
}

impl ReadAt for Memory {
    fn read(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), Error> {
        let at = address(segment, offset);
        into.copy_from_slice(&self.0.borrow().bytes[at..at + into.len()]);
        Ok(())
    }
}

impl Medium for Memory {
    type Reader = Self;

    fn geometry(&self) -> Geometry {
        GEOMETRY
    }

    fn reader(&self) -> Self {
        self.clone()
    }

    fn program(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        let at = address(segment, offset);
        self.0.borrow_mut().bytes[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn start_erase(&mut self, segment: u32) -> Result<(), Error> {
        self.0.borrow_mut().erases[segment as usize] += 1;
        Ok(())
    }

    fn poll_erase(&mut self) -> Result<EraseProgress, Error> {
        Ok(EraseProgress::Done)
    }
}

/// Which mail leaves next.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The oldest, until the queue is short.
    InOrder,
    /// Any, while the volume stays 60 % full.
    Random,
    /// The oldest, but for one in a hundred, which never leaves.
    Stubborn,
}

/// A site's mail on a volume, coming and going.
struct Site {
    medium: Memory,
    spool: Bench<Memory>,
    mail: Mail,
    rng: Rng,
    waiting: VecDeque<MessageId>,
    taken_bytes: u64,
    longest_step: Duration,
}

impl Site {
    fn new() -> Self {
        let mut medium = Memory::new();
        format(&mut medium, *b"bench volume 001", false, |_, _| {}).unwrap();
        // Room for a checkpoint of more than it ever holds would be a large part of so small a volume.
        let spool = mount(medium.clone(), MountOptions { messages_max: 100_000, ..MountOptions::default() });
        let (mail, rng) = (Mail::default(), Rng::new(7));
        Self {
            medium,
            spool,
            mail,
            rng,
            waiting: VecDeque::new(),
            taken_bytes: 0,
            longest_step: Duration::ZERO,
        }
    }

    fn take(&mut self) {
        for _ in 0..SESSIONS_IN {
            let body_bytes = (4 << 10 << self.rng.below(7)) - self.rng.below(2048) as usize;
            let id = self.mail.store(&mut self.spool, body_bytes).unwrap();
            self.taken_bytes += body_bytes as u64;
            self.waiting.push_back(id);
        }
        self.spool.sync().unwrap();
    }

    fn deliver(&mut self, order: Order) {
        for _ in 0..SESSIONS_OUT.min(self.waiting.len()) {
            if order == Order::Random {
                let any = self.rng.below(self.waiting.len() as u64) as usize;
                self.waiting.swap(0, any);
            }
            let Some(id) = self.waiting.pop_front() else { return };
            if order != Order::Stubborn || id.0 % 100 != 0 {
                self.spool.set_status(id, &delivered()).unwrap();
            }
        }
        self.spool.sync().unwrap();
    }

    /// Housekeeping until there is nothing left to do.
    fn tidy(&mut self) {
        loop {
            let began = Instant::now();
            let done = self.spool.step(stamp(1_700_000_000_000)).unwrap();
            self.longest_step = self.longest_step.max(began.elapsed());
            if done == Step::Idle {
                return;
            }
        }
    }

    fn live_share(&self) -> f64 {
        self.spool.info().live_bytes as f64 / GEOMETRY.capacity_bytes() as f64
    }
}

/// Lets mail as large as the volume come and go `turnovers` times.
pub fn run(order: Order, turnovers: u64) -> Value {
    let mut site = Site::new();
    let full = if order == Order::Random { 0.6 } else { 0.3 };
    while site.live_share() < full {
        site.take();
    }
    // The first turnover brings the volume into its steady state and does not count, but for wear.
    let mut base = (0, 0);
    for turnover in 0..turnovers {
        let until = (turnover + 1) * GEOMETRY.capacity_bytes();
        while site.taken_bytes < until {
            site.take();
            site.tidy();
            while site.live_share() > full && site.waiting.len() > SESSIONS_OUT {
                site.deliver(order);
                site.tidy();
            }
        }
        if turnover == 0 {
            base = (site.spool.counters().programmed_bytes, site.taken_bytes);
        }
    }
    let info = site.spool.info();
    let counters = site.spool.counters();
    let taken_bytes = site.taken_bytes - base.1;
    let cells = site.medium.0.borrow();
    let (anchors, others) = cells.erases.split_at(ANCHORS);
    let (fewest, most) = (others.iter().min().unwrap(), others.iter().max().unwrap());
    json!({
        "write_amp": ratio(counters.programmed_bytes - base.0, taken_bytes),
        "taken_bytes": site.taken_bytes,
        "erases": counters.erases,
        "erase_counts": [fewest, most],
        "erase_spread": most - fewest,
        "anchor_erase_counts": anchors,
        "free_bytes": info.free_bytes(),
        "longest_step_ms": (site.longest_step.as_secs_f64() * 1e4).round() / 10.0,
    })
}

fn ratio(part: u64, whole: u64) -> f64 {
    (part as f64 / whole as f64 * 1000.0).round() / 1000.0
}
