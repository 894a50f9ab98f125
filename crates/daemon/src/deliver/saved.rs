//! Mode and states of the hops, kept in as many pieces as a value of the box's state may have.

use penstock_release::{SAVED_BYTES_MAX, Saved};
use penstock_spool::META_VALUE_BYTES_MAX;
use tracing::warn;

use crate::boxstate::Kept;

const PIECES: usize = SAVED_BYTES_MAX.div_ceil(META_VALUE_BYTES_MAX);

/// As `boxstate` knows them.
fn key(piece: usize) -> [u8; 6] {
    let mut key = *b"state0";
    key[5] = b'0' + piece as u8; // PIECES is below ten
    key
}

const _: () = assert!(PIECES == 8);

/// The values to be kept.
pub(super) fn pieces(saved: &Saved) -> Vec<(Vec<u8>, Vec<u8>)> {
    let bytes = saved.to_bytes();
    let mut pieces = bytes.chunks(META_VALUE_BYTES_MAX);
    (0..PIECES).map(|n| (key(n).to_vec(), pieces.next().unwrap_or_default().to_vec())).collect()
}

/// What was kept, if there is anything that can be read.
pub(super) fn load(kept: &Kept) -> Option<Saved> {
    let pieces = (0..PIECES).filter_map(|n| kept.value(&key(n)));
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
