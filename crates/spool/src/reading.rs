//! Reading with patience. A bus can fail once and not the next time, and what cannot be read counts as not there: so
//! nothing is given up before it was asked for again, three times.

use penstock_flash::{Error, ReadAt};

use crate::proof::Branch;

/// How often a read that failed is tried again.
const RETRIES: u32 = 3;

/// Fills `into` from a place in a segment.
pub(crate) fn read<R: ReadAt>(reader: &R, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), Error> {
    let mut done = reader.read(segment, offset, into);
    for _ in 0..RETRIES {
        // What lies beyond the medium does not come nearer.
        if matches!(done, Ok(()) | Err(Error::OutOfBounds { .. })) {
            break;
        }
        done = reader.read(segment, offset, into);
        if done.is_ok() {
            Branch::ReadAgain.reach();
        }
    }
    done
}
