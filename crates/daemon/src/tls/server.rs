//! Towards clients: which certificate they are shown, and the handshake.
//!
//! The certificate is, in this order: the one whose file the settings name; the one that an operator gave to the box; one of
//! the box's own making. The last two are kept with the box's state on its volumes, since a box has no other place, and a
//! host none that would be better guarded: who can read a volume can read the mail.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use penstock_settings::{AbsolutePath, Settings, Tls as TlsSettings};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::material::{Material, Origin, Served};
use super::session::Session;
use super::{Stream, provider};
use crate::clock::host_time;
use crate::control::tls::FILE_BYTES_MAX;

/// Tickets for the next session that a client gets: it needs one. They are sealed and hold all there is to it, so that
/// nothing of a session is kept here.
const TICKETS: usize = 1;
/// The longest password of a PFX, in bytes.
const PASSWORD_BYTES_MAX: u64 = 1024;

/// What clients are shown, and how many of them are being shown it.
#[derive(Debug)]
pub(crate) struct Serving {
    settings: TlsSettings,
    host_name: String,
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
    handshakes: Semaphore,
}

/// The certificate that counts at this moment.
#[derive(Debug, Default)]
struct Shown {
    now: RwLock<Option<Arc<Served>>>,
}

impl Shown {
    fn get(&self) -> Option<Arc<Served>> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, served: Served) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(served));
    }
}

impl ResolvesServerCert for Shown {
    /// Whatever name a client asks for: mail servers have one certificate.
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.get()?.certified))
    }
}

/// Why a handshake came to nothing.
#[derive(Debug)]
pub(crate) enum Failed {
    Late,
    Broken(io::Error),
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Late => f.write_str("the handshake took too long"),
            Self::Broken(error) => write!(f, "{error}"),
        }
    }
}

/// What makes one state of a file differ from another without its being read.
pub(super) type Stamps = Vec<Option<(u64, i128, u64)>>;

impl Serving {
    /// # Errors
    /// In words, if there can be no TLS at all.
    pub(super) fn new(settings: &Settings) -> Result<Self, String> {
        let shown = Arc::new(Shown::default());
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(&shown) as _;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = ring::Ticketer::new().map_err(|error| error.to_string())?;
        config.send_tls13_tickets = TICKETS;
        Ok(Self {
            settings: settings.tls.clone(),
            host_name: settings.system.hostname.as_str().to_owned(),
            config: Arc::new(config),
            shown,
            handshakes: Semaphore::new(settings.tls.handshakes_max as usize),
        })
    }

    /// The certificate that clients are shown, if there is one.
    pub(crate) fn served(&self) -> Option<Arc<Served>> {
        self.shown.get()
    }

    /// Whether clients are to be offered STARTTLS.
    pub(crate) fn is_offered(&self) -> bool {
        self.settings.offer && self.served().is_some()
    }

    /// Has clients shown another certificate from now on. Sessions that are encrypted stay so.
    ///
    /// # Errors
    /// In words; the one from before stays.
    pub(super) fn show(&self, material: &Material) -> Result<(), String> {
        self.shown.set(material.serve()?);
        Ok(())
    }

    /// Encrypts a connection.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Result<Stream, Failed> {
        let handshake = async {
            let _turn = self.handshakes.acquire().await;
            Session::accept(Arc::clone(&self.config), stream).await.map_err(Failed::Broken)
        };
        tokio::time::timeout(host_time(self.settings.handshake_timeout), handshake)
            .await
            .unwrap_or(Err(Failed::Late))
            .map(|session| Stream::Served(Box::new(session)))
    }

    /// Whether the settings name a file with a certificate.
    pub(crate) fn has_file(&self) -> bool {
        self.settings.certificate_file.is_some()
    }

    /// Reads the certificate that the settings name; `None` if they name none.
    pub(super) fn read_file(&self) -> Option<Result<Material, String>> {
        let certificate = self.settings.certificate_file.as_ref()?;
        let read = || {
            let key = self
                .settings
                .key_file
                .as_ref()
                .map(|path| bounded(path, FILE_BYTES_MAX as u64 + 1))
                .transpose()?;
            let password = self
                .settings
                .password_file
                .as_ref()
                .map(|path| bounded(path, PASSWORD_BYTES_MAX))
                .transpose()?;
            let password = String::from_utf8(password.unwrap_or_default())
                .map_err(|_| "the password is not UTF-8".to_owned())?;
            let password = password.lines().next().unwrap_or_default();
            let bytes = bounded(certificate, FILE_BYTES_MAX as u64 + 1)?;
            Material::read(Origin::File, &bytes, key.as_deref(), password)
                .map_err(|error| format!("{certificate}: {error}"))
        };
        Some(read())
    }

    /// The certificate that is kept, if it is still of use; else one of the box's own making, to be kept.
    ///
    /// # Errors
    /// In words.
    pub(super) fn kept_or_made(&self, kept: Option<Material>) -> Result<(Material, IsNew), String> {
        match kept {
            Some(kept) if kept.origin == Origin::Installed => Ok((kept, IsNew(false))),
            Some(kept) if kept.serve().is_ok_and(|it| it.facts.is_for(&self.host_name)) => {
                Ok((kept, IsNew(false)))
            }
            other => Ok((Material::make(&self.host_name, other.as_ref())?, IsNew(true))),
        }
    }

    /// The states of the files that the settings name.
    pub(super) fn stamps(&self) -> Stamps {
        let TlsSettings { certificate_file, key_file, password_file, .. } = &self.settings;
        let stamp = |path: &AbsolutePath| {
            use std::os::unix::fs::MetadataExt as _;
            let meta = fs::metadata(path.as_str()).ok()?;
            let modified_ns = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
            Some((meta.len(), modified_ns, meta.ino()))
        };
        [certificate_file, key_file, password_file].into_iter().flatten().map(stamp).collect()
    }
}

/// Whether a certificate was made just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IsNew(pub(super) bool);

/// How long files have to be unchanged before they are read again: certificate and key are written one after the other.
pub(super) const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// As much of a file as is allowed.
fn bounded(path: &AbsolutePath, bytes_max: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read =
        File::open(Path::new(path.as_str())).and_then(|file| file.take(bytes_max).read_to_end(&mut bytes));
    read.map_err(|error| format!("{path} cannot be read: {error}"))?;
    Ok(bytes)
}
