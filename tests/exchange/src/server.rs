//! The server without its sockets and its clock: it is told the time and what happened, and says what is to be done.
//! The same seed and the same inputs give the same outputs.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use crate::commands::{CommandError, Effect, HELP};
use crate::config::{Certificate, Counters, Presence};
use crate::counters;
use crate::dialogue;
use crate::message::Delivery;
use crate::pressure::{Level, Resource};
use crate::replies::{self as say, Reply};
use crate::report::Report;
use crate::session::{Say, Session};
use crate::totals;
use crate::transport::Transport;
use crate::units::duration;

/// Commands that are waiting for their time.
const SCHEDULED_MAX: usize = 10_000;

/// A connection, by a number that is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

/// What the driver has to do, now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send these bytes.
    Send {
        /// On this connection.
        connection: ConnectionId,
        /// These.
        bytes: Vec<u8>,
    },
    /// Do the server's side of a TLS handshake with the certificate of this moment. If it fails the connection is over.
    Encrypt {
        /// On this connection, after what was sent on it.
        connection: ConnectionId,
    },
    /// Close a connection after what was sent on it. The server has forgotten it.
    Close {
        /// This one.
        connection: ConnectionId,
    },
    /// Hand a message to the mail server that is responsible for the recipient's domain: a report. Its sender is empty.
    Mail {
        /// The recipient's address.
        to: String,
        /// The message.
        bytes: Vec<u8>,
    },
    /// Listen at this address and no longer where it was.
    Move {
        /// The new one.
        address: SocketAddr,
    },
}

/// An Exchange server.
#[derive(Debug)]
pub struct Server {
    transport: Transport,
    sessions: BTreeMap<ConnectionId, Session>,
    last_connection: u64,
    actions: VecDeque<Action>,
    schedule: BTreeMap<(u64, u64), String>,
    last_scheduled: u64,
    /// After a restart: when it is back.
    back_at_ms: Option<u64>,
    frozen_counters: Option<String>,
    now_ms: u64,
}

impl Server {
    /// A healthy server with the defaults of an installation. Time begins at 0; banners and reports show it as so much
    /// after `epoch_s`, in seconds since 1970.
    pub fn new(seed: u64, epoch_s: i64) -> Self {
        Self {
            transport: Transport::new(seed, epoch_s),
            sessions: BTreeMap::new(),
            last_connection: 0,
            actions: VecDeque::new(),
            schedule: BTreeMap::new(),
            last_scheduled: 0,
            back_at_ms: None,
            frozen_counters: None,
            now_ms: 0,
        }
    }

    /// Carries out one command of the scenario language, or keeps it for its time: `at 90s disk ok` is 90 s after the
    /// start. Returns what there is to tell.
    ///
    /// # Errors
    /// A command that is none changes nothing; the error says what it should be.
    pub fn command(&mut self, now_ms: u64, line: &str) -> Result<String, CommandError> {
        self.advance(now_ms);
        let line = line.trim();
        let Some(rest) = line.strip_prefix("at ") else { return self.obey(line) };
        let (at, command) = rest.trim_start().split_once(' ').unwrap_or((rest, ""));
        let at_ms = duration(at)
            .ok_or_else(|| CommandError::new(format!("'{at}' is no time; for example: at 90s disk ok")))?;
        // Whatever is wrong with it is said now, not in an hour.
        self.transport.config.clone().set(command, &mut self.transport.random.clone())?;
        if self.schedule.len() >= SCHEDULED_MAX {
            return Err(CommandError::new(format!("more than {SCHEDULED_MAX} commands are waiting")));
        }
        self.last_scheduled += 1;
        self.schedule.insert((at_ms.max(self.now_ms), self.last_scheduled), command.to_owned());
        Ok(String::new())
    }

    /// Carries out a scenario: a command a line; what follows `#` is ignored.
    ///
    /// # Errors
    /// The first line that is no command, with its number.
    pub fn scenario(&mut self, now_ms: u64, text: &str) -> Result<(), CommandError> {
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                self.command(now_ms, line)
                    .map_err(|error| CommandError::new(format!("line {number}: {error}")))?;
            }
        }
        Ok(())
    }

    /// Every command, as a list of examples with what they do.
    pub fn help() -> String {
        HELP.iter().map(|(example, help)| format!("  {example:<30} {help}\n")).collect()
    }

    fn obey(&mut self, line: &str) -> Result<String, CommandError> {
        let effect = self.transport.config.set(line, &mut self.transport.random)?;
        match self.transport.config.counters {
            Counters::Frozen if self.frozen_counters.is_none() => {
                self.frozen_counters = Some(counters::text(&self.transport));
            }
            Counters::Frozen => {}
            _ => self.frozen_counters = None,
        }
        match self.transport.config.faults.presence {
            Presence::Down => self.cut_connections(),
            Presence::BlackHole => {
                for session in self.sessions.values_mut() {
                    session.silent = true;
                    session.waiting = None;
                }
            }
            Presence::Up => {}
        }
        match effect {
            Effect::None => Ok(String::new()),
            Effect::Say(text) => Ok(text),
            Effect::Restart(away_ms) => {
                self.cut_connections();
                self.back_at_ms = Some(self.now_ms + away_ms);
                Ok(String::new())
            }
            Effect::Move(address) => {
                self.cut_connections();
                self.actions.push_back(Action::Move { address });
                Ok(String::new())
            }
        }
    }

    /// Whether connections are taken at all; otherwise they are to be refused.
    pub fn accepts_connections(&self) -> bool {
        self.back_at_ms.is_none() && self.transport.config.faults.presence != Presence::Down
    }

    /// A connection was made. It exists until [`closed`](Self::closed) or [`Action::Close`].
    pub fn opened(&mut self, now_ms: u64, source: IpAddr) -> ConnectionId {
        self.advance(now_ms);
        self.last_connection += 1;
        let connection = ConnectionId(self.last_connection);
        self.transport.totals.connections += 1;
        let full = self.connection_limit(source);
        let mut session = Session::new(source, self.now_ms);
        session.silent = self.transport.config.faults.presence == Presence::BlackHole;
        let silent = session.silent;
        self.sessions.insert(connection, session);
        if !silent {
            let first = full.unwrap_or_else(|| dialogue::banner(&self.transport, self.now_ms));
            let refused = first.code != 220;
            self.say(connection, Say::Reply(first));
            if refused {
                self.close(connection);
            }
        }
        connection
    }

    /// The refusal of a connection from this source, if there are too many: in all, from it, or from it for what
    /// remains.
    fn connection_limit(&self, source: IpAddr) -> Option<Reply> {
        let limits = &self.transport.config.limits;
        let from_source = self.sessions.values().filter(|session| session.source == source).count();
        let remaining = limits.connections_max.saturating_sub(self.sessions.len());
        if remaining == 0 {
            return Some(say::CONNECTIONS);
        }
        // Two percent of little would be nothing; one connection is always meant.
        let share = (remaining * limits.source_share_percent / 100).max(1);
        (from_source >= limits.per_source_max.min(share)).then_some(say::CONNECTIONS_PER_SOURCE)
    }

    /// Bytes came. Those of a connection that is closed are ignored.
    pub fn received(&mut self, now_ms: u64, connection: ConnectionId, bytes: &[u8]) {
        self.advance(now_ms);
        if let Some(session) = self.sessions.get_mut(&connection) {
            session.receive(self.now_ms, bytes);
            self.work(connection);
        }
    }

    /// The name for which its certificate is, and which of those it has had that is, if it has one.
    pub(crate) fn certificate(&self) -> Option<(String, Certificate)> {
        let config = &self.transport.config;
        Some((config.site.host.clone(), config.certificate?))
    }

    /// Whether more bytes of this connection would be read now.
    pub fn wants_input(&self, connection: ConnectionId) -> bool {
        self.sessions.get(&connection).is_some_and(Session::wants_input)
    }

    /// Whether something that came on this connection is yet to be answered.
    pub fn owes_answer(&self, connection: ConnectionId) -> bool {
        self.sessions.get(&connection).is_some_and(|session| session.waiting.is_some())
    }

    /// The peer is gone. What it had not ended did not happen.
    pub fn closed(&mut self, now_ms: u64, connection: ConnectionId) {
        self.advance(now_ms);
        self.sessions.remove(&connection);
    }

    /// When [`advance`](Self::advance) has something to do.
    pub fn next_event_ms(&self) -> u64 {
        let limits = &self.transport.config.limits;
        let sessions = self.sessions.values().filter(|session| !session.silent);
        let deadlines = sessions.map(|session| session.deadline_ms(limits.session_ms, limits.idle_ms));
        let scheduled = self.schedule.keys().next().map(|(at_ms, _)| *at_ms);
        deadlines.chain(scheduled).chain(self.back_at_ms).fold(self.transport.next_event_ms(), u64::min)
    }

    /// Lets time pass, event by event.
    pub fn advance(&mut self, now_ms: u64) {
        loop {
            let due_ms = self.next_event_ms();
            if due_ms > now_ms {
                break;
            }
            self.now_ms = self.now_ms.max(due_ms);
            self.step();
        }
        self.now_ms = self.now_ms.max(now_ms);
    }

    /// Does what is due at this moment.
    fn step(&mut self) {
        let now_ms = self.now_ms;
        if self.back_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            self.back_at_ms = None;
        }
        while let Some(entry) = self.schedule.first_entry().filter(|entry| entry.key().0 <= now_ms) {
            let command = entry.remove();
            // It was understood when it was scheduled; what has become of its database since is nobody's fault.
            let _ = self.obey(&command);
        }
        self.transport.advance(now_ms);
        while let Some(outgoing) = self.transport.outgoing.pop_front() {
            self.actions.push_back(Action::Mail { to: outgoing.to, bytes: outgoing.bytes });
        }
        let (session_ms, idle_ms) =
            (self.transport.config.limits.session_ms, self.transport.config.limits.idle_ms);
        let due: Vec<ConnectionId> = self
            .sessions
            .iter()
            .filter(|(_, session)| !session.silent && session.deadline_ms(session_ms, idle_ms) <= now_ms)
            .map(|(connection, _)| *connection)
            .collect();
        for connection in due {
            let Some(session) = self.sessions.get_mut(&connection) else { continue };
            match session.waiting.take() {
                Some((due_ms, answer)) if due_ms <= now_ms => {
                    self.say(connection, answer);
                    self.work(connection);
                }
                // Ten minutes, even in mid-transfer; or five without a word.
                _ => self.say(connection, Say::Reply(say::TIMED_OUT)),
            }
        }
    }

    /// Answers what has come, as long as nothing is held back.
    fn work(&mut self, connection: ConnectionId) {
        while let Some(session) = self.sessions.get_mut(&connection) {
            let Some(input) = session.next_input() else { return };
            let answer = dialogue::answer(session, &mut self.transport, self.now_ms, input);
            if answer.after_ms == 0 {
                self.say(connection, answer.say);
            } else {
                session.waiting = Some((self.now_ms + answer.after_ms, answer.say));
            }
        }
    }

    fn say(&mut self, connection: ConnectionId, what: Say) {
        let reply = match what {
            Say::Reply(reply) => reply,
            Say::Accept(message) => {
                let reply = self.transport.accept(self.now_ms, *message);
                let faults = &mut self.transport.config.faults;
                if faults.lose_replies > 0 {
                    faults.lose_replies -= 1;
                    self.transport.totals.replies_lost += 1;
                    return self.close(connection);
                }
                reply
            }
            Say::Encrypt => {
                self.say(connection, Say::Reply(say::TLS_READY));
                if let Some(session) = self.sessions.get_mut(&connection) {
                    session.encrypt();
                    self.actions.push_back(Action::Encrypt { connection });
                }
                return;
            }
            Say::Hangup => return self.close(connection),
            Say::Nothing => return,
        };
        *self.transport.totals.replies.entry(reply.code).or_default() += 1;
        if let Some(session) = self.sessions.get_mut(&connection) {
            session.last_ms = self.now_ms;
            self.actions.push_back(Action::Send { connection, bytes: reply.to_bytes() });
        }
        if reply.closes() {
            self.close(connection);
        }
    }

    fn close(&mut self, connection: ConnectionId) {
        if self.sessions.remove(&connection).is_some() {
            self.actions.push_back(Action::Close { connection });
        }
    }

    fn cut_connections(&mut self) {
        let all: Vec<ConnectionId> = self.sessions.keys().copied().collect();
        all.into_iter().for_each(|connection| self.close(connection));
    }

    /// The next thing that the driver has to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// How far its time has come, in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// What lies in mailboxes, in the order of delivery.
    pub fn deliveries(&self) -> &[Delivery] {
        self.transport.store.deliveries()
    }

    /// The reports that were made, sent or not.
    pub fn reports(&self) -> &[Report] {
        &self.transport.reports
    }

    /// The database in which a mailbox lies, by its number: what an administrator's list of recipients says.
    pub fn database_of(&self, address: &str) -> usize {
        self.transport.config.site.database_of(&address.to_lowercase())
    }

    /// Messages in the submission queue.
    pub fn submission_queue(&self) -> usize {
        self.transport.submission_len()
    }

    /// The level of back pressure that a sender can notice.
    pub fn level(&self) -> Level {
        self.transport.pressure.level()
    }

    /// The level of one resource.
    pub fn level_of(&self, wanted: Resource) -> Level {
        let mut levels = self.transport.pressure.levels();
        levels.find(|(resource, _)| *resource == wanted).map_or(Level::Low, |(_, level)| level)
    }

    /// All counts as one JSON object; the README explains them.
    pub fn summary(&self) -> Value {
        totals::summary(&self.transport, self.now_ms)
    }

    /// How things stand, in one line.
    pub fn status_line(&self) -> String {
        totals::status_line(&self.transport, self.now_ms, self.sessions.len())
    }

    /// The text that windows_exporter would serve.
    pub fn metrics(&self) -> String {
        self.frozen_counters.clone().unwrap_or_else(|| counters::text(&self.transport))
    }
}
