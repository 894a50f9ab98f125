//! `penstock status`: the questions of two in the morning, answered in a few lines.

use std::io::Write;

use penstock_daemon::control::recipients::{PolicyView, ValidationEntry};
use penstock_daemon::control::types::{
    Alert, Health, HopView, ListenerView, MailView, Mode, ModeView, Progress, Severity, Status, ThroughView,
    VolumeView,
};

use penstock_daemon::control::volume::ScrubView;

use super::{canary, update, write_json};
use crate::client::Client;
use crate::failure::Failure;
use crate::text::human::{count, counted, near_moment, plain, since, size, span, wait};
use crate::text::{Screen, Style, wrap};

/// A question's name and the answer.
struct Fact {
    label: &'static str,
    style: Option<Style>,
    lines: Vec<String>,
}

impl Fact {
    fn new(label: &'static str, style: Option<Style>, first: impl Into<String>) -> Self {
        Self { label, style, lines: vec![first.into()] }
    }
}

/// Warnings that the facts tell in their own place: mail set aside, a next hop that takes none, the clock.
const TOLD_BY_FACTS: [&str; 3] = ["PS-D230", "PS-D232", "PS-D261"];

/// How far the answers stand from the left.
const INDENT: usize = 10;

pub(super) async fn run(client: &Client, json: bool, screen: &mut Screen) -> Result<(), Failure> {
    let status = client.status().await?;
    if json {
        return write_json(&status, screen);
    }
    let title = format!(
        "{}, Penstock {}, up {}",
        plain(&status.hostname),
        plain(&status.version),
        span(status.uptime_ms)
    );
    writeln!(screen, "{}\n", screen.paint(Style::Heading, &title))?;
    for fact in facts(&status) {
        write_fact(&fact, screen)?;
    }
    if let Some(line) = update::short() {
        write_fact(&Fact::new("Box", None, plain(&line)), screen)?;
    }
    Ok(())
}

fn write_fact(fact: &Fact, screen: &mut Screen) -> Result<(), Failure> {
    let mut label = fact.label;
    for (n, line) in fact.lines.iter().enumerate() {
        for piece in wrap(line, screen.width().map(|width| width.saturating_sub(INDENT))) {
            let text = match fact.style {
                Some(style) if n == 0 => screen.paint(style, piece),
                _ => piece.to_owned(),
            };
            let painted = screen.paint(Style::Heading, label);
            writeln!(screen, "{painted}{:1$}{text}", "", INDENT.saturating_sub(label.len()))?;
            label = "";
        }
    }
    Ok(())
}

fn facts(status: &Status) -> Vec<Fact> {
    let now = status.now_unix_ms;
    let mut facts = Vec::new();
    let told = |alert: &&Alert| {
        alert.severity == Severity::Warning && TOLD_BY_FACTS.contains(&alert.what.code.as_str())
    };
    for alert in status.alerts.iter().filter(|alert| !told(alert)) {
        let (label, style) = match alert.severity {
            Severity::Critical => ("Critical", Style::Bad),
            Severity::Warning => ("Warning", Style::Warning),
        };
        let mut fact = Fact::new(label, Some(style), plain(&alert.what.to_string()));
        if !alert.what.help.is_empty() {
            fact.lines.push(plain(&alert.what.help));
        }
        facts.push(fact);
    }
    facts.push(mail(&status.mail, &status.volumes, now));
    let still = still(status).unwrap_or_default();
    for hop in &status.hops {
        let mut fact = next_hop(hop, still, now);
        let told = |trouble: &&str| status.alerts.iter().any(|alert| alert.what.message.contains(*trouble));
        fact.lines.extend(hop.proof.trouble.as_deref().filter(|trouble| !told(trouble)).map(plain));
        facts.push(fact);
    }
    facts.push(senders(&status.through));
    facts.extend(unknown(&status.recipients));
    facts.push(release(&status.mode, still, now));
    facts.extend(done(&status.progress));
    facts.push(clients(&status.listener));
    facts.extend(status.volumes.iter().map(|volume| room(volume, now)));
    if !status.clock_trusted {
        let text = "not known to be right: nothing expires, and a hold does not end by itself";
        facts.push(Fact::new("Clock", Some(Style::Warning), text));
    }
    facts
}

/// Why nothing moves, if something should: when the operator stopped it, or there is nothing, that is told already.
fn still(status: &Status) -> Option<&str> {
    let moves = matches!(status.mode.mode, Mode::Auto | Mode::Drain);
    status.progress.still.as_deref().filter(|_| moves && status.progress.left_messages > 0)
}

/// Is the mail safe, and how much is there?
fn mail(mail: &MailView, volumes: &[VolumeView], now: u64) -> Fact {
    let mut fact = if mail.messages == 0 {
        Fact::new("Mail", Some(Style::Good), "none is waiting")
    } else if mail.damaged > 0 {
        let text = format!(
            "{} of {} damaged on flash and not given out; the others are safe",
            count(mail.damaged),
            counted(mail.messages, "message")
        );
        Fact::new("Mail", Some(Style::Bad), text)
    } else {
        let what = counted(mail.messages, "message");
        Fact::new("Mail", Some(Style::Good), format!("safe: {what}, {}", size(mail.bytes)))
    };
    let away = volumes.iter().filter(|volume| !matches!(volume.health, Health::Good | Health::Full));
    for volume in away.filter(|volume| volume.live_bytes > 0) {
        fact.style = Some(Style::Warning);
        fact.lines.push(format!("what is on the {} waits until that can be used again", plain(&volume.name)));
    }
    if let Some(oldest) = mail.oldest_unix_ms {
        fact.lines[0] += &format!(", the oldest from {} ago", since(now, oldest));
    }
    if !volumes.iter().any(|volume| volume.takes_mail && volume.health == Health::Good) {
        fact.style = Some(Style::Bad);
        fact.lines.push("no new mail is taken: senders are told to come back later".into());
    }
    if mail.held > 0 {
        let held = counted(mail.held, "message");
        fact.lines.push(format!("{held} set aside for you to decide: penstock quarantine list"));
    }
    fact.lines.push(format!(
        "{} taken and {} handed on since the start",
        count(mail.accepted),
        count(mail.delivered)
    ));
    fact
}

/// What does the mail server say, and since when?
fn next_hop(hop: &HopView, still: &str, now: u64) -> Fact {
    let style = if hop.takes_mail { Style::Good } else { Style::Bad };
    let (name, address, state) = (plain(&hop.name), plain(&hop.address), plain(&hop.state));
    let first = match hop.since_unix_ms {
        Some(then) => format!("{name} ({address}) has been {state} for {}", since(now, then)),
        None => format!("{name} ({address}) is {state}"),
    };
    let mut fact = Fact::new("Next hop", Some(style), first);
    if let Some(cause) = &hop.cause {
        fact.lines.push(format!("has to prove itself before it gets mail: {}", plain(cause)));
    }
    if let Some(proof) = &hop.proving {
        fact.lines.push(format!("{} of {} canaries have arrived since", proof.arrived, proof.needed));
    }
    if let Some(reply) = &hop.last_reply {
        fact.lines.push(format!("last trouble: {}", plain(reply)));
    }
    if let Some(ms) = hop.next_probe_in_ms {
        fact.lines.push(format!("tried again in {}", wait(ms)));
    }
    fact.lines.extend(canary::known(&hop.proof));
    // The sentence about why nothing moves mostly ends with the same advice.
    if let Some(advice) = hop.advice.as_deref().filter(|advice| !still.contains(advice)) {
        fact.lines.push(plain(advice));
    }
    fact
}

/// What are senders told, and when?
fn senders(through: &ThroughView) -> Fact {
    let mut fact = match &through.why_not {
        None if through.on => Fact::new("Senders", None, "are told what the next hop says of their mail"),
        why => {
            let why = why.as_deref().map(|why| format!(": {}", plain(why))).unwrap_or_default();
            Fact::new("Senders", None, format!("are told 250 as soon as their mail is safe{why}"))
        }
    };
    if through.refused > 0 {
        let refused = counted(through.refused, "message");
        fact.lines.push(format!("{refused} refused by it since the start, of which they were told"));
    }
    fact
}

/// What becomes of mail for unknown recipients? A server that decides itself is worth a line only where it does not.
fn unknown(policy: &PolicyView) -> Option<Fact> {
    let takes_all = |entry: &&ValidationEntry| entry.validates == Some(false);
    let takes_all: Vec<String> =
        policy.validation.iter().filter(takes_all).map(|entry| plain(&entry.hop)).collect();
    if policy.decides != "next_hop" {
        let is_told = !policy.unknown.is_empty() && policy.decides != "not_known_yet";
        return is_told.then(|| Fact::new("Unknown", None, plain(&policy.unknown)));
    }
    let hop = takes_all.first()?;
    Some(Fact::new(
        "Unknown",
        None,
        format!("{hop} takes mail for every name: its 250 says nothing of recipients"),
    ))
}

/// What is being done about it, and who wanted that?
fn release(view: &ModeView, still: &str, now: u64) -> Fact {
    let (style, mut first) = match view.mode {
        Mode::Auto => (None, "auto: mail goes as the next hop takes it".to_owned()),
        Mode::Hold { until_unix_ms: None } => (Some(Style::Warning), "on hold: no mail goes".to_owned()),
        Mode::Hold { until_unix_ms: Some(until) } => {
            let left = wait(until.saturating_sub(now));
            let when = near_moment(now, until);
            (Some(Style::Warning), format!("on hold until {when} (for another {left}): no mail goes"))
        }
        Mode::Drain => (Some(Style::Warning), "draining: mail goes as fast as the limits allow".to_owned()),
        Mode::Stop => (Some(Style::Warning), "stopped: nothing is done, not even a try".to_owned()),
    };
    if let Some(by) = &view.by {
        first += &format!("; set by {}", plain(by));
        if let Some(then) = view.since_unix_ms {
            first += &format!(" {} ago", since(now, then));
        }
    }
    let mut fact = Fact::new("Release", style, first);
    if let Some(reason) = &view.reason {
        fact.lines.push(format!("because: {}", plain(reason)));
    }
    if !still.is_empty() {
        fact.lines.push(plain(still));
    }
    fact
}

/// When will it be done?
fn done(progress: &Progress) -> Option<Fact> {
    if progress.left_messages == 0 {
        return None;
    }
    let left =
        format!("{} ({}) to go", counted(progress.left_messages, "message"), size(progress.left_bytes));
    let text = match progress.estimate {
        None => format!("{left}; how long is not known while none goes"),
        Some(estimate) => {
            let (least, most) = (wait(estimate.earliest_in_s * 1000), wait(estimate.latest_in_s * 1000));
            let rate = counted(progress.messages_per_minute.into(), "message");
            let when = if least == most { format!("in {least}") } else { format!("in {least} to {most}") };
            format!("{when}: {left}, {rate} ({}) a minute", size(progress.bytes_per_minute))
        }
    };
    Some(Fact::new("Done", None, text))
}

/// How much room is left, and for how long?
fn room(volume: &VolumeView, now: u64) -> Fact {
    let style = match volume.health {
        Health::Good => None,
        _ => Some(Style::Bad),
    };
    // Nothing is known of a volume that was never mounted.
    let mut first = if matches!(volume.health, Health::Absent | Health::OtherVersion) {
        format!("none on the {} ({}), which cannot be used", plain(&volume.name), plain(&volume.path))
    } else {
        format!(
            "{} free of {} on the {}",
            size(volume.free_bytes),
            size(volume.capacity_bytes),
            plain(&volume.name)
        )
    };
    if let (Some(rate), Some(s)) = (volume.inflow_bytes_per_day, volume.full_in_s) {
        first += &format!(": enough for {} at today's rate ({} a day)", span(s * 1000), size(rate));
    }
    let mut fact = Fact::new("Room", style, first);
    if volume.name != "disk" && volume.takes_mail {
        fact.lines.push("new mail goes here, up to 4 MiB a message".into());
    }
    if let Some(why) = &volume.why {
        fact.lines.push(plain(why));
    }
    if volume.kept_bytes > 0 {
        fact.lines.push(format!(
            "{} of what is free still holds delivered mail, which could be replayed",
            size(volume.kept_bytes)
        ));
    }
    fact.lines.extend(checked(&volume.scrub, now));
    fact
}

/// Who brings mail?
fn clients(listener: &ListenerView) -> Fact {
    let sessions = counted(listener.sessions.into(), "session");
    let mut first = format!("{sessions} of {}", count(listener.sessions_max.into()));
    if listener.sources > 0 {
        first += &format!(", from {}", counted(listener.sources.into(), "source"));
    }
    let mut fact = Fact::new("Clients", None, first);
    if let Some(short_of) = &listener.short_of {
        fact.style = Some(Style::Bad);
        fact.lines.push(format!("the machine runs short of {}: idle sessions end", plain(short_of)));
    }
    if listener.sources_at_limits > 0 {
        let sources = counted(listener.sources_at_limits.into(), "source");
        fact.lines.push(format!("{sources} came to a limit within the last minute: penstock clients"));
    }
    fact
}

/// When was all of it last read?
fn checked(scrub: &ScrubView, now: u64) -> Option<String> {
    if let Some(run) = &scrub.running {
        let percent =
            (u128::from(run.done_bytes) * 100).checked_div(u128::from(run.total_bytes)).unwrap_or(100);
        let left = run.left_in_s.map_or(String::new(), |s| format!(", {} left", wait(s * 1000)));
        return Some(format!("being read and checked: {percent} %{left}"));
    }
    let last = scrub.last.as_ref().filter(|last| last.complete)?;
    let when = last.ended_unix_ms.map(|then| format!("{} ago", since(now, then)));
    let found = last.found.flaws().map_or_else(|| "all as it was written".to_owned(), |flaws| plain(&flaws));
    Some(format!("last read and checked {}: {found}", when.as_deref().unwrap_or("at a time not known")))
}
