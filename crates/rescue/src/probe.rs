//! Questions that somebody at the console has for the network: is a machine there, and does a port greet as a mail server does.
//!
//! One at a time, over the interface that takes the mail, and beside it: a question is answered while the rescue is polled as
//! always. Its sockets are there from the start; asking takes no memory but for a socket that
//! is made anew now and then, and then what the one before had goes back.

use alloc::vec;
use core::net::{IpAddr, SocketAddr};

use heapless::String;
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::{icmp, tcp};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpAddress};

/// How long the answer to an echo request may take.
const ECHO_MAX: Duration = Duration::from_secs(1);
/// How long a greeting may take. Some servers let everybody wait a little, to see who does.
const GREETING_MAX: Duration = Duration::from_secs(10);
/// What is kept of a greeting, in bytes.
pub const GREETING_BYTES_MAX: usize = 128;
/// What an echo request carries.
const ECHOED: &[u8; 32] = b"penstock penstock penstock pens\n";
/// An echo request with its header, in bytes.
const ECHO_BYTES: usize = 8 + ECHOED.len();
/// The ports that a connection is made from.
const PORTS: (u16, u16) = (49_152, 16_384);

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether a machine answers an echo request.
    Echo(IpAddr),
    /// Which line a port begins with once somebody has connected.
    Greeting(SocketAddr),
}

/// Why a question was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unasked {
    /// There is no network, since no mail can be taken: [`Mode::Refusing`](crate::Mode) has why.
    NoNetwork,
    /// The box has no address that could ask that one.
    NoAddress,
}

/// How a question stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The answer may still come.
    Waiting,
    /// The machine answered.
    Echoed {
        /// After so long.
        after: Duration,
    },
    /// The port said this. What is not printable ASCII is a question mark.
    Greeted {
        /// The first line, or its beginning.
        line: &'a str,
        /// After so long.
        after: Duration,
    },
    /// The connection was refused, or closed without a line.
    Refused,
    /// There was no answer in time, or nothing was asked.
    Silent,
}

/// Asks.
#[derive(Debug)]
pub(crate) struct Prober {
    icmp: SocketHandle,
    tcp: SocketHandle,
    ident: u16,
    /// Counts questions, so that a late answer is not taken for another.
    number: u16,
    asked: Option<(Question, Instant)>,
    line: String<GREETING_BYTES_MAX>,
}

impl Prober {
    pub(crate) fn new(sockets: &mut SocketSet<'static>, seed: u64) -> Self {
        let ident = seed as u16;
        let icmp = sockets.add(icmp_socket(ident));
        let buffer = |bytes: usize| tcp::SocketBuffer::new(vec![0; bytes]);
        let mut socket = tcp::Socket::new(buffer(512), buffer(64));
        socket.set_timeout(Some(GREETING_MAX));
        let tcp = sockets.add(socket);
        Self { icmp, tcp, ident, number: (seed >> 16) as u16, asked: None, line: String::new() }
    }

    /// Asks. What was asked before is over.
    pub(crate) fn ask(
        &mut self,
        interface: &mut Interface,
        sockets: &mut SocketSet<'static>,
        question: Question,
        now: Instant,
    ) -> Result<(), Unasked> {
        self.asked = None;
        self.forget(sockets);
        self.number = self.number.wrapping_add(1);
        self.line.clear();
        let host = match question {
            Question::Echo(host) => host,
            Question::Greeting(address) => address.ip(),
        };
        // Without an address of the later protocol smoltcp gives that of the box to itself.
        let source =
            interface.get_source_address(&host.into()).filter(|source| !IpAddr::from(*source).is_loopback());
        let source = source.ok_or(Unasked::NoAddress)?;
        match question {
            Question::Echo(_) => self.echo(sockets.get_mut(self.icmp), source, host),
            Question::Greeting(address) => {
                let socket = sockets.get_mut::<tcp::Socket<'_>>(self.tcp);
                socket.abort();
                let (first, count) = PORTS;
                let port = first + self.number % count;
                socket.connect(interface.context(), address, port).map_err(|_| Unasked::NoAddress)?;
            }
        }
        self.asked = Some((question, now));
        Ok(())
    }

    /// Makes an end of a request to a neighbour that is not there: it would wait in the socket for ever, ask for its address each
    /// second, and let no other pass.
    fn forget(&mut self, sockets: &mut SocketSet<'static>) {
        if sockets.get::<icmp::Socket<'_>>(self.icmp).send_queue() > 0 {
            drop(sockets.remove(self.icmp));
            self.icmp = sockets.add(icmp_socket(self.ident));
        }
    }

    fn echo(&self, socket: &mut icmp::Socket<'_>, source: IpAddress, host: IpAddr) {
        while socket.recv().is_ok() {}
        let (ident, seq_no, data) = (self.ident, self.number, ECHOED.as_slice());
        let mut bytes = [0; ECHO_BYTES];
        let checksums = ChecksumCapabilities::default();
        match (source, host) {
            (IpAddress::Ipv6(source), IpAddr::V6(host)) => {
                let mut packet = Icmpv6Packet::new_unchecked(&mut bytes);
                Icmpv6Repr::EchoRequest { ident, seq_no, data }.emit(&source, &host, &mut packet, &checksums);
            }
            _ => {
                let mut packet = Icmpv4Packet::new_unchecked(&mut bytes);
                Icmpv4Repr::EchoRequest { ident, seq_no, data }.emit(&mut packet, &checksums);
            }
        }
        // There is room for one, and none is in it.
        let _ = socket.send_slice(&bytes, host.into());
    }

    /// How it stands. An answer is given once.
    pub(crate) fn answer(&mut self, sockets: &mut SocketSet<'static>, now: Instant) -> Answer<'_> {
        let Some((question, since)) = self.asked else { return Answer::Silent };
        let answer = match question {
            Question::Echo(host) => {
                let answer = self.echoed(sockets.get_mut(self.icmp), host, now - since);
                if answer == Answer::Silent {
                    self.forget(sockets);
                }
                answer
            }
            Question::Greeting(_) => {
                let greeted = greeting(sockets.get_mut(self.tcp), &mut self.line, now - since);
                match greeted {
                    Heard::Line => Answer::Greeted { line: &self.line, after: now - since },
                    Heard::Waiting => Answer::Waiting,
                    Heard::End => Answer::Refused,
                    Heard::Nothing => Answer::Silent,
                }
            }
        };
        if answer != Answer::Waiting {
            self.asked = None;
        }
        answer
    }

    fn echoed(&self, socket: &mut icmp::Socket<'_>, host: IpAddr, after: Duration) -> Answer<'static> {
        let checksums = ChecksumCapabilities::ignored();
        while let Ok((bytes, from)) = socket.recv() {
            let is_ours = |ident, seq_no, data| {
                (from, ident, seq_no, data) == (host.into(), self.ident, self.number, ECHOED.as_slice())
            };
            let is_answer = match host {
                IpAddr::V4(_) => {
                    let repr =
                        Icmpv4Packet::new_checked(bytes).and_then(|it| Icmpv4Repr::parse(&it, &checksums));
                    matches!(repr, Ok(Icmpv4Repr::EchoReply { ident, seq_no, data }) if is_ours(ident, seq_no, data))
                }
                IpAddr::V6(host) => {
                    let repr = Icmpv6Packet::new_checked(bytes)
                        .and_then(|it| Icmpv6Repr::parse(&host, &host, &it, &checksums));
                    matches!(repr, Ok(Icmpv6Repr::EchoReply { ident, seq_no, data }) if is_ours(ident, seq_no, data))
                }
            };
            if is_answer {
                return Answer::Echoed { after };
            }
        }
        if after < ECHO_MAX { Answer::Waiting } else { Answer::Silent }
    }
}

fn icmp_socket(ident: u16) -> icmp::Socket<'static> {
    let packets = |count: usize, bytes: usize| {
        icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; count], vec![0; bytes])
    };
    let mut socket = icmp::Socket::new(packets(4, 512), packets(1, ECHO_BYTES));
    // It is not bound yet.
    let _ = socket.bind(icmp::Endpoint::Ident(ident));
    socket
}

/// What was heard of a greeting.
enum Heard {
    Line,
    Waiting,
    End,
    Nothing,
}

/// Hears what a port says, and takes leave of it.
fn greeting(socket: &mut tcp::Socket<'_>, line: &mut String<GREETING_BYTES_MAX>, after: Duration) -> Heard {
    let mut is_whole = false;
    let _ = socket.recv(|bytes| {
        for byte in bytes.iter().filter(|byte| **byte != b'\r') {
            let shown = if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '?' };
            is_whole |= *byte == b'\n' || line.push(shown).is_err();
            if is_whole {
                break;
            }
        }
        (bytes.len(), ())
    });
    if is_whole {
        let _ = socket.send_slice(b"QUIT\r\n");
        socket.close();
        Heard::Line
    } else if !socket.is_open() || socket.state() == tcp::State::CloseWait {
        socket.abort();
        Heard::End
    } else if after >= GREETING_MAX {
        socket.abort();
        Heard::Nothing
    } else {
        Heard::Waiting
    }
}
