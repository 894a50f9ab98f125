use core::fmt::Write;

use crate::bounds::{RECIPIENTS_TRIED_FACTOR, REPLY_BYTES_MAX, REPLY_LINE_BYTES_MAX, SERVER_OUTPUT_BYTES};
use crate::command::Command;
use crate::dot::{Unstuffed, Unstuffer};
use crate::envelope::{MailFrom, Recipient};
use crate::error::Error;
use crate::header::ReceivedCounter;
use crate::line::{Line, LineReader};
use crate::output::Output;
use crate::replies;
use crate::reply::Reply;

use super::config::{BareNewlines, Config};
use super::event::{Awaits, CloseReason, Event, ResetReason};

/// One connection from a client. See the [module](super) for how it is driven.
///
/// Input that comes before its time (before the greeting was sent, after a DATA that has no verdict yet) is never
/// lost or mixed up: it stays the caller's until the session has come so far.
#[derive(Debug)]
pub struct Session {
    lines: LineReader,
    dialogue: Dialogue,
}

/// All but the line reader, so that a command borrowed from that can be dealt with.
#[derive(Debug)]
struct Dialogue {
    config: Config,
    output: Output<SERVER_OUTPUT_BYTES>,
    greeted: bool,
    hello: bool,
    transaction: Option<Transaction>,
    /// The message that is being received.
    message: Option<Message>,
    question: Option<Question>,
    closed: Option<CloseReason>,
    commands: u64,
    errors: u32,
    errors_in_all: u64,
    idle_commands: u32,
}

/// What is known of an envelope; the caller keeps the rest.
#[derive(Debug, Default)]
struct Transaction {
    recipients: u32,
    recipients_tried: u32,
}

#[derive(Debug)]
struct Message {
    unstuffer: Unstuffer,
    received: ReceivedCounter,
    /// Of the message as it is without dot-stuffing, refused or not.
    bytes: u64,
}

/// What the caller has been asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Mail,
    Rcpt,
    Data,
    EndOfData,
}

impl Session {
    /// A session with somebody who just connected. The first [`poll`](Self::poll) greets.
    pub fn new(config: Config) -> Self {
        Self {
            lines: LineReader::default(),
            dialogue: Dialogue {
                config,
                output: Output::new(),
                greeted: false,
                hello: false,
                transaction: None,
                message: None,
                question: None,
                closed: None,
                commands: 0,
                errors: 0,
                errors_in_all: 0,
                idle_commands: 0,
            },
        }
    }

    /// Goes one step: consumes from `input` what belongs to it and says what that was.
    pub fn poll<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Event<'a> {
        let dialogue = &mut self.dialogue;
        dialogue.greet();
        if let Some(why) = dialogue.closed {
            return Event::Close { why };
        }
        if dialogue.question.is_some() {
            return Event::Verdict;
        }
        // The second term is for a closing 421, which may come at any time.
        if dialogue.output.room() < REPLY_BYTES_MAX + REPLY_LINE_BYTES_MAX {
            return Event::OutputFull;
        }
        if dialogue.message.is_some() {
            return dialogue.body(input);
        }
        if dialogue.errors >= dialogue.config.errors_max {
            return dialogue.close(CloseReason::Errors, replies::ERRORS_MAX);
        }
        if dialogue.idle_commands >= dialogue.config.idle_commands_max {
            return dialogue.close(CloseReason::IdleCommands, replies::IDLE_COMMANDS_MAX);
        }
        let line = self.lines.next(input);
        dialogue.commands += u64::from(line != Line::Incomplete);
        match line {
            Line::Incomplete => Event::NeedInput,
            Line::Whole(line) => dialogue.command(line),
            Line::TooLong => dialogue.error(replies::LINE_TOO_LONG),
            Line::BareLf => dialogue.error(replies::LINE_ENDING),
            Line::Endless => dialogue.close(CloseReason::EndlessLine, replies::LINE_ENDLESS),
        }
    }

    /// Says yes to what was asked, with the usual text.
    ///
    /// # Errors
    /// [`Error::OutOfTurn`] if nothing was asked.
    pub fn accept(&mut self) -> Result<(), Error> {
        self.dialogue.accept(None)
    }

    /// Says yes to what was asked, with a reply of the caller's: at the end of data, perhaps the next hop's own.
    /// (To DATA the answer is 354, whatever the reply.)
    ///
    /// # Errors
    /// [`Error::OutOfTurn`] if nothing was asked; [`Error::ReplyClass`] if `reply` is not 2xx: then the question
    /// stands.
    pub fn accept_with(&mut self, reply: Reply<'_>) -> Result<(), Error> {
        if !reply.is_success() {
            return Err(Error::ReplyClass);
        }
        self.dialogue.accept(Some(reply))
    }

    /// Says no to what was asked. Code 421 closes the session.
    ///
    /// # Errors
    /// [`Error::OutOfTurn`] if nothing was asked; [`Error::ReplyClass`] if `reply` is neither 4xx nor 5xx: then the
    /// question stands.
    pub fn refuse(&mut self, reply: Reply<'_>) -> Result<(), Error> {
        self.dialogue.refuse(reply)
    }

    /// Ends the session from our side at whatever point it is: a time-out, a shutdown, or too many connections, in
    /// which case it comes before the first [`poll`](Self::poll) and stands in the greeting's place. A message that
    /// has no verdict yet is not accepted. Does nothing if the session is over already.
    pub fn close(&mut self, reply: Reply<'_>) {
        let dialogue = &mut self.dialogue;
        dialogue.greeted = true;
        if dialogue.closed.is_none() {
            dialogue.close(CloseReason::Caller, reply);
        }
    }

    /// What has to be sent.
    pub fn output(&self) -> &[u8] {
        self.dialogue.output.pending()
    }

    /// Takes note that the first `n` bytes of [`output`](Self::output) have been sent.
    pub fn sent(&mut self, n: usize) {
        self.dialogue.output.sent(n);
    }

    /// What the session waits for.
    pub fn awaits(&self) -> Awaits {
        let dialogue = &self.dialogue;
        if dialogue.closed.is_some() {
            Awaits::Nothing
        } else if dialogue.question.is_some() {
            Awaits::Verdict
        } else if dialogue.message.is_some() {
            Awaits::Body
        } else {
            Awaits::Command
        }
    }

    /// How many command lines came so far, good and bad.
    pub fn commands(&self) -> u64 {
        self.dialogue.commands
    }

    /// How many of these were errors in the protocol. Unlike what [`Config::errors_max`] counts they are not forgotten
    /// with a message that is accepted.
    pub fn errors(&self) -> u64 {
        self.dialogue.errors_in_all
    }

    /// How many bytes of the message that is being received came so far, refused or not; 0 between messages.
    pub fn body_bytes(&self) -> u64 {
        self.dialogue.message.as_ref().map_or(0, |message| message.bytes)
    }

    /// How the session was configured.
    pub fn config(&self) -> &Config {
        &self.dialogue.config
    }
}

impl Dialogue {
    fn greet(&mut self) {
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

    fn command<'a>(&mut self, line: &'a [u8]) -> Event<'a> {
        let command = match Command::parse(line) {
            Ok(command) => command,
            Err(refusal) => return self.error(refusal),
        };
        match command {
            Command::Hello { name, extended } => self.hello(name, extended),
            Command::Mail(mail) => self.mail(mail),
            Command::Rcpt(recipient) => self.rcpt(recipient),
            Command::Data => self.data(),
            Command::Rset => {
                self.idle(replies::RESET_OK);
                match self.transaction.take() {
                    Some(_) => Event::Reset { why: ResetReason::Rset },
                    None => Event::Answered,
                }
            }
            Command::Noop => self.idle(replies::NOOP_OK),
            Command::Vrfy => self.idle(replies::NOT_VERIFIED),
            Command::Help => self.idle(replies::HELP),
            Command::Quit => self.close(CloseReason::Quit, replies::BYE),
            Command::NotImplemented => self.error(replies::NOT_IMPLEMENTED),
            Command::Foreign => self.close(CloseReason::NotSmtp, replies::NOT_SMTP),
        }
    }

    fn hello<'a>(&mut self, name: &'a str, extended: bool) -> Event<'a> {
        self.transaction = None;
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
        let Self { output, config, .. } = self;
        write!(
            output,
            "250-{}\r\n250-PIPELINING\r\n250-SIZE {}\r\n",
            config.host_name.as_str(),
            config.size_bytes_max
        )?;
        if config.eight_bit_mime {
            write!(output, "250-8BITMIME\r\n")?;
        }
        if config.dsn {
            write!(output, "250-DSN\r\n")?;
        }
        write!(output, "250 ENHANCEDSTATUSCODES\r\n")
    }

    fn mail<'a>(&mut self, mail: MailFrom<'a>) -> Event<'a> {
        if !self.hello {
            return self.error(replies::HELLO_FIRST);
        }
        if self.transaction.is_some() {
            return self.error(replies::MAIL_TWICE);
        }
        if (mail.body.is_some() && !self.config.eight_bit_mime) || (mail.has_dsn() && !self.config.dsn) {
            return self.error(replies::PARAMETER_UNKNOWN);
        }
        if mail.size_bytes.is_some_and(|bytes| bytes > self.config.size_bytes_max) {
            return self.idle(replies::SIZE_DECLARED_TOO_LARGE);
        }
        self.question = Some(Question::Mail);
        Event::Mail(mail)
    }

    fn rcpt<'a>(&mut self, recipient: Recipient<'a>) -> Event<'a> {
        let recipients_max = self.config.recipients_max;
        let Some(transaction) = &mut self.transaction else {
            return self.error(replies::MAIL_FIRST);
        };
        if recipient.has_dsn() && !self.config.dsn {
            return self.error(replies::PARAMETER_UNKNOWN);
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
        match &self.transaction {
            None => self.error(replies::MAIL_FIRST),
            Some(Transaction { recipients_tried: 0, .. }) => self.error(replies::RECIPIENT_FIRST),
            // With PIPELINING the client could not know: no error of its.
            Some(Transaction { recipients: 0, .. }) => self.idle(replies::NO_RECIPIENTS),
            Some(_) => {
                self.question = Some(Question::Data);
                Event::Data
            }
        }
    }

    fn body<'i>(&mut self, input: &mut &'i [u8]) -> Event<'i> {
        let Some(message) = &mut self.message else {
            return Event::NeedInput;
        };
        loop {
            match message.unstuffer.next(input) {
                Unstuffed::Incomplete => return Event::NeedInput,
                Unstuffed::End => return self.end_of_data(),
                Unstuffed::Text(text) => {
                    message.bytes += text.len() as u64;
                    if refusal(message, &self.config).is_none() {
                        message.received.read(text);
                        return Event::Body(text);
                    }
                    let bytes_max =
                        self.config.size_bytes_max.saturating_add(self.config.discarded_bytes_max);
                    if message.bytes > bytes_max {
                        return self.close(CloseReason::EndlessMessage, replies::MESSAGE_ENDLESS);
                    }
                }
            }
        }
    }

    fn end_of_data(&mut self) -> Event<'static> {
        self.transaction = None;
        let Some(message) = self.message.take() else {
            return Event::Answered;
        };
        if let Some((why, reply)) = refusal(&message, &self.config) {
            self.idle(reply);
            return Event::Reset { why };
        }
        self.question = Some(Question::EndOfData);
        Event::EndOfData { bytes: message.bytes, received_lines: message.received.lines() }
    }

    fn accept(&mut self, reply: Option<Reply<'_>>) -> Result<(), Error> {
        let usual = match self.question.take().ok_or(Error::OutOfTurn)? {
            Question::Mail => {
                self.transaction = Some(Transaction::default());
                replies::SENDER_OK
            }
            Question::Rcpt => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.recipients += 1;
                }
                replies::RECIPIENT_OK
            }
            Question::Data => {
                self.message =
                    Some(Message { unstuffer: Unstuffer::new(), received: ReceivedCounter::new(), bytes: 0 });
                self.answer(replies::START_MAIL);
                return Ok(());
            }
            Question::EndOfData => {
                self.errors = 0;
                self.idle_commands = 0;
                replies::MESSAGE_OK
            }
        };
        self.answer(reply.unwrap_or(usual));
        Ok(())
    }

    fn refuse(&mut self, reply: Reply<'_>) -> Result<(), Error> {
        if !reply.is_transient() && !reply.is_permanent() {
            return Err(Error::ReplyClass);
        }
        let question = self.question.take().ok_or(Error::OutOfTurn)?;
        if reply.code == 421 {
            self.close(CloseReason::Caller, reply);
        } else if question == Question::Rcpt {
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
    fn error(&mut self, reply: Reply<'_>) -> Event<'static> {
        self.errors += 1;
        self.errors_in_all += 1;
        self.answer(reply)
    }

    /// Answers for the last time.
    fn close(&mut self, why: CloseReason, reply: Reply<'_>) -> Event<'static> {
        reply.write(&mut self.output);
        self.question = None;
        self.transaction = None;
        self.message = None;
        self.closed = Some(why);
        Event::Close { why }
    }
}

/// Why `message` cannot be taken, as far as it has come. Both reasons are for good once they hold, and which of them
/// wins at the end does not depend on how the input was cut into pieces.
fn refusal(message: &Message, config: &Config) -> Option<(ResetReason, Reply<'static>)> {
    if message.unstuffer.has_bare_newlines() && config.bare_newlines == BareNewlines::Refuse {
        Some((ResetReason::BareNewline, replies::BARE_NEWLINE))
    } else if message.bytes > config.size_bytes_max {
        Some((ResetReason::TooLarge, replies::MESSAGE_TOO_LARGE))
    } else {
        None
    }
}
