//! Whether the name servers are alive, so that nobody waits for dead ones.
//!
//! That one look-up has no answer says nothing: perhaps the servers of that one domain are down, and whoever sends us mail can
//! make it so. After some in a row the name servers themselves are asked something that each of them knows. Only if they do
//! not answer that they count as dead: then nothing is looked up until they do, which is tried now and then.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{Name, RecordType};
use tracing::{info, warn};

use super::Failure;

/// So many look-ups in a row without an answer make it worth asking.
const MISSED_MAX: u32 = 3;
/// How long the servers have for an answer about the root.
const EXAMINATION: Duration = Duration::from_secs(2);
/// How often dead servers are tried again.
const TRIED_EVERY: Duration = Duration::from_secs(15);

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Health(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    missed: AtomicU32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    dead: bool,
    examining: bool,
    /// The end of the last examination.
    examined: Option<Instant>,
}

impl Health {
    pub(super) fn is_dead(&self) -> bool {
        self.0.state().dead
    }

    /// There was an answer.
    pub(super) fn answered(&self) {
        self.0.found(true);
    }

    /// There was none. Whether it is time to examine the servers.
    pub(super) fn missed(&self) -> bool {
        self.0.missed.fetch_add(1, Relaxed) + 1 >= MISSED_MAX
    }

    /// Finds out in the background, unless that is being done or was done a moment ago.
    pub(super) fn examine(&self, resolver: &TokioResolver) {
        {
            let mut state = self.0.state();
            let lately = state.examined.is_some_and(|examined| examined.elapsed() < TRIED_EVERY);
            if state.examining || (state.dead && lately) {
                return;
            }
            state.examining = true;
        }
        let (known, resolver) = (Arc::clone(&self.0), resolver.clone());
        tokio::spawn(async move {
            // An answer of an hour ago would be no answer.
            resolver.clear_lookup_cache(Name::root(), RecordType::NS);
            let asked = resolver.lookup(Name::root(), RecordType::NS);
            let answer = tokio::time::timeout(EXAMINATION, asked).await;
            let alive = answer.is_ok_and(|answer| answer.map_err(Failure::from).err() != Some(Failure::Late));
            known.state().examining = false;
            known.found(alive);
        });
    }
}

impl Known {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn found(&self, alive: bool) {
        let was_dead = {
            let mut state = self.state();
            if !alive {
                state.examined = Some(Instant::now());
            }
            std::mem::replace(&mut state.dead, !alive)
        };
        if alive {
            self.missed.store(0, Relaxed);
        }
        match (was_dead, alive) {
            (false, false) => warn!(
                code = "PS-D340",
                "the name servers do not answer: clients have no names, and mail is not checked by SPF, DKIM and DMARC until \
                 they do; mail is taken all the same"
            ),
            (true, true) => info!(code = "PS-D341", "the name servers answer again"),
            _ => {}
        }
    }
}
