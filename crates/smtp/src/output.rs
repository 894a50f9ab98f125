//! Bytes on their way out: a bounded buffer that is filled at one end and taken from at the other.

use core::fmt;
use heapless::Vec;

/// Up to `N` bytes not yet sent.
#[derive(Debug, Default)]
pub(crate) struct Output<const N: usize> {
    bytes: Vec<u8, N>,
    /// How many of `bytes` have been sent. They are dropped when the room is needed, so that a session that sends
    /// everything at once never moves a byte.
    sent: usize,
}

impl<const N: usize> Output<N> {
    pub(crate) const fn new() -> Self {
        Self { bytes: Vec::new(), sent: 0 }
    }

    /// What has to be sent, oldest byte first.
    pub(crate) fn pending(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// Takes note that the first `n` pending bytes are sent.
    pub(crate) fn sent(&mut self, n: usize) {
        debug_assert!(n <= self.pending().len());
        self.sent = self.bytes.len().min(self.sent + n);
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        }
    }

    /// How many bytes can be pushed.
    pub(crate) fn room(&self) -> usize {
        N - self.pending().len()
    }

    /// Adds `bytes`, which the caller knows to fit: it checked [`room`](Self::room) before it began.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.bytes.len() + bytes.len() > N {
            self.bytes.copy_within(self.sent.., 0);
            self.bytes.truncate(self.bytes.len() - self.sent);
            self.sent = 0;
        }
        let fits = self.bytes.extend_from_slice(bytes).is_ok();
        debug_assert!(fits, "the room was checked before");
    }
}

impl<const N: usize> fmt::Write for Output<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.room() < text.len() {
            return Err(fmt::Error);
        }
        self.push(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_the_order_in_which_they_went_in_whatever_is_sent_between() {
        let mut output = Output::<8>::new();
        output.push(b"abcdef");
        output.sent(4);
        assert_eq!((output.pending(), output.room()), (&b"ef"[..], 6));
        output.push(b"ghijkl");
        assert_eq!((output.pending(), output.room()), (&b"efghijkl"[..], 0));
        output.sent(8);
        assert_eq!((output.pending(), output.room()), (&b""[..], 8));
    }
}
