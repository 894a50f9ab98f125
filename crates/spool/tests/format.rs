//! Volumes of format 1 are read by every later version, and what such a version may add is met as it should be.
//!
//! `images/` holds volumes as they were when format 1 was frozen, each with a text beside it that says what it must
//! contain. Neither is ever changed. [`write_new_images`] makes others from the code as it is, under new names.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the verdict")]

mod common;

use std::fmt::Write;
use std::path::PathBuf;

use common::*;
use penstock_flash::sim::Sim;
use penstock_flash::{Erase, EraseProgress, Geometry, Medium};
use penstock_spool::proof::frames::{find, reseal};
use penstock_spool::{Error, Event, Fate, MessageId, MountOptions, Spool};
use sha2::{Digest, Sha256};

/// A stored volume, and what it must contain.
struct Stored {
    name: &'static str,
    geometry: Geometry,
    image: &'static [u8],
    content: &'static str,
}

const STORED: [Stored; 2] = [
    Stored {
        name: "nor-8",
        geometry: GEOMETRIES[2].1,
        image: include_bytes!("images/format-1-nor-8.volume"),
        content: include_str!("images/format-1-nor-8.txt"),
    },
    Stored {
        name: "block-512",
        geometry: GEOMETRIES[4].1,
        image: include_bytes!("images/format-1-block-512.volume"),
        content: include_str!("images/format-1-block-512.txt"),
    },
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// All that can be read of a volume, in words that do not depend on how the types are called.
fn content_of(spool: &mut TestSpool) -> String {
    let mut text = String::new();
    let queued: Vec<MessageId> = spool.queue(MessageId(0)).map(|s| s.id).collect();
    let kept: Vec<MessageId> = spool.kept(MessageId(0)).map(|s| s.id).collect();
    for (is_kept, id) in queued.iter().map(|id| (false, id)).chain(kept.iter().map(|id| (true, id))) {
        let summary = spool.summary(*id).unwrap();
        let fates = spool.fates(*id).unwrap();
        let mail = read(spool, *id).unwrap();
        let begin = &mail.begin;
        writeln!(text, "{} {id}", if is_kept { "kept" } else { "queued" }).unwrap();
        writeln!(
            text,
            "  received {} boot {} trusted {}, from {} helo {} client {:?}",
            begin.received.unix_ms,
            begin.received.boot,
            begin.received.trusted,
            begin.sender,
            begin.helo,
            begin.client.map(|client| client.to_string())
        )
        .unwrap();
        writeln!(
            text,
            "  body {:?} smtputf8 {} tls {} ret {:?} envid {:?}",
            begin.body, begin.smtputf8, begin.tls, begin.ret, begin.envid
        )
        .unwrap();
        for to in &mail.recipients {
            writeln!(text, "  to {} notify {} orcpt {:?}", to.address, to.notify.0, to.orcpt).unwrap();
        }
        let fates: Vec<String> =
            fates.iter().map(|(first, n, fate)| format!("{first}+{n} {fate:?}")).collect();
        writeln!(text, "  fates {}, attempts {}", fates.join(", "), summary.attempts).unwrap();
        writeln!(text, "  {} bytes, sha-256 {}", mail.body.len(), hex(&Sha256::digest(&mail.body))).unwrap();
    }
    for namespace in 0..=u8::MAX {
        for (key, value) in spool.metas(namespace) {
            writeln!(text, "meta {namespace} {} = {}", hex(key), hex(value)).unwrap();
        }
    }
    for event in spool.events() {
        let about = event.message.map(|id| id.0);
        writeln!(text, "event {} code {} about {about:?}: {}", event.at.unix_ms, event.code, event.text)
            .unwrap();
    }
    text
}

/// A medium that holds an image and was used as the medium was that the image was taken from.
fn medium_with(geometry: Geometry, image: &[u8]) -> Sim {
    let sim = Sim::new(geometry).unwrap();
    let mut medium = sim.medium();
    let unit = geometry.unit_bytes as usize;
    for (segment, bytes) in (0u32..).zip(image.chunks_exact(geometry.segment_bytes as usize)) {
        let erase = |medium: &mut penstock_flash::sim::SimMedium| {
            medium.start_erase(segment).unwrap();
            while medium.poll_erase().unwrap() == EraseProgress::Busy {}
        };
        erase(&mut medium);
        for (number, bytes) in (0u32..).zip(bytes.chunks_exact(unit)) {
            if bytes.iter().any(|byte| *byte != 0xFF) || geometry.erase == Erase::Logical {
                medium.program(segment, number * geometry.unit_bytes, bytes).unwrap();
            }
        }
        if geometry.erase == Erase::Logical {
            // It leaves what is there, and any of it may be overwritten.
            erase(&mut medium);
        }
    }
    medium.sync().unwrap();
    sim
}

/// The first line that two texts do not share.
fn assert_same(seen: &str, expected: &str, how: &str) {
    for (number, (seen, expected)) in seen.lines().zip(expected.lines()).enumerate() {
        assert_eq!(seen, expected, "{how}: line {}", number + 1);
    }
    assert_eq!(seen.lines().count(), expected.lines().count(), "{how}: lines in all");
}

/// What is not there for replay alone.
fn without_kept(content: &str) -> String {
    let mut is_kept = false;
    let mut rest = String::new();
    for line in content.split_inclusive('\n') {
        is_kept = line.starts_with("kept") || is_kept && line.starts_with("  ");
        if !is_kept {
            rest += line;
        }
    }
    rest
}

fn mount_scanning(sim: &Sim) -> TestSpool {
    let options = MountOptions { uses_checkpoint: false, ..MountOptions::default() };
    Spool::mount(sim.medium(), buffers(), options).unwrap()
}

#[test]
fn a_volume_of_format_1_is_read_by_this_version() {
    for Stored { name, geometry, image, content } in STORED {
        let sim = || medium_with(geometry, image);

        let mut spool = mount(sim().medium()).unwrap();
        let report = spool.mount_report();
        assert!(report.from_checkpoint && !report.clean && report.damaged_frames > 0, "{name}: {report:?}");
        assert_same(&content_of(&mut spool), content, &format!("{name} by its checkpoint"));

        let mut spool = mount_scanning(&sim());
        assert!(!spool.mount_report().from_checkpoint, "{name}");
        assert_same(&content_of(&mut spool), content, &format!("{name} segment by segment"));
    }
}

#[test]
fn a_volume_of_format_1_is_written_by_this_version() {
    for Stored { name, geometry, image, content } in STORED {
        for appends in [false, true] {
            let sim = medium_with(geometry, image);
            let new = mail(900, 2, 700);
            let mut spool = match appends {
                true => Spool::mount_append(sim.medium(), buffers()).unwrap(),
                false => mount(sim.medium()).unwrap(),
            };
            let id = store(&mut spool, &new, 300).unwrap();
            spool.sync().unwrap();
            spool.close().unwrap();
            for scans in [false, true] {
                let mut spool = if scans { mount_scanning(&sim) } else { mount(sim.medium()).unwrap() };
                let how = format!("{name}, appended {appends}, scanned {scans}");
                assert_eq!(read(&mut spool, id).unwrap(), new, "{how}");
                delivered(&mut spool, id);
                // Delivered, it is kept for replay; what is kept may go.
                assert_same(&without_kept(&content_of(&mut spool)), &without_kept(content), &how);
            }
        }
    }
}

/// A volume with something of everything in it, and a message that the power failed on.
fn furnish(geometry: Geometry) -> (Sim, String) {
    let sim = formatted(geometry);
    let mut spool = mount(sim.medium()).unwrap();
    let event = |number: u64, message: Option<MessageId>| Event {
        at: stamp(1_700_000_000_000 + number),
        code: number as u16,
        message,
        text: format!("event {number} of a volume of format 1"),
    };
    let step = geometry.segment_bytes as usize / 16;
    let mut ids = Vec::new();
    for number in 1..=16 {
        let mail = mail(number, 1 + number as u16 % 5, step * (number as usize % 5));
        ids.push(store(&mut spool, &mail, 500).unwrap());
        spool.sync().unwrap();
        spool.record_event(&event(number, ids.last().copied().filter(|id| id.0 % 2 == 0))).unwrap();
        spool.put_meta(number as u8 % 3, b"key", &[number as u8; 9]).unwrap();
        spool.put_meta(4, &[number as u8], &number.to_le_bytes()).unwrap();
        spool.sync().unwrap();
    }
    // Two in three are delivered, so that some segments are worth giving up and others are kept.
    for id in ids.iter().filter(|id| id.0 % 3 != 0) {
        delivered(&mut spool, *id);
    }
    spool.sync().unwrap();
    let large = store(&mut spool, &mail(100, 3, geometry.segment_bytes as usize * 3), 1000).unwrap();
    spool.sync().unwrap();
    spool.set_status(large, &fate(0, 1, Fate::Delivered)).unwrap();
    spool.set_status(large, &fate(1, 1, Fate::Deferred)).unwrap();
    spool.set_status(large, &fate(2, 1, Fate::Held)).unwrap();
    spool.sync().unwrap();
    // Mail comes and goes until some was moved.
    for number in 200..2000 {
        if spool.counters().moved_bytes > 0 {
            break;
        }
        let id = store(&mut spool, &mail(number, 1, step * 4), 1000).unwrap();
        spool.sync().unwrap();
        if number % 4 != 0 {
            delivered(&mut spool, id);
        }
        tidy(&mut spool);
    }
    assert!(spool.counters().moved_bytes > 0, "nothing was moved");
    let medium = spool.close().unwrap();
    let mut spool = mount(medium).unwrap();
    assert!(spool.mount_report().from_checkpoint);
    // What comes after the checkpoint.
    let last = store(&mut spool, &mail(3000, 4, 300), 300).unwrap();
    spool.sync().unwrap();
    spool.set_status(last, &fate(1, 2, Fate::Delivered)).unwrap();
    spool.record_event(&event(99, Some(last))).unwrap();
    spool.put_meta(1, b"key", b"newer").unwrap();
    spool.sync().unwrap();
    // A stop, after which is told how far it left segments open.
    let mut spool = mount(spool.into_medium()).unwrap();
    spool.put_meta(1, b"key", b"newest").unwrap();
    spool.sync().unwrap();
    let is_left =
        |line: &String| line.starts_with("segment") && line.contains(" to ") && !line.ends_with(" to 0");
    assert!(spool.inside().iter().any(is_left));
    let synced = content_of(&mut spool);
    // The power fails while the next ones are written, and of what was written some is kept.
    sim.branch_everywhere();
    for number in 4000..4003 {
        store(&mut spool, &mail(number, 1, step * 3), 200).unwrap();
    }
    let _ = spool.sync();
    let is_torn = |sim: &Sim, seed: u64| {
        let report = mount(sim.clone().power_on(seed)).unwrap().mount_report();
        // On units of 8 bytes no COMMIT outlives a cut that its message did not.
        let is_torn = report.torn_messages > 0 || geometry.erase == Erase::Physical;
        report.from_checkpoint && report.damaged_frames > 0 && is_torn
    };
    let branches = sim.take_branches();
    let cuts = branches.iter().flat_map(|sim| (2..500).map(move |seed| (sim, seed)));
    let (sim, seed) = cuts.into_iter().find(|(sim, seed)| is_torn(sim, *seed)).unwrap();
    // Of the last ones some may be there whole; of what was synced nothing may be missing.
    let content = content_of(&mut mount(sim.power_on(seed)).unwrap());
    assert!(synced.lines().all(|line| content.lines().any(|seen| seen == line)));
    (sim.clone(), content)
}

#[test]
fn the_images_can_be_made_anew() {
    for Stored { name, geometry, .. } in STORED {
        let (sim, content) = furnish(geometry);
        let copy = medium_with(geometry, &sim.image());
        for mut spool in [mount(copy.medium()).unwrap(), mount_scanning(&copy)] {
            assert_same(&content_of(&mut spool), &content, name);
        }
    }
}

#[test]
#[ignore = "writes images of volumes as this version makes them, with `new` in their names"]
fn write_new_images() {
    let images = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/images");
    for Stored { name, geometry, .. } in STORED {
        let (sim, content) = furnish(geometry);
        std::fs::write(images.join(format!("new-{name}.volume")), sim.image()).unwrap();
        std::fs::write(images.join(format!("new-{name}.txt")), content).unwrap();
    }
}

/// A volume on which all that was delivered could be given up.
fn with_twenty_delivered(geometry: Geometry) -> (Sim, TestSpool) {
    let sim = formatted(geometry);
    let mut spool = mount(sim.medium()).unwrap();
    for number in 0..20 {
        let id = store(&mut spool, &mail(number, 1, geometry.segment_bytes as usize / 4), 1000).unwrap();
        spool.sync().unwrap();
        delivered(&mut spool, id);
    }
    (sim, spool)
}

/// A volume with mail on which all that was delivered could be given up, one of its frames being of a kind of a later
/// version.
fn with_a_frame_of_kind_200(geometry: Geometry, flags: u8) -> Sim {
    let (sim, mut spool) = with_twenty_delivered(geometry);
    let event = Event { at: stamp(1), code: 1, message: None, text: "to become something else".into() };
    spool.record_event(&event).unwrap();
    spool.sync().unwrap();
    let mut image = sim.image();
    let frames = find(&image, &geometry);
    let event = frames.iter().find(|frame| frame.kind == 9).unwrap();
    image[event.start(&geometry) + 2] = 200;
    image[event.start(&geometry) + 3] = flags;
    reseal(&mut image, &geometry, &frames);
    medium_with(geometry, &image)
}

fn mount_keeping_nothing(sim: &Sim) -> TestSpool {
    let options = MountOptions { kept_bytes_max: 0, ..MountOptions::default() };
    Spool::mount(sim.medium(), buffers(), options).unwrap()
}

/// Also by the mounts after the first: none takes a checkpoint that would hide what is not known.
fn takes_three_and_gives_nothing_up(sim: &Sim, name: &str) {
    for boot in 0..3 {
        let mut spool = mount_keeping_nothing(sim);
        assert!(spool.mount_report().append_only, "{name}, boot {boot}");
        let new = mail(100 + boot, 1, 300);
        let id = store(&mut spool, &new, 300).unwrap();
        spool.sync().unwrap();
        tidy(&mut spool);
        assert_eq!(spool.info().kept_messages, 20, "{name}, boot {boot}");
        assert_eq!(read(&mut spool, id).unwrap(), new, "{name}, boot {boot}");
        spool.close().unwrap();
    }
}

#[test]
fn where_a_frame_is_not_known_mail_is_taken_and_nothing_is_given_up() {
    for (name, geometry) in GEOMETRIES {
        takes_three_and_gives_nothing_up(&with_a_frame_of_kind_200(geometry, 0), name);
    }
}

#[test]
fn a_frame_that_is_not_known_and_may_be_passed_over_changes_nothing() {
    for (name, geometry) in GEOMETRIES {
        let sim = with_a_frame_of_kind_200(geometry, 1);
        let mut spool = mount_keeping_nothing(&sim);
        assert!(!spool.mount_report().append_only, "{name}");
        tidy(&mut spool);
        assert!(spool.info().kept_messages < 20, "{name}");
    }
}

/// A bit that no version has given a meaning.
const LATER: u8 = 1 << 6;
/// Where the three sets of features stand in a header's payload.
const COMPATIBLE: usize = 1;
const APPEND_COMPATIBLE: usize = 2;
const INCOMPATIBLE: usize = 3;

/// A volume with mail that could be given up, as a later version leaves it that uses a feature: in the headers that it wrote,
/// which are the newest `share` of them.
fn with_a_later_feature(geometry: Geometry, set: usize, share: usize) -> Sim {
    let (sim, spool) = with_twenty_delivered(geometry);
    spool.close().unwrap();
    let mut image = sim.image();
    let frames = find(&image, &geometry);
    let mut headers: Vec<_> = frames.iter().filter(|frame| frame.kind == 1).collect();
    // Those of the segments that were opened last are written last.
    let sequence = |segment: u32| {
        let of_segment = frames.iter().filter(|frame| frame.segment == segment);
        of_segment.map(|frame| if frame.kind == 11 { frame.msg_id } else { 0 }).max().unwrap_or(0)
    };
    headers.sort_by_key(|frame| sequence(frame.segment));
    let first = headers.len() - headers.len().div_ceil(share);
    for header in &headers[first..] {
        image[header.payload(&geometry) + set] |= LATER;
    }
    reseal(&mut image, &geometry, &frames);
    medium_with(geometry, &image)
}

#[test]
fn a_volume_with_a_feature_that_is_not_known_and_changes_everything_is_left_alone() {
    for (name, geometry) in GEOMETRIES {
        for share in [1, 4] {
            let sim = with_a_later_feature(geometry, INCOMPATIBLE, share);
            let before = sim.image();
            let unknown = Error::UnknownFormat { format: 1, features: u32::from(LATER) };
            assert_eq!(mount(sim.medium()).err(), Some(unknown), "{name}, {share}");
            assert_eq!(Spool::mount_append(sim.medium(), buffers()).err(), Some(unknown), "{name}, {share}");
            assert_eq!(unknown.code(), "PS-S011");
            assert!(sim.image() == before, "{name}, {share}: something was written");
        }
    }
}

#[test]
fn a_volume_with_a_feature_that_only_hides_what_is_live_takes_mail_and_gives_nothing_up() {
    for (name, geometry) in GEOMETRIES {
        for share in [1, 4] {
            let sim = with_a_later_feature(geometry, APPEND_COMPATIBLE, share);
            takes_three_and_gives_nothing_up(&sim, name);
            let mut spool = Spool::mount_append(sim.medium(), buffers()).unwrap();
            store(&mut spool, &mail(200, 1, 300), 300).unwrap();
            spool.sync().unwrap();
            spool.close().unwrap();
            let spool = mount_keeping_nothing(&sim);
            assert_eq!(spool.facts().features, [0, u32::from(LATER), 0], "{name}");
            let queued = spool.queue(MessageId(0)).count();
            assert_eq!((queued, spool.info().kept_messages), (4, 20), "{name}");
        }
    }
}

#[test]
fn a_feature_that_may_be_ignored_is_and_who_writes_keeps_it() {
    for (name, geometry) in GEOMETRIES {
        let sim = with_a_later_feature(geometry, COMPATIBLE, 1);
        for boot in 0..8 {
            let mut spool = mount_keeping_nothing(&sim);
            assert!(!spool.mount_report().append_only, "{name}");
            assert_eq!(spool.facts().features, [u32::from(LATER), 0, 0], "{name}, boot {boot}");
            // Until none of the segments is left that the later version wrote.
            for number in 0..8 {
                let mail = mail(100 + boot * 8 + number, 1, geometry.segment_bytes as usize / 2);
                let id = store(&mut spool, &mail, 1000).unwrap();
                spool.sync().unwrap();
                delivered(&mut spool, id);
                tidy(&mut spool);
            }
            spool.close().unwrap();
        }
    }
}
