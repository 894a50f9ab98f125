//! A caller of the server session as the tests need it: it drives the loop, keeps envelope and message, and gives
//! verdicts that depend on the addresses and the message only.

use penstock_smtp::bounds::SERVER_OUTPUT_BYTES;
use penstock_smtp::replies;
use penstock_smtp::server::{Config, Event, Session};

/// A message that was taken, with its envelope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub sender: String,
    pub recipients: Vec<String>,
    pub message: Vec<u8>,
    pub received_lines: u32,
}

/// One connection from the server's side.
pub struct Peer {
    pub session: Session,
    /// All that the server sent.
    pub replies: String,
    /// Every event that is not about the loop itself, one after the other.
    pub events: Vec<String>,
    /// What was accepted at its end of data.
    pub taken: Vec<Taken>,
    pub closed: bool,
    envelope: Taken,
}

impl Peer {
    pub fn new(config: Config) -> Self {
        Self {
            session: Session::new(config),
            replies: String::new(),
            events: Vec::new(),
            taken: Vec::new(),
            closed: false,
            envelope: Taken::default(),
        }
    }

    /// Lets the session have `input`, and sends what it wants to say, `send_len` bytes at a time.
    pub fn hear(&mut self, mut input: &[u8], send_len: usize) {
        assert!(send_len > 0);
        loop {
            let event = self.session.poll(&mut input);
            match event {
                Event::NeedInput | Event::OutputFull | Event::Answered | Event::Body(_) | Event::Verdict => {}
                _ => self.events.push(format!("{event:?}")),
            }
            match event {
                Event::NeedInput => {
                    assert!(input.is_empty());
                    return self.send(usize::MAX);
                }
                Event::OutputFull => self.send(send_len),
                Event::Verdict => panic!("a verdict was given for everything"),
                Event::Answered => {}
                Event::Hello { .. } | Event::Reset { .. } => self.envelope = Taken::default(),
                Event::Mail(mail) => {
                    self.envelope = Taken { sender: mail.sender.to_string(), ..Taken::default() };
                    if mail.sender.local_part() == "refused" {
                        self.session.refuse(replies::STORAGE_FULL).unwrap();
                    } else {
                        self.session.accept().unwrap();
                    }
                }
                Event::Rcpt(recipient) => {
                    let address = recipient.address.to_string();
                    if recipient.address.local_part() == "unknown" {
                        self.session.refuse(replies::USER_UNKNOWN).unwrap();
                    } else {
                        self.envelope.recipients.push(address);
                        self.session.accept().unwrap();
                    }
                }
                Event::Etrn { node } => {
                    if node == "held.example" {
                        self.session.refuse(replies::ETRN_HELD).unwrap();
                    } else {
                        self.session.accept().unwrap();
                    }
                }
                Event::Data => {
                    if self.envelope.sender.starts_with("no-data@") {
                        self.session.refuse(replies::LOCAL_ERROR).unwrap();
                    } else {
                        self.session.accept().unwrap();
                    }
                }
                Event::Body(bytes) => {
                    assert!(!bytes.is_empty());
                    self.envelope.message.extend_from_slice(bytes);
                }
                Event::EndOfData { bytes, received_lines, .. } => {
                    let mut taken = std::mem::take(&mut self.envelope);
                    taken.received_lines = received_lines;
                    assert_eq!(taken.message.len() as u64, bytes);
                    if taken.sender.starts_with("no-message@") {
                        self.session.refuse(replies::HOPS_MAX).unwrap();
                    } else {
                        self.taken.push(taken);
                        self.session.accept().unwrap();
                    }
                }
                Event::StartTls => {
                    // A handshake that needs no bytes: whatever came along is thrown away.
                    assert!(input.is_empty());
                    self.send(usize::MAX);
                    self.session.tls_started().unwrap();
                    self.envelope = Taken::default();
                }
                Event::Close { .. } => {
                    self.closed = true;
                    return self.send(usize::MAX);
                }
            }
            assert!(self.session.output().len() <= SERVER_OUTPUT_BYTES);
        }
    }

    fn send(&mut self, len_max: usize) {
        let output = self.session.output();
        let len = output.len().min(len_max);
        self.replies.push_str(std::str::from_utf8(&output[..len]).unwrap());
        self.session.sent(len);
    }
}

/// The configuration that the tests change from.
pub fn config() -> Config {
    Config::new("mx.example.com").unwrap()
}

/// A whole conversation; the client sends all of `input` before it reads anything.
pub fn converse(config: Config, input: impl AsRef<[u8]>) -> Peer {
    let mut peer = Peer::new(config);
    peer.hear(input.as_ref(), usize::MAX);
    peer
}
