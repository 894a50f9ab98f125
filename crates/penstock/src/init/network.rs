//! The network of a box: its addresses, its routers, and who resolves names.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use penstock_settings::BoxNetwork;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder, new_connection};

use super::{Error, log::say, probe};

/// Where the kernel lists the interfaces.
const LIST: &str = "/sys/class/net";
/// Where the system's library looks for the servers that resolve names. The root of a box is memory.
const RESOLVER_FILE: &str = "/etc/resolv.conf";

/// Sets up the network as the settings have it.
pub(super) async fn up(network: &BoxNetwork) -> Result<(), Error> {
    let (handle, name, index) = interface_up().await?;
    for ours in &network.addresses {
        let added = handle.address().add(index, ours.address, ours.prefix_bits).execute().await;
        added.map_err(|source| Error::Network { action: format!("take the address {ours}"), source })?;
        say(&format!("{name} is {ours}"));
    }
    for gateway in &network.gateways {
        let added = handle.route().add(route_by(*gateway)).execute().await;
        added.map_err(|source| Error::Network { action: format!("use the router {gateway}"), source })?;
    }
    let resolvers: String =
        network.dns_servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    fs::write(RESOLVER_FILE, resolvers)
        .and_then(|()| readable(RESOLVER_FILE))
        .map_err(|source| Error::File { path: RESOLVER_FILE.into(), source })
}

/// Takes down what [`up`] has set up, all that is there of it.
pub(super) async fn down(network: &BoxNetwork) -> Result<(), Error> {
    let (handle, _, index) = interface_up().await?;
    for gateway in &network.gateways {
        // It may not be there: what cannot be taken down twice is down.
        let _ = handle.route().del(route_by(*gateway)).execute().await;
    }
    for ours in &network.addresses {
        let address = handle.address().add(index, ours.address, ours.prefix_bits).message_mut().clone();
        let _ = handle.address().del(address).execute().await;
    }
    Ok(())
}

/// Which of the addresses somebody in the local network has already, and who: its MAC address.
pub(super) async fn taken(network: &BoxNetwork) -> Result<Vec<(IpAddr, String)>, Error> {
    let (handle, _, index) = interface_up().await?;
    // All at once: each answer may be waited for as long.
    let v4 = network.addresses.iter().filter_map(|ours| match ours.address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    let asked: Vec<_> = v4
        .map(|address| {
            let handle = handle.clone();
            (address, tokio::spawn(async move { probe::owner_of(&handle, index, address).await }))
        })
        .collect();
    let mut taken = Vec::new();
    for (address, answer) in asked {
        if let Ok(Some(owner)) = answer.await {
            taken.push((IpAddr::V4(address), owner));
        }
    }
    Ok(taken)
}

/// A line to the kernel, and the interface towards the site, which is up.
async fn interface_up() -> Result<(Handle, String, u32), Error> {
    let (connection, handle, _) =
        new_connection().map_err(Error::io("speak with the kernel about networks"))?;
    tokio::spawn(connection);
    link_up(&handle, index_of("lo").ok_or(Error::NoInterface)?).await?;
    let (name, index) = interface().ok_or(Error::NoInterface)?;
    link_up(&handle, index).await?;
    Ok((handle, name, index))
}

/// The route to everywhere else.
fn route_by(gateway: IpAddr) -> RouteMessage {
    match gateway {
        IpAddr::V4(gateway) => RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build(),
        IpAddr::V6(gateway) => RouteMessageBuilder::<Ipv6Addr>::new().gateway(gateway).build(),
    }
}

fn readable(path: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

async fn link_up(handle: &Handle, index: u32) -> Result<(), Error> {
    let up: LinkMessageBuilder<LinkUnspec> = LinkUnspec::new_with_index(index).up();
    let set = handle.link().set(up.build()).execute().await;
    set.map_err(|source| Error::Network { action: "bring an interface up".into(), source })
}

/// The interface towards the site: the first by name that is not the loopback.
fn interface() -> Option<(String, u32)> {
    let mut names: Vec<String> =
        fs::read_dir(LIST).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    // Tunnels that the kernel makes by itself have no device behind them.
    let name = names.into_iter().find(|name| Path::new(LIST).join(name).join("device").exists())?;
    let index = index_of(&name)?;
    Some((name, index))
}

fn index_of(name: &str) -> Option<u32> {
    fs::read_to_string(Path::new(LIST).join(name).join("ifindex")).ok()?.trim().parse().ok()
}
