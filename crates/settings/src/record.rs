//! A settings file in flash.
//!
//! The appliance keeps its settings in a partition of raw flash, twice: each sector can hold a record, the newest intact
//! one is what counts, and a new one is written over the older. So a power cut while settings are written leaves the
//! old ones. A record is the text of the file itself behind a header, and nothing else knows the settings.
//!
//! ```text
//! 0        8         16       20       24
//! ┌────────┬─────────┬────────┬────────┬──────────────┐
//! │ magic  │sequence │ length │ CRC    │ text …       │   little-endian; the CRC is CRC-32C over sequence,
//! └────────┴─────────┴────────┴────────┴──────────────┘   length and text
//! ```

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crc::{CRC_32_ISCSI, Crc, Table};

use crate::FILE_BYTES_MAX;

/// How long the header of a record is, in bytes.
pub const RECORD_HEADER_BYTES: usize = 24;
/// What a record begins with. The last character is the version of this format.
const MAGIC: [u8; 8] = *b"PS-SET-1";

const CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

/// A settings file with its place in the order of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which change this is; the next one is one higher.
    pub sequence: u64,
    /// The text of the file.
    pub text: String,
}

/// Why some bytes hold no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// Nothing was ever written there, or something else.
    Absent,
    /// `PS-C20`: what was written there is torn or has rotted.
    Damaged,
}

impl RecordError {
    /// The stable code under which documents and logs speak of this error, if it is one at all.
    pub const fn code(self) -> Option<&'static str> {
        match self {
            Self::Absent => None,
            Self::Damaged => Some("PS-C20"),
        }
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => out.write_str("there are no settings"),
            Self::Damaged => out.write_str("PS-C20: the settings there are damaged"),
        }
    }
}

impl core::error::Error for RecordError {}

impl Record {
    /// The bytes to be written at the start of an erased sector. `None` if the text is longer than settings may be.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let len_bytes = u32::try_from(self.text.len()).ok().filter(|len| *len as usize <= FILE_BYTES_MAX)?;
        let mut bytes = Vec::with_capacity(RECORD_HEADER_BYTES + self.text.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.sequence.to_le_bytes());
        bytes.extend_from_slice(&len_bytes.to_le_bytes());
        bytes.extend_from_slice(&checksum(&bytes[8..20], self.text.as_bytes()).to_le_bytes());
        bytes.extend_from_slice(self.text.as_bytes());
        Some(bytes)
    }

    /// Reads the record at the start of a sector, of which at least [`FILE_BYTES_MAX`] and the header should be there.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        let (header, rest) = bytes.split_first_chunk::<RECORD_HEADER_BYTES>().ok_or(RecordError::Absent)?;
        if !header.starts_with(&MAGIC) {
            return Err(RecordError::Absent);
        }
        let [.., s0, s1, s2, s3, s4, s5, s6, s7, l0, l1, l2, l3, c0, c1, c2, c3] = *header;
        let len_bytes = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let text =
            rest.get(..len_bytes).filter(|_| len_bytes <= FILE_BYTES_MAX).ok_or(RecordError::Damaged)?;
        if checksum(&header[8..20], text) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err(RecordError::Damaged);
        }
        let text = core::str::from_utf8(text).map_err(|_| RecordError::Damaged)?;
        Ok(Self { sequence: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]), text: text.into() })
    }
}

/// The newest of the records that stand at the starts of these sectors, and in which of them it is.
///
/// # Errors
/// [`RecordError::Damaged`] if there is none and one sector holds what once was one, else [`RecordError::Absent`].
pub fn newest_record<'a>(sectors: impl Iterator<Item = &'a [u8]>) -> Result<(usize, Record), RecordError> {
    let mut newest: Result<(usize, Record), RecordError> = Err(RecordError::Absent);
    for (n, sector) in sectors.enumerate() {
        match (Record::from_bytes(sector), &newest) {
            (Ok(record), Ok((_, other))) if record.sequence <= other.sequence => {}
            (Ok(record), _) => newest = Ok((n, record)),
            (Err(RecordError::Damaged), Err(_)) => newest = Err(RecordError::Damaged),
            (Err(_), _) => {}
        }
    }
    newest
}

fn checksum(header: &[u8], text: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(header);
    digest.update(text);
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn record(sequence: u64, text: &str) -> Record {
        Record { sequence, text: text.into() }
    }

    #[test]
    fn the_newest_intact_record_counts_wherever_it_stands() {
        let mut sectors = [vec![0xFF; 4096], vec![0xFF; 4096]];
        let newest = |sectors: &[Vec<u8>; 2]| newest_record(sectors.iter().map(Vec::as_slice));
        assert_eq!(newest(&sectors), Err(RecordError::Absent));
        let write = |n: usize, record: &Record, sectors: &mut [Vec<u8>; 2]| {
            let bytes = record.to_bytes().unwrap();
            sectors[n][..bytes.len()].copy_from_slice(&bytes);
        };
        write(1, &record(7, "seven"), &mut sectors);
        assert_eq!(newest(&sectors), Ok((1, record(7, "seven"))));
        write(0, &record(8, "eight"), &mut sectors);
        assert_eq!(newest(&sectors), Ok((0, record(8, "eight"))));
        // A bit goes in the newer one: the older one still counts.
        sectors[0][RECORD_HEADER_BYTES] ^= 1;
        assert_eq!(newest(&sectors), Ok((1, record(7, "seven"))));
        sectors[1].truncate(RECORD_HEADER_BYTES + 2);
        assert_eq!(newest(&sectors), Err(RecordError::Damaged));
    }

    #[test]
    fn no_bit_of_a_record_can_change_unseen() {
        let bytes = record(3, "[system]\n").to_bytes().unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::from_bytes(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_text_longer_than_settings_may_be_is_not_written() {
        let longest = String::from_utf8(vec![b'#'; FILE_BYTES_MAX]).unwrap();
        let bytes = record(1, &longest).to_bytes().unwrap();
        assert_eq!(Record::from_bytes(&bytes).unwrap().text, longest);
        assert!(record(1, &(longest + "#")).to_bytes().is_none());
    }
}
