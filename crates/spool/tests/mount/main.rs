//! What a mount reads and holds, that its two ways agree, and what a mount without an index may do.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "in a test a panic is the verdict, and numbers are shown"
)]

mod append;
#[path = "../common/mod.rs"]
mod common;
mod sparse;

use common::*;
use penstock_flash::sim::{Rng, SEED_DROP_ALL, SEED_KEEP_ALL, Sim};
use penstock_flash::{Erase, Geometry};
use penstock_spool::{Begin, Buffers, Error, Event, Fate, MessageId, MountOptions, Recipient, Spool, format};
use sparse::{Read, Sparse};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * 1024;

const NOR: Geometry = geometry(32, 256 * 1024, 256, Erase::Physical);
const DISK: Geometry = geometry(4096, 16 * 1024 * 1024, 2048, Erase::Logical);

type SparseSpool = Spool<Sparse, Vec<u8>>;

fn large_buffers() -> Buffers<Vec<u8>> {
    Buffers { hot: vec![0; 256 * 1024], moved: vec![0; 64 * 1024], status: vec![0; 64 * 1024] }
}

fn mount_sparse(medium: Sparse, options: MountOptions) -> SparseSpool {
    Spool::mount(medium, large_buffers(), options).unwrap()
}

/// Takes messages with bodies of zeros until there are so many or the volume is full; one in ten is delivered.
fn fill(spool: &mut SparseSpool, messages: u64, body_bytes: usize) -> u64 {
    let body = vec![0; body_bytes];
    let recipients = [Recipient { address: "a@b.example".into(), ..Recipient::default() }];
    let begin = Begin::default();
    let store = |spool: &mut SparseSpool| -> Result<MessageId, Error> {
        let mut incoming = spool.begin(&begin, &recipients, Some(body_bytes as u64))?;
        spool.write(&mut incoming, &body)?;
        spool.commit(incoming)
    };
    let mut delivered = Vec::new();
    for number in 0..messages {
        let id = match store(spool) {
            Ok(id) => id,
            Err(Error::Full) => return number,
            Err(error) => panic!("{error}"),
        };
        if number % 10 == 0 {
            delivered.push(id);
        }
        if number % 500 == 499 || number + 1 == messages {
            spool.sync().unwrap();
            for id in delivered.drain(..) {
                spool.set_status(id, &fate(0, 1, Fate::Delivered)).unwrap();
            }
        }
    }
    spool.sync().unwrap();
    messages
}

/// Mounts, and says what that read and the most memory it held.
fn measured_mount(medium: &Sparse, options: MountOptions) -> (SparseSpool, Read, u64) {
    let mut spool = None;
    medium.take_read();
    let taken = allocation_counter::measure(|| spool = Some(mount_sparse(medium.clone(), options)));
    (spool.unwrap(), medium.take_read(), taken.bytes_max - large_buffers_bytes())
}

fn large_buffers_bytes() -> u64 {
    let Buffers { hot, moved, status } = large_buffers();
    (hot.len() + moved.len() + status.len()) as u64
}

fn show(what: &str, messages: usize, read: Read, memory: u64) {
    let (mib, memory_mib) = (read.bytes as f64 / MIB as f64, memory as f64 / MIB as f64);
    println!(
        "{what}: {messages} messages, {mib:.2} MiB in {} requests, {memory_mib:.2} MiB held",
        read.requests
    );
}

/// What is held beside the index: the checkpoint's pieces, and some hundred bytes a segment.
fn memory_max(geometry: Geometry, index_bytes: usize) -> u64 {
    index_bytes as u64 + 4 * MIB + u64::from(geometry.segments) * KIB
}

#[test]
fn a_mount_of_64_mib_of_nor_reads_at_most_4_mb() {
    for unit_bytes in [16, 32] {
        let geometry = Geometry { unit_bytes, ..NOR };
        let medium = Sparse::new(geometry);
        format(&mut medium.clone(), VOLUME, false, |_, _| {}).unwrap();
        let mut spool = mount_sparse(medium.clone(), MountOptions::default());
        let messages = fill(&mut spool, u64::MAX, 2000);
        assert!(messages > 15_000, "{messages}");
        tidy_sparse(&mut spool);
        spool.close().unwrap();

        let (mut spool, read, memory) = measured_mount(&medium, MountOptions::default());
        let report = spool.mount_report();
        assert!(report.clean && report.from_checkpoint, "{report:?}");
        let messages = spool.info().messages + spool.info().kept_messages;
        show("NOR, 64 MiB, clean", messages, read, memory);
        assert!(read.bytes <= 4_000_000 && read.requests <= 50, "{read:?}");
        assert!(memory <= memory_max(geometry, spool.info().index_bytes), "{memory}");
        assert!(spool.info().index_bytes <= 32 * messages + 64 * 1024, "{}", spool.info().index_bytes);

        // And when the power fails after much was delivered and taken.
        let queued: Vec<MessageId> = spool.queue(MessageId(0)).map(|message| message.id).take(5000).collect();
        for ids in queued.chunks(50) {
            ids.iter().for_each(|id| spool.set_status(*id, &fate(0, 1, Fate::Delivered)).unwrap());
            spool.sync().unwrap();
        }
        fill(&mut spool, 3000, 2000);
        drop(spool);
        let (spool, read, memory) = measured_mount(&medium, MountOptions::default());
        assert!(!spool.mount_report().clean);
        show("NOR, 64 MiB, after a crash", messages, read, memory);
        assert!(read.bytes <= 4_000_000 && read.requests <= 300, "{read:?}");
    }
}

fn tidy_sparse(spool: &mut SparseSpool) {
    while spool.step(stamp(0)).unwrap() != penstock_spool::Step::Idle {}
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes without optimisation")]
fn a_mount_of_32_gib_with_a_million_messages_reads_at_most_60_mb() {
    let medium = Sparse::new(DISK);
    format(&mut medium.clone(), VOLUME, false, |_, _| {}).unwrap();
    let mut spool = mount_sparse(medium.clone(), MountOptions::default());
    assert_eq!(fill(&mut spool, 900_000, 0), 900_000);
    spool.close().unwrap();
    let mut spool = mount_sparse(medium.clone(), MountOptions::default());
    assert_eq!(fill(&mut spool, 100_000, 6000), 100_000);

    // After a crash there are, besides the checkpoint, the summaries of what was filled since and the open segments.
    drop(spool);
    let (mut spool, read, memory) = measured_mount(&medium, MountOptions::default());
    let report = spool.mount_report();
    assert!(!report.clean && report.from_checkpoint, "{report:?}");
    show("disk, 32 GiB, after a crash", 1_000_000, read, memory);
    assert!(read.bytes <= 110_000_000 && read.requests <= 500, "{read:?}");

    // Something must have changed, or the checkpoint that there is counts as good enough.
    spool.put_meta(1, b"key", b"value").unwrap();
    spool.close().unwrap();
    let (spool, read, memory) = measured_mount(&medium, MountOptions::default());
    let report = spool.mount_report();
    assert!(report.clean && report.from_checkpoint, "{report:?}");
    show("disk, 32 GiB, clean", 1_000_000, read, memory);
    assert!(read.bytes <= 60_000_000 && read.requests <= 300, "{read:?}");
    let info = spool.info();
    assert_eq!(info.messages + info.kept_messages, 1_000_000);
    assert!(info.index_bytes <= 32 * 1_000_000 + 64 * 1024, "{}", info.index_bytes);
    assert!(memory <= 64 * MIB, "{memory}");

    append::takes_memory_by_segments_only("disk, 32 GiB", &medium);
}

#[test]
fn many_crashes_in_a_row_use_up_nothing() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        let kept = mail(1, 2, 1500);
        let id = store(&mut spool, &kept, 1500).unwrap();
        spool.sync().unwrap();
        let mut medium = spool.into_medium();
        let image = sim.image();
        for _ in 0..50 {
            medium = mount(medium).unwrap().into_medium();
            medium = Spool::mount_append(medium, buffers()).unwrap().into_medium();
        }
        assert_eq!(sim.image(), image, "{name}: a mount wrote something");
        let mut spool = mount(medium).unwrap();
        let (_, free, _) = spool.info().segments;
        assert!(free >= geometry.segments - 6, "{name}: {free} free");
        // Also where each boot gets as far as taking a message.
        for round in 0..200 {
            let stored = store(&mut spool, &mail(100 + round, 1, 200), 200).unwrap();
            spool.sync().unwrap();
            delivered(&mut spool, stored);
            spool.sync().unwrap();
            tidy(&mut spool);
            spool = mount(spool.into_medium()).unwrap();
        }
        assert_eq!(read(&mut spool, id).unwrap(), kept, "{name}");
    }
}

/// One random act in the life of a volume. Running out of space is part of life.
fn act(rng: &mut Rng, number: u64, spool: &mut TestSpool) {
    let queued: Vec<MessageId> = spool.queue(MessageId(0)).map(|message| message.id).collect();
    let done = match rng.below(12) {
        0..=3 => {
            let size = [0, 100, 700, 3000, 12_000][rng.below(5) as usize];
            store(spool, &mail(number, 1 + rng.below(4) as u16, size), 900).map(drop)
        }
        4..=7 if !queued.is_empty() => {
            let id = queued[rng.below(queued.len().min(8) as u64) as usize];
            let recipients = spool.summary(id).unwrap().recipients;
            let count = 1 + rng.below(u64::from(recipients)) as u16;
            let fate_of =
                [Fate::Delivered, Fate::Delivered, Fate::Held, Fate::Removed][rng.below(4) as usize];
            match spool.set_status(id, &fate(0, count, fate_of)) {
                Err(Error::AlreadyFinal(_)) => Ok(()),
                done => done,
            }
        }
        8 => spool.put_meta(1, &[number as u8 % 5], &number.to_le_bytes()),
        9 => {
            spool.record_event(&Event { at: stamp(number), code: 1, message: None, text: "so it is".into() })
        }
        _ => spool.step(stamp(number)).map(drop),
    };
    match done {
        Ok(()) | Err(Error::Full) => {}
        Err(error) => panic!("{error}"),
    }
    if rng.one_in(3) {
        spool.sync().unwrap();
    }
}

fn assert_both_ways_agree(name: &str, sim: &Sim) {
    let scanned = MountOptions { uses_checkpoint: false, ..MountOptions::default() };
    let scanned = Spool::mount(sim.medium(), buffers(), scanned).unwrap().inside();
    let hinted = mount(sim.medium()).unwrap();
    let hinted = hinted.inside();
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).cloned().collect()
    };
    let differences = (only(&hinted, &scanned), only(&scanned, &hinted));
    assert_eq!(differences, (Vec::new(), Vec::new()), "{name}, by checkpoint and by scan; {}", sim.story());
}

#[test]
fn a_mount_by_the_checkpoint_finds_what_one_by_a_scan_finds() {
    for (name, geometry) in GEOMETRIES {
        let (mut by_checkpoint, mut mounts) = (0, 0);
        let sim = formatted(geometry);
        let mut rng = Rng::new(4711);
        let mut number = 0;
        for _ in 0..150 {
            let mut spool = mount(sim.medium()).unwrap();
            mounts += 1;
            by_checkpoint += u32::from(spool.mount_report().from_checkpoint);
            for _ in 0..rng.below(120) {
                number += 1;
                act(&mut rng, number, &mut spool);
            }
            match rng.below(3) {
                0 => drop(spool.close().unwrap()),
                1 => drop(spool),
                _ => {
                    // Marginal cells would read differently the second time.
                    let seed = if rng.one_in(2) { SEED_KEEP_ALL } else { SEED_DROP_ALL };
                    drop(spool);
                    let _ = sim.power_on(seed);
                }
            }
            assert_both_ways_agree(name, &sim);
        }
        println!("{name}: {mounts} mounts, {by_checkpoint} by a checkpoint");
        // No stop of all these leaves anything that only a scan would find. Before the first mount there is no checkpoint,
        // and a boot that has no room to begin with may give it up.
        assert!(
            by_checkpoint < mounts && by_checkpoint > mounts * 9 / 10,
            "{name}: {by_checkpoint} of {mounts}"
        );
    }
}
