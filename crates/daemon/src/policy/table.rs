//! The table: what is said to a recipient, and why. No clock, no lock, no list: what is known of all those comes in.

use std::time::Duration;

use penstock_spool::Stamp;
use serde::{Deserialize, Serialize};

/// What is said to a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 250.
    Take,
    /// 450: the sender keeps it and comes back.
    Later,
    /// 550.
    Refuse,
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The domain is none that mail is taken for.
    NotOurs,
    /// Postmaster is taken whatever happens (RFC 5321 §4.5.1).
    Postmaster,
    /// The operator named it as a probe mailbox.
    ProbeMailbox,
    /// A next hop is there, and its own answer counts.
    NextHopDecides,
    /// Nobody has spoken to a next hop yet, and no outage is on record.
    NotKnownYet,
    /// It is on the list.
    Listed,
    /// A next hop that looks at recipients took it, or a report said that it got mail.
    KnownGood,
    /// There was no list when the outage began.
    NoList,
    /// It is not on a list that was in step.
    UnknownToday,
    /// It is not on a list that was not in step any more.
    UnknownOnce,
}

impl Reason {
    pub(crate) const ALL: [Self; 10] = [
        Self::NotOurs,
        Self::Postmaster,
        Self::ProbeMailbox,
        Self::NextHopDecides,
        Self::NotKnownYet,
        Self::Listed,
        Self::KnownGood,
        Self::NoList,
        Self::UnknownToday,
        Self::UnknownOnce,
    ];

    /// What follows from it.
    pub(crate) const fn answer(self) -> Answer {
        match self {
            Self::NotOurs | Self::UnknownToday => Answer::Refuse,
            Self::UnknownOnce => Answer::Later,
            Self::Postmaster
            | Self::ProbeMailbox
            | Self::NextHopDecides
            | Self::NotKnownYet
            | Self::Listed
            | Self::KnownGood
            | Self::NoList => Answer::Take,
        }
    }

    /// One word for logs and figures.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NotOurs => "not_ours",
            Self::Postmaster => "postmaster",
            Self::ProbeMailbox => "probe_mailbox",
            Self::NextHopDecides => "next_hop_decides",
            Self::NotKnownYet => "not_known_yet",
            Self::Listed => "listed",
            Self::KnownGood => "known_good",
            Self::NoList => "no_list",
            Self::UnknownToday => "unknown",
            Self::UnknownOnce => "unknown_by_old_list",
        }
    }
}

/// What an outage found when it began: by that is judged as long as it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Basis {
    /// No list.
    NoList,
    /// A list that was in step.
    InStep,
    /// A list that was not, or of which nobody can say.
    Older,
}

/// Whether the next hops can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hops {
    /// One is there.
    There,
    /// It is not known yet.
    NotKnownYet,
    /// None is, which began with this.
    Away(Basis),
}

/// What is known of a recipient in one of our domains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) postmaster: bool,
    pub(crate) probe_mailbox: bool,
    pub(crate) listed: bool,
    pub(crate) good: bool,
}

/// The table. `known` is asked only where it matters.
pub(crate) fn decide(hops: Hops, known: impl FnOnce() -> Known) -> Reason {
    let basis = match hops {
        Hops::There => return Reason::NextHopDecides,
        Hops::NotKnownYet => return Reason::NotKnownYet,
        Hops::Away(basis) => basis,
    };
    match known() {
        Known { postmaster: true, .. } => Reason::Postmaster,
        Known { probe_mailbox: true, .. } => Reason::ProbeMailbox,
        Known { listed: true, .. } => Reason::Listed,
        Known { good: true, .. } => Reason::KnownGood,
        _ => match basis {
            Basis::NoList => Reason::NoList,
            Basis::InStep => Reason::UnknownToday,
            Basis::Older => Reason::UnknownOnce,
        },
    }
}

/// A moment: by the wall clock, and by the clock of this run if it was in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) stamp: Stamp,
    pub(crate) mono_ms: Option<u64>,
}

impl Moment {
    /// How long after another moment this one was; `None` if nobody can say. What was not before it was at the same time.
    pub(crate) fn since(&self, earlier: &Self) -> Option<Duration> {
        let ms = match (self.mono_ms, earlier.mono_ms) {
            (Some(this), Some(earlier)) => this.saturating_sub(earlier),
            _ if self.stamp.trusted && earlier.stamp.trusted => {
                self.stamp.unix_ms.saturating_sub(earlier.stamp.unix_ms)
            }
            _ => return None,
        };
        Some(Duration::from_millis(ms))
    }
}

/// What an outage that begins finds: a list that was last in step at that moment, or none.
pub(crate) fn basis(in_step: Option<&Moment>, began: &Moment, fresh_for: Duration) -> Basis {
    match in_step {
        None => Basis::NoList,
        // Who cannot say how old it is must not refuse anybody for good.
        Some(in_step) if began.since(in_step).is_some_and(|age| age <= fresh_for) => Basis::InStep,
        Some(_) => Basis::Older,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Known = Known { postmaster: false, probe_mailbox: false, listed: false, good: false };

    #[test]
    fn unknown_recipients_are_answered_by_the_table() {
        for (hops, reason, answer) in [
            (Hops::There, Reason::NextHopDecides, Answer::Take),
            (Hops::NotKnownYet, Reason::NotKnownYet, Answer::Take),
            (Hops::Away(Basis::NoList), Reason::NoList, Answer::Take),
            (Hops::Away(Basis::InStep), Reason::UnknownToday, Answer::Refuse),
            (Hops::Away(Basis::Older), Reason::UnknownOnce, Answer::Later),
        ] {
            let decided = decide(hops, || NOBODY);
            assert_eq!((decided, decided.answer()), (reason, answer), "{hops:?}");
        }
    }

    #[test]
    fn whoever_is_known_is_taken_whatever_the_next_hop_does() {
        for (known, reason) in [
            (Known { postmaster: true, ..NOBODY }, Reason::Postmaster),
            (Known { probe_mailbox: true, ..NOBODY }, Reason::ProbeMailbox),
            (Known { listed: true, good: true, ..NOBODY }, Reason::Listed),
            (Known { good: true, ..NOBODY }, Reason::KnownGood),
        ] {
            for basis in [Basis::NoList, Basis::InStep, Basis::Older] {
                let decided = decide(Hops::Away(basis), || known);
                assert_eq!((decided, decided.answer()), (reason, Answer::Take));
            }
        }
    }

    #[test]
    fn nobody_is_looked_up_while_a_next_hop_decides() {
        for hops in [Hops::There, Hops::NotKnownYet] {
            decide(hops, || panic!("looked up"));
        }
    }

    #[test]
    fn nothing_but_a_list_in_step_and_a_foreign_domain_refuses_for_good() {
        let refusing = Reason::ALL.into_iter().filter(|reason| reason.answer() == Answer::Refuse);
        assert_eq!(refusing.collect::<Vec<_>>(), [Reason::NotOurs, Reason::UnknownToday]);
        for (n, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, n, "its place among the figures");
        }
    }

    const DAY_MS: u64 = 86_400_000;

    fn at(unix_ms: u64, trusted: bool, mono_ms: Option<u64>) -> Moment {
        Moment { stamp: Stamp { unix_ms, boot: 1, trusted }, mono_ms }
    }

    #[test]
    fn a_list_is_in_step_for_a_day_by_any_clock_that_can_be_believed() {
        let day = Duration::from_millis(DAY_MS);
        let began = at(10 * DAY_MS, true, Some(2 * DAY_MS));
        let of = |in_step: Moment| basis(Some(&in_step), &began, day);
        assert_eq!(basis(None, &began, day), Basis::NoList);
        // From before the start of the box, by the calendar.
        assert_eq!(of(at(9 * DAY_MS, true, None)), Basis::InStep);
        assert_eq!(of(at(9 * DAY_MS - 1, true, None)), Basis::Older);
        assert_eq!(of(at(9 * DAY_MS, false, None)), Basis::Older, "the clock was wrong then");
        // In this run, whatever the calendar says.
        assert_eq!(of(at(0, false, Some(DAY_MS))), Basis::InStep);
        assert_eq!(of(at(10 * DAY_MS, true, Some(DAY_MS - 1))), Basis::Older);
        // A clock that is not trusted now says nothing of what was before the start.
        let unsure = at(10 * DAY_MS, false, Some(0));
        assert_eq!(basis(Some(&at(10 * DAY_MS, true, None)), &unsure, day), Basis::Older);
    }
}
