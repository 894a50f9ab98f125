//! What the daemon does for its operator: the control interface's [`Operate`] on listener, storage and release.

mod adopt;
mod clients;
mod confirm;
mod figures;
mod judging;
pub(crate) mod mode;
mod proof;
mod quarantine;
mod recipients;
mod replay;
pub(crate) mod settings;
mod status;
mod tls;
mod view;

use std::sync::Arc;
use std::time::Instant;

use penstock_settings::Settings;
use penstock_spool::{Error as SpoolError, Event, Fate, MessageId, ScrubMode, Status as FateOf};
use tokio::sync::mpsc;
use tracing::warn;

use crate::clock::Clock;
use crate::control::adopt::{Adopted, AdoptedBelow, HandedOver};
use crate::control::clients::{ClientsFilter, ClientsPage};
use crate::control::quarantine::{BounceRequest, HeldFilter, HeldPage};
use crate::control::recipients::{
    CheckedRecipient, FoundRecipient, ImportedView, RecipientsView, ReloadRequest, Upload,
};
use crate::control::replay::{ReplayPage, ReplayRequest};
use crate::control::tls::{InstallRequest, TlsView};
use crate::control::types::{
    ActionResult, CanaryFilter, CanaryPage, EventFilter, EventPage, MessageView, Mode, QueueFilter,
    QueuePage, Refused, Selection, SettingsView, Status,
};
use crate::control::volume::{ScrubView, VolumeInfo};
use crate::control::{Export, Kind as Fault, MailId, Operate, Refusal, Store, Who};
use crate::deliver::Delivery;
use crate::directory::Directory;
use crate::ledger::Kind;
use crate::listen::Listening;
use crate::metrics::Metrics;
use crate::policy::Policy;
use crate::run::Options;
use crate::source::Sources;
use crate::storage::{Recovered, ScrubOrder, Source, Storage, Volumes};
use crate::volume::Spool;

/// Pieces of a message that are read ahead of who receives them.
const EXPORT_PIECES: usize = 2;
/// Messages that are changed in one step of the storage thread, so that mail does not wait long behind it.
const CHANGES_PER_STEP: usize = 256;

/// The daemon towards its operator.
pub(crate) struct Operator {
    pub(crate) settings: Arc<Settings>,
    pub(crate) options: Arc<Options>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) volumes: Volumes,
    pub(crate) listening: Arc<Listening>,
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) started: Instant,
    /// Held while a message of another volume is taken over.
    pub(crate) adopting: tokio::sync::Mutex<()>,
    /// Held while a sender is told.
    pub(crate) bouncing: tokio::sync::Mutex<()>,
}

impl Operate for Operator {
    async fn status(&self) -> Result<Status, Refusal> {
        status::status(self).await
    }

    async fn queue(&self, filter: QueueFilter) -> Result<QueuePage, Refusal> {
        view::queue(self, filter).await
    }

    async fn show(&self, id: MailId) -> Result<MessageView, Refusal> {
        view::show(self, id).await
    }

    async fn set_mode(&self, mode: Mode, reason: Option<String>, who: Who) -> Result<ActionResult, Refusal> {
        mode::set(self, mode, reason, &who).await
    }

    async fn release(&self, which: Selection, who: Who) -> Result<ActionResult, Refusal> {
        match which {
            Selection::All => self.release_all(&who).await,
            Selection::Ids(ids) => self.release_these(ids, &who).await,
        }
    }

    async fn confirm(&self, hop: Option<String>, who: Who) -> Result<ActionResult, Refusal> {
        confirm::confirm(self, hop, &who).await
    }

    async fn replay(&self, request: ReplayRequest, who: Who) -> Result<ReplayPage, Refusal> {
        replay::page(self, request, &who).await
    }

    async fn held(&self, filter: HeldFilter) -> Result<HeldPage, Refusal> {
        quarantine::list(self, filter).await
    }

    async fn bounce(&self, request: BounceRequest, who: Who) -> Result<ActionResult, Refusal> {
        quarantine::bounce(self, request, &who).await
    }

    async fn remove(&self, ids: Vec<MailId>, reason: String, who: Who) -> Result<ActionResult, Refusal> {
        let (mut done, mut refused) = (0, Vec::new());
        for id in ids {
            match self.remove_one(id, &reason, &who).await {
                Ok(()) => done += 1,
                Err(refusal) => refused.push(Refused { id, error: refusal.body }),
            }
        }
        let summary = format!("Removed {}.", messages(done));
        Ok(ActionResult { summary, messages: done, refused })
    }

    async fn export(&self, id: MailId, reason: String, who: Who) -> Result<Export, Refusal> {
        let (storage, message) = self.find(id)?;
        let (open, ()) = storage.open_with(message, |_| ()).await.map_err(|error| refusal(id, error))?;
        let (mut source, _) = Source::open(open, storage).await.map_err(|error| refusal(id, error))?;
        let text = format!("body read by {who}: {reason}");
        let event = Kind::Exported.event(self.clock.stamp(), Some(message), text);
        self.audit(storage, event).await.map_err(|error| refusal(id, error))?;
        let (size_bytes, sha256) = (source.size_bytes(), source.sha256());
        let (chunks, received) = mpsc::channel(EXPORT_PIECES);
        tokio::spawn(async move {
            loop {
                let chunk = match source.next_chunk().await {
                    Ok(Some(chunk)) => Ok(chunk),
                    Ok(None) => return,
                    Err(error) => Err(refusal(id, error)),
                };
                let last = chunk.is_err();
                if chunks.send(chunk).await.is_err() || last {
                    return;
                }
            }
        });
        Ok(Export { size_bytes, sha256, chunks: received })
    }

    async fn events(&self, filter: EventFilter) -> Result<EventPage, Refusal> {
        view::events(self, filter).await
    }

    async fn canaries(&self, filter: CanaryFilter) -> Result<CanaryPage, Refusal> {
        proof::canaries(self, filter)
    }

    async fn clients(&self, filter: ClientsFilter) -> Result<ClientsPage, Refusal> {
        Ok(clients::page(self, filter))
    }

    async fn settings(&self) -> Result<SettingsView, Refusal> {
        settings::view(self).await
    }

    async fn put_settings(&self, text: String, who: Who) -> Result<SettingsView, Refusal> {
        settings::put(self, text, &who).await
    }

    async fn adopt(&self, handed: HandedOver, who: Who) -> Result<Adopted, Refusal> {
        adopt::adopt(self, handed, &who).await
    }

    async fn adopted(&self, volume: String) -> Result<AdoptedBelow, Refusal> {
        adopt::adopted(self, &volume).await
    }

    async fn volume(&self, which: Store) -> Result<VolumeInfo, Refusal> {
        let storage = self.storage(which)?;
        let (path, mount_ms) = (storage.name().to_owned(), storage.facts().mount_ms);
        storage.look(move |spool| VolumeInfo::of(spool, &path, mount_ms)).await.map_err(unavailable)
    }

    async fn scrub(&self, which: Store) -> Result<ScrubView, Refusal> {
        Ok(self.storage(which)?.scrub())
    }

    async fn begin_scrub(&self, which: Store, repair: bool) -> Result<ScrubView, Refusal> {
        let storage = self.storage(which)?;
        if !storage.is_well() {
            return Err(unavailable(SpoolError::ReadOnly));
        }
        let mode = if repair { ScrubMode::Repair } else { ScrubMode::Check };
        match storage.order_scrub(ScrubOrder::Begin(mode)).await.map_err(unavailable)? {
            Ok(_) => self.scrub(which).await,
            Err(_) => Err(Refusal::new(
                Fault::Conflict,
                "PS-D255",
                "the volume is being gone through already, since somebody asked for it",
                "`penstock volume scrub --follow` shows how far it is; `penstock volume scrub --stop` ends it.",
            )),
        }
    }

    async fn stop_scrub(&self, which: Store) -> Result<ActionResult, Refusal> {
        let stopped = self.storage(which)?.order_scrub(ScrubOrder::Stop).await.map_err(unavailable)?;
        let summary = match stopped {
            Ok(_) => "The scrub is stopped; the next begins when it is due.",
            Err(_) => "No scrub was running.",
        };
        Ok(ActionResult { summary: summary.to_owned(), messages: 0, refused: Vec::new() })
    }

    async fn recipients(&self) -> Result<RecipientsView, Refusal> {
        Ok(recipients::view(self))
    }

    async fn find_recipient(&self, address: String) -> Result<FoundRecipient, Refusal> {
        Ok(recipients::find(self, address))
    }

    async fn check_recipient(&self, address: String) -> Result<CheckedRecipient, Refusal> {
        judging::check(self, address)
    }

    async fn reload_recipients(&self, request: ReloadRequest, who: Who) -> Result<RecipientsView, Refusal> {
        recipients::reload(self, request.believe, &who).await
    }

    async fn import_recipients(
        &self,
        file: Upload,
        dry_run: bool,
        who: Who,
    ) -> Result<ImportedView, Refusal> {
        recipients::import(self, file, dry_run, &who).await
    }

    async fn clear_recipients(&self, who: Who) -> Result<ActionResult, Refusal> {
        recipients::clear(self, &who).await
    }

    async fn tls(&self) -> Result<TlsView, Refusal> {
        Ok(tls::view(self))
    }

    async fn accept_certificate(&self, hop: String, who: Who) -> Result<ActionResult, Refusal> {
        tls::accept(self, hop, &who).await
    }

    async fn reload_certificate(&self) -> Result<ActionResult, Refusal> {
        tls::reload(self).await
    }

    async fn install_certificate(&self, request: InstallRequest, who: Who) -> Result<ActionResult, Refusal> {
        tls::install(self, request, &who).await
    }

    async fn uninstall_certificate(&self, who: Who) -> Result<ActionResult, Refusal> {
        tls::uninstall(self, &who).await
    }

    async fn metrics(&self) -> Result<String, Refusal> {
        Ok(figures::text(self))
    }
}

impl Operator {
    /// A volume of the box.
    fn storage(&self, which: Store) -> Result<&Storage, Refusal> {
        self.volumes.of(which).ok_or_else(|| {
            Refusal::new(
                Fault::NotFound,
                "PS-D256",
                "the box has no second volume",
                "The setting volume.reserve names one.",
            )
        })
    }

    /// The volume that a message is on, and its number there.
    fn find(&self, id: MailId) -> Result<(&Storage, MessageId), Refusal> {
        let storage = self.volumes.of(id.store).ok_or_else(|| Refusal::no_such_message(id))?;
        Ok((storage, MessageId(id.number)))
    }

    /// Records what an operator did that changes nothing on the volume. Where the volume refuses to be written, the
    /// log of the box has to do: what is safe must be within reach just then.
    async fn audit(&self, storage: &Storage, event: Event) -> Result<(), SpoolError> {
        let (message, text) = (event.message, event.text.clone());
        match storage.change(move |spool| spool.record_event(&event)).await {
            Err(error @ (SpoolError::ReadOnly | SpoolError::Write(_))) => {
                warn!(code = "PS-D262", ?message, text, %error, "audited here only, as the volume cannot be written");
                Ok(())
            }
            done => done,
        }
    }

    async fn release_all(&self, who: &Who) -> Result<ActionResult, Refusal> {
        let mut released = 0;
        // What is on a volume that is away waits for it anyway.
        for storage in self.volumes.all().filter(|storage| storage.is_well()) {
            released += self.release_all_of(storage, who).await?;
        }
        self.delivery.end_waits();
        let text = format!("all mail released by {who}");
        let event = Kind::Released.event(self.clock.stamp(), None, text);
        self.volumes.record(event).await.map_err(unavailable)?;
        let summary = format!("All mail is tried now; {} had been set aside.", messages(released));
        Ok(ActionResult { summary, messages: released, refused: Vec::new() })
    }

    async fn release_all_of(&self, storage: &Storage, who: &Who) -> Result<u64, Refusal> {
        let (mut released, mut from, store) = (0, MessageId(0), storage.store());
        loop {
            let at = self.clock.stamp();
            let page = storage.look(move |spool| {
                let page = spool.queue(from).map(|summary| summary.id).take(CHANGES_PER_STEP);
                let page: Vec<MessageId> = page.collect();
                let held: Vec<MessageId> = page.iter().copied().filter(|id| has_held(spool, *id)).collect();
                (page.last().copied(), held)
            });
            let (last, held) = page.await.map_err(unavailable)?;
            let Some(last) = last else { return Ok(released) };
            let text = format!("given back to the queue by {who}");
            let given = storage.change(move |spool| {
                let give = |id: MessageId| {
                    let event = Kind::Released.event(at, Some(id), text.clone());
                    give_back(spool, store, id, &event)
                };
                held.into_iter().map(give).collect::<Result<Vec<_>, _>>()
            });
            for given in given.await.map_err(unavailable)? {
                take_back(&self.delivery, &given);
                released += 1;
            }
            from = MessageId(last.0 + 1);
        }
    }

    async fn release_these(&self, ids: Vec<MailId>, who: &Who) -> Result<ActionResult, Refusal> {
        let (mut done, mut refused) = (0, Vec::new());
        for id in ids {
            match self.release_one(id, who).await {
                Ok(()) => done += 1,
                Err(refusal) => refused.push(Refused { id, error: refusal.body }),
            }
        }
        let summary = format!("{} tried as soon as the next hop takes mail.", is_are(done));
        Ok(ActionResult { summary, messages: done, refused })
    }

    async fn release_one(&self, id: MailId, who: &Who) -> Result<(), Refusal> {
        let (storage, message) = self.find(id)?;
        let text = format!("given back to the queue by {who}");
        let event = Kind::Released.event(self.clock.stamp(), Some(message), text);
        let given = storage.change(move |spool| {
            let summary = spool.summary(message).ok_or(SpoolError::NoSuchMessage(message))?;
            if summary.open_recipients == 0 {
                return Ok(None);
            }
            give_back(spool, id.store, message, &event).map(Some)
        });
        match given.await.map_err(|error| refusal(id, error))? {
            Some(given) => {
                take_back(&self.delivery, &given);
                Ok(())
            }
            None => Err(finished(id)),
        }
    }

    async fn remove_one(&self, id: MailId, reason: &str, who: &Who) -> Result<(), Refusal> {
        let (storage, message) = self.find(id)?;
        let taken_out = self.delivery.release().remove(id.key());
        if taken_out == penstock_release::Removed::InFlight {
            return Err(Refusal::new(
                Fault::Conflict,
                "PS-D251",
                format!("message {id} is on its way at this moment"),
                "Try again when the attempt has ended; `penstock stop` keeps others from beginning.",
            ));
        }
        let at = self.clock.stamp();
        let event = Kind::Removed.event(at, Some(message), format!("removed by {who}: {reason}"));
        let removed = storage.change(move |spool| {
            let fates = spool.fates(message).ok_or(SpoolError::NoSuchMessage(message))?;
            let open: Vec<_> = fates.into_iter().filter(|(_, _, fate)| !fate.is_final()).collect();
            for (first, count, _) in &open {
                let (first, count, fate, attempts, reply_code) = (*first, *count, Fate::Removed, 0, 0);
                spool.set_status(message, &FateOf { first, count, fate, attempts, reply_code, at })?;
            }
            if !open.is_empty() {
                spool.record_event(&event)?;
            }
            Ok(!open.is_empty())
        });
        match removed.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(finished(id)),
            Err(error) => {
                if taken_out == penstock_release::Removed::Yes {
                    // It was not removed after all.
                    self.delivery.give_back(Recovered { id, size_bytes: 0, attempts: 0 });
                }
                Err(refusal(id, error))
            }
        }
    }
}

/// A message whose recipients were given back to the queue.
struct GivenBack {
    message: Recovered,
    /// Whether it was in the queue before, with other recipients.
    was_queued: bool,
}

/// Lets release know of a message that was given back.
fn take_back(delivery: &Delivery, given: &GivenBack) {
    let GivenBack { message, was_queued } = *given;
    if !was_queued {
        delivery.give_back(message);
    } else if !delivery.again_after_flight(message.id) {
        delivery.release().hasten(message.id.key());
        delivery.wake();
    }
}

/// Whether recipients of a message are to be tried as it is.
fn has_queued(spool: &Spool, id: MessageId) -> bool {
    let fates = spool.fates(id).unwrap_or_default();
    fates.iter().any(|(_, _, fate)| matches!(fate, Fate::Queued | Fate::Deferred))
}

fn has_held(spool: &Spool, id: MessageId) -> bool {
    spool.fates(id).unwrap_or_default().iter().any(|(_, _, fate)| *fate == Fate::Held)
}

/// Lets recipients that were held be tried again.
fn give_back(spool: &mut Spool, store: Store, id: MessageId, event: &Event) -> Result<GivenBack, SpoolError> {
    let summary = spool.summary(id).ok_or(SpoolError::NoSuchMessage(id))?;
    let (fates, was_queued) = (spool.fates(id).unwrap_or_default(), has_queued(spool, id));
    for (first, count, _) in fates.into_iter().filter(|(_, _, fate)| *fate == Fate::Held) {
        let (fate, attempts, reply_code, at) = (Fate::Queued, 0, 0, event.at);
        spool.set_status(id, &FateOf { first, count, fate, attempts, reply_code, at })?;
    }
    spool.record_event(event)?;
    let id = MailId { store, number: id.0 };
    let message = Recovered { id, size_bytes: summary.size_bytes, attempts: 0 };
    Ok(GivenBack { message, was_queued })
}

/// Who answers for what the box writes itself: an address that a site has to read (RFC 5321 §4.5.1).
pub(crate) fn postmaster(settings: &Settings) -> String {
    let first = settings.domains.accepted.first();
    let domain = first.map_or_else(|| settings.system.hostname.to_string(), ToString::to_string);
    format!("postmaster@{}", domain.trim_start_matches("*."))
}

fn finished(id: MailId) -> Refusal {
    let message = format!("message {id} is finished: every recipient was delivered or removed");
    Refusal::new(Fault::Conflict, "PS-D252", message, "")
}

/// What is told when the log does not do it.
fn refusal(id: MailId, error: SpoolError) -> Refusal {
    match error {
        SpoolError::NoSuchMessage(_) => Refusal::no_such_message(id),
        SpoolError::Damaged(_) => Refusal::new(
            Fault::Conflict,
            error.code(),
            format!("message {id} is damaged on the volume and is not given out"),
            "Ask the sender for it; `penstock show` has the envelope where that can be read.",
        ),
        other => unavailable(other),
    }
}

fn unavailable(error: SpoolError) -> Refusal {
    let message = match error {
        // Whatever the reason: it failed, is missing, or does not answer.
        SpoolError::ReadOnly => "the volume cannot be used now".to_owned(),
        other => other.to_string(),
    };
    let help = "The volume is tried again every 30 s; `penstock status` says how it stands.";
    Refusal::new(Fault::Unavailable, error.code(), message, help)
}

fn messages(count: u64) -> String {
    if count == 1 { "1 message".to_owned() } else { format!("{count} messages") }
}

fn is_are(count: u64) -> String {
    if count == 1 { "1 message is".to_owned() } else { format!("{count} messages are") }
}
