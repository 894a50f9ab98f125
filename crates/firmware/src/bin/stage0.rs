//! Stage 0: what stands at the reset vector. It copies itself to memory, picks one of two firmwares, verifies it there and
//! starts it.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
#[allow(unsafe_code, reason = "the first instructions have no language above them")]
mod bare {
    use core::arch::global_asm;

    use aarch64_rt::entry;
    use penstock_firmware::bare::stage0;

    // At the reset: EL1 or above, MMU and caches off, in flash at address 0 or wherever it stands. The image is copied to
    // where it is linked, a multiple of 16 bytes, and entered there with the timer as it was in x1.
    global_asm!(
        ".section .reset, \"ax\"",
        ".global reset",
        "reset:",
        "mrs x1, cntvct_el0",
        "adr x4, reset",
        "ldr x5, =image_begin",
        "ldr x6, =image_end",
        "cmp x4, x5",
        "b.eq 2f",
        "1:",
        "ldp x7, x8, [x4], #16",
        "stp x7, x8, [x5], #16",
        "cmp x5, x6",
        "b.lo 1b",
        "dsb sy",
        "ic iallu",
        "dsb sy",
        "isb",
        "2:",
        "ldr x7, =entry",
        "br x7",
        ".ltorg",
    );

    entry!(main);
    fn main(tree: u64, reset_ticks: u64, _: u64, _: u64) -> ! {
        stage0::main(tree, reset_ticks)
    }
}

/// It runs on bare metal only.
#[cfg(not(target_os = "none"))]
fn main() {}
