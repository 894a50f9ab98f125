//! Receive connector and organisation.

use std::net::IpAddr;

use crate::common::{BOX, count, numbered, send, session, timed, world};

#[test]
fn one_source_has_twenty_connections() {
    let mut world = world(&[]);
    let mut all: Vec<_> = (0..20).map(|_| session(&mut world)).collect();
    let one_more = world.connect(BOX).unwrap();
    let said = world.reply(one_more).unwrap();
    assert!(
        said.starts_with("421 4.3.2 The maximum number of concurrent connections has exceeded"),
        "{said}"
    );
    assert_eq!(world.reply(one_more), None);
    // Another source has its own, and one that ends makes room.
    assert!(world.connect(IpAddr::from([10, 0, 0, 2])).is_some());
    world.ask(all.pop().unwrap(), "QUIT");
    session(&mut world);
}

#[test]
fn connections_are_limited_in_all_and_a_source_gets_two_percent_of_what_remains() {
    let mut world = world(&["connections 200", "connections-per-source 200"]);
    // 2 % of 197, and of 194: whole ones.
    for (n, expected) in [(0, 3), (1, 3)] {
        let source = IpAddr::from([10, 0, 1, n]);
        let mut taken = 0;
        loop {
            let connection = world.connect(source).unwrap();
            if !world.reply(connection).unwrap().starts_with("220") {
                break;
            }
            taken += 1;
        }
        assert_eq!(taken, expected, "of source {n}");
    }
    let mut world = self::world(&["connections 2"]);
    session(&mut world);
    let connection = world.connect(IpAddr::from([10, 0, 0, 2])).unwrap();
    assert!(world.reply(connection).unwrap().starts_with("220"));
    let connection = world.connect(IpAddr::from([10, 0, 0, 3])).unwrap();
    let said = world.reply(connection).unwrap();
    assert!(said.starts_with("421 4.3.2") && said.contains("exceeded a limit"), "{said}");
}

#[test]
fn errors_are_answered_after_five_seconds_and_five_of_them_are_too_many() {
    let mut world = world(&[]);
    let connection = session(&mut world);
    for _ in 0..5 {
        let (said, seconds) = timed(&mut world, |world| world.ask(connection, "WHAT"));
        assert!(said.starts_with("500") && seconds == 5, "{said} after {seconds} s");
    }
    let said = world.ask(connection, "WHAT");
    assert_eq!(said, "421 4.7.0 Too many errors on this connection, closing transmission channel");
    assert_eq!(world.reply(connection), None);
}

#[test]
fn a_refused_recipient_costs_the_tarpit_too_and_is_no_protocol_error() {
    let mut world = world(&["session 1h"]);
    let connection = session(&mut world);
    world.ask(connection, "MAIL FROM:<a@b.example>");
    for _ in 0..10 {
        let (said, seconds) =
            timed(&mut world, |world| world.ask(connection, "RCPT TO:<x@elsewhere.example>"));
        assert_eq!(said, "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain");
        assert_eq!(seconds, 5);
    }
}

#[test]
fn a_message_has_two_hundred_recipients() {
    let mut world = world(&[]);
    let connection = session(&mut world);
    world.ask(connection, "MAIL FROM:<a@b.example>");
    for n in 0..200 {
        assert!(world.ask(connection, &format!("RCPT TO:<u{n}@example.com>")).starts_with("250"));
    }
    assert!(world.ask(connection, "RCPT TO:<one@example.com>").starts_with("452 4.5.3"));
    assert!(world.ask(connection, "DATA").starts_with("354"));
    assert!(world.ask(connection, ".").starts_with("250"));
    world.run_until(60_000);
    assert_eq!(count(&world, "delivered"), 200);
}

#[test]
fn ehlo_shows_the_connectors_limit_and_not_the_organisations() {
    let mut world = world(&["size 2MB", "organisation-size 1MB"]);
    let connection = session(&mut world);
    assert!(world.ask(connection, "EHLO a").contains("SIZE 2097152"));
    assert_eq!(
        world.ask(connection, "MAIL FROM:<a@b.example> SIZE=2097153"),
        "552 5.3.4 Message size exceeds fixed maximum message size"
    );
    assert!(world.ask(connection, "MAIL FROM:<a@b.example> SIZE=2097152").starts_with("250"));
    world.ask(connection, "RCPT TO:<ann@example.com>");
    world.ask(connection, "DATA");
    let said = world.ask(connection, &format!("{}\r\n.", "x".repeat(1_048_577)));
    assert!(said.starts_with("552 5.3.4"), "{said}");
}

#[test]
fn the_organisations_limit_may_be_found_after_250() {
    let mut world = world(&["organisation-size 1KB report"]);
    let connection = session(&mut world);
    let message = format!("{}\r\n{}", numbered(1), "x".repeat(2000));
    assert!(world.message(connection, "a@b.example", &["ann@example.com"], &message).starts_with("250"));
    world.run_until(10_000);
    assert_eq!((count(&world, "delivered"), count(&world, "ndr_after_250")), (0, 1));
    assert!(String::from_utf8_lossy(&world.mail()[0].bytes).contains("Status: 5.2.3"));
}

#[test]
fn a_header_has_256_kb_and_a_message_thirty_hops() {
    let mut world = world(&[]);
    let connection = session(&mut world);
    let mut try_header = |header: String| {
        world.message(connection, "a@b.example", &["ann@example.com"], &format!("{header}\r\nbody"))
    };
    let hop = "Received: from a by b\r\n";
    assert!(try_header(hop.repeat(30)).starts_with("250"));
    assert_eq!(try_header(hop.repeat(31)), "554 5.4.6 Hop count exceeded - possible mail loop");
    assert!(try_header("X-Filler: and so on\r\n".repeat(12_000)).starts_with("250"));
    assert!(try_header("X-Filler: and so on\r\n".repeat(13_000)).starts_with("552 5.3.4"));
}

#[test]
fn a_throttled_mailbox_says_432_and_the_others_do_not() {
    let mut world = world(&["throttle ann@example.com 6"]);
    assert!(send(&mut world, 1, "ann@example.com").starts_with("250"));
    let said = send(&mut world, 2, "ann@example.com");
    assert_eq!(said, "432 4.3.2 STOREDRV.Storage; mailbox server thread limit exceeded");
    assert!(send(&mut world, 3, "bob@example.com").starts_with("250"));
    world.run_until(10_100);
    assert!(send(&mut world, 4, "ann@example.com").starts_with("250"));
    // A direct face says it at RCPT.
    world.command("face direct").unwrap();
    let connection = session(&mut world);
    world.ask(connection, "MAIL FROM:<a@b.example>");
    assert!(world.ask(connection, "RCPT TO:<ann@example.com>").starts_with("432"));
    assert!(world.ask(connection, "RCPT TO:<bob@example.com>").starts_with("250"));
}
