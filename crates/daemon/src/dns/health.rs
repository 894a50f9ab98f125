//! Whether the name servers are alive, so that nobody waits for dead ones.
//!
//! That one look-up has no answer says nothing: perhaps the servers of that one domain are down, and whoever sends us mail can
//! make it so. That another has one says nothing either: it may have been kept from an hour ago. So when an answer is missed
//! the name servers themselves are asked something that each of them knows. Only if they do not answer that they count as
//! dead: then nothing is looked up until they do, which is tried now and then.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{Name, RecordType};
use tracing::{info, warn};

use super::Failure;

/// How long the servers have for an answer about the root.
const EXAMINATION: Duration = Duration::from_secs(2);
/// How often they are asked for it at most.
const EXAMINED_EVERY: Duration = Duration::from_secs(5);

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Health(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    dead: bool,
    examining: bool,
    /// The end of the last examination.
    examined: Option<Instant>,
}

impl Health {
    pub(super) fn is_dead(&self) -> bool {
        lock(&self.0).dead
    }

    /// Other servers are asked from now on.
    pub(super) fn forget(&self) {
        found(&self.0, true);
    }

    /// Finds out in the background, unless that is being done or was done a moment ago.
    pub(super) fn examine(&self, resolver: &TokioResolver) {
        {
            let mut state = lock(&self.0);
            if state.examining || state.examined.is_some_and(|examined| examined.elapsed() < EXAMINED_EVERY) {
                return;
            }
            state.examining = true;
        }
        let (state, resolver) = (Arc::clone(&self.0), resolver.clone());
        tokio::spawn(async move {
            // An answer of an hour ago would be no answer.
            resolver.clear_lookup_cache(Name::root(), RecordType::NS);
            let asked = resolver.lookup(Name::root(), RecordType::NS);
            let answer = tokio::time::timeout(EXAMINATION, asked).await;
            let alive = answer.is_ok_and(|answer| answer.map_err(Failure::from).err() != Some(Failure::Late));
            {
                let mut state = lock(&state);
                state.examining = false;
                state.examined = Some(Instant::now());
            }
            found(&state, alive);
        });
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn found(state: &Mutex<State>, alive: bool) {
    let was_dead = std::mem::replace(&mut lock(state).dead, !alive);
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
