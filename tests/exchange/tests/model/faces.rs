//! Three roles with their limits.

use crate::common::{send, session, timed, world};

#[test]
fn edge_takes_six_hundred_messages_a_minute_and_the_others_as_many_as_come() {
    for (face, limit) in [("edge", Some(600)), ("direct", None), ("frontend", None)] {
        let mut world = world(&[&format!("face {face}"), "commit 0ms", "capacity 1000"]);
        let connection = session(&mut world);
        let mut taken = 0;
        let said = loop {
            let said = world.ask(connection, "MAIL FROM:<a@b.example>");
            if !said.starts_with("250") || taken == 1000 {
                break said;
            }
            taken += 1;
            world.ask(connection, "RSET");
        };
        assert_eq!(limit.unwrap_or(1000), taken);
        if limit.is_some() {
            let expected =
                "421 4.4.2 Message submission rate for this client has exceeded the configured limit";
            assert_eq!(said, expected);
            world.run_until(61_000);
            assert!(send(&mut world, 1, "ann@example.com").starts_with("250"));
        }
    }
}

#[test]
fn a_session_ends_after_ten_minutes_even_in_mid_transfer_and_on_edge_after_five() {
    for (face, minutes) in [("frontend", 10), ("direct", 10), ("edge", 5)] {
        let mut world = world(&[&format!("face {face}")]);
        let connection = session(&mut world);
        world.ask(connection, "MAIL FROM:<a@b.example>");
        world.ask(connection, "RCPT TO:<ann@example.com>");
        world.ask(connection, "DATA");
        for second in 1..minutes * 60 {
            world.run_until(second * 1000);
            world.send(connection, b"a line of a long message\r\n");
        }
        assert!(!world.is_closed(connection));
        let said = world.reply(connection).unwrap();
        assert_eq!((said.as_str(), world.now_ms()), ("421 4.4.1 Connection timed out", minutes * 60_000));
        world.run_until(world.now_ms());
        assert!(world.is_closed(connection));
    }
}

#[test]
fn a_silent_client_is_cut_after_five_minutes_and_on_edge_after_one() {
    for (face, minutes) in [("frontend", 5), ("edge", 1)] {
        let mut world = world(&[&format!("face {face}")]);
        let connection = session(&mut world);
        let (said, seconds) = timed(&mut world, |world| world.reply(connection).unwrap());
        assert_eq!((said.as_str(), seconds), ("421 4.4.1 Connection timed out", minutes * 60));
    }
}
