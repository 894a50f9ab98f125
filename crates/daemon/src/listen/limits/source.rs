//! Whose limits an address counts against.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// What a single machine is given in IPv6, in bits of its prefix.
const MACHINE_BITS: u8 = 64;
/// What a site is given in IPv6 (RFC 6177): whoever has one has 65,536 networks of machines.
const SITE_BITS: u8 = 48;

/// One that connects: an IPv4 address, or in IPv6 a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Source {
    network: IpAddr,
    bits: u8,
}

impl Source {
    /// The source that this address belongs to.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => Self::network_of(v6, MACHINE_BITS),
            v4 => Self { network: v4, bits: 32 },
        }
    }

    /// The source that this one is part of, for which limits hold, too.
    pub(super) fn wider(self) -> Option<Self> {
        match self.network {
            IpAddr::V6(v6) if self.bits > SITE_BITS => Some(Self::network_of(v6, SITE_BITS)),
            _ => None,
        }
    }

    /// Whether it holds several of those that [`of`](Self::of) tells apart.
    pub(super) fn is_wide(self) -> bool {
        self.network.is_ipv6() && self.bits == SITE_BITS
    }

    fn network_of(address: Ipv6Addr, bits: u8) -> Self {
        let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
        Self { network: Ipv6Addr::from_bits(address.to_bits() & mask).into(), bits }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.network {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => write!(f, "{v6}/{}", self.bits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> Source {
        Source::of(address.parse().unwrap())
    }

    #[test]
    fn an_ipv4_address_is_a_source_however_it_reaches_us() {
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(
            (source("192.0.2.1").wider(), source("192.0.2.1").to_string()),
            (None, "192.0.2.1".into())
        );
    }

    #[test]
    fn in_ipv6_a_machine_has_a_network_and_a_site_many_of_them() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:2"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        let wider = source("2001:db8:0:1::1").wider().unwrap();
        assert_eq!(Some(wider), source("2001:db8::1").wider());
        assert_ne!(Some(wider), source("2001:db8:1::1").wider());
        assert!(wider.is_wide() && wider.wider().is_none());
        assert_eq!(wider.to_string(), "2001:db8::/48");
    }
}
