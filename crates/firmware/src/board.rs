//! The board, as `board.toml` says: build.rs makes constants of it.

use core::ops::Range;

use ed25519_dalek::VerifyingKey;
use penstock_slots::{KEYS, Kept, Slot, parse_keys};

/// A board.
#[derive(Clone, Copy, Debug)]
pub struct Board {
    /// Its name: a bundle has to be for it.
    pub name: &'static str,
    /// Its revision.
    pub revision: u32,
    /// What is where in memory.
    pub memory: Memory,
    /// The lowest security version of a system, as this was built.
    pub system_floor: u32,
    /// The same of a firmware.
    pub firmware_floor: u32,
    /// Its flash, in the order of its addresses.
    pub banks: &'static [Bank],
}

/// What is where in memory.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Where it begins, and the device tree stands at reset.
    pub ram_base: u64,
    /// What stage 0 is linked to.
    pub stage0_base: u64,
    /// What the firmware is linked to.
    pub firmware_base: u64,
    /// What the kernel leaves alone begins here: mailbox and report.
    pub reserved_base: u64,
    /// How large that is, in bytes.
    pub reserved_bytes: u64,
}

/// A bank of flash.
#[derive(Clone, Copy, Debug)]
pub struct Bank {
    /// Its address.
    pub base: u64,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its parts.
    pub partitions: &'static [Partition],
}

/// A part of a bank.
#[derive(Clone, Copy, Debug)]
pub struct Partition {
    /// Its name.
    pub name: &'static str,
    /// Where in its bank it begins, in bytes.
    pub offset: u32,
    /// Its size in bytes.
    pub size_bytes: u32,
}

/// Where a partition is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which bank.
    pub bank: usize,
    /// What of it, in bytes.
    pub range: Range<u32>,
}

impl Board {
    /// Where a partition is.
    pub fn place(&self, name: &str) -> Option<Place> {
        self.banks.iter().enumerate().find_map(|(bank, Bank { partitions, .. })| {
            let partition = partitions.iter().find(|partition| partition.name == name)?;
            Some(Place { bank, range: partition.offset..partition.offset.checked_add(partition.size_bytes)? })
        })
    }

    /// The lowest security version that is started, as this was built.
    pub const fn floor(&self, kept: Kept) -> u32 {
        match kept {
            Kept::System => self.system_floor,
            Kept::Firmware => self.firmware_floor,
        }
    }

    /// How large the largest slot of either kind is, in bytes.
    pub fn slot_bytes_max(&self) -> u32 {
        let kinds = [Kept::System, Kept::Firmware];
        let names = kinds.into_iter().flat_map(|kept| Slot::BOTH.map(|slot| slot_name(kept, slot)));
        names.filter_map(|name| self.place(name)).map(|place| place.range.len() as u32).max().unwrap_or(0)
    }
}

/// What the partition of a slot is called.
pub const fn slot_name(kept: Kept, slot: Slot) -> &'static str {
    match (kept, slot) {
        (Kept::System, Slot::A) => "system-a",
        (Kept::System, Slot::B) => "system-b",
        (Kept::Firmware, Slot::A) => "firmware-a",
        (Kept::Firmware, Slot::B) => "firmware-b",
    }
}

include!(concat!(env!("OUT_DIR"), "/board.rs"));
/// The keys that may sign what is started here, as `PENSTOCK_KEYS` said when this was built. Without them none is known, and
/// nothing is started.
pub fn keys() -> Option<[VerifyingKey; KEYS]> {
    option_env!("PENSTOCK_KEYS").and_then(parse_keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_board_has_a_place_for_all_that_is_started_and_kept() {
        for name in [
            "stage0",
            "boot-state",
            "scratch",
            "firmware-a",
            "firmware-b",
            "system-a",
            "system-b",
            "identity",
            "settings",
            "seed",
            "mail",
        ] {
            let place = BOARD.place(name).unwrap_or_else(|| panic!("{name}"));
            assert!(u64::from(place.range.end) <= BOARD.banks[place.bank].size_bytes, "{name}");
        }
        assert_eq!(BOARD.place("nothing"), None);
        assert_eq!(BOARD.place("stage0").map(|place| place.range.start), Some(0), "it has the reset vector");
    }

    #[test]
    fn what_is_programmed_while_the_box_works_is_not_beside_what_it_starts_from() {
        let stage0 = BOARD.place("stage0").unwrap().bank;
        for name in ["identity", "settings", "seed", "mail"] {
            assert_ne!(BOARD.place(name).unwrap().bank, stage0, "{name}");
        }
    }

    #[test]
    fn memory_is_in_order() {
        let Memory { ram_base, stage0_base, firmware_base, reserved_base, reserved_bytes } = BOARD.memory;
        assert!(ram_base < stage0_base && stage0_base < firmware_base && firmware_base < reserved_base);
        assert!(reserved_base.is_multiple_of(4096) && reserved_bytes >= 2 * 4096);
    }
}
