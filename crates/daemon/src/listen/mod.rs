//! The side that takes mail: sockets, limits, sessions.

mod intake;
mod limits;
mod pace;
mod report;
mod resources;
mod session;
mod through;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use penstock_settings::{Network, Settings};
use penstock_smtp::server;
use penstock_smtp::{Reply, replies};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tracing::warn;

use crate::Error;
use crate::authenticity::Authenticity;
use crate::clock::Clock;
use crate::deliver::Delivery;
use crate::dns::Dns;
use crate::ledger::Notes;
use crate::log::Lines;
use crate::metrics::Metrics;
use crate::policy::Policy;
use crate::storage::Volumes;
use limits::{Admitted, Limits, Refused, Source};

pub(crate) use limits::{Limit, Shortage, SourceFigures, raise_descriptors};
pub(crate) use resources::watch_resources;

/// Connections that the kernel holds until we take them.
const BACKLOG: u32 = 1024;
/// How long to wait after accepting failed, as it does when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// So many idle sessions have to make room then.
const SHED_AFTER_ERROR: usize = 8;
/// What to do when one address stands for everybody.
pub(crate) const GATEWAY_HELP: &str = "a filter in front belongs into listen.trusted_fronts; a firewall should leave \
    senders their addresses (destination NAT only)";

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
    dns: Arc<Dns>,
    authenticity: Arc<Authenticity>,
    notes: Arc<Notes>,
    /// What is said to recipients.
    policy: Arc<Policy>,
    limits: Arc<Limits>,
    /// One line for each message, as long as they are not too many.
    lines: Lines,
    /// One for each source that is refused, likewise.
    source_lines: Lines,
    /// One a minute while all sessions are in use, and while none can be accepted.
    full_lines: Lines,
    accept_lines: Lines,
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
        (dns, authenticity, notes, policy): (Arc<Dns>, Arc<Authenticity>, Arc<Notes>, Arc<Policy>),
        stopping: watch::Receiver<bool>,
    ) -> Result<Arc<Self>, Error> {
        let mut config = config(&settings)?;
        config.starttls = delivery.tls().serving().is_offered();
        let limits = Limits::new(&settings);
        Ok(Arc::new(Self {
            settings,
            config,
            clock,
            metrics,
            volumes,
            delivery,
            dns,
            authenticity,
            notes,
            policy,
            limits,
            lines: Lines::default(),
            source_lines: Lines::default(),
            full_lines: Lines::seldom(),
            accept_lines: Lines::seldom(),
            stopping,
        }))
    }

    /// How many clients hold what.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Waits until the last session has ended.
    pub(crate) async fn wait_until_empty(&self) {
        while self.limits.places() > 0 {
            tokio::time::sleep(EMPTY_POLL).await;
        }
    }

    /// Who is asked for names.
    pub(crate) fn dns(&self) -> &Arc<Dns> {
        &self.dns
    }

    fn host_name(&self) -> &str {
        self.config.host_name.as_str()
    }

    /// What a client is told that has too much of something, or may not come at all; in the log once for each source.
    fn too_much(&self, refused: Refused, client: SocketAddr) -> Reply<'static> {
        let metrics = &self.metrics;
        match refused {
            Refused::Network { .. } => metrics.sessions_not_allowed.add(1),
            Refused::Full | Refused::Short(_) | Refused::Source { limit: Limit::Connections, .. } => {
                metrics.sessions_refused.add(1);
            }
            Refused::Source { .. } | Refused::TooFast => metrics.refused_rate.add(1),
        }
        match refused {
            Refused::Network { untold: true } => self.tell_of(Source::of(client.ip()), Limit::Network),
            Refused::Source { source, limit, untold: true } => self.tell_of(source, limit),
            Refused::Full => self.tell_full("refused with 421, nobody else had to make room"),
            // The others were told, or are told by whoever looks at the machine.
            _ => {}
        }
        self.limits.reply(refused)
    }

    fn tell_of(&self, source: Source, limit: Limit) {
        let Some(untold) = self.source_lines.take() else { return };
        let (code, what) = match limit {
            Limit::Network => (
                "PS-D224",
                "it comes from none of listen.allowed and is sent away: is it a new range of the filter in front?",
            ),
            Limit::Connections => {
                ("PS-D223", "it has its share of the sessions: is it a front to be trusted?")
            }
            Limit::Errors => ("PS-D226", "it makes too many mistakes and is sent away until it is quiet"),
            Limit::Messages | Limit::Recipients | Limit::Space => {
                ("PS-D226", "it sends too much at once and is put off: is it a front to be trusted?")
            }
        };
        warn!(code, %source, limit = limit.as_str(), untold, "a source came to a limit; {what}");
    }

    fn tell_full(&self, what: &str) {
        if let Some(untold) = self.full_lines.take() {
            warn!(
                code = "PS-D222",
                untold,
                "all sessions are in use: {what}. `penstock clients` tells whose they are; raise \
                 listen.connections_max?"
            );
        }
    }

    /// What a session with this client offers. Of what only passes through the box, no more than the next hops take.
    fn config_for(&self, client: IpAddr) -> server::Config {
        let takes = self.delivery.takes();
        let listed = |networks: &[Network]| networks.iter().any(|network| network.contains(client));
        let bare_newlines = if listed(&self.settings.listen.bare_newlines_from) {
            server::BareNewlines::Normalise
        } else {
            server::BareNewlines::Refuse
        };
        server::Config {
            bare_newlines,
            size_bytes_max: takes.size_bytes_max(self.config.size_bytes_max),
            eight_bit_mime: takes.eight_bit_mime,
            smtp_utf8: takes.smtp_utf8,
            dsn: takes.dsn,
            binary_mime: takes.binary_mime,
            etrn: listed(&self.settings.listen.etrn_from),
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
                // If it is for lack of descriptors, idle sessions have some.
                let ended = listening.limits.shed(SHED_AFTER_ERROR);
                listening.metrics.sessions_displaced.add(ended as u64);
                if let Some(untold) = listening.accept_lines.take() {
                    warn!(
                        code = "PS-D221",
                        %error,
                        untold,
                        "cannot accept a connection; raise the limit on open files if it is that"
                    );
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(stream: TcpStream, client: SocketAddr, listening: &Arc<Listening>) {
    listening.metrics.sessions.add(1);
    match listening.limits.enter(client.ip()) {
        Ok(Admitted { place, displaced, gateway }) => {
            if displaced {
                listening.metrics.sessions_displaced.add(1);
                listening.tell_full("idle ones make room for those who come");
            }
            if let Some(source) = gateway {
                warn!(code = "PS-D225", %source, "nearly all connections come from one address, and limits per source hold for all senders together: {GATEWAY_HELP}");
            }
            // Replies are short and the client waits for each of them. Where it cannot be set, it is only slower.
            let _ = stream.set_nodelay(true);
            tokio::spawn(session::serve(stream, client, Arc::clone(listening), place));
        }
        Err(refused) => {
            let reply = listening.too_much(refused, client);
            // The buffer of a new socket takes this at once; if not, the client sees a close, which means the same.
            let _ = stream.try_write(format!("{reply}\r\n").as_bytes());
        }
    }
}
