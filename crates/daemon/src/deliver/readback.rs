//! Whether what is replayed comes to lie in mailboxes. Exchange discards, without a word, what it has taken in the last
//! days, and answers `250` all the same; its report on one message is proof that it did not.
//!
//! So of each replay one message, the first with a single recipient, asks for a report, where the next hop makes reports
//! and those on canaries come: for this once its return path is the box's, not that of its sender, who asked for none of
//! this. What came of it is told in the message's ledger and the log, and while it is bad news among the alerts. In memory
//! only: a restart knows of no question.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use penstock_release::HopId;
use penstock_spool::MessageId;
use tracing::{info, warn};

use super::Delivery;
use super::canary::{ReportVerdict, Token};
use crate::clock::host_time;
use crate::control::MailId;
use crate::ledger::Kind;

/// The report is waited for at least so long, and so many times as long as the last canary was on its way …
const WAIT_MIN_MS: u64 = 120_000;
const SOJOURNS: u64 = 5;
/// … but no longer than this.
const WAIT_MAX_MS: u64 = 1_800_000;
/// A report that comes so late is still taken.
const TAKEN_FOR_MS: u64 = 3_600_000;

/// What is known of a message that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It has not been taken yet, or its report has not come.
    Open,
    /// It lies in its mailbox.
    Lies,
    /// It will not, as the report says.
    Failed(String),
    /// No report came.
    Silence,
}

/// A message that asks for a report.
#[derive(Clone, Debug)]
struct Asking {
    id: MailId,
    token: Token,
    /// When a hop took it, in monotonic ms.
    taken_ms: Option<u64>,
    answer: Answer,
}

/// The message of the last replay that asks, if one does.
#[derive(Debug, Default)]
pub(super) struct ReadBack(Mutex<Option<Asking>>);

impl ReadBack {
    fn lock(&self) -> MutexGuard<'_, Option<Asking>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This message asks from now on, and no other does.
    fn ask(&self, id: MailId, token: Token) {
        *self.lock() = Some(Asking { id, token, taken_ms: None, answer: Answer::Open });
    }

    /// The token with which a message asks that is about to go.
    fn token(&self, id: MailId) -> Option<Token> {
        self.lock().as_ref().filter(|it| it.id == id && it.taken_ms.is_none()).map(|it| it.token)
    }

    /// A hop took it. Whether it is one that asks.
    fn taken(&self, token: Token, now_ms: u64) -> bool {
        let mut asking = self.lock();
        let asking = asking.as_mut().filter(|it| it.token == token && it.taken_ms.is_none());
        asking.map(|it| it.taken_ms = Some(now_ms)).is_some()
    }

    /// Whether a report with this token is taken, or with any.
    fn awaits(&self, token: Option<Token>, now_ms: u64) -> bool {
        let is_young = |it: &Asking| it.taken_ms.is_none_or(|ms| now_ms.saturating_sub(ms) < TAKEN_FOR_MS);
        self.lock().as_ref().is_some_and(|it| token.is_none_or(|token| it.token == token) && is_young(it))
    }

    /// What came of it. The message, if that is news.
    fn answered(&self, token: Token, answer: Answer) -> Option<MailId> {
        let mut asking = self.lock();
        let asking = asking.as_mut().filter(|it| it.token == token)?;
        // A report that comes late corrects the silence.
        let is_news = matches!(asking.answer, Answer::Open)
            || asking.answer == Answer::Silence && answer != Answer::Silence;
        is_news.then(|| {
            asking.answer = answer;
            asking.id
        })
    }
}

impl Delivery {
    /// Of a replay that begins, this message is the one that asks whether it arrives. Whether it can: some next hop makes
    /// reports that come.
    pub(crate) fn read_back(&self, id: MailId) -> bool {
        let are_heard =
            |hop: usize| u8::try_from(hop).is_ok_and(|hop| self.canaries_of(HopId(hop)).arrived > 0);
        let token = (0..self.settings.next_hops.len()).any(are_heard).then(Token::draw).flatten();
        token.map(|token| self.readback.ask(id, token)).is_some()
    }

    /// The message of the last replay that asked, and what came of it.
    pub(crate) fn read_back_answer(&self) -> Option<(MailId, Answer)> {
        self.readback.lock().as_ref().map(|it| (it.id, it.answer.clone()))
    }

    /// With which token a message asks that is about to go to a hop with one recipient.
    pub(super) fn asks_back(&self, id: MailId, hop: HopId) -> Option<Token> {
        self.readback.token(id).filter(|_| self.canaries_of(hop).arrived > 0)
    }

    /// Whether a report with this token, or with any, is one on a replayed message.
    pub(super) fn awaits_read_back(&self, token: Option<Token>) -> bool {
        self.readback.awaits(token, self.clock.mono_ms())
    }

    /// A hop took a message that asks: its report is waited for.
    pub(super) fn await_read_back(self: &Arc<Self>, hop: HopId, token: Token) {
        if !self.readback.taken(token, self.clock.mono_ms()) {
            return;
        }
        let sojourn_ms = self.canaries_of(hop).sojourn_ms.unwrap_or_default();
        let wait_ms = sojourn_ms.saturating_mul(SOJOURNS).clamp(WAIT_MIN_MS, WAIT_MAX_MS);
        let this = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(host_time(Duration::from_millis(wait_ms))).await;
            this.tell_read_back(token, Answer::Silence).await;
        });
    }

    /// A report on a replayed message has come. Whether it is one.
    pub(super) async fn reported_back(&self, token: Token, verdict: &ReportVerdict) -> bool {
        if !self.awaits_read_back(Some(token)) {
            return false;
        }
        match verdict {
            ReportVerdict::Delivered => self.tell_read_back(token, Answer::Lies).await,
            ReportVerdict::Failed(why) => self.tell_read_back(token, Answer::Failed(why.clone())).await,
            ReportVerdict::Nothing => {}
        }
        true
    }

    async fn tell_read_back(&self, token: Token, answer: Answer) {
        let Some(id) = self.readback.answered(token, answer.clone()) else { return };
        let text = match answer {
            Answer::Open => return,
            Answer::Lies => {
                info!(%id, "a replayed message lies in its mailbox again");
                "the server reports that it lies in the mailbox again".to_owned()
            }
            Answer::Failed(why) => {
                warn!(code = "PS-D243", %id, why, "a replayed message was taken and did not arrive");
                format!("the server took it again and reports that it did not arrive: {why}")
            }
            Answer::Silence => {
                warn!(
                    code = "PS-D243",
                    %id,
                    "a replayed message was taken, and the server does not report that it lies in a mailbox: it has \
                     probably discarded it as one that it has had; `penstock replay` with --as-attachment is not discarded"
                );
                "the server took it again and does not report that it lies in the mailbox: probably discarded as one \
                 that it has had"
                    .to_owned()
            }
        };
        let event = Kind::Replayed.event(self.clock.stamp(), Some(MessageId(id.number)), text);
        if let Some(storage) = self.volumes.of(id.store) {
            // Told in the log already; what cannot be recorded now is no reason to stop.
            let _ = storage.change(move |spool| spool.record_event(&event)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: MailId = MailId::disk(7);

    #[test]
    fn a_report_answers_and_one_that_is_late_corrects_the_silence() {
        let (readback, token) = (ReadBack::default(), Token::draw().unwrap());
        assert_eq!(readback.token(ID), None);
        readback.ask(ID, token);
        assert_eq!((readback.token(ID), readback.token(MailId::disk(8))), (Some(token), None));
        assert!(readback.awaits(Some(token), 0), "it may be quicker than the reply");
        assert!(readback.taken(token, 10) && !readback.taken(token, 11));
        assert_eq!(readback.token(ID), None, "it asks once");
        assert_eq!(readback.answered(token, Answer::Silence), Some(ID));
        assert_eq!(readback.answered(token, Answer::Silence), None);
        assert_eq!(readback.answered(token, Answer::Lies), Some(ID));
        assert_eq!(readback.answered(token, Answer::Silence), None, "it has been heard of");
    }

    #[test]
    fn no_other_report_is_taken_and_none_for_ever() {
        let (readback, token, other) = (ReadBack::default(), Token::draw().unwrap(), Token::draw().unwrap());
        assert!(!readback.awaits(None, 0));
        readback.ask(ID, token);
        readback.taken(token, 10);
        assert!(readback.awaits(None, 10) && !readback.awaits(Some(other), 10));
        assert_eq!(readback.answered(other, Answer::Lies), None);
        assert!(!readback.awaits(Some(token), 10 + TAKEN_FOR_MS));
        readback.ask(MailId::disk(8), other);
        assert!(!readback.awaits(Some(token), 10), "the last replay asks");
    }
}
