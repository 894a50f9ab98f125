//! An encrypted session of a client that has no buffers while it is idle.
//!
//! `rustls` is driven without its own buffers: what comes is read into one that all sessions of the thread share, and only
//! the beginning of a record whose rest is on its way, or what the socket does not take, is kept.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The longest record there is has 16 KiB and 2 KiB of overhead (RFC 5246 section 6.2.3), and the first message of a client may
/// come in several.
const SCRATCH_BYTES: usize = 32 * 1024;
/// What is encrypted at once: a record.
const RECORD_BYTES: usize = 16 * 1024;
/// More than a record is longer than what is in it.
const OVERHEAD_BYTES: usize = 128;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// The session.
pub(crate) struct Session {
    stream: TcpStream,
    tls: UnbufferedServerConnection,
    /// What came and is no whole record yet.
    incoming: Vec<u8>,
    /// What was decrypted and not taken.
    plain: Vec<u8>,
    /// What was encrypted and not sent.
    outgoing: Vec<u8>,
    /// The client has ended it.
    ended: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// What is to be done while records are looked at.
enum Job<'j> {
    Read,
    Write(&'j [u8]),
    Close,
}

impl Session {
    /// Does the server's side of a handshake.
    ///
    /// # Errors
    /// What is wrong with the client's, of which it was told as far as that goes.
    pub(super) async fn accept(config: Arc<ServerConfig>, stream: TcpStream) -> io::Result<Self> {
        let tls = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        let (incoming, plain, outgoing) = (Vec::new(), Vec::new(), Vec::new());
        let mut session = Self { stream, tls, incoming, plain, outgoing, ended: false };
        poll_fn(|context| session.poll_handshake(context)).await?;
        Ok(session)
    }

    fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_send(context))?;
            if !self.tls.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if self.ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            if let Err(error) = ready!(self.poll_receive(context)) {
                // Why, if it takes it.
                let _ = self.poll_send(context);
                return Poll::Ready(Err(error));
            }
        }
    }

    /// Reads what there is, and decrypts what is whole.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let held = self.incoming.len();
            let Some(room) = scratch.get_mut(held..).filter(|room| !room.is_empty()) else {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long")));
            };
            let mut room = ReadBuf::new(room);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut room))?;
            let read = room.filled().len();
            if read == 0 {
                self.ended = true;
                return Poll::Ready(Ok(()));
            }
            scratch[..held].copy_from_slice(&self.incoming);
            self.incoming = Vec::new();
            let whole = &mut scratch[..held + read];
            let used = self.process(whole, &Job::Read)?;
            self.incoming = whole[used..].to_vec();
            Poll::Ready(Ok(()))
        })
    }

    /// Looks at records, and does a job when they allow it. How many bytes of them are used up.
    fn process(&mut self, input: &mut [u8], job: &Job<'_>) -> io::Result<usize> {
        let Self { tls, plain, outgoing, ended, .. } = self;
        let mut used = 0;
        loop {
            let rest = input.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state, .. } = tls.process_tls_records(rest);
            let state = match state {
                Ok(state) => state,
                Err(error) => {
                    // What the client is told of it. With the same bytes: what rustls has begun with it looks for there.
                    let rest = input.get_mut(used..).unwrap_or_default();
                    if let Ok(ConnectionState::EncodeTlsData(data)) = tls.process_tls_records(rest).state {
                        let _ = encode(data, outgoing);
                    }
                    return Err(invalid(error));
                }
            };
            let goes_on = match state {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(invalid)?;
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                    true
                }
                ConnectionState::EncodeTlsData(data) => {
                    encode(data, outgoing)?;
                    true
                }
                ConnectionState::TransmitTlsData(data) => {
                    // What follows goes behind it.
                    data.done();
                    true
                }
                ConnectionState::PeerClosed => {
                    *ended = true;
                    true
                }
                ConnectionState::WriteTraffic(traffic) => {
                    put(traffic, job, outgoing)?;
                    false
                }
                ConnectionState::BlockedHandshake => false,
                // It is over, or something that was not asked for.
                _ if matches!(job, Job::Write(_)) => return Err(io::ErrorKind::BrokenPipe.into()),
                _ => false,
            };
            used += discard;
            if !goes_on {
                return Ok(used);
            }
        }
    }

    /// The same with what came before.
    fn process_held(&mut self, job: &Job<'_>) -> io::Result<()> {
        let mut held = std::mem::take(&mut self.incoming);
        let used = self.process(&mut held, job)?;
        held.drain(..used);
        self.incoming = held;
        Ok(())
    }

    /// Sends what is encrypted.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.outgoing))?;
            self.outgoing.drain(..sent);
        }
        // An idle session has no buffer.
        self.outgoing = Vec::new();
        Poll::Ready(Ok(()))
    }
}

/// Puts a message of the handshake, or an alert, behind what is to be sent.
fn encode<D>(mut data: EncodeTlsData<'_, D>, outgoing: &mut Vec<u8>) -> io::Result<()> {
    let at = outgoing.len();
    match data.encode(&mut []) {
        Ok(_) => return Ok(()),
        Err(EncodeError::InsufficientSize(needs)) => outgoing.resize(at + needs.required_size, 0),
        Err(error) => return Err(io::Error::other(error)),
    }
    data.encode(&mut outgoing[at..]).map(drop).map_err(io::Error::other)
}

/// Does what the session allows now: encrypts, or says that nothing follows.
fn put<D>(mut traffic: WriteTraffic<'_, D>, job: &Job<'_>, outgoing: &mut Vec<u8>) -> io::Result<()> {
    let at = outgoing.len();
    let room = match job {
        Job::Read => return Ok(()),
        Job::Write(bytes) => bytes.len() + OVERHEAD_BYTES,
        Job::Close => OVERHEAD_BYTES,
    };
    outgoing.resize(at + room, 0);
    let written: Result<usize, EncryptError> = match job {
        Job::Write(bytes) => traffic.encrypt(bytes, &mut outgoing[at..]),
        _ => traffic.queue_close_notify(&mut outgoing[at..]),
    };
    outgoing.truncate(at + *written.as_ref().unwrap_or(&0));
    written.map(drop).map_err(io::Error::other)
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl AsyncRead for Session {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.plain.is_empty() && !this.ended {
            ready!(this.poll_receive(context))?;
            // Tickets, updates of keys: who waits for its answer sends them when that goes.
            if let Poll::Ready(Err(error)) = this.poll_send(context) {
                return Poll::Ready(Err(error));
            }
        }
        let take = this.plain.len().min(buffer.remaining());
        buffer.put_slice(&this.plain[..take]);
        this.plain.drain(..take);
        if this.plain.is_empty() {
            this.plain = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Session {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // What is encrypted goes first, so that no more than a record waits.
        ready!(this.poll_send(context))?;
        let piece = &bytes[..bytes.len().min(RECORD_BYTES)];
        this.process_held(&Job::Write(piece))?;
        if let Poll::Ready(Err(error)) = this.poll_send(context) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.process_held(&Job::Close)?;
        ready!(this.poll_send(context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;

    use super::*;
    use crate::tls::material::Material;
    use crate::tls::provider;

    const HOST: &str = "mx.example.org";

    /// A listener with a certificate, and who knows it.
    fn sides(versions: &[&'static SupportedProtocolVersion]) -> (Arc<ServerConfig>, TlsConnector) {
        let served = Material::make(HOST, None).unwrap().serve().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(served.certified.cert[0].clone()).unwrap();
        let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(Arc::clone(&served.certified)));
        let server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        let client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (Arc::new(server), TlsConnector::from(Arc::new(client)))
    }

    async fn pair(versions: &[&'static SupportedProtocolVersion]) -> (Session, TlsStream<TcpStream>) {
        let (server, connector) = sides(versions);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connecting = async {
            let stream = TcpStream::connect(address).await.unwrap();
            connector.connect(ServerName::try_from(HOST).unwrap(), stream).await.unwrap()
        };
        let accepting = async { Session::accept(server, listener.accept().await.unwrap().0).await.unwrap() };
        tokio::join!(accepting, connecting)
    }

    #[tokio::test]
    async fn bytes_arrive_as_they_were_sent_in_both_directions_and_versions() {
        for version in [&version::TLS12, &version::TLS13] {
            let (mut session, mut client) = pair(&[version]).await;
            let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n * 7 + n / 251) as u8).collect();
            let echo = async {
                let mut buffer = vec![0; 10_000];
                loop {
                    let len = session.read(&mut buffer).await.unwrap();
                    if len == 0 {
                        session.shutdown().await.unwrap();
                        return session;
                    }
                    session.write_all(&buffer[..len]).await.unwrap();
                    session.flush().await.unwrap();
                }
            };
            let (mut reading, mut writing) = tokio::io::split(&mut client);
            let write = async {
                writing.write_all(&sent).await.unwrap();
                writing.shutdown().await.unwrap();
            };
            let mut received = Vec::new();
            let (session, (), read) = tokio::join!(echo, write, reading.read_to_end(&mut received));
            // A close that was announced, so nothing was cut off.
            read.unwrap();
            assert!(received == sent);
            let held = session.incoming.capacity() + session.outgoing.capacity() + session.plain.capacity();
            assert_eq!(held, 0, "an idle session has no buffers");
        }
    }

    #[tokio::test]
    async fn who_does_not_speak_tls_is_told_so_and_gets_no_session() {
        let (server, _) = sides(&[&version::TLS13]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(b"EHLO client.example\r\n").await.unwrap();
        let error =
            Session::accept(Arc::clone(&server), listener.accept().await.unwrap().0).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let mut alert = Vec::new();
        // Input that was not read may make it a reset.
        let _ = client.read_to_end(&mut alert).await;
        assert!(alert.is_empty() || alert[0] == 21, "{alert:?}");

        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        // A record of a handshake that promises more than any client has to say, and goes on and on.
        let mut endless = vec![22, 3, 1, 0x40, 0, 1, 0xFF, 0xFF, 0xFF];
        endless.resize(40_000, 0);
        let (result, _) = tokio::join!(
            async { Session::accept(server, listener.accept().await.unwrap().0).await },
            async { client.write_all(&endless).await }
        );
        assert!(result.is_err());
    }
}
