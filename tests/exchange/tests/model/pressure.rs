//! Back pressure, as a sender that is no Exchange server meets it.

use penstock_exchange::{Level, Resource};

use crate::common::{BOX, count, mailbox, numbered, send, session, timed, world};

/// A server whose disk is at medium.
const DISK: [&str; 1] = ["disk 90%"];
/// A server whose submission queue is at medium, and stays there: nothing is worked off.
const QUEUE: [&str; 3] = ["capacity 0", "scale 0.001", "face direct"];

#[test]
fn resources_are_polled_every_two_seconds() {
    let mut world = world(&["disk 90%"]);
    world.run_until(1999);
    assert_eq!(world.server.level(), Level::Low);
    world.run_until(2000);
    assert_eq!(world.server.level_of(Resource::LogDrive), Level::Medium);
}

#[test]
fn under_high_pressure_a_front_end_answers_452_only_at_the_end_of_data() {
    for command in ["disk 99%", "queue-disk 99%", "memory 75%", "buckets 1500"] {
        let mut world = world(&[command]);
        world.run_until(2000);
        assert_eq!(world.server.level(), Level::High);
        let connection = session(&mut world);
        assert!(world.ask(connection, "MAIL FROM:<a@b.example>").starts_with("250"));
        assert!(world.ask(connection, "RCPT TO:<ann@example.com>").starts_with("250"));
        assert!(world.ask(connection, "DATA").starts_with("354"));
        let said = world.ask(connection, &format!("{}\r\n.", numbered(1)));
        assert!(said.starts_with("452 4.3.1 Insufficient system resources ("), "{said}");
        assert_eq!((count(&world, "accepted"), count(&world, "in_vain")), (0, 1));
    }
}

#[test]
fn the_reply_names_the_resource() {
    let mut world = world(&DISK);
    world.run_until(2000);
    let said = send(&mut world, 1, "ann@example.com");
    assert!(said.contains("(UsedDiskSpace["), "{said}");
}

#[test]
fn direct_faces_show_it_at_mail() {
    for face in ["face direct", "face edge"] {
        let mut world = world(&["disk 90%", face]);
        world.run_until(2000);
        let connection = session(&mut world);
        assert!(world.ask(connection, "MAIL FROM:<a@b.example>").starts_with("452 4.3.1"));
    }
}

#[test]
fn pressure_that_rises_during_a_message_shows_at_its_end_on_a_direct_face_too() {
    let mut world = world(&["face direct", "at 10s disk 95%"]);
    let connection = session(&mut world);
    world.ask(connection, "MAIL FROM:<a@b.example>");
    world.ask(connection, "RCPT TO:<ann@example.com>");
    world.ask(connection, "DATA");
    world.run_until(20_000);
    assert!(world.ask(connection, "Subject: x\r\n\r\n.").starts_with("452 4.3.1"));
}

#[test]
fn where_a_back_end_shows_its_trouble_can_be_set() {
    let mut world = world(&["disk 95%", "refuse-at data"]);
    world.run_until(2000);
    let connection = session(&mut world);
    world.ask(connection, "MAIL FROM:<a@b.example>");
    world.ask(connection, "RCPT TO:<ann@example.com>");
    assert!(world.ask(connection, "DATA").starts_with("452 4.3.1"));
    // The transaction is over.
    assert!(world.ask(connection, "MAIL FROM:<a@b.example>").starts_with("250"));
}

#[test]
fn at_medium_the_queue_delays_mail_by_ten_seconds_and_more_up_to_fifty_five() {
    let mut world = world(&QUEUE);
    for number in 0..10 {
        send(&mut world, number, "ann@example.com");
    }
    world.run_until(2000);
    assert_eq!(world.server.level_of(Resource::SubmissionQueue), Level::Medium);
    let connection = session(&mut world);
    let mut delays = Vec::new();
    for _ in 0..3 {
        delays.push(timed(&mut world, |world| world.ask(connection, "MAIL FROM:<a@b.example>")).1);
        world.ask(connection, "RSET");
    }
    // The first reply of 10 s came 5 polls later; the second, of 35 s, 17.
    assert_eq!(delays, [10, 35, 55]);
}

#[test]
fn a_front_end_shows_the_delay_at_354() {
    let mut world = world(&["buckets 999"]);
    world.run_until(2000);
    let connection = session(&mut world);
    assert_eq!(timed(&mut world, |world| world.ask(connection, "MAIL FROM:<a@b.example>")).1, 0);
    world.ask(connection, "RCPT TO:<ann@example.com>");
    let (said, seconds) = timed(&mut world, |world| world.ask(connection, "DATA"));
    assert!(said.starts_with("354") && seconds == 10, "{said} after {seconds} s");
    let (said, seconds) = timed(&mut world, |world| world.ask(connection, "Subject: x\r\n\r\n."));
    assert!(said.starts_with("250") && seconds == 0, "{said} after {seconds} s");
}

#[test]
fn bdat_is_delayed_like_data() {
    let mut world = world(&["buckets 999"]);
    world.run_until(2000);
    let connection = session(&mut world);
    world.ask(connection, "MAIL FROM:<a@b.example>");
    world.ask(connection, "RCPT TO:<ann@example.com>");
    let (said, seconds) = timed(&mut world, |world| world.ask(connection, "BDAT 2\r\n"));
    assert!(said.starts_with("250") && seconds == 10, "{said} after {seconds} s");
    let (said, seconds) = timed(&mut world, |world| world.ask(connection, "BDAT 2 LAST\r\n"));
    assert!(said.starts_with("250") && seconds == 0, "{said} after {seconds} s");
}

#[test]
fn what_does_not_come_back_within_its_history_is_refused() {
    // Version buckets: 10 polls.
    let mut world = world(&["face direct", "buckets 1100"]);
    world.run_until(20_000);
    let connection = session(&mut world);
    assert!(world.ask(connection, "MAIL FROM:<a@b.example>").starts_with("250"));
    let now_ms = world.now_ms();
    world.run_until(now_ms.max(22_000));
    world.ask(connection, "RSET");
    let said = world.ask(connection, "MAIL FROM:<a@b.example>");
    assert!(said.starts_with("452 4.3.1 Insufficient system resources (UsedVersionBuckets["), "{said}");
    // Back at low it is all over.
    world.command("buckets 800").unwrap();
    let now_ms = world.now_ms();
    world.run_until(now_ms + 2000);
    assert_eq!(timed(&mut world, |world| world.ask(connection, "MAIL FROM:<a@b.example>")).1, 0);
}

#[test]
fn the_submission_queue_has_ten_minutes_of_history() {
    let mut world = world(&QUEUE);
    for number in 0..10 {
        send(&mut world, number, "ann@example.com");
    }
    world.run_until(590_000);
    let connection = session(&mut world);
    assert!(world.ask(connection, "MAIL FROM:<a@b.example>").starts_with("250"));
    world.ask(connection, "RSET");
    assert!(world.ask(connection, "MAIL FROM:<a@b.example>").starts_with("452 4.3.1"));
}

#[test]
fn system_memory_does_not_show_in_smtp() {
    let mut world = world(&["system-memory 99%"]);
    world.run_until(2000);
    assert_eq!(world.server.level_of(Resource::SystemMemory), Level::High);
    assert!(send(&mut world, 1, "ann@example.com").starts_with("250"));
    assert_eq!(count(&world, "excursions_medium"), 0);
}

#[test]
fn a_host_flaps_around_a_threshold() {
    let mut world = world(&["disk wave 75 95 60s"]);
    world.run_until(600_000);
    assert_eq!(count(&world, "excursions_medium"), 10);
    assert_eq!(count(&world, "excursions_high"), 0);
    let share = world.server.summary()["medium_share"].as_f64().unwrap();
    // From 89 rising (42 % of the period) to 80 falling (87 %).
    assert!((0.3..0.6).contains(&share), "{share}");
}

#[test]
fn memory_fills_with_what_is_queued_and_empties_with_it() {
    let mut world = world(&["capacity 0", "memory 60%", "memory-mib 10", "at 60s capacity 100"]);
    let connection = session(&mut world);
    let megabyte = format!("{}\r\n{}", numbered(1), "x".repeat(1_048_576));
    world.message(connection, "a@b.example", &["ann@example.com"], &megabyte);
    assert!(world.message(connection, "a@b.example", &["ann@example.com"], &megabyte).starts_with("250"));
    world.run_until(10_000);
    assert_eq!(world.server.level_of(Resource::PrivateBytes), Level::High);
    let said = send(&mut world, 2, "ann@example.com");
    assert!(said.contains("(PrivateBytes)"), "{said}");
    world.run_until(70_000);
    assert!(send(&mut world, 2, "ann@example.com").starts_with("250"));
    world.run_until(80_000);
    assert_eq!(mailbox(&world, "ann@example.com").last().unwrap(), "<2@box.example.net>");
}

#[test]
fn what_is_there_already_is_delivered_under_pressure() {
    let mut world = world(&["capacity 1", "at 2s disk 99%"]);
    let connection = world.connect(BOX).unwrap();
    world.reply(connection);
    world.ask(connection, "EHLO a");
    for number in 0..10 {
        let to = ["ann@example.com"];
        assert!(world.message(connection, "a@b.example", &to, &numbered(number)).starts_with("250"));
    }
    world.run_until(30_000);
    assert_eq!(world.server.level(), Level::High);
    assert_eq!(mailbox(&world, "ann@example.com").len(), 10);
}
