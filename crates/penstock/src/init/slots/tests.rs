//! Updates on chips made of software: what is refused, and that power may go at any moment.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Mutex;

use ed25519_dalek::{Signer as _, SigningKey};
use penstock_slots::{
    Boot, Condition, Held, Kept, MANIFEST_BYTES, Manifest, Part, Refusal, Rejected, SIGNED_BYTES, Slot,
    TRIES, VerifyingKey, pick, verify,
};
use sha2::{Digest as _, Sha512};

use super::error::SlotsError;
use super::nor::Nor;
use super::state::{BootState, Floors, Running};
use super::write::{Facts, take};

const BOARD: &str = "test-board";
const SECTOR: usize = 8192;
/// In sectors: the boot state, slot A, slot B.
const STATE: (usize, usize) = (0, 2);
const SLOTS: [(usize, usize); 2] = [(2, 4), (6, 4)];
const FLOORS: Floors = Floors { system: 1, firmware: 1 };
const RUNNING: Running = Running { system: Slot::A, firmware: Slot::A };

/// A chip. Bits go to 0 one by one and to 1 by sectors, and an act that power fails in is done by half.
struct Chip {
    bytes: Vec<u8>,
    acts: usize,
    /// The power fails in this act.
    cut_at: Option<usize>,
    is_off: bool,
    /// A byte that comes out as 0, whatever is programmed.
    stuck: Option<usize>,
}

#[derive(Clone)]
struct Partition {
    chip: Rc<RefCell<Chip>>,
    sectors: (usize, usize),
}

#[derive(Debug)]
struct NoPower;

impl fmt::Display for NoPower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no power")
    }
}

impl Chip {
    /// Whether an act is done whole.
    fn act(&mut self) -> Result<bool, NoPower> {
        if self.is_off {
            return Err(NoPower);
        }
        self.acts += 1;
        self.is_off = self.cut_at == Some(self.acts);
        Ok(!self.is_off)
    }
}

impl Nor for Partition {
    type Error = NoPower;

    fn size_bytes(&self) -> u64 {
        (self.sectors.1 * SECTOR) as u64
    }

    fn erase_bytes(&self) -> u32 {
        SECTOR as u32
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), NoPower> {
        let chip = self.chip.borrow();
        if chip.is_off {
            return Err(NoPower);
        }
        let at = self.sectors.0 * SECTOR + offset as usize;
        into.copy_from_slice(&chip.bytes[at..at + into.len()]);
        Ok(())
    }

    fn program(&self, offset: u64, bytes: &[u8]) -> Result<(), NoPower> {
        assert!(offset as usize + bytes.len() <= self.sectors.1 * SECTOR, "beyond the partition");
        let mut chip = self.chip.borrow_mut();
        let whole = chip.act()?;
        let at = self.sectors.0 * SECTOR + offset as usize;
        let done = if whole { bytes } else { &bytes[..bytes.len() / 2] };
        for (cell, byte) in chip.bytes[at..].iter_mut().zip(done) {
            *cell &= byte;
        }
        if let Some(stuck) = chip.stuck {
            chip.bytes[stuck] = 0;
        }
        if whole { Ok(()) } else { Err(NoPower) }
    }

    fn erase(&self, sector: u32) -> Result<(), NoPower> {
        assert!((sector as usize) < self.sectors.1, "beyond the partition");
        let mut chip = self.chip.borrow_mut();
        let whole = chip.act()?;
        let at = (self.sectors.0 + sector as usize) * SECTOR;
        let len = if whole { SECTOR } else { SECTOR / 2 };
        chip.bytes[at..at + len].fill(0xFF);
        if whole { Ok(()) } else { Err(NoPower) }
    }
}

/// A box: its chip, and what is in slot A, which runs.
struct Rig {
    chip: Rc<RefCell<Chip>>,
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn keys() -> [VerifyingKey; 2] {
    [key(1).verifying_key(), key(2).verifying_key()]
}

fn facts(keys: &[VerifyingKey]) -> Facts<'_> {
    Facts { keys, board: BOARD, running: RUNNING }
}

struct Made<'a> {
    by: u8,
    kind: Kept,
    board: &'a str,
    security: u32,
    version: u32,
}

const GOOD: Made<'static> = Made { by: 1, kind: Kept::System, board: BOARD, security: 1, version: 2 };

impl Made<'_> {
    /// A bundle with three parts, of which one is longer than a sector.
    fn bundle(&self) -> Vec<u8> {
        let parts: [&[u8]; 3] = [&[0x5A; 9000], b"initramfs", b"words"];
        let mut bytes = vec![0xFF; 4096];
        let mut described = Vec::new();
        for part in parts {
            bytes.resize(bytes.len().next_multiple_of(4096), 0xFF);
            let sha512 = Sha512::digest(part).as_slice().try_into().unwrap();
            described.push(Part { offset: bytes.len() as u32, len_bytes: part.len() as u32, sha512 });
            bytes.extend_from_slice(part);
        }
        let held = Held { version: self.version, security: self.security };
        let signed = Manifest::new(self.kind, self.board, held, &described).unwrap().to_bytes();
        bytes[..SIGNED_BYTES].copy_from_slice(&signed);
        bytes[SIGNED_BYTES..MANIFEST_BYTES].copy_from_slice(&key(self.by).sign(&signed).to_bytes());
        bytes
    }
}

impl Rig {
    fn new() -> Self {
        let bytes = vec![0xFF; (SLOTS[1].0 + SLOTS[1].1) * SECTOR];
        let chip = Chip { bytes, acts: 0, cut_at: None, is_off: false, stuck: None };
        let rig = Self { chip: Rc::new(RefCell::new(chip)) };
        let old = Made { version: 1, ..GOOD }.bundle();
        rig.slot(Slot::A).program(0, &old).unwrap();
        rig.chip.borrow_mut().acts = 0;
        rig
    }

    fn partition(&self, sectors: (usize, usize)) -> Partition {
        Partition { chip: Rc::clone(&self.chip), sectors }
    }

    fn slot(&self, slot: Slot) -> Partition {
        self.partition(SLOTS[slot as usize])
    }

    fn state(&self) -> BootState<Partition> {
        BootState::open(self.partition(STATE), FLOORS).unwrap()
    }

    fn update(&self, bundle: &[u8]) -> Result<(), SlotsError> {
        take(&Mutex::new(self.state()), &self.slot(Slot::B), bundle, Kept::System, facts(&keys()), |_| {})
    }

    fn content(&self, slot: Slot) -> Vec<u8> {
        let mut bytes = vec![0; SLOTS[slot as usize].1 * SECTOR];
        self.slot(slot).read(0, &mut bytes).unwrap();
        bytes
    }

    fn verdict(&self, slot: Slot) -> Result<(), Rejected> {
        verify(&self.content(slot), &keys(), Kept::System, BOARD, 1).map(|_| ())
    }

    /// What the firmware would start, by what stands in flash.
    fn starts(&self) -> Boot {
        let state = penstock_slots::Journal::open(super::nor::SectorsOf(self.partition(STATE))).unwrap();
        let state = state.newest().copied().unwrap_or(penstock_slots::State::new(1, 1));
        pick(&state, Kept::System, None, 0, |slot| self.verdict(slot)).boot
    }

    fn power_back(&self) {
        let mut chip = self.chip.borrow_mut();
        (chip.cut_at, chip.is_off) = (None, false);
    }
}

#[test]
fn an_update_is_tried_with_the_next_start() {
    let rig = Rig::new();
    let bundle = GOOD.bundle();
    rig.update(&bundle).unwrap();
    assert!(rig.content(Slot::B).starts_with(&bundle));
    assert_eq!(rig.starts(), Boot::Slot { slot: Slot::B, is_trial: true });
    let pair = rig.state().pair(Kept::System);
    assert_eq!(pair.condition(Slot::B), Condition::Trial { tries_left: TRIES });
    assert_eq!(pair.held(Slot::B).version, 2);
}

#[test]
fn whenever_the_power_goes_the_box_starts_what_it_ran_or_the_new_one_whole() {
    let acts = {
        let rig = Rig::new();
        rig.update(&GOOD.bundle()).unwrap();
        rig.chip.borrow().acts
    };
    assert!(acts > 8, "an update is more than that: {acts}");
    let (old, bundle) = (Rig::new().content(Slot::A), GOOD.bundle());
    let mut tried = 0;
    for first in 1..=acts {
        // And once more at each act of the attempt that follows.
        for second in std::iter::once(None).chain((1..=acts + 1).map(Some)) {
            let rig = Rig::new();
            rig.chip.borrow_mut().cut_at = Some(first);
            assert!(rig.update(&bundle).is_err(), "cut at {first}");
            rig.power_back();
            if let Some(second) = second {
                let at = rig.chip.borrow().acts + second;
                rig.chip.borrow_mut().cut_at = Some(at);
                let _ = rig.update(&bundle);
                rig.power_back();
            }
            assert_eq!(rig.content(Slot::A), old, "what runs was touched: {first}, {second:?}");
            match rig.starts() {
                Boot::Slot { slot: Slot::A, is_trial: false } => {}
                Boot::Slot { slot: Slot::B, is_trial: true } => {
                    assert_eq!(rig.verdict(Slot::B), Ok(()), "{first}, {second:?}");
                    tried += 1;
                }
                other => panic!("{first}, {second:?}: {other:?}"),
            }
        }
    }
    assert!(tried > 0, "no second attempt ever came to its end");
}

#[test]
fn an_update_that_was_cut_is_done_again_from_the_beginning() {
    let rig = Rig::new();
    rig.chip.borrow_mut().cut_at = Some(5);
    assert!(rig.update(&GOOD.bundle()).is_err());
    rig.power_back();
    assert_eq!(rig.state().pair(Kept::System).condition(Slot::B), Condition::Empty);
    rig.update(&GOOD.bundle()).unwrap();
    assert_eq!(rig.starts(), Boot::Slot { slot: Slot::B, is_trial: true });
}

#[test]
fn what_a_box_would_not_start_is_refused_and_nothing_is_touched() {
    let good = GOOD.bundle();
    let changed = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    for (bundle, code) in [
        (Made { board: "other-board", ..GOOD }.bundle(), "PS-B013"),
        (Made { security: 0, ..GOOD }.bundle(), "PS-B015"),
        (Made { by: 3, ..GOOD }.bundle(), "PS-B011"),
        (Made { kind: Kept::Firmware, ..GOOD }.bundle(), "PS-B014"),
        (changed(16), "PS-B011"),
        (changed(SIGNED_BYTES + 1), "PS-B011"),
        (changed(4096 + 8999), "PS-B016"),
        (good[..good.len() - 1].to_vec(), "PS-B016"),
        (vec![0xFF; 4096], "PS-B010"),
        (Vec::new(), "PS-B010"),
    ] {
        let rig = Rig::new();
        let error = rig.update(&bundle).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert_eq!(rig.chip.borrow().acts, 0, "{code}: the flash was written");
    }
}

#[test]
fn what_is_larger_than_a_slot_is_refused() {
    let rig = Rig::new();
    let mut bundle = GOOD.bundle();
    bundle.resize(SLOTS[1].1 * SECTOR + 1, 0);
    assert_eq!(rig.update(&bundle).unwrap_err().code(), "PS-U005");
    assert_eq!(rig.chip.borrow().acts, 0);
}

#[test]
fn a_slot_that_does_not_hold_what_was_written_is_never_tried() {
    let rig = Rig::new();
    // In the middle of the first part.
    rig.chip.borrow_mut().stuck = Some(SLOTS[1].0 * SECTOR + 6000);
    assert_eq!(rig.update(&GOOD.bundle()), Err(SlotsError::NotAsWritten { offset: 6000 }));
    assert_eq!(rig.starts(), Boot::Slot { slot: Slot::A, is_trial: false });
    assert_eq!(rig.state().pair(Kept::System).condition(Slot::B), Condition::Empty);
}

#[test]
fn while_what_runs_is_on_trial_the_way_back_is_not_written_over() {
    let rig = Rig::new();
    rig.update(&GOOD.bundle()).unwrap();
    // The box has started B, and wants to write A.
    let running = Running { system: Slot::B, ..RUNNING };
    let state = Mutex::new(rig.state());
    let keys = keys();
    let facts = Facts { running, ..facts(&keys) };
    let before = rig.content(Slot::A);
    let again = take(&state, &rig.slot(Slot::A), &GOOD.bundle(), Kept::System, facts, |_| {});
    assert_eq!(again, Err(SlotsError::Refused(Refusal::OnTrial)));
    assert_eq!(rig.content(Slot::A), before);
    state.lock().unwrap().mark_good(Kept::System, Slot::B, Held { version: 2, security: 1 }).unwrap();
    assert_eq!(take(&state, &rig.slot(Slot::A), &GOOD.bundle(), Kept::System, facts, |_| {}), Ok(()));
}

#[test]
fn the_good_word_raises_the_floor_and_what_is_below_is_refused_from_then_on() {
    let rig = Rig::new();
    rig.update(&Made { security: 5, ..GOOD }.bundle()).unwrap();
    assert_eq!(rig.state().pair(Kept::System).floor, 1, "before it has proved itself there is a way back");
    rig.state().mark_good(Kept::System, Slot::B, Held { version: 2, security: 5 }).unwrap();
    let state = Mutex::new(rig.state());
    let keys = keys();
    let facts = Facts { running: Running { system: Slot::B, ..RUNNING }, ..facts(&keys) };
    let older = Made { security: 4, ..GOOD }.bundle();
    let refused = take(&state, &rig.slot(Slot::A), &older, Kept::System, facts, |_| {});
    assert_eq!(refused, Err(SlotsError::Rejected(Rejected::Security { found: 4, floor: 5 })));
    // And so is going back to it.
    let there = Held { version: 1, security: 4 };
    assert_eq!(rig.state().roll_back(Kept::System, Slot::B, there).unwrap_err().code(), "PS-B021");
}

#[test]
fn there_is_a_way_back_to_what_the_box_left_the_works_with() {
    let rig = Rig::new();
    rig.update(&GOOD.bundle()).unwrap();
    let held = Held { version: 2, security: 1 };
    rig.state().mark_good(Kept::System, Slot::B, held).unwrap();
    // The record has never heard of what is in A: its manifest says it.
    assert_eq!(rig.state().pair(Kept::System).held(Slot::A), Held::default());
    rig.state().roll_back(Kept::System, Slot::B, Held { version: 1, security: 1 }).unwrap();
    assert_eq!(rig.starts(), Boot::Slot { slot: Slot::A, is_trial: false });
}
