//! Whether the site's own servers are there to answer for themselves: what the side that takes mail goes by.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use penstock_release::{HopStatus, State};

use super::Delivery;

/// Whether a next hop can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Presence {
    /// Nobody has spoken to one yet.
    NotKnownYet = 0,
    /// One takes mail, or would if it had room.
    There = 1,
    /// None does, or none is known to be itself.
    Away = 2,
}

impl Presence {
    fn of(states: &[State]) -> Self {
        if states.iter().any(|state| is_there(*state)) {
            Self::There
        } else if states.contains(&State::Untried) {
            Self::NotKnownYet
        } else {
            Self::Away
        }
    }
}

/// Whether what a hop in this state says of recipients is to be believed.
pub(super) fn is_there(state: State) -> bool {
    matches!(state, State::Healthy | State::Pressure)
}

/// What was last seen.
#[derive(Debug, Default)]
pub(super) struct Seen(AtomicU8);

impl Delivery {
    /// Takes note of how the hops stand. Of one that is not itself nothing is learnt about recipients.
    pub(super) fn see_presence(&self, hops: &[HopStatus]) {
        let states: Vec<State> = hops.iter().map(|hop| hop.state).collect();
        let presence = Presence::of(&states);
        self.presence.0.store(presence as u8, Relaxed);
        for (known, hop) in self.known.iter().zip(hops) {
            known.set_learning(is_there(hop.state) && hop.cause.is_none());
        }
    }

    /// Whether a next hop can answer.
    pub(crate) fn presence(&self) -> Presence {
        match self.presence.0.load(Relaxed) {
            1 => Presence::There,
            2 => Presence::Away,
            _ => Presence::NotKnownYet,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_next_hop_that_is_itself_is_enough() {
        let of = Presence::of;
        for there in [State::Healthy, State::Pressure] {
            assert_eq!(of(&[there]), Presence::There);
            assert_eq!(of(&[State::Down, there]), Presence::There);
        }
        for away in [
            State::Down,
            State::Inactive,
            State::Unconfigured,
            State::Rejecting,
            State::Unproven,
            State::Held,
        ] {
            assert_eq!(of(&[away]), Presence::Away, "{away:?}");
            assert_eq!(of(&[away, State::Untried]), Presence::NotKnownYet);
        }
        assert_eq!(of(&[State::Untried]), Presence::NotKnownYet);
    }
}
