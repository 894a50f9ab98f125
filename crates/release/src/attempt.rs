//! One message on its way to a next hop: its open recipients, in as many transactions as it takes.
//!
//! This decides who goes in which transaction and what follows from what the server said to it. The caller has the
//! session and the log. What [`settle`](MessageAttempt::settle) gives must be durable before the session begins anything
//! else, so that whatever happens then, at most the transaction in flight is repeated.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::custody::Verdict;
use crate::decision::Outcome;
use crate::found::Found;
use crate::transaction::{End, Said, Transaction};

/// An attempt to send one message.
#[derive(Debug)]
pub struct MessageAttempt {
    /// Recipients that are still to be offered.
    to_offer: VecDeque<u16>,
    /// Those of the transaction that is going on.
    batch: Vec<u16>,
    /// Recipients that were put off.
    put_off: Vec<u16>,
    /// Recipients of domains that the server has lost, and what it said.
    denied: Vec<(u16, Found)>,
    /// Recipients that are held alone.
    parked: Vec<u16>,
    /// By which route, the first of several.
    route: Option<u16>,
    /// Recipients that have other hops.
    elsewhere: Vec<u16>,
    /// Offer them one by one, since one of them may have spoilt it for all.
    split: bool,
    delivered: bool,
    /// How many recipients it is for.
    all: usize,
    /// Who was refused for good, and how.
    refused: Vec<(u16, Found)>,
    /// What the message was refused with that had been offered to all at once, where that judges what is in it.
    refused_whole: Option<Found>,
    /// What kept recipients open; the last of several.
    kept_open: Option<Found>,
}

/// The fate of some recipients, to be made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fated {
    /// Their numbers, in ascending order.
    pub recipients: Vec<u16>,
    /// The server took custody of the message for them; else it refused them for good, and they are the operator's.
    pub delivered: bool,
    /// What the server said.
    pub found: Found,
}

/// Why a recipient is not offered to a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aside {
    /// A route holds it.
    Held {
        /// Which, see [`hold_route`](crate::Release::hold_route).
        route: u16,
    },
    /// Its mail goes through other hops, see [`Config::ways`](crate::Config::ways).
    Elsewhere,
}

/// What a transaction came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Who has a fate now.
    pub fates: Vec<Fated>,
    /// Whether the session, and the attempt, can go on.
    pub goes_on: bool,
}

impl MessageAttempt {
    /// An attempt for these recipients, who are open.
    pub fn new(open: impl IntoIterator<Item = u16>) -> Self {
        let to_offer: VecDeque<u16> = open.into_iter().collect();
        Self {
            all: to_offer.len(),
            refused: Vec::new(),
            refused_whole: None,
            to_offer,
            batch: Vec::new(),
            put_off: Vec::new(),
            denied: Vec::new(),
            parked: Vec::new(),
            route: None,
            elsewhere: Vec::new(),
            split: false,
            delivered: false,
            kept_open: None,
        }
    }

    /// Leaves out recipients who are not to be offered to this hop. To be called before the first transaction.
    pub fn hold_back(&mut self, why: impl Fn(u16) -> Option<Aside>) {
        let Self { to_offer, parked, route, elsewhere, .. } = self;
        to_offer.retain(|number| match why(*number) {
            Some(Aside::Held { route: by }) => {
                route.get_or_insert(by);
                parked.push(*number);
                false
            }
            Some(Aside::Elsewhere) => {
                elsewhere.push(*number);
                false
            }
            None => true,
        });
    }

    /// Whether another transaction is to follow: somebody is to be offered, and nothing was said that leaves no hope.
    pub fn has_next(&self) -> bool {
        let hopeless =
            |found: &Found| matches!(found.verdict(), Verdict::Destination(_) | Verdict::RetryMessage);
        !self.to_offer.is_empty() && !self.kept_open.as_ref().is_some_and(hopeless)
    }

    /// Begins the next transaction, of at most so many recipients. Who is in it; nobody, if there is none.
    pub fn begin(&mut self, recipients_max: usize) -> &[u16] {
        self.batch.clear();
        if self.has_next() {
            let len = if self.split { 1 } else { recipients_max.max(1).min(self.to_offer.len()) };
            self.batch.extend(self.to_offer.drain(..len));
        }
        &self.batch
    }

    /// The transaction that was begun did not take place: its recipients come first in the next one.
    pub fn unbegin(&mut self) {
        self.batch.drain(..).rev().for_each(|number| self.to_offer.push_front(number));
    }

    /// There is no session to be had. `None` where that is our doing.
    pub fn no_session(&mut self, found: Option<Found>) {
        self.kept_open = found;
    }

    /// What follows from the transaction that was begun.
    pub fn settle(&mut self, transaction: Transaction, end: End) -> Settled {
        let mut fates = Vec::new();
        let mut accepted = Vec::new();
        // Of whom nothing was said, and who is to go in the next transaction.
        let (mut unsaid, mut open) = (Vec::new(), Vec::new());
        for (number, said) in core::mem::take(&mut self.batch).into_iter().zip(transaction.into_said()) {
            match said {
                Said::Accepted => accepted.push(number),
                Said::Nothing => unsaid.push(number),
                Said::Next => open.push(number),
                Said::Later(found) if found.is_of_domain() => self.denied.push((number, found)),
                Said::Later(found) => {
                    self.put_off.push(number);
                    self.kept_open = Some(found);
                }
                Said::Refused(found) => {
                    fates.push(Fated { recipients: Vec::from([number]), delivered: false, found });
                }
            }
        }
        let goes_on = match end {
            End::Message(found) | End::Before(Some(found)) => {
                // Where MAIL was refused nothing was said of any recipient: it was said of all.
                accepted.append(&mut unsaid);
                accepted.sort_unstable();
                self.judge(accepted, found, &mut fates);
                true
            }
            End::Before(None) => true,
            End::Cut(found) => {
                open.append(&mut accepted);
                self.kept_open = found;
                false
            }
        };
        open.append(&mut unsaid);
        open.sort_unstable();
        open.into_iter().rev().for_each(|number| self.to_offer.push_front(number));
        for Fated { recipients, found, .. } in fates.iter().filter(|fated| !fated.delivered) {
            self.refused.extend(recipients.iter().map(|number| (*number, found.clone())));
        }
        Settled { fates, goes_on }
    }

    /// What follows from what the server said of the message as a whole, for those recipients.
    fn judge(&mut self, recipients: Vec<u16>, found: Found, fates: &mut Vec<Fated>) {
        match found.verdict() {
            Verdict::Delivered => {
                self.delivered = true;
                fates.push(Fated { recipients, delivered: true, found });
            }
            Verdict::Held => fates.push(Fated { recipients, delivered: false, found }),
            Verdict::SplitRecipients => {
                self.split = true;
                if recipients.len() == self.all && found.evidence().judges_message() {
                    self.refused_whole = Some(found);
                }
                recipients.into_iter().rev().for_each(|number| self.to_offer.push_front(number));
            }
            Verdict::Accepted
            | Verdict::RetryMessage
            | Verdict::RetryRecipient
            | Verdict::NextTransaction
            | Verdict::Destination(_) => {
                self.put_off.extend(recipients);
                self.kept_open = Some(found);
            }
        }
    }

    /// Has the recipients wait whose domain the server has lost: by the route that holds it, or, where that is `None`, as
    /// everybody does to whom the server does not know the way. To be called after the last transaction.
    pub fn hold_denied(&mut self, mut route_of: impl FnMut(u16) -> Option<u16>) {
        for (number, found) in core::mem::take(&mut self.denied) {
            if let Some(route) = route_of(number) {
                self.route.get_or_insert(route);
                self.parked.push(number);
            } else {
                self.put_off.push(number);
                self.kept_open = Some(found);
            }
        }
    }

    /// Who was refused for good so far, and how.
    pub fn refused(&self) -> &[(u16, Found)] {
        &self.refused
    }

    /// Where everybody was refused, what was said to each: to one after the other, or of the message to all of them at once.
    /// In the latter case they are offered one by one next, in case it was about one of them, unless
    /// [`refuse_all`](Self::refuse_all) says that this is the end of it.
    pub fn refusal_of_all(&self) -> Option<Vec<(u16, Found)>> {
        if self.refused.len() == self.all {
            return Some(self.refused.clone());
        }
        let whole = self.refused_whole.as_ref().filter(|_| self.to_offer.len() == self.all)?;
        Some(self.to_offer.iter().map(|number| (*number, whole.clone())).collect())
    }

    /// Ends it with everybody refused, as [`refusal_of_all`](Self::refusal_of_all) says: the sender is told.
    pub fn refuse_all(&mut self) {
        self.refused = self.refusal_of_all().unwrap_or_default();
        self.close();
    }

    /// All that are open have another fate now, given by the caller.
    pub fn close(&mut self) {
        self.to_offer.clear();
        self.batch.clear();
        self.put_off.clear();
        self.denied.clear();
        self.parked.clear();
        self.elsewhere.clear();
    }

    /// Who has no fate yet, in ascending order.
    pub fn open(&self) -> Vec<u16> {
        let mut open: Vec<u16> = self
            .to_offer
            .iter()
            .chain(&self.batch)
            .chain(&self.put_off)
            .chain(self.denied.iter().map(|(number, _)| number))
            .chain(&self.parked)
            .chain(&self.elsewhere)
            .copied()
            .collect();
        open.sort_unstable();
        open.dedup();
        open
    }

    /// What kept recipients open, if the server did; the last of several.
    pub fn kept_open(&self) -> Option<&Found> {
        self.kept_open.as_ref()
    }

    /// What to report of it to [`Release::finished`](crate::Release::finished).
    pub fn outcome(&self) -> Outcome<'_> {
        let delivered = self.delivered;
        let others_are_done = self.to_offer.is_empty()
            && self.batch.is_empty()
            && self.put_off.is_empty()
            && self.denied.is_empty();
        match (&self.kept_open, self.route) {
            (_, Some(route)) if others_are_done && !self.parked.is_empty() => {
                Outcome::Parked { route, delivered }
            }
            _ if others_are_done && !self.elsewhere.is_empty() => Outcome::Elsewhere { delivered },
            _ if others_are_done => Outcome::Done { delivered },
            (Some(found), _) => Outcome::Open { evidence: found.evidence(), delivered },
            (None, _) => Outcome::NotTried,
        }
    }
}

#[cfg(test)]
mod tests;
