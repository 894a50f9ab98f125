//! What segments hold: messages, their fates, state, and the tail.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use penstock_flash::ReadAt;

use super::survey::{Survey, unbroken_to};
use super::{Keep, Volume};
use crate::checkpoint::Ground;
use crate::frame::Seed;
use crate::index::{Entry, Index};
use crate::log::STATUS_FRAME_BYTES;
use crate::proof::Branch;
use crate::reader::{Message, Readable, read_commit, read_extents};
use crate::record::{Commit, Extent, Fate, MessageId, Place, RECIPIENTS_MAX, Status};
use crate::segment::{Purpose, Segment, SegmentHeader, State};
use crate::state::MetaTable;
use crate::summary::Note;
use crate::walk::Window;

/// What stands in the tail and is written anew. On a medium that programs cells, a program that was cut can read right a
/// few times and then no more (a page cut in mid-program; seen on linux-mtd in October 2011). On a block device, what a
/// sync failed to write still reads back from the caches above it, and no later sync writes it.
#[derive(Debug, Default)]
pub(crate) struct TailContent {
    /// Messages whose COMMIT stands there.
    pub(crate) messages: Vec<MessageId>,
    /// Fates, state and records about segments, in the order in which they were written.
    pub(crate) records: Vec<Note>,
    /// Segments of which a record there is not believed, and would count once the tail is built upon; and those of which
    /// none counts any more.
    pub(crate) disbelieved: Vec<u32>,
    /// Segments that a stop has left open of which no record says yet how far they go.
    pub(crate) left_open: Vec<u32>,
}

impl TailContent {
    pub(crate) fn is_empty(&self) -> bool {
        let Self { messages, records, disbelieved, left_open } = self;
        messages.is_empty() && records.is_empty() && disbelieved.is_empty() && left_open.is_empty()
    }
}

/// What was found.
pub(crate) struct Content {
    pub(crate) index: Index,
    pub(crate) meta: MetaTable,
    pub(crate) torn: Vec<MessageId>,
    pub(crate) tail: TailContent,
    pub(crate) damaged_messages: u32,
}

/// Takes in what stands in the segments that were surveyed, on the ground of what was known before.
pub(crate) fn take_content<R: ReadAt>(
    volume: &Volume<R>,
    ground: Ground,
    surveys: Vec<Survey>,
    segments: &mut [Segment],
    synced_group: u64,
    keep: Keep,
) -> Content {
    let mut taking = Taking {
        volume,
        segments,
        base_group: ground.counters.synced_group,
        synced_group,
        unbroken_to: unbroken_to(&surveys, synced_group),
        keep,
        displaced: BTreeSet::new(),
        content: Content {
            index: ground.index,
            meta: ground.meta,
            torn: Vec::new(),
            tail: TailContent::default(),
            damaged_messages: 0,
        },
    };
    let rows = &*taking.segments;
    // A segment that was used again since is another one.
    let stands = |segment: u32| {
        let sequence = ground.segments.get(segment as usize).map(|row| row.sequence);
        holds_mail(rows, segment) && rows.get(segment as usize).map(|row| row.sequence) == sequence
    };
    let before = |segment: u32, later: u32| stands(segment) && held_before(rows, segment, later);
    taking.displaced = taking.content.index.keep_what_stands(stands, before);
    taking.take_messages(&surveys);
    core::mem::take(&mut taking.displaced).into_iter().for_each(|id| taking.content.index.remove(id));
    taking.take_fates(&surveys);
    taking.drop_torn();
    taking.gather_tail(&surveys);
    drop(surveys);
    taking.leave_what_counts_no_more();
    taking.count_live();
    taking.content
}

/// Whether what a survey found counts: its segment is in use, by that life, and for what it was opened for.
fn counts(segments: &[Segment], survey: &Survey) -> bool {
    let Some(row) = segments.get(survey.segment as usize) else { return false };
    let SegmentHeader { sequence, purpose, .. } = survey.header;
    // Which of its heads a segment of mail belongs to may be a guess.
    let is_of_purpose = row.purpose == purpose || row.purpose.holds_mail() && purpose.holds_mail();
    row.state == State::Sealed && row.sequence == sequence && is_of_purpose
}

/// Whether parts of messages may stand in a segment.
fn holds_mail(segments: &[Segment], segment: u32) -> bool {
    let may = |row: &Segment| row.state == State::Sealed && row.purpose.holds_mail();
    segments.get(segment as usize).is_some_and(may)
}

/// Whether a segment still has what a message had there that ends in a later one. If it was used again since, it was
/// opened after that one.
fn held_before(segments: &[Segment], segment: u32, later: u32) -> bool {
    let sequence = |segment: u32| segments.get(segment as usize).map(|row| row.sequence);
    holds_mail(segments, segment) && sequence(segment) < sequence(later)
}

struct Taking<'a, R> {
    volume: &'a Volume<R>,
    segments: &'a mut [Segment],
    /// What stands in groups up to this one is in the ground.
    base_group: u64,
    synced_group: u64,
    unbroken_to: u64,
    keep: Keep,
    /// Messages that no longer stand where the checkpoint knew them. Where one was moved since, its fates go with it.
    displaced: BTreeSet<MessageId>,
    content: Content,
}

impl<R: ReadAt> Taking<'_, R> {
    fn seed(&self, segment: u32) -> Option<Seed> {
        let row = self.segments.get(segment as usize)?;
        (row.state == State::Sealed).then(|| self.volume.seed(row.sequence))
    }

    /// The notes of a survey that say something new.
    fn notes_of<'s>(&self, survey: &'s Survey) -> impl Iterator<Item = Note> + use<'s, R> {
        let known = match self.keep {
            Keep::Everything => self.base_group,
            // Without an index only the tail matters.
            Keep::Segments => self.synced_group,
        };
        survey.notes.iter().filter(move |note| note.group() > known)
    }

    fn take_messages(&mut self, surveys: &[Survey]) {
        // Copies after what they were copied from.
        let of = |purpose: Purpose| surveys.iter().filter(move |survey| survey.header.purpose == purpose);
        for survey in of(Purpose::Hot).chain(of(Purpose::Moved)) {
            if counts(self.segments, survey) {
                self.notes_of(survey).for_each(|note| self.take_message(survey, &note));
            }
        }
    }

    fn take_message(&mut self, survey: &Survey, note: &Note) {
        let Note::Commit { group, id, offset, size_bytes, recipients, wide } = *note else { return };
        if recipients > RECIPIENTS_MAX {
            // No log writes that, and a fate may be held for each.
            return;
        }
        let id = MessageId(id);
        let place = Place { segment: survey.segment, offset };
        let entry = Entry::new(id.0, place, size_bytes, recipients);
        let spans = self.spans(&entry, wide);
        let whole = spans.as_ref().is_some_and(|spans| {
            let held = spans.iter().all(|segment| held_before(self.segments, *segment, survey.segment));
            held && (survey.vouches_for(note, self.unbroken_to) || self.is_whole(&entry, spans))
        });
        let spans = spans.unwrap_or_default();
        let durable = survey.is_proven() || group <= self.synced_group;
        let Content { index, torn, .. } = &mut self.content;
        if self.displaced.remove(&id) {
            index.relocate(id, place, &spans);
        } else if index.get(id).is_none() {
            index.insert(entry, &spans);
        } else {
            return self.take_copy(id, place, &spans, whole, durable);
        }
        if whole {
            return;
        }
        if let Some(entry) = index.get_mut(id) {
            entry.set_damaged(true);
        }
        // Up to what is known durable it may have been acknowledged: it stays and is told of. Beyond, nobody was told
        // that it was taken.
        if durable {
            Branch::Damaged.reach();
        } else {
            Branch::Torn.reach();
            torn.push(id);
        }
    }

    /// Takes in a copy of a message that is known.
    fn take_copy(&mut self, id: MessageId, place: Place, spans: &[u32], whole: bool, durable: bool) {
        let Content { index, torn, .. } = &mut self.content;
        match index.get(id) {
            Some(known) if known.commit == place => {}
            Some(known) if whole && (durable || known.is_damaged()) => {
                index.move_to(id, place, spans);
                if let Some(entry) = index.get_mut(id) {
                    entry.set_damaged(false);
                }
                torn.retain(|torn| *torn != id);
            }
            _ => {
                Branch::CopyNotBelieved.reach();
                index.add_copy(id, place, spans);
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
        spans.iter().all(|span| (*span as usize) < self.segments.len()).then_some(spans)
    }

    fn read_extents(&self, entry: &Entry) -> Option<(Commit, Vec<Extent>)> {
        let Place { segment, offset } = entry.commit;
        let reader = self.volume.reader.clone();
        let mut window = Window::new(reader, segment, self.volume.layout.segment_bytes, 2048);
        let commit = read_commit(&mut window, self.seed(segment)?, offset, entry.id)?;
        let bytes_max = self.volume.geometry.capacity_bytes();
        let extents = read_extents(&mut window, |s| self.seed(s), &commit, entry.id, bytes_max)?;
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
        let reader = self.volume.reader.clone();
        Message::open(
            reader,
            self.volume.layout,
            MessageId(entry.id),
            entry.commit,
            entry.size_bytes,
            readable,
        )
        .is_ok_and(|mut message| message.verify())
    }

    /// Fates and state, in the order in which they were written: a status segment after the one before it.
    fn take_fates(&mut self, surveys: &[Survey]) {
        for survey in surveys {
            if survey.header.purpose != Purpose::Status || !counts(self.segments, survey) {
                continue;
            }
            for note in self.notes_of(survey) {
                let Content { index, meta: table, .. } = &mut self.content;
                match note {
                    Note::Status { id, status, .. } => {
                        let id = MessageId(id);
                        if index.apply(id, &status)
                            && let Some(entry) = index.get_mut(id)
                        {
                            entry.record_status(survey.segment, status.count == entry.recipients);
                        }
                    }
                    Note::Meta { meta, .. } if self.keep == Keep::Everything => {
                        table.apply(&meta, survey.segment);
                    }
                    Note::Commit { .. } | Note::Segment { .. } | Note::Meta { .. } => {}
                }
            }
        }
    }

    /// Torn messages count as done with. Where no record says so yet, the first write will.
    fn drop_torn(&mut self) {
        let Content { index, torn, damaged_messages, .. } = &mut self.content;
        torn.retain(|id| index.get(*id).is_some_and(Entry::is_live));
        for id in torn.iter() {
            let recipients = index.get(*id).map_or(0, |entry| entry.recipients);
            index.apply(*id, &Status::of_all(recipients, Fate::Torn));
        }
        // Finished mail may have lost a part to reclaim, which is no damage.
        let damaged = |entry: &&Entry| entry.is_damaged() && entry.is_live();
        *damaged_messages = index.iter_from(MessageId(0)).filter(damaged).count() as u32;
    }

    /// What stands in groups that are not known durable.
    fn gather_tail(&mut self, surveys: &[Survey]) {
        let Content { index, tail, .. } = &mut self.content;
        let unproven = surveys.iter().filter(|s| !s.is_proven() && counts(self.segments, s));
        for note in unproven.flat_map(|survey| survey.notes.iter()) {
            match note {
                note if note.group() <= self.synced_group => {}
                Note::Commit { id, .. } => {
                    let id = MessageId(id);
                    if index.get(id).is_some_and(Entry::is_live) {
                        tail.messages.push(id);
                    }
                }
                note => tail.records.push(note),
            }
        }
        if !tail.is_empty() {
            Branch::TailToSettle.reach();
        }
    }

    /// Lets go of segments that count no more: something else may be counted in their place by now. What was told there is
    /// told anew. Every newest word stands in a segment that counts, unless rot has taken it: then an older one is left, or
    /// what a checkpoint says.
    fn leave_what_counts_no_more(&mut self) {
        let rows = &*self.segments;
        let counts = |segment: u32| {
            let is_status = |row: &Segment| row.state == State::Sealed && row.purpose == Purpose::Status;
            rows.get(segment as usize).is_some_and(is_status)
        };
        let untold = |row: &Segment| row.recorded_in.is_some_and(|segment| !counts(segment));
        let lives = (0u32..).zip(rows).filter(|(_, row)| untold(row)).map(|(segment, _)| segment);
        let lives: Vec<u32> = lives.collect();
        let Content { index, meta, tail, .. } = &mut self.content;
        let group = self.synced_group;
        index.leave_parts(|segment, later| held_before(rows, segment, later));
        let fates = index.leave_status(counts).into_iter();
        let fates = fates.map(|id| Note::Status { group, id: id.0, status: Status::of_all(0, Fate::Queued) });
        tail.records.extend(fates);
        tail.records.extend(meta.leave_segments(counts).into_iter().map(|meta| Note::Meta { group, meta }));
        for segment in lives {
            self.segments[segment as usize].recorded_in = None;
            self.content.tail.disbelieved.push(segment);
        }
    }

    fn count_live(&mut self) {
        let recorded: Vec<u32> = self.segments.iter().filter_map(|row| row.recorded_in).collect();
        let segments = &mut self.segments;
        let mut count = |segment: u32, bytes: u64| {
            if let Some(row) = segments.get_mut(segment as usize) {
                row.count(bytes);
            }
        };
        let Content { index, meta, .. } = &self.content;
        for entry in index.iter_from(MessageId(0)) {
            if let Some(segment) = entry.status_segment() {
                count(segment, STATUS_FRAME_BYTES);
            }
            if !entry.is_live() {
                continue;
            }
            let parts = index.segments_of(entry).count() as u64;
            for segment in index.segments_of(entry) {
                count(segment, entry.flash_bytes() / parts);
            }
        }
        for segment in meta.segments().chain(recorded) {
            count(segment, STATUS_FRAME_BYTES);
        }
    }
}

#[cfg(test)]
mod tests;
