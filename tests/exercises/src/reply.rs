//! Replies of a server that says anything at all, each read by a session of its own, against the reference.
//!
//! The first byte chooses the cuts; the rest is what the servers send, one after the other.

use penstock_smtp::bounds::{
    FOREIGN_LINE_BYTES_MAX, FOREIGN_LINES_MAX, REPLY_LINE_BYTES_MAX, REPLY_TEXT_BYTES_MAX,
};
use penstock_smtp::client::{Config, Event, Session};
use penstock_smtp::{Error, Reply};

use crate::cuts::cut;
use crate::reference;

/// Tries an input.
pub fn reply(input: &[u8]) {
    let [cuts, servers @ ..] = input else { return };
    let mut rest = servers;
    // More lines than one reply may have, or the bound is never met.
    for _ in 0..300 {
        let expected =
            reference::reply(rest, FOREIGN_LINE_BYTES_MAX, REPLY_LINE_BYTES_MAX, FOREIGN_LINES_MAX as usize);
        let mut session = Session::new(Config::new("client.example").unwrap());
        let mut seen = None;
        cut(rest, *cuts, |mut piece| {
            if seen.is_none() {
                seen = see(&session.poll(&mut piece));
            }
            seen.is_none()
        });
        match (&expected, &seen) {
            (reference::Reply::Incomplete, None) => return,
            (reference::Reply::Wrong, Some(Seen::Broken(Error::NotAReply))) => return,
            (reference::Reply::TooLong, Some(Seen::Broken(Error::ReplyTooLong))) => return,
            // A greeting is 220, and a refusal 4xx or 5xx; anything else was read and makes no sense there.
            (reference::Reply::Whole { lines, len }, Some(Seen::Broken(Error::UnexpectedReply))) => {
                let code = lines.last().map_or(0, |(code, _)| *code);
                assert!(code != 220 && code < 400, "{expected:?}");
                rest = &rest[*len..];
            }
            (reference::Reply::Whole { lines, len }, Some(Seen::Reply { code, status, text })) => {
                let expected = joined(lines);
                assert_eq!((code, status, text), (&expected.0, &expected.1, &expected.2));
                rest = &rest[*len..];
            }
            _ => panic!("{expected:?}, and the session says {seen:?}: {}", rest.escape_ascii()),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Reply { code: u16, status: Option<[u16; 3]>, text: String },
    Broken(Error),
}

fn see(event: &Event<'_>) -> Option<Seen> {
    let seen = |reply: &Reply<'_>| {
        let status = reply.status.map(|status| [u16::from(status.class), status.subject, status.detail]);
        Some(Seen::Reply { code: reply.code, status, text: reply.text.to_owned() })
    };
    match event {
        Event::NeedInput => None,
        Event::Greeting(reply) | Event::Refused { reply, .. } => seen(reply),
        Event::Broken { error, .. } => Some(Seen::Broken(*error)),
        other => panic!("before the greeting: {other:?}"),
    }
}

/// What these lines make: the last one's code, the first enhanced code whose class is that of its line's code, and the
/// rest of each line, joined by one space.
fn joined(lines: &[(u16, Vec<u8>)]) -> (u16, Option<[u16; 3]>, String) {
    let (mut last, mut status, mut text) = (0, None, String::new());
    for (code, line) in lines {
        let (own, rest) = match enhanced(line) {
            Some((own, rest)) if own[0] == code / 100 => (Some(own), rest),
            _ => (None, &line[..]),
        };
        last = *code;
        status = status.or(own);
        if !text.is_empty() && !rest.is_empty() {
            text.push(' ');
        }
        text.extend(rest.iter().map(|b| if matches!(b, b' '..=b'~') { char::from(*b) } else { '?' }));
        text.truncate(REPLY_TEXT_BYTES_MAX);
    }
    (last, status, text)
}

/// An enhanced status code at the head of a text, and what comes after it and a space.
fn enhanced(line: &[u8]) -> Option<([u16; 3], &[u8])> {
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let word = core::str::from_utf8(&line[..end]).ok()?;
    let parts: Vec<&str> = word.split('.').collect();
    let [class, subject, detail] = parts[..] else { return None };
    let number = |part: &str, digits_max: usize| {
        let valid = (1..=digits_max).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        valid.then(|| part.parse::<u16>().unwrap())
    };
    let status = [number(class, 1)?, number(subject, 3)?, number(detail, 3)?];
    matches!(status[0], 2 | 4 | 5).then(|| (status, line.get(end + 1..).unwrap_or_default()))
}
