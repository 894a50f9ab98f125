use core::fmt::Write;

use crate::bounds::{CLIENT_OUTPUT_BYTES, COMMAND_BYTES_MAX, OUTSTANDING_MAX};
use crate::dot::Stuffer;
use crate::envelope::{MailFrom, Recipient};
use crate::error::Error;
use crate::output::Output;

use super::capabilities::Capabilities;
use super::config::{Config, Phase};
use super::envelope::{Answers, Envelope, write_mail, write_rcpt};
use super::event::Event;
use super::reader::{Read, ReplyReader};

/// One connection to a server. See the [module](super) for how it is driven.
///
/// # When the connection is lost
/// Before the final dot has been handed out in full, see [`final_dot_sent`](Self::final_dot_sent), the server cannot
/// have taken the message. After that it may have, and sending again may send twice.
#[derive(Debug)]
pub struct Session {
    config: Config,
    capabilities: Capabilities,
    reader: ReplyReader,
    output: Output<CLIENT_OUTPUT_BYTES>,
    state: State,
    tls: bool,
}

#[derive(Debug)]
enum State {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    /// The server waits for a TLS handshake.
    Handshake,
    Idle,
    Envelope(Envelope),
    Body(Stuffer),
    /// A chunk, with so many bytes to come.
    Chunk(u64),
    /// Everything has been handed out that makes the server take the message.
    FinalDot,
    /// The same, of an empty message that must not be delivered.
    LoneDot,
    Reset,
    Quit,
    Over,
}

/// What a reply turned out to be: an [`Event`] without what it borrows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing that the caller needs to know of.
    Again,
    NeedInput,
    Greeting,
    Ready,
    StartTls,
    Mail,
    Rcpt(u32),
    Data,
    NoRecipients,
    End,
    Reset,
    Refused(Phase),
    Broken(Phase, Error),
    Closed,
}

impl Session {
    /// A session on a connection that has just been made. The server speaks first.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            capabilities: Capabilities::default(),
            reader: ReplyReader::new(),
            output: Output::new(),
            state: State::Greeting,
            tls: false,
        }
    }

    /// Reads up to one reply and says what it means.
    pub fn poll<'a>(&'a mut self, input: &mut &[u8]) -> Event<'a> {
        let step = loop {
            let step = self.step(input);
            if step != Step::Again {
                break step;
            }
        };
        let reply = self.reader.reply();
        match step {
            Step::Again | Step::NeedInput => Event::NeedInput,
            Step::Greeting => Event::Greeting(reply),
            Step::Ready => Event::Ready(&self.capabilities),
            Step::StartTls => Event::StartTlsReply(reply),
            Step::Mail => Event::MailReply(reply),
            Step::Rcpt(index) => Event::RcptReply { index, reply },
            Step::Data => Event::DataReply(reply),
            Step::NoRecipients => Event::NoRecipients,
            Step::End => Event::EndReply(reply),
            Step::Reset => Event::ResetReply(reply),
            Step::Refused(phase) => Event::Refused { phase, reply },
            Step::Broken(phase, error) => Event::Broken { phase, error },
            Step::Closed => Event::Closed,
        }
    }

    /// Whether the next command of a transaction may be given: the server owes no reply, or offers PIPELINING and owes
    /// few; and there is room.
    pub fn can_send(&self) -> bool {
        let in_turn = match &self.state {
            State::Idle => true,
            State::Envelope(envelope) if !envelope.data_sent => match envelope.outstanding() {
                0 => true,
                outstanding => self.capabilities.pipelining && outstanding < OUTSTANDING_MAX,
            },
            _ => false,
        };
        in_turn && self.has_room()
    }

    /// Begins a transaction. Parameters that the server did not offer are left out: RET and ENVID without DSN, SIZE
    /// without SIZE; also BODY without 8BITMIME (and the message is sent as it is) and SMTPUTF8 while all addresses are
    /// ASCII: whether the message can do without them is for the caller to know.
    ///
    /// # Errors
    /// [`Error::OutOfTurn`] within a transaction, or if [`can_send`](Self::can_send) says no; [`Error::NotOffered`] for
    /// BODY=BINARYMIME and for an address beyond ASCII, if the server does not take them.
    pub fn mail(&mut self, mail: &MailFrom<'_>) -> Result<(), Error> {
        if !matches!(self.state, State::Idle) || !self.can_send() {
            return Err(Error::OutOfTurn);
        }
        let offered = &self.capabilities;
        let envelope = Envelope::new(offered, mail);
        if (envelope.binary && !(offered.chunking && offered.binary_mime))
            || (!mail.sender.is_ascii() && !envelope.smtp_utf8)
        {
            return Err(Error::NotOffered);
        }
        let written = write_mail(&mut self.output, offered, mail);
        debug_assert!(written.is_ok(), "there is room for COMMAND_BYTES_MAX");
        self.state = State::Envelope(envelope);
        Ok(())
    }

    /// Names a recipient. NOTIFY and ORCPT are left out if the server did not offer DSN.
    ///
    /// # Errors
    /// [`Error::OutOfTurn`] outside a transaction, after DATA, or if [`can_send`](Self::can_send) says no;
    /// [`Error::RecipientsMax`]; [`Error::Address`] for the null address, which cannot receive; [`Error::NotOffered`] for
    /// an address beyond ASCII in a transaction without SMTPUTF8.
    pub fn rcpt(&mut self, recipient: &Recipient<'_>) -> Result<(), Error> {
        if !self.can_send() {
            return Err(Error::OutOfTurn);
        }
        let State::Envelope(envelope) = &mut self.state else {
            return Err(Error::OutOfTurn);
        };
        if envelope.recipients >= self.config.recipients_max {
            return Err(Error::RecipientsMax);
        }
        if recipient.address.is_null() {
            return Err(Error::Address);
        }
        if !recipient.is_ascii() && !envelope.smtp_utf8 {
            return Err(Error::NotOffered);
        }
        envelope.recipients += 1;
        let written = write_rcpt(&mut self.output, &self.capabilities, recipient);
        debug_assert!(written.is_ok(), "there is room for COMMAND_BYTES_MAX");
        Ok(())
    }

    /// Asks to send the message.
    ///
    /// # Errors
    /// [`Error::OutOfTurn`] outside a transaction, after DATA, for BODY=BINARYMIME, or if [`can_send`](Self::can_send) says
    /// no;
    /// [`Error::NoRecipients`] if it is known that the server took no recipient: the transaction has failed, and
    /// RSET is due.
    pub fn data(&mut self) -> Result<(), Error> {
        if !self.can_send() {
            return Err(Error::OutOfTurn);
        }
        let State::Envelope(envelope) = &mut self.state else {
            return Err(Error::OutOfTurn);
        };
        if envelope.binary {
            return Err(Error::OutOfTurn);
        }
        if envelope.recipients == 0 || (envelope.outstanding() == 0 && !envelope.is_deliverable()) {
            return Err(Error::NoRecipients);
        }
        envelope.data_sent = true;
        self.output.push(b"DATA\r\n");
        Ok(())
    }

    /// Sends the message by BDAT, all of it as one chunk of `octets` bytes, which [`body`](Self::body) brings next. Servers
    /// are known to hang at BDAT, so it is for messages that cannot go by DATA.
    ///
    /// Not ahead of replies: a chunk for nobody would be a waste of its octets.
    ///
    /// # Errors
    /// [`Error::OutOfTurn`] outside a transaction, after DATA, or while a reply is owed; [`Error::NotOffered`];
    /// [`Error::NoRecipients`] if the server took no recipient: RSET is due.
    pub fn chunk(&mut self, octets: u64) -> Result<(), Error> {
        if !self.capabilities.chunking {
            return Err(Error::NotOffered);
        }
        let State::Envelope(envelope) = &self.state else {
            return Err(Error::OutOfTurn);
        };
        if !self.can_send() || envelope.outstanding() > 0 {
            return Err(Error::OutOfTurn);
        }
        if !envelope.is_deliverable() {
            return Err(Error::NoRecipients);
        }
        let written = write!(self.output, "BDAT {octets} LAST\r\n");
        debug_assert!(written.is_ok(), "there is room for COMMAND_BYTES_MAX");
        self.state = if octets == 0 { State::FinalDot } else { State::Chunk(octets) };
        Ok(())
    }

    /// Takes as much of the message as there is room for, stuffs its dots if it goes by DATA, and says how many bytes that
    /// was: the caller comes back with the rest once output has been sent.
    ///
    /// With the last byte of a chunk the server has the message: a caller that has yet to see whether the message is whole
    /// keeps something of it back.
    ///
    /// A caller that cannot go on in the middle has to drop the connection: whatever it sent would count.
    ///
    /// # Errors
    /// [`Error::OutOfTurn`] unless the server said 354 and nothing since, or within a chunk; [`Error::ChunkLength`] for more
    /// than was announced, of which nothing is taken.
    pub fn body(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        match &mut self.state {
            State::Body(stuffer) => Ok(stuffer.push(bytes, &mut self.output)),
            State::Chunk(left) if bytes.len() as u64 > *left => Err(Error::ChunkLength),
            State::Chunk(left) => {
                let octets = bytes.get(..self.output.room()).unwrap_or(bytes);
                self.output.push(octets);
                *left -= octets.len() as u64;
                if *left == 0 {
                    self.state = State::FinalDot;
                }
                Ok(octets.len())
            }
            _ => Err(Error::OutOfTurn),
        }
    }

    /// Ends the message. One that does not end in CR LF gets it: DATA cannot say otherwise. A chunk ends by itself, and
    /// stays as it is.
    ///
    /// # Errors
    /// [`Error::OutOfTurn`] where [`body`](Self::body) would say so; [`Error::OutputFull`] if output has to be sent
    /// first; [`Error::ChunkLength`] if bytes of a chunk are missing.
    pub fn finish(&mut self) -> Result<(), Error> {
        let stuffer = match &self.state {
            State::Body(stuffer) => stuffer,
            State::Chunk(_) => return Err(Error::ChunkLength),
            State::FinalDot => return Ok(()),
            _ => return Err(Error::OutOfTurn),
        };
        if self.output.room() < Stuffer::END_BYTES_MAX {
            return Err(Error::OutputFull);
        }
        self.output.push(stuffer.end());
        self.state = State::FinalDot;
        Ok(())
    }

    /// Asks the server to go over to TLS.
    ///
    /// # Errors
    /// [`Error::OutOfTurn`] within a transaction, in a session that is encrypted, and if the server does not
    /// [offer](Capabilities::starttls) it; [`Error::OutputFull`].
    pub fn start_tls(&mut self) -> Result<(), Error> {
        if self.tls || !self.capabilities.starttls || !matches!(self.state, State::Idle) {
            return Err(Error::OutOfTurn);
        }
        self.write_between(b"STARTTLS\r\n", State::StartTls)
    }

    /// The handshake is done, and from now on input and output are the encrypted session's. What the server offered
    /// before is forgotten (RFC 3207 §4.2), and EHLO is on its way again.
    ///
    /// # Errors
    /// [`Error::OutOfTurn`] unless the server said 220 to STARTTLS, and nothing after it.
    pub fn tls_started(&mut self) -> Result<(), Error> {
        if !matches!(self.state, State::Handshake) {
            return Err(Error::OutOfTurn);
        }
        self.tls = true;
        self.capabilities = Capabilities::default();
        self.hello("EHLO", State::Ehlo);
        Ok(())
    }

    /// Whether the session is encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Gives up the transaction, or does nothing in a way that shows whether the server is still there.
    ///
    /// # Errors
    /// [`Error::OutOfTurn`] while the server owes a reply, within a message, before [`Event::Ready`] and after the
    /// end; [`Error::OutputFull`].
    pub fn reset(&mut self) -> Result<(), Error> {
        self.write_between(b"RSET\r\n", State::Reset)
    }

    /// Ends the session.
    ///
    /// # Errors
    /// As [`reset`](Self::reset).
    pub fn quit(&mut self) -> Result<(), Error> {
        self.write_between(b"QUIT\r\n", State::Quit)
    }

    /// What has to be sent.
    pub fn output(&self) -> &[u8] {
        self.output.pending()
    }

    /// Takes note that the first `n` bytes of [`output`](Self::output) have been sent.
    pub fn sent(&mut self, n: usize) {
        self.output.sent(n);
    }

    /// What the session is at.
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Greeting => Phase::Greeting,
            State::Ehlo | State::Helo => Phase::Ehlo,
            State::StartTls | State::Handshake => Phase::StartTls,
            State::Idle => Phase::Idle,
            State::Envelope(envelope) => envelope.phase(),
            State::Body(_) | State::Chunk(_) => Phase::Body,
            State::FinalDot | State::LoneDot => Phase::FinalDot,
            State::Reset => Phase::Reset,
            State::Quit => Phase::Quit,
            State::Over => Phase::Over,
        }
    }

    /// Whether the message has been handed out to its last byte and no verdict has come: if the connection is lost
    /// now, the server may have taken it.
    pub fn final_dot_sent(&self) -> bool {
        matches!(self.state, State::FinalDot) && self.output.pending().is_empty()
    }

    /// What the server offers; all `false` before [`Event::Ready`].
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn has_room(&self) -> bool {
        self.output.room() >= COMMAND_BYTES_MAX
    }

    /// Writes a command that may stand wherever no reply is owed.
    fn write_between(&mut self, command: &[u8], next: State) -> Result<(), Error> {
        match &self.state {
            State::Idle => {}
            State::Envelope(envelope) if envelope.outstanding() == 0 => {}
            _ => return Err(Error::OutOfTurn),
        }
        if !self.has_room() {
            return Err(Error::OutputFull);
        }
        self.output.push(command);
        self.state = next;
        Ok(())
    }

    fn step(&mut self, input: &mut &[u8]) -> Step {
        if matches!(self.state, State::Over) {
            return Step::Closed;
        }
        if matches!(self.state, State::Handshake) {
            return if input.is_empty() { Step::NeedInput } else { self.broken(Error::InputBeforeTls) };
        }
        match self.reader.next(input) {
            Ok(Read::Incomplete) => Step::NeedInput,
            Ok(Read::Line) => {
                self.read_capability();
                Step::Again
            }
            Ok(Read::Last) => {
                self.read_capability();
                match self.answered() {
                    // Nobody may say anything in plain text any more: what is there was put in by somebody else.
                    Step::StartTls if matches!(self.state, State::Handshake) && !input.is_empty() => {
                        self.broken(Error::InputBeforeTls)
                    }
                    step => step,
                }
            }
            Err(error) => self.broken(error),
        }
    }

    /// Takes a line of the reply to EHLO, or the name in that to HELO.
    fn read_capability(&mut self) {
        let (first, line) = (self.reader.lines() == 1, self.reader.line_text());
        match self.state {
            State::Ehlo | State::Helo if first => self.capabilities.read_host_name(line),
            State::Ehlo => self.capabilities.read_keyword(line),
            _ => {}
        }
    }

    /// Goes on after a whole reply.
    fn answered(&mut self) -> Step {
        let reply = self.reader.reply();
        let (code, success, refused) =
            (reply.code, reply.is_success(), reply.is_transient() || reply.is_permanent());
        if code == 421 && !matches!(self.state, State::Quit) {
            return self.refused();
        }
        // A verdict on something that the server cannot have seen yet is none.
        let early = !self.output.pending().is_empty();
        match &mut self.state {
            State::Quit | State::Over => {
                self.state = State::Over;
                Step::Closed
            }
            State::Greeting if code == 220 => {
                self.hello("EHLO", State::Ehlo);
                Step::Greeting
            }
            State::Ehlo if success => {
                self.capabilities.extended = true;
                self.state = State::Idle;
                Step::Ready
            }
            State::Ehlo if code == 500 || code == 502 => {
                self.capabilities = Capabilities::default();
                self.hello("HELO", State::Helo);
                Step::Again
            }
            State::Helo if success => {
                self.state = State::Idle;
                Step::Ready
            }
            State::StartTls if code == 220 && !early => {
                self.state = State::Handshake;
                Step::StartTls
            }
            State::StartTls if refused => {
                self.state = State::Idle;
                Step::StartTls
            }
            State::Reset if success => {
                self.state = State::Idle;
                Step::Reset
            }
            State::FinalDot if !early && (success || refused) => {
                self.state = State::Idle;
                Step::End
            }
            State::LoneDot if !early => {
                self.state = State::Idle;
                Step::NoRecipients
            }
            State::Envelope(envelope) => match envelope.answered(reply) {
                Some(Answers::Mail) => Step::Mail,
                Some(Answers::Rcpt(index)) => Step::Rcpt(index),
                Some(Answers::Data) if code == 354 => self.start_mail(),
                Some(Answers::Data) => Step::Data,
                None => self.broken(Error::UnexpectedReply),
            },
            State::Idle => self.broken(Error::UnexpectedReply),
            _ if refused => self.refused(),
            _ => self.broken(Error::UnexpectedReply),
        }
    }

    /// After 354.
    fn start_mail(&mut self) -> Step {
        let deliverable = matches!(&self.state, State::Envelope(envelope) if envelope.is_deliverable());
        if deliverable {
            self.state = State::Body(Stuffer::new());
            return Step::Data;
        }
        self.output.push(Stuffer::new().end());
        self.state = State::LoneDot;
        Step::Again
    }

    fn hello(&mut self, verb: &str, next: State) {
        let written = write!(self.output, "{verb} {}\r\n", self.config.host_name.as_str());
        debug_assert!(written.is_ok(), "two names fit");
        self.state = next;
    }

    fn refused(&mut self) -> Step {
        let phase = self.phase();
        self.state = State::Over;
        Step::Refused(phase)
    }

    fn broken(&mut self, error: Error) -> Step {
        let phase = self.phase();
        self.state = State::Over;
        Step::Broken(phase, error)
    }
}
