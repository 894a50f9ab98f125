//! What to do next: trials, canaries, mail, and which of it through which hop.

use super::{InFlight, Release, hop_id, route};
use crate::counters::Grade;
use crate::decision::{Decision, SetAside, Why};
use crate::flow::Room;
use crate::hop::{Hop, State, Wish};
use crate::queue::{Job, Kind};
use crate::saved::Mode;
use crate::ways::{WayId, WaySet};
use crate::{HopId, Now};

impl Release {
    /// What to do next. Ask until it says [`Decision::Wait`], and again at that moment and after every other call.
    pub fn next(&mut self, now: Now) -> Decision {
        self.tick(now);
        let mut wake = Wake(None);
        match self.mode {
            Mode::Stop => return wake.decision(),
            Mode::Hold { until_unix_ms: Some(until) } => match now.unix_ms {
                Some(unix) if unix >= until => self.set_mode(Mode::Auto, now),
                Some(unix) => wake.at(self.now_ms.saturating_add(until - unix)),
                None => {}
            },
            Mode::Auto | Mode::Drain | Mode::Hold { until_unix_ms: None } => {}
        }
        // First of all: what it lets go may be all the mail that there is.
        self.look_inside(now, &mut wake);
        let releasing = matches!(self.mode, Mode::Auto | Mode::Drain);
        if releasing && let Some(message) = self.take_expired(now) {
            return Decision::SetAside { message, why: SetAside::Expired };
        }
        let secs = self.secs();
        let mail = releasing && self.ways.has_any(secs);
        if releasing
            && !mail
            && let Some(due) = self.ways.next_due()
        {
            wake.at(self.ms(due));
        }
        if let Some(decision) = self.next_trial(mail, &mut wake) {
            return decision;
        }
        if let Some(decision) = self.next_canary(&mut wake) {
            return decision;
        }
        let hops = &self.hops;
        let takes_mail = |hop: HopId| hops[usize::from(hop.0)].state() == State::Healthy;
        match self.domains.next_ask(takes_mail, self.now_ms) {
            Ok((hop, route)) => return Decision::Ask { hop, route },
            Err(at_ms) => at_ms.into_iter().for_each(|at_ms| wake.at(at_ms)),
        }
        if mail && let Some(decision) = self.next_mail(&mut wake) {
            return decision;
        }
        wake.decision()
    }

    /// Probes, and messages that are trials.
    fn next_trial(&mut self, mail: bool, wake: &mut Wake) -> Option<Decision> {
        for n in 0..self.hops.len() {
            let hop = hop_id(n);
            match self.hops[n].wish(self.config.connections_max, self.now_ms) {
                Wish::Probe => {
                    self.probes[n] = Some(self.hops[n].begin(self.now_ms));
                    return Some(Decision::Probe { hop });
                }
                Wish::Trial if mail => match self.ceiling_ms(n) {
                    at if at > self.now_ms => wake.at(at),
                    _ => {
                        let secs = self.secs();
                        if let Some((way, job)) = self.ways.take_any(hop, secs) {
                            return Some(self.send(job, way, hop, Why::Trial));
                        }
                        self.ways.next_due().into_iter().for_each(|due| wake.at(self.ms(due)));
                    }
                },
                Wish::Canary => return Some(self.begin_canary(n)),
                Wish::NotBefore(at) => wake.at(at),
                Wish::Trial | Wish::Mail | Wish::Busy => {}
            }
        }
        None
    }

    /// Holds the mail of databases whose canaries are missing, and lets that of others go.
    fn look_inside(&mut self, now: Now, wake: &mut Wake) {
        for n in 0..self.hops.len() {
            let hop = &mut self.hops[n];
            let before = (hop.canaries.missing(), hop.state());
            let missing = hop.look_inside(self.knows_places, now);
            self.changed |= before != (hop.canaries.missing(), hop.state());
            if hop.flow.proves()
                && let Some(at_ms) = hop.canaries.missing_from_ms()
            {
                wake.at(at_ms);
            }
            for probe in 0..hop.config.probes {
                let route = route(hop_id(n), probe);
                match missing & (1 << probe) != 0 {
                    is_held if is_held == self.is_route_held(route) => {}
                    true => self.hold_route(route),
                    false => self.free_route(route),
                }
            }
        }
        self.look_whether_it_stands();
    }

    /// Canaries for healthy hops.
    fn next_canary(&mut self, wake: &mut Wake) -> Option<Decision> {
        for n in 0..self.hops.len() {
            let hop = &self.hops[n];
            let probes = hop.config.probes;
            if probes == 0
                || hop.canaries.is_going()
                || hop.wish(self.config.connections_max, self.now_ms) != Wish::Mail
            {
                continue;
            }
            match hop.flow.canary_from_ms(&hop.canaries, self.now_ms) {
                None => continue,
                Some(due_ms) if due_ms > self.now_ms => {
                    wake.at(due_ms);
                    continue;
                }
                Some(_) => {}
            }
            return Some(self.begin_canary(n));
        }
        None
    }

    fn begin_canary(&mut self, n: usize) -> Decision {
        self.last_canary += 1;
        let canary = self.last_canary;
        let (attempt, probe) = self.hops[n].begin_canary(canary, self.now_ms);
        self.canary_attempts[n] = Some((canary, attempt));
        Decision::Canary { hop: hop_id(n), probe, canary }
    }

    /// Mail for a healthy hop: of each way in turn.
    fn next_mail(&mut self, wake: &mut Wake) -> Option<Decision> {
        let secs = self.secs();
        for way in self.ways.turns() {
            if self.ways.queue(way).has_any(secs)
                && let Some(decision) = self.next_mail_of(way, wake)
            {
                self.ways.served(way);
                return Some(decision);
            }
        }
        None
    }

    fn next_mail_of(&mut self, way: WayId, wake: &mut Wake) -> Option<Decision> {
        let n = self.choose_hop(way)?;
        let secs = self.secs();
        let turn = match self.room(n) {
            Room::Any => self.ways.queue(way).turn(secs),
            Room::FreshOnly { backlog_from_ms } => {
                wake.at(backlog_from_ms);
                if !self.ways.queue(way).has_due(Kind::Fresh, secs) {
                    return None;
                }
                Some(Kind::Fresh)
            }
            Room::Full { until_ms } => {
                if let Some(until_ms) = until_ms {
                    wake.at(until_ms);
                }
                return None;
            }
        };
        if turn.is_none() {
            if let Some(due) = self.ways.queue(way).next_due() {
                wake.at(self.ms(due));
            }
            let waiting_len = self.ways.queue(way).waiting_len();
            let early_from_ms = self.hops[n].doubt.early_from_ms(waiting_len)?;
            if early_from_ms > self.now_ms {
                wake.at(early_from_ms);
                return None;
            }
        }
        let from_ms = self.ceiling_ms(n);
        if from_ms > self.now_ms {
            wake.at(from_ms);
            return None;
        }
        let (job, why) = match turn {
            Some(kind) => (self.ways.queue(way).take(kind, secs)?, Why::Turn),
            None => (self.ways.queue(way).take_earliest()?, Why::Early),
        };
        self.charge(n, way);
        Some(self.send(job, way, hop_id(n), why))
    }

    /// The hop for the next message of a way: of those of the best priority at which one is healthy, and that have a connection
    /// free, the one with the greatest claim.
    pub(super) fn choose_hop(&self, way: WayId) -> Option<usize> {
        let of_way = self.ways.hops(way);
        let hops = || self.hops.iter().enumerate().filter(|(n, _)| of_way.has(hop_id(*n)));
        let healthy = hops().filter(|(_, hop)| hop.state() == State::Healthy);
        let priority = healthy.map(|(_, hop)| hop.config.priority).min()?;
        let free = |(_, hop): &(usize, &Hop)| {
            hop.config.priority == priority
                && hop.wish(self.config.connections_max, self.now_ms) == Wish::Mail
        };
        let claim = |hop: &Hop| hop.credit + i64::from(hop.config.weight);
        hops().filter(free).max_by_key(|(n, hop)| (claim(hop), usize::MAX - n)).map(|(n, _)| n)
    }

    /// Smooth weighted round robin, as nginx has it: all that could have had the message gain a claim by their weight,
    /// the one that gets it pays for all.
    fn charge(&mut self, chosen: usize, way: WayId) {
        let of_way = self.ways.hops(way);
        let priority = self.hops[chosen].config.priority;
        let mut total = 0;
        let hops = self.hops.iter_mut().enumerate().filter(|(n, _)| of_way.has(hop_id(*n)));
        for (_, hop) in hops {
            let free = hop.wish(self.config.connections_max, self.now_ms) == Wish::Mail;
            if hop.config.priority == priority && free {
                hop.credit += i64::from(hop.config.weight);
                total += i64::from(hop.config.weight);
            }
        }
        self.hops[chosen].credit -= total;
    }

    /// How much of the mail may go to this hop.
    pub(super) fn room(&mut self, n: usize) -> Room {
        let unbounded = self.config.messages_per_minute_max.is_some();
        let hop = &mut self.hops[n];
        hop.flow.room(&hop.canaries, unbounded, self.now_ms)
    }

    /// From when on the ceiling lets a message begin. Without the operator's, only a hop of which little is known has one.
    fn ceiling_ms(&self, n: usize) -> u64 {
        if self.is_bound(n) { self.ceiling.ready_at_ms() } else { 0 }
    }

    /// The same for a message that has so many before it.
    pub(super) fn ceiling_after_ms(&self, n: usize, messages: u64) -> u64 {
        if self.is_bound(n) { self.ceiling.ready_after_ms(messages) } else { 0 }
    }

    fn is_bound(&self, n: usize) -> bool {
        self.config.messages_per_minute_max.is_some() || self.hops[n].flow.grade(self.now_ms) == Grade::Blind
    }

    fn send(&mut self, job: Job, way: WayId, hop: HopId, why: Why) -> Decision {
        self.ceiling.begin(self.now_ms);
        let n = usize::from(hop.0);
        let attempt = self.hops[n].begin(self.now_ms);
        self.hops[n].flow.begin(!job.is_fresh_mail, self.now_ms);
        let ways = WaySet::of([way]);
        self.in_flight.push(InFlight { job, hop, way, ways, attempt, source: None });
        Decision::Send { message: job.id, hop, why }
    }

    fn take_expired(&mut self, now: Now) -> Option<u64> {
        let oldest_ms = now.unix_ms?.checked_sub(self.config.expire_after_ms)?;
        let secs = self.secs();
        self.ways.take_expired(u32::try_from(oldest_ms / 1_000).unwrap_or(u32::MAX), secs).map(|job| job.id)
    }
}

/// The earliest of several moments.
struct Wake(Option<u64>);

impl Wake {
    fn at(&mut self, ms: u64) {
        self.0 = Some(self.0.map_or(ms, |other| other.min(ms)));
    }

    fn decision(self) -> Decision {
        Decision::Wait { until_ms: self.0 }
    }
}
