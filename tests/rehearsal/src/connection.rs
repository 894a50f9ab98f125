//! One connection to the server: the session of `penstock_smtp`, over the bytes of the simulated network.
//!
//! The daemon's copy of this talks to sockets. What is judged, and who goes in which transaction, is in neither: that is
//! `penstock_release`'s.

use std::net::IpAddr;

use penstock_exchange::ConnectionId;
use penstock_exchange::simulated::World;
use penstock_release::{AfterEnvelope, End, Found, Greeting, Phase, Reply, Transaction, Verdict};
use penstock_smtp::client::{Config, Event, Phase as At, Session, Timeouts};
use penstock_smtp::{Address, MailFrom, Notify, Recipient, Xtext};

/// A session is not used for another message when it is this old: Exchange ends it at 10 min, in mid-transfer.
const SESSION_AGE_MAX_MS: u64 = 8 * 60_000;

/// A message with its envelope.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    /// ENVID; with it a report of success is asked for.
    pub(crate) envelope_id: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// What a connection is for at the moment.
#[derive(Debug)]
enum Task {
    /// The greeting and EHLO.
    Opening,
    None,
    Probe,
    Envelope(Letter, Transaction),
    Message(Letter, Transaction, Sent),
    /// RSET, and then this end.
    Leaving(Transaction, End),
    Quit,
    Over,
}

/// How much of the message the session has.
#[derive(Debug)]
enum Sent {
    /// 354 has not come.
    Nothing,
    Bytes(usize),
    All,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Happened {
    /// It can take a message.
    Ready,
    /// It cannot, and never will.
    NotReady(Found),
    /// A probe has ended: with trouble, or without.
    Probed(Option<Found>),
    /// A transaction has ended; whether the server had the whole message and said nothing.
    Transacted { transaction: Transaction, end: End, in_doubt: bool },
    /// The server said goodbye.
    Gone,
}

#[derive(Debug)]
pub(crate) struct Connection {
    id: ConnectionId,
    session: Session,
    banner: String,
    input: Vec<u8>,
    task: Task,
    opened_ms: u64,
    /// When the last command went out.
    asked_ms: u64,
    /// When bytes last went either way.
    moved_ms: u64,
    idle_since_ms: u64,
    /// Messages that it has carried.
    pub(crate) carried: u64,
    /// How long the server took to answer MAIL, and the message.
    pub(crate) answered_ms: Vec<(Phase, u64)>,
}

impl Connection {
    pub(crate) fn open(world: &mut World, source: IpAddr, config: Config) -> Result<Self, Found> {
        let now_ms = world.now_ms();
        let id = world.connect(source).ok_or_else(|| Found::lost(Phase::Connect, "connection refused", 0))?;
        Ok(Self {
            id,
            session: Session::new(config),
            banner: String::new(),
            input: Vec::new(),
            task: Task::Opening,
            opened_ms: now_ms,
            asked_ms: now_ms,
            moved_ms: now_ms,
            idle_since_ms: now_ms,
            carried: 0,
            answered_ms: Vec::new(),
        })
    }

    /// What the server has shown of itself.
    pub(crate) fn greeting(&self) -> Greeting<'_> {
        let extensions = &self.session.capabilities().keywords;
        Greeting { banner: &self.banner, extensions, certificate: b"" }
    }

    /// Whether another message may begin on it.
    pub(crate) fn is_fresh(&self, now_ms: u64) -> bool {
        self.session.phase() == At::Idle && now_ms < self.opened_ms + SESSION_AGE_MAX_MS
    }

    pub(crate) fn set_idle(&mut self, now_ms: u64) {
        self.task = Task::None;
        self.idle_since_ms = now_ms;
    }

    pub(crate) fn idle_since_ms(&self) -> u64 {
        self.idle_since_ms
    }

    /// Whether, if it were cut now, the server may have a message of which we do not know.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.session.final_dot_sent()
    }

    /// When the server's time to answer is over.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let wait = Timeouts::default().of(self.session.phase())?;
        Some(self.moved_ms + u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn transact(&mut self, letter: Letter) {
        let mail = MailFrom {
            envid: letter.envelope_id.as_deref().and_then(|id| Xtext::parse(id).ok()),
            size_bytes: Some(letter.body.len() as u64),
            ..MailFrom::new(Address::parse(&letter.from).unwrap_or(Address::NULL))
        };
        let said = self.session.mail(&mail);
        debug_assert!(said.is_ok(), "an idle session takes MAIL");
        let transaction = Transaction::new(letter.to.len());
        self.task = Task::Envelope(letter, transaction);
    }

    pub(crate) fn probe(&mut self) {
        let said = self.session.mail(&MailFrom::new(Address::NULL));
        debug_assert!(said.is_ok(), "a session that has just begun takes MAIL");
        self.task = Task::Probe;
    }

    /// Says goodbye, if it can be said.
    pub(crate) fn quit(&mut self) {
        self.task = if self.session.quit().is_ok() { Task::Quit } else { Task::Over };
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.task, Task::Over)
    }

    pub(crate) fn close(&self, world: &mut World) {
        world.close(self.id);
    }

    /// Sends and receives what there is.
    pub(crate) fn turn(&mut self, world: &mut World) -> Option<Happened> {
        let came = world.take(self.id);
        if !came.is_empty() {
            self.input.extend(came);
            self.moved_ms = world.now_ms();
        }
        // What comes between transactions is looked at when the next one begins.
        while !matches!(self.task, Task::None | Task::Over) {
            self.speak(world);
            let took_ms = world.now_ms() - self.asked_ms;
            let was_in_doubt = self.is_in_doubt();
            let (happened, goes_on) = self.hear(took_ms);
            if happened.is_some() {
                return happened;
            }
            if !goes_on {
                let lost = if world.is_closed(self.id) {
                    "the server closed the connection"
                } else if self.deadline_ms().is_some_and(|at_ms| at_ms <= world.now_ms()) {
                    ""
                } else {
                    return None;
                };
                return Some(self.cut(lost, was_in_doubt));
            }
        }
        None
    }

    /// Ends without a reply; without a reason it is silence that ends it.
    fn cut(&mut self, why: &str, in_doubt: bool) -> Happened {
        let at = phase(self.session.phase());
        let accepted = match &self.task {
            Task::Envelope(_, transaction) | Task::Message(_, transaction, _) => transaction.accepted(),
            _ => 0,
        };
        let found = match why {
            "" => Found::timed_out(at, accepted),
            why => Found::lost(at, why, accepted),
        };
        self.ended(found, in_doubt)
    }

    /// The session is over, with this evidence.
    fn ended(&mut self, found: Found, in_doubt: bool) -> Happened {
        match std::mem::replace(&mut self.task, Task::Over) {
            Task::Opening => Happened::NotReady(found),
            Task::Probe => Happened::Probed(Some(found)),
            Task::Envelope(_, transaction) | Task::Message(_, transaction, _) => {
                Happened::Transacted { transaction, end: End::Cut(Some(found)), in_doubt }
            }
            // What it had said before counts.
            Task::Leaving(transaction, end) => Happened::Transacted { transaction, end, in_doubt: false },
            Task::None | Task::Quit | Task::Over => Happened::Gone,
        }
    }

    /// Gives the session what it may send.
    fn speak(&mut self, world: &mut World) {
        if let Task::Envelope(letter, transaction) = &mut self.task {
            while self.session.can_send()
                && let Some(number) = transaction.to_name()
            {
                let address = letter.to.get(number).and_then(|to| Address::parse(to).ok());
                let notify = Notify { success: true, failure: true, delay: false };
                let recipient = Recipient {
                    notify: letter.envelope_id.is_some().then_some(notify),
                    ..Recipient::new(address.unwrap_or(Address::NULL))
                };
                let said = self.session.rcpt(&recipient);
                debug_assert!(said.is_ok(), "tests name recipients that can be written to: {said:?}");
                transaction.named();
            }
            match transaction.after_envelope() {
                None => {}
                Some(AfterEnvelope::Data) => {
                    let said = self.session.data();
                    debug_assert!(said.is_ok(), "nothing is owed: {said:?}");
                    if let Task::Envelope(letter, transaction) = std::mem::replace(&mut self.task, Task::Over)
                    {
                        self.task = Task::Message(letter, transaction, Sent::Nothing);
                    }
                }
                Some(AfterEnvelope::Leave(end)) => self.leave(end),
            }
        }
        loop {
            self.send(world);
            let Task::Message(letter, _, sent) = &mut self.task else { return };
            match sent {
                Sent::Nothing | Sent::All => return,
                Sent::Bytes(at) => match letter.body.get(*at..).filter(|rest| !rest.is_empty()) {
                    Some(rest) => match self.session.body(rest) {
                        Ok(taken) => *at += taken,
                        // The server refused in the middle: it is heard next.
                        Err(_) => return,
                    },
                    None if self.session.finish().is_ok() => *sent = Sent::All,
                    None => {}
                },
            }
        }
    }

    /// Leaves the transaction so that the session can have another one.
    fn leave(&mut self, end: End) {
        let said = self.session.reset();
        debug_assert!(said.is_ok(), "nothing is owed: {said:?}");
        match std::mem::replace(&mut self.task, Task::Over) {
            Task::Envelope(_, transaction) | Task::Message(_, transaction, _) => {
                self.task = Task::Leaving(transaction, end);
            }
            other => self.task = other,
        }
    }

    fn send(&mut self, world: &mut World) {
        let bytes = self.session.output();
        if !bytes.is_empty() {
            world.send(self.id, bytes);
            let len = bytes.len();
            self.session.sent(len);
            self.asked_ms = world.now_ms();
            self.moved_ms = world.now_ms();
        }
    }

    /// Takes one event. What came of it, and whether there may be more.
    fn hear(&mut self, took_ms: u64) -> (Option<Happened>, bool) {
        let mut rest = self.input.as_slice();
        let event = self.session.poll(&mut rest);
        let used = self.input.len() - rest.len();
        let mut refused = None;
        let mut left = None;
        let happened = match (event, &mut self.task) {
            (Event::NeedInput, _) => {
                self.input.clear();
                return (None, false);
            }
            (Event::Greeting(reply), _) => {
                self.banner = reply.text.to_owned();
                None
            }
            (Event::Ready(_), _) => {
                self.task = Task::None;
                Some(Happened::Ready)
            }
            (Event::MailReply(reply), Task::Probe) => {
                let found = Found::reply(Phase::Mail, heard(reply), 0);
                Some(Happened::Probed((found.verdict() != Verdict::Accepted).then_some(found)))
            }
            (Event::MailReply(reply), Task::Envelope(_, transaction)) => {
                self.answered_ms.push((Phase::Mail, took_ms));
                transaction.mail_answered(heard(reply));
                None
            }
            (Event::RcptReply { index, reply }, Task::Envelope(_, transaction)) => {
                let found = transaction.heard(Phase::Rcpt, heard(reply));
                let end = transaction.recipient_answered(index as usize, found);
                if let Some(End::Cut(Some(found))) = end {
                    refused = Some(found);
                }
                None
            }
            (Event::DataReply(reply), Task::Message(_, transaction, sent)) => {
                if reply.code == 354 {
                    self.answered_ms.push((Phase::Data, took_ms));
                    *sent = Sent::Bytes(0);
                } else {
                    left = Some(End::Before(Some(transaction.heard(Phase::Data, heard(reply)))));
                }
                None
            }
            (Event::EndReply(reply), Task::Message(_, transaction, _)) => {
                self.answered_ms.push((Phase::EndOfData, took_ms));
                let end = End::Message(transaction.heard(Phase::EndOfData, heard(reply)));
                self.transacted(end)
            }
            (Event::NoRecipients, _) => self.transacted(End::Before(None)),
            (Event::ResetReply(_), Task::Leaving(_, end)) => {
                let end = end.clone();
                self.transacted(end)
            }
            (Event::Refused { phase: at, reply }, task) => {
                let accepted = match task {
                    Task::Envelope(_, transaction) | Task::Message(_, transaction, _) => {
                        transaction.accepted()
                    }
                    _ => 0,
                };
                refused = Some(Found::reply(phase(at), heard(reply), accepted));
                None
            }
            (Event::Broken { phase: at, error }, _) => {
                refused = Some(Found::lost(phase(at), error.to_string(), 0));
                None
            }
            (Event::Closed, _) => {
                self.task = Task::Over;
                Some(Happened::Gone)
            }
            _ => None,
        };
        self.input.drain(..used);
        if let Some(end) = left {
            self.leave(end);
        }
        match refused {
            Some(found) => (Some(self.ended(found, false)), false),
            None => (happened, true),
        }
    }

    fn transacted(&mut self, end: End) -> Option<Happened> {
        match std::mem::replace(&mut self.task, Task::None) {
            Task::Envelope(_, transaction)
            | Task::Message(_, transaction, _)
            | Task::Leaving(transaction, _) => {
                Some(Happened::Transacted { transaction, end, in_doubt: false })
            }
            _ => None,
        }
    }
}

fn heard(reply: penstock_smtp::Reply<'_>) -> Reply<'_> {
    let enhanced = reply.status.map(|status| (status.class, status.subject, status.detail));
    Reply { code: reply.code, enhanced, text: reply.text }
}

/// The phase as `release` knows it. Between transactions what is wrong concerns the next MAIL.
fn phase(at: At) -> Phase {
    match at {
        At::Greeting => Phase::Banner,
        At::Ehlo | At::StartTls => Phase::Ehlo,
        At::Idle | At::Mail | At::Reset | At::Quit | At::Over => Phase::Mail,
        At::Rcpt => Phase::Rcpt,
        At::Data => Phase::Data,
        At::Body | At::FinalDot => Phase::EndOfData,
    }
}
