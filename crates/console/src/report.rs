//! The block that is pasted for support.
//!
//! A first line, a last line, and in the last a CRC-32C of what stands between, so that whoever gets one sees whether it is
//! whole: `penstock verify-report` does, of userland's reports and of the firmware's. The CRC is over the lines without what
//! white space they end in, each with one line feed: terminals and mail programs change that, and it means nothing.

use core::fmt::{self, Write};

use crc::{CRC_32_ISCSI, Crc, Digest, Table};

use crate::framed::shown;

static CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

/// The first line.
pub const REPORT_BEGINS: &str = "--- report begins";
/// How the last one begins.
pub const REPORT_ENDS: &str = "--- report ends";

/// Writes one: the text between is what is written to this. Lines are set in by a space, so that none of them looks like the
/// end of an answer.
pub struct Report<'a> {
    out: &'a mut dyn Write,
    digest: Digest<'static, u32, Table<1>>,
    /// Spaces that count only if something follows on their line.
    spaces: usize,
    is_at_start: bool,
}

impl<'a> Report<'a> {
    /// Writes the first line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(out: &'a mut dyn Write) -> Result<Self, fmt::Error> {
        writeln!(out, "{REPORT_BEGINS}")?;
        Ok(Self { out, digest: CRC.digest(), spaces: 0, is_at_start: true })
    }

    /// Writes the last line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end(mut self) -> fmt::Result {
        if !self.is_at_start {
            self.line_feed()?;
        }
        let Self { out, digest, .. } = self;
        writeln!(out, "{REPORT_ENDS}, CRC-32C {:08x}", digest.finalize())
    }

    fn line_feed(&mut self) -> fmt::Result {
        (self.spaces, self.is_at_start) = (0, true);
        self.digest.update(b"\n");
        self.out.write_char('\n')
    }

    fn show(&mut self, character: char) -> fmt::Result {
        for _ in 0..core::mem::take(&mut self.spaces) {
            self.digest.update(b" ");
            self.out.write_char(' ')?;
        }
        self.is_at_start = false;
        self.digest.update(character.encode_utf8(&mut [0; 4]).as_bytes());
        self.out.write_char(character)
    }
}

impl Write for Report<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '\n' => self.line_feed()?,
                '\r' => {}
                ' ' | '\t' => self.spaces += 1,
                _ => {
                    self.spaces += usize::from(self.is_at_start);
                    self.show(shown(character))?;
                }
            }
        }
        Ok(())
    }
}
