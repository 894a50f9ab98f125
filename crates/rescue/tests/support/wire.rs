//! A cable between two machines that loses, doubles, delays and reorders frames, from a seed.
//!
//! Frames have memory of their own from the start, so that who counts allocations finds none here.

use std::cell::RefCell;
use std::rc::Rc;

use penstock_flash::sim::Rng;
use penstock_rescue::smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use penstock_rescue::smoltcp::time::{Duration, Instant};

/// The largest frame, and how many can be under way.
const FRAME_BYTES: usize = 1514;
const FRAMES_MAX: usize = 1024;

/// What the cable does to frames, of a thousand each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    /// Delayed by up to [`JITTER`](Self::JITTER), so that others overtake them.
    pub(crate) late: u64,
}

impl Weather {
    const DELAY: Duration = Duration::from_micros(200);
    const JITTER: u64 = 20_000;

    pub(crate) const FAIR: Self = Self { lost: 0, doubled: 0, late: 0 };
    pub(crate) const FOUL: Self = Self { lost: 100, doubled: 50, late: 100 };
}

struct Frame {
    at: Instant,
    len: usize,
    bytes: [u8; FRAME_BYTES],
}

/// Frames under way to one end.
struct Pipe {
    frames: Vec<Frame>,
    rng: Rng,
    weather: Weather,
    sent: u64,
    lost: u64,
}

impl Pipe {
    fn send(&mut self, bytes: &[u8], now: Instant) {
        self.sent += 1;
        if self.rng.below(1000) < self.weather.lost || self.frames.len() >= FRAMES_MAX - 1 {
            self.lost += 1;
            return;
        }
        let copies = 1 + u64::from(self.rng.below(1000) < self.weather.doubled);
        for _ in 0..copies {
            let is_late = self.rng.below(1000) < self.weather.late;
            let jitter = if is_late { self.rng.below(Weather::JITTER) } else { 0 };
            let mut frame = Frame {
                at: now + Weather::DELAY + Duration::from_micros(jitter),
                len: bytes.len(),
                bytes: [0; FRAME_BYTES],
            };
            frame.bytes[..bytes.len()].copy_from_slice(bytes);
            self.frames.push(frame);
        }
    }

    /// The next frame that has arrived: the one that did so first, and of those at once the one that was sent first.
    fn receive(&mut self, now: Instant) -> Option<Frame> {
        let first = (0..self.frames.len()).min_by_key(|n| self.frames[*n].at)?;
        (self.frames[first].at <= now).then(|| self.frames.remove(first))
    }
}

/// One end of a cable.
pub(crate) struct End {
    to: Rc<RefCell<Pipe>>,
    from: Rc<RefCell<Pipe>>,
}

/// A cable: the two ends of it.
pub(crate) fn cable(weather: Weather, seed: u64) -> (End, End) {
    let pipe = |seed| {
        let frames = Vec::with_capacity(FRAMES_MAX);
        Rc::new(RefCell::new(Pipe { frames, rng: Rng::new(seed), weather, sent: 0, lost: 0 }))
    };
    let (a, b) = (pipe(2 * seed), pipe(2 * seed + 1));
    (End { to: Rc::clone(&a), from: Rc::clone(&b) }, End { to: b, from: a })
}

impl End {
    /// When the next frame arrives here.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.from.borrow().frames.iter().map(|frame| frame.at).min()
    }

    /// From now on nothing comes through.
    pub(crate) fn unplug(&self) {
        for pipe in [&self.to, &self.from] {
            pipe.borrow_mut().weather.lost = 1000;
        }
    }

    /// Sends a frame as it is.
    pub(crate) fn send_raw(&self, bytes: &[u8], now: Instant) {
        self.to.borrow_mut().send(bytes, now);
    }

    /// Takes the next frame as it is.
    pub(crate) fn receive_raw(&self, now: Instant) -> Option<Vec<u8>> {
        self.from.borrow_mut().receive(now).map(|frame| frame.bytes[..frame.len].to_vec())
    }

    /// How many frames this end sent, and how many of them the cable lost.
    pub(crate) fn sent(&self) -> (u64, u64) {
        let pipe = self.to.borrow();
        (pipe.sent, pipe.lost)
    }
}

pub(crate) struct Arrived(Frame);

pub(crate) struct Departing {
    to: Rc<RefCell<Pipe>>,
    now: Instant,
}

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0.bytes[..self.0.len])
    }
}

impl TxToken for Departing {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut bytes = [0; FRAME_BYTES];
        let result = f(&mut bytes[..len]);
        self.to.borrow_mut().send(&bytes[..len], self.now);
        result
    }
}

impl Device for End {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Departing;

    fn receive(&mut self, now: Instant) -> Option<(Arrived, Departing)> {
        let frame = self.from.borrow_mut().receive(now)?;
        Some((Arrived(frame), Departing { to: Rc::clone(&self.to), now }))
    }

    fn transmit(&mut self, now: Instant) -> Option<Departing> {
        Some(Departing { to: Rc::clone(&self.to), now })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_BYTES;
        capabilities
    }
}
