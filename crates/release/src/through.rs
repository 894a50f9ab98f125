//! Through mode: which refusal a sender can be told while he waits, and why nobody waits when that is so.
//!
//! While a next hop is well, whoever brings a message can wait for the hop's own word on it. Most of what it says changes
//! nothing: it took the message, or it will later, and either way the box answers for it. Only a refusal for good that
//! judges the message is worth the wait, since the box then need not answer for what nobody wants. It is told only if
//! nothing about it can mean that the hop is not itself: told wrongly, it is mail lost.

use core::fmt;

use crate::custody::{Refusal, Trouble, Verdict};
use crate::hop::State;
use crate::reply::{Event, Evidence, Phase, Reply};

/// How long an attempt takes before one has been seen, in ms.
const TOOK_UNKNOWN_MS: u64 = 1_000;
/// What a single attempt counts for at most: one that ended in a time-out is no measure of the next.
const TOOK_MS_MAX: u64 = 60_000;

impl Evidence<'_> {
    /// Whether it is a refusal for good that the sender can be told: it judges this message or this recipient, and it is
    /// not what a server says that has lost its directory, or does not know this site or this box. A recipient that is
    /// known to be there is not believed to be gone; a reason that is not known is believed to be the server's.
    pub fn can_be_told(&self, is_known_good: bool) -> bool {
        let Event::Reply(reply) = self.event else { return false };
        let is_for_good = matches!(self.verdict(), Verdict::Held | Verdict::SplitRecipients);
        if !is_for_good || self.denies_relay() || is_about_us(&reply) {
            return false;
        }
        match self.refusal() {
            Refusal::Own => true,
            Refusal::Recipient => !is_known_good,
            Refusal::Odd => false,
        }
    }

    /// Whether it judges what is in a message (its size, its content, a policy on it), and so is one answer for all
    /// recipients that the message was offered to. What may be about one of them is found out one by one.
    pub fn judges_message(&self) -> bool {
        let Event::Reply(Reply { enhanced: Some((_, subject, detail)), .. }) = self.event else {
            return false;
        };
        let is_content = matches!((subject, detail), (6 | 7, _) | (3, 4));
        self.phase >= Phase::Data && is_content && self.can_be_told(false)
    }
}

/// Whether a refusal speaks of this box: what it may do at that server, or who it is.
fn is_about_us(reply: &Reply<'_>) -> bool {
    let status = reply.enhanced.map(|(_, subject, detail)| (subject, detail));
    // Authentication failed; not accredited; a client, anonymous or not, that may not send as that sender.
    matches!(status, Some((7, 3 | 8 | 9 | 54 | 57 | 60 | 61)))
        || ["client was not", "client does not", "clients do", "authentication"]
            .iter()
            .any(|it| reply.says(it))
}

/// Why a client does not wait for the verdict on its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotThrough {
    /// The operator holds mail.
    Held,
    /// No next hop takes mail; how the first in line stands.
    NextHop(State),
    /// Its recipients are not all behind the same hops.
    SeveralWays,
    /// It takes mail again and has not taken a message since: nobody knows yet what its refusals are worth.
    Untested,
    /// It failed several messages in a row and named no cause.
    Doubt,
    /// It asked for less mail.
    AskedForLess,
    /// As much mail lies inside it as it bears.
    Window,
    /// So much is to go before it that there would be no verdict in time.
    Queue {
        /// In how many ms there would be.
        for_ms: u64,
    },
}

impl NotThrough {
    /// Whether those who wait already wait in vain: what they wait for is not about to come.
    pub const fn ends_waits(self) -> bool {
        !matches!(self, Self::Window | Self::Queue { .. } | Self::Untested | Self::SeveralWays)
    }
}

impl fmt::Display for NotThrough {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held => out.write_str("release is on hold"),
            Self::NextHop(state) => match state.trouble() {
                _ if state.is_proving() => out.write_str("the next hop has to prove itself"),
                Some(Trouble::Pressure) => out.write_str("the next hop lacks resources"),
                Some(_) => write!(out, "the next hop is {}", state.as_str()),
                None => out.write_str("the next hop is about to be tried"),
            },
            Self::SeveralWays => out.write_str("its recipients are on several servers"),
            Self::Untested => out.write_str("the next hop has not taken a message since it is well again"),
            Self::Doubt => out.write_str("the next hop fails message after message"),
            Self::AskedForLess => out.write_str("the next hop asked for less mail"),
            Self::Window => out.write_str("as much mail lies inside the next hop as it bears"),
            Self::Queue { for_ms } => {
                write!(out, "other mail goes first, for {} s as it looks", for_ms.div_ceil(1_000))
            }
        }
    }
}

/// How long attempts with a message take of late.
#[derive(Debug, Default)]
pub(crate) struct Took(Option<u64>);

impl Took {
    /// One took so long.
    pub(crate) fn add(&mut self, ms: u64) {
        let ms = ms.min(TOOK_MS_MAX);
        self.0 = Some(self.0.map_or(ms, |before| (7 * before + ms) / 8));
    }

    /// How long the next one may be expected to take.
    pub(crate) fn ms(&self) -> u64 {
        self.0.unwrap_or(TOOK_UNKNOWN_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Phase::{Data, EndOfData, Mail, Rcpt};

    fn evidence(phase: Phase, accepted: u32, code: u16, text: &str) -> Evidence<'_> {
        Evidence { phase, accepted, event: Event::Reply(Reply::new(code, text)) }
    }

    /// Replies as servers in the field give them, and whether a sender that waits is told.
    #[test]
    fn a_refusal_is_told_only_where_it_cannot_mean_that_the_server_is_not_itself() {
        for (phase, code, text, told) in [
            // This message, or this recipient.
            (EndOfData, 550, "5.7.1 Message rejected as spam by Content Filtering.", true),
            (EndOfData, 554, "5.6.0 Invalid message content", true),
            (EndOfData, 552, "5.3.4 Message size exceeds fixed maximum message size", true),
            (EndOfData, 550, "5.2.3 RESOLVER.RST.RecipSizeLimit", true),
            (Mail, 552, "5.3.4 Message size exceeds fixed maximum message size", true),
            (Mail, 501, "5.1.7 Invalid address", true),
            (Mail, 550, "5.1.8 Sender address rejected: domain not found", true),
            (Rcpt, 550, "5.1.1 User unknown", true),
            (Rcpt, 550, "5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found", true),
            (Rcpt, 550, "User unknown", true),
            (Rcpt, 550, "5.7.1 Message rejected by a rule", true),
            (Rcpt, 550, "5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup", true),
            (Rcpt, 552, "5.2.2 Mailbox full", true),
            (Data, 550, "5.7.1 Delivery not authorized, message refused", true),
            // The server does not know this site, or this box.
            (Mail, 530, "5.7.1 Client was not authenticated", false),
            (Mail, 550, "5.7.1 Client does not have permissions to send as this sender", false),
            (Mail, 554, "Transaction failed", false),
            (Rcpt, 530, "5.7.57 Client was not authenticated", false),
            (Rcpt, 550, "5.7.57 SMTP; Client was not authenticated to send anonymous mail", false),
            (Rcpt, 550, "5.7.54 SMTP; Unable to relay recipient in non-accepted domain", false),
            (Rcpt, 550, "5.7.1 Unable to relay", false),
            (EndOfData, 550, "5.7.60 SMTP; Client does not have permissions to send as this sender", false),
            (EndOfData, 550, "5.7.3 Authentication unsuccessful", false),
            // A reason of the server's own, or none.
            (EndOfData, 554, "5.4.4 SMTPSEND.DNS.NonExistentDomain", false),
            (EndOfData, 554, "5.4.6 Hop count exceeded - possible mail loop", false),
            (EndOfData, 554, "5.3.5 System incorrectly configured", false),
            (EndOfData, 554, "5.3.0 Other or undefined mail system status", false),
            (EndOfData, 554, "Transaction failed", false),
            (Data, 503, "5.5.2 Send hello first", false),
            // No refusal for good.
            (EndOfData, 250, "2.6.0 Queued mail for delivery", false),
            (EndOfData, 451, "4.7.1 Greylisted", false),
            (EndOfData, 452, "4.3.1 Insufficient system resources", false),
            (Rcpt, 450, "4.1.1 User cannot be checked now", false),
        ] {
            let seen = evidence(phase, 1, code, text).can_be_told(false);
            assert_eq!(seen, told, "{phase:?} {code} {text}");
        }
        let cut = Evidence { phase: EndOfData, accepted: 1, event: Event::Lost };
        assert!(!cut.can_be_told(false));
    }

    #[test]
    fn a_recipient_that_is_known_to_be_there_is_not_believed_to_be_gone() {
        for text in ["5.1.1 User unknown", "5.1.10 RESOLVER.ADR.RecipientNotFound", "No such user"] {
            assert!(evidence(Rcpt, 0, 550, text).can_be_told(false), "{text}");
            assert!(!evidence(Rcpt, 0, 550, text).can_be_told(true), "{text}");
        }
        assert!(evidence(Rcpt, 0, 552, "5.2.2 Mailbox full").can_be_told(true), "that is no reason to doubt");
    }

    #[test]
    fn what_is_in_a_message_is_judged_once_for_all_its_recipients() {
        for (phase, text, one) in [
            (EndOfData, "5.7.1 Message rejected as spam by Content Filtering.", true),
            (EndOfData, "5.6.0 Invalid message content", true),
            (Data, "5.7.1 Delivery not authorized", true),
            (EndOfData, "5.1.1 User unknown", false),
            (EndOfData, "5.2.2 Mailbox full", false),
            (EndOfData, "5.7.57 Client was not authenticated", false),
            (EndOfData, "5.3.0 Undefined", false),
            (Rcpt, "5.7.1 Message rejected by a rule", false),
        ] {
            assert_eq!(evidence(phase, 3, 550, text).judges_message(), one, "{phase:?} {text}");
        }
    }

    #[test]
    fn a_single_attempt_that_hung_is_no_measure_of_the_next() {
        let mut took = Took::default();
        assert_eq!(took.ms(), TOOK_UNKNOWN_MS);
        (0..50).for_each(|_| took.add(100));
        assert_eq!(took.ms(), 100);
        took.add(600_000);
        assert!(took.ms() < 10_000, "{}", took.ms());
        (0..50).for_each(|_| took.add(100));
        assert!(took.ms() < 200, "{}", took.ms());
    }
}
