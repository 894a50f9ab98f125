//! Landmarks: groups that were known durable when something was written that names them, so that they must be there.
//!
//! A scan of a segment ends where no frame follows. Whether that is where writing ended, or where rot begins, or where a
//! disk dropped a write and said that it was done, the segment itself cannot tell. So each end of a group, each header of
//! a segment, each proof and each root names the last durable group of each head and the segment that it stands in.
//! What they name and is not there was lost, and is told of.
//!
//! Who names a group says nothing of another life of its segment: numbers of groups grow, and when a segment is opened
//! its header says up to which of them all was durable, those of its earlier lives among them.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// A group that was durable, and the segment that it stands in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Landmark {
    pub(crate) segment: u32,
    /// 0 stands for none.
    pub(crate) group: u64,
}

/// One for each head.
pub(crate) type OfHeads = [Landmark; 3];

/// The length of those of all heads in the end of a group, in bytes.
pub(crate) const OF_HEADS_BYTES: usize = 3 * ONE_BYTES;
const ONE_BYTES: usize = 8;

impl Landmark {
    /// As it stands in the end of group `of`: the segment, and by how much its number is below that one.
    fn encode(self, of: u64) -> [u8; ONE_BYTES] {
        let back = of.checked_sub(self.group).filter(|_| self.group > 0);
        let back = back.and_then(|back| u32::try_from(back).ok()).unwrap_or(0);
        let mut bytes = [0; ONE_BYTES];
        bytes[..4].copy_from_slice(&self.segment.to_le_bytes());
        bytes[4..].copy_from_slice(&back.to_le_bytes());
        bytes
    }

    fn decode([a, b, c, d, rest @ ..]: [u8; ONE_BYTES], of: u64) -> Self {
        let back = u64::from(u32::from_le_bytes(rest));
        let group = if back == 0 { 0 } else { of.saturating_sub(back) };
        Self { segment: u32::from_le_bytes([a, b, c, d]), group }
    }
}

/// Those of all heads as they stand in the end of group `of`.
pub(crate) fn encode(landmarks: &OfHeads, of: u64) -> [u8; OF_HEADS_BYTES] {
    let mut bytes = [0; OF_HEADS_BYTES];
    for (bytes, landmark) in bytes.chunks_exact_mut(ONE_BYTES).zip(landmarks) {
        bytes.copy_from_slice(&landmark.encode(of));
    }
    bytes
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode(bytes: &[u8; OF_HEADS_BYTES], of: u64) -> OfHeads {
    let (ones, _) = bytes.as_chunks();
    let mut landmarks = OfHeads::default();
    for (landmark, one) in landmarks.iter_mut().zip(ones) {
        *landmark = Landmark::decode(*one, of);
    }
    landmarks
}

/// The newest landmark of each segment, from wherever they were read.
#[derive(Clone, Debug)]
pub(crate) struct Landmarks {
    /// How many segments there are: what is said of others is a lie.
    segments: u32,
    /// In order of segment. Most things name few, and a mount holds many of these.
    newest: Vec<Landmark>,
}

impl Landmarks {
    pub(crate) fn new(segments: u32) -> Self {
        Self { segments, newest: Vec::new() }
    }

    pub(crate) fn add(&mut self, landmark: Landmark) {
        if landmark.group == 0 || landmark.segment >= self.segments {
            return;
        }
        match self.newest.binary_search_by_key(&landmark.segment, |known| known.segment) {
            Ok(at) => self.newest[at].group = landmark.group.max(self.newest[at].group),
            Err(at) => self.newest.insert(at, landmark),
        }
    }

    pub(crate) fn add_of_heads(&mut self, landmarks: &OfHeads) {
        landmarks.iter().for_each(|landmark| self.add(*landmark));
    }

    pub(crate) fn add_all(&mut self, others: &Self) {
        others.newest.iter().for_each(|landmark| self.add(*landmark));
    }

    /// The last group that must be in a segment, unless it was used again since.
    pub(crate) fn last_in(&self, segment: u32) -> Option<u64> {
        let at = self.newest.binary_search_by_key(&segment, |known| known.segment).ok()?;
        self.newest.get(at).map(|landmark| landmark.group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_group_names_reads_back() {
        let landmarks = [
            Landmark { segment: 7, group: 1_000_000_000_000 },
            Landmark::default(),
            Landmark { segment: u32::MAX, group: 999_999_999_999 },
        ];
        let of = 1_000_000_000_001;
        assert_eq!(decode(&encode(&landmarks, of), of), landmarks);
    }

    #[test]
    fn a_group_too_far_back_is_not_named() {
        let far = Landmark { segment: 7, group: 1 };
        let of = u64::from(u32::MAX) + 2;
        assert_eq!(decode(&encode(&[far; 3], of), of).map(|landmark| landmark.group), [0; 3]);
        assert_eq!(decode(&encode(&[far; 3], of - 1), of - 1), [far; 3]);
    }

    #[test]
    fn the_newest_of_each_segment_counts_and_none_beyond_the_volume() {
        let mut landmarks = Landmarks::new(4);
        for (segment, group) in [(1, 5), (1, 9), (1, 7), (4, 3), (2, 0)] {
            landmarks.add(Landmark { segment, group });
        }
        assert_eq!([0, 1, 2, 4].map(|segment| landmarks.last_in(segment)), [None, Some(9), None, None]);
        let mut all = Landmarks::new(4);
        all.add_of_heads(&[1, 3, 0].map(|segment| Landmark { segment, group: 6 }));
        all.add_all(&landmarks);
        assert_eq!([0, 1, 2, 3].map(|segment| all.last_in(segment)), [Some(6), Some(9), None, Some(6)]);
    }
}
