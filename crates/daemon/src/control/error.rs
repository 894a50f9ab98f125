//! What is said when something cannot be done.

use std::fmt;

use super::MailId;
use super::types::ErrorBody;

/// Whose fault it is, which is what HTTP wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request makes no sense: 400.
    BadRequest,
    /// What it names is not there: 404.
    NotFound,
    /// It cannot be done as things stand: 409.
    Conflict,
    /// It cannot be done now, perhaps later: 503.
    Unavailable,
    /// Something broke: 500.
    Internal,
}

/// Why something was not done, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whose fault it is.
    pub kind: Kind,
    /// What to tell.
    pub body: ErrorBody,
}

impl Refusal {
    /// A refusal with a stable code (`PS-…`), what is the matter and what to do about it, one sentence each.
    pub fn new(kind: Kind, code: &str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { kind, body: ErrorBody { code: code.into(), message: message.into(), help: help.into() } }
    }

    /// `PS-D101`: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Kind::BadRequest, "PS-D101", message, "")
    }

    /// `PS-D102`: there is no such message.
    pub fn no_such_message(id: MailId) -> Self {
        Self::new(
            Kind::NotFound,
            "PS-D102",
            format!("there is no message {id}"),
            "It may have been delivered or removed and its space used again; `penstock queue` lists what is there.",
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.body.fmt(f)
    }
}

impl std::error::Error for Refusal {}
