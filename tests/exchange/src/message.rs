//! A message that the server has taken, and what became of each copy of it.

use std::net::IpAddr;
use std::sync::Arc;

/// One recipient of a message, as RCPT named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recipient {
    pub(crate) address: String,
    /// NOTIFY=SUCCESS.
    pub(crate) wants_success: bool,
    /// NOTIFY allows a report of failure: FAILURE, or nothing said.
    pub(crate) wants_failure: bool,
    /// ORCPT as it came.
    pub(crate) original: Option<String>,
}

/// An envelope under construction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Envelope {
    pub(crate) from: String,
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) envelope_id: Option<String>,
    /// BODY=BINARYMIME.
    pub(crate) binary: bool,
    /// When MAIL came.
    pub(crate) mail_ms: u64,
}

/// A message in the server's custody.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// Counts what the server took.
    pub(crate) id: u64,
    /// `None`: the server's own.
    pub(crate) source: Option<IpAddr>,
    pub(crate) envelope: Envelope,
    pub(crate) message_id: Option<String>,
    /// The date in the header: when it was submitted, for the recognition of duplicates.
    pub(crate) date: String,
    pub(crate) len_bytes: u64,
    pub(crate) accepted_ms: u64,
    /// The message's beginning, if one of its recipients is a probe.
    pub(crate) kept: Vec<u8>,
}

/// A copy on its way to one mailbox.
#[derive(Clone, Debug)]
pub(crate) struct Delivering {
    pub(crate) message: Arc<Message>,
    pub(crate) recipient: Recipient,
    /// Neither a forward nor a contact: duplicates are recognised.
    pub(crate) is_mailbox: bool,
}

/// A message that lies in a mailbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The number that the server gave the message: copies of one message have the same.
    pub message: u64,
    /// Its Message-ID.
    pub message_id: Option<String>,
    /// The address that was given to RCPT, in lower case.
    pub mailbox: String,
    /// Its database, `DB1` and on; `contact` for an address outside.
    pub database: String,
    /// The sender's address.
    pub from: String,
    /// Where it came from; `None` for the server's own mail.
    pub source: Option<IpAddr>,
    /// Its length in bytes.
    pub len_bytes: u64,
    /// When its MAIL command came, in milliseconds of the server's time.
    pub mail_ms: u64,
    /// When its end of data was answered.
    pub accepted_ms: u64,
    /// When it came to lie in the mailbox.
    pub delivered_ms: u64,
    /// Its beginning, for a probe mailbox; else nothing.
    pub kept: Vec<u8>,
}
