//! What of a transaction comes before the message: what was sent, and what each reply answers.

use core::fmt::{Result, Write};

use crate::bounds::CLIENT_OUTPUT_BYTES;
use crate::envelope::{BodyType, MailFrom, Recipient};
use crate::output::Output;
use crate::reply::Reply;

use super::capabilities::Capabilities;
use super::config::Phase;

/// MAIL to DATA. Replies come in the order of the commands, so counting them says whose they are.
#[derive(Debug, Default)]
pub(super) struct Envelope {
    mail_accepted: Option<bool>,
    pub(super) recipients: u32,
    recipients_answered: u32,
    recipients_accepted: u32,
    pub(super) data_sent: bool,
    data_answered: bool,
    /// The message can only be sent by BDAT.
    pub(super) binary: bool,
    /// Addresses may be UTF-8.
    pub(super) smtp_utf8: bool,
}

/// Which command a reply answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    Mail,
    /// The recipient with this index.
    Rcpt(u32),
    Data,
}

impl Envelope {
    pub(super) fn new(offered: &Capabilities, mail: &MailFrom<'_>) -> Self {
        Self {
            binary: mail.body == Some(BodyType::BinaryMime),
            smtp_utf8: mail.smtp_utf8 && offered.smtp_utf8,
            ..Self::default()
        }
    }

    /// How many replies the server owes.
    pub(super) fn outstanding(&self) -> u32 {
        u32::from(self.mail_accepted.is_none())
            + (self.recipients - self.recipients_answered)
            + u32::from(self.data_sent && !self.data_answered)
    }

    /// Whether the message would reach anybody, as far as is known.
    pub(super) fn is_deliverable(&self) -> bool {
        self.mail_accepted == Some(true) && self.recipients_accepted > 0
    }

    pub(super) fn phase(&self) -> Phase {
        match self.next_answer() {
            Some(Answers::Mail) => Phase::Mail,
            Some(Answers::Rcpt(_)) => Phase::Rcpt,
            Some(Answers::Data) => Phase::Data,
            None => Phase::Idle,
        }
    }

    /// What the next reply answers, if one is owed.
    fn next_answer(&self) -> Option<Answers> {
        if self.mail_accepted.is_none() {
            Some(Answers::Mail)
        } else if self.recipients_answered < self.recipients {
            Some(Answers::Rcpt(self.recipients_answered))
        } else if self.data_sent && !self.data_answered {
            Some(Answers::Data)
        } else {
            None
        }
    }

    /// Takes note of `reply`, and says what it answers: `None` if it cannot answer what is owed.
    pub(super) fn answered(&mut self, reply: Reply<'_>) -> Option<Answers> {
        let refused = reply.is_transient() || reply.is_permanent();
        let answers = self.next_answer()?;
        match answers {
            Answers::Mail if reply.is_success() || refused => self.mail_accepted = Some(!refused),
            Answers::Rcpt(_) if reply.is_success() || refused => {
                self.recipients_answered += 1;
                self.recipients_accepted += u32::from(!refused);
            }
            Answers::Data if reply.code == 354 || refused => self.data_answered = true,
            _ => return None,
        }
        Some(answers)
    }
}

pub(super) fn write_mail(
    output: &mut Output<CLIENT_OUTPUT_BYTES>,
    offered: &Capabilities,
    mail: &MailFrom<'_>,
) -> Result {
    write!(output, "MAIL FROM:<{}>", mail.sender)?;
    if let Some(bytes) = mail.size_bytes.filter(|_| offered.size) {
        write!(output, " SIZE={bytes}")?;
    }
    let is_offered = |body: &BodyType| offered.eight_bit_mime || *body == BodyType::BinaryMime;
    if let Some(body) = mail.body.filter(is_offered) {
        write!(output, " BODY={}", body.keyword())?;
    }
    if mail.smtp_utf8 && offered.smtp_utf8 {
        write!(output, " SMTPUTF8")?;
    }
    if let Some(ret) = mail.ret.filter(|_| offered.dsn) {
        write!(output, " RET={}", ret.keyword())?;
    }
    if let Some(envid) = mail.envid.filter(|_| offered.dsn) {
        write!(output, " ENVID={}", envid.as_str())?;
    }
    write!(output, "\r\n")
}

pub(super) fn write_rcpt(
    output: &mut Output<CLIENT_OUTPUT_BYTES>,
    offered: &Capabilities,
    recipient: &Recipient<'_>,
) -> Result {
    write!(output, "RCPT TO:<{}>", recipient.address)?;
    if let Some(notify) = recipient.notify.filter(|_| offered.dsn) {
        write!(output, " NOTIFY={}", notify.keyword())?;
    }
    if let Some(orcpt) = recipient.orcpt.filter(|_| offered.dsn) {
        write!(output, " ORCPT={}", orcpt.as_str())?;
    }
    write!(output, "\r\n")
}
