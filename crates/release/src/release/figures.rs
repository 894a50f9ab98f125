//! How far it is, and why nothing moves.

use super::{Release, hop_id};
use crate::Now;
use crate::flow::Room;
use crate::hop::{HopStatus, State};
use crate::progress::{Progress, Stillness};

impl Release {
    /// How far release has come.
    pub fn progress(&mut self, now: Now) -> Progress {
        self.tick(now);
        let flying: u64 = self.in_flight.iter().map(|it| u64::from(it.job.size_bytes)).sum();
        let messages = (self.queue.len() + self.in_flight.len()) as u64;
        let in_flight = u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX);
        self.meter.progress(messages, self.queue.bytes() + flying, in_flight, self.now_ms)
    }

    /// Every hop as the operator sees it.
    pub fn hops(&self, now: Now) -> impl Iterator<Item = HopStatus> + '_ {
        self.hops.iter().enumerate().map(move |(n, hop)| hop.status(hop_id(n), now.mono_ms))
    }

    /// Why nothing is moving, or `None` if something is, or is about to.
    pub fn stillness(&mut self, now: Now) -> Option<Stillness> {
        self.tick(now);
        if !self.in_flight.is_empty() {
            return None;
        }
        if self.queue.len() == 0 {
            return Some(Stillness::Empty);
        }
        if let Some(still) = Stillness::of(self.mode) {
            return Some(still);
        }
        let healthy = || self.hops.iter().filter(|hop| hop.state() == State::Healthy);
        let Some(priority) = healthy().map(|hop| hop.config.priority).min() else {
            let statuses = self.hops(now).zip(&self.hops);
            let (first, _) = statuses.min_by_key(|(_, hop)| hop.config.priority)?;
            return Some(Stillness::NextHop {
                hop: first.id,
                state: first.state,
                cause: first.cause,
                next_trial_in_ms: first.next_trial_in_ms.filter(|ms| *ms > 0),
            });
        };
        let of_turn = healthy().filter(|hop| hop.config.priority == priority);
        let paused_until = of_turn.map(|hop| hop.pace.ready_at_ms()).min()?;
        if paused_until > now.mono_ms {
            return Some(Stillness::AskedForLess { for_ms: paused_until - now.mono_ms });
        }
        if self.queue.is_any_due(self.secs_at(now.mono_ms)) {
            return self.stillness_of_flow();
        }
        let due = self.queue.next_due().map(|due| self.ms(due).saturating_sub(now.mono_ms));
        Some(due.map_or(Stillness::Parked, |for_ms| Stillness::Waiting { for_ms }))
    }

    /// Why mail that could go does not, if that is how much the hop has had.
    fn stillness_of_flow(&mut self) -> Option<Stillness> {
        let n = self.choose_hop()?;
        match self.room(n) {
            Room::FreshOnly { backlog_from_ms } => {
                Some(Stillness::Window { for_ms: backlog_from_ms.saturating_sub(self.now_ms) })
            }
            Room::Full { .. } if self.hops[n].flow.is_stuck(self.now_ms) => {
                let messages = self.hops[n].flow.inside(self.now_ms);
                Some(Stillness::Unproven { hop: hop_id(n), messages })
            }
            Room::Full { .. } | Room::Any => None,
        }
    }
}
