//! From the entry point to `main`: the first page table, exceptions.
//!
//! aarch64-rt switches the MMU on before any Rust runs, clears `.bss` and sets the stack. Addresses are mapped as they are,
//! a GiB an entry: the one with RAM as memory with caches, all others as devices, which are never read on speculation.
//! Only the first GiB is seen elsewhere ([`device`]): there is flash at address 0, which a pointer of Rust cannot have, and
//! what goes astray by a null pointer is to end in an exception.

use core::ptr::NonNull;

use aarch64_rt::{
    DEFAULT_MAIR, DEFAULT_SCTLR, DEFAULT_TCR, ExceptionHandlers, InitialPagetable, RegisterStateRef,
    enable_mmu, exception_handlers,
};

use crate::bare::fail::exception;
use crate::board::BOARD;

pub(super) const GIB: u64 = 1 << 30;
/// A block of a GiB that is there and has been accessed.
const BLOCK: u64 = 1 | 1 << 10;
/// As the attributes of `DEFAULT_MAIR` number them.
const MEMORY: u64 = 1 << 2;
const INNER_SHAREABLE: u64 = 3 << 8;
/// Nothing is executed there, by nobody.
const NEVER_EXECUTED: u64 = 1 << 53 | 1 << 54;

/// Which entry has memory.
pub(super) const RAM: u64 = BOARD.memory.ram_base / GIB;
const _: () = assert!(
    (BOARD.memory.reserved_base + BOARD.memory.reserved_bytes) / GIB == RAM,
    "all that is used of memory is in one GiB"
);

/// Which entry has the first GiB.
pub(super) const FIRST_GIB_AT: u64 = 511;

const fn map() -> [usize; 512] {
    let mut map = [0; 512];
    let mut number = 1;
    while number < FIRST_GIB_AT {
        let kind = if number == RAM { MEMORY | INNER_SHAREABLE } else { NEVER_EXECUTED };
        map[number as usize] = ((number * GIB) | BLOCK | kind) as usize;
        number += 1;
    }
    map[FIRST_GIB_AT as usize] = (BLOCK | NEVER_EXECUTED) as usize;
    map
}

/// Where the registers or cells of a device are seen that are at this address.
pub(crate) const fn device<T>(address: u64) -> NonNull<T> {
    let seen = if address < GIB { address + FIRST_GIB_AT * GIB } else { address };
    match NonNull::new(core::ptr::with_exposed_provenance_mut(seen as usize)) {
        Some(device) => device,
        None => NonNull::dangling(),
    }
}

#[allow(unsafe_code, reason = "the processor is handed a table that it believes")]
mod table {
    use super::*;

    // As `initial_pagetable!` has it, but in a section of its own: the linker script has a place for it.
    // SAFETY: the script places `.pagetable` as what it is, data that nobody writes, and nothing else is in it.
    #[unsafe(link_section = ".pagetable")]
    static TABLE: InitialPagetable = InitialPagetable(map());
    enable_mmu!(TABLE, DEFAULT_MAIR, DEFAULT_SCTLR, DEFAULT_TCR);
}

struct Exceptions;

impl ExceptionHandlers for Exceptions {
    extern "C" fn sync_current(state: RegisterStateRef) {
        exception("synchronous exception", &state)
    }

    extern "C" fn irq_current(state: RegisterStateRef) {
        exception("interrupt", &state)
    }

    extern "C" fn fiq_current(state: RegisterStateRef) {
        exception("fast interrupt", &state)
    }

    extern "C" fn serror_current(state: RegisterStateRef) {
        exception("system error", &state)
    }
}

exception_handlers!(Exceptions);
