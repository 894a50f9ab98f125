//! The list of recipients in the language of the control interface.

use axum::body::Body;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::adopt::next;
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
