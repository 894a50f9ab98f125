//! When a server fails message after message and names no cause.
//!
//! A 4xx after RCPT is about its message, and the message waits. But a server whose mailbox side is not up yet says the
//! same to all. Several different messages in a row make it likely that it is the server; then one that waits is tried
//! before its time now and then, and the first that passes clears all of them.

/// So many in a row raise doubt.
const IN_ROW: u32 = 3;

/// How often the time between two early tries doubles: after half an hour it may well be the messages.
const DOUBLINGS_MAX: u32 = 4;

/// What a hop did with the last messages.
#[derive(Debug, Default)]
pub(crate) struct Doubt {
    in_row: u32,
    last_message: Option<u64>,
    early_from_ms: u64,
}

impl Doubt {
    /// The hop did not take `message`. The same one again says nothing new.
    pub(crate) fn failed(&mut self, message: u64, interval_ms: u64, now_ms: u64) {
        if self.last_message != Some(message) {
            self.in_row = self.in_row.saturating_add(1);
        }
        self.last_message = Some(message);
        let doublings = self.in_row.saturating_sub(IN_ROW).min(DOUBLINGS_MAX);
        self.early_from_ms = now_ms + (interval_ms << doublings);
    }

    /// Whether so many failed in a row that it may be the hop.
    pub(crate) fn is_raised(&self) -> bool {
        self.in_row >= IN_ROW
    }

    /// The hop took a message. Tells whether there was doubt.
    pub(crate) fn passed(&mut self) -> bool {
        let was_raised = self.is_raised();
        *self = Self::default();
        was_raised
    }

    /// From when on one of `waiting` messages may be tried before its time, in monotonic ms. A few stubborn messages
    /// alone are their own explanation.
    pub(crate) fn early_from_ms(&self, waiting: usize) -> Option<u64> {
        (self.is_raised() && waiting >= IN_ROW as usize).then_some(self.early_from_ms)
    }
}
