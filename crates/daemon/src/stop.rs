//! The signal that the daemon is to stop, and futures that look at it.

use std::future::{Future, poll_fn};

use tokio::sync::watch;

/// Runs a future that looks at the signal itself whenever it would wait: it is polled once more when the signal comes.
pub(crate) async fn woken<F: Future>(mut stopping: watch::Receiver<bool>, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut stop = std::pin::pin!(stopping.wait_for(|stopping| *stopping));
    let mut stopped = false;
    poll_fn(|context| {
        stopped = stopped || stop.as_mut().poll(context).is_ready();
        future.as_mut().poll(context)
    })
    .await
}

/// Waits for the signal.
pub(crate) async fn signalled(mut stopping: watch::Receiver<bool>) {
    // Whoever held the other end is gone: that is a stop as well.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
