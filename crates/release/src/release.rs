//! Joins queue, hops, ceilings and mode.

mod figures;
mod heard;
mod next;
mod through;

use alloc::borrow::ToOwned as _;
use alloc::vec::Vec;

use crate::ceiling::Ceiling;
use crate::config::{BLIND_PER_MINUTE_MAX, Config, PROBES_MAX};
use crate::decision::Removed;
use crate::domains::Domains;
use crate::error::Error;
use crate::hop::{Attempt, Hop, State};
use crate::progress::{Meter, Stillness};
use crate::queue::{Job, Message, Queue, Secs};
use crate::saved::{Mode, Saved};
use crate::ways::{HopSet, WayId, WaySet, Ways};
use crate::{HopId, Now};

#[derive(Debug)]
struct InFlight {
    job: Job,
    hop: HopId,
    /// On which way it goes, and which its open recipients have.
    way: WayId,
    ways: WaySet,
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
    ways: Ways,
    /// At most connections × hops.
    in_flight: Vec<InFlight>,
    /// Probes in flight, by hop.
    probes: Vec<Option<Attempt>>,
    /// Canaries in flight with their numbers, by hop.
    canary_attempts: Vec<Option<(u64, Attempt)>>,
    last_canary: u64,
    /// Domains whose mail is held.
    domains: Domains,
    ceiling: Ceiling,
    meter: Meter,
    base_ms: u64,
    now_ms: u64,
    changed: bool,
    /// Whether the recipients of a database can be held alone.
    knows_places: bool,
}

impl Release {
    /// Release with an empty queue, in the mode and with the hops' states as saved. `initial` is the mode where
    /// nothing was saved.
    ///
    /// # Errors
    /// [`Error::Hops`], [`Error::Ways`], [`Error::Limits`].
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
        let mut ways = Ways::new(&config.ways);
        // Which way a mailbox has is known when a message to it comes.
        let spared = saved.map_or(&[][..], |saved| &saved.spared);
        ways.iter_mut().for_each(|way| way.queue.spare(spared, 1));
        let mut domains = Domains::default();
        for (name, address) in saved.map_or(&[][..], |saved| &saved.domains) {
            let hop = config.hops.iter().position(|hop| hop.name == *name).map(hop_id);
            let route = hop.and_then(|hop| domains.hold(hop, address, now.mono_ms));
            route.into_iter().for_each(|route| ways.iter_mut().for_each(|way| way.queue.hold_route(route)));
        }
        Ok(Self {
            mode: saved.map_or(initial, |saved| saved.mode),
            probes: hops.iter().map(|_| None).collect(),
            canary_attempts: hops.iter().map(|_| None).collect(),
            last_canary: 0,
            domains,
            hops,
            in_flight: Vec::new(),
            ceiling: Ceiling::new(config.messages_per_minute_max.unwrap_or(BLIND_PER_MINUTE_MAX)),
            meter: Meter::new(now.mono_ms),
            base_ms: now.mono_ms,
            now_ms: now.mono_ms,
            changed: saved.is_none(),
            knows_places: false,
            ways,
            config,
        })
    }

    /// Takes in a message that was accepted, or one that the operator gives back to the queue. Each id is here once at
    /// most; that is the caller's to keep. It is fresh mail until what has piled up becomes backlog: when a server is
    /// found to be well again, or the operator lets mail go.
    pub fn offer(&mut self, message: Message) {
        self.begin(message).put(Job::new(message, 0, true));
    }

    /// The queue of the way that a message begins on.
    fn begin(&mut self, message: Message) -> &mut Queue {
        let way = self.ways.choose(message.id, message.ways, goes(&self.hops));
        self.ways.queue(way)
    }

    /// Takes in a message after a restart, with what the log knows: how many attempts it has had and for how long it
    /// still waits. It is backlog.
    pub fn recover(&mut self, message: Message, attempts: u32, waits_ms: u64) {
        let job = Job::new(message, attempts, false);
        let due = self.due_in(waits_ms);
        let queue = self.begin(message);
        if attempts == 0 || waits_ms == 0 { queue.put(job) } else { queue.put_waiting(job, due) }
    }

    /// Tells what is known of a message now that it was looked at: whose it is, since when it is here, which ways its open
    /// recipients have; where that was not known, or has become another while it was in flight. Whether a message in flight
    /// can go on: if not, since the server asked for that mailbox to be spared, report
    /// [`Outcome::NotTried`](crate::Outcome::NotTried).
    pub fn addressed(&mut self, message: Message) -> bool {
        let Some(it) = self.in_flight.iter_mut().find(|it| it.job.id == message.id) else {
            self.ways.learn(message, goes(&self.hops));
            return true;
        };
        it.job = it.job.known(message);
        it.ways = message.ways;
        self.ways.note(message.id, message.ways);
        !self.ways.queue(it.way).spares(message.mailbox, message.id)
    }

    /// The way that a message in flight goes on: what it is to leave out are recipients who have others.
    pub fn way_of(&self, message: u64) -> Option<WayId> {
        self.in_flight.iter().find(|it| it.job.id == message).map(|it| it.way)
    }

    /// The first `count` messages from this id on of which it is not known whose they are; tell with
    /// [`addressed`](Self::addressed).
    pub fn unknown_from(&self, id: u64, count: usize) -> Vec<u64> {
        self.ways.unknown_from(id, count)
    }

    /// Holds the recipients of a route alone, numbered by the caller from [`ROUTES_OWN`](crate::ROUTES_OWN) on; those of a
    /// mailbox database are held by themselves while its canaries are missing, those of a domain while they are refused
    /// ([`held_domains`](Self::held_domains)). Messages to others go on; one whose open recipients are all held is reported as
    /// [`Outcome::Parked`](crate::Outcome::Parked). What the caller holds does not outlive a restart.
    pub fn hold_route(&mut self, route: u16) {
        self.ways.iter_mut().for_each(|way| way.queue.hold_route(route));
    }

    /// Lets the recipients of a route have their mail again: what is parked for it is due at once.
    pub fn free_route(&mut self, route: u16) {
        self.ways.iter_mut().for_each(|way| way.queue.free_route(route));
    }

    /// Whether the recipients of a route are held.
    pub fn is_route_held(&self, route: u16) -> bool {
        self.ways.iter().any(|way| way.queue.is_route_held(route))
    }

    /// Takes a message out, if it is not in flight. Slow in a long queue (20 ms a million messages that wait).
    pub fn remove(&mut self, id: u64) -> Removed {
        if self.in_flight.iter().any(|it| it.job.id == id) {
            Removed::InFlight
        } else if self.ways.remove(id).is_some() {
            self.ways.forget(id);
            Removed::Yes
        } else {
            Removed::Unknown
        }
    }

    /// Takes out all messages that `which` says, but for those in flight: what holds them cannot be reached now.
    pub fn take_out(&mut self, which: impl Fn(u64) -> bool) {
        self.ways.take_out(which);
    }

    /// Ends the wait of one message. Tells whether it is in the queue.
    pub fn hasten(&mut self, id: u64) -> bool {
        let Some((way, job)) = self.ways.remove(id) else { return false };
        self.ways.queue(way).put(job);
        true
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
            self.ways.iter_mut().for_each(|way| way.queue.end_waits(secs));
        }
        if Stillness::of(self.mode).is_some() && Stillness::of(mode).is_none() {
            self.ways.iter_mut().for_each(|way| way.queue.begin_afresh());
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
        let hops = self.hops.iter().map(Hop::saved).collect();
        let name = |hop: HopId| self.hops[usize::from(hop.0)].config.name.clone();
        let domains = self.domains.saved().map(|(hop, address)| (name(hop), address.to_owned())).collect();
        Saved { mode: self.mode, hops, spared: self.ways.spared(), domains }
    }

    /// Whether the caller knows the mailbox database of each recipient, and leaves out of an attempt those that a
    /// [`route`] holds. Without that all mail waits when the canaries of one database stay out.
    pub fn set_knows_places(&mut self, knows_places: bool) {
        self.knows_places = knows_places;
    }

    /// Whether a message may be said to a hop: not while it has to prove itself. Probes and canaries may go then. A
    /// message that has been decided on and may not go is [`Outcome::NotTried`](crate::Outcome::NotTried).
    pub fn may_have_mail(&self, hop: HopId) -> bool {
        self.hops.get(usize::from(hop.0)).is_some_and(|hop| hop.cause().is_none())
    }

    /// The operator says that a hop is itself and its mailboxes are there. Tells whether that had been in doubt, of a hop
    /// that answers ([`can_be_confirmed`](crate::HopStatus::can_be_confirmed)); if so, it gets all mail from now on.
    pub fn confirm(&mut self, hop: HopId, now: Now) -> bool {
        self.tick(now);
        let n = usize::from(hop.0);
        let confirmed = self.hops.get_mut(n).is_some_and(|hop| hop.confirm(now));
        if confirmed {
            self.healed(n, true);
        }
        self.free_domains(hop, None) || confirmed
    }

    /// The domains whose mail is held at a hop, each with its route and a recipient that stands for it: refused, although it
    /// is known to be there.
    pub fn held_domains(&self, hop: HopId) -> impl Iterator<Item = (u16, &str)> {
        self.domains.of(hop)
    }

    /// Lets the mail of domains that are held at a hop go again. Whether there were any.
    fn free_domains(&mut self, hop: HopId, route: Option<u16>) -> bool {
        let freed = self.domains.free(hop, route);
        self.changed |= !freed.is_empty();
        for route in &freed {
            self.free_route(*route);
        }
        !freed.is_empty()
    }

    fn tick(&mut self, now: Now) {
        self.now_ms = self.now_ms.max(now.mono_ms);
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

/// The route of those recipients for whom a probe mailbox of a hop stands: they are of the same mailbox database.
pub const fn route(hop: HopId, probe: u16) -> u16 {
    hop.0 as u16 * PROBES_MAX + probe
}

fn hop_id(n: usize) -> HopId {
    HopId(n as u8) // at most HOPS_MAX
}

/// Whether mail goes to one of these hops.
fn goes(hops: &[Hop]) -> impl Fn(HopSet) -> bool + use<> {
    let healthy = hops.iter().enumerate().filter(|(_, hop)| hop.state() == State::Healthy);
    let healthy: Vec<HopId> = healthy.map(|(n, _)| hop_id(n)).collect();
    move |set| healthy.iter().any(|hop| set.has(*hop))
}
