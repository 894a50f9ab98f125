//! A mount by the newest root: its checkpoint, and what was appended since.
//!
//! The root names the checkpoint and every status segment opened since. Those tell of all other segments: the record
//! about one is programmed before the next one is opened (see [`lives`](crate::lives)). So nothing is overlooked if
//! the root is the newest, if all of these status segments can be read, and if nothing in them is missing. Each of
//! these is checked, as far as it can be; where one does not hold, there is no survey, and every segment is read.

use alloc::vec::Vec;

use penstock_flash::ReadAt;

use super::lives::{
    Newest, Records, enter_anchors, enter_given_up, enter_header, enter_records, enter_survey, next_to_open,
};
use super::survey::Survey;
use super::{Keep, SUSPECTS, Surveyed, Volume};
use crate::anchor::{Opened, Root};
use crate::checkpoint::{self, Ground};
use crate::landmark::Landmarks;
use crate::segment::{Purpose, Segment, SegmentHeader, State};

/// Surveys what a root leads to, besides the anchors with their headers; `None` if it does not lead everywhere.
pub(crate) fn survey_since<R: ReadAt>(
    volume: &Volume<R>,
    root: &Root,
    anchors: &[SegmentHeader],
    keep: Keep,
) -> Option<Surveyed> {
    let first = root.checkpoint?;
    let (reader, count) = (volume.reader.clone(), volume.geometry.segments);
    let ground = checkpoint::read(reader, &volume.layout, count, volume.id, first, keep)?;
    let base_group = ground.counters.synced_group;
    let mut wanted = Wanted {
        volume,
        keep,
        surveys: Vec::new(),
        missing: Vec::new(),
        synced_group: root.synced_group.max(base_group),
        msg_id_floor: 0,
        landmarks: Landmarks::new(count),
    };
    wanted.landmarks.add_of_heads(&root.landmarks);
    anchors.iter().for_each(|header| wanted.take_header(header));
    wanted.add_told(root, &ground);
    let records = wanted.records(base_group);
    let is_given_up = |missing: &Opened| root.given_up.contains(missing) || records.tell_end_of(missing);
    if !wanted.missing.iter().all(is_given_up) {
        return None;
    }
    let mut rows = ground.segments.clone();
    enter(&mut rows, &wanted.surveys, &records, root);
    let never_opened = wanted.add_untold(&rows)?;
    // One table of segments less while the one that counts is made.
    drop(rows);
    let records = wanted.records(base_group);
    let Wanted { surveys, synced_group, msg_id_floor, mut landmarks, .. } = wanted;
    surveys.iter().for_each(|survey| landmarks.add_all(&survey.landmarks));
    records.add_landmarks(&mut landmarks);
    let has_rot =
        |survey: &Survey| survey.header.purpose == Purpose::Status && survey.has_rot(&landmarks, base_group);
    if surveys.iter().any(has_rot) {
        return None;
    }
    let opened = records.count_opened(&surveys, &landmarks, ground.counters.next_sequence);
    let mut segments = ground.segments.clone();
    anchors.iter().for_each(|header| enter_header(&mut segments, header));
    enter(&mut segments, &surveys[..opened], &records, root);
    enter_anchors(&mut segments);
    let headers = || surveys.iter().map(|survey| &survey.header).chain(anchors).chain(&never_opened);
    let features = headers().fold(ground.counters.features, |all, header| all.with(header.features));
    let boot = headers().map(|header| header.boot).fold(ground.counters.boot, u32::max);
    let next_sequence = |header: &SegmentHeader| header.sequence.saturating_add(1);
    Some(Surveyed {
        sequence_floor: headers().map(next_sequence).fold(sequence_floor(&ground, &records), u64::max),
        used_segments: used_segments(&ground, &surveys[..opened], &records),
        never_opened: never_opened.len() + surveys.len() - opened,
        disbelieved: records.disbelieved.iter().copied().collect(),
        landmarks,
        msg_id_floor,
        boot,
        features,
        synced_group,
        segments,
        surveys,
        ground,
    })
}

/// The status segments that a root and its checkpoint know of.
pub(crate) fn status_segments<R: ReadAt>(volume: &Volume<R>, root: &Root) -> Vec<Opened> {
    let (reader, count) = (volume.reader.clone(), volume.geometry.segments);
    let ground = root
        .checkpoint
        .and_then(|first| checkpoint::read(reader, &volume.layout, count, volume.id, first, Keep::Segments));
    let rows = ground.map_or_else(Vec::new, |ground| ground.segments);
    let in_use = |row: &Segment| row.state == State::Sealed && row.purpose == Purpose::Status;
    let known = (0u32..).zip(rows).filter(|(_, row)| in_use(row));
    let known = known.map(|(segment, row)| Opened { segment, sequence: row.sequence });
    known.chain(root.status.iter().copied()).collect()
}

/// Enters what is known of segments since the checkpoint.
fn enter(segments: &mut [Segment], surveys: &[Survey], records: &Records, root: &Root) {
    surveys.iter().for_each(|survey| enter_survey(segments, survey));
    enter_records(segments, records);
    enter_given_up(segments, &root.given_up);
}

/// The segments that are to be read, and those of them that are not what they should be.
struct Wanted<'a, R> {
    volume: &'a Volume<R>,
    keep: Keep,
    surveys: Vec<Survey>,
    missing: Vec<Opened>,
    /// The highest group that anything seen says was durable.
    synced_group: u64,
    /// Message ids below this one may be in use, by what was seen of segments without groups.
    msg_id_floor: u64,
    /// What the headers of segments without groups name, each a group that must be there.
    landmarks: Landmarks,
}

impl<R: ReadAt> Wanted<'_, R> {
    /// Adds the segments that were open when the checkpoint was taken, and those of which anything says that they were
    /// opened since: first those that tell of others.
    fn add_told(&mut self, root: &Root, ground: &Ground) {
        let known = &ground.segments;
        let data_start = self.volume.layout.data_start();
        let was_open = |holds_mail: bool| {
            let open = ground.open.iter().map(|(segment, from)| (*segment, &known[*segment as usize], *from));
            let of_kind = open.filter(move |(_, row, _)| (row.purpose != Purpose::Status) == holds_mail);
            of_kind.map(|(segment, row, from)| (Opened { segment, sequence: row.sequence }, from))
        };
        let named = root.status.iter().map(|opened| (*opened, data_start));
        was_open(false).chain(named).for_each(|(opened, from)| self.add(opened, from));
        let records = self.records(ground.counters.synced_group);
        was_open(true).for_each(|(opened, from)| self.add(opened, from));
        for Newest { record, .. } in records.newest.values() {
            if record.sequence < ground.counters.next_sequence || !record.life.is_in_use() {
                continue;
            }
            if record.purpose.holds_mail() {
                self.add(Opened { segment: record.segment, sequence: record.sequence }, data_start);
            } else if let Some(header) = self.volume.header(record.segment) {
                self.take_header(&header);
            }
        }
    }

    /// Looks at segments that may be in use and told of nowhere: those that are opened next, and those of which not even the
    /// erase was told. Gives the headers of those that no groups are appended to, which count as never opened; `None` if
    /// there was a newer root.
    fn add_untold(&mut self, rows: &[Segment]) -> Option<Vec<SegmentHeader>> {
        let erasable = (0u32..).zip(rows).filter(|(_, row)| row.state == State::Erasable).map(|(at, _)| at);
        let mut never_opened = Vec::new();
        // Each stop can leave one that was opened, and those behind it are opened next.
        let mut not_opened = 0;
        for suspect in next_to_open(rows, rows.len()).into_iter().chain(erasable) {
            let row = &rows[suspect as usize];
            if row.state == State::Free && not_opened == 2 * SUSPECTS {
                continue;
            }
            match self.volume.header(suspect) {
                // Of its last life, or of one that ended before.
                Some(header) if header.sequence <= row.sequence => {
                    not_opened += usize::from(row.state == State::Free);
                    self.take_header(&header);
                }
                // No root names this status segment, so there was a newer root.
                Some(SegmentHeader { purpose: Purpose::Status, .. }) => return None,
                Some(header) if header.purpose.holds_mail() => {
                    let opened = Opened { segment: suspect, sequence: header.sequence };
                    self.add(opened, self.volume.layout.data_start());
                }
                Some(header) => {
                    self.take_header(&header);
                    never_opened.push(header);
                }
                None => not_opened += usize::from(row.state == State::Free),
            }
        }
        Some(never_opened)
    }

    fn add(&mut self, opened: Opened, from: u32) {
        let known = |survey: &Survey| survey.segment == opened.segment;
        if opened.segment >= self.volume.geometry.segments || self.surveys.iter().any(known) {
            return;
        }
        match self.volume.header(opened.segment) {
            Some(header) if header.sequence == opened.sequence => {
                let survey = self.volume.survey(opened.segment, header, from, self.keep);
                self.synced_group = self.synced_group.max(survey.synced_group);
                self.surveys.push(survey);
            }
            _ => self.missing.push(opened),
        }
    }

    /// Takes in what the header of a segment without groups says.
    fn take_header(&mut self, header: &SegmentHeader) {
        self.synced_group = self.synced_group.max(header.synced_group);
        self.msg_id_floor = self.msg_id_floor.max(header.msg_id_floor);
        self.landmarks.add_of_heads(&header.landmarks);
    }

    /// What those read so far say of segments.
    fn records(&mut self, base_group: u64) -> Records {
        self.surveys.sort_by_key(|survey| survey.header.sequence);
        Records::read(&self.surveys, base_group, self.synced_group)
    }
}

fn used_segments(ground: &Ground, surveys: &[Survey], records: &Records) -> u32 {
    let headers = surveys.iter().map(|survey| survey.header.used_segments);
    let told = records.newest.keys().map(|segment| segment.saturating_add(1));
    headers.chain(told).fold(ground.counters.used_segments, u32::max)
}

/// What is beyond the headers: a segment of the checkpoint was opened when its counters were taken already.
fn sequence_floor(ground: &Ground, records: &Records) -> u64 {
    let told = records.newest.values().map(|newest| newest.record.sequence.saturating_add(1));
    told.fold(ground.counters.next_sequence, u64::max)
}

#[cfg(test)]
mod tests;
