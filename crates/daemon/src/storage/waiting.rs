//! A storage thread without a volume: it opens it, and tries again until there is one.

use std::time::Instant;

use tracing::{info, warn};

use super::queue::Command;
use super::thread::{Answered, RETRY_AFTER};
use super::{Shared, State};
use crate::volume::{Mounted, Place};

/// Opens the volume. Whatever is asked meanwhile gets no answer, which whoever asks takes for what it is. `None` if the
/// daemon stops before there is one; `tell` is told of the first failure.
pub(super) fn wait_for(shared: &Shared, place: &Place, mut tell: impl FnMut(Answered)) -> Option<Mounted> {
    let mut commands = Vec::new();
    let mut is_first = true;
    loop {
        let error = match place.open() {
            Ok(mounted) => {
                if !is_first {
                    info!(
                        code = "PS-D202",
                        volume = place.store.as_str(),
                        "the volume is there; it is used again"
                    );
                }
                return Some(mounted);
            }
            Err(error) => error,
        };
        let is_of_other_version = error.is_of_other_version();
        shared.set(State::Absent, Some(error.to_string()), is_of_other_version);
        if std::mem::take(&mut is_first) {
            tell(Answered::Absent(place.store, error));
        } else {
            let code = if is_of_other_version { "PS-D208" } else { "PS-D203" };
            warn!(code, volume = place.store.as_str(), %error, "the volume still cannot be used");
        }
        let until = Instant::now() + RETRY_AFTER;
        while Instant::now() < until {
            shared.queue.wait(&mut commands, Some(until));
            if commands.drain(..).any(|command| matches!(command, Command::Close)) {
                return None;
            }
        }
    }
}
