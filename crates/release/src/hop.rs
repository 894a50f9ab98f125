//! One next hop: what is known of it, and what would prove more.
//!
//! A hop that is not healthy gets no mail but *trials*, one at a time: probes, which speak SMTP up to MAIL and carry no
//! message, or single messages where nothing less proves anything. Only a trial that was begun in the present state
//! changes it for the better; what older attempts still report is of yesterday.
//!
//! A hop of which there is reason to think that it is not itself, a [`Cause`], gets no mail when its trials succeed
//! either: canaries have to arrive first, or the operator has to say so. The reason stays whatever else happens to it.

mod proof;

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::breaker::Behalf;
use crate::canary::Canaries;
use crate::cause::Cause;
use crate::config::{Config, HopConfig};
use crate::counters::Grade;
use crate::custody::Trouble;
use crate::doubt::Doubt;
use crate::flow::Flow;
use crate::pace::Pace;
use crate::queue::Secs;
use crate::reply::{Event, Evidence, Phase};
use crate::saved::SavedHop;
use crate::text::ReplyText;
use crate::through::Took;
use crate::trust::{Trust, canary_interval_ms};
use crate::{HopId, Now};

/// How a hop stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Nobody has spoken to it yet: it is probed before it gets mail.
    #[default]
    Untried,
    /// It takes mail.
    Healthy,
    /// It lacks resources.
    Pressure,
    /// Nobody answers.
    Down,
    /// It answers that it is not in service.
    Inactive,
    /// It does not know this site or this box.
    Unconfigured,
    /// It refuses to speak to us.
    Rejecting,
    /// It may be another server than it was: it has to prove itself.
    Unproven,
    /// It refuses what it should take: it has to prove itself.
    Held,
}

impl State {
    /// The state as one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Untried => "untried",
            Self::Healthy => "healthy",
            Self::Pressure => "pressure",
            Self::Down => "down",
            Self::Inactive => "inactive",
            Self::Unconfigured => "unconfigured",
            Self::Rejecting => "rejecting",
            Self::Unproven => "unproven",
            Self::Held => "held",
        }
    }

    /// What the matter is, if there is something the matter.
    pub const fn trouble(self) -> Option<Trouble> {
        match self {
            Self::Untried | Self::Healthy | Self::Unproven | Self::Held => None,
            Self::Pressure => Some(Trouble::Pressure),
            Self::Down => Some(Trouble::Down),
            Self::Inactive => Some(Trouble::Inactive),
            Self::Unconfigured => Some(Trouble::Unconfigured),
            Self::Rejecting => Some(Trouble::Rejecting),
        }
    }

    /// Whether it answers, and gets no mail before there is proof.
    pub const fn is_proving(self) -> bool {
        matches!(self, Self::Unproven | Self::Held)
    }

    /// Whether a hop in this state answers and only does not take mail, or gets none: in these the operator's word counts.
    pub(crate) const fn can_be_confirmed(self) -> bool {
        matches!(self, Self::Unproven | Self::Held | Self::Unconfigured | Self::Rejecting)
    }

    /// The state that a trouble puts a hop in; `None` for those that only slow it down.
    const fn of(trouble: Trouble) -> Option<Self> {
        match trouble {
            Trouble::Down => Some(Self::Down),
            Trouble::Inactive => Some(Self::Inactive),
            Trouble::Pressure => Some(Self::Pressure),
            Trouble::Unconfigured => Some(Self::Unconfigured),
            Trouble::Rejecting => Some(Self::Rejecting),
            Trouble::Connections | Trouble::Rate => None,
        }
    }
}

/// Nobody answers: after so long, in ms, whoever answers has to prove that it is the same server.
const LONG_DOWN_MS: u64 = 24 * 3_600_000;

/// What proves that a trouble is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// A session up to the answer to `MAIL FROM:<>`. No sender from outside can spoil it.
    Session,
    /// A message that is taken.
    Mail,
}

/// What a hop would have now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Mail.
    Mail,
    /// A probe.
    Probe,
    /// One message as a trial.
    Trial,
    /// A canary, as a trial or as proof.
    Canary,
    /// Nothing before this moment (monotonic ms), if nothing else happens.
    NotBefore(u64),
    /// Nothing before an attempt in flight ends.
    Busy,
}

/// An attempt in flight, as its hop knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) begun_ms: u64,
    /// Whether it is to find out how the hop is.
    pub(crate) trial: bool,
}

/// A hop as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HopStatus {
    /// Which it is.
    pub id: HopId,
    /// What the operator calls it.
    pub name: String,
    /// How it stands.
    pub state: State,
    /// Since when, in ms since 1970, if the clock could be trusted then.
    pub since_unix_ms: Option<u64>,
    /// What it last said, if it was no success.
    pub last_reply: Option<ReplyText>,
    /// In how many ms it is tried again, while it is not healthy and no trial is on its way.
    pub next_trial_in_ms: Option<u64>,
    /// Attempts in flight, probes included.
    pub in_flight: u32,
    /// Connections it gets at the moment.
    pub connections: u32,
    /// How much is known of what happens behind its `250`.
    pub grade: Grade,
    /// Messages of ours that it has taken and that are not known to have left it for their mailboxes.
    pub unproven: u64,
    /// Why it gets no mail before there is proof, if that is so, whatever its state.
    pub cause: Option<Cause>,
    /// While it has to prove itself by canaries: how many have arrived since, and how many have to.
    pub canaries_arrived: Option<(u32, u32)>,
    /// The probe mailboxes to which canaries are missing, a bit each: the mail of their databases waits.
    pub missing: u16,
    /// The domains whose mail waits, since it refuses recipients there who are known to be there.
    pub domains: Vec<String>,
    /// What the operator can do, one sentence.
    pub advice: Option<&'static str>,
}

impl HopStatus {
    /// Whether the operator's word counts: the hop answers, and does not get all mail, since it, or a database or a domain of
    /// its, is in doubt.
    pub fn can_be_confirmed(&self) -> bool {
        match self.state {
            State::Healthy => self.missing != 0 || !self.domains.is_empty(),
            state => self.cause.is_some() && state.can_be_confirmed(),
        }
    }
}

/// A next hop.
#[derive(Debug)]
pub(crate) struct Hop {
    pub(crate) config: HopConfig,
    /// Its claim among hops of the same priority, see [`crate::release`].
    pub(crate) credit: i64,
    pub(crate) pace: Pace,
    pub(crate) canaries: Canaries,
    pub(crate) flow: Flow,
    pub(crate) in_flight: u32,
    /// When it last took a message.
    pub(crate) last_pass: Secs,
    pub(crate) doubt: Doubt,
    pub(crate) took: Took,
    state: State,
    since_unix_ms: Option<u64>,
    /// When the present state began, here or before a restart.
    since_ms: u64,
    /// Since when it has not been healthy, after it was.
    unwell_since: Option<Now>,
    /// From when on it is believed of recipients that they are not there.
    directory_from_ms: u64,
    proof: Proof,
    /// From when on. A trial that proves nothing, since its message was at fault, leaves it, so that another follows at
    /// once.
    next_trial_ms: u64,
    in_trial: bool,
    /// Whether a trial found the trouble, too: it was not one message that made it up.
    confirmed: bool,
    /// Whether the last canary that was a trial was not taken for a reason of its own: a message is the next one.
    canary_failed: bool,
    last_reply: Option<ReplyText>,
    trust: Trust,
}

impl Hop {
    pub(crate) fn new(hop: HopConfig, saved: Option<&SavedHop>, config: &Config, now: Now) -> Self {
        let saved_state = saved.map_or(State::Untried, |saved| saved.state);
        let probes = hop.probes;
        // Healthy was yesterday: one probe before the mail.
        let state = if saved_state == State::Healthy { State::Untried } else { saved_state };
        Self {
            config: hop,
            credit: 0,
            pace: Pace::new(config.connections_max),
            canaries: Canaries::with_missing(saved.map_or(0, |it| it.missing)),
            flow: Flow::new(probes > 0, saved.is_some_and(|it| it.proves), now.mono_ms),
            in_flight: 0,
            last_pass: 0,
            doubt: Doubt::default(),
            took: Took::default(),
            state,
            since_unix_ms: if state == State::Untried {
                now.unix_ms
            } else {
                saved.and_then(|it| it.since_unix_ms)
            },
            since_ms: now.mono_ms,
            unwell_since: saved
                .filter(|_| state != State::Untried)
                .map(|it| Now { unix_ms: it.since_unix_ms, ..now }),
            directory_from_ms: 0,
            proof: if saved.is_some_and(|it| it.proved_by_mail) { Proof::Mail } else { Proof::Session },
            next_trial_ms: now.mono_ms,
            in_trial: false,
            confirmed: state.trouble().is_some(),
            canary_failed: false,
            last_reply: saved.and_then(|it| it.last_reply),
            trust: saved.map(Trust::new).unwrap_or_default(),
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// When the present state began, in monotonic ms.
    pub(crate) fn since_ms(&self) -> u64 {
        self.since_ms
    }

    pub(crate) fn saved(&self) -> SavedHop {
        self.trust.save(SavedHop {
            name: self.config.name.clone(),
            state: self.state,
            proved_by_mail: self.proof == Proof::Mail,
            proves: self.flow.proves(),
            missing: self.canaries.missing(),
            since_unix_ms: self.since_unix_ms,
            last_reply: self.last_reply,
            ..SavedHop::default()
        })
    }

    pub(crate) fn status(&self, id: HopId, now_ms: u64) -> HopStatus {
        let tried = self.state == State::Healthy || self.in_trial;
        let cause = self.trust.cause();
        let proving = cause.filter(|_| self.state.is_proving());
        let probes = self.config.probes;
        HopStatus {
            id,
            name: self.config.name.clone(),
            state: self.state,
            since_unix_ms: self.since_unix_ms,
            last_reply: self.last_reply,
            next_trial_in_ms: (!tried).then(|| self.next_trial_ms.saturating_sub(now_ms)),
            in_flight: self.in_flight,
            connections: self.pace.connections(),
            grade: self.flow.grade(now_ms),
            unproven: self.flow.inside(now_ms),
            cause,
            canaries_arrived: proving.filter(|_| probes > 0).map(|_| self.trust.arrivals(probes)),
            missing: self.missing(),
            domains: Vec::new(),
            advice: proving.map(Cause::advice).or_else(|| self.state.trouble().map(Trouble::advice)),
        }
    }

    /// What it would have now.
    pub(crate) fn wish(&self, connections_max: u32, now_ms: u64) -> Wish {
        if self.state == State::Healthy {
            return match self.pace.ready_at_ms() {
                _ if self.in_flight >= self.pace.connections() => Wish::Busy,
                at if at > now_ms => Wish::NotBefore(at),
                _ => Wish::Mail,
            };
        }
        let has_canaries = self.config.probes > 0;
        match self.proof {
            _ if self.in_trial || self.in_flight >= connections_max => Wish::Busy,
            _ if self.next_trial_ms > now_ms => Wish::NotBefore(self.next_trial_ms),
            _ if self.state.is_proving() && !has_canaries => Wish::Probe,
            _ if self.state.is_proving() => self.canary_wish(),
            Proof::Session => Wish::Probe,
            Proof::Mail if has_canaries && !self.canary_failed => self.canary_wish(),
            // A message must not be what finds out whether messages may go.
            Proof::Mail if self.trust.cause().is_some() => Wish::Probe,
            Proof::Mail => Wish::Trial,
        }
    }

    fn canary_wish(&self) -> Wish {
        if self.canaries.is_going() { Wish::Busy } else { Wish::Canary }
    }

    /// An attempt begins.
    pub(crate) fn begin(&mut self, now_ms: u64) -> Attempt {
        let attempt = Attempt { begun_ms: now_ms, trial: self.state != State::Healthy };
        self.in_flight += 1;
        self.in_trial |= attempt.trial;
        if self.state.is_proving() {
            self.next_trial_ms = now_ms + canary_interval_ms(now_ms.saturating_sub(self.since_ms));
        }
        attempt
    }

    /// A canary begins. Gives the probe mailbox that it goes to as well.
    pub(crate) fn begin_canary(&mut self, id: u64, now_ms: u64) -> (Attempt, u16) {
        let (after, load) = (self.flow.taken(), self.flow.load(now_ms));
        let asks_for_missing = self.state == State::Healthy && self.flow.asks_for_missing(&self.canaries);
        let probe = self.canaries.turn(self.config.probes, asks_for_missing, now_ms);
        self.canaries.begin(id, probe, after, load, now_ms);
        if self.state.is_proving() {
            self.trust.canary_begun(id);
        }
        (self.begin(now_ms), probe)
    }

    /// An attempt ended, however.
    pub(crate) fn end(&mut self, attempt: Attempt) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if attempt.trial {
            self.in_trial = false;
        }
    }

    /// A trial of the present state succeeded: the hop is healthy, or has to prove itself. Tells whether it is healthy
    /// after a trouble that was real.
    pub(crate) fn recover(&mut self, config: &Config, now: Now) -> bool {
        if self.state == State::Healthy {
            return false;
        }
        self.see_absence(now);
        match self.trust.cause() {
            // Whether it still answers is looked at now and then, where no canary shows it.
            Some(_) if self.state.is_proving() => {
                if self.config.probes == 0 {
                    self.next_trial_ms = now.mono_ms + config.probe_data_interval_ms;
                }
                false
            }
            Some(cause) => {
                self.begin_proof(cause, now);
                false
            }
            None => self.take_mail(now),
        }
    }

    /// A trial found it as it was before.
    pub(crate) fn still(&mut self, evidence: &Evidence<'_>, config: &Config, now_ms: u64) {
        self.note(evidence);
        self.next_trial_ms = now_ms + self.interval_ms(config, now_ms);
    }

    /// Evidence of trouble. Tells whether the state changed.
    pub(crate) fn trouble(
        &mut self,
        trouble: Trouble,
        evidence: &Evidence<'_>,
        Attempt { begun_ms, trial }: Attempt,
        behalf: Behalf,
        config: &Config,
        now: Now,
    ) -> bool {
        let Some(state) = State::of(trouble) else {
            self.pace.asked_for_less(trouble, now.mono_ms);
            if trial {
                self.still(evidence, config, now.mono_ms);
            }
            return false;
        };
        if begun_ms < self.since_ms && !trial {
            return false; // it began before the present state did: known already, or over
        }
        self.note(evidence);
        let proof = match (state, evidence.phase) {
            (State::Pressure, _) | (_, Phase::Rcpt | Phase::Data | Phase::EndOfData | Phase::FinalDot) => {
                Proof::Mail
            }
            // A server may dislike the probe's empty sender and nothing else: probe and message take turns.
            (_, Phase::Mail) if trial && self.proof == Proof::Session => Proof::Mail,
            _ => Proof::Session,
        };
        let mut changed = self.state != state;
        if changed {
            if state == State::Pressure {
                self.flow.pressure(now.mono_ms);
            }
            self.see_absence(now);
            self.enter(state, now);
        }
        self.proof = proof;
        self.canary_failed = false;
        self.confirmed |= trial;
        let cause = match state {
            State::Unconfigured => Some(Cause::Unconfigured),
            State::Rejecting => Some(Cause::Rejecting),
            _ => None,
        };
        if let Some(cause) = cause
            && self.trust.is_accused(evidence, behalf, trial)
        {
            changed |= self.require_proof(cause, now);
        }
        // What one sender or one recipient may have brought about is put to the proof at once.
        let at_once = !trial && matches!(state, State::Inactive | State::Unconfigured | State::Rejecting);
        self.next_trial_ms = now.mono_ms + if at_once { 0 } else { self.interval_ms(config, now.mono_ms) };
        changed
    }

    /// Keeps what it said for the operator.
    fn note(&mut self, evidence: &Evidence<'_>) {
        self.last_reply = Some(match evidence.event {
            Event::Reply(reply) => match reply.enhanced {
                Some((a, b, c)) => ReplyText::new(format_args!("{} {a}.{b}.{c} {}", reply.code, reply.text)),
                None => ReplyText::new(format_args!("{} {}", reply.code, reply.text)),
            },
            Event::Lost => ReplyText::new(format_args!("{}", lost(evidence.phase))),
            Event::TimedOut => ReplyText::new(format_args!("{}", timed_out(evidence.phase))),
        });
    }

    fn enter(&mut self, state: State, now: Now) {
        if self.state == State::Healthy {
            self.unwell_since.get_or_insert(now);
        }
        self.state = state;
        self.since_ms = now.mono_ms;
        self.since_unix_ms = now.unix_ms;
        self.trust.forget_accusers();
    }

    fn interval_ms(&self, config: &Config, now_ms: u64) -> u64 {
        match (self.proof, self.state) {
            _ if self.state.is_proving() => config.probe_data_interval_ms,
            (Proof::Mail, _) | (_, State::Unconfigured | State::Rejecting) => config.probe_data_interval_ms,
            _ if now_ms.saturating_sub(self.since_ms) < config.probe_fast_for_ms => config.probe_interval_ms,
            _ => config.probe_slow_interval_ms,
        }
    }
}

fn lost(phase: Phase) -> &'static str {
    match phase {
        Phase::Connect => "(no connection)",
        Phase::Banner | Phase::Ehlo => "(connection closed before mail)",
        Phase::FinalDot => "(connection closed after a message)",
        _ => "(connection closed during a message)",
    }
}

fn timed_out(phase: Phase) -> &'static str {
    match phase {
        Phase::Connect => "(no answer to the connection)",
        Phase::Banner => "(no greeting)",
        Phase::EndOfData | Phase::FinalDot => "(no answer to a message)",
        _ => "(no answer to a command)",
    }
}
