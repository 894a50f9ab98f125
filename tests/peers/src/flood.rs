//! Everything that comes to a port 25 which faces the internet, at once: connections that do nothing, that are slow, that
//! never end what they begin, and that only make mistakes, from many addresses of the loopback network.
//!
//! Each kind goes on until it is stopped: what the daemon closes is opened again.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::client::connect_from;
use crate::process::HANG_GUARD;
use crate::random::Random;

/// Addresses that one kind of attack comes from.
pub const SOURCES: usize = 250;
/// Connections that are opened again in one go; then there is a pause.
const AGAIN_AT_ONCE: usize = 50;
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes that are written at once by those that write a lot.
const BLOCK_BYTES: usize = 64 * 1024;
/// RCPT commands sent ahead of their replies.
const RECIPIENTS_AHEAD: u64 = 200;

/// An address of the loopback network: the `n`th of a kind. 0 is not used by any, so that ordinary mail has it.
pub fn address(kind: u8, n: usize) -> IpAddr {
    let last = u8::try_from(1 + n % 250).unwrap();
    let third = u8::try_from(n / 250 % 250).unwrap();
    Ipv4Addr::new(127, kind, third, last).into()
}

/// What was done so far.
#[derive(Debug, Default)]
pub struct Done {
    /// Connections that were opened.
    pub connections: AtomicU64,
    /// RCPT commands that were answered.
    pub recipients: AtomicU64,
    /// Bytes of garbage, and of lines and headers that do not end.
    pub bytes: AtomicU64,
    /// TLS handshakes that were begun and left so.
    pub handshakes: AtomicU64,
}

/// All of it. Dropping it closes what is open.
pub struct Flood {
    to: SocketAddr,
    stop: Arc<AtomicBool>,
    done: Arc<Done>,
    threads: Vec<JoinHandle<()>>,
}

/// What one attacker has.
#[derive(Clone)]
struct Attacker {
    to: SocketAddr,
    stop: Arc<AtomicBool>,
    done: Arc<Done>,
}

impl Flood {
    /// Nothing yet, against this server.
    pub fn against(to: SocketAddr) -> Self {
        // A connection is a descriptor, also for those who attack.
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
        Self { to, stop: Arc::default(), done: Arc::default(), threads: Vec::new() }
    }

    /// What was done so far.
    pub fn done(&self) -> &Done {
        &self.done
    }

    fn begin(mut self, attack: impl FnOnce(Attacker) + Send + 'static) -> Self {
        let attacker = Attacker { to: self.to, stop: Arc::clone(&self.stop), done: Arc::clone(&self.done) };
        self.threads.push(thread::spawn(move || attack(attacker)));
        self
    }

    /// So many connections that say nothing, from [`SOURCES`] addresses.
    pub fn idle(self, count: usize) -> Self {
        self.begin(move |attacker| attacker.hold(1, count, |_, _| true))
    }

    /// So many that send a byte now and then, of a command or of a message.
    pub fn slow(self, count: usize) -> Self {
        let begin = |n: usize, stream: &mut TcpStream| {
            let said: &[u8] = if n % 2 == 0 {
                b"EHLO slow\r\n"
            } else {
                b"EHLO slow\r\nMAIL FROM:<slow@example.org>\r\nRCPT TO:<slow@example.com>\r\nDATA\r\n"
            };
            stream.write_all(said).is_ok()
        };
        self.begin(move |attacker| attacker.hold(2, count, begin))
    }

    /// So many that begin a TLS handshake, where there is TLS, and leave it so.
    pub fn half_open_tls(self, count: usize) -> Self {
        let begin = |_, stream: &mut TcpStream| stream.write_all(b"EHLO half\r\nSTARTTLS\r\n").is_ok();
        self.begin(move |attacker| attacker.hold(3, count, begin))
    }

    /// Bytes of chance, from so many addresses.
    pub fn garbage(mut self, count: usize) -> Self {
        for n in 0..count {
            self = self.begin(move |attacker| {
                let mut random = Random::seeded(n as u64);
                attacker.pour(address(4, n), b"", move |block| {
                    block.chunks_mut(8).for_each(|piece| {
                        let bits = random.bits().to_le_bytes();
                        piece.copy_from_slice(&bits[..piece.len()]);
                    });
                });
            });
        }
        self
    }

    /// Command lines, message lines and header sections that do not end.
    pub fn endless(self) -> Self {
        const MESSAGE: &[u8] =
            b"EHLO endless\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<endless@example.com>\r\nDATA\r\n";
        let line = |block: &mut [u8]| block.fill(b'A');
        let fields = |block: &mut [u8]| block.chunks_mut(8).for_each(|it| it.copy_from_slice(b"X-A: b\r\n"));
        self.begin(move |attacker| attacker.pour(address(5, 0), b"", line))
            .begin(move |attacker| attacker.pour(address(5, 1), MESSAGE, line))
            .begin(move |attacker| attacker.pour(address(5, 2), MESSAGE, fields))
    }

    /// RCPT commands without end, from so many sessions.
    pub fn recipients(mut self, sessions: usize) -> Self {
        for n in 0..sessions {
            self = self.begin(move |attacker| attacker.name_recipients(n));
        }
        self
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            // What it found is told by its panic; this one may be the consequence of another.
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "an attacker failed");
        }
    }
}

impl Attacker {
    fn goes_on(&self) -> bool {
        !self.stop.load(Relaxed)
    }

    fn connect(&self, from: IpAddr) -> Option<TcpStream> {
        let stream = connect_from(from, self.to).ok()?;
        self.done.connections.fetch_add(1, Relaxed);
        Some(stream)
    }

    /// Holds so many connections, each begun in a way, and sends a byte through each that was begun by saying something.
    fn hold(&self, kind: u8, count: usize, begin: impl Fn(usize, &mut TcpStream) -> bool) {
        let mut held: Vec<Option<TcpStream>> = (0..count).map(|_| None).collect();
        let mut said = [0; 4096];
        while self.goes_on() {
            let mut again = 0;
            for (n, place) in held.iter_mut().enumerate() {
                if let Some(stream) = place {
                    let open = match stream.read(&mut said) {
                        Ok(0) => false,
                        // Now that it is our turn we say hello to TLS, and nothing more.
                        Ok(len) if kind == 3 && said[..len].windows(9).any(|it| it == b"220 2.0.0") => {
                            self.done.handshakes.fetch_add(1, Relaxed);
                            stream.write(b"\x16\x03\x01\x02\x00\x01").is_ok()
                        }
                        Ok(_) => true,
                        Err(error) => error.kind() == ErrorKind::WouldBlock,
                    };
                    let open = open && (kind != 2 || is_open(stream.write(b"x")));
                    if open {
                        continue;
                    }
                    *place = None;
                }
                if again == AGAIN_AT_ONCE || !self.goes_on() {
                    continue;
                }
                again += 1;
                *place = self.connect(address(kind, n % SOURCES)).filter(|_| self.goes_on());
                if let Some(stream) = place {
                    stream.set_nodelay(true).unwrap();
                    let begun = begin(n, stream);
                    stream.set_nonblocking(true).unwrap();
                    if !begun {
                        *place = None;
                    }
                }
            }
            thread::sleep(PAUSE);
        }
    }

    /// Writes blocks for as long as somebody takes them, again and again.
    fn pour(&self, from: IpAddr, first: &[u8], mut fill: impl FnMut(&mut [u8])) {
        let mut block = vec![0; BLOCK_BYTES];
        while self.goes_on() {
            let Some(mut stream) = self.connect(from) else { continue };
            stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
            if stream.write_all(first).is_err() {
                continue;
            }
            while self.goes_on() {
                fill(&mut block);
                match stream.write(&block) {
                    Ok(len) => drop(self.done.bytes.fetch_add(len as u64, Relaxed)),
                    Err(_) => break,
                }
            }
            thread::sleep(PAUSE);
        }
    }

    /// Names recipients, as many as one is let, in one transaction after the other.
    fn name_recipients(&self, kind: usize) {
        let mut session = 0;
        while self.goes_on() {
            session += 1;
            let Some(mut stream) = self.connect(address(6, kind + 50 * (session % 10))) else { continue };
            stream.set_read_timeout(Some(HANG_GUARD)).unwrap();
            stream.set_nodelay(true).unwrap();
            let begun = stream.write_all(b"EHLO many\r\nMAIL FROM:<many@example.org>\r\n").is_ok();
            let mut n = 0;
            while begun && self.goes_on() {
                let commands: String =
                    (n..n + RECIPIENTS_AHEAD).map(|n| format!("RCPT TO:<r{n}@example.com>\r\n")).collect();
                n += RECIPIENTS_AHEAD;
                if stream.write_all(commands.as_bytes()).is_err() || !self.replies(&mut stream) {
                    break;
                }
            }
        }
    }

    /// Reads the replies to a batch, and whatever else is there. Whether the session goes on.
    fn replies(&self, stream: &mut TcpStream) -> bool {
        let mut bytes = [0; 16 * 1024];
        let mut replies = 0;
        while replies < RECIPIENTS_AHEAD {
            match stream.read(&mut bytes) {
                Ok(len) if len > 0 => {
                    let more = bytes[..len].iter().filter(|byte| **byte == b'\n').count() as u64;
                    replies += more;
                    self.done.recipients.fetch_add(more, Relaxed);
                }
                _ => return false,
            }
        }
        true
    }
}

/// Whether a connection that does not block took a byte, or will.
fn is_open(written: std::io::Result<usize>) -> bool {
    match written {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}
