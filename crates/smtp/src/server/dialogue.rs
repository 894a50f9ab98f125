//! What the session says to each command, and what it knows of the transaction.

use core::fmt::Write;

use crate::bounds::{
    LIMIT_MAX, RECIPIENTS_TRIED_FACTOR, REPLY_BYTES_MAX, REPLY_LINE_BYTES_MAX, SERVER_OUTPUT_BYTES,
};
use crate::command::Command;
use crate::dot::{Unstuffed, Unstuffer};
use crate::envelope::{BodyType, MailFrom, Recipient};
use crate::error::Error;
use crate::newlines::NewlineWatch;
use crate::output::Output;
use crate::replies;
use crate::reply::Reply;

use super::config::{BareNewlines, Config};
use super::event::{CloseReason, Event, ResetReason};
use super::receiving::{Chunk, Framing, Message, Use};

/// A session, but for the lines that its commands come in.
#[derive(Debug)]
pub(super) struct Dialogue {
    pub(super) config: Config,
    pub(super) output: Output<SERVER_OUTPUT_BYTES>,
    pub(super) greeted: bool,
    hello: bool,
    pub(super) tls: Tls,
    transaction: Option<Transaction>,
    /// The message that is being received.
    pub(super) message: Option<Message>,
    /// The chunk that is being received.
    pub(super) chunk: Option<Chunk>,
    pub(super) question: Option<Question>,
    pub(super) closed: Option<CloseReason>,
    pub(super) commands: u64,
    errors: u32,
    pub(super) errors_in_all: u64,
    idle_commands: u32,
    /// Transactions that were begun.
    transactions: u32,
    /// Octets of chunks that belonged to no message, since the last message that was accepted.
    pub(super) ignored_bytes: u64,
}

/// What is known of an envelope; the caller keeps the rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transaction {
    recipients: u32,
    recipients_tried: u32,
    /// Addresses may be UTF-8.
    smtp_utf8: bool,
    /// The message may come in chunks only, and need not be made of lines.
    binary: bool,
}

/// Whether the session is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    Off,
    /// STARTTLS was answered.
    Handshake,
    On,
}

/// What the caller has been asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    /// With what the transaction will be.
    Mail(Transaction),
    Rcpt,
    /// For DATA, and for the first chunk of a message.
    Data,
    EndOfData,
    Etrn,
}

impl Dialogue {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            output: Output::new(),
            greeted: false,
            hello: false,
            tls: Tls::Off,
            transaction: None,
            message: None,
            chunk: None,
            question: None,
            closed: None,
            commands: 0,
            errors: 0,
            errors_in_all: 0,
            idle_commands: 0,
            transactions: 0,
            ignored_bytes: 0,
        }
    }

    /// Whether any reply fits, and a closing 421 behind it, which may come at any time.
    pub(super) fn has_room(&self) -> bool {
        self.output.room() >= REPLY_BYTES_MAX + REPLY_LINE_BYTES_MAX
    }

    /// Whether what comes next is no command.
    pub(super) fn is_in_body(&self) -> bool {
        self.chunk.is_some() || self.message.as_ref().is_some_and(|message| !message.is_chunked())
    }

    /// Closes the session with a client that has done nothing useful for too long.
    pub(super) fn patience_ended(&mut self) -> Option<Event<'static>> {
        if self.errors >= self.config.errors_max {
            return Some(self.close(CloseReason::Errors, replies::ERRORS_MAX));
        }
        if self.idle_commands >= self.config.idle_commands_max {
            return Some(self.close(CloseReason::IdleCommands, replies::IDLE_COMMANDS_MAX));
        }
        None
    }

    pub(super) fn greet(&mut self) {
        if !self.greeted {
            self.greeted = true;
            let written = write!(
                self.output,
                "220 {} {}\r\n",
                self.config.host_name.as_str(),
                self.config.greeting.as_str()
            );
            debug_assert!(written.is_ok(), "nothing was written before");
        }
    }

    pub(super) fn command<'a>(&mut self, line: &'a [u8]) -> Event<'a> {
        let command = match Command::parse(line, self.config.smtp_utf8) {
            Ok(command) => command,
            Err(refusal) => return self.error(refusal),
        };
        match command {
            Command::Hello { name, extended } => self.hello(name, extended),
            Command::Mail(mail) => self.mail(mail),
            Command::Rcpt(recipient) => self.rcpt(recipient),
            Command::Data => self.data(),
            Command::Bdat { octets, last } => self.bdat(octets, last),
            Command::BadBdat { octets: Some(octets) } => self.ignore(octets, replies::BDAT_SYNTAX),
            Command::BadBdat { octets: None } => self.close(CloseReason::NoCount, replies::BDAT_SYNTAX),
            Command::Rset => {
                self.idle(replies::RESET_OK);
                self.message = None;
                match self.transaction.take() {
                    Some(_) => Event::Reset { why: ResetReason::Rset },
                    None => Event::Answered,
                }
            }
            Command::Noop => self.idle(replies::NOOP_OK),
            Command::StartTls => self.start_tls(),
            Command::Etrn(node) => self.etrn(node),
            Command::Vrfy => self.idle(replies::NOT_VERIFIED),
            Command::Help => self.idle(replies::HELP),
            Command::Quit => self.close(CloseReason::Quit, replies::BYE),
            Command::NotImplemented => self.error(replies::NOT_IMPLEMENTED),
            Command::Foreign => self.close(CloseReason::NotSmtp, replies::NOT_SMTP),
        }
    }

    fn hello<'a>(&mut self, name: &'a str, extended: bool) -> Event<'a> {
        self.transaction = None;
        self.message = None;
        // The first one is no idle command.
        self.idle_commands += u32::from(self.hello);
        self.hello = true;
        let written = if extended { self.write_extensions() } else { self.write_name() };
        debug_assert!(written.is_ok(), "there is room for REPLY_BYTES_MAX");
        Event::Hello { name, extended }
    }

    fn write_name(&mut self) -> core::fmt::Result {
        write!(self.output, "250 {}\r\n", self.config.host_name.as_str())
    }

    fn write_extensions(&mut self) -> core::fmt::Result {
        let Self { output, config, tls, .. } = self;
        write!(
            output,
            "250-{}\r\n250-PIPELINING\r\n250-SIZE {}\r\n",
            config.host_name.as_str(),
            config.size_bytes_max
        )?;
        for (offered, keyword) in [
            (config.eight_bit_mime, "8BITMIME"),
            (config.smtp_utf8, "SMTPUTF8"),
            (config.dsn, "DSN"),
            (config.chunking, "CHUNKING"),
            (config.chunking && config.binary_mime, "BINARYMIME"),
            (config.starttls && *tls == Tls::Off, "STARTTLS"),
            (config.etrn, "ETRN"),
        ] {
            if offered {
                write!(output, "250-{keyword}\r\n")?;
            }
        }
        if config.limits {
            write!(output, "250-LIMITS RCPTMAX={}", config.recipients_max.clamp(1, LIMIT_MAX))?;
            if let Some(max) = config.transactions_max {
                write!(output, " MAILMAX={}", max.clamp(1, LIMIT_MAX))?;
            }
            write!(output, "\r\n")?;
        }
        write!(output, "250 ENHANCEDSTATUSCODES\r\n")
    }

    fn start_tls(&mut self) -> Event<'static> {
        if self.tls != Tls::Off {
            return self.error(replies::TLS_TWICE);
        }
        if !self.config.starttls {
            return self.error(replies::NOT_IMPLEMENTED);
        }
        if self.transaction.is_some() {
            return self.error(replies::IN_TRANSACTION);
        }
        self.idle(replies::TLS_READY);
        self.tls = Tls::Handshake;
        Event::StartTls
    }

    pub(super) fn tls_started(&mut self) -> Result<(), Error> {
        if self.tls != Tls::Handshake || self.closed.is_some() || !self.output.pending().is_empty() {
            return Err(Error::OutOfTurn);
        }
        self.tls = Tls::On;
        self.hello = false;
        Ok(())
    }

    fn etrn<'a>(&mut self, node: &'a str) -> Event<'a> {
        if !self.config.etrn {
            return self.error(replies::NOT_IMPLEMENTED);
        }
        if self.transaction.is_some() {
            return self.error(replies::IN_TRANSACTION);
        }
        self.question = Some(Question::Etrn);
        Event::Etrn { node }
    }

    fn mail<'a>(&mut self, mail: MailFrom<'a>) -> Event<'a> {
        if !self.hello {
            return self.error(replies::HELLO_FIRST);
        }
        if self.transaction.is_some() {
            return self.error(replies::MAIL_TWICE);
        }
        let config = &self.config;
        let is_binary = mail.body == Some(BodyType::BinaryMime);
        if (mail.body.is_some() && !config.eight_bit_mime && !is_binary)
            || (is_binary && !(config.binary_mime && config.chunking))
            || (mail.has_dsn() && !config.dsn)
            || (mail.smtp_utf8 && !config.smtp_utf8)
        {
            return self.error(replies::PARAMETER_UNKNOWN);
        }
        if !mail.sender.is_ascii() && !mail.smtp_utf8 {
            return self.error(replies::SENDER_NOT_ASCII);
        }
        if mail.size_bytes.is_some_and(|bytes| bytes > config.size_bytes_max) {
            return self.idle(replies::SIZE_DECLARED_TOO_LARGE);
        }
        if config.transactions_max.is_some_and(|max| self.transactions >= max.clamp(1, LIMIT_MAX)) {
            return self.close(CloseReason::Transactions, replies::TRANSACTIONS_MAX);
        }
        self.question = Some(Question::Mail(Transaction {
            recipients: 0,
            recipients_tried: 0,
            smtp_utf8: mail.smtp_utf8,
            binary: is_binary,
        }));
        Event::Mail(mail)
    }

    fn rcpt<'a>(&mut self, recipient: Recipient<'a>) -> Event<'a> {
        let recipients_max = self.config.recipients_max;
        if self.message.is_some() {
            return self.error(replies::CHUNKS_BEGUN);
        }
        let Some(transaction) = &mut self.transaction else {
            return self.error(replies::MAIL_FIRST);
        };
        if recipient.has_dsn() && !self.config.dsn {
            return self.error(replies::PARAMETER_UNKNOWN);
        }
        if !recipient.is_ascii() && !transaction.smtp_utf8 {
            return self.error(replies::RECIPIENT_NOT_ASCII);
        }
        if transaction.recipients_tried >= recipients_max.saturating_mul(RECIPIENTS_TRIED_FACTOR) {
            return self.close(CloseReason::Recipients, replies::RECIPIENTS_TRIED_MAX);
        }
        transaction.recipients_tried += 1;
        if transaction.recipients >= recipients_max {
            return self.answer(replies::RECIPIENTS_MAX);
        }
        self.question = Some(Question::Rcpt);
        Event::Rcpt(recipient)
    }

    fn data(&mut self) -> Event<'static> {
        if self.message.is_some() {
            return self.error(replies::CHUNKS_BEGUN);
        }
        match &self.transaction {
            None => self.error(replies::MAIL_FIRST),
            Some(Transaction { recipients_tried: 0, .. }) => self.error(replies::RECIPIENT_FIRST),
            // With PIPELINING the client could not know: no error of its.
            Some(Transaction { recipients: 0, .. }) => self.idle(replies::NO_RECIPIENTS),
            Some(Transaction { binary: true, .. }) => self.error(replies::BDAT_NEEDED),
            Some(_) => {
                self.question = Some(Question::Data);
                Event::Data
            }
        }
    }

    /// A chunk is announced, and its octets follow whatever we say: they are consumed in any case, so that none of them
    /// can be taken for a command (RFC 3030 §2).
    fn bdat(&mut self, octets: u64, last: bool) -> Event<'static> {
        if !self.config.chunking {
            return self.ignore(octets, replies::NOT_IMPLEMENTED);
        }
        match &self.transaction {
            // Perhaps a chunk before this one was refused, and the client could not know.
            None => self.ignore(octets, replies::CHUNK_OF_NOTHING),
            Some(Transaction { recipients_tried: 0, .. }) => self.ignore(octets, replies::RECIPIENT_FIRST),
            Some(Transaction { recipients: 0, .. }) => self.ignore(octets, replies::NO_RECIPIENTS),
            Some(_) => {
                // One that brings nothing and ends nothing.
                self.idle_commands += u32::from(octets == 0 && !last);
                self.chunk = Some(Chunk { left: octets, last, purpose: Use::Take });
                if self.message.is_some() {
                    return Event::Answered;
                }
                self.question = Some(Question::Data);
                Event::Data
            }
        }
    }

    /// Has the octets of a chunk thrown away, and answers after them. What was left of the transaction is over: no later
    /// chunk may be taken for the first of its message.
    fn ignore(&mut self, octets: u64, reply: Reply<'static>) -> Event<'static> {
        self.idle_commands += 1;
        self.message = None;
        self.chunk = Some(Chunk { left: octets, last: false, purpose: Use::Ignore(reply) });
        Event::Answered
    }

    /// The next piece of a message.
    pub(super) fn body<'i>(&mut self, input: &mut &'i [u8]) -> Event<'i> {
        match self.chunk {
            Some(chunk) => self.chunk(chunk, input),
            None => self.text(input),
        }
    }

    /// Text after DATA.
    fn text<'i>(&mut self, input: &mut &'i [u8]) -> Event<'i> {
        loop {
            let Some(Message { framing: Framing::Dot(unstuffer), .. }) = &mut self.message else {
                return Event::NeedInput;
            };
            match unstuffer.next(input) {
                Unstuffed::Incomplete => return Event::NeedInput,
                Unstuffed::End => return self.end_of_data(),
                Unstuffed::Text(text) => {
                    if let Some(event) = self.take(text) {
                        return event;
                    }
                }
            }
        }
    }

    /// Octets after BDAT.
    fn chunk<'i>(&mut self, mut chunk: Chunk, input: &mut &'i [u8]) -> Event<'i> {
        loop {
            if chunk.left == 0 {
                self.chunk = None;
                return self.end_of_chunk(chunk);
            }
            let len = usize::try_from(chunk.left).unwrap_or(usize::MAX).min(input.len());
            let (octets, rest) = input.split_at_checked(len).unwrap_or((input, &[]));
            if octets.is_empty() {
                return Event::NeedInput;
            }
            *input = rest;
            chunk.left -= octets.len() as u64;
            self.chunk = Some(chunk);
            let event = match chunk.purpose {
                Use::Take => {
                    if let Some(Message { framing: Framing::Chunks(watch), .. }) = &mut self.message {
                        watch.read(octets);
                    }
                    self.take(octets)
                }
                Use::Ignore(_) | Use::Refused => {
                    self.ignored_bytes = self.ignored_bytes.saturating_add(octets.len() as u64);
                    self.endless(self.ignored_bytes)
                }
            };
            if let Some(event) = event {
                return event;
            }
        }
    }

    /// Counts a piece of the message, and hands it on unless the message is refused already.
    fn take<'i>(&mut self, text: &'i [u8]) -> Option<Event<'i>> {
        let message = self.message.as_mut()?;
        message.bytes += text.len() as u64;
        let bytes = message.bytes;
        if message.refusal(&self.config, false).is_none() {
            message.received.read(text);
            return Some(Event::Body(text));
        }
        self.endless(bytes)
    }

    /// Closes the session if so many bytes that nobody wants are enough.
    fn endless(&mut self, bytes: u64) -> Option<Event<'static>> {
        let bytes_max = self.config.size_bytes_max.saturating_add(self.config.discarded_bytes_max);
        (bytes > bytes_max).then(|| self.close(CloseReason::EndlessMessage, replies::MESSAGE_ENDLESS))
    }

    fn end_of_chunk(&mut self, chunk: Chunk) -> Event<'static> {
        match chunk.purpose {
            Use::Take if chunk.last => return self.end_of_data(),
            Use::Take => {
                let refusal = self.message.as_ref().and_then(|message| message.refusal(&self.config, false));
                let Some((why, reply)) = refusal else { return self.answer(replies::CHUNK_OK) };
                self.message = None;
                self.transaction = None;
                self.idle(reply);
                return Event::Reset { why };
            }
            Use::Ignore(reply) => {
                self.answer(reply);
            }
            Use::Refused => {}
        }
        match self.transaction.take() {
            Some(_) => Event::Reset { why: ResetReason::Chunk },
            None => Event::Answered,
        }
    }

    fn end_of_data(&mut self) -> Event<'static> {
        self.transaction = None;
        let Some(message) = self.message.take() else {
            return Event::Answered;
        };
        if let Some((why, reply)) = message.refusal(&self.config, true) {
            self.idle(reply);
            return Event::Reset { why };
        }
        self.question = Some(Question::EndOfData);
        Event::EndOfData {
            bytes: message.bytes,
            received_lines: message.received.lines(),
            bare_newlines: message.has_normalised(),
        }
    }

    pub(super) fn accept(&mut self, reply: Option<Reply<'_>>) -> Result<(), Error> {
        let usual = match self.question.take().ok_or(Error::OutOfTurn)? {
            Question::Mail(transaction) => {
                self.transactions = self.transactions.saturating_add(1);
                self.transaction = Some(transaction);
                replies::SENDER_OK
            }
            Question::Rcpt => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.recipients += 1;
                }
                replies::RECIPIENT_OK
            }
            Question::Data => {
                let is_binary = self.transaction.is_some_and(|transaction| transaction.binary);
                let framing = match self.chunk {
                    None => {
                        Framing::Dot(Unstuffer::new(self.config.bare_newlines == BareNewlines::Normalise))
                    }
                    Some(_) if is_binary => Framing::BinaryChunks,
                    Some(_) => Framing::Chunks(NewlineWatch::default()),
                };
                self.message = Some(Message::new(framing));
                if self.chunk.is_none() {
                    self.answer(replies::START_MAIL);
                }
                return Ok(());
            }
            Question::EndOfData => {
                self.errors = 0;
                self.idle_commands = 0;
                self.ignored_bytes = 0;
                replies::MESSAGE_OK
            }
            Question::Etrn => {
                self.idle_commands += 1;
                replies::ETRN_OK
            }
        };
        self.answer(reply.unwrap_or(usual));
        Ok(())
    }

    pub(super) fn refuse(&mut self, reply: Reply<'_>) -> Result<(), Error> {
        if !reply.is_transient() && !reply.is_permanent() {
            return Err(Error::ReplyClass);
        }
        let question = self.question.take().ok_or(Error::OutOfTurn)?;
        if let Some(chunk) = &mut self.chunk {
            chunk.purpose = Use::Refused;
        }
        if reply.code == 421 {
            self.close(CloseReason::Caller, reply);
        } else if matches!(question, Question::Rcpt) {
            // Their number has a bound of its own.
            self.answer(reply);
        } else {
            self.idle(reply);
        }
        Ok(())
    }

    /// Answers a command that is right.
    fn answer(&mut self, reply: Reply<'_>) -> Event<'static> {
        reply.write(&mut self.output);
        Event::Answered
    }

    /// Answers a command that is right but does not bring a message nearer.
    fn idle(&mut self, reply: Reply<'_>) -> Event<'static> {
        self.idle_commands += 1;
        self.answer(reply)
    }

    /// Answers what should not have been sent.
    pub(super) fn error(&mut self, reply: Reply<'_>) -> Event<'static> {
        self.errors += 1;
        self.errors_in_all += 1;
        self.answer(reply)
    }

    /// Answers for the last time.
    pub(super) fn close(&mut self, why: CloseReason, reply: Reply<'_>) -> Event<'static> {
        reply.write(&mut self.output);
        self.question = None;
        self.transaction = None;
        self.message = None;
        self.chunk = None;
        self.closed = Some(why);
        Event::Close { why }
    }
}
