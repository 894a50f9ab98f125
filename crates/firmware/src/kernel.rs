//! The kernel: out of its gzip, and whether it is one (Linux, `Documentation/arch/arm64/booting.rst`).

use crate::Error;
use crate::gzip::gunzip;
use crate::plan::KERNEL_ALIGN_BYTES;

/// What a kernel has at its beginning.
const HEADER_BYTES: usize = 64;
/// What stands at [`MAGIC_AT`].
const MAGIC: [u8; 4] = *b"ARM\x64";
const MAGIC_AT: usize = 56;
const TEXT_OFFSET_AT: usize = 8;
const IMAGE_SIZE_AT: usize = 16;
const FLAGS_AT: usize = 24;
/// Of the flags: the kernel is big-endian.
const FLAG_BIG_ENDIAN: u64 = 1;

/// A kernel in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Where it begins and is entered, in bytes from the beginning of its place.
    pub offset: usize,
    /// How much of its place it needs from there, in bytes: its file, and what it clears behind that.
    pub len_bytes: usize,
}

/// Unpacks a kernel into its place, which begins at a multiple of 2 MiB.
///
/// # Errors
/// [`Error::Gzip`], [`Error::NotKernel`], [`Error::KernelTooLarge`].
pub fn unpack(gzip: &[u8], place: &mut [u8]) -> Result<Kernel, Error> {
    let file_bytes = gunzip(gzip, place, Error::KernelTooLarge)?;
    let file = place.get(..file_bytes).ok_or(Error::KernelTooLarge)?;
    let long =
        |at: usize| file.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
    if file.len() < HEADER_BYTES || file.get(MAGIC_AT..MAGIC_AT + 4) != Some(&MAGIC[..]) {
        return Err(Error::NotKernel);
    }
    let [Some(text_offset), Some(image_size), Some(flags)] =
        [TEXT_OFFSET_AT, IMAGE_SIZE_AT, FLAGS_AT].map(long)
    else {
        return Err(Error::NotKernel);
    };
    // Without a size it is older than 3.17, and nobody knows what it clears.
    if image_size == 0 || flags & FLAG_BIG_ENDIAN != 0 || text_offset >= KERNEL_ALIGN_BYTES {
        return Err(Error::NotKernel);
    }
    let len_bytes = image_size.max(file_bytes as u64);
    if text_offset.checked_add(len_bytes).is_none_or(|end| end > place.len() as u64) {
        return Err(Error::KernelTooLarge);
    }
    let kernel = Kernel { offset: text_offset as usize, len_bytes: len_bytes as usize };
    place.copy_within(..file_bytes, kernel.offset);
    Ok(kernel)
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;
    use std::io::Write as _;

    use flate2::{Compression, GzBuilder};
    use proptest::prelude::*;

    use super::*;

    const FILE_BYTES: usize = 5000;

    fn image(text_offset: u64, image_size: u64) -> Vec<u8> {
        let mut file: Vec<u8> = (0..FILE_BYTES).map(|at| (at / 7) as u8).collect();
        file[TEXT_OFFSET_AT..][..8].copy_from_slice(&text_offset.to_le_bytes());
        file[IMAGE_SIZE_AT..][..8].copy_from_slice(&image_size.to_le_bytes());
        file[FLAGS_AT..][..8].copy_from_slice(&0xA_u64.to_le_bytes());
        file[MAGIC_AT..][..4].copy_from_slice(&0x644D_5241_u32.to_le_bytes());
        file
    }

    fn packed(file: &[u8]) -> Vec<u8> {
        let mut gzip = GzBuilder::new().write(Vec::new(), Compression::default());
        gzip.write_all(file).unwrap();
        gzip.finish().unwrap()
    }

    #[test]
    fn a_kernel_comes_to_lie_where_it_asks_to() {
        for text_offset in [0, 0x800] {
            let file = image(text_offset, 20_000);
            let mut place = vec![0; 32_768];
            let kernel = unpack(&packed(&file), &mut place).unwrap();
            assert_eq!(kernel, Kernel { offset: text_offset as usize, len_bytes: 20_000 });
            assert_eq!(place[kernel.offset..][..FILE_BYTES], file);
        }
    }

    #[test]
    fn whatever_gzip_writes_into_its_header_is_passed_over() {
        let file = image(0, 20_000);
        let builder = GzBuilder::new().filename("Image").comment("a kernel").extra([1, 2, 3]);
        let mut gzip = builder.write(Vec::new(), Compression::fast());
        gzip.write_all(&file).unwrap();
        let mut place = vec![0; 32_768];
        assert!(unpack(&gzip.finish().unwrap(), &mut place).is_ok());
    }

    #[test]
    fn what_is_no_kernel_is_not_started() {
        let mut place = vec![0; 32_768];
        let mut verdict = |file: &[u8]| unpack(&packed(file), &mut place);
        assert_eq!(verdict(&image(0, 0)), Err(Error::NotKernel), "older than anybody knows");
        assert_eq!(verdict(&image(4 << 20, 20_000)), Err(Error::NotKernel));
        assert_eq!(verdict(&image(0, 32_769)), Err(Error::KernelTooLarge));
        assert_eq!(verdict(&image(1, 32_768)), Err(Error::KernelTooLarge));
        assert_eq!(verdict(&image(0, u64::MAX)), Err(Error::KernelTooLarge));
        assert_eq!(verdict(b"short"), Err(Error::NotKernel));
        let mut other = image(0, 20_000);
        other[MAGIC_AT] = b'X';
        assert_eq!(verdict(&other), Err(Error::NotKernel));
        let mut big_endian = image(0, 20_000);
        big_endian[FLAGS_AT] |= 1;
        assert_eq!(verdict(&big_endian), Err(Error::NotKernel));
        assert_eq!(verdict(&vec![0; 40_000]), Err(Error::KernelTooLarge));
        assert_eq!(unpack(b"no gzip at all", &mut place), Err(Error::Gzip));
        let gzip = packed(&image(0, 20_000));
        for len in 0..gzip.len() {
            assert!(unpack(&gzip[..len], &mut place).is_err(), "{len} bytes of {}", gzip.len());
        }
    }

    proptest! {
        #[test]
        fn whatever_it_is_it_ends(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let mut place = [0; 4096];
            let gzip = [&[0x1F, 0x8B, 8][..], &bytes].concat();
            let _ = unpack(&bytes, &mut place);
            let _ = unpack(&gzip, &mut place);
        }
    }
}
