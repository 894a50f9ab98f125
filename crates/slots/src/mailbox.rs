//! What one boot leaves in memory for the next: why there was a reset, and how often that was our own doing.
//!
//! Memory outlives a reset and not a power cut, which is what is wanted here: resets that we cause count, and pulling the
//! plug begins anew, so that no number of power cuts ever turns a healthy box away from its system.
//!
//! ```text
//! 0  "PS-MBX-1"   8 cause   9 resets   10 turn   11 trial   12 since_s, u64   20 CRC-32C of bytes 0 to 19
//! ```

use crate::{CRC, field};

/// What it takes, in bytes.
pub const MAILBOX_BYTES: usize = 24;
/// What stands at its beginning. The last character is the version of the format.
const MAGIC: [u8; 8] = *b"PS-MBX-1";
const CRC_AT: usize = MAILBOX_BYTES - 4;

/// So many resets of our own within [`WINDOW_S`] mean that the system does not stay up.
const RESETS_MAX: u8 = 3;
/// Within so many seconds.
const WINDOW_S: u64 = 30 * 60;
/// How long the first turn of the rescue takes, in seconds; each further one twice as long.
pub const RESCUE_FIRST_S: u64 = 15 * 60;
/// The longest turn, in seconds.
pub const RESCUE_LONGEST_S: u64 = 4 * 3600;

/// Why there was a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Somebody asked for it: a reboot, an update.
    Asked,
    /// The watchdog was not fed.
    Watchdog,
    /// The kernel panicked, or its first process ended.
    Panic,
    /// The firmware itself failed.
    Firmware,
    /// The rescue ends its turn.
    RescueTurn,
    /// The service of the system failed again and again, so that the first process reset the box.
    Service,
}

impl Cause {
    /// All of them, in the order of their bytes.
    pub const ALL: [Self; 6] =
        [Self::Asked, Self::Watchdog, Self::Panic, Self::Firmware, Self::RescueTurn, Self::Service];

    /// Its name, as the firmware tells it to Linux and people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Watchdog => "watchdog",
            Self::Panic => "panic",
            Self::Firmware => "firmware",
            Self::RescueTurn => "rescue-turn",
            Self::Service => "service",
        }
    }

    /// The one that a byte of a format stands for. What a later version may count there is taken for a failure, so that a
    /// box whose parts are of several versions still finds out that a system does not stay up.
    pub fn from_byte(byte: u8) -> Self {
        Self::ALL.into_iter().find(|cause| *cause as u8 == byte).unwrap_or(Self::Watchdog)
    }

    /// Whether something went wrong.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Watchdog | Self::Panic | Self::Firmware | Self::Service)
    }
}

/// What is left for the next boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// Why there is a reset. What is written before a system is started says [`Cause::Watchdog`]: a system that goes in
    /// another way says so itself.
    pub cause: Cause,
    /// How many resets in a row were failures, the window long.
    pub resets: u8,
    /// What was started then was on trial: it has its tries, and what it does to itself does not count against the slot
    /// that the box goes back to.
    pub was_trial: bool,
    /// How many turns the rescue has had since the system last stayed up.
    pub turn: u8,
    /// When the first of those resets was, in seconds of the clock on board.
    pub since_s: u64,
}

impl Mailbox {
    /// Of a box whose power just came.
    pub const NEW: Self = Self { cause: Cause::Asked, resets: 0, was_trial: false, turn: 0, since_s: 0 };

    /// The bytes to be left in memory.
    pub fn to_bytes(&self) -> [u8; MAILBOX_BYTES] {
        let mut bytes = [0; MAILBOX_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&[self.cause as u8, self.resets, self.turn, u8::from(self.was_trial)]);
        bytes[12..CRC_AT].copy_from_slice(&self.since_s.to_le_bytes());
        let checksum = CRC.checksum(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads what memory holds. `None` after a power cut, when it holds anything.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..MAILBOX_BYTES)?;
        if !bytes.starts_with(&MAGIC)
            || CRC.checksum(&bytes[..CRC_AT]) != u32::from_le_bytes(field(bytes, CRC_AT))
        {
            return None;
        }
        let since_s = u64::from_le_bytes(field(bytes, 12));
        Some(Self {
            cause: Cause::from_byte(bytes[8]),
            resets: bytes[9],
            turn: bytes[10],
            was_trial: bytes[11] != 0,
            since_s,
        })
    }

    /// Takes the reset into account that just was.
    #[must_use]
    pub(crate) const fn counted(mut self, now_s: u64) -> Self {
        if !self.cause.is_failure() || self.was_trial {
            return self;
        }
        // A clock that was set back counts as one in which no time has passed: rather once too often into the rescue.
        if self.resets == 0 || now_s.saturating_sub(self.since_s) > WINDOW_S {
            (self.resets, self.since_s) = (0, now_s);
        }
        self.resets = self.resets.saturating_add(1);
        self
    }

    /// Whether the system goes down again and again.
    pub(crate) const fn is_restless(&self) -> bool {
        self.resets >= RESETS_MAX
    }

    /// The rescue begins a turn: how long that is, in seconds, and what to leave behind.
    #[must_use]
    pub(crate) const fn with_turn(self) -> (u64, Self) {
        let doubled = if self.turn < 16 { RESCUE_FIRST_S << self.turn } else { RESCUE_LONGEST_S };
        let turn_s = if doubled < RESCUE_LONGEST_S { doubled } else { RESCUE_LONGEST_S };
        let turn = self.turn.saturating_add(1);
        (turn_s, Self { cause: Cause::RescueTurn, turn, ..Self::NEW })
    }
}
