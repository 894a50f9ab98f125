//! Volumes as a later version of Penstock would leave them, which writes something that this one does not know: it marks the
//! headers of the segments that it writes (`crates/spool/FORMAT.md`, Headers and Features).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where a frame's fields stand in its header, and how long that is.
const MAGIC: [u8; 2] = 0x5350_u16.to_le_bytes();
const KIND_AT: usize = 2;
const LEN_AT: usize = 4;
const PAYLOAD_CRC_AT: usize = 16;
const HEADER_CRC_AT: usize = 20;
const HEADER_BYTES: usize = 24;
const SEGMENT_HEADER: u8 = 1;
/// What the CRCs of these frames begin with.
const SEED: u32 = 0x5045_4E53;
/// Where both copies of a header stand, whatever the program unit is.
const COPIES_WITHIN: usize = 16 * 1024;
const FRAMES_ALIGN: usize = 16;
/// The payload's byte with the features that change everything.
const INCOMPATIBLE_AT: usize = 3;
/// A bit that has no meaning yet.
const LATER: u8 = 1 << 6;

fn crc(bytes: &[u8]) -> u32 {
    // The seed is meant before the register is reflected, as it is everywhere here.
    crc32c::crc32c_append(!SEED.reverse_bits(), bytes)
}

/// Changes the mark on a volume: whether a version that does not know what a later one wrote may mount it. Returns how many
/// headers there are.
pub fn mark(volume: &Path, segment_bytes: u64, is_of_later_version: bool) -> usize {
    let file = File::options().read(true).write(true).open(volume).unwrap();
    let segments = file.metadata().unwrap().len() / segment_bytes;
    let mut headers = 0;
    for segment in 0..segments {
        let mut bytes = vec![0; COPIES_WITHIN];
        file.read_exact_at(&mut bytes, segment * segment_bytes).unwrap();
        let frames = (0..COPIES_WITHIN).step_by(FRAMES_ALIGN);
        let marked = frames.filter(|at| mark_frame(&mut bytes[*at..], *at, is_of_later_version)).count();
        // What was never written stays so.
        if marked > 0 {
            file.write_all_at(&bytes, segment * segment_bytes).unwrap();
        }
        headers += marked;
    }
    headers
}

/// The same of one frame, if it is the header of a segment.
fn mark_frame(frame: &mut [u8], offset: usize, is_of_later_version: bool) -> bool {
    if !frame.starts_with(&MAGIC) || frame[KIND_AT] != SEGMENT_HEADER {
        return false;
    }
    let (header, rest) = frame.split_at_mut(HEADER_BYTES);
    let header_crc = |header: &[u8]| {
        crc(&[&header[..HEADER_CRC_AT], &(offset as u32).to_le_bytes()].concat()).to_le_bytes()
    };
    if header[HEADER_CRC_AT..] != header_crc(header) {
        return false;
    }
    let len = u32::from_le_bytes(header[LEN_AT..LEN_AT + 4].try_into().unwrap()) as usize;
    let Some(payload) = rest.get_mut(..len) else { return false };
    if is_of_later_version {
        payload[INCOMPATIBLE_AT] |= LATER;
    } else {
        payload[INCOMPATIBLE_AT] &= !LATER;
    }
    header[PAYLOAD_CRC_AT..HEADER_CRC_AT].copy_from_slice(&crc(payload).to_le_bytes());
    let sealed = header_crc(header);
    header[HEADER_CRC_AT..].copy_from_slice(&sealed);
    true
}
