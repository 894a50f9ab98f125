//! Who has an address already: asked of the neighbours before the box takes it.
//!
//! The kernel asks for us. A neighbour that is entered for use makes it send an ARP request, three times a second apart, and
//! as long as the interface has no address that is a probe (RFC 5227 section 2.1.1: sender 0.0.0.0), which changes nobody's
//! table. IPv6 needs none of this: the kernel itself looks whether somebody has an address before it uses it.

use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use rtnetlink::Handle;
use rtnetlink::packet_route::neighbour::{NeighbourFlags, NeighbourState};

/// Where the kernel tells whom it has found.
const LIST: &str = "/proc/net/arp";
/// How long to wait for an answer: as long as the kernel asks.
const WAIT: Duration = Duration::from_millis(2500);
const PAUSE: Duration = Duration::from_millis(50);
/// `ATF_COM`: the entry has an answer.
const COMPLETE: u32 = 0x2;

/// The MAC address of whoever has this address.
pub(super) async fn owner_of(handle: &Handle, index: u32, address: Ipv4Addr) -> Option<String> {
    let neighbours = handle.neighbours();
    let ask = neighbours.add(index, address.into());
    let mut ask = ask.state(NeighbourState::None).flags(NeighbourFlags::Use).replace();
    let entry = ask.message_mut().clone();
    // If the kernel cannot ask, nobody has it as far as is known; what is wrong then shows when the address is taken.
    ask.execute().await.ok()?;
    let began = Instant::now();
    let mut owner = None;
    while owner.is_none() && began.elapsed() < WAIT {
        tokio::time::sleep(PAUSE).await;
        owner = found(&fs::read_to_string(LIST).unwrap_or_default(), address);
    }
    // An entry that stays would be believed when the address is the box's own.
    let _ = neighbours.del(entry).execute().await;
    owner
}

fn found(list: &str, address: Ipv4Addr) -> Option<String> {
    list.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let (ip, _, flags, mac) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let flags = u32::from_str_radix(flags.strip_prefix("0x")?, 16).ok()?;
        (ip.parse() == Ok(address) && flags & COMPLETE != 0).then(|| mac.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_neighbour_that_has_answered_has_an_address() {
        let list = "\
IP address       HW type     Flags       HW address            Mask     Device
10.0.2.3         0x1         0x2         52:55:0a:00:02:03     *        eth0
10.0.2.15        0x1         0x0         00:00:00:00:00:00     *        eth0
";
        assert_eq!(found(list, Ipv4Addr::new(10, 0, 2, 3)).as_deref(), Some("52:55:0a:00:02:03"));
        assert_eq!(found(list, Ipv4Addr::new(10, 0, 2, 15)), None);
        assert_eq!(found(list, Ipv4Addr::new(10, 0, 2, 99)), None);
    }
}
