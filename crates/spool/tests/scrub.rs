//! Rot is found before it is delivered: mended where SHA-256 says that it was mended right, else set aside and told of.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict")]

mod common;

use common::*;
use penstock_flash::sim::{Fault, Rng, Sim};
use penstock_flash::{Erase, Geometry};
use penstock_spool::{
    Error, Event, Fate, Finding, MessageId, SCRUB_FRAME_BYTES, ScrubMode, ScrubReport, ScrubStep,
};

/// A whole pass: what it found, one by one and summed up.
fn pass(spool: &mut TestSpool, mode: ScrubMode) -> (Vec<Finding>, ScrubReport) {
    let mut scrub = spool.begin_scrub(mode, MessageId(0));
    let mut findings = Vec::new();
    for _ in 0..100_000 {
        match spool.scrub_step(&mut scrub, 4096).unwrap() {
            ScrubStep::Progress(progress) => assert!(progress.done_bytes <= progress.total_bytes),
            ScrubStep::Found(finding) => findings.push(finding),
            ScrubStep::Done(report) => {
                let progress = scrub.progress();
                assert_eq!(progress.done_bytes, progress.total_bytes, "all was gone through");
                return (findings, report);
            }
        }
    }
    panic!("the pass does not come to an end");
}

/// A volume with some mail, every third of it delivered, synced one by one.
fn volume(geometry: Geometry) -> (Sim, TestSpool, Vec<(MessageId, Mail)>) {
    let sim = formatted(geometry);
    let mut spool = mount(sim.medium()).unwrap();
    let mut mails = Vec::new();
    for number in 0..12 {
        let mail = mail(number, 1 + number as u16 % 3, 300 + 150 * number as usize);
        let id = store(&mut spool, &mail, 500).unwrap();
        spool.sync().unwrap();
        if number % 3 == 2 {
            delivered(&mut spool, id);
            spool.sync().unwrap();
        }
        mails.push((id, mail));
    }
    (sim, spool, mails)
}

/// Where these bytes stand on the medium, which holds them once.
fn place_of(sim: &Sim, bytes: &[u8]) -> (u32, u32) {
    let image = sim.image();
    let at = image.windows(bytes.len()).position(|window| window == bytes).unwrap();
    let segment_bytes = sim.geometry().segment_bytes as usize;
    ((at / segment_bytes) as u32, (at % segment_bytes) as u32)
}

/// Where some of these bytes stand, if a frame ends among them.
fn place_near(sim: &Sim, bytes: &[u8]) -> (u32, u32) {
    let image = sim.image();
    let stands = |some: &&[u8]| image.windows(some.len()).any(|window| window == *some);
    place_of(sim, bytes.windows(16).find(stands).unwrap())
}

fn flip(sim: &Sim, (segment, offset): (u32, u32), mask: u8) {
    sim.inject(Fault::Flip { segment, offset, mask });
}

#[test]
fn a_volume_without_rot_is_gone_through_and_nothing_is_written() {
    for (name, geometry) in GEOMETRIES {
        let (sim, mut spool, mails) = volume(geometry);
        let before = sim.counters();
        let (findings, report) = pass(&mut spool, ScrubMode::Repair);
        assert_eq!(findings, [], "{name}");
        assert!(report.is_clean(), "{name}");
        assert_eq!(report.messages, mails.len() as u64, "{name}");
        let bytes: usize = mails.iter().map(|(_, mail)| mail.body.len()).sum();
        assert_eq!(report.message_bytes, bytes as u64, "{name}");
        assert!(report.records > 4, "{name}: status records were read too");
        assert_eq!(sim.counters().programmed_bytes, before.programmed_bytes, "{name}");
    }
}

#[test]
fn a_step_reads_no_more_than_it_may() {
    let geometry = Geometry { segments: 32, segment_bytes: 1 << 20, unit_bytes: 4096, erase: Erase::Logical };
    let sim = formatted(geometry);
    let mut spool = mount(sim.medium()).unwrap();
    for number in 0..20 {
        store(&mut spool, &mail(number, 2, 50_000 * number as usize), 16_000).unwrap();
        spool.sync().unwrap();
    }
    for budget in [0, 1000, 200_000, 400_000] {
        let mut scrub = spool.begin_scrub(ScrubMode::Repair, MessageId(0));
        let mut steps = 0;
        loop {
            let before = sim.counters().read_bytes;
            let step = spool.scrub_step(&mut scrub, budget).unwrap();
            let read = sim.counters().read_bytes - before;
            // Of the pages around a record, 640 bytes at most are beyond the frame.
            assert!(read <= budget.max(SCRUB_FRAME_BYTES) + 640, "{read} of {budget}");
            steps += 1;
            if matches!(step, ScrubStep::Done(_)) {
                break;
            }
        }
        assert!(steps > 20, "{steps}");
    }
}

#[test]
fn a_flipped_bit_anywhere_in_a_body_is_mended_and_the_message_is_whole_again_for_good() {
    for (shape, (name, geometry)) in GEOMETRIES.into_iter().enumerate() {
        let (sim, spool, mails) = volume(geometry);
        drop(spool);
        let mut rng = Rng::new(shape as u64);
        for (id, mail) in &mails {
            let sim = sim.clone();
            let mut spool = mount(sim.power_on(1)).unwrap();
            // The first frame of the body holds this much at least.
            let (segment, offset) = place_of(&sim, &mail.body[..256]);
            flip(&sim, (segment, offset + rng.below(256) as u32), 1 << rng.below(8));
            assert_eq!(read(&mut spool, *id), Err(Error::Damaged(*id)), "{name}: rot is never given out");
            let (findings, report) = pass(&mut spool, ScrubMode::Check);
            assert_eq!(findings, [Finding::Repairable(*id)], "{name}");
            assert_eq!((report.repairable, report.damaged), (1, 0), "{name}");
            let (findings, report) = pass(&mut spool, ScrubMode::Repair);
            assert_eq!(findings, [Finding::Repaired(*id)], "{name}");
            assert_eq!((report.repaired, report.messages), (1, mails.len() as u64), "{name}");
            assert_eq!(read(&mut spool, *id).unwrap(), *mail, "{name}");
            for again in ["after a crash", "after a clean stop"] {
                let medium =
                    if again == "after a crash" { spool.into_medium() } else { spool.close().unwrap() };
                spool = mount(medium).unwrap();
                assert_eq!(read(&mut spool, *id).unwrap(), *mail, "{name} {again}");
            }
            let (findings, _) = pass(&mut spool, ScrubMode::Repair);
            assert_eq!(findings, [], "{name}: the old copy counts no more");
        }
    }
}

#[test]
fn no_flip_anywhere_on_the_medium_reaches_a_delivery() {
    let (name, geometry) = GEOMETRIES[1];
    let (sim, spool, mails) = volume(geometry);
    drop(spool);
    let used = sim.image().iter().rposition(|byte| *byte != 0xFF).unwrap() as u64;
    let (mut rng, mut mended, mut told) = (Rng::new(7), 0, 0);
    for _ in 0..2000 {
        let sim = sim.clone();
        let mut spool = mount(sim.power_on(1)).unwrap();
        let at = rng.below(used) as u32;
        flip(&sim, (at / geometry.segment_bytes, at % geometry.segment_bytes), 1 << rng.below(8));
        let (findings, _) = pass(&mut spool, ScrubMode::Repair);
        assert!(findings.len() <= 1, "{name} {at}: one flip, {findings:?}");
        for (id, mail) in &mails {
            let damaged = spool.summary(*id).unwrap().damaged;
            assert_eq!(damaged, findings.contains(&Finding::Damaged(*id)), "{at}");
            match read(&mut spool, *id) {
                Ok(seen) => assert_eq!(seen, *mail, "{at}"),
                Err(_) => assert!(damaged, "{at}: what is not damaged can be delivered"),
            }
        }
        mended += usize::from(matches!(findings[..], [Finding::Repaired(_)]));
        told += usize::from(matches!(findings[..], [Finding::Damaged(_)]));
    }
    assert!(mended > 500 && told > 20, "{mended} mended, {told} told of");
}

#[test]
fn two_flips_in_a_frame_are_not_mended_but_set_aside_and_told_of() {
    for (name, geometry) in GEOMETRIES {
        let (sim, mut spool, mails) = volume(geometry);
        let (id, mail) = &mails[4];
        let (segment, offset) = place_of(&sim, &mail.body[..256]);
        flip(&sim, (segment, offset + 3), 0x10);
        flip(&sim, (segment, offset + 200), 0x04);
        let (findings, report) = pass(&mut spool, ScrubMode::Repair);
        assert_eq!(findings, [Finding::Damaged(*id)], "{name}");
        assert_eq!((report.damaged, report.messages), (1, mails.len() as u64 - 1), "{name}");
        assert!(spool.summary(*id).unwrap().damaged, "{name}");
        assert_eq!(read(&mut spool, *id), Err(Error::Damaged(*id)), "{name}");
        for (other, mail) in mails.iter().filter(|(other, _)| other != id) {
            assert_eq!(read(&mut spool, *other).unwrap(), *mail, "{name}");
        }
        // It stays, whatever becomes of its neighbours.
        for (other, _) in mails.iter().filter(|(other, _)| other != id) {
            delivered(&mut spool, *other);
        }
        spool.sync().unwrap();
        tidy(&mut spool);
        for number in 100..140 {
            let other = store(&mut spool, &common::mail(number, 1, 700), 700).unwrap();
            spool.sync().unwrap();
            delivered(&mut spool, other);
            tidy(&mut spool);
        }
        flip(&sim, (segment, offset + 3), 0x10);
        flip(&sim, (segment, offset + 200), 0x04);
        let (findings, _) = pass(&mut spool, ScrubMode::Repair);
        assert_eq!(findings, [Finding::Unsteady(*id)], "{name}: what was set aside is still there");
        assert_eq!(read(&mut spool, *id).unwrap(), *mail, "{name}");
    }
}

#[test]
fn an_envelope_is_never_guessed() {
    for (name, geometry) in GEOMETRIES {
        let (sim, mut spool, mails) = volume(geometry);
        let (id, mail) = &mails[3];
        flip(&sim, place_of(&sim, mail.begin.sender.as_bytes()), 0x01);
        let (findings, _) = pass(&mut spool, ScrubMode::Repair);
        assert_eq!(findings, [Finding::Damaged(*id)], "{name}: a CRC alone does not say who sent it");
        let (id, mail) = &mails[6];
        flip(&sim, place_of(&sim, mail.recipients[0].address.as_bytes()), 0x01);
        let (findings, _) = pass(&mut spool, ScrubMode::Repair);
        assert!(findings.contains(&Finding::Damaged(*id)), "{name}: nor to whom");
    }
}

#[test]
fn what_reads_right_at_another_try_is_written_again_elsewhere() {
    for (name, geometry) in GEOMETRIES {
        let (sim, mut spool, mails) = volume(geometry);
        // A read that fails is repeated three times, then for less of it as often; one ahead of need once more when it
        // is needed.
        for _ in 0..16 {
            sim.inject(Fault::FailRead { code: 5 });
        }
        let before = sim.counters().programmed_bytes;
        let (findings, report) = pass(&mut spool, ScrubMode::Repair);
        let (id, mail) = &mails[0];
        assert_eq!(findings, [Finding::Unsteady(*id)], "{name}");
        assert_eq!((report.unsteady, report.messages), (1, mails.len() as u64), "{name}");
        assert!(sim.counters().programmed_bytes > before + mail.body.len() as u64, "{name}");
        assert_eq!(read(&mut spool, *id).unwrap(), *mail, "{name}");
    }
}

#[test]
fn a_message_in_many_pieces_and_segments_is_mended_too() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        let large = mail(1, 3, geometry.segment_bytes as usize * 5);
        let other = mail(2, 1, 6000);
        // Two sessions by turns, so that neither stands in one piece.
        let mut first = spool.begin(&large.begin, &large.recipients, None).unwrap();
        let mut second = spool.begin(&other.begin, &other.recipients, None).unwrap();
        let mut pieces = other.body.chunks(100);
        for piece in large.body.chunks(700) {
            spool.write(&mut first, piece).unwrap();
            pieces.next().into_iter().for_each(|piece| spool.write(&mut second, piece).unwrap());
        }
        pieces.for_each(|piece| spool.write(&mut second, piece).unwrap());
        let id = spool.commit(first).unwrap();
        spool.commit(second).unwrap();
        spool.sync().unwrap();
        // A bit in each of three frames.
        for at in [0, large.body.len() / 2, large.body.len() - 100] {
            flip(&sim, place_near(&sim, &large.body[at..at + 100]), 0x40);
        }
        let (findings, _) = pass(&mut spool, ScrubMode::Repair);
        assert_eq!(findings, [Finding::Repaired(id)], "{name}");
        assert_eq!(read(&mut spool, id).unwrap(), large, "{name}");
        let mut spool = mount(spool.into_medium()).unwrap();
        assert_eq!(read(&mut spool, id).unwrap(), large, "{name}: after a crash");
    }
}

#[test]
fn a_fate_whose_record_rots_is_written_again_and_nothing_is_sent_twice() {
    for (name, geometry) in GEOMETRIES {
        let (sim, mut spool, mails) = volume(geometry);
        let text = "what the record says";
        let event = Event { at: stamp(5), code: 9, message: None, text: text.into() };
        spool.record_event(&event).unwrap();
        spool.put_meta(1, b"mode", b"hold, and who wanted it").unwrap();
        spool.sync().unwrap();
        flip(&sim, place_of(&sim, b"hold, and who wanted it"), 0x02);
        let (findings, report) = pass(&mut spool, ScrubMode::Repair);
        assert!(matches!(findings[..], [Finding::Records { frames: 1, .. }]), "{name}: {findings:?}");
        assert_eq!(report.damaged_records, 1, "{name}");
        let spool = mount(spool.into_medium()).unwrap();
        assert_eq!(spool.meta(1, b"mode"), Some(&b"hold, and who wanted it"[..]), "{name}");
        for (id, _) in mails.iter().skip(2).step_by(3) {
            assert_eq!(spool.summary(*id).map_or(0, |summary| summary.open_recipients), 0, "{name}");
        }
    }
}

#[test]
fn a_copy_of_a_header_that_rots_is_told_of() {
    let (_, geometry) = GEOMETRIES[3];
    let (sim, mut spool, mails) = volume(geometry);
    let (segment, _) = place_of(&sim, &mails[0].1.body[..256]);
    flip(&sim, (segment, 30), 0x01);
    let (findings, report) = pass(&mut spool, ScrubMode::Repair);
    assert_eq!(findings, [Finding::Header { segment, copies: 1 }]);
    assert_eq!(report.damaged_headers, 1);
}

#[test]
fn mail_that_was_found_damaged_by_the_mount_is_mended() {
    for (name, geometry) in GEOMETRIES {
        let (sim, spool, mails) = volume(geometry);
        drop(spool.close().unwrap());
        let (id, mail) = &mails[7];
        // The SHA-256 stands in the COMMIT.
        let mut spool = mount(sim.medium()).unwrap();
        let sha256 = spool.open(*id).unwrap().sha256();
        flip(&sim, place_of(&sim, &sha256), 0x80);
        let mut spool = mount(spool.into_medium()).unwrap();
        assert_eq!(read(&mut spool, *id), Err(Error::Damaged(*id)), "{name}");
        let (findings, _) = pass(&mut spool, ScrubMode::Repair);
        assert_eq!(findings, [Finding::Repaired(*id)], "{name}");
        assert_eq!(read(&mut spool, *id).unwrap(), *mail, "{name}");
        assert!(!spool.summary(*id).unwrap().damaged, "{name}");
    }
}

#[test]
fn what_is_delivered_while_it_is_written_again_stays_delivered() {
    let (_, geometry) = GEOMETRIES[4];
    let sim = formatted(geometry);
    let mut spool = mount(sim.medium()).unwrap();
    let large = mail(1, 2, 30_000);
    let id = store(&mut spool, &large, 900).unwrap();
    spool.sync().unwrap();
    flip(&sim, place_near(&sim, &large.body[10_000..10_100]), 0x01);
    let mut scrub = spool.begin_scrub(ScrubMode::Repair, MessageId(0));
    let before = sim.counters().programmed_bytes;
    while sim.counters().programmed_bytes == before {
        assert!(!matches!(spool.scrub_step(&mut scrub, 0).unwrap(), ScrubStep::Done(_)));
    }
    spool.set_status(id, &fate(0, 2, Fate::Delivered)).unwrap();
    while !matches!(spool.scrub_step(&mut scrub, 0).unwrap(), ScrubStep::Done(_)) {}
    let mut spool = mount(spool.into_medium()).unwrap();
    assert_eq!(spool.summary(id).unwrap().open_recipients, 0);
    assert_eq!(read(&mut spool, id).unwrap(), large);
}

#[test]
fn a_pass_goes_on_where_an_earlier_one_had_come_to() {
    let (_, geometry) = GEOMETRIES[4];
    let (_, mut spool, mails) = volume(geometry);
    let mut scrub = spool.begin_scrub(ScrubMode::Check, MessageId(0));
    while scrub.position() <= mails[5].0 {
        spool.scrub_step(&mut scrub, 0).unwrap();
    }
    let position = scrub.position();
    spool.end_scrub(scrub);
    let mut rest = spool.begin_scrub(ScrubMode::Check, position);
    let report = loop {
        if let ScrubStep::Done(report) = spool.scrub_step(&mut rest, 0).unwrap() {
            break report;
        }
    };
    assert_eq!(report.messages, 6);
}

#[test]
fn what_a_crc_takes_for_one_flip_and_is_none_is_not_mended() {
    // A multiple of the generator is what no CRC-32C sees. With another bit it looks like that bit alone.
    let unseen = [0x80, 0x78, 0x3B, 0xF6, 0x82];
    for (name, geometry) in GEOMETRIES {
        for another in [None, Some(100)] {
            let (sim, mut spool, mails) = volume(geometry);
            let (id, mail) = &mails[4];
            let (segment, offset) = place_of(&sim, &mail.body[..256]);
            for (at, mask) in (offset + 20..).zip(unseen) {
                flip(&sim, (segment, at), mask);
            }
            another.into_iter().for_each(|at| flip(&sim, (segment, offset + at), 0x08));
            let (findings, _) = pass(&mut spool, ScrubMode::Repair);
            assert_eq!(findings, [Finding::Damaged(*id)], "{name} {another:?}: SHA-256 has the last word");
            assert_eq!(read(&mut spool, *id), Err(Error::Damaged(*id)), "{name} {another:?}");
        }
    }
}
