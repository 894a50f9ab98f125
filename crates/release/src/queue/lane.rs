//! Mail of one kind and priority: fair between mailboxes, oldest first within each.
//!
//! Start-time fair queueing (Goyal, Vin, Cheng: Start-time Fair Queueing, 1996) with a message as the unit. Each mailbox
//! has a start tag; the least is next, and goes up by one with each message taken. A mailbox that had nothing to send
//! starts at the tag that was served last, or where it had left off if that is later: it gains nothing by coming and
//! going. So a mailbox with one message waits for at most one message of each of the others.
//!
//! Tags are kept for [`BUCKETS`] buckets, of which a mailbox has one by its hash: bounded, whatever addresses a sender
//! makes up. Two mailboxes in one bucket are as one.
//!
//! Where the mailbox is not known, as with all mail after a restart, nothing can be fair, and the order is by age: such
//! a message goes as soon as it is older than the one that fairness would pick. So it never waits longer than it
//! would if all went oldest first, and holds up nobody longer.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::job::{Job, Numbered, Priority, Untried};
use super::row::Row;

/// How many there are: with 500 mailboxes one that is flooded has its bucket for itself in 9 cases of 10.
const BUCKETS: usize = 4_096;

/// Mail that can go at once.
#[derive(Debug)]
pub(super) struct Lane {
    priority: Priority,
    is_fresh_mail: bool,
    unknown: Bucket,
    /// None before the first message, then [`BUCKETS`].
    buckets: Vec<Bucket>,
    /// Buckets that hold mail, by tag, then by the age of what is next in them.
    turns: BTreeSet<(u64, u64, u16)>,
    /// The tag that was served last.
    served: u64,
    len: usize,
}

/// The mail of a mailbox.
#[derive(Clone, Debug, Default)]
struct Bucket {
    untried: Row<Untried>,
    /// What has been tried and may be tried again.
    tried: Row<Job>,
    /// Whether the last one taken had been tried: the two take turns, so that neither starves the other.
    took_tried: bool,
    /// The tag of its next message.
    start: u64,
}

impl Bucket {
    fn is_tried_next(&self) -> bool {
        !self.tried.is_empty() && (self.untried.is_empty() || !self.took_tried)
    }

    /// The id of the message that is next.
    fn next_id(&self) -> Option<u64> {
        if self.is_tried_next() {
            self.tried.front().map(Numbered::id)
        } else {
            self.untried.front().map(Numbered::id)
        }
    }

    /// The id of its oldest message.
    fn oldest_id(&self) -> Option<u64> {
        let untried = self.untried.front().map(Numbered::id);
        untried.into_iter().chain(self.tried.front().map(Numbered::id)).min()
    }

    fn len(&self) -> usize {
        self.untried.len() + self.tried.len()
    }

    fn insert(&mut self, job: Job) {
        if job.is_untried() { self.untried.insert(Untried::of(job)) } else { self.tried.insert(job) }
    }
}

impl Lane {
    pub(super) fn new(priority: Priority, is_fresh_mail: bool) -> Self {
        Self {
            priority,
            is_fresh_mail,
            unknown: Bucket::default(),
            buckets: Vec::new(),
            turns: BTreeSet::new(),
            served: 0,
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bucket of a mailbox, `None` for those that are not known.
    fn bucket_of(mailbox: u32) -> Option<u16> {
        (mailbox != 0).then_some((mailbox as usize % BUCKETS) as u16)
    }

    pub(super) fn put(&mut self, job: Job) {
        self.len += 1;
        match Self::bucket_of(job.mailbox) {
            Some(n) => self.change(n, |bucket| bucket.insert(job)),
            None => self.unknown.insert(job),
        }
    }

    /// Puts back what was taken and could not be tried: its mailbox has its turn again.
    pub(super) fn put_back(&mut self, job: Job) {
        if let Some(n) = Self::bucket_of(job.mailbox) {
            self.change(n, |bucket| bucket.start = bucket.start.saturating_sub(1));
        }
        self.put(job);
    }

    pub(super) fn take(&mut self) -> Option<Job> {
        let fair = self.turns.first().copied();
        let unknown = self.unknown.oldest_id();
        match (fair, unknown) {
            (Some((tag, id, n)), unknown) if unknown.is_none_or(|unknown| id < unknown) => {
                self.served = tag;
                self.take_of(Some(n), |bucket| {
                    bucket.start += 1;
                    bucket.is_tried_next()
                })
            }
            _ => self.take_of(None, |bucket| bucket.is_tried_next()),
        }
    }

    /// Takes one that has not been tried, if there is one.
    pub(super) fn take_untried(&mut self) -> Option<Job> {
        let has = |bucket: &Bucket| !bucket.untried.is_empty();
        let mut turns = self.turns.iter().map(|(_, _, n)| *n);
        let n = turns.find(|n| self.buckets.get(usize::from(*n)).is_some_and(has));
        if n.is_none() && !has(&self.unknown) {
            return None;
        }
        let n = if has(&self.unknown) { None } else { n };
        self.take_of(n, |bucket| {
            bucket.start += 1;
            false
        })
    }

    /// Takes the oldest of a bucket: of those that have been tried if `is_tried` says so, else of the others.
    fn take_of(&mut self, n: Option<u16>, is_tried: impl FnOnce(&mut Bucket) -> bool) -> Option<Job> {
        let (priority, is_fresh_mail) = (self.priority, self.is_fresh_mail);
        let take = |bucket: &mut Bucket| {
            bucket.took_tried = is_tried(bucket);
            if bucket.took_tried {
                bucket.tried.pop_front()
            } else {
                bucket.untried.pop_front().map(|untried| untried.job(priority, is_fresh_mail))
            }
        };
        let job = match n {
            Some(n) => self.change(n, take),
            None => take(&mut self.unknown),
        };
        self.len -= usize::from(job.is_some());
        job
    }

    /// Changes a bucket, and its place in the order accordingly.
    fn change<T>(&mut self, n: u16, change: impl FnOnce(&mut Bucket) -> T) -> T
    where
        T: Default,
    {
        if self.buckets.is_empty() {
            self.buckets.resize_with(BUCKETS, Bucket::default);
        }
        let Some(bucket) = self.buckets.get_mut(usize::from(n)) else { return T::default() };
        let place = |bucket: &Bucket| bucket.next_id().map(|id| (bucket.start, id, n));
        let before = place(bucket);
        let changed = change(bucket);
        if bucket.len() > 0 {
            bucket.start = bucket.start.max(self.served);
        }
        let after = place(bucket);
        if before != after {
            if let Some(before) = before {
                self.turns.remove(&before);
            }
            self.turns.extend(after);
        }
        changed
    }

    /// Every bucket with its number, `None` for that of mailboxes that are not known.
    fn all(&self) -> impl Iterator<Item = (Option<u16>, &Bucket)> {
        core::iter::once((None, &self.unknown)).chain((0..).map(Some).zip(&self.buckets))
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Bucket> {
        core::iter::once(&mut self.unknown).chain(&mut self.buckets)
    }

    /// Works out the order anew after its buckets were changed.
    fn reorder(&mut self) {
        self.turns.clear();
        self.len = self.unknown.len();
        for (n, bucket) in (0..).zip(&mut self.buckets) {
            self.len += bucket.len();
            if let Some(id) = bucket.next_id() {
                bucket.start = bucket.start.max(self.served);
                self.turns.insert((bucket.start, id, n));
            }
        }
    }

    /// Takes out one message. Looks into every bucket.
    pub(super) fn remove(&mut self, id: u64) -> Option<Job> {
        let (priority, is_fresh_mail) = (self.priority, self.is_fresh_mail);
        let has = |row: Option<u64>| row.is_some_and(|first| first <= id);
        let found = self.all_mut().find_map(|bucket| {
            let untried = has(bucket.untried.front().map(Numbered::id)).then(|| bucket.untried.remove(id));
            let untried = untried.flatten().map(|untried| untried.job(priority, is_fresh_mail));
            untried.or_else(|| bucket.tried.remove(id))
        });
        if found.is_some() {
            self.reorder();
        }
        found
    }

    /// Messages of which the mailbox is not known, from this id on: of those not tried, and of those tried, the first
    /// `count`.
    pub(super) fn unknown_from(&self, id: u64, count: usize) -> impl Iterator<Item = u64> {
        let untried = self.unknown.untried.from(id).map(Numbered::id).take(count);
        untried.chain(self.unknown.tried.from(id).map(Numbered::id).take(count))
    }

    /// Takes out a message of which the mailbox is not known.
    pub(super) fn remove_unknown(&mut self, id: u64) -> Option<Job> {
        let (priority, is_fresh_mail) = (self.priority, self.is_fresh_mail);
        let untried = self.unknown.untried.remove(id).map(|untried| untried.job(priority, is_fresh_mail));
        let job = untried.or_else(|| self.unknown.tried.remove(id))?;
        self.len -= 1;
        Some(job)
    }

    /// Takes out all messages that `which` says.
    pub(super) fn take_out(&mut self, which: impl Fn(u64) -> bool) {
        for bucket in self.all_mut() {
            bucket.untried.retain(|untried| !which(untried.id()));
            bucket.tried.retain(|job| !which(job.id()));
        }
        self.reorder();
    }

    /// Takes out the mail of one mailbox.
    pub(super) fn take_mailbox(&mut self, mailbox: u32) -> Vec<Job> {
        let Some(n) = Self::bucket_of(mailbox) else { return Vec::new() };
        if self.is_empty() {
            return Vec::new();
        }
        let (priority, is_fresh_mail) = (self.priority, self.is_fresh_mail);
        let taken = self.change(n, |bucket| {
            let untried = bucket.untried.iter().filter(|untried| untried.mailbox == mailbox);
            let tried = bucket.tried.iter().filter(|job| job.mailbox == mailbox).copied();
            let taken: Vec<_> =
                untried.map(|untried| untried.job(priority, is_fresh_mail)).chain(tried).collect();
            bucket.untried.retain(|untried| untried.mailbox != mailbox);
            bucket.tried.retain(|job| job.mailbox != mailbox);
            taken
        });
        self.len -= taken.len();
        taken
    }

    /// Takes everything.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Job> {
        let (priority, is_fresh_mail) = (self.priority, self.is_fresh_mail);
        self.turns.clear();
        self.len = 0;
        self.all_mut().flat_map(move |bucket| {
            let untried = bucket.untried.drain().map(move |untried| untried.job(priority, is_fresh_mail));
            untried.chain(bucket.tried.drain())
        })
    }

    /// Takes a message for which `expired` says so of the time it was accepted, where the oldest of a mailbox is one.
    pub(super) fn take_expired(&mut self, expired: impl Fn(u32) -> bool) -> Option<Job> {
        let of = |bucket: &Bucket| {
            let untried = bucket.untried.front().is_some_and(|first| expired(first.accepted_unix_s));
            let tried = || bucket.tried.front().is_some_and(|first| expired(first.accepted_unix_s));
            if untried { Some(false) } else { tried().then_some(true) }
        };
        let (n, is_tried) = self.all().find_map(|(n, bucket)| of(bucket).map(|is_tried| (n, is_tried)))?;
        self.take_of(n, |_| is_tried)
    }

    pub(super) fn tried_mut(&mut self) -> impl Iterator<Item = &mut Job> {
        self.all_mut().flat_map(|bucket| bucket.tried.iter_mut())
    }

    pub(super) fn sizes_bytes(&self) -> impl Iterator<Item = u64> {
        self.all().flat_map(|(_, bucket)| {
            let untried = bucket.untried.iter().map(Numbered::size_bytes);
            untried.chain(bucket.tried.iter().map(Numbered::size_bytes)).map(u64::from)
        })
    }

    #[cfg(test)]
    pub(super) fn memory_bytes(&self) -> usize {
        let rows: usize = self.all().map(|(_, it)| it.untried.memory_bytes() + it.tried.memory_bytes()).sum();
        // A node of the tree is half full at least.
        rows + self.buckets.capacity() * size_of::<Bucket>() + self.turns.len() * 2 * 24
    }
}
