//! The processor: its timer, its caches, and leaving it to somebody else.

use core::arch::asm;
use core::ops::Range;

/// The generic timer.
pub fn ticks() -> u64 {
    let ticks: u64;
    // SAFETY: reading the counter changes nothing; the barrier keeps it from being read early.
    #[allow(unsafe_code, reason = "a register of the processor")]
    unsafe {
        asm!("isb", "mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack, preserves_flags));
    }
    ticks
}

/// How fast it counts.
pub fn ticks_hz() -> u64 {
    let hz: u64;
    // SAFETY: reading the frequency changes nothing.
    #[allow(unsafe_code, reason = "a register of the processor")]
    unsafe {
        asm!("mrs {}, cntfrq_el0", out(reg) hz, options(nomem, nostack, preserves_flags));
    }
    hz.max(1)
}

/// Microseconds since any moment; never goes back.
pub fn now_us() -> u64 {
    let (ticks, hz) = (ticks(), ticks_hz());
    // In two parts, neither of which overflows within a thousand years.
    ticks / hz * 1_000_000 + ticks % hz * 1_000_000 / hz
}

/// Milliseconds since a moment that the timer showed.
pub fn ms_since(then: u64) -> u64 {
    ticks().saturating_sub(then) * 1000 / ticks_hz()
}

/// The exception's cause and address, and the exception level, for a report.
pub(crate) fn syndrome() -> (u64, u64, u64) {
    let (cause, address, level): (u64, u64, u64);
    // SAFETY: reading these registers changes nothing; the firmware runs at EL1, where they may be read.
    #[allow(unsafe_code, reason = "registers of the processor")]
    unsafe {
        asm!(
            "mrs {}, esr_el1", "mrs {}, far_el1", "mrs {}, CurrentEL",
            out(reg) cause, out(reg) address, out(reg) level,
            options(nomem, nostack, preserves_flags)
        );
    }
    (cause, address, level >> 2 & 3)
}

/// The shortest line of any data cache, in bytes.
fn line_bytes() -> u64 {
    let ctr: u64;
    // SAFETY: reading the cache type changes nothing.
    #[allow(unsafe_code, reason = "a register of the processor")]
    unsafe {
        asm!("mrs {}, ctr_el0", out(reg) ctr, options(nomem, nostack, preserves_flags));
    }
    4 << (ctr >> 16 & 0xF)
}

/// Writes what caches hold of a range back to memory, for who reads it past them or after a reset.
pub fn clean(range: &Range<u64>) {
    let line = line_bytes();
    let mut at = range.start & !(line - 1);
    while at < range.end {
        // SAFETY: cleaning a line loses nothing, whoever's it is; the addresses are of memory that is mapped, as callers have
        // them from the plan.
        #[allow(unsafe_code, reason = "an instruction for caches")]
        unsafe {
            asm!("dc civac, {}", in(reg) at, options(nostack, preserves_flags));
        }
        at += line;
    }
    // SAFETY: a barrier.
    #[allow(unsafe_code, reason = "an instruction for caches")]
    unsafe {
        asm!("dsb sy", options(nostack, preserves_flags));
    }
}

/// Leaves the processor to what begins at `entry`, as Linux wants it (booting.rst): MMU and caches off, nothing of ours left
/// in them, interrupts masked, `argument` in x0 and zero in x1 to x3.
///
/// # Safety
/// The caller guarantees that what begins at `entry` is meant to be started so and was cleaned out of the caches
/// ([`clean`]), that no device accesses memory any more, and that `own` holds all of this program's code, data and stack.
#[allow(unsafe_code, reason = "nothing of this program is left behind it")]
pub unsafe fn leave(entry: u64, argument: u64, own: &Range<u64>) -> ! {
    // SAFETY: the caller's promise. What is ours is cleaned in here, since nothing is written any more that could come to
    // lie in a cache: the block uses registers only.
    unsafe {
        asm!(
            "msr daifset, #0xf",
            "2:",
            "dc civac, x5",
            "add x5, x5, x7",
            "cmp x5, x6",
            "b.lo 2b",
            "dsb sy",
            "mrs x9, sctlr_el1",
            "bic x9, x9, #(1 << 0)",
            "bic x9, x9, #(1 << 2)",
            "bic x9, x9, #(1 << 12)",
            "msr sctlr_el1, x9",
            "isb",
            "tlbi vmalle1",
            "ic iallu",
            "dsb sy",
            "isb",
            "br x4",
            in("x0") argument,
            in("x1") 0_u64,
            in("x2") 0_u64,
            in("x3") 0_u64,
            in("x4") entry,
            in("x5") own.start,
            in("x6") own.end,
            in("x7") line_bytes(),
            options(noreturn)
        )
    }
}
