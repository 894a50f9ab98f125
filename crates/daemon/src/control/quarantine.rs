//! The language of the control interface about mail that is held for the operator.

use serde::{Deserialize, Serialize};

use super::MailId;

/// Which held mail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeldFilter {
    /// Only what is held for an address in this domain, whatever the case.
    pub domain: Option<String>,
    /// Only where what the server said, or the reason, contains this, whatever its case.
    pub said: Option<String>,
    /// From this one on: [`HeldPage::next`] of the page before.
    pub from: Option<MailId>,
    /// At most so many, up to [`PAGE_ROWS_MAX`](super::types::PAGE_ROWS_MAX); the caller has set it.
    pub limit: u32,
}

/// A part of the held mail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldPage {
    /// What time the box believes it is, from which ages are counted.
    pub now_unix_ms: u64,
    /// In order of arrival. May be fewer than asked for, or none, though there is more.
    pub rows: Vec<HeldRow>,
    /// Where the next page begins; `null` at the end.
    pub next: Option<MailId>,
    /// Volumes that do not answer: what is on them is not listed.
    #[serde(default)]
    pub unreachable: Vec<String>,
}

/// A message with recipients that are held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRow {
    /// Its name.
    pub id: MailId,
    /// When it came; `null` if the clock was not trusted then or its envelope cannot be read.
    pub received_unix_ms: Option<u64>,
    /// The size of its body.
    pub size_bytes: u64,
    /// From whom; empty for the null sender, `null` if it cannot be read.
    pub sender: Option<String>,
    /// For whom it is held, the first of them.
    pub recipients: Vec<String>,
    /// For how many recipients it is held.
    pub held_recipients: u32,
    /// Since when; `null` if the clock was not trusted then.
    pub held_unix_ms: Option<u64>,
    /// Why, as one word: `refused`, `poison`, `expired`, `damaged`, `unfit`, `other`.
    pub why: String,
    /// What the server said, or what is known instead; the last of several.
    pub said: String,
}

/// Asks for the senders of messages to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BounceRequest {
    /// Which message.
    pub id: MailId,
    /// Whether the operator vouches for its sender.
    #[serde(default)]
    pub force: bool,
    /// Why, for the ledger.
    pub reason: String,
}
