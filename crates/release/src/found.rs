//! What a server did, kept: evidence that outlives the session it came from.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use core::fmt;

use crate::custody::Verdict;
use crate::reply::{Event, Evidence, Phase, Reply};

/// What a server said or did, at which point of the dialogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    phase: Phase,
    what: What,
    /// How many recipients the transaction had accepted before.
    accepted: u32,
    /// What it is about, where the caller knows better than the words.
    about: Option<About>,
}

/// What a refusal is about that could be about the whole site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// One recipient alone.
    Recipient,
    /// The recipient's domain.
    Domain,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Reply { code: u16, enhanced: Option<(u8, u16, u16)>, text: String },
    Lost(String),
    TimedOut,
}

impl Found {
    /// A reply, after so many recipients had been accepted.
    pub fn reply(phase: Phase, reply: Reply<'_>, accepted: u32) -> Self {
        let Reply { code, enhanced, text } = reply;
        Self { phase, what: What::Reply { code, enhanced, text: text.to_owned() }, accepted, about: None }
    }

    /// No connection, or one that came to an end without a reply, with the reason in words.
    pub fn lost(phase: Phase, why: impl Into<String>, accepted: u32) -> Self {
        Self { phase, what: What::Lost(why.into()), accepted, about: None }
    }

    /// Nothing came in the time that the phase has.
    pub fn timed_out(phase: Phase, accepted: u32) -> Self {
        Self { phase, what: What::TimedOut, accepted, about: None }
    }

    /// The same, known to judge one recipient alone.
    pub fn alone(self) -> Self {
        Self { about: Some(About::Recipient), ..self }
    }

    /// The same, known to be about the recipient's domain: the server takes others.
    pub fn of_domain(self) -> Self {
        Self { about: Some(About::Domain), ..self }
    }

    /// Whether it is about the recipient's domain, and neither about the recipient nor about the site.
    pub fn is_of_domain(&self) -> bool {
        self.about == Some(About::Domain)
    }

    /// Where in the dialogue.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The same, for who judges it.
    pub fn evidence(&self) -> Evidence<'_> {
        let event = match &self.what {
            What::Reply { code, enhanced, text } => {
                Event::Reply(Reply { code: *code, enhanced: *enhanced, text })
            }
            What::Lost(_) => Event::Lost,
            What::TimedOut => Event::TimedOut,
        };
        Evidence { phase: self.phase, event, accepted: self.accepted }
    }

    /// What follows from it.
    pub fn verdict(&self) -> Verdict {
        match self.about {
            Some(About::Recipient) => Verdict::Held,
            Some(About::Domain) => Verdict::RetryRecipient,
            None => self.evidence().verdict(),
        }
    }

    /// The code of the reply; 0 where there was none.
    pub fn code(&self) -> u16 {
        match &self.what {
            What::Reply { code, .. } => *code,
            What::Lost(_) | What::TimedOut => 0,
        }
    }
}

/// As the ledger has it: `550 5.1.1 no such user (RCPT)`.
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Reply { code, enhanced: Some((class, subject, detail)), text } => {
                write!(f, "{code} {class}.{subject}.{detail} {text}")?;
            }
            What::Reply { code, enhanced: None, text } => write!(f, "{code} {text}")?,
            What::Lost(why) => f.write_str(why)?,
            What::TimedOut => f.write_str("no answer")?,
        }
        let at = match self.phase {
            Phase::Connect => "connection",
            Phase::Banner => "greeting",
            Phase::Ehlo => "EHLO",
            Phase::Mail => "MAIL",
            Phase::Rcpt => "RCPT",
            Phase::Data => "DATA",
            Phase::EndOfData => "end of data",
            Phase::FinalDot => "after the final dot",
        };
        write!(f, " ({at})")
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    #[test]
    fn what_was_found_reads_as_the_server_said_it_and_is_judged_the_same() {
        let reply = Reply::new(550, "5.1.1 no such user");
        let found = Found::reply(Phase::Rcpt, reply, 3);
        assert_eq!(found.to_string(), "550 5.1.1 no such user (RCPT)");
        assert_eq!(
            found.evidence(),
            Evidence { phase: Phase::Rcpt, event: Event::Reply(reply), accepted: 3 }
        );
        assert_eq!((found.code(), found.verdict()), (550, Verdict::Held));
        let lost = Found::lost(Phase::EndOfData, "the server closed the connection", 1);
        assert_eq!(lost.to_string(), "the server closed the connection (end of data)");
        assert_eq!((lost.code(), lost.evidence().event), (0, Event::Lost));
        assert_eq!(Found::timed_out(Phase::Banner, 0).to_string(), "no answer (greeting)");
    }
}
