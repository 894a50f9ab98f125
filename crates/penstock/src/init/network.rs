//! The network of a box: its addresses, its routers, and who resolves names.
//!
//! One step that fails is told, and the others are done all the same: mail that can come in by one address is better than
//! none, and a router that is down now may come back.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use penstock_settings::{BoxNetwork, HopHost, InterfaceAddress, Settings};
use rtnetlink::packet_route::address::{AddressMessage, AddressScope};
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::{
    AddressMessageBuilder, Handle, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder, new_connection,
};
use tokio::task::JoinHandle;

use super::dhcp::Dhcp;
use super::identity::{mac_text, parse_mac};
use super::{Error, log::say, mounts, probe, publish, told};

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

/// The network of the box, as it is set up at present.
pub(super) struct Network {
    interface: Interface,
    handle: Handle,
    /// The address of the interface by the identity of the box, else its own.
    mac: Option<[u8; 6]>,
    there: Option<BoxNetwork>,
    dhcp: Option<JoinHandle<()>>,
}

impl Network {
    /// An interface without addresses, with the MAC of the box's identity.
    pub(super) async fn begin(interface: Interface, mac: Option<[u8; 6]>) -> Result<Self, Error> {
        let (connection, handle, _) =
            new_connection().map_err(Error::io("speak with the kernel about networks"))?;
        tokio::spawn(connection);
        told(link_up(&handle, index_of("lo").ok_or(Error::NoInterface)?).await);
        if let Some(mac) = mac.filter(|mac| interface.mac() != Some(*mac)) {
            told(set_mac(&handle, &interface, mac).await);
        }
        let mac = mac.or_else(|| interface.mac());
        Ok(Self { interface, handle, mac, there: None, dhcp: None })
    }

    /// Whether it is set up so.
    pub(super) fn is(&self, wanted: &BoxNetwork) -> bool {
        self.there.as_ref() == Some(wanted)
    }

    /// Sets it up as the settings have it, in place of what was there.
    ///
    /// # Errors
    /// What failed last. All else is done all the same.
    pub(super) async fn set(&mut self, wanted: &BoxNetwork) -> Result<(), Error> {
        if self.is(wanted) {
            return Ok(());
        }
        self.clear().await;
        self.there = Some(wanted.clone());
        configure_v6(&self.interface.name, wanted.router_advertisements);
        link_up(&self.handle, self.interface.index).await?;
        let mut trouble = Vec::new();
        for ours in &wanted.addresses {
            trouble.extend(add_address(&self.handle, &self.interface, ours).await.err());
        }
        for gateway in &wanted.gateways {
            trouble.extend(add_router(&self.handle, *gateway).await.err());
        }
        trouble.extend(name_resolvers(&wanted.dns_servers).err());
        if wanted.dhcp {
            self.ask_for_address(wanted);
        }
        if wanted.addresses.iter().any(|ours| ours.address.is_ipv6()) {
            tokio::spawn(look_for_duplicates());
        }
        let last = trouble.pop();
        trouble.iter().for_each(|error| say(&error.to_string()));
        last.map_or(Ok(()), Err)
    }

    fn ask_for_address(&mut self, wanted: &BoxNetwork) {
        let Some(mac) = self.mac else {
            return say("no DHCP server is asked: the interface has no address that it could know");
        };
        let names_resolvers = wanted.dns_servers.is_empty();
        let dhcp = Dhcp::new(self.interface.clone(), self.handle.clone(), mac, names_resolvers);
        self.dhcp = Some(tokio::spawn(dhcp.keep()));
    }

    /// Takes it down: the addresses of the settings, and whatever a server or a router gave.
    pub(super) async fn clear(&mut self) {
        if let Some(dhcp) = self.dhcp.take() {
            dhcp.abort();
            // It ends at the next place at which it waits, and is gone then.
            let _ = dhcp.await;
        }
        let Some(there) = self.there.take() else { return };
        for gateway in &there.gateways {
            // It may not be there: what cannot be taken down twice is down.
            let _ = self.handle.route().del(route_by(*gateway)).execute().await;
        }
        for address in self.addresses().await {
            let _ = self.handle.address().del(address).execute().await;
        }
    }

    /// Whether there is a cable with somebody at its other end, and an address.
    pub(super) async fn is_up(&self) -> bool {
        let carrier = fs::read_to_string(Path::new(LIST).join(&self.interface.name).join("carrier"));
        carrier.is_ok_and(|carrier| carrier.trim() == "1") && !self.addresses().await.is_empty()
    }

    /// The addresses of the interface, but for the one of the link, which comes from the kernel and belongs to it.
    async fn addresses(&self) -> Vec<AddressMessage> {
        let list = self.handle.address().get().set_link_index_filter(self.interface.index);
        let mut addresses = list.execute();
        let mut found = Vec::new();
        while let Ok(Some(address)) = addresses.try_next().await {
            if address.header.scope != AddressScope::Link {
                found.push(address);
            }
        }
        found
    }

    /// Which of the addresses somebody in the local network has already, and who: its MAC address.
    pub(super) async fn taken(&self, wanted: &BoxNetwork) -> Result<Vec<(IpAddr, String)>, Error> {
        link_up(&self.handle, self.interface.index).await?;
        let mut taken = Vec::new();
        for ours in &wanted.addresses {
            if let IpAddr::V4(address) = ours.address
                && let Some(owner) = probe::owner_of(&self.handle, self.interface.index, address).await
            {
                taken.push((ours.address, owner));
            }
        }
        Ok(taken)
    }
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
    let added = handle.route().add(route_by(gateway)).replace().execute().await;
    added.map_err(|source| Error::Network { action: format!("use the router {gateway}"), source })
}

/// The route to everywhere else.
fn route_by(gateway: IpAddr) -> RouteMessage {
    match gateway {
        IpAddr::V4(gateway) => RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build(),
        IpAddr::V6(gateway) => RouteMessageBuilder::<Ipv6Addr>::new().gateway(gateway).build(),
    }
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
