//! What a bundle or a flash chip holds, told in lines for people.

use penstock_slots::{Condition, Failure, Journal, Kept, Rejected, Sectors, Slot, State, VerifyingKey};

use crate::board::{Board, Flash};
use crate::flash::{ERASED, FIRMWARE_PARTITIONS, STAGE0_PARTITION, SYSTEM_PARTITIONS};
use crate::slot::{self, Inspected, part_names};

/// The partition with what is known of the slots.
const STATE_PARTITION: &str = "boot-state";

/// What begins here: a bundle, for a box of this board that knows these keys.
///
/// # Errors
/// If there is none.
pub fn bundle(bytes: &[u8], board: &Board, keys: &[VerifyingKey]) -> Result<Vec<String>, Rejected> {
    let Inspected { manifest, rejected } = slot::inspect(bytes, keys, board)?;
    let kind = match manifest.kind {
        Kept::System => "system",
        Kept::Firmware => "firmware",
    };
    let mut lines = vec![format!(
        "{kind} {} for {}, security version {}, {} bytes",
        manifest.held.version(),
        manifest.board(),
        manifest.held.security,
        manifest.extent_bytes()
    )];
    for (number, part) in manifest.parts().iter().enumerate() {
        let name = part_names(manifest.kind).get(number).copied().unwrap_or("part without a name");
        lines.push(format!("{name:>12}  {:>9} bytes at {:#x}", part.len_bytes, part.offset));
    }
    lines.push(match rejected {
        None => "a box that knows these keys starts it".into(),
        Some(rejected) => format!("no box that knows these keys starts it: {rejected}"),
    });
    Ok(lines)
}

/// What the chip with the software holds.
pub fn chip(bytes: &[u8], board: &Board, keys: &[VerifyingKey]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut part = |name: &str, told: Vec<String>| {
        let mut told = told.into_iter();
        lines.push(format!("{name:<11} {}", told.next().unwrap_or_default()));
        lines.extend(told.map(|line| format!("{:<11} {line}", "")));
    };
    let content = |name: &str| {
        let (_, partition) = board.partition(name)?;
        let at = usize::try_from(partition.offset).ok()?;
        bytes.get(at..at.checked_add(usize::try_from(partition.size_bytes).ok()?)?)
    };
    let absent = || vec!["is not in this file".to_owned()];
    part(STAGE0_PARTITION, content(STAGE0_PARTITION).map_or_else(absent, |bytes| vec![used(bytes)]));
    let state = board.partition(STATE_PARTITION).zip(content(STATE_PARTITION));
    part(STATE_PARTITION, state.map_or_else(absent, |((flash, _), bytes)| boot_state(bytes, flash)));
    for name in FIRMWARE_PARTITIONS.into_iter().chain(SYSTEM_PARTITIONS) {
        let told = content(name).map_or_else(absent, |bytes| match bundle(bytes, board, keys) {
            Ok(told) => told,
            Err(Rejected::None) if is_erased(bytes) => vec!["erased".into()],
            Err(rejected) => vec![rejected.to_string()],
        });
        part(name, told);
    }
    lines
}

fn is_erased(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == ERASED)
}

fn used(bytes: &[u8]) -> String {
    match bytes.iter().rposition(|byte| *byte != ERASED) {
        None => "erased".into(),
        Some(last) => format!("{} bytes", last + 1),
    }
}

/// The boot state in the partition of an image, which is only read.
struct Stored<'a> {
    bytes: &'a [u8],
    sector_bytes: usize,
}

impl Sectors for Stored<'_> {
    type Error = &'static str;

    fn count(&self) -> usize {
        self.bytes.len() / self.sector_bytes
    }

    fn len_bytes(&self) -> usize {
        self.sector_bytes
    }

    fn read(&mut self, sector: usize, offset: usize, into: &mut [u8]) -> Result<(), Self::Error> {
        let at = sector * self.sector_bytes + offset;
        into.copy_from_slice(self.bytes.get(at..at + into.len()).ok_or("the partition ends before")?);
        Ok(())
    }

    fn program(&mut self, _: usize, _: usize, _: &[u8]) -> Result<(), Self::Error> {
        Err("an image is only read")
    }

    fn erase(&mut self, _: usize) -> Result<(), Self::Error> {
        Err("an image is only read")
    }
}

fn boot_state(bytes: &[u8], flash: &Flash) -> Vec<String> {
    let sector_bytes = usize::try_from(flash.erase_bytes).unwrap_or(usize::MAX);
    match Journal::open(Stored { bytes, sector_bytes }) {
        Err(error) => vec![error.to_string()],
        Ok(journal) => match journal.newest() {
            Some(state) => state_lines(state),
            None if journal.is_corrupt() => vec!["damaged: whatever verifies is started".into()],
            None => vec!["erased: whatever verifies is started".into()],
        },
    }
}

fn state_lines(state: &State) -> Vec<String> {
    let mut lines = vec![format!("record {}", state.sequence)];
    for (kept, name) in [(Kept::Firmware, "firmware"), (Kept::System, "system")] {
        let pair = state.pair(kept);
        let slots = Slot::BOTH.map(|slot| format!("{} {}", slot.letter(), condition(pair.condition(slot))));
        lines.push(format!(
            "{name}: {}; {} first; none below security version {}",
            slots.join(", "),
            pair.preferred.letter(),
            pair.floor
        ));
    }
    lines
}

fn condition(condition: Condition) -> String {
    match condition {
        Condition::Empty => "empty".into(),
        Condition::Trial { tries_left } => format!("on trial, {tries_left} starts left"),
        Condition::Confirmed => "confirmed".into(),
        Condition::Failed(Failure::Tries) => "failed: out of tries".into(),
        Condition::Failed(Failure::Rejected) => "failed: rejected".into(),
        Condition::Failed(Failure::RolledBack) => "failed: gone back from".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ed25519_dalek::{Signer as _, SigningKey};
    use penstock_slots::Held;

    use super::*;
    use crate::flash::{Software, system_flash};
    use crate::slot::Bundle;

    #[test]
    fn a_chip_is_told_partition_by_partition() {
        let board = Board::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../board/qemu-virt")).unwrap();
        let key = SigningKey::from_bytes(&[7; 32]);
        let made = |kind, parts: &[&[u8]]| {
            let held = Held { version: 0x0000_1000, security: 1 };
            let mut bundle = Bundle::new(kind, &board.name, held, parts).unwrap();
            bundle.put_signature(&key.sign(&bundle.to_sign()).to_bytes());
            bundle
        };
        let system = made(Kept::System, &[b"kernel", b"initramfs", b"words"]);
        let firmware = made(Kept::Firmware, &[b"code"]);
        let software = Software { system: system.bytes(), firmware: Some((b"stage 0", firmware.bytes())) };
        let mut flash = system_flash(&board, software).unwrap();
        let told = chip(&flash, &board, &[key.verifying_key()]).join("\n");
        for line in [
            "stage0      7 bytes",
            "boot-state  erased: whatever verifies is started",
            "firmware-a  firmware 0.1.0 for qemu-virt, security version 1, 4100 bytes",
            "system-a    system 0.1.0 for qemu-virt",
            "      kernel          6 bytes at 0x1000",
            "a box that knows these keys starts it",
            "system-b    erased",
        ] {
            assert!(told.contains(line), "{line} is missing:\n{told}");
        }
        let at = board.partition(STATE_PARTITION).unwrap().1.offset as usize;
        let record = State::new(3, 1).to_bytes();
        flash[at..at + record.len()].copy_from_slice(&record);
        let place = board.partition("system-a").unwrap().1.offset as usize;
        flash[place + 4096] ^= 1;
        let told = chip(&flash, &board, &[key.verifying_key()]).join("\n");
        assert!(
            told.contains("system: a confirmed, b confirmed; a first; none below security version 3"),
            "{told}"
        );
        assert!(told.contains("no box that knows these keys starts it: PS-B016"), "{told}");
        let told = chip(&flash[..0x10_0000], &board, &[]).join("\n");
        assert!(told.contains("system-a    is not in this file"), "{told}");
    }
}
