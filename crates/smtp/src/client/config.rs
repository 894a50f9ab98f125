use core::time::Duration;

use crate::error::Error;
use crate::host_name::HostName;

/// How a session behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the client calls itself in EHLO.
    pub host_name: HostName,
    /// Recipients of one transaction, beyond which [`rcpt`](super::Session::rcpt) refuses. Default 200, what an
    /// Exchange receive connector takes.
    pub recipients_max: u32,
}

impl Config {
    /// The defaults, for a client called `host_name`.
    ///
    /// # Errors
    /// [`Error::HostName`].
    pub fn new(host_name: &str) -> Result<Self, Error> {
        Ok(Self { host_name: HostName::parse(host_name)?, recipients_max: 200 })
    }
}

/// What a session is at: the oldest command whose reply has not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The connection stands; the greeting has not come.
    Greeting,
    /// EHLO, or HELO after it.
    Ehlo,
    /// STARTTLS, and the handshake after it.
    StartTls,
    /// Nothing is owed by the server: it is the caller's turn.
    Idle,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// The message is being sent.
    Body,
    /// The message has ended, and the verdict has not come.
    FinalDot,
    /// RSET.
    Reset,
    /// QUIT.
    Quit,
    /// The session is over.
    Over,
}

/// How long to wait in each phase. The defaults are the least that RFC 5321 §4.5.3.2 asks for; a client that is less
/// patient with a slow server sends its mail twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the TCP connection, before there is a session. Default 30 s; not in the RFC.
    pub connect: Duration,
    /// For the greeting. Default 5 min (§4.5.3.2.1).
    pub greeting: Duration,
    /// For the reply to EHLO, HELO, RSET and STARTTLS, and for the handshake after that. Default 5 min; not in the RFC, as MAIL.
    pub ehlo: Duration,
    /// For the reply to MAIL. Default 5 min (§4.5.3.2.2).
    pub mail: Duration,
    /// For the reply to each RCPT. Default 5 min (§4.5.3.2.3).
    pub rcpt: Duration,
    /// For the reply to DATA. Default 2 min (§4.5.3.2.4).
    pub data: Duration,
    /// For each block of the message to be taken. Default 3 min (§4.5.3.2.5).
    pub block: Duration,
    /// For the reply to the final dot. Default 10 min (§4.5.3.2.6).
    pub final_dot: Duration,
    /// For the reply to QUIT, which nobody needs. Default 10 s; not in the RFC.
    pub quit: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        const MINUTE_S: u64 = 60;
        Self {
            connect: Duration::from_secs(30),
            greeting: Duration::from_secs(5 * MINUTE_S),
            ehlo: Duration::from_secs(5 * MINUTE_S),
            mail: Duration::from_secs(5 * MINUTE_S),
            rcpt: Duration::from_secs(5 * MINUTE_S),
            data: Duration::from_secs(2 * MINUTE_S),
            block: Duration::from_secs(3 * MINUTE_S),
            final_dot: Duration::from_secs(10 * MINUTE_S),
            quit: Duration::from_secs(10),
        }
    }
}

impl Timeouts {
    /// How long the server may be silent in `phase`; `None` where nothing is awaited from it.
    pub const fn of(&self, phase: Phase) -> Option<Duration> {
        match phase {
            Phase::Greeting => Some(self.greeting),
            Phase::Ehlo | Phase::StartTls | Phase::Reset => Some(self.ehlo),
            Phase::Mail => Some(self.mail),
            Phase::Rcpt => Some(self.rcpt),
            Phase::Data => Some(self.data),
            Phase::Body => Some(self.block),
            Phase::FinalDot => Some(self.final_dot),
            Phase::Quit => Some(self.quit),
            Phase::Idle | Phase::Over => None,
        }
    }
}
