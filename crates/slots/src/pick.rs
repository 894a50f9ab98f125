//! The policy: which slot is started now, or why none is.
//!
//! Each rule below was learnt by somebody from a box that did not come back (`README.md` says where).
//! 1. Tries count only while a slot is on trial: counting every boot, three power cuts would turn a healthy box away.
//! 2. No tries left means the other slot, and without that the rescue: service, never a prompt.
//! 3. What is to be written down is written before the slot is started.
//! 4. A confirmed slot that rots is passed over for the other one, if that verifies and is not below the floor.
//! 5. A record that is lost means defaults, and whatever verifies is started; a record that says that nothing can be started
//!    is believed.
//! 6. Resets that we caused are counted apart: a confirmed slot that goes down again and again gives way to the rescue, in
//!    turns that double.

use crate::mailbox::{Cause, Mailbox};
use crate::manifest::Rejected;
use crate::state::{Condition, Failure, Kept, Pair, Slot, State};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    /// Start this slot.
    Slot {
        /// Which.
        slot: Slot,
        /// It has to prove itself.
        is_trial: bool,
    },
    /// Take mail in its stead.
    Rescue(Rescue),
}

/// Why no slot is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rescue {
    /// None can be.
    NoSlot,
    /// One could, and does not stay up: it is tried again after this many seconds.
    Restless {
        /// So many.
        turn_s: u64,
    },
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What is to be done, after the rest is written.
    pub boot: Boot,
    /// The state to be written down before, if it has changed. Where that fails, nothing that is on trial is started:
    /// [`Choice::without_record`].
    pub record: Option<State>,
    /// What to leave in memory before.
    pub mailbox: Mailbox,
}

/// Decides.
///
/// `verify` looks whether a slot holds what may be started; it is asked at most once for each, and only if it matters.
/// `mailbox` is what the reset left in memory, `now_s` the clock on board in seconds, right or wrong.
pub fn pick(
    state: &State,
    kept: Kept,
    mailbox: Option<Mailbox>,
    now_s: u64,
    mut verify: impl FnMut(Slot) -> Result<(), Rejected>,
) -> Choice {
    let counted = mailbox.unwrap_or(Mailbox::NEW).counted(now_s);
    let mut next = *state;
    let pair = next.pair_mut(kept);
    let boot = loop {
        let Some(slot) = candidate(pair) else { break Boot::Rescue(Rescue::NoSlot) };
        if verify(slot).is_err() {
            pair.set(slot, Condition::Failed(Failure::Rejected));
            continue;
        }
        match pair.condition(slot) {
            Condition::Trial { tries_left } => {
                pair.set(slot, Condition::Trial { tries_left: tries_left - 1 });
                break Boot::Slot { slot, is_trial: true };
            }
            _ => break Boot::Slot { slot, is_trial: false },
        }
    };
    // What rots in flash may have been read wrong just once: a confirmed slot is not given up for that, only passed over.
    for slot in Slot::BOTH {
        if state.pair(kept).condition(slot) == Condition::Confirmed {
            next.pair_mut(kept).set(slot, Condition::Confirmed);
        }
    }
    let (boot, mailbox) = match boot {
        Boot::Slot { is_trial: false, .. } if counted.is_restless() => {
            let (turn_s, mailbox) = counted.with_turn();
            (Boot::Rescue(Rescue::Restless { turn_s }), mailbox)
        }
        boot => {
            let was_trial = matches!(boot, Boot::Slot { is_trial: true, .. });
            (boot, Mailbox { cause: Cause::Watchdog, was_trial, ..counted })
        }
    };
    let record = (next != *state).then_some(next);
    Choice { boot, record, mailbox }
}

/// The slot to be tried first, of those that may be. One that ran out of tries is marked on the way.
fn candidate(pair: &mut Pair) -> Option<Slot> {
    for slot in Slot::BOTH {
        if pair.condition(slot) == (Condition::Trial { tries_left: 0 }) {
            pair.set(slot, Condition::Failed(Failure::Tries));
        }
    }
    [pair.preferred, pair.preferred.other()]
        .into_iter()
        .find(|slot| matches!(pair.condition(*slot), Condition::Trial { .. } | Condition::Confirmed))
}

impl Choice {
    /// What is to be done where the state could not be written down: what is on trial would be tried without an end, so it
    /// is not; the other slot is started if it is confirmed and verifies.
    #[must_use]
    pub fn without_record(
        self,
        state: &State,
        kept: Kept,
        mut verify: impl FnMut(Slot) -> Result<(), Rejected>,
    ) -> Self {
        let Boot::Slot { slot, is_trial: true } = self.boot else { return Self { record: None, ..self } };
        let other = slot.other();
        let can = state.pair(kept).condition(other) == Condition::Confirmed && verify(other).is_ok();
        let boot =
            if can { Boot::Slot { slot: other, is_trial: false } } else { Boot::Rescue(Rescue::NoSlot) };
        Self { boot, record: None, ..self }
    }
}
