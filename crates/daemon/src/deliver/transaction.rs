//! One transaction: some recipients of one message over one connection, and what the server said to each.

use penstock_release::{Phase, Verdict};
use penstock_smtp::client::Event;
use penstock_smtp::{Address, MailFrom, Recipient};
use penstock_spool::Error;

use super::connection::Connection;
use super::evidence::{Cut, Found, phase};
use crate::storage::{Source, Storage};

/// What has become of a recipient in a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
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
#[derive(Debug)]
pub(super) enum End {
    /// With a verdict on the message, for all recipients that were accepted.
    Message(Found),
    /// Before the message, since the server had no use for it: the session can go on. `None` where no recipient was
    /// accepted, and each has its own reason.
    Before(Option<Found>),
    /// With the connection. `None` where that was our doing.
    Cut(Option<Found>),
    /// The message turned out to be damaged. The connection was dropped before the end of data.
    Damaged,
    /// The volume cannot be read, or what it had come to could not be recorded: the connection was dropped before the end
    /// of data.
    Unrecordable,
}

/// A transaction that came to its end.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) said: Vec<Said>,
    pub(super) end: End,
    /// How long the server took to answer MAIL, and the message, in ms.
    pub(super) answered_ms: Vec<(Phase, u64)>,
}

/// Offers the message to these recipients.
pub(super) async fn run(
    connection: &mut Connection,
    storage: &Storage,
    mail: &MailFrom<'_>,
    recipients: &[Recipient<'_>],
    source: &mut Source,
) -> Transaction {
    let mut transaction = Running {
        connection,
        said: vec![Said::Nothing; recipients.len()],
        accepted: 0,
        mail_refused: None,
        answered_ms: Vec::new(),
    };
    let end = match transaction.envelope(mail, recipients).await {
        Ok(()) => transaction.message(storage, source).await,
        Err(end) => end,
    };
    Transaction { said: transaction.said, end, answered_ms: transaction.answered_ms }
}

struct Running<'c> {
    connection: &'c mut Connection,
    said: Vec<Said>,
    accepted: u32,
    mail_refused: Option<Found>,
    answered_ms: Vec<(Phase, u64)>,
}

impl Running<'_> {
    /// MAIL and RCPT, ahead of their replies where the server allows it. DATA waits for all of them: what is said of
    /// one recipient may be a reason to send the message to none.
    async fn envelope(&mut self, mail: &MailFrom<'_>, recipients: &[Recipient<'_>]) -> Result<(), End> {
        if let Err(error) = self.connection.session().mail(mail) {
            // A session that is idle takes MAIL; one that does not is of no use.
            return Err(self.cut(&Cut::Nonsense(error)));
        }
        let mut to_send = recipients.iter();
        let mut answered = 0;
        while answered < recipients.len() {
            while self.mail_refused.is_none()
                && self.connection.session().can_send()
                && let Some(recipient) = to_send.next()
            {
                if let Err(error) = self.connection.session().rcpt(recipient) {
                    return Err(self.cut(&Cut::Nonsense(error)));
                }
            }
            let took_ms = self.connection.asked_ms_ago();
            match self.connection.poll() {
                Event::NeedInput => {
                    // Those that were not sent are not owed a reply.
                    if self.mail_refused.is_some() && answered + to_send.len() == recipients.len() {
                        break;
                    }
                    if let Err(cut) = self.connection.progress().await {
                        return Err(self.cut(&cut));
                    }
                }
                Event::MailReply(reply) => {
                    self.answered_ms.push((Phase::Mail, took_ms));
                    let found = Found::reply(Phase::Mail, reply, 0);
                    if found.verdict() != Verdict::Accepted {
                        self.mail_refused = Some(found);
                    }
                }
                Event::RcptReply { index, reply } => {
                    answered += 1;
                    let found = Found::reply(Phase::Rcpt, reply, self.accepted);
                    let address = recipients.get(index as usize).map_or(Address::NULL, |it| it.address);
                    let found = self.connection.known().heard(&address, found);
                    if self.mail_refused.is_none() {
                        self.recipient(index as usize, found)?;
                    }
                }
                Event::Refused { phase: at, reply } => {
                    return Err(End::Cut(Some(Found::reply(phase(at), reply, self.accepted))));
                }
                Event::Broken { error, .. } => return Err(self.cut(&Cut::Nonsense(error))),
                Event::Closed => return Err(self.cut(&Cut::Eof)),
                _ => {}
            }
        }
        if let Some(found) = self.mail_refused.take() {
            return Err(self.leave(Some(found)).await);
        }
        if self.accepted == 0 {
            return Err(self.leave(None).await);
        }
        Ok(())
    }

    fn recipient(&mut self, index: usize, found: Found) -> Result<(), End> {
        let said = match found.verdict() {
            Verdict::Accepted | Verdict::Delivered => {
                self.accepted += 1;
                Said::Accepted
            }
            Verdict::NextTransaction => Said::Next,
            Verdict::Held => Said::Refused(found),
            Verdict::RetryRecipient | Verdict::RetryMessage | Verdict::SplitRecipients => Said::Later(found),
            // It concerns all of them. Replies to the others may be under way, so the session is of no more use.
            Verdict::Destination(_) => return Err(End::Cut(Some(found))),
        };
        if let Some(slot) = self.said.get_mut(index) {
            *slot = said;
        }
        Ok(())
    }

    /// DATA, the message, and the verdict on it.
    async fn message(&mut self, storage: &Storage, source: &mut Source) -> End {
        if let Err(error) = self.connection.session().data() {
            return self.cut(&Cut::Nonsense(error));
        }
        source.rewind();
        let mut body = Sending::default();
        loop {
            let took_ms = self.connection.asked_ms_ago();
            let dot_sent = self.connection.session().final_dot_sent();
            match self.connection.poll() {
                Event::NeedInput => {}
                Event::DataReply(reply) if reply.code == 354 => {
                    body.begun = true;
                    continue;
                }
                Event::DataReply(reply) => {
                    let found = Found::reply(Phase::Data, reply, self.accepted);
                    return self.leave(Some(found)).await;
                }
                Event::EndReply(reply) => {
                    self.answered_ms.push((Phase::EndOfData, took_ms));
                    return End::Message(Found::reply(Phase::EndOfData, reply, self.accepted));
                }
                Event::NoRecipients => return End::Before(None),
                Event::Refused { phase: at, reply } => {
                    return End::Cut(Some(Found::reply(phase(at), reply, self.accepted)));
                }
                Event::Broken { phase: at, error } => {
                    let at = if dot_sent { Phase::FinalDot } else { phase(at) };
                    return End::Cut(Found::cut(at, &Cut::Nonsense(error), self.accepted));
                }
                Event::Closed => return self.cut(&Cut::Eof),
                _ => continue,
            }
            if body.begun
                && !body.ended
                && let Err(end) = body.fill(self.connection, storage, source).await
            {
                return end;
            }
            if let Err(cut) = self.connection.progress().await {
                return self.cut(&cut);
            }
        }
    }

    /// Leaves the transaction so that the session can have another one.
    async fn leave(&mut self, found: Option<Found>) -> End {
        if self.connection.session().reset().is_err() {
            return End::Before(found);
        }
        loop {
            match self.connection.poll() {
                Event::ResetReply(_) => return End::Before(found),
                Event::NeedInput => {}
                Event::Refused { .. } | Event::Broken { .. } | Event::Closed => return End::Before(found),
                _ => continue,
            }
            if self.connection.progress().await.is_err() {
                // What it had said before counts; whether the session is of use is seen when it is used.
                return End::Before(found);
            }
        }
    }

    fn cut(&mut self, cut: &Cut) -> End {
        let session = self.connection.session();
        let at = if session.final_dot_sent() { Phase::FinalDot } else { phase(session.phase()) };
        End::Cut(Found::cut(at, cut, self.accepted))
    }
}

/// The message on its way out.
#[derive(Default)]
struct Sending {
    begun: bool,
    ended: bool,
    chunk: bytes::Bytes,
}

impl Sending {
    /// Hands the session as much as it takes. The end of data is given only once the whole message was found to be
    /// what was accepted, and while its fate can be recorded.
    async fn fill(
        &mut self,
        connection: &mut Connection,
        storage: &Storage,
        source: &mut Source,
    ) -> Result<(), End> {
        loop {
            while !self.chunk.is_empty() {
                match connection.session().body(&self.chunk) {
                    Ok(0) => return Ok(()),
                    Ok(taken) => drop(self.chunk.split_to(taken)),
                    // The server refused in the middle: the next poll says so.
                    Err(_) => return Ok(()),
                }
            }
            match source.next_chunk().await {
                Ok(Some(chunk)) => self.chunk = chunk,
                Ok(None) => break,
                Err(Error::ReadOnly) => return Err(End::Unrecordable),
                Err(_) => return Err(End::Damaged),
            }
        }
        if !storage.is_well() {
            return Err(End::Unrecordable);
        }
        // No room for the end is no more than a reason to come back.
        self.ended = connection.session().finish().is_ok();
        Ok(())
    }
}
