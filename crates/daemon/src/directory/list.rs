//! The list in memory: a keyed hash of each address, in order, and beside it the number of its database.
//!
//! Ten bytes an address. Nobody can read the addresses back from it, though who holds the key beside them can try
//! names: that is no secrecy. With 200,000 addresses one that is not on the list is taken for known once in 2^46
//! questions, and two of a list fall together once in 2^29 lists.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use penstock_spool::Stamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::address::Mailbox;

/// The most addresses of a list.
pub(crate) const ADDRESSES_MAX: usize = 200_000;
/// The most mailbox databases.
pub(crate) const DATABASES_MAX: usize = 256;
/// The longest name of a database, in bytes. Exchange takes 64 characters.
pub(super) const DATABASE_BYTES_MAX: usize = 256;
/// The most domains that are counted apart while a list is read.
const DOMAINS_COUNTED_MAX: usize = 4096;
/// The most domains that are remembered with their counts, those with the most addresses.
const DOMAINS_KEPT_MAX: usize = 100;
/// The version of [`List::encode`].
const VERSION: u8 = 1;

/// What is known of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The number of its mailbox database, of which [`List::database`] has the name. Another list may have other numbers.
    pub(crate) database: Option<u16>,
    /// Whether only the address without its subaddress is on the list.
    pub(crate) without_tag: bool,
}

/// What a list says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    /// When it was imported.
    pub(crate) imported: Stamp,
    /// By whom.
    pub(crate) by: String,
    /// What keys the hashes.
    key: [u8; 16],
    /// Lines that named a recipient.
    pub(crate) recipients: u32,
    /// Each database with the number of its addresses.
    pub(crate) databases: Vec<(String, u32)>,
    /// Addresses without a database.
    pub(crate) without_database: u32,
    /// The domains with the most addresses, and their numbers.
    pub(crate) domains: Vec<(String, u32)>,
    /// Addresses in other domains.
    pub(crate) other_addresses: u32,
}

/// A list of recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct List {
    pub(crate) about: About,
    /// In ascending order, each once.
    hashes: Vec<u64>,
    /// For each of them the number of its database and one more; 0 for none.
    databases: Vec<u16>,
}

impl List {
    /// How many addresses there are.
    pub(crate) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// What is known of a mailbox, where `delimiter` parts a tag from it. `None` if it is not on the list.
    pub(crate) fn find(&self, mailbox: &Mailbox, delimiter: Option<char>) -> Option<Entry> {
        let exact = self.database_of(mailbox);
        let found = exact.or_else(|| self.database_of(&mailbox.without_tag(delimiter)?))?;
        Some(Entry { database: found.checked_sub(1), without_tag: exact.is_none() })
    }

    fn database_of(&self, mailbox: &Mailbox) -> Option<u16> {
        let at = self.hashes.binary_search(&hash(&self.about.key, mailbox)).ok()?;
        self.databases.get(at).copied()
    }

    /// What keys the hashes: a list that is made with the same key can be compared with this one.
    pub(crate) fn key(&self) -> [u8; 16] {
        self.about.key
    }

    /// Whether another list with the same key says the same.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        // The order in which a file names databases gives them their numbers.
        let names = |list: &Self| -> Vec<Option<String>> {
            let name = |of: &u16| Some(list.database(of.checked_sub(1)?)?.to_lowercase());
            list.databases.iter().map(name).collect()
        };
        self.about.key == other.about.key
            && self.hashes == other.hashes
            && (self.about.databases == other.about.databases && self.databases == other.databases
                || names(self) == names(other))
    }

    /// How many of these addresses another list with the same key lacks.
    pub(crate) fn missing_from(&self, other: &Self) -> usize {
        self.hashes.iter().filter(|hash| other.hashes.binary_search(hash).is_err()).count()
    }

    /// The name of a database.
    pub(crate) fn database(&self, number: u16) -> Option<&str> {
        self.about.databases.get(usize::from(number)).map(|(name, _)| name.as_str())
    }

    /// The number of a database by its name, whatever the case.
    pub(crate) fn database_named(&self, name: &str) -> Option<u16> {
        let names = (0u16..).zip(&self.about.databases);
        let is_it = |(_, (other, _)): &(u16, &(String, u32))| other.to_lowercase() == name.to_lowercase();
        names.into_iter().find(is_it).map(|(number, _)| number)
    }

    /// The list as it is kept: a byte with the version; postcard of [`About`]; then the hashes, 8 bytes each,
    /// little-endian, first those without a database, then those of each database, as many as `About` says.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut order: Vec<(u16, u64)> =
            self.databases.iter().copied().zip(self.hashes.iter().copied()).collect();
        order.sort_unstable();
        // Writing to a vector cannot fail, and the types have no state that postcard refuses.
        let mut bytes = postcard::to_extend(&self.about, vec![VERSION]).unwrap_or_default();
        bytes.extend(order.into_iter().flat_map(|(_, hash)| hash.to_le_bytes()));
        bytes
    }

    /// The list that was kept; `None` if these bytes are none, or of another version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (about, hashes) = postcard::take_from_bytes::<About>(bytes.strip_prefix(&[VERSION])?).ok()?;
        if about.databases.len() > DATABASES_MAX || hashes.len() > ADDRESSES_MAX * 8 {
            return None;
        }
        let sizes = std::iter::once(about.without_database).chain(about.databases.iter().map(|(_, n)| *n));
        let owners = (0u16..).zip(sizes).flat_map(|(of, count)| std::iter::repeat_n(of, count as usize));
        let (hashes, rest) = hashes.as_chunks::<8>();
        // Counts that lie are not followed further than there are hashes.
        let owners: Vec<u16> = owners.take(hashes.len() + 1).collect();
        if owners.len() != hashes.len() || !rest.is_empty() {
            return None;
        }
        let all = hashes.iter().map(|hash| u64::from_le_bytes(*hash)).zip(owners).collect();
        Some(Self::new(about, all))
    }

    fn new(about: About, mut all: Vec<(u64, u16)>) -> Self {
        all.sort_unstable();
        let (hashes, databases) = all.into_iter().unzip();
        Self { about, hashes, databases }
    }
}

fn hash(key: &[u8; 16], mailbox: &Mailbox) -> u64 {
    let hash = Sha256::new()
        .chain_update(key)
        .chain_update(&mailbox.local)
        // In no local part and no domain.
        .chain_update([0])
        .chain_update(&mailbox.domain)
        .finalize();
    hash.first_chunk().map_or(0, |head| u64::from_le_bytes(*head))
}

/// What became of an address that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    New,
    /// It is there already.
    Known,
    /// It is there with another database.
    Elsewhere,
    /// There are [`ADDRESSES_MAX`].
    Full,
}

/// A list that is being made.
#[derive(Debug, Default)]
pub(super) struct Builder {
    about: About,
    found: HashMap<u64, u16>,
    /// The numbers of databases, and one more, by their names in lower case: Exchange takes DB01 and db01 for one.
    numbers: HashMap<String, u16>,
    domains: HashMap<String, u32>,
}

impl Builder {
    /// `key` is 16 random bytes.
    pub(super) fn new(key: [u8; 16], imported: Stamp, by: String) -> Self {
        Self { about: About { imported, by, key, ..About::default() }, ..Self::default() }
    }

    /// The number of a database; `None` if there are [`DATABASES_MAX`] others.
    pub(super) fn database(&mut self, name: &str) -> Option<u16> {
        let count = self.numbers.len();
        match self.numbers.entry(name.to_lowercase()) {
            Slot::Occupied(known) => Some(*known.get()),
            Slot::Vacant(_) if count >= DATABASES_MAX => None,
            Slot::Vacant(new) => {
                self.about.databases.push((name.to_owned(), 0));
                Some(*new.insert(u16::try_from(count + 1).ok()?))
            }
        }
    }

    /// Adds an address with the number of its database; 0 is none.
    pub(super) fn add(&mut self, mailbox: &Mailbox, database: u16) -> Added {
        let count = self.found.len();
        match self.found.entry(hash(&self.about.key, mailbox)) {
            Slot::Occupied(known) if *known.get() == database => return Added::Known,
            Slot::Occupied(_) => return Added::Elsewhere,
            Slot::Vacant(_) if count >= ADDRESSES_MAX => return Added::Full,
            Slot::Vacant(new) => new.insert(database),
        };
        let of_database = match database.checked_sub(1) {
            None => Some(&mut self.about.without_database),
            Some(number) => self.about.databases.get_mut(usize::from(number)).map(|(_, count)| count),
        };
        if let Some(count) = of_database {
            *count += 1;
        }
        if let Some(count) = self.domains.get_mut(&mailbox.domain) {
            *count += 1;
        } else if self.domains.len() < DOMAINS_COUNTED_MAX {
            self.domains.insert(mailbox.domain.clone(), 1);
        } else {
            self.about.other_addresses += 1;
        }
        Added::New
    }

    /// Counts a line that named a recipient.
    pub(super) fn count_recipient(&mut self) {
        self.about.recipients = self.about.recipients.saturating_add(1);
    }

    /// The list; `None` if it is empty.
    pub(super) fn finish(self) -> Option<List> {
        let Self { mut about, found, domains, .. } = self;
        let mut domains: Vec<(String, u32)> = domains.into_iter().collect();
        domains.sort_unstable_by(|(name, count), (other, others)| others.cmp(count).then(name.cmp(other)));
        let others = domains.split_off(domains.len().min(DOMAINS_KEPT_MAX));
        about.other_addresses += others.iter().map(|(_, count)| count).sum::<u32>();
        about.domains = domains;
        (!found.is_empty()).then(|| List::new(about, found.into_iter().collect()))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A list of addresses with the names of their databases; an empty one is none.
    pub(crate) fn list<'a>(addresses: impl IntoIterator<Item = (&'a str, &'a str)>) -> List {
        let stamp = Stamp { unix_ms: 1_772_330_400_000, boot: 3, trusted: true };
        let mut builder = Builder::new([7; 16], stamp, "mia".into());
        for (address, database) in addresses {
            let number = if database.is_empty() { 0 } else { builder.database(database).unwrap() };
            assert_eq!(builder.add(&Mailbox::parse(address).unwrap(), number), Added::New);
            builder.count_recipient();
        }
        builder.finish().unwrap()
    }

    #[test]
    fn a_recipient_is_found_with_its_database_whatever_the_case_and_the_subaddress() {
        let list =
            list([("Mia@Example.org", "DB01"), ("all@example.org", ""), ("leo+x@example.org", "db02")]);
        let database = |address: &str| {
            let entry = list.find(&Mailbox::parse(address)?, Some('+'))?;
            Some((entry.database.and_then(|number| list.database(number)).unwrap_or(""), entry.without_tag))
        };
        assert_eq!(database("mIA@eXAMPLE.ORG"), Some(("DB01", false)));
        assert_eq!(database("mia+news@example.org"), Some(("DB01", true)));
        assert_eq!(database("all@example.org"), Some(("", false)));
        assert_eq!(database("leo+x@example.org"), Some(("db02", false)));
        for unknown in ["leo@example.org", "leo+y@example.org", "mia@example.com", "mia", "", "postmaster"] {
            assert_eq!(database(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn two_lists_with_one_key_can_be_compared() {
        let one = list([("a@x.org", "DB01"), ("b@x.org", "DB02"), ("c@x.org", "")]);
        let same = list([("B@x.org", "db02"), ("c@x.org", ""), ("a@x.org", "DB01")]);
        let moved = list([("a@x.org", "DB01"), ("b@x.org", "DB01"), ("c@x.org", "")]);
        let other = list([("a@x.org", "DB01"), ("d@x.org", "")]);
        assert!(one.says_the_same(&same) && !one.says_the_same(&moved) && !one.says_the_same(&other));
        assert_eq!((one.missing_from(&same), one.missing_from(&other), other.missing_from(&one)), (0, 2, 1));
    }

    #[test]
    fn a_list_is_kept_as_it_is_and_bytes_that_are_none_are_refused() {
        let list = list([("a@x.org", "DB01"), ("b@x.org", ""), ("c@y.org", "DB02"), ("d@x.org", "DB01")]);
        assert_eq!(list.about.databases, [("DB01".into(), 2), ("DB02".into(), 1)]);
        assert_eq!(list.about.domains, [("x.org".into(), 3), ("y.org".into(), 1)]);
        let bytes = list.encode();
        assert_eq!(List::decode(&bytes), Some(list));
        for len in 0..bytes.len() {
            assert_eq!(List::decode(&bytes[..len]), None, "cut after {len} bytes");
        }
        assert_eq!(List::decode(&[&bytes[..], &[0; 8]].concat()), None);
        assert_eq!(List::decode(&[&[VERSION + 1], &bytes[1..]].concat()), None);
    }

    #[test]
    fn an_address_has_one_database_and_a_list_a_bounded_number_of_both() {
        let mut builder = Builder::new([7; 16], Stamp::default(), String::new());
        let mailbox = |n: usize| Mailbox { local: format!("user{n}"), domain: format!("d{}.org", n % 5000) };
        let (one, other) = (builder.database("DB").unwrap(), builder.database("other").unwrap());
        assert_eq!((one, builder.database("db")), (1, Some(1)));
        assert_eq!(builder.add(&mailbox(0), one), Added::New);
        assert_eq!(builder.add(&mailbox(0), one), Added::Known);
        assert_eq!(builder.add(&mailbox(0), other), Added::Elsewhere);
        for n in 1..ADDRESSES_MAX {
            assert_eq!(builder.add(&mailbox(n), 0), Added::New);
        }
        assert_eq!(builder.add(&mailbox(ADDRESSES_MAX), 0), Added::Full);
        for n in 2..DATABASES_MAX {
            assert!(builder.database(&format!("DB{n}")).is_some());
        }
        assert_eq!(builder.database("one more"), None);
        let list = builder.finish().unwrap();
        assert_eq!(list.about.domains.len(), DOMAINS_KEPT_MAX);
        let counted: u32 = list.about.domains.iter().map(|(_, count)| count).sum();
        assert_eq!((counted + list.about.other_addresses) as usize, ADDRESSES_MAX);
        assert_eq!(List::decode(&list.encode()), Some(list));
    }
}
