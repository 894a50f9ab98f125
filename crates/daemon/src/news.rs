//! What the first process of a box has to say of it goes into the ledger: which system was started and why, updates, what
//! proved itself and what was gone back from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::clock::Clock;
use crate::keeper::{self, News, Request};
use crate::ledger::Kind;
use crate::storage::Volumes;

/// How often it is asked.
const EVERY: Duration = Duration::from_secs(5);

/// Fetches it for good.
pub(crate) async fn fetch(keeper: PathBuf, volumes: Volumes, clock: Arc<Clock>) {
    loop {
        let socket = keeper.clone();
        let asked = tokio::task::spawn_blocking(move || keeper::ask::<News>(&socket, &Request::News)).await;
        // Who does not answer now is asked again.
        let sentences = asked.ok().and_then(Result::ok).map_or_else(Vec::new, |news| news.sentences);
        for sentence in sentences {
            if let Err(error) = volumes.record(Kind::Box.event(clock.stamp(), None, sentence)).await {
                warn!(code = error.code(), %error, "what became of the box could not be written to the ledger");
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}
