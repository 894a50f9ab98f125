//! When a sender may be told that a message was not delivered: the one place that says so.
//!
//! A report to a sender who wrote nothing is spam of our making, and one for a refusal that the server did not mean is a
//! message lost. So by default there is none: what is refused is held. A report needs that the server is itself and judged
//! a recipient or a size, that somebody asked for it, and that the sender is who it says, which nothing here can prove yet.

use penstock_release::Phase;
use penstock_spool::Notify;

use super::reason::{Cause, Reason};

/// Whether the sender is who it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alignment {
    /// Neither SPF nor DKIM has been looked at.
    Unknown,
}

/// What is known of a recipient that is held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case<'a> {
    pub(super) sender: &'a str,
    /// What its sender wants to be told.
    pub(super) notify: Notify,
    pub(super) reason: Option<&'a Reason>,
    /// Whether reports can be sent at all.
    pub(super) has_smarthost: bool,
    /// Whether the next hop that refused it is healthy now.
    pub(super) is_hop_healthy: bool,
    pub(super) alignment: Alignment,
    /// Whether the operator vouches for the sender.
    pub(super) is_forced: bool,
}

/// Why there is no report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Objection {
    NullSender,
    NotWanted,
    NotRefused,
    Content,
    ServersFault,
    NoSmarthost,
    HopNotHealthy,
    SenderNotProven,
}

/// Whether the sender may be told of a recipient. Of several objections the one that lasts longest.
pub(super) fn may_bounce(case: &Case<'_>) -> Result<(), Objection> {
    if case.sender.is_empty() {
        // RFC 5321 §6.1: a report about a report would go round.
        return Err(Objection::NullSender);
    }
    if !case.notify.is_absent() && !case.notify.contains(Notify::FAILURE) {
        // RFC 3461 §4.1.
        return Err(Objection::NotWanted);
    }
    let refused = case.reason.filter(|reason| reason.cause == Cause::Refused);
    let Some(said) = refused.and_then(|reason| reason.reply.as_ref()).filter(|said| said.code / 100 == 5)
    else {
        return Err(Objection::NotRefused);
    };
    match said.enhanced {
        Some((_, 7, _) | (_, 6, _)) => return Err(Objection::Content),
        // RFC 3463: addresses, mailboxes; a message that is too big for the system.
        Some((5, 1 | 2, _) | (5, 3, 4)) => {}
        Some(_) => return Err(Objection::ServersFault),
        // Without a code it is known what it is about only where nothing but a recipient was asked for.
        None if said.phase == Phase::Rcpt && matches!(said.code, 550 | 551 | 553) => {}
        None if said.phase == Phase::EndOfData => return Err(Objection::Content),
        None => return Err(Objection::ServersFault),
    }
    if !case.has_smarthost {
        return Err(Objection::NoSmarthost);
    }
    if !case.is_hop_healthy {
        return Err(Objection::HopNotHealthy);
    }
    match case.alignment {
        Alignment::Unknown if !case.is_forced => Err(Objection::SenderNotProven),
        Alignment::Unknown => Ok(()),
    }
}

impl Objection {
    /// Its code, what it is, and what can be done.
    pub(super) const fn told(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::NullSender => (
                "PS-D271",
                "it has no sender who could be told",
                "It is a report itself; `penstock remove` ends it.",
            ),
            Self::NotWanted => {
                ("PS-D272", "its sender does not want to be told", "`penstock remove` ends it.")
            }
            Self::NotRefused => (
                "PS-D273",
                "it is not held because a server refused it for good, as far as the ledger tells",
                "`penstock show` tells why it is held; try it again with `penstock quarantine retry`.",
            ),
            Self::Content => (
                "PS-D274",
                "it was refused for what it says: the sender of spam is somebody else than it says",
                "`penstock quarantine export` writes it out; `penstock remove` ends it.",
            ),
            Self::ServersFault => (
                "PS-D275",
                "what was said may be the server's own fault, and judges neither a recipient nor a size",
                "Put the server right, then try it again with `penstock quarantine retry`.",
            ),
            Self::NoSmarthost => (
                "PS-D276",
                "there is no smarthost for reports to senders",
                "Set bounce.smarthost to the server that takes the site's outgoing mail.",
            ),
            Self::HopNotHealthy => (
                "PS-D277",
                "the next hop that refused it is not healthy now: it may not have been itself then",
                "When `penstock status` says that it is, try it again first with `penstock quarantine retry`.",
            ),
            Self::SenderNotProven => (
                "PS-D278",
                "it is not known whether the sender is who it says: the box does not check that yet",
                "If you know the sender, say --force.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Kind;

    fn refused(said: &str) -> Reason {
        Reason::read(Kind::Held as u16, &format!("exchange [::1] refused it for a@example.org: {said}"))
    }

    /// A case in which nothing speaks against it.
    fn clear(reason: &Reason) -> Case<'_> {
        Case {
            sender: "sender@example.net",
            notify: Notify::default(),
            reason: Some(reason),
            has_smarthost: true,
            is_hop_healthy: true,
            alignment: Alignment::Unknown,
            is_forced: true,
        }
    }

    #[test]
    fn only_a_judgement_of_recipient_or_size_is_told_to_a_sender() {
        use Objection::{Content, NotRefused, ServersFault};
        for (said, expected) in [
            ("550 5.1.1 User unknown (RCPT)", Ok(())),
            ("550 5.1.10 RESOLVER.ADR.RecipientNotFound (end of data)", Ok(())),
            ("552 5.2.2 mailbox full (RCPT)", Ok(())),
            ("552 5.2.3 too large for that mailbox (end of data)", Ok(())),
            ("552 5.3.4 message size exceeds fixed limit (MAIL)", Ok(())),
            ("550 no such user (RCPT)", Ok(())),
            ("550 5.7.1 message content rejected (end of data)", Err(Content)),
            ("550 5.7.1 sender denied (RCPT)", Err(Content)),
            ("554 5.6.0 invalid message content (end of data)", Err(Content)),
            ("550 spam (end of data)", Err(Content)),
            ("550 5.7.54 Unable to relay (RCPT)", Err(Content)),
            ("554 5.4.6 hop count exceeded (end of data)", Err(ServersFault)),
            ("554 5.4.4 SMTPSEND.DNS.NonExistentDomain (end of data)", Err(ServersFault)),
            ("500 5.3.3 unrecognized command (RCPT)", Err(ServersFault)),
            ("554 no (DATA)", Err(ServersFault)),
            ("452 4.2.2 mailbox full (RCPT)", Err(NotRefused)),
            ("no answer (RCPT)", Err(NotRefused)),
            ("550 5.1.1 and here it was cut", Err(NotRefused)),
        ] {
            assert_eq!(may_bounce(&clear(&refused(said))), expected, "{said}");
        }
        for text in ["older than mail may become", "it failed again and again while others passed"] {
            assert_eq!(may_bounce(&clear(&Reason::read(Kind::Held as u16, text))), Err(NotRefused), "{text}");
        }
        assert_eq!(may_bounce(&clear(&Reason::read(Kind::Damaged as u16, "x"))), Err(NotRefused));
    }

    #[test]
    fn a_sender_is_told_only_if_there_is_one_who_wants_it_and_the_server_is_itself_and_somebody_vouches() {
        let reason = refused("550 5.1.1 User unknown (RCPT)");
        let clear = clear(&reason);
        for (case, expected) in [
            (clear, Ok(())),
            (Case { sender: "", ..clear }, Err(Objection::NullSender)),
            (Case { notify: Notify::NEVER, ..clear }, Err(Objection::NotWanted)),
            (Case { notify: Notify::DELAY, ..clear }, Err(Objection::NotWanted)),
            (Case { notify: Notify::FAILURE.with(Notify::DELAY), ..clear }, Ok(())),
            (Case { reason: None, ..clear }, Err(Objection::NotRefused)),
            (Case { has_smarthost: false, ..clear }, Err(Objection::NoSmarthost)),
            (Case { is_hop_healthy: false, ..clear }, Err(Objection::HopNotHealthy)),
            (Case { is_forced: false, ..clear }, Err(Objection::SenderNotProven)),
        ] {
            assert_eq!(may_bounce(&case), expected, "{case:?}");
        }
        // Force is about the sender alone.
        let spam = refused("550 5.7.1 spam (end of data)");
        assert_eq!(may_bounce(&Case { reason: Some(&spam), ..clear }), Err(Objection::Content));
    }
}
