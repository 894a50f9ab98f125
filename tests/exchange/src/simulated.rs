//! The server in simulated time: a week takes seconds, and every run is the same.
//!
//! A [`World`] holds the server, the network and the clock. Whoever talks to the server either drives it step by step
//! ([`World::ask`] and its kin, for one conversation) or takes part as a [`Party`] with a timetable of its own
//! ([`World::run`], for many at once).

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use crate::server::{Action, ConnectionId, Server};
use crate::units::HOUR;

/// How long [`World::reply`] waits: longer than anything that a server holds back.
const REPLY_MS_MAX: u64 = HOUR;

/// Somebody who acts in the world beside the server.
pub trait Party {
    /// When it next wants to act by itself. Must be later than now once it has acted.
    fn next_event_ms(&self) -> Option<u64>;
    /// Does what is due, and looks whether something came.
    fn act(&mut self, world: &mut World);
}

/// One end of a connection.
#[derive(Debug, Default)]
struct End {
    inbox: Vec<u8>,
    closed: bool,
}

/// What is on its way.
#[derive(Debug)]
enum Travelling {
    ToServer(ConnectionId, Vec<u8>),
    ClosedByClient(ConnectionId),
    ToClient(ConnectionId, Vec<u8>),
    ClosedByServer(ConnectionId),
}

/// A report that left the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// When.
    pub at_ms: u64,
    /// For whom.
    pub to: String,
    /// The message.
    pub bytes: Vec<u8>,
}

/// A server, a network and a clock.
#[derive(Debug)]
pub struct World {
    /// The server; reading it at any time is safe, and commands are given through [`World::command`].
    pub server: Server,
    now_ms: u64,
    one_way_ms: u64,
    /// In the order of arrival: everything takes the same time.
    network: VecDeque<(u64, Travelling)>,
    ends: BTreeMap<ConnectionId, End>,
    address: Option<SocketAddr>,
    mail: Vec<Mail>,
}

impl World {
    /// A world with this server in it, at time 0, on a network without delay.
    pub fn new(server: Server) -> Self {
        Self {
            server,
            now_ms: 0,
            one_way_ms: 0,
            network: VecDeque::new(),
            ends: BTreeMap::new(),
            address: None,
            mail: Vec::new(),
        }
    }

    /// Lets every byte take so long.
    pub fn with_one_way_ms(mut self, one_way_ms: u64) -> Self {
        self.one_way_ms = one_way_ms;
        self
    }

    /// The time, in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Where the server listens, if it has moved: connections to elsewhere are the caller's to refuse.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The reports that left the server.
    pub fn mail(&self) -> &[Mail] {
        &self.mail
    }

    /// Gives the server a command.
    ///
    /// # Errors
    /// What the command should have been.
    pub fn command(&mut self, line: &str) -> Result<String, crate::CommandError> {
        let said = self.server.command(self.now_ms, line);
        self.collect();
        said
    }

    /// Connects from an address; nothing, if the server refuses.
    pub fn connect(&mut self, source: IpAddr) -> Option<ConnectionId> {
        if !self.server.accepts_connections() {
            return None;
        }
        let connection = self.server.opened(self.now_ms, source);
        self.ends.insert(connection, End::default());
        self.collect();
        Some(connection)
    }

    /// Sends bytes. Those on a closed connection are lost.
    pub fn send(&mut self, connection: ConnectionId, bytes: &[u8]) {
        let travelling = Travelling::ToServer(connection, bytes.to_vec());
        self.network.push_back((self.now_ms + self.one_way_ms, travelling));
    }

    /// Closes a connection and forgets what came on it.
    pub fn close(&mut self, connection: ConnectionId) {
        self.ends.remove(&connection);
        self.network.push_back((self.now_ms + self.one_way_ms, Travelling::ClosedByClient(connection)));
    }

    /// Takes what has come.
    pub fn take(&mut self, connection: ConnectionId) -> Vec<u8> {
        self.ends.get_mut(&connection).map(|end| std::mem::take(&mut end.inbox)).unwrap_or_default()
    }

    /// Whether the server has closed it.
    pub fn is_closed(&self, connection: ConnectionId) -> bool {
        self.ends.get(&connection).is_none_or(|end| end.closed)
    }

    /// Lets time pass with nobody but the server.
    pub fn run_until(&mut self, until_ms: u64) {
        self.run(&mut [], until_ms);
    }

    /// Lets time pass until then. Everybody acts at their times, and whenever something has come.
    pub fn run(&mut self, parties: &mut [&mut dyn Party], until_ms: u64) {
        loop {
            let wishes = parties.iter().filter_map(|party| party.next_event_ms());
            let due_ms = wishes.fold(self.next_event_ms(), u64::min).max(self.now_ms);
            if due_ms > until_ms {
                break;
            }
            self.now_ms = due_ms;
            let arrived = self.step();
            for party in &mut *parties {
                if arrived || party.next_event_ms().is_some_and(|at_ms| at_ms <= self.now_ms) {
                    party.act(self);
                }
            }
        }
        self.now_ms = self.now_ms.max(until_ms);
        self.server.advance(self.now_ms);
        self.collect();
    }

    fn next_event_ms(&self) -> u64 {
        let arrival = self.network.front().map(|(at_ms, _)| *at_ms);
        arrival.into_iter().fold(self.server.next_event_ms(), u64::min)
    }

    /// Does what is due now. Says whether something reached a client.
    fn step(&mut self) -> bool {
        self.server.advance(self.now_ms);
        self.collect();
        let mut arrived = false;
        while let Some((_, travelling)) = self.network.pop_front_if(|(at_ms, _)| *at_ms <= self.now_ms) {
            match travelling {
                Travelling::ToServer(connection, bytes) => {
                    self.server.received(self.now_ms, connection, &bytes);
                    self.collect();
                }
                Travelling::ClosedByClient(connection) => self.server.closed(self.now_ms, connection),
                Travelling::ToClient(connection, bytes) => {
                    if let Some(end) = self.ends.get_mut(&connection) {
                        end.inbox.extend_from_slice(&bytes);
                        arrived = true;
                    }
                }
                Travelling::ClosedByServer(connection) => {
                    if let Some(end) = self.ends.get_mut(&connection) {
                        end.closed = true;
                        arrived = true;
                    }
                }
            }
        }
        arrived
    }

    /// Puts on the network what the server wants to say.
    fn collect(&mut self) {
        while let Some(action) = self.server.poll_action() {
            let travelling = match action {
                Action::Send { connection, bytes } => Travelling::ToClient(connection, bytes),
                // What is encrypted, and how, is between the two ends: in virtual time nobody looks.
                Action::Encrypt { .. } => continue,
                Action::Close { connection } => Travelling::ClosedByServer(connection),
                Action::Mail { to, bytes } => {
                    self.mail.push(Mail { at_ms: self.now_ms, to, bytes });
                    continue;
                }
                Action::Move { address } => {
                    self.address = Some(address);
                    continue;
                }
            };
            self.network.push_back((self.now_ms + self.one_way_ms, travelling));
        }
    }

    /// Waits for a whole reply; nothing, if the connection ends or an hour passes without one. What came behind it
    /// stays.
    pub fn reply(&mut self, connection: ConnectionId) -> Option<String> {
        let until_ms = self.now_ms + REPLY_MS_MAX;
        loop {
            if let Some(end) = self.ends.get_mut(&connection) {
                if let Some(len) = reply_len(&end.inbox) {
                    let reply: Vec<u8> = end.inbox.drain(..len).collect();
                    return Some(String::from_utf8_lossy(&reply).trim_end().to_owned());
                }
                if end.closed {
                    return None;
                }
            }
            let due_ms = self.next_event_ms();
            if due_ms > until_ms {
                return None;
            }
            self.now_ms = self.now_ms.max(due_ms);
            self.step();
        }
    }

    /// Sends a line and waits for the reply; empty, if there is none.
    pub fn ask(&mut self, connection: ConnectionId, line: &str) -> String {
        self.send(connection, format!("{line}\r\n").as_bytes());
        self.reply(connection).unwrap_or_default()
    }

    /// Sends a message, whose lines must not begin with dots, in one transaction. Returns the reply that ended it.
    pub fn message(&mut self, connection: ConnectionId, from: &str, to: &[&str], message: &str) -> String {
        let mut said = self.ask(connection, &format!("MAIL FROM:<{from}>"));
        for address in to {
            if !said.starts_with("250") {
                return said;
            }
            said = self.ask(connection, &format!("RCPT TO:<{address}>"));
        }
        if said.starts_with("250") {
            said = self.ask(connection, "DATA");
        }
        if said.starts_with("354") {
            said = self.ask(connection, &format!("{message}\r\n."));
        }
        said
    }
}

/// The length of the reply at the front, if all of it is there.
pub(crate) fn reply_len(inbox: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = inbox.get(at..)?;
        let len = memchr::memchr(b'\n', rest)? + 1;
        at += len;
        if rest.get(3) != Some(&b'-') {
            return Some(at);
        }
    }
}
