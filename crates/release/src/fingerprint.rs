//! What a server shows of itself before any mail, and whether that is what it showed before.
//!
//! A server that was rebuilt has another name, offers other extensions or shows another certificate. Several servers
//! behind one address show several faces, so that a few are known at once; where the names never end, they and the
//! certificates that go with them are passed over.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// Faces that are known of a hop, and such that wait to be believed.
pub(crate) const FACES_MAX: usize = 3;

/// What a server said on a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting<'a> {
    /// The text of its greeting, without the code. Its first word counts, which is the server's name (RFC 5321 section
    /// 4.2); behind it there may be the time of day.
    pub banner: &'a str,
    /// The keywords of its reply to EHLO, without their parameters, with spaces between them; empty after HELO.
    pub extensions: &'a str,
    /// What stays the same about the certificate when it is renewed (whatever the caller takes for that); empty where
    /// there is no TLS, which says nothing about the certificate.
    pub certificate: &'a [u8],
}

/// A server's face: digests of what it showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    name: u32,
    extensions: u32,
    /// Of its certificate, where one was seen.
    certificate: Option<u32>,
}

/// What is not as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The name in its greeting.
    Name,
    /// What it offers after EHLO.
    Extensions,
    /// Both of these.
    All,
    /// The certificate alone.
    Certificate,
    /// The certificate, and name or extensions.
    CertificateToo,
}

impl Greeting<'_> {
    /// Letters count whatever their case, extensions in whatever order.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let name = self.banner.split_ascii_whitespace().next().unwrap_or_default();
        let extensions = self.extensions.split_ascii_whitespace().map(digest);
        Fingerprint {
            name: digest(name.trim_end_matches('.')),
            extensions: extensions.fold(0, u32::wrapping_add),
            certificate: (!self.certificate.is_empty()).then(|| fnv(self.certificate.iter().copied())),
        }
    }
}

/// The digest of a word in lower case.
pub(crate) fn digest(word: &str) -> u32 {
    fnv(word.bytes().map(|byte| byte.to_ascii_lowercase()))
}

/// 32-bit FNV-1a (draft-eastlake-fnv). It notices changes; it withstands no forger.
fn fnv(bytes: impl Iterator<Item = u8>) -> u32 {
    bytes.fold(0x811C_9DC5, |digest, byte| (digest ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// What is known of a hop's faces. Outlives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faces {
    /// Those that it had when it was believed, the newest last.
    known: Vec<Fingerprint>,
    /// Others, shown since.
    shown: Vec<Fingerprint>,
    /// There were more of them than are kept.
    overflown: bool,
    /// Its names have no end: only extensions count.
    names_vary: bool,
}

/// A hop's faces as they were kept before certificates were looked at.
#[derive(Deserialize)]
pub(crate) struct FacesWithoutCertificates {
    known: Vec<(u32, u32)>,
    shown: Vec<(u32, u32)>,
    overflown: bool,
    names_vary: bool,
}

impl From<FacesWithoutCertificates> for Faces {
    fn from(faces: FacesWithoutCertificates) -> Self {
        let FacesWithoutCertificates { known, shown, overflown, names_vary } = faces;
        let all = |faces: Vec<(u32, u32)>| {
            let face = |(name, extensions)| Fingerprint { name, extensions, certificate: None };
            faces.into_iter().map(face).collect()
        };
        Self { known: all(known), shown: all(shown), overflown, names_vary }
    }
}

/// What a face says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Nobody had seen the server, or its certificate, before: that is how it is.
    First,
    /// It is known, or was seen since it is in doubt.
    Familiar,
    /// It is new.
    New(Change),
}

impl Faces {
    /// Looks at a face.
    pub(crate) fn see(&mut self, face: Fingerprint) -> Sight {
        let Some(last) = self.known.last().copied() else {
            self.known.push(face);
            return Sight::First;
        };
        let names_vary = self.names_vary;
        let same = |other: &&mut Fingerprint| {
            let named = names_vary || other.name == face.name && certificates_agree(**other, face);
            other.extensions == face.extensions && named
        };
        if let Some(met) = self.known.iter_mut().chain(&mut self.shown).find(same) {
            if met.certificate.is_some() || face.certificate.is_none() {
                return Sight::Familiar;
            }
            met.certificate = face.certificate;
            return Sight::First;
        }
        self.overflown |= self.shown.len() >= FACES_MAX;
        push(&mut self.shown, face);
        let is_same = (last.name == face.name, last.extensions == face.extensions);
        Sight::New(match (is_same, certificates_agree(last, face)) {
            ((true, true), _) => Change::Certificate,
            (_, false) => Change::CertificateToo,
            ((true, false), true) => Change::Extensions,
            ((false, true), true) => Change::Name,
            ((false, false), true) => Change::All,
        })
    }

    /// Whatever certificate is shown next is how it is.
    pub(crate) fn forget_certificates(&mut self) {
        self.known.iter_mut().chain(&mut self.shown).for_each(|face| face.certificate = None);
    }

    /// The hop is believed to be the right one, with the faces that it has shown.
    pub(crate) fn believe(&mut self) {
        let name = self.shown.first().map(|face| face.name);
        self.names_vary |= self.overflown && self.shown.iter().any(|face| Some(face.name) != name);
        self.overflown = false;
        for face in core::mem::take(&mut self.shown) {
            push(&mut self.known, face);
        }
    }
}

#[cfg(test)]
impl Faces {
    /// As many, and as long, as there may be.
    pub(crate) fn largest() -> Self {
        let face = Fingerprint { name: u32::MAX, extensions: u32::MAX, certificate: Some(u32::MAX) };
        let faces = alloc::vec![face; FACES_MAX];
        Self { known: faces.clone(), shown: faces, overflown: true, names_vary: true }
    }
}

/// Whether two certificates are one, as far as they are known.
fn certificates_agree(one: Fingerprint, other: Fingerprint) -> bool {
    one.certificate.zip(other.certificate).is_none_or(|(one, other)| one == other)
}

/// Adds a face; the oldest goes where there are too many.
fn push(faces: &mut Vec<Fingerprint>, face: Fingerprint) {
    if faces.len() >= FACES_MAX {
        faces.remove(0);
    }
    faces.push(face);
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::format;

    use super::*;

    const EXCHANGE: Greeting<'_> = Greeting {
        banner: "mail.site.example Microsoft ESMTP MAIL Service ready at Mon, 2 Mar 2026 02:00:00 +0000",
        extensions: "SIZE PIPELINING DSN ENHANCEDSTATUSCODES STARTTLS 8BITMIME CHUNKING XRDST",
        certificate: b"",
    };

    fn named(name: &str) -> Fingerprint {
        Greeting { banner: name, ..EXCHANGE }.fingerprint()
    }

    #[test]
    fn the_time_of_day_and_the_order_of_extensions_are_no_news() {
        let later = Greeting {
            banner: "MAIL.site.example Microsoft ESMTP MAIL Service ready at Tue, 3 Mar 2026 17:30:09 +0100",
            extensions: "pipelining SIZE DSN 8BITMIME ENHANCEDSTATUSCODES STARTTLS CHUNKING XRDST",
            ..EXCHANGE
        };
        assert_eq!(later.fingerprint(), EXCHANGE.fingerprint());
    }

    #[test]
    fn what_changed_is_told() {
        let fewer = Greeting { extensions: "SIZE PIPELINING", ..EXCHANGE }.fingerprint();
        let other = Greeting { banner: "WIN-4711", extensions: "SIZE", ..EXCHANGE }.fingerprint();
        for (face, change) in
            [(named("WIN-4711"), Change::Name), (fewer, Change::Extensions), (other, Change::All)]
        {
            let mut faces = Faces::default();
            assert_eq!(faces.see(EXCHANGE.fingerprint()), Sight::First);
            assert_eq!(faces.see(face), Sight::New(change));
            assert_eq!(faces.see(face), Sight::Familiar, "told once");
        }
    }

    #[test]
    fn another_certificate_is_another_face_and_none_says_nothing() {
        let with = |certificate| Greeting { certificate, ..EXCHANGE }.fingerprint();
        let mut faces = Faces::default();
        assert_eq!(faces.see(with(b"")), Sight::First);
        assert_eq!(faces.see(with(b"one")), Sight::First, "the first that is seen is how it is");
        assert_eq!(faces.see(with(b"one")), Sight::Familiar);
        assert_eq!(faces.see(with(b"")), Sight::Familiar, "once without TLS");
        assert_eq!(faces.see(with(b"two")), Sight::New(Change::Certificate));
        assert_eq!((faces.see(with(b"two")), faces.see(with(b"one"))), (Sight::Familiar, Sight::Familiar));
        faces.believe();
        let rebuilt = Greeting { banner: "WIN-4711", certificate: b"three", ..EXCHANGE };
        assert_eq!(faces.see(rebuilt.fingerprint()), Sight::New(Change::CertificateToo));
    }

    #[test]
    fn servers_that_share_an_address_are_all_known_once_they_are_believed() {
        let mut faces = Faces::default();
        assert_eq!(faces.see(named("one")), Sight::First);
        assert_eq!(faces.see(named("two")), Sight::New(Change::Name));
        faces.believe();
        for _ in 0..3 {
            assert_eq!(
                (faces.see(named("one")), faces.see(named("two"))),
                (Sight::Familiar, Sight::Familiar)
            );
        }
    }

    #[test]
    fn names_without_end_are_passed_over_once_somebody_has_said_that_it_is_the_right_server() {
        let mut faces = Faces::default();
        faces.see(named("node-0"));
        (1..10).for_each(|n| assert_eq!(faces.see(named(&format!("node-{n}"))), Sight::New(Change::Name)));
        faces.believe();
        assert_eq!(faces.see(named("node-77")), Sight::Familiar);
        let fewer = Greeting { banner: "node-78", extensions: "SIZE", ..EXCHANGE };
        assert!(matches!(faces.see(fewer.fingerprint()), Sight::New(_)), "what it offers counts as ever");
    }
}
