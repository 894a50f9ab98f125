//! One transaction on its way in: the envelope, the policy on it, and the message until it is in custody.
//!
//! A message up to [`SMALL_BYTES`] is collected in memory and given to the storage thread whole, so that a client that
//! is slow, or goes away, costs the volume nothing. A larger one goes there in pieces as it comes. Which volume that is
//! is decided when something goes there: a small message does not notice that the disk failed while it came in.

use std::net::SocketAddr;
use std::sync::Arc;

use penstock_smtp::trace::{Protocol, Received, times_passed};
use penstock_smtp::{BodyType, MailFrom, Recipient, Reply, ResultsFilter, Return, Status, replies};
use penstock_spool::{
    Begin, Body, Error, HELO_BYTES_MAX, MessageId, Notify, PATH_BYTES_MAX, RESERVE_STEP_BYTES, Ret,
};
use tracing::warn;

use super::Listening;
use super::limits::{Phase, Place, Refused};
use super::report::ReportIntake;
use crate::authenticity::{Findings, Sender};
use crate::control::{MailId, Store};
use crate::dns::ClientName;
use crate::ledger::Kind;
use crate::storage::{Draft, Incoming, NewMessage, RESERVE_MESSAGE_BYTES_MAX, Storage, Stored, Transaction};

/// Up to this size a message is collected in memory.
const SMALL_BYTES: usize = 64 * 1024;
/// What is allocated for a message at first.
const FIRST_BYTES: usize = 6 * 1024;
/// The text of all recipients of a transaction, in bytes; beyond it `452 4.5.3`. A thousand ordinary addresses fit.
const ENVELOPE_BYTES_MAX: usize = 128 * 1024;
/// A message that has passed here more often than this is going in circles, however few Received lines it has.
const TIMES_PASSED_MAX: usize = 3;

/// The longest that our own lines on top of a message may be, in bytes: they do not count towards its size.
const TRACE_BYTES_MAX: u64 = 4096;

const ADDRESS_TOO_LONG: Reply<'static> =
    Reply::new(553, Status::new(5, 1, 3), "Address is longer than 256 octets");

/// What was refused, and how.
pub(super) type Verdict<T = ()> = Result<T, Reply<'static>>;

/// The side of a session that takes mail.
pub(super) struct Intake {
    listening: Arc<Listening>,
    client: SocketAddr,
    client_name: ClientName,
    place: Place,
    helo: String,
    extended: bool,
    encrypted: bool,
    envelope: Option<Envelope>,
    /// Who the message is from, for its judgement, from DATA on.
    sender: Option<Sender>,
    /// What was found, if that was looked at before the message was stored.
    findings: Option<Findings>,
    content: Content,
    /// Keeps what claims to be from us out of it.
    filter: Option<Box<ResultsFilter>>,
    report: ReportIntake,
}

struct Envelope {
    begin: Begin,
    recipients: Vec<penstock_spool::Recipient>,
    recipient_bytes: usize,
    declared_bytes: Option<u64>,
    transaction: Transaction,
}

/// What there is of the message.
enum Content {
    /// Nothing: it has not begun.
    None,
    /// All of it, in memory.
    Small(Draft),
    /// The last piece, with the rest at the storage thread.
    Streamed {
        incoming: Incoming,
        piece: Vec<u8>,
        reserved_bytes: u64,
        total_bytes: u64,
        _transaction: Transaction,
    },
    /// It cannot be taken, which is said at its end.
    Refused(Reply<'static>),
}

impl Content {
    fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::None | Self::Refused(_) => {}
            Self::Small(draft) => draft.push(bytes),
            Self::Streamed { piece, .. } => piece.extend_from_slice(bytes),
        }
    }

    /// Whether there is more in memory than is to be kept there.
    fn is_large(&self) -> bool {
        match self {
            Self::None | Self::Refused(_) => false,
            Self::Small(draft) => draft.len() > SMALL_BYTES,
            Self::Streamed { piece, .. } => piece.len() >= SMALL_BYTES,
        }
    }
}

impl Intake {
    pub(super) fn new(listening: Arc<Listening>, client: SocketAddr, place: Place) -> Self {
        Self {
            client_name: listening.dns.client_name(client.ip()),
            listening,
            client,
            place,
            helo: String::new(),
            extended: false,
            encrypted: false,
            envelope: None,
            sender: None,
            findings: None,
            content: Content::None,
            filter: None,
            report: ReportIntake::default(),
        }
    }

    /// What the session holds.
    pub(super) fn place(&mut self) -> &mut Place {
        &mut self.place
    }

    /// Takes note of HELO or EHLO.
    pub(super) fn hello(&mut self, name: &str, extended: bool) {
        self.abandon();
        if self.helo.is_empty() {
            self.place.step(Phase::Idle);
        }
        // The name is ASCII.
        self.helo.clear();
        self.helo.push_str(&name[..name.len().min(HELO_BYTES_MAX)]);
        self.extended = extended;
    }

    /// The session is encrypted from now on; the client has to say who it is again.
    pub(super) fn encrypted(&mut self) {
        self.abandon();
        self.helo.clear();
        self.encrypted = true;
    }

    /// Gives up the transaction, if there is one.
    pub(super) fn abandon(&mut self) {
        self.envelope = None;
        self.sender = None;
        self.findings = None;
        self.content = Content::None;
        self.filter = None;
        self.report = ReportIntake::default();
        self.place.release();
        self.place.back();
    }

    /// What a source is told that has too much of something.
    fn too_much(&self, refused: Refused) -> Reply<'static> {
        self.listening.too_much(refused, self.client)
    }

    pub(super) fn mail(&mut self, mail: &MailFrom<'_>) -> Verdict {
        self.place.message().map_err(|refused| self.too_much(refused))?;
        self.sender(mail)?;
        self.place.step(Phase::Envelope);
        Ok(())
    }

    fn sender(&mut self, mail: &MailFrom<'_>) -> Verdict {
        let listening = &self.listening;
        if mail.sender.as_str().len() > PATH_BYTES_MAX {
            return Err(ADDRESS_TOO_LONG);
        }
        let storage = listening.volumes.for_mail(mail.size_bytes).map_err(|error| listening.refusal(error));
        let room = storage.as_ref().map(|_| ()).map_err(|refusal| *refusal);
        self.report.mail(&listening.delivery, &mail.sender, room)?;
        // Without room it can only be a report, which needs no envelope.
        let Ok(storage) = storage else { return Ok(()) };
        self.envelope = Some(Envelope {
            begin: Begin {
                received: listening.clock.stamp(),
                sender: mail.sender.as_str().to_owned(),
                helo: self.helo.clone(),
                client: Some(self.client),
                body: mail.body.map_or(Body::SevenBit, |body| match body {
                    BodyType::SevenBit => Body::SevenBit,
                    BodyType::EightBitMime => Body::EightBitMime,
                    BodyType::BinaryMime => Body::BinaryMime,
                }),
                smtputf8: mail.smtp_utf8,
                tls: self.encrypted,
                ret: mail.ret.map(|ret| match ret {
                    Return::Full => Ret::Full,
                    Return::Headers => Ret::Headers,
                }),
                envid: mail.envid.map(|envid| envid.as_str().to_owned()),
            },
            recipients: Vec::new(),
            recipient_bytes: 0,
            declared_bytes: mail.size_bytes,
            transaction: storage.transaction(),
        });
        Ok(())
    }

    pub(super) fn rcpt(&mut self, recipient: &Recipient<'_>) -> Verdict {
        self.place.recipient().map_err(|refused| self.too_much(refused))?;
        self.recipient(recipient)?;
        self.place.step(Phase::Envelope);
        Ok(())
    }

    fn recipient(&mut self, recipient: &Recipient<'_>) -> Verdict {
        let address = recipient.address;
        let others = self.envelope.as_ref().map_or(0, |envelope| envelope.recipients.len());
        if let Some(verdict) = self.report.rcpt(&self.listening.delivery, &address, others) {
            return verdict;
        }
        self.listening.policy.rcpt(&address, self.client.ip())?;
        if address.as_str().len() > PATH_BYTES_MAX {
            return Err(ADDRESS_TOO_LONG);
        }
        let Some(envelope) = &mut self.envelope else { return Err(replies::LOCAL_ERROR) };
        let orcpt = recipient.orcpt.map(|orcpt| orcpt.as_str().to_owned());
        envelope.recipient_bytes += address.as_str().len() + orcpt.as_ref().map_or(0, String::len);
        if envelope.recipient_bytes > ENVELOPE_BYTES_MAX {
            return Err(replies::RECIPIENTS_MAX);
        }
        envelope.recipients.push(penstock_spool::Recipient {
            address: address.as_str().to_owned(),
            notify: recipient.notify.map_or(Notify::default(), notify),
            orcpt,
        });
        Ok(())
    }

    /// DATA: the message begins, with our line on top.
    pub(super) fn data(&mut self) -> Verdict {
        self.place.step(Phase::Body);
        if self.report.is_report() {
            return Ok(());
        }
        let Some(envelope) = &self.envelope else { return Err(replies::LOCAL_ERROR) };
        let recipient = match envelope.recipients.as_slice() {
            [one] => Some(one.address.as_str()),
            _ => None,
        };
        let received = Received {
            helo: &self.helo,
            client: self.client.ip(),
            client_name: self.client_name.get(),
            host_name: self.listening.host_name(),
            software: "Penstock",
            protocol: Protocol {
                extended: self.extended,
                tls: envelope.begin.tls,
                utf8: envelope.begin.smtputf8,
            },
            recipient,
            unix_ms: envelope.begin.received.unix_ms,
            is_time_trusted: envelope.begin.received.trusted,
        };
        let (mut before, mut behind) = (String::with_capacity(192), String::with_capacity(96));
        // Writing to a String does not fail.
        let _ = received.write_before_id(&mut before);
        let _ = received.write_behind_id(&mut behind);
        let declared = usize::try_from(envelope.declared_bytes.unwrap_or(0)).unwrap_or(SMALL_BYTES);
        let capacity = declared.clamp(FIRST_BYTES, SMALL_BYTES);
        self.content = Content::Small(Draft::new(&before, &behind, capacity));
        self.filter = Some(Box::new(ResultsFilter::new(self.listening.config.host_name.clone())));
        self.sender = Some(Sender {
            client: self.client.ip(),
            helo: self.helo.clone(),
            path: envelope.begin.sender.clone(),
        });
        self.findings = None;
        Ok(())
    }

    /// The next bytes of the message. Whether they have to be given on before more is read.
    pub(super) fn body(&mut self, bytes: &[u8]) -> bool {
        self.place.body(bytes.len());
        if self.report.is_report() {
            self.report.body(bytes);
            return false;
        }
        let mut rest = bytes;
        let Some(filter) = &mut self.filter else { return false };
        while let Some(bytes) = filter.next(&mut rest) {
            self.content.push(bytes);
        }
        self.content.is_large()
    }

    /// Gives what was collected to the storage thread, and waits for room there.
    pub(super) async fn pass_on(&mut self) {
        self.place.step(Phase::Ours);
        self.give_on().await;
        self.place.step(Phase::Body);
    }

    async fn give_on(&mut self) {
        match std::mem::replace(&mut self.content, Content::None) {
            Content::Small(draft) => self.content = self.begin(draft).await,
            Content::Streamed { incoming, piece, mut reserved_bytes, mut total_bytes, _transaction } => {
                total_bytes += piece.len() as u64;
                if !fits(incoming.store(), total_bytes) {
                    self.content = self.refuse(Error::Full);
                    return;
                }
                while total_bytes > reserved_bytes {
                    if !self.place.reserve(RESERVE_STEP_BYTES) {
                        self.content = self.refuse(Error::Full);
                        return;
                    }
                    reserved_bytes += RESERVE_STEP_BYTES;
                }
                self.content = match incoming.push(piece).await {
                    Ok(()) => {
                        let piece = Vec::with_capacity(SMALL_BYTES);
                        Content::Streamed { incoming, piece, reserved_bytes, total_bytes, _transaction }
                    }
                    Err(error) => self.refuse(error),
                };
            }
            other => self.content = other,
        }
    }

    /// Goes over from collecting to streaming.
    async fn begin(&mut self, mut draft: Draft) -> Content {
        let Some(envelope) = self.envelope.take() else { return Content::Refused(replies::LOCAL_ERROR) };
        if self.goes_in_circles(&draft) {
            return Content::Refused(replies::HOPS_MAX);
        }
        // The field stands on top, and the end of the message is not known yet: who sent it is.
        self.judge(&mut draft, false).await;
        self.findings = None;
        let reserved_bytes = envelope.declared_bytes.unwrap_or(0).max(RESERVE_STEP_BYTES);
        let total_bytes = draft.len() as u64;
        if !self.place.reserve(reserved_bytes) {
            return self.refuse(Error::Full);
        }
        let storage = match self.listening.volumes.for_mail(envelope.declared_bytes) {
            Ok(storage) => storage,
            Err(error) => return self.refuse(error),
        };
        let (new, _transaction) = envelope.with_head(draft, storage);
        match storage.begin(new).await {
            Ok(incoming) => {
                let piece = Vec::with_capacity(SMALL_BYTES);
                Content::Streamed { incoming, piece, reserved_bytes, total_bytes, _transaction }
            }
            Err(error) => self.refuse(error),
        }
    }

    /// Puts a field on top that says what is found about the message, if the settings ask for one.
    async fn judge(&mut self, draft: &mut Draft, whole: bool) {
        let authenticity = &self.listening.authenticity;
        if let Some(sender) = self.sender.as_ref().filter(|_| authenticity.adds_header()) {
            let findings = authenticity.judge_now(sender, draft.body(), whole).await;
            draft.put_on_top(&findings.header(self.listening.host_name()));
            self.findings = Some(findings);
        }
    }

    fn refuse(&mut self, error: Error) -> Content {
        self.place.release();
        Content::Refused(self.listening.refusal(error))
    }

    /// The end of the message: into custody with it, or, if it is a report, to who waits for that (`None`). Nothing is
    /// left of the transaction afterwards.
    pub(super) async fn end(&mut self, received_lines: u32, bare_newlines: bool) -> Verdict<Option<Stored>> {
        let removed = self.filter.take().map_or(0, |mut filter| {
            self.content.push(filter.end());
            filter.removed()
        });
        let content = std::mem::replace(&mut self.content, Content::None);
        let envelope = self.envelope.take();
        self.place.step(Phase::Ours);
        let taken = match self.report.take() {
            Some((token, message)) => {
                self.listening.delivery.reported(token, &message).await;
                Ok(None)
            }
            None => self.take(content, envelope, received_lines).await.map(Some),
        };
        self.place.release();
        match &taken {
            Ok(_) => self.place.accepted(),
            Err(_) => self.place.back(),
        }
        if let Ok(Some(Stored { id, .. })) = &taken {
            self.tell(*id, removed, bare_newlines);
        }
        taken
    }

    /// Tells the ledger what there is to say about a message in custody, or has that found out.
    fn tell(&mut self, id: MailId, removed: u32, bare_newlines: bool) {
        let listening = &self.listening;
        match (self.findings.take(), self.sender.take()) {
            (Some(findings), _) => listening.authenticity.note(id, &findings),
            (None, Some(sender)) => listening.authenticity.accepted(id, sender),
            (None, None) => {}
        }
        let mut altered = Vec::new();
        if bare_newlines {
            altered.push(format!("bare CR or LF from {} became CR LF", self.client.ip().to_canonical()));
        }
        if removed > 0 {
            altered.push(format!("Authentication-Results that claimed to be ours taken out: {removed}"));
        }
        if !altered.is_empty() {
            let stamp = listening.clock.stamp();
            let event = Kind::Altered.event(stamp, Some(MessageId(id.number)), altered.join("; "));
            listening.notes.add(id.store, event);
        }
    }

    async fn take(
        &mut self,
        mut content: Content,
        envelope: Option<Envelope>,
        received_lines: u32,
    ) -> Verdict<Stored> {
        if received_lines > self.listening.settings.listen.received_max {
            self.listening.metrics.refused_loop.add(1);
            return Err(replies::HOPS_MAX);
        }
        if let Content::Small(draft) = &mut content {
            let may_circle = received_lines as usize > TIMES_PASSED_MAX;
            if may_circle && self.goes_in_circles(draft) {
                return Err(replies::HOPS_MAX);
            }
            self.judge(draft, true).await;
        }
        let stored = match content {
            Content::Small(draft) => {
                let Some(envelope) = envelope else { return Err(replies::LOCAL_ERROR) };
                match self.listening.volumes.for_mail(envelope.declared_bytes) {
                    Ok(storage) => {
                        let (new, _transaction) = envelope.with_head(draft, storage);
                        storage.store_whole(new).await
                    }
                    Err(error) => Err(error),
                }
            }
            Content::Streamed { incoming, piece, total_bytes, .. }
                if !fits(incoming.store(), total_bytes + piece.len() as u64) =>
            {
                Err(Error::Full)
            }
            Content::Streamed { incoming, piece, _transaction, .. } => match incoming.push(piece).await {
                Ok(()) => incoming.commit().await,
                Err(error) => Err(error),
            },
            Content::Refused(reply) => return Err(reply),
            Content::None => return Err(replies::LOCAL_ERROR),
        };
        stored.map_err(|error| self.listening.refusal(error))
    }

    fn goes_in_circles(&self, draft: &Draft) -> bool {
        let circles = times_passed(draft.body(), self.listening.host_name()) > TIMES_PASSED_MAX;
        if circles {
            self.listening.metrics.refused_loop.add(1);
            warn!(
                code = "PS-D220",
                client = %self.client.ip(),
                "a message that has been here before is refused: it goes in circles. Does the next hop send mail for \
                 the site's domains back to this box?"
            );
        }
        circles
    }
}

impl Envelope {
    /// The message as that volume takes it, counted there.
    fn with_head(self, head: Draft, storage: &Storage) -> (Box<NewMessage>, Transaction) {
        let Self { begin, recipients, declared_bytes, transaction, .. } = self;
        let transaction =
            if transaction.store() == storage.store() { transaction } else { storage.transaction() };
        (Box::new(NewMessage { begin, recipients, declared_bytes, head }), transaction)
    }
}

/// Whether a volume takes a message that has come so far.
fn fits(store: Store, total_bytes: u64) -> bool {
    store == Store::Disk || total_bytes <= RESERVE_MESSAGE_BYTES_MAX + TRACE_BYTES_MAX
}

fn notify(notify: penstock_smtp::Notify) -> Notify {
    let all =
        [(notify.success, Notify::SUCCESS), (notify.failure, Notify::FAILURE), (notify.delay, Notify::DELAY)];
    let given = all.into_iter().filter(|(given, _)| *given);
    let given = given.fold(Notify::default(), |sum, (_, one)| sum.with(one));
    if given.is_absent() { Notify::NEVER } else { given }
}
