//! Bytes that nobody wrote: a volume with anything at all on it is mounted, read and worked on without a panic, an
//! endless loop or altered mail.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "in a test a panic is the verdict"
)]

#[path = "../common/mod.rs"]
mod common;
mod forge;
mod records;

use common::*;
use penstock_flash::sim::{Rng, Sim};
use penstock_spool::{Error, Fate, MessageId};

/// A volume with some mail, some of it delivered, some fates and state.
fn volume(geometry: penstock_flash::Geometry) -> (Vec<u8>, Promises) {
    let sim = formatted(geometry);
    let mut spool = mount(sim.medium()).unwrap();
    let mut promises = Promises::new();
    for number in 0..24 {
        let mail = mail(number, 1 + number as u16 % 3, 50 + 170 * number as usize);
        let id = store(&mut spool, &mail, 800).unwrap();
        spool.put_meta(1, b"number", &[number as u8]).unwrap();
        spool.sync().unwrap();
        if number % 3 == 0 {
            spool.set_status(id, &fate(0, 1, Fate::Delivered)).unwrap();
            spool.sync().unwrap();
        }
        promises.insert(id, (mail, Vec::new()));
        if number == 12 {
            spool = mount(spool.close().unwrap()).unwrap();
        }
    }
    (sim.image(), promises)
}

/// Mounts what there is and does everything with it. Whatever can be read must be as it was written.
fn exercise(sim: &Sim, promises: &Promises) {
    let mut spool = match mount(sim.power_on(1)) {
        Ok(spool) => spool,
        Err(Error::NotAVolume | Error::UnknownFormat { .. } | Error::GeometryChanged { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    let ids: Vec<MessageId> =
        spool.queue(MessageId(0)).chain(spool.kept(MessageId(0))).map(|s| s.id).collect();
    for id in ids {
        match read(&mut spool, id) {
            Ok(mail) => {
                assert_eq!(
                    Some(&mail),
                    promises.get(&id).map(|(mail, _)| mail),
                    "altered mail was given out"
                );
            }
            Err(Error::Damaged(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(spool.events().count() < 10_000);
    for _ in 0..50 {
        // The simulator refuses to program what the damage made look unused: then the spool only reads, as it should.
        let _ = store(&mut spool, &mail(1000, 1, 300), 300);
        let _ = spool.sync();
        let _ = spool.step(stamp(0));
    }
}

#[test]
fn flipped_bits_and_overwritten_stretches_alter_no_mail_and_stop_nothing() {
    for (shape, (name, geometry)) in GEOMETRIES.into_iter().enumerate() {
        let (image, promises) = volume(geometry);
        let mut rng = Rng::new(shape as u64);
        for round in 0..150 {
            let mut image = image.clone();
            for _ in 0..=rng.below(6) {
                let at = rng.below(image.len() as u64) as usize;
                let longest = if rng.one_in(2) { 4 } else { 3000 };
                let end = (at + 1 + rng.below(longest) as usize).min(image.len());
                match rng.below(4) {
                    0 => image[at] ^= 1 << rng.below(8),
                    1 => rng.fill(&mut image[at..end]),
                    2 => image[at..end].fill(0xFF),
                    _ => {
                        // A stretch of the volume in another place.
                        let from = rng.below(image.len() as u64) as usize;
                        let len = (end - at).min(image.len() - from);
                        image.copy_within(from..from + len, at);
                    }
                }
            }
            println!("{name} round {round}");
            exercise(&Sim::from_image(geometry, &image).unwrap(), &promises);
        }
    }
}

#[test]
fn a_medium_of_noise_is_no_volume() {
    for (shape, (_, geometry)) in GEOMETRIES.into_iter().enumerate() {
        let mut noise = vec![0; geometry.capacity_bytes() as usize];
        Rng::new(shape as u64).fill(&mut noise);
        let sim = Sim::from_image(geometry, &noise).unwrap();
        assert_eq!(mount(sim.power_on(1)).err(), Some(Error::NotAVolume));
    }
}

/// Recipes as a fuzzer would draw them, always the same.
fn recipes(count: u64) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(|number| {
        println!("recipe {number}");
        let mut rng = Rng::new(number);
        let mut recipe = vec![0; 8 + rng.below(200) as usize];
        rng.fill(&mut recipe);
        recipe
    })
}

/// What the fuzz target begins with.
fn seeds() -> impl Iterator<Item = Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/volume");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(!files.is_empty(), "no seeds in {folder}");
    files.into_iter().map(|file| {
        println!("seed {}", file.display());
        std::fs::read(file).unwrap()
    })
}

#[test]
fn a_forged_volume_stops_nothing_and_is_read_within_bounds() {
    recipes(3000).chain(seeds()).for_each(|recipe| forge::exercise(&forge::forge(&recipe)));
}

#[test]
fn a_forged_volume_takes_no_more_memory_than_an_honest_one_could() {
    for recipe in recipes(3000) {
        let sim = forge::forge(&recipe);
        let medium = sim.power_on(1);
        let (mut messages, mut recipients) = (0, 0);
        let taken = allocation_counter::measure(|| {
            if let Ok(spool) = mount(medium) {
                let known = || spool.queue(MessageId(0)).chain(spool.kept(MessageId(0)));
                messages = known().count() as u64;
                recipients = known().map(|summary| u64::from(summary.recipients)).sum();
            }
        });
        let geometry = sim.geometry();
        // What serde takes on trust for a list before it sees its elements, and a window on a segment.
        let fixed = (1 << 20) + 2 * u64::from(geometry.segment_bytes);
        // Segments, the index with what is beside it, and the notes of all segments, at most 1/16 of each as bytes.
        let bound = fixed
            + 512 * u64::from(geometry.segments)
            + 512 * messages
            + 2 * recipients
            + 8 * geometry.capacity_bytes() / 16;
        assert!(taken.bytes_max <= bound, "{} bytes, {messages} messages: {bound}", taken.bytes_max);
    }
}
