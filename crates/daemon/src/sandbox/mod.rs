//! What the daemon gives up once it runs: paths that it has no business with (Landlock), and calls to the kernel that it
//! never makes (seccomp).
//!
//! The daemon reads what strangers send. Whoever finds a way to make it run code of theirs should find a process that can
//! open the volume and talk SMTP, and nothing else. Paths are given up first, before there are threads, since Landlock
//! binds a thread and those that it starts; calls when everything is open, all threads at once.
//!
//! A kernel without the one or the other is told (`PS-D215`, `PS-D216`), and mail is taken all the same: this is a second
//! wall behind users, permissions and what the service manager does.

mod calls;
mod paths;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;

use penstock_settings::Settings;
use rustix::io::Errno;
use tracing::{info, warn};

/// Why a wall does not stand.
#[derive(Debug)]
enum Missing {
    /// The kernel does not have it, or not all of it.
    NotInKernel,
    /// The kernel has it and refuses.
    Refused(String),
    /// It was put up and lets through what it should not.
    Leaks,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInKernel => f.write_str("the kernel does not have it"),
            Self::Refused(why) => write!(f, "the kernel refuses it: {why}"),
            Self::Leaks => f.write_str("it was put up and lets through what it should not"),
        }
    }
}

/// Gives up all paths but those that the settings need and the folders of these files, which are read. It holds for this
/// thread and those that it starts: to be called before there are others.
pub(crate) fn restrict_paths<'f>(settings: &Settings, files: impl Iterator<Item = &'f Path>) {
    let restricted = paths::restrict(settings, files).and_then(|()| {
        // Nobody needs the root directory.
        let refused = File::open("/").is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
        if refused { Ok(()) } else { Err(Missing::Leaks) }
    });
    match restricted {
        Ok(()) => info!("paths are restricted to volume, sockets and what the system's libraries read"),
        Err(why) => {
            warn!(code = "PS-D215", %why, "paths are not restricted (Landlock); mail is taken all the same");
        }
    }
}

/// Gives up all calls but those that a daemon makes that has started, for all threads.
pub(crate) fn restrict_calls() {
    let restricted = calls::restrict().and_then(|()| {
        // Anybody may ask for his priority; that the call is not known any more is our doing.
        let refused = rustix::process::getpriority_process(None) == Err(Errno::NOSYS);
        if refused { Ok(()) } else { Err(Missing::Leaks) }
    });
    match restricted {
        Ok(()) => info!("calls to the kernel are restricted to what the service needs"),
        Err(why) => {
            warn!(code = "PS-D216", %why, "calls are not restricted (seccomp); mail is taken all the same");
        }
    }
}

/// Gives up the same calls for one thread, and those that it starts.
#[cfg(test)]
pub(crate) fn restrict_calls_of_this_thread() {
    calls::tests::restrict_this_thread();
}
