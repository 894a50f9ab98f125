//! Who is who: accepted domains, mailboxes and the databases they lie in.

use crate::config::{Directory, Site};
use crate::line::domain_of;
use crate::random::share_of;

/// What an address is to the organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// A mailbox, in the database of this number.
    Mailbox(usize),
    /// An address outside that the directory knows.
    Contact,
    /// Nobody, in an accepted domain.
    Unknown,
    /// In a domain that is not ours.
    Foreign,
}

impl Site {
    /// Looks up an address in lower case.
    pub(crate) fn who(&self, address: &str) -> Who {
        let Some(domain) = domain_of(address) else { return Who::Foreign };
        if !self.domains.iter().any(|ours| ours == domain) {
            return Who::Foreign;
        }
        let known = self.known.get(address).copied().unwrap_or_else(|| match self.directory {
            Directory::Full => true,
            Directory::Empty => false,
            Directory::Partly(share) => share_of(address) < share,
        });
        match known {
            false => Who::Unknown,
            true if self.contacts.contains(address) => Who::Contact,
            true => Who::Mailbox(self.database_of(address)),
        }
    }

    /// Where a mailbox lies: where it was put, else where its name puts it.
    pub(crate) fn database_of(&self, address: &str) -> usize {
        let by_name = || {
            // Another part of the name's number than the one that says whether it has been restored.
            let number = (share_of(&format!("{address}#")) * self.databases as f64) as usize;
            number.min(self.databases - 1)
        };
        self.places.get(address).copied().filter(|place| *place < self.databases).unwrap_or_else(by_name)
    }
}

/// What people call a database.
pub(crate) fn database_name(number: usize) -> String {
    format!("DB{}", number + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_directory_that_is_partly_restored_knows_its_share_and_always_the_same_ones() {
        let mut site = Config::default().site;
        let known = |site: &Site| -> Vec<usize> {
            (0..1000).filter(|n| site.who(&format!("user{n}@example.com")) != Who::Unknown).collect()
        };
        site.directory = Directory::Partly(0.4);
        let some = known(&site);
        assert!((350..450).contains(&some.len()), "{}", some.len());
        site.directory = Directory::Partly(0.7);
        let more = known(&site);
        assert!(some.iter().all(|n| more.contains(n)));
        site.directory = Directory::Empty;
        assert!(known(&site).is_empty());
    }

    #[test]
    fn mailboxes_are_spread_over_the_databases() {
        let site = Config::default().site;
        let mut counts = [0; 3];
        for n in 0..900 {
            let Who::Mailbox(number) = site.who(&format!("user{n}@example.com")) else { panic!() };
            counts[number] += 1;
        }
        assert!(counts.iter().all(|count| (230..370).contains(count)), "{counts:?}");
        assert_eq!(site.who("a@example.org"), Who::Foreign);
    }
}
