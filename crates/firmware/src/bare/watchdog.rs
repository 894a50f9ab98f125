//! The watchdog: Intel's i6300ESB, on PCI. A box without one is told so and starts all the same.
//!
//! It counts two stages down, one after the other, and then pulls the reset. Once it is locked nothing stops it but a reset:
//! it watches over the kernel while that boots, and over init until that opens it and feeds it.

use core::ops::Range;
use core::ptr::NonNull;

use crate::bare::start::device;
use crate::tree::Pci;

/// Vendor and device as the first word of configuration space has them.
const I6300ESB: u32 = 0x25AB_8086;
/// Configuration space of each function on a bus, in bytes; eight functions a device.
const FUNCTION_BYTES: u64 = 4096;
const DEVICE_BYTES: u64 = 8 * FUNCTION_BYTES;
const DEVICES: u64 = 32;

/// Registers of configuration space that every device has.
const COMMAND: usize = 0x04;
const COMMAND_MEMORY: u16 = 1 << 1;
const BAR0: usize = 0x10;
/// Those of this one.
const CONFIG: usize = 0x60;
/// Counts milliseconds (the PCI clock by 2^15), no interrupt after the first stage, resets after the second.
const CONFIG_RESET: u16 = 0x0003;
const LOCK: usize = 0x68;
const LOCK_ENABLE: u8 = 1 << 1;
const LOCK_LOCKED: u8 = 1 << 0;

/// Its registers in memory.
const STAGES: [usize; 2] = [0x00, 0x04];
const RELOAD: usize = 0x0C;
const RELOAD_NOW: u16 = 1 << 8;
/// What has to be written before any other register is.
const UNLOCK: [u16; 2] = [0x80, 0x86];
/// How many registers it has in memory, in bytes.
const REGISTER_BYTES: u64 = 16;

/// A watchdog that counts.
#[derive(Debug)]
pub struct Watchdog {
    registers: NonNull<u8>,
}

impl Watchdog {
    /// Finds it on the first bus, gives it an address, and arms it: after `timeout_ms` without being fed it resets the box.
    /// `None` if there is none.
    pub fn arm(pci: &Pci, timeout_ms: u32) -> Option<Self> {
        let bus = pci.ecam.start..pci.ecam.end.min(pci.ecam.start + DEVICES * DEVICE_BYTES);
        let mut spaces = bus.step_by(DEVICE_BYTES as usize).map(Space::at);
        let space = spaces.find(|space| space.read::<u32>(0) == I6300ESB)?;
        let address = free_address(&pci.memory32)?;
        space.write::<u32>(BAR0, address);
        space.write(COMMAND, space.read::<u16>(COMMAND) | COMMAND_MEMORY);
        let watchdog = Self { registers: device(u64::from(address)) };
        space.write(CONFIG, CONFIG_RESET);
        for stage in STAGES {
            watchdog.unlock();
            // Half of the time for each.
            watchdog.space().write::<u32>(stage, timeout_ms / 2);
        }
        watchdog.feed();
        space.write(LOCK, LOCK_ENABLE | LOCK_LOCKED);
        Some(watchdog)
    }

    /// Begins to count anew.
    pub fn feed(&self) {
        self.unlock();
        // Not the bit that says that it has bitten: that is for init to see.
        self.space().write(RELOAD, RELOAD_NOW);
    }

    fn unlock(&self) {
        for word in UNLOCK {
            self.space().write(RELOAD, word);
        }
    }

    const fn space(&self) -> Space {
        Space(self.registers)
    }
}

/// An address for it: the last of the window, which a kernel that gives them out from the beginning takes last.
fn free_address(memory32: &Range<u64>) -> Option<u32> {
    let last = memory32.end.checked_sub(REGISTER_BYTES)? & !0xFFF;
    u32::try_from(last).ok().filter(|_| last >= memory32.start)
}

/// Registers of a device, of any width.
#[derive(Clone, Copy, Debug)]
struct Space(NonNull<u8>);

/// The widths that registers have.
trait Register: Copy {}
impl Register for u8 {}
impl Register for u16 {}
impl Register for u32 {}

impl Space {
    const fn at(address: u64) -> Self {
        Self(device(address))
    }

    fn read<T: Register>(self, offset: usize) -> T {
        // SAFETY: the addresses are those of PCI's configuration space, which the device tree gives, or of registers that a
        // device was just given there; the offsets are of registers and aligned to their width. Configuration space can be
        // read wherever a device is or is not.
        #[allow(unsafe_code, reason = "registers are memory")]
        unsafe {
            self.0.byte_add(offset).cast::<T>().read_volatile()
        }
    }

    fn write<T: Register>(self, offset: usize, value: T) {
        // SAFETY: as in `read`; what is written is what the data sheet asks for.
        #[allow(unsafe_code, reason = "registers are memory")]
        unsafe {
            self.0.byte_add(offset).cast::<T>().write_volatile(value);
        }
    }
}
