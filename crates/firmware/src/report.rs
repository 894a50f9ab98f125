//! What a failure leaves behind: a text in memory that a reset leaves alone.
//!
//! ```text
//!  0  "PS-RPT-1"
//!  8  length, u32       of the text, in bytes
//! 12  CRC-32C of the text
//! 16  the text          at most 4,080 bytes
//! ```

use core::fmt;

use crc::{CRC_32_ISCSI, Crc, Table};

const CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);
/// What stands at its beginning. The last character is the version of the format.
const MAGIC: [u8; 8] = *b"PS-RPT-1";
const TEXT_AT: usize = 16;
/// The longest text, in bytes: with what is before it, a page.
pub const REPORT_BYTES_MAX: usize = 4096 - TEXT_AT;

/// A report while it is written: what does not fit any more is left out.
#[derive(Clone, Debug)]
pub struct Report {
    page: [u8; TEXT_AT + REPORT_BYTES_MAX],
    len: usize,
}

impl Report {
    /// An empty one.
    pub const fn new() -> Self {
        Self { page: [0; TEXT_AT + REPORT_BYTES_MAX], len: 0 }
    }

    /// The text as it is so far.
    pub fn text(&self) -> &[u8] {
        self.page.get(TEXT_AT..TEXT_AT + self.len).unwrap_or_default()
    }

    /// The page to be left in memory.
    pub fn page(&mut self) -> &[u8] {
        let checksum = CRC.checksum(self.text());
        self.page[..8].copy_from_slice(&MAGIC);
        self.page[8..12].copy_from_slice(&(self.len as u32).to_le_bytes());
        self.page[12..TEXT_AT].copy_from_slice(&checksum.to_le_bytes());
        &self.page
    }

    /// The text of a report that an earlier failure left. `None` if there is none that is intact.
    pub fn read(page: &[u8]) -> Option<&str> {
        let (head, rest) = page.split_first_chunk::<TEXT_AT>()?;
        let len = u32::from_le_bytes(head[8..12].try_into().ok()?) as usize;
        let checksum = u32::from_le_bytes(head[12..].try_into().ok()?);
        let text = rest.get(..len.min(REPORT_BYTES_MAX + 1)).filter(|_| head.starts_with(&MAGIC))?;
        if text.is_empty() || CRC.checksum(text) != checksum {
            return None;
        }
        core::str::from_utf8(text).ok()
    }
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Write for Report {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = REPORT_BYTES_MAX - self.len;
        let mut fits = text.len().min(room);
        while !text.is_char_boundary(fits) {
            fits -= 1;
        }
        let at = TEXT_AT + self.len;
        self.page[at..at + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.len += fits;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use core::fmt::Write as _;

    use super::*;

    #[test]
    fn a_report_outlasts_the_reset_and_nothing_else_passes_for_one() {
        let mut report = Report::new();
        assert_eq!(Report::read(report.page()), None, "nothing was reported");
        write!(report, "PS-W001: {}", "x".len()).unwrap();
        let page = report.page().to_vec();
        assert_eq!(Report::read(&page), Some("PS-W001: 1"));
        for bit in 0..(TEXT_AT + report.text().len()) * 8 {
            let mut damaged = page.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Report::read(&damaged), None, "bit {bit}");
        }
        assert_eq!(Report::read(&[0xFF; 4096]), None);
        assert_eq!(Report::read(&[]), None);
    }

    #[test]
    fn what_is_too_long_ends_where_the_page_does() {
        let mut report = Report::new();
        for _ in 0..REPORT_BYTES_MAX {
            report.write_str("\u{20ac}").unwrap();
        }
        let text = Report::read(report.page()).unwrap();
        assert!(text.chars().all(|letter| letter == '\u{20ac}') && text.len() > REPORT_BYTES_MAX - 3);
    }
}
