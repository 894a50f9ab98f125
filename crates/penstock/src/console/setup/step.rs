//! What the dialogue asks for, and how settings and typed words become each other.

use std::fs;

use penstock_settings::{Key, SECTIONS};
use toml_edit::Value;

use crate::edit;

/// One thing that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    HostName,
    Addresses,
    Gateway,
    NameServers,
    TimeServers,
    Domains,
    NextHop,
    Disk,
    Connections,
    Rate,
    Hybrid,
}

/// In this order.
pub(super) const STEPS: [Step; 11] = [
    Step::HostName,
    Step::Addresses,
    Step::Gateway,
    Step::NameServers,
    Step::TimeServers,
    Step::Domains,
    Step::NextHop,
    Step::Disk,
    Step::Connections,
    Step::Rate,
    Step::Hybrid,
];

/// What is asked.
pub(super) const fn question(step: Step) -> &'static str {
    match step {
        Step::HostName => "Name of the box, as other servers see it",
        Step::Addresses => "Its address, such as 10.0.0.9/24",
        Step::Gateway => "Router to everywhere else",
        Step::NameServers => "Name servers",
        Step::TimeServers => "Time servers",
        Step::Domains => "Domains whose mail it takes",
        Step::NextHop => "Mail server, address and port",
        Step::Disk => "Disk for the mail",
        Step::Connections => "Connections to the mail server at once, at most",
        Step::Rate => "Messages to it in a minute, at most (0: what it is seen to bear)",
        Step::Hybrid => "Is Exchange in hybrid with Microsoft 365?",
    }
}

/// The key with the time servers, where there is one.
pub(super) fn time_key() -> Option<String> {
    let network = SECTIONS.iter().find(|section| section.name == "network")?;
    let key = network.keys.iter().find(|key| key.name.contains("ntp") || key.name.contains("time_server"))?;
    Some(format!("network.{}", key.name))
}

/// A draft without a key, whether it was set or not.
pub(super) fn without(draft: &str, path: &str) -> String {
    edit::unset(draft, path).unwrap_or_else(|_| draft.to_owned())
}

/// A value as a person would type it: without quotation marks and brackets.
pub(super) fn bare(value: &str) -> String {
    list(value).join(" ")
}

/// The same, entry by entry.
pub(super) fn list(value: &str) -> Vec<String> {
    let one =
        |value: &Value| value.as_str().map_or_else(|| value.to_string().trim().to_owned(), ToOwned::to_owned);
    match value.parse::<Value>() {
        Ok(Value::Array(entries)) => entries.iter().map(one).collect(),
        Ok(value) => vec![one(&value)],
        Err(_) => vec![value.to_owned()],
    }
}

/// Whether that is a yes or a no, if it is one of them.
pub(super) fn is_yes(typed: &str) -> Option<bool> {
    match typed.trim().to_ascii_lowercase().as_str() {
        "yes" | "y" => Some(true),
        "no" | "n" => Some(false),
        _ => None,
    }
}

/// Disks with their sizes in bytes: block devices with a device behind them.
pub(super) fn disks() -> Vec<(String, u64)> {
    let Ok(entries) = fs::read_dir("/sys/block") else { return Vec::new() };
    let mut disks: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.path().join("device").exists())
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            // Flash has block devices of its own kind, which are no disks.
            if name.starts_with("mtdblock") {
                return None;
            }
            let sectors: u64 = fs::read_to_string(entry.path().join("size")).ok()?.trim().parse().ok()?;
            Some((format!("/dev/{name}"), sectors * 512))
        })
        .collect();
    disks.sort();
    disks
}

/// The name of the first next hop.
pub(super) fn first_hop(draft: &str) -> Option<String> {
    let hops = penstock_settings::entries(draft);
    let first = hops.iter().find_map(|entry| entry.key.strip_prefix("next_hop.")?.strip_suffix(".name"));
    first.map(ToOwned::to_owned)
}

/// The key that a path names.
pub(super) fn key_of(path: &str) -> Option<&'static Key> {
    edit::Place::find(path).ok()?.key
}

/// Whether there is such a setting.
pub(super) fn exists(path: &str) -> bool {
    key_of(path).is_some()
}

/// The default of a setting.
pub(super) fn default_of(path: &str) -> Option<String> {
    edit::default_of(key_of(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_reads_as_a_person_would_type_it() {
        assert_eq!(bare("[\"10.0.0.1\", \"10.0.0.2\"]"), "10.0.0.1 10.0.0.2");
        assert_eq!(bare("\"mx.example.org\""), "mx.example.org");
        assert_eq!(bare("5"), "5");
        assert_eq!(bare("[]"), "");
    }

    #[test]
    fn the_first_next_hop_is_the_one_that_is_asked_for() {
        let draft = "[[next_hop]]\nname = \"old\"\n[[next_hop]]\nname = \"spare\"\n";
        assert_eq!(first_hop(draft).as_deref(), Some("old"));
        assert_eq!(first_hop(""), None);
    }

    #[test]
    fn every_question_is_about_a_key_that_there_is() {
        for path in [
            "system.hostname",
            "network.addresses",
            "network.gateways",
            "network.dns_servers",
            "domains.accepted",
        ] {
            assert!(exists(path), "{path}");
        }
        for path in [
            "volume.path",
            "release.connections_max",
            "release.messages_per_minute_max",
            "site.microsoft_365",
        ] {
            assert!(exists(path), "{path}");
        }
        assert!(exists("next_hop.exchange.address"));
    }
}
