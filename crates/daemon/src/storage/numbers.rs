//! The numbers of messages, in step over all volumes: so that the higher one is the younger, wherever it is.
//!
//! Each volume counts for itself. Before it gives a number out it passes over all that another gave out before. What the
//! others have given out is noted on each volume now and then, for a start at which one of them is away.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use penstock_spool::MessageId;

use crate::ledger::META_NUMBERS;
use crate::volume::Spool;

/// How far ahead a note reaches: so many messages are taken with one note.
const AHEAD: u64 = 4096;
const KEY: &[u8] = b"below";

/// The numbers of all volumes.
#[derive(Debug)]
pub(super) struct Numbers {
    volumes: usize,
    /// How many of them were mounted since the start.
    mounted: AtomicUsize,
    /// Numbers below this one may have been given out.
    next: AtomicU64,
    /// The highest note that was found: what a volume that is away has given out is below it.
    noted: AtomicU64,
}

impl Numbers {
    pub(super) fn new(volumes: usize) -> Self {
        Self { volumes, mounted: AtomicUsize::new(0), next: AtomicU64::new(0), noted: AtomicU64::new(0) }
    }

    /// Takes in what a volume knows. Gives its note.
    pub(super) fn mounted(&self, spool: &Spool, is_first: bool) -> u64 {
        self.next.fetch_max(spool.next_id().0, Relaxed);
        let note = spool.meta(META_NUMBERS, KEY).and_then(|note| note.try_into().ok());
        let note = note.map_or(0, u64::from_le_bytes);
        self.noted.fetch_max(note, Relaxed);
        if is_first {
            self.mounted.fetch_add(1, Relaxed);
        }
        note
    }

    /// Has the next message of a volume come after all others.
    pub(super) fn before_message(&self, spool: &mut Spool) {
        let next = self.next.load(Relaxed);
        let one_is_away = self.mounted.load(Relaxed) < self.volumes;
        spool.skip_ids(MessageId(if one_is_away { next.max(self.noted.load(Relaxed)) } else { next }));
    }

    /// A number was given out.
    pub(super) fn given(&self, id: MessageId) {
        self.next.fetch_max(id.0 + 1, Relaxed);
    }

    /// What a volume with such a note has to note anew, if anything.
    pub(super) fn to_note(&self, note: u64) -> Option<u64> {
        let next = self.next.load(Relaxed);
        (self.volumes > 1 && next > note).then_some(next + AHEAD)
    }
}

/// Writes a note.
pub(super) fn write(spool: &mut Spool, note: u64) -> Result<(), penstock_spool::Error> {
    spool.put_meta(META_NUMBERS, KEY, &note.to_le_bytes())
}
