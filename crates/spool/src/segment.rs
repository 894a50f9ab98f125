//! Segments: how one is laid out, and what the volume knows of each.
//!
//! ```text
//!  ├ header ┼ header again ┼ group ┼ group ┼ … ┼ summary … ┼ footer ┼ proof ┤
//!  0        h              2h                               end-2u   end-u   end
//! ```
//!
//! `h` is the header's frame and `u` the footer's and the proof's, each rounded up to whole program units, so that no
//! two of them share one: what tears one of them leaves the others. The two anchors have slots for roots between
//! header and end, and neither summary nor proof.

use alloc::sync::Arc;

use penstock_flash::{Geometry, ReadAt};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::frame::{self, Header, Kind, Seed};
use crate::landmark;
use crate::proof::Branch;
use crate::reclaim::IdRange;
use crate::record::Stamp;
use crate::summary::Notes;
use crate::{reading, record};

/// The version of the format that this crate writes and reads.
pub(crate) const FORMAT_VERSION: u16 = 1;

/// What a volume uses beyond the first format, as bits. Who writes to a volume keeps all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Features {
    /// Who does not know one may ignore it.
    pub(crate) compatible: u32,
    /// Who does not know one may read and append, but must give up no segment: it cannot know what is live in it.
    pub(crate) append_compatible: u32,
    /// Who does not know one must not mount.
    pub(crate) incompatible: u32,
}

impl Features {
    /// Those that this version knows: none yet.
    pub(crate) const KNOWN: Self = Self { compatible: 0, append_compatible: 0, incompatible: 0 };

    pub(crate) fn with(self, other: Self) -> Self {
        Self {
            compatible: self.compatible | other.compatible,
            append_compatible: self.append_compatible | other.append_compatible,
            incompatible: self.incompatible | other.incompatible,
        }
    }

    /// Why a volume that uses these cannot be mounted, if it cannot.
    pub(crate) fn check(self) -> Result<(), Error> {
        match self.unknown() {
            0 => Ok(()),
            features => Err(Error::UnknownFormat { format: FORMAT_VERSION, features }),
        }
    }

    fn unknown(self) -> u32 {
        self.incompatible & !Self::KNOWN.incompatible
    }

    /// Whether segments may be given up on a volume that uses these.
    pub(crate) fn allow_reclaim(self) -> bool {
        self.append_compatible & !Self::KNOWN.append_compatible == 0
    }
}

/// How many segments, from the first, are anchors.
pub(crate) const ANCHORS: u32 = 2;

/// The fewest segments a volume may have: anchors, three heads, reclaim's scratch, and something to put mail into.
pub(crate) const SEGMENTS_MIN: u32 = 16;
/// The smallest segment in bytes that holds headers, footer, proof and frames worth having.
pub(crate) const SEGMENT_BYTES_MIN: u32 = 4096;

/// The room for a header frame. Its payload is far below; the rest is for later versions.
pub(crate) const HEADER_FRAME_BYTES: u32 = 192;
/// The room for a footer or proof frame.
pub(crate) const FOOTER_FRAME_BYTES: u32 = 112;
/// The room for the frame of a root.
pub(crate) const SLOT_BYTES: u32 = 256;
/// The most slots that an anchor uses.
const SLOTS_MAX: u32 = 256;

/// Which of the append points a segment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// Mail as it comes in.
    Hot = 0,
    /// Mail that reclaim moved.
    Moved = 1,
    /// What becomes of mail, state and events.
    Status = 2,
    /// A part of a checkpoint.
    Checkpoint = 3,
    /// Roots, which tell where the checkpoint is. The first [`ANCHORS`] segments, always.
    Anchor = 4,
}

impl Purpose {
    /// The append points.
    pub(crate) const HEADS: [Self; 3] = [Self::Hot, Self::Moved, Self::Status];

    /// Whether groups are appended to such a segment.
    pub(crate) fn is_head(self) -> bool {
        Self::HEADS.contains(&self)
    }

    /// Whether messages stand in such a segment.
    pub(crate) fn holds_mail(self) -> bool {
        matches!(self, Self::Hot | Self::Moved)
    }
}

/// The record at the head of each segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentHeader {
    pub(crate) format: u16,
    pub(crate) features: Features,
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
    /// The last durable group of each head.
    pub(crate) landmarks: landmark::OfHeads,
}

impl SegmentHeader {
    /// Why this volume cannot be mounted on a medium of that geometry, if it cannot.
    pub(crate) fn check(&self, geometry: &Geometry) -> Result<(), Error> {
        if self.format != FORMAT_VERSION {
            return Err(Error::UnknownFormat { format: self.format, features: self.features.unknown() });
        }
        self.features.check()?;
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
    /// How many segments there are.
    pub(crate) segments: u32,
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
            segments: geometry.segments,
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

    /// Where each slot for a root begins in an anchor.
    pub(crate) fn slot_offset(&self, slot: u32) -> u32 {
        self.data_start() + slot * self.slot_bytes()
    }

    /// The room of a slot for a root: whole units, so that what tears one leaves the others.
    pub(crate) fn slot_bytes(&self) -> u32 {
        self.align_up(SLOT_BYTES)
    }

    /// The slots of an anchor. They are read at each mount, hence not as many as there is room for.
    pub(crate) fn slots(&self) -> u32 {
        (self.data_bytes() / self.slot_bytes()).min(SLOTS_MAX)
    }

    /// The bytes of a segment that so many bytes of notes use up, by the share that they have of all it may collect.
    pub(crate) fn bytes_for_notes(&self, note_bytes: u64) -> u64 {
        note_bytes * u64::from(self.data_bytes()) / Notes::bytes_max(self) as u64
    }

    /// The bytes of a segment that groups may fill.
    pub(crate) fn data_bytes(&self) -> u32 {
        self.data_end() - self.data_start()
    }
}

/// Reads a segment's header from whichever copy is whole; the newer one, since on media that erase nothing a write that
/// never came leaves the copy of an earlier life. Whether it fits the medium is left to the caller.
pub(crate) fn read_header<R: ReadAt>(reader: &R, layout: &Layout, segment: u32) -> Option<SegmentHeader> {
    let [first, second] = layout.header_offsets();
    let mut bytes = [0; (penstock_flash::UNIT_BYTES_MAX + HEADER_FRAME_BYTES) as usize];
    let both = &mut bytes[..(second + HEADER_FRAME_BYTES) as usize];
    let copies = if reading::read(reader, segment, first, both).is_ok() {
        [first, second].map(|offset| {
            let copy = both[offset as usize..].first_chunk()?;
            decode_header(copy, offset).filter(|header| header.segment == segment)
        })
    } else {
        // A read fails as a whole where any of it cannot be read.
        [first, second].map(|offset| read_header_copy(reader, segment, offset))
    };
    if copies[0].is_none() && copies[1].is_some() {
        Branch::SecondHeader.reach();
    }
    copies.into_iter().flatten().max_by_key(|header| header.sequence)
}

/// How many copies of a segment's header are whole.
pub(crate) fn whole_headers<R: ReadAt>(reader: &R, layout: &Layout, segment: u32, sequence: u64) -> u32 {
    let copies = layout.header_offsets().into_iter();
    let whole = copies.filter_map(|offset| read_header_copy(reader, segment, offset));
    whole.filter(|header| header.sequence == sequence).count() as u32
}

fn read_header_copy<R: ReadAt>(reader: &R, segment: u32, offset: u32) -> Option<SegmentHeader> {
    let mut bytes = [0; HEADER_FRAME_BYTES as usize];
    reading::read(reader, segment, offset, &mut bytes).ok()?;
    decode_header(&bytes, offset).filter(|header| header.segment == segment)
}

/// The header of a segment, of whichever, from its bytes.
pub(crate) fn decode_header(bytes: &[u8; HEADER_FRAME_BYTES as usize], offset: u32) -> Option<SegmentHeader> {
    let header = Header::decode(bytes, Seed::HEADER, offset)?;
    let payload = bytes.get(frame::HEADER_BYTES..frame::HEADER_BYTES + header.len as usize)?;
    if header.kind != Kind::SegmentHeader as u8 || Seed::HEADER.crc(payload) != header.payload_crc {
        return None;
    }
    record::decode(payload)
}

/// What the volume knows of a segment.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) state: State,
    pub(crate) purpose: Purpose,
    pub(crate) sequence: u64,
    pub(crate) erase_count: u32,
    /// Where it stands among the free ones: more is later, and 0 if it was never used.
    pub(crate) free_since: u64,
    /// Where a stop has left it open, the last group that must be in it; else 0.
    pub(crate) last_group: u64,
    /// Messages that need it, or records in it that nothing newer replaces.
    pub(crate) live: u32,
    /// The bytes of those, estimated alike when counted and when discounted.
    pub(crate) live_bytes: u64,
    /// Messages under way that have frames in it.
    pub(crate) held: u32,
    /// The messages that have anything in it.
    pub(crate) ids: IdRange,
    /// The status segment that holds the newest [`record::SegmentRecord`] about this one.
    pub(crate) recorded_in: Option<u32>,
    /// The newest time of a message or event in it.
    pub(crate) newest: NewestTime,
    /// The bytes of the events in it.
    pub(crate) event_bytes: u32,
    /// It is free, but a power cut may have caught the writing of its header: it is erased once more before use.
    pub(crate) is_suspect: bool,
    /// Something live in it cannot be read: it is not given up while that is so.
    pub(crate) is_unreadable: bool,
    lease: Option<Arc<()>>,
}

/// The newest time of a message or event in a segment, for ageing. What a clock stamped that was not known to be right says
/// nothing of the time, only that there is something whose time is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NewestTime(u64);

impl NewestTime {
    /// Set where something in the segment was stamped by a clock that was not trusted. The bits below are the newest time
    /// that a trusted one gave, in Unix ms; 0 if none did.
    const UNTRUSTED: u64 = 1 << 63;

    /// The time of one message or event.
    pub(crate) fn of(at: Stamp) -> Self {
        Self(if at.trusted { at.unix_ms.min(Self::UNTRUSTED - 1) } else { Self::UNTRUSTED })
    }

    /// The newest of what two know of.
    #[must_use]
    pub(crate) fn with(self, other: Self) -> Self {
        let trusted = (self.0 & !Self::UNTRUSTED).max(other.0 & !Self::UNTRUSTED);
        Self(trusted | (self.0 | other.0) & Self::UNTRUSTED)
    }

    /// The newest time that is known, in Unix ms.
    pub(crate) fn trusted_ms(self) -> Option<u64> {
        Some(self.0 & !Self::UNTRUSTED).filter(|ms| *ms > 0)
    }

    /// The time by which all of it had come, in Unix ms. `None` if of some of it nothing tells: it was stamped by a clock
    /// that was not trusted, or it began in another segment.
    pub(crate) fn of_all_ms(self) -> Option<u64> {
        self.trusted_ms().filter(|_| self.0 & Self::UNTRUSTED == 0)
    }
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
    /// It could not be erased or programmed: never used again.
    Bad,
    /// It holds roots.
    Anchor,
}

impl Segment {
    pub(crate) fn new(state: State) -> Self {
        Self {
            state,
            purpose: Purpose::Hot,
            sequence: 0,
            erase_count: 0,
            free_since: 0,
            last_group: 0,
            live: 0,
            live_bytes: 0,
            held: 0,
            ids: IdRange::EMPTY,
            recorded_in: None,
            newest: NewestTime::default(),
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

    /// Whether its RETIRE stands in a group up to this one.
    pub(crate) fn is_retired_by(&self, last_group: u64) -> bool {
        matches!(self.state, State::Retired { group } if group <= last_group)
    }

    /// It is opened.
    pub(crate) fn begin_life(&mut self, purpose: Purpose, sequence: u64) {
        self.state = State::Open;
        self.purpose = purpose;
        self.sequence = sequence;
        self.last_group = 0;
        self.live = 0;
        self.live_bytes = 0;
        self.held = 0;
        self.ids = IdRange::EMPTY;
        self.newest = NewestTime::default();
        self.event_bytes = 0;
        self.is_unreadable = false;
    }

    /// Its erase has come to its end.
    pub(crate) fn finish_erase(&mut self) {
        self.state = State::Free;
        self.is_suspect = false;
        self.erase_count = self.erase_count.saturating_add(1);
        self.live = 0;
        self.live_bytes = 0;
        self.event_bytes = 0;
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
