//! What it takes to take mail, and no more: for who does nothing else.
//!
//! The firmware of a box reads the settings of a system that may be newer than itself. What it does not know and does not
//! need must not keep it from taking mail: so here, unlike in [`Settings`](crate::Settings), only four sections are read, and
//! keys in them that are not known are passed over. That the rest holds together was seen to by who wrote it down.

use crate::problem::Problems;
use crate::read::{Document, Sink};
use crate::table::{BoxNetwork, Domains, Listen, System};

/// The settings of taking mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakingSettings {
    /// `[system]`
    pub system: System,
    /// `[network]`
    pub network: BoxNetwork,
    /// `[listen]`
    pub listen: Listen,
    /// `[domains]`
    pub domains: Domains,
}

impl TakingSettings {
    /// Reads the text of a settings file.
    ///
    /// # Errors
    /// Everything that is wrong with what is read of it, at once.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        Sink::collect(text, |sink| Self::read(text, sink))
    }

    fn read(text: &str, sink: &mut Sink) -> Option<Self> {
        let mut document = Document::parse(text, &[], sink);
        let system = document.known_of_one();
        let network = document.known_of_one();
        let listen = document.known_of_one();
        let domains = document.known_of_one();
        let settings = Self { system: system?, network: network?, listen: listen?, domains: domains? };
        settings.network.check(sink);
        Some(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Code, Settings};

    const TEXT: &str = "[system]\nhostname = \"mx.example.org\"\n[network]\naddresses = [\"192.0.2.2/24\"]\n\
        [listen]\nsize_max = \"10MiB\"\n[domains]\naccepted = [\"example.org\"]\n[[next_hop]]\nname = \"exchange\"\n\
        address = \"192.0.2.25\"\n";

    #[test]
    fn what_is_read_is_what_all_of_the_settings_say() {
        let all = Settings::parse(TEXT).unwrap();
        let Settings { system, network, listen, domains, .. } = all;
        assert_eq!(TakingSettings::parse(TEXT), Ok(TakingSettings { system, network, listen, domains }));
    }

    #[test]
    fn what_a_later_version_has_is_passed_over() {
        let later = TEXT.replace("[listen]", "[listen]\nnews_of_2030 = 1");
        let later = later + "nothing_known = true\n[quantum]\nlinks = 3\n";
        assert!(Settings::parse(&later).is_err());
        assert_eq!(TakingSettings::parse(&later), TakingSettings::parse(TEXT));
    }

    #[test]
    fn what_is_needed_and_wrong_is_told() {
        for (change, to, code, key) in [
            ("accepted", "acepted", Code::Missing, "domains.accepted"),
            ("\"10MiB\"", "10", Code::WrongType, "listen.size_max"),
            ("192.0.2.2/24", "192.0.2.2", Code::BadValue, "network.addresses"),
            ("addresses = [", "dhcp = true\naddresses = [", Code::Contradiction, "network.dhcp"),
        ] {
            let problems = TakingSettings::parse(&TEXT.replace(change, to)).unwrap_err();
            let told: alloc::vec::Vec<_> = problems.iter().map(|it| (it.code, it.key.as_str())).collect();
            assert_eq!(told, [(code, key)], "{problems}");
        }
    }
}
