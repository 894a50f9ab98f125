//! Virtio devices: at present only how they are silenced.

use core::ops::Range;

use crate::bare::start::device;

/// The device's status register; 0 resets it.
const STATUS: usize = 0x70;

/// Resets all of them, so that none accesses memory that is the kernel's now.
pub(super) fn reset_all(devices: &[Range<u64>]) {
    for registers in devices {
        // SAFETY: the device tree says that the registers of a virtio device are there; a reset is allowed at any time, and
        // no driver of ours uses one any more.
        #[allow(unsafe_code, reason = "registers are memory")]
        unsafe {
            device::<u32>(registers.start).byte_add(STATUS).write_volatile(0);
        }
    }
}
