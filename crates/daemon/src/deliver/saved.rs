//! Mode and states of the hops, kept on the volume in as many pieces as a value there may have.

use penstock_release::{SAVED_BYTES_MAX, Saved};
use penstock_spool::{Error, META_VALUE_BYTES_MAX};
use tracing::warn;

use crate::ledger::META_RELEASE;
use crate::volume::Spool;

const PIECES: usize = SAVED_BYTES_MAX.div_ceil(META_VALUE_BYTES_MAX);

fn key(piece: usize) -> [u8; 6] {
    let mut key = *b"state0";
    key[5] = b'0' + piece as u8; // PIECES is below ten
    key
}

const _: () = assert!(PIECES < 10);

/// Appends it to the log.
pub(super) fn store(spool: &mut Spool, saved: &Saved) -> Result<(), Error> {
    let bytes = saved.to_bytes();
    let mut pieces = bytes.chunks(META_VALUE_BYTES_MAX);
    for n in 0..PIECES {
        spool.put_meta(META_RELEASE, &key(n), pieces.next().unwrap_or_default())?;
    }
    Ok(())
}

/// Lets go of all of it, so that the settings decide again.
pub(crate) fn forget(spool: &mut Spool) -> Result<(), Error> {
    (0..PIECES).try_for_each(|n| spool.put_meta(META_RELEASE, &key(n), &[]))
}

/// What was kept, if there is anything that can be read.
pub(crate) fn load(spool: &Spool) -> Option<Saved> {
    let pieces = (0..PIECES).filter_map(|n| spool.meta(META_RELEASE, &key(n)));
    let bytes: Vec<u8> = pieces.flatten().copied().collect();
    if bytes.is_empty() {
        return None;
    }
    let saved = Saved::from_bytes(&bytes);
    saved
        .inspect_err(|error| {
            warn!(code = error.code(), %error, "mode and states of the next hops begin anew, as the settings have them");
        })
        .ok()
}
