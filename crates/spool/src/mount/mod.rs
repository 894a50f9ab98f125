//! From what is on flash to what is in memory, after any stop.
//!
//! A mount writes nothing. It finds out which segments there are and what stands in them, either from a checkpoint and
//! what was appended since ([`hints`]) or from every segment's header ([`survey_all`]); both ways end in the same
//! place. Of each segment it reads the proven summary or, for the few that have none, all frames. What it believes:
//!
//! - *Known durable* is the highest group that any group, header or proof says was durable. Groups up to it were
//!   synced, so whatever is missing there is rot: what stands on its own CRCs counts.
//! - Above it lies the *tail*. There a power cut may have kept later writes and dropped earlier ones, so only an
//!   unbroken run of whole groups counts as it is; a message beyond the first break counts if all of it, read through,
//!   has the SHA-256 in its COMMIT.
//! - A RETIRE counts only if it is known durable: it lets bytes be erased. To disbelieve it costs nothing but space.
//! - Of several copies of a message the newest counts that is whole and known durable, else the oldest that is whole.
//! - A segment without a header that was used and that no RETIRE names is quarantined. What frames can still be read
//!   in it count ([`headless`]).

mod content;
mod headless;
mod hints;
mod lives;
mod survey;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use penstock_flash::{Geometry, Medium, ReadAt};

use crate::Error;
use crate::anchor::{self, Anchors, Opened, Root};
use crate::checkpoint::Ground;
use crate::frame::Seed;
use crate::index::Index;
use crate::landmark::{Landmark, Landmarks};
use crate::log::Start;
use crate::proof::Branch;
use crate::record::MessageId;
use crate::segment::{ANCHORS, Features, Layout, Purpose, Segment, SegmentHeader, State, read_header};
use crate::state::MetaTable;
use content::{Content, take_content};
use lives::Records;
use survey::Survey;

pub(crate) use content::TailContent;

/// Ids left out after an unclean stop, beyond those seen: messages that were begun but left no whole frame.
const ID_GAP: u64 = 1024;
/// How many free segments may have a header on its way when the power failed, also right after a clean stop: the one that
/// comes next, and one more for good measure. Those whose header was found, and does not count, come on top.
const SUSPECTS: usize = 2;
/// Sequence numbers left out after an unclean stop: a segment may have got one and lost it again.
const SEQUENCE_GAP: u64 = 16;

/// How much a mount holds in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The index of all messages and the state.
    Everything,
    /// The table of segments, and the tail.
    Segments,
}

/// What a mount found.
#[derive(Debug)]
pub(crate) struct Mounted {
    pub(crate) start: Start,
    /// The messages; without an index those of the tail.
    pub(crate) index: Index,
    pub(crate) meta: MetaTable,
    /// Messages of the torn tail, of which a record must say that they never counted before the tail is built upon.
    pub(crate) torn: Vec<MessageId>,
    /// What of the tail counts for now but is written anew before anything else is.
    pub(crate) tail: TailContent,
    pub(crate) report: MountReport,
    /// The segments of the checkpoint that was used.
    pub(crate) checkpoint: Vec<Opened>,
}

/// What a mount had to do and what it found wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountReport {
    /// Whether the last stop was clean.
    pub clean: bool,
    /// Whether a checkpoint was used. Without one every segment's header is read.
    pub from_checkpoint: bool,
    /// Segments of which more than the header was read.
    pub read_segments: u32,
    /// Segments that were scanned whole.
    pub scanned_segments: u32,
    /// Frames, or stretches without any, that could not be read as they were written. Among them are the torn end of a cut
    /// write, and places at the end of what was written that the medium fails to read: whether anything stood there
    /// nothing tells.
    pub damaged_frames: u32,
    /// Segments in which something that was durable is missing, or is not as it was written. They are left alone.
    pub rotten_segments: u32,
    /// Segments that were used but have no header, and are left alone.
    pub quarantined_segments: u32,
    /// Segments that could not be erased or programmed, and are not used any more.
    pub bad_segments: u32,
    /// Messages of the torn tail that were not whole, and were never acknowledged.
    pub torn_messages: u32,
    /// Messages that may have been acknowledged and are not whole. They are kept, and not given out.
    pub damaged_messages: u32,
    /// The volume uses something that this version does not know, so that nothing on it may be given up.
    pub append_only: bool,
}

/// A volume that is being read.
pub(crate) struct Volume<R> {
    pub(crate) reader: R,
    pub(crate) layout: Layout,
    pub(crate) geometry: Geometry,
    pub(crate) id: [u8; 16],
}

impl<R: ReadAt> Volume<R> {
    pub(crate) fn seed(&self, sequence: u64) -> Seed {
        Seed::of_segment(&self.id, sequence)
    }

    /// The header of a segment, if it is one of this volume.
    fn header(&self, segment: u32) -> Option<SegmentHeader> {
        read_header(&self.reader, &self.layout, segment).filter(|header| header.volume == self.id)
    }
}

/// Segments with their surveys, from whichever way.
struct Surveyed {
    ground: Ground,
    /// Those that groups were appended to since the ground was laid, in order of sequence.
    surveys: Vec<Survey>,
    /// Segments that have a header and count as never opened.
    never_opened: usize,
    /// Segments of which a record is not believed.
    disbelieved: Vec<u32>,
    /// The rows of all segments.
    segments: Vec<Segment>,
    synced_group: u64,
    /// Groups that must be there.
    landmarks: Landmarks,
    features: Features,
    /// Sequence numbers below this one may be in use, and how many segments were ever used.
    sequence_floor: u64,
    used_segments: u32,
    /// Message ids below this one may be in use by what the headers of segments without groups say.
    msg_id_floor: u64,
    boot: u32,
}

/// Reads the volume on a medium, by its checkpoint if `uses_hints` allows that.
pub(crate) fn mount<M: Medium>(medium: &M, uses_hints: bool, keep: Keep) -> Result<Mounted, Error> {
    let geometry = medium.geometry();
    let layout = Layout::of(&geometry)?;
    let reader = medium.reader();
    let anchor::Seen { headers, root, mut anchors } = anchor::read(&reader, &layout, keep.read_ahead_bytes());

    let root = root.unwrap_or_default();
    let mut told = Vec::new();
    if uses_hints && let Some(header) = headers.first() {
        header.check(&geometry)?;
        let volume = Volume { reader: reader.clone(), layout, geometry, id: header.volume };
        if let Some(surveyed) = hints::survey_since(&volume, &root, &headers, keep) {
            // Of the other segments only the headers of those that were looked at, and what the checkpoint says.
            surveyed.features.check()?;
            return Ok(finish(&volume, surveyed, anchors, keep, true));
        }
        Branch::HintsRefused.reach();
        told = hints::status_segments(&volume, &root);
    }

    let headers: Vec<Option<SegmentHeader>> =
        (0..geometry.segments).map(|segment| read_header(&reader, &layout, segment)).collect();
    let volume = Volume { id: identify(&headers, &geometry)?, reader, layout, geometry };
    let is_foreign = headers.iter().take(ANCHORS as usize).flatten().any(|header| header.volume != volume.id);
    let root = if is_foreign { Root::default() } else { root };
    let surveyed = survey_all(&volume, headers, &root, &told, keep)?;
    anchors.drop_checkpoint();
    Ok(finish(&volume, surveyed, anchors, keep, false))
}

/// Which volume the medium holds. Segments of others, from before a format, do not count.
fn identify(headers: &[Option<SegmentHeader>], geometry: &Geometry) -> Result<[u8; 16], Error> {
    // A format writes the anchors; after those were lost, most segments decide.
    let mut votes: BTreeMap<[u8; 16], u32> = BTreeMap::new();
    for header in headers.iter().flatten() {
        *votes.entry(header.volume).or_default() += 1;
    }
    let first = headers.iter().flatten().max_by_key(|h| (votes.get(&h.volume).copied(), h.sequence));
    let header = first.ok_or(Error::NotAVolume)?;
    header.check(geometry)?;
    Ok(header.volume)
}

/// Surveys every segment that has a header. `told` are status segments that roots and checkpoints know of, which is all
/// that tells of one that has lost its header.
fn survey_all<R: ReadAt>(
    volume: &Volume<R>,
    headers: Vec<Option<SegmentHeader>>,
    root: &Root,
    told: &[Opened],
    keep: Keep,
) -> Result<Surveyed, Error> {
    let belongs = |header: &SegmentHeader| header.volume == volume.id;
    let headers: Vec<(u32, SegmentHeader)> = (0u32..)
        .zip(headers)
        .filter_map(|(segment, header)| Some((segment, header.filter(belongs)?)))
        .collect();
    let features = headers.iter().fold(Features::default(), |all, (_, h)| all.with(h.features));
    // A later version has marked what it wrote, which need not be what was looked at first.
    features.check()?;
    let sequence_floor =
        headers.iter().map(|(_, header)| header.sequence).max().unwrap_or(0).saturating_add(1);
    let has_header = |life: &&Opened| headers.iter().any(|(_, header)| header.sequence == life.sequence);
    let mut lost: Vec<Opened> = told.iter().filter(|life| !has_header(life)).copied().collect();
    let boot = headers.iter().map(|(_, header)| header.boot).max().unwrap_or(0);
    let msg_id_floor = headers.iter().map(|(_, header)| header.msg_id_floor).max().unwrap_or(0);
    let others: Vec<(u32, SegmentHeader)> =
        headers.iter().filter(|(_, header)| !header.purpose.is_head()).cloned().collect();
    let mut surveys: Vec<Survey> = headers
        .into_iter()
        .filter(|(_, header)| header.purpose.is_head())
        .map(|(segment, header)| volume.survey(segment, header, volume.layout.data_start(), keep))
        .collect();
    let known_sequences = others.iter().map(|(_, header)| header.sequence);
    let mut search = headless::Search::new(
        known_sequences.chain(surveys.iter().map(|survey| survey.header.sequence)),
        sequence_floor,
    );
    loop {
        surveys.sort_by_key(|survey| survey.header.sequence);
        let synced_group = others
            .iter()
            .map(|(_, header)| header.synced_group)
            .chain(surveys.iter().map(|survey| survey.synced_group))
            .fold(root.synced_group, u64::max);
        let records = Records::read(&surveys, 0, synced_group);
        let mut landmarks = Landmarks::new(volume.geometry.segments);
        surveys.iter().for_each(|survey| landmarks.add_all(&survey.landmarks));
        others.iter().for_each(|(_, header)| landmarks.add_of_heads(&header.landmarks));
        landmarks.add_of_heads(&root.landmarks);
        records.add_landmarks(&mut landmarks);
        let opened = records.count_opened(&surveys, &landmarks, 0);
        let counts = |header: &SegmentHeader| header.purpose == Purpose::Anchor || records.tell_of(header);
        let counting: Vec<&SegmentHeader> =
            others.iter().map(|(_, header)| header).filter(|header| counts(header)).collect();
        let never_opened = surveys.len() - opened + others.len() - counting.len();
        let used_segments = surveys[..opened]
            .iter()
            .map(|survey| &survey.header)
            .chain(counting.iter().copied())
            // An anchor may have been begun anew in the middle of an opening.
            .filter(|header| header.purpose != Purpose::Anchor)
            .map(|header| header.used_segments)
            .max()
            .unwrap_or(0);
        let mut segments = Ground::bare(volume.geometry.segments).segments;
        counting.iter().for_each(|header| lives::enter_header(&mut segments, header));
        surveys[..opened].iter().for_each(|survey| lives::enter_survey(&mut segments, survey));
        lives::enter_records(&mut segments, &records);
        lives::enter_given_up(&mut segments, &root.given_up);
        lives::enter_anchors(&mut segments);
        lives::quarantine_headless(&mut segments, used_segments);
        // A segment that lost its header may hold mail, and word of other segments.
        lost.retain(|life| !records.tell_since(life));
        let found = lost.drain(..).filter_map(|life| search.read_status(volume, life, keep));
        let mut found: Vec<Survey> = found.collect();
        if found.is_empty() {
            // Only then: what such a segment tells of others may be needed to know what they are.
            found.extend(search.next(volume, &segments, keep));
        }
        if found.is_empty() {
            let ground = Ground::bare(0);
            let record_sequences = segments.iter().map(|row| row.sequence.saturating_add(1));
            let sequence_floor = record_sequences.fold(sequence_floor, u64::max);
            return Ok(Surveyed {
                ground,
                landmarks,
                surveys,
                never_opened,
                disbelieved: records.disbelieved.into_iter().collect(),
                segments,
                synced_group,
                features,
                sequence_floor,
                used_segments,
                msg_id_floor,
                boot,
            });
        }
        Branch::HeadlessRead.reach();
        surveys.extend(found);
    }
}

/// From the segments to their content.
fn finish<R: ReadAt>(
    volume: &Volume<R>,
    surveyed: Surveyed,
    mut anchors: Anchors,
    keep: Keep,
    from_checkpoint: bool,
) -> Mounted {
    anchors.drop_never_opened(&surveyed.segments);
    anchors.drop_reused(&surveyed.segments);
    let Surveyed { ground, surveys, mut segments, synced_group, features, .. } = surveyed;
    let suspects = surveyed.never_opened + SUSPECTS;
    for suspect in lives::next_to_open(&segments, suspects) {
        segments[suspect as usize].is_suspect = true;
    }
    for row in segments.iter_mut().filter(|row| row.state == State::Erasable) {
        // What says that the RETIRE was durable may be on the brink itself: another group has to say so before the erase.
        row.state = State::Retired { group: synced_group };
    }
    if segments.iter().any(|row| row.state == State::Quarantined) {
        Branch::Quarantined.reach();
    }
    let count = |wanted: State| segments.iter().filter(|row| row.state == wanted).count() as u32;
    let headless = surveys.iter().filter(|survey| survey.is_headless).count() as u32;
    let scans = || surveys.iter().filter_map(|survey| survey.scan.as_ref());
    let has_unknown = scans().any(|scan| scan.has_unknown);
    let newest_boot = surveys.iter().map(|survey| survey.header.boot).max();
    let mut report = MountReport {
        // A clean stop leaves none of the segments open that were opened since the mount before it. Those that earlier
        // unclean stops left open stay without a proof.
        clean: surveys.iter().all(|survey| survey.is_proven() || Some(survey.header.boot) != newest_boot),
        from_checkpoint,
        read_segments: surveys.len() as u32,
        scanned_segments: surveys.iter().filter(|survey| !survey.is_proven()).count() as u32,
        damaged_frames: scans().map(|scan| scan.damaged + u32::from(scan.ends_unreadable)).sum(),
        quarantined_segments: count(State::Quarantined) + headless,
        bad_segments: count(State::Bad),
        append_only: !features.allow_reclaim() || has_unknown,
        ..MountReport::default()
    };
    let gap = |gap: u64| if report.clean { 0 } else { gap };
    let floors = surveys.iter().map(|survey| survey.msg_id_floor);
    let floor = ground.counters.next_msg_id.max(surveyed.msg_id_floor);
    let next_msg_id = floors.fold(floor, u64::max).max(1).saturating_add(gap(ID_GAP));
    let next_sequence = surveyed.sequence_floor.saturating_add(gap(SEQUENCE_GAP));
    let base_group = ground.counters.synced_group;
    for survey in surveys.iter().filter(|survey| survey.has_rot(&surveyed.landmarks, base_group)) {
        let row = &mut segments[survey.segment as usize];
        if row.state == State::Sealed && row.sequence == survey.header.sequence {
            Branch::RotFound.reach();
            row.is_unreadable = true;
            report.rotten_segments += 1;
        }
    }
    let left_open = note_left_open(&surveys, &surveyed.landmarks, &mut segments);
    let last_group = survey::last_group(&surveys).max(synced_group);
    let of_heads = survey::newest_of_heads(&surveys, &surveyed.landmarks);
    let checkpoint = if from_checkpoint { ground.own.clone() } else { Vec::new() };
    let mut disbelieved = surveyed.disbelieved;
    // A segment that lost its header and stands in no record, or only in its own, is told of from now on.
    disbelieved.extend(
        surveys.iter().filter(|survey| survey.is_headless).map(|survey| survey.segment).filter(|segment| {
            let recorded_in = segments[*segment as usize].recorded_in;
            recorded_in.is_none_or(|recorded_in| recorded_in == *segment)
        }),
    );
    let found = take_content(volume, ground, surveys, &mut segments, synced_group, keep);
    let Content { index, meta, torn, tail, damaged_messages } = found;
    disbelieved.extend(tail.disbelieved);
    let tail = TailContent { disbelieved, left_open, ..tail };
    report.torn_messages = torn.len() as u32;
    report.damaged_messages = damaged_messages;
    let start = Start {
        volume: volume.id,
        segments,
        next_sequence,
        next_group: last_group.saturating_add(1),
        synced_group,
        next_msg_id,
        used_segments: surveyed.used_segments.max(ANCHORS),
        boot: surveyed.boot.wrapping_add(1),
        features,
        anchors,
        landmarks: of_heads,
    };
    Mounted { start, index, meta, torn, tail, report, checkpoint }
}

/// Notes how far the segments go that a stop has left open, as far as anything tells, and which of them that is new of.
/// What tells it may be given up before they are.
fn note_left_open(surveys: &[Survey], landmarks: &Landmarks, segments: &mut [Segment]) -> Vec<u32> {
    let left_open = surveys.iter().filter(|survey| !survey.is_proven());
    let landmarks =
        left_open.filter_map(|survey| Some((survey.landmark(landmarks)?, survey.header.sequence)));
    let is_new = |(landmark, sequence): (Landmark, u64)| {
        let row = segments.get_mut(landmark.segment as usize)?;
        let is_this_life = row.state == State::Sealed && row.sequence == sequence;
        (is_this_life && core::mem::replace(&mut row.last_group, landmark.group) != landmark.group)
            .then_some(landmark.segment)
    };
    landmarks.filter_map(is_new).collect()
}

#[cfg(test)]
mod tests;
