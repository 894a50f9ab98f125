//! The language of the control interface about replays: delivered mail that is still kept goes out once more.
//!
//! A replay is asked for page by page, each a bounded piece of work that is durable when it is answered. Whoever asks may
//! stop between two pages. How far the last one came is kept on the volume, so that the same request without a position
//! goes on where one before it was cut.

use serde::{Deserialize, Serialize};

use super::MailId;
use super::types::{ErrorBody, Refused};

/// The longest mailbox, domain or database, in bytes: that of a forward-path.
pub const ADDRESS_BYTES_MAX: usize = 256;

/// Asks for a page of a replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayRequest {
    /// Which mail.
    pub which: Which,
    /// Only what was delivered at this time or later.
    #[serde(default)]
    pub from_unix_ms: Option<u64>,
    /// Only what was delivered before this time.
    #[serde(default)]
    pub until_unix_ms: Option<u64>,
    /// Whether each message goes as an attachment of a new one. Else it goes as it is, and a server that has seen its
    /// Message-ID within the last days may discard it.
    #[serde(default)]
    pub as_attachment: bool,
    /// Only count.
    #[serde(default)]
    pub dry_run: bool,
    /// Where this page begins: [`ReplayPage::next`] of the one before. Without it, at the beginning, or where the same
    /// request was cut before.
    #[serde(default)]
    pub position: Option<MailId>,
    /// Only messages with a lower number: [`ReplayPage::below`] of the first page, so that a replay ends although what it
    /// sends is delivered mail in its turn.
    #[serde(default)]
    pub below: Option<u64>,
    /// Without a position: at the beginning whatever was before.
    #[serde(default)]
    pub again: bool,
    /// Why, for the ledger.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Which mail is replayed, to those of its recipients who are meant and to whom it was delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// All that is kept.
    All,
    /// That to recipients of a domain, whatever the case.
    Domain(String),
    /// That to one recipient, whatever the case.
    Mailbox(String),
    /// That to the recipients whose mailboxes lie in a database, by the list of recipients as it is now, whatever the case.
    Database(String),
    /// These messages, at most [`IDS_MAX`](super::types::IDS_MAX).
    Ids(Vec<MailId>),
}

/// What a page of a replay did, or would have done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayPage {
    /// Messages that go out once more.
    pub messages: u64,
    /// Their size, without what is wrapped around them.
    pub bytes: u64,
    /// To how many recipients.
    pub recipients: u64,
    /// Those among the messages of which it is not known when they were delivered: the clock was not trusted then, or the
    /// ledger no longer has it. A time range does not keep them out.
    pub undated: u64,
    /// Messages with which it could not be done.
    #[serde(default)]
    pub refused: Vec<Refused>,
    /// Of all mail that this page looked at, whatever was asked for: when the first of it was delivered, as far as that is
    /// known. Only where times were asked for, or nothing but a count.
    #[serde(default)]
    pub oldest_unix_ms: Option<u64>,
    /// Where this page began, if an earlier run of the same request was cut there.
    #[serde(default)]
    pub resumed_at: Option<MailId>,
    /// The message that asks the server for a report that it arrives, if one does: the first of the replay that can.
    #[serde(default)]
    pub asks: Option<MailId>,
    /// Which messages are not among those that the replay is about: they came after it had begun.
    pub below: u64,
    /// Where the next page begins; `null` at the end.
    pub next: Option<MailId>,
    /// Why it did not go on to the end of the page; the next page begins there.
    #[serde(default)]
    pub stopped: Option<ErrorBody>,
    /// Volumes that do not answer: what is on them is not replayed.
    #[serde(default)]
    pub unreachable: Vec<String>,
}
