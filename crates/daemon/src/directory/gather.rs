//! A list that is gathered recipient by recipient, from something that is no file.

use penstock_spool::Stamp;

use super::address::{Mailbox, database_name, proxies};
use super::list::{ADDRESSES_MAX, Added, Builder, DATABASE_BYTES_MAX, DATABASES_MAX, List};

/// A list that is being gathered.
#[derive(Debug)]
pub(crate) struct Gather {
    list: Builder,
    skipped: u64,
}

impl Gather {
    /// `key` is 16 random bytes, or the key of a list that this one is to be compared with.
    pub(crate) fn new(key: [u8; 16], at: Stamp, by: String) -> Self {
        Self { list: Builder::new(key, at, by), skipped: 0 }
    }

    /// Adds a recipient: its addresses, with or without `smtp:` before them, and the database of its mailbox, by its name or
    /// its distinguished name. Addresses of other kinds are passed over, and so is what is none.
    ///
    /// # Errors
    /// What there is too much of.
    pub(crate) fn add<'a>(
        &mut self,
        addresses: impl Iterator<Item = &'a str>,
        database: Option<&str>,
    ) -> Result<(), String> {
        let name = database.and_then(database_name);
        let name = name.filter(|name| name.len() <= DATABASE_BYTES_MAX && !name.contains(char::is_control));
        let mut number = None;
        let mut is_new = false;
        for address in addresses {
            // One value is one address, so that nothing in it parts it but a kind that stands before it.
            let is_one = !address.contains([' ', ',', ';', '\t', '{', '}']);
            let Some(address) = proxies(address).next().filter(|_| is_one) else { continue };
            let Some(mailbox) = Mailbox::parse(address) else {
                self.skipped += 1;
                continue;
            };
            let number = match (number, &name) {
                (Some(number), _) => number,
                (None, None) => 0,
                (None, Some(name)) => {
                    let found = self.list.database(name);
                    *number
                        .insert(found.ok_or_else(|| format!("more than {DATABASES_MAX} mailbox databases"))?)
                }
            };
            match self.list.add(&mailbox, number) {
                Added::New => is_new = true,
                Added::Known => {}
                // The first that was found has it.
                Added::Elsewhere => self.skipped += 1,
                Added::Full => return Err(format!("more than {ADDRESSES_MAX} addresses")),
            }
        }
        if is_new {
            self.list.count_recipient();
        }
        Ok(())
    }

    /// The list, and how many addresses were passed over that cannot be used; `None` if there is no address in it.
    pub(crate) fn finish(self) -> Option<(List, u64)> {
        let skipped = self.skipped;
        self.list.finish().map(|list| (list, skipped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_directory_has_becomes_a_list() {
        let mut gather = Gather::new([7; 16], Stamp::default(), "dc1".into());
        let mut add = |addresses: &[&str], database| gather.add(addresses.iter().copied(), database).unwrap();
        let db1 = Some("CN=DB01,CN=Databases,CN=Exchange Administrative Group,DC=x");
        add(&["SMTP:mia@x.org", "smtp:m@x.org", "X500:/o=First Org/cn=mia@x", "sip:mia@x.org"], db1);
        add(&["mia@x.org", "SMTP:leo@x.org", "smtp:no address", "smtp:broken"], Some("DB02"));
        add(&["SMTP:all@x.org"], None);
        add(&["X400:c=DE"], db1);
        let (list, skipped) = gather.finish().unwrap();
        let database = |address: &str| {
            let entry = list.find(&Mailbox::parse(address).unwrap(), None)?;
            Some(entry.database.and_then(|number| list.database(number)).unwrap_or(""))
        };
        assert_eq!((database("mia@x.org"), database("m@x.org")), (Some("DB01"), Some("DB01")));
        assert_eq!((database("leo@x.org"), database("all@x.org")), (Some("DB02"), Some("")));
        assert_eq!((list.len(), list.about.recipients, skipped), (4, 3, 2));
        assert!(Gather::new([7; 16], Stamp::default(), String::new()).finish().is_none());
    }
}
