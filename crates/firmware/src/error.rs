//! What goes wrong before Linux, under codes that do not change.

use core::fmt;

use penstock_slots::Rejected;

/// Why the firmware cannot go on as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// There is no device tree, or it is damaged.
    NoTree,
    /// The device tree has no such device.
    NoDevice(&'static str),
    /// The device tree describes other flash than `board.toml`.
    OtherBoard,
    /// There is less memory than is needed.
    Memory {
        /// So many MiB are needed.
        needed_mib: u32,
    },
    /// A bank of flash does not answer as it should.
    Bank(usize, penstock_flash_cfi::Error),
    /// The board has no such partition.
    NoPartition(&'static str),
    /// A flash chip fails.
    Flash(penstock_flash_cfi::Error),
    /// What a slot holds is not to be started.
    Rejected(Rejected),
    /// Code and data of the firmware are not kept apart.
    Unguarded,
    /// A part of a bundle is missing or empty.
    NoPart(&'static str),
    /// What is signed is not compressed by gzip, or damaged although its signature is right.
    Gzip,
    /// What was compressed is no kernel for this processor.
    NotKernel,
    /// The kernel does not fit into its place in memory.
    KernelTooLarge,
    /// The device tree for the kernel does not fit into its place.
    TreeTooLarge,
    /// The firmware does not fit into its place in memory.
    FirmwareTooLarge,
}

impl Error {
    /// The stable code under which the console and the documents speak of it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoTree => "PS-W003",
            Self::NoDevice(_) => "PS-W004",
            Self::OtherBoard => "PS-W005",
            Self::Memory { .. } => "PS-W006",
            Self::Bank(..) => "PS-W007",
            Self::NoPartition(_) => "PS-W008",
            Self::Flash(error) => error.code(),
            Self::Rejected(rejected) => rejected.code(),
            Self::Unguarded => "PS-W009",
            Self::NoPart(_) => "PS-W010",
            Self::Gzip => "PS-W011",
            Self::NotKernel => "PS-W012",
            Self::KernelTooLarge => "PS-W013",
            Self::TreeTooLarge => "PS-W014",
            Self::FirmwareTooLarge => "PS-W015",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flash(error) => return error.fmt(f),
            Self::Rejected(rejected) => return rejected.fmt(f),
            _ => write!(f, "{}: ", self.code())?,
        }
        match self {
            Self::NoTree => f.write_str("there is no device tree, or it is damaged"),
            Self::NoDevice(what) => write!(f, "the device tree has no {what}"),
            Self::OtherBoard => f.write_str("the device tree describes another board's flash"),
            Self::Memory { needed_mib } => write!(f, "{needed_mib} MiB of memory are needed"),
            Self::Bank(number, error) => write!(f, "flash {number} does not answer as it should: {error}"),
            Self::NoPartition(name) => write!(f, "the board has no partition {name}"),
            Self::Unguarded => f.write_str("code and data of the firmware are not kept apart"),
            Self::NoPart(what) => write!(f, "the bundle has no {what}"),
            Self::Gzip => f.write_str("what is signed cannot be unpacked"),
            Self::NotKernel => f.write_str("the kernel is none for this processor"),
            Self::KernelTooLarge => f.write_str("the kernel is too large for its place in memory"),
            Self::TreeTooLarge => f.write_str("the device tree is too large for its place in memory"),
            Self::FirmwareTooLarge => f.write_str("the firmware is too large for its place in memory"),
            Self::Flash(_) | Self::Rejected(_) => Ok(()),
        }
    }
}

impl From<penstock_flash_cfi::Error> for Error {
    fn from(error: penstock_flash_cfi::Error) -> Self {
        Self::Flash(error)
    }
}

impl From<Rejected> for Error {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}
