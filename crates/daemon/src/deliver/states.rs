//! What is told, in the log and the ledger, when a hop stands otherwise than before.

use penstock_release::{Cause, DOMAIN_ADVICE, HopStatus, State};
use tracing::{error, info, warn};

use super::Delivery;
use crate::ledger::Kind;

/// How the hops stood when that was last told.
pub(super) type Told = Vec<Stand>;

/// How a hop stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stand {
    state: State,
    cause: Option<Cause>,
    /// The probe mailboxes whose canaries are missing, a bit each.
    missing: u16,
    /// The domains whose mail waits.
    domains: Vec<String>,
}

impl Stand {
    const UNTRIED: Self = Self { state: State::Untried, cause: None, missing: 0, domains: Vec::new() };

    fn of(hop: &HopStatus) -> Self {
        let HopStatus { state, cause, missing, .. } = *hop;
        Self { state, cause, missing, domains: hop.domains.clone() }
    }
}

impl Delivery {
    /// Tells which hops stand otherwise than at the last call.
    pub(super) async fn tell_states(&self, told: &mut Told) {
        let hops: Vec<HopStatus> = self.release().hops(self.now()).collect();
        self.see_presence(&hops);
        told.resize(hops.len(), Stand::UNTRIED);
        for (hop, told) in hops.iter().zip(told.iter_mut()) {
            let before = std::mem::replace(told, Stand::of(hop));
            if (before.state, before.cause) != (told.state, told.cause) {
                self.tell_state(hop).await;
            }
            if before.missing != told.missing && hop.cause.is_none() {
                self.tell_missing(hop).await;
            }
            if before.domains != told.domains {
                self.tell_domains(hop).await;
            }
        }
    }

    async fn tell_state(&self, hop: &HopStatus) {
        let (name, state) = (hop.name.as_str(), hop.state.as_str());
        let said = hop.last_reply.map(|reply| format!(": {reply}")).unwrap_or_default();
        let advice = hop.advice.unwrap_or_default();
        let why = hop.cause.map(Cause::as_str).unwrap_or_default();
        if hop.state.is_proving() {
            error!(
                code = "PS-D233",
                hop = name,
                state,
                why,
                advice,
                "the next hop has to prove itself: no mail goes"
            );
        } else if hop.state.trouble().is_some() {
            warn!(code = "PS-D232", hop = name, state, said, advice, "the next hop takes no mail");
        } else {
            info!(hop = name, state, "the next hop");
        }
        let proof =
            if why.is_empty() { String::new() } else { format!(" and has to prove itself, since {why}") };
        self.tell_of_hop(format!("{name} is {state}{proof}{said}")).await;
    }

    async fn tell_missing(&self, hop: &HopStatus) {
        let (name, mailboxes) = (hop.name.as_str(), self.missing_mailboxes(hop));
        if mailboxes.is_empty() {
            info!(hop = name, "canaries arrive at all probe mailboxes");
            return self.tell_of_hop(format!("{name}: the mail of every mailbox database goes")).await;
        }
        error!(
            code = "PS-D234",
            hop = name,
            mailboxes,
            advice = Cause::CanaryMissing.advice(),
            "canaries that the next hop took do not arrive in these mailboxes: the mail of their databases waits"
        );
        self.tell_of_hop(format!(
            "{name}: canaries do not arrive in {mailboxes}; the mail of their databases waits"
        ))
        .await;
    }

    async fn tell_domains(&self, hop: &HopStatus) {
        let (name, domains) = (hop.name.as_str(), hop.domains.join(", "));
        if domains.is_empty() {
            info!(hop = name, "the mail of every domain goes");
            return self.tell_of_hop(format!("{name}: the mail of every domain goes")).await;
        }
        error!(
            code = "PS-D236",
            hop = name,
            domains,
            advice = DOMAIN_ADVICE,
            "the next hop refuses recipients of these domains who are known to be there: their mail waits"
        );
        let text =
            format!("{name} refuses recipients who are known to be there: the mail of {domains} waits");
        self.tell_of_hop(text).await;
    }

    async fn tell_of_hop(&self, text: String) {
        let event = Kind::Hop.event(self.clock.stamp(), None, text);
        // Told in the log already; what cannot be recorded now is no reason to stop.
        let _ = self.volumes.record(event).await;
    }
}
