//! How much of the box the clients may hold: sessions, mail and mistakes in a minute, reserved space; in all and for each
//! source.
//!
//! [`Limits`] is what all sessions share, [`Place`] what one of them holds: it is given back when it is dropped, with all
//! that was held through it. Who has to go when all places are taken is in [`displace`], what happens when the machine
//! itself runs short in [`pressure`].

mod account;
mod displace;
mod gateway;
mod pressure;
mod rate;
mod source;
mod table;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;

use penstock_settings::{HopHost, Listen, Network, NotAllowed, Settings};
use penstock_smtp::{Reply, replies};
use tokio::time::Instant;

pub(crate) use account::Limit;
pub(crate) use displace::Phase;
pub(crate) use pressure::{DESCRIPTORS_RESERVED, Reading, Shortage, raise_descriptors};
pub(crate) use source::Source;
pub(crate) use table::{Figures, SourceFigures};

use displace::STEP_MS;
use pressure::Pressure;
use table::{Slot, Table};

const MINUTE_MS: u64 = 60_000;

/// Why a connection is not served, or something in it put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It comes from nowhere in `listen.allowed`. `untold` says whether nobody knows that of this source yet.
    Network { untold: bool },
    /// All sessions are in use, and nobody has to make room.
    Full,
    /// The machine runs short.
    Short(Shortage),
    /// This source has its share.
    Source { source: Source, limit: Limit, untold: bool },
    /// There is too much mail at once from all together.
    TooFast,
}

/// What becomes of a client that makes mistakes.
#[derive(Debug)]
pub(crate) enum Erred {
    /// It is told so.
    Told,
    /// It is told so, but has to wait for it as long as `listen.tarpit_delay`.
    Waits(Tarpit),
    /// It has to go.
    Goes(Refused),
}

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct Limits {
    settings: Listen,
    /// Next hops that are known by their address. What they send are reports on canaries.
    hops: Vec<IpAddr>,
    started: Instant,
    table: Mutex<Table>,
    pressure: Mutex<Pressure>,
    tarpitted: AtomicU32,
}

/// One session's place. Gives it back when it is dropped, with what the session has reserved.
#[derive(Debug)]
pub(crate) struct Place {
    limits: Arc<Limits>,
    slot: Slot,
    /// Bytes of a message since the last step.
    body_bytes: u64,
}

/// A session that waits for its reply as a consequence of what it did. There may be so many of them only.
#[derive(Debug)]
pub(crate) struct Tarpit(Arc<Limits>);

/// Somebody who was let in.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) place: Place,
    /// Whether somebody else had to make room.
    pub(crate) displaced: bool,
    /// The address that nearly all connections come from, if that has become clear.
    pub(crate) gateway: Option<Source>,
}

impl Limits {
    pub(crate) fn new(settings: &Settings) -> Arc<Self> {
        let hop = |hop: &penstock_settings::NextHop| match hop.address.host {
            HopHost::Ip(address) => Some(address.to_canonical()),
            HopHost::Name(_) => None,
        };
        let listen = settings.listen.clone();
        Arc::new(Self {
            hops: settings.next_hops.iter().filter_map(hop).collect(),
            started: Instant::now(),
            table: Mutex::new(Table::new(listen.clone())),
            pressure: Mutex::new(Pressure::new(listen.memory_free_min.0)),
            tarpitted: AtomicU32::new(0),
            settings: listen,
        })
    }

    /// Takes a place for a session with that address.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Admitted, Refused> {
        let address = address.to_canonical();
        let (source, now_ms) = (Source::of(address), self.now_ms());
        let within = |networks: &[Network]| networks.iter().any(|network| network.contains(address));
        let trusted = within(&self.settings.trusted_fronts);
        let hop = self.hops.contains(&address);
        let allowed = &self.settings.allowed;
        let mut table = self.table();
        if !allowed.is_empty() && !trusted && !hop && !within(allowed) {
            return Err(Refused::Network { untold: table.stranger(source, now_ms) });
        }
        let pressure = *self.pressure();
        let capacity = pressure.capacity(self.settings.connections_max, table.sessions());
        let counts = !trusted && !hop && !address.is_loopback();
        let entered = table.enter(source, trusted, counts, capacity, now_ms);
        drop(table);
        let entered = match (entered, pressure.shortage()) {
            (Err(Refused::Full), Some(shortage)) => return Err(Refused::Short(shortage)),
            (entered, _) => entered?,
        };
        let displaced = entered.displaced.is_some();
        if let Some(waker) = entered.displaced.flatten() {
            waker.wake();
        }
        let place = Place { limits: Arc::clone(self), slot: entered.slot, body_bytes: 0 };
        Ok(Admitted { place, displaced, gateway: entered.gateway })
    }

    /// How many sessions there are.
    pub(crate) fn sessions(&self) -> u32 {
        self.table().sessions()
    }

    /// How many connections there are still, with those that were told to go.
    pub(crate) fn places(&self) -> u32 {
        self.table().places()
    }

    /// Whether sessions run short, so that idle ones have to make room.
    pub(crate) fn is_busy(&self) -> bool {
        let busy_at = u64::from(self.settings.connections_max) * u64::from(self.settings.busy_percent) / 100;
        u64::from(self.sessions()) > busy_at || self.shortage().is_some()
    }

    /// What the machine is short of.
    pub(crate) fn shortage(&self) -> Option<Shortage> {
        self.pressure().shortage()
    }

    /// What the last look found.
    pub(crate) fn reading(&self) -> Reading {
        self.pressure().reading
    }

    /// Takes note of how the machine is. What became short, or is no longer.
    pub(crate) fn look(&self, reading: Reading) -> Vec<(Shortage, bool)> {
        let places = self.places();
        self.pressure().look(reading, places)
    }

    /// Has up to `most` sessions end that do nothing. How many that are.
    pub(crate) fn shed(&self, most: usize) -> usize {
        let woken = self.table().shed(most, self.now_ms());
        let count = woken.len();
        woken.into_iter().flatten().for_each(std::task::Waker::wake);
        count
    }

    pub(crate) fn figures(&self) -> Figures {
        self.table().figures(self.now_ms())
    }

    /// Sessions that wait for the reply to their mistakes.
    pub(crate) fn tarpitted(&self) -> u32 {
        self.tarpitted.load(Relaxed)
    }

    /// The sources that hold or do most.
    pub(crate) fn sources(&self, most: usize) -> Vec<SourceFigures> {
        self.table().sources(most, self.now_ms())
    }

    /// What one is told who is refused.
    pub(crate) fn reply(&self, refused: Refused) -> Reply<'static> {
        match refused {
            Refused::Network { .. } => match self.settings.not_allowed {
                NotAllowed::PutOff => replies::NETWORK_PUT_OFF,
                NotAllowed::Refuse => replies::NETWORK_REFUSED,
            },
            Refused::Full | Refused::Source { limit: Limit::Connections, .. } => replies::CONNECTIONS_MAX,
            Refused::Source { limit: Limit::Errors, .. } => replies::SOURCE_ERRORS_MAX,
            Refused::Source { .. } => replies::SOURCE_RATE_MAX,
            Refused::Short(_) => replies::RESOURCES_SHORT,
            Refused::TooFast => replies::RATE_MAX,
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pressure(&self) -> MutexGuard<'_, Pressure> {
        self.pressure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The session is somewhere else now, a step nearer to a message.
    pub(crate) fn step(&mut self, phase: Phase) {
        self.body_bytes = 0;
        let limits = &self.limits;
        limits.table().step(self.slot, phase, limits.now_ms());
    }

    /// No message is under way any more.
    pub(crate) fn back(&mut self) {
        self.limits.table().back(self.slot);
    }

    /// So much of a message has come. Enough of it is a step.
    pub(crate) fn body(&mut self, bytes: usize) {
        self.body_bytes += bytes as u64;
        if self.body_bytes >= self.limits.settings.busy_data_per_minute_min.0 * STEP_MS / MINUTE_MS {
            self.step(Phase::Body);
        }
    }

    /// Whether the session has to make room for somebody. Who asks is woken when it has to.
    pub(crate) fn is_displaced(&self, context: &Context<'_>) -> bool {
        self.limits.table().is_displaced(self.slot, context.waker())
    }

    /// A message is wanted: whether its source may send another one now.
    pub(crate) fn message(&mut self) -> Result<(), Refused> {
        self.limits.table().message(self.slot, self.limits.now_ms())
    }

    /// A recipient is named: whether its source may name another one now.
    pub(crate) fn recipient(&mut self) -> Result<(), Refused> {
        self.limits.table().recipient(self.slot, self.limits.now_ms())
    }

    /// A message was accepted.
    pub(crate) fn accepted(&mut self) {
        self.limits.table().accepted(self.slot, self.limits.now_ms());
    }

    /// The client made so many mistakes.
    pub(crate) fn erred(&mut self, errors: u32) -> Erred {
        let limits = &self.limits;
        let lately = match limits.table().erred(self.slot, errors, limits.now_ms()) {
            Ok(lately) => lately,
            Err(refused) => return Erred::Goes(refused),
        };
        let settings = &limits.settings;
        let waits = !settings.tarpit_delay.is_zero() && lately > settings.tarpit_errors && !limits.is_busy();
        let tarpit = waits.then(|| Tarpit::enter(limits)).flatten();
        tarpit.map_or(Erred::Told, Erred::Waits)
    }

    /// Reserves space for a message that is being received, on top of what the session has. Whether there was room.
    pub(crate) fn reserve(&mut self, bytes: u64) -> bool {
        self.limits.table().reserve(self.slot, bytes, self.limits.now_ms())
    }

    /// Gives back what the session has reserved.
    pub(crate) fn release(&mut self) {
        self.limits.table().release(self.slot);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.limits.table().leave(self.slot);
    }
}

impl Tarpit {
    /// Takes one of the places there are in it.
    fn enter(limits: &Arc<Limits>) -> Option<Self> {
        let most = limits.settings.tarpit_sessions_max;
        let enter = |now: u32| (now < most).then_some(now + 1);
        limits.tarpitted.fetch_update(Relaxed, Relaxed, enter).ok()?;
        Some(Self(Arc::clone(limits)))
    }
}

impl Drop for Tarpit {
    fn drop(&mut self) {
        self.0.tarpitted.fetch_sub(1, Relaxed);
    }
}
