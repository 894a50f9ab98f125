//! What chips say of themselves: the table of JESD68.01, and Intel's extension of it.
//!
//! ```text
//! 0x10  "QRY"                          0x1F  typical time of a word      2^n µs
//! 0x13  command set, 16 bits           0x20  typical time of a buffer    2^n µs
//! 0x15  where the extension is         0x21  typical time of a block     2^n ms
//! 0x27  size                2^n bytes  0x23  longest of a word           2^n × typical
//! 0x2A  buffer, 16 bits     2^n bytes  0x24  longest of a buffer         2^n × typical
//! 0x2C  erase regions                  0x25  longest of a block          2^n × typical
//! 0x2D  for each: blocks − 1, 16 bits; block size in 256 bytes, 16 bits
//!
//! extension: "PRI", version; +5 what the chip can do, 32 bits; +9 what it can do while an erase is suspended
//! ```
//! All that comes from a chip is foreign: each number is bounded before it is used.

use crate::error::Error;

/// How many erase regions are understood; chips have one to four.
pub const ERASE_REGIONS_MAX: usize = 4;

/// Commands of Intel's extended set, and of its standard one.
const INTEL_EXTENDED: u16 = 0x0001;
const INTEL_STANDARD: u16 = 0x0003;

/// Chips are at most this large, lest offsets on the bank leave 32 bits: 2^n bytes.
const SIZE_POWER_MAX: u32 = 28;
/// Buffers are at most this large: 2^n bytes.
const BUFFER_POWER_MAX: u32 = 16;
/// No time that a chip claims is believed beyond this, in microseconds: ten seconds.
const TIME_US_MAX: u64 = 10_000_000;

const CAN_SUSPEND_ERASE: u32 = 1 << 1;
const HAS_LEGACY_LOCKS: u32 = 1 << 3;
const HAS_INSTANT_LOCKS: u32 = 1 << 5;
const CAN_PROGRAM_SUSPENDED: u8 = 1 << 0;

/// Blocks of one size that follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EraseRegion {
    /// How many.
    pub blocks: u32,
    /// The size of each in bytes, on one chip.
    pub block_bytes: u32,
}

/// How long things take, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The longest for a word.
    pub word_us_max: u64,
    /// The longest for a buffer; 0 where there is none.
    pub buffer_us_max: u64,
    /// The longest for a block to be erased.
    pub erase_us_max: u64,
}

/// How blocks are kept from being changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locks {
    /// Not at all.
    None,
    /// Each for itself, and all of them when the power comes.
    Instant,
    /// Each for itself for good; unlocking one unlocks all, and takes as long as an erase.
    Legacy,
}

/// What one chip of the bank says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// The size in bytes.
    pub size_bytes: u32,
    /// What is programmed at once, in bytes; 0 where there is no buffer.
    pub buffer_bytes: u32,
    /// How long things take.
    pub times: Times,
    /// How it is divided, from its start on; those that are not there have no blocks.
    pub regions: [EraseRegion; ERASE_REGIONS_MAX],
    /// How blocks are kept from being changed.
    pub locks: Locks,
    /// An erase may be interrupted for reading.
    pub can_suspend_erase: bool,
    /// While an erase is suspended other blocks may be programmed.
    pub can_program_suspended: bool,
}

impl Query {
    /// Reads the table; `byte` gives what stands at an address of it.
    ///
    /// # Errors
    /// [`Error::NoAnswer`], [`Error::CommandSet`], [`Error::Geometry`].
    pub fn read(byte: impl Fn(u32) -> u8) -> Result<Self, Error> {
        let word = |at: u32| u16::from_le_bytes([byte(at), byte(at + 1)]);
        if [byte(0x10), byte(0x11), byte(0x12)] != *b"QRY" {
            return Err(Error::NoAnswer);
        }
        let command_set = word(0x13);
        if command_set != INTEL_EXTENDED && command_set != INTEL_STANDARD {
            return Err(Error::CommandSet(command_set));
        }
        let size_bytes = power(byte(0x27), SIZE_POWER_MAX).ok_or(Error::Geometry)?;
        let buffer_bytes = match word(0x2A) {
            0 => 0,
            power_of_two => u8::try_from(power_of_two)
                .ok()
                .and_then(|n| power(n, BUFFER_POWER_MAX))
                .ok_or(Error::Geometry)?,
        };
        let times = Times {
            word_us_max: longest(byte(0x1F), byte(0x23), 1),
            buffer_us_max: if buffer_bytes == 0 { 0 } else { longest(byte(0x20), byte(0x24), 1) },
            erase_us_max: longest(byte(0x21), byte(0x25), 1000),
        };
        let regions = regions(size_bytes, usize::from(byte(0x2C)), word)?;
        let mut query = Self {
            size_bytes,
            buffer_bytes,
            times,
            regions,
            locks: Locks::None,
            can_suspend_erase: false,
            can_program_suspended: false,
        };
        query.extend(&byte, u32::from(word(0x15)));
        Ok(query)
    }

    /// Adds what stands in the extension, if there is one.
    fn extend(&mut self, byte: impl Fn(u32) -> u8, at: u32) {
        if [byte(at), byte(at + 1), byte(at + 2)] != *b"PRI" {
            return;
        }
        let features = u32::from_le_bytes([byte(at + 5), byte(at + 6), byte(at + 7), byte(at + 8)]);
        self.can_suspend_erase = features & CAN_SUSPEND_ERASE != 0;
        self.can_program_suspended = self.can_suspend_erase && byte(at + 9) & CAN_PROGRAM_SUSPENDED != 0;
        self.locks = if features & HAS_INSTANT_LOCKS != 0 {
            Locks::Instant
        } else if features & HAS_LEGACY_LOCKS != 0 {
            Locks::Legacy
        } else {
            Locks::None
        };
    }
}

/// The erase regions, which have to make up the chip.
fn regions(
    size_bytes: u32,
    count: usize,
    word: impl Fn(u32) -> u16,
) -> Result<[EraseRegion; ERASE_REGIONS_MAX], Error> {
    let mut regions = [EraseRegion::default(); ERASE_REGIONS_MAX];
    if count == 0 || count > ERASE_REGIONS_MAX {
        return Err(Error::Geometry);
    }
    let mut sum_bytes: u64 = 0;
    for (region, at) in regions.iter_mut().zip((0x2D..).step_by(4)).take(count) {
        region.blocks = u32::from(word(at)) + 1;
        // Zero stands for 128 bytes (JESD68.01 §2.3).
        region.block_bytes = match word(at + 2) {
            0 => 128,
            pieces => u32::from(pieces) * 256,
        };
        if !region.block_bytes.is_power_of_two() || !sum_bytes.is_multiple_of(u64::from(region.block_bytes)) {
            return Err(Error::Geometry);
        }
        sum_bytes += u64::from(region.blocks) * u64::from(region.block_bytes);
    }
    if sum_bytes == u64::from(size_bytes) { Ok(regions) } else { Err(Error::Geometry) }
}

fn power(n: u8, max: u32) -> Option<u32> {
    (1..=max).contains(&u32::from(n)).then(|| 1 << n)
}

/// The longest time, of which the table gives two powers of two.
fn longest(typical: u8, factor: u8, unit_us: u64) -> u64 {
    let power = u32::from(typical) + u32::from(factor);
    if power >= 40 { TIME_US_MAX } else { (unit_us << power).min(TIME_US_MAX) }
}
