//! Takes out of a message what it says about itself in our name: `Authentication-Results` fields whose identifier is our host
//! name (RFC 8601 §5). Whoever reads the message behind us believes such a field, so none may come in from outside.
//!
//! Nothing else is changed. The filter reads the header section in pieces of any size and gives on slices of its input; only
//! while it is not known whose a field is are its bytes held back.

use heapless::Vec;
use memchr::memchr;

use crate::host_name::HostName;

/// The name of the field, in lower case.
const NAME: &[u8] = b"authentication-results";
/// The most that is held back of a field, in bytes. RFC 5322 §2.1.1 ends a line sooner; a field that does not say within this
/// from whom it is hides something, and goes.
const HELD_BYTES_MAX: usize = 1000;

/// Filters one message.
#[derive(Debug)]
pub struct ResultsFilter {
    host_name: HostName,
    at: Place,
    held: Vec<u8, HELD_BYTES_MAX>,
    /// Whether `held` was given on and is to be forgotten.
    given: bool,
    removed: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// At the start of a line of the header section that is no continuation of a removed field.
    LineStart,
    /// Within the name, of which `n` bytes came.
    Name(usize),
    /// Behind the whole name: blanks, then the colon, if it is one.
    Colon,
    /// Behind the colon.
    Identifier(Identifier),
    /// In a line that stays.
    Stays,
    /// At the start of a line, behind a CR: a LF makes it the empty line that ends the section.
    EmptyLine,
    /// In a line that goes.
    Goes,
    /// At the start of a line behind one that goes: it goes, too, if it continues the field.
    GoesOn,
    /// Past the header section.
    Body,
}

/// What was read of the identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identifier {
    part: Part,
    /// How many of its bytes came, and whether all of them were those of our name.
    len: usize,
    ours: bool,
    /// Behind a line end: a blank continues the field, anything else ends it.
    line_start: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Before it, or in the blanks and line ends around a comment.
    Before,
    /// In so many comments, perhaps behind a backslash.
    Comment { depth: u16, escaped: bool },
    /// In it, as a word.
    Word,
    /// In it, in quotes, perhaps behind a backslash.
    Quoted { escaped: bool },
}

/// What a byte did to the reading of an identifier.
enum Read {
    More(Identifier),
    /// It ends before this byte, or there is none.
    End(Identifier),
}

impl Identifier {
    const NEW: Self = Self { part: Part::Before, len: 0, ours: true, line_start: false };

    fn read(mut self, byte: u8, host_name: &[u8]) -> Read {
        if self.line_start && !matches!(byte, b' ' | b'\t') {
            return Read::End(self);
        }
        self.line_start = byte == b'\n';
        self.part = match (self.part, byte) {
            (Part::Before, b' ' | b'\t' | b'\r' | b'\n') => Part::Before,
            (Part::Before, b'(') => Part::Comment { depth: 1, escaped: false },
            (Part::Before, b'"') => Part::Quoted { escaped: false },
            (Part::Comment { depth, escaped: true }, _) => Part::Comment { depth, escaped: false },
            (Part::Comment { depth, .. }, b'\\') => Part::Comment { depth, escaped: true },
            (Part::Comment { depth, .. }, b'(') => {
                Part::Comment { depth: depth.saturating_add(1), escaped: false }
            }
            (Part::Comment { depth: 1, .. }, b')') => Part::Before,
            (Part::Comment { depth, .. }, b')') => Part::Comment { depth: depth - 1, escaped: false },
            (comment @ Part::Comment { .. }, _) => comment,
            (Part::Quoted { escaped: false }, b'\\') => Part::Quoted { escaped: true },
            (Part::Quoted { escaped: false }, b'"') => return Read::End(self),
            (Part::Quoted { .. }, b'\r' | b'\n') => Part::Quoted { escaped: false },
            (Part::Quoted { .. }, byte) => {
                self.push(byte, host_name);
                Part::Quoted { escaped: false }
            }
            (Part::Before | Part::Word, byte) if is_of_word(byte) => {
                self.push(byte, host_name);
                Part::Word
            }
            _ => return Read::End(self),
        };
        Read::More(self)
    }

    fn push(&mut self, byte: u8, host_name: &[u8]) {
        let same = match host_name.get(self.len) {
            Some(expected) => expected.eq_ignore_ascii_case(&byte),
            // The dot of the root.
            None => byte == b'.' && self.len == host_name.len(),
        };
        self.ours &= same;
        self.len = self.len.saturating_add(1);
    }

    const fn is_ours(&self, host_name: &[u8]) -> bool {
        self.ours && self.len >= host_name.len()
    }
}

/// Whether a byte may stand in a token (RFC 2045 §5.1).
fn is_of_word(byte: u8) -> bool {
    byte > b' ' && byte != 0x7F && !b"()<>@,;:\\\"/[]?=".contains(&byte)
}

/// What of the input, or of what was held back, is given on.
enum Given {
    Held,
    /// So many bytes of the input.
    Input(usize),
}

impl ResultsFilter {
    /// For a message on its way through `host_name`.
    pub const fn new(host_name: HostName) -> Self {
        Self { host_name, at: Place::LineStart, held: Vec::new(), given: false, removed: 0 }
    }

    /// How many fields were taken out so far.
    pub const fn removed(&self) -> u32 {
        self.removed
    }

    /// Consumes from `input` up to the next bytes that stay, and gives those. `None`: the input is used up.
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Option<&'a [u8]> {
        match self.step(input)? {
            Given::Held => Some(self.give_held()),
            Given::Input(len) => {
                let (given, rest) = input.split_at_checked(len).unwrap_or((input, &[]));
                *input = rest;
                Some(given)
            }
        }
    }

    /// The end of the message: what was held back and stays.
    pub fn end(&mut self) -> &[u8] {
        self.forget_given();
        if let Place::Identifier(identifier) = self.at {
            self.decide(identifier);
        }
        self.at = Place::Body;
        self.give_held()
    }

    fn give_held(&mut self) -> &[u8] {
        self.given = true;
        &self.held
    }

    fn forget_given(&mut self) {
        if core::mem::replace(&mut self.given, false) {
            self.held.clear();
        }
    }

    fn step(&mut self, input: &mut &[u8]) -> Option<Given> {
        self.forget_given();
        loop {
            let (&byte, rest) = input.split_first()?;
            match self.at {
                Place::Body => return Some(Given::Input(input.len())),
                Place::Stays => {
                    let lf = memchr(b'\n', input);
                    if lf.is_some() {
                        self.at = Place::LineStart;
                    }
                    return Some(Given::Input(lf.map_or(input.len(), |lf| lf + 1)));
                }
                Place::LineStart => match byte {
                    b'\r' => {
                        self.at = Place::EmptyLine;
                        return Some(Given::Input(1));
                    }
                    b'\n' => self.at = Place::Body,
                    _ => self.at = Place::Name(0),
                },
                Place::EmptyLine => self.at = if byte == b'\n' { Place::Body } else { Place::Stays },
                Place::Name(n) if NAME.get(n) == Some(&byte.to_ascii_lowercase()) => {
                    self.hold(byte);
                    *input = rest;
                    self.at = if n + 1 == NAME.len() { Place::Colon } else { Place::Name(n + 1) };
                }
                Place::Colon if matches!(byte, b' ' | b'\t' | b':') => {
                    self.hold(byte);
                    *input = rest;
                    if byte == b':' && self.at == Place::Colon {
                        self.at = Place::Identifier(Identifier::NEW);
                    }
                }
                Place::Name(_) | Place::Colon => {
                    self.at = Place::Stays;
                    if !self.held.is_empty() {
                        return Some(Given::Held);
                    }
                }
                Place::Identifier(identifier) => {
                    match identifier.read(byte, self.host_name.as_str().as_bytes()) {
                        Read::More(identifier) => {
                            self.at = Place::Identifier(identifier);
                            self.hold(byte);
                            *input = rest;
                        }
                        Read::End(identifier) => {
                            self.decide(identifier);
                            if !self.held.is_empty() {
                                return Some(Given::Held);
                            }
                        }
                    }
                }
                Place::Goes => {
                    let len = memchr(b'\n', input).map(|lf| lf + 1);
                    if len.is_some() {
                        self.at = Place::GoesOn;
                    }
                    *input = len.and_then(|len| input.get(len..)).unwrap_or_default();
                }
                Place::GoesOn => {
                    self.at = if matches!(byte, b' ' | b'\t') { Place::Goes } else { Place::LineStart };
                }
            }
        }
    }

    /// Holds a byte back. Where there is no room left the field goes.
    fn hold(&mut self, byte: u8) {
        if self.held.push(byte).is_err() {
            self.remove();
            if byte == b'\n' {
                self.at = Place::GoesOn;
            }
        }
    }

    /// The identifier has ended, or the field has.
    fn decide(&mut self, identifier: Identifier) {
        if identifier.is_ours(self.host_name.as_str().as_bytes()) {
            self.remove();
            if identifier.line_start {
                self.at = Place::LineStart;
            }
        } else {
            self.at = if identifier.line_start { Place::LineStart } else { Place::Stays };
        }
    }

    fn remove(&mut self) {
        self.held.clear();
        self.removed = self.removed.saturating_add(1);
        self.at = Place::Goes;
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::{String, ToString};
    use std::vec::Vec;

    use super::*;

    fn filtered(message: &[u8], piece_len: usize) -> (Vec<u8>, u32) {
        let mut filter = ResultsFilter::new(HostName::parse("mx.example.org").unwrap());
        let mut out = Vec::new();
        for piece in message.chunks(piece_len) {
            let mut piece = piece;
            while let Some(given) = filter.next(&mut piece) {
                assert!(!given.is_empty());
                out.extend_from_slice(given);
            }
        }
        out.extend_from_slice(filter.end());
        (out, filter.removed())
    }

    fn assert_filtered(message: &str, left: &str, removed: u32) {
        for piece_len in 1..=message.len() {
            let (out, count) = filtered(message.as_bytes(), piece_len);
            assert_eq!(String::from_utf8(out).unwrap(), left, "{message:?} in pieces of {piece_len}");
            assert_eq!(count, removed, "{message:?} in pieces of {piece_len}");
        }
    }

    #[test]
    fn what_claims_to_be_from_us_goes_however_it_is_written() {
        for forged in [
            "Authentication-Results: mx.example.org; spf=pass\r\n",
            "AUTHENTICATION-results : MX.Example.ORG 1; spf=pass\r\n\tsmtp.mailfrom=a.example;\r\n dkim=pass\r\n",
            "Authentication-Results:mx.example.org\r\n",
            "Authentication-Results:\r\n\t mx.example.org;\r\n none\r\n",
            "Authentication-Results: (a (nested \\) one)) \r\n (another) mx.example.org; none\r\n",
            "Authentication-Results: \"mx.exa\\mple.org\"; none\r\n",
            "Authentication-Results: mx.example.org.; none\r\n",
            "Authentication-Results: mx.example.org/1; none\r\n",
            "Authentication-Results: mx.example.org(comment); none\r\n",
        ] {
            for (before, behind) in [
                ("", ""),
                ("", "\r\nbody\r\n"),
                (
                    "Received: from a\r\n\tby b\r\n",
                    "Subject: c\r\n\r\nAuthentication-Results: mx.example.org; x\r\n",
                ),
            ] {
                assert_filtered(&format!("{before}{forged}{behind}"), &format!("{before}{behind}"), 1);
                assert_filtered(
                    &format!("{before}{forged}{forged}{behind}"),
                    &format!("{before}{behind}"),
                    2,
                );
            }
        }
    }

    #[test]
    fn everything_else_stays() {
        for message in [
            "Authentication-Results: mx.example.org.evil.example; spf=pass\r\nA: b\r\n\r\n",
            "Authentication-Results: mx.example; spf=pass\r\n\tmx.example.org\r\n\r\n",
            "Authentication-Results: other.example (mx.example.org); spf=pass\r\n\r\n",
            "Authentication-Results: \"mx.example\" .org; spf=pass\r\n\r\n",
            "Authentication-Results:\r\nmx.example.org; x\r\n\r\n",
            "Authentication-Results: \r\n\r\nmx.example.org; x\r\n",
            "Authentication-Results: ; mx.example.org\r\n\r\n",
            "Authentication-Results: (open\r\nSubject: mx.example.org)\r\n\r\n",
            "Authentication-Results: \"open\r\nSubject: mx.example.org\r\n\r\n",
            "Authentication-Results-X: mx.example.org; x\r\n\r\n",
            "X-Authentication-Results: mx.example.org; x\r\n\r\n",
            "ARC-Authentication-Results: i=1; mx.example.org; x\r\n\r\n",
            "Subject: a\r\n Authentication-Results: mx.example.org; x\r\n\r\n",
            "\r\nAuthentication-Results: mx.example.org; x\r\n",
            "Authentication-Result",
            "Authentication-Results",
            "Authentication-Results: mx.example.",
            "no header at all",
            "\r",
            "\r\n",
        ] {
            assert_filtered(message, message, 0);
        }
    }

    #[test]
    fn a_field_that_does_not_say_from_whom_it_is_goes_and_holds_nothing_beyond_its_bound() {
        let hides = format!("Authentication-Results: ({}) other.example; x\r\n", "x".repeat(HELD_BYTES_MAX));
        let (out, removed) = filtered(format!("{hides}A: b\r\n\r\n").as_bytes(), 7);
        assert_eq!((String::from_utf8(out).unwrap().as_str(), removed), ("A: b\r\n\r\n", 1));
        let plain = format!("Authentication-Results: other.example; {}\r\n\r\n", "x".repeat(5000));
        assert_eq!(filtered(plain.as_bytes(), 7), (plain.to_string().into_bytes(), 0));
    }
}
