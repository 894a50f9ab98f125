//! The faults do what their words say.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict, in its helpers too")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use penstock_flash::{Error, Medium, ReadAt};
use penstock_flash_linux::{Create, Faults, Faulty, Volume};
use tempfile::TempDir;

const SEGMENT_BYTES: u32 = 1 << 20;
const EIO: Error = Error::Io { code: 5 };

struct Dir {
    dir: TempDir,
}

impl Dir {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let options = Create { size_bytes: 4 << 20, segment_bytes: SEGMENT_BYTES, overwrite: false };
        Volume::create(dir.path().join("volume"), &options, |_, _| ()).unwrap();
        Self { dir }
    }

    fn open(&self, words: &str) -> Faulty<Volume> {
        let volume = Volume::open(self.dir.path().join("volume"), SEGMENT_BYTES).unwrap();
        Faulty::new(volume, words.parse().unwrap())
    }

    fn control(&self) -> PathBuf {
        self.dir.path().join("control")
    }
}

fn read(medium: &Faulty<Volume>, offset: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    medium.reader().read(0, offset, &mut bytes).unwrap();
    bytes
}

#[test]
fn with_discard_what_was_not_synced_is_read_and_dies_with_the_process() {
    let dir = Dir::new();
    let mut medium = dir.open("discard");
    medium.program(0, 0, &[1; 4096]).unwrap();
    medium.sync().unwrap();
    medium.program(0, 4096, &[2; 4096]).unwrap();
    medium.program_through(0, 8192, &[3; 4096]).unwrap();
    let expected = [[1; 4096], [2; 4096], [3; 4096]].concat();
    assert_eq!(read(&medium, 0, 12288), expected);
    assert_eq!(read(&medium, 5000, 100), [2; 100]);
    assert_eq!(read(&medium, 4000, 4300)[..], expected[4000..8300]);
    assert_eq!(medium.inner().counters().programmed_bytes, 8192);
    assert_eq!(medium.counters().programmed_bytes, 12288);
    drop(medium);
    let expected = [[1; 4096], [0; 4096], [3; 4096]].concat();
    assert_eq!(read(&dir.open(""), 0, 12288), expected);
}

#[test]
fn with_nosync_nothing_is_synced_and_with_discard_too_nothing_is_written() {
    let dir = Dir::new();
    let mut medium = dir.open("discard,nosync");
    medium.program(0, 0, &[1; 4096]).unwrap();
    medium.program_through(0, 4096, &[2; 4096]).unwrap();
    medium.sync().unwrap();
    assert_eq!(read(&medium, 4095, 2), [1, 2]);
    assert_eq!(medium.inner().counters().programmed_bytes, 0);
    drop(medium);
    let mut medium = dir.open("nosync");
    assert_eq!(read(&medium, 4095, 2), [0, 0]);
    medium.program_through(0, 0, &[1; 4096]).unwrap();
    medium.sync().unwrap();
    let inner = medium.inner().counters();
    assert_eq!((inner.programmed_bytes, inner.through_requests, inner.syncs), (4096, 0, 0));
    assert_eq!(medium.counters().syncs, 1);
}

#[test]
fn an_erase_forgets_what_was_held_back_in_its_segment() {
    let dir = Dir::new();
    let mut medium = dir.open("discard");
    medium.program(0, 0, &[1; 4096]).unwrap();
    medium.program(1, 0, &[1; 4096]).unwrap();
    medium.start_erase(0).unwrap();
    medium.poll_erase().unwrap();
    medium.program_through(0, 0, &[2; 4096]).unwrap();
    medium.sync().unwrap();
    assert_eq!(read(&medium, 0, 4096), [2; 4096]);
    assert_eq!(medium.inner().counters().programmed_bytes, 8192);
}

#[test]
fn operations_fail_from_the_one_that_was_named() {
    let dir = Dir::new();
    let mut medium = dir.open("fail_program_after=2 fail_sync_after=1 fail_read_after=1");
    medium.program(0, 0, &[1; 4096]).unwrap();
    medium.program_through(0, 4096, &[1; 4096]).unwrap();
    for _ in 0..2 {
        assert_eq!(medium.program(0, 8192, &[1; 4096]), Err(EIO));
        assert_eq!(medium.program_through(0, 8192, &[1; 4096]), Err(EIO));
    }
    medium.sync().unwrap();
    assert_eq!(medium.sync(), Err(EIO));
    medium.reader().read(0, 0, &mut [0]).unwrap();
    assert_eq!(medium.reader().read(0, 0, &mut [0]), Err(EIO));
}

#[test]
fn what_a_failed_sync_left_in_doubt_is_read_but_never_written() {
    let dir = Dir::new();
    let control = dir.control();
    let mut medium = dir.open(&format!("discard,control={}", control.display()));
    medium.program(0, 0, &[1; 4096]).unwrap();
    std::fs::write(&control, "discard,fail_sync_after=0").unwrap();
    assert_eq!(medium.sync(), Err(EIO));
    std::fs::remove_file(&control).unwrap();
    medium.program(0, 4096, &[2; 4096]).unwrap();
    medium.sync().unwrap();
    assert_eq!(read(&medium, 4095, 2), [1, 2]);
    drop(medium);
    assert_eq!(read(&dir.open(""), 4095, 2), [0, 2]);
}

#[test]
fn a_control_file_rules_while_it_exists_and_must_make_sense() {
    let dir = Dir::new();
    let control = dir.control();
    let mut medium = dir.open(&format!("control={}", control.display()));
    medium.program(0, 0, &[1; 4096]).unwrap();
    std::fs::write(&control, "fail_program_after=0\n").unwrap();
    assert_eq!(medium.program(0, 4096, &[1; 4096]), Err(EIO));
    medium.sync().unwrap();
    std::fs::write(&control, "fail_programs").unwrap();
    assert_eq!(medium.sync(), Err(Error::Io { code: 22 }));
    std::fs::remove_file(&control).unwrap();
    medium.program(0, 4096, &[1; 4096]).unwrap();
}

#[test]
fn a_sync_takes_at_least_as_long_as_it_was_told_to() {
    let dir = Dir::new();
    let mut medium = dir.open("sync_delay=20000us");
    let start = Instant::now();
    medium.sync().unwrap();
    medium.program_through(0, 0, &[1; 4096]).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(40));
}

#[test]
fn words_that_ask_for_nothing_known_are_refused() {
    for words in
        ["discard,x", "discard=1", "sync_delay=2000", "sync_delay=us", "fail_read_after=-1", "control="]
    {
        assert!(words.parse::<Faults>().is_err(), "{words}");
    }
    assert_eq!("".parse::<Faults>().unwrap(), Faults::default());
}
