//! What the first process of a box has to say of it goes into the ledger: which system was started and why, updates, what
//! proved itself and what was gone back from.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, warn};

use crate::clock::Clock;
use crate::keeper::{self, NEWS_MAX, News, Request};
use crate::ledger::Kind;
use crate::stop;
use crate::storage::Volumes;

/// How often it is asked.
const EVERY: Duration = Duration::from_secs(5);

/// Fetches it until the service stops, and once more then: an update ends with a restart.
pub(crate) async fn fetch(
    keeper: PathBuf,
    volumes: Volumes,
    clock: Arc<Clock>,
    stopping: watch::Receiver<bool>,
) {
    let mut unwritten = VecDeque::new();
    loop {
        let is_last = *stopping.borrow();
        let socket = keeper.clone();
        let asked = tokio::task::spawn_blocking(move || keeper::ask::<News>(&socket, &Request::News)).await;
        match asked {
            Ok(Ok(news)) => unwritten.extend(news.sentences),
            // It is asked again.
            Ok(Err(why)) => debug!(code = why.code, why = why.message, "nothing is heard of the box"),
            Err(_) => {}
        }
        while let Some(sentence) = unwritten.front() {
            let event = Kind::Box.event(clock.stamp(), None, sentence.clone());
            if let Err(error) = volumes.record(event).await {
                warn!(code = error.code(), %error, "what became of the box cannot be written to the ledger now");
                break;
            }
            unwritten.pop_front();
        }
        unwritten.drain(..unwritten.len().saturating_sub(NEWS_MAX));
        if is_last {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop::signalled(stopping.clone()) => {}
        }
    }
}
