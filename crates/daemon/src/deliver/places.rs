//! In which mailbox database recipients are, by the list that the operator imported: so that one database that is gone has
//! its own recipients' mail held, and nobody else's.
//!
//! A probe mailbox stands for the database that it lies in. Which of those are gone is found out by canaries, and decided by
//! `release`.

use std::sync::{Arc, Mutex, PoisonError};

use penstock_release::{HopId, PROBES_MAX, route};
use penstock_settings::{MailAddress, NextHop};

use super::Delivery;
use crate::directory::{Directory, List, Mailbox};

/// Whether the mail of each database can be held alone, as it was found for the list that counted then.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Option<(Arc<List>, bool)>>);

impl Places {
    /// Whether it can be with this list. Looked up once for each list.
    fn are_known(&self, directory: &Directory, list: Arc<List>, hops: &[NextHop]) -> bool {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, are_known)) = &*found
            && Arc::ptr_eq(of, &list)
        {
            return *are_known;
        }
        let mut probes = hops.iter().flat_map(|hop| &hop.probe_mailboxes);
        let database =
            |probe: &MailAddress| directory.find_in(&list, &Mailbox::parse(probe.as_str())?)?.database;
        let are_known = probes.all(|probe| database(probe).is_some());
        *found = Some((list, are_known));
        are_known
    }
}

impl Delivery {
    /// Whether the mail of each database can be held alone: every probe mailbox of every hop is on the list, with its
    /// database.
    pub(super) fn knows_places(&self) -> bool {
        let list = self.directory.list();
        list.is_some_and(|list| self.places.are_known(&self.directory, list, &self.settings.next_hops))
    }

    /// The domains whose recipients are held at this hop, each with its route.
    pub(super) fn held_domains(&self, hop: HopId) -> Vec<(String, u16)> {
        let release = self.release();
        let domain = |address: &str| address.rsplit_once('@').map_or("", |(_, domain)| domain).to_owned();
        release.held_domains(hop).map(|(route, address)| (domain(address), route)).collect()
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
