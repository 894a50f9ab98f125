use alloc::vec;
use core::cell::RefCell;

use penstock_flash::{Erase, Geometry};

use super::*;
use crate::reclaim::tests::{NOR, SimSpool, seal, spool};
use crate::segment::{FORMAT_VERSION, Features};
use crate::spool::MountOptions;

const GEOMETRY: Geometry =
    Geometry { segments: 16, segment_bytes: 16384, unit_bytes: 16, erase: Erase::Physical };

fn layout() -> Layout {
    Layout::of(&GEOMETRY).unwrap()
}

/// Two anchors, and how much was read of them at once.
#[derive(Clone, Debug)]
struct Both<'a> {
    bytes: &'a [Vec<u8>; 2],
    longest: &'a RefCell<usize>,
}

impl ReadAt for Both<'_> {
    fn read(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), penstock_flash::Error> {
        let mut longest = self.longest.borrow_mut();
        *longest = into.len().max(*longest);
        into.copy_from_slice(&self.bytes[segment as usize][offset as usize..offset as usize + into.len()]);
        Ok(())
    }
}

fn frame_at<T: Serialize>(bytes: &mut [u8], offset: u32, kind: Kind, seed: Seed, record: &T) {
    let payload = postcard::to_allocvec(record).unwrap();
    let frame = &mut bytes[offset as usize..];
    frame[frame::HEADER_BYTES..frame::HEADER_BYTES + payload.len()].copy_from_slice(&payload);
    frame::seal(frame, payload.len(), kind, 0, 0, seed, offset);
}

fn seed_of(volume: u8) -> Seed {
    Seed::of_segment(&[volume; 16], 7)
}

/// An anchor of a volume with these roots in its slots.
fn anchor(segment: u32, volume: u8, roots: &[(u32, Root)]) -> Vec<u8> {
    let mut bytes = vec![0xFF; GEOMETRY.segment_bytes as usize];
    let header = SegmentHeader {
        format: FORMAT_VERSION,
        features: Features::default(),
        volume: [volume; 16],
        segments: GEOMETRY.segments,
        segment_bytes: GEOMETRY.segment_bytes,
        unit_bytes: GEOMETRY.unit_bytes,
        segment,
        sequence: 7,
        erase_count: 0,
        purpose: Purpose::Anchor,
        msg_id_floor: 0,
        synced_group: 0,
        used_segments: 0,
        boot: 0,
        landmarks: Default::default(),
    };
    for offset in layout().header_offsets() {
        frame_at(&mut bytes, offset, Kind::SegmentHeader, Seed::HEADER, &header);
    }
    for (slot, root) in roots {
        frame_at(&mut bytes, layout().slot_offset(*slot), Kind::Root, seed_of(volume), root);
    }
    bytes
}

fn root(number: u64) -> Root {
    Root { number, ..Root::default() }
}

fn read_both(both: &[Vec<u8>; 2], piece_bytes: usize) -> (Seen, usize) {
    let longest = RefCell::new(0);
    let seen = read(&Both { bytes: both, longest: &longest }, &layout(), piece_bytes);
    (seen, longest.take())
}

#[test]
fn the_newest_root_counts_wherever_it_stands() {
    let slots = layout().slots();
    let first = anchor(0, 1, &[(0, root(5)), (1, root(6)), (slots - 1, root(8))]);
    let second = anchor(1, 1, &[(0, root(7)), (3, root(6))]);
    for piece_bytes in [1, 700, 4096, 1 << 20] {
        let (seen, longest) = read_both(&[first.clone(), second.clone()], piece_bytes);
        assert_eq!(seen.root, Some(root(8)));
        assert_eq!(seen.anchors.root, root(8));
        assert_eq!(seen.anchors.anchors.map(|anchor| anchor.is_current), [true, false]);
        // A header is read with its second copy.
        let least = layout().data_start().max(SLOT_BYTES) as usize;
        assert!(longest <= piece_bytes.max(least), "{longest} at once, of {piece_bytes}");
    }
    let (seen, _) = read_both(&[anchor(0, 1, &[]), anchor(1, 1, &[])], 4096);
    assert_eq!((seen.root, seen.headers.len()), (None, 2));
    assert_eq!(seen.anchors.anchors.map(|anchor| anchor.is_current), [false, false]);
}

#[test]
fn anchors_of_two_volumes_tell_nothing() {
    let (seen, _) = read_both(&[anchor(0, 1, &[(0, root(5))]), anchor(1, 2, &[(0, root(6))])], 4096);
    assert!(seen.root.is_none() && seen.headers.is_empty());
}

#[test]
fn only_a_whole_root_is_one() {
    let whole = anchor(0, 1, &[(0, root(5)), (1, root(6))]);
    let read = |bytes: Vec<u8>| read_both(&[bytes, anchor(1, 1, &[])], 4096).0.root.map(|root| root.number);
    assert_eq!(read(whole.clone()), Some(6));
    let mut hurt = whole.clone();
    hurt[layout().slot_offset(1) as usize + frame::HEADER_BYTES] ^= 1;
    assert_eq!(read(hurt), Some(5));
    let mut other = whole.clone();
    frame_at(&mut other, layout().slot_offset(1), Kind::Nop, seed_of(1), &root(6));
    assert_eq!(read(other), Some(5), "a frame of another kind");
    let life = Opened { segment: 3, sequence: 4 };
    let mut crowded = whole.clone();
    let named = |count: usize| Root { status: vec![life; count], ..root(6) };
    frame_at(&mut crowded, layout().slot_offset(1), Kind::Root, seed_of(1), &named(STATUS_MAX));
    assert_eq!(read(crowded.clone()), Some(6));
    frame_at(&mut crowded, layout().slot_offset(1), Kind::Root, seed_of(1), &named(STATUS_MAX + 1));
    assert_eq!(read(crowded), Some(5), "more than a root may name");
}

#[test]
fn a_root_names_twenty_status_segments_and_beyond_that_no_checkpoint() {
    let mut anchors = Anchors::unknown();
    let checkpoint = Some(Opened { segment: 5, sequence: 50 });
    anchors.root.checkpoint = checkpoint;
    for count in 0..STATUS_MAX {
        assert_eq!(anchors.are_crowded(), count >= 10, "{count}");
        assert!(anchors.has_checkpoint());
        anchors.note_status(7, count as u64);
    }
    assert_eq!((anchors.root.status.len(), anchors.root.checkpoint), (STATUS_MAX, checkpoint));
    anchors.note_status(8, 100);
    assert_eq!((anchors.root.status.len(), anchors.has_checkpoint()), (STATUS_MAX, false));
    anchors.root.checkpoint = checkpoint;
    anchors.drop_checkpoint();
    assert!(!anchors.has_checkpoint(), "a mount could not build upon it");
}

#[test]
fn a_checkpoint_is_named_with_the_status_segments_opened_while_it_was_written() {
    let after = |while_it_is_written: usize, checkpoint: Option<Opened>| {
        let mut anchors = Anchors::unknown();
        anchors.note_status(3, 30);
        anchors.begin_checkpoint();
        (0..while_it_is_written).for_each(|n| anchors.note_status(4, 40 + n as u64));
        anchors.end_checkpoint(checkpoint);
        (anchors.has_checkpoint(), anchors.root.status.len())
    };
    let checkpoint = Some(Opened { segment: 5, sequence: 50 });
    assert_eq!(after(2, checkpoint), (true, 2));
    assert_eq!(after(2, None), (false, 3), "it came to nothing");
    assert_eq!(after(STATUS_MAX, checkpoint), (true, STATUS_MAX));
    assert_eq!(after(STATUS_MAX + 1, checkpoint), (false, STATUS_MAX));
}

#[test]
fn what_a_stop_caught_at_its_opening_is_named_no_more() {
    let mut anchors = Anchors::unknown();
    let opened = [(3, 30), (4, 40), (4, 41), (99, 42)];
    opened.into_iter().for_each(|(segment, sequence)| anchors.note_status(segment, sequence));
    let mut segments: Vec<Segment> = (0..8).map(|_| Segment::new(State::Free)).collect();
    (segments[3].sequence, segments[4].sequence) = (31, 40);
    anchors.drop_never_opened(&segments);
    let named: Vec<u64> = anchors.root.status.iter().map(|life| life.sequence).collect();
    assert_eq!(named, [30, 40]);
}

fn new_spool() -> SimSpool {
    spool(NOR, MountOptions::default())
}

/// Sets an anchor's next slot and whether the newest root stands in it.
fn set(spool: &mut SimSpool, anchor: usize, next_slot: Option<u32>, is_current: bool) {
    spool.log.anchors.anchors[anchor] = Anchor { next_slot, is_current, has_failed: false };
}

#[test]
fn a_slot_beyond_the_last_is_none() {
    let mut spool = new_spool();
    let slots = spool.log.layout.slots();
    let mut has_room = |next_slot, has_failed| {
        spool.log.anchors.anchors[0] = Anchor { next_slot, is_current: true, has_failed };
        spool.log.has_room(0)
    };
    assert!(has_room(Some(0), false) && has_room(Some(slots - 1), false));
    assert!(!has_room(Some(slots), false) && !has_room(None, false) && !has_room(Some(0), true));
}

#[test]
fn the_anchor_without_the_newest_root_is_the_one_that_is_erased() {
    for (current, erased) in [([true, false], 1), ([false, true], 0), ([true, true], 0), ([false, false], 0)]
    {
        let mut spool = new_spool();
        let slots = spool.log.layout.slots();
        set(&mut spool, 0, Some(slots), current[0]);
        set(&mut spool, 1, Some(slots), current[1]);
        spool.log.write_root().unwrap();
        let counts = [0, 1].map(|anchor: usize| spool.log.segments[anchor].erase_count);
        assert_eq!(counts[erased], 1, "{current:?}");
        assert_eq!(counts[1 - erased], 0, "{current:?}");
        let anchors = spool.log.anchors.anchors;
        assert_eq!((anchors[erased].next_slot, anchors[erased].is_current), (Some(1), true));
        assert!(!anchors[1 - erased].is_current && !anchors[erased].has_failed);
    }
}

#[test]
fn an_anchor_is_begun_anew_before_it_is_full_and_not_both_at_once() {
    let mut spool = new_spool();
    let slots = spool.log.layout.slots();
    let mut renewed = |first: Option<u32>, second: Option<u32>, current: [bool; 2]| {
        set(&mut spool, 0, first, current[0]);
        set(&mut spool, 1, second, current[1]);
        spool.log.anchor_to_renew()
    };
    let both = [true, true];
    assert_eq!(renewed(Some(1), Some(1), both), None);
    assert_eq!(renewed(None, Some(1), both), Some(0), "the boot before wrote to it");
    assert_eq!(renewed(None, Some(1), [true, false]), None, "the other has not the newest root");
    assert_eq!(renewed(None, None, both), None, "nor was the other begun in this boot");
    let last_of_first = slots - slots / 4 - 1;
    assert_eq!(renewed(Some(last_of_first), Some(1), both), None);
    assert_eq!(renewed(Some(last_of_first + 1), Some(1), both), Some(0));
    assert_eq!(renewed(Some(1), Some(slots / 2 - 1), both), None);
    assert_eq!(renewed(Some(1), Some(slots / 2), both), Some(1));
}

#[test]
fn a_root_that_is_too_long_says_at_least_that_it_is_newer_and_what_is_given_up() {
    let mut spool = new_spool();
    let life = Opened { segment: u32::MAX, sequence: u64::MAX };
    let given_up = vec![Opened { segment: 9, sequence: 50 }];
    let long = Root { number: 77, checkpoint: Some(life), status: vec![life; STATUS_MAX], ..Root::default() };
    spool.log.anchors.root = Root { given_up: given_up.clone(), ..long };
    let synced_group = spool.log.synced_group;
    spool.log.write_root().unwrap();
    let seen = read(&spool.log.reader, &spool.log.layout, 4096);
    let landmarks = spool.log.landmarks;
    assert_eq!(seen.root, Some(Root { synced_group, given_up, landmarks, ..root(78) }));
}

#[test]
fn the_headers_of_a_new_volume_count_the_anchors_as_used() {
    let spool = new_spool();
    let used =
        [0, 1].map(|anchor| read_header(&spool.log.reader, &spool.log.layout, anchor).unwrap().used_segments);
    assert_eq!(used, [1, 2]);
}

fn life(segment: u32, sequence: u64) -> Opened {
    Opened { segment, sequence }
}

#[test]
fn a_root_gives_up_four_lives_at_most_while_it_can_be_written() {
    let mut anchors = Anchors::unknown();
    for sequence in 0..4 {
        assert!(anchors.may_give_up(&life(9, sequence)) && !anchors.gives_up(&life(9, sequence)));
        anchors.root.given_up.push(life(9, sequence));
    }
    assert!(!anchors.may_give_up(&life(9, 4)), "there is no room");
    assert!(anchors.may_give_up(&life(9, 0)) && anchors.gives_up(&life(9, 0)), "it says so already");
    assert_eq!(anchors.given_up(), [0, 1, 2, 3].map(|sequence| life(9, sequence)));
    anchors.anchors[0].has_failed = true;
    assert!(anchors.may_give_up(&life(9, 0)));
    anchors.anchors[1].has_failed = true;
    assert!(!anchors.may_give_up(&life(9, 0)));
}

#[test]
fn what_records_tell_more_of_is_given_up_no_more() {
    let mut segments: Vec<Segment> = (0..8).map(|_| Segment::new(State::Erasable)).collect();
    let mut anchors = Anchors::unknown();
    anchors.root.given_up = vec![life(3, 30), life(4, 40), life(5, 50), life(6, 60), life(99, 70)];
    (segments[3].sequence, segments[4].sequence, segments[6].sequence) = (30, 41, 59);
    (segments[5].sequence, segments[5].state) = (50, State::Free);
    anchors.drop_reused(&segments);
    assert_eq!(anchors.given_up(), [life(3, 30), life(6, 60)]);
}

#[test]
fn a_root_says_of_a_life_once_that_it_is_over_and_names_no_checkpoint_that_is() {
    let mut spool = new_spool();
    let checkpoint = Some(life(11, 31));
    spool.log.anchors.root.checkpoint = checkpoint;
    seal(&mut spool, 10, Purpose::Hot, 30, 0);
    seal(&mut spool, 11, Purpose::Checkpoint, 31, 0);
    let mut give_up = |segment| {
        spool.log.give_up_by_root(segment).unwrap();
        let root = read(&spool.log.reader, &spool.log.layout, 4096).root.unwrap();
        (root.checkpoint, root.given_up)
    };
    assert_eq!(give_up(10), (checkpoint, vec![life(10, 30)]));
    assert_eq!(give_up(10), (checkpoint, vec![life(10, 30)]));
    assert_eq!(give_up(11), (None, vec![life(10, 30), life(11, 31)]));
}
