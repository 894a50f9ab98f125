use crate::error::Error;
use crate::line::{Line, LineReader};
use crate::replies;
use crate::reply::Reply;

use super::config::Config;
use super::dialogue::{Dialogue, Tls};
use super::event::{Awaits, CloseReason, Event};

/// One connection from a client. See the [module](super) for how it is driven.
///
/// Input that comes before its time (before the greeting was sent, after a DATA that has no verdict yet) is never
/// lost or mixed up: it stays the caller's until the session has come so far.
#[derive(Debug)]
pub struct Session {
    lines: LineReader,
    /// All but the line reader, so that a command borrowed from that can be dealt with.
    dialogue: Dialogue,
}

impl Session {
    /// A session with somebody who just connected. The first [`poll`](Self::poll) greets.
    pub fn new(config: Config) -> Self {
        Self { lines: LineReader::default(), dialogue: Dialogue::new(config) }
    }

    /// Goes one step: consumes from `input` what belongs to it and says what that was.
    pub fn poll<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Event<'a> {
        let dialogue = &mut self.dialogue;
        dialogue.greet();
        if let Some(why) = dialogue.closed {
            return Event::Close { why };
        }
        if dialogue.tls == Tls::Handshake {
            *input = &[];
            return Event::StartTls;
        }
        if dialogue.question.is_some() {
            return Event::Verdict;
        }
        if !dialogue.has_room() {
            return Event::OutputFull;
        }
        if dialogue.is_in_body() {
            return dialogue.body(input);
        }
        if let Some(why) = dialogue.patience_ended() {
            return why;
        }
        let line = self.lines.next(input);
        dialogue.commands += u64::from(line != Line::Incomplete);
        match line {
            Line::Incomplete => Event::NeedInput,
            Line::Whole(line) => {
                let event = dialogue.command(line);
                if event == Event::StartTls {
                    // Whoever sent more has no business with what comes next, and may not even be the client.
                    *input = &[];
                }
                event
            }
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

    /// The handshake is done, and from now on input and output are the encrypted session's. The client has to say EHLO
    /// again: nothing is left of what it said before.
    ///
    /// # Errors
    /// [`Error::OutOfTurn`] unless [`Event::StartTls`] came and the answer to it has been sent.
    pub fn tls_started(&mut self) -> Result<(), Error> {
        self.dialogue.tls_started()
    }

    /// Whether the session is encrypted.
    pub fn is_tls(&self) -> bool {
        self.dialogue.tls == Tls::On
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
        } else if dialogue.tls == Tls::Handshake {
            Awaits::Handshake
        } else if dialogue.is_in_body() {
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

    /// How many bytes of the message that is being received came so far, refused or not, or of a chunk that belongs to
    /// none; 0 between messages.
    pub fn body_bytes(&self) -> u64 {
        let dialogue = &self.dialogue;
        let of_no_message = dialogue.chunk.map_or(0, |_| dialogue.ignored_bytes);
        dialogue.message.as_ref().map_or(of_no_message, |message| message.bytes)
    }

    /// How the session was configured.
    pub fn config(&self) -> &Config {
        &self.dialogue.config
    }
}
