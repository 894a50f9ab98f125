//! What is known of the slots: facts, as they stand in flash.

use core::fmt;

use crate::{CRC, field};

/// How often a slot that is on trial is started before it counts as failed.
pub const TRIES: u8 = 3;

/// What a record takes, in bytes.
pub const STATE_BYTES: usize = 80;

/// What stands at its beginning. The last character is the version of the format.
const MAGIC: [u8; 8] = *b"PS-BTS-1";

const PAIR_BYTES: usize = 28;
const SYSTEM_AT: usize = 16;
const FIRMWARE_AT: usize = SYSTEM_AT + PAIR_BYTES;
const CRC_AT: usize = STATE_BYTES - 4;
const _: () = assert!(FIRMWARE_AT + PAIR_BYTES <= CRC_AT);

/// One of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The one that this is not.
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Its letter.
    pub const fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// Why a slot is not started any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It was tried as often as it may be and never marked good.
    Tries,
    /// What is in it is not what was signed.
    Rejected,
    /// Somebody went back from it.
    RolledBack,
}

/// How a slot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing that could be started: it is new, or being written.
    Empty,
    /// It was written and has to prove itself; so many starts are left to it.
    Trial {
        /// How many.
        tries_left: u8,
    },
    /// It has proved itself.
    Confirmed,
    /// It is not started any more.
    Failed(Failure),
}

impl Condition {
    const fn to_bytes(self) -> [u8; 2] {
        match self {
            Self::Empty => [0, 0],
            Self::Trial { tries_left } => [1, tries_left],
            Self::Confirmed => [2, 0],
            Self::Failed(Failure::Tries) => [3, 0],
            Self::Failed(Failure::Rejected) => [3, 1],
            Self::Failed(Failure::RolledBack) => [3, 2],
        }
    }

    const fn from_bytes(bytes: [u8; 2]) -> Option<Self> {
        Some(match bytes {
            [0, 0] => Self::Empty,
            [1, tries_left] if tries_left <= TRIES => Self::Trial { tries_left },
            [2, 0] => Self::Confirmed,
            [3, 0] => Self::Failed(Failure::Tries),
            [3, 1] => Self::Failed(Failure::Rejected),
            [3, 2] => Self::Failed(Failure::RolledBack),
            _ => return None,
        })
    }
}

/// What a slot holds, as it was when it was written: only what is shown to people. What counts is what is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The version as a number: major, minor and patch in 8, 12 and 12 bits.
    pub version: u32,
    /// The security version.
    pub security: u32,
}

impl Held {
    /// The number of a version such as `1.20.3`. What stands behind a dash or a plus does not count. `None` if it is no
    /// such version, or larger than a number can say.
    pub fn version_number(text: &str) -> Option<u32> {
        let text = text.split(['-', '+']).next()?;
        let mut fields = text.split('.').map(str::parse::<u32>);
        let mut field = |bits: u32| fields.next()?.ok().filter(|field| *field < 1 << bits);
        let number = (field(8)? << 24) | (field(12)? << 12) | field(12)?;
        fields.next().is_none().then_some(number)
    }

    /// The version as people write it.
    pub const fn version(self) -> Version {
        Version(self.version)
    }
}

/// A version, to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.0;
        if number == 0 {
            return f.write_str("unknown");
        }
        write!(f, "{}.{}.{}", number >> 24, number >> 12 & 0xFFF, number & 0xFFF)
    }
}

/// Two slots for one kind of software.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The one to be started if both could.
    pub preferred: Slot,
    /// The lowest security version that is started.
    pub floor: u32,
    conditions: [Condition; 2],
    held: [Held; 2],
}

impl Pair {
    /// Of a box as it leaves the works, or whose record is lost: whatever verifies may be started, and needs no trial. The
    /// floor is what the firmware that asks was built with.
    pub const fn new(floor: u32) -> Self {
        let held = Held { version: 0, security: 0 };
        Self { preferred: Slot::A, floor, conditions: [Condition::Confirmed; 2], held: [held; 2] }
    }

    /// How a slot stands.
    pub const fn condition(&self, slot: Slot) -> Condition {
        self.conditions[slot.index()]
    }

    /// What it holds.
    pub const fn held(&self, slot: Slot) -> Held {
        self.held[slot.index()]
    }

    pub(crate) const fn set(&mut self, slot: Slot, condition: Condition) {
        self.conditions[slot.index()] = condition;
    }

    pub(crate) const fn set_held(&mut self, slot: Slot, held: Held) {
        self.held[slot.index()] = held;
    }

    fn to_bytes(self) -> [u8; PAIR_BYTES] {
        let mut bytes = [0; PAIR_BYTES];
        bytes[0] = self.preferred as u8;
        bytes[4..8].copy_from_slice(&self.floor.to_le_bytes());
        for (slot, at) in Slot::BOTH.into_iter().zip([8, 18]) {
            bytes[at..at + 2].copy_from_slice(&self.condition(slot).to_bytes());
            let Held { version, security } = self.held(slot);
            bytes[at + 2..at + 6].copy_from_slice(&version.to_le_bytes());
            bytes[at + 6..at + 10].copy_from_slice(&security.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let preferred = match bytes.first()? {
            0 => Slot::A,
            1 => Slot::B,
            _ => return None,
        };
        let mut pair = Self { preferred, ..Self::new(u32::from_le_bytes(field(bytes, 4))) };
        for (slot, at) in Slot::BOTH.into_iter().zip([8, 18]) {
            pair.set(slot, Condition::from_bytes(field(bytes, at))?);
            let version = u32::from_le_bytes(field(bytes, at + 2));
            pair.set_held(slot, Held { version, security: u32::from_le_bytes(field(bytes, at + 6)) });
        }
        Some(pair)
    }
}

/// All that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Its place in the order; the next one is one higher.
    pub sequence: u64,
    /// Kernel and userland.
    pub system: Pair,
    /// What starts them.
    pub firmware: Pair,
}

impl State {
    /// Of a box of which nothing is known; the floors are those that the firmware was built with.
    pub const fn new(system_floor: u32, firmware_floor: u32) -> Self {
        Self { sequence: 0, system: Pair::new(system_floor), firmware: Pair::new(firmware_floor) }
    }

    /// The bytes to be programmed.
    pub fn to_bytes(&self) -> [u8; STATE_BYTES] {
        let mut bytes = [0; STATE_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[SYSTEM_AT..FIRMWARE_AT].copy_from_slice(&self.system.to_bytes());
        bytes[FIRMWARE_AT..FIRMWARE_AT + PAIR_BYTES].copy_from_slice(&self.firmware.to_bytes());
        let checksum = CRC.checksum(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a record. `None` if what is there is none, or one of another version.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..STATE_BYTES)?;
        if !bytes.starts_with(&MAGIC)
            || CRC.checksum(&bytes[..CRC_AT]) != u32::from_le_bytes(field(bytes, CRC_AT))
        {
            return None;
        }
        Some(Self {
            sequence: u64::from_le_bytes(field(bytes, 8)),
            system: Pair::from_bytes(&bytes[SYSTEM_AT..FIRMWARE_AT])?,
            firmware: Pair::from_bytes(&bytes[FIRMWARE_AT..CRC_AT])?,
        })
    }
}

/// Which of the pairs something is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Kernel and userland.
    System,
    /// What starts them.
    Firmware,
}

impl State {
    /// The pair.
    pub const fn pair(&self, kept: Kept) -> &Pair {
        match kept {
            Kept::System => &self.system,
            Kept::Firmware => &self.firmware,
        }
    }

    pub(crate) const fn pair_mut(&mut self, kept: Kept) -> &mut Pair {
        match kept {
            Kept::System => &mut self.system,
            Kept::Firmware => &mut self.firmware,
        }
    }
}
