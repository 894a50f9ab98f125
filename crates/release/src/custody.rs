//! What a reply means for who has the mail: the table that stands between a server that is not itself and lost mail.
//!
//! No verdict here destroys mail or makes a bounce. What a healthy server refuses for good is set aside for the
//! operator; what only a server that is not itself would say holds the destination instead of the message.

use crate::reply::{Event, Evidence, Phase, Reply};

/// What follows from a piece of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The dialogue goes on.
    Accepted,
    /// The server took custody of the message for all recipients that this transaction had accepted.
    Delivered,
    /// The message waits its turn in the retry schedule, with all recipients that are still open.
    RetryMessage,
    /// This recipient waits; the others of the transaction go on.
    RetryRecipient,
    /// This recipient and those after it go in a transaction of their own, in the same session.
    NextTransaction,
    /// The message is offered again at once, one recipient a transaction: one of them may have spoilt it for all.
    SplitRecipients,
    /// Refused for good: after RCPT this recipient, else the message with all its open recipients is set aside for the
    /// operator.
    Held,
    /// It says something about the server and nothing about the message.
    Destination(Trouble),
}

/// What is the matter with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody answers.
    Down,
    /// It answers that it is not in service.
    Inactive,
    /// It lacks resources.
    Pressure,
    /// It has more connections from us than it wants.
    Connections,
    /// It has had more messages from us than it wants.
    Rate,
    /// It does not know that it should take this site's mail from us.
    Unconfigured,
    /// It refuses to speak to us at all.
    Rejecting,
}

/// What a refusal for good of a recipient or a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The recipient is not there.
    Recipient,
    /// A reason of the message's, the sender's or the recipient's own: size, content, policy, a mailbox that is full.
    Own,
    /// A reason that is not known, or that is the server's: its name service, its routing.
    Odd,
}

impl Trouble {
    /// What the operator can do, one sentence.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Down => "Check that the server is up and that its port 25 can be reached from here.",
            Self::Inactive => {
                "Look at Get-ServerComponentState on the server: a component that an update left inactive must be \
                 set active again."
            }
            Self::Pressure => {
                "The server lacks disk or memory (events 15004 and 15006 say which): free some, release goes on by \
                 itself."
            }
            Self::Connections => "Nothing to do: fewer connections are used.",
            Self::Rate => "Nothing to do: release waits a minute and goes on.",
            Self::Unconfigured => {
                "Check Get-AcceptedDomain and that the receive connector allows anonymous senders: \
                 Set-ReceiveConnector -PermissionGroups AnonymousUsers."
            }
            Self::Rejecting => {
                "The server refuses this box: check its connection filter, its receive connectors and its own log."
            }
        }
    }
}

impl Evidence<'_> {
    /// What follows from it. The same for every server and every message: a pure function.
    pub fn verdict(&self) -> Verdict {
        match self.event {
            Event::Reply(reply) => match reply.code {
                200..=399 => self.positive(&reply),
                400..=499 => self.temporary(&reply),
                500..=599 => self.permanent(&reply),
                _ => self.nonsense(),
            },
            // Before MAIL no message is involved; after it, it may be the message that kills the session.
            Event::Lost | Event::TimedOut if self.phase < Phase::Mail => Verdict::Destination(Trouble::Down),
            Event::Lost | Event::TimedOut => Verdict::RetryMessage,
        }
    }

    /// Whether the server may have taken the message although it did not say so: the connection was lost after the final
    /// dot.
    pub fn is_unknown(&self) -> bool {
        self.phase == Phase::FinalDot && matches!(self.event, Event::Lost | Event::TimedOut)
    }

    /// Whether it says that the server is not to take mail for a recipient's domain from us. Said of a domain that it
    /// took mail for, or while it has taken none, it is about the site; else it judges that recipient alone.
    pub fn denies_relay(&self) -> bool {
        let Event::Reply(reply) = self.event else { return false };
        let status = reply.enhanced.map(|(_, subject, detail)| (subject, detail));
        self.phase == Phase::Rcpt && (500..600).contains(&reply.code) && is_relay_denied(&reply, status)
    }

    /// What a refusal for good is about; of anything else it says nothing.
    pub(crate) fn refusal(&self) -> Refusal {
        let Event::Reply(reply) = self.event else { return Refusal::Own };
        match reply.enhanced.map(|(_, subject, detail)| (subject, detail)) {
            // The sender's address.
            Some((1, 7 | 8)) => Refusal::Own,
            Some((1, _)) => Refusal::Recipient,
            None if self.phase == Phase::Rcpt && matches!(reply.code, 550 | 551 | 553) => Refusal::Recipient,
            Some((2 | 6 | 7, _) | (3, 4)) => Refusal::Own,
            None if reply.code == 552 => Refusal::Own,
            _ => Refusal::Odd,
        }
    }

    /// Whether a message that fails so does harm to others: it costs the session, or it seems to stop the destination.
    /// A plain 4xx does not, however often it comes: such a message waits by itself.
    pub(crate) fn is_harmful(&self) -> bool {
        let cut = match self.event {
            Event::Reply(reply) => reply.code == 421,
            Event::Lost | Event::TimedOut => true,
        };
        let stops = matches!(
            self.verdict(),
            Verdict::Destination(Trouble::Pressure | Trouble::Unconfigured | Trouble::Rejecting)
        );
        self.phase >= Phase::Mail && (cut || stops)
    }

    fn positive(&self, reply: &Reply<'_>) -> Verdict {
        match (self.phase, reply.code) {
            (Phase::Data, 354) => Verdict::Accepted,
            (Phase::Data, _) | (_, 300..) => self.nonsense(),
            (Phase::EndOfData | Phase::FinalDot, _) => Verdict::Delivered,
            _ => Verdict::Accepted,
        }
    }

    /// A reply that no server should give there.
    fn nonsense(&self) -> Verdict {
        if self.phase < Phase::Mail { Verdict::Destination(Trouble::Inactive) } else { Verdict::RetryMessage }
    }

    fn temporary(&self, reply: &Reply<'_>) -> Verdict {
        match (reply.code, reply.enhanced) {
            // STOREDRV: one mailbox is throttled.
            (432, _) => self.one_message(),
            (421, _) if self.phase < Phase::Mail && reply.says("too many") => {
                Verdict::Destination(Trouble::Connections)
            }
            (_, Some((_, 3, 2))) if reply.says("connection") => Verdict::Destination(Trouble::Connections),
            (_, Some((_, 3, 2))) => Verdict::Destination(Trouble::Inactive),
            (_, Some((_, 3, 1))) => Verdict::Destination(Trouble::Pressure),
            (_, Some((_, 4, 2))) if reply.says("rate") => Verdict::Destination(Trouble::Rate),
            // RFC 5321 section 4.5.3.1.10: too many recipients, as soon as there are some.
            (452, None | Some((_, 5, 3))) if self.phase == Phase::Rcpt && self.accepted > 0 => {
                Verdict::NextTransaction
            }
            (452, None) => Verdict::Destination(Trouble::Pressure),
            _ => self.one_message(),
        }
    }

    /// A temporary failure that names no cause beyond its phase.
    fn one_message(&self) -> Verdict {
        match self.phase {
            Phase::Connect | Phase::Banner | Phase::Ehlo | Phase::Mail => {
                Verdict::Destination(Trouble::Inactive)
            }
            Phase::Rcpt => Verdict::RetryRecipient,
            Phase::Data | Phase::EndOfData | Phase::FinalDot => Verdict::RetryMessage,
        }
    }

    fn permanent(&self, reply: &Reply<'_>) -> Verdict {
        let status = reply.enhanced.map(|(_, subject, detail)| (subject, detail));
        if reply.code == 530 {
            return Verdict::Destination(Trouble::Unconfigured); // authentication required: RFC 4954 section 6
        }
        if matches!(reply.code, 500 | 502 | 503) && self.phase >= Phase::Mail {
            return Verdict::RetryMessage; // we and the server disagree about where we are, whatever the message is
        }
        let size = matches!((reply.code, status), (552, None) | (_, Some((3, 4) | (2, 3))));
        match self.phase {
            Phase::Connect | Phase::Banner | Phase::Ehlo => Verdict::Destination(refusal_of_all(status)),
            Phase::Mail => match status {
                // The sender's address or a parameter: it judges this message.
                Some((1, 7 | 8) | (5, 4) | (6, _)) => Verdict::Held,
                _ if size || matches!(reply.code, 501 | 553 | 555) => Verdict::Held,
                _ => Verdict::Destination(refusal_of_all(status)),
            },
            Phase::Rcpt => match status {
                _ if is_relay_denied(reply, status) => Verdict::Destination(Trouble::Unconfigured),
                // RFC 5321 section 4.5.3.1.10: old servers say 552 for too many recipients.
                Some((5, 3)) if self.accepted > 0 => Verdict::NextTransaction,
                None if reply.code == 552 && self.accepted > 0 => Verdict::NextTransaction,
                _ => Verdict::Held,
            },
            Phase::Data | Phase::EndOfData | Phase::FinalDot => match status {
                // Too large, looping, misrouted, malformed: with one recipient as with all.
                Some((4, _) | (3, 5) | (6, _)) => Verdict::Held,
                _ if size || self.accepted <= 1 => Verdict::Held,
                _ => Verdict::SplitRecipients,
            },
        }
    }
}

/// Whether a refusal at RCPT says that the recipient's domain is none of the server's.
fn is_relay_denied(reply: &Reply<'_>, status: Option<(u16, u16)>) -> bool {
    match status {
        Some((7, 54)) => true,
        Some((7, 1)) => reply.says("relay"),
        _ => false,
    }
}

/// A permanent refusal before any recipient was named.
fn refusal_of_all(status: Option<(u16, u16)>) -> Trouble {
    if matches!(status, Some((7, _))) { Trouble::Unconfigured } else { Trouble::Rejecting }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Phase::{Banner, Connect, Data, Ehlo, EndOfData, Mail, Rcpt};
    use Trouble::{Connections, Down, Inactive, Pressure, Rate, Rejecting, Unconfigured};
    use Verdict::{
        Accepted, Delivered, Destination, Held, NextTransaction, RetryMessage, RetryRecipient,
        SplitRecipients,
    };

    fn verdict(phase: Phase, accepted: u32, code: u16, text: &str) -> Verdict {
        Evidence { phase, accepted, event: Event::Reply(Reply::new(code, text)) }.verdict()
    }

    /// Replies as servers in the field give them, what causes them, and what follows.
    #[test]
    fn each_reply_means_what_the_table_says() {
        for (phase, accepted, code, text, expected) in [
            // In order.
            (Banner, 0, 220, "mx Microsoft ESMTP MAIL Service ready", Accepted),
            (Ehlo, 0, 250, "SIZE 37748736", Accepted),
            (Rcpt, 0, 250, "2.1.5 Recipient OK", Accepted),
            (Rcpt, 0, 251, "User not local; will forward", Accepted),
            (Data, 1, 354, "Start mail input; end with <CRLF>.<CRLF>", Accepted),
            (EndOfData, 1, 250, "2.6.0 <id> Queued mail for delivery", Delivered),
            // Back pressure, wherever it shows.
            (Mail, 0, 452, "4.3.1 Insufficient system resources", Destination(Pressure)),
            (Rcpt, 3, 452, "4.3.1 Insufficient system resources", Destination(Pressure)),
            (Data, 1, 452, "4.3.1 Insufficient system resources", Destination(Pressure)),
            (
                EndOfData,
                1,
                452,
                "4.3.1 Insufficient system resources (UsedDiskSpace[C:])",
                Destination(Pressure),
            ),
            (Mail, 0, 431, "4.3.1 Not enough disk space", Destination(Pressure)),
            (Mail, 0, 452, "Insufficient system storage", Destination(Pressure)),
            // The transport service is inactive or draining.
            (
                Banner,
                0,
                421,
                "4.3.2 Service not available, closing transmission channel",
                Destination(Inactive),
            ),
            (Mail, 0, 412, "4.3.2 Service not active", Destination(Inactive)),
            (Data, 1, 421, "4.3.2 Service not active", Destination(Inactive)),
            (Banner, 0, 421, "Too busy", Destination(Inactive)),
            (
                Ehlo,
                0,
                451,
                "4.7.0 Temporary server error. Please try again later. PRX5",
                Destination(Inactive),
            ),
            (Mail, 0, 451, "4.7.0 Temporary server error", Destination(Inactive)),
            // Limits on us.
            (
                Banner,
                0,
                421,
                "4.3.2 The maximum number of concurrent connections has exceeded a limit, closing transmission channel",
                Destination(Connections),
            ),
            (
                Banner,
                0,
                421,
                "4.3.2 The maximum number of concurrent connections has exceeded a per-source limit",
                Destination(Connections),
            ),
            (
                Mail,
                0,
                421,
                "4.4.2 Message submission rate for this client has exceeded the configured limit",
                Destination(Rate),
            ),
            (Rcpt, 200, 452, "4.5.3 Too many recipients", NextTransaction),
            (Rcpt, 100, 452, "Too many recipients", NextTransaction),
            (Rcpt, 100, 552, "Too many recipients", NextTransaction),
            // One message or one recipient, for now.
            (EndOfData, 1, 451, "4.7.0 Temporary server error. Please try again later. PRX2", RetryMessage),
            (EndOfData, 1, 451, "4.4.0 Message failed to be made redundant", RetryMessage),
            (EndOfData, 1, 421, "4.4.1 Connection timed out", RetryMessage),
            (EndOfData, 1, 432, "4.3.2 STOREDRV.Storage; mailbox server thread limit exceeded", RetryMessage),
            (Rcpt, 0, 432, "4.3.2 STOREDRV.Storage; mailbox server thread limit exceeded", RetryRecipient),
            (Rcpt, 0, 450, "4.2.1 Mailbox busy", RetryRecipient),
            (Rcpt, 1, 452, "4.2.2 Mailbox full", RetryRecipient),
            (Rcpt, 0, 451, "4.7.1 Greylisted", RetryRecipient),
            // The server was rebuilt and does not know the site or us.
            (Mail, 0, 530, "5.7.1 Client was not authenticated", Destination(Unconfigured)),
            (Rcpt, 1, 530, "5.7.57 Client was not authenticated", Destination(Unconfigured)),
            (
                Mail,
                0,
                550,
                "5.7.1 Client does not have permissions to send as this sender",
                Destination(Unconfigured),
            ),
            (
                Rcpt,
                0,
                550,
                "5.7.54 SMTP; Unable to relay recipient in non-accepted domain",
                Destination(Unconfigured),
            ),
            (Rcpt, 0, 550, "5.7.1 Unable to relay", Destination(Unconfigured)),
            (Banner, 0, 554, "No SMTP service here", Destination(Rejecting)),
            (Ehlo, 0, 550, "5.7.1 Access denied", Destination(Unconfigured)),
            (Mail, 0, 554, "Transaction failed", Destination(Rejecting)),
            // It judges one recipient or one message: set aside, told, kept.
            (Rcpt, 0, 550, "5.1.1 User unknown", Held),
            (Rcpt, 0, 550, "5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found", Held),
            (Rcpt, 0, 550, "5.7.1 Message rejected by a rule", Held),
            (Rcpt, 0, 552, "5.2.2 Mailbox full", Held),
            (Mail, 0, 552, "5.3.4 Message size exceeds fixed maximum message size", Held),
            (Mail, 0, 501, "5.1.7 Invalid address", Held),
            (EndOfData, 1, 550, "5.7.1 Message rejected as spam by Content Filtering", Held),
            (EndOfData, 1, 554, "5.4.6 Hop count exceeded - possible mail loop", Held),
            (EndOfData, 9, 554, "5.4.6 Hop count exceeded - possible mail loop", Held),
            (EndOfData, 9, 554, "5.4.4 SMTPSEND.DNS.NonExistentDomain", Held),
            (EndOfData, 9, 554, "5.3.5 System incorrectly configured", Held),
            (EndOfData, 9, 552, "5.3.4 Message size exceeds fixed maximum message size", Held),
            (EndOfData, 9, 550, "5.2.3 RESOLVER.RST.RecipSizeLimit", Held),
            // One bad recipient spoils the message for all.
            (EndOfData, 2, 550, "5.1.1 User unknown", SplitRecipients),
            (EndOfData, 2, 550, "5.7.1 Delivery not authorized", SplitRecipients),
            (EndOfData, 2, 552, "5.2.2 Mailbox full", SplitRecipients),
            (EndOfData, 2, 554, "Transaction failed", SplitRecipients),
            // No server should say this there.
            (Mail, 0, 503, "5.5.2 Send hello first", RetryMessage),
            (Data, 1, 250, "2.0.0 OK", RetryMessage),
            (EndOfData, 1, 354, "Go on", RetryMessage),
            (EndOfData, 1, 0, "", RetryMessage),
            (Banner, 0, 999, "", Destination(Inactive)),
        ] {
            assert_eq!(
                verdict(phase, accepted, code, text),
                expected,
                "{phase:?} ({accepted} accepted) {code} {text}"
            );
        }
    }

    #[test]
    fn silence_before_mail_is_the_server_and_after_it_may_be_the_message() {
        for event in [Event::Lost, Event::TimedOut] {
            for phase in [Connect, Banner, Ehlo] {
                assert_eq!(Evidence { phase, event, accepted: 0 }.verdict(), Destination(Down));
            }
            for phase in [Mail, Rcpt, Data, EndOfData] {
                assert_eq!(Evidence { phase, event, accepted: 1 }.verdict(), RetryMessage);
            }
        }
    }

    /// Whatever a server answers, custody leaves us only with a 2xx after the final dot.
    #[test]
    fn only_a_2xx_after_the_final_dot_takes_the_mail_from_us() {
        for phase in [Connect, Banner, Ehlo, Mail, Rcpt, Data, EndOfData] {
            for code in 0..=999 {
                for text in ["", "2.0.0 Ok", "4.3.1 x", "5.1.1 x", "5.7.54 x"] {
                    let delivered = verdict(phase, 1, code, text) == Delivered;
                    assert_eq!(
                        delivered,
                        phase == EndOfData && (200..300).contains(&code),
                        "{phase:?} {code} {text}"
                    );
                }
            }
        }
    }
}
