//! From the settings to a daemon that runs, and to its end.

use std::sync::Arc;

use penstock_settings::Settings;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tracing::info;

use crate::clock::Clock;
use crate::listen::{self, Listening};
use crate::metrics::Metrics;
use crate::storage;
use crate::{Error, volume};

/// Threads that read mail from the volume.
const READING_THREADS: usize = 4;
/// Their stack: they read and check, and call nothing deep.
const READING_STACK_BYTES: usize = 256 * 1024;

/// What is not a setting.
#[derive(Clone, Debug, Default)]
pub struct Options {}

/// Runs the service until it is told to stop.
///
/// # Errors
/// Why it could not start, or was not stopped cleanly.
pub fn run(settings: Settings, _options: &Options) -> Result<(), Error> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(READING_THREADS)
        .thread_stack_size(READING_STACK_BYTES)
        .thread_name("reader")
        .build()
        .map_err(Error::System)?;
    let settings = Arc::new(settings);
    let clock = Arc::new(Clock::new());
    let metrics = Arc::new(Metrics::default());
    let mounted = volume::open(&settings)?;
    let (storage, mut answers, thread) =
        storage::start(mounted, Arc::clone(&clock), Arc::clone(&metrics)).map_err(Error::System)?;
    let (stop, stopping) = watch::channel(false);
    let served = runtime.block_on(async {
        let listening = Listening::new(
            Arc::clone(&settings),
            Arc::clone(&clock),
            Arc::clone(&metrics),
            storage.clone(),
            stopping,
        )?;
        for address in &settings.listen.addresses {
            let listener = listen::bind(*address)?;
            info!(%address, "listening");
            tokio::spawn(listen::accept(listener, Arc::clone(&listening)));
        }
        let dispatch = async {
            while let Some(batch) = answers.recv().await {
                batch.into_iter().for_each(|answered| answered.deliver(|_| {}));
            }
        };
        let signal = tokio::signal::ctrl_c();
        tokio::select! {
            () = dispatch => {}
            _ = signal => {}
        }
        let _ = stop.send(true);
        Ok(())
    });
    storage.close();
    drop(runtime);
    match thread.join() {
        Ok(closed) => closed.map_err(Error::Close)?,
        Err(_) => return Err(Error::StorageGone),
    }
    served
}
