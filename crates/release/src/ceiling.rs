//! How many messages may begin in a minute, evenly spread.
//!
//! The generic cell rate algorithm (ITU-T I.371 annex A): one number, the moment at which the next message conforms.
//! Nothing is saved up while nothing is sent, so that what follows an outage is no burst.

/// A caller that is woken late may catch up this much: 10 ms, so that timers of a millisecond do not halve a high rate.
const CATCH_UP_US: u64 = 10_000;

/// The ceiling of messages in a minute.
#[derive(Debug)]
pub(crate) struct Ceiling {
    interval_us: u64,
    next_us: u64,
}

impl Ceiling {
    /// `per_minute` is above 0.
    pub(crate) fn new(per_minute: u32) -> Self {
        Self { interval_us: 60_000_000u64.div_ceil(u64::from(per_minute.max(1))), next_us: 0 }
    }

    /// From when on a message may begin, in monotonic milliseconds.
    pub(crate) fn ready_at_ms(&self) -> u64 {
        self.next_us.saturating_sub(self.slack_us()).div_ceil(1_000)
    }

    /// From when on one may begin that has so many before it.
    pub(crate) fn ready_after_ms(&self, messages: u64) -> u64 {
        self.ready_at_ms().saturating_add(messages.saturating_mul(self.interval_us) / 1_000)
    }

    /// Takes down that one begins.
    pub(crate) fn begin(&mut self, now_ms: u64) {
        self.next_us = self.next_us.max(now_ms * 1_000) + self.interval_us;
    }

    /// Only where messages follow each other more closely than the slack is there anything to catch up.
    fn slack_us(&self) -> u64 {
        if self.interval_us < CATCH_UP_US { CATCH_UP_US } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However the caller's timer jumps, no window holds more than its share, one message, and the slack.
        #[test]
        fn no_window_holds_more_than_its_share(
            per_minute in 1u32..20_000,
            steps in prop::collection::vec(0u64..3_000, 1..200),
            window_ms in 1u64..120_000,
        ) {
            let mut ceiling = Ceiling::new(per_minute);
            let (mut now_ms, mut begun) = (0, Vec::new());
            for step in steps {
                now_ms += step;
                while ceiling.ready_at_ms() <= now_ms {
                    ceiling.begin(now_ms);
                    begun.push(now_ms);
                }
            }
            let slack_ms = if per_minute > 6_000 { CATCH_UP_US / 1_000 } else { 0 };
            let share = u64::from(per_minute) * (window_ms - 1 + slack_ms) / 60_000 + 1;
            for (n, from) in begun.iter().enumerate() {
                let within = begun[n..].iter().take_while(|at| **at < from + window_ms).count() as u64;
                prop_assert!(within <= share, "{within} messages in {window_ms} ms, {share} allowed");
            }
        }
    }
}
