//! What is known of messages beyond what the volume says: which are on their way, what was last said of those that
//! wait. In memory only, bounded, and gone with a restart: the ledger has all of it.

use std::collections::{BTreeMap, HashSet};

/// Messages of which it is kept in mind what was said; beyond it the oldest are forgotten.
const REMEMBERED_MAX: usize = 4096;
/// How much of it.
const SAID_BYTES_MAX: usize = 200;

/// What is known of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) in_flight: bool,
    /// When it is due again, in monotonic ms.
    pub(crate) due_mono_ms: Option<u64>,
    /// What the next hop last said about it.
    pub(crate) said: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Notes {
    /// As many as there are connections at most.
    in_flight: HashSet<u64>,
    /// Those among them that are to be offered once more.
    again: HashSet<u64>,
    remembered: BTreeMap<u64, (Option<u64>, Box<str>)>,
}

impl Notes {
    pub(super) fn begin(&mut self, id: u64) {
        self.in_flight.insert(id);
    }

    pub(super) fn end(&mut self, id: u64) {
        self.in_flight.remove(&id);
        self.remembered.remove(&id);
    }

    /// Marks it if it is in flight.
    pub(super) fn again(&mut self, id: u64) -> bool {
        let in_flight = self.in_flight.contains(&id);
        if in_flight {
            self.again.insert(id);
        }
        in_flight
    }

    pub(super) fn take_again(&mut self, id: u64) -> bool {
        self.again.remove(&id)
    }

    pub(super) fn remember(&mut self, id: u64, due_mono_ms: Option<u64>, said: &str) {
        let end = said.floor_char_boundary(SAID_BYTES_MAX);
        self.remembered.insert(id, (due_mono_ms, said[..end].into()));
        if self.remembered.len() > REMEMBERED_MAX {
            self.remembered.pop_first();
        }
    }

    pub(super) fn get(&self, id: u64) -> Note {
        let in_flight = self.in_flight.contains(&id);
        let remembered = self.remembered.get(&id);
        Note {
            in_flight,
            due_mono_ms: remembered.and_then(|(due, _)| *due),
            said: remembered.map(|(_, said)| said.to_string()).filter(|said| !said.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_known_until_the_next_attempt_ends() {
        let mut notes = Notes::default();
        notes.remember(7, Some(1000), "451 later");
        assert_eq!(
            notes.get(7),
            Note { in_flight: false, due_mono_ms: Some(1000), said: Some("451 later".into()) }
        );
        notes.begin(7);
        assert!(notes.get(7).in_flight && notes.again(7) && !notes.again(8));
        notes.end(7);
        assert_eq!(notes.get(7), Note::default());
        assert!(notes.take_again(7) && !notes.take_again(7));
    }

    #[test]
    fn no_queue_makes_it_grow_without_end() {
        let mut notes = Notes::default();
        (0..2 * REMEMBERED_MAX as u64).for_each(|id| notes.remember(id, None, &"é".repeat(SAID_BYTES_MAX)));
        assert_eq!(notes.remembered.len(), REMEMBERED_MAX);
        assert_eq!(notes.get(0), Note::default());
        assert!(
            notes.get(2 * REMEMBERED_MAX as u64 - 1).said.is_some_and(|said| said.len() <= SAID_BYTES_MAX)
        );
    }
}
