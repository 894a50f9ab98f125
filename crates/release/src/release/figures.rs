//! How far it is, and why nothing moves.

use alloc::borrow::ToOwned as _;
use alloc::vec::Vec;

use super::{Release, goes, hop_id};
use crate::Now;
use crate::domains::domain_of;
use crate::flow::Room;
use crate::hop::{Hop, HopStatus, State};
use crate::progress::{Progress, Stillness};
use crate::ways::WayId;

impl Release {
    /// How far release has come.
    pub fn progress(&mut self, now: Now) -> Progress {
        self.tick(now);
        let flying: u64 = self.in_flight.iter().map(|it| u64::from(it.job.size_bytes)).sum();
        let messages = (self.ways.len() + self.in_flight.len()) as u64;
        let in_flight = u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX);
        self.meter.progress(messages, self.ways.bytes() + flying, in_flight, self.now_ms)
    }

    /// Every hop as the operator sees it.
    pub fn hops(&self, now: Now) -> impl Iterator<Item = HopStatus> + '_ {
        self.hops.iter().enumerate().map(move |(n, hop)| {
            let domains = self.domains.of(hop_id(n)).map(|(_, address)| domain_of(address).to_owned());
            HopStatus { domains: domains.collect(), ..hop.status(hop_id(n), now.mono_ms) }
        })
    }

    /// Why nothing is moving, or `None` if something is, or is about to.
    pub fn stillness(&mut self, now: Now) -> Option<Stillness> {
        self.tick(now);
        if !self.in_flight.is_empty() {
            return None;
        }
        if self.ways.len() == 0 {
            return Some(Stillness::Empty);
        }
        if let Some(still) = Stillness::of(self.mode) {
            return Some(still);
        }
        // Ways that have mail, in their order, and those of them with a hop that takes it.
        let with_mail: Vec<WayId> = (0..)
            .map(WayId)
            .zip(self.ways.iter())
            .filter(|(_, way)| way.queue.len() > 0)
            .map(|(id, _)| id)
            .collect();
        let goes = goes(&self.hops);
        let alive: Vec<WayId> = with_mail.iter().copied().filter(|way| goes(self.ways.hops(*way))).collect();
        if alive.is_empty() {
            let of_first = self.ways.hops(*with_mail.first()?);
            let statuses = self.hops(now).zip(&self.hops).filter(|(status, _)| of_first.has(status.id));
            let (first, _) = statuses.min_by_key(|(_, hop)| hop.config.priority)?;
            return Some(Stillness::NextHop {
                hop: first.id,
                state: first.state,
                cause: first.cause,
                next_trial_in_ms: first.next_trial_in_ms.filter(|ms| *ms > 0),
            });
        }
        let paused_until = alive.iter().filter_map(|way| self.paused_until_ms(*way)).min()?;
        if paused_until > now.mono_ms {
            return Some(Stillness::AskedForLess { for_ms: paused_until - now.mono_ms });
        }
        let secs = self.secs_at(now.mono_ms);
        let due: Vec<WayId> =
            alive.iter().copied().filter(|way| self.ways.queue(*way).is_any_due(secs)).collect();
        if !due.is_empty() {
            let still: Option<Vec<Stillness>> =
                due.into_iter().map(|way| self.stillness_of_flow(way)).collect();
            return still?.into_iter().next();
        }
        let due = self.ways.next_due().map(|due| self.ms(due).saturating_sub(now.mono_ms));
        Some(due.map_or(Stillness::Parked, |for_ms| Stillness::Waiting { for_ms }))
    }

    /// Until when the hops of a way whose turn it is want no mail; `None` if none is healthy.
    fn paused_until_ms(&self, way: WayId) -> Option<u64> {
        let of_way = self.ways.hops(way);
        let hops = self.hops.iter().enumerate().filter(|(n, _)| of_way.has(hop_id(*n)));
        let healthy: Vec<&Hop> =
            hops.map(|(_, hop)| hop).filter(|hop| hop.state() == State::Healthy).collect();
        let priority = healthy.iter().map(|hop| hop.config.priority).min()?;
        let of_turn = healthy.iter().filter(|hop| hop.config.priority == priority);
        of_turn.map(|hop| hop.pace.ready_at_ms()).min()
    }

    /// Why mail that could go does not, if that is how much the hop has had.
    fn stillness_of_flow(&mut self, way: WayId) -> Option<Stillness> {
        let n = self.choose_hop(way)?;
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
