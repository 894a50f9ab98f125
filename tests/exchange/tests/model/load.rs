//! Other people's mail servers against the model: what they cause is what has been seen.

use std::net::IpAddr;

use penstock_exchange::simulated::World;
use penstock_exchange::units::MINUTE;
use penstock_exchange::{Item, Sender, Server};

use crate::common::{BOX, count, world};

/// A backlog of small messages to a thousand mailboxes.
fn backlog(messages: u64) -> Vec<Item> {
    (0..messages).map(|n| Item::numbered(n, &format!("user{}@example.com", n % 1000), 2000)).collect()
}

/// Runs until the sender is done and all mail is in its mailboxes; how long that took, in seconds.
fn drain(world: &mut World, sender: &mut Sender, messages: usize) -> u64 {
    while world.server.deliveries().len() < messages {
        let now_ms = world.now_ms();
        assert!(now_ms < 600 * MINUTE, "{}", world.server.status_line());
        world.run(&mut [sender], now_ms + 1000);
    }
    world.now_ms() / 1000
}

fn every_message_is_delivered_once(world: &World, messages: usize) {
    let mut ids: Vec<_> =
        world.server.deliveries().iter().map(|delivery| delivery.message_id.clone()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), world.server.deliveries().len()), (messages, messages));
}

/// A trial by hand with Postfix at C = 50/s, thresholds × 0.05, 8,000 messages and twenty connections showed medium
/// pressure for most of the drain, in 13 excursions. A sender of 200 messages a second that obeys every delay does the
/// same to the model, if delays do not grow within an excursion.
#[test]
fn twenty_connections_drive_the_server_into_medium_pressure_again_and_again() {
    let mut world = world(&["capacity 50", "scale 0.05", "delay-step 1m"]).with_one_way_ms(1);
    let mut sender = Sender::new(BOX, 20, backlog(8000)).every_ms(5);
    let seconds = drain(&mut world, &mut sender, 8000);
    every_message_is_delivered_once(&world, 8000);
    let share = world.server.summary()["medium_share"].as_f64().unwrap();
    let excursions = count(&world, "excursions_medium");
    println!("{seconds} s, {share} of it in medium, {excursions} excursions");
    assert!((158..240).contains(&seconds) && share > 0.4 && excursions >= 8);
}

/// Delays that grow with each poll outlast the pressure: the server is idle while its clients wait.
#[test]
fn delays_that_grow_leave_the_server_idle() {
    let mut world = world(&["capacity 50", "scale 0.05"]).with_one_way_ms(1);
    let mut sender = Sender::new(BOX, 20, backlog(8000)).every_ms(5);
    let seconds = drain(&mut world, &mut sender, 8000);
    every_message_is_delivered_once(&world, 8000);
    assert!(seconds > 220, "{seconds} s");
}

/// With disk pressure in the first 90 s what is sent after the first poll is sent in vain.
#[test]
fn without_disk_messages_are_sent_in_vain() {
    let mut world = world(&["capacity 50", "disk 95%", "at 90s disk ok"]).with_one_way_ms(1);
    let mut sender = Sender::new(BOX, 20, backlog(8000)).retrying_after_ms(5 * MINUTE);
    let seconds = drain(&mut world, &mut sender, 8000);
    every_message_is_delivered_once(&world, 8000);
    assert!(count(&world, "in_vain") > 6000, "{}", count(&world, "in_vain"));
    // It is idle while they wait.
    assert!(seconds > 400, "{seconds} s");
}

#[test]
fn who_sends_less_than_the_capacity_sees_no_pressure_and_a_bystander_waits_for_nothing() {
    let mut world = world(&["capacity 50", "scale 0.05"]).with_one_way_ms(1);
    let mut sender = Sender::new(BOX, 20, backlog(2000)).every_ms(25);
    let to_bystander = |n: u64| Item::numbered(1_000_000 + n, "bystander@example.com", 2000);
    let other: IpAddr = [10, 0, 0, 9].into();
    let mut bystander = Sender::new(other, 1, (0..50).map(to_bystander).collect()).every_ms(1000);
    world.run(&mut [&mut sender, &mut bystander], 2 * MINUTE);
    assert!(sender.is_done() && bystander.is_done());
    assert_eq!(count(&world, "excursions_medium"), 0);
    let waits = world.server.deliveries().iter().filter(|delivery| delivery.source == Some(other));
    let worst_ms = waits.map(|delivery| delivery.delivered_ms - delivery.mail_ms).max().unwrap();
    assert!(worst_ms < 1000, "{worst_ms} ms");
}

#[test]
fn a_site_drawn_by_chance_is_the_same_for_the_same_seed_and_another_for_another() {
    let run = |seed: u64| {
        let mut server = Server::new(seed, 0);
        let drawn = server.command(0, "draw").unwrap();
        let mut world = World::new(server).with_one_way_ms(2);
        let mut sender = Sender::new(BOX, 10, backlog(500));
        world.run(&mut [&mut sender], 5 * MINUTE);
        (drawn, world.server.summary().to_string(), world.server.deliveries().to_vec())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).0, run(8).0);
}

#[test]
fn drawn_sites_lie_where_they_are_said_to() {
    for seed in 0..50 {
        let drawn = Server::new(seed, 0).command(0, "draw").unwrap();
        let scale: f64 = drawn.split([' ', ',']).nth(1).unwrap().parse().unwrap();
        assert!((0.2..=3.0).contains(&scale), "{drawn}");
    }
}
