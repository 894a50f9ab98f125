//! Whose session has to end when all are in use and somebody else comes.
//!
//! Refusing who comes would let two hundred connections that do nothing shut the box, and they cost their owner nothing. So
//! the one who comes takes the place of somebody who does nothing, or who takes more than his share while doing little:
//!
//! 1. whose session has not come a step further for [`STEP_MS`], or has not come to a message within `listen.busy_timeout`
//!    of beginning one. A step is what brings a message nearer: a first greeting, a sender, a recipient that is accepted, as
//!    many bytes of a message as `listen.busy_data_per_minute_min` wants in that time;
//! 2. then who has no message under way;
//! 3. then who names sender and recipients, if his source has several sessions.
//!
//! Among these the session of a source goes that has come often and never brought a message, then that of the source that
//! has most of them, of several one that has not said a word, and then the one that was idle longest. Never one whose message makes progress or waits for us, never one of a trusted front, and never for the sake of a source that
//! would then have more sessions than the one that loses it: so two that come in numbers do not displace each other. Nor does
//! a source that never brought a message take the place of one that may, unless that does nothing.

use std::cmp::Reverse;

/// How long a client that means it takes for a step at most, on a slow line to a slow box.
pub(super) const STEP_MS: u64 = 5_000;

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Connected, and has not said a word.
    Greeting,
    /// Has no message under way.
    Idle,
    /// Names sender and recipients.
    Envelope,
    /// Sends its message.
    Body,
    /// Waits for us.
    Ours,
}

/// What a session is, when somebody has to go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) phase: Phase,
    pub(super) trusted: bool,
    /// Since its last step.
    pub(super) idle_ms: u64,
    /// Since it began the first message of which none was accepted yet.
    pub(super) trying_ms: u64,
    /// How many sessions its source has.
    pub(super) held: u32,
    /// Whether its source has come often and never brought a message.
    pub(super) barren: bool,
}

/// The order in which sessions go, the first to go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    tier: u8,
    barren: Reverse<bool>,
    held: Reverse<u32>,
    /// A client that means it says its name at once.
    has_spoken: bool,
    idle_ms: Reverse<u64>,
}

impl Standing {
    /// Where it stands in that order; `None` if it stays in any case.
    pub(super) fn rank(&self, busy_timeout_ms: u64) -> Option<Rank> {
        let still = self.idle_ms >= STEP_MS;
        let tier = match self.phase {
            _ if self.trusted => return None,
            Phase::Ours => return None,
            Phase::Body if !still => return None,
            Phase::Envelope if self.trying_ms >= busy_timeout_ms => 0,
            _ if still => 0,
            Phase::Envelope if self.held > 1 => 2,
            Phase::Envelope => return None,
            _ => 1,
        };
        let has_spoken = self.phase != Phase::Greeting;
        Some(Rank {
            tier,
            barren: Reverse(self.barren),
            held: Reverse(self.held),
            has_spoken,
            idle_ms: Reverse(self.idle_ms),
        })
    }
}

impl Rank {
    /// Whether nothing is lost with it, whoever comes.
    pub(super) fn does_nothing(&self) -> bool {
        self.tier == 0
    }

    /// Whether somebody may take this place whose source has so many sessions and is barren or not, if `theirs` is how many
    /// this one's has now.
    pub(super) fn yields_to(&self, held: u32, barren: bool, theirs: u32) -> bool {
        if barren && !self.barren.0 && !self.does_nothing() {
            return false;
        }
        // For a message that is perhaps on its way the difference must be worth it.
        if self.tier == 2 { theirs > held + 1 } else { theirs > held }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY_MS: u64 = 30_000;

    fn standing(phase: Phase, idle_ms: u64, held: u32) -> Standing {
        Standing { phase, trusted: false, idle_ms, trying_ms: 0, held, barren: false }
    }

    fn rank(phase: Phase, idle_ms: u64, held: u32) -> Option<Rank> {
        standing(phase, idle_ms, held).rank(BUSY_MS)
    }

    #[test]
    fn a_message_that_makes_progress_is_never_displaced() {
        assert_eq!(rank(Phase::Body, STEP_MS - 1, 100), None);
        assert_eq!(rank(Phase::Ours, u64::MAX, 100), None);
        assert_eq!(rank(Phase::Envelope, STEP_MS - 1, 1), None);
        assert_eq!(Standing { trusted: true, ..standing(Phase::Idle, u64::MAX, 100) }.rank(BUSY_MS), None);
    }

    #[test]
    fn who_only_pretends_goes_like_who_does_nothing() {
        let slow_body = rank(Phase::Body, STEP_MS, 1).unwrap();
        let endless_envelope =
            Standing { trying_ms: BUSY_MS, ..standing(Phase::Envelope, 0, 1) }.rank(BUSY_MS).unwrap();
        let idle = rank(Phase::Idle, STEP_MS, 1).unwrap();
        assert_eq!(slow_body, idle);
        assert!(idle < endless_envelope, "of those who do nothing the longest idle goes first");
        assert!(endless_envelope < rank(Phase::Greeting, STEP_MS - 1, 50).unwrap());
    }

    #[test]
    fn of_equals_the_one_goes_whose_source_has_most() {
        let (many, one) = (rank(Phase::Idle, 100, 20), rank(Phase::Greeting, 4000, 1));
        assert!(many < one);
        assert!(one < rank(Phase::Envelope, 4000, 20), "a message that is perhaps on its way comes last");
        assert!(
            rank(Phase::Greeting, 10, 1) < rank(Phase::Idle, 4000, 1),
            "who has said his name stays before"
        );
    }

    #[test]
    fn nobody_gains_more_than_he_takes() {
        let idle = rank(Phase::Idle, STEP_MS, 3).unwrap();
        assert!(idle.yields_to(2, false, 3) && !idle.yields_to(3, false, 3));
        let envelope = rank(Phase::Envelope, 0, 3).unwrap();
        assert!(envelope.yields_to(1, false, 3) && !envelope.yields_to(2, false, 3));
    }

    #[test]
    fn who_never_brought_a_message_makes_room_first_and_takes_no_place_of_who_may() {
        let of = |barren, phase, idle_ms| {
            Standing { barren, ..standing(phase, idle_ms, 1) }.rank(BUSY_MS).unwrap()
        };
        let (barren, fresh) = (of(true, Phase::Idle, 10), of(false, Phase::Greeting, 4000));
        assert!(barren < fresh);
        assert!(fresh.yields_to(0, false, 1) && !fresh.yields_to(0, true, 1) && barren.yields_to(0, true, 1));
        assert!(
            of(false, Phase::Idle, STEP_MS).yields_to(0, true, 1),
            "a place where nothing is done is anybody's"
        );
    }
}
