//! How long a server takes to answer, against how long it took at its best: by phase of the dialogue, and by size of the
//! message where the answer depends on it.
//!
//! Exchange says that its queue is too long by answering late, by 10 s and more. Where that shows differs by its face: at
//! MAIL on one that answers by itself, at DATA or at the end of data on one that stands before the transport service.

use crate::best::Best;
use crate::reply::Phase;

/// So much later than at its best is no coincidence. Above the tarpit of 5 s that follows errors, below the shortest delay
/// of 10 s.
const LATE_MS: u64 = 8_000;

/// Sizes: below 16 KiB, and then by factors of four.
const SIZE_CLASSES: usize = 8;

/// What a server's answers have taken.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    mail: Best,
    data: Best,
    end_of_data: [Best; SIZE_CLASSES],
}

impl Latency {
    /// Takes in that a command was answered after `took_ms`. Tells whether that was late.
    pub(crate) fn answered(&mut self, phase: Phase, size_bytes: u64, took_ms: u64, now_ms: u64) -> bool {
        let best = match phase {
            Phase::Mail => &mut self.mail,
            Phase::Data => &mut self.data,
            Phase::EndOfData => &mut self.end_of_data[size_class(size_bytes)],
            Phase::Connect | Phase::Banner | Phase::Ehlo | Phase::Rcpt | Phase::FinalDot => return false,
        };
        // Without a best time the delay itself is all that there is to go by: no healthy server needs so long for a
        // command, and for a message only a small one says so.
        let unknown_ms = match phase {
            Phase::EndOfData if size_class(size_bytes) > 0 => took_ms,
            _ => 0,
        };
        let best_ms = best.took(took_ms, now_ms).unwrap_or(unknown_ms);
        took_ms.saturating_sub(best_ms) >= LATE_MS
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
}
