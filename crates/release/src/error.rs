//! What can be wrong with what the caller hands in.

use core::fmt;

/// Why a [`Release`](crate::Release) cannot be made, or a saved state not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// `PS-R01`: no next hop, more than [`HOPS_MAX`](crate::HOPS_MAX), two of one name, or a weight of 0.
    Hops,
    /// `PS-R02`: a ceiling or a probe interval of 0, an empty retry schedule, jitter above 100 percent, or a time of
    /// more than a thousand years.
    Limits,
    /// `PS-R03`: a saved state of a later version. The box starts as if nothing had been saved.
    SavedVersion,
    /// `PS-R04`: a saved state that cannot be decoded.
    SavedCorrupt,
    /// `PS-R05`: no way, more than [`WAYS_MAX`](crate::WAYS_MAX), or one without a next hop.
    Ways,
}

impl Error {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Hops => "PS-R01",
            Self::Limits => "PS-R02",
            Self::SavedVersion => "PS-R03",
            Self::SavedCorrupt => "PS-R04",
            Self::Ways => "PS-R05",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Hops => "there must be 1 to 16 next hops with different names and weights above 0",
            Self::Limits => {
                "a ceiling, an interval, the retry schedule or the jitter of release is out of bounds"
            }
            Self::SavedVersion => "the saved state of release is of a later version",
            Self::SavedCorrupt => "the saved state of release cannot be decoded",
            Self::Ways => "there must be 1 to 16 ways for mail, each with a next hop",
        };
        write!(out, "{} {what}", self.code())
    }
}

impl core::error::Error for Error {}
