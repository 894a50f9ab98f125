//! DANE (RFC 7672): which certificate a domain says that its servers have.

use sha2::{Digest as _, Sha256, Sha512};

use crate::dns::Tlsa;
use crate::tls::certificate::parse;
use rustls::pki_types::CertificateDer;

/// What a record says of the chain that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// It names the certificate itself, or its key.
    Leaf,
    /// It names one of the issuers: name and signatures have to be right as well.
    Issuer,
    /// It names something else.
    Other,
    /// Mail servers do not look at records of this kind (RFC 7672 section 3.1.3).
    Unusable,
}

/// Compares a record with a chain, the server's own certificate first.
pub(super) fn compare(record: &Tlsa, chain: &[CertificateDer<'_>]) -> Says {
    let matches = |certificate: &CertificateDer<'_>| {
        let selected = match record.selector {
            0 => certificate.to_vec(),
            1 => parse(certificate).map(|it| it.public_key().raw.to_vec()).unwrap_or_default(),
            _ => return false,
        };
        match record.matching {
            0 => selected == record.data,
            1 => Sha256::digest(&selected).as_slice() == record.data,
            2 => Sha512::digest(&selected).as_slice() == record.data,
            _ => false,
        }
    };
    let found = |is_there: bool, says| if is_there { says } else { Says::Other };
    match record.usage {
        3 => found(chain.first().is_some_and(matches), Says::Leaf),
        2 => found(chain.iter().skip(1).any(matches), Says::Issuer),
        _ => Says::Unusable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_each_kind_are_compared_with_what_they_speak_of() {
        let made = || rcgen::generate_simple_self_signed(["mx.example.org".to_owned()]).unwrap().cert.der().clone();
        let (leaf, issuer, other) = (made(), made(), made());
        let chain = [leaf.clone(), issuer.clone()];
        let key = |der: &CertificateDer<'_>| parse(der).unwrap().public_key().raw.to_vec();
        let sha256 = |bytes: &[u8]| Sha256::digest(bytes).to_vec();
        let of = |usage, selector, matching, data| compare(&Tlsa { usage, selector, matching, data }, &chain);
        assert_eq!(of(3, 1, 1, sha256(&key(&leaf))), Says::Leaf);
        assert_eq!(of(3, 0, 1, sha256(&leaf)), Says::Leaf);
        assert_eq!(of(3, 0, 0, leaf.to_vec()), Says::Leaf);
        assert_eq!(of(3, 1, 2, Sha512::digest(key(&leaf)).to_vec()), Says::Leaf);
        assert_eq!(of(2, 0, 1, sha256(&issuer)), Says::Issuer);
        assert_eq!(of(2, 1, 1, sha256(&key(&issuer))), Says::Issuer);
        assert_eq!(of(3, 1, 1, sha256(&key(&other))), Says::Other);
        assert_eq!(of(2, 0, 1, sha256(&leaf)), Says::Other, "it is no issuer");
        assert_eq!(of(1, 1, 1, sha256(&key(&leaf))), Says::Unusable);
        assert_eq!(of(3, 7, 1, sha256(&leaf)), Says::Other);
        assert_eq!(of(3, 1, 9, key(&leaf)), Says::Other);
    }
}
