//! What is counted, and how it is told: the line of status, and the object at the end.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::pressure::Level;
use crate::transport::Transport;
use crate::units::show;

/// What has happened since the start.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) connections: u64,
    /// Messages that were answered with 250 after their end, or whose 250 was lost.
    pub(crate) accepted: u64,
    /// The organisation's own messages.
    pub(crate) background: u64,
    /// Messages that have left the submission queue, and the time that they spent in it.
    pub(crate) categorized: u64,
    pub(crate) queue_ms: u64,
    /// Copies that lie in mailboxes, and the time from 250 to there.
    pub(crate) delivered: u64,
    pub(crate) delivered_ms: u64,
    /// Recipients that the sender was, or should have been, told of after the server had said 250.
    pub(crate) ndr_after_250: u64,
    pub(crate) expired: u64,
    pub(crate) success_reports: u64,
    /// Transactions that ended in 452 4.3.1.
    pub(crate) in_vain: u64,
    pub(crate) replies_lost: u64,
    pub(crate) replies: BTreeMap<u16, u64>,
}

/// `part / whole`, or 0.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Three digits behind the point are enough for people and for ratios.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Everything, as one object. Times are of the server's clock.
pub(crate) fn summary(transport: &Transport, now_ms: u64) -> Value {
    let totals = &transport.totals;
    let record = transport.pressure.record();
    let mut databases: BTreeMap<&str, u64> = BTreeMap::new();
    let mut mailboxes: BTreeMap<&str, u64> = BTreeMap::new();
    let mut waits_ms: Vec<u64> = Vec::new();
    for delivery in transport.store.deliveries() {
        *databases.entry(&delivery.database).or_default() += 1;
        *mailboxes.entry(&delivery.mailbox).or_default() += 1;
        waits_ms.push(delivery.delivered_ms.saturating_sub(delivery.accepted_ms));
    }
    waits_ms.sort_unstable();
    let p99_ms = waits_ms.get(waits_ms.len() * 99 / 100).copied().unwrap_or(0);
    let replies: BTreeMap<String, u64> =
        totals.replies.iter().map(|(code, count)| (code.to_string(), *count)).collect();
    let waiting: usize = transport.store.lengths().map(|(active, retry)| active + retry).sum();
    json!({
        "time_s": rounded(now_ms as f64 / 1000.0),
        "connections": totals.connections,
        "accepted": totals.accepted,
        "delivered": totals.delivered,
        "delivered_by_database": databases,
        "delivered_by_mailbox": mailboxes,
        "in_submission_queue": transport.submission_len(),
        "in_delivery_queues": waiting,
        "ndr_after_250": totals.ndr_after_250,
        "expired": totals.expired,
        "success_reports": totals.success_reports,
        "duplicates_suppressed": transport.store.duplicates,
        "replies_lost": totals.replies_lost,
        "replies": replies,
        "in_vain": totals.in_vain,
        "excursions_medium": record.medium_excursions,
        "excursions_high": record.high_excursions,
        "medium_share": rounded(ratio(record.medium_ms, record.total_ms)),
        "high_share": rounded(ratio(record.high_ms, record.total_ms)),
        "queue_s_mean": rounded(ratio(totals.queue_ms, totals.categorized) / 1000.0),
        "to_mailbox_s_mean": rounded(ratio(totals.delivered_ms, totals.delivered) / 1000.0),
        "to_mailbox_s_p99": rounded(p99_ms as f64 / 1000.0),
        "background": totals.background,
    })
}

/// How things stand, for a person who watches.
pub(crate) fn status_line(transport: &Transport, now_ms: u64, sessions: usize) -> String {
    let totals = &transport.totals;
    let raised: Vec<String> = transport
        .pressure
        .levels()
        .filter(|(_, level)| *level > Level::Low)
        .map(|(resource, level)| format!("{} {}", resource.short_name(), level.name()))
        .collect();
    let pressure = if raised.is_empty() { "no pressure".to_owned() } else { raised.join(", ") };
    let refused: u64 = totals.replies.iter().filter(|(code, _)| **code >= 400).map(|(_, count)| count).sum();
    let (active, retry) =
        transport.store.lengths().fold((0, 0), |sum, (active, retry)| (sum.0 + active, sum.1 + retry));
    format!(
        "{:>9}  {sessions:>3} open  {} in, {} delivered, {} refused, {} reported back  queue {} + {active}, retry \
         {retry}  {pressure}",
        show(now_ms),
        totals.accepted,
        totals.delivered,
        refused,
        totals.ndr_after_250,
        transport.submission_len(),
    )
}
