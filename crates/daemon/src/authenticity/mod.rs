//! Whether mail is from whom it says: SPF, DKIM and DMARC, looked at when it comes in.
//!
//! A key that signs mail today is gone from the DNS in some months, and a box that holds mail through an outage gives it on
//! later than anybody expected: so what the DNS says at acceptance is written into the ledger. It never decides anything here;
//! nothing is refused, delayed or marked as junk for it. `AUTHENTICITY.md` beside this file says why and what is bounded how.
//!
//! - A message is taken into custody first. Then it is read back from the volume, in bounded memory ([`reading`]), judged
//!   ([`judging`]), and what was found ([`findings`]) goes into the ledger.
//! - Where `authenticity.header` asks for an `Authentication-Results` field, a message that is in memory as a whole is judged
//!   before it is stored, as the field stands on top.

mod findings;
mod judging;
mod reading;

use std::net::IpAddr;
use std::sync::Arc;

use penstock_settings::Settings;
use penstock_spool::{Error, MessageId};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tracing::warn;

pub(crate) use findings::Findings;
use reading::Reader;

use crate::clock::Clock;
use crate::control::MailId;
use crate::dns::{Dns, Failure};
use crate::ledger::{Kind, Notes};
use crate::log::Lines;
use crate::storage::{Source, Volumes};

/// Messages that are read and judged at once.
const AT_ONCE_MAX: usize = 4;
/// Messages whose clients wait for it at once. What is in memory is there anyway.
const NOW_MAX: usize = 32;
/// Messages that wait for it. Each is some hundred bytes here; the message itself is on the volume.
const WAITING_MAX: usize = 1000;

/// Who sent a message, as far as SMTP says.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) client: IpAddr,
    pub(crate) helo: String,
    /// The address of MAIL, empty for the null sender.
    pub(crate) path: String,
}

impl Sender {
    /// The domain that answers for the message: that of MAIL, or what the client calls itself.
    fn domain(&self) -> &str {
        self.path.rsplit_once('@').map_or(&self.helo, |(_, domain)| domain)
    }
}

/// A message in custody that has not been judged.
struct Waiting {
    id: MailId,
    sender: Sender,
}

/// Judges mail.
pub(crate) struct Authenticity {
    settings: Arc<Settings>,
    dns: Arc<Dns>,
    clock: Arc<Clock>,
    notes: Arc<Notes>,
    at_once: Arc<Semaphore>,
    now: Semaphore,
    waiting: mpsc::Sender<Waiting>,
    /// Taken by who works it off.
    queue: Mutex<mpsc::Receiver<Waiting>>,
    /// One for each message that is passed over.
    lines: Lines,
}

impl Authenticity {
    pub(crate) fn new(
        settings: Arc<Settings>,
        dns: Arc<Dns>,
        clock: Arc<Clock>,
        notes: Arc<Notes>,
    ) -> Arc<Self> {
        let (waiting, queue) = mpsc::channel(WAITING_MAX);
        Arc::new(Self {
            settings,
            dns,
            clock,
            notes,
            at_once: Arc::new(Semaphore::new(AT_ONCE_MAX)),
            now: Semaphore::new(NOW_MAX),
            waiting,
            queue: Mutex::new(queue),
            lines: Lines::default(),
        })
    }

    /// Whether messages get a field with what was found.
    pub(crate) fn adds_header(&self) -> bool {
        self.settings.authenticity.evaluate && self.settings.authenticity.header
    }

    /// Judges a message that is in memory, all of it or its beginning: then it is only judged by who sent it. Takes as long as
    /// the settings allow.
    pub(crate) async fn judge_now(&self, sender: &Sender, message: &[u8], whole: bool) -> Findings {
        let Ok(_permit) = self.now.try_acquire() else {
            return Findings::skipped("too many messages at once");
        };
        if !whole {
            return self.judge(sender, None).await;
        }
        let mut reader = Reader::default();
        reader.push(message);
        self.judge(sender, Some(reader)).await
    }

    /// Has a message judged that is in custody. Whoever calls does not wait.
    pub(crate) fn accepted(&self, id: MailId, sender: Sender) {
        if !self.settings.authenticity.evaluate {
            return;
        }
        if let Err(TrySendError::Full(_)) = self.waiting.try_send(Waiting { id, sender })
            && let Some(untold) = self.lines.take()
        {
            warn!(code = "PS-D345", %id, untold, "a message is not checked by SPF, DKIM and DMARC: too many wait for it");
        }
    }

    /// Writes down what was found about a message.
    pub(crate) fn note(&self, id: MailId, findings: &Findings) {
        let event =
            Kind::Authenticity.event(self.clock.stamp(), Some(MessageId(id.number)), findings.to_string());
        self.notes.add(id.store, event);
    }

    /// Works off what waits, for good.
    pub(crate) async fn run(self: Arc<Self>, volumes: Volumes) {
        let mut queue = self.queue.lock().await;
        while let Some(Waiting { id, sender }) = queue.recv().await {
            let Ok(permit) = Arc::clone(&self.at_once).acquire_owned().await else { return };
            let (this, volumes) = (Arc::clone(&self), volumes.clone());
            tokio::spawn(async move {
                let findings = match this.read(&volumes, id).await {
                    Ok(Ok(reader)) => this.judge(&sender, Some(reader)).await,
                    Ok(Err(why)) => Findings::skipped(why),
                    Err(error) => Findings::skipped(format!("it cannot be read: {error}")),
                };
                this.note(id, &findings);
                drop(permit);
            });
        }
    }

    /// Reads a message, or says why that is not done.
    async fn read(&self, volumes: &Volumes, id: MailId) -> Result<Result<Reader, String>, Error> {
        // Nothing is read for an answer that nobody gives.
        if let Err(why) = self.dns.ready() {
            return Ok(Err(why.to_string()));
        }
        let storage = volumes.of(id.store).ok_or(Error::ReadOnly)?;
        let (open, ()) = storage.open_with(MessageId(id.number), |_| ()).await?;
        let (mut source, _) = Source::open(open, storage).await?;
        let size_max = self.settings.authenticity.size_max;
        if source.size_bytes() > size_max.0 {
            return Ok(Err(format!("it is larger than {size_max}, which is authenticity.size_max")));
        }
        let mut reader = Reader::default();
        while let Some(chunk) = source.next_chunk().await? {
            reader.push(&chunk);
        }
        Ok(Ok(reader))
    }

    /// `message` is nothing where its end is not known yet.
    async fn judge(&self, sender: &Sender, message: Option<Reader>) -> Findings {
        let front = self.settings.listen.trusted_fronts.iter().any(|front| front.contains(sender.client));
        let message = match message.map(Reader::finish) {
            Some(Err(why)) => return Findings::skipped(why),
            Some(Ok(message)) => Some(message),
            None => None,
        };
        let host_name = self.settings.system.hostname.as_str();
        let resolver = match self.dns.ready() {
            Ok(resolver) => resolver,
            Err(why) => return Findings::skipped(why.to_string()),
        };
        let judging = judging::judge(resolver, host_name, sender, front, message.as_ref());
        let judged = tokio::time::timeout(self.settings.authenticity.time_limit, judging).await;
        if judged.as_ref().map_or(true, Findings::missed_answers) {
            self.dns.missed();
        }
        judged.unwrap_or_else(|_| Findings::skipped(Failure::Late.to_string()))
    }
}

#[cfg(test)]
mod tests;
