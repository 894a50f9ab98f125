//! All volumes of a box: which of them takes a message, and which one has it.
//!
//! The disk takes mail as long as it is well. While it is not (it is missing, a write failed, it does not answer) the
//! reserve does, each message up to [`RESERVE_MESSAGE_BYTES_MAX`]. What is on a volume is released from there. A message
//! is on one volume for all its life: none is ever moved to another.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use penstock_spool::{Error, Event};

use super::{State, Storage, numbers};
use crate::control::Store;
use crate::deliver::Delivery;
use crate::volume::Spool;

/// The largest message that the reserve takes, in bytes. A NOR flash holds some fifty megabytes: a few large messages
/// would leave no room for the many small ones that an outage brings.
pub(crate) const RESERVE_MESSAGE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// How often it is looked whether a volume is stuck.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// All volumes of a box.
#[derive(Clone)]
pub(crate) struct Volumes {
    /// The disk first.
    all: Arc<[Storage]>,
}

impl Volumes {
    pub(super) fn new(all: Vec<Storage>) -> Self {
        Self { all: all.into() }
    }

    /// All of them, the disk first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Storage> {
        self.all.iter()
    }

    /// The one that a message is on. `None` if the box has no such volume.
    pub(crate) fn of(&self, store: Store) -> Option<&Storage> {
        self.all().find(|storage| storage.store() == store)
    }

    /// The one that new mail goes to.
    pub(crate) fn taking(&self) -> Option<&Storage> {
        self.all().find(|storage| storage.is_well())
    }

    /// Whether there is one that can be written.
    pub(crate) fn is_any_well(&self) -> bool {
        self.taking().is_some()
    }

    /// The volume for a message of that size, by what is known now.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] if none takes mail, [`Error::Full`] if the one that does has no room for it.
    pub(crate) fn for_mail(&self, declared_bytes: Option<u64>) -> Result<&Storage, Error> {
        let storage = self.taking().ok_or(Error::ReadOnly)?;
        if storage.store() == Store::Nor && declared_bytes.unwrap_or(0) > RESERVE_MESSAGE_BYTES_MAX {
            return Err(Error::Full);
        }
        storage.check_room(declared_bytes).map(|()| storage)
    }

    /// Writes down something that is about no message, on the first volume that takes it.
    ///
    /// # Errors
    /// What the last volume says.
    pub(crate) async fn record(&self, event: Event) -> Result<(), Error> {
        self.record_on_one(&event).await.map(|_| ())
    }

    /// As [`record`](Self::record), and says which volume it was.
    async fn record_on_one(&self, event: &Event) -> Result<&Storage, Error> {
        let mut failed = Error::ReadOnly;
        for storage in self.all() {
            let event = event.clone();
            match storage.change(move |spool| spool.record_event(&event)).await {
                Ok(()) => return Ok(storage),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Writes something down, and looks whether the volume gives it back. The ledger is read from its beginning, which is a
    /// matter of a second at worst.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub(crate) async fn prove(&self, event: Event) -> Result<bool, Error> {
        let mut events = self.record_on_one(&event).await?.look(Spool::events).await?;
        let found = tokio::task::spawn_blocking(move || events.any(|found| found == event));
        Ok(found.await.unwrap_or(false))
    }

    /// Whether a storage thread lives.
    pub(crate) async fn live(&self) -> bool {
        for storage in self.all() {
            if storage.lives().await {
                return true;
            }
        }
        false
    }

    /// Asks all threads to close their volumes and end.
    pub(crate) fn close(&self) {
        self.all().for_each(Storage::close);
    }

    /// Looks after all volumes for good: notices which is stuck, and keeps their numbers in step.
    pub(crate) async fn watch(self, delivery: Arc<Delivery>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            for storage in self.all() {
                match storage.look_for_stall() {
                    Some(State::Stalled) => delivery.stalled(storage.store()),
                    Some(_) => {
                        delivery.answers_again(storage.store());
                        storage.tell_again();
                    }
                    None => storage.note_numbers(),
                }
            }
        }
    }
}

impl Storage {
    /// Notes on the volume how far the numbers have come, if it is time.
    fn note_numbers(&self) {
        let shared = &self.shared;
        let before = shared.noted_numbers.load(Relaxed);
        let Some(note) = shared.numbers.to_note(before).filter(|_| self.is_well()) else { return };
        shared.noted_numbers.store(note, Relaxed);
        let storage = self.clone();
        // Not waited for here: who waits for a volume that is stuck does not notice that it is.
        tokio::spawn(async move {
            if storage.change(move |spool| numbers::write(spool, note)).await.is_err() {
                storage.shared.noted_numbers.store(before, Relaxed);
            }
        });
    }
}
