//! Canaries on their way: messages to probe mailboxes, whose arrival proves that mail reaches mailboxes.
//!
//! This keeps the books of one hop. When a canary is wanted, and what its arrival proves, is the flow's and the hop's.

use alloc::collections::VecDeque;

use crate::config::PROBES_MAX;

/// Canaries that were taken and have not arrived, at most. Of more, the oldest is given up; that its mailbox is waited for
/// is kept in mind.
const OUTSTANDING_MAX: usize = 16;

/// A canary that has not arrived after this is missing. Exchange tries a mailbox that it cannot reach again within a
/// minute or two.
const MISSING_MS: u64 = 300_000;

/// A mailbox that is missing is asked for again so long after the last canary to it: its report may have been lost.
const ASK_AGAIN_MS: u64 = 3_600_000;

/// A canary that the hop has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Canary {
    /// Its number.
    pub(crate) id: u64,
    /// Which of the hop's probe mailboxes it went to.
    pub(crate) probe: u16,
    /// When it was begun, in monotonic ms.
    pub(crate) begun_ms: u64,
    /// How many messages the hop had been given before it.
    pub(crate) after: u64,
    /// What lay inside the hop then, and what the window was.
    pub(crate) load: Load,
}

/// How much lay inside a hop, of how much might have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) inside: u64,
    pub(crate) window: u32,
}

/// The canaries of one hop.
#[derive(Debug, Default)]
pub(crate) struct Canaries {
    /// In flight to the hop: one at most.
    going: Option<Canary>,
    /// Taken and not arrived, in the order of sending.
    taken: VecDeque<Canary>,
    last: Option<Canary>,
    /// How many were begun since one arrived.
    unanswered: u32,
    /// When the youngest of those that arrived was begun.
    arrived_begun_ms: u64,
    /// Of each probe mailbox, since when one has been on its way to it.
    since_ms: [Option<u64>; PROBES_MAX as usize],
    /// Of each, when the last one was begun.
    begun_ms: [u64; PROBES_MAX as usize],
    /// Those to which one is missing, a bit each. Only an arrival ends it.
    missing: u16,
}

const _: () = assert!(PROBES_MAX as u32 == u16::BITS);

impl Canaries {
    /// Whether one is on its way to the hop.
    pub(crate) fn is_going(&self) -> bool {
        self.going.is_some()
    }

    /// The last one that was begun.
    pub(crate) fn last(&self) -> Option<&Canary> {
        self.last.as_ref()
    }

    /// How many were begun since one arrived.
    pub(crate) fn unanswered(&self) -> u32 {
        self.unanswered
    }

    /// The oldest that is yet to come of those in order: one that a younger one has overtaken waits for its own mailbox, and
    /// says nothing of the queue before all of them.
    pub(crate) fn oldest_in_order(&self) -> Option<&Canary> {
        self.taken.iter().find(|taken| taken.begun_ms > self.arrived_begun_ms)
    }

    /// Books in which canaries to these probe mailboxes, a bit each, were missing at the last start.
    pub(crate) fn with_missing(missing: u16) -> Self {
        Self { missing, ..Self::default() }
    }

    /// Looks at the clock.
    pub(crate) fn look_for_missing(&mut self, now_ms: u64) {
        for (probe, since_ms) in self.since_ms.iter().enumerate() {
            if since_ms.is_some_and(|ms| ms + MISSING_MS <= now_ms) {
                self.missing |= 1 << probe;
            }
        }
    }

    /// The probe mailboxes whose canaries were missing when somebody last looked, a bit each.
    pub(crate) fn missing(&self) -> u16 {
        self.missing
    }

    /// Nobody waits any longer for those that are out.
    pub(crate) fn give_up(&mut self) {
        self.taken.clear();
        self.since_ms = [None; PROBES_MAX as usize];
        self.missing = 0;
    }

    /// When the next may be missing.
    pub(crate) fn missing_from_ms(&self) -> Option<u64> {
        let in_time = |(probe, since_ms): (usize, &Option<u64>)| {
            (*since_ms).filter(|_| self.missing & (1 << probe) == 0)
        };
        self.since_ms.iter().enumerate().filter_map(in_time).min().map(|ms| ms + MISSING_MS)
    }

    /// From when on a mailbox that is missing is to be asked for, if one is: at once where none is out to it that could come
    /// back, as after a restart, else long after the last.
    pub(crate) fn ask_from_ms(&self) -> Option<u64> {
        let of = |(probe, (since_ms, begun_ms)): (usize, (&Option<u64>, &u64))| {
            let is_missing = self.missing & (1 << probe) != 0;
            is_missing.then(|| if since_ms.is_none() { 0 } else { begun_ms + ASK_AGAIN_MS })
        };
        self.since_ms.iter().zip(&self.begun_ms).enumerate().filter_map(of).min()
    }

    /// The probe mailbox whose turn it is, of so many; or of those that are missing and to be asked for now, if that is what
    /// it is for.
    pub(crate) fn turn(&self, probes: u16, asks_for_missing: bool, now_ms: u64) -> u16 {
        let next = self.last.map_or(0, |last| (last.probe + 1) % probes.max(1));
        let is_due = |probe: &u16| {
            let (since_ms, begun_ms) =
                (self.since_ms.get(usize::from(*probe)), self.begun_ms.get(usize::from(*probe)));
            let is_out = since_ms.is_some_and(Option::is_some);
            self.missing & (1 << probe) != 0
                && (!is_out || begun_ms.is_some_and(|ms| ms + ASK_AGAIN_MS <= now_ms))
        };
        let mut from_next = (next..probes).chain(0..next);
        if asks_for_missing { from_next.find(is_due).unwrap_or(next) } else { next }
    }

    /// Begins one.
    pub(crate) fn begin(&mut self, id: u64, probe: u16, after: u64, load: Load, now_ms: u64) -> Canary {
        let canary = Canary { id, probe, begun_ms: now_ms, after, load };
        self.last = Some(canary);
        if let Some(begun_ms) = self.begun_ms.get_mut(usize::from(probe)) {
            *begun_ms = now_ms;
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.going = Some(canary);
        canary
    }

    /// The hop took the one that was going, or not.
    pub(crate) fn ended(&mut self, id: u64, taken: bool) -> bool {
        let Some(canary) = self.going.take_if(|going| going.id == id) else { return false };
        if taken {
            if self.taken.len() == OUTSTANDING_MAX {
                self.taken.pop_front();
            }
            self.taken.push_back(canary);
            if let Some(since_ms) = self.since_ms.get_mut(usize::from(canary.probe)) {
                since_ms.get_or_insert(canary.begun_ms);
            }
        }
        true
    }

    /// One came back, and is not waited for any longer: its mailbox is missing, unless a younger one has arrived there. Tells
    /// whether that is so.
    pub(crate) fn failed(&mut self, id: u64) -> bool {
        // Its report may be here before the reply to its end of data is.
        let going = self.going.take_if(|going| going.id == id);
        let Some(canary) = going.or_else(|| self.taken.iter().find(|taken| taken.id == id).copied()) else {
            return false;
        };
        self.taken.retain(|taken| taken.id != id);
        self.missing |= 1 << canary.probe;
        let next = self.taken.iter().find(|taken| taken.probe == canary.probe).map(|taken| taken.begun_ms);
        if let Some(since_ms) = self.since_ms.get_mut(usize::from(canary.probe)) {
            *since_ms = next;
        }
        true
    }

    /// One has arrived. Those that went to the same mailbox before it will not be waited for any longer.
    pub(crate) fn arrived(&mut self, id: u64) -> Option<Canary> {
        // Its report may be here before the reply to its end of data is.
        let canary = match self.going.take_if(|going| going.id == id) {
            Some(going) => going,
            None => *self.taken.iter().find(|taken| taken.id == id)?,
        };
        self.taken.retain(|taken| taken.probe != canary.probe || taken.begun_ms > canary.begun_ms);
        self.unanswered = 0;
        self.arrived_begun_ms = self.arrived_begun_ms.max(canary.begun_ms);
        let next = self.taken.iter().find(|taken| taken.probe == canary.probe).map(|taken| taken.begun_ms);
        if let Some(since_ms) = self.since_ms.get_mut(usize::from(canary.probe)) {
            *since_ms = next;
            self.missing &= !(1 << canary.probe);
        }
        Some(canary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: Load = Load { inside: 0, window: 1 };

    fn missing(canaries: &mut Canaries, now_ms: u64) -> u16 {
        canaries.look_for_missing(now_ms);
        canaries.missing()
    }

    fn send(canaries: &mut Canaries, id: u64, now_ms: u64) -> u16 {
        let probe = canaries.begin(id, canaries.turn(2, false, now_ms), 0, LOAD, now_ms).probe;
        assert!(canaries.ended(id, true));
        probe
    }

    #[test]
    fn a_mailbox_whose_canaries_stay_out_is_missing_however_many_come_back_from_the_other() {
        let mut canaries = Canaries::default();
        for id in 0..100 {
            let now_ms = id * 10_000;
            if send(&mut canaries, id, now_ms) == 1 {
                assert!(canaries.arrived(id).is_some());
            }
            assert_eq!(missing(&mut canaries, now_ms), u16::from(now_ms >= MISSING_MS));
        }
        // The last of those that stayed out comes after all.
        assert!(canaries.arrived(98).is_some());
        assert_eq!(missing(&mut canaries, 2_000_000), 0);
    }

    #[test]
    fn one_after_the_other_has_its_turn_and_of_those_that_are_missing_too() {
        let mut canaries = Canaries::with_missing(0b1010);
        assert_eq!((canaries.turn(4, false, 1), canaries.turn(4, true, 1)), (0, 1));
        canaries.begin(1, 1, 0, LOAD, 1);
        assert_eq!((canaries.turn(4, false, 1), canaries.turn(4, true, 1)), (2, 3));
        canaries.begin(2, 3, 0, LOAD, 1);
        assert_eq!((canaries.turn(4, false, 1), canaries.turn(4, true, 1)), (0, 1));
        // The settings have fewer by now, and none of those is missing.
        assert_eq!(Canaries::with_missing(0b1000).turn(3, true, 1), 0);
    }

    #[test]
    fn a_missing_mailbox_is_asked_for_where_none_is_out_and_again_in_an_hour() {
        let mut canaries = Canaries::with_missing(0b10);
        assert_eq!(canaries.ask_from_ms(), Some(0));
        canaries.begin(1, 1, 0, LOAD, 7);
        assert!(canaries.ended(1, true));
        assert_eq!((canaries.ask_from_ms(), canaries.turn(2, true, 8)), (Some(7 + ASK_AGAIN_MS), 0));
        assert!(canaries.failed(1));
        assert_eq!((canaries.ask_from_ms(), canaries.turn(2, true, 8)), (Some(0), 1));
        assert_eq!(Canaries::default().ask_from_ms(), None);
    }

    #[test]
    fn a_mailbox_whose_canary_came_back_is_missing_at_once_until_one_arrives() {
        let mut canaries = Canaries::default();
        for id in 0..5 {
            send(&mut canaries, id, id + 1);
        }
        assert!(canaries.arrived(3).is_some());
        assert!(!canaries.failed(1), "one that was sent later is there");
        assert!(canaries.failed(2) && !canaries.failed(2));
        assert_eq!((missing(&mut canaries, 6), canaries.oldest_in_order().map(|it| it.id)), (0b01, Some(4)));
        assert!(canaries.arrived(4).is_some());
        assert_eq!(missing(&mut canaries, 6), 0);
    }

    #[test]
    fn one_that_was_overtaken_says_nothing_of_the_queue() {
        let mut canaries = Canaries::default();
        for id in 0..3 {
            send(&mut canaries, id, id + 1);
        }
        assert_eq!(canaries.oldest_in_order().map(|it| it.id), Some(0));
        canaries.arrived(1);
        assert_eq!(canaries.oldest_in_order().map(|it| it.id), Some(2));
    }

    #[test]
    fn a_report_that_is_here_before_the_reply_counts_and_a_strange_one_does_not() {
        let mut canaries = Canaries::default();
        canaries.begin(7, 0, 0, LOAD, 1);
        assert_eq!(canaries.arrived(8), None);
        assert!(canaries.arrived(7).is_some());
        assert!(!canaries.ended(7, true));
        assert_eq!(missing(&mut canaries, 10 * MISSING_MS), 0);
    }
}
