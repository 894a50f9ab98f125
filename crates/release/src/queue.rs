//! The messages that are still to go, and in which order.
//!
//! What can go at once is fresh mail or backlog, each by priority, fair between mailboxes, oldest first (`ranks`,
//! `lane`). What waits for its next attempt lies in a heap sorted by due time; what a mailbox that is to be spared has
//! (`spacing`), and what is for recipients that are held, lies aside. 20 bytes a message that has not been tried, 36
//! otherwise; all of it grows by a 32nd, so that a million messages take at most 40 MB whatever happens to them.

mod job;
mod lane;
mod ranks;
mod row;
mod spacing;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet, BinaryHeap};
use alloc::vec::Vec;
use core::cmp::Ordering;

use job::Numbered;
pub use job::{ATTEMPTS_MAX, Message, Priority};
pub(crate) use job::{Job, Secs};
use ranks::Ranks;
use row::{Row, growth, is_roomy};
pub(crate) use spacing::End;
use spacing::Spacing;

/// What a message is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What came while mail was going out.
    Fresh,
    /// What had piled up before.
    Backlog,
}

/// A job that waits. Ordered so that the greatest, which a heap gives first, is the one due first, the oldest of those.
#[derive(Clone, Copy, Debug)]
struct Waiting(Job);

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |Waiting(job): &Self| (job.due, job.id);
        key(other).cmp(&key(self))
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

/// All messages that are not in flight.
#[derive(Debug)]
pub(crate) struct Queue {
    fresh: Ranks,
    backlog: Ranks,
    /// What the last one taken was.
    took: Kind,
    waiting: BinaryHeap<Waiting>,
    spacing: Spacing,
    /// By route: messages of which all open recipients are held.
    parked: BTreeMap<u16, Row<Job>>,
    held_routes: BTreeSet<u16>,
    bytes: u64,
    /// When it was last seen that nothing accepted before this, in seconds since 1970, could go.
    none_expired: (Secs, u32),
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            fresh: Ranks::new(true),
            backlog: Ranks::new(false),
            took: Kind::Backlog,
            waiting: BinaryHeap::new(),
            spacing: Spacing::default(),
            parked: BTreeMap::new(),
            held_routes: BTreeSet::new(),
            bytes: 0,
            none_expired: (0, 0),
        }
    }
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        let parked: usize = self.parked.values().map(Row::len).sum();
        self.ready_len() + self.waiting.len() + self.spacing.len() + parked
    }

    /// How many wait for their next attempt.
    pub(crate) fn waiting_len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether there is a message that a server could be tried with.
    pub(crate) fn has_any(&mut self, now: Secs) -> bool {
        self.end_due_waits(now);
        self.ready_len() > 0 || !self.waiting.is_empty()
    }

    fn ready_len(&self) -> usize {
        self.fresh.len() + self.backlog.len()
    }

    /// The size of all messages in it.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When the next message that waits is due, or the next of a mailbox that is spared.
    pub(crate) fn next_due(&self) -> Option<Secs> {
        let waiting = self.waiting.peek().map(|waiting| waiting.0.due);
        waiting.into_iter().chain(self.spacing.next_due()).min()
    }

    /// Whether a message could go at once, or seems to.
    pub(crate) fn is_any_due(&self, now: Secs) -> bool {
        self.ready_len() > 0 || self.next_due().is_some_and(|due| due <= now)
    }

    /// Whether a message of this kind could go at once.
    pub(crate) fn has_due(&mut self, kind: Kind, now: Secs) -> bool {
        self.end_due_waits(now);
        !self.ranks(kind).is_empty()
    }

    /// Whose turn it is, of what could go at once. Where both wait they take turns: fresh mail waits for one message of
    /// the backlog, and the backlog has half of the turns at least.
    pub(crate) fn turn(&mut self, now: Secs) -> Option<Kind> {
        match (self.has_due(Kind::Fresh, now), self.has_due(Kind::Backlog, now)) {
            (true, true) if self.took == Kind::Fresh => Some(Kind::Backlog),
            (true, _) => Some(Kind::Fresh),
            (false, true) => Some(Kind::Backlog),
            (false, false) => None,
        }
    }

    /// Takes in a job that may go at once.
    pub(crate) fn put(&mut self, job: Job) {
        self.bytes += u64::from(job.size_bytes);
        self.make_ready(job);
    }

    /// Puts a job where it belongs as if nothing had happened to it.
    pub(crate) fn put_back(&mut self, job: Job) {
        self.bytes += u64::from(job.size_bytes);
        if let Some(job) = self.spacing.put(job) {
            self.ranks(job.kind()).put_back(job);
        }
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

    /// Puts a job aside until its route is free. Where that is so already it may go at once.
    pub(crate) fn park(&mut self, job: Job, route: u16) {
        if !self.held_routes.contains(&route) {
            return self.put(job);
        }
        self.bytes += u64::from(job.size_bytes);
        self.parked.entry(route).or_default().insert(job);
    }

    pub(crate) fn hold_route(&mut self, route: u16) {
        self.held_routes.insert(route);
    }

    /// What was parked for this route may go at once.
    pub(crate) fn free_route(&mut self, route: u16) {
        self.held_routes.remove(&route);
        let mut parked = self.parked.remove(&route).unwrap_or_default();
        parked.drain().for_each(|job| self.make_ready(job));
    }

    pub(crate) fn is_route_held(&self, route: u16) -> bool {
        self.held_routes.contains(&route)
    }

    /// Whether a message may not go, since its mailbox is spared and it is not its turn.
    pub(crate) fn spares(&self, mailbox: u32, id: u64) -> bool {
        self.spacing.spares(mailbox, id)
    }

    /// A message that was taken has come to an end, for now: what that says of its mailbox.
    pub(crate) fn ended(&mut self, job: &Job, end: End, now: Secs) {
        let (id, mailbox) = (job.id, job.mailbox);
        let mut freed = self.spacing.ended(mailbox, id, end, now);
        freed.drain().for_each(|job| self.make_ready(job));
        if end == End::Throttled && mailbox != 0 {
            let aside = [self.fresh.take_mailbox(mailbox), self.backlog.take_mailbox(mailbox)];
            aside.into_iter().flatten().for_each(|job| self.make_ready(job));
        }
    }

    /// Takes the message whose turn it is, of those of this kind that could go at once.
    pub(crate) fn take(&mut self, kind: Kind, now: Secs) -> Option<Job> {
        self.end_due_waits(now);
        let job = self.ranks(kind).take()?;
        self.took = kind;
        Some(self.taken(job))
    }

    /// Takes a message to find out with how a server is, whether its wait is over or not: one that has not been tried,
    /// else one that could go at once, else the one that is due first.
    pub(crate) fn take_any(&mut self, now: Secs) -> Option<Job> {
        self.end_due_waits(now);
        let untried = self.backlog.take_untried().or_else(|| self.fresh.take_untried());
        match untried.or_else(|| self.backlog.take()).or_else(|| self.fresh.take()) {
            Some(job) => Some(self.taken(job)),
            None => self.take_earliest(),
        }
    }

    /// Takes the message that is due first, even if it is not yet.
    pub(crate) fn take_earliest(&mut self) -> Option<Job> {
        let job = self.pop_waiting()?;
        Some(self.taken(job))
    }

    /// Takes a message that was accepted before `oldest_unix_s`. Looks where the oldest come to lie: at the head of each
    /// mailbox's mail that could go at once. Once a second.
    pub(crate) fn take_expired(&mut self, oldest_unix_s: u32, now: Secs) -> Option<Job> {
        self.end_due_waits(now);
        if self.none_expired.0 == now {
            return None;
        }
        let expired = |accepted: u32| accepted != 0 && accepted < oldest_unix_s;
        match self.backlog.take_expired(expired).or_else(|| self.fresh.take_expired(expired)) {
            Some(job) => {
                self.spacing.gone(|id| id == job.id);
                Some(self.taken(job))
            }
            None => {
                self.none_expired = (now, oldest_unix_s);
                None
            }
        }
    }

    /// Takes out one message. Looks through all that wait: 20 ms for a million of them.
    pub(crate) fn remove(&mut self, id: u64) -> Option<Job> {
        self.spacing.gone(|gone| gone == id);
        let ready = self.fresh.remove(id).or_else(|| self.backlog.remove(id));
        let aside = ready.or_else(|| self.spacing.remove(id));
        let parked = || self.parked.values_mut().find_map(|row| row.remove(id));
        let job = match aside.or_else(parked) {
            Some(job) => job,
            None => {
                let job = self.waiting.iter().find(|waiting| waiting.0.id == id)?.0;
                self.waiting.retain(|waiting| waiting.0.id != id);
                job
            }
        };
        Some(self.taken(job))
    }

    /// Takes out all messages that `which` says.
    pub(crate) fn take_out(&mut self, which: impl Fn(u64) -> bool) {
        self.fresh.take_out(&which);
        self.backlog.take_out(&which);
        self.spacing.take_out(&which);
        self.parked.values_mut().for_each(|row| row.retain(|job| !which(job.id())));
        self.waiting.retain(|waiting| !which(waiting.0.id));
        let jobs = self.waiting.iter().map(|waiting| &waiting.0).chain(self.spacing.iter());
        let jobs = jobs.chain(self.parked.values().flat_map(Row::iter)).map(|job| u64::from(job.size_bytes));
        self.bytes = jobs.chain(self.fresh.sizes_bytes()).chain(self.backlog.sizes_bytes()).sum();
    }

    /// Ends every wait.
    pub(crate) fn end_waits(&mut self, now: Secs) {
        self.change_waiting(|job| job.due = now, now);
    }

    /// Ends the wait of every message that failed at `since` or later, as if it had not been tried: it was not the
    /// message's fault. One that did harm more than once has its own share in it and waits on.
    pub(crate) fn forgive(&mut self, since: Secs, now: Secs) {
        let is_forgiven = |job: &Job| job.failed >= since && job.harms <= 1;
        let ready = self.fresh.tried_mut().chain(self.backlog.tried_mut());
        ready.filter(|job| is_forgiven(job)).for_each(|job| job.attempts = 0);
        self.change_waiting(
            |job| {
                if is_forgiven(job) {
                    job.due = job.due.min(now);
                    job.attempts = 0;
                }
            },
            now,
        );
    }

    /// Mail begins to go out: what has piled up is backlog from now on, and what comes is fresh.
    pub(crate) fn begin_afresh(&mut self) {
        self.fresh.drain().for_each(|job| self.backlog.put(Job { is_fresh_mail: false, ..job }));
        let aside = self.spacing.iter_mut().chain(self.parked.values_mut().flat_map(Row::iter_mut));
        aside.for_each(|job| job.is_fresh_mail = false);
        let mut waiting = core::mem::take(&mut self.waiting).into_vec();
        waiting.iter_mut().for_each(|Waiting(job)| job.is_fresh_mail = false);
        self.waiting = waiting.into();
    }

    fn ranks(&mut self, kind: Kind) -> &mut Ranks {
        match kind {
            Kind::Fresh => &mut self.fresh,
            Kind::Backlog => &mut self.backlog,
        }
    }

    /// Puts a job that is counted already where it may go at once, unless its mailbox is spared.
    fn make_ready(&mut self, job: Job) {
        if job.accepted_unix_s < self.none_expired.1 {
            self.none_expired.0 = 0;
        }
        if let Some(job) = self.spacing.put(job) {
            self.ranks(job.kind()).put(job);
        }
    }

    /// What is due may go at once.
    fn end_due_waits(&mut self, now: Secs) {
        while self.waiting.peek().is_some_and(|waiting| waiting.0.due <= now)
            && let Some(job) = self.pop_waiting()
        {
            self.make_ready(job);
        }
        while let Some(job) = self.spacing.take_due(now) {
            self.ranks(job.kind()).put(job);
        }
    }

    fn pop_waiting(&mut self) -> Option<Job> {
        let job = self.waiting.pop()?.0;
        if is_roomy(self.waiting.len(), self.waiting.capacity()) {
            self.waiting.shrink_to(self.waiting.len() * 2);
        }
        Some(job)
    }

    fn taken(&mut self, job: Job) -> Job {
        self.bytes -= u64::from(job.size_bytes);
        job
    }

    /// Changes all that wait, and ends the waits that are over then, oldest first.
    fn change_waiting(&mut self, change: impl Fn(&mut Job), now: Secs) {
        let mut all = core::mem::take(&mut self.waiting).into_vec();
        all.iter_mut().for_each(|Waiting(job)| change(job));
        let mut due: Vec<Job> = all.iter().map(|waiting| waiting.0).filter(|job| job.due <= now).collect();
        all.retain(|Waiting(job)| job.due > now);
        self.waiting = all.into();
        due.sort_unstable_by_key(Numbered::id);
        due.into_iter().for_each(|job| self.make_ready(job));
    }

    #[cfg(test)]
    fn memory_bytes(&self) -> usize {
        let parked: usize = self.parked.values().map(Row::memory_bytes).sum();
        let ready = self.fresh.memory_bytes() + self.backlog.memory_bytes();
        ready + parked + self.spacing.memory_bytes() + self.waiting.capacity() * size_of::<Waiting>()
    }
}
