//! `penstock events`

use std::io::Write;

use penstock_daemon::control::types::{EventFilter, EventView};

use super::write_json;
use crate::client::Client;
use crate::failure::Failure;
use crate::text::human::{moment, plain};
use crate::text::{Column, Screen, Table};

pub(super) async fn run(
    client: &Client,
    filter: &EventFilter,
    json: bool,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let page = client.events(filter).await?;
    if json {
        return write_json(&page, screen);
    }
    if page.events.is_empty() {
        return Ok(writeln!(screen, "nothing")?);
    }
    event_table(&page.events, true).write(screen)?;
    if page.more {
        writeln!(screen, "\nolder ones are left off: --limit COUNT")?;
    }
    Ok(())
}

/// Events in order; with the message that each is about unless all are about the same.
pub(super) fn event_table(events: &[EventView], with_message: bool) -> Table<4> {
    let mut table = Table::new([
        Column::left("WHEN"),
        Column::left("WHAT"),
        Column::left(if with_message { "ID" } else { "" }),
        Column::left("DETAILS"),
    ]);
    for event in events {
        let when = moment(event.at_unix_ms);
        // A clock that was not trusted is shown with what is known of it: its boot.
        let when = if event.clock_trusted { when } else { format!("{when}? (boot {})", event.boot) };
        let message = event.message.filter(|_| with_message).map(|id| id.to_string()).unwrap_or_default();
        table.row([when.into(), plain(&event.kind).into(), message.into(), plain(&event.text).into()]);
    }
    table
}
