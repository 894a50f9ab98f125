//! The list of recipients in the language of the control interface.

use axum::body::Body;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::adopt::next;
use super::types::ErrorBody;
use super::{Refusal, Store};

/// The largest file, in bytes.
pub const FILE_BYTES_MAX: u64 = crate::directory::FILE_BYTES_MAX;

/// How the list of recipients stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientsView {
    /// What time the box believes it is.
    pub now_unix_ms: u64,
    /// The list; `null` if there is none.
    pub list: Option<ListView>,
    /// Whether one was imported that cannot be read now.
    pub unreadable: bool,
    /// The volumes that the list is on.
    pub volumes: Vec<Store>,
    /// What should be looked at, a sentence each.
    pub warnings: Vec<String>,
    /// What is said to recipients that nobody knows.
    #[serde(default)]
    pub policy: PolicyView,
    /// Where the list is read from by itself; `null` if from nowhere.
    #[serde(default)]
    pub source: Option<SourceView>,
}

/// What is said to recipients, and what that goes by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyView {
    /// Who decides, as one word: `next_hop`, `not_known_yet`; and while no next hop is there `list_in_step`, `older_list`
    /// or `nobody`.
    pub decides: String,
    /// What becomes of mail for unknown recipients, a sentence.
    pub unknown: String,
    /// Since when no next hop is there.
    pub away_since_unix_ms: Option<u64>,
    /// When the list was last in step.
    pub in_step_unix_ms: Option<u64>,
    /// Whether it would count as in step if the last next hop went away now.
    pub in_step: bool,
    /// Which next hops look at recipients themselves.
    pub validation: Vec<ValidationEntry>,
}

/// Whether a next hop looks at the recipients of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidationEntry {
    /// The next hop.
    pub hop: String,
    /// The domain.
    pub domain: String,
    /// Whether it does; `null` if it is not known.
    pub validates: Option<bool>,
    /// The same as words that follow its name.
    pub words: String,
    /// When it was found out.
    pub found_unix_ms: Option<u64>,
}

/// Where the list is read from by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceView {
    /// The file, or the directory server.
    pub place: String,
    /// When it was last read without mistake.
    pub read_unix_ms: Option<u64>,
    /// What came of the last try, a sentence.
    pub last: String,
    /// What the matter is, if there is something the matter.
    pub trouble: Option<ErrorBody>,
}

/// What would be said to a recipient now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedRecipient {
    /// The address that was asked for.
    pub address: String,
    /// `take`, `later` or `refuse`.
    pub answer: String,
    /// The reply, with its codes.
    pub reply: String,
    /// Why, as one word.
    pub reason: String,
    /// Why, in sentences.
    pub why: Vec<String>,
}

/// Whether to believe a reading that lacks many of those known before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReloadRequest {
    /// Whether to.
    pub believe: bool,
}

/// A list of recipients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListView {
    /// When it was imported.
    pub imported_unix_ms: u64,
    /// Whether the box believed its clock then.
    pub clock_trusted: bool,
    /// By whom.
    pub by: String,
    /// Recipients, each with one address or several.
    pub recipients: u64,
    /// Addresses.
    pub addresses: u64,
    /// Addresses by mailbox database.
    pub databases: Vec<DatabaseView>,
    /// Addresses without a database, such as those of groups and contacts.
    pub without_database: u64,
    /// Addresses by domain, the domains with the most first.
    pub domains: Vec<DomainView>,
    /// Addresses in domains beyond those.
    pub other_addresses: u64,
}

/// A mailbox database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseView {
    /// Its name.
    pub name: String,
    /// Addresses of mailboxes in it.
    pub addresses: u64,
}

/// A domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainView {
    /// Its name.
    pub name: String,
    /// Addresses in it.
    pub addresses: u64,
    /// Whether mail for it is taken here.
    pub accepted: bool,
}

/// Whether to keep the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImportOptions {
    /// Only tell what would be.
    pub dry_run: bool,
}

/// What was made of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedView {
    /// Whether it counts from now on.
    pub kept: bool,
    /// Lines of the file.
    pub lines: u64,
    /// What was passed over, by reason.
    pub skipped: Vec<SkippedView>,
    /// The list.
    #[serde(flatten)]
    pub view: RecipientsView,
}

/// What was passed over for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedView {
    /// The reason.
    pub why: String,
    /// Lines or addresses.
    pub count: u64,
    /// The first line with one.
    pub first_line: u64,
}

/// Which address is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindRecipient {
    /// The address.
    pub address: String,
}

/// Whether an address is on the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundRecipient {
    /// The address that was asked for.
    pub address: String,
    /// Whether it is; `null` if there is no list.
    pub known: Option<bool>,
    /// Its mailbox database.
    pub database: Option<String>,
    /// Whether only the address without its subaddress is on the list.
    pub without_tag: bool,
}

/// A file on its way in.
#[derive(Debug)]
pub struct Upload(Body);

impl Upload {
    pub(super) fn new(body: Body) -> Self {
        Self(body)
    }

    /// The next bytes; `None` at the end of the file.
    ///
    /// # Errors
    /// Why there are no more though it is not over.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, Refusal> {
        next(&mut self.0).await
    }
}
