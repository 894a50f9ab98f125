//! Going through all that is live and kept, to find rot before a delivery does.
//!
//! A pass reads every message as a delivery would, then every record in the status segments, then both copies of each
//! segment's header, always past any cache. It goes in steps, each bounded by what it may read, so that its caller
//! decides what share of the medium's time it takes. What is not as it was written is read again, three times at most;
//! then one flipped bit in each frame is tried (`mend`), and believed only if the message then has its SHA-256. What was
//! read right only after some of this is written again elsewhere. What was not is marked damaged, stays on flash, is
//! never given out, and is told of.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use penstock_flash::{Medium, ReadAt};

use crate::Error;
use crate::frame::PAYLOAD_BYTES_MAX;
use crate::incoming::Incoming;
use crate::index::Entry;
use crate::proof::Branch;
use crate::reader::{EnvelopeSeen, Message};
use crate::record::MessageId;
use crate::scrub_records::Records;
use crate::segment::{State, whole_headers};
use crate::spool::Spool;

/// How often what cannot be read right is read again: a disturbed read is seldom disturbed twice.
pub(crate) const REREADS: u8 = 3;
/// What one frame may take to read, in bytes: a step may be allowed less, and reads one frame all the same.
pub const SCRUB_FRAME_BYTES: u64 = 2 * (PAYLOAD_BYTES_MAX as u64 + 4096);

/// What a pass does about what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScrubMode {
    /// It tells.
    Check,
    /// It writes again what it could read only with effort.
    Repair,
}

/// How far a pass has come. Bytes as messages and records take them on flash, estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubProgress {
    /// Gone through.
    pub done_bytes: u64,
    /// In all.
    pub total_bytes: u64,
}

/// Something that was not as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A message could be read only at another try. Where the pass repairs, it was written again.
    Unsteady(MessageId),
    /// A message had single flipped bits; mended, it has its SHA-256, and it was written again.
    Repaired(MessageId),
    /// A message could be repaired and was not: the pass only checks, or there is no room to write it again.
    Repairable(MessageId),
    /// A message is not what was written. It stays on flash and is not given out.
    Damaged(MessageId),
    /// Records in a status segment cannot be read. Where the pass repairs, what is the newest word there was written
    /// again from memory; the segment is left alone.
    Records {
        /// The segment.
        segment: u32,
        /// Frames, or stretches without any, that cannot be read.
        frames: u32,
    },
    /// A copy of a segment's header cannot be read; there are two.
    Header {
        /// The segment.
        segment: u32,
        /// How many copies are whole.
        copies: u32,
    },
}

/// What a pass found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Messages that are whole now, those repaired among them.
    pub messages: u64,
    /// The size of their bodies in bytes.
    pub message_bytes: u64,
    /// Messages that could be read only at another try.
    pub unsteady: u64,
    /// Messages that were repaired.
    pub repaired: u64,
    /// Messages that could be repaired and were not.
    pub repairable: u64,
    /// Undelivered messages that are damaged.
    pub damaged: u64,
    /// Finished messages that are damaged and can no longer be replayed.
    pub kept_damaged: u64,
    /// Records in status segments that are whole.
    pub records: u64,
    /// Records, or stretches without any, that are not.
    pub damaged_records: u64,
    /// The same where a power cut may have torn them: no sign of rot.
    pub torn_records: u64,
    /// Segments of whose header a copy cannot be read.
    pub damaged_headers: u32,
}

impl ScrubReport {
    /// Whether everything was as it was written.
    pub fn is_clean(&self) -> bool {
        self.unsteady + self.repaired + self.repairable + self.damaged + self.kept_damaged == 0
            && self.damaged_records == 0
            && self.damaged_headers == 0
    }

    fn count(&mut self, finding: Finding, kept: bool) {
        match finding {
            Finding::Unsteady(_) => self.unsteady += 1,
            Finding::Repaired(_) => self.repaired += 1,
            Finding::Repairable(_) => self.repairable += 1,
            Finding::Damaged(_) if kept => self.kept_damaged += 1,
            Finding::Damaged(_) => self.damaged += 1,
            Finding::Records { frames, .. } => self.damaged_records += u64::from(frames),
            Finding::Header { .. } => self.damaged_headers += 1,
        }
    }
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScrubStep {
    /// So far all is well, and there is more to do.
    Progress(ScrubProgress),
    /// Something was found; there may be more to do.
    Found(Finding),
    /// The pass is over. Another step says the same.
    Done(ScrubReport),
}

/// A pass that is under way. It belongs to the mount that it was begun on.
///
/// While it is in the middle of a message, what that stands in is not erased.
#[derive(Debug)]
pub struct Scrub<R> {
    mode: ScrubMode,
    pub(crate) report: ScrubReport,
    progress: ScrubProgress,
    pub(crate) reader: Counted<R>,
    next: MessageId,
    /// Messages that came after the pass had begun are left to the next.
    end: MessageId,
    at: At<R>,
}

/// Reads past caches, and counts.
#[derive(Clone, Debug)]
pub(crate) struct Counted<R> {
    reader: R,
    bytes: Arc<AtomicU64>,
}

impl<R: ReadAt> ReadAt for Counted<R> {
    fn read(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), penstock_flash::Error> {
        self.bytes.fetch_add(into.len() as u64, Relaxed);
        self.reader.read_uncached(segment, offset, into)
    }
}

/// Where a pass is.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one of it, and it changes with every frame")]
enum At<R> {
    /// Between two messages.
    Messages,
    /// About to read a message, for the first time or again.
    Try(Try),
    Reading(Try, Message<Counted<R>>, EnvelopeSeen),
    Writing(Try, Message<Counted<R>>, Incoming),
    Records(Records<Counted<R>>),
    /// About to look at the headers of that segment.
    Headers(u32),
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Try {
    id: MessageId,
    flash_bytes: u64,
    number: u8,
}

impl Try {
    fn mends(self) -> bool {
        self.number > REREADS
    }

    fn again<R>(self) -> At<R> {
        At::Try(Self { number: self.number + 1, ..self })
    }
}

impl<R> Scrub<R> {
    /// How far it has come.
    pub fn progress(&self) -> ScrubProgress {
        let ahead = match &self.at {
            At::Reading(at, message, _) => message.walked_bytes().min(at.flash_bytes),
            _ => 0,
        };
        let done_bytes = (self.progress.done_bytes + ahead).min(self.progress.total_bytes);
        ScrubProgress { done_bytes, ..self.progress }
    }

    /// What it has found so far.
    pub fn report(&self) -> ScrubReport {
        self.report
    }

    /// The message that it comes to next: where a later pass can go on from if this one is not finished.
    pub fn position(&self) -> MessageId {
        match &self.at {
            At::Try(at) | At::Reading(at, ..) | At::Writing(at, ..) => at.id,
            _ => self.next,
        }
    }

    fn spent_bytes(&self) -> u64 {
        self.reader.bytes.load(Relaxed)
    }

    pub(crate) fn repairs(&self) -> bool {
        self.mode == ScrubMode::Repair
    }
}

impl<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>> Spool<M, B> {
    /// Begins a pass, at the first message or at that where an earlier one had come to.
    pub fn begin_scrub(&self, mode: ScrubMode, from: MessageId) -> Scrub<M::Reader> {
        let messages: u64 =
            self.index.iter_from(from).filter(|e| is_worth_reading(e)).map(Entry::flash_bytes).sum();
        let records: u64 = self.status_segments().map(|segment| u64::from(self.record_bytes(segment))).sum();
        Scrub {
            mode,
            report: ScrubReport::default(),
            progress: ScrubProgress { done_bytes: 0, total_bytes: messages + records },
            reader: Counted { reader: self.log.medium.reader(), bytes: Arc::default() },
            next: from,
            end: MessageId(self.log.next_msg_id),
            at: At::Messages,
        }
    }

    /// Does a piece of a pass that reads, and perhaps writes, at most `budget_bytes`, or one frame if that is more
    /// ([`SCRUB_FRAME_BYTES`]). Beyond that, a message that came in many pieces is opened at once: 640 bytes for every
    /// 24 of them.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::ReadOnly`] if something was to be written again and the volume refuses. The pass can
    /// be gone on with.
    pub fn scrub_step(
        &mut self,
        scrub: &mut Scrub<M::Reader>,
        budget_bytes: u64,
    ) -> Result<ScrubStep, Error> {
        let until = scrub.spent_bytes() + budget_bytes.saturating_sub(SCRUB_FRAME_BYTES);
        loop {
            if let Some((finding, kept)) = self.scrub_piece(scrub)? {
                scrub.report.count(finding, kept);
                return Ok(ScrubStep::Found(finding));
            }
            if matches!(scrub.at, At::Done) {
                return Ok(ScrubStep::Done(scrub.report));
            }
            if scrub.spent_bytes() >= until {
                return Ok(ScrubStep::Progress(scrub.progress()));
            }
        }
    }

    /// Gives a pass up. Dropping it instead would keep what it was writing from being reused until the next mount.
    pub fn end_scrub(&mut self, scrub: Scrub<M::Reader>) {
        if let At::Writing(_, _, mut incoming) = scrub.at {
            incoming.release(&mut self.log);
        }
    }

    /// A frame of work. What it found, and whether that is about mail that was finished.
    fn scrub_piece(&mut self, scrub: &mut Scrub<M::Reader>) -> Result<Option<(Finding, bool)>, Error> {
        match core::mem::replace(&mut scrub.at, At::Messages) {
            At::Messages => {
                let next = self.index.iter_from(scrub.next).find(|entry| is_worth_reading(entry));
                scrub.at = match next.filter(|entry| entry.id < scrub.end.0) {
                    Some(entry) => {
                        let (id, flash_bytes) = (MessageId(entry.id), entry.flash_bytes());
                        scrub.next = MessageId(entry.id + 1);
                        At::Try(Try { id, flash_bytes, number: 0 })
                    }
                    None => At::Records(Records::new(self.status_segments().collect())),
                };
            }
            At::Try(at) if at.number > REREADS + 1 => {
                scrub.progress.done_bytes += at.flash_bytes;
                let kept = self.index.get(at.id).is_some_and(|entry| !entry.is_live());
                self.mark_damaged(at.id);
                return Ok(Some((Finding::Damaged(at.id), kept)));
            }
            At::Try(at) => {
                scrub.at = match self.open_for_scrub(at, scrub.reader.clone()) {
                    Ok(message) => At::Reading(at, message, EnvelopeSeen::default()),
                    // Its segment was given up meanwhile.
                    Err(Error::NoSuchMessage(_)) => At::Messages,
                    Err(_) => at.again(),
                }
            }
            At::Reading(at, mut message, mut seen) => match message.check_next(&mut seen) {
                Ok(true) => scrub.at = At::Reading(at, message, seen),
                Ok(false) => return self.found_whole(scrub, at, message),
                Err(_) => scrub.at = at.again(),
            },
            At::Writing(at, message, incoming) => return self.write_again(scrub, at, message, incoming),
            At::Records(mut records) => {
                let step = self.step_records(scrub, &mut records)?;
                scrub.progress.done_bytes += step.walked_bytes;
                scrub.at = if step.over { At::Headers(0) } else { At::Records(records) };
                return Ok(step.finding.map(|finding| (finding, false)));
            }
            At::Headers(segment) => {
                let Some(row) = self.log.segments.get(segment as usize) else {
                    scrub.at = At::Done;
                    return Ok(None);
                };
                scrub.at = At::Headers(segment + 1);
                if matches!(row.state, State::Open | State::Sealed) {
                    let sequence = row.sequence;
                    let look = |_| whole_headers(&scrub.reader, &self.log.layout, segment, sequence);
                    let copies = (0..=REREADS).map(look).max().unwrap_or(0);
                    if copies < 2 {
                        return Ok(Some((Finding::Header { segment, copies }, false)));
                    }
                }
            }
            At::Done => scrub.at = At::Done,
        }
        Ok(None)
    }

    /// All of a message was right, at the first or another try.
    fn found_whole(
        &mut self,
        scrub: &mut Scrub<M::Reader>,
        at: Try,
        mut message: Message<Counted<M::Reader>>,
    ) -> Result<Option<(Finding, bool)>, Error> {
        let Some(entry) = self.index.get(at.id).copied() else { return Ok(None) };
        // A COMMIT that was mended must also say what was known of the message before.
        let size_bytes = message.size_bytes();
        if (message.recipient_count(), size_bytes) != (entry.recipients, u64::from(entry.size_bytes)) {
            scrub.at = at.again();
            return Ok(None);
        }
        if at.number == 0 && !entry.is_damaged() {
            scrub.count_whole(at, size_bytes);
            return Ok(None);
        }
        if !scrub.repairs() {
            scrub.progress.done_bytes += at.flash_bytes;
            return Ok(Some((at.finding(false), !entry.is_live())));
        }
        message.rewind();
        let Ok(envelope) = message.envelope() else {
            scrub.at = at.again();
            return Ok(None);
        };
        let mut incoming = Incoming::moved(at.id, self.log.boot(), message.sha256());
        let begun =
            self.in_reserve(|spool| incoming.envelope(&mut spool.log, &envelope.begin, &envelope.recipients));
        if let Err(error) = begun {
            return self.cannot_write(scrub, at, incoming, error);
        }
        scrub.at = At::Writing(at, message, incoming);
        Ok(None)
    }

    /// Writes a frame of a message again, and its COMMIT after the last: only then, and only if all of it had its
    /// SHA-256, does the copy count.
    fn write_again(
        &mut self,
        scrub: &mut Scrub<M::Reader>,
        at: Try,
        mut message: Message<Counted<M::Reader>>,
        mut incoming: Incoming,
    ) -> Result<Option<(Finding, bool)>, Error> {
        match message.next_chunk() {
            Ok(Some(chunk)) => {
                scrub.reader.bytes.fetch_add(chunk.len() as u64, Relaxed);
                let mut rest = chunk;
                while !rest.is_empty() {
                    match self.in_reserve(|spool| incoming.body(&mut spool.log, rest)) {
                        Ok(taken) => rest = &rest[taken..],
                        Err(error) => return self.cannot_write(scrub, at, incoming, error),
                    }
                }
                scrub.at = At::Writing(at, message, incoming);
                Ok(None)
            }
            Ok(None) => {
                let Some(entry) = self.index.get(at.id).copied() else {
                    incoming.release(&mut self.log);
                    return Ok(None);
                };
                match self.in_reserve(|spool| incoming.commit(&mut spool.log)) {
                    Ok(pending) => self.pending.push(pending),
                    Err(error) => return self.cannot_write(scrub, at, incoming, error),
                }
                self.sync()?;
                // A mount prefers a copy of which a later group says that it was durable.
                if self.in_reserve(|spool| spool.log.append_nop()).is_ok() {
                    self.sync()?;
                }
                if let Some(entry) = self.index.get_mut(at.id) {
                    entry.set_damaged(false);
                }
                scrub.count_whole(at, u64::from(entry.size_bytes));
                Ok(Some((at.finding(true), !entry.is_live())))
            }
            Err(_) => {
                incoming.release(&mut self.log);
                scrub.at = at.again();
                Ok(None)
            }
        }
    }

    /// Leaves a message where it is. For want of room that is no failure: the next pass tries again.
    fn cannot_write(
        &mut self,
        scrub: &mut Scrub<M::Reader>,
        at: Try,
        mut incoming: Incoming,
        error: Error,
    ) -> Result<Option<(Finding, bool)>, Error> {
        incoming.release(&mut self.log);
        scrub.progress.done_bytes += at.flash_bytes;
        let kept = self.index.get(at.id).is_some_and(|entry| !entry.is_live());
        if error == Error::Full { Ok(Some((Finding::Repairable(at.id), kept))) } else { Err(error) }
    }

    /// Opens a message to be read past caches.
    fn open_for_scrub(
        &mut self,
        at: Try,
        reader: Counted<M::Reader>,
    ) -> Result<Message<Counted<M::Reader>>, Error> {
        let entry = *self.index.get(at.id).ok_or(Error::NoSuchMessage(at.id))?;
        let readable = self.readable(&entry);
        let open = if at.mends() { Message::open_mending } else { Message::open };
        open(reader, self.log.layout, at.id, entry.commit, entry.size_bytes, readable)
    }

    /// From now on a message is not given out. What it stands in is not given up while it is undelivered.
    pub(crate) fn mark_damaged(&mut self, id: MessageId) {
        let Some(entry) = self.index.get_mut(id) else { return };
        Branch::LeftDamaged.reach();
        entry.set_damaged(true);
        let entry = *entry;
        if !entry.is_live() {
            return;
        }
        for segment in self.index.segments_of(&entry) {
            self.log.segments[segment as usize].is_unreadable = true;
        }
    }
}

impl Try {
    fn finding(self, written: bool) -> Finding {
        match (self.mends(), written) {
            (false, _) => Finding::Unsteady(self.id),
            (true, true) => Finding::Repaired(self.id),
            (true, false) => Finding::Repairable(self.id),
        }
    }
}

impl<R> Scrub<R> {
    fn count_whole(&mut self, at: Try, size_bytes: u64) {
        self.report.messages += 1;
        self.report.message_bytes += size_bytes;
        self.progress.done_bytes += at.flash_bytes;
    }
}

/// Finished mail that reclaim took a part of is damaged by intent.
fn is_worth_reading(entry: &Entry) -> bool {
    entry.is_live() || !entry.is_damaged()
}
