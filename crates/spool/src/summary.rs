//! Notes: what a mount needs to know of a segment without reading all of it.
//!
//! While a segment is open its notes collect in memory; when it is sealed they go to its end as SUMMARY frames, told
//! of by a FOOTER. After the next sync a PROOF says that all of this was durable. Notes are hints: without the proof,
//! or if any of it is damaged, the segment is scanned and gives the same notes.

use alloc::vec::Vec;

use penstock_flash::ReadAt;
use serde::{Deserialize, Serialize};

use crate::frame::{self, Header, Kind, Seed};
use crate::reading;
use crate::record::{self, Meta, SegmentRecord, Status};
use crate::segment::{FOOTER_FRAME_BYTES, Layout};

/// The most bytes that one note takes.
pub(crate) const NOTE_BYTES_MAX: usize = 48;
/// The most bytes that the note of a META record takes beyond its key and value.
pub(crate) const META_NOTE_BYTES: usize = 32;
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

    /// Whether all of it is notes.
    fn is_sound(&self) -> bool {
        let mut rest = self.bytes.as_slice();
        while !rest.is_empty() {
            let Ok((_, after)) = postcard::take_from_bytes::<Note>(rest) else { return false };
            rest = after;
        }
        true
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
    /// The highest group in the segment.
    pub(crate) last_group: u64,
    /// Ids below this one may be in use.
    pub(crate) msg_id_floor: u64,
    /// The newest time of a message or event in the segment, for ageing.
    pub(crate) newest_ms: u64,
    /// The bytes of the events in the segment.
    pub(crate) event_bytes: u32,
}

/// The record that tells that all before it in its segment was durable when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Proof {
    pub(crate) synced_group: u64,
}

/// The payload of the frame of a kind that stands at the beginning of `bytes`, if it is whole.
fn payload_of(bytes: &[u8], seed: Seed, offset: u32, kind: Kind) -> Option<(Header, &[u8])> {
    let header = Header::decode(bytes, seed, offset)?;
    let payload = bytes.get(frame::HEADER_BYTES..frame::HEADER_BYTES + header.len as usize)?;
    (header.kind == kind as u8 && seed.crc(payload) == header.payload_crc).then_some((header, payload))
}

/// Reads footer and proof of a sealed segment with one request, if both are whole.
pub(crate) fn read_footer<R: ReadAt>(
    reader: &R,
    layout: &Layout,
    seed: Seed,
    segment: u32,
) -> Option<(Footer, Proof)> {
    let (footer_at, proof_at) = (layout.footer_offset(), layout.proof_offset());
    let between = (proof_at - footer_at) as usize;
    let mut bytes = alloc::vec![0; between + FOOTER_FRAME_BYTES as usize];
    reading::read(reader, segment, footer_at, &mut bytes).ok()?;
    let footer: Footer = record::decode(payload_of(&bytes, seed, footer_at, Kind::Footer)?.1)?;
    let proof: Proof = record::decode(payload_of(&bytes[between..], seed, proof_at, Kind::Proof)?.1)?;
    let end = footer.summary_offset.checked_add(summary_bytes(layout, footer.notes_bytes as usize))?;
    let fits = footer.notes_bytes as usize <= Notes::bytes_max(layout) && end <= layout.data_end();
    fits.then_some((footer, proof))
}

/// Reads the notes that a footer tells of, if all of them are whole.
pub(crate) fn read_notes<R: ReadAt>(
    reader: &R,
    layout: &Layout,
    seed: Seed,
    segment: u32,
    footer: &Footer,
) -> Option<Notes> {
    let notes_len = footer.notes_bytes as usize;
    let mut summary = alloc::vec![0; summary_bytes(layout, notes_len) as usize];
    reading::read(reader, segment, footer.summary_offset, &mut summary).ok()?;
    let mut notes = Notes { bytes: Vec::with_capacity(notes_len) };
    let mut at = 0;
    while notes.len() < notes_len {
        let rest = summary.get(at..)?;
        let (header, payload) = payload_of(rest, seed, footer.summary_offset + at as u32, Kind::Summary)?;
        if payload.is_empty() {
            return None;
        }
        notes.bytes.extend_from_slice(payload);
        at += header.frame_bytes();
    }
    notes.is_sound().then_some(notes)
}
