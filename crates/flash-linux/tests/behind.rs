//! What goes behind its owner's back is read, synced and failed as if it did not.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict, in its helpers too")]

use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use penstock_flash::sim::Rng;
use penstock_flash::{Erase, EraseProgress, Error, Geometry, Medium, ReadAt};
use penstock_flash_linux::{AlignedBuffer, Create, Faults, Faulty, Volume, WriteBehind};
use tempfile::TempDir;

const GEOMETRY: Geometry =
    Geometry { segments: 4, segment_bytes: 4 << 20, unit_bytes: 4096, erase: Erase::Logical };
const EIO: Error = Error::Io { code: 5 };

/// What was done to a medium, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Done {
    Began(u8),
    Ended(u8),
    Synced,
    Erased,
}

/// A medium whose programs wait to be let through. What it is given begins with a byte that names it.
#[derive(Clone)]
struct Gated(Arc<(Mutex<Gate>, Condvar)>);

struct Gate {
    bytes: Vec<u8>,
    let_through: usize,
    fails: Option<u8>,
    done: Vec<Done>,
}

impl Gated {
    fn new(let_through: usize, fails: Option<u8>) -> Self {
        let bytes = vec![0; GEOMETRY.capacity_bytes() as usize];
        Self(Arc::new((Mutex::new(Gate { bytes, let_through, fails, done: Vec::new() }), Condvar::new())))
    }

    fn open(&self, programs: usize) {
        self.0.0.lock().unwrap().let_through += programs;
        self.0.1.notify_all();
    }

    fn done(&self) -> Vec<Done> {
        self.0.0.lock().unwrap().done.clone()
    }

    fn wait_for(&self, what: &Done) {
        drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |gate| !gate.done.contains(what)).unwrap());
    }

    fn note(&self, what: Done) {
        self.0.0.lock().unwrap().done.push(what);
        self.0.1.notify_all();
    }
}

fn address(segment: u32, offset: u32) -> usize {
    segment as usize * GEOMETRY.segment_bytes as usize + offset as usize
}

impl ReadAt for Gated {
    fn read(&self, segment: u32, offset: u32, into: &mut [u8]) -> Result<(), Error> {
        let at = address(segment, offset);
        into.copy_from_slice(&self.0.0.lock().unwrap().bytes[at..at + into.len()]);
        Ok(())
    }
}

impl Medium for Gated {
    type Reader = Self;

    fn geometry(&self) -> Geometry {
        GEOMETRY
    }

    fn reader(&self) -> Self {
        self.clone()
    }

    fn program(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.note(Done::Began(bytes[0]));
        let gate = self.0.0.lock().unwrap();
        let mut gate = self.0.1.wait_while(gate, |gate| gate.let_through == 0).unwrap();
        gate.let_through -= 1;
        if gate.fails == Some(bytes[0]) {
            return Err(EIO);
        }
        let at = address(segment, offset);
        gate.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        drop(gate);
        self.note(Done::Ended(bytes[0]));
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.note(Done::Synced);
        Ok(())
    }

    fn start_erase(&mut self, _segment: u32) -> Result<(), Error> {
        self.note(Done::Erased);
        Ok(())
    }

    fn poll_erase(&mut self) -> Result<EraseProgress, Error> {
        Ok(EraseProgress::Done)
    }
}

#[test]
fn the_caller_goes_on_while_the_medium_writes_and_a_sync_waits() {
    let gated = Gated::new(0, None);
    let mut medium = WriteBehind::new(gated.clone()).unwrap();
    medium.program_behind(0, 0, &[1; 8192]).unwrap();
    medium.program_behind(0, 8192, &[2; 4096]).unwrap();
    // Both calls came back while nothing was let through.
    gated.wait_for(&Done::Began(1));
    assert_eq!(gated.done(), [Done::Began(1)]);
    let synced = thread::spawn(move || medium.sync());
    gated.open(2);
    assert_eq!(synced.join().unwrap(), Ok(()));
    let expected = [Done::Began(1), Done::Ended(1), Done::Began(2), Done::Ended(2), Done::Synced];
    assert_eq!(gated.done(), expected);
}

#[test]
fn a_reader_waits_for_what_it_reads_and_for_nothing_else() {
    let gated = Gated::new(0, None);
    let mut medium = WriteBehind::new(gated.clone()).unwrap();
    medium.program_behind(1, 4096, &[1; 8192]).unwrap();
    let reader = medium.reader();
    gated.wait_for(&Done::Began(1));
    // Beside it on both sides, and at the same offset of another segment.
    for (segment, offset) in [(1, 0), (1, 12288), (0, 4096)] {
        reader.read(segment, offset, &mut [0; 4096]).unwrap();
        reader.read_uncached(segment, offset, &mut [0; 4096]).unwrap();
    }
    let waiting = [4095, 4096, 12287].map(|offset| {
        let reader = reader.clone();
        thread::spawn(move || {
            let mut bytes = [0; 2];
            reader.read(1, offset, &mut bytes).map(|()| bytes)
        })
    });
    gated.open(1);
    let found = waiting.map(|reader| reader.join().unwrap().unwrap());
    assert_eq!(found, [[0, 1], [1, 1], [1, 0]]);
}

#[test]
fn no_more_is_under_way_than_there_is_room_for() {
    let gated = Gated::new(usize::MAX / 2, None);
    let mut medium = WriteBehind::new(gated.clone()).unwrap();
    for name in 0..200 {
        medium.program_behind(0, u32::from(name) * 4096, &[name; 4096]).unwrap();
        let handed_over = usize::from(name) + 1;
        let ended = gated.done().iter().filter(|done| matches!(done, Done::Ended(_))).count();
        assert!(handed_over <= ended + 2, "{handed_over} were taken and {ended} written");
    }
    drop(medium);
    let order: Vec<u8> = (0..200).collect();
    let began = gated.done().into_iter().filter_map(|done| match done {
        Done::Began(name) => Some(name),
        _ => None,
    });
    assert_eq!(began.collect::<Vec<u8>>(), order, "and in the order in which they came");
}

#[test]
fn what_failed_behind_fails_every_sync_until_it_is_forgotten() {
    let gated = Gated::new(0, Some(1));
    let mut medium = WriteBehind::new(gated.clone()).unwrap();
    medium.program_behind(0, 0, &[1; 4096]).unwrap();
    medium.program_behind(0, 4096, &[2; 4096]).unwrap();
    gated.open(100);
    for _ in 0..2 {
        assert_eq!(medium.sync(), Err(EIO));
        assert_eq!(medium.program_behind(0, 8192, &[3; 4096]), Err(EIO));
    }
    // That a segment is bad must not be believed of one that had no part in it.
    medium.program(1, 0, &[4; 4096]).unwrap();
    assert_eq!(medium.sync(), Err(EIO));
    assert_eq!(
        gated.done(),
        [Done::Began(1), Done::Began(4), Done::Ended(4)],
        "nothing came after the failure"
    );
    medium.forget_failure();
    medium.program_behind(2, 0, &[5; 4096]).unwrap();
    assert_eq!(medium.sync(), Ok(()));
    assert_eq!(gated.done()[3..], [Done::Began(5), Done::Ended(5), Done::Synced]);
}

#[test]
fn what_is_programmed_at_once_tells_its_own_error_and_no_other() {
    let gated = Gated::new(100, Some(1));
    let mut medium = WriteBehind::new(gated).unwrap();
    assert_eq!(medium.program(0, 0, &[1; 4096]), Err(EIO));
    assert_eq!(medium.program_through(0, 4096, &[1; 4096]), Err(EIO));
    assert_eq!(medium.program_behind(0, 8192, &[2; 4096]), Ok(()));
    assert_eq!(medium.sync(), Ok(()));
}

#[test]
fn an_erase_comes_after_what_was_programmed_before_it() {
    let gated = Gated::new(usize::MAX / 2, None);
    let mut medium = WriteBehind::new(gated.clone()).unwrap();
    for round in 0..100 {
        medium.program_behind(0, 0, &[round; 4096]).unwrap();
        medium.program_behind(0, 4096, &[round; 4096]).unwrap();
        medium.start_erase(0).unwrap();
        assert_eq!(medium.poll_erase(), Ok(EraseProgress::Done));
        let twice = [Done::Began(round), Done::Ended(round), Done::Began(round), Done::Ended(round)];
        assert_eq!(gated.done()[usize::from(round) * 5..], [&twice[..], &[Done::Erased]].concat());
    }
}

#[test]
fn the_callers_side_of_the_contract_is_checked_where_it_calls() {
    let dir = TempDir::new().unwrap();
    let mut medium = WriteBehind::new(volume(&dir)).unwrap();
    let geometry = medium.geometry();
    let beside = Err(Error::OutOfBounds { segment: geometry.segments, offset: 0 });
    assert_eq!(medium.program_behind(geometry.segments, 0, &[0; 4096]), beside);
    let odd = Err(Error::Misaligned { segment: 0, offset: 512 });
    assert_eq!(medium.program_behind(0, 512, &[0; 4096]), odd);
    medium.start_erase(1).unwrap();
    assert_eq!(medium.program_behind(1, 0, &[0; 4096]), Err(Error::EraseBusy));
    assert_eq!(medium.poll_erase(), Ok(EraseProgress::Done));
    assert_eq!(medium.program_behind(1, 0, &[0; 4096]), Ok(()));
    assert_eq!(medium.sync(), Ok(()));
}

fn volume(dir: &TempDir) -> Volume {
    let create = Create { size_bytes: 16 << 20, segment_bytes: 4 << 20, overwrite: true };
    Volume::create(dir.path().join("volume"), &create, |_, _| ()).unwrap()
}

/// Whatever is handed over, at once or behind, reads back, while it is on its way and after.
#[test]
fn on_a_volume_all_reads_back_as_programmed_before_and_after_it_is_closed() {
    let dir = TempDir::new().unwrap();
    let mut medium = WriteBehind::new(volume(&dir)).unwrap();
    let mut rng = Rng::new(11);
    let mut expected = vec![0; GEOMETRY.capacity_bytes() as usize];
    for segment in 0..GEOMETRY.segments {
        let mut offset = 0;
        while offset < GEOMETRY.segment_bytes {
            // Up to more than is handed over in one piece.
            let units_max = 1 << rng.below(9);
            let units = 1 + rng.below(units_max) as u32;
            let len = (units * 4096).min(GEOMETRY.segment_bytes - offset);
            let mut bytes = AlignedBuffer::new(len as usize);
            rng.fill(&mut bytes);
            match rng.below(8) {
                0 => medium.program(segment, offset, &bytes).unwrap(),
                1 => medium.program_through(segment, offset, &bytes).unwrap(),
                _ => medium.program_behind(segment, offset, &bytes).unwrap(),
            }
            expected[address(segment, offset)..][..len as usize].copy_from_slice(&bytes);
            offset += len;
            if rng.below(4) == 0 {
                let from = rng.below(u64::from(offset)) as u32;
                let mut seen = vec![0; (offset - from) as usize];
                medium.reader().read(segment, from, &mut seen).unwrap();
                assert_eq!(seen, expected[address(segment, from)..][..seen.len()]);
            }
        }
    }
    drop(medium);
    // Not synced, and yet written before the volume was let go of.
    assert_eq!(std::fs::read(dir.path().join("volume")).unwrap(), expected);
}

#[test]
fn a_disk_that_fails_behind_is_found_out_by_the_sync() {
    let dir = TempDir::new().unwrap();
    let faults: Faults = "fail_program_after=2".parse().unwrap();
    let mut medium = WriteBehind::new(Faulty::new(volume(&dir), faults)).unwrap();
    medium.program_behind(0, 0, &[1; 4096]).unwrap();
    medium.program_behind(0, 4096, &[1; 4096]).unwrap();
    assert_eq!(medium.sync(), Ok(()));
    let told = medium.program_behind(0, 8192, &[1; 4096]).and_then(|()| medium.sync());
    assert_eq!(told, Err(EIO));
    assert_eq!(medium.medium().inner().counters().programmed_bytes, 8192);
}
