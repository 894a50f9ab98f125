//! Who of the local network has said its address.
//!
//! smoltcp keeps its neighbours to itself, so ARP is listened to on its way in. What is here decides nothing: it is for people.

use core::net::Ipv4Addr;

use heapless::Vec;
use smoltcp::phy::{Device, DeviceCapabilities, RxToken};
use smoltcp::time::Instant;
use smoltcp::wire::{ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol};

/// So many are remembered: of more, those that said it last.
const NEIGHBOURS_MAX: usize = 32;

/// A machine of the local network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its address.
    pub address: Ipv4Addr,
    /// That of its interface.
    pub mac: [u8; 6],
    /// When it said so last.
    pub heard: Instant,
}

/// Those that were heard.
#[derive(Debug, Default)]
pub(crate) struct Neighbours(Vec<Neighbour, NEIGHBOURS_MAX>);

impl Neighbours {
    pub(crate) fn all(&self) -> &[Neighbour] {
        &self.0
    }

    /// Takes note of who sent a frame, if that says so.
    fn hear(&mut self, frame: &[u8], now: Instant) {
        let Ok(frame) = EthernetFrame::new_checked(frame) else { return };
        if frame.ethertype() != EthernetProtocol::Arp {
            return;
        }
        let arp = ArpPacket::new_checked(frame.payload()).and_then(|packet| ArpRepr::parse(&packet));
        let Ok(ArpRepr::EthernetIpv4 { source_hardware_addr, source_protocol_addr, .. }) = arp else {
            return;
        };
        let EthernetAddress(mac) = source_hardware_addr;
        // Who asks whether an address is free has none yet.
        if source_protocol_addr.is_unspecified() || !source_hardware_addr.is_unicast() {
            return;
        }
        let neighbour = Neighbour { address: source_protocol_addr, mac, heard: now };
        let known = self.0.iter_mut().find(|known| known.address == neighbour.address);
        if let Some(known) = known {
            *known = neighbour;
        } else if let Err(neighbour) = self.0.push(neighbour)
            && let Some(oldest) = self.0.iter_mut().min_by_key(|known| known.heard)
        {
            *oldest = neighbour;
        }
    }
}

/// A device whose frames are listened to as they come in.
pub(crate) struct Listening<'l, D: ?Sized> {
    pub(crate) device: &'l mut D,
    pub(crate) neighbours: &'l mut Neighbours,
}

impl<D: Device + ?Sized> Device for Listening<'_, D> {
    type RxToken<'a>
        = Listened<'a, D::RxToken<'a>>
    where
        Self: 'a;
    type TxToken<'a>
        = D::TxToken<'a>
    where
        Self: 'a;

    fn receive(&mut self, now: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let (token, answer) = self.device.receive(now)?;
        Some((Listened { token, neighbours: self.neighbours, now }, answer))
    }

    fn transmit(&mut self, now: Instant) -> Option<Self::TxToken<'_>> {
        self.device.transmit(now)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.device.capabilities()
    }
}

pub(crate) struct Listened<'a, T> {
    token: T,
    neighbours: &'a mut Neighbours,
    now: Instant,
}

impl<T: RxToken> RxToken for Listened<'_, T> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let Self { token, neighbours, now } = self;
        token.consume(|frame| {
            neighbours.hear(frame, now);
            f(frame)
        })
    }

    fn meta(&self) -> smoltcp::phy::PacketMeta {
        self.token.meta()
    }
}
