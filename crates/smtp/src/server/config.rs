use heapless::String;

use crate::bounds::GREETING_BYTES_MAX;
use crate::error::Error;
use crate::host_name::HostName;
use crate::reply::push_printable;

/// What to do with a message that has a CR without LF or a LF without CR. Neither ever ends a line or a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BareNewlines {
    /// Refuse it, at its end, with `550 5.6.11`: such a message is forbidden (RFC 5321 §2.3.8), and what other
    /// servers make of it cannot be foreseen.
    #[default]
    Refuse,
    /// Make CR LF of each. For devices at the site that know no better: never for strangers, since a signature does not outlive
    /// it. (To keep them as they are is no choice: a next hop may take for an end of data what is none.)
    Normalise,
}

/// What the greeting says after the host name: at most [`GREETING_BYTES_MAX`] bytes of printable ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting(String<GREETING_BYTES_MAX>);

impl Greeting {
    /// Takes `text`, cut where it is too long, with `?` for whatever is not printable ASCII.
    pub fn new(text: &str) -> Self {
        let mut greeting = String::new();
        push_printable(&mut greeting, text.bytes(), GREETING_BYTES_MAX);
        Self(greeting)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How a session behaves: the operator's policy.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our name, as the greeting and the reply to EHLO give it.
    pub host_name: HostName,
    /// What the greeting says after it. Default `ESMTP Penstock`.
    pub greeting: Greeting,
    /// The largest message that is taken, in bytes as stored (not dot-stuffed). Announced as SIZE, so it must not
    /// depend on today's free space. Default 36 MiB.
    pub size_bytes_max: u64,
    /// Recipients of one transaction; beyond it `452 4.5.3`. RFC 5321 §4.5.3.1.8 asks for 100 at least. Default 1,000.
    pub recipients_max: u32,
    /// Errors in the protocol since the last message that was accepted; after as many the session is closed with 421. Default 20.
    pub errors_max: u32,
    /// Commands that lead to no message (NOOP, RSET, VRFY, HELP, EHLO) and refusals of MAIL, DATA and messages, since
    /// the last message that was accepted; after as many the session is closed with 421. Default 100.
    pub idle_commands_max: u32,
    /// How much of a refused message is consumed beyond `size_bytes_max` before the session is closed, in bytes. A
    /// sender hears `552` only at the end of its message, and one that is cut off before it will try again. Default
    /// 256 MiB.
    pub discarded_bytes_max: u64,
    /// What to do with bare newlines in messages.
    pub bare_newlines: BareNewlines,
    /// Whether 8BITMIME is offered. Default true.
    pub eight_bit_mime: bool,
    /// Whether DSN is offered. Default true.
    pub dsn: bool,
    /// Whether SMTPUTF8 is offered; it needs 8BITMIME beside it (RFC 6531 §3.1). Default true.
    pub smtp_utf8: bool,
    /// Whether CHUNKING is offered. Default true.
    pub chunking: bool,
    /// Whether BINARYMIME is offered, where CHUNKING is. Whoever takes such a message can give it on only to a server
    /// that offers it, too. Default true.
    pub binary_mime: bool,
    /// Whether LIMITS tells `recipients_max` and `transactions_max`. Default true.
    pub limits: bool,
    /// Transactions in one session; MAIL beyond them closes it with 421. Default none.
    pub transactions_max: Option<u32>,
    /// Whether ETRN is offered: to whom that is done is the caller's affair. Default false.
    pub etrn: bool,
    /// Whether STARTTLS is offered, until the session is encrypted: whoever says so has a certificate at hand and acts on
    /// [`Event::StartTls`](super::Event::StartTls). Default false.
    pub starttls: bool,
}

impl Config {
    /// The defaults, for the server called `host_name`.
    ///
    /// # Errors
    /// [`Error::HostName`].
    pub fn new(host_name: &str) -> Result<Self, Error> {
        Ok(Self {
            host_name: HostName::parse(host_name)?,
            greeting: Greeting::new("ESMTP Penstock"),
            size_bytes_max: 36 * 1024 * 1024,
            recipients_max: 1000,
            errors_max: 20,
            idle_commands_max: 100,
            discarded_bytes_max: 256 * 1024 * 1024,
            bare_newlines: BareNewlines::default(),
            eight_bit_mime: true,
            dsn: true,
            smtp_utf8: true,
            chunking: true,
            binary_mime: true,
            limits: true,
            transactions_max: None,
            etrn: false,
            starttls: false,
        })
    }
}
