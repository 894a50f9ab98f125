//! Segments: how one is laid out, and what the volume knows of each.
//!
//! ```text
//!  ├ header ┼ header again ┼ group ┼ group ┼ … ┼ summary … ┼ footer ┼ proof ┤
//!  0        h              2h                               end-2u   end-u   end
//! ```
//!
//! `h` is the header's frame and `u` the footer's and the proof's, each rounded up to whole program units, so that no
//! two of them share one: what tears one of them leaves the others.

use alloc::sync::Arc;

use penstock_flash::{Geometry, ReadAt};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::frame::{self, Header, Kind, Seed};
use crate::proof::Branch;
use crate::record;

/// The version of the format that this crate writes. 0 may still change.
pub(crate) const FORMAT_VERSION: u16 = 0;
/// Features without which the volume must not be mounted, of those that this version knows: none yet.
const INCOMPATIBLE_KNOWN: u32 = 0;

/// The fewest segments a volume may have: three heads, reclaim's scratch, and something to put mail into.
pub(crate) const SEGMENTS_MIN: u32 = 16;
/// The smallest segment in bytes that holds headers, footer, proof and frames worth having.
pub(crate) const SEGMENT_BYTES_MIN: u32 = 4096;

/// The room for a header frame. Its payload is far below; the rest is for later versions.
const HEADER_FRAME_BYTES: u32 = 160;
/// The room for a footer or proof frame.
const FOOTER_FRAME_BYTES: u32 = 96;

/// Which of the append points a segment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// Mail as it comes in.
    Hot = 0,
    /// Mail that reclaim moved.
    Moved = 1,
    /// What becomes of mail, state and events.
    Status = 2,
}

/// The record at the head of each segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentHeader {
    pub(crate) format: u16,
    /// Features that an older version may ignore, that keep it from appending, and that keep it from mounting.
    pub(crate) compatible: u32,
    pub(crate) append_compatible: u32,
    pub(crate) incompatible: u32,
    pub(crate) volume: [u8; 16],
    pub(crate) segments: u32,
    pub(crate) segment_bytes: u32,
    pub(crate) unit_bytes: u32,
    pub(crate) segment: u32,
    pub(crate) sequence: u64,
    pub(crate) erase_count: u32,
    pub(crate) purpose: Purpose,
    /// Message ids below this one may be in use.
    pub(crate) msg_id_floor: u64,
    /// The highest group that was durable when the segment was opened.
    pub(crate) synced_group: u64,
    /// How many segments, from the first, were ever used.
    pub(crate) used_segments: u32,
    pub(crate) boot: u32,
}

impl SegmentHeader {
    /// Why this volume cannot be mounted on a medium of that geometry, if it cannot.
    pub(crate) fn check(&self, geometry: &Geometry) -> Result<(), Error> {
        let unknown = self.incompatible & !INCOMPATIBLE_KNOWN;
        if self.format != FORMAT_VERSION || unknown != 0 {
            return Err(Error::UnknownFormat { format: self.format, features: unknown });
        }
        let volume = (self.segments, self.segment_bytes);
        let medium = (geometry.segments, geometry.segment_bytes);
        if volume != medium || self.unit_bytes != geometry.unit_bytes {
            return Err(Error::GeometryChanged { volume, medium });
        }
        Ok(())
    }
}

/// The offsets that follow from a geometry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) unit_bytes: u32,
    header_bytes: u32,
    footer_bytes: u32,
    pub(crate) segment_bytes: u32,
}

impl Layout {
    pub(crate) fn of(geometry: &Geometry) -> Result<Self, Error> {
        if !geometry.is_valid()
            || geometry.segments < SEGMENTS_MIN
            || geometry.segment_bytes < SEGMENT_BYTES_MIN
        {
            return Err(Error::BadGeometry);
        }
        let unit_bytes = geometry.unit_bytes.max(frame::ALIGN as u32);
        let layout = Self {
            unit_bytes,
            header_bytes: HEADER_FRAME_BYTES.next_multiple_of(unit_bytes),
            footer_bytes: FOOTER_FRAME_BYTES.next_multiple_of(unit_bytes),
            segment_bytes: geometry.segment_bytes,
        };
        if layout.data_end() <= layout.data_start() || !geometry.segment_bytes.is_multiple_of(unit_bytes) {
            return Err(Error::BadGeometry);
        }
        Ok(layout)
    }

    pub(crate) fn header_bytes(&self) -> u32 {
        self.header_bytes
    }

    pub(crate) fn footer_bytes(&self) -> u32 {
        self.footer_bytes
    }

    /// Where the two copies of the header stand.
    pub(crate) fn header_offsets(&self) -> [u32; 2] {
        [0, self.header_bytes]
    }

    /// Where groups begin.
    pub(crate) fn data_start(&self) -> u32 {
        2 * self.header_bytes
    }

    /// Where groups and summary end.
    pub(crate) fn data_end(&self) -> u32 {
        self.segment_bytes - 2 * self.footer_bytes
    }

    pub(crate) fn footer_offset(&self) -> u32 {
        self.segment_bytes - 2 * self.footer_bytes
    }

    pub(crate) fn proof_offset(&self) -> u32 {
        self.segment_bytes - self.footer_bytes
    }

    pub(crate) fn align_up(&self, offset: u32) -> u32 {
        offset.next_multiple_of(self.unit_bytes)
    }

    /// The bytes of a segment that groups may fill.
    pub(crate) fn data_bytes(&self) -> u32 {
        self.data_end() - self.data_start()
    }
}

/// Reads a segment's header from whichever copy is whole. Whether it fits the medium is left to the caller.
pub(crate) fn read_header<R: ReadAt>(reader: &R, layout: &Layout, segment: u32) -> Option<SegmentHeader> {
    layout.header_offsets().into_iter().find_map(|offset| {
        let mut bytes = [0; HEADER_FRAME_BYTES as usize];
        reader.read(segment, offset, &mut bytes).ok()?;
        let header = Header::decode(&bytes, Seed::HEADER, offset)?;
        let payload = bytes.get(frame::HEADER_BYTES..frame::HEADER_BYTES + header.len as usize)?;
        if header.kind != Kind::SegmentHeader as u8 || Seed::HEADER.crc(payload) != header.payload_crc {
            return None;
        }
        let record: SegmentHeader = record::decode(payload)?;
        if offset > 0 {
            Branch::SecondHeader.reach();
        }
        (record.segment == segment).then_some(record)
    })
}

/// What the volume knows of a segment.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) state: State,
    pub(crate) purpose: Purpose,
    pub(crate) sequence: u64,
    pub(crate) erase_count: u32,
    /// Messages that need it, or records in it that nothing newer replaces.
    pub(crate) live: u32,
    /// The bytes of those, estimated alike when counted and when discounted.
    pub(crate) live_bytes: u64,
    /// The status segment that holds the newest [`record::SegmentRecord`] about this one.
    pub(crate) recorded_in: Option<u32>,
    /// The newest time of a message or event in it.
    pub(crate) newest_ms: u64,
    /// The bytes of the events in it.
    pub(crate) event_bytes: u32,
    /// It is free, but a power cut may have caught the writing of its header: it is erased once more before use.
    pub(crate) is_suspect: bool,
    /// Something live in it cannot be read: it is not given up while that is so.
    pub(crate) is_unreadable: bool,
    lease: Option<Arc<()>>,
}

/// Where a segment stands in its life, as the owner of the volume sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Ready to be opened.
    Free,
    /// An append point programs into it.
    Open,
    /// Full, or left open by an unclean stop: read, never programmed.
    Sealed,
    /// Its RETIRE is in that group; until a later durable group tells that this one was synced, it is not touched.
    Retired { group: u64 },
    /// Its RETIRE is proven, and it waits for its erase.
    Erasable,
    /// It has no header though it was used, and no RETIRE names it: never erased.
    Quarantined,
}

impl Segment {
    pub(crate) fn new(state: State) -> Self {
        Self {
            state,
            purpose: Purpose::Hot,
            sequence: 0,
            erase_count: 0,
            live: 0,
            live_bytes: 0,
            recorded_in: None,
            newest_ms: 0,
            event_bytes: 0,
            is_suspect: false,
            is_unreadable: false,
            lease: None,
        }
    }

    /// Counts something in it that reclaim would have to keep.
    pub(crate) fn count(&mut self, bytes: u64) {
        self.live += 1;
        self.live_bytes += bytes;
    }

    /// Discounts what [`count`](Self::count) counted.
    pub(crate) fn discount(&mut self, bytes: u64) {
        self.live = self.live.saturating_sub(1);
        self.live_bytes = self.live_bytes.saturating_sub(bytes);
    }

    /// Keeps the segment from being erased until the lease is dropped.
    pub(crate) fn lease(&mut self) -> Lease {
        Lease { _held: self.lease.get_or_insert_with(|| Arc::new(())).clone() }
    }

    pub(crate) fn is_leased(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| Arc::strong_count(lease) > 1)
    }
}

/// Held by who reads from a segment; while it lives, the segment is not erased.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    _held: Arc<()>,
}
