//! The dialogue itself.

use crate::common::{count, mailbox, numbered, session, world};

#[test]
fn ehlo_shows_the_extensions_of_2016_but_those_of_tls() {
    let mut world = world(&[]);
    let connection = session(&mut world);
    let said = world.ask(connection, "EHLO box");
    for extension in [
        "SIZE 37748736",
        "PIPELINING",
        "DSN",
        "ENHANCEDSTATUSCODES",
        "AUTH NTLM",
        "X-EXPS GSSAPI NTLM",
        "8BITMIME",
        "BINARYMIME",
        "CHUNKING",
        "XRDST",
    ] {
        assert!(said.lines().any(|line| line[4..] == *extension), "{extension} in {said}");
    }
    for missing in ["STARTTLS", "SMTPUTF8", "REQUIRETLS", "XCLIENT", "ETRN"] {
        assert!(!said.contains(missing), "{missing} in {said}");
    }
    world.command("smtputf8 on").unwrap();
    assert!(world.ask(connection, "EHLO box").contains("SMTPUTF8"));
}

#[test]
fn a_message_is_queued_for_delivery_and_lies_in_its_mailboxes() {
    let mut world = world(&[]);
    let connection = session(&mut world);
    let to = ["ann@example.com", "Bob@Example.com"];
    let said = world.message(connection, "a@box.example.net", &to, &numbered(1));
    assert!(said.starts_with("250 2.6.0 <1@box.example.net> [InternalId="), "{said}");
    assert!(said.ends_with("Queued mail for delivery"), "{said}");
    let now_ms = world.now_ms();
    world.run_until(now_ms + 1000);
    assert_eq!(mailbox(&world, "ann@example.com"), ["<1@box.example.net>"]);
    assert_eq!(mailbox(&world, "bob@example.com"), ["<1@box.example.net>"]);
    let delivery = &world.server.deliveries()[0];
    assert!(delivery.mail_ms <= delivery.accepted_ms && delivery.accepted_ms < delivery.delivered_ms);
}

#[test]
fn pipelined_commands_are_answered_in_order() {
    let mut world = world(&[]);
    let connection = session(&mut world);
    world.send(
        connection,
        b"MAIL FROM:<a@b.example>\r\nRCPT TO:<ann@example.com>\r\nRCPT TO:<x@elsewhere.example>\r\nDATA\r\n",
    );
    let codes: Vec<String> = (0..4).map(|_| world.reply(connection).unwrap()[..3].to_owned()).collect();
    assert_eq!(codes, ["250", "250", "550", "354"]);
}

#[test]
fn bdat_carries_a_message_in_chunks_that_may_hold_anything() {
    let mut world = world(&[]);
    let connection = session(&mut world);
    world.ask(connection, "MAIL FROM:<a@b.example> BODY=BINARYMIME");
    world.ask(connection, "RCPT TO:<ann@example.com>");
    assert!(world.ask(connection, "DATA").starts_with("503"));
    world.send(connection, b"BDAT 24\r\nMessage-ID: <c@d>\r\n\r\n.\r\n");
    assert_eq!(world.reply(connection).unwrap(), "250 2.6.0 CHUNK received OK, 24 octets");
    world.send(connection, b"BDAT 6 LAST\r\n\0\n\r.\r\n");
    assert!(world.reply(connection).unwrap().starts_with("250 2.6.0 <c@d>"));
    let now_ms = world.now_ms();
    world.run_until(now_ms + 1000);
    assert_eq!(world.server.deliveries()[0].len_bytes, 30);
}

#[test]
fn the_octets_of_a_chunk_that_is_refused_are_no_commands() {
    let mut world = world(&["tarpit 0s"]);
    let connection = session(&mut world);
    world.send(connection, b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
    assert!(world.reply(connection).unwrap().starts_with("503"));
    assert!(world.reply(connection).unwrap().starts_with("250"));
}

#[test]
fn towards_some_clients_bdat_hangs() {
    let mut world = world(&["bdat hangs"]);
    let connection = session(&mut world);
    world.ask(connection, "MAIL FROM:<a@b.example>");
    world.ask(connection, "RCPT TO:<ann@example.com>");
    assert_eq!(world.ask(connection, "BDAT 2 LAST\r\nx"), "");
    assert_eq!(count(&world, "accepted"), 0);
}

#[test]
fn commands_out_of_order_and_nonsense_are_refused() {
    let mut world = world(&["tarpit 0s", "errors 100"]);
    let connection = world.connect(crate::common::BOX).unwrap();
    world.reply(connection);
    for (line, code) in [
        ("MAIL FROM:<a@b>", "503"),
        ("EHLO", "501"),
        ("EHLO a", "250"),
        ("RCPT TO:<ann@example.com>", "503"),
        ("DATA", "503"),
        ("MAIL FROM:a b", "501"),
        ("MAIL TO:<a@b>", "501"),
        ("MAIL FROM:<a@b> SIZE=x", "501"),
        ("MAIL FROM:<a@b> FOO=1", "501"),
        ("MAIL FROM:<a b@c>", "501"),
        ("MAIL FROM:<>", "250"),
        ("MAIL FROM:<>", "503"),
        ("RCPT TO:<ann>", "501"),
        ("DATA", "503"),
        ("VRFY ann", "252"),
        ("AUTH NTLM", "504"),
        ("RSET", "250"),
        ("FROBNICATE", "500"),
        ("QUIT", "221"),
    ] {
        let said = world.ask(connection, line);
        assert!(said.starts_with(code), "{line}: {said}");
    }
    assert!(world.is_closed(connection));
}
