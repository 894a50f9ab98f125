//! In which mailbox database recipients are, by the list that the operator imported: so that one database that is gone has
//! its own recipients' mail held, and nobody else's.
//!
//! A probe mailbox stands for the database that it lies in. Which of those are gone is found out by canaries, and decided by
//! `release`.

use penstock_release::{HopId, PROBES_MAX, route};
use penstock_settings::MailAddress;

use super::Delivery;

impl Delivery {
    /// Whether the mail of each database can be held alone: every probe mailbox of every hop is on the list, with its
    /// database.
    pub(super) fn knows_places(&self) -> bool {
        if self.directory.list().is_none() {
            return false;
        }
        let mut probes = self.settings.next_hops.iter().flat_map(|hop| &hop.probe_mailboxes);
        probes.all(|probe| self.directory.find(probe.as_str()).is_some_and(|entry| entry.database.is_some()))
    }

    /// The mailbox databases whose recipients are held at this hop, each with its route. Nothing is looked up while none is,
    /// which is nearly always.
    pub(super) fn held_databases(&self, hop: HopId) -> Vec<(u16, u16)> {
        let probes = self.settings.next_hops.get(usize::from(hop.0)).map(|it| &it.probe_mailboxes);
        let numbered = (0..PROBES_MAX).zip(probes.into_iter().flatten());
        let release = self.release();
        let held = numbered.map(|(number, probe)| (route(hop, number), probe));
        let held: Vec<_> = held.filter(|(route, _)| release.is_route_held(*route)).collect();
        drop(release);
        let database = |probe: &MailAddress| self.directory.find(probe.as_str())?.database;
        held.into_iter().filter_map(|(route, probe)| Some((database(probe)?, route))).collect()
    }
}
