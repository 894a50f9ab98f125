//! The operator's word that a next hop is itself and its mailbox databases are there.

use penstock_release::{HopId, HopStatus};

use super::{Operator, unavailable};
use crate::control::types::ActionResult;
use crate::control::{Kind as Fault, Refusal, Who};
use crate::ledger::Kind;

/// Lets mail go to a hop that has to prove itself, or of which a database has to, or to all such. It is durable when this returns.
pub(super) async fn confirm(
    operator: &Operator,
    hop: Option<String>,
    who: &Who,
) -> Result<ActionResult, Refusal> {
    let hops: Vec<HopStatus> = operator.delivery.release().hops(operator.delivery.now()).collect();
    let named: Vec<HopStatus> =
        hops.into_iter().filter(|it| hop.as_ref().is_none_or(|hop| it.name == *hop)).collect();
    let (waiting, others): (Vec<_>, Vec<_>) = named.into_iter().partition(HopStatus::can_be_confirmed);
    if waiting.is_empty() {
        return Err(nothing_to_confirm(hop, &others));
    }
    for hop in &waiting {
        let HopStatus { id, name, cause, .. } = hop;
        // Who said so is on record before anything goes.
        let why = match cause {
            Some(cause) => format!("it had to prove itself, since {}", cause.as_str()),
            None if hop.missing == 0 => format!("the mail of {} waited", hop.domains.join(", ")),
            None => format!("mail waited for canaries to {}", operator.delivery.missing_mailboxes(hop)),
        };
        let text = format!("{name} confirmed by {who}; {why}");
        let event = Kind::Confirmed.event(operator.clock.stamp(), None, text);
        operator.volumes.record(event).await.map_err(unavailable)?;
        confirm_one(operator, *id);
    }
    // If this fails it has to be said again after a restart.
    operator.delivery.save().await.map_err(unavailable)?;
    operator.delivery.wake();
    let names: Vec<&str> = waiting.iter().map(|hop| hop.name.as_str()).collect();
    let messages = operator.delivery.release().progress(operator.delivery.now()).messages;
    let summary = format!("Confirmed: {}. Mail is released as it can be taken.", names.join(", "));
    Ok(ActionResult { summary, messages, refused: Vec::new() })
}

fn confirm_one(operator: &Operator, hop: HopId) {
    let now = operator.delivery.now();
    operator.delivery.release().confirm(hop, now);
}

fn nothing_to_confirm(hop: Option<String>, others: &[HopStatus]) -> Refusal {
    match (hop, others) {
        (Some(hop), []) => Refusal::new(
            Fault::NotFound,
            "PS-D264",
            format!("there is no next hop {hop}"),
            "`penstock status` names them.",
        ),
        (_, others) => {
            let states: Vec<String> =
                others.iter().map(|hop| format!("{} is {}", hop.name, hop.state.as_str())).collect();
            Refusal::new(
                Fault::Conflict,
                "PS-D265",
                format!("no next hop waits to be confirmed: {}", states.join(", ")),
                "One that does not answer is tried again by itself; `penstock status` says when one waits for this.",
            )
        }
    }
}
