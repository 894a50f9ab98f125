//! The page tables that the firmware works with: its code cannot be written and its data is not executed ([`crate::guard`]).
//!
//! Stage 0 has no room for this, and the few milliseconds in which the firmware finds its memory go by with the first table,
//! which stands in the image.

use core::arch::asm;
use core::mem::forget;

use aarch64_paging::descriptor::{El1Attributes, PhysicalAddress};
use aarch64_paging::idmap::IdTranslation;
use aarch64_paging::paging::{Constraints, El1And0, MemoryRegion, VaRange};
use aarch64_paging::{MapError, Mapping};

use crate::Error;
use crate::bare::memory;
use crate::bare::start::{FIRST_GIB_AT, GIB, RAM};
use crate::guard::Access;

/// Memory with caches that is written, and never executed by anybody.
const MEMORY: El1Attributes = El1Attributes::VALID
    .union(El1Attributes::ACCESSED)
    .union(El1Attributes::ATTRIBUTE_INDEX_1)
    .union(El1Attributes::INNER_SHAREABLE)
    .union(NEVER_EXECUTED);
/// Registers of devices, and flash.
const DEVICE: El1Attributes = El1Attributes::VALID
    .union(El1Attributes::ACCESSED)
    .union(El1Attributes::ATTRIBUTE_INDEX_0)
    .union(NEVER_EXECUTED);
const NEVER_EXECUTED: El1Attributes = El1Attributes::PXN.union(El1Attributes::UXN);
/// Tables of 512 entries, the first of which stand for a GiB each.
const ROOT_LEVEL: usize = 1;

type Tables = Mapping<IdTranslation<El1Attributes>, El1And0>;

/// Closes code to writes and data to execution. Whether writes go where they should, and nowhere else, is looked up in the MMU;
/// what can be written is not executed whatever the tables say (WXN).
///
/// # Errors
/// [`Error::Unguarded`]: there was no memory for tables, or the processor does not do as they say.
pub(super) fn close() -> Result<(), Error> {
    let tables = tables().map_err(|_| Error::Unguarded)?;
    let root = tables.root_address().0;
    // They hold from now on, and for good.
    forget(tables);
    // SAFETY: the tables map all that the first one maps, at the same addresses, and are never freed. The program executes only
    // what they let it execute, and writes only what they let it write: the linker has put each part on pages of its own. The
    // MMU is off between the one and the other, so that no two of their entries are ever in use together; code runs on where
    // it is, since addresses are mapped as they are, and the block touches no memory.
    #[allow(unsafe_code, reason = "the processor is handed a table that it believes")]
    unsafe {
        asm!(
            "dsb sy",
            "mrs {on}, sctlr_el1",
            "bic {off}, {on}, #1",
            "msr sctlr_el1, {off}",
            "isb",
            "msr ttbr0_el1, {root}",
            "tlbi vmalle1",
            "dsb sy",
            "isb",
            // What is mapped for writing is not executed, even if a table says otherwise.
            "orr {on}, {on}, #(1 << 19)",
            "msr sctlr_el1, {on}",
            "isb",
            on = out(reg) _,
            off = out(reg) _,
            root = in(reg) root,
            options(nostack, preserves_flags)
        );
    }
    let parts = memory::layout().parts();
    let is_so = |(range, access): &(core::ops::Range<u64>, Access)| {
        let ends = [range.start, range.end.saturating_sub(1)];
        range.is_empty() || ends.into_iter().all(|at| may_write(at) == (*access == Access::Write))
    };
    if parts.iter().all(is_so) { Ok(()) } else { Err(Error::Unguarded) }
}

fn tables() -> Result<Tables, MapError> {
    let mut tables =
        Tables::with_asid_and_va_range(IdTranslation::new(), 0, ROOT_LEVEL, El1And0, VaRange::Lower);
    let mut map = |start: u64, end: u64, at: u64, attributes: El1Attributes| {
        let region = MemoryRegion::new(start as usize, end as usize);
        tables.map_range(&region, PhysicalAddress(at as usize), attributes, Constraints::empty())
    };
    // As the first table has it: the first GiB is seen at the last entry, all else where it is.
    map(GIB, RAM * GIB, GIB, DEVICE)?;
    map((RAM + 1) * GIB, FIRST_GIB_AT * GIB, (RAM + 1) * GIB, DEVICE)?;
    map(FIRST_GIB_AT * GIB, (FIRST_GIB_AT + 1) * GIB, 0, DEVICE)?;
    map(RAM * GIB, (RAM + 1) * GIB, RAM * GIB, MEMORY)?;
    for (range, access) in memory::layout().parts() {
        let attributes = match access {
            Access::Write => continue,
            Access::Read => MEMORY.union(El1Attributes::READ_ONLY),
            Access::Execute => MEMORY.union(El1Attributes::READ_ONLY).difference(El1Attributes::PXN),
        };
        if !range.is_empty() {
            map(range.start, range.end, range.start, attributes)?;
        }
    }
    Ok(tables)
}

/// Whether a write to that address would go through.
fn may_write(address: u64) -> bool {
    let result: u64;
    // SAFETY: the processor looks the address up in its tables and writes nothing but its result register.
    #[allow(unsafe_code, reason = "an instruction of the MMU")]
    unsafe {
        asm!(
            "at s1e1w, {address}",
            "isb",
            "mrs {result}, par_el1",
            address = in(reg) address,
            result = out(reg) result,
            options(nostack, preserves_flags)
        );
    }
    result & 1 == 0
}
