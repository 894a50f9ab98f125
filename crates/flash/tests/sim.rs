//! The simulator enforces what it says: a test of the spool is worth no more than this.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict, in its helpers too")]

use penstock_flash::sim::{Counters, Fault, Rng, SEED_DROP_ALL, SEED_KEEP_ALL, Sim, SimMedium, Story};
use penstock_flash::{Erase, EraseProgress, Error, Geometry, Medium, ReadAt};

const SEEDS: std::ops::Range<u64> = 2..400;

fn nor(unit_bytes: u32) -> Sim {
    Sim::new(Geometry { segments: 4, segment_bytes: 8192, unit_bytes, erase: Erase::Physical }).unwrap()
}

fn block() -> Sim {
    Sim::new(Geometry { segments: 4, segment_bytes: 16384, unit_bytes: 4096, erase: Erase::Logical }).unwrap()
}

fn erase(medium: &mut SimMedium, segment: u32) {
    medium.start_erase(segment).unwrap();
    while medium.poll_erase().unwrap() == EraseProgress::Busy {}
}

/// A handle to a simulator whose segments are all erased.
fn ready(sim: &Sim) -> SimMedium {
    let mut medium = sim.medium();
    (0..sim.geometry().segments).for_each(|segment| erase(&mut medium, segment));
    medium
}

fn read(medium: &SimMedium, segment: u32, offset: u32, len: usize) -> Vec<u8> {
    try_read(medium, segment, offset, len).unwrap()
}

fn try_read(medium: &SimMedium, segment: u32, offset: u32, len: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; len];
    medium.reader().read(segment, offset, &mut bytes).map(|()| bytes)
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Rng::new(seed).fill(&mut bytes);
    bytes
}

// ── The caller's side of the contract ────────────────────────────────────────────────────────────────────────────

#[test]
fn a_unit_is_programmed_once_between_two_erases() {
    for (sim, unit) in [(nor(8), 8), (block(), 4096)] {
        let mut medium = ready(&sim);
        medium.program(1, unit, &noise(1, unit as usize)).unwrap();
        let again = medium.program(1, 0, &noise(2, 2 * unit as usize));
        assert_eq!(again, Err(Error::NotErased { segment: 1, offset: unit }));
        assert_eq!(
            read(&medium, 1, unit, unit as usize),
            noise(1, unit as usize),
            "a refusal changes nothing"
        );
        assert_eq!(sim.counters().violations, 1);
        erase(&mut medium, 1);
        medium.program(1, 0, &noise(2, 2 * unit as usize)).unwrap();
    }
}

#[test]
fn nothing_is_programmed_without_an_erase_that_finished() {
    for sim in [nor(8), block()] {
        let unit = sim.geometry().unit_bytes as usize;
        let mut medium = sim.medium();
        let refused = Err(Error::NotErased { segment: 0, offset: 0 });
        assert_eq!(medium.program(0, 0, &vec![0; unit]), refused, "a new medium has not been erased");
        medium.start_erase(0).unwrap();
        assert_eq!(medium.program(0, 0, &vec![0; unit]), Err(Error::EraseBusy));
        let mut medium = sim.power_on(SEED_DROP_ALL);
        assert_eq!(medium.program(0, 0, &vec![0; unit]), refused, "the erase was cut");
        erase(&mut medium, 0);
        medium.program(0, 0, &vec![0; unit]).unwrap();
    }
}

#[test]
fn a_unit_that_a_cut_took_back_still_counts_as_programmed() {
    let sim = nor(8);
    ready(&sim).program(0, 0, &[0; 8]).unwrap();
    let mut medium = sim.power_on(SEED_DROP_ALL);
    assert_eq!(read(&medium, 0, 0, 8), [0xFF; 8]);
    assert_eq!(medium.program(0, 0, &[0; 8]), Err(Error::NotErased { segment: 0, offset: 0 }));
    medium.program(0, 8, &[0; 8]).unwrap();
}

#[test]
fn only_whole_units_on_the_medium_are_programmed() {
    let sim = nor(32);
    let mut medium = ready(&sim);
    assert_eq!(medium.program(0, 16, &[0; 32]), Err(Error::Misaligned { segment: 0, offset: 16 }));
    assert_eq!(medium.program(0, 0, &[0; 33]), Err(Error::Misaligned { segment: 0, offset: 0 }));
    assert_eq!(medium.program(0, 8192, &[0; 32]), Err(Error::OutOfBounds { segment: 0, offset: 8192 }));
    assert_eq!(medium.program(4, 0, &[0; 32]), Err(Error::OutOfBounds { segment: 4, offset: 0 }));
    assert_eq!(medium.start_erase(4), Err(Error::OutOfBounds { segment: 4, offset: 0 }));
    assert_eq!(
        try_read(&medium, 0, 8190, 3),
        Err(Error::OutOfBounds { segment: 0, offset: 8190 }),
        "a read does not cross a segment"
    );
    assert_eq!(sim.counters().violations, 5, "reads are not the owner's and do not count");
}

#[test]
fn one_erase_at_a_time_and_a_physical_one_takes_several_polls() {
    let sim = nor(8);
    let mut medium = sim.medium();
    medium.start_erase(2).unwrap();
    assert_eq!(medium.start_erase(3), Err(Error::EraseBusy));
    assert_eq!(medium.poll_erase(), Ok(EraseProgress::Busy));
    assert_ne!(read(&medium, 2, 0, 64), read(&medium, 2, 0, 64), "it reads differently until it is done");
    assert_eq!(medium.poll_erase(), Ok(EraseProgress::Busy));
    assert_eq!(medium.poll_erase(), Ok(EraseProgress::Done));
    assert_eq!(read(&medium, 2, 0, 64), [0xFF; 64]);
    assert_eq!(sim.erase_counts(), [0, 0, 1, 0]);
}

#[test]
fn an_invalid_geometry_is_refused() {
    let geometry = Geometry { segments: 4, segment_bytes: 4096, unit_bytes: 24, erase: Erase::Physical };
    assert_eq!(Sim::new(geometry).err(), Some(Error::Geometry));
    let geometry = Geometry { unit_bytes: 8, ..geometry };
    assert_eq!(Sim::from_image(geometry, &[0; 4 * 4096 + 1]).err(), Some(Error::Geometry));
}

// ── What survives ────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn what_was_synced_survives_every_cut() {
    for sim in [nor(1), nor(8), nor(32), block()] {
        let unit = sim.geometry().unit_bytes as usize;
        let mut medium = ready(&sim);
        medium.program(0, 0, &noise(1, 2 * unit)).unwrap();
        medium.sync().unwrap();
        medium.program(0, 2 * unit as u32, &noise(2, unit)).unwrap();
        for seed in SEEDS {
            let medium = sim.clone().power_on(seed);
            for _ in 0..10 {
                assert_eq!(read(&medium, 0, 0, 2 * unit), noise(1, 2 * unit), "seed {seed}");
            }
        }
    }
}

#[test]
fn what_was_programmed_reads_back_before_it_is_synced() {
    for sim in [nor(4), block()] {
        let unit = sim.geometry().unit_bytes;
        let mut medium = ready(&sim);
        let reader = medium.reader();
        medium.program(3, unit, &noise(5, unit as usize)).unwrap();
        let mut bytes = vec![0; unit as usize - 2];
        reader.read(3, unit + 1, &mut bytes).unwrap();
        assert_eq!(bytes, noise(5, unit as usize)[1..unit as usize - 1]);
    }
}

#[test]
fn writing_through_hardens_these_bytes_and_no_others() {
    for sim in [nor(8), block()] {
        let unit = sim.geometry().unit_bytes;
        let before = read(&ready(&sim), 0, 0, unit as usize);
        let mut medium = sim.medium();
        medium.program(0, 0, &noise(1, unit as usize)).unwrap();
        medium.program_through(0, unit, &noise(2, unit as usize)).unwrap();
        let medium = sim.power_on(SEED_DROP_ALL);
        assert_eq!(read(&medium, 0, 0, unit as usize), before);
        assert_eq!(read(&medium, 0, unit, unit as usize), noise(2, unit as usize));
        assert_eq!(sim.counters().through_requests, 1);
    }
}

#[test]
fn an_overwritten_disk_holds_after_a_cut_the_old_or_the_new_and_never_undoes_what_was_synced() {
    let (first, second) = (noise(1, 4096), noise(2, 4096));
    let sim = block();
    let mut medium = ready(&sim);
    medium.program(0, 0, &first).unwrap();
    erase(&mut medium, 0);
    assert_eq!(read(&medium, 0, 0, 4096), first, "a logical erase does no I/O");
    let unsynced = sim.clone();
    medium.program_through(0, 0, &second).unwrap();
    for seed in SEEDS {
        assert_eq!(read(&sim.clone().power_on(seed), 0, 0, 4096), second, "seed {seed}");
    }
    unsynced.medium().program(0, 0, &second).unwrap();
    assert_eq!(read(&unsynced.clone().power_on(SEED_KEEP_ALL), 0, 0, 4096), second);
    let olds = SEEDS.filter(|seed| {
        try_read(&unsynced.clone().power_on(*seed), 0, 0, 4096).is_ok_and(|bytes| bytes == first)
    });
    assert!(olds.count() > 0, "the newer one can be lost where the older was not");
}

// ── The cut ──────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn the_cut_comes_when_it_was_ordered_and_lasts() {
    let sim = nor(8);
    let mut medium = ready(&sim);
    let reader = medium.reader();
    sim.cut_after(2);
    medium.program(0, 0, &[0; 8]).unwrap();
    medium.sync().unwrap();
    assert_eq!(medium.program(0, 8, &[0; 8]), Err(Error::PowerCut));
    assert!(sim.is_cut());
    assert_eq!(medium.sync(), Err(Error::PowerCut));
    assert_eq!(medium.start_erase(1), Err(Error::PowerCut));
    assert_eq!(medium.poll_erase(), Err(Error::PowerCut));
    assert_eq!(reader.read(0, 0, &mut [0]), Err(Error::PowerCut));
    let after = sim.power_on(SEED_KEEP_ALL);
    assert_eq!(read(&after, 0, 8, 8), [0; 8], "the program that was caught may have come through");
    assert_eq!(medium.sync(), Err(Error::PowerCut), "handles of the boot before stay dead");
    assert_eq!(reader.read(0, 0, &mut [0]), Err(Error::PowerCut));
}

#[test]
fn a_sync_that_is_caught_promises_nothing() {
    let sim = nor(8);
    let mut medium = ready(&sim);
    medium.program(0, 0, &[0; 8]).unwrap();
    sim.cut_after(0);
    assert_eq!(medium.sync(), Err(Error::PowerCut));
    assert_eq!(read(&sim.clone().power_on(SEED_DROP_ALL), 0, 0, 8), [0xFF; 8]);
    assert_eq!(read(&sim.clone().power_on(SEED_KEEP_ALL), 0, 0, 8), [0; 8]);
}

#[test]
fn on_physical_media_any_subset_of_the_bits_that_had_to_change_is_found_and_no_other() {
    let sim = nor(8);
    let data = noise(9, 64);
    ready(&sim).program(0, 0, &data).unwrap();
    let (mut kept, mut dropped, mut torn, mut marginal) = (0, 0, 0, 0);
    for seed in SEEDS {
        let medium = sim.clone().power_on(seed);
        let first = read(&medium, 0, 0, 64);
        let later = (0..10).fold(first.clone(), |_, _| read(&medium, 0, 0, 64));
        assert_eq!(later, read(&medium, 0, 0, 64), "in the end it stays as it is");
        for unit in 0..8 {
            let range = unit * 8..unit * 8 + 8;
            let (new, first, later) = (&data[range.clone()], &first[range.clone()], &later[range]);
            for (cell, byte) in later.iter().zip(new) {
                assert_eq!(cell & byte, *byte, "only bits that had to change may differ (seed {seed})");
            }
            kept += u32::from(later == new);
            dropped += u32::from(later == [0xFF; 8]);
            torn += u32::from(later != new && later != [0xFF; 8]);
            marginal += u32::from(first == new && later != new);
        }
    }
    assert!(kept > 100 && dropped > 100 && torn > 100 && marginal > 20, "{kept} {dropped} {torn} {marginal}");
}

#[test]
fn a_torn_unit_is_a_mix_of_words_in_any_order() {
    let sim = nor(8);
    let mut medium = ready(&sim);
    medium.program(0, 0, &[0; 8]).unwrap();
    let (mut first_alone, mut second_alone, mut within) = (0, 0, 0);
    for seed in SEEDS {
        let bytes = read(&sim.clone().power_on(seed), 0, 0, 8);
        match (&bytes[..4], &bytes[4..]) {
            ([0, 0, 0, 0], [0xFF, 0xFF, 0xFF, 0xFF]) => first_alone += 1,
            ([0xFF, 0xFF, 0xFF, 0xFF], [0, 0, 0, 0]) => second_alone += 1,
            (first, second) => {
                let is_partly = |word: &[u8]| word != [0; 4] && word != [0xFF; 4];
                within += u32::from(is_partly(first) || is_partly(second));
            }
        }
    }
    assert!(first_alone > 5 && second_alone > 5 && within > 50, "{first_alone} {second_alone} {within}");
}

#[test]
fn cells_with_ecc_and_disks_may_refuse_to_read_what_was_torn_but_only_that() {
    for (sim, refuses) in [(nor(8), false), (nor(16), true), (block(), true)] {
        let unit = sim.geometry().unit_bytes;
        let mut medium = ready(&sim);
        medium.program_through(0, 0, &vec![0; unit as usize]).unwrap();
        medium.program(0, unit, &vec![0; unit as usize]).unwrap();
        let mut refused = 0;
        for seed in SEEDS {
            let medium = sim.clone().power_on(seed);
            assert!(try_read(&medium, 0, 0, unit as usize).is_ok());
            assert!(try_read(&medium, 0, 2 * unit, unit as usize).is_ok());
            if let Err(error) = try_read(&medium, 0, 0, 2 * unit as usize) {
                assert_eq!(error, Error::Unreadable { segment: 0, offset: unit });
                refused += 1;
            }
        }
        assert_eq!(refused > 0, refuses);
    }
}

#[test]
fn on_block_media_each_sector_is_old_or_new() {
    let sim = block();
    let (old, new) = (noise(1, 8192), noise(2, 8192));
    let mut medium = ready(&sim);
    medium.program(0, 0, &old).unwrap();
    medium.sync().unwrap();
    erase(&mut medium, 0);
    medium.program(0, 0, &new).unwrap();
    let (mut mixed, mut reordered) = (0, 0);
    for seed in SEEDS {
        let Ok(bytes) = try_read(&sim.clone().power_on(seed), 0, 0, 8192) else { continue };
        let is_new: Vec<bool> = (0..16)
            .map(|sector| {
                let range = sector * 512..sector * 512 + 512;
                let is_new = bytes[range.clone()] == new[range.clone()];
                assert!(is_new || bytes[range.clone()] == old[range], "seed {seed} sector {sector}");
                is_new
            })
            .collect();
        mixed += u32::from(is_new[..8].iter().any(|new| *new) && is_new[..8].iter().any(|new| !new));
        reordered += u32::from(is_new[..8].iter().all(|new| !new) && is_new[8..].iter().all(|new| *new));
    }
    assert!(mixed > 20 && reordered > 5, "{mixed} {reordered}");
}

#[test]
fn an_erase_that_was_cut_leaves_every_form_and_harms_no_other_segment() {
    let sim = nor(8);
    let old = noise(3, 8192);
    let mut medium = ready(&sim);
    (0..4).for_each(|segment| medium.program(segment, 0, &old).unwrap());
    medium.sync().unwrap();
    medium.start_erase(1).unwrap();
    sim.cut_after(0);
    assert_eq!(medium.poll_erase(), Err(Error::PowerCut));
    let (mut untouched, mut head_over_zeros, mut unstable, mut blank_then_not, mut partly_blank) =
        (0, 0, 0, 0, 0);
    for seed in SEEDS {
        let medium = sim.clone().power_on(seed);
        let reads: Vec<_> = (0..12).map(|_| read(&medium, 1, 0, 8192)).collect();
        let (first, last) = (&reads[0], &reads[11]);
        let zero_tail = last.iter().rev().take_while(|byte| **byte == 0).count();
        if reads.iter().all(|bytes| *bytes == old) {
            untouched += 1;
        } else if zero_tail > 64 && last[..8192 - zero_tail] == old[..8192 - zero_tail] {
            head_over_zeros += 1;
        } else if first.iter().all(|byte| *byte == 0xFF) && last != first {
            blank_then_not += 1;
        } else if reads[10] != reads[11] {
            unstable += 1;
        } else if last.windows(16).any(|stretch| stretch == [0xFF; 16]) {
            partly_blank += 1;
        }
        for other in [0, 2, 3] {
            assert_eq!(read(&medium, other, 0, 8192), old);
        }
    }
    for count in [untouched, head_over_zeros, unstable, blank_then_not, partly_blank] {
        assert!(count > 20, "{untouched} {head_over_zeros} {unstable} {blank_then_not} {partly_blank}");
    }
}

#[test]
fn an_erase_that_said_done_is_durable() {
    let sim = nor(8);
    let mut medium = ready(&sim);
    medium.program_through(0, 0, &[0; 8]).unwrap();
    medium.program(0, 8, &[0; 8]).unwrap();
    erase(&mut medium, 0);
    for seed in SEEDS {
        assert_eq!(read(&sim.clone().power_on(seed), 0, 0, 16), [0xFF; 16]);
    }
}

// ── Media that are not what they say ─────────────────────────────────────────────────────────────────────────────

#[test]
fn without_sync_nothing_ever_hardens() {
    let sim = nor(8);
    sim.inject(Fault::NoSync);
    let mut medium = ready(&sim);
    medium.program(0, 0, &[0; 8]).unwrap();
    medium.sync().unwrap();
    medium.program_through(0, 8, &[0; 8]).unwrap();
    assert_eq!(read(&medium, 0, 0, 16), [0; 16]);
    assert_eq!(read(&sim.power_on(SEED_DROP_ALL), 0, 0, 16), [0xFF; 16]);
}

#[test]
fn a_failed_sync_is_not_made_good_by_the_next() {
    let sim = block();
    let mut medium = ready(&sim);
    medium.program(0, 0, &[1; 4096]).unwrap();
    sim.inject(Fault::FailSync { code: 5 });
    assert_eq!(medium.sync(), Err(Error::Io { code: 5 }));
    medium.program(0, 4096, &[2; 4096]).unwrap();
    medium.sync().unwrap();
    assert_eq!(read(&medium, 0, 0, 4096), [1; 4096], "it reads as if all were well");
    let medium = sim.power_on(SEED_DROP_ALL);
    assert_eq!(read(&medium, 0, 0, 4096), [0; 4096]);
    assert_eq!(read(&medium, 0, 4096, 4096), [2; 4096]);
}

#[test]
fn failing_operations_fail_once_and_leave_what_a_cut_leaves() {
    let sim = nor(8);
    let mut medium = ready(&sim);
    medium.program_through(1, 0, &[0; 8]).unwrap();
    sim.inject(Fault::FailRead { code: 5 });
    assert_eq!(try_read(&medium, 0, 0, 1), Err(Error::Io { code: 5 }));
    assert_eq!(read(&medium, 0, 0, 1), [0xFF]);
    sim.inject(Fault::FailProgram { code: 6 });
    assert_eq!(medium.program(0, 0, &[0; 8]), Err(Error::Io { code: 6 }));
    assert_eq!(medium.program(0, 0, &[0; 8]), Err(Error::NotErased { segment: 0, offset: 0 }));
    medium.program(0, 8, &[0; 8]).unwrap();
    sim.inject(Fault::FailErase { code: 7 });
    medium.start_erase(1).unwrap();
    assert_eq!(medium.poll_erase(), Err(Error::Io { code: 7 }));
    assert_eq!(medium.program(1, 8, &[0; 8]), Err(Error::NotErased { segment: 1, offset: 8 }));
    erase(&mut medium, 1);
    assert_eq!(read(&medium, 1, 0, 8), [0xFF; 8]);
}

#[test]
fn silent_no_ops_report_success_and_do_nothing() {
    let sim = nor(8);
    let mut medium = ready(&sim);
    sim.inject(Fault::IgnoreProgram);
    medium.program(0, 0, &[0; 8]).unwrap();
    assert_eq!(read(&medium, 0, 0, 8), [0xFF; 8]);
    medium.program_through(0, 8, &[0; 8]).unwrap();
    sim.inject(Fault::IgnoreErase);
    erase(&mut medium, 0);
    assert_eq!(read(&medium, 0, 8, 8), [0; 8]);
    medium.program(0, 8, &[0x0F; 8]).unwrap();
    assert_eq!(read(&medium, 0, 8, 8), [0; 8], "physical media can only clear bits");
}

#[test]
fn a_fault_waits_for_the_operation_that_was_named_and_then_for_the_first_that_fits() {
    let sim = nor(8);
    let mut medium = ready(&sim);
    sim.inject_at(sim.operations() + 1, Fault::IgnoreProgram);
    medium.program(0, 0, &[0; 8]).unwrap();
    medium.sync().unwrap();
    medium.program(0, 8, &[0; 8]).unwrap();
    medium.program(0, 16, &[0; 8]).unwrap();
    assert_eq!(read(&medium, 0, 0, 24), [[0; 8], [0xFF; 8], [0; 8]].concat());
}

#[test]
fn a_misdirected_program_ands_into_cells_and_overwrites_sectors() {
    for (sim, found) in [(nor(8), 0xF0 & 0x3C), (block(), 0x3C)] {
        let unit = sim.geometry().unit_bytes;
        let mut medium = ready(&sim);
        medium.program(2, unit, &vec![0xF0; unit as usize]).unwrap();
        medium.sync().unwrap();
        let before = read(&medium, 0, 0, unit as usize);
        sim.inject(Fault::Misdirect { segment: 2, offset: unit });
        medium.program_through(0, 0, &vec![0x3C; unit as usize]).unwrap();
        let medium = sim.power_on(SEED_DROP_ALL);
        assert_eq!(read(&medium, 0, 0, unit as usize), before);
        assert_eq!(read(&medium, 2, unit, unit as usize), vec![found; unit as usize]);
    }
}

#[test]
fn flipped_bits_stay_until_an_erase_and_stuck_bits_for_ever() {
    let sim = nor(8);
    let mut medium = ready(&sim);
    medium.program(0, 0, &[0x55; 8]).unwrap();
    sim.inject(Fault::Flip { segment: 0, offset: 1, mask: 0x03 });
    assert_eq!(read(&medium, 0, 0, 3), [0x55, 0x56, 0x55], "pending bytes rot too");
    medium.sync().unwrap();
    sim.inject(Fault::Flip { segment: 0, offset: 2, mask: 0x80 });
    sim.inject(Fault::Stuck { segment: 0, offset: 3, mask: 0x0F, ones: true });
    sim.inject(Fault::Stuck { segment: 0, offset: 4, mask: 0x0F, ones: false });
    let mut medium = sim.power_on(9);
    assert_eq!(read(&medium, 0, 0, 5), [0x55, 0x56, 0xD5, 0x5F, 0x50]);
    erase(&mut medium, 0);
    assert_eq!(read(&medium, 0, 0, 5), [0xFF, 0xFF, 0xFF, 0xFF, 0xF0]);
}

#[test]
fn an_unreadable_range_is_refused_until_it_is_erased_or_on_a_disk_programmed() {
    let range = Fault::Unreadable { segment: 0, offset: 4000, len_bytes: 8192 };
    let sim = block();
    let mut medium = ready(&sim);
    sim.inject(range);
    assert_eq!(read(&medium, 0, 0, 4000).len(), 4000);
    assert_eq!(try_read(&medium, 0, 0, 4001), Err(Error::Unreadable { segment: 0, offset: 4000 }));
    medium.program(0, 4096, &[7; 4096]).unwrap();
    assert_eq!(read(&medium, 0, 4096, 4096), [7; 4096]);
    assert_eq!(try_read(&medium, 0, 0, 4096), Err(Error::Unreadable { segment: 0, offset: 4000 }));
    assert_eq!(try_read(&medium, 0, 8000, 4096), Err(Error::Unreadable { segment: 0, offset: 8192 }));
    let sim = nor(8);
    let mut medium = ready(&sim);
    sim.inject(Fault::Unreadable { segment: 0, offset: 0, len_bytes: 1 });
    assert_eq!(try_read(&medium, 0, 0, 1), Err(Error::Unreadable { segment: 0, offset: 0 }));
    erase(&mut medium, 0);
    assert_eq!(read(&medium, 0, 0, 1), [0xFF]);
}

#[test]
fn a_segment_wears_out() {
    let sim = nor(8);
    sim.inject(Fault::Endurance { erases: 2 });
    let mut medium = sim.medium();
    erase(&mut medium, 0);
    erase(&mut medium, 0);
    for _ in 0..2 {
        medium.start_erase(0).unwrap();
        assert_eq!(medium.poll_erase(), Err(Error::Io { code: 5 }));
    }
    erase(&mut medium, 1);
}

// ── Branching, replaying, counting ───────────────────────────────────────────────────────────────────────────────

/// A workload that goes on until it is done or the power fails.
fn workload(medium: &mut SimMedium) -> Result<(), Error> {
    for round in 0..3u8 {
        for segment in 0..2 {
            medium.start_erase(segment)?;
            while medium.poll_erase()? == EraseProgress::Busy {}
            medium.program(segment, 0, &[round; 16])?;
            medium.program_through(segment, 16, &[round | 0x80; 8])?;
            medium.sync()?;
        }
    }
    Ok(())
}

#[test]
fn a_clone_is_independent() {
    let sim = nor(8);
    let mut medium = ready(&sim);
    medium.program(0, 0, &[1; 8]).unwrap();
    let other = sim.clone();
    other.cut_after(0);
    assert_eq!(other.medium().program(0, 8, &[2; 8]), Err(Error::PowerCut));
    medium.program(0, 8, &[3; 8]).unwrap();
    assert_eq!(read(&medium, 0, 0, 16), [[1; 8], [3; 8]].concat());
    assert_eq!(read(&other.power_on(SEED_KEEP_ALL), 0, 0, 16), [[1; 8], [2; 8]].concat());
}

#[test]
fn a_branch_equals_a_run_that_was_cut_there() {
    for sim in
        [nor(8), Sim::new(Geometry { unit_bytes: 8, erase: Erase::Logical, ..nor(8).geometry() }).unwrap()]
    {
        let fresh = sim.clone();
        sim.branch_everywhere();
        workload(&mut sim.medium()).unwrap();
        let branches = sim.take_branches();
        assert_eq!(branches.len() as u64, sim.operations());
        assert!(sim.take_branches().is_empty());
        for (operation, branch) in branches.into_iter().enumerate() {
            let rerun = fresh.clone();
            rerun.cut_after(operation as u64);
            assert_eq!(workload(&mut rerun.medium()), Err(Error::PowerCut));
            assert_eq!(branch.operations() - 1, operation as u64);
            assert_eq!(branch.story(), rerun.story());
            for seed in 0..20 {
                let (branch, rerun) = (branch.clone(), rerun.clone());
                branch.power_on(seed);
                rerun.power_on(seed);
                assert_eq!(branch.image(), rerun.image(), "{}", branch.story());
            }
        }
    }
}

#[test]
fn a_story_replays_to_the_same_medium() {
    let faults = [
        Fault::Flip { segment: 1, offset: 3, mask: 4 },
        Fault::Stuck { segment: 0, offset: 2, mask: 1, ones: false },
        Fault::Unreadable { segment: 3, offset: 0, len_bytes: 7 },
        Fault::Misdirect { segment: 2, offset: 8 },
        Fault::IgnoreProgram,
        Fault::IgnoreErase,
        Fault::FailProgram { code: -4 },
        Fault::FailSync { code: 5 },
        Fault::FailErase { code: 5 },
        Fault::FailRead { code: 5 },
        Fault::Endurance { erases: 9 },
        Fault::NoSync,
    ];
    for seed in 0..50 {
        let mut rng = Rng::new(seed);
        let sim = nor(8);
        for fault in faults {
            sim.inject_at(rng.below(60), fault);
        }
        sim.cut_after(rng.below(40));
        let _ = workload(&mut sim.medium());
        sim.cut_after(rng.below(10));
        let _ = workload(&mut sim.power_on(rng.next_u64()));
        sim.power_on(rng.next_u64());

        let line = sim.story().to_string();
        let story: Story = line.parse().unwrap();
        assert_eq!(story, sim.story());
        let again = nor(8);
        again.inject_story(&story);
        let _ = workload(&mut again.medium());
        for seed in story.seeds() {
            let _ = workload(&mut again.power_on(seed));
        }
        let _ = workload(&mut sim.medium());
        assert_eq!(again.image(), sim.image(), "{line}");
        assert_eq!(again.counters(), sim.counters(), "{line}");
    }
}

#[test]
fn a_line_that_is_no_story_is_refused() {
    for line in ["cut", "cut@", "cut@x", "flip@3", "flip=1:2@3", "flip=1:2:3:4@3", "flip=1:2:256@3", "on@-1"]
    {
        assert!(line.parse::<Story>().is_err(), "{line}");
    }
    assert!("".parse::<Story>().unwrap().steps.is_empty());
}

#[test]
fn it_counts_what_was_asked() {
    let sim = nor(8);
    let mut medium = ready(&sim);
    medium.program(0, 0, &[0; 16]).unwrap();
    medium.program_through(0, 16, &[0; 8]).unwrap();
    medium.sync().unwrap();
    read(&medium, 0, 3, 5);
    let expected = Counters {
        read_requests: 1,
        read_bytes: 5,
        program_requests: 2,
        programmed_bytes: 24,
        through_requests: 1,
        syncs: 1,
        erases: 4,
        violations: 0,
    };
    assert_eq!(sim.counters(), expected);
}

#[test]
fn an_image_is_taken_over_and_given_back() {
    let image = noise(4, 20_000);
    let sim = Sim::from_image(nor(8).geometry(), &image).unwrap();
    assert_eq!(sim.image()[..20_000], image);
    assert_eq!(sim.image()[20_000..], [0xFF; 12_768]);
    assert_eq!(read(&sim.medium(), 1, 10, 50), image[8202..8252]);
}
