//! Joins queue, hops, ceilings and mode.

mod figures;
mod heard;
mod next;
mod through;

use alloc::vec::Vec;

use crate::ceiling::Ceiling;
use crate::config::{BLIND_PER_MINUTE_MAX, Config, HOPS_MAX, PROBES_MAX};
use crate::decision::Removed;
use crate::error::Error;
use crate::hop::{Attempt, Hop};
use crate::progress::{Meter, Stillness};
use crate::queue::{Job, Message, Priority, Queue, Secs};
use crate::saved::{Mode, Saved};
use crate::{HopId, Now};

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
    /// not, since the server asked for that mailbox to be spared, report [`Outcome::NotTried`](crate::Outcome::NotTried).
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

    /// Holds the recipients of a route alone: those of a domain, say, numbered by the caller from [`ROUTES_OWN`] on; those
    /// of a mailbox database are held by themselves while its canaries are missing. Messages to others go on; one whose open
    /// recipients are all held is reported as [`Outcome::Parked`](crate::Outcome::Parked). It does not outlive a restart.
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
    /// that answers ([`can_be_confirmed`](crate::State::can_be_confirmed)); if so, it gets mail from now on.
    pub fn confirm(&mut self, hop: HopId, now: Now) -> bool {
        self.tick(now);
        let n = usize::from(hop.0);
        let confirmed = self.hops.get_mut(n).is_some_and(|hop| hop.confirm(now));
        if confirmed {
            self.healed(n, true);
        }
        confirmed
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

/// From here on routes are the caller's.
pub const ROUTES_OWN: u16 = HOPS_MAX as u16 * PROBES_MAX;

/// The route of those recipients for whom a probe mailbox of a hop stands: they are of the same mailbox database.
pub const fn route(hop: HopId, probe: u16) -> u16 {
    hop.0 as u16 * PROBES_MAX + probe
}

fn hop_id(n: usize) -> HopId {
    HopId(n as u8) // at most HOPS_MAX
}
