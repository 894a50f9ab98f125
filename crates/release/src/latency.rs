//! How long a server takes to answer, against how long it took at its best: by phase of the dialogue, and by size of the
//! message where the answer depends on it.
//!
//! Exchange says that its queue is too long by answering late, by 10 s and more. Where that shows differs by its face: at
//! MAIL on one that answers by itself, at DATA or at the end of data on one that stands before the transport service.

use crate::reply::Phase;

/// So much later than at its best is no coincidence. Above the tarpit of 5 s that follows errors, below the shortest delay
/// of 10 s.
const LATE_MS: u64 = 8_000;

/// For how long the best time counts, at least; twice as long at most.
const EPOCH_MS: u64 = 300_000;

/// Sizes: below 16 KiB, and then by factors of four.
const SIZE_CLASSES: usize = 8;

/// The best time of one kind of answer.
#[derive(Clone, Copy, Debug, Default)]
struct Best {
    /// Of the epoch before, and of this one; 0: none yet.
    before_ms: u64,
    now_ms: u64,
}

impl Best {
    fn get(self) -> Option<u64> {
        [self.before_ms, self.now_ms].into_iter().filter(|ms| *ms > 0).min()
    }
}

/// What a server's answers have taken.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    epoch: u64,
    mail: Best,
    data: Best,
    end_of_data: [Best; SIZE_CLASSES],
}

impl Latency {
    /// Takes in that a command was answered after `took_ms`. Tells whether that was late.
    pub(crate) fn answered(&mut self, phase: Phase, size_bytes: u64, took_ms: u64, now_ms: u64) -> bool {
        self.advance(now_ms / EPOCH_MS);
        let best = match phase {
            Phase::Mail => &mut self.mail,
            Phase::Data => &mut self.data,
            Phase::EndOfData => &mut self.end_of_data[size_class(size_bytes)],
            Phase::Connect | Phase::Banner | Phase::Ehlo | Phase::Rcpt => return false,
        };
        let took_ms = took_ms.max(1);
        // Without a best time the delay itself is all that there is to go by: no healthy server needs so long for a
        // command, and for a message only a small one says so.
        let best_ms = best.get().unwrap_or(match phase {
            Phase::EndOfData if size_class(size_bytes) > 0 => took_ms,
            _ => 1,
        });
        best.now_ms = if best.now_ms == 0 { took_ms } else { best.now_ms.min(took_ms) };
        took_ms.saturating_sub(best_ms) >= LATE_MS
    }

    fn advance(&mut self, epoch: u64) {
        if epoch == self.epoch {
            return;
        }
        let next = epoch == self.epoch + 1;
        self.epoch = epoch;
        for best in [&mut self.mail, &mut self.data].into_iter().chain(&mut self.end_of_data) {
            // What was measured before a long silence is still the best that there is.
            let last = if next && best.now_ms > 0 { best.now_ms } else { best.get().unwrap_or(0) };
            *best = Best { before_ms: last, now_ms: 0 };
        }
    }
}

fn size_class(size_bytes: u64) -> usize {
    let mut class = 0;
    while class + 1 < SIZE_CLASSES && size_bytes >> (14 + 2 * class) > 0 {
        class += 1;
    }
    class
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_seconds_late_is_late_wherever_it_shows_and_a_tarpit_is_not() {
        for phase in [Phase::Mail, Phase::Data, Phase::EndOfData] {
            let mut latency = Latency::default();
            assert!(!latency.answered(phase, 4_096, 30, 0));
            assert!(!latency.answered(phase, 4_096, 5_500, 1_000), "{phase:?}");
            assert!(latency.answered(phase, 4_096, 10_030, 2_000), "{phase:?}");
        }
        assert!(
            Latency::default().answered(Phase::Data, 0, 10_000, 0),
            "the very first answer may be late, too"
        );
    }

    #[test]
    fn a_large_message_may_take_long_if_its_like_have() {
        let mut latency = Latency::default();
        let large = 50 << 20;
        assert!(!latency.answered(Phase::EndOfData, large, 40_000, 0));
        assert!(!latency.answered(Phase::EndOfData, 4_096, 30, 0));
        assert!(!latency.answered(Phase::EndOfData, large, 45_000, 1_000));
        assert!(latency.answered(Phase::EndOfData, large, 60_000, 2_000));
    }

    #[test]
    fn a_server_that_has_become_slow_for_good_is_measured_by_what_it_does_now() {
        let mut latency = Latency::default();
        assert!(!latency.answered(Phase::Data, 0, 20, 0));
        assert!(latency.answered(Phase::Data, 0, 12_000, EPOCH_MS));
        assert!(!latency.answered(Phase::Data, 0, 12_000, 2 * EPOCH_MS));
    }
}
