//! What the server session promises to clients, good and bad, and to its caller.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "in a test a panic is the verdict")]

mod common;

use common::{Peer, config, converse};
use penstock_smtp::bounds::{COMMAND_LINE_BYTES_MAX, SERVER_OUTPUT_BYTES, SWALLOWED_BYTES_MAX};
use penstock_smtp::server::{Awaits, BareNewlines, Config, Event, Session};
use penstock_smtp::{BodyType, Error, Notify, Reply, Return, Status, replies};

const OPENED: &str = "EHLO client.example\r\n";
const ENVELOPE: &str = "EHLO client.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@example.com>\r\n";

const STARTTLS: &str = "EHLO client.example\r\nSTARTTLS\r\n";

fn offers_tls() -> Config {
    Config { starttls: true, ..config() }
}

/// All that the server sent.
fn lines(peer: &Peer) -> Vec<&str> {
    peer.replies.split_terminator("\r\n").collect()
}

/// The reply to the last command of `input`.
fn last_reply(config: Config, input: &str) -> String {
    lines(&converse(config, input)).last().unwrap().to_string()
}

/// What is left in the envelope of a session that has heard `input`.
fn message_of(config: Config, body: &[u8]) -> (String, Option<Vec<u8>>) {
    let mut peer = converse(config, format!("{ENVELOPE}DATA\r\n"));
    peer.hear(body, usize::MAX);
    (lines(&peer).last().unwrap().to_string(), peer.taken.pop().map(|taken| taken.message))
}

#[test]
fn a_message_is_taken_with_its_envelope() {
    let peer = converse(
        config(),
        format!("{ENVELOPE}RCPT TO:<unknown@example.com>\r\nDATA\r\nReceived: x\r\n\r\n..\r\n.\r\nQUIT\r\n"),
    );
    assert_eq!(
        lines(&peer),
        [
            "220 mx.example.com ESMTP Penstock",
            "250-mx.example.com",
            "250-PIPELINING",
            "250-SIZE 37748736",
            "250-8BITMIME",
            "250-SMTPUTF8",
            "250-DSN",
            "250-CHUNKING",
            "250-BINARYMIME",
            "250-LIMITS RCPTMAX=1000",
            "250 ENHANCEDSTATUSCODES",
            "250 2.1.0 Sender ok",
            "250 2.1.5 Recipient ok",
            "550 5.1.1 No such user here",
            "354 Send the message, end it with <CR><LF>.<CR><LF>",
            "250 2.0.0 Message accepted",
            "221 2.0.0 Closing the connection",
        ]
    );
    let [taken] = &peer.taken[..] else { panic!("{:?}", peer.taken) };
    assert_eq!(
        (taken.sender.as_str(), &taken.recipients[..]),
        ("a@b.example", &["c@example.com".to_string()][..])
    );
    assert_eq!((taken.message.as_slice(), taken.received_lines), (&b"Received: x\r\n\r\n.\r\n"[..], 1));
    assert!(peer.closed);
}

#[test]
fn several_messages_go_through_one_session_in_one_batch_of_input() {
    let transaction = "MAIL FROM:<>\r\nRCPT TO:<Postmaster>\r\nDATA\r\nx\r\n.\r\n";
    let peer = converse(config(), format!("HELO client.example\r\n{transaction}{transaction}QUIT\r\n"));
    assert_eq!(peer.taken.len(), 2);
    assert_eq!(lines(&peer)[1], "250 mx.example.com");
}

#[test]
fn nothing_is_consumed_and_nothing_answered_before_the_verdict() {
    let mut peer = Peer::new(config());
    peer.hear(format!("{ENVELOPE}DATA\r\n").as_bytes(), usize::MAX);
    let session = &mut peer.session;
    let mut input = &b"x\r\n.\r\nNOOP\r\n"[..];
    assert_eq!(session.poll(&mut input), Event::Body(b"x\r\n"));
    assert_eq!(
        session.poll(&mut input),
        Event::EndOfData { bytes: 3, received_lines: 0, bare_newlines: false }
    );
    for _ in 0..3 {
        assert_eq!(session.poll(&mut input), Event::Verdict);
    }
    assert_eq!((input, session.output(), session.awaits()), (&b"NOOP\r\n"[..], &b""[..], Awaits::Verdict));
    // The next hop's own refusal goes to the client.
    session.refuse(Reply { code: 554, status: Some(Status::new(5, 6, 0)), text: "Not this one" }).unwrap();
    assert_eq!(session.output(), b"554 5.6.0 Not this one\r\n");
    assert_eq!(session.poll(&mut input), Event::Answered);
    assert_eq!(session.poll(&mut input), Event::NeedInput);
    assert_eq!(session.awaits(), Awaits::Command);
}

#[test]
fn a_verdict_out_of_turn_or_of_the_wrong_class_changes_nothing() {
    let mut session = Session::new(config());
    assert_eq!(session.accept(), Err(Error::OutOfTurn));
    assert_eq!(session.refuse(replies::LOCAL_ERROR), Err(Error::OutOfTurn));
    let mut input = &b"EHLO x\r\nMAIL FROM:<>\r\n"[..];
    assert!(matches!(session.poll(&mut input), Event::Hello { name: "x", extended: true }));
    assert!(matches!(session.poll(&mut input), Event::Mail(_)));
    assert_eq!(session.accept_with(replies::LOCAL_ERROR), Err(Error::ReplyClass));
    assert_eq!(session.refuse(replies::MESSAGE_OK), Err(Error::ReplyClass));
    assert_eq!(session.poll(&mut input), Event::Verdict);
    session.accept_with(Reply::new(250, Status::new(2, 1, 0), "welcome")).unwrap();
    assert!(session.output().ends_with(b"250 2.1.0 welcome\r\n"));
}

#[test]
fn parameters_reach_the_caller() {
    let mut session = Session::new(config());
    let mut input = &b"EHLO x\r\n\
        mail from: <a@b.example> size=1000 body=8bitmime RET=hdrs envid=QQ+2B1\r\n\
        rcpt to:\t<@r.example:c@example.com> notify=success,delay orcpt=rfc822;c+40example.com\r\n"[..];
    session.poll(&mut input);
    let Event::Mail(mail) = session.poll(&mut input) else { panic!() };
    assert_eq!((mail.sender.as_str(), mail.size_bytes), ("a@b.example", Some(1000)));
    assert_eq!((mail.body, mail.ret), (Some(BodyType::EightBitMime), Some(Return::Headers)));
    assert_eq!(mail.envid.unwrap().as_str(), "QQ+2B1");
    session.accept().unwrap();
    let Event::Rcpt(recipient) = session.poll(&mut input) else { panic!() };
    assert_eq!(recipient.address.as_str(), "c@example.com");
    assert_eq!(recipient.notify, Some(Notify { success: true, failure: false, delay: true }));
    assert_eq!(recipient.orcpt.unwrap().as_str(), "rfc822;c+40example.com");
}

#[test]
fn bad_commands_get_the_reply_that_says_what_is_wrong() {
    let rcpt = format!("{OPENED}MAIL FROM:<a@b>\r\nRCPT TO:");
    for (before, line, reply) in [
        ("", "", replies::UNKNOWN),
        ("", "FROB x", replies::UNKNOWN),
        ("", "MAI FROM:<a@b>", replies::UNKNOWN),
        ("", "STARTTLS", replies::NOT_IMPLEMENTED),
        ("", "ETRN example.com", replies::NOT_IMPLEMENTED),
        ("", "expn list", replies::NOT_IMPLEMENTED),
        ("", "EHLO", replies::NAME_MISSING),
        ("", "HELO  ", replies::NAME_MISSING),
        ("", "EHLO a(comment)", replies::NAME_MISSING),
        ("", "NOOP \u{1}", replies::LINE_CONTROL),
        ("", "NO\0OP", replies::LINE_CONTROL),
        ("", "NOOP\rNOOP", replies::LINE_CONTROL),
        ("", "NOOP é", replies::LINE_NOT_ASCII),
        ("", "VRFY", replies::VRFY_ARGUMENT),
        ("", "VRFY somebody", replies::NOT_VERIFIED),
        ("", "HELP me", replies::HELP),
        ("", "NOOP ignored", replies::NOOP_OK),
        ("", "RSET", replies::RESET_OK),
        ("", "RSET x", replies::NO_ARGUMENT),
        ("", "QUIT x", replies::NO_ARGUMENT),
        ("", "MAIL FROM:<a@b>", replies::HELLO_FIRST),
        (OPENED, "RCPT TO:<a@b>", replies::MAIL_FIRST),
        (OPENED, "DATA", replies::MAIL_FIRST),
        (OPENED, "MAIL", replies::MAIL_SYNTAX),
        (OPENED, "MAIL FROM", replies::MAIL_SYNTAX),
        (OPENED, "MAIL FROM:", replies::MAIL_SYNTAX),
        (OPENED, "MAIL TO:<a@b>", replies::MAIL_SYNTAX),
        (OPENED, "MAIL FROM:<a>", replies::SENDER_SYNTAX),
        (OPENED, "MAIL FROM:<postmaster>", replies::SENDER_SYNTAX),
        (OPENED, "MAIL FROM:<a@b>SIZE=1", replies::SENDER_SYNTAX),
        (OPENED, "MAIL FROM:<a@b> SIZE", replies::PARAMETER_SYNTAX),
        (OPENED, "MAIL FROM:<a@b> SIZE=-1", replies::PARAMETER_SYNTAX),
        (OPENED, "MAIL FROM:<a@b> SIZE=99999999999999999999", replies::SIZE_DECLARED_TOO_LARGE),
        (OPENED, "MAIL FROM:<a@b> SIZE=123456789012345678901", replies::PARAMETER_SYNTAX),
        (OPENED, "MAIL FROM:<a@b> SIZE=1 SIZE=1", replies::PARAMETER_SYNTAX),
        (OPENED, "MAIL FROM:<a@b> SIZE=37748737", replies::SIZE_DECLARED_TOO_LARGE),
        (OPENED, "MAIL FROM:<a@b> SIZE=37748736", replies::SENDER_OK),
        (OPENED, "MAIL FROM:<a@b> BODY=9BIT", replies::PARAMETER_SYNTAX),
        (OPENED, "MAIL FROM:<a@b> SMTPUTF8 SMTPUTF8", replies::PARAMETER_SYNTAX),
        (OPENED, "MAIL FROM:<a@b> SMTPUTF8=yes", replies::PARAMETER_SYNTAX),
        (OPENED, "MAIL FROM:<a@b> RET=ALL", replies::PARAMETER_SYNTAX),
        (OPENED, "MAIL FROM:<a@b> ENVID=a+b", replies::PARAMETER_SYNTAX),
        (OPENED, "MAIL FROM:<a@b> AUTH=<>", replies::PARAMETER_UNKNOWN),
        (&rcpt, "", replies::RCPT_SYNTAX),
        (&rcpt, "<>", replies::RECIPIENT_SYNTAX),
        (&rcpt, "<a>", replies::RECIPIENT_SYNTAX),
        (&rcpt, "<a@b> NOTIFY=NEVER,DELAY", replies::PARAMETER_SYNTAX),
        (&rcpt, "<a@b> NOTIFY=", replies::PARAMETER_SYNTAX),
        (&rcpt, "<a@b> ORCPT=c@d", replies::PARAMETER_SYNTAX),
        (&rcpt, "<a@b> RRVS=x", replies::PARAMETER_UNKNOWN),
        (ENVELOPE, "MAIL FROM:<a@b>", replies::MAIL_TWICE),
        (ENVELOPE, "DATA x", replies::NO_ARGUMENT),
    ] {
        let came = last_reply(config(), &format!("{before}{line}\r\n"));
        assert_eq!(came, reply.to_string(), "{line:?}");
    }
}

#[test]
fn what_is_not_offered_is_not_taken() {
    let config = Config {
        dsn: false,
        eight_bit_mime: false,
        smtp_utf8: false,
        chunking: false,
        limits: false,
        ..config()
    };
    let hello = converse(config.clone(), OPENED);
    assert_eq!(
        lines(&hello)[1..],
        ["250-mx.example.com", "250-PIPELINING", "250-SIZE 37748736", "250 ENHANCEDSTATUSCODES"]
    );
    for line in ["BODY=7BIT", "BODY=BINARYMIME", "RET=FULL", "ENVID=1", "SMTPUTF8"] {
        let reply = last_reply(config.clone(), &format!("{OPENED}MAIL FROM:<a@b> {line}\r\n"));
        assert_eq!(reply, replies::PARAMETER_UNKNOWN.to_string());
    }
    let reply = last_reply(config, &format!("{OPENED}MAIL FROM:<a@b>\r\nRCPT TO:<c@d> NOTIFY=NEVER\r\n"));
    assert_eq!(reply, replies::PARAMETER_UNKNOWN.to_string());
}

#[test]
fn data_needs_a_recipient_that_was_accepted() {
    let mail = format!("{OPENED}MAIL FROM:<a@b>\r\n");
    assert_eq!(last_reply(config(), &format!("{mail}DATA\r\n")), replies::RECIPIENT_FIRST.to_string());
    let refused = format!("{mail}RCPT TO:<unknown@b>\r\nDATA\r\n");
    assert_eq!(last_reply(config(), &refused), replies::NO_RECIPIENTS.to_string());
}

#[test]
fn a_message_sent_although_data_was_refused_is_not_taken_for_commands() {
    let peer = converse(
        config(),
        format!(
            "{OPENED}MAIL FROM:<a@b>\r\nRCPT TO:<unknown@b>\r\nDATA\r\nSubject: x\r\n\r\n{ENVELOPE}DATA\r\nx\r\n.\r\n"
        ),
    );
    assert_eq!(lines(&peer).last(), Some(&"421 4.7.0 This is SMTP, and that was no command; closing"));
    assert!(peer.closed && peer.taken.is_empty());
}

#[test]
fn a_browser_is_not_listened_to() {
    let peer = converse(config(), format!("POST / HTTP/1.1\r\nHost: x\r\n\r\n{ENVELOPE}"));
    assert_eq!(peer.events, ["Close { why: NotSmtp }"]);
}

#[test]
fn the_peer_that_talks_before_the_greeting_still_hears_it_first() {
    let peer = converse(config(), "QUIT\r\n");
    assert_eq!(lines(&peer), ["220 mx.example.com ESMTP Penstock", "221 2.0.0 Closing the connection"]);
}

#[test]
fn hello_and_rset_end_the_transaction() {
    for command in ["EHLO again", "HELO again", "RSET"] {
        let peer = converse(config(), format!("{ENVELOPE}{command}\r\nDATA\r\n"));
        assert_eq!(lines(&peer).last(), Some(&"503 5.5.1 MAIL first"), "{command}");
    }
    let peer = converse(config(), format!("{ENVELOPE}RSET\r\nRSET\r\n"));
    assert_eq!(peer.events.iter().filter(|event| *event == "Reset { why: Rset }").count(), 1);
}

#[test]
fn only_cr_lf_dot_cr_lf_ends_a_message() {
    for no_end in
        ["\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n", "\r\n.\r", "\r.\r\n", "\r\n.\r\r\n", "\r\r\n.\n\r\n"]
    {
        for bare_newlines in [BareNewlines::Refuse, BareNewlines::Normalise] {
            let config = Config { bare_newlines, ..config() };
            let smuggled =
                format!("x{no_end}MAIL FROM:<evil@b>\r\nRCPT TO:<c@example.com>\r\nDATA\r\ny\r\n.\r\n");
            let mut peer = converse(config, format!("{ENVELOPE}DATA\r\n"));
            peer.hear(smuggled.as_bytes(), usize::MAX);
            let replies_after_354 =
                lines(&peer).iter().rev().take_while(|line| !line.starts_with("354")).count();
            assert_eq!(replies_after_354, 1, "{no_end:?} {:?}", lines(&peer));
            assert!(peer.taken.iter().all(|taken| taken.sender == "a@b.example"));
        }
    }
}

#[test]
fn bare_newlines_are_refused_at_the_end_of_the_message_or_normalised_as_the_policy_says() {
    for (body, normal) in [
        ("a\nb\r\n", "a\r\nb\r\n"),
        ("a\rb\r\n", "a\r\nb\r\n"),
        ("a\r\n.\rb\r\n", "a\r\n\r\nb\r\n"),
        ("\r\r\n", "\r\n\r\n"),
    ] {
        let wire = format!("{body}.\r\n");
        let (reply, taken) = message_of(config(), wire.as_bytes());
        assert_eq!(
            (reply.as_str(), taken),
            ("550 5.6.11 Message has a bare CR or LF; lines end in CR LF", None)
        );
        let normalise = Config { bare_newlines: BareNewlines::Normalise, ..config() };
        let (reply, taken) = message_of(normalise, wire.as_bytes());
        assert_eq!(reply, replies::MESSAGE_OK.to_string());
        assert_eq!(taken.unwrap(), normal.as_bytes());
    }
    // The session goes on.
    let peer = converse(config(), format!("{ENVELOPE}DATA\r\na\nb\r\n.\r\nMAIL FROM:<x@y>\r\n"));
    assert_eq!(lines(&peer).last(), Some(&"250 2.1.0 Sender ok"));
}

#[test]
fn nul_and_eight_bit_bytes_in_a_message_are_kept() {
    let (_, taken) = message_of(config(), b"a\0b\xff\xc3\xa9\r\n.\r\n");
    assert_eq!(taken.unwrap(), b"a\0b\xff\xc3\xa9\r\n");
}

#[test]
fn a_message_that_is_too_large_is_read_to_its_end_and_refused_there() {
    let small = Config { size_bytes_max: 10, ..config() };
    assert_eq!(message_of(small.clone(), b"12345678\r\n.\r\n").1.unwrap(), b"12345678\r\n");
    let (reply, taken) = message_of(small.clone(), b"123456789\r\n.\r\n");
    assert_eq!((reply, taken), (replies::MESSAGE_TOO_LARGE.to_string(), None));
    // Both wrong: the same verdict however the message came in.
    for pieces in [&["1234567890123\n\r\n.\r\n"][..], &["1234567890123", "\n\r\n.\r\n"]] {
        let mut peer = converse(small.clone(), format!("{ENVELOPE}DATA\r\n"));
        pieces.iter().for_each(|piece| peer.hear(piece.as_bytes(), usize::MAX));
        assert_eq!(lines(&peer).last(), Some(&replies::BARE_NEWLINE.to_string().as_str()));
        assert_eq!(peer.events.last().unwrap(), "Reset { why: BareNewline }");
    }
}

#[test]
fn a_refused_message_that_never_ends_is_cut_off() {
    let config = Config { size_bytes_max: 1000, discarded_bytes_max: 5000, ..config() };
    let mut peer = converse(config, format!("{ENVELOPE}DATA\r\n"));
    let mut sent_bytes = 0;
    while !peer.closed {
        peer.hear(&[b'x'; 100], usize::MAX);
        sent_bytes += 100;
        assert!(sent_bytes <= 6100);
    }
    assert_eq!(lines(&peer).last(), Some(&"421 4.3.0 Endless message, closing"));
}

#[test]
fn the_recipients_are_counted() {
    let config = Config { recipients_max: 3, ..config() };
    let mut input = String::from("EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<unknown@d>\r\n");
    input.push_str(&"RCPT TO:<c@d>\r\n".repeat(4));
    let peer = converse(config.clone(), format!("{input}DATA\r\nx\r\n.\r\n"));
    let lines = lines(&peer);
    let refused = "452 4.5.3 Too many recipients, send the message to the others separately";
    assert_eq!(lines.iter().filter(|line| **line == refused).count(), 1);
    assert_eq!(peer.taken[0].recipients.len(), 3);
    let peer = converse(config, format!("{input}{}", "RCPT TO:<c@d>\r\n".repeat(100)));
    assert_eq!(peer.events.last().unwrap(), "Close { why: Recipients }");
    assert_eq!(peer.events.iter().filter(|event| event.starts_with("Rcpt")).count(), 4);
}

#[test]
fn errors_and_idle_commands_are_counted_and_a_message_makes_good_for_them() {
    let config = Config { errors_max: 3, idle_commands_max: 3, ..config() };
    let peer = converse(config.clone(), "FROB\r\n".repeat(10));
    assert_eq!(
        lines(&peer)[1..].to_vec(),
        [&["500 5.5.1 Command unknown"; 3][..], &["421 4.7.0 Too many errors, closing"]].concat()
    );
    let refused = |sender: &str, message: &str| {
        format!("MAIL FROM:<{sender}>\r\nRCPT TO:<c@d>\r\nDATA\r\n{message}\r\n.\r\n")
    };
    for message in [refused("no-message@b", "x"), refused("a@b", "bare\nnewline")] {
        let peer = converse(config.clone(), format!("EHLO x\r\n{}", message.repeat(10)));
        assert_eq!(peer.events.last().unwrap(), "Close { why: IdleCommands }");
    }
    for line in ["NOOP\r\n", "RSET\r\n", "VRFY x\r\n", "HELP\r\n", "EHLO x\r\n", "MAIL FROM:<refused@b>\r\n"]
    {
        let peer = converse(config.clone(), format!("EHLO x\r\n{}", line.repeat(10)));
        assert_eq!(peer.events.last().unwrap(), "Close { why: IdleCommands }", "{line}");
    }
    let round = format!("FROB\r\nNOOP\r\n{}DATA\r\nx\r\n.\r\n", ENVELOPE.split_once("\r\n").unwrap().1);
    let peer = converse(config, format!("EHLO x\r\n{}", round.repeat(10)));
    assert_eq!((peer.taken.len(), peer.closed), (10, false));
}

#[test]
fn a_line_without_an_end_is_refused_at_once_and_then_cut_off() {
    let mut peer = Peer::new(config());
    peer.hear(&[b'x'; COMMAND_LINE_BYTES_MAX], usize::MAX);
    assert_eq!(lines(&peer).last(), Some(&"500 5.5.2 Line too long"));
    peer.hear(&vec![b'x'; SWALLOWED_BYTES_MAX as usize], usize::MAX);
    assert!(!peer.closed);
    peer.hear(b"x", usize::MAX);
    assert_eq!(lines(&peer).last(), Some(&"421 4.7.0 Endless line, closing"));
    assert_eq!(lines(&peer).len(), 3);
}

#[test]
fn a_bare_lf_in_a_command_voids_all_up_to_the_next_cr_lf() {
    let peer = converse(config(), "RCPT TO:<a@b\nDATA\nx\r\nNOOP\r\n");
    assert_eq!(
        lines(&peer)[1..],
        ["500 5.5.2 Lines end in CR LF; ignoring all up to the next one", "250 2.0.0 Ok"]
    );
}

#[test]
fn the_caller_can_end_the_session_at_any_point() {
    let mut session = Session::new(config());
    session.close(replies::CONNECTIONS_MAX);
    assert!(matches!(session.poll(&mut &b"QUIT\r\n"[..]), Event::Close { .. }));
    assert_eq!(session.output(), b"421 4.7.0 Too many connections, try again later\r\n");

    let mut peer = converse(config(), format!("{ENVELOPE}DATA\r\n"));
    let mut input = &b"x\r\n.\r\n"[..];
    while !matches!(peer.session.poll(&mut input), Event::EndOfData { .. }) {}
    peer.session.close(replies::SHUTTING_DOWN);
    assert_eq!(peer.session.output(), b"421 4.3.2 Service stopping, try again later\r\n");
    assert_eq!((peer.session.accept(), peer.session.awaits()), (Err(Error::OutOfTurn), Awaits::Nothing));

    let mut peer = Peer::new(config());
    peer.hear(b"EHLO x\r\n", usize::MAX);
    peer.session.poll(&mut &b"MAIL FROM:<a@b>\r\n"[..]);
    peer.session.refuse(replies::SHUTTING_DOWN).unwrap();
    assert!(matches!(peer.session.poll(&mut &b""[..]), Event::Close { .. }));
}

#[test]
fn a_client_that_does_not_read_its_replies_stops_the_session_and_nothing_else() {
    let mut session = Session::new(Config { idle_commands_max: 1000, ..config() });
    let input = "NOOP\r\n".repeat(500);
    let mut rest = input.as_bytes();
    while session.poll(&mut rest) != Event::OutputFull {}
    let (left, unsent) = (rest.len(), session.output().len());
    for _ in 0..10 {
        assert_eq!(session.poll(&mut rest), Event::OutputFull);
    }
    assert_eq!((rest.len(), session.output().len()), (left, unsent));
    assert!(unsent <= SERVER_OUTPUT_BYTES);
    // There is still room to say why we close.
    session.close(replies::TIMED_OUT);
    assert!(session.output().ends_with(b"\r\n421 4.4.2 Timed out, closing\r\n"));
    // And one that reads gets every reply.
    let mut peer = Peer::new(Config { idle_commands_max: 1000, ..config() });
    peer.hear(input.as_bytes(), 7);
    assert_eq!(lines(&peer).iter().filter(|line| **line == "250 2.0.0 Ok").count(), 500);
}

#[test]
fn there_is_room_for_the_longest_reply_whenever_a_command_is_taken() {
    let host_name = format!("{}example", "label.".repeat(41));
    let long = Config { idle_commands_max: 1000, ..Config::new(&host_name).unwrap() };
    for short_replies in 0..16 {
        let mut session = Session::new(long.clone());
        let input = format!("{}{}", "NOOP\r\n".repeat(short_replies), "EHLO x\r\n".repeat(20));
        let mut rest = input.as_bytes();
        while session.poll(&mut rest) != Event::OutputFull {}
        assert!(session.output().ends_with(b"\r\n250 ENHANCEDSTATUSCODES\r\n"));
    }
}

#[test]
fn the_caller_can_tell_progress_from_a_byte_a_minute() {
    let mut session = Session::new(config());
    session.poll(&mut &b""[..]);
    for byte in b"NOOP x" {
        session.poll(&mut &[*byte][..]);
        assert_eq!((session.awaits(), session.commands()), (Awaits::Command, 0));
    }
    session.poll(&mut &b"\r\n"[..]);
    assert_eq!(session.commands(), 1);

    let mut peer = converse(Config { size_bytes_max: 3, ..config() }, format!("{ENVELOPE}DATA\r\n"));
    for bytes in 1..10 {
        peer.hear(b"x", usize::MAX);
        assert_eq!(
            (peer.session.awaits(), peer.session.body_bytes()),
            (Awaits::Body, bytes),
            "refused or not"
        );
    }
    peer.hear(b"\r\n.\r\n", usize::MAX);
    assert_eq!(peer.session.body_bytes(), 0);
}

#[test]
fn starttls_is_offered_until_the_session_is_encrypted_and_then_all_begins_anew() {
    let peer = converse(offers_tls(), STARTTLS);
    assert!(peer.replies.contains("250-STARTTLS\r\n") && peer.session.is_tls());
    assert_eq!(peer.events, ["Hello { name: \"client.example\", extended: true }", "StartTls"]);
    let mut peer = peer;
    peer.hear(b"MAIL FROM:<a@b.example>\r\n", usize::MAX);
    assert_eq!(lines(&peer).last(), Some(&"503 5.5.1 HELO or EHLO first"));
    let before = peer.replies.len();
    peer.hear(format!("{ENVELOPE}DATA\r\nx\r\n.\r\n").as_bytes(), usize::MAX);
    assert!(!peer.replies[before..].contains("STARTTLS"));
    assert_eq!(peer.taken.len(), 1);
    for (input, reply) in [
        (STARTTLS, replies::TLS_TWICE),
        ("EHLO x\r\nMAIL FROM:<a@b>\r\nSTARTTLS\r\n", replies::TLS_TWICE),
        ("STARTTLS now\r\n", replies::NO_ARGUMENT),
    ] {
        peer.hear(format!("RSET\r\n{input}").as_bytes(), usize::MAX);
        assert_eq!(lines(&peer).last(), Some(&reply.to_string().as_str()));
    }
    assert_eq!(last_reply(config(), STARTTLS), replies::NOT_IMPLEMENTED.to_string());
    let within = format!("{ENVELOPE}STARTTLS\r\n");
    assert_eq!(last_reply(offers_tls(), &within), replies::IN_TRANSACTION.to_string());
}

#[test]
fn nothing_that_came_in_plain_text_becomes_a_command_in_the_encrypted_session() {
    let injected = format!("{STARTTLS}EHLO evil\r\nMAIL FROM:<evil@b>\r\n");
    for cut in STARTTLS.len()..=injected.len() {
        let mut session = Session::new(offers_tls());
        let (first, second) = injected.split_at(cut);
        let mut input = first.as_bytes();
        while session.poll(&mut input) != Event::StartTls {}
        assert!(input.is_empty(), "thrown away, not left to the caller");
        assert_eq!(session.awaits(), Awaits::Handshake);
        // Not before the client has the answer.
        assert_eq!((session.tls_started(), session.is_tls()), (Err(Error::OutOfTurn), false));
        assert!(session.output().ends_with(b"220 2.0.0 Ready to start TLS\r\n"));
        session.sent(session.output().len());
        let mut input = second.as_bytes();
        assert_eq!((session.poll(&mut input), input.len()), (Event::StartTls, 0));
        session.tls_started().unwrap();
        assert_eq!(session.tls_started(), Err(Error::OutOfTurn));
        assert_eq!(session.poll(&mut &b""[..]), Event::NeedInput);
        assert!(session.output().is_empty());
        assert_eq!((session.commands(), session.awaits()), (2, Awaits::Command));
    }
}

#[test]
fn a_session_is_no_more_than_its_bounds() {
    let buffers = COMMAND_LINE_BYTES_MAX + SERVER_OUTPUT_BYTES;
    assert!(size_of::<Session>() < buffers + 1024, "{}", size_of::<Session>());
}
