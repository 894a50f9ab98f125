//! One connection from a client: bytes between its socket and the state machine, verdicts from the intake.
//!
//! All memory of a connection is here, and is used again for the next one. Input stays in the socket until there is room for
//! it, so a volume that is not ready, or a client that does not read its replies, holds up nobody else.

use core::net::SocketAddr;

use penstock_flash::Medium;
use penstock_smtp::server::{Awaits, Config, Event, Session};
use penstock_smtp::{Reply, replies};
use penstock_spool::Error;
use smoltcp::socket::tcp::{self, RecvError, SendError};
use smoltcp::time::Instant;

use crate::intake::{Committed, Intake, Shared, Verdict, Whole, refusal};
use crate::net::Place;
use crate::pace::Pace;
use crate::status::Counters;
use crate::volumes::{Store, Volumes};

/// What a session waits for on our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    Nothing,
    /// DATA was said, and no volume is ready.
    Data,
    /// A message has ended, and is to go to a volume as far as it is not there.
    Take(Whole),
    /// A message is committed, and not durable yet.
    Sync(Committed),
}

/// How a connection went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Went {
    /// As far as it could: it waits for its client, a volume, or a sync.
    Waits,
    /// As far as the budget went.
    HasMore,
    /// It is over: the socket is to be closed.
    Over,
    /// It is over, and nobody is there to be told.
    Lost,
}

/// Why the state machine does not go on.
enum Stop {
    /// All input is used up.
    Input,
    /// There is no room for more replies, or there will be no more.
    Output,
    /// It waits for our side.
    Ours,
    /// The client has said all that it had to say.
    Eof,
    /// The client is gone.
    Gone,
}

/// A connection, or the memory for one.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Its socket, while there is one.
    place: Option<Place>,
    session: Session,
    intake: Intake,
    owed: Owed,
    pub(crate) pace: Pace,
}

impl Connection {
    /// Memory for connections, one at a time.
    pub(crate) fn new(config: Config) -> Self {
        Self {
            place: None,
            intake: Intake::new(&config),
            session: Session::new(config),
            owed: Owed::Nothing,
            pace: Pace::new(Instant::ZERO),
        }
    }

    /// Begins with somebody who just connected.
    pub(crate) fn begin(&mut self, place: Place, client: SocketAddr, config: Config, now: Instant) {
        self.place = Some(place);
        self.session = Session::new(config);
        self.intake.begin(client);
        self.owed = Owed::Nothing;
        self.pace = Pace::new(now);
    }

    /// Its socket, while there is one.
    pub(crate) fn place(&self) -> Option<Place> {
        self.place
    }

    /// The client, while there is one.
    pub(crate) fn client(&self) -> Option<SocketAddr> {
        self.place.map(|_| self.intake.client())
    }

    /// What the session waits for.
    pub(crate) fn awaits(&self) -> Awaits {
        self.session.awaits()
    }

    /// Whether its message waits for a sync of that volume.
    pub(crate) fn waits_for_sync_of(&self, volume: Store) -> bool {
        matches!(self.owed, Owed::Sync(Committed { store, .. }) if store == volume)
    }

    /// Ends the session from our side. What is committed is in custody, whoever hears of it.
    pub(crate) fn say_goodbye<D: Medium, N: Medium>(
        &mut self,
        reply: Reply<'_>,
        volumes: &mut Volumes<D, N>,
    ) {
        self.intake.abandon(volumes);
        self.owed = Owed::Nothing;
        self.session.close(reply);
    }

    /// Lets go of everything.
    pub(crate) fn end<D: Medium, N: Medium>(&mut self, volumes: &mut Volumes<D, N>) {
        self.intake.abandon(volumes);
        self.owed = Owed::Nothing;
        self.place = None;
    }

    /// What became of the sync that its message waited for.
    pub(crate) fn synced(&mut self, synced: Result<(), Error>, counters: &mut Counters, now: Instant) {
        let Owed::Sync(Committed { bytes, .. }) = self.owed else { return };
        self.owed = Owed::Nothing;
        let verdict = synced.map_err(|error| refusal(error, counters));
        if verdict.is_ok() {
            counters.messages += 1;
            counters.message_bytes += bytes;
        }
        self.answer(verdict);
        self.pace.moved(now);
    }

    /// Sends what is to be sent, as far as there is room.
    ///
    /// # Errors
    /// The client is gone.
    pub(crate) fn flush(&mut self, socket: &mut tcp::Socket<'_>) -> Result<(), SendError> {
        while !self.session.output().is_empty() {
            let sent = socket.send_slice(self.session.output())?;
            if sent == 0 {
                break;
            }
            self.session.sent(sent);
        }
        Ok(())
    }

    /// Goes on as far as there is input, room and budget.
    pub(crate) fn go_on<D: Medium, N: Medium>(
        &mut self,
        socket: &mut tcp::Socket<'_>,
        shared: &mut Shared<'_, D, N>,
    ) -> Went {
        loop {
            if self.flush(socket).is_err() {
                return Went::Lost;
            }
            let is_blocked = !self.session.output().is_empty();
            if self.session.awaits() == Awaits::Nothing {
                return if is_blocked { Went::Waits } else { Went::Over };
            }
            if shared.budget_bytes == 0 {
                return Went::HasMore;
            }
            if !self.pay(shared) {
                return Went::Waits;
            }
            match self.read(socket, shared) {
                None => {}
                Some(Stop::Output) if !is_blocked => {}
                Some(Stop::Input | Stop::Output | Stop::Ours) => {
                    return if self.flush(socket).is_ok() { Went::Waits } else { Went::Lost };
                }
                Some(Stop::Eof) => return Went::Over,
                Some(Stop::Gone) => return Went::Lost,
            }
        }
    }

    /// Does what is owed to the client. Whether more input can be used then.
    fn pay<D: Medium, N: Medium>(&mut self, shared: &mut Shared<'_, D, N>) -> bool {
        match self.owed {
            Owed::Nothing => self.intake.room() > 0 || self.intake.pass_on(false, shared),
            Owed::Sync(_) => false,
            Owed::Data => {
                let Some(verdict) = self.intake.data(shared) else { return false };
                self.owed = Owed::Nothing;
                self.pace.message_begins(shared.now);
                self.answer(verdict);
                true
            }
            Owed::Take(whole) => {
                let Some(taken) = self.intake.take(whole, shared) else { return false };
                self.pace.moved(shared.now);
                match taken {
                    Ok(committed) => self.owed = Owed::Sync(committed),
                    Err(reply) => {
                        self.owed = Owed::Nothing;
                        self.answer(Err(reply));
                    }
                }
                self.owed == Owed::Nothing
            }
        }
    }

    /// Reads, and goes on with that. Why it stops there, unless there may be more to read.
    fn read<D: Medium, N: Medium>(
        &mut self,
        socket: &mut tcp::Socket<'_>,
        shared: &mut Shared<'_, D, N>,
    ) -> Option<Stop> {
        let read = socket.recv(|bytes| {
            let in_body = self.session.awaits() == Awaits::Body;
            let room = if in_body { self.intake.room() } else { bytes.len() };
            let len = room.min(shared.budget_bytes).min(bytes.len());
            let (mut input, _) = bytes.split_at(len);
            let stop = self.drive(&mut input, shared);
            let used = len - input.len();
            shared.budget_bytes -= used;
            // Without input, too, there is something to say: the greeting.
            (used, if matches!(stop, Some(Stop::Input)) && used > 0 { None } else { stop })
        });
        match read {
            Ok(stop) => stop,
            Err(RecvError::Finished) => Some(Stop::Eof),
            Err(RecvError::InvalidState) => Some(Stop::Gone),
        }
    }

    /// Lets the state machine go on until something has to happen first.
    fn drive<D: Medium, N: Medium>(
        &mut self,
        input: &mut &[u8],
        shared: &mut Shared<'_, D, N>,
    ) -> Option<Stop> {
        let commands = self.session.commands();
        let stop = self.poll_session(input, shared);
        if self.session.commands() != commands {
            self.pace.moved(shared.now);
        }
        stop
    }

    fn poll_session<D: Medium, N: Medium>(
        &mut self,
        input: &mut &[u8],
        shared: &mut Shared<'_, D, N>,
    ) -> Option<Stop> {
        loop {
            let verdict = match self.session.poll(input) {
                Event::NeedInput => return Some(Stop::Input),
                Event::Verdict => return Some(Stop::Ours),
                Event::OutputFull | Event::Close { .. } => return Some(Stop::Output),
                Event::Answered => continue,
                Event::Hello { name, extended } => {
                    self.intake.hello(name, extended, shared.volumes);
                    continue;
                }
                Event::Mail(mail) => self.intake.mail(&mail, shared),
                Event::Rcpt(recipient) => self.intake.rcpt(&recipient, shared),
                Event::Data => {
                    self.owed = Owed::Data;
                    return None;
                }
                Event::Body(bytes) => {
                    self.pace.message_bytes(shared.now, bytes.len());
                    self.intake.body(bytes);
                    continue;
                }
                Event::EndOfData { received_lines, bare_newlines, .. } => {
                    self.intake.end_of_body();
                    self.owed = Owed::Take(Whole { received_lines, bare_newlines });
                    return None;
                }
                Event::Reset { .. } => {
                    self.intake.abandon(shared.volumes);
                    continue;
                }
                // Neither is offered.
                Event::Etrn { .. } | Event::StartTls => Err(replies::NOT_IMPLEMENTED),
            };
            self.answer(verdict);
        }
    }

    fn answer(&mut self, verdict: Verdict) {
        let answered = match verdict {
            Ok(()) => self.session.accept(),
            Err(reply) => self.session.refuse(reply),
        };
        debug_assert!(answered.is_ok(), "it was asked, and refusals are 4xx or 5xx");
    }
}
