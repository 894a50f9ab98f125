//! From the settings to a daemon that runs, and to its end.

use std::sync::Arc;
use std::time::Duration;

use penstock_settings::Settings;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::deliver::{self, Delivery};
use crate::listen::{self, Listening};
use crate::metrics::Metrics;
use crate::storage::{self, Storage};
use crate::{Error, volume};

/// Threads that read mail from the volume or resolve names, at most. They come when needed and go again.
const BLOCKING_THREADS: usize = 16;
/// Their stack. The deepest that they call is the system's resolver.
const BLOCKING_STACK_BYTES: usize = 512 * 1024;
/// How long what is under way may take to end when the daemon stops.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// What is not a setting.
#[derive(Clone, Debug, Default)]
pub struct Options {}

/// Runs the service until it is told to stop by SIGTERM or SIGINT.
///
/// # Errors
/// Why it could not start, or was not stopped cleanly.
pub fn run(settings: Settings, _options: &Options) -> Result<(), Error> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(BLOCKING_STACK_BYTES)
        .thread_name("reader")
        .build()
        .map_err(Error::System)?;
    let settings = Arc::new(settings);
    let clock = Arc::new(Clock::new());
    let metrics = Arc::new(Metrics::default());
    let mounted = volume::open(&settings)?;
    let name = mounted.spool.info().volume;
    let volume = deliver::Volume {
        saved: deliver::load(&mounted.spool),
        queued: storage::queued(&mounted.spool),
        seed: name.iter().fold(0, |seed, byte| seed.rotate_left(8) ^ u64::from(*byte)),
    };
    let (storage, mut answers, thread) =
        storage::start(mounted, Arc::clone(&clock), Arc::clone(&metrics)).map_err(Error::System)?;
    let (stop, stopping) = watch::channel(false);
    let served = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let delivery = Delivery::new(
            Arc::clone(&settings),
            Arc::clone(&clock),
            Arc::clone(&metrics),
            storage.clone(),
            &volume,
            stopping.clone(),
        )?;
        drop(volume);
        let listening = Listening::new(
            Arc::clone(&settings),
            Arc::clone(&clock),
            Arc::clone(&metrics),
            storage.clone(),
            stopping,
        )?;
        let mut tasks = JoinSet::new();
        for address in &settings.listen.addresses {
            let listener = listen::bind(*address)?;
            info!(%address, "listening");
            tasks.spawn(listen::accept(listener, Arc::clone(&listening)));
        }
        tasks.spawn(Arc::clone(&delivery).run());
        let dispatch = async {
            while let Some(batch) = answers.recv().await {
                batch.into_iter().for_each(|answered| answered.deliver(&delivery));
                delivery.wake();
            }
        };
        tokio::pin!(dispatch);
        tokio::select! {
            () = &mut dispatch => return Err(Error::StorageGone),
            () = signals.next() => {}
        }
        info!("stopping: no new mail; what is under way is finished");
        // Nobody is left to be told if all have gone.
        let _ = stop.send(true);
        let finished = async {
            while tasks.join_next().await.is_some() {}
            listening.wait_until_empty().await;
        };
        tokio::select! {
            () = &mut dispatch => Err(Error::StorageGone),
            () = finished => Ok(()),
            () = tokio::time::sleep(STOP_GRACE) => {
                warn!(code = "PS-D240", "not everything ended in time; what was not acknowledged is dropped");
                Ok(())
            }
            () = signals.next() => Err(Error::Forced),
        }
    });
    drop(runtime);
    close(&storage, thread, served)
}

fn close(
    storage: &Storage,
    thread: std::thread::JoinHandle<Result<(), penstock_spool::Error>>,
    served: Result<(), Error>,
) -> Result<(), Error> {
    storage.close();
    let closed = match thread.join() {
        Ok(closed) => closed.map_err(Error::Close),
        Err(_) => Err(Error::StorageGone),
    };
    served.and(closed)
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
