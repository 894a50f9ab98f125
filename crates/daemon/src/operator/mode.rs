//! The operator's mode, and who set it when and why.

use penstock_release as release;
use penstock_spool::{META_VALUE_BYTES_MAX, Stamp};
use serde::{Deserialize, Serialize};

use super::{Operator, unavailable};
use crate::control::types::{ActionResult, Mode, ModeView};
use crate::control::{Kind as Fault, Refusal, Who};
use crate::ledger::{Kind, META_RELEASE};
use crate::volume::Spool;

const KEY: &[u8] = b"mode";

/// Who set the mode.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Set {
    at_unix_ms: Option<u64>,
    by: String,
    reason: Option<String>,
}

/// Lets go of who set it.
pub(crate) fn forget(spool: &mut Spool) -> Result<(), penstock_spool::Error> {
    spool.put_meta(META_RELEASE, KEY, &[])
}

/// Changes the mode. It is durable when this returns.
pub(super) async fn set(
    operator: &Operator,
    mode: Mode,
    reason: Option<String>,
    who: &Who,
) -> Result<ActionResult, Refusal> {
    let at = operator.clock.stamp();
    let wanted = match mode {
        Mode::Auto => release::Mode::Auto,
        Mode::Hold { until_unix_ms } => {
            check_until(until_unix_ms, at)?;
            release::Mode::Hold { until_unix_ms }
        }
        Mode::Drain => release::Mode::Drain,
        Mode::Stop => release::Mode::Stop,
    };
    let before = {
        let mut release = operator.delivery.release();
        let before = release.mode();
        release.set_mode(wanted, operator.delivery.now());
        before
    };
    if let Err(error) = write_down(operator, mode, reason, who, at).await {
        operator.delivery.release().set_mode(before, operator.delivery.now());
        return Err(unavailable(error));
    }
    operator.delivery.wake();
    let summary = match mode {
        Mode::Auto => "Mail is released as the next hop can take it.",
        Mode::Hold { until_unix_ms: None } => "Mail is taken and held until you end it.",
        Mode::Hold { until_unix_ms: Some(_) } => "Mail is taken and held until the time you gave.",
        Mode::Drain => "All mail is released without waiting for its schedule.",
        Mode::Stop => "Mail is taken; nothing leaves the box until you start it again.",
    };
    let messages = operator.delivery.release().progress(operator.delivery.now()).messages;
    Ok(ActionResult { summary: summary.to_owned(), messages, refused: Vec::new() })
}

fn check_until(until_unix_ms: Option<u64>, now: Stamp) -> Result<(), Refusal> {
    match until_unix_ms {
        Some(_) if !now.trusted => Err(Refusal::new(
            Fault::Conflict,
            "PS-D253",
            "a hold cannot end by itself, since the clock of the box is not trusted",
            "Hold without an end, or set the clock.",
        )),
        Some(until) if until <= now.unix_ms => {
            Err(Refusal::bad_request("the end of the hold has already passed by the clock of the box"))
        }
        _ => Ok(()),
    }
}

async fn write_down(
    operator: &Operator,
    mode: Mode,
    reason: Option<String>,
    who: &Who,
    at: Stamp,
) -> Result<(), penstock_spool::Error> {
    operator.delivery.save().await?;
    let said = reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let event = Kind::Mode.event(at, None, format!("{} set by {who}{said}", mode.as_str()));
    let set = Set { at_unix_ms: at.trusted.then_some(at.unix_ms), by: who.to_string(), reason };
    // Names and reasons are bounded far below what fits.
    let value = serde_json::to_vec(&set).unwrap_or_default();
    debug_assert!(value.len() <= META_VALUE_BYTES_MAX);
    let written = operator.storage.change(move |spool| {
        spool.put_meta(META_RELEASE, KEY, &value)?;
        spool.record_event(&event)
    });
    written.await
}

/// The mode with its history.
pub(super) async fn view(operator: &Operator) -> Result<ModeView, penstock_spool::Error> {
    let known = operator.storage.look(|spool| spool.meta(META_RELEASE, KEY).map(<[u8]>::to_vec)).await?;
    let set: Option<Set> = known.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let mode = match operator.delivery.release().mode() {
        release::Mode::Auto => Mode::Auto,
        release::Mode::Hold { until_unix_ms } => Mode::Hold { until_unix_ms },
        release::Mode::Drain => Mode::Drain,
        release::Mode::Stop => Mode::Stop,
    };
    let (since_unix_ms, by, reason) = match set {
        Some(set) => (set.at_unix_ms, Some(set.by), set.reason),
        None => (None, None, None),
    };
    Ok(ModeView { mode, since_unix_ms, by, reason })
}
