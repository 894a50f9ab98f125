//! What can go wrong while a box starts, in words for whoever reads the serial line.

use std::fmt;
use std::io;
use std::path::PathBuf;

use penstock_flash_linux::MtdError;
use penstock_settings::{Problems, RecordError};
use rustix::io::Errno;

/// What can go wrong while a box starts.
#[derive(Debug)]
pub(crate) enum Error {
    /// A file system cannot be mounted.
    Mount { target: &'static str, source: Errno },
    /// The operating system refuses something that every box needs.
    System { action: &'static str, source: io::Error },
    /// A file, a directory or a socket cannot be made or written.
    File { path: PathBuf, source: io::Error },
    /// The flash cannot be used.
    Flash(MtdError),
    /// There are no settings in flash, or they are damaged.
    NoSettings(RecordError),
    /// The settings in flash are not right.
    BadSettings(Problems),
    /// There is no network interface.
    NoInterface,
    /// The network cannot be set up as the settings ask.
    Network { action: String, source: rtnetlink::Error },
    /// There is no disk, or it cannot be given to the daemon.
    Disk { path: PathBuf, source: io::Error },
    /// There is no hardware watchdog.
    NoWatchdog(io::Error),
    /// There is no serial line, or it cannot be given to the console.
    NoSerialLine(io::Error),
    /// There is no power key.
    NoPowerKey(io::Error),
    /// The identity cannot be read or written.
    Identity(MtdError),
    /// There was an identity, and it has rotted.
    IdentityDamaged,
    /// The image does not say for which board it is.
    NoBoard,
    /// The seed cannot be read or written.
    Seed(MtdError),
    /// The memory that outlasts a reset cannot be read or written.
    Mailbox(io::Error),
}

impl Error {
    /// The stable code under which documents and logs speak of this error.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Mount { .. } => "PS-I002",
            Self::System { .. } => "PS-I003",
            Self::File { .. } => "PS-I004",
            Self::Flash(error) => error.code(),
            Self::NoSettings(_) => "PS-I011",
            Self::BadSettings(_) => "PS-I012",
            Self::NoInterface => "PS-I020",
            Self::Network { .. } => "PS-I021",
            Self::Disk { .. } => "PS-I030",
            Self::NoWatchdog(_) => "PS-I040",
            Self::NoPowerKey(_) => "PS-I041",
            Self::NoSerialLine(_) => "PS-I042",
            Self::Identity(_) => "PS-I060",
            Self::IdentityDamaged => "PS-I061",
            Self::NoBoard => "PS-I062",
            Self::Seed(_) => "PS-I063",
            Self::Mailbox(_) => "PS-I043",
        }
    }

    pub(crate) fn system(action: &'static str) -> impl FnOnce(Errno) -> Self {
        move |source| Self::System { action, source: source.into() }
    }

    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is passed on says its code itself.
        if !matches!(self, Self::Flash(_)) {
            write!(f, "{}: ", self.code())?;
        }
        match self {
            Self::Flash(error) => write!(f, "{error}"),
            Self::Mount { target, source } => write!(f, "{target} cannot be mounted: {source}"),
            Self::System { action, source } => write!(f, "cannot {action}: {source}"),
            Self::File { path, source } => write!(f, "{} cannot be made: {source}", path.display()),
            Self::NoSettings(RecordError::Absent) => f.write_str("this box has not been told yet what to do"),
            Self::NoSettings(RecordError::Damaged) => {
                f.write_str("both copies of the settings in flash are damaged: write them again")
            }
            Self::BadSettings(problems) => write!(f, "the settings in flash are not right:\n{problems}"),
            Self::NoInterface => f.write_str("there is no network interface: look at cable and board"),
            Self::Network { action, source } => write!(f, "cannot {action}: {source}"),
            Self::Disk { path, source } => {
                write!(f, "the disk {} cannot be used: {source}: is it plugged in?", path.display())
            }
            Self::NoWatchdog(source) => {
                write!(f, "no hardware watchdog ({source}): a box that hangs has to be restarted by hand")
            }
            Self::NoSerialLine(source) => write!(f, "no serial line for a console: {source}"),
            Self::Identity(source) => {
                write!(f, "the identity of the box cannot be had: {source}; it goes on without serial number")
            }
            Self::IdentityDamaged => f.write_str(
                "the identity of the box in flash is damaged, and none is made in its place; it goes on without serial number",
            ),
            Self::NoBoard => f.write_str(
                "the image does not say for which board it is (penstock.board=…), so no identity is made: build it anew",
            ),
            Self::Seed(source) => write!(
                f,
                "the seed of random numbers cannot be kept: {source}; they begin with what the firmware gives"
            ),
            Self::Mailbox(source) => write!(
                f,
                "the memory that outlasts a reset cannot be used: {source}; resets that were asked for count as failures"
            ),
            Self::NoPowerKey(source) => {
                write!(f, "no power key ({source}): use `power-off` at the console before pulling the plug")
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<MtdError> for Error {
    fn from(error: MtdError) -> Self {
        Self::Flash(error)
    }
}
