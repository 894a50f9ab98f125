//! What canaries that arrived tell of the mail before them.

use crate::best::Best;

/// A delay so short may be chance: it does not show that the server had work all the time.
const BUSY_MS: u64 = 500;

/// For how long after an arrival the server is taken to go on as before.
const GOES_ON_MS: u64 = 3_000;

/// For how long nothing may arrive before somebody wonders.
const SILENT_MS: u64 = 10_000;

/// What has arrived.
#[derive(Debug, Default)]
pub(crate) struct Proofs {
    /// So many messages are out of the server.
    proven: u64,
    arrived_ms: u64,
    /// Messages that the server does in 1,000 s, as far as it was seen at work.
    rate: Option<u64>,
    /// The shortest that a canary took.
    best: Best,
}

impl Proofs {
    /// A canary has arrived that was begun at that moment, after so many messages had been taken. Tells how much longer than
    /// at its best it took.
    pub(crate) fn arrived(&mut self, begun_ms: u64, after: u64, now_ms: u64) -> u64 {
        let sojourn_ms = now_ms.saturating_sub(begun_ms);
        let delay_ms =
            self.best.took(sojourn_ms, now_ms).map_or(0, |best_ms| sojourn_ms.saturating_sub(best_ms));
        if after > self.proven {
            let span_ms = now_ms.saturating_sub(self.arrived_ms);
            if delay_ms >= BUSY_MS && span_ms > 0 && self.arrived_ms > 0 {
                let seen = (after - self.proven) * 1_000_000 / span_ms;
                self.rate = Some(self.rate.map_or(seen, |rate| (2 * rate + seen) / 3));
            }
            self.proven = after;
        }
        self.arrived_ms = now_ms;
        delay_ms
    }

    /// The shortest that a canary took.
    pub(crate) fn best_ms(&self) -> u64 {
        self.best.get().unwrap_or(0)
    }

    /// How many of those taken are still inside, if the server goes on as it did.
    pub(crate) fn unproven(&self, taken: u64, now_ms: u64) -> u64 {
        let since_ms = now_ms.saturating_sub(self.arrived_ms).min(GOES_ON_MS);
        let done = self.rate.unwrap_or(0) * since_ms / 1_000_000;
        taken.saturating_sub(self.proven + done)
    }

    /// How many of those taken are not proven to be out of it.
    pub(crate) fn without_proof(&self, taken: u64) -> u64 {
        taken - self.proven
    }

    /// Whether nothing has arrived for longer than that.
    pub(crate) fn is_silent(&self, now_ms: u64) -> bool {
        self.arrived_ms + SILENT_MS < now_ms
    }

    /// How long the server needs for so many.
    pub(crate) fn done_in_ms(&self, messages: u64, now_ms: u64) -> Option<u64> {
        let goes_on = now_ms < self.arrived_ms + GOES_ON_MS;
        self.rate.filter(|rate| goes_on && *rate > 0).map(|rate| (messages * 1_000_000).div_ceil(rate))
    }

    /// The server has started anew: what lies inside is no longer waited for.
    pub(crate) fn restart(&mut self, taken: u64, now_ms: u64) {
        *self = Self { proven: taken, arrived_ms: now_ms, rate: None, best: self.best };
    }
}
