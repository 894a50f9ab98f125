//! A message that is being received: our Received line with a gap for its number, and what of the body is in memory.

use std::fmt::Write;

use crate::control::MailId;

/// The most digits of a number, and the prefix that says which volume.
const NUMBER_BYTES_MAX: usize = "d-".len() + 20;

/// The head of a message with its Received line, in one piece with the body that follows it, so that the log gets both
/// as one frame. The message has no number before the log gives it one, so the line has a gap in its place.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    bytes: Vec<u8>,
    /// Where the gap ends; 0 where there is none.
    gap_end: usize,
    /// Where the message as it came begins.
    body_at: usize,
}

impl Draft {
    /// Begins with the Received line: what stands before and behind the number.
    pub(crate) fn new(before: &str, behind: &str, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(before.len() + NUMBER_BYTES_MAX + behind.len() + capacity);
        bytes.extend_from_slice(before.as_bytes());
        bytes.resize(before.len() + NUMBER_BYTES_MAX, b' ');
        let gap_end = bytes.len();
        bytes.extend_from_slice(behind.as_bytes());
        let body_at = bytes.len();
        Self { bytes, gap_end, body_at }
    }

    /// Nothing of our own stands on top: the message is another box's, with its lines.
    pub(crate) fn verbatim() -> Self {
        Self::default()
    }

    /// Adds to the body.
    pub(crate) fn push(&mut self, body: &[u8]) {
        self.bytes.extend_from_slice(body);
    }

    /// What it holds in memory, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The message without our line.
    pub(crate) fn body(&self) -> &[u8] {
        &self.bytes[self.body_at..]
    }

    /// Puts more lines of ours on top of what is there.
    pub(crate) fn put_on_top(&mut self, lines: &str) {
        self.bytes.splice(..0, lines.bytes());
        self.gap_end += lines.len();
        self.body_at += lines.len();
    }

    /// Fills the gap, and gives all of it.
    pub(super) fn with_number(&mut self, id: MailId) -> &[u8] {
        if self.gap_end == 0 {
            return &self.bytes;
        }
        let mut number = String::with_capacity(NUMBER_BYTES_MAX);
        // Writing to a String does not fail.
        let _ = write!(number, "{id}");
        let number_at = self.gap_end - number.len();
        self.bytes[number_at..self.gap_end].copy_from_slice(number.as_bytes());
        let unused = NUMBER_BYTES_MAX - number.len();
        self.bytes.copy_within(..number_at - unused, unused);
        &self.bytes[unused..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_on_top_stands_there_and_the_number_in_its_place() {
        let mut draft = Draft::new("id ", ";\r\n", 0);
        draft.push(b"body");
        draft.put_on_top("more\r\n");
        assert_eq!(draft.body(), b"body");
        assert_eq!(draft.with_number(MailId::disk(7)), b"more\r\nid d-7;\r\nbody");
    }

    #[test]
    fn the_number_closes_the_gap_whatever_its_length() {
        for (id, text) in [(7, "id d-7;\r\nbody"), (u64::MAX, "id d-18446744073709551615;\r\nbody")] {
            let mut draft = Draft::new("id ", ";\r\n", 0);
            draft.push(b"body");
            assert_eq!(draft.body(), b"body");
            assert_eq!(draft.with_number(MailId::disk(id)), text.as_bytes());
        }
    }
}
