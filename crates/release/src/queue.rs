//! The messages that are still to go, oldest first.
//!
//! What has not been tried lies in a ring sorted by id, 16 bytes a message; what waits for its next attempt lies in a
//! heap sorted by due time, 32 bytes a message. Both grow by a quarter, so that a million messages take at most 40 MB
//! whatever happens to them.

use alloc::collections::{BinaryHeap, VecDeque};
use alloc::vec::Vec;
use core::cmp::Ordering;

/// Attempts are counted up to here.
pub const ATTEMPTS_MAX: u32 = u8::MAX as u32;

/// A message as its caller knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its number in the log: the higher, the younger.
    pub id: u64,
    /// Its size in bytes.
    pub size_bytes: u32,
    /// When it was accepted, in ms since 1970, if the clock could be trusted then.
    pub accepted_unix_ms: Option<u64>,
}

/// A message that a server may have taken is not sent again before so many seconds have passed, whatever happens.
pub(crate) const UNKNOWN_WAIT_S: Secs = 600;

/// A moment in whole seconds since the start, from 1; 0 is "never".
pub(crate) type Secs = u32;

/// A message with what is known of its attempts, outside the queue: in flight or about to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) id: u64,
    pub(crate) size_bytes: u32,
    /// Seconds since 1970, 0 if unknown.
    pub(crate) accepted_unix_s: u32,
    /// When its wait ends.
    due: Secs,
    /// When it last failed.
    pub(crate) failed: Secs,
    /// When it first did harm.
    pub(crate) first_harm: Secs,
    pub(crate) attempts: u8,
    /// Harmful failures with others passing between.
    pub(crate) harms: u8,
    /// Whether the server may have taken it the last time.
    pub(crate) unknown: bool,
}

impl Job {
    pub(crate) fn new(message: Message, attempts: u32) -> Self {
        let accepted = message.accepted_unix_ms.map_or(0, |ms| u32::try_from(ms / 1_000).unwrap_or(u32::MAX));
        Self {
            id: message.id,
            size_bytes: message.size_bytes,
            accepted_unix_s: accepted,
            due: 0,
            failed: 0,
            first_harm: 0,
            attempts: u8::try_from(attempts).unwrap_or(u8::MAX),
            harms: 0,
            unknown: false,
        }
    }

    /// The moment before which it must not go. It failed at some time within its second.
    fn not_before(&self) -> Secs {
        if self.unknown { self.failed.saturating_add(UNKNOWN_WAIT_S + 1) } else { 0 }
    }

    /// Whether it is as it was when it was accepted.
    fn is_fresh(&self) -> bool {
        self.failed == 0 && self.attempts == 0 && self.due == 0
    }
}

/// A job that has not been tried.
#[derive(Clone, Copy, Debug)]
struct Fresh {
    id: u64,
    size_bytes: u32,
    accepted_unix_s: u32,
}

/// A job that waits. Ordered so that the greatest, which a heap gives first, is the one due first, the oldest of those.
#[derive(Clone, Copy, Debug)]
struct Waiting(Job);

const _: () = assert!(size_of::<Fresh>() == 16 && size_of::<Waiting>() <= 32);

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.0.due, other.0.id).cmp(&(self.0.due, self.0.id))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}

impl From<Fresh> for Job {
    fn from(fresh: Fresh) -> Self {
        let Fresh { id, size_bytes, accepted_unix_s } = fresh;
        Self {
            id,
            size_bytes,
            accepted_unix_s,
            due: 0,
            failed: 0,
            first_harm: 0,
            attempts: 0,
            harms: 0,
            unknown: false,
        }
    }
}

/// All messages that are not in flight.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Sorted by id.
    ready: VecDeque<Fresh>,
    waiting: BinaryHeap<Waiting>,
    bytes: u64,
    /// Whether the last one taken had waited: the two take turns, so that neither starves the other.
    took_waiting: bool,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.ready.len() + self.waiting.len()
    }

    /// The size of all messages in it.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When the next message that waits is due.
    pub(crate) fn next_due(&self) -> Option<Secs> {
        self.waiting.peek().map(|waiting| waiting.0.due)
    }

    /// Whether a message could go at once.
    pub(crate) fn has_due(&self, now: Secs) -> bool {
        !self.ready.is_empty() || self.next_due().is_some_and(|due| due <= now)
    }

    /// Puts a job where it belongs as if nothing had happened to it.
    pub(crate) fn put(&mut self, job: Job, now: Secs) {
        if !job.is_fresh() {
            return self.put_waiting(job, now);
        }
        self.bytes += u64::from(job.size_bytes);
        if self.ready.len() == self.ready.capacity() {
            self.ready.reserve_exact(growth(self.ready.len()));
        }
        let Job { id, size_bytes, accepted_unix_s, .. } = job;
        let at = self.ready.partition_point(|other| other.id < id);
        self.ready.insert(at, Fresh { id, size_bytes, accepted_unix_s });
    }

    /// Puts a job aside until `due`.
    pub(crate) fn put_waiting(&mut self, mut job: Job, due: Secs) {
        job.due = due;
        self.bytes += u64::from(job.size_bytes);
        if self.waiting.len() == self.waiting.capacity() {
            self.waiting.reserve_exact(growth(self.waiting.len()));
        }
        self.waiting.push(Waiting(job));
    }

    /// Takes the oldest message that may go: by turns one that has not been tried and one whose wait is over.
    pub(crate) fn take(&mut self, now: Secs) -> Option<Job> {
        let waited = self.next_due().is_some_and(|due| due <= now);
        self.took_waiting = waited && (self.ready.is_empty() || !self.took_waiting);
        if self.took_waiting { self.take_earliest(now) } else { self.take_ready() }
    }

    /// Takes a message whether its wait is over or not: one that has not been tried, else the one that is due first.
    pub(crate) fn take_any(&mut self, now: Secs) -> Option<Job> {
        self.take_ready().or_else(|| self.take_earliest(now))
    }

    /// Takes the message that is due first, even if it is not yet; but for those that must not go now.
    pub(crate) fn take_earliest(&mut self, now: Secs) -> Option<Job> {
        let mut barred = Vec::new();
        let job = loop {
            match self.waiting.pop() {
                Some(first) if first.0.due > now && first.0.not_before() > now => barred.push(first),
                other => break other.map(|waiting| waiting.0),
            }
        };
        self.waiting.extend(barred);
        let job = job?;
        if is_roomy(self.waiting.len(), self.waiting.capacity()) {
            self.waiting.shrink_to(self.waiting.len() * 2);
        }
        self.bytes -= u64::from(job.size_bytes);
        Some(job)
    }

    fn take_ready(&mut self) -> Option<Job> {
        let job = Job::from(self.ready.pop_front()?);
        if is_roomy(self.ready.len(), self.ready.capacity()) {
            self.ready.shrink_to(self.ready.len() * 2);
        }
        self.bytes -= u64::from(job.size_bytes);
        Some(job)
    }

    /// Takes a message that was accepted before `oldest_unix_s`. Looks where the oldest come to lie: at the head of
    /// those not tried and at those whose wait is over.
    pub(crate) fn take_expired(&mut self, oldest_unix_s: u32, now: Secs) -> Option<Job> {
        let expired = |accepted: u32| accepted != 0 && accepted < oldest_unix_s;
        if self.ready.front().is_some_and(|front| expired(front.accepted_unix_s)) {
            return self.take_ready();
        }
        let first =
            self.waiting.peek().filter(|first| first.0.due <= now && expired(first.0.accepted_unix_s));
        if first.is_some() { self.take_earliest(now) } else { None }
    }

    /// Takes out one message. Looks through all that wait: 20 ms for a million of them.
    pub(crate) fn remove(&mut self, id: u64) -> Option<Job> {
        let job = match self.ready.binary_search_by_key(&id, |fresh| fresh.id) {
            Ok(at) => self.ready.remove(at).map(Job::from)?,
            Err(_) => {
                let job = self.waiting.iter().find(|waiting| waiting.0.id == id)?.0;
                self.waiting.retain(|waiting| waiting.0.id != id);
                job
            }
        };
        self.bytes -= u64::from(job.size_bytes);
        Some(job)
    }

    /// Takes out all messages that `which` says.
    pub(crate) fn take_out(&mut self, which: impl Fn(u64) -> bool) {
        self.ready.retain(|fresh| !which(fresh.id));
        self.waiting.retain(|waiting| !which(waiting.0.id));
        let ready = self.ready.iter().map(|fresh| u64::from(fresh.size_bytes));
        self.bytes = ready.chain(self.waiting.iter().map(|waiting| u64::from(waiting.0.size_bytes))).sum();
    }

    /// Ends every wait.
    pub(crate) fn end_waits(&mut self, now: Secs) {
        self.change_waiting(|job| job.due = job.due.min(now.max(job.not_before())));
    }

    /// Ends the wait of every message that failed at `since` or later, as if it had not been tried: it was not the
    /// message's fault. One that did harm more than once has its own share in it and waits on.
    pub(crate) fn forgive(&mut self, since: Secs, now: Secs) {
        self.change_waiting(|job| {
            if job.failed >= since && job.harms <= 1 {
                job.due = job.due.min(now.max(job.not_before()));
                job.attempts = 0;
            }
        });
    }

    fn change_waiting(&mut self, change: impl Fn(&mut Job)) {
        let mut all = core::mem::take(&mut self.waiting).into_vec();
        all.iter_mut().for_each(|Waiting(job)| change(job));
        self.waiting = all.into();
    }
}

/// By how many entries a full collection of `len` grows.
fn growth(len: usize) -> usize {
    (len / 4).max(64)
}

/// Whether a collection holds on to the memory of a backlog that has gone.
fn is_roomy(len: usize, capacity: usize) -> bool {
    capacity > 1_024 && len < capacity / 4
}

#[cfg(test)]
mod tests {
    extern crate std;

    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn job(id: u64) -> Job {
        Job::new(Message { id, size_bytes: 10, accepted_unix_ms: None }, 0)
    }

    fn failed(id: u64, failed: Secs) -> Job {
        Job { failed, attempts: 1, ..job(id) }
    }

    #[test]
    fn mail_goes_oldest_first_and_what_comes_back_untried_has_its_place_again() {
        let mut queue = Queue::default();
        [3, 1, 2].into_iter().for_each(|id| queue.put(job(id), 1));
        let first = queue.take(1).unwrap();
        queue.put(job(4), 1);
        queue.put(first, 1);
        let order: Vec<_> = core::iter::from_fn(|| queue.take(1)).map(|job| job.id).collect();
        assert_eq!(order, [1, 2, 3, 4]);
    }

    #[test]
    fn retries_and_fresh_mail_take_turns() {
        let mut queue = Queue::default();
        [10, 11, 12].into_iter().for_each(|id| queue.put(job(id), 1));
        [1, 2].into_iter().for_each(|id| queue.put_waiting(failed(id, 1), 5));
        let order: Vec<_> = core::iter::from_fn(|| queue.take(5)).map(|job| job.id).collect();
        assert_eq!(order, [1, 10, 2, 11, 12]);
    }

    #[test]
    fn nothing_goes_before_its_time_unless_its_wait_was_not_its_fault() {
        let mut queue = Queue::default();
        queue.put_waiting(failed(1, 10), 500);
        queue.put_waiting(failed(2, 20), 500);
        queue.put_waiting(Job { harms: 2, ..failed(3, 20) }, 500);
        assert_eq!(queue.take(499), None);
        queue.forgive(15, 30);
        assert_eq!(queue.take(30).map(|job| job.id), Some(2));
        assert_eq!(queue.take(30), None);
    }

    #[test]
    fn a_million_messages_take_at_most_40_bytes_each_tried_or_not() {
        const MESSAGES: usize = 1_000_000;
        let mut queue = Queue::default();
        let bytes = |queue: &Queue| {
            queue.ready.capacity() * size_of::<Fresh>() + queue.waiting.capacity() * size_of::<Waiting>()
        };
        (0..MESSAGES as u64).for_each(|id| queue.put(job(id), 1));
        assert!(bytes(&queue) <= 40 * MESSAGES, "fresh: {}", bytes(&queue));
        while queue.take(1).is_some() {}
        assert!(bytes(&queue) <= 40 * 1_024, "a backlog that has gone leaves its memory: {}", bytes(&queue));
        let mut queue = Queue::default();
        (0..MESSAGES as u64).for_each(|id| queue.put_waiting(failed(id, 1), 100));
        assert!(bytes(&queue) <= 40 * MESSAGES, "waiting: {}", bytes(&queue));
    }

    #[test]
    fn what_the_server_may_have_taken_waits_its_ten_minutes_whatever_happens() {
        let mut queue = Queue::default();
        queue.put_waiting(Job { unknown: true, ..failed(1, 10) }, 10 + UNKNOWN_WAIT_S + 1);
        queue.put_waiting(failed(2, 10), 10 + UNKNOWN_WAIT_S + 2);
        queue.forgive(5, 20);
        queue.end_waits(20);
        assert_eq!(queue.take_any(20).map(|job| job.id), Some(2));
        assert_eq!((queue.take_any(20), queue.len()), (None, 1));
        assert_eq!(queue.take(10 + UNKNOWN_WAIT_S + 1).map(|job| job.id), Some(1));
    }

    proptest! {
        /// Whatever is put, taken and removed: each message comes out once, and the figures are right.
        #[test]
        fn each_message_comes_out_once(ops in prop::collection::vec((0u8..7, 0u64..40), 1..200)) {
            let mut queue = Queue::default();
            let mut inside = std::collections::BTreeSet::new();
            let (mut now, mut next_id) = (1, 0);
            for (op, n) in ops {
                match op {
                    0 | 1 => {
                        let job = if op == 0 { job(next_id) } else { failed(next_id, now) };
                        if op == 0 { queue.put(job, now) } else { queue.put_waiting(job, now + n as u32) }
                        inside.insert(next_id);
                        next_id += 1;
                    }
                    2 => now += n as u32,
                    3 => prop_assert_eq!(queue.remove(n).is_some(), inside.remove(&n)),
                    4 => {
                        if let Some(job) = queue.take(now) {
                            prop_assert!(inside.remove(&job.id));
                        }
                    }
                    5 => {
                        queue.take_out(|id| id % 3 == n % 3);
                        inside.retain(|id| id % 3 != n % 3);
                    }
                    _ => {
                        if let Some(job) = queue.take_any(now) {
                            prop_assert!(inside.remove(&job.id));
                        }
                    }
                }
                prop_assert_eq!(queue.len(), inside.len());
                prop_assert_eq!(queue.bytes(), 10 * inside.len() as u64);
            }
        }
    }
}
