//! What time it is, as far as anybody knows.

use penstock_spool::Stamp;
use smoltcp::time::Instant;

/// A time of the calendar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WallClock {
    /// Milliseconds since 1970: from the clock chip, else the last time that was written down.
    pub unix_ms: u64,
    /// Whether that is known to be right. If not, nothing in userland expires by it, and Received lines say so.
    pub is_trusted: bool,
}

/// Goes on from a time of the calendar by the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    wall: WallClock,
    at: Instant,
}

impl Clock {
    pub(crate) fn new(wall: WallClock, at: Instant) -> Self {
        Self { wall, at }
    }

    /// Now, for what is written down in that boot of a volume.
    pub(crate) fn stamp(&self, now: Instant, boot: u32) -> Stamp {
        let since_ms = (now.max(self.at) - self.at).total_millis();
        Stamp { unix_ms: self.wall.unix_ms.saturating_add(since_ms), boot, trusted: self.wall.is_trusted }
    }
}
