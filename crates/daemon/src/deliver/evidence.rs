//! What a server did, kept: the bridge between what `smtp` hears and what `release` judges.

use std::fmt;
use std::io;

use penstock_release as release;
use penstock_smtp as smtp;
use penstock_smtp::client::Phase;

/// What a server said or did, at which point of the dialogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) phase: release::Phase,
    what: What,
    /// How many recipients the transaction had accepted before.
    accepted: u32,
    /// It judges one recipient alone, although it could be about the site.
    alone: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Reply { code: u16, status: Option<smtp::Status>, text: String },
    Lost(String),
    TimedOut,
}

/// Why a connection came to an end without a reply.
#[derive(Debug)]
pub(super) enum Cut {
    Io(io::Error),
    /// The server closed it.
    Eof,
    TimedOut,
    /// What the server sent is no SMTP.
    Nonsense(smtp::Error),
    /// We are about to stop.
    Stopping,
}

impl Found {
    pub(super) fn reply(phase: release::Phase, reply: smtp::Reply<'_>, accepted: u32) -> Self {
        let what = What::Reply { code: reply.code, status: reply.status, text: reply.text.to_owned() };
        Self { phase, what, accepted, alone: false }
    }

    /// The same, known to judge one recipient alone.
    pub(super) fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    /// `None` if it was not the server who ended it.
    pub(super) fn cut(phase: release::Phase, cut: &Cut, accepted: u32) -> Option<Self> {
        let what = match cut {
            Cut::Io(error) => What::Lost(error.to_string()),
            Cut::Eof => What::Lost("the server closed the connection".into()),
            Cut::Nonsense(error) => What::Lost(error.to_string()),
            Cut::TimedOut => What::TimedOut,
            Cut::Stopping => return None,
        };
        Some(Self { phase, what, accepted, alone: false })
    }

    pub(super) fn evidence(&self) -> release::Evidence<'_> {
        let event = match &self.what {
            What::Reply { code, status, text } => release::Event::Reply(release::Reply {
                code: *code,
                enhanced: status.map(|status| (status.class, status.subject, status.detail)),
                text,
            }),
            What::Lost(_) => release::Event::Lost,
            What::TimedOut => release::Event::TimedOut,
        };
        release::Evidence { phase: self.phase, event, accepted: self.accepted }
    }

    pub(super) fn verdict(&self) -> release::Verdict {
        if self.alone { release::Verdict::Held } else { self.evidence().verdict() }
    }

    /// The code of the reply; 0 where there was none.
    pub(super) fn code(&self) -> u16 {
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
            What::Reply { code, status: Some(status), text } => write!(f, "{code} {status} {text}")?,
            What::Reply { code, status: None, text } => write!(f, "{code} {text}")?,
            What::Lost(why) => f.write_str(why)?,
            What::TimedOut => f.write_str("no answer")?,
        }
        let at = match self.phase {
            release::Phase::Connect => "connection",
            release::Phase::Banner => "greeting",
            release::Phase::Ehlo => "EHLO",
            release::Phase::Mail => "MAIL",
            release::Phase::Rcpt => "RCPT",
            release::Phase::Data => "DATA",
            release::Phase::EndOfData => "end of data",
            release::Phase::FinalDot => "after the final dot",
        };
        write!(f, " ({at})")
    }
}

/// The phase as `release` knows it, of a reply, and of a connection lost before the final dot was sent. Between transactions what is wrong concerns the next MAIL.
pub(super) fn phase(phase: Phase) -> release::Phase {
    match phase {
        Phase::Greeting => release::Phase::Banner,
        Phase::Ehlo => release::Phase::Ehlo,
        Phase::Idle | Phase::Mail | Phase::Reset | Phase::Quit | Phase::Over => release::Phase::Mail,
        Phase::Rcpt => release::Phase::Rcpt,
        Phase::Data => release::Phase::Data,
        Phase::Body | Phase::FinalDot => release::Phase::EndOfData,
    }
}
