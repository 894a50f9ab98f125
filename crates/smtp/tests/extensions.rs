//! SMTPUTF8, ETRN and LIMITS, as the server session does them.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "in a test a panic is the verdict")]

mod common;

use common::{Peer, config, converse};
use penstock_smtp::server::{Config, Event, Session};
use penstock_smtp::{Address, Reply, Status, replies};

const OPENED: &str = "EHLO x\r\nMAIL FROM:<a@b> SMTPUTF8\r\n";

fn last_reply(config: Config, input: &str) -> String {
    converse(config, input).replies.lines().last().unwrap().to_string()
}

#[test]
fn addresses_beyond_ascii_are_taken_where_smtputf8_was_said() {
    let peer = converse(
        config(),
        "EHLO x\r\nMAIL FROM:<jürgen+tag@bücher.example> smtputf8 SIZE=10\r\nRCPT TO:<\"用户 x\"@例え.jp>\r\n\
         RCPT TO:<c@d> ORCPT=utf-8;用户@例え.jp\r\nDATA\r\nx\r\n.\r\n",
    );
    let [taken] = &peer.taken[..] else { panic!("{}", peer.replies) };
    assert_eq!(taken.sender, "jürgen+tag@bücher.example");
    assert_eq!(taken.recipients, ["\"用户 x\"@例え.jp", "c@d"]);
}

#[test]
fn addresses_beyond_ascii_are_refused_where_it_was_not() {
    let not_offered = Config { smtp_utf8: false, ..config() };
    let ascii = "EHLO x\r\nMAIL FROM:<a@b>\r\n";
    for (config, input, reply) in [
        (config(), "EHLO x\r\nMAIL FROM:<ü@b>\r\n".to_string(), replies::SENDER_NOT_ASCII),
        (config(), format!("{ascii}RCPT TO:<ü@b>\r\n"), replies::RECIPIENT_NOT_ASCII),
        (config(), format!("{ascii}RCPT TO:<c@d> ORCPT=utf-8;ü@b\r\n"), replies::RECIPIENT_NOT_ASCII),
        (config(), format!("{OPENED}RCPT TO:<c@d> ORCPT=rfc822;ü@b\r\n"), replies::PARAMETER_SYNTAX),
        (config(), format!("{OPENED}RCPT TO:<c@d\u{3002}e>\r\n"), replies::RECIPIENT_SYNTAX),
        (config(), format!("{OPENED}RCPT TO:<c\u{202e}@d>\r\n"), replies::RECIPIENT_SYNTAX),
        (config(), "EHLO ü\r\n".to_string(), replies::LINE_NOT_ASCII),
        (config(), "EHLO x\r\nVRFY ü\r\n".to_string(), replies::NOT_VERIFIED),
        (config(), "NOOP \u{85}\r\n".to_string(), replies::LINE_CONTROL),
        (not_offered.clone(), "EHLO x\r\nMAIL FROM:<ü@b> SMTPUTF8\r\n".to_string(), replies::LINE_NOT_ASCII),
        (not_offered, OPENED.to_string(), replies::PARAMETER_UNKNOWN),
    ] {
        assert_eq!(last_reply(config, &input), reply.to_string(), "{input:?}");
    }
    let mut peer = Peer::new(config());
    peer.hear(b"EHLO x\r\nMAIL FROM:<\xff\xfe@b> SMTPUTF8\r\n", usize::MAX);
    assert!(peer.replies.ends_with("500 5.5.2 Not ASCII\r\n"), "{}", peer.replies);
}

#[test]
fn the_utf8_of_one_transaction_says_nothing_about_the_next() {
    let input = format!("{OPENED}RSET\r\nMAIL FROM:<a@b>\r\nRCPT TO:<ü@b>\r\n");
    assert_eq!(last_reply(config(), &input), replies::RECIPIENT_NOT_ASCII.to_string());
}

#[test]
fn an_address_of_ascii_needs_no_smtputf8() {
    assert!(Address::parse("a@b").unwrap().is_ascii() && !Address::parse("ü@b").unwrap().is_ascii());
}

#[test]
fn etrn_is_a_question_where_it_is_offered() {
    let offers = Config { etrn: true, ..config() };
    for (config, input, reply) in [
        (config(), "ETRN example.com", replies::NOT_IMPLEMENTED),
        (offers.clone(), "ETRN", replies::ETRN_SYNTAX),
        (offers.clone(), "ETRN two words", replies::ETRN_SYNTAX),
        (offers.clone(), "ETRN @", replies::ETRN_SYNTAX),
        (offers.clone(), "etrn example.com", replies::ETRN_OK),
        (offers.clone(), "ETRN @example.com", replies::ETRN_OK),
        (offers.clone(), "ETRN #queue", replies::ETRN_OK),
        (offers.clone(), "ETRN held.example", replies::ETRN_HELD),
        (offers.clone(), "MAIL FROM:<a@b>\r\nETRN example.com", replies::IN_TRANSACTION),
    ] {
        let came = last_reply(config, &format!("EHLO x\r\n{input}\r\n"));
        assert_eq!(came, reply.to_string(), "{input}");
    }
    assert!(converse(offers.clone(), "EHLO x\r\n").replies.contains("250-ETRN\r\n"));
    let mut session = Session::new(offers);
    let mut input = &b"ETRN example.com\r\n"[..];
    assert_eq!(session.poll(&mut input), Event::Etrn { node: "example.com" });
    session.accept_with(Reply::new(251, Status::new(2, 0, 0), "nothing waits")).unwrap();
    assert!(session.output().ends_with(b"251 2.0.0 nothing waits\r\n"));
}

#[test]
fn limits_tells_what_is_enforced() {
    let limited = Config { recipients_max: 3, transactions_max: Some(2), ..config() };
    let transaction = "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\n";
    let peer = converse(limited.clone(), format!("EHLO x\r\n{}", transaction.repeat(3)));
    assert!(peer.replies.contains("250-LIMITS RCPTMAX=3 MAILMAX=2\r\n"), "{}", peer.replies);
    assert!(peer.replies.contains("421 4.7.0 Enough messages in one session, connect again\r\n"));
    assert_eq!((peer.taken.len(), peer.events.last().unwrap().as_str()), (2, "Close { why: Transactions }"));
    let many = converse(limited, format!("{OPENED}{}", "RCPT TO:<c@d>\r\n".repeat(4)));
    assert_eq!(many.events.iter().filter(|event| event.starts_with("Rcpt")).count(), 3);
    // Its grammar has no more than six digits, and no zero.
    let endless = Config { recipients_max: u32::MAX, transactions_max: Some(0), ..config() };
    assert!(converse(endless, "EHLO x\r\n").replies.contains("250-LIMITS RCPTMAX=999999 MAILMAX=1\r\n"));
}
