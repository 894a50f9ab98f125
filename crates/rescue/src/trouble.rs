//! Why no mail is taken.

use alloc::string::{String, ToString};
use core::fmt;

use penstock_settings::Problems;

/// Why no mail is taken at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There are no settings: nobody has said for whom mail may be taken, and to take all of it would be an open relay.
    NoSettings,
    /// The settings are not valid. With what is wrong with them.
    Settings(String),
    /// The host name of the settings cannot stand in a greeting.
    HostName,
    /// The settings give the box no address, and none to ask for.
    NoAddress,
    /// No volume can be written.
    NoVolume,
    /// The MAC address is one of a group of machines, or all zeros.
    Mac,
}

impl Trouble {
    pub(crate) fn settings(problems: &Problems) -> Self {
        Self::Settings(problems.to_string())
    }

    /// The stable code under which documents and logs speak of it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoSettings => "PS-E01",
            Self::Settings(_) => "PS-E02",
            Self::HostName => "PS-E03",
            Self::NoAddress => "PS-E04",
            Self::NoVolume => "PS-E05",
            Self::Mac => "PS-E06",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.code())?;
        match self {
            Self::NoSettings => f.write_str("there are no settings, so nobody knows whose mail to take"),
            Self::Settings(problems) => write!(f, "the settings are not valid: {problems}"),
            Self::HostName => f.write_str("system.hostname cannot stand in a greeting"),
            Self::NoAddress => f.write_str("the settings give the box no address"),
            Self::Mac => f.write_str("the MAC address is not that of one machine"),
            Self::NoVolume => f.write_str("neither disk nor NOR flash can be written"),
        }
    }
}

impl core::error::Error for Trouble {}
