//! Power cuts at every program and every erase of an update, its trial and its good word, and again while the box recovers
//! from that.
//!
//! The flash here is as real chips are: a program that is cut leaves any subset of the bits that were to be cleared, an erase
//! that is cut leaves anything at all, and programming only clears bits.
#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict, in its helpers too")]

use std::cell::RefCell;
use std::rc::Rc;

use penstock_slots::{
    Boot, Condition, Held, Journal, Kept, RECORD_PLACE_BYTES, Rejected, Sectors, Slot, State, begin_update,
    end_update, mark_good, pick,
};

const OLD: Held = Held { version: 1, security: 1 };
const NEW: Held = Held { version: 2, security: 2 };
/// A slot is a few words, of which the first says what it holds.
const SLOT_WORDS: usize = 4;
/// So small that sectors are changed within an update.
const SECTOR_BYTES: usize = 3 * RECORD_PLACE_BYTES;

#[derive(Debug, PartialEq, Eq)]
struct PowerCut;

#[derive(Clone)]
struct Chip {
    sectors: [Vec<u8>; 2],
    slots: [[u32; SLOT_WORDS]; 2],
    /// Operations until the power goes.
    left: Option<u32>,
    operations: u32,
    random: u64,
}

impl Chip {
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Whether the power goes in this operation.
    fn is_cut(&mut self) -> bool {
        self.operations += 1;
        match &mut self.left {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }
}

#[derive(Clone)]
struct Flash(Rc<RefCell<Chip>>);

impl Sectors for Flash {
    type Error = PowerCut;

    fn count(&self) -> usize {
        2
    }

    fn len_bytes(&self) -> usize {
        SECTOR_BYTES
    }

    fn read(&mut self, sector: usize, offset: usize, into: &mut [u8]) -> Result<(), PowerCut> {
        into.copy_from_slice(&self.0.borrow().sectors[sector][offset..offset + into.len()]);
        Ok(())
    }

    fn program(&mut self, sector: usize, offset: usize, bytes: &[u8]) -> Result<(), PowerCut> {
        let chip = &mut *self.0.borrow_mut();
        let is_cut = chip.is_cut();
        for (at, byte) in (offset..).zip(bytes) {
            let kept = if is_cut { chip.next() as u8 } else { 0 };
            chip.sectors[sector][at] &= byte | kept;
        }
        if is_cut { Err(PowerCut) } else { Ok(()) }
    }

    fn erase(&mut self, sector: usize) -> Result<(), PowerCut> {
        let chip = &mut *self.0.borrow_mut();
        let is_cut = chip.is_cut();
        // Three of the forms that an erase takes that was cut: nothing yet, all but its end, noise.
        let form = if is_cut { chip.next() % 3 } else { 1 };
        for at in 0..SECTOR_BYTES {
            let noise = chip.next() as u8;
            let cell = &mut chip.sectors[sector][at];
            *cell = match form {
                0 => *cell,
                1 => 0xFF,
                _ => noise,
            };
        }
        if is_cut { Err(PowerCut) } else { Ok(()) }
    }
}

impl Flash {
    fn new(seed: u64) -> Self {
        let mut chip = Chip {
            sectors: [vec![0xFF; SECTOR_BYTES], vec![0xFF; SECTOR_BYTES]],
            slots: [[OLD.version; SLOT_WORDS], [u32::MAX; SLOT_WORDS]],
            left: None,
            operations: 0,
            random: seed * 2 + 1,
        };
        chip.next();
        Self(Rc::new(RefCell::new(chip)))
    }

    fn write_slot(&self, slot: Slot, held: Held) -> Result<(), PowerCut> {
        for word in 0..=SLOT_WORDS {
            let mut chip = self.0.borrow_mut();
            let (is_cut, noise) = (chip.is_cut(), chip.next() as u32);
            let cells = &mut chip.slots[slot as usize];
            match word.checked_sub(1) {
                // Erased first.
                None => cells.fill(if is_cut { noise } else { u32::MAX }),
                Some(word) => cells[word] = held.version | if is_cut { noise } else { 0 },
            }
            if is_cut {
                return Err(PowerCut);
            }
        }
        Ok(())
    }

    /// What a slot holds, if it is whole.
    fn held(&self, slot: Slot) -> Option<Held> {
        let words = self.0.borrow().slots[slot as usize];
        [OLD, NEW].into_iter().find(|held| words == [held.version; SLOT_WORDS])
    }

    fn verify(&self, slot: Slot, floor: u32) -> Result<(), Rejected> {
        let held = self.held(slot).ok_or(Rejected::Part(0))?;
        if held.security < floor {
            return Err(Rejected::Security { found: held.security, floor });
        }
        Ok(())
    }

    /// The power comes. Which slot is started, and whether it is on trial.
    fn boot(&self) -> Result<(Slot, bool, State), PowerCut> {
        let mut journal = Journal::open(self.clone()).unwrap();
        let state = journal.newest().copied().unwrap_or(State::new(1, 1));
        let verify = |slot| self.verify(slot, state.system.floor);
        let mut choice = pick(&state, Kept::System, None, 0, verify);
        let mut now = state;
        if let Some(record) = choice.record {
            match journal.append(&record) {
                Ok(()) => now = record,
                Err(_) if self.0.borrow().left == Some(0) => return Err(PowerCut),
                Err(_) => choice = choice.without_record(&state, Kept::System, verify),
            }
        }
        match choice.boot {
            Boot::Slot { slot, is_trial } => {
                assert!(self.verify(slot, 0).is_ok(), "what does not verify was started");
                Ok((slot, is_trial, now))
            }
            Boot::Rescue(why) => panic!("into the rescue: {why:?}, {state:?}"),
        }
    }

    fn append(&self, state: &State) -> Result<(), PowerCut> {
        Journal::open(self.clone()).unwrap().append(state).map_err(|_| PowerCut)
    }

    /// What userland does once it runs: updates, or says that all is well.
    fn live(&self) -> Result<(), PowerCut> {
        let (slot, is_trial, state) = self.boot()?;
        let held = self.held(slot).unwrap();
        if is_trial || state.system.held(slot) != held {
            return self.append(&mark_good(&state, Kept::System, slot, held).unwrap());
        }
        if held == OLD {
            self.append(&begin_update(&state, Kept::System, slot, NEW).unwrap())?;
            self.write_slot(slot.other(), NEW)?;
            assert!(self.verify(slot.other(), 0).is_ok());
            let state = *Journal::open(self.clone()).unwrap().newest().unwrap();
            self.append(&end_update(&state, Kept::System, slot, NEW).unwrap())?;
        }
        Ok(())
    }

    /// Lives until the new version is confirmed; counts the boots that take.
    fn live_to_the_end(&self) -> u32 {
        for boots in 1..20 {
            let before = self.best();
            if self.live() == Ok(()) {
                assert!(self.best() >= before, "gone back without a reason");
            }
            self.0.borrow_mut().left = None;
            let journal = Journal::open(self.clone()).unwrap();
            let is_done = journal.newest().is_some_and(|state| {
                Slot::BOTH.into_iter().any(|slot| {
                    state.system.condition(slot) == Condition::Confirmed && self.held(slot) == Some(NEW)
                })
            });
            if is_done {
                let (slot, is_trial, _) = self.boot().unwrap();
                assert_eq!((self.held(slot), is_trial), (Some(NEW), false));
                return boots;
            }
        }
        panic!("it goes in circles");
    }

    /// The newest version that is confirmed.
    fn best(&self) -> u32 {
        let Some(state) = Journal::open(self.clone()).unwrap().newest().copied() else { return 0 };
        let confirmed = |slot: &Slot| state.system.condition(*slot) == Condition::Confirmed;
        Slot::BOTH
            .into_iter()
            .filter(confirmed)
            .filter_map(|slot| self.held(slot))
            .map(|held| held.version)
            .max()
            .unwrap_or(0)
    }
}

#[test]
fn an_update_comes_to_its_end_wherever_the_power_is_cut_and_wherever_it_is_cut_again() {
    let whole = Flash::new(0);
    assert!(whole.live_to_the_end() <= 3);
    let operations = whole.0.borrow().operations;
    assert!(operations > 10);
    let mut cuts = 0;
    for first in 0..operations {
        for seed in 0..40 {
            let flash = Flash::new(seed);
            flash.0.borrow_mut().left = Some(first);
            let mut boots = 0;
            while flash.live().is_ok() {
                boots += 1;
                assert!(boots < 10, "the power was to be cut");
            }
            cuts += 1;
            // Once more, at each operation of what follows.
            let cut_once = flash.0.borrow().clone();
            for second in 0..operations {
                let again = Flash(Rc::new(RefCell::new(Chip { left: Some(second), ..cut_once.clone() })));
                again.live_to_the_end();
                cuts += 1;
            }
        }
    }
    println!("{cuts} power cuts: always started what verifies, never lost what was confirmed");
}

#[test]
fn records_outlive_thousands_of_changes_and_a_cut_in_any_of_them() {
    let mut flash = Flash::new(9);
    for number in 1..2000_u32 {
        let mut state = State::new(1, 1);
        state.system.floor = number;
        flash.0.borrow_mut().left = number.is_multiple_of(3).then_some(number / 3 % 2);
        let appended = flash.append(&state).is_ok();
        flash.0.borrow_mut().left = None;
        let newest = Journal::open(flash.clone()).unwrap().newest().map(|state| state.system.floor);
        let allowed =
            if appended { [Some(number); 2] } else { [Some(number), Some(number - 1).filter(|n| *n > 0)] };
        assert!(allowed.contains(&newest), "{newest:?} after {number}");
        if newest != Some(number) {
            flash.append(&state).unwrap();
        }
    }
    flash = Flash::new(1);
    assert!(!Journal::open(flash.clone()).unwrap().is_corrupt());
    flash.0.borrow_mut().sectors[1][5] = 0;
    let mut journal = Journal::open(flash).unwrap();
    assert!(journal.is_corrupt() && journal.newest().is_none());
    journal.append(&State::new(1, 1)).unwrap();
    assert!(!journal.is_corrupt());
}
