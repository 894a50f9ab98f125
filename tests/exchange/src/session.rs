//! One connection: what has come, where the dialogue stands, and what is being waited for.

use std::net::IpAddr;

use crate::body::Body;
use crate::line::{LINE_BYTES_MAX, Line, skip_line, take_line};
use crate::message::{Envelope, Message};
use crate::replies::Reply;

/// Input that is kept while a reply is held back. The driver stops reading beyond it.
const INPUT_BYTES_MAX: usize = 256 * 1024;

/// What the input is taken for.
#[derive(Debug)]
pub(crate) enum Phase {
    Commands,
    /// The rest of a line that was refused.
    RestOfLine,
    /// After 354.
    Data,
    /// Octets of a BDAT chunk; `taken`: they belong to a message.
    Chunk {
        left: u64,
        last: bool,
        taken: bool,
    },
}

/// A whole piece of input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Line(String),
    TooLong,
    EndOfData,
    EndOfChunk { last: bool, taken: bool },
}

/// What is said, sooner or later.
#[derive(Debug)]
pub(crate) enum Say {
    Reply(Reply),
    /// 250, by which the message is the server's.
    Accept(Box<Message>),
    /// 220, behind which comes a TLS handshake.
    Encrypt,
    /// Nothing: the connection is closed.
    Hangup,
    /// Nothing, for ever.
    Nothing,
}

/// An answer, and when.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) after_ms: u64,
    pub(crate) say: Say,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self { after_ms: 0, say: Say::Reply(reply) }
    }
}

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) source: IpAddr,
    pub(crate) opened_ms: u64,
    /// When something last came or went.
    pub(crate) last_ms: u64,
    /// The answer that is held back, and until when. Nothing is read before it.
    pub(crate) waiting: Option<(u64, Say)>,
    /// Nothing is ever said.
    pub(crate) silent: bool,
    pub(crate) greeted: bool,
    /// TLS has begun.
    pub(crate) encrypted: bool,
    pub(crate) errors: u32,
    pub(crate) phase: Phase,
    pub(crate) envelope: Option<Envelope>,
    pub(crate) body: Option<Body>,
    /// Pressure has shown in this transaction already.
    pub(crate) delayed: bool,
    input: Vec<u8>,
}

impl Session {
    pub(crate) fn new(source: IpAddr, now_ms: u64) -> Self {
        Self {
            source,
            opened_ms: now_ms,
            last_ms: now_ms,
            waiting: None,
            silent: false,
            greeted: false,
            encrypted: false,
            errors: 0,
            phase: Phase::Commands,
            envelope: None,
            body: None,
            delayed: false,
            input: Vec::new(),
        }
    }

    /// Takes what came. A silent session forgets it.
    pub(crate) fn receive(&mut self, now_ms: u64, bytes: &[u8]) {
        self.last_ms = now_ms;
        if !self.silent {
            self.input.extend_from_slice(bytes);
        }
    }

    /// Whether more input would be welcome now.
    pub(crate) fn wants_input(&self) -> bool {
        self.input.len() < INPUT_BYTES_MAX
    }

    /// The next whole piece of input, if it is time for one.
    pub(crate) fn next_input(&mut self) -> Option<Input> {
        if self.waiting.is_some() || self.silent {
            return None;
        }
        if matches!(self.phase, Phase::RestOfLine) {
            if !skip_line(&mut self.input) {
                return None;
            }
            self.phase = Phase::Commands;
        }
        match &mut self.phase {
            Phase::Commands | Phase::RestOfLine => match take_line(&mut self.input) {
                Line::Incomplete => None,
                Line::Whole(line) => Some(Input::Line(line)),
                Line::TooLong => {
                    self.input.drain(..LINE_BYTES_MAX.min(self.input.len()));
                    self.phase = Phase::RestOfLine;
                    Some(Input::TooLong)
                }
            },
            Phase::Data => {
                let (taken, ended) = self.body.as_mut()?.feed(&self.input);
                self.input.drain(..taken);
                if !ended {
                    return None;
                }
                self.phase = Phase::Commands;
                Some(Input::EndOfData)
            }
            Phase::Chunk { left, last, taken } => {
                let len = usize::try_from(*left).unwrap_or(usize::MAX).min(self.input.len());
                let octets: Vec<u8> = self.input.drain(..len).collect();
                if let (true, Some(body)) = (*taken, self.body.as_mut()) {
                    body.append(&octets);
                }
                *left -= len as u64;
                if *left > 0 {
                    return None;
                }
                let input = Input::EndOfChunk { last: *last, taken: *taken };
                self.phase = Phase::Commands;
                Some(input)
            }
        }
    }

    /// TLS begins: nothing is left of what came before.
    pub(crate) fn encrypt(&mut self) {
        self.reset();
        self.input.clear();
        self.greeted = false;
        self.encrypted = true;
    }

    /// Forgets the transaction.
    pub(crate) fn reset(&mut self) {
        self.envelope = None;
        self.body = None;
        self.delayed = false;
    }

    /// When something has to happen: an answer is due, or the session is over.
    pub(crate) fn deadline_ms(&self, session_ms: u64, idle_ms: u64) -> u64 {
        let over_ms = (self.opened_ms + session_ms).min(self.last_ms.saturating_add(idle_ms));
        self.waiting.as_ref().map_or(over_ms, |(due_ms, _)| over_ms.min(*due_ms))
    }
}
