use crate::error::Error;
use crate::reply::Reply;

use super::capabilities::Capabilities;
use super::config::Phase;

/// What the server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// All input is used up: send the output, then read.
    NeedInput,
    /// The server's greeting; EHLO is on its way.
    Greeting(Reply<'a>),
    /// The server knows us, and this is what it offers. Mail may be sent.
    Ready(&'a Capabilities),
    /// The reply to STARTTLS. After 220 do the handshake, then say [`tls_started`](super::Session::tls_started);
    /// [`Ready`](Self::Ready) comes once more. After any other reply the session can go on in plain text.
    StartTlsReply(Reply<'a>),
    /// The reply to MAIL.
    MailReply(Reply<'a>),
    /// The reply to a RCPT.
    RcptReply {
        /// Which: 0 is the first of the transaction.
        index: u32,
        /// The reply.
        reply: Reply<'a>,
    },
    /// The reply to DATA. After 354 the message must be sent; after any other reply the transaction has failed, and
    /// RSET is due.
    DataReply(Reply<'a>),
    /// The server said 354 although it had refused every recipient. It got an empty message, as RFC 2920 §3.1 asks
    /// for, and nobody's mail was sent. The transaction is over.
    NoRecipients,
    /// The verdict on the message. The transaction is over.
    EndReply(Reply<'a>),
    /// The reply to RSET: the transaction is over.
    ResetReply(Reply<'a>),
    /// The server will not go on: it said 421, refused us at the greeting, at EHLO or RSET, or refused a message before
    /// it had been sent in full. What it has not accepted it has refused for now, and only `phase` and `reply` tell
    /// how seriously that is meant. Close the connection.
    Refused {
        /// What the session was at.
        phase: Phase,
        /// What the server said.
        reply: Reply<'a>,
    },
    /// What the server sent makes no sense. Close the connection.
    Broken {
        /// What the session was at.
        phase: Phase,
        /// What is wrong with it.
        error: Error,
    },
    /// The session is over: the server answered QUIT, or one of the last two events came before. Close the connection.
    Closed,
}
