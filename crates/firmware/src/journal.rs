//! The newest lines that were said, for whoever comes to the console later.

use core::fmt;

/// How much is kept, in bytes.
pub const JOURNAL_BYTES: usize = 8192;

/// The newest text, as far as it fits. The oldest line may have lost its beginning.
#[derive(Clone, Debug)]
pub struct Journal {
    bytes: [u8; JOURNAL_BYTES],
    /// How much was ever written.
    written: usize,
}

impl Journal {
    /// An empty one.
    pub const fn new() -> Self {
        Self { bytes: [0; JOURNAL_BYTES], written: 0 }
    }

    /// Writes the newest lines, at most so many.
    ///
    /// # Errors
    /// What the writer reports.
    pub fn newest(&self, lines: usize, out: &mut dyn fmt::Write) -> fmt::Result {
        let kept = self.written.min(JOURNAL_BYTES);
        let byte = |back: usize| self.bytes.get((self.written - back) % JOURNAL_BYTES).copied().unwrap_or(0);
        // The line that is the last to be shown ends with the last byte, so that one more end is before the first.
        let ends = (1..=kept).filter(|back| byte(*back) == b'\n');
        let from = ends.clone().nth(lines).map_or(kept, |end| end - 1);
        for back in (1..=from).rev() {
            out.write_char(char::from(byte(back)))?;
        }
        Ok(())
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Write for Journal {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if let Some(place) = self.bytes.get_mut(self.written % JOURNAL_BYTES) {
                *place = byte;
            }
            self.written += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use core::fmt::Write as _;

    use super::*;

    fn newest(journal: &Journal, lines: usize) -> String {
        let mut text = String::new();
        journal.newest(lines, &mut text).unwrap();
        text
    }

    #[test]
    fn the_newest_lines_are_there_and_old_ones_make_room() {
        let mut journal = Journal::new();
        assert_eq!(newest(&journal, 3), "");
        for number in 0..2000 {
            writeln!(journal, "line {number}").unwrap();
        }
        assert_eq!(newest(&journal, 2), "line 1998\nline 1999\n");
        assert_eq!(newest(&journal, 0), "");
        let all = newest(&journal, usize::MAX);
        assert_eq!(all.len(), JOURNAL_BYTES);
        assert!(all.ends_with("line 1998\nline 1999\n"));
    }
}
