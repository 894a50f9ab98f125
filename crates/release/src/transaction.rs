//! One transaction: some recipients of one message, and what the server said to each. The caller has the session: it
//! names whom [`to_name`](Transaction::to_name) says, and hands over each reply.
//!
//! DATA waits for all replies before it: what is said of one recipient may be a reason to send the message to none.

use alloc::vec::Vec;

use crate::custody::Verdict;
use crate::found::Found;
use crate::reply::{Phase, Reply};

/// What has become of a recipient in a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Nothing yet, or what was said concerned all: it stays open.
    Nothing,
    /// It was accepted, and goes with the message.
    Accepted,
    /// It waits for another attempt.
    Later(Found),
    /// It goes in the next transaction.
    Next,
    /// It was refused for good.
    Refused(Found),
}

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With a verdict on the message, for all recipients that were accepted.
    Message(Found),
    /// Before the message, since the server had no use for it: the session can go on. `None` where no recipient was
    /// accepted, and each has its own reason.
    Before(Option<Found>),
    /// With the connection. `None` where that was our doing.
    Cut(Option<Found>),
}

impl End {
    /// Whether the session ended before the server said anything of this transaction. On one that has carried a message
    /// before that is no evidence: the server may have closed it while it was idle. Connect again first.
    pub fn is_cut_at_mail(&self) -> bool {
        matches!(self, Self::Cut(Some(found)) if found.phase() == Phase::Mail)
    }

    /// What was said or seen of all of it.
    pub fn found(&self) -> Option<&Found> {
        match self {
            Self::Message(found) => Some(found),
            Self::Before(found) | Self::Cut(found) => found.as_ref(),
        }
    }
}

/// What comes after the envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterEnvelope {
    /// The message.
    Data,
    /// RSET, and then this end.
    Leave(End),
}

/// A transaction that is going on.
#[derive(Debug)]
pub struct Transaction {
    said: Vec<Said>,
    named: usize,
    answered: usize,
    accepted: u32,
    mail_refused: Option<Found>,
}

impl Transaction {
    /// A transaction for so many recipients, of whom there is at least one.
    pub fn new(recipients: usize) -> Self {
        let said = (0..recipients).map(|_| Said::Nothing).collect();
        Self { said, named: 0, answered: 0, accepted: 0, mail_refused: None }
    }

    /// Which recipient is to be named next, if one is.
    pub fn to_name(&self) -> Option<usize> {
        (self.mail_refused.is_none() && self.named < self.said.len()).then_some(self.named)
    }

    /// It was.
    pub fn named(&mut self) {
        self.named += 1;
    }

    /// The reply to MAIL.
    pub fn mail_answered(&mut self, reply: Reply<'_>) {
        let found = self.heard(Phase::Mail, reply);
        if found.verdict() != Verdict::Accepted {
            self.mail_refused = Some(found);
        }
    }

    /// The reply to the RCPT with this index, as evidence. `Some`: it concerns all recipients. Replies to the others may be
    /// under way, so the session is of no more use.
    pub fn recipient_answered(&mut self, index: usize, found: Found) -> Option<End> {
        self.answered += 1;
        if self.mail_refused.is_some() {
            return None;
        }
        let said = match found.verdict() {
            Verdict::Accepted | Verdict::Delivered => {
                self.accepted += 1;
                Said::Accepted
            }
            Verdict::NextTransaction => Said::Next,
            Verdict::Held => Said::Refused(found),
            Verdict::RetryRecipient | Verdict::RetryMessage | Verdict::SplitRecipients => Said::Later(found),
            Verdict::Destination(_) => return Some(End::Cut(Some(found))),
        };
        if let Some(slot) = self.said.get_mut(index) {
            *slot = said;
        }
        None
    }

    /// What comes after the envelope; `None` while recipients are to be named or replies are owed. Those that were not
    /// named since MAIL was refused are owed none.
    pub fn after_envelope(&mut self) -> Option<AfterEnvelope> {
        if self.to_name().is_some() || self.answered < self.named {
            return None;
        }
        let leave = |found| Some(AfterEnvelope::Leave(End::Before(found)));
        match self.mail_refused.take() {
            Some(found) => leave(Some(found)),
            None if self.accepted == 0 => leave(None),
            None => Some(AfterEnvelope::Data),
        }
    }

    /// A reply that the caller has to deal with, as evidence of this transaction.
    pub fn heard(&self, phase: Phase, reply: Reply<'_>) -> Found {
        Found::reply(phase, reply, self.accepted)
    }

    /// How many recipients were accepted.
    pub fn accepted(&self) -> u32 {
        self.accepted
    }

    pub(crate) fn into_said(self) -> Vec<Said> {
        self.said
    }
}
