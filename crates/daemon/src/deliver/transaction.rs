//! One transaction over one connection: what `release` wants said, and what the server answers.

use penstock_release as release;
use penstock_release::{AfterEnvelope, Phase, Transaction};
use penstock_smtp::client::Event;
use penstock_smtp::{Address, BodyType, MailFrom, Recipient};
use penstock_spool::Error;

use super::connection::Connection;
use super::evidence::{Cut, heard, phase};
use crate::storage::{Source, Storage};

/// How a transaction ended.
#[derive(Debug)]
pub(super) enum End {
    /// As `release` knows it.
    Judged(release::End),
    /// The message turned out to be damaged. The connection was dropped before the end of data.
    Damaged,
    /// The volume cannot be read, or what it had come to could not be recorded: the connection was dropped before the end
    /// of data.
    Unrecordable,
}

/// A transaction that came to its end.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) transaction: Transaction,
    pub(super) end: End,
    /// How long the server took to answer MAIL, DATA, and the message, in ms.
    pub(super) answered_ms: Vec<(Phase, u64)>,
}

/// Offers the message to these recipients.
pub(super) async fn run(
    connection: &mut Connection,
    storage: &Storage,
    mail: &MailFrom<'_>,
    recipients: &[Recipient<'_>],
    source: &mut Source,
) -> Ended {
    let transaction = Transaction::new(recipients.len());
    let mut running = Running { connection, transaction, answered_ms: Vec::new() };
    let end = match running.envelope(mail, recipients).await {
        Ok(()) if mail.body == Some(BodyType::BinaryMime) => {
            let octets = source.size_bytes();
            let begun = running.connection.session().chunk(octets);
            running.message(begun, Sending::of_chunk(), storage, source).await
        }
        Ok(()) => {
            let begun = running.connection.session().data();
            running.message(begun, Sending::default(), storage, source).await
        }
        Err(end) => End::Judged(end),
    };
    Ended { transaction: running.transaction, end, answered_ms: running.answered_ms }
}

struct Running<'c> {
    connection: &'c mut Connection,
    transaction: Transaction,
    answered_ms: Vec<(Phase, u64)>,
}

impl Running<'_> {
    /// MAIL and RCPT, ahead of their replies where the server allows it.
    async fn envelope(
        &mut self,
        mail: &MailFrom<'_>,
        recipients: &[Recipient<'_>],
    ) -> Result<(), release::End> {
        if let Err(error) = self.connection.session().mail(mail) {
            // A session that is idle takes MAIL; one that does not is of no use.
            return Err(self.cut(&Cut::Nonsense(error)));
        }
        loop {
            while self.connection.session().can_send()
                && let Some(recipient) = self.transaction.to_name().and_then(|n| recipients.get(n))
            {
                if let Err(error) = self.connection.session().rcpt(recipient) {
                    return Err(self.cut(&Cut::Nonsense(error)));
                }
                self.transaction.named();
            }
            match self.transaction.after_envelope() {
                None => {}
                Some(AfterEnvelope::Data) => return Ok(()),
                Some(AfterEnvelope::Leave(end)) => return Err(self.leave(end).await),
            }
            let took_ms = self.connection.asked_ms_ago();
            match self.connection.poll() {
                Event::NeedInput => {
                    if let Err(cut) = self.connection.progress().await {
                        return Err(self.cut(&cut));
                    }
                }
                Event::MailReply(reply) => {
                    self.answered_ms.push((Phase::Mail, took_ms));
                    self.transaction.mail_answered(heard(reply));
                }
                Event::RcptReply { index, reply } => {
                    let found = self.transaction.heard(Phase::Rcpt, heard(reply));
                    let address = recipients.get(index as usize).map_or(Address::NULL, |it| it.address);
                    let found = self.connection.known().heard(&address, found);
                    if let Some(end) = self.transaction.recipient_answered(index as usize, found) {
                        return Err(end);
                    }
                }
                Event::Refused { phase: at, reply } => {
                    return Err(release::End::Cut(Some(self.transaction.heard(phase(at), heard(reply)))));
                }
                Event::Broken { error, .. } => return Err(self.cut(&Cut::Nonsense(error))),
                Event::Closed => return Err(self.cut(&Cut::Eof)),
                _ => {}
            }
        }
    }

    /// After DATA or BDAT: the message, and the verdict on it.
    async fn message(
        &mut self,
        begun: Result<(), penstock_smtp::Error>,
        mut body: Sending,
        storage: &Storage,
        source: &mut Source,
    ) -> End {
        if let Err(error) = begun {
            return End::Judged(self.cut(&Cut::Nonsense(error)));
        }
        source.rewind();
        loop {
            let took_ms = self.connection.asked_ms_ago();
            let dot_sent = self.connection.session().final_dot_sent();
            match self.connection.poll() {
                Event::NeedInput => {}
                Event::DataReply(reply) if reply.code == 354 => {
                    self.answered_ms.push((Phase::Data, took_ms));
                    body.begun = true;
                    continue;
                }
                Event::DataReply(reply) => {
                    let found = self.transaction.heard(Phase::Data, heard(reply));
                    return End::Judged(self.leave(release::End::Before(Some(found))).await);
                }
                Event::EndReply(reply) => {
                    self.answered_ms.push((Phase::EndOfData, took_ms));
                    let found = self.transaction.heard(Phase::EndOfData, heard(reply));
                    return End::Judged(release::End::Message(found));
                }
                Event::NoRecipients => return End::Judged(release::End::Before(None)),
                Event::Refused { phase: at, reply } => {
                    let found = self.transaction.heard(phase(at), heard(reply));
                    return End::Judged(release::End::Cut(Some(found)));
                }
                Event::Broken { phase: at, error } => {
                    let at = if dot_sent { Phase::FinalDot } else { phase(at) };
                    let found = Cut::Nonsense(error).found(at, self.transaction.accepted());
                    return End::Judged(release::End::Cut(found));
                }
                Event::Closed => return End::Judged(self.cut(&Cut::Eof)),
                _ => continue,
            }
            if body.begun
                && !body.ended
                && let Err(end) = body.fill(self.connection, storage, source).await
            {
                return end;
            }
            if let Err(cut) = self.connection.progress().await {
                return End::Judged(self.cut(&cut));
            }
        }
    }

    /// Leaves the transaction so that the session can have another one.
    async fn leave(&mut self, end: release::End) -> release::End {
        if self.connection.session().reset().is_err() {
            return end;
        }
        loop {
            match self.connection.poll() {
                Event::ResetReply(_) | Event::Refused { .. } | Event::Broken { .. } | Event::Closed => {
                    return end;
                }
                Event::NeedInput => {}
                _ => continue,
            }
            if self.connection.progress().await.is_err() {
                // What it had said before counts; whether the session is of use is seen when it is used.
                return end;
            }
        }
    }

    fn cut(&mut self, cut: &Cut) -> release::End {
        let session = self.connection.session();
        let at = if session.final_dot_sent() { Phase::FinalDot } else { phase(session.phase()) };
        release::End::Cut(cut.found(at, self.transaction.accepted()))
    }
}

/// The message on its way out.
#[derive(Default)]
struct Sending {
    begun: bool,
    ended: bool,
    piece: bytes::Bytes,
    /// It goes by BDAT: with its last byte the server has it, so that one is kept back until all was found right.
    kept_back: Option<Vec<u8>>,
}

impl Sending {
    /// By BDAT, where no answer is waited for.
    fn of_chunk() -> Self {
        Self { begun: true, kept_back: Some(Vec::new()), ..Self::default() }
    }

    /// Takes the next piece of the message.
    fn take(&mut self, piece: bytes::Bytes) {
        match &mut self.kept_back {
            Some(kept_back) => {
                kept_back.extend_from_slice(&piece);
                let last = kept_back.pop();
                self.piece = std::mem::replace(kept_back, last.into_iter().collect()).into();
            }
            None => self.piece = piece,
        }
    }

    /// Hands the session as much as it takes. The end of data is given only once the whole message was found to be
    /// what was accepted, and while its fate can be recorded.
    async fn fill(
        &mut self,
        connection: &mut Connection,
        storage: &Storage,
        source: &mut Source,
    ) -> Result<(), End> {
        loop {
            while !self.piece.is_empty() {
                match connection.session().body(&self.piece) {
                    Ok(0) => return Ok(()),
                    Ok(taken) => drop(self.piece.split_to(taken)),
                    // The server refused in the middle: the next poll says so.
                    Err(_) => return Ok(()),
                }
            }
            match source.next_chunk().await {
                Ok(Some(piece)) => self.take(piece),
                Ok(None) => break,
                Err(Error::ReadOnly) => return Err(End::Unrecordable),
                Err(_) => return Err(End::Damaged),
            }
        }
        if !storage.is_well() {
            return Err(End::Unrecordable);
        }
        if let Some(last) = self.kept_back.as_ref().filter(|last| !last.is_empty()) {
            match connection.session().body(last) {
                Ok(0) => return Ok(()),
                _ => self.kept_back = Some(Vec::new()),
            }
        }
        // No room for the end is no more than a reason to come back.
        self.ended = connection.session().finish().is_ok();
        Ok(())
    }
}
