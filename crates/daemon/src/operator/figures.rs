//! All figures in Prometheus' text format.

use std::fmt::Write as _;

use super::{Operator, unavailable};
use crate::control::Refusal;

pub(super) async fn text(operator: &Operator) -> Result<String, Refusal> {
    let info = operator.storage.look(|spool| spool.info()).await.map_err(unavailable)?;
    let scrub = operator.storage.scrub().running;
    let metrics = &operator.metrics;
    let (progress, hops) = {
        let (now, mut release) = (operator.delivery.now(), operator.delivery.release());
        let hops: Vec<_> = release.hops(now).collect();
        (release.progress(now), hops)
    };
    let mut page = Page::default();
    for (name, help, value) in [
        ("sessions", "Connections from clients", &metrics.sessions),
        ("sessions_refused", "Connections refused because there were too many", &metrics.sessions_refused),
        ("sessions_timed_out", "Sessions cut for silence or lack of progress", &metrics.sessions_timed_out),
        ("accepted_messages", "Messages taken into custody", &metrics.accepted),
        ("accepted_bytes", "Their bytes", &metrics.accepted_bytes),
        ("refused_relay", "Recipients refused as not ours", &metrics.refused_relay),
        ("refused_full", "Transactions refused for lack of room", &metrics.refused_full),
        ("refused_loop", "Messages refused for going in circles", &metrics.refused_loop),
        ("refused_form", "Messages refused for their form or size", &metrics.refused_form),
        ("refused_failure", "Transactions refused because the volume fails", &metrics.refused_failure),
        ("commit_groups", "Groups of messages that shared a sync", &metrics.commit_groups),
        ("volume_syncs", "Syncs of the volume", &metrics.syncs),
        ("volume_programmed_bytes", "Bytes given to the volume", &metrics.programmed_bytes),
        ("scrub_passes", "Times that the volume was gone through", &metrics.scrub_passes),
        ("scrub_unsteady_messages", "Messages read right only at another try", &metrics.scrub_unsteady),
        ("scrub_repaired_messages", "Messages with flipped bits put right", &metrics.scrub_repaired),
        ("scrub_damaged_messages", "Messages found damaged", &metrics.scrub_damaged),
        ("scrub_rotten_records", "Records and headers found unreadable", &metrics.scrub_rot),
        ("released_messages", "Messages of which a next hop took custody", &metrics.released),
        ("delivered_recipients", "Recipients of which a next hop took custody", &metrics.delivered),
        ("deferred_recipients", "Recipients put off", &metrics.deferred),
        ("held_recipients", "Recipients set aside for the operator", &metrics.held),
    ] {
        page.add(&format!("{name}_total"), "counter", help, value.get());
    }
    for (name, help, value) in [
        ("sessions_open", "Connections from clients now", u64::from(operator.listening.sessions())),
        ("queue_messages", "Messages with a recipient that is not done", info.messages as u64),
        ("kept_messages", "Finished messages kept for replay", info.kept_messages as u64),
        ("release_messages", "Messages to be released", progress.messages),
        ("release_bytes", "Their bytes", progress.bytes),
        ("release_in_flight", "Messages on their way", u64::from(progress.in_flight)),
        ("volume_capacity_bytes", "What mail may take in all", info.capacity_bytes),
        ("volume_live_bytes", "What undelivered mail takes", info.live_bytes),
        ("volume_free_bytes", "What mail may still take", info.free_bytes()),
        (
            "volume_failed",
            "Whether the volume takes nothing since a write failed",
            u64::from(operator.storage.is_failed()),
        ),
        ("scrub_running", "Whether the volume is being gone through", u64::from(scrub.is_some())),
        (
            "scrub_done_bytes",
            "How much of it this pass went through",
            scrub.as_ref().map_or(0, |run| run.done_bytes),
        ),
        (
            "scrub_total_bytes",
            "How much this pass goes through",
            scrub.as_ref().map_or(0, |run| run.total_bytes),
        ),
        ("volume_quarantined_segments", "Segments that cannot be trusted", u64::from(info.segments.2)),
    ] {
        page.add(name, "gauge", help, value);
    }
    page.head("hop_healthy", "gauge", "Whether a next hop takes mail");
    for hop in hops {
        let healthy = u64::from(hop.state == penstock_release::State::Healthy);
        page.line(&format!("hop_healthy{{hop=\"{}\"}}", hop.name), healthy);
    }
    Ok(page.0)
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn add(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        self.line(name, value);
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "# HELP penstock_{name} {help}.\n# TYPE penstock_{name} {kind}");
    }

    fn line(&mut self, name: &str, value: u64) {
        let _ = writeln!(self.0, "penstock_{name} {value}");
    }
}
