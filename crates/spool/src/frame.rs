//! Frames: the smallest pieces of the log that can be told to be whole.
//!
//! ```text
//!  0       2     3      4          8               16             20           24
//!  ├ magic ┼ kind ┼ flags ┼ len ────┼ msg_id ────────┼ payload_crc ─┼ header_crc ┼ payload … ┤ padding to 16
//! ```
//!
//! Header and payload have a CRC-32C each, so that a rotten payload does not lose the walk to the next frame. Both
//! are seeded with the volume and the sequence number of the segment, so that what an earlier life of the segment
//! left behind never passes; the header's also with the frame's own offset, so that a misdirected write does not.

#[cfg(any(test, not(feature = "std")))]
use crc::{CRC_32_ISCSI, Crc, Table};

use crate::proof::Protection;

/// The length of a frame's header in bytes.
pub(crate) const HEADER_BYTES: usize = 24;
/// Where the header's CRC stands in it, behind all that it covers.
pub(crate) const HEADER_CRC_AT: usize = 20;
/// Frames begin at multiples of this many bytes.
pub(crate) const ALIGN: usize = 16;
/// The longest payload of a frame in bytes.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

const MAGIC: u16 = 0x5350;
/// A reader that does not know the kind of this frame may pass over it.
pub(crate) const FLAG_SKIPPABLE: u8 = 0x01;

/// The CRC-32C (iSCSI) of `bytes`, begun with this value of the reflected register.
fn crc32c(register: u32, bytes: &[u8]) -> u32 {
    #[cfg(feature = "std")]
    return crc32c::crc32c_append(!register, bytes);
    #[cfg(not(feature = "std"))]
    return by_table(register, bytes);
}

/// The same where no instruction is known to do it.
#[cfg(any(test, not(feature = "std")))]
fn by_table(register: u32, bytes: &[u8]) -> u32 {
    static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
    let mut digest = CRC.digest_with_initial(register.reverse_bits());
    digest.update(bytes);
    digest.finalize()
}

/// What a frame holds. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    SegmentHeader = 1,
    Begin = 2,
    Recipients = 3,
    Chunk = 4,
    Extents = 5,
    Commit = 6,
    Status = 7,
    Meta = 8,
    Event = 9,
    SegmentState = 10,
    GroupEnd = 11,
    Summary = 12,
    Footer = 13,
    Proof = 14,
    Nop = 15,
    Checkpoint = 16,
    Root = 17,
}

impl Kind {
    pub(crate) fn from_u8(kind: u8) -> Option<Self> {
        Some(match kind {
            1 => Self::SegmentHeader,
            2 => Self::Begin,
            3 => Self::Recipients,
            4 => Self::Chunk,
            5 => Self::Extents,
            6 => Self::Commit,
            7 => Self::Status,
            8 => Self::Meta,
            9 => Self::Event,
            10 => Self::SegmentState,
            11 => Self::GroupEnd,
            12 => Self::Summary,
            13 => Self::Footer,
            14 => Self::Proof,
            15 => Self::Nop,
            16 => Self::Checkpoint,
            17 => Self::Root,
            _ => return None,
        })
    }
}

/// What both CRCs of a frame begin with: a value of the reflected register. FORMAT.md gives it as the parameter "init" of
/// the CRC, which has its bits the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    /// For segment headers, which must be readable before the volume is known.
    pub(crate) const HEADER: Self = Self(0x5045_4E53_u32.reverse_bits());

    pub(crate) fn of_segment(volume: &[u8; 16], sequence: u64) -> Self {
        if !Protection::SeededCrc.is_on() {
            return Self::HEADER;
        }
        let mut name = [0; 24];
        name[..16].copy_from_slice(volume);
        name[16..].copy_from_slice(&sequence.to_le_bytes());
        Self(crc32c(u32::MAX, &name).reverse_bits())
    }

    pub(crate) fn crc(self, bytes: &[u8]) -> u32 {
        crc32c(self.0, bytes)
    }

    /// The seed that begins with this value of the reflected register.
    pub(crate) const fn from_register(register: u32) -> Self {
        Self(register)
    }

    /// Covers the header up to this CRC, and its place.
    pub(crate) fn header_crc(self, header: &[u8; HEADER_CRC_AT], offset: u32) -> u32 {
        let mut covered = [0; HEADER_CRC_AT + 4];
        covered[..HEADER_CRC_AT].copy_from_slice(header);
        covered[HEADER_CRC_AT..].copy_from_slice(&offset.to_le_bytes());
        crc32c(self.0, &covered)
    }
}

/// Folds the CRCs of a frame into the chain that a GROUP_END carries.
pub(crate) fn chain(previous: u32, header: &Header) -> u32 {
    let mut crcs = [0; 8];
    crcs[..4].copy_from_slice(&header.payload_crc.to_le_bytes());
    crcs[4..].copy_from_slice(&header.header_crc.to_le_bytes());
    crc32c(previous.reverse_bits(), &crcs)
}

/// The header of a frame, after its CRC was found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) len: u32,
    pub(crate) msg_id: u64,
    pub(crate) payload_crc: u32,
    pub(crate) header_crc: u32,
}

impl Header {
    /// The frame's length on flash: header, payload, padding.
    pub(crate) fn frame_bytes(&self) -> usize {
        frame_bytes(self.len as usize)
    }

    /// Reads a header at `offset` of a segment; `None` if these bytes are none.
    pub(crate) fn decode(bytes: &[u8], seed: Seed, offset: u32) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let covered: &[u8; HEADER_CRC_AT] = bytes.first_chunk()?;
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if u16::from_le_bytes([bytes[0], bytes[1]]) != MAGIC {
            return None;
        }
        let header = Self {
            kind: bytes[2],
            flags: bytes[3],
            len: u32_at(4),
            msg_id: u64::from(u32_at(8)) | u64::from(u32_at(12)) << 32,
            payload_crc: u32_at(16),
            header_crc: u32_at(20),
        };
        let whole = header.header_crc == seed.header_crc(covered, offset);
        (whole && header.len as usize <= PAYLOAD_BYTES_MAX).then_some(header)
    }
}

/// Whether these bytes look like the header of a frame, its CRC aside.
pub(crate) fn is_plausible(bytes: &[u8]) -> bool {
    let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else { return false };
    let len = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    u16::from_le_bytes([bytes[0], bytes[1]]) == MAGIC
        && Kind::from_u8(bytes[2]).is_some()
        && len as usize <= PAYLOAD_BYTES_MAX
}

/// The length on flash of a frame with a payload of `len_bytes`.
pub(crate) const fn frame_bytes(len_bytes: usize) -> usize {
    (HEADER_BYTES + len_bytes).next_multiple_of(ALIGN)
}

/// Completes a frame whose payload already stands in `frame[HEADER_BYTES..]`; zeroes its padding.
pub(crate) fn seal(
    frame: &mut [u8],
    len_bytes: usize,
    kind: Kind,
    flags: u8,
    msg_id: u64,
    seed: Seed,
    offset: u32,
) -> Header {
    let end = HEADER_BYTES + len_bytes;
    let payload_crc = seed.crc(&frame[HEADER_BYTES..end]);
    let mut covered = [0; HEADER_CRC_AT];
    covered[0..2].copy_from_slice(&MAGIC.to_le_bytes());
    covered[2] = kind as u8;
    covered[3] = flags;
    covered[4..8].copy_from_slice(&(len_bytes as u32).to_le_bytes());
    covered[8..16].copy_from_slice(&msg_id.to_le_bytes());
    covered[16..20].copy_from_slice(&payload_crc.to_le_bytes());
    let header_crc = seed.header_crc(&covered, offset);
    frame[..HEADER_CRC_AT].copy_from_slice(&covered);
    frame[HEADER_CRC_AT..HEADER_BYTES].copy_from_slice(&header_crc.to_le_bytes());
    frame[end..frame_bytes(len_bytes)].fill(0);
    Header { kind: kind as u8, flags, len: len_bytes as u32, msg_id, payload_crc, header_crc }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> ([u8; 64], Seed) {
        let seed = Seed::of_segment(&[7; 16], 42);
        let mut frame = [0xAA; 64];
        frame[HEADER_BYTES..HEADER_BYTES + 11].copy_from_slice(b"hello flash");
        seal(&mut frame, 11, Kind::Chunk, 0, 99, seed, 4096);
        (frame, seed)
    }

    #[test]
    fn a_sum_is_the_same_by_instruction_and_by_table() {
        let bytes: [u8; 300] = core::array::from_fn(|at| (at * 37 + at / 7) as u8);
        for register in [0, 1, 0x1234_5678, u32::MAX] {
            for len in [0, 1, 7, 8, 24, 255, 300] {
                let bytes = &bytes[..len];
                assert_eq!(crc32c(register, bytes), by_table(register, bytes), "{register:x} {len}");
            }
        }
    }

    #[test]
    fn a_frame_reads_back_only_at_its_place_in_its_segment_in_its_life() {
        let (frame, seed) = sample();
        let header = Header::decode(&frame, seed, 4096).unwrap();
        assert_eq!((header.kind, header.len, header.msg_id), (Kind::Chunk as u8, 11, 99));
        assert_eq!(seed.crc(&frame[HEADER_BYTES..HEADER_BYTES + 11]), header.payload_crc);
        assert_eq!(Header::decode(&frame, seed, 8192), None);
        assert_eq!(Header::decode(&frame, Seed::of_segment(&[7; 16], 43), 4096), None);
        assert_eq!(Header::decode(&frame, Seed::of_segment(&[8; 16], 42), 4096), None);
    }

    #[test]
    fn any_flipped_bit_of_a_frame_is_noticed() {
        let (good, seed) = sample();
        for bit in 0..(HEADER_BYTES + 11) * 8 {
            let mut frame = good;
            frame[bit / 8] ^= 1 << (bit % 8);
            let seen = Header::decode(&frame, seed, 4096)
                .is_some_and(|h| h.payload_crc == seed.crc(&frame[HEADER_BYTES..HEADER_BYTES + 11]));
            assert!(!seen, "bit {bit}");
        }
    }

    #[test]
    fn blank_flash_is_no_frame() {
        for blank in [0x00, 0xFF] {
            let bytes = [blank; HEADER_BYTES];
            assert_eq!(Header::decode(&bytes, Seed::HEADER, 0), None);
            assert_eq!(Header::decode(&bytes, Seed::of_segment(&[0; 16], 0), 0), None);
        }
    }
}
