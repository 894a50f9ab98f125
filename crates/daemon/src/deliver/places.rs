//! In which mailbox database recipients are, by the list that the operator imported: so that one database that is gone has
//! its own recipients' mail held, and nobody else's.
//!
//! A probe mailbox stands for the database that it lies in. Which of those are gone is found out by canaries, and decided by
//! `release`.

use penstock_release::{HopId, route};
use penstock_settings::MailAddress;

use super::Delivery;

impl Delivery {
    /// Whether the mail of each database can be held alone: every probe mailbox of every hop is on the list, with its
    /// database.
    pub(super) fn knows_places(&self) -> bool {
        let Some(list) = self.directory.list() else { return false };
        let mut probes = self.settings.next_hops.iter().flat_map(|hop| &hop.probe_mailboxes);
        probes.all(|probe| list.find(probe.as_str()).is_some_and(|entry| entry.database.is_some()))
    }

    /// The route that holds the mail of a recipient to this hop, if one does.
    pub(super) fn held_by(&self, hop: HopId, address: &str) -> Option<u16> {
        let probes = &self.settings.next_hops.get(usize::from(hop.0))?.probe_mailboxes;
        let list = self.directory.list().filter(|_| !probes.is_empty())?;
        let database = list.find(address)?.database?;
        let is_there = |probe: &MailAddress| {
            list.find(probe.as_str()).is_some_and(|entry| entry.database == Some(database))
        };
        let number = u16::try_from(probes.iter().position(is_there)?).ok()?;
        let route = route(hop, number);
        self.release().is_route_held(route).then_some(route)
    }
}
