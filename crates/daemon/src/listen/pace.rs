//! How long a client may take: for a command, for the next bytes of a message, and for a message as a whole.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use penstock_settings::Listen;
use penstock_smtp::server::Awaits;
use tokio::time::{Instant, Sleep};

use super::limits::Limits;

/// How often it is looked whether a client is late. Time-outs are this much late at most. A timer that ticks is
/// cheaper than one that is set anew for every command, and it notices when sessions begin to run short.
const TICK: Duration = Duration::from_secs(5);
/// The stretch over which progress within a message is measured.
const PROGRESS_SPAN: Duration = Duration::from_secs(60);

/// The clock of one session.
#[derive(Debug)]
pub(super) struct Pace {
    tick: Pin<Box<Sleep>>,
    /// Since when we wait for the client.
    since: Instant,
    /// The stretch of the message that is being measured, and what came in it.
    span_from: Instant,
    span_bytes: u64,
}

impl Pace {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            tick: Box::pin(tokio::time::sleep_until(now + TICK)),
            since: now,
            span_from: now,
            span_bytes: 0,
        }
    }

    /// The client did something, or it is its turn again.
    pub(super) fn moved(&mut self) {
        self.since = Instant::now();
    }

    /// A message begins.
    pub(super) fn message_begins(&mut self) {
        self.moved();
        self.span_from = self.since;
        self.span_bytes = 0;
    }

    /// So much of the message has come.
    pub(super) fn message_bytes(&mut self, bytes: usize) {
        self.moved();
        self.span_bytes += bytes as u64;
    }

    /// Ready when the client is late.
    pub(super) fn poll_late(
        &mut self,
        context: &mut Context<'_>,
        awaits: Awaits,
        settings: &Listen,
        limits: &Limits,
    ) -> Poll<()> {
        while self.tick.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            if self.is_late(now, awaits, settings, limits.is_busy()) {
                return Poll::Ready(());
            }
            self.tick.as_mut().reset(now + TICK);
        }
        Poll::Pending
    }

    fn is_late(&mut self, now: Instant, awaits: Awaits, settings: &Listen, busy: bool) -> bool {
        let in_message = awaits == Awaits::Body;
        let usual = if in_message { settings.block_timeout } else { settings.command_timeout };
        let limit = if busy { settings.busy_timeout } else { usual };
        if now - self.since >= limit {
            return true;
        }
        if !in_message || now - self.span_from < PROGRESS_SPAN {
            return false;
        }
        let least = if busy { settings.busy_data_per_minute_min } else { settings.data_per_minute_min };
        let too_slow = self.span_bytes < least.0;
        self.span_from = now;
        self.span_bytes = 0;
        too_slow
    }
}

#[cfg(test)]
mod tests {
    use penstock_settings::Settings;

    use super::*;

    fn settings() -> Listen {
        let text = "[system]\nhostname = \"mx.example.org\"\n[domains]\naccepted = [\"example.org\"]\n[[next_hop]]\n\
            name = \"x\"\naddress = \"192.0.2.25\"";
        Settings::parse(text).unwrap().listen
    }

    fn at(pace: &Pace, seconds: u64) -> Instant {
        pace.since + Duration::from_secs(seconds)
    }

    #[tokio::test]
    async fn silence_is_cut_sooner_while_sessions_run_short() {
        let (mut pace, settings) = (Pace::new(), settings());
        let (quiet, late) = (at(&pace, 299), at(&pace, 300));
        assert!(!pace.is_late(quiet, Awaits::Command, &settings, false));
        assert!(pace.is_late(late, Awaits::Command, &settings, false));
        let (quiet, late) = (at(&pace, 29), at(&pace, 30));
        assert!(!pace.is_late(quiet, Awaits::Command, &settings, true));
        assert!(pace.is_late(late, Awaits::Command, &settings, true));
    }

    #[tokio::test]
    async fn a_byte_now_and_then_does_not_keep_a_message_open() {
        let (mut pace, settings) = (Pace::new(), settings());
        pace.message_begins();
        pace.message_bytes(6 * 1024);
        let first_minute = at(&pace, 60);
        assert!(!pace.is_late(first_minute, Awaits::Body, &settings, false));
        pace.span_bytes = 60;
        let second_minute = at(&pace, 120);
        assert!(pace.is_late(second_minute, Awaits::Body, &settings, false));
    }
}
