use alloc::vec;

use penstock_flash::{Erase, Geometry};

use super::super::survey::tests::survey;
use super::*;
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
fn taken(mut ground: Ground, surveys: Vec<Survey>, given_up: &[u32], keep: Keep) -> Content {
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
        ground.segments[survey.segment as usize].sequence = row.sequence;
    }
    take_content(&volume, ground, surveys, &mut rows, DURABLE, keep)
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
