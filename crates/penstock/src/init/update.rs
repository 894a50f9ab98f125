//! Where updates come in: `penstock_daemon::keeper::slots` has the language, here is the socket.
//!
//! A bundle is taken into memory, where nobody can change it any more, verified there, and written from there. It is refused
//! by its first block where it can be. One at a time; who dawdles is dropped, and the loop that looks after the box never waits.

use std::fs::{self, File, Permissions};
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use penstock_daemon::keeper::slots::{Doing, LINE_BYTES_MAX, Offer, Progress, Step, UPDATE_SOCKET, Updated};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};

use super::log::say;
use super::requests::Asker;
use super::slots::{Incoming, Slots, SlotsError};
use super::{DAEMON_ID, Error, socket};

/// How long the next piece of a bundle may take to come: a serial line brings 11 KiB a second.
const PIECE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an answer may take to go.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait before accepting again when the system is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// As much is read at once, in bytes.
const PIECE_BYTES: usize = 64 * 1024;
/// Connections at once. One of them updates; the others hear that.
const CONNECTIONS_MAX: usize = 4;
/// Steps on their way to who waits. More are left out.
const STEPS_MAX: usize = 16;

/// Takes updates from now on.
pub(super) fn listen(slots: &Arc<Slots>) -> Result<(), Error> {
    socket::make_directory()?;
    let make = || -> std::io::Result<UnixListener> {
        let listener = UnixListener::bind(UPDATE_SOCKET)?;
        chown(UPDATE_SOCKET, None, Some(DAEMON_ID))?;
        fs::set_permissions(UPDATE_SOCKET, Permissions::from_mode(0o660))?;
        Ok(listener)
    };
    let listener = make().map_err(|source| Error::File { path: UPDATE_SOCKET.into(), source })?;
    tokio::spawn(accept(listener, Arc::clone(slots)));
    Ok(())
}

async fn accept(listener: UnixListener, slots: Arc<Slots>) {
    let (free, one) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), Arc::new(Semaphore::new(1)));
    loop {
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (slots, one) = (Arc::clone(&slots), Arc::clone(&one));
                tokio::spawn(async move {
                    // Who does not get an answer sees the end of the stream.
                    let _ = serve(stream, &slots, &one).await;
                    drop(permit);
                });
            }
            Err(error) => {
                say(&format!("PS-I081: updates cannot be taken at the moment: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: UnixStream, slots: &Arc<Slots>, one: &Semaphore) -> std::io::Result<()> {
    let asker = Asker::of(stream.peer_cred()?.uid());
    let (reader, mut writer) = stream.into_split();
    let last = match (asker, one.try_acquire()) {
        // The daemon speaks with the network.
        (None | Some(Asker::Daemon), _) => Step::Refused(super::requests::not_allowed()),
        (Some(_), Err(_)) => Step::Refused(SlotsError::Busy.into()),
        (Some(asker), Ok(_one)) => {
            let came = receive(reader, slots).await;
            let ended = match came {
                Ok(bundle) => install(bundle, slots, &mut writer).await,
                Err(error) => Err(error),
            };
            slots.note_progress(None);
            let sentence = match &ended {
                Ok(Updated { software, slot, version }) => format!(
                    "{} {version} stands in slot {slot} and is tried with the next start",
                    software.name()
                ),
                Err(error) => format!("an update was not taken: {error}"),
            };
            slots.news().tell(&format!("{sentence}, as {} asked", asker.name()));
            slots.note_end(sentence);
            ended.map_or_else(|error| Step::Refused(error.into()), Step::Done)
        }
    };
    send(&mut writer, &last).await
}

async fn send(writer: &mut OwnedWriteHalf, step: &Step) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(step)?;
    line.push(b'\n');
    tokio::time::timeout(ANSWER_TIMEOUT, writer.write_all(&line)).await?
}

/// Takes a bundle into memory.
async fn receive(reader: OwnedReadHalf, slots: &Arc<Slots>) -> Result<Vec<u8>, SlotsError> {
    let unreadable = |error: std::io::Error| SlotsError::Unreadable(error.to_string());
    let in_time = |error: tokio::time::error::Elapsed| SlotsError::Unreadable(error.to_string());
    let mut reader = BufReader::with_capacity(PIECE_BYTES, reader);
    let mut line = Vec::new();
    let mut limited = (&mut reader).take(LINE_BYTES_MAX);
    let read = limited.read_until(b'\n', &mut line);
    tokio::time::timeout(PIECE_TIMEOUT, read).await.map_err(in_time)?.map_err(unreadable)?;
    let offer = serde_json::from_slice(&line).map_err(|error| SlotsError::Unreadable(error.to_string()))?;
    match offer {
        Offer::Device { path } => {
            let slots = Arc::clone(slots);
            let read = tokio::task::spawn_blocking(move || read_device(Path::new(&path), &slots));
            read.await.map_err(|error| SlotsError::Unreadable(error.to_string()))?
        }
        Offer::Stream => {
            let mut incoming = Incoming::default();
            let mut piece = vec![0; PIECE_BYTES];
            while incoming.wants() > 0 {
                let wanted = incoming.wants().min(PIECE_BYTES);
                let read = reader.read(piece.get_mut(..wanted).unwrap_or_default());
                let len =
                    tokio::time::timeout(PIECE_TIMEOUT, read).await.map_err(in_time)?.map_err(unreadable)?;
                if len == 0 {
                    break;
                }
                take(slots, &mut incoming, piece.get(..len).unwrap_or_default())?;
            }
            incoming.finish()
        }
    }
}

/// Reads a bundle from the beginning of a disk. Who asks has not the right to, and gets none of it: only what is signed is
/// taken, and of anything else no more is told than that it is not.
fn read_device(path: &Path, slots: &Slots) -> Result<Vec<u8>, SlotsError> {
    let unreadable = |error: std::io::Error| SlotsError::Unreadable(error.to_string());
    let is_device = path.starts_with("/dev")
        && fs::metadata(path).map_err(unreadable)?.file_type().is_block_device()
        && fs::symlink_metadata(path).map_err(unreadable)?.file_type().is_block_device();
    if !is_device {
        return Err(SlotsError::Unreadable(format!("{} is no disk", path.display())));
    }
    let mut disk = File::open(path).map_err(unreadable)?;
    let mut incoming = Incoming::default();
    let mut piece = vec![0; PIECE_BYTES];
    while incoming.wants() > 0 {
        let wanted = incoming.wants().min(PIECE_BYTES);
        let len = disk.read(piece.get_mut(..wanted).unwrap_or_default()).map_err(unreadable)?;
        if len == 0 {
            break;
        }
        take(slots, &mut incoming, piece.get(..len).unwrap_or_default())?;
    }
    incoming.finish()
}

/// Takes a piece that has come.
fn take(slots: &Slots, incoming: &mut Incoming, piece: &[u8]) -> Result<(), SlotsError> {
    incoming.push(piece, |first| slots.check_first(first))?;
    let (done_bytes, all_bytes) = incoming.progress();
    slots.note_progress(Some(Progress { doing: Doing::Receiving, done_bytes, all_bytes }));
    Ok(())
}

/// Writes a bundle on a thread of its own, and says how far it is.
async fn install(
    bundle: Vec<u8>,
    slots: &Arc<Slots>,
    writer: &mut OwnedWriteHalf,
) -> Result<Updated, SlotsError> {
    let (tell, mut told) = mpsc::channel(STEPS_MAX);
    let writing = Arc::clone(slots);
    let done = tokio::task::spawn_blocking(move || {
        writing.update(&bundle, |progress| {
            // Who does not listen misses some.
            let _ = tell.try_send(progress);
        })
    });
    let mut listens = true;
    while let Some(progress) = told.recv().await {
        listens = listens && send(writer, &Step::Progress(progress)).await.is_ok();
    }
    done.await.map_err(|error| SlotsError::Flash(error.to_string()))?
}
