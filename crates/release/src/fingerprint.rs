//! What a server shows of itself before any mail, and whether that is what it showed before.
//!
//! A server that was rebuilt has another name or certificate, or offers other extensions. Several servers behind one address
//! show several faces, so that a few are known at once; where their names or certificates never end, these are passed over.

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
    /// The keywords of its first reply to EHLO, before TLS began, without their parameters, with spaces between them; empty
    /// after HELO.
    pub extensions: &'a str,
    /// SHA-256 of the certificate that it showed; `None` on a connection without TLS.
    pub certificate: Option<[u8; 32]>,
}

/// A server's face: digests of what it showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    name: u32,
    extensions: u32,
    /// `None` until a connection to it was encrypted.
    certificate: Option<u32>,
}

/// What is not as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The name in its greeting.
    Name,
    /// What it offers after EHLO.
    Extensions,
    /// More than one of these.
    All,
    /// The certificate that it shows.
    Certificate,
}

impl Greeting<'_> {
    /// Letters count whatever their case, extensions in whatever order.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let name = self.banner.split_ascii_whitespace().next().unwrap_or_default();
        let extensions = self.extensions.split_ascii_whitespace().map(digest);
        Fingerprint {
            name: digest(name.trim_end_matches('.')),
            extensions: extensions.fold(0, u32::wrapping_add),
            certificate: self.certificate.map(|[a, b, c, d, ..]| u32::from_le_bytes([a, b, c, d])),
        }
    }
}

impl Fingerprint {
    /// As it was kept before certificates were looked at.
    pub(crate) const fn without_certificate(name: u32, extensions: u32) -> Self {
        Self { name, extensions, certificate: None }
    }
}

/// 32-bit FNV-1a (draft-eastlake-fnv) of a word in lower case. It notices changes; it withstands no forger.
pub(crate) fn digest(word: &str) -> u32 {
    word.bytes().fold(0x811C_9DC5, |digest, byte| {
        (digest ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0193)
    })
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
    /// Its names have no end: they do not count.
    names_vary: bool,
    /// Its certificates have no end: they do not count.
    certificates_vary: bool,
}

/// What a face says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Nobody had seen the server before: that is how it is.
    First,
    /// It is known, or was seen since it is in doubt.
    Familiar,
    /// It is known, but for its certificate, which nobody had looked at: that is how it is.
    Learned,
    /// It is new.
    New(Change),
}

impl Faces {
    /// Those from before certificates were looked at.
    pub(crate) fn without_certificates(
        [known, shown]: [Vec<Fingerprint>; 2],
        overflown: bool,
        names_vary: bool,
    ) -> Self {
        Self { known, shown, overflown, names_vary, certificates_vary: false }
    }

    /// Looks at a face.
    pub(crate) fn see(&mut self, face: Fingerprint) -> Sight {
        let Some(last) = self.known.last().copied() else {
            self.known.push(face);
            return Sight::First;
        };
        let (names_vary, certificates_vary) = (self.names_vary, self.certificates_vary);
        let same_server = |other: &Fingerprint| {
            other.extensions == face.extensions && (names_vary || other.name == face.name)
        };
        // A connection without TLS shows no certificate, which says nothing against it.
        let same = |other: &Fingerprint| {
            same_server(other)
                && (certificates_vary || face.certificate.is_none() || other.certificate == face.certificate)
        };
        if self.known.iter().chain(&self.shown).any(same) {
            return Sight::Familiar;
        }
        let bare = |other: &&mut Fingerprint| other.certificate.is_none() && same_server(other);
        if let Some(bare) = self.known.iter_mut().chain(&mut self.shown).find(bare) {
            bare.certificate = face.certificate;
            return Sight::Learned;
        }
        self.overflown |= self.shown.len() >= FACES_MAX;
        push(&mut self.shown, face);
        let is_other = |a: Option<u32>, b: Option<u32>| a.zip(b).is_some_and(|(a, b)| a != b);
        let changes = [
            (last.name != face.name, Change::Name),
            (last.extensions != face.extensions, Change::Extensions),
            (is_other(last.certificate, face.certificate), Change::Certificate),
        ];
        let mut changes = changes.into_iter().filter(|(is_other, _)| *is_other).map(|(_, change)| change);
        Sight::New(match (changes.next(), changes.next()) {
            (Some(change), None) => change,
            _ => Change::All,
        })
    }

    /// The hop is believed to be the right one, with the faces that it has shown.
    pub(crate) fn believe(&mut self) {
        if let Some(first) = self.shown.first().filter(|_| self.overflown) {
            self.names_vary |= self.shown.iter().any(|face| face.name != first.name);
            self.certificates_vary |= self.shown.iter().any(|face| face.certificate != first.certificate);
        }
        self.overflown = false;
        for face in core::mem::take(&mut self.shown) {
            push(&mut self.known, face);
        }
    }
}

#[cfg(test)]
impl Fingerprint {
    /// As it was written before certificates were looked at.
    pub(crate) fn without(self) -> Vec<u8> {
        postcard::to_extend(&(self.name, self.extensions), Vec::new()).unwrap()
    }
}

#[cfg(test)]
impl Faces {
    /// As many, and as long, as there may be.
    pub(crate) fn largest() -> Self {
        let face = Fingerprint { name: u32::MAX, extensions: u32::MAX, certificate: Some(u32::MAX) };
        let faces = alloc::vec![face; FACES_MAX];
        Self {
            known: faces.clone(),
            shown: faces,
            overflown: true,
            names_vary: true,
            certificates_vary: true,
        }
    }
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
        certificate: None,
    };

    fn named(name: &str) -> Fingerprint {
        Greeting { banner: name, ..EXCHANGE }.fingerprint()
    }

    #[test]
    fn the_time_of_day_and_the_order_of_extensions_are_no_news() {
        let later = Greeting {
            banner: "MAIL.site.example Microsoft ESMTP MAIL Service ready at Tue, 3 Mar 2026 17:30:09 +0100",
            extensions: "pipelining SIZE DSN 8BITMIME ENHANCEDSTATUSCODES STARTTLS CHUNKING XRDST",
            certificate: None,
        };
        assert_eq!(later.fingerprint(), EXCHANGE.fingerprint());
    }

    #[test]
    fn what_changed_is_told() {
        let fewer = Greeting { extensions: "SIZE PIPELINING", ..EXCHANGE }.fingerprint();
        let other = Greeting { banner: "WIN-4711", extensions: "SIZE", certificate: None }.fingerprint();
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
        let fewer = Greeting { banner: "node-78", extensions: "SIZE", certificate: None };
        assert!(matches!(faces.see(fewer.fingerprint()), Sight::New(_)), "what it offers counts as ever");
    }

    fn certified(certificate: u8) -> Fingerprint {
        Greeting { certificate: Some([certificate; 32]), ..EXCHANGE }.fingerprint()
    }

    #[test]
    fn another_certificate_is_news_and_the_first_one_or_none_is_not() {
        let mut faces = Faces::default();
        assert_eq!(faces.see(EXCHANGE.fingerprint()), Sight::First);
        assert_eq!(faces.see(certified(1)), Sight::Learned);
        assert_eq!(faces.see(certified(1)), Sight::Familiar);
        assert_eq!(faces.see(EXCHANGE.fingerprint()), Sight::Familiar, "TLS did not come about");
        assert_eq!(faces.see(certified(2)), Sight::New(Change::Certificate));
        let rebuilt = Greeting { certificate: Some([3; 32]), banner: "WIN-4711", ..EXCHANGE };
        assert_eq!(faces.see(rebuilt.fingerprint()), Sight::New(Change::All));
        faces.believe();
        for certificate in 1..=2 {
            assert_eq!(faces.see(certified(certificate)), Sight::Familiar, "two servers behind one address");
        }
    }

    #[test]
    fn certificates_without_end_are_passed_over_once_somebody_has_said_that_it_is_the_right_server() {
        let mut faces = Faces::default();
        (0..10).for_each(|n| {
            faces.see(certified(n));
        });
        faces.believe();
        assert_eq!(faces.see(certified(77)), Sight::Familiar);
        assert_eq!(faces.see(named("WIN-4711")), Sight::New(Change::Name), "its name counts as ever");
    }
}
