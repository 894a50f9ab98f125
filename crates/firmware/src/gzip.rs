//! Out of gzip (RFC 1952), in one go.

use alloc::boxed::Box;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use crate::Error;

/// What every file of gzip begins with.
const MAGIC: [u8; 2] = [0x1F, 0x8B];

/// Whether that is a file of gzip.
pub fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Unpacks a file of gzip, and says how long it is. The checksum is not looked at: the signature covers what was packed, and
/// was verified.
///
/// # Errors
/// [`Error::Gzip`], and `too_large` if there is no room.
pub fn gunzip(gzip: &[u8], into: &mut [u8], too_large: Error) -> Result<usize, Error> {
    /// What follows the first ten bytes of a header.
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    const CRC: u8 = 2;
    let (head, mut rest) = gzip.split_first_chunk::<10>().ok_or(Error::Gzip)?;
    let [magic0, magic1, 8, flags, ..] = *head else { return Err(Error::Gzip) };
    if [magic0, magic1] != MAGIC {
        return Err(Error::Gzip);
    }
    if flags & EXTRA != 0 {
        let (len, behind) = rest.split_first_chunk::<2>().ok_or(Error::Gzip)?;
        rest = behind.get(usize::from(u16::from_le_bytes(*len))..).ok_or(Error::Gzip)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|byte| *byte == 0).ok_or(Error::Gzip)?;
            rest = rest.get(end + 1..).ok_or(Error::Gzip)?;
        }
    }
    if flags & CRC != 0 {
        rest = rest.get(2..).ok_or(Error::Gzip)?;
    }
    let mut decompressor = Box::<DecompressorOxide>::default();
    let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, used, len_bytes) = decompress(&mut decompressor, rest, into, 0, flags);
    match status {
        TINFLStatus::Done => {}
        TINFLStatus::HasMoreOutput => return Err(too_large),
        _ => return Err(Error::Gzip),
    }
    let size = rest.get(used..).and_then(|trailer| trailer.get(4..8)).and_then(|size| size.try_into().ok());
    if size.map(u32::from_le_bytes) == Some(len_bytes as u32) { Ok(len_bytes) } else { Err(Error::Gzip) }
}
