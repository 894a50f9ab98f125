//! Where a console is.

use core::fmt;

/// A console: how far the box has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Linux runs.
    Userland,
    /// The firmware, also while it takes mail.
    Firmware,
    /// What starts the firmware.
    Stage0,
}

impl Level {
    /// All of them, from the top.
    pub const ALL: [Self; 3] = [Self::Userland, Self::Firmware, Self::Stage0];
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Userland => "Linux",
            Self::Firmware => "the firmware",
            Self::Stage0 => "stage 0",
        })
    }
}

/// The levels at which something exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels(u8);

impl Levels {
    /// Nowhere.
    pub const NONE: Self = Self(0);
    /// Userland only.
    pub const USERLAND: Self = Self::of(Level::Userland);
    /// The firmware only.
    pub const FIRMWARE: Self = Self::of(Level::Firmware);
    /// Wherever there are drivers and mail.
    pub const UPPER: Self = Self::USERLAND.and(Self::FIRMWARE);
    /// Wherever there is no Linux.
    pub const LOWER: Self = Self::FIRMWARE.and(Self::of(Level::Stage0));
    /// Everywhere.
    pub const ALL: Self = Self::UPPER.and(Self::LOWER);

    const fn of(level: Level) -> Self {
        Self(1 << level as u8)
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it exists there.
    pub const fn contain(self, level: Level) -> bool {
        self.0 & Self::of(level).0 != 0
    }

    /// Whether one of the consoles below Linux has it.
    pub const fn is_below_linux(self) -> bool {
        self.0 & Self::LOWER.0 != 0
    }
}
