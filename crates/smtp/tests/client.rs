//! What the client session promises to its caller, whatever the server does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict")]

use std::time::Duration;

use penstock_smtp::bounds::{CLIENT_OUTPUT_BYTES, KEYWORDS_BYTES_MAX, OUTSTANDING_MAX, REPLY_TEXT_BYTES_MAX};
use penstock_smtp::client::{Config, Event, Phase, Session, Timeouts};
use penstock_smtp::{
    Address, BodyType, Error, MailFrom, Notify, OriginalRecipient, Recipient, Return, Status, Xtext,
};

const PIPELINING: &str = "220 mx hello\r\n250-mx.example.com at your service\r\n250-PIPELINING\r\n250-X-NEW thing\r\n\
    250-8BITMIME\r\n250-DSN\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE 37748736\r\n";
const LOCK_STEP: &str = "220 mx hello\r\n250 mx.example.com\r\n";

fn address(text: &str) -> Address<'_> {
    Address::parse(text).unwrap()
}

fn sender() -> MailFrom<'static> {
    MailFrom::new(address("a@b.example"))
}

fn recipient() -> Recipient<'static> {
    Recipient::new(address("c@example.com"))
}

/// What the session wants to send, which it takes for sent.
fn sent(session: &mut Session) -> String {
    let output = String::from_utf8(session.output().to_vec()).unwrap();
    session.sent(output.len());
    output
}

/// Every event that `input` leads to.
fn hear(session: &mut Session, input: &str) -> Vec<String> {
    let mut input = input.as_bytes();
    let mut events = Vec::new();
    loop {
        match session.poll(&mut input) {
            Event::NeedInput => return events,
            Event::Closed => {
                events.push("Closed".to_string());
                return events;
            }
            Event::MailReply(reply) => events.push(format!("mail {reply}")),
            Event::RcptReply { index, reply } => events.push(format!("rcpt {index} {reply}")),
            Event::DataReply(reply) => events.push(format!("data {reply}")),
            Event::EndReply(reply) => events.push(format!("end {reply}")),
            Event::ResetReply(reply) => events.push(format!("reset {reply}")),
            Event::Greeting(reply) => events.push(format!("greeting {reply}")),
            Event::StartTlsReply(reply) => events.push(format!("starttls {reply}")),
            Event::Refused { phase, reply } => events.push(format!("refused at {phase:?} {reply}")),
            Event::Broken { phase, error } => events.push(format!("broken at {phase:?} {}", error.code())),
            other @ (Event::Ready(_) | Event::NoRecipients) => events.push(format!("{other:?}")),
        }
    }
}

/// A session whose server has said `opening`.
fn opened(opening: &str) -> Session {
    let mut session = Session::new(Config::new("penstock.example.net").unwrap());
    let (greeting, rest) = opening.split_once("\r\n").unwrap();
    hear(&mut session, &format!("{greeting}\r\n"));
    assert_eq!(sent(&mut session), "EHLO penstock.example.net\r\n");
    hear(&mut session, rest);
    assert_eq!(session.phase(), Phase::Idle);
    session
}

/// A session that has been allowed to send a message.
fn in_body() -> Session {
    let mut session = opened(PIPELINING);
    session.mail(&sender()).unwrap();
    session.rcpt(&recipient()).unwrap();
    session.data().unwrap();
    sent(&mut session);
    hear(&mut session, "250 ok\r\n250 ok\r\n354 go\r\n");
    assert_eq!(session.phase(), Phase::Body);
    session
}

/// A session that waits for the verdict.
fn at_final_dot() -> Session {
    let mut session = in_body();
    session.body(b"x\r\n").unwrap();
    session.finish().unwrap();
    sent(&mut session);
    session
}

#[test]
fn capabilities_are_read_and_unknown_ones_ignored() {
    let session = opened(PIPELINING);
    let offered = session.capabilities();
    assert_eq!(offered.host_name, "mx.example.com");
    assert!(offered.extended && offered.pipelining && offered.eight_bit_mime && offered.dsn);
    assert!(offered.enhanced_status_codes && offered.size);
    assert_eq!(offered.size_bytes_max, Some(37_748_736));
    for (size, size_bytes_max) in [("SIZE", None), ("size 0", None), ("SIZE x", None), ("SIZE 1 2", Some(1))]
    {
        let session = opened(&format!("220 x\r\n250-x\r\n250 {size}\r\n"));
        assert!(session.capabilities().size);
        assert_eq!(session.capabilities().size_bytes_max, size_bytes_max, "{size}");
    }
    let all = opened("220 x\r\n250-x\r\n250-SIZE 1\r\n250-X-ANONYMOUSTLS\r\n250 AUTH NTLM\r\n");
    assert_eq!(all.capabilities().keywords, "SIZE X-ANONYMOUSTLS AUTH ");
    // A host name is no keyword.
    assert!(!opened("220 x\r\n250 PIPELINING\r\n").capabilities().pipelining);
}

#[test]
fn a_server_without_ehlo_is_greeted_with_helo() {
    for refusal in ["500 what?", "502-not here\r\n502 PIPELINING"] {
        let mut session = Session::new(Config::new("penstock.example.net").unwrap());
        hear(&mut session, "220 x\r\n");
        sent(&mut session);
        hear(&mut session, &format!("{refusal}\r\n"));
        assert_eq!(sent(&mut session), "HELO penstock.example.net\r\n");
        hear(&mut session, "250-old.example\r\n250 DSN\r\n");
        assert_eq!(session.capabilities().host_name, "old.example");
        let offered = session.capabilities();
        assert!(!offered.extended && !offered.pipelining && !offered.dsn);
        session.mail(&sender()).unwrap();
    }
}

#[test]
fn commands_go_in_one_batch_where_pipelining_is_offered() {
    let mut session = opened(PIPELINING);
    session.mail(&sender()).unwrap();
    session.rcpt(&recipient()).unwrap();
    session.rcpt(&recipient()).unwrap();
    session.data().unwrap();
    assert_eq!(
        sent(&mut session),
        "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@example.com>\r\nRCPT TO:<c@example.com>\r\nDATA\r\n"
    );
    assert_eq!(session.phase(), Phase::Mail);
    assert_eq!(hear(&mut session, "250 2.1.0 ok\r\n"), ["mail 250 2.1.0 ok"]);
    assert_eq!(session.phase(), Phase::Rcpt);
    assert_eq!(hear(&mut session, "550 5.1.1 no\r\n250 o"), ["rcpt 0 550 5.1.1 no"]);
    assert_eq!(hear(&mut session, "k\r\n"), ["rcpt 1 250 ok"]);
    assert_eq!(session.phase(), Phase::Data);
    assert_eq!(hear(&mut session, "354 go\r\n"), ["data 354 go"]);
    session.body(b"x\r\n.\r\n").unwrap();
    session.finish().unwrap();
    assert_eq!((sent(&mut session).as_str(), session.phase()), ("x\r\n..\r\n.\r\n", Phase::FinalDot));
    assert_eq!(hear(&mut session, "250-2.6.0 a\r\n250 2.6.0 b\r\n"), ["end 250 2.6.0 a b"]);
    session.mail(&sender()).unwrap();
    sent(&mut session);
    hear(&mut session, "452 4.3.1 Insufficient system resources\r\n");
    session.quit().unwrap();
    assert_eq!((sent(&mut session).as_str(), session.phase()), ("QUIT\r\n", Phase::Quit));
    assert_eq!(hear(&mut session, "221 bye\r\n"), ["Closed"]);
}

#[test]
fn commands_go_one_by_one_where_it_is_not() {
    let mut session = opened(LOCK_STEP);
    session.mail(&sender()).unwrap();
    assert!(!session.can_send());
    assert_eq!((session.rcpt(&recipient()), session.data()), (Err(Error::OutOfTurn), Err(Error::OutOfTurn)));
    assert_eq!(sent(&mut session), "MAIL FROM:<a@b.example>\r\n");
    hear(&mut session, "250 ok\r\n");
    session.rcpt(&recipient()).unwrap();
    assert_eq!((session.data(), session.reset(), session.quit()), {
        let out = Err(Error::OutOfTurn);
        (out, out, out)
    });
    hear(&mut session, "250 ok\r\n");
    session.data().unwrap();
    hear(&mut session, "354 go\r\n");
    assert_eq!(session.phase(), Phase::Body);
}

#[test]
fn a_transaction_without_a_recipient_ends_with_rset() {
    let mut session = opened(LOCK_STEP);
    session.mail(&sender()).unwrap();
    hear(&mut session, "250 ok\r\n");
    assert_eq!(session.data(), Err(Error::NoRecipients));
    session.rcpt(&recipient()).unwrap();
    hear(&mut session, "550 5.1.1 no\r\n");
    assert_eq!(session.data(), Err(Error::NoRecipients));
    assert_eq!(session.mail(&sender()), Err(Error::OutOfTurn));
    session.reset().unwrap();
    assert_eq!(session.phase(), Phase::Reset);
    assert_eq!(hear(&mut session, "250 2.0.0 reset\r\n"), ["reset 250 2.0.0 reset"]);
    session.mail(&sender()).unwrap();
}

#[test]
fn after_data_is_refused_rset_makes_room_for_the_next_message() {
    let mut session = opened(PIPELINING);
    session.mail(&sender()).unwrap();
    session.rcpt(&recipient()).unwrap();
    session.data().unwrap();
    let replies = "250 ok\r\n550 no\r\n554 no valid recipients\r\n";
    assert_eq!(hear(&mut session, replies).last().unwrap(), "data 554 no valid recipients");
    assert!(!session.can_send());
    assert_eq!(session.body(b"x"), Err(Error::OutOfTurn));
    session.reset().unwrap();
    assert_eq!(hear(&mut session, "250 ok\r\n"), ["reset 250 ok"]);
    assert!(session.can_send());
}

#[test]
fn a_354_for_nobody_gets_a_lone_dot_whose_verdict_is_ignored() {
    let (no_sender, no_recipient) = ("451 no\r\n250 ok\r\n354 go\r\n", "250 ok\r\n550 no\r\n354 go\r\n");
    let unsent = |replies| {
        let mut session = opened(PIPELINING);
        session.mail(&sender()).unwrap();
        session.rcpt(&recipient()).unwrap();
        session.data().unwrap();
        sent(&mut session);
        assert_eq!(hear(&mut session, replies).len(), 2);
        session
    };
    for (replies, verdict) in [(no_recipient, "250 ok"), (no_recipient, "554 no"), (no_sender, "451 later")] {
        let mut session = unsent(replies);
        assert_eq!(sent(&mut session), ".\r\n");
        assert!(!session.final_dot_sent());
        assert_eq!(hear(&mut session, &format!("{verdict}\r\n")), ["NoRecipients"]);
        session.mail(&sender()).unwrap();
    }
    assert_eq!(hear(&mut unsent(no_sender), "250 ok\r\n")[0], "broken at FinalDot PS-P22");
}

#[test]
fn parameters_go_to_a_server_that_offers_them_and_to_no_other() {
    let mail = MailFrom {
        size_bytes: Some(1000),
        body: Some(BodyType::EightBitMime),
        ret: Some(Return::Full),
        envid: Some(Xtext::parse("QQ+2B1").unwrap()),
        ..sender()
    };
    let recipient = Recipient {
        notify: Some(Notify { success: true, failure: true, delay: false }),
        orcpt: Some(OriginalRecipient::parse("rfc822;x+2By@example.com").unwrap()),
        ..recipient()
    };
    let mut session = opened(PIPELINING);
    session.mail(&mail).unwrap();
    session.rcpt(&recipient).unwrap();
    assert_eq!(
        sent(&mut session),
        "MAIL FROM:<a@b.example> SIZE=1000 BODY=8BITMIME RET=FULL ENVID=QQ+2B1\r\n\
         RCPT TO:<c@example.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x+2By@example.com\r\n"
    );
    let mut session = opened("220 x\r\n250-x\r\n250 PIPELINING\r\n");
    session.mail(&mail).unwrap();
    session.rcpt(&recipient).unwrap();
    assert_eq!(sent(&mut session), "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@example.com>\r\n");
}

const EXCHANGE: &str = "220 mx hello\r\n250-mx.example.com\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-BINARYMIME\r\n\
    250-SMTPUTF8\r\n250 CHUNKING\r\n";

fn binary() -> MailFrom<'static> {
    MailFrom { body: Some(BodyType::BinaryMime), ..sender() }
}

/// A session in which a chunk may be sent.
fn before_chunk() -> Session {
    let mut session = opened(EXCHANGE);
    session.mail(&binary()).unwrap();
    session.rcpt(&recipient()).unwrap();
    assert_eq!(session.chunk(1), Err(Error::OutOfTurn), "not ahead of the replies");
    assert_eq!(session.data(), Err(Error::OutOfTurn), "never by DATA");
    sent(&mut session);
    hear(&mut session, "250 ok\r\n250 ok\r\n");
    session
}

#[test]
fn a_binary_message_goes_as_one_chunk_and_byte_for_byte() {
    let message = "\r\n.\r\n\n.\n\0 no line";
    let mut session = before_chunk();
    session.chunk(message.len() as u64).unwrap();
    assert_eq!((session.finish(), session.phase()), (Err(Error::ChunkLength), Phase::Body));
    let (head, tail) = message.as_bytes().split_at(7);
    assert_eq!(session.body(head), Ok(7));
    assert_eq!(session.body(message.as_bytes()), Err(Error::ChunkLength), "more than was announced");
    assert_eq!(sent(&mut session), format!("BDAT {} LAST\r\n{}", message.len(), &message[..7]));
    assert!(!session.final_dot_sent());
    assert_eq!(session.body(tail), Ok(tail.len()));
    session.finish().unwrap();
    assert_eq!(sent(&mut session).as_bytes(), tail);
    assert!(session.final_dot_sent());
    assert_eq!(hear(&mut session, "250 2.6.0 taken\r\n"), ["end 250 2.6.0 taken"]);
    session.mail(&sender()).unwrap();
}

#[test]
fn an_empty_chunk_and_a_verdict_before_the_last_octet() {
    let mut session = before_chunk();
    session.chunk(0).unwrap();
    session.finish().unwrap();
    assert_eq!(sent(&mut session), "BDAT 0 LAST\r\n");
    assert_eq!(hear(&mut session, "554 5.6.0 nothing\r\n"), ["end 554 5.6.0 nothing"]);

    let mut session = before_chunk();
    session.chunk(3).unwrap();
    session.body(b"ab").unwrap();
    sent(&mut session);
    assert_eq!(hear(&mut session, "250 ok\r\n"), ["broken at Body PS-P22", "Closed"]);
}

#[test]
fn a_chunk_needs_a_recipient_and_a_server_that_takes_chunks() {
    let mut session = opened(EXCHANGE);
    assert_eq!(session.chunk(1), Err(Error::OutOfTurn));
    session.mail(&binary()).unwrap();
    session.rcpt(&recipient()).unwrap();
    hear(&mut session, "250 ok\r\n550 no\r\n");
    assert_eq!(session.chunk(1), Err(Error::NoRecipients));
    session.reset().unwrap();
    for offered in ["250-x\r\n250 BINARYMIME", "250-x\r\n250 CHUNKING", "250 x"] {
        let mut session = opened(&format!("220 x\r\n{offered}\r\n"));
        assert_eq!(session.mail(&binary()), Err(Error::NotOffered), "{offered}");
        session.mail(&sender()).unwrap();
    }
}

#[test]
fn an_address_beyond_ascii_goes_to_a_server_that_offers_smtputf8_and_to_no_other() {
    let utf8 = MailFrom { smtp_utf8: true, ..MailFrom::new(address("jürgen@b.example")) };
    let jane = Recipient::new(address("用户@例え.jp"));
    let mut session = opened(EXCHANGE);
    let unsaid = MailFrom { smtp_utf8: false, ..utf8 };
    assert_eq!(session.mail(&unsaid), Err(Error::NotOffered));
    session.mail(&utf8).unwrap();
    session.rcpt(&jane).unwrap();
    assert_eq!(sent(&mut session), "MAIL FROM:<jürgen@b.example> SMTPUTF8\r\nRCPT TO:<用户@例え.jp>\r\n");
    let mut session = opened(EXCHANGE);
    session.mail(&sender()).unwrap();
    assert_eq!(session.rcpt(&jane), Err(Error::NotOffered));
    let orcpt = Some(OriginalRecipient::parse("utf-8;jürgen@b").unwrap());
    assert_eq!(session.rcpt(&Recipient { orcpt, ..recipient() }), Err(Error::NotOffered));
    session.rcpt(&recipient()).unwrap();
    let mut session = opened(PIPELINING);
    assert_eq!(session.mail(&utf8), Err(Error::NotOffered));
    // Its message may be able to do without: the caller has looked.
    session.mail(&MailFrom { smtp_utf8: true, ..sender() }).unwrap();
    assert_eq!(sent(&mut session), "MAIL FROM:<a@b.example>\r\n");
    assert_eq!(session.rcpt(&jane), Err(Error::NotOffered));
}

#[test]
fn no_more_commands_are_ahead_of_their_replies_than_the_bound() {
    let mut session = opened(PIPELINING);
    session.mail(&sender()).unwrap();
    let mut ahead = 1;
    while session.can_send() {
        session.rcpt(&recipient()).unwrap();
        sent(&mut session);
        ahead += 1;
    }
    assert_eq!(ahead, OUTSTANDING_MAX);
    assert_eq!(session.rcpt(&recipient()), Err(Error::OutOfTurn));
    hear(&mut session, "250 ok\r\n");
    assert!(session.can_send());
}

#[test]
fn no_more_is_held_than_the_output_buffer_takes() {
    let mut session = opened(PIPELINING);
    session.mail(&sender()).unwrap();
    let longest = std::format!("{}@{}", "l".repeat(64), "d".repeat(255));
    let orcpt = format!("rfc822;{}", "x".repeat(493));
    let recipient = Recipient {
        notify: Some(Notify { success: true, failure: true, delay: true }),
        orcpt: Some(OriginalRecipient::parse(&orcpt).unwrap()),
        address: address(&longest),
    };
    while session.can_send() {
        session.rcpt(&recipient).unwrap();
    }
    let output = sent(&mut session);
    assert!(output.len() <= CLIENT_OUTPUT_BYTES && output.ends_with(&format!("ORCPT={orcpt}\r\n")));
    assert!(session.can_send());

    let mut session = in_body();
    let taken = session.body(&vec![b'x'; 2 * CLIENT_OUTPUT_BYTES]).unwrap();
    assert_eq!((taken, session.finish()), (CLIENT_OUTPUT_BYTES, Err(Error::OutputFull)));
    session.sent(taken);
    session.finish().unwrap();
}

#[test]
fn the_recipients_of_a_transaction_are_bounded_and_never_null() {
    let mut session = Session::new(Config { recipients_max: 1, ..Config::new("x").unwrap() });
    hear(&mut session, PIPELINING);
    session.mail(&MailFrom::new(Address::NULL)).unwrap();
    assert_eq!(session.rcpt(&Recipient::new(Address::NULL)), Err(Error::Address));
    session.rcpt(&recipient()).unwrap();
    assert_eq!(session.rcpt(&recipient()), Err(Error::RecipientsMax));
}

#[test]
fn a_message_that_does_not_end_in_cr_lf_gets_it() {
    for (message, wire) in [("", ".\r\n"), ("x", "x\r\n.\r\n"), ("x\r\n", "x\r\n.\r\n"), (".", "..\r\n.\r\n")]
    {
        let mut session = in_body();
        session.body(message.as_bytes()).unwrap();
        session.finish().unwrap();
        assert_eq!(sent(&mut session), wire);
    }
}

#[test]
fn a_lost_connection_may_mean_a_duplicate_only_after_the_last_byte() {
    let mut session = in_body();
    session.body(b"x\r\n").unwrap();
    session.finish().unwrap();
    while !session.output().is_empty() {
        assert!(!session.final_dot_sent());
        session.sent(1);
    }
    assert!(session.final_dot_sent());
    hear(&mut session, "250 ok\r\n");
    assert!(!session.final_dot_sent());
}

#[test]
fn a_verdict_before_the_last_byte_is_none() {
    let mut session = in_body();
    session.body(b"x\r\n").unwrap();
    assert_eq!(hear(&mut session, "250 ok\r\n"), ["broken at Body PS-P22", "Closed"]);

    let mut session = in_body();
    session.body(b"x\r\n").unwrap();
    session.finish().unwrap();
    session.sent(session.output().len() - 1);
    assert_eq!(hear(&mut session, "250 ok\r\n"), ["broken at FinalDot PS-P22", "Closed"]);

    let mut session = in_body();
    assert_eq!(
        hear(&mut session, "552 5.3.4 too large\r\n"),
        ["refused at Body 552 5.3.4 too large", "Closed"]
    );
}

#[test]
fn a_421_ends_the_session_wherever_it_comes() {
    let unavailable = "421 4.3.2 Service not active\r\n";
    let expect = |mut session: Session, phase: Phase| {
        assert_eq!(session.phase(), phase);
        let refused = format!("refused at {phase:?} 421 4.3.2 Service not active");
        assert_eq!(hear(&mut session, unavailable), [refused.as_str(), "Closed"]);
        assert_eq!((session.phase(), session.can_send()), (Phase::Over, false));
        assert_eq!(session.quit(), Err(Error::OutOfTurn));
    };
    let new = || Session::new(Config::new("x").unwrap());
    expect(new(), Phase::Greeting);
    let mut session = new();
    hear(&mut session, "220 x\r\n");
    expect(session, Phase::Ehlo);
    expect(opened(PIPELINING), Phase::Idle);
    let mut session = opened(PIPELINING);
    session.mail(&sender()).unwrap();
    expect(session, Phase::Mail);
    let mut session = opened(PIPELINING);
    session.mail(&sender()).unwrap();
    session.rcpt(&recipient()).unwrap();
    hear(&mut session, "250 ok\r\n");
    expect(session, Phase::Rcpt);
    expect(in_body(), Phase::Body);
    expect(at_final_dot(), Phase::FinalDot);
    let mut session = opened(PIPELINING);
    session.reset().unwrap();
    expect(session, Phase::Reset);
}

#[test]
fn a_server_that_refuses_us_altogether_says_where() {
    let mut session = Session::new(Config::new("x").unwrap());
    assert_eq!(hear(&mut session, "554 5.7.1 go away\r\n")[0], "refused at Greeting 554 5.7.1 go away");
    let mut session = Session::new(Config::new("x").unwrap());
    assert_eq!(hear(&mut session, "220 x\r\n530 5.7.1 no\r\n")[1], "refused at Ehlo 530 5.7.1 no");
    let mut session = Session::new(Config::new("x").unwrap());
    assert_eq!(hear(&mut session, "521 takes no mail\r\n")[0], "refused at Greeting 521 takes no mail");
}

#[test]
fn a_521_or_556_is_a_refusal_like_others() {
    let mut session = opened(PIPELINING);
    session.mail(&sender()).unwrap();
    session.rcpt(&recipient()).unwrap();
    let heard = hear(&mut session, "250 ok\r\n556 5.1.10 no mail here\r\n");
    assert_eq!(heard[1], "rcpt 0 556 5.1.10 no mail here");
    session.reset().unwrap();
    let heard = hear(&mut session, "521 5.3.2 host takes no mail\r\n");
    assert_eq!(heard[0], "refused at Reset 521 5.3.2 host takes no mail");
}

#[test]
fn replies_that_make_no_sense_end_the_session() {
    for (mut session, input, phase, code) in [
        (opened(PIPELINING), "250 for what?\r\n", Phase::Idle, "PS-P22"),
        (opened(PIPELINING), "SSH-2.0-x\r\n", Phase::Idle, "PS-P20"),
        (at_final_dot(), "354 more\r\n", Phase::FinalDot, "PS-P22"),
        (Session::new(Config::new("x").unwrap()), "354 x\r\n", Phase::Greeting, "PS-P22"),
        (Session::new(Config::new("x").unwrap()), "250 x\r\n", Phase::Greeting, "PS-P22"),
    ] {
        assert_eq!(hear(&mut session, input), [format!("broken at {phase:?} {code}").as_str(), "Closed"]);
    }
    let mut session = opened(PIPELINING);
    session.mail(&sender()).unwrap();
    assert_eq!(hear(&mut session, "354 go\r\n")[0], "broken at Mail PS-P22");
    let mut session = opened(PIPELINING);
    hear(&mut session, "220 too long");
    assert_eq!(hear(&mut session, &"x".repeat(5000)), ["broken at Idle PS-P21", "Closed"]);
}

#[test]
fn what_a_server_says_is_kept_within_bounds_and_harmless() {
    let mut session = at_final_dot();
    let mut input = Vec::new();
    for _ in 0..50 {
        input.extend_from_slice(b"550-5.7.1 see \x1b[31m\xff ");
        input.extend_from_slice(&[b'x'; 100]);
        input.extend_from_slice(b"\r\n");
    }
    input.extend_from_slice(b"550 5.7.1 end\r\n");
    let mut input = &input[..];
    let Event::EndReply(reply) = session.poll(&mut input) else { panic!() };
    assert_eq!((reply.code, reply.status), (550, Some(Status::new(5, 7, 1))));
    assert_eq!(reply.text.len(), REPLY_TEXT_BYTES_MAX);
    assert!(reply.text.starts_with("see ?[31m? xxx") && reply.text.bytes().all(|b| matches!(b, b' '..=b'~')));
}

const OFFERS_TLS: &str = "220 x\r\n250-x\r\n250-STARTTLS\r\n250 8BITMIME\r\n";

#[test]
fn after_starttls_what_the_server_had_offered_is_forgotten_and_asked_for_again() {
    let mut session = opened(OFFERS_TLS);
    session.start_tls().unwrap();
    assert_eq!((sent(&mut session).as_str(), session.phase()), ("STARTTLS\r\n", Phase::StartTls));
    assert_eq!(session.tls_started(), Err(Error::OutOfTurn));
    assert_eq!(hear(&mut session, "220 2.0.0 go\r\n"), ["starttls 220 2.0.0 go"]);
    assert_eq!((session.phase(), session.can_send(), session.is_tls()), (Phase::StartTls, false, false));
    assert_eq!((session.mail(&sender()), session.quit()), (Err(Error::OutOfTurn), Err(Error::OutOfTurn)));
    session.tls_started().unwrap();
    assert_eq!((session.phase(), session.is_tls()), (Phase::Ehlo, true));
    assert!(!session.capabilities().eight_bit_mime);
    assert_eq!(sent(&mut session), "EHLO penstock.example.net\r\n");
    hear(&mut session, "250-x\r\n250-STARTTLS\r\n250 DSN\r\n");
    assert!(session.capabilities().dsn && !session.capabilities().eight_bit_mime);
    assert_eq!(session.start_tls(), Err(Error::OutOfTurn), "once is enough");
    session.mail(&sender()).unwrap();
}

#[test]
fn a_server_that_cannot_start_tls_now_is_still_of_use() {
    let mut session = opened(OFFERS_TLS);
    session.start_tls().unwrap();
    let refused = hear(&mut session, "454 4.7.0 not now\r\n");
    assert_eq!(refused, ["starttls 454 4.7.0 not now"]);
    assert_eq!((session.tls_started(), session.phase()), (Err(Error::OutOfTurn), Phase::Idle));
    session.mail(&sender()).unwrap();
    assert_eq!(opened(LOCK_STEP).start_tls(), Err(Error::OutOfTurn), "it was not offered");
    let mut session = opened(OFFERS_TLS);
    session.start_tls().unwrap();
    sent(&mut session);
    assert_eq!(hear(&mut session, "250 hm\r\n"), ["broken at StartTls PS-P22", "Closed"]);
}

#[test]
fn what_comes_in_plain_text_behind_the_220_ends_the_session() {
    let injected = "220 go\r\n250-evil\r\n250 SIZE 1\r\n";
    for cut in "220 go\r\n".len()..injected.len() {
        let mut session = opened(OFFERS_TLS);
        session.start_tls().unwrap();
        sent(&mut session);
        let (first, second) = injected.split_at(cut);
        let mut events = hear(&mut session, first);
        events.extend(hear(&mut session, second));
        assert!(events.contains(&"broken at StartTls PS-P23".to_string()), "{events:?}");
        assert_eq!(session.tls_started(), Err(Error::OutOfTurn));
    }
}

#[test]
fn each_phase_has_the_patience_that_rfc_5321_asks_for() {
    let timeouts = Timeouts::default();
    for (phase, minutes) in [
        (Phase::Greeting, 5),
        (Phase::Ehlo, 5),
        (Phase::StartTls, 5),
        (Phase::Mail, 5),
        (Phase::Rcpt, 5),
        (Phase::Data, 2),
        (Phase::Body, 3),
        (Phase::FinalDot, 10),
    ] {
        assert_eq!(timeouts.of(phase), Some(Duration::from_mins(minutes)), "{phase:?}");
    }
    assert_eq!(timeouts.of(Phase::Idle), None);
}

#[test]
fn a_session_is_no_more_than_its_bounds() {
    assert!(
        size_of::<Session>() < CLIENT_OUTPUT_BYTES + KEYWORDS_BYTES_MAX + 2048,
        "{}",
        size_of::<Session>()
    );
}
