use penstock_flash::Geometry;

use super::super::Work;
use super::super::tests::{NOR, SimSpool, seal, spool};
use super::*;
use crate::segment::{NewestTime, State};
use crate::spool::MountOptions;

/// What was begun, and about which segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begun {
    Nothing,
    MovingOut(u32),
    Rewriting(u32),
    GivingUp(u32),
}

fn begun(spool: &SimSpool) -> Begun {
    match &spool.reclaim.work {
        None => Begun::Nothing,
        Some(Work::MovingOut(work)) => Begun::MovingOut(work.victim.segment),
        Some(Work::Rewriting(work)) => Begun::Rewriting(work.victim.segment),
        Some(Work::GivingUp(work)) => Begun::GivingUp(work.victim.segment),
    }
}

fn new_spool() -> SimSpool {
    spool(NOR, MountOptions::default())
}

fn data_bytes(spool: &SimSpool) -> u64 {
    u64::from(spool.log.layout.data_bytes())
}

/// Leaves so many segments free; the others are bad.
fn leave_free(spool: &mut SimSpool, count: u32) {
    let mut left = count;
    for row in spool.log.segments.iter_mut().filter(|row| row.state == State::Free) {
        if left == 0 {
            row.state = State::Bad;
        }
        left = left.saturating_sub(1);
    }
    assert_eq!(spool.log.free_segments(), count);
}

fn at(unix_ms: u64) -> Stamp {
    Stamp { unix_ms, boot: 1, trusted: true }
}

#[test]
fn a_trial_of_eight_victims_that_freed_nothing_is_followed_by_a_pause() {
    let after = |given_up: u32, opened: u64| {
        let mut trial = Trial { opened, ..Trial::default() };
        for victim in 0..VICTIMS_A_TRIAL {
            assert_eq!(trial.futile_at, None, "it is not over");
            trial.judge(victim < given_up, 1000, 50);
        }
        assert_eq!((trial.tried, trial.given_up, trial.opened), (0, 0, 0), "the next begins");
        trial
    };
    assert_eq!(after(8, 7).futile_at, None);
    assert_eq!(after(8, 8).futile_at, Some((1000, 50)));
    assert_eq!(after(5, 5).futile_at, Some((1000, 50)));
    assert_eq!(after(1, 0).futile_at, None);
    // Until a segment's worth of mail was delivered, or as many segments opened as make a difference.
    let trial = after(0, 1);
    let is_futile = |live_bytes, sequence| trial.is_futile(live_bytes, sequence, 100);
    assert!(is_futile(1000, 50) && is_futile(901, 65) && is_futile(2000, 65));
    assert!(!is_futile(900, 50) && !is_futile(901, 66) && !is_futile(0, 66));
    assert!(!Trial::default().is_futile(0, 0, 100));
}

#[test]
fn moving_and_rewriting_are_tried_each_by_itself() {
    let mut spool = new_spool();
    spool.live_bytes = 1000;
    for _ in 0..VICTIMS_A_TRIAL {
        spool.judge(Purpose::Status, false);
    }
    assert!(spool.is_futile(&spool.reclaim.rewrites) && !spool.is_futile(&spool.reclaim.moves));
    for _ in 0..VICTIMS_A_TRIAL {
        spool.judge(Purpose::Moved, false);
    }
    assert!(spool.is_futile(&spool.reclaim.moves));
    spool.log.next_sequence += SEGMENTS_A_PAUSE;
    assert!(!spool.is_futile(&spool.reclaim.moves) && !spool.is_futile(&spool.reclaim.rewrites));
}

#[test]
fn a_victim_has_no_more_to_copy_than_a_share() {
    let mut spool = new_spool();
    let data_bytes = data_bytes(&spool);
    // What stands there, and a group for each that records it.
    let half = data_bytes / 2 - 4 * 16;
    let mut is_victim = |live_bytes: u64, change: &dyn Fn(&mut Segment)| {
        change(seal(&mut spool, 10, Purpose::Hot, 20, live_bytes));
        spool.victims((1, 2), |row| row.sequence == 20).count() == 1
    };
    assert!(is_victim(half - 1, &|_| {}));
    assert!(!is_victim(half, &|_| {}));
    assert!(!is_victim(half - 1, &|row| row.event_bytes = 1), "events have to be copied too");
    assert!(is_victim(0, &|row| row.event_bytes = 16384), "where nothing is live nothing need be");
    assert!(!is_victim(0, &|row| row.held = 1));
    assert!(!is_victim(0, &|row| row.is_unreadable = true));
    assert!(!is_victim(0, &|row| row.state = State::Open));
    assert!(!is_victim(0, &|row| row.state = State::Quarantined));
    let lease = spool.log.segments[10].lease();
    let is_victim = |spool: &SimSpool| spool.victims((1, 2), |row| row.sequence == 20).count() == 1;
    seal(&mut spool, 10, Purpose::Hot, 20, 0);
    assert!(!is_victim(&spool), "somebody reads it");
    drop(lease);
    assert!(is_victim(&spool));
}

#[test]
fn a_status_segment_that_is_full_of_notes_is_dear() {
    let mut spool = new_spool();
    let mut copied = |purpose, live: u32| {
        let row = seal(&mut spool, 10, purpose, 20, 1000);
        row.live = live;
        let row = row.clone();
        spool.copied_bytes(&row)
    };
    assert_eq!([copied(Purpose::Status, 1), copied(Purpose::Hot, 30)], [1064, 1064]);
    // The notes may take 1/16 of the segment, so 30 of 24 bytes are most of it.
    let full = copied(Purpose::Status, 30);
    assert!((10_000..13_000).contains(&full), "{full}");
}

#[test]
fn what_frees_the_most_for_its_cost_goes_first_and_age_counts() {
    let mut spool = new_spool();
    let data_bytes = data_bytes(&spool);
    spool.log.segments[20].sequence = 1000;
    let mut picked = |rows: [(u64, u64); 2]| {
        for (segment, (sequence, live_bytes)) in (10..).zip(rows) {
            seal(&mut spool, segment, Purpose::Hot, sequence, live_bytes);
        }
        spool.pick_victim(LIVE_SHARE_MAX, |row| row.purpose.holds_mail())
    };
    let half = data_bytes / 2;
    assert_eq!(picked([(701, half), (801, half)]), Some(10), "the older one of two that are alike");
    assert_eq!(picked([(801, half), (701, half)]), Some(11));
    assert_eq!(picked([(701, 100), (701, half)]), Some(10), "the emptier one");
    assert_eq!(picked([(701, half), (701, 100)]), Some(11));
    // A half frees a third of what it costs to read and write, an empty one all of it.
    assert_eq!(picked([(701, half), (801, 1)]), Some(11));
    assert_eq!(picked([(401, half), (901, 1)]), Some(10), "though for long enough it waits");
    assert_eq!(picked([(1, data_bytes), (2, data_bytes)]), None, "nothing that is full");
}

#[test]
fn finished_mail_goes_when_its_time_is_over_and_not_before() {
    let options = MountOptions { kept_age_max_ms: 500, kept_bytes_max: 9000, ..MountOptions::default() };
    let chosen = |now: Stamp, kept_bytes: u64, live_bytes: u64| {
        let mut spool = spool(NOR, options);
        for (segment, sequence) in [(10, 21), (11, 20)] {
            seal(&mut spool, segment, Purpose::Hot, sequence, live_bytes).newest = NewestTime::of(at(1000));
        }
        seal(&mut spool, 12, Purpose::Status, 5, 100).newest = NewestTime::of(at(1000));
        spool.kept_bytes = kept_bytes;
        assert_eq!(spool.choose_work(now), begun(&spool) != Begun::Nothing);
        begun(&spool)
    };
    assert_eq!(chosen(at(1500), 9000, 0), Begun::Nothing);
    assert_eq!(chosen(at(1501), 9000, 0), Begun::GivingUp(11), "the oldest first");
    assert_eq!(chosen(Stamp { trusted: false, ..at(9999) }, 9000, 0), Begun::Nothing);
    assert_eq!(chosen(at(1500), 9001, 0), Begun::GivingUp(11), "there is more than there may be");
    assert_eq!(chosen(at(1501), 9000, 100), Begun::MovingOut(11), "little of it has to be moved");
    let quarter = u64::from(new_spool().log.layout.data_bytes()) / 4;
    assert_eq!(chosen(at(1501), 9000, quarter), Begun::Nothing, "too much of it");
}

#[test]
fn mail_of_an_untrusted_clock_is_as_old_as_what_came_after_it_is_known_to_be() {
    let options = MountOptions { kept_age_max_ms: 500, ..MountOptions::default() };
    let untrusted = |unix_ms| NewestTime::of(Stamp { trusted: false, ..at(unix_ms) });
    // One segment of an untrusted clock, and what was opened after it.
    let chosen = |purpose: Purpose, newest: NewestTime, later: &[(Purpose, u64, NewestTime)], now_ms: u64| {
        let mut spool = spool(NOR, options);
        seal(&mut spool, 10, purpose, 20, 0).newest = newest;
        for ((purpose, sequence, newest), segment) in later.iter().zip(11..) {
            // They cannot be chosen themselves.
            let row = seal(&mut spool, segment, *purpose, *sequence, 0);
            (row.newest, row.held) = (*newest, 1);
        }
        spool.choose_work(at(now_ms)) && begun(&spool) == Begun::GivingUp(10)
    };
    let (hot, moved, late) = (Purpose::Hot, Purpose::Moved, 9_000_000);
    assert!(!chosen(hot, untrusted(1), &[], late), "nothing tells");
    assert!(
        !chosen(hot, NewestTime::of(at(1000)).with(untrusted(1)), &[], late),
        "of one message nothing tells"
    );
    assert!(!chosen(
        hot,
        untrusted(1),
        &[(hot, 21, untrusted(2)), (Purpose::Status, 22, NewestTime::of(at(1)))],
        late
    ));
    let after =
        [(hot, 21, untrusted(2)), (hot, 22, NewestTime::of(at(1000))), (hot, 23, NewestTime::of(at(5000)))];
    assert!(!chosen(hot, untrusted(1), &after, 1500));
    assert!(chosen(hot, untrusted(1), &after, 1501));
    assert!(chosen(hot, NewestTime::default(), &after, 1501), "a part of a message that began before");
    // What is moved is older than where it stands: only what came after the last of it tells.
    assert!(!chosen(moved, untrusted(1), &after, late), "more may be moved there yet");
    let after = [
        (hot, 21, NewestTime::of(at(1000))),
        (moved, 22, NewestTime::of(at(1))),
        (hot, 23, NewestTime::of(at(5000))),
    ];
    assert!(!chosen(moved, untrusted(1), &after, 5500));
    assert!(chosen(moved, untrusted(1), &after, 5501));
}

#[test]
fn where_moving_frees_nothing_what_need_not_be_moved_goes_all_the_same() {
    let mut spool = spool(NOR, MountOptions { kept_bytes_max: 0, ..MountOptions::default() });
    spool.kept_bytes = 1;
    spool.live_bytes = 1000;
    (0..VICTIMS_A_TRIAL).for_each(|_| spool.judge(Purpose::Moved, false));
    seal(&mut spool, 10, Purpose::Hot, 20, 100);
    assert!(!spool.choose_work(at(0)));
    seal(&mut spool, 11, Purpose::Hot, 21, 0);
    assert!(spool.choose_work(at(0)));
    assert_eq!(begun(&spool), Begun::GivingUp(11));
}

#[test]
fn room_is_made_where_fewer_segments_are_free_than_it_aims_at() {
    let chosen = |missing: u32| {
        let mut spool = new_spool();
        seal(&mut spool, 10, Purpose::Hot, 20, 0);
        let aim = spool.log.kept_back(Purpose::Hot) + FREE_AIM;
        leave_free(&mut spool, aim - missing);
        spool.choose_work(at(0));
        begun(&spool)
    };
    assert_eq!([chosen(0), chosen(1)], [Begun::Nothing, Begun::GivingUp(10)]);
}

#[test]
fn room_is_made_by_what_costs_least() {
    let mut spool = new_spool();
    leave_free(&mut spool, 4);
    spool
        .log
        .segments
        .iter_mut()
        .filter(|row| row.state == State::Sealed)
        .for_each(|row| row.state = State::Bad);
    let chosen = |spool: &mut SimSpool| {
        spool.reclaim.work = None;
        spool.choose_for_room();
        begun(spool)
    };
    assert_eq!(chosen(&mut spool), Begun::Nothing);
    seal(&mut spool, 10, Purpose::Hot, 30, 5000);
    seal(&mut spool, 11, Purpose::Moved, 20, 5000);
    assert_eq!(chosen(&mut spool), Begun::MovingOut(11));
    seal(&mut spool, 12, Purpose::Moved, 50, 0);
    seal(&mut spool, 13, Purpose::Hot, 40, 0);
    assert_eq!(chosen(&mut spool), Begun::GivingUp(13), "the oldest that is kept");
    seal(&mut spool, 14, Purpose::Status, 60, 100);
    seal(&mut spool, 15, Purpose::Status, 61, 100);
    assert_eq!(chosen(&mut spool), Begun::GivingUp(13), "two airy ones would only leave two");
    spool.log.segments[15].event_bytes = 100_000;
    assert_eq!(chosen(&mut spool), Begun::Rewriting(14), "the oldest, for there are too many events");
    spool.log.segments[15].event_bytes = 0;
    seal(&mut spool, 16, Purpose::Status, 55, 100);
    assert_eq!(chosen(&mut spool), Begun::Rewriting(16));
    for _ in 0..VICTIMS_A_TRIAL {
        spool.judge(Purpose::Status, false);
        spool.judge(Purpose::Moved, false);
    }
    assert_eq!(chosen(&mut spool), Begun::GivingUp(13), "rewriting them has freed nothing");
    (spool.log.segments[12].live, spool.log.segments[13].live) = (1, 1);
    assert_eq!(chosen(&mut spool), Begun::Nothing, "nor has moving");
}

#[test]
fn events_have_a_sixteenth_of_the_volume_and_no_more_than_64_mib() {
    let bound = |geometry: Geometry, exempt: u64| {
        let mut spool = spool(geometry, MountOptions::default());
        spool.reclaim.events_exempt_bytes = exempt;
        seal(&mut spool, 10, Purpose::Status, 20, 0);
        let (mut low, mut high) = (0, u32::MAX);
        while low < high {
            let middle = low + (high - low) / 2;
            spool.log.segments[10].event_bytes = middle;
            if spool.has_too_many_events() { high = middle } else { low = middle + 1 }
        }
        low - 1
    };
    assert_eq!(bound(NOR, 0), 65536);
    assert_eq!(bound(Geometry { segments: 20, ..NOR }, 0), 2 * 16384, "in the smallest two segments");
    assert_eq!(bound(NOR, 60_000), 60_000 + 16384, "where none could go, a segment more");
    let large = Geometry { segments: 2048, segment_bytes: 1 << 24, unit_bytes: 4096, erase: Erase::Logical };
    assert_eq!(bound(large, 0), 64 << 20);
    let mut spool = new_spool();
    seal(&mut spool, 10, Purpose::Status, 20, 0).event_bytes = 40_000;
    seal(&mut spool, 11, Purpose::Status, 21, 0).event_bytes = 25_537;
    assert!(spool.has_too_many_events(), "in all segments together");
}

#[test]
fn what_stands_a_thousand_erases_behind_is_moved_so_that_cells_wear_alike() {
    let chosen = |most: u32, purpose: Purpose, erase: Erase| {
        let unit_bytes = if erase == Erase::Logical { 512 } else { 16 };
        let options = MountOptions { wear_gap_max: 1000, ..MountOptions::default() };
        let mut spool = spool(Geometry { unit_bytes, erase, ..NOR }, options);
        spool.log.segments.iter_mut().for_each(|row| row.erase_count = 5000);
        seal(&mut spool, 10, purpose, 20, 9000).erase_count = 300;
        seal(&mut spool, 11, Purpose::Hot, 21, 9000).erase_count = 400;
        spool.log.segments[30].erase_count = most;
        spool
            .log
            .segments
            .iter_mut()
            .filter(|row| row.erase_count == 5000)
            .for_each(|row| row.erase_count = 900);
        spool.choose_work(at(0));
        (begun(&spool), spool.reclaim.levelling_after)
    };
    assert_eq!(chosen(1300, Purpose::Hot, Erase::Physical), (Begun::Nothing, 0));
    let (hot, after) = chosen(1301, Purpose::Hot, Erase::Physical);
    assert_eq!((hot, after), (Begun::MovingOut(10), ERASES_A_LEVELLING));
    assert_eq!(chosen(1301, Purpose::Moved, Erase::Physical).0, Begun::MovingOut(10));
    assert_eq!(chosen(1301, Purpose::Status, Erase::Physical).0, Begun::Rewriting(10));
    assert_eq!(chosen(1301, Purpose::Hot, Erase::Logical), (Begun::Nothing, 0), "a disk sees to that itself");
    // Checkpoints move by themselves, and of the others none is so far behind.
    assert_eq!(chosen(1301, Purpose::Checkpoint, Erase::Physical), (Begun::Nothing, 0));
    assert_eq!(chosen(1401, Purpose::Checkpoint, Erase::Physical).0, Begun::MovingOut(11));
}

#[test]
fn wear_is_levelled_once_in_sixteen_erases() {
    let mut spool = spool(NOR, MountOptions { wear_gap_max: 10, ..MountOptions::default() });
    spool.log.segments.iter_mut().for_each(|row| row.erase_count = 500);
    seal(&mut spool, 10, Purpose::Hot, 20, 9000).erase_count = 100;
    let mut is_chosen_at = |erases: u64| {
        spool.reclaim.work = None;
        spool.log.counters.erases = erases;
        spool.choose_for_wear();
        spool.reclaim.work.is_some()
    };
    assert_eq!(
        [7, 8, 22, 23, 24, 38, 39].map(&mut is_chosen_at),
        [true, false, false, true, false, false, true]
    );
}
