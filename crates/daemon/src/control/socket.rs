//! The Unix socket on which the control interface listens, and who is at its other end.
//!
//! Whoever may write to the socket may do everything; its mode and group decide who that is. One request a
//! connection, a bounded number of connections, and none lives for ever.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::fs::Mode;
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::{Operate, Who, router};

/// Connections at once; more wait in the kernel.
const CONNECTIONS_MAX: usize = 32;
const BACKLOG: u32 = 128;
/// How long the head of a request may take to come.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may last: the largest message over a slow pipe, but nobody's forgotten pager.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(600);
/// How long connections have to finish when the daemon stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// How long to wait before accepting again when the system is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// The longest part of the list of users that is read.
const USERS_BYTES_MAX: u64 = 1024 * 1024;

/// Why there is no control socket.
#[derive(Debug)]
pub enum BindError {
    /// `PS-D110`: a daemon answers on it.
    InUse(PathBuf),
    /// `PS-D111`: there is something at that path, and it is no socket.
    NotASocket(PathBuf),
    /// `PS-D112`: the system refuses.
    Io(PathBuf, io::Error),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(path) => write!(f, "PS-D110: another daemon answers on {}", path.display()),
            Self::NotASocket(path) => {
                write!(f, "PS-D111: {} is no socket; it is not overwritten", path.display())
            }
            Self::Io(path, error) => {
                write!(f, "PS-D112: the control socket {} cannot be made ({error})", path.display())
            }
        }
    }
}

impl std::error::Error for BindError {}

/// The socket, listening. Its file goes with it.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode, so that a successor's socket is left alone.
    identity: (u64, u64),
}

impl ControlSocket {
    /// Makes the socket with mode 0660, in place of one that a dead daemon left behind. Needs a tokio runtime.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        clear_stale(path)?;
        let bind = || -> io::Result<Self> {
            let socket = UnixSocket::new_stream()?;
            let mode = Mode::from_raw_mode(0o660);
            // Linux gives the file the mode of the socket less the umask, so that it is never wider than it should be …
            rustix::fs::fchmod(&socket, mode)?;
            socket.bind(path)?;
            // … and here what the umask took comes back.
            fs::set_permissions(path, fs::Permissions::from_mode(mode.as_raw_mode()))?;
            let identity = identity(path)?;
            Ok(Self { listener: socket.listen(BACKLOG)?, path: path.to_owned(), identity })
        };
        bind().map_err(|error| BindError::Io(path.to_owned(), error))
    }

    /// Serves until `stop` is done, then lets open requests finish for a few seconds.
    pub async fn serve<O: Operate>(self, operate: Arc<O>, stop: impl Future<Output = ()>) {
        let router = router(operate);
        let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let (stopping, is_stopping) = watch::channel(());
        let mut connections = JoinSet::new();
        let mut stop = pin!(stop);
        loop {
            let permit = tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next() => continue,
                Ok(permit) = Arc::clone(&free).acquire_owned() => permit,
            };
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (router, is_stopping) = (router.clone(), is_stopping.clone());
                    connections.spawn(async move {
                        // Who has had all the time there is has gone, or is past caring.
                        let served = connection(stream, router, is_stopping);
                        let _ = tokio::time::timeout(CONNECTION_AGE_MAX, served).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "control: cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop((self, stopping));
        let all_done = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_GRACE, all_done).await.is_err() {
            tracing::warn!("control: requests were cut off by the stop");
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // If it cannot be removed, the next start finds that nobody answers on it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket on which nobody answers.
fn clear_stale(path: &Path) -> Result<(), BindError> {
    let io_error = |error| BindError::Io(path.to_owned(), error);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match BlockingStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(io_error)
        }
        Err(error) => Err(io_error(error)),
        Ok(_) => Err(BindError::InUse(path.to_owned())),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

/// One request, or none if the daemon stops before it has begun.
async fn connection(stream: UnixStream, router: Router, mut is_stopping: watch::Receiver<()>) {
    let who = match stream.peer_cred() {
        Ok(peer) => Who { uid: peer.uid(), name: user_name(peer.uid()) },
        Err(error) => return tracing::warn!(%error, "control: who asks is not known"),
    };
    let service = TowerToHyperService::new(router.layer(Extension(who)));
    let mut served = pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = &mut served => ended,
        _ = is_stopping.changed() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "control: connection ended early");
    }
}

/// What the system's list of users calls a user, if it does.
fn user_name(uid: u32) -> Option<String> {
    use io::Read;
    let mut text = String::new();
    fs::File::open("/etc/passwd").ok()?.take(USERS_BYTES_MAX).read_to_string(&mut text).ok()?;
    find_user(&text, uid)
}

fn find_user(passwd: &str, uid: u32) -> Option<String> {
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })?;
    let plain = name.len() <= Who::NAME_BYTES_MAX && !name.is_empty() && !name.contains(char::is_control);
    plain.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number_and_an_odd_name_is_passed_over() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nmia:x:1000:100::/home/mia:/bin/sh\n\u{1b}[2J:x:7:7:::\n";
        assert_eq!(find_user(passwd, 1000).as_deref(), Some("mia"));
        assert_eq!(find_user(passwd, 7), None);
        assert_eq!(find_user(passwd, 100), None);
    }
}
