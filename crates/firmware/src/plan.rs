//! Who has which part of memory until the kernel has all of it.
//!
//! ```text
//! ram_base         the device tree, as it stands at reset; behind it, from 2 MiB on, the place of the kernel
//! stage0_base      stage 0: code, stack, heap
//! firmware_base    the firmware: code, stack, heap
//! reserved_base    mailbox and report, a page each: kept over a reset
//! behind it        a slot as it was read from flash; its initramfs stays there for the kernel
//! behind that      the device tree for the kernel
//! ```

use core::ops::Range;

use crate::Error;
use crate::board::{BOARD, Board};

/// Where a kernel may begin, plus its own offset (booting.rst).
pub const KERNEL_ALIGN_BYTES: u64 = 2 << 20;
/// The most that the device tree may take, in bytes; the kernel maps no more of it.
pub const TREE_BYTES_MAX: u64 = 2 << 20;
/// Mailbox and report have a page each.
pub const PAGE_BYTES: u64 = 4096;

/// Who has what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where the kernel is unpacked to.
    pub kernel: Range<u64>,
    /// Where the firmware goes, with all that it needs.
    pub firmware: Range<u64>,
    /// What the kernel leaves alone.
    pub reserved: Range<u64>,
    /// Where a slot is read to.
    pub slot: Range<u64>,
    /// Where the kernel finds its device tree.
    pub tree: Range<u64>,
}

impl Plan {
    /// Shares out the memory of the board that this was built for.
    ///
    /// # Errors
    /// [`Error::Memory`] if there is less than that takes.
    pub fn new(ram: &Range<u64>) -> Result<Self, Error> {
        Self::of(&BOARD, ram)
    }

    fn of(board: &Board, ram: &Range<u64>) -> Result<Self, Error> {
        let memory = board.memory;
        let kernel = memory.ram_base + KERNEL_ALIGN_BYTES;
        let reserved_end = memory.reserved_base + memory.reserved_bytes;
        let slot = reserved_end.next_multiple_of(KERNEL_ALIGN_BYTES);
        let tree = (slot + u64::from(board.slot_bytes_max())).next_multiple_of(KERNEL_ALIGN_BYTES);
        let end = tree + TREE_BYTES_MAX;
        if ram.start != memory.ram_base || ram.end < end {
            let needed_mib = (end - memory.ram_base).div_ceil(1 << 20) as u32;
            return Err(Error::Memory { needed_mib });
        }
        Ok(Self {
            kernel: kernel..memory.stage0_base,
            firmware: memory.firmware_base..memory.reserved_base,
            reserved: memory.reserved_base..reserved_end,
            slot: slot..tree,
            tree: tree..end,
        })
    }

    /// Where the mailbox is.
    pub const fn mailbox() -> u64 {
        BOARD.memory.reserved_base
    }

    /// Where the report of a failure is.
    pub const fn report() -> Range<u64> {
        let start = BOARD.memory.reserved_base + PAGE_BYTES;
        start..start + PAGE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAM: Range<u64> = 0x4000_0000..0x5000_0000;

    #[test]
    fn nobody_has_what_somebody_else_has() {
        let plan = Plan::new(&RAM).unwrap();
        let parts = [&plan.kernel, &plan.firmware, &plan.reserved, &plan.slot, &plan.tree];
        for (before, behind) in parts.iter().zip(&parts[1..]) {
            assert!(before.start < before.end && before.end <= behind.start, "{before:x?} {behind:x?}");
        }
        assert!(plan.kernel.start.is_multiple_of(KERNEL_ALIGN_BYTES));
        assert!(plan.tree.start.is_multiple_of(KERNEL_ALIGN_BYTES), "it crosses no border of 2 MiB");
        assert!(
            plan.reserved.contains(&Plan::mailbox()) && plan.reserved.contains(&(Plan::report().end - 1))
        );
        assert!(parts.iter().all(|part| part.end <= RAM.end));
    }

    #[test]
    fn too_little_memory_is_told_with_what_is_needed() {
        let needed = Plan::new(&(RAM.start..RAM.start + (64 << 20))).unwrap_err();
        let Error::Memory { needed_mib } = needed else { panic!("{needed}") };
        let enough = RAM.start..RAM.start + (u64::from(needed_mib) << 20);
        assert!(Plan::new(&enough).is_ok());
        assert!(Plan::new(&(enough.start..enough.end - 1)).is_err());
        assert!(Plan::new(&(RAM.start + 4096..RAM.end)).is_err(), "memory is elsewhere");
    }
}
