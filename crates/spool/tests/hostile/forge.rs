//! Volumes that somebody forged: any bytes become a volume with lies in it whose CRCs are right.
//!
//! The bytes are a recipe: which volume to begin with, then one change after the other. Frames keep their places, so a
//! fuzzer that learns one recipe finds others near it. The fuzz target in `fuzz/` and the tests here share this.

use std::ops::Range;
use std::sync::OnceLock;

use penstock_flash::Geometry;
use penstock_flash::sim::Sim;
use penstock_spool::proof::frames::{self, FrameAt};
use penstock_spool::{Error, Event, Fate, MessageId, RECIPIENTS_MAX};

use crate::common::*;
use crate::records::{self, Footer, Item, Life, Note, Opened, Root, Saved, SavedState, SegmentRecord};

/// The most changes that are made to one volume.
const CHANGES_MAX: usize = 24;
/// A recipe that begins with this or more makes no CRC right.
const RAW: u8 = 0xF0;
/// What is at the edge of something, or beyond it.
const HOSTILE: [u64; 24] = [
    0,
    1,
    2,
    23,
    24,
    25,
    127,
    128,
    255,
    256,
    512,
    1024,
    4096,
    10_000,
    10_001,
    65_535,
    65_536,
    65_537,
    0x7FFF_FFFF,
    0xFFFF_FFFF,
    1 << 32,
    1 << 62,
    u64::MAX - 1,
    u64::MAX,
];

/// Numbers of kinds of frames, as in `FORMAT.md`.
const KINDS: u8 = 18;
const SEGMENT_HEADER: u8 = 1;
const EXTENTS: u8 = 5;
const COMMIT: u8 = 6;
const STATUS: u8 = 7;
const META: u8 = 8;
const SUMMARY: u8 = 12;
const SEGMENT_STATE: u8 = 10;
const GROUP_END: u8 = 11;
const FOOTER: u8 = 13;
const PROOF: u8 = 14;
const CHECKPOINT: u8 = 16;
const ROOT: u8 = 17;

/// The bytes of a recipe, and zeros after its end.
struct Recipe<'a>(&'a [u8]);

impl<'a> Recipe<'a> {
    fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn coin(&mut self) -> bool {
        self.byte() & 1 == 0
    }

    fn below(&mut self, bound: usize) -> usize {
        let number =
            usize::from(self.byte()) | usize::from(self.byte()) << 8 | usize::from(self.byte()) << 16;
        number % bound.max(1)
    }

    fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }

    /// A number that means trouble, as a postcard varint reads it.
    fn number(&mut self, geometry: &Geometry) -> u64 {
        let segment_bytes = u64::from(geometry.segment_bytes);
        match usize::from(self.byte()) {
            at if at < HOSTILE.len() => HOSTILE[at],
            24 => u64::from(geometry.segments) - 1,
            25 => u64::from(geometry.segments),
            26 => segment_bytes - 16,
            27 => segment_bytes,
            // Where a frame may well stand.
            28..100 => 16 * self.below(geometry.segment_bytes as usize / 16) as u64,
            small => small as u64 - 100,
        }
    }

    /// A number for a field that is narrower.
    fn narrow<T: TryFrom<u64> + Default>(&mut self, geometry: &Geometry) -> T {
        T::try_from(self.number(geometry)).unwrap_or_default()
    }

    fn place(&mut self, geometry: &Geometry) -> (u32, u32) {
        (self.narrow(geometry), self.narrow(geometry))
    }

    fn opened(&mut self, geometry: &Geometry) -> Opened {
        (self.narrow(geometry), self.number(geometry))
    }

    /// Lives of segments, a few more than there may be.
    fn lives(&mut self, geometry: &Geometry) -> Vec<Opened> {
        (0..self.below(24)).map(|_| self.opened(geometry)).collect()
    }

    fn life(&mut self, geometry: &Geometry) -> Life {
        match self.byte() % 5 {
            0 => Life::Used,
            1 => Life::Retired,
            2 => Life::Clean(self.number(geometry)),
            3 => Life::Left(self.number(geometry)),
            _ => Life::Bad,
        }
    }

    fn segment_record(&mut self, geometry: &Geometry) -> SegmentRecord {
        let (segment, sequence) = self.opened(geometry);
        (segment, sequence, self.narrow(geometry), self.purpose(), self.life(geometry))
    }

    /// One of those that there are, or the first that there is not.
    fn purpose(&mut self) -> u8 {
        self.byte() % 6
    }

    /// A segment and a group for each of the three heads.
    fn landmarks(&mut self, geometry: &Geometry) -> [(u32, u64); 3] {
        core::array::from_fn(|_| self.opened(geometry))
    }

    fn extents(&mut self, geometry: &Geometry) -> Vec<(u32, u32, u32)> {
        (0..self.below(40))
            .map(|_| (self.narrow(geometry), self.narrow(geometry), self.narrow(geometry)))
            .collect()
    }
}

/// A volume in which everything occurs: spread and interleaved mail, fates, state, events, reclaim; stopped cleanly or
/// with a tail.
pub(crate) fn honest(geometry: Geometry, clean: bool) -> Vec<u8> {
    let sim = formatted(geometry);
    let mut spool = mount(sim.medium()).unwrap();
    for round in 0..3 {
        // Two at a time in small pieces, each frame a group of its own: their extents go into frames of their own.
        let mails = [mail(round * 10, 1, 0), mail(round * 10 + 1, 3, 0)];
        let mut open = mails.map(|mail| spool.begin(&mail.begin, &mail.recipients, None).unwrap());
        for _ in 0..30 {
            for incoming in &mut open {
                spool.write(incoming, &[round as u8; 40]).unwrap();
            }
            spool.put_meta(1, b"round", &[round as u8]).unwrap();
        }
        for incoming in open {
            spool.commit(incoming).unwrap();
        }
        let large = geometry.segment_bytes as usize * 3 / 2;
        let id = store(&mut spool, &mail(round * 10 + 2, 2, large), 2000).unwrap();
        spool.sync().unwrap();
        spool.set_status(id, &fate(1, 1, Fate::Delivered)).unwrap();
        for number in 3..10 {
            let id = store(&mut spool, &mail(round * 10 + number, 1, 300), 300).unwrap();
            spool.sync().unwrap();
            let event = Event { at: stamp(number), code: 7, message: Some(id), text: "taken".into() };
            spool.record_event(&event).unwrap();
            if number % 3 == 0 {
                delivered(&mut spool, id);
            }
        }
        spool.sync().unwrap();
        for _ in 0..20 {
            spool.step(stamp(0)).unwrap();
        }
        if round == 0 {
            spool = mount(spool.close().unwrap()).unwrap();
        }
    }
    if clean {
        drop(spool.close().unwrap());
    } else {
        drop(spool);
    }
    sim.image()
}

/// An honest volume of each shape, made once.
fn base(shape: usize, clean: bool) -> &'static [u8] {
    static BASES: [OnceLock<Vec<u8>>; 12] = [const { OnceLock::new() }; 12];
    BASES[shape * 2 + usize::from(clean)].get_or_init(|| honest(GEOMETRIES[shape].1, clean))
}

/// The medium that a recipe makes.
pub(crate) fn forge(recipe: &[u8]) -> Sim {
    let mut recipe = Recipe(recipe);
    let choice = recipe.byte();
    let shape = usize::from(choice) % GEOMETRIES.len();
    let geometry = GEOMETRIES[shape].1;
    let mut image = base(shape, choice & 0x40 != 0).to_vec();
    if choice < RAW {
        let mut found = frames::find(&image, &geometry);
        if choice & 0x20 != 0 {
            // Without their proofs all segments are scanned.
            found.retain(|frame| {
                let is_proof = frame.kind == PROOF;
                if is_proof {
                    image[frame.start(&geometry)..][..frame.frame_bytes()].fill(0xFF);
                }
                !is_proof
            });
        }
        for _ in 0..CHANGES_MAX {
            if recipe.is_done() {
                break;
            }
            change(&mut recipe, &geometry, &mut image, &mut found);
        }
        frames::reseal(&mut image, &geometry, &found);
    } else {
        // No CRC is put right: these bytes are as they come.
        while !recipe.is_done() {
            let at = recipe.below(image.len());
            let bytes = recipe.bytes();
            let end = image.len().min(at + bytes.len());
            image[at..end].copy_from_slice(&bytes[..end - at]);
        }
    }
    Sim::from_image(geometry, &image).unwrap()
}

/// The kinds of records that are forged whole.
const LIES: [u8; 10] =
    [SEGMENT_HEADER, EXTENTS, COMMIT, STATUS, META, SEGMENT_STATE, GROUP_END, FOOTER, PROOF, ROOT];

/// One of the frames of a kind, if there is any.
fn one_of(recipe: &mut Recipe, found: &[FrameAt], kind: u8) -> Option<usize> {
    let of_kind: Vec<usize> = (0..found.len()).filter(|at| found[*at].kind == kind).collect();
    (!of_kind.is_empty()).then(|| of_kind[recipe.below(of_kind.len())])
}

fn payload_range(geometry: &Geometry, frame: &FrameAt) -> Range<usize> {
    let start = frame.payload(geometry);
    start..start + frame.len_bytes as usize
}

/// One lie.
fn change(recipe: &mut Recipe, geometry: &Geometry, image: &mut [u8], found: &mut Vec<FrameAt>) {
    match recipe.byte() % 9 {
        // A field of a header.
        0 => {
            let frame = &found[recipe.below(found.len())];
            let header = &mut image[frame.start(geometry)..frame.payload(geometry)];
            match recipe.byte() % 4 {
                0 => header[2] = recipe.byte() % KINDS,
                1 => header[3] = recipe.byte(),
                2 => header[4..8].copy_from_slice(&recipe.narrow::<u32>(geometry).to_le_bytes()),
                _ => header[8..16].copy_from_slice(&recipe.number(geometry).to_le_bytes()),
            }
        }
        // A number in the middle of a payload, or any bytes there.
        1 | 2 => {
            let frame = found[recipe.below(found.len())];
            let at = recipe.below(frame.len_bytes as usize);
            let number = postcard::to_allocvec(&recipe.number(geometry)).unwrap();
            let bytes = if recipe.coin() { &number } else { recipe.bytes() };
            let payload = frame.payload(geometry);
            let end = (payload + frame.len_bytes as usize).min(payload + at + bytes.len());
            image[payload + at..end].copy_from_slice(&bytes[..end - payload - at]);
        }
        // A frame in the place of another one: things told twice, old things told anew.
        3 => {
            let (from, to) = (found[recipe.below(found.len())], found[recipe.below(found.len())]);
            let len = from.frame_bytes().min(to.frame_bytes());
            let start = from.start(geometry);
            image.copy_within(start..start + len, to.start(geometry));
        }
        // A frame gone.
        4 => {
            let at = recipe.below(found.len());
            if found.len() > 1 {
                let frame = found.remove(at);
                image[frame.start(geometry)..][..frame.frame_bytes()].fill(0xFF);
            }
        }
        // A note in a summary that a proof vouches for.
        5 => lie_in_summary(recipe, geometry, image, found),
        6 => lie_in_checkpoint(recipe, geometry, image, found),
        // A record that reads well and lies.
        _ => {
            let kind = LIES[usize::from(recipe.byte()) % LIES.len()];
            // Or in the place of any other.
            let at = one_of(recipe, found, kind).unwrap_or_else(|| recipe.below(found.len()));
            let payload = lie(recipe, geometry, kind, found[at]);
            replace(image, geometry, found, at, kind, &payload);
        }
    }
}

/// The payload of a record, as `FORMAT.md` has it, that says what it should not.
fn lie(recipe: &mut Recipe, geometry: &Geometry, kind: u8, frame: FrameAt) -> Vec<u8> {
    let g = geometry;
    let here = Some((frame.segment, frame.offset));
    let encoded = match kind {
        SEGMENT_HEADER => {
            let honest = (
                (1u16, 0u32, 0u32, 0u32, VOLUME),
                (g.segments, g.segment_bytes, g.unit_bytes, frame.segment),
            );
            let numbers: (u64, u32) = (recipe.number(g), recipe.narrow(g));
            let floors: (u64, u64, u32, u32) =
                (recipe.number(g), recipe.number(g), recipe.narrow(g), recipe.narrow(g));
            postcard::to_allocvec(&(honest, numbers, recipe.purpose(), floors, recipe.landmarks(g)))
        }
        EXTENTS => {
            // Among others, one that comes before itself.
            let previous = if recipe.coin() { here } else { Some(recipe.place(g)) };
            postcard::to_allocvec(&(previous, recipe.extents(g)))
        }
        COMMIT => {
            let previous = (recipe.coin()).then(|| recipe.place(g));
            let (size, recipients): (u64, u16) = (recipe.number(g), recipe.narrow(g));
            postcard::to_allocvec(&(size, [recipe.byte(); 32], recipients, previous, recipe.extents(g)))
        }
        STATUS => {
            let run: (u16, u16) = (recipe.narrow(g), recipe.narrow(g));
            let rest: (u16, u16, u64, u32, bool) =
                (recipe.narrow(g), recipe.narrow(g), recipe.number(g), 0, true);
            postcard::to_allocvec(&(run, recipe.byte() % 8, rest))
        }
        META => postcard::to_allocvec(&(recipe.byte(), recipe.bytes(), recipe.bytes())),
        SEGMENT_STATE => postcard::to_allocvec(&recipe.segment_record(g)),
        ROOT => {
            // A checkpoint that there may be.
            let checkpoint = if recipe.coin() { None } else { Some(recipe.opened(g)) };
            let (number, synced_group) = (recipe.number(g), recipe.number(g));
            let root: Root =
                (number, synced_group, checkpoint, recipe.lives(g), recipe.lives(g), recipe.landmarks(g));
            postcard::to_allocvec(&root)
        }
        FOOTER => {
            let places: (u32, u32, u32) = (recipe.narrow(g), recipe.narrow(g), recipe.narrow(g));
            let footer: Footer = (places, (recipe.number(g), recipe.number(g), recipe.narrow(g)));
            postcard::to_allocvec(&footer)
        }
        PROOF => {
            let number: u64 = recipe.number(g);
            postcard::to_allocvec(&(number, recipe.landmarks(g), recipe.number(g)))
        }
        // Of GROUP_END the first eight bytes are a number and the next eight are put right anyway; then landmarks.
        _ => {
            let mut payload = [recipe.number(g).to_le_bytes(), [0; 8]].concat();
            for (segment, back) in recipe.landmarks(g) {
                payload.extend(segment.to_le_bytes());
                payload.extend((back as u32).to_le_bytes());
            }
            return payload;
        }
    };
    encoded.unwrap()
}

/// Changes one note of a summary, and tells the footer how long the notes are now.
fn lie_in_summary(recipe: &mut Recipe, g: &Geometry, image: &mut [u8], found: &mut Vec<FrameAt>) {
    let Some(at) = one_of(recipe, found, SUMMARY) else { return };
    let segment = found[at].segment;
    let notes: Vec<Note> = records::all(&image[payload_range(g, &found[at])]);
    let (group, id) = (recipe.number(g), recipe.number(g));
    let note = match recipe.byte() % 4 {
        0 => Note::Commit(group, id, recipe.narrow(g), recipe.narrow(g), recipe.narrow(g), recipe.coin()),
        1 => {
            // Of a message that there is.
            let id = id.min(60);
            let run: (u16, u16) = (recipe.narrow(g), recipe.narrow(g));
            Note::Status(group, id, (run.0, run.1, recipe.byte() % 8, recipe.narrow(g), 0, (0, 0, true)))
        }
        2 => Note::Meta(group, (recipe.byte(), recipe.bytes().to_vec(), recipe.bytes().to_vec())),
        _ => Note::Segment(group, recipe.segment_record(g)),
    };
    let notes = records::joined(&with(recipe, notes, note));
    replace(image, g, found, at, SUMMARY, &notes);
    let Some(at) = found.iter().position(|frame| frame.segment == segment && frame.kind == FOOTER) else {
        return;
    };
    if let Ok(mut footer) = postcard::from_bytes::<Footer>(&image[payload_range(g, &found[at])]) {
        footer.0.1 = notes.len() as u32;
        replace(image, g, found, at, FOOTER, &postcard::to_allocvec(&footer).unwrap());
    }
}

/// Changes one item of a checkpoint.
fn lie_in_checkpoint(recipe: &mut Recipe, g: &Geometry, image: &mut [u8], found: &mut Vec<FrameAt>) {
    let Some(at) = one_of(recipe, found, CHECKPOINT) else { return };
    let items: Vec<Item> = records::all(&image[payload_range(g, &found[at])]);
    let item = match recipe.byte() % 8 {
        0 => Item::Head(recipe.narrow(g), recipe.lives(g)),
        1 => {
            let next = (recipe.number(g), recipe.number(g), recipe.number(g));
            Item::Counters(next, (recipe.narrow(g), recipe.narrow(g)), (0, 0, 0), recipe.number(g))
        }
        2 | 3 => {
            let state = match recipe.byte() % 8 {
                0 => SavedState::Free,
                1 => SavedState::Open(recipe.narrow(g)),
                2 => SavedState::Sealed,
                3 => SavedState::Erasable,
                4 => SavedState::Quarantined,
                5 => SavedState::Bad,
                6 => SavedState::Left(recipe.number(g)),
                _ => SavedState::Anchor,
            };
            let recorded_in = if recipe.coin() { None } else { Some(recipe.narrow(g)) };
            let (sequence, erases, since) = (recipe.number(g), recipe.narrow(g), recipe.number(g));
            let row = (state, recipe.purpose(), sequence, erases, since, recorded_in);
            Item::Segment(row, (recipe.number(g), recipe.narrow(g), recipe.coin()))
        }
        4 => {
            let meta = (recipe.byte(), recipe.bytes().to_vec(), recipe.bytes().to_vec());
            Item::Meta(meta, recipe.narrow(g))
        }
        5 | 6 => {
            let status = if recipe.coin() { None } else { Some(recipe.narrow(g)) };
            let (size, recipients) = (recipe.narrow(g), recipe.narrow(g));
            let (id, commit) = (recipe.number(g), recipe.place(g));
            let entry =
                (id, commit, size, recipients, status, recipe.byte(), recipe.byte(), recipe.narrow(g));
            let spans = |recipe: &mut Recipe| (0..recipe.below(12)).map(|_| recipe.narrow(g)).collect();
            let copies = (0..recipe.below(4)).map(|_| (recipe.place(g), spans(recipe))).collect();
            let saved: Saved = (entry, (recipe.bytes().to_vec(), spans(recipe), copies));
            Item::Message(Box::new(saved))
        }
        _ => Item::End,
    };
    let items = records::joined(&with(recipe, items, item));
    replace(image, g, found, at, CHECKPOINT, &items);
}

/// Puts a record into the place of one of those that there are, or after them.
fn with<T>(recipe: &mut Recipe, mut records: Vec<T>, record: T) -> Vec<T> {
    if records.is_empty() || recipe.coin() {
        records.push(record);
    } else {
        let at = recipe.below(records.len());
        records[at] = record;
    }
    records
}

/// Puts another payload into a frame, over what comes after it where it is longer.
fn replace(
    image: &mut [u8],
    geometry: &Geometry,
    found: &mut Vec<FrameAt>,
    at: usize,
    kind: u8,
    payload: &[u8],
) {
    let frame = found[at];
    let start = frame.payload(geometry);
    let end = start + payload.len();
    if end > (frame.segment as usize + 1) * geometry.segment_bytes as usize {
        return;
    }
    let header = &mut image[frame.start(geometry)..start];
    header[2] = kind;
    header[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    image[start..end].copy_from_slice(payload);
    let longer = FrameAt { kind, len_bytes: payload.len() as u32, ..frame };
    let covered = frame.offset + longer.frame_bytes() as u32;
    found[at] = longer;
    let mut position = 0;
    found.retain(|other| {
        position += 1;
        position == at + 1
            || other.segment != frame.segment
            || other.offset < frame.offset
            || other.offset >= covered
    });
}

/// What was read while something was done with a medium.
struct Reads<'a> {
    sim: &'a Sim,
    before: penstock_flash::sim::Counters,
}

impl<'a> Reads<'a> {
    fn of(sim: &'a Sim) -> Self {
        Self { sim, before: sim.counters() }
    }

    fn bytes(&self) -> u64 {
        self.sim.counters().read_bytes - self.before.read_bytes
    }
}

/// Mounts a medium and does everything with it, each within a bound on what it reads.
pub(crate) fn exercise(sim: &Sim) {
    let capacity = sim.geometry().capacity_bytes();
    let reads = Reads::of(sim);
    let mounted = mount(sim.power_on(1));
    let mut spool = match mounted {
        Ok(spool) => spool,
        Err(Error::NotAVolume | Error::UnknownFormat { .. } | Error::GeometryChanged { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    let ids: Vec<MessageId> =
        spool.queue(MessageId(0)).chain(spool.kept(MessageId(0))).map(|summary| summary.id).collect();
    let messages = ids.len() as u64;
    assert!(ids.iter().filter_map(|id| spool.summary(*id)).all(|it| it.recipients <= RECIPIENTS_MAX));
    // Every segment is read once; of a message, what it says it stands in, and that is on the medium.
    assert!(reads.bytes() <= (2 + messages) * 2 * capacity, "the mount read {} bytes", reads.bytes());
    for id in ids {
        let reads = Reads::of(sim);
        let _ = read(&mut spool, id);
        assert!(reads.bytes() <= 4 * capacity, "a message took {} bytes to read", reads.bytes());
    }
    assert!(spool.events().count() as u64 <= capacity / 32);
    let reads = Reads::of(sim);
    for number in 0..20 {
        // The simulator refuses to program what the lies made look unused: then the spool only reads, as it should.
        let _ = store(&mut spool, &mail(1000 + number, 1, 300), 300);
        let _ = spool.sync();
        let live = spool.queue(MessageId(0)).next().map(|summary| (summary.id, summary.recipients));
        if let Some((id, recipients)) = live {
            let _ = spool.set_status(id, &fate(0, recipients, Fate::Delivered));
        }
        let _ = spool.put_meta(1, b"key", &[number as u8]);
        let _ = spool.step(stamp(0));
    }
    assert!(reads.bytes() <= 100 * (2 + messages) * capacity, "the work read {} bytes", reads.bytes());
    if let Ok(medium) = spool.close() {
        let _ = mount(medium);
    }
}
