//! An IPv4 address from a DHCP server, for a site that wants it so.
//!
//! The server often lives on the very machine that this box stands in for. So an address outlives its server: when a lease
//! runs out and nobody answers, the address stays, which is told, and servers are asked on. It goes when a server says that
//! it must, or gives another.
//!
//! Whether a neighbour has the address is for the server to know; it is not tried out.

mod lease;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use penstock_settings::{InterfaceAddress, LentAddress};
use rtnetlink::Handle;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::log::say;
use super::network::{self, Interface};
use super::{Error, entropy, settings, told};
use lease::{Answer, Client, Lease, PACKET_BYTES_MAX, Question};

const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;
/// How long servers have for their offers at first; each time it is twice as long (RFC 2131 §4.1).
const OFFER_WAIT: Duration = Duration::from_secs(4);
const OFFER_WAIT_MAX: Duration = Duration::from_secs(64);
/// How often a server is asked for what it has offered.
const TAKE_TRIES: u32 = 4;
/// How long until a lease that nobody extends is asked about again, at least (RFC 2131 §4.4.5).
const EXTEND_WAIT_MIN: Duration = Duration::from_secs(60);
/// How long an answer may take once somebody is asked.
const ANSWER_WAIT: Duration = Duration::from_secs(4);

/// Who looks after the address.
pub(super) struct Dhcp {
    interface: Interface,
    handle: Handle,
    mac: [u8; 6],
    /// The settings name no servers that resolve names, so that those of the lease are used.
    names_resolvers: bool,
    held: Option<Lease>,
}

/// How the attempt to extend a lease ended.
enum Extended {
    Given(Lease),
    Refused,
    Over,
}

impl Dhcp {
    pub(super) fn new(interface: Interface, handle: Handle, mac: [u8; 6], names_resolvers: bool) -> Self {
        Self { interface, handle, mac, names_resolvers, held: None }
    }

    /// Gets an address and keeps it for good.
    pub(super) async fn keep(mut self) {
        let mut wait = OFFER_WAIT;
        loop {
            // The link may not be there yet, or be taken away.
            match self.run().await {
                Ok(never) => match never {},
                Err(error) => {
                    say(&format!("{error}; tried again in {} s", wait.as_secs()));
                    sleep(wait).await;
                    wait = (wait * 2).min(OFFER_WAIT_MAX);
                }
            }
        }
    }

    async fn run(&mut self) -> Result<std::convert::Infallible, Error> {
        let socket = self.bind().map_err(Error::io("speak with DHCP servers"))?;
        loop {
            let mut lease = self.acquire(&socket).await?;
            loop {
                self.take_over(lease.clone()).await;
                match self.extend(&socket, &lease).await? {
                    Extended::Given(extended) => lease = extended,
                    Extended::Refused => {
                        say(&format!(
                            "PS-I025: the DHCP server takes {} back; another address is asked for",
                            lease.address
                        ));
                        self.let_go().await;
                        break;
                    }
                    Extended::Over => {
                        say(&format!(
                            "PS-I024: no DHCP server extends {}, whose time is over; it is kept until one answers",
                            lease.address
                        ));
                        break;
                    }
                }
            }
        }
    }

    fn bind(&self) -> io::Result<UdpSocket> {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, CLIENT_PORT))?;
        socket.set_broadcast(true)?;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        // So that it works without an address, and with no other interface.
        socket.bind_device(Some(self.interface.name.as_bytes()))?;
        Ok(socket)
    }

    fn client(&self) -> Result<Client, Error> {
        Ok(Client { mac: self.mac, transaction: u32::from_ne_bytes(entropy::random()?) })
    }

    /// Asks until a server lends something.
    async fn acquire(&self, socket: &UdpSocket) -> Result<Lease, Error> {
        let mut wait = OFFER_WAIT;
        let mut told_of_silence = false;
        loop {
            let client = self.client()?;
            let until = Instant::now() + wait;
            self.send(socket, &client.packet(Question::Discover), Ipv4Addr::BROADCAST).await;
            while let Some(answer) = receive(socket, &client, until).await {
                if let Answer::Offer(offer) = answer
                    && let Some(lease) = self.take(socket, &client, &offer).await
                {
                    return Ok(lease);
                }
            }
            if !told_of_silence && wait == OFFER_WAIT_MAX {
                told_of_silence = true;
                say(
                    "PS-I023: no DHCP server answers; the box goes on asking. A static address does not need one",
                );
            }
            sleep_until(until).await;
            wait = (wait * 2).min(OFFER_WAIT_MAX);
        }
    }

    /// Takes what was offered.
    async fn take(&self, socket: &UdpSocket, client: &Client, offer: &Lease) -> Option<Lease> {
        for _ in 0..TAKE_TRIES {
            self.send(socket, &client.packet(Question::Take(offer)), Ipv4Addr::BROADCAST).await;
            let until = Instant::now() + ANSWER_WAIT;
            while let Some(answer) = receive(socket, client, until).await {
                match answer {
                    Answer::Given(lease) => return Some(lease),
                    Answer::Refused => return None,
                    // Another server, too late.
                    Answer::Offer(_) => {}
                }
            }
        }
        None
    }

    /// Waits until a lease is to be extended, and asks: first its server, then any.
    async fn extend(&self, socket: &UdpSocket, lease: &Lease) -> Result<Extended, Error> {
        let since = Instant::now();
        let (rebind, over) = (since + lease.rebind, since + lease.over);
        sleep_until(since + lease.renew).await;
        let client = self.client()?;
        while Instant::now() < over {
            let now = Instant::now();
            let (to, phase_ends) =
                if now < rebind { (lease.server, rebind) } else { (Ipv4Addr::BROADCAST, over) };
            self.send(socket, &client.packet(Question::Extend(lease)), to).await;
            while let Some(answer) = receive(socket, &client, (now + ANSWER_WAIT).min(over)).await {
                match answer {
                    Answer::Given(lease) => return Ok(Extended::Given(lease)),
                    Answer::Refused => return Ok(Extended::Refused),
                    Answer::Offer(_) => {}
                }
            }
            sleep_until(next_try(now, phase_ends)).await;
        }
        Ok(Extended::Over)
    }

    /// Sends a packet. What does not go out is asked again like what is not answered.
    async fn send(&self, socket: &UdpSocket, packet: &[u8], to: Ipv4Addr) {
        let _ = socket.send_to(packet, SocketAddrV4::new(to, SERVER_PORT)).await;
    }

    /// Uses a lease, in place of the one before it.
    async fn take_over(&mut self, lease: Lease) {
        let same = |held: &Lease| (held.address, held.prefix_bits) == (lease.address, lease.prefix_bits);
        if !self.held.as_ref().is_some_and(same) {
            self.let_go().await;
            let ours = InterfaceAddress { address: lease.address.into(), prefix_bits: lease.prefix_bits };
            told(network::add_address(&self.handle, &self.interface, &ours).await);
            say(&format!("{} lends it for {} s", lease.server, lease.over.as_secs()));
            let Lease { address, prefix_bits, router, .. } = lease;
            told(settings::note_lent(LentAddress { address, prefix_bits, router }));
        }
        let before = self.held.as_ref();
        if let Some(router) =
            lease.router.filter(|router| before.is_none_or(|held| held.router != Some(*router)))
        {
            told(network::add_router(&self.handle, router.into()).await);
        }
        if self.names_resolvers && before.is_none_or(|held| held.resolvers != lease.resolvers) {
            let servers: Vec<IpAddr> = lease.resolvers.iter().map(|server| IpAddr::V4(*server)).collect();
            told(network::name_resolvers(&servers));
        }
        self.held = Some(lease);
    }

    /// Gives the address up. With it go the routes that need it.
    async fn let_go(&mut self) {
        if let Some(lease) = self.held.take() {
            told(
                network::remove_address(&self.handle, &self.interface, lease.address, lease.prefix_bits)
                    .await,
            );
        }
    }
}

/// When to ask again: after half of the time that is left, but not at once.
fn next_try(now: Instant, phase_ends: Instant) -> Instant {
    let half = phase_ends.saturating_duration_since(now) / 2;
    (now + half.max(EXTEND_WAIT_MIN)).min(phase_ends.max(now + ANSWER_WAIT))
}

/// The next answer that is for us, if there is one in time.
async fn receive(socket: &UdpSocket, client: &Client, until: Instant) -> Option<Answer> {
    let mut packet = [0; PACKET_BYTES_MAX];
    loop {
        match timeout_at(until, socket.recv(&mut packet)).await {
            Ok(Ok(len)) => {
                if let Some(answer) = client.answer(&packet[..len]) {
                    return Some(answer);
                }
            }
            // The link is away, say. A socket that fails at once would make a busy loop.
            Ok(Err(_)) => sleep(Duration::from_secs(1)).await,
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_asked_about_more_and_more_often_but_not_every_second() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(next_try(now, after(3600)), after(1800));
        assert_eq!(next_try(now, after(100)), after(60));
        assert_eq!(next_try(now, after(30)), after(30));
        assert_eq!(next_try(now, now), after(4), "and never at once");
    }
}
