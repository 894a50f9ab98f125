//! One flipped bit, found from what a CRC says; and the seed of a frame, found from the frame alone.
//!
//! CRC-32C is linear: the difference between the CRC that stands there and the one that is right (the *syndrome*)
//! depends only on which bits flipped, not on the bytes. A single bit, `n` bits before the end, gives the polynomial
//! shifted `n` times, and over the lengths that frames have no two of them are alike. So the bit is found by shifting
//! until the syndrome turns up, in one pass over the number of bits and none over the bytes.
//!
//! A bit found so is a guess: three flips and more can look like one, and of random damage in a payload of 64 KiB one in
//! 8,192 does. Whoever mends must have another check that has nothing to do with the CRC, and believe that alone.

use crate::frame::{HEADER_BYTES, HEADER_CRC_AT, Header, Seed};

/// The generator of CRC-32C, bits reversed.
const POLYNOMIAL: u32 = 0x82F6_3B78;
/// The bytes that the header's CRC covers and that are not on flash: the offset.
const OFFSET_BYTES: usize = 4;

/// One bit of zero through the register.
const fn shift(register: u32) -> u32 {
    let carry = register & 1;
    (register >> 1) ^ (POLYNOMIAL * carry)
}

/// What the register was one bit of zero before.
const fn shift_back(register: u32) -> u32 {
    // The polynomial alone sets the highest bit.
    let carry = register >> 31;
    ((register ^ (POLYNOMIAL * carry)) << 1) | carry
}

/// The one bit of `len_bytes` bytes whose flip explains a syndrome, counted from the lowest bit of the first byte.
pub(crate) fn flipped_bit(syndrome: u32, len_bytes: usize) -> Option<usize> {
    let mut sign = POLYNOMIAL;
    for bit in (0..len_bytes * 8).rev() {
        if sign == syndrome {
            return Some(bit);
        }
        sign = shift(sign);
    }
    None
}

/// Flips one bit, counted as [`flipped_bit`] does.
pub(crate) fn flip(bytes: &mut [u8], bit: usize) {
    if let Some(byte) = bytes.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
}

/// The header that stands at `offset` if one bit of it is flipped back.
pub(crate) fn mended_header(bytes: &[u8], seed: Seed, offset: u32) -> Option<Header> {
    let mut header: [u8; HEADER_BYTES] = *bytes.first_chunk()?;
    let (covered, crc): (&[u8; HEADER_CRC_AT], _) = header.split_first_chunk()?;
    let stored = u32::from_le_bytes(crc.try_into().ok()?);
    let syndrome = stored ^ seed.header_crc(covered, offset);
    let bit = if syndrome.is_power_of_two() {
        HEADER_CRC_AT * 8 + syndrome.trailing_zeros() as usize
    } else {
        // Where that is a bit of the offset, what it flips is another, and the header is none.
        flipped_bit(syndrome, HEADER_CRC_AT + OFFSET_BYTES)?
    };
    flip(&mut header, bit);
    Header::decode(&header, seed, offset)
}

/// The seed with which the header at `offset` is right, whatever these bytes are: the CRC is run backwards. Only a
/// payload that is right with it too makes it the seed of anything.
pub(crate) fn seed_of(bytes: &[u8], offset: u32) -> Option<Seed> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    let (covered, crc) = header.split_at(HEADER_CRC_AT);
    let mut register = !u32::from_le_bytes(crc.try_into().ok()?);
    for byte in offset.to_le_bytes().iter().rev().chain(covered.iter().rev()) {
        for _ in 0..8 {
            register = shift_back(register);
        }
        register ^= u32::from(*byte);
    }
    Some(Seed::from_register(register))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{self, Kind};
    use alloc::vec;
    use alloc::vec::Vec;

    fn seed() -> Seed {
        Seed::of_segment(&[9; 16], 77)
    }

    #[test]
    fn every_single_flip_of_a_payload_is_found_whatever_its_length() {
        for len in [1, 7, 64, 1000] {
            let good: Vec<u8> = (0..len).map(|at| (at * 37) as u8).collect();
            for bit in 0..len * 8 {
                let mut bad = good.clone();
                flip(&mut bad, bit);
                assert_eq!(flipped_bit(seed().crc(&good) ^ seed().crc(&bad), len), Some(bit), "{len} {bit}");
            }
        }
    }

    #[test]
    fn the_first_and_last_bits_of_the_longest_payload_are_found() {
        let good = vec![0xA7; frame::PAYLOAD_BYTES_MAX];
        for bit in [0, 1, 262_143, good.len() * 8 - 1] {
            let mut bad = good.clone();
            flip(&mut bad, bit);
            assert_eq!(flipped_bit(seed().crc(&good) ^ seed().crc(&bad), good.len()), Some(bit));
        }
    }

    #[test]
    fn two_flips_in_a_record_are_no_single_flip() {
        let good = [0x5Au8; 512];
        for second in 1..4096 {
            let mut bad = good;
            flip(&mut bad, 0);
            flip(&mut bad, second);
            assert_eq!(flipped_bit(seed().crc(&good) ^ seed().crc(&bad), 512), None);
        }
    }

    #[test]
    fn every_single_flip_of_a_header_is_mended_and_no_two() {
        let mut frame = [0u8; 64];
        frame[HEADER_BYTES..HEADER_BYTES + 5].copy_from_slice(b"hello");
        let good = frame::seal(&mut frame, 5, Kind::Chunk, 0, 12345, seed(), 4096);
        for bit in 0..HEADER_BYTES * 8 {
            let mut bad = frame;
            flip(&mut bad, bit);
            assert_eq!(Header::decode(&bad, seed(), 4096), None);
            assert_eq!(mended_header(&bad, seed(), 4096), Some(good), "bit {bit}");
            for second in (0..HEADER_BYTES * 8).filter(|second| *second != bit) {
                let mut worse = bad;
                flip(&mut worse, second);
                assert_eq!(mended_header(&worse, seed(), 4096), None, "bits {bit} and {second}");
            }
        }
    }

    #[test]
    fn a_frame_tells_its_seed() {
        let mut frame = [0u8; 64];
        frame::seal(&mut frame, 5, Kind::Chunk, 0, 12345, seed(), 4096);
        assert_eq!(seed_of(&frame, 4096), Some(seed()));
        assert_ne!(seed_of(&frame, 8192), Some(seed()));
    }
}
