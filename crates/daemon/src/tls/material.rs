//! A certificate with its key: read from PEM or PFX, made here, kept as bytes.

use std::sync::Arc;

use p12_keystore::{KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

use super::certificate::{Facts, parse};
use super::provider;
use crate::control::tls::FILE_BYTES_MAX;

/// Certificates that are shown, at most. A longer chain is no chain.
const CHAIN_MAX: usize = 8;

/// Where a certificate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Origin {
    /// Its file is named in the settings.
    File,
    /// An operator gave it to the box.
    Installed,
    /// The box made it, and nobody else vouches for it.
    OwnMaking,
}

impl Origin {
    /// The origin as one word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Installed => "installed",
            Self::OwnMaking => "self_signed",
        }
    }
}

/// A certificate and those of its issuers, with its private key.
#[derive(Debug)]
pub(crate) struct Material {
    pub(crate) origin: Origin,
    /// Its own first, each followed by its issuer's.
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// What clients are shown.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) origin: Origin,
    pub(crate) facts: Facts,
    pub(crate) certified: Arc<CertifiedKey>,
}

/// How it is kept.
#[derive(Serialize, Deserialize)]
struct Kept<'m> {
    origin: Origin,
    #[serde(borrow)]
    chain: Vec<&'m [u8]>,
    key: &'m [u8],
}

impl Material {
    /// Reads PEM or PFX; the key may be in a file of its own. Whatever is wrong is told in words.
    pub(crate) fn read(
        origin: Origin,
        certificate: &[u8],
        key: Option<&[u8]>,
        password: &str,
    ) -> Result<Self, String> {
        if certificate.len().max(key.map_or(0, <[u8]>::len)) > FILE_BYTES_MAX {
            return Err(format!("the file is larger than {} KiB", FILE_BYTES_MAX / 1024));
        }
        let (found, key) = if is_pem(certificate) {
            (certificates_in(certificate)?, key_in(key.unwrap_or(certificate))?)
        } else {
            in_pfx(certificate, password)?
        };
        let chain = in_order(&found, &key)?;
        Ok(Self { origin, chain, key })
    }

    /// Makes a certificate that vouches for itself, with the key of one from before if there is one.
    pub(crate) fn make(host_name: &str, before: Option<&Self>) -> Result<Self, String> {
        let key = match before {
            Some(Self { key: PrivateKeyDer::Pkcs8(key), .. }) => {
                KeyPair::from_pkcs8_der_and_sign_algo(key, &PKCS_ECDSA_P256_SHA256)
            }
            _ => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        };
        let made = key.and_then(|key| {
            let mut params = CertificateParams::new([host_name.to_owned()])?;
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, host_name);
            // Fixed, since the clock may not be set yet; nobody looks at the dates of a certificate that nobody vouches
            // for, and one that never ends needs nobody who renews it.
            params.not_before = rcgen::date_time_ymd(2026, 1, 1);
            params.not_after = rcgen::date_time_ymd(2056, 1, 1);
            Ok((params.self_signed(&key)?, key.serialize_der()))
        });
        let (certificate, key) = made.map_err(|error| error.to_string())?;
        let chain = vec![certificate.into()];
        Ok(Self { origin: Origin::OwnMaking, chain, key: PrivatePkcs8KeyDer::from(key).into() })
    }

    /// What clients are shown of it.
    pub(crate) fn serve(&self) -> Result<Served, String> {
        let leaf = self.chain.first().ok_or("there is no certificate")?;
        let facts = Facts::of(leaf)?;
        let certified = CertifiedKey::from_der(self.chain.clone(), self.key.clone_key(), &provider());
        let certified = certified.map_err(|error| error.to_string())?;
        Ok(Served { origin: self.origin, facts, certified: Arc::new(certified) })
    }

    /// The bytes to keep.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let chain = self.chain.iter().map(AsRef::as_ref).collect();
        let kept = Kept { origin: self.origin, chain, key: self.key.secret_der() };
        // Growing a vector cannot fail.
        postcard::to_allocvec(&kept).unwrap_or_default()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) gave.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let kept: Kept<'_> = postcard::from_bytes(bytes).map_err(|error| error.to_string())?;
        let chain = kept.chain.into_iter().map(|der| CertificateDer::from(der.to_vec())).collect();
        let key = PrivateKeyDer::try_from(kept.key.to_vec())?;
        Ok(Self { origin: kept.origin, chain, key })
    }
}

fn is_pem(bytes: &[u8]) -> bool {
    bytes.windows(11).any(|it| it == b"-----BEGIN ")
}

fn certificates_in(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(pem).collect();
    found.map_err(|error| format!("this is not right as PEM: {error}"))
}

fn key_in(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => Ok(key),
        Err(_) if pem.windows(19).any(|it| it == b"ENCRYPTED PRIVATE K") => {
            Err("the private key has a password: take it off (openssl pkey -in key.pem -out plain.pem), or use a PFX"
                .to_owned())
        }
        Err(pem::Error::NoItemsFound) => Err("there is no private key in it, in PEM".to_owned()),
        Err(error) => Err(format!("the private key is not right as PEM: {error}")),
    }
}

type Found = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn in_pfx(bytes: &[u8], password: &str) -> Result<Found, String> {
    let store = KeyStore::from_pkcs12(bytes, password, Pkcs12ImportPolicy::Relaxed)
        .map_err(|error| format!("this is neither PEM nor a PFX that this password opens: {error}"))?;
    let mut certificates = Vec::new();
    let mut key = None;
    for (_, entry) in store.entries() {
        match entry {
            KeyStoreEntry::PrivateKeyChain(chain) => {
                key = key.or_else(|| Some(PrivatePkcs8KeyDer::from(chain.key().as_der().to_vec())));
                certificates
                    .extend(chain.certs().iter().map(|it| CertificateDer::from(it.as_der().to_vec())));
            }
            KeyStoreEntry::Certificate(it) => certificates.push(CertificateDer::from(it.as_der().to_vec())),
            KeyStoreEntry::Secret(_) => {}
        }
    }
    let key = key.ok_or("there is no private key in the PFX: export it with its private key")?;
    Ok((certificates, key.into()))
}

/// The certificate of a key, followed by those of its issuers: tools write them in any order. A root at the end is left
/// out, since who trusts it has it.
fn in_order(
    found: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<Vec<CertificateDer<'static>>, String> {
    if found.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    let key = provider().key_provider.load_private_key(key.clone_key());
    let key = key.map_err(|error| format!("the private key cannot be used: {error}"))?;
    let public = key.public_key().ok_or("the private key cannot be used")?;
    let mut parsed = Vec::new();
    for der in found {
        parsed.push(parse(der)?);
    }
    let own = parsed.iter().position(|it| it.public_key().raw == public.as_ref());
    let mut at = own.ok_or("the private key is that of none of the certificates")?;
    let mut order = vec![at];
    while order.len() < CHAIN_MAX
        && let Some(issuer) =
            parsed.iter().position(|it| it.subject().as_raw() == parsed[at].issuer().as_raw())
        && !order.contains(&issuer)
    {
        let is_root = parsed[issuer].issuer().as_raw() == parsed[issuer].subject().as_raw();
        if is_root {
            break;
        }
        order.push(issuer);
        at = issuer;
    }
    drop(parsed);
    Ok(order.into_iter().filter_map(|n| found.get(n).cloned()).collect())
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, IsCa, Issuer};

    use super::*;

    struct Site {
        leaf: rcgen::Certificate,
        key: KeyPair,
        intermediate: rcgen::Certificate,
        root: rcgen::Certificate,
    }

    fn site() -> Site {
        let authority = |name: &str| {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let (root_key, key_between, key) =
            (KeyPair::generate().unwrap(), KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root_params = authority("root");
        let root = root_params.self_signed(&root_key).unwrap();
        let root_issuer = Issuer::new(root_params, root_key);
        let params_between = authority("between");
        let intermediate = params_between.signed_by(&key_between, &root_issuer).unwrap();
        let issuer = Issuer::new(params_between, key_between);
        let mut leaf_params = CertificateParams::new(["mx.example.org".to_owned()]).unwrap();
        leaf_params.distinguished_name.push(DnType::CommonName, "mx.example.org");
        let leaf = leaf_params.signed_by(&key, &issuer).unwrap();
        Site { leaf, key, intermediate, root }
    }

    fn read(certificate: &str, key: Option<&str>) -> Result<Material, String> {
        Material::read(Origin::File, certificate.as_bytes(), key.map(str::as_bytes), "")
    }

    #[test]
    fn pem_in_any_order_becomes_a_chain_without_its_root() {
        let site = site();
        let pem =
            [site.root.pem(), site.key.serialize_pem(), site.intermediate.pem(), site.leaf.pem()].concat();
        let material = read(&pem, None).unwrap();
        assert_eq!(material.chain, [site.leaf.der().clone(), site.intermediate.der().clone()]);
        assert_eq!(material.serve().unwrap().facts.names, ["mx.example.org"]);
        let apart = [site.leaf.pem(), site.intermediate.pem()].concat();
        assert_eq!(read(&apart, Some(&site.key.serialize_pem())).unwrap().chain, material.chain);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told() {
        let site = site();
        let (leaf, key) = (site.leaf.pem(), site.key.serialize_pem());
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        for (certificate, key, why) in [
            (leaf.as_str(), None, "no private key"),
            (&key, None, "no certificate"),
            (&leaf, Some(KeyPair::generate().unwrap().serialize_pem()), "of none of the certificates"),
            (&leaf, Some(encrypted), "has a password"),
            ("rubbish", None, "neither PEM nor a PFX"),
            ("", None, "neither PEM nor a PFX"),
        ] {
            let error = read(certificate, key.as_deref()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let endless = "x".repeat(FILE_BYTES_MAX + 1);
        assert!(read(&endless, None).unwrap_err().contains("larger than"));
    }

    #[test]
    fn a_pfx_is_opened_with_its_password_only() {
        let site = site();
        let certs = [&site.leaf, &site.intermediate, &site.root]
            .map(|it| p12_keystore::Certificate::from_der(it.der()).unwrap());
        let key = p12_keystore::PrivateKey::from_der(&site.key.serialize_der()).unwrap();
        let chain = p12_keystore::PrivateKeyChain::new("id", key, certs);
        let mut store = KeyStore::new();
        store.add_entry("mx", KeyStoreEntry::PrivateKeyChain(chain));
        let pfx = store.writer("secret").write().unwrap();
        let open = |password| Material::read(Origin::Installed, &pfx, None, password);
        let material = open("secret").unwrap();
        assert_eq!(material.chain, [site.leaf.der().clone(), site.intermediate.der().clone()]);
        material.serve().unwrap();
        assert!(open("guess").unwrap_err().contains("neither PEM nor a PFX that this password opens"));
    }

    #[test]
    fn what_is_made_here_is_kept_and_a_new_name_keeps_the_key() {
        let made = Material::make("mx.example.org", None).unwrap();
        let again = Material::from_bytes(&made.to_bytes()).unwrap();
        let (served, found) = (made.serve().unwrap(), again.serve().unwrap());
        assert_eq!((found.facts.certificate, found.origin), (served.facts.certificate, Origin::OwnMaking));
        let renamed = Material::make("mail.example.org", Some(&again)).unwrap().serve().unwrap();
        assert_eq!(renamed.facts.names, ["mail.example.org"]);
        assert_eq!(renamed.facts.key, served.facts.key);
        assert_ne!(
            Material::make("mx.example.org", None).unwrap().serve().unwrap().facts.key,
            served.facts.key
        );
        assert!(Material::from_bytes(&made.to_bytes()[..40]).is_err());
    }
}
