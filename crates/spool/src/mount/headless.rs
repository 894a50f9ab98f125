//! Segments that lost both copies of their header. The header seeds the CRCs of all frames, but what it says can be had
//! elsewhere: the status head tells of each segment in use with its sequence number, and where that is lost too there
//! are not many numbers to try.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use penstock_flash::ReadAt;

use super::lives::next_to_open;
use super::survey::Survey;
use super::{Keep, SUSPECTS, Volume};
use crate::anchor::Opened;
use crate::frame::{self, Header};
use crate::landmark;
use crate::reading;
use crate::segment::{FORMAT_VERSION, Features, Purpose, Segment, SegmentHeader, State};
use crate::summary::Note;

/// The most sequence numbers that are tried.
const TRIES_MAX: u64 = 1 << 16;
/// Sequence numbers beyond the highest one seen that may have been given.
const AHEAD: u64 = 4;
/// How much of a segment's beginning is looked through for a frame, in bytes.
const LOOK_BYTES: usize = 4096;

/// The search for what headless segments hold.
pub(crate) struct Search {
    tried: BTreeSet<(u32, u64)>,
    known_sequences: BTreeSet<u64>,
    sequence_floor: u64,
    /// What was tried without a record, once for each segment.
    guessed: BTreeSet<u32>,
}

impl Search {
    pub(crate) fn new(known_sequences: impl Iterator<Item = u64>, sequence_floor: u64) -> Self {
        Self {
            tried: BTreeSet::new(),
            known_sequences: known_sequences.collect(),
            sequence_floor,
            guessed: BTreeSet::new(),
        }
    }

    /// The survey of a status segment that lost its header, if it was appended to. A root is written together with the
    /// header that it tells of, so there may never have been one.
    pub(crate) fn read_status<R: ReadAt>(
        &mut self,
        volume: &Volume<R>,
        life: Opened,
        keep: Keep,
    ) -> Option<Survey> {
        let row = Segment::new(State::Quarantined);
        let survey = self.read(volume, life.segment, &row, life.sequence, keep)?;
        self.tried.insert((life.segment, life.sequence));
        Some(survey)
    }

    /// Surveys of quarantined segments that can be read after all, and that were not tried before.
    pub(crate) fn next<R: ReadAt>(
        &mut self,
        volume: &Volume<R>,
        segments: &[Segment],
        keep: Keep,
    ) -> Vec<Survey> {
        // One that is free by all records but would be opened next: with frames in it, it was opened. So it may be with one
        // that waits for its erase by all records that are believed.
        let next = next_to_open(segments, SUSPECTS);
        let wanted = (0u32..).zip(segments).filter(|(segment, row)| {
            matches!(row.state, State::Quarantined | State::Erasable) || next.contains(segment)
        });
        let wanted: Vec<(u32, &Segment)> = wanted.collect();
        let is_told = |row: &Segment| row.state == State::Quarantined && row.recorded_in.is_some();
        let mut found = Vec::new();
        for &(segment, row) in &wanted {
            if is_told(row) && self.tried.insert((segment, row.sequence)) {
                found.extend(self.read(volume, segment, row, row.sequence, keep));
            }
        }
        // What these tell may spare a guess, which on block media can find an earlier life of a segment.
        if !found.is_empty() {
            return found;
        }
        // Those that were told of too: where the newest record about a segment stood in itself, an older one is left.
        for (segment, row) in wanted {
            if self.guessed.insert(segment)
                && let Some(sequence) = self.guess(volume, segment, row.sequence)
            {
                found.extend(self.read(volume, segment, row, sequence, keep));
            }
        }
        found
    }

    /// The sequence number under which a frame can be read near the beginning of a segment.
    ///
    /// Only a number above that of the last life that a record tells of: on block media that one's frames are still there.
    fn guess<R: ReadAt>(&self, volume: &Volume<R>, segment: u32, last_life: u64) -> Option<u64> {
        let start = volume.layout.data_start();
        let mut bytes = alloc::vec![0; LOOK_BYTES.min(volume.layout.data_bytes() as usize)];
        reading::read(&volume.reader, segment, start, &mut bytes).ok()?;
        let highest = self.sequence_floor.saturating_add(AHEAD);
        let lowest = highest.saturating_sub(TRIES_MAX).max(last_life.saturating_add(1));
        let fits = |sequence: &u64| {
            let seed = volume.seed(*sequence);
            let offsets = (0..bytes.len()).step_by(frame::ALIGN);
            // Most bytes are no header whatever the seed, and that is found out at once.
            offsets.into_iter().any(|at| Header::decode(&bytes[at..], seed, start + at as u32).is_some())
        };
        (lowest..highest).rev().filter(|sequence| !self.known_sequences.contains(sequence)).find(fits)
    }

    /// Surveys a segment as if its header had been read.
    fn read<R: ReadAt>(
        &mut self,
        volume: &Volume<R>,
        segment: u32,
        row: &Segment,
        sequence: u64,
        keep: Keep,
    ) -> Option<Survey> {
        let mut header = SegmentHeader {
            format: FORMAT_VERSION,
            features: Features::default(),
            volume: volume.id,
            segments: volume.geometry.segments,
            segment_bytes: volume.geometry.segment_bytes,
            unit_bytes: volume.geometry.unit_bytes,
            segment,
            sequence,
            erase_count: row.erase_count,
            purpose: row.purpose,
            msg_id_floor: 0,
            synced_group: 0,
            used_segments: segment + 1,
            boot: 0,
            landmarks: landmark::OfHeads::default(),
        };
        let survey = volume.survey(segment, header.clone(), volume.layout.data_start(), Keep::Everything);
        let holds_anything =
            survey.is_proven() || survey.scan.as_ref().is_some_and(|scan| !scan.groups.is_empty());
        if !holds_anything {
            return None;
        }
        self.known_sequences.insert(sequence);
        // A record about an earlier life says nothing of what this one was for.
        if row.recorded_in.is_none() || row.sequence != sequence {
            let is_mail = |note: Note| matches!(note, Note::Commit { .. });
            let mut notes = survey.notes.iter();
            let is_status = survey.notes.iter().next().is_some() && !notes.any(is_mail);
            header.purpose = if is_status { Purpose::Status } else { Purpose::Hot };
        }
        let survey = match keep {
            Keep::Everything => Survey { header, ..survey },
            // Without an index no more is held than what it asks for.
            Keep::Segments => volume.survey(segment, header, volume.layout.data_start(), keep),
        };
        Some(Survey { is_headless: true, ..survey })
    }
}
