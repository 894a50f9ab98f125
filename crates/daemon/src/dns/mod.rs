//! Names: the one resolver that the whole daemon asks.
//!
//! Nothing in the service hangs on a name being found. Every look-up has a limit in time that covers all of it, whoever asks
//! goes on without an answer, and while the name servers are dead nobody waits for them at all ([`health`]). The servers are
//! those of `dns.servers`, else those in `/etc/resolv.conf`, which on a box its first process writes from `[network]` and what
//! a DHCP server says; a change of the file is noticed.
//!
//! Next hops that the settings give by name are not looked up here but by the system, which also knows `/etc/hosts` and what
//! else a site's host is set up to ask.

mod client;
mod health;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use std::{fmt, fs};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use penstock_settings::Settings;
use tokio::sync::Semaphore;
use tracing::warn;

pub(crate) use client::ClientName;
use health::Health;

/// Where a host says which name servers to ask.
const RESOLVER_FILE: &str = "/etc/resolv.conf";
/// How often it is looked whether that file has changed.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The longest such file that is read.
const RESOLVER_FILE_BYTES_MAX: u64 = 64 * 1024;
/// How long one server may take for one question, and how often it is asked again.
const QUESTION_TIMEOUT: Duration = Duration::from_millis(1500);
const QUESTIONS_REPEATED: usize = 1;
/// Answers that are kept. One can have 64 KiB, so this bounds what a stranger can make us hold; the site's name server keeps
/// answers, too.
const CACHE_ANSWERS: u64 = 128;
/// How long they are kept at most: those with records, those without.
const CACHED_FOR: Duration = Duration::from_secs(3600);
const ABSENT_CACHED_FOR: Duration = Duration::from_secs(300);
/// Questions under way at once to one server.
const QUESTIONS_MAX: usize = 256;
/// So many names of an address are tried until one leads back to it.
const NAMES_TRIED_MAX: usize = 3;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The answer is that there is no such name, or that it has no record of this kind.
    Absent,
    /// It is no name.
    NoName,
    /// No server is known that could be asked.
    NoServer,
    /// The servers have not answered lately, and are not asked before they do.
    Dead,
    /// There was no answer in time.
    Late,
    /// There was an answer that helps nobody.
    Useless(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("there is no such record"),
            Self::NoName => f.write_str("that is no name"),
            Self::NoServer => f.write_str("no name server is known: set dns.servers"),
            Self::Dead => f.write_str("the name servers do not answer, and are left alone for a while"),
            Self::Late => f.write_str("the name servers did not answer in time"),
            Self::Useless(why) => f.write_str(why),
        }
    }
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        match error {
            error if error.is_no_records_found() => Self::Absent,
            NetError::Timeout | NetError::Io(_) | NetError::NoConnections => Self::Late,
            error => Self::Useless(error.to_string()),
        }
    }
}

/// Which certificate a service has, by its domain (RFC 6698).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tlsa {
    pub(crate) usage: u8,
    pub(crate) selector: u8,
    pub(crate) matching: u8,
    pub(crate) data: Vec<u8>,
}

/// The resolver.
pub(crate) struct Dns {
    /// By the settings.
    servers: Vec<SocketAddr>,
    file: PathBuf,
    current: Mutex<Current>,
    health: Health,
    /// For the names of clients, so that a flood of them leaves room for other questions.
    clients: Arc<Semaphore>,
}

/// What is asked at present.
#[derive(Default)]
struct Current {
    resolver: Option<TokioResolver>,
    /// When the file was looked at last, and how it was.
    looked: Option<Instant>,
    seen: Option<(SystemTime, u64)>,
}

impl Dns {
    pub(crate) fn new(settings: &Settings) -> Arc<Self> {
        let servers = settings.dns.servers.iter().map(|server| server.0).collect();
        Self::of(servers, Path::new(RESOLVER_FILE))
    }

    fn of(servers: Vec<SocketAddr>, file: &Path) -> Arc<Self> {
        Arc::new(Self {
            servers,
            file: file.to_owned(),
            current: Mutex::default(),
            health: Health::default(),
            clients: Arc::new(Semaphore::new(client::LOOK_UPS_MAX)),
        })
    }

    /// Whether it is known that nobody would answer.
    #[cfg(test)]
    pub(crate) fn is_dead(&self) -> bool {
        self.health.is_dead()
    }

    /// The resolver to make look-ups with; where an answer is missed, [`missed`](Self::missed) is to be told.
    ///
    /// # Errors
    /// Why nothing is to be asked. Where the servers are dead, it is looked now and then whether they still are.
    pub(crate) fn ready(&self) -> Result<TokioResolver, Failure> {
        let resolver = self.resolver().ok_or(Failure::NoServer)?;
        if self.health.is_dead() {
            self.health.examine(&resolver);
            return Err(Failure::Dead);
        }
        Ok(resolver)
    }

    /// Takes note that an answer was missed.
    pub(crate) fn missed(&self) {
        if let Some(resolver) = self.resolver() {
            self.health.examine(&resolver);
        }
    }

    /// Makes look-ups that may take so long in all.
    ///
    /// # Errors
    /// Why nothing was asked, that it took too long, or what `look_up` says.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        look_up: impl AsyncFnOnce(TokioResolver) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let resolver = self.ready()?;
        let found = tokio::time::timeout(limit, look_up(resolver)).await.unwrap_or(Err(Failure::Late));
        if matches!(found, Err(Failure::Late)) {
            self.missed();
        }
        found
    }

    /// The name of an address, if the name leads back to it (RFC 1912 §2.1): anybody can call their address anything.
    ///
    /// # Errors
    /// [`Failure`]; [`Failure::Absent`] also where no name leads back.
    pub(crate) async fn name_of(&self, address: IpAddr, limit: Duration) -> Result<String, Failure> {
        let address = address.to_canonical();
        self.within(limit, async move |resolver| {
            let kind = if address.is_ipv4() { RecordType::A } else { RecordType::AAAA };
            let names = resolver.lookup(Name::from(address), RecordType::PTR).await?;
            let names = names.answers().iter().filter_map(|record| match &record.data {
                RData::PTR(name) => Some(name.0.clone()),
                _ => None,
            });
            let mut failure = Failure::Absent;
            for name in names.take(NAMES_TRIED_MAX) {
                match resolver.lookup(name.clone(), kind).await {
                    Ok(found) if addresses(&found).any(|found| found == address) => return Ok(shown(&name)),
                    Ok(_) => {}
                    Err(error) => failure = error.into(),
                }
            }
            Err(failure)
        })
        .await
    }

    /// The texts of a name, each with its parts joined.
    ///
    /// # Errors
    /// [`Failure`].
    pub(crate) async fn texts(&self, name: &str, limit: Duration) -> Result<Vec<Vec<u8>>, Failure> {
        let read = |rdata: &RData| match rdata {
            RData::TXT(txt) => Some(txt.txt_data.concat()),
            _ => None,
        };
        self.records(name, RecordType::TXT, limit, read).await
    }

    /// Who takes a domain's mail, the preferred first.
    ///
    /// # Errors
    /// [`Failure`].
    pub(crate) async fn exchangers(
        &self,
        domain: &str,
        limit: Duration,
    ) -> Result<Vec<(u16, String)>, Failure> {
        let read = |rdata: &RData| match rdata {
            RData::MX(mx) => Some((mx.preference, shown(&mx.exchange))),
            _ => None,
        };
        let mut found = self.records(domain, RecordType::MX, limit, read).await?;
        found.sort();
        Ok(found)
    }

    /// Which certificates a service has, such as `_25._tcp.mx.example.org`.
    ///
    /// # Errors
    /// [`Failure`].
    pub(crate) async fn certificates(&self, name: &str, limit: Duration) -> Result<Vec<Tlsa>, Failure> {
        let read = |rdata: &RData| match rdata {
            RData::TLSA(tlsa) => Some(Tlsa {
                usage: tlsa.cert_usage.into(),
                selector: tlsa.selector.into(),
                matching: tlsa.matching.into(),
                data: tlsa.cert_data.clone(),
            }),
            _ => None,
        };
        self.records(name, RecordType::TLSA, limit, read).await
    }

    async fn records<T>(
        &self,
        name: &str,
        kind: RecordType,
        limit: Duration,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Result<Vec<T>, Failure> {
        let name = whole(name)?;
        let found = self.within(limit, async move |resolver| Ok(resolver.lookup(name, kind).await?)).await?;
        let found: Vec<T> = found.answers().iter().filter_map(|record| read(&record.data)).collect();
        if found.is_empty() { Err(Failure::Absent) } else { Ok(found) }
    }

    /// The resolver for the servers there are now.
    fn resolver(&self) -> Option<TokioResolver> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.servers.is_empty() {
            if current.resolver.is_none() {
                current.resolver = build(self.servers.iter().copied());
            }
        } else if current.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY) {
            current.looked = Some(Instant::now());
            let seen = fs::metadata(&self.file).and_then(|file| Ok((file.modified()?, file.len()))).ok();
            if seen != current.seen {
                current.seen = seen;
                current.resolver = self.read_file();
                self.health.forget();
            }
        }
        current.resolver.clone()
    }

    fn read_file(&self) -> Option<TokioResolver> {
        let len = fs::metadata(&self.file).ok()?.len();
        if len > RESOLVER_FILE_BYTES_MAX {
            warn!(code = "PS-D342", file = %self.file.display(), "a file this long is not read for name servers");
            return None;
        }
        let (config, _) = parse_resolv_conf(fs::read(&self.file).ok()?).ok()?;
        let servers = config.name_servers.into_iter().flat_map(|server| {
            server.connections.first().map(|connection| SocketAddr::new(server.ip, connection.port))
        });
        build(servers)
    }
}

/// A resolver for these servers, if there are any.
fn build(servers: impl Iterator<Item = SocketAddr>) -> Option<TokioResolver> {
    let servers: Vec<_> = servers
        .map(|server| {
            let mut there = NameServerConfig::udp_and_tcp(server.ip());
            there.connections.iter_mut().for_each(|connection| connection.port = server.port());
            there
        })
        .collect();
    if servers.is_empty() {
        return None;
    }
    let mut options = ResolverOpts::default();
    options.timeout = QUESTION_TIMEOUT;
    options.attempts = QUESTIONS_REPEATED;
    options.cache_size = CACHE_ANSWERS;
    options.positive_max_ttl = Some(CACHED_FOR);
    options.negative_max_ttl = Some(ABSENT_CACHED_FOR);
    options.max_active_requests = QUESTIONS_MAX;
    // What a name means to strangers is not for a file on this host to say.
    options.use_hosts_file = ResolveHosts::Never;
    let config = ResolverConfig::from_name_servers(servers);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .ok()
}

/// A name that ends at the root: none is looked for in the site's domain.
fn whole(name: &str) -> Result<Name, Failure> {
    let mut name = Name::from_utf8(name).map_err(|_| Failure::NoName)?;
    name.set_fqdn(true);
    Ok(name)
}

/// A name as people write it.
fn shown(name: &Name) -> String {
    let mut name = name.to_lowercase().to_ascii();
    if name.len() > 1 && name.ends_with('.') {
        name.pop();
    }
    name
}

fn addresses(found: &Lookup) -> impl Iterator<Item = IpAddr> {
    found.answers().iter().filter_map(|record| match &record.data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    })
}

#[cfg(test)]
#[path = "../../tests/support/dns.rs"]
#[allow(dead_code, reason = "it serves other tests, too")]
pub(crate) mod server;

#[cfg(test)]
mod tests;
