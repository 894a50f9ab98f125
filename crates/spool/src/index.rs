//! What is in memory of each message: 32 bytes, and a little more for the few that are spread out or partly done.
//!
//! Ids grow by arrival, so the entries stand in order of id in one vector: a look-up is a binary search, an arrival is
//! a push. Entries that go leave a gap that is closed when a quarter of the vector is gaps.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::proof::Branch;
use crate::record::{Fate, MessageId, Place, RECIPIENTS_MAX, Status};

/// What is known of a message without reading flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) commit: Place,
    pub(crate) size_bytes: u32,
    /// The status segment with the newest record about any recipient of this message.
    status_segment: u32,
    pub(crate) recipients: u16,
    /// Recipients whose fate is not final.
    pub(crate) open: u16,
    /// The fate of all recipients, unless `flags` says that they differ.
    fate: u8,
    flags: u8,
    pub(crate) attempts: u16,
}

const _: () = assert!(size_of::<Entry>() == 32);

const NO_SEGMENT: u32 = u32::MAX;
const FLAG_MIXED: u8 = 1;
const FLAG_DAMAGED: u8 = 2;
const FLAG_GONE: u8 = 4;
/// The newest records about its recipients stand in more status segments than one.
const FLAG_SCATTERED: u8 = 8;
/// It has frames in other segments than the one of its COMMIT.
const FLAG_WIDE: u8 = 16;

impl Entry {
    pub(crate) fn new(id: u64, commit: Place, size_bytes: u32, recipients: u16) -> Self {
        Self {
            id,
            commit,
            size_bytes,
            status_segment: NO_SEGMENT,
            recipients,
            open: recipients,
            fate: Fate::Queued as u8,
            flags: 0,
            attempts: 0,
        }
    }

    pub(crate) fn status_segment(&self) -> Option<u32> {
        (self.status_segment != NO_SEGMENT).then_some(self.status_segment)
    }

    /// Notes that a record about some or all recipients is now the newest one.
    pub(crate) fn record_status(&mut self, segment: u32, is_of_all: bool) {
        let is_elsewhere = self.status_segment().is_some_and(|before| before != segment);
        if is_of_all {
            self.flags &= !FLAG_SCATTERED;
        } else if is_elsewhere {
            self.flags |= FLAG_SCATTERED;
        }
        self.status_segment = segment;
    }

    /// Notes that the newest records about all recipients stand in the segment of the very newest.
    pub(crate) fn gather_status(&mut self) {
        self.flags &= !FLAG_SCATTERED;
    }

    /// Whether that may be in any status segment.
    pub(crate) fn is_scattered(&self) -> bool {
        self.flags & FLAG_SCATTERED != 0
    }

    /// Whether the newest word on some recipient may stand in that status segment.
    pub(crate) fn has_status_in(&self, segment: u32) -> bool {
        self.status_segment() == Some(segment) || self.flags & FLAG_SCATTERED != 0
    }

    /// Whether some recipient's fate is not final.
    pub(crate) fn is_live(&self) -> bool {
        self.open > 0
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.flags & FLAG_DAMAGED != 0
    }

    pub(crate) fn set_damaged(&mut self, damaged: bool) {
        self.flags = if damaged { self.flags | FLAG_DAMAGED } else { self.flags & !FLAG_DAMAGED };
    }

    /// What the message takes on flash, estimated: the same when it is counted and when it is discounted.
    pub(crate) fn flash_bytes(&self) -> u64 {
        flash_bytes(u64::from(self.size_bytes), u32::from(self.recipients))
    }
}

/// What a message takes on flash, estimated from its size and recipients.
pub(crate) const fn flash_bytes(size_bytes: u64, recipients: u32) -> u64 {
    // Headers of chunks are below 1/1,024; BEGIN, COMMIT and the end of a group take some 384 bytes.
    size_bytes.saturating_add(size_bytes / 1024 + 384 + 64 * recipients as u64)
}

/// A message of the index as a checkpoint holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Saved {
    id: u64,
    commit: Place,
    size_bytes: u32,
    recipients: u16,
    status_segment: Option<u32>,
    fate: u8,
    flags: u8,
    attempts: u16,
    /// One fate for each recipient, where they differ.
    fates: Vec<u8>,
    spans: Vec<u32>,
    copies: Vec<(Place, Vec<u32>)>,
}

/// The table of messages.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: Vec<Entry>,
    gone: usize,
    /// The fates of recipients, where they differ within a message.
    fates: BTreeMap<u64, Box<[u8]>>,
    /// For wide messages, the segments other than the COMMIT's.
    spans: BTreeMap<u64, Box<[u32]>>,
    /// For messages that were moved, the copies in segments that are not yet given up. While there is one, the message
    /// must be remembered: the next mount would find it.
    copies: BTreeMap<u64, Vec<Copy>>,
}

/// What a message loses with a segment that is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nothing that counts.
    Nothing,
    /// A part of it.
    Part,
    /// The last copy of its COMMIT.
    All,
}

/// A copy of a message besides the one in its entry.
#[derive(Debug)]
struct Copy {
    commit: Place,
    spans: Box<[u32]>,
}

impl Index {
    /// The messages it holds.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.gone
    }

    /// The memory of the table in bytes, roughly.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + (self.fates.len() + self.spans.len()) * 64
    }

    fn position(&self, id: u64) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&id, |entry| entry.id)
    }

    pub(crate) fn get(&self, id: MessageId) -> Option<&Entry> {
        let at = self.position(id.0).ok()?;
        self.entries.get(at).filter(|entry| entry.flags & FLAG_GONE == 0)
    }

    pub(crate) fn get_mut(&mut self, id: MessageId) -> Option<&mut Entry> {
        let at = self.position(id.0).ok()?;
        self.entries.get_mut(at).filter(|entry| entry.flags & FLAG_GONE == 0)
    }

    /// All messages in order of arrival, from `first` on.
    pub(crate) fn iter_from(&self, first: MessageId) -> impl Iterator<Item = &Entry> {
        let from = match self.position(first.0) {
            Ok(at) | Err(at) => at,
        };
        self.entries.iter().skip(from).filter(|entry| entry.flags & FLAG_GONE == 0)
    }

    /// Makes room for so many messages, and no more than that.
    pub(crate) fn reserve(&mut self, messages: usize) {
        self.entries.reserve_exact(messages);
    }

    /// All messages as a checkpoint holds them, in order of id.
    pub(crate) fn save(&self) -> impl Iterator<Item = Saved> {
        self.iter_from(MessageId(0)).map(|entry| Saved {
            id: entry.id,
            commit: entry.commit,
            size_bytes: entry.size_bytes,
            recipients: entry.recipients,
            status_segment: entry.status_segment(),
            fate: entry.fate,
            flags: entry.flags,
            attempts: entry.attempts,
            fates: self.fates.get(&entry.id).map(|fates| fates.to_vec()).unwrap_or_default(),
            spans: self.spans.get(&entry.id).map(|spans| spans.to_vec()).unwrap_or_default(),
            copies: self
                .copies
                .get(&entry.id)
                .map(Vec::as_slice)
                .unwrap_or_default()
                .iter()
                .map(|copy| (copy.commit, copy.spans.to_vec()))
                .collect(),
        })
    }

    /// Takes in a message from a checkpoint, each after those with lower ids. `None` if it cannot be one of a volume
    /// with so many segments.
    pub(crate) fn load(&mut self, saved: Saved, segments: u32) -> Option<()> {
        let mixed = saved.flags & FLAG_MIXED != 0;
        let in_order = self.entries.last().is_none_or(|last| last.id < saved.id);
        let fates_fit = saved.fates.len() == if mixed { usize::from(saved.recipients) } else { 0 };
        let places = core::iter::once(&(saved.commit, saved.spans.clone()))
            .chain(&saved.copies)
            .all(|(commit, spans)| commit.segment < segments && spans.iter().all(|span| *span < segments));
        let is_told_within = saved.status_segment.is_none_or(|segment| segment < segments);
        if !in_order || !fates_fit || !places || !is_told_within || saved.recipients > RECIPIENTS_MAX {
            return None;
        }
        let is_open = |fate: &u8| !Fate::from_u8(*fate).is_final();
        let open = match mixed {
            true => saved.fates.iter().filter(|fate| is_open(fate)).count(),
            false if is_open(&saved.fate) => usize::from(saved.recipients),
            false => 0,
        };
        let mut entry = Entry::new(saved.id, saved.commit, saved.size_bytes, saved.recipients);
        entry.status_segment = saved.status_segment.unwrap_or(NO_SEGMENT);
        entry.fate = saved.fate;
        entry.flags = saved.flags & (FLAG_MIXED | FLAG_DAMAGED | FLAG_SCATTERED);
        entry.attempts = saved.attempts;
        entry.open = u16::try_from(open).unwrap_or(u16::MAX);
        self.entries.push(entry);
        if mixed {
            self.fates.insert(saved.id, saved.fates.into());
        }
        if !saved.spans.is_empty() {
            if let Some(entry) = self.entries.last_mut() {
                entry.flags |= FLAG_WIDE;
            }
            self.spans.insert(saved.id, saved.spans.into());
        }
        if !saved.copies.is_empty() {
            let copies = saved.copies.into_iter();
            let copies = copies.map(|(commit, spans)| Copy { commit, spans: spans.into() }).collect();
            self.copies.insert(saved.id, copies);
        }
        Some(())
    }

    /// Lets each message that no longer stands where it stood when it was saved fall back to a copy, and marks as damaged
    /// what has lost a part. Gives the messages that have no copy.
    pub(crate) fn keep_what_stands(
        &mut self,
        holds: impl Fn(u32) -> bool,
        before: impl Fn(u32, u32) -> bool,
    ) -> BTreeSet<MessageId> {
        self.copies.retain(|_, copies| {
            copies.retain(|copy| holds(copy.commit.segment));
            !copies.is_empty()
        });
        let mut displaced: BTreeSet<MessageId> = self
            .iter_from(MessageId(0))
            .filter(|entry| !holds(entry.commit.segment))
            .map(|entry| MessageId(entry.id))
            .collect();
        displaced.retain(|id| !self.fall_back(*id));
        let parted: Vec<MessageId> = self
            .spans
            .iter()
            .filter(|(id, spans)| {
                let at = self.get(MessageId(**id)).map(|entry| entry.commit.segment);
                at.is_some_and(|at| !spans.iter().all(|span| before(*span, at)))
            })
            .map(|(id, _)| MessageId(*id))
            .collect();
        for id in parted {
            if let Some(entry) = self.get_mut(id) {
                entry.set_damaged(true);
            }
        }
        displaced
    }

    /// Takes from each live message the segments that no longer hold a part of it: what is live is counted where it stands.
    pub(crate) fn leave_parts(&mut self, before: impl Fn(u32, u32) -> bool) {
        let live = self.spans.iter().filter_map(|(id, spans)| {
            let entry = self.get(MessageId(*id)).filter(|entry| entry.is_live())?;
            let left = spans.iter().copied().filter(|span| before(*span, entry.commit.segment));
            let left: Vec<u32> = left.collect();
            (left.len() < spans.len()).then_some((MessageId(*id), left))
        });
        let parted: Vec<(MessageId, Vec<u32>)> = live.collect();
        for (id, left) in parted {
            self.set_spans(id, &left);
        }
    }

    /// Takes from each message the segment that told of it, if nothing there counts any more. Gives the messages.
    pub(crate) fn leave_status(&mut self, counts: impl Fn(u32) -> bool) -> Vec<MessageId> {
        let is_lost = |entry: &&mut Entry| {
            entry.flags & FLAG_GONE == 0 && entry.status_segment().is_some_and(|segment| !counts(segment))
        };
        let lost = self.entries.iter_mut().filter(is_lost).map(|entry| {
            entry.status_segment = NO_SEGMENT;
            MessageId(entry.id)
        });
        lost.collect()
    }

    /// Makes another place the one of a message, without a thought of the one before.
    pub(crate) fn relocate(&mut self, id: MessageId, commit: Place, spans: &[u32]) {
        self.set_spans(id, spans);
        if let Some(entry) = self.get_mut(id) {
            entry.commit = commit;
            entry.set_damaged(false);
        }
    }

    /// Puts in a message.
    pub(crate) fn insert(&mut self, entry: Entry, spans: &[u32]) {
        match self.position(entry.id) {
            Ok(at) => {
                if self.entries[at].flags & FLAG_GONE != 0 {
                    self.gone -= 1;
                }
                self.entries[at] = entry;
            }
            Err(at) => {
                if self.entries.len() == self.entries.capacity() {
                    // Doubling would cost as much memory again as a million messages take.
                    self.entries.reserve_exact(self.entries.len() / 8 + 1024);
                }
                self.entries.insert(at, entry);
            }
        }
        self.set_spans(MessageId(entry.id), spans);
    }

    /// Takes a message out.
    pub(crate) fn remove(&mut self, id: MessageId) {
        self.fates.remove(&id.0);
        self.spans.remove(&id.0);
        self.copies.remove(&id.0);
        if let Some(entry) = self.get_mut(id) {
            entry.flags |= FLAG_GONE;
            self.gone += 1;
        }
        if self.gone > 1024 && self.gone > self.entries.len() / 4 {
            self.entries.retain(|entry| entry.flags & FLAG_GONE == 0);
            self.gone = 0;
        }
    }

    /// Makes another copy the one that counts, and remembers the one before.
    pub(crate) fn move_to(&mut self, id: MessageId, commit: Place, spans: &[u32]) {
        let Some(entry) = self.get_mut(id) else { return };
        let before = core::mem::replace(&mut entry.commit, commit);
        let spans_before = self.set_spans(id, spans);
        self.copies.entry(id.0).or_default().push(Copy { commit: before, spans: spans_before });
    }

    /// Remembers a copy that does not count.
    pub(crate) fn add_copy(&mut self, id: MessageId, commit: Place, spans: &[u32]) {
        self.copies.entry(id.0).or_default().push(Copy { commit, spans: spans.into() });
    }

    fn set_spans(&mut self, id: MessageId, spans: &[u32]) -> Box<[u32]> {
        if let Some(entry) = self.get_mut(id) {
            let flags = entry.flags & !FLAG_WIDE;
            entry.flags = if spans.is_empty() { flags } else { flags | FLAG_WIDE };
        }
        let before =
            if spans.is_empty() { self.spans.remove(&id.0) } else { self.spans.insert(id.0, spans.into()) };
        before.unwrap_or_default()
    }

    /// The copies that are remembered besides those that count: whose, and where their COMMIT stands.
    pub(crate) fn copies(&self) -> impl Iterator<Item = (MessageId, u32)> {
        let copies = self.copies.iter();
        copies.flat_map(|(id, copies)| copies.iter().map(|copy| (MessageId(*id), copy.commit.segment)))
    }

    /// Whether any part of a message, as it counts, stands in a segment.
    pub(crate) fn holds(&self, entry: &Entry, segment: u32) -> bool {
        self.segments_of(entry).any(|held| held == segment)
    }

    /// The same, its other copies included.
    pub(crate) fn touches(&self, entry: &Entry, segment: u32) -> bool {
        let of_copies = || self.copies.get(&entry.id).into_iter().flatten();
        self.holds(entry, segment) || of_copies().any(|copy| copy.commit.segment == segment)
    }

    /// Takes from a message what it has in a segment that is given up.
    pub(crate) fn leave(&mut self, id: MessageId, segment: u32) -> Left {
        if let Some(copies) = self.copies.get_mut(&id.0) {
            copies.retain(|copy| copy.commit.segment != segment);
            if copies.is_empty() {
                self.copies.remove(&id.0);
            }
        }
        let is_here = |entry: &Entry| entry.commit.segment == segment;
        if self.get(id).is_some_and(is_here) && !self.fall_back(id) {
            return Left::All;
        }
        let has_part = self.get(id).is_some_and(|entry| self.holds(entry, segment));
        if has_part { Left::Part } else { Left::Nothing }
    }

    /// Makes a remembered copy the one that counts, in the place of one that is given up. Whether there was one.
    fn fall_back(&mut self, id: MessageId) -> bool {
        let Some(copies) = self.copies.get_mut(&id.0) else { return false };
        let Some(copy) = copies.pop() else { return false };
        Branch::FallBack.reach();
        if copies.is_empty() {
            self.copies.remove(&id.0);
        }
        self.set_spans(id, &copy.spans);
        if let Some(entry) = self.get_mut(id) {
            entry.commit = copy.commit;
        }
        true
    }

    /// The segments that hold a message, that of its COMMIT first.
    pub(crate) fn segments_of(&self, entry: &Entry) -> impl Iterator<Item = u32> {
        let spans = if entry.flags & FLAG_WIDE == 0 { None } else { self.spans.get(&entry.id) };
        let others = spans.map_or(&[][..], |spans| spans);
        core::iter::once(entry.commit.segment).chain(others.iter().copied())
    }

    /// Where the copies of a message stand that do not count.
    #[cfg(feature = "proof")]
    pub(crate) fn copies_of(&self, entry: &Entry) -> Vec<Place> {
        let copies = self.copies.get(&entry.id).map(Vec::as_slice).unwrap_or_default();
        let mut places: Vec<Place> = copies.iter().map(|copy| copy.commit).collect();
        places.sort_unstable_by_key(|place| (place.segment, place.offset));
        places
    }

    /// The fate of one recipient.
    pub(crate) fn fate(&self, entry: &Entry, recipient: u16) -> Fate {
        if entry.flags & FLAG_MIXED == 0 {
            return Fate::from_u8(entry.fate);
        }
        let fates = self.fates.get(&entry.id);
        Fate::from_u8(fates.and_then(|f| f.get(usize::from(recipient))).copied().unwrap_or_default())
    }

    /// Whether any recipient has that fate.
    pub(crate) fn has(&self, entry: &Entry, fate: Fate) -> bool {
        let mixed = if entry.flags & FLAG_MIXED == 0 { None } else { self.fates.get(&entry.id) };
        mixed.map_or(entry.fate == fate as u8, |fates| fates.contains(&(fate as u8)))
    }

    /// Applies a status to a message, and says whether all recipients are there to take it.
    pub(crate) fn apply(&mut self, id: MessageId, status: &Status) -> bool {
        let Ok(at) = self.position(id.0) else { return false };
        let entry = &mut self.entries[at];
        let recipients = usize::from(entry.recipients);
        let range = usize::from(status.first)..usize::from(status.first) + usize::from(status.count);
        if range.is_empty() || range.end > recipients {
            return false;
        }
        entry.attempts = entry.attempts.max(status.attempts);
        if range.len() == recipients {
            entry.flags &= !FLAG_MIXED;
            entry.fate = status.fate as u8;
            entry.open = if status.fate.is_final() { 0 } else { entry.recipients };
            self.fates.remove(&id.0);
            return true;
        }
        let uniform = entry.fate;
        let fates = self.fates.entry(id.0).or_insert_with(|| alloc::vec![uniform; recipients].into());
        fates[range].fill(status.fate as u8);
        entry.flags |= FLAG_MIXED;
        let open = fates.iter().filter(|fate| !Fate::from_u8(**fate).is_final()).count();
        entry.open = u16::try_from(open).unwrap_or(u16::MAX);
        if fates.iter().all(|fate| *fate == fates[0]) {
            entry.fate = fates[0];
            entry.flags &= !FLAG_MIXED;
            self.fates.remove(&id.0);
        }
        true
    }

    /// The runs of recipients with one fate each.
    pub(crate) fn runs(&self, entry: &Entry) -> Vec<(u16, u16, Fate)> {
        let mut runs: Vec<(u16, u16, Fate)> = Vec::new();
        if entry.flags & FLAG_MIXED == 0 {
            runs.push((0, entry.recipients, Fate::from_u8(entry.fate)));
            return runs;
        }
        for recipient in 0..entry.recipients {
            let fate = self.fate(entry, recipient);
            match runs.last_mut() {
                Some((_, count, last)) if *last == fate => *count += 1,
                _ => runs.push((recipient, 1, fate)),
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Stamp;

    fn status(first: u16, count: u16, fate: Fate) -> Status {
        Status { first, count, fate, attempts: 1, reply_code: 250, at: Stamp::default() }
    }

    fn with_one(recipients: u16) -> Index {
        let mut index = Index::default();
        index.insert(Entry::new(7, Place { segment: 1, offset: 64 }, 100, recipients), &[]);
        index
    }

    #[test]
    fn recipients_of_one_message_have_fates_of_their_own() {
        let mut index = with_one(3);
        assert!(index.apply(MessageId(7), &status(1, 1, Fate::Delivered)));
        let entry = *index.get(MessageId(7)).unwrap();
        assert_eq!(entry.open, 2);
        assert_eq!(index.runs(&entry), [(0, 1, Fate::Queued), (1, 1, Fate::Delivered), (2, 1, Fate::Queued)]);
        assert!(index.apply(MessageId(7), &status(0, 3, Fate::Delivered)));
        assert!(!index.get(MessageId(7)).unwrap().is_live());
        assert!(index.fates.is_empty(), "what is alike again takes no memory");
    }

    #[test]
    fn a_status_beyond_the_recipients_changes_nothing() {
        let mut index = with_one(2);
        assert!(!index.apply(MessageId(7), &status(1, 2, Fate::Delivered)));
        assert!(!index.apply(MessageId(8), &status(0, 1, Fate::Delivered)));
        assert_eq!(index.get(MessageId(7)).unwrap().open, 2);
    }

    #[test]
    fn a_message_lets_go_of_segments_that_count_no_more() {
        let mut index = with_one(2);
        index.insert(Entry::new(8, Place { segment: 5, offset: 64 }, 100, 1), &[2, 3, 4]);
        index.insert(Entry::new(9, Place { segment: 5, offset: 96 }, 100, 1), &[3]);
        index.apply(MessageId(9), &status(0, 1, Fate::Delivered));
        for (id, segment) in [(7, 10), (8, 11)] {
            index.get_mut(MessageId(id)).unwrap().record_status(segment, true);
        }
        assert_eq!(index.leave_status(|segment| segment != 10), [MessageId(7)]);
        let told_of = |id: u64| index.get(MessageId(id)).unwrap().status_segment();
        assert_eq!([7, 8, 9].map(told_of), [None, Some(11), None]);
        assert_eq!(index.leave_status(|segment| segment != 10), [], "once");

        index.leave_parts(|segment, later| segment != 3 && later == 5);
        let parts = |id: u64| {
            let mut parts: Vec<u32> = index.segments_of(index.get(MessageId(id)).unwrap()).collect();
            parts.sort_unstable();
            parts
        };
        assert_eq!(
            (parts(8), parts(9)),
            (alloc::vec![2, 4, 5], alloc::vec![3, 5]),
            "what is done is not counted"
        );
    }

    #[test]
    fn a_message_of_a_checkpoint_is_taken_only_if_it_can_be_one() {
        const SEGMENTS: u32 = 16;
        let saved = Saved {
            id: 8,
            commit: Place { segment: 15, offset: 64 },
            size_bytes: 100,
            recipients: 1,
            status_segment: Some(15),
            fate: 0,
            flags: 0,
            attempts: 0,
            fates: Vec::new(),
            spans: alloc::vec![15],
            copies: Vec::new(),
        };
        let is_taken = |saved: Saved| with_one(1).load(saved, SEGMENTS).is_some();
        assert!(is_taken(saved.clone()));
        assert!(is_taken(Saved { status_segment: None, ..saved.clone() }));
        assert!(is_taken(Saved { recipients: RECIPIENTS_MAX, ..saved.clone() }));
        for lie in [
            Saved { id: 7, ..saved.clone() },
            Saved { fates: alloc::vec![0], ..saved.clone() },
            Saved { commit: Place { segment: SEGMENTS, offset: 64 }, ..saved.clone() },
            Saved { spans: alloc::vec![SEGMENTS], ..saved.clone() },
            Saved { status_segment: Some(SEGMENTS), ..saved.clone() },
            Saved { recipients: RECIPIENTS_MAX + 1, ..saved.clone() },
        ] {
            assert!(!is_taken(lie.clone()), "{lie:?}");
        }
    }

    #[test]
    fn messages_come_and_go_in_any_order() {
        let mut index = Index::default();
        for id in (0..5000u64).rev() {
            index.insert(Entry::new(id, Place { segment: 0, offset: 0 }, 1, 1), &[]);
        }
        for id in (0..5000).filter(|id| id % 3 != 0) {
            index.remove(MessageId(id));
        }
        assert_eq!(index.len(), 5000 - 3333);
        let left: Vec<u64> = index.iter_from(MessageId(10)).map(|entry| entry.id).take(3).collect();
        assert_eq!(left, [12, 15, 18]);
        assert!(index.get(MessageId(13)).is_none());
        assert!(index.entries.len() < 3000, "gaps are closed");
    }
}
