//! What a certificate says: for whom, from whom, until when, and the two digests by which it is known.

use std::fmt;

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate, X509Name};

/// Names of a certificate that are kept.
const NAMES_MAX: usize = 8;
/// As much of a name is kept, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// A SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sha(pub(crate) [u8; 32]);

impl fmt::Display for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a certificate says, bounded whatever it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Host names, and the common name where there are none.
    pub(crate) names: Vec<String>,
    /// The issuer's common name, or what else it is called.
    pub(crate) issuer: String,
    /// Whether it is its own issuer.
    pub(crate) is_self_signed: bool,
    pub(crate) not_before_unix_s: i64,
    pub(crate) not_after_unix_s: i64,
    /// Of the whole certificate.
    pub(crate) certificate: Sha,
    /// Of its public key (SubjectPublicKeyInfo): the same after a renewal with the same key.
    pub(crate) key: Sha,
}

impl Facts {
    /// Reads a certificate, or says why it is none.
    pub(crate) fn of(der: &CertificateDer<'_>) -> Result<Self, String> {
        let certificate = parse(der)?;
        let mut names: Vec<String> = host_names(&certificate).take(NAMES_MAX).map(bounded).collect();
        if names.is_empty() {
            names.push(bounded(called(certificate.subject())));
        }
        let validity = certificate.validity();
        Ok(Self {
            names,
            issuer: bounded(called(certificate.issuer())),
            is_self_signed: certificate.issuer().as_raw() == certificate.subject().as_raw(),
            not_before_unix_s: validity.not_before.timestamp(),
            not_after_unix_s: validity.not_after.timestamp(),
            certificate: sha(der),
            key: sha(certificate.public_key().raw),
        })
    }

    /// Whether it was made for that host, and no other.
    pub(super) fn is_for(&self, host_name: &str) -> bool {
        self.names == [bounded(host_name)]
    }

    /// For how many days it still holds; below zero once it does not.
    pub(crate) fn days_left(&self, unix_ms: u64) -> i64 {
        let now_s = i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX);
        self.not_after_unix_s.saturating_sub(now_s).div_euclid(86_400)
    }
}

/// Reads a certificate, or says why it is none.
pub(super) fn parse<'c>(der: &'c CertificateDer<'_>) -> Result<X509Certificate<'c>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err("something follows the certificate".to_owned()),
        Err(error) => Err(format!("this is no certificate: {error}")),
    }
}

/// All host names for which a certificate is.
pub(super) fn host_names<'c>(certificate: &'c X509Certificate<'_>) -> impl Iterator<Item = &'c str> {
    let names = certificate.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
        _ => None,
    });
    names.flatten().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    })
}

/// What somebody is called: the common name, else the whole name.
fn called(name: &X509Name<'_>) -> String {
    let common = name.iter_common_name().next().and_then(|common| common.as_str().ok());
    common.map_or_else(|| name.to_string(), str::to_owned)
}

pub(super) fn sha(bytes: &[u8]) -> Sha {
    Sha(Sha256::digest(bytes).into())
}

/// A name from a stranger, bounded and without what could steer a terminal.
fn bounded(name: impl AsRef<str>) -> String {
    let mut name: String = name.as_ref().chars().map(|it| if it.is_control() { '?' } else { it }).collect();
    name.truncate(name.floor_char_boundary(NAME_BYTES_MAX));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_certificate_says_is_read_and_what_is_none_is_refused() {
        let made = rcgen::generate_simple_self_signed(["mx.example.org".to_owned(), "b.example".to_owned()])
            .unwrap();
        let facts = Facts::of(made.cert.der()).unwrap();
        assert_eq!(facts.names, ["mx.example.org", "b.example"]);
        assert!(facts.is_self_signed && facts.not_before_unix_s < facts.not_after_unix_s);
        assert_ne!(facts.certificate, facts.key);
        let after_ms = u64::try_from(facts.not_after_unix_s).unwrap() * 1000;
        assert_eq!((facts.days_left(after_ms), facts.days_left(after_ms + 1000)), (0, -1));
        assert_eq!(facts.days_left(after_ms - 21 * 86_400_000), 21);
        let mut longer = made.cert.der().to_vec();
        longer.push(0);
        for bytes in [longer, made.cert.der()[..40].to_vec(), Vec::new()] {
            assert!(Facts::of(&CertificateDer::from(bytes)).is_err());
        }
    }
}
