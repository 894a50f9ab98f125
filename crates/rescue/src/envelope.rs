//! The envelope of a transaction under way, in fixed memory.
//!
//! A session packs its recipients behind each other. The spool wants them as a list of strings; that list is made for the
//! moment in which a message begins, in one place that all sessions share.

use alloc::string::String;
use alloc::vec::Vec;

use heapless::{String as FixedString, Vec as FixedVec};
use penstock_spool::{Begin, Body, HELO_BYTES_MAX, PATH_BYTES_MAX, Recipient, Stamp};

/// Recipients of one message; further ones are answered with 452 and come in another transaction. RFC 5321
/// §4.5.3.1.8 asks for as many.
pub const RECIPIENTS_MAX: u32 = 100;
/// The text of all of them, in bytes; beyond it the answer is the same. A hundred ordinary addresses fit.
const RECIPIENT_BYTES_MAX: usize = 4096;

/// What is known of a transaction.
#[derive(Debug, Default)]
pub(crate) struct Envelope {
    sender: FixedString<PATH_BYTES_MAX>,
    /// Each with its length in two bytes before it.
    recipients: FixedVec<u8, RECIPIENT_BYTES_MAX>,
    count: u32,
    pub(crate) body: Body,
    pub(crate) declared_bytes: Option<u64>,
    pub(crate) received: Stamp,
}

impl Envelope {
    /// Begins anew. `None` if the sender's address is too long.
    pub(crate) fn begin(&mut self, sender: &str) -> Option<()> {
        self.clear();
        self.sender.push_str(sender).ok()
    }

    pub(crate) fn clear(&mut self) {
        self.sender.clear();
        self.recipients.clear();
        self.count = 0;
    }

    /// Adds a recipient of at most [`PATH_BYTES_MAX`]. `None` if there is no room for it.
    pub(crate) fn add(&mut self, address: &str) -> Option<()> {
        let len = u16::try_from(address.len()).ok()?;
        if self.count >= RECIPIENTS_MAX || self.recipients.len() + 2 + address.len() > RECIPIENT_BYTES_MAX {
            return None;
        }
        self.recipients.extend_from_slice(&len.to_le_bytes()).ok()?;
        self.recipients.extend_from_slice(address.as_bytes()).ok()?;
        self.count += 1;
        Some(())
    }

    /// The recipient, if there is one only.
    pub(crate) fn only_recipient(&self) -> Option<&str> {
        self.recipients().next().filter(|_| self.count == 1)
    }

    fn recipients(&self) -> impl Iterator<Item = &str> {
        let mut rest = self.recipients.as_slice();
        core::iter::from_fn(move || {
            let (len, behind) = rest.split_first_chunk()?;
            let (address, behind) = behind.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
            rest = behind;
            core::str::from_utf8(address).ok()
        })
    }
}

/// An envelope as the spool takes it, made for one at a time.
#[derive(Debug)]
pub(crate) struct SpoolEnvelope {
    begin: Begin,
    recipients: Vec<Recipient>,
}

impl SpoolEnvelope {
    pub(crate) fn new() -> Self {
        let begin = Begin {
            sender: String::with_capacity(PATH_BYTES_MAX),
            helo: String::with_capacity(HELO_BYTES_MAX),
            ..Begin::default()
        };
        let recipient =
            || Recipient { address: String::with_capacity(PATH_BYTES_MAX), ..Recipient::default() };
        Self { begin, recipients: (0..RECIPIENTS_MAX).map(|_| recipient()).collect() }
    }

    /// Fills it.
    pub(crate) fn fill(
        &mut self,
        envelope: &Envelope,
        helo: &str,
        client: core::net::SocketAddr,
    ) -> (&Begin, &[Recipient]) {
        let Self { begin, recipients } = self;
        begin.sender.clear();
        begin.sender.push_str(&envelope.sender);
        begin.helo.clear();
        begin.helo.push_str(helo);
        begin.received = envelope.received;
        begin.client = Some(client);
        begin.body = envelope.body;
        let mut count = 0;
        for (recipient, address) in recipients.iter_mut().zip(envelope.recipients()) {
            recipient.address.clear();
            recipient.address.push_str(address);
            count += 1;
        }
        (begin, recipients.get(..count).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_come_out_as_they_went_in_until_there_is_no_room() {
        let mut envelope = Envelope::default();
        envelope.begin("sender@example.com").unwrap();
        envelope.add("first@example.org").unwrap();
        assert_eq!(envelope.only_recipient(), Some("first@example.org"));
        let long = alloc::format!("{}@example.org", "x".repeat(200));
        let mut added = 1;
        while envelope.add(&long).is_some() {
            added += 1;
        }
        assert_eq!(added, 1 + (RECIPIENT_BYTES_MAX - 19) / (long.len() + 2));
        assert_eq!(envelope.only_recipient(), None);
        let mut spool = SpoolEnvelope::new();
        let (begin, recipients) = spool.fill(&envelope, "helo", "192.0.2.1:25".parse().unwrap());
        assert_eq!((begin.sender.as_str(), recipients.len()), ("sender@example.com", added));
        assert_eq!(recipients[1].address, long);

        envelope.begin("").unwrap();
        (0..RECIPIENTS_MAX).for_each(|n| envelope.add(&alloc::format!("{n}@example.org")).unwrap());
        assert!(envelope.add("one.more@example.org").is_none());
        let (begin, recipients) = spool.fill(&envelope, "helo", "192.0.2.1:25".parse().unwrap());
        assert_eq!((begin.sender.as_str(), recipients.len()), ("", RECIPIENTS_MAX as usize));
    }
}
