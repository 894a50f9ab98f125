//! Flat binaries: what stands in flash of a program without an operating system, out of the ELF file that the linker made.
//!
//! A processor that is reset knows nothing of ELF: it starts with the first byte, and so does whoever has copied a firmware to
//! where it belongs. What the linker calls the entry may be further on: the first instruction leads there.

use std::path::Path;

use object::Endianness;
use object::elf::{EM_AARCH64, FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader as _, ProgramHeader as _};

use crate::Error;

/// The first bytes of a program are at this address when it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flat {
    /// Where it has to be.
    pub base: u64,
    /// What has to be there.
    pub bytes: Vec<u8>,
}

/// Puts the segments that are loaded behind each other, by the addresses at which they are stored, zeros between.
///
/// # Errors
/// [`Error::Elf`], [`Error::TooLarge`].
pub fn flatten(path: &Path, elf: &[u8], bytes_max: usize) -> Result<Flat, Error> {
    let wrong = |reason: String| Error::Elf { path: path.to_owned(), reason };
    let broken = |error: object::Error| wrong(error.to_string());
    let header = FileHeader64::<Endianness>::parse(elf).map_err(broken)?;
    let endian = header.endian().map_err(broken)?;
    if header.e_machine(endian) != EM_AARCH64 {
        return Err(wrong("it is not for aarch64".into()));
    }
    let segments = header.program_headers(endian, elf).map_err(broken)?;
    let mut loaded = Vec::new();
    for segment in segments.iter().filter(|segment| segment.p_type(endian) == PT_LOAD) {
        let bytes =
            segment.data(endian, elf).map_err(|()| wrong("a segment is outside of the file".into()))?;
        // One that is only cleared is for the program itself to clear.
        if !bytes.is_empty() {
            loaded.push((segment.p_paddr(endian), segment.p_vaddr(endian), bytes));
        }
    }
    loaded.sort_unstable_by_key(|(stored, ..)| *stored);
    let Some(&(stored_base, base, _)) = loaded.first() else {
        return Err(wrong("nothing in it is loaded".into()));
    };
    let mut flat = Vec::new();
    for (stored, _, bytes) in loaded {
        // Never below zero: they are sorted.
        let at = stored - stored_base;
        let end = at.saturating_add(bytes.len() as u64);
        if end > bytes_max as u64 {
            let what = format!("what {} loads", path.display());
            return Err(Error::TooLarge { what, size_bytes: end, room_bytes: bytes_max as u64 });
        }
        let at = at as usize;
        if at < flat.len() {
            return Err(wrong("two segments are stored in the same place".into()));
        }
        flat.resize(at, 0);
        flat.extend_from_slice(bytes);
    }
    Ok(Flat { base, bytes: flat })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0x4640_0000;

    /// An ELF file with these segments (address, bytes, size in memory) and nothing else.
    fn elf(machine: u16, entry: u64, segments: &[(u64, &[u8], u64)]) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        let mut put = |bytes: &[u8]| file.extend_from_slice(bytes);
        put(&2_u16.to_le_bytes());
        put(&machine.to_le_bytes());
        put(&1_u32.to_le_bytes());
        put(&entry.to_le_bytes());
        put(&64_u64.to_le_bytes());
        put(&[0; 12]);
        for field in [64_u16, 56, segments.len() as u16, 64, 0, 0] {
            put(&field.to_le_bytes());
        }
        let mut offset = 64 + 56 * segments.len() as u64;
        for (address, bytes, memory_bytes) in segments {
            put(&PT_LOAD.to_le_bytes());
            put(&7_u32.to_le_bytes());
            for field in [offset, *address, *address, bytes.len() as u64, *memory_bytes, 4096] {
                put(&field.to_le_bytes());
            }
            offset += bytes.len() as u64;
        }
        segments.iter().for_each(|(_, bytes, _)| put(bytes));
        file
    }

    fn flat(file: &[u8], bytes_max: usize) -> Result<Flat, String> {
        flatten(Path::new("a.elf"), file, bytes_max).map_err(|error| error.to_string())
    }

    #[test]
    fn segments_stand_at_their_places_and_what_is_only_cleared_takes_none() {
        let segments: [(u64, &[u8], u64); 3] =
            [(BASE + 8, b"data", 4), (BASE, b"code", 4), (BASE + 0x100_0000, b"", 0x10_0000)];
        let found = flat(&elf(EM_AARCH64, BASE, &segments), 12).unwrap();
        assert_eq!(found, Flat { base: BASE, bytes: b"code\0\0\0\0data".to_vec() });
    }

    #[test]
    fn what_would_not_run_is_refused() {
        let code: [(u64, &[u8], u64); 1] = [(BASE, b"code", 4)];
        for (file, says) in [
            (elf(62, BASE, &code), "not for aarch64"),
            (elf(EM_AARCH64, BASE, &[]), "nothing in it is loaded"),
            (elf(EM_AARCH64, BASE, &[(BASE, b"code", 4), (BASE + 2, b"more", 4)]), "the same place"),
            (b"no program".to_vec(), "PS-A007"),
        ] {
            let error = flat(&file, 1024).unwrap_err();
            assert!(error.contains(says), "{says}: {error}");
        }
        let cut = elf(EM_AARCH64, BASE, &code);
        assert!(flat(&cut[..cut.len() - 1], 1024).unwrap_err().contains("outside of the file"));
    }

    #[test]
    fn one_that_is_too_large_is_refused_with_both_sizes() {
        let error = flat(&elf(EM_AARCH64, BASE, &[(BASE, &[1; 1025], 1025)]), 1024).unwrap_err();
        assert!(error.contains("PS-A004") && error.contains("1025") && error.contains("1024"), "{error}");
    }
}
