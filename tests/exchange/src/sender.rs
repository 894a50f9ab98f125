//! A plain mail server in simulated time, as hard on its next hop as its settings allow: the load of tests, and a rival
//! for whoever paces.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::server::ConnectionId;
use crate::simulated::{Party, World, reply_len};
use crate::units::MINUTE;

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its sender.
    pub from: String,
    /// Its recipients.
    pub to: Vec<String>,
    /// Header and body, with lines ending in CRLF and no dots at their beginning.
    pub message: String,
}

impl Item {
    /// A message of about this length, that no other one with another number equals.
    pub fn numbered(number: u64, to: &str, len_bytes: usize) -> Self {
        let line = "x".repeat(76) + "\r\n";
        let message = format!(
            "Message-ID: <{number}@sender.example>\r\nDate: Thu, 01 Jan 1970 00:00:00 +0000\r\nSubject: \
             {number}\r\n\r\n{}",
            line.repeat(len_bytes.div_ceil(line.len()))
        );
        Self { from: "sender@sender.example".into(), to: vec![to.to_owned()], message }
    }
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Its number in the order of the items.
    pub item: usize,
    /// When the last attempt ended.
    pub at_ms: u64,
    /// The reply that ended it.
    pub reply: String,
}

/// Where one connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The reply to the connection, to EHLO or to RSET is due.
    Banner,
    Ehlo,
    Reset,
    /// Nothing is.
    Idle,
    /// The reply to MAIL, to this many RCPTs, to DATA, to the message.
    Mail,
    Rcpt(usize),
    Data,
    End,
}

#[derive(Debug)]
struct Line {
    connection: ConnectionId,
    step: Step,
    inbox: Vec<u8>,
    /// The item in its hands.
    item: Option<usize>,
}

/// Sends items in order over several connections. What is refused with 4xx, or lost with its connection, comes again
/// after a while; what is refused with 5xx is given up.
#[derive(Debug)]
pub struct Sender {
    source: IpAddr,
    connections_max: usize,
    retry_ms: u64,
    /// Between two messages, if it paces itself.
    interval_ms: u64,
    items: Vec<Item>,
    waiting: VecDeque<usize>,
    deferred: VecDeque<(u64, usize)>,
    lines: Vec<Line>,
    next_ms: u64,
    /// After a failure to connect.
    blocked_until_ms: u64,
    fates: Vec<Fate>,
    /// Attempts that were answered with 4xx, or with nothing.
    pub failures: u64,
}

impl Sender {
    /// A sender at an address with so many connections, that tries again after 1 minute.
    pub fn new(source: IpAddr, connections_max: usize, items: Vec<Item>) -> Self {
        let waiting = (0..items.len()).collect();
        Self {
            source,
            connections_max,
            retry_ms: MINUTE,
            interval_ms: 0,
            items,
            waiting,
            deferred: VecDeque::new(),
            lines: Vec::new(),
            next_ms: 0,
            blocked_until_ms: 0,
            fates: Vec::new(),
            failures: 0,
        }
    }

    /// Sends at most one message every so many milliseconds.
    pub fn every_ms(mut self, interval_ms: u64) -> Self {
        self.interval_ms = interval_ms;
        self
    }

    /// Tries again after this.
    pub fn retrying_after_ms(mut self, retry_ms: u64) -> Self {
        self.retry_ms = retry_ms;
        self
    }

    /// The messages that are done with.
    pub fn fates(&self) -> &[Fate] {
        &self.fates
    }

    /// Whether there is nothing left to do.
    pub fn is_done(&self) -> bool {
        self.fates.len() == self.items.len()
    }

    fn next_item(&mut self, now_ms: u64) -> Option<usize> {
        if now_ms < self.next_ms {
            return None;
        }
        while let Some((_, item)) = self.deferred.pop_front_if(|(at_ms, _)| *at_ms <= now_ms) {
            self.waiting.push_back(item);
        }
        let item = self.waiting.pop_front()?;
        self.next_ms = now_ms + self.interval_ms;
        Some(item)
    }

    fn defer(&mut self, now_ms: u64, item: Option<usize>) {
        if let Some(item) = item {
            self.failures += 1;
            self.deferred.push_back((now_ms + self.retry_ms, item));
        }
    }

    /// Ends an attempt by its last reply.
    fn settle(&mut self, now_ms: u64, line: &mut Line, reply: &str) {
        let item = line.item.take();
        if reply.starts_with('4') {
            self.defer(now_ms, item);
        } else if let Some(item) = item {
            self.fates.push(Fate { item, at_ms: now_ms, reply: reply.to_owned() });
        }
    }

    /// Goes on with a line for which a reply has come.
    fn go_on(&mut self, world: &mut World, line: &mut Line, reply: &str) {
        let now_ms = world.now_ms();
        let ok = reply.starts_with('2') || reply.starts_with('3');
        let item = line.item.and_then(|item| self.items.get(item));
        let (text, next) = match line.step {
            Step::Banner if ok => ("EHLO sender.example\r\n".to_owned(), Step::Ehlo),
            // The server closes the connection after this, or we do.
            Step::Banner | Step::Ehlo if !ok => return world.close(line.connection),
            Step::Banner | Step::Ehlo | Step::Reset | Step::Idle => (String::new(), Step::Idle),
            Step::End => {
                self.settle(now_ms, line, reply);
                (String::new(), Step::Idle)
            }
            _ if !ok => {
                self.settle(now_ms, line, reply);
                ("RSET\r\n".to_owned(), Step::Reset)
            }
            Step::Mail | Step::Rcpt(_) => {
                let named = if let Step::Rcpt(named) = line.step { named } else { 0 };
                match item.and_then(|item| item.to.get(named)) {
                    Some(to) => (format!("RCPT TO:<{to}>\r\n"), Step::Rcpt(named + 1)),
                    None => ("DATA\r\n".to_owned(), Step::Data),
                }
            }
            Step::Data => (item.map_or_else(String::new, |item| format!("{}.\r\n", item.message)), Step::End),
        };
        world.send(line.connection, text.as_bytes());
        line.step = next;
    }

    /// Gives idle lines something to do.
    fn begin(&mut self, world: &mut World, line: &mut Line) {
        if line.step == Step::Idle
            && let Some(number) = self.next_item(world.now_ms())
        {
            let from = self.items.get(number).map_or("", |item| &item.from);
            world.send(line.connection, format!("MAIL FROM:<{from}>\r\n").as_bytes());
            (line.item, line.step) = (Some(number), Step::Mail);
        }
    }

    fn has_work(&self, now_ms: u64) -> bool {
        !self.waiting.is_empty() || self.deferred.front().is_some_and(|(at_ms, _)| *at_ms <= now_ms)
    }
}

impl Party for Sender {
    fn next_event_ms(&self) -> Option<u64> {
        let work_ms =
            if self.waiting.is_empty() { self.deferred.front().map(|(at_ms, _)| *at_ms) } else { Some(0) };
        let free =
            self.lines.len() < self.connections_max || self.lines.iter().any(|line| line.step == Step::Idle);
        let at_ms = work_ms?.max(self.next_ms);
        let idle = self.lines.iter().any(|line| line.step == Step::Idle);
        free.then_some(if idle { at_ms } else { at_ms.max(self.blocked_until_ms) })
    }

    fn act(&mut self, world: &mut World) {
        let now_ms = world.now_ms();
        let mut lines = std::mem::take(&mut self.lines);
        for line in &mut lines {
            line.inbox.extend(world.take(line.connection));
            while let Some(len) = reply_len(&line.inbox) {
                let reply: Vec<u8> = line.inbox.drain(..len).collect();
                self.go_on(world, line, String::from_utf8_lossy(&reply).trim_end());
            }
        }
        let (closed, mut open): (Vec<_>, Vec<_>) =
            lines.into_iter().partition(|line| world.is_closed(line.connection));
        for line in closed {
            self.defer(now_ms, line.item);
            self.blocked_until_ms = now_ms + self.retry_ms;
        }
        open.iter_mut().for_each(|line| self.begin(world, line));
        let busy = open.iter().all(|line| line.step != Step::Idle);
        if busy
            && open.len() < self.connections_max
            && now_ms >= self.blocked_until_ms.max(self.next_ms)
            && self.has_work(now_ms)
        {
            match world.connect(self.source) {
                Some(connection) => {
                    open.push(Line { connection, step: Step::Banner, inbox: Vec::new(), item: None });
                }
                None => self.blocked_until_ms = now_ms + self.retry_ms,
            }
        }
        self.lines = open;
    }
}
