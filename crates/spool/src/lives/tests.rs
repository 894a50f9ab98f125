use alloc::vec;
use alloc::vec::Vec;

use penstock_flash::Geometry;
use penstock_flash::sim::{Fault, Sim, SimMedium};

use super::*;
use crate::log::Buffers;
use crate::reclaim::tests::{NOR, SimSpool, spool};
use crate::spool::MountOptions;

/// Segments in which the status head is soon full.
const SMALL: Geometry = Geometry { segment_bytes: 4096, ..NOR };

fn new_spool(geometry: Geometry) -> SimSpool {
    spool(geometry, MountOptions::default())
}

type SimLog = Log<SimMedium, Vec<u8>>;

#[test]
fn before_a_segment_is_opened_there_is_room_to_tell_of_it_and_of_what_went_bad() {
    let told = |fill: &dyn Fn(&mut SimSpool)| {
        let mut spool = new_spool(SMALL);
        fill(&mut spool);
        let log = &mut spool.log;
        log.mark_bad(40);
        log.mark_bad(41);
        let opened = log.open_told(Purpose::Hot).unwrap();
        let status = log.segments.iter().filter(|row| row.purpose == Purpose::Status);
        let newest_status = status.map(|row| row.sequence).max().unwrap();
        assert_eq!(log.segments[40].recorded_in, log.segments[opened as usize].recorded_in);
        // Or what tells of it would stand in a segment that was opened later.
        assert!(log.segments[opened as usize].sequence > newest_status);
    };
    // The head is full of frames, or of notes.
    for count in 0..160 {
        told(&|spool| (0..count).for_each(|_| spool.log.append_nop().unwrap()));
        // And so that half of a record's room is left.
        told(&|spool| {
            spool.put_meta(1, b"key", &[7; 15]).unwrap();
            (0..count).for_each(|_| spool.log.append_nop().unwrap());
        });
    }
    for len in 150..350 {
        told(&|spool| {
            spool.put_meta(1, b"long", &[7; 700]).unwrap();
            spool.put_meta(1, b"key", &vec![7; len]).unwrap();
        });
    }
}

#[test]
fn the_last_free_segments_are_kept_for_who_frees_more() {
    let mut spool = spool(NOR, MountOptions { erased_floor_bytes: 5 * 16384, ..MountOptions::default() });
    let log = &mut spool.log;
    let checkpoint = log.checkpoint_segments;
    assert!(checkpoint > 0);
    let kept_back = |log: &SimLog| Purpose::HEADS.map(|purpose| log.kept_back(purpose));
    assert_eq!(kept_back(log), [9 + checkpoint, 7, 9]);
    assert_eq!([log.kept_back(Purpose::Checkpoint), log.kept_back(Purpose::Anchor)], [9, 9]);
    log.may_use_reserve = true;
    assert_eq!(kept_back(log), [9 + checkpoint, 7, 0]);
    log.erased_floor = 0;
    assert_eq!(kept_back(log), [4 + checkpoint, 2, 0]);
}

#[test]
fn both_anchors_are_begun_anew_in_idle_times_of_a_boot() {
    let mut spool = new_spool(NOR);
    spool.put_meta(1, b"key", b"value").unwrap();
    spool.sync().unwrap();
    let mut steps = 0;
    while spool.log.step_erase().unwrap() {
        steps += 1;
        assert!(steps < 100);
    }
    assert_eq!(spool.log.anchor_to_renew(), None);
    let erased: Vec<u32> = spool.log.segments[..2].iter().map(|row| row.erase_count).collect();
    assert_eq!(erased, [1, 1]);
}

#[test]
fn what_an_earlier_boot_gave_up_is_erased_at_once_where_room_is_needed() {
    let mut spool = new_spool(NOR);
    spool.put_meta(1, b"key", b"value").unwrap();
    spool.sync().unwrap();
    let groups = spool.log.counters.groups;
    spool.log.erase_proven().unwrap();
    assert_eq!(spool.log.counters.groups, groups, "there is nothing to erase, and nothing to say");
    let log = &mut spool.log;
    let synced = log.synced_group;
    for (segment, group) in [(10, synced), (11, synced), (12, synced + 50)] {
        seal_row(log, segment).state = State::Retired { group };
    }
    let lease = log.segments[11].lease();
    log.erase_proven().unwrap();
    let states = [10, 11, 12].map(|segment| log.segments[segment].state);
    let retired = |group| State::Retired { group };
    assert_eq!(states, [State::Free, retired(synced), retired(synced + 50)], "one is read, one not proven");
    assert!(log.segments[10].recorded_in.is_some() && log.segments[11].recorded_in.is_none());
    drop(lease);
}

fn seal_row(log: &mut SimLog, segment: u32) -> &mut Segment {
    let row = &mut log.segments[segment as usize];
    row.begin_life(Purpose::Hot, 30);
    row.state = State::Sealed;
    row
}

#[test]
fn an_erase_that_is_in_the_way_is_brought_to_its_end() {
    for (other, expected) in
        [(0, State::Anchor), (1, State::Anchor), (2, State::Erasable), (20, State::Erasable)]
    {
        let mut spool = new_spool(NOR);
        let log = &mut spool.log;
        if other >= ANCHORS {
            seal_row(log, other).state = State::Erasable;
        }
        log.medium.start_erase(other).unwrap();
        log.erasing = Some(other);
        assert_eq!(log.erase_now(30), Ok(true));
        assert_eq!((log.erasing, log.segments[other as usize].state), (None, expected), "{other}");
    }
}

#[test]
fn a_segment_of_an_odd_length_is_looked_at_whole_after_its_erase() {
    let mut spool = new_spool(Geometry { segment_bytes: 4096 + 528, ..NOR });
    assert_eq!(spool.log.erase_now(30), Ok(true));
    assert_eq!(spool.log.segments[30].state, State::Free);
}

#[test]
fn only_what_a_chip_says_of_one_segment_makes_that_segment_bad() {
    use penstock_flash::Error as Flash;
    let (segment, offset) = (3, 0);
    let of_one =
        [Flash::Io { code: 5 }, Flash::Unreadable { segment, offset }, Flash::Mismatch { segment, offset }];
    let chip = new_spool(NOR);
    assert!(of_one.iter().all(|error| chip.log.is_worn(*error)));
    assert!(!chip.log.is_worn(Flash::OutOfBounds { segment, offset }));
    let disk = new_spool(Geometry { unit_bytes: 512, erase: Erase::Logical, ..NOR });
    assert!(!of_one.iter().any(|error| disk.log.is_worn(*error)));
}

#[test]
fn an_erase_that_fails_costs_a_chip_the_segment_and_stops_a_disk() {
    for erase in [Erase::Physical, Erase::Logical] {
        let unit_bytes = if erase == Erase::Physical { 16 } else { 512 };
        let sim = Sim::new(Geometry { unit_bytes, erase, ..NOR }).unwrap();
        crate::format(&mut sim.medium(), [1; 16], false, |_, _| {}).unwrap();
        let buffers = Buffers { hot: vec![0; 8192], moved: vec![0; 8192], status: vec![0; 8192] };
        let mut spool = SimSpool::mount(sim.medium(), buffers, MountOptions::default()).unwrap();
        sim.inject(Fault::FailErase { code: 5 });
        let done = spool.log.erase_now(30);
        let seen = (done.is_ok(), spool.log.segments[30].state, spool.log.is_failed());
        match erase {
            Erase::Physical => assert_eq!((done, seen), (Ok(false), (true, State::Bad, false))),
            Erase::Logical => assert_eq!(seen, (false, State::Free, true)),
        }
    }
}

#[test]
fn a_status_segment_says_again_what_a_root_gave_up_and_when_that_was_erased() {
    let mut spool = new_spool(NOR);
    let log = &mut spool.log;
    for segment in 10..13 {
        seal_row(log, segment);
        log.give_up_by_root(segment).unwrap();
    }
    log.segments[10].state = State::Free;
    log.segments[10].free_since = 77;
    // Used again since, and not erased.
    log.segments[11].state = State::Free;
    log.segments[11].sequence += 1;
    log.open_segment(Purpose::Status).unwrap();
    assert_eq!(
        [10, 11, 12].map(|segment: usize| log.segments[segment].recorded_in.is_some()),
        [true, false, false]
    );
    assert_eq!(log.segments[10].free_since, 77);
}

#[test]
fn free_segments_are_counted_as_far_as_it_is_asked() {
    let spool = new_spool(NOR);
    let free = spool.log.free_segments();
    assert!(spool.log.has_free(0) && spool.log.has_free(free) && !spool.log.has_free(free + 1));
}

#[test]
fn a_retired_segment_is_not_erased_before_a_group_says_that_its_retirement_was_durable() {
    let mut spool = new_spool(NOR);
    spool.put_meta(1, b"key", b"value").unwrap();
    spool.sync().unwrap();
    let log = &mut spool.log;
    seal_row(log, 10);
    log.retire(10).unwrap();
    let State::Retired { group } = log.segments[10].state else { panic!("it was retired") };
    while log.proven_group < group {
        assert!(log.step_erase().unwrap());
        assert!(log.proven_group >= group || log.segments[10].state == State::Retired { group });
    }
    for _ in 0..100 {
        log.step_erase().unwrap();
    }
    assert_eq!(log.segments[10].state, State::Free);
}
