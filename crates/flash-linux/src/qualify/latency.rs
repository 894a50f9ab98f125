//! How long a write takes, with and without its flush.

use std::fs::File;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use rustix::io::{Errno, ReadWriteFlags, pwritev2};

use crate::aligned::AlignedBuffer;

/// A write as the log commits it.
const WRITE_BYTES: usize = 4096;
/// How many of each kind.
const WRITES: u64 = 300;
/// The longest that one kind is measured: a slow disk shows what it is with fewer.
const TIME_MAX: Duration = Duration::from_secs(4);
/// The stretch that is written, in bytes: small, so that no medium has to make room.
pub(super) const STRETCH_BYTES: u64 = 4 * 1024 * 1024;

/// How long something took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Half took no longer, in µs.
    pub median_us: u64,
    /// The longest, in µs.
    pub worst_us: u64,
    /// How many were measured.
    pub writes: u64,
}

/// How long 4 KiB take, one at a time, past the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latencies {
    /// A write alone.
    pub write: Latency,
    /// A write and a flush.
    pub flush: Latency,
    /// A write that says that it is to reach the medium (`RWF_DSYNC`, FUA where there is one); `None` where the kernel
    /// does not know that.
    pub through: Option<Latency>,
}

impl Latencies {
    /// Measures on the first [`STRETCH_BYTES`] of a file or device, which are overwritten.
    ///
    /// # Errors
    /// What the operating system says.
    pub(super) fn measure(file: &File) -> Result<Self, Errno> {
        let mut page = AlignedBuffer::new(WRITE_BYTES);
        page.fill(0x5A);
        let write = |at: u64, flags: ReadWriteFlags| {
            let written = pwritev2(file, &[IoSlice::new(&page)], at, flags)?;
            if written == WRITE_BYTES { Ok(()) } else { Err(Errno::IO) }
        };
        let none = ReadWriteFlags::empty();
        Ok(Self {
            write: timed(|at| write(at, none))?,
            flush: timed(|at| write(at, none).and_then(|()| rustix::fs::fdatasync(file)))?,
            through: match timed(|at| write(at, ReadWriteFlags::DSYNC)) {
                Err(Errno::OPNOTSUPP | Errno::INVAL) => None,
                measured => Some(measured?),
            },
        })
    }
}

fn timed(mut write: impl FnMut(u64) -> Result<(), Errno>) -> Result<Latency, Errno> {
    let mut times = Vec::new();
    let begun = Instant::now();
    while (times.len() as u64) < WRITES && (begun.elapsed() < TIME_MAX || times.is_empty()) {
        let at = times.len() as u64 * WRITE_BYTES as u64 % STRETCH_BYTES;
        let from = Instant::now();
        write(at)?;
        times.push(u64::try_from(from.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    times.sort_unstable();
    Ok(Latency {
        median_us: times.get(times.len() / 2).copied().unwrap_or(0),
        worst_us: times.last().copied().unwrap_or(0),
        writes: times.len() as u64,
    })
}
