//! Reports on the box's canaries: taken from whoever knows the return path of one, read, and not kept.
//!
//! They need no room on a volume, so that a box that is full still learns that mail arrives. A report is the only message
//! for a domain that need not be ours; nothing of it is ever sent on.

use penstock_smtp::{Address, Reply, replies};

use super::intake::Verdict;
use crate::deliver::{Delivery, REPORT_BYTES_MAX, ReturnPath, Token};

/// A transaction, as far as it may be a report.
#[derive(Debug, Default)]
pub(super) struct ReportIntake {
    null_sender: bool,
    /// What everybody else is told who sends something in this transaction.
    refusal: Option<Reply<'static>>,
    canary: Option<Token>,
    /// The report itself, cut where it is longer than what is read.
    message: Vec<u8>,
}

impl ReportIntake {
    /// MAIL, for which there is room or not. Reports have the null sender (RFC 3464 §2).
    pub(super) fn mail(&mut self, delivery: &Delivery, sender: &Address<'_>, room: Verdict) -> Verdict {
        *self = Self { null_sender: sender.is_null(), ..Self::default() };
        match room {
            Err(refusal) if self.null_sender && delivery.awaits_report() => {
                self.refusal = Some(refusal);
                Ok(())
            }
            room => room,
        }
    }

    /// RCPT, after `others` that were accepted. `None` if it has nothing to do with reports.
    pub(super) fn rcpt(
        &mut self,
        delivery: &Delivery,
        address: &Address<'_>,
        others: usize,
    ) -> Option<Verdict> {
        if self.canary.is_some() {
            return Some(Err(replies::RECIPIENTS_MAX));
        }
        match delivery.return_path(address) {
            ReturnPath::Awaited(_) if others > 0 => Some(Err(replies::RECIPIENTS_MAX)),
            ReturnPath::Awaited(token) if self.null_sender => {
                self.canary = Some(token);
                Some(Ok(()))
            }
            // Also where the domain is ours: the next hop would only send it back.
            ReturnPath::Awaited(_) | ReturnPath::Unknown => Some(Err(replies::USER_UNKNOWN)),
            ReturnPath::NoCanarys => self.refusal.map(Err),
        }
    }

    /// Whether the message of this transaction is a report.
    pub(super) fn is_report(&self) -> bool {
        self.canary.is_some()
    }

    /// The next bytes of the report.
    pub(super) fn body(&mut self, bytes: &[u8]) {
        let room = REPORT_BYTES_MAX.saturating_sub(self.message.len());
        self.message.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    /// The end of the message: the report, if it is one.
    pub(super) fn take(&mut self) -> Option<(Token, Vec<u8>)> {
        let Self { canary, message, .. } = std::mem::take(self);
        Some((canary?, message))
    }
}
