//! The firmware: what stage 0 starts. It picks one of two systems, verifies it in memory and hands over to Linux, or takes
//! the mail itself.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod bare {
    use aarch64_rt::entry;
    use penstock_firmware::bare::firmware;

    entry!(main);
    fn main(handover: u64, _: u64, _: u64, _: u64) -> ! {
        firmware::main(handover)
    }
}

/// It runs on bare metal only.
#[cfg(not(target_os = "none"))]
fn main() {}
