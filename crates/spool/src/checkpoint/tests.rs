use alloc::collections::BTreeMap;
use alloc::vec;

use penstock_flash::{Erase, Geometry};
use serde::Serialize;

use super::*;
use crate::frame;
use crate::record::MessageId;

const SEGMENTS: u32 = 16;
const VOLUME: [u8; 16] = [5; 16];
const FIRST: Opened = Opened { segment: 3, sequence: 40 };

fn layout() -> Layout {
    let (segment_bytes, unit_bytes) = (4096, 16);
    Layout::of(&Geometry { segments: SEGMENTS, segment_bytes, unit_bytes, erase: Erase::Physical }).unwrap()
}

/// Segments with the frames of a checkpoint; what is not there reads blank.
#[derive(Clone, Debug, Default)]
struct Volume {
    segments: BTreeMap<u32, Vec<u8>>,
}

impl ReadAt for Volume {
    fn read(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), penstock_flash::Error> {
        match self.segments.get(&segment) {
            Some(bytes) => into.copy_from_slice(&bytes[offset as usize..offset as usize + into.len()]),
            None => into.fill(0xFF),
        }
        Ok(())
    }
}

impl Volume {
    /// Puts the next frame into a segment.
    fn put(&mut self, at: Opened, kind: Kind, items: &[Item]) {
        let layout = layout();
        let bytes = self.segments.entry(at.segment).or_insert_with(|| vec![0xFF; 4096]);
        let written = bytes.iter().rposition(|byte| *byte != 0xFF).map_or(0, |last| last as u32 + 1);
        let offset = layout.align_up(written).max(layout.data_start());
        let payload: Vec<u8> = items.iter().flat_map(|item| postcard::to_allocvec(item).unwrap()).collect();
        let frame = &mut bytes[offset as usize..];
        frame[frame::HEADER_BYTES..frame::HEADER_BYTES + payload.len()].copy_from_slice(&payload);
        let seed = Seed::of_segment(&VOLUME, at.sequence);
        frame::seal(frame, payload.len(), kind, 0, 0, seed, offset);
    }

    fn read(&self) -> Option<Ground> {
        read(self.clone(), &layout(), SEGMENTS, VOLUME, FIRST, Keep::Everything)
    }
}

/// The items of an index with that many messages, though `told` are told of.
fn items(count: u64, told: u64) -> Vec<Item> {
    let mut index = Index::default();
    for id in 1..=count {
        let commit = crate::record::Place { segment: 4, offset: 64 };
        index.insert(crate::index::Entry::new(id, commit, 100, 1), &[]);
    }
    let mut items = vec![Item::Counters(Counters { messages: told, ..Counters::default() })];
    let mut rows: Vec<Segment> = (0..SEGMENTS).map(|_| Segment::new(State::Free)).collect();
    (rows[4].state, rows[4].sequence, rows[5].state) = (State::Sealed, 41, State::Open);
    items.extend(rows.iter().map(|row| save_segment(row, (row.state == State::Open).then_some(640))));
    items.extend(index.save().map(Item::Message));
    items.push(Item::End);
    items
}

fn written(head: Item, frames: &[&[Item]]) -> Volume {
    let mut volume = Volume::default();
    volume.put(FIRST, Kind::Checkpoint, &[head]);
    frames.iter().for_each(|items| volume.put(FIRST, Kind::Checkpoint, items));
    volume
}

fn head(frames: u32, segments: &[Opened]) -> Item {
    Item::Head { frames, segments: segments.to_vec() }
}

#[test]
fn a_checkpoint_is_read_as_it_was_taken() {
    let ground = written(head(2, &[FIRST]), &[&items(3, 3)]).read().unwrap();
    assert_eq!((ground.index.len(), ground.own, ground.open), (3, vec![FIRST], vec![(5, 640)]));
    let state = |segment: usize| ground.segments[segment].state;
    assert_eq!(
        (ground.segments.len(), state(4), state(5), state(6)),
        (16, State::Sealed, State::Sealed, State::Free)
    );
    assert_eq!((ground.segments[4].sequence, ground.counters.messages), (41, 3));
    assert!(ground.index.get(MessageId(3)).is_some());
    // Over two frames, the second in another segment.
    let second = Opened { segment: 9, sequence: 50 };
    let items = items(3, 3);
    let (some, rest) = items.split_at(7);
    let mut volume = written(head(3, &[FIRST, second]), &[some]);
    volume.put(second, Kind::Checkpoint, rest);
    assert_eq!(volume.read().unwrap().own, [FIRST, second]);
}

#[test]
fn a_checkpoint_that_contradicts_itself_is_none() {
    let items_of = |count, told| written(head(2, &[FIRST]), &[&items(count, told)]);
    assert!(items_of(3, 4).read().is_none(), "a message is missing");
    assert!(items_of(3, 2).read().is_none(), "there is one too many");
    let all = items(3, 3);
    assert!(written(head(3, &[FIRST]), &[&all]).read().is_none(), "a frame is missing");
    assert!(written(head(1, &[FIRST]), &[&all]).read().is_none(), "a frame is not told of");
    assert!(written(head(3, &[FIRST]), &[&all, &[Item::End]]).read().is_none(), "it goes on behind its end");
    assert!(written(head(2, &[]), &[&all]).read().is_none(), "it does not name its own segment");
    let another = Opened { sequence: 41, ..FIRST };
    assert!(written(head(2, &[another]), &[&all]).read().is_none(), "it names another life of it");
    let beyond = Opened { segment: SEGMENTS, sequence: 60 };
    assert!(written(head(2, &[FIRST, beyond]), &[&all]).read().is_none(), "it names what there is not");
    assert!(written(head(2, &[FIRST]), &[&all[..all.len() - 1]]).read().is_none(), "it has no end");
    let mut other = written(head(2, &[FIRST]), &[]);
    other.put(FIRST, Kind::Chunk, &all);
    assert!(other.read().is_none(), "a frame of another kind");
    let missing = Volume::default();
    assert!(missing.read().is_none());
}

#[test]
fn a_checkpoint_names_no_segment_that_there_is_not() {
    let with = |recorded_in: u32| {
        let mut all = items(0, 0);
        let Item::Segment { recorded_in: of_first, .. } = &mut all[1] else { panic!("the first segment") };
        *of_first = Some(recorded_in);
        written(head(2, &[FIRST]), &[&all]).read()
    };
    assert!(with(SEGMENTS - 1).is_some());
    assert!(with(SEGMENTS).is_none());
    let with_value_in = |segment: u32| {
        let mut all = items(0, 0);
        let meta = Meta { namespace: 1, key: vec![1], value: vec![2] };
        all.insert(all.len() - 1, Item::Meta { meta, segment });
        written(head(2, &[FIRST]), &[&all]).read()
    };
    assert!(with_value_in(SEGMENTS - 1).is_some());
    assert!(with_value_in(SEGMENTS).is_none());
}

#[test]
fn room_is_put_aside_for_a_checkpoint_of_all_there_can_be() {
    let segment_bytes = 4096;
    let layout = layout();
    assert_eq!(segments_max(&layout, 16, 0), 1, "even an empty one takes a segment");
    // The table and the messages, each of which takes half a KiB in the log.
    let data_bytes = u64::from(layout.data_bytes());
    let entries = |messages: u64, segments: u64| (26 * messages + 24 * segments).div_ceil(data_bytes) as u32;
    assert_eq!(segments_max(&layout, 16, 1_000_000), entries(16 * data_bytes / 512, 16));
    assert_eq!(segments_max(&layout, 1024, 1_000_000), entries(1024 * data_bytes / 512, 1024));
    assert_eq!(segments_max(&layout, 1024, 130), entries(130, 1024));
    assert_eq!([entries(130, 1024), entries(1024 * data_bytes / 512, 1024)], [9, 60]);
    assert!(segment_bytes > data_bytes);
    // What stands in a checkpoint of the longest names and numbers is no longer than that.
    fn len(item: &impl Serialize) -> usize {
        postcard::to_allocvec(item).unwrap().len()
    }
    assert!(
        len(&items(1, 1)[17]) <= MESSAGE_BYTES as usize && len(&items(1, 1)[5]) <= SEGMENT_BYTES as usize
    );
}

#[test]
fn a_count_of_messages_that_is_a_lie_takes_no_memory() {
    let volume = written(head(2, &[FIRST]), &[&items(3, u64::MAX)]);
    let taken = allocation_counter::measure(|| assert!(volume.read().is_none()));
    // A few segments' worth: the copy of the volume, and what is read ahead.
    assert!(taken.bytes_max < 16 * 4096, "{} bytes", taken.bytes_max);
}
