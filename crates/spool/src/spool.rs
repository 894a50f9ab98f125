//! The spool: messages in, fates noted, messages out, space found again.
//!
//! One owner calls it and is the only one who writes. Nothing that was appended is durable, and no message that was
//! committed is there, before [`Spool::sync`] has returned `Ok`; between two syncs any number of calls share one.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use penstock_flash::{Erase, EraseProgress, Medium};

use crate::Error;
use crate::checkpoint::{self, Checkpointer};
use crate::events::{EventSegment, Events};
use crate::incoming::{Incoming, Pending};
use crate::index::{Entry, Index, flash_bytes};
use crate::log::{Buffers, Counters, Log, STATUS_FRAME_BYTES};
use crate::mount::{self, Keep, MountReport, TailContent};
use crate::proof::Branch;
use crate::reader::{Message, Readable};
use crate::reclaim::Reclaim;
use crate::record::{Begin, Fate, MessageId, NUMBER_MAX, RECIPIENTS_MAX, Recipient};
use crate::reserve::{ERASED_FLOOR_SHARE, RESERVE_MOVED, RESERVE_SEGMENTS, RESERVE_STATUS};
use crate::segment::{Purpose, Segment, State};
use crate::state::MetaTable;

/// What a message whose size was not declared reserves at first, and by which it grows, in bytes; on a small volume
/// less, so that the open sessions of a busy minute do not fill it.
pub const RESERVE_STEP_BYTES: u64 = 1024 * 1024;
/// The share of the capacity that such a step never exceeds.
const RESERVE_STEP_SHARE: u64 = 256;
/// The share of the rest that live mail may fill. Reclaim copies at most 1 / (1 - 3/4) = 4 bytes for each it frees.
const LIVE_SHARE: (u64, u64) = (3, 4);

/// What a mount may use.
#[derive(Clone, Copy, Debug)]
pub struct MountOptions {
    /// The most messages in the index, kept ones among them. Each takes 32 bytes of memory.
    pub messages_max: usize,
    /// How much finished mail is kept for replay, in bytes. It goes earlier where mail needs the room.
    pub kept_bytes_max: u64,
    /// How long finished mail is kept for replay, in milliseconds since it came. Only a trusted clock lets it go.
    pub kept_age_max_ms: u64,
    /// Whether the mount may go by the checkpoint. If not, it reads the header of every segment.
    pub uses_checkpoint: bool,
    /// How much is held erased beyond what the volume needs for itself, in bytes, for who takes the mail when this
    /// one cannot; rounded up to segments, and at most a quarter of them. It is not mail's, and housekeeping erases
    /// ahead until it is there.
    pub erased_floor_bytes: u64,
    /// How many erases a segment may be behind the most worn one, where cells wear, before what stands in it is moved.
    pub wear_gap_max: u32,
}

/// What [`MountOptions::wear_gap_max`] is by default. NOR is good for 100,000 erases; a gap of a hundredth of that
/// costs next to nothing in life, and moving more often what never changes would.
pub const WEAR_GAP_MAX: u32 = 1000;

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            messages_max: 1_000_000,
            kept_bytes_max: u64::MAX,
            kept_age_max_ms: u64::MAX,
            uses_checkpoint: true,
            erased_floor_bytes: 0,
            wear_gap_max: WEAR_GAP_MAX,
        }
    }
}

/// How a volume stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// The name of the volume, chosen when it was formatted.
    pub volume: [u8; 16],
    /// The number of this boot in the volume's life, counting only those that wrote.
    pub boot: u32,
    /// The medium's size in bytes.
    pub medium_bytes: u64,
    /// What mail may take in all, in bytes.
    pub capacity_bytes: u64,
    /// What undelivered mail takes, in bytes.
    pub live_bytes: u64,
    /// What open transactions have reserved, in bytes.
    pub reserved_bytes: u64,
    /// What finished mail kept for replay takes, in bytes. It counts as free.
    pub kept_bytes: u64,
    /// Messages with a recipient whose fate is not final.
    pub messages: usize,
    /// Finished messages kept for replay.
    pub kept_messages: usize,
    /// The memory of the index in bytes.
    pub index_bytes: usize,
    /// Segments in all, free to be opened, and quarantined.
    pub segments: (u32, u32, u32),
    /// The lowest and highest erase count.
    pub erase_counts: (u32, u32),
    /// Whether a write failed, so that nothing more is taken.
    pub read_only: bool,
}

impl Info {
    /// What mail may still take, in bytes.
    pub fn free_bytes(&self) -> u64 {
        self.capacity_bytes.saturating_sub(self.live_bytes + self.reserved_bytes)
    }
}

/// What is known of a message without reading flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its name in the volume.
    pub id: MessageId,
    /// The length of its body in bytes.
    pub size_bytes: u32,
    /// Recipients in all.
    pub recipients: u16,
    /// Recipients whose fate is not final.
    pub open_recipients: u16,
    /// The most attempts made for any of them.
    pub attempts: u16,
    /// It was found damaged: it is not given out.
    pub damaged: bool,
}

/// What a step of housekeeping found to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Idle,
    /// Something was done, and there may be more.
    More,
    /// A message could not be moved, since it is damaged. The segment it stands in is left alone.
    Damaged(MessageId),
}

/// The log of messages on a medium. See the module documentation for what is durable when.
#[derive(Debug)]
pub struct Spool<M: Medium, B> {
    pub(crate) log: Log<M, B>,
    pub(crate) index: Index,
    pub(crate) meta: MetaTable,
    pub(crate) options: MountOptions,
    pub(crate) reclaim: Reclaim<M::Reader>,
    pub(crate) checkpointer: Checkpointer,
    report: MountReport,
    keep: Keep,
    /// Without an index, how many segments were free at the mount: all that mail may take.
    free_at_mount: u32,
    pub(crate) pending: Vec<Pending>,
    /// Torn messages of which no record says so yet.
    pub(crate) torn: Vec<MessageId>,
    /// What a power cut may have left half programmed, to be written anew.
    pub(crate) tail: TailContent,
    pub(crate) live_messages: usize,
    pub(crate) live_bytes: u64,
    pub(crate) kept_bytes: u64,
    reserved_bytes: u64,
}

impl<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>> Spool<M, B> {
    /// Mounts the volume on a medium, after whatever stop.
    ///
    /// # Errors
    /// [`Error::NotAVolume`], [`Error::UnknownFormat`], [`Error::GeometryChanged`], [`Error::BadGeometry`],
    /// [`Error::BadBuffer`]; [`Error::Write`] if a block device that was left open cannot be synced.
    #[cfg(feature = "index")]
    pub fn mount(medium: M, buffers: Buffers<B>, options: MountOptions) -> Result<Self, Error> {
        Self::mount_keeping(medium, buffers, options, Keep::Everything)
    }

    /// Mounts a volume only to append to it, in memory that grows with its segments and not with its messages.
    ///
    /// Mail can be taken and events recorded. What is there is not known: no message can be found, read or given a
    /// fate, no state is held, and nothing is given up for new mail, which has the segments that were free at the
    /// mount. All of it is there again after the next [`mount`](Self::mount).
    ///
    /// # Errors
    /// As [`mount`](Self::mount).
    pub fn mount_append(medium: M, buffers: Buffers<B>) -> Result<Self, Error> {
        Self::mount_keeping(medium, buffers, MountOptions::default(), Keep::Segments)
    }

    fn mount_keeping(
        mut medium: M,
        buffers: Buffers<B>,
        options: MountOptions,
        keep: Keep,
    ) -> Result<Self, Error> {
        // An erase that an owner before left going on. However it ends, it is over then.
        while let Ok(EraseProgress::Busy) = medium.poll_erase() {
            Branch::EraseGoingOn.reach();
        }
        let mounted = mount::mount(&medium, options.uses_checkpoint, keep)?;
        if medium.geometry().erase == Erase::Logical && !mounted.report.clean {
            // What a crash left in caches above the medium is read now and could be lost later.
            medium.sync().map_err(Error::Write)?;
        }
        let report = mounted.report;
        let next_sequence = mounted.start.next_sequence;
        let mut log = Log::new(medium, buffers, mounted.start)?;
        let keeps_index = cfg!(feature = "index") && keep == Keep::Everything;
        log.keeps_notes = keeps_index;
        if keeps_index {
            log.checkpoint_segments =
                checkpoint::segments_max(&log.layout, log.geometry.segments, options.messages_max);
        }
        let mut spool = Self {
            checkpointer: Checkpointer::new(
                log.geometry.segments,
                mounted.checkpoint,
                !report.from_checkpoint,
                next_sequence,
            ),
            free_at_mount: log.free_segments(),
            log,
            index: mounted.index,
            meta: mounted.meta,
            options,
            reclaim: Reclaim::default(),
            report,
            keep,
            pending: Vec::new(),
            torn: mounted.torn,
            tail: mounted.tail,
            live_messages: 0,
            live_bytes: 0,
            kept_bytes: 0,
            reserved_bytes: 0,
        };
        if keeps_index {
            let geometry = spool.log.geometry;
            let floor = options.erased_floor_bytes.div_ceil(u64::from(geometry.segment_bytes));
            let floor_max = geometry.segments / ERASED_FLOOR_SHARE;
            spool.log.erased_floor = u32::try_from(floor).map_or(floor_max, |floor| floor.min(floor_max));
            spool.count_messages();
        }
        spool.log.withholds_word = !spool.is_settled();
        Ok(spool)
    }

    /// Counts what a mount has found, and which messages have anything in each segment.
    fn count_messages(&mut self) {
        for (id, segment) in self.index.copies() {
            self.log.note_id(segment, id.0);
        }
        let status = |row: &Segment| row.state == State::Sealed && row.purpose == Purpose::Status;
        let rows = (0u32..).zip(&self.log.segments);
        let status: Vec<u32> = rows.filter(|(_, row)| status(row)).map(|(segment, _)| segment).collect();
        for entry in self.index.iter_from(MessageId(0)) {
            let scattered = if entry.is_scattered() { status.as_slice() } else { &[] };
            let segments = self.index.segments_of(entry).chain(entry.status_segment());
            for segment in segments.chain(scattered.iter().copied()) {
                self.log.note_id(segment, entry.id);
            }
            if entry.is_live() {
                self.live_messages += 1;
                self.live_bytes += entry.flash_bytes();
            } else {
                self.kept_bytes += entry.flash_bytes();
            }
        }
    }

    /// Whether the messages on the volume are known.
    pub(crate) fn keeps_index(&self) -> bool {
        cfg!(feature = "index") && self.keep == Keep::Everything
    }

    /// Whether segments may be given up: not while something in them may be unknown.
    pub(crate) fn may_reclaim(&self) -> bool {
        self.keeps_index() && !self.report.append_only
    }

    /// What the mount had to do.
    pub fn mount_report(&self) -> MountReport {
        self.report
    }

    /// How the volume stands.
    pub fn info(&self) -> Info {
        let count = |state: State| self.log.segments.iter().filter(|row| row.state == state).count() as u32;
        let erases = || self.log.segments.iter().map(|row| row.erase_count);
        Info {
            volume: self.log.volume(),
            boot: self.log.boot(),
            medium_bytes: self.log.geometry.capacity_bytes(),
            capacity_bytes: self.capacity_bytes(),
            live_bytes: self.live_bytes,
            reserved_bytes: self.reserved_bytes,
            kept_bytes: self.kept_bytes,
            messages: self.live_messages,
            kept_messages: self.index.len().saturating_sub(self.live_messages),
            index_bytes: self.index.memory_bytes(),
            segments: (self.log.geometry.segments, count(State::Free), self.report.quarantined_segments),
            erase_counts: (erases().min().unwrap_or(0), erases().max().unwrap_or(0)),
            read_only: self.log.is_failed(),
        }
    }

    /// What was given to the medium since the mount.
    pub fn counters(&self) -> Counters {
        self.log.counters
    }

    /// The number that the next message gets.
    pub fn next_id(&self) -> MessageId {
        MessageId(self.log.next_msg_id)
    }

    /// Has the next message get this number, or the one that it would have got if that is higher: so that numbers tell
    /// which came first also where several volumes take mail in turn. What is passed over is not used; it is remembered
    /// by the messages that get higher ones.
    pub fn skip_ids(&mut self, to: MessageId) {
        self.log.next_msg_id = self.log.next_msg_id.max(to.0.min(NUMBER_MAX));
    }

    fn capacity_bytes(&self) -> u64 {
        let data_bytes = u64::from(self.log.layout.data_bytes());
        if !self.keeps_index() {
            return u64::from(self.free_at_mount.saturating_sub(RESERVE_MOVED)) * data_bytes;
        }
        let unusable = |row: &&Segment| matches!(row.state, State::Quarantined | State::Bad);
        let unusable = self.log.segments.iter().filter(unusable).count() as u32;
        let checkpoints = 2 * self.log.checkpoint_segments;
        let lost = unusable + RESERVE_SEGMENTS + checkpoints + self.log.erased_floor;
        let segments = self.log.geometry.segments.saturating_sub(lost);
        u64::from(segments) * data_bytes * LIVE_SHARE.0 / LIVE_SHARE.1
    }

    fn reserve_step_bytes(&self) -> u64 {
        RESERVE_STEP_BYTES.min(self.capacity_bytes() / RESERVE_STEP_SHARE)
    }

    fn reserve(&mut self, bytes: u64) -> Result<(), Error> {
        if !self.has_room_for(bytes) {
            return Err(Error::Full);
        }
        self.reserved_bytes += bytes;
        Ok(())
    }

    /// Whether so much more of undelivered mail may be there.
    pub(crate) fn has_room_for(&self, bytes: u64) -> bool {
        (self.live_bytes + self.reserved_bytes).saturating_add(bytes) <= self.capacity_bytes()
    }

    /// Begins a message. A declared size is reserved whole, else a first step of at most
    /// [`RESERVE_STEP_BYTES`].
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::TooManyMessages`], [`Error::FieldTooLong`], [`Error::RecipientCount`],
    /// [`Error::ReadOnly`], [`Error::Write`]. Nothing is then left to abort.
    pub fn begin(
        &mut self,
        begin: &Begin,
        recipients: &[Recipient],
        declared_bytes: Option<u64>,
    ) -> Result<Incoming, Error> {
        begin.check()?;
        recipients.iter().try_for_each(Recipient::check)?;
        if recipients.is_empty() || recipients.len() > usize::from(RECIPIENTS_MAX) {
            return Err(Error::RecipientCount);
        }
        if self.log.is_failed() {
            return Err(Error::ReadOnly);
        }
        if self.index.len() + self.pending.len() >= self.options.messages_max
            && !self.give_up_oldest_kept()?
        {
            return Err(Error::TooManyMessages);
        }
        let id = MessageId(self.log.next_msg_id);
        let mut incoming = Incoming::new(id, self.log.boot());
        let size_bytes = declared_bytes.unwrap_or_else(|| self.reserve_step_bytes());
        let reserved = flash_bytes(size_bytes, recipients.len() as u32);
        self.reserve(reserved)?;
        incoming.reserved_bytes = reserved;
        self.log.next_msg_id += 1;
        match self.append_envelope(&mut incoming, begin, recipients) {
            Ok(()) => Ok(incoming),
            Err(error) => {
                self.abort(incoming);
                Err(error)
            }
        }
    }

    /// Appends an envelope frame by frame: room is found for each alone, so that none is written twice.
    fn append_envelope(
        &mut self,
        incoming: &mut Incoming,
        begin: &Begin,
        recipients: &[Recipient],
    ) -> Result<(), Error> {
        self.with_room(|log| incoming.begin(log, begin))?;
        let mut rest = recipients;
        while !rest.is_empty() {
            let taken = self.with_room(|log| incoming.recipients(log, rest))?;
            rest = &rest[taken..];
        }
        Ok(())
    }

    /// Appends a piece of the body.
    ///
    /// # Errors
    /// [`Error::Full`] if there is no room to grow; [`Error::Stale`], [`Error::ReadOnly`], [`Error::Write`]. The
    /// message can then only be aborted.
    pub fn write(&mut self, incoming: &mut Incoming, bytes: &[u8]) -> Result<(), Error> {
        if incoming.mount != self.log.boot() {
            return Err(Error::Stale);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let needed = incoming.flash_bytes_with(rest.len() as u64);
            if needed > incoming.reserved_bytes {
                let step = (needed - incoming.reserved_bytes).max(self.reserve_step_bytes());
                self.reserve(step)?;
                incoming.reserved_bytes += step;
            }
            let taken = self.with_room(|log| incoming.body(log, rest))?;
            rest = &rest[taken..];
        }
        Ok(())
    }

    /// Ends a message. It exists once [`sync`](Self::sync) has returned `Ok`.
    ///
    /// # Errors
    /// As [`write`](Self::write); the message is then gone.
    pub fn commit(&mut self, mut incoming: Incoming) -> Result<MessageId, Error> {
        let done = if incoming.mount == self.log.boot() {
            self.with_room(|log| incoming.commit(log))
        } else {
            Err(Error::Stale)
        };
        match done {
            Ok(pending) => {
                self.pending.push(pending);
                Ok(incoming.id())
            }
            Err(error) => {
                self.abort(incoming);
                Err(error)
            }
        }
    }

    /// Drops a message that is not to be.
    pub fn abort(&mut self, mut incoming: Incoming) {
        if incoming.mount != self.log.boot() {
            return;
        }
        self.reserved_bytes -= incoming.reserved_bytes.min(self.reserved_bytes);
        incoming.release(&mut self.log);
    }

    /// Makes everything that was appended durable, and the messages that were committed visible.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::ReadOnly`]: nothing is known about what was appended since the last sync, and the
    /// messages committed since then do not exist.
    pub fn sync(&mut self) -> Result<(), Error> {
        if self.log.is_failed() {
            return Err(Error::ReadOnly);
        }
        let was_settled = self.is_settled();
        if !was_settled {
            self.make_room_by_root()?;
        }
        self.record_torn()?;
        self.settle_tail()?;
        self.sync_log()?;
        if !was_settled {
            // Said at once: where each boot gets no further than its first sync, the next would have to write anew all
            // that this one did, and more each time.
            match self.in_reserve(|spool| spool.log.append_nop()) {
                Ok(()) => self.sync_log()?,
                Err(Error::Full) => {}
                Err(error) => return Err(error),
            }
        }
        if self.is_checkpoint_overdue() {
            self.step_checkpoint()?;
        }
        self.refill_reserve()
    }

    /// Finds again what status has taken of its reserve. No stop leaves a segment that could be written on in, so the
    /// next boot needs a free one before it can give any up: with none it could do nothing any more.
    fn refill_reserve(&mut self) -> Result<(), Error> {
        // Who may use the reserve is reclaim, which is about to do that.
        while !self.log.may_use_reserve && !self.log.has_free(RESERVE_STATUS) {
            Branch::ReserveRefilled.reach();
            match self.in_reserve(Self::reclaim_one) {
                Ok(true) => {}
                // What was to be durable is so.
                Ok(false) | Err(Error::Full) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes everything durable as it stands, and the messages that were committed visible.
    pub(crate) fn sync_log(&mut self) -> Result<(), Error> {
        if let Err(error) = self.log.sync() {
            for pending in core::mem::take(&mut self.pending) {
                self.reserved_bytes -= pending.reserved_bytes.min(self.reserved_bytes);
            }
            return Err(error);
        }
        for pending in core::mem::take(&mut self.pending) {
            self.publish(pending);
        }
        Ok(())
    }

    /// Puts a message that has become durable into the index.
    fn publish(&mut self, pending: Pending) {
        let Pending { entry, spans, reserved_bytes, purpose } = pending;
        self.reserved_bytes -= reserved_bytes.min(self.reserved_bytes);
        for segment in core::iter::once(entry.commit.segment).chain(spans.iter().copied()) {
            self.log.release(segment);
            self.log.note_id(segment, entry.id);
        }
        let id = MessageId(entry.id);
        if !self.keeps_index() {
            // What it takes was reserved, and is now taken for good.
            self.live_bytes += entry.flash_bytes();
            return;
        }
        if purpose == Purpose::Moved {
            // It keeps the fate that it has by now.
            let Some(old) = self.index.get(id).copied() else { return };
            self.uncount_body(&old);
            self.index.move_to(id, entry.commit, &spans);
        } else {
            self.live_messages += 1;
            self.live_bytes += entry.flash_bytes();
            self.index.insert(entry, &spans);
        }
        self.count_body(id);
    }

    /// Counts a message in the segments its frames stand in, if it is live.
    pub(crate) fn count_body(&mut self, id: MessageId) {
        let Some(entry) = self.index.get(id).filter(|entry| entry.is_live()) else { return };
        let segments: Vec<u32> = self.index.segments_of(entry).collect();
        let share = entry.flash_bytes() / segments.len() as u64;
        for segment in segments {
            self.log.count(segment, share);
        }
    }

    /// Discounts a message from the segments its frames stand in, if it was counted.
    pub(crate) fn uncount_body(&mut self, entry: &Entry) {
        if !entry.is_live() {
            return;
        }
        let segments: Vec<u32> = self.index.segments_of(entry).collect();
        let share = entry.flash_bytes() / segments.len() as u64;
        for segment in segments {
            self.log.discount(segment, share);
        }
    }

    /// What is known of a message, kept ones among them.
    pub fn summary(&self, id: MessageId) -> Option<Summary> {
        self.index.get(id).map(summary_of)
    }

    /// Undelivered messages in order of arrival, from `first` on.
    pub fn queue(&self, first: MessageId) -> impl Iterator<Item = Summary> {
        self.index.iter_from(first).filter(|entry| entry.is_live()).map(summary_of)
    }

    /// Finished messages that can still be replayed, in order of arrival, from `first` on.
    pub fn kept(&self, first: MessageId) -> impl Iterator<Item = Summary> {
        self.index.iter_from(first).filter(|entry| !entry.is_live() && !entry.is_damaged()).map(summary_of)
    }

    /// Messages of which something can be replayed, in order of arrival, from `first` on: some recipient was delivered,
    /// and all of the message is there. Others of its recipients may be waiting yet.
    pub fn replayable(&self, first: MessageId) -> impl Iterator<Item = Summary> {
        let is_there = |entry: &&Entry| !entry.is_damaged() && self.index.has(entry, Fate::Delivered);
        self.index.iter_from(first).filter(is_there).map(summary_of)
    }

    /// The fate of each recipient of a message, as runs: the first recipient, how many, their fate.
    pub fn fates(&self, id: MessageId) -> Option<Vec<(u16, u16, Fate)>> {
        self.index.get(id).map(|entry| self.index.runs(entry))
    }

    /// Opens a message for reading. While it is open, what it stands in is not erased.
    ///
    /// # Errors
    /// [`Error::NoSuchMessage`], [`Error::Damaged`].
    pub fn open(&mut self, id: MessageId) -> Result<Message<M::Reader>, Error> {
        let entry = *self.index.get(id).ok_or(Error::NoSuchMessage(id))?;
        let (reader, readable) = (self.log.medium.reader(), self.readable(&entry));
        Message::open(reader, self.log.layout, id, entry.commit, entry.size_bytes, readable)
    }

    /// As [`open`](Self::open), but where one bit of a frame is flipped, the message is read as it was before. All of
    /// it is still only told where its SHA-256 agrees, and an envelope is never guessed.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_mending(&mut self, id: MessageId) -> Result<Message<M::Reader>, Error> {
        let entry = *self.index.get(id).ok_or(Error::NoSuchMessage(id))?;
        let (reader, readable) = (self.log.medium.reader(), self.readable(&entry));
        Message::open_mending(reader, self.log.layout, id, entry.commit, entry.size_bytes, readable)
    }

    /// How the segments of a message are read, and the leases that keep them.
    pub(crate) fn readable(&mut self, entry: &Entry) -> Readable {
        let segments: Vec<u32> = if entry.is_damaged() {
            // Where it stands may be among what could not be read when it was mounted.
            let held = |row: &Segment| matches!(row.state, State::Open | State::Sealed);
            (0u32..).zip(&self.log.segments).filter(|(_, row)| held(row)).map(|(at, _)| at).collect()
        } else {
            self.index.segments_of(entry).collect()
        };
        let seeds = segments.iter().map(|segment| (*segment, self.log.seed(*segment))).collect();
        let rows = &mut self.log.segments;
        let leases = segments.iter().filter_map(|s| rows.get_mut(*s as usize).map(Segment::lease)).collect();
        Readable { seeds, _leases: leases }
    }

    /// The events on the volume that are durable or at least programmed, oldest first.
    pub fn events(&mut self) -> Events<M::Reader> {
        let mut segments: Vec<(u64, u32)> = Vec::new();
        for (segment, row) in (0u32..).zip(&self.log.segments) {
            let readable = matches!(row.state, State::Open | State::Sealed);
            if readable && row.purpose == Purpose::Status {
                segments.push((row.sequence, segment));
            }
        }
        segments.sort_unstable();
        let segments: VecDeque<EventSegment> = segments
            .into_iter()
            .map(|(_, segment)| EventSegment {
                segment,
                seed: self.log.seed(segment),
                end: self.log.programmed_end(segment),
                _lease: self.log.segments[segment as usize].lease(),
            })
            .collect();
        Events::new(self.log.medium.reader(), self.log.layout, segments)
    }

    /// Gives up what is still in memory of a message whose segment is retired.
    pub(crate) fn forget(&mut self, id: MessageId) {
        let Some(entry) = self.index.get(id).copied() else { return };
        debug_assert!(!entry.is_live(), "live mail is never given up");
        if let Some(segment) = entry.status_segment() {
            self.log.discount(segment, STATUS_FRAME_BYTES);
        }
        self.kept_bytes -= entry.flash_bytes().min(self.kept_bytes);
        self.index.remove(id);
    }

    /// Stops cleanly: all of it durable, and summaries written, so that the next mount need not scan.
    ///
    /// # Errors
    /// What the medium reports. The volume is then as after an unclean stop.
    pub fn close(mut self) -> Result<M, Error> {
        self.sync()?;
        match self.checkpoint_now() {
            Ok(()) | Err(Error::Full) => {}
            Err(error) => return Err(error),
        }
        self.log.close()?;
        Ok(self.log.into_medium())
    }

    /// Gives the medium back as it is, as after a crash.
    pub fn into_medium(self) -> M {
        self.log.into_medium()
    }
}

fn summary_of(entry: &Entry) -> Summary {
    Summary {
        id: MessageId(entry.id),
        size_bytes: entry.size_bytes,
        recipients: entry.recipients,
        open_recipients: entry.open,
        attempts: entry.attempts,
        damaged: entry.is_damaged(),
    }
}
