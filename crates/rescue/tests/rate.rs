//! How fast the rescue is by itself: the processor time of its steps, with media and network that take none. A measurement,
//! which decides about nothing.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict")]

mod support;

use std::time::{Duration as HostDuration, Instant as HostInstant};

use penstock_rescue::smoltcp::time::Duration;
use penstock_spool::format;
use support::client::Mail;
use support::ram::Ram;
use support::wire::Weather;
use support::{DISK, FRONT, NOR, World, settings, start};

#[test]
#[ignore = "a measurement, with --release --nocapture"]
fn accept_rate_of_one_processor() {
    for (what, geometry) in [("disk", DISK), ("nor", NOR)] {
        for (clients, size_bytes) in [(1, 4_000), (16, 4_000), (16, 40_000)] {
            let messages = (geometry.capacity_bytes() / 2 / (size_bytes as u64 + 9_000)).min(2000);
            let mut ram = Ram::new(geometry, 0);
            format(&mut ram, *b"test volume 0001", false, |_, _| {}).unwrap();
            let text = settings(FRONT);
            let start = match what {
                "disk" => start(&text, Some(ram), None),
                _ => start(&text, None, Some(ram)),
            };
            let mut world: World<Ram, Ram> = World::new(start, Weather::FAIR, 1);
            for client in 0..clients {
                let of_client = messages / clients;
                world.client((0..of_client).map(|n| Mail::new(1000 * client + n, size_bytes)));
            }
            let (mut busy, mut longest) = (HostDuration::ZERO, HostDuration::ZERO);
            let until = world.now + Duration::from_secs(3600);
            while !world.are_clients_over() {
                assert!(world.now < until);
                world.step_by(|rescue, server, now| {
                    let began = HostInstant::now();
                    let due = rescue.poll(server, now);
                    let took = began.elapsed();
                    busy += took;
                    longest = longest.max(took);
                    due
                });
            }
            let counters = world.rescue.status().counters;
            println!(
                "{what}, {clients} clients, {size_bytes} bytes: {:.0} messages/s, {:.1} MB/s, {:.1} messages a sync, longest \
                 step {longest:?} of {} ({} us on average)",
                counters.messages as f64 / busy.as_secs_f64(),
                counters.message_bytes as f64 / 1e6 / busy.as_secs_f64(),
                counters.messages as f64 / counters.syncs as f64,
                world.polls,
                busy.as_micros() / u128::from(world.polls)
            );
        }
    }
}
