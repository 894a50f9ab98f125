//! All figures in Prometheus' text format.

use std::fmt::Write as _;

use penstock_release::{HopId, HopStatus};

use super::{Operator, proof};
use crate::control::Store;
use crate::control::types::ProofView;
use crate::listen::Shortage;
use crate::policy::{Answer, Reason};

pub(super) fn text(operator: &Operator) -> String {
    let metrics = &operator.metrics;
    let (progress, hops) = {
        let (now, mut release) = (operator.delivery.now(), operator.delivery.release());
        let hops: Vec<_> = release.hops(now).collect();
        (release.progress(now), hops)
    };
    let known = operator.directory.list().map_or(0, |list| list.len() as u64);
    let mut page = Page::default();
    for (name, help, value) in [
        ("sessions", "Connections from clients", &metrics.sessions),
        ("sessions_refused", "Connections refused because there were too many", &metrics.sessions_refused),
        ("sessions_not_allowed", "Connections refused for their network", &metrics.sessions_not_allowed),
        ("sessions_displaced", "Sessions ended to make room", &metrics.sessions_displaced),
        ("replies_held_back", "Times that a client waited for its mistakes", &metrics.replies_held_back),
        ("refused_rate", "Messages and recipients put off as too many at once", &metrics.refused_rate),
        ("sessions_timed_out", "Sessions cut for silence or lack of progress", &metrics.sessions_timed_out),
        ("sessions_encrypted", "Sessions that went over to TLS", &metrics.sessions_encrypted),
        ("handshakes_failed", "TLS handshakes with clients that came to nothing", &metrics.handshakes_failed),
        ("hop_connections", "Connections to next hops", &metrics.hop_connections),
        ("hop_connections_encrypted", "Those of them with TLS", &metrics.hop_connections_encrypted),
        (
            "hop_handshakes_failed",
            "TLS handshakes with next hops that came to nothing",
            &metrics.hop_handshakes_failed,
        ),
        ("accepted_messages", "Messages taken into custody", &metrics.accepted),
        ("accepted_bytes", "Their bytes", &metrics.accepted_bytes),
        ("refused_full", "Transactions refused for lack of room", &metrics.refused_full),
        ("refused_loop", "Messages refused for going in circles", &metrics.refused_loop),
        ("refused_form", "Messages refused for their form or size", &metrics.refused_form),
        ("refused_failure", "Transactions refused because the volume fails", &metrics.refused_failure),
        ("commit_groups", "Groups of messages that shared a sync", &metrics.commit_groups),
        ("scrub_passes", "Times that the volume was gone through", &metrics.scrub_passes),
        ("scrub_unsteady_messages", "Messages read right only at another try", &metrics.scrub_unsteady),
        ("scrub_repaired_messages", "Messages with flipped bits put right", &metrics.scrub_repaired),
        ("scrub_damaged_messages", "Messages found damaged", &metrics.scrub_damaged),
        ("scrub_rotten_records", "Records and headers found unreadable", &metrics.scrub_rot),
        ("released_messages", "Messages of which a next hop took custody", &metrics.released),
        ("delivered_recipients", "Recipients of which a next hop took custody", &metrics.delivered),
        (
            "through_taken_messages",
            "Messages that a next hop took while their clients waited",
            &metrics.through_taken,
        ),
        (
            "through_refused_messages",
            "Messages that a next hop refused, and clients were told",
            &metrics.through_refused,
        ),
        (
            "through_late_messages",
            "Messages whose clients waited in vain for a next hop's word",
            &metrics.through_late,
        ),
        (
            "through_untold_messages",
            "Messages of which a next hop said what clients are not told",
            &metrics.through_untold,
        ),
        (
            "through_waited_milliseconds",
            "How long clients waited for a next hop's word",
            &metrics.through_waited_ms,
        ),
        ("deferred_recipients", "Recipients put off", &metrics.deferred),
        ("held_recipients", "Recipients set aside for the operator", &metrics.held),
    ] {
        page.add(&format!("{name}_total"), "counter", help, value.get());
    }
    let limits = operator.listening.limits();
    let (clients, reading) = (limits.figures(), limits.reading());
    let short = |what| u64::from(limits.shortage() == Some(what));
    for (name, help, value) in [
        ("sessions_open", "Connections from clients now", u64::from(clients.sessions)),
        (
            "sessions_held_back",
            "Sessions that wait for the answer to mistakes",
            u64::from(limits.tarpitted()),
        ),
        ("sources_open", "Sources that have sessions", u64::from(clients.sources)),
        ("sources_at_limits", "Sources that came to a limit lately", u64::from(clients.sources_at_limits)),
        ("sources_remembered", "Sources of which something is remembered", u64::from(clients.remembered)),
        ("reserved_bytes", "Space reserved for messages coming in", clients.reserved_bytes),
        ("descriptors_open", "File descriptors that are open", reading.descriptors),
        ("short_of_descriptors", "Whether file descriptors run short", short(Shortage::Descriptors)),
        ("short_of_memory", "Whether memory runs short", short(Shortage::Memory)),
        ("release_messages", "Messages to be released", progress.messages),
        ("release_bytes", "Their bytes", progress.bytes),
        ("release_in_flight", "Messages on their way", u64::from(progress.in_flight)),
        ("recipients_known", "Addresses on the list of recipients", known),
    ] {
        page.add(name, "gauge", help, value);
    }
    for (name, help, value) in [
        ("descriptors_max", "File descriptors that may be open", reading.descriptors_max),
        ("memory_free_bytes", "Memory that could be had", reading.memory_free_bytes),
    ] {
        if let Some(value) = value {
            page.add(name, "gauge", help, value);
        }
    }
    recipients(operator, &mut page);
    volumes(operator, &mut page);
    proof(operator, &hops, &mut page);
    certificates(operator, &mut page);
    page.head("hop_healthy", "gauge", "Whether a next hop takes mail");
    for hop in hops {
        let healthy = u64::from(hop.state == penstock_release::State::Healthy);
        page.line(&format!("hop_healthy{{hop=\"{}\"}}", hop.name), healthy);
    }
    page.0
}

/// What was said to recipients, and by what.
fn recipients(operator: &Operator, page: &mut Page) {
    let decided: Vec<_> = operator.policy.decided().collect();
    let not_ours =
        decided.iter().find(|(reason, _)| *reason == Reason::NotOurs).map_or(0, |(_, count)| *count);
    page.add("refused_relay_total", "counter", "Recipients refused as not ours", not_ours);
    page.head("recipients_decided_total", "counter", "Recipients that were answered, by answer and reason");
    for (reason, count) in decided {
        let answer = match reason.answer() {
            Answer::Take => "take",
            Answer::Later => "later",
            Answer::Refuse => "refuse",
        };
        let reason = reason.as_str();
        page.line(&format!("recipients_decided_total{{answer=\"{answer}\",reason=\"{reason}\"}}"), count);
    }
    let in_step = u64::from(operator.policy.standing().is_in_step);
    page.add("recipients_in_step", "gauge", "Whether the list of recipients is in step", in_step);
}

/// What is known of the mail that each next hop took. What is not known has no line.
fn proof(operator: &Operator, hops: &[HopStatus], page: &mut Page) {
    let views: Vec<_> = hops.iter().map(|hop| (&hop.name, hop.grade, proof::view(operator, hop))).collect();
    type Value = fn(&ProofView) -> Option<u64>;
    let figures: [(&str, &str, &str, Value); 5] = [
        ("canaries_taken_total", "counter", "Canaries that a next hop took", |view| {
            Some(view.canaries_taken)
        }),
        ("canaries_arrived_total", "counter", "Canaries that reached their mailboxes", |view| {
            Some(view.canaries_arrived)
        }),
        ("canaries_outstanding", "gauge", "Canaries that may still arrive", |view| {
            Some(u64::from(view.canaries_outstanding))
        }),
        (
            "canary_sojourn_milliseconds",
            "gauge",
            "How long the last canary that arrived was on its way",
            |view| view.last_sojourn_ms,
        ),
        ("hop_counters_age_milliseconds", "gauge", "How long ago a next hop's counters were read", |view| {
            view.counters_age_ms
        }),
    ];
    page.head(
        "hop_grade",
        "gauge",
        "What is known of mail that a next hop took: 0 nothing, 1 canaries, 2 counters",
    );
    for (name, grade, _) in &views {
        page.line(&format!("hop_grade{{hop=\"{name}\"}}"), *grade as u64);
    }
    for (figure, kind, help, value) in figures {
        page.head(figure, kind, help);
        for (name, _, view) in &views {
            if let Some(value) = value(view) {
                page.line(&format!("{figure}{{hop=\"{name}\"}}"), value);
            }
        }
    }
}

/// Until when certificates hold, in seconds since 1970.
fn certificates(operator: &Operator, page: &mut Page) {
    let tls = operator.delivery.tls();
    let seconds = |unix_s: i64| u64::try_from(unix_s).unwrap_or_default();
    if let Some(served) = tls.serving().served() {
        let (name, help) =
            ("certificate_not_after_seconds", "When the certificate that clients are shown expires");
        page.add(name, "gauge", help, seconds(served.facts.not_after_unix_s));
    }
    page.head(
        "hop_certificate_not_after_seconds",
        "gauge",
        "When the certificate that a next hop showed expires",
    );
    for (n, hop) in (0..).zip(&operator.settings.next_hops) {
        if let Some(seen) = tls.hop(HopId(n)).and_then(|hop| hop.facts().seen) {
            let line = format!("hop_certificate_not_after_seconds{{hop=\"{}\"}}", hop.name);
            page.line(&line, seconds(seen.facts.not_after_unix_s));
        }
    }
}

/// What there is of each volume: of the disk under the name alone, of the reserve with a label.
fn volumes(operator: &Operator, page: &mut Page) {
    let all: Vec<_> = operator
        .volumes
        .all()
        .map(|storage| {
            let label = match storage.store() {
                Store::Disk => "",
                Store::Nor => "{volume=\"nor\"}",
            };
            let counted = operator.metrics.volume(storage.store());
            let (info, scrub) = (storage.facts().info, storage.scrub().running);
            let of = |value: fn(&penstock_spool::Info) -> u64| info.as_ref().map_or(0, value);
            let values = [
                counted.syncs.get(),
                counted.programmed_bytes.get(),
                of(|info| info.messages as u64),
                of(|info| info.kept_messages as u64),
                of(|info| info.capacity_bytes),
                of(|info| info.live_bytes),
                of(penstock_spool::Info::free_bytes),
                u64::from(!storage.is_well()),
                u64::from(scrub.is_some()),
                scrub.as_ref().map_or(0, |run| run.done_bytes),
                scrub.as_ref().map_or(0, |run| run.total_bytes),
                of(|info| u64::from(info.segments.2)),
                of(|info| u64::from(info.erase_counts.1)),
            ];
            (label, values)
        })
        .collect();
    for (n, (name, kind, help)) in [
        ("volume_syncs_total", "counter", "Syncs of the volume"),
        ("volume_programmed_bytes_total", "counter", "Bytes given to the volume"),
        ("queue_messages", "gauge", "Messages with a recipient that is not done"),
        ("kept_messages", "gauge", "Finished messages kept for replay"),
        ("volume_capacity_bytes", "gauge", "What mail may take in all"),
        ("volume_live_bytes", "gauge", "What undelivered mail takes"),
        ("volume_free_bytes", "gauge", "What mail may still take"),
        (
            "volume_failed",
            "gauge",
            "Whether the volume takes nothing: it fails, is missing or does not answer",
        ),
        ("scrub_running", "gauge", "Whether the volume is being gone through"),
        ("scrub_done_bytes", "gauge", "How much of it this pass went through"),
        ("scrub_total_bytes", "gauge", "How much this pass goes through"),
        ("volume_quarantined_segments", "gauge", "Segments that cannot be trusted"),
        ("volume_erase_count_max", "gauge", "The highest count of erases of a segment"),
    ]
    .into_iter()
    .enumerate()
    {
        page.head(name, kind, help);
        for (label, values) in &all {
            page.line(&format!("{name}{label}"), values[n]);
        }
    }
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
