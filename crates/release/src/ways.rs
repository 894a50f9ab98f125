//! The mail, by the hops that it may go through. Most mail may go through most hops; that of some domains or mailbox
//! databases has hops of its own.
//!
//! Each way has a queue, so that mail whose hops are away holds up no other, and knows whether mail goes out on it: what
//! comes while it does is fresh. A message whose recipients have several ways is in one queue at a time, and changes over
//! when it has been tried there, or while nothing goes there.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::HopId;
use crate::config::HOPS_MAX;
use crate::queue::{Job, Message, Queue, SPARED_SAVED_MAX, Secs};

/// How many ways there may be.
pub const WAYS_MAX: usize = 16;

/// Messages with recipients of several ways that are known as such, at most. Of more it is found out when they are tried.
const MIXED_MAX: usize = 4_096;

/// Some of the next hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopSet(u16);

const _: () = assert!(HOPS_MAX as u32 == u16::BITS && WAYS_MAX as u32 == u16::BITS);

impl HopSet {
    /// All that there are.
    pub const ALL: Self = Self(u16::MAX);

    /// These.
    pub fn of(hops: impl IntoIterator<Item = HopId>) -> Self {
        Self(hops.into_iter().fold(0, |set, hop| set | bit(hop.0)))
    }

    /// Whether a hop is one of them.
    pub fn has(self, hop: HopId) -> bool {
        self.0 & bit(hop.0) != 0
    }
}

/// A way: its place in [`Config::ways`](crate::Config::ways).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WayId(pub u8);

/// The ways of a message's open recipients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaySet(u16);

impl WaySet {
    /// These.
    pub fn of(ways: impl IntoIterator<Item = WayId>) -> Self {
        Self(ways.into_iter().fold(0, |set, way| set | bit(way.0)))
    }

    /// They, in ascending order. Where nothing is known it is the first way that there is.
    fn iter(self) -> impl Iterator<Item = WayId> {
        let known = if self.0 == 0 { 1 } else { self.0 };
        (0..WAYS_MAX as u8).filter(move |way| known & bit(*way) != 0).map(WayId)
    }

    pub(crate) fn first(self) -> WayId {
        self.iter().next().unwrap_or_default()
    }

    pub(crate) fn is_mixed(self) -> bool {
        self.0.count_ones() > 1
    }

    /// Another one than this.
    pub(crate) fn other_than(self, way: WayId) -> Option<WayId> {
        let others = self.without(Self::of([way]));
        (others != Self::default()).then(|| others.first())
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn and(self, way: WayId) -> Self {
        Self(self.0 | bit(way.0))
    }
}

/// The bit of a number; none where it is too high.
fn bit(number: u8) -> u16 {
    1_u16.checked_shl(number.into()).unwrap_or_default()
}

/// One way.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) hops: HopSet,
    pub(crate) queue: Queue,
    /// Whether mail has gone out since the start.
    has_begun: bool,
    /// Since when no hop of it has taken mail, after one did.
    stands_since_ms: Option<u64>,
}

/// A message whose recipients have several ways.
#[derive(Clone, Copy, Debug, Default)]
struct Mixed {
    ways: WaySet,
    /// On which it would have been parked since it last lay anywhere.
    parked: WaySet,
}

/// All ways.
#[derive(Debug)]
pub(crate) struct Ways {
    ways: Vec<Way>,
    /// Whose turn it is.
    turn: usize,
    mixed: BTreeMap<u64, Mixed>,
}

impl Way {
    /// Takes down whether a hop of it takes mail.
    pub(crate) fn look(&mut self, takes_mail: bool, now_ms: u64) {
        if self.has_begun && !takes_mail {
            self.stands_since_ms.get_or_insert(now_ms);
        }
    }

    /// A hop takes mail again. What came while none did for as long as that is backlog.
    pub(crate) fn begin(&mut self, pile_up_ms: u64, now_ms: u64) {
        let stood_since_ms = self.stands_since_ms.take();
        if stood_since_ms.is_some_and(|ms| now_ms - ms >= pile_up_ms) || !self.has_begun {
            self.queue.begin_afresh();
        }
        self.has_begun = true;
    }
}

impl Ways {
    pub(crate) fn new(hops: &[HopSet]) -> Self {
        let way = |hops: &HopSet| Way {
            hops: *hops,
            queue: Queue::default(),
            has_begun: false,
            stands_since_ms: None,
        };
        Self { ways: hops.iter().map(way).collect(), turn: 0, mixed: BTreeMap::new() }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Way> {
        self.ways.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Way> {
        self.ways.iter_mut()
    }

    /// Those that a hop is part of.
    pub(crate) fn of_hop_mut(&mut self, hop: HopId) -> impl Iterator<Item = &mut Way> {
        self.ways.iter_mut().filter(move |way| way.hops.has(hop))
    }

    fn index(&self, way: WayId) -> usize {
        // There is one at least; what the caller numbers otherwise goes there.
        let n = usize::from(way.0);
        if n < self.ways.len() { n } else { 0 }
    }

    pub(crate) fn hops(&self, way: WayId) -> HopSet {
        self.ways[self.index(way)].hops
    }

    pub(crate) fn queue(&mut self, way: WayId) -> &mut Queue {
        let n = self.index(way);
        &mut self.ways[n].queue
    }

    /// All of them, beginning with the one whose turn it is.
    pub(crate) fn turns(&self) -> impl Iterator<Item = WayId> + use<> {
        let (len, turn) = (self.ways.len(), self.turn);
        (0..len).map(move |n| WayId(((turn + n) % len) as u8)) // at most WAYS_MAX
    }

    /// Mail went on a way: the next one has its turn.
    pub(crate) fn served(&mut self, way: WayId) {
        self.turn = (self.index(way) + 1) % self.ways.len();
    }

    pub(crate) fn len(&self) -> usize {
        self.ways.iter().map(|way| way.queue.len()).sum()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.ways.iter().map(|way| way.queue.bytes()).sum()
    }

    /// Mailboxes that are spared, with the seconds between two messages to each.
    pub(crate) fn spared(&self) -> Vec<(u32, u16)> {
        let mut spared: Vec<(u32, u16)> = self.ways.iter().flat_map(|way| way.queue.spared()).collect();
        // One that is spared on several ways counts once, as it is spared most.
        spared.sort_unstable_by_key(|(mailbox, spacing_s)| (*mailbox, Reverse(*spacing_s)));
        spared.dedup_by_key(|(mailbox, _)| *mailbox);
        spared.sort_unstable_by_key(|(mailbox, spacing_s)| (Reverse(*spacing_s), *mailbox));
        spared.truncate(SPARED_SAVED_MAX);
        spared
    }

    pub(crate) fn next_due(&self) -> Option<Secs> {
        self.ways.iter().filter_map(|way| way.queue.next_due()).min()
    }

    /// Whether there is a message that a server could be tried with.
    pub(crate) fn has_any(&mut self, now: Secs) -> bool {
        self.ways.iter_mut().any(|way| way.queue.has_any(now))
    }

    /// Takes a message to find out with how a hop is.
    pub(crate) fn take_any(&mut self, hop: HopId, now: Secs) -> Option<(WayId, Job)> {
        let mut ways = (0..).map(WayId).zip(&mut self.ways).filter(|(_, way)| way.hops.has(hop));
        ways.find_map(|(id, way)| {
            let job = if way.queue.has_any(now) { way.queue.take_any(now) } else { None };
            job.map(|job| (id, job))
        })
    }

    pub(crate) fn take_expired(&mut self, oldest_unix_s: u32, now: Secs) -> Option<Job> {
        let job = self.ways.iter_mut().find_map(|way| way.queue.take_expired(oldest_unix_s, now))?;
        self.forget(job.id);
        Some(job)
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<(WayId, Job)> {
        let mut ways = (0..).map(WayId).zip(&mut self.ways);
        ways.find_map(|(way_id, way)| way.queue.remove(id).map(|job| (way_id, job)))
    }

    pub(crate) fn take_out(&mut self, which: impl Fn(u64) -> bool) {
        self.ways.iter_mut().for_each(|way| way.queue.take_out(&which));
        self.mixed.retain(|id, _| !which(*id));
    }

    /// The first messages from an id on of which it is not known whose they are.
    pub(crate) fn unknown_from(&self, id: u64, count: usize) -> Vec<u64> {
        let mut ids: Vec<u64> = self.ways.iter().flat_map(|way| way.queue.unknown_from(id, count)).collect();
        ids.sort_unstable();
        ids.truncate(count);
        ids
    }

    /// Tells whose a message is of which that was not known. `goes` says on which ways mail goes now.
    pub(crate) fn learn(&mut self, message: Message, goes: impl Fn(HopSet) -> bool) {
        if let Some(job) = self.ways.iter_mut().find_map(|way| way.queue.take_unknown(message.id)) {
            let way = self.choose(message.id, message.ways, goes);
            self.queue(way).put(job.known(message));
        }
    }

    /// The way that a message begins on: one on which mail goes, if there is one.
    pub(crate) fn choose(&mut self, id: u64, ways: WaySet, goes: impl Fn(HopSet) -> bool) -> WayId {
        self.note(id, ways);
        ways.iter().find(|way| goes(self.hops(*way))).unwrap_or(ways.first())
    }

    /// Keeps in mind the ways of a message's open recipients, if there are several.
    pub(crate) fn note(&mut self, id: u64, ways: WaySet) {
        if !ways.is_mixed() {
            self.mixed.remove(&id);
        } else if self.mixed.contains_key(&id) || self.mixed.len() < MIXED_MAX {
            self.mixed.entry(id).or_default().ways = ways;
        }
    }

    /// A message has left release.
    pub(crate) fn forget(&mut self, id: u64) {
        self.mixed.remove(&id);
    }

    /// The way on which a message is tried next that was parked on this one: another one of its open recipients, on which
    /// it has not been parked since; `None` if there is none, and it is to lie where it is.
    pub(crate) fn after_parking(&mut self, id: u64, ways: WaySet, on: WayId) -> Option<WayId> {
        let mixed = self.mixed.get_mut(&id)?;
        mixed.parked = mixed.parked.and(on);
        let left = ways.without(mixed.parked);
        if left == WaySet::default() {
            mixed.parked = WaySet::default();
            return None;
        }
        Some(left.first())
    }

    /// Has messages change over for whom nothing goes where they are, and something on another of their ways.
    pub(crate) fn change_over(&mut self, goes: impl Fn(HopSet) -> bool) {
        let alive =
            WaySet::of((0..).map(WayId).zip(&self.ways).filter(|(_, way)| goes(way.hops)).map(|(id, _)| id));
        if alive == WaySet::default() || alive.0.count_ones() as usize == self.ways.len() {
            return;
        }
        let ids: Vec<u64> = self.mixed.keys().copied().collect();
        for id in ids {
            let ways = self.mixed.get(&id).map(|mixed| mixed.ways).unwrap_or_default();
            let Some(better) = ways.iter().find(|way| alive.0 & bit(way.0) != 0) else { continue };
            let stands = |(n, way): &(u8, &mut Way)| alive.0 & bit(*n) == 0 && !way.queue.is_doubtful(id);
            let mut standing = (0..).zip(&mut self.ways).filter(stands);
            if let Some(job) = standing.find_map(|(_, way)| way.queue.remove(id)) {
                self.queue(better).put(job);
            }
        }
    }
}
