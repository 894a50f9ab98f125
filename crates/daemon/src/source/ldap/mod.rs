//! The list of recipients from Active Directory, or another directory that has its attributes: all that the filter finds,
//! page by page, with the addresses and the mailbox database of each.
//!
//! The few messages that this takes are written and read here (`wire`, `ber`), with bounds on everything a server may say:
//! a library that panics on what is no LDAP would end the service.

mod ber;
mod filter;
mod trust;
mod wire;

use std::io;
use std::time::Duration;

use penstock_settings::{HopAddress, HopHost, Ldap};
use penstock_spool::Stamp;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tracing::debug;

use super::Trouble;
use crate::deliver::{SourceAddresses, connect};
use crate::directory::{Gather, List};
use trust::Expected;
use wire::{Answer, Done};

/// How long a connection may take, with TLS, and one answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long all of it may take.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Recipients of one page. Active Directory gives 1,000 at most.
const PAGE: u32 = 500;
/// The largest message, in bytes: a recipient with some thousand addresses.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// The most recipients, with those that have no address that is wanted.
const ENTRIES_MAX: u64 = 1_000_000;
/// The longest text of a server that is told, in characters.
const TEXT_CHARS_MAX: usize = 200;

/// What went wrong.
#[derive(Debug)]
enum Wrong {
    Connect(io::Error),
    Tls(String),
    NotBelieved { shown: String, why: String },
    Bind(Done),
    StartTls(Done),
    Search(Done),
    Notice(Done),
    Malformed,
    Filter(&'static str),
    TooMuch(String),
    Nobody,
}

impl From<ber::Malformed> for Wrong {
    fn from(_: ber::Malformed) -> Self {
        Self::Malformed
    }
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        Self::Connect(error)
    }
}

/// What a server answered beside success.
fn said(done: &Done) -> String {
    let name = match done.code {
        1 => " (operations error)",
        2 => " (protocol error)",
        3 => " (time limit exceeded)",
        4 => " (size limit exceeded)",
        7 => " (method not supported)",
        8 => " (stronger authentication required)",
        10 => " (referral)",
        12 => " (unavailable critical extension)",
        13 => " (confidentiality required)",
        32 => " (no such object)",
        34 => " (invalid DN)",
        48 => " (inappropriate authentication)",
        49 => " (invalid credentials)",
        50 => " (insufficient access rights)",
        51 => " (busy)",
        52 => " (unavailable)",
        53 => " (unwilling to perform)",
        _ => "",
    };
    let text: String = done.text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect();
    let text = text.trim();
    if text.is_empty() { format!("{}{name}", done.code) } else { format!("{}{name}: {text}", done.code) }
}

impl Wrong {
    fn trouble(self, place: &str) -> Trouble {
        let (code, message, help) = match self {
            Self::Connect(error) => (
                "PS-D289",
                format!("the directory {place} cannot be reached: {error}"),
                "Check that it is up, and that the box may connect to it. The list from before counts."
                    .to_owned(),
            ),
            Self::Tls(why) => (
                "PS-D289",
                format!("TLS with the directory {place} fails: {why}"),
                "A domain controller speaks TLS once it has a certificate. The list from before counts."
                    .to_owned(),
            ),
            Self::NotBelieved { shown, why } => (
                "PS-D249",
                format!("the certificate of the directory {place} is not believed: {why}"),
                format!(
                    "Its SHA-256 is {shown}: if it is the right server, set ldap.certificate_sha256 to that."
                ),
            ),
            Self::StartTls(done) => (
                "PS-D289",
                format!("the directory {place} does not begin TLS: {}", said(&done)),
                "A domain controller speaks TLS once it has a certificate. The list from before counts."
                    .to_owned(),
            ),
            Self::Bind(done) => {
                let help = match done.code {
                    49 => "Check ldap.user and ldap.password, and that the account is not locked.",
                    8 | 13 => "It takes passwords only through TLS: use ldaps:// or starttls = true.",
                    _ => "Check ldap.user and ldap.password.",
                };
                (
                    "PS-D247",
                    format!("the directory {place} refuses who asks: {}", said(&done)),
                    help.to_owned(),
                )
            }
            Self::Search(done) => {
                let help = match done.code {
                    32 | 34 => "Check ldap.base.",
                    1 => {
                        "Active Directory says this to who did not say who asks: set ldap.user and ldap.password."
                    }
                    50 => "The account ldap.user may not read there.",
                    _ => "Check ldap.base and ldap.filter.",
                };
                (
                    "PS-D248",
                    format!("the directory {place} does not answer: {}", said(&done)),
                    help.to_owned(),
                )
            }
            Self::Notice(done) => (
                "PS-D289",
                format!("the directory {place} ended the connection: {}", said(&done)),
                "It is tried again.".to_owned(),
            ),
            Self::Malformed => (
                "PS-D289",
                format!("what {place} says is no LDAP, or longer than it may be"),
                "Check ldap.url: ldaps:// is port 636, ldap:// is 389.".to_owned(),
            ),
            Self::Filter(what) => {
                ("PS-D248", format!("ldap.filter {what}"), "Correct it in the settings.".to_owned())
            }
            Self::TooMuch(what) => (
                "PS-D248",
                format!("the directory {place} has {what}"),
                "Narrow ldap.base or ldap.filter.".to_owned(),
            ),
            Self::Nobody => (
                "PS-D248",
                format!("the directory {place} has nobody with an address there"),
                "Check ldap.base and ldap.filter, and whether ldap.user may read proxyAddresses.".to_owned(),
            ),
        };
        Trouble::new(code, message, help)
    }
}

/// Reads the list.
///
/// # Errors
/// What went wrong, and what to do about it.
pub(super) async fn read(
    settings: &Ldap,
    from: SourceAddresses,
    key: [u8; 16],
    at: Stamp,
) -> Result<(List, u64), Trouble> {
    let Some(url) = &settings.url else {
        return Err(Trouble::new("PS-D248", "no directory is named".to_owned(), "Set ldap.url.".to_owned()));
    };
    let place = url.to_string();
    let reading = tokio::time::timeout(WHOLE_TIMEOUT, read_from(settings, from, key, at, &place));
    let read = match reading.await {
        Ok(read) => read,
        Err(_) => Err(Wrong::Connect(io::Error::from(io::ErrorKind::TimedOut))),
    };
    read.map_err(|wrong| wrong.trouble(&place))
}

async fn read_from(
    settings: &Ldap,
    from: SourceAddresses,
    key: [u8; 16],
    at: Stamp,
    place: &str,
) -> Result<(List, u64), Wrong> {
    let Some(url) = &settings.url else { return Err(Wrong::Nobody) };
    let filter = filter::encode(settings.filter.as_str()).map_err(Wrong::Filter)?;
    let address = HopAddress { host: url.host.clone(), port: url.port };
    let mut stream = connect(&address, from, CONNECT_TIMEOUT).await?;
    let mut id = 0;
    if !url.tls && !settings.starttls {
        return gather(&mut Wire::new(stream), settings, &filter, (key, at, place), &mut id).await;
    }
    if !url.tls {
        let mut plain = Wire::new(&mut stream);
        let done = plain.ask(&mut id, wire::start_tls).await?;
        if done.code != 0 {
            return Err(Wrong::StartTls(done));
        }
        if !plain.input.is_empty() {
            // Whoever says something before TLS did not say it in it.
            return Err(Wrong::Malformed);
        }
    }
    let expected = Expected::new(settings.certificate_sha256.bytes()).map_err(Wrong::Tls)?;
    let name = match &url.host {
        HopHost::Ip(ip) => ServerName::IpAddress((*ip).into()),
        HopHost::Name(name) => {
            ServerName::try_from(name.as_str().to_owned()).map_err(|error| Wrong::Tls(error.to_string()))?
        }
    };
    let connector = TlsConnector::from(expected.config().map_err(Wrong::Tls)?);
    let handshake = tokio::time::timeout(CONNECT_TIMEOUT, connector.connect(name, stream));
    let stream = match handshake.await {
        Err(_) => return Err(Wrong::Tls("no answer".to_owned())),
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            let is_certificate = error
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<rustls::Error>())
                .is_some_and(|inner| matches!(inner, rustls::Error::InvalidCertificate(_)));
            return Err(match expected.shown().filter(|_| is_certificate) {
                Some(shown) if settings.certificate_sha256.is_none() => {
                    Wrong::NotBelieved { shown, why: error.to_string() }
                }
                Some(shown) => {
                    Wrong::NotBelieved { shown, why: "it is another one than was named".to_owned() }
                }
                None => Wrong::Tls(error.to_string()),
            });
        }
    };
    gather(&mut Wire::new(stream), settings, &filter, (key, at, place), &mut id).await
}

async fn gather<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    settings: &Ldap,
    filter: &[u8],
    (key, at, place): ([u8; 16], Stamp, &str),
    id: &mut u32,
) -> Result<(List, u64), Wrong> {
    if !settings.user.as_str().is_empty() {
        let bound =
            wire.ask(id, |id| wire::bind(id, settings.user.as_str(), settings.password.reveal())).await?;
        if bound.code != 0 {
            return Err(Wrong::Bind(bound));
        }
    }
    let mut gather = Gather::new(key, at, place.to_owned());
    let (mut cookie, mut entries, mut pages) = (Vec::new(), 0u64, 0u64);
    loop {
        *id += 1;
        pages += 1;
        wire.send(&wire::search(*id, settings.base.as_str(), filter, PAGE, &cookie)).await?;
        let done = loop {
            match wire.receive(*id).await? {
                Answer::Entry(entry) => {
                    entries += 1;
                    if entries > ENTRIES_MAX {
                        return Err(Wrong::TooMuch(format!("more than {ENTRIES_MAX} entries")));
                    }
                    let addresses = entry.addresses.iter().map(String::as_str);
                    gather.add(addresses, entry.database.as_deref()).map_err(Wrong::TooMuch)?;
                }
                Answer::Done(done) => break done,
                Answer::Notice(done) => return Err(Wrong::Notice(done)),
                Answer::Other => {}
            }
        };
        if done.code != 0 {
            return Err(Wrong::Search(done));
        }
        // A server that always has another page must not have us ask for ever.
        if done.cookie.is_empty() || pages > ENTRIES_MAX {
            break;
        }
        cookie = done.cookie;
    }
    *id += 1;
    // Whether it hears that makes no difference.
    let _ = wire.send(&wire::unbind(*id)).await;
    debug!(place, entries, pages, "the directory was read");
    gather.finish().ok_or(Wrong::Nobody)
}

/// A connection, and what was read and not used yet.
struct Wire<S> {
    stream: S,
    input: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    fn new(stream: S) -> Self {
        Self { stream, input: Vec::new() }
    }

    async fn send(&mut self, message: &[u8]) -> Result<(), Wrong> {
        let sending = async {
            self.stream.write_all(message).await?;
            self.stream.flush().await
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, sending).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(Wrong::Connect(io::Error::from(io::ErrorKind::TimedOut))),
        }
    }

    /// Asks something that has one answer.
    async fn ask(&mut self, id: &mut u32, request: impl FnOnce(u32) -> Vec<u8>) -> Result<Done, Wrong> {
        *id += 1;
        self.send(&request(*id)).await?;
        loop {
            match self.receive(*id).await? {
                Answer::Done(done) => return Ok(done),
                Answer::Notice(done) => return Err(Wrong::Notice(done)),
                Answer::Entry(_) | Answer::Other => {}
            }
        }
    }

    async fn receive(&mut self, id: u32) -> Result<Answer, Wrong> {
        match tokio::time::timeout(ANSWER_TIMEOUT, self.next(id)).await {
            Ok(answer) => answer,
            Err(_) => Err(Wrong::Connect(io::Error::from(io::ErrorKind::TimedOut))),
        }
    }

    async fn next(&mut self, id: u32) -> Result<Answer, Wrong> {
        loop {
            if let Some(len) = ber::whole_len(&self.input)? {
                if len > MESSAGE_BYTES_MAX {
                    return Err(Wrong::Malformed);
                }
                if let Some(message) = self.input.get(..len) {
                    let answer = wire::answer(message, id);
                    self.input.drain(..len);
                    return Ok(answer?);
                }
            }
            let mut piece = [0; 8 * 1024];
            match self.stream.read(&mut piece).await? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                count => self.input.extend_from_slice(piece.get(..count).unwrap_or_default()),
            }
        }
    }
}

#[cfg(test)]
mod tests;
