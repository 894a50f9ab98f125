//! The watch over what the machine has left for sessions: file descriptors and memory.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::Listening;
use super::limits::{DESCRIPTORS_RESERVED, Reading, Shortage};

/// How often it is looked, and how often while there are no sessions.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_IDLE: Duration = Duration::from_secs(5);
/// The part of the sessions that ends at each look while something is short, if so many do nothing.
const SHED_PART: u32 = 8;

/// Looks until the daemon stops. While something is short, sessions that do nothing are ended.
pub(crate) async fn watch_resources(listening: Arc<Listening>) {
    let (limits, settings) = (&listening.limits, &listening.settings.listen);
    let mut stopping = listening.stopping.clone();
    let wanted = u64::from(settings.connections_max) + 2 * DESCRIPTORS_RESERVED;
    if let Some(max) = Reading::now().descriptors_max.filter(|max| *max < wanted) {
        warn!(
            code = "PS-D227",
            max,
            wanted,
            "there are fewer file descriptors than listen.connections_max may need: raise the limit on open files"
        );
    }
    loop {
        for (shortage, began) in limits.look(Reading::now()) {
            tell(shortage, began, limits.reading());
        }
        if limits.shortage().is_some() {
            let most = limits.sessions() / SHED_PART + 1;
            let ended = limits.shed(most as usize);
            listening.metrics.sessions_displaced.add(ended as u64);
        }
        let pause = if limits.places() > 0 || limits.shortage().is_some() { PAUSE } else { PAUSE_IDLE };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}

fn tell(shortage: Shortage, began: bool, reading: Reading) {
    let Reading { descriptors, descriptors_max, memory_free_bytes } = reading;
    match (shortage, began) {
        (Shortage::Descriptors, true) => warn!(
            code = "PS-D227",
            descriptors,
            descriptors_max,
            "file descriptors run short: idle sessions end, and nobody is let in without one"
        ),
        (Shortage::Memory, true) => warn!(
            code = "PS-D228",
            memory_free_bytes, "memory runs short: idle sessions end, and nobody is let in without one"
        ),
        (_, false) => {
            let what = shortage.as_str();
            info!(code = "PS-D229", what, descriptors, memory_free_bytes, "what ran short is there again");
        }
    }
}
