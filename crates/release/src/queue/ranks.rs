//! Mail of one kind by priority: strictly first, normal, last, but none of them starves.

use alloc::vec::Vec;

use super::job::{Job, PRIORITIES, Priority};
use super::lane::Lane;

/// So often in a row mail of a priority is passed over while it waits. The next turn is its own, or, where another
/// has waited as long, the one after that: at least one turn in 16.
const PASSED_OVER_MAX: u8 = 14;

/// Mail that can go at once, by priority.
#[derive(Debug)]
pub(super) struct Ranks {
    lanes: [Lane; PRIORITIES],
    passed_over: [u8; PRIORITIES],
}

impl Ranks {
    pub(super) fn new(is_fresh_mail: bool) -> Self {
        let lanes = [Priority::First, Priority::Normal, Priority::Last]
            .map(|priority| Lane::new(priority, is_fresh_mail));
        Self { lanes, passed_over: [0; PRIORITIES] }
    }

    pub(super) fn len(&self) -> usize {
        self.lanes.iter().map(Lane::len).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.iter().all(Lane::is_empty)
    }

    fn lane(&mut self, priority: Priority) -> &mut Lane {
        let [first, normal, last] = &mut self.lanes;
        match priority {
            Priority::First => first,
            Priority::Normal => normal,
            Priority::Last => last,
        }
    }

    pub(super) fn put(&mut self, job: Job) {
        self.lane(job.priority).put(job);
    }

    pub(super) fn put_back(&mut self, job: Job) {
        self.lane(job.priority).put_back(job);
    }

    pub(super) fn take(&mut self) -> Option<Job> {
        let mut waiting = self.lanes.iter().zip(&self.passed_over).enumerate();
        let overdue = waiting.position(|(_, (lane, over))| !lane.is_empty() && *over >= PASSED_OVER_MAX);
        let chosen = match overdue {
            Some(n) => n,
            None => self.lanes.iter().position(|lane| !lane.is_empty())?,
        };
        for (n, (lane, over)) in self.lanes.iter().zip(&mut self.passed_over).enumerate() {
            *over = if n == chosen || lane.is_empty() { 0 } else { over.saturating_add(1) };
        }
        self.lanes.get_mut(chosen)?.take()
    }

    /// Takes one that has not been tried, if there is one, of the best priority that has one.
    pub(super) fn take_untried(&mut self) -> Option<Job> {
        self.lanes.iter_mut().find_map(Lane::take_untried)
    }

    pub(super) fn take_expired(&mut self, expired: impl Fn(u32) -> bool) -> Option<Job> {
        self.lanes.iter_mut().find_map(|lane| lane.take_expired(&expired))
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Job> {
        self.lanes.iter_mut().find_map(|lane| lane.remove(id))
    }

    pub(super) fn unknown_from(&self, id: u64, count: usize) -> impl Iterator<Item = u64> {
        self.lanes.iter().flat_map(move |lane| lane.unknown_from(id, count))
    }

    pub(super) fn remove_unknown(&mut self, id: u64) -> Option<Job> {
        self.lanes.iter_mut().find_map(|lane| lane.remove_unknown(id))
    }

    pub(super) fn take_out(&mut self, which: impl Fn(u64) -> bool) {
        self.lanes.iter_mut().for_each(|lane| lane.take_out(&which));
    }

    pub(super) fn take_mailbox(&mut self, mailbox: u32) -> Vec<Job> {
        self.lanes.iter_mut().flat_map(|lane| lane.take_mailbox(mailbox)).collect()
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Job> {
        self.lanes.iter_mut().flat_map(Lane::drain)
    }

    pub(super) fn tried_mut(&mut self) -> impl Iterator<Item = &mut Job> {
        self.lanes.iter_mut().flat_map(Lane::tried_mut)
    }

    pub(super) fn sizes_bytes(&self) -> impl Iterator<Item = u64> {
        self.lanes.iter().flat_map(Lane::sizes_bytes)
    }

    #[cfg(test)]
    pub(super) fn memory_bytes(&self) -> usize {
        self.lanes.iter().map(Lane::memory_bytes).sum()
    }
}
