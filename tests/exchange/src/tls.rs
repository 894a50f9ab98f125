//! The certificate of the server's receive connector, on real sockets.
//!
//! As after an installation it vouches for itself, and another installation has another key. Which one it is, is a number
//! in the configuration; key and certificate are made here when they are first shown.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::Certificate;

/// Makes what the server shows, and keeps it for as long as it is the same.
#[derive(Default)]
pub(crate) struct Shown(Mutex<Option<Made>>);

struct Made {
    of: (String, Certificate),
    key: Arc<KeyPair>,
    acceptor: TlsAcceptor,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shown")
    }
}

impl Shown {
    /// Encrypts a connection with that certificate, for that host.
    pub(crate) async fn encrypt(
        &self,
        stream: TcpStream,
        host: &str,
        certificate: Certificate,
    ) -> io::Result<Wire> {
        if certificate.broken {
            // As where the certificate was deleted and the connector still names it.
            return Err(io::Error::other("there is no certificate to be shown"));
        }
        let acceptor = self.acceptor(host, certificate).map_err(io::Error::other)?;
        Ok(Wire::Tls(Box::new(acceptor.accept(stream).await?)))
    }

    fn acceptor(
        &self,
        host: &str,
        certificate: Certificate,
    ) -> Result<TlsAcceptor, Box<dyn std::error::Error + Send + Sync>> {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = (host.to_owned(), certificate);
        if let Some(made) = shown.as_ref().filter(|made| made.of == of) {
            return Ok(made.acceptor.clone());
        }
        // A renewal keeps the key.
        let same_key =
            shown.as_ref().filter(|made| made.of.1.key == certificate.key).map(|made| Arc::clone(&made.key));
        let key = match same_key {
            Some(key) => key,
            None => Arc::new(KeyPair::generate()?),
        };
        let mut params = CertificateParams::new([host.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, host);
        params.serial_number = Some(u64::from(certificate.renewals).into());
        let der = params.self_signed(&*key)?.der().clone();
        let private = PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![der], private.into())?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        *shown = Some(Made { of, key, acceptor: acceptor.clone() });
        Ok(acceptor)
    }
}

/// A connection, encrypted or not.
#[derive(Debug)]
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
