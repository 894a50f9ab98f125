//! A checkpoint: what a mount would find out, written down, so that the next one need not.
//!
//! It holds the table of segments, the index and the state as they were when everything up to a group was durable; a
//! mount reads it and then only what was appended since. It is a hint: where any of it cannot be read, or what came
//! after cannot be found without a gap, the mount reads the volume segment by segment and comes to the same result.
//!
//! A checkpoint is a sequence of *items*, packed into CHECKPOINT frames that each begin on a unit of their own, in
//! segments of their own. The first frame names all of these. This module has the items and their reading; `write`
//! has how one is made beside other work.

mod write;

use alloc::vec::Vec;

use penstock_flash::ReadAt;
use serde::{Deserialize, Serialize};

use crate::anchor::Opened;
use crate::frame::{Kind, Seed};
use crate::index::{Index, Saved};
use crate::mount::Keep;
use crate::record::Meta;
use crate::segment::{Features, Layout, NewestTime, Purpose, Segment, State};
use crate::state::MetaTable;
use crate::walk::Window;

pub(crate) use write::Checkpointer;

/// What a mount goes on from: an empty volume, or what a checkpoint says.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) counters: Counters,
    pub(crate) segments: Vec<Segment>,
    /// Where each of the segments that were open goes on.
    pub(crate) open: Vec<(u32, u32)>,
    pub(crate) index: Index,
    pub(crate) meta: MetaTable,
    /// The segments that the checkpoint itself stands in.
    pub(crate) own: Vec<Opened>,
}

impl Ground {
    /// That of a volume of which nothing is known yet.
    pub(crate) fn bare(segments: u32) -> Self {
        Self {
            counters: Counters::default(),
            segments: (0..segments).map(|_| Segment::new(State::Free)).collect(),
            open: Vec::new(),
            index: Index::default(),
            meta: MetaTable::default(),
            own: Vec::new(),
        }
    }
}

/// The numbers of a volume at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters {
    pub(crate) next_sequence: u64,
    pub(crate) synced_group: u64,
    pub(crate) next_msg_id: u64,
    pub(crate) used_segments: u32,
    pub(crate) boot: u32,
    pub(crate) features: Features,
    /// Messages in the index.
    pub(crate) messages: u64,
}

/// Where a segment stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum SavedState {
    Free,
    /// Open, the next group at that offset.
    Open(u32),
    Sealed,
    Erasable,
    Quarantined,
    Bad,
    Anchor,
    /// Sealed, and left open by a stop: that group must be in it.
    Left(u64),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Item {
    /// The first: how many frames the checkpoint has, this one included, and in which segments they stand.
    Head { frames: u32, segments: Vec<Opened> },
    /// The second.
    Counters(Counters),
    /// A segment; as many as there are, by number.
    Segment {
        state: SavedState,
        purpose: Purpose,
        sequence: u64,
        erase_count: u32,
        free_since: u64,
        recorded_in: Option<u32>,
        newest: NewestTime,
        event_bytes: u32,
        is_unreadable: bool,
    },
    /// A value, and the status segment it stands in.
    Meta { meta: Meta, segment: u32 },
    /// A message and what belongs to it, in order of id.
    Message(Saved),
    /// The last.
    End,
}

fn save_segment(row: &Segment, open_at: Option<u32>) -> Item {
    let state = match row.state {
        State::Free => SavedState::Free,
        State::Open => open_at.map_or(SavedState::Sealed, SavedState::Open),
        State::Sealed if row.last_group > 0 => SavedState::Left(row.last_group),
        State::Sealed => SavedState::Sealed,
        // The checkpoint is made of what is durable, the RETIRE among it.
        State::Retired { .. } | State::Erasable => SavedState::Erasable,
        State::Quarantined => SavedState::Quarantined,
        State::Bad => SavedState::Bad,
        State::Anchor => SavedState::Anchor,
    };
    Item::Segment {
        state,
        purpose: row.purpose,
        sequence: row.sequence,
        erase_count: row.erase_count,
        free_since: row.free_since,
        recorded_in: row.recorded_in,
        newest: row.newest,
        event_bytes: row.event_bytes,
        is_unreadable: row.is_unreadable,
    }
}

/// The longest payload of a CHECKPOINT frame: with its header whole units, and within a segment.
fn payload_bytes_max(layout: &Layout) -> usize {
    // Both are whole units.
    layout.data_bytes().min(crate::frame::PAYLOAD_BYTES_MAX as u32) as usize - crate::frame::HEADER_BYTES
}

/// The most segments that a checkpoint of so many messages may take.
pub(crate) fn segments_max(layout: &Layout, segments: u32, messages_max: usize) -> u32 {
    let capacity = u64::from(segments) * u64::from(layout.data_bytes());
    let messages = (messages_max as u64).min(capacity / MESSAGE_ON_FLASH_BYTES_MIN);
    let bytes = messages * MESSAGE_BYTES + u64::from(segments) * SEGMENT_BYTES;
    u32::try_from(bytes.div_ceil(u64::from(layout.data_bytes()))).unwrap_or(segments).max(1)
}

/// What an entry of a message, or of a segment, takes in a checkpoint.
const MESSAGE_BYTES: u64 = 26;
const SEGMENT_BYTES: u64 = 24;
/// What a message takes in the log at least.
const MESSAGE_ON_FLASH_BYTES_MIN: u64 = 512;

/// Reads items one after the other.
struct Items<R> {
    window: Window<R>,
    layout: Layout,
    volume: [u8; 16],
    /// The segments still to be read, the next one last.
    segments: Vec<Opened>,
    seed: Seed,
    offset: u32,
    frames_left: u32,
    payload: Vec<u8>,
    at: usize,
}

impl<R: ReadAt> Items<R> {
    fn next(&mut self) -> Option<Item> {
        while self.at == self.payload.len() {
            self.next_frame()?;
        }
        let (item, rest) = postcard::take_from_bytes(&self.payload[self.at..]).ok()?;
        self.at = self.payload.len() - rest.len();
        Some(item)
    }

    fn next_frame(&mut self) -> Option<()> {
        self.frames_left = self.frames_left.checked_sub(1)?;
        if self.window.header(self.seed, self.offset).is_none() {
            let life = self.segments.pop()?;
            self.window.move_to(life.segment);
            self.seed = Seed::of_segment(&self.volume, life.sequence);
            self.offset = self.layout.data_start();
        }
        let header = self.window.header(self.seed, self.offset)?;
        if header.kind != Kind::Checkpoint as u8 {
            return None;
        }
        let payload = self.window.payload(self.seed, self.offset, &header)?;
        self.payload.clear();
        self.payload.extend_from_slice(payload);
        self.at = 0;
        self.offset = self.layout.align_up(self.offset + header.frame_bytes() as u32);
        Some(())
    }
}

/// Reads the checkpoint that begins in a segment, the messages and the state only if they are wanted. `None` if any
/// of it is not as it was written.
pub(crate) fn read<R: ReadAt>(
    reader: R,
    layout: &Layout,
    segments: u32,
    volume: [u8; 16],
    first: Opened,
    keep: Keep,
) -> Option<Ground> {
    let ahead = keep.read_ahead_bytes().min(layout.segment_bytes as usize);
    let mut items = Items {
        window: Window::new(reader, first.segment, layout.segment_bytes, ahead),
        layout: *layout,
        volume,
        segments: Vec::new(),
        seed: Seed::of_segment(&volume, first.sequence),
        offset: layout.data_start(),
        frames_left: 1,
        payload: Vec::new(),
        at: 0,
    };
    if first.segment >= segments {
        return None;
    }
    let Item::Head { frames, segments: lives } = items.next()? else { return None };
    if lives.first() != Some(&first) || lives.iter().any(|life| life.segment >= segments) {
        return None;
    }
    items.segments = lives.iter().skip(1).rev().copied().collect();
    items.frames_left = frames.checked_sub(1)?;
    let Item::Counters(counters) = items.next()? else { return None };
    let mut ground = Ground { counters, own: lives, ..Ground::bare(0) };
    for segment in 0..segments {
        let item = items.next()?;
        ground.take_segment(segment, &item, segments)?;
    }
    if keep == Keep::Segments {
        return Some(ground);
    }
    // Each takes some bytes of what was read, so a count that is wrong does no harm beyond the volume's size.
    let bound = u64::from(segments) * u64::from(layout.data_bytes()) / MESSAGE_ON_FLASH_BYTES_MIN;
    ground.index.reserve(usize::try_from(counters.messages.min(bound)).unwrap_or(0));
    loop {
        match items.next()? {
            Item::Meta { meta, segment } if segment < segments => ground.meta.apply(&meta, segment),
            Item::Message(saved) => ground.index.load(saved, segments)?,
            Item::End if items.frames_left == 0 && ground.index.len() as u64 == counters.messages => {
                return Some(ground);
            }
            _ => return None,
        }
    }
}

impl Ground {
    /// Takes in the next row of the table of segments.
    fn take_segment(&mut self, segment: u32, item: &Item, segments: u32) -> Option<()> {
        let Item::Segment {
            state,
            purpose,
            sequence,
            erase_count,
            free_since,
            recorded_in,
            newest,
            event_bytes,
            is_unreadable,
        } = *item
        else {
            return None;
        };
        if recorded_in.is_some_and(|recorded_in| recorded_in >= segments) {
            return None;
        }
        let mut row = Segment::new(match state {
            SavedState::Free => State::Free,
            SavedState::Open(offset) => {
                self.open.push((segment, offset));
                State::Sealed
            }
            SavedState::Sealed | SavedState::Left(_) => State::Sealed,
            SavedState::Erasable => State::Erasable,
            SavedState::Quarantined => State::Quarantined,
            SavedState::Bad => State::Bad,
            SavedState::Anchor => State::Anchor,
        });
        row.last_group = if let SavedState::Left(last_group) = state { last_group } else { 0 };
        row.purpose = purpose;
        row.sequence = sequence;
        row.erase_count = erase_count;
        row.free_since = free_since;
        row.recorded_in = recorded_in;
        row.newest = newest;
        row.event_bytes = event_bytes;
        row.is_unreadable = is_unreadable;
        self.segments.push(row);
        Some(())
    }
}

#[cfg(test)]
mod tests;
