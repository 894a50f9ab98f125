//! What the box must remember that belongs to no message: its mode, who set it and why, how the next hops stand.
//!
//! It is kept on every volume that can be written, all of it each time, with a count. Where volumes differ the highest
//! count is right: the other one was away when something changed. So it outlives whichever volume is lost, and a volume
//! that comes back is brought up to date before anything is read from it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use penstock_spool::{Error, META_VALUE_BYTES_MAX};
use tracing::warn;

use crate::ledger::META_RELEASE;
use crate::storage::{Storage, Volumes};
use crate::volume::Spool;

/// Under which keys of [`META_RELEASE`] something is kept: the pieces of release's own state, the mode's history, what
/// the next hops take, what is said to unknown recipients, which next hops look at recipients, …
const KEYS: [&[u8]; 12] = [
    b"state0",
    b"state1",
    b"state2",
    b"state3",
    b"state4",
    b"state5",
    b"state6",
    b"state7",
    b"mode",
    b"ehlo",
    b"recipients",
    b"validation",
];
/// … those of the certificate that clients are shown, with its key, …
pub(crate) const OWN_CERTIFICATE: [&[u8]; 12] = [
    b"cert0", b"cert1", b"cert2", b"cert3", b"cert4", b"cert5", b"cert6", b"cert7", b"cert8", b"cert9",
    b"certa", b"certb",
];
/// How much of it there is room for.
pub(crate) const OWN_CERTIFICATE_BYTES_MAX: usize = OWN_CERTIFICATE.len() * META_VALUE_BYTES_MAX;
/// … and those of what next hops have shown.
pub(crate) const HOP_CERTIFICATES: [&[u8]; 8] =
    [b"seen0", b"seen1", b"seen2", b"seen3", b"seen4", b"seen5", b"seen6", b"seen7"];
/// The count, as u64, little-endian.
const KEY_COUNT: &[u8] = b"count";

/// Values by key. A key without a value stands for none.
type Values = BTreeMap<Vec<u8>, Vec<u8>>;

/// All of them.
fn keys() -> impl Iterator<Item = &'static [u8]> {
    KEYS.into_iter().chain(OWN_CERTIFICATE).chain(HOP_CERTIFICATES)
}

/// A value that is longer than one may be, in as many pieces as there are keys. What does not fit is not kept: who makes
/// it has bounded it.
pub(crate) fn pieces(keys: &[&[u8]], bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut pieces = bytes.chunks(META_VALUE_BYTES_MAX);
    keys.iter().map(|key| (key.to_vec(), pieces.next().unwrap_or_default().to_vec())).collect()
}

/// The state as a volume has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    count: u64,
    values: Values,
}

impl Kept {
    pub(crate) fn read(spool: &Spool) -> Self {
        let count = spool.meta(META_RELEASE, KEY_COUNT).and_then(|count| count.try_into().ok());
        let value = |key: &[u8]| Some((key.to_vec(), spool.meta(META_RELEASE, key)?.to_vec()));
        Self {
            count: count.map_or(0, u64::from_le_bytes),
            values: keys().filter_map(value).filter(|(_, value)| !value.is_empty()).collect(),
        }
    }

    #[cfg(test)]
    pub(crate) fn of(values: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Self {
        Self { count: 1, values: values.into_iter().collect() }
    }

    /// Lets go of everything, for good: nothing that was written before comes back.
    pub(crate) fn forget(&mut self) {
        self.values.clear();
        self.count += 1;
    }

    fn write(&self, spool: &mut Spool) -> Result<(), Error> {
        if Self::read(spool).count > self.count {
            // A newer one came first.
            return Ok(());
        }
        for key in keys() {
            let value = self.value(key).unwrap_or_default();
            if spool.meta(META_RELEASE, key).unwrap_or_default() != value {
                spool.put_meta(META_RELEASE, key, value)?;
            }
        }
        spool.put_meta(META_RELEASE, KEY_COUNT, &self.count.to_le_bytes())
    }

    pub(crate) fn value(&self, key: &[u8]) -> Option<&[u8]> {
        self.values.get(key).map(Vec::as_slice)
    }

    /// What was kept in [`pieces`].
    pub(crate) fn pieces(&self, keys: &[&[u8]]) -> Vec<u8> {
        keys.iter().filter_map(|key| self.value(key)).flatten().copied().collect()
    }

    /// Which of two is right: a fresh volume has nothing, and one from before there were two has no count.
    fn rank(&self) -> (u64, bool) {
        (self.count, !self.values.is_empty())
    }
}

/// The state of the box.
#[derive(Debug, Default)]
pub(crate) struct BoxState {
    kept: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    kept: Kept,
    /// Somebody said since the start how it is to be: no volume that comes knows better.
    is_decided: bool,
}

impl BoxState {
    /// The state at the start, from the volumes that are there.
    pub(crate) fn new(found: impl IntoIterator<Item = Kept>) -> Self {
        // Of equals the first.
        let best =
            found.into_iter().reduce(|best, other| if other.rank() > best.rank() { other } else { best });
        Self { kept: Mutex::new(Inner { kept: best.unwrap_or_default(), is_decided: false }) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of it.
    pub(crate) fn kept(&self) -> Kept {
        self.lock().kept.clone()
    }

    /// Changes some values, and makes that durable on each volume that can be written, at least on one. A value that is
    /// empty stands for none.
    ///
    /// # Errors
    /// What the last volume said, if it is durable on none: then everything is as it was.
    pub(crate) async fn put(
        &self,
        volumes: &Volumes,
        values: Vec<(Vec<u8>, Vec<u8>)>,
        by_operator: bool,
    ) -> Result<(), Error> {
        let (before, kept) = {
            let mut inner = self.lock();
            let before = inner.kept.values.clone();
            inner.kept.values.extend(values);
            inner.kept.values.retain(|_, value| !value.is_empty());
            inner.kept.count += 1;
            (before, inner.kept.clone())
        };
        let count = kept.count;
        let mut written = Err(Error::ReadOnly);
        for storage in volumes.all().filter(|storage| storage.is_well()) {
            let kept = kept.clone();
            let done = storage.change(move |spool| kept.write(spool)).await;
            written = if written.is_ok() { written } else { done };
        }
        let mut inner = self.lock();
        if written.is_ok() {
            inner.is_decided |= by_operator;
        } else if inner.kept.count == count {
            inner.kept.values = before;
        }
        written
    }

    /// Takes note of a volume that has come. Whether it knows better than we do, so that its state counts from now on.
    /// Else it has to be [brought up to date](Self::bring_up_to_date).
    pub(crate) fn arrived(&self, found: &Kept) -> bool {
        let mut inner = self.lock();
        if found.rank() <= inner.kept.rank() {
            return false;
        }
        if inner.is_decided {
            inner.kept.count = found.count + 1;
            return false;
        }
        inner.kept = found.clone();
        true
    }

    /// Writes all of it to a volume that lacks some.
    pub(crate) async fn bring_up_to_date(kept: Kept, storage: &Storage) {
        if let Err(error) = storage.change(move |spool| kept.write(spool)).await {
            warn!(code = error.code(), volume = storage.store().as_str(), %error, "the state of the box is not on it yet");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(count: u64, mode: &str) -> Kept {
        Kept { count, values: BTreeMap::from([(b"mode".to_vec(), mode.as_bytes().to_vec())]) }
    }

    #[test]
    fn the_highest_count_is_right_and_something_is_more_than_nothing() {
        let chosen = |found: Vec<Kept>| BoxState::new(found).kept();
        assert_eq!(chosen(vec![kept(1, "auto"), kept(2, "hold")]), kept(2, "hold"));
        assert_eq!(chosen(vec![kept(0, "hold"), Kept::default()]), kept(0, "hold"));
        assert_eq!(chosen(vec![Kept::default(), kept(0, "hold")]), kept(0, "hold"));
        assert_eq!(chosen(vec![kept(3, "auto"), kept(3, "hold")]), kept(3, "auto"), "the disk comes first");
        assert_eq!(chosen(Vec::new()), Kept::default());
    }

    #[test]
    fn a_volume_that_comes_later_is_believed_if_it_is_newer_and_nobody_decided_meanwhile() {
        let state = BoxState::new([kept(1, "auto")]);
        assert!(!state.arrived(&kept(1, "hold")) && !state.arrived(&Kept::default()));
        assert!(state.arrived(&kept(5, "hold")));
        assert_eq!(state.kept(), kept(5, "hold"));
        state.lock().is_decided = true;
        assert!(!state.arrived(&kept(9, "auto")));
        assert_eq!(state.kept(), kept(10, "hold"), "and what was decided wins over it from now on");
    }
}
