//! The SMTP dialogue up to the message: which command is answered how.

use crate::body::Body;
use crate::config::{Setup, Stage};
use crate::directory::Who;
use crate::face::{back_end, judges_recipients};
use crate::line::{Path, domain_of};
use crate::message::{Envelope, Recipient};
use crate::replies::{self as say, Reply};
use crate::session::{Answer, Input, Phase, Say, Session};
use crate::transport::Transport;

/// The first thing that is said, or what is said instead.
pub(crate) fn banner(transport: &Transport, now_ms: u64) -> Reply {
    if transport.config.faults.setup == Setup::InactiveAtBanner {
        return say::INACTIVE;
    }
    let host = &transport.config.site.host;
    Reply::with(220, format!("{host} Microsoft ESMTP MAIL Service ready at {}", transport.date(now_ms)))
}

/// The answer to a whole piece of input, or nothing where none is due.
pub(crate) fn answer(session: &mut Session, transport: &mut Transport, now_ms: u64, input: Input) -> Answer {
    let mut answer = match input {
        Input::Line(line) => command(session, transport, now_ms, &line),
        Input::TooLong => say::LINE_TOO_LONG.into(),
        Input::EndOfData => transport.judge(session, now_ms),
        Input::EndOfChunk { taken: true, last } => end_of_chunk(session, transport, now_ms, last),
        Input::EndOfChunk { taken: false, .. } if session.envelope.is_none() => say::NEED_MAIL.into(),
        Input::EndOfChunk { taken: false, .. } => say::NEED_RCPT.into(),
    };
    let limits = &transport.config.limits;
    if let Say::Reply(reply) = &answer.say {
        session.errors += u32::from(reply.is_protocol_error());
        if session.errors > limits.errors_max {
            return say::TOO_MANY_ERRORS.into();
        }
        if reply.code >= 500 {
            // The tarpit: unauthenticated senders, after errors.
            answer.after_ms += limits.tarpit_ms;
        }
    }
    answer
}

fn command(session: &mut Session, transport: &mut Transport, now_ms: u64, line: &str) -> Answer {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    match verb.to_ascii_uppercase().as_str() {
        "EHLO" | "HELO" if rest.trim().is_empty() => Reply::new(501, "5.5.4 Invalid domain name").into(),
        "EHLO" => hello(session, extensions(session, transport)),
        "HELO" => {
            let hello_text = format!("{} Hello [{}]", transport.config.site.host, session.source);
            hello(session, Reply::with(250, hello_text))
        }
        "MAIL" => mail(session, transport, now_ms, rest),
        "RCPT" => rcpt(session, transport, now_ms, rest),
        "DATA" => data(session, transport),
        "BDAT" => bdat(session, transport, rest),
        "RSET" => {
            session.reset();
            say::RESETTING.into()
        }
        "STARTTLS" if offers_tls(session, transport) => Answer { after_ms: 0, say: Say::Encrypt },
        "NOOP" => say::NOOP.into(),
        "VRFY" => say::CANNOT_VERIFY.into(),
        "HELP" => say::HELP.into(),
        "AUTH" | "X-EXPS" => say::NO_AUTH.into(),
        "QUIT" => say::GOODBYE.into(),
        _ => say::UNRECOGNIZED.into(),
    }
}

fn hello(session: &mut Session, reply: Reply) -> Answer {
    session.reset();
    session.greeted = true;
    reply.into()
}

/// Whether there is a certificate, and the session is not encrypted yet.
fn offers_tls(session: &Session, transport: &Transport) -> bool {
    transport.config.certificate.is_some() && !session.encrypted
}

/// The extensions of 2016, in its order. X-ANONYMOUSTLS, which is for other Exchange servers, is left out.
fn extensions(session: &Session, transport: &Transport) -> Reply {
    let config = &transport.config;
    let mut text = format!(
        "{} Hello [{}]\nSIZE {}\nPIPELINING\nDSN\nENHANCEDSTATUSCODES\n{}AUTH NTLM\nX-EXPS GSSAPI NTLM\n8BITMIME\n\
         BINARYMIME\nCHUNKING",
        config.site.host,
        session.source,
        config.limits.size_bytes,
        if offers_tls(session, transport) { "STARTTLS\n" } else { "" },
    );
    if config.smtputf8 {
        text.push_str("\nSMTPUTF8");
    }
    text.push_str("\nXRDST");
    Reply::with(250, text)
}

/// What follows `FROM:` or `TO:`, if that is what stands there.
fn after_word<'a>(rest: &'a str, word: &str) -> Option<&'a str> {
    let (head, tail) = rest.trim_start().split_at_checked(word.len())?;
    head.eq_ignore_ascii_case(word).then_some(tail)
}

fn mail(session: &mut Session, transport: &mut Transport, now_ms: u64, rest: &str) -> Answer {
    if !session.greeted {
        return say::HELLO_FIRST.into();
    }
    if session.envelope.is_some() {
        return say::SENDER_AGAIN.into();
    }
    let Some(path) = after_word(rest, "FROM:").and_then(Path::parse) else {
        return say::BAD_ARGUMENTS.into();
    };
    let mut envelope = Envelope { from: path.address.to_owned(), mail_ms: now_ms, ..Envelope::default() };
    let mut utf8 = false;
    for (key, value) in path.parameters() {
        match key.as_str() {
            "SIZE" => match value.parse::<u64>() {
                Ok(len_bytes) if len_bytes > transport.config.limits.size_bytes => {
                    return say::TOO_LARGE.into();
                }
                Ok(_) => {}
                Err(_) => return say::BAD_ARGUMENTS.into(),
            },
            "BODY" => envelope.binary = value.eq_ignore_ascii_case("BINARYMIME"),
            "ENVID" => envelope.envelope_id = Some(value.to_owned()),
            "RET" | "AUTH" | "XRDST" => {}
            "SMTPUTF8" if transport.config.smtputf8 => utf8 = true,
            _ => return say::BAD_ARGUMENTS.into(),
        }
    }
    let plain = utf8 || path.address.is_ascii();
    if !path.address.is_empty() && (domain_of(path.address).is_none() || !plain) {
        return say::BAD_SENDER.into();
    }
    match transport.config.faults.setup {
        Setup::InactiveAtMail => return say::INACTIVE_AT_MAIL.into(),
        Setup::InactiveAtBanner => return say::INACTIVE.into(),
        Setup::NoAnonymous => return say::NOT_AUTHENTICATED.into(),
        _ => {}
    }
    if !transport.within_rate(session.source, now_ms) {
        return say::RATE.into();
    }
    let gate = back_end(Stage::Mail, &transport.config, &transport.pressure);
    if let Some(refusal) = gate.refusal {
        transport.totals.in_vain += 1;
        return refusal.into();
    }
    session.delayed = gate.delay_ms > 0;
    session.envelope = Some(envelope);
    Answer { after_ms: gate.delay_ms, say: Say::Reply(say::SENDER_OK) }
}

fn rcpt(session: &mut Session, transport: &mut Transport, now_ms: u64, rest: &str) -> Answer {
    let Some(envelope) = &mut session.envelope else { return say::NEED_MAIL.into() };
    let Some(path) = after_word(rest, "TO:").and_then(Path::parse) else {
        return say::BAD_ARGUMENTS.into();
    };
    let mut recipient = Recipient {
        address: path.address.to_lowercase(),
        wants_success: false,
        wants_failure: true,
        original: None,
    };
    for (key, value) in path.parameters() {
        match key.as_str() {
            "NOTIFY" => {
                let wanted = value.to_ascii_uppercase();
                recipient.wants_success = wanted.split(',').any(|word| word == "SUCCESS");
                recipient.wants_failure = wanted.split(',').any(|word| word == "FAILURE");
            }
            "ORCPT" => recipient.original = Some(value.to_owned()),
            "XRDST" => {}
            _ => return say::BAD_ARGUMENTS.into(),
        }
    }
    if domain_of(path.address).is_none() {
        return say::BAD_RECIPIENT.into();
    }
    if envelope.recipients.len() >= transport.config.limits.recipients_max {
        return say::TOO_MANY_RECIPIENTS.into();
    }
    let who = transport.config.site.who(&recipient.address);
    match transport.config.faults.setup {
        Setup::NoDomain => return say::UNABLE_TO_RELAY_DOMAIN.into(),
        Setup::NoRelay => return say::UNABLE_TO_RELAY.into(),
        _ if who == Who::Foreign => return say::UNABLE_TO_RELAY_DOMAIN.into(),
        _ => {}
    }
    if judges_recipients(transport.config.face) {
        if transport.config.faults.recipient_filter && who == Who::Unknown {
            return say::USER_UNKNOWN.into();
        }
        if !transport.mailbox_bears(&recipient.address, now_ms) {
            return say::MAILBOX_THROTTLED.into();
        }
    }
    envelope.recipients.push(recipient);
    say::RECIPIENT_OK.into()
}

/// What the back end does when the first byte of a message is about to come: a refusal, or a delay.
fn opening_back_end(session: &mut Session, transport: &mut Transport) -> Result<u64, Reply> {
    let gate = back_end(Stage::Data, &transport.config, &transport.pressure);
    if let Some(refusal) = gate.refusal {
        transport.totals.in_vain += 1;
        session.reset();
        return Err(refusal);
    }
    session.delayed |= gate.delay_ms > 0;
    Ok(gate.delay_ms)
}

fn data(session: &mut Session, transport: &mut Transport) -> Answer {
    match &session.envelope {
        None => return say::NEED_MAIL.into(),
        Some(envelope) if envelope.recipients.is_empty() => return say::NEED_RCPT.into(),
        Some(envelope) if envelope.binary => return say::BINARY_NEEDS_BDAT.into(),
        // A message that began with BDAT ends with it (RFC 3030 section 2).
        Some(_) if session.body.is_some() => return Reply::new(503, "5.5.2 Bad sequence of commands").into(),
        Some(_) => {}
    }
    match opening_back_end(session, transport) {
        Err(refusal) => refusal.into(),
        Ok(after_ms) => {
            session.body = Some(Body::new(transport.config.limits.header_bytes));
            session.phase = Phase::Data;
            Answer { after_ms, say: Say::Reply(say::START_INPUT) }
        }
    }
}

fn bdat(session: &mut Session, transport: &Transport, rest: &str) -> Answer {
    let mut words = rest.split_ascii_whitespace();
    let Some(Ok(left)) = words.next().map(str::parse::<u64>) else { return say::BAD_ARGUMENTS.into() };
    let last = match (words.next(), words.next()) {
        (None, _) => false,
        (Some(word), None) if word.eq_ignore_ascii_case("LAST") => true,
        _ => return say::BAD_ARGUMENTS.into(),
    };
    let taken = session.envelope.as_ref().is_some_and(|envelope| !envelope.recipients.is_empty());
    if taken && session.body.is_none() {
        session.body = Some(Body::new(transport.config.limits.header_bytes));
    }
    // The octets come whatever is said to them; the answer waits for their end.
    session.phase = Phase::Chunk { left, last, taken };
    Answer { after_ms: 0, say: Say::Nothing }
}

fn end_of_chunk(session: &mut Session, transport: &mut Transport, now_ms: u64, last: bool) -> Answer {
    if transport.config.faults.bdat_hangs {
        session.silent = true;
        return Answer { after_ms: 0, say: Say::Nothing };
    }
    // The first chunk is what opens the back end.
    let first = !session.delayed;
    let delay_ms = match opening_back_end(session, transport) {
        Err(refusal) => return refusal.into(),
        Ok(delay_ms) if first => delay_ms,
        Ok(_) => 0,
    };
    let mut answer = if last {
        transport.judge(session, now_ms)
    } else {
        let len_bytes = session.body.as_ref().map_or(0, Body::len_bytes);
        Reply::with(250, format!("2.6.0 CHUNK received OK, {len_bytes} octets")).into()
    };
    answer.after_ms += delay_ms;
    answer
}
