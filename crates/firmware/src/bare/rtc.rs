//! The clock on board (PL031): seconds since 1970, if somebody set it.

use core::ptr::NonNull;

use crate::bare::start::device;

/// Where its data register is, from its base.
const DATA: usize = 0;

/// The clock.
#[derive(Clone, Copy, Debug)]
pub struct Rtc(NonNull<u32>);

impl Rtc {
    /// The clock at an address that the device tree gives.
    pub const fn new(base: u64) -> Self {
        Self(device(base))
    }

    /// What it shows, in seconds.
    pub fn now_s(self) -> u64 {
        // SAFETY: the device tree says that a PL031 is there; reading its data register changes nothing.
        #[allow(unsafe_code, reason = "registers are memory")]
        u64::from(unsafe { self.0.byte_add(DATA).read_volatile() })
    }
}
