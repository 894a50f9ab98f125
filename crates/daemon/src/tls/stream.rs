//! A connection that may be encrypted, so that sessions need not know.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client;

use super::session::Session;

/// A connection. Encrypted ones are boxed: they are larger by a kilobyte, and many are not.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Served(Box<Session>),
    Client(Box<client::TlsStream<TcpStream>>),
}

impl Stream {
    /// Sends what it can without waiting, and ends the connection: whoever does not read has waited long enough.
    pub(crate) async fn farewell(&mut self, words: &[u8]) {
        poll_fn(|context| {
            let _ = Pin::new(&mut *self).poll_write(context, words);
            self.poll_close(context);
            Poll::Ready(())
        })
        .await;
    }

    /// Says that nothing follows, where that is said at all, without waiting for anybody.
    pub(crate) async fn close(&mut self) {
        poll_fn(|context| {
            self.poll_close(context);
            Poll::Ready(())
        })
        .await;
    }

    fn poll_close(&mut self, context: &mut Context<'_>) {
        if !matches!(self, Self::Plain(_)) && Pin::new(&mut *self).poll_flush(context).is_ready() {
            // The close_notify of RFC 8446 section 6.1, which tells the peer that nobody cut the end off.
            let _ = Pin::new(self).poll_shutdown(context);
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Served(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Client(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Served(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Client(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Served(stream) => Pin::new(stream).poll_flush(context),
            Self::Client(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Served(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Client(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
