//! Messages that come by BDAT (RFC 3030): what is taken, and that nothing else is.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "in a test a panic is the verdict")]

mod common;

use common::{Peer, config, converse};
use penstock_smtp::server::{Awaits, BareNewlines, Config, Event};
use penstock_smtp::{Error, replies};

const ENVELOPE: &str = "EHLO client.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@example.com>\r\n";
const BINARY: &str =
    "EHLO client.example\r\nMAIL FROM:<a@b.example> BODY=BINARYMIME\r\nRCPT TO:<c@example.com>\r\n";

/// What was answered after the envelope.
fn answers(peer: &Peer) -> Vec<&str> {
    peer.replies.split_terminator("\r\n").skip_while(|line| !line.starts_with("250 2.1.5")).skip(1).collect()
}

/// The messages that were taken.
fn messages(peer: &Peer) -> Vec<String> {
    peer.taken.iter().map(|taken| taken.message.escape_ascii().to_string()).collect()
}

#[test]
fn a_message_comes_in_chunks_of_exactly_as_many_octets_as_were_announced() {
    let peer = converse(
        config(),
        format!("{ENVELOPE}BDAT 6\r\nReceivbdat 12\r\ned: x\r\n\r\nBDABDAT 8 LAST\r\nT 9\r\n.\r\nQUIT\r\n"),
    );
    assert_eq!(messages(&peer), ["Received: x\\r\\n\\r\\nBDAT 9\\r\\n.\\r\\n"]);
    assert_eq!(peer.taken[0].received_lines, 1, "counted across chunks");
    let (chunk, whole) = ("250 2.0.0 Chunk taken", "250 2.0.0 Message accepted");
    assert_eq!(answers(&peer), [chunk, chunk, whole, "221 2.0.0 Closing the connection"]);
}

#[test]
fn a_message_may_end_with_an_empty_chunk_and_need_not_end_with_a_line() {
    let peer = converse(config(), format!("{ENVELOPE}BDAT 3\r\na\r\nBDAT 0 LAST\r\n"));
    assert_eq!(messages(&peer), ["a\\r\\n"]);
    let peer = converse(config(), format!("{ENVELOPE}BDAT 1 LAST\r\naNOOP\r\n"));
    assert_eq!((messages(&peer), answers(&peer).len()), (vec!["a".to_string()], 2));
    let peer = converse(config(), format!("{ENVELOPE}BDAT 0 LAST\r\n"));
    assert_eq!(messages(&peer), [""]);
}

#[test]
fn a_dot_in_a_chunk_ends_nothing_and_is_not_unstuffed() {
    let smuggled = "x\r\n.\r\nMAIL FROM:<evil@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n..y\r\n.\r\n";
    let peer = converse(config(), format!("{ENVELOPE}BDAT {} LAST\r\n{smuggled}", smuggled.len()));
    assert_eq!(messages(&peer), [smuggled.escape_default().to_string()]);
}

#[test]
fn the_octets_of_a_chunk_are_consumed_whatever_the_answer() {
    let evil = "MAIL FROM:<evil@b>\r\n";
    let chunk = format!("BDAT {}\r\n{evil}", evil.len());
    let mail = "EHLO x\r\nMAIL FROM:<a@b.example>\r\n";
    let no_chunking = Config { chunking: false, ..config() };
    for (config, before, reply) in [
        (config(), "", replies::CHUNK_OF_NOTHING),
        (config(), "EHLO x\r\n", replies::CHUNK_OF_NOTHING),
        (config(), mail, replies::RECIPIENT_FIRST),
        (config(), &format!("{mail}RCPT TO:<unknown@d>\r\n"), replies::NO_RECIPIENTS),
        (no_chunking, ENVELOPE, replies::NOT_IMPLEMENTED),
    ] {
        let peer = converse(config, format!("{before}{chunk}RCPT TO:<c@d>\r\nQUIT\r\n"));
        let lines: Vec<&str> = peer.replies.split_terminator("\r\n").collect();
        let expected = [reply.to_string(), replies::MAIL_FIRST.to_string(), replies::BYE.to_string()];
        assert_eq!(lines[lines.len() - 3..], expected);
        assert!(peer.events.iter().all(|event| !event.contains("evil")), "{:?}", peer.events);
    }
}

#[test]
fn a_chunk_whose_length_cannot_be_known_ends_the_session_and_one_that_is_only_odd_does_not() {
    for count in ["", "x", "-1", "1x", "LAST", "0x10", "123456789012345678901"] {
        let peer = converse(config(), format!("{ENVELOPE}BDAT {count}\r\nMAIL FROM:<evil@b>\r\n"));
        assert_eq!(answers(&peer), [replies::BDAT_SYNTAX.to_string()], "{count:?}");
        assert_eq!(peer.events.last().unwrap(), "Close { why: NoCount }");
    }
    for odd in ["6 FIRST", "6 LAST LAST", "6 LAST 6"] {
        let peer = converse(config(), format!("{ENVELOPE}BDAT {odd}\r\nQUIT\r\nNOOP\r\n"));
        let expected = [replies::BDAT_SYNTAX.to_string(), replies::NOOP_OK.to_string()];
        assert_eq!((answers(&peer), peer.taken.len()), (expected.iter().map(String::as_str).collect(), 0));
    }
    let peer = converse(config(), format!("{ENVELOPE}  BDAT\t1\r\n"));
    assert!(peer.taken.is_empty());
}

#[test]
fn chunks_and_data_are_not_mixed() {
    let peer =
        converse(config(), format!("{ENVELOPE}BDAT 1\r\nxDATA\r\nRCPT TO:<e@f>\r\nMAIL FROM:<a@b>\r\n"));
    let expected = [replies::CHUNK_OK, replies::CHUNKS_BEGUN, replies::CHUNKS_BEGUN, replies::MAIL_TWICE];
    assert_eq!(answers(&peer), expected.map(|reply| reply.to_string()));
    // It can still be finished as it was begun.
    let mut peer = peer;
    peer.hear(b"BDAT 1 LAST\r\ny", usize::MAX);
    assert_eq!(messages(&peer), ["xy"]);
    let peer = converse(config(), format!("{BINARY}DATA\r\nBDAT 1 LAST\r\nx"));
    assert_eq!(answers(&peer), [replies::BDAT_NEEDED.to_string(), replies::MESSAGE_OK.to_string()]);
}

#[test]
fn rset_and_hello_between_chunks_drop_what_has_come() {
    for command in ["RSET", "EHLO again", "HELO again"] {
        let again = ENVELOPE.split_once("\r\n").unwrap().1;
        let peer =
            converse(config(), format!("{ENVELOPE}BDAT 5\r\nfirst{command}\r\n{again}BDAT 6 LAST\r\nsecond"));
        assert_eq!(messages(&peer), ["second"], "{command}");
    }
    let peer = converse(config(), format!("{ENVELOPE}BDAT 5\r\nfirstQUIT\r\n"));
    assert!(peer.closed && peer.taken.is_empty());
}

#[test]
fn after_a_chunk_was_refused_no_later_one_is_taken_for_a_message() {
    let small = Config { size_bytes_max: 4, ..config() };
    let refused_data = ENVELOPE.replace("a@b.example", "no-data@b.example");
    for (config, envelope, first, reply, why) in [
        (small, ENVELOPE, "12345", replies::MESSAGE_TOO_LARGE, "TooLarge"),
        (config(), ENVELOPE, "a\nb", replies::BARE_NEWLINE, "BareNewline"),
        (config(), &refused_data, "x", replies::LOCAL_ERROR, "Chunk"),
    ] {
        let peer = converse(
            config,
            format!("{envelope}BDAT {}\r\n{first}BDAT 2\r\nabBDAT 2 LAST\r\ncdNOOP\r\n", first.len()),
        );
        let ignored = replies::CHUNK_OF_NOTHING;
        assert_eq!(
            answers(&peer),
            [reply, ignored, ignored, replies::NOOP_OK].map(|reply| reply.to_string())
        );
        assert_eq!(peer.events.last().unwrap(), &format!("Reset {{ why: {why} }}"));
        assert!(peer.taken.is_empty());
    }
}

#[test]
fn bare_newlines_are_refused_in_chunks_as_after_data_and_kept_in_binary_messages() {
    for chunks in ["BDAT 3 LAST\r\na\nb", "BDAT 1\r\n\rBDAT 1 LAST\r\nx", "BDAT 2 LAST\r\na\r"] {
        let peer = converse(config(), format!("{ENVELOPE}{chunks}"));
        assert_eq!(answers(&peer).last().unwrap(), &replies::BARE_NEWLINE.to_string());
        assert!(peer.taken.is_empty());
        // Whoever knows this extension knows what a line end is.
        let normalise = Config { bare_newlines: BareNewlines::Normalise, ..config() };
        assert!(converse(normalise, format!("{ENVELOPE}{chunks}")).taken.is_empty());
        assert_eq!(converse(config(), format!("{BINARY}{chunks}")).taken.len(), 1);
    }
    let peer = converse(config(), format!("{ENVELOPE}BDAT 2\r\na\rBDAT 2 LAST\r\n\nb"));
    assert_eq!(messages(&peer), ["a\\r\\nb"], "a line end may be cut in two");
}

#[test]
fn chunks_that_nobody_wants_are_not_read_without_end() {
    let config = Config { size_bytes_max: 1000, discarded_bytes_max: 5000, ..config() };
    for before in ["EHLO x\r\n", ENVELOPE] {
        let mut peer = converse(config.clone(), format!("{before}BDAT 99999999999999999999 LAST\r\n"));
        let mut sent_bytes = 0;
        while !peer.closed {
            peer.hear(&[b'x'; 100], usize::MAX);
            sent_bytes += 100;
            assert!(sent_bytes <= 6100);
            assert!(peer.closed || peer.session.body_bytes() == sent_bytes, "the caller sees that it moves");
        }
        assert_eq!(peer.replies.lines().last(), Some("421 4.3.0 Endless message, closing"));
    }
    // In many pieces it is no more.
    let mut peer = converse(config, "EHLO x\r\n");
    for _ in 0..7 {
        peer.hear(format!("BDAT 1000\r\n{}", "x".repeat(1000)).as_bytes(), usize::MAX);
    }
    assert!(peer.closed);
    let empty = Config { idle_commands_max: 10, ..common::config() };
    let peer = converse(empty, format!("{ENVELOPE}{}", "BDAT 0\r\n".repeat(20)));
    assert_eq!(peer.events.last().unwrap(), "Close { why: IdleCommands }");
}

#[test]
fn a_chunk_is_waited_for_as_a_message_is_and_the_next_one_as_a_command() {
    let mut peer = converse(config(), format!("{ENVELOPE}BDAT 10\r\n12345"));
    assert_eq!((peer.session.awaits(), peer.session.body_bytes()), (Awaits::Body, 5));
    peer.hear(b"67890", usize::MAX);
    assert_eq!((peer.session.awaits(), peer.session.body_bytes()), (Awaits::Command, 10));
    let mut input = &b"BDAT 1 LAST\r\nx"[..];
    while !matches!(peer.session.poll(&mut input), Event::EndOfData { bytes: 11, .. }) {}
    assert_eq!(peer.session.awaits(), Awaits::Verdict);
    peer.session.accept().unwrap();
    assert_eq!(peer.session.accept(), Err(Error::OutOfTurn));
}

#[test]
fn a_connection_cut_within_a_chunk_never_yields_a_message() {
    let session = format!("{ENVELOPE}BDAT 3\r\nabcBDAT 3 LAST\r\nabc");
    for len in 0..=session.len() {
        let peer = converse(config(), &session.as_bytes()[..len]);
        assert_eq!(peer.taken.len(), usize::from(len == session.len()), "cut after {len}");
    }
}
