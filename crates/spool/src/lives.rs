//! Segments in and out of use.
//!
//! The rules that make an erase safe:
//!
//! 1. A segment is reused only after a record says it is retired, **and** a later group that is durable says that this
//!    record was. So whoever finds a cut erase also finds the proof that it was allowed.
//! 2. A segment that is opened is told of in the status head, after its header is durable and before anything in it is
//!    acknowledged. So who finds the record without the header has found rot, not a segment that was never used. A
//!    status segment is told of in a root.
//! 3. The record is programmed before the next segment is opened. So of those in use at most the last one opened is
//!    told of nowhere, and which one that is follows from the order in which free segments are opened.
//! 4. A segment that cannot be erased or programmed is given up for good, and the log goes on with another one.

use penstock_flash::{Erase, EraseProgress, Medium};

use crate::Error;
use crate::anchor::Opened;
use crate::frame::{self, Kind};
use crate::log::{How, Log, NOTE_RESERVE, READ_BACK_BYTES, STATUS_FRAME_BYTES, expect_bytes};
use crate::proof::{Branch, Protection};
use crate::record::{self, Life, SegmentRecord};
use crate::reserve::{RESERVE_MOVED, RESERVE_STATUS};
use crate::segment::{ANCHORS, FORMAT_VERSION, Purpose, Segment, SegmentHeader, State};
use crate::summary::Note;

/// How many segments are tried in turn where one cannot be opened.
const OPEN_ATTEMPTS_MAX: u32 = 4;
/// The most bytes of a record about a segment; while one is opened some others may have to be told of.
const RECORD_LIFE_BYTES: usize = 32;
const RECORDS_WHILE_OPENING: usize = 3;

/// The free segments in the order in which they are opened: first those never used, by index, since the count of used
/// ones tells them from those that lost their header; then the one that has been free for longest. So one that a stop
/// caught at its opening stays the first until it is opened, however many others are freed before that.
pub(crate) fn opening_order(segments: &[Segment]) -> impl Iterator<Item = (u64, u32)> {
    let free = (0u32..).zip(segments).filter(|(_, row)| row.state == State::Free);
    free.map(|(index, row)| (row.free_since, index))
}

impl<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>> Log<M, B> {
    /// Opens a segment for a head.
    pub(crate) fn open_segment(&mut self, purpose: Purpose) -> Result<(), Error> {
        debug_assert!(purpose.is_head());
        if purpose == Purpose::Status {
            let segment = self.begin_segment(purpose)?;
            self.opened[purpose as usize] += 1;
            self.anchors.note_status(segment, self.segments[segment as usize].sequence);
            self.write_root()?;
            self.barrier()?;
            self.enter(purpose, segment);
            self.record_life(segment, Life::Used)?;
            self.record_given_up()?;
            return self.record_bad();
        }
        let segment = self.open_told(purpose)?;
        self.opened[purpose as usize] += 1;
        self.enter(purpose, segment);
        Ok(())
    }

    /// Opens a segment and tells of it in the status head.
    pub(crate) fn open_told(&mut self, purpose: Purpose) -> Result<u32, Error> {
        // Once it is open it must be told of, so the room for that comes first.
        let records = RECORDS_WHILE_OPENING * frame::frame_bytes(RECORD_LIFE_BYTES);
        self.make_room(Purpose::Status, records, RECORDS_WHILE_OPENING * NOTE_RESERVE)?;
        let segment = self.begin_segment(purpose)?;
        self.barrier()?;
        let told = self.record_life(segment, Life::Used).and_then(|_| self.record_bad());
        if told.is_err() {
            self.segments[segment as usize].state = State::Sealed;
        }
        told?;
        self.program_group(Purpose::Status, How::Now)?;
        Ok(segment)
    }

    /// Takes a free segment and programs its header.
    fn begin_segment(&mut self, purpose: Purpose) -> Result<u32, Error> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let segment = self.pick_free(purpose)?;
            if self.segments[segment as usize].is_suspect {
                Branch::SuspectErased.reach();
                if !self.erase_now(segment)? {
                    continue;
                }
            }
            self.used_segments = self.used_segments.max(segment + 1);
            match self.program_header(segment, purpose)? {
                Ok(()) => return Ok(segment),
                Err(error) if attempt < OPEN_ATTEMPTS_MAX && self.is_worn(error) => self.mark_bad(segment),
                failed => self.check_write(failed)?,
            }
        }
    }

    /// Begins a new life of an erased segment. The inner error is the medium's.
    pub(crate) fn program_header(
        &mut self,
        segment: u32,
        purpose: Purpose,
    ) -> Result<Result<(), penstock_flash::Error>, Error> {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let row = &mut self.segments[segment as usize];
        row.begin_life(purpose, sequence);
        let header = SegmentHeader {
            format: FORMAT_VERSION,
            features: self.features,
            volume: self.volume(),
            segments: self.geometry.segments,
            segment_bytes: self.geometry.segment_bytes,
            unit_bytes: self.geometry.unit_bytes,
            segment,
            sequence,
            erase_count: self.segments[segment as usize].erase_count,
            purpose,
            msg_id_floor: self.next_msg_id,
            synced_group: self.synced_group,
            used_segments: self.used_segments,
            boot: self.boot(),
            landmarks: self.landmarks,
        };
        let copies = if Protection::HeaderTwice.is_on() { 2 } else { 1 };
        for offset in self.layout.header_offsets().into_iter().take(copies) {
            let room = self.layout.header_bytes();
            let done = self.try_record(segment, offset, room, Kind::SegmentHeader, &header)?;
            if done.is_err() {
                return Ok(done);
            }
        }
        Ok(Ok(()))
    }

    /// Appends to the status head where a segment now stands in its life.
    pub(crate) fn record_life(&mut self, segment: u32, life: Life) -> Result<u64, Error> {
        let row = &self.segments[segment as usize];
        let record = SegmentRecord {
            segment,
            sequence: row.sequence,
            erase_count: row.erase_count,
            purpose: row.purpose,
            life,
        };
        let mut payload = [0; RECORD_LIFE_BYTES];
        let len = record::encode(&record, &mut payload)?;
        let appended =
            self.append(Purpose::Status, Kind::SegmentState, 0, 0, &payload[..len], NOTE_RESERVE)?;
        self.note(Purpose::Status, &Note::Segment { group: appended.group, record });
        self.move_record(segment, Some(appended.place.segment));
        Ok(appended.group)
    }

    /// Says that a segment was erased, after all that are free by now.
    fn record_clean(&mut self, segment: u32) -> Result<(), Error> {
        let since = self.next_group;
        self.segments[segment as usize].free_since = since;
        self.record_life(segment, Life::Clean { since }).map(drop)
    }

    /// Says of segments that a root gave up when they were erased. Each status segment says it again while the root does,
    /// and none may say that it was later: a stop that loses this one must leave the order in which they are opened.
    fn record_given_up(&mut self) -> Result<(), Error> {
        for Opened { segment, sequence } in self.anchors.given_up() {
            let row = &self.segments[segment as usize];
            if row.state == State::Free && row.sequence == sequence {
                self.record_life(segment, Life::Clean { since: row.free_since })?;
            }
        }
        Ok(())
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

    /// How many segments could be opened at once.
    pub(crate) fn free_segments(&self) -> u32 {
        self.segments.iter().filter(|s| s.state == State::Free).count() as u32
    }

    /// Whether there are so many, without counting them all.
    pub(crate) fn has_free(&self, segments: u32) -> bool {
        let free = self.segments.iter().filter(|row| row.state == State::Free);
        free.take(segments as usize).count() == segments as usize
    }

    /// How many free segments a purpose leaves to others.
    pub(crate) fn kept_back(&self, purpose: Purpose) -> u32 {
        match purpose {
            _ if !Protection::Reserve.is_on() => 0,
            Purpose::Moved => self.erased_floor + RESERVE_STATUS,
            Purpose::Status if self.may_use_reserve => 0,
            Purpose::Status | Purpose::Checkpoint | Purpose::Anchor => self.erased_floor + RESERVE_MOVED,
            Purpose::Hot => self.erased_floor + RESERVE_MOVED + self.checkpoint_segments,
        }
    }

    fn pick_free(&self, purpose: Purpose) -> Result<u32, Error> {
        if self.free_segments() <= self.kept_back(purpose) {
            return Err(Error::Full);
        }
        opening_order(&self.segments).min().map(|(_, index)| index).ok_or(Error::Full)
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
        if self.is_failed() {
            return Ok(false);
        }
        self.record_bad()?;
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
        if !unproven && let Some(anchor) = self.anchor_to_renew() {
            self.barrier()?;
            self.leave_anchor(anchor);
            let done = self.medium.start_erase(anchor);
            self.check_write(done)?;
            self.erasing = Some(anchor);
            return Ok(true);
        }
        if unproven {
            // A barrier for the RETIRE, or, once it is durable, a group that says so, and its barrier.
            if self.heads.iter().all(|head| head.frames == 0) {
                self.append_nop()?;
            }
            self.sync()?;
        }
        Ok(unproven)
    }

    /// Appends a frame that says nothing, for the group around it to say what is durable.
    pub(crate) fn append_nop(&mut self) -> Result<(), Error> {
        self.append(Purpose::Status, Kind::Nop, frame::FLAG_SKIPPABLE, 0, &[], 0).map(drop)
    }

    /// Erases at once what an earlier boot had the proof to give up.
    pub(crate) fn erase_proven(&mut self) -> Result<(), Error> {
        if !self.segments.iter().any(|row| row.is_retired_by(self.synced_group)) {
            return Ok(());
        }
        // What says so may be on the brink itself: a group of this boot has to be durable that says it too.
        self.append_nop()?;
        self.sync()?;
        for segment in 0..self.geometry.segments {
            let row = &self.segments[segment as usize];
            if row.is_retired_by(self.proven_group) && !row.is_leased() && self.erase_now(segment)? {
                self.record_clean(segment)?;
            }
        }
        Ok(())
    }

    fn next_erasable(&self) -> Option<u32> {
        let erasable = |row: &Segment| row.state == State::Erasable && !row.is_leased();
        self.segments.iter().position(erasable).map(|index| index as u32)
    }

    fn poll_erase(&mut self, segment: u32) -> Result<(), Error> {
        if let Some(erased) = self.poll_medium(segment)? {
            self.erasing = None;
            if segment < ANCHORS {
                self.renew_anchor(segment, erased)?;
            } else if erased {
                self.record_clean(segment)?;
            } else {
                self.record_bad()?;
            }
        }
        Ok(())
    }

    /// Erases a segment at once, before it is opened. Whether it can be used.
    pub(crate) fn erase_now(&mut self, segment: u32) -> Result<bool, Error> {
        // One erase at a time.
        while let Some(other) = self.erasing {
            Branch::OtherErasedFirst.reach();
            if let Some(erased) = self.poll_medium(other)? {
                self.erasing = None;
                // A segment is being opened: there may be no head to append to. A later erase does no harm.
                if other < ANCHORS {
                    self.leave_anchor(other);
                } else if erased {
                    self.segments[other as usize].state = State::Erasable;
                }
            }
        }
        let done = self.medium.start_erase(segment);
        self.check_write(done)?;
        loop {
            if let Some(erased) = self.poll_medium(segment)? {
                return Ok(erased);
            }
        }
    }

    /// Goes on with an erase: `None` until it is done, then whether the segment can be used.
    pub(crate) fn poll_medium(&mut self, segment: u32) -> Result<Option<bool>, Error> {
        let done = match self.medium.poll_erase() {
            Ok(EraseProgress::Busy) => return Ok(None),
            Ok(EraseProgress::Done) => self.check_blank(segment),
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => self.segments[segment as usize].finish_erase(),
            Err(error) if self.is_worn(error) => self.mark_bad(segment),
            failed => self.check_write(failed)?,
        }
        self.counters.erases += 1;
        Ok(Some(done.is_ok()))
    }

    /// Reads a segment that was erased: a chip can fail to erase and say that it did.
    fn check_blank(&self, segment: u32) -> Result<(), penstock_flash::Error> {
        if self.geometry.erase == Erase::Logical {
            return Ok(());
        }
        (0..self.geometry.segment_bytes).step_by(READ_BACK_BYTES).try_for_each(|offset| {
            let len = READ_BACK_BYTES.min((self.geometry.segment_bytes - offset) as usize);
            expect_bytes(&self.reader, segment, offset, &[0xFF; READ_BACK_BYTES][..len])
        })
    }

    /// Whether an error speaks of one segment of a chip, not of the medium.
    fn is_worn(&self, error: penstock_flash::Error) -> bool {
        use penstock_flash::Error as Flash;
        self.geometry.erase == Erase::Physical
            && matches!(error, Flash::Io { .. } | Flash::Unreadable { .. } | Flash::Mismatch { .. })
    }

    fn mark_bad(&mut self, segment: u32) {
        Branch::GoneBad.reach();
        self.segments[segment as usize].state = State::Bad;
        self.bad_unrecorded.push(segment);
    }

    /// Tells of segments that were found to be bad.
    fn record_bad(&mut self) -> Result<(), Error> {
        while let Some(segment) = self.bad_unrecorded.pop() {
            // Of an anchor nothing is told: what could be erased or not shows at the next attempt.
            if segment >= ANCHORS {
                self.record_life(segment, Life::Bad)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
