//! The network: addresses, sockets, and who of them listens.
//!
//! In smoltcp a socket is one connection and there is no backlog: a SYN that finds no listening socket is answered with a
//! reset. So [`SOCKETS`] sockets listen, one more than there can be sessions, and who reaches the last one hears that there
//! are too many. A SYN alone occupies a socket. It is given back after [`HALF_OPEN_MAX`], and at once when no other
//! listens: then the oldest of the source that holds most goes, without a word, so that a flood pushes out itself and
//! whoever is about to connect has as long as its strength allows. After each packet that changes something it is looked
//! whether somebody listens, so that a burst does not find the door shut.

use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;

use penstock_settings::{BoxNetwork, InterfaceAddress, TakingSettings};
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, SocketHandle, SocketSet};
use smoltcp::phy::Device;
use smoltcp::socket::{dhcpv4, tcp};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr, Ipv4Address, Ipv4Cidr, Ipv6Address};

use crate::neighbours::{Listening, Neighbour, Neighbours};
use crate::probe::{Answer, Prober, Question, Unasked};
use crate::site::Source;
use crate::{SESSIONS_MAX, SOCKETS};

/// What a socket holds of what came and was not used yet, and of what was not sent or acknowledged yet, in bytes.
pub(crate) const RX_BYTES: usize = 16 * 1024;
pub(crate) const TX_BYTES: usize = 4 * 1024;
/// Ports that are listened on at most.
const PORTS_MAX: usize = 4;
/// How long a client may take to answer our SYN. Its first answer may be lost, and the second; not the third.
const HALF_OPEN_MAX: Duration = Duration::from_secs(5);
/// The same for who stands in the door alone, so that nobody else can come in.
const HALF_OPEN_ALONE_MAX: Duration = Duration::from_secs(2);
/// How long a socket may take to close.
const CLOSING_MAX: Duration = Duration::from_secs(5);
/// When a peer that says nothing is asked whether it is there, and when it is given up.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const DEAD_AFTER: Duration = Duration::from_secs(65);
/// Packets that are taken in before some are sent: each may need an answer, and each answer a place in the device.
const INGRESS_PACKETS: usize = 8;
/// Rounds of sending, one packet a socket each.
const EGRESS_ROUNDS: usize = 4;

/// What a socket is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It listens, or somebody is about to connect, since then.
    Open { half_open_since: Option<Instant> },
    /// Somebody is connected, and has or gets a session.
    Connected,
    /// It is being closed.
    Closing { until: Instant },
    /// It was closed by force, which the peer is yet to be told.
    Aborted,
}

#[derive(Debug)]
struct Slot {
    handle: SocketHandle,
    port: u16,
    phase: Phase,
}

/// A socket by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(usize);

/// Figures of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetCounters {
    /// Half-open connections that made room for others.
    pub half_open_displaced: u64,
    /// Half-open connections that came to nothing in time.
    pub half_open_timed_out: u64,
}

pub(crate) struct Net {
    interface: Interface,
    sockets: SocketSet<'static>,
    slots: Vec<Slot>,
    ports: heapless::Vec<u16, PORTS_MAX>,
    dhcp: Option<SocketHandle>,
    is_open: bool,
    prober: Prober,
    neighbours: Neighbours,
    pub(crate) counters: NetCounters,
}

/// What somebody who asks for an address was given last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address with its network.
    pub address: Ipv4Cidr,
    /// The router, if there is one.
    pub router: Option<Ipv4Address>,
}

impl Net {
    pub(crate) fn new(
        settings: &TakingSettings,
        (mac, seed): ([u8; 6], u64),
        lease: Option<Lease>,
        device: &mut (impl Device + ?Sized),
        now: Instant,
    ) -> Self {
        let network = &settings.network;
        let mut config = Config::new(EthernetAddress(mac).into());
        config.random_seed = seed;
        config.slaac = network.router_advertisements;
        let mut interface = Interface::new(config, device, now);
        configure(&mut interface, network, mac);
        let mut sockets = SocketSet::new(Vec::with_capacity(SOCKETS + 3));
        let slots = (0..SOCKETS).map(|_| Slot::new(&mut sockets)).collect();
        let prober = Prober::new(&mut sockets, seed);
        let dhcp = network.dhcp.then(|| sockets.add(dhcpv4::Socket::new()));
        if let Some(lease) =
            lease.filter(|lease| network.dhcp && IpCidr::from(lease.address).address().is_unicast())
        {
            take_lease(&mut interface, lease);
        }
        let mut ports = heapless::Vec::new();
        for port in settings.listen.addresses.iter().map(SocketAddr::port) {
            if !ports.contains(&port) {
                // Beyond so many a port is left out.
                let _ = ports.push(port);
            }
        }
        Self {
            interface,
            sockets,
            slots,
            ports,
            dhcp,
            is_open: true,
            prober,
            neighbours: Neighbours::default(),
            counters: NetCounters::default(),
        }
    }

    /// The addresses of the box.
    pub(crate) fn addresses(&self) -> &[IpCidr] {
        self.interface.ip_addrs()
    }

    /// Asks the network something.
    pub(crate) fn ask(&mut self, question: Question, now: Instant) -> Result<(), Unasked> {
        self.prober.ask(&mut self.interface, &mut self.sockets, question, now)
    }

    /// How what was asked last stands.
    pub(crate) fn answer(&mut self, now: Instant) -> Answer<'_> {
        self.prober.answer(&mut self.sockets, now)
    }

    /// Who of the local network has said its address.
    pub(crate) fn neighbours(&self) -> &[Neighbour] {
        self.neighbours.all()
    }

    /// How many connections are about to begin.
    pub(crate) fn half_open(&self) -> usize {
        let half_open = |slot: &&Slot| matches!(slot.phase, Phase::Open { half_open_since: Some(_) });
        self.slots.iter().filter(half_open).count()
    }

    /// Takes packets in, as many as are answered before the next. Whether there may be more.
    pub(crate) fn receive(&mut self, device: &mut (impl Device + ?Sized), now: Instant) -> bool {
        self.interface.poll_maintenance(now);
        self.give_back(now);
        for _ in 0..INGRESS_PACKETS {
            let mut listening = Listening { device, neighbours: &mut self.neighbours };
            match self.interface.poll_ingress_single(now, &mut listening, &mut self.sockets) {
                PollIngressSingleResult::None => {
                    self.ask_for_address();
                    return false;
                }
                PollIngressSingleResult::PacketProcessed => {}
                PollIngressSingleResult::SocketStateChanged => self.keep_listening(now),
            }
        }
        true
    }

    /// Sends what waits.
    pub(crate) fn send(&mut self, device: &mut (impl Device + ?Sized), now: Instant) {
        for _ in 0..EGRESS_ROUNDS {
            if self.interface.poll_egress(now, device, &mut self.sockets) == smoltcp::iface::PollResult::None
            {
                return;
            }
        }
    }

    /// When something is to be sent again, or given up.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Instant> {
        let closing = self.slots.iter().filter_map(|slot| match slot.phase {
            Phase::Open { half_open_since } => half_open_since.map(|since| {
                let alone_until = since + HALF_OPEN_ALONE_MAX;
                if now < alone_until { alone_until } else { since + HALF_OPEN_MAX }
            }),
            Phase::Closing { until } => Some(until),
            Phase::Aborted => Some(now),
            Phase::Connected => None,
        });
        closing.chain(self.interface.poll_at(now, &self.sockets)).min()
    }

    /// The next that is connected and has no session yet.
    pub(crate) fn accept(&mut self) -> Option<(Place, SocketAddr, SocketAddr)> {
        for (at, slot) in self.slots.iter_mut().enumerate() {
            let socket = self.sockets.get::<tcp::Socket<'_>>(slot.handle);
            let is_there = matches!(socket.state(), tcp::State::Established | tcp::State::CloseWait);
            if matches!(slot.phase, Phase::Open { .. }) && is_there {
                let (Some(remote), Some(local)) = (socket.remote_endpoint(), socket.local_endpoint()) else {
                    continue;
                };
                slot.phase = Phase::Connected;
                let address = |ip: IpAddress, port| SocketAddr::new(ip.into(), port);
                return Some((Place(at), address(remote.addr, remote.port), address(local.addr, local.port)));
            }
        }
        None
    }

    pub(crate) fn socket(&mut self, place: Place) -> Option<&mut tcp::Socket<'static>> {
        let slot = self.slots.get(place.0)?;
        Some(self.sockets.get_mut(slot.handle))
    }

    /// Closes a connection once all that was said has been sent.
    pub(crate) fn close(&mut self, place: Place, now: Instant) {
        let Some(slot) = self.slots.get_mut(place.0) else { return };
        self.sockets.get_mut::<tcp::Socket<'_>>(slot.handle).close();
        slot.phase = Phase::Closing { until: now + CLOSING_MAX };
    }

    /// Cuts a connection.
    pub(crate) fn abort(&mut self, place: Place) {
        let Some(slot) = self.slots.get_mut(place.0) else { return };
        slot.abort(&mut self.sockets);
    }

    /// Lets nobody in any more.
    pub(crate) fn shut(&mut self) {
        self.is_open = false;
        for slot in &mut self.slots {
            if matches!(slot.phase, Phase::Open { .. }) {
                slot.abort(&mut self.sockets);
            }
        }
    }

    /// Whether every connection is over.
    pub(crate) fn is_quiet(&self) -> bool {
        self.slots.iter().all(|slot| matches!(slot.phase, Phase::Open { half_open_since: None }))
    }

    /// Has sockets listen again that are done with.
    fn give_back(&mut self, now: Instant) {
        for slot in &mut self.slots {
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(slot.handle);
            match slot.phase {
                Phase::Closing { until } => {
                    // What still comes is of no use, but its end is.
                    let _ = socket.recv(|bytes| (bytes.len(), ()));
                    if !socket.is_open() {
                        slot.phase = Phase::Open { half_open_since: None };
                    } else if now >= until {
                        slot.abort(&mut self.sockets);
                    }
                }
                Phase::Aborted => slot.phase = Phase::Open { half_open_since: None },
                Phase::Open { .. } | Phase::Connected => {}
            }
        }
        self.keep_listening(now);
    }

    /// Sees to it that somebody listens on each port.
    fn keep_listening(&mut self, now: Instant) {
        if !self.is_open {
            return;
        }
        for at in 0..self.slots.len() {
            let Some(slot) = self.slots.get_mut(at) else { continue };
            let Phase::Open { half_open_since } = &mut slot.phase else { continue };
            match self.sockets.get_mut::<tcp::Socket<'_>>(slot.handle).state() {
                tcp::State::SynReceived => {
                    let since = *half_open_since.get_or_insert(now);
                    if now >= since + HALF_OPEN_MAX {
                        self.counters.half_open_timed_out += 1;
                        self.listen(at);
                    }
                }
                tcp::State::Listen => *half_open_since = None,
                // Somebody who is to be accepted.
                tcp::State::Established | tcp::State::CloseWait => {}
                _ => self.listen(at),
            }
        }
        for n in 0..self.ports.len() {
            let Some(port) = self.ports.get(n).copied() else { continue };
            if self.listeners(port) == 0
                && let Some(at) = self.to_displace(now)
            {
                let is_half_open =
                    self.slots.get(at).is_some_and(|slot| matches!(slot.phase, Phase::Open { .. }));
                self.counters.half_open_displaced += u64::from(is_half_open);
                self.listen(at);
            }
        }
    }

    fn listeners(&self, port: u16) -> usize {
        let listens = |slot: &&Slot| {
            slot.port == port && self.sockets.get::<tcp::Socket<'_>>(slot.handle).is_listening()
        };
        self.slots.iter().filter(listens).count()
    }

    /// Has a socket listen on the port that has the fewest listeners, whatever it did before.
    fn listen(&mut self, at: usize) {
        let port = self.ports.iter().copied().min_by_key(|port| self.listeners(*port)).unwrap_or(0);
        let Some(slot) = self.slots.get_mut(at) else { return };
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(slot.handle);
        // Who was there is not told: it may not be who it says.
        socket.abort();
        slot.port = port;
        slot.phase = Phase::Open { half_open_since: None };
        // The socket is closed, and no port is 0 in valid settings.
        let _ = socket.listen(port);
    }

    /// The socket that makes room: one of which only the peer's end is missing, else a half-open one, the oldest of the source
    /// that has most.
    fn to_displace(&self, now: Instant) -> Option<usize> {
        let state = |slot: &Slot| self.sockets.get::<tcp::Socket<'_>>(slot.handle).state();
        let is_heard =
            |slot: &Slot| matches!(slot.phase, Phase::Closing { .. }) && state(slot) == tcp::State::FinWait2;
        if let Some(at) = self.slots.iter().position(is_heard) {
            return Some(at);
        }
        let half_open = || {
            self.slots.iter().enumerate().filter_map(|(at, slot)| {
                let Phase::Open { half_open_since: Some(since) } = slot.phase else { return None };
                let socket = self.sockets.get::<tcp::Socket<'_>>(slot.handle);
                let remote = socket.remote_endpoint().filter(|_| state(slot) == tcp::State::SynReceived)?;
                Some((at, since, Source::of(remote.addr.into())))
            })
        };
        let held = |source: Source| half_open().filter(|(_, _, other)| *other == source).count();
        let first = half_open().max_by_key(|(_, since, source)| (held(*source), core::cmp::Reverse(*since)));
        let is_alone = half_open().count() == 1;
        let may_go = |since: Instant| !is_alone || now >= since + HALF_OPEN_ALONE_MAX;
        first.filter(|(_, since, _)| may_go(*since)).map(|(at, ..)| at)
    }

    /// Goes by what a DHCP server says. What it gave is kept when it is silent later: it often lives on the very server that
    /// is down.
    fn ask_for_address(&mut self) {
        let Some(dhcp) = self.dhcp else { return };
        if let Some(dhcpv4::Event::Configured(given)) =
            self.sockets.get_mut::<dhcpv4::Socket<'_>>(dhcp).poll()
        {
            let lease = Lease { address: given.address, router: given.router };
            take_lease(&mut self.interface, lease);
        }
    }
}

impl Slot {
    fn new(sockets: &mut SocketSet<'static>) -> Self {
        let buffer = |bytes: usize| tcp::SocketBuffer::new(vec![0; bytes]);
        let mut socket = tcp::Socket::new(buffer(RX_BYTES), buffer(TX_BYTES));
        socket.set_timeout(Some(DEAD_AFTER));
        socket.set_keep_alive(Some(KEEP_ALIVE));
        // Replies are short, and the client waits for them.
        socket.set_nagle_enabled(false);
        Self { handle: sockets.add(socket), port: 0, phase: Phase::Open { half_open_since: None } }
    }

    fn abort(&mut self, sockets: &mut SocketSet<'static>) {
        sockets.get_mut::<tcp::Socket<'_>>(self.handle).abort();
        self.phase = Phase::Aborted;
    }
}

const _: () = assert!(SOCKETS == SESSIONS_MAX + 1);

/// Gives the interface what is static: the addresses of the settings, one that neighbours are found with, and the routers.
fn configure(interface: &mut Interface, network: &BoxNetwork, mac: [u8; 6]) {
    let is_v6 = network.router_advertisements || network.addresses.iter().any(|ours| ours.address.is_ipv6());
    interface.update_ip_addrs(|addresses| {
        let given = network
            .addresses
            .iter()
            .map(|InterfaceAddress { address, prefix_bits }| IpCidr::new((*address).into(), *prefix_bits));
        let link_local = is_v6.then(|| IpCidr::new(link_local(mac).into(), 64));
        for address in given.chain(link_local).filter(|cidr| cidr.address().is_unicast()) {
            // There is room for as many as settings may have; behind all of them the last has none.
            let _ = addresses.push(address);
        }
    });
    for gateway in &network.gateways {
        // There is room for one of each family.
        let _ = match gateway {
            core::net::IpAddr::V4(v4) => interface.routes_mut().add_default_ipv4_route(*v4).map(drop),
            core::net::IpAddr::V6(v6) => interface.routes_mut().add_default_ipv6_route(*v6).map(drop),
        };
    }
}

/// The address that a MAC makes (RFC 4291 appendix A).
fn link_local(mac: [u8; 6]) -> Ipv6Address {
    let [a, b, c, d, e, f] = mac;
    let word = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    Ipv6Address::new(0xFE80, 0, 0, 0, word(a ^ 2, b), word(c, 0xFF), word(0xFE, d), word(e, f))
}

fn take_lease(interface: &mut Interface, lease: Lease) {
    interface.update_ip_addrs(|addresses| {
        addresses.retain(|address| !matches!(address, IpCidr::Ipv4(_)));
        // There is room: the one before was taken out, and settings with DHCP have no other.
        let _ = addresses.push(lease.address.into());
    });
    let routes = interface.routes_mut();
    match lease.router {
        Some(router) => drop(routes.add_default_ipv4_route(router)),
        None => drop(routes.remove_default_ipv4_route()),
    }
}
