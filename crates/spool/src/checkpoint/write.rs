//! Making a checkpoint beside other work: taken at one moment, written in bounded steps, and named by a root once all
//! of it is durable.

use alloc::vec::Vec;

use penstock_flash::Medium;
use serde::Serialize;

use super::{Counters, Item, payload_bytes_max, save_segment};
use crate::Error;
use crate::anchor::Opened;
use crate::frame::{self, Kind};
use crate::log::Log;
use crate::segment::{Layout, Purpose, State};
use crate::spool::Spool;

/// How much of a checkpoint one step programs, in bytes.
const STEP_BYTES: usize = 256 * 1024;
/// A checkpoint is taken after this share of the segments was opened since the last one, within these bounds. With
/// the upper one a mount reads some 200 pieces of what came after it.
const INTERVAL_SHARE: u64 = 16;
const INTERVAL_MIN: u64 = 2;
const INTERVAL_MAX: u64 = 64;
/// And after this many times its own size was written, so that it adds little to what is written.
const INTERVAL_SIZES: u64 = 16;
/// After this many intervals it is no longer left to idle times.
const OVERDUE: u64 = 3;

/// When checkpoints are taken, and the one that is being written.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    /// The segments of the checkpoint that the newest root names.
    current: Vec<Opened>,
    writing: Option<Writing>,
    /// The log's next sequence number, and what had been programmed, when the last one was taken.
    taken_at_sequence: u64,
    taken_at_bytes: u64,
    /// The size of the last one.
    size_bytes: u64,
    interval: u64,
    /// There is none, or one that a mount did not get by with.
    is_wanted: bool,
}

/// A checkpoint under way.
#[derive(Debug)]
struct Writing {
    /// The payloads of its frames but the first, one after the other.
    items: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    /// The segments it will stand in, opened one in each step.
    segments: Vec<Opened>,
    segments_wanted: usize,
    /// How many frames are programmed, the first included.
    done: usize,
    /// Where the next one goes.
    place: (usize, u32),
}

/// Packs items into payloads.
struct Packer {
    items: Vec<u8>,
    ends: Vec<usize>,
    max: usize,
}

impl Packer {
    fn push(&mut self, item: &impl Serialize) {
        let start = self.items.len();
        // Writing to a vector cannot fail, and the types have no state that postcard refuses.
        if let Ok(items) = postcard::to_extend(item, core::mem::take(&mut self.items)) {
            self.items = items;
        }
        let frame_start = self.ends.last().copied().unwrap_or(0);
        if self.items.len() - frame_start > self.max && start > frame_start {
            self.ends.push(start);
        }
    }

    fn finish(mut self) -> (Vec<u8>, Vec<usize>) {
        self.ends.push(self.items.len());
        (self.items, self.ends)
    }
}

/// The room of a frame on flash.
fn span_bytes(layout: &Layout, payload_bytes: usize) -> u32 {
    layout.align_up(frame::frame_bytes(payload_bytes) as u32)
}

impl Writing {
    /// How many segments the frames take, the first frame naming them.
    fn count_segments(layout: &Layout, ends: &[usize], head_bytes: usize) -> usize {
        let (mut segments, mut room) = (0, 0);
        let sizes = ends.iter().scan(0, |start, end| Some(*end - core::mem::replace(start, *end)));
        for size in core::iter::once(head_bytes).chain(sizes) {
            let span = span_bytes(layout, size);
            if span > room {
                segments += 1;
                room = layout.data_bytes();
            }
            room -= span.min(room);
        }
        segments
    }

    fn payload(&self, frame: usize) -> &[u8] {
        let start = if frame == 0 { 0 } else { self.ends[frame - 1] };
        &self.items[start..self.ends[frame]]
    }

    fn is_done(&self) -> bool {
        self.done > self.ends.len()
    }
}

impl Checkpointer {
    /// After a mount: the segments of the checkpoint it used, and whether it should not wait for the next one.
    pub(crate) fn new(segments: u32, current: Vec<Opened>, is_wanted: bool, next_sequence: u64) -> Self {
        Self {
            current,
            writing: None,
            taken_at_sequence: next_sequence,
            taken_at_bytes: 0,
            size_bytes: 0,
            interval: (u64::from(segments) / INTERVAL_SHARE).clamp(INTERVAL_MIN, INTERVAL_MAX),
            is_wanted,
        }
    }

    /// The checkpoint is given up: none of it counts any more.
    pub(crate) fn lose(&mut self) {
        self.current.clear();
        self.is_wanted = true;
    }

    /// Whether a segment belongs to a checkpoint that counts or is being written.
    pub(crate) fn needs(&self, segment: u32) -> bool {
        let writing = self.writing.iter().flat_map(|writing| &writing.segments);
        self.current.iter().chain(writing).any(|life| life.segment == segment)
    }
}

impl<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>> Spool<M, B> {
    /// Whether a checkpoint should be begun, `intervals` after the last one.
    fn wants_checkpoint(&self, intervals: u64) -> bool {
        let last = &self.checkpointer;
        let opened = self.log.next_sequence.saturating_sub(last.taken_at_sequence);
        let written = self.log.counters.programmed_bytes.saturating_sub(last.taken_at_bytes);
        let due = opened >= last.interval * intervals && written >= last.size_bytes * INTERVAL_SIZES;
        due || self.log.anchors.are_crowded() && opened > 0 || last.is_wanted
    }

    /// Whether one may be taken at all. What this version does not know would not be in it, and who mounts by it would
    /// not find out.
    fn may_checkpoint(&self) -> bool {
        self.may_reclaim()
    }

    /// Whether one is so late that it must not wait for an idle time.
    pub(crate) fn is_checkpoint_overdue(&self) -> bool {
        let writing = self.checkpointer.writing.is_some();
        self.may_checkpoint()
            && !self.is_giving_up()
            && (writing || !self.checkpointer.is_wanted && self.wants_checkpoint(OVERDUE))
    }

    /// Brings a checkpoint that is due one step further. Whether there was anything to do.
    pub(crate) fn step_checkpoint(&mut self) -> Result<bool, Error> {
        if !self.may_checkpoint() || !self.is_settled() {
            return Ok(false);
        }
        if self.checkpointer.writing.is_none() {
            // Half of a segment that is being given up is no state to go on from.
            if self.is_giving_up() || !self.wants_checkpoint(1) {
                return Ok(false);
            }
            self.begin_checkpoint()?;
            return Ok(true);
        }
        match self.go_on_with_checkpoint() {
            Ok(()) => Ok(true),
            Err(Error::Full) => {
                // Where even mail hardly has room it is done without. What was opened for it goes as any stale one.
                self.checkpointer.writing = None;
                self.log.anchors.end_checkpoint(None);
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes a checkpoint now, if anything has changed since the last one.
    pub(crate) fn checkpoint_now(&mut self) -> Result<(), Error> {
        let is_current = self.log.counters.groups == 0 && self.log.anchors.has_checkpoint();
        if !self.may_checkpoint() || is_current {
            return Ok(());
        }
        self.in_reserve(Self::finish_giving_up)?;
        self.checkpointer.writing = None;
        self.begin_checkpoint()?;
        while self.checkpointer.writing.is_some() {
            self.step_checkpoint()?;
        }
        Ok(())
    }

    /// Takes down how everything stands once it is durable.
    fn begin_checkpoint(&mut self) -> Result<(), Error> {
        self.sync_log()?;
        let last = &mut self.checkpointer;
        last.is_wanted = false;
        last.taken_at_sequence = self.log.next_sequence;
        last.taken_at_bytes = self.log.counters.programmed_bytes;
        let layout = self.log.layout;
        let mut packer = Packer { items: Vec::new(), ends: Vec::new(), max: payload_bytes_max(&layout) };
        packer.push(&Item::Counters(Counters {
            next_sequence: self.log.next_sequence,
            synced_group: self.log.synced_group,
            next_msg_id: self.log.next_msg_id,
            used_segments: self.log.used_segments,
            boot: self.log.boot(),
            features: self.log.features,
            messages: self.index.len() as u64,
        }));
        for (segment, row) in (0u32..).zip(&self.log.segments) {
            let head = self.log.heads.iter().find(|head| head.segment == Some(segment));
            packer.push(&save_segment(row, head.map(|head| head.base)));
        }
        for (meta, segment) in self.meta.save() {
            packer.push(&Item::Meta { meta, segment });
        }
        for saved in self.index.save() {
            packer.push(&Item::Message(saved));
        }
        packer.push(&Item::End);
        let (items, ends) = packer.finish();
        let last = &mut self.checkpointer;
        last.size_bytes = items.len() as u64;
        self.log.anchors.begin_checkpoint();
        // The first frame names the segments; a few more than needed would do no harm.
        let about = 2 + items.len() / layout.data_bytes() as usize;
        if head_bytes_max(about) > payload_bytes_max(&layout) {
            // More of these tiny segments than one frame can name.
            self.log.anchors.end_checkpoint(None);
            return Ok(());
        }
        let segments_wanted = Writing::count_segments(&layout, &ends, head_bytes_max(about));
        let place = (0, layout.data_start());
        last.writing = Some(Writing { items, ends, segments: Vec::new(), segments_wanted, done: 0, place });
        Ok(())
    }

    fn go_on_with_checkpoint(&mut self) -> Result<(), Error> {
        let Some(mut writing) = self.checkpointer.writing.take() else { return Ok(()) };
        if writing.segments.len() < writing.segments_wanted {
            // Put back first: it must be known which segments are needed also if no other can be opened.
            let opened = self.log.open_told(Purpose::Checkpoint);
            if let Ok(segment) = opened {
                let row = &mut self.log.segments[segment as usize];
                row.state = State::Sealed;
                writing.segments.push(Opened { segment, sequence: row.sequence });
            }
            self.checkpointer.writing = Some(writing);
            return opened.map(drop);
        }
        let mut stepped = 0;
        while stepped < STEP_BYTES && !writing.is_done() {
            stepped += write_frame(&mut self.log, &mut writing)?;
        }
        if !writing.is_done() {
            self.checkpointer.writing = Some(writing);
            return Ok(());
        }
        self.sync_log()?;
        self.log.anchors.end_checkpoint(writing.segments.first().copied());
        self.log.write_root()?;
        self.log.barrier()?;
        self.checkpointer.current = writing.segments;
        Ok(())
    }

    /// Retires a segment of a checkpoint that no longer counts. Whether there was one.
    pub(crate) fn retire_stale_checkpoint(&mut self) -> Result<bool, Error> {
        let is_stale = |segment: u32| {
            let row = &self.log.segments[segment as usize];
            row.purpose == Purpose::Checkpoint
                && row.state == State::Sealed
                && !row.is_unreadable
                && !self.checkpointer.needs(segment)
        };
        if !self.may_reclaim() {
            return Ok(false);
        }
        let stale = (0..self.log.geometry.segments).find(|segment| is_stale(*segment));
        let Some(segment) = stale else { return Ok(false) };
        self.log.retire(segment)?;
        Ok(true)
    }
}

/// The most bytes of the first frame for so many segments.
fn head_bytes_max(segments: usize) -> usize {
    16 + segments * 16
}

/// Programs the next frame and says how many bytes that were.
fn write_frame<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>>(
    log: &mut Log<M, B>,
    writing: &mut Writing,
) -> Result<usize, Error> {
    let head;
    let payload = match writing.done {
        0 => {
            let segments = writing.segments.clone();
            let item = Item::Head { frames: writing.ends.len() as u32 + 1, segments };
            head = postcard::to_allocvec(&item).unwrap_or_default();
            &head
        }
        done => writing.payload(done - 1),
    };
    let span = span_bytes(&log.layout, payload.len());
    let (mut segment, mut offset) = writing.place;
    if offset + span > log.layout.data_end() {
        (segment, offset) = (segment + 1, log.layout.data_start());
    }
    let life = *writing.segments.get(segment).ok_or(Error::Full)?;
    let mut bytes = alloc::vec![0xFF; span as usize];
    bytes[frame::HEADER_BYTES..frame::HEADER_BYTES + payload.len()].copy_from_slice(payload);
    frame::seal(&mut bytes, payload.len(), Kind::Checkpoint, 0, 0, log.seed(life.segment), offset);
    let done = log.program_bytes(life.segment, offset, &bytes);
    log.check_write(done)?;
    writing.place = (segment, offset + span);
    writing.done += 1;
    Ok(span as usize)
}

#[cfg(test)]
mod tests;
