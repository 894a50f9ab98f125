//! What outlives a restart: the operator's mode and what is known of each hop.

mod earlier;

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::error::Error;
use crate::fingerprint::Faces;
use crate::hop::State;
use crate::text::ReplyText;

/// The longest saved state, in bytes: 16 hops with the longest names and replies.
pub const SAVED_BYTES_MAX: usize = 8_192;

/// The first byte of a saved state. A change of the structs below, of [`State`], [`Cause`] or [`Mode`] needs another.
const VERSION: u8 = 3;

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

/// The mode and the hops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The operator's mode.
    pub mode: Mode,
    /// Hops by name; those that the settings no longer have are forgotten.
    pub hops: Vec<SavedHop>,
    /// Mailboxes that the server asked to spare ([`Config::mailbox`](crate::Config::mailbox)), with the seconds between two
    /// messages to each.
    pub spared: Vec<(u32, u16)>,
    /// Domains whose mail is held: the name of the hop, and a recipient that stands for it.
    pub domains: Vec<(String, String)>,
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
            earlier::VERSION_2 => whole::<earlier::Saved2>(body).map(Self::from),
            earlier::VERSION_1 => whole::<earlier::Saved1>(body).map(Self::from),
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
    use crate::domains::{ADDRESS_BYTES_MAX, DOMAINS_MAX};
    use crate::fingerprint::Change;
    use crate::queue::SPARED_SAVED_MAX;
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
        Saved {
            mode: Mode::Hold { until_unix_ms: Some(u64::MAX) },
            hops: alloc::vec![hop; HOPS_MAX],
            spared: alloc::vec![(u32::MAX, u16::MAX); SPARED_SAVED_MAX],
            domains: alloc::vec![("n".repeat(32), "a".repeat(ADDRESS_BYTES_MAX)); DOMAINS_MAX],
        }
    }

    #[test]
    fn what_is_saved_is_found_again_and_fits() {
        let bytes = largest().to_bytes();
        assert!(bytes.len() <= SAVED_BYTES_MAX, "{}", bytes.len());
        assert_eq!(Saved::from_bytes(&bytes), Ok(largest()));
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
