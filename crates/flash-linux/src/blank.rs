//! Whether a disk can be taken for a new volume.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::aligned::AlignedBuffer;

/// How much is read at either end. Everything that people put on disks has a mark there: partition tables, LVM, LUKS, RAID,
/// ZFS and every file system of Linux and Windows.
const EDGE_BYTES: u64 = 1024 * 1024;
/// How much is read at the start of each segment, where a volume that has lost its first segments still has headers.
const PROBE_BYTES: usize = 8192;
/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// Whether nothing was ever written to this block device or file, as far as can be told without reading all of it: in both
/// ends and at the start of each segment every sector is all zeros, or all ones, as erased flash is.
///
/// Both may be there at once: a power cut in the first write of a new volume can leave what pads its header, which is ones,
/// on a disk of zeros, and not the sector with the header.
///
/// A disk of 32 GiB takes some two thousand small reads. They go past the page cache, so that each costs what it reads and no
/// read-ahead.
///
/// # Errors
/// What the operating system says.
pub fn is_blank(path: impl AsRef<Path>, segment_bytes: u32) -> io::Result<bool> {
    let mut file = open(path.as_ref())?;
    let size_bytes = file.seek(SeekFrom::End(0))?;
    let mut blank = Blank { file, size_bytes, buffer: AlignedBuffer::new(PROBE_BYTES) };
    let edge_bytes = EDGE_BYTES.min(size_bytes);
    let probe_bytes = PROBE_BYTES as u64;
    // Direct reads begin at multiples of what they are aligned to.
    let tail = (size_bytes - edge_bytes) / probe_bytes * probe_bytes;
    let every =
        |from: u64, to: u64, step: u64| (from..to).step_by(usize::try_from(step).unwrap_or(usize::MAX));
    let edges = every(0, edge_bytes, probe_bytes).chain(every(tail, size_bytes, probe_bytes));
    let segments = every(0, size_bytes, u64::from(segment_bytes).max(probe_bytes));
    for at in edges.chain(segments) {
        if !blank.is_so_at(at)? {
            return Ok(false);
        }
    }
    Ok(true)
}

struct Blank {
    file: File,
    size_bytes: u64,
    buffer: AlignedBuffer,
}

impl Blank {
    fn is_so_at(&mut self, at: u64) -> io::Result<bool> {
        let len = (self.size_bytes - at).min(PROBE_BYTES as u64) as usize;
        let mut read = 0;
        while read < len {
            match self.file.read_at(&mut self.buffer[read..], at + read as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => read += n,
            }
        }
        let mut sectors = self.buffer[..len].chunks(SECTOR_BYTES);
        Ok(sectors.all(|sector| [0, 0xFF].iter().any(|erased| sector.iter().all(|byte| byte == erased))))
    }
}

fn open(path: &Path) -> io::Result<File> {
    let open = |flags: OFlags| OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path);
    match open(OFlags::DIRECT) {
        // The file system cannot do that.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => open(OFlags::empty()),
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT_BYTES: u32 = 256 * 1024;
    const SIZE_BYTES: u64 = 16 * 1024 * 1024 + 4096;

    fn verdict(fill: u8, marks: &[u64]) -> bool {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().write_all_at(&vec![fill; SIZE_BYTES as usize], 0).unwrap();
        for at in marks {
            file.as_file().write_all_at(&[0xA5], *at).unwrap();
        }
        is_blank(file.path(), SEGMENT_BYTES).unwrap()
    }

    #[test]
    fn a_disk_is_blank_if_it_is_all_zeros_or_all_ones() {
        assert!(verdict(0, &[]));
        assert!(verdict(0xFF, &[]));
        assert!(!verdict(0x55, &[]));
    }

    #[test]
    fn what_a_power_cut_leaves_of_the_first_write_is_still_blank() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(SIZE_BYTES).unwrap();
        for sector in [1, 3, 7] {
            file.as_file().write_all_at(&[0xFF; SECTOR_BYTES], sector * SECTOR_BYTES as u64).unwrap();
        }
        assert!(is_blank(file.path(), SEGMENT_BYTES).unwrap());
        file.as_file().write_all_at(&[0], 1024 - 1).unwrap();
        assert!(!is_blank(file.path(), SEGMENT_BYTES).unwrap(), "no disk tears a sector");
    }

    #[test]
    fn whatever_has_a_mark_where_marks_are_is_not_blank() {
        let table = 510;
        let superblock = 64 * 1024 + 64;
        let (backup_table, odd_end) = (SIZE_BYTES - 512, SIZE_BYTES - 1);
        let (segment, second_copy) = (40 * u64::from(SEGMENT_BYTES), 40 * u64::from(SEGMENT_BYTES) + 4096);
        for at in [table, superblock, backup_table, odd_end, segment, second_copy] {
            assert!(!verdict(0, &[at]), "a byte at {at}");
        }
    }

    #[test]
    fn a_file_that_is_shorter_than_an_edge_is_read_whole() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().write_all_at(&[0; 12_289], 0).unwrap();
        assert!(is_blank(file.path(), SEGMENT_BYTES).unwrap());
        file.as_file().write_all_at(&[1], 12_288).unwrap();
        assert!(!is_blank(file.path(), SEGMENT_BYTES).unwrap());
        assert!(is_blank("/nonexistent", SEGMENT_BYTES).is_err());
    }
}
