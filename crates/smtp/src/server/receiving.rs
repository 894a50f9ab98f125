//! A message on its way in, by DATA or in chunks: how much of it there is, and whether it can be taken.

use crate::dot::Unstuffer;
use crate::header::ReceivedCounter;
use crate::newlines::NewlineWatch;
use crate::replies;
use crate::reply::Reply;

use super::config::{BareNewlines, Config};
use super::event::ResetReason;

/// What has come of a message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) framing: Framing,
    pub(super) received: ReceivedCounter,
    /// Of the message as it is, without dot-stuffing, refused or not.
    pub(super) bytes: u64,
}

/// What shows where it ends.
#[derive(Debug)]
pub(super) enum Framing {
    /// DATA: a line with a dot.
    Dot(Unstuffer),
    /// BDAT: the count of each chunk.
    Chunks(NewlineWatch),
    /// The same, of a message that is not made of lines: any CR and LF may stand in it (RFC 3030 §3).
    BinaryChunks,
}

impl Message {
    pub(super) const fn new(framing: Framing) -> Self {
        Self { framing, received: ReceivedCounter::new(), bytes: 0 }
    }

    /// Whether it comes in chunks.
    pub(super) const fn is_chunked(&self) -> bool {
        !matches!(self.framing, Framing::Dot(_))
    }

    /// Whether bare newlines in it have become CR LF, if it is taken.
    pub(super) fn has_normalised(&self) -> bool {
        matches!(&self.framing, Framing::Dot(unstuffer) if unstuffer.has_bare_newlines())
    }

    /// Why it cannot be taken, as far as it has come. Both reasons are for good once they hold, and which of them wins at
    /// the end does not depend on how the input was cut into pieces.
    pub(super) fn refusal(&self, config: &Config, ended: bool) -> Option<(ResetReason, Reply<'static>)> {
        let is_forbidden = match &self.framing {
            Framing::Dot(unstuffer) => {
                unstuffer.has_bare_newlines() && config.bare_newlines == BareNewlines::Refuse
            }
            // No device that knows no better knows this.
            Framing::Chunks(watch) => watch.has_bare(ended),
            Framing::BinaryChunks => false,
        };
        if is_forbidden {
            Some((ResetReason::BareNewline, replies::BARE_NEWLINE))
        } else if self.bytes > config.size_bytes_max {
            Some((ResetReason::TooLarge, replies::MESSAGE_TOO_LARGE))
        } else {
            None
        }
    }
}

/// A chunk of which octets are to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    pub(super) left: u64,
    pub(super) last: bool,
    pub(super) purpose: Use,
}

/// What to do with the octets of a chunk.
#[derive(Clone, Copy, Debug)]
pub(super) enum Use {
    /// They belong to the message.
    Take,
    /// They belong to nothing; the answer is given when they have come.
    Ignore(Reply<'static>),
    /// The caller did not want the message, and the answer has been given.
    Refused,
}
