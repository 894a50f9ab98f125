//! Messages that wait for their next attempt, by the time that it is due.

use alloc::collections::BinaryHeap;
use core::cmp::Ordering;

use super::job::{Job, Secs};
use super::row::{growth, is_roomy};

/// A job that waits. Ordered so that the greatest, which a heap gives first, is the one due first, the oldest of those.
#[derive(Clone, Copy, Debug)]
struct Entry(Job);

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |Self(job): &Self| (job.due, job.id);
        key(other).cmp(&key(self))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting(BinaryHeap<Entry>);

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// When the first is due.
    pub(super) fn next_due(&self) -> Option<Secs> {
        self.0.peek().map(|entry| entry.0.due)
    }

    pub(super) fn push(&mut self, job: Job) {
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact(growth(self.0.len()));
        }
        self.0.push(Entry(job));
    }

    /// Takes the one that is due first.
    pub(super) fn pop(&mut self) -> Option<Job> {
        let job = self.0.pop()?.0;
        if is_roomy(self.0.len(), self.0.capacity()) {
            self.0.shrink_to(self.0.len() * 2);
        }
        Some(job)
    }

    /// Takes out one message. Looks through all of them.
    pub(super) fn remove(&mut self, id: u64) -> Option<Job> {
        let job = self.iter().find(|job| job.id == id).copied()?;
        self.0.retain(|entry| entry.0.id != id);
        Some(job)
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&Job) -> bool) {
        self.0.retain(|entry| keep(&entry.0));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.0.iter().map(|entry| &entry.0)
    }

    /// Changes all of them, whenever they are due then.
    pub(super) fn change(&mut self, change: impl Fn(&mut Job)) {
        let mut all = core::mem::take(&mut self.0).into_vec();
        all.iter_mut().for_each(|Entry(job)| change(job));
        self.0 = all.into();
    }

    #[cfg(test)]
    pub(super) fn memory_bytes(&self) -> usize {
        self.0.capacity() * size_of::<Entry>()
    }
}
