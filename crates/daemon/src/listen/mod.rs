//! The side that takes mail: sockets, limits, sessions.

mod intake;
mod limits;
mod pace;
mod report;
mod session;
mod through;
mod trace;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use penstock_settings::{BareNewlines, Settings};
use penstock_smtp::server;
use penstock_smtp::{Reply, replies};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tracing::warn;

use crate::Error;
use crate::clock::Clock;
use crate::deliver::Delivery;
use crate::log::Lines;
use crate::metrics::Metrics;
use crate::storage::Volumes;
use limits::{Crowded, Limits};

/// Connections that the kernel holds until we take them.
const BACKLOG: u32 = 1024;
/// How long to wait after accepting failed, as it does when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How often it is looked whether the last session has ended. Only while the daemon stops.
const EMPTY_POLL: Duration = Duration::from_millis(20);

/// What all sessions share.
pub(crate) struct Listening {
    settings: Arc<Settings>,
    config: server::Config,
    clock: Arc<Clock>,
    metrics: Arc<Metrics>,
    volumes: Volumes,
    /// Who waits for reports on canaries.
    delivery: Arc<Delivery>,
    limits: Arc<Limits>,
    /// One line for each message, as long as they are not too many.
    lines: Lines,
    /// One for each connection that is refused, likewise.
    crowd_lines: Lines,
    stopping: watch::Receiver<bool>,
}

impl Listening {
    /// # Errors
    /// [`Error::Settings`] if the host name cannot stand in a greeting.
    pub(crate) fn new(
        settings: Arc<Settings>,
        clock: Arc<Clock>,
        metrics: Arc<Metrics>,
        volumes: Volumes,
        delivery: Arc<Delivery>,
        stopping: watch::Receiver<bool>,
    ) -> Result<Arc<Self>, Error> {
        let mut config = config(&settings)?;
        config.starttls = delivery.tls().serving().is_offered();
        let limits = Limits::new(settings.listen.clone());
        Ok(Arc::new(Self {
            settings,
            config,
            clock,
            metrics,
            volumes,
            delivery,
            limits,
            lines: Lines::default(),
            crowd_lines: Lines::default(),
            stopping,
        }))
    }

    /// How many sessions there are.
    pub(crate) fn sessions(&self) -> u32 {
        self.limits.sessions()
    }

    /// Waits until the last session has ended.
    pub(crate) async fn wait_until_empty(&self) {
        while self.sessions() > 0 {
            tokio::time::sleep(EMPTY_POLL).await;
        }
    }

    fn host_name(&self) -> &str {
        self.config.host_name.as_str()
    }

    /// What a session with this client offers. Of what only passes through the box, no more than the next hops take.
    fn config_for(&self, client: IpAddr) -> server::Config {
        let takes = self.delivery.takes();
        server::Config {
            size_bytes_max: takes.size_bytes_max(self.config.size_bytes_max),
            eight_bit_mime: takes.eight_bit_mime,
            smtp_utf8: takes.smtp_utf8,
            dsn: takes.dsn,
            binary_mime: takes.binary_mime,
            etrn: self.settings.listen.etrn_from.iter().any(|network| network.contains(client)),
            ..self.config.clone()
        }
    }

    /// What a client is told when the log does not take its message. Always 4xx: nothing that is wrong with us is the
    /// sender's fault.
    fn refusal(&self, error: penstock_spool::Error) -> Reply<'static> {
        use penstock_spool::Error as Spool;
        match error {
            Spool::Full | Spool::TooManyMessages => {
                self.metrics.refused_full.add(1);
                replies::STORAGE_FULL
            }
            Spool::ReadOnly | Spool::Write(_) | Spool::Stale => {
                self.metrics.refused_failure.add(1);
                replies::STORAGE_FULL
            }
            other => {
                warn!(code = other.code(), error = %other, "a message cannot be stored");
                self.metrics.refused_failure.add(1);
                replies::LOCAL_ERROR
            }
        }
    }
}

fn config(settings: &Settings) -> Result<server::Config, Error> {
    let mut config = server::Config::new(settings.system.hostname.as_str())
        .map_err(|error| Error::Settings(format!("system.hostname: {error}")))?;
    let listen = &settings.listen;
    config.size_bytes_max = listen.size_max.0;
    config.recipients_max = listen.recipients_max;
    config.transactions_max = Some(listen.session_messages_max).filter(|max| *max > 0);
    config.errors_max = listen.protocol_errors_max;
    config.bare_newlines = match listen.bare_newlines {
        BareNewlines::Refuse => server::BareNewlines::Refuse,
        BareNewlines::Keep => server::BareNewlines::Keep,
    };
    Ok(config)
}

/// Takes an address to listen on.
///
/// # Errors
/// [`Error::Listen`].
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    let bound = || -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restart must not wait for connections of the process before it to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|source| Error::Listen { address, source })
}

/// Accepts connections until it is told to stop.
pub(crate) async fn accept(listener: TcpListener, listening: Arc<Listening>) {
    let mut stopping = listening.stopping.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        match accepted {
            Ok((stream, client)) => admit(stream, client, &listening),
            // It went away before we took it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                warn!(code = "PS-D221", %error, "cannot accept a connection; raise the limit on open files if it is that");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(stream: TcpStream, client: SocketAddr, listening: &Arc<Listening>) {
    listening.metrics.sessions.add(1);
    match listening.limits.enter(client.ip()) {
        Ok(place) => {
            // Replies are short and the client waits for each of them. Where it cannot be set, it is only slower.
            let _ = stream.set_nodelay(true);
            tokio::spawn(session::serve(stream, client, Arc::clone(listening), place));
        }
        Err(crowded) => {
            listening.metrics.sessions_refused.add(1);
            if let Some(untold) = listening.crowd_lines.take() {
                let (code, what) = match crowded {
                    Crowded::Total => ("PS-D222", "all sessions are in use: raise listen.connections_max?"),
                    Crowded::Source => {
                        ("PS-D223", "a client has its share of the sessions: is it a front to be trusted?")
                    }
                };
                warn!(code, client = %client.ip(), untold, "connection refused with 421; {what}");
            }
            // The buffer of a new socket takes this at once; if not, the client sees a close, which means the same.
            let _ = stream.try_write(format!("{}\r\n", replies::CONNECTIONS_MAX).as_bytes());
        }
    }
}
