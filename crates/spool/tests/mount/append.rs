//! A mount without an index takes mail, in memory that does not grow with it, and gives nothing up.

use penstock_flash::Medium;

use super::*;

/// What such a mount may hold at most beside the caller's buffers.
fn memory_max(geometry: Geometry) -> u64 {
    192 * KIB + 160 * u64::from(geometry.segments)
}

fn mount_append(medium: &Sim) -> TestSpool {
    Spool::mount_append(medium.medium(), buffers()).unwrap()
}

/// Mounts a volume to append to it and takes some mail, and counts the memory that takes.
pub(crate) fn takes_memory_by_segments_only(what: &str, medium: &Sparse) {
    let geometry = medium.geometry();
    for round in ["first", "after a crash", "without hints"] {
        // Without hints the header of each segment is in memory too.
        let is_blind = round == "without hints";
        if is_blind {
            for anchor in 0..2 {
                medium.clone().program(anchor, 0, &vec![0; geometry.segment_bytes as usize]).unwrap();
            }
        }
        let mut spool = None;
        medium.take_read();
        let taken = allocation_counter::measure(|| {
            spool = Some(Spool::mount_append(medium.clone(), large_buffers()).unwrap());
        });
        let memory = taken.bytes_max - large_buffers_bytes();
        let read = medium.take_read();
        let mut spool = spool.unwrap();
        let taken = allocation_counter::measure(|| {
            take(&mut spool, 2000);
        });
        println!(
            "{what}, to append, {round}: {} KiB in {} requests, {} KiB held, {} KiB more for mail",
            read.bytes / KIB,
            read.requests,
            memory / KIB,
            taken.bytes_max / KIB
        );
        let memory_max = memory_max(geometry) + if is_blind { 512 * u64::from(geometry.segments) } else { 0 };
        assert!(memory <= memory_max, "{what}, {round}: {memory} of {memory_max}");
        assert_eq!(spool.mount_report().from_checkpoint, !is_blind, "{what}, {round}");
        // Settling the tail reads messages; the rest is one message under way.
        assert!(taken.bytes_max <= 192 * KIB, "{what}: {} to take mail", taken.bytes_max);
    }
}

/// Takes messages one by one.
fn take(spool: &mut SparseSpool, messages: u32) {
    let recipients = [Recipient { address: "a@b.example".into(), ..Recipient::default() }];
    for _ in 0..messages {
        let mut incoming = spool.begin(&Begin::default(), &recipients, Some(1000)).unwrap();
        spool.write(&mut incoming, &[0; 1000]).unwrap();
        spool.commit(incoming).unwrap();
        spool.sync().unwrap();
    }
}

#[test]
fn to_append_to_64_mib_of_nor_takes_memory_by_segments_only() {
    let medium = Sparse::new(NOR);
    format(&mut medium.clone(), VOLUME, false, |_, _| {}).unwrap();
    let mut spool = mount_sparse(medium.clone(), MountOptions::default());
    assert_eq!(fill(&mut spool, 100_000, 0), 100_000);
    tidy_sparse(&mut spool);
    fill(&mut spool, u64::MAX, 0);
    drop(spool);
    takes_memory_by_segments_only("NOR, 64 MiB", &medium);
}

#[test]
fn what_was_appended_is_all_there_after_the_next_mount_in_order_with_the_tail() {
    for (name, geometry) in GEOMETRIES {
        for seed in [SEED_KEEP_ALL, SEED_DROP_ALL, 7, 8, 9] {
            let sim = formatted(geometry);
            let mut spool = mount(sim.medium()).unwrap();
            let mut expected: Vec<(MessageId, Mail)> = Vec::new();
            for number in 0..6 {
                let mail = mail(number, 3, 400);
                expected.push((store(&mut spool, &mail, 400).unwrap(), mail));
            }
            spool.sync().unwrap();
            let (delivered_id, partly_id) = (expected[0].0, expected[1].0);
            delivered(&mut spool, delivered_id);
            spool.set_status(partly_id, &fate(0, 2, Fate::Delivered)).unwrap();
            spool.put_meta(1, b"key", b"value").unwrap();
            spool.sync().unwrap();
            // The power fails with something under way; what is known of it is not said to anybody.
            store(&mut spool, &mail(50, 1, 3000), 100).unwrap();
            sim.cut_after(0);
            assert!(spool.sync().is_err(), "{name}");
            let _ = sim.power_on(seed);

            for boot in 0..4 {
                let mut spool = mount_append(&sim);
                let mail = mail(100 + boot, 2, 900);
                expected.push((store(&mut spool, &mail, 300).unwrap(), mail));
                let event = Event { at: stamp(boot), code: 3, message: None, text: format!("boot {boot}") };
                spool.record_event(&event).unwrap();
                spool.sync().unwrap();
                match boot {
                    0 => drop(spool.close().unwrap()),
                    1 => drop(spool),
                    _ => {
                        let _ = store(&mut spool, &mail_under_way(boot), 100);
                        sim.cut_after(0);
                        assert!(spool.sync().is_err(), "{name}");
                        let _ = sim.power_on(seed + 10 * boot);
                    }
                }
            }
            assert_eq!(sim.counters().violations, 0, "{name}, {seed}");
            let mut spool = mount(sim.medium()).unwrap();
            let how = format!("{name}, {seed}; replay: {}", sim.story());
            assert_eq!(spool.summary(delivered_id).map_or(0, |s| s.open_recipients), 0, "{how}");
            let fates = vec![(0, 2, Fate::Delivered), (2, 1, Fate::Queued)];
            assert_eq!(spool.fates(partly_id).unwrap(), fates, "{how}");
            assert_eq!(spool.meta(1, b"key"), Some(&b"value"[..]), "{how}");
            for (id, mail) in &expected[1..] {
                assert_eq!(read(&mut spool, *id).unwrap(), *mail, "{how}: {id}");
            }
            let queue: Vec<MessageId> = spool.queue(MessageId(0)).map(|message| message.id).collect();
            let known: Vec<MessageId> = expected[1..].iter().map(|(id, _)| *id).collect();
            let in_order: Vec<MessageId> = queue.iter().copied().filter(|id| known.contains(id)).collect();
            assert_eq!(in_order, known, "{how}");
            let texts: Vec<String> = spool.events().map(|event| event.text).collect();
            assert_eq!(texts, ["boot 0", "boot 1", "boot 2", "boot 3"], "{how}");
        }
    }
}

fn mail_under_way(number: u64) -> Mail {
    mail(1000 + number, 1, 2000)
}

#[test]
fn appending_gives_nothing_up_and_ends_with_the_free_segments() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        let mut ids = Vec::new();
        for number in 0..24 {
            let mail = mail(number, 1, geometry.segment_bytes as usize / 5);
            ids.push((store(&mut spool, &mail, 1000).unwrap(), mail));
            spool.sync().unwrap();
        }
        // All of it could go, if it were known.
        ids.iter().for_each(|(id, _)| delivered(&mut spool, *id));
        spool.sync().unwrap();
        drop(spool);

        let mut spool = mount_append(&sim);
        let before = sim.erase_counts();
        let free_segments = spool.info().segments.1;
        let mut taken = 0;
        let new = mail(500, 1, geometry.segment_bytes as usize / 3);
        while taken < 10_000 {
            match store(&mut spool, &new, 1000) {
                Ok(_) => taken += 1,
                Err(error) => {
                    assert_eq!(error, Error::Full, "{name}");
                    break;
                }
            }
            spool.sync().unwrap();
            // Housekeeping finds nothing that it might do.
            tidy(&mut spool);
        }
        assert!((1..10_000).contains(&taken), "{name}: {taken} taken");
        // What is erased holds nothing: anchors, and the free segments that may have been on their way to being opened.
        let after = sim.erase_counts();
        let erased = before.iter().zip(&after).filter(|(before, after)| after > before).count();
        println!("{name}: {taken} taken into {free_segments} free segments, {erased} erased");
        assert!(erased <= 4, "{name}: {erased} erased");
        drop(spool);
        let mut spool = mount(sim.medium()).unwrap();
        assert_eq!(spool.info().messages, taken, "{name}");
        for (id, mail) in &ids {
            assert_eq!(read(&mut spool, *id).unwrap(), *mail, "{name}: {id} was given up");
        }
    }
}

#[test]
fn a_mount_to_append_finds_the_segments_free_that_a_full_one_finds() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut rng = Rng::new(815);
        let mut number = 0;
        for _ in 0..25 {
            let mut spool = mount(sim.medium()).unwrap();
            for _ in 0..rng.below(120) {
                number += 1;
                act(&mut rng, number, &mut spool);
            }
            if rng.one_in(2) {
                spool.close().unwrap();
            } else {
                drop(spool);
                let _ = sim.power_on(SEED_KEEP_ALL);
            }
            // By the newest root, and by the headers of all segments.
            let mut image = sim.image();
            image[..2 * geometry.segment_bytes as usize].fill(0);
            for sim in [sim.clone(), Sim::from_image(geometry, &image).unwrap()] {
                let (full, to_append) = (mount(sim.medium()).unwrap(), mount_append(&sim));
                assert_eq!(to_append.metas(1).count(), 0, "{name}: no state is held");
                assert_eq!(
                    to_append.info().segments,
                    full.info().segments,
                    "{name}; replay: {}",
                    sim.story()
                );
                assert_eq!(to_append.mount_report().clean, full.mount_report().clean, "{name}");
            }
        }
    }
}
