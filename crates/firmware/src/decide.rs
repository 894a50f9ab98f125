//! Which slot: the policy of `slots`, with the record written before anything is done on the strength of it.

use penstock_slots::{
    Boot, Cause, Choice, Condition, Journal, JournalError, Kept, Mailbox, Rejected, Rescue, Sectors, Slot,
    State, pick,
};

use crate::board::BOARD;
use crate::handover::Handover;

/// The boot state as it is, or as it is for a box of which nothing is known.
pub fn state<S: Sectors>(journal: &Journal<S>) -> State {
    let unknown = State::new(BOARD.system_floor, BOARD.firmware_floor);
    journal.newest().copied().unwrap_or(unknown)
}

/// What was decided, and what failed on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<E> {
    /// What is to be done. Its record is written.
    pub choice: Choice,
    /// The state could not be written down.
    pub failed: Option<JournalError<E>>,
}

/// Decides, and writes down what has to be before.
pub fn decide<S: Sectors>(
    journal: &mut Journal<S>,
    kept: Kept,
    mailbox: Option<Mailbox>,
    now_s: u64,
    verify: impl FnMut(Slot) -> Result<(), Rejected>,
) -> Decision<S::Error> {
    let state = state(journal);
    decide_from(&state, journal, kept, mailbox, now_s, verify)
}

fn decide_from<S: Sectors>(
    state: &State,
    journal: &mut Journal<S>,
    kept: Kept,
    mailbox: Option<Mailbox>,
    now_s: u64,
    mut verify: impl FnMut(Slot) -> Result<(), Rejected>,
) -> Decision<S::Error> {
    let choice = pick(state, kept, mailbox, now_s, &mut verify);
    let failed = choice.record.and_then(|record| journal.append(&record).err());
    let choice = if failed.is_some() { choice.without_record(state, kept, verify) } else { choice };
    Decision { choice, failed }
}

/// What stage 0 does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage0<E> {
    /// The firmware that it starts, and what it tells that; none if there is none.
    pub start: Option<Handover>,
    /// What it leaves in memory before: that a reset now is the firmware's failure.
    pub mailbox: Mailbox,
    /// The state could not be written down.
    pub failed: Option<JournalError<E>>,
}

/// What stage 0 decides. It has no rescue to fall back on, so that it starts whatever firmware may be started, and leaves to
/// that to count what the system did. It counts only what the firmware did to itself: one that goes down again and again
/// gives way to the other, and without another is started all the same, with a count that sends it to the rescue.
pub fn decide_stage0<S: Sectors>(
    journal: &mut Journal<S>,
    mailbox: Option<Mailbox>,
    now_s: u64,
    reset_ticks: u64,
    mut verify: impl FnMut(Slot) -> Result<(), Rejected>,
) -> Stage0<S::Error> {
    let reason = mailbox.map(|mailbox| mailbox.cause);
    let own = mailbox.filter(|mailbox| mailbox.cause == Cause::Firmware);
    let Decision { choice: first, failed } = decide(journal, Kept::Firmware, own, now_s, &mut verify);
    let is_restless = matches!(first.boot, Boot::Rescue(Rescue::Restless { .. }));
    let (second, failed) = if is_restless {
        let mut turned = state(journal);
        let other = turned.firmware.preferred.other();
        if turned.firmware.condition(other) == Condition::Confirmed {
            turned.firmware.preferred = other;
        }
        let again = decide_from(&turned, journal, Kept::Firmware, None, now_s, &mut verify);
        (again.choice, again.failed.or(failed))
    } else {
        (first, failed)
    };
    let start = match second.boot {
        Boot::Slot { slot, is_trial } => Some((slot, is_trial)),
        Boot::Rescue(_) => None,
    };
    // What is counted here is not to be counted once more: a reset that was asked for is not. A policy that began a turn of
    // the rescue has forgotten the count; it is the firmware that is to begin that turn, unless it is another one now.
    let told = match own {
        None => mailbox,
        Some(own) if is_restless => {
            let is_other = start.is_some_and(|(slot, _)| slot != state(journal).firmware.preferred);
            Some(Mailbox { cause: Cause::Asked, resets: if is_other { 0 } else { u8::MAX }, ..own })
        }
        Some(_) => Some(Mailbox { cause: Cause::Asked, was_trial: false, ..first.mailbox }),
    };
    let was_trial = start.is_some_and(|(_, is_trial)| is_trial);
    Stage0 {
        start: start.map(|(slot, is_trial)| Handover { slot, is_trial, reason, reset_ticks, mailbox: told }),
        mailbox: Mailbox { cause: Cause::Firmware, was_trial, ..told.unwrap_or(Mailbox::NEW) },
        failed,
    }
}

/// What the kernel is told is on trial.
pub const fn trials(system: bool, firmware: bool) -> &'static str {
    match (system, firmware) {
        (true, true) => "system firmware",
        (true, false) => "system",
        (false, true) => "firmware",
        (false, false) => "",
    }
}
