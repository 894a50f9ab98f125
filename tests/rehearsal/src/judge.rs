//! What the appliance says became of its mail, against what lies in mailboxes.

use std::collections::HashMap;

use penstock_exchange::ReportKind;
use penstock_exchange::simulated::World;

use crate::appliance::Appliance;
use crate::mail::Fate;

/// What became of all mail, by recipients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Recipients of accepted mail.
    pub recipients: usize,
    /// Whose copy lies in the mailbox.
    pub in_mailbox: usize,
    /// Whose copy was refused while the client waited.
    pub told: usize,
    /// Whose copy is in quarantine.
    pub quarantined: usize,
    /// Whose copy the appliance has yet.
    pub queued: usize,
    /// Whose copy the server took and has not delivered yet.
    pub with_server: usize,
    /// Whose copy the server took and reported back to the sender.
    pub reported: usize,
    /// Mailboxes in which a copy lies more often than once.
    pub doubled: usize,
    /// What must never be: mail that is nowhere, or more often than a connection's end allows.
    pub broken: Vec<String>,
}

/// Holds the appliance's books against the server's mailboxes and reports. The server must not suppress duplicates, or those
/// are not seen.
pub fn judge(appliance: &Appliance, world: &World) -> Judgement {
    let mut copies: HashMap<(&str, &str), u32> = HashMap::new();
    for delivery in world.server.deliveries() {
        let message_id = delivery.message_id.as_deref().unwrap_or_default();
        *copies.entry((message_id, &delivery.mailbox)).or_default() += 1;
    }
    let mut reports: HashMap<(&str, &str), u32> = HashMap::new();
    for report in world.server.reports().iter().filter(|report| report.kind != ReportKind::Delivered) {
        let message_id = report.message_id.as_deref().unwrap_or_default();
        *reports.entry((message_id, &report.recipient)).or_default() += 1;
    }
    let summary = world.server.summary();
    let count = |name: &str| summary[name].as_u64().unwrap_or_default();
    let mut may_be_with_server = count("in_submission_queue") + count("in_delivery_queues");
    let mut judgement = Judgement::default();
    for held in appliance.held() {
        let message_id = held.mail.message_id();
        for (to, fate) in held.mail.to.iter().zip(&held.fates) {
            let key = (message_id.as_str(), to.as_str());
            let copies = copies.get(&key).copied().unwrap_or_default();
            let reports = reports.get(&key).copied().unwrap_or_default();
            let mut broken = |what: String| judgement.broken.push(format!("{message_id} to {to}: {what}"));
            let allowed = held.in_doubt + u32::from(matches!(fate, Fate::Delivered { .. }));
            if copies + reports > allowed {
                broken(format!("{copies} copies and {reports} reports, {allowed} allowed, {fate:?}"));
            }
            judgement.recipients += 1;
            judgement.doubled += usize::from(copies > 1);
            match fate {
                _ if copies > 0 => judgement.in_mailbox += 1,
                Fate::Told { .. } => judgement.told += 1,
                Fate::Queued => judgement.queued += 1,
                Fate::Quarantined { .. } => judgement.quarantined += 1,
                Fate::Delivered { .. } if reports > 0 => judgement.reported += 1,
                Fate::Delivered { .. } if may_be_with_server > 0 => {
                    may_be_with_server -= 1;
                    judgement.with_server += 1;
                }
                Fate::Delivered { at_ms } => broken(format!("taken at {at_ms} ms, and nowhere")),
            }
        }
    }
    judgement
}
