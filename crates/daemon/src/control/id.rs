//! The name under which operators know a message: `d-123` on the disk, `n-7` in the NOR flash.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which volume a message is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// The disk: an eMMC, a file, a block device.
    Disk,
    /// The NOR flash, which takes mail when the disk fails.
    Nor,
}

impl Store {
    /// The volume as one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Nor => "nor",
        }
    }

    /// The letter that its messages' names begin with.
    pub const fn letter(self) -> char {
        match self {
            Self::Disk => 'd',
            Self::Nor => 'n',
        }
    }
}

/// The name of a message: its volume and its number there. As text and in JSON `d-123`; a bare `123` is read as that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MailId {
    /// The volume.
    pub store: Store,
    /// The number, which grows by arrival and is never used twice on that volume.
    pub number: u64,
}

impl MailId {
    /// A message on the disk.
    pub const fn disk(number: u64) -> Self {
        Self { store: Store::Disk, number }
    }

    /// One number for volume and number. Keys are in order of arrival, as numbers are, whichever volume took what; the
    /// log gives none out that would not fit.
    pub(crate) const fn key(self) -> u64 {
        self.number << 1 | matches!(self.store, Store::Nor) as u64
    }

    /// The name that has this key.
    pub(crate) const fn from_key(key: u64) -> Self {
        Self { store: if key & 1 == 0 { Store::Disk } else { Store::Nor }, number: key >> 1 }
    }
}

impl fmt::Display for MailId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}-{}", self.store.letter(), self.number))
    }
}

impl From<MailId> for String {
    fn from(id: MailId) -> Self {
        id.to_string()
    }
}

/// A text that names no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadMailId;

impl fmt::Display for BadMailId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message is named by its number, such as d-123 or 123")
    }
}

impl std::error::Error for BadMailId {}

impl FromStr for MailId {
    type Err = BadMailId;

    fn from_str(text: &str) -> Result<Self, BadMailId> {
        let (store, digits) = match text.split_once('-') {
            Some(("d", digits)) => (Store::Disk, digits),
            Some(("n", digits)) => (Store::Nor, digits),
            Some(_) => return Err(BadMailId),
            None => (Store::Disk, text),
        };
        // `u64::from_str` would take "+7".
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(BadMailId);
        }
        Ok(Self { store, number: digits.parse().map_err(|_| BadMailId)? })
    }
}

impl TryFrom<String> for MailId {
    type Error = BadMailId;

    fn try_from(text: String) -> Result<Self, BadMailId> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_named_with_its_volume_or_by_its_number_alone() {
        assert_eq!("d-123".parse(), Ok(MailId::disk(123)));
        assert_eq!("123".parse(), Ok(MailId::disk(123)));
        assert_eq!("n-7".parse(), Ok(MailId { store: Store::Nor, number: 7 }));
        assert_eq!(MailId::disk(123).to_string(), "d-123");
    }

    #[test]
    fn a_key_orders_by_number_and_leads_back() {
        let (older, newer) = (MailId { store: Store::Nor, number: 7 }, MailId::disk(8));
        assert!(older.key() < newer.key());
        for id in [older, newer, MailId::disk(7), MailId { store: Store::Nor, number: 1 << 62 }] {
            assert_eq!(MailId::from_key(id.key()), id);
        }
        assert_ne!(older.key(), MailId::disk(7).key());
    }

    #[test]
    fn what_names_no_message_is_refused() {
        for text in ["", "d-", "-1", "+1", "d-+1", "x-1", "d-1-2", "1.0", "18446744073709551616", "d 1"] {
            assert_eq!(text.parse::<MailId>(), Err(BadMailId), "{text:?}");
        }
    }
}
