//! One connection to a next hop: bytes between the socket and the state machine, and how long each may take.

use std::future::{Future as _, poll_fn};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use penstock_release::Found;
use penstock_settings::{Client, HopAddress, HopHost};
use penstock_smtp::client::{Capabilities, Config, Event, Phase, Session};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::Sleep;

use super::Shared;
use super::evidence::{Cut, heard, phase};
use super::known::Known;
use crate::clock::{host_time, since};
use crate::tls::Stream;

/// What is read at once: replies are short.
const READ_BYTES: usize = 4 * 1024;
/// How long names may take to resolve. A resolver that is itself down must not look like a server that is slow.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection with its session.
#[derive(Debug)]
pub(super) struct Connection {
    /// Not there during a handshake, and after one that failed.
    stream: Option<Stream>,
    /// Large, and the connection is handed on from one to the next.
    session: Box<Session>,
    input: Vec<u8>,
    /// How much of `input` the session has taken.
    taken: usize,
    timer: Pin<Box<Sleep>>,
    timeouts: Client,
    stopping: watch::Receiver<bool>,
    opened: Instant,
    /// Since when it is idle.
    idle_since: Instant,
    /// When the last command went out.
    asked: Instant,
    /// Messages that it has carried.
    messages: u64,
    peer: SocketAddr,
    /// The text of its greeting.
    banner: String,
    /// What it offered in plain text: what a server offers once it is encrypted depends on whether that worked.
    extensions: String,
    /// What stays the same about its certificate when it is renewed; empty without TLS.
    certificate: Vec<u8>,
    /// What is known of the hop's recipients.
    known: Arc<Known>,
    /// One clone for each connection to the hop that is used or may be.
    counted: Option<Arc<()>>,
}

impl Connection {
    /// Connects to a hop and waits until it is ready for mail.
    pub(super) async fn open(
        address: &HopAddress,
        from: SourceAddresses,
        config: Config,
        timeouts: &Client,
        stopping: watch::Receiver<bool>,
        Shared { counted, known }: Shared,
    ) -> Result<Self, Option<Found>> {
        let opening = async {
            let stream = connect(address, from, host_time(timeouts.connect_timeout)).await?;
            // Commands are short and we wait for each answer. Where it cannot be set, it is only slower.
            let _ = stream.set_nodelay(true);
            let peer = stream.peer_addr()?;
            Ok((stream, peer))
        };
        let opened = opening.await.map_err(|error: io::Error| {
            let cut = if error.kind() == io::ErrorKind::TimedOut { Cut::TimedOut } else { Cut::Io(error) };
            cut.found(penstock_release::Phase::Connect, 0)
        });
        let (stream, peer) = opened?;
        let now = Instant::now();
        let mut connection = Self {
            stream: Some(Stream::Plain(stream)),
            session: Box::new(Session::new(config)),
            input: Vec::new(),
            taken: 0,
            timer: Box::pin(tokio::time::sleep(host_time(timeouts.reply_timeout))),
            timeouts: timeouts.clone(),
            stopping,
            opened: now,
            idle_since: now,
            asked: now,
            messages: 0,
            peer,
            banner: String::new(),
            extensions: String::new(),
            certificate: Vec::new(),
            known,
            counted: Some(counted),
        };
        connection.greet().await?;
        connection.extensions = connection.session.capabilities().keywords.as_str().to_owned();
        Ok(connection)
    }

    /// The TCP connection, for a handshake.
    pub(super) fn take_stream(&mut self) -> Option<Stream> {
        self.stream.take()
    }

    /// Goes on with the connection encrypted, by which the server is known from now on.
    pub(super) async fn encrypted(
        &mut self,
        stream: Stream,
        certificate: &[u8],
    ) -> Result<(), Option<Found>> {
        self.stream = Some(stream);
        self.certificate = certificate.to_vec();
        let started = self.session.tls_started();
        started.map_err(|error| Cut::Nonsense(error).found(penstock_release::Phase::Ehlo, 0))?;
        self.greet().await
    }

    /// The signal that ends everything.
    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.clone()
    }

    async fn greet(&mut self) -> Result<(), Option<Found>> {
        loop {
            let at = self.session.phase();
            match self.poll() {
                Event::NeedInput => {
                    let moved = self.progress().await;
                    moved.map_err(|cut| cut.found(phase(at), 0))?;
                }
                Event::Greeting(reply) => self.banner = reply.text.to_owned(),
                Event::Ready(_) => return Ok(()),
                Event::Refused { phase: at, reply } => {
                    return Err(Some(Found::reply(phase(at), heard(reply), 0)));
                }
                Event::Broken { phase: at, error } => {
                    return Err(Cut::Nonsense(error).found(phase(at), 0));
                }
                Event::Closed => return Err(Cut::Eof.found(phase(at), 0)),
                // Nothing else comes before the first transaction.
                _ => {}
            }
        }
    }

    /// What the server has shown of itself.
    pub(super) fn greeting(&self) -> penstock_release::Greeting<'_> {
        let (banner, extensions) = (&self.banner, &self.extensions);
        penstock_release::Greeting { banner, extensions, certificate: &self.certificate }
    }

    /// What it offers.
    pub(super) fn capabilities(&self) -> &Capabilities {
        self.session.capabilities()
    }

    /// What is known of the hop's recipients.
    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    /// What the session makes of the input that is there.
    pub(super) fn poll(&mut self) -> Event<'_> {
        let mut rest = self.input.get(self.taken..).unwrap_or_default();
        let before = rest.len();
        let event = self.session.poll(&mut rest);
        self.taken += before - rest.len();
        event
    }

    pub(super) fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Sends or receives something, whichever comes first, within the time that the phase has.
    pub(super) async fn progress(&mut self) -> Result<(), Cut> {
        let limit = self.time_limit();
        self.timer.as_mut().reset(tokio::time::Instant::now() + host_time(limit));
        poll_fn(|context| self.poll_progress(context)).await
    }

    fn poll_progress(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(Cut::Eof)) };
        if !self.session.output().is_empty()
            && let Poll::Ready(written) = Pin::new(&mut *stream).poll_write(context, self.session.output())
        {
            return Poll::Ready(written.map_err(Cut::Io).map(|written| {
                self.session.sent(written);
                self.asked = Instant::now();
            }));
        }
        // What is encrypted may still wait in memory. Whether it all went is of no interest: the answer comes when it did.
        if let Poll::Ready(Err(error)) = Pin::new(stream).poll_flush(context) {
            return Poll::Ready(Err(Cut::Io(error)));
        }
        if let Poll::Ready(read) = self.poll_read(context) {
            return Poll::Ready(read);
        }
        // Once the server may have the message, its answer is worth waiting for.
        if *self.stopping.borrow() && !self.session.final_dot_sent() {
            return Poll::Ready(Err(Cut::Stopping));
        }
        self.timer.as_mut().poll(context).map(|()| Err(Cut::TimedOut))
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        self.input.drain(..self.taken);
        self.taken = 0;
        let mut buffer = [0; READ_BYTES];
        let mut buffer = ReadBuf::new(&mut buffer);
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(Cut::Eof)) };
        Pin::new(stream).poll_read(context, &mut buffer).map(|read| {
            read.map_err(Cut::Io)?;
            if buffer.filled().is_empty() {
                return Err(Cut::Eof);
            }
            self.input.extend_from_slice(buffer.filled());
            Ok(())
        })
    }

    fn time_limit(&self) -> Duration {
        let timeouts = &self.timeouts;
        match self.session.phase() {
            Phase::Greeting
            | Phase::Ehlo
            | Phase::StartTls
            | Phase::Mail
            | Phase::Rcpt
            | Phase::Reset
            | Phase::Idle => timeouts.reply_timeout,
            Phase::Data => timeouts.data_timeout,
            Phase::Body => timeouts.block_timeout,
            Phase::FinalDot if self.session.output().is_empty() => timeouts.final_timeout,
            Phase::FinalDot => timeouts.block_timeout,
            // Nobody needs the answer to QUIT.
            Phase::Quit | Phase::Over => Duration::from_secs(2),
        }
    }

    /// How long ago the last command went out, in ms.
    pub(super) fn asked_ms_ago(&self) -> u64 {
        u64::try_from(since(self.asked).as_millis()).unwrap_or(u64::MAX)
    }

    /// A message was carried to its end.
    pub(super) fn carried(&mut self) {
        self.messages += 1;
    }

    /// Whether it has carried a message before: the server may then have closed it meanwhile.
    pub(super) fn is_used(&self) -> bool {
        self.messages > 0
    }

    /// Whether another message may begin on it.
    pub(super) fn is_fresh(&self) -> bool {
        self.session.phase() == Phase::Idle && since(self.opened) < self.timeouts.session_age_max
    }

    pub(super) fn set_idle(&mut self) {
        self.idle_since = Instant::now();
    }

    pub(super) fn idle_for(&self) -> Duration {
        since(self.idle_since)
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Ends the session politely, if it can be ended so.
    pub(super) async fn quit(mut self) {
        // Lest others are ended for this one's sake.
        self.counted = None;
        if self.session.quit().is_err() {
            return;
        }
        loop {
            match self.poll() {
                Event::Closed => break,
                Event::NeedInput => {}
                _ => continue,
            }
            if self.progress().await.is_err() {
                break;
            }
        }
        if let Some(stream) = &mut self.stream {
            stream.close().await;
        }
    }
}

/// From which addresses of ours a next hop is connected to, one of each family; where there is none the kernel chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SourceAddresses {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

impl SourceAddresses {
    /// The first that there is of each family.
    pub(crate) fn first_of_each_family(addresses: impl Iterator<Item = IpAddr>) -> Self {
        let mut first = Self::default();
        for address in addresses {
            match address {
                IpAddr::V4(address) => first.v4 = first.v4.or(Some(address)),
                IpAddr::V6(address) => first.v6 = first.v6.or(Some(address)),
            }
        }
        first
    }

    /// A socket towards an address, from the address of its family.
    fn socket_towards(self, peer: SocketAddr) -> io::Result<TcpSocket> {
        let (socket, from) = match peer {
            SocketAddr::V4(_) => (TcpSocket::new_v4()?, self.v4.map(IpAddr::V4)),
            SocketAddr::V6(_) => (TcpSocket::new_v6()?, self.v6.map(IpAddr::V6)),
        };
        if let Some(from) = from {
            let named = |error: io::Error| {
                io::Error::new(error.kind(), format!("cannot connect from {from}: {error}"))
            };
            socket.bind(SocketAddr::new(from, 0)).map_err(named)?;
        }
        Ok(socket)
    }
}

/// A TCP connection to the first address that answers.
pub(crate) async fn connect(
    address: &HopAddress,
    from: SourceAddresses,
    timeout: Duration,
) -> io::Result<TcpStream> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let addresses: Vec<SocketAddr> = match &address.host {
        HopHost::Ip(ip) => vec![SocketAddr::new(*ip, address.port)],
        HopHost::Name(name) => {
            let lookup = tokio::net::lookup_host((name.as_str(), address.port));
            tokio::time::timeout(RESOLVE_TIMEOUT, lookup).await.map_err(late)??.collect()
        }
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        let connecting = async { from.socket_towards(address)?.connect(address).await };
        match tokio::time::timeout(timeout, connecting).await.map_err(late) {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) | Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> SourceAddresses {
        SourceAddresses::first_of_each_family(list.iter().map(|address| address.parse().unwrap()))
    }

    #[tokio::test]
    async fn a_next_hop_sees_the_address_that_was_set() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let hop = HopAddress { host: HopHost::Ip(Ipv4Addr::LOCALHOST.into()), port };
        let seen_from = async |from: SourceAddresses| {
            let _stream = connect(&hop, from, Duration::from_secs(10)).await?;
            Ok::<_, io::Error>(listener.accept().await?.1.ip().to_string())
        };
        assert_eq!(seen_from(addresses(&["::1", "127.0.0.7", "127.0.0.8"])).await.unwrap(), "127.0.0.7");
        assert_eq!(seen_from(addresses(&["::1"])).await.unwrap(), "127.0.0.1", "of the other family");
        let error = seen_from(addresses(&["192.0.2.77"])).await.unwrap_err();
        assert!(error.to_string().contains("from 192.0.2.77"), "{error}");
    }
}
