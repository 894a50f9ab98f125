//! The frames of an image, found, and sealed again after something changed them.
//!
//! CRCs keep rot from the decoders behind them, and so they keep tests from those decoders too. With [`find`] a test
//! knows where frames are; it changes what it likes in the image, as `FORMAT.md` draws it, and [`reseal`] makes all
//! CRCs right again, so that a mount takes the lie for what was written.

use alloc::vec::Vec;

use penstock_flash::{Geometry, ReadAt};

use crate::frame::{self, HEADER_BYTES, Header, Kind, Seed};
use crate::record;
use crate::segment::{Layout, SegmentHeader, read_header};

/// A whole frame of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameAt {
    /// The segment it stands in.
    pub segment: u32,
    /// Its offset there, in bytes.
    pub offset: u32,
    /// The number of its kind.
    pub kind: u8,
    /// The message it belongs to, or a group's number.
    pub msg_id: u64,
    /// The length of its payload, in bytes.
    pub len_bytes: u32,
}

impl FrameAt {
    /// Where it begins in the image.
    pub fn start(&self, geometry: &Geometry) -> usize {
        self.segment as usize * geometry.segment_bytes as usize + self.offset as usize
    }

    /// Where its payload begins in the image.
    pub fn payload(&self, geometry: &Geometry) -> usize {
        self.start(geometry) + HEADER_BYTES
    }

    /// Header, payload and padding, in bytes.
    pub fn frame_bytes(&self) -> usize {
        frame::frame_bytes(self.len_bytes as usize)
    }
}

/// An image as something to read from.
#[derive(Clone, Copy)]
struct Image<'a> {
    bytes: &'a [u8],
    segment_bytes: usize,
}

impl ReadAt for Image<'_> {
    fn read(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), penstock_flash::Error> {
        let from = segment as usize * self.segment_bytes + offset as usize;
        let outside = penstock_flash::Error::OutOfBounds { segment, offset };
        into.copy_from_slice(self.bytes.get(from..from + into.len()).ok_or(outside)?);
        Ok(())
    }
}

/// The frames of an image whose header is whole, segment by segment, in order. Segments without a header have none.
pub fn find(image: &[u8], geometry: &Geometry) -> Vec<FrameAt> {
    let mut found = Vec::new();
    let Ok(layout) = Layout::of(geometry) else { return found };
    let segment_bytes = geometry.segment_bytes as usize;
    let reader = Image { bytes: image, segment_bytes };
    for (segment, bytes) in (0u32..).zip(image.chunks_exact(segment_bytes)) {
        let Some(record) = read_header(&reader, &layout, segment) else { continue };
        let seed = Seed::of_segment(&record.volume, record.sequence);
        let mut offset = 0;
        while offset < geometry.segment_bytes {
            let seed = if offset < layout.data_start() { Seed::HEADER } else { seed };
            let Some(header) = bytes.get(offset as usize..).and_then(|b| Header::decode(b, seed, offset))
            else {
                offset += frame::ALIGN as u32;
                continue;
            };
            let (kind, msg_id, len_bytes) = (header.kind, header.msg_id, header.len);
            found.push(FrameAt { segment, offset, kind, msg_id, len_bytes });
            offset += header.frame_bytes() as u32;
        }
    }
    found
}

/// Makes the CRCs of frames, and what the ends of their groups say of them, right for what the image now holds.
/// `frames` is what [`find`] gave before it was changed.
pub fn reseal(image: &mut [u8], geometry: &Geometry, frames: &[FrameAt]) {
    let Ok(layout) = Layout::of(geometry) else { return };
    for of_segment in frames.chunk_by(|a, b| a.segment == b.segment) {
        let (mut seed, mut count, mut chained) = (Seed::HEADER, 0, 0);
        for at in of_segment {
            let end = image.len().min((at.segment as usize + 1) * geometry.segment_bytes as usize);
            let Some(frame) = image.get_mut(at.start(geometry)..end) else { continue };
            if at.offset < layout.data_start() {
                seal(frame, Seed::HEADER, at.offset);
                if let Some(record) = frame.get(HEADER_BYTES..).and_then(record::decode::<SegmentHeader>) {
                    seed = Seed::of_segment(&record.volume, record.sequence);
                }
                continue;
            }
            if frame.get(2) == Some(&(Kind::GroupEnd as u8)) {
                if let Some(said) = frame.get_mut(HEADER_BYTES + 8..HEADER_BYTES + 16) {
                    said[..4].copy_from_slice(&u32::to_le_bytes(count));
                    said[4..].copy_from_slice(&u32::to_le_bytes(chained));
                }
                (count, chained) = (0, 0);
                seal(frame, seed, at.offset);
            } else if let Some(header) = seal(frame, seed, at.offset) {
                count += 1;
                chained = frame::chain(chained, &header);
            }
        }
    }
}

/// Makes both CRCs of a frame right. The header, if a reader would take it for one.
fn seal(frame: &mut [u8], seed: Seed, offset: u32) -> Option<Header> {
    let (header, rest) = frame.split_first_chunk_mut::<HEADER_BYTES>()?;
    let len = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
    // A length beyond the segment keeps its CRC: nobody can check it.
    if let Some(payload) = rest.get(..len) {
        header[16..20].copy_from_slice(&seed.crc(payload).to_le_bytes());
    }
    let (covered, crc) = header.split_first_chunk_mut()?;
    crc.copy_from_slice(&seed.header_crc(covered, offset).to_le_bytes());
    Header::decode(header, seed, offset)
}
