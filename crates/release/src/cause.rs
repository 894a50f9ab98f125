//! Why a hop that takes mail gets none before there is proof, and what to do about it.

use serde::{Deserialize, Serialize};

use crate::fingerprint::Change;
use crate::hop::State;

/// Why a hop has to prove itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// It shows another face than the server that was known.
    Fingerprint(Change),
    /// It did not know that it should take this site's mail.
    Unconfigured,
    /// It refused to speak to this box.
    Rejecting,
    /// Nobody answered for more than a day.
    LongDown,
    /// A canary that it took did not reach its mailbox.
    CanaryMissing,
    /// More and more mail waits inside it for its mailbox databases.
    RetryQueue,
    /// It refused recipients that are known to be there, of several senders.
    GoodRefused,
    /// It refused too much of the mail for no reason that is known.
    ManyRefused,
}

impl Cause {
    /// Where it puts a hop that takes mail.
    pub(crate) const fn state(self) -> State {
        match self {
            Self::Fingerprint(_)
            | Self::Unconfigured
            | Self::Rejecting
            | Self::LongDown
            | Self::CanaryMissing => State::Unproven,
            Self::RetryQueue | Self::GoodRefused | Self::ManyRefused => State::Held,
        }
    }

    /// What happened, as the end of a sentence about the hop.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fingerprint(Change::Name) => "its greeting has another name than before",
            Self::Fingerprint(Change::Extensions) => "it offers other extensions than before",
            Self::Fingerprint(Change::All) => "its greeting and what it offers are not as before",
            Self::Fingerprint(Change::Certificate) => "it shows another certificate than before",
            Self::Fingerprint(Change::CertificateToo) => "its greeting and its certificate are not as before",
            Self::Unconfigured => "it did not know that it should take this site's mail",
            Self::Rejecting => "it refused to speak to this box",
            Self::LongDown => "it was away for more than a day",
            Self::CanaryMissing => "a canary that it took did not reach its mailbox",
            Self::RetryQueue => "more and more mail waits inside it for a mailbox database",
            Self::GoodRefused => "it refused recipients that are known to be there",
            Self::ManyRefused => "it refused more than a fifth of the mail for no reason that is known",
        }
    }

    /// What the operator can do.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Fingerprint(Change::Certificate) => {
                "If its certificate was renewed, `penstock tls accept` with its name lets the mail go; if nobody did that, \
                 look that it is the right server first. Canaries that arrive in probe mailboxes confirm it too."
            }
            Self::Fingerprint(_) | Self::LongDown => {
                "Look that it is the right server and that its databases are mounted (Get-MailboxDatabase -Status | \
                 ft Name,Mounted), then `penstock confirm`; canaries that arrive in probe mailboxes confirm it too."
            }
            Self::Unconfigured => {
                "Check Get-AcceptedDomain, the receive connector (Set-ReceiveConnector -PermissionGroups \
                 AnonymousUsers) and that mailboxes are there, then `penstock confirm`; canaries that arrive confirm \
                 it too."
            }
            Self::Rejecting => {
                "Check the server's connection filter and its receive connectors, then `penstock confirm`; canaries \
                 that arrive in probe mailboxes confirm it too."
            }
            Self::CanaryMissing | Self::RetryQueue => {
                "Look at Get-MailboxDatabase -Status and Get-Queue on the server: a database may not be mounted. Mail \
                 goes on when canaries arrive, or after `penstock confirm`."
            }
            Self::GoodRefused => {
                "Check that the directory and the mailboxes are restored (Get-Recipient, Get-Mailbox), then `penstock \
                 confirm`; `penstock queue --state held` has what was refused."
            }
            Self::ManyRefused => {
                "Look at `penstock queue --state held` for what it said and at the server's own log, then `penstock \
                 confirm`."
            }
        }
    }
}
