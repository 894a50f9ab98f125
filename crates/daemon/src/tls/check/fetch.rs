//! Fetching a policy: `https://mta-sts.DOMAIN/.well-known/mta-sts.txt` (RFC 8461 section 3.3).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// How long all of it may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long one address may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The largest policy, as senders have it (section 3.3).
const POLICY_BYTES_MAX: usize = 64 * 1024;
/// The port of HTTPS.
const PORT: u16 = 443;

/// Fetches it as a sender does, from one of these addresses; what is wrong is told in words.
pub(super) async fn policy(host: &str, addresses: &[IpAddr]) -> Result<String, String> {
    let addresses: Vec<_> = addresses.iter().map(|ip| SocketAddr::new(*ip, PORT)).collect();
    let roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    fetch(host, &addresses, roots).await
}

async fn fetch(host: &str, addresses: &[SocketAddr], roots: RootCertStore) -> Result<String, String> {
    let got = tokio::time::timeout(TIMEOUT, get(host, addresses, roots)).await;
    got.unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs())))
}

async fn get(host: &str, addresses: &[SocketAddr], roots: RootCertStore) -> Result<String, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| "that is no name".to_owned())?;
    let config = ClientConfig::builder_with_provider(crate::tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut connected = Err("it has no address".to_owned());
    for address in addresses {
        connected = match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(format!("no connection to {address}: {error}")),
            Err(_) => Err(format!("no connection to {address}")),
        };
        if connected.is_ok() {
            break;
        }
    }
    let encrypted = TlsConnector::from(Arc::new(config)).connect(name, connected?).await;
    let stream = encrypted.map_err(|error| format!("its own TLS fails: {error}"))?;
    let no_http = |error: hyper::Error| format!("what answers speaks no HTTP: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(no_http)?;
    // It ends with this, whatever the server does.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = Request::get("/.well-known/mta-sts.txt").header(HOST, host).header(ACCEPT, "text/plain");
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(no_http)?;
    if response.status() != StatusCode::OK {
        // A redirection is not followed (section 3.3).
        return Err(format!("the answer is {}", response.status()));
    }
    let body = Limited::new(response.into_body(), POLICY_BYTES_MAX).collect().await;
    let body = body.map_err(|error| format!("it cannot be read: {error}"))?;
    String::from_utf8(body.to_bytes().to_vec()).map_err(|_| "it is no text".to_owned())
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    const HOST: &str = "mta-sts.example.org";

    /// What is fetched from a server that has a certificate for a name, is trusted or not, and answers so.
    async fn fetched(name: &str, trusted: bool, answer: &'static str) -> Result<String, String> {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let certificate: CertificateDer<'static> = made.cert.der().clone();
        let config = rustls::ServerConfig::builder_with_provider(crate::tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key.into())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else { return String::new() };
            let mut request = vec![0; 4096];
            let len = stream.read(&mut request).await.unwrap_or(0);
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
            String::from_utf8_lossy(&request[..len]).into_owned()
        });
        let mut roots = RootCertStore::empty();
        if trusted {
            roots.add(certificate).unwrap();
        }
        let page = fetch(HOST, &[address], roots).await;
        let request = serving.await.unwrap().to_ascii_lowercase();
        assert!(page.is_err() || request.starts_with("get /.well-known/mta-sts.txt http/1.1\r\n"), "{request}");
        page
    }

    #[tokio::test]
    async fn a_policy_is_fetched_from_the_right_server_only() {
        const PAGE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\nversion: STSv1";
        assert_eq!(fetched(HOST, true, PAGE).await.unwrap(), "version: STSv1");
        for (name, trusted, answer, why) in [
            (HOST, false, PAGE, "its own TLS fails"),
            ("www.example.org", true, PAGE, "its own TLS fails"),
            (HOST, true, "HTTP/1.1 301 Moved\r\nLocation: https://www.example.org/\r\nContent-Length: 0\r\n\r\n", "301"),
            (HOST, true, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404"),
            (HOST, true, "220 mail\r\n", "no HTTP"),
        ] {
            let error = fetched(name, trusted, answer).await.unwrap_err();
            assert!(error.contains(why), "{why}: {error}");
        }
        assert!(policy(HOST, &[]).await.unwrap_err().contains("no address"));
    }
}
