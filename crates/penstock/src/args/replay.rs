//! `penstock replay`

use clap::{ArgGroup, Args};
use penstock_daemon::control::MailId;
use penstock_daemon::control::types::IDS_MAX;

use super::Daemon;

/// `penstock replay`
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("which").required(true))]
pub(crate) struct Replay {
    /// These messages
    #[arg(value_name = "ID", group = "which", num_args = 1..=IDS_MAX)]
    pub(crate) ids: Vec<MailId>,
    /// All mail that was delivered to this address
    #[arg(long, value_name = "ADDRESS", group = "which")]
    pub(crate) mailbox: Option<String>,
    /// All mail that was delivered to addresses in this domain
    #[arg(long, value_name = "DOMAIN", group = "which")]
    pub(crate) domain: Option<String>,
    /// All mail that was delivered to mailboxes in this database, by the list of recipients (`penstock recipients`)
    #[arg(long, value_name = "DATABASE", group = "which")]
    pub(crate) database: Option<String>,
    /// All mail that was delivered
    #[arg(long, group = "which")]
    pub(crate) all: bool,
    /// Only what was delivered at this time or later, such as '2026-03-01 06:00', or 06:00 when the clock last showed that
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Only what was delivered before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Send each message as an attachment of a new one, which no server takes for one that it has had
    #[arg(long)]
    pub(crate) as_attachment: bool,
    /// Do nothing but tell how much that is, and how far back delivered mail is kept
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Begin anew, even if the same replay was cut before
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) again: bool,
    /// Why, for the ledger
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) daemon: Daemon,
}
