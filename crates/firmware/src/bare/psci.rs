//! Reset and power-off, which the firmware below does (PSCI).

use core::sync::atomic::{AtomicBool, Ordering};

use smccc::psci::{system_off, system_reset};
use smccc::{Hvc, Smc};

use crate::bare::serial;
use crate::tree::Conduit;

static IS_SMC: AtomicBool = AtomicBool::new(false);

/// Tells how it is called.
pub fn open(conduit: Conduit) {
    IS_SMC.store(conduit == Conduit::Smc, Ordering::Relaxed);
}

/// Starts the box again. Memory stays as it is.
pub fn reset() -> ! {
    serial::drain();
    // What comes back has failed; there is nothing else to do than to try again, until the watchdog bites.
    loop {
        let _ = if IS_SMC.load(Ordering::Relaxed) { system_reset::<Smc>() } else { system_reset::<Hvc>() };
    }
}

/// Switches the box off.
pub fn off() -> ! {
    serial::drain();
    loop {
        let _ = if IS_SMC.load(Ordering::Relaxed) { system_off::<Smc>() } else { system_off::<Hvc>() };
    }
}
