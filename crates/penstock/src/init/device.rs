//! Partitions of raw flash, as the kernel shows them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::Error;

/// Where the kernel lists them.
const LIST: &str = "/sys/class/mtd";

/// A partition.
#[derive(Debug)]
pub(super) struct Partition {
    device: PathBuf,
    size_bytes: u64,
    sector_bytes: u64,
}

impl Partition {
    /// Finds a partition by its name.
    pub(super) fn find(name: &'static str) -> Result<Self, Error> {
        let list = Path::new(LIST);
        let entries = fs::read_dir(list).map_err(|_| Error::NoPartition(name))?;
        for entry in entries.flatten() {
            let text = |key: &str| fs::read_to_string(entry.path().join(key)).unwrap_or_default();
            // Beside each one stands its read-only twin, `mtd3ro`, which has no name of its own.
            if text("name").trim() != name {
                continue;
            }
            let number = |key: &str| text(key).trim().parse().ok();
            if let (Some(size_bytes), Some(sector_bytes)) = (number("size"), number("erasesize")) {
                let device = Path::new("/dev").join(entry.file_name());
                return Ok(Self { device, size_bytes, sector_bytes });
            }
        }
        Err(Error::NoPartition(name))
    }

    /// The first bytes of each of its sectors.
    pub(super) fn read_sectors(&self, len_bytes: usize) -> Result<Vec<Vec<u8>>, Error> {
        let sector_bytes = self.sector_bytes.max(1);
        let len_bytes = len_bytes.min(usize::try_from(sector_bytes).unwrap_or(usize::MAX));
        let read = || -> io::Result<Vec<Vec<u8>>> {
            let file = File::open(&self.device)?;
            (0..self.size_bytes / sector_bytes)
                .map(|sector| {
                    let mut bytes = vec![0; len_bytes];
                    file.read_exact_at(&mut bytes, sector * sector_bytes)?;
                    Ok(bytes)
                })
                .collect()
        };
        read().map_err(|source| Error::File { path: self.device.clone(), source })
    }
}
