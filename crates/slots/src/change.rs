//! What userland does to the state: an update, the good word, going back.
//!
//! Each takes the state as it is and gives the one to be written down. The order of an update is: [`begin_update`] written
//! down, the other slot written and read back, [`end_update`] written down, a reboot when it suits. Whenever the power
//! goes, the slot that runs is as it was.

use core::fmt;

use crate::mailbox::Mailbox;
use crate::state::{Condition, Failure, Held, Kept, Slot, State, TRIES};

/// Why something is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The slot that runs is on trial: it has to be marked good, or gone back from, before the other one is given up.
    OnTrial,
    /// The bundle is older than may be started.
    Security {
        /// Its security version.
        found: u32,
        /// The lowest that is started.
        floor: u32,
    },
    /// The other slot holds nothing that could be started.
    NothingToGoBackTo,
    /// The slot that runs is not the one that is to be marked.
    NotRunning,
}

impl Refusal {
    /// The stable code under which the console and the documents speak of it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::OnTrial => "PS-B020",
            Self::Security { .. } => "PS-B021",
            Self::NothingToGoBackTo => "PS-B022",
            Self::NotRunning => "PS-B023",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.code())?;
        match self {
            Self::OnTrial => {
                f.write_str("what runs is on trial: mark it good or go back before the next update")
            }
            Self::Security { found, floor } => {
                write!(f, "the bundle's security version is {found}, and this box starts none below {floor}")
            }
            Self::NothingToGoBackTo => f.write_str("the other slot holds nothing that could be started"),
            Self::NotRunning => f.write_str("that slot does not run"),
        }
    }
}

/// The other slot is about to be written: from now on it is nothing.
///
/// # Errors
/// [`Refusal::OnTrial`], [`Refusal::Security`].
pub fn begin_update(state: &State, kept: Kept, running: Slot, new: Held) -> Result<State, Refusal> {
    let mut next = *state;
    let pair = next.pair_mut(kept);
    if pair.condition(running) != Condition::Confirmed {
        return Err(Refusal::OnTrial);
    }
    if new.security < pair.floor {
        return Err(Refusal::Security { found: new.security, floor: pair.floor });
    }
    pair.preferred = running;
    pair.set(running.other(), Condition::Empty);
    pair.set_held(running.other(), Held::default());
    Ok(next)
}

/// The other slot is written and read back: it is to be tried.
///
/// # Errors
/// As [`begin_update`], which is asked again, since hours may lie between.
pub fn end_update(state: &State, kept: Kept, running: Slot, new: Held) -> Result<State, Refusal> {
    let mut next = begin_update(state, kept, running, new)?;
    let pair = next.pair_mut(kept);
    let written = running.other();
    pair.set(written, Condition::Trial { tries_left: TRIES });
    pair.set_held(written, new);
    pair.preferred = written;
    Ok(next)
}

/// The slot that runs has proved itself. Only now the floor rises: before, there would be no way back.
///
/// # Errors
/// [`Refusal::NotRunning`] if it holds nothing, by the record.
pub fn mark_good(state: &State, kept: Kept, running: Slot, held: Held) -> Result<State, Refusal> {
    let mut next = *state;
    let pair = next.pair_mut(kept);
    if pair.condition(running) == Condition::Empty {
        return Err(Refusal::NotRunning);
    }
    pair.set(running, Condition::Confirmed);
    pair.set_held(running, held);
    pair.preferred = running;
    pair.floor = pair.floor.max(held.security);
    Ok(next)
}

/// Back to the other slot, with the next boot. `there` is what that holds by its signed manifest, and not by the record: of
/// what it left the works with the record knows nothing.
///
/// # Errors
/// [`Refusal::NothingToGoBackTo`]; [`Refusal::Security`] if what is there is older than may be started.
pub fn roll_back(state: &State, kept: Kept, running: Slot, there: Held) -> Result<State, Refusal> {
    let mut next = *state;
    let pair = next.pair_mut(kept);
    let other = running.other();
    if pair.condition(other) != Condition::Confirmed {
        return Err(Refusal::NothingToGoBackTo);
    }
    let found = there.security;
    if found < pair.floor {
        return Err(Refusal::Security { found, floor: pair.floor });
    }
    pair.preferred = other;
    // A slot that has proved itself stays one to fall back on.
    if pair.condition(running) != Condition::Confirmed {
        pair.set(running, Condition::Failed(Failure::RolledBack));
    }
    Ok(next)
}

/// A person at the console overwrites a slot, whichever: from now on it is nothing.
#[must_use]
pub fn begin_reflash(state: &State, kept: Kept, slot: Slot) -> State {
    let mut next = *state;
    let pair = next.pair_mut(kept);
    pair.set(slot, Condition::Empty);
    pair.set_held(slot, Held::default());
    next
}

/// A person at the console has a slot tried, with all its tries. The caller has verified it. `is_preferred` puts it before
/// the other one.
#[must_use]
pub fn put_on_trial(state: &State, kept: Kept, slot: Slot, held: Held, is_preferred: bool) -> State {
    let mut next = *state;
    let pair = next.pair_mut(kept);
    pair.set(slot, Condition::Trial { tries_left: TRIES });
    pair.set_held(slot, held);
    if is_preferred {
        pair.preferred = slot;
    }
    next
}

/// A person at the console has brought what nothing else stands beside: it needs no trial, since there is nothing to go back
/// to, and no tries left would mean that nothing is started any more. The floor stays: it has not proved itself.
#[must_use]
pub fn take_on_faith(state: &State, kept: Kept, slot: Slot, held: Held) -> State {
    let mut next = *state;
    let pair = next.pair_mut(kept);
    pair.set(slot, Condition::Confirmed);
    pair.set_held(slot, held);
    pair.preferred = slot;
    next
}

/// What is left in memory once the system has stayed up: that all is well.
#[must_use]
pub const fn is_steady(mailbox: Mailbox) -> Mailbox {
    Mailbox { resets: 0, turn: 0, since_s: 0, ..mailbox }
}
