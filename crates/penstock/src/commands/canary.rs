//! `penstock canary`: whether mail reaches mailboxes.

use std::io::Write;

use penstock_daemon::control::types::{CanaryFilter, CanaryState, CanaryView, HopCanaries, ProofView};

use super::write_json;
use crate::client::Client;
use crate::failure::Failure;
use crate::text::human::{count, plain, span};
use crate::text::{Cell, Column, Screen, Style, Table};

pub(super) async fn run(
    client: &Client,
    filter: &CanaryFilter,
    json: bool,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let page = client.canaries(filter).await?;
    if json {
        return write_json(&page, screen);
    }
    for (n, hop) in page.hops.iter().enumerate() {
        if n > 0 {
            writeln!(screen)?;
        }
        write_hop(hop, screen)?;
    }
    Ok(())
}

fn write_hop(hop: &HopCanaries, screen: &mut Screen) -> Result<(), Failure> {
    let HopCanaries { hop: name, proof, canaries } = hop;
    writeln!(screen, "{}", screen.paint(Style::Heading, &plain(name)))?;
    if proof.probe_mailboxes == 0 {
        let text = "no canary is sent: next_hop.probe_mailboxes names none";
        return Ok(writeln!(screen, "{text}")?);
    }
    writeln!(
        screen,
        "{} taken and {} arrived since the start",
        count(proof.canaries_taken),
        count(proof.canaries_arrived)
    )?;
    if let Some(trouble) = &proof.trouble {
        writeln!(screen, "{}", screen.paint(Style::Warning, &plain(trouble)))?;
    }
    if canaries.is_empty() {
        return Ok(());
    }
    let mut table = Table::new([
        Column::right("SENT"),
        Column::left("WHAT"),
        Column::right("AFTER"),
        Column::left("MAILBOX"),
        Column::yielding("WHY"),
    ]);
    for canary in canaries {
        let CanaryView { mailbox, age_ms, state, sojourn_ms, why, .. } = canary;
        let style = match state {
            CanaryState::Arrived => Some(Style::Good),
            CanaryState::Going | CanaryState::Taken => None,
            CanaryState::Refused | CanaryState::Missing | CanaryState::Failed => Some(Style::Bad),
        };
        table.row([
            format!("{} ago", span(*age_ms)).into(),
            Cell::styled(state.as_str(), style),
            sojourn_ms.map(on_its_way).unwrap_or_default().into(),
            plain(mailbox).into(),
            why.as_deref().map(plain).unwrap_or_default().into(),
        ]);
    }
    Ok(table.write(screen)?)
}

/// What is known of the mail that a server took, for `status`.
pub(super) fn known(proof: &ProofView) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(ms) = proof.last_sojourn_ms {
        lines.push(format!("mail reaches mailboxes: the last canary to arrive took {}", on_its_way(ms)));
    }
    if let (Some(counters), Some(age_ms)) = (&proof.counters, proof.counters_age_ms) {
        let behind = counters.submission.unwrap_or(0).saturating_add(counters.active_mailbox.unwrap_or(0));
        let mut line = format!("{} wait in its queues", count(behind));
        if let Some(retry) = counters.retry_mailbox.filter(|retry| *retry > 0) {
            line += &format!(", {} for a database that does not take them", count(retry));
        }
        if let Some(poison) = counters.poison.filter(|poison| *poison > 0) {
            line += &format!(", {} are poison", count(poison));
        }
        lines.push(format!("{line} (read {} ago)", span(age_ms)));
    }
    lines
}

/// A time on the way: seconds, with a digit behind the point below ten.
fn on_its_way(ms: u64) -> String {
    if ms < 10_000 { format!("{}.{} s", ms / 1000, ms % 1000 / 100) } else { span(ms) }
}
