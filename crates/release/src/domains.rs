//! Domains whose recipients a hop refuses although they are known to be there, while it takes those of others: their mail
//! is held alone, and the hop is asked now and then whether it takes one of them.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;

use crate::HopId;
use crate::config::{HOPS_MAX, PROBES_MAX};

/// Domains that are held at once, of all hops. Where more are refused it is the hop that is not itself.
pub(crate) const DOMAINS_MAX: usize = 3;

/// The longest address that is kept, in bytes: that of a forward-path without its brackets (RFC 5321 section 4.5.3.1.3).
pub(crate) const ADDRESS_BYTES_MAX: usize = 254;

/// How often a hop is asked.
const ASK_INTERVAL_MS: u64 = 60_000;

/// The route of the first of them.
const ROUTES: u16 = HOPS_MAX as u16 * PROBES_MAX;

/// From here on routes are the caller's.
pub const ROUTES_OWN: u16 = ROUTES + DOMAINS_MAX as u16;

/// What the operator can do about a domain whose mail is held.
pub const DOMAIN_ADVICE: &str = "Check that the domain is among the server's (Get-AcceptedDomain; New-AcceptedDomain adds \
     it) and that its mailboxes are restored (Get-Recipient). Its mail goes on by itself when the server takes it, or after \
     `penstock confirm`; `penstock queue --state held` has what was refused.";

/// The domain of an address.
pub(crate) fn domain_of(address: &str) -> &str {
    address.rsplit_once('@').map_or("", |(_, domain)| domain)
}

/// A domain whose mail is held.
#[derive(Debug)]
struct Held {
    hop: HopId,
    route: u16,
    /// A recipient that is known to be there and was refused.
    address: String,
    /// When the hop is asked next; `None` while it is being asked.
    ask_from_ms: Option<u64>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Domains(Vec<Held>);

impl Domains {
    /// Holds the domain of a recipient. Its route; `None` if there is no room for it.
    pub(crate) fn hold(&mut self, hop: HopId, address: &str, now_ms: u64) -> Option<u16> {
        let domain = domain_of(address);
        let is_it = |held: &&Held| held.hop == hop && domain_of(&held.address).eq_ignore_ascii_case(domain);
        if let Some(held) = self.0.iter().find(is_it) {
            return Some(held.route);
        }
        let mut routes = ROUTES..ROUTES_OWN;
        let route = routes.find(|route| self.0.iter().all(|held| held.route != *route))?;
        if address.len() > ADDRESS_BYTES_MAX {
            return None;
        }
        let ask_from_ms = Some(now_ms + ASK_INTERVAL_MS);
        self.0.push(Held { hop, route, address: address.to_owned(), ask_from_ms });
        Some(route)
    }

    /// What is held at a hop: its route, and the recipient that stands for it.
    pub(crate) fn of(&self, hop: HopId) -> impl Iterator<Item = (u16, &str)> {
        self.0.iter().filter(move |held| held.hop == hop).map(|held| (held.route, held.address.as_str()))
    }

    /// What is to be kept over a restart.
    pub(crate) fn saved(&self) -> impl Iterator<Item = (HopId, &str)> {
        self.0.iter().map(|held| (held.hop, held.address.as_str()))
    }

    /// Ends what is held at a hop, of one route or of all. The routes that are free.
    pub(crate) fn free(&mut self, hop: HopId, route: Option<u16>) -> Vec<u16> {
        let is_meant = |held: &Held| held.hop == hop && route.is_none_or(|route| held.route == route);
        let freed = self.0.iter().filter(|held| is_meant(held)).map(|held| held.route).collect();
        self.0.retain(|held| !is_meant(held));
        freed
    }

    /// The hop and the route of which to ask now, of hops that take mail; or when to.
    pub(crate) fn next_ask(
        &mut self,
        takes_mail: impl Fn(HopId) -> bool,
        now_ms: u64,
    ) -> Result<(HopId, u16), Option<u64>> {
        let of_those = self.0.iter_mut().filter(|held| takes_mail(held.hop) && held.ask_from_ms.is_some());
        let Some(first) = of_those.min_by_key(|held| held.ask_from_ms) else { return Err(None) };
        if first.ask_from_ms.is_some_and(|ms| ms > now_ms) {
            return Err(first.ask_from_ms);
        }
        first.ask_from_ms = None;
        Ok((first.hop, first.route))
    }

    /// The hop does not take the recipient yet.
    pub(crate) fn refused_again(&mut self, hop: HopId, route: u16, now_ms: u64) {
        let asked = self.0.iter_mut().find(|held| held.hop == hop && held.route == route);
        asked.into_iter().for_each(|held| held.ask_from_ms = Some(now_ms + ASK_INTERVAL_MS));
    }
}
