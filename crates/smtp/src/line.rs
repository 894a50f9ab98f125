//! Command lines out of a stream of bytes, however it is cut into pieces.

use heapless::Vec;
use memchr::memchr;

use crate::bounds::{COMMAND_LINE_BYTES_MAX, SWALLOWED_BYTES_MAX};

/// What the input gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// No whole line yet; all input was consumed.
    Incomplete,
    /// A line without its CR LF.
    Whole(&'a [u8]),
    /// A line longer than [`COMMAND_LINE_BYTES_MAX`]. The rest of it will be swallowed.
    TooLong,
    /// A line with a bare LF in it. Said at once, so that somebody at a keyboard sees why nothing happens; the rest
    /// up to the next CR LF will be swallowed, so that no peer's idea of a line can differ from ours to any effect.
    BareLf,
    /// A refused line of which more than [`SWALLOWED_BYTES_MAX`] bytes came.
    Endless,
}

/// Collects lines. A line that came in one piece is not copied.
#[derive(Debug, Default)]
pub(crate) struct LineReader {
    /// The beginning of the line, or all of it if `whole`.
    partial: Vec<u8, COMMAND_LINE_BYTES_MAX>,
    whole: bool,
    swallowing: Option<Swallowed>,
}

/// The rest of a refused line.
#[derive(Debug)]
struct Swallowed {
    bytes: u32,
    /// Whether the last byte was a CR.
    cr: bool,
}

impl LineReader {
    pub(crate) fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Line<'a> {
        if self.whole {
            self.partial.clear();
            self.whole = false;
        }
        if let Some(endless) = self.swallow(input) {
            return endless;
        }
        let window = input.get(..COMMAND_LINE_BYTES_MAX - self.partial.len()).unwrap_or(input);
        let Some(lf) = memchr(b'\n', window) else {
            if self.partial.len() + window.len() == COMMAND_LINE_BYTES_MAX {
                return self.refuse(input, window.len(), Line::TooLong);
            }
            self.keep(window);
            *input = &[];
            return Line::Incomplete;
        };
        let (head, rest) = window.split_at(lf);
        let last = head.last().or(self.partial.last());
        if last != Some(&b'\r') {
            return self.refuse(input, lf + 1, Line::BareLf);
        }
        debug_assert_eq!(rest.first(), Some(&b'\n'));
        *input = input.get(lf + 1..).unwrap_or_default();
        if self.partial.is_empty() {
            return Line::Whole(head.strip_suffix(b"\r").unwrap_or(head));
        }
        self.keep(head);
        self.whole = true;
        Line::Whole(self.partial.strip_suffix(b"\r").unwrap_or(&self.partial))
    }

    /// Consumes what is left of a refused line. `Some` if it has to stop there.
    fn swallow(&mut self, input: &mut &[u8]) -> Option<Line<'static>> {
        let swallowed = self.swallowing.as_mut()?;
        while let Some((&byte, rest)) = input.split_first() {
            if swallowed.bytes >= SWALLOWED_BYTES_MAX {
                return Some(Line::Endless);
            }
            *input = rest;
            swallowed.bytes += 1;
            if swallowed.cr && byte == b'\n' {
                self.swallowing = None;
                return None;
            }
            swallowed.cr = byte == b'\r';
        }
        Some(Line::Incomplete)
    }

    /// Drops what was kept of a line and the next `len` bytes of input.
    fn refuse<'a>(&'a mut self, input: &mut &[u8], len: usize, why: Line<'a>) -> Line<'a> {
        let (dropped, rest) = input.split_at_checked(len).unwrap_or((input, &[]));
        let cr = dropped.last().or(self.partial.last()) == Some(&b'\r');
        self.partial.clear();
        self.swallowing = Some(Swallowed { bytes: 0, cr });
        *input = rest;
        why
    }

    /// Keeps part of a line; that it fits was seen before.
    fn keep(&mut self, part: &[u8]) {
        let fits = self.partial.extend_from_slice(part).is_ok();
        debug_assert!(fits);
    }
}

#[cfg(test)]
mod tests {
    use std::string::{String, ToString};
    use std::vec::Vec;

    use super::*;

    /// What a reader makes of `input` when it comes in pieces of `piece_len` bytes.
    fn read(input: &[u8], piece_len: usize) -> Vec<String> {
        let mut reader = LineReader::default();
        let mut lines = Vec::new();
        for mut piece in input.chunks(piece_len) {
            loop {
                match reader.next(&mut piece) {
                    Line::Incomplete => break,
                    Line::Whole(line) => lines.push(String::from_utf8_lossy(line).into_owned()),
                    Line::TooLong => lines.push("(too long)".to_string()),
                    Line::BareLf => lines.push("(bare LF)".to_string()),
                    Line::Endless => {
                        lines.push("(endless)".to_string());
                        return lines;
                    }
                }
            }
        }
        lines
    }

    fn assert_read(input: &[u8], expected: &[&str]) {
        for piece_len in [1, 2, 3, 7, 1000, usize::MAX] {
            assert_eq!(read(input, piece_len), expected, "in pieces of {piece_len}");
        }
    }

    #[test]
    fn only_cr_lf_ends_a_line() {
        assert_read(b"a\r\n\r\nb\rc\r\r\nd\r", &["a", "", "b\rc\r"]);
        assert_read(b"a\nb\n\nc\r\nd\r\n", &["(bare LF)", "d"]);
        assert_read(b"\nQUIT\r\nNOOP\r\n", &["(bare LF)", "NOOP"]);
    }

    #[test]
    fn the_longest_line_is_taken_and_a_longer_one_is_swallowed_to_its_end() {
        let mut input = std::vec![b'x'; COMMAND_LINE_BYTES_MAX - 2];
        let longest = String::from_utf8(input.clone()).unwrap();
        input.extend_from_slice(b"\r\nNOOP\r\n");
        assert_read(&input, &[&longest, "NOOP"]);
        input.insert(0, b'x');
        assert_read(&input, &["(too long)", "NOOP"]);
        input.extend(std::vec![b'y'; COMMAND_LINE_BYTES_MAX + 100]);
        input.extend_from_slice(b"\nno command\r\nQUIT\r\n");
        assert_read(&input, &["(too long)", "NOOP", "(too long)", "QUIT"]);
    }

    #[test]
    fn a_line_that_never_ends_is_told() {
        let bytes = COMMAND_LINE_BYTES_MAX + SWALLOWED_BYTES_MAX as usize;
        assert_read(&std::vec![b'x'; bytes], &["(too long)"]);
        assert_read(&std::vec![b'x'; bytes + 1], &["(too long)", "(endless)"]);
    }
}
