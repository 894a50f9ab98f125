use crate::envelope::{MailFrom, Recipient};

/// What the caller has to do, or should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// All input is used up: send the output, then read.
    NeedInput,
    /// There is no room for another reply: send the output, at least in part.
    OutputFull,
    /// A verdict is owed ([`accept`](super::Session::accept), [`refuse`](super::Session::refuse)); nothing is consumed before it.
    /// Send the output meanwhile: it may be all that the peer waits for.
    Verdict,
    /// A command was answered that needs nobody else. Poll again.
    Answered,
    /// HELO or EHLO, and already answered. A transaction that was open is over, as after [`Event::Reset`].
    Hello {
        /// What the client calls itself: graphic ASCII without `()<>"\;,`, not checked in any other way.
        name: &'a str,
        /// EHLO.
        extended: bool,
    },
    /// MAIL: a transaction is wanted. Asks for a verdict.
    Mail(MailFrom<'a>),
    /// RCPT. Asks for a verdict about this recipient.
    Rcpt(Recipient<'a>),
    /// DATA, or the first BDAT, with at least one recipient accepted. Asks for a verdict: whether the message may be
    /// sent. A message in chunks that may not is over with an [`Event::Reset`] once its chunk has been consumed.
    Data,
    /// The next bytes of the message, a slice of the input, at least one byte: after DATA as they were before
    /// dot-stuffing, of a chunk as they are.
    Body(&'a [u8]),
    /// The message has ended, whole. Asks for the verdict that takes it into custody or refuses it, and waits for
    /// that as long as it takes. The transaction is over.
    EndOfData {
        /// All that [`Event::Body`] gave, in bytes.
        bytes: u64,
        /// How many Received fields the header section has. Whether that is a loop is for the caller to decide.
        received_lines: u32,
        /// Whether it had bare newlines, each of which has become CR LF.
        bare_newlines: bool,
    },
    /// ETRN (RFC 1985). Asks for a verdict: whether what waits for this node is sent now.
    Etrn {
        /// The node, as it came: a domain, perhaps with `@` before it, or `#` and the name of a queue.
        node: &'a str,
    },
    /// STARTTLS, and the answer is in the output: send it, throw away whatever was read and not handed over yet, do the
    /// handshake, and say [`tls_started`](super::Session::tls_started). Until then every poll throws its input away and
    /// gives this event again, so that nothing that came in plain text can become a command in the encrypted session
    /// (RFC 3207 §4.2, §6). A handshake that fails ends the connection.
    StartTls,
    /// The transaction is over without a message: drop the envelope and what came of the message. Already answered.
    Reset {
        /// Why.
        why: ResetReason,
    },
    /// The session is over, and an open transaction with it: send the output, then close the connection.
    Close {
        /// Why.
        why: CloseReason,
    },
}

/// Why a transaction came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// The client said RSET.
    Rset,
    /// The message has bare newlines and the policy is to refuse them.
    BareNewline,
    /// The message is larger than [`Config::size_bytes_max`](super::Config::size_bytes_max).
    TooLarge,
    /// A chunk came out of turn, or was refused by the caller.
    Chunk,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client said QUIT.
    Quit,
    /// [`Config::errors_max`](super::Config::errors_max).
    Errors,
    /// [`Config::idle_commands_max`](super::Config::idle_commands_max).
    IdleCommands,
    /// Far more RCPT than [`Config::recipients_max`](super::Config::recipients_max).
    Recipients,
    /// More MAIL than [`Config::transactions_max`](super::Config::transactions_max).
    Transactions,
    /// A BDAT that does not say how many octets follow, so that nobody knows where the next command begins.
    NoCount,
    /// A command line that does not end.
    EndlessLine,
    /// A message that does not end.
    EndlessMessage,
    /// The peer does not speak SMTP.
    NotSmtp,
    /// The caller said so: [`Session::close`](super::Session::close), or a verdict with code 421.
    Caller,
}

/// What a session waits for, so that the caller knows which time-out applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaits {
    /// A command (RFC 5321 §4.5.3.2.7: 5 minutes). The clock should start when the last reply was sent and not start
    /// anew before [`commands`](super::Session::commands) changes, or a byte a minute keeps the session alive.
    Command,
    /// More of a message. The clock should start anew only when [`body_bytes`](super::Session::body_bytes) has grown by
    /// what the caller takes for a block, for the same reason.
    Body,
    /// The caller's verdict: the peer is not late.
    Verdict,
    /// A TLS handshake, as much the peer's business as a command.
    Handshake,
    /// Nothing any more.
    Nothing,
}
