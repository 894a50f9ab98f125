use penstock_flash::Geometry;

use super::super::tests::{NOR, SimSpool, seal, spool, store};
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

/// How many messages each step moves out of a segment with so many of so many recipients each.
fn moved_by_steps(messages: usize, recipients: usize) -> Vec<usize> {
    let geometry = Geometry { segment_bytes: 1 << 20, ..NOR };
    let mut spool = spool(geometry, MountOptions::default());
    let ids: Vec<MessageId> = (0..messages).map(|_| store(&mut spool, recipients)).collect();
    let segment = spool.index.get(ids[0]).unwrap().commit.segment;
    spool.log.segments[segment as usize].state = State::Sealed;
    spool.begin_moving_out(segment, false);
    let mut left = messages;
    let mut moved = Vec::new();
    while let Some(Work::MovingOut(work)) = spool.reclaim.work.take() {
        spool.move_out(work).unwrap();
        let here = match &spool.reclaim.work {
            Some(Work::MovingOut(work)) if !work.queue.is_empty() || !work.search.is_done() => {
                work.queue.len()
            }
            _ => 0,
        };
        moved.push(left - here);
        left = here;
    }
    moved.retain(|moved| *moved > 0);
    moved
}

#[test]
fn a_step_moves_sixteen_messages_or_fewer_with_many_recipients() {
    assert_eq!(moved_by_steps(40, 1), [16, 16, 8]);
    // 16 KiB for each message, and 64 bytes for each of its recipients.
    assert_eq!(moved_by_steps(12, 500), [6, 6]);
}

#[test]
fn what_was_under_way_when_the_work_is_dropped_holds_nothing() {
    let mut spool = spool(NOR, MountOptions::default());
    let id = store(&mut spool, 1);
    spool.begin_moving_out(10, false);
    let moving = spool.begin_moving(id, &mut Budget::unbounded()).unwrap();
    let Some(Work::MovingOut(work)) = &mut spool.reclaim.work else { panic!("it was begun") };
    work.moving = moving;
    let held = |spool: &SimSpool| spool.log.segments.iter().map(|row| row.held).sum::<u32>();
    assert_eq!(held(&spool), 1);
    spool.drop_work();
    assert_eq!(held(&spool), 0);
    assert!(spool.reclaim.work.is_none());
}
