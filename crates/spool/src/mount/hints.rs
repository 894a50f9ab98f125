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
    anchors: Vec<SegmentHeader>,
    keep: Keep,
) -> Option<Surveyed> {
    let first = root.checkpoint?;
    let (reader, count) = (volume.reader.clone(), volume.geometry.segments);
    let ground = checkpoint::read(reader, &volume.layout, count, volume.id, first, keep)?;
    let base_group = ground.counters.synced_group;
    let known = &ground.segments;

    let (open_status, open_mail): (Vec<_>, Vec<_>) =
        ground.open.iter().partition(|(segment, _)| known[*segment as usize].purpose == Purpose::Status);
    let life =
        |(segment, from): (u32, u32)| (Opened { segment, sequence: known[segment as usize].sequence }, from);
    let data_start = volume.layout.data_start();
    let status = open_status.into_iter().map(life).chain(root.status.iter().map(|s| (*s, data_start)));
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
    status.for_each(|(opened, from)| wanted.add(opened, from));
    let records = wanted.records(base_group);

    // Mail segments that were open, and those opened since.
    open_mail.into_iter().map(life).for_each(|(opened, from)| wanted.add(opened, from));
    for Newest { record, .. } in records.newest.values() {
        let opened_since = record.sequence >= ground.counters.next_sequence;
        if !opened_since || !record.life.is_in_use() {
            continue;
        }
        if record.purpose.holds_mail() {
            wanted.add(Opened { segment: record.segment, sequence: record.sequence }, data_start);
        } else if let Some(header) = volume.header(record.segment) {
            wanted.take_header(&header);
        }
    }
    let records = wanted.records(base_group);
    let is_given_up = |missing: &Opened| root.given_up.contains(missing) || records.tell_end_of(missing);
    if !wanted.missing.iter().all(is_given_up) {
        return None;
    }
    let mut rows = ground.segments.clone();
    enter(&mut rows, &wanted.surveys, &records, root);
    let mut others = anchors;
    let mut never_opened = 0;
    // A segment may be in use and told of nowhere, also one of which not even the erase was told.
    let erasable = (0u32..).zip(&rows).filter(|(_, row)| row.state == State::Erasable).map(|(at, _)| at);
    // Each stop can leave one such, and those behind it are opened next.
    let mut not_opened = 0;
    for suspect in next_to_open(&rows, rows.len()).into_iter().chain(erasable) {
        let row = &rows[suspect as usize];
        if row.state == State::Free && not_opened == 2 * SUSPECTS {
            continue;
        }
        match volume.header(suspect) {
            // Of its last life, or of one that ended before.
            Some(header) if header.sequence <= row.sequence => {
                not_opened += usize::from(row.state == State::Free);
                wanted.take_header(&header);
            }
            // No root names this status segment, so there was a newer root.
            Some(SegmentHeader { purpose: Purpose::Status, .. }) => return None,
            Some(header) if header.purpose.holds_mail() => {
                wanted.add(Opened { segment: suspect, sequence: header.sequence }, data_start);
            }
            Some(header) => {
                wanted.take_header(&header);
                never_opened += 1;
                others.push(header);
            }
            None => not_opened += usize::from(row.state == State::Free),
        }
    }
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
    others
        .iter()
        .filter(|header| header.purpose == Purpose::Anchor)
        .for_each(|header| enter_header(&mut segments, header));
    enter(&mut segments, &surveys[..opened], &records, root);
    enter_anchors(&mut segments);
    let headers = || surveys.iter().map(|survey| &survey.header).chain(&others);
    let features = headers().fold(ground.counters.features, |all, header| all.with(header.features));
    let boot = headers().map(|header| header.boot).fold(ground.counters.boot, u32::max);
    let next_sequence = |header: &SegmentHeader| header.sequence.saturating_add(1);
    Some(Surveyed {
        sequence_floor: headers().map(next_sequence).fold(sequence_floor(&ground, &records), u64::max),
        used_segments: used_segments(&ground, &surveys[..opened], &records),
        never_opened: never_opened + surveys.len() - opened,
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
