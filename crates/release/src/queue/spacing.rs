//! Mailboxes that the server asked to spare (432, STOREDRV: too many of its threads work for one mailbox): their mail
//! lies aside and goes one by one, with time between, while other mailboxes go on.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::job::{Job, Numbered, Secs};
use super::row::Row;

/// The time between two messages at first, in seconds.
const SPACING_S: u32 = 10;

/// It doubles up to here.
const SPACING_S_MAX: u32 = 300;

/// So many mailboxes at once. Of more, the one that could go soonest is no longer spared.
const MAILBOXES_MAX: usize = 256;

/// So many mailboxes are spared yet after a restart, those first that were to be spared most.
pub(crate) const SAVED_MAX: usize = 64;

/// What became of a message, as far as its mailbox is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was delivered.
    Delivered,
    /// The mailbox is to be spared.
    Throttled,
    /// Anything else.
    Other,
}

/// The mail of a mailbox that is spared.
#[derive(Debug)]
struct Spared {
    aside: Row<Job>,
    spacing_s: u32,
    /// When the next may go.
    from: Secs,
    /// The message that is not aside, since it was its turn.
    out: Option<u64>,
}

/// All mailboxes that are spared.
#[derive(Debug, Default)]
pub(super) struct Spacing {
    mailboxes: BTreeMap<u32, Spared>,
}

impl Spacing {
    /// What is to be kept over a restart: mailboxes, and the seconds between two messages to each.
    pub(super) fn saved(&self) -> Vec<(u32, u16)> {
        let spacing = |spared: &Spared| u16::try_from(spared.spacing_s).unwrap_or(u16::MAX);
        let mut saved: Vec<(u32, u16)> =
            self.mailboxes.iter().map(|(mailbox, spared)| (*mailbox, spacing(spared))).collect();
        saved.sort_unstable_by_key(|(mailbox, spacing_s)| (Reverse(*spacing_s), *mailbox));
        saved.truncate(SAVED_MAX);
        saved
    }

    /// Spares the mailboxes that were spared before a restart, as if they had just had a message.
    pub(super) fn restore(&mut self, saved: &[(u32, u16)], now: Secs) {
        for (mailbox, spacing_s) in saved.iter().take(SAVED_MAX).filter(|(mailbox, _)| *mailbox != 0) {
            let spacing_s = u32::from(*spacing_s).clamp(1, SPACING_S_MAX);
            let from = now.saturating_add(spacing_s);
            self.mailboxes.insert(*mailbox, Spared { aside: Row::default(), spacing_s, from, out: None });
        }
    }

    pub(super) fn len(&self) -> usize {
        self.mailboxes.values().map(|spared| spared.aside.len()).sum()
    }

    /// Puts a message aside if its mailbox is spared, else gives it back.
    pub(super) fn put(&mut self, job: Job) -> Option<Job> {
        match self.mailboxes.get_mut(&job.mailbox) {
            Some(spared) => {
                spared.out = spared.out.filter(|out| *out != job.id);
                spared.aside.insert(job);
                None
            }
            None => Some(job),
        }
    }

    /// Whether a message may not go, since its mailbox is spared and it is not its turn.
    pub(super) fn spares(&self, mailbox: u32, id: u64) -> bool {
        self.mailboxes.get(&mailbox).is_some_and(|spared| spared.out != Some(id))
    }

    /// When the next one may go.
    pub(super) fn next_due(&self) -> Option<Secs> {
        let waits = |spared: &&Spared| spared.out.is_none() && !spared.aside.is_empty();
        self.mailboxes.values().filter(waits).map(|spared| spared.from).min()
    }

    /// Takes a message whose turn has come. Mailboxes that have had no mail for long are no longer spared.
    pub(super) fn take_due(&mut self, now: Secs) -> Option<Job> {
        self.mailboxes.retain(|_, spared| {
            let is_over = spared.from.saturating_add(SPACING_S_MAX) <= now;
            spared.out.is_some() || !spared.aside.is_empty() || !is_over
        });
        let due = |spared: &&mut Spared| spared.out.is_none() && spared.from <= now;
        self.mailboxes.values_mut().filter(due).find_map(|spared| {
            let job = spared.aside.pop_front()?;
            spared.out = Some(job.id);
            Some(job)
        })
    }

    /// A message came to an end, for now. Gives back what need not lie aside any longer, and whether a mailbox is to be
    /// spared more than before. The caller hands in the mail of one that is newly spared, with [`put`](Self::put).
    pub(super) fn ended(&mut self, mailbox: u32, id: u64, end: End, now: Secs) -> (Row<Job>, bool) {
        // A second more, since the present one has begun already.
        let after = |spacing_s: u32| now.saturating_add(spacing_s).saturating_add(1);
        let mut freed = Row::default();
        let its_turn = self.mailboxes.iter_mut().find(|(_, spared)| spared.out == Some(id));
        if let Some((spared_mailbox, spared)) = its_turn {
            spared.out = None;
            spared.spacing_s = match end {
                End::Delivered => spared.spacing_s / 2,
                End::Throttled if *spared_mailbox == mailbox => (spared.spacing_s * 2).min(SPACING_S_MAX),
                End::Throttled | End::Other => spared.spacing_s,
            };
            spared.from = after(spared.spacing_s);
            let (spared_mailbox, spacing_s) = (*spared_mailbox, spared.spacing_s);
            if spacing_s == 0 {
                freed = self.forget(spared_mailbox);
            }
        }
        // What was on its way to a mailbox before it was spared says nothing new.
        let is_spared = self.mailboxes.contains_key(&mailbox);
        if end != End::Throttled || mailbox == 0 || is_spared {
            return (freed, end == End::Throttled && is_spared);
        }
        let soonest =
            self.mailboxes.iter().min_by_key(|(_, spared)| spared.from).map(|(mailbox, _)| *mailbox);
        if let Some(soonest) = soonest.filter(|_| self.mailboxes.len() >= MAILBOXES_MAX) {
            freed = self.forget(soonest);
        }
        let spared =
            Spared { aside: Row::default(), spacing_s: SPACING_S, from: after(SPACING_S), out: None };
        self.mailboxes.insert(mailbox, spared);
        (freed, true)
    }

    fn forget(&mut self, mailbox: u32) -> Row<Job> {
        self.mailboxes.remove(&mailbox).map(|spared| spared.aside).unwrap_or_default()
    }

    /// A message has left the queue otherwise.
    pub(super) fn gone(&mut self, which: impl Fn(u64) -> bool) {
        for spared in self.mailboxes.values_mut() {
            spared.out = spared.out.filter(|id| !which(*id));
        }
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Job> {
        self.mailboxes.values_mut().find_map(|spared| spared.aside.remove(id))
    }

    pub(super) fn take_out(&mut self, which: impl Fn(u64) -> bool) {
        self.gone(&which);
        self.mailboxes.values_mut().for_each(|spared| spared.aside.retain(|job| !which(job.id())));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.mailboxes.values().flat_map(|spared| spared.aside.iter())
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Job> {
        self.mailboxes.values_mut().flat_map(|spared| spared.aside.iter_mut())
    }

    #[cfg(test)]
    pub(super) fn memory_bytes(&self) -> usize {
        self.mailboxes.values().map(|spared| spared.aside.memory_bytes() + size_of::<Spared>()).sum()
    }
}
