//! The report to a sender of what became of a message (RFC 3464), in memory: it is small whatever it is about.
//!
//! With the header of the message and never its text: RFC 3461 §4.3 lets a report of a failure leave that out where it is
//! large, and nobody needs it less than a sender who did not write it. All of it is seven-bit, but for the sender's own
//! address where that is UTF-8: a report to such a sender needs SMTPUTF8.

use penstock_smtp::trace::Date;
use std::fmt::Write as _;

use penstock_spool::{Begin, Recipient};

use crate::header::Header;

/// As much of the message's header goes with it, in bytes.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// A line has no more (RFC 5322 §2.1.1).
const LINE_BYTES_MAX: usize = 998;

/// What a report says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was not delivered, and will not be tried again.
    Failed,
    /// It was given to a server that will not say what becomes of it (RFC 3461 §5.2.2).
    Relayed,
}

impl Outcome {
    /// The subject, and what is said before and behind the recipients.
    const fn words(self) -> [&'static str; 3] {
        match self {
            Self::Failed => [
                "Undelivered mail: returned to its sender",
                "Your message could not be delivered to these recipients:",
                "It will not be tried again.",
            ],
            Self::Relayed => [
                "Mail relayed: there will be no report of its delivery",
                "Your message was given to a server that sends no reports of delivery, for these recipients:",
                "You would hear of a failure.",
            ],
        }
    }

    const fn action(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Relayed => "relayed",
        }
    }
}

/// What became of one recipient.
#[derive(Debug)]
pub(crate) struct About<'a> {
    pub(crate) recipient: &'a Recipient,
    /// The enhanced status code.
    pub(crate) status: (u8, u16, u16),
    /// What the server said.
    pub(crate) said: String,
}

/// What a report is about.
pub(crate) struct Report<'a> {
    pub(crate) outcome: Outcome,
    pub(crate) hostname: &'a str,
    /// Who answers for it.
    pub(crate) postmaster: &'a str,
    /// The message's name here, and when it is written: they make the Message-ID.
    pub(crate) id: &'a str,
    pub(crate) boot: u32,
    pub(crate) unix_ms: u64,
    pub(crate) begin: &'a Begin,
    pub(crate) header: &'a Header,
    /// Its recipients, and what was said of each.
    pub(crate) about: &'a [About<'a>],
    /// The server that said so.
    pub(crate) server: &'a str,
}

impl Report<'_> {
    /// The report as a message.
    pub(crate) fn write(&self) -> Vec<u8> {
        let Self { hostname, postmaster, id, boot, unix_ms, begin, .. } = self;
        let [subject, before, behind] = self.outcome.words();
        // Nothing that is quoted below can begin a line with two hyphens and this.
        let boundary = format!("=_report_{id}_{boot}_{unix_ms}");
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "Received: by {hostname} (report about {id});\r\n\t{date}\r\n\
             Date: {date}\r\nFrom: Mail Delivery System <{postmaster}>\r\nTo: <{to}>\r\n\
             Message-ID: <report.{id}.{boot}.{unix_ms}@{hostname}>\r\nSubject: {subject}\r\n\
             Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n\r\n\
             --{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
             This is the mail system at {hostname}.\r\n\r\n\
             {before}\r\n\r\n",
            date = Date(*unix_ms),
            to = begin.sender,
        );
        for About { recipient, said, .. } in self.about {
            let _ = write!(text, "<{}>\r\n    {}\r\n\r\n", line(&encoded(&recipient.address)), line(said));
        }
        let _ = write!(
            text,
            "{behind}\r\n--{boundary}\r\nContent-Type: message/delivery-status\r\n\r\n\
             Reporting-MTA: dns; {hostname}\r\n",
        );
        if let Some(envid) = begin.envid.as_deref() {
            let _ = write!(text, "Original-Envelope-Id: {}\r\n", line(&decoded(envid)));
        }
        if begin.received.trusted {
            let _ = write!(text, "Arrival-Date: {}\r\n", Date(begin.received.unix_ms));
        }
        for About { recipient, status: (class, subject, detail), said } in self.about {
            text.push_str("\r\n");
            if let Some((kind, address)) = recipient.orcpt.as_deref().and_then(|orcpt| orcpt.split_once(';'))
            {
                let _ = write!(text, "Original-Recipient: {kind}; {}\r\n", line(&encoded(&decoded(address))));
            }
            let kind = if recipient.address.is_ascii() { "rfc822" } else { "utf-8" };
            let _ = write!(
                text,
                "Final-Recipient: {kind}; {}\r\nAction: {}\r\nStatus: {class}.{subject}.{detail}\r\n\
                 Remote-MTA: dns; {}\r\nDiagnostic-Code: smtp; {}\r\n",
                line(&encoded(&recipient.address)),
                self.outcome.action(),
                self.server,
                line(said),
            );
        }
        let _ = write!(text, "\r\n--{boundary}\r\nContent-Type: text/rfc822-headers\r\n\r\n");
        let mut left = HEADER_BYTES_MAX;
        for raw in self.header.bytes().split(|byte| *byte == b'\n') {
            let shown = line(&String::from_utf8_lossy(raw.strip_suffix(b"\r").unwrap_or(raw)));
            left = left.saturating_sub(shown.len() + 2);
            if left == 0 {
                break;
            }
            // An empty one would end the header; there is one at its end only.
            if !shown.is_empty() {
                let _ = write!(text, "{shown}\r\n");
            }
        }
        let _ = write!(text, "\r\n--{boundary}--\r\n");
        text.into_bytes()
    }
}

/// A text of somebody else on one line of ASCII.
fn line(text: &str) -> String {
    let plain = |c: char| match c {
        '\t' => ' ',
        c if c.is_ascii() && !c.is_control() => c,
        _ => '?',
    };
    text.chars().map(plain).take(LINE_BYTES_MAX - 64).collect()
}

/// An address as ASCII: what is beyond it as `\x{…}` (RFC 6533 §3).
fn encoded(address: &str) -> String {
    let mut text = String::with_capacity(address.len());
    for c in address.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            // Writing to a String does not fail.
            let _ = write!(text, "\\x{{{:X}}}", u32::from(c));
        }
    }
    text
}

/// Undoes xtext (RFC 3461 §4): `+41` stands for `A`. What is no such thing stays as it is.
fn decoded(xtext: &str) -> String {
    let mut parts = xtext.split('+');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let hex = part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match hex.zip(part.get(2..)) {
            Some((byte, rest)) => {
                text.push(char::from(byte));
                text.push_str(rest);
            }
            None => {
                text.push('+');
                text.push_str(part);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_spool::Stamp;

    #[test]
    fn a_report_says_who_did_not_get_what_and_what_the_server_said() {
        let gone = Recipient {
            address: "gone@example.org".into(),
            orcpt: Some("rfc822;Gone+2Baway@example.org".into()),
            ..Recipient::default()
        };
        let about =
            [About { recipient: &gone, status: (5, 1, 1), said: "550 5.1.1 no such user\r\nBcc: x".into() }];
        let begin = Begin {
            received: Stamp { unix_ms: 1_795_317_580_000, boot: 1, trusted: true },
            sender: "sender@example.net".into(),
            envid: Some("QQ+3D1".into()),
            ..Begin::default()
        };
        let header =
            Header::of("Subject: Gr\u{fc}\u{df}e\r\n folded\r\nFrom: x\r\n\r\nsecret text\r\n".into());
        let report = Report {
            outcome: Outcome::Failed,
            hostname: "mx.example.org",
            postmaster: "postmaster@example.org",
            id: "d-7",
            boot: 3,
            unix_ms: 1_795_317_580_000,
            begin: &begin,
            header: &header,
            about: &about,
            server: "exchange",
        };
        let text = String::from_utf8(report.write()).unwrap();
        assert!(text.is_ascii() && !text.replace("\r\n", "").contains(['\r', '\n']), "{text}");
        for part in [
            "To: <sender@example.net>\r\n",
            "Message-ID: <report.d-7.3.1795317580000@mx.example.org>\r\n",
            "Content-Type: multipart/report; report-type=delivery-status;\r\n",
            "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.org\r\n\
             Original-Envelope-Id: QQ=1\r\nArrival-Date: Sun, 22 Nov 2026 03:19:40 +0000\r\n\r\n\
             Original-Recipient: rfc822; Gone+away@example.org\r\nFinal-Recipient: rfc822; gone@example.org\r\n\
             Action: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; exchange\r\n\
             Diagnostic-Code: smtp; 550 5.1.1 no such user??Bcc: x\r\n",
            "Content-Type: text/rfc822-headers\r\n\r\nSubject: Gr??e\r\n folded\r\nFrom: x\r\n\r\n--",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        assert!(!text.contains("secret text"));
    }

    #[test]
    fn addresses_beyond_ascii_are_encoded_in_reports() {
        let jane = Recipient {
            address: "j\u{e9}@b\u{fc}cher.example".into(),
            orcpt: Some("utf-8;\u{7528}@example.org".into()),
            ..Recipient::default()
        };
        let begin = Begin { sender: "s\u{fc}@example.net".into(), smtputf8: true, ..Begin::default() };
        let about = [About { recipient: &jane, status: (2, 1, 5), said: "250 2.1.5 ok".into() }];
        let report = Report {
            outcome: Outcome::Relayed,
            hostname: "mx.example.org",
            postmaster: "postmaster@example.org",
            id: "d-7",
            boot: 3,
            unix_ms: 1_795_317_580_000,
            begin: &begin,
            header: &Header::default(),
            about: &about,
            server: "exchange",
        };
        let text = String::from_utf8(report.write()).unwrap();
        for part in [
            "To: <s\u{fc}@example.net>\r\n",
            "<j\\x{E9}@b\\x{FC}cher.example>\r\n    250 2.1.5 ok\r\n",
            "Original-Recipient: utf-8; \\x{7528}@example.org\r\n\
             Final-Recipient: utf-8; j\\x{E9}@b\\x{FC}cher.example\r\nAction: relayed\r\nStatus: 2.1.5\r\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        assert!(text.lines().filter(|line| !line.is_ascii()).count() == 1, "{text}");
    }

    #[test]
    fn xtext_is_decoded_and_what_is_none_is_kept() {
        for (encoded, expected) in
            [("plain", "plain"), ("a+2Bb", "a+b"), ("+", "+"), ("a+ZZ", "a+ZZ"), ("+4", "+4")]
        {
            assert_eq!(decoded(encoded), expected);
        }
    }
}
