//! A server that is not itself again.

use penstock_exchange::units::{HOUR, MINUTE};

use crate::common::{BOX, count, mailbox, send, session, timed, world};

#[test]
fn by_default_no_recipient_is_validated_and_the_report_comes_later() {
    let mut world = world(&["directory empty"]);
    for number in 0..10 {
        assert!(send(&mut world, number, "ann@example.com").starts_with("250"));
    }
    world.run_until(MINUTE);
    assert_eq!((count(&world, "accepted"), count(&world, "delivered")), (10, 0));
    assert_eq!(count(&world, "ndr_after_250"), 10);
    let report = String::from_utf8(world.mail()[0].bytes.clone()).unwrap();
    assert!(report.contains("Status: 5.1.10\r\n"), "{report}");
}

#[test]
fn a_directory_that_is_partly_restored_loses_the_mail_of_the_others() {
    let mut world = world(&["directory partly 40%", "known probe@example.com", "capacity 1000"]);
    for number in 0..200 {
        assert!(send(&mut world, number, &format!("user{number}@example.com")).starts_with("250"));
    }
    send(&mut world, 1000, "probe@example.com");
    world.run_until(MINUTE);
    let (delivered, lost) = (count(&world, "delivered"), count(&world, "ndr_after_250"));
    assert_eq!(delivered + lost, 201);
    assert!((100..140).contains(&lost), "{lost}");
    assert_eq!(mailbox(&world, "probe@example.com").len(), 1);
}

#[test]
fn with_the_recipient_filter_one_bad_recipient_rejects_the_whole_message_at_the_end_of_data() {
    let mut world = world(&["filter on", "unknown bob@example.com"]);
    let connection = session(&mut world);
    let to = ["ann@example.com", "bob@example.com"];
    let said = world.message(connection, "a@b.example", &to, "Subject: x\r\n");
    assert_eq!(said, "550 5.1.1 User unknown");
    assert!(world.message(connection, "a@b.example", &to[..1], "Subject: x\r\n").starts_with("250"));
    // On Edge it judges one recipient, at RCPT.
    world.command("face edge").unwrap();
    let connection = session(&mut world);
    world.ask(connection, "MAIL FROM:<a@b.example>");
    assert!(world.ask(connection, "RCPT TO:<ann@example.com>").starts_with("250"));
    assert!(world.ask(connection, "RCPT TO:<bob@example.com>").starts_with("550 5.1.1"));
}

#[test]
fn an_inactive_component_says_421_instead_of_a_banner_or_412_at_mail() {
    let mut world = world(&["state inactive"]);
    let connection = world.connect(BOX).unwrap();
    let said = world.reply(connection).unwrap();
    assert_eq!(said, "421 4.3.2 Service not available, closing transmission channel");
    assert_eq!(world.reply(connection), None);
    world.command("state inactive mail").unwrap();
    let connection = session(&mut world);
    assert_eq!(world.ask(connection, "MAIL FROM:<>"), "412 4.3.2 Service not active");
    world.command("state ok").unwrap();
    assert!(world.ask(connection, "MAIL FROM:<>").starts_with("250"));
}

#[test]
fn an_unconfigured_server_refuses_the_sites_own_mail_for_good() {
    for (state, at_mail, at_rcpt) in [
        ("unconfigured", "250", "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain"),
        ("unconfigured 5.7.1", "250", "550 5.7.1 Unable to relay"),
        ("unconfigured 530", "530 5.7.1 Client was not authenticated", "503"),
    ] {
        let mut world = world(&[&format!("state {state}"), "at 1h state ok"]);
        let connection = session(&mut world);
        let said = world.ask(connection, "MAIL FROM:<a@b.example>");
        assert!(said.starts_with(at_mail), "{state}: {said}");
        let said = world.ask(connection, "RCPT TO:<ann@example.com>");
        assert!(said.starts_with(at_rcpt), "{state}: {said}");
        world.run_until(HOUR);
        assert!(send(&mut world, 1, "ann@example.com").starts_with("250"));
    }
}

#[test]
fn a_rebuilt_server_has_another_name() {
    let mut world = world(&["identity mail1.example.com"]);
    let connection = world.connect(BOX).unwrap();
    let said = world.reply(connection).unwrap();
    assert_eq!(
        said,
        "220 mail1.example.com Microsoft ESMTP MAIL Service ready at Tue, 14 Nov 2023 22:13:20 +0000"
    );
    world.command("identity WIN-7F3K.example.com").unwrap();
    let connection = world.connect(BOX).unwrap();
    assert!(world.reply(connection).unwrap().starts_with("220 win-7f3k.example.com "));
    assert!(world.ask(connection, "EHLO a").starts_with("250-win-7f3k.example.com Hello [10.0.0.1]"));
}

#[test]
fn a_server_that_is_down_refuses_connections_and_cuts_those_it_has() {
    let mut world = world(&["at 10s state down", "at 20s state ok"]);
    let connection = session(&mut world);
    world.run_until(10_000);
    assert!(world.is_closed(connection));
    assert_eq!(world.connect(BOX), None);
    world.run_until(20_000);
    session(&mut world);
}

#[test]
fn a_black_hole_takes_connections_and_says_nothing() {
    let mut world = world(&[]);
    let before = session(&mut world);
    world.command("state blackhole").unwrap();
    let connection = world.connect(BOX).unwrap();
    let (said, seconds) = timed(&mut world, |world| world.reply(connection).unwrap_or_default());
    assert_eq!((said.as_str(), seconds >= 3590), ("", true));
    assert_eq!(world.ask(before, "NOOP"), "");
    world.command("state ok").unwrap();
    session(&mut world);
}

#[test]
fn a_restart_in_mid_drain_loses_what_was_not_acknowledged_and_nothing_else() {
    let mut world = world(&["capacity 1"]);
    for number in 0..10 {
        assert!(send(&mut world, number, "ann@example.com").starts_with("250"));
    }
    let connection = session(&mut world);
    world.ask(connection, "MAIL FROM:<a@b.example>");
    world.ask(connection, "RCPT TO:<ann@example.com>");
    world.ask(connection, "DATA");
    // The final dot is sent, and the server goes before it has answered.
    world.send(connection, b"Subject: x\r\n\r\n.\r\n");
    let now_ms = world.now_ms();
    world.run_until(now_ms + 1);
    world.command("restart 30s").unwrap();
    assert_eq!(world.reply(connection), None);
    assert_eq!(world.connect(BOX), None);
    world.run_until(now_ms + 31_000);
    assert!(send(&mut world, 10, "ann@example.com").starts_with("250"));
    world.run_until(2 * MINUTE);
    assert_eq!(mailbox(&world, "ann@example.com").len(), 11);
}

#[test]
fn a_server_that_moves_is_where_it_says() {
    let mut world = world(&[]);
    let connection = session(&mut world);
    world.command("move 127.0.0.2:2525").unwrap();
    world.run_until(1);
    assert!(world.is_closed(connection));
    assert_eq!(world.address(), Some("127.0.0.2:2525".parse().unwrap()));
}
