//! Addresses that a setting can hold: networks, what the box itself is, and where a next hop is.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::net::{IpAddr, SocketAddr};

use crate::names::HostName;
use crate::value::{Refusal, Text};

/// The port of SMTP between servers.
const SMTP_PORT: u16 = 25;
/// The port of NTP.
const NTP_PORT: u16 = 123;
/// The port of DNS.
const DNS_PORT: u16 = 53;

/// How many bits an address of this family has.
const fn bits_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// An address and, where a slash follows, how many of its leading bits count.
fn address_and_bits(text: &str) -> Result<(IpAddr, Option<u8>), Refusal> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| Refusal::Bad)?;
    let fits = |bits: &str| bits.parse().ok().filter(|bits| *bits <= bits_of(address)).ok_or(Refusal::Bad);
    Ok((address, bits.map(fits).transpose()?))
}

/// A network: an address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether `address` is in it. An IPv4 address that reaches us through an IPv6 socket (`::ffff:192.0.2.1`) counts
    /// as the IPv4 address that it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(other)) => {
                let differ = u32::from(ours) ^ u32::from(other);
                differ.checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(other)) => {
                let differ = u128::from(ours) ^ u128::from(other);
                differ.checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.bits)
    }
}

impl Text for Network {
    type Limits = ();
    const EXAMPLE: &'static str = "\"192.0.2.0/24\" or \"2001:db8::1\"";

    fn allowed((): &()) -> String {
        "an IP address or a network".into()
    }

    fn from_text(text: &str, (): &()) -> Result<Self, Refusal> {
        let (address, bits) = address_and_bits(text)?;
        let bits = bits.unwrap_or(bits_of(address));
        if bits == 0 {
            return Err(Refusal::Because(
                "a network of all addresses leaves nobody out, and there would be no use in a list",
            ));
        }
        Ok(Self { address, bits })
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

/// An address of the box with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// How many leading bits it shares with its network.
    pub prefix_bits: u8,
}

impl InterfaceAddress {
    /// The network in which neighbours are reached directly.
    pub fn network(&self) -> Network {
        Network { address: self.address, bits: self.prefix_bits }
    }
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.prefix_bits)
    }
}

impl Text for InterfaceAddress {
    type Limits = ();
    const EXAMPLE: &'static str = "\"192.0.2.25/24\" or \"2001:db8::25/64\"";

    fn allowed((): &()) -> String {
        "an IP address with the length of its prefix".into()
    }

    fn from_text(text: &str, (): &()) -> Result<Self, Refusal> {
        let (address, Some(prefix_bits)) = address_and_bits(text)? else {
            return Err(Refusal::Because("without /24 or the like it is not known who is a neighbour"));
        };
        if prefix_bits == 0 {
            return Err(Refusal::Bad);
        }
        if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
            return Err(Refusal::Because("no machine can be reached at that address"));
        }
        Ok(Self { address, prefix_bits })
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl Text for IpAddr {
    type Limits = ();
    const EXAMPLE: &'static str = "\"192.0.2.1\" or \"2001:db8::1\"";

    fn allowed((): &()) -> String {
        "an IP address".into()
    }

    fn from_text(text: &str, (): &()) -> Result<Self, Refusal> {
        text.parse().map_err(|_| Refusal::Bad)
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

/// Where a time server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeServer(pub SocketAddr);

impl fmt::Display for TimeServer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

impl Text for TimeServer {
    type Limits = ();
    const EXAMPLE: &'static str = "\"192.0.2.1\" or \"[2001:db8::1]:123\"";

    fn allowed((): &()) -> String {
        format!("an IP address, with a port unless it is {NTP_PORT}")
    }

    fn from_text(text: &str, (): &()) -> Result<Self, Refusal> {
        server_address(text, NTP_PORT).map(Self)
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

/// Where a name server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameServer(pub SocketAddr);

impl fmt::Display for NameServer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

impl Text for NameServer {
    type Limits = ();
    const EXAMPLE: &'static str = "\"192.0.2.1\" or \"[2001:db8::1]:5353\"";

    fn allowed((): &()) -> String {
        format!("an IP address, with a port unless it is {DNS_PORT}")
    }

    fn from_text(text: &str, (): &()) -> Result<Self, Refusal> {
        server_address(text, DNS_PORT).map(Self)
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

/// The address of a server, with its port unless that is the usual one.
fn server_address(text: &str, usual_port: u16) -> Result<SocketAddr, Refusal> {
    let address = match text.parse::<SocketAddr>() {
        Ok(address) => address,
        Err(_) => SocketAddr::new(bare_ip(text).ok_or(Refusal::Bad)?, usual_port),
    };
    if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
        return Err(Refusal::Bad);
    }
    Ok(address)
}

/// An IP address, with or without brackets.
fn bare_ip(text: &str) -> Option<IpAddr> {
    text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text).parse().ok()
}

/// Where a next hop is: host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HopAddress {
    /// The host.
    pub host: HopHost,
    /// The TCP port, 25 if the file names none.
    pub port: u16,
}

/// A host by address or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HopHost {
    /// By address: works also while the site's DNS is down together with its server.
    Ip(IpAddr),
    /// By name, resolved at each connection.
    Name(HostName),
}

impl fmt::Display for HopAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            HopHost::Ip(ip) => write!(out, "{}", SocketAddr::new(*ip, self.port)),
            HopHost::Name(name) => write!(out, "{name}:{}", self.port),
        }
    }
}

impl Text for HopAddress {
    type Limits = ();
    const EXAMPLE: &'static str = "\"192.0.2.25\", \"[2001:db8::25]:2525\" or \"exchange.example.org\"";

    fn allowed((): &()) -> String {
        format!("an IP address or a host name, with a port unless it is {SMTP_PORT}")
    }

    fn from_text(text: &str, (): &()) -> Result<Self, Refusal> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() == 0 {
                Err(Refusal::Bad)
            } else {
                Ok(Self { host: HopHost::Ip(address.ip()), port: address.port() })
            };
        }
        if let Some(ip) = bare_ip(text) {
            return Ok(Self { host: HopHost::Ip(ip), port: SMTP_PORT });
        }
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, port.parse::<u16>().ok().filter(|p| *p != 0).ok_or(Refusal::Bad)?),
            None => (text, SMTP_PORT),
        };
        Ok(Self { host: HopHost::Name(HostName::new(name)?), port })
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

/// The server that takes reports to senders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Smarthost {
    /// There is none.
    None,
    /// Where it is.
    At(HopAddress),
}

impl Smarthost {
    /// Where it is, if there is one.
    pub const fn address(&self) -> Option<&HopAddress> {
        match self {
            Self::None => None,
            Self::At(address) => Some(address),
        }
    }
}

impl Text for Smarthost {
    type Limits = ();
    const EXAMPLE: &'static str = "\"192.0.2.26\" or \"smarthost.example.org:587\"";

    fn allowed((): &()) -> String {
        format!("empty for none, or {}", HopAddress::allowed(&()))
    }

    fn from_text(text: &str, (): &()) -> Result<Self, Refusal> {
        if text.is_empty() { Ok(Self::None) } else { HopAddress::from_text(text, &()).map(Self::At) }
    }

    fn to_text(&self) -> String {
        self.address().map_or(String::new(), HopAddress::to_text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::from_text(text, &()).ok().unwrap()
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_neighbours() {
        let lan = network("192.0.2.0/24");
        assert!(lan.contains("192.0.2.255".parse().unwrap()));
        assert!(lan.contains("::ffff:192.0.2.7".parse().unwrap()), "an IPv4 client on an IPv6 socket");
        assert!(!lan.contains("192.0.3.0".parse().unwrap()));
        assert!(!lan.contains("2001:db8::1".parse().unwrap()));
        let one = network("2001:db8::1");
        assert!(one.contains("2001:db8::1".parse().unwrap()));
        assert!(!one.contains("2001:db8::2".parse().unwrap()));
    }

    #[test]
    fn a_network_that_says_nothing_is_refused() {
        for text in ["", "0.0.0.0/0", "::/0", "192.0.2.0/33", "192.0.2.0/", "192.0.2/24", "example.org"] {
            assert!(Network::from_text(text, &()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_address_of_the_box_says_who_its_neighbours_are() {
        let ours = InterfaceAddress::from_text("192.0.2.25/24", &()).ok().unwrap();
        assert!(ours.network().contains("192.0.2.1".parse().unwrap()));
        assert!(!ours.network().contains("192.0.3.1".parse().unwrap()));
        assert_eq!(ours.to_text(), "192.0.2.25/24");
        for text in [
            "192.0.2.25",
            "192.0.2.25/",
            "192.0.2.25/0",
            "192.0.2.25/33",
            "127.0.0.1/8",
            "::/64",
            "ff02::1/64",
        ] {
            assert!(InterfaceAddress::from_text(text, &()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_time_server_is_an_address_with_or_without_port() {
        for (text, means) in [
            ("192.0.2.1", "192.0.2.1:123"),
            ("192.0.2.1:1123", "192.0.2.1:1123"),
            ("2001:db8::1", "[2001:db8::1]:123"),
            ("[2001:db8::1]", "[2001:db8::1]:123"),
        ] {
            assert_eq!(TimeServer::from_text(text, &()).ok().unwrap().to_string(), means);
        }
        for text in ["", "0.0.0.0", "192.0.2.1:0", "ntp.example.org", "224.0.1.1"] {
            assert!(TimeServer::from_text(text, &()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_next_hop_is_an_address_or_a_name_with_or_without_port() {
        for (text, means) in [
            ("192.0.2.25", "192.0.2.25:25"),
            ("192.0.2.25:2525", "192.0.2.25:2525"),
            ("2001:db8::25", "[2001:db8::25]:25"),
            ("[2001:db8::25]", "[2001:db8::25]:25"),
            ("[2001:db8::25]:2525", "[2001:db8::25]:2525"),
            ("Exchange.example.org", "exchange.example.org:25"),
            ("exchange:2525", "exchange:2525"),
        ] {
            assert_eq!(HopAddress::from_text(text, &()).ok().unwrap().to_string(), means);
        }
        for text in
            ["", ":25", "192.0.2.25:0", "192.0.2.256", "host:99999", "host:", "smtp://host", "[host]:25"]
        {
            assert!(HopAddress::from_text(text, &()).is_err(), "{text:?}");
        }
    }
}
