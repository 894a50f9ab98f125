//! A proxy between any SMTP client and the daemon that knows, for each transaction, what the client was told.
//!
//! The recorder is the client's memory: it reads a reply before the client can, and notes a command or a body before
//! the server can see it. So what is [`Outcome::Acknowledged`] here was said by the daemon, whatever happened to it
//! afterwards, and what is [`Outcome::Unfinished`] was never complete in its hands.
//! It follows pipelining (RFC 2920) and BDAT (RFC 3030) by pairing replies with commands in order. It sees nothing of a
//! session that has gone over to TLS.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::content::{Content, DataReader, Digester};
use crate::envelope::{Path, split_command};
use crate::listener::Listener;

/// How a transaction ended, as far as its client can know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The final dot was answered with 2xx: the server has taken custody.
    Acknowledged {
        /// When the reply was read, since the recorder was started.
        at: Duration,
    },
    /// The final dot was answered with anything else.
    Refused {
        /// When the reply was read, since the recorder was started.
        at: Duration,
        /// The reply.
        reply: String,
    },
    /// The final dot was sent, at least in part, and no reply was read.
    Unknown,
    /// The connection ended before the final dot was sent.
    Unfinished,
}

/// A transaction that came as far as DATA.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// The number of the connection.
    pub session: u64,
    /// The sender.
    pub from: Path,
    /// The recipients that the server accepted.
    pub to: Vec<Path>,
    /// The message, as far as it was sent.
    pub content: Content,
    /// How it ended.
    pub outcome: Outcome,
}

struct Shared {
    began: Instant,
    transactions: Mutex<Vec<Transaction>>,
}

/// A proxy on a loopback port.
pub struct Recorder {
    listener: Listener,
    shared: Arc<Shared>,
}

impl Recorder {
    /// Stands before the server at `upstream`, which may come and go.
    pub fn start(upstream: SocketAddr) -> Self {
        let shared = Arc::new(Shared { began: Instant::now(), transactions: Mutex::default() });
        let own = Arc::clone(&shared);
        let listener = Listener::start(0, move |session, client| relay(session, &client, upstream, &own));
        Self { listener, shared }
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// When it was started: what moments are counted from.
    pub fn began(&self) -> Instant {
        self.shared.began
    }

    /// The transactions that have ended. Those of sessions that go on are not among them.
    pub fn transactions(&self) -> Vec<Transaction> {
        self.shared.transactions.lock().unwrap().clone()
    }

    /// How many transactions were acknowledged.
    pub fn acknowledged(&self) -> usize {
        let transactions = self.shared.transactions.lock().unwrap();
        transactions.iter().filter(|one| matches!(one.outcome, Outcome::Acknowledged { .. })).count()
    }

    /// Cuts the sessions that are left and returns all transactions.
    pub fn finish(self) -> Vec<Transaction> {
        drop(self.listener);
        std::mem::take(&mut *self.shared.transactions.lock().unwrap())
    }
}

/// What a reply will answer.
enum Asked {
    Banner,
    Mail(Path),
    Rcpt(Path),
    Data,
    /// A chunk of a message; its last one or not.
    Chunk {
        message: u64,
        last: bool,
    },
    EndOfData {
        message: u64,
    },
    /// A command that forgets the envelope, and the chunks of a message that will have no last one.
    Reset {
        left: Option<u64>,
    },
    Other,
}

/// What the client's bytes are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Commands,
    /// DATA was sent: the reply decides what the next bytes are.
    Undecided,
    Message,
    /// Octets of a chunk, whatever is said to them.
    Chunk {
        left: usize,
        last: bool,
    },
}

/// A message that is being sent or waits for its reply. With BDAT several may wait.
struct InFlight {
    /// Which one of its session.
    number: u64,
    /// The envelope. With BDAT it is known when the first chunk is answered, since everything may be sent at once.
    envelope: Option<(Path, Vec<Path>)>,
    reader: DataReader,
    digester: Digester,
    /// Whether the server may have seen the end of the message.
    ended: bool,
}

impl InFlight {
    fn new(number: u64, envelope: Option<(Path, Vec<Path>)>) -> Self {
        Self {
            number,
            envelope,
            reader: DataReader::new(),
            digester: Digester::after_fields(0),
            ended: false,
        }
    }
}

/// The argument of BDAT: how many octets follow, and whether they are the last.
fn chunk(argument: &str) -> Option<(usize, bool)> {
    let mut words = argument.split_ascii_whitespace();
    let octets = words.next()?.parse().ok()?;
    match (words.next(), words.next()) {
        (None, _) => Some((octets, false)),
        (Some(last), None) if last.eq_ignore_ascii_case("LAST") => Some((octets, true)),
        _ => None,
    }
}

/// What both directions of a session know.
struct Session<'a> {
    number: u64,
    shared: &'a Shared,
    mode: Mode,
    asked: VecDeque<Asked>,
    unread: Vec<u8>,
    reply: Vec<u8>,
    from: Option<Path>,
    to: Vec<Path>,
    /// In the order in which they were begun.
    in_flight: VecDeque<InFlight>,
    /// How many messages were begun.
    begun: u64,
    /// The message whose octets come, between its first chunk and its last.
    chunked: Option<u64>,
}

impl Session<'_> {
    /// Notes what the client sends.
    fn client_sent(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        loop {
            let taken = match self.mode {
                Mode::Undecided => break,
                Mode::Commands => self.take_command(),
                Mode::Message => self.take_message(),
                Mode::Chunk { left, last } => self.take_chunk(left, last),
            };
            if taken == 0 {
                break;
            }
            self.unread.drain(..taken);
        }
    }

    fn take_command(&mut self) -> usize {
        let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') else { return 0 };
        let (verb, argument) = split_command(&self.unread[..=end]);
        let asked = match verb.as_str() {
            "MAIL" => Asked::Mail(Path::parse(&argument)),
            "RCPT" => Asked::Rcpt(Path::parse(&argument)),
            "EHLO" | "HELO" | "RSET" => Asked::Reset { left: self.chunked.take() },
            "DATA" => {
                self.mode = Mode::Undecided;
                Asked::Data
            }
            "BDAT" => match chunk(&argument) {
                Some((left, last)) => {
                    self.mode = Mode::Chunk { left, last };
                    let message = match self.chunked {
                        Some(message) => message,
                        None => self.begin(None),
                    };
                    self.chunked = Some(message);
                    // An empty last chunk is a whole chunk at once.
                    if left == 0 {
                        self.end_of_chunk(last);
                    }
                    Asked::Chunk { message, last }
                }
                None => Asked::Other,
            },
            _ => Asked::Other,
        };
        self.asked.push_back(asked);
        end + 1
    }

    fn take_chunk(&mut self, left: usize, last: bool) -> usize {
        let taken = left.min(self.unread.len());
        if let Some(message) = self.chunked.and_then(|number| self.find(number)) {
            self.in_flight[message].digester.update(&self.unread[..taken]);
        }
        self.mode = Mode::Chunk { left: left - taken, last };
        if taken == left {
            self.end_of_chunk(last);
        }
        taken
    }

    fn end_of_chunk(&mut self, last: bool) {
        self.mode = Mode::Commands;
        if !last {
            return;
        }
        if let Some(message) = self.chunked.take().and_then(|number| self.find(number)) {
            self.in_flight[message].ended = true;
        }
    }

    /// A message begins; returns its number.
    fn begin(&mut self, envelope: Option<(Path, Vec<Path>)>) -> u64 {
        self.begun += 1;
        self.in_flight.push_back(InFlight::new(self.begun, envelope));
        self.begun
    }

    /// Where a message stands, unless it has had its reply.
    fn find(&self, number: u64) -> Option<usize> {
        self.in_flight.iter().position(|message| message.number == number)
    }

    fn take_message(&mut self) -> usize {
        // Nothing is begun behind a message that goes by DATA until it has ended.
        let Some(message) = self.in_flight.back_mut() else { return 0 };
        let (taken, ended) = message.reader.feed(&self.unread, |bytes| message.digester.update(bytes));
        if ended {
            message.ended = true;
            self.mode = Mode::Commands;
            self.asked.push_back(Asked::EndOfData { message: message.number });
        }
        taken
    }

    /// Notes what the server sends.
    fn server_sent(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.reply.push(*byte);
            if *byte != b'\n' {
                continue;
            }
            // The last line of a reply has no hyphen after its code (RFC 5321 §4.2.1).
            let line_start =
                self.reply[..self.reply.len() - 1].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            if self.reply.get(line_start + 3) != Some(&b'-') {
                let reply = String::from_utf8_lossy(&self.reply).trim_end().to_owned();
                self.reply.clear();
                self.answered(reply);
            }
        }
    }

    fn answered(&mut self, reply: String) {
        let ok = reply.starts_with('2');
        match self.asked.pop_front() {
            Some(Asked::Mail(path)) if ok => self.from = Some(path),
            Some(Asked::Rcpt(path)) if ok => self.to.push(path),
            Some(Asked::Reset { left }) if ok => {
                self.forget_envelope();
                if let Some(message) = left {
                    self.end(message, Outcome::Unfinished);
                }
            }
            Some(Asked::Data) => {
                if reply.starts_with("354") {
                    let envelope = self.take_envelope();
                    self.begin(envelope);
                    self.mode = Mode::Message;
                } else {
                    self.mode = Mode::Commands;
                }
                // What came after DATA can be read now.
                self.client_sent(&[]);
            }
            Some(Asked::Chunk { message, last }) => {
                // A chunk that was refused ends the transaction, and those behind it are refused too.
                let Some(at) = self.find(message) else { return };
                if self.in_flight[at].envelope.is_none() {
                    self.in_flight[at].envelope = self.take_envelope();
                }
                if last || !ok {
                    self.verdict(message, ok, reply);
                }
            }
            Some(Asked::EndOfData { message }) => self.verdict(message, ok, reply),
            // An unasked reply (421) or one that changes nothing.
            _ => {}
        }
    }

    fn verdict(&mut self, message: u64, ok: bool, reply: String) {
        let at = self.shared.began.elapsed();
        self.end(message, if ok { Outcome::Acknowledged { at } } else { Outcome::Refused { at, reply } });
    }

    fn take_envelope(&mut self) -> Option<(Path, Vec<Path>)> {
        Some((self.from.take()?, std::mem::take(&mut self.to)))
    }

    fn forget_envelope(&mut self) {
        self.from = None;
        self.to.clear();
    }

    fn end(&mut self, message: u64, outcome: Outcome) {
        let ended = self.find(message).and_then(|at| self.in_flight.remove(at));
        // A chunk without an envelope was nobody's message.
        if let Some(InFlight { envelope: Some((from, to)), digester, .. }) = ended {
            let (_, content) = digester.finish();
            let session = self.number;
            let transaction = Transaction { session, from, to, content, outcome };
            self.shared.transactions.lock().unwrap().push(transaction);
        }
    }

    /// The connection is gone.
    fn gone(&mut self) {
        while let Some(message) = self.in_flight.front() {
            let outcome = if message.ended { Outcome::Unknown } else { Outcome::Unfinished };
            self.end(message.number, outcome);
        }
    }
}

/// Carries bytes one way until that way is closed; `note` sees them first.
fn carry(mut from: &TcpStream, mut to: &TcpStream, mut note: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(n) = from.read(&mut buffer) {
        if n == 0 {
            break;
        }
        note(&buffer[..n]);
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
}

fn relay(number: u64, client: &TcpStream, upstream: SocketAddr, shared: &Shared) {
    let Ok(server) = TcpStream::connect(upstream) else { return };
    server.set_nodelay(true).unwrap();
    let session = Mutex::new(Session {
        number,
        shared,
        mode: Mode::Commands,
        asked: VecDeque::from([Asked::Banner]),
        unread: Vec::new(),
        reply: Vec::new(),
        from: None,
        to: Vec::new(),
        in_flight: VecDeque::new(),
        begun: 0,
        chunked: None,
    });
    thread::scope(|scope| {
        scope.spawn(|| {
            carry(client, &server, |bytes| session.lock().unwrap().client_sent(bytes));
            // The client is done; what the server still says is wanted.
            let _ = server.shutdown(Shutdown::Write);
        });
        carry(&server, client, |bytes| session.lock().unwrap().server_sent(bytes));
        // The server is gone: nothing that the client sends can arrive any more.
        let _ = server.shutdown(Shutdown::Both);
        let _ = client.shutdown(Shutdown::Both);
    });
    session.into_inner().unwrap().gone();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;
    use crate::sink::{Manner, Sink, Stage, Traits};

    #[test]
    fn the_client_and_the_next_hop_agree_on_what_was_said() {
        let sink = Sink::start(0, 0);
        let recorder = Recorder::start(sink.address());
        let mut client = Client::connect(recorder.address());
        client.ask("EHLO client.example");
        client.send(b"MAIL FROM:<a@example.org> BODY=8BITMIME\r\nRCPT TO:<b@example.org>\r\nDATA\r\n");
        let codes: Vec<u16> = (0..3).map(|_| client.reply().code).collect();
        assert_eq!(codes, [250, 250, 354]);
        client.send(b"Subject: x\r\n\r\n..\r\n.\r\n");
        assert_eq!(client.reply().code, 250);

        sink.behave(Manner::Say(Stage::EndOfData, "451 4.3.0 later".into()));
        assert_eq!(client.message("c@example.org", &["d@example.org"], b"refused\r\n").code, 451);
        sink.behave(Manner::Close(Stage::EndOfData));
        client.send(b"MAIL FROM:<>\r\nRCPT TO:<e@example.org>\r\nDATA\r\n");
        (0..3).for_each(|_| drop(client.reply()));
        client.send(b"unanswered\r\n.\r\n");
        assert!(client.ended());

        let mut client = Client::connect(recorder.address());
        client.send(b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<f@example.org>\r\nDATA\r\n");
        (0..4).for_each(|_| drop(client.reply()));
        client.send(b"never ended\r\n.\r");
        drop(client);

        let deliveries = sink.deliveries();
        let transactions = recorder.finish();
        let outcomes: Vec<_> = transactions.iter().map(|one| &one.outcome).collect();
        assert!(matches!(
            outcomes[..],
            [Outcome::Acknowledged { .. }, Outcome::Refused { .. }, Outcome::Unknown, Outcome::Unfinished]
        ));
        assert_eq!(transactions[0].content, Content::of(b"Subject: x\r\n\r\n.\r\n"));
        assert_eq!(transactions[0].from.parameter("BODY"), Some("8BITMIME"));
        // The sink had taken the third before it closed: acknowledged is what was said, not what was done.
        assert_eq!(deliveries.len(), 2);
        assert_eq!(deliveries[0].content, transactions[0].content);
        assert_eq!(deliveries[1].content, transactions[2].content);
    }

    #[test]
    fn chunks_are_followed_whatever_octets_are_in_them() {
        let sink = Sink::start_with(0, Traits { chunking: true, ..Traits::default() });
        let recorder = Recorder::start(sink.address());
        let mut client = Client::connect(recorder.address());
        client.ask("EHLO client.example");
        let message = b"MAIL FROM:<x>\r\n.\r\n\n.\nDATA\r\n";
        client.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nBDAT 20\r\n");
        client.send(&message[..20]);
        client.send(format!("BDAT {}\r\n", message.len() - 20).as_bytes());
        client.send(&message[20..]);
        client.send(
            b"BDAT 0 LAST\r\nMAIL FROM:<c@example.org>\r\nRCPT TO:<d@example.org>\r\nBDAT 3 LAST\r\nend",
        );
        client.send(b"RSET\r\nBDAT 5 LAST\r\nRSET\nMAIL FROM:<e@example.org>\r\nRCPT TO:<f@example.org>\r\n");
        client.send(b"BDAT 4\r\nshort of its end");
        let codes: Vec<u16> = (0..13).map(|_| client.reply().code).collect();
        assert_eq!(codes[..9], [250, 250, 250, 250, 250, 250, 250, 250, 250]);
        assert_eq!(codes[9], 503, "a chunk without an envelope");
        drop(client);

        let deliveries = sink.deliveries();
        let transactions = recorder.finish();
        let contents: Vec<_> = transactions.iter().map(|one| one.content).collect();
        assert_eq!(contents[..2], [Content::of(message), Content::of(b"end")]);
        assert_eq!(deliveries.iter().map(|one| one.content).collect::<Vec<_>>(), contents[..2]);
        assert_eq!(transactions[0].to[0].address, "b@example.org");
        assert!(matches!(
            transactions.iter().map(|one| &one.outcome).collect::<Vec<_>>()[..],
            [Outcome::Acknowledged { .. }, Outcome::Acknowledged { .. }, Outcome::Unfinished]
        ));
    }
}
