//! What lies between the driver and the chips: an address and data bus, and a clock.

use core::ptr::NonNull;

/// A bank of equal chips side by side on one bus, each with its lane of every word.
///
/// With two chips of 16 bits on a bus of 32 the first has bits 0 to 15 of each word and the second the others; a command
/// goes to both at once, and each answers in its lane.
pub trait Bus {
    /// The width of the bus in bytes: 1, 2 or 4.
    const WIDTH_BYTES: u32;
    /// How many chips share it: at most the width, a power of two.
    const CHIPS: u32;

    /// Reads the word at `offset_bytes` from the start of the bank, a multiple of the width. What it means depends on
    /// the mode that the chips are in.
    fn read(&self, offset_bytes: u32) -> u32;

    /// Writes a word there: a command, or data that a command announced.
    fn write(&mut self, offset_bytes: u32, word: u32);

    /// Microseconds since any moment; never goes back.
    fn now_us(&self) -> u64;
}

/// A bank of chips that the processor sees as memory.
///
/// Every access is one volatile, aligned read or write as wide as the bus, in program order: chips in command mode take
/// each for itself, and device memory allows no others.
#[derive(Debug)]
pub struct Mapped<const WIDTH_BYTES: u32, const CHIPS: u32> {
    base: NonNull<u8>,
    len_bytes: u32,
    clock_us: fn() -> u64,
}

impl<const WIDTH_BYTES: u32, const CHIPS: u32> Mapped<WIDTH_BYTES, CHIPS> {
    /// The bank of `len_bytes` at `base`.
    ///
    /// # Safety
    /// The caller guarantees that for as long as the value lives: `base` is aligned to the width; from there on
    /// `len_bytes` are mapped as device memory (no gathering, no reordering, no speculation); nothing but this value
    /// accesses them; and no code runs from them, since in command mode all of them read as status.
    #[allow(unsafe_code, reason = "the promise that makes the accesses below sound is the caller's")]
    pub const unsafe fn new(base: NonNull<u8>, len_bytes: u32, clock_us: fn() -> u64) -> Self {
        Self { base, len_bytes, clock_us }
    }

    /// Where the word at that offset is; the offset is kept on the bank.
    fn at(&self, offset_bytes: u32) -> NonNull<u8> {
        let last = self.len_bytes.saturating_sub(WIDTH_BYTES);
        debug_assert!(offset_bytes <= last && offset_bytes.is_multiple_of(WIDTH_BYTES));
        let offset_bytes = offset_bytes.min(last) & !(WIDTH_BYTES - 1);
        // SAFETY: the offset is within the `len_bytes` that the caller of `new` promises to be mapped from `base` on.
        #[allow(unsafe_code, reason = "an address on a bank of chips")]
        unsafe {
            self.base.add(offset_bytes as usize)
        }
    }
}

impl<const WIDTH_BYTES: u32, const CHIPS: u32> Bus for Mapped<WIDTH_BYTES, CHIPS> {
    const WIDTH_BYTES: u32 = WIDTH_BYTES;
    const CHIPS: u32 = CHIPS;

    fn read(&self, offset_bytes: u32) -> u32 {
        let at = self.at(offset_bytes);
        // SAFETY: `at` is on the bank and aligned to the width, and the caller of `new` promises that the bank is mapped and
        // ours alone.
        #[allow(unsafe_code, reason = "chips answer to volatile reads")]
        unsafe {
            match WIDTH_BYTES {
                1 => u32::from(at.read_volatile()),
                2 => u32::from(at.cast::<u16>().read_volatile()),
                _ => at.cast::<u32>().read_volatile(),
            }
        }
    }

    fn write(&mut self, offset_bytes: u32, word: u32) {
        let at = self.at(offset_bytes);
        // SAFETY: as in `read`; `&mut self` makes this the only access at the time.
        #[allow(unsafe_code, reason = "chips take commands by volatile writes")]
        unsafe {
            match WIDTH_BYTES {
                1 => at.write_volatile(word as u8),
                2 => at.cast::<u16>().write_volatile(word as u16),
                _ => at.cast::<u32>().write_volatile(word),
            }
        }
    }

    fn now_us(&self) -> u64 {
        (self.clock_us)()
    }
}
