//! Walking a segment frame by frame, over whatever rot and power cuts left there.
//!
//! [`Window`] reads ahead so that a walk takes few requests. [`scan`] goes through a segment that has no proven
//! summary and gives the same notes, each with what is known of its group. What to believe is left to the mount.

use alloc::vec::Vec;

use penstock_flash::ReadAt;

use crate::frame::{self, Header, Kind, Seed};
use crate::landmark::{self, Landmarks};
use crate::log::GROUP_END_PAYLOAD_BYTES;
use crate::mend;
use crate::mount::Keep;
use crate::proof::Branch;
use crate::reading;
use crate::record::{self, Begin, Commit, Event, Extent};
use crate::segment::{Layout, NewestTime};
use crate::summary::{Note, Notes};

/// How much a walk reads at once, in bytes; a window grows to a whole frame where one is longer.
pub(crate) const WINDOW_BYTES: usize = 128 * 1024;

/// A stretch of a segment in memory, that moves along as it is read.
#[derive(Debug)]
pub(crate) struct Window<R> {
    reader: R,
    segment: u32,
    segment_bytes: u32,
    read_ahead_bytes: usize,
    start: u32,
    bytes: Vec<u8>,
    mends: bool,
}

impl<R: ReadAt> Window<R> {
    pub(crate) fn new(reader: R, segment: u32, segment_bytes: u32, read_ahead_bytes: usize) -> Self {
        Self { reader, segment, segment_bytes, read_ahead_bytes, start: 0, bytes: Vec::new(), mends: false }
    }

    /// From now on, reads so much at once.
    pub(crate) fn read_ahead(&mut self, bytes: usize) {
        self.read_ahead_bytes = bytes;
    }

    /// From now on, gives frames of which one bit is flipped as they may have been. What they say is then a guess:
    /// only for who has another check on it.
    pub(crate) fn mend(&mut self) {
        self.mends = true;
    }

    pub(crate) fn segment(&self) -> u32 {
        self.segment
    }

    /// Whether an extent lies within a segment.
    pub(crate) fn holds(&self, extent: &Extent) -> bool {
        extent.offset.checked_add(extent.span_bytes).is_some_and(|end| end <= self.segment_bytes)
    }

    /// Lets what was read be read again.
    pub(crate) fn forget(&mut self) {
        self.bytes.clear();
    }

    /// Goes on in another segment.
    pub(crate) fn move_to(&mut self, segment: u32) {
        if segment != self.segment {
            self.segment = segment;
            self.bytes.clear();
        }
    }

    /// The bytes at `offset`, or what the segment's end leaves of them.
    pub(crate) fn get(&mut self, offset: u32, len: usize) -> Result<&[u8], penstock_flash::Error> {
        if offset >= self.segment_bytes {
            return Ok(&[]);
        }
        let end = (offset as usize + len).min(self.segment_bytes as usize);
        let held_end = self.start as usize + self.bytes.len();
        if offset < self.start || end > held_end || self.bytes.is_empty() {
            let want = len.max(self.read_ahead_bytes);
            let want = want.min((self.segment_bytes as usize).saturating_sub(offset as usize));
            self.start = offset;
            self.bytes.resize(want, 0);
            if reading::read(&self.reader, self.segment, offset, &mut self.bytes).is_err() {
                // A read fails as a whole where any of it cannot be read: perhaps what is needed can.
                Branch::ReadAlone.reach();
                self.bytes.truncate(len.min(want));
                if let Err(error) = reading::read(&self.reader, self.segment, offset, &mut self.bytes) {
                    self.bytes.clear();
                    return Err(error);
                }
            }
        }
        let from = (offset - self.start) as usize;
        let to = end.saturating_sub(self.start as usize).max(from);
        Ok(&self.bytes[from..to])
    }

    /// The header at `offset`, if there is a whole one.
    pub(crate) fn header(&mut self, seed: Seed, offset: u32) -> Option<Header> {
        let mends = self.mends;
        let bytes = self.get(offset, frame::HEADER_BYTES).ok()?;
        let header = Header::decode(bytes, seed, offset);
        if header.is_none() && mends { mend::mended_header(bytes, seed, offset) } else { header }
    }

    /// The payload of the frame at `offset`, if it is whole.
    pub(crate) fn payload(&mut self, seed: Seed, offset: u32, header: &Header) -> Option<&[u8]> {
        let len = header.len as usize;
        let offset = offset + frame::HEADER_BYTES as u32;
        let bytes = self.get(offset, len).ok()?;
        if bytes.len() != len {
            return None;
        }
        let syndrome = seed.crc(bytes) ^ header.payload_crc;
        if syndrome != 0 {
            let may_mend = self.mends && is_checked_elsewhere(header.kind);
            let bit = may_mend.then(|| mend::flipped_bit(syndrome, len)).flatten()?;
            let from = (offset - self.start) as usize;
            mend::flip(self.bytes.get_mut(from..from + len)?, bit);
        }
        self.get(offset, len).ok()
    }
}

/// Whether a payload of this kind has a check besides its CRC: the SHA-256 of a body that is put together from it. An
/// envelope has none, nor has a fate.
fn is_checked_elsewhere(kind: u8) -> bool {
    matches!(Kind::from_u8(kind), Some(Kind::Chunk | Kind::Extents | Kind::Commit))
}

/// A group whose end was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) number: u64,
    /// All of its frames were there and whole.
    pub(crate) whole: bool,
}

/// All that a scan found in a segment.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) notes: Notes,
    /// The groups whose end was found, in the order of their places and so of their numbers.
    pub(crate) groups: Vec<Group>,
    /// The highest group that any group here says was durable.
    pub(crate) synced_group: u64,
    /// Groups that any group here says must be there.
    pub(crate) landmarks: Landmarks,
    /// The highest message id seen.
    pub(crate) msg_id_max: u64,
    /// The newest time of a message or event seen.
    pub(crate) newest: NewestTime,
    /// The bytes of the events seen.
    pub(crate) event_bytes: u32,
    /// Frames whose payload was damaged, and stretches in which no frame could be read.
    pub(crate) damaged: u32,
    /// Behind the last frame lies a place that the medium fails to read. Whether anything stood there nothing tells.
    pub(crate) ends_unreadable: bool,
    /// There is a frame that this version does not know and may not pass over: something here may be live.
    pub(crate) has_unknown: bool,
}

impl Scan {
    pub(crate) fn new(segments: u32) -> Self {
        Self {
            notes: Notes::default(),
            groups: Vec::new(),
            synced_group: 0,
            landmarks: Landmarks::new(segments),
            msg_id_max: 0,
            newest: NewestTime::default(),
            event_bytes: 0,
            damaged: 0,
            ends_unreadable: false,
            has_unknown: false,
        }
    }

    /// Whether a group was found whole.
    pub(crate) fn is_whole(&self, number: u64) -> bool {
        let at = self.groups.partition_point(|group| group.number < number);
        self.groups[at..].iter().take_while(|group| group.number == number).any(|group| group.whole)
    }

    /// Whether anything is missing, or not whole, up to a group that must be here. What was found to follow something
    /// that is missing is not whole either: a stretch without frames lies before its end.
    pub(crate) fn lacks_any_to(&self, landmark: u64) -> bool {
        let at = self.groups.partition_point(|group| group.number < landmark);
        let last = self.groups.get(at);
        last.is_none_or(|last| !last.whole) || self.groups[..at].iter().any(|group| !group.whole)
    }

    fn held_bytes(&self) -> usize {
        self.notes.len() + self.groups.len() * size_of::<Group>()
    }

    /// Lets go of what is known durable by now, where only segments and the tail are asked for.
    fn prune(&mut self) {
        let synced_group = self.synced_group;
        self.notes.retain(|note| Keep::Segments.wants(note, synced_group));
        // Where one is not whole, or none follows, the one before says how far all is there.
        let mut follower_is_whole = false;
        for group in self.groups.iter_mut().rev() {
            let is_needed = !core::mem::replace(&mut follower_is_whole, group.whole);
            if group.whole && !is_needed && group.number <= synced_group {
                group.number = 0;
            }
        }
        self.groups.retain(|group| group.number > 0);
    }
}

/// How much a scan that asks for segments and the tail alone collects before it lets go of the rest, in bytes.
const PRUNE_BYTES: usize = 8 * 1024;

/// Scans the groups of a segment, from the one at `offset` on.
pub(crate) fn scan<R: ReadAt>(
    window: &mut Window<R>,
    layout: &Layout,
    seed: Seed,
    mut offset: u32,
    keep: Keep,
) -> Scan {
    let mut scan = Scan::new(layout.segments);
    let mut prune_at = PRUNE_BYTES;
    let mut open = OpenGroup::default();
    let end = layout.data_end();
    let segment = window.segment();
    while offset < end {
        let Some(header) = window.header(seed, offset) else {
            // Rot, or the end of what was written. Go on where the next frame could begin a group: later groups may
            // have been acknowledged.
            open.broken = true;
            match next_frame(window, layout, seed, offset, end) {
                Next::Frame(next) => {
                    Branch::FrameDamaged.reach();
                    scan.damaged += 1;
                    offset = next;
                }
                Next::None { is_readable } => {
                    scan.ends_unreadable = !is_readable;
                    break;
                }
            }
            continue;
        };
        let kind = Kind::from_u8(header.kind);
        if matches!(kind, Some(Kind::Summary | Kind::Footer | Kind::Proof)) {
            break;
        }
        scan.has_unknown |= kind.is_none() && header.flags & frame::FLAG_SKIPPABLE == 0;
        let next = offset + header.frame_bytes() as u32;
        match window.payload(seed, offset, &header) {
            None => {
                Branch::FrameDamaged.reach();
                scan.damaged += 1;
                open.broken = true;
            }
            Some(payload) if kind == Some(Kind::GroupEnd) => {
                open.end(&mut scan, header.msg_id, payload);
                if keep == Keep::Segments && scan.held_bytes() > prune_at {
                    scan.prune();
                    prune_at = 2 * scan.held_bytes() + PRUNE_BYTES;
                }
                offset = layout.align_up(next);
                continue;
            }
            Some(payload) => {
                if header.kind <= Kind::Commit as u8 {
                    scan.msg_id_max = scan.msg_id_max.max(header.msg_id);
                }
                scan.newest = scan.newest.with(time_of(kind, payload));
                if kind == Some(Kind::Event) {
                    scan.event_bytes += header.frame_bytes() as u32;
                }
                if let Some(note) = note_of(kind, &header, payload, segment, offset) {
                    open.notes.push(note);
                }
            }
        }
        open.frames += 1;
        open.chain = frame::chain(open.chain, &header);
        offset = next;
    }
    open.abandon(&mut scan);
    if keep == Keep::Segments {
        scan.prune();
    }
    scan
}

/// The group that a scan is in.
#[derive(Default)]
struct OpenGroup {
    notes: Vec<Note>,
    frames: u32,
    chain: u32,
    broken: bool,
}

impl OpenGroup {
    fn end(&mut self, scan: &mut Scan, number: u64, payload: &[u8]) {
        let ended = core::mem::take(self);
        let Some((synced, frames, chain, landmarks)) = decode_group_end(payload, number) else { return };
        scan.landmarks.add_of_heads(&landmarks);
        let whole = !ended.broken && frames == ended.frames && chain == ended.chain;
        scan.synced_group = scan.synced_group.max(synced);
        scan.groups.push(Group { number, whole });
        ended.notes.into_iter().for_each(|note| scan.notes.push(&note.in_group(number)));
    }

    /// The segment ended without the group's end.
    fn abandon(self, scan: &mut Scan) {
        self.notes.iter().for_each(|note| scan.notes.push(note));
    }
}

fn decode_group_end(payload: &[u8], number: u64) -> Option<(u64, u32, u32, landmark::OfHeads)> {
    let payload: &[u8; GROUP_END_PAYLOAD_BYTES] = payload.try_into().ok()?;
    let (synced, rest) = payload.split_first_chunk()?;
    let (frames, rest) = rest.split_first_chunk()?;
    let (chain, landmarks) = rest.split_first_chunk()?;
    Some((
        u64::from_le_bytes(*synced),
        u32::from_le_bytes(*frames),
        u32::from_le_bytes(*chain),
        landmark::decode(landmarks.first_chunk()?, number),
    ))
}

/// What follows a stretch in which no frame could be read.
enum Next {
    /// A frame at this offset.
    Frame(u32),
    /// No frame any more, and whether all that follows could be read.
    None { is_readable: bool },
}

fn next_frame<R: ReadAt>(window: &mut Window<R>, layout: &Layout, seed: Seed, offset: u32, end: u32) -> Next {
    let step = frame::ALIGN as u32;
    let mut is_readable = window.get(offset, 1).is_ok();
    let mut at = offset.next_multiple_of(step);
    at += step;
    while at < end {
        if window.header(seed, at).is_some() {
            return Next::Frame(at);
        }
        at = match window.get(at, 1) {
            Ok(_) => at + step,
            Err(_) => {
                is_readable = false;
                // The next unit may be readable again.
                layout.align_up(at + 1)
            }
        };
    }
    Next::None { is_readable }
}

/// When the message or event of a frame came; nothing for other frames.
fn time_of(kind: Option<Kind>, payload: &[u8]) -> NewestTime {
    let at = match kind {
        Some(Kind::Begin) => record::decode(payload).map(|begin: Begin| begin.received),
        Some(Kind::Event) => record::decode(payload).map(|event: Event| event.at),
        _ => None,
    };
    at.map_or(NewestTime::default(), NewestTime::of)
}

/// What a mount must know of a frame. The group is filled in when its end is found.
fn note_of(kind: Option<Kind>, header: &Header, payload: &[u8], segment: u32, offset: u32) -> Option<Note> {
    let group = u64::MAX;
    match kind? {
        Kind::Commit => {
            let commit: Commit = record::decode(payload)?;
            Some(Note::Commit {
                group,
                id: header.msg_id,
                offset,
                size_bytes: u32::try_from(commit.size_bytes).ok()?,
                recipients: commit.recipients,
                wide: commit.is_wide(segment),
            })
        }
        Kind::Status => Some(Note::Status { group, id: header.msg_id, status: record::decode(payload)? }),
        Kind::Meta => Some(Note::Meta { group, meta: record::decode(payload)? }),
        Kind::SegmentState => Some(Note::Segment { group, record: record::decode(payload)? }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
