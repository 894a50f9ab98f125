//! The address that a DHCP server lent last, in flash.
//!
//! The rescue uses it until a server answers: the one that lends addresses may be the very one that is down. It stands behind
//! the settings that it belongs to, in the same sector, from [`LEASES_AT`] on: records behind each other, of which the last
//! intact one counts. Other settings go to the other sector, and take it along.
//!
//! ```text
//! 0        8         12        16            17     60
//! ┌────────┬─────────┬─────────┬─────────────┬──────┬──────┐
//! │ magic  │ address │ router  │ prefix bits │ 0    │ CRC  │   64 bytes; a router of 0.0.0.0 is none; the CRC is
//! └────────┴─────────┴─────────┴─────────────┴──────┴──────┘   CRC-32C over bytes 0 to 59, little-endian
//! ```

use core::net::Ipv4Addr;

use crc::{CRC_32_ISCSI, Crc, Table};

use crate::{FILE_BYTES_MAX, RECORD_HEADER_BYTES};

/// Where in a sector of the settings the leases begin, in bytes.
pub const LEASES_AT: usize = 128 * 1024;
const _: () = assert!(LEASES_AT >= FILE_BYTES_MAX + RECORD_HEADER_BYTES);
/// How long a record is, in bytes: no word of a chip's ECC is programmed twice.
pub const LEASE_BYTES: usize = 64;

const MAGIC: [u8; 8] = *b"PS-NET-1";
const CRC_AT: usize = LEASE_BYTES - 4;
const CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

/// An address that was lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LentAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// How many bits of it are the network's.
    pub prefix_bits: u8,
    /// The router to everywhere else, if there is one.
    pub router: Option<Ipv4Addr>,
}

impl LentAddress {
    /// The bytes to be programmed.
    pub fn to_bytes(&self) -> [u8; LEASE_BYTES] {
        let mut bytes = [0; LEASE_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.address.octets());
        bytes[12..16].copy_from_slice(&self.router.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
        bytes[16] = self.prefix_bits;
        let checksum = CRC.checksum(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; LEASE_BYTES]) -> Option<Self> {
        let address = |at: usize| Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]);
        let is_record =
            bytes.starts_with(&MAGIC) && bytes[CRC_AT..] == CRC.checksum(&bytes[..CRC_AT]).to_le_bytes();
        let lent = Self {
            address: address(8),
            prefix_bits: bytes[16],
            router: Some(address(12)).filter(|router| !router.is_unspecified()),
        };
        (is_record && lent.prefix_bits <= 32).then_some(lent)
    }
}

/// What the leases of a sector come to: `bytes` are the sector from [`LEASES_AT`] on. The address that was lent last, and where
/// in `bytes` the next record goes, if there is room.
pub fn survey_leases(bytes: &[u8]) -> (Option<LentAddress>, Option<usize>) {
    let (places, _) = bytes.as_chunks::<LEASE_BYTES>();
    let used =
        places.iter().rposition(|place| place.iter().any(|byte| *byte != 0xFF)).map_or(0, |last| last + 1);
    let newest = places.iter().take(used).rev().find_map(LentAddress::from_bytes);
    (newest, (used < places.len()).then_some(used * LEASE_BYTES))
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn lent(last: u8, router: Option<Ipv4Addr>) -> LentAddress {
        LentAddress { address: Ipv4Addr::new(192, 0, 2, last), prefix_bits: 24, router }
    }

    #[test]
    fn the_last_record_counts_and_the_next_goes_behind_it() {
        let mut flash = vec![0xFF; 3 * LEASE_BYTES + 7];
        assert_eq!(survey_leases(&flash), (None, Some(0)));
        let one = lent(1, None);
        flash[..LEASE_BYTES].copy_from_slice(&one.to_bytes());
        assert_eq!(survey_leases(&flash), (Some(one), Some(LEASE_BYTES)));
        let two = lent(2, Some(Ipv4Addr::new(192, 0, 2, 254)));
        flash[LEASE_BYTES..2 * LEASE_BYTES].copy_from_slice(&two.to_bytes());
        assert_eq!(survey_leases(&flash), (Some(two), Some(2 * LEASE_BYTES)));
        flash[2 * LEASE_BYTES] = 0;
        assert_eq!(survey_leases(&flash), (Some(two), None), "it is full, and the last one torn");
    }

    #[test]
    fn no_bit_of_a_record_can_change_unseen() {
        let good = lent(1, None).to_bytes();
        for bit in 0..LEASE_BYTES * 8 {
            let mut changed = good;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(survey_leases(&changed).0, None, "bit {bit}");
        }
        let wide = LentAddress { prefix_bits: 33, ..lent(1, None) };
        assert_eq!(survey_leases(&wide.to_bytes()).0, None);
    }
}
