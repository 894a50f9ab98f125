//! Counts the Received fields of a message as it passes, so that a mail loop can be seen (RFC 5321 §6.3).

use memchr::memchr;

/// The name that is counted, in lower case.
const NAME: &[u8] = b"received";

/// Reads the header section of a message in pieces of any size, and nothing of what follows it.
#[derive(Debug)]
pub(crate) struct ReceivedCounter {
    lines: u32,
    at: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// At the start of a line, after `n` bytes of [`NAME`].
    Name(usize),
    /// After the whole name: blanks, then the colon, if it is one.
    Colon,
    /// At the start of a line, after a CR: a LF makes it the empty line that ends the section.
    EmptyLine,
    /// In a line that is of no interest any more.
    Rest,
    /// Past the header section.
    Body,
}

impl ReceivedCounter {
    pub(crate) const fn new() -> Self {
        Self { lines: 0, at: Place::Name(0) }
    }

    /// How many fields were counted.
    pub(crate) const fn lines(&self) -> u32 {
        self.lines
    }

    /// Reads the next piece of the message, not dot-stuffed.
    pub(crate) fn read(&mut self, mut text: &[u8]) {
        while self.at != Place::Body {
            if self.at == Place::Rest {
                let Some(lf) = memchr(b'\n', text) else { return };
                text = text.get(lf + 1..).unwrap_or_default();
                self.at = Place::Name(0);
            }
            let Some((&byte, rest)) = text.split_first() else { return };
            self.at = match (self.at, byte) {
                (Place::Name(0), b'\r') => Place::EmptyLine,
                (Place::Name(0) | Place::EmptyLine, b'\n') => Place::Body,
                (Place::Name(n), _) if NAME.get(n) == Some(&byte.to_ascii_lowercase()) => match n + 1 {
                    n if n == NAME.len() => Place::Colon,
                    n => Place::Name(n),
                },
                (Place::Colon, b' ' | b'\t') => Place::Colon,
                (Place::Colon, b':') => {
                    self.lines = self.lines.saturating_add(1);
                    Place::Rest
                }
                // Not consumed: it may be the LF that ends the line.
                _ => {
                    self.at = Place::Rest;
                    continue;
                }
            };
            text = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_fields_are_counted_in_the_header_section_only() {
        for (text, lines) in [
            (&b"Received: a\r\nRECEIVED:b\r\nreceived \t: c\r\n\treceived: d\r\nSubject: x\r\n\r\nReceived: e\r\n"[..], 3),
            (b"X-Received: a\r\nReceived-SPF: b\r\nReceive\r\nd: c\r\nReceived\r\n: d\r\n", 0),
            (b"\r\nReceived: a\r\n", 0),
            (b"Subject: x\nReceived: a\n\nReceived: b", 1),
            (b"", 0),
        ] {
            for piece_len in 1..=text.len().max(1) {
                let mut counter = ReceivedCounter::new();
                text.chunks(piece_len).for_each(|piece| counter.read(piece));
                assert_eq!(counter.lines(), lines, "{} in pieces of {piece_len}", text.escape_ascii());
            }
        }
    }
}
