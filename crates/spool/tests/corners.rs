//! Corners in which the log once lost what it had promised, each found by the state machines of `tests/model`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict")]

mod common;

use common::*;
use penstock_flash::sim::{SEED_DROP_ALL, SEED_KEEP_ALL};
use penstock_spool::{Error, Fate, MessageId};

#[test]
fn an_envelope_for_which_room_was_found_half_way_is_written_once() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        let mut before = None;
        for number in 0..geometry.capacity_bytes() / 2048 {
            // Some frames of recipients, and nobody does housekeeping.
            let mail = mail(number, 60, 200);
            let id = store(&mut spool, &mail, 200).unwrap();
            spool.sync().unwrap();
            assert_eq!(read(&mut spool, id).as_ref(), Ok(&mail), "{name}");
            if let Some(before) = before.replace(id) {
                delivered(&mut spool, before);
            }
        }
        assert!(spool.counters().erases > 0, "{name}: room was never short");
    }
}

#[test]
fn what_is_known_of_each_recipient_outlives_the_status_segments_it_stands_in() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        let id = store(&mut spool, &mail(1, 4, 300), 300).unwrap();
        spool.sync().unwrap();
        let mut expected = [Fate::Queued; 4];
        let mut value = 0u32;
        for (recipient, to) in (0u16..).zip([Fate::Delivered, Fate::Deferred, Fate::Held]) {
            spool.set_status(id, &fate(recipient, 1, to)).unwrap();
            spool.sync().unwrap();
            expected[usize::from(recipient)] = to;
            // Other things, until the status segments were written anew a few times. A stop may come at any time.
            let erases = spool.counters().erases;
            while spool.counters().erases < erases + u64::from(geometry.segments) / 2 {
                value += 1;
                spool.put_meta(1, b"key", &value.to_le_bytes()).unwrap();
                spool.sync().unwrap();
                tidy(&mut spool);
                let stopped = mount(sim.clone().power_on(SEED_DROP_ALL)).unwrap();
                let runs = stopped.fates(id).unwrap().into_iter();
                let seen: Vec<Fate> = runs.flat_map(|(_, count, fate)| vec![fate; count.into()]).collect();
                assert_eq!(seen, expected, "{name}");
            }
        }
    }
}

#[test]
fn an_erase_that_an_owner_left_going_on_does_not_stop_the_next_one() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        let mut erases = 0;
        for number in 0.. {
            if erases > 2 * u64::from(geometry.segments) {
                break;
            }
            let id = store(&mut spool, &mail(number, 1, 700), 700).unwrap();
            spool.sync().unwrap();
            delivered(&mut spool, id);
            spool.sync().unwrap();
            erases = sim.counters().erases;
            for _ in 0..10 {
                spool.step(stamp(0)).unwrap();
                if sim.counters().erases > erases {
                    // Begun, and not yet done.
                    spool = mount(spool.into_medium()).unwrap();
                    break;
                }
            }
        }
        assert_eq!(sim.counters().violations, 0, "{name}");
    }
}

#[test]
fn housekeeping_right_after_a_power_cut_gives_up_nothing_that_is_needed() {
    for (name, geometry) in GEOMETRIES {
        for seed in 0..12 {
            let sim = formatted(geometry);
            let mut spool = mount(sim.medium()).unwrap();
            let mut promises = Promises::new();
            let large = geometry.segment_bytes as usize * 3;
            // A crash leaves segments behind that are mostly air; then the volume is filled to the brim in one go.
            for (number, bytes) in (0..).zip([0, 700, 900, large, large, large, large, large, large]) {
                let mail = mail(number, 1, bytes);
                let mut begun = spool.begin(&mail.begin, &mail.recipients, Some(bytes as u64));
                if matches!(begun, Err(Error::Full)) {
                    break;
                }
                spool.write(begun.as_mut().unwrap(), &mail.body).unwrap();
                let id = spool.commit(begun.unwrap()).unwrap();
                promises.insert(id, (mail, vec![false]));
                if number < 3 {
                    spool.sync().unwrap();
                    spool = mount(spool.into_medium()).unwrap();
                }
            }
            spool.sync().unwrap();
            let mut spool = mount(sim.power_on(seed)).unwrap();
            for _ in 0..40 {
                spool.step(stamp(0)).unwrap();
                check(&mut spool, &promises, &[])
                    .unwrap_or_else(|what| panic!("{name}, seed {seed}: {what}"));
            }
            let mut spool = mount(spool.into_medium()).unwrap();
            check(&mut spool, &promises, &[]).unwrap_or_else(|what| panic!("{name}, seed {seed}: {what}"));
            assert!(spool.queue(MessageId(0)).count() > 5, "{name}: the volume was not full");
        }
    }
}

#[test]
fn what_one_mount_did_not_believe_the_next_one_does_not_believe_either() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        let turn = |spool: &mut TestSpool, number: u64| -> Result<(), Error> {
            let id = store(spool, &mail(number, 1, geometry.segment_bytes as usize / 3), 4000)?;
            spool.sync()?;
            spool.set_status(id, &fate(0, 1, Fate::Delivered))?;
            for _ in 0..4 {
                spool.step(stamp(0))?;
            }
            Ok(())
        };
        for number in 0..100 {
            turn(&mut spool, number).unwrap();
        }
        sim.branch_everywhere();
        for number in 100..103 {
            turn(&mut spool, number).unwrap();
        }
        for branch in sim.take_branches() {
            for operations in 0..16 {
                let sim = branch.clone();
                let mut spool = mount(sim.power_on(SEED_KEEP_ALL)).unwrap();
                // What this boot builds makes durable what it did not believe; then it is cut, perhaps in an erase.
                sim.cut_after(operations * 3);
                let mut number = 200;
                while turn(&mut spool, number).is_ok() {
                    number += 1;
                }
                assert!(sim.is_cut(), "{name}");
                let mut spool = mount(sim.power_on(SEED_KEEP_ALL)).unwrap();
                for number in 300..312 {
                    turn(&mut spool, number)
                        .unwrap_or_else(|e| panic!("{name}: {e}; replay: {}", sim.story()));
                }
                assert_eq!(sim.counters().violations, 0, "{name}; replay: {}", sim.story());
            }
        }
    }
}
