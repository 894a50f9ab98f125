//! Saved states of earlier versions, which are still read.

use alloc::string::String;
use alloc::vec::Vec;

use serde::Deserialize;

use super::{Mode, Saved, SavedHop};
use crate::cause::Cause;
use crate::fingerprint::FacesWithoutCertificates;
use crate::hop::State;
use crate::text::ReplyText;

/// The version from before hops had to prove themselves.
pub(super) const VERSION_1: u8 = 1;
/// The version from before certificates were looked at.
pub(super) const VERSION_2: u8 = 2;

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
pub(super) struct Saved1 {
    mode: Mode,
    hops: Vec<SavedHop1>,
}

impl From<SavedHop1> for SavedHop {
    fn from(hop: SavedHop1) -> Self {
        let SavedHop1 { name, state, proved_by_mail, since_unix_ms, last_reply } = hop;
        Self { name, state, proved_by_mail, since_unix_ms, last_reply, ..Self::default() }
    }
}

impl From<Saved1> for Saved {
    fn from(Saved1 { mode, hops }: Saved1) -> Self {
        Self {
            mode,
            hops: hops.into_iter().map(SavedHop::from).collect(),
            spared: Vec::new(),
            domains: Vec::new(),
        }
    }
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
pub(super) struct Saved2 {
    mode: Mode,
    hops: Vec<SavedHop2>,
}

impl From<SavedHop2> for SavedHop {
    fn from(hop: SavedHop2) -> Self {
        Self {
            name: hop.name,
            state: hop.state,
            proved_by_mail: hop.proved_by_mail,
            proves: hop.proves,
            missing: hop.missing,
            since_unix_ms: hop.since_unix_ms,
            last_reply: hop.last_reply,
            cause: hop.cause,
            faces: hop.faces.into(),
            takes_probes: hop.takes_probes,
            took_mail: hop.took_mail,
        }
    }
}

impl From<Saved2> for Saved {
    fn from(Saved2 { mode, hops }: Saved2) -> Self {
        Self {
            mode,
            hops: hops.into_iter().map(SavedHop::from).collect(),
            spared: Vec::new(),
            domains: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

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
        assert_eq!(Saved::from_bytes(&saved.to_bytes()), Ok(saved));
    }
}
