//! All memory is taken at the start. What the spool holds of messages under way is small, bounded, and given back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict")]

mod support;

use penstock_flash::sim::Rng;
use penstock_rescue::smoltcp::time::{Duration, Instant};
use penstock_rescue::{Rescue, SESSIONS_MAX};
use penstock_spool::format;
use support::client::{Mail, Raw};
use support::ram::Ram;
use support::wire::{Weather, cable};
use support::{DISK, FRONT, NOR, World, settings, start};

const KIB: u64 = 1024;

/// What one step takes and gives back at most, in bytes: a message's COMMIT and extents as the spool encodes them, the text of
/// its event, the list of what waits for a sync.
const STEP_BYTES_MAX: u64 = 2 * KIB;
/// What the spool holds of a message under way at most, in bytes: the numbers of the segments it has frames in.
const UNDER_WAY_BYTES_MAX: i64 = 256;
/// What it holds of what it opened, in bytes: its roots name twenty status segments at most.
const HELD_BYTES_MAX: i64 = 512;

fn ram_world(weather: Weather) -> World<Ram, Ram> {
    let volume = |geometry| {
        let mut ram = Ram::new(geometry, 0);
        format(&mut ram, *b"test volume 0001", false, |_, _| {}).unwrap();
        ram
    };
    World::new(start(&settings(FRONT), Some(volume(DISK)), Some(volume(NOR))), weather, 1)
}

/// What the rescue allocated, watched from outside.
#[derive(Default)]
struct Watch {
    allocations: u64,
    held: i64,
    held_max: i64,
    step_max: u64,
}

impl Watch {
    fn step(&mut self, world: &mut World<Ram, Ram>) {
        world.step_by(|rescue, server, now| {
            let mut due = now;
            let taken = allocation_counter::measure(|| due = rescue.poll(server, now));
            self.allocations += taken.count_total;
            self.held += taken.bytes_current;
            self.held_max = self.held_max.max(self.held);
            self.step_max = self.step_max.max(taken.bytes_max);
            due
        });
    }

    fn run_for(&mut self, world: &mut World<Ram, Ram>, time: Duration) {
        let until = world.now + time;
        while world.now < until {
            self.step(world);
        }
    }

    fn run_clients(&mut self, world: &mut World<Ram, Ram>) {
        let until = world.now + Duration::from_secs(3600);
        while !world.are_clients_over() {
            assert!(world.now < until);
            self.step(world);
        }
    }
}

#[test]
fn talking_takes_no_memory_at_all() {
    let mut world = ram_world(Weather::FOUL);
    let mut watch = Watch::default();
    let text = "EHLO a.example\r\nNOOP\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<c@example.com>\r\n\
        RSET\r\nVRFY x\r\nnonsense\r\nQUIT\r\n";
    // More than there is room for.
    for _ in 0..3 * SESSIONS_MAX {
        world.raw(Raw::saying(text), 4096);
        watch.run_for(&mut world, Duration::from_millis(500));
    }
    watch.run_for(&mut world, Duration::from_secs(60));
    let status = world.rescue.status();
    assert!(status.counters.sessions > SESSIONS_MAX as u64, "{status}");
    assert_eq!((watch.allocations, watch.held), (0, 0), "{status}");
}

#[test]
fn memory_is_the_same_after_thousands_of_messages_as_before_and_hardly_more_in_between() {
    let mut world = ram_world(Weather::FAIR);
    let mut watch = Watch::default();
    // The first one settles what the mount found.
    world.client([Mail::new(0, 100)]);
    watch.run_clients(&mut world);
    watch.run_for(&mut world, Duration::from_secs(10));
    println!("first message: {} bytes held since, {} in one step", watch.held, watch.step_max);
    let mut watch = Watch::default();
    let mut rng = Rng::new(1);
    for round in 0..20 {
        for n in 0..SESSIONS_MAX as u64 {
            let sizes: Vec<usize> = (0..10).map(|_| rng.below(20_000) as usize).collect();
            let number = 10_000 * round + 100 * n;
            world.client(sizes.iter().enumerate().map(|(m, size)| Mail::new(number + m as u64, *size)));
        }
        watch.run_clients(&mut world);
        watch.run_for(&mut world, Duration::from_secs(1));
    }
    world.client([Mail::new(1, 3 << 20)]);
    watch.run_clients(&mut world);
    watch.run_for(&mut world, Duration::from_secs(10));
    let status = world.rescue.status();
    println!(
        "{} messages, {} allocations: {} bytes held in the end, {} at most between steps, {} at most in one; {status}",
        status.counters.messages, watch.allocations, watch.held, watch.held_max, watch.step_max
    );
    assert_eq!(status.counters.messages, 1 + 20 * 10 * SESSIONS_MAX as u64 + 1, "{status}");
    assert!(status.disk.info.unwrap().segments.1 < 35, "many segments were opened meanwhile: {status}");
    assert!(watch.held <= HELD_BYTES_MAX, "{}", watch.held);
    assert!(
        watch.held_max <= HELD_BYTES_MAX + SESSIONS_MAX as i64 * UNDER_WAY_BYTES_MAX,
        "{}",
        watch.held_max
    );
    assert!(watch.step_max <= STEP_BYTES_MAX, "{}", watch.step_max);
}

/// Prints what README.md says about memory.
#[test]
fn what_is_taken_at_the_start_fits_a_small_machine() {
    let volume = |geometry| {
        let mut ram = Ram::new(geometry, 0);
        format(&mut ram, *b"test volume 0001", false, |_, _| {}).unwrap();
        ram
    };
    let text = settings(FRONT);
    let mut total = 0;
    for (what, disk, nor) in [
        ("with the disk", Some(volume(DISK)), None),
        ("with disk and NOR flash", Some(volume(DISK)), Some(volume(NOR))),
    ] {
        let (mut server, _end) = cable(Weather::FAIR, 1);
        let mut rescue = None;
        let taken = allocation_counter::measure(|| {
            let start = start(&text, disk, nor);
            rescue = Some(Rescue::new(start, &mut server, Instant::ZERO));
        });
        println!(
            "{what}: {} KiB held, {} KiB at most at the start",
            taken.bytes_current / 1024,
            taken.bytes_max / KIB
        );
        println!("and {} KiB in the struct itself", size_of::<Rescue<Ram, Ram>>() as u64 / KIB);
        total = taken.bytes_max;
    }
    assert!(total < 1024 * KIB, "{total}");
}

/// Erases that take half a second of polls each do not hold up anybody: no step looks after them more than twice.
#[test]
fn erases_go_on_in_steps_while_others_are_served() {
    let mut nor = Ram::new(NOR, 0);
    format(&mut nor, *b"test volume 0001", false, |_, _| {}).unwrap();
    nor.set_erase_polls(500);
    let text = settings(FRONT);
    let mut world = World::new(start(&text, Option::<Ram>::None, Some(nor.clone())), Weather::FAIR, 1);
    world.run_for(Duration::from_secs(1));
    let idle = nor.polled();
    world.run_for(Duration::from_secs(10));
    assert_eq!(nor.polled(), idle, "nothing is erased before somebody brings mail");
    world.client((0..200).map(|n| Mail::new(n, 2000)));
    let talker = world.raw(Raw::saying("EHLO a.example\r\n"), 4096);
    let (mut most, mut answers_meanwhile) = (0, 0);
    let began = world.now;
    let mut first_at = None;
    while !world.are_clients_over() {
        let before = nor.polled();
        world.step();
        most = most.max(nor.polled() - before);
        let raw = world.of_raw(talker);
        if raw.heard.ends_with(b"\r\n") && first_at.is_none() {
            answers_meanwhile += 1;
            raw.heard.clear();
            raw.out.extend(b"NOOP\r\n");
        }
        if world.rescue.status().counters.messages > 0 {
            first_at.get_or_insert(world.now);
        }
        assert!(world.now - began < Duration::from_secs(60));
    }
    println!(
        "first message after {}, {answers_meanwhile} answers to somebody else until then, {most} polls a step at most",
        first_at.unwrap() - began
    );
    assert!(nor.polled() > idle + 1000, "segments and an anchor were erased");
    assert!(most <= 1, "{most} polls in one step");
    assert!(answers_meanwhile > 50, "{answers_meanwhile}");
    assert!(world.clients().flat_map(|client| &client.answered).all(|(_, reply)| reply.code == 250));
}
