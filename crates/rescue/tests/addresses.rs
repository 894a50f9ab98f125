//! How the box comes by its addresses, and where it listens.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict")]

mod support;

use penstock_flash::sim::SimMedium;
use penstock_rescue::smoltcp::phy::ChecksumCapabilities;
use penstock_rescue::smoltcp::socket::tcp;
use penstock_rescue::smoltcp::time::{Duration, Instant};
use penstock_rescue::smoltcp::wire::{
    DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    IpAddress, IpProtocol, Ipv4Address, Ipv4Cidr, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};
use penstock_rescue::{Lease, Mode, Rescue, Start};
use support::client::{Client, Mail};
use support::wire::{End, Weather, cable};
use support::{DISK, FRONT, MAC, SimWorld, World, formatted, settings, start};

const SERVER: Ipv4Address = Ipv4Address::new(192, 0, 2, 1);
const GIVEN: Ipv4Address = Ipv4Address::new(192, 0, 2, 77);
const LEASE_S: u32 = 600;

fn dhcp_settings() -> String {
    let text = settings("");
    let text = text.replace("addresses = [\"192.0.2.2/24\", \"2001:db8::2/64\"]", "dhcp = true");
    text.replace("gateways = [\"192.0.2.1\"]", "")
}

/// Answers a question of the box, if that frame is one.
fn answer(frame: &[u8]) -> Option<Vec<u8>> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
    let udp = UdpPacket::new_checked(ip.payload()).ok().filter(|udp| udp.dst_port() == 67)?;
    let packet = DhcpPacket::new_checked(udp.payload()).ok()?;
    let question = DhcpRepr::parse(&packet).ok()?;
    let message_type = match question.message_type {
        DhcpMessageType::Discover => DhcpMessageType::Offer,
        DhcpMessageType::Request => DhcpMessageType::Ack,
        other => panic!("{other:?} was not to be expected"),
    };
    let dhcp = DhcpRepr {
        message_type,
        your_ip: GIVEN,
        server_ip: SERVER,
        router: Some(SERVER),
        subnet_mask: Some(Ipv4Address::new(255, 255, 255, 0)),
        server_identifier: Some(SERVER),
        lease_duration: Some(LEASE_S),
        client_identifier: None,
        requested_ip: None,
        parameter_request_list: None,
        max_size: None,
        ..question
    };
    let udp = UdpRepr { src_port: 67, dst_port: 68 };
    let ip = Ipv4Repr {
        src_addr: SERVER,
        dst_addr: GIVEN,
        next_header: IpProtocol::Udp,
        payload_len: udp.header_len() + dhcp.buffer_len(),
        hop_limit: 64,
    };
    let ethernet = EthernetRepr {
        src_addr: EthernetAddress([2, 0, 0, 0, 0, 1]),
        dst_addr: EthernetAddress(MAC),
        ethertype: EthernetProtocol::Ipv4,
    };
    let mut bytes = vec![0; ethernet.buffer_len() + ip.buffer_len() + udp.header_len() + dhcp.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    ethernet.emit(&mut frame);
    let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
    ip.emit(&mut packet, &ChecksumCapabilities::default());
    let write = |payload: &mut [u8]| dhcp.emit(&mut DhcpPacket::new_unchecked(payload)).unwrap();
    let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
    let capabilities = ChecksumCapabilities::default();
    udp.emit(&mut datagram, &SERVER.into(), &GIVEN.into(), dhcp.buffer_len(), write, &capabilities);
    Some(bytes)
}

/// Lets so much time pass for a rescue, with a DHCP server that answers or does not.
fn run(
    rescue: &mut Rescue<SimMedium, SimMedium>,
    (server, end): (&mut End, &End),
    now: &mut Instant,
    (time, is_answered): (Duration, bool),
) {
    let until = *now + time;
    while *now < until {
        rescue.poll(server, *now);
        while let Some(frame) = end.receive_raw(*now) {
            if let Some(answer) = answer(&frame).filter(|_| is_answered) {
                end.send_raw(&answer, *now);
            }
        }
        *now += Duration::from_millis(10);
    }
}

#[test]
fn an_address_that_dhcp_gave_is_kept_when_the_server_falls_silent() {
    let disk = formatted(DISK);
    let (mut server, end) = cable(Weather::FAIR, 1);
    let text = dhcp_settings();
    let mut now = Instant::ZERO;
    let start = start(&text, Some(disk.medium()), Option::<SimMedium>::None);
    let mut rescue = Rescue::new(start, &mut server, now);
    assert_eq!(rescue.status().mode, Mode::Taking);
    let addresses = |rescue: &Rescue<SimMedium, SimMedium>| {
        rescue.status().addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(addresses(&rescue).is_empty());
    run(&mut rescue, (&mut server, &end), &mut now, (Duration::from_secs(30), true));
    assert_eq!(addresses(&rescue), ["192.0.2.77/24"]);
    run(&mut rescue, (&mut server, &end), &mut now, (Duration::from_secs(3 * u64::from(LEASE_S)), false));
    assert_eq!(addresses(&rescue), ["192.0.2.77/24"]);
}

#[test]
fn the_last_lease_serves_until_a_server_says_otherwise() {
    let disk = formatted(DISK);
    let (mut server, end) = cable(Weather::FAIR, 1);
    let text = dhcp_settings();
    let mut now = Instant::ZERO;
    let lease = Lease { address: Ipv4Cidr::new(Ipv4Address::new(192, 0, 2, 50), 24), router: None };
    let start = start(&text, Some(disk.medium()), Option::<SimMedium>::None);
    let mut rescue = Rescue::new(Start { lease: Some(lease), ..start }, &mut server, now);
    run(&mut rescue, (&mut server, &end), &mut now, (Duration::from_secs(300), false));
    assert_eq!(rescue.status().addresses[0].to_string(), "192.0.2.50/24");
    run(&mut rescue, (&mut server, &end), &mut now, (Duration::from_secs(60), true));
    assert_eq!(rescue.status().addresses[0].to_string(), "192.0.2.77/24");
}

#[test]
fn an_address_that_no_machine_can_have_is_passed_over_and_a_mac_of_many_is_told_of() {
    let disk = formatted(DISK);
    let text = settings(FRONT).replace("2001:db8::2/64", "255.255.255.255/24");
    let world = World::new(start(&text, Some(disk.medium()), Option::<SimMedium>::None), Weather::FAIR, 1);
    let addresses: Vec<String> = world.rescue.status().addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["192.0.2.2/24"]);
    for mac in [[0; 6], [0xFF; 6], [1, 0, 0, 0, 0, 1]] {
        let start = start(&text, Some(disk.medium()), Option::<SimMedium>::None);
        let world = World::new(Start { mac, ..start }, Weather::FAIR, 1);
        let Mode::Refusing(trouble) = world.rescue.status().mode else { panic!("{mac:?}") };
        assert_eq!(trouble.code(), "PS-E06");
    }
}

/// What somebody hears who brings mail to that address and port.
fn try_at(listen: &str, ip: IpAddress, port: u16) -> Option<u16> {
    let disk = formatted(DISK);
    let text = settings(&format!("{FRONT}\naddresses = [{listen}]"));
    let mut world: SimWorld =
        World::new(start(&text, Some(disk.medium()), Option::<SimMedium>::None), Weather::FAIR, 1);
    let handle = world.connect_to_port(ip, port, 16 * 1024);
    let client = world.add_client(handle, Client::new([Mail::new(1, 100)]));
    world.run_until(Duration::from_secs(20), |world| {
        world.of_client(client).is_over || world.state(handle) == tcp::State::Closed
    });
    world.of_client(client).answered.first().map(|(_, reply)| reply.code)
}

#[test]
fn mail_is_taken_where_the_settings_say_and_nowhere_else() {
    let v4 = IpAddress::v4(192, 0, 2, 2);
    let v6 = IpAddress::v6(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
    for (listen, ip, port, heard) in [
        ("\"[::]:25\"", v4, 25, Some(250)),
        ("\"[::]:25\"", v6, 25, Some(250)),
        ("\"0.0.0.0:25\"", v6, 25, None),
        ("\"192.0.2.2:25\"", v4, 25, Some(250)),
        ("\"192.0.2.3:25\"", v4, 25, None),
        ("\"[::]:25\", \"[::]:2525\"", v4, 2525, Some(250)),
        ("\"[::]:25\", \"192.0.2.2:2525\"", v4, 2525, Some(250)),
        ("\"[::]:25\", \"192.0.2.2:2525\"", v6, 2525, None),
        ("\"[::]:2525\"", v4, 25, None),
    ] {
        assert_eq!(try_at(listen, ip, port), heard, "{listen}, {ip} port {port}");
    }
}
