//! The seed of a box's random numbers, and the time as it was last known: records that follow each other.

use sha2::{Digest as _, Sha256};

use crate::{CRC, field, is_blank};

/// What stands at the beginning. The last character is the version of the format.
const MAGIC: [u8; 8] = *b"PS-SED-1";
/// How far apart records are. They never cross the edge of what a chip programs at once.
pub const SEED_RECORD_BYTES: usize = 128;
/// What of it is written.
const WRITTEN_BYTES: usize = 68;
/// How long a seed is.
pub const SEED_BYTES: usize = 32;
/// The clock was trusted.
const FLAG_TRUSTED: u32 = 1;

/// A record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SeedRecord {
    /// Its place in the order; the next one is one higher.
    pub sequence: u64,
    /// The clock when it was written, in Unix milliseconds.
    pub unix_ms: u64,
    /// Whether that clock was trusted.
    pub trusted: bool,
    /// Bytes that were never used and are used once.
    pub seed: [u8; SEED_BYTES],
}

/// Without the seed, which no log may hold.
impl core::fmt::Debug for SeedRecord {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { sequence, unix_ms, trusted, seed: _ } = self;
        f.debug_struct("SeedRecord")
            .field("sequence", sequence)
            .field("unix_ms", unix_ms)
            .field("trusted", trusted)
            .finish_non_exhaustive()
    }
}

impl SeedRecord {
    /// The bytes to be programmed.
    pub fn to_bytes(&self) -> [u8; WRITTEN_BYTES] {
        let mut bytes = [0; WRITTEN_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.unix_ms.to_le_bytes());
        let flags = if self.trusted { FLAG_TRUSTED } else { 0 };
        bytes[24..28].copy_from_slice(&flags.to_le_bytes());
        bytes[32..64].copy_from_slice(&self.seed);
        let checksum = CRC.checksum(&bytes[8..64]);
        bytes[64..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a place. `None` if what is there is no intact record.
    pub fn from_bytes(place: &[u8]) -> Option<Self> {
        let record = place.get(..WRITTEN_BYTES)?;
        if !record.starts_with(&MAGIC)
            || CRC.checksum(&record[8..64]) != u32::from_le_bytes(field(record, 64))
        {
            return None;
        }
        Some(Self {
            sequence: u64::from_le_bytes(field(record, 8)),
            unix_ms: u64::from_le_bytes(field(record, 16)),
            trusted: u32::from_le_bytes(field(record, 24)) & FLAG_TRUSTED != 0,
            seed: field(record, 32),
        })
    }
}

/// Where the next record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// The sector.
    pub sector: usize,
    /// Where in it, in bytes.
    pub offset: usize,
    /// Whether the sector has to be erased first.
    pub erase: bool,
}

/// What the partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeds {
    /// The newest intact record.
    pub newest: Option<SeedRecord>,
    /// The time in the newest record that was written under a trusted clock, in Unix milliseconds.
    pub last_trusted_ms: Option<u64>,
    /// Where the next one goes.
    pub next: Next,
}

/// Looks through all sectors of the partition, each of which must be given whole.
pub fn survey(sectors: &[&[u8]]) -> Seeds {
    let mut newest: Option<(usize, SeedRecord)> = None;
    let mut last_trusted: Option<SeedRecord> = None;
    for (number, sector) in sectors.iter().enumerate() {
        for record in sector.chunks_exact(SEED_RECORD_BYTES).filter_map(SeedRecord::from_bytes) {
            if newest.is_none_or(|(_, newest)| newest.sequence < record.sequence) {
                newest = Some((number, record));
            }
            if record.trusted && last_trusted.is_none_or(|last| last.sequence < record.sequence) {
                last_trusted = Some(record);
            }
        }
    }
    let current = newest.map_or(0, |(number, _)| number);
    let next = sectors.get(current).and_then(|sector| Some((current, room_behind(sector)?)));
    let next = match next {
        Some((sector, offset)) => Next { sector, offset, erase: false },
        None => {
            let sector = (current + 1) % sectors.len().max(1);
            Next { sector, offset: 0, erase: sectors.get(sector).is_some_and(|sector| !is_blank(sector)) }
        }
    };
    Seeds {
        newest: newest.map(|(_, record)| record),
        last_trusted_ms: last_trusted.map(|record| record.unix_ms),
        next,
    }
}

/// Where in a sector there is room behind everything that was written.
fn room_behind(sector: &[u8]) -> Option<usize> {
    let places = sector.chunks_exact(SEED_RECORD_BYTES);
    let count = places.len();
    let used = places.rev().position(|place| !is_blank(place)).map_or(0, |blank| count - blank);
    (used < count).then_some(used * SEED_RECORD_BYTES)
}

/// From the seed that was stored and what the kernel's generator gives: what is to be stored next, and what is to be given
/// to the kernel once that stands in flash. Neither tells anything of the other.
pub fn rotate(
    stored: Option<&[u8; SEED_BYTES]>,
    fresh: &[u8; SEED_BYTES],
) -> ([u8; SEED_BYTES], [u8; SEED_BYTES]) {
    let mix = |purpose: &[u8]| -> [u8; SEED_BYTES] {
        let digest = Sha256::new().chain_update(purpose).chain_update(stored.unwrap_or(&[0; SEED_BYTES]));
        digest.chain_update(fresh).finalize().into()
    };
    (mix(b"penstock seed next"), mix(b"penstock seed use"))
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const SECTOR_BYTES: usize = 4 * SEED_RECORD_BYTES;

    fn record(sequence: u64) -> SeedRecord {
        let seed = [sequence as u8; SEED_BYTES];
        SeedRecord { sequence, unix_ms: 1000 * sequence, trusted: sequence.is_multiple_of(2), seed }
    }

    struct Flash([Vec<u8>; 2]);

    impl Flash {
        fn new() -> Self {
            Self([vec![0xFF; SECTOR_BYTES], vec![0xFF; SECTOR_BYTES]])
        }

        fn survey(&self) -> Seeds {
            survey(&[&self.0[0], &self.0[1]])
        }

        /// Appends as the box does; returns where it went.
        fn append(&mut self, record: &SeedRecord) -> Next {
            let next = self.survey().next;
            let sector = &mut self.0[next.sector];
            if next.erase {
                sector.fill(0xFF);
            }
            let bytes = record.to_bytes();
            for (cell, byte) in sector[next.offset..].iter_mut().zip(bytes) {
                assert_eq!(*cell, 0xFF, "written over");
                *cell = byte;
            }
            next
        }
    }

    #[test]
    fn records_follow_each_other_and_the_newest_is_never_erased() {
        let mut flash = Flash::new();
        assert_eq!(flash.survey(), Seeds { newest: None, last_trusted_ms: None, next: flash.survey().next });
        for sequence in 1..40 {
            let next = flash.append(&record(sequence));
            let place = sequence - 1;
            assert_eq!(next.sector as u64, place / 4 % 2);
            assert_eq!(next.offset as u64, place % 4 * SEED_RECORD_BYTES as u64);
            assert_eq!(next.erase, place >= 8 && place % 4 == 0);
            let seeds = flash.survey();
            assert_eq!(seeds.newest, Some(record(sequence)));
            assert_eq!(seeds.last_trusted_ms, (sequence > 1).then_some(sequence / 2 * 2 * 1000));
        }
    }

    #[test]
    fn a_torn_record_is_left_alone_and_the_one_before_it_counts() {
        let mut flash = Flash::new();
        flash.append(&record(1));
        flash.0[0][SEED_RECORD_BYTES..SEED_RECORD_BYTES + 20].copy_from_slice(&record(2).to_bytes()[..20]);
        assert_eq!(flash.survey().newest, Some(record(1)));
        assert_eq!(flash.append(&record(2)).offset, 2 * SEED_RECORD_BYTES);
        assert_eq!(flash.survey().newest, Some(record(2)));
    }

    #[test]
    fn a_power_cut_while_the_other_sector_is_erased_costs_nothing() {
        let mut flash = Flash::new();
        for sequence in 1..=8 {
            flash.append(&record(sequence));
        }
        flash.0[0][..200].fill(0xFF);
        let seeds = flash.survey();
        assert_eq!(seeds.newest, Some(record(8)));
        assert_eq!(seeds.next, Next { sector: 0, offset: 0, erase: true });
    }

    #[test]
    fn what_is_used_and_what_is_stored_differ_and_depend_on_both() {
        let (stored, fresh) = ([1; 32], [2; 32]);
        let (next, used) = rotate(Some(&stored), &fresh);
        assert_ne!(next, used);
        for other in [rotate(None, &fresh), rotate(Some(&[3; 32]), &fresh), rotate(Some(&stored), &[3; 32])] {
            assert!(other.0 != next && other.1 != used);
        }
    }

    #[test]
    fn no_bit_of_a_record_can_change_unseen() {
        let bytes = record(6).to_bytes();
        assert_eq!(SeedRecord::from_bytes(&bytes), Some(record(6)));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SeedRecord::from_bytes(&damaged), None, "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_sectors_hold_is_looked_through(
            one in proptest::collection::vec(any::<u8>(), 0..1024),
            two in proptest::collection::vec(any::<u8>(), 0..1024),
        ) {
            survey(&[&one, &two]);
            survey(&[]);
        }
    }
}
