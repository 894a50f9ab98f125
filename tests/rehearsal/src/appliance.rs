//! Our sender as a party in the simulated world: what the daemon does around `penstock_release`, without its sockets,
//! its flash and its threads.
//!
//! The log on flash is played by what is in [`Held`]: a fate counts as durable when it is written there, and a cut of
//! the power leaves it, the saved state of release, and nothing else.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use penstock_exchange::simulated::{Party, World};
use penstock_release::{
    Aside, Config, Decision, Found, HopConfig, HopId, HopSet, Message, MessageAttempt, Mode, Now, Priority,
    Release, Saved, SetAside, State, Stillness, WaySet, route,
};
use penstock_smtp::client::Config as ClientConfig;

use crate::connection::Connection;
use crate::counters;
use crate::mail::{Fate, Held, Mail};
use crate::sending::{Job, Work};

/// The one next hop.
pub(crate) const HOP: HopId = HopId(0);
/// How long a session is kept for the next message.
pub(crate) const IDLE_MS_MAX: u64 = 10_000;
/// How often the server's counters are read while there is no mail, and how soon when there is some again.
const COUNTERS_IDLE_INTERVAL_MS: u64 = 60_000;
/// How long a client waits for what the server says of its message.
const THROUGH_WAIT_MS: u64 = 30_000;
const COUNTERS_LOOK_INTERVAL_MS: u64 = 2_000;
/// How often it is looked whether a canary's report came.
pub(crate) const REPORTS_INTERVAL_MS: u64 = 1_000;
/// Where canaries come from, and their reports go to.
pub(crate) const CANARY_SENDER: &str = "canary@appliance.example";
/// What time it is when the world begins, in ms since 1970.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// What there is beyond the next hop's address.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    /// Probe mailboxes: canaries go there.
    pub probes: Vec<String>,
    /// The server's counters can be read.
    pub counters: bool,
    /// It is known in which database each mailbox is.
    pub places: bool,
}

/// What happens to the appliance from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The power is cut, and comes back after so long.
    PowerCut {
        /// How long it is away.
        away_ms: u64,
    },
    /// The operator sets the mode.
    Mode(Mode),
    /// The operator gives everything in quarantine back to the queue.
    GiveBack,
    /// The operator says that the server is itself.
    Confirm,
}

/// The appliance.
#[derive(Debug)]
pub struct Appliance {
    config: Config,
    pub(crate) client: ClientConfig,
    pub(crate) knowledge: Knowledge,
    pub(crate) release: Release,
    /// By their index, which is their id in release.
    pub(crate) held: Vec<Held>,
    /// What is yet to come in, in the order of coming.
    inflow: VecDeque<Mail>,
    acts: VecDeque<(u64, Act)>,
    pub(crate) works: Vec<Work>,
    pub(crate) idle: Vec<Connection>,
    pub(crate) quitting: Vec<Connection>,
    /// Release's state as it is on flash.
    saved: Vec<u8>,
    /// When release wants to be asked again.
    wake_ms: Option<u64>,
    counters_at_ms: u64,
    pub(crate) reports_at_ms: u64,
    reports_read: usize,
    pub(crate) canaries_out: usize,
    canaries_arrived: u64,
    /// What the server refused a canary with, until that is reported. One is on its way at most.
    pub(crate) canary_refused: Option<Found>,
    /// Since the power went: when it comes back.
    off_until_ms: Option<u64>,
    pub(crate) boots: u64,
    states: Vec<(u64, State)>,
}

/// The daemon's defaults, for one next hop with so many probe mailboxes.
pub fn config(probes: u16) -> Config {
    let minutes = |minutes: u64| minutes * 60_000;
    Config {
        hops: vec![HopConfig { name: "exchange".into(), priority: 10, weight: 1, probes }],
        ways: vec![HopSet::ALL],
        connections_max: 5,
        messages_per_minute_max: None,
        retry_schedule_ms: [1, 5, 15, 30, 60].map(minutes).to_vec(),
        retry_jitter_percent: 20,
        probe_interval_ms: 5_000,
        probe_fast_for_ms: minutes(10),
        probe_slow_interval_ms: 15_000,
        probe_data_interval_ms: 30_000,
        expire_after_ms: minutes(30 * 24 * 60),
        poison_failures: 3,
        poison_span_ms: minutes(6),
        seed: 7,
    }
}

pub(crate) fn at(now_ms: u64) -> Now {
    Now { mono_ms: now_ms, unix_ms: Some(EPOCH_MS + now_ms) }
}

impl Appliance {
    /// Where its mail comes from.
    pub const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

    /// An appliance with the daemon's defaults, and mail that comes in.
    pub fn new(knowledge: Knowledge, mail: Vec<Mail>) -> Self {
        let config = config(u16::try_from(knowledge.probes.len()).expect("few"));
        Self::with_config(config, knowledge, mail)
    }

    /// The same with other numbers. `config` says of how many probe mailboxes release knows.
    pub fn with_config(config: Config, knowledge: Knowledge, mut mail: Vec<Mail>) -> Self {
        mail.sort_by_key(|mail| mail.at_ms);
        let mut release =
            Release::new(config.clone(), None, Mode::Auto, at(0)).expect("the numbers are sound");
        release.set_knows_places(knowledge.places);
        Self {
            saved: release.saved().to_bytes(),
            config,
            client: ClientConfig::new("appliance.example").expect("a name"),
            knowledge,
            release,
            held: Vec::new(),
            inflow: mail.into(),
            acts: VecDeque::new(),
            works: Vec::new(),
            idle: Vec::new(),
            quitting: Vec::new(),
            wake_ms: Some(0),
            counters_at_ms: 0,
            reports_at_ms: 0,
            reports_read: 0,
            canaries_out: 0,
            canaries_arrived: 0,
            canary_refused: None,
            off_until_ms: None,
            boots: 0,
            states: Vec::new(),
        }
    }

    /// Has something happen at these times, which ascend.
    pub fn with_acts(mut self, acts: impl IntoIterator<Item = (u64, Act)>) -> Self {
        self.acts.extend(acts);
        self
    }

    /// The mail that it has accepted, with what became of it.
    pub fn held(&self) -> &[Held] {
        &self.held
    }

    /// Whether all mail has come in and every recipient has a fate.
    pub fn is_done(&self) -> bool {
        self.inflow.is_empty() && self.held.iter().all(Held::is_over)
    }

    /// The states that the hop was in, with their times.
    pub fn states(&self) -> &[(u64, State)] {
        &self.states
    }

    /// Canaries whose arrival was seen.
    pub fn canaries_arrived(&self) -> u64 {
        self.canaries_arrived
    }

    fn take_in(&mut self, now_ms: u64) {
        while let Some(mail) = self.inflow.pop_front_if(|mail| mail.at_ms <= now_ms) {
            let id = self.held.len();
            self.counters_at_ms = self.counters_at_ms.min(now_ms + COUNTERS_LOOK_INTERVAL_MS);
            let waits =
                mail.waits && self.release.through(WaySet::default(), THROUGH_WAIT_MS, at(now_ms)).is_ok();
            self.held.push(Held::new(mail, now_ms));
            self.held[id].awaited_until_ms = if waits { now_ms + THROUGH_WAIT_MS } else { 0 };
            self.release.offer(self.message(id));
        }
    }

    fn message(&self, id: usize) -> Message {
        let held = &self.held[id];
        Message {
            id: id as u64,
            size_bytes: u32::try_from(held.mail.len_bytes).unwrap_or(u32::MAX),
            accepted_unix_ms: Some(EPOCH_MS + held.accepted_ms),
            mailbox: held.mail.to.first().map_or(0, |address| self.config.mailbox(address)),
            priority: Priority::Normal,
            ways: WaySet::default(),
        }
    }

    /// What happens from outside. Whether the power is on.
    fn suffer(&mut self, world: &mut World) -> bool {
        let now_ms = world.now_ms();
        if let Some(until_ms) = self.off_until_ms {
            if until_ms > now_ms {
                return false;
            }
            self.off_until_ms = None;
            self.boot(now_ms);
        }
        while let Some((_, act)) = self.acts.pop_front_if(|(at_ms, _)| *at_ms <= now_ms) {
            match act {
                Act::PowerCut { away_ms } => {
                    self.lose_power(world);
                    self.off_until_ms = Some(now_ms + away_ms.max(1));
                    return false;
                }
                Act::Mode(mode) => self.release.set_mode(mode, at(now_ms)),
                Act::GiveBack => self.give_back(),
                Act::Confirm => {
                    self.release.confirm(HOP, at(now_ms));
                }
            }
        }
        true
    }

    fn lose_power(&mut self, world: &mut World) {
        for work in std::mem::take(&mut self.works) {
            if let Job::Mail(id) = work.job {
                self.held[id].in_doubt += u32::from(work.connection.is_in_doubt());
            }
            work.connection.close(world);
        }
        for connection in self.idle.drain(..).chain(self.quitting.drain(..)) {
            connection.close(world);
        }
        self.canaries_out = 0;
        self.held.iter_mut().for_each(|held| held.awaited_until_ms = 0);
    }

    fn boot(&mut self, now_ms: u64) {
        let saved = Saved::from_bytes(&self.saved).expect("what was saved is read again");
        self.release = Release::new(self.config.clone(), Some(&saved), Mode::Auto, at(now_ms))
            .expect("the numbers are as sound as before");
        self.release.set_knows_places(self.knowledge.places);
        self.boots += 1;
        self.wake_ms = Some(now_ms);
        for id in 0..self.held.len() {
            if !self.held[id].is_over() {
                self.release.recover(self.message(id), self.held[id].noted_attempts, 0);
            }
        }
    }

    fn give_back(&mut self) {
        for id in 0..self.held.len() {
            let held = &mut self.held[id];
            let was_over = held.is_over();
            let mut again = false;
            for fate in &mut held.fates {
                if matches!(fate, Fate::Quarantined { .. }) {
                    *fate = Fate::Queued;
                    again = true;
                }
            }
            if again && was_over {
                self.release.recover(self.message(id), 0, 0);
            }
        }
    }

    /// Carries out decisions until there is nothing to do before a moment.
    fn decide(&mut self, world: &mut World) {
        let now_ms = world.now_ms();
        loop {
            match self.release.next(at(now_ms)) {
                Decision::Send { message, .. } => {
                    let id = message as usize;
                    self.held[id].attempts += 1;
                    let attempt = self.attempt(world, id);
                    self.begin(world, Job::Mail(id), attempt);
                }
                Decision::Canary { probe, canary, .. } => {
                    self.begin(world, Job::Canary { id: canary, probe }, MessageAttempt::new([0]));
                }
                Decision::Ask { .. } => unreachable!("nobody is known to be there, so no domain is held"),
                Decision::Probe { .. } => self.begin(world, Job::Probe, MessageAttempt::new([])),
                Decision::SetAside { message, why } => {
                    self.quarantine_open(message as usize, now_ms, reason(why));
                }
                Decision::Wait { until_ms } => {
                    self.wake_ms = until_ms;
                    return;
                }
            }
        }
    }

    /// An attempt for the open recipients of a message, but for those whose database is held.
    fn attempt(&self, world: &World, id: usize) -> MessageAttempt {
        let held = &self.held[id];
        let mut attempt = MessageAttempt::new(held.open());
        if self.knowledge.places {
            attempt.hold_back(|number| {
                let database = world.server.database_of(&held.mail.to[usize::from(number)]);
                let mut probes = self.knowledge.probes.iter();
                let probe = probes.position(|probe| world.server.database_of(probe) == database)?;
                let route = route(HOP, u16::try_from(probe).ok()?);
                self.release.is_route_held(route).then_some(Aside::Held { route })
            });
        }
        attempt
    }

    pub(crate) fn quarantine_open(&mut self, id: usize, now_ms: u64, why: &str) {
        for fate in &mut self.held[id].fates {
            if *fate == Fate::Queued {
                *fate = Fate::Quarantined { at_ms: now_ms, why: why.to_owned() };
            }
        }
    }

    fn look_inside(&mut self, world: &World) {
        let now_ms = world.now_ms();
        if self.knowledge.counters && self.counters_at_ms <= now_ms {
            let idle = self.release.stillness(at(now_ms)) == Some(Stillness::Empty);
            if world.server.accepts_connections()
                && let Some(counters) = counters::read(&world.server.metrics())
            {
                self.release.counted(HOP, &counters, at(now_ms));
            }
            let busy_ms = self.release.counting_interval_ms(HOP, at(now_ms));
            self.counters_at_ms = now_ms + if idle { COUNTERS_IDLE_INTERVAL_MS } else { busy_ms };
        }
        for mail in world.mail().get(self.reports_read..).unwrap_or_default() {
            if mail.to == CANARY_SENDER
                && let Some((boot, id, has_arrived)) = canary_of(&mail.bytes)
                && boot == self.boots
            {
                self.canaries_out = self.canaries_out.saturating_sub(1);
                if has_arrived {
                    self.canaries_arrived += 1;
                    self.release.canary_arrived(id, at(now_ms));
                } else {
                    self.release.canary_failed(id, at(now_ms));
                }
            }
        }
        self.reports_read = world.mail().len();
        self.reports_at_ms = now_ms + REPORTS_INTERVAL_MS;
    }

    fn save(&mut self, now_ms: u64) {
        if self.release.take_changed() {
            self.saved = self.release.saved().to_bytes();
        }
        let state = self.release.hops(at(now_ms)).next().map(|hop| hop.state);
        if let Some(state) = state
            && self.states.last().is_none_or(|(_, last)| *last != state)
        {
            self.states.push((now_ms, state));
        }
    }
}

impl Party for Appliance {
    fn next_event_ms(&self) -> Option<u64> {
        let act_ms = self.acts.front().map(|(at_ms, _)| *at_ms);
        if self.off_until_ms.is_some() {
            return self.off_until_ms;
        }
        let inflow_ms = self.inflow.front().map(|mail| mail.at_ms);
        let deadlines = self
            .works
            .iter()
            .map(|work| &work.connection)
            .chain(&self.quitting)
            .filter_map(Connection::deadline_ms);
        let idle_ms = self.idle.iter().map(|connection| connection.idle_since_ms() + IDLE_MS_MAX);
        let counters_ms = self.knowledge.counters.then_some(self.counters_at_ms);
        let reports_ms = (self.canaries_out > 0).then_some(self.reports_at_ms);
        let others = [act_ms, inflow_ms, self.wake_ms, counters_ms, reports_ms];
        others.into_iter().flatten().chain(deadlines).chain(idle_ms).min()
    }

    fn act(&mut self, world: &mut World) {
        if !self.suffer(world) {
            return;
        }
        let now_ms = world.now_ms();
        self.take_in(now_ms);
        self.turn(world);
        self.look_inside(world);
        self.decide(world);
        // What was begun on an idle connection has something to send.
        self.turn(world);
        self.close_idle(now_ms);
        self.save(now_ms);
    }
}

/// The boot and the number of the canary that a report is about, and whether it has arrived. Of delays it says nothing.
fn canary_of(report: &[u8]) -> Option<(u64, u64, bool)> {
    let text = std::str::from_utf8(report).ok()?;
    let has_arrived = text.contains("\r\nAction: delivered\r\n");
    if !has_arrived && !text.contains("\r\nAction: failed\r\n") {
        return None;
    }
    let token = text.lines().find_map(|line| line.strip_prefix("Original-Envelope-Id: "))?;
    let (boot, id) = token.split_once('-')?;
    Some((boot.parse().ok()?, id.parse().ok()?, has_arrived))
}

pub(crate) fn reason(why: SetAside) -> &'static str {
    match why {
        SetAside::Expired => "older than mail may become",
        SetAside::Poison => "it failed again and again while others passed",
    }
}
