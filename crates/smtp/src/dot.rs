//! Where a message ends: dot-stuffing and its undoing (RFC 5321 §4.5.2).
//!
//! Only CR LF counts as a line ending, here and there. A line that is a dot between bare newlines is text like any
//! other: a server that takes it for an end lets its users smuggle messages, and so does a relay that lets it through to one.
//! Where bare newlines are normalised each becomes CR LF, after the end of the message was looked for and the dots were seen to:
//! what was text stays text, and on the way out its dots are stuffed.

use memchr::{memchr2, memmem};

use crate::output::Output;

/// Finds the end of a message in what follows DATA, and undoes the dot-stuffing on the way.
#[derive(Debug)]
pub(crate) struct Unstuffer {
    at: Place,
    normalise: bool,
    bare_newlines: bool,
}

/// Where in a line we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// After CR LF, or at the very beginning.
    LineStart,
    /// After a dot at the start of a line, not yet passed on.
    Dot,
    /// After a CR after that dot, neither passed on.
    DotCr,
    /// Within a line.
    Text,
    /// After a CR that was passed on.
    Cr,
}

/// What the input gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unstuffed<'a> {
    /// The input is used up.
    Incomplete,
    /// The next bytes of the message, at least one.
    Text(&'a [u8]),
    /// The message has ended; nothing beyond its end was consumed.
    End,
}

impl Unstuffer {
    /// At the beginning of a message. `normalise` says whether each bare newline becomes CR LF.
    pub(crate) const fn new(normalise: bool) -> Self {
        Self { at: Place::LineStart, normalise, bare_newlines: false }
    }

    /// Whether a CR without LF, or a LF without CR, was seen so far.
    pub(crate) const fn has_bare_newlines(&self) -> bool {
        self.bare_newlines
    }

    /// Consumes from `input` up to the next stuffed dot or the end of the message. Text is handed on as a slice of
    /// the input, not copied, and in as large pieces as the input allows.
    pub(crate) fn next<'i>(&mut self, input: &mut &'i [u8]) -> Unstuffed<'i> {
        loop {
            let Some((&byte, rest)) = input.split_first() else {
                return Unstuffed::Incomplete;
            };
            match (self.at, byte) {
                (Place::LineStart, b'.') => self.at = Place::Dot,
                (Place::Dot, b'\r') => self.at = Place::DotCr,
                (Place::DotCr, b'\n') => {
                    *input = rest;
                    self.at = Place::LineStart;
                    return Unstuffed::End;
                }
                (Place::DotCr, _) => {
                    // The dot was stuffed, and the CR was text: it is owed, and may no longer be in the input.
                    self.bare_newlines = true;
                    self.at = Place::Text;
                    return Unstuffed::Text(if self.normalise { b"\r\n" } else { b"\r" });
                }
                (Place::Cr, other) if self.normalise && other != b'\n' => {
                    self.bare_newlines = true;
                    self.at = Place::Text;
                    return Unstuffed::Text(b"\n");
                }
                (Place::LineStart | Place::Dot | Place::Text, b'\n') if self.normalise => {
                    *input = rest;
                    self.bare_newlines = true;
                    self.at = Place::Text;
                    return Unstuffed::Text(b"\r\n");
                }
                (Place::LineStart | Place::Dot | Place::Text | Place::Cr, _) => {
                    let len = self.text_len(input);
                    let (text, rest) = input.split_at_checked(len).unwrap_or((input, &[]));
                    *input = rest;
                    return Unstuffed::Text(text);
                }
            }
            *input = rest;
        }
    }

    /// How many bytes of `input` are text that needs no change: up to a dot at the start of a line, or all.
    fn text_len(&mut self, input: &[u8]) -> usize {
        let after_cr = self.at == Place::Cr;
        self.at = Place::Text;
        let mut at = 0;
        if after_cr && input.first() == Some(&b'\n') {
            at = 1;
            if matches!(input.get(at), None | Some(b'.')) {
                self.at = Place::LineStart;
                return at;
            }
        } else if after_cr {
            self.bare_newlines = true;
        }
        while let Some(found) = input.get(at..).and_then(|rest| memchr2(b'\r', b'\n', rest)) {
            let newline = at + found;
            at = newline + 1;
            if input.get(newline) == Some(&b'\n') {
                if self.normalise {
                    return newline;
                }
                self.bare_newlines = true;
                continue;
            }
            match input.get(at) {
                None => {
                    self.at = Place::Cr;
                    return at;
                }
                Some(b'\n') => at += 1,
                Some(_) if self.normalise => {
                    self.at = Place::Cr;
                    return at;
                }
                Some(_) => {
                    self.bare_newlines = true;
                    continue;
                }
            }
            if matches!(input.get(at), None | Some(b'.')) {
                self.at = Place::LineStart;
                return at;
            }
        }
        input.len()
    }
}

/// Doubles the dots at the start of lines, and ends the message.
#[derive(Debug)]
pub(crate) struct Stuffer {
    at: Place,
}

impl Stuffer {
    /// The longest ending that [`end`](Self::end) gives, in bytes.
    pub(crate) const END_BYTES_MAX: usize = 5;

    /// At the beginning of a message.
    pub(crate) const fn new() -> Self {
        Self { at: Place::LineStart }
    }

    /// Stuffs as much of `text` into `output` as there is room for, and says how much that was.
    pub(crate) fn push<const N: usize>(&mut self, text: &[u8], output: &mut Output<N>) -> usize {
        let mut rest = text;
        while let Some(&first) = rest.first() {
            if self.at == Place::LineStart && first == b'.' {
                if output.room() < 2 {
                    break;
                }
                output.push(b"..");
                self.at = Place::Text;
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            // No more is looked at than there is room for, or a large message would be searched again and again.
            let window = rest.get(..output.room()).unwrap_or(rest);
            if window.is_empty() {
                break;
            }
            let run = window.get(..self.run_len(window)).unwrap_or(window);
            output.push(run);
            self.at = match run {
                [b'\n'] if self.at == Place::Cr => Place::LineStart,
                [.., b'\r', b'\n'] => Place::LineStart,
                [.., b'\r'] => Place::Cr,
                _ => Place::Text,
            };
            rest = rest.get(run.len()..).unwrap_or_default();
        }
        text.len() - rest.len()
    }

    /// How many bytes at the head of `text`, which does not begin with a dot to be doubled, need no change: none beyond
    /// the CR LF before the next dot at the start of a line.
    fn run_len(&self, text: &[u8]) -> usize {
        if self.at == Place::Cr && text.starts_with(b"\n.") {
            return 1;
        }
        memmem::find(text, b"\r\n.").map_or(text.len(), |found| found + 2)
    }

    /// What ends the message: the line with the dot, after a CR LF if the message did not end in one.
    pub(crate) const fn end(&self) -> &'static [u8] {
        match self.at {
            Place::LineStart => b".\r\n",
            _ => b"\r\n.\r\n",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// What came out of `input`, cut into pieces: the text, whether there were bare newlines, and what is left of the
    /// input behind the end of the message (`None`: it has not ended).
    fn unstuff(input: &[u8], piece_len: usize) -> (Vec<u8>, bool, Option<usize>) {
        unstuff_with(Unstuffer::new(false), input, piece_len)
    }

    fn unstuff_with(
        mut unstuffer: Unstuffer,
        input: &[u8],
        piece_len: usize,
    ) -> (Vec<u8>, bool, Option<usize>) {
        let mut text = Vec::new();
        let mut left = input.len();
        for piece in input.chunks(piece_len) {
            left -= piece.len();
            let mut piece = piece;
            loop {
                match unstuffer.next(&mut piece) {
                    Unstuffed::Incomplete => break,
                    Unstuffed::Text(bytes) => text.extend_from_slice(bytes),
                    Unstuffed::End => return (text, unstuffer.has_bare_newlines(), Some(left + piece.len())),
                }
            }
        }
        (text, unstuffer.has_bare_newlines(), None)
    }

    fn assert_unstuffed(input: &[u8], text: &[u8], bare_newlines: bool, left: Option<usize>) {
        for piece_len in 1..=input.len() {
            let (came, bare, end) = unstuff(input, piece_len);
            assert_eq!(
                (came.escape_ascii().to_string(), bare, end),
                (text.escape_ascii().to_string(), bare_newlines, left),
                "{} in pieces of {piece_len}",
                input.escape_ascii()
            );
        }
    }

    use std::string::ToString;

    #[test]
    fn a_message_ends_with_a_dot_between_two_cr_lf_and_at_no_other_place() {
        assert_unstuffed(b".\r\nQUIT", b"", false, Some(4));
        assert_unstuffed(b"a\r\n.\r\n", b"a\r\n", false, Some(0));
        assert_unstuffed(b"..\r\n...\r\n.a\r\n.\r\nx", b".\r\n..\r\na\r\n", false, Some(1));
        for no_end in [
            "\n.\n",
            "\r.\r",
            "\n.\r\n",
            "\r\n.\n",
            "\r\n.\r",
            "\r\n.\rx",
            "\r.\r\n",
            "\r\r.\r\n",
            "\n\r.\r\n",
            "\r\n.\r.\r\n",
            "\r\n.\r\r\n",
            "\r\n.\0\r\n",
            "\r\n. \r\n",
        ] {
            for input in [std::format!("a{no_end}"), no_end.to_string()] {
                let (_, _, end) = unstuff(input.as_bytes(), usize::MAX);
                assert_eq!(end, None, "{no_end:?}");
            }
            let input = std::format!("a{no_end}b\r\n.\r\n");
            let (_, bare, end) = unstuff(input.as_bytes(), usize::MAX);
            assert_eq!(
                (bare, end),
                (!no_end.ends_with("\0\r\n") && !no_end.ends_with(" \r\n"), Some(0)),
                "{no_end:?}"
            );
        }
    }

    #[test]
    fn bare_newlines_are_kept_byte_for_byte() {
        assert_unstuffed(b"a\nb\rc\r\n.\rd\r\n.\ne\r\n.\r\n", b"a\nb\rc\r\n\rd\r\n\ne\r\n", true, Some(0));
        assert_unstuffed(b"\n.\n\r.\r\r\n.\r\n", b"\n.\n\r.\r\r\n", true, Some(0));
        assert_unstuffed(b"a\rb\r\n.\r\n", b"a\rb\r\n", true, Some(0));
        assert_unstuffed(b"a\r\r\n.\r\n", b"a\r\r\n", true, Some(0));
        assert_unstuffed(b"a\0b\r\n.\r\n", b"a\0b\r\n", false, Some(0));
    }

    #[test]
    fn normalised_newlines_change_nothing_else() {
        for (input, text, bare) in [
            (&b"a\nb\rc\r\n.\rd\r\n.\ne\r\n.\r\nx"[..], &b"a\r\nb\r\nc\r\n\r\nd\r\n\r\ne\r\n"[..], true),
            (b"\n.\n\r.\r\r\n.\r\nx", b"\r\n.\r\n\r\n.\r\n\r\n", true),
            (b"\n..\n\n\r\n.\r\nx", b"\r\n..\r\n\r\n\r\n", true),
            (b"a\r\n..\r\n\r\nb\r\n.\r\nx", b"a\r\n.\r\n\r\nb\r\n", false),
        ] {
            for piece_len in 1..=input.len() {
                let (came, flagged, left) = unstuff_with(Unstuffer::new(true), input, piece_len);
                let (came, text) = (came.escape_ascii().to_string(), text.escape_ascii().to_string());
                assert_eq!((came, flagged, left), (text, bare, Some(1)), "{}", input.escape_ascii());
            }
        }
    }

    #[test]
    fn stuffing_waits_for_room_and_loses_nothing() {
        let text = b".\r\n..a\r\nb.\r\n.\r\n\r.\n.\r\n";
        let mut output = Output::<3>::new();
        let mut stuffer = Stuffer::new();
        let (mut wire, mut rest) = (Vec::new(), &text[..]);
        while !rest.is_empty() {
            rest = &rest[stuffer.push(rest, &mut output)..];
            wire.extend_from_slice(output.pending());
            output.sent(output.pending().len());
        }
        wire.extend_from_slice(stuffer.end());
        assert_eq!(
            wire.escape_ascii().to_string(),
            b"..\r\n...a\r\nb.\r\n..\r\n\r.\n.\r\n.\r\n".escape_ascii().to_string()
        );
    }

    #[test]
    fn a_message_that_does_not_end_in_cr_lf_gets_one() {
        for (text, end) in [
            ("", ".\r\n"),
            ("a", "\r\n.\r\n"),
            ("a\r", "\r\n.\r\n"),
            ("a\n", "\r\n.\r\n"),
            ("a\r\n", ".\r\n"),
        ] {
            let mut stuffer = Stuffer::new();
            stuffer.push(text.as_bytes(), &mut Output::<8>::new());
            assert_eq!(stuffer.end(), end.as_bytes(), "{text:?}");
        }
    }
}
