//! The signal that the daemon is to stop, and futures that look at it.

use std::future::{Future, poll_fn};
use std::pin::Pin;

use tokio::sync::watch;

/// Runs a future that looks at the signal itself whenever it would wait: it is polled once more when the signal comes.
/// It comes pinned: what is moved into an asynchronous function takes its room there twice.
pub(crate) async fn woken<F: Future + Unpin>(
    mut stopping: watch::Receiver<bool>,
    mut future: F,
) -> F::Output {
    let mut stop = std::pin::pin!(stopping.wait_for(|stopping| *stopping));
    let mut stopped = false;
    poll_fn(|context| {
        stopped = stopped || stop.as_mut().poll(context).is_ready();
        Pin::new(&mut future).poll(context)
    })
    .await
}

/// Waits for the signal.
pub(crate) async fn signalled(mut stopping: watch::Receiver<bool>) {
    // Whoever held the other end is gone: that is a stop as well.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
