//! What is said to a DHCP server and what it says (RFC 2131), as bytes; and how long an address may be used.
//!
//! The packets are read and written by smoltcp, whose client the rescue system uses too. What is looked at here is whether
//! an answer can be meant for us and be true.

use std::net::Ipv4Addr;
use std::time::Duration;

use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress};

/// The shortest packet that old servers and relays take (RFC 951).
const PACKET_BYTES_MIN: usize = 300;
/// The longest that is read. We say so to the server.
pub(super) const PACKET_BYTES_MAX: usize = 1500;
/// What is asked for: subnet mask, routers, name servers, and the times of the lease.
const WANTED: [u8; 6] = [1, 3, 6, 51, 58, 59];
/// The option with the routers, the best one first.
const OPTION_ROUTERS: u8 = 3;
/// A lease that is shorter counts as this long: nobody is asked every second.
const LEASE_MIN: Duration = Duration::from_secs(60);
/// A lease that is longer is asked about once a year all the same. "For ever" is one of these.
const LEASE_MAX: Duration = Duration::from_secs(365 * 86_400);

/// An address that a server lends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) address: Ipv4Addr,
    pub(super) prefix_bits: u8,
    pub(super) server: Ipv4Addr,
    pub(super) router: Option<Ipv4Addr>,
    pub(super) resolvers: Vec<Ipv4Addr>,
    /// After how long the server is asked to extend it, after how long any server, and after how long it is over.
    pub(super) renew: Duration,
    pub(super) rebind: Duration,
    pub(super) over: Duration,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The server would lend this.
    Offer(Lease),
    /// It lends it.
    Given(Lease),
    /// It does not.
    Refused,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    pub(super) mac: [u8; 6],
    /// A random number, which the answer must repeat.
    pub(super) transaction: u32,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question<'l> {
    /// Who lends an address?
    Discover,
    /// This one, as it was offered.
    Take(&'l Lease),
    /// May it be kept?
    Extend(&'l Lease),
}

impl Client {
    /// The packet of a question.
    pub(super) fn packet(&self, question: Question<'_>) -> Vec<u8> {
        let mac = EthernetAddress(self.mac);
        let (message_type, requested_ip, server_identifier, client_ip) = match question {
            Question::Discover => (DhcpMessageType::Discover, None, None, Ipv4Addr::UNSPECIFIED),
            Question::Take(lease) => {
                (DhcpMessageType::Request, Some(lease.address), Some(lease.server), Ipv4Addr::UNSPECIFIED)
            }
            Question::Extend(lease) => (DhcpMessageType::Request, None, None, lease.address),
        };
        let repr = DhcpRepr {
            message_type,
            transaction_id: self.transaction,
            secs: 0,
            client_hardware_address: mac,
            client_ip,
            your_ip: Ipv4Addr::UNSPECIFIED,
            server_ip: Ipv4Addr::UNSPECIFIED,
            router: None,
            subnet_mask: None,
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            // Before the address is ours nothing that is sent to it reaches us.
            broadcast: client_ip.is_unspecified(),
            requested_ip,
            client_identifier: Some(mac),
            server_identifier,
            parameter_request_list: Some(&WANTED),
            dns_servers: None,
            max_size: Some(PACKET_BYTES_MAX as u16),
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        };
        let mut bytes = vec![0; repr.buffer_len().max(PACKET_BYTES_MIN)];
        // The buffer is as long as it says; were it not, the packet would be none and be answered by nobody.
        let _ = repr.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..]));
        bytes
    }

    /// Reads an answer. `None` if it is not for us, or cannot be true.
    pub(super) fn answer(&self, bytes: &[u8]) -> Option<Answer> {
        let packet = DhcpPacket::new_checked(bytes).ok()?;
        let repr = DhcpRepr::parse(&packet).ok()?;
        if repr.transaction_id != self.transaction
            || repr.client_hardware_address != EthernetAddress(self.mac)
        {
            return None;
        }
        match repr.message_type {
            DhcpMessageType::Nak => Some(Answer::Refused),
            DhcpMessageType::Offer => lease(&packet, &repr).map(Answer::Offer),
            DhcpMessageType::Ack => lease(&packet, &repr).map(Answer::Given),
            _ => None,
        }
    }
}

fn lease(packet: &DhcpPacket<&[u8]>, repr: &DhcpRepr<'_>) -> Option<Lease> {
    let prefix_bits = prefix_bits(repr.subnet_mask?)?;
    let routers = packet.options().find(|option| option.kind == OPTION_ROUTERS);
    let router = routers.and_then(|option| option.data.first_chunk::<4>().copied()).map(Ipv4Addr::from);
    let over = Duration::from_secs(repr.lease_duration?.into()).clamp(LEASE_MIN, LEASE_MAX);
    let times = |said: Option<u32>| said.map(|seconds| Duration::from_secs(seconds.into()));
    // RFC 2131 §4.4.5 has these shares where the server says nothing.
    let rebind = times(repr.rebind_duration).filter(|rebind| *rebind < over).unwrap_or(over * 7 / 8);
    let renew = times(repr.renew_duration).filter(|renew| *renew < rebind).unwrap_or((over / 2).min(rebind));
    let is_host = |address: Ipv4Addr| {
        !(address.is_unspecified()
            || address.is_loopback()
            || address.is_multicast()
            || address.is_broadcast())
    };
    let near = |address: Ipv4Addr| {
        let differ = u32::from(address) ^ u32::from(repr.your_ip);
        differ >> (32 - u32::from(prefix_bits)) == 0
    };
    is_host(repr.your_ip).then(|| Lease {
        address: repr.your_ip,
        prefix_bits,
        server: repr.server_identifier.unwrap_or(repr.server_ip),
        // One that is no neighbour cannot be reached.
        router: router.filter(|router| is_host(*router) && near(*router) && *router != repr.your_ip),
        resolvers: repr
            .dns_servers
            .iter()
            .flatten()
            .copied()
            .filter(|server| is_host(*server))
            .take(3)
            .collect(),
        renew,
        rebind,
        over,
    })
}

/// How many leading bits a mask has, if nothing but those.
fn prefix_bits(mask: Ipv4Addr) -> Option<u8> {
    let mask = u32::from(mask);
    let bits = mask.leading_ones();
    (mask.count_ones() == bits && (8..=31).contains(&bits)).then_some(bits as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Client = Client { mac: [0x52, 0x54, 0, 0x12, 0x34, 0x56], transaction: 0xCAFE };

    /// What a server says, with some options.
    fn from_server(kind: u8, your_ip: [u8; 4], options: &[(u8, &[u8])]) -> Vec<u8> {
        let mut packet = CLIENT.packet(Question::Discover);
        packet.truncate(240);
        packet[0] = 2;
        packet[16..20].copy_from_slice(&your_ip);
        for (kind, data) in [(53, &[kind][..])].iter().chain(options) {
            packet.extend([*kind, data.len() as u8]);
            packet.extend(*data);
        }
        packet.push(255);
        packet
    }

    const GOOD: [(u8, &[u8]); 5] = [
        (1, &[255, 255, 255, 0]),
        (3, &[192, 0, 2, 1, 192, 0, 2, 2]),
        (6, &[192, 0, 2, 53, 0, 0, 0, 0]),
        (51, &[0, 0, 14, 16]),
        (54, &[192, 0, 2, 9]),
    ];

    fn changed(option: (u8, &'static [u8])) -> Vec<(u8, &'static [u8])> {
        GOOD.iter().map(|good| if good.0 == option.0 { option } else { *good }).collect()
    }

    #[test]
    fn a_lease_is_what_the_server_says() {
        let lease = Lease {
            address: Ipv4Addr::new(192, 0, 2, 25),
            prefix_bits: 24,
            server: Ipv4Addr::new(192, 0, 2, 9),
            router: Some(Ipv4Addr::new(192, 0, 2, 1)),
            resolvers: vec![Ipv4Addr::new(192, 0, 2, 53)],
            renew: Duration::from_secs(1800),
            rebind: Duration::from_secs(3150),
            over: Duration::from_secs(3600),
        };
        assert_eq!(
            CLIENT.answer(&from_server(2, [192, 0, 2, 25], &GOOD)),
            Some(Answer::Offer(lease.clone()))
        );
        assert_eq!(CLIENT.answer(&from_server(5, [192, 0, 2, 25], &GOOD)), Some(Answer::Given(lease)));
        assert_eq!(CLIENT.answer(&from_server(6, [0; 4], &[])), Some(Answer::Refused));
    }

    #[test]
    fn what_is_not_for_us_or_cannot_be_true_is_no_answer() {
        let offer = |your_ip, options: &[(u8, &[u8])]| CLIENT.answer(&from_server(2, your_ip, options));
        assert_eq!(offer([0; 4], &GOOD), None);
        assert_eq!(offer([127, 0, 0, 1], &GOOD), None);
        assert_eq!(offer([224, 0, 0, 1], &GOOD), None);
        assert_eq!(offer([192, 0, 2, 25], &GOOD[1..]), None, "no mask");
        assert_eq!(offer([192, 0, 2, 25], &changed((1, &[255, 0, 255, 0]))), None);
        assert_eq!(offer([192, 0, 2, 25], &changed((1, &[0, 0, 0, 0]))), None);
        assert_eq!(offer([192, 0, 2, 25], &GOOD[..3]), None, "no end");
        let other = Client { transaction: 7, ..CLIENT };
        assert_eq!(other.answer(&from_server(2, [192, 0, 2, 25], &GOOD)), None);
        let other = Client { mac: [2; 6], ..CLIENT };
        assert_eq!(other.answer(&from_server(2, [192, 0, 2, 25], &GOOD)), None);
        assert_eq!(CLIENT.answer(&CLIENT.packet(Question::Discover)), None, "our own question");
    }

    #[test]
    fn a_router_that_is_no_neighbour_is_not_used_and_times_are_made_sane() {
        let lease = |options: &[(u8, &[u8])]| match CLIENT.answer(&from_server(5, [192, 0, 2, 25], options)) {
            Some(Answer::Given(lease)) => lease,
            other => panic!("{other:?}"),
        };
        assert_eq!(lease(&changed((3, &[198, 51, 100, 1]))).router, None);
        assert_eq!(lease(&changed((51, &[0, 0, 0, 1]))).over, LEASE_MIN);
        assert_eq!(lease(&changed((51, &[255; 4]))).over, LEASE_MAX);
        let mut odd = GOOD.to_vec();
        odd.extend([(58, &[255; 4][..]), (59, &[255; 4][..])]);
        let odd = lease(&odd);
        assert!(odd.renew < odd.rebind && odd.rebind < odd.over, "{odd:?}");
    }

    #[test]
    fn nothing_that_comes_stops_the_box() {
        let good = from_server(5, [192, 0, 2, 25], &GOOD);
        for len in 0..good.len() {
            let _ = CLIENT.answer(&good[..len]);
        }
        for at in 0..good.len() {
            for value in [0, 1, 0x7F, 0x80, 0xFE, 0xFF] {
                let mut damaged = good.clone();
                damaged[at] = value;
                let _ = CLIENT.answer(&damaged);
            }
        }
    }

    #[test]
    fn a_question_says_who_asks_and_for_what() {
        let offer = from_server(2, [192, 0, 2, 25], &GOOD);
        let Some(Answer::Offer(lease)) = CLIENT.answer(&offer) else { panic!("no offer") };
        for (question, kind) in [
            (Question::Discover, DhcpMessageType::Discover),
            (Question::Take(&lease), DhcpMessageType::Request),
            (Question::Extend(&lease), DhcpMessageType::Request),
        ] {
            let bytes = CLIENT.packet(question);
            assert!(bytes.len() >= PACKET_BYTES_MIN);
            let packet = DhcpPacket::new_checked(&bytes[..]).unwrap();
            let repr = DhcpRepr::parse(&packet).unwrap();
            assert_eq!((repr.message_type, repr.transaction_id), (kind, CLIENT.transaction));
            let (taken, extended) =
                (matches!(question, Question::Take(_)), matches!(question, Question::Extend(_)));
            assert_eq!(repr.requested_ip, taken.then_some(lease.address));
            assert_eq!(repr.server_identifier, taken.then_some(lease.server));
            assert_eq!(repr.client_ip == lease.address, extended);
            assert_eq!(repr.broadcast, !extended);
        }
    }
}
