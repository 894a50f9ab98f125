//! What the payloads of frames say: envelopes, fates, state, events.
//!
//! Payloads are postcard; FORMAT.md draws them. A field is only ever added at the end, where an older reader does not
//! look. This module knows the shapes and their bounds, not where they are on flash.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::segment::Purpose;

/// The longest BEGIN, COMMIT or EXTENTS payload, in bytes.
pub(crate) const RECORD_BYTES_MAX: usize = 512;
/// Beyond this no volume counts its segments, groups and messages: who finds a higher number has found a lie, and goes
/// on from here.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;
/// The longest path that RFC 5321 §4.5.3.1.3 allows, in octets.
pub const PATH_BYTES_MAX: usize = 256;
/// The longest HELO name that is kept, in bytes. Names may be longer; who has one cuts it.
pub const HELO_BYTES_MAX: usize = 100;
/// The longest ENVID, in octets (RFC 3461 §4.4).
pub const ENVID_BYTES_MAX: usize = 100;
/// The longest ORCPT, in octets (RFC 3461 §4.2).
pub const ORCPT_BYTES_MAX: usize = 500;
/// The longest text of an event, in bytes.
pub const EVENT_TEXT_BYTES_MAX: usize = 512;
/// The longest key of a META record, in bytes.
pub const META_KEY_BYTES_MAX: usize = 64;
/// The longest value of a META record, in bytes.
pub const META_VALUE_BYTES_MAX: usize = 1024;
/// The most recipients a message may have.
pub const RECIPIENTS_MAX: u16 = 10_000;

/// The name of a message in its volume: grows by arrival, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId(pub u64);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for MessageId {
    type Err = core::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// When something happened, and how far that can be believed.
///
/// Order in the log never comes from it: a box may start in 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Milliseconds since 1970 by the clock of the time.
    pub unix_ms: u64,
    /// The number of the boot in which that was.
    pub boot: u32,
    /// Whether the clock was known to be right.
    pub trusted: bool,
}

/// The BODY parameter of MAIL (RFC 6152, RFC 3030).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// Seven bits, or nothing said.
    #[default]
    SevenBit,
    /// `BODY=8BITMIME`.
    EightBitMime,
    /// `BODY=BINARYMIME`.
    BinaryMime,
}

/// The RET parameter of MAIL (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ret {
    /// The whole message comes back with a report.
    Full,
    /// Its headers only.
    Headers,
}

/// The NOTIFY parameter of RCPT (RFC 3461 §4.1), as bits; empty where it was not given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify(pub u8);

impl Notify {
    /// `NOTIFY=NEVER`.
    pub const NEVER: Self = Self(1);
    /// `SUCCESS` is among the conditions.
    pub const SUCCESS: Self = Self(2);
    /// `FAILURE` is among the conditions.
    pub const FAILURE: Self = Self(4);
    /// `DELAY` is among the conditions.
    pub const DELAY: Self = Self(8);

    /// Whether all conditions of `other` are among these.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These conditions and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether NOTIFY was not given.
    pub const fn is_absent(self) -> bool {
        self.0 == 0
    }
}

/// A transaction as it came: all of the envelope but the recipients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// When MAIL was accepted.
    pub received: Stamp,
    /// The reverse-path without angle brackets; empty for the null sender. At most [`PATH_BYTES_MAX`].
    pub sender: String,
    /// What the client said in HELO or EHLO. At most [`HELO_BYTES_MAX`].
    pub helo: String,
    /// The client's address.
    pub client: Option<SocketAddr>,
    /// The BODY parameter.
    pub body: Body,
    /// Whether SMTPUTF8 was given.
    pub smtputf8: bool,
    /// Whether the session was encrypted.
    pub tls: bool,
    /// The RET parameter.
    pub ret: Option<Ret>,
    /// The ENVID parameter as it came, still xtext. At most [`ENVID_BYTES_MAX`].
    pub envid: Option<String>,
}

/// One recipient as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The forward-path without angle brackets. At most [`PATH_BYTES_MAX`].
    pub address: String,
    /// The NOTIFY parameter.
    pub notify: Notify,
    /// The ORCPT parameter as it came, still xtext. At most [`ORCPT_BYTES_MAX`].
    pub orcpt: Option<String>,
}

/// Checks one field against its bound.
fn bounded(field: &'static str, text: &str, max_bytes: usize) -> Result<(), Error> {
    if text.len() > max_bytes { Err(Error::FieldTooLong { field, max_bytes }) } else { Ok(()) }
}

impl Begin {
    pub(crate) fn check(&self) -> Result<(), Error> {
        bounded("sender", &self.sender, PATH_BYTES_MAX)?;
        bounded("HELO name", &self.helo, HELO_BYTES_MAX)?;
        bounded("ENVID", self.envid.as_deref().unwrap_or_default(), ENVID_BYTES_MAX)
    }
}

impl Recipient {
    pub(crate) fn check(&self) -> Result<(), Error> {
        bounded("recipient", &self.address, PATH_BYTES_MAX)?;
        bounded("ORCPT", self.orcpt.as_deref().unwrap_or_default(), ORCPT_BYTES_MAX)
    }
}

/// What has become of a recipient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Fate {
    /// To be delivered; nothing has been tried yet.
    #[default]
    Queued = 0,
    /// To be delivered; an attempt failed and will be repeated.
    Deferred = 1,
    /// Refused by the next hop, or poison. Kept until the operator decides.
    Held = 2,
    /// The next hop took it.
    Delivered = 3,
    /// The operator removed it.
    Removed = 4,
    /// The next hop refused it while the client waited, and the client was told.
    RefusedInSession = 5,
    /// A power cut tore the message before it was acknowledged: it never counted.
    Torn = 6,
}

impl Fate {
    /// Whether nothing more will be tried unless the operator [replays](crate::Spool::replay).
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Delivered | Self::Removed | Self::RefusedInSession | Self::Torn)
    }

    pub(crate) const fn from_u8(fate: u8) -> Self {
        match fate {
            1 => Self::Deferred,
            2 => Self::Held,
            3 => Self::Delivered,
            4 => Self::Removed,
            5 => Self::RefusedInSession,
            6 => Self::Torn,
            _ => Self::Queued,
        }
    }
}

/// A change of fate, for a run of recipients of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The first recipient concerned, counted from 0.
    pub first: u16,
    /// How many recipients, from the first on.
    pub count: u16,
    /// What has become of them.
    pub fate: Fate,
    /// Attempts made so far.
    pub attempts: u16,
    /// The SMTP reply code that decided it; 0 where none did.
    pub reply_code: u16,
    /// When.
    pub at: Stamp,
}

impl Status {
    /// A fate for all recipients of a message, decided by nobody's reply.
    pub(crate) fn of_all(recipients: u16, fate: Fate) -> Self {
        Self { first: 0, count: recipients, fate, attempts: 0, reply_code: 0, at: Stamp::default() }
    }
}

/// Something worth keeping that happened: the custody ledger and the box's log are made of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Stamp,
    /// What kind of thing; the numbers belong to the caller.
    pub code: u16,
    /// The message it concerns.
    pub message: Option<MessageId>,
    /// What to tell a person. At most [`EVENT_TEXT_BYTES_MAX`].
    pub text: String,
}

/// A namespaced key with its value, the newest of which counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) namespace: u8,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// A place of a frame in the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

/// A stretch of a segment in which frames of a message stand, perhaps with the ends of groups between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Extent {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) span_bytes: u32,
}

/// The most extents that a COMMIT or EXTENTS frame carries.
pub(crate) const EXTENTS_MAX: usize = 24;
pub(crate) type Extents = heapless::Vec<Extent, EXTENTS_MAX>;

/// Extents of a message that came before those in its COMMIT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExtentsRecord {
    /// The EXTENTS frame before this one.
    pub(crate) previous: Option<Place>,
    pub(crate) extents: Vec<Extent>,
}

/// The end of a message: with it, the message exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Commit {
    pub(crate) size_bytes: u64,
    /// SHA-256 of the message: CRC-32C is linear and cannot vouch for itself.
    pub(crate) sha256: [u8; 32],
    pub(crate) recipients: u16,
    pub(crate) previous: Option<Place>,
    pub(crate) extents: Vec<Extent>,
}

impl Commit {
    /// Whether the message has frames in other segments than the one with its COMMIT.
    pub(crate) fn is_wide(&self, segment: u32) -> bool {
        self.previous.is_some() || self.extents.iter().any(|extent| extent.segment != segment)
    }
}

/// Where a segment stands in its life; the newest record about a segment counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentRecord {
    pub(crate) segment: u32,
    pub(crate) sequence: u64,
    pub(crate) erase_count: u32,
    pub(crate) purpose: Purpose,
    pub(crate) life: Life,
}

/// The lives of a segment that a record can tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Life {
    /// It was opened with that sequence number: what it holds counts.
    Used,
    /// What it held under that sequence number is no longer needed.
    Retired,
    /// It was erased after that sequence number, and the erase came to its end. Where it stands among the free ones: more
    /// is later.
    Clean { since: u64 },
    /// It could not be erased or programmed any more: it is never used again.
    Bad,
    /// As Used, and a stop has left it open: no footer says how far it goes. That group must be there.
    Left { last_group: u64 },
}

impl Life {
    /// Whether what the segment holds counts.
    pub(crate) fn is_in_use(self) -> bool {
        matches!(self, Self::Used | Self::Left { .. })
    }
}

pub(crate) fn encode<T: Serialize>(record: &T, into: &mut [u8]) -> Result<usize, Error> {
    match postcard::to_slice(record, into) {
        Ok(written) => Ok(written.len()),
        Err(_) => Err(Error::FieldTooLong { field: "record", max_bytes: into.len() }),
    }
}

pub(crate) fn decode<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Option<T> {
    postcard::take_from_bytes(payload).ok().map(|(record, _)| record)
}
