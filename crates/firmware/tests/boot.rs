//! What the firmware reads, decides and writes down, on flash made of software.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict, in its helpers too")]

use std::cell::RefCell;
use std::ops::Range;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use penstock_firmware::board::BOARD;
use penstock_firmware::decide::{decide, decide_stage0, state};
use penstock_firmware::load::Loader;
use penstock_firmware::own;
use penstock_firmware::part::Part;
use penstock_flash_cfi::Flash;
use penstock_flash_cfi::fake::{FakeBus, Kind};
use penstock_identity::SeedRecord;
use penstock_settings::Record;
use penstock_slots::{
    Boot, Cause, Condition, Held, Journal, Kept, MANIFEST_BYTES, Mailbox, Manifest, Part as Piece, Rejected,
    SIGNED_BYTES, Slot, end_update, mark_good,
};
use sha2::{Digest as _, Sha512};

/// A sector of both chips.
const SECTOR_BYTES: usize = 128 * 1024;
type Chips = Flash<FakeBus<4, 2>, 4, SECTOR_BYTES>;

/// A blank bank of sixteen sectors.
fn bank() -> RefCell<Chips> {
    let bank = RefCell::new(Flash::new(FakeBus::new(&Kind::default())).unwrap());
    for sector in 0..16 {
        part(&bank, 0..16).erase_sector(sector).unwrap();
    }
    bank
}

fn part(bank: &RefCell<Chips>, sectors: Range<u32>) -> Part<'_, Chips> {
    Part::new(bank, sectors.start * SECTOR_BYTES as u32..sectors.end * SECTOR_BYTES as u32)
}

fn journal(bank: &RefCell<Chips>) -> Journal<Part<'_, Chips>> {
    Journal::open(part(bank, 0..2)).unwrap()
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

/// A signed bundle for this board, padded to whole words.
fn bundle(kept: Kept, body: &[u8], security: u32) -> Vec<u8> {
    let sha512 = Sha512::digest(body).as_slice().try_into().unwrap();
    let piece = Piece { offset: 4096, len_bytes: body.len() as u32, sha512 };
    let held = Held { version: 0x0100_0000, security };
    let signed = Manifest::new(kept, BOARD.name, held, &[piece]).unwrap().to_bytes();
    let mut bytes = vec![0xFF; 4096 + body.len().next_multiple_of(4)];
    bytes[..SIGNED_BYTES].copy_from_slice(&signed);
    bytes[SIGNED_BYTES..MANIFEST_BYTES].copy_from_slice(&key().sign(&signed).to_bytes());
    bytes[4096..4096 + body.len()].copy_from_slice(body);
    bytes
}

fn keys() -> [VerifyingKey; 1] {
    [key().verifying_key()]
}

fn load(loader: &mut Loader<'_>, from: &Part<'_, Chips>, kept: Kept, floor: u32) -> Result<(), Rejected> {
    loader.load(from, (kept, Slot::A), &keys(), floor, || {})
}

#[test]
fn what_is_started_is_what_was_verified_in_memory() {
    let bank = bank();
    let slot = part(&bank, 4..8);
    let body: Vec<u8> = (0..300_000_u32).map(|at| (at * 7 % 251) as u8).collect();
    slot.program_at(0, &bundle(Kept::System, &body, 3)).unwrap();
    let mut memory = vec![0; 4 * SECTOR_BYTES];
    let mut loader = Loader::new(&mut memory);
    let mut pauses = 0;
    loader.load(&slot, (Kept::System, Slot::B), &keys(), 3, || pauses += 1).unwrap();
    assert!(pauses >= 2, "somebody else had a turn");
    assert_eq!(loader.loaded().map(|(slot, _)| slot), Some(Slot::B));
    slot.erase_sector(0).unwrap();
    assert_eq!(loader.part(0), Some(&body[..]), "whatever the flash says by now");
    assert_eq!((loader.offset(0), loader.part(1)), (Some(4096), None));
}

#[test]
fn what_may_not_be_started_is_not_in_memory_either() {
    let bank = bank();
    let slot = part(&bank, 4..6);
    let mut memory = vec![0; 2 * SECTOR_BYTES];
    let mut loader = Loader::new(&mut memory);
    assert_eq!(load(&mut loader, &slot, Kept::System, 0), Err(Rejected::None), "the slot is blank");
    slot.program_at(0, &bundle(Kept::System, b"a system", 3)).unwrap();
    assert_eq!(load(&mut loader, &slot, Kept::System, 4), Err(Rejected::Security { found: 3, floor: 4 }));
    assert_eq!(load(&mut loader, &slot, Kept::Firmware, 0), Err(Rejected::Kind));
    assert_eq!((loader.loaded(), loader.part(0)), (None, None));
    assert_eq!(load(&mut loader, &slot, Kept::System, 3), Ok(()));
    // A bundle that says that it is longer than its slot.
    let short = Part::new(&bank, slot.range().start..slot.range().start + 4096);
    assert_eq!(load(&mut loader, &short, Kept::System, 0), Err(Rejected::Malformed));
    assert_eq!(loader.part(0), None);
}

#[test]
fn a_bundle_from_the_line_is_verified_as_one_from_flash() {
    let mut memory = vec![0; SECTOR_BYTES];
    let mut loader = Loader::new(&mut memory);
    let mut sent = bundle(Kept::Firmware, b"a firmware", 1);
    let bundle_bytes = sent.len() - 2;
    // As XMODEM fills up the last block.
    sent.resize(sent.len() + 700, 0x1A);
    loader.memory()[..sent.len()].copy_from_slice(&sent);
    let place = (Kept::Firmware, Slot::B);
    let verified = loader.verify(sent.len(), place, &keys(), 1).map(<[u8]>::len);
    assert_eq!(verified, Ok(bundle_bytes), "what filled up the block is left out");
    assert_eq!(loader.verify(4098, place, &keys(), 1).map(drop), Err(Rejected::Part(0)));
    loader.memory()[4097] ^= 1;
    assert_eq!(loader.verify(sent.len(), place, &keys(), 1).map(drop), Err(Rejected::Part(0)));
}

const fn all_verify(_: Slot) -> Result<(), Rejected> {
    Ok(())
}

/// A box with a confirmed system in A and an update in B.
fn updated(bank: &RefCell<Chips>) {
    let held = Held { version: 0x0100_0000, security: 1 };
    let mut journal = journal(bank);
    let state = mark_good(&state(&journal), Kept::System, Slot::A, held).unwrap();
    journal.append(&end_update(&state, Kept::System, Slot::A, held).unwrap()).unwrap();
}

#[test]
fn a_try_is_counted_in_flash_before_the_slot_is_started() {
    let bank = bank();
    updated(&bank);
    let decision = decide(&mut journal(&bank), Kept::System, None, 0, all_verify);
    assert_eq!(decision.choice.boot, Boot::Slot { slot: Slot::B, is_trial: true });
    // The power goes now; what counts is what the next boot reads.
    assert_eq!(state(&journal(&bank)).system.condition(Slot::B), Condition::Trial { tries_left: 2 });
}

#[test]
fn what_is_on_trial_is_not_started_if_that_cannot_be_counted() {
    let bank = bank();
    updated(&bank);
    let mut journal = journal(&bank);
    let mut chips = bank.replace(Flash::new(FakeBus::new(&Kind::default())).unwrap()).release();
    (0..2).for_each(|chip| chips.lower_supply(chip));
    bank.replace(Flash::new(chips).unwrap());
    let decision = decide(&mut journal, Kept::System, None, 0, all_verify);
    assert!(decision.failed.is_some());
    assert_eq!(decision.choice.boot, Boot::Slot { slot: Slot::A, is_trial: false });
}

fn mailbox(cause: Cause, resets: u8) -> Mailbox {
    Mailbox { cause, resets, since_s: 100, ..Mailbox::NEW }
}

#[test]
fn stage_0_leaves_it_to_the_firmware_to_count_what_the_system_did() {
    let bank = bank();
    let left = mailbox(Cause::Watchdog, 7);
    let stage0 = decide_stage0(&mut journal(&bank), Some(left), 200, 5, all_verify);
    let told = stage0.start.unwrap();
    assert_eq!((told.slot, told.is_trial, told.reset_ticks), (Slot::A, false, 5));
    assert_eq!((told.reason, told.mailbox), (Some(Cause::Watchdog), Some(left)), "not counted twice");
    assert_eq!(stage0.mailbox.cause, Cause::Firmware, "a reset now is the firmware's doing");
}

#[test]
fn a_firmware_that_goes_down_again_and_again_gives_way_to_the_other() {
    let bank = bank();
    let mut left = Mailbox { cause: Cause::Firmware, ..Mailbox::NEW };
    let mut slots = Vec::new();
    for now_s in 100..104 {
        let stage0 = decide_stage0(&mut journal(&bank), Some(left), now_s, 0, all_verify);
        slots.push(stage0.start.unwrap().slot);
        left = stage0.mailbox;
    }
    assert_eq!(slots, [Slot::A, Slot::A, Slot::B, Slot::A]);
}

#[test]
fn without_another_firmware_the_one_that_fails_is_sent_to_the_rescue() {
    let bank = bank();
    let only_a = |slot| if slot == Slot::A { Ok(()) } else { Err(Rejected::None) };
    let left = mailbox(Cause::Firmware, 2);
    let stage0 = decide_stage0(&mut journal(&bank), Some(left), 200, 0, only_a);
    let told = stage0.start.unwrap();
    assert_eq!(told.slot, Slot::A);
    // What the firmware makes of that: no system, which may be what it falls over.
    let decision = decide(&mut journal(&bank), Kept::System, told.mailbox, 200, all_verify);
    assert!(matches!(decision.choice.boot, Boot::Rescue(_)), "{:?}", decision.choice.boot);
}

#[test]
fn a_firmware_on_trial_has_its_tries_and_nothing_else() {
    let bank = bank();
    let held = Held { version: 0x0100_0000, security: 1 };
    {
        let mut journal = journal(&bank);
        let state = mark_good(&state(&journal), Kept::Firmware, Slot::A, held).unwrap();
        journal.append(&end_update(&state, Kept::Firmware, Slot::A, held).unwrap()).unwrap();
    }
    let mut left = None;
    let mut slots = Vec::new();
    for now_s in 100..105 {
        let stage0 = decide_stage0(&mut journal(&bank), left, now_s, 0, all_verify);
        slots.push(stage0.start.map(|told| (told.slot, told.is_trial)));
        left = Some(stage0.mailbox);
    }
    let (trial, back) = (Some((Slot::B, true)), Some((Slot::A, false)));
    assert_eq!(slots[..4], [trial, trial, trial, back]);
}

#[test]
fn where_no_firmware_verifies_none_is_started() {
    let bank = bank();
    let stage0 = decide_stage0(&mut journal(&bank), None, 0, 0, |_| Err(Rejected::Signature));
    assert_eq!(stage0.start, None);
}

#[test]
fn a_seed_is_used_once_whatever_the_machine_gives() {
    let bank = bank();
    let partition = part(&bank, 8..10);
    let first = own::seed(&partition, Some([9; 32]), 1);
    assert!(!first.is_rotated, "a new box has none: init makes the first");
    let record = SeedRecord { sequence: 1, unix_ms: 5, trusted: true, seed: [7; 32] };
    partition.program_at(0, &record.to_bytes()).unwrap();
    let used: Vec<_> = (0..5).map(|_| own::seed(&partition, Some([9; 32]), 1)).collect();
    assert!(used.iter().all(|seed| seed.is_rotated && seed.bytes != [7; 32] && seed.bytes != [9; 32]));
    for (number, seed) in used.iter().enumerate() {
        assert!(used[..number].iter().all(|before| before.bytes != seed.bytes), "start {number}");
    }
}

#[test]
fn the_newest_settings_that_are_intact_count() {
    let bank = bank();
    let partition = part(&bank, 8..10);
    let text = |partition: &Part<'_, Chips>| own::settings(partition).map(|kept| kept.text);
    assert_eq!(text(&partition), None);
    for (sector, sequence) in [(0, 1), (1, 2)] {
        let mut bytes = Record { sequence, text: format!("# {sequence}") }.to_bytes().unwrap();
        bytes.resize(bytes.len().next_multiple_of(4), 0xFF);
        partition.program_at(sector * SECTOR_BYTES, &bytes).unwrap();
    }
    assert_eq!(text(&partition).as_deref(), Some("# 2"));
    partition.program_at(SECTOR_BYTES + 24, &[0; 4]).unwrap();
    assert_eq!(text(&partition).as_deref(), Some("# 1"));
}

#[test]
fn nothing_is_read_or_written_beyond_a_partition() {
    let bank = bank();
    let partition = part(&bank, 4..5);
    assert!(partition.read_at(SECTOR_BYTES - 4, &mut [0; 8]).is_err());
    assert!(partition.program_at(SECTOR_BYTES, &[0; 4]).is_err());
    assert!(partition.erase_sector(1).is_err());
    assert!(partition.erase_sector(usize::MAX).is_err());
    assert!(partition.read_at(usize::MAX, &mut [0; 4]).is_err());
}
