//! What became of recipients, as it is written on flash: statuses and the event that explains them, in one group.

use std::fmt::Write as _;

use penstock_spool::{Error, Fate, MessageId, Recipient, Stamp, Status};

use crate::control::MailId;
use crate::ledger::Kind;
use crate::volume::Spool;

/// How many bytes of addresses an event names; the rest is counted. What the server said must fit behind them.
const NAMED_BYTES_MAX: usize = 240;

/// The fate of some recipients of a message, and why.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) id: MailId,
    /// In ascending order.
    pub(super) recipients: Vec<u16>,
    pub(super) fate: Fate,
    pub(super) attempts: u16,
    pub(super) reply_code: u16,
    pub(super) at: Stamp,
    pub(super) kind: Kind,
    pub(super) text: String,
    /// What the server said, for who looks at the queue; it is in the text as well.
    pub(super) said: String,
}

impl Record {
    /// Appends it to the log of its message's volume.
    pub(super) fn append(&self, spool: &mut Spool) -> Result<(), Error> {
        let message = MessageId(self.id.number);
        for (first, count) in runs(&self.recipients) {
            let Self { fate, attempts, reply_code, at, .. } = *self;
            spool.set_status(message, &Status { first, count, fate, attempts, reply_code, at })?;
        }
        spool.record_event(&self.kind.event(self.at, Some(message), self.text.clone()))
    }
}

/// Ascending numbers as runs: the first, and how many.
fn runs(numbers: &[u16]) -> Vec<(u16, u16)> {
    let mut runs: Vec<(u16, u16)> = Vec::new();
    for number in numbers.iter().copied() {
        match runs.last_mut() {
            Some((first, count)) if *first + *count == number => *count += 1,
            _ => runs.push((number, 1)),
        }
    }
    runs
}

/// The recipients by name, as many as there is room for: `a@b, c@d and 7 more`.
pub(super) fn named(recipients: &[Recipient], numbers: &[u16]) -> String {
    let mut text = String::new();
    for (n, number) in numbers.iter().enumerate() {
        let address = recipients.get(usize::from(*number)).map_or("", |recipient| recipient.address.as_str());
        if n > 0 && text.len() + address.len() > NAMED_BYTES_MAX {
            // Writing to a String does not fail.
            let _ = write!(text, " and {} more", numbers.len() - n);
            break;
        }
        let _ = write!(text, "{}{address}", if n > 0 { ", " } else { "" });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_a_status() {
        assert_eq!(runs(&[0, 1, 2, 5, 7, 8]), [(0, 3), (5, 1), (7, 2)]);
        assert_eq!(runs(&[]), []);
    }

    #[test]
    fn many_recipients_are_counted_instead_of_named() {
        let recipients: Vec<_> = (0..100)
            .map(|n| Recipient { address: format!("recipient-{n}@example.org"), ..Recipient::default() })
            .collect();
        assert_eq!(named(&recipients, &[0, 2]), "recipient-0@example.org, recipient-2@example.org");
        let all: Vec<u16> = (0..100).collect();
        let text = named(&recipients, &all);
        assert!(text.ends_with(" more") && text.len() < NAMED_BYTES_MAX + 40, "{text}");
    }
}
