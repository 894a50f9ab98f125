use heapless::String;

use crate::address::is_domain;
use crate::bounds::DOMAIN_BYTES_MAX;
use crate::error::Error;

/// The longest greeting text, in bytes.
const GREETING_BYTES_MAX: usize = 128;

/// What to do with a message that has a CR without LF or a LF without CR. Neither ever ends a line or a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BareNewlines {
    /// Refuse it, at its end, with `550 5.6.11`: such a message is forbidden (RFC 5321 §2.3.8), and what other
    /// servers make of it cannot be foreseen.
    #[default]
    Refuse,
    /// Keep it as it came.
    Keep,
}

/// How a session behaves: the operator's policy.
#[derive(Clone, Debug)]
pub struct Config {
    host_name: String<DOMAIN_BYTES_MAX>,
    greeting: String<GREETING_BYTES_MAX>,
    /// The largest message that is taken, in bytes as stored (not dot-stuffed). Announced as SIZE, so it must not
    /// depend on today's free space. Default 36 MiB.
    pub size_bytes_max: u64,
    /// Recipients of one transaction; beyond it `452 4.5.3`. RFC 5321 §4.5.3.1.8 asks for 100 at least. Default 1,000.
    pub recipients_max: u32,
    /// Errors in the protocol since the last message; after as many the session is closed with 421. Default 20.
    pub errors_max: u32,
    /// Commands that lead to no message (NOOP, RSET, VRFY, HELP, EHLO, a refused MAIL or DATA) since the last message;
    /// after as many the session is closed with 421. Default 100.
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
}

impl Config {
    /// The defaults, for the server called `host_name`.
    ///
    /// # Errors
    /// [`Error::HostName`] if that is no domain.
    pub fn new(host_name: &str) -> Result<Self, Error> {
        if !is_domain(host_name) {
            return Err(Error::HostName);
        }
        let mut config = Self {
            host_name: String::try_from(host_name).map_err(|_| Error::HostName)?,
            greeting: String::new(),
            size_bytes_max: 36 * 1024 * 1024,
            recipients_max: 1000,
            errors_max: 20,
            idle_commands_max: 100,
            discarded_bytes_max: 256 * 1024 * 1024,
            bare_newlines: BareNewlines::default(),
            eight_bit_mime: true,
            dsn: true,
        };
        config.set_greeting("ESMTP Penstock");
        Ok(config)
    }

    /// Sets what the greeting says after the host name: printable ASCII, cut at 128 bytes; anything else becomes `?`.
    pub fn set_greeting(&mut self, text: &str) {
        self.greeting.clear();
        for byte in text.bytes().take(GREETING_BYTES_MAX) {
            let printable = if matches!(byte, b' '..=b'~') { char::from(byte) } else { '?' };
            let fits = self.greeting.push(printable).is_ok();
            debug_assert!(fits);
        }
    }

    /// Our name, as the greeting and the reply to EHLO give it.
    pub fn host_name(&self) -> &str {
        &self.host_name
    }

    /// What the greeting says after the host name.
    pub fn greeting(&self) -> &str {
        &self.greeting
    }
}
