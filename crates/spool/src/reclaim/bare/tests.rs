use super::super::tests::{NOR, SimSpool, seal, spool, store};
use alloc::vec::Vec;

use super::*;
use crate::record::{Fate, Meta, Status};
use crate::segment::State;
use crate::spool::MountOptions;

/// A volume with so many free segments. All others are full of mail that waits.
fn crowded(free: u32) -> SimSpool {
    fill(spool(NOR, MountOptions::default()), free)
}

fn fill(mut spool: SimSpool, free: u32) -> SimSpool {
    let segments = (0u32..).zip(&spool.log.segments);
    let all_free: Vec<u32> =
        segments.filter(|(_, row)| row.state == State::Free).map(|(segment, _)| segment).collect();
    for segment in &all_free[..all_free.len() - free as usize] {
        seal(&mut spool, *segment, Purpose::Hot, 1000, 100);
    }
    spool
}

fn free_after(mut spool: SimSpool) -> u32 {
    spool.make_room_by_root().unwrap();
    spool.log.free_segments()
}

#[test]
fn a_boot_that_has_few_segments_gives_up_as_many_as_it_needs_to_begin() {
    let with_dead_mail = |free: u32| {
        let mut spool = crowded(free);
        (20..26).for_each(|segment| {
            seal(&mut spool, segment, Purpose::Hot, u64::from(segment), 0);
        });
        spool
    };
    assert_eq!(free_after(with_dead_mail(RESERVE_MOVED - 1)), RESERVE_MOVED + 1);
    assert_eq!(free_after(with_dead_mail(RESERVE_MOVED)), RESERVE_MOVED + 1);
    assert_eq!(free_after(with_dead_mail(RESERVE_MOVED + 1)), RESERVE_MOVED + 1, "it has enough");
    let mut has_begun = with_dead_mail(RESERVE_MOVED);
    has_begun.log.opened[Purpose::Status as usize] = 1;
    assert_eq!(free_after(has_begun), RESERVE_MOVED, "a record can say so by now");
    assert_eq!(free_after(crowded(RESERVE_MOVED)), RESERVE_MOVED, "all mail waits");
}

#[test]
fn what_is_retired_goes_before_dead_mail_and_the_checkpoint_last() {
    let mut spool = spool(NOR, MountOptions::default());
    spool.put_meta(1, b"key", b"value").unwrap();
    spool.sync().unwrap();
    spool.checkpoint_now().unwrap();
    let mut spool = fill(spool, RESERVE_MOVED);
    let needed = |segment: &u32| spool.checkpointer.needs(*segment);
    let checkpoint: Vec<u32> = (0..NOR.segments).filter(needed).collect();
    assert_eq!(checkpoint.len(), 1);
    seal(&mut spool, 20, Purpose::Checkpoint, 10, 0);
    let synced = spool.log.synced_group;
    seal(&mut spool, 21, Purpose::Hot, 50, 0).state = State::Retired { group: synced };
    seal(&mut spool, 22, Purpose::Hot, 5, 0);
    seal(&mut spool, 23, Purpose::Hot, 4, 0);
    seal(&mut spool, 24, Purpose::Moved, 6, 0);
    // What tells of others, what is not known to be retired, and what cannot be read or is being read.
    seal(&mut spool, 25, Purpose::Status, 1, 0);
    seal(&mut spool, 26, Purpose::Hot, 1, 0).state = State::Retired { group: synced + 1 };
    seal(&mut spool, 27, Purpose::Hot, 1, 0).is_unreadable = true;
    let lease = seal(&mut spool, 28, Purpose::Hot, 1, 0).lease();
    let row = seal(&mut spool, 29, Purpose::Hot, 1, 0);
    row.state = State::Retired { group: synced };
    let another_lease = row.lease();
    let order: Vec<u32> = core::iter::from_fn(|| {
        let victim = spool.victim_for_root()?;
        spool.log.segments[victim as usize].state = State::Bad;
        Some(victim)
    })
    .collect();
    assert_eq!(order, [21, 20, 23, 22, 24, checkpoint[0]]);
    drop((lease, another_lease));
}

#[test]
fn no_more_is_given_up_than_a_root_can_say() {
    let mut spool = crowded(0);
    (20..30).for_each(|segment| {
        seal(&mut spool, segment, Purpose::Hot, u64::from(segment), 0);
    });
    let mut given_up = 0;
    while let Some(victim) = spool.victim_for_root() {
        spool.log.give_up_by_root(victim).unwrap();
        spool.log.erase_given_up(victim).unwrap();
        given_up += 1;
    }
    assert_eq!((given_up, spool.log.free_segments()), (4, 4));
}

#[test]
fn mail_of_which_the_tail_speaks_is_not_given_up_by_a_root() {
    let is_given_up = |speak: &dyn Fn(&mut SimSpool)| {
        let mut spool = crowded(RESERVE_MOVED);
        let row = seal(&mut spool, 20, Purpose::Hot, 20, 0);
        row.ids.extend(50);
        row.ids.extend(60);
        speak(&mut spool);
        spool.victim_for_root() == Some(20)
    };
    let status = |id: u64| Note::Status { group: 9, id, status: Status::of_all(1, Fate::Delivered) };
    assert!(is_given_up(&|_| {}));
    assert!(is_given_up(&|spool| spool.tail.messages.push(MessageId(61))), "that stands elsewhere");
    for id in [50, 60] {
        assert!(!is_given_up(&|spool| spool.tail.messages.push(MessageId(id))));
        assert!(!is_given_up(&|spool| spool.torn.push(MessageId(id))));
        assert!(!is_given_up(&|spool| spool.tail.records.push(status(id))));
    }
    assert!(is_given_up(&|spool| {
        let meta = Meta { namespace: 1, key: alloc::vec![1], value: alloc::vec![2] };
        spool.tail.records.extend([Note::Meta { group: 9, meta }, status(49)]);
    }));
}

#[test]
fn what_a_root_gives_up_is_known_no_more_and_free() {
    let mut spool = spool(NOR, MountOptions::default());
    let id = store(&mut spool, 1);
    spool.set_status(id, &Status::of_all(1, Fate::Delivered)).unwrap();
    spool.sync().unwrap();
    let victim = spool.index.get(id).unwrap().commit.segment;
    spool.log.segments[victim as usize].state = State::Sealed;
    spool.log.heads[Purpose::Hot as usize].segment = None;
    let mut spool = fill(spool, RESERVE_MOVED);
    spool.log.opened[Purpose::Status as usize] = 0;
    spool.make_room_by_root().unwrap();
    assert_eq!(spool.log.segments[victim as usize].state, State::Free);
    assert!(spool.index.get(id).is_none());
}
