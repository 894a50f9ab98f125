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
mod presence;
mod probe;
mod queue;
mod readback;
mod record;
mod relayed;
mod saved;
mod send;
mod sessions;
mod states;
mod through;
mod transaction;
mod validation;
mod ways;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use penstock_release::{Decision, HopConfig, HopId, Mode, Now, PROBES_MAX, Phase, Release};
use penstock_settings::{InitialMode, Settings};
use penstock_smtp::client::Config as ClientConfig;
use penstock_spool::{Error as SpoolError, Stamp};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::Error;
use crate::boxstate::BoxState;
use crate::clock::{Clock, host_time};
use crate::control::MailId;
use crate::directory::Directory;
use crate::log::Lines;
use crate::metrics::Metrics;
use crate::stop;
use crate::storage::{Arrived, Volumes};
use crate::tls::Tls;
use canary::Canaries;
pub(crate) use canary::{
    Canary, Fate as CanaryFate, OfHop as CanariesOfHop, REPORT_BYTES_MAX, ReturnPath, Token,
};
use connection::Connection;
pub(crate) use connection::{SourceAddresses, connect};
use counters::AllCounters;
use known::Known;
use mirror::Mirror;
pub(crate) use notes::Note;
use notes::Notes;
use places::Places;
pub(crate) use presence::Presence;
pub(crate) use readback::Answer as ReadBackAnswer;
use readback::ReadBack;
use states::Told;
use through::Through;
pub(crate) use through::{Awaited, Verdict as ThroughVerdict, Waited};
use validation::Validations;
pub(crate) use validation::{Checks, ValidationView};
use ways::Ways;

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
    /// Which hops whose mail may go through.
    ways: Ways,
    places: Places,
    notes: Mutex<Notes>,
    /// Clients that wait for what is said of their messages.
    through: Through,
    /// What the next hops take.
    mirror: Mutex<Mirror>,
    canaries: Canaries,
    /// Which hops look at recipients.
    validations: Validations,
    /// Whether one of them can answer.
    presence: presence::Seen,
    /// The replayed message that asks whether it arrives.
    readback: ReadBack,
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
        let ways = Ways::new(&settings.next_hops);
        let config = config(&settings, &ways, seed);
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
        let known: Vec<Arc<Known>> = config.hops.iter().map(|_| Arc::new(Known::new(&directory))).collect();
        let validations = Validations::load(&state.kept(), &settings, &known);
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
            ways,
            places: Places::default(),
            notes: Mutex::default(),
            through,
            mirror,
            canaries,
            validations,
            presence: presence::Seen::default(),
            readback: ReadBack::default(),
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

    /// Does what is to be done, until it is told to stop and what was in flight has ended.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        let learning = tokio::spawn(Arc::clone(&self).learn());
        let mut states = Told::default();
        let mut unsaved = false;
        let hops: Vec<_> = self.release().hops(self.now()).collect();
        self.see_presence(&hops);
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
                    self.begin(tasks, async move { this.send(id, hop).await });
                }
                Decision::Probe { hop } => {
                    let this = Arc::clone(self);
                    self.begin(tasks, async move { this.probe(hop).await });
                }
                Decision::Ask { hop, route } => {
                    let this = Arc::clone(self);
                    self.begin(tasks, async move { this.ask(hop, route).await });
                }
                Decision::Canary { hop, probe, canary } => {
                    let this = Arc::clone(self);
                    self.begin(tasks, async move { this.canary(hop, probe, canary).await });
                }
                Decision::SetAside { message, why } => self.set_aside(MailId::from_key(message), why).await,
                Decision::Wait { until_ms } => return until_ms,
            }
        }
    }

    /// Begins what looks at the signal to stop whenever it would wait.
    fn begin(&self, tasks: &mut JoinSet<()>, task: impl Future<Output = ()> + Send + 'static) {
        tasks.spawn(stop::woken(self.stopping.clone(), Box::pin(task)));
    }

    /// What is known of a message beyond what the volume says.
    pub(crate) fn noted(&self, id: MailId) -> Note {
        self.notes().get(id)
    }

    /// Keeps in mind what was said of a message, and when it is due again.
    fn remember(&self, id: MailId, due_mono_ms: Option<u64>, said: &str) {
        self.notes().remember(id, due_mono_ms, said);
    }

    /// Has what waits tried now, if nothing holds it. Whether that is so.
    pub(crate) fn release_now(&self) -> bool {
        let goes = matches!(self.release().mode(), Mode::Auto | Mode::Drain);
        if goes {
            self.end_waits();
        }
        goes
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

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
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
}

fn config(settings: &Settings, ways: &Ways, seed: u64) -> penstock_release::Config {
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
        ways: ways.hops().to_vec(),
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
