//! How everything stands.

use penstock_release::{HopStatus, State};
use penstock_spool::{Info, MessageId};

use super::{Operator, mode, unavailable};
use crate::control::Refusal;
use crate::control::types::{
    Alert, ErrorBody, Estimate, Health, HopView, ListenerView, MailView, Progress, Severity, Status,
    VolumeView,
};
use crate::storage::OpenMessage;

/// What the log says, read in one step.
struct Snapshot {
    info: Info,
    mail_bytes: u64,
    damaged: u64,
    oldest: Option<OpenMessage>,
}

pub(super) async fn status(operator: &Operator) -> Result<Status, Refusal> {
    let snapshot = operator.storage.look(|spool| {
        let info = spool.info();
        let mut sums = (0, 0);
        let mut first = None;
        for summary in spool.queue(MessageId(0)) {
            sums.0 += u64::from(summary.size_bytes);
            sums.1 += u64::from(summary.damaged);
            first = first.or(Some(summary.id));
        }
        let oldest = first.and_then(|id| spool.open(id).ok()).map(OpenMessage::unleased);
        Snapshot { info, mail_bytes: sums.0, damaged: sums.1, oldest }
    });
    let Snapshot { info, mail_bytes, damaged, oldest } = snapshot.await.map_err(unavailable)?;
    let oldest_unix_ms = match oldest {
        Some(mut open) => {
            let read = tokio::task::spawn_blocking(move || open.message.envelope());
            let envelope = read.await.ok().and_then(Result::ok);
            envelope.map(|it| it.begin.received).and_then(|it| it.trusted.then_some(it.unix_ms))
        }
        None => None,
    };
    let mode = mode::view(operator).await.map_err(unavailable)?;
    let (progress, still, hops) = {
        let (now, mut release) = (operator.delivery.now(), operator.delivery.release());
        let hops: Vec<HopStatus> = release.hops(now).collect();
        (release.progress(now), release.stillness(now), hops)
    };
    let live = info.messages as u64;
    // What release does not have and can be read waits for the operator.
    let held = live.saturating_sub(progress.messages + damaged);
    let metrics = &operator.metrics;
    let stamp = operator.clock.stamp();
    let mail = MailView {
        messages: live,
        bytes: mail_bytes,
        oldest_unix_ms,
        held,
        damaged,
        kept: info.kept_messages as u64,
        accepted: metrics.accepted.get(),
        delivered: metrics.released.get(),
    };
    let volume = volume(operator, &info);
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hostname: operator.settings.system.hostname.as_str().to_owned(),
        now_unix_ms: stamp.unix_ms,
        clock_trusted: stamp.trusted,
        uptime_ms: u64::try_from(operator.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        alerts: alerts(&mail, &volume, &hops, stamp.trusted),
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
        volumes: vec![volume],
        listener: ListenerView {
            addresses: operator.settings.listen.addresses.iter().map(ToString::to_string).collect(),
            sessions: operator.listening.sessions(),
            sessions_max: operator.settings.listen.connections_max,
        },
    })
}

fn hop_view(operator: &Operator, hop: HopStatus) -> HopView {
    let settings = operator.settings.next_hops.get(usize::from(hop.id.0));
    let connections = u32::try_from(operator.delivery.connections(hop.id)).unwrap_or(u32::MAX);
    HopView {
        address: settings.map_or(String::new(), |settings| settings.address.to_string()),
        priority: settings.map_or(0, |settings| settings.priority),
        name: hop.name,
        state: hop.state.as_str().to_owned(),
        takes_mail: hop.state == State::Healthy,
        since_unix_ms: hop.since_unix_ms,
        last_reply: hop.last_reply.map(|reply| reply.to_string()),
        next_probe_in_ms: hop.next_trial_in_ms,
        connections,
        advice: hop.advice.map(str::to_owned),
    }
}

fn volume(operator: &Operator, info: &Info) -> VolumeView {
    let failed = operator.storage.is_failed();
    let full = operator.storage.check_room(None).is_err();
    let (health, why) = match (failed, full) {
        (true, _) => (
            Health::ReadOnly,
            Some("A write to it failed. What it has can be read; it is tried again every 30 s."),
        ),
        (_, true) => {
            (Health::Full, Some("There is no room for more mail until some is delivered or removed."))
        }
        _ => (Health::Good, None),
    };
    let inflow = operator.metrics.inflow.bytes_per_day(operator.clock.mono_ms());
    VolumeView {
        name: "disk".to_owned(),
        path: operator.settings.volume.path.as_str().to_owned(),
        health,
        why: why.map(str::to_owned),
        medium_bytes: info.medium_bytes,
        capacity_bytes: info.capacity_bytes,
        live_bytes: info.live_bytes,
        reserved_bytes: info.reserved_bytes,
        kept_bytes: info.kept_bytes,
        free_bytes: info.free_bytes(),
        messages: (info.messages + info.kept_messages) as u64,
        messages_max: u64::from(operator.settings.volume.messages_max),
        inflow_bytes_per_day: inflow,
        full_in_s: inflow
            .filter(|per_day| *per_day > 0)
            .map(|per_day| (u128::from(info.free_bytes()) * 86_400 / u128::from(per_day)) as u64),
        quarantined_segments: info.segments.2,
        erase_count_max: info.erase_counts.1,
        scrub: operator.storage.scrub(),
    }
}

/// What needs somebody, the worst first.
fn alerts(mail: &MailView, volume: &VolumeView, hops: &[HopStatus], clock_trusted: bool) -> Vec<Alert> {
    let mut alerts = Vec::new();
    let mut add = |severity, code: &str, message: String, help: &str| {
        let what = ErrorBody { code: code.to_owned(), message, help: help.to_owned() };
        alerts.push(Alert { severity, what });
    };
    match volume.health {
        Health::ReadOnly => add(
            Severity::Critical,
            "PS-D201",
            format!("A write to {} failed: mail is answered with 4xx and none is released.", volume.path),
            "Check the disk; the daemon tries again every 30 s by itself.",
        ),
        Health::Full => add(
            Severity::Critical,
            "PS-D260",
            "The volume is full: mail is answered with 4xx.".to_owned(),
            "Get the next hop to take mail, or remove some with `penstock remove`.",
        ),
        Health::Good => {}
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
        if hop.state.trouble().is_some() {
            let said = hop.last_reply.map(|reply| format!(": {reply}")).unwrap_or_default();
            let message = format!("The next hop {} is {}{said}.", hop.name, hop.state.as_str());
            add(Severity::Warning, "PS-D232", message, hop.advice.unwrap_or_default());
        }
    }
    if mail.held > 0 {
        add(
            Severity::Warning,
            "PS-D230",
            format!("{} messages are held for you.", mail.held),
            "`penstock queue --state held` names them; `penstock release ID` or `penstock remove ID` ends it.",
        );
    }
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
                "{} parts of the volume cannot be trusted and are left alone.",
                volume.quarantined_segments
            ),
            "Plan to replace the disk.",
        );
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
    alerts
}
