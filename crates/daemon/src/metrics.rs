//! What the daemon counts while it runs. Relaxed atomics: no two of the numbers need agree at any moment.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::control::Store;

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
    /// Connections answered with 421 because there were too many, in all or from one source, or resources were short.
    pub(crate) sessions_refused: Counter,
    /// Connections refused because of the network that they came from.
    pub(crate) sessions_not_allowed: Counter,
    /// Sessions ended to make room for others, or because resources were short.
    pub(crate) sessions_displaced: Counter,
    /// Times that a client had to wait for the reply to its mistakes.
    pub(crate) replies_held_back: Counter,
    /// Messages and recipients put off, and sessions ended, since there were too many from a source or in all.
    pub(crate) refused_rate: Counter,
    /// Sessions cut for silence or lack of progress.
    pub(crate) sessions_timed_out: Counter,
    /// Sessions that were encrypted, and handshakes that came to nothing.
    pub(crate) sessions_encrypted: Counter,
    pub(crate) handshakes_failed: Counter,
    /// Connections to next hops, those of them that were encrypted, and handshakes that came to nothing.
    pub(crate) hop_connections: Counter,
    pub(crate) hop_connections_encrypted: Counter,
    pub(crate) hop_handshakes_failed: Counter,
    /// Messages taken into custody, and their bytes.
    pub(crate) accepted: Counter,
    pub(crate) accepted_bytes: Counter,
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
    /// What the disk and the reserve were given.
    disk: VolumeMetrics,
    nor: VolumeMetrics,
    /// Times that the volume was gone through, and what was found: messages read at another try, repaired, damaged;
    /// records and headers.
    pub(crate) scrub_passes: Counter,
    pub(crate) scrub_unsteady: Counter,
    pub(crate) scrub_repaired: Counter,
    pub(crate) scrub_damaged: Counter,
    pub(crate) scrub_rot: Counter,
    /// Recipients that the next hop took, put off, or refused.
    pub(crate) delivered: Counter,
    pub(crate) deferred: Counter,
    pub(crate) held: Counter,
    /// Messages that the next hop took for at least one recipient.
    pub(crate) released: Counter,
    /// Messages whose clients waited for the next hop's word: it took them; refused them, and the client was told; said
    /// nothing in time; or nothing that could be told. And how long they waited together, in ms.
    pub(crate) through_taken: Counter,
    pub(crate) through_refused: Counter,
    pub(crate) through_late: Counter,
    pub(crate) through_untold: Counter,
    pub(crate) through_waited_ms: Counter,
    /// What came in over the last day.
    pub(crate) inflow: Inflow,
}

/// What a log gave to its medium.
#[derive(Debug, Default)]
pub(crate) struct VolumeMetrics {
    pub(crate) syncs: Counter,
    pub(crate) programmed_bytes: Counter,
}

impl Metrics {
    pub(crate) fn volume(&self, store: Store) -> &VolumeMetrics {
        match store {
            Store::Disk => &self.disk,
            Store::Nor => &self.nor,
        }
    }
}

const HOUR_MS: u64 = 3_600_000;
const HOURS: usize = 24;
/// How long must be looked at before a rate says anything.
const RATE_AFTER_MS: u64 = 5 * 60_000;

/// The bytes of the last 24 hours, hour by hour of the monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct Inflow(Mutex<Hours>);

#[derive(Debug, Default)]
struct Hours {
    bytes: [u64; HOURS],
    newest: u64,
}

impl Inflow {
    pub(crate) fn add(&self, mono_ms: u64, bytes: u64) {
        let mut hours = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hours.advance(mono_ms);
        let at = hours.newest as usize % HOURS;
        hours.bytes[at] += bytes;
    }

    /// What came in over the last day, or since the start if that is less, made a day; `None` in the first minutes.
    pub(crate) fn bytes_per_day(&self, mono_ms: u64) -> Option<u64> {
        let mut hours = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hours.advance(mono_ms);
        // The newest hour is not over: 23 whole ones and what there is of it.
        let span_ms = mono_ms.min((HOURS as u64 - 1) * HOUR_MS + mono_ms % HOUR_MS);
        let sum: u128 = hours.bytes.iter().copied().map(u128::from).sum();
        let per_day = sum * u128::from(HOURS as u64 * HOUR_MS) / u128::from(span_ms.max(1));
        (span_ms >= RATE_AFTER_MS).then(|| u64::try_from(per_day).unwrap_or(u64::MAX))
    }
}

impl Hours {
    fn advance(&mut self, mono_ms: u64) {
        let hour = mono_ms / HOUR_MS;
        for gone in (self.newest + 1..=hour).take(HOURS) {
            self.bytes[gone as usize % HOURS] = 0;
        }
        self.newest = self.newest.max(hour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inflow_is_what_came_in_a_day_and_forgets_the_day_before() {
        let inflow = Inflow::default();
        inflow.add(0, 1000);
        assert_eq!(inflow.bytes_per_day(60_000), None);
        assert_eq!(inflow.bytes_per_day(12 * HOUR_MS), Some(2000));
        inflow.add(30 * HOUR_MS, 5000);
        assert_eq!(inflow.bytes_per_day(30 * HOUR_MS + HOUR_MS - 1), Some(5000));
    }
}
