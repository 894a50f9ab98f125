//! The verdict on a message at its end.

use memchr::memmem;

use crate::body::{fields_of, header_of};
use crate::config::{Config, Stage};
use crate::directory::Who;
use crate::face::{back_end, judges_recipients};
use crate::message::{Message, Recipient};
use crate::replies::{self as say, Reply};
use crate::session::{Answer, Say, Session};
use crate::transport::Transport;

impl Transport {
    /// Ends a transaction: the message is taken or refused, after what the back end and the disk need.
    pub(crate) fn judge(&mut self, session: &mut Session, now_ms: u64) -> Answer {
        let (envelope, body, delayed) = (session.envelope.take(), session.body.take(), session.delayed);
        session.reset();
        let (Some(envelope), Some(body)) = (envelope, body) else { return say::NEED_MAIL.into() };
        let len_bytes = body.len_bytes();
        let kept = body.into_kept();
        let commit_ms = self.config.load.commit_ms;
        // A back end that refuses MAIL does not see the message: nothing in it matters.
        let gate = back_end(Stage::End, &self.config, &self.pressure);
        if let Some(refusal) = gate.refusal {
            self.totals.in_vain += 1;
            return Answer { after_ms: commit_ms, say: Say::Reply(refusal) };
        }
        if self.config.faults.poison.as_ref().is_some_and(|mark| contains(&kept, mark)) {
            return Answer { after_ms: 0, say: Say::Hangup };
        }
        let header = header_of(&kept);
        let fields = fields_of(header);
        let field =
            |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
        let refusal = content_refusal(&self.config, len_bytes, &kept, header, &fields)
            .or_else(|| self.recipients_refusal(&envelope.recipients, now_ms));
        if let Some(refusal) = refusal {
            return Answer { after_ms: commit_ms, say: Say::Reply(refusal) };
        }
        let delay_ms = if delayed { 0 } else { gate.delay_ms };
        let to_probe = envelope.recipients.iter().any(|to| self.config.site.probes.contains(&to.address));
        let message = Message {
            id: self.next_id(),
            source: Some(session.source),
            message_id: field("message-id").map(|id| printable(&id)).filter(|id| !id.is_empty()),
            date: printable(&field("date").unwrap_or_default()),
            len_bytes,
            accepted_ms: now_ms,
            kept: if to_probe { kept } else { Vec::new() },
            envelope,
        };
        Answer { after_ms: commit_ms + delay_ms, say: Say::Accept(Box::new(message)) }
    }

    /// What the recipients, or the way to them, are refused for.
    fn recipients_refusal(&mut self, recipients: &[Recipient], now_ms: u64) -> Option<Reply> {
        let faults = &self.config.faults;
        if !judges_recipients(self.config.face) {
            if faults.proxy_broken {
                return Some(say::PROXY_TROUBLE);
            }
            let unknown = |address: &str| self.config.site.who(address) == Who::Unknown;
            if faults.recipient_filter && recipients.iter().any(|to| unknown(&to.address)) {
                return Some(say::USER_UNKNOWN);
            }
        }
        if faults.shadow_broken {
            return Some(say::NOT_REDUNDANT);
        }
        if !judges_recipients(self.config.face)
            && !recipients.iter().all(|to| self.mailbox_bears(&to.address, now_ms))
        {
            return Some(say::MAILBOX_THROTTLED);
        }
        None
    }

    /// Takes custody, and says so.
    pub(crate) fn accept(&mut self, now_ms: u64, message: Message) -> Reply {
        let host = &self.config.site.host;
        let name = message.message_id.clone().unwrap_or_else(|| format!("<{}@{host}>", message.id));
        let text =
            format!("2.6.0 {name} [InternalId={}, Hostname={host}] Queued mail for delivery", message.id);
        self.totals.accepted += 1;
        self.submit(now_ms, message);
        Reply::with(250, text)
    }
}

/// What a message is refused for because of what it is.
fn content_refusal(
    config: &Config,
    len_bytes: u64,
    kept: &[u8],
    header: &[u8],
    fields: &[(String, String)],
) -> Option<Reply> {
    let limits = &config.limits;
    let organisation = !limits.organisation_reports && len_bytes > limits.organisation_bytes;
    if len_bytes > limits.size_bytes || organisation {
        return Some(say::TOO_LARGE);
    }
    if header.len() as u64 > limits.header_bytes {
        return Some(say::HEADER_TOO_LARGE);
    }
    if fields.iter().filter(|(name, _)| name == "received").count() > limits.hops_max {
        return Some(say::HOPS);
    }
    config.faults.spam.as_ref().is_some_and(|mark| contains(kept, mark)).then_some(say::SPAM)
}

/// A header field as far as it can be said again in a reply: of a line's length, without control characters.
fn printable(value: &str) -> String {
    value.chars().filter(|c| !c.is_control()).take(400).collect()
}

fn contains(kept: &[u8], mark: &str) -> bool {
    memmem::find(kept, mark.as_bytes()).is_some()
}
