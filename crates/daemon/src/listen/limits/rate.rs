//! How often something happens.

const MINUTE_MS: u64 = 60_000;

/// How often something happened within the last minute, told from two counts: that of the minute that runs, and, for the
/// part of it that is still within reach, that of the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rate {
    minute: u64,
    now: u32,
    before: u32,
}

impl Rate {
    /// Counts so many more.
    pub(super) fn add(&mut self, more: u32, now_ms: u64) {
        self.advance(now_ms);
        self.now = self.now.saturating_add(more);
    }

    /// How many there were in the last minute.
    pub(super) fn per_minute(mut self, now_ms: u64) -> u32 {
        self.advance(now_ms);
        let left_ms = MINUTE_MS - now_ms % MINUTE_MS;
        let before = u64::from(self.before) * left_ms / MINUTE_MS;
        self.now.saturating_add(u32::try_from(before).unwrap_or(u32::MAX))
    }

    fn advance(&mut self, now_ms: u64) {
        let minute = now_ms / MINUTE_MS;
        match minute.saturating_sub(self.minute) {
            0 => return,
            1 => self.before = self.now,
            _ => self.before = 0,
        }
        (self.minute, self.now) = (minute, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_is_forgotten_within_two_minutes_and_not_at_once() {
        let mut rate = Rate::default();
        rate.add(60, 30_000);
        let after = |s: u64| rate.per_minute(s * 1000);
        assert_eq!([after(30), after(59), after(60), after(90), after(119)], [60, 60, 60, 30, 1]);
        assert_eq!([after(120), after(100_000)], [0, 0]);
    }

    #[test]
    fn it_never_overflows() {
        let mut rate = Rate::default();
        rate.add(u32::MAX, 0);
        rate.add(u32::MAX, 1);
        rate.add(u32::MAX, MINUTE_MS);
        assert_eq!(rate.per_minute(MINUTE_MS), u32::MAX);
    }
}
