//! Where each segment stands in its life, from headers and from the records about segments.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::survey::Survey;
use crate::anchor::Opened;
use crate::landmark::{Landmark, Landmarks};
use crate::lives::opening_order;
use crate::proof::{Branch, Protection};
use crate::record::{Life, SegmentRecord};
use crate::segment::{ANCHORS, NewestTime, Purpose, Segment, SegmentHeader, State};
use crate::summary::Note;

/// The newest record about a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newest {
    pub(crate) record: SegmentRecord,
    /// The status segment it stands in.
    recorded_in: u32,
}

/// What the records about segments say.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// The newest that can be believed, by segment.
    pub(crate) newest: BTreeMap<u32, Newest>,
    /// Segments of which something newer was said that cannot.
    pub(crate) disbelieved: BTreeSet<u32>,
    /// The lives of segments that anything was said of.
    told: BTreeSet<(u32, u64)>,
}

impl Records {
    /// Reads them from surveys in order of sequence, those above `base_group`. What is not known durable counts where
    /// it keeps a segment, not where it gives one away.
    pub(crate) fn read(surveys: &[Survey], base_group: u64, synced_group: u64) -> Self {
        let mut records = Self::default();
        for survey in surveys.iter().filter(|survey| survey.header.purpose == Purpose::Status) {
            for note in survey.notes.iter() {
                let Note::Segment { group, record } = note else { continue };
                records.told.insert((record.segment, record.sequence));
                if group <= base_group {
                    continue;
                }
                if !record.life.is_in_use() && group > synced_group {
                    Branch::NotBelieved.reach();
                    records.disbelieved.insert(record.segment);
                    continue;
                }
                let found = Newest { record, recorded_in: survey.segment };
                let known = records.newest.entry(record.segment).or_insert(found);
                // What stands later is newer, also where it takes back what a mount did not believe.
                if record.sequence >= known.record.sequence {
                    *known = found;
                }
            }
        }
        records
    }

    /// Whether anything was said of a segment since it was opened with that header.
    pub(crate) fn tell_of(&self, header: &SegmentHeader) -> bool {
        self.told.contains(&(header.segment, header.sequence))
    }

    /// Adds what they say must be there.
    pub(crate) fn add_landmarks(&self, landmarks: &mut Landmarks) {
        for (segment, Newest { record, .. }) in &self.newest {
            if let Life::Left { last_group: group } = record.life {
                landmarks.add(Landmark { segment: *segment, group });
            }
        }
    }

    /// Whether anything was said of a segment since this life of it began: then that tells where it stands.
    pub(crate) fn tell_since(&self, life: &Opened) -> bool {
        self.newest.get(&life.segment).is_some_and(|newest| newest.record.sequence >= life.sequence)
    }

    /// Whether the newest that was said of a segment is that this life of it is over.
    pub(crate) fn tell_end_of(&self, life: &Opened) -> bool {
        self.newest.get(&life.segment).is_some_and(|Newest { record, .. }| {
            record.sequence > life.sequence || record.sequence == life.sequence && !record.life.is_in_use()
        })
    }

    /// How many of the surveys, which are in order of sequence, are of segments that were opened. Whoever opens one makes
    /// its header durable and tells of it before anything else is done. So where the newest are empty and no record
    /// tells of them, they were caught at that, and their headers may be gone by the next mount: they count as never
    /// opened, which is what that mount must find too. Below `known_sequence` all were opened, and one in which a landmark
    /// says that something stood has lost that.
    pub(crate) fn count_opened(
        &self,
        surveys: &[Survey],
        landmarks: &Landmarks,
        known_sequence: u64,
    ) -> usize {
        let was_opened = |survey: &Survey| {
            survey.header.sequence < known_sequence
                || !survey.is_empty()
                || self.tell_of(&survey.header)
                || survey.landmark(landmarks).is_some()
        };
        let count = surveys.iter().rposition(was_opened).map_or(0, |last| last + 1);
        if count < surveys.len() {
            Branch::NeverOpened.reach();
        }
        count
    }
}

/// Enters a segment that has a header.
pub(crate) fn enter_survey(segments: &mut [Segment], survey: &Survey) {
    let Some(row) = segments.get_mut(survey.segment as usize) else { return };
    if row.state == State::Sealed && row.sequence == survey.header.sequence {
        // A checkpoint knew it, up to where the scan began.
        row.newest = row.newest.with(survey.newest);
        row.event_bytes = match survey.is_proven() {
            true => survey.event_bytes,
            false => row.event_bytes.saturating_add(survey.event_bytes),
        };
        return;
    }
    *row = Segment::new(State::Sealed);
    row.purpose = survey.header.purpose;
    row.sequence = survey.header.sequence;
    row.erase_count = survey.header.erase_count;
    row.newest = survey.newest;
    row.event_bytes = survey.event_bytes;
    row.is_unreadable = survey.is_headless;
}

/// Enters what records say of segments.
pub(crate) fn enter_records(segments: &mut [Segment], records: &Records) {
    for (segment, Newest { record, recorded_in }) in &records.newest {
        let Some(row) = segments.get_mut(*segment as usize) else { continue };
        if row.state == State::Anchor {
            continue;
        }
        let has_header = row.state == State::Sealed;
        if has_header && row.sequence > record.sequence {
            continue;
        }
        let is_this_life = row.sequence == record.sequence;
        row.sequence = record.sequence;
        row.purpose = record.purpose;
        row.erase_count = row.erase_count.max(record.erase_count);
        row.recorded_in = Some(*recorded_in);
        row.last_group = if let Life::Left { last_group } = record.life { last_group } else { 0 };
        row.state = match record.life {
            Life::Used | Life::Left { .. } if has_header && is_this_life => State::Sealed,
            // Of a checkpoint's segments nobody asked for the header.
            Life::Used if record.purpose == Purpose::Checkpoint => State::Sealed,
            Life::Used | Life::Left { .. } if Protection::Quarantine.is_on() => State::Quarantined,
            Life::Used | Life::Left { .. } => State::Free,
            Life::Retired => State::Erasable,
            Life::Clean { since } => {
                row.free_since = since;
                State::Free
            }
            Life::Bad => State::Bad,
        };
        if row.state == State::Free || !is_this_life {
            row.newest = NewestTime::default();
            row.event_bytes = 0;
        }
    }
}

/// Enters that a root gives up segments.
pub(crate) fn enter_given_up(segments: &mut [Segment], given_up: &[Opened]) {
    for life in given_up {
        let Some(row) = segments.get_mut(life.segment as usize) else { continue };
        let is_erased = row.state == State::Free && row.sequence == life.sequence;
        if row.sequence <= life.sequence && !is_erased && !matches!(row.state, State::Anchor | State::Bad) {
            row.sequence = life.sequence;
            row.state = State::Erasable;
        }
    }
}

/// Leaves alone what was used, has no header and no record.
pub(crate) fn quarantine_headless(segments: &mut [Segment], used_segments: u32) {
    for (segment, row) in (0u32..).zip(segments) {
        let is_headless = row.state == State::Free && row.recorded_in.is_none();
        if is_headless && segment < used_segments && Protection::Quarantine.is_on() {
            row.state = State::Quarantined;
        }
    }
}

/// The first free segments in the order in which they are opened.
pub(crate) fn next_to_open(segments: &[Segment], count: usize) -> Vec<u32> {
    let mut order: Vec<(u64, u32)> = opening_order(segments).collect();
    order.sort_unstable();
    order.into_iter().take(count).map(|(_, segment)| segment).collect()
}

/// Enters a segment that no groups are appended to.
pub(crate) fn enter_header(segments: &mut [Segment], header: &SegmentHeader) {
    let Some(row) = segments.get_mut(header.segment as usize) else { return };
    *row = Segment::new(State::Sealed);
    row.purpose = header.purpose;
    row.sequence = header.sequence;
    row.erase_count = header.erase_count;
}

/// The first segments are anchors, whatever stands in them.
pub(crate) fn enter_anchors(segments: &mut [Segment]) {
    for row in segments.iter_mut().take(ANCHORS as usize) {
        row.state = State::Anchor;
        row.purpose = Purpose::Anchor;
        row.recorded_in = None;
    }
}

#[cfg(test)]
mod tests;
