//! The box's list of recipients, with the mailbox database of each, as the site's administrators export it.
//!
//! It says who is *known good*: a server that refuses several of them is not itself. And when one of several
//! databases is gone it says whose mail has to wait. Nothing is decided here; [`Directory::find`] is for those who
//! decide.
//!
//! A list is read on a thread of its own ([`Reading`]), is in memory as hashes (`list`), and is kept on every volume
//! that has room for it (`kept`). A list counts when all of it is on a volume, and until then the one before it does.

mod address;
mod gather;
mod kept;
mod list;
mod reading;
mod table;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use penstock_spool::Error as SpoolError;
use tokio::sync::{Mutex, MutexGuard};
use tracing::{error, info, warn};

use crate::control::Store;
use crate::storage::{Storage, Volumes};
pub(crate) use address::{Mailbox, ascii_domain};
pub(crate) use gather::Gather;
use kept::{Content, Head, ToKeep, Wrote};
#[cfg(test)]
pub(crate) use list::tests::list;
pub(crate) use list::{Entry, List};
pub(crate) use reading::{FILE_BYTES_MAX, Mistakes, Read, Reading};

/// How often it is looked whether a volume has come that lacks the list, or knows a newer one.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a volume that could not be written to is left alone, in looks.
const LOOKS_TO_REST: u32 = 30;

/// The list that counts, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    state: RwLock<State>,
    /// What parts a tag from its mailbox.
    delimiter: Option<char>,
    /// Held while a volume is read or written.
    turn: Mutex<()>,
    /// Held by an operator who changes the list, from the first byte of a file on.
    change: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    count: u64,
    list: Option<Arc<List>>,
    /// There is a list, and no volume gives it out.
    is_unreadable: bool,
    /// Somebody changed it since the start: no volume that comes knows better.
    is_decided: bool,
    /// The volumes that were seen to have what counts.
    on: BTreeMap<Store, Wrote>,
    /// When the list was taken in, in ms of this run; `None` if before it.
    imported_mono_ms: Option<u64>,
}

/// Which lists a volume has, and the list itself if it can be had.
struct Found {
    head: Head,
    list: Option<List>,
    is_unreadable: bool,
}

impl Directory {
    /// The list as the volumes have it that can be read.
    pub(crate) async fn load(volumes: &Volumes, delimiter: Option<char>) -> Self {
        let directory = Self { delimiter, ..Self::default() };
        for storage in volumes.all() {
            if let Some(found) = look(storage).await {
                directory.take(storage.store(), found);
            }
        }
        let state = directory.read();
        if state.is_unreadable {
            error!(
                code = "PS-D297",
                "the list of recipients cannot be read: none counts until one is imported"
            );
        } else if let Some(list) = &state.list {
            info!(
                addresses = list.len(),
                databases = list.about.databases.len(),
                "there is a list of recipients"
            );
        }
        drop(state);
        directory
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a recipient, its address as it stands in RCPT. `None` if it is not on the list, or there is
    /// none.
    pub(crate) fn find(&self, address: &str) -> Option<Entry> {
        // Nobody waits for the one who hashes.
        let list = self.list()?;
        self.find_in(&list, &Mailbox::parse(address)?)
    }

    /// What a list says of a mailbox, which need not be the one that counts.
    pub(crate) fn find_in(&self, list: &List, mailbox: &Mailbox) -> Option<Entry> {
        list.find(mailbox, self.delimiter)
    }

    /// What parts a tag from a mailbox.
    pub(crate) fn delimiter(&self) -> Option<char> {
        self.delimiter
    }

    /// Has a list count that is on no volume.
    #[cfg(test)]
    pub(crate) fn set(&self, list: List) {
        self.write().list = Some(Arc::new(list));
    }

    /// The list that counts.
    pub(crate) fn list(&self) -> Option<Arc<List>> {
        self.read().list.clone()
    }

    /// When the list that counts was imported, in ms of this run; `None` if before it.
    pub(crate) fn imported_mono_ms(&self) -> Option<u64> {
        self.read().imported_mono_ms
    }

    /// Whether there is a list that no volume gives out.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.read().is_unreadable
    }

    /// The volumes that the list is on.
    pub(crate) fn volumes(&self) -> Vec<Store> {
        let state = self.read();
        let here = state.on.iter().filter(|(_, wrote)| **wrote == Wrote::Here).map(|(store, _)| *store);
        here.filter(|_| state.list.is_some()).collect()
    }

    /// Lets an operator change the list; `None` while another one does.
    pub(crate) fn try_change(&self) -> Option<MutexGuard<'_, ()>> {
        self.change.try_lock().ok()
    }

    /// Puts another list in the place of this one, or none; of when it is in ms of this run. It is durable on at least one volume when this returns
    /// `Ok`.
    ///
    /// # Errors
    /// What the last volume said, if it is durable on none: then everything is as it was.
    pub(crate) async fn replace(
        &self,
        volumes: &Volumes,
        list: Option<List>,
        imported_mono_ms: Option<u64>,
    ) -> Result<(), SpoolError> {
        let _turn = self.turn.lock().await;
        let list = list.map(Arc::new);
        let count = self.read().count + 1;
        let to_keep = ToKeep { count, bytes: bytes(list.clone()).await? };
        let (mut on, mut kept) = (BTreeMap::new(), Err(SpoolError::ReadOnly));
        // Whether it may come to be on a volume that did not say so.
        let mut is_in_doubt = false;
        for storage in volumes.all().filter(|storage| storage.is_well()) {
            if kept.is_err() && kept::is_too_large(storage, &to_keep) {
                // That there is a list elsewhere is said only when it is there.
                kept = Err(SpoolError::Full);
                continue;
            }
            match kept::write(storage, &to_keep).await {
                Ok(wrote) => {
                    on.insert(storage.store(), wrote);
                    kept = Ok(());
                }
                Err(error) => {
                    let volume = storage.store().as_str();
                    warn!(code = "PS-D298", volume, %error, "the list of recipients could not be written to it");
                    is_in_doubt |= error != SpoolError::Full;
                    kept = kept.or(Err(error));
                }
            }
        }
        let mut state = self.write();
        if kept.is_ok() {
            *state = State { count, list, is_unreadable: false, is_decided: true, on, imported_mono_ms };
        } else if is_in_doubt {
            // The volume is told again of the list that counts.
            state.count = count + 1;
            state.on.clear();
        }
        kept
    }

    /// Takes note of what a volume has. Whether it lacks what counts.
    fn take(&self, store: Store, found: Found) -> bool {
        let Found { head, list, is_unreadable } = found;
        let mut state = self.write();
        if head.count > state.count {
            if state.is_decided {
                state.count = head.count + 1;
                state.on.clear();
                return true;
            }
            let is_unreadable = list.is_none() && head.content != Content::Nothing;
            *state = State { count: head.count, list: list.map(Arc::new), is_unreadable, ..State::default() };
        } else if head.count < state.count {
            return !state.is_unreadable;
        } else if state.is_unreadable && list.is_some() {
            // This volume has what the other one could not give out, which is therefore looked at again.
            *state = State { count: head.count, list: list.map(Arc::new), ..State::default() };
        } else if is_unreadable && state.list.is_some() {
            return true;
        } else {
            state.is_unreadable |= is_unreadable;
        }
        let is_here = !state.is_unreadable && head.content != Content::Elsewhere;
        state.on.insert(store, if is_here { Wrote::Here } else { Wrote::Elsewhere });
        false
    }

    /// Looks for good after volumes that come: gives them the list, or takes theirs if it is newer.
    pub(crate) async fn keep_in_step(self: Arc<Self>, volumes: Volumes) {
        let mut rests: BTreeMap<Store, u32> = BTreeMap::new();
        let mut tidied = BTreeSet::new();
        loop {
            for storage in volumes.all() {
                let store = storage.store();
                if !storage.is_well() {
                    // What comes back may be another one.
                    self.write().on.remove(&store);
                    tidied.remove(&store);
                    continue;
                }
                let rest = rests.entry(store).or_default();
                *rest = rest.saturating_sub(1);
                let is_in_step = self.read().on.contains_key(&store) && tidied.contains(&store);
                if is_in_step || *rest > 0 {
                    continue;
                }
                if self.bring_into_step(storage).await.is_ok() {
                    tidied.insert(store);
                } else {
                    *rest = LOOKS_TO_REST;
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn bring_into_step(&self, storage: &Storage) -> Result<(), SpoolError> {
        let _turn = self.turn.lock().await;
        let found = look(storage).await.ok_or(SpoolError::ReadOnly)?;
        if !self.take(storage.store(), found) {
            return kept::tidy(storage).await;
        }
        let (count, list) = {
            let state = self.read();
            (state.count, state.list.clone())
        };
        let to_keep = ToKeep { count, bytes: bytes(list).await? };
        let wrote = kept::write(storage, &to_keep).await.inspect_err(|error| {
            let volume = storage.store().as_str();
            warn!(code = "PS-D298", volume, %error, "the list of recipients is not on it yet");
        })?;
        self.write().on.insert(storage.store(), wrote);
        Ok(())
    }
}

/// What a volume has; `None` if it cannot be asked.
async fn look(storage: &Storage) -> Option<Found> {
    let (head, bytes) = storage
        .look(|spool| {
            let head = Head::read(spool);
            let bytes = head.and_then(|head| head.bytes(spool));
            (head, bytes)
        })
        .await
        .ok()?;
    let is_torn = head.is_err() || bytes.is_err();
    let list = match bytes.ok().flatten() {
        // On a thread of its own, since it sorts.
        Some(bytes) => tokio::task::spawn_blocking(move || List::decode(&bytes)).await.ok()?,
        None => None,
    };
    let head = head.unwrap_or_default();
    let is_unreadable = is_torn || matches!(head.content, Content::Here { .. }) && list.is_none();
    if is_unreadable {
        warn!(
            code = "PS-D297",
            volume = storage.store().as_str(),
            "the list of recipients on it cannot be read"
        );
    }
    Some(Found { head, list, is_unreadable })
}

/// A list as it is kept.
///
/// # Errors
/// [`SpoolError::ReadOnly`] while the daemon stops.
async fn bytes(list: Option<Arc<List>>) -> Result<Option<Arc<[u8]>>, SpoolError> {
    let Some(list) = list else { return Ok(None) };
    let bytes = tokio::task::spawn_blocking(move || list.encode().into()).await;
    bytes.map(Some).map_err(|_| SpoolError::ReadOnly)
}

#[cfg(test)]
mod tests {
    use super::list::tests::list;
    use super::*;

    fn found(count: u64, content: Content, list: Option<List>) -> Found {
        let is_unreadable = matches!(content, Content::Here { .. }) && list.is_none();
        Found { head: Head { count, content }, list, is_unreadable }
    }

    const HERE: Content = Content::Here { place: b'a', len_bytes: 0, sha256: [0; 32] };

    fn one(address: &str) -> Option<List> {
        Some(list([(address, "")]))
    }

    fn knows(directory: &Directory, address: &str) -> bool {
        directory.find(address).is_some()
    }

    #[test]
    fn of_two_volumes_the_one_with_the_newer_list_is_right() {
        let directory = Directory::default();
        assert!(!directory.take(Store::Disk, found(1, HERE, one("old@x.org"))));
        assert!(!directory.take(Store::Nor, found(2, HERE, one("new@x.org"))));
        assert!(knows(&directory, "new@x.org") && !knows(&directory, "old@x.org"));
        assert!(directory.take(Store::Disk, found(1, HERE, one("old@x.org"))), "it is given the newer one");
        assert!(knows(&directory, "new@x.org"));
        assert_eq!(directory.volumes(), [Store::Nor]);
    }

    #[test]
    fn a_list_that_was_cleared_does_not_come_back_with_a_volume_that_was_away() {
        let directory = Directory::default();
        assert!(!directory.take(Store::Disk, found(2, Content::Nothing, None)));
        assert!(directory.take(Store::Nor, found(1, HERE, one("old@x.org"))));
        assert!(!knows(&directory, "old@x.org") && !directory.is_unreadable());
    }

    #[test]
    fn no_older_list_counts_in_the_place_of_one_that_cannot_be_read() {
        let directory = Directory::default();
        assert!(!directory.take(Store::Disk, found(2, HERE, None)));
        assert!(!directory.take(Store::Nor, found(1, HERE, one("old@x.org"))));
        assert!(directory.is_unreadable() && !knows(&directory, "old@x.org"));
    }

    #[test]
    fn what_one_volume_cannot_give_out_the_other_one_does_and_the_first_is_written_again() {
        for unreadable in [HERE, Content::Elsewhere] {
            let directory = Directory::default();
            directory.take(Store::Disk, found(2, unreadable, None));
            assert!(directory.is_unreadable());
            assert!(!directory.take(Store::Nor, found(2, HERE, one("mia@x.org"))));
            assert!(knows(&directory, "mia@x.org") && !directory.is_unreadable());
            let lacks = directory.take(Store::Disk, found(2, unreadable, None));
            assert_eq!(lacks, unreadable == HERE, "one that is too small for it is in step");
            assert_eq!(directory.volumes(), [Store::Nor]);
        }
    }

    #[test]
    fn what_was_decided_while_a_volume_was_away_wins_over_what_it_brings() {
        let directory = Directory::default();
        *directory.write() =
            State { count: 3, list: one("now@x.org").map(Arc::new), is_decided: true, ..State::default() };
        assert!(directory.take(Store::Nor, found(7, HERE, one("then@x.org"))));
        assert!(knows(&directory, "now@x.org"));
        assert_eq!(directory.read().count, 8);
    }
}
