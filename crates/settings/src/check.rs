//! Settings that are right one by one and cannot hold together.

use alloc::format;
use alloc::vec::Vec;

use crate::names::Reserve;
use crate::network::HopHost;
use crate::problem::Code;
use crate::proof::MailAddress;
use crate::read::Sink;
use crate::table::{BoxNetwork, HopTls, NextHop, Settings};

/// A volume has at least this many segments: the log keeps some in reserve and writes to several at once.
const SEGMENTS_MIN: u64 = 16;

/// The largest message takes at most this part of a volume, so that one of them never closes the box.
const MESSAGES_PER_VOLUME_MIN: u64 = 4;

impl BoxNetwork {
    pub(crate) fn check(&self, sink: &mut Sink) {
        for (n, ours) in self.addresses.iter().enumerate() {
            if self.addresses[..n].iter().any(|other| other.address == ours.address) {
                let reason = format!("{} stands there twice", ours.address);
                sink.clash(&["network.addresses"], Code::Duplicate, reason);
            }
        }
        if self.dhcp && self.addresses.iter().any(|ours| ours.address.is_ipv4()) {
            let reason =
                "with an IPv4 address of its own the box asks no DHCP server: take one of the two out".into();
            sink.clash(&["network.dhcp", "network.addresses"], Code::Contradiction, reason);
        }
        for (n, server) in self.time_servers.iter().enumerate() {
            if self.time_servers[..n].contains(server) {
                let reason = format!("{server} stands there twice: it would confirm itself");
                sink.clash(&["network.time_servers"], Code::Duplicate, reason);
            }
        }
        for (n, gateway) in self.gateways.iter().enumerate() {
            if self.gateways[..n].iter().any(|other| other.is_ipv4() == gateway.is_ipv4()) {
                let reason = format!("{gateway} is a second one of its address family");
                sink.clash(&["network.gateways"], Code::Duplicate, reason);
            }
            if !self.addresses.iter().any(|ours| ours.network().contains(*gateway)) {
                let reason = format!("{gateway} is in no network of network.addresses, and so out of reach");
                sink.clash(&["network.gateways", "network.addresses"], Code::Contradiction, reason);
            }
        }
    }
}

impl Settings {
    /// Tells what contradicts what. `hop_lines` says where each next hop begins.
    pub(crate) fn check(&self, hop_lines: &[u32], sink: &mut Sink) {
        self.network.check(sink);
        self.check_volume(sink);
        self.check_listen(sink);
        self.check_domains(sink);
        self.check_recipients(sink);
        self.check_client(sink);
        self.check_tls(sink);
        self.check_next_hops(hop_lines, sink);
        self.check_release(sink);
    }

    fn check_volume(&self, sink: &mut Sink) {
        let volume = &self.volume;
        if !volume.segment_size.0.is_power_of_two() {
            let reason = format!("{} is no power of two, as 8MiB and 16MiB are", volume.segment_size);
            sink.clash(&["volume.segment_size"], Code::BadValue, reason);
        }
        if matches!(&volume.reserve, Reserve::Path(path) if *path == volume.path) {
            let reason = format!("{} cannot stand in for itself", volume.path);
            sink.clash(&["volume.reserve", "volume.path"], Code::Contradiction, reason);
        }
        if volume.is_device() {
            return;
        }
        if volume.size.0 / volume.segment_size.0 < SEGMENTS_MIN {
            let reason = format!(
                "a volume of {} must have {SEGMENTS_MIN} segments at least: make volume.size larger or segments smaller",
                volume.size
            );
            sink.clash(&["volume.segment_size", "volume.size"], Code::Contradiction, reason);
        }
        if self.listen.size_max.0 > volume.size.0 / MESSAGES_PER_VOLUME_MIN {
            let reason = format!(
                "a message of {} would take more than a quarter of volume.size ({}): lower it or make the volume larger",
                self.listen.size_max, volume.size
            );
            sink.clash(&["listen.size_max", "volume.size"], Code::Contradiction, reason);
        }
    }

    fn check_listen(&self, sink: &mut Sink) {
        let listen = &self.listen;
        for (n, address) in listen.addresses.iter().enumerate() {
            if listen.addresses[..n].contains(address) {
                sink.clash(&["listen.addresses"], Code::Duplicate, format!("{address} stands there twice"));
            }
        }
        if listen.connections_per_source_max > listen.connections_max {
            let reason = format!(
                "{} from one address is more than listen.connections_max ({}) allows in all",
                listen.connections_per_source_max, listen.connections_max
            );
            sink.clash(
                &["listen.connections_per_source_max", "listen.connections_max"],
                Code::Contradiction,
                reason,
            );
        }
        if listen.busy_timeout > listen.command_timeout.min(listen.block_timeout) {
            let reason =
                "must be at most listen.command_timeout and listen.block_timeout, which it shortens".into();
            sink.clash(
                &["listen.busy_timeout", "listen.command_timeout", "listen.block_timeout"],
                Code::Contradiction,
                reason,
            );
        }
        if listen.busy_data_per_minute_min < listen.data_per_minute_min {
            let reason = format!(
                "must be at least listen.data_per_minute_min ({}), which it takes the place of",
                listen.data_per_minute_min
            );
            sink.clash(
                &["listen.busy_data_per_minute_min", "listen.data_per_minute_min"],
                Code::Contradiction,
                reason,
            );
        }
        for (name, own, all) in [
            ("messages", listen.messages_per_minute_per_source_max, listen.messages_per_minute_max),
            ("recipients", listen.recipients_per_minute_per_source_max, listen.recipients_per_minute_max),
        ] {
            if all > 0 && own > all {
                let (own_key, all_key) = (
                    format!("listen.{name}_per_minute_per_source_max"),
                    format!("listen.{name}_per_minute_max"),
                );
                let reason = format!("{own} from one source is more than {all_key} ({all}) allows in all");
                sink.clash(&[&own_key, &all_key], Code::Contradiction, reason);
            }
        }
        if listen.reserved_per_source_max > listen.reserved_max {
            let reason = format!(
                "{} for one address is more than listen.reserved_max ({}) allows in all",
                listen.reserved_per_source_max, listen.reserved_max
            );
            sink.clash(
                &["listen.reserved_per_source_max", "listen.reserved_max"],
                Code::Contradiction,
                reason,
            );
        }
        if listen.size_max > listen.reserved_per_source_max {
            let reason = format!(
                "one message of listen.size_max ({}) must fit into {}, else it is refused for ever",
                listen.size_max, listen.reserved_per_source_max
            );
            sink.clash(&["listen.reserved_per_source_max", "listen.size_max"], Code::Contradiction, reason);
        }
    }

    fn check_domains(&self, sink: &mut Sink) {
        let accepted = &self.domains.accepted;
        for (n, domain) in accepted.iter().enumerate() {
            if accepted[..n].contains(domain) {
                sink.clash(&["domains.accepted"], Code::Duplicate, format!("{domain} stands there twice"));
            }
        }
    }

    fn check_recipients(&self, sink: &mut Sink) {
        let ldap = &self.ldap;
        let Some(url) = &ldap.url else { return };
        if self.recipients.file.is_some() {
            let reason =
                "the list of recipients comes from one place: take recipients.file or this out".into();
            sink.clash(&["ldap.url", "recipients.file"], Code::Contradiction, reason);
        }
        if ldap.base.as_str().is_empty() {
            let reason = "must be set where ldap.url is, for example base = \"DC=example,DC=org\"".into();
            sink.clash(&["ldap.base", "ldap.url"], Code::Contradiction, reason);
        }
        if ldap.user.as_str().is_empty() != ldap.password.is_none() {
            let reason = "user and password go together: one of them is missing".into();
            sink.clash(&["ldap.password", "ldap.user", "ldap.url"], Code::Contradiction, reason);
        }
        let has_tls = url.tls || ldap.starttls;
        if !has_tls && !ldap.certificate_sha256.is_none() {
            let reason = "nobody shows a certificate without TLS: write ldaps://, or starttls = true".into();
            sink.clash(
                &["ldap.certificate_sha256", "ldap.starttls", "ldap.url"],
                Code::Contradiction,
                reason,
            );
        }
    }

    fn check_client(&self, sink: &mut Sink) {
        let (sources, ours) = (&self.client.source_addresses, &self.network.addresses);
        for (n, source) in sources.iter().enumerate() {
            if sources[..n].iter().any(|other| other.is_ipv4() == source.is_ipv4()) {
                let reason = format!("{source} is a second one of its address family");
                sink.clash(&["client.source_addresses"], Code::Duplicate, reason);
            }
            let same_family: Vec<_> =
                ours.iter().filter(|ours| ours.address.is_ipv4() == source.is_ipv4()).collect();
            if !same_family.is_empty() && !same_family.iter().any(|ours| ours.address == *source) {
                let reason =
                    format!("{source} is none of network.addresses: no connection could come from there");
                sink.clash(&["client.source_addresses", "network.addresses"], Code::Contradiction, reason);
            }
        }
    }

    fn check_tls(&self, sink: &mut Sink) {
        let tls = &self.tls;
        if tls.certificate_file.is_none() {
            for (key, file) in [("tls.key_file", &tls.key_file), ("tls.password_file", &tls.password_file)] {
                if file.is_some() {
                    let reason = "says nothing without tls.certificate_file".into();
                    sink.clash(&[key, "tls.certificate_file"], Code::Contradiction, reason);
                }
            }
        }
    }

    fn check_next_hops(&self, lines: &[u32], sink: &mut Sink) {
        if let Some(line) = lines.last()
            && self.next_hops.iter().all(NextHop::is_kept)
        {
            let reason =
                "every next hop is kept for some domains or databases: one must be there for all other mail";
            sink.section(*line, "next_hop.for_domains", Code::Contradiction, reason.into());
        }
        for (n, (hop, line)) in self.next_hops.iter().zip(lines).enumerate() {
            let before = &self.next_hops[..n];
            if before.iter().any(|other| other.name == hop.name) {
                let reason = format!("two hops are called {}: give each its own name", hop.name);
                sink.section(*line, "next_hop.name", Code::Duplicate, reason);
            }
            if before.iter().any(|other| other.address == hop.address) {
                let reason =
                    format!("two hops are at {}: use weight to send more to one server", hop.address);
                sink.section(*line, "next_hop.address", Code::Duplicate, reason);
            }
            if !hop.tls_pins.is_empty() && hop.tls != HopTls::Pinned {
                let reason = "nothing looks at them unless next_hop.tls is \"pinned\"".into();
                sink.section(*line, "next_hop.tls_pins", Code::Contradiction, reason);
            }
            self.check_probe_mailboxes(&hop.probe_mailboxes, *line, sink);
            self.check_kept(hop, *line, sink);
            let HopHost::Ip(ip) = hop.address.host else { continue };
            let us = self.listen.addresses.iter().any(|address| {
                let here =
                    address.ip() == ip || address.ip().is_unspecified() && ip.to_canonical().is_loopback();
                here && address.port() == hop.address.port
            });
            if us {
                let reason =
                    format!("{} is where this box itself listens: mail would go in circles", hop.address);
                sink.section(*line, "next_hop.address", Code::Contradiction, reason);
            }
        }
    }

    fn check_kept(&self, hop: &NextHop, line: u32, sink: &mut Sink) {
        for domain in &hop.for_domains {
            // A star that is wider than what is accepted means those below it that are.
            let accepted = &self.domains.accepted;
            if !accepted.iter().any(|ours| ours.meets(domain)) {
                let reason = format!("{domain} is in none of domains.accepted: no mail for it comes");
                sink.section(line, "next_hop.for_domains", Code::Contradiction, reason);
            }
        }
    }

    fn check_probe_mailboxes(&self, mailboxes: &[MailAddress], line: u32, sink: &mut Sink) {
        for (n, mailbox) in mailboxes.iter().enumerate() {
            if mailboxes[..n].contains(mailbox) {
                let reason = format!("{mailbox} stands there twice: one mailbox proves one database");
                sink.section(line, "next_hop.probe_mailboxes", Code::Duplicate, reason);
            }
            if !self.domains.accepted.iter().any(|ours| ours.accepts(mailbox.domain())) {
                let reason = format!(
                    "{mailbox} is in none of domains.accepted: canaries go to the site's own mailboxes only"
                );
                sink.section(line, "next_hop.probe_mailboxes", Code::Contradiction, reason);
            }
        }
    }

    fn check_release(&self, sink: &mut Sink) {
        let release = &self.release;
        if release.probe_interval > release.probe_slow_interval {
            let reason = "must be at most release.probe_slow_interval, to which it slows down".into();
            sink.clash(
                &["release.probe_interval", "release.probe_slow_interval"],
                Code::Contradiction,
                reason,
            );
        }
        for mailboxes in release.mailboxes_first.iter().filter(|it| release.mailboxes_last.contains(it)) {
            let reason = format!("{mailboxes} cannot be both first and last");
            let keys = ["release.mailboxes_first", "release.mailboxes_last"];
            sink.clash(&keys, Code::Contradiction, reason);
        }
    }
}
