//! When the clock is believed: the rules, without a clock and without a network.
//!
//! A clock that is wrong must not make mail expire or a hold end, so it is *trusted* only when something says so that can
//! know it, and nothing that is known contradicts it:
//!
//! 1. More than half of the time servers in the settings answer, and there is a moment on which more than half of them
//!    agree, each within its own error. The clock is set to that, and trusted.
//! 2. No server has ever agreed since the start, the settings say that the chip is to be trusted
//!    (`system.clock_chip = "trusted"`), and the chip shows a time that is not before the last one known to be right and
//!    not a year beyond it; on a box that has never known the time, one in the ten years from 2026 on.
//! 3. The *last time known to be right* is in flash, an hour old at most when the power went. What lies before it
//!    contradicts it. So does a time that is a quarter of an hour away from the one on which servers agreed earlier. A
//!    contradiction takes the trust away and moves nothing. If the servers say the same for a day, they are right, and
//!    what was known was wrong.
//! 4. Servers that fall silent take nothing away: the clock goes on as it went, a few seconds wrong in a month.

use std::time::{Duration, Instant};

use super::sntp::Sample;

/// 2026-01-01 00:00:00 UTC in Unix milliseconds: no box with this software existed before.
const FIRST_MS: u64 = 1_767_225_600_000;
/// How far beyond the last known time a chip may be, in milliseconds: a box that was in a drawer for a year.
const CHIP_AHEAD_MAX_MS: u64 = 366 * 86_400_000;
/// The same on a box that has never known the time.
const CHIP_AHEAD_FIRST_MAX_MS: u64 = 10 * CHIP_AHEAD_MAX_MS;
/// How far servers may be from what is known, in nanoseconds, before they contradict it.
const APART_MAX_NS: i128 = 900 * 1_000_000_000;
/// For how long they must insist.
const INSIST: Duration = Duration::from_secs(86_400);
/// How much what they say may vary meanwhile, in nanoseconds.
const INSIST_APART_MAX_NS: i128 = 60 * 1_000_000_000;
/// Up to this a clock that is trusted is made to run faster or slower; beyond it, it is set.
const SLEW_MAX_NS: i128 = 400_000_000;

/// What is to be done with the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Set it by so much, in nanoseconds. It is trusted afterwards.
    Step(i128),
    /// Let it run faster or slower until it has made up for so much, in nanoseconds.
    Slew(i128),
    /// Leave it alone, and trust it no more: what servers say contradicts what is known.
    Doubt(Contradiction),
}

/// What the servers contradict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contradiction {
    /// Their time lies before the last that was known to be right.
    Past,
    /// It is far from that on which they agreed earlier.
    Jump,
}

/// What has been believed so far.
#[derive(Debug)]
pub(super) struct Belief {
    last_trusted_ms: Option<u64>,
    by_servers: bool,
    doubt: Option<(Instant, i128)>,
}

impl Belief {
    pub(super) fn new(last_trusted_ms: Option<u64>) -> Self {
        Self { last_trusted_ms, by_servers: false, doubt: None }
    }

    /// Rule 2: what speaks against the chip, if anything.
    pub(super) fn chip(&self, chip_ms: u64) -> Result<(), &'static str> {
        let (from_ms, ahead_max_ms) = match self.last_trusted_ms {
            Some(last_ms) => (last_ms, CHIP_AHEAD_MAX_MS),
            None => (FIRST_MS, CHIP_AHEAD_FIRST_MAX_MS),
        };
        if chip_ms < from_ms {
            Err("the chip shows a time that is over")
        } else if chip_ms - from_ms > ahead_max_ms {
            Err("the chip shows a time that is too far ahead")
        } else {
            Ok(())
        }
    }

    /// What the clock must at least show, in Unix milliseconds.
    pub(super) fn floor_ms(&self) -> Option<u64> {
        self.last_trusted_ms
    }

    /// Rules 1 and 3: the servers agree that the clock, which shows `now_ms`, is behind by `offset_ns`.
    pub(super) fn agreed(&mut self, offset_ns: i128, now_ms: u64, now: Instant) -> Act {
        let theirs_ms = i128::from(now_ms) + offset_ns / 1_000_000;
        let floor_ms = i128::from(self.last_trusted_ms.unwrap_or(FIRST_MS)) - APART_MAX_NS / 1_000_000;
        let contradiction = if theirs_ms < floor_ms {
            Some(Contradiction::Past)
        } else if self.by_servers && offset_ns.abs() > APART_MAX_NS {
            Some(Contradiction::Jump)
        } else {
            None
        };
        if let Some(contradiction) = contradiction {
            match self.doubt {
                Some((since, doubted_ns)) if (offset_ns - doubted_ns).abs() <= INSIST_APART_MAX_NS => {
                    if now.duration_since(since) < INSIST {
                        return Act::Doubt(contradiction);
                    }
                    // What was known was wrong, and is not the measure any more.
                    self.last_trusted_ms = None;
                }
                _ => {
                    self.doubt = Some((now, offset_ns));
                    return Act::Doubt(contradiction);
                }
            }
        }
        self.doubt = None;
        let was_by_servers = std::mem::replace(&mut self.by_servers, true);
        if was_by_servers && offset_ns.abs() <= SLEW_MAX_NS {
            Act::Slew(offset_ns)
        } else {
            Act::Step(offset_ns)
        }
    }
}

/// The offset on which more than half of `asked` servers agree: the middle of what lies within the error of the most of
/// them (Marzullo's algorithm).
pub(super) fn agreement(samples: &[Sample], asked: usize) -> Option<i128> {
    // Where an error begins it is one more, where it ends one less; beginnings first, so that touching is agreeing.
    let mut edges: Vec<(i128, i8)> = samples
        .iter()
        .flat_map(|it| [(it.offset_ns - it.distance_ns, -1), (it.offset_ns + it.distance_ns, 1)])
        .collect();
    edges.sort_unstable();
    let (mut within, mut best, mut found) = (0_usize, 0_usize, None);
    for (n, (at, kind)) in edges.iter().enumerate() {
        if *kind > 0 {
            within -= 1;
            continue;
        }
        within += 1;
        if within > best {
            best = within;
            let until = edges.get(n + 1).map_or(*at, |(until, _)| *until);
            found = Some(at + (until - at) / 2);
        }
    }
    found.filter(|_| best * 2 > asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i128 = 1_000_000_000;
    const DAY_MS: u64 = 86_400_000;
    /// 2026-11-22.
    const NOW_MS: u64 = 1_795_317_580_000;

    fn sample(offset_s: i128, distance_s: i128) -> Sample {
        Sample { offset_ns: offset_s * S, distance_ns: distance_s * S }
    }

    #[test]
    fn more_than_half_of_the_servers_must_agree() {
        let right = [sample(10, 2), sample(11, 2), sample(500, 1)];
        assert_eq!(agreement(&right, 3), Some(21 * S / 2), "two of three, and one that lies");
        assert_eq!(agreement(&right, 4), None, "two of four, of which one is silent");
        assert_eq!(agreement(&right[..2], 2), Some(21 * S / 2));
        assert_eq!(agreement(&right[1..], 2), None, "one against one");
        assert_eq!(agreement(&right[..1], 1), Some(10 * S));
        assert_eq!(agreement(&[], 1), None);
        assert_eq!(agreement(&[sample(0, 1), sample(2, 1)], 2), Some(S), "touching is agreeing");
    }

    #[test]
    fn a_chip_is_believed_neither_before_the_last_known_time_nor_years_beyond() {
        let never = Belief::new(None);
        assert!(never.chip(NOW_MS).is_ok());
        assert!(never.chip(0).is_err() && never.chip(FIRST_MS - 1).is_err());
        assert!(never.chip(NOW_MS + 20 * 365 * DAY_MS).is_err());
        let known = Belief::new(Some(NOW_MS));
        assert!(known.chip(NOW_MS).is_ok() && known.chip(NOW_MS + 300 * DAY_MS).is_ok());
        assert!(known.chip(NOW_MS - 1).is_err());
        assert!(known.chip(NOW_MS + 400 * DAY_MS).is_err());
    }

    #[test]
    fn servers_set_a_clock_that_was_wrong_by_years_and_then_keep_it_right() {
        let start = Instant::now();
        let mut belief = Belief::new(Some(NOW_MS));
        let years = 30 * 365 * 86_400 * S;
        let far_ahead_ms = NOW_MS + 30 * 365 * DAY_MS;
        assert_eq!(belief.agreed(-years + 60 * S, far_ahead_ms, start), Act::Step(-years + 60 * S));
        assert_eq!(belief.agreed(S / 10, NOW_MS, start), Act::Slew(S / 10));
        assert_eq!(belief.agreed(2 * S, NOW_MS, start), Act::Step(2 * S));
    }

    #[test]
    fn a_time_before_the_last_known_one_is_doubted_for_a_day() {
        let start = Instant::now();
        let mut belief = Belief::new(Some(NOW_MS));
        let offset = -30 * 86_400 * S;
        let doubt = Act::Doubt(Contradiction::Past);
        assert_eq!(belief.agreed(offset, NOW_MS, start), doubt);
        assert_eq!(belief.agreed(offset, NOW_MS, start + INSIST / 2), doubt);
        assert_eq!(belief.agreed(offset - 100 * S, NOW_MS, start + INSIST), doubt, "not the same for a day");
        assert_eq!(belief.agreed(offset - 99 * S, NOW_MS, start + INSIST * 2), Act::Step(offset - 99 * S));
        assert_eq!(
            belief.agreed(0, NOW_MS - 30 * DAY_MS, start + INSIST * 2),
            Act::Slew(0),
            "and from then on it is known"
        );
    }

    #[test]
    fn servers_that_jump_are_doubted_and_believed_again_when_they_return() {
        let start = Instant::now();
        let mut belief = Belief::new(None);
        assert_eq!(belief.agreed(0, NOW_MS, start), Act::Step(0));
        let jump = 3600 * S;
        assert_eq!(belief.agreed(jump, NOW_MS, start), Act::Doubt(Contradiction::Jump));
        assert_eq!(belief.agreed(0, NOW_MS, start), Act::Slew(0));
        assert_eq!(
            belief.agreed(jump, NOW_MS, start + INSIST),
            Act::Doubt(Contradiction::Jump),
            "it begins anew"
        );
    }

    #[test]
    fn servers_that_were_never_set_are_doubted() {
        let mut belief = Belief::new(None);
        let offset = -50 * 365 * 86_400 * S;
        assert_eq!(belief.agreed(offset, NOW_MS, Instant::now()), Act::Doubt(Contradiction::Past));
    }
}
