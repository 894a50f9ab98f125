//! From the settings to a daemon that runs, and to its end.

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
use crate::deliver::{self, Delivery, SourceAddresses};
use crate::ledger::Kind;
use crate::listen::{self, Listening};
use crate::metrics::Metrics;
use crate::operator::Operator;
use crate::storage::{self, Answered, Started, Storage};
use crate::{Error, notify, sandbox, stop, volume};

/// Threads that read mail from the volume or resolve names, at most. They come when needed and go again.
const BLOCKING_THREADS: usize = 16;
/// Their stack. The deepest that they call is the system's resolver.
const BLOCKING_STACK_BYTES: usize = 512 * 1024;
/// How long what is under way may take to end when the daemon stops.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// How long reads that are under way may take to end after that.
const READER_GRACE: Duration = Duration::from_secs(1);

/// What is not a setting. By default: a host that looks after its clock and its addresses itself, and no sandbox.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// On an appliance, whose first process sets clock and addresses: the file in which it says whether the clock is right.
    pub clock_file: Option<PathBuf>,
    /// Whether the process gives up the paths and calls that it does not need. That holds for all of it, so a process that
    /// does something else besides must not ask for it.
    pub sandbox: bool,
}

impl Options {
    /// From which addresses to connect to next hops.
    fn source_addresses(&self, settings: &Settings) -> SourceAddresses {
        let fixed = settings.client.source_addresses.iter().copied();
        // On any other host what the settings call the appliance's addresses are not its own.
        let ours = settings.network.addresses.iter().filter(|_| self.clock_file.is_some());
        SourceAddresses::first_of_each_family(fixed.chain(ours.map(|ours| ours.address)))
    }
}

/// Runs the service until SIGTERM or SIGINT asks it to stop. A second one does not wait for what is under way.
///
/// # Errors
/// Why it could not start, or was not stopped cleanly.
pub fn run(settings: Settings, options: &Options) -> Result<(), Error> {
    let started = Instant::now();
    if options.sandbox {
        sandbox::restrict_paths(&settings, options.clock_file.as_deref());
    }
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(BLOCKING_STACK_BYTES)
        .thread_name("reader")
        .build()
        .map_err(Error::System)?;
    let clock = Arc::new(Clock::new(options.clock_file.as_deref()));
    let metrics = Arc::new(Metrics::default());
    let mounted = volume::open(&settings)?;
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
        options: options.clone(),
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

/// What all parts share.
struct Daemon {
    settings: Arc<Settings>,
    options: Options,
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
            self.options.source_addresses(&self.settings),
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
        let follow =
            self.options.clock_file.clone().map(|file| tokio::spawn(Arc::clone(&self.clock).follow(file)));
        if self.options.sandbox {
            sandbox::restrict_calls();
        }
        notify::ready();
        self.record(Kind::Started, "started").await;

        tokio::select! {
            _ = &mut dispatch => return Err(Error::StorageGone),
            () = signals.next() => {}
        }
        info!("stopping: no new mail is taken, what is under way is finished");
        notify::stopping();
        // If all have gone there is nobody left to tell.
        let _ = stop.send(true);
        if let Some(follow) = follow {
            follow.abort();
        }
        let finished = async {
            while tasks.join_next().await.is_some() {}
            listening.wait_until_empty().await;
            self.record(Kind::Stopped, "stopped").await;
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

    async fn record(&self, kind: Kind, text: &str) {
        let event: Event = kind.event(self.clock.stamp(), None, text.to_owned());
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
