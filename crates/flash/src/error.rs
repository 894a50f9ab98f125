//! Why a medium refused or failed, in one enum, since the log above treats all media alike.

use core::fmt;

/// Why a medium refused or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The place is not on the medium, or crosses the end of a segment.
    OutOfBounds {
        /// The segment asked for.
        segment: u32,
        /// The offset in it, in bytes.
        offset: u32,
    },
    /// A program that is not made of whole units.
    Misaligned {
        /// The segment asked for.
        segment: u32,
        /// The offset in it, in bytes.
        offset: u32,
    },
    /// A unit was to be programmed that is not erased.
    NotErased {
        /// The segment asked for.
        segment: u32,
        /// The offset of the unit, in bytes.
        offset: u32,
    },
    /// The medium cannot give these bytes back (an uncorrectable error).
    Unreadable {
        /// The segment asked for.
        segment: u32,
        /// The offset in it, in bytes.
        offset: u32,
    },
    /// A second erase was begun before the first was done.
    EraseBusy,
    /// The operating system or the chip reports a failure.
    Io {
        /// The operating system's error number, or the chip's status word.
        code: i32,
    },
    /// The power is gone. Only simulators say so.
    PowerCut,
    /// The numbers of a geometry do not fit together, or not with the medium.
    Geometry,
    /// What was programmed does not read back.
    Mismatch {
        /// The segment programmed.
        segment: u32,
        /// The offset in it, in bytes.
        offset: u32,
    },
    /// Somebody else is using the driver at this moment, which its owner must not let happen.
    DriverInUse,
}

impl Error {
    /// The stable code under which documents and logs speak of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::OutOfBounds { .. } => "PS-M001",
            Self::Misaligned { .. } => "PS-M002",
            Self::NotErased { .. } => "PS-M003",
            Self::Unreadable { .. } => "PS-M004",
            Self::EraseBusy => "PS-M005",
            Self::Io { .. } => "PS-M006",
            Self::PowerCut => "PS-M007",
            Self::Geometry => "PS-M008",
            Self::DriverInUse => "PS-M009",
            Self::Mismatch { .. } => "PS-M010",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.code())?;
        match self {
            Self::OutOfBounds { segment, offset } => {
                write!(f, "segment {segment} offset {offset} is not on the medium")
            }
            Self::Misaligned { segment, offset } => {
                write!(f, "segment {segment} offset {offset}: not whole program units")
            }
            Self::NotErased { segment, offset } => {
                write!(f, "segment {segment} offset {offset}: programmed without an erase")
            }
            Self::Unreadable { segment, offset } => {
                write!(f, "segment {segment} offset {offset} cannot be read")
            }
            Self::EraseBusy => write!(f, "an erase is still going on"),
            Self::Io { code } => write!(f, "the medium reports error {code}"),
            Self::PowerCut => write!(f, "the power is gone"),
            Self::Geometry => write!(f, "segments and units do not fit the medium"),
            Self::DriverInUse => write!(f, "the driver is in use"),
            Self::Mismatch { segment, offset } => {
                write!(f, "segment {segment} offset {offset} does not read back as it was programmed")
            }
        }
    }
}

impl core::error::Error for Error {}
