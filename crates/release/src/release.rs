//! Joins queue, hops, ceilings and mode: what to do next, and what follows from what happened.

use alloc::vec::Vec;

use crate::breaker::{Behalf, Witness};
use crate::ceiling::Ceiling;
use crate::config::Config;
use crate::counters::{Counters, Grade};
use crate::custody::{Trouble, Verdict};
use crate::decision::{CanaryOutcome, Decision, Fate, Outcome, Removed, SetAside, Why};
use crate::error::Error;
use crate::fingerprint::Greeting;
use crate::hop::{Attempt, Hop, HopStatus, State, Wish};
use crate::progress::{Meter, Progress, Stillness};
use crate::queue::{Job, Message, Queue, Secs, UNKNOWN_WAIT_S};
use crate::reply::{Evidence, Phase};
use crate::saved::{Mode, Saved};
use crate::{HopId, Now};

/// How often a canary goes.
const CANARY_INTERVAL_MS: u64 = 60_000;

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
            ceiling: Ceiling::new(config.messages_per_minute_max),
            meter: Meter::new(now.mono_ms),
            base_ms: now.mono_ms,
            now_ms: now.mono_ms,
            changed: saved.is_none(),
            config,
        })
    }

    /// Takes in a message that was accepted, or one that the operator gives back to the queue. Each id is here once at
    /// most; that is the caller's to keep.
    pub fn offer(&mut self, message: Message) {
        let secs = self.secs();
        self.queue.put(Job::new(message, 0), secs);
    }

    /// Takes in a message after a restart, with what the log knows: how many attempts it has had and for how long it
    /// still waits.
    pub fn recover(&mut self, message: Message, attempts: u32, waits_ms: u64) {
        let job = Job::new(message, attempts);
        let due = self.due_in(waits_ms);
        if attempts == 0 { self.queue.put(job, due) } else { self.queue.put_waiting(job, due) }
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
        let secs = self.secs();
        match self.queue.remove(id) {
            Some(job) => {
                self.queue.put(job, secs);
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
        let mail = releasing && self.queue.len() > 0;
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
                Wish::Trial if mail => match self.ceiling.ready_at_ms() {
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
            let due_ms = hop.canaries.last_begun_ms().map_or(0, |ms| ms + CANARY_INTERVAL_MS);
            if due_ms > self.now_ms {
                wake.at(due_ms);
                continue;
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
                hop.grade = hop.grade.max(Grade::Canary);
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
    pub fn counted(&mut self, hop: HopId, _counters: Counters, now: Now) {
        self.tick(now);
        if let Some(hop) = self.hops.get_mut(usize::from(hop.0)) {
            hop.grade = Grade::Counters;
        }
    }

    /// Mail for a healthy hop.
    fn next_mail(&mut self, wake: &mut Wake) -> Option<Decision> {
        let n = self.choose_hop()?;
        let secs = self.secs();
        let early = !self.queue.has_due(secs);
        if early {
            if let Some(due) = self.queue.next_due() {
                wake.at(self.ms(due));
            }
            let early_from_ms = self.hops[n].doubt.early_from_ms(self.queue.len())?;
            if early_from_ms > self.now_ms {
                wake.at(early_from_ms);
                return None;
            }
        }
        if self.ceiling.ready_at_ms() > self.now_ms {
            wake.at(self.ceiling.ready_at_ms());
            return None;
        }
        let job = if early { self.queue.take_earliest(secs)? } else { self.queue.take(secs)? };
        self.charge(n);
        Some(self.send(job, hop_id(n), if early { Why::Early } else { Why::Turn }))
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

    fn send(&mut self, job: Job, hop: HopId, why: Why) -> Decision {
        self.ceiling.begin(self.now_ms);
        let attempt = self.hops[usize::from(hop.0)].begin(self.now_ms);
        self.in_flight.push(InFlight { job, hop, attempt, source: None });
        Decision::Send { message: job.id, hop, why }
    }

    fn take_expired(&mut self, now: Now) -> Option<u64> {
        let oldest_ms = now.unix_ms?.checked_sub(self.config.expire_after_ms)?;
        let secs = self.secs();
        self.queue.take_expired(u32::try_from(oldest_ms / 1_000).unwrap_or(u32::MAX), secs).map(|job| job.id)
    }

    /// A command was answered, well or badly, after `took_ms`.
    pub fn answered(&mut self, hop: HopId, phase: Phase, took_ms: u64, now: Now) {
        self.tick(now);
        if let Some(hop) = self.hops.get_mut(usize::from(hop.0)) {
            hop.pace.answered(phase, took_ms, self.now_ms);
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
        Some(match outcome {
            Outcome::NotTried => self.keep(job),
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
        } else {
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
        if elsewhere && about_hop || !involves_message(evidence) {
            self.keep(job)
        } else {
            self.wait(job, evidence, passes_before)
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
        self.hops[n].doubt.passed();
        self.changed = true;
    }

    fn keep(&mut self, job: Job) -> Fate {
        let secs = self.secs();
        self.queue.put(job, secs);
        Fate::Kept
    }

    /// A message failed by itself: it waits, or it is poison.
    fn wait(&mut self, mut job: Job, evidence: &Evidence<'_>, passes_before: Secs) -> Fate {
        let secs = self.secs();
        if evidence.is_harmful() {
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
        job.unknown = evidence.is_unknown();
        let least_ms = if job.unknown { u64::from(UNKNOWN_WAIT_S) * 1_000 } else { 0 };
        let for_ms = self.config.retry_wait_ms(job.id, step).max(least_ms);
        let due = self.due_in(for_ms);
        self.queue.put_waiting(job, due);
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
    pub fn stillness(&self, now: Now) -> Option<Stillness> {
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
        if self.queue.has_due(self.secs_at(now.mono_ms)) {
            return None;
        }
        self.queue
            .next_due()
            .map(|due| Stillness::Waiting { for_ms: self.ms(due).saturating_sub(now.mono_ms) })
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
