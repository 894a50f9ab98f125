//! Figures for the operator: how far, how fast, until when, and why nothing is moving.

use core::fmt;

use crate::cause::Cause;
use crate::custody::Trouble;
use crate::flow::WINDOW_MAX;
use crate::hop::State;
use crate::{HopId, Mode};

const SLOT_MS: u64 = 10_000;
const SLOTS: usize = 60;
const SHORT_SLOTS: u64 = 6;

/// How far release has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Messages still to go, those in flight included.
    pub messages: u64,
    /// Their size.
    pub bytes: u64,
    /// Messages in flight.
    pub in_flight: u32,
    /// Messages delivered a minute, over the last minute.
    pub messages_per_minute: u32,
    /// Messages delivered a minute, over the last ten, or since the start if that is less.
    pub messages_per_minute_long: u32,
    /// Bytes delivered a minute, over the same ten minutes.
    pub bytes_per_minute_long: u64,
    /// In how many seconds it is done if nothing new comes: the least and the most that the rates above say.
    pub done_in_s: Option<(u64, u64)>,
}

/// Why nothing is moving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stillness {
    /// There is no mail.
    Empty,
    /// The operator holds it.
    Held {
        /// Until then, in ms since 1970.
        until_unix_ms: Option<u64>,
    },
    /// The operator stopped it.
    Stopped,
    /// No next hop takes mail. Names the one that is first in line.
    NextHop {
        /// Which.
        hop: HopId,
        /// How it stands.
        state: State,
        /// Why it has to prove itself, if it has.
        cause: Option<Cause>,
        /// In how many ms it is tried again; `None` while it is being tried or waits for a message to try it with.
        next_trial_in_ms: Option<u64>,
    },
    /// The next hop complained about our connections or our rate.
    AskedForLess {
        /// In how many ms release goes on.
        for_ms: u64,
    },
    /// The next hop has what it may have of ours before more is known of where that went.
    Unproven {
        /// Which.
        hop: HopId,
        /// So many messages.
        messages: u64,
    },
    /// As much of the backlog has gone as a hop gets of which nothing is known but what SMTP tells.
    Window {
        /// In how many ms more may go.
        for_ms: u64,
    },
    /// Every message waits for its next attempt.
    Waiting {
        /// In how many ms the first is due.
        for_ms: u64,
    },
    /// Every message is for recipients that are held.
    Parked,
}

impl fmt::Display for Stillness {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => out.write_str("There is no mail to release."),
            Self::Held { until_unix_ms: None } => {
                out.write_str("Release is on hold until the operator ends it.")
            }
            Self::Held { until_unix_ms: Some(_) } => {
                out.write_str("Release is on hold for a time the operator set.")
            }
            Self::Stopped => out.write_str("Release is stopped until the operator starts it."),
            Self::NextHop { state, cause: Some(cause), .. } if state.is_proving() => {
                write!(
                    out,
                    "The next hop answers and gets no mail before it has proved itself, since {}. {}",
                    cause.as_str(),
                    cause.advice()
                )
            }
            Self::NextHop { state, next_trial_in_ms, .. } => {
                out.write_str(match state {
                    State::Untried | State::Healthy => "The next hop is about to be tried",
                    State::Pressure => "The next hop lacks resources",
                    State::Down => "The next hop does not answer",
                    State::Inactive => "The next hop answers that it is not in service",
                    State::Unconfigured => "The next hop does not know that it should take this site's mail",
                    State::Rejecting => "The next hop refuses to speak to this box",
                    State::Unproven | State::Held => "The next hop has to prove itself",
                })?;
                match next_trial_in_ms {
                    Some(ms) => write!(out, "; it is tried again in {} s.", ms.div_ceil(1_000))?,
                    None => out.write_str("; it is being tried.")?,
                }
                match state.trouble().map(Trouble::advice) {
                    Some(advice) => write!(out, " {advice}"),
                    None => Ok(()),
                }
            }
            Self::AskedForLess { for_ms } => {
                write!(
                    out,
                    "The next hop asked for less mail; release goes on in {} s.",
                    for_ms.div_ceil(1_000)
                )
            }
            Self::Unproven { messages: 0, .. } => {
                out.write_str("A canary is on its way: mail goes when it has reached its mailbox.")
            }
            Self::Unproven { messages, .. } => {
                write!(
                    out,
                    "{messages} messages lie in the next hop and are not known to have reached their mailboxes; more \
                     goes when they have."
                )
            }
            Self::Window { for_ms } => {
                write!(
                    out,
                    "The next hop proves nothing beyond its replies, so that {WINDOW_MAX} messages of a backlog go in ten \
                     minutes; more goes in {} s. Set probe mailboxes for it, or release.messages_per_minute_max.",
                    for_ms.div_ceil(1_000)
                )
            }
            Self::Waiting { for_ms } => {
                write!(
                    out,
                    "Every message waits for its next attempt, the first in {} s.",
                    for_ms.div_ceil(1_000)
                )
            }
            Self::Parked => out.write_str("All mail that is left is for recipients that are held."),
        }
    }
}

impl Stillness {
    /// Whether the mode lets nothing move.
    pub(crate) fn of(mode: Mode) -> Option<Self> {
        match mode {
            Mode::Hold { until_unix_ms } => Some(Self::Held { until_unix_ms }),
            Mode::Stop => Some(Self::Stopped),
            Mode::Auto | Mode::Drain => None,
        }
    }
}

/// Counts what was delivered in the last ten minutes.
#[derive(Debug)]
pub(crate) struct Meter {
    /// Messages and bytes of each slot, by its number modulo [`SLOTS`].
    slots: [(u32, u64); SLOTS],
    /// The number of the newest slot.
    newest: u64,
    first: u64,
}

impl Meter {
    pub(crate) fn new(now_ms: u64) -> Self {
        let slot = now_ms / SLOT_MS;
        Self { slots: [(0, 0); SLOTS], newest: slot, first: slot }
    }

    pub(crate) fn delivered(&mut self, bytes: u64, now_ms: u64) {
        self.advance(now_ms);
        let slot = &mut self.slots[(self.newest % SLOTS as u64) as usize];
        *slot = (slot.0.saturating_add(1), slot.1.saturating_add(bytes));
    }

    pub(crate) fn progress(&mut self, messages: u64, bytes: u64, in_flight: u32, now_ms: u64) -> Progress {
        self.advance(now_ms);
        let (short, short_bytes) = self.per_minute(SHORT_SLOTS);
        let (long, long_bytes) = self.per_minute(SLOTS as u64);
        let needed = |left: u64, per_minute: u64| {
            (per_minute > 0).then(|| left.saturating_mul(60).div_ceil(per_minute))
        };
        let estimates = [
            needed(messages, short),
            needed(messages, long),
            needed(bytes, short_bytes),
            needed(bytes, long_bytes),
        ];
        let least = estimates.iter().flatten().min();
        let most = estimates.iter().flatten().max();
        Progress {
            messages,
            bytes,
            in_flight,
            messages_per_minute: u32::try_from(short).unwrap_or(u32::MAX),
            messages_per_minute_long: u32::try_from(long).unwrap_or(u32::MAX),
            bytes_per_minute_long: long_bytes,
            done_in_s: least.copied().zip(most.copied()),
        }
    }

    /// Makes the slot of `now_ms` the newest and empties those that nothing was counted in.
    fn advance(&mut self, now_ms: u64) {
        let slot = now_ms / SLOT_MS;
        for gone in (self.newest + 1..=slot).take(SLOTS) {
            self.slots[(gone % SLOTS as u64) as usize] = (0, 0);
        }
        self.newest = self.newest.max(slot);
    }

    /// Messages and bytes a minute over the newest `count` slots.
    fn per_minute(&self, count: u64) -> (u64, u64) {
        let count = count.min(self.newest - self.first + 1);
        let sum = (0..count).fold((0u64, 0u64), |sum, back| {
            let slot = self.slots[((self.newest - back) % SLOTS as u64) as usize];
            (sum.0 + u64::from(slot.0), sum.1.saturating_add(slot.1))
        });
        let minute = |amount: u64| amount.saturating_mul(60_000) / (count * SLOT_MS);
        (minute(sum.0), minute(sum.1))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn an_even_stream_gives_its_rate_and_a_narrow_estimate() {
        let mut meter = Meter::new(0);
        for n in 0..600u64 {
            meter.delivered(1_000, n * 1_000);
        }
        let progress = meter.progress(1_200, 1_200_000, 0, 599_000);
        assert_eq!((progress.messages_per_minute, progress.messages_per_minute_long), (60, 60));
        assert_eq!(progress.done_in_s, Some((1_200, 1_200)));
    }

    #[test]
    fn a_stream_that_slows_down_widens_the_estimate_and_a_dead_one_has_none() {
        let mut meter = Meter::new(0);
        (0..540u64).for_each(|n| meter.delivered(1_000, n * 1_000));
        (540..600u64).step_by(10).for_each(|n| meter.delivered(1_000, n * 1_000));
        let (least, most) = meter.progress(600, 600_000, 0, 599_000).done_in_s.unwrap();
        assert_eq!((least, most), (660, 6_000));
        assert_eq!(meter.progress(600, 600_000, 0, 3_600_000).done_in_s, None);
    }

    #[test]
    fn the_sentence_says_what_the_operator_can_do() {
        let still = Stillness::NextHop {
            hop: HopId(0),
            state: State::Inactive,
            cause: None,
            next_trial_in_ms: Some(4_200),
        };
        assert!(still.to_string().starts_with("The next hop answers that it is not in service; it is tried again in 5 s. Look at Get-ServerComponentState"));
    }
}
