//! Towards next hops: the handshake, what each of them showed, and whether that will do.
//!
//! The connection to a next hop lies within the site, and its certificate is mostly one that the server made for itself.
//! So nobody's word is asked for at the handshake (`opportunistic`, `required`); it proves that the server has the key, and
//! what it showed is remembered: another certificate is a sign that the server was rebuilt, which `release` judges together
//! with its name and what it offers. Who wants more pins the certificate.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use penstock_settings::{HopHost, HopTls, NextHop, Pin};
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::{Facts, Sha, host_names, parse, sha};
use super::provider;
use crate::clock::since;

/// After a handshake that failed, where plain text will do, nobody tries again for so long: each attempt costs the server a
/// connection.
const PLAIN_FOR: Duration = Duration::from_secs(600);

/// What a next hop showed at a handshake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) facts: Facts,
    /// Whether a public authority vouches for its names.
    pub(crate) is_vouched: bool,
    /// What stays the same when it is renewed: the names that an authority vouches for, else the key.
    identity: Sha,
    /// TLS 1.2 or 1.3, and the ciphers.
    pub(crate) session: String,
    /// When it was first seen, by the clock of the time.
    pub(crate) since_unix_ms: u64,
}

/// What is known of a next hop. Outlives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptHop {
    pub(super) name: String,
    /// What it showed at the last handshake.
    pub(super) seen: Option<Seen>,
    /// The key that is pinned beside those in the settings: the first one seen, or what an operator has accepted since.
    pub(super) pinned: Option<Sha>,
}

/// A next hop's side of TLS.
#[derive(Debug)]
pub(crate) struct Hop {
    wants: HopTls,
    pins: Vec<Pin>,
    name: ServerName<'static>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kept: KeptHop,
    /// Why mail waits, or goes in plain text, in words.
    trouble: Option<String>,
    /// The certificate that is not as pinned.
    unpinned: Option<Seen>,
    /// The last handshake failed at that moment.
    failed: Option<Instant>,
}

/// How a connection goes on after the first EHLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    Plain,
    Encrypt,
    /// It does not, since there is no TLS.
    Wait,
}

/// What came of a handshake that worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// The certificate is known.
    Known,
    /// It is the first one.
    First,
    /// Another one, which means the same: renewed.
    Renewed,
    /// Another one.
    Changed,
}

/// How it stands, for the operator.
#[derive(Clone, Debug)]
pub(crate) struct HopFacts {
    pub(crate) wants: HopTls,
    pub(crate) seen: Option<Seen>,
    pub(crate) unpinned: Option<Seen>,
    pub(crate) pins: Vec<Sha>,
    pub(crate) trouble: Option<String>,
}

impl Hop {
    pub(super) fn new(settings: &NextHop, kept: KeptHop) -> Self {
        let name = match &settings.address.host {
            HopHost::Ip(ip) => ServerName::from(*ip),
            // What is a host name for the settings is one for TLS; else no name is sent.
            HopHost::Name(name) => ServerName::try_from(name.as_str().to_owned())
                .unwrap_or_else(|_| ServerName::from(std::net::IpAddr::from([0, 0, 0, 0]))),
        };
        let kept = KeptHop { name: settings.name.as_str().to_owned(), ..kept };
        let state = Mutex::new(State { kept, ..State::default() });
        Self { wants: settings.tls, pins: settings.tls_pins.clone(), name, state }
    }

    /// A server that is none of the next hops: encrypted if it works, and nothing is remembered of it.
    pub(crate) fn passing() -> Self {
        let name = ServerName::from(std::net::IpAddr::from([0, 0, 0, 0]));
        Self { wants: HopTls::Opportunistic, pins: Vec::new(), name, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to do with a server that offers STARTTLS, or does not.
    pub(crate) fn plan(&self, is_offered: bool) -> Plan {
        let is_needed = matches!(self.wants, HopTls::Required | HopTls::Pinned);
        let mut state = self.lock();
        match (self.wants, is_offered) {
            (HopTls::Never, _) => Plan::Plain,
            (_, true) if !is_needed && state.failed.is_some_and(|at| since(at) < PLAIN_FOR) => Plan::Plain,
            (_, true) => Plan::Encrypt,
            (_, false) if is_needed => {
                state.trouble = Some(format!(
                    "it does not offer STARTTLS, and next_hop.tls is \"{}\"",
                    self.wants.as_str()
                ));
                Plan::Wait
            }
            (_, false) => {
                state.trouble = None;
                Plan::Plain
            }
        }
    }

    /// STARTTLS was refused, or the handshake failed. Whether plain text will do, and whether that is news.
    pub(crate) fn failed(&self, why: &str) -> (bool, bool) {
        let will_do = self.wants == HopTls::Opportunistic;
        let mut state = self.lock();
        let is_news = state.failed.is_none();
        state.failed = Some(Instant::now());
        state.trouble = Some(why.to_owned());
        (will_do, is_news)
    }

    /// A handshake worked, and this is what it showed. `Err` if that is not what is pinned.
    pub(super) fn met(&self, seen: Seen) -> Result<Met, String> {
        let mut state = self.lock();
        state.failed = None;
        if self.wants == HopTls::Pinned && !self.is_pinned(&seen, &mut state) {
            let why = format!(
                "its certificate is not the one that is pinned: SHA-256 of its key {}",
                seen.facts.key
            );
            state.trouble = Some(why.clone());
            state.unpinned = Some(seen);
            return Err(why);
        }
        state.trouble = None;
        state.unpinned = None;
        let met = match &state.kept.seen {
            None => Met::First,
            Some(before) if before.facts.certificate == seen.facts.certificate => Met::Known,
            Some(before) if before.identity == seen.identity || before.facts.key == seen.facts.key => {
                Met::Renewed
            }
            Some(_) => Met::Changed,
        };
        match &mut state.kept.seen {
            // Since when it is there is kept.
            Some(before) if met == Met::Known => before.session = seen.session,
            kept => *kept = Some(seen),
        }
        Ok(met)
    }

    fn is_pinned(&self, seen: &Seen, state: &mut State) -> bool {
        let Facts { certificate, key, .. } = &seen.facts;
        if self.pins.is_empty() && state.kept.pinned.is_none() {
            // What was seen before pinning was asked for counts as well.
            state.kept.pinned = Some(state.kept.seen.as_ref().map_or(*key, |before| before.facts.key));
        }
        self.pins.iter().any(|pin| pin.0 == certificate.0 || pin.0 == key.0)
            || state.kept.pinned == Some(*key)
    }

    /// What `release` compares: empty where nothing was seen yet.
    pub(crate) fn identity(seen: &Seen) -> &[u8] {
        &seen.identity.0
    }

    /// Pins what is not as pinned. Whether there was something.
    pub(super) fn accept(&self) -> Option<Seen> {
        let mut state = self.lock();
        let accepted = state.unpinned.take()?;
        state.kept.pinned = Some(accepted.facts.key);
        state.trouble = None;
        Some(accepted)
    }

    pub(super) fn kept(&self) -> KeptHop {
        self.lock().kept.clone()
    }

    pub(crate) fn facts(&self) -> HopFacts {
        let state = self.lock();
        let pins = self.pins.iter().map(|pin| Sha(pin.0)).chain(state.kept.pinned);
        HopFacts {
            wants: self.wants,
            seen: state.kept.seen.clone(),
            unpinned: state.unpinned.clone(),
            pins: if self.wants == HopTls::Pinned { pins.collect() } else { Vec::new() },
            trouble: state.trouble.clone(),
        }
    }
}

/// Makes handshakes with next hops.
pub(super) struct Connecting {
    connector: TlsConnector,
    public: Option<Arc<WebPkiServerVerifier>>,
}

impl Connecting {
    pub(super) fn new() -> Result<Self, String> {
        let provider = provider();
        let verifier = Arc::new(Anybody(Arc::clone(&provider)));
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        // What the server shows is looked at on every connection; a resumed one would show what it showed before. They are
        // few, and each carries many messages.
        config.resumption = Resumption::disabled();
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let public = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), public })
    }

    /// Encrypts a connection to a next hop. What it showed is not judged yet.
    ///
    /// # Errors
    /// In words.
    pub(super) async fn encrypt(
        &self,
        hop: &Hop,
        stream: TcpStream,
        unix_ms: u64,
    ) -> Result<(TlsStream<TcpStream>, Seen), String> {
        let encrypted =
            self.connector.connect(hop.name.clone(), stream).await.map_err(|error| error.to_string())?;
        let (_, session) = encrypted.get_ref();
        let chain = session.peer_certificates().unwrap_or_default();
        let (leaf, between) = chain.split_first().ok_or("it showed no certificate")?;
        let version = session.protocol_version().and_then(|it| it.as_str()).unwrap_or("TLS");
        let suite = session.negotiated_cipher_suite().and_then(|it| it.suite().as_str()).unwrap_or("?");
        let seen = self.seen(leaf, between, format!("{version} {suite}"), unix_ms)?;
        Ok((encrypted, seen))
    }

    fn seen(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        session: String,
        unix_ms: u64,
    ) -> Result<Seen, String> {
        let facts = Facts::of(leaf)?;
        let vouched = self.vouched(leaf, between, &facts)?;
        let identity = vouched.as_ref().map_or(facts.key, |names| sha(names.as_bytes()));
        Ok(Seen { is_vouched: vouched.is_some(), identity, facts, session, since_unix_ms: unix_ms })
    }

    /// The names for which a public authority vouched when it issued the certificate. The clock has no say: what is asked is
    /// who it was issued for, not whether it still holds.
    fn vouched(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        facts: &Facts,
    ) -> Result<Option<String>, String> {
        let parsed = parse(leaf)?;
        let mut names: Vec<String> = host_names(&parsed).map(str::to_ascii_lowercase).collect();
        let Some(public) = &self.public else { return Ok(None) };
        let first = names.iter().find(|name| !name.contains('*')).map(|it| ServerName::try_from(it.as_str()));
        let Some(Ok(first)) = first else { return Ok(None) };
        let issued_s = u64::try_from(facts.not_before_unix_s.saturating_add(1)).unwrap_or_default();
        let issued = UnixTime::since_unix_epoch(Duration::from_secs(issued_s));
        if public.verify_server_cert(leaf, between, &first, &[], issued).is_err() {
            return Ok(None);
        }
        names.sort();
        names.dedup();
        Ok(Some(names.join(" ")))
    }
}

impl std::fmt::Debug for Connecting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connecting")
    }
}

/// Takes any certificate whose key the server proves to have.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use penstock_settings::Settings;
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn hop(tls: &str, kept: KeptHop) -> Hop {
        let text = format!(
            "[system]\nhostname = \"mx.example.org\"\n[domains]\naccepted = [\"example.org\"]\n[[next_hop]]\n\
             name = \"exchange\"\naddress = \"192.0.2.25\"\n{tls}"
        );
        Hop::new(&Settings::parse(&text).unwrap().next_hops[0], kept)
    }

    fn shown_with(key: &KeyPair, name: &str) -> Seen {
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().self_signed(key).unwrap();
        Connecting::new().unwrap().seen(certificate.der(), &[], "TLS".into(), 7).unwrap()
    }

    fn shown() -> Seen {
        shown_with(&KeyPair::generate().unwrap(), "exchange.example.org")
    }

    #[test]
    fn a_renewal_with_the_same_key_is_no_change() {
        let hop = hop("", KeptHop::default());
        let key = KeyPair::generate().unwrap();
        let (first, renewed) = (shown_with(&key, "a.example"), shown_with(&key, "b.example"));
        assert_eq!(hop.met(first.clone()), Ok(Met::First));
        assert_eq!(hop.met(first.clone()), Ok(Met::Known));
        assert_eq!(hop.met(renewed.clone()), Ok(Met::Renewed));
        assert_eq!(Hop::identity(&first), Hop::identity(&renewed));
        let other = shown();
        assert_ne!(Hop::identity(&first), Hop::identity(&other));
        assert_eq!(hop.met(other), Ok(Met::Changed));
    }

    #[test]
    fn without_tls_mail_goes_or_waits_as_the_settings_say() {
        for (tls, offered, not_offered) in [
            ("", Plan::Encrypt, Plan::Plain),
            ("tls = \"required\"", Plan::Encrypt, Plan::Wait),
            ("tls = \"pinned\"", Plan::Encrypt, Plan::Wait),
            ("tls = \"never\"", Plan::Plain, Plan::Plain),
        ] {
            let hop = hop(tls, KeptHop::default());
            assert_eq!((hop.plan(true), hop.plan(false)), (offered, not_offered), "{tls}");
            assert_eq!(hop.facts().trouble.is_some(), not_offered == Plan::Wait);
        }
    }

    #[test]
    fn after_a_handshake_that_failed_plain_text_is_used_for_a_while_where_it_may() {
        let lenient = hop("", KeptHop::default());
        assert_eq!(lenient.failed("no common cipher"), (true, true));
        assert_eq!((lenient.plan(true), lenient.failed("again")), (Plan::Plain, (true, false)), "told once");
        let strict = hop("tls = \"required\"", KeptHop::default());
        assert_eq!(strict.failed("no common cipher"), (false, true));
        assert_eq!(strict.plan(true), Plan::Encrypt);
        assert_eq!(strict.met(shown()), Ok(Met::First));
        assert_eq!(strict.facts().trouble, None);
    }

    #[test]
    fn what_is_pinned_is_the_settings_word_or_the_first_that_was_seen_until_an_operator_accepts_another() {
        let (first, other) = (shown(), shown());
        let by_settings =
            |pin: Sha| hop(&format!("tls = \"pinned\"\ntls_pins = [\"{pin}\"]"), KeptHop::default());
        assert!(by_settings(first.facts.key).met(first.clone()).is_ok());
        assert!(by_settings(first.facts.certificate).met(first.clone()).is_ok());
        assert!(by_settings(first.facts.key).met(other.clone()).is_err());

        let by_sight = hop("tls = \"pinned\"", KeptHop::default());
        assert!(by_sight.met(first.clone()).is_ok() && by_sight.met(other.clone()).is_err());
        let restarted = hop("tls = \"pinned\"", by_sight.kept());
        assert!(restarted.met(other.clone()).is_err());
        assert_eq!(restarted.accept().unwrap().facts, other.facts);
        assert_eq!(restarted.accept(), None);
        assert!(restarted.met(other.clone()).is_ok() && restarted.met(first.clone()).is_err());

        let before = KeptHop { seen: Some(first.clone()), ..KeptHop::default() };
        let pinned_later = hop("tls = \"pinned\"", before);
        assert!(
            pinned_later.met(other).is_err() && pinned_later.met(first).is_ok(),
            "what was seen before counts"
        );
    }
}
