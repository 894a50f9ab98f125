//! The server on real sockets: for other mail servers, for people with `swaks`, for our own daemon.
//!
//! Its time runs `speed` times as fast as the wall's, so that every delay, limit and capacity is divided by it; what the
//! peers and the network need is not.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};

use crate::relay::Relay;
use crate::server::{Action, ConnectionId, Server};
use crate::tls::{Shown, Wire};
use crate::web;

/// How long the peer may leave our words unread.
const WRITE_MAX: Duration = Duration::from_secs(60);
/// How long the peer may take for a TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(30);
/// How long we read on after our last word, so that the peer sees it rather than a reset.
const LINGER: Duration = Duration::from_secs(2);
/// Between two tries to listen at an address that is taken.
const LISTEN_AGAIN: Duration = Duration::from_millis(200);

/// How to run it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where SMTP is spoken. Port 0: any.
    pub listen: SocketAddr,
    /// Where counters, status and control are served.
    pub http: Option<SocketAddr>,
    /// Who takes the reports for the outside.
    pub send_connector: Option<SocketAddr>,
    /// Its seconds in one of the wall's.
    pub speed: f64,
    /// For whatever is drawn.
    pub seed: u64,
    /// What its clock shows at the start, in seconds since 1970.
    pub epoch_s: i64,
    /// Commands, a line each, that are carried out before it starts.
    pub scenario: String,
}

/// For one connection's task.
#[derive(Debug)]
enum Out {
    Bytes(Vec<u8>),
    Encrypt,
    Close,
}

/// A running server. It ends with the last clone of this and its runtime.
#[derive(Clone, Debug)]
pub struct Model {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    began: Instant,
    speed: f64,
    /// Something may be due earlier than it was.
    timer: Notify,
    /// Where to listen, or whether, may have changed.
    door: Notify,
    relay: Option<Relay>,
    shown: Shown,
}

#[derive(Debug)]
struct State {
    server: Server,
    peers: BTreeMap<ConnectionId, mpsc::UnboundedSender<Out>>,
    address: SocketAddr,
    http: Option<SocketAddr>,
    /// What `tick` sleeps until, and what `accept` acts on.
    timer_ms: u64,
    door: (SocketAddr, bool),
}

impl Model {
    /// Starts it on the current tokio runtime.
    ///
    /// # Errors
    /// An address that cannot be listened at, or the line of the scenario that is no command.
    pub async fn start(options: Options) -> io::Result<Self> {
        let mut server = Server::new(options.seed, options.epoch_s);
        server
            .scenario(0, &options.scenario)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let web_listener = match options.http {
            Some(http) => Some(TcpListener::bind(http).await?),
            None => None,
        };
        let http = web_listener.as_ref().map(TcpListener::local_addr).transpose()?;
        let door = (address, server.accepts_connections());
        let state = State { server, peers: BTreeMap::new(), address, http, timer_ms: 0, door };
        let shared = Shared {
            state: Mutex::new(state),
            began: Instant::now(),
            speed: options.speed,
            timer: Notify::new(),
            door: Notify::new(),
            relay: options.send_connector.map(Relay::start),
            shown: Shown::default(),
        };
        let model = Self { shared: Arc::new(shared) };
        tokio::spawn(model.clone().accept(listener));
        tokio::spawn(model.clone().tick());
        if let Some(listener) = web_listener {
            tokio::spawn(web::serve(listener, model.clone()));
        }
        Ok(model)
    }

    /// Where it speaks SMTP now.
    pub fn address(&self) -> SocketAddr {
        self.state().address
    }

    /// Where it serves counters, status and control.
    pub fn http(&self) -> Option<SocketAddr> {
        self.state().http
    }

    /// Gives it a command.
    ///
    /// # Errors
    /// What the command should have been.
    pub fn command(&self, line: &str) -> Result<String, crate::CommandError> {
        let now_ms = self.now_ms();
        self.with(|server| server.command(now_ms, line))
    }

    /// Looks at the server at this moment, or does something to it.
    pub fn with<T>(&self, act: impl FnOnce(&mut Server) -> T) -> T {
        let now_ms = self.now_ms();
        let mut state = self.state();
        state.server.advance(now_ms);
        let result = act(&mut state.server);
        self.collect(&mut state);
        result
    }

    /// Its time.
    fn now_ms(&self) -> u64 {
        (self.shared.began.elapsed().as_secs_f64() * self.shared.speed * 1000.0) as u64
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in a handler of HTTP must not stop the mail.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands on what the server wants done.
    fn collect(&self, state: &mut State) {
        while let Some(action) = state.server.poll_action() {
            match action {
                Action::Send { connection, bytes } => {
                    if let Some(peer) = state.peers.get(&connection) {
                        // Its task may have ended; then the server hears of it at once.
                        let _ = peer.send(Out::Bytes(bytes));
                    }
                }
                Action::Encrypt { connection } => {
                    if let Some(peer) = state.peers.get(&connection) {
                        let _ = peer.send(Out::Encrypt);
                    }
                }
                Action::Close { connection } => {
                    if let Some(peer) = state.peers.remove(&connection) {
                        let _ = peer.send(Out::Close);
                    }
                }
                Action::Mail { to, bytes } => {
                    if let Some(relay) = &self.shared.relay {
                        relay.send(to, bytes);
                    }
                }
                Action::Move { address } => state.address = address,
            }
        }
        if state.server.next_event_ms() < state.timer_ms {
            self.shared.timer.notify_one();
        }
        let door = (state.address, state.server.accepts_connections());
        if door != state.door {
            state.door = door;
            self.shared.door.notify_one();
        }
    }

    /// Lets time pass for the server.
    async fn tick(self) {
        loop {
            let now_ms = self.now_ms();
            let due_ms = {
                let mut state = self.state();
                state.server.advance(now_ms);
                state.timer_ms = state.server.next_event_ms();
                self.collect(&mut state);
                state.timer_ms
            };
            let due = Duration::from_secs_f64(due_ms as f64 / 1000.0 / self.shared.speed);
            let left = due.saturating_sub(self.shared.began.elapsed());
            tokio::select! {
                () = tokio::time::sleep(left.max(Duration::from_millis(1))) => {}
                () = self.shared.timer.notified() => {}
            }
        }
    }

    /// Listens where and while the server does.
    async fn accept(self, first: TcpListener) {
        let mut listener = Some(first);
        loop {
            let (wanted, present) = self.state().door;
            let here = listener.as_ref().and_then(|listener| listener.local_addr().ok());
            if !present || here.is_some_and(|here| here != wanted) {
                listener = None;
            }
            if present && listener.is_none() {
                match TcpListener::bind(wanted).await {
                    Ok(new) => listener = Some(new),
                    Err(_) => tokio::time::sleep(LISTEN_AGAIN).await,
                }
                continue;
            }
            let next = async {
                match &listener {
                    Some(listener) => listener.accept().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                accepted = next => match accepted {
                    Ok((stream, source)) => self.open(stream, source),
                    // Out of descriptors, most likely.
                    Err(_) => tokio::time::sleep(LISTEN_AGAIN).await,
                },
                () = self.shared.door.notified() => {}
            }
        }
    }

    fn open(&self, stream: TcpStream, source: SocketAddr) {
        // Without it the connection works as well, only later.
        let _ = stream.set_nodelay(true);
        let (sender, receiver) = mpsc::unbounded_channel();
        let now_ms = self.now_ms();
        let mut state = self.state();
        if !state.server.accepts_connections() {
            return;
        }
        let connection = state.server.opened(now_ms, source.ip());
        state.peers.insert(connection, sender);
        self.collect(&mut state);
        drop(state);
        tokio::spawn(self.clone().converse(stream, connection, receiver));
    }

    /// Carries bytes between a peer and the server until one of them has enough.
    async fn converse(self, stream: TcpStream, id: ConnectionId, mut out: mpsc::UnboundedReceiver<Out>) {
        let mut buffer = vec![0; 16 * 1024];
        let mut wire = Wire::Plain(stream);
        // The peer has said its last word. What it had said before is still answered: Exim ends its direction with the QUIT
        // that it sends behind the final dot.
        let mut ended = false;
        loop {
            let (wants_input, owes_answer) = {
                let server = &self.state().server;
                (server.wants_input(id) && !ended, server.owes_answer(id))
            };
            if ended && !owes_answer && out.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                what = out.recv() => match what {
                    Some(Out::Bytes(bytes)) => {
                        let write = async {
                            wire.write_all(&bytes).await?;
                            wire.flush().await
                        };
                        let written = tokio::time::timeout(WRITE_MAX, write).await;
                        if !matches!(written, Ok(Ok(()))) {
                            break;
                        }
                    }
                    Some(Out::Encrypt) => match self.encrypt(wire).await {
                        Some(encrypted) => wire = encrypted,
                        None => return self.lost(id),
                    },
                    Some(Out::Close) | None => return say_goodbye(wire).await,
                },
                read = wire.read(&mut buffer), if wants_input => {
                    match read {
                        Ok(0) => ended = true,
                        Ok(len) => self.take(id, buffer.get(..len).unwrap_or_default()),
                        Err(_) => break,
                    }
                }
            }
        }
        self.lost(id);
    }

    /// The connection is no more.
    fn lost(&self, id: ConnectionId) {
        let now_ms = self.now_ms();
        self.state().peers.remove(&id);
        self.with(|server| server.closed(now_ms, id));
    }

    /// Does the handshake, with the certificate of this moment.
    async fn encrypt(&self, wire: Wire) -> Option<Wire> {
        let Wire::Plain(stream) = wire else { return None };
        let (host, certificate) = self.state().server.certificate()?;
        let handshake = self.shared.shown.encrypt(stream, &host, certificate);
        tokio::time::timeout(HANDSHAKE_MAX, handshake).await.ok()?.ok()
    }

    fn take(&self, connection: ConnectionId, bytes: &[u8]) {
        let now_ms = self.now_ms();
        self.with(|server| server.received(now_ms, connection, bytes));
    }
}

/// Ends our direction and lets the peer end its own: what it had sent and we had not read would otherwise cost it our
/// last words.
async fn say_goodbye(mut wire: Wire) {
    let read_on = async {
        if wire.shutdown().await.is_err() {
            return;
        }
        let mut buffer = vec![0; 16 * 1024];
        while wire.read(&mut buffer).await.is_ok_and(|len| len > 0) {}
    };
    // A peer that goes on talking is cut off.
    let _ = tokio::time::timeout(LINGER, read_on).await;
}

/// A server in a thread of its own, for tests and benches that are not asynchronous. It ends when it is dropped.
#[derive(Debug)]
pub struct Background {
    model: Model,
    stop: Arc<Notify>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Background {
    /// Starts one.
    ///
    /// # Errors
    /// As [`Model::start`].
    pub fn start(options: Options) -> io::Result<Self> {
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let run = || -> io::Result<()> {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    let model = Model::start(options).await?;
                    // Nobody to tell: nobody is waiting for it either.
                    let _ = tell.send(Ok(model));
                    stopped.notified().await;
                    Ok(())
                })
            };
            if let Err(error) = run() {
                let _ = tell.send(Err(error));
            }
        });
        let model = told.recv().map_err(|_| io::Error::other("the server's thread ended"))??;
        Ok(Self { model, stop, thread: Some(thread) })
    }
}

impl std::ops::Deref for Background {
    type Target = Model;

    fn deref(&self) -> &Model {
        &self.model
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            // If it panicked it has said so.
            let _ = thread.join();
        }
    }
}
