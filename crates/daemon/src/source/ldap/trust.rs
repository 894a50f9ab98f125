//! Which directory server is believed to be the site's: one whose certificate the operator named, else one that a public
//! authority vouches for.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest as _, Sha256};

/// Who decides, and remembers what was shown.
#[derive(Debug)]
pub(super) struct Expected {
    sha256: Option<[u8; 32]>,
    public: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
    shown: Mutex<Option<[u8; 32]>>,
}

impl Expected {
    /// Believes this certificate, or without one those of public authorities.
    pub(super) fn new(sha256: Option<[u8; 32]>) -> Result<Arc<Self>, String> {
        let provider = Arc::new(ring::default_provider());
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let public = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let public = public.build().map_err(|error| error.to_string())?;
        Ok(Arc::new(Self { sha256, public, provider, shown: Mutex::default() }))
    }

    /// How TLS is spoken to it.
    pub(super) fn config(self: &Arc<Self>) -> Result<Arc<ClientConfig>, String> {
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(self) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }

    /// The SHA-256 of the certificate that was last shown, as hexadecimal digits.
    pub(super) fn shown(&self) -> Option<String> {
        let shown = *self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl ServerCertVerifier for Expected {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown: [u8; 32] = Sha256::digest(end_entity.as_ref()).into();
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        match self.sha256 {
            Some(sha256) if sha256 == shown => Ok(ServerCertVerified::assertion()),
            Some(_) => Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
            None => self.public.verify_server_cert(end_entity, intermediates, name, ocsp, now),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
