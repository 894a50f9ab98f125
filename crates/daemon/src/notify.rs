//! What the service manager is told: that we are ready, that we stop, that we live (sd_notify(3)).

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, error};

use crate::storage::Volumes;
use crate::{keeper, stop};

/// We serve.
pub(crate) fn ready() {
    tell("READY=1");
}

/// We have read again what we wrote on a volume.
pub(crate) fn volume_proven() {
    tell(keeper::VOLUME_PROVEN);
}

/// We are about to stop.
pub(crate) fn stopping() {
    tell("STOPPING=1");
}

/// Says that we live, as often as the service manager asks for, and only while a storage thread answers: where there are
/// two, a disk that is stuck is no reason to start again. That this runs shows that the runtime does.
pub(crate) async fn watchdog(volumes: Volumes, stopping: watch::Receiver<bool>) {
    let Some(limit) = watchdog_limit() else { return };
    let pings = async {
        loop {
            match tokio::time::timeout(limit / 2, volumes.live()).await {
                Ok(true) => tell("WATCHDOG=1"),
                _ => {
                    error!(
                        code = "PS-D241",
                        "no storage thread answers; the service manager will restart us"
                    );
                }
            }
            tokio::time::sleep(limit / 2).await;
        }
    };
    tokio::select! {
        () = pings => {}
        () = stop::signalled(stopping) => {}
    }
}

/// After how long without a sign of life we are restarted, if at all.
fn watchdog_limit() -> Option<Duration> {
    let for_us = std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
    let limit_us: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    (for_us && limit_us > 0).then(|| Duration::from_micros(limit_us))
}

/// Sends a message, if there is anybody to send it to.
fn tell(message: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let send = || {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(&name)?,
        };
        UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address)
    };
    if let Err(error) = send() {
        debug!(%error, message, "the service manager could not be told");
    }
}
