//! What a log does of which a protection was turned off, where that takes more than to leave something out.

use alloc::vec;

use penstock_flash::{Medium, ReadAt};

use crate::log::Log;
use crate::segment::{Purpose, Segment, State};

impl<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>> Log<M, B> {
    /// Goes on where a stop left a segment open, as a log does that trusts blank cells.
    pub(crate) fn go_on_in_open_segments(&mut self) {
        for purpose in Purpose::HEADS {
            let sealed = |row: &Segment| row.state == State::Sealed && row.purpose == purpose;
            let rows = (0u32..).zip(&self.segments).filter(|(_, row)| sealed(row));
            let Some((segment, _)) = rows.max_by_key(|(_, row)| row.sequence) else { continue };
            let mut bytes = vec![0; self.layout.segment_bytes as usize];
            if self.reader.read(segment, 0, &mut bytes).is_err() || bytes.last() != Some(&0xFF) {
                continue;
            }
            let end = bytes.iter().rposition(|byte| *byte != 0xFF).map_or(0, |last| last as u32 + 1);
            if end < self.layout.data_end() {
                self.segments[segment as usize].state = State::Open;
                self.enter(purpose, segment);
                self.heads[purpose as usize].base = self.layout.align_up(end).max(self.layout.data_start());
            }
        }
    }
}
