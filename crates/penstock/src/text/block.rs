//! Blocks of lines that are copied from a terminal and pasted elsewhere: a first line, a last line, and in the last a
//! CRC-32C of what stands between, so that whoever gets one sees whether it is whole.
//!
//! The CRC is over the lines without what white space they end in, each with one line feed: terminals and mail programs
//! change that, and it means nothing.

use std::fmt::Write as _;

use crc::{CRC_32_ISCSI, Crc, Table};

const CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

/// What is between the last line's words and its number.
const CRC_WORDS: &str = ", CRC-32C ";

/// A kind of block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// The first line.
    pub(crate) begins: &'static str,
    /// How the last line begins.
    pub(crate) ends: &'static str,
}

/// What support is sent.
pub(crate) const REPORT: Kind = Kind { begins: "--- report begins", ends: "--- report ends" };
/// A settings file.
pub(crate) const SETTINGS: Kind = Kind { begins: "--- settings begin", ends: "--- settings end" };

/// What came of reading a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// It is as it was written. Of a bare one without a number nobody can say.
    Whole(String),
    /// The first line is not there.
    NoBegin,
    /// The last line is not there.
    NoEnd,
    /// It is not what was written: the number in its last line, and that of the lines.
    Changed { written: u32, found: u32 },
}

impl Kind {
    /// A block around a text.
    pub(crate) fn wrap(self, text: &str) -> String {
        let mut block = format!("{}\n", self.begins);
        for line in text.lines() {
            block.push_str(line.trim_end());
            block.push('\n');
        }
        // Writing to a string cannot fail.
        let _ = writeln!(block, "{}{CRC_WORDS}{:08x}", self.ends, crc_of(text));
        block
    }

    /// Whether a line is the last one of such a block.
    pub(crate) fn is_end(self, line: &str) -> bool {
        line.trim_start().starts_with(self.ends)
    }

    /// Finds the block in a text and says whether it is whole. With `bare`, the first line may be missing, and the number
    /// in the last.
    pub(crate) fn read(self, text: &str, bare: bool) -> Read {
        let mut lines = text.lines();
        let begins = |line: &str| line.trim() == self.begins;
        if text.lines().any(begins) {
            lines.by_ref().find(|line| begins(line));
        } else if !bare {
            return Read::NoBegin;
        }
        let mut inside = String::new();
        for line in lines {
            if self.is_end(line) {
                let number =
                    line.trim().split_once(CRC_WORDS).map(|(_, number)| u32::from_str_radix(number, 16));
                let found = crc_of(&inside);
                return match number {
                    Some(Ok(written)) if written != found => Read::Changed { written, found },
                    Some(Ok(_)) => Read::Whole(inside),
                    // Who types a block by hand types no number.
                    None if bare => Read::Whole(inside),
                    Some(Err(_)) | None => Read::NoEnd,
                };
            }
            inside.push_str(line.trim_end());
            inside.push('\n');
        }
        Read::NoEnd
    }
}

fn crc_of(text: &str) -> u32 {
    let mut digest = CRC.digest();
    for line in text.lines() {
        digest.update(line.trim_end().as_bytes());
        digest.update(b"\n");
    }
    digest.finalize()
}

/// Text in lines of at most so many characters. What is longer goes on in further lines, set in.
pub(crate) fn folded(text: &str, columns: usize) -> String {
    let mut folded = String::new();
    for line in text.lines() {
        let mut left: Vec<char> = line.chars().collect();
        let mut indent = "";
        while indent.len() + left.len() > columns {
            let room = columns - indent.len();
            // Between words where there are any.
            let at =
                left[..=room].iter().rposition(|c| *c == ' ').filter(|at| *at > room / 2).unwrap_or(room);
            folded.push_str(indent);
            folded.extend(&left[..at]);
            folded.push('\n');
            left.drain(..at);
            indent = "    ";
        }
        folded.push_str(indent);
        folded.extend(&left);
        folded.push('\n');
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_whole_also_with_other_line_ends_and_with_words_around_it() {
        let text = "one\n\ttwo  \n\nthree\n";
        let block = REPORT.wrap(text);
        let pasted = format!("Hello,\r\n{}bye\r\n", block.replace('\n', "  \r\n"));
        assert_eq!(REPORT.read(&pasted, false), Read::Whole("one\n\ttwo\n\nthree\n".into()));
        // The check value of CRC-32C is that of "123456789".
        assert_eq!(CRC.checksum(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn what_is_missing_or_changed_is_seen() {
        let block = REPORT.wrap("one\ntwo\n");
        assert!(matches!(REPORT.read(&block.replace("two", "tvo"), false), Read::Changed { .. }));
        assert!(matches!(REPORT.read(&block.replace("one\n", ""), false), Read::Changed { .. }));
        assert_eq!(REPORT.read(&block[..block.len() - 30], false), Read::NoEnd);
        assert_eq!(REPORT.read("two\n--- report ends, CRC-32C 00000000\n", false), Read::NoBegin);
        assert_eq!(REPORT.read("", false), Read::NoBegin);
        assert_eq!(SETTINGS.read("a = 1\n--- settings end\n", true), Read::Whole("a = 1\n".into()));
    }

    #[test]
    fn long_lines_are_folded_and_nothing_is_left_out() {
        let long = "word ".repeat(40);
        let folded = folded(&format!("short\n{long}\n{}\n", "x".repeat(200)), 79);
        assert!(folded.lines().all(|line| line.chars().count() <= 79), "{folded}");
        assert_eq!(folded.matches("word").count(), 40);
        assert_eq!(folded.matches('x').count(), 200);
    }
}
