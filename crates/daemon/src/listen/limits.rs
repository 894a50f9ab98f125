//! How much of the box the clients may hold: sessions and reserved space, in all and for each source.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use penstock_settings::Listen;

/// Why a connection is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crowded {
    /// All sessions are in use.
    Total,
    /// This source has its share.
    Source,
}

/// The sessions and reservations there are.
#[derive(Debug)]
pub(crate) struct Limits {
    settings: Listen,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    sessions: u32,
    reserved_bytes: u64,
    /// Only sources that hold something.
    sources: HashMap<IpAddr, Source>,
}

#[derive(Debug, Default)]
struct Source {
    sessions: u32,
    reserved_bytes: u64,
}

/// One session's place. Gives it back when it is dropped, with what the session has reserved.
#[derive(Debug)]
pub(crate) struct Place {
    limits: Arc<Limits>,
    source: IpAddr,
    trusted: bool,
    reserved_bytes: u64,
}

/// Whose limit an address counts against: its own, or in IPv6 that of its network of 64 bits, since that is what a
/// single machine is given.
fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

impl Limits {
    pub(crate) fn new(settings: Listen) -> Arc<Self> {
        Arc::new(Self { settings, table: Mutex::default() })
    }

    /// Takes a place for a session with that address.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Place, Crowded> {
        let trusted = self.settings.trusted_fronts.iter().any(|front| front.contains(address));
        let source = source_of(address);
        let mut table = self.lock();
        if table.sessions >= self.settings.connections_max {
            return Err(Crowded::Total);
        }
        let held = table.sources.get(&source).map_or(0, |held| held.sessions);
        if !trusted && held >= self.settings.connections_per_source_max {
            return Err(Crowded::Source);
        }
        table.sessions += 1;
        table.sources.entry(source).or_default().sessions += 1;
        Ok(Place { limits: Arc::clone(self), source, trusted, reserved_bytes: 0 })
    }

    /// How many sessions there are.
    pub(crate) fn sessions(&self) -> u32 {
        self.lock().sessions
    }

    /// Whether sessions run short, so that idle ones have to make room.
    pub(crate) fn is_busy(&self) -> bool {
        let busy_at = u64::from(self.settings.connections_max) * u64::from(self.settings.busy_percent) / 100;
        u64::from(self.sessions()) > busy_at
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Reserves space for a message that is being received, on top of what the session has. Whether there was room.
    pub(crate) fn reserve(&mut self, bytes: u64) -> bool {
        let settings = &self.limits.settings;
        let mut table = self.limits.lock();
        let total = table.reserved_bytes + bytes;
        let source = table.sources.entry(self.source).or_default();
        let own = source.reserved_bytes + bytes;
        let fits =
            total <= settings.reserved_max.0 && (self.trusted || own <= settings.reserved_per_source_max.0);
        if fits {
            source.reserved_bytes = own;
            table.reserved_bytes = total;
            self.reserved_bytes += bytes;
        }
        fits
    }

    /// Gives back what the session has reserved.
    pub(crate) fn release(&mut self) {
        if self.reserved_bytes == 0 {
            return;
        }
        let mut table = self.limits.lock();
        let bytes = std::mem::take(&mut self.reserved_bytes);
        table.reserved_bytes -= bytes;
        if let Some(source) = table.sources.get_mut(&self.source) {
            source.reserved_bytes -= bytes;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.release();
        let mut table = self.limits.lock();
        table.sessions -= 1;
        if let Some(source) = table.sources.get_mut(&self.source) {
            source.sessions -= 1;
            if source.sessions == 0 {
                table.sources.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use penstock_settings::Settings;

    use super::*;

    fn limits(listen: &str) -> Arc<Limits> {
        let text = format!(
            "[system]\nhostname = \"mx.example.org\"\n[domains]\naccepted = [\"example.org\"]\n[[next_hop]]\nname = \"x\"\n\
             address = \"192.0.2.25\"\n[listen]\n{listen}"
        );
        Limits::new(Settings::parse(&text).unwrap().listen)
    }

    const OLIVE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const PLUM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn no_source_takes_all_sessions_and_who_leaves_makes_room() {
        let limits = limits("connections_max = 3\nconnections_per_source_max = 2");
        let first = limits.enter(OLIVE).unwrap();
        let _second = limits.enter(OLIVE).unwrap();
        assert_eq!(limits.enter(OLIVE).unwrap_err(), Crowded::Source);
        let _third = limits.enter(PLUM).unwrap();
        assert!(limits.is_busy());
        assert_eq!(limits.enter(PLUM).unwrap_err(), Crowded::Total);
        drop(first);
        assert!(limits.enter(OLIVE).is_ok());
        assert_eq!(limits.sessions(), 2);
    }

    #[test]
    fn a_trusted_front_may_take_all_there_are() {
        let limits =
            limits("connections_max = 3\nconnections_per_source_max = 1\ntrusted_fronts = [\"192.0.2.1\"]");
        let places: Vec<_> = (0..3).map(|_| limits.enter(OLIVE).unwrap()).collect();
        assert_eq!(limits.enter(OLIVE).unwrap_err(), Crowded::Total);
        drop(places);
        assert_eq!(limits.sessions(), 0);
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source() {
        let limits = limits("connections_per_source_max = 1");
        let _first = limits.enter("2001:db8::1".parse().unwrap()).unwrap();
        assert_eq!(limits.enter("2001:db8::2".parse().unwrap()).unwrap_err(), Crowded::Source);
        assert!(limits.enter("2001:db8:0:1::1".parse().unwrap()).is_ok());
    }

    #[test]
    fn space_is_reserved_within_the_share_of_a_source_and_given_back() {
        let limits =
            limits("size_max = \"1MiB\"\nreserved_max = \"3MiB\"\nreserved_per_source_max = \"2MiB\"");
        let (mut olive, mut plum) = (limits.enter(OLIVE).unwrap(), limits.enter(PLUM).unwrap());
        assert!(olive.reserve(2 << 20) && !olive.reserve(1));
        assert!(plum.reserve(1 << 20) && !plum.reserve(1 << 20));
        drop(olive);
        assert!(plum.reserve(1 << 20));
        plum.release();
        assert!(plum.reserve(2 << 20));
    }
}
