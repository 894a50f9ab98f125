//! The side that gives mail on.
//!
//! A [`Session`] is one connection with any number of transactions. It is driven in a loop: send
//! [`output`](Session::output), read, [`poll`](Session::poll) until it wants input, and between, whenever
//! [`can_send`](Session::can_send) says so, the next command. With a server that offers PIPELINING that is many
//! commands before the first reply; with another it is one. The caller's loop is the same.
//!
//! ```
//! use penstock_smtp::client::{Config, Event, Session};
//! use penstock_smtp::{Address, MailFrom, Recipient};
//!
//! let sender = MailFrom::new(Address::parse("a@b.example").unwrap());
//! let recipients = [Recipient::new(Address::parse("c@example.com").unwrap())];
//! let mut server = [
//!     &b"220 mx.example.com\r\n"[..],
//!     b"250-mx.example.com\r\n250-PIPELINING\r\n250 SIZE 1000\r\n",
//!     b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n",
//!     b"250 2.6.0 queued\r\n",
//! ]
//! .into_iter();
//!
//! let mut session = Session::new(Config::new("penstock.example.net").unwrap());
//! let (mut sent, mut to_send) = (Vec::new(), recipients.iter());
//! let mut input = &b""[..];
//! let accepted = loop {
//!     match session.poll(&mut input) {
//!         Event::NeedInput => {
//!             sent.extend_from_slice(session.output()); // here a client writes it to its socket
//!             session.sent(session.output().len());
//!             input = server.next().unwrap(); // and reads
//!         }
//!         Event::Ready(_) => {
//!             session.mail(&sender).unwrap();
//!             while session.can_send() {
//!                 match to_send.next() {
//!                     Some(recipient) => session.rcpt(recipient).unwrap(),
//!                     None => session.data().unwrap(),
//!                 }
//!             }
//!         }
//!         Event::DataReply(reply) if reply.code == 354 => {
//!             assert_eq!(session.body(b"Subject: hello\r\n\r\n.\r\n"), Ok(21));
//!             session.finish().unwrap();
//!         }
//!         Event::EndReply(reply) => break reply.is_success(),
//!         Event::Greeting(_) | Event::MailReply(_) | Event::RcptReply { .. } => {}
//!         other => panic!("{other:?}"),
//!     }
//! };
//! assert!(accepted && sent.ends_with(b"DATA\r\nSubject: hello\r\n\r\n..\r\n.\r\n"));
//! ```

mod capabilities;
mod config;
mod envelope;
mod event;
mod reader;
mod session;

pub use capabilities::Capabilities;
pub use config::{Config, Phase, Timeouts};
pub use event::Event;
pub use session::Session;
