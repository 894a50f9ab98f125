//! TLS on both sides: what clients are shown ([`Serving`]), what next hops show ([`Hop`]), and what of it outlives a restart.
//!
//! When a session goes over to TLS is for `listen` and `deliver` to say, and what another certificate of a next hop means for
//! `release`. Cryptography is `rustls` with *ring*: TLS 1.2 and 1.3, with the suites that both call safe.

mod certificate;
mod hops;
mod material;
mod server;
mod session;
mod stream;
mod watch;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use penstock_release::HopId;
use penstock_settings::Settings;
use rustls::crypto::{CryptoProvider, ring};
use tokio::net::TcpStream;
use tracing::{info, warn};

use crate::boxstate::{HOP_CERTIFICATES, Kept, OWN_CERTIFICATE};
pub(crate) use certificate::Facts;
use hops::{Connecting, KeptHop};
pub(crate) use hops::{Hop, HopFacts, Met, Plan, Seen};
use material::Material;
use material::Origin;
pub(crate) use server::Failed;
use server::{IsNew, Serving};
pub(crate) use stream::Stream;
pub(crate) use watch::{Expiry, reload, watch};

/// What makes keys, signatures and ciphers.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(ring::default_provider())))
}

/// TLS on both sides.
#[derive(Debug)]
pub(crate) struct Tls {
    serving: Serving,
    connecting: Connecting,
    hops: Vec<Hop>,
    own: Mutex<Own>,
}

/// The certificate that is kept, whether or not it is the one that is shown.
#[derive(Debug, Default)]
struct Own {
    kept: Option<Material>,
    /// What is wrong with the file that the settings name.
    trouble: Option<String>,
}

impl Tls {
    /// With what was kept. If there was no certificate there is one now, which has to be [kept](Self::values).
    ///
    /// # Errors
    /// In words, if there can be no TLS at all.
    pub(crate) fn new(settings: &Settings, kept: &Kept) -> Result<Self, String> {
        let before = hops_kept(kept);
        let hop = |hop: &penstock_settings::NextHop| {
            let kept = before.iter().find(|it| it.name == hop.name.as_str());
            Hop::new(hop, kept.cloned().unwrap_or_default())
        };
        let tls = Self {
            serving: Serving::new(settings)?,
            connecting: Connecting::new()?,
            hops: settings.next_hops.iter().map(hop).collect(),
            own: Mutex::default(),
        };
        tls.take_kept(kept)?;
        // What is wrong with the file is told by who looks after it.
        let _ = tls.load_file();
        Ok(tls)
    }

    /// The side of clients.
    pub(crate) fn serving(&self) -> &Serving {
        &self.serving
    }

    /// A next hop's side.
    pub(crate) fn hop(&self, hop: HopId) -> Option<&Hop> {
        self.hops.get(usize::from(hop.0))
    }

    /// A volume came whose state counts from now on.
    pub(crate) fn arrived(&self, kept: &Kept) {
        let taken = self.take_kept(kept).and_then(|()| self.load_file().map(drop));
        if let Err(error) = taken {
            warn!(
                code = "PS-D402",
                error, "the certificate that clients are shown stays the one from before"
            );
        }
    }

    /// Shows what is kept, or what is made in its place.
    fn take_kept(&self, kept: &Kept) -> Result<(), String> {
        let bytes = kept.pieces(&OWN_CERTIFICATE);
        let material = (!bytes.is_empty()).then(|| Material::from_bytes(&bytes)).transpose();
        let material = material.unwrap_or_else(|error| {
            warn!(
                code = "PS-D402",
                error, "the certificate that was kept cannot be read: another one is made"
            );
            None
        });
        let (material, IsNew(is_new)) = self.serving.kept_or_made(material)?;
        self.serving.show(&material)?;
        if is_new {
            info!("a certificate was made for clients that want TLS; nobody vouches for it but the box");
        }
        self.own().kept = Some(material);
        Ok(())
    }

    /// Shows what is in the file that the settings name, if they name one. Whether they do.
    fn load_file(&self) -> Result<bool, String> {
        let Some(read) = self.serving.read_file() else { return Ok(false) };
        let shown = read.and_then(|material| self.serving.show(&material));
        self.own().trouble = shown.as_ref().err().cloned();
        shown.map(|()| true)
    }

    /// What is wrong with the certificate's file.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.own().trouble.clone()
    }

    /// Puts a certificate in the place of what is kept; `None` is one of the box's own making. It has to be
    /// [kept](Self::values).
    ///
    /// # Errors
    /// In words; the one from before stays.
    pub(crate) fn install(&self, material: Option<Material>) -> Result<(), String> {
        let (material, _) = self.serving.kept_or_made(material)?;
        material.serve()?;
        if self.own().trouble.is_some() || !self.serving.has_file() {
            self.serving.show(&material)?;
        }
        self.own().kept = Some(material);
        Ok(())
    }

    /// Reads a certificate that an operator gives to the box.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn read(certificate: &[u8], key: Option<&[u8]>, password: &str) -> Result<Material, String> {
        Material::read(Origin::Installed, certificate, key, password)
    }

    /// Encrypts a connection to a next hop, and judges what that showed.
    ///
    /// # Errors
    /// In words.
    pub(crate) async fn encrypt(
        &self,
        hop: &Hop,
        stream: TcpStream,
        unix_ms: u64,
    ) -> Result<(Stream, Seen, Met), NoTls> {
        let (stream, seen) = self.connecting.encrypt(hop, stream, unix_ms).await.map_err(NoTls::Handshake)?;
        let met = hop.met(seen.clone()).map_err(NoTls::Pin)?;
        Ok((Stream::Client(Box::new(stream)), seen, met))
    }

    /// Pins the certificate that a next hop showed and that is not as pinned. Whether there was one.
    pub(crate) fn accept(&self, hop: HopId) -> Option<Seen> {
        self.hop(hop)?.accept()
    }

    /// What has to outlive a restart, for the state of the box.
    pub(crate) fn values(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let own = self.own().kept.as_ref().map(Material::to_bytes).unwrap_or_default();
        let hops: Vec<KeptHop> = self.hops.iter().map(Hop::kept).collect();
        // Growing a vector cannot fail.
        let hops = postcard::to_allocvec(&hops).unwrap_or_default();
        let mut values = crate::boxstate::pieces(&OWN_CERTIFICATE, &own);
        values.extend(crate::boxstate::pieces(&HOP_CERTIFICATES, &hops));
        values
    }

    fn own(&self) -> std::sync::MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a connection to a next hop is not encrypted.
#[derive(Debug)]
pub(crate) enum NoTls {
    /// The handshake failed.
    Handshake(String),
    /// The certificate is none that is pinned: nothing but an operator changes that.
    Pin(String),
}

/// What is known of next hops, as it was kept.
fn hops_kept(kept: &Kept) -> Vec<KeptHop> {
    let bytes = kept.pieces(&HOP_CERTIFICATES);
    if bytes.is_empty() {
        return Vec::new();
    }
    postcard::from_bytes(&bytes).unwrap_or_else(|error| {
        warn!(code = "PS-D402", %error, "what the next hops showed before cannot be read: it is looked at anew");
        Vec::new()
    })
}
