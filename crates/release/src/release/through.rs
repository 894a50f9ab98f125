//! Whether a client can wait for the verdict on its message, and be told it.

use super::{Release, hop_id};
use crate::Now;
use crate::breaker::Refused;
use crate::custody::Refusal;
use crate::hop::{Hop, State};
use crate::progress::Stillness;
use crate::queue::Kind;
use crate::through::NotThrough;
use crate::ways::WaySet;

impl Release {
    /// Whether a message that comes now, for recipients of these ways, can be expected to have its verdict within so long: a
    /// next hop is well, bears more mail, and what goes first takes less. To be asked before the message is
    /// [`offer`](Self::offer)ed.
    ///
    /// # Errors
    /// Why not. The message is as welcome; its client is told 250 without waiting.
    pub fn through(&mut self, ways: WaySet, within_ms: u64, now: Now) -> Result<(), NotThrough> {
        self.tick(now);
        if Stillness::of(self.mode).is_some() {
            return Err(NotThrough::Held);
        }
        if ways.is_mixed() {
            return Err(NotThrough::SeveralWays);
        }
        let of_way = self.ways.hops(ways.first());
        let hops =
            || self.hops.iter().enumerate().filter(|(n, _)| of_way.has(hop_id(*n))).map(|(_, hop)| hop);
        let healthy = hops().filter(|hop| hop.state() == State::Healthy);
        let Some(priority) = healthy.map(|hop| hop.config.priority).min() else {
            let first = hops().min_by_key(|hop| hop.config.priority);
            return Err(NotThrough::NextHop(first.map_or(State::Untried, Hop::state)));
        };
        let mut why = None;
        for n in 0..self.hops.len() {
            let hop = &self.hops[n];
            let is_of_way = of_way.has(hop_id(n));
            if !is_of_way || hop.state() != State::Healthy || hop.config.priority != priority {
                continue;
            }
            match self.through_hop(n, within_ms) {
                Ok(()) => return Ok(()),
                Err(reason) => why = why.or(Some(reason)),
            }
        }
        Err(why.unwrap_or(NotThrough::NextHop(State::Untried)))
    }

    fn through_hop(&mut self, n: usize, within_ms: u64) -> Result<(), NotThrough> {
        let hop = &self.hops[n];
        if hop.doubt.is_raised() {
            return Err(NotThrough::Doubt);
        }
        if hop.pace.ready_at_ms() > self.now_ms {
            return Err(NotThrough::AskedForLess);
        }
        if !self.is_tested(n) {
            return Err(NotThrough::Untested);
        }
        if hop.flow.is_full(self.now_ms) {
            return Err(NotThrough::Window);
        }
        match self.verdict_in_ms(n) {
            for_ms if for_ms > within_ms => Err(NotThrough::Queue { for_ms }),
            _ => Ok(()),
        }
    }

    /// Whether a hop has taken a message in the state that it is in: one that has taken none may be refusing all.
    fn is_tested(&self, n: usize) -> bool {
        let hop = &self.hops[n];
        hop.last_pass >= self.secs_at(hop.since_ms())
    }

    /// In how long a message that comes now would have its verdict, by how long the last ones took.
    fn verdict_in_ms(&mut self, n: usize) -> u64 {
        let secs = self.secs();
        let (mut fresh, mut backlog) = (0, 0);
        for way in self.ways.of_hop_mut(hop_id(n)) {
            fresh += way.queue.ready_len(Kind::Fresh) as u64;
            if way.queue.has_due(Kind::Backlog, secs) {
                backlog += way.queue.ready_len(Kind::Backlog) as u64;
            }
        }
        // Where both wait they take turns.
        let backlog = backlog.min(fresh + 1);
        let before = fresh + backlog;
        let hop = &self.hops[n];
        let rounds = (before + u64::from(hop.in_flight)) / u64::from(hop.pace.connections().max(1)) + 1;
        let by_connections_ms = rounds * hop.took.ms();
        let begins_ms = self.ceiling_after_ms(n, before).saturating_sub(self.now_ms);
        by_connections_ms.max(begins_ms + hop.took.ms())
    }

    /// Whether the sender of a message in flight can be told that all its recipients were refused for good, by what was said
    /// of each. To be asked before it is [`finished`](Self::finished). What cannot be told is held for the operator as ever.
    pub fn can_tell(&mut self, message: u64, refused: &[Refused<'_>], now: Now) -> bool {
        self.tick(now);
        let Some(flying) = self.in_flight.iter().find(|it| it.job.id == message) else { return false };
        let (attempt, n) = (flying.attempt, usize::from(flying.hop.0));
        let hop = &self.hops[n];
        // What a hop said in another state, or as a trial, is no verdict of one that is well.
        if hop.state() != State::Healthy || attempt.trial || attempt.begun_ms < hop.since_ms() {
            return false;
        }
        if hop.cause().is_some() || hop.doubt.is_raised() || !self.is_tested(n) {
            return false;
        }
        let is_absent = |it: &Refused<'_>| it.evidence.refusal() == Refusal::Recipient;
        let directory_in_doubt = hop.is_directory_in_doubt(self.now_ms);
        !refused.is_empty()
            && refused.iter().all(|it| it.evidence.can_be_told(it.known_good))
            && !(directory_in_doubt && refused.iter().any(is_absent))
    }
}
