//! Why a chip is not used, or what it reports.

use core::fmt;

use embedded_storage::nor_flash::{NorFlashError, NorFlashErrorKind};

/// Why a chip is not used, or what it reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Nothing answers to the query: there are no chips, or none that describe themselves.
    NoAnswer,
    /// The chips of the bank are not alike.
    Unlike,
    /// The chips take commands of another kind; the number is the one of JEP137.
    CommandSet(u16),
    /// What the chips say of themselves makes no sense, or is not what the driver was built for.
    Geometry,
    /// The place is not on the bank.
    OutOfBounds,
    /// Not whole words, or not whole blocks.
    NotAligned,
    /// The block is being erased, or another one is and a second erase was asked for.
    EraseBusy,
    /// The chip did not become ready within several times the longest time that it claims to need.
    Timeout,
    /// The block is locked, and stays so.
    Locked,
    /// The supply for programming is too low.
    Voltage,
    /// Cells could not be programmed.
    Program,
    /// A block could not be erased.
    Erase,
    /// The chip did not understand what it was told.
    Sequence,
}

impl Error {
    /// The stable code under which the console and the documents speak of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoAnswer => "PS-F001",
            Self::Unlike => "PS-F002",
            Self::CommandSet(_) => "PS-F003",
            Self::Geometry => "PS-F004",
            Self::OutOfBounds => "PS-F005",
            Self::NotAligned => "PS-F006",
            Self::EraseBusy => "PS-F007",
            Self::Timeout => "PS-F008",
            Self::Locked => "PS-F009",
            Self::Voltage => "PS-F010",
            Self::Program => "PS-F011",
            Self::Erase => "PS-F012",
            Self::Sequence => "PS-F013",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.code())?;
        match self {
            Self::NoAnswer => f.write_str("no flash answers to the query"),
            Self::Unlike => f.write_str("the flash chips side by side are not alike"),
            Self::CommandSet(number) => {
                write!(f, "the flash takes commands of set {number:#06x}, not Intel's")
            }
            Self::Geometry => f.write_str("the flash is not of the size and shape that it should be"),
            Self::OutOfBounds => f.write_str("that place is not on the flash"),
            Self::NotAligned => f.write_str("not whole words or blocks of the flash"),
            Self::EraseBusy => f.write_str("an erase is still going on"),
            Self::Timeout => f.write_str("the flash does not become ready"),
            Self::Locked => f.write_str("the block is locked"),
            Self::Voltage => f.write_str("the supply of the flash is too low to program"),
            Self::Program => f.write_str("cells could not be programmed"),
            Self::Erase => f.write_str("a block could not be erased"),
            Self::Sequence => f.write_str("the flash did not understand a command"),
        }
    }
}

impl core::error::Error for Error {}

impl NorFlashError for Error {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            Self::NotAligned => NorFlashErrorKind::NotAligned,
            _ => NorFlashErrorKind::Other,
        }
    }
}
