//! What the daemon counts while it runs. Relaxed atomics: no two of the numbers need agree at any moment.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// Takes over a number that somebody else counts.
    pub(crate) fn set(&self, to: u64) {
        self.0.store(to, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Everything that is counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Connections from clients.
    pub(crate) sessions: Counter,
    /// Connections answered with 421 because there were too many, in all or from one source.
    pub(crate) sessions_refused: Counter,
    /// Sessions cut for silence or lack of progress.
    pub(crate) sessions_timed_out: Counter,
    /// Messages taken into custody, and their bytes.
    pub(crate) accepted: Counter,
    pub(crate) accepted_bytes: Counter,
    /// Recipients refused because their domain is not ours.
    pub(crate) refused_relay: Counter,
    /// Transactions refused for lack of room.
    pub(crate) refused_full: Counter,
    /// Messages refused for going in circles.
    pub(crate) refused_loop: Counter,
    /// Messages refused for their form or size.
    pub(crate) refused_form: Counter,
    /// Transactions refused because the volume fails.
    pub(crate) refused_failure: Counter,
    /// Groups of commits that shared a sync.
    pub(crate) commit_groups: Counter,
    /// What the spool gave to the medium.
    pub(crate) syncs: Counter,
    pub(crate) programmed_bytes: Counter,
    /// Recipients that the next hop took, put off, or refused.
    pub(crate) delivered: Counter,
    pub(crate) deferred: Counter,
    pub(crate) held: Counter,
    /// Messages that the next hop took for at least one recipient.
    pub(crate) released: Counter,
    pub(crate) released_bytes: Counter,
}
