//! The identity of a box: written once, read for ever.

use alloc::string::{String, ToString};
use core::fmt;

use sha2::{Digest as _, Sha256};

use crate::{CRC, field, is_blank};

/// What stands at the beginning. The last character is the version of the format.
const MAGIC: [u8; 8] = *b"PS-IDN-1";
/// How long a record is.
const RECORD_BYTES: usize = 104;
/// How far apart the places for records are.
pub const IDENTITY_PLACE_BYTES: usize = 256;
/// The longest name of a board.
const BOARD_BYTES: usize = 32;
/// Digits of a serial: no I, L, O and U, which are misread and misheard.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The serial number of a box, such as `PS-7Q2MX-04KTR`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Serial([u8; Self::LEN]);

impl Serial {
    /// How long it is, in characters.
    pub const LEN: usize = 14;
    /// How many random bytes make one.
    pub const RANDOM_BYTES: usize = 10;

    /// The serial that these bytes make: five bits of each.
    pub fn from_random(random: [u8; Self::RANDOM_BYTES]) -> Self {
        let mut text = *b"PS-00000-00000";
        // Three to seven and nine to thirteen.
        let places = (3..8).chain(9..14);
        for (place, byte) in places.zip(random) {
            text[place] = DIGITS[usize::from(byte & 31)];
        }
        Self(text)
    }

    /// The serial that somebody typed, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes: [u8; Self::LEN] = text.as_bytes().try_into().ok()?;
        bytes.make_ascii_uppercase();
        let fits = bytes.iter().enumerate().all(|(place, byte)| match place {
            0 => *byte == b'P',
            1 => *byte == b'S',
            2 | 8 => *byte == b'-',
            _ => DIGITS.contains(byte),
        });
        fits.then_some(Self(bytes))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        // All that is in it is ASCII, by both ways to make one.
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What makes a box this one.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its serial number.
    pub serial: Serial,
    /// The address of its network interface.
    pub mac: [u8; 6],
    /// The name of its board.
    pub board: String,
    /// The revision of its board.
    pub revision: u32,
    /// The device key: the seed of an Ed25519 key.
    pub key: [u8; 32],
}

/// Without the key, which no log may hold.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { serial, mac, board, revision, key: _ } = self;
        f.debug_struct("Identity")
            .field("serial", serial)
            .field("mac", mac)
            .field("board", board)
            .field("revision", revision)
            .finish_non_exhaustive()
    }
}

/// The name of a board is empty, too long, or not of lower-case letters, digits and hyphens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameError;

impl Identity {
    /// The bytes of a place.
    ///
    /// # Errors
    /// [`NameError`] if the board's name does not fit.
    pub fn to_bytes(&self) -> Result<[u8; RECORD_BYTES], NameError> {
        let board = self.board.as_bytes();
        if !is_board_name(board) {
            return Err(NameError);
        }
        let mut bytes = [0; RECORD_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.revision.to_le_bytes());
        bytes[12..12 + Serial::LEN].copy_from_slice(&self.serial.0);
        bytes[28..34].copy_from_slice(&self.mac);
        bytes[36..36 + board.len()].copy_from_slice(board);
        bytes[68..100].copy_from_slice(&self.key);
        let checksum = CRC.checksum(&bytes[8..100]);
        bytes[100..].copy_from_slice(&checksum.to_le_bytes());
        Ok(bytes)
    }

    /// Reads a place. `None` if what is there is no intact record.
    pub fn from_bytes(place: &[u8]) -> Option<Self> {
        let record = place.get(..RECORD_BYTES)?;
        if !record.starts_with(&MAGIC)
            || CRC.checksum(&record[8..100]) != u32::from_le_bytes(field(record, 100))
        {
            return None;
        }
        let board = &record[36..36 + BOARD_BYTES];
        let board = &board[..board.iter().position(|byte| *byte == 0).unwrap_or(BOARD_BYTES)];
        let serial = core::str::from_utf8(&record[12..12 + Serial::LEN]).ok()?;
        Some(Self {
            serial: Serial::parse(serial)?,
            mac: field(record, 28),
            board: is_board_name(board)
                .then(|| core::str::from_utf8(board).ok().map(ToString::to_string))??,
            revision: u32::from_le_bytes(field(record, 8)),
            key: field(record, 68),
        })
    }
}

fn is_board_name(name: &[u8]) -> bool {
    let known = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    (1..=BOARD_BYTES).contains(&name.len()) && name.iter().all(known)
}

/// What the sector of the identity holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// An identity.
    Identity(Identity),
    /// None was ever made. The places where it belongs, in bytes from the start of the sector: the first is written before
    /// the second.
    Blank([usize; 2]),
    /// There was one, and it has rotted; or something else is there, or there is no room for another attempt.
    Damaged,
}

/// Looks through the sector of the identity, all of which must be given.
pub fn find_identity(sector: &[u8]) -> Found {
    let mut places = sector.chunks_exact(IDENTITY_PLACE_BYTES);
    if let Some(identity) = places.clone().find_map(Identity::from_bytes) {
        return Found::Identity(identity);
    }
    let mut at = 0;
    while let (Some(first), Some(second)) = (places.next(), places.next()) {
        match (is_blank(first), is_blank(second)) {
            (true, true) => return Found::Blank([at, at + IDENTITY_PLACE_BYTES]),
            // The power failed during the first attempt at this pair.
            (false, true) => at += 2 * IDENTITY_PLACE_BYTES,
            _ => return Found::Damaged,
        }
    }
    Found::Damaged
}

/// The address for an interface that has none of its own: always the same for a serial, and marked as given locally
/// (IEEE 802, the second bit) to one machine (the first).
pub fn local_mac(serial: Serial) -> [u8; 6] {
    let digest = Sha256::new().chain_update(b"penstock mac").chain_update(serial.0).finalize();
    let mut mac = field(&digest, 0);
    mac[0] = mac[0] & !1 | 2;
    mac
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn identity(number: u8) -> Identity {
        Identity {
            serial: Serial::from_random([number; 10]),
            mac: [2, 0, 0, 0, 0, number],
            board: "qemu-virt".into(),
            revision: 1,
            key: [number; 32],
        }
    }

    fn put(sector: &mut [u8], place: usize, identity: &Identity) {
        let at = place * IDENTITY_PLACE_BYTES;
        let bytes = identity.to_bytes().unwrap();
        sector[at..at + bytes.len()].copy_from_slice(&bytes);
    }

    fn blank() -> Vec<u8> {
        vec![0xFF; 4096]
    }

    #[test]
    fn what_was_written_first_is_what_the_box_is() {
        let mut sector = blank();
        assert_eq!(find_identity(&sector), Found::Blank([0, 256]));
        put(&mut sector, 0, &identity(1));
        assert_eq!(
            find_identity(&sector),
            Found::Identity(identity(1)),
            "the power failed before the second"
        );
        put(&mut sector, 1, &identity(1));
        put(&mut sector, 2, &identity(2));
        assert_eq!(find_identity(&sector), Found::Identity(identity(1)));
        sector[80] ^= 4;
        assert_eq!(find_identity(&sector), Found::Identity(identity(1)), "the second stands for the first");
    }

    #[test]
    fn a_first_attempt_that_was_torn_is_followed_by_another_and_rot_by_none() {
        let mut sector = blank();
        put(&mut sector, 0, &identity(1));
        sector[60..].fill(0xFF);
        assert_eq!(find_identity(&sector), Found::Blank([512, 768]));
        put(&mut sector, 2, &identity(2));
        assert_eq!(find_identity(&sector), Found::Identity(identity(2)));
        put(&mut sector, 3, &identity(2));
        for place in [2, 3] {
            sector[place * IDENTITY_PLACE_BYTES + 80] ^= 4;
        }
        assert_eq!(find_identity(&sector), Found::Damaged);
        assert_eq!(find_identity(&[0; 4096]), Found::Damaged);
        assert_eq!(find_identity(&[]), Found::Damaged);
    }

    #[test]
    fn a_serial_can_be_typed_and_nothing_else_passes_for_one() {
        let serial = Serial::from_random([0, 31, 32, 10, 11, 255, 1, 2, 3, 4]);
        assert_eq!(serial.as_str(), "PS-0Z0AB-Z1234");
        assert_eq!(Serial::parse("ps-0z0ab-z1234"), Some(serial));
        for text in
            ["", "PS-0Z0AB-Z123", "PS-0Z0AB_Z1234", "PS-0Z0AB-Z123I", "XX-0Z0AB-Z1234", "PS-0Z0AB-Z1234 "]
        {
            assert_eq!(Serial::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_address_that_is_made_is_local_and_that_of_one_machine() {
        let macs: Vec<_> = (0..=255).map(|number| local_mac(Serial::from_random([number; 10]))).collect();
        assert!(macs.iter().all(|mac| mac[0] & 3 == 2));
        assert_eq!(macs[7], local_mac(Serial::from_random([7; 10])));
        assert_ne!(macs[7], macs[8]);
    }

    #[test]
    fn the_name_of_a_board_fits_or_is_refused() {
        for board in ["", "Board", "a b", &"x".repeat(33)] {
            assert_eq!(
                Identity { board: board.into(), ..identity(1) }.to_bytes(),
                Err(NameError),
                "{board:?}"
            );
        }
        let longest = Identity { board: "x".repeat(32), ..identity(1) };
        assert_eq!(Identity::from_bytes(&longest.to_bytes().unwrap()), Some(longest));
    }

    #[test]
    fn no_bit_of_it_can_change_unseen() {
        let bytes = identity(5).to_bytes().unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Identity::from_bytes(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn the_key_is_in_no_log() {
        let text = alloc::format!("{:?}", Identity { key: [0xAB; 32], ..identity(1) });
        assert!(!text.contains("171") && text.contains("PS-"), "{text}");
    }

    proptest! {
        #[test]
        fn whatever_a_sector_holds_is_looked_through(sector in proptest::collection::vec(any::<u8>(), 0..2048)) {
            find_identity(&sector);
        }
    }
}
