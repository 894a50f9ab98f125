//! The rules, each as a box would live through it.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict, in its helpers too")]

use penstock_slots::{
    Boot, Cause, Choice, Condition, Failure, Held, Kept, Mailbox, RESCUE_FIRST_S, RESCUE_LONGEST_S, Refusal,
    Rejected, Rescue, Slot, State, TRIES, begin_reflash, begin_update, end_update, is_steady, mark_good,
    pick, put_on_trial, roll_back, take_on_faith,
};

const OLD: Held = Held { version: 0x0100_0000, security: 1 };
const NEW: Held = Held { version: 0x0101_0000, security: 2 };
const SYSTEM: Kept = Kept::System;

/// A box whose slot A was marked good and runs.
fn settled() -> State {
    mark_good(&State::new(1, 1), SYSTEM, Slot::A, OLD).unwrap()
}

/// The same with an update in slot B.
fn updated() -> State {
    end_update(&settled(), SYSTEM, Slot::A, NEW).unwrap()
}

fn all_verify(_: Slot) -> Result<(), Rejected> {
    Ok(())
}

fn only(good: Slot) -> impl Fn(Slot) -> Result<(), Rejected> {
    move |slot| if slot == good { Ok(()) } else { Err(Rejected::Part(1)) }
}

/// The power came.
fn power_on(state: &State) -> Choice {
    pick(state, SYSTEM, None, 0, all_verify)
}

const fn start(slot: Slot, is_trial: bool) -> Boot {
    Boot::Slot { slot, is_trial }
}

#[test]
fn a_healthy_box_is_not_turned_away_by_any_number_of_power_cuts() {
    let state = settled();
    for _ in 0..100 {
        let choice = power_on(&state);
        assert_eq!((choice.boot, choice.record), (start(Slot::A, false), None));
    }
}

#[test]
fn an_update_is_tried_as_often_as_it_may_and_then_the_box_goes_back_by_itself() {
    let mut state = updated();
    for tries_left in (0..TRIES).rev() {
        let choice = power_on(&state);
        assert_eq!(choice.boot, start(Slot::B, true));
        // Written down before it is started: a power cut while it starts counts as a try.
        state = choice.record.unwrap();
        assert_eq!(state.system.condition(Slot::B), Condition::Trial { tries_left });
    }
    let choice = power_on(&state);
    assert_eq!(choice.boot, start(Slot::A, false));
    state = choice.record.unwrap();
    assert_eq!(state.system.condition(Slot::B), Condition::Failed(Failure::Tries));
    assert_eq!(power_on(&state).record, None);
}

#[test]
fn an_update_that_was_marked_good_is_tried_no_more() {
    let state = power_on(&updated()).record.unwrap();
    let state = mark_good(&state, SYSTEM, Slot::B, NEW).unwrap();
    for _ in 0..10 {
        let choice = power_on(&state);
        assert_eq!((choice.boot, choice.record), (start(Slot::B, false), None));
    }
}

#[test]
fn without_any_slot_the_box_serves_by_its_rescue_and_the_record_stays_what_it_is() {
    let nothing = pick(&settled(), SYSTEM, None, 0, |_| Err(Rejected::Signature));
    assert_eq!((nothing.boot, nothing.record), (Boot::Rescue(Rescue::NoSlot), None));
    // Tried in vain, and nothing to go back to.
    let mut state = end_update(&settled(), SYSTEM, Slot::A, NEW).unwrap();
    for _ in 0..TRIES {
        state = pick(&state, SYSTEM, None, 0, only(Slot::B)).record.unwrap();
    }
    let choice = pick(&state, SYSTEM, None, 0, only(Slot::B));
    assert_eq!(choice.boot, Boot::Rescue(Rescue::NoSlot));
    let believed = choice.record.unwrap();
    assert_eq!(pick(&believed, SYSTEM, None, 0, only(Slot::B)).boot, Boot::Rescue(Rescue::NoSlot));
}

#[test]
fn a_confirmed_slot_that_rots_is_passed_over_and_comes_back_when_it_reads_right_again() {
    let state = mark_good(&updated(), SYSTEM, Slot::B, OLD).unwrap();
    let choice = pick(&state, SYSTEM, None, 0, only(Slot::A));
    assert_eq!((choice.boot, choice.record), (start(Slot::A, false), None));
    assert_eq!(power_on(&state).boot, start(Slot::B, false));
}

#[test]
fn an_update_that_does_not_verify_is_never_started_nor_tried_again() {
    let choice = pick(&updated(), SYSTEM, None, 0, only(Slot::A));
    assert_eq!(choice.boot, start(Slot::A, false));
    let state = choice.record.unwrap();
    assert_eq!(state.system.condition(Slot::B), Condition::Failed(Failure::Rejected));
    assert_eq!(power_on(&state).boot, start(Slot::A, false));
}

#[test]
fn a_record_that_is_lost_means_whatever_verifies_is_started_without_a_trial() {
    let state = State::new(1, 1);
    assert_eq!(power_on(&state).boot, start(Slot::A, false));
    assert_eq!(pick(&state, SYSTEM, None, 0, only(Slot::B)).boot, start(Slot::B, false));
}

#[test]
fn the_floor_rises_with_the_good_word_only_and_never_falls() {
    assert_eq!(settled().system.floor, 1);
    assert_eq!(updated().system.floor, 1);
    let state = mark_good(&updated(), SYSTEM, Slot::B, NEW).unwrap();
    assert_eq!(state.system.floor, 2);
    let older = Refusal::Security { found: 1, floor: 2 };
    assert_eq!(begin_update(&state, SYSTEM, Slot::B, OLD), Err(older));
    assert_eq!(roll_back(&state, SYSTEM, Slot::B, state.system.held(Slot::A)), Err(older));
    assert_eq!(mark_good(&state, SYSTEM, Slot::A, OLD).unwrap().system.floor, 2);
    assert_eq!(state.firmware.floor, 1);
}

#[test]
fn the_slot_to_fall_back_on_is_not_given_up_while_what_runs_is_on_trial() {
    let state = power_on(&updated()).record.unwrap();
    assert_eq!(begin_update(&state, SYSTEM, Slot::B, NEW), Err(Refusal::OnTrial));
    let back = roll_back(&state, SYSTEM, Slot::B, state.system.held(Slot::A)).unwrap();
    assert_eq!(back.system.condition(Slot::B), Condition::Failed(Failure::RolledBack));
    assert_eq!(power_on(&back).boot, start(Slot::A, false));
    assert_eq!(roll_back(&back, SYSTEM, Slot::A, back.system.held(Slot::B)), Err(Refusal::NothingToGoBackTo));
}

#[test]
fn where_the_record_cannot_be_written_nothing_is_tried_without_an_end() {
    let state = updated();
    let choice = power_on(&state).without_record(&state, SYSTEM, all_verify);
    assert_eq!((choice.boot, choice.record), (start(Slot::A, false), None));
    let choice = power_on(&state).without_record(&state, SYSTEM, only(Slot::B));
    assert_eq!(choice.boot, Boot::Rescue(Rescue::NoSlot));
    let state = settled();
    assert_eq!(power_on(&state).without_record(&state, SYSTEM, all_verify).boot, start(Slot::A, false));
}

#[test]
fn a_confirmed_slot_that_kills_itself_again_and_again_gives_way_to_the_rescue_in_turns_that_double() {
    let state = settled();
    let (mut mailbox, mut now_s, mut turns) = (None, 1_000_000, Vec::new());
    for _ in 0..40 {
        let choice = pick(&state, SYSTEM, mailbox, now_s, all_verify);
        assert_eq!(choice.record, None, "the slot is not given up");
        mailbox = Some(choice.mailbox);
        match choice.boot {
            // It hangs, and the watchdog bites after a minute.
            Boot::Slot { .. } => now_s += 60,
            Boot::Rescue(Rescue::Restless { turn_s }) => {
                turns.push(turn_s);
                now_s += turn_s;
            }
            other => panic!("{other:?}"),
        }
    }
    let expected: Vec<u64> =
        (0..turns.len()).map(|turn| (RESCUE_FIRST_S << turn.min(10)).min(RESCUE_LONGEST_S)).collect();
    assert_eq!(turns, expected);
    assert!(turns.len() >= 6);
    // Between two turns it gets its three chances.
    assert_eq!(turns.len(), 40 / 4);
}

#[test]
fn resets_that_were_asked_for_or_lie_far_apart_do_not_count() {
    let state = settled();
    for (cause, apart_s) in [(Cause::Asked, 1), (Cause::Panic, 3600)] {
        let (mut mailbox, mut now_s) = (None, 5);
        for _ in 0..20 {
            let choice = pick(&state, SYSTEM, mailbox, now_s, all_verify);
            assert_eq!(choice.boot, start(Slot::A, false));
            mailbox = Some(Mailbox { cause, ..choice.mailbox });
            now_s += apart_s;
        }
    }
}

#[test]
fn a_system_that_stayed_up_begins_anew_and_so_does_one_whose_power_went() {
    let state = settled();
    let restless = Mailbox { cause: Cause::Watchdog, resets: 2, was_trial: false, turn: 3, since_s: 100 };
    let choice = pick(&state, SYSTEM, Some(restless), 200, all_verify);
    assert!(matches!(choice.boot, Boot::Rescue(Rescue::Restless { .. })));
    let choice = pick(&state, SYSTEM, Some(is_steady(restless)), 200, all_verify);
    assert_eq!(choice.boot, start(Slot::A, false));
    assert_eq!(power_on(&state).boot, start(Slot::A, false));
}

#[test]
fn a_slot_on_trial_that_kills_itself_runs_out_of_tries_and_not_into_the_rescue() {
    let (mut state, mut mailbox) = (updated(), None);
    for _ in 0..TRIES {
        let choice = pick(&state, SYSTEM, mailbox, 7, all_verify);
        assert_eq!(choice.boot, start(Slot::B, true));
        (state, mailbox) = (choice.record.unwrap(), Some(choice.mailbox));
    }
    // The old one is not to blame for that.
    let choice = pick(&state, SYSTEM, mailbox, 7, all_verify);
    assert_eq!(choice.boot, start(Slot::A, false));
}

#[test]
fn the_mailbox_survives_as_bytes_and_noise_is_none() {
    let mailbox =
        Mailbox { cause: Cause::Panic, resets: 2, was_trial: true, turn: 1, since_s: 1_764_000_000 };
    let bytes = mailbox.to_bytes();
    assert_eq!(Mailbox::from_bytes(&bytes), Some(mailbox));
    for bit in 0..bytes.len() * 8 {
        let mut noisy = bytes;
        noisy[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Mailbox::from_bytes(&noisy), None, "bit {bit}");
    }
    assert_eq!(Mailbox::from_bytes(&bytes[1..]), None);
}

#[test]
fn what_a_person_puts_into_a_slot_has_to_prove_itself_like_any_update() {
    let state = begin_reflash(&settled(), SYSTEM, Slot::A);
    assert_eq!(state.system.condition(Slot::A), Condition::Empty);
    assert_eq!(power_on(&state).boot, start(Slot::B, false), "half written it is nothing");
    let state = put_on_trial(&state, SYSTEM, Slot::A, NEW, true);
    let choice = power_on(&state);
    assert_eq!(choice.boot, start(Slot::A, true));
    assert_eq!(choice.record.unwrap().system.condition(Slot::A), Condition::Trial { tries_left: TRIES - 1 });
}

#[test]
fn a_slot_that_gets_its_tries_back_does_not_push_the_other_one_aside() {
    let state = put_on_trial(&settled(), SYSTEM, Slot::B, NEW, false);
    assert_eq!(power_on(&state).boot, start(Slot::A, false));
}

#[test]
fn what_nothing_stands_beside_is_started_as_often_as_it_takes() {
    let none = begin_reflash(&begin_reflash(&settled(), SYSTEM, Slot::A), SYSTEM, Slot::B);
    let state = take_on_faith(&none, SYSTEM, Slot::B, NEW);
    assert_eq!(state.system.floor, settled().system.floor, "it has not proved itself");
    for _ in 0..10 {
        let choice = power_on(&state);
        assert_eq!((choice.boot, choice.record), (start(Slot::B, false), None));
    }
}
