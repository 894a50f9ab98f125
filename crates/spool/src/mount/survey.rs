//! One segment as a mount sees it: its header, and its notes from a proven summary or from a scan.

use alloc::vec::Vec;

use penstock_flash::ReadAt;

use super::{Keep, Volume};
use crate::landmark::{self, Landmark, Landmarks};
use crate::proof::Branch;
use crate::segment::{NewestTime, Purpose, SegmentHeader};
use crate::summary::{self, Note, Notes};
use crate::walk::{self, Scan, Window};

/// What is known of a segment that groups were appended to.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) segment: u32,
    pub(crate) header: SegmentHeader,
    pub(crate) notes: Notes,
    /// What a scan found; `None` where a proven summary spared it.
    pub(crate) scan: Option<Scan>,
    pub(crate) newest: NewestTime,
    pub(crate) event_bytes: u32,
    /// The highest group that anything here says was durable.
    pub(crate) synced_group: u64,
    /// Groups that anything here says must be there.
    pub(crate) landmarks: Landmarks,
    /// Message ids below this one may be in use.
    pub(crate) msg_id_floor: u64,
    /// It lost its header: what stands in it is read, and it is left alone.
    pub(crate) is_headless: bool,
}

impl Survey {
    pub(crate) fn is_proven(&self) -> bool {
        self.scan.is_none()
    }

    /// Whether nothing was appended to it.
    pub(crate) fn is_empty(&self) -> bool {
        let nothing = |scan: &Scan| scan.groups.is_empty() && scan.damaged == 0;
        self.notes.len() == 0 && self.scan.as_ref().is_some_and(nothing)
    }

    /// Whether the message or fate of a note was there, whole, before the last sync or in the unbroken run of groups
    /// after it.
    pub(crate) fn vouches_for(&self, note: &Note, unbroken_to: u64) -> bool {
        let Some(scan) = &self.scan else { return true };
        let vouched = note.group() <= unbroken_to && scan.is_whole(note.group());
        if !vouched {
            Branch::BeyondGap.reach();
        }
        vouched
    }

    /// Whether something that was durable is missing, or not whole. Of what stands in groups up to `base_group` the scan
    /// may not have been asked.
    ///
    /// The landmark decides, and not what is known durable by now: what an earlier stop tore was never durable, and
    /// later groups have passed it.
    pub(crate) fn has_rot(&self, landmarks: &Landmarks, base_group: u64) -> bool {
        let (Some(scan), Some(landmark)) = (&self.scan, self.landmark(landmarks)) else { return false };
        landmark.group > base_group && scan.lacks_any_to(landmark.group)
    }

    /// The last group that must be there. What was said of an earlier life of the segment is no concern of this one; when
    /// one that has lost its header began, nothing tells.
    pub(crate) fn landmark(&self, landmarks: &Landmarks) -> Option<Landmark> {
        let group = landmarks.last_in(self.segment)?;
        let is_of_this_life = group > self.header.synced_group && !self.is_headless;
        is_of_this_life.then_some(Landmark { segment: self.segment, group })
    }
}

impl<R: ReadAt> Volume<R> {
    /// Surveys a segment, what was appended from `from` on where it has to be scanned.
    pub(crate) fn survey(&self, segment: u32, header: SegmentHeader, from: u32, keep: Keep) -> Survey {
        let seed = self.seed(header.sequence);
        let (mut synced_group, msg_id_floor) = (header.synced_group, header.msg_id_floor);
        let mut landmarks = Landmarks::new(self.geometry.segments);
        landmarks.add_of_heads(&header.landmarks);
        let (footer, proof) = summary::read_ending(&self.reader, &self.layout, seed, segment);
        if let Some(proof) = &proof {
            synced_group = synced_group.max(proof.synced_group);
            landmarks.add(Landmark { segment, group: proof.last_group });
            landmarks.add_of_heads(&proof.landmarks);
        }
        if let (Some(footer), Some(_)) = (footer, proof) {
            let wanted = keep == Keep::Everything || header.purpose == Purpose::Status;
            let notes = if wanted {
                summary::read_notes(&self.reader, &self.layout, seed, segment, &footer, keep)
            } else {
                Some(Notes::default())
            };
            if let Some(notes) = notes {
                return Survey {
                    segment,
                    header,
                    notes,
                    scan: None,
                    newest: footer.newest,
                    event_bytes: footer.event_bytes,
                    synced_group,
                    landmarks,
                    msg_id_floor: msg_id_floor.max(footer.msg_id_floor),
                    is_headless: false,
                };
            }
            Branch::SummaryRotten.reach();
        }
        Branch::Scanned.reach();
        let ahead = keep.read_ahead_bytes().min(self.layout.segment_bytes as usize);
        let mut window = Window::new(self.reader.clone(), segment, self.layout.segment_bytes, ahead);
        let mut scan = walk::scan(&mut window, &self.layout, seed, from, keep);
        landmarks.add_all(&core::mem::replace(&mut scan.landmarks, Landmarks::new(0)));
        Survey {
            segment,
            header,
            notes: core::mem::take(&mut scan.notes),
            newest: scan.newest,
            event_bytes: scan.event_bytes,
            synced_group: synced_group.max(scan.synced_group),
            landmarks,
            msg_id_floor: msg_id_floor.max(scan.msg_id_max.saturating_add(1)),
            scan: Some(scan),
            is_headless: false,
        }
    }
}

impl Keep {
    /// Whether a note is kept: without an index those of segments, and what may belong to the tail.
    pub(crate) fn wants(self, note: &Note, synced_group: u64) -> bool {
        self == Self::Everything || matches!(note, Note::Segment { .. }) || note.group() > synced_group
    }

    /// How much is read at once where much is read, in bytes.
    pub(crate) fn read_ahead_bytes(self) -> usize {
        match self {
            Self::Everything => 1024 * 1024,
            Self::Segments => 64 * 1024,
        }
    }
}

/// The highest of the groups seen.
pub(crate) fn last_group(surveys: &[Survey]) -> u64 {
    let groups = surveys.iter().filter_map(|survey| survey.scan.as_ref()).flat_map(|scan| &scan.groups);
    groups.map(|group| group.number).max().unwrap_or(0)
}

/// The newest landmark of each head, as far as it stands in what was surveyed.
pub(crate) fn newest_of_heads(surveys: &[Survey], landmarks: &Landmarks) -> landmark::OfHeads {
    Purpose::HEADS.map(|purpose| {
        let of_head = surveys.iter().filter(|survey| survey.header.purpose == purpose);
        let newest =
            of_head.filter_map(|survey| survey.landmark(landmarks)).max_by_key(|landmark| landmark.group);
        newest.unwrap_or_default()
    })
}

/// The last group of the run of whole groups, each after the one before, that begins behind `synced_group`.
pub(crate) fn unbroken_to(surveys: &[Survey], synced_group: u64) -> u64 {
    let groups = surveys.iter().filter_map(|survey| survey.scan.as_ref()).flat_map(|scan| &scan.groups);
    let mut whole: Vec<u64> =
        groups.filter(|g| g.whole && g.number > synced_group).map(|g| g.number).collect();
    whole.sort_unstable();
    let mut unbroken_to = synced_group;
    for number in whole {
        if number - unbroken_to == 1 {
            unbroken_to = number;
        }
    }
    unbroken_to
}

#[cfg(test)]
pub(super) mod tests;
