//! `penstock top`: how things stand, as it changes.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use penstock_daemon::control::types::{Health, Mode, ProofView, Status};

use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::text::Screen;
use crate::text::human::{count, plain, since, size, span, wait};
use crate::text::keys::{CTRL_C, CTRL_L, Keys};
use crate::text::picture::Picture;

/// Columns of a terminal that does not say how many it has, as a serial line.
pub(super) const COLUMNS: usize = 79;
/// Next hops that are shown.
const HOPS_SHOWN: usize = 6;
/// Alerts that are shown.
const ALERTS_SHOWN: usize = 3;

/// What two looks at the box make of it.
struct Look {
    status: Status,
    at: Instant,
}

pub(super) async fn run(client: &Client, interval: Duration, screen: &mut Screen) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !screen.is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            "PS-D330",
            "`top` needs a terminal",
            "For programs there are `status --json` and the figures for Prometheus.",
        ));
    }
    let columns = screen.width().unwrap_or(COLUMNS).saturating_sub(1).max(20);
    let keys = Keys::take();
    let mut picture = Picture::default();
    let mut before: Option<Look> = None;
    loop {
        let began = Instant::now();
        let lines = match client.status().await {
            Ok(status) => {
                let look = Look { status, at: Instant::now() };
                let lines = lines(&look, before.as_ref());
                before = Some(look);
                lines
            }
            Err(Failure::Told(Exit::Unreachable, why)) => {
                vec![plain(&why.message), "It is looked for again; q leaves.".into()]
            }
            Err(failure) => return Err(failure),
        };
        screen.write_all(picture.turn_into(&lines, columns).as_bytes())?;
        screen.flush()?;
        loop {
            match keys.next(interval.saturating_sub(began.elapsed())) {
                Some(b'q' | b'Q' | CTRL_C) => {
                    writeln!(screen)?;
                    return Ok(());
                }
                Some(CTRL_L) => {
                    picture.forget();
                    break;
                }
                Some(_) => {}
                None => break,
            }
        }
    }
}

fn lines(now: &Look, before: Option<&Look>) -> Vec<String> {
    let status = &now.status;
    let per_minute = |figure: fn(&Status) -> u64| -> Option<u64> {
        let before = before?;
        let ms = now.at.duration_since(before.at).as_millis().max(1);
        // A service that was started again counts anew.
        let more = figure(status).checked_sub(figure(&before.status))?;
        Some((u128::from(more) * 60_000 / ms) as u64)
    };
    let rate = |figure: fn(&Status) -> u64| per_minute(figure).map_or_else(|| "-".into(), count);
    let mail = &status.mail;
    let progress = &status.progress;
    let mut lines = vec![
        format!("{}   up {}   q leaves", plain(&status.hostname), span(status.uptime_ms)),
        String::new(),
        format!(
            "Accepted  {:>10}   {:>7} a minute   {} of {} sessions",
            count(mail.accepted),
            rate(|status| status.mail.accepted),
            status.listener.sessions,
            status.listener.sessions_max
        ),
        format!("Queued    {:>10}   {:>10}{}", count(mail.messages), size(mail.bytes), waiting(status)),
        format!(
            "Released  {:>10}   {:>7} a minute   {} under way",
            count(mail.delivered),
            rate(|status| status.mail.delivered),
            progress.in_flight
        ),
        format!("Release   {}", mode(status)),
    ];
    lines.extend(hops(status));
    lines.push(format!("Done      {}", done(status)));
    for volume in &status.volumes {
        let health = match volume.health {
            Health::Good => "",
            Health::Full => ", FULL",
            Health::ReadOnly => ", A WRITE FAILED",
            Health::Absent => ", MISSING",
            Health::OtherVersion => ", OF ANOTHER VERSION",
            Health::Stalled => ", DOES NOT ANSWER",
        };
        let (free, all) = (size(volume.free_bytes), size(volume.capacity_bytes));
        lines.push(format!("Room      {free} free of {all} on the {}{health}", plain(&volume.name)));
    }
    for alert in status.alerts.iter().take(ALERTS_SHOWN) {
        lines.push(format!("!         {}", plain(&alert.what.to_string())));
    }
    lines
}

/// What is known of the mail that a hop took.
fn proof(proof: &ProofView) -> String {
    let grade = if proof.grade.is_empty() { String::new() } else { format!(", {}", plain(&proof.grade)) };
    match proof.last_sojourn_ms {
        Some(ms) => format!("{grade}, canary {}.{} s", ms / 1000, ms % 1000 / 100),
        None => grade,
    }
}

/// How each next hop stands, a line each.
pub(super) fn hops(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    for hop in status.hops.iter().take(HOPS_SHOWN) {
        let for_ = hop.since_unix_ms.map(|then| format!(" for {}", since(status.now_unix_ms, then)));
        let next = hop.next_probe_in_ms.map(|ms| format!(", tried in {}", wait(ms)));
        lines.push(format!(
            "Hop       {:<14} {}{}, {} sessions{}{}",
            plain(&hop.name),
            plain(&hop.state),
            for_.unwrap_or_default(),
            hop.connections,
            next.unwrap_or_default(),
            proof(&hop.proof)
        ));
        if let Some(cause) = &hop.cause {
            lines.push(format!("          has to prove itself: {}", plain(cause)));
        }
    }
    if status.hops.len() > HOPS_SHOWN {
        lines.push(format!("          and {} more", status.hops.len() - HOPS_SHOWN));
    }
    lines
}

fn waiting(status: &Status) -> String {
    let mail = &status.mail;
    let mut text = String::new();
    if mail.held > 0 {
        text += &format!("   {} set aside", count(mail.held));
    }
    if mail.damaged > 0 {
        text += &format!("   {} damaged", count(mail.damaged));
    }
    text
}

pub(super) fn mode(status: &Status) -> String {
    match status.mode.mode {
        Mode::Auto => "auto".into(),
        Mode::Hold { until_unix_ms: None } => "on hold".into(),
        Mode::Hold { until_unix_ms: Some(until) } => {
            format!("on hold for another {}", wait(until.saturating_sub(status.now_unix_ms)))
        }
        Mode::Drain => "draining".into(),
        Mode::Stop => "stopped".into(),
    }
}

pub(super) fn done(status: &Status) -> String {
    let progress = &status.progress;
    match (progress.left_messages, progress.estimate) {
        (0, _) => "nothing to go".into(),
        (_, Some(estimate)) => {
            let (least, most) = (wait(estimate.earliest_in_s * 1000), wait(estimate.latest_in_s * 1000));
            let rate = count(progress.messages_per_minute.into());
            if least == most {
                format!("in {least}, at {rate} a minute")
            } else {
                format!("in {least} to {most}, at {rate} a minute")
            }
        }
        (_, None) => progress.still.as_deref().map_or_else(|| "not known yet".into(), plain),
    }
}
