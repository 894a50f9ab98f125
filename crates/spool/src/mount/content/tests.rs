use alloc::vec;

use penstock_flash::{Erase, Geometry};

use super::super::survey::tests::survey;
use super::{counts as is_counted, *};
use crate::record::Meta;
use crate::segment::Layout;
use crate::walk::{Group, Scan};

/// The last group that is known durable.
const DURABLE: u64 = 10;

/// A medium on which nothing stands, so that a message read through is never whole.
#[derive(Clone)]
struct Blank;

impl ReadAt for Blank {
    fn read(&self, _: u32, _: u32, into: &mut [u8]) -> Result<(), penstock_flash::Error> {
        into.fill(0xFF);
        Ok(())
    }
}

fn proven(segment: u32, purpose: Purpose, notes: &[Note]) -> Survey {
    survey(segment, u64::from(100 + segment), purpose, notes, None)
}

/// A segment that was scanned, with such groups, each of them whole or not.
fn scanned(segment: u32, purpose: Purpose, notes: &[Note], groups: &[(u64, bool)]) -> Survey {
    let groups = groups.iter().map(|&(number, whole)| Group { number, whole }).collect();
    Survey { scan: Some(Scan { groups, ..Scan::new(32) }), ..proven(segment, purpose, notes) }
}

fn commit(group: u64, id: u64) -> Note {
    Note::Commit { group, id, offset: 640, size_bytes: 100, recipients: 1, wide: false }
}

fn delivered(group: u64, id: u64) -> Note {
    Note::Status { group, id, status: Status::of_all(1, Fate::Delivered) }
}

fn state(group: u64) -> Note {
    Note::Meta { group, meta: Meta { namespace: 1, key: vec![7], value: vec![8] } }
}

/// What a mount takes from these segments, of which those `given_up` are known to be over.
fn taken(ground: Ground, surveys: Vec<Survey>, given_up: &[u32], keep: Keep) -> Content {
    taken_with_rows(ground, surveys, given_up, keep).0
}

/// The same, with the table of segments that is left.
fn taken_with_rows(
    mut ground: Ground,
    surveys: Vec<Survey>,
    given_up: &[u32],
    keep: Keep,
) -> (Content, Vec<Segment>) {
    let (segment_bytes, unit_bytes) = (4096, 16);
    let geometry = Geometry { segments: 32, segment_bytes, unit_bytes, erase: Erase::Physical };
    let layout = Layout::of(&geometry).unwrap();
    let volume = Volume { reader: Blank, layout, geometry, id: [3; 16] };
    let mut rows = Ground::bare(32).segments;
    for survey in &surveys {
        let row = &mut rows[survey.segment as usize];
        row.state = if given_up.contains(&survey.segment) { State::Erasable } else { State::Sealed };
        row.purpose = survey.header.purpose;
        row.sequence = survey.header.sequence;
        row.recorded_in = ground.segments[survey.segment as usize].recorded_in;
        ground.segments[survey.segment as usize].sequence = row.sequence;
    }
    let content = take_content(&volume, ground, surveys, &mut rows, DURABLE, keep);
    (content, rows)
}

fn taken_anew(surveys: Vec<Survey>, given_up: &[u32]) -> Content {
    taken(Ground::bare(32), surveys, given_up, Keep::Everything)
}

#[test]
fn a_torn_message_of_which_a_whole_copy_is_found_is_torn_no_more_and_the_others_are() {
    let notes = [commit(12, 1), commit(12, 2)];
    let torn = scanned(5, Purpose::Hot, &notes, &[(11, true), (12, false)]);
    let found = taken_anew(vec![torn, proven(6, Purpose::Moved, &[commit(13, 1)])], &[]);
    assert_eq!((found.torn, found.damaged_messages), (vec![MessageId(2)], 0));
    let entry = |id| *found.index.get(MessageId(id)).unwrap();
    assert_eq!(entry(1).commit.segment, 6);
    assert!(entry(1).is_live() && !entry(1).is_damaged());
    assert_eq!(found.index.fate(&entry(2), 0), Fate::Torn);
}

#[test]
fn what_a_checkpoint_knew_where_it_stands_is_no_copy_of_itself() {
    let mut ground = Ground::bare(32);
    let place = Place { segment: 5, offset: 640 };
    ground.index.insert(Entry::new(1, place, 100, 1), &[]);
    ground.segments[5].state = State::Sealed;
    let again = scanned(5, Purpose::Hot, &[commit(11, 1)], &[(11, true)]);
    let found = taken(ground, vec![again], &[], Keep::Everything);
    let entry = *found.index.get(MessageId(1)).unwrap();
    assert_eq!((entry.commit, found.index.copies_of(&entry)), (place, vec![]));
}

#[test]
fn what_stands_in_a_segment_that_was_given_up_tells_nothing() {
    let mail = scanned(5, Purpose::Hot, &[commit(9, 1)], &[(9, true)]);
    let over = scanned(7, Purpose::Status, &[delivered(10, 1), state(10), state(11)], &[(10, true)]);
    let found = taken_anew(vec![mail, over], &[7]);
    assert!(found.index.get(MessageId(1)).unwrap().is_live());
    assert_eq!(found.meta.get(1, &[7]), None);
    assert!(found.tail.records.is_empty());
}

#[test]
fn what_was_told_in_a_segment_that_was_given_up_is_told_anew_and_counted_nowhere() {
    let mut ground = Ground::bare(32);
    ground.index.insert(Entry::new(1, Place { segment: 5, offset: 640 }, 100, 1), &[6, 8]);
    ground.index.get_mut(MessageId(1)).unwrap().record_status(7, true);
    ground.meta.apply(&Meta { namespace: 1, key: vec![7], value: vec![8] }, 7);
    [5, 6, 8].into_iter().for_each(|segment| ground.segments[segment].state = State::Sealed);
    let surveys =
        vec![proven(5, Purpose::Hot, &[]), proven(7, Purpose::Status, &[]), proven(8, Purpose::Hot, &[])];
    let Content { index, meta, tail, .. } = taken(ground, surveys, &[7, 8], Keep::Everything);
    let entry = *index.get(MessageId(1)).unwrap();
    assert_eq!((entry.status_segment(), entry.is_damaged(), entry.is_live()), (None, true, true));
    assert!(!index.holds(&entry, 8), "a part of it stood there");
    assert_eq!(meta.in_segment(7, 9), []);
    assert!(
        matches!(tail.records[..], [Note::Status { id: 1, .. }, Note::Meta { .. }]),
        "{:?}",
        tail.records
    );
}

#[test]
fn a_life_that_was_told_of_in_a_segment_that_was_given_up_is_told_anew() {
    for (given_up, told_anew, live) in [(vec![7], vec![5], 0), (vec![], vec![], 1)] {
        let mut ground = Ground::bare(32);
        ground.segments[5].recorded_in = Some(7);
        let surveys = vec![proven(5, Purpose::Hot, &[]), proven(7, Purpose::Status, &[])];
        let (found, rows) = taken_with_rows(ground, surveys, &given_up, Keep::Everything);
        assert_eq!((found.tail.disbelieved, rows[7].live), (told_anew, live));
    }
}

#[test]
fn a_survey_counts_if_its_segment_is_in_use_by_that_life_and_for_that() {
    let row = |state, purpose, sequence| {
        let mut rows = Ground::bare(6).segments;
        (rows[5].state, rows[5].purpose, rows[5].sequence) = (state, purpose, sequence);
        rows
    };
    let mail = proven(5, Purpose::Hot, &[]);
    let counts = |rows: &[Segment]| is_counted(rows, &mail);
    assert!(counts(&row(State::Sealed, Purpose::Hot, 105)));
    assert!(counts(&row(State::Sealed, Purpose::Moved, 105)), "of which head may be a guess");
    assert!(!counts(&row(State::Sealed, Purpose::Status, 105)));
    assert!(!counts(&row(State::Sealed, Purpose::Hot, 106)));
    assert!(!counts(&row(State::Erasable, Purpose::Hot, 105)));
    let fates = proven(5, Purpose::Status, &[]);
    assert!(!is_counted(&row(State::Sealed, Purpose::Hot, 105), &fates));
    assert!(!is_counted(&[], &fates));
}

#[test]
fn parts_of_messages_stand_in_segments_of_mail_that_were_opened_before_the_end_was_written() {
    let mut rows = Ground::bare(6).segments;
    for (segment, state, purpose, sequence) in [
        (1, State::Sealed, Purpose::Hot, 10),
        (2, State::Sealed, Purpose::Status, 11),
        (3, State::Erasable, Purpose::Hot, 12),
        (4, State::Sealed, Purpose::Moved, 13),
    ] {
        let row = &mut rows[segment];
        (row.state, row.purpose, row.sequence) = (state, purpose, sequence);
    }
    let holding: Vec<u32> = (0..7).filter(|segment| holds_mail(&rows, *segment)).collect();
    assert_eq!(holding, [1, 4]);
    let before = |later: u32| -> Vec<u32> { (0..7).filter(|s| held_before(&rows, *s, later)).collect() };
    assert_eq!((before(4), before(1)), (vec![1], vec![]));
}

#[test]
fn a_message_for_more_recipients_than_any_log_writes_is_none() {
    let found = |recipients: u16| {
        let Note::Commit { group, id, offset, size_bytes, wide, .. } = commit(9, 1) else { return false };
        let note = Note::Commit { group, id, offset, size_bytes, recipients, wide };
        taken_anew(vec![proven(5, Purpose::Hot, &[note])], &[]).index.get(MessageId(1)).is_some()
    };
    assert_eq!([RECIPIENTS_MAX, RECIPIENTS_MAX + 1, u16::MAX].map(found), [true, false, false]);
}

#[test]
fn the_tail_is_what_stands_in_groups_that_nothing_says_were_durable() {
    let whole = [(10, true), (11, true), (12, true)];
    let mail = scanned(5, Purpose::Hot, &[commit(10, 1), commit(11, 2)], &whole);
    let fates = scanned(7, Purpose::Status, &[state(10), state(12)], &whole);
    let found = taken_anew(vec![mail, fates], &[]);
    assert_eq!(found.tail.messages, [MessageId(2)]);
    assert_eq!((found.tail.records, found.tail.disbelieved), (vec![state(12)], vec![]));
}

#[test]
fn without_an_index_only_what_is_of_the_tail_is_taken() {
    let whole = [(10, true), (11, true)];
    let mail = scanned(5, Purpose::Hot, &[commit(10, 1), commit(11, 2)], &whole);
    let fates = scanned(7, Purpose::Status, &[state(11)], &whole);
    let found = taken(Ground::bare(32), vec![mail, fates], &[], Keep::Segments);
    assert!(found.index.get(MessageId(1)).is_none() && found.index.get(MessageId(2)).is_some());
    assert_eq!((found.meta.get(1, &[7]), found.tail.records), (None, vec![state(11)]));
}

#[test]
fn any_part_of_a_tail_makes_one() {
    let tail = TailContent::default;
    assert!(tail().is_empty());
    assert!(!TailContent { messages: vec![MessageId(1)], ..tail() }.is_empty());
    assert!(!TailContent { records: vec![state(1)], ..tail() }.is_empty());
    assert!(!TailContent { disbelieved: vec![3], ..tail() }.is_empty());
    assert!(!TailContent { left_open: vec![3], ..tail() }.is_empty());
}
