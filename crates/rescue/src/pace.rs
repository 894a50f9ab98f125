//! How long a client may take: for a command, for the next bytes of a message, and for a message as a whole.
//!
//! As in userland, by the same settings, and never longer than here: sixteen sessions are few.

use penstock_settings::Listen;
use penstock_smtp::server::Awaits;
use smoltcp::time::{Duration, Instant};

/// The longest time for a command or a block, whatever the settings allow.
const TIMEOUT_MAX: Duration = Duration::from_secs(120);
/// The same while sessions run short.
const BUSY_TIMEOUT_MAX: Duration = Duration::from_secs(15);
/// The stretch over which progress within a message is measured.
const PROGRESS_SPAN: Duration = Duration::from_secs(60);

/// What a client may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    command: Duration,
    block: Duration,
    busy: Duration,
    data_per_minute_min: u64,
    busy_data_per_minute_min: u64,
}

impl Patience {
    pub(crate) fn of(listen: &Listen) -> Self {
        let at_most = |time: core::time::Duration, max: Duration| {
            Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)).min(max)
        };
        Self {
            command: at_most(listen.command_timeout, TIMEOUT_MAX),
            block: at_most(listen.block_timeout, TIMEOUT_MAX),
            busy: at_most(listen.busy_timeout, BUSY_TIMEOUT_MAX),
            data_per_minute_min: listen.data_per_minute_min.0,
            busy_data_per_minute_min: listen.busy_data_per_minute_min.0,
        }
    }
}

/// The clock of one session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Since when we wait for the client.
    since: Instant,
    /// The stretch of the message that is being measured, and what came in it.
    span_from: Instant,
    span_bytes: u64,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, span_from: now, span_bytes: 0 }
    }

    /// The client did something, or it is its turn again.
    pub(crate) fn moved(&mut self, now: Instant) {
        self.since = now;
    }

    /// A message begins.
    pub(crate) fn message_begins(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// So much of the message has come.
    pub(crate) fn message_bytes(&mut self, now: Instant, bytes: usize) {
        self.moved(now);
        self.span_bytes += bytes as u64;
    }

    /// Whether the client is late.
    pub(crate) fn is_late(
        &mut self,
        now: Instant,
        awaits: Awaits,
        patience: &Patience,
        is_busy: bool,
    ) -> bool {
        if awaits == Awaits::Verdict {
            return false;
        }
        let in_message = awaits == Awaits::Body;
        if now >= self.since + limit(in_message, patience, is_busy) {
            return true;
        }
        if !in_message || now < self.span_from + PROGRESS_SPAN {
            return false;
        }
        let least = if is_busy { patience.busy_data_per_minute_min } else { patience.data_per_minute_min };
        let is_too_slow = self.span_bytes < least;
        self.span_from = now;
        self.span_bytes = 0;
        is_too_slow
    }

    /// When it is to be looked again whether the client is late.
    pub(crate) fn late_at(&self, awaits: Awaits, patience: &Patience, is_busy: bool) -> Option<Instant> {
        let in_message = awaits == Awaits::Body;
        let late_at = self.since + limit(in_message, patience, is_busy);
        match awaits {
            Awaits::Verdict => None,
            Awaits::Body => Some(late_at.min(self.span_from + PROGRESS_SPAN)),
            Awaits::Command | Awaits::Handshake | Awaits::Nothing => Some(late_at),
        }
    }
}

fn limit(in_message: bool, patience: &Patience, is_busy: bool) -> Duration {
    match (is_busy, in_message) {
        (true, _) => patience.busy,
        (false, true) => patience.block,
        (false, false) => patience.command,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        command: TIMEOUT_MAX,
        block: TIMEOUT_MAX,
        busy: BUSY_TIMEOUT_MAX,
        data_per_minute_min: 6 * 1024,
        busy_data_per_minute_min: 60 * 1024,
    };

    #[test]
    fn silence_is_cut_sooner_while_sessions_run_short() {
        let mut pace = Pace::new(Instant::ZERO);
        let mut is_late =
            |secs, awaits, is_busy| pace.is_late(Instant::from_secs(secs), awaits, &PATIENCE, is_busy);
        assert!(!is_late(119, Awaits::Command, false));
        assert!(is_late(120, Awaits::Command, false));
        assert!(!is_late(14, Awaits::Command, true));
        assert!(is_late(15, Awaits::Command, true));
        assert!(!is_late(1000, Awaits::Verdict, true), "who waits for us is never late");
    }

    #[test]
    fn a_byte_now_and_then_does_not_keep_a_message_open() {
        let mut pace = Pace::new(Instant::ZERO);
        pace.message_bytes(Instant::from_secs(59), 6 * 1024);
        assert!(!pace.is_late(Instant::from_secs(60), Awaits::Body, &PATIENCE, false));
        pace.message_bytes(Instant::from_secs(119), 60);
        assert!(pace.is_late(Instant::from_secs(120), Awaits::Body, &PATIENCE, false));
    }
}
