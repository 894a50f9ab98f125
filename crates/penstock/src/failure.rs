//! Why a command did not do what was asked, and what the shell is told about it.

use std::fmt;
use std::path::Path;

use penstock_daemon::control::types::ErrorBody;

/// What the shell is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The daemon refused, or something failed.
    Failed = 1,
    /// What was typed makes no sense. The parser of arguments uses the same number.
    Usage = 2,
    /// There is no daemon to talk to.
    Unreachable = 3,
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// For the one who asked.
    Told(Exit, ErrorBody),
    /// It was told already; only the shell needs to know.
    Silent(Exit),
    /// Nobody reads what is written any more, as in `penstock queue | head`: not worth a word.
    Unread,
}

impl Failure {
    pub(crate) fn new(exit: Exit, code: &str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Told(exit, ErrorBody { code: code.into(), message: message.into(), help: help.into() })
    }

    /// `PS-D304`: a file cannot be read or written.
    pub(crate) fn file(path: &Path, doing: &str, error: &std::io::Error) -> Self {
        Self::new(Exit::Failed, "PS-D304", format!("{} cannot be {doing}: {error}", path.display()), "")
    }
}

/// Writing to standard output.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::Unread;
        }
        Self::new(Exit::Failed, "PS-D305", format!("the answer cannot be written: {error}"), "")
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        std::io::Error::from(error).into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told(_, body) => body.fmt(f),
            Self::Silent(_) | Self::Unread => Ok(()),
        }
    }
}
