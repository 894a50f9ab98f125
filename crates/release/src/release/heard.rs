//! What follows from what happened: to a message, a canary, a probe, and to the hop that it was sent through.

use super::{InFlight, Release, goes, hop_id};
use crate::breaker::{Behalf, Trip, Witness};
use crate::cause::Cause;
use crate::counters::Counters;
use crate::custody::{Trouble, Verdict};
use crate::decision::{CanaryOutcome, Fate, Outcome, SetAside};
use crate::fingerprint::Greeting;
use crate::hop::{Attempt, State};
use crate::queue::{End, Job, Secs};
use crate::reply::{Event, Evidence, Phase, Reply};
use crate::saved::Mode;
use crate::ways::WayId;
use crate::{HopId, Now};

/// A message that a server may have taken is not sent again before this, whatever happens.
const UNKNOWN_WAIT_MS: u64 = 600_000;

/// What comes in while no hop takes mail for so long is what has piled up by then, and no fresh mail.
const PILE_UP_MS: u64 = 300_000;

impl Release {
    /// A canary that was to be sent has come to an end.
    pub fn canary_ended(&mut self, canary: u64, outcome: CanaryOutcome<'_>, now: Now) {
        self.tick(now);
        let is_it = |going: &Option<(u64, Attempt)>| going.is_some_and(|(id, _)| id == canary);
        let Some(n) = self.canary_attempts.iter().position(is_it) else { return };
        let Some((_, attempt)) = self.canary_attempts[n].take() else { return };
        // Its report may have been here before: there is nothing more to wait for then.
        self.hops[n].canaries.ended(canary, outcome == CanaryOutcome::Taken);
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
            let missing_before = hop.canaries.missing();
            if let Some(arrived) = hop.canaries.arrived(canary) {
                self.changed |= !hop.flow.proves() || hop.canaries.missing() != missing_before;
                hop.flow.arrived(&arrived, self.now_ms);
                if hop.canary_arrived(arrived.id, arrived.probe, now) {
                    self.healed(n, true);
                }
            }
        }
    }

    /// A canary that was taken came back: the server says that it did not and will not reach its mailbox. It is missing from
    /// now on, as if it had been waited for.
    pub fn canary_failed(&mut self, canary: u64, now: Now) {
        self.tick(now);
        for hop in &mut self.hops {
            self.changed |= hop.canaries.failed(canary);
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

    /// Somebody has said which certificate is a hop's, and sees to it that it shows no other: the next one is how it is.
    pub fn forget_certificates(&mut self, hop: HopId) {
        if let Some(hop) = self.hops.get_mut(usize::from(hop.0)) {
            hop.forget_certificates();
            self.changed = true;
        }
    }

    /// What an attempt with a message in flight showed beside its outcome: to be told before
    /// [`finished`](Self::finished).
    pub fn witnessed(&mut self, message: u64, witness: Witness<'_>, now: Now) {
        self.tick(now);
        let Some(flying) = self.in_flight.iter_mut().find(|it| it.job.id == message) else { return };
        flying.source = Some(witness.source);
        let hop = flying.hop;
        let n = usize::from(hop.0);
        let cause = match self.hops[n].witnessed(witness, now) {
            None => return,
            Some(Trip::Hop(cause)) => cause,
            Some(Trip::Domain) => {
                let good = witness.refused.iter().find(|it| it.known_good);
                if good.and_then(|it| self.hold_domain(hop, it.address)).is_some() {
                    return;
                }
                // There are more of them than a server that is itself would refuse.
                Cause::GoodRefused
            }
        };
        self.changed |= self.hops[n].require_proof(cause, now);
    }

    /// A hop that takes mail for others says that the domain of this recipient, who is known to be there, is none of its own.
    /// Its mail is held, and the hop is asked whether that is so. The route that holds it; `None` if too many are held: then it
    /// is the hop that does not know the site.
    pub fn domain_denied(&mut self, hop: HopId, address: &str, now: Now) -> Option<u16> {
        self.tick(now);
        self.hold_domain(hop, address)
    }

    /// Holds the mail of a recipient's domain at a hop. The route that does; `None` if too many are held.
    fn hold_domain(&mut self, hop: HopId, address: &str) -> Option<u16> {
        let route = self.domains.hold(hop, address, self.now_ms)?;
        self.hold_route(route);
        self.changed = true;
        Some(route)
    }

    /// A hop was asked whether it takes the recipient that stands for a domain that is held: if so, its mail goes again.
    pub fn asked(&mut self, hop: HopId, route: u16, is_taken: bool, now: Now) {
        self.tick(now);
        if is_taken {
            self.free_domains(hop, Some(route));
        } else {
            self.domains.refused_again(hop, route, self.now_ms);
        }
    }

    /// How often the counters of a hop are to be read while there is mail, in ms.
    pub fn counting_interval_ms(&self, hop: HopId, now: Now) -> u64 {
        let n = usize::from(hop.0).min(self.hops.len() - 1); // there is one at least
        self.hops[n].flow.counting_interval_ms(now.mono_ms)
    }

    /// The counters of a hop were read.
    pub fn counted(&mut self, hop: HopId, counters: &Counters, now: Now) {
        self.tick(now);
        if let Some(hop) = self.hops.get_mut(usize::from(hop.0)) {
            hop.flow.counted(counters, self.now_ms);
        }
    }

    /// A command was answered, well or badly, after `took_ms`, in a transaction with a message of that size.
    pub fn answered(&mut self, hop: HopId, phase: Phase, size_bytes: u64, took_ms: u64, now: Now) {
        self.tick(now);
        if let Some(hop) = self.hops.get_mut(usize::from(hop.0)) {
            hop.pace.answered(phase, size_bytes, took_ms, self.now_ms);
        }
    }

    /// A message in flight was answered, and what follows for it has yet to be written down. What the answer says of the
    /// hop's resources counts from now on, so that no other message goes in vain meanwhile;
    /// [`finished`](Self::finished) says the same once more.
    pub fn warned(&mut self, message: u64, evidence: &Evidence<'_>, now: Now) {
        self.tick(now);
        let Some(flying) = self.in_flight.iter().find(|it| it.job.id == message) else { return };
        let (n, attempt, source) = (usize::from(flying.hop.0), flying.attempt, flying.source);
        // The end of a trial has to be durable first, as its success has.
        if !attempt.trial && evidence.verdict() == Verdict::Destination(Trouble::Pressure) {
            self.trouble(n, Trouble::Pressure, evidence, attempt, Behalf::Message(source), now);
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
        let InFlight { job, hop, way, ways, attempt, source } = self.in_flight.swap_remove(at);
        let n = usize::from(hop.0);
        self.hops[n].end(attempt);
        if !matches!(outcome, Outcome::NotTried | Outcome::Parked { .. }) {
            self.hops[n].took.add(self.now_ms - attempt.begun_ms);
        }
        let secs = self.secs();
        self.hops[n].flow.end(outcome.is_delivered());
        self.changed |= self.ways.queue(way).ended(&job, end(&outcome), secs);
        Some(match outcome {
            Outcome::NotTried => self.keep(job, way),
            Outcome::Parked { route, delivered } => {
                if delivered {
                    self.passed(n, attempt, now);
                }
                // Those of another way need not lie aside with the others.
                match self.ways.after_parking(job.id, ways, way) {
                    Some(other) => self.ways.queue(other).put(job),
                    None => self.ways.queue(way).park(job, route),
                }
                Fate::Kept
            }
            Outcome::Elsewhere { delivered } => {
                if delivered {
                    self.passed(n, attempt, now);
                }
                let on = ways.other_than(way).unwrap_or_default();
                self.ways.queue(on).put(job);
                Fate::Kept
            }
            Outcome::Done { delivered } => {
                if delivered {
                    self.passed(n, attempt, now);
                    self.meter.delivered(u64::from(job.size_bytes), self.now_ms);
                }
                self.ways.forget(job.id);
                Fate::Done
            }
            Outcome::Open { evidence, delivered } => {
                // Those of another way have not been tried yet.
                let on = ways.other_than(way).unwrap_or(way);
                let fate = self.left_open(n, job, on, (&evidence, source), delivered, attempt, now);
                if matches!(fate, Fate::SetAside(_)) {
                    self.ways.forget(job.id);
                }
                fate
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
            self.forgive(n, secs);
        }
        let hop = &mut self.hops[n];
        self.changed |= hop.took_mail();
        hop.last_pass = secs;
        hop.pace.delivered(self.now_ms);
    }

    /// What failed since the hop last took a message was not to blame.
    fn forgive(&mut self, n: usize, secs: Secs) {
        let since = self.hops[n].last_pass;
        self.ways.of_hop_mut(hop_id(n)).for_each(|way| way.queue.forgive(since, secs));
    }

    /// Some recipients are open yet. It goes on, in time, on the way `on`.
    #[allow(clippy::too_many_arguments, reason = "all that is known of one attempt")]
    fn left_open(
        &mut self,
        n: usize,
        job: Job,
        on: WayId,
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
        let elsewhere = attempt.trial && goes(&self.hops)(self.ways.hops(on));
        if elsewhere && about_hop || !involves_message(evidence) || is_throttled(evidence) {
            self.keep(job, on)
        } else {
            // What a hop says that is not itself, of a message that asked whether it is again, is no harm by the message.
            let is_harmful = evidence.is_harmful() && !(attempt.trial && about_hop);
            self.wait(job, on, evidence, is_harmful, passes_before)
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

    /// Takes down since when no hop takes mail, on each way.
    pub(super) fn look_whether_it_stands(&mut self) {
        let goes = goes(&self.hops);
        self.ways.iter_mut().for_each(|way| way.look(goes(way.hops), self.now_ms));
        self.ways.change_over(goes);
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
    pub(super) fn healed(&mut self, n: usize, was_real: bool) {
        if was_real {
            let secs = self.secs();
            self.forgive(n, secs);
        }
        self.ways.of_hop_mut(hop_id(n)).for_each(|way| way.begin(PILE_UP_MS, self.now_ms));
        self.ways.change_over(goes(&self.hops));
        self.hops[n].doubt.passed();
        self.changed = true;
    }

    fn keep(&mut self, job: Job, on: WayId) -> Fate {
        self.ways.queue(on).put_back(job);
        Fate::Kept
    }

    /// A message failed by itself: it waits, or it is poison.
    fn wait(
        &mut self,
        mut job: Job,
        on: WayId,
        evidence: &Evidence<'_>,
        is_harmful: bool,
        passes_before: Secs,
    ) -> Fate {
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
            self.ways.queue(on).put_unknown(job, due);
        } else {
            self.ways.queue(on).put_waiting(job, due);
        }
        Fate::Waits { for_ms, attempts }
    }

    /// When a message last passed, through any hop.
    fn last_pass(&self) -> Secs {
        self.hops.iter().map(|hop| hop.last_pass).max().unwrap_or_default()
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
