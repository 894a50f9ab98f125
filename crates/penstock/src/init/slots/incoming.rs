//! A bundle as it comes in: after its first block it is known whether the rest is worth waiting for, and how long that is.

use penstock_slots::MANIFEST_BYTES;

use super::error::SlotsError;

/// A bundle, as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    bytes: Vec<u8>,
    /// How long it is, once that is known.
    all_bytes: Option<usize>,
}

impl Incoming {
    /// How many bytes are waited for next. Whatever follows the last one is none of the bundle's: a disk is longer.
    pub(crate) fn wants(&self) -> usize {
        self.all_bytes.unwrap_or(MANIFEST_BYTES).saturating_sub(self.bytes.len())
    }

    /// Takes some of those that are waited for. `check` looks at the first block once, and says how long the bundle is.
    pub(crate) fn push(
        &mut self,
        piece: &[u8],
        check: impl FnOnce(&[u8]) -> Result<u64, SlotsError>,
    ) -> Result<(), SlotsError> {
        self.bytes.extend_from_slice(piece.get(..self.wants()).unwrap_or(piece));
        if self.all_bytes.is_none() && self.wants() == 0 {
            let all_bytes = check(&self.bytes)?;
            let no_memory = SlotsError::NoMemory { bundle_bytes: all_bytes };
            let len = usize::try_from(all_bytes).map_err(|_| no_memory.clone())?;
            self.bytes.try_reserve_exact(len.saturating_sub(self.bytes.len())).map_err(|_| no_memory)?;
            self.all_bytes = Some(len);
        }
        Ok(())
    }

    /// How far it is: of how much is not known at first.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (self.bytes.len() as u64, self.all_bytes.unwrap_or(0) as u64)
    }

    /// There is no more. The bundle, if all of it came.
    pub(crate) fn finish(self) -> Result<Vec<u8>, SlotsError> {
        match self.wants() {
            0 => Ok(self.bytes),
            wanted => Err(SlotsError::CutShort {
                came_bytes: self.bytes.len() as u64,
                all_bytes: (self.bytes.len() + wanted) as u64,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = 1000;

    fn fed(bytes: &[u8], piece_bytes: usize) -> Result<Vec<u8>, SlotsError> {
        let mut incoming = Incoming::default();
        let mut checks = 0;
        for piece in bytes.chunks(piece_bytes) {
            if incoming.wants() == 0 {
                break;
            }
            incoming.push(piece, |first| {
                checks += 1;
                assert_eq!(first, &bytes[..MANIFEST_BYTES]);
                Ok(ALL)
            })?;
        }
        assert!(checks <= 1, "the first block is looked at once");
        incoming.finish()
    }

    #[test]
    fn a_bundle_ends_where_its_first_block_says() {
        let bytes: Vec<u8> = (0..2000).map(|n| n as u8).collect();
        for piece_bytes in [1, 8, 208, 416] {
            assert_eq!(fed(&bytes, piece_bytes).unwrap(), bytes[..ALL as usize], "{piece_bytes} at a time");
        }
        for len in [0, 415, 416, 999] {
            let came_bytes = len as u64;
            let all_bytes = if len < MANIFEST_BYTES { MANIFEST_BYTES as u64 } else { ALL };
            assert_eq!(
                fed(&bytes[..len], 8),
                Err(SlotsError::CutShort { came_bytes, all_bytes }),
                "{len} bytes"
            );
        }
    }

    #[test]
    fn what_is_refused_by_its_first_block_is_not_waited_for() {
        let mut incoming = Incoming::default();
        let refused = incoming.push(&[0; MANIFEST_BYTES], |_| Err(SlotsError::Busy));
        assert_eq!(refused, Err(SlotsError::Busy));
    }
}
