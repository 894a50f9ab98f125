//! `penstock quarantine`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use penstock_daemon::control::MailId;
use penstock_daemon::control::types::IDS_MAX;

use super::Daemon;

/// `penstock quarantine`
#[derive(Debug, Subcommand)]
pub(crate) enum Quarantine {
    /// List what is held, the oldest first: since when, for whom, and why
    #[command(after_help = "\
Examples:
  penstock quarantine list
  penstock quarantine list --domain example.org
  penstock quarantine list --said 5.1.1 --json | jq -r '.rows[].id'")]
    List {
        #[command(flatten)]
        held: Held,
        /// At most so many
        #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Have what is held tried again
    #[command(after_help = "\
Examples:
  penstock quarantine retry d-17 d-18
  penstock quarantine retry --domain example.org
  penstock quarantine retry --said RecipientNotFound    once the directory is back
  penstock quarantine retry --all")]
    Retry {
        #[command(flatten)]
        which: HeldOnes,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Write what is held into a folder, each message with its envelope beside it
    #[command(after_help = "\
Of each message there will be ID.eml, as it was received, and ID.json with its envelope and what happened to it. What is there
already stays. Who read what, and why, goes into the ledger (`penstock events`).

Examples:
  penstock quarantine export held/ --all --reason 'the box is to be replaced'
  penstock quarantine export held/ d-17 --reason 'for Mia'")]
    Export {
        /// The folder; it is made if it is not there
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        #[command(flatten)]
        which: HeldOnes,
        /// Why it is read, for the ledger
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Tell the sender of a message that it was not delivered, and end it
    #[command(after_help = "\
A report (RFC 3464) goes to the sender through the smarthost in the settings (bounce.smarthost), at once; what it is about ends
when the smarthost has taken it. There is none for spam and other refusals of what a message says, none to the null sender,
and none while the mail server is not well. Anybody can write any sender on a message, and the box does not check that yet: so
each needs --force, by somebody who has looked at it.

Examples:
  penstock show d-17
  penstock quarantine bounce d-17 --force --reason 'left in May; the sender is a customer'")]
    Bounce {
        /// The messages
        #[arg(value_name = "ID", required = true, num_args = 1..=IDS_MAX)]
        ids: Vec<MailId>,
        /// The sender is who it says, as far as you know
        #[arg(long)]
        force: bool,
        /// Why, for the ledger
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        daemon: Daemon,
    },
}

/// Which held mail.
#[derive(Args, Clone, Debug)]
pub(crate) struct Held {
    /// Only what is held for an address in this domain
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) domain: Option<String>,
    /// Only where what the server said, or the reason, contains this, whatever its case
    #[arg(long, value_name = "TEXT")]
    pub(crate) said: Option<String>,
}

/// Which held mail, of which some must be named.
#[derive(Args, Clone, Debug)]
#[group(id = "which", required = true, multiple = true)]
pub(crate) struct HeldOnes {
    /// These messages
    #[arg(value_name = "ID", num_args = 1..=IDS_MAX, conflicts_with_all = ["domain", "said", "all"])]
    pub(crate) ids: Vec<MailId>,
    /// What is held for an address in this domain
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) domain: Option<String>,
    /// That of which the server said this, or the reason contains it, whatever its case
    #[arg(long, value_name = "TEXT")]
    pub(crate) said: Option<String>,
    /// All that is held
    #[arg(long, conflicts_with_all = ["domain", "said"])]
    pub(crate) all: bool,
}

impl Quarantine {
    pub(crate) fn daemon(&self) -> &Daemon {
        match self {
            Self::List { daemon, .. }
            | Self::Retry { daemon, .. }
            | Self::Export { daemon, .. }
            | Self::Bounce { daemon, .. } => daemon,
        }
    }
}
