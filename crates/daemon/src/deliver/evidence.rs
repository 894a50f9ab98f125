//! The bridge between what `smtp` hears and what `release` judges.

use std::io;

use penstock_release as release;
use penstock_release::Found;
use penstock_smtp as smtp;
use penstock_smtp::client::Phase;

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

impl Cut {
    /// What was found, after so many recipients had been accepted. `None` if it was not the server who ended it.
    pub(super) fn found(&self, phase: release::Phase, accepted: u32) -> Option<Found> {
        let why = match self {
            Self::Io(error) => error.to_string(),
            Self::Eof => "the server closed the connection".into(),
            Self::Nonsense(error) => error.to_string(),
            Self::TimedOut => return Some(Found::timed_out(phase, accepted)),
            Self::Stopping => return None,
        };
        Some(Found::lost(phase, why, accepted))
    }
}

/// A reply as `release` knows it.
pub(super) fn heard(reply: smtp::Reply<'_>) -> release::Reply<'_> {
    let enhanced = reply.status.map(|status| (status.class, status.subject, status.detail));
    release::Reply { code: reply.code, enhanced, text: reply.text }
}

/// The phase as `release` knows it, of a reply, and of a connection lost before the final dot was sent. Between transactions what is wrong concerns the next MAIL.
pub(super) fn phase(phase: Phase) -> release::Phase {
    match phase {
        Phase::Greeting => release::Phase::Banner,
        Phase::Ehlo | Phase::StartTls => release::Phase::Ehlo,
        Phase::Idle | Phase::Mail | Phase::Reset | Phase::Quit | Phase::Over => release::Phase::Mail,
        Phase::Rcpt => release::Phase::Rcpt,
        Phase::Data => release::Phase::Data,
        Phase::Body | Phase::FinalDot => release::Phase::EndOfData,
    }
}
