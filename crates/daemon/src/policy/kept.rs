//! What the policy must remember over a restart: when the list was last in step, and what an outage under way began with.

use penstock_spool::Stamp;
use serde::{Deserialize, Serialize};

use super::table::Basis;
use crate::boxstate::Kept;

/// Under which key of the box's state it is kept.
pub(super) const KEY: &[u8] = b"recipients";

/// That the list was found to be what the site's directory says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Agreed {
    /// Which list: when it was imported.
    pub(super) imported: Stamp,
    /// When.
    pub(super) at: Stamp,
}

/// An outage under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Began {
    pub(super) at: Stamp,
    pub(super) basis: Basis,
    /// The list of that time: when it was imported.
    pub(super) imported: Option<Stamp>,
}

/// All of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Remembered {
    pub(super) agreed: Option<Agreed>,
    pub(super) outage: Option<Began>,
}

impl Remembered {
    /// As it was kept. What cannot be read is forgotten: then nobody is refused for good that would not be without it.
    pub(super) fn load(kept: &Kept) -> Self {
        kept.value(KEY).and_then(|bytes| postcard::from_bytes(bytes).ok()).unwrap_or_default()
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        if *self == Self::default() {
            return Vec::new();
        }
        // Writing to a vector cannot fail.
        postcard::to_extend(self, Vec::new()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_found_again_and_nothing_takes_no_room() {
        let at = Stamp { unix_ms: 7, boot: 2, trusted: true };
        let remembered = Remembered {
            agreed: Some(Agreed { imported: at, at }),
            outage: Some(Began { at, basis: Basis::InStep, imported: Some(at) }),
        };
        let load = |bytes: Vec<u8>| Remembered::load(&Kept::of([(KEY.to_vec(), bytes)]));
        assert_eq!(load(remembered.bytes()), remembered);
        assert_eq!(load(b"nonsense of a later version".to_vec()), Remembered::default());
        assert!(Remembered::default().bytes().is_empty());
    }
}
