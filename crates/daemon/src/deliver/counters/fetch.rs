//! Fetching a page by HTTP.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use penstock_settings::{HopAddress, HttpUrl};
use tokio::task::JoinSet;

use crate::deliver::connection::{SourceAddresses, connect};

/// How long all of it may take. What comes later says how things were.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);
/// The largest page, in bytes. With all its collectors windows_exporter serves some 200 KB.
const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// Why there is no page.
#[derive(Debug)]
pub(super) enum Error {
    Connection(io::Error),
    TimedOut,
    Http(hyper::Error),
    Status(StatusCode),
    /// It is too long, or ends before it is whole.
    Body(Box<dyn std::error::Error + Send + Sync>),
    /// The settings' check lets no such URL pass.
    Url,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(error) => write!(f, "no connection: {error}"),
            Self::TimedOut => write!(f, "no answer within {} s", TIMEOUT.as_secs()),
            Self::Http(error) => write!(f, "what answers speaks no HTTP: {error}"),
            Self::Status(status) => write!(f, "the answer is {status}"),
            Self::Body(error) => write!(f, "the page cannot be read: {error}"),
            Self::Url => f.write_str("the URL cannot be asked for"),
        }
    }
}

/// Fetches a page of at most [`PAGE_BYTES_MAX`] bytes.
pub(super) async fn page(url: &HttpUrl, from: SourceAddresses) -> Result<String, Error> {
    tokio::time::timeout(TIMEOUT, get(url, from)).await.unwrap_or(Err(Error::TimedOut))
}

async fn get(url: &HttpUrl, from: SourceAddresses) -> Result<String, Error> {
    let address = HopAddress { host: url.host.clone(), port: url.port };
    let stream = connect(&address, from, TIMEOUT).await.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => Error::TimedOut,
        _ => Error::Connection(error),
    })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Error::Http)?;
    // It ends with this, whatever the server does.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = Request::get(url.path()).header(HOST, url.authority()).header(ACCEPT, "text/plain");
    let request = request.body(Empty::<Bytes>::new()).map_err(|_| Error::Url)?;
    let response = sender.send_request(request).await.map_err(Error::Http)?;
    if response.status() != StatusCode::OK {
        return Err(Error::Status(response.status()));
    }
    let body = Limited::new(response.into_body(), PAGE_BYTES_MAX).collect().await.map_err(Error::Body)?;
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use penstock_settings::Settings;

    use super::*;

    fn url(port: u16) -> HttpUrl {
        let text = format!(
            "[system]\nhostname = \"mx.example\"\n[domains]\naccepted = [\"example.com\"]\n[[next_hop]]\n\
             name = \"a\"\naddress = \"192.0.2.1\"\ncounters_url = \"http://127.0.0.1:{port}/metrics?collect[]=exchange\"\n"
        );
        Settings::parse(&text).unwrap().next_hops.remove(0).counters_url.unwrap()
    }

    /// What is read from a server that answers one request so, and the request.
    async fn answered(answer: impl Into<Vec<u8>>) -> (Result<String, Error>, String) {
        let (listener, answer) = (TcpListener::bind("127.0.0.1:0").unwrap(), answer.into());
        let url = url(listener.local_addr().unwrap().port());
        let serving = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; 4096];
            let len = stream.read(&mut request).unwrap();
            // Who has seen enough does not read on.
            let _ = stream.write_all(&answer);
            String::from_utf8_lossy(&request[..len]).into_owned()
        });
        let page = page(&url, SourceAddresses::default()).await;
        (page, serving.join().unwrap())
    }

    #[tokio::test]
    async fn a_page_is_fetched_as_a_browser_would() {
        let (page, request) = answered("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\na 1\nb").await;
        assert_eq!(page.unwrap(), "a 1\nb");
        let request = request.to_ascii_lowercase();
        assert!(request.starts_with("get /metrics?collect[]=exchange http/1.1\r\n"), "{request}");
        assert!(request.contains("host: 127.0.0.1:"), "{request}");
        let (page, _) =
            answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na 1\r\n0\r\n\r\n").await;
        assert_eq!(page.unwrap(), "a 1");
    }

    #[tokio::test]
    async fn what_is_no_whole_page_is_none() {
        let long = "x".repeat(PAGE_BYTES_MAX + 1);
        for (answer, why) in [
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(), "404"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\na 1".to_owned(), "cannot be read"),
            (format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{long}", long.len()), "cannot be read"),
            (format!("HTTP/1.1 200 OK\r\n\r\n{long}"), "cannot be read"),
            ("220 mail.example.com\r\n".to_owned(), "no HTTP"),
            (String::new(), "no HTTP"),
            ("\0".repeat(100_000), "no HTTP"),
        ] {
            let error = answered(answer).await.0.unwrap_err().to_string();
            assert!(error.contains(why), "{why}: {error}");
        }
    }

    #[tokio::test]
    async fn who_does_not_listen_has_no_page() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = url(listener.local_addr().unwrap().port());
        drop(listener);
        assert!(matches!(page(&url, SourceAddresses::default()).await, Err(Error::Connection(_))));
    }

    #[tokio::test]
    async fn who_never_answers_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = url(listener.local_addr().unwrap().port());
        assert!(matches!(page(&url, SourceAddresses::default()).await, Err(Error::TimedOut)));
    }
}
