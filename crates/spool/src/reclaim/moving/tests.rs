use super::super::tests::{NOR, seal, spool};
use super::super::{ENTRIES_A_STEP, Work};
use super::*;
use crate::index::Entry;
use crate::record::Place;
use crate::segment::State;
use crate::spool::MountOptions;

/// Where the commits stand that nobody looks for.
const ELSEWHERE: Place = Place { segment: 9, offset: 64 };

#[test]
fn a_step_looks_at_no_more_messages_than_it_may() {
    let mut spool = spool(NOR, MountOptions::default());
    let ids = 3 * ENTRIES_A_STEP as u64;
    (1..=ids).for_each(|id| spool.index.insert(Entry::new(id, ELSEWHERE, 100, 1), &[]));
    let row = seal(&mut spool, 10, Purpose::Hot, 20, 100);
    row.ids.extend(1);
    row.ids.extend(ids);
    spool.begin_moving_out(10, false);
    for step in 0..3 {
        let Some(Work::MovingOut(work)) = spool.reclaim.work.take() else { panic!("at step {step}") };
        assert!(!work.search.is_done(), "it ended before step {step}");
        spool.move_out(work).unwrap();
    }
    let Some(Work::MovingOut(work)) = spool.reclaim.work.take() else { panic!("it came to an end") };
    assert!(work.search.is_done());
}

#[test]
fn a_segment_in_which_something_is_live_is_not_given_up() {
    let mut spool = spool(NOR, MountOptions::default());
    let mut is_given_up = |live_bytes: u64, held: u32| {
        seal(&mut spool, 10, Purpose::Hot, 20, live_bytes).held = held;
        spool.begin_moving_out(10, false);
        let Some(Work::MovingOut(work)) = spool.reclaim.work.take() else { panic!("it was begun") };
        spool.finish_moving_out(&work).unwrap();
        matches!(spool.reclaim.work.take(), Some(Work::GivingUp(_)))
    };
    assert!(is_given_up(0, 0));
    assert!(!is_given_up(100, 0), "not all could be moved");
    assert!(!is_given_up(0, 1), "a session writes into it");
}

#[test]
fn what_is_needed_again_before_it_is_given_up_stays_and_after_that_goes() {
    let mut spool = spool(NOR, MountOptions::default());
    let mut state_after = |has_begun: bool, held: u32| {
        seal(&mut spool, 10, Purpose::Hot, 20, 0);
        spool.begin_giving_up(10);
        spool.log.segments[10].held = held;
        let Some(Work::GivingUp(work)) = spool.reclaim.work.take() else { panic!("it was begun") };
        spool.give_up(GivingUp { has_begun, ..work }).unwrap();
        spool.log.segments[10].state
    };
    assert!(matches!(state_after(false, 0), State::Retired { .. }));
    assert_eq!(state_after(false, 1), State::Sealed);
    // Some of its messages are forgotten: without it a later mount would find them and not their fates.
    assert!(matches!(state_after(true, 1), State::Retired { .. }));
}
