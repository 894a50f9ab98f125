//! SMTP sessions without I/O: bytes in, a small set of events out.
//!
//! [`server::Session`] takes mail, [`client::Session`] gives it on. Neither owns a socket, a clock or memory beyond
//! its own struct: the caller hands over the bytes that came, sends the bytes that [`output`](server::Session::output)
//! shows, and keeps the time, so that the same code runs under tokio, on bare metal and in a simulated world.
//!
//! What belongs to the caller: sockets, timers (the sessions say which time-out applies), the envelope, the message,
//! TLS, and every judgement about who may send what to whom. What belongs here: the grammar, the order of commands,
//! the replies, where a message ends, and a bound on everything that a peer can make us hold (see [`bounds`]).
//!
//! `PROTOCOL.md` beside this crate says what of which RFC is implemented and what is left out.

#![no_std]

#[cfg(test)]
extern crate std;

mod address;
pub mod bounds;
pub mod client;
mod command;
mod dot;
mod envelope;
mod error;
mod header;
mod host_name;
mod line;
mod newlines;
mod output;
pub mod replies;
mod reply;
mod results;
pub mod server;
pub mod trace;

pub use address::Address;
pub use envelope::{BodyType, MailFrom, Notify, OriginalRecipient, Recipient, Return, Xtext};
pub use error::Error;
pub use host_name::HostName;
pub use reply::{Reply, ReplyBuf, Status};
pub use results::ResultsFilter;
