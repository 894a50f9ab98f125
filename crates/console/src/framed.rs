//! What an answer looks like on the line.

use core::fmt::{self, Write};

/// The words that only the last line of an answer may begin with.
const MARKS: [&str; 2] = ["OK", "ERR"];

/// A character as it may be shown.
pub(crate) const fn shown(character: char) -> char {
    match character {
        '\t' | ' '..='~' => character,
        _ => '?',
    }
}

/// Writes an answer so that a program can tell where it ends, whatever is in it.
///
/// Lines end in CR and LF. Characters that a terminal would obey, and what is not ASCII, become question marks: some of what
/// is shown was sent by strangers. A line that begins with a word that ends answers gets a space before it.
pub(crate) struct Framed<'a> {
    out: &'a mut dyn Write,
    /// So many bytes of the line were held back because they may be the beginning of such a word.
    held: &'static str,
    is_at_start: bool,
}

impl<'a> Framed<'a> {
    pub(crate) fn new(out: &'a mut dyn Write) -> Self {
        Self { out, held: "", is_at_start: true }
    }

    /// Ends the last line, if something is on it.
    pub(crate) fn end_line(&mut self) -> fmt::Result {
        if self.is_at_start && self.held.is_empty() { Ok(()) } else { self.write_char('\n') }
    }

    fn release(&mut self) -> fmt::Result {
        self.is_at_start = false;
        self.out.write_str(core::mem::take(&mut self.held))
    }
}

impl Write for Framed<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|character| self.write_char(character))
    }

    fn write_char(&mut self, character: char) -> fmt::Result {
        if character == '\n' {
            self.release()?;
            self.is_at_start = true;
            return self.out.write_str("\r\n");
        }
        if self.is_at_start {
            let more = self.held.len() + 1;
            let longer = MARKS.into_iter().find(|mark| {
                mark.starts_with(self.held)
                    && mark.as_bytes().get(self.held.len()) == Some(&(character as u8))
            });
            match longer.and_then(|mark| Some((mark, mark.get(..more)?))) {
                Some((mark, all)) if mark == all => {
                    self.held = all;
                    self.out.write_char(' ')?;
                    return self.release();
                }
                Some((_, part)) => {
                    self.held = part;
                    return Ok(());
                }
                None => self.release()?,
            }
        }
        // The machines may write CR and LF where they mean the end of a line.
        if character == '\r' { Ok(()) } else { self.out.write_char(shown(character)) }
    }
}
