//! From the submission queue to the mailbox.

use penstock_exchange::units::{DAY, HOUR, MINUTE};
use penstock_exchange::{Report, ReportKind};

use crate::common::{count, mailbox, numbered, send, session, world};

#[test]
fn the_queue_is_drained_at_the_capacity_and_that_may_vary() {
    // Enough connections and no costs but the number.
    let site = ["connections-per-source 100", "cost-mib 0", "cost-noise 0", "commit 0ms"];
    for (capacity, expected_s) in [("capacity 20", 50), ("capacity wave 10 30 10s", 50), ("capacity 200", 5)]
    {
        let mut world = world(&[&site[..], &[capacity]].concat());
        let connection = session(&mut world);
        for number in 0..1000 {
            world.message(connection, "a@b.example", &["ann@example.com"], &numbered(number));
        }
        assert_eq!(world.now_ms(), 0, "the network and the disk take no time here");
        world.run_until(expected_s * 1000 - 500);
        assert!(world.server.submission_queue() > 0, "{capacity}");
        world.run_until(expected_s * 1000 + 500);
        assert_eq!(world.server.submission_queue(), 0, "{capacity}");
        // Each database takes 200 a second; ann's has all of it.
        world.run_until(expected_s * 1000 + 10_000);
        assert_eq!(mailbox(&world, "ann@example.com").len(), 1000);
    }
}

#[test]
fn large_messages_and_many_recipients_cost_more() {
    let seconds = |to: &[&str], len_bytes: usize| {
        let mut world =
            world(&["capacity 1", "cost-mib 2", "cost-recipient 0.5", "cost-noise 0", "commit 0ms"]);
        let connection = session(&mut world);
        let message = format!("{}\r\n{}", numbered(1), "x".repeat(len_bytes));
        world.message(connection, "a@b.example", to, &message);
        while world.server.submission_queue() > 0 {
            let now_ms = world.now_ms();
            world.run_until(now_ms + 100);
        }
        world.now_ms() / 1000
    };
    assert_eq!(seconds(&["ann@example.com"], 0), 1);
    assert_eq!(seconds(&["ann@example.com"], 1_048_576), 3);
    assert_eq!(seconds(&["ann@example.com", "bob@example.com", "cid@example.com"], 0), 2);
}

#[test]
fn the_organisations_own_mail_takes_its_share_of_the_capacity() {
    let mut world = world(&["background 10", "capacity 20"]);
    world.run_until(10 * MINUTE);
    let own = count(&world, "background");
    assert!((5500..6500).contains(&own), "{own}");
    assert!(world.server.submission_queue() < 20);
    world.command("background 40").unwrap();
    world.run_until(11 * MINUTE);
    assert!(world.server.submission_queue() > 1000);
}

#[test]
fn one_of_three_databases_may_be_gone_for_days_while_smtp_looks_healthy() {
    let mut world = world(&["dismount DB2", "place ann@example.com DB1", "place bob@example.com DB2"]);
    assert!(send(&mut world, 1, "ann@example.com").starts_with("250"));
    assert!(send(&mut world, 2, "bob@example.com").starts_with("250"));
    world.run_until(HOUR);
    assert_eq!(mailbox(&world, "ann@example.com").len(), 1);
    assert_eq!((mailbox(&world, "bob@example.com").len(), count(&world, "in_delivery_queues")), (0, 1));
    // It is reported back after two days.
    world.run_until(2 * DAY - MINUTE);
    assert_eq!(count(&world, "ndr_after_250"), 0);
    world.run_until(2 * DAY + 10 * MINUTE);
    assert_eq!((count(&world, "ndr_after_250"), count(&world, "expired")), (1, 1));
    assert_eq!(world.mail()[0].to, "a@box.example.net");
    // What comes later waits, and is delivered when the database is there again, at the next try.
    assert!(send(&mut world, 3, "bob@example.com").starts_with("250"));
    world.run_until(2 * DAY + 20 * MINUTE);
    world.command("mount DB2").unwrap();
    world.run_until(2 * DAY + 26 * MINUTE);
    assert_eq!(mailbox(&world, "bob@example.com"), ["<3@box.example.net>"]);
}

#[test]
fn mail_that_sits_in_the_transport_queue_expires_after_two_days_as_well() {
    let mut world = world(&["capacity 0"]);
    assert!(send(&mut world, 1, "ann@example.com").starts_with("250"));
    world.run_until(2 * DAY - MINUTE);
    assert_eq!((count(&world, "in_submission_queue"), count(&world, "expired")), (1, 0));
    world.run_until(2 * DAY + MINUTE);
    assert_eq!((count(&world, "in_submission_queue"), count(&world, "expired")), (0, 1));
}

#[test]
fn duplicates_are_suppressed_by_message_id_and_submit_time_for_some_days() {
    let mut world = world(&[]);
    send(&mut world, 1, "ann@example.com");
    send(&mut world, 1, "ann@example.com");
    world.run_until(MINUTE);
    assert_eq!((mailbox(&world, "ann@example.com").len(), count(&world, "duplicates_suppressed")), (1, 1));
    // Another mailbox has not seen it; another submit time is another message; and so is one after some days.
    send(&mut world, 1, "bob@example.com");
    let connection = session(&mut world);
    let later = numbered(1).replace("01 Jan", "02 Jan");
    world.message(connection, "a@b.example", &["ann@example.com"], &later);
    world.run_until(2 * MINUTE);
    assert_eq!((mailbox(&world, "bob@example.com").len(), mailbox(&world, "ann@example.com").len()), (1, 2));
    world.run_until(8 * DAY);
    send(&mut world, 1, "ann@example.com");
    world.run_until(8 * DAY + MINUTE);
    assert_eq!(mailbox(&world, "ann@example.com").len(), 3);
}

#[test]
fn nothing_is_suppressed_for_contacts_or_without_a_message_id() {
    let mut world = world(&["contact ann@example.com"]);
    send(&mut world, 1, "ann@example.com");
    send(&mut world, 1, "ann@example.com");
    let connection = session(&mut world);
    world.message(connection, "a@b.example", &["bob@example.com"], "Subject: x\r\n");
    world.message(connection, "a@b.example", &["bob@example.com"], "Subject: x\r\n");
    world.run_until(MINUTE);
    assert_eq!(world.server.deliveries().len(), 4);
    assert_eq!(count(&world, "duplicates_suppressed"), 0);
}

#[test]
fn nobody_is_told_who_did_not_want_to_be_or_cannot_be() {
    let mut world = world(&["directory empty"]);
    let connection = session(&mut world);
    for (from, notify) in [("a@b.example", " NOTIFY=NEVER"), ("", ""), ("a@b.example", "")] {
        world.ask(connection, &format!("MAIL FROM:<{from}>"));
        world.ask(connection, &format!("RCPT TO:<ann@example.com>{notify}"));
        world.ask(connection, "DATA");
        world.ask(connection, "Subject: x\r\n\r\n.");
    }
    world.run_until(MINUTE);
    // All three are lost to their sender's view; one of them is told.
    assert_eq!(count(&world, "ndr_after_250"), 3);
    assert_eq!(world.mail().len(), 1);
    let kinds: Vec<ReportKind> = world.server.reports().iter().map(|report: &Report| report.kind).collect();
    assert_eq!(kinds, [ReportKind::UnknownRecipient; 3]);
}
