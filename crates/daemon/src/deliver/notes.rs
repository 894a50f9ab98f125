//! What is known of messages beyond what the volume says: which are on their way, what was last said of those that
//! wait. In memory only, bounded, and gone with a restart: the ledger has all of it.

use std::collections::{BTreeMap, HashSet};

use crate::control::MailId;

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
    in_flight: HashSet<MailId>,
    /// Those among them that are to be offered once more.
    again: HashSet<MailId>,
    /// By key, so that the oldest comes first.
    remembered: BTreeMap<u64, (Option<u64>, Box<str>)>,
}

impl Notes {
    pub(super) fn begin(&mut self, id: MailId) {
        self.in_flight.insert(id);
    }

    pub(super) fn end(&mut self, id: MailId) {
        self.in_flight.remove(&id);
        self.remembered.remove(&id.key());
    }

    pub(super) fn is_in_flight(&self, id: MailId) -> bool {
        self.in_flight.contains(&id)
    }

    /// Marks it if it is in flight.
    pub(super) fn again(&mut self, id: MailId) -> bool {
        let in_flight = self.in_flight.contains(&id);
        if in_flight {
            self.again.insert(id);
        }
        in_flight
    }

    pub(super) fn take_again(&mut self, id: MailId) -> bool {
        self.again.remove(&id)
    }

    pub(super) fn remember(&mut self, id: MailId, due_mono_ms: Option<u64>, said: &str) {
        let end = said.floor_char_boundary(SAID_BYTES_MAX);
        self.remembered.insert(id.key(), (due_mono_ms, said[..end].into()));
        if self.remembered.len() > REMEMBERED_MAX {
            self.remembered.pop_first();
        }
    }

    pub(super) fn get(&self, id: MailId) -> Note {
        let in_flight = self.in_flight.contains(&id);
        let remembered = self.remembered.get(&id.key());
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

    const ID: MailId = MailId::disk(7);

    #[test]
    fn what_was_said_is_known_until_the_next_attempt_ends() {
        let mut notes = Notes::default();
        notes.remember(ID, Some(1000), "451 later");
        assert_eq!(
            notes.get(ID),
            Note { in_flight: false, due_mono_ms: Some(1000), said: Some("451 later".into()) }
        );
        notes.begin(ID);
        assert!(notes.get(ID).in_flight && notes.again(ID) && !notes.again(MailId::disk(8)));
        notes.end(ID);
        assert_eq!(notes.get(ID), Note::default());
        assert!(notes.take_again(ID) && !notes.take_again(ID));
    }

    #[test]
    fn no_queue_makes_it_grow_without_end() {
        let mut notes = Notes::default();
        (0..2 * REMEMBERED_MAX as u64)
            .for_each(|id| notes.remember(MailId::disk(id), None, &"é".repeat(SAID_BYTES_MAX)));
        assert_eq!(notes.remembered.len(), REMEMBERED_MAX);
        assert_eq!(notes.get(MailId::disk(0)), Note::default());
        assert!(
            notes
                .get(MailId::disk(2 * REMEMBERED_MAX as u64 - 1))
                .said
                .is_some_and(|said| said.len() <= SAID_BYTES_MAX)
        );
    }
}
