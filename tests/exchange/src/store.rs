//! Mailbox databases: what the categorizer hands over lies in a mailbox, or waits until its database is mounted.
//!
//! What is known (Safety Net, message intervals): mail for a database that is not mounted waits in a retry queue and is
//! reported back after 2 days; duplicate deliveries to a mailbox are suppressed by Message-ID and submit time for some
//! days, but not to contacts nor of mail without a Message-ID.

use std::collections::{BTreeSet, VecDeque};

use crate::config::{Load, Site};
use crate::directory::database_name;
use crate::fluid::Fluid;
use crate::message::{Delivering, Delivery};

/// Deliveries and recognised duplicates that are remembered one by one; beyond that they are only counted.
const REMEMBERED_MAX: usize = 2_000_000;

/// A queue before one database, and those of its mail that have failed once.
#[derive(Debug)]
struct Database {
    active: Fluid<Delivering>,
    retry: VecDeque<Delivering>,
    retry_at_ms: u64,
}

/// What became of a copy.
pub(crate) enum Outcome {
    Delivered(Delivering),
    Expired(Delivering),
}

/// Mailbox, Message-ID and submit time.
type Seen = (String, String, String);

/// All databases.
#[derive(Debug)]
pub(crate) struct Store {
    databases: Vec<Database>,
    seen: BTreeSet<Seen>,
    seen_order: VecDeque<(u64, Seen)>,
    deliveries: Vec<Delivery>,
    pub(crate) queued_total: u64,
    pub(crate) duplicates: u64,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            databases: Vec::new(),
            seen: BTreeSet::new(),
            seen_order: VecDeque::new(),
            deliveries: Vec::new(),
            queued_total: 0,
            duplicates: 0,
        }
    }

    /// Takes a copy for a database.
    pub(crate) fn push(&mut self, now_ms: u64, database: usize, load: &Load, copy: Delivering) {
        while self.databases.len() <= database {
            let database = Database { active: Fluid::new(), retry: VecDeque::new(), retry_at_ms: 0 };
            self.databases.push(database);
        }
        self.queued_total += 1;
        if let Some(database) = self.databases.get_mut(database) {
            database.active.push(now_ms, &load.delivery, 1.0, copy);
        }
    }

    pub(crate) fn next_event_ms(&self) -> Option<u64> {
        let of = |database: &Database| {
            let retry_ms = (!database.retry.is_empty()).then_some(database.retry_at_ms);
            [database.active.next_event_ms(), retry_ms].into_iter().flatten().min()
        };
        self.databases.iter().filter_map(of).min()
    }

    /// Does what is due, and says what became of copies.
    pub(crate) fn advance(&mut self, now_ms: u64, site: &Site, load: &Load) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for number in 0..self.databases.len() {
            let mounted = !site.dismounted.contains(&number);
            self.retry(now_ms, number, mounted, site, load, &mut outcomes);
            while let Some(copy) =
                self.databases.get_mut(number).and_then(|db| db.active.pop(now_ms, &load.delivery))
            {
                if mounted {
                    if self.deliver(now_ms, database_name(number), site, &copy) {
                        outcomes.push(Outcome::Delivered(copy));
                    }
                } else if let Some(database) = self.databases.get_mut(number) {
                    if database.retry.is_empty() {
                        database.retry_at_ms = now_ms + site.retry_ms;
                    }
                    database.retry.push_back(copy);
                }
            }
        }
        outcomes
    }

    /// The queue of a database is tried again as a whole.
    fn retry(
        &mut self,
        now_ms: u64,
        number: usize,
        mounted: bool,
        site: &Site,
        load: &Load,
        outcomes: &mut Vec<Outcome>,
    ) {
        let Some(database) = self.databases.get_mut(number) else { return };
        if database.retry.is_empty() || database.retry_at_ms > now_ms {
            return;
        }
        database.retry_at_ms = now_ms + site.retry_ms;
        let expired = |copy: &Delivering| copy.message.accepted_ms + site.expire_ms <= now_ms;
        while let Some(copy) = database.retry.pop_front_if(|copy| expired(copy)) {
            outcomes.push(Outcome::Expired(copy));
        }
        if mounted {
            for copy in database.retry.drain(..) {
                database.active.push(now_ms, &load.delivery, 1.0, copy);
            }
        }
    }

    /// Puts a copy into its mailbox, unless it has been there. Says whether it did.
    pub(crate) fn deliver(&mut self, now_ms: u64, database: String, site: &Site, copy: &Delivering) -> bool {
        let (message, mailbox) = (&copy.message, &copy.recipient.address);
        self.forget_duplicates(now_ms, site);
        if let (true, Some(message_id), true) = (copy.is_mailbox, &message.message_id, site.duplicates_ms > 0)
        {
            let seen = (mailbox.clone(), message_id.clone(), message.date.clone());
            if !self.seen.insert(seen.clone()) {
                self.duplicates += 1;
                return false;
            }
            self.seen_order.push_back((now_ms, seen));
        }
        if self.deliveries.len() < REMEMBERED_MAX {
            let probe = site.probes.contains(mailbox);
            self.deliveries.push(Delivery {
                message: message.id,
                message_id: message.message_id.clone(),
                mailbox: mailbox.clone(),
                database,
                from: message.envelope.from.clone(),
                source: message.source,
                len_bytes: message.len_bytes,
                mail_ms: message.envelope.mail_ms,
                accepted_ms: message.accepted_ms,
                delivered_ms: now_ms,
                kept: if probe { message.kept.clone() } else { Vec::new() },
            });
        }
        true
    }

    fn forget_duplicates(&mut self, now_ms: u64, site: &Site) {
        let old = |seen: &mut (u64, Seen), len: usize| {
            seen.0 + site.duplicates_ms <= now_ms || len > REMEMBERED_MAX
        };
        let mut len = self.seen_order.len();
        while let Some((_, seen)) = self.seen_order.pop_front_if(|seen| old(seen, len)) {
            self.seen.remove(&seen);
            len -= 1;
        }
    }

    /// Everything that lies in mailboxes, in the order of delivery.
    pub(crate) fn deliveries(&self) -> &[Delivery] {
        &self.deliveries
    }

    /// Copies before each database that are on their way, and those that wait for another try.
    pub(crate) fn lengths(&self) -> impl Iterator<Item = (usize, usize)> {
        self.databases.iter().map(|database| (database.active.len(), database.retry.len()))
    }
}
