//! Entries of the ledger that nobody waits for: written together, some at a time, since each sync costs the volume a page.
//!
//! What is told so is of use and not owed: a power cut may lose the last of it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use penstock_spool::Event;
use tokio::sync::Notify;
use tracing::warn;

use crate::control::Store;
use crate::storage::Volumes;

/// How long the first entry waits for others.
const GATHER: Duration = Duration::from_millis(500);
/// Entries that wait at most; beyond it they are dropped, and counted. Each has some hundred bytes.
const WAITING_MAX: usize = 2000;

/// What waits to be written.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    waiting: Mutex<Waiting>,
    some: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    events: Vec<(Store, Event)>,
    dropped: u64,
}

impl Notes {
    /// Has an event written on that volume.
    pub(crate) fn add(&self, store: Store, event: Event) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.events.len() < WAITING_MAX {
            waiting.events.push((store, event));
            self.some.notify_one();
        } else {
            waiting.dropped += 1;
        }
    }

    /// Writes what comes, for good.
    pub(crate) async fn run(&self, volumes: &Volumes) {
        loop {
            self.some.notified().await;
            tokio::time::sleep(GATHER).await;
            self.write(volumes).await;
        }
    }

    /// Writes what waits.
    pub(crate) async fn write(&self, volumes: &Volumes) {
        let Waiting { events, dropped } =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let mut lost = dropped;
        for storage in volumes.all() {
            let here = events.iter().filter(|(store, _)| *store == storage.store());
            let here: Vec<Event> = here.map(|(_, event)| event.clone()).collect();
            let count = here.len() as u64;
            if count == 0 {
                continue;
            }
            let written =
                storage.change(move |spool| here.iter().try_for_each(|event| spool.record_event(event)));
            if written.await.is_err() {
                lost += count;
            }
        }
        if lost > 0 {
            warn!(
                code = "PS-D346",
                lost, "entries of the ledger could not be written, which is told only here"
            );
        }
    }
}
