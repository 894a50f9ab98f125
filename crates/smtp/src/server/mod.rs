//! The side that takes mail.
//!
//! A [`Session`] is driven in a loop: [`poll`](Session::poll) until it wants input, send
//! [`output`](Session::output), read, poll again.
//!
//! ```
//! use penstock_smtp::server::{Config, Event, Session};
//!
//! let mut session = Session::new(Config::new("mx.example.com").unwrap());
//! let mut stored = Vec::new();
//! let mut input: &[u8] = b"EHLO client.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@example.com>\r\nDATA\r\n\
//!     Subject: hello\r\n\r\n..\r\n.\r\nQUIT\r\n";
//! loop {
//!     match session.poll(&mut input) {
//!         Event::NeedInput | Event::Close { .. } => break, // here a server sends the output, then reads
//!         Event::OutputFull => {
//!             let len = session.output().len(); // here a server sends it
//!             session.sent(len);
//!         }
//!         Event::Mail(_) | Event::Rcpt(_) | Event::Data => session.accept().unwrap(),
//!         Event::Body(bytes) => stored.extend_from_slice(bytes),
//!         Event::EndOfData { .. } => session.accept().unwrap(), // once the message is safe, however long that takes
//!         Event::Hello { .. } | Event::Reset { .. } | Event::Answered | Event::Verdict => {}
//!         Event::StartTls | Event::Etrn { .. } => unreachable!("it was not offered"),
//!     }
//! }
//! assert_eq!(stored, b"Subject: hello\r\n\r\n.\r\n");
//! assert!(session.output().ends_with(b"221 2.0.0 Closing the connection\r\n"));
//! ```

mod config;
mod dialogue;
mod event;
mod receiving;
mod session;

pub use config::{BareNewlines, Config, Greeting};
pub use event::{Awaits, CloseReason, Event, ResetReason};
pub use session::Session;
