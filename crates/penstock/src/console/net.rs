//! The network as it is seen from the box.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use penstock_settings::{HopAddress, HopHost, Settings};

use super::failure;
use crate::args::SETTINGS_FILE;
use crate::failure::Failure;
use crate::text::Screen;
use crate::text::human::plain;

/// How long a next hop may take for each of its words.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// As much of an answer is read.
const REPLY_BYTES_MAX: u64 = 16 * 1024;

/// Interfaces with their addresses, and the routers.
pub(super) fn interfaces(screen: &mut Screen) -> Result<(), Failure> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let listed =
        getifaddrs().map_err(|error| failure("PS-K010", format!("the kernel does not tell: {error}"), ""))?;
    for interface in listed {
        let addresses = found.entry(interface.interface_name).or_default();
        let Some(address) = interface.address else { continue };
        if let Some(v4) = address.as_sockaddr_in() {
            addresses.push(v4.ip().to_string());
        } else if let Some(v6) = address.as_sockaddr_in6() {
            addresses.push(v6.ip().to_string());
        }
    }
    for (name, addresses) in found {
        let fact = |file: &str| {
            let text = fs::read_to_string(format!("/sys/class/net/{name}/{file}")).unwrap_or_default();
            text.trim().to_owned()
        };
        writeln!(
            screen,
            "{name:8} {:8} {}  {}",
            fact("operstate"),
            fact("address"),
            if addresses.is_empty() { "no address".to_owned() } else { addresses.join(", ") },
        )?;
        writeln!(
            screen,
            "{:8} in {} bytes, {} errors; out {} bytes, {} errors",
            "",
            fact("statistics/rx_bytes"),
            fact("statistics/rx_errors"),
            fact("statistics/tx_bytes"),
            fact("statistics/tx_errors"),
        )?;
    }
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    for (interface, router) in routes.lines().filter_map(default_route) {
        writeln!(screen, "router   {router} on {interface}")?;
    }
    Ok(())
}

/// The interface and router of a line of `/proc/net/route`, if it is one to everywhere else.
fn default_route(line: &str) -> Option<(&str, Ipv4Addr)> {
    let mut fields = line.split_whitespace();
    let (interface, destination, router) = (fields.next()?, fields.next()?, fields.next()?);
    let router = u32::from_str_radix(router, 16).ok()?;
    // The kernel writes the four bytes as one number of its own byte order.
    (destination == "00000000" && router != 0).then(|| (interface, Ipv4Addr::from(router.to_ne_bytes())))
}

/// The machines of the local network that have answered.
pub(super) fn neighbours(screen: &mut Screen) -> Result<(), Failure> {
    let path = "/proc/net/arp";
    let text = fs::read_to_string(path).map_err(|error| Failure::file(path.as_ref(), "read", &error))?;
    Ok(screen.write_all(text.as_bytes())?)
}

/// Asks each next hop for its greeting and for what it can.
pub(super) fn next_hops(screen: &mut Screen) -> Result<(), Failure> {
    let text = fs::read_to_string(SETTINGS_FILE)
        .map_err(|error| Failure::file(SETTINGS_FILE.as_ref(), "read", &error))?;
    let settings = Settings::parse(&text).map_err(|_| {
        failure("PS-K011", "the settings are not right", "`journal` tells what is wrong with them.")
    })?;
    let mut unanswered = 0;
    for hop in &settings.next_hops {
        writeln!(screen, "{} ({})", hop.name.as_str(), hop.address)?;
        screen.flush()?;
        let began = Instant::now();
        match converse(&hop.address, settings.system.hostname.as_str(), screen) {
            Ok(()) => writeln!(screen, "  answered within {} ms", began.elapsed().as_millis())?,
            Err(error) => {
                unanswered += 1;
                writeln!(screen, "  {error}")?;
            }
        }
    }
    if unanswered == 0 {
        return Ok(());
    }
    screen.flush()?;
    let message =
        format!("{unanswered} of {} next hops do not speak SMTP to this box", settings.next_hops.len());
    Err(failure(
        "PS-K012",
        message,
        "Check that the server is up and that its firewall lets this box through.",
    ))
}

pub(super) fn converse(address: &HopAddress, hostname: &str, screen: &mut Screen) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&resolve(address)?, REPLY_TIMEOUT)?;
    stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
    let mut reader = BufReader::new(stream.try_clone()?).take(REPLY_BYTES_MAX);
    let mut hear = |screen: &mut Screen| -> io::Result<()> {
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Err(io::Error::other("it closed the connection without a word of SMTP"));
            }
            writeln!(screen, "  <- {}", plain(line.trim_end()))?;
            // The last line of a reply has no hyphen behind its code.
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    };
    hear(screen)?;
    for command in [format!("EHLO {hostname}"), "QUIT".into()] {
        writeln!(screen, "  -> {command}")?;
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        hear(screen)?;
    }
    Ok(())
}

fn resolve(address: &HopAddress) -> io::Result<SocketAddr> {
    match &address.host {
        HopHost::Ip(ip) => Ok(SocketAddr::new(*ip, address.port)),
        HopHost::Name(name) => (name.as_str(), address.port)
            .to_socket_addrs()?
            .min_by_key(|found| matches!(found.ip(), IpAddr::V6(_)))
            .ok_or_else(|| io::Error::other("its name has no address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_router_is_read_from_the_kernels_table() {
        let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
        let local = "eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0";
        let router = u32::from_ne_bytes([10, 0, 2, 2]);
        let everywhere = format!("eth0\t00000000\t{router:08X}\t0003\t0\t0\t0\t00000000\t0\t0\t0");
        assert_eq!(default_route(head), None);
        assert_eq!(default_route(local), None);
        assert_eq!(default_route(&everywhere), Some(("eth0", Ipv4Addr::new(10, 0, 2, 2))));
    }
}
