//! The list on a volume: in META, in pieces, under a head.
//!
//! There are two places for the pieces. A new list is written to the one that the head does not name, in steps
//! between which mail goes on; the head that names it comes last, and only then are the old pieces emptied. So
//! whenever the power fails, the head names a list that is whole. A checksum tells if a piece is not what was
//! written.
//!
//! Each head has a count, as `boxstate` has one: where volumes differ the highest is right.

use std::sync::Arc;

use penstock_spool::{Error, META_KEYS_MAX, META_VALUE_BYTES_MAX};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::list::{ADDRESSES_MAX, DATABASE_BYTES_MAX, DATABASES_MAX};
use crate::control::Store;
use crate::ledger::META_RECIPIENTS;
use crate::storage::Storage;
use crate::volume::Spool;

/// The key of the head.
const KEY_HEAD: &[u8] = b"head";
/// The first bytes of the keys of pieces; their number, as u16, big-endian, follows.
const PLACES: [u8; 2] = *b"ab";
/// The most pieces of a list: its hashes, the names of databases, and a hundred domains with all that goes with them.
const PIECES_MAX: usize =
    (ADDRESSES_MAX * 8 + DATABASES_MAX * (DATABASE_BYTES_MAX + 8) + 64 * 1024).div_ceil(META_VALUE_BYTES_MAX);
/// Two lists fit beside all else that a volume keeps.
const _: () = assert!(2 * PIECES_MAX + 512 <= META_KEYS_MAX);
/// Pieces that are written in one step of the storage thread. On NOR flash that is some 50 ms.
const PIECES_A_STEP: usize = 16;
/// The largest list, in bytes, that is kept in the NOR flash: some 30,000 addresses. What is kept there is copied
/// whenever a checkpoint is written, and the flash is small and wears.
pub(super) const NOR_BYTES_MAX: usize = 256 * 1024;
/// So many times its own size must be free on a volume that a list is written to: for notes, for the list before it,
/// and so that it does not take the room in which is recorded what becomes of mail.
const ROOM_FACTOR: u64 = 4;

/// What a volume says of the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// How often there was another list, or none again.
    pub(super) count: u64,
    pub(super) content: Content,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Content {
    /// There is no list.
    #[default]
    Nothing,
    /// There is one, and it is too large for this volume.
    Elsewhere,
    /// There is one here, in one of the two places.
    Here { place: u8, len_bytes: u32, sha256: [u8; 32] },
}

impl Head {
    /// The head as the volume has it; none is as one that says nothing. The error is that it cannot be read.
    pub(super) fn read(spool: &Spool) -> Result<Self, Unreadable> {
        match spool.meta(META_RECIPIENTS, KEY_HEAD) {
            None => Ok(Self::default()),
            Some(bytes) => postcard::from_bytes(bytes).map_err(|_| Unreadable),
        }
    }

    /// The bytes of the list that is here; `None` if it is not.
    pub(super) fn bytes(&self, spool: &Spool) -> Result<Option<Vec<u8>>, Unreadable> {
        let Content::Here { place, len_bytes, sha256 } = self.content else { return Ok(None) };
        let len_bytes = len_bytes as usize;
        let count = len_bytes.div_ceil(META_VALUE_BYTES_MAX);
        if count > PIECES_MAX {
            return Err(Unreadable);
        }
        let mut bytes = Vec::with_capacity(len_bytes);
        for n in 0..count {
            bytes.extend_from_slice(spool.meta(META_RECIPIENTS, &key(place, n)).ok_or(Unreadable)?);
        }
        let is_whole = bytes.len() == len_bytes && Sha256::digest(&bytes)[..] == sha256;
        if is_whole { Ok(Some(bytes)) } else { Err(Unreadable) }
    }
}

/// What is on the volume is not what was written, or was written by a later version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// What a volume is to keep.
#[derive(Clone, Debug)]
pub(super) struct ToKeep {
    pub(super) count: u64,
    /// The list; `None` for no list.
    pub(super) bytes: Option<Arc<[u8]>>,
}

/// Where a volume has it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrote {
    /// All of it.
    Here,
    /// Only that there is a list, which is too large for it.
    Elsewhere,
}

/// Whether a volume is to say only that there is a list.
pub(super) fn is_too_large(storage: &Storage, to_keep: &ToKeep) -> bool {
    storage.store() == Store::Nor && to_keep.bytes.as_ref().is_some_and(|bytes| bytes.len() > NOR_BYTES_MAX)
}

fn key(place: u8, number: usize) -> [u8; 3] {
    let [high, low] = (number as u16).to_be_bytes();
    [place, high, low]
}

/// Writes a list to a volume in the place of the one that is there.
///
/// # Errors
/// What the volume says. Then the list from before is there as it was.
pub(super) async fn write(storage: &Storage, to_keep: &ToKeep) -> Result<Wrote, Error> {
    let ToKeep { count, bytes } = to_keep.clone();
    let before = storage.look(|spool| Head::read(spool)).await?.unwrap_or_default();
    let (content, wrote) = match &bytes {
        None => (Content::Nothing, Wrote::Here),
        Some(_) if is_too_large(storage, to_keep) => (Content::Elsewhere, Wrote::Elsewhere),
        Some(bytes) => {
            let len_bytes = u32::try_from(bytes.len()).map_err(|_| Error::Full)?;
            storage.check_room(Some(u64::from(len_bytes) * ROOM_FACTOR))?;
            let used = match before.content {
                Content::Here { place, .. } => Some(place),
                Content::Nothing | Content::Elsewhere => None,
            };
            let [first, second] = PLACES;
            let place = if used == Some(first) { second } else { first };
            if let Err(error) = write_pieces(storage, place, bytes).await {
                // What was written of it is of no use. If that cannot be said either, the next start does it.
                let _ = tidy(storage).await;
                return Err(error);
            }
            let sha256 = Sha256::digest(bytes).into();
            (Content::Here { place, len_bytes, sha256 }, Wrote::Here)
        }
    };
    let head = postcard::to_extend(&Head { count, content }, Vec::new()).map_err(|_| Error::Full)?;
    storage.change(move |spool| spool.put_meta(META_RECIPIENTS, KEY_HEAD, &head)).await?;
    // It counts. What is left of others takes room, no more.
    let _ = tidy(storage).await;
    Ok(wrote)
}

async fn write_pieces(storage: &Storage, place: u8, bytes: &Arc<[u8]>) -> Result<(), Error> {
    let count = bytes.len().div_ceil(META_VALUE_BYTES_MAX);
    for first in (0..count).step_by(PIECES_A_STEP) {
        let bytes = Arc::clone(bytes);
        let step = storage.change(move |spool| {
            let mut pieces = bytes.chunks(META_VALUE_BYTES_MAX).enumerate().skip(first).take(PIECES_A_STEP);
            pieces.try_for_each(|(n, piece)| spool.put_meta(META_RECIPIENTS, &key(place, n), piece))
        });
        step.await?;
    }
    Ok(())
}

/// Empties the pieces that the head does not name, such as those of an import that was cut.
///
/// # Errors
/// What the volume says.
pub(super) async fn tidy(storage: &Storage) -> Result<(), Error> {
    loop {
        let surplus = storage.look(surplus).await?;
        if surplus.is_empty() {
            return Ok(());
        }
        let step = storage.change(move |spool| {
            surplus.iter().try_for_each(|key| spool.put_meta(META_RECIPIENTS, key, &[]))
        });
        step.await?;
    }
}

/// The keys of the next pieces that the head does not name. What cannot be read is left as it is.
fn surplus(spool: &mut Spool) -> Vec<Vec<u8>> {
    let (place, count) = match Head::read(spool).map(|head| head.content) {
        Ok(Content::Here { place, len_bytes, .. }) => {
            (place, (len_bytes as usize).div_ceil(META_VALUE_BYTES_MAX))
        }
        Ok(Content::Nothing | Content::Elsewhere) => (0, 0),
        Err(Unreadable) => return Vec::new(),
    };
    let is_named = |candidate: &[u8]| candidate >= &key(place, 0)[..] && candidate < &key(place, count)[..];
    let all = spool.metas(META_RECIPIENTS).map(|(key, _)| key);
    all.filter(|key| *key != KEY_HEAD && !is_named(key)).take(PIECES_A_STEP).map(<[u8]>::to_vec).collect()
}
