//! What the dialogue that sets a box up finds out before it goes on: each check says in sentences what it found.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::Path;

use penstock_daemon::keeper::{self, Network, Request};
use penstock_settings::{BoxNetwork, HopAddress, HopHost};

use super::{dns, net, ping};
use crate::text::Screen;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// What to tell, one sentence a line.
    pub(super) lines: Vec<String>,
    /// Whether something is not as it should be, so that a person has to say that it is meant.
    pub(super) bad: bool,
}

impl Found {
    pub(super) fn good(line: impl Into<String>) -> Self {
        Self { lines: vec![line.into()], bad: false }
    }

    pub(super) fn bad(line: impl Into<String>) -> Self {
        Self { lines: vec![line.into()], bad: true }
    }

    fn and(mut self, other: Self) -> Self {
        self.lines.extend(other.lines);
        self.bad |= other.bad;
        self
    }
}

/// Takes the addresses of a draft, unless somebody has them already.
pub(super) fn network(draft: &str, even_if_taken: bool) -> Found {
    let request = Request::Network { text: draft.to_owned(), even_if_taken };
    match keeper::ask::<Network>(Path::new(keeper::SOCKET), &request) {
        Err(why) => Found::bad(why.to_string()),
        Ok(Network { taken, failed }) => {
            let mut found = Found::default();
            for (address, owner) in taken {
                found =
                    found.and(Found::bad(format!("{address} is in use already, by the machine {owner}.")));
            }
            match failed {
                Some(failed) => found.and(Found::bad(failed)),
                None if found.bad => found,
                None => Found::good("Nobody else in the local network answers to it; the box has it now."),
            }
        }
    }
}

/// Puts the network back as it was before.
pub(super) fn network_back() {
    // If it cannot be asked it puts it back by itself.
    let _ = keeper::ask::<Network>(Path::new(keeper::SOCKET), &Request::NetworkBack);
}

/// Whether the routers answer.
pub(super) fn gateways(network: &BoxNetwork) -> Found {
    network.gateways.iter().fold(Found::default(), |found, gateway| {
        found.and(match ping::answers(*gateway) {
            Ok(Some(took)) => Found::good(format!("{gateway} answers, after {:.1} ms.", took.as_secs_f64() * 1000.0)),
            Ok(None) => Found::bad(format!(
                "{gateway} does not answer pings. Some routers never do; nothing beyond the local network can be reached \
                 if it is the wrong address."
            )),
            Err(error) => Found::bad(format!("{gateway} cannot be asked: {error}")),
        })
    })
}

/// What each name server says of the domains.
pub(super) fn name_servers(servers: &[IpAddr], domains: &[String]) -> Found {
    let mut found = Found::default();
    for server in servers {
        for domain in domains {
            found = found.and(match dns::mail_exchangers(*server, domain) {
                Ok(dns::Said::Exchangers(list)) if list.is_empty() => {
                    Found::good(format!("{server} answers: {domain} has no MX."))
                }
                Ok(dns::Said::Exchangers(list)) => {
                    let names: Vec<_> =
                        list.iter().map(|(preference, name)| format!("{name} ({preference})")).collect();
                    Found::good(format!("{server} answers: mail for {domain} goes to {}.", names.join(", ")))
                }
                Ok(dns::Said::NoSuchDomain) => {
                    Found::bad(format!("{server} answers: there is no domain {domain}."))
                }
                Ok(dns::Said::Refused(why)) => Found::bad(format!("{server} refuses to say: {why}.")),
                Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
                    Found::bad(format!("{server} does not answer."))
                }
                Err(error) => Found::bad(format!("{server} cannot be asked: {error}.")),
            });
        }
    }
    found
}

/// What the next hop says, as a sender hears it.
pub(super) fn next_hop(address: &HopAddress, hostname: &str) -> Found {
    let mut heard = Screen::keeping();
    let result = net::converse(address, hostname, &mut heard);
    let lines: Vec<String> = heard.take().lines().map(ToOwned::to_owned).collect();
    match result {
        Ok(()) => Found { lines, bad: false }.and(Found::good(format!("{address} speaks SMTP."))),
        Err(error) => Found { lines, bad: false }.and(Found::bad(format!(
            "{address} does not speak SMTP with this box: {error}. Is the server up, and does its receive connector let \
             the box in?"
        ))),
    }
}

/// Who dies together with the mail server: what the box needs just then must not live on it.
pub(super) fn shared_fate(
    next_hop: &HopAddress,
    network: &BoxNetwork,
    others: &[(&str, Vec<String>)],
) -> Found {
    let mut found = Found::default();
    let hop_addresses: Vec<IpAddr> = match &next_hop.host {
        HopHost::Ip(address) => vec![*address],
        HopHost::Name(name) => {
            found = found.and(Found {
                lines: vec![format!(
                    "Note: {name} is a name. If the name server dies with the mail server, the box waits for both; an address \
                     is safer.",
                    name = name.as_str()
                )],
                bad: false,
            });
            (name.as_str(), next_hop.port)
                .to_socket_addrs()
                .map(|found| found.map(|found: SocketAddr| found.ip()).collect())
                .unwrap_or_default()
        }
    };
    let mut warn = |what: &str, which: &str| {
        let mut line = format!("WARNING: the {what} {which} is the mail server itself");
        let _ = write!(line, ": it dies with it, and just then the box is without.");
        found.lines.push(line);
    };
    for server in network.dns_servers.iter().filter(|server| hop_addresses.contains(server)) {
        warn("name server", &server.to_string());
    }
    for (what, list) in others {
        for server in list {
            let same_address = server.parse::<IpAddr>().is_ok_and(|server| hop_addresses.contains(&server));
            let same_name = matches!(&next_hop.host, HopHost::Name(name) if name.as_str() == server);
            if same_address || same_name {
                warn(what, server);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAFT: &str = "\
[system]
hostname = \"mx.example.org\"
[network]
addresses = [\"10.0.0.9/24\"]
dns_servers = [\"10.0.0.5\", \"10.0.0.6\"]
[domains]
accepted = [\"example.org\"]
[[next_hop]]
name = \"exchange\"
address = \"10.0.0.5\"
";

    #[test]
    fn a_name_server_or_time_server_on_the_mail_server_is_warned_of() {
        let settings = penstock_settings::Settings::parse(DRAFT).unwrap();
        let hop = &settings.next_hops[0].address;
        let found = shared_fate(
            hop,
            &settings.network,
            &[("time server", vec!["10.0.0.5".into(), "10.0.0.7".into()])],
        );
        assert_eq!(found.lines.len(), 2, "{found:?}");
        assert!(
            found.lines[0].contains("name server 10.0.0.5")
                && found.lines[1].contains("time server 10.0.0.5")
        );
        let elsewhere =
            penstock_settings::Settings::parse(&DRAFT.replace("= \"10.0.0.5\"", "= \"10.0.0.8\"")).unwrap();
        assert_eq!(shared_fate(&elsewhere.next_hops[0].address, &settings.network, &[]), Found::default());
    }
}
