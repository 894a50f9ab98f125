//! Too many clients, clients that do nothing, and clients that mean harm: they cost the others little, and not for long.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict")]

mod support;

use penstock_flash::sim::{Rng, Sim, SimMedium};
use penstock_rescue::SESSIONS_MAX;
use penstock_rescue::smoltcp::phy::ChecksumCapabilities;
use penstock_rescue::smoltcp::socket::tcp;
use penstock_rescue::smoltcp::time::Duration;
use penstock_rescue::smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpProtocol, Ipv4Address,
    Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, TcpTimestampRepr,
};
use support::client::{Mail, Raw};
use support::wire::Weather;
use support::{DISK, MAC, SERVER, SimWorld, World, assert_all_there, formatted, settings, start, world};

const KIB: usize = 1024;
const TRANSACTION: &str =
    "EHLO a.example\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n";

fn world_with(listen: &str, disk: &Sim) -> SimWorld {
    World::new(start(&settings(listen), Some(disk.medium()), Option::<SimMedium>::None), Weather::FAIR, 1)
}

/// Lets so many clients connect that say nothing.
fn silent(world: &mut SimWorld, count: usize) -> Vec<usize> {
    let raws: Vec<usize> = (0..count).map(|_| world.raw(Raw::default(), 4 * KIB)).collect();
    world.run_for(Duration::from_millis(200));
    raws
}

fn brings_mail(world: &mut SimWorld, number: u64, limit: Duration) {
    let client = world.client([Mail::new(number, 500)]);
    world.run_until(limit, |world| world.of_client(client).is_over);
    let answered = &world.of_client(client).answered;
    assert_eq!(answered.first().map(|(_, reply)| reply.code), Some(250), "{}", world.rescue.status());
}

/// With that many sessions nobody is in a hurry.
const PLENTY: usize = SESSIONS_MAX * 80 / 100;

/// Asserts that sixteen sessions that do nothing make room soon, and are all gone in the end.
fn assert_makes_room(world: &mut SimWorld) {
    world.run_for(Duration::from_secs(16));
    assert!(world.rescue.status().sessions <= PLENTY, "{}", world.rescue.status());
    world.run_for(Duration::from_secs(125));
    let status = world.rescue.status();
    assert_eq!((status.sessions, status.counters.sessions_timed_out), (0, SESSIONS_MAX as u64));
}

#[test]
fn who_comes_seventeenth_is_told_to_come_back_and_the_sixteen_are_not_disturbed() {
    let disk = formatted(DISK);
    let mut world = world(Some(&disk), None, Weather::FAIR, 1);
    let sixteen: Vec<usize> =
        (0..SESSIONS_MAX).map(|_| world.raw(Raw::saying(TRANSACTION), 4 * KIB)).collect();
    world.run_for(Duration::from_millis(200));
    assert_eq!(world.rescue.status().sessions, SESSIONS_MAX);
    for n in 0..20 {
        let client = world.client([Mail::new(n, 100)]);
        world.run_until(Duration::from_secs(5), |world| world.of_client(client).is_over);
        let refused = world.of_client(client).refused.clone().unwrap();
        assert_eq!((refused.code, &refused.text[..5]), (421, "4.7.0"), "{refused:?}");
    }
    assert_eq!(world.rescue.status().counters.sessions_refused, 20);
    for raw in &sixteen {
        world.of_raw(*raw).out.extend(b"Subject: x\r\n\r\n.\r\nQUIT\r\n");
    }
    world.run_until(Duration::from_secs(5), |world| {
        sixteen.iter().all(|raw| world.of_raw(*raw).heard().contains("221 "))
    });
    for raw in &sixteen {
        assert!(world.of_raw(*raw).heard().contains("\r\n250 2.0.0 Message accepted\r\n"));
    }
    brings_mail(&mut world, 99, Duration::from_secs(10));
}

#[test]
fn one_source_holds_four_sessions_at_most_unless_it_is_a_front() {
    let disk = formatted(DISK);
    let mut world = world_with("", &disk);
    silent(&mut world, 4);
    assert_eq!(world.rescue.status().sessions, 4);
    let client = world.client([Mail::new(1, 100)]);
    world.run_clients(Duration::from_secs(10));
    assert_eq!(world.of_client(client).refused.as_ref().unwrap().code, 421);
    let handle = world.connect_to(IpAddress::v6(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2), 16 * KIB);
    let other = world.add_client(handle, support::client::Client::new([Mail::new(2, 100)]));
    world.run_clients(Duration::from_secs(10));
    assert_eq!(world.of_client(other).answered[0].1.code, 250, "another source has its own four");
}

#[test]
fn who_is_not_on_the_list_of_those_who_may_come_is_sent_away() {
    for (listen, code) in [
        ("allowed = [\"198.51.100.0/24\"]", 421),
        ("allowed = [\"198.51.100.0/24\"]\nnot_allowed = \"refuse\"", 554),
        ("allowed = [\"192.0.2.0/24\"]", 250),
        ("allowed = [\"198.51.100.0/24\"]\ntrusted_fronts = [\"192.0.2.100/32\"]", 250),
    ] {
        let disk = formatted(DISK);
        let mut world = world_with(listen, &disk);
        let client = world.client([Mail::new(1, 100)]);
        world.run_clients(Duration::from_secs(10));
        let client = world.of_client(client);
        let reply = client.refused.as_ref().or(client.answered.first().map(|(_, reply)| reply)).unwrap();
        assert_eq!(reply.code, code, "{listen}");
    }
}

#[test]
fn who_connects_and_says_nothing_makes_room_within_seconds_once_sessions_run_short() {
    let disk = formatted(DISK);
    let mut world = world(Some(&disk), None, Weather::FAIR, 1);
    let few = silent(&mut world, 12);
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.rescue.status().sessions, 12, "nobody needs the place");
    silent(&mut world, 1);
    assert_eq!(
        world.rescue.status().sessions,
        1,
        "all at once, since they had longer than is left to them now"
    );
    assert!(world.of_raw(few[0]).heard().ends_with("421 4.4.2 Timed out, closing\r\n"));
    silent(&mut world, SESSIONS_MAX - 1);
    assert_eq!(world.rescue.status().sessions, SESSIONS_MAX);
    world.run_for(Duration::from_secs(16));
    assert!(world.rescue.status().sessions <= PLENTY, "{}", world.rescue.status());
    brings_mail(&mut world, 1, Duration::from_secs(10));
    // And those who were left in peace are late in the end.
    world.run_for(Duration::from_secs(125));
    assert_eq!((world.rescue.status().sessions, world.rescue.status().half_open), (0, 0));
}

#[test]
fn who_stops_in_the_middle_of_a_message_is_cut_off_and_nothing_is_left_of_it() {
    let disk = formatted(DISK);
    let mut world = world(Some(&disk), None, Weather::FAIR, 1);
    let free_bytes = |world: &SimWorld| world.rescue.status().disk.info.unwrap().free_bytes();
    let free_before = free_bytes(&world);
    let raws: Vec<usize> = (0..SESSIONS_MAX).map(|_| world.raw(Raw::saying(TRANSACTION), 4 * KIB)).collect();
    world.run_for(Duration::from_millis(200));
    for raw in &raws {
        // Some of it is on the volume.
        world.of_raw(*raw).out.extend(b"0123456789\r\n".repeat(2000));
    }
    world.run_for(Duration::from_secs(5));
    assert!(free_bytes(&world) < free_before);
    assert_makes_room(&mut world);
    assert_eq!(free_bytes(&world), free_before, "all that was reserved is given back");
    brings_mail(&mut world, 1, Duration::from_secs(10));
    world.stop();
    assert_eq!(support::found(disk.medium()).len(), 1);
}

#[test]
fn who_sends_a_byte_now_and_then_is_too_slow() {
    let disk = formatted(DISK);
    let mut world = world(Some(&disk), None, Weather::FAIR, 1);
    let raw = world.raw(Raw::saying(TRANSACTION), 4 * KIB);
    for _ in 0..130 {
        world.run_for(Duration::from_secs(1));
        world.of_raw(raw).out.push_back(b'x');
    }
    assert!(
        world.of_raw(raw).heard().ends_with("421 4.4.2 Timed out, closing\r\n"),
        "{}",
        world.of_raw(raw).heard()
    );
    assert_eq!(world.rescue.status().sessions, 0);
}

#[test]
fn who_does_not_read_its_replies_is_cut_off() {
    let disk = formatted(DISK);
    let mut world = world(Some(&disk), None, Weather::FAIR, 1);
    let raws: Vec<usize> = (0..SESSIONS_MAX)
        .map(|_| {
            let deaf = Raw { is_deaf: true, ..Raw::saying(&"EHLO a.example\r\n".repeat(90)) };
            world.raw(deaf, 256)
        })
        .collect();
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.rescue.status().sessions, SESSIONS_MAX);
    assert_makes_room(&mut world);
    brings_mail(&mut world, 1, Duration::from_secs(10));
    assert!(raws.iter().all(|raw| world.raw_state(*raw) != tcp::State::Established));
}

#[test]
fn who_vanishes_without_a_word_is_found_to_be_gone() {
    let disk = formatted(DISK);
    let mut world = world(Some(&disk), None, Weather::FAIR, 1);
    silent(&mut world, 3);
    world.unplug();
    world.run_for(Duration::from_secs(70));
    let status = world.rescue.status();
    assert_eq!(status.sessions, 0, "{status}");
}

#[derive(Clone, Copy, Debug)]
enum Flood {
    /// From addresses all over the Internet.
    Spoofed,
    /// From one address.
    OneSource,
    /// From addresses of neighbours that are not there.
    Neighbours,
}

fn syn(flood: Flood, rng: &mut Rng) -> Vec<u8> {
    let source = match flood {
        Flood::Spoofed => {
            Ipv4Address::new(11 + rng.below(100) as u8, rng.below(256) as u8, rng.below(256) as u8, 1)
        }
        Flood::OneSource => Ipv4Address::new(198, 51, 100, 7),
        Flood::Neighbours => Ipv4Address::new(192, 0, 2, 110 + rng.below(140) as u8),
    };
    let tcp = TcpRepr {
        src_port: 1024 + rng.below(60_000) as u16,
        dst_port: 25,
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(rng.next_u64() as i32),
        ack_number: None,
        window_len: 64_000,
        window_scale: None,
        max_seg_size: Some(1460),
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None::<TcpTimestampRepr>,
        payload: &[],
    };
    let server = Ipv4Address::new(SERVER[0], SERVER[1], SERVER[2], SERVER[3]);
    let ip = Ipv4Repr {
        src_addr: source,
        dst_addr: server,
        next_header: IpProtocol::Tcp,
        payload_len: tcp.buffer_len(),
        hop_limit: 64,
    };
    let ethernet = EthernetRepr {
        src_addr: EthernetAddress([2, 0, 0, 0, 0, 1]),
        dst_addr: EthernetAddress(MAC),
        ethertype: EthernetProtocol::Ipv4,
    };
    let mut bytes = vec![0; ethernet.buffer_len() + ip.buffer_len() + tcp.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    ethernet.emit(&mut frame);
    let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
    ip.emit(&mut packet, &ChecksumCapabilities::default());
    let mut segment = TcpPacket::new_unchecked(packet.payload_mut());
    tcp.emit(&mut segment, &source.into(), &server.into(), &ChecksumCapabilities::default());
    bytes
}

/// Ten thousand in two seconds, while clients bring mail.
#[test]
fn a_flood_of_syns_does_not_end_sessions_and_leaves_nothing_behind() {
    for flood in [Flood::Spoofed, Flood::OneSource, Flood::Neighbours] {
        let disk = formatted(DISK);
        let mut world = world(Some(&disk), None, Weather::FAIR, 1);
        let mut rng = Rng::new(1);
        // One who is there already, and one who comes in the middle.
        let before = world.client((0..40).map(|n| Mail::new(n, 20 * KIB)));
        world.run_for(Duration::from_millis(10));
        let mut during = None;
        for n in 0..10_000 {
            let bytes = syn(flood, &mut rng);
            world.end.send_raw(&bytes, world.now);
            world.run_for(Duration::from_micros(200));
            if n == 5_000 {
                during = Some((world.client([Mail::new(1000, 2 * KIB)]), world.now));
            }
        }
        let after = world.client([Mail::new(1001, 2 * KIB)]);
        let began = world.now;
        world.run_until(Duration::from_secs(10), |world| world.of_client(after).is_over);
        let took = world.now - began;
        let (during, _) = during.unwrap();
        let heard = world.of_client(during).answered.first().map(|(_, reply)| reply.code);
        println!("{flood:?}: mail in {took} after it; during it: {heard:?}; {}", world.rescue.status());
        world.run_clients(Duration::from_secs(30));
        assert_eq!(world.of_client(before).answered.len(), 40, "{flood:?}");
        for client in [before, after] {
            assert!(world.of_client(client).answered.iter().all(|(_, reply)| reply.code == 250), "{flood:?}");
            assert!(world.of_client(client).refused.is_none(), "{flood:?}");
        }
        // Without a word more from anybody all of it is forgotten.
        world.run_for(Duration::from_secs(6));
        let status = world.rescue.status();
        assert_eq!((status.sessions, status.half_open), (0, 0), "{flood:?}");
        assert!(status.counters.net.half_open_displaced > 0, "{flood:?}: it was no flood");
        let mails = world.acknowledged();
        world.stop();
        assert_all_there(&support::found(disk.medium()), &mails);
    }
}
