//! The network of a box: its addresses, its routers, and who resolves names.
//!
//! One step that fails is told, and the others are done all the same: mail that can come in by one address is better than
//! none, and a router that is down now may come back.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use penstock_settings::{BoxNetwork, HopHost, InterfaceAddress, Settings};
use rtnetlink::{
    AddressMessageBuilder, Handle, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder, new_connection,
};

use super::dhcp::Dhcp;
use super::identity::{mac_text, parse_mac};
use super::{Error, log::say, mounts, publish, told};

/// Where the kernel lists the interfaces.
const LIST: &str = "/sys/class/net";
/// Where the system's library looks for the servers that resolve names. The root of a box is memory.
const RESOLVER_FILE: &str = "/etc/resolv.conf";
/// Where the kernel lists IPv6 addresses with what has become of them.
const ADDRESSES_V6_FILE: &str = "/proc/net/if_inet6";
/// How long the kernel asks whether a neighbour has an IPv6 address, with room to spare.
const DUPLICATE_WAIT: Duration = Duration::from_secs(5);
/// `IFA_F_DADFAILED`: a neighbour has it.
const FLAG_DUPLICATE: u32 = 0x08;

/// The interface towards the site.
#[derive(Clone, Debug)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) index: u32,
}

impl Interface {
    /// The first by name that is not the loopback.
    pub(super) fn find() -> Result<Self, Error> {
        let entries = fs::read_dir(LIST).map_err(|_| Error::NoInterface)?;
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        // Tunnels that the kernel makes by itself have no device behind them.
        let has_device = |name: &String| Path::new(LIST).join(name).join("device").exists();
        let name = names.into_iter().find(has_device).ok_or(Error::NoInterface)?;
        let index = index_of(&name).ok_or(Error::NoInterface)?;
        Ok(Self { name, index })
    }

    fn mac(&self) -> Option<[u8; 6]> {
        parse_mac(fs::read_to_string(Path::new(LIST).join(&self.name).join("address")).ok()?.trim())
    }
}

/// Sets up the network as the settings have it, with the address of the box's identity on the interface.
pub(super) async fn up(
    interface: &Interface,
    network: &BoxNetwork,
    mac: Option<[u8; 6]>,
) -> Result<(), Error> {
    let (connection, handle, _) =
        new_connection().map_err(Error::io("speak with the kernel about networks"))?;
    tokio::spawn(connection);
    told(link_up(&handle, index_of("lo").ok_or(Error::NoInterface)?).await);
    if let Some(mac) = mac.filter(|mac| interface.mac() != Some(*mac)) {
        told(set_mac(&handle, interface, mac).await);
    }
    configure_v6(&interface.name, network.router_advertisements);
    link_up(&handle, interface.index).await?;
    for ours in &network.addresses {
        told(add_address(&handle, interface, ours).await);
    }
    for gateway in &network.gateways {
        told(add_router(&handle, *gateway).await);
    }
    told(name_resolvers(&network.dns_servers));
    if network.dhcp {
        match mac.or_else(|| interface.mac()) {
            Some(mac) => {
                let names_resolvers = network.dns_servers.is_empty();
                tokio::spawn(Dhcp::new(interface.clone(), handle.clone(), mac, names_resolvers).keep());
            }
            None => say("no DHCP server is asked: the interface has no address that it could know"),
        }
    }
    if network.addresses.iter().any(|ours| ours.address.is_ipv6()) {
        tokio::spawn(look_for_duplicates());
    }
    Ok(())
}

/// Says which of the servers that the box needs are the very ones that it stands in for.
pub(super) fn warn_of_shared_fate(settings: &Settings) {
    for (key, address) in shared_fate(settings) {
        say(&format!(
            "PS-I026: {address} in {key} is a next hop itself: what it does for this box ends when it goes down"
        ));
    }
}

fn shared_fate(settings: &Settings) -> Vec<(&'static str, IpAddr)> {
    let hops: Vec<IpAddr> = settings
        .next_hops
        .iter()
        .filter_map(|hop| match hop.address.host {
            HopHost::Ip(ip) => Some(ip),
            HopHost::Name(_) => None,
        })
        .collect();
    let network = &settings.network;
    let resolvers = network.dns_servers.iter().map(|server| ("network.dns_servers", *server));
    let time = network.time_servers.iter().map(|server| ("network.time_servers", server.0.ip()));
    resolvers.chain(time).filter(|(_, address)| hops.contains(address)).collect()
}

/// What IPv6 does by itself on an interface. The kernel takes the values for all interfaces over into those that come later,
/// and this one is there already.
fn configure_v6(name: &str, router_advertisements: bool) {
    let accept = if router_advertisements { "1" } else { "0" };
    // One address from the MAC, and no other one each day: the mail server knows the box by it.
    for (key, value) in
        [("use_tempaddr", "0"), ("addr_gen_mode", "0"), ("accept_ra", accept), ("autoconf", accept)]
    {
        told(mounts::set(&format!("net/ipv6/conf/{name}/{key}"), value));
    }
}

async fn link_up(handle: &Handle, index: u32) -> Result<(), Error> {
    let up: LinkMessageBuilder<LinkUnspec> = LinkUnspec::new_with_index(index).up();
    let set = handle.link().set(up.build()).execute().await;
    set.map_err(|source| Error::Network { action: "bring an interface up".into(), source })
}

async fn set_mac(handle: &Handle, interface: &Interface, mac: [u8; 6]) -> Result<(), Error> {
    let change = LinkUnspec::new_with_index(interface.index).address(mac.to_vec());
    let set = handle.link().set(change.build()).execute().await;
    let action = || format!("give {} the address {}", interface.name, mac_text(mac));
    set.map_err(|source| Error::Network { action: action(), source })
}

pub(super) async fn add_address(
    handle: &Handle,
    interface: &Interface,
    ours: &InterfaceAddress,
) -> Result<(), Error> {
    let added = handle.address().add(interface.index, ours.address, ours.prefix_bits).execute().await;
    added.map_err(|source| Error::Network { action: format!("take the address {ours}"), source })?;
    say(&format!("{} is {ours}", interface.name));
    Ok(())
}

/// Gives up an address.
pub(super) async fn remove_address(
    handle: &Handle,
    interface: &Interface,
    address: Ipv4Addr,
    prefix_bits: u8,
) -> Result<(), Error> {
    let message =
        AddressMessageBuilder::<Ipv4Addr>::new().index(interface.index).address(address, prefix_bits).build();
    let removed = handle.address().del(message).execute().await;
    removed.map_err(|source| Error::Network { action: format!("give up the address {address}"), source })
}

/// Sends what is for no neighbour to a router, in place of the one before it.
pub(super) async fn add_router(handle: &Handle, gateway: IpAddr) -> Result<(), Error> {
    let route = match gateway {
        IpAddr::V4(gateway) => RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build(),
        IpAddr::V6(gateway) => RouteMessageBuilder::<Ipv6Addr>::new().gateway(gateway).build(),
    };
    let added = handle.route().add(route).replace().execute().await;
    added.map_err(|source| Error::Network { action: format!("use the router {gateway}"), source })
}

pub(super) fn name_resolvers(servers: &[IpAddr]) -> Result<(), Error> {
    let lines: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    publish(RESOLVER_FILE, &lines)
}

/// Says whether a neighbour has one of our IPv6 addresses, which the kernel then does not use.
async fn look_for_duplicates() {
    tokio::time::sleep(DUPLICATE_WAIT).await;
    for address in duplicates(&fs::read_to_string(ADDRESSES_V6_FILE).unwrap_or_default()) {
        say(&format!(
            "PS-I022: another machine of the network has the address {address}: it is not used; give one of the two another"
        ));
    }
}

/// The addresses that a neighbour has, out of the kernel's list.
fn duplicates(list: &str) -> Vec<Ipv6Addr> {
    let one = |line: &str| {
        let mut words = line.split_whitespace();
        let address = u128::from_str_radix(words.next()?, 16).ok()?;
        let flags = u32::from_str_radix(words.nth(3)?, 16).ok()?;
        (flags & FLAG_DUPLICATE != 0).then(|| Ipv6Addr::from(address))
    };
    list.lines().filter_map(one).collect()
}

fn index_of(name: &str) -> Option<u32> {
    fs::read_to_string(Path::new(LIST).join(name).join("ifindex")).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_the_next_hop_itself_is_named() {
        let settings = Settings::parse(
            "[system]\nhostname = \"mx.example\"\n[domains]\naccepted = [\"example.com\"]\n\
             [network]\ndns_servers = [\"192.0.2.1\", \"192.0.2.2\"]\ntime_servers = [\"192.0.2.1\"]\n\
             [[next_hop]]\nname = \"a\"\naddress = \"192.0.2.1\"\n",
        )
        .unwrap();
        let it = "192.0.2.1".parse().unwrap();
        assert_eq!(shared_fate(&settings), [("network.dns_servers", it), ("network.time_servers", it)]);
    }

    #[test]
    fn an_address_that_a_neighbour_has_is_found_in_the_kernels_list() {
        let list = "fe80000000000000505400fffe123456 02 40 20 80 eth0\n\
                    20010db8000000000000000000000025 02 40 00 88 eth0\n\
                    20010db8000000000000000000000026 02 40 00 80 eth0\n\
                    00000000000000000000000000000001 01 80 10 80 lo\n";
        assert_eq!(duplicates(list), ["2001:db8::25".parse::<Ipv6Addr>().unwrap()]);
        assert!(duplicates("").is_empty());
    }
}
