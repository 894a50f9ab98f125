//! Whatever comes, it goes on.

use proptest::prelude::*;

use crate::common::{BOX, mailbox, send, session, world};

#[test]
fn a_line_without_end_is_given_up() {
    let mut world = world(&["tarpit 0s"]);
    let connection = session(&mut world);
    for _ in 0..100 {
        world.send(connection, &[b'x'; 10_000]);
    }
    assert_eq!(world.reply(connection).unwrap(), "500 5.3.3 Line too long");
    assert_eq!(world.ask(connection, "\r\nNOOP"), "250 2.0.0 OK");
}

#[test]
fn what_a_header_says_cannot_break_the_replies() {
    let mut world = world(&[]);
    let connection = session(&mut world);
    let nasty = format!("Message-ID: <a\rb\x1b{}>\r\n\r\n", "x".repeat(5000));
    let said = world.message(connection, "a@b.example", &["ann@example.com"], &nasty);
    assert!(said.starts_with("250 2.6.0 <ab") && said.len() < 600 && !said.contains('\r'), "{said}");
    assert_eq!(world.ask(connection, "NOOP"), "250 2.0.0 OK");
}

/// Pieces that a dialogue may be made of, in or out of order.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&[u8]> = vec![
        b"EHLO a\r\n",
        b"MAIL FROM:<a@b>\r\n",
        b"MAIL FROM:<>BODY=BINARYMIME\r\n",
        b"MAIL FROM:<a@b> BODY=BINARYMIME SIZE=99999999999999999999\r\n",
        b"RCPT TO:<ann@example.com> NOTIFY=SUCCESS\r\n",
        b"RCPT TO:<@x:ann@example.com>\r\n",
        b"DATA\r\n",
        b"BDAT 3\r\n",
        b"BDAT 18446744073709551615 LAST\r\n",
        b"BDAT 0 LAST\r\n",
        b".\r\n",
        b"\r\n.\r\n",
        b"RSET\r\n",
        b"QUIT\r\n",
        b"Message-ID: <x>\r\n",
    ];
    prop_oneof![
        4 => prop::sample::select(words).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Sessions of nonsense, cut into any pieces, under commands that change everything: nobody panics, and the next
    /// client is served.
    #[test]
    fn no_input_stops_the_server(
        sessions in prop::collection::vec(prop::collection::vec(piece(), 0..20), 1..4),
        cut in 1_usize..50,
        commands in prop::collection::vec(0_usize..9, 0..4),
    ) {
        let all = [
            "disk 99%", "buckets 1000", "face direct", "face edge", "restart 1s", "directory empty",
            "dismount DB1", "bdat hangs", "lose-replies 2",
        ];
        let mut world = world(&["tarpit 10ms", "errors 100"]);
        for (number, pieces) in sessions.iter().enumerate() {
            let bytes = pieces.concat();
            let Some(connection) = world.connect(BOX) else { continue };
            for chunk in bytes.chunks(cut) {
                world.send(connection, chunk);
                let now_ms = world.now_ms();
                world.run_until(now_ms + 20);
            }
            if let Some(command) = commands.get(number) {
                world.command(all[*command]).unwrap();
            }
            let now_ms = world.now_ms();
            world.run_until(now_ms + 5000);
            world.close(connection);
        }
        for command in ["disk ok", "buckets ok", "directory full", "mount DB1", "bdat ok", "lose-replies 0"] {
            world.command(command).unwrap();
        }
        let now_ms = world.now_ms();
        world.run_until(now_ms + 120_000);
        let said = send(&mut world, 7, "bob@example.com");
        prop_assert!(said.starts_with("250"), "{}", said);
        let now_ms = world.now_ms();
        world.run_until(now_ms + 10_000);
        prop_assert_eq!(mailbox(&world, "bob@example.com").len(), 1);
    }
}
