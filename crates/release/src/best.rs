//! The shortest time of the last minutes.

/// For how long the best counts, at least; twice as long at most.
const EPOCH_MS: u64 = 300_000;

/// The best of two epochs: what it was long ago is forgotten, so that what has become slower for good is measured by what
/// it does now. What was measured before a long silence is still the best that there is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Best {
    epoch: u64,
    before_ms: Option<u64>,
    now_ms: Option<u64>,
}

impl Best {
    /// The best so far.
    pub(crate) fn get(self) -> Option<u64> {
        [self.before_ms, self.now_ms].into_iter().flatten().min()
    }

    /// Takes in another one. Tells the best before it.
    pub(crate) fn took(&mut self, took_ms: u64, now_ms: u64) -> Option<u64> {
        let epoch = now_ms / EPOCH_MS;
        if epoch != self.epoch {
            let before_ms = if epoch == self.epoch + 1 { self.now_ms.or(self.before_ms) } else { self.get() };
            *self = Self { epoch, before_ms, now_ms: None };
        }
        let best_ms = self.get();
        self.now_ms = Some(self.now_ms.map_or(took_ms, |ms| ms.min(took_ms)));
        best_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_the_last_minutes_counts_and_a_silence_forgets_nothing() {
        let mut best = Best::default();
        assert_eq!(best.took(20, 0), None);
        assert_eq!(best.took(90, EPOCH_MS), Some(20));
        assert_eq!(best.took(90, 2 * EPOCH_MS), Some(90));
        assert_eq!(best.took(95, 9 * EPOCH_MS), Some(90));
    }
}
