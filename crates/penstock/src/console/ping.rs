//! `ping`: whether a machine is there, and how long it takes to answer.
//!
//! Linux lets a process of an allowed group send ICMP echo requests without being root (`net.ipv4.ping_group_range`); the
//! kernel gives each such socket an identifier of its own and hands it only its own answers.

use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, ipproto, socket};

use super::failure;
use crate::failure::Failure;
use crate::text::Screen;
use crate::text::keys::Keys;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// From one request to the next.
const INTERVAL: Duration = Duration::from_secs(1);
/// What is sent besides the header: as much as everybody's ping sends.
const PAYLOAD_BYTES: usize = 56;

/// Asks a machine so many times whether it is there, until somebody has seen enough.
pub(super) fn ping(host: &str, count: u16, screen: &mut Screen) -> Result<(), Failure> {
    let address = resolve(host)?;
    let echo = Echo::new(address).map_err(|error| no_socket(&error))?;
    writeln!(screen, "{host} ({address}), {count} times; q ends")?;
    screen.flush()?;
    let keys = Keys::take();
    let mut times: Vec<Duration> = Vec::new();
    let mut sent = 0;
    for number in 1..=count {
        let began = Instant::now();
        sent += 1;
        match echo.ask(number) {
            Ok(Some(took)) => {
                times.push(took);
                writeln!(screen, "{number:>4}  {:.1} ms", milliseconds(took))?;
            }
            Ok(None) => writeln!(screen, "{number:>4}  no answer within {} s", ANSWER_TIMEOUT.as_secs())?,
            Err(error) => writeln!(screen, "{number:>4}  {error}")?,
        }
        screen.flush()?;
        if number < count && keys.end_within(INTERVAL.saturating_sub(began.elapsed())) {
            break;
        }
    }
    drop(keys);
    writeln!(screen, "{}", statistics(sent, &times))?;
    screen.flush()?;
    if times.is_empty() {
        return Err(failure(
            "PS-K031",
            format!("{address} does not answer"),
            "It may be off, elsewhere, or told not to answer pings: `arp` says whether it answers in the local network.",
        ));
    }
    Ok(())
}

/// How fast a machine answers, if it does to one of a few requests.
pub(super) fn answers(address: IpAddr) -> io::Result<Option<Duration>> {
    let echo = Echo::new(address)?;
    for number in 1..=3 {
        // An error of one request is that nobody answers; the next may fare better.
        if let Ok(Some(took)) = echo.ask(number) {
            return Ok(Some(took));
        }
    }
    Ok(None)
}

fn resolve(host: &str) -> Result<IpAddr, Failure> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let found = (host, 0).to_socket_addrs().ok().and_then(|mut found| found.next());
    found.map(|found| found.ip()).ok_or_else(|| {
        failure(
            "PS-K030",
            format!("{host} has no address"),
            "Is it spelled right, and is there a name server (`net`)?",
        )
    })
}

fn no_socket(error: &io::Error) -> Failure {
    failure(
        "PS-K032",
        format!("the kernel does not let this process ask: {error}"),
        "On a host its group has to be within net.ipv4.ping_group_range.",
    )
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn statistics(sent: usize, times: &[Duration]) -> String {
    let lost = (sent - times.len()) * 100 / sent.max(1);
    let mut text = format!("{sent} sent, {} answered, {lost} % lost", times.len());
    if let (Some(least), Some(most)) = (times.iter().min(), times.iter().max()) {
        let mean = times.iter().sum::<Duration>() / u32::try_from(times.len()).unwrap_or(1);
        text += &format!(
            "; {:.1} ms at least, {:.1} ms in the mean, {:.1} ms at most",
            milliseconds(*least),
            milliseconds(mean),
            milliseconds(*most)
        );
    }
    text
}

/// A socket that asks one machine.
struct Echo {
    socket: UdpSocket,
    v4: bool,
}

impl Echo {
    fn new(address: IpAddr) -> io::Result<Self> {
        let v4 = address.is_ipv4();
        let (family, protocol) =
            if v4 { (AddressFamily::INET, ipproto::ICMP) } else { (AddressFamily::INET6, ipproto::ICMPV6) };
        // To the library it is a socket for datagrams, which is what it is.
        let socket = UdpSocket::from(socket(family, SocketType::DGRAM, Some(protocol))?);
        socket.connect(SocketAddr::new(address, 0))?;
        Ok(Self { socket, v4 })
    }

    /// How long the answer took; nothing if there was none in time.
    fn ask(&self, number: u16) -> io::Result<Option<Duration>> {
        let began = Instant::now();
        self.socket.send(&request(self.v4, number))?;
        let mut bytes = [0; 512];
        loop {
            let left = ANSWER_TIMEOUT.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.recv(&mut bytes) {
                Ok(len) if is_answer(self.v4, number, &bytes[..len]) => return Ok(Some(began.elapsed())),
                // A late answer to an earlier request.
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// An echo request (RFC 792, RFC 4443 section 4.1). The kernel fills in identifier and checksum.
fn request(v4: bool, number: u16) -> Vec<u8> {
    let mut bytes = vec![if v4 { 8 } else { 128 }, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend((0..PAYLOAD_BYTES).map(|n| n as u8));
    bytes
}

fn is_answer(v4: bool, number: u16, bytes: &[u8]) -> bool {
    let kind = if v4 { 0 } else { 129 };
    bytes.first() == Some(&kind) && bytes.get(6..8) == Some(&number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_this_request_counts() {
        let mut answer = request(true, 7);
        assert_eq!(answer.len(), 8 + PAYLOAD_BYTES);
        assert!(!is_answer(true, 7, &answer), "that is the request");
        answer[0] = 0;
        assert!(is_answer(true, 7, &answer) && !is_answer(true, 8, &answer) && !is_answer(false, 7, &answer));
        assert!(!is_answer(true, 7, &answer[..7]));
    }

    #[test]
    fn the_statistics_say_what_came_back() {
        let ms = Duration::from_millis;
        assert_eq!(
            statistics(4, &[ms(1), ms(3)]),
            "4 sent, 2 answered, 50 % lost; 1.0 ms at least, 2.0 ms in the mean, 3.0 ms at most"
        );
        assert_eq!(statistics(3, &[]), "3 sent, 0 answered, 100 % lost");
    }
}
