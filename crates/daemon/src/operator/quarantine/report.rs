//! The report to a sender that a message was not delivered (RFC 3464), in memory: it is small whatever it is about.
//!
//! With the header of the message and never its text: RFC 3461 §4.3 lets a report of a failure leave that out where it is
//! large, and nobody needs it less than a sender who did not write it. All of it is seven-bit.

use std::fmt::Write as _;

use penstock_spool::{Begin, Recipient};

use super::reason::Said;
use crate::clock::rfc5322;
use crate::header::Header;

/// As much of the message's header goes with it, in bytes.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// A line has no more (RFC 5322 §2.1.1).
const LINE_BYTES_MAX: usize = 998;

/// What a report is about.
pub(super) struct Report<'a> {
    pub(super) hostname: &'a str,
    /// Who answers for it.
    pub(super) postmaster: &'a str,
    /// The message's name here, and when it is written: they make the Message-ID.
    pub(super) id: &'a str,
    pub(super) boot: u32,
    pub(super) unix_ms: u64,
    pub(super) begin: &'a Begin,
    pub(super) header: &'a Header,
    /// The recipients who did not get it, and what was said of each.
    pub(super) failed: &'a [(&'a Recipient, &'a Said)],
    /// The server that said so.
    pub(super) server: &'a str,
}

impl Report<'_> {
    /// The report as a message.
    pub(super) fn write(&self) -> Vec<u8> {
        let Self { hostname, postmaster, id, boot, unix_ms, begin, .. } = self;
        // Nothing that is quoted below can begin a line with two hyphens and this.
        let boundary = format!("=_report_{id}_{boot}_{unix_ms}");
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "Received: by {hostname} (report about {id});\r\n\t{date}\r\n\
             Date: {date}\r\nFrom: Mail Delivery System <{postmaster}>\r\nTo: <{to}>\r\n\
             Message-ID: <report.{id}.{boot}.{unix_ms}@{hostname}>\r\nSubject: Undelivered mail: returned to its sender\r\n\
             Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n\r\n\
             --{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
             This is the mail system at {hostname}.\r\n\r\n\
             Your message could not be delivered to these recipients:\r\n\r\n",
            date = rfc5322(*unix_ms),
            to = begin.sender,
        );
        for (recipient, said) in self.failed {
            let _ = write!(text, "<{}>\r\n    {}\r\n\r\n", line(&recipient.address), line(&said.to_string()));
        }
        let _ = write!(
            text,
            "It will not be tried again.\r\n--{boundary}\r\nContent-Type: message/delivery-status\r\n\r\n\
             Reporting-MTA: dns; {hostname}\r\n",
        );
        if let Some(envid) = begin.envid.as_deref() {
            let _ = write!(text, "Original-Envelope-Id: {}\r\n", line(&decoded(envid)));
        }
        if begin.received.trusted {
            let _ = write!(text, "Arrival-Date: {}\r\n", rfc5322(begin.received.unix_ms));
        }
        for (recipient, said) in self.failed {
            text.push_str("\r\n");
            if let Some((kind, address)) = recipient.orcpt.as_deref().and_then(|orcpt| orcpt.split_once(';'))
            {
                let _ = write!(text, "Original-Recipient: {kind}; {}\r\n", line(&decoded(address)));
            }
            let (class, subject, detail) = said.enhanced.unwrap_or((5, 0, 0));
            let _ = write!(
                text,
                "Final-Recipient: rfc822; {}\r\nAction: failed\r\nStatus: {class}.{subject}.{detail}\r\n\
                 Remote-MTA: dns; {}\r\nDiagnostic-Code: smtp; {}\r\n",
                line(&recipient.address),
                self.server,
                line(&said.to_string()),
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
    use penstock_release::Phase;
    use penstock_spool::Stamp;

    #[test]
    fn a_report_says_who_did_not_get_what_and_what_the_server_said() {
        let gone = Recipient {
            address: "gone@example.org".into(),
            orcpt: Some("rfc822;Gone+2Baway@example.org".into()),
            ..Recipient::default()
        };
        let said = Said {
            code: 550,
            enhanced: Some((5, 1, 1)),
            words: "no such user\r\nBcc: x".into(),
            phase: Phase::Rcpt,
        };
        let begin = Begin {
            received: Stamp { unix_ms: 1_795_317_580_000, boot: 1, trusted: true },
            sender: "sender@example.net".into(),
            envid: Some("QQ+3D1".into()),
            ..Begin::default()
        };
        let header =
            Header::of("Subject: Gr\u{fc}\u{df}e\r\n folded\r\nFrom: x\r\n\r\nsecret text\r\n".into());
        let report = Report {
            hostname: "mx.example.org",
            postmaster: "postmaster@example.org",
            id: "d-7",
            boot: 3,
            unix_ms: 1_795_317_580_000,
            begin: &begin,
            header: &header,
            failed: &[(&gone, &said)],
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
    fn xtext_is_decoded_and_what_is_none_is_kept() {
        for (encoded, expected) in
            [("plain", "plain"), ("a+2Bb", "a+b"), ("+", "+"), ("a+ZZ", "a+ZZ"), ("+4", "+4")]
        {
            assert_eq!(decoded(encoded), expected);
        }
    }
}
