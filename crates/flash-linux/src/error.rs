//! Why a volume cannot be created or opened, in words for the operator.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::mtd::MtdError;

/// Why a volume cannot be created or opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum VolumeError {
    /// There is something already, and nobody said to overwrite it.
    Exists {
        /// What exists.
        path: PathBuf,
    },
    /// Another process owns the volume, or the kernel does (a mounted file system).
    InUse {
        /// The volume.
        path: PathBuf,
    },
    /// The file system cannot hold a file of this size.
    NoSpace {
        /// The volume that was to be.
        path: PathBuf,
        /// Its size in bytes.
        size_bytes: u64,
        /// What the file system has left, in bytes.
        available_bytes: u64,
    },
    /// Neither a regular file nor a block device.
    WrongKind {
        /// What it is that is neither.
        path: PathBuf,
    },
    /// The volume is smaller than a segment, or has more segments than can be numbered, or the segment is no multiple
    /// of 4 KiB.
    BadSize {
        /// The volume.
        path: PathBuf,
        /// Its size in bytes.
        size_bytes: u64,
        /// The size of a segment in bytes.
        segment_bytes: u32,
    },
    /// The device tears what lies beside a write of 4 KiB, since its blocks are larger.
    BlockTooLarge {
        /// The device.
        path: PathBuf,
        /// Its physical block in bytes.
        block_bytes: u32,
    },
    /// The flash refuses.
    Mtd(MtdError),
    /// The operating system refuses.
    Io {
        /// What was to be done, as a verb with its object.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

impl VolumeError {
    /// The stable code under which documents and logs speak of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Exists { .. } => "PS-M101",
            Self::InUse { .. } => "PS-M102",
            Self::NoSpace { .. } => "PS-M103",
            Self::WrongKind { .. } => "PS-M104",
            Self::BadSize { .. } => "PS-M105",
            Self::BlockTooLarge { .. } => "PS-M106",
            Self::Mtd(error) => error.code(),
            Self::Io { .. } => "PS-M107",
        }
    }

    /// Makes an error of what the operating system said about `action` on `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

impl fmt::Display for VolumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is passed on says its code itself.
        if !matches!(self, Self::Mtd(_)) {
            write!(f, "{}: ", self.code())?;
        }
        match self {
            Self::Mtd(error) => write!(f, "{error}"),
            Self::Exists { path } => write!(f, "{} exists and is not overwritten", path.display()),
            Self::InUse { path } => write!(f, "{} is in use", path.display()),
            Self::NoSpace { path, size_bytes, available_bytes } => write!(
                f,
                "no space for {}: it needs {size_bytes} bytes, {available_bytes} are available",
                path.display()
            ),
            Self::WrongKind { path } => {
                write!(f, "{} is neither a regular file nor a block device", path.display())
            }
            Self::BadSize { path, size_bytes, segment_bytes } => write!(
                f,
                "{} of {size_bytes} bytes cannot be divided into segments of {segment_bytes} bytes",
                path.display()
            ),
            Self::BlockTooLarge { path, block_bytes } => {
                write!(f, "{} has physical blocks of {block_bytes} bytes, more than 4096", path.display())
            }
            Self::Io { action, path, source } => write!(f, "cannot {action} {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for VolumeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Mtd(error) => error.source(),
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
