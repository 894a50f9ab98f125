//! How many things happened in the last ten minutes.

const SLOT_MS: u64 = 10_000;
const SLOTS: usize = 60;

/// The span that is counted over.
pub(crate) const SPAN_MS: u64 = SLOT_MS * SLOTS as u64;

/// A sum over a sliding span, in steps of its slots.
#[derive(Debug)]
pub(crate) struct Recent {
    /// By the slot's number modulo [`SLOTS`].
    slots: [u32; SLOTS],
    newest: u64,
    sum: u32,
}

impl Recent {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self { slots: [0; SLOTS], newest: now_ms / SLOT_MS, sum: 0 }
    }

    /// One more.
    pub(crate) fn add(&mut self, now_ms: u64) {
        self.advance(now_ms);
        self.slots[slot(self.newest)] += 1;
        self.sum += 1;
    }

    /// From when on there have been fewer than `max` within the span, if no more come.
    pub(crate) fn below_from_ms(&mut self, max: u32, now_ms: u64) -> u64 {
        self.advance(now_ms);
        let mut sum = self.sum;
        for back in (0..SLOTS as u64).rev() {
            if sum < max {
                let leaves = (self.newest + SLOTS as u64 - 1).saturating_sub(back) * SLOT_MS;
                return leaves.max(now_ms);
            }
            sum -= self.newest.checked_sub(back).map_or(0, |number| self.slots[slot(number)]);
        }
        now_ms + SPAN_MS
    }

    /// Makes the slot of `now_ms` the newest and empties those that nothing was counted in.
    fn advance(&mut self, now_ms: u64) {
        let newest = now_ms / SLOT_MS;
        for gone in (self.newest + 1..=newest).take(SLOTS) {
            self.sum -= core::mem::take(&mut self.slots[slot(gone)]);
        }
        self.newest = self.newest.max(newest);
    }
}

fn slot(number: u64) -> usize {
    (number % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_full_has_room_again_when_the_first_are_ten_minutes_old() {
        let mut recent = Recent::new(0);
        for n in 0..30u64 {
            assert_eq!(recent.below_from_ms(30, n * 1_000), n * 1_000);
            recent.add(n * 1_000);
        }
        // Those of the first ten seconds leave together, when the youngest of them is ten minutes old.
        assert_eq!(recent.below_from_ms(30, 40_000), SPAN_MS);
        assert_eq!(recent.below_from_ms(30, SPAN_MS), SPAN_MS);
        assert_eq!(recent.below_from_ms(15, SPAN_MS), SPAN_MS + SLOT_MS);
        assert_eq!(recent.below_from_ms(1, 3 * SPAN_MS), 3 * SPAN_MS);
    }
}
