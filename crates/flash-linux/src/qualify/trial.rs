//! Records written one by one, each acknowledged only after its flush, until the power is pulled; and the count after it.
//!
//! A [`Trial`] is a file or device of which the first [`TRIAL_BYTES`] are a ring of records of 4 KiB. Each carries its
//! number, the name of its run and a CRC, so that what is old, torn or foreign does not pass. Whoever writes tells each
//! number to somebody that survives the cut; afterwards every record up to the last number told must be there. Only the
//! few that may have been under way when the power failed can be gone, and only from the oldest end of the ring.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crc::{CRC_32_ISCSI, Crc, Table};

use super::latency::{Latencies, STRETCH_BYTES};
use crate::aligned::AlignedBuffer;
use crate::error::VolumeError;
use crate::volume::{check_kind, lock, open_for_writing};

/// The room of a trial in bytes.
pub const TRIAL_BYTES: u64 = 64 * 1024 * 1024;
/// The name of the scratch file in a folder.
pub const SCRATCH_NAME: &str = "penstock-qualify.scratch";

const RECORD_BYTES: usize = 4096;
const SLOTS: u64 = TRIAL_BYTES / RECORD_BYTES as u64;
/// Records that may have been written, and so may have overwritten older ones, after the last number that was heard of.
const UNHEARD_MAX: u64 = 1024;
const MAGIC: [u8; 16] = *b"PENSTOCK-TRIAL-1";
const CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
const _: () = assert!(STRETCH_BYTES <= TRIAL_BYTES && UNHEARD_MAX < SLOTS / 2);

/// A place to write records to.
#[derive(Debug)]
pub struct Trial {
    path: PathBuf,
    file: File,
    run: [u8; 16],
    page: AlignedBuffer,
    next: u64,
}

/// What is left of a trial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// Records that must be there: acknowledged, and not overwritten by later ones.
    pub expected: u64,
    /// Those among them that are not.
    pub lost: u64,
    /// The first of those.
    pub first_lost: Option<u64>,
    /// The last record that is there, acknowledged or not.
    pub last: u64,
}

/// Where the records of a trial are: in a scratch file if the path is a folder, else on the device itself.
pub fn place(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(SCRATCH_NAME) } else { path.to_owned() }
}

impl Trial {
    /// Begins a trial: makes and fills a scratch file in a folder, or overwrites the first [`TRIAL_BYTES`] of a device.
    /// That a device may be destroyed is for the caller to ask.
    ///
    /// # Errors
    /// [`VolumeError`]; a file that is no scratch file of a trial is not touched.
    pub fn begin(path: &Path) -> Result<Self, VolumeError> {
        let is_device = check_kind_of(path)?;
        let target = place(path);
        if !is_device && path == target {
            return Err(VolumeError::Exists { path: target });
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(!is_device);
        let (file, _) = open_for_writing(&target, &options)?;
        lock(&file, &target)?;
        let mut run = [0; 16];
        let random = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut run));
        random.map_err(VolumeError::io("name a run on", &target))?;
        let trial = Self { path: target, file, run, page: AlignedBuffer::new(RECORD_BYTES), next: 1 };
        trial.fill().map_err(VolumeError::io("write", &trial.path))?;
        Ok(trial)
    }

    /// So that no record of an earlier run is there, and no write has to find room.
    fn fill(&self) -> io::Result<()> {
        let zeros = AlignedBuffer::new(1024 * 1024);
        for at in (0..TRIAL_BYTES).step_by(zeros.len()) {
            self.file.write_all_at(&zeros, at)?;
        }
        self.file.sync_all()?;
        // The name of a new file must be there after the cut, too.
        let folder = self.path.parent().filter(|_| self.path.ends_with(SCRATCH_NAME));
        folder.map_or(Ok(()), |folder| File::open(folder).and_then(|folder| folder.sync_all()))
    }

    /// How long writes take here. The records that were there are gone then.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn measure(&self) -> Result<Latencies, VolumeError> {
        Latencies::measure(&self.file).map_err(|error| VolumeError::io("write", &self.path)(error.into()))
    }

    /// Writes the next record and flushes. When it returns, the device has said that the record is safe.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write_next(&mut self) -> Result<u64, VolumeError> {
        let number = self.next;
        encode(&mut self.page, &self.run, number);
        let at = number % SLOTS * RECORD_BYTES as u64;
        let written = self.file.write_all_at(&self.page, at).and_then(|()| self.file.sync_data());
        written.map_err(VolumeError::io("write", &self.path))?;
        self.next += 1;
        Ok(number)
    }

    /// Takes a scratch file away. A device stays as it is.
    pub fn remove(self) {
        if self.path.ends_with(SCRATCH_NAME) {
            // If it cannot be, it is in nobody's way.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Looks for every record up to the last number that was heard of.
///
/// # Errors
/// What the operating system says.
pub fn verify(path: &Path, acknowledged: u64) -> Result<Remains, VolumeError> {
    check_kind_of(path)?;
    let target = place(path);
    let file = File::open(&target).map_err(VolumeError::io("open", &target))?;
    let mut numbers = vec![None; SLOTS as usize];
    let mut page = vec![0; RECORD_BYTES];
    let mut runs = Vec::new();
    for (slot, number) in numbers.iter_mut().enumerate() {
        // What cannot be read is not there.
        if file.read_exact_at(&mut page, (slot * RECORD_BYTES) as u64).is_ok()
            && let Some((run, found)) = decode(&page)
            && found % SLOTS == slot as u64
        {
            runs.push(run);
            *number = Some((run, found));
        }
    }
    runs.sort_unstable();
    // The run that most records belong to: a device may hold some of an earlier one.
    let run =
        runs.chunk_by(|a, b| a == b).max_by_key(|same| same.len()).and_then(|same| same.first().copied());
    let there = |wanted: u64| {
        let found = numbers[(wanted % SLOTS) as usize];
        // A later record in its place was written over it.
        found.is_some_and(|(of, number)| Some(of) == run && number >= wanted)
    };
    let first = (acknowledged + UNHEARD_MAX + 1).saturating_sub(SLOTS).max(1);
    let mut remains = Remains::default();
    for wanted in first..=acknowledged {
        remains.expected += 1;
        if !there(wanted) {
            remains.lost += 1;
            remains.first_lost.get_or_insert(wanted);
        }
    }
    let of_run = numbers.iter().flatten().filter(|(of, _)| Some(*of) == run);
    remains.last = of_run.map(|(_, number)| *number).max().unwrap_or(0);
    Ok(remains)
}

/// A folder stands for a file in it.
fn check_kind_of(path: &Path) -> Result<bool, VolumeError> {
    if path.is_dir() { Ok(false) } else { check_kind(path) }
}

fn encode(page: &mut [u8], run: &[u8; 16], number: u64) {
    page.fill(number as u8);
    page[..16].copy_from_slice(&MAGIC);
    page[16..32].copy_from_slice(run);
    page[32..40].copy_from_slice(&number.to_le_bytes());
    let (covered, crc) = page.split_at_mut(RECORD_BYTES - 4);
    crc.copy_from_slice(&CRC.checksum(covered).to_le_bytes());
}

fn decode(page: &[u8]) -> Option<([u8; 16], u64)> {
    let (covered, crc) = page.split_last_chunk::<4>()?;
    let whole = covered.starts_with(&MAGIC) && CRC.checksum(covered) == u32::from_le_bytes(*crc);
    let run = covered.get(16..32)?.try_into().ok()?;
    let number = u64::from_le_bytes(covered.get(32..40)?.try_into().ok()?);
    whole.then_some((run, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_acknowledged_record_is_found_and_a_missing_or_torn_one_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let mut trial = Trial::begin(dir.path()).unwrap();
        for number in 1..=50 {
            assert_eq!(trial.write_next().unwrap(), number);
        }
        let whole = Remains { expected: 50, lost: 0, first_lost: None, last: 50 };
        assert_eq!(verify(dir.path(), 50).unwrap(), whole);
        assert_eq!(verify(dir.path(), 60).unwrap().first_lost, Some(51));
        // As a device that said it was safe and was not: one record torn, one never written.
        let file = OpenOptions::new().read(true).write(true).open(place(dir.path())).unwrap();
        file.write_all_at(&[0; 4096], 7 * 4096).unwrap();
        file.write_all_at(&[0; 2048], 9 * 4096 + 2048).unwrap();
        let remains = verify(dir.path(), 50).unwrap();
        assert_eq!((remains.lost, remains.first_lost), (2, Some(7)));
        trial.remove();
        assert!(!place(dir.path()).exists());
    }

    #[test]
    fn the_ring_turns_and_what_was_overwritten_is_not_missed() {
        let dir = tempfile::tempdir().unwrap();
        let mut trial = Trial::begin(dir.path()).unwrap();
        trial.next = SLOTS - 10;
        for _ in 0..40 {
            trial.write_next().unwrap();
        }
        // As if all before had been written: they are not there, and those that may be overwritten are not asked for.
        let remains = verify(dir.path(), SLOTS + 29).unwrap();
        assert_eq!(remains.last, SLOTS + 29);
        assert_eq!(remains.expected, SLOTS - UNHEARD_MAX);
        assert_eq!(remains.expected - remains.lost, 40);
    }

    #[test]
    fn a_file_that_is_no_scratch_file_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("volume");
        std::fs::write(&path, b"mail").unwrap();
        assert!(matches!(Trial::begin(&path), Err(VolumeError::Exists { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"mail");
    }
}
