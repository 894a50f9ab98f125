//! The loop: network, sessions, volumes, one bounded step at a time.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::net::{Ipv4Addr, SocketAddr};

use penstock_flash::Medium;
use penstock_settings::TakingSettings;
use penstock_smtp::server::Awaits;
use penstock_smtp::{Reply, replies};
use penstock_spool::Stamp;
use smoltcp::phy::Device;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::EthernetAddress;

use crate::SESSIONS_MAX;
use crate::clock::{Clock, WallClock};
use crate::connection::{Connection, Went};
use crate::envelope::SpoolEnvelope;
use crate::intake::Shared;
use crate::neighbours::Neighbour;
use crate::net::{Lease, Net, Place};
use crate::probe::{Answer, Question, Unasked};
use crate::site::{Site, Source};
use crate::status::{Counters, Mode, Status, VolumeStatus};
use crate::trouble::Trouble;
use crate::volumes::{Store, Volumes};

/// How much of what clients send is dealt with in one step, in bytes, before the network gets its turn.
const STEP_BYTES: usize = 16 * 1024;
/// How long a message waits for others that are under way, to share their sync.
const WINDOW: Duration = Duration::from_millis(1);
/// How soon an erase is looked after again.
const ERASE_POLL: Duration = Duration::from_millis(1);
/// How long a step may be away at most when nothing is due.
const REST: Duration = Duration::from_millis(1000);
/// How long sessions have to come to their end when the rescue is stopped.
const STOPPING_MAX: Duration = Duration::from_secs(30);

/// What the rescue starts with.
#[derive(Debug)]
pub struct Start<'a, D, N> {
    /// The text of the settings record, if there is an intact one.
    pub settings: Option<&'a str>,
    /// The address of the network interface, from the identity of the box.
    pub mac: [u8; 6],
    /// The medium with the volume on the disk.
    pub disk: Option<D>,
    /// The medium with the volume on NOR flash.
    pub nor: Option<N>,
    /// Fresh randomness: TCP's first numbers come from it.
    pub seed: u64,
    /// What time it is.
    pub clock: WallClock,
    /// Why the box is in rescue, for the ledger: one line for people.
    pub reason: &'a str,
    /// Where the settings say DHCP: what the box was given last. It is used until a server says otherwise.
    pub lease: Option<Lease>,
}

/// What takes mail.
struct Service {
    site: Site,
    net: Net,
    connections: Vec<Connection>,
    envelope: Box<SpoolEnvelope>,
    /// Which connection is the first to go on, so that each comes first in turn.
    turn: usize,
    /// Since when a message waits for its sync.
    committed_since: Option<Instant>,
    /// Until when sessions may come to their end.
    stopping: Option<Instant>,
}

/// Takes mail on bare metal. See the [crate].
pub struct Rescue<D: Medium, N: Medium> {
    service: Result<Service, Trouble>,
    volumes: Volumes<D, N>,
    clock: Clock,
    counters: Counters,
}

impl<D: Medium, N: Medium> core::fmt::Debug for Rescue<D, N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Rescue").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl<D: Medium, N: Medium> Rescue<D, N> {
    /// Mounts the volumes and opens the door, or, where that cannot be, knows why: see [`status`](Self::status). Nothing is
    /// written. All memory is taken here, but for what the spool holds of messages under way.
    ///
    /// # Panics
    /// If the device is not Ethernet.
    pub fn new(start: Start<'_, D, N>, device: &mut (impl Device + ?Sized), now: Instant) -> Self {
        let Start { settings, mac, disk, nor, seed, clock, reason, lease } = start;
        let volumes = Volumes::mount(disk, nor, reason);
        let is_any_well = volumes.is_any_well();
        let service = site(settings).and_then(|site| {
            let network = &site.settings.network;
            let has_address = !network.addresses.is_empty() || network.dhcp || network.router_advertisements;
            if !has_address {
                return Err(Trouble::NoAddress);
            }
            if !EthernetAddress(mac).is_unicast() || mac == [0; 6] {
                return Err(Trouble::Mac);
            }
            if !is_any_well {
                return Err(Trouble::NoVolume);
            }
            Ok(Service::new(site, (mac, seed), lease, device, now))
        });
        Self { service, volumes, clock: Clock::new(clock, now), counters: Counters::default() }
    }

    /// Sets the time of the calendar.
    pub fn set_clock(&mut self, clock: WallClock, now: Instant) {
        self.clock = Clock::new(clock, now);
    }

    /// Does what is to be done now, in a step of bounded length. Says when the next is due, which is at once while there is
    /// more to do; a packet that arrives makes it due earlier.
    pub fn poll(&mut self, device: &mut (impl Device + ?Sized), now: Instant) -> Instant {
        let stamp = self.clock.stamp(now, self.volumes.boot());
        let Ok(service) = &mut self.service else { return now + REST };
        service.poll((&mut self.volumes, &mut self.counters), device, now, stamp)
    }

    /// Lets nobody in any more, and sessions come to their end. [`poll`](Self::poll) goes on until
    /// [`is_stopped`](Self::is_stopped).
    pub fn stop(&mut self, now: Instant) {
        if let Ok(service) = &mut self.service {
            service.net.shut();
            service.stopping.get_or_insert(now + STOPPING_MAX);
        }
    }

    /// Whether nothing goes on any more: it never began, or the last session has ended after [`stop`](Self::stop).
    pub fn is_stopped(&self) -> bool {
        self.service.as_ref().map_or(true, Service::is_stopped)
    }

    /// Closes the volumes, so that the next mount finds a clean stop.
    pub fn close(self) {
        self.volumes.close();
    }

    /// Asks the network something, for somebody at the console. [`poll`](Self::poll) goes on as always until
    /// [`answer`](Self::answer) has it; what was asked before is over.
    ///
    /// # Errors
    /// When there is no network, or no address to ask from.
    pub fn ask(&mut self, question: Question, now: Instant) -> Result<(), Unasked> {
        self.service.as_mut().map_err(|_| Unasked::NoNetwork)?.net.ask(question, now)
    }

    /// How what was asked last stands. An answer is given once.
    pub fn answer(&mut self, now: Instant) -> Answer<'_> {
        self.service.as_mut().map_or(Answer::Silent, |service| service.net.answer(now))
    }

    /// The machines of the local network that have said their IPv4 address since the start.
    pub fn neighbours(&self) -> &[Neighbour] {
        self.service.as_ref().map_or(&[], |service| service.net.neighbours())
    }

    /// How it stands.
    pub fn status(&self) -> Status<'_> {
        let volume = |store| {
            let (state, info) = self.volumes.state(store);
            VolumeStatus { state, info }
        };
        let mut status = Status {
            mode: Mode::Taking,
            host_name: "",
            addresses: &[],
            sessions: 0,
            half_open: 0,
            disk: volume(Store::Disk),
            nor: volume(Store::Nor),
            counters: self.counters,
        };
        match &self.service {
            Err(trouble) => status.mode = Mode::Refusing(trouble),
            Ok(service) => {
                status.mode = match service.stopping {
                    _ if service.is_stopped() => Mode::Stopped,
                    Some(_) => Mode::Stopping,
                    None if !self.volumes.is_any_well() => Mode::Refusing(&Trouble::NoVolume),
                    None => Mode::Taking,
                };
                status.host_name = service.site.host_name();
                status.addresses = service.net.addresses();
                status.sessions = service.sessions();
                status.half_open = service.net.half_open();
                status.counters.net = service.net.counters;
            }
        }
        status
    }
}

fn site(settings: Option<&str>) -> Result<Site, Trouble> {
    let text = settings.ok_or(Trouble::NoSettings)?;
    Site::new(TakingSettings::parse(text).map_err(|problems| Trouble::settings(&problems))?)
}

impl Service {
    fn new(
        site: Site,
        machine: ([u8; 6], u64),
        lease: Option<Lease>,
        device: &mut (impl Device + ?Sized),
        now: Instant,
    ) -> Self {
        let nobody = Ipv4Addr::UNSPECIFIED.into();
        Self {
            net: Net::new(&site.settings, machine, lease, device, now),
            connections: (0..SESSIONS_MAX).map(|_| Connection::new(site.config_for(nobody))).collect(),
            envelope: Box::new(SpoolEnvelope::new()),
            site,
            turn: 0,
            committed_since: None,
            stopping: None,
        }
    }

    fn sessions(&self) -> usize {
        self.connections.iter().filter(|connection| connection.place().is_some()).count()
    }

    fn is_stopped(&self) -> bool {
        self.stopping.is_some() && self.sessions() == 0 && self.net.is_quiet()
    }

    fn poll<D: Medium, N: Medium>(
        &mut self,
        (volumes, counters): (&mut Volumes<D, N>, &mut Counters),
        device: &mut (impl Device + ?Sized),
        now: Instant,
        stamp: Stamp,
    ) -> Instant {
        let is_more_coming = self.net.receive(device, now);
        while let Some((place, client, local)) = self.net.accept() {
            self.admit(place, client, local, counters, now);
        }
        let has_more = self.go_on(volumes, counters, now, stamp);
        let waits = self.sync(volumes, counters, now, has_more);
        self.net.send(device, now);
        let is_erasing = volumes.step(stamp, !has_more);
        if is_more_coming || has_more {
            return now;
        }
        let due = [waits, is_erasing.then_some(now + ERASE_POLL), self.net.due(now), self.late_at()];
        due.into_iter().flatten().min().map_or(now + REST, |due| due.clamp(now, now + REST))
    }

    /// Gives a session to somebody who connected, or says why not.
    fn admit(
        &mut self,
        place: Place,
        client: SocketAddr,
        local: SocketAddr,
        counters: &mut Counters,
        now: Instant,
    ) {
        if !self.site.listens_at(local) {
            self.net.abort(place);
            return;
        }
        let source = Source::of(client.ip());
        let held = self.connections.iter().filter_map(Connection::client);
        let held = held.filter(|other| Source::of(other.ip()) == source).count();
        let free = self.connections.iter_mut().find(|connection| connection.place().is_none());
        match (self.site.admit(client.ip(), held), free) {
            (Ok(()), Some(connection)) => {
                connection.begin(place, client, self.site.config_for(client.ip()), now);
                counters.sessions += 1;
            }
            (Err(reply), _) => self.send_away(place, reply, counters, now),
            (Ok(()), None) => self.send_away(place, replies::CONNECTIONS_MAX, counters, now),
        }
    }

    fn send_away(&mut self, place: Place, reply: Reply<'_>, counters: &mut Counters, now: Instant) {
        counters.sessions_refused += 1;
        if let Some(socket) = self.net.socket(place) {
            // Nothing was sent before it, so there is room.
            let _ = write!(socket, "{reply}\r\n");
        }
        self.net.close(place, now);
    }

    /// Lets each session go on, as far as a step goes. Whether there was more.
    fn go_on<D: Medium, N: Medium>(
        &mut self,
        volumes: &mut Volumes<D, N>,
        counters: &mut Counters,
        now: Instant,
        stamp: Stamp,
    ) -> bool {
        let is_busy = self.site.is_busy(self.sessions());
        let is_too_late = self.stopping.is_some_and(|until| now >= until);
        let mut shared = Shared {
            site: &self.site,
            volumes,
            envelope: &mut self.envelope,
            counters,
            now,
            stamp,
            budget_bytes: STEP_BYTES,
        };
        let mut has_more = false;
        let first = self.turn;
        for n in 0..SESSIONS_MAX {
            let at = (first + n) % SESSIONS_MAX;
            let Some(connection) = self.connections.get_mut(at) else { continue };
            let Some(place) = connection.place() else { continue };
            let Some(socket) = self.net.socket(place) else { continue };
            let awaits = connection.awaits();
            let is_late = connection.pace.is_late(now, awaits, &self.site.patience, is_busy);
            if is_late {
                shared.counters.sessions_timed_out += 1;
                connection.say_goodbye(replies::TIMED_OUT, shared.volumes);
            } else if is_too_late || self.stopping.is_some() && awaits == Awaits::Command {
                connection.say_goodbye(replies::SHUTTING_DOWN, shared.volumes);
            }
            let has_budget = shared.budget_bytes > 0;
            match connection.go_on(socket, &mut shared) {
                // Not even that can be sent.
                Went::Waits if is_late || is_too_late => {
                    connection.end(shared.volumes);
                    self.net.abort(place);
                }
                Went::Waits => {}
                Went::HasMore => {
                    // The next step begins behind the one that used the budget up.
                    if !has_more {
                        self.turn = (at + usize::from(has_budget)) % SESSIONS_MAX;
                    }
                    has_more = true;
                }
                Went::Over => {
                    connection.end(shared.volumes);
                    self.net.close(place, now);
                }
                Went::Lost => {
                    connection.end(shared.volumes);
                    self.net.abort(place);
                }
            }
        }
        has_more
    }

    /// Makes durable what is committed and answers for it, unless others are about to share that. When it is due, if not now.
    fn sync<D: Medium, N: Medium>(
        &mut self,
        volumes: &mut Volumes<D, N>,
        counters: &mut Counters,
        now: Instant,
        has_more: bool,
    ) -> Option<Instant> {
        let is_waited_for = |service: &Self, store| {
            service.connections.iter().any(|connection| connection.waits_for_sync_of(store))
        };
        if !Store::ALL.iter().any(|store| is_waited_for(self, *store)) {
            self.committed_since = None;
            return None;
        }
        let until = *self.committed_since.get_or_insert(now) + WINDOW;
        if has_more && now < until {
            return Some(until);
        }
        self.committed_since = None;
        for store in Store::ALL {
            if !is_waited_for(self, store) {
                continue;
            }
            let synced = volumes.sync(store);
            counters.syncs += u64::from(synced.is_ok());
            for connection in self.connections.iter_mut().filter(|it| it.waits_for_sync_of(store)) {
                connection.synced(synced, counters, now);
                if let Some(socket) = connection.place().and_then(|place| self.net.socket(place)) {
                    // If its client is gone that shows in the next step.
                    let _ = connection.flush(socket);
                }
            }
        }
        // Whoever was answered may have sent more already.
        Some(now)
    }

    /// When the first client is late.
    fn late_at(&self) -> Option<Instant> {
        let is_busy = self.site.is_busy(self.sessions());
        let waits = self.connections.iter().filter(|connection| connection.place().is_some());
        waits
            .filter_map(|connection| {
                connection.pace.late_at(connection.awaits(), &self.site.patience, is_busy)
            })
            .min()
    }
}
