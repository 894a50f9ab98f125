//! What one reply is, ours or a server's: code, enhanced status code, text.

use core::fmt::{self, Write};

use heapless::String;

use crate::bounds::{REPLY_LINE_BYTES_MAX, REPLY_TEXT_BYTES_MAX};
use crate::output::Output;

/// An enhanced status code (RFC 3463): `class.subject.detail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status {
    /// 2 success, 4 persistent transient failure, 5 permanent failure.
    pub class: u8,
    /// 0 to 999.
    pub subject: u16,
    /// 0 to 999.
    pub detail: u16,
}

impl Status {
    /// The status `class.subject.detail`.
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        Self { class, subject, detail }
    }

    /// Splits a status off the head of a reply's text, with the space after it.
    pub(crate) fn split_off(text: &[u8]) -> Option<(Self, &[u8])> {
        let word_len = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
        let (word, rest) = text.split_at_checked(word_len)?;
        let mut numbers = core::str::from_utf8(word).ok()?.split('.');
        let mut number = |digits_max: usize| {
            let digits = numbers.next()?;
            let valid =
                (1..=digits_max).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            if valid { digits.parse::<u16>().ok() } else { None }
        };
        let (class, subject, detail) = (number(1)?, number(3)?, number(3)?);
        let class = u8::try_from(class).ok().filter(|class| matches!(class, 2 | 4 | 5))?;
        if numbers.next().is_some() {
            return None;
        }
        Some((Self { class, subject, detail }, rest.strip_prefix(b" ").unwrap_or(rest)))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// One reply, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// 200 to 599.
    pub code: u16,
    /// The enhanced status code, where there is one.
    pub status: Option<Status>,
    /// What is said beyond the codes. Of a server's reply: the lines joined by one space, without the enhanced code,
    /// printable ASCII.
    pub text: &'a str,
}

impl<'a> Reply<'a> {
    /// The reply `code class.subject.detail text`.
    pub const fn new(code: u16, status: Status, text: &'a str) -> Self {
        Self { code, status: Some(status), text }
    }

    /// 2xx.
    pub const fn is_success(&self) -> bool {
        self.code / 100 == 2
    }

    /// 4xx: may be tried again.
    pub const fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5xx: not to be tried again as it is.
    pub const fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// Writes the reply as one line. Whatever is not printable ASCII becomes `?`, so that no text, a foreign server's
    /// included, can break the line; what exceeds [`REPLY_LINE_BYTES_MAX`] is cut off.
    ///
    /// RFC 2034 §4: the status is left out of 3xx, its class follows the code, and a reply without one gets `x.0.0`.
    pub(crate) fn write<const N: usize>(&self, output: &mut Output<N>) {
        let mut line = String::<REPLY_LINE_BYTES_MAX>::new();
        let class = u8::try_from(self.code / 100).unwrap_or_default();
        let head = if matches!(class, 2 | 4 | 5) {
            let status = self.status.unwrap_or(Status::new(class, 0, 0));
            write!(line, "{:03} {} ", self.code, Status { class, ..status })
        } else {
            write!(line, "{:03} ", self.code)
        };
        debug_assert!(head.is_ok(), "codes are short");
        push_printable(&mut line, self.text.bytes(), REPLY_LINE_BYTES_MAX - 2);
        output.push(line.as_bytes());
        output.push(b"\r\n");
    }
}

impl fmt::Display for Reply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "{} {status} {}", self.code, self.text),
            None => write!(f, "{} {}", self.code, self.text),
        }
    }
}

/// One reply, kept: for whoever has to hold a verdict beyond the session that it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyBuf {
    code: u16,
    status: Option<Status>,
    text: String<REPLY_TEXT_BYTES_MAX>,
}

impl ReplyBuf {
    pub(crate) const fn new() -> Self {
        Self { code: 0, status: None, text: String::new() }
    }

    /// The reply.
    pub fn as_reply(&self) -> Reply<'_> {
        Reply { code: self.code, status: self.status, text: &self.text }
    }

    /// Starts over.
    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }

    /// Adds one line of a server's reply: its code, and its text as it came. The last line's code counts, and the
    /// first enhanced code whose class fits it.
    pub(crate) fn push_line(&mut self, code: u16, text: &[u8]) {
        self.code = code;
        let split = Status::split_off(text).filter(|(status, _)| u16::from(status.class) == code / 100);
        let text = match split {
            Some((status, rest)) => {
                self.status.get_or_insert(status);
                rest
            }
            None => text,
        };
        if !self.text.is_empty() && !text.is_empty() {
            push_printable(&mut self.text, " ".bytes(), REPLY_TEXT_BYTES_MAX);
        }
        push_printable(&mut self.text, text.iter().copied(), REPLY_TEXT_BYTES_MAX);
    }
}

impl From<Reply<'_>> for ReplyBuf {
    fn from(reply: Reply<'_>) -> Self {
        let mut kept = Self { code: reply.code, status: reply.status, text: String::new() };
        push_printable(&mut kept.text, reply.text.bytes(), REPLY_TEXT_BYTES_MAX);
        kept
    }
}

/// Adds what fits below `len_max`, itself at most `N`, with `?` for whatever is not printable ASCII.
pub(crate) fn push_printable<const N: usize>(
    into: &mut String<N>,
    bytes: impl Iterator<Item = u8>,
    len_max: usize,
) {
    let room = len_max.saturating_sub(into.len());
    for byte in bytes.take(room) {
        let printable = if matches!(byte, b' '..=b'~') { char::from(byte) } else { '?' };
        let fits = into.push(printable).is_ok();
        debug_assert!(fits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(reply: Reply<'_>) -> std::string::String {
        let mut output = Output::<1024>::new();
        reply.write(&mut output);
        std::string::String::from_utf8(output.pending().to_vec()).unwrap()
    }

    #[test]
    fn a_reply_is_one_line_whatever_its_text_says() {
        let reply = Reply::new(550, Status::new(5, 7, 1), "no\r\n250 2.0.0 ok\u{e9}");
        assert_eq!(written(reply), "550 5.7.1 no??250 2.0.0 ok??\r\n");
        let long = std::string::String::from_utf8(std::vec![b'x'; 600]).unwrap();
        let line = written(Reply { code: 451, status: None, text: &long });
        assert_eq!(line.len(), REPLY_LINE_BYTES_MAX);
        assert!(line.starts_with("451 4.0.0 xxx") && line.ends_with("x\r\n"));
    }

    #[test]
    fn the_class_of_the_status_follows_the_code_and_354_has_none() {
        assert_eq!(written(Reply::new(450, Status::new(5, 1, 1), "later")), "450 4.1.1 later\r\n");
        assert_eq!(written(Reply { code: 354, status: None, text: "go" }), "354 go\r\n");
    }

    #[test]
    fn a_status_is_taken_from_the_text_only_where_it_is_one() {
        assert_eq!(
            Status::split_off(b"5.1.10 no such user"),
            Some((Status::new(5, 1, 10), &b"no such user"[..]))
        );
        assert_eq!(Status::split_off(b"2.0.0"), Some((Status::new(2, 0, 0), &b""[..])));
        for text in ["3.0.0 x", "5.1 x", "5.1.1.1 x", "5.1.1000 x", "5.+1.1 x", "5..1 x", "hello", ""] {
            assert_eq!(Status::split_off(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_lines_of_a_reply_are_joined_and_bounded() {
        let mut kept = ReplyBuf::new();
        kept.push_line(550, b"5.7.54 Unable to relay");
        kept.push_line(550, b"5.7.54 recipient\x00 in non-accepted domain");
        assert_eq!(
            kept.as_reply(),
            Reply::new(550, Status::new(5, 7, 54), "Unable to relay recipient? in non-accepted domain")
        );
        for _ in 0..100 {
            kept.push_line(550, &[b'x'; 100]);
        }
        assert_eq!(kept.as_reply().text.len(), REPLY_TEXT_BYTES_MAX);
    }
}
