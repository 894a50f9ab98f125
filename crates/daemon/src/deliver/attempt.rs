//! One message on its way to a next hop: its open recipients, in as many transactions as it takes.
//!
//! What became of recipients is durable before the session begins anything else, so that whatever happens then, at most
//! the transaction in flight is repeated.

use std::collections::VecDeque;

use penstock_release::{HopId, Verdict};
use penstock_smtp::{Address, BodyType, MailFrom, Notify, OriginalRecipient, Return, Xtext};
use penstock_spool::{Body, Envelope, Error, Fate, MessageId, Ret};
use tracing::{debug, error, info, warn};

use super::Delivery;
use super::connection::Connection;
use super::evidence::Found;
use super::record::{Record, named};
use super::transaction::{self, End, Said, Transaction};
use crate::control::MailId;
use crate::ledger::Kind;
use crate::storage::{OpenMessage, Source, Storage};

/// How an attempt ended, as `release` wants to know.
#[derive(Debug)]
pub(super) enum Outcome {
    Done { delivered: bool },
    Open { found: Found, delivered: bool },
    NotTried,
}

/// An attempt that came to its end.
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    /// The recipients that are still open, for a note on why. The message stays leased until that is written.
    pub(super) left: Option<Attempt>,
    /// A connection that can carry another message.
    pub(super) connection: Option<Connection>,
}

/// A message with what is known of its recipients.
pub(super) struct Attempt {
    id: MailId,
    /// The volume that it is on.
    storage: Storage,
    hop: HopId,
    source: Source,
    envelope: Envelope,
    attempts: u16,
    /// Recipients that are still to be offered.
    to_offer: VecDeque<u16>,
    /// Recipients that were put off.
    put_off: Vec<u16>,
    /// Offer them one by one, since one of them may have spoilt it for all.
    split: bool,
    delivered: bool,
    /// What kept recipients open; the last of several.
    kept_open: Option<Found>,
    /// Recipients that were refused for good.
    refused: Vec<(u16, Found)>,
}

impl Ended {
    fn without_trying(outcome: Outcome) -> Self {
        Self { outcome, left: None, connection: None }
    }
}

/// Sends a message as far as it goes.
pub(super) async fn run(delivery: &Delivery, id: MailId, hop: HopId) -> Ended {
    // A volume that is not there has given its messages back long ago, and one that fails cannot record what they come to.
    let Some(storage) = delivery.volumes.of(id.store).filter(|storage| storage.is_well()) else {
        return Ended::without_trying(Outcome::NotTried);
    };
    let mut attempt = match Attempt::open(storage, id, hop).await {
        Ok(attempt) => attempt,
        Err(Error::Damaged(_)) => {
            return Ended::without_trying(match hold_damaged(delivery, storage, id).await {
                true => Outcome::Done { delivered: false },
                false => Outcome::NotTried,
            });
        }
        // It was removed, or its last recipient was.
        Err(Error::NoSuchMessage(_)) => {
            return Ended::without_trying(Outcome::Done { delivered: false });
        }
        Err(error) => {
            warn!(code = error.code(), %id, %error, "a message cannot be read now");
            return Ended::without_trying(Outcome::NotTried);
        }
    };
    let connection = attempt.send(delivery).await;
    let outcome = match (&attempt.kept_open, attempt.is_over()) {
        (_, true) => Outcome::Done { delivered: attempt.delivered },
        (Some(found), false) => Outcome::Open { found: found.clone(), delivered: attempt.delivered },
        (None, false) => Outcome::NotTried,
    };
    Ended { outcome, left: Some(attempt), connection }
}

impl Attempt {
    async fn open(storage: &Storage, id: MailId, hop: HopId) -> Result<Self, Error> {
        let message = MessageId(id.number);
        let (open, fates, attempts) = storage
            .open_with(message, move |spool| {
                let attempts = spool.summary(message).map_or(0, |summary| summary.attempts);
                (spool.fates(message).unwrap_or_default(), attempts)
            })
            .await
            .map(|(open, (fates, attempts)): (OpenMessage, _)| (open, fates, attempts))?;
        let to_offer: VecDeque<u16> = fates
            .iter()
            .filter(|(_, _, fate)| matches!(fate, Fate::Queued | Fate::Deferred))
            .flat_map(|(first, count, _)| *first..first.saturating_add(*count))
            .collect();
        if to_offer.is_empty() {
            return Err(Error::NoSuchMessage(message));
        }
        let (source, envelope) = Source::open(open, storage).await?;
        Ok(Self {
            id,
            storage: storage.clone(),
            hop,
            source,
            envelope,
            attempts: attempts.saturating_add(1),
            to_offer,
            put_off: Vec::new(),
            split: false,
            delivered: false,
            kept_open: None,
            refused: Vec::new(),
        })
    }

    /// Who it is from and for, and which recipients were refused for good.
    pub(super) fn seen(&self) -> (&Envelope, &[(u16, Found)]) {
        (&self.envelope, &self.refused)
    }

    /// Whether the server may have taken it although it did not say so.
    pub(super) fn is_unknown(&self) -> bool {
        self.kept_open.as_ref().is_some_and(|found| found.evidence().is_unknown())
    }

    /// Whether every recipient has its fate.
    fn is_over(&self) -> bool {
        self.to_offer.is_empty() && self.put_off.is_empty()
    }

    /// When the message was accepted, if the clock could be trusted then.
    pub(super) fn accepted_unix_ms(&self) -> Option<u64> {
        let received = self.envelope.begin.received;
        received.trusted.then_some(received.unix_ms)
    }

    /// What kept recipients open.
    pub(super) fn said(&self) -> String {
        self.kept_open.as_ref().map_or(String::new(), ToString::to_string)
    }

    /// Offers what is to be offered, transaction by transaction. Gives back the connection if it is of use.
    async fn send(&mut self, delivery: &Delivery) -> Option<Connection> {
        let mut connection = match delivery.connection(self.hop).await {
            Ok(connection) => connection,
            Err(found) => {
                self.kept_open = found;
                return None;
            }
        };
        // What the new connection showed may be a reason to send nothing.
        while !self.to_offer.is_empty() && delivery.release().may_have_mail(self.hop) {
            let recipients_max = delivery.settings.client.recipients_max as usize;
            let batch_len = if self.split { 1 } else { recipients_max.min(self.to_offer.len()) };
            let batch: Vec<u16> = self.to_offer.drain(..batch_len).collect();
            let transaction = self.transact(&mut connection, &batch).await;
            let went_stale = connection.is_used()
                && matches!(&transaction.end, End::Cut(Some(found)) if found.phase == penstock_release::Phase::Mail);
            if went_stale {
                // The server had closed it meanwhile, which says nothing about anything.
                debug!(peer = %connection.peer(), end = ?transaction.end, "the session had ended meanwhile");
                batch.into_iter().rev().for_each(|recipient| self.to_offer.push_front(recipient));
                match delivery.connect(self.hop).await {
                    Ok(fresh) => connection = fresh,
                    Err(found) => {
                        self.kept_open = found;
                        return None;
                    }
                }
                continue;
            }
            for (phase, took_ms) in &transaction.answered_ms {
                delivery.answered(self.hop, *phase, *took_ms);
            }
            let goes_on = self.settle(delivery, &batch, transaction, connection.peer()).await;
            if !goes_on {
                return None;
            }
            connection.carried();
            if !connection.is_fresh() && !self.to_offer.is_empty() {
                let old = std::mem::replace(&mut connection, delivery.connect(self.hop).await.ok()?);
                tokio::spawn(old.quit());
            }
            if self.kept_open.as_ref().is_some_and(|found| concerns_all(found.verdict())) {
                break;
            }
        }
        Some(connection)
    }

    async fn transact(&mut self, connection: &mut Connection, batch: &[u16]) -> Transaction {
        let begin = &self.envelope.begin;
        // What is on flash went through the same parser when it came in: a part that no longer passes was not ours.
        let mail = MailFrom {
            sender: Address::parse(&begin.sender).unwrap_or(Address::NULL),
            size_bytes: Some(self.source.size_bytes()),
            body: match begin.body {
                Body::SevenBit => None,
                Body::EightBitMime | Body::BinaryMime => Some(BodyType::EightBitMime),
            },
            ret: begin.ret.map(|ret| match ret {
                Ret::Full => Return::Full,
                Ret::Headers => Return::Headers,
            }),
            envid: begin.envid.as_deref().and_then(|envid| Xtext::parse(envid).ok()),
        };
        let recipients: Vec<_> = batch
            .iter()
            .filter_map(|number| self.envelope.recipients.get(usize::from(*number)))
            .map(|recipient| penstock_smtp::Recipient {
                address: Address::parse(&recipient.address).unwrap_or(Address::NULL),
                notify: notify(recipient.notify),
                orcpt: recipient.orcpt.as_deref().and_then(|orcpt| OriginalRecipient::parse(orcpt).ok()),
            })
            .collect();
        transaction::run(connection, &self.storage, &mail, &recipients, &mut self.source).await
    }

    /// Writes down what a transaction came to. Whether the connection, and the attempt, can go on.
    async fn settle(
        &mut self,
        delivery: &Delivery,
        batch: &[u16],
        transaction: Transaction,
        peer: std::net::SocketAddr,
    ) -> bool {
        let Transaction { said, end, .. } = transaction;
        let mut records = Vec::new();
        let mut accepted = Vec::new();
        // Of whom nothing was said, and who is to go in the next transaction.
        let (mut unsaid, mut open) = (Vec::new(), Vec::new());
        for (number, said) in batch.iter().copied().zip(said) {
            match said {
                Said::Accepted => accepted.push(number),
                Said::Nothing => unsaid.push(number),
                Said::Next => open.push(number),
                Said::Later(found) => {
                    self.put_off.push(number);
                    self.kept_open = Some(found);
                }
                Said::Refused(found) => {
                    self.refused.push((number, found.clone()));
                    records.push(self.record(delivery, vec![number], Fate::Held, &found, peer));
                }
            }
        }
        let goes_on = match end {
            End::Message(found) | End::Before(Some(found)) => {
                // Where MAIL was refused nothing was said of any recipient: it was said of all.
                accepted.append(&mut unsaid);
                accepted.sort_unstable();
                self.judge(delivery, accepted, &found, &mut records, peer);
                true
            }
            End::Before(None) => true,
            End::Cut(found) => {
                open.append(&mut accepted);
                self.kept_open = found;
                false
            }
            End::Damaged if hold_damaged(delivery, &self.storage, self.id).await => {
                self.to_offer.clear();
                self.put_off.clear();
                return false;
            }
            End::Damaged | End::Unrecordable => {
                open.append(&mut accepted);
                self.kept_open = None;
                false
            }
        };
        open.append(&mut unsaid);
        open.sort_unstable();
        open.into_iter().rev().for_each(|number| self.to_offer.push_front(number));
        self.write(delivery, records).await && goes_on
    }

    /// What follows from what the server said of the message as a whole, for those recipients.
    fn judge(
        &mut self,
        delivery: &Delivery,
        recipients: Vec<u16>,
        found: &Found,
        records: &mut Vec<Record>,
        peer: std::net::SocketAddr,
    ) {
        match found.verdict() {
            Verdict::Delivered => {
                self.delivered = true;
                delivery.metrics.delivered.add(recipients.len() as u64);
                records.push(self.record(delivery, recipients, Fate::Delivered, found, peer));
            }
            Verdict::Held => {
                self.refused.extend(recipients.iter().map(|number| (*number, found.clone())));
                records.push(self.record(delivery, recipients, Fate::Held, found, peer));
            }
            Verdict::SplitRecipients => {
                self.split = true;
                recipients.into_iter().rev().for_each(|number| self.to_offer.push_front(number));
            }
            Verdict::Accepted
            | Verdict::RetryMessage
            | Verdict::RetryRecipient
            | Verdict::NextTransaction
            | Verdict::Destination(_) => {
                self.put_off.extend(recipients);
                self.kept_open = Some(found.clone());
            }
        }
    }

    fn record(
        &self,
        delivery: &Delivery,
        recipients: Vec<u16>,
        fate: Fate,
        found: &Found,
        peer: std::net::SocketAddr,
    ) -> Record {
        let hop = delivery.hop_name(self.hop);
        let names = named(&self.envelope.recipients, &recipients);
        let (kind, did) = match fate {
            Fate::Delivered => (Kind::Delivered, "took it for"),
            _ => (Kind::Held, "refused it for"),
        };
        Record {
            id: self.id,
            recipients,
            fate,
            attempts: self.attempts,
            reply_code: found.code(),
            at: delivery.clock.stamp(),
            kind,
            text: format!("{hop} [{peer}] {did} {names}: {found}"),
            said: found.to_string(),
        }
    }

    /// Makes records durable. Whether that worked: if not, nothing more may be sent.
    async fn write(&self, delivery: &Delivery, records: Vec<Record>) -> bool {
        if records.is_empty() {
            return true;
        }
        let told = records.clone();
        let written = self
            .storage
            .change(move |spool| records.iter().try_for_each(|record| record.append(spool)))
            .await;
        if let Err(error) = written {
            error!(
                code = error.code(),
                id = %self.id,
                %error,
                "the fate of a message could not be recorded: it may be delivered a second time"
            );
            return false;
        }
        told.iter().for_each(|record| tell(delivery, record));
        true
    }

    /// Notes that recipients wait, or are set aside, after `release` has decided.
    pub(super) async fn note_open(mut self, delivery: &Delivery, fate: Fate, attempts: u16, why: &str) {
        let mut recipients: Vec<u16> = self.to_offer.drain(..).collect();
        recipients.append(&mut self.put_off);
        recipients.sort_unstable();
        recipients.dedup();
        if recipients.is_empty() {
            return;
        }
        let hop = delivery.hop_name(self.hop);
        let names = named(&self.envelope.recipients, &recipients);
        let said = self.said();
        let colon = if said.is_empty() { "" } else { ": " };
        let record = Record {
            id: self.id,
            recipients,
            fate,
            attempts,
            reply_code: self.kept_open.as_ref().map_or(0, Found::code),
            at: delivery.clock.stamp(),
            kind: if fate == Fate::Held { Kind::Held } else { Kind::Deferred },
            text: format!("{hop}, {names}: {why}{colon}{said}"),
            said,
        };
        self.write(delivery, vec![record]).await;
    }
}

/// Whether a verdict leaves no hope for the other recipients of this attempt.
fn concerns_all(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Destination(_) | Verdict::RetryMessage)
}

fn tell(delivery: &Delivery, record: &Record) {
    let (metrics, count) = (&delivery.metrics, record.recipients.len() as u64);
    let (id, text) = (record.id, &record.text);
    match record.fate {
        Fate::Held => {
            delivery.remember(record.id, None, &record.said);
            metrics.held.add(count);
            warn!(code = "PS-D230", %id, text, "held for the operator: `penstock show {id}`, then release or remove it");
        }
        Fate::Deferred => {
            metrics.deferred.add(count);
            info!(%id, text, "deferred");
        }
        _ => match delivery.lines.take() {
            Some(untold) => info!(%id, text, untold, "delivered"),
            None => debug!(%id, text, "delivered"),
        },
    }
}

/// Sets aside what cannot be given out. Whether it did: a read error of a volume that was away for a moment is no damage.
async fn hold_damaged(delivery: &Delivery, storage: &Storage, id: MailId) -> bool {
    if !storage.is_well() || is_readable(storage, id).await {
        return false;
    }
    error!(
        code = "PS-D231",
        %id,
        "a message on the volume is damaged: it is not delivered, and kept; the sender has to be asked for it"
    );
    let at = delivery.clock.stamp();
    let text =
        "the bytes on the volume are not those that were written; nothing of it is given out".to_owned();
    delivery.metrics.held.add(1);
    let written = storage
        .change(move |spool| {
            let fates = spool.fates(MessageId(id.number)).unwrap_or_default();
            let recipients = fates
                .into_iter()
                .filter(|(_, _, fate)| matches!(fate, Fate::Queued | Fate::Deferred))
                .flat_map(|(first, count, _)| first..first.saturating_add(count))
                .collect();
            let (fate, attempts, reply_code, kind, said) = (Fate::Held, 0, 0, Kind::Damaged, String::new());
            Record { id, recipients, fate, attempts, reply_code, at, kind, text, said }.append(spool)
        })
        .await;
    if let Err(error) = &written {
        warn!(code = error.code(), %id, %error, "that could not be recorded");
    }
    written.is_ok()
}

/// Whether all of a message reads as it was written, at another try.
async fn is_readable(storage: &Storage, id: MailId) -> bool {
    let read = async {
        let (open, ()) = storage.open_with(MessageId(id.number), |_| ()).await?;
        let (mut source, _) = Source::open(open, storage).await?;
        while source.next_chunk().await?.is_some() {}
        Ok::<(), Error>(())
    };
    read.await.is_ok()
}

fn notify(notify: penstock_spool::Notify) -> Option<Notify> {
    let has = |one| notify.contains(one);
    (!notify.is_absent()).then(|| Notify {
        success: has(penstock_spool::Notify::SUCCESS),
        failure: has(penstock_spool::Notify::FAILURE),
        delay: has(penstock_spool::Notify::DELAY),
    })
}
