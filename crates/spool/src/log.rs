//! The append points: frames into groups, groups into segments, segments in and out of use.
//!
//! A *head* is an append point with a segment of its own. Frames collect in the head's group; a group is programmed
//! as whole program units, never touching one that holds anything older, and [`Log::sync`] makes all of them durable
//! at once. This module knows nothing of messages. It keeps the rules that make an erase safe:
//!
//! 1. A segment is reused only after a record says it is retired, **and** a later group that is durable says that this
//!    record was. So whoever finds a cut erase also finds the proof that it was allowed.
//! 2. A segment that is opened is told of in the status head, after its header is durable and before anything in it is
//!    acknowledged. So who finds the record without the header has found rot, not a segment that was never used.
//! 3. After a failed write nothing is written any more: what the medium did with it is unknown.

use alloc::vec::Vec;

use penstock_flash::{EraseProgress, Geometry, Medium};

use crate::Error;
use crate::frame::{self, Kind, Seed};
use crate::proof::{Branch, Protection};
use crate::record::{self, Life, Place, SegmentRecord};
use crate::segment::{FORMAT_VERSION, Layout, Purpose, Segment, SegmentHeader, State};
use crate::summary::{self, Footer, Note, Notes, Proof};

/// The payload of a GROUP_END: the group that was known durable, the number of frames, the chain of their CRCs.
pub(crate) const GROUP_END_PAYLOAD_BYTES: usize = 16;
const GROUP_END_BYTES: usize = frame::frame_bytes(GROUP_END_PAYLOAD_BYTES);

/// Segments that only reclaim and status may take, and of these those that only status may take: reclaim must always
/// be able to move a segment's worth, and to record that it did.
pub(crate) const RESERVE_MOVED: u32 = 4;
pub(crate) const RESERVE_STATUS: u32 = 2;
const _: () = assert!(RESERVE_STATUS < RESERVE_MOVED && RESERVE_MOVED < crate::segment::SEGMENTS_MIN / 2);

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
    /// Barriers, whether by sync or by writing through.
    pub syncs: u64,
    /// Groups programmed.
    pub groups: u64,
    /// Segments erased, or released for overwriting.
    pub erases: u64,
}

#[derive(Debug)]
struct Head<B> {
    buffer: B,
    segment: Option<u32>,
    seed: Seed,
    /// Where the group under construction will be programmed.
    base: u32,
    /// The bytes of that group so far.
    len: usize,
    group: u64,
    frames: u32,
    chain: u32,
    last_group: u64,
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
            last_group: 0,
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
}

#[derive(Debug)]
pub(crate) struct Log<M, B> {
    pub(crate) medium: M,
    pub(crate) layout: Layout,
    pub(crate) geometry: Geometry,
    pub(crate) segments: Vec<Segment>,
    pub(crate) next_msg_id: u64,
    pub(crate) counters: Counters,
    volume: [u8; 16],
    heads: [Head<B>; 3],
    next_sequence: u64,
    next_group: u64,
    /// The highest group that a sync made durable.
    synced_group: u64,
    /// The highest group that a group says was durable which this mount saw become durable itself.
    proven_group: u64,
    used_segments: u32,
    boot: u32,
    /// Something was programmed that no barrier followed, and whether a group is among it.
    unsynced: bool,
    unsynced_group: bool,
    failed: bool,
    /// Sealed segments that get their PROOF after the next sync.
    awaiting_proof: Vec<u32>,
    erasing: Option<u32>,
    /// Status may open the last segments. Until then it asks for others to be freed, while that is still possible.
    pub(crate) may_use_reserve: bool,
}

impl<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>> Log<M, B> {
    pub(crate) fn new(medium: M, buffers: Buffers<B>, start: Start) -> Result<Self, Error> {
        let geometry = medium.geometry();
        let layout = Layout::of(&geometry)?;
        let heads = [Head::new(buffers.hot), Head::new(buffers.moved), Head::new(buffers.status)];
        for head in &heads {
            let len = head.buffer.as_ref().len();
            if len < 4096 || !len.is_multiple_of(layout.unit_bytes as usize) {
                return Err(Error::BadBuffer);
            }
        }
        #[allow(unused_mut, reason = "only the proof breaks it")]
        let mut log = Self {
            medium,
            layout,
            geometry,
            segments: start.segments,
            next_msg_id: start.next_msg_id,
            counters: Counters::default(),
            volume: start.volume,
            heads,
            next_sequence: start.next_sequence,
            next_group: start.next_group,
            synced_group: start.synced_group,
            proven_group: 0,
            used_segments: start.used_segments,
            boot: start.boot,
            unsynced: false,
            unsynced_group: false,
            failed: false,
            awaiting_proof: Vec::new(),
            erasing: None,
            may_use_reserve: false,
        };
        #[cfg(feature = "proof")]
        if !Protection::SealAfterUnclean.is_on() {
            log.go_on_in_open_segments();
        }
        Ok(log)
    }

    /// What a log does that trusts blank cells: it goes on where a stop left a segment open. For the proof alone.
    #[cfg(feature = "proof")]
    fn go_on_in_open_segments(&mut self) {
        use penstock_flash::ReadAt;
        for purpose in [Purpose::Hot, Purpose::Moved, Purpose::Status] {
            let sealed = |row: &Segment| row.state == State::Sealed && row.purpose == purpose;
            let rows = (0u32..).zip(&self.segments).filter(|(_, row)| sealed(row));
            let Some((segment, _)) = rows.max_by_key(|(_, row)| row.sequence) else { continue };
            let mut bytes = alloc::vec![0; self.layout.segment_bytes as usize];
            if self.medium.reader().read(segment, 0, &mut bytes).is_err() || bytes.last() != Some(&0xFF) {
                continue;
            }
            let end = bytes.iter().rposition(|byte| *byte != 0xFF).map_or(0, |last| last as u32 + 1);
            if end < self.layout.data_end() {
                let (seed, base) =
                    (self.seed(segment), self.layout.align_up(end).max(self.layout.data_start()));
                self.segments[segment as usize].state = State::Open;
                let head = &mut self.heads[purpose as usize];
                (head.segment, head.seed, head.base) = (Some(segment), seed, base);
            }
        }
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
        self.heads[purpose as usize].notes.push(note);
    }

    /// Notes that something of that time stands in a segment.
    pub(crate) fn note_time(&mut self, segment: u32, unix_ms: u64) {
        if let Some(row) = self.segments.get_mut(segment as usize) {
            row.newest_ms = row.newest_ms.max(unix_ms);
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

    fn make_room(&mut self, purpose: Purpose, need: usize, note_bytes: usize) -> Result<(), Error> {
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
                self.program_group(purpose, false)?;
            } else if head.base > self.layout.data_start() {
                self.seal_segment(purpose)?;
            } else {
                break;
            }
        }
        Err(Error::FieldTooLong { field: "frame", max_bytes: self.layout.data_bytes() as usize })
    }

    /// Ends the group of a head and programs it.
    fn program_group(&mut self, purpose: Purpose, through: bool) -> Result<(), Error> {
        let synced_group = self.synced_group;
        let head = &mut self.heads[purpose as usize];
        let Some(segment) = head.segment else { return Ok(()) };
        let offset = head.base + head.len as u32;
        let buffer = head.buffer.as_mut();
        let frame = &mut buffer[head.len..head.len + GROUP_END_BYTES];
        let payload = &mut frame[frame::HEADER_BYTES..frame::HEADER_BYTES + GROUP_END_PAYLOAD_BYTES];
        payload[..8].copy_from_slice(&synced_group.to_le_bytes());
        payload[8..12].copy_from_slice(&head.frames.to_le_bytes());
        payload[12..].copy_from_slice(&head.chain.to_le_bytes());
        frame::seal(frame, GROUP_END_PAYLOAD_BYTES, Kind::GroupEnd, 0, head.group, head.seed, offset);
        let end = head.len + GROUP_END_BYTES;
        let padded = end.next_multiple_of(self.layout.unit_bytes as usize);
        buffer[end..padded].fill(0xFF);
        let bytes = &head.buffer.as_ref()[..padded];
        let done = if through {
            self.medium.program_through(segment, head.base, bytes)
        } else {
            self.unsynced = true;
            self.medium.program(segment, head.base, bytes)
        };
        // Without it the next group begins in the unit that this one ends in.
        let begun = end - end % self.layout.unit_bytes as usize;
        head.base += if Protection::FreshUnit.is_on() { padded } else { begun } as u32;
        head.len = 0;
        head.frames = 0;
        head.chain = 0;
        head.last_group = head.group;
        self.unsynced_group = true;
        self.counters.programmed_bytes += padded as u64;
        self.counters.groups += 1;
        self.check_write(done)
    }

    fn check_write<T>(&mut self, result: Result<T, penstock_flash::Error>) -> Result<T, Error> {
        result.map_err(|error| {
            Branch::WriteFailed.reach();
            self.failed = true;
            Error::Write(error)
        })
    }

    /// Makes everything appended so far durable.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        if self.failed {
            return Err(Error::ReadOnly);
        }
        let pending = |head: &&Head<B>| head.frames > 0;
        let last_group = self.next_group - 1;
        // With one write and nothing before it, writing through saves the second request.
        let through =
            !self.unsynced && self.heads.iter().filter(pending).count() == 1 && Protection::Sync.is_on();
        for purpose in [Purpose::Hot, Purpose::Moved, Purpose::Status] {
            if self.heads[purpose as usize].frames > 0 {
                self.program_group(purpose, through)?;
            }
        }
        if !through {
            if !self.unsynced {
                return Ok(());
            }
            if Protection::Sync.is_on() {
                let done = self.medium.sync();
                self.check_write(done)?;
            }
        }
        self.counters.syncs += 1;
        self.unsynced = false;
        if core::mem::take(&mut self.unsynced_group) {
            // The groups just made durable say that those before them were.
            self.proven_group = self.synced_group;
        }
        self.synced_group = last_group;
        self.prove_sealed()
    }

    /// Writes the proofs of segments that were sealed before the sync that just succeeded.
    fn prove_sealed(&mut self) -> Result<(), Error> {
        while let Some(segment) = self.awaiting_proof.pop() {
            let proof = Proof { synced_group: self.synced_group };
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
    fn program_record<T: serde::Serialize>(
        &mut self,
        segment: u32,
        offset: u32,
        room_bytes: u32,
        kind: Kind,
        record: &T,
    ) -> Result<(), Error> {
        let seed = if kind == Kind::SegmentHeader { Seed::HEADER } else { self.seed(segment) };
        let mut page = [0xFF; penstock_flash::UNIT_BYTES_MAX as usize];
        let len = record::encode(record, &mut page[frame::HEADER_BYTES..room_bytes as usize - frame::ALIGN])?;
        frame::seal(&mut page, len, kind, 0, 0, seed, offset);
        self.unsynced = true;
        self.counters.programmed_bytes += u64::from(room_bytes);
        let done = self.medium.program(segment, offset, &page[..room_bytes as usize]);
        self.check_write(done)
    }

    fn open_segment(&mut self, purpose: Purpose) -> Result<(), Error> {
        if purpose != Purpose::Status {
            // Once it is open it must be told of, so the room for that comes first.
            self.make_room(Purpose::Status, frame::frame_bytes(RECORD_LIFE_BYTES), NOTE_RESERVE)?;
        }
        let segment = self.pick_free(purpose)?;
        let mut other_erased = None;
        if self.segments[segment as usize].is_suspect {
            Branch::SuspectErased.reach();
            other_erased = self.erase_now(segment)?;
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.used_segments = self.used_segments.max(segment + 1);
        let row = &mut self.segments[segment as usize];
        row.state = State::Open;
        row.purpose = purpose;
        row.sequence = sequence;
        row.live = 0;
        row.live_bytes = 0;
        row.newest_ms = 0;
        row.event_bytes = 0;
        row.is_unreadable = false;
        let header = SegmentHeader {
            format: FORMAT_VERSION,
            compatible: 0,
            append_compatible: 0,
            incompatible: 0,
            volume: self.volume,
            segments: self.geometry.segments,
            segment_bytes: self.geometry.segment_bytes,
            unit_bytes: self.geometry.unit_bytes,
            segment,
            sequence,
            erase_count: row.erase_count,
            purpose,
            msg_id_floor: self.next_msg_id,
            synced_group: self.synced_group,
            used_segments: self.used_segments,
            boot: self.boot,
        };
        let copies = if Protection::HeaderTwice.is_on() { 2 } else { 1 };
        for offset in self.layout.header_offsets().into_iter().take(copies) {
            self.program_record(segment, offset, self.layout.header_bytes(), Kind::SegmentHeader, &header)?;
        }
        let done = self.medium.sync();
        self.check_write(done)?;
        let seed = self.seed(segment);
        let base = self.layout.data_start();
        let head = &mut self.heads[purpose as usize];
        head.segment = Some(segment);
        head.seed = seed;
        head.base = base;
        head.notes.clear();
        self.record_life(segment, Life::Used)?;
        if let Some(other) = other_erased {
            self.record_life(other, Life::Clean)?;
        }
        Ok(())
    }

    /// Appends to the status head where a segment now stands in its life.
    pub(crate) fn record_life(&mut self, segment: u32, life: Life) -> Result<u64, Error> {
        let row = &self.segments[segment as usize];
        let record = SegmentRecord { segment, sequence: row.sequence, erase_count: row.erase_count, life };
        let mut payload = [0; 32];
        let len = record::encode(&record, &mut payload)?;
        let appended =
            self.append(Purpose::Status, Kind::SegmentState, 0, 0, &payload[..len], NOTE_RESERVE)?;
        self.note(Purpose::Status, &Note::Segment { group: appended.group, record });
        self.move_record(segment, Some(appended.place.segment));
        Ok(appended.group)
    }

    /// Counts the status segment that now holds the newest record about `segment`, and discounts the one before.
    fn move_record(&mut self, segment: u32, status_segment: Option<u32>) {
        let before = core::mem::replace(&mut self.segments[segment as usize].recorded_in, status_segment);
        if let Some(before) = before {
            self.discount(before, STATUS_FRAME_BYTES);
        }
        if let Some(after) = status_segment {
            self.count(after, STATUS_FRAME_BYTES);
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

    /// How many segments could be opened at once.
    pub(crate) fn free_segments(&self) -> u32 {
        self.segments.iter().filter(|s| s.state == State::Free).count() as u32
    }

    fn pick_free(&self, purpose: Purpose) -> Result<u32, Error> {
        let kept_back = match purpose {
            _ if !Protection::Reserve.is_on() => 0,
            Purpose::Moved => RESERVE_STATUS,
            Purpose::Status if self.may_use_reserve => 0,
            Purpose::Hot | Purpose::Status => RESERVE_MOVED,
        };
        if self.free_segments() <= kept_back {
            return Err(Error::Full);
        }
        let next = opening_order(&self.segments, self.used_segments).min();
        next.map(|(_, _, index)| index).ok_or(Error::Full)
    }

    /// Puts the summary and the footer at the end of a head's segment and leaves it.
    fn seal_segment(&mut self, purpose: Purpose) -> Result<(), Error> {
        let head = &self.heads[purpose as usize];
        let Some(segment) = head.segment else { return Ok(()) };
        debug_assert_eq!(head.len, 0, "a group is programmed before its segment is sealed");
        let data_end = head.base;
        let notes_bytes = head.notes.len();
        let summary_offset = data_end;
        let footer = Footer {
            summary_offset,
            notes_bytes: notes_bytes as u32,
            data_end,
            last_group: head.last_group,
            msg_id_floor: self.next_msg_id,
            newest_ms: self.segments[segment as usize].newest_ms,
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
        self.awaiting_proof.push(segment);
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
        self.unsynced = true;
        self.counters.programmed_bytes += summary.len() as u64;
        let done = self.medium.program(segment, offset, &summary);
        self.check_write(done)
    }

    /// A clean stop: all heads sealed, all of it durable, and proofs that it was.
    pub(crate) fn close(&mut self) -> Result<(), Error> {
        self.sync()?;
        for purpose in [Purpose::Hot, Purpose::Moved, Purpose::Status] {
            self.seal_segment(purpose)?;
        }
        if !self.awaiting_proof.is_empty() {
            let done = self.medium.sync();
            self.check_write(done)?;
            self.prove_sealed()?;
            let done = self.medium.sync();
            self.check_write(done)?;
        }
        Ok(())
    }

    /// Says that nothing in a sealed segment is needed any more.
    pub(crate) fn retire(&mut self, segment: u32) -> Result<(), Error> {
        debug_assert_eq!(self.segments[segment as usize].state, State::Sealed);
        let group = self.record_life(segment, Life::Retired)?;
        self.segments[segment as usize].state = State::Retired { group };
        Ok(())
    }

    /// Brings retired segments closer to being free, by at most one barrier or one poll of an erase. Whether there is
    /// more to do.
    pub(crate) fn step_erase(&mut self) -> Result<bool, Error> {
        if self.failed {
            return Ok(false);
        }
        let mut unproven = false;
        for row in &mut self.segments {
            if let State::Retired { group } = row.state {
                if group <= self.proven_group || !Protection::RetireBeforeErase.is_on() {
                    row.state = State::Erasable;
                } else {
                    unproven = true;
                }
            }
        }
        if let Some(segment) = self.erasing {
            return self.poll_erase(segment).map(|()| true);
        }
        if let Some(segment) = self.next_erasable() {
            let done = self.medium.start_erase(segment);
            self.check_write(done)?;
            self.erasing = Some(segment);
            return Ok(true);
        }
        if unproven {
            // A barrier for the RETIRE, or, once it is durable, a group that says so, and its barrier.
            if self.heads.iter().all(|head| head.frames == 0) {
                self.append(Purpose::Status, Kind::Nop, frame::FLAG_SKIPPABLE, 0, &[], 0)?;
            }
            self.sync()?;
        }
        Ok(unproven)
    }

    fn next_erasable(&self) -> Option<u32> {
        let erasable = |row: &Segment| row.state == State::Erasable && !row.is_leased();
        self.segments.iter().position(erasable).map(|index| index as u32)
    }

    fn poll_erase(&mut self, segment: u32) -> Result<(), Error> {
        let progress = self.medium.poll_erase();
        if self.check_write(progress)? == EraseProgress::Done {
            self.erasing = None;
            self.finish_erase(segment);
            self.record_life(segment, Life::Clean)?;
        }
        Ok(())
    }

    /// Erases a free segment before it is opened. Gives the one whose erase was going on and came to its end first; that
    /// it is clean is still to be recorded, which may open a segment and so cannot be done here.
    fn erase_now(&mut self, segment: u32) -> Result<Option<u32>, Error> {
        let other = self.erasing.take();
        if let Some(other) = other {
            Branch::OtherErasedFirst.reach();
            self.see_erase_through()?;
            self.finish_erase(other);
        }
        let done = self.medium.start_erase(segment);
        self.check_write(done)?;
        self.see_erase_through()?;
        self.finish_erase(segment);
        Ok(other)
    }

    fn see_erase_through(&mut self) -> Result<(), Error> {
        loop {
            let progress = self.medium.poll_erase();
            if self.check_write(progress)? == EraseProgress::Done {
                return Ok(());
            }
        }
    }

    fn finish_erase(&mut self, segment: u32) {
        let row = &mut self.segments[segment as usize];
        row.state = State::Free;
        row.is_suspect = false;
        row.erase_count += 1;
        row.live = 0;
        row.live_bytes = 0;
        row.event_bytes = 0;
        self.counters.erases += 1;
    }
}

/// The free segments in the order in which they are opened: first those never used, by index, since the count of used
/// ones tells them from those that lost their header; then the one that has been free for longest.
pub(crate) fn opening_order(
    segments: &[Segment],
    used_segments: u32,
) -> impl Iterator<Item = (bool, u64, u32)> {
    let free = (0u32..).zip(segments).filter(|(_, row)| row.state == State::Free);
    free.map(move |(index, row)| (index < used_segments, row.sequence, index))
}

/// The most bytes of a record about a segment.
const RECORD_LIFE_BYTES: usize = 32;
/// Room kept for the note of a frame whose note is not yet known.
const NOTE_RESERVE: usize = summary::NOTE_BYTES_MAX;
/// What a small record in a status segment counts as.
pub(crate) const STATUS_FRAME_BYTES: u64 = 64;
