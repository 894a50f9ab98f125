//! Sessions and sources: who holds what, and who has to make room.
//!
//! Time is an argument, in ms of any steady clock. What is kept is bounded: places by those that are let in, sources
//! without a place by [`REMEMBERED_MAX`]. Those that are forgotten first are those that have least to answer for, so that
//! a source would have to bring thousands of others that did worse before its own misdeeds are forgotten; and networks of
//! an IPv6 site are accounted together, too.

use std::collections::HashMap;
use std::task::Waker;

use penstock_settings::Listen;

use super::account::{Account, Limit, SITE_FACTOR};
use super::displace::{Phase, Rank, Standing};
use super::gateway::Gateway;
use super::rate::Rate;
use super::{Refused, Source};

/// Sources without a session that are remembered.
const REMEMBERED_MAX: usize = 4096;
/// How many of them are forgotten at once when they are too many, so that looking for them does not cost much.
const FORGOTTEN_AT_ONCE: usize = 1024;
/// Sessions that have lost their place and have not ended yet. Above it, who comes is refused.
const LEAVING_MAX: u32 = 256;
/// How many candidates to be displaced one look through all sessions gives, and how long to wait before another look.
const CANDIDATES_MAX: usize = 256;
const LOOK_PAUSE_MS: u64 = 20;

/// A place by its number.
pub(super) type Slot = usize;

/// Everything there is.
#[derive(Debug)]
pub(super) struct Table {
    settings: Listen,
    places: Vec<Option<Occupant>>,
    free: Vec<Slot>,
    /// Sessions, without those that have lost their place.
    sessions: u32,
    leaving: u32,
    reserved_bytes: u64,
    messages: Rate,
    recipients: Rate,
    accounts: HashMap<Source, Account>,
    /// How many of these have a place.
    accounts_in_use: usize,
    gateway: Gateway,
    candidates: Vec<Candidate>,
    looked_ms: Option<u64>,
}

#[derive(Debug)]
struct Occupant {
    source: Source,
    trusted: bool,
    phase: Phase,
    /// When it last came a step further.
    step_ms: u64,
    /// When it began the first message since one of its was accepted.
    trying_ms: Option<u64>,
    reserved_bytes: u64,
    displaced: bool,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    rank: Rank,
    slot: Slot,
    step_ms: u64,
}

/// One that was let in.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) slot: Slot,
    /// Who is to be woken because it has lost its place.
    pub(super) displaced: Option<Option<Waker>>,
    /// The address that nearly all come from, if that is news.
    pub(super) gateway: Option<Source>,
}

/// How the table stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) sessions: u32,
    pub(crate) reserved_bytes: u64,
    /// Sources with sessions, and those that came to a limit within the last minute.
    pub(crate) sources: u32,
    pub(crate) sources_at_limits: u32,
    /// Sources of which something is remembered.
    pub(crate) remembered: u32,
    pub(crate) gateway: Option<Source>,
}

/// One source, for the operator.
#[derive(Clone, Debug)]
pub(crate) struct SourceFigures {
    pub(crate) source: Source,
    pub(crate) trusted: bool,
    pub(crate) sessions: u32,
    pub(crate) reserved_bytes: u64,
    pub(crate) messages_per_minute: u32,
    pub(crate) recipients_per_minute: u32,
    pub(crate) errors_per_minute: u32,
    pub(crate) sums: super::account::Sums,
    pub(crate) limits: Vec<Limit>,
    pub(crate) seen_ms_ago: u64,
}

impl Table {
    pub(super) fn new(settings: Listen) -> Self {
        Self {
            settings,
            places: Vec::new(),
            free: Vec::new(),
            sessions: 0,
            leaving: 0,
            reserved_bytes: 0,
            messages: Rate::default(),
            recipients: Rate::default(),
            accounts: HashMap::new(),
            accounts_in_use: 0,
            gateway: Gateway::default(),
            candidates: Vec::new(),
            looked_ms: None,
        }
    }

    pub(super) fn sessions(&self) -> u32 {
        self.sessions
    }

    /// How many have a place, with those that have to leave it.
    pub(super) fn places(&self) -> u32 {
        self.sessions + self.leaving
    }

    /// Lets somebody in, where `capacity` sessions are possible. `counts` says whether it counts in the search for a
    /// gateway.
    pub(super) fn enter(
        &mut self,
        source: Source,
        trusted: bool,
        counts: bool,
        capacity: u32,
        now_ms: u64,
    ) -> Result<Entered, Refused> {
        let gateway = if counts { self.gateway.count(source) } else { None };
        let account = self.account(source, now_ms);
        account.trusted = trusted;
        account.sums.connections += 1;
        if !trusted {
            let share = self.settings.connections_per_source_max;
            let errors = self.settings.errors_per_minute_per_source_max;
            self.check(source, Limit::Connections, share, now_ms, |account, _| account.sessions)?;
            self.check(source, Limit::Errors, errors, now_ms, |account, now| account.errors.per_minute(now))?;
        }
        let mut displaced = None;
        if self.sessions >= capacity {
            let own = self.accounts.get(&source).filter(|_| !trusted);
            let (held, barren) = own.map_or((0, false), |own| (own.sessions, own.is_barren()));
            let Some(loser) = self.candidate(held, barren, now_ms) else {
                self.each(source, |account| account.sums.refused += 1);
                return Err(Refused::Full);
            };
            displaced = Some(self.displace(loser));
        }
        let occupant = Occupant {
            source,
            trusted,
            phase: Phase::Greeting,
            step_ms: now_ms,
            trying_ms: None,
            reserved_bytes: 0,
            displaced: false,
            waker: None,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.places[slot] = Some(occupant);
                slot
            }
            None => {
                self.places.push(Some(occupant));
                self.places.len() - 1
            }
        };
        self.sessions += 1;
        let mut first = 0;
        // The wider one too, which is not there yet if this is its first.
        for source in [Some(source), source.wider()].into_iter().flatten() {
            let account = self.accounts.entry(source).or_default();
            first += usize::from(account.places == 0);
            account.seen_ms = now_ms;
            account.sessions += 1;
            account.places += 1;
        }
        self.accounts_in_use += first;
        Ok(Entered { slot, displaced, gateway })
    }

    /// Takes note of somebody who was not let in for where it comes from. Whether nobody has been told yet.
    pub(super) fn stranger(&mut self, source: Source, now_ms: u64) -> bool {
        let account = self.account(source, now_ms);
        account.sums.connections += 1;
        account.sums.refused += 1;
        account.hit(Limit::Network, now_ms)
    }

    /// Somebody leaves, with all that it held.
    pub(super) fn leave(&mut self, slot: Slot) {
        self.release(slot);
        let Some(occupant) = self.places.get_mut(slot).and_then(Option::take) else { return };
        self.free.push(slot);
        if occupant.displaced {
            self.leaving -= 1;
        } else {
            self.sessions -= 1;
        }
        let mut last = 0;
        self.each(occupant.source, |account| {
            account.sessions -= u32::from(!occupant.displaced);
            account.places -= 1;
            last += usize::from(account.places == 0);
        });
        self.accounts_in_use -= last;
        // What a flood took is given back when it is over.
        if self.places() == 0 {
            (self.places, self.free, self.candidates) = Default::default();
        }
    }

    /// A session is somewhere else now, which is a step further.
    pub(super) fn step(&mut self, slot: Slot, phase: Phase, now_ms: u64) {
        if let Some(occupant) = self.occupant(slot) {
            if phase == Phase::Envelope {
                occupant.trying_ms.get_or_insert(now_ms);
            }
            occupant.phase = phase;
            occupant.step_ms = now_ms;
        }
    }

    /// A session is back where no message is under way, which is no step.
    pub(super) fn back(&mut self, slot: Slot) {
        if let Some(occupant) = self.occupant(slot) {
            occupant.phase = Phase::Idle;
        }
    }

    /// Whether a session has lost its place; `waker` is woken when it does.
    pub(super) fn is_displaced(&mut self, slot: Slot, waker: &Waker) -> bool {
        let Some(occupant) = self.occupant(slot) else { return false };
        if !occupant.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            occupant.waker = Some(waker.clone());
        }
        occupant.displaced
    }

    /// A message is wanted.
    pub(super) fn message(&mut self, slot: Slot, now_ms: u64) -> Result<(), Refused> {
        let Some((source, trusted)) = self.who(slot) else { return Ok(()) };
        let (max, total) =
            (self.settings.messages_per_minute_per_source_max, self.settings.messages_per_minute_max);
        if !trusted {
            self.check(source, Limit::Messages, max, now_ms, |account, now| {
                account.messages.per_minute(now)
            })?;
        }
        if total > 0 && self.messages.per_minute(now_ms) >= total {
            return Err(Refused::TooFast);
        }
        self.messages.add(1, now_ms);
        self.each(source, |account| account.messages.add(1, now_ms));
        Ok(())
    }

    /// A recipient is named.
    pub(super) fn recipient(&mut self, slot: Slot, now_ms: u64) -> Result<(), Refused> {
        let Some((source, trusted)) = self.who(slot) else { return Ok(()) };
        let (max, total) =
            (self.settings.recipients_per_minute_per_source_max, self.settings.recipients_per_minute_max);
        if !trusted {
            let lately = |account: &Account, now| account.recipients.per_minute(now);
            self.check(source, Limit::Recipients, max, now_ms, lately)?;
        }
        if total > 0 && self.recipients.per_minute(now_ms) >= total {
            return Err(Refused::TooFast);
        }
        self.recipients.add(1, now_ms);
        self.each(source, |account| {
            account.recipients.add(1, now_ms);
            account.sums.recipients += 1;
        });
        Ok(())
    }

    /// A message was accepted.
    pub(super) fn accepted(&mut self, slot: Slot, now_ms: u64) {
        self.step(slot, Phase::Idle, now_ms);
        let Some(occupant) = self.occupant(slot) else { return };
        occupant.trying_ms = None;
        let source = occupant.source;
        self.each(source, |account| account.sums.messages += 1);
    }

    /// Mistakes were made. How many its source has made in the last minute, or that these are too many.
    pub(super) fn erred(&mut self, slot: Slot, errors: u32, now_ms: u64) -> Result<u32, Refused> {
        let Some((source, trusted)) = self.who(slot) else { return Ok(0) };
        self.each(source, |account| {
            account.errors.add(errors, now_ms);
            account.sums.errors += u64::from(errors);
        });
        if trusted {
            return Ok(0);
        }
        let max = self.settings.errors_per_minute_per_source_max;
        self.check(source, Limit::Errors, max, now_ms, |account, now| account.errors.per_minute(now))?;
        Ok(self.accounts.get(&source).map_or(0, |account| account.errors.per_minute(now_ms)))
    }

    /// Reserves space for a message that is being received, on top of what the session has. Whether there was room.
    pub(super) fn reserve(&mut self, slot: Slot, bytes: u64, now_ms: u64) -> bool {
        let Some((source, trusted)) = self.who(slot) else { return false };
        let total = self.reserved_bytes.saturating_add(bytes);
        let max = self.settings.reserved_per_source_max.0;
        let fits = |source: Source, account: &Account| {
            let max = if source.is_wide() { max.saturating_mul(SITE_FACTOR.into()) } else { max };
            account.reserved_bytes.saturating_add(bytes) <= max
        };
        let has_share = trusted
            || [Some(source), source.wider()]
                .into_iter()
                .flatten()
                .all(|source| self.accounts.get(&source).is_none_or(|account| fits(source, account)));
        if !has_share && let Some(account) = self.accounts.get_mut(&source) {
            account.hit(Limit::Space, now_ms);
        }
        if !has_share || total > self.settings.reserved_max.0 {
            return false;
        }
        self.reserved_bytes = total;
        self.each(source, |account| account.reserved_bytes += bytes);
        if let Some(occupant) = self.occupant(slot) {
            occupant.reserved_bytes += bytes;
        }
        true
    }

    /// Gives back what a session has reserved.
    pub(super) fn release(&mut self, slot: Slot) {
        let Some(occupant) = self.occupant(slot) else { return };
        let (source, bytes) = (occupant.source, std::mem::take(&mut occupant.reserved_bytes));
        if bytes > 0 {
            self.reserved_bytes -= bytes;
            self.each(source, |account| account.reserved_bytes -= bytes);
        }
    }

    /// Has up to `most` sessions end that do nothing. Who is to be woken for it.
    pub(super) fn shed(&mut self, most: usize, now_ms: u64) -> Vec<Option<Waker>> {
        self.look(now_ms);
        let idle = self.candidates.iter().filter(|candidate| candidate.rank.does_nothing());
        let losers: Vec<Slot> = idle.take(most).map(|candidate| candidate.slot).collect();
        losers.into_iter().map(|slot| self.displace(slot)).collect()
    }

    pub(super) fn figures(&self, now_ms: u64) -> Figures {
        let machines = || self.accounts.iter().filter(|(source, _)| !source.is_wide());
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Figures {
            sessions: self.sessions,
            reserved_bytes: self.reserved_bytes,
            sources: count(machines().filter(|(_, account)| account.sessions > 0).count()),
            sources_at_limits: count(
                self.accounts.values().filter(|account| account.limits(now_ms).next().is_some()).count(),
            ),
            remembered: count(self.accounts.len()),
            gateway: self.gateway.found(),
        }
    }

    /// The sources that hold or do most.
    pub(super) fn sources(&self, most: usize, now_ms: u64) -> Vec<SourceFigures> {
        let mut all: Vec<_> = self.accounts.iter().collect();
        all.sort_by_cached_key(|(source, account)| {
            let does = account.messages.per_minute(now_ms).saturating_add(account.errors.per_minute(now_ms));
            std::cmp::Reverse((account.sessions, does, account.seen_ms, std::cmp::Reverse(**source)))
        });
        all.into_iter().take(most).map(|(source, account)| figures_of(*source, account, now_ms)).collect()
    }

    /// Whether a source is below a limit, and the site that it is part of below that of a site. 0 means that there is none.
    fn check(
        &mut self,
        source: Source,
        limit: Limit,
        max: u32,
        now_ms: u64,
        value: impl Fn(&Account, u64) -> u32,
    ) -> Result<(), Refused> {
        let mut result = Ok(());
        for source in [Some(source), source.wider()].into_iter().flatten() {
            let max = if source.is_wide() { max.saturating_mul(SITE_FACTOR) } else { max };
            if let Some(account) = self.accounts.get_mut(&source)
                && max > 0
                && value(account, now_ms) >= max
            {
                let untold = account.hit(limit, now_ms);
                account.sums.refused += 1;
                result = Err(Refused::Source { source, limit, untold });
            }
        }
        result
    }

    /// The place of somebody who has to make room for a source with so many sessions, barren or not.
    fn candidate(&mut self, held: u32, barren: bool, now_ms: u64) -> Option<Slot> {
        if self.leaving >= LEAVING_MAX {
            return None;
        }
        if let Some(slot) = self.known_candidate(held, barren) {
            return Some(slot);
        }
        if self.looked_ms.is_some_and(|looked_ms| now_ms.saturating_sub(looked_ms) < LOOK_PAUSE_MS) {
            return None;
        }
        self.look(now_ms);
        self.known_candidate(held, barren)
    }

    /// The first one that was found at the last look and has done nothing since.
    fn known_candidate(&mut self, held: u32, barren: bool) -> Option<Slot> {
        let places = &self.places;
        let at = |candidate: &Candidate| places.get(candidate.slot).and_then(Option::as_ref);
        self.candidates.retain(|candidate| {
            at(candidate).is_some_and(|it| !it.displaced && it.step_ms == candidate.step_ms)
        });
        let theirs = |it: &Occupant| self.accounts.get(&it.source).map_or(0, |account| account.sessions);
        let yields = |candidate: &Candidate| {
            at(candidate).is_some_and(|it| candidate.rank.yields_to(held, barren, theirs(it)))
        };
        let at = self.candidates.iter().position(yields)?;
        Some(self.candidates.remove(at).slot)
    }

    /// Looks through all sessions for those that could go.
    fn look(&mut self, now_ms: u64) {
        self.looked_ms = Some(now_ms);
        let busy_ms = u64::try_from(self.settings.busy_timeout.as_millis()).unwrap_or(u64::MAX);
        let standing = |it: &Occupant| Standing {
            phase: it.phase,
            trusted: it.trusted,
            idle_ms: now_ms.saturating_sub(it.step_ms),
            trying_ms: it.trying_ms.map_or(0, |from_ms| now_ms.saturating_sub(from_ms)),
            held: self.accounts.get(&it.source).map_or(1, |account| account.sessions),
            barren: self.accounts.get(&it.source).is_some_and(Account::is_barren),
        };
        let places = self.places.iter().enumerate();
        let mut candidates: Vec<Candidate> = places
            .filter_map(|(slot, occupant)| {
                let occupant = occupant.as_ref().filter(|occupant| !occupant.displaced)?;
                let rank = standing(occupant).rank(busy_ms)?;
                Some(Candidate { rank, slot, step_ms: occupant.step_ms })
            })
            .collect();
        if candidates.len() > CANDIDATES_MAX {
            candidates.select_nth_unstable_by_key(CANDIDATES_MAX, |candidate| candidate.rank);
            candidates.truncate(CANDIDATES_MAX);
        }
        candidates.sort_unstable_by_key(|candidate| candidate.rank);
        self.candidates = candidates;
    }

    fn displace(&mut self, slot: Slot) -> Option<Waker> {
        let occupant = self.occupant(slot)?;
        occupant.displaced = true;
        let (source, waker) = (occupant.source, occupant.waker.take());
        self.sessions -= 1;
        self.leaving += 1;
        self.each(source, |account| account.sessions -= 1);
        waker
    }

    fn occupant(&mut self, slot: Slot) -> Option<&mut Occupant> {
        self.places.get_mut(slot)?.as_mut()
    }

    fn who(&mut self, slot: Slot) -> Option<(Source, bool)> {
        self.occupant(slot).map(|occupant| (occupant.source, occupant.trusted))
    }

    /// Changes the account of a source, and that of what it is part of.
    fn each(&mut self, source: Source, mut change: impl FnMut(&mut Account)) {
        for source in [Some(source), source.wider()].into_iter().flatten() {
            if let Some(account) = self.accounts.get_mut(&source) {
                change(account);
            }
        }
    }

    /// The account of a source, which is opened if there is none.
    fn account(&mut self, source: Source, now_ms: u64) -> &mut Account {
        if !self.accounts.contains_key(&source)
            && self.accounts.len() - self.accounts_in_use >= REMEMBERED_MAX
        {
            self.forget(now_ms);
        }
        let account = self.accounts.entry(source).or_default();
        account.seen_ms = now_ms;
        account
    }

    /// Forgets some sources that have no place: those that have least to answer for, and of these the longest away.
    fn forget(&mut self, now_ms: u64) {
        let idle = self.accounts.iter().filter(|(_, account)| account.places == 0);
        let mut idle: Vec<_> = idle
            .map(|(source, account)| (account.owes(&self.settings, now_ms), account.seen_ms, *source))
            .collect();
        idle.sort_unstable();
        for (_, _, source) in idle.into_iter().take(FORGOTTEN_AT_ONCE) {
            self.accounts.remove(&source);
        }
    }
}

fn figures_of(source: Source, account: &Account, now_ms: u64) -> SourceFigures {
    SourceFigures {
        source,
        trusted: account.trusted,
        sessions: account.sessions,
        reserved_bytes: account.reserved_bytes,
        messages_per_minute: account.messages.per_minute(now_ms),
        recipients_per_minute: account.recipients.per_minute(now_ms),
        errors_per_minute: account.errors.per_minute(now_ms),
        sums: account.sums,
        limits: account.limits(now_ms).collect(),
        seen_ms_ago: now_ms.saturating_sub(account.seen_ms),
    }
}

#[cfg(test)]
mod tests;
