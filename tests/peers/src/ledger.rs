//! Holds what clients were told against what the next hop was given.

use std::collections::{BTreeMap, BTreeSet};

use crate::content::Content;
use crate::recorder::{Outcome, Transaction};
use crate::sink::Delivery;

/// What one recipient is owed or got: this message, from this sender.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// The message.
    pub content: Content,
    /// The sender's address.
    pub from: String,
    /// The recipient's address.
    pub to: String,
}

/// The result of the comparison.
#[derive(Debug, Default)]
pub struct Balance {
    /// Transactions that were acknowledged.
    pub acknowledged: usize,
    /// Transactions whose final dot was sent and not answered: they may arrive.
    pub unknown: usize,
    /// Messages that arrived.
    pub arrived: usize,
    /// What was acknowledged and did not arrive.
    pub lost: Vec<Item>,
    /// What arrived and was neither acknowledged nor left open: altered, refused or unfinished mail.
    pub strange: Vec<Item>,
    /// Messages that arrived more often than they were sent.
    pub again: BTreeSet<Content>,
}

#[derive(Default)]
struct Count {
    owed: usize,
    possible: usize,
    got: usize,
}

impl Balance {
    /// Compares.
    pub fn of(sent: &[Transaction], arrived: &[Delivery]) -> Self {
        let mut balance = Self { arrived: arrived.len(), ..Self::default() };
        let mut items: BTreeMap<Item, Count> = BTreeMap::new();
        for transaction in sent {
            let (owed, possible) = match transaction.outcome {
                Outcome::Acknowledged { .. } => (1, 0),
                Outcome::Unknown => (0, 1),
                Outcome::Refused { .. } | Outcome::Unfinished => continue,
            };
            balance.acknowledged += owed;
            balance.unknown += possible;
            for to in &transaction.to {
                let item = Item {
                    content: transaction.content,
                    from: transaction.from.address.clone(),
                    to: to.address.clone(),
                };
                let count = items.entry(item).or_default();
                count.owed += owed;
                count.possible += possible;
            }
        }
        for delivery in arrived {
            for to in &delivery.to {
                let (from, to) = (delivery.from.address.clone(), to.address.clone());
                items.entry(Item { content: delivery.content, from, to }).or_default().got += 1;
            }
        }
        for (item, count) in items {
            if count.got < count.owed {
                balance.lost.push(item);
            } else if count.owed + count.possible == 0 {
                balance.strange.push(item);
            } else if count.got > count.owed + count.possible {
                balance.again.insert(item.content);
            }
        }
        balance
    }

    /// Asserts that nothing was lost or altered and at most `again_max` messages came twice.
    pub fn assert_sound(&self, again_max: usize) {
        println!(
            "{} acknowledged, {} left open, {} arrived, {} of them again",
            self.acknowledged,
            self.unknown,
            self.arrived,
            self.again.len()
        );
        assert!(self.lost.is_empty(), "{} lost, first {:?}", self.lost.len(), self.lost.first());
        assert!(self.strange.is_empty(), "{} strange, first {:?}", self.strange.len(), self.strange.first());
        assert!(self.again.len() <= again_max, "{} came again, {again_max} may", self.again.len());
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::envelope::Path;

    fn sent(body: &[u8], to: &[&str], outcome: Outcome) -> Transaction {
        let to = to.iter().map(|to| Path::parse(to)).collect();
        Transaction { session: 0, from: Path::parse("<a>"), to, content: Content::of(body), outcome }
    }

    fn got(body: &[u8], to: &[&str]) -> Delivery {
        let to = to.iter().map(|to| Path::parse(to)).collect();
        Delivery {
            session: 0,
            from: Path::parse("<a>"),
            to,
            trace: String::new(),
            content: Content::of(body),
            raw: Vec::new(),
            at: Instant::now(),
        }
    }

    #[test]
    fn loss_alteration_and_repetition_are_told_apart() {
        let ok = || Outcome::Acknowledged { at: Duration::ZERO };
        let sent = [
            sent(b"1", &["<b>", "<c>"], ok()),
            sent(b"2", &["<b>"], Outcome::Unknown),
            sent(b"3", &["<b>"], ok()),
        ];
        let balance = Balance::of(&sent, &[got(b"1", &["<b>"]), got(b"1", &["<c>"]), got(b"3", &["<b>"])]);
        balance.assert_sound(0);
        assert_eq!((balance.acknowledged, balance.unknown, balance.arrived), (2, 1, 3));

        let balance = Balance::of(
            &sent,
            &[got(b"1", &["<b>"]), got(b"2", &["<b>"]), got(b"2", &["<b>"]), got(b"?", &["<b>"])],
        );
        assert_eq!(balance.lost.len(), 2);
        assert_eq!(balance.strange.len(), 1);
        assert_eq!(balance.again.len(), 1);
    }
}
