//! How many connections one hop gets at the moment.
//!
//! Fed with what the server does, asked before each message. One connection after each recovery and one more with each
//! delivery, up to the ceiling; back to fewer when the server says so, or answers as late as Exchange does when its queue
//! is too long.

use crate::custody::Trouble;
use crate::latency::Latency;
use crate::reply::Phase;

/// How long the number of connections does not grow after the server answered late, or asked for less.
const GROWTH_PAUSE_MS: u64 = 30_000;

/// How long a number of connections that the server complained about is believed to be too many.
const LIMIT_LEARNED_MS: u64 = 600_000;

/// How long nothing begins after the server complained about our rate.
const RATE_PAUSE_MS: u64 = 60_000;

/// How long nothing begins after it complained about the number of connections: time for those to end.
const CONNECTIONS_PAUSE_MS: u64 = 5_000;

/// The pace of one hop.
#[derive(Debug)]
pub(crate) struct Pace {
    connections: u32,
    connections_max: u32,
    /// So many the server did not complain about, and from when on one more is tried.
    limit: u32,
    limit_until_ms: u64,
    latency: Latency,
    grow_from_ms: u64,
    paused_until_ms: u64,
}

impl Pace {
    pub(crate) fn new(connections_max: u32) -> Self {
        Self {
            connections: 1,
            connections_max,
            limit: connections_max,
            limit_until_ms: 0,
            latency: Latency::default(),
            grow_from_ms: 0,
            paused_until_ms: 0,
        }
    }

    /// How many connections may carry mail.
    pub(crate) fn connections(&self) -> u32 {
        self.connections
    }

    /// From when on a message may begin.
    pub(crate) fn ready_at_ms(&self) -> u64 {
        self.paused_until_ms
    }

    /// The hop is healthy again: it starts with one connection.
    pub(crate) fn restart(&mut self) {
        self.connections = 1;
    }

    pub(crate) fn delivered(&mut self, now_ms: u64) {
        if now_ms >= self.grow_from_ms {
            if now_ms >= self.limit_until_ms && self.limit < self.connections_max {
                self.limit += 1;
                self.limit_until_ms = now_ms + LIMIT_LEARNED_MS;
            }
            self.connections = (self.connections + 1).min(self.limit);
        }
    }

    /// A command was answered after `took_ms`, well or badly, in a transaction with a message of this size.
    pub(crate) fn answered(&mut self, phase: Phase, size_bytes: u64, took_ms: u64, now_ms: u64) {
        if self.latency.answered(phase, size_bytes, took_ms, now_ms) {
            self.connections = 1;
            self.grow_from_ms = now_ms + GROWTH_PAUSE_MS;
        }
    }

    /// The server asked for less.
    pub(crate) fn asked_for_less(&mut self, trouble: Trouble, now_ms: u64) {
        let pause_ms = match trouble {
            Trouble::Connections => {
                self.connections = (self.connections / 2).max(1);
                self.limit = self.connections;
                self.limit_until_ms = now_ms + LIMIT_LEARNED_MS;
                CONNECTIONS_PAUSE_MS
            }
            _ => {
                self.connections = 1;
                RATE_PAUSE_MS
            }
        };
        self.paused_until_ms = now_ms + pause_ms;
        self.grow_from_ms = self.paused_until_ms + GROWTH_PAUSE_MS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_grow_with_each_delivery_up_to_the_ceiling() {
        let mut pace = Pace::new(3);
        let seen = [0, 1, 2, 3].map(|now_ms| {
            let connections = pace.connections();
            pace.delivered(now_ms);
            connections
        });
        assert_eq!(seen, [1, 2, 3, 3]);
    }

    #[test]
    fn a_server_that_answers_late_gets_one_connection_and_a_tarpit_changes_nothing() {
        let mut pace = Pace::new(3);
        pace.delivered(0);
        pace.answered(Phase::Mail, 0, 5_500, 0);
        pace.answered(Phase::EndOfData, 20 << 20, 30_000, 0);
        assert_eq!(pace.connections(), 2);
        pace.answered(Phase::Data, 0, 10_000, 0);
        pace.delivered(GROWTH_PAUSE_MS - 1);
        assert_eq!(pace.connections(), 1);
        pace.delivered(GROWTH_PAUSE_MS);
        assert_eq!(pace.connections(), 2);
    }

    #[test]
    fn a_complaint_about_connections_halves_them_and_one_about_the_rate_pauses_for_a_minute() {
        let mut pace = Pace::new(8);
        (0..8).for_each(|_| pace.delivered(0));
        pace.asked_for_less(Trouble::Connections, 1_000);
        assert_eq!((pace.connections(), pace.ready_at_ms()), (4, 6_000));
        // Believed for ten minutes; then one more is tried.
        pace.delivered(LIMIT_LEARNED_MS);
        assert_eq!(pace.connections(), 4);
        pace.delivered(LIMIT_LEARNED_MS + 1_000);
        pace.delivered(LIMIT_LEARNED_MS + 1_001);
        assert_eq!(pace.connections(), 5);
        pace.asked_for_less(Trouble::Rate, 700_000);
        assert_eq!((pace.connections(), pace.ready_at_ms()), (1, 760_000));
    }
}
