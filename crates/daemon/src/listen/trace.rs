//! The line that we put on top of a message: `Received:` (RFC 5321 §4.4).

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use crate::clock::rfc5322;

/// What the line says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'a> {
    /// What the client calls itself.
    pub(crate) helo: &'a str,
    pub(crate) client: SocketAddr,
    /// What its address is called, if that is known.
    pub(crate) client_name: Option<&'a str>,
    /// Our name.
    pub(crate) host_name: &'a str,
    pub(crate) protocol: Protocol,
    /// The recipient, if there is one only: several would tell each of the others.
    pub(crate) recipient: Option<&'a str>,
    pub(crate) unix_ms: u64,
}

/// How the message came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Protocol {
    /// The client said EHLO.
    pub(crate) extended: bool,
    /// It speaks TLS.
    pub(crate) tls: bool,
    /// It asked for SMTPUTF8.
    pub(crate) utf8: bool,
}

impl Protocol {
    /// The keyword for `with` (RFC 3848; RFC 6531 §4.3).
    const fn keyword(self) -> &'static str {
        match (self.extended, self.utf8, self.tls) {
            (false, ..) => "SMTP",
            (true, false, false) => "ESMTP",
            (true, false, true) => "ESMTPS",
            (true, true, false) => "UTF8SMTP",
            (true, true, true) => "UTF8SMTPS",
        }
    }
}

impl Received<'_> {
    /// What stands before the number of the message, and what behind it.
    pub(crate) fn write(&self) -> (String, String) {
        let mut before = String::with_capacity(192);
        let mut behind = String::with_capacity(96);
        // Writing to a String does not fail.
        let _ = write!(before, "Received: from {} (", self.helo);
        if let Some(name) = self.client_name {
            let _ = write!(before, "{name} ");
        }
        let _ = write!(before, "{})\r\n", Literal(self.client.ip()));
        let _ = write!(before, "\tby {} (Penstock) with {} id ", self.host_name, self.protocol.keyword());
        if let Some(recipient) = self.recipient {
            let _ = write!(behind, "\r\n\tfor <{recipient}>");
        }
        let _ = write!(behind, ";\r\n\t{}\r\n", rfc5322(self.unix_ms));
        (before, behind)
    }
}

/// An address as RFC 5321 §4.1.3 writes it: `[192.0.2.1]`, `[IPv6:2001:db8::1]`.
struct Literal(IpAddr);

impl std::fmt::Display for Literal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.to_canonical() {
            IpAddr::V4(v4) => write!(f, "[{v4}]"),
            IpAddr::V6(v6) => write!(f, "[IPv6:{v6}]"),
        }
    }
}

/// How often our own name stands behind `by` in the Received lines at the head of a message. `head` may end in the
/// middle of it.
pub(crate) fn times_passed(head: &[u8], host_name: &str) -> usize {
    let section_end = head.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(head.len());
    let mut words = head[..section_end].split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let mut times = 0;
    while words.by_ref().any(|word| word.eq_ignore_ascii_case(b"by")) {
        let name = words.next().unwrap_or_default();
        times += usize::from(name.eq_ignore_ascii_case(host_name.as_bytes()));
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(client: &str, recipient: Option<&str>) -> String {
        let client = SocketAddr::new(client.parse().unwrap(), 4711);
        let (helo, host_name) = ("client.example", "mx.example.org");
        let unix_ms = 1_795_317_580_000;
        let client_name = recipient.map(|_| "mail.client.example");
        let protocol = Protocol { extended: recipient.is_some(), ..Protocol::default() };
        let (before, behind) =
            Received { helo, client, client_name, host_name, protocol, recipient, unix_ms }.write();
        format!("{before}d-7{behind}")
    }

    #[test]
    fn the_line_names_client_protocol_and_a_single_recipient() {
        assert_eq!(
            received("::ffff:192.0.2.1", Some("someone@example.org")),
            "Received: from client.example (mail.client.example [192.0.2.1])\r\n\tby mx.example.org (Penstock) with ESMTP id d-7\r\n\
             \tfor <someone@example.org>;\r\n\tSun, 22 Nov 2026 03:19:40 +0000\r\n"
        );
        assert_eq!(
            received("2001:db8::1", None),
            "Received: from client.example ([IPv6:2001:db8::1])\r\n\tby mx.example.org (Penstock) with SMTP id d-7;\r\n\
             \tSun, 22 Nov 2026 03:19:40 +0000\r\n"
        );
    }

    #[test]
    fn the_protocol_has_the_keyword_that_is_registered_for_it() {
        let keyword = |extended, tls, utf8| Protocol { extended, tls, utf8 }.keyword();
        assert_eq!(keyword(false, true, false), "SMTP", "HELO has no TLS of its own");
        assert_eq!([keyword(true, false, false), keyword(true, true, false)], ["ESMTP", "ESMTPS"]);
        assert_eq!([keyword(true, false, true), keyword(true, true, true)], ["UTF8SMTP", "UTF8SMTPS"]);
    }

    #[test]
    fn our_own_name_is_counted_in_the_head_only() {
        let line = received("192.0.2.1", None);
        let head = format!("{line}{line}Subject: by mx.example.net\r\n\r\nby mx.example.org\r\n");
        assert_eq!(times_passed(head.as_bytes(), "MX.example.org"), 2);
    }
}
