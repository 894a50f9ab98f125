//! The append points: frames into groups, groups into segments.
//!
//! A *head* is an append point with a segment of its own. Frames collect in the head's group; a group is programmed
//! as whole program units, never touching one that holds anything older, and [`Log::sync`] makes all of them durable
//! at once. This module knows nothing of messages. Segments come into use and go out of it in [`lives`](crate::lives).
//!
//! After a failed write nothing is written any more: what the medium did with it is unknown. On media that program
//! cells, what was programmed is read back before it counts, since a chip can fail to program and not tell.

use alloc::vec::Vec;

use penstock_flash::{Erase, Geometry, Medium, ReadAt};

use crate::Error;
use crate::anchor::Anchors;
use crate::frame::{self, Kind, Seed};
use crate::landmark::{self, Landmark};
use crate::proof::{Branch, Protection};
use crate::reading;
use crate::record::{self, NUMBER_MAX, Place, Stamp};
use crate::segment::{Features, Layout, NewestTime, Purpose, Segment, State};
use crate::summary::{self, Footer, Note, Notes, Proof};

/// The payload of a GROUP_END: the group that was known durable, the number of frames, the chain of their CRCs, and the
/// landmarks.
pub(crate) const GROUP_END_PAYLOAD_BYTES: usize = 16 + landmark::OF_HEADS_BYTES;
const GROUP_END_BYTES: usize = frame::frame_bytes(GROUP_END_PAYLOAD_BYTES);

/// Memory for the groups under construction, one buffer a head: each at least 4 KiB and a multiple of the program
/// unit. The larger `hot` is, the fewer writes a burst of mail takes.
#[derive(Debug)]
pub struct Buffers<B> {
    /// For mail that comes in.
    pub hot: B,
    /// For mail that reclaim moves.
    pub moved: B,
    /// For fates, state and events.
    pub status: B,
}

/// What was given to the medium since the mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes programmed.
    pub programmed_bytes: u64,
    /// Of these, groups of mail that reclaim moved.
    pub moved_bytes: u64,
    /// Of these, groups of fates, state and events.
    pub status_bytes: u64,
    /// Barriers, whether by sync or by writing through.
    pub syncs: u64,
    /// Groups programmed.
    pub groups: u64,
    /// Segments erased, or released for overwriting.
    pub erases: u64,
}

/// How a group is programmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// While the next one fills: more comes before anybody waits for a sync.
    Behind,
    /// At once.
    Now,
    /// At once, and durable.
    Through,
}

/// An append point.
#[derive(Debug)]
pub(crate) struct Head<B> {
    buffer: B,
    pub(crate) segment: Option<u32>,
    seed: Seed,
    /// Where the group under construction will be programmed.
    pub(crate) base: u32,
    /// The bytes of that group so far.
    len: usize,
    group: u64,
    pub(crate) frames: u32,
    chain: u32,
    /// The last group that was programmed, and where.
    last: Landmark,
    notes: Notes,
}

impl<B> Head<B> {
    fn new(buffer: B) -> Self {
        Self {
            buffer,
            segment: None,
            seed: Seed::HEADER,
            base: 0,
            len: 0,
            group: 0,
            frames: 0,
            chain: 0,
            last: Landmark::default(),
            notes: Notes::default(),
        }
    }
}

/// Where a frame went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) place: Place,
    pub(crate) frame_bytes: u32,
    pub(crate) group: u64,
}

/// What a mount found out and the log goes on from.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) volume: [u8; 16],
    pub(crate) segments: Vec<Segment>,
    pub(crate) next_sequence: u64,
    pub(crate) next_group: u64,
    pub(crate) synced_group: u64,
    pub(crate) next_msg_id: u64,
    pub(crate) used_segments: u32,
    pub(crate) boot: u32,
    pub(crate) features: Features,
    pub(crate) anchors: Anchors,
    pub(crate) landmarks: landmark::OfHeads,
}

#[derive(Debug)]
pub(crate) struct Log<M: Medium, B> {
    pub(crate) medium: M,
    pub(crate) reader: M::Reader,
    pub(crate) layout: Layout,
    pub(crate) geometry: Geometry,
    pub(crate) segments: Vec<Segment>,
    pub(crate) next_msg_id: u64,
    pub(crate) counters: Counters,
    pub(crate) features: Features,
    pub(crate) anchors: Anchors,
    /// Segments that a checkpoint takes at most: mail leaves as many free.
    pub(crate) checkpoint_segments: u32,
    /// Whether sealed segments get a summary. Without one no notes are held in memory.
    pub(crate) keeps_notes: bool,
    /// The sequence number of the segment that is opened next.
    pub(crate) next_sequence: u64,
    /// The highest group that a sync made durable.
    pub(crate) synced_group: u64,
    /// The last group of each head that a barrier made durable.
    pub(crate) landmarks: landmark::OfHeads,
    /// The highest group that a group says was durable which this mount saw become durable itself.
    pub(crate) proven_group: u64,
    pub(crate) used_segments: u32,
    pub(crate) heads: [Head<B>; 3],
    pub(crate) erasing: Option<u32>,
    /// Segments found to be bad of which no record says so yet.
    pub(crate) bad_unrecorded: Vec<u32>,
    volume: [u8; 16],
    pub(crate) next_group: u64,
    boot: u32,
    /// Something was programmed that no barrier followed, and whether a group is among it.
    unsynced: bool,
    unsynced_group: bool,
    failed: bool,
    /// Sealed segments that get their PROOF after the next sync, with the last group of each.
    awaiting_proof: Vec<Landmark>,
    /// How many segments each head has opened since the mount.
    pub(crate) opened: [u64; 3],
    /// Status may open the last segments. Until then it asks for others to be freed, while that is still possible.
    pub(crate) may_use_reserve: bool,
    /// Nothing says that anything appended before or in this boot is durable: while the tail is not written anew,
    /// what says so would vouch for what of it is not.
    pub(crate) withholds_word: bool,
    /// Segments that are held erased for others, beyond the reserve. Of those here only status may take them.
    pub(crate) erased_floor: u32,
}

impl<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>> Log<M, B> {
    pub(crate) fn new(medium: M, buffers: Buffers<B>, start: Start) -> Result<Self, Error> {
        let geometry = medium.geometry();
        let layout = Layout::of(&geometry)?;
        let mut heads = [Head::new(buffers.hot), Head::new(buffers.moved), Head::new(buffers.status)];
        for (head, landmark) in heads.iter_mut().zip(start.landmarks) {
            head.last = landmark;
            let len = head.buffer.as_ref().len();
            if len < 4096 || !len.is_multiple_of(layout.unit_bytes as usize) {
                return Err(Error::BadBuffer);
            }
        }
        #[allow(unused_mut, reason = "only the proof breaks it")]
        let mut log = Self {
            reader: medium.reader(),
            medium,
            layout,
            geometry,
            segments: start.segments,
            next_msg_id: start.next_msg_id.min(NUMBER_MAX),
            counters: Counters::default(),
            volume: start.volume,
            heads,
            next_sequence: start.next_sequence.min(NUMBER_MAX),
            next_group: start.next_group.min(NUMBER_MAX),
            synced_group: start.synced_group,
            landmarks: start.landmarks,
            proven_group: 0,
            used_segments: start.used_segments,
            boot: start.boot,
            features: start.features,
            anchors: start.anchors,
            checkpoint_segments: 0,
            keeps_notes: true,
            unsynced: false,
            unsynced_group: false,
            failed: false,
            awaiting_proof: Vec::new(),
            opened: [0; 3],
            erasing: None,
            bad_unrecorded: Vec::new(),
            may_use_reserve: false,
            withholds_word: false,
            erased_floor: 0,
        };
        #[cfg(feature = "proof")]
        if !Protection::SealAfterUnclean.is_on() {
            log.go_on_in_open_segments();
        }
        Ok(log)
    }

    pub(crate) fn into_medium(self) -> M {
        self.medium
    }

    pub(crate) fn volume(&self) -> [u8; 16] {
        self.volume
    }

    pub(crate) fn boot(&self) -> u32 {
        self.boot
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.failed
    }

    pub(crate) fn seed(&self, segment: u32) -> Seed {
        let sequence = self.segments.get(segment as usize).map_or(0, |s| s.sequence);
        Seed::of_segment(&self.volume, sequence)
    }

    /// Up to where a segment has been programmed with groups; its whole data area unless it is open.
    pub(crate) fn programmed_end(&self, segment: u32) -> u32 {
        let open = self.heads.iter().find(|head| head.segment == Some(segment));
        open.map_or(self.layout.data_end(), |head| head.base)
    }

    /// Appends a frame to the group of a head, and makes room first for it and for `note_bytes` of notes about it.
    pub(crate) fn append(
        &mut self,
        purpose: Purpose,
        kind: Kind,
        flags: u8,
        msg_id: u64,
        payload: &[u8],
        note_bytes: usize,
    ) -> Result<Appended, Error> {
        let need = frame::frame_bytes(payload.len());
        self.make_room(purpose, need, note_bytes)?;
        let head = &mut self.heads[purpose as usize];
        let segment = head.segment.ok_or(Error::ReadOnly)?;
        if head.frames == 0 {
            head.group = self.next_group;
            self.next_group += 1;
        }
        let offset = head.base + head.len as u32;
        let frame = &mut head.buffer.as_mut()[head.len..head.len + need];
        frame[frame::HEADER_BYTES..frame::HEADER_BYTES + payload.len()].copy_from_slice(payload);
        let header = frame::seal(frame, payload.len(), kind, flags, msg_id, head.seed, offset);
        head.len += need;
        head.frames += 1;
        head.chain = frame::chain(head.chain, &header);
        Ok(Appended { place: Place { segment, offset }, frame_bytes: need as u32, group: head.group })
    }

    /// Adds a note about what was just appended to that head.
    pub(crate) fn note(&mut self, purpose: Purpose, note: &Note) {
        if self.keeps_notes {
            self.heads[purpose as usize].notes.push(note);
        }
    }

    /// Notes that something of that time stands in a segment.
    pub(crate) fn note_time(&mut self, segment: u32, at: Stamp) {
        if let Some(row) = self.segments.get_mut(segment as usize) {
            row.newest = row.newest.with(NewestTime::of(at));
        }
    }

    /// Whether nothing but the end of a group lies between a frame that ends at `end` and one at `offset`.
    pub(crate) fn follows(&self, end: u32, offset: u32) -> bool {
        offset == end || offset == self.layout.align_up(end + GROUP_END_BYTES as u32)
    }

    /// The longest payload that fits the head's group as it stands, without another write.
    ///
    /// At least `least`, after making room for that much.
    pub(crate) fn payload_room(&mut self, purpose: Purpose, least: usize) -> Result<usize, Error> {
        self.make_room(purpose, frame::frame_bytes(least), NOTE_RESERVE)?;
        let head = &self.heads[purpose as usize];
        let room = self.group_room(head, NOTE_RESERVE);
        Ok((room.saturating_sub(frame::HEADER_BYTES + frame::ALIGN)).clamp(least, frame::PAYLOAD_BYTES_MAX))
    }

    /// The bytes of frames that still fit the head's group, its GROUP_END put aside.
    fn group_room(&self, head: &Head<B>, note_bytes: usize) -> usize {
        let summary = summary::summary_bytes(&self.layout, head.notes.len() + note_bytes);
        let segment_room = self.layout.data_end().saturating_sub(summary).saturating_sub(head.base) as usize;
        let buffer_room = head.buffer.as_ref().len();
        // Both are whole units, and the group is programmed as whole units.
        let room = segment_room - segment_room % self.layout.unit_bytes as usize;
        room.min(buffer_room).saturating_sub(head.len + GROUP_END_BYTES)
    }

    pub(crate) fn make_room(
        &mut self,
        purpose: Purpose,
        need: usize,
        note_bytes: usize,
    ) -> Result<(), Error> {
        if self.failed {
            return Err(Error::ReadOnly);
        }
        // At most: end the group, seal the segment, open another.
        for _ in 0..4 {
            let head = &self.heads[purpose as usize];
            if head.segment.is_none() {
                self.open_segment(purpose)?;
                continue;
            }
            let notes_fit = head.notes.len() + note_bytes <= Notes::bytes_max(&self.layout);
            if notes_fit && need <= self.group_room(head, note_bytes) {
                return Ok(());
            }
            if head.len > 0 {
                self.program_group(purpose, How::Behind)?;
            } else if head.base > self.layout.data_start() {
                self.seal_segment(purpose)?;
            } else {
                break;
            }
        }
        Err(Error::FieldTooLong { field: "frame", max_bytes: self.layout.data_bytes() as usize })
    }

    /// Ends the group of a head and programs it.
    pub(crate) fn program_group(&mut self, purpose: Purpose, how: How) -> Result<(), Error> {
        let (synced_group, landmarks) = (self.synced_group, self.landmarks);
        let head = &mut self.heads[purpose as usize];
        let Some(segment) = head.segment else { return Ok(()) };
        let offset = head.base + head.len as u32;
        let buffer = head.buffer.as_mut();
        let frame = &mut buffer[head.len..head.len + GROUP_END_BYTES];
        let payload = &mut frame[frame::HEADER_BYTES..frame::HEADER_BYTES + GROUP_END_PAYLOAD_BYTES];
        payload[..8].copy_from_slice(&synced_group.to_le_bytes());
        payload[8..12].copy_from_slice(&head.frames.to_le_bytes());
        payload[12..16].copy_from_slice(&head.chain.to_le_bytes());
        payload[16..].copy_from_slice(&landmark::encode(&landmarks, head.group));
        frame::seal(frame, GROUP_END_PAYLOAD_BYTES, Kind::GroupEnd, 0, head.group, head.seed, offset);
        let end = head.len + GROUP_END_BYTES;
        let padded = end.next_multiple_of(self.layout.unit_bytes as usize);
        buffer[end..padded].fill(0xFF);
        let bytes = &head.buffer.as_ref()[..padded];
        self.unsynced |= how != How::Through;
        let done = match how {
            How::Behind => self.medium.program_behind(segment, head.base, bytes),
            How::Now => self.medium.program(segment, head.base, bytes),
            How::Through => self.medium.program_through(segment, head.base, bytes),
        };
        let done = done.and_then(|()| read_back(&self.geometry, &self.reader, segment, head.base, bytes));
        // Without it the next group begins in the unit that this one ends in.
        let begun = end - end % self.layout.unit_bytes as usize;
        head.base += if Protection::FreshUnit.is_on() { padded } else { begun } as u32;
        head.len = 0;
        head.frames = 0;
        head.chain = 0;
        head.last = Landmark { segment, group: head.group };
        self.unsynced_group = true;
        self.counters.programmed_bytes += padded as u64;
        match purpose {
            Purpose::Hot | Purpose::Checkpoint | Purpose::Anchor => {}
            Purpose::Moved => self.counters.moved_bytes += padded as u64,
            Purpose::Status => self.counters.status_bytes += padded as u64,
        }
        self.counters.groups += 1;
        self.check_write(done)
    }

    /// Makes what was programmed durable, without what waits in the heads.
    pub(crate) fn barrier(&mut self) -> Result<(), Error> {
        if !Protection::Sync.is_on() {
            return Ok(());
        }
        let done = self.medium.sync();
        self.check_write(done)?;
        self.take_landmarks();
        Ok(())
    }

    /// A barrier has made durable what was programmed: from now on each head's last group must be there.
    fn take_landmarks(&mut self) {
        self.landmarks = self.heads.each_ref().map(|head| head.last);
    }

    pub(crate) fn check_write<T>(&mut self, result: Result<T, penstock_flash::Error>) -> Result<T, Error> {
        result.map_err(|error| {
            Branch::WriteFailed.reach();
            self.failed = true;
            Error::Write(error)
        })
    }

    /// Makes everything appended so far durable. While word of that is withheld, a mount after a cut finds it in the
    /// tail, beside what it is to take the place of.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        if self.failed {
            return Err(Error::ReadOnly);
        }
        let pending = |head: &&Head<B>| head.frames > 0;
        let last_group = self.next_group - 1;
        // With one write and nothing before it, writing through saves the second request.
        let through =
            !self.unsynced && self.heads.iter().filter(pending).count() == 1 && Protection::Sync.is_on();
        for purpose in Purpose::HEADS {
            if self.heads[purpose as usize].frames > 0 {
                self.program_group(purpose, if through { How::Through } else { How::Now })?;
            }
        }
        if !through {
            if !self.unsynced {
                return Ok(());
            }
            self.barrier()?;
        } else {
            self.take_landmarks();
        }
        self.counters.syncs += 1;
        self.unsynced = false;
        if core::mem::take(&mut self.unsynced_group) {
            // The groups just made durable say that those before them were.
            self.proven_group = self.synced_group;
        }
        if !self.withholds_word {
            self.synced_group = last_group;
        }
        self.prove_sealed()
    }

    /// Writes the proofs of segments that were sealed before the sync that just succeeded.
    fn prove_sealed(&mut self) -> Result<(), Error> {
        while let Some(Landmark { segment, group: last_group }) = self.awaiting_proof.pop() {
            let proof = Proof { synced_group: self.synced_group, landmarks: self.landmarks, last_group };
            self.program_record(
                segment,
                self.layout.proof_offset(),
                self.layout.footer_bytes(),
                Kind::Proof,
                &proof,
            )?;
        }
        Ok(())
    }

    /// Programs one frame alone in units of its own.
    pub(crate) fn program_record<T: serde::Serialize>(
        &mut self,
        segment: u32,
        offset: u32,
        room_bytes: u32,
        kind: Kind,
        record: &T,
    ) -> Result<(), Error> {
        let done = self.try_record(segment, offset, room_bytes, kind, record)?;
        self.check_write(done)
    }

    /// As [`program_record`](Self::program_record), where a medium that fails is not the end: the inner error is its.
    pub(crate) fn try_record<T: serde::Serialize>(
        &mut self,
        segment: u32,
        offset: u32,
        room_bytes: u32,
        kind: Kind,
        record: &T,
    ) -> Result<Result<(), penstock_flash::Error>, Error> {
        let seed = if kind == Kind::SegmentHeader { Seed::HEADER } else { self.seed(segment) };
        let mut page = [0xFF; penstock_flash::UNIT_BYTES_MAX as usize];
        let len = record::encode(record, &mut page[frame::HEADER_BYTES..room_bytes as usize - frame::ALIGN])?;
        frame::seal(&mut page, len, kind, 0, 0, seed, offset);
        Ok(self.program_bytes(segment, offset, &page[..room_bytes as usize]))
    }

    /// Programs whole units outside of any group. They are durable after the next barrier.
    pub(crate) fn program_bytes(
        &mut self,
        segment: u32,
        offset: u32,
        bytes: &[u8],
    ) -> Result<(), penstock_flash::Error> {
        self.unsynced = true;
        self.counters.programmed_bytes += bytes.len() as u64;
        self.medium.program(segment, offset, bytes)?;
        read_back(&self.geometry, &self.reader, segment, offset, bytes)
    }

    /// Begins to append to a segment whose header is written.
    pub(crate) fn enter(&mut self, purpose: Purpose, segment: u32) {
        let seed = self.seed(segment);
        let base = self.layout.data_start();
        let head = &mut self.heads[purpose as usize];
        head.segment = Some(segment);
        head.seed = seed;
        head.base = base;
        head.notes.clear();
    }

    /// Keeps a segment from being given up while a message under way has frames in it.
    pub(crate) fn hold(&mut self, segment: u32) {
        if let Some(row) = self.segments.get_mut(segment as usize) {
            row.held += 1;
        }
    }

    /// Undoes one [`hold`](Self::hold).
    pub(crate) fn release(&mut self, segment: u32) {
        if let Some(row) = self.segments.get_mut(segment as usize) {
            row.held = row.held.saturating_sub(1);
        }
    }

    /// Notes that a message has something in a segment.
    pub(crate) fn note_id(&mut self, segment: u32, id: u64) {
        if let Some(row) = self.segments.get_mut(segment as usize) {
            row.ids.extend(id);
        }
    }

    /// Counts something in a segment that reclaim would have to keep.
    pub(crate) fn count(&mut self, segment: u32, bytes: u64) {
        if let Some(row) = self.segments.get_mut(segment as usize) {
            row.count(bytes);
        }
    }

    /// Discounts what [`count`](Self::count) counted.
    pub(crate) fn discount(&mut self, segment: u32, bytes: u64) {
        if let Some(row) = self.segments.get_mut(segment as usize) {
            row.discount(bytes);
        }
    }

    /// Puts the summary and the footer at the end of a head's segment and leaves it.
    fn seal_segment(&mut self, purpose: Purpose) -> Result<(), Error> {
        let head = &self.heads[purpose as usize];
        let Some(segment) = head.segment else { return Ok(()) };
        debug_assert_eq!(head.len, 0, "a group is programmed before its segment is sealed");
        if !self.keeps_notes {
            self.heads[purpose as usize].segment = None;
            self.segments[segment as usize].state = State::Sealed;
            return Ok(());
        }
        let data_end = head.base;
        let notes_bytes = head.notes.len();
        let last_group = if head.last.segment == segment { head.last.group } else { 0 };
        let summary_offset = data_end;
        let footer = Footer {
            summary_offset,
            notes_bytes: notes_bytes as u32,
            data_end,
            msg_id_floor: self.next_msg_id,
            newest: self.segments[segment as usize].newest,
            event_bytes: self.segments[segment as usize].event_bytes,
        };
        self.program_summary(purpose, segment, summary_offset)?;
        self.program_record(
            segment,
            self.layout.footer_offset(),
            self.layout.footer_bytes(),
            Kind::Footer,
            &footer,
        )?;
        self.heads[purpose as usize].segment = None;
        self.segments[segment as usize].state = State::Sealed;
        self.awaiting_proof.push(Landmark { segment, group: last_group });
        Ok(())
    }

    fn program_summary(&mut self, purpose: Purpose, segment: u32, offset: u32) -> Result<(), Error> {
        let head = &self.heads[purpose as usize];
        let mut summary = alloc::vec![0xFF; summary::summary_bytes(&self.layout, head.notes.len()) as usize];
        let mut at = 0;
        for payload in summary::payloads(head.notes.bytes()) {
            let frame = &mut summary[at..];
            frame[frame::HEADER_BYTES..frame::HEADER_BYTES + payload.len()].copy_from_slice(payload);
            let header =
                frame::seal(frame, payload.len(), Kind::Summary, 0, 0, head.seed, offset + at as u32);
            at += header.frame_bytes();
        }
        let done = self.program_bytes(segment, offset, &summary);
        self.check_write(done)
    }

    /// A clean stop: all heads sealed, all of it durable, and proofs that it was.
    pub(crate) fn close(&mut self) -> Result<(), Error> {
        self.sync()?;
        for purpose in Purpose::HEADS {
            self.seal_segment(purpose)?;
        }
        if !self.awaiting_proof.is_empty() {
            self.barrier()?;
            self.prove_sealed()?;
            self.barrier()?;
        }
        Ok(())
    }
}

/// Compares what was programmed with what can be read, where a chip may fail to program and say that it did.
fn read_back<R: ReadAt>(
    geometry: &Geometry,
    reader: &R,
    segment: u32,
    offset: u32,
    bytes: &[u8],
) -> Result<(), penstock_flash::Error> {
    if geometry.erase == Erase::Logical || !Protection::ReadBack.is_on() {
        return Ok(());
    }
    expect_bytes(reader, segment, offset, bytes)
}

/// Whether a place reads as these bytes.
pub(crate) fn expect_bytes<R: ReadAt>(
    reader: &R,
    segment: u32,
    offset: u32,
    bytes: &[u8],
) -> Result<(), penstock_flash::Error> {
    let mut seen = [0; READ_BACK_BYTES];
    let mut at = offset;
    for part in bytes.chunks(READ_BACK_BYTES) {
        let seen = &mut seen[..part.len()];
        reading::read(reader, segment, at, seen)?;
        if seen != part {
            return Err(penstock_flash::Error::Mismatch { segment, offset: at });
        }
        at += part.len() as u32;
    }
    Ok(())
}

/// How much is read back at once, in bytes.
pub(crate) const READ_BACK_BYTES: usize = 1024;
/// Room kept for the note of a frame whose note is not yet known.
pub(crate) const NOTE_RESERVE: usize = summary::NOTE_BYTES_MAX;
/// What a small record in a status segment counts as.
pub(crate) const STATUS_FRAME_BYTES: u64 = 64;
