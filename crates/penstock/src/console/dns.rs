//! What name servers say of a domain's mail: asked by the dialogue that sets a box up, and by nothing else.
//!
//! One question over UDP to each server. What is cut off or needs TCP is told as it came; this is for a person to look at.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, TYPE};

const PORT: u16 = 53;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// What a name server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Who takes the domain's mail, the preferred first. May be nobody.
    Exchangers(Vec<(u16, String)>),
    /// There is no such domain.
    NoSuchDomain,
    /// It does not want to say.
    Refused(String),
}

/// Asks a server who takes a domain's mail.
pub(super) fn mail_exchangers(server: IpAddr, domain: &str) -> io::Result<Said> {
    ask(SocketAddr::new(server, PORT), domain, std::process::id() as u16)
}

fn ask(server: SocketAddr, domain: &str, id: u16) -> io::Result<Said> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.send(&question(id, domain).ok_or(io::ErrorKind::InvalidInput)?)?;
    let began = Instant::now();
    let mut bytes = [0; 1500];
    loop {
        let left = ANSWER_TIMEOUT.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let len = socket.recv(&mut bytes)?;
        if let Some(said) = understand(&bytes[..len], id) {
            return Ok(said);
        }
    }
}

fn question(id: u16, domain: &str) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(domain).ok()?;
    packet.questions.push(Question::new(name, TYPE::MX.into(), CLASS::IN.into(), false));
    packet.build_bytes_vec().ok()
}

/// What an answer to this question says. Nothing if it is none.
fn understand(bytes: &[u8], id: u16) -> Option<Said> {
    let packet = Packet::parse(bytes).ok()?;
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    Some(match packet.rcode() {
        RCODE::NoError => {
            let exchangers = packet.answers.iter().filter_map(|answer| match &answer.rdata {
                RData::MX(mx) => Some((mx.preference, mx.exchange.to_string())),
                _ => None,
            });
            let mut exchangers: Vec<_> = exchangers.collect();
            exchangers.sort();
            Said::Exchangers(exchangers)
        }
        RCODE::NameError => Said::NoSuchDomain,
        other => Said::Refused(format!("{other:?}")),
    })
}

#[cfg(test)]
mod tests {
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::MX;

    use super::*;

    fn reply(id: u16, exchangers: &[(u16, &'static str)]) -> Vec<u8> {
        let mut packet = Packet::new_reply(id);
        for (preference, name) in exchangers {
            let rdata = RData::MX(MX { preference: *preference, exchange: Name::new(name).unwrap() });
            let record = ResourceRecord::new(Name::new("example.com").unwrap(), CLASS::IN, 60, rdata);
            packet.answers.push(record);
        }
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn a_server_is_asked_and_its_answer_understood() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let mut bytes = [0; 512];
            let (len, from) = server.recv_from(&mut bytes).unwrap();
            let asked = Packet::parse(&bytes[..len]).unwrap();
            assert_eq!(asked.questions[0].qname.to_string(), "example.com");
            // An answer to somebody else's question comes first.
            server.send_to(&reply(asked.id() ^ 1, &[(1, "evil.example")]), from).unwrap();
            let answer = reply(asked.id(), &[(20, "b.example.com"), (10, "a.example.com")]);
            server.send_to(&answer, from).unwrap();
        });
        let said = ask(address, "example.com", 4711).unwrap();
        thread.join().unwrap();
        assert_eq!(said, Said::Exchangers(vec![(10, "a.example.com".into()), (20, "b.example.com".into())]));
    }

    #[test]
    fn what_is_no_answer_is_none() {
        assert_eq!(understand(b"", 1), None);
        assert_eq!(understand(&question(1, "example.com").unwrap(), 1), None, "that is the question");
        assert_eq!(understand(&reply(1, &[]), 1), Some(Said::Exchangers(Vec::new())));
    }
}
