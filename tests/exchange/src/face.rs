//! The two faces. What is known: on port 25 of 2013 and later the front end answers MAIL and RCPT itself and opens the
//! back-end session at DATA, so that pressure shows as delay or 452 at 354 or at the end of data; direct faces (2010,
//! Edge, port 2525) show it at MAIL.

use crate::config::{Config, Face, Stage};
use crate::pressure::Pressure;
use crate::replies::{Reply, insufficient};

/// What the back end does to a transaction at one stage.
pub(crate) struct BackEnd {
    pub(crate) delay_ms: u64,
    pub(crate) refusal: Option<Reply>,
}

/// Asks the back end, if this face does so at this stage.
pub(crate) fn back_end(stage: Stage, config: &Config, pressure: &Pressure) -> BackEnd {
    let delay_ms = if stage == config.delay_stage() { pressure.delay_ms() } else { 0 };
    // Once it can be refused it can be until its end: pressure may rise while the message comes.
    let resource = if stage >= config.refusal_stage() { pressure.refuses_for() } else { None };
    BackEnd { delay_ms, refusal: resource.map(|resource| insufficient(resource.name())) }
}

/// Whether a recipient is judged at RCPT: with the recipient filter on a Mailbox server one bad recipient rejects the
/// whole message at the end of data.
pub(crate) fn judges_recipients(face: Face) -> bool {
    face != Face::FrontEnd
}
