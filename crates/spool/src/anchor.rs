//! The anchors: where a mount begins that does not want to read every segment.
//!
//! ```text
//!  segment 0  ├ header ┼ header again ┼ root 6 ┼ root 7 ┼ …                             ┤
//!  segment 1  ├ header ┼ header again ┼ root 2 ┼ root 3 ┼ … ┼ root 6 ┼ root 7 ┼ …       ┤
//! ```
//!
//! The first two segments of a volume hold nothing but roots. A *root* tells where the checkpoint is and which status
//! segments were opened since; the status segments tell of all the others. Each root is written to both anchors, so
//! that no single fault hides the newest one.
//!
//! An anchor is erased and begun anew when it is nearly full, and before the first root of each boot goes into it: the
//! boot before may have been cut while it wrote one, and of a slot nothing tells whether it was touched. The other one
//! holds the newest root meanwhile.
//!
//! Roots are hints: without them a mount reads every segment's header. Anchors hold no mail, so the rule that only a
//! RETIRE lets a segment be erased does not concern them.

use alloc::vec::Vec;

use penstock_flash::{Medium, ReadAt};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::frame::{self, Header, Kind, Seed};
use crate::log::Log;
use crate::record::NUMBER_MAX;
use crate::segment::{ANCHORS, Layout, Purpose, SLOT_BYTES, Segment, SegmentHeader, State, read_header};
use crate::{landmark, reading, record};

/// The most segments that a root gives up.
const GIVEN_UP_MAX: usize = 4;
/// The most status segments that a root names; with more, there is no hint until the next checkpoint.
const STATUS_MAX: usize = 20;

/// A segment in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Opened {
    pub(crate) segment: u32,
    pub(crate) sequence: u64,
}

/// What a mount begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Root {
    pub(crate) number: u64,
    /// A group that was durable before it was written.
    pub(crate) synced_group: u64,
    /// The first segment of the checkpoint, if there is one that can be built upon.
    pub(crate) checkpoint: Option<Opened>,
    /// The status segments opened since it was taken, in order.
    pub(crate) status: Vec<Opened>,
    /// Lives of segments that are over, as a RETIRE would say.
    pub(crate) given_up: Vec<Opened>,
    /// The last group of each head that was durable.
    pub(crate) landmarks: landmark::OfHeads,
}

/// One anchor, as far as writing to it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Anchor {
    /// The next slot; `None` where the segment must be erased first.
    next_slot: Option<u32>,
    /// The newest root stands in it.
    is_current: bool,
    /// The medium failed there.
    has_failed: bool,
}

/// Both anchors, and what the next root will say.
#[derive(Clone, Debug)]
pub(crate) struct Anchors {
    anchors: [Anchor; ANCHORS as usize],
    root: Root,
    /// The status segments opened since a checkpoint was begun that is not yet whole.
    status_since_begun: Option<Vec<Opened>>,
}

/// What was read of the anchors.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The headers that could be read, unless they contradict each other.
    pub(crate) headers: Vec<SegmentHeader>,
    /// The newest root.
    pub(crate) root: Option<Root>,
    pub(crate) anchors: Anchors,
}

impl Anchors {
    /// Those of a volume of which nothing is known.
    pub(crate) fn unknown() -> Self {
        Self { anchors: Default::default(), root: Root::default(), status_since_begun: None }
    }

    /// Notes that a status segment is being opened.
    pub(crate) fn note_status(&mut self, segment: u32, sequence: u64) {
        let life = Opened { segment, sequence };
        if self.root.status.len() == STATUS_MAX {
            self.root.checkpoint = None;
        } else {
            self.root.status.push(life);
        }
        if let Some(status) = &mut self.status_since_begun {
            status.push(life);
        }
    }

    /// From now on there is no checkpoint to build upon.
    pub(crate) fn drop_checkpoint(&mut self) {
        self.root.checkpoint = None;
    }

    /// Forgets status segments that a stop caught at their opening.
    pub(crate) fn drop_never_opened(&mut self, segments: &[Segment]) {
        let was_opened = |life: &Opened| {
            segments.get(life.segment as usize).is_some_and(|row| row.sequence >= life.sequence)
        };
        self.root.status.retain(was_opened);
    }

    /// Whether a root can say, or says already, that this life is over.
    pub(crate) fn may_give_up(&self, life: &Opened) -> bool {
        let has_room = self.root.given_up.len() < GIVEN_UP_MAX;
        (has_room || self.gives_up(life)) && self.anchors.iter().any(|anchor| !anchor.has_failed)
    }

    pub(crate) fn gives_up(&self, life: &Opened) -> bool {
        self.root.given_up.contains(life)
    }

    /// The lives that the newest root gives up.
    pub(crate) fn given_up(&self) -> Vec<Opened> {
        self.root.given_up.clone()
    }

    /// Forgets given up lives of which a record tells what came after.
    pub(crate) fn drop_reused(&mut self, segments: &[Segment]) {
        let is_told_here = |life: &Opened| {
            let row = segments.get(life.segment as usize);
            row.is_some_and(|row| row.sequence <= life.sequence && row.state == State::Erasable)
        };
        self.root.given_up.retain(is_told_here);
    }

    /// Whether the newest root names a checkpoint.
    pub(crate) fn has_checkpoint(&self) -> bool {
        self.root.checkpoint.is_some()
    }

    /// Whether so many status segments were opened since the checkpoint that another one is wanted.
    pub(crate) fn are_crowded(&self) -> bool {
        self.root.status.len() >= STATUS_MAX / 2
    }

    /// A checkpoint is taken of the volume as it is now.
    pub(crate) fn begin_checkpoint(&mut self) {
        self.status_since_begun = Some(Vec::new());
    }

    /// The checkpoint that was begun is durable, or came to nothing.
    pub(crate) fn end_checkpoint(&mut self, checkpoint: Option<Opened>) {
        let status = self.status_since_begun.take();
        if let (Some(status), Some(_)) = (status, checkpoint) {
            self.root.checkpoint = checkpoint.filter(|_| status.len() <= STATUS_MAX);
            self.root.status = status;
            self.root.status.truncate(STATUS_MAX);
        }
    }
}

/// Reads both anchors, so much of their slots at once.
pub(crate) fn read<R: ReadAt>(reader: &R, layout: &Layout, piece_bytes: usize) -> Seen {
    let mut seen = Seen { headers: Vec::new(), root: None, anchors: Anchors::unknown() };
    let mut roots: [Option<Root>; ANCHORS as usize] = Default::default();
    for (segment, root) in (0u32..).zip(&mut roots) {
        let header = read_header(reader, layout, segment).filter(|h| h.purpose == Purpose::Anchor);
        let Some(header) = header else { continue };
        let seed = Seed::of_segment(&header.volume, header.sequence);
        *root = newest_root(reader, layout, segment, seed, piece_bytes);
        seen.headers.push(header);
    }
    if seen.headers.windows(2).any(|pair| pair[0].volume != pair[1].volume) {
        return Seen { headers: Vec::new(), ..seen };
    }
    let newest = roots.iter().flatten().max_by_key(|root| root.number).cloned();
    for (anchor, root) in seen.anchors.anchors.iter_mut().zip(&roots) {
        anchor.is_current = root.is_some() && *root == newest;
    }
    seen.anchors.root = newest.clone().unwrap_or_default();
    seen.root = newest;
    seen
}

/// The newest root in an anchor.
fn newest_root<R: ReadAt>(
    reader: &R,
    layout: &Layout,
    segment: u32,
    seed: Seed,
    piece_bytes: usize,
) -> Option<Root> {
    let slot_bytes = layout.slot_bytes() as usize;
    let piece_slots = (piece_bytes / slot_bytes).clamp(1, layout.slots() as usize);
    let mut bytes = alloc::vec![0; slot_bytes * piece_slots];
    let mut newest: Option<Root> = None;
    for first in (0..layout.slots()).step_by(piece_slots) {
        let slots = (first..layout.slots()).take(piece_slots);
        let bytes = &mut bytes[..slots.len() * slot_bytes];
        if reading::read(reader, segment, layout.slot_offset(first), bytes).is_err() {
            // A read fails as a whole where any of it cannot be read.
            for (slot, bytes) in slots.clone().zip(bytes.chunks_mut(slot_bytes)) {
                if reading::read(reader, segment, layout.slot_offset(slot), bytes).is_err() {
                    bytes.fill(0);
                }
            }
        }
        let roots = slots.zip(bytes.chunks(slot_bytes));
        let roots = roots.filter_map(|(slot, bytes)| decode(bytes, seed, layout, slot));
        newest = roots.chain(newest).max_by_key(|root| root.number);
    }
    newest
}

/// The root in a slot. One that names what there cannot be is a lie, and is none.
fn decode(bytes: &[u8], seed: Seed, layout: &Layout, slot: u32) -> Option<Root> {
    let header = Header::decode(bytes, seed, layout.slot_offset(slot))?;
    let payload = bytes.get(frame::HEADER_BYTES..frame::HEADER_BYTES + header.len as usize)?;
    if header.kind != Kind::Root as u8 || seed.crc(payload) != header.payload_crc {
        return None;
    }
    let root: Root = record::decode(payload)?;
    let mut named = root.checkpoint.iter().chain(&root.status).chain(&root.given_up);
    let is_sane = root.number < NUMBER_MAX
        && root.status.len() <= STATUS_MAX
        && root.given_up.len() <= GIVEN_UP_MAX
        && named.all(|life| life.segment < layout.segments);
    is_sane.then_some(root)
}

impl<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>> Log<M, B> {
    /// Writes the root as it now is to the anchors that have room. It is durable after the next barrier.
    pub(crate) fn write_root(&mut self) -> Result<(), Error> {
        self.anchors.root.number += 1;
        self.anchors.root.synced_group = self.synced_group;
        self.anchors.root.landmarks = self.landmarks;
        if !self.has_anchor_with_room() {
            self.begin_anchor_now()?;
        }
        for anchor in 0..ANCHORS {
            self.anchors.anchors[anchor as usize].is_current = false;
            if self.has_room(anchor) {
                self.write_slot(anchor)?;
            }
        }
        Ok(())
    }

    /// Says in a root, durably, that a segment is not needed any more.
    pub(crate) fn give_up_by_root(&mut self, segment: u32) -> Result<(), Error> {
        let row = &self.segments[segment as usize];
        if row.purpose == Purpose::Checkpoint {
            self.anchors.root.checkpoint = None;
        }
        let life = Opened { segment, sequence: row.sequence };
        if !self.anchors.gives_up(&life) {
            self.anchors.root.given_up.push(life);
        }
        self.write_root()?;
        self.barrier()
    }

    /// Erases a segment that a durable root gives up.
    pub(crate) fn erase_given_up(&mut self, segment: u32) -> Result<(), Error> {
        let row = &mut self.segments[segment as usize];
        row.state = State::Erasable;
        // One that a stop caught at its opening stays the first to be opened.
        row.free_since = self.next_group;
        self.erase_now(segment).map(drop)
    }

    fn has_room(&self, anchor: u32) -> bool {
        let Anchor { next_slot, has_failed, .. } = self.anchors.anchors[anchor as usize];
        !has_failed && next_slot.is_some_and(|slot| slot < self.layout.slots())
    }

    /// Whether a root can be written without an erase.
    pub(crate) fn has_anchor_with_room(&self) -> bool {
        (0..ANCHORS).any(|anchor| self.has_room(anchor))
    }

    /// The anchor that is begun anew where none has room: the other one holds the newest root if either does.
    pub(crate) fn anchor_to_begin(&self) -> Option<u32> {
        let [first, second] = &self.anchors.anchors;
        match (first.has_failed, second.has_failed) {
            (true, true) => None,
            (false, true) => Some(0),
            (true, false) => Some(1),
            (false, false) => Some(u32::from(first.is_current && !second.is_current)),
        }
    }

    /// Erases one anchor at once and begins it anew.
    fn begin_anchor_now(&mut self) -> Result<(), Error> {
        let Some(anchor) = self.anchor_to_begin() else { return Ok(()) };
        // What the other one holds must be durable before this one is erased.
        self.barrier()?;
        let erased = self.erase_now(anchor)?;
        self.head_anchor(anchor, erased)
    }

    /// The anchor that is to be begun anew while there is time: the other one must hold the newest root.
    pub(crate) fn anchor_to_renew(&self) -> Option<u32> {
        let slots = self.layout.slots();
        (0..ANCHORS).find(|anchor| {
            let Anchor { next_slot, has_failed, .. } = self.anchors.anchors[*anchor as usize];
            let other = self.anchors.anchors[(1 - anchor) as usize];
            // One earlier than the other, so that they are not full at the same time.
            let full = if *anchor == 0 { slots - slots / 4 } else { slots / 2 };
            !has_failed
                && other.is_current
                && other.next_slot.is_some()
                && next_slot.is_none_or(|slot| slot >= full)
        })
    }

    /// Goes on with an anchor that was erased for [`anchor_to_renew`](Self::anchor_to_renew).
    pub(crate) fn renew_anchor(&mut self, anchor: u32, erased: bool) -> Result<(), Error> {
        self.head_anchor(anchor, erased)?;
        if self.has_room(anchor) {
            self.write_slot(anchor)?;
            self.barrier()?;
        }
        Ok(())
    }

    /// Until it is erased, and begun anew, nothing is written to an anchor.
    pub(crate) fn leave_anchor(&mut self, anchor: u32) {
        self.segments[anchor as usize].state = State::Anchor;
        self.anchors.anchors[anchor as usize] = Anchor::default();
    }

    /// Writes the headers of the anchors of a new volume.
    pub(crate) fn format_anchors(&mut self) -> Result<(), Error> {
        (0..ANCHORS).try_for_each(|anchor| self.head_anchor(anchor, true))
    }

    /// Begins an anchor anew, if it was erased.
    pub(crate) fn head_anchor(&mut self, anchor: u32, erased: bool) -> Result<(), Error> {
        self.used_segments = self.used_segments.max(anchor + 1);
        let is_headed = erased && self.program_header(anchor, Purpose::Anchor)?.is_ok();
        self.segments[anchor as usize].state = State::Anchor;
        self.bad_unrecorded.retain(|bad| *bad != anchor);
        self.anchors.anchors[anchor as usize] =
            Anchor { next_slot: Some(0), is_current: false, has_failed: !is_headed };
        Ok(())
    }

    /// A root that cannot be written is a hint less, and no more than that.
    fn write_slot(&mut self, anchor: u32) -> Result<(), Error> {
        let Some(slot) = self.anchors.anchors[anchor as usize].next_slot else { return Ok(()) };
        let mut root = self.anchors.root.clone();
        let mut payload = [0; SLOT_BYTES as usize - frame::HEADER_BYTES - frame::ALIGN];
        if record::encode(&root, &mut payload).is_err() {
            root = Root { checkpoint: None, status: Vec::new(), ..root };
        }
        let (offset, room) = (self.layout.slot_offset(slot), self.layout.slot_bytes());
        let is_written = self.try_record(anchor, offset, room, Kind::Root, &root)?.is_ok();
        self.anchors.anchors[anchor as usize] =
            Anchor { next_slot: Some(slot + 1), is_current: is_written, has_failed: !is_written };
        Ok(())
    }
}

#[cfg(test)]
mod tests;
