//! Finding messages on a volume that cannot be mounted, or not as it should.
//!
//! A salvage believes nothing but frames. It goes through all segments: one that has its header is read with the seed
//! that the header gives; in one that has none, a frame tells its own seed (`mend`), and a payload that is right with it
//! confirms it. What has a COMMIT is then tried copy by copy, the newest first, and counts if all of it has the SHA-256
//! in the COMMIT. Nothing is ever written.
//!
//! What a mount knows and a salvage cannot: which of two fates came last where status segments are lost, and whether a
//! message was finished whose status went with its segment. So a salvage may find mail that was delivered long ago, and
//! says of each recipient what it knows; it is for a person to look through.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use penstock_flash::{Geometry, ReadAt};

use crate::Error;
use crate::frame::{self, Header, Kind, Seed};
use crate::index::{Entry, Index};
use crate::mend;
use crate::reader::{Message, Readable};
use crate::record::{self, Commit, Fate, MessageId, Place, SegmentRecord, Status};
use crate::scrub::ScrubProgress;
use crate::segment::{HEADER_FRAME_BYTES, Layout, SegmentHeader, decode_header, read_header};
use crate::walk::{WINDOW_BYTES, Window};

/// Sequence numbers tried for a segment without a header, beyond the highest that is known.
const SEQUENCES_BEYOND: u64 = 4096;

/// What the header of a segment says of its volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The version of the format.
    pub format: u16,
    /// The volume's name.
    pub volume: [u8; 16],
    /// How many segments it has.
    pub segments: u32,
    /// The size of one in bytes.
    pub segment_bytes: u32,
    /// The program unit in bytes.
    pub unit_bytes: u32,
}

impl Shape {
    /// How many bytes [`decode`](Self::decode) looks at.
    pub const BYTES: usize = HEADER_FRAME_BYTES as usize;

    /// Reads the shape from the first bytes of a segment, if its header is whole, whatever the format.
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        decode_header(bytes, 0).map(|header| Self {
            format: header.format,
            volume: header.volume,
            segments: header.segments,
            segment_bytes: header.segment_bytes,
            unit_bytes: header.unit_bytes,
        })
    }
}

/// A copy of a message.
#[derive(Clone, Copy, Debug)]
struct Copy {
    /// Of its segment; 0 where that is not known.
    sequence: u64,
    entry: Entry,
    wide: bool,
}

/// A search for messages, segment by segment.
#[derive(Debug)]
pub struct Salvage<R> {
    reader: R,
    layout: Layout,
    headers: Vec<Option<SegmentHeader>>,
    volume: Option<[u8; 16]>,
    next: u32,
    seeds: Vec<(u32, Seed)>,
    copies: BTreeMap<u64, Vec<Copy>>,
    /// Messages of which a beginning was seen.
    begun: Vec<u64>,
    fates: BTreeMap<u64, Vec<(u64, u32, Status)>>,
    /// The newest record about each segment.
    lives: BTreeMap<u32, SegmentRecord>,
}

impl<R: ReadAt> Salvage<R> {
    /// Begins a search on a medium of that shape.
    ///
    /// # Errors
    /// [`Error::BadGeometry`].
    pub fn new(reader: R, geometry: &Geometry) -> Result<Self, Error> {
        let layout = Layout::of(geometry)?;
        let headers: Vec<_> =
            (0..geometry.segments).map(|segment| read_header(&reader, &layout, segment)).collect();
        let mut votes: BTreeMap<[u8; 16], u32> = BTreeMap::new();
        headers.iter().flatten().for_each(|header| *votes.entry(header.volume).or_default() += 1);
        let volume = votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(volume, _)| volume);
        Ok(Self {
            reader,
            layout,
            headers,
            volume,
            next: 0,
            seeds: Vec::new(),
            copies: BTreeMap::new(),
            begun: Vec::new(),
            fates: BTreeMap::new(),
            lives: BTreeMap::new(),
        })
    }

    /// The name of the volume that most segments say they belong to.
    pub fn volume(&self) -> Option<[u8; 16]> {
        self.volume
    }

    /// Goes through the next segment; `None` when all were gone through.
    pub fn step(&mut self) -> Option<ScrubProgress> {
        let segments = self.headers.len() as u32;
        if self.next >= segments {
            return None;
        }
        let segment = self.next;
        self.next += 1;
        if let Some((seed, sequence)) = self.seed_of(segment) {
            self.seeds.push((segment, seed));
            self.scan(segment, seed, sequence);
        }
        if self.next == segments {
            self.finish();
        }
        let bytes = |segments: u32| u64::from(segments) * u64::from(self.layout.segment_bytes);
        Some(ScrubProgress { done_bytes: bytes(self.next), total_bytes: bytes(segments) })
    }

    /// The messages found, whole or not, in order of arrival.
    pub fn messages(&self) -> impl Iterator<Item = MessageId> {
        self.copies.keys().map(|id| MessageId(*id))
    }

    /// Messages of which a beginning was found and no end: never acknowledged, or their end is lost.
    pub fn unfinished(&self) -> usize {
        self.begun.iter().filter(|id| !self.copies.contains_key(id)).count()
    }

    /// The copies of a message that can be opened, the newest first. Each mends single bits as
    /// [`Spool::open_mending`](crate::Spool::open_mending) does, and is whole only if it says so at its end.
    pub fn open(&self, id: MessageId) -> impl Iterator<Item = Message<R>> {
        self.copies.get(&id.0).into_iter().flatten().rev().filter_map(move |copy| {
            let at = copy.entry.commit;
            let here = |(segment, _): &&(u32, Seed)| copy.wide || *segment == at.segment;
            let seeds = self.seeds.iter().filter(here).copied().collect();
            let readable = Readable { seeds, _leases: Vec::new() };
            Message::open_mending(self.reader.clone(), self.layout, id, at, copy.entry.size_bytes, readable)
                .ok()
        })
    }

    /// What is known of the fates of a message, as [`Spool::fates`](crate::Spool::fates) tells them.
    pub fn fates(&self, id: MessageId) -> Vec<(u16, u16, Fate)> {
        let Some(entry) = self.copies.get(&id.0).and_then(|copies| copies.last()).map(|copy| copy.entry)
        else {
            return Vec::new();
        };
        let mut index = Index::default();
        index.insert(entry, &[]);
        for (_, _, status) in self.fates.get(&id.0).into_iter().flatten() {
            index.apply(id, status);
        }
        index.get(id).map(|entry| index.runs(entry)).unwrap_or_default()
    }

    /// The seed of a segment's frames, and its sequence number where that is known.
    fn seed_of(&self, segment: u32) -> Option<(Seed, u64)> {
        if let Some(header) = self.headers.get(segment as usize)?.as_ref() {
            // What an earlier volume left behind is not looked for.
            let ours = Some(header.volume) == self.volume;
            return ours.then(|| (Seed::of_segment(&header.volume, header.sequence), header.sequence));
        }
        let seed = self.seed_of_a_frame(segment)?;
        let highest = self.headers.iter().flatten().map(|header| header.sequence).max().unwrap_or(0);
        let of = |volume: &[u8; 16]| {
            (1..=highest.saturating_add(SEQUENCES_BEYOND))
                .find(|sequence| Seed::of_segment(volume, *sequence) == seed)
        };
        Some((seed, self.volume.as_ref().and_then(of).unwrap_or(0)))
    }

    fn seed_of_a_frame(&self, segment: u32) -> Option<Seed> {
        let mut window = Window::new(self.reader.clone(), segment, self.layout.segment_bytes, WINDOW_BYTES);
        let mut offset = self.layout.data_start();
        while offset < self.layout.data_end() {
            let Ok(bytes) = window.get(offset, frame::HEADER_BYTES) else {
                offset = self.layout.align_up(offset + 1);
                continue;
            };
            let seed = frame::is_plausible(bytes).then(|| mend::seed_of(bytes, offset)).flatten();
            if let Some(seed) = seed
                && let Some(header) = window.header(seed, offset)
                && window.payload(seed, offset, &header).is_some()
            {
                return Some(seed);
            }
            offset += frame::ALIGN as u32;
        }
        None
    }

    /// Notes every record that matters in a segment.
    fn scan(&mut self, segment: u32, seed: Seed, sequence: u64) {
        let mut window = Window::new(self.reader.clone(), segment, self.layout.segment_bytes, WINDOW_BYTES);
        window.mend();
        let mut offset = self.layout.data_start();
        while offset < self.layout.data_end() {
            let Some(header) = window.header(seed, offset) else {
                offset = match window.get(offset, 1) {
                    Ok(_) => offset + frame::ALIGN as u32,
                    // An unreadable place: the next unit may be readable again.
                    Err(_) => self.layout.align_up(offset + 1),
                };
                continue;
            };
            let kind = Kind::from_u8(header.kind);
            if matches!(kind, Some(Kind::Summary | Kind::Footer | Kind::Proof)) {
                break;
            }
            if let Some(payload) = window.payload(seed, offset, &header) {
                self.note(kind, &header, payload, Place { segment, offset }, sequence);
            }
            offset += header.frame_bytes() as u32;
            if kind == Some(Kind::GroupEnd) {
                offset = self.layout.align_up(offset);
            }
        }
    }

    fn note(&mut self, kind: Option<Kind>, header: &Header, payload: &[u8], at: Place, sequence: u64) {
        match kind {
            Some(Kind::Begin) => self.begun.push(header.msg_id),
            Some(Kind::Commit) => {
                let Some(commit) = record::decode::<Commit>(payload) else { return };
                let Ok(size_bytes) = u32::try_from(commit.size_bytes) else { return };
                let entry = Entry::new(header.msg_id, at, size_bytes, commit.recipients);
                let copy = Copy { sequence, entry, wide: commit.is_wide(at.segment) };
                self.copies.entry(header.msg_id).or_default().push(copy);
            }
            Some(Kind::Status) => {
                let Some(status) = record::decode(payload) else { return };
                self.fates.entry(header.msg_id).or_default().push((sequence, at.offset, status));
            }
            Some(Kind::SegmentState) => {
                let Some(new) = record::decode::<SegmentRecord>(payload) else { return };
                let known = self.lives.entry(new.segment).or_insert(new);
                let age = |record: &SegmentRecord| (record.sequence, !record.life.is_in_use());
                if age(&new) > age(known) {
                    *known = new;
                }
            }
            _ => {}
        }
    }

    /// Leaves out what stands in segments that were given up, and puts the rest in order.
    fn finish(&mut self) {
        let lives = &self.lives;
        let given_up = |copy: &Copy| {
            lives.get(&copy.entry.commit.segment).is_some_and(|record| {
                !record.life.is_in_use() && copy.sequence != 0 && copy.sequence <= record.sequence
            })
        };
        self.copies.retain(|_, copies| {
            copies.retain(|copy| !given_up(copy));
            copies.sort_by_key(|copy| (copy.sequence, copy.entry.commit.offset));
            !copies.is_empty()
        });
        for fates in self.fates.values_mut() {
            // The newest counts. Where a record stands among the others of which it is not known, what was final stays so.
            fates.sort_by_key(|(sequence, offset, status)| {
                let place = match (*sequence, status.fate.is_final()) {
                    (0, false) => 0,
                    (0, true) => 2,
                    _ => 1,
                };
                (place, *sequence, *offset)
            });
        }
        self.begun.sort_unstable();
        self.begun.dedup();
    }
}
