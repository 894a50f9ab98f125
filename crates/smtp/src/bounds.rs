//! Every bound on what a peer can make a session hold, in one place.
//!
//! What the operator may choose is in [`server::Config`](crate::server::Config) and
//! [`client::Config`](crate::client::Config); the rest is here. `PROTOCOL.md` has both as a table.

/// A command line, CR LF included. RFC 5321 §4.5.3.1.4 asks for 512; the extensions add what their parameters need, and
/// the rest is for spaces and source routes.
pub const COMMAND_LINE_BYTES_MAX: usize = 2048;

/// How much of one refused command line (too long, or with a bare LF) is swallowed before the connection is closed.
pub const SWALLOWED_BYTES_MAX: u32 = 64 * 1024;

/// An address without its angle brackets: the longest local part and domain of RFC 5321 §4.5.3.1 and the `@`. Local
/// parts have no bound of their own, because real senders (VERP, SRS) exceed the RFC's 64.
pub const ADDRESS_BYTES_MAX: usize = 64 + 1 + 255;

/// A domain or the name in EHLO (RFC 5321 §4.5.3.1.2).
pub const DOMAIN_BYTES_MAX: usize = 255;

/// What a client keeps of the keywords in a reply to EHLO; Exchange's take some 150.
pub const KEYWORDS_BYTES_MAX: usize = 512;

/// What our greeting says after the host name.
pub const GREETING_BYTES_MAX: usize = 128;

/// An ENVID as xtext (RFC 3461 §4.4).
pub const ENVID_BYTES_MAX: usize = 100;

/// An ORCPT, address type included, as xtext (RFC 3461 §4.2).
pub const ORCPT_BYTES_MAX: usize = 500;

/// A reply line, CR LF included (RFC 5321 §4.5.3.1.5). Longer texts of ours are cut to it.
pub const REPLY_LINE_BYTES_MAX: usize = 512;

/// The text of a reply that is kept, all its lines joined.
pub const REPLY_TEXT_BYTES_MAX: usize = 512;

/// The longest reply of ours, all lines: the one to EHLO.
pub const REPLY_BYTES_MAX: usize = 1024;

/// What a server session holds of replies not yet sent. Room for one reply of any length and for a closing 421 is
/// kept; without it no input is consumed.
pub const SERVER_OUTPUT_BYTES: usize = 2 * 1024;

/// RCPT commands in one transaction, as a multiple of
/// [`recipients_max`](crate::server::Config::recipients_max): a client may be refused many recipients, not endlessly.
pub const RECIPIENTS_TRIED_FACTOR: u32 = 4;

/// The highest number that LIMITS can tell (RFC 9422 §4: six digits).
pub const LIMIT_MAX: u32 = 999_999;

/// The longest command of ours, CR LF included: a RCPT with all its parameters.
pub const COMMAND_BYTES_MAX: usize = 1024;

/// What a client session holds of commands and message not yet sent.
pub const CLIENT_OUTPUT_BYTES: usize = 16 * 1024;

/// Commands that the client sends ahead of their replies. Their replies, 512 bytes each at most, fit into any TCP
/// window, so that neither side comes to wait for the other to read (RFC 2920 §3.1).
pub const OUTSTANDING_MAX: u32 = 100;

/// A line of a server's reply, CR LF included. Of a longer one than [`REPLY_LINE_BYTES_MAX`] the head is kept; one
/// beyond this is no reply.
pub const FOREIGN_LINE_BYTES_MAX: usize = 2048;

/// Lines of a server's reply.
pub const FOREIGN_LINES_MAX: u32 = 100;

const _: () = assert!(REPLY_BYTES_MAX + REPLY_LINE_BYTES_MAX < SERVER_OUTPUT_BYTES);
// The host name is the longest part of the reply to EHLO.
const _: () = assert!(DOMAIN_BYTES_MAX + 256 < REPLY_BYTES_MAX);
const _: () = assert!(
    "RCPT TO:<> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=\r\n".len() + ADDRESS_BYTES_MAX + ORCPT_BYTES_MAX
        <= COMMAND_BYTES_MAX
);
const _: () = assert!(
    "MAIL FROM:<> SIZE=18446744073709551615 BODY=BINARYMIME SMTPUTF8 RET=FULL ENVID=\r\n".len()
        + ADDRESS_BYTES_MAX
        + ENVID_BYTES_MAX
        <= COMMAND_BYTES_MAX
);
const _: () = assert!(COMMAND_BYTES_MAX <= CLIENT_OUTPUT_BYTES);
// What our client may send our server can take.
const _: () = assert!(COMMAND_BYTES_MAX <= COMMAND_LINE_BYTES_MAX);
