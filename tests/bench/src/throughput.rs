//! Appending and reading, against the raw medium.
//!
//! The spool appends to a volume that notes each request; then the same requests, of the same sizes and in the same
//! order, go to a second volume on the same file system with nothing but the medium behind them, and then once more with
//! what follows on each other between two syncs written in pieces of 1 MiB, as one would who has all of it at hand. Both
//! files are written out in full before. Rounds alternate, and the median of their ratios counts, against the faster of
//! the two ways.
//!
//! A disk of a build machine lets bursts through that no flash keeps up, and then it is the processor that is measured. So
//! some loads run at a steady pace as well, the spool and the raw medium alike: that of an eMMC, and of a disk of 1 GB/s.

use std::path::Path;
use std::thread::{sleep, yield_now};
use std::time::{Duration, Instant};

use penstock_flash::{EraseProgress, Error, Geometry, Medium, ReadAt};
use penstock_flash_linux::{AlignedBuffer, Create, Volume, WriteBehind};
use penstock_spool::{MessageId, format};
use serde_json::{Value, json};

use crate::mail::{Bench, Mail, mount, options};

const SEGMENT_BYTES: u32 = 16 << 20;

/// What a write takes at least.
#[derive(Clone, Copy, PartialEq)]
pub struct Pace {
    pub name: &'static str,
    request: Duration,
    bytes_a_second: f64,
}

pub const EMMC: Pace = Pace { name: "eMMC", request: Duration::from_micros(200), bytes_a_second: 100e6 };
pub const DISK: Pace = Pace { name: "1 GB/s", request: Duration::ZERO, bytes_a_second: 1e9 };

/// The kernel wakes up late, so the last of a wait is spent awake.
const WAKE_EARLY: Duration = Duration::from_micros(200);

/// Does a write as fast as the medium does it, or at the pace if that is slower.
fn at_pace<T>(pace: Option<Pace>, len: usize, write: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = write();
    if let Some(pace) = pace {
        let until = began + pace.request + Duration::from_secs_f64(len as f64 / pace.bytes_a_second);
        sleep(until.saturating_duration_since(Instant::now() + WAKE_EARLY));
        while Instant::now() < until {
            yield_now();
        }
    }
    done
}

/// A request that the spool made.
#[derive(Clone, Copy)]
enum Request {
    Program { segment: u32, offset: u32, len: usize, through: bool },
    Sync,
}

/// The largest piece that the raw medium is given at once, in bytes.
const RAW_BYTES_MAX: usize = 1 << 20;

/// The same bytes and syncs in larger pieces.
fn merged(requests: &[Request]) -> Vec<Request> {
    let mut merged: Vec<Request> = Vec::new();
    for request in requests {
        if let Request::Program { segment, offset, len, through: false } = *request
            && let Some(Request::Program { segment: in_segment, offset: begun, len: so_far, through: false }) =
                merged.last_mut()
            && (segment, offset as usize) == (*in_segment, *begun as usize + *so_far)
            && *so_far + len <= RAW_BYTES_MAX
        {
            *so_far += len;
        } else {
            merged.push(*request);
        }
    }
    merged
}

/// A volume that notes what it is asked to do.
struct Noting {
    volume: Volume,
    pace: Option<Pace>,
    requests: Vec<Request>,
}

impl Medium for Noting {
    type Reader = <Volume as Medium>::Reader;

    fn geometry(&self) -> Geometry {
        self.volume.geometry()
    }

    fn reader(&self) -> Self::Reader {
        self.volume.reader()
    }

    fn program(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.requests.push(Request::Program { segment, offset, len: bytes.len(), through: false });
        at_pace(self.pace, bytes.len(), || self.volume.program(segment, offset, bytes))
    }

    fn program_through(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.requests.push(Request::Program { segment, offset, len: bytes.len(), through: true });
        at_pace(self.pace, bytes.len(), || self.volume.program_through(segment, offset, bytes))
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.requests.push(Request::Sync);
        at_pace(self.pace, 0, || self.volume.sync())
    }

    fn start_erase(&mut self, segment: u32) -> Result<(), Error> {
        self.volume.start_erase(segment)
    }

    fn poll_erase(&mut self) -> Result<EraseProgress, Error> {
        self.volume.poll_erase()
    }
}

/// A kind of load.
struct Load {
    name: &'static str,
    body_bytes: usize,
    /// Messages whose sessions share a sync.
    together: usize,
    total_bytes: usize,
    /// As fast as it goes where there is none.
    pace: Option<Pace>,
}

impl Load {
    const fn at(self, pace: Pace, total_bytes: usize) -> Self {
        Self { total_bytes, pace: Some(pace), ..self }
    }
}

const SMALL: Load =
    Load { name: "4 KiB", body_bytes: 4 << 10, together: 100, total_bytes: 128 << 20, pace: None };
const MIDDLE: Load =
    Load { name: "64 KiB", body_bytes: 64 << 10, together: 8, total_bytes: 256 << 20, pace: None };
const LARGE: Load =
    Load { name: "4 MiB", body_bytes: 4 << 20, together: 1, total_bytes: 512 << 20, pace: None };

const LOADS: [Load; 8] = [
    Load { together: 1, total_bytes: 4 << 20, ..SMALL },
    SMALL,
    MIDDLE,
    LARGE,
    LARGE.at(DISK, 256 << 20),
    SMALL.at(EMMC, 48 << 20),
    MIDDLE.at(EMMC, 48 << 20),
    LARGE.at(EMMC, 48 << 20),
];

/// Measures all loads, and tells of each as it is done.
pub fn measure(folder: &Path, quick: bool, mut tell: impl FnMut(&Value)) -> Vec<Value> {
    let (rounds, divisor) = if quick { (1, 8) } else { (5, 1) };
    let mail = Mail::default();
    let paths = [folder.join("spool"), folder.join("raw")];
    let create = Create { size_bytes: 1280 << 20, segment_bytes: SEGMENT_BYTES, overwrite: true };
    for path in &paths {
        drop(Volume::create(path, &create, |_, _| {}).unwrap());
    }
    let mut rows = Vec::new();
    for load in LOADS {
        let mut rates: [Vec<f64>; 5] = Default::default();
        let mut ratios: [Vec<f64>; 3] = Default::default();
        for _ in 0..rounds {
            let messages = (load.total_bytes / divisor / load.body_bytes).max(load.together);
            let mut volume = Volume::open(&paths[0], SEGMENT_BYTES).unwrap();
            format(&mut volume, *b"bench volume 001", true, |_, _| {}).unwrap();
            let noting = Noting { volume, pace: load.pace, requests: Vec::new() };
            let mut spool = mount(WriteBehind::new(noting).unwrap(), options());
            let (ids, appending) = append(&mut spool, &mail, &load, messages);
            let reading = read(&mut spool, &ids, &paths[0]);
            let requests = std::mem::take(&mut spool.into_medium().medium().requests);
            let mut raw = Volume::open(&paths[1], SEGMENT_BYTES).unwrap();
            let appending_raw = replay(&mut raw, load.pace, &requests);
            let appending_merged = replay(&mut raw, load.pace, &merged(&requests));
            let reading_raw = read_raw(&raw, &requests, &paths[1]);
            let bytes = (messages * load.body_bytes) as f64 / f64::from(1 << 20);
            let took = [appending, appending_raw, appending_merged, reading, reading_raw];
            for (rates, took) in rates.iter_mut().zip(took) {
                rates.push(bytes / took.as_secs_f64());
            }
            ratios[0].push(appending_raw.as_secs_f64() / appending.as_secs_f64());
            ratios[1].push(appending_merged.as_secs_f64() / appending.as_secs_f64());
            ratios[2].push(reading_raw.as_secs_f64() / reading.as_secs_f64());
        }
        let row = json!({
            "body": load.name,
            "sessions": load.together,
            "pace": load.pace.map(|pace| pace.name),
            "append_mib_s": median(&rates[0]),
            "raw_append_mib_s": median(&rates[1]).max(median(&rates[2])),
            "append_vs_raw": median(&ratios[0]).min(median(&ratios[1])),
            "read_mib_s": median(&rates[3]),
            "raw_read_mib_s": median(&rates[4]),
            "read_vs_raw": median(&ratios[2]),
        });
        tell(&row);
        rows.push(row);
    }
    rows
}

fn append<M: Medium>(
    spool: &mut Bench<M>,
    mail: &Mail,
    load: &Load,
    messages: usize,
) -> (Vec<MessageId>, Duration) {
    let began = Instant::now();
    let mut ids = Vec::new();
    while ids.len() < messages {
        for _ in 0..load.together {
            ids.push(mail.store(spool, load.body_bytes).unwrap());
        }
        spool.sync().unwrap();
    }
    (ids, began.elapsed())
}

fn read<M: Medium>(spool: &mut Bench<M>, ids: &[MessageId], path: &Path) -> Duration {
    forget_cached(path);
    let began = Instant::now();
    for id in ids {
        let mut message = spool.open(*id).unwrap();
        message.envelope().unwrap();
        while message.next_chunk().unwrap().is_some() {}
    }
    began.elapsed()
}

fn replay(raw: &mut Volume, pace: Option<Pace>, requests: &[Request]) -> Duration {
    let buffer = AlignedBuffer::new(1 << 20);
    let began = Instant::now();
    for request in requests {
        match *request {
            Request::Program { segment, offset, len, through } => at_pace(pace, len, || {
                let bytes = &buffer[..len];
                if through {
                    raw.program_through(segment, offset, bytes)
                } else {
                    raw.program(segment, offset, bytes)
                }
            }),
            Request::Sync => at_pace(pace, 0, || raw.sync()),
        }
        .unwrap();
    }
    began.elapsed()
}

/// Reads what was programmed, in pieces of 64 KiB at most, as the spool does.
fn read_raw(raw: &Volume, requests: &[Request], path: &Path) -> Duration {
    forget_cached(path);
    let reader = raw.reader();
    let mut buffer = vec![0; 64 << 10];
    let began = Instant::now();
    for request in requests {
        let Request::Program { segment, offset, len, .. } = *request else { continue };
        for at in (0..len).step_by(buffer.len()) {
            let piece = buffer.len().min(len - at);
            reader.read(segment, offset + at as u32, &mut buffer[..piece]).unwrap();
        }
    }
    began.elapsed()
}

fn forget_cached(path: &Path) {
    let file = std::fs::File::open(path).unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[sorted.len() / 2] * 1000.0).round() / 1000.0
}
