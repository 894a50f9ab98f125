//! Notes: what a mount needs to know of a segment without reading all of it.
//!
//! While a segment is open its notes collect in memory; when it is sealed they go to its end as SUMMARY frames, told
//! of by a FOOTER. After the next sync a PROOF says that all of this was durable. Notes are hints: without the proof,
//! or if any of it is damaged, the segment is scanned and gives the same notes.

use alloc::vec::Vec;

use penstock_flash::ReadAt;
use serde::{Deserialize, Serialize};

use crate::frame::{self, Header, Kind, Seed};
use crate::landmark;
use crate::mount::Keep;
use crate::reading;
use crate::record::{self, META_KEY_BYTES_MAX, META_VALUE_BYTES_MAX, Meta, SegmentRecord, Status};
use crate::segment::{FOOTER_FRAME_BYTES, Layout, NewestTime};
use crate::walk::Window;

/// The most bytes that one note takes.
pub(crate) const NOTE_BYTES_MAX: usize = 48;
/// The most bytes that the note of a META record takes beyond its key and value.
pub(crate) const META_NOTE_BYTES: usize = 32;
/// More than the longest of notes takes, that of a META record. Where so much is no note, nothing more will be.
const WHOLE_NOTE_BYTES_MAX: usize = 2048;
const _: () = assert!(META_NOTE_BYTES + META_KEY_BYTES_MAX + META_VALUE_BYTES_MAX < WHOLE_NOTE_BYTES_MAX);
/// What even the smallest segments may collect.
const NOTES_BYTES_FLOOR: usize = 1024;
/// The most payload that a SUMMARY frame carries.
const SUMMARY_PAYLOAD_BYTES: usize = 32 * 1024;

/// One thing that a mount must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Note {
    /// A message is complete.
    Commit {
        group: u64,
        id: u64,
        offset: u32,
        size_bytes: u32,
        recipients: u16,
        /// It has frames in other segments too, which its extents name.
        wide: bool,
    },
    /// A fate.
    Status { group: u64, id: u64, status: Status },
    /// State.
    Meta { group: u64, meta: Meta },
    /// A segment's life.
    Segment { group: u64, record: SegmentRecord },
}

impl Note {
    /// The note with the number of its group filled in.
    pub(crate) fn in_group(mut self, number: u64) -> Self {
        match &mut self {
            Self::Commit { group, .. }
            | Self::Status { group, .. }
            | Self::Meta { group, .. }
            | Self::Segment { group, .. } => *group = number,
        }
        self
    }

    /// The number of the group the note stands in; `u64::MAX` where the group's end is not known.
    pub(crate) fn group(&self) -> u64 {
        match self {
            Self::Commit { group, .. }
            | Self::Status { group, .. }
            | Self::Meta { group, .. }
            | Self::Segment { group, .. } => *group,
        }
    }
}

/// Notes in the order of what they speak of, as they stand in a summary.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    bytes: Vec<u8>,
}

impl Notes {
    /// The most bytes of notes that a segment may collect; at this limit it is sealed though not full.
    pub(crate) fn bytes_max(layout: &Layout) -> usize {
        (layout.segment_bytes as usize / 16).max(NOTES_BYTES_FLOOR)
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The notes in the order in which they were pushed. Ends at bytes that are none.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Note> {
        let mut rest = self.bytes.as_slice();
        core::iter::from_fn(move || {
            let (note, after) = postcard::take_from_bytes(rest).ok()?;
            rest = after;
            Some(note)
        })
    }

    /// Keeps the notes that are wanted, and no memory for the others.
    pub(crate) fn retain(&mut self, is_wanted: impl Fn(&Note) -> bool) {
        let mut kept = Self::default();
        self.iter().filter(is_wanted).for_each(|note| kept.push(&note));
        kept.bytes.shrink_to_fit();
        *self = kept;
    }

    pub(crate) fn push(&mut self, note: &Note) {
        // Writing to a vector cannot fail, and the types have no state that postcard refuses.
        if let Ok(bytes) = postcard::to_extend(note, core::mem::take(&mut self.bytes)) {
            self.bytes = bytes;
        }
    }
}

/// The room on flash that `len_bytes` of notes take as SUMMARY frames, rounded up to program units.
pub(crate) fn summary_bytes(layout: &Layout, len_bytes: usize) -> u32 {
    let whole = len_bytes / SUMMARY_PAYLOAD_BYTES;
    let rest = len_bytes % SUMMARY_PAYLOAD_BYTES;
    let mut bytes = whole * frame::frame_bytes(SUMMARY_PAYLOAD_BYTES);
    if rest > 0 {
        bytes += frame::frame_bytes(rest);
    }
    layout.align_up(bytes as u32)
}

/// The notes cut into the payloads of SUMMARY frames.
pub(crate) fn payloads(notes: &[u8]) -> impl Iterator<Item = &[u8]> {
    notes.chunks(SUMMARY_PAYLOAD_BYTES)
}

/// The record that tells where the summary of a sealed segment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Footer {
    pub(crate) summary_offset: u32,
    pub(crate) notes_bytes: u32,
    /// Where the groups end.
    pub(crate) data_end: u32,
    /// Ids below this one may be in use.
    pub(crate) msg_id_floor: u64,
    /// The newest time of a message or event in the segment.
    pub(crate) newest: NewestTime,
    /// The bytes of the events in the segment.
    pub(crate) event_bytes: u32,
}

/// The record that tells that all before it in its segment was durable when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Proof {
    pub(crate) synced_group: u64,
    pub(crate) landmarks: landmark::OfHeads,
    /// The last group in the segment.
    pub(crate) last_group: u64,
}

/// The payload of the frame of a kind that stands at the beginning of `bytes`, if it is whole.
fn payload_of(bytes: &[u8], seed: Seed, offset: u32, kind: Kind) -> Option<(Header, &[u8])> {
    let header = Header::decode(bytes, seed, offset)?;
    let payload = bytes.get(frame::HEADER_BYTES..frame::HEADER_BYTES + header.len as usize)?;
    (header.kind == kind as u8 && seed.crc(payload) == header.payload_crc).then_some((header, payload))
}

/// Reads footer and proof of a sealed segment, with one request where all of it can be read. Each if it is whole: what
/// stands in a segment with both need not be scanned, and a proof alone says what has to be there.
pub(crate) fn read_ending<R: ReadAt>(
    reader: &R,
    layout: &Layout,
    seed: Seed,
    segment: u32,
) -> (Option<Footer>, Option<Proof>) {
    let (footer_at, proof_at) = (layout.footer_offset(), layout.proof_offset());
    let between = (proof_at - footer_at) as usize;
    let mut bytes = alloc::vec![0; between + FOOTER_FRAME_BYTES as usize];
    if reading::read(reader, segment, footer_at, &mut bytes).is_err() {
        let (footer, proof) = bytes.split_at_mut(between);
        for (at, bytes) in [(footer_at, footer), (proof_at, proof)] {
            if reading::read(reader, segment, at, bytes).is_err() {
                bytes.fill(0);
            }
        }
    }
    let fits = |footer: &Footer| {
        let end = footer.summary_offset.checked_add(summary_bytes(layout, footer.notes_bytes as usize));
        footer.notes_bytes as usize <= Notes::bytes_max(layout)
            && end.is_some_and(|end| end <= layout.data_end())
    };
    let footer = payload_of(&bytes, seed, footer_at, Kind::Footer);
    let footer = footer.and_then(|(_, payload)| record::decode(payload)).filter(fits);
    let proof = payload_of(&bytes[between..], seed, proof_at, Kind::Proof);
    (footer, proof.and_then(|(_, payload)| record::decode(payload)))
}

/// Reads the notes that a footer tells of, if all of them are whole, and keeps those that are wanted. A summary is read
/// with one request, or frame by frame where memory counts more.
pub(crate) fn read_notes<R: ReadAt>(
    reader: &R,
    layout: &Layout,
    seed: Seed,
    segment: u32,
    footer: &Footer,
    keep: Keep,
) -> Option<Notes> {
    let notes_len = footer.notes_bytes as usize;
    let ahead = match keep {
        Keep::Everything => summary_bytes(layout, notes_len) as usize,
        Keep::Segments => frame::frame_bytes(notes_len.min(SUMMARY_PAYLOAD_BYTES)),
    };
    let mut window = Window::new(reader.clone(), segment, layout.segment_bytes, ahead);
    let mut notes = Notes::default();
    // The bytes of notes that are read but not yet looked at, the beginning of one that goes on in the next frame.
    let mut rest: Vec<u8> = Vec::new();
    let (mut offset, mut read_len) = (footer.summary_offset, 0);
    while read_len < notes_len {
        let header = window.header(seed, offset).filter(|header| header.kind == Kind::Summary as u8)?;
        let payload = window.payload(seed, offset, &header).filter(|payload| !payload.is_empty())?;
        read_len += payload.len();
        offset += header.frame_bytes() as u32;
        rest.extend_from_slice(payload);
        let mut at = 0;
        while let Ok((note, after)) = postcard::take_from_bytes::<Note>(&rest[at..]) {
            let end = rest.len() - after.len();
            if keep.wants(&note, u64::MAX) {
                notes.bytes.extend_from_slice(&rest[at..end]);
            }
            at = end;
        }
        rest.drain(..at);
        if rest.len() > WHOLE_NOTE_BYTES_MAX {
            return None;
        }
    }
    rest.is_empty().then_some(notes)
}

#[cfg(test)]
mod tests {
    use penstock_flash::{Erase, Geometry};

    use super::*;

    fn layout(segment_bytes: u32) -> Layout {
        let geometry = Geometry { segments: 32, segment_bytes, unit_bytes: 8, erase: Erase::Physical };
        Layout::of(&geometry).unwrap()
    }

    #[test]
    fn notes_take_a_sixteenth_of_a_segment_and_never_less_than_a_kibibyte() {
        assert_eq!(Notes::bytes_max(&layout(1 << 20)), 1 << 16);
        assert_eq!(Notes::bytes_max(&layout(4096)), 1024);
    }

    #[test]
    fn the_room_put_aside_for_a_summary_is_what_its_frames_take() {
        let layout = layout(1 << 21);
        for (len, frames) in [(0, 0), (1, 1), (32_767, 1), (32_768, 1), (32_769, 2), (65_536, 2), (70_000, 3)]
        {
            let notes = alloc::vec![7; len];
            let cut: Vec<&[u8]> = payloads(&notes).collect();
            assert_eq!(cut.len(), frames, "{len} bytes");
            assert_eq!(cut.concat(), notes);
            let taken: usize = cut.iter().map(|payload| frame::frame_bytes(payload.len())).sum();
            assert_eq!(summary_bytes(&layout, len), taken as u32, "{len} bytes");
        }
    }
    #[derive(Clone)]
    struct Bytes(Vec<u8>);

    impl ReadAt for Bytes {
        fn read(&self, _: u32, offset: u32, into: &mut [u8]) -> Result<(), penstock_flash::Error> {
            let from = offset as usize;
            into.copy_from_slice(&self.0[from..from + into.len()]);
            Ok(())
        }
    }

    fn seed() -> Seed {
        Seed::of_segment(&[1; 16], 9)
    }

    fn put(segment: &mut Bytes, offset: u32, kind: Kind, payload: &[u8]) -> u32 {
        let frame = &mut segment.0[offset as usize..];
        frame[frame::HEADER_BYTES..][..payload.len()].copy_from_slice(payload);
        frame::seal(frame, payload.len(), kind, 0, 0, seed(), offset).frame_bytes() as u32
    }

    /// A sealed segment with so many notes, of which the footer says that they take so many bytes more.
    fn sealed(layout: &Layout, notes: &[Note], more_bytes: usize) -> Bytes {
        let mut segment = Bytes(alloc::vec![0xFF; layout.segment_bytes as usize]);
        let collected = bytes_of(notes);
        let summary_offset = layout.data_start();
        let mut at = summary_offset;
        for payload in payloads(&collected) {
            at += put(&mut segment, at, Kind::Summary, payload);
        }
        let footer = Footer {
            summary_offset,
            notes_bytes: (collected.len() + more_bytes) as u32,
            data_end: summary_offset,
            msg_id_floor: 7,
            newest: NewestTime::default(),
            event_bytes: 0,
        };
        let mut payload = [0; 64];
        let len = record::encode(&footer, &mut payload).unwrap();
        put(&mut segment, layout.footer_offset(), Kind::Footer, &payload[..len]);
        let len = record::encode(
            &Proof { synced_group: 6, landmarks: Default::default(), last_group: 5 },
            &mut payload,
        )
        .unwrap();
        put(&mut segment, layout.proof_offset(), Kind::Proof, &payload[..len]);
        segment
    }

    /// Footer, proof and notes, as a mount reads them.
    fn read_proven(segment: &Bytes, layout: &Layout) -> Option<(Footer, Proof, Vec<u8>)> {
        let (footer, proof) = read_ending(segment, layout, seed(), 0);
        let (footer, proof) = (footer?, proof?);
        let notes = read_notes(segment, layout, seed(), 0, &footer, Keep::Everything)?;
        Some((footer, proof, notes.bytes().to_vec()))
    }

    fn bytes_of(notes: &[Note]) -> Vec<u8> {
        let mut collected = Notes::default();
        notes.iter().for_each(|note| collected.push(note));
        collected.bytes().to_vec()
    }

    fn note(id: u64) -> Note {
        Note::Commit { group: 1 << 40, id: id << 40, offset: 9, size_bytes: 8, recipients: 1, wide: false }
    }

    #[test]
    fn a_summary_is_believed_only_if_all_of_it_is_whole() {
        let layout = layout(1 << 21);
        let notes: Vec<Note> = (0..4000).map(note).collect();
        let segment = sealed(&layout, &notes, 0);
        let (footer, proof, read) = read_proven(&segment, &layout).unwrap();
        assert_eq!((proof.last_group, proof.synced_group), (5, 6));
        assert!(footer.notes_bytes as usize > SUMMARY_PAYLOAD_BYTES, "more than one frame");
        assert_eq!(read, bytes_of(&notes));
        // A byte of each payload: of the first piece and the second, of the footer and of the proof.
        let second = layout.data_start() + frame::frame_bytes(SUMMARY_PAYLOAD_BYTES) as u32;
        for frame in [layout.data_start(), second, layout.footer_offset(), layout.proof_offset()] {
            let mut struck = segment.clone();
            struck.0[frame as usize + frame::HEADER_BYTES] ^= 1;
            assert!(read_proven(&struck, &layout).is_none(), "at {frame}");
        }
        // Whole frames of another kind, or empty ones, in the place of notes.
        for (kind, payload) in [(Kind::Chunk, &[7; 100][..]), (Kind::Summary, &[])] {
            let mut other = segment.clone();
            put(&mut other, layout.data_start(), kind, payload);
            assert!(read_proven(&other, &layout).is_none(), "{kind:?}");
        }
    }

    #[test]
    fn notes_may_take_exactly_what_a_segment_allows() {
        let layout = layout(1 << 15);
        let bound = Notes::bytes_max(&layout);
        let mut collected = Notes::default();
        let mut notes = Vec::new();
        while collected.len() + 64 < bound {
            notes.push(note(notes.len() as u64));
            collected.push(&notes[notes.len() - 1]);
        }
        // One more, as long as it takes.
        let meta = |len: usize| Note::Meta {
            group: 0,
            meta: Meta { namespace: 1, key: Vec::new(), value: alloc::vec![1; len] },
        };
        collected.push(&meta(0));
        notes.push(meta(bound - collected.len()));
        let segment = sealed(&layout, &notes, 0);
        let read = read_proven(&segment, &layout);
        assert_eq!(
            read.map(|(footer, _, read)| (footer.notes_bytes as usize, read)),
            Some((bound, bytes_of(&notes)))
        );
        assert!(read_proven(&sealed(&layout, &notes, 1), &layout).is_none(), "one byte more");
    }

    #[test]
    fn a_proof_says_what_has_to_be_there_though_the_footer_is_gone() {
        struct Hole<'a>(&'a Bytes, u32);
        impl Clone for Hole<'_> {
            fn clone(&self) -> Self {
                Self(self.0, self.1)
            }
        }
        impl ReadAt for Hole<'_> {
            fn read(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), penstock_flash::Error> {
                if (offset..offset + into.len() as u32).contains(&self.1) {
                    // What a read leaves behind that failed is worth nothing, however whole it looks.
                    self.0.read(segment, offset, into)?;
                    return Err(penstock_flash::Error::Unreadable { segment, offset: self.1 });
                }
                self.0.read(segment, offset, into)
            }
        }
        let layout = layout(1 << 15);
        let segment = sealed(&layout, &[note(1)], 0);
        let seen = |hole: u32| {
            let (footer, proof) = read_ending(&Hole(&segment, hole), &layout, seed(), 0);
            (footer.is_some(), proof.map(|proof| proof.last_group))
        };
        assert_eq!(seen(0), (true, Some(5)));
        assert_eq!(seen(layout.footer_offset()), (false, Some(5)));
        assert_eq!(seen(layout.proof_offset()), (true, None));
    }

    #[test]
    fn a_summary_that_would_reach_beyond_its_place_is_none() {
        let layout = layout(1 << 15);
        let notes: Vec<Note> = (0..20).map(note).collect();
        let mut segment = sealed(&layout, &notes, 0);
        let footer = read_ending(&segment, &layout, seed(), 0).0.unwrap();
        let room = summary_bytes(&layout, footer.notes_bytes as usize);
        let mut is_read = |summary_offset: u32| {
            let mut payload = [0; 64];
            let len = record::encode(&Footer { summary_offset, ..footer }, &mut payload).unwrap();
            put(&mut segment, layout.footer_offset(), Kind::Footer, &payload[..len]);
            read_ending(&segment, &layout, seed(), 0).0.is_some()
        };
        assert!(is_read(layout.data_end() - room));
        assert!(!is_read(layout.data_end() - room + 16));
        assert!(!is_read(u32::MAX));
    }

    #[test]
    fn where_the_first_frame_holds_no_notes_no_other_is_read() {
        struct Counted<'a>(&'a Bytes, &'a core::cell::Cell<usize>);
        impl Clone for Counted<'_> {
            fn clone(&self) -> Self {
                Self(self.0, self.1)
            }
        }
        impl ReadAt for Counted<'_> {
            fn read(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), penstock_flash::Error> {
                self.1.set(self.1.get() + into.len());
                self.0.read(segment, offset, into)
            }
        }
        let layout = layout(1 << 21);
        let mut segment = sealed(&layout, &(0..6000).map(note).collect::<Vec<_>>(), 0);
        put(&mut segment, layout.data_start(), Kind::Summary, &alloc::vec![0xFF; SUMMARY_PAYLOAD_BYTES]);
        let footer = read_ending(&segment, &layout, seed(), 0).0.unwrap();
        let read = core::cell::Cell::new(0);
        let notes = read_notes(&Counted(&segment, &read), &layout, seed(), 0, &footer, Keep::Segments);
        assert!(notes.is_none());
        assert!(read.get() <= frame::frame_bytes(SUMMARY_PAYLOAD_BYTES), "{} bytes", read.get());
    }

    #[test]
    fn a_long_note_may_go_on_in_the_next_frame() {
        let layout = layout(1 << 21);
        // From each place before the end of the first frame.
        for fill in 0..40 {
            let meta = |len: usize| Note::Meta {
                group: u64::MAX - 1,
                meta: Meta {
                    namespace: 1,
                    key: alloc::vec![7; META_KEY_BYTES_MAX],
                    value: alloc::vec![1; len],
                },
            };
            let mut notes = alloc::vec![meta(fill)];
            notes.extend((0..40).map(|_| meta(META_VALUE_BYTES_MAX)));
            let segment = sealed(&layout, &notes, 0);
            assert_eq!(
                read_proven(&segment, &layout).map(|(.., read)| read),
                Some(bytes_of(&notes)),
                "{fill}"
            );
        }
    }
}
