//! What holds for all bytes and all ways to cut them into pieces.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "in a test a panic is the verdict")]

mod common;

use common::{Peer, Taken, config, converse};
use penstock_smtp::bounds::{CLIENT_OUTPUT_BYTES, REPLY_TEXT_BYTES_MAX, SERVER_OUTPUT_BYTES};
use penstock_smtp::client::{self, Phase};
use penstock_smtp::server::{BareNewlines, Config, Session};
use penstock_smtp::{Address, MailFrom, Recipient};
use penstock_smtp::{HostName, ResultsFilter};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// All that comes before a message.
const OPENED: &str = "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n";

/// Pieces of conversations, right and wrong, of which sessions are made up.
const FRAGMENTS: &[&str] = &[
    "EHLO x\r\n",
    "HELO x\r\n",
    "MAIL FROM:<a@b>\r\n",
    "MAIL FROM:<refused@b>\r\n",
    "MAIL FROM:<no-data@b>\r\n",
    "MAIL FROM:<no-message@b>\r\n",
    "MAIL FROM: <a@b> SIZE=10 RET=FULL ENVID=x\r\n",
    "RCPT TO:<c@d>\r\n",
    "RCPT TO:<unknown@d>\r\n",
    "RCPT TO:<c@d> NOTIFY=NEVER ORCPT=rfc822;x\r\n",
    "DATA\r\n",
    OPENED,
    "Received: x\r\n",
    "\r\n",
    "\r\n.\r\n",
    ".\r\n",
    "..\r\n",
    ".",
    "\r",
    "\n",
    "\0",
    "\r\n.\n",
    "\n.\r\n",
    "\r.\r",
    "\r\n.\r",
    "text",
    "RSET\r\n",
    "NOOP\r\n",
    "VRFY x\r\n",
    "QUIT\r\n",
    "STARTTLS\r\n",
    "BDAT 4\r\nab\r\n",
    "BDAT 5\r\n\r\n.\r\n",
    "BDAT 3 LAST\r\nab\r",
    "BDAT 0\r\n",
    "BDAT 0 LAST\r\n",
    "BDAT 150\r\n",
    "BDAT x\r\n",
    "BDAT 5 NOW\r\n",
    "MAIL FROM:<a@b> BODY=BINARYMIME\r\n",
    "MAIL FROM:<j\u{fc}@b> SMTPUTF8\r\n",
    "RCPT TO:<j\u{fc}@b>\r\n",
    "ETRN example.com\r\n",
    "ETRN held.example\r\n",
    "\u{e9}",
];

fn conversation() -> impl Strategy<Value = Vec<u8>> {
    let opened = prop_oneof![Just(Vec::new()), Just(OPENED.as_bytes().to_vec())];
    let fragment = prop_oneof![
        20 => select(FRAGMENTS).prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..20),
        1 => (1_usize..3000).prop_map(|len| vec![b'x'; len]),
    ];
    (opened, vec(fragment, 0..40)).prop_map(|(opened, fragments)| [opened, fragments.concat()].concat())
}

fn any_config() -> impl Strategy<Value = Config> {
    (any::<bool>(), 0_u64..200, 1_u32..4, 1_u32..6).prop_map(
        |(normalise, size_bytes_max, recipients_max, errors_max)| Config {
            bare_newlines: if normalise { BareNewlines::Normalise } else { BareNewlines::Refuse },
            size_bytes_max,
            discarded_bytes_max: 2000,
            recipients_max,
            errors_max,
            idle_commands_max: 10,
            // What comes behind STARTTLS is thrown away as far as it has come: no other command depends on how input is cut.
            starttls: false,
            chunking: recipients_max > 1,
            etrn: normalise,
            transactions_max: normalise.then_some(3),
            ..config()
        },
    )
}

/// Calls `each` with the pieces of `bytes` between the cuts.
fn cut(bytes: &[u8], cuts: &[Index], mut each: impl FnMut(&[u8])) {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let mut from = 0;
    for to in cuts.into_iter().chain([bytes.len()]) {
        each(&bytes[from..to]);
        from = to;
    }
}

/// `message` with CR LF for each bare newline.
fn normalised(message: &[u8]) -> Vec<u8> {
    let mut normal = Vec::new();
    for (n, byte) in message.iter().enumerate() {
        match byte {
            b'\n' if n > 0 && message[n - 1] == b'\r' => {}
            b'\r' | b'\n' => normal.extend_from_slice(b"\r\n"),
            other => normal.push(*other),
        }
    }
    normal
}

/// A header field, and whether it is forged.
fn field() -> impl Strategy<Value = (String, bool)> {
    const FORGED: &[&str] = &[
        "Authentication-Results: mx.example.com; spf=pass",
        "authentication-RESULTS : (really) MX.example.com 1;\r\n\tdkim=pass",
        "Authentication-Results:\r\n \"mx.example.com\"; none",
    ];
    const HONEST: &[&str] = &[
        "Authentication-Results: mx.example.net; spf=pass",
        "Authentication-Results: mx.example.com.example.net; none",
        "Authentication-Results",
        "Received: from a\r\n\tby mx.example.com; today",
        "Subject: Authentication-Results: mx.example.com; none",
        "Subject: folded\r\n Authentication-Results: mx.example.com; none",
        "DKIM-Signature: v=1; h=from:authentication-results",
    ];
    prop_oneof![
        1 => select(FORGED).prop_map(|text| (format!("{text}\r\n"), true)),
        3 => select(HONEST).prop_map(|text| (format!("{text}\r\n"), false)),
    ]
}

/// What the filter lets through of `message`, and how many fields it took out.
fn filtered(message: &[u8], cuts: &[Index]) -> (Vec<u8>, u32) {
    let mut filter = ResultsFilter::new(HostName::parse("mx.example.com").unwrap());
    let mut out = Vec::new();
    cut(message, cuts, |mut piece| {
        while let Some(given) = filter.next(&mut piece) {
            out.extend_from_slice(given);
        }
    });
    out.extend_from_slice(filter.end());
    (out, filter.removed())
}

proptest! {
    #[test]
    fn forged_results_go_and_every_other_byte_stays(
        fields in vec(field(), 0..12), body in message(), cuts in vec(any::<Index>(), 0..30),
    ) {
        let text = |only_honest: bool| {
            let kept = fields.iter().filter(|(_, forged)| !(only_honest && *forged));
            let header: String = kept.map(|(text, _)| text.as_str()).collect();
            [header.as_bytes(), b"\r\n", &body].concat()
        };
        let forged = fields.iter().filter(|(_, forged)| *forged).count() as u32;
        let (out, removed) = filtered(&text(false), &cuts);
        prop_assert_eq!(out.escape_ascii().to_string(), text(true).escape_ascii().to_string());
        prop_assert_eq!(removed, forged);
    }

    #[test]
    fn what_the_filter_does_does_not_depend_on_the_pieces_and_is_done_at_once(
        input in vec(prop_oneof![
            select(&[" ", "\t", "\r\n", "(", ")", "\"", "\\", ";", "mx.example.com", "Authentication-Results", ":", "x"][..])
                .prop_map(|text| text.as_bytes().to_vec()),
            vec(any::<u8>(), 1..4),
        ], 0..30),
        cuts in vec(any::<Index>(), 0..30),
    ) {
        let input = input.concat();
        let (whole, removed) = filtered(&input, &[]);
        prop_assert_eq!(&filtered(&input, &cuts), &(whole.clone(), removed));
        if removed == 0 {
            prop_assert_eq!(&whole, &input);
        }
        prop_assert!(whole.len() + removed as usize * "Authentication-Results:mx.example.com".len() <= input.len());
        prop_assert_eq!(filtered(&whole, &[]), (whole, 0));
    }

    #[test]
    fn however_the_input_is_cut_the_session_is_the_same(
        input in conversation(), config in any_config(), cuts in vec(any::<Index>(), 0..20), send_len in 1_usize..2000,
    ) {
        let whole = converse(config.clone(), &input);
        let mut pieces = Peer::new(config.clone());
        cut(&input, &cuts, |piece| pieces.hear(piece, send_len));
        let mut bytes = Peer::new(config);
        bytes.hear(b"", 1);
        input.iter().for_each(|byte| bytes.hear(&[*byte], 1));
        for other in [pieces, bytes] {
            // A closed session tells so whenever it is asked.
            let mut events = other.events;
            while other.closed && events.len() > whole.events.len() && events.last() == whole.events.last() {
                events.pop();
            }
            prop_assert_eq!(&whole.events, &events);
            prop_assert_eq!(&whole.replies, &other.replies);
            prop_assert_eq!(&whole.taken, &other.taken);
        }
    }

    #[test]
    fn no_bytes_make_the_server_panic_or_hold_more_than_its_bounds(
        input in vec(any::<u8>(), 0..4000), config in any_config(), in_data in any::<bool>(),
    ) {
        let mut peer = Peer::new(config.clone());
        if in_data {
            peer.hear(OPENED.as_bytes(), 1);
        }
        peer.hear(&input, 1);
        prop_assert!(peer.taken.iter().all(|taken| taken.message.len() as u64 <= config.size_bytes_max));
        prop_assert!(peer.taken.iter().all(|taken| taken.recipients.len() as u32 <= config.recipients_max));
    }

    #[test]
    fn a_caller_that_never_answers_and_never_sends_gets_nothing_more_out_of_a_session(input in conversation()) {
        let mut session = Session::new(config());
        let mut rest = &input[..];
        for _ in 0..2 * input.len() + 2 {
            let event = format!("{:?}", session.poll(&mut rest));
            prop_assert!(session.output().len() <= SERVER_OUTPUT_BYTES);
            if ["Verdict", "OutputFull", "NeedInput"].contains(&event.as_str()) || event.starts_with("Close") {
                let (left, output) = (rest.len(), session.output().len());
                prop_assert_eq!(format!("{:?}", session.poll(&mut rest)), event);
                prop_assert_eq!((rest.len(), session.output().len()), (left, output));
                return Ok(());
            }
        }
        prop_assert!(false, "every poll makes progress");
    }

    #[test]
    fn a_message_comes_out_of_the_server_as_it_went_into_the_client(
        message in message(), cuts in vec(any::<Index>(), 0..10), wire_len in 1_usize..50, send_len in 1_usize..50,
    ) {
        let mut server = Peer::new(Config { bare_newlines: BareNewlines::Normalise, ..config() });
        let mut client = client::Session::new(client::Config::new("client.example").unwrap());
        let mut pump = Pump { client: &mut client, server: &mut server, wire_len, send_len };
        pump.until(Phase::Idle);
        pump.client.mail(&MailFrom::new(Address::parse("a@b").unwrap())).unwrap();
        pump.client.rcpt(&Recipient::new(Address::parse("c@d").unwrap())).unwrap();
        pump.client.data().unwrap();
        pump.until(Phase::Body);
        cut(&message, &cuts, |mut piece| {
            while !piece.is_empty() {
                piece = &piece[pump.client.body(piece).unwrap()..];
                pump.once();
            }
        });
        while pump.client.finish().is_err() {
            pump.once();
        }
        pump.until(Phase::Idle);
        let mut expected = message;
        if !expected.is_empty() && !expected.ends_with(b"\r\n") {
            expected.extend_from_slice(b"\r\n");
        }
        let expected = normalised(&expected);
        let [Taken { message, .. }] = &server.taken[..] else { panic!("{:?}", server.replies) };
        prop_assert_eq!(message.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }

    #[test]
    fn a_message_in_chunks_is_taken_as_it_came_and_is_one_message(
        message in message(), cuts in vec(any::<Index>(), 0..6), pieces in vec(any::<Index>(), 0..20), binary in any::<bool>(),
    ) {
        let body = if binary { " BODY=BINARYMIME" } else { "" };
        let mut input = format!("EHLO x\r\nMAIL FROM:<a@b>{body}\r\nRCPT TO:<c@d>\r\n").into_bytes();
        cut(&message, &cuts, |chunk| {
            input.extend_from_slice(format!("BDAT {}\r\n", chunk.len()).as_bytes());
            input.extend_from_slice(chunk);
        });
        input.extend_from_slice(b"BDAT 0 LAST\r\nQUIT\r\n");
        let mut peer = Peer::new(config());
        cut(&input, &pieces, |piece| peer.hear(piece, usize::MAX));
        prop_assert_eq!(peer.events.last().unwrap(), "Close { why: Quit }");
        // Bare newlines are refused, unless the message is binary.
        let bare = String::from_utf8_lossy(&message).replace("\r\n", "").contains(['\r', '\n']);
        prop_assert_eq!(peer.taken.len(), usize::from(binary || !bare));
        prop_assert!(peer.taken.iter().all(|taken| taken.message == message));
    }

    #[test]
    fn a_binary_message_comes_out_of_the_server_as_it_went_into_the_client(
        message in message(), cuts in vec(any::<Index>(), 0..10), wire_len in 1_usize..50, send_len in 1_usize..50,
    ) {
        let mut server = Peer::new(config());
        let mut client = client::Session::new(client::Config::new("client.example").unwrap());
        let mut pump = Pump { client: &mut client, server: &mut server, wire_len, send_len };
        pump.until(Phase::Idle);
        let body = Some(penstock_smtp::BodyType::BinaryMime);
        pump.client.mail(&MailFrom { body, ..MailFrom::new(Address::parse("a@b").unwrap()) }).unwrap();
        pump.client.rcpt(&Recipient::new(Address::parse("c@d").unwrap())).unwrap();
        while pump.client.chunk(message.len() as u64).is_err() {
            pump.once();
        }
        cut(&message, &cuts, |mut piece| {
            while !piece.is_empty() {
                piece = &piece[pump.client.body(piece).unwrap()..];
                pump.once();
            }
        });
        pump.until(Phase::Idle);
        let [Taken { message: taken, .. }] = &server.taken[..] else { panic!("{:?}", server.replies) };
        prop_assert_eq!(taken, &message);
    }

    #[test]
    fn no_server_makes_the_client_panic_hang_or_hold_more_than_its_bounds(
        replies in vec(reply(), 0..40), cuts in vec(any::<Index>(), 0..10), choices in vec(0..10_u8, 1..20),
    ) {
        let mut client = client::Session::new(client::Config::new("client.example").unwrap());
        let mut choices = choices.into_iter().cycle();
        let mut over = false;
        cut(&replies.concat(), &cuts, |mut piece| {
            for _ in 0..2 * piece.len() + 2 {
                let event = client.poll(&mut piece);
                over |= matches!(event, client::Event::Closed);
                let text_bytes = match event {
                    client::Event::MailReply(reply) | client::Event::EndReply(reply) => reply.text.len(),
                    client::Event::RcptReply { reply, .. } | client::Event::DataReply(reply) => reply.text.len(),
                    client::Event::NeedInput | client::Event::Closed => break,
                    _ => 0,
                };
                assert!(text_bytes <= REPLY_TEXT_BYTES_MAX);
                try_something(&mut client, choices.next().unwrap());
                assert!(client.output().len() <= CLIENT_OUTPUT_BYTES);
            }
            assert!(piece.is_empty() || over, "every poll makes progress");
        });
    }
}

/// Messages made of what matters to dots and line ends.
fn message() -> impl Strategy<Value = Vec<u8>> {
    const PARTS: &[&[u8]] = &[b"\r\n", b".", b"\r", b"\n", b"..", b"\r\n.\r\n", b"\r\n.", b"text", b"\0\xff"];
    vec(select(PARTS), 0..60).prop_map(|parts| parts.concat())
}

/// What a server may say, sensible and not.
fn reply() -> impl Strategy<Value = Vec<u8>> {
    const REPLIES: &[&str] = &[
        "220 x\r\n",
        "250-x\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 DSN\r\n",
        "250 ok\r\n",
        "354 go\r\n",
        "550 5.1.1 no\r\n",
        "421 4.3.2 bye\r\n",
        "250-",
        "\r\n",
        "221 bye\r\n",
        "500 what\r\n",
    ];
    prop_oneof![
        10 => select(REPLIES).prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..30),
        1 => (1_usize..3000).prop_map(|len| [vec![b'2'; 3], vec![b'x'; len]].concat()),
    ]
}

/// Lets the caller of a client session do something, in turn or not.
fn try_something(client: &mut client::Session, choice: u8) {
    let mail = MailFrom::new(Address::parse("a@b").unwrap());
    let recipient = Recipient::new(Address::parse("c@d").unwrap());
    let _in_turn_or_not = match choice {
        0 => client.mail(&mail),
        1 => client.rcpt(&recipient),
        2 => client.data(),
        3 => client.body(&[b'.'; 5000]).map(|_| ()),
        4 => client.finish(),
        5 => client.reset(),
        7 => client.start_tls(),
        8 => client.tls_started(),
        6 => client.mail(&mail).and_then(|()| client.rcpt(&recipient)).and_then(|()| client.data()),
        _ => client.quit(),
    };
    if choice.is_multiple_of(2) {
        client.sent(client.output().len());
    }
}

/// Client and server joined by a wire that carries a few bytes at a time.
struct Pump<'a> {
    client: &'a mut client::Session,
    server: &'a mut Peer,
    wire_len: usize,
    send_len: usize,
}

impl Pump<'_> {
    fn once(&mut self) {
        let heard = self.server.replies.len();
        if heard == 0 {
            self.server.hear(b"", self.send_len);
        }
        let output = self.client.output();
        let len = output.len().min(self.wire_len);
        self.server.hear(&output[..len], self.send_len);
        self.client.sent(len);
        let replies = self.server.replies[heard..].to_string();
        for piece in replies.as_bytes().chunks(self.wire_len) {
            let mut piece = piece;
            while self.client.poll(&mut piece) != client::Event::NeedInput {}
        }
    }

    fn until(&mut self, phase: Phase) {
        while self.client.phase() != phase {
            self.once();
        }
    }
}

/// A connection that breaks: whatever was cut off, only messages whose end came are taken, and whole.
#[test]
fn a_connection_cut_at_any_byte_never_yields_a_message_that_had_not_ended() {
    let messages = ["one\r\n", "..two\r\n..\r\n", "\r\n..\r\nthree\r\n"];
    let mut session = b"EHLO x\r\n".to_vec();
    let mut ends = Vec::new();
    for message in messages {
        session.extend_from_slice(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n");
        session.extend_from_slice(message.as_bytes());
        session.extend_from_slice(b".\r\n");
        ends.push(session.len());
    }
    session.extend_from_slice(b"QUIT\r\n");
    for len in 0..=session.len() {
        let peer = converse(config(), &session[..len]);
        assert_eq!(peer.taken.len(), ends.iter().filter(|end| **end <= len).count(), "cut after {len}");
        for (taken, message) in peer.taken.iter().zip(messages) {
            assert_eq!(taken.message, message.replace("..", ".").as_bytes());
            assert_eq!(taken.recipients, ["c@d", "e@f"]);
        }
    }
}
