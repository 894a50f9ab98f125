//! The messages that are still to go, and in which order.
//!
//! What can go at once is fresh mail or backlog, each by priority, fair between mailboxes, oldest first (`ranks`,
//! `lane`). What waits for its next attempt lies in heaps sorted by due time; what a mailbox that is to be spared has
//! (`spacing`), and what is for recipients that are held, lies aside. 20 bytes a message that has not been tried, 36
//! otherwise; all of it grows by a 32nd, so that a million messages take at most 40 MB whatever happens to them.

mod job;
mod lane;
mod ranks;
mod row;
mod spacing;
#[cfg(test)]
mod tests;
mod waiting;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use job::Numbered;
pub use job::{ATTEMPTS_MAX, Message, Priority};
pub(crate) use job::{Job, Secs};
use ranks::Ranks;
use row::Row;
pub(crate) use spacing::End;
pub(crate) use spacing::SAVED_MAX as SPARED_SAVED_MAX;
use spacing::Spacing;
use waiting::Waiting;

/// So many waits end in one step, so that no step takes long when a million messages are due at once.
const DUE_AT_ONCE_MAX: usize = 64;

/// What a message is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What came while mail was going out.
    Fresh,
    /// What had piled up before.
    Backlog,
}

/// The mail of one kind.
#[derive(Debug)]
struct Mail {
    /// What could go at once.
    ready: Ranks,
    waiting: Waiting,
}

/// All messages that are not in flight.
#[derive(Debug)]
pub(crate) struct Queue {
    fresh: Mail,
    backlog: Mail,
    /// What the last one taken was.
    took: Kind,
    spacing: Spacing,
    /// By route: messages of which all open recipients are held.
    parked: BTreeMap<u16, Row<Job>>,
    held_routes: BTreeSet<u16>,
    /// Messages that the server may have taken: they wait their time, whatever happens.
    unknown: Waiting,
    bytes: u64,
    /// When it was last seen that nothing accepted before this, in seconds since 1970, could go.
    none_expired: (Secs, u32),
}

impl Default for Queue {
    fn default() -> Self {
        let mail = |is_fresh| Mail { ready: Ranks::new(is_fresh), waiting: Waiting::default() };
        Self {
            fresh: mail(true),
            backlog: mail(false),
            took: Kind::Backlog,
            spacing: Spacing::default(),
            parked: BTreeMap::new(),
            held_routes: BTreeSet::new(),
            unknown: Waiting::default(),
            bytes: 0,
            none_expired: (0, 0),
        }
    }
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        let parked: usize = self.parked.values().map(Row::len).sum();
        let ready = self.fresh.ready.len() + self.backlog.ready.len();
        ready + self.waiting_len() + self.unknown.len() + self.spacing.len() + parked
    }

    /// How many wait for their next attempt.
    pub(crate) fn waiting_len(&self) -> usize {
        self.fresh.waiting.len() + self.backlog.waiting.len()
    }

    /// The size of all messages in it.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When the next message that waits is due, or the next of a mailbox that is spared.
    pub(crate) fn next_due(&self) -> Option<Secs> {
        let waiting = self.fresh.waiting.next_due().into_iter().chain(self.backlog.waiting.next_due());
        waiting.chain(self.unknown.next_due()).chain(self.spacing.next_due()).min()
    }

    /// Whether a message could go at once, or seems to.
    pub(crate) fn is_any_due(&self, now: Secs) -> bool {
        let is_ready = !self.fresh.ready.is_empty() || !self.backlog.ready.is_empty();
        is_ready || self.next_due().is_some_and(|due| due <= now)
    }

    /// Whether there is a message that a server could be tried with.
    pub(crate) fn has_any(&mut self, now: Secs) -> bool {
        self.turn(now).is_some() || self.waiting_len() > 0
    }

    /// Whether a message of this kind could go at once.
    pub(crate) fn has_due(&mut self, kind: Kind, now: Secs) -> bool {
        while self.end_due_waits(kind, now) && self.mail(kind).ready.is_empty() {}
        !self.mail(kind).ready.is_empty()
    }

    /// How many of this kind lie ready, of which none waits for its next attempt.
    pub(crate) fn ready_len(&self, kind: Kind) -> usize {
        match kind {
            Kind::Fresh => self.fresh.ready.len(),
            Kind::Backlog => self.backlog.ready.len(),
        }
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
            self.mail(job.kind()).ready.put_back(job);
        }
    }

    /// Puts a job aside until `due`.
    pub(crate) fn put_waiting(&mut self, job: Job, due: Secs) {
        self.bytes += u64::from(job.size_bytes);
        self.mail(job.kind()).waiting.push(Job { due, ..job });
    }

    /// Puts a job aside until `due` that the server may have taken.
    pub(crate) fn put_unknown(&mut self, job: Job, due: Secs) {
        self.bytes += u64::from(job.size_bytes);
        self.unknown.push(Job { due, ..job });
    }

    /// Puts a job aside until its route is free. Where that is so already it may go at once.
    pub(crate) fn park(&mut self, job: Job, route: u16) {
        if !self.held_routes.contains(&route) {
            return self.put(job);
        }
        if job.accepted_unix_s < self.none_expired.1 {
            self.none_expired.0 = 0;
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

    /// The first `count` messages from this id on that could go and of which the mailbox is not known.
    pub(crate) fn unknown_from(&self, id: u64, count: usize) -> Vec<u64> {
        let [backlog, fresh] = [&self.backlog, &self.fresh].map(|mail| mail.ready.unknown_from(id, count));
        let mut ids: Vec<_> = backlog.chain(fresh).collect();
        ids.sort_unstable();
        ids.truncate(count);
        ids
    }

    /// Takes a message of which it is not known whose it is.
    pub(crate) fn take_unknown(&mut self, id: u64) -> Option<Job> {
        let found = self.backlog.ready.remove_unknown(id).or_else(|| self.fresh.ready.remove_unknown(id));
        found.map(|job| self.taken(job))
    }

    /// Whether a message waits since the server may have taken it.
    pub(crate) fn is_doubtful(&self, id: u64) -> bool {
        self.unknown.iter().any(|job| job.id == id)
    }

    /// Mailboxes that are spared, with the seconds between two messages to each.
    pub(crate) fn spared(&self) -> Vec<(u32, u16)> {
        self.spacing.saved()
    }

    /// Spares those that were spared before a restart.
    pub(crate) fn spare(&mut self, spared: &[(u32, u16)], now: Secs) {
        self.spacing.restore(spared, now);
    }

    /// A message that was taken has come to an end, for now: what that says of its mailbox. Tells whether a mailbox is to be
    /// spared more than before.
    pub(crate) fn ended(&mut self, job: &Job, end: End, now: Secs) -> bool {
        let (id, mailbox) = (job.id, job.mailbox);
        let (mut freed, is_news) = self.spacing.ended(mailbox, id, end, now);
        freed.drain().for_each(|job| self.make_ready(job));
        if end == End::Throttled && mailbox != 0 {
            let aside = [&mut self.fresh, &mut self.backlog].map(|mail| mail.ready.take_mailbox(mailbox));
            aside.into_iter().flatten().for_each(|job| self.make_ready(job));
        }
        is_news
    }

    /// Takes the message whose turn it is, of those of this kind that could go at once.
    pub(crate) fn take(&mut self, kind: Kind, now: Secs) -> Option<Job> {
        if !self.has_due(kind, now) {
            return None;
        }
        let job = self.mail(kind).ready.take()?;
        self.took = kind;
        Some(self.taken(job))
    }

    /// Takes a message to find out with how a server is, whether its wait is over or not: one that has not been tried,
    /// else one that could go at once, else the one that is due first.
    pub(crate) fn take_any(&mut self, now: Secs) -> Option<Job> {
        let untried = self.backlog.ready.take_untried().or_else(|| self.fresh.ready.take_untried());
        match untried {
            Some(job) => Some(self.taken(job)),
            None => match self.turn(now) {
                Some(kind) => self.take(kind, now),
                None => self.take_earliest(),
            },
        }
    }

    /// Takes the message that is due first, even if it is not yet.
    pub(crate) fn take_earliest(&mut self) -> Option<Job> {
        let due = |mail: &Mail| mail.waiting.next_due().unwrap_or(Secs::MAX);
        let is_fresh_first = due(&self.fresh) < due(&self.backlog);
        let first = if is_fresh_first { &mut self.fresh } else { &mut self.backlog };
        let job = first.waiting.pop()?;
        Some(self.taken(job))
    }

    /// Takes a message that was accepted before `oldest_unix_s`. Looks where the oldest come to lie: at the head of each
    /// mailbox's mail that could go at once, and of what is parked. Once a second, for what has not come meanwhile.
    pub(crate) fn take_expired(&mut self, oldest_unix_s: u32, now: Secs) -> Option<Job> {
        self.turn(now);
        if self.none_expired.0 == now {
            return None;
        }
        let expired = |accepted: u32| accepted != 0 && accepted < oldest_unix_s;
        let found = self.backlog.ready.take_expired(expired);
        let found = found.or_else(|| self.fresh.ready.take_expired(expired));
        let is_old = |row: &Row<Job>| row.front().is_some_and(|job| expired(job.accepted_unix_s));
        let parked = |parked: &mut BTreeMap<u16, Row<Job>>| {
            parked.values_mut().find(|row| is_old(row)).and_then(Row::pop_front)
        };
        match found.or_else(|| parked(&mut self.parked)) {
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
        let of = |mail: &mut Mail| mail.ready.remove(id).or_else(|| mail.waiting.remove(id));
        let found = of(&mut self.fresh).or_else(|| of(&mut self.backlog));
        let aside = found.or_else(|| self.unknown.remove(id)).or_else(|| self.spacing.remove(id));
        let job = aside.or_else(|| self.parked.values_mut().find_map(|row| row.remove(id)))?;
        Some(self.taken(job))
    }

    /// Takes out all messages that `which` says.
    pub(crate) fn take_out(&mut self, which: impl Fn(u64) -> bool) {
        for mail in [&mut self.fresh, &mut self.backlog] {
            mail.ready.take_out(&which);
            mail.waiting.retain(|job| !which(job.id()));
        }
        self.unknown.retain(|job| !which(job.id()));
        self.spacing.take_out(&which);
        self.parked.values_mut().for_each(|row| row.retain(|job| !which(job.id())));
        let aside = self.spacing.iter().chain(self.parked.values().flat_map(Row::iter));
        let waiting = self.fresh.waiting.iter().chain(self.backlog.waiting.iter()).chain(self.unknown.iter());
        let sizes = aside.chain(waiting).map(|job| u64::from(job.size_bytes));
        let ready = self.fresh.ready.sizes_bytes().chain(self.backlog.ready.sizes_bytes());
        self.bytes = sizes.chain(ready).sum();
    }

    /// Ends every wait.
    pub(crate) fn end_waits(&mut self, now: Secs) {
        for mail in [&mut self.fresh, &mut self.backlog] {
            mail.waiting.change(|job| job.due = job.due.min(now));
        }
    }

    /// Ends the wait of every message that failed at `since` or later, as if it had not been tried: it was not the
    /// message's fault. One that did harm more than once has its own share in it and waits on.
    pub(crate) fn forgive(&mut self, since: Secs, now: Secs) {
        let forgive = |job: &mut Job| {
            if job.failed >= since && job.harms <= 1 {
                job.due = job.due.min(now);
                job.attempts = 0;
            }
        };
        for mail in [&mut self.fresh, &mut self.backlog] {
            mail.ready.tried_mut().for_each(forgive);
            mail.waiting.change(forgive);
        }
    }

    /// Mail begins to go out: what has piled up is backlog from now on, and what comes is fresh.
    pub(crate) fn begin_afresh(&mut self) {
        let Self { fresh, backlog, spacing, parked, unknown, .. } = self;
        unknown.change(|job| job.is_fresh_mail = false);
        fresh.ready.drain().for_each(|job| backlog.ready.put(Job { is_fresh_mail: false, ..job }));
        while let Some(job) = fresh.waiting.pop() {
            backlog.waiting.push(Job { is_fresh_mail: false, ..job });
        }
        let aside = spacing.iter_mut().chain(parked.values_mut().flat_map(Row::iter_mut));
        aside.for_each(|job| job.is_fresh_mail = false);
    }

    fn mail(&mut self, kind: Kind) -> &mut Mail {
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
            self.mail(job.kind()).ready.put(job);
        }
    }

    /// What is due of this kind may go at once: up to [`DUE_AT_ONCE_MAX`] messages. Whether there are more.
    fn end_due_waits(&mut self, kind: Kind, now: Secs) -> bool {
        let is_due = |mail: &Mail| mail.waiting.next_due().is_some_and(|due| due <= now);
        for _ in 0..DUE_AT_ONCE_MAX {
            if !is_due(self.mail(kind)) {
                break;
            }
            let job = self.mail(kind).waiting.pop();
            job.into_iter().for_each(|job| self.make_ready(job));
        }
        while self.unknown.next_due().is_some_and(|due| due <= now)
            && let Some(job) = self.unknown.pop()
        {
            self.make_ready(job);
        }
        while let Some(job) = self.spacing.take_due(now) {
            self.mail(job.kind()).ready.put(job);
        }
        is_due(self.mail(kind))
    }

    fn taken(&mut self, job: Job) -> Job {
        self.bytes -= u64::from(job.size_bytes);
        job
    }

    #[cfg(test)]
    fn memory_bytes(&self) -> usize {
        let parked: usize = self.parked.values().map(Row::memory_bytes).sum();
        let mail = [&self.fresh, &self.backlog].map(|it| it.ready.memory_bytes() + it.waiting.memory_bytes());
        mail.into_iter().sum::<usize>() + parked + self.spacing.memory_bytes()
    }
}
