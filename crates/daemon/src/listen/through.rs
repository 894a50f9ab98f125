//! What a client is told of a message that is in custody: where it waited for the next hop's word, that.

use penstock_release::{Event, Found};
use penstock_smtp::{Reply, Status, replies};

use super::Listening;
use crate::control::MailId;
use crate::deliver::{ThroughVerdict as Verdict, Waited};
use crate::storage::Stored;

/// How much of what the next hop said is handed on, in bytes: a reply is one line, and our number has to fit in.
const SAID_BYTES_MAX: usize = 380;

/// The reply to a message that is in custody.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) id: MailId,
    code: u16,
    status: Option<Status>,
    text: String,
}

impl Answer {
    pub(super) fn as_reply(&self) -> Reply<'_> {
        Reply { code: self.code, status: self.status, text: &self.text }
    }

    /// The message is ours, which says nothing of what the next hop will do.
    fn queued(id: MailId) -> Self {
        Self { id, code: 250, status: Some(Status::new(2, 0, 0)), text: format!("queued as {id}") }
    }

    /// What the next hop said to all of it: a success, or a refusal for good.
    fn said(found: &Found, id: MailId) -> Self {
        let Event::Reply(reply) = found.evidence().event else { return Self::queued(id) };
        let said = &reply.text[..reply.text.floor_char_boundary(SAID_BYTES_MAX)];
        let taken = (200..300).contains(&reply.code);
        let text = if taken {
            format!("queued as {id}, and taken by the next hop: {said}")
        } else {
            format!("{said} ({id})")
        };
        let status = reply.enhanced.map(|(class, subject, detail)| Status::new(class, subject, detail));
        Self { id, code: if taken { 250 } else { reply.code }, status, text }
    }
}

/// Waits for the next hop's word, where there is one to wait for and sessions do not run short.
pub(super) async fn answer(listening: &Listening, stored: Stored) -> Answer {
    let Stored { id, verdict } = stored;
    let Some(verdict) = verdict.filter(|_| !listening.limits.is_busy()) else { return Answer::queued(id) };
    let metrics = &listening.metrics;
    let from_ms = listening.clock.mono_ms();
    let waited = verdict.wait(listening.stopping.clone()).await;
    metrics.through_waited_ms.add(listening.clock.mono_ms().saturating_sub(from_ms));
    match waited {
        Waited::Said(Verdict::Taken(found)) => {
            metrics.through_taken.add(1);
            Answer::said(&found, id)
        }
        Waited::Said(Verdict::Refused(found)) => {
            metrics.through_refused.add(1);
            Answer::said(&found, id)
        }
        Waited::Said(Verdict::Unrecorded) => {
            metrics.refused_failure.add(1);
            let Reply { code, status, text } = replies::LOCAL_ERROR;
            Answer { id, code, status, text: text.to_owned() }
        }
        Waited::Untold => {
            metrics.through_untold.add(1);
            Answer::queued(id)
        }
        Waited::Late => {
            metrics.through_late.add(1);
            Answer::queued(id)
        }
    }
}

#[cfg(test)]
mod tests {
    use penstock_release::{self as release, Phase};

    use super::*;

    const ID: MailId = MailId::disk(7);

    fn said(code: u16, text: &str) -> String {
        let found = Found::reply(Phase::EndOfData, release::Reply::new(code, text), 1);
        Answer::said(&found, ID).as_reply().to_string()
    }

    #[test]
    fn the_next_hops_word_is_handed_on_with_our_number() {
        assert_eq!(
            said(550, "5.7.1 Message rejected as spam by Content Filtering."),
            "550 5.7.1 Message rejected as spam by Content Filtering. (d-7)"
        );
        assert_eq!(
            said(250, "2.6.0 <1@client.example> Queued mail for delivery"),
            "250 2.6.0 queued as d-7, and taken by the next hop: <1@client.example> Queued mail for delivery"
        );
        assert_eq!(said(550, "No such user"), "550 No such user (d-7)");
    }

    #[test]
    fn a_long_word_leaves_room_for_our_number() {
        let long = said(550, &format!("5.7.1 {}", "é".repeat(1000)));
        assert!(long.len() < SAID_BYTES_MAX + 30 && long.ends_with("é (d-7)"), "{long}");
    }
}
