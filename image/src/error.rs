//! Why an image cannot be built or started.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use penstock_settings::Problems;
use penstock_slots::Rejected;

/// Why an image cannot be built or started.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    File {
        /// What was to be done, as a verb.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// `board.toml` is no TOML, or not what a board needs.
    Board {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The settings would not be taken by the box.
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problems: Problems,
    },
    /// Something does not fit where it belongs.
    TooLarge {
        /// What.
        what: String,
        /// Its size in bytes.
        size_bytes: u64,
        /// How much room there is, in bytes.
        room_bytes: u64,
    },
    /// A bundle cannot be made.
    Bundle(String),
    /// A bundle is nothing that a box would start.
    Rejected(Rejected),
    /// What the linker made is no program for a box without an operating system.
    Elf {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A key cannot be used.
    Key(String),
    /// What is in the image cannot be told.
    Sbom(String),
    /// QEMU cannot be started, or ended badly.
    Qemu(String),
}

impl Error {
    /// The stable code under which documents and logs speak of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "PS-A001",
            Self::Board { .. } => "PS-A002",
            Self::Settings { .. } => "PS-A003",
            Self::TooLarge { .. } => "PS-A004",
            Self::Bundle(_) => "PS-A005",
            Self::Rejected(rejected) => rejected.code(),
            Self::Sbom(_) => "PS-A006",
            Self::Elf { .. } => "PS-A007",
            Self::Key(_) => "PS-A008",
            Self::Qemu(_) => "PS-A010",
        }
    }

    /// Makes an error of what the operating system said about `action` on `path`.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.to_owned(), source }
    }
}

impl From<Rejected> for Error {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is passed on says its code itself.
        if !matches!(self, Self::Rejected(_)) {
            write!(f, "{}: ", self.code())?;
        }
        match self {
            Self::File { action, path, source } => write!(f, "cannot {action} {}: {source}", path.display()),
            Self::Board { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::Settings { path, problems } => write!(f, "{}:\n{problems}", path.display()),
            Self::TooLarge { what, size_bytes, room_bytes } => {
                write!(f, "{what} has {size_bytes} bytes, and there is room for {room_bytes}")
            }
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::Elf { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::Bundle(reason) | Self::Key(reason) | Self::Sbom(reason) | Self::Qemu(reason) => {
                f.write_str(reason)
            }
        }
    }
}

impl std::error::Error for Error {}
