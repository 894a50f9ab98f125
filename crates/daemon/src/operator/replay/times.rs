//! When kept mail was delivered. The index of a volume does not say so; the ledger does, for as long as it goes back.

use std::collections::BTreeMap;

use penstock_spool::{MessageId, Stamp};

use super::super::{unavailable, view};
use crate::control::Refusal;
use crate::ledger::Kind;
use crate::storage::Storage;
use crate::volume::Spool;

/// When something was delivered, in relation to a range of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Within,
    Outside,
    /// Nothing tells.
    Unknown,
}

/// When messages were last delivered, by number.
pub(super) type Times = BTreeMap<u64, Stamp>;

/// When each of these messages, in ascending order, was last delivered, as far as the ledger of their volume knows.
pub(super) async fn of(storage: &Storage, ids: Vec<MessageId>) -> Result<Times, Refusal> {
    let events = storage.look(Spool::events).await.map_err(unavailable)?;
    view::blocking(move || {
        let mut times = Times::new();
        for event in events.filter(|event| event.code == Kind::Delivered as u16) {
            if let Some(id) = event.message.filter(|id| ids.binary_search(id).is_ok()) {
                // They come in their order, so the last one counts.
                times.insert(id.0, event.at);
            }
        }
        times
    })
    .await
}

/// Where a delivery stands to the range from a moment up to another, which is outside.
pub(super) fn place(at: Option<&Stamp>, from_unix_ms: Option<u64>, until_unix_ms: Option<u64>) -> Place {
    if from_unix_ms.is_none() && until_unix_ms.is_none() {
        return Place::Within;
    }
    match at {
        Some(at) if at.trusted => {
            let is_early = from_unix_ms.is_some_and(|from| at.unix_ms < from);
            let is_late = until_unix_ms.is_some_and(|until| at.unix_ms >= until);
            if is_early || is_late { Place::Outside } else { Place::Within }
        }
        _ => Place::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_range_leaves_out_only_what_is_known_to_be_outside() {
        let at = |unix_ms, trusted| Stamp { unix_ms, boot: 1, trusted };
        for (delivered, from, until, expected) in [
            (Some(at(10, true)), None, None, Place::Within),
            (None, None, None, Place::Within),
            (Some(at(10, true)), Some(10), Some(11), Place::Within),
            (Some(at(10, true)), Some(11), None, Place::Outside),
            (Some(at(10, true)), None, Some(10), Place::Outside),
            (Some(at(10, false)), Some(11), None, Place::Unknown),
            (None, Some(11), None, Place::Unknown),
        ] {
            assert_eq!(place(delivered.as_ref(), from, until), expected, "{delivered:?} {from:?} {until:?}");
        }
    }
}
