use super::super::survey::tests::survey;
use super::*;
use crate::landmark::{Landmark, Landmarks};
use crate::record::Stamp;
use crate::walk::{Group, Scan};

/// What a record of group `group` says of a segment.
fn told(group: u64, segment: u32, sequence: u64, life: Life) -> Note {
    let record = SegmentRecord { segment, sequence, erase_count: 2, purpose: Purpose::Hot, life };
    Note::Segment { group, record }
}

fn status(sequence: u64, notes: &[Note]) -> Survey {
    survey(sequence as u32, sequence, Purpose::Status, notes, None)
}

/// The newest record about segment 9 that these leave, and whether one was not believed.
fn newest_of_9(surveys: &[Survey], base_group: u64, synced_group: u64) -> (Option<(u64, Life)>, bool) {
    let records = Records::read(surveys, base_group, synced_group);
    let newest = records.newest.get(&9).map(|newest| (newest.record.sequence, newest.record.life));
    (newest, records.disbelieved.contains(&9))
}

#[test]
fn what_stands_later_is_newer_unless_it_tells_of_an_older_life() {
    let (used, retired) = (told(11, 9, 50, Life::Used), told(12, 9, 50, Life::Retired));
    let both = [status(20, core::slice::from_ref(&used)), status(21, core::slice::from_ref(&retired))];
    assert_eq!(newest_of_9(&both, 0, 100), (Some((50, Life::Retired)), false));
    assert_eq!(newest_of_9(&[status(20, &[retired, used.clone()])], 0, 100).0, Some((50, Life::Used)));
    let older = [status(20, &[used, told(13, 9, 49, Life::Bad)])];
    assert_eq!(newest_of_9(&older, 0, 100).0, Some((50, Life::Used)));
    let mail = survey(20, 20, Purpose::Hot, &[told(11, 9, 50, Life::Used)], None);
    assert_eq!(newest_of_9(&[mail], 0, 100).0, None, "only status segments tell");
}

#[test]
fn a_record_that_is_not_known_durable_keeps_a_segment_and_gives_none_away() {
    let used = told(11, 9, 50, Life::Used);
    for (life, group, believed) in [
        (Life::Retired, 30, true),
        (Life::Retired, 31, false),
        (Life::Clean { since: 1 }, 31, false),
        (Life::Bad, 31, false),
        (Life::Used, 31, true),
        (Life::Left { last_group: 10 }, 31, true),
    ] {
        let surveys = [status(20, &[used.clone(), told(group, 9, 50, life)])];
        let expected = if believed { life } else { Life::Used };
        assert_eq!(newest_of_9(&surveys, 0, 30), (Some((50, expected)), !believed), "{life:?} in {group}");
    }
}

#[test]
fn what_a_checkpoint_knew_is_not_told_again_and_not_forgotten() {
    let surveys = [status(20, &[told(30, 9, 50, Life::Retired)])];
    assert_eq!(newest_of_9(&surveys, 30, 100).0, None, "the checkpoint has it");
    assert_eq!(newest_of_9(&surveys, 29, 100).0, Some((50, Life::Retired)));
    let records = Records::read(&surveys, 30, 100);
    assert!(records.tell_of(&survey(9, 50, Purpose::Hot, &[], None).header));
    assert!(!records.tell_of(&survey(9, 51, Purpose::Hot, &[], None).header), "not of that life");
}

#[test]
fn the_newest_segments_were_never_opened_if_they_are_empty_and_told_of_nowhere() {
    let empty = |sequence: u64| survey(9, sequence, Purpose::Hot, &[], Some(Scan::new(10)));
    let filled = |sequence: u64| {
        let scan = Scan { groups: [Group { number: 1, whole: true }].into(), ..Scan::new(10) };
        survey(9, sequence, Purpose::Hot, &[], Some(scan))
    };
    let none = Records::default();
    let mut landmarks = Landmarks::new(10);
    assert_eq!(none.count_opened(&[empty(5), empty(6)], &landmarks, 0), 0);
    assert_eq!(none.count_opened(&[filled(5), empty(6), empty(7)], &landmarks, 0), 1);
    assert_eq!(
        none.count_opened(&[empty(5), filled(6), empty(7)], &landmarks, 0),
        2,
        "all before one that was opened"
    );
    assert_eq!(
        none.count_opened(&[empty(5), empty(6), empty(7)], &landmarks, 6),
        1,
        "a checkpoint knows the first"
    );
    let told = Records::read(&[status(20, &[told(11, 9, 6, Life::Used)])], 0, 100);
    assert_eq!(told.count_opened(&[empty(5), empty(6), empty(7)], &landmarks, 0), 2);
    let reaches = |surveys: &[Survey]| {
        Branch::take_reached().for_each(drop);
        none.count_opened(surveys, &landmarks, 0);
        Branch::take_reached().any(|branch| branch == Branch::NeverOpened)
    };
    assert!(reaches(&[filled(5), empty(6)]) && !reaches(&[empty(5), filled(6)]));
    landmarks.add(Landmark { segment: 9, group: 1 });
    assert_eq!(none.count_opened(&[empty(5)], &landmarks, 0), 1, "something stood there");
}

/// A time that a trusted clock gave.
fn newest(unix_ms: u64) -> NewestTime {
    NewestTime::of(Stamp { unix_ms, boot: 1, trusted: true })
}

/// A row as it is before records are entered.
fn row(state: State, sequence: u64) -> Segment {
    let mut row = Segment::new(state);
    (row.sequence, row.erase_count, row.newest, row.event_bytes) = (sequence, 7, newest(1000), 64);
    row
}

/// The row of segment 9 after what was said of it was entered.
fn after(before: Segment, purpose: Purpose, sequence: u64, life: Life) -> Segment {
    let mut segments: Vec<Segment> = (0..10).map(|_| Segment::new(State::Free)).collect();
    segments[9] = before;
    let record = SegmentRecord { segment: 9, sequence, erase_count: 2, purpose, life };
    let surveys = [status(20, &[Note::Segment { group: 11, record }])];
    enter_records(&mut segments, &Records::read(&surveys, 0, 100));
    segments.swap_remove(9)
}

#[test]
fn a_record_says_where_a_segment_stands() {
    let sealed = || row(State::Sealed, 50);
    for (before, sequence, life, expected) in [
        (sealed(), 50, Life::Used, State::Sealed),
        // Its header is gone, or was not even read.
        (row(State::Free, 0), 50, Life::Used, State::Quarantined),
        // There is a header, but of a life before that.
        (sealed(), 51, Life::Used, State::Quarantined),
        (sealed(), 50, Life::Left { last_group: 10 }, State::Sealed),
        (sealed(), 51, Life::Left { last_group: 10 }, State::Quarantined),
        (sealed(), 50, Life::Retired, State::Erasable),
        (sealed(), 50, Life::Clean { since: 1 }, State::Free),
        (sealed(), 50, Life::Bad, State::Bad),
        (row(State::Anchor, 50), 50, Life::Retired, State::Anchor),
        // It was opened again since.
        (sealed(), 49, Life::Retired, State::Sealed),
    ] {
        let how = std::format!("{before:?}, {sequence}, {life:?}");
        assert_eq!(after(before, Purpose::Hot, sequence, life).state, expected, "{how}");
    }
    let checkpoint = after(row(State::Free, 0), Purpose::Checkpoint, 50, Life::Used);
    assert_eq!(checkpoint.state, State::Sealed, "nobody asked for its header");
}

#[test]
fn what_stood_in_a_segment_goes_with_that_life_of_it() {
    let seen = |row: &Segment| {
        (row.sequence, row.newest.of_all_ms(), row.event_bytes, row.erase_count, row.recorded_in)
    };
    let same = after(row(State::Sealed, 50), Purpose::Hot, 50, Life::Used);
    assert_eq!(seen(&same), (50, Some(1000), 64, 7, Some(20)));
    let retired = after(row(State::Sealed, 50), Purpose::Hot, 50, Life::Retired);
    assert_eq!(seen(&retired), (50, Some(1000), 64, 7, Some(20)));
    let clean = after(row(State::Sealed, 50), Purpose::Hot, 50, Life::Clean { since: 1 });
    assert_eq!(seen(&clean), (50, None, 0, 7, Some(20)));
    let another = after(row(State::Sealed, 50), Purpose::Moved, 51, Life::Retired);
    assert_eq!(seen(&another), (51, None, 0, 7, Some(20)));
    assert_eq!(another.purpose, Purpose::Moved);
    // A record that is older than the header says nothing.
    let older = after(row(State::Sealed, 50), Purpose::Moved, 49, Life::Retired);
    assert_eq!((seen(&older), older.purpose), ((50, Some(1000), 64, 7, None), Purpose::Hot));
}

#[test]
fn how_far_a_stop_left_a_segment_is_told_of_its_newest_record_alone() {
    let left = Life::Left { last_group: 10 };
    let row = |life| after(row(State::Sealed, 50), Purpose::Hot, 50, life);
    assert_eq!((row(left).last_group, row(Life::Used).last_group), (10, 0));
    let named = |notes: &[Note]| {
        let mut landmarks = Landmarks::new(10);
        Records::read(&[status(20, notes)], 0, 100).add_landmarks(&mut landmarks);
        landmarks.last_in(9)
    };
    assert_eq!(named(&[told(11, 9, 50, left)]), Some(10));
    assert_eq!(named(&[told(11, 9, 50, Life::Used)]), None);
    assert_eq!(named(&[told(11, 9, 50, left), told(12, 9, 50, Life::Retired)]), None);
}

#[test]
fn how_far_a_stop_left_a_segment_is_forgotten_with_that_life_of_it() {
    let mut row = Segment::new(State::Free);
    row.last_group = 10;
    row.begin_life(Purpose::Hot, 51);
    assert_eq!((row.state, row.last_group), (State::Open, 0));
}

#[test]
fn a_survey_adds_to_what_a_checkpoint_knew_or_begins_anew() {
    let surveyed = |known: Segment, sequence, scan: Option<Scan>| {
        let mut segments: Vec<Segment> = (0..10).map(|_| Segment::new(State::Free)).collect();
        segments[9] = known;
        let survey =
            Survey { newest: newest(900), event_bytes: 8, ..survey(9, sequence, Purpose::Moved, &[], scan) };
        enter_survey(&mut segments, &survey);
        let row = segments.swap_remove(9);
        (row.state, row.purpose, row.sequence, row.newest.of_all_ms().unwrap_or(0), row.event_bytes)
    };
    let known = || row(State::Sealed, 50);
    // A summary is of the whole segment, a scan of what came after the checkpoint.
    assert_eq!(surveyed(known(), 50, None), (State::Sealed, Purpose::Hot, 50, 1000, 8));
    let scan = || Some(Scan::new(10));
    assert_eq!(surveyed(known(), 50, scan()), (State::Sealed, Purpose::Hot, 50, 1000, 72));
    let anew = (State::Sealed, Purpose::Moved, 51, 900, 8);
    assert_eq!(surveyed(known(), 51, scan()), anew);
    assert_eq!(surveyed(row(State::Erasable, 51), 51, scan()), anew);
}

#[test]
fn what_was_used_and_has_neither_header_nor_record_is_left_alone() {
    let mut segments: Vec<Segment> = (0..5).map(|_| Segment::new(State::Free)).collect();
    segments[0].recorded_in = Some(1);
    segments[1].state = State::Sealed;
    quarantine_headless(&mut segments, 4);
    let states: Vec<State> = segments.iter().map(|row| row.state).collect();
    let [free, sealed, quarantined] = [State::Free, State::Sealed, State::Quarantined];
    assert_eq!(states, [free, sealed, quarantined, quarantined, free], "the last was never used");
}

#[test]
fn never_used_segments_are_opened_first_and_then_the_one_that_was_free_for_longest() {
    let mut segments: Vec<Segment> = (0..7).map(|_| Segment::new(State::Free)).collect();
    for (row, since) in segments.iter_mut().zip([8, 6, 7, 9, 5]) {
        row.free_since = since;
    }
    segments[1].state = State::Sealed;
    assert_eq!(next_to_open(&segments, 9), [5, 6, 4, 2, 0, 3]);
    assert_eq!(next_to_open(&segments, 2), [5, 6]);
}

#[test]
fn anchors_are_what_they_are_whatever_stands_in_them() {
    let mut segments: Vec<Segment> = (0..5).map(|_| Segment::new(State::Free)).collect();
    segments[1].recorded_in = Some(4);
    let header =
        |segment: u32| survey(segment, 60 + u64::from(segment), Purpose::Checkpoint, &[], None).header;
    [0, 3, 77].iter().for_each(|segment| enter_header(&mut segments, &header(*segment)));
    enter_anchors(&mut segments);
    let seen = |row: &Segment| (row.state, row.purpose, row.sequence, row.erase_count, row.recorded_in);
    assert_eq!(seen(&segments[0]), (State::Anchor, Purpose::Anchor, 60, 5, None));
    assert_eq!(seen(&segments[1]), (State::Anchor, Purpose::Anchor, 0, 0, None));
    assert_eq!(seen(&segments[2]), (State::Free, Purpose::Hot, 0, 0, None));
    assert_eq!(seen(&segments[3]), (State::Sealed, Purpose::Checkpoint, 63, 5, None));
}

#[test]
fn what_a_root_gives_up_waits_for_its_erase_unless_more_is_known_of_it() {
    let row = |state: State, sequence: u64| {
        let mut row = Segment::new(state);
        row.sequence = sequence;
        row
    };
    let mut segments = [
        row(State::Anchor, 10),
        row(State::Bad, 11),
        row(State::Sealed, 12),
        row(State::Sealed, 14),
        row(State::Free, 14),
        row(State::Free, 14),
        row(State::Quarantined, 16),
    ];
    let mut given_up: Vec<Opened> = [10, 11, 12, 13, 14, 15, 16]
        .into_iter()
        .zip(0..)
        .map(|(sequence, segment)| Opened { segment, sequence })
        .collect();
    given_up.push(Opened { segment: 99, sequence: 17 });
    enter_given_up(&mut segments, &given_up);
    let expected = [
        (State::Anchor, 10),
        (State::Bad, 11),
        (State::Erasable, 12),
        // It was used again since; it was erased; it was in use once more, of which no record was left.
        (State::Sealed, 14),
        (State::Free, 14),
        (State::Erasable, 15),
        (State::Erasable, 16),
    ];
    let seen: Vec<(State, u64)> = segments.iter().map(|row| (row.state, row.sequence)).collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_life_is_over_when_its_retirement_or_a_later_one_is_told_of() {
    let tells_end = |sequence: u64, life: Life| {
        let records = Records::read(&[status(20, &[told(11, 9, sequence, life)])], 0, 100);
        records.tell_end_of(&Opened { segment: 9, sequence: 50 })
    };
    assert!(
        tells_end(50, Life::Retired) && tells_end(50, Life::Clean { since: 1 }) && tells_end(50, Life::Bad)
    );
    assert!(!tells_end(50, Life::Used));
    assert!(tells_end(51, Life::Used), "it was opened again");
    assert!(!tells_end(49, Life::Retired), "that was the life before");
    assert!(!Records::default().tell_end_of(&Opened { segment: 9, sequence: 50 }));
}

#[test]
fn a_record_about_the_life_before_tells_nothing_of_a_segment() {
    let records = Records::read(&[status(20, &[told(11, 9, 50, Life::Used)])], 0, 100);
    let tells = |segment, sequence| records.tell_since(&Opened { segment, sequence });
    assert!(tells(9, 49) && tells(9, 50));
    assert!(!tells(9, 51) && !tells(8, 50));
}
