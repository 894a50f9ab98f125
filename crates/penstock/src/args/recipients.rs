//! `penstock recipients`

use std::path::PathBuf;

use clap::{Subcommand, ValueHint};

use super::Daemon;

/// What can be done with the list of recipients.
#[derive(Debug, Subcommand)]
pub(crate) enum Recipients {
    /// Put another list in the place of the one that is there
    #[command(after_help = "\
The file is an export of Exchange (CSV), or has an address a line. A file with a mistake changes nothing. In the
Exchange Management Shell:

  Get-Recipient -ResultSize Unlimited |
    Select PrimarySmtpAddress, @{n='EmailAddresses';e={$_.EmailAddresses -join ' '}}, RecipientType, Database |
    Export-Csv -NoTypeInformation -Encoding UTF8 recipients.csv

The box keeps hashes of the addresses: whether one is on the list can be asked, the list cannot be written out again.

Examples:
  penstock recipients import --dry-run recipients.csv    only tell what is in it
  penstock recipients import recipients.csv")]
    Import {
        /// The file; - is standard input
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Only tell what would be
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Tell which list there is, and what becomes of mail for those who are not on it
    #[command(after_help = "\
Examples:
  penstock recipients status
  penstock recipients status --json | jq .list.addresses")]
    Status {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Tell whether an address is on the list, and in which mailbox database it is
    #[command(after_help = "\
Upper and lower case are the same. If mia+news@example.org is not on the list, mia@example.org is looked for.

Examples:
  penstock recipients find mia@example.org")]
    Find {
        /// The address
        address: String,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Tell what would be said to an address now, and why
    #[command(after_help = "\
While a next hop is there its own answer counts. While none is, whoever is not on the list of recipients is refused with
550 if the list was in step when the last one went away, put off with 450 if it was older, and taken if there was none.

Examples:
  penstock recipients check mia@example.org
  penstock recipients check mia@example.org --json | jq -r .answer")]
    Check {
        /// The address
        address: String,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Read the list now from where it is read by itself: recipients.file, or the directory of ldap.url
    #[command(after_help = "\
A reading that lacks more than a third of the addresses known before is not taken, and none is while no next hop is
there, unless --believe says so.

Examples:
  penstock recipients reload
  penstock recipients reload --believe")]
    Reload {
        /// Take what is read however much is missing in it
        #[arg(long)]
        believe: bool,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Do away with the list
    #[command(after_help = "\
Examples:
  penstock recipients clear")]
    Clear {
        #[command(flatten)]
        daemon: Daemon,
    },
}

impl Recipients {
    pub(crate) fn daemon(&self) -> &Daemon {
        match self {
            Self::Import { daemon, .. }
            | Self::Status { daemon }
            | Self::Find { daemon, .. }
            | Self::Check { daemon, .. }
            | Self::Reload { daemon, .. }
            | Self::Clear { daemon } => daemon,
        }
    }
}
