//! Why the daemon cannot start or had to stop.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use penstock_flash_linux::VolumeError;

use crate::control::BindError;

/// Why the daemon cannot start or had to stop.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The volume cannot be opened or made.
    Volume(VolumeError),
    /// What is on the volume cannot be mounted.
    Mount(penstock_spool::Error),
    /// There is something else on the volume, and it is not overwritten.
    NotBlank {
        /// The volume.
        path: PathBuf,
    },
    /// It cannot be read whether the volume is blank.
    ReadBlank(io::Error),
    /// What was kept on the volume cannot be let go of.
    Forget(penstock_spool::Error),
    /// No random bytes for the name of a new volume.
    Random(io::Error),
    /// An address cannot be listened on.
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// There is no control socket.
    Control(BindError),
    /// A thread, a timer or a signal handler cannot be had from the operating system.
    System(io::Error),
    /// A name or number in the settings does not fit what is to be done with it.
    Settings(String),
    /// There can be no TLS, not even with a certificate of the box's own making.
    Tls(String),
    /// The volume could not be closed: the next start is as after a power cut.
    Close(penstock_spool::Error),
    /// The storage thread ended on its own.
    StorageGone,
    /// The operator did not want to wait for a clean stop.
    Forced,
    /// The faults that a test asks for are not known.
    #[cfg(feature = "faults")]
    Faults(String),
}

impl Error {
    /// Whether a volume has something that only another version of Penstock can read.
    pub(crate) fn is_of_other_version(&self) -> bool {
        matches!(self, Self::Mount(penstock_spool::Error::UnknownFormat { .. }))
    }

    /// The stable code under which documents and logs speak of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Volume(_) => "PS-D001",
            Self::Mount(_) => "PS-D002",
            Self::NotBlank { .. } => "PS-D003",
            Self::ReadBlank(_) => "PS-D004",
            Self::Random(_) => "PS-D005",
            Self::Forget(_) => "PS-D006",
            Self::Listen { .. } => "PS-D010",
            Self::Control(BindError::InUse(_)) => "PS-D110",
            Self::Control(BindError::NotASocket(_)) => "PS-D111",
            Self::Control(BindError::Io(..)) => "PS-D112",
            Self::System(_) => "PS-D011",
            Self::Settings(_) => "PS-D012",
            Self::Tls(_) => "PS-D013",
            Self::Close(_) => "PS-D020",
            Self::StorageGone => "PS-D021",
            Self::Forced => "PS-D022",
            #[cfg(feature = "faults")]
            Self::Faults(_) => "PS-D030",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Control(error) = self {
            return write!(f, "{error}");
        }
        write!(f, "{} ", self.code())?;
        match self {
            Self::Control(_) => Ok(()),
            Self::Volume(error) => write!(f, "{error}"),
            Self::Mount(error) => write!(f, "the volume cannot be mounted: {error}"),
            Self::NotBlank { path } => write!(
                f,
                "{} is no penstock volume and not blank; it is not overwritten: name another one, or remove it",
                path.display()
            ),
            Self::ReadBlank(error) => write!(f, "cannot see whether the volume is blank: {error}"),
            Self::Forget(error) => write!(f, "mode and states cannot be let go of: {error}"),
            Self::Random(error) => write!(f, "no random bytes: {error}"),
            Self::Listen { address, source } => write!(f, "cannot listen on {address}: {source}"),
            Self::System(error) => write!(f, "the operating system refuses: {error}"),
            Self::Settings(what) => f.write_str(what),
            Self::Tls(why) => write!(f, "there can be no TLS: {why}"),
            Self::Close(error) => write!(f, "the volume was not closed: {error}"),
            Self::StorageGone => f.write_str("the storage thread ended"),
            Self::Forced => f.write_str("stopped at once, as a second signal asked for"),
            #[cfg(feature = "faults")]
            Self::Faults(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}

impl From<VolumeError> for Error {
    fn from(error: VolumeError) -> Self {
        Self::Volume(error)
    }
}

impl From<BindError> for Error {
    fn from(error: BindError) -> Self {
        Self::Control(error)
    }
}
