//! `penstock show`

use std::io::Write;

use penstock_daemon::control::MailId;
use penstock_daemon::control::types::MessageView;

use super::events::event_table;
use super::queue::sender;
use super::write_json;
use crate::client::Client;
use crate::failure::Failure;
use crate::text::human::{count, moment, plain, since, size, wait};
use crate::text::{Cell, Column, Screen, Style, Table};

pub(super) async fn run(client: &Client, id: MailId, json: bool, screen: &mut Screen) -> Result<(), Failure> {
    let view = client.show(id).await?;
    if json {
        return write_json(&view, screen);
    }
    for (label, text) in lines(&view) {
        let label = screen.paint(Style::Heading, &format!("{label:12}"));
        writeln!(screen, "{label}{text}")?;
    }
    writeln!(screen)?;
    let mut recipients =
        Table::new([Column::yielding("RECIPIENT"), Column::left("FATE"), Column::left("PARAMETERS")]);
    for recipient in &view.recipient_list {
        let style = match recipient.fate.as_str() {
            "delivered" => Some(Style::Good),
            "held" => Some(Style::Warning),
            _ => None,
        };
        recipients.row([
            plain(&recipient.address).into(),
            Cell::styled(plain(&recipient.fate), style),
            plain(&recipient.parameters).into(),
        ]);
    }
    recipients.write(screen)?;
    if !view.events.is_empty() {
        writeln!(screen)?;
        event_table(&view.events, false).write(screen)?;
    }
    Ok(())
}

/// All but the lists.
fn lines(view: &MessageView) -> Vec<(&'static str, String)> {
    let row = &view.row;
    let unknown = || "not readable".to_owned();
    let mut lines = vec![("Message", format!("{}, {}", row.id, row.state.as_str()))];
    let mut received = row.received_unix_ms.map_or_else(
        || "at a time not known".to_owned(),
        |then| format!("{} ({} ago)", moment(then), since(view.now_unix_ms, then)),
    );
    if let Some(client) = &view.client {
        received += &format!(" from {}", plain(client));
    }
    if let Some(helo) = &view.helo {
        received += &format!(" as {}", plain(helo));
    }
    received += if view.tls { ", encrypted" } else { ", not encrypted" };
    if view.events.iter().any(|event| event.kind == "rescued") {
        received += ", by the rescue";
    }
    lines.push(("Received", received));
    lines.push(("Sender", row.sender.as_deref().map_or_else(unknown, sender)));
    lines.push(("Size", format!("{} ({} bytes)", size(row.size_bytes), count(row.size_bytes))));
    lines.push(("SHA-256", view.sha256.as_deref().map_or_else(unknown, plain)));
    if !view.parameters.is_empty() {
        lines.push(("Parameters", plain(&view.parameters)));
    }
    let mut attempts = row.attempts.to_string();
    if let Some(ms) = row.next_attempt_in_ms {
        attempts += &format!(", the next in {}", wait(ms));
    }
    lines.push(("Attempts", attempts));
    if let Some(reply) = &row.last_reply {
        lines.push(("Last answer", plain(reply)));
    }
    lines
}
