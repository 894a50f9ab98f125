//! The next hops of the settings, as far as somebody at the console asks for them: where each is.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use penstock_settings::{Entry, entries};

/// Where mail is handed over unless the settings say otherwise.
const SMTP_PORT: u16 = 25;

/// A next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// What the settings call it.
    pub name: String,
    /// What they say where it is.
    pub written: String,
    /// Where it is. `None` for a name, which nobody looks up here.
    pub address: Option<SocketAddr>,
}

/// Those of a text of settings, in its order.
pub fn next_hops(settings: &str) -> Vec<Hop> {
    let hop = |Entry { key, value }| {
        let name = key.strip_prefix("next_hop.")?.strip_suffix(".address")?.to_string();
        let written = value.trim_matches(['"', '\'']).to_string();
        let address = written.parse().ok();
        let address = address.or_else(|| Some(SocketAddr::new(written.parse::<IpAddr>().ok()?, SMTP_PORT)));
        Some(Hop { name, written, address })
    };
    entries(settings).into_iter().filter_map(hop).collect()
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    #[test]
    fn each_is_told_with_where_it_is_and_a_name_is_looked_up_by_nobody() {
        let mut text = String::from("[system]\nhostname = \"mx.example.org\"\n");
        let written = [
            ("192.0.2.25", Some("192.0.2.25:25")),
            ("192.0.2.25:2525", Some("192.0.2.25:2525")),
            ("2001:db8::25", Some("[2001:db8::25]:25")),
            ("[2001:db8::25]:26", Some("[2001:db8::25]:26")),
            ("exchange.example.org", None),
        ];
        for (number, (address, _)) in written.iter().enumerate() {
            text += &format!("[[next_hop]]\nname = \"hop.{number}\"\naddress = \"{address}\"\n");
        }
        let hops = next_hops(&text);
        assert_eq!(hops.len(), written.len());
        for (number, (hop, (address, at))) in hops.iter().zip(written).enumerate() {
            assert_eq!((hop.name.clone(), hop.written.as_str()), (format!("hop.{number}"), address));
            assert_eq!(hop.address, at.map(|at| at.parse().unwrap()));
        }
        assert_eq!(next_hops("nonsense ["), []);
    }
}
