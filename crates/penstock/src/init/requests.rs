//! What the daemon and the console ask of the first process: `penstock_daemon::keeper` has the language, here is the socket.
//!
//! The kernel says who is at the other end, and [`may`] which of them may ask what. A connection that dawdles or talks too
//! much is dropped, and never holds up the loop that looks after the box.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::sync::Arc;
use std::time::Duration;

use penstock_daemon::control::types::ErrorBody;
use penstock_daemon::keeper::{MESSAGE_BYTES_MAX, Request, SOCKET, Said};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::log::say;
use super::{CONSOLE_ID, DAEMON_ID, Error, socket};

/// Connections at once; more wait in the kernel.
const CONNECTIONS_MAX: usize = 8;
/// How long a request may take to come, and an answer to go.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait before accepting again when the system is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Somebody who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    Root,
    Daemon,
    Console,
}

impl Asker {
    pub(super) fn of(uid: u32) -> Option<Self> {
        match uid {
            0 => Some(Self::Root),
            DAEMON_ID => Some(Self::Daemon),
            CONSOLE_ID => Some(Self::Console),
            _ => None,
        }
    }

    /// The name under which it stands in the ledger.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Daemon => "penstock",
            Self::Console => "console",
        }
    }
}

/// Whether this one may ask that. The daemon speaks with the network, so it may only pass on what an operator wants of the
/// settings, which are tried before they are kept and are in the ledger, and hear what the ledger is to say of the box;
/// everything else needs somebody at the box.
fn may(asker: Asker, request: &Request) -> bool {
    match request {
        Request::Settings | Request::Try { .. } => true,
        // What is fetched is gone: it goes to who writes it down.
        Request::News => asker == Asker::Daemon,
        _ => asker != Asker::Daemon,
    }
}

/// What who may not hears.
pub(super) fn not_allowed() -> ErrorBody {
    ErrorBody {
        code: "PS-I082".into(),
        message: "that may be asked at the console only".into(),
        help: String::new(),
    }
}

/// A request with the way back.
pub(super) struct Asked {
    pub(super) asker: Asker,
    pub(super) request: Request,
    answer: oneshot::Sender<Vec<u8>>,
}

impl Asked {
    /// Takes it apart: whoever answers must do so once.
    pub(super) fn split(self) -> (Asker, Request, Answer) {
        (self.asker, self.request, Answer(self.answer))
    }
}

/// The way back.
pub(super) struct Answer(oneshot::Sender<Vec<u8>>);

impl Answer {
    /// Says what came of it.
    pub(super) fn give<T: Serialize>(self, said: Result<T, ErrorBody>) {
        let said = match said {
            Ok(answer) => Said::Well(answer),
            Err(why) => Said::Refused(why),
        };
        // Nothing of this can fail to be written as JSON; who has gone is past caring.
        let _ = self.0.send(serde_json::to_vec(&said).unwrap_or_default());
    }
}

/// The requests that come in.
pub(super) struct Requests(mpsc::Receiver<Asked>);

impl Requests {
    /// Listens. The service and the console belong to one group, whose members may connect.
    pub(super) fn bind() -> Result<Self, Error> {
        socket::make_directory()?;
        let make = || -> std::io::Result<UnixListener> {
            let listener = UnixListener::bind(SOCKET)?;
            chown(SOCKET, None, Some(DAEMON_ID))?;
            fs::set_permissions(SOCKET, Permissions::from_mode(0o660))?;
            Ok(listener)
        };
        let listener = make().map_err(|source| Error::File { path: SOCKET.into(), source })?;
        let (ask, asked) = mpsc::channel(1);
        tokio::spawn(accept(listener, ask));
        Ok(Self(asked))
    }

    /// The next request that its asker may make.
    pub(super) async fn next(&mut self) -> Asked {
        match self.0.recv().await {
            Some(asked) => asked,
            None => std::future::pending().await,
        }
    }
}

async fn accept(listener: UnixListener, ask: mpsc::Sender<Asked>) {
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let ask = ask.clone();
                tokio::spawn(async move {
                    // Who does not get an answer sees the end of the stream.
                    let _ = serve(stream, &ask).await;
                    drop(permit);
                });
            }
            Err(error) => {
                say(&format!("PS-I081: requests cannot be taken at the moment: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: UnixStream, ask: &mpsc::Sender<Asked>) -> std::io::Result<()> {
    let asker = Asker::of(stream.peer_cred()?.uid());
    let (reader, mut writer) = stream.into_split();
    let mut text = Vec::new();
    tokio::time::timeout(STEP_TIMEOUT, reader.take(MESSAGE_BYTES_MAX).read_to_end(&mut text)).await??;
    let request: Request = serde_json::from_slice(&text)?;
    let (answer, answered) = oneshot::channel();
    let answer = Answer(answer);
    match asker.filter(|asker| may(*asker, &request)) {
        Some(asker) => {
            let asked = Asked { asker, request, answer: answer.0 };
            if ask.send(asked).await.is_err() {
                return Ok(());
            }
        }
        None => answer.give(Err::<(), _>(not_allowed())),
    }
    let Ok(answer) = answered.await else { return Ok(()) };
    tokio::time::timeout(STEP_TIMEOUT, writer.write_all(&answer)).await?
}

#[cfg(test)]
mod tests {
    use penstock_daemon::keeper::slots::Software;
    use penstock_daemon::keeper::{How, Reset};

    use super::*;

    #[test]
    fn the_service_may_pass_on_settings_and_hear_what_the_ledger_is_to_say_and_nothing_else() {
        let its = [Request::Settings, Request::Try { text: String::new(), by: String::new() }];
        let others = [
            Request::Start,
            Request::Attended,
            Request::Network { text: String::new(), even_if_taken: false },
            Request::NetworkBack,
            Request::End { how: How::Off },
            Request::Slots,
            Request::Verify,
            Request::MarkGood,
            Request::RollBack { software: Software::System },
            Request::Reset { what: Reset::Settings, serial: String::new() },
        ];
        for request in &its {
            assert!(may(Asker::Daemon, request) && may(Asker::Console, request));
        }
        for request in &others {
            assert!(!may(Asker::Daemon, request) && may(Asker::Console, request), "{request:?}");
        }
        let hear = |asker| may(asker, &Request::News);
        assert!(hear(Asker::Daemon) && !hear(Asker::Console) && !hear(Asker::Root));
        assert_eq!(
            [0, DAEMON_ID, CONSOLE_ID, 1000].map(Asker::of).map(|asker| asker.is_some()),
            [true, true, true, false]
        );
    }
}
