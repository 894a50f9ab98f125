//! From what is on flash to what is in memory, after any stop.
//!
//! A mount writes nothing. It reads the header of each segment and then either its proven summary or, for the few
//! that have none, all of its frames. What it believes:
//!
//! - *Known durable* is the highest group that any group, header or proof says was durable. Groups up to it were
//!   synced, so whatever is missing there is rot: what stands on its own CRCs counts.
//! - Above it lies the *tail*. There a power cut may have kept later writes and dropped earlier ones, so only an
//!   unbroken run of whole groups counts as it is; a message beyond the first break counts if all of it, read through,
//!   has the SHA-256 in its COMMIT.
//! - A RETIRE counts only if it is known durable: it lets bytes be erased. To disbelieve it costs nothing but space.
//! - Of several copies of a message the newest counts that is whole and known durable, else the oldest that is whole.
//! - A segment without a header that was used and that no RETIRE names is quarantined.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use penstock_flash::{Erase, Medium};

use crate::Error;
use crate::frame::Seed;
use crate::index::{Entry, Index};
use crate::log::{self, STATUS_FRAME_BYTES, Start};
use crate::proof::{Branch, Protection};
use crate::reader::{Message, Readable, read_commit, read_extents};
use crate::record::{Commit, Fate, Life, MessageId, Place, SegmentRecord, Status};
use crate::segment::{Layout, Purpose, Segment, SegmentHeader, State, read_header};
use crate::state::MetaTable;
use crate::summary::{self, Note};
use crate::walk::{self, Found, Group, WINDOW_BYTES, Window};

/// Ids left out after an unclean stop, beyond those seen: messages that were begun but left no whole frame.
const ID_GAP: u64 = 1024;

/// What a mount found.
#[derive(Debug)]
pub(crate) struct Mounted {
    pub(crate) start: Start,
    pub(crate) index: Index,
    pub(crate) meta: MetaTable,
    /// Messages of the torn tail, of which a record must say that they never counted before the tail is built upon.
    pub(crate) torn: Vec<MessageId>,
    /// What of the tail counts for now but is written anew before anything else is.
    pub(crate) tail: TailContent,
    pub(crate) report: MountReport,
}

/// What a mount had to do and what it found wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountReport {
    /// Whether the last stop was clean.
    pub clean: bool,
    /// Segments that were scanned whole.
    pub scanned_segments: u32,
    /// Frames, or stretches without any, that could not be read as they were written. The torn end of a cut write is
    /// among them.
    pub damaged_frames: u32,
    /// Segments that were used but have no header, and are left alone.
    pub quarantined_segments: u32,
    /// Messages of the torn tail that were not whole, and were never acknowledged.
    pub torn_messages: u32,
    /// Messages that may have been acknowledged and are not whole. They are kept, and not given out.
    pub damaged_messages: u32,
}

/// What stands in the tail of a medium that programs cells: a program that was cut can read right a few times and then
/// no more (a page cut in mid-program; seen on linux-mtd in October 2011).
#[derive(Debug, Default)]
pub(crate) struct TailContent {
    /// Messages whose COMMIT stands there.
    pub(crate) messages: Vec<MessageId>,
    /// Messages whose newest fate stands there.
    pub(crate) fates: Vec<MessageId>,
    /// Status segments some of whose records stand there.
    pub(crate) status_segments: Vec<u32>,
}

impl TailContent {
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.fates.is_empty() && self.status_segments.is_empty()
    }
}

/// One segment's header and notes.
struct Survey {
    segment: u32,
    header: SegmentHeader,
    notes: Vec<(Found, Note)>,
    groups: Vec<Group>,
    newest_ms: u64,
    event_bytes: u32,
    proven: bool,
    /// It holds nothing but its header.
    is_empty: bool,
}

/// Reads the volume on a medium.
pub(crate) fn mount<M: Medium>(medium: &M) -> Result<Mounted, Error> {
    let geometry = medium.geometry();
    let layout = Layout::of(&geometry)?;
    let reader = medium.reader();
    let mut report = MountReport::default();

    let headers: Vec<Option<SegmentHeader>> =
        (0..geometry.segments).map(|segment| read_header(&reader, &layout, segment)).collect();
    let volume = identify(&headers, &geometry)?;
    let belongs = |header: &SegmentHeader| header.volume == volume;

    let mut synced_group = 0;
    let mut next_msg_id = 1;
    let mut surveys: Vec<Survey> = Vec::new();
    for (segment, header) in (0u32..).zip(headers) {
        let Some(header) = header.filter(belongs) else { continue };
        let seed = Seed::of_segment(&volume, header.sequence);
        synced_group = synced_group.max(header.synced_group);
        next_msg_id = next_msg_id.max(header.msg_id_floor);
        let survey = match summary::read_proven(&reader, &layout, seed, segment) {
            Some((footer, proof, notes)) => {
                synced_group = synced_group.max(proof.synced_group);
                next_msg_id = next_msg_id.max(footer.msg_id_floor);
                let notes = notes.into_iter().map(|note| (Found { group: None }, note)).collect();
                Survey {
                    segment,
                    header,
                    notes,
                    groups: Vec::new(),
                    newest_ms: footer.newest_ms,
                    event_bytes: footer.event_bytes,
                    proven: true,
                    is_empty: false,
                }
            }
            None => {
                let mut window = Window::new(reader.clone(), segment, layout.segment_bytes, WINDOW_BYTES);
                let scan = walk::scan(&mut window, &layout, seed);
                Branch::Scanned.reach();
                report.scanned_segments += 1;
                report.damaged_frames += scan.damaged;
                synced_group = synced_group.max(scan.synced_group);
                next_msg_id = next_msg_id.max(scan.msg_id_max.saturating_add(1));
                let is_empty = scan.groups.is_empty() && scan.notes.is_empty() && scan.damaged == 0;
                Survey {
                    segment,
                    header,
                    notes: scan.notes,
                    groups: scan.groups,
                    newest_ms: scan.newest_ms,
                    event_bytes: scan.event_bytes,
                    proven: false,
                    is_empty,
                }
            }
        };
        surveys.push(survey);
    }
    surveys.sort_by_key(|survey| survey.header.sequence);
    // A clean stop leaves none of the segments open that were opened since the mount before it. Those that earlier unclean
    // stops left open stay without a proof.
    let newest_boot = surveys.iter().map(|survey| survey.header.boot).max();
    report.clean = surveys.iter().all(|survey| survey.proven || Some(survey.header.boot) != newest_boot);
    if !report.clean {
        next_msg_id = next_msg_id.saturating_add(ID_GAP);
    }

    let tail = Tail::of(&surveys, synced_group);
    let mut mount = Mount {
        reader,
        layout,
        volume,
        segments: place_segments(&geometry, &surveys, synced_group, &mut report),
        index: Index::default(),
        meta: MetaTable::default(),
        report,
        torn: Vec::new(),
        tail: TailContent::default(),
    };
    mount.take_messages(&surveys, &tail);
    mount.take_fates(&surveys);
    mount.drop_torn();
    if geometry.erase == Erase::Physical {
        mount.gather_tail(&surveys, synced_group);
    }
    mount.count_live();

    let used_segments = used_segments(&surveys);
    let start = Start {
        volume,
        next_sequence: surveys.last().map_or(0, |survey| survey.header.sequence).saturating_add(1),
        next_group: tail.last_group.max(synced_group).saturating_add(1),
        synced_group,
        next_msg_id,
        used_segments,
        boot: surveys.iter().map(|s| s.header.boot).max().unwrap_or(0).wrapping_add(1),
        segments: mount.segments,
    };
    Ok(Mounted {
        start,
        index: mount.index,
        meta: mount.meta,
        torn: mount.torn,
        tail: mount.tail,
        report: mount.report,
    })
}

/// Which volume the medium holds. Segments of others, from before a format, do not count.
fn identify(
    headers: &[Option<SegmentHeader>],
    geometry: &penstock_flash::Geometry,
) -> Result<[u8; 16], Error> {
    // A format writes the first segment; after it was reused or lost, most segments decide.
    let mut votes: BTreeMap<[u8; 16], u32> = BTreeMap::new();
    for header in headers.iter().flatten() {
        *votes.entry(header.volume).or_default() += 1;
    }
    let first = headers.iter().flatten().max_by_key(|h| (votes.get(&h.volume).copied(), h.sequence));
    let header = first.ok_or(Error::NotAVolume)?;
    header.check(geometry)?;
    Ok(header.volume)
}

/// The groups above what is known durable.
struct Tail {
    synced_group: u64,
    /// The last group of the unbroken run.
    unbroken_to: u64,
    /// The last group seen.
    last_group: u64,
}

impl Tail {
    fn of(surveys: &[Survey], synced_group: u64) -> Self {
        let groups = || surveys.iter().flat_map(|survey| &survey.groups);
        let mut whole: Vec<u64> =
            groups().filter(|g| g.whole && g.number > synced_group).map(|g| g.number).collect();
        whole.sort_unstable();
        let mut unbroken_to = synced_group;
        for number in whole {
            if number - unbroken_to == 1 {
                unbroken_to = number;
            }
        }
        let last_group = groups().map(|group| group.number).max().unwrap_or(0);
        Self { synced_group, unbroken_to, last_group }
    }

    /// Whether a message found there is whole by the order of writes alone.
    fn vouches_for(&self, survey: &Survey, found: Found) -> bool {
        if survey.proven {
            return true;
        }
        let Some(group) = found.group.and_then(|at| survey.groups.get(at)) else { return false };
        let vouched = group.whole && group.number <= self.unbroken_to;
        if !vouched {
            Branch::BeyondGap.reach();
        }
        vouched
    }
}

/// The segments that were opened. Whoever opens one makes its header durable and tells of it before anything else is
/// done. So where the newest are empty and no record tells of them, they were caught at that, and their headers may be
/// gone by the next mount: they count as never opened, which is what that mount must find too.
fn opened(surveys: &[Survey]) -> &[Survey] {
    let mut told: BTreeSet<(u32, u64)> = BTreeSet::new();
    for (_, note) in surveys.iter().flat_map(|survey| &survey.notes) {
        if let Note::Segment { record, .. } = note {
            told.insert((record.segment, record.sequence));
        }
    }
    let was_opened = |s: &Survey| !s.is_empty || told.contains(&(s.segment, s.header.sequence));
    let count = surveys.iter().rposition(was_opened).map_or(0, |last| last + 1);
    if count < surveys.len() {
        Branch::NeverOpened.reach();
    }
    &surveys[..count]
}

/// How many segments, from the first, were ever used.
fn used_segments(surveys: &[Survey]) -> u32 {
    opened(surveys)
        .iter()
        .map(|survey| survey.header.used_segments.max(survey.segment + 1))
        .max()
        .unwrap_or(0)
}

/// Where each segment stands in its life.
fn place_segments(
    geometry: &penstock_flash::Geometry,
    surveys: &[Survey],
    synced_group: u64,
    report: &mut MountReport,
) -> Vec<Segment> {
    let used_segments = used_segments(surveys);
    let mut newest: BTreeMap<u32, (SegmentRecord, u32)> = BTreeMap::new();
    let mut perhaps_clean: BTreeSet<(u32, u64)> = BTreeSet::new();
    for survey in surveys.iter().filter(|s| s.header.purpose == Purpose::Status) {
        for (_, note) in &survey.notes {
            let Note::Segment { group, record } = note else { continue };
            // What is not known durable counts where it keeps a segment, not where it gives one away.
            if record.life != Life::Used && *group > synced_group {
                Branch::NotBelieved.reach();
                if record.life == Life::Clean {
                    perhaps_clean.insert((record.segment, record.sequence));
                }
                continue;
            }
            let known = newest.entry(record.segment).or_insert((*record, survey.segment));
            if (record.sequence, record.life) >= (known.0.sequence, known.0.life) {
                *known = (*record, survey.segment);
            }
        }
    }
    let mut segments: Vec<Segment> = (0..geometry.segments).map(|_| Segment::new(State::Free)).collect();
    for survey in opened(surveys) {
        let row = &mut segments[survey.segment as usize];
        row.state = State::Sealed;
        row.purpose = survey.header.purpose;
        row.sequence = survey.header.sequence;
        row.erase_count = survey.header.erase_count;
        row.newest_ms = survey.newest_ms;
        row.event_bytes = survey.event_bytes;
    }
    for (segment, (record, recorded_in)) in newest {
        let Some(row) = segments.get_mut(segment as usize) else { continue };
        let has_header = row.state == State::Sealed;
        if has_header && row.sequence > record.sequence {
            continue;
        }
        row.sequence = record.sequence;
        row.erase_count = row.erase_count.max(record.erase_count);
        row.recorded_in = Some(recorded_in);
        row.state = match record.life {
            Life::Used if has_header => State::Sealed,
            Life::Used if Protection::Quarantine.is_on() => State::Quarantined,
            Life::Used => State::Free,
            // The next mount may believe that it is clean. So this one must not begin to erase it as one that is not.
            Life::Retired if perhaps_clean.contains(&(segment, record.sequence)) => {
                Branch::PerhapsClean.reach();
                row.is_suspect = true;
                State::Free
            }
            // What says that it was durable may be on the brink itself: another group has to say so before the erase.
            Life::Retired => State::Retired { group: synced_group },
            Life::Clean => State::Free,
        };
    }
    for (segment, row) in (0u32..).zip(&mut segments) {
        let headless = row.state == State::Free && row.recorded_in.is_none();
        if headless && segment < used_segments && Protection::Quarantine.is_on() {
            row.state = State::Quarantined;
        }
    }
    // The header of one more segment may have been on its way when the power failed, also right after a clean stop.
    // Which one is known, since it is always the same that comes next: after those that count as never opened, and one
    // more for good measure.
    let suspects = surveys.len() - opened(surveys).len() + 2;
    let mut order: Vec<(bool, u64, u32)> = log::opening_order(&segments, used_segments).collect();
    order.sort_unstable();
    for (_, _, next) in order.into_iter().take(suspects) {
        segments[next as usize].is_suspect = true;
    }
    if segments.iter().any(|s| s.state == State::Quarantined) {
        Branch::Quarantined.reach();
    }
    report.quarantined_segments = segments.iter().filter(|s| s.state == State::Quarantined).count() as u32;
    segments
}

/// The mount while messages and fates are taken in.
struct Mount<R> {
    reader: R,
    layout: Layout,
    volume: [u8; 16],
    segments: Vec<Segment>,
    index: Index,
    meta: MetaTable,
    report: MountReport,
    torn: Vec<MessageId>,
    tail: TailContent,
}

impl<R: penstock_flash::ReadAt> Mount<R> {
    fn holds(&self, segment: u32) -> bool {
        self.segments.get(segment as usize).is_some_and(|row| row.state == State::Sealed)
    }

    /// Whether a segment still has what a message had there that ends in a later one. If it was used again since, it
    /// was opened after that one.
    fn held_before(&self, segment: u32, later: u32) -> bool {
        let sequence = |segment: u32| self.segments.get(segment as usize).map(|row| row.sequence);
        self.holds(segment) && sequence(segment) < sequence(later)
    }

    fn seed(&self, segment: u32) -> Option<Seed> {
        let row = self.segments.get(segment as usize)?;
        (row.state == State::Sealed).then(|| Seed::of_segment(&self.volume, row.sequence))
    }

    fn take_messages(&mut self, surveys: &[Survey], tail: &Tail) {
        // Copies after what they were copied from.
        let of = |purpose: Purpose| surveys.iter().filter(move |survey| survey.header.purpose == purpose);
        for survey in of(Purpose::Hot).chain(of(Purpose::Moved)) {
            if !self.holds(survey.segment) {
                continue;
            }
            for (found, note) in &survey.notes {
                let Note::Commit { id, offset, size_bytes, recipients, wide, .. } = *note else { continue };
                let id = MessageId(id);
                let place = Place { segment: survey.segment, offset };
                let entry = Entry::new(id.0, place, size_bytes, recipients);
                let spans = self.spans(&entry, wide);
                let whole = spans.as_ref().is_some_and(|spans| {
                    let held = spans.iter().all(|segment| self.held_before(*segment, survey.segment));
                    held && (tail.vouches_for(survey, *found) || self.is_whole(&entry, spans))
                });
                let spans = spans.unwrap_or_default();
                let durable = survey.proven || note.group() <= tail.synced_group;
                match self.index.get(id) {
                    Some(known) if whole && (durable || known.is_damaged()) => {
                        self.index.move_to(id, place, &spans);
                        if let Some(entry) = self.index.get_mut(id) {
                            entry.set_damaged(false);
                        }
                        self.torn.retain(|torn| *torn != id);
                    }
                    Some(_) => {
                        Branch::OlderCopy.reach();
                        self.index.add_copy(id, place, &spans);
                    }
                    None => {
                        self.index.insert(entry, &spans);
                        if let Some(entry) = self.index.get_mut(id).filter(|_| !whole) {
                            entry.set_damaged(true);
                            // Up to what is known durable it may have been acknowledged: it stays and is told of.
                            // Beyond, nobody was told that it was taken.
                            if durable {
                                Branch::Damaged.reach();
                            } else {
                                Branch::Torn.reach();
                                self.torn.push(id);
                            }
                        }
                    }
                }
            }
        }
    }

    /// The segments other than the COMMIT's that hold the message; `None` if its extents cannot be read.
    fn spans(&self, entry: &Entry, wide: bool) -> Option<Vec<u32>> {
        if !wide {
            return Some(Vec::new());
        }
        let (_, extents) = self.read_extents(entry)?;
        let mut spans: Vec<u32> = extents.iter().map(|extent| extent.segment).collect();
        spans.sort_unstable();
        spans.dedup();
        spans.retain(|segment| *segment != entry.commit.segment);
        Some(spans)
    }

    fn read_extents(&self, entry: &Entry) -> Option<(Commit, Vec<crate::record::Extent>)> {
        let Place { segment, offset } = entry.commit;
        let mut window = Window::new(self.reader.clone(), segment, self.layout.segment_bytes, 2048);
        let commit = read_commit(&mut window, self.seed(segment)?, offset, entry.id)?;
        let extents = read_extents(&mut window, |s| self.seed(s), &commit, entry.id)?;
        Some((commit, extents))
    }

    /// Reads a message of the torn tail through.
    fn is_whole(&self, entry: &Entry, spans: &[u32]) -> bool {
        let segments = core::iter::once(entry.commit.segment).chain(spans.iter().copied());
        let Some(seeds) = segments.map(|s| self.seed(s).map(|seed| (s, seed))).collect::<Option<Vec<_>>>()
        else {
            return false;
        };
        let readable = Readable { seeds, _leases: Vec::new() };
        let id = MessageId(entry.id);
        Message::open(self.reader.clone(), self.layout, id, entry.commit, entry.size_bytes, readable)
            .is_ok_and(|mut message| message.verify())
    }

    /// Fates and state, in the order in which they were written: a status segment after the one before it.
    fn take_fates(&mut self, surveys: &[Survey]) {
        for survey in surveys {
            if survey.header.purpose != Purpose::Status || !self.holds(survey.segment) {
                continue;
            }
            for (_, note) in &survey.notes {
                match note {
                    Note::Status { id, status, .. } => {
                        let id = MessageId(*id);
                        if self.index.apply(id, status)
                            && let Some(entry) = self.index.get_mut(id)
                        {
                            entry.set_status_segment(Some(survey.segment));
                        }
                    }
                    Note::Meta { meta, .. } => self.meta.apply(meta, survey.segment),
                    Note::Commit { .. } | Note::Segment { .. } => {}
                }
            }
        }
    }

    /// Torn messages count as done with. Where no record says so yet, the first write will.
    fn drop_torn(&mut self) {
        self.torn.retain(|id| self.index.get(*id).is_some_and(Entry::is_live));
        for id in &self.torn {
            let recipients = self.index.get(*id).map_or(0, |entry| entry.recipients);
            self.index.apply(*id, &Status::of_all(recipients, Fate::Torn));
        }
        self.report.torn_messages = self.torn.len() as u32;
        // Finished mail may have lost a part to reclaim, which is no damage.
        let damaged = |entry: &&Entry| entry.is_damaged() && entry.is_live();
        self.report.damaged_messages = self.index.iter_from(MessageId(0)).filter(damaged).count() as u32;
    }

    /// What stands in groups that are not known durable.
    fn gather_tail(&mut self, surveys: &[Survey], synced_group: u64) {
        let mut tail = TailContent::default();
        for survey in surveys.iter().filter(|survey| !survey.proven && self.holds(survey.segment)) {
            for (_, note) in survey.notes.iter().filter(|(_, note)| note.group() > synced_group) {
                match note {
                    Note::Commit { id, .. } => tail.messages.push(MessageId(*id)),
                    Note::Status { id, .. } => tail.fates.push(MessageId(*id)),
                    Note::Meta { .. } | Note::Segment { .. } => {
                        if tail.status_segments.last() != Some(&survey.segment) {
                            tail.status_segments.push(survey.segment);
                        }
                    }
                }
            }
        }
        tail.messages.retain(|id| self.index.get(*id).is_some_and(Entry::is_live));
        tail.fates.sort_unstable();
        tail.fates.dedup();
        self.tail = tail;
    }

    fn count_live(&mut self) {
        let recorded: Vec<u32> = self.segments.iter().filter_map(|row| row.recorded_in).collect();
        let segments = &mut self.segments;
        let mut count = |segment: u32, bytes: u64| {
            if let Some(row) = segments.get_mut(segment as usize) {
                row.count(bytes);
            }
        };
        for entry in self.index.iter_from(MessageId(0)) {
            if let Some(segment) = entry.status_segment() {
                count(segment, STATUS_FRAME_BYTES);
            }
            if !entry.is_live() {
                continue;
            }
            let parts = self.index.segments_of(entry).count() as u64;
            for segment in self.index.segments_of(entry) {
                count(segment, entry.flash_bytes() / parts);
            }
        }
        for segment in self.meta.segments().chain(recorded) {
            count(segment, STATUS_FRAME_BYTES);
        }
    }
}
