use alloc::string::ToString;
use alloc::vec;
use core::cell::RefCell;

use penstock_flash::{Erase, Geometry};

use super::*;
use crate::record::{Life, SegmentRecord, Stamp, Status};
use crate::segment::Purpose;

const SEGMENT_BYTES: u32 = 1 << 16;

fn layout() -> Layout {
    let (segments, unit_bytes) = (16, 16);
    let erase = Erase::Physical;
    Layout::of(&Geometry { segments, segment_bytes: SEGMENT_BYTES, unit_bytes, erase }).unwrap()
}

fn seed() -> Seed {
    Seed::of_segment(&[3; 16], 77)
}

/// A segment that notes what is read of it, and refuses to give a stretch.
#[derive(Clone, Debug)]
struct Bytes<'a> {
    bytes: &'a [u8],
    unreadable: core::ops::Range<usize>,
    reads: &'a RefCell<Vec<(u32, usize)>>,
}

impl ReadAt for Bytes<'_> {
    fn read(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), penstock_flash::Error> {
        let range = offset as usize..offset as usize + into.len();
        self.reads.borrow_mut().push((offset, into.len()));
        if range.start < self.unreadable.end && self.unreadable.start < range.end {
            return Err(penstock_flash::Error::Unreadable { segment, offset });
        }
        into.copy_from_slice(&self.bytes[range]);
        Ok(())
    }
}

/// A segment as the log would write it.
struct Written {
    bytes: Vec<u8>,
    at: u32,
    frames: u32,
    chain: u32,
}

impl Written {
    fn new() -> Self {
        let bytes = vec![0xFF; SEGMENT_BYTES as usize];
        Self { bytes, at: layout().data_start(), frames: 0, chain: 0 }
    }

    /// Appends a frame and says where it stands.
    fn frame(&mut self, kind: u8, flags: u8, msg_id: u64, payload: &[u8]) -> u32 {
        let at = self.at;
        let frame = &mut self.bytes[at as usize..];
        frame[frame::HEADER_BYTES..frame::HEADER_BYTES + payload.len()].copy_from_slice(payload);
        // Sealed as a frame of some kind, and then as the one that is wanted, which may be unknown.
        let mut header = frame::seal(frame, payload.len(), Kind::Nop, flags, msg_id, seed(), at);
        frame[2] = kind;
        header.header_crc = seed().header_crc(frame.first_chunk().unwrap(), at);
        frame[20..24].copy_from_slice(&header.header_crc.to_le_bytes());
        self.frames += 1;
        self.chain = frame::chain(self.chain, &header);
        self.at += header.frame_bytes() as u32;
        at
    }

    fn record(&mut self, kind: Kind, msg_id: u64, record: &impl serde::Serialize) -> u32 {
        self.frame(kind as u8, 0, msg_id, &postcard::to_allocvec(record).unwrap())
    }

    fn end_saying(&mut self, group: u64, synced_group: u64, frames: u32, chain: u32) {
        let mut payload = synced_group.to_le_bytes().to_vec();
        payload.extend(frames.to_le_bytes());
        payload.extend(chain.to_le_bytes());
        payload.extend(landmark::encode(&landmark::OfHeads::default(), group));
        self.frame(Kind::GroupEnd as u8, 0, group, &payload);
        self.at = layout().align_up(self.at);
        (self.frames, self.chain) = (0, 0);
    }

    fn end(&mut self, group: u64, synced_group: u64) {
        self.end_saying(group, synced_group, self.frames, self.chain);
    }

    fn fate(&mut self, id: u64) -> u32 {
        self.record(Kind::Status, id, &Status::of_all(1, record::Fate::Delivered))
    }

    fn scan_with(&self, unreadable: core::ops::Range<usize>, keep: Keep) -> Scan {
        let reads = RefCell::new(Vec::new());
        let bytes = Bytes { bytes: &self.bytes, unreadable, reads: &reads };
        let mut window = Window::new(bytes, 0, SEGMENT_BYTES, 1024);
        scan(&mut window, &layout(), seed(), layout().data_start(), keep)
    }

    fn scan(&self) -> Scan {
        self.scan_with(0..0, Keep::Everything)
    }
}

fn groups(scan: &Scan) -> Vec<(u64, bool)> {
    scan.groups.iter().map(|group| (group.number, group.whole)).collect()
}

#[test]
fn a_walk_reads_ahead_and_nothing_twice() {
    let bytes: Vec<u8> = (0..SEGMENT_BYTES).map(|at| (at / 7) as u8).collect();
    let reads = RefCell::new(Vec::new());
    let reader = Bytes { bytes: &bytes, unreadable: 0..0, reads: &reads };
    let mut window = Window::new(reader, 0, SEGMENT_BYTES, 1000);
    let mut get = |offset: u32, len: usize, expected: &[(u32, usize)]| {
        let end = (offset as usize + len).min(bytes.len());
        assert_eq!(window.get(offset, len).unwrap(), &bytes[offset as usize..end], "{len} bytes at {offset}");
        assert_eq!(core::mem::take(&mut *reads.borrow_mut()), expected, "{len} bytes at {offset}");
    };
    get(500, 100, &[(500, 1000)]);
    get(500, 1000, &[]);
    get(1400, 100, &[]);
    get(1400, 101, &[(1400, 1000)]);
    get(1399, 1, &[(1399, 1000)]);
    get(0, 3000, &[(0, 3000)]);
    get(2999, 1, &[]);
    let end = SEGMENT_BYTES;
    get(end - 100, 50, &[(end - 100, 100)]);
    get(end - 100, 500, &[]);
    get(end - 10, 10, &[]);
    window.forget();
    assert!(window.get(end - 10, 10).is_ok() && reads.take().len() == 1);
    window.move_to(0);
    assert!(window.get(end - 10, 10).is_ok() && reads.take().is_empty(), "it is still there");
    window.move_to(1);
    assert!(window.get(end - 10, 10).is_ok() && reads.take().len() == 1, "that was another segment");
    window.read_ahead(20);
    assert!(window.get(4000, 10).is_ok());
    assert_eq!(reads.take(), [(4000, 20)]);
    for beyond in [SEGMENT_BYTES, SEGMENT_BYTES + 8, u32::MAX] {
        assert_eq!(window.get(beyond, 24), Ok(&[][..]), "what a record says may lie anywhere");
    }
}

#[test]
fn what_cannot_be_read_hides_nothing_beside_it() {
    let bytes = vec![7; SEGMENT_BYTES as usize];
    let reads = RefCell::new(Vec::new());
    let reader = Bytes { bytes: &bytes, unreadable: 600..700, reads: &reads };
    let mut window = Window::new(reader, 0, SEGMENT_BYTES, 1000);
    assert_eq!(window.get(500, 100), Ok(&[7; 100][..]));
    assert!(window.get(550, 100).is_err());
    assert!(window.get(600, 1).is_err());
    assert_eq!(window.get(700, 10), Ok(&[7; 10][..]));
}

#[test]
fn an_extent_ends_within_its_segment() {
    let reads = RefCell::new(Vec::new());
    let reader = Bytes { bytes: &[], unreadable: 0..0, reads: &reads };
    let window = Window::new(reader, 0, SEGMENT_BYTES, 1000);
    let holds = |offset, span_bytes| window.holds(&Extent { segment: 0, offset, span_bytes });
    assert!(holds(0, SEGMENT_BYTES) && holds(SEGMENT_BYTES - 8, 8));
    assert!(!holds(SEGMENT_BYTES - 8, 9) && !holds(1, SEGMENT_BYTES) && !holds(u32::MAX, 8));
}

#[test]
fn a_group_is_whole_if_all_its_frames_are_there_as_they_were_written() {
    let mut written = Written::new();
    written.fate(1);
    written.fate(2);
    written.end(10, 7);
    let hurt = written.fate(3);
    written.fate(4);
    written.end(11, 9);
    written.fate(5);
    let (frames, chain) = (written.frames, written.chain);
    written.end_saying(12, 8, frames, chain ^ 1);
    written.fate(6);
    let chain = written.chain;
    written.end_saying(13, 8, frames + 1, chain);
    written.end(14, 8);
    written.bytes[hurt as usize + frame::HEADER_BYTES] ^= 1;
    let scan = written.scan();
    assert_eq!(groups(&scan), [(10, true), (11, false), (12, false), (13, false), (14, true)]);
    assert_eq!((scan.synced_group, scan.damaged), (9, 1));
    let notes: Vec<u64> = scan.notes.iter().map(|note| note.group()).collect();
    assert_eq!(notes, [10, 10, 11, 12, 13], "but what is whole in them counts");
    assert!(scan.is_whole(10) && !scan.is_whole(11) && scan.is_whole(14) && !scan.is_whole(15));
    assert!(!scan.lacks_any_to(10) && scan.lacks_any_to(11) && scan.lacks_any_to(14));
}

#[test]
fn of_two_groups_with_one_number_either_may_be_whole() {
    let mut written = Written::new();
    for group in [9, 10, 10, 11] {
        let at = written.fate(group);
        written.end(group, 8);
        if written.scan().groups.len() == 2 {
            written.bytes[at as usize + frame::HEADER_BYTES] ^= 1;
        }
    }
    let scan = written.scan();
    assert_eq!(groups(&scan), [(9, true), (10, false), (10, true), (11, true)]);
    assert!(scan.is_whole(9) && scan.is_whole(10) && scan.is_whole(11));
}

#[test]
fn a_scan_goes_on_behind_what_it_cannot_read() {
    let mut written = Written::new();
    let mut places = Vec::new();
    for group in 1..=6 {
        places.push(written.fate(group));
        written.end(group, 0);
    }
    written.fate(7);
    // The header of one, the payload of another, and all of two more together.
    written.bytes[places[1] as usize] ^= 1;
    written.bytes[places[3] as usize + frame::HEADER_BYTES] ^= 1;
    let scan = written.scan();
    let whole = [(1, true), (2, false), (3, true), (4, false), (5, true), (6, true)];
    assert_eq!((groups(&scan), scan.damaged), (whole.to_vec(), 2));
    let ids = |scan: &Scan| -> Vec<u64> {
        let id = |note: Note| if let Note::Status { id, .. } = note { id } else { 0 };
        scan.notes.iter().map(id).collect()
    };
    assert_eq!(ids(&scan), [1, 3, 5, 6, 7]);
    assert_eq!(
        scan.notes.iter().last().map(|note| note.group()),
        Some(u64::MAX),
        "its group's end is not there"
    );
    let scan = written.scan_with(places[4] as usize..places[5] as usize, Keep::Everything);
    assert_eq!((ids(&scan), scan.damaged), (vec![1, 3, 6, 7], 3));
}

#[test]
fn a_scan_tells_of_what_it_cannot_read_where_writing_ended() {
    let mut written = Written::new();
    written.fate(1);
    written.end(1, 0);
    let last = written.fate(2) as usize;
    written.end(2, 0);
    let end = written.at as usize;
    let seen = |unreadable| {
        let scan = written.scan_with(unreadable, Keep::Everything);
        (groups(&scan).len(), scan.damaged, scan.ends_unreadable)
    };
    assert_eq!(seen(0..0), (2, 0, false));
    assert_eq!(seen(last..end), (1, 0, true), "the last group may have been there");
    let unit_bytes = layout().unit_bytes as usize;
    assert_eq!(seen(end..end + unit_bytes), (2, 0, true));
    let data_end = layout().data_end() as usize;
    assert_eq!(seen(data_end - unit_bytes..data_end), (2, 0, true));
    assert_eq!(seen(data_end..data_end + unit_bytes), (2, 0, false), "no group stands there");
}

#[test]
fn a_scan_sums_up_what_it_passes() {
    let mut written = Written::new();
    let received = |unix_ms| Stamp { unix_ms, boot: 1, trusted: true };
    written.record(Kind::Begin, 40, &Begin { received: received(5000), ..Begin::default() });
    assert_eq!(written.scan().newest.of_all_ms(), Some(5000));
    written.frame(Kind::Chunk as u8, 0, 41, b"body");
    // The number of a status is a message's, and that may have been given up long ago.
    written.fate(90);
    let mut event_bytes = 0;
    for (unix_ms, text) in [(7000, "one"), (6000, "and another")] {
        let event = Event { at: received(unix_ms), code: 1, message: None, text: text.to_string() };
        let at = written.record(Kind::Event, 0, &event);
        event_bytes += written.at - at;
    }
    let record =
        SegmentRecord { segment: 4, sequence: 5, erase_count: 6, purpose: Purpose::Hot, life: Life::Used };
    written.record(Kind::SegmentState, 0, &record);
    written.end(3, 2);
    let scan = written.scan();
    assert_eq!((scan.msg_id_max, scan.newest.of_all_ms(), scan.event_bytes), (41, Some(7000), event_bytes));
    let notes: Vec<Note> = scan.notes.iter().collect();
    assert!(matches!(notes[0], Note::Status { group: 3, id: 90, .. }), "{notes:?}");
    assert_eq!(notes[1..], [Note::Segment { group: 3, record }]);
}

#[test]
fn only_a_frame_that_may_not_be_passed_over_makes_a_segment_unknown() {
    for (kind, flags, is_unknown) in
        [(200, 0, true), (200, frame::FLAG_SKIPPABLE, false), (Kind::Nop as u8, 0, false)]
    {
        let mut written = Written::new();
        written.frame(kind, flags, 0, &[]);
        written.frame(kind, flags, 0, &[]);
        written.end(1, 0);
        let scan = written.scan();
        assert_eq!((scan.has_unknown, groups(&scan)), (is_unknown, vec![(1, true)]), "{kind}, {flags}");
    }
}

#[test]
fn a_scan_ends_at_the_summary() {
    let mut written = Written::new();
    written.fate(1);
    written.end(1, 0);
    written.frame(Kind::Summary as u8, 0, 0, b"notes");
    written.fate(2);
    written.end(2, 0);
    assert_eq!(groups(&written.scan()), [(1, true)]);
}

#[test]
fn nothing_is_damaged_between_the_last_group_and_a_footer() {
    let mut written = Written::new();
    written.fate(1);
    written.end(1, 0);
    written.at = layout().data_end();
    written.frame(Kind::Footer as u8, 0, 0, b"footer");
    let scan = written.scan();
    assert_eq!((groups(&scan), scan.damaged), (vec![(1, true)], 0));
}

#[test]
fn without_an_index_a_scan_holds_the_tail_and_no_more_while_it_goes_on() {
    let mut written = Written::new();
    let mut count = 0;
    while written.at + 200 < layout().data_end() {
        count += 1;
        let at = written.fate(count);
        if count % 50 == 0 {
            written.bytes[at as usize + frame::HEADER_BYTES] ^= 1;
        }
        written.end(count, count.saturating_sub(20));
    }
    assert!(count > 500);
    assert_eq!(written.scan().notes.iter().count() as u64, count - count / 50, "with one all of it");
    let mut kept = None;
    let taken = allocation_counter::measure(|| kept = Some(written.scan_with(0..0, Keep::Segments)));
    let kept = kept.unwrap();
    assert!(taken.bytes_max < 1024 + 2 * 12 * 1024, "{} bytes at a time", taken.bytes_max);
    let synced_group = count - 20;
    let is_of_the_tail = |group: u64| group > synced_group;
    assert!(kept.notes.iter().all(|note| is_of_the_tail(note.group())));
    assert_eq!(kept.notes.iter().count() as u64, 20 - (count / 50 - synced_group / 50));
    // What is not whole tells of rot, and the one before it how far all is there; the rest of it nothing.
    assert_eq!(kept.groups.len() as u64, 20 + 2 * (synced_group / 50));
}
