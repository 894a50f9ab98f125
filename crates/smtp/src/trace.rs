//! The line that a server puts on top of a message, `Received:` (RFC 5321 §4.4), and how often it did so before.

use core::fmt::{self, Display, Write};
use core::net::IpAddr;

/// What the line says.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// What the client calls itself.
    pub helo: &'a str,
    /// The client's address.
    pub client: IpAddr,
    /// What that address is called, if it is known.
    pub client_name: Option<&'a str>,
    /// Our name.
    pub host_name: &'a str,
    /// What we are, as a comment behind our name.
    pub software: &'a str,
    /// How the message came.
    pub protocol: Protocol,
    /// The recipient, if there is one only: several would tell each of the others.
    pub recipient: Option<&'a str>,
    /// When, in Unix milliseconds.
    pub unix_ms: u64,
    /// Whether that is known to be right. Where it is not, a comment behind the date says so.
    pub is_time_trusted: bool,
}

/// How a message came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Protocol {
    /// The client said EHLO.
    pub extended: bool,
    /// It speaks TLS.
    pub tls: bool,
    /// It asked for SMTPUTF8.
    pub utf8: bool,
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
    /// Writes the line, CR LF included, with the name of the message in it.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write(&self, out: &mut impl Write, id: impl Display) -> fmt::Result {
        self.write_before_id(out)?;
        write!(out, "{id}")?;
        self.write_behind_id(out)
    }

    /// Writes what stands before the name of the message, for whoever knows that later.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_before_id(&self, out: &mut impl Write) -> fmt::Result {
        write!(out, "Received: from {} (", self.helo)?;
        if let Some(name) = self.client_name {
            write!(out, "{name} ")?;
        }
        write!(out, "{})\r\n", Literal(self.client))?;
        write!(out, "\tby {} ({}) with {} id ", self.host_name, self.software, self.protocol.keyword())
    }

    /// Writes what stands behind it.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_behind_id(&self, out: &mut impl Write) -> fmt::Result {
        if let Some(recipient) = self.recipient {
            write!(out, "\r\n\tfor <{recipient}>")?;
        }
        let comment = if self.is_time_trusted { "" } else { " (clock not trusted)" };
        write!(out, ";\r\n\t{}{comment}\r\n", Date(self.unix_ms))
    }
}

/// An address as RFC 5321 §4.1.3 writes it: `[192.0.2.1]`, `[IPv6:2001:db8::1]`.
struct Literal(IpAddr);

impl Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.to_canonical() {
            IpAddr::V4(v4) => write!(f, "[{v4}]"),
            IpAddr::V6(v6) => write!(f, "[IPv6:{v6}]"),
        }
    }
}

/// A moment in Unix milliseconds as RFC 5322 §3.3 writes it, in UTC: `Sun, 22 Nov 2026 03:19:40 +0000`.
#[derive(Clone, Copy, Debug)]
pub struct Date(pub u64);

impl Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let seconds = self.0 / 1000;
        let (days, of_day) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = civil_from_days(days);
        let weekday = DAYS[(days % 7) as usize];
        let month = MONTHS[(month - 1) as usize];
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        write!(f, "{weekday}, {day} {month} {year} {hour:02}:{minute:02}:{second:02} +0000")
    }
}

/// Year, month (1–12) and day (1–31) of a day counted from 1970-01-01. The algorithm of Howard Hinnant,
/// "chrono-compatible low-level date algorithms": years begin in March, so that the leap day comes last.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// How often our own name stands behind `by` in the Received lines at the head of a message: as often it has passed
/// here. `head` may end in the middle of it.
pub fn times_passed(head: &[u8], host_name: &str) -> usize {
    let section_end = head.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(head.len());
    let head = head.get(..section_end).unwrap_or(head);
    let mut words = head.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let mut times = 0;
    while words.by_ref().any(|word| word.eq_ignore_ascii_case(b"by")) {
        let name = words.next().unwrap_or_default();
        times += usize::from(name.eq_ignore_ascii_case(host_name.as_bytes()));
    }
    times
}

#[cfg(test)]
mod tests {
    use std::string::{String, ToString};

    use super::*;

    fn received(client: &str, recipient: Option<&str>, is_time_trusted: bool) -> String {
        let mut line = String::new();
        let received = Received {
            helo: "client.example",
            client: client.parse().unwrap(),
            client_name: recipient.map(|_| "mail.client.example"),
            host_name: "mx.example.org",
            software: "Penstock",
            protocol: Protocol { extended: recipient.is_some(), ..Protocol::default() },
            recipient,
            unix_ms: 1_795_317_580_000,
            is_time_trusted,
        };
        received.write(&mut line, "d-7").unwrap();
        line
    }

    #[test]
    fn the_line_names_client_protocol_and_a_single_recipient() {
        assert_eq!(
            received("::ffff:192.0.2.1", Some("someone@example.org"), true),
            "Received: from client.example (mail.client.example [192.0.2.1])\r\n\tby mx.example.org (Penstock) with ESMTP id d-7\r\n\
             \tfor <someone@example.org>;\r\n\tSun, 22 Nov 2026 03:19:40 +0000\r\n"
        );
        assert_eq!(
            received("2001:db8::1", None, false),
            "Received: from client.example ([IPv6:2001:db8::1])\r\n\tby mx.example.org (Penstock) with SMTP id d-7;\r\n\
             \tSun, 22 Nov 2026 03:19:40 +0000 (clock not trusted)\r\n"
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
        let line = received("192.0.2.1", None, true);
        let head = std::format!("{line}{line}Subject: by mx.example.net\r\n\r\nby mx.example.org\r\n");
        assert_eq!(times_passed(head.as_bytes(), "MX.example.org"), 2);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_s, date) in [
            (0, "Thu, 1 Jan 1970 00:00:00 +0000"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (1_795_317_580, "Sun, 22 Nov 2026 03:19:40 +0000"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 +0000"),
            (4_107_542_400, "Mon, 1 Mar 2100 00:00:00 +0000"),
        ] {
            assert_eq!(Date(unix_s * 1000).to_string(), date);
        }
    }
}
