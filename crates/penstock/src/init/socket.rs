//! The directory of the sockets on which other processes of the box say something to the first, and the one of them on which
//! they are not answered.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::time::Duration;

use tokio::net::UnixDatagram;

use super::{Error, directory};

/// The directory of all of them. Who may write to one is its own affair.
pub(super) const DIRECTORY: &str = "/run/init";

/// Makes it unless it is there.
pub(super) fn make_directory() -> Result<(), Error> {
    directory(DIRECTORY, 0, 0o755)
}

/// Makes a socket to which one user may write.
pub(super) fn bind(path: &'static str, owner: u32) -> Result<UnixDatagram, Error> {
    make_directory()?;
    let make = || -> std::io::Result<UnixDatagram> {
        let socket = UnixDatagram::bind(path)?;
        chown(path, Some(owner), None)?;
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(socket)
    };
    make().map_err(|source| Error::File { path: path.into(), source })
}

/// The next message, as much of it as there is room for.
pub(super) async fn receive<'b>(socket: &UnixDatagram, into: &'b mut [u8]) -> &'b [u8] {
    loop {
        match socket.recv(into).await {
            Ok(len) => return &into[..len],
            // A socket that fails at once would make a busy loop.
            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}
