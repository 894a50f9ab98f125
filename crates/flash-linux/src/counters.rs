//! What went through a medium, for the operator's metrics and for benches.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What went through a medium since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Reads.
    pub read_requests: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Programs, those written through included.
    pub program_requests: u64,
    /// Bytes programmed.
    pub programmed_bytes: u64,
    /// Programs that were written through.
    pub through_requests: u64,
    /// Syncs of the whole medium.
    pub syncs: u64,
}

/// The same, as several threads count it. No two of the numbers need agree at any moment.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    read_requests: AtomicU64,
    read_bytes: AtomicU64,
    program_requests: AtomicU64,
    programmed_bytes: AtomicU64,
    through_requests: AtomicU64,
    syncs: AtomicU64,
}

impl Tally {
    pub(crate) fn read(&self, len: usize) {
        self.read_requests.fetch_add(1, Relaxed);
        self.read_bytes.fetch_add(len as u64, Relaxed);
    }

    pub(crate) fn program(&self, len: usize, through: bool) {
        self.program_requests.fetch_add(1, Relaxed);
        self.programmed_bytes.fetch_add(len as u64, Relaxed);
        self.through_requests.fetch_add(u64::from(through), Relaxed);
    }

    pub(crate) fn sync(&self) {
        self.syncs.fetch_add(1, Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Counters {
        Counters {
            read_requests: self.read_requests.load(Relaxed),
            read_bytes: self.read_bytes.load(Relaxed),
            program_requests: self.program_requests.load(Relaxed),
            programmed_bytes: self.programmed_bytes.load(Relaxed),
            through_requests: self.through_requests.load(Relaxed),
            syncs: self.syncs.load(Relaxed),
        }
    }
}
