//! `penstock tls`

use std::path::PathBuf;

use clap::{Subcommand, ValueHint};

use super::Daemon;

/// What can be done about TLS.
#[derive(Debug, Subcommand)]
pub(crate) enum Tls {
    /// Show the certificate that clients see, and what each next hop showed last: for whom, from whom, until when
    #[command(after_help = "\
Examples:
  penstock tls show
  penstock tls show --json | jq '.hops[] | [.hop, .certificate.key_sha256]'")]
    Show {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Say that the certificate which a next hop shows now is right: mail that waits for that goes
    #[command(after_help = "\
A next hop that shows another certificate than before may have been rebuilt, so it gets no mail until canaries have
arrived in its probe mailboxes, or until this says that the certificate was renewed. Where the certificate is pinned
(next_hop.tls), this pins the new one. `penstock tls show` tells which one it is.

Examples:
  penstock tls accept exchange")]
    Accept {
        /// The next hop
        #[arg(value_name = "HOP")]
        hop: String,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Read the certificate's file again; that happens by itself some seconds after it has changed
    #[command(after_help = "\
Sessions go on; those that begin TLS from now on are shown what is in the file. If it is not right, nothing changes.

Examples:
  penstock tls reload")]
    Reload {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Compare the certificate with what the world expects: its name, its issuers, MTA-STS and TLSA records
    #[command(after_help = "\
For each accepted domain whose MX is this box: what a sender would find that looks. It asks the name servers that the
box uses, and fetches https://mta-sts.DOMAIN/.well-known/mta-sts.txt. Exit status 1 if something is wrong.

Examples:
  penstock tls check
  penstock tls check --json | jq '.findings[] | select(.verdict != \"good\")'")]
    Check {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Give the box a certificate, which it keeps with the mail; for where there are no files, as on the appliance
    #[command(after_help = "\
The file has the certificate, those of its issuers, and the private key: PEM, or PFX as Windows exports it. It is shown
to clients at once, unless tls.certificate_file is set.

Examples:
  penstock tls install mx.pfx --password-file password.txt
  penstock tls install fullchain.pem --key privkey.pem
  penstock tls install --own                 back to one of the box's own making")]
    Install {
        /// The certificate
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath, required_unless_present = "own")]
        file: Option<PathBuf>,
        /// Its private key, where that is in a file of its own
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        key: Option<PathBuf>,
        /// A file whose first line is the password of a PFX; - is standard input
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        password_file: Option<PathBuf>,
        /// No certificate of anybody's: the box makes one for itself
        #[arg(long, conflicts_with_all = ["file", "key", "password_file"])]
        own: bool,
        #[command(flatten)]
        daemon: Daemon,
    },
}

impl Tls {
    pub(crate) fn daemon(&self) -> &Daemon {
        match self {
            Self::Show { daemon }
            | Self::Accept { daemon, .. }
            | Self::Reload { daemon }
            | Self::Check { daemon }
            | Self::Install { daemon, .. } => daemon,
        }
    }
}
