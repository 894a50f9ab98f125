//! How everything stands.

use penstock_release::{Cause, DOMAIN_ADVICE, HopStatus, State as HopState};
use penstock_spool::{Info, MessageId};

use super::{Operator, clients, judging, mode, proof, tls};
use crate::control::Refusal;
use crate::control::types::{
    Alert, ErrorBody, Estimate, Health, HopView, MailView, Progress, Proof, Severity, Status, ThroughView,
    VolumeView,
};
use crate::deliver::ReadBackAnswer;
use crate::storage::{OpenMessage, STALLED_AFTER, State, Storage};

/// What the logs say.
#[derive(Default)]
struct Sums {
    messages: u64,
    bytes: u64,
    damaged: u64,
    kept: u64,
    /// Of the messages those whose volume is well, and of these the damaged ones.
    reachable: u64,
    reachable_damaged: u64,
    oldest_unix_ms: Option<u64>,
}

impl Sums {
    /// What all volumes hold that answer, and what is known of the others.
    async fn of(operator: &Operator) -> Self {
        let mut sums = Self::default();
        for storage in operator.volumes.all() {
            let info = storage.facts().info;
            sums.messages += info.map_or(0, |info| info.messages as u64);
            sums.kept += info.map_or(0, |info| info.kept_messages as u64);
            let looked = storage.look(|spool| {
                let mut sums = (0, 0);
                let mut first = None;
                for summary in spool.queue(MessageId(0)) {
                    sums.0 += u64::from(summary.size_bytes);
                    sums.1 += u64::from(summary.damaged);
                    first = first.or(Some(summary.id));
                }
                let oldest = first.and_then(|id| spool.open(id).ok()).map(OpenMessage::unleased);
                (sums, spool.info().messages as u64, oldest)
            });
            let Ok(((bytes, damaged), messages, oldest)) = looked.await else { continue };
            sums.bytes += bytes;
            sums.damaged += damaged;
            if storage.is_well() {
                sums.reachable += messages;
                sums.reachable_damaged += damaged;
            }
            if let Some(oldest) = oldest
                && let Some(received_unix_ms) = received(oldest).await
            {
                sums.oldest_unix_ms =
                    Some(sums.oldest_unix_ms.map_or(received_unix_ms, |it| it.min(received_unix_ms)));
            }
        }
        sums
    }
}

/// When a message was received, if that can be read within reason.
async fn received(mut open: OpenMessage) -> Option<u64> {
    let read = tokio::task::spawn_blocking(move || open.message.envelope());
    let envelope = tokio::time::timeout(STALLED_AFTER, read).await.ok()?.ok()?.ok()?;
    let received = envelope.begin.received;
    received.trusted.then_some(received.unix_ms)
}

pub(super) async fn status(operator: &Operator) -> Result<Status, Refusal> {
    let sums = Sums::of(operator).await;
    let mode = mode::view(operator);
    let (progress, still, hops) = {
        let (now, mut release) = (operator.delivery.now(), operator.delivery.release());
        let hops: Vec<HopStatus> = release.hops(now).collect();
        (release.progress(now), release.stillness(now), hops)
    };
    // What release does not have and can be read waits for the operator.
    let held = sums.reachable.saturating_sub(progress.messages + sums.reachable_damaged);
    let metrics = &operator.metrics;
    let stamp = operator.clock.stamp();
    let mail = MailView {
        messages: sums.messages,
        bytes: sums.bytes,
        // By a clock that is wrong by years nobody can say for how long.
        oldest_unix_ms: sums.oldest_unix_ms.filter(|_| stamp.trusted),
        held,
        damaged: sums.damaged,
        kept: sums.kept,
        accepted: metrics.accepted.get(),
        delivered: metrics.released.get(),
    };
    let volumes: Vec<VolumeView> = operator.volumes.all().map(|storage| volume(operator, storage)).collect();
    let mut alerts = alerts(operator, &mail, &volumes, &hops, stamp.trusted);
    alerts.extend(hops.iter().filter_map(|hop| proof::alert(operator, hop)));
    alerts.extend(clients::alerts(operator));
    if let Some(what) = operator.sources.view().and_then(|source| source.trouble) {
        alerts.push(Alert { severity: Severity::Warning, what });
    }
    alerts.extend(tls::alerts(operator));
    // Of those that are as bad the order is that of above.
    alerts.sort_by_key(|alert| alert.severity);
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hostname: operator.settings.system.hostname.as_str().to_owned(),
        now_unix_ms: stamp.unix_ms,
        clock_trusted: stamp.trusted,
        uptime_ms: u64::try_from(operator.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        alerts,
        mail,
        mode,
        progress: Progress {
            left_messages: progress.messages,
            left_bytes: progress.bytes,
            in_flight: progress.in_flight,
            messages_per_minute: progress.messages_per_minute,
            bytes_per_minute: progress.bytes_per_minute_long,
            estimate: progress
                .done_in_s
                .map(|(earliest_in_s, latest_in_s)| Estimate { earliest_in_s, latest_in_s }),
            still: still.map(|still| still.to_string()),
        },
        hops: hops.into_iter().map(|hop| hop_view(operator, hop)).collect(),
        through: through(operator),
        volumes,
        listener: clients::listener(operator),
        recipients: judging::view(operator),
    })
}

fn through(operator: &Operator) -> ThroughView {
    let metrics = &operator.metrics;
    let why_not = operator.delivery.through().err();
    ThroughView {
        on: why_not.is_none(),
        why_not: why_not
            .map(|why| why.map_or_else(|| "the settings say so".to_owned(), |why| why.to_string())),
        taken: metrics.through_taken.get(),
        refused: metrics.through_refused.get(),
        late: metrics.through_late.get(),
        untold: metrics.through_untold.get(),
    }
}

fn hop_view(operator: &Operator, hop: HopStatus) -> HopView {
    let settings = operator.settings.next_hops.get(usize::from(hop.id.0));
    let connections = u32::try_from(operator.delivery.connections(hop.id)).unwrap_or(u32::MAX);
    let proof = proof::view(operator, &hop);
    let advice = hop.advice.or_else(|| proof::advice(operator, &hop));
    HopView {
        address: settings.map_or(String::new(), |settings| settings.address.to_string()),
        priority: settings.map_or(0, |settings| settings.priority),
        name: hop.name,
        state: hop.state.as_str().to_owned(),
        takes_mail: hop.state == HopState::Healthy,
        since_unix_ms: hop.since_unix_ms,
        last_reply: hop.last_reply.map(|reply| reply.to_string()),
        next_probe_in_ms: hop.next_trial_in_ms,
        connections,
        advice: advice.map(str::to_owned),
        proof,
        cause: hop.cause.map(|cause| cause.as_str().to_owned()),
        proving: hop.canaries_arrived.map(|(arrived, needed)| Proof { arrived, needed }),
    }
}

fn volume(operator: &Operator, storage: &Storage) -> VolumeView {
    let facts = storage.facts();
    let said = |what: &str| {
        let trouble = facts.trouble.as_deref().map(|trouble| format!(" ({trouble})")).unwrap_or_default();
        Some(format!("{what}{trouble}."))
    };
    let (health, why) = match storage.state() {
        State::Absent if facts.is_of_other_version => {
            (Health::OtherVersion, said("Another version wrote on it what this one cannot read"))
        }
        State::Absent => {
            (Health::Absent, said("It is missing or cannot be mounted, and is tried again every 30 s"))
        }
        State::Failed => (
            Health::ReadOnly,
            said("A write to it failed. What it has can perhaps be read; it is tried again every 30 s"),
        ),
        State::Stalled => (Health::Stalled, said("A read or a write does not come back")),
        State::Well if storage.check_room(None).is_err() => (
            Health::Full,
            Some("There is no room for more mail until some is delivered or removed.".to_owned()),
        ),
        State::Well => (Health::Good, None),
    };
    let takes_mail = operator.volumes.taking().is_some_and(|taking| taking.store() == storage.store());
    let inflow = operator.metrics.inflow.bytes_per_day(operator.clock.mono_ms()).filter(|_| takes_mail);
    let info = facts.info.as_ref();
    let of = |value: fn(&Info) -> u64| info.map_or(0, value);
    let free_bytes = of(Info::free_bytes);
    VolumeView {
        name: storage.store().as_str().to_owned(),
        path: storage.name().to_owned(),
        health,
        takes_mail,
        why,
        medium_bytes: of(|info| info.medium_bytes),
        capacity_bytes: of(|info| info.capacity_bytes),
        live_bytes: of(|info| info.live_bytes),
        reserved_bytes: of(|info| info.reserved_bytes),
        kept_bytes: of(|info| info.kept_bytes),
        free_bytes,
        messages: of(|info| (info.messages + info.kept_messages) as u64),
        messages_max: u64::from(operator.settings.volume.messages_max),
        inflow_bytes_per_day: inflow,
        full_in_s: inflow
            .filter(|per_day| *per_day > 0)
            .map(|per_day| (u128::from(free_bytes) * 86_400 / u128::from(per_day)) as u64),
        quarantined_segments: info.map_or(0, |info| info.segments.2),
        erase_count_max: info.map_or(0, |info| info.erase_counts.1),
        scrub: storage.scrub(),
    }
}

/// What a volume that does not do its work means, and what to do about it.
fn volume_alert(
    volume: &VolumeView,
    taking: Option<&VolumeView>,
) -> Option<(Severity, &'static str, String, String)> {
    let (code, what, help) = match volume.health {
        Health::Good => return None,
        Health::Full if !volume.takes_mail => return None,
        Health::Full => (
            "PS-D260",
            "is full: mail is answered with 4xx".to_owned(),
            "Get the next hop to take mail, or remove some with `penstock remove`.",
        ),
        Health::ReadOnly => (
            "PS-D201",
            "failed a write".to_owned(),
            "Check the disk; the daemon tries again every 30 s by itself.",
        ),
        Health::Absent => (
            "PS-D204",
            "is missing or cannot be mounted".to_owned(),
            "Check that it is plugged in; the daemon tries again every 30 s by itself.",
        ),
        Health::OtherVersion => (
            "PS-D208",
            "was written by another version of Penstock, and nothing on it is touched".to_owned(),
            "Start the version that wrote it (on a box `slots` tells which there are), or update this one.",
        ),
        Health::Stalled => {
            ("PS-D205", "does not answer".to_owned(), "Check the disk; if it stays so, start the box again.")
        }
    };
    let (severity, follows) = match taking {
        _ if volume.health == Health::Full => (Severity::Critical, String::new()),
        None => (Severity::Critical, ": mail is answered with 4xx and none is released".to_owned()),
        Some(taking) if taking.name == "disk" => {
            (Severity::Warning, ": nothing stands in if the disk fails, and what is on it waits".to_owned())
        }
        Some(taking) => (
            Severity::Critical,
            format!(": mail goes to the {}, up to 4 MiB a message, and what is on it waits", taking.name),
        ),
    };
    let message = format!("The {}, {}, {what}{follows}.", volume.name, volume.path);
    Some((severity, code, message, help.to_owned()))
}

/// What needs somebody, the worst first.
fn alerts(
    operator: &Operator,
    mail: &MailView,
    volumes: &[VolumeView],
    hops: &[HopStatus],
    clock_trusted: bool,
) -> Vec<Alert> {
    let mut alerts = Vec::new();
    let mut add = |severity, code: &str, message: String, help: &str| {
        let what = ErrorBody { code: code.to_owned(), message, help: help.to_owned() };
        alerts.push(Alert { severity, what });
    };
    let taking = volumes.iter().find(|volume| volume.takes_mail);
    for volume in volumes {
        if let Some((severity, code, message, help)) = volume_alert(volume, taking) {
            add(severity, code, message, &help);
        }
    }
    if mail.damaged > 0 {
        add(
            Severity::Critical,
            "PS-D210",
            format!("{} messages are damaged on the volume and cannot be given out.", mail.damaged),
            "`penstock queue --state damaged` names them; their senders have to be asked for them.",
        );
    }
    for hop in hops {
        if let Some(cause) = hop.cause.filter(|_| hop.state.is_proving()) {
            let message = format!(
                "The next hop {} is {} and gets no mail before it has proved itself: {}.",
                hop.name,
                hop.state.as_str(),
                cause.as_str()
            );
            add(Severity::Critical, "PS-D233", message, hop.advice.unwrap_or_default());
        }
        if hop.state.trouble().is_some() {
            let said = hop.last_reply.map(|reply| format!(": {reply}")).unwrap_or_default();
            let message = format!("The next hop {} is {}{said}.", hop.name, hop.state.as_str());
            // It refuses the whole site, and that is no sender's doing.
            let refuses = hop.can_be_confirmed();
            let severity = if refuses { Severity::Critical } else { Severity::Warning };
            add(severity, "PS-D232", message, hop.advice.unwrap_or_default());
        }
        if hop.missing != 0 && hop.state == HopState::Healthy {
            let message = format!(
                "At the next hop {} the mail of some mailbox databases waits, since canaries do not arrive: {}.",
                hop.name,
                operator.delivery.missing_mailboxes(hop)
            );
            add(Severity::Critical, "PS-D234", message, Cause::CanaryMissing.advice());
        }
        if !hop.domains.is_empty() {
            let message = format!(
                "The next hop {} refuses recipients who are known to be there: the mail of {} waits.",
                hop.name,
                hop.domains.join(", ")
            );
            add(Severity::Critical, "PS-D236", message, DOMAIN_ADVICE);
        }
    }
    if let Some((id, answer @ (ReadBackAnswer::Failed(_) | ReadBackAnswer::Silence))) =
        operator.delivery.read_back_answer()
    {
        let why = match answer {
            ReadBackAnswer::Failed(why) => format!("and reports that it did not arrive: {why}"),
            _ => "and does not report that it lies in its mailbox".to_owned(),
        };
        add(
            Severity::Warning,
            "PS-D243",
            format!("The server took {id}, which was replayed, {why}."),
            "Exchange discards what it has had in the last days: `penstock replay` with --as-attachment is not discarded.",
        );
    }
    if mail.held > 0 {
        add(
            Severity::Warning,
            "PS-D230",
            format!("{} messages are held for you.", mail.held),
            "`penstock quarantine list` tells why; `penstock quarantine retry` or `penstock remove ID` ends it.",
        );
    }
    for volume in volumes {
        if let Some(flaws) = volume.scrub.last.as_ref().and_then(|last| last.found.flaws()) {
            add(
                Severity::Warning,
                "PS-D214",
                format!("The last scrub of {} found: {flaws}.", volume.path),
                "`penstock events --kind repaired`, `damaged` and `rot` name them; if it goes on, replace the disk.",
            );
        }
        if volume.quarantined_segments > 0 {
            add(
                Severity::Warning,
                "PS-D211",
                format!(
                    "{} parts of {} cannot be trusted and are left alone.",
                    volume.quarantined_segments, volume.path
                ),
                "Plan to replace the disk.",
            );
        }
    }
    if !clock_trusted {
        add(
            Severity::Warning,
            "PS-D261",
            "The clock of the box is not known to be right: nothing expires and no hold ends by itself."
                .to_owned(),
            "On an appliance `clock` at its console tells why: see network.time_servers and system.clock_chip. On any \
             other host set its clock.",
        );
    }
    // Of those that are as bad the order is that above.
    alerts.sort_by_key(|alert| alert.severity);
    alerts
}
