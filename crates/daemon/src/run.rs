//! From the settings to a daemon that runs, and to its end.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use penstock_settings::Settings;
use penstock_spool::Event;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::control::ControlSocket;
use crate::deliver::{self, Delivery};
use crate::ledger::Kind;
use crate::listen::{self, Listening};
use crate::metrics::Metrics;
use crate::operator::settings::cut;
use crate::operator::{Operator, mode};
use crate::storage::{self, Answered, Started, Storage};
use crate::{Error, notify, stop, volume};

/// Threads that read mail from the volume or resolve names, at most. They come when needed and go again.
const BLOCKING_THREADS: usize = 16;
/// Their stack. The deepest that they call is the system's resolver.
const BLOCKING_STACK_BYTES: usize = 512 * 1024;
/// How long what is under way may take to end when the daemon stops.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// As much of a reason to stop is read, in bytes.
const STOP_REASON_BYTES_MAX: u64 = 256;
/// How long reads that are under way may take to end after that.
const READER_GRACE: Duration = Duration::from_secs(1);

/// What is not a setting: where the service runs, and what whoever started it wants to have said or done.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The file with the settings, which is shown to the operator.
    pub settings_file: PathBuf,
    /// On a box the socket of its first process, which keeps the settings.
    pub keeper: Option<PathBuf>,
    /// What is written into the ledger about settings that the service starts with.
    pub note: Option<String>,
    /// The file that says, when the service is asked to stop, why.
    pub stop_reason: Option<PathBuf>,
    /// Whether to let go of mode and states that were kept on the volume: a factory reset.
    pub forget: bool,
    /// Whether all mail, and the ledger with it, was destroyed just before: the first thing that a new ledger says.
    pub erased: bool,
}

/// Runs the service until SIGTERM or SIGINT asks it to stop. A second one does not wait for what is under way.
///
/// # Errors
/// Why it could not start, or was not stopped cleanly.
pub fn run(settings: Settings, options: &Options) -> Result<(), Error> {
    let started = Instant::now();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(BLOCKING_STACK_BYTES)
        .thread_name("reader")
        .build()
        .map_err(Error::System)?;
    let clock = Arc::new(Clock::new());
    let metrics = Arc::new(Metrics::default());
    let mut mounted = volume::open(&settings)?;
    if options.forget {
        forget(&mut mounted.spool).map_err(Error::Forget)?;
    }
    let name = mounted.spool.info().volume;
    let mount_ms = u64::try_from(mounted.took.as_millis()).unwrap_or(u64::MAX);
    let volume = deliver::Volume {
        saved: deliver::load(&mounted.spool),
        queued: storage::queued(&mounted.spool),
        seed: name.iter().fold(0, |seed, byte| seed.rotate_left(8) ^ u64::from(*byte)),
    };
    let Started { storage, answers, thread } =
        storage::start(mounted, &settings, Arc::clone(&clock), Arc::clone(&metrics))
            .map_err(Error::System)?;
    let daemon = Daemon {
        settings: Arc::new(settings),
        options: Arc::new(options.clone()),
        clock,
        metrics,
        storage: storage.clone(),
        mount_ms,
        started,
    };
    let served = runtime.block_on(daemon.serve(&volume, answers));
    // A thread that hangs in the system's resolver is not waited for.
    runtime.shutdown_timeout(READER_GRACE);
    storage.close();
    let closed = match thread.join() {
        Ok(closed) => closed.map_err(Error::Close),
        Err(_) => Err(Error::StorageGone),
    };
    served.and(closed)
}

/// Lets go of what the operator and the next hops left on the volume, apart from mail and ledger.
fn forget(spool: &mut volume::Spool) -> Result<(), penstock_spool::Error> {
    deliver::forget(spool)?;
    mode::forget(spool)?;
    spool.sync()
}

/// What all parts share.
struct Daemon {
    settings: Arc<Settings>,
    options: Arc<Options>,
    clock: Arc<Clock>,
    metrics: Arc<Metrics>,
    storage: Storage,
    mount_ms: u64,
    started: Instant,
}

impl Daemon {
    async fn serve(
        self,
        volume: &deliver::Volume,
        answers: mpsc::UnboundedReceiver<Vec<Answered>>,
    ) -> Result<(), Error> {
        let mut signals = Signals::new()?;
        let (stop, stopping) = watch::channel(false);
        let delivery = Delivery::new(
            Arc::clone(&self.settings),
            Arc::clone(&self.clock),
            Arc::clone(&self.metrics),
            self.storage.clone(),
            volume,
            stopping.clone(),
        )?;
        let listening = Listening::new(
            Arc::clone(&self.settings),
            Arc::clone(&self.clock),
            Arc::clone(&self.metrics),
            self.storage.clone(),
            stopping.clone(),
        )?;
        let mut dispatch = tokio::spawn(dispatch(answers, Arc::clone(&delivery)));
        let mut tasks = self.start(&listening, &delivery, &stopping)?;
        notify::ready();
        self.record(Kind::Started, "started").await;
        if self.options.erased {
            self.record(Kind::Removed, "all mail, and the ledger before this, was erased at the console")
                .await;
        }
        if self.options.forget {
            self.record(Kind::Mode, "mode and states of the next hops begin anew: factory reset").await;
        }
        if let Some(note) = &self.options.note {
            self.record(Kind::Settings, note).await;
        }

        tokio::select! {
            _ = &mut dispatch => return Err(Error::StorageGone),
            () = signals.next() => {}
        }
        info!("stopping: no new mail is taken, what is under way is finished");
        notify::stopping();
        // If all have gone there is nobody left to tell.
        let _ = stop.send(true);
        let finished = async {
            while tasks.join_next().await.is_some() {}
            listening.wait_until_empty().await;
            self.record(Kind::Stopped, &self.stop_reason()).await;
        };
        tokio::select! {
            _ = &mut dispatch => Err(Error::StorageGone),
            () = finished => Ok(()),
            () = tokio::time::sleep(STOP_GRACE) => {
                warn!(code = "PS-D240", "not everything ended in time; what was not acknowledged is dropped");
                Ok(())
            }
            () = signals.next() => Err(Error::Forced),
        }
    }

    /// Starts everything that serves somebody.
    fn start(
        &self,
        listening: &Arc<Listening>,
        delivery: &Arc<Delivery>,
        stopping: &watch::Receiver<bool>,
    ) -> Result<JoinSet<()>, Error> {
        let mut tasks = JoinSet::new();
        let socket = ControlSocket::bind(Path::new(self.settings.system.control_socket.as_str()))?;
        let operator = Operator {
            settings: Arc::clone(&self.settings),
            options: Arc::clone(&self.options),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            storage: self.storage.clone(),
            listening: Arc::clone(listening),
            delivery: Arc::clone(delivery),
            mount_ms: self.mount_ms,
            started: self.started,
        };
        for address in &self.settings.listen.addresses {
            let listener = listen::bind(*address)?;
            info!(%address, "listening");
            tasks.spawn(listen::accept(listener, Arc::clone(listening)));
        }
        tasks.spawn(socket.serve(Arc::new(operator), stop::signalled(stopping.clone())));
        tasks.spawn(Arc::clone(delivery).run());
        tasks.spawn(notify::watchdog(self.storage.clone(), stopping.clone()));
        Ok(tasks)
    }

    /// What is written into the ledger about the stop, with its reason if whoever asked for it left one.
    fn stop_reason(&self) -> String {
        let mut reason = String::new();
        if let Some(file) = self.options.stop_reason.as_deref().and_then(|path| File::open(path).ok()) {
            // What cannot be read is not known.
            let _ = file.take(STOP_REASON_BYTES_MAX).read_to_string(&mut reason);
        }
        match reason.lines().next() {
            Some(reason) if !reason.trim().is_empty() => format!("stopped: {}", reason.trim()),
            _ => "stopped".to_owned(),
        }
    }

    async fn record(&self, kind: Kind, text: &str) {
        let event: Event = kind.event(self.clock.stamp(), None, cut(text.to_owned()));
        if let Err(error) = self.storage.change(move |spool| spool.record_event(&event)).await {
            warn!(code = error.code(), %error, text, "that could not be written to the ledger");
        }
    }
}

/// Hands on what the storage thread answers, in its order.
async fn dispatch(mut answers: mpsc::UnboundedReceiver<Vec<Answered>>, delivery: Arc<Delivery>) {
    while let Some(batch) = answers.recv().await {
        for answered in batch {
            answered.deliver(&delivery);
        }
        delivery.wake();
    }
}

/// The signals that ask the daemon to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Error> {
        let terminate = signal(SignalKind::terminate()).map_err(Error::System)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(Error::System)?;
        Ok(Self { terminate, interrupt })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
