//! What outlives a restart: the operator's mode and what is known of each hop.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::error::Error;
use crate::fingerprint::{Faces, FacesWithoutCertificates};
use crate::hop::State;
use crate::text::ReplyText;

/// The longest saved state, in bytes: 16 hops with the longest names and replies.
pub const SAVED_BYTES_MAX: usize = 4_096;

/// The first byte of a saved state. A change of the structs below, of [`State`], [`Cause`] or [`Mode`] needs another.
const VERSION: u8 = 3;
/// The version from before certificates were looked at. Still read.
const VERSION_2: u8 = 2;
/// The version from before hops had to prove themselves. Still read.
const VERSION_1: u8 = 1;

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Mail goes as the next hop can take it.
    Auto,
    /// Nothing goes; whether the next hop answers is still looked at, without mail.
    Hold {
        /// When it ends by itself, in ms since 1970. Needs a clock that can be trusted.
        until_unix_ms: Option<u64>,
    },
    /// Mail goes, and no message waits longer than the first step of the retry schedule. Verdicts, ceilings and the
    /// state of a hop hold as ever.
    Drain,
    /// Nothing leaves the box, not even a probe.
    Stop,
}

/// One hop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedHop {
    /// Its name in the settings.
    pub name: String,
    /// Its state.
    pub state: State,
    /// Whether only a message can prove that it is over.
    pub proved_by_mail: bool,
    /// Whether canaries have ever come back from it.
    pub proves: bool,
    /// The probe mailboxes whose canaries are missing, a bit each.
    pub missing: u16,
    /// Since when, in ms since 1970, if the clock could be trusted.
    pub since_unix_ms: Option<u64>,
    /// What it last said, if it was no success.
    pub last_reply: Option<ReplyText>,
    /// Why it has to prove itself, if it has.
    pub cause: Option<Cause>,
    /// How it looks.
    pub faces: Faces,
    /// Whether it has answered a probe well, with its empty sender.
    pub takes_probes: bool,
    /// Whether it has taken mail.
    pub took_mail: bool,
}

/// A hop in [`VERSION_2`].
#[derive(Deserialize)]
struct SavedHop2 {
    name: String,
    state: State,
    proved_by_mail: bool,
    proves: bool,
    missing: u16,
    since_unix_ms: Option<u64>,
    last_reply: Option<ReplyText>,
    cause: Option<Cause>,
    faces: FacesWithoutCertificates,
    takes_probes: bool,
    took_mail: bool,
}

#[derive(Deserialize)]
struct Saved2 {
    mode: Mode,
    hops: Vec<SavedHop2>,
}

/// A hop in [`VERSION_1`]. Its state was one of the first seven.
#[derive(Deserialize)]
struct SavedHop1 {
    name: String,
    state: State,
    proved_by_mail: bool,
    since_unix_ms: Option<u64>,
    last_reply: Option<ReplyText>,
}

#[derive(Deserialize)]
struct Saved1 {
    mode: Mode,
    hops: Vec<SavedHop1>,
}

impl From<SavedHop2> for SavedHop {
    fn from(hop: SavedHop2) -> Self {
        let SavedHop2 { name, state, proved_by_mail, proves, missing, since_unix_ms, last_reply, .. } = hop;
        let SavedHop2 { cause, faces, takes_probes, took_mail, .. } = hop;
        let faces = faces.into();
        Self {
            name,
            state,
            proved_by_mail,
            proves,
            missing,
            since_unix_ms,
            last_reply,
            cause,
            faces,
            takes_probes,
            took_mail,
        }
    }
}

impl From<Saved2> for Saved {
    fn from(Saved2 { mode, hops }: Saved2) -> Self {
        Self { mode, hops: hops.into_iter().map(SavedHop::from).collect() }
    }
}

impl From<SavedHop1> for SavedHop {
    fn from(hop: SavedHop1) -> Self {
        let SavedHop1 { name, state, proved_by_mail, since_unix_ms, last_reply } = hop;
        Self { name, state, proved_by_mail, since_unix_ms, last_reply, ..Self::default() }
    }
}

impl From<Saved1> for Saved {
    fn from(Saved1 { mode, hops }: Saved1) -> Self {
        Self { mode, hops: hops.into_iter().map(SavedHop::from).collect() }
    }
}

/// The mode and the hops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The operator's mode.
    pub mode: Mode,
    /// Hops by name; those that the settings no longer have are forgotten.
    pub hops: Vec<SavedHop>,
}

impl Saved {
    /// The bytes to keep: a version and postcard, at most [`SAVED_BYTES_MAX`].
    pub fn to_bytes(&self) -> Vec<u8> {
        // Growing a vector cannot fail, so there is nothing to hand on.
        postcard::to_extend(self, Vec::from([VERSION])).unwrap_or_default()
    }

    /// Reads what [`to_bytes`](Saved::to_bytes) gave.
    ///
    /// # Errors
    /// [`Error::SavedVersion`], [`Error::SavedCorrupt`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let (version, body) = bytes.split_first().ok_or(Error::SavedCorrupt)?;
        if bytes.len() > SAVED_BYTES_MAX {
            return Err(Error::SavedCorrupt);
        }
        match *version {
            VERSION => whole(body),
            VERSION_2 => whole::<Saved2>(body).map(Self::from),
            VERSION_1 => whole::<Saved1>(body).map(Self::from),
            _ => Err(Error::SavedVersion),
        }
    }
}

/// A value that the bytes are, to the last one.
fn whole<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Error> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(Error::SavedCorrupt),
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::config::HOPS_MAX;
    use crate::fingerprint::Change;
    use crate::text::REPLY_TEXT_BYTES_MAX;

    fn largest() -> Saved {
        let text = "x".repeat(REPLY_TEXT_BYTES_MAX);
        let hop = SavedHop {
            name: "n".repeat(32),
            state: State::Rejecting,
            proved_by_mail: true,
            proves: true,
            missing: u16::MAX,
            since_unix_ms: Some(u64::MAX),
            last_reply: Some(ReplyText::new(format_args!("{text}"))),
            cause: Some(Cause::Fingerprint(Change::CertificateToo)),
            faces: Faces::largest(),
            takes_probes: true,
            took_mail: true,
        };
        Saved { mode: Mode::Hold { until_unix_ms: Some(u64::MAX) }, hops: alloc::vec![hop; HOPS_MAX] }
    }

    #[test]
    fn what_is_saved_is_found_again_and_fits() {
        let bytes = largest().to_bytes();
        assert!(bytes.len() <= SAVED_BYTES_MAX, "{}", bytes.len());
        assert_eq!(Saved::from_bytes(&bytes), Ok(largest()));
    }

    /// Bytes as version 1 wrote them: on hold, `exchange` unconfigured since then with a reply, `spare` down.
    #[test]
    fn what_version_1_saved_is_still_read() {
        let mut bytes = alloc::vec![1, 1, 0, 2, 8];
        bytes.extend(b"exchange");
        bytes.extend([5, 1, 1, 0x80, 0xD0, 0x95, 0xFF, 0xBC, 0x31, 1, 8]);
        bytes.extend(b"550 5.7.");
        bytes.extend([5]);
        bytes.extend(b"spare");
        bytes.extend([3, 0, 0, 0]);
        let saved = Saved::from_bytes(&bytes).unwrap();
        assert_eq!(saved.mode, Mode::Hold { until_unix_ms: None });
        let [exchange, spare] = &saved.hops[..] else { panic!("two hops") };
        assert_eq!((exchange.name.as_str(), exchange.state), ("exchange", State::Unconfigured));
        assert_eq!((exchange.proved_by_mail, exchange.since_unix_ms), (true, Some(1_700_000_000_000)));
        assert_eq!(exchange.last_reply.map(|reply| reply.to_string()).as_deref(), Some("550 5.7."));
        assert_eq!((spare.state, spare.cause, &spare.faces), (State::Down, None, &Faces::default()));
        let again = Saved::from_bytes(&saved.to_bytes());
        assert_eq!(again, Ok(saved));
    }

    /// Bytes as version 2 wrote them: `exchange` healthy, with one face that is known and one that is new.
    #[test]
    fn what_version_2_saved_is_still_read_with_faces_that_have_no_certificate_yet() {
        let mut bytes = alloc::vec![2, 0, 1, 8];
        bytes.extend(b"exchange");
        bytes.extend([1, 0, 1, 0, 0, 0, 0, 1, 7, 9, 1, 8, 9, 0, 0, 1, 1]);
        let saved = Saved::from_bytes(&bytes).unwrap();
        let [exchange] = &saved.hops[..] else { panic!("one hop") };
        assert_eq!(
            (exchange.name.as_str(), exchange.state, exchange.proves),
            ("exchange", State::Healthy, true)
        );
        assert!(exchange.takes_probes && exchange.took_mail);
        let faces = postcard::to_allocvec(&exchange.faces).unwrap();
        assert_eq!(faces, [1, 7, 9, 0, 1, 8, 9, 0, 0, 0], "known, shown, and neither flag");
    }

    #[test]
    fn what_is_damaged_or_of_another_version_is_refused() {
        let bytes = largest().to_bytes();
        assert_eq!(Saved::from_bytes(&[]), Err(Error::SavedCorrupt));
        assert_eq!(Saved::from_bytes(&bytes[..bytes.len() - 1]), Err(Error::SavedCorrupt));
        assert_eq!(Saved::from_bytes(&[bytes.clone(), [0].into()].concat()), Err(Error::SavedCorrupt));
        assert_eq!(Saved::from_bytes(&[&[VERSION + 1], &bytes[1..]].concat()), Err(Error::SavedVersion));
        assert_eq!(
            Error::SavedVersion.to_string(),
            "PS-R03 the saved state of release is of a later version"
        );
    }
}
