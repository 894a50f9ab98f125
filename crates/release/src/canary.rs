//! Canaries on their way: messages to probe mailboxes, whose arrival proves that mail reaches mailboxes.
//!
//! This keeps the books of one hop. When a canary is wanted, and what its arrival proves, is the flow's and the hop's.

use alloc::collections::VecDeque;

/// Canaries that were taken and have not arrived, at most. Of more, the oldest is given up.
const OUTSTANDING_MAX: usize = 16;

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
}

impl Canaries {
    /// Whether one is on its way to the hop.
    pub(crate) fn is_going(&self) -> bool {
        self.going.is_some()
    }

    /// The last one that was begun.
    pub(crate) fn last(&self) -> Option<&Canary> {
        self.last.as_ref()
    }

    /// The oldest that was taken and has not arrived.
    pub(crate) fn oldest(&self) -> Option<&Canary> {
        self.taken.front()
    }

    /// Begins one, to the probe mailbox whose turn it is.
    pub(crate) fn begin(&mut self, id: u64, probes: u16, after: u64, load: Load, now_ms: u64) -> Canary {
        let probe = self.last.map_or(0, |last| (last.probe + 1) % probes.max(1));
        let canary = Canary { id, probe, begun_ms: now_ms, after, load };
        self.last = Some(canary);
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
        Some(canary)
    }
}
