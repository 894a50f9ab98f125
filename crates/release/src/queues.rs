//! The queues of a server between two readings of its counters.

use crate::counters::Counters;

/// A reading older than this tells nothing.
const STALE_MS: u64 = 15_000;

/// So many more messages wait for a mailbox database than at the least …
const RETRY_RISE: u64 = 30;

/// … for so long: then it is no mailbox that is full for a moment.
const RETRY_RISE_MS: u64 = 60_000;

/// A delay that is more than any that can be told apart.
const DELAY_MAX_MS: u64 = 3_600_000;

#[derive(Clone, Copy, Debug)]
struct Reading {
    at_ms: u64,
    /// Messages in the submission queue and in those to mailbox databases.
    queued: u64,
    /// Messages that have come out of the submission queue since the service started.
    done: u64,
    /// What the server said.
    counters: Counters,
    /// How many of our messages the hop had taken.
    taken: u64,
}

/// What the last readings say.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    last: Option<Reading>,
    /// Messages that the server does in 1,000 s, as far as it was seen at work.
    rate: Option<u64>,
    retry: Retry,
}

/// The queue of messages that wait for another attempt at a mailbox database.
#[derive(Debug, Default)]
struct Retry {
    /// The least that it was.
    least: Option<u64>,
    /// Since when it is longer by [`RETRY_RISE`].
    risen_ms: Option<u64>,
}

impl Queues {
    /// Takes a reading, by when the hop had taken so many of our messages. Tells how long mail lies in the queues, if that
    /// can be said.
    pub(crate) fn read(&mut self, counters: &Counters, taken: u64, now_ms: u64) -> Option<u64> {
        if let Some(retry) = counters.retry_mailbox {
            let least = self.retry.least.map_or(retry, |least| least.min(retry));
            self.retry.least = Some(least);
            let is_risen = retry >= least + RETRY_RISE;
            self.retry.risen_ms = is_risen.then(|| self.retry.risen_ms.unwrap_or(now_ms));
        }
        // Older collectors do not see the submission queue, where mail piles up first.
        let submission = counters.submission?;
        let queued = submission + counters.active_mailbox.unwrap_or(0);
        let done = match (counters.submitted_total, counters.completed_total) {
            (Some(submitted), _) => submitted.saturating_sub(submission),
            (None, Some(completed)) => completed,
            (None, None) => return None,
        };
        let reading = Reading { at_ms: now_ms, queued, done, counters: *counters, taken };
        if self.last.is_some_and(|last| last.counters == *counters && last.taken < taken) {
            // It took mail meanwhile: what shows none of it was counted before that, and kept.
            return None;
        }
        let last = self.last.replace(reading).filter(|last| last.at_ms + STALE_MS >= now_ms);
        match last.map(|last| (done.checked_sub(last.done), now_ms - last.at_ms, last.queued)) {
            // The service has started anew, or nobody looked for a while.
            None | Some((None, ..)) => self.rate = None,
            Some((_, 0, _)) => {}
            // What a server does while it has something to do is what it can do.
            Some((Some(did), span_ms, queued_before)) if queued > 0 && queued_before > 0 => {
                let seen = did * 1_000_000 / span_ms;
                self.rate = Some(self.rate.map_or(seen, |rate| (2 * rate + seen) / 3));
            }
            Some(_) => {}
        }
        if queued == 0 {
            return Some(0);
        }
        self.rate.map(|rate| (queued * 1_000_000 / rate.max(1)).min(DELAY_MAX_MS))
    }

    /// Whether the last reading still tells something.
    pub(crate) fn are_known(&self, now_ms: u64) -> bool {
        self.last.is_some_and(|last| last.at_ms + STALE_MS >= now_ms)
    }

    /// Whether mail for mailbox databases has piled up, by the last reading.
    pub(crate) fn is_retry_queue_rising(&self, now_ms: u64) -> bool {
        self.retry.risen_ms.is_some_and(|ms| ms + RETRY_RISE_MS <= now_ms)
    }

    /// Begins with the next reading.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// How many messages of ours and others lie in the queues by now, but for those that were taken since the last reading;
    /// and how many had been taken by then.
    pub(crate) fn length(&self, now_ms: u64) -> Option<(u64, u64)> {
        let last = self.last.filter(|_| self.are_known(now_ms))?;
        let done = self.rate.unwrap_or(0) * now_ms.saturating_sub(last.at_ms) / 1_000_000;
        Some((last.queued.saturating_sub(done), last.taken))
    }

    /// How long the server needs for so many.
    pub(crate) fn done_in_ms(&self, messages: u64) -> Option<u64> {
        self.rate.filter(|rate| *rate > 0).map(|rate| (messages * 1_000_000).div_ceil(rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(submission: u64, submitted: u64) -> Counters {
        Counters { submission: Some(submission), submitted_total: Some(submitted), ..Counters::default() }
    }

    #[test]
    fn what_a_server_does_while_it_has_work_is_its_rate_and_gives_the_delay() {
        let mut queues = Queues::default();
        assert_eq!(queues.read(&reading(0, 1_000), 0, 0), Some(0));
        // Idle before: what it did in these two seconds is not all that it can do.
        assert_eq!(queues.read(&reading(20, 1_030), 30, 2_000), None);
        // 10 of these 20 were done, and 30 came: 5 a second, and 40 are there.
        assert_eq!(queues.read(&reading(40, 1_060), 60, 4_000), Some(8_000));
        assert_eq!(queues.length(4_000), Some((40, 60)));
        assert_eq!(queues.length(6_000), Some((30, 60)));
        assert_eq!(queues.done_in_ms(10), Some(2_000));
        assert_eq!(queues.length(4_000 + STALE_MS + 1), None);
    }

    #[test]
    fn a_reading_that_does_not_know_of_the_mail_that_was_taken_meanwhile_is_an_old_one() {
        let mut queues = Queues::default();
        assert_eq!(queues.read(&reading(0, 1_000), 0, 0), Some(0));
        assert_eq!(queues.read(&reading(0, 1_000), 0, 500), Some(0));
        assert_eq!(queues.read(&reading(0, 1_000), 30, 1_000), None);
        assert_eq!(queues.read(&reading(0, 1_030), 30, 1_500), Some(0));
        queues.read(&reading(0, 1_030), 60, 1_500 + STALE_MS);
        assert!(!queues.are_known(1_501 + STALE_MS));
    }

    #[test]
    fn a_service_that_started_anew_is_measured_anew_and_an_old_collector_is_none() {
        let mut queues = Queues::default();
        queues.read(&reading(20, 1_000), 0, 0);
        queues.read(&reading(20, 1_020), 0, 2_000);
        assert!(queues.done_in_ms(1).is_some());
        assert_eq!(queues.read(&reading(20, 20), 0, 4_000), None);
        assert!(queues.done_in_ms(1).is_none());
        let old = Counters { active_mailbox: Some(3), ..Counters::default() };
        assert_eq!(Queues::default().read(&old, 0, 0), None);
        let mut queues = Queues::default();
        queues.read(&old, 0, 0);
        assert!(!queues.are_known(0));
    }
    #[test]
    fn mail_that_waits_for_a_database_longer_than_a_minute_is_a_rising_queue() {
        let waiting = |retry| Counters { retry_mailbox: Some(retry), ..Counters::default() };
        let mut queues = Queues::default();
        for (second, retry, rising) in [
            (0, 10, false),
            (2, 45, false),
            (60, 45, false),
            (62, 45, true),
            (64, 39, false),
            (200, 50, false),
        ] {
            queues.read(&waiting(retry), 0, second * 1_000);
            assert_eq!(queues.is_retry_queue_rising(second * 1_000), rising, "at {second} s");
        }
    }
}
