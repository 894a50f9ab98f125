//! What the driver promises, against chips made of software.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict, in its helpers too")]

use std::cell::RefCell;

use embedded_storage::nor_flash::{NorFlash as _, ReadNorFlash as _};
use penstock_flash::nor::{Driver as _, Nor};
use penstock_flash::{Erase, EraseProgress, Geometry, Medium as _, ReadAt as _};
use penstock_flash_cfi::fake::{FakeBus, Kind};
use penstock_flash_cfi::{Error, Flash, Locks, Query};
use proptest::prelude::*;

/// As on QEMU's `virt` and many boards: two chips of 16 bits on a bus of 32.
type Bank = FakeBus<4, 2>;
type Pair = Flash<Bank, 4, BLOCK>;

/// One block of each chip, as `Kind::default` has them.
const BLOCK: usize = 2 * 64 * 1024;

fn pair(kind: &Kind) -> Pair {
    Flash::new(Bank::new(kind)).unwrap()
}

/// Looks whether the driver kept to what data sheets ask for.
fn kept_to_the_rules(flash: Pair) {
    assert_eq!(flash.release().violations(), Vec::<String>::new());
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 + n / 251) as u8).collect()
}

#[test]
fn chips_say_what_they_are() {
    let flash = pair(&Kind::default());
    let Query { size_bytes, buffer_bytes, locks, can_suspend_erase, can_program_suspended, .. } =
        *flash.query();
    assert_eq!((size_bytes, buffer_bytes), (1 << 20, 64));
    assert_eq!((locks, can_suspend_erase, can_program_suspended), (Locks::Instant, true, true));
    assert_eq!(flash.query().times.erase_us_max, 512_000 * 8);
    assert_eq!(flash.capacity(), 2 << 20);
    kept_to_the_rules(flash);
}

#[test]
fn other_widths_are_the_same_driver() {
    let kind = Kind::default();
    let mut one: Flash<FakeBus<2, 1>, 2, { 64 * 1024 }> = Flash::new(FakeBus::new(&kind)).unwrap();
    let mut four: Flash<FakeBus<4, 4>, 4, { 256 * 1024 }> = Flash::new(FakeBus::new(&kind)).unwrap();
    let (bytes, mut read) = (pattern(1000), vec![0; 1000]);
    one.erase(0, 64 * 1024).unwrap();
    one.write(30, &bytes).unwrap();
    one.read(30, &mut read).unwrap();
    assert_eq!(read, bytes);
    four.erase(0, 256 * 1024).unwrap();
    four.write(32, &bytes).unwrap();
    four.read(32, &mut read).unwrap();
    assert_eq!(read, bytes);
    assert!(one.release().violations().is_empty() && four.release().violations().is_empty());
}

#[test]
fn what_is_programmed_reads_back_at_any_offset_and_nothing_beside_it_changes() {
    let mut flash = pair(&Kind::default());
    flash.erase(0, 2 * BLOCK as u32).unwrap();
    // Over the boundaries of buffers and of blocks.
    let (at, bytes) = (BLOCK as u32 - 700, pattern(1404));
    flash.write(at, &bytes).unwrap();
    let mut all = vec![0; 2 * BLOCK];
    flash.read(0, &mut all).unwrap();
    let mut expected = vec![0xFF; 2 * BLOCK];
    expected[at as usize..][..bytes.len()].copy_from_slice(&bytes);
    assert!(all == expected);
    for (skip, len) in [(0, 1), (1, 2), (3, 7), (5, 800)] {
        let mut some = vec![0; len];
        flash.read(at + skip as u32, &mut some).unwrap();
        assert_eq!(some, bytes[skip..skip + len]);
    }
    kept_to_the_rules(flash);
}

#[test]
fn bytes_go_in_whole_buffers_and_where_there_is_none_word_by_word() {
    let mut flash = pair(&Kind::default());
    flash.erase(0, BLOCK as u32).unwrap();
    flash.write(0, &pattern(4096)).unwrap();
    assert_eq!(flash.release().buffers(), 4096 / 128);

    let mut flash = pair(&Kind { buffer_power: 0, ..Kind::default() });
    flash.erase(0, BLOCK as u32).unwrap();
    flash.write(0, &pattern(256)).unwrap();
    let mut read = vec![0; 256];
    flash.read(0, &mut read).unwrap();
    assert_eq!(read, pattern(256));
    kept_to_the_rules(flash);
}

#[test]
fn what_lies_beside_the_bank_or_is_not_whole_never_reaches_the_chips() {
    let mut flash = pair(&Kind::default());
    let end = flash.capacity() as u32;
    assert_eq!(flash.read(end - 1, &mut [0; 2]), Err(Error::OutOfBounds));
    assert_eq!(flash.write(end, &[0; 4]), Err(Error::OutOfBounds));
    assert_eq!(flash.write(2, &[0; 4]), Err(Error::NotAligned));
    assert_eq!(flash.write(0, &[0; 3]), Err(Error::NotAligned));
    assert_eq!(flash.erase(0, 1000), Err(Error::NotAligned));
    assert_eq!(flash.erase(0, end + BLOCK as u32), Err(Error::OutOfBounds));
    kept_to_the_rules(flash);
}

#[test]
fn what_one_chip_of_two_reports_is_an_error_and_the_next_operation_begins_afresh() {
    for chip in [0, 1] {
        let mut bus = Bank::new(&Kind::default());
        bus.wear_out(chip, 0x40);
        bus.wear_out(chip, 0x1_0000);
        let mut flash: Pair = Flash::new(bus).unwrap();
        flash.erase(0, BLOCK as u32).unwrap();
        assert_eq!(flash.write(0x80, &pattern(64)), Err(Error::Program));
        assert_eq!(flash.erase(BLOCK as u32, 2 * BLOCK as u32), Err(Error::Erase));
        flash.write(0x100, &pattern(64)).unwrap();
        let mut read = vec![0; 64];
        flash.read(0x100, &mut read).unwrap();
        assert_eq!(read, pattern(64));
        kept_to_the_rules(flash);
    }
}

#[test]
fn a_low_supply_and_blocks_that_stay_locked_are_told_apart() {
    let mut bus = Bank::new(&Kind::default());
    bus.lower_supply(1);
    let mut flash: Pair = Flash::new(bus).unwrap();
    assert_eq!(flash.erase(0, BLOCK as u32), Err(Error::Voltage));
    let mut bus = Bank::new(&Kind::default());
    bus.lock_for_good(0);
    let mut flash: Pair = Flash::new(bus).unwrap();
    assert_eq!(flash.write(0, &[0; 4]), Err(Error::Locked));
}

#[test]
fn a_chip_that_never_becomes_ready_is_given_up() {
    let mut bus = Bank::new(&Kind { has_locks: false, ..Kind::default() });
    bus.hang(1);
    let mut flash: Pair = Flash::new(bus).unwrap();
    assert_eq!(flash.write(0, &[0; 4]), Err(Error::Timeout));
    let mut bus = Bank::new(&Kind { has_locks: false, ..Kind::default() });
    bus.hang(0);
    let mut flash: Pair = Flash::new(bus).unwrap();
    flash.start_erase(0).unwrap();
    let end = loop {
        match flash.poll_erase() {
            Ok(EraseProgress::Busy) => {}
            other => break other,
        }
    };
    assert_eq!(end, Err(Error::Timeout));
}

#[test]
fn other_blocks_are_read_and_programmed_while_one_is_erased() {
    let mut flash = pair(&Kind::default());
    let (first, second) = (0, BLOCK as u32);
    flash.erase(second, 2 * second).unwrap();
    flash.start_erase(first).unwrap();
    assert_eq!(flash.poll_erase(), Ok(EraseProgress::Busy));
    assert_eq!(flash.read(first + 5, &mut [0; 1]), Err(Error::EraseBusy));
    assert_eq!(flash.write(first, &[0; 4]), Err(Error::EraseBusy));
    assert_eq!(flash.start_erase(second), Err(Error::EraseBusy));
    let (bytes, mut read, mut pieces) = (pattern(256), vec![0; 256], 0);
    while flash.poll_erase().unwrap() == EraseProgress::Busy {
        // However often it is interrupted, it comes to its end.
        let at = second + 256 * (pieces % 500);
        if pieces < 500 {
            flash.write(at, &bytes).unwrap();
        }
        flash.read(at, &mut read).unwrap();
        assert_eq!(read, bytes);
        pieces += 1;
        assert!(pieces < 100_000, "the erase starves");
    }
    assert!(pieces > 100);
    let mut block = vec![0; BLOCK];
    flash.read(first, &mut block).unwrap();
    assert!(block.iter().all(|byte| *byte == 0xFF));
    kept_to_the_rules(flash);
}

#[test]
fn chips_that_cannot_suspend_an_erase_are_waited_for_and_its_end_is_not_forgotten() {
    let kind = Kind { can_suspend: false, ..Kind::default() };
    let mut bus = Bank::new(&kind);
    bus.wear_out(0, 0x1_0000);
    let mut flash: Pair = Flash::new(bus).unwrap();
    flash.start_erase(0).unwrap();
    flash.read(BLOCK as u32, &mut [0; 4]).unwrap();
    assert_eq!(flash.poll_erase(), Ok(EraseProgress::Done));
    flash.start_erase(BLOCK as u32).unwrap();
    flash.read(0, &mut [0; 4]).unwrap();
    assert_eq!(flash.start_erase(0), Err(Error::EraseBusy));
    assert_eq!(flash.poll_erase(), Err(Error::Erase));
    assert_eq!(flash.poll_erase(), Ok(EraseProgress::Done));
    kept_to_the_rules(flash);
}

#[test]
fn a_driver_that_begins_while_the_chips_are_busy_waits_for_them() {
    let mut flash = pair(&Kind::default());
    flash.start_erase(0).unwrap();
    let mut flash: Pair = Flash::new(flash.release()).unwrap();
    let mut block = vec![0; BLOCK];
    flash.read(0, &mut block).unwrap();
    assert!(block.iter().all(|byte| *byte == 0xFF));
    kept_to_the_rules(flash);
}

#[test]
fn after_a_power_cut_the_driver_works_and_only_what_was_in_hand_is_torn() {
    for seed in 0..50 {
        let mut flash = pair(&Kind::default());
        flash.erase(0, 2 * BLOCK as u32).unwrap();
        flash.write(0, &pattern(512)).unwrap();
        flash.start_erase(BLOCK as u32).unwrap();
        let mut flash: Pair = Flash::new(flash.release().cut_power(seed)).unwrap();
        let mut read = vec![0; 512];
        flash.read(0, &mut read).unwrap();
        assert_eq!(read, pattern(512));
        flash.erase(BLOCK as u32, 2 * BLOCK as u32).unwrap();
        flash.write(BLOCK as u32, &pattern(512)).unwrap();
        flash.read(BLOCK as u32, &mut read).unwrap();
        assert_eq!(read, pattern(512));
        kept_to_the_rules(flash);
    }
}

#[test]
fn as_a_medium_an_erase_stalls_nobody() {
    let flash = RefCell::new(pair(&Kind::default()));
    let mut medium = Nor::new(&flash, 0..16 * BLOCK as u32, 4).unwrap();
    let segment_bytes = BLOCK as u32;
    let expected = Geometry { segments: 16, segment_bytes, unit_bytes: 4, erase: Erase::Physical };
    assert_eq!(medium.geometry(), expected);
    let erase = |medium: &mut Nor<_>, segment| {
        medium.start_erase(segment).unwrap();
        let mut polls = 0;
        while medium.poll_erase().unwrap() == EraseProgress::Busy {
            polls += 1;
        }
        polls
    };
    assert!(erase(&mut medium, 3) > 1000, "each poll is a look at the chips");
    medium.program(3, 100, &pattern(400)).unwrap();
    medium.start_erase(4).unwrap();
    assert_eq!(medium.poll_erase(), Ok(EraseProgress::Busy));
    medium.program(3, 500, &pattern(400)).unwrap();
    let mut read = vec![0; 400];
    medium.reader().read(3, 500, &mut read).unwrap();
    assert_eq!(read, pattern(400));
    while medium.poll_erase().unwrap() == EraseProgress::Busy {}
    medium.program(4, 0, &pattern(8)).unwrap();
    kept_to_the_rules(flash.into_inner());
}

#[test]
fn what_is_no_bank_of_equal_intel_chips_of_the_right_shape_is_refused() {
    let kind = Kind::default();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let (mut bus, mut table) = (Bank::new(&kind), kind.query());
        change(&mut table);
        bus.set_query(0, &table);
        bus.set_query(1, &table);
        Flash::<Bank, 4, BLOCK>::new(bus).err()
    };
    assert_eq!(with(&|_| {}), None);
    assert_eq!(with(&|table| table[0x10] = b'X'), Some(Error::NoAnswer));
    assert_eq!(with(&|table| table[0x13] = 2), Some(Error::CommandSet(2)));
    assert_eq!(with(&|table| table[0x2D] += 1), Some(Error::Geometry));
    assert_eq!(with(&|table| table[0x27] = 40), Some(Error::Geometry));
    assert_eq!(with(&|table| table[0x2A] = 30), Some(Error::Geometry));
    assert_eq!(Flash::<Bank, 4, { BLOCK / 2 }>::new(Bank::new(&kind)).err(), Some(Error::Geometry));
    let mut unlike = Bank::new(&kind);
    unlike.set_query(1, &Kind { buffer_power: 5, ..kind.clone() }.query());
    assert_eq!(Flash::<Bank, 4, BLOCK>::new(unlike).err(), Some(Error::Unlike));
}

proptest! {
    #[test]
    fn whatever_chips_say_of_themselves_is_refused_or_makes_sense(
        table in prop::collection::vec(any::<u8>(), 0x100),
        honest in prop::collection::vec(0..0x40_usize, 0..0x40),
    ) {
        // Much of it honest, so that not all is refused at the first byte.
        let kind = Kind::default();
        let mut mixed = kind.query();
        mixed.iter_mut().zip(table).enumerate().filter(|(at, _)| !honest.contains(at) && *at > 0x14).for_each(
            |(_, (byte, other))| *byte = other,
        );
        let Ok(query) = Query::read(|at| mixed.get(at as usize).copied().unwrap_or(0)) else { return Ok(()) };
        let sum: u64 = query.regions.iter().map(|region| u64::from(region.blocks) * u64::from(region.block_bytes)).sum();
        prop_assert_eq!(sum, u64::from(query.size_bytes));
        prop_assert!(query.times.erase_us_max <= 10_000_000);
    }

    #[test]
    fn any_sequence_of_writes_and_reads_equals_memory(
        writes in prop::collection::vec((0..BLOCK as u32 / 4, 1..200_usize, any::<u8>()), 1..40),
    ) {
        let mut flash = pair(&Kind::default());
        flash.erase(0, BLOCK as u32).unwrap();
        let mut memory = vec![0xFF_u8; BLOCK];
        for (word, words, seed) in writes {
            let at = word as usize * 4;
            let len = (words * 4).min(BLOCK - at);
            let bytes: Vec<u8> = (0..len).map(|n| (n as u8).wrapping_mul(31) ^ seed).collect();
            flash.write(at as u32, &bytes).unwrap();
            // What is programmed twice loses the bits of both.
            memory[at..at + len].iter_mut().zip(&bytes).for_each(|(cell, byte)| *cell &= byte);
        }
        let mut read = vec![0; BLOCK];
        flash.read(0, &mut read).unwrap();
        prop_assert!(read == memory);
        kept_to_the_rules(flash);
    }
}
