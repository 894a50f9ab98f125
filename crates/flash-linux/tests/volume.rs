//! What a volume promises: created in full or not at all, owned by one, read as programmed.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict, in its helpers too")]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::thread;

use penstock_flash::{Erase, EraseProgress, Error, Geometry, Medium, ReadAt};
use penstock_flash_linux::{AlignedBuffer, Counters, Create, Image, Volume, VolumeError};
use tempfile::TempDir;

const SEGMENT_BYTES: u32 = 1 << 20;
const SMALL: Create = Create { size_bytes: 4 << 20, segment_bytes: SEGMENT_BYTES, overwrite: false };

struct Dir {
    dir: TempDir,
}

impl Dir {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    fn volume(&self) -> PathBuf {
        self.dir.path().join("volume")
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn create(&self) -> Volume {
        Volume::create(self.volume(), &SMALL, |_, _| ()).unwrap()
    }
}

fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|index| (index as u8).wrapping_mul(31).wrapping_add(seed) ^ (index >> 8) as u8).collect()
}

fn read(volume: &Volume, segment: u32, offset: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    volume.reader().read(segment, offset, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_new_file_is_written_out_in_full_and_is_nobody_elses_to_read() {
    let dir = Dir::new();
    let mut steps = Vec::new();
    let options = Create { size_bytes: (9 << 20) + 5, ..SMALL };
    let volume = Volume::create(dir.volume(), &options, |done, total| steps.push((done, total))).unwrap();
    let expected =
        Geometry { segments: 9, segment_bytes: SEGMENT_BYTES, unit_bytes: 4096, erase: Erase::Logical };
    assert_eq!(volume.geometry(), expected);
    let total = 9 << 20;
    assert_eq!(steps, [(0, total), (4 << 20, total), (8 << 20, total), (total, total)]);
    let metadata = std::fs::metadata(dir.volume()).unwrap();
    assert_eq!(metadata.len(), total);
    assert!(metadata.blocks() * 512 >= total, "it has no holes");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(dir.names(), ["volume"]);
    assert!(read(&volume, 8, 0, SEGMENT_BYTES as usize).iter().all(|byte| *byte == 0));
}

#[test]
fn what_exists_is_not_overwritten_unless_that_is_said() {
    let dir = Dir::new();
    std::fs::write(dir.volume(), "a letter").unwrap();
    let refused = Volume::create(dir.volume(), &SMALL, |_, _| ()).unwrap_err();
    assert!(matches!(refused, VolumeError::Exists { .. }), "{refused}");
    assert_eq!(std::fs::read(dir.volume()).unwrap(), b"a letter");

    let told = Create { overwrite: true, ..SMALL };
    let volume = Volume::create(dir.volume(), &told, |_, _| ()).unwrap();
    let refused = Volume::create(dir.volume(), &told, |_, _| ()).unwrap_err();
    assert!(matches!(refused, VolumeError::InUse { .. }), "not even then while it is in use: {refused}");
    drop(volume);
    Volume::open(dir.volume(), SEGMENT_BYTES).unwrap();
}

#[test]
fn a_file_that_appears_meanwhile_is_not_overwritten_and_no_partial_file_stays() {
    let dir = Dir::new();
    let refused = Volume::create(dir.volume(), &SMALL, |done, total| {
        if done == total {
            std::fs::write(dir.volume(), "a letter").unwrap();
        }
    });
    assert!(matches!(refused, Err(VolumeError::Exists { .. })));
    assert_eq!(dir.names(), ["volume"]);
    assert_eq!(std::fs::read(dir.volume()).unwrap(), b"a letter");
}

#[test]
fn what_an_interrupted_creation_left_behind_is_reused() {
    let dir = Dir::new();
    std::fs::write(dir.dir.path().join("volume.partial"), vec![7; 6 << 20]).unwrap();
    let volume = dir.create();
    assert_eq!(dir.names(), ["volume"]);
    assert_eq!(volume.geometry().segments, 4);
    assert!(read(&volume, 3, 0, SEGMENT_BYTES as usize).iter().all(|byte| *byte == 0));
}

#[test]
fn a_volume_that_does_not_fit_is_refused_before_it_fills_the_file_system() {
    let dir = Dir::new();
    let vast = Create { size_bytes: 1 << 45, segment_bytes: 1 << 30, overwrite: false };
    let refused = Volume::create(dir.volume(), &vast, |_, _| ()).unwrap_err();
    let VolumeError::NoSpace { size_bytes, available_bytes, .. } = refused else { panic!("{refused}") };
    assert!(size_bytes == 1 << 45 && available_bytes < size_bytes);
    assert!(dir.names().is_empty());
}

#[test]
fn sizes_that_make_no_segments_are_refused() {
    let dir = Dir::new();
    for (size_bytes, segment_bytes) in [(0, 4096), (4095, 4096), (1 << 20, 0), (1 << 20, 6000)] {
        let options = Create { size_bytes, segment_bytes, overwrite: false };
        let refused = Volume::create(dir.volume(), &options, |_, _| ()).unwrap_err();
        assert!(matches!(refused, VolumeError::BadSize { .. }), "{refused}");
    }
    assert!(dir.names().is_empty());
    dir.create();
    let refused = Volume::open(dir.volume(), 8 << 20).unwrap_err();
    assert!(matches!(refused, VolumeError::BadSize { .. }), "{refused}");
}

#[test]
fn what_is_neither_file_nor_device_or_is_not_there_is_refused() {
    let dir = Dir::new();
    let refused = Volume::open(dir.dir.path(), SEGMENT_BYTES).unwrap_err();
    assert!(matches!(refused, VolumeError::WrongKind { .. }), "{refused}");
    let refused = Volume::open("/dev/null", SEGMENT_BYTES).unwrap_err();
    assert!(matches!(refused, VolumeError::WrongKind { .. }), "{refused}");
    let refused = Volume::open(dir.volume(), SEGMENT_BYTES).unwrap_err();
    assert!(refused.to_string().contains("No such file"), "{refused}");
}

#[test]
fn one_owner_at_a_time_and_readers_count_as_owners() {
    let dir = Dir::new();
    let volume = dir.create();
    let in_use = || matches!(Volume::open(dir.volume(), SEGMENT_BYTES), Err(VolumeError::InUse { .. }));
    assert!(in_use());
    let reader = volume.reader();
    drop(volume);
    assert!(in_use());
    drop(reader);
    assert!(!in_use());
}

#[test]
fn aligned_or_not_what_is_programmed_reads_back_at_any_offset_and_after_a_reopen() {
    let dir = Dir::new();
    let mut volume = dir.create();
    let mut buffer = AlignedBuffer::new(8192);
    buffer.copy_from_slice(&pattern(1, 8192));
    volume.program(1, 4096, &buffer).unwrap();
    // Longer than the bounce buffer, and from an odd address.
    let long = pattern(2, 600 * 1024 + 1);
    volume.program(2, 8192, &long[1..]).unwrap();
    volume.program_through(3, 0, &pattern(3, 4097)[1..]).unwrap();
    volume.sync().unwrap();
    assert_eq!(read(&volume, 1, 4096, 8192), pattern(1, 8192));
    assert_eq!(read(&volume, 2, 8192, 600 * 1024), long[1..]);
    drop(volume);
    let volume = Volume::open(dir.volume(), SEGMENT_BYTES).unwrap();
    assert_eq!(read(&volume, 1, 4096 + 17, 5000), pattern(1, 8192)[17..5017]);
    assert_eq!(read(&volume, 2, 8192 + 300_000, 300_001), long[300_001..600_002]);
    assert_eq!(read(&volume, 3, 0, 4096), pattern(3, 4097)[1..]);
}

#[test]
fn a_page_that_was_read_before_it_was_programmed_is_not_served_again() {
    let dir = Dir::new();
    let mut volume = dir.create();
    for round in 0..50 {
        let offset = round * 4096;
        assert_eq!(read(&volume, 0, offset, 16384), [0; 16384], "read ahead");
        volume.program(0, offset, &pattern(round as u8, 4096)).unwrap();
        assert_eq!(read(&volume, 0, offset, 4096), pattern(round as u8, 4096));
    }
}

#[test]
fn readers_on_other_threads_see_what_was_programmed() {
    let dir = Dir::new();
    let mut volume = dir.create();
    let (sender, receiver) = std::sync::mpsc::channel::<u32>();
    let reader = volume.reader();
    let other = thread::spawn(move || {
        for offset in receiver {
            let mut bytes = [0; 4096];
            reader.read(0, offset, &mut bytes).unwrap();
            assert_eq!(bytes[..], pattern((offset >> 12) as u8, 4096));
        }
    });
    for unit in 0..200 {
        volume.program(0, unit * 4096, &pattern(unit as u8, 4096)).unwrap();
        sender.send(unit * 4096).unwrap();
    }
    drop(sender);
    other.join().unwrap();
}

#[test]
fn the_callers_side_of_the_contract_is_checked() {
    let dir = Dir::new();
    let mut volume = dir.create();
    assert_eq!(volume.program(0, 512, &[0; 4096]), Err(Error::Misaligned { segment: 0, offset: 512 }));
    assert_eq!(volume.program(0, 0, &[0; 512]), Err(Error::Misaligned { segment: 0, offset: 0 }));
    let beside = Err(Error::OutOfBounds { segment: 4, offset: 0 });
    assert_eq!(volume.program(4, 0, &[0; 4096]), beside);
    assert_eq!(volume.program_through(4, 0, &[0; 4096]), beside);
    assert_eq!(volume.reader().read(4, 0, &mut [0]), beside);
    assert_eq!(volume.start_erase(4), beside);
    assert_eq!(volume.counters(), Counters::default(), "nothing of it reached the file");
}

#[test]
fn an_erase_is_done_at_once_and_changes_nothing() {
    let dir = Dir::new();
    let mut volume = dir.create();
    volume.program(1, 0, &pattern(1, 4096)).unwrap();
    volume.start_erase(1).unwrap();
    assert_eq!(volume.start_erase(2), Err(Error::EraseBusy));
    assert_eq!(volume.program(1, 0, &[0; 4096]), Err(Error::EraseBusy));
    assert_eq!(volume.poll_erase(), Ok(EraseProgress::Done));
    assert_eq!(read(&volume, 1, 0, 4096), pattern(1, 4096));
    volume.program(1, 0, &pattern(2, 4096)).unwrap();
    assert_eq!(read(&volume, 1, 0, 4096), pattern(2, 4096));
}

#[test]
fn a_file_that_was_cut_short_is_unreadable_where_it_ends() {
    let dir = Dir::new();
    let volume = dir.create();
    std::fs::OpenOptions::new().write(true).open(dir.volume()).unwrap().set_len(5000).unwrap();
    assert_eq!(volume.reader().read(0, 0, &mut [0; 5000]), Ok(()));
    let beyond = volume.reader().read(0, 4096, &mut [0; 4096]);
    assert_eq!(beyond, Err(Error::Unreadable { segment: 0, offset: 4096 }));
}

#[test]
fn it_counts_what_went_through_it() {
    let dir = Dir::new();
    let mut volume = dir.create();
    volume.program(0, 0, &[0; 8192]).unwrap();
    volume.program_through(0, 8192, &[0; 4096]).unwrap();
    volume.sync().unwrap();
    let reader = volume.reader();
    reader.read(0, 1, &mut [0; 10]).unwrap();
    let expected = Counters {
        read_requests: 1,
        read_bytes: 10,
        program_requests: 2,
        programmed_bytes: 12288,
        through_requests: 1,
        syncs: 1,
    };
    assert_eq!(volume.counters(), expected);
    assert_eq!(reader.counters(), expected);
}

#[test]
fn an_image_is_read_and_never_written_and_not_while_somebody_writes_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("volume");
    std::fs::write(&path, vec![7; 1 << 20]).unwrap();
    let volume = Volume::open(&path, 65536).unwrap();
    assert!(matches!(Image::open(&path, 65536), Err(VolumeError::InUse { .. })));
    drop(volume);
    let mut image = Image::open(&path, 65536).unwrap();
    let beside = Image::open(&path, 65536).unwrap();
    assert!(matches!(Volume::open(&path, 65536), Err(VolumeError::InUse { .. })));
    assert_eq!(image.program(0, 0, &[1; 4096]), Err(Error::Io { code: 30 }));
    assert_eq!(image.start_erase(0), Err(Error::Io { code: 30 }));
    let mut bytes = [0; 5000];
    beside.reader().read_uncached(3, 77, &mut bytes).unwrap();
    assert_eq!(bytes, [7; 5000]);
    assert_eq!(std::fs::read(&path).unwrap(), vec![7; 1 << 20]);
}
