//! The side that gives mail on: carries out what `release` decides, and reports what came of it.

mod addressing;
mod attempt;
mod canary;
mod connection;
mod counters;
mod encrypt;
mod errand;
mod evidence;
mod fit;
mod known;
mod learn;
mod letter;
mod mirror;
mod notes;
mod places;
mod record;
mod relayed;
mod saved;
mod through;
mod transaction;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use penstock_release::{
    Cause, Decision, Evidence, Fate as Follows, Found, HopConfig, HopId, HopStatus, Message, Mode, Now,
    Outcome, PROBES_MAX, Phase, Priority, Release, SetAside, State, Verdict, Witness,
};
use penstock_settings::{InitialMode, Settings};
use penstock_smtp::client::{Capabilities, Config as ClientConfig, Event};
use penstock_smtp::{Address, MailFrom};
use penstock_spool::{EVENT_TEXT_BYTES_MAX, Error as SpoolError, Fate, MessageId, Recipient, Stamp};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tracing::{debug, error, info, warn};

use crate::Error;
use crate::boxstate::BoxState;
use crate::clock::{Clock, host_time};
use crate::control::{MailId, Store};
use crate::directory::Directory;
use crate::ledger::Kind;
use crate::log::Lines;
use crate::metrics::Metrics;
use crate::stop;
use crate::storage::{Accepted, Arrived, Recovered, STALLED_AFTER, Storage, Volumes, refuse};
use crate::tls::Tls;
use attempt::{Attempt, Ended};
use canary::Canaries;
pub(crate) use canary::{
    Canary, Fate as CanaryFate, OfHop as CanariesOfHop, REPORT_BYTES_MAX, ReturnPath, Token,
};
use connection::Connection;
pub(crate) use connection::SourceAddresses;
use counters::AllCounters;
use evidence::{Cut, heard, phase};
use known::Known;
use mirror::{Mirror, Takes};
pub(crate) use notes::Note;
use notes::Notes;
use record::Record;
use through::Through;
pub(crate) use through::{Awaited, Verdict as ThroughVerdict, Waited};

/// How long a session is kept for the next message.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// What all connections to a hop have in common.
#[derive(Clone, Debug, Default)]
struct Shared {
    /// One clone for each connection: so they are counted.
    counted: Arc<()>,
    /// What its answers have taught of recipients.
    known: Arc<Known>,
}

/// Everything that release needs at run time.
pub(crate) struct Delivery {
    settings: Arc<Settings>,
    config: penstock_release::Config,
    client: ClientConfig,
    from: SourceAddresses,
    clock: Arc<Clock>,
    metrics: Arc<Metrics>,
    volumes: Volumes,
    state: BoxState,
    release: Mutex<Release>,
    /// Messages that came to be on a volume after their senders had been told to come back, and of which that is not
    /// recorded yet.
    renounced: Mutex<HashSet<MailId>>,
    /// Sessions that wait for another message, by hop.
    idle: Mutex<Vec<Vec<Connection>>>,
    /// For each hop, cloned into every connection to it: so they are counted.
    connections: Vec<Arc<()>>,
    /// What each hop's answers have taught of recipients.
    known: Vec<Arc<Known>>,
    notes: Mutex<Notes>,
    /// Clients that wait for what is said of their messages.
    through: Through,
    /// What the next hops take.
    mirror: Mutex<Mirror>,
    canaries: Canaries,
    counters: AllCounters,
    directory: Arc<Directory>,
    tls: Arc<Tls>,
    /// Something happened that may change what is to be done next.
    wake: Notify,
    /// There may be messages of which it is not known whose they are.
    unknown: Notify,
    lines: Lines,
    stopping: watch::Receiver<bool>,
}

impl Delivery {
    /// Release as it was saved, with what is on the volumes that are there.
    ///
    /// # Errors
    /// [`Error::Settings`].
    pub(crate) fn new(
        settings: Arc<Settings>,
        clock: Arc<Clock>,
        metrics: Arc<Metrics>,
        (volumes, arrived): (Volumes, Vec<Arrived>),
        from: SourceAddresses,
        directory: Arc<Directory>,
        stopping: watch::Receiver<bool>,
    ) -> Result<Arc<Self>, Error> {
        // A number that differs from box to box.
        let name = arrived.first().map_or([0; 16], |arrived| arrived.volume);
        let seed = name.iter().fold(0, |seed: u64, byte| seed.rotate_left(8) ^ u64::from(*byte));
        let config = config(&settings, seed);
        let state = BoxState::new(arrived.iter().map(|arrived| arrived.kept.clone()));
        let tls = Tls::new(&settings, &state.kept()).map_err(Error::Tls)?;
        let mut client = ClientConfig::new(settings.system.hostname.as_str())
            .map_err(|error| Error::Settings(format!("system.hostname: {error}")))?;
        client.recipients_max = settings.client.recipients_max;
        let initial = match settings.release.initial_mode {
            InitialMode::Auto => Mode::Auto,
            InitialMode::Hold => Mode::Hold { until_unix_ms: None },
        };
        let now = now(&clock);
        let release = Release::new(config.clone(), saved::load(&state.kept()).as_ref(), initial, now)
            .map_err(|error| Error::Settings(error.to_string()))?;
        let idle = Mutex::new(config.hops.iter().map(|_| Vec::new()).collect());
        let connections = config.hops.iter().map(|_| Arc::new(())).collect();
        let (canaries, counters) = (Canaries::new(config.hops.len()), AllCounters::new(config.hops.len()));
        let known = config.hops.iter().map(|_| Arc::default()).collect();
        let through = Through::new(&settings.release);
        let mirror = Mutex::new(Mirror::new(&settings.next_hops, state.kept().value(mirror::KEY)));
        let delivery = Self {
            settings,
            config,
            client,
            from,
            clock,
            metrics,
            volumes,
            state,
            release: Mutex::new(release),
            renounced: Mutex::default(),
            idle,
            connections,
            known,
            notes: Mutex::default(),
            through,
            mirror,
            canaries,
            counters,
            directory,
            tls: Arc::new(tls),
            wake: Notify::new(),
            unknown: Notify::new(),
            lines: Lines::default(),
            stopping,
        };
        arrived.into_iter().for_each(|arrived| delivery.arrived(arrived));
        Ok(Arc::new(delivery))
    }

    /// Takes in messages that are to be tried.
    fn recover(&self, queued: &[Recovered]) {
        let mut release = self.release();
        for message in queued {
            let Recovered { id, size_bytes, attempts } = *message;
            // When it came and for whom is in its envelope, which is read when it is tried; it is looked at then.
            let (mailbox, priority) = (0, Priority::Normal);
            let message = Message { id: id.key(), size_bytes, accepted_unix_ms: None, mailbox, priority };
            release.recover(message, u32::from(attempts), 0);
        }
        self.unknown.notify_one();
    }

    /// Starts over with what a volume holds that was mounted, for the first time or anew.
    pub(crate) fn arrived(&self, arrived: Arrived) {
        let Arrived { store, mut queued, kept, .. } = arrived;
        self.take_out(store);
        {
            let (notes, renounced) = (self.notes(), self.renounced());
            // What is on its way comes back by itself.
            queued.retain(|message| !notes.is_in_flight(message.id) && !renounced.contains(&message.id));
        }
        self.recover(&queued);
        if self.state.arrived(&kept) {
            self.mirror().learn(kept.value(mirror::KEY));
            if let Some(saved) = saved::load(&kept) {
                self.release().set_mode(saved.mode, self.now());
            }
            self.tls.arrived(&kept);
        } else if kept != self.state.kept()
            && let Some(storage) = self.volumes.of(store).cloned()
        {
            let kept = self.state.kept();
            tokio::spawn(async move { BoxState::bring_up_to_date(kept, &storage).await });
        }
        self.wake.notify_one();
    }

    /// A volume cannot be used: nothing of it is released until it is back.
    pub(crate) fn lost(&self, store: Store, why: &str) {
        self.take_out(store);
        let name = self.volumes.of(store).map_or(String::new(), |storage| storage.name().to_owned());
        let what = store.as_str();
        match self.volumes.taking().map(Storage::store) {
            Some(taking) => warn!(
                code = "PS-D206",
                volume = what,
                taking = taking.as_str(),
                why,
                "a volume cannot be used; new mail goes to the other one, and what is on this one waits for it"
            ),
            None => error!(
                code = "PS-D207",
                volume = what,
                why,
                "no volume can be used: mail is answered with 4xx"
            ),
        }
        let at = self.clock.stamp();
        let event =
            Kind::VolumeLost.event(at, None, bounded(format!("the {what}, {name}, cannot be used: {why}")));
        let volumes = self.volumes.clone();
        // Told in the log already.
        tokio::spawn(async move { volumes.record(event).await });
        self.wake.notify_one();
    }

    /// A volume does not answer.
    pub(crate) fn stalled(&self, store: Store) {
        let volume = store.as_str();
        let why = format!("it has not answered for {} s", STALLED_AFTER.as_secs());
        error!(code = "PS-D205", volume, why, "a volume is stuck in a read or a write; it is not waited for");
        self.lost(store, &why);
    }

    /// A volume answers again, and tells next what is on it, or that it failed.
    pub(crate) fn answers_again(&self, store: Store) {
        warn!(code = "PS-D202", volume = store.as_str(), "the volume answers again");
    }

    fn take_out(&self, store: Store) {
        self.release().take_out(|key| MailId::from_key(key).store == store);
        let notes = self.notes();
        self.through.dismiss(|id| id.store == store && !notes.is_in_flight(id));
    }

    /// A message is not to be: it came to be on its volume after its sender was told to come back.
    pub(crate) fn renounce(self: &Arc<Self>, id: MailId) {
        self.renounced().insert(id);
        self.mark_renounced(id.store);
    }

    /// Writes that down, as far as the volume can be written. What cannot be marked now is when the volume arrives; if the
    /// box starts before that it is delivered, and so is what its sender sends again.
    pub(crate) fn mark_renounced(self: &Arc<Self>, store: Store) {
        let ids: Vec<MailId> = self.renounced().iter().copied().filter(|id| id.store == store).collect();
        for id in ids {
            let Some(storage) = self.volumes.of(store).cloned() else { return };
            let (this, at, message) = (Arc::clone(self), self.clock.stamp(), MessageId(id.number));
            tokio::spawn(async move {
                match storage.change(move |spool| refuse(spool, message, at)).await {
                    Ok(()) => drop(this.renounced().remove(&id)),
                    Err(error) => debug!(%id, %error, "cannot be marked as refused yet"),
                }
            });
        }
    }

    fn renounced(&self) -> MutexGuard<'_, HashSet<MailId>> {
        self.renounced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has every volume forget what [`Kept::forget`](crate::boxstate::Kept::forget) has let go of.
    ///
    /// # Errors
    /// What the last volume says, if none of them has.
    pub(crate) async fn forget(&self) -> Result<(), SpoolError> {
        self.state.put(&self.volumes, Vec::new(), true).await
    }

    /// TLS on both sides.
    pub(crate) fn tls(&self) -> &Arc<Tls> {
        &self.tls
    }

    /// Makes what clients are shown, and what next hops have shown, outlive a restart.
    ///
    /// # Errors
    /// What the log says.
    pub(crate) async fn save_tls(&self, by_operator: bool) -> Result<(), SpoolError> {
        self.state.put(&self.volumes, self.tls.values(), by_operator).await
    }

    /// What the box keeps beyond its mail.
    pub(crate) fn state(&self) -> &BoxState {
        &self.state
    }

    /// Takes in a message that was accepted. [`wake`](Self::wake) when all of a batch are in.
    pub(crate) fn offer(&self, accepted: Accepted) {
        let Accepted { id, size_bytes, received, recipients } = accepted;
        self.metrics.inflow.add(self.clock.mono_ms(), size_bytes);
        let (mailbox, priority) = addressing::addressed(&self.config, &self.settings.release, &recipients);
        self.release().offer(Message {
            id: id.key(),
            size_bytes: u32::try_from(size_bytes).unwrap_or(u32::MAX),
            accepted_unix_ms: received.trusted.then_some(received.unix_ms),
            mailbox,
            priority,
        });
    }

    /// Tells release who the open recipients of a message are. Whether it is to go on, if it is in flight.
    fn addressed<'r>(&self, id: MailId, open: impl IntoIterator<Item = &'r Recipient>) -> bool {
        let (mailbox, priority) = addressing::addressed(&self.config, &self.settings.release, open);
        self.release().addressed(id.key(), mailbox, priority)
    }

    /// Has it looked again at what is to be done.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(crate) fn release(&self) -> MutexGuard<'_, Release> {
        self.release.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Now {
        now(&self.clock)
    }

    /// Connections to a hop, in use or waiting for another message.
    pub(crate) fn connections(&self, hop: HopId) -> usize {
        self.connections.get(usize::from(hop.0)).map_or(0, |counted| Arc::strong_count(counted) - 1)
    }

    /// Does what is to be done, until it is told to stop and what was in flight has ended.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        let learning = tokio::spawn(Arc::clone(&self).learn());
        let mut states = Vec::new();
        let mut unsaved = false;
        while !*self.stopping.borrow() {
            let failed = !self.volumes.is_any_well();
            if self.release().take_changed() || unsaved {
                self.tell_states(&mut states).await;
                unsaved = failed || self.save().await.is_err();
            }
            self.end_vain_waits();
            let knows_places = self.knows_places();
            self.release().set_knows_places(knows_places);
            // Without a record of what was sent nothing may be sent.
            self.close_idle();
            let until_ms = if failed { None } else { self.decide(&mut tasks).await };
            let idle_ms = self.has_idle().then(|| self.clock.mono_ms() + 1000);
            let until_ms = [until_ms, idle_ms].into_iter().flatten().min();
            tokio::select! {
                () = self.wake.notified() => {}
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
                () = self.sleep_until(until_ms) => {}
                () = stop::signalled(self.stopping.clone()) => {}
            }
        }
        learning.abort();
        while tasks.join_next().await.is_some() {}
        let idle: Vec<_> = self.idle().iter_mut().flat_map(std::mem::take).collect();
        for connection in idle {
            connection.quit().await;
        }
        if self.release().take_changed() || unsaved {
            // What could not be saved is as it was at the last time.
            let _ = self.save().await;
        }
    }

    async fn sleep_until(&self, until_ms: Option<u64>) {
        match until_ms {
            Some(until_ms) => {
                let left_ms = until_ms.saturating_sub(self.clock.mono_ms());
                tokio::time::sleep(host_time(Duration::from_millis(left_ms))).await;
            }
            None => std::future::pending().await,
        }
    }

    /// Carries out decisions until there is nothing to do before a moment.
    async fn decide(self: &Arc<Self>, tasks: &mut JoinSet<()>) -> Option<u64> {
        loop {
            let decision = self.release().next(self.now());
            match decision {
                Decision::Send { message, hop, .. } => {
                    let (this, id) = (Arc::clone(self), MailId::from_key(message));
                    self.notes().begin(id);
                    tasks.spawn(async move {
                        stop::woken(this.stopping.clone(), this.send(id, hop)).await;
                    });
                }
                Decision::Probe { hop } => {
                    let this = Arc::clone(self);
                    tasks.spawn(async move {
                        stop::woken(this.stopping.clone(), this.probe(hop)).await;
                    });
                }
                Decision::Canary { hop, probe, canary } => {
                    let this = Arc::clone(self);
                    tasks.spawn(async move {
                        stop::woken(this.stopping.clone(), this.canary(hop, probe, canary)).await;
                    });
                }
                Decision::SetAside { message, why } => self.set_aside(MailId::from_key(message), why).await,
                Decision::Wait { until_ms } => return until_ms,
            }
        }
    }

    /// Sends one message and reports what came of it.
    async fn send(self: &Arc<Self>, id: MailId, hop: HopId) {
        let (mut ended, connection) = attempt::run(self, id, hop).await;
        // First of all, so that it is there for the next message: what was delivered is on flash by now.
        if let Some(connection) = connection {
            self.keep(hop, connection);
        }
        self.tell_client(id, &ended);
        self.notes().end(id);
        if let Ended::Tried(attempt) = &ended {
            self.witness(id, hop, attempt);
            if attempt.open().next().is_some() {
                self.addressed(id, attempt.open());
            }
        }
        let outcome = ended.outcome();
        let follows = self.release().finished(id.key(), outcome, self.now());
        if !self.volumes.of(id.store).is_some_and(Storage::is_well) {
            // It comes back with its volume.
            self.release().remove(id.key());
        }
        if matches!(outcome, Outcome::Done { delivered: true } | Outcome::Open { delivered: true, .. }) {
            self.metrics.released.add(1);
            self.counters.took(hop);
        }
        if let (Some(follows), Ended::Tried(attempt)) = (follows, &ended) {
            self.note(id, follows, attempt).await;
        }
        if follows == Some(Follows::Done) && self.notes().take_again(id) {
            // The operator gave recipients back while the others were on their way.
            self.offer_again(id).await;
        }
        if let Ended::Tried(attempt) = &mut ended {
            self.tell_unreported(id, hop, attempt).await;
        }
    }

    /// Reports who a message was from and whom the hop refused.
    fn witness(&self, id: MailId, hop: HopId, attempt: &Attempt) {
        let Some(known) = self.known.get(usize::from(hop.0)) else { return };
        let (envelope, refused) = attempt.seen();
        let refused = self.refused(hop, envelope, refused);
        let source = known.source(&envelope.begin, &self.settings.listen.trusted_fronts);
        self.release().witnessed(id.key(), Witness { source, refused: &refused }, self.now());
    }

    /// Takes in a message that the operator gave back to the queue.
    async fn offer_again(&self, id: MailId) {
        let Some(storage) = self.volumes.of(id.store) else { return };
        let summary = storage.look(move |spool| spool.summary(MessageId(id.number))).await;
        if let Ok(Some(summary)) = summary {
            self.give_back(Recovered { id, size_bytes: summary.size_bytes, attempts: 0 });
        }
    }

    /// Takes in a message that the operator gave back to the queue, where it is not in it.
    pub(crate) fn give_back(&self, message: Recovered) {
        self.recover(&[message]);
        self.wake();
    }

    /// Takes in a message that may have been given up since it could not be read. Whether release still has it is not
    /// known to who repaired it.
    pub(crate) fn give_back_mended(&self, message: Recovered) {
        if self.release().remove(message.id.key()) != penstock_release::Removed::InFlight {
            self.give_back(message);
        }
    }

    /// Has it offered once more when the attempt in flight has ended. Whether there is one.
    pub(crate) fn again_after_flight(&self, id: MailId) -> bool {
        self.notes().again(id)
    }

    /// What is known of a message beyond what the volume says.
    pub(crate) fn noted(&self, id: MailId) -> Note {
        self.notes().get(id)
    }

    /// Keeps in mind what was said of a message, and when it is due again.
    fn remember(&self, id: MailId, due_mono_ms: Option<u64>, said: &str) {
        self.notes().remember(id, due_mono_ms, said);
    }

    /// Has no message of the queue wait any longer.
    pub(crate) fn end_waits(&self) {
        let mut release = self.release();
        let mode = release.mode();
        // Draining ends every wait; the mode itself stays what it was.
        release.set_mode(Mode::Drain, self.now());
        release.set_mode(mode, self.now());
        drop(release);
        self.wake();
    }

    /// Has what waits tried now, if nothing holds it. Whether that is so.
    pub(crate) fn release_now(&self) -> bool {
        let goes = matches!(self.release().mode(), Mode::Auto | Mode::Drain);
        if goes {
            self.end_waits();
        }
        goes
    }

    /// What the next hops take: no more must be offered to clients.
    pub(crate) fn takes(&self) -> Takes {
        self.mirror().takes()
    }

    /// Takes note of what a hop takes, for the listener and for the next start.
    async fn heard(&self, hop: HopId, said: &Capabilities) {
        let value = {
            let mut mirror = self.mirror();
            let Some(takes) = mirror.heard(usize::from(hop.0), said) else { return };
            info!(
                hop = self.hop_name(hop),
                takes = takes.keywords(),
                "what the next hop takes is offered to clients"
            );
            mirror.value()
        };
        let saved = self.state.put(&self.volumes, vec![(mirror::KEY.to_vec(), value)], false).await;
        // What could not be written is, when it is heard again.
        self.mirror().saved(saved.is_ok());
    }

    fn mirror(&self) -> MutexGuard<'_, Mirror> {
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what follows for recipients that are still open.
    async fn note(&self, id: MailId, follows: Follows, left: &Attempt) {
        match follows {
            Follows::Done | Follows::Kept => {}
            Follows::Waits { attempts, for_ms } => {
                let attempts = u16::try_from(attempts).unwrap_or(u16::MAX);
                let too_old = self.is_too_old(left.accepted_unix_ms());
                if too_old && self.release().remove(id.key()) == penstock_release::Removed::Yes {
                    let _ = left.note_open(self, Fate::Held, attempts, why(SetAside::Expired)).await;
                } else {
                    let said = left.said();
                    self.remember(id, Some(self.clock.mono_ms() + for_ms), &said);
                    let unknown = if left.is_unknown() { "not known whether it was taken; " } else { "" };
                    let why = format!("{unknown}will be tried again in {} min", for_ms.div_ceil(60_000));
                    let _ = left.note_open(self, Fate::Deferred, attempts, &why).await;
                }
            }
            Follows::SetAside(aside) => {
                let _ = left.note_open(self, Fate::Held, 0, why(aside)).await;
            }
        }
    }

    fn is_too_old(&self, accepted_unix_ms: Option<u64>) -> bool {
        let (Some(accepted), Some(now)) = (accepted_unix_ms, self.now().unix_ms) else { return false };
        accepted.saturating_add(self.config.expire_after_ms) < now
    }

    /// Sets aside a message that `release` gave up.
    async fn set_aside(&self, id: MailId, aside: SetAside) {
        let Some(storage) = self.volumes.of(id.store) else { return };
        let at = self.clock.stamp();
        warn!(code = "PS-D230", %id, why = why(aside), "held for the operator");
        let written = storage
            .change(move |spool| {
                let open = spool.fates(MessageId(id.number)).unwrap_or_default();
                let open = open.into_iter().filter(|(_, _, fate)| !fate.is_final());
                let recipients =
                    open.flat_map(|(first, count, _)| first..first.saturating_add(count)).collect();
                let (fate, kind, text) = (Fate::Held, Kind::Held, why(aside).to_owned());
                let (attempts, reply_code, said) = (0, 0, String::new());
                Record { id, recipients, fate, attempts, reply_code, at, kind, text, said }.append(spool)
            })
            .await;
        if let Err(error) = written {
            warn!(code = error.code(), %id, %error, "that could not be recorded");
        }
    }

    /// Sees whether a hop takes mail, without any.
    async fn probe(&self, hop: HopId) {
        let found = self.ask(hop).await;
        let trouble: Option<Evidence<'_>> = found.as_ref().map(Found::evidence);
        self.release().probed(hop, trouble, self.now());
    }

    /// The evidence of trouble, if there is any.
    async fn ask(&self, hop: HopId) -> Option<Found> {
        let mut connection = match self.connect(hop).await {
            Ok(connection) => connection,
            // We are stopping: no news.
            Err(found) => return found,
        };
        if connection.session().mail(&MailFrom::new(Address::NULL)).is_err() {
            return Cut::Eof.found(Phase::Ehlo, 0);
        }
        let denied = self.known.get(usize::from(hop.0)).and_then(|known| known.denied());
        let denied = denied.as_deref().and_then(|denied| Address::parse(denied).ok());
        let trouble = loop {
            let at = connection.session().phase();
            match connection.poll() {
                Event::NeedInput => {}
                Event::MailReply(reply) => {
                    let found = Found::reply(Phase::Mail, heard(reply), 0);
                    if found.verdict() != Verdict::Accepted {
                        break Some(found);
                    }
                    let Some(address) = denied else { break None };
                    // What it refused is the one thing that shows whether it still does.
                    let recipient = penstock_smtp::Recipient { address, notify: None, orcpt: None };
                    if connection.session().rcpt(&recipient).is_err() {
                        break None;
                    }
                }
                Event::RcptReply { reply, .. } => {
                    let Some(address) = denied else { break None };
                    let found = Found::reply(Phase::Rcpt, heard(reply), 0);
                    let found = connection.known().heard(&address, found);
                    break found.evidence().denies_relay().then_some(found);
                }
                Event::Refused { phase: at, reply } => return Some(Found::reply(phase(at), heard(reply), 0)),
                Event::Broken { phase: at, error } => return Cut::Nonsense(error).found(phase(at), 0),
                Event::Closed => return Cut::Eof.found(phase(at), 0),
                _ => continue,
            }
            if let Err(cut) = connection.progress().await {
                return cut.found(phase(at), 0);
            }
        };
        tokio::spawn(connection.quit());
        trouble
    }

    /// A session with a hop: one that waits, or a new one. `Err(None)` if we are stopping.
    async fn connection(&self, hop: HopId) -> Result<Connection, Option<Found>> {
        let idle = self.idle().get_mut(usize::from(hop.0)).and_then(Vec::pop);
        match idle {
            Some(connection) if connection.is_fresh() => Ok(connection),
            Some(old) => {
                tokio::spawn(old.quit());
                self.connect(hop).await
            }
            None => self.connect(hop).await,
        }
    }

    async fn connect(&self, hop: HopId) -> Result<Connection, Option<Found>> {
        let Some(next_hop) = self.settings.next_hops.get(usize::from(hop.0)) else { return Err(None) };
        let Some(counted) = self.connections.get(usize::from(hop.0)) else { return Err(None) };
        let Some(known) = self.known.get(usize::from(hop.0)) else { return Err(None) };
        let Some(tls) = self.tls.hop(hop) else { return Err(None) };
        debug!(hop = self.hop_name(hop), "connecting");
        let shared = Shared { counted: Arc::clone(counted), known: Arc::clone(known) };
        let (connection, met) = self.open(&next_hop.address, shared, tls).await?;
        self.release().greeted(hop, &connection.greeting(), self.now());
        if let Some(met) = met {
            self.met(hop, met).await;
        }
        self.heard(hop, connection.capabilities()).await;
        Ok(connection)
    }

    fn keep(&self, hop: HopId, mut connection: Connection) {
        connection.set_idle();
        if connection.is_fresh()
            && let Some(idle) = self.idle().get_mut(usize::from(hop.0))
        {
            idle.push(connection);
        } else {
            tokio::spawn(connection.quit());
        }
    }

    /// Ends sessions that nobody needed for a while, and those beyond what the hop is to have.
    fn close_idle(&self) {
        if !self.has_idle() {
            return;
        }
        let hops: Vec<HopStatus> = self.release().hops(self.now()).collect();
        for (sessions, hop) in self.idle().iter_mut().zip(hops) {
            let mut surplus = self.connections(hop.id).saturating_sub(hop.connections as usize);
            while let Some(oldest) = sessions.first()
                && (surplus > 0 || oldest.idle_for() > IDLE_MAX)
            {
                surplus = surplus.saturating_sub(1);
                tokio::spawn(sessions.remove(0).quit());
            }
        }
    }

    fn has_idle(&self) -> bool {
        self.idle().iter().any(|sessions| !sessions.is_empty())
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Vec<Connection>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answered(&self, hop: HopId, phase: Phase, size_bytes: u64, took_ms: u64) {
        self.release().answered(hop, phase, size_bytes, took_ms, self.now());
    }

    fn hop_name(&self, hop: HopId) -> &str {
        self.settings.next_hops.get(usize::from(hop.0)).map_or("?", |hop| hop.name.as_str())
    }

    /// Makes mode and states of the hops outlive a restart.
    ///
    /// # Errors
    /// What the log says.
    pub(crate) async fn save(&self) -> Result<(), SpoolError> {
        let saved = self.release().saved();
        self.state.put(&self.volumes, saved::pieces(&saved), false).await
    }

    /// As [`save`](Self::save), with who set the mode: what an operator decides.
    ///
    /// # Errors
    /// What the log says.
    pub(crate) async fn save_mode(&self, history: (Vec<u8>, Vec<u8>)) -> Result<(), SpoolError> {
        let saved = self.release().saved();
        let mut values = saved::pieces(&saved);
        values.push(history);
        self.state.put(&self.volumes, values, true).await
    }

    /// Tells which hops are in another state than at the last call.
    async fn tell_states(&self, known: &mut Vec<(State, Option<Cause>)>) {
        let hops: Vec<HopStatus> = self.release().hops(self.now()).collect();
        known.resize(hops.len(), (State::Untried, None));
        let is_other = |hop: &HopStatus, known| (hop.state, hop.cause) != known;
        for (hop, known) in hops.iter().zip(known.iter_mut()).filter(|(hop, known)| is_other(hop, **known)) {
            *known = (hop.state, hop.cause);
            let (name, state) = (hop.name.as_str(), hop.state.as_str());
            let said = hop.last_reply.map(|reply| format!(": {reply}")).unwrap_or_default();
            let advice = hop.advice.unwrap_or_default();
            let why = hop.cause.map(Cause::as_str).unwrap_or_default();
            if hop.state.is_proving() {
                error!(
                    code = "PS-D233",
                    hop = name,
                    state,
                    why,
                    advice,
                    "the next hop has to prove itself: no mail goes"
                );
            } else if hop.state.trouble().is_some() {
                warn!(code = "PS-D232", hop = name, state, said, advice, "the next hop takes no mail");
            } else {
                info!(hop = name, state, "the next hop");
            }
            let proof =
                if why.is_empty() { String::new() } else { format!(" and has to prove itself, since {why}") };
            let event = Kind::Hop.event(self.clock.stamp(), None, format!("{name} is {state}{proof}{said}"));
            // Told in the log already; what cannot be recorded now is no reason to stop.
            let _ = self.volumes.record(event).await;
        }
    }
}

/// A text that fits into an event.
fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(EVENT_TEXT_BYTES_MAX));
    text
}

fn config(settings: &Settings, seed: u64) -> penstock_release::Config {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let release = &settings.release;
    penstock_release::Config {
        hops: settings
            .next_hops
            .iter()
            .map(|hop| HopConfig {
                name: hop.name.as_str().to_owned(),
                priority: hop.priority,
                weight: hop.weight,
                probes: u16::try_from(hop.probe_mailboxes.len()).unwrap_or(PROBES_MAX).min(PROBES_MAX),
            })
            .collect(),
        connections_max: release.connections_max,
        messages_per_minute_max: Some(release.messages_per_minute_max).filter(|max| *max > 0),
        retry_schedule_ms: release.retry_schedule.iter().copied().map(ms).collect(),
        retry_jitter_percent: release.retry_jitter_percent,
        probe_interval_ms: ms(release.probe_interval),
        probe_fast_for_ms: ms(release.probe_fast_for),
        probe_slow_interval_ms: ms(release.probe_slow_interval),
        probe_data_interval_ms: ms(release.probe_data_interval),
        expire_after_ms: ms(release.expire_after),
        poison_failures: release.poison_failures,
        poison_span_ms: ms(release.poison_span),
        seed,
    }
}

fn now(clock: &Clock) -> Now {
    let Stamp { unix_ms, trusted, .. } = clock.stamp();
    Now { mono_ms: clock.mono_ms(), unix_ms: trusted.then_some(unix_ms) }
}

const fn why(aside: SetAside) -> &'static str {
    match aside {
        SetAside::Expired => "older than mail may become",
        SetAside::Poison => "it failed again and again while others passed",
    }
}
