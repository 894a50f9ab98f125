//! One message on its way to a next hop: opened, offered as `release` wants it, and what became of it written down.
//!
//! What became of recipients is durable before the session begins anything else, so that whatever happens then, at most
//! the transaction in flight is repeated.

use penstock_release::{Aside, Fated, Found, HopId, MessageAttempt, Outcome, Settled};
use penstock_smtp::{Address, BodyType, MailFrom, Notify, OriginalRecipient, Return, Xtext};
use penstock_spool::{Body, Envelope, Error, Fate, MessageId, Recipient, Ret};
use tracing::{debug, error, info, warn};

use super::Delivery;
use super::canary::Token;
use super::connection::Connection;
use super::fit::Needs;
use super::record::{Record, named};
use super::transaction::{self, End};
use crate::control::MailId;
use crate::ledger::Kind;
use crate::storage::{OpenMessage, Source, Storage};

/// An attempt that came to its end.
pub(super) enum Ended {
    /// The message was opened. It stays leased until a note on who is still open, and why, is written.
    Tried(Box<Attempt>),
    /// Every recipient has its fate already.
    Over,
    /// It could not be read now.
    NotTried,
}

/// A message with what is known of its recipients.
pub(super) struct Attempt {
    pub(super) id: MailId,
    /// The volume that it is on.
    storage: Storage,
    pub(super) hop: HopId,
    source: Source,
    pub(super) envelope: Envelope,
    pub(super) attempts: u16,
    pub(super) recipients: MessageAttempt,
    /// Recipients for whom it was taken.
    taken: Vec<u16>,
    /// What the server said when it took it; the last of several.
    pub(super) acceptance: Option<Found>,
    /// The refusal could not be recorded of which a client was to be told: it was told to come back.
    pub(super) is_renounced: bool,
    /// What it needs of a server.
    needs: Needs,
    /// Those a server took it for that cannot report it, although its sender asked for that, with what the server said.
    unreported: Vec<(u16, String)>,
    /// With which token it asks whether it arrives.
    asks: Option<Token>,
}

impl Ended {
    /// What to report of it.
    pub(super) fn outcome(&self) -> Outcome<'_> {
        match self {
            Self::Tried(attempt) => attempt.recipients.outcome(),
            Self::Over => Outcome::Done { delivered: false },
            Self::NotTried => Outcome::NotTried,
        }
    }
}

/// Sends a message as far as it goes. With a connection that can carry another message, if there is one.
pub(super) async fn run(delivery: &Delivery, id: MailId, hop: HopId) -> (Ended, Option<Connection>) {
    // A volume that is not there has given its messages back long ago, and one that fails cannot record what they come to.
    let Some(storage) = delivery.volumes.of(id.store).filter(|storage| storage.is_well()) else {
        return (Ended::NotTried, None);
    };
    let mut attempt = match Attempt::begin(storage, id, hop).await {
        Ok(attempt) => Box::new(attempt),
        Err(Error::Damaged(_)) => {
            let ended = if hold_damaged(delivery, storage, id).await { Ended::Over } else { Ended::NotTried };
            return (ended, None);
        }
        // It was removed, or its last recipient was.
        Err(Error::NoSuchMessage(_)) => return (Ended::Over, None),
        Err(error) => {
            warn!(code = error.code(), %id, %error, "a message cannot be read now");
            return (Ended::NotTried, None);
        }
    };
    if !delivery.addressed(id, attempt.envelope(), attempt.open()) {
        // Its mailbox is to be spared for now.
        return (Ended::NotTried, None);
    }
    attempt.hold_back(delivery);
    // Nobody is connected to for a message of which all are held.
    let connection = if attempt.recipients.has_next() { attempt.send(delivery).await } else { None };
    attempt.hold_denied(delivery);
    (Ended::Tried(attempt), connection)
}

impl Attempt {
    async fn begin(storage: &Storage, id: MailId, hop: HopId) -> Result<Self, Error> {
        let message = MessageId(id.number);
        let (open, fates, attempts) = storage
            .open_with(message, move |spool| {
                let attempts = spool.summary(message).map_or(0, |summary| summary.attempts);
                (spool.fates(message).unwrap_or_default(), attempts)
            })
            .await
            .map(|(open, (fates, attempts)): (OpenMessage, _)| (open, fates, attempts))?;
        let open_runs = fates.iter().filter(|(_, _, fate)| matches!(fate, Fate::Queued | Fate::Deferred));
        let recipients =
            MessageAttempt::new(open_runs.flat_map(|(first, count, _)| *first..first.saturating_add(*count)));
        if recipients.open().is_empty() {
            return Err(Error::NoSuchMessage(message));
        }
        let (source, envelope) = Source::open(open, storage).await?;
        let needs = Needs::of(&envelope);
        Ok(Self {
            id,
            storage: storage.clone(),
            hop,
            source,
            envelope,
            attempts: attempts.saturating_add(1),
            recipients,
            taken: Vec::new(),
            acceptance: None,
            is_renounced: false,
            needs,
            unreported: Vec::new(),
            asks: None,
        })
    }

    /// Who it is from and for.
    pub(super) fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Which recipients were refused for good.
    pub(super) fn refused(&self) -> &[(u16, Found)] {
        self.recipients.refused()
    }

    /// For which recipients it was taken.
    pub(super) fn taken(&self) -> &[u16] {
        &self.taken
    }

    /// Those whose sender is owed a report that no server gives, with what the server said when it took the message.
    pub(super) fn unreported(&self) -> &[(u16, String)] {
        &self.unreported
    }

    /// With which token it asked whether it arrives, if a server took it so.
    pub(super) fn asked_back(&self) -> Option<Token> {
        self.asks.filter(|_| !self.taken.is_empty())
    }

    /// Its envelope, and its bytes from the beginning.
    pub(super) fn reread(&mut self) -> (&Envelope, &mut Source) {
        self.source.rewind();
        (&self.envelope, &mut self.source)
    }

    /// Whether the server may have taken it although it did not say so.
    pub(super) fn is_unknown(&self) -> bool {
        self.recipients.kept_open().is_some_and(|found| found.evidence().is_unknown())
    }

    /// Leaves out recipients who have other hops, and those whose domain or mailbox database is held.
    fn hold_back(&mut self, delivery: &Delivery) {
        let (hop, held) = (self.hop, delivery.held_databases(self.hop));
        let domains = delivery.held_domains(hop);
        if held.is_empty() && domains.is_empty() && delivery.ways.is_one() {
            return;
        }
        let recipients = &self.envelope.recipients;
        self.recipients.hold_back(|number| {
            let address = &recipients.get(usize::from(number))?.address;
            if !delivery.ways.has(&delivery.settings.next_hops, &delivery.directory, address, hop) {
                return Some(Aside::Elsewhere);
            }
            let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
            if let Some((_, route)) = domains.iter().find(|(held, _)| held.eq_ignore_ascii_case(domain)) {
                return Some(Aside::Held { route: *route });
            }
            let database = delivery.directory.find(address)?.database?;
            held.iter().find(|(of, _)| *of == database).map(|(_, route)| Aside::Held { route: *route })
        });
    }

    /// Has the mail of domains wait that the hop says are none of its own.
    fn hold_denied(&mut self, delivery: &Delivery) {
        let recipients = &self.envelope.recipients;
        self.recipients.hold_denied(|number| {
            let address = recipients.get(usize::from(number))?.address.as_str();
            delivery.release().domain_denied(self.hop, address, delivery.now())
        });
    }

    /// The recipients that have no fate, in the order of the envelope.
    pub(super) fn open(&self) -> impl Iterator<Item = &Recipient> {
        let numbers = self.recipients.open().into_iter();
        numbers.filter_map(|number| self.envelope.recipients.get(usize::from(number)))
    }

    /// When the message was accepted, if the clock could be trusted then.
    pub(super) fn accepted_unix_ms(&self) -> Option<u64> {
        let received = self.envelope.begin.received;
        received.trusted.then_some(received.unix_ms)
    }

    /// What kept recipients open.
    pub(super) fn said(&self) -> String {
        self.recipients.kept_open().map_or(String::new(), ToString::to_string)
    }

    /// Offers what is to be offered, transaction by transaction. Gives back the connection if it is of use.
    async fn send(&mut self, delivery: &Delivery) -> Option<Connection> {
        let mut connection = match delivery.connection(self.hop).await {
            Ok(connection) => connection,
            Err(found) => return self.no_session(found),
        };
        // What the new connection showed may be a reason to send nothing.
        while self.recipients.has_next() && delivery.release().may_have_mail(self.hop) {
            if connection.is_used() && !connection.is_fresh() {
                let fresh = match delivery.connect(self.hop).await {
                    Ok(fresh) => fresh,
                    Err(found) => return self.no_session(found),
                };
                tokio::spawn(std::mem::replace(&mut connection, fresh).quit());
            }
            if !self.fits(delivery, &mut connection).await {
                return Some(connection);
            }
            let batch = self.recipients.begin(delivery.settings.client.recipients_max as usize).to_vec();
            let has_reports = connection.capabilities().dsn && batch.len() == 1;
            self.asks = has_reports.then(|| delivery.asks_back(self.id, self.hop)).flatten();
            let transaction::Ended { transaction, end, answered_ms } =
                self.transact(delivery, &mut connection, &batch).await;
            if let End::Judged(judged) = &end
                && judged.is_cut_at_mail()
                && connection.is_used()
            {
                // The server had closed it meanwhile, which says nothing about anything.
                debug!(peer = %connection.peer(), ?end, "the session had ended meanwhile");
                self.recipients.unbegin();
                connection = match delivery.connect(self.hop).await {
                    Ok(fresh) => fresh,
                    Err(found) => return self.no_session(found),
                };
                continue;
            }
            for (phase, took_ms) in &answered_ms {
                delivery.answered(self.hop, *phase, self.source.size_bytes(), *took_ms);
            }
            let judged = match end {
                End::Judged(judged) => judged,
                End::Damaged if hold_damaged(delivery, &self.storage, self.id).await => {
                    self.recipients.close();
                    return None;
                }
                End::Damaged | End::Unrecordable => penstock_release::End::Cut(None),
            };
            // Where some have it already, the hop's account of this attempt comes whole, at its end.
            if let Some(found) = judged.found().filter(|_| self.taken.is_empty()) {
                delivery.release().warned(self.id.key(), &found.evidence(), delivery.now());
            }
            let Settled { fates, goes_on } = self.recipients.settle(transaction, judged);
            let taken = fates.iter().filter(|fated| fated.delivered);
            self.taken.extend(taken.flat_map(|fated| &fated.recipients));
            if !connection.capabilities().dsn {
                self.note_unreported(&fates);
            }
            let taken = fates.iter().filter(|fated| fated.delivered).flat_map(|fated| &fated.recipients);
            let taken = taken.filter_map(|number| self.envelope.recipients.get(usize::from(*number)));
            delivery.took_mail_for(self.hop, taken);
            let peer = connection.peer();
            let written = match self.refuse_in_session(delivery, peer).await {
                Some(written) => written,
                None => {
                    let accepted = fates.iter().find(|fated| fated.delivered);
                    self.acceptance = accepted.map(|fated| fated.found.clone()).or(self.acceptance.take());
                    let records = fates.into_iter().map(|fated| self.record(delivery, fated, peer)).collect();
                    self.write(delivery, records).await
                }
            };
            if !(written && goes_on) {
                return None;
            }
            connection.carried();
        }
        Some(connection)
    }

    fn no_session(&mut self, found: Option<Found>) -> Option<Connection> {
        self.recipients.no_session(found);
        None
    }

    /// Whether the message can go to this server as it is. If not it is held for the operator: changed, it would be broken.
    async fn fits(&mut self, delivery: &Delivery, connection: &mut Connection) -> bool {
        let offered = connection.capabilities();
        match self.needs.lacking(offered, &mut self.source).await {
            Ok(None) => return true,
            Ok(Some(lacks)) => {
                let keyword = lacks.keyword();
                let why = format!("PS-D350 it needs {keyword}, which the next hop does not offer any more");
                if self.note_open(delivery, Fate::Held, self.attempts, &why).await {
                    self.recipients.close();
                }
            }
            Err(Error::Damaged(_)) if hold_damaged(delivery, &self.storage, self.id).await => {
                self.recipients.close();
            }
            Err(error) => debug!(id = %self.id, %error, "the message cannot be read now"),
        }
        false
    }

    /// Remembers who was to be reported as delivered.
    fn note_unreported(&mut self, fates: &[Fated]) {
        if self.envelope.begin.sender.is_empty() {
            return;
        }
        for Fated { recipients, found, .. } in fates.iter().filter(|fated| fated.delivered) {
            let wants = |number: &&u16| {
                let recipient = self.envelope.recipients.get(usize::from(**number));
                recipient.is_some_and(|it| it.notify.contains(penstock_spool::Notify::SUCCESS))
            };
            let unreported = recipients.iter().filter(wants).map(|number| (*number, found.to_string()));
            self.unreported.extend(unreported);
        }
    }

    async fn transact(
        &mut self,
        delivery: &Delivery,
        connection: &mut Connection,
        batch: &[u16],
    ) -> transaction::Ended {
        let begin = &self.envelope.begin;
        // The report on a message that asks comes to us.
        let asks = self.asks.map(|token| token.return_path(delivery.settings.system.hostname.as_str()));
        let reports = Notify { success: true, failure: true, delay: false };
        // What is on flash went through the same parser when it came in: a part that no longer passes was not ours.
        let mail = MailFrom {
            sender: Address::parse(asks.as_ref().unwrap_or(&begin.sender)).unwrap_or(Address::NULL),
            size_bytes: Some(self.source.size_bytes()),
            body: match begin.body {
                Body::SevenBit => None,
                Body::EightBitMime => Some(BodyType::EightBitMime),
                Body::BinaryMime => Some(BodyType::BinaryMime),
            },
            smtp_utf8: begin.smtputf8,
            ret: match begin.ret {
                _ if asks.is_some() => Some(Return::Headers),
                None => None,
                Some(Ret::Full) => Some(Return::Full),
                Some(Ret::Headers) => Some(Return::Headers),
            },
            envid: begin.envid.as_deref().and_then(|envid| Xtext::parse(envid).ok()),
        };
        let recipients: Vec<_> = batch
            .iter()
            .filter_map(|number| self.envelope.recipients.get(usize::from(*number)))
            .map(|recipient| penstock_smtp::Recipient {
                address: Address::parse(&recipient.address).unwrap_or(Address::NULL),
                notify: if asks.is_some() { Some(reports) } else { notify(recipient.notify) },
                orcpt: recipient.orcpt.as_deref().and_then(|orcpt| OriginalRecipient::parse(orcpt).ok()),
            })
            .collect();
        transaction::run(connection, &self.storage, &mail, &recipients, &mut self.source).await
    }

    /// What is written down of a fate.
    fn record(&self, delivery: &Delivery, fated: Fated, peer: std::net::SocketAddr) -> Record {
        let Fated { recipients, delivered, found } = fated;
        let hop = delivery.hop_name(self.hop);
        let names = named(&self.envelope.recipients, &recipients);
        let (fate, kind, did) = if delivered {
            delivery.metrics.delivered.add(recipients.len() as u64);
            (Fate::Delivered, Kind::Delivered, "took it for")
        } else {
            (Fate::Held, Kind::Held, "refused it for")
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
    pub(super) async fn write(&self, delivery: &Delivery, records: Vec<Record>) -> bool {
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

    /// Notes that recipients wait, or are set aside. Whether that is durable.
    pub(super) async fn note_open(&self, delivery: &Delivery, fate: Fate, attempts: u16, why: &str) -> bool {
        let recipients = self.recipients.open();
        if recipients.is_empty() {
            return true;
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
            reply_code: self.recipients.kept_open().map_or(0, Found::code),
            at: delivery.clock.stamp(),
            kind: if fate == Fate::Held { Kind::Held } else { Kind::Deferred },
            text: format!("{hop}, {names}: {why}{colon}{said}"),
            said,
        };
        self.write(delivery, vec![record]).await
    }
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
        Fate::RefusedInSession => debug!(%id, text, "refused"),
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
