//! Reading from a directory that is a few lines of test: the real one is in `tests/peers`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use penstock_settings::Settings;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::ber::{INTEGER, SEQUENCE, Values, whole_len};
use super::wire::tests::{done_message, entry_message};
use super::*;
use crate::directory::Mailbox;

/// What a directory answers.
#[derive(Clone, Default)]
struct Script {
    bind_code: u32,
    search_code: u32,
    start_tls_code: u32,
    /// Recipients on each page.
    pages: Vec<Vec<(String, String)>>,
    /// Sent in the place of the first page.
    garbage: Option<Vec<u8>>,
    tls: Option<Arc<ServerConfig>>,
    /// Whether TLS begins at once.
    tls_first: bool,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, script: &Script) -> Option<bool> {
    let mut input = Vec::new();
    let mut page = 0;
    loop {
        let len = loop {
            match whole_len(&input).ok()? {
                Some(len) if input.len() >= len => break len,
                _ => {
                    let mut piece = [0; 4096];
                    let count = stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
                    input.extend_from_slice(&piece[..count]);
                }
            }
        };
        let message: Vec<u8> = input.drain(..len).collect();
        script.seen.lock().unwrap().push(message.clone());
        let mut values = Values(Values(&message).expect(SEQUENCE).ok()?);
        let id = values.number(INTEGER).ok()?;
        let (operation, _) = values.next().ok()??;
        let mut out = Vec::new();
        match operation {
            0x60 => out.extend(done_message(id, 0x61, script.bind_code, "because", None)),
            0x77 => {
                out.extend(done_message(id, 0x78, script.start_tls_code, "", None));
                stream.write_all(&out).await.ok()?;
                return Some(script.start_tls_code == 0);
            }
            0x63 => {
                if let Some(garbage) = &script.garbage {
                    stream.write_all(garbage).await.ok()?;
                    return None;
                }
                for (address, database) in script.pages.get(page).into_iter().flatten() {
                    let database = format!("CN={database},CN=Databases,DC=x");
                    out.extend(entry_message(
                        id,
                        &[
                            ("proxyAddresses", &[&format!("SMTP:{address}"), "X500:/o=x"]),
                            ("homeMDB", &[&database]),
                        ],
                    ));
                }
                page += 1;
                let cookie = if page < script.pages.len() { format!("page {page}") } else { String::new() };
                out.extend(done_message(id, 0x65, script.search_code, "", Some(cookie.as_bytes())));
            }
            _ => return None,
        }
        stream.write_all(&out).await.ok()?;
        stream.flush().await.ok()?;
    }
}

/// A directory on a port of its own.
async fn directory(script: Script) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let script = script.clone();
            tokio::spawn(async move {
                let wants_tls = script.tls_first || answer(&mut stream, &script).await == Some(true);
                let Some(config) = script.tls.clone().filter(|_| wants_tls) else { return };
                if let Ok(mut stream) = TlsAcceptor::from(config).accept(stream).await {
                    answer(&mut stream, &script).await;
                }
            });
        }
    });
    address
}

/// TLS for a directory, and the SHA-256 of its certificate.
fn tls() -> (Arc<ServerConfig>, String) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["dc1.example.org".to_owned()]).unwrap();
    let sha256: String = Sha256::digest(cert.der()).iter().map(|byte| format!("{byte:02x}")).collect();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (Arc::new(config), sha256)
}

async fn read_with(address: SocketAddr, scheme: &str, more: &str) -> Result<(List, u64), Trouble> {
    let text = format!(
        "[system]\nhostname = \"mx.example.org\"\n[domains]\naccepted = [\"example.org\"]\n\
         [[next_hop]]\nname = \"x\"\naddress = \"192.0.2.25\"\n\
         [ldap]\nurl = \"{scheme}://{address}\"\nbase = \"DC=x\"\nuser = \"penstock\"\npassword = \"sesame\"\n{more}"
    );
    let settings = Settings::parse(&text).unwrap();
    let nowhere = SourceAddresses::first_of_each_family(std::iter::empty());
    read(&settings.ldap, nowhere, [7; 16], Stamp::default()).await
}

const PLAIN: &str = "starttls = false\n";

fn two_pages() -> Vec<Vec<(String, String)>> {
    let recipient = |name: &str, database: &str| (format!("{name}@example.org"), database.to_owned());
    vec![vec![recipient("mia", "DB01"), recipient("leo", "DB02")], vec![recipient("eve", "DB01")]]
}

fn code(read: Result<(List, u64), Trouble>) -> (String, String) {
    let ErrorBody { code, message, help } = read.err().unwrap().body;
    (code, format!("{message}. {help}"))
}

use crate::control::types::ErrorBody;

#[tokio::test]
async fn all_pages_are_read_with_the_databases() {
    let script = Script { pages: two_pages(), ..Script::default() };
    let seen = Arc::clone(&script.seen);
    let (list, skipped) = read_with(directory(script).await, "ldap", PLAIN).await.unwrap();
    let database = |name: &str| {
        let entry = list.find(&Mailbox::parse(&format!("{name}@example.org")).unwrap(), None).unwrap();
        list.database(entry.database.unwrap()).unwrap().to_owned()
    };
    assert_eq!((list.len(), skipped), (3, 0));
    assert_eq!(
        (database("mia"), database("leo"), database("eve")),
        ("DB01".into(), "DB02".into(), "DB01".into())
    );
    let seen = seen.lock().unwrap();
    let holds = |n: usize, what: &[u8]| seen[n].windows(what.len()).any(|part| part == what);
    assert!(holds(0, b"sesame") && holds(1, b"proxyAddresses") && holds(2, b"page 1"), "{seen:?}");
}

#[tokio::test]
async fn tls_is_spoken_with_the_certificate_that_was_named_and_no_other() {
    let (config, sha256) = tls();
    let pin = format!("certificate_sha256 = \"{sha256}\"\n");
    for (scheme, tls_first) in [("ldaps", true), ("ldap", false)] {
        let script =
            Script { pages: two_pages(), tls: Some(Arc::clone(&config)), tls_first, ..Script::default() };
        let seen = Arc::clone(&script.seen);
        let address = directory(script).await;
        assert_eq!(read_with(address, scheme, &pin).await.unwrap().0.len(), 3, "{scheme}");
        seen.lock().unwrap().clear();
        let other = format!("certificate_sha256 = \"{}\"\n", "ab".repeat(32));
        for more in [other.as_str(), ""] {
            let (code, text) = code(read_with(address, scheme, more).await);
            assert_eq!(code, "PS-D249", "{text}");
            assert!(text.contains(&sha256), "who errs is told which one it was: {text}");
        }
        let said = seen.lock().unwrap().concat();
        assert!(!said.windows(6).any(|part| part == b"sesame"), "the password is for nobody else");
    }
}

#[tokio::test]
async fn a_directory_that_does_not_begin_tls_is_not_told_the_password() {
    let script = Script { start_tls_code: 52, pages: two_pages(), ..Script::default() };
    let seen = Arc::clone(&script.seen);
    let (code, text) = code(read_with(directory(script).await, "ldap", "").await);
    assert!(code == "PS-D289" && text.contains("52 (unavailable)"), "{text}");
    assert!(!seen.lock().unwrap().concat().windows(6).any(|part| part == b"sesame"));
}

#[tokio::test]
async fn what_goes_wrong_is_told_with_a_code_and_what_to_do() {
    let told = async |script: Script| code(read_with(directory(script).await, "ldap", PLAIN).await);
    let (code_of, text) = told(Script { bind_code: 49, ..Script::default() }).await;
    assert!(code_of == "PS-D247" && text.contains("49 (invalid credentials): because"), "{text}");
    assert!(text.contains("ldap.password"), "{text}");
    let (code_of, text) = told(Script { search_code: 32, pages: two_pages(), ..Script::default() }).await;
    assert!(code_of == "PS-D248" && text.contains("Check ldap.base"), "{text}");
    let (code_of, text) = told(Script::default()).await;
    assert!(code_of == "PS-D248" && text.contains("nobody"), "{text}");
    for garbage in [
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        vec![0x30, 0x84, 0xFF, 0xFF, 0xFF, 0xFF],
        vec![0x30, 0],
    ] {
        let (code_of, text) = told(Script { garbage: Some(garbage), ..Script::default() }).await;
        assert!(code_of == "PS-D289", "{text}");
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (code_of, text) = code(read_with(closed, "ldap", PLAIN).await);
    assert!(code_of == "PS-D289" && text.contains("cannot be reached"), "{text}");
    let bad_filter = format!("{PLAIN}filter = \"(cn=\"\n");
    let (code_of, text) = code(read_with(closed, "ldap", &bad_filter).await);
    assert!(code_of == "PS-D248" && text.contains("ldap.filter has no closing bracket"), "{text}");
}
