//! A simulated world around [`Release`]: a clock that jumps, servers that do as they are told, and a record of all
//! that happened. Every attempt takes some milliseconds, so that attempts overlap.

use penstock_release::{
    CanaryOutcome, Config, Decision, Event, Evidence, Fate, Greeting, HopConfig, HopId, HopSet, Message,
    Mode, Now, Outcome, Phase, Priority, Refused, Release, Reply, Saved, SetAside, State, WaySet, Witness,
};

pub(crate) const SECOND: u64 = 1_000;
pub(crate) const MINUTE: u64 = 60 * SECOND;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;

/// How long an attempt takes.
const ATTEMPT_MS: u64 = 40;

/// 2026-01-01, when the simulated world begins.
pub(crate) const UNIX_START_MS: u64 = 1_767_225_600_000;

/// What a server does with an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Takes the message, or answers a probe well.
    Takes,
    /// No connection.
    Gone,
    /// Says this there.
    Says(Phase, u16, &'static str),
    /// Cuts the connection there.
    Cuts(Phase),
    /// Takes the message for some recipients and refuses one for now.
    TakesPart,
    /// Refuses all recipients for good.
    Refuses,
}

/// What was attempted, when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) at_ms: u64,
    /// `None` for a probe.
    pub(crate) message: Option<u64>,
    pub(crate) hop: HopId,
}

/// A canary that a server has taken, and when it lies in its mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Canary {
    pub(crate) at_ms: u64,
    pub(crate) canary: u64,
    pub(crate) probe: u16,
}

/// How long a canary is on its way, where it arrives.
pub(crate) const CANARY_MS: u64 = 2_000;

/// Decides what a server does: of which hop, with which message (`None` for a probe), when.
type Servers = Box<dyn FnMut(HopId, Option<u64>, u64) -> Answer>;

/// What a server shows on a new connection, by the time.
type Face = Box<dyn Fn(u64) -> Greeting<'static>>;

pub(crate) struct World {
    pub(crate) release: Release,
    pub(crate) now_ms: u64,
    pub(crate) clock_trusted: bool,
    pub(crate) servers: Servers,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) delivered: Vec<(u64, u64)>,
    pub(crate) refused: Vec<u64>,
    /// Those among them whose senders could be told.
    pub(crate) told: Vec<u64>,
    pub(crate) set_aside: Vec<(u64, SetAside)>,
    pub(crate) fates: Vec<(u64, Fate)>,
    pub(crate) in_flight: Vec<(u64, Attempt)>,
    /// What servers show; nothing is looked at where it is not set.
    pub(crate) face: Option<Face>,
    /// Who a message came from. Here everything comes from one.
    pub(crate) source: fn(u64) -> u64,
    /// Whom a message is for. Here everything is for one.
    pub(crate) address: fn(u64) -> String,
    /// Which recipients are of a domain that release may hold.
    pub(crate) parks_domain: Option<fn(&str) -> bool>,
    /// From when on a server takes the recipient of a domain that is held; and when it was asked.
    pub(crate) takes_again_ms: u64,
    pub(crate) asked_ms: Vec<u64>,
    /// What a server says that refuses, and whether the recipients are known to be there.
    pub(crate) refusal: (u16, &'static str, bool),
    /// Whether a canary arrives, by probe mailbox and time.
    pub(crate) arrives: Box<dyn Fn(u16, u64) -> bool>,
    /// Every canary that was begun.
    pub(crate) canaries: Vec<Canary>,
    pub(crate) canaries_away: Vec<(u64, HopId, Canary)>,
    pub(crate) canaries_taken: Vec<Canary>,
    /// Hops that refused a recipient as none of theirs, which probes name from then on.
    denied: Vec<HopId>,
    /// Every state that the first hop was in.
    pub(crate) states: Vec<State>,
}

pub(crate) fn config() -> Config {
    Config {
        hops: vec![HopConfig { name: "exchange".into(), priority: 0, weight: 1, probes: 0 }],
        ways: vec![HopSet::ALL],
        connections_max: 5,
        messages_per_minute_max: Some(600),
        retry_schedule_ms: [1, 5, 15, 30, 60].map(|min| min * MINUTE).into(),
        retry_jitter_percent: 20,
        probe_interval_ms: 5 * SECOND,
        probe_fast_for_ms: 10 * MINUTE,
        probe_slow_interval_ms: 15 * SECOND,
        probe_data_interval_ms: MINUTE,
        expire_after_ms: 30 * DAY,
        poison_failures: 3,
        poison_span_ms: 6 * MINUTE,
        seed: 7,
    }
}

/// That many milliseconds after the start, by a clock that can be trusted.
pub(crate) fn now_at(ms: u64) -> Now {
    Now { mono_ms: ms, unix_ms: Some(UNIX_START_MS + ms) }
}

/// Has every hop asked, and found well.
pub(crate) fn find_well(release: &mut Release, now: Now) {
    for _ in release.hops(now).collect::<Vec<_>>() {
        let Decision::Probe { hop } = release.next(now) else { panic!("a hop is asked before it gets mail") };
        release.probed(hop, None, now);
    }
}

/// A message of which little is known.
pub(crate) fn message(id: u64) -> Message {
    Message {
        id,
        size_bytes: 1,
        accepted_unix_ms: None,
        mailbox: 0,
        priority: Priority::Normal,
        ways: WaySet::default(),
    }
}

impl World {
    pub(crate) fn new(servers: impl FnMut(HopId, Option<u64>, u64) -> Answer + 'static) -> Self {
        Self::with(config(), None, servers)
    }

    pub(crate) fn with(
        config: Config,
        saved: Option<&Saved>,
        servers: impl FnMut(HopId, Option<u64>, u64) -> Answer + 'static,
    ) -> Self {
        let now = Now { mono_ms: 0, unix_ms: Some(UNIX_START_MS) };
        Self {
            release: Release::new(config, saved, Mode::Auto, now).unwrap(),
            now_ms: 0,
            clock_trusted: true,
            servers: Box::new(servers),
            attempts: Vec::new(),
            delivered: Vec::new(),
            refused: Vec::new(),
            told: Vec::new(),
            set_aside: Vec::new(),
            fates: Vec::new(),
            in_flight: Vec::new(),
            face: None,
            source: |_| 1,
            address: |_| "user@example.com".into(),
            parks_domain: None,
            takes_again_ms: 0,
            asked_ms: Vec::new(),
            refusal: (550, "5.1.1 User unknown", false),
            arrives: Box::new(|_, _| true),
            canaries: Vec::new(),
            canaries_away: Vec::new(),
            canaries_taken: Vec::new(),
            denied: Vec::new(),
            states: Vec::new(),
        }
    }

    pub(crate) fn now(&self) -> Now {
        let unix_ms = self.clock_trusted.then_some(UNIX_START_MS + self.now_ms);
        Now { mono_ms: self.now_ms, unix_ms }
    }

    pub(crate) fn offer(&mut self, ids: impl IntoIterator<Item = u64>) {
        for id in ids {
            let accepted_unix_ms = self.now().unix_ms;
            self.release.offer(Message { size_bytes: 4_096, accepted_unix_ms, ..message(id) });
        }
    }

    pub(crate) fn set_mode(&mut self, mode: Mode) {
        self.release.set_mode(mode, self.now());
    }

    pub(crate) fn state(&self) -> State {
        self.release.hops(self.now()).next().unwrap().state
    }

    /// The operator says that the first hop is itself.
    pub(crate) fn confirm(&mut self) -> bool {
        self.release.confirm(HopId(0), self.now())
    }

    /// Lets the world go on until `until_ms`.
    pub(crate) fn run_until(&mut self, until_ms: u64) {
        loop {
            let state = self.state();
            if self.states.last() != Some(&state) {
                self.states.push(state);
            }
            let next_ms = match self.release.next(self.now()) {
                Decision::Send { message, hop, .. } => {
                    self.begin(Some(message), hop);
                    continue;
                }
                Decision::Canary { hop, probe, canary } => {
                    let canary = Canary { at_ms: self.now_ms, canary, probe };
                    self.canaries.push(canary);
                    self.canaries_away.push((self.now_ms + ATTEMPT_MS, hop, canary));
                    continue;
                }
                Decision::Probe { hop } => {
                    self.begin(None, hop);
                    continue;
                }
                Decision::Ask { hop, route } => {
                    self.asked_ms.push(self.now_ms);
                    let is_taken = self.now_ms >= self.takes_again_ms;
                    self.release.asked(hop, route, is_taken, self.now());
                    continue;
                }
                Decision::SetAside { message, why } => {
                    self.set_aside.push((message, why));
                    continue;
                }
                Decision::Wait { until_ms } => until_ms.unwrap_or(u64::MAX),
            };
            assert!(
                next_ms > self.now_ms,
                "it asks to be woken in the past, at {next_ms} of {}",
                self.now_ms
            );
            let ends = self.in_flight.iter().map(|(end_ms, _)| *end_ms);
            let ends = ends.chain(self.canaries_away.iter().map(|(end_ms, ..)| *end_ms));
            let ends = ends.chain(self.canaries_taken.iter().map(|canary| canary.at_ms));
            let at = next_ms.min(ends.min().unwrap_or(u64::MAX));
            if at > until_ms {
                self.now_ms = until_ms;
                return;
            }
            self.now_ms = at;
            while let Some(n) = self.in_flight.iter().position(|(end_ms, _)| *end_ms <= self.now_ms) {
                let (_, attempt) = self.in_flight.remove(n);
                self.end(attempt);
            }
            while let Some(n) = self.canaries_away.iter().position(|(end_ms, ..)| *end_ms <= self.now_ms) {
                let (_, hop, canary) = self.canaries_away.remove(n);
                self.end_canary(hop, canary);
            }
            while let Some(n) = self.canaries_taken.iter().position(|canary| canary.at_ms <= self.now_ms) {
                let canary = self.canaries_taken.remove(n);
                self.release.canary_arrived(canary.canary, self.now());
            }
        }
    }

    fn end_canary(&mut self, hop: HopId, canary: Canary) {
        // To a server a canary is a message like others.
        let answer = (self.servers)(hop, Some(u64::MAX), self.now_ms);
        self.greet(hop, answer);
        let outcome = match answer {
            Answer::Takes | Answer::TakesPart => CanaryOutcome::Taken,
            Answer::Gone => {
                CanaryOutcome::Refused(Evidence { phase: Phase::Connect, event: Event::Lost, accepted: 0 })
            }
            Answer::Cuts(phase) => {
                CanaryOutcome::Refused(Evidence { phase, event: Event::Lost, accepted: 1 })
            }
            Answer::Says(phase, code, text) => {
                let event = Event::Reply(Reply::new(code, text));
                CanaryOutcome::Refused(Evidence { phase, event, accepted: 1 })
            }
            Answer::Refuses => {
                let event = Event::Reply(Reply::new(self.refusal.0, self.refusal.1));
                CanaryOutcome::Refused(Evidence { phase: Phase::Rcpt, event, accepted: 0 })
            }
        };
        self.release.canary_ended(canary.canary, outcome, self.now());
        if outcome == CanaryOutcome::Taken && (self.arrives)(canary.probe, self.now_ms) {
            self.canaries_taken.push(Canary { at_ms: self.now_ms + CANARY_MS, ..canary });
        }
    }

    /// Whether mail may go on a connection to a hop, by what that shows.
    fn greet(&mut self, hop: HopId, answer: Answer) -> bool {
        if let Some(face) = &self.face
            && answer != Answer::Gone
        {
            self.release.greeted(hop, &face(self.now_ms), self.now());
        }
        self.release.may_have_mail(hop)
    }

    fn begin(&mut self, message: Option<u64>, hop: HopId) {
        let attempt = Attempt { at_ms: self.now_ms, message, hop };
        let twice = self.in_flight.iter().any(|(_, other)| other.message == message && other.hop == hop);
        assert!(!twice, "{message:?} is in flight already");
        self.attempts.push(attempt);
        self.in_flight.push((self.now_ms + ATTEMPT_MS, attempt));
    }

    fn end(&mut self, attempt: Attempt) {
        let Attempt { message, hop, .. } = attempt;
        let answer = (self.servers)(hop, message, self.now_ms);
        let evidence = match answer {
            Answer::Takes | Answer::Refuses => None,
            Answer::Gone => Some(Evidence { phase: Phase::Connect, event: Event::Lost, accepted: 0 }),
            Answer::Cuts(phase) => Some(Evidence { phase, event: Event::Lost, accepted: 1 }),
            Answer::Says(phase, code, text) => {
                Some(Evidence { phase, event: Event::Reply(Reply::new(code, text)), accepted: 1 })
            }
            Answer::TakesPart => {
                let event = Event::Reply(Reply::new(452, "4.2.2 Mailbox full"));
                Some(Evidence { phase: Phase::Rcpt, event, accepted: 1 })
            }
        };
        let may_go = self.greet(hop, answer);
        let Some(message) = message else {
            // A probe ends at MAIL, or with a recipient that was refused: what would happen later it does not see.
            let denied = self.denied.contains(&hop);
            let seen = evidence.filter(|it| it.phase <= Phase::Mail || denied && it.denies_relay());
            return self.release.probed(hop, seen, self.now());
        };
        if !may_go {
            self.release.finished(message, Outcome::NotTried, self.now()).unwrap();
            return;
        }
        let held = self.release.held_domains(hop).map(|(route, _)| route).next();
        if let (Some(route), Some(of_domain)) = (held, self.parks_domain)
            && of_domain(&(self.address)(message))
        {
            let parked = Outcome::Parked { route, delivered: false };
            self.release.finished(message, parked, self.now()).unwrap();
            return;
        }
        if evidence.is_some_and(|evidence| evidence.denies_relay()) && !self.denied.contains(&hop) {
            self.denied.push(hop);
        }
        let (code, text, known_good) = self.refusal;
        let address = (self.address)(message);
        let refused = Refused {
            recipient: message,
            address: &address,
            known_good,
            evidence: Evidence {
                phase: Phase::Rcpt,
                event: Event::Reply(Reply::new(code, text)),
                accepted: 0,
            },
        };
        let refused: &[Refused<'_>] = if answer == Answer::Refuses { &[refused] } else { &[] };
        if self.release.can_tell(message, refused, self.now()) {
            self.told.push(message);
        }
        let taken: &[&str] = if answer == Answer::Takes { &[&address] } else { &[] };
        let witness = Witness { source: (self.source)(message), refused, taken };
        self.release.witnessed(message, witness, self.now());
        let outcome = match (answer, evidence) {
            (Answer::TakesPart, Some(evidence)) => Outcome::Open { evidence, delivered: true },
            (_, Some(evidence)) => Outcome::Open { evidence, delivered: false },
            (answer, None) => Outcome::Done { delivered: answer == Answer::Takes },
        };
        match answer {
            Answer::Takes => self.delivered.push((self.now_ms, message)),
            Answer::Refuses => self.refused.push(message),
            _ => {}
        }
        let fate = self.release.finished(message, outcome, self.now()).unwrap();
        if let Fate::SetAside(why) = fate {
            self.set_aside.push((message, why));
        }
        self.fates.push((message, fate));
    }

    /// When each attempt at `message` began.
    pub(crate) fn attempts_at(&self, message: u64) -> Vec<u64> {
        self.attempts.iter().filter(|it| it.message == Some(message)).map(|it| it.at_ms).collect()
    }

    /// Attempts with a message from `from_ms` on.
    pub(crate) fn sends_since(&self, from_ms: u64) -> usize {
        self.attempts.iter().filter(|it| it.message.is_some() && it.at_ms >= from_ms).count()
    }

    pub(crate) fn delivered_ids(&self) -> Vec<u64> {
        let mut ids: Vec<_> = self.delivered.iter().map(|(_, id)| *id).collect();
        ids.sort_unstable();
        ids
    }
}
