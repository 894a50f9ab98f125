//! What is intact on a damaged volume is found again, byte for byte, and nothing else.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict")]

mod common;

use std::collections::BTreeMap;

use common::*;
use penstock_flash::sim::{Rng, Sim};
use penstock_flash::{Geometry, Medium};
use penstock_spool::{Error, Fate, MessageId, Salvage, Shape};

/// A volume with some mail, stopped cleanly once: every third message half delivered.
fn image(geometry: Geometry) -> (Vec<u8>, BTreeMap<MessageId, Mail>) {
    let sim = formatted(geometry);
    let mut spool = mount(sim.medium()).unwrap();
    let mut mails = BTreeMap::new();
    for number in 0..24 {
        let mail = mail(number, 2, 50 + 80 * number as usize);
        let id = store(&mut spool, &mail, 800).unwrap();
        spool.sync().unwrap();
        if number % 3 == 0 {
            spool.set_status(id, &fate(0, 1, Fate::Delivered)).unwrap();
            spool.sync().unwrap();
        }
        mails.insert(id, mail);
        if number == 12 {
            spool = mount(spool.close().unwrap()).unwrap();
        }
    }
    (sim.image(), mails)
}

/// Messages with their fates.
type Found = BTreeMap<MessageId, (Mail, Vec<(u16, u16, Fate)>)>;

/// Every message that a salvage finds whole.
fn salvaged(geometry: Geometry, image: &[u8]) -> Found {
    let sim = Sim::from_image(geometry, image).unwrap();
    let before = sim.operations();
    let mut salvage = Salvage::new(sim.medium().reader(), &geometry).unwrap();
    let mut done = 0;
    while let Some(progress) = salvage.step() {
        assert!(progress.done_bytes > done && progress.done_bytes <= progress.total_bytes);
        done = progress.done_bytes;
    }
    assert_eq!(done, geometry.capacity_bytes());
    let mut found = BTreeMap::new();
    for id in salvage.messages() {
        let whole = salvage.open(id).find_map(|mut message| {
            let envelope = message.envelope().ok()?;
            let mut body = Vec::new();
            while let Some(chunk) = message.next_chunk().ok()? {
                body.extend_from_slice(chunk);
            }
            Some(Mail { begin: envelope.begin, recipients: envelope.recipients, body })
        });
        if let Some(mail) = whole {
            found.insert(id, (mail, salvage.fates(id)));
        }
    }
    assert_eq!(sim.operations(), before, "a salvage writes nothing");
    found
}

fn mails_of(found: Found) -> BTreeMap<MessageId, Mail> {
    found.into_iter().map(|(id, (mail, _))| (id, mail)).collect()
}

#[test]
fn a_volume_that_is_whole_gives_all_mail_with_its_fates() {
    for (name, geometry) in GEOMETRIES {
        let (image, mails) = image(geometry);
        let found = salvaged(geometry, &image);
        for (n, (id, (_, fates))) in found.iter().enumerate() {
            let expected = if n % 3 == 0 {
                vec![(0, 1, Fate::Delivered), (1, 1, Fate::Queued)]
            } else {
                vec![(0, 2, Fate::Queued)]
            };
            assert_eq!(*fates, expected, "{name} {id}");
        }
        assert_eq!(mails_of(found), mails, "{name}");
    }
}

#[test]
fn without_any_header_every_message_is_found_by_its_frames() {
    for (name, geometry) in GEOMETRIES {
        let (mut image, mails) = image(geometry);
        let head = 2 * 192u32.next_multiple_of(geometry.unit_bytes.max(16)) as usize;
        for segment in image.chunks_mut(geometry.segment_bytes as usize) {
            segment[..head].fill(0x55);
        }
        let sim = Sim::from_image(geometry, &image).unwrap();
        assert_eq!(mount(sim.medium()).err(), Some(Error::NotAVolume), "{name}");
        assert_eq!(mails_of(salvaged(geometry, &image)), mails, "{name}");
    }
}

#[test]
fn what_was_hit_is_left_out_and_everything_else_is_found() {
    for (shape, (name, geometry)) in GEOMETRIES.into_iter().enumerate() {
        let (image, mails) = image(geometry);
        let mut rng = Rng::new(shape as u64);
        let victim = *mails.keys().nth(17).unwrap();
        let body = &mails[&victim].body;
        let at = image.windows(64).position(|window| window == &body[..64]).unwrap();
        let mut hurt = image.clone();
        rng.fill(&mut hurt[at..at + 64]);
        let mut expected = mails.clone();
        expected.remove(&victim);
        assert_eq!(mails_of(salvaged(geometry, &hurt)), expected, "{name}: noise");
        let mut hurt = image.clone();
        hurt[at + 7] ^= 0x20;
        assert_eq!(mails_of(salvaged(geometry, &hurt)), mails, "{name}: one bit is mended");
    }
}

#[test]
fn whatever_happened_to_a_volume_a_salvage_gives_what_a_mount_gives_and_nothing_altered() {
    for (shape, (name, geometry)) in GEOMETRIES.into_iter().enumerate() {
        let (image, mails) = image(geometry);
        let mut rng = Rng::new(100 + shape as u64);
        for round in 0..40 {
            let mut image = image.clone();
            for _ in 0..=rng.below(8) {
                let at = rng.below(image.len() as u64) as usize;
                let end = (at + 1 + rng.below(3000) as usize).min(image.len());
                match rng.below(3) {
                    0 => image[at] ^= 1 << rng.below(8),
                    1 => rng.fill(&mut image[at..end]),
                    _ => image[at..end].fill(0xFF),
                }
            }
            let found = mails_of(salvaged(geometry, &image));
            for (id, mail) in &found {
                assert_eq!(Some(mail), mails.get(id), "{name} {round}: altered mail");
            }
            let sim = Sim::from_image(geometry, &image).unwrap();
            let Ok(mut spool) = mount(sim.power_on(1)) else { continue };
            let ids: Vec<MessageId> = spool.queue(MessageId(0)).map(|summary| summary.id).collect();
            for id in ids {
                if read(&mut spool, id).is_ok() {
                    assert!(found.contains_key(&id), "{name} {round}: message {id} can be read");
                }
            }
        }
    }
}

#[test]
fn mail_that_was_given_up_does_not_rise_again() {
    let (name, geometry) = GEOMETRIES[4];
    let sim = formatted(geometry);
    let mut spool = mount(sim.medium()).unwrap();
    let mut left = BTreeMap::new();
    for number in 0..400 {
        let mail = mail(number, 1, 700);
        let id = store(&mut spool, &mail, 700).unwrap();
        spool.sync().unwrap();
        if number < 380 {
            delivered(&mut spool, id);
        } else {
            left.insert(id, mail);
        }
        tidy(&mut spool);
    }
    // Also those of which a part was given up.
    let kept = spool.info().kept_messages;
    let found = salvaged(geometry, &sim.image());
    let waiting = |fates: &[(u16, u16, Fate)]| fates.iter().any(|(_, _, fate)| !fate.is_final());
    assert!(found.len() <= left.len() + kept, "{name}: {} found, {kept} kept", found.len());
    let waiting: BTreeMap<_, _> = found.into_iter().filter(|(_, (_, fates))| waiting(fates)).collect();
    assert_eq!(mails_of(waiting), left, "{name}");
}

#[test]
fn a_header_tells_the_shape_of_its_volume() {
    let (_, geometry) = GEOMETRIES[5];
    let (image, _) = image(geometry);
    let shape = Shape::decode(image[..Shape::BYTES].try_into().unwrap()).unwrap();
    assert_eq!((shape.segments, shape.segment_bytes), (geometry.segments, geometry.segment_bytes));
    assert_eq!((shape.unit_bytes, shape.volume), (geometry.unit_bytes, VOLUME));
    assert_eq!(Shape::decode(&[0xFF; Shape::BYTES]), None);
}
