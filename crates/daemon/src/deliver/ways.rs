//! Which next hops a recipient's mail may go through: some are kept for domains or for mailbox databases.
//!
//! `release` knows *ways*, sets of hops. Here it is said which way a recipient has: that of the hops that are kept for its
//! database, by the list of recipients; else of those kept for its domain; else of those that are kept for nothing.

use penstock_release::{HopId, HopSet, WayId, WaySet};
use penstock_settings::NextHop;
use penstock_spool::Recipient;

use crate::directory::{Directory, List, Mailbox};

/// A name that stands for all below a domain; no settings name it.
const SOME_NAME: &str = "some-name-below";

/// All ways that there are.
#[derive(Debug)]
pub(super) struct Ways {
    /// The first is that of the hops that are kept for nothing.
    hops: Vec<HopSet>,
}

impl Ways {
    pub(super) fn new(hops: &[NextHop]) -> Self {
        let mut ways = Self { hops: vec![those(hops, |hop| !hop.is_kept())] };
        for domain in hops.iter().flat_map(|hop| &hop.for_domains) {
            // What is not named goes with the widest names that it is below, so that these are all cases.
            let name = domain.to_string().replace('*', SOME_NAME);
            ways.add(those(hops, |hop| is_kept_for_domain(hop, &name)));
        }
        for database in hops.iter().flat_map(|hop| &hop.for_databases) {
            let name = database.to_string();
            ways.add(those(hops, |hop| is_kept_for_database(hop, &name)));
        }
        ways
    }

    fn add(&mut self, hops: HopSet) {
        if !self.hops.contains(&hops) {
            self.hops.push(hops);
        }
    }

    /// They, as `release` wants them.
    pub(super) fn hops(&self) -> &[HopSet] {
        &self.hops
    }

    /// Whether all mail may go through all hops.
    pub(super) fn is_one(&self) -> bool {
        self.hops.len() == 1
    }

    /// Whether mail to this address may go through that hop.
    pub(super) fn has(&self, hops: &[NextHop], directory: &Directory, address: &str, hop: HopId) -> bool {
        self.is_one() || self.set(hops, directory, address).has(hop)
    }

    /// The ways of these recipients.
    pub(super) fn of<'r>(
        &self,
        hops: &[NextHop],
        directory: &Directory,
        recipients: impl IntoIterator<Item = &'r Recipient>,
    ) -> WaySet {
        if self.is_one() {
            return WaySet::default();
        }
        let way = |recipient: &Recipient| {
            let set = self.set(hops, directory, &recipient.address);
            let at = self.hops.iter().position(|other| *other == set).unwrap_or_default();
            WayId(u8::try_from(at).unwrap_or_default())
        };
        WaySet::of(recipients.into_iter().map(way))
    }

    fn set(&self, hops: &[NextHop], directory: &Directory, address: &str) -> HopSet {
        let list = directory.list();
        let mailbox = Mailbox::parse(address);
        let found = |list: &List| directory.find_in(list, mailbox.as_ref()?)?.database;
        let database = list.as_ref().and_then(|list| list.database(found(list)?));
        let by_database = database.map(|name| those(hops, |hop| is_kept_for_database(hop, name)));
        let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
        let by_domain = || those(hops, |hop| is_kept_for_domain(hop, domain));
        let is_known = |set: &HopSet| self.hops.contains(set);
        let rest = || self.hops.first().copied().unwrap_or(HopSet::ALL);
        by_database.filter(is_known).or_else(|| Some(by_domain()).filter(is_known)).unwrap_or_else(rest)
    }
}

fn is_kept_for_domain(hop: &NextHop, name: &str) -> bool {
    hop.for_domains.iter().any(|domain| domain.accepts(name))
}

fn is_kept_for_database(hop: &NextHop, name: &str) -> bool {
    hop.for_databases.iter().any(|database| database.is(name))
}

/// Those of the hops that are meant.
fn those(hops: &[NextHop], meant: impl Fn(&NextHop) -> bool) -> HopSet {
    HopSet::of((0..).map(HopId).zip(hops).filter(|(_, hop)| meant(hop)).map(|(id, _)| id))
}

#[cfg(test)]
mod tests {
    use penstock_settings::Settings;

    use super::*;
    use crate::directory::list;

    fn hops(more: &str) -> Vec<NextHop> {
        let head = "[system]\nhostname = \"mx.example.org\"\n[volume]\npath = \"/volume\"\n[domains]\n\
                    accepted = [\"example.org\", \"*.example.org\", \"example.net\"]\n";
        let hop = |(n, more): (usize, &str)| {
            format!("[[next_hop]]\nname = \"hop-{n}\"\naddress = \"192.0.2.{}\"\n{more}\n", n + 25)
        };
        let text: String = more.split('|').enumerate().map(hop).collect();
        Settings::parse(&(head.to_owned() + &text)).unwrap().next_hops
    }

    fn recipient(address: &str) -> Recipient {
        Recipient { address: address.into(), ..Recipient::default() }
    }

    /// The hops that mail to an address may go through.
    fn through(hops: &[NextHop], directory: &Directory, address: &str) -> Vec<u8> {
        let ways = Ways::new(hops);
        let set = (0..hops.len() as u8).filter(|n| ways.has(hops, directory, address, HopId(*n)));
        set.collect()
    }

    #[test]
    fn hops_that_are_kept_for_nothing_take_all_mail() {
        let (hops, directory) = (hops("|weight = 2"), Directory::default());
        assert!(Ways::new(&hops).is_one());
        assert_eq!(through(&hops, &directory, "mia@example.org"), [0, 1]);
    }

    #[test]
    fn a_domain_has_the_hops_that_are_kept_for_it_and_a_database_before_that() {
        let hops = hops(
            "|for_domains = [\"*.example.org\"]|for_domains = [\"sales.example.org\"]\nfor_databases = [\"DB2\"]\
             |for_databases = [\"db2\", \"DB3\"]",
        );
        let directory = Directory::default();
        assert_eq!(Ways::new(&hops).hops().len(), 5);
        for (address, expected) in [
            ("mia@example.org", &[0][..]),
            ("mia@it.example.org", &[1]),
            ("mia@SALES.example.org", &[1, 2]),
            ("mia@example.net", &[0]),
        ] {
            assert_eq!(through(&hops, &directory, address), expected, "{address}");
        }
        directory.set(list([
            ("mia@example.org", "DB2"),
            ("tom@sales.example.org", "DB3"),
            ("leo@it.example.org", "DB1"),
        ]));
        for (address, expected) in [
            ("mia@example.org", &[2, 3][..]),
            ("tom@sales.example.org", &[3]),
            ("leo@it.example.org", &[1]),
            ("new@example.org", &[0]),
        ] {
            assert_eq!(through(&hops, &directory, address), expected, "{address}");
        }
        let of = |addresses: &[&str]| {
            let recipients: Vec<_> = addresses.iter().map(|address| recipient(address)).collect();
            Ways::new(&hops).of(&hops, &directory, &recipients)
        };
        assert_eq!(of(&["new@example.org"]), WaySet::of([WayId(0)]));
        assert_eq!(of(&["new@example.org", "leo@it.example.org"]), WaySet::of([WayId(0), WayId(1)]));
    }
}
