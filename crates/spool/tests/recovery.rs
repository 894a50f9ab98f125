//! What a mount makes of what a stop, a fault or rot left behind, told by what can be seen from outside.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict")]

mod common;

use common::*;
use penstock_flash::sim::{Fault, SEED_KEEP_ALL, Sim, SimMedium};
use penstock_flash::{Erase, Geometry};
use penstock_spool::proof::Branch;
use penstock_spool::proof::frames::{self, FrameAt};
use penstock_spool::{Error, Fate, MessageId, MountOptions, MountReport, Spool, Step};

/// Kinds of frames, as `FORMAT.md` numbers them.
const SEGMENT_HEADER: u8 = 1;
const CHUNK: u8 = 4;
const COMMIT: u8 = 6;
const STATUS: u8 = 7;
const SEGMENT_STATE: u8 = 10;
const GROUP_END: u8 = 11;
/// Lives of segments, numbered likewise.
const USED: u64 = 0;
const LEFT: u64 = 4;

/// Mounts by the header of every segment.
fn mount_by_scan(medium: SimMedium) -> TestSpool {
    let options = MountOptions { uses_checkpoint: false, ..MountOptions::default() };
    Spool::mount(medium, buffers(), options).unwrap()
}

/// Stores and syncs messages of such a size, the first with that number.
fn store_some(spool: &mut TestSpool, first: u64, count: u64, size_bytes: usize) -> Vec<(MessageId, Mail)> {
    let numbers = first..first + count;
    numbers
        .map(|number| {
            let mail = mail(number, 3, size_bytes);
            let id = store(spool, &mail, 1000).unwrap();
            spool.sync().unwrap();
            (id, mail)
        })
        .collect()
}

fn assert_whole(spool: &mut TestSpool, mails: &[(MessageId, Mail)], how: &str) {
    for (id, mail) in mails {
        assert_eq!(read(spool, *id).as_ref(), Ok(mail), "{how}: {id}");
    }
}

fn flip(sim: &Sim, frame: &FrameAt, offset: u32) {
    sim.inject(Fault::Flip { segment: frame.segment, offset: frame.offset + offset, mask: 4 });
}

/// Flips a bit in both copies of a segment's header.
fn lose_header(sim: &Sim, frames: &[FrameAt], segment: u32) {
    let headers = frames.iter().filter(|frame| frame.segment == segment && frame.kind == SEGMENT_HEADER);
    assert_eq!(headers.map(|header| flip(sim, header, 5)).count(), 2);
}

#[test]
fn a_mount_tells_what_it_had_to_do() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        store_some(&mut spool, 1, 4, 300);
        let found_nothing = MountReport::default();
        let medium = spool.close().unwrap();
        Branch::take_reached().for_each(drop);
        let clean = mount(medium).unwrap().mount_report();
        assert!(!Branch::take_reached().any(|branch| branch == Branch::Quarantined), "{name}");
        // The two segments that were open when the checkpoint was taken.
        let expected = MountReport { clean: true, from_checkpoint: true, read_segments: 2, ..found_nothing };
        assert_eq!(clean, expected, "{name}");

        let mut spool = mount(sim.medium()).unwrap();
        store_some(&mut spool, 5, 1, 300);
        let medium = spool.into_medium();
        let crashed = mount(medium).unwrap().mount_report();
        let expected = MountReport { from_checkpoint: true, scanned_segments: 2, ..found_nothing };
        assert_eq!(MountReport { read_segments: 0, ..crashed }, expected, "{name}");
        assert!(crashed.read_segments >= 4, "{name}: {crashed:?}");
        let scanned = mount_by_scan(sim.medium()).mount_report();
        assert!(scanned.read_segments >= crashed.read_segments, "{name}: {scanned:?}");
        let read_segments = crashed.read_segments;
        assert_eq!(MountReport { from_checkpoint: true, read_segments, ..scanned }, crashed, "{name}");
    }
}

#[test]
fn a_checkpoint_that_a_mount_got_by_with_stays_until_there_is_another() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        let mails = store_some(&mut spool, 1, 3, 300);
        assert!(!spool.mount_report().from_checkpoint, "{name}: there was none");
        // Idle times are enough for the first one.
        tidy(&mut spool);
        let mut medium = spool.into_medium();
        for boot in 0..5 {
            let mut spool = mount(medium).unwrap();
            assert!(spool.mount_report().from_checkpoint, "{name}, boot {boot}");
            assert_whole(&mut spool, &mails, name);
            tidy(&mut spool);
            medium = spool.into_medium();
        }
    }
}

#[test]
fn a_checkpoint_of_several_segments_is_taken_and_mounted_by() {
    for (name, geometry) in GEOMETRIES {
        // Small mail, and enough of it that no one segment holds the index.
        let messages = geometry.segment_bytes / 12;
        let geometry = Geometry { segments: 16 + messages * 600 / geometry.segment_bytes * 3, ..geometry };
        for more in 0..8 {
            let sim = formatted(geometry);
            let mut spool = mount(sim.medium()).unwrap();
            for number in 0..u64::from(messages) + 5 * more {
                store(&mut spool, &mail(number % 7, 1, 0), 1).unwrap();
                if number % 20 == 0 {
                    spool.sync().unwrap();
                }
            }
            let spool = mount(spool.close().unwrap()).unwrap();
            let report = spool.mount_report();
            assert!(report.clean && report.from_checkpoint, "{name}, {more}: {report:?}");
            assert_eq!(spool.info().messages as u64, u64::from(messages) + 5 * more, "{name}");
        }
    }
}

#[test]
fn a_root_that_names_many_status_segments_calls_for_a_checkpoint() {
    // So many messages that what is written between two checkpoints could be far more than twenty status segments.
    let geometry = geometry(16, 4096, 512, Erase::Physical);
    let sim = formatted(geometry);
    let mut spool = mount(sim.medium()).unwrap();
    for number in 0..1500 {
        store(&mut spool, &mail(number % 7, 1, 0), 1).unwrap();
        if number % 20 == 19 {
            spool.sync().unwrap();
        }
    }
    tidy(&mut spool);
    for value in 0..2500u32 {
        spool.put_meta(1, &[value as u8 % 16], &[value as u8; 100]).unwrap();
        spool.sync().unwrap();
        if value % 10 == 0 {
            tidy(&mut spool);
        }
    }
    assert!(spool.counters().status_bytes > 60 * 4096, "it was sixty status segments");
    let spool = mount(spool.into_medium()).unwrap();
    assert!(spool.mount_report().from_checkpoint);
}

#[test]
fn what_a_cut_left_in_the_tail_is_written_anew_and_not_needed_where_it_stood() {
    for (name, geometry) in GEOMETRIES {
        for size_bytes in [0, 300, geometry.segment_bytes as usize * 3 / 2] {
            let sim = formatted(geometry);
            let mut spool = mount(sim.medium()).unwrap();
            let known = store_some(&mut spool, 1, 3, 300);
            spool.put_meta(1, b"old", b"value").unwrap();
            spool.sync().unwrap();
            let before = sim.image();
            // Mail, a fate and state are programmed, and the power fails in the sync.
            let mut under_way = Vec::new();
            if size_bytes > 0 {
                let new = mail(10, 2, size_bytes);
                under_way.push((store(&mut spool, &new, 500).unwrap(), new));
            }
            spool.set_status(known[0].0, &fate(1, 1, Fate::Delivered)).unwrap();
            spool.put_meta(1, b"key", b"value").unwrap();
            spool.put_meta(1, b"old", b"another").unwrap();
            // Without mail there is one write, and that is written through.
            sim.cut_after(if size_bytes > 0 { 2 } else { 0 });
            assert!(spool.sync().is_err(), "{name}");
            Branch::take_reached().for_each(drop);
            let mut spool = mount(sim.power_on(SEED_KEEP_ALL)).unwrap();
            let how = format!("{name}, {size_bytes} bytes; replay: {}", sim.story());
            assert_whole(&mut spool, &under_way, &how);
            let after = sim.image();
            let touched = (0..before.len()).filter(|at| after[*at] != before[*at]).step_by(8);
            let touched: Vec<usize> = touched.collect();
            assert!(!touched.is_empty());
            // What comes between the mount and the first sync is newer than the tail.
            spool.put_meta(1, b"old", b"newest").unwrap();
            spool.sync().unwrap();
            let reached: Vec<Branch> = Branch::take_reached().collect();
            let mut expected = vec![Branch::TailToSettle, Branch::TailFates, Branch::TailState];
            expected.extend((size_bytes > 0).then_some(Branch::TailMoved));
            for branch in expected {
                assert!(reached.contains(&branch), "{how}: {branch:?} was not entered");
            }
            // And no more than that: what was known durable stays where it stands.
            assert!(spool.counters().moved_bytes < size_bytes as u64 + 2 * 1024 + 3 * 4096, "{how}");
            // Its cells fade.
            let segment_bytes = geometry.segment_bytes as usize;
            for at in touched {
                let (segment, offset) = ((at / segment_bytes) as u32, (at % segment_bytes) as u32);
                sim.inject(Fault::Flip { segment, offset, mask: 0x40 });
            }
            for mut spool in [mount(sim.medium()).unwrap(), mount_by_scan(sim.medium())] {
                assert_whole(&mut spool, &known, &how);
                assert_whole(&mut spool, &under_way, &how);
                let fates = [(0, 1, Fate::Queued), (1, 1, Fate::Delivered), (2, 1, Fate::Queued)];
                assert_eq!(spool.fates(known[0].0).unwrap(), fates, "{how}");
                assert_eq!(spool.meta(1, b"key"), Some(&b"value"[..]), "{how}");
                assert_eq!(spool.meta(1, b"old"), Some(&b"newest"[..]), "{how}");
                assert_eq!(spool.mount_report().damaged_messages, 0, "{how}");
            }
        }
    }
}

#[test]
fn mail_and_fates_are_found_in_segments_that_lost_their_header() {
    for (name, geometry) in GEOMETRIES {
        let volume = || {
            let sim = formatted(geometry);
            let mut spool = mount(sim.medium()).unwrap();
            let mails = store_some(&mut spool, 1, 8, geometry.segment_bytes as usize / 4);
            spool.set_status(mails[2].0, &fate(1, 2, Fate::Delivered)).unwrap();
            spool.close().unwrap();
            let frames = frames::find(&sim.image(), &geometry);
            (sim, mails, frames)
        };
        let (_, _, found) = volume();
        let mut segments: Vec<u32> = found
            .iter()
            .filter(|frame| [COMMIT, STATUS].contains(&frame.kind))
            .map(|frame| frame.segment)
            .collect();
        segments.dedup();
        segments.sort_unstable();
        segments.dedup();
        assert!(segments.len() >= 3, "{name}");
        for segment in segments {
            let how = format!("{name}, segment {segment}");
            let (sim, mails, frames) = volume();
            lose_header(&sim, &frames, segment);
            let mut by_hints = mount(sim.medium()).unwrap();
            assert_whole(&mut by_hints, &mails, &how);
            let fates = [(0, 1, Fate::Queued), (1, 2, Fate::Delivered)];
            assert_eq!(by_hints.fates(mails[2].0).unwrap(), fates, "{how}");
            Branch::take_reached().for_each(drop);
            let mut spool = mount_by_scan(sim.medium());
            let reached: Vec<Branch> = Branch::take_reached().collect();
            assert!(reached.contains(&Branch::HeadlessRead), "{how}");
            assert_eq!(spool.mount_report().quarantined_segments, 1, "{how}");
            let stands_there = |sim: &Sim| {
                let bytes = geometry.segment_bytes as usize;
                sim.image()[segment as usize * bytes..][..bytes].to_vec()
            };
            let before = stands_there(&sim);
            for boot in 0..3 {
                assert_whole(&mut spool, &mails, &how);
                let fates = [(0, 1, Fate::Queued), (1, 2, Fate::Delivered)];
                assert_eq!(spool.fates(mails[2].0).unwrap(), fates, "{how}");
                // Mail comes and goes, but nothing there is taken for free.
                for (id, _) in
                    store_some(&mut spool, 100 * (boot + 1), 12, geometry.segment_bytes as usize / 3)
                {
                    delivered(&mut spool, id);
                    spool.sync().unwrap();
                    tidy(&mut spool);
                }
                assert_eq!(stands_there(&sim), before, "{how}");
                spool = mount(spool.into_medium()).unwrap();
            }
            assert!(spool.mount_report().quarantined_segments <= 1, "{how}");
            assert_eq!(sim.counters().violations, 0, "{how}");
        }
        assert!(!Branch::take_reached().any(|branch| branch == Branch::Damaged), "{name}");
    }
}

#[test]
fn mail_is_found_in_a_segment_of_which_neither_header_nor_record_is_left() {
    for (name, geometry) in GEOMETRIES {
        for was_used in [false, true] {
            let tried =
                (5..12).filter(|mails| neither_header_nor_record_is_left(name, geometry, was_used, *mails));
            assert!(tried.count() > 0, "{name}");
        }
    }
}

/// The numbers of a record: of one about a segment the segment, its sequence, its erases, its purpose, its life and what
/// goes with that.
fn numbers_in(payload: &[u8]) -> Vec<u64> {
    let numbers = payload.split_inclusive(|byte| byte & 0x80 == 0);
    let value = |bytes: &[u8]| bytes.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7F));
    numbers.map(value).collect()
}

/// The segment, the sequence and whether it is in use, by a record about a segment.
fn told_by(payload: &[u8]) -> (u32, u64, bool) {
    let numbers = numbers_in(payload);
    (numbers[0] as u32, numbers[1], matches!(numbers[4], USED | LEFT))
}

/// The segment opened last, for the first time or again, loses its header and the word of its opening. Whether it was
/// one with mail.
fn neither_header_nor_record_is_left(name: &str, geometry: Geometry, was_used: bool, count: u64) -> bool {
    let how = &format!("{name}, used before: {was_used}, {count} messages");
    let sim = formatted(geometry);
    let mut spool = mount(sim.medium()).unwrap();
    let mut mails = if was_used { turns(&mut spool, &geometry, 60).0 } else { Vec::new() };
    mails.extend(store_some(&mut spool, 1000, count, geometry.segment_bytes as usize / 4));
    drop(spool);
    let (image, frames) = (sim.image(), frames::find(&sim.image(), &geometry));
    let told = |frame: &FrameAt| told_by(&image[frame.payload(&geometry)..][..frame.len_bytes as usize]);
    let records = frames.iter().filter(|frame| frame.kind == SEGMENT_STATE);
    let newest = records.filter(|record| told(record).2).max_by_key(|record| told(record).1).unwrap();
    let segment = told(newest).0;
    if !frames.iter().any(|frame| frame.segment == segment && frame.kind == COMMIT) {
        return false;
    }
    lose_header(&sim, &frames, segment);
    flip(&sim, newest, 24);
    // A mount by the checkpoint looks for headers alone.
    let mut spool = mount_by_scan(sim.medium());
    assert_whole(&mut spool, &mails, how);
    // And again, when that was told of.
    let more = store_some(&mut spool, 20, 4, 300);
    tidy(&mut spool);
    let mut spool = mount_by_scan(spool.into_medium());
    assert_whole(&mut spool, &mails, how);
    assert_whole(&mut spool, &more, how);
    assert_eq!(sim.counters().violations, 0, "{how}");
    true
}

/// Takes mail and delivers it, some turns of it. The mail that was acknowledged and is not delivered.
fn turns(
    spool: &mut TestSpool,
    geometry: &Geometry,
    turns: u64,
) -> (Vec<(MessageId, Mail)>, Result<(), Error>) {
    let mut known = Vec::new();
    let mut turn = |number: u64| -> Result<(), Error> {
        let mail = mail(number, 1, geometry.segment_bytes as usize / 3);
        let id = store(spool, &mail, 1000)?;
        spool.sync()?;
        known.push((id, mail));
        if known.len() > 6 {
            let (id, _) = known.remove(0);
            spool.set_status(id, &fate(0, 1, Fate::Delivered))?;
            spool.sync()?;
        }
        while spool.step(stamp(0))? != Step::Idle {}
        Ok(())
    };
    let done = (0..turns).try_for_each(&mut turn);
    (known, done)
}

#[test]
fn where_a_segment_cannot_be_opened_a_chip_goes_on_with_another_and_a_disk_stops() {
    for (name, geometry) in GEOMETRIES {
        for failures in 1..=5 {
            let mut most_bad = 0;
            for operation in 0..60 {
                let sim = formatted(geometry);
                let mut spool = mount(sim.medium()).unwrap();
                for _ in 0..failures {
                    sim.inject_at(sim.operations() + operation, Fault::FailProgram { code: 5 });
                }
                let (known, done) = turns(&mut spool, &geometry, 8);
                let how = format!("{name}; replay: {}", sim.story());
                assert_eq!(done.is_err(), spool.info().read_only, "{how}");
                let mut spool = mount(sim.power_on(SEED_KEEP_ALL)).unwrap();
                let bad = spool.mount_report().bad_segments;
                assert_whole(&mut spool, &known, &how);
                assert!(bad == 0 || geometry.erase == Erase::Physical, "{how}: {bad} bad");
                if done.is_ok() {
                    most_bad = most_bad.max(bad);
                }
            }
            // Four are tried in turn.
            let expected = if geometry.erase == Erase::Physical && failures < 4 { failures } else { 0 };
            assert!(most_bad >= expected && most_bad <= 3, "{name}: {most_bad} bad of {failures}");
        }
    }
}

#[test]
fn a_segment_that_an_erase_left_as_it_was_is_not_used() {
    for (name, geometry) in GEOMETRIES.into_iter().filter(|(_, geometry)| geometry.erase == Erase::Physical) {
        let mut found = 0;
        for operation in (0..400).step_by(3) {
            let sim = formatted(geometry);
            let mut spool = mount(sim.medium()).unwrap();
            sim.inject_at(sim.operations() + operation, Fault::IgnoreErase);
            let (known, done) = turns(&mut spool, &geometry, 60);
            let how = format!("{name}; replay: {}", sim.story());
            assert_eq!((done, sim.counters().violations), (Ok(()), 0), "{how}");
            let mut spool = mount(spool.into_medium()).unwrap();
            assert_whole(&mut spool, &known, &how);
            found += spool.mount_report().bad_segments;
        }
        assert!(found > 20, "{name}: {found}");
    }
}

#[test]
fn kept_mail_makes_room_in_an_index_that_is_full() {
    let (name, geometry) = GEOMETRIES[2];
    let sim = formatted(geometry);
    let options = MountOptions { messages_max: 12, ..MountOptions::default() };
    let mut spool = Spool::mount(sim.medium(), buffers(), options).unwrap();
    let size_bytes = geometry.segment_bytes as usize / 4;
    let waiting = store_some(&mut spool, 1, 1, size_bytes);
    let mut last = None;
    for number in 2..60 {
        let (id, _) = store_some(&mut spool, number, 1, size_bytes).remove(0);
        delivered(&mut spool, id);
        spool.sync().unwrap();
        last = Some(id);
    }
    let info = spool.info();
    assert!(info.messages + info.kept_messages <= 12, "{info:?}");
    assert_whole(&mut spool, &waiting, name);
    assert!(read(&mut spool, last.unwrap()).is_ok(), "the oldest went");
}

#[test]
fn a_segment_that_a_cut_may_have_caught_and_that_cannot_be_erased_is_not_opened() {
    for (name, geometry) in GEOMETRIES.into_iter().filter(|(_, geometry)| geometry.erase == Erase::Physical) {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        let mut mails = store_some(&mut spool, 1, 3, 300);
        let mut spool = mount(spool.into_medium()).unwrap();
        sim.inject(Fault::FailErase { code: 5 });
        mails.extend(store_some(&mut spool, 10, 4, geometry.segment_bytes as usize / 2));
        assert_eq!(sim.counters().violations, 0, "{name}");
        let mut spool = mount(spool.into_medium()).unwrap();
        assert_eq!(spool.mount_report().bad_segments, 1, "{name}");
        assert_whole(&mut spool, &mails, name);
    }
}

#[test]
fn the_first_write_after_a_stop_tells_how_far_segments_go_that_were_left_open() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        let mails = store_some(&mut spool, 1, 3, 300);
        // So that something names the last of the mail.
        delivered(&mut spool, mails[0].0);
        spool.sync().unwrap();
        drop(spool);
        let image = sim.image();
        let frames = frames::find(&image, &geometry);
        let segment = frames.iter().rfind(|frame| frame.kind == COMMIT).unwrap().segment;
        let ends = frames.iter().filter(|frame| (frame.segment, frame.kind) == (segment, GROUP_END));
        let last_group = ends.map(|frame| frame.msg_id).max().unwrap();

        let mut spool = mount(sim.medium()).unwrap();
        store_some(&mut spool, 4, 1, 300);
        let lines =
            [spool.inside(), mount(sim.medium()).unwrap().inside(), mount_by_scan(sim.medium()).inside()];
        for lines in lines {
            let of_segment =
                lines.iter().find(|line| line.starts_with(&format!("segment {segment}:"))).unwrap();
            assert!(of_segment.ends_with(&format!(" to {last_group}")), "{name}: {of_segment}");
        }
        let image = sim.image();
        let records = frames::find(&image, &geometry).into_iter().filter(|f| f.kind == SEGMENT_STATE);
        let numbers = records.map(|record| {
            let start = record.payload(&geometry);
            numbers_in(&image[start..start + record.len_bytes as usize])
        });
        let told: Vec<Vec<u64>> = numbers.filter(|numbers| numbers[0] == u64::from(segment)).collect();
        // Once, and by a record of the same life as the one that says it was opened.
        assert_eq!(
            told.iter().filter(|numbers| numbers[4..] == [LEFT, last_group]).count(),
            1,
            "{name}: {told:?}"
        );
        assert!(
            told.iter().any(|numbers| numbers[..2] == told[0][..2] && numbers[4..] == [USED]),
            "{told:?}"
        );
    }
}

#[test]
fn clean_stops_in_a_row_write_nothing() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        store_some(&mut spool, 1, 3, 300);
        spool.close().unwrap();
        let image = sim.image();
        for _ in 0..3 {
            mount(sim.medium()).unwrap().close().unwrap();
        }
        assert_eq!(sim.image(), image, "{name}");
    }
}

#[test]
fn a_bit_that_no_erase_sets_is_found_before_the_segment_is_used_again() {
    for (name, geometry) in GEOMETRIES.into_iter().filter(|(_, geometry)| geometry.erase == Erase::Physical) {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        let (_, done) = turns(&mut spool, &geometry, 30);
        assert_eq!(done, Ok(()), "{name}");
        // A byte of a body, in the segment of the oldest mail: it reads as it should while that stands there.
        let image = sim.image();
        let frames = frames::find(&image, &geometry);
        let oldest = frames.iter().filter(|frame| frame.kind == 4).min_by_key(|frame| frame.msg_id).unwrap();
        let at = oldest.payload(&geometry) + oldest.len_bytes as usize / 2;
        let mask = 1 << image[at].trailing_ones();
        let offset = (at % geometry.segment_bytes as usize) as u32;
        sim.inject(Fault::Stuck { segment: oldest.segment, offset, mask, ones: false });
        let (known, done) = turns(&mut spool, &geometry, 60);
        assert_eq!((done, sim.counters().violations), (Ok(()), 0), "{name}");
        let mut spool = mount(spool.into_medium()).unwrap();
        assert_eq!(spool.mount_report().bad_segments, 1, "{name}");
        assert_whole(&mut spool, &known, name);
    }
}

#[test]
fn a_status_segment_that_only_a_root_or_a_checkpoint_tells_of_is_read_though_its_beginning_is_gone() {
    let (name, geometry) = GEOMETRIES[5];
    for is_clean in [false, true] {
        let how = &format!("{name}, clean: {is_clean}");
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        let mails = store_some(&mut spool, 1, 8, 300);
        for (id, _) in &mails {
            spool.set_status(*id, &fate(1, 1, Fate::Delivered)).unwrap();
            spool.sync().unwrap();
        }
        // A clean stop takes a checkpoint, and the root after it names none of the segments before.
        if is_clean {
            spool.close().unwrap();
        } else {
            drop(spool);
        }
        let frames = frames::find(&sim.image(), &geometry);
        let mut fates = frames.iter().filter(|frame| frame.kind == STATUS);
        let first = fates.next().unwrap();
        // Its header, and all that could tell under which sequence number it was written.
        lose_header(&sim, &frames, first.segment);
        let before = |frame: &&FrameAt| frame.segment == first.segment && frame.offset < first.offset;
        let groups = frames.iter().filter(before).filter(|frame| frame.kind != SEGMENT_HEADER);
        groups.for_each(|frame| flip(&sim, frame, 5));
        for mut spool in [mount(sim.medium()).unwrap(), mount_by_scan(sim.medium())] {
            assert_whole(&mut spool, &mails, how);
        }
        let spool = mount(sim.medium()).unwrap();
        for (id, _) in &mails {
            let fates = [(0, 1, Fate::Queued), (1, 1, Fate::Delivered), (2, 1, Fate::Queued)];
            assert_eq!(spool.fates(*id).unwrap(), fates, "{how}: {id}");
        }
        // The first write tells of it elsewhere, so that nothing need be guessed any more.
        let mut spool = spool;
        spool.put_meta(1, b"key", b"value").unwrap();
        spool.sync().unwrap();
        drop(spool);
        let (image, frames) = (sim.image(), frames::find(&sim.image(), &geometry));
        let is_told = frames.iter().filter(|frame| frame.kind == SEGMENT_STATE).any(|frame| {
            let payload = &image[frame.payload(&geometry)..][..frame.len_bytes as usize];
            frame.segment != first.segment && told_by(payload).0 == first.segment
        });
        assert!(is_told, "{how}");
    }
}

#[test]
fn a_segment_of_which_something_durable_is_not_whole_is_told_of() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        let mails = store_some(&mut spool, 1, 4, 300);
        drop(spool);
        let seen = |spool: &TestSpool| -> (u32, Vec<u32>) {
            (spool.mount_report().rotten_segments, spool.unreadable_segments().collect())
        };
        assert_eq!(seen(&mount(sim.medium()).unwrap()), (0, vec![]), "{name}");
        // A byte of the first body: later groups say of its group that it was durable.
        let frames = frames::find(&sim.image(), &geometry);
        let body = frames.iter().find(|frame| frame.kind == CHUNK && frame.msg_id == mails[0].0.0).unwrap();
        flip(&sim, body, 40);
        for mut spool in [mount(sim.medium()).unwrap(), mount_by_scan(sim.medium())] {
            assert_eq!(seen(&spool), (1, vec![body.segment]), "{name}");
            assert!(read(&mut spool, mails[0].0).is_err(), "{name}");
            assert_whole(&mut spool, &mails[1..], name);
        }
    }
}

#[test]
fn a_segment_opened_since_the_checkpoint_is_missed_where_it_lost_its_header() {
    for (name, geometry) in GEOMETRIES {
        let mut tried = 0;
        for nth in 0.. {
            let sim = formatted(geometry);
            let mut spool = mount(sim.medium()).unwrap();
            let size_bytes = geometry.segment_bytes as usize / 4;
            let mut mails = store_some(&mut spool, 1, 3, size_bytes);
            let mut spool = mount(spool.close().unwrap()).unwrap();
            let since = store_some(&mut spool, 10, 8, size_bytes);
            drop(spool);
            let frames = frames::find(&sim.image(), &geometry);
            let is_new = |frame: &&FrameAt| frame.kind == COMMIT && frame.msg_id >= since[0].0.0;
            let segments: Vec<u32> = frames.iter().filter(is_new).map(|frame| frame.segment).collect();
            let segments = std::collections::BTreeSet::from_iter(segments);
            let Some(segment) = segments.into_iter().nth(nth) else { break };
            lose_header(&sim, &frames, segment);
            let how = format!("{name}, segment {segment}");
            mails.extend(since);
            let mut spool = mount(sim.medium()).unwrap();
            let report = spool.mount_report();
            assert_eq!((report.from_checkpoint, report.quarantined_segments), (false, 1), "{how}");
            assert_whole(&mut spool, &mails, &how);
            tried += 1;
        }
        assert!(tried > 1, "{name}");
    }
}

#[test]
fn rot_in_a_status_segment_makes_a_mount_read_all_headers_and_rot_in_mail_does_not() {
    for (name, geometry) in GEOMETRIES {
        for kind in [STATUS, CHUNK] {
            let how = &format!("{name}, kind {kind}");
            let sim = formatted(geometry);
            let spool = mount(sim.medium()).unwrap();
            let mut spool = mount(spool.close().unwrap()).unwrap();
            let mails = store_some(&mut spool, 1, 4, 300);
            let mut spool = mount(spool.close().unwrap()).unwrap();
            let since = store_some(&mut spool, 10, 3, 300);
            for (id, _) in &since {
                spool.set_status(*id, &fate(1, 1, Fate::Delivered)).unwrap();
                spool.sync().unwrap();
            }
            drop(spool);
            assert!(mount(sim.medium()).unwrap().mount_report().from_checkpoint, "{how}");
            let frames = frames::find(&sim.image(), &geometry);
            let is_it = |frame: &&FrameAt| frame.kind == kind && frame.msg_id == since[0].0.0;
            flip(&sim, frames.iter().find(is_it).unwrap(), 28);
            let mut spool = mount(sim.medium()).unwrap();
            let report = spool.mount_report();
            assert_eq!((report.from_checkpoint, report.rotten_segments), (kind == CHUNK, 1), "{how}");
            assert_whole(&mut spool, &mails, how);
            assert_whole(&mut spool, &since[1..], how);
        }
    }
}

/// The segments that have a header, and their sequence numbers.
fn sequences(sim: &Sim, geometry: &Geometry) -> std::collections::BTreeMap<u32, u64> {
    let (image, frames) = (sim.image(), frames::find(&sim.image(), geometry));
    let headers = frames.iter().filter(|frame| frame.kind == SEGMENT_HEADER);
    let sequence_of = |frame: &FrameAt| {
        // Behind the format, the features and the volume's id: the geometry, the segment and its sequence number.
        let payload = &image[frame.payload(geometry)..][..frame.len_bytes as usize];
        let at = payload.windows(VOLUME.len()).position(|id| id == VOLUME).unwrap() + VOLUME.len();
        let mut numbers = payload[at..].split_inclusive(|byte| byte & 0x80 == 0);
        let number = numbers.nth(4).unwrap();
        number.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7F))
    };
    headers.map(|frame| (frame.segment, sequence_of(frame))).collect()
}

#[test]
fn no_two_openings_take_the_same_number() {
    for (name, geometry) in GEOMETRIES {
        for is_clean in [true, false] {
            let sim = formatted(geometry);
            for boot in 0..6 {
                let mut spool = mount(sim.medium()).unwrap();
                store_some(&mut spool, boot, 1, 300);
                if is_clean {
                    spool.close().unwrap();
                }
                let sequences = sequences(&sim, &geometry);
                let distinct = std::collections::BTreeSet::from_iter(sequences.values());
                assert_eq!(distinct.len(), sequences.len(), "{name}, clean: {is_clean}: {sequences:?}");
            }
        }
    }
}
