//! Joins queue, hops, ceilings and mode: what to do next, and what follows from what happened.

use alloc::vec::Vec;

use crate::breaker::{Behalf, Witness};
use crate::ceiling::Ceiling;
use crate::config::{BLIND_PER_MINUTE_MAX, Config, HOPS_MAX, PROBES_MAX};
use crate::counters::{Counters, Grade};
use crate::custody::{Trouble, Verdict};
use crate::decision::{CanaryOutcome, Decision, Fate, Outcome, Removed, SetAside, Why};
use crate::error::Error;
use crate::fingerprint::Greeting;
use crate::flow::Room;
use crate::hop::{Attempt, Hop, HopStatus, State, Wish};
use crate::progress::{Meter, Progress, Stillness};
use crate::queue::{End, Job, Kind, Message, Priority, Queue, Secs};
use crate::reply::{Event, Evidence, Phase, Reply};
use crate::saved::{Mode, Saved};
use crate::{HopId, Now};

/// A message that a server may have taken is not sent again before this, whatever happens.
const UNKNOWN_WAIT_MS: u64 = 600_000;

/// What comes in while no hop takes mail for so long is what has piled up by then, and no fresh mail.
const PILE_UP_MS: u64 = 300_000;

#[derive(Debug)]
struct InFlight {
    job: Job,
    hop: HopId,
    attempt: Attempt,
    /// Who it came from, if the caller has told.
    source: Option<u64>,
}

/// The release of one destination's mail.
#[derive(Debug)]
pub struct Release {
    config: Config,
    mode: Mode,
    hops: Vec<Hop>,
    queue: Queue,
    /// At most connections × hops.
    in_flight: Vec<InFlight>,
    /// Probes in flight, by hop.
    probes: Vec<Option<Attempt>>,
    /// Canaries in flight, by hop.
    canary_attempts: Vec<Option<Attempt>>,
    last_canary: u64,
    ceiling: Ceiling,
    meter: Meter,
    base_ms: u64,
    now_ms: u64,
    changed: bool,
    /// Whether the recipients of a database can be held alone.
    knows_places: bool,
    /// Whether mail has gone out since the start.
    has_begun: bool,
    /// Since when no hop has taken mail, after one did.
    stands_since_ms: Option<u64>,
}

impl Release {
    /// Release with an empty queue, in the mode and with the hops' states as saved. `initial` is the mode where
    /// nothing was saved.
    ///
    /// # Errors
    /// [`Error::Hops`], [`Error::Limits`].
    pub fn new(config: Config, saved: Option<&Saved>, initial: Mode, now: Now) -> Result<Self, Error> {
        config.check()?;
        let hops: Vec<_> = config
            .hops
            .iter()
            .map(|hop| {
                let known = saved.and_then(|saved| saved.hops.iter().find(|it| it.name == hop.name));
                Hop::new(hop.clone(), known, &config, now)
            })
            .collect();
        Ok(Self {
            mode: saved.map_or(initial, |saved| saved.mode),
            probes: hops.iter().map(|_| None).collect(),
            canary_attempts: hops.iter().map(|_| None).collect(),
            last_canary: 0,
            hops,
            queue: Queue::default(),
            in_flight: Vec::new(),
            ceiling: Ceiling::new(config.messages_per_minute_max.unwrap_or(BLIND_PER_MINUTE_MAX)),
            meter: Meter::new(now.mono_ms),
            base_ms: now.mono_ms,
            now_ms: now.mono_ms,
            changed: saved.is_none(),
            knows_places: false,
            has_begun: false,
            stands_since_ms: None,
            config,
        })
    }

    /// Takes in a message that was accepted, or one that the operator gives back to the queue. Each id is here once at
    /// most; that is the caller's to keep. It is fresh mail until what has piled up becomes backlog: when a server is
    /// found to be well again, or the operator lets mail go.
    pub fn offer(&mut self, message: Message) {
        self.queue.put(Job::new(message, 0, true));
    }

    /// Takes in a message after a restart, with what the log knows: how many attempts it has had and for how long it
    /// still waits. It is backlog.
    pub fn recover(&mut self, message: Message, attempts: u32, waits_ms: u64) {
        let job = Job::new(message, attempts, false);
        let due = self.due_in(waits_ms);
        if attempts == 0 || waits_ms == 0 { self.queue.put(job) } else { self.queue.put_waiting(job, due) }
    }

    /// Tells which mailbox the first open recipient of a message has ([`Config::mailbox`]), and the message's priority:
    /// where that was not known, or has become another while it was in flight. Whether a message in flight can go on: if
    /// not, since the server asked for that mailbox to be spared, report [`Outcome::NotTried`].
    pub fn addressed(&mut self, message: u64, mailbox: u32, priority: Priority) -> bool {
        match self.in_flight.iter_mut().find(|it| it.job.id == message) {
            Some(it) => {
                it.job.mailbox = mailbox;
                it.job.priority = priority;
            }
            None => self.queue.learn(message, mailbox, priority),
        }
        !self.queue.spares(mailbox, message)
    }

    /// The first `count` messages from this id on of which it is not known whose they are; tell with
    /// [`addressed`](Self::addressed).
    pub fn unknown_from(&self, id: u64, count: usize) -> Vec<u64> {
        self.queue.unknown_from(id, count)
    }

    /// Holds the recipients of a route alone: those of a domain, say, numbered by the caller from [`ROUTES_OWN`] on; those of
    /// a mailbox database are held by themselves while its canaries are missing. Messages to others go on; one whose open
    /// recipients are all held is reported as [`Outcome::Parked`]. It does not outlive a restart.
    pub fn hold_route(&mut self, route: u16) {
        self.queue.hold_route(route);
    }

    /// Lets the recipients of a route have their mail again: what is parked for it is due at once.
    pub fn free_route(&mut self, route: u16) {
        self.queue.free_route(route);
    }

    /// Whether the recipients of a route are held.
    pub fn is_route_held(&self, route: u16) -> bool {
        self.queue.is_route_held(route)
    }

    /// Takes a message out, if it is not in flight. Slow in a long queue (20 ms a million messages that wait).
    pub fn remove(&mut self, id: u64) -> Removed {
        if self.in_flight.iter().any(|it| it.job.id == id) {
            Removed::InFlight
        } else if self.queue.remove(id).is_some() {
            Removed::Yes
        } else {
            Removed::Unknown
        }
    }

    /// Takes out all messages that `which` says, but for those in flight: what holds them cannot be reached now.
    pub fn take_out(&mut self, which: impl Fn(u64) -> bool) {
        self.queue.take_out(which);
    }

    /// Ends the wait of one message. Tells whether it is in the queue.
    pub fn hasten(&mut self, id: u64) -> bool {
        match self.queue.remove(id) {
            Some(job) => {
                self.queue.put(job);
                true
            }
            None => false,
        }
    }

    /// The operator's mode.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Sets the operator's mode. What is in flight goes on; [`Mode::Drain`] ends every wait.
    pub fn set_mode(&mut self, mode: Mode, now: Now) {
        self.tick(now);
        if mode == Mode::Drain {
            let secs = self.secs();
            self.queue.end_waits(secs);
        }
        if Stillness::of(self.mode).is_some() && Stillness::of(mode).is_none() {
            self.queue.begin_afresh();
        }
        self.changed |= self.mode != mode;
        self.mode = mode;
    }

    /// Whether [`saved`](Release::saved) says something else than at the last call.
    pub fn take_changed(&mut self) -> bool {
        core::mem::take(&mut self.changed)
    }

    /// What is to be kept over a restart.
    pub fn saved(&self) -> Saved {
        Saved { mode: self.mode, hops: self.hops.iter().map(Hop::saved).collect() }
    }

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
        let releasing = matches!(self.mode, Mode::Auto | Mode::Drain);
        if releasing && let Some(message) = self.take_expired(now) {
            return Decision::SetAside { message, why: SetAside::Expired };
        }
        let secs = self.secs();
        let mail = releasing && self.queue.has_any(secs);
        if releasing
            && !mail
            && let Some(due) = self.queue.next_due()
        {
            wake.at(self.ms(due));
        }
        self.look_inside(now, &mut wake);
        if let Some(decision) = self.next_trial(mail, &mut wake) {
            return decision;
        }
        if let Some(decision) = self.next_canary(&mut wake) {
            return decision;
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
                        if let Some(job) = self.queue.take_any(secs) {
                            return Some(self.send(job, hop, Why::Trial));
                        }
                        self.queue.next_due().into_iter().for_each(|due| wake.at(self.ms(due)));
                    }
                },
                Wish::Canary => return Some(self.begin_canary(n)),
                Wish::NotBefore(at) => wake.at(at),
                Wish::Trial | Wish::Mail | Wish::Busy => {}
            }
        }
        None
    }

    /// Whether the caller knows the mailbox database of each recipient, and leaves out of an attempt those that a
    /// [`route`] holds. Without that all mail waits when the canaries of one database stay out.
    pub fn set_knows_places(&mut self, knows_places: bool) {
        self.knows_places = knows_places;
    }

    /// Holds the mail of databases whose canaries are missing, and lets that of others go.
    fn look_inside(&mut self, now: Now, wake: &mut Wake) {
        for n in 0..self.hops.len() {
            let hop = &mut self.hops[n];
            let before = (hop.canaries.missing(), hop.state());
            let missing = hop.look_inside(self.knows_places, now);
            self.changed |= before != (missing, hop.state());
            if let Some(at_ms) = hop.canaries.missing_from_ms() {
                wake.at(at_ms);
            }
            for probe in 0..hop.config.probes {
                let route = route(hop_id(n), probe);
                match missing & (1 << probe) != 0 {
                    is_held if is_held == self.queue.is_route_held(route) => {}
                    true => self.queue.hold_route(route),
                    false => self.queue.free_route(route),
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
        self.canary_attempts[n] = Some(attempt);
        Decision::Canary { hop: hop_id(n), probe, canary }
    }

    /// A canary that was to be sent has come to an end.
    pub fn canary_ended(&mut self, canary: u64, outcome: CanaryOutcome<'_>, now: Now) {
        self.tick(now);
        let taken = outcome == CanaryOutcome::Taken;
        let Some(n) = self.hops.iter_mut().position(|hop| hop.canaries.ended(canary, taken)) else { return };
        let Some(attempt) = self.canary_attempts[n].take() else { return };
        self.hops[n].end(attempt);
        match outcome {
            CanaryOutcome::Taken if attempt.trial => self.recover_hop(n, now),
            CanaryOutcome::Taken => {}
            CanaryOutcome::Refused(evidence) => match evidence.verdict() {
                Verdict::Destination(trouble) => {
                    self.trouble(n, trouble, &evidence, attempt, Behalf::Canary, now);
                }
                _ if attempt.trial => {
                    self.hops[n].canary_failed(Some(&evidence), &self.config, self.now_ms);
                }
                _ => {}
            },
            CanaryOutcome::NotTried if attempt.trial => {
                self.hops[n].canary_failed(None, &self.config, self.now_ms);
            }
            CanaryOutcome::NotTried => {}
        }
    }

    /// A canary has reached its mailbox.
    pub fn canary_arrived(&mut self, canary: u64, now: Now) {
        self.tick(now);
        for n in 0..self.hops.len() {
            let hop = &mut self.hops[n];
            if let Some(arrived) = hop.canaries.arrived(canary) {
                self.changed |= !hop.flow.proves();
                hop.flow.arrived(&arrived, self.now_ms);
                if hop.canary_arrived(arrived.id, arrived.probe, now) {
                    self.healed(n, true);
                }
            }
        }
    }

    /// What a hop showed on a new connection, before anything else is said on it. Whoever has mail for it asks
    /// [`may_have_mail`](Self::may_have_mail) next.
    pub fn greeted(&mut self, hop: HopId, greeting: &Greeting<'_>, now: Now) {
        self.tick(now);
        if let Some(hop) = self.hops.get_mut(usize::from(hop.0)) {
            self.changed |= hop.greeted(greeting, now);
        }
    }

    /// Whether a message may be said to a hop: not while it has to prove itself. Probes and canaries may go then. A
    /// message that has been decided on and may not go is [`Outcome::NotTried`].
    pub fn may_have_mail(&self, hop: HopId) -> bool {
        self.hops.get(usize::from(hop.0)).is_some_and(|hop| hop.cause().is_none())
    }

    /// The operator says that a hop is itself and its mailboxes are there. Tells whether that had been in doubt, of a hop
    /// that answers ([`State::can_be_confirmed`]); if so, it gets mail from now on.
    pub fn confirm(&mut self, hop: HopId, now: Now) -> bool {
        self.tick(now);
        let n = usize::from(hop.0);
        let confirmed = self.hops.get_mut(n).is_some_and(|hop| hop.confirm(now));
        if confirmed {
            self.healed(n, true);
        }
        confirmed
    }

    /// What an attempt with a message in flight showed beside its outcome: to be told before
    /// [`finished`](Self::finished).
    pub fn witnessed(&mut self, message: u64, witness: Witness<'_>, now: Now) {
        self.tick(now);
        let Some(flying) = self.in_flight.iter_mut().find(|it| it.job.id == message) else { return };
        flying.source = Some(witness.source);
        let n = usize::from(flying.hop.0);
        self.changed |= self.hops[n].witnessed(witness, now);
    }

    /// The counters of a hop were read.
    pub fn counted(&mut self, hop: HopId, counters: &Counters, now: Now) {
        self.tick(now);
        if let Some(hop) = self.hops.get_mut(usize::from(hop.0)) {
            hop.flow.counted(counters, self.now_ms);
        }
    }

    /// Mail for a healthy hop.
    fn next_mail(&mut self, wake: &mut Wake) -> Option<Decision> {
        let n = self.choose_hop()?;
        let secs = self.secs();
        let turn = match self.room(n) {
            Room::Any => self.queue.turn(secs),
            Room::FreshOnly { backlog_from_ms } => {
                wake.at(backlog_from_ms);
                if !self.queue.has_due(Kind::Fresh, secs) {
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
            if let Some(due) = self.queue.next_due() {
                wake.at(self.ms(due));
            }
            let early_from_ms = self.hops[n].doubt.early_from_ms(self.queue.waiting_len())?;
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
            Some(kind) => (self.queue.take(kind, secs)?, Why::Turn),
            None => (self.queue.take_earliest()?, Why::Early),
        };
        self.charge(n);
        Some(self.send(job, hop_id(n), why))
    }

    /// The hop for the next message: of those of the best priority at which one is healthy, and that have a connection
    /// free, the one with the greatest claim.
    fn choose_hop(&self) -> Option<usize> {
        let healthy = self.hops.iter().filter(|hop| hop.state() == State::Healthy);
        let priority = healthy.map(|hop| hop.config.priority).min()?;
        let free = |(_, hop): &(usize, &Hop)| {
            hop.config.priority == priority
                && hop.wish(self.config.connections_max, self.now_ms) == Wish::Mail
        };
        let claim = |hop: &Hop| hop.credit + i64::from(hop.config.weight);
        self.hops
            .iter()
            .enumerate()
            .filter(free)
            .max_by_key(|(n, hop)| (claim(hop), usize::MAX - n))
            .map(|(n, _)| n)
    }

    /// Smooth weighted round robin, as nginx has it: all that could have had the message gain a claim by their weight,
    /// the one that gets it pays for all.
    fn charge(&mut self, chosen: usize) {
        let priority = self.hops[chosen].config.priority;
        let mut total = 0;
        for hop in &mut self.hops {
            let free = hop.wish(self.config.connections_max, self.now_ms) == Wish::Mail;
            if hop.config.priority == priority && free {
                hop.credit += i64::from(hop.config.weight);
                total += i64::from(hop.config.weight);
            }
        }
        self.hops[chosen].credit -= total;
    }

    /// How much of the mail may go to this hop.
    fn room(&mut self, n: usize) -> Room {
        let unbounded = self.config.messages_per_minute_max.is_some();
        let hop = &mut self.hops[n];
        hop.flow.room(&hop.canaries, unbounded, self.now_ms)
    }

    /// From when on the ceiling lets a message begin. Without the operator's, only a hop of which little is known has one.
    fn ceiling_ms(&self, n: usize) -> u64 {
        let bound = self.config.messages_per_minute_max.is_some()
            || self.hops[n].flow.grade(self.now_ms) == Grade::Blind;
        if bound { self.ceiling.ready_at_ms() } else { 0 }
    }

    fn send(&mut self, job: Job, hop: HopId, why: Why) -> Decision {
        self.ceiling.begin(self.now_ms);
        let n = usize::from(hop.0);
        let attempt = self.hops[n].begin(self.now_ms);
        self.hops[n].flow.begin(!job.is_fresh_mail, self.now_ms);
        self.in_flight.push(InFlight { job, hop, attempt, source: None });
        Decision::Send { message: job.id, hop, why }
    }

    fn take_expired(&mut self, now: Now) -> Option<u64> {
        let oldest_ms = now.unix_ms?.checked_sub(self.config.expire_after_ms)?;
        let secs = self.secs();
        self.queue.take_expired(u32::try_from(oldest_ms / 1_000).unwrap_or(u32::MAX), secs).map(|job| job.id)
    }

    /// A command was answered, well or badly, after `took_ms`, in a transaction with a message of that size.
    pub fn answered(&mut self, hop: HopId, phase: Phase, size_bytes: u64, took_ms: u64, now: Now) {
        self.tick(now);
        if let Some(hop) = self.hops.get_mut(usize::from(hop.0)) {
            hop.pace.answered(phase, size_bytes, took_ms, self.now_ms);
        }
    }

    /// A probe has ended: with evidence of trouble, or with the server ready for mail. Evidence that is no trouble
    /// counts as ready.
    pub fn probed(&mut self, hop: HopId, trouble: Option<Evidence<'_>>, now: Now) {
        self.tick(now);
        let n = usize::from(hop.0);
        let Some(attempt) = self.probes.get_mut(n).and_then(Option::take) else {
            return;
        };
        self.hops[n].end(attempt);
        match trouble {
            Some(evidence) => match evidence.verdict() {
                Verdict::Destination(trouble) => {
                    self.trouble(n, trouble, &evidence, attempt, Behalf::Probe, now);
                }
                Verdict::Accepted | Verdict::Delivered => self.recover_hop(n, now),
                // It answered and did not take a bare MAIL, for now: not yet.
                _ => self.hops[n].still(&evidence, &self.config, self.now_ms),
            },
            None => {
                self.changed |= self.hops[n].took_probe();
                self.recover_hop(n, now);
            }
        }
    }

    /// A message that was to be sent has come to an end. `None` if it was not in flight.
    pub fn finished(&mut self, message: u64, outcome: Outcome<'_>, now: Now) -> Option<Fate> {
        self.tick(now);
        let at = self.in_flight.iter().position(|it| it.job.id == message)?;
        let InFlight { job, hop, attempt, source } = self.in_flight.swap_remove(at);
        let n = usize::from(hop.0);
        self.hops[n].end(attempt);
        let secs = self.secs();
        self.hops[n].flow.end(outcome.is_delivered());
        self.queue.ended(&job, end(&outcome), secs);
        Some(match outcome {
            Outcome::NotTried => self.keep(job),
            Outcome::Parked { route, delivered } => {
                if delivered {
                    self.passed(n, attempt, now);
                }
                self.queue.park(job, route);
                Fate::Kept
            }
            Outcome::Done { delivered } => {
                if delivered {
                    self.passed(n, attempt, now);
                    self.meter.delivered(u64::from(job.size_bytes), self.now_ms);
                }
                Fate::Done
            }
            Outcome::Open { evidence, delivered } => {
                self.left_open(n, job, (&evidence, source), delivered, attempt, now)
            }
        })
    }

    /// The hop took custody of a message, at least for one recipient.
    fn passed(&mut self, n: usize, attempt: Attempt, now: Now) {
        let secs = self.secs();
        if attempt.trial {
            self.recover_hop(n, now);
        } else if self.hops[n].state() != State::Healthy {
            return; // an attempt from before the trouble: it proves nothing about now
        } else if self.hops[n].doubt.passed() {
            self.queue.forgive(self.hops[n].last_pass, secs);
        }
        let hop = &mut self.hops[n];
        self.changed |= hop.took_mail();
        hop.last_pass = secs;
        hop.pace.delivered(self.now_ms);
    }

    /// Some recipients are open yet.
    fn left_open(
        &mut self,
        n: usize,
        job: Job,
        (evidence, source): (&Evidence<'_>, Option<u64>),
        delivered: bool,
        attempt: Attempt,
        now: Now,
    ) -> Fate {
        let passes_before = self.last_pass();
        if delivered {
            self.passed(n, attempt, now);
        } else if !is_throttled(evidence) {
            self.hops[n].doubt.failed(job.id, self.config.probe_data_interval_ms, self.now_ms);
        }
        let about_hop = matches!(evidence.verdict(), Verdict::Destination(_));
        match evidence.verdict() {
            Verdict::Destination(trouble) => {
                self.trouble(n, trouble, evidence, attempt, Behalf::Message(source), now);
            }
            _ if attempt.trial && !delivered => self.hops[n].still(evidence, &self.config, self.now_ms),
            _ => {}
        }
        // A message that only asked how a hop is owes nothing, where another hop takes mail.
        let elsewhere = attempt.trial && self.hops.iter().any(|hop| hop.state() == State::Healthy);
        if elsewhere && about_hop || !involves_message(evidence) || is_throttled(evidence) {
            self.keep(job)
        } else {
            // What a hop says that is not itself, of a message that asked whether it is again, is no harm by the message.
            let is_harmful = evidence.is_harmful() && !(attempt.trial && about_hop);
            self.wait(job, evidence, is_harmful, passes_before)
        }
    }

    fn trouble(
        &mut self,
        n: usize,
        trouble: Trouble,
        evidence: &Evidence<'_>,
        attempt: Attempt,
        behalf: Behalf,
        now: Now,
    ) {
        self.changed |= self.hops[n].trouble(trouble, evidence, attempt, behalf, &self.config, now);
        self.look_whether_it_stands();
    }

    /// Takes down since when no hop takes mail.
    fn look_whether_it_stands(&mut self) {
        if self.has_begun && self.hops.iter().all(|hop| hop.state() != State::Healthy) {
            self.stands_since_ms.get_or_insert(self.now_ms);
        }
    }

    /// A trial of a hop succeeded.
    fn recover_hop(&mut self, n: usize, now: Now) {
        let before = self.hops[n].state();
        let was_real = self.hops[n].recover(&self.config, now);
        self.changed |= self.hops[n].state() != before;
        if self.hops[n].state() == State::Healthy {
            self.healed(n, was_real);
        }
    }

    /// The hop takes mail again. What failed since it last took some was not to blame, if the trouble was real.
    fn healed(&mut self, n: usize, was_real: bool) {
        if was_real {
            let secs = self.secs();
            self.queue.forgive(self.hops[n].last_pass, secs);
        }
        let stood_since_ms = self.stands_since_ms.take();
        if stood_since_ms.is_some_and(|ms| self.now_ms - ms >= PILE_UP_MS) || !self.has_begun {
            self.queue.begin_afresh();
        }
        self.has_begun = true;
        self.hops[n].doubt.passed();
        self.changed = true;
    }

    fn keep(&mut self, job: Job) -> Fate {
        self.queue.put_back(job);
        Fate::Kept
    }

    /// A message failed by itself: it waits, or it is poison.
    fn wait(&mut self, mut job: Job, evidence: &Evidence<'_>, is_harmful: bool, passes_before: Secs) -> Fate {
        let secs = self.secs();
        if is_harmful {
            if job.harms == 0 {
                job.first_harm = secs;
                job.harms = 1;
            } else if passes_before > job.failed {
                job.harms = job.harms.saturating_add(1);
            }
            let span_ms = u64::from(secs - job.first_harm) * 1_000;
            if u32::from(job.harms) >= self.config.poison_failures && span_ms >= self.config.poison_span_ms {
                return Fate::SetAside(SetAside::Poison);
            }
        }
        job.failed = secs;
        job.attempts = job.attempts.saturating_add(1);
        let attempts = u32::from(job.attempts);
        let step = if self.mode == Mode::Drain { 1 } else { attempts };
        let least_ms = if evidence.is_unknown() { UNKNOWN_WAIT_MS } else { 0 };
        let for_ms = self.config.retry_wait_ms(job.id, step).max(least_ms);
        let due = self.due_in(for_ms);
        if evidence.is_unknown() {
            self.queue.put_unknown(job, due);
        } else {
            self.queue.put_waiting(job, due);
        }
        Fate::Waits { for_ms, attempts }
    }

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

    fn tick(&mut self, now: Now) {
        self.now_ms = self.now_ms.max(now.mono_ms);
    }

    /// When a message last passed, through any hop.
    fn last_pass(&self) -> Secs {
        self.hops.iter().map(|hop| hop.last_pass).max().unwrap_or_default()
    }

    fn secs(&self) -> Secs {
        self.secs_at(self.now_ms)
    }

    fn secs_at(&self, mono_ms: u64) -> Secs {
        u32::try_from(mono_ms.saturating_sub(self.base_ms) / 1_000 + 1).unwrap_or(u32::MAX)
    }

    /// The first whole second that is not before `wait_ms` from now.
    fn due_in(&self, wait_ms: u64) -> Secs {
        self.secs_at(self.now_ms.saturating_add(wait_ms).saturating_add(999))
    }

    /// The moment at which `secs` begins.
    fn ms(&self, secs: Secs) -> u64 {
        self.base_ms + u64::from(secs.saturating_sub(1)) * 1_000
    }
}

/// Whether a failure counts as an attempt of its message: not if the server was never told of it, or only said how
/// much it will take.
fn involves_message(evidence: &Evidence<'_>) -> bool {
    let about_us = matches!(evidence.verdict(), Verdict::Destination(Trouble::Connections | Trouble::Rate));
    evidence.phase >= Phase::Mail && !about_us
}

/// Whether the server asked for one mailbox to be spared: no fault of the message, and no matter of the whole server.
fn is_throttled(evidence: &Evidence<'_>) -> bool {
    let asked = matches!(evidence.event, Event::Reply(Reply { code: 432, .. }));
    asked && matches!(evidence.verdict(), Verdict::RetryRecipient | Verdict::RetryMessage)
}

/// What the end of an attempt says of the mailbox that the message was for.
fn end(outcome: &Outcome<'_>) -> End {
    match outcome {
        Outcome::Open { evidence, .. } if is_throttled(evidence) => End::Throttled,
        Outcome::Done { delivered: true } => End::Delivered,
        _ => End::Other,
    }
}

/// From here on routes are the caller's.
pub const ROUTES_OWN: u16 = HOPS_MAX as u16 * PROBES_MAX;

/// The route of those recipients for whom a probe mailbox of a hop stands: they are of the same mailbox database.
pub const fn route(hop: HopId, probe: u16) -> u16 {
    hop.0 as u16 * PROBES_MAX + probe
}

fn hop_id(n: usize) -> HopId {
    HopId(n as u8) // at most HOPS_MAX
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
