use super::*;
use crate::record::{Fate, Life, SegmentRecord, Status};
use crate::segment::Features;
use crate::walk::Group;

/// A survey of a segment as a test needs it; proven where `scan` is `None`.
pub(crate) fn survey(
    segment: u32,
    sequence: u64,
    purpose: Purpose,
    notes: &[Note],
    scan: Option<Scan>,
) -> Survey {
    let header = SegmentHeader {
        format: 1,
        features: Features::default(),
        volume: [3; 16],
        segments: 32,
        segment_bytes: 4096,
        unit_bytes: 16,
        segment,
        sequence,
        erase_count: 5,
        purpose,
        msg_id_floor: 0,
        synced_group: 0,
        used_segments: 0,
        boot: 0,
        landmarks: Default::default(),
    };
    let mut collected = Notes::default();
    notes.iter().for_each(|note| collected.push(note));
    Survey {
        segment,
        header,
        notes: collected,
        scan,
        newest: NewestTime::default(),
        event_bytes: 0,
        synced_group: 0,
        landmarks: Landmarks::new(32),
        msg_id_floor: 0,
        is_headless: false,
    }
}

fn scan(groups: &[(u64, bool)]) -> Scan {
    let groups = groups.iter().map(|&(number, whole)| Group { number, whole }).collect();
    Scan { groups, ..Scan::new(32) }
}

fn scanned(groups: &[(u64, bool)]) -> Survey {
    survey(7, 7, Purpose::Hot, &[], Some(scan(groups)))
}

fn fate_in(group: u64) -> Note {
    Note::Status { group, id: 1, status: Status::of_all(1, Fate::Delivered) }
}

fn life_in(group: u64) -> Note {
    let record =
        SegmentRecord { segment: 3, sequence: 9, erase_count: 1, purpose: Purpose::Hot, life: Life::Used };
    Note::Segment { group, record }
}

#[test]
fn the_run_behind_what_is_durable_ends_at_the_first_group_that_is_not_there_whole() {
    let to = |groups: &[&[(u64, bool)]], synced_group| {
        let surveys: Vec<Survey> = groups.iter().map(|groups| scanned(groups)).collect();
        unbroken_to(&surveys, synced_group)
    };
    assert_eq!(to(&[&[(4, true), (6, true)], &[(5, true), (7, true)]], 4), 7, "over all segments");
    assert_eq!(to(&[&[(4, true), (5, true), (7, true), (8, true)]], 4), 5, "one is missing");
    assert_eq!(to(&[&[(5, true), (6, false), (7, true)]], 4), 5, "one is not whole");
    assert_eq!(to(&[&[(6, true), (7, true)]], 4), 4, "the first is missing");
    assert_eq!(to(&[&[(1, true), (2, false)]], 4), 4, "what is durable needs no run");
    assert_eq!(to(&[], 4), 4);
    assert_eq!(last_group(&[scanned(&[(4, true), (9, false)]), scanned(&[(8, true)])]), 9);
    assert_eq!(last_group(&[]), 0);
}

#[test]
fn a_scan_vouches_for_whole_groups_within_the_run_and_a_proof_for_all() {
    let scanned = scanned(&[(4, true), (5, false), (6, true)]);
    let vouched = |group| scanned.vouches_for(&fate_in(group), 6);
    assert!(vouched(4) && vouched(6));
    assert!(!vouched(5), "it is not whole");
    Branch::take_reached().for_each(drop);
    assert!(vouched(6) && !Branch::take_reached().any(|branch| branch == Branch::BeyondGap));
    assert!(!scanned.vouches_for(&fate_in(6), 5), "it stands beyond a gap");
    assert!(Branch::take_reached().any(|branch| branch == Branch::BeyondGap));
    assert!(survey(7, 7, Purpose::Hot, &[], None).vouches_for(&fate_in(9), 5));
}

#[test]
fn a_segment_is_empty_only_if_nothing_can_have_stood_in_it() {
    let empty = || scan(&[]);
    let with = |notes: &[Note], scan| survey(7, 7, Purpose::Hot, notes, scan);
    assert!(with(&[], Some(empty())).is_empty());
    assert!(!with(&[fate_in(u64::MAX)], Some(empty())).is_empty(), "a frame without its group's end");
    assert!(!with(&[], Some(scan(&[(4, true)]))).is_empty());
    assert!(!with(&[], Some(Scan { damaged: 1, ..empty() })).is_empty(), "who knows what that was");
    assert!(!with(&[], None).is_empty(), "it was sealed");
}

#[test]
fn without_an_index_only_the_tail_and_what_tells_of_segments_is_kept() {
    for note in [fate_in(1), fate_in(9), life_in(1)] {
        assert!(Keep::Everything.wants(&note, 5));
    }
    assert!(!Keep::Segments.wants(&fate_in(4), 5));
    assert!(!Keep::Segments.wants(&fate_in(5), 5), "it is known durable");
    assert!(Keep::Segments.wants(&fate_in(6), 5));
    assert!(Keep::Segments.wants(&life_in(4), 5));
}

/// A survey of segment 7 that such a landmark speaks of.
fn with_landmark(groups: &[(u64, bool)], group: u64) -> (Survey, Landmarks) {
    let mut landmarks = Landmarks::new(32);
    landmarks.add(Landmark { segment: 7, group });
    (scanned(groups), landmarks)
}

#[test]
fn what_a_landmark_names_and_a_scan_does_not_find_whole_is_rot() {
    let has_rot = |groups: &[(u64, bool)], landmark: u64, base_group: u64| {
        let (survey, landmarks) = with_landmark(groups, landmark);
        survey.has_rot(&landmarks, base_group)
    };
    let groups = [(4, true), (5, false), (6, true)];
    assert!(has_rot(&groups, 6, 0) && has_rot(&groups, 5, 0) && has_rot(&groups, 7, 0));
    assert!(!has_rot(&groups, 4, 0), "what comes after it may be a torn tail");
    assert!(!has_rot(&[(4, true), (6, true)], 6, 0));
    assert!(has_rot(&[], 6, 5) && !has_rot(&[], 6, 6) && !has_rot(&[], 6, 7), "the checkpoint has it");
    let (survey, landmarks) = with_landmark(&groups, 6);
    assert!(!Survey { scan: None, ..survey }.has_rot(&landmarks, 0), "all of it was durable");
    assert!(!scanned(&groups).has_rot(&Landmarks::new(32), 0), "nothing was said of it");
}

#[test]
fn a_landmark_of_an_earlier_life_says_nothing_of_a_segment() {
    let (survey, landmarks) = with_landmark(&[], 6);
    let landmark = |synced_group: u64, is_headless: bool| {
        let header = SegmentHeader { synced_group, ..survey.header.clone() };
        let survey = Survey { header, is_headless, ..scanned(&[]) };
        survey.landmark(&landmarks).map(|landmark| (landmark.segment, landmark.group))
    };
    assert_eq!(landmark(5, false), Some((7, 6)));
    assert_eq!([landmark(6, false), landmark(7, false), landmark(5, true)], [None; 3]);
}

#[test]
fn a_mount_goes_on_with_the_newest_landmark_of_each_head() {
    let mut landmarks = Landmarks::new(32);
    [(7, 6), (8, 9), (9, 8), (10, 5)]
        .into_iter()
        .for_each(|(segment, group)| landmarks.add(Landmark { segment, group }));
    let of = |segment: u32, purpose: Purpose| survey(segment, 1, purpose, &[], None);
    let surveys = [
        of(7, Purpose::Hot),
        of(8, Purpose::Hot),
        of(9, Purpose::Status),
        of(10, Purpose::Status),
        of(11, Purpose::Moved),
    ];
    let newest = newest_of_heads(&surveys, &landmarks).map(|landmark| (landmark.segment, landmark.group));
    assert_eq!(newest, [(8, 9), (0, 0), (9, 8)]);
}
