//! `penstock clients`: who connects, and who came to which limit.

use std::io::Write;

use penstock_daemon::control::clients::{ClientView, ClientsFilter, ClientsPage};

use super::write_json;
use crate::client::Client;
use crate::failure::Failure;
use crate::text::human::{count, counted, plain, size, span};
use crate::text::{Cell, Column, Screen, Style, Table};

pub(super) async fn run(
    client: &Client,
    filter: ClientsFilter,
    json: bool,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let page = client.clients(filter).await?;
    if json {
        return write_json(&page, screen);
    }
    let sessions = counted(page.sessions.into(), "session");
    let sources = counted(page.sources.into(), "source");
    let title = format!("{sessions} of {} from {sources}", count(page.sessions_max.into()));
    writeln!(screen, "{}", screen.paint(Style::Heading, &title))?;
    for (style, line) in notes(&page) {
        match style {
            Some(style) => writeln!(screen, "{}", screen.paint(style, &line))?,
            None => writeln!(screen, "{line}")?,
        }
    }
    if !page.rows.is_empty() {
        writeln!(screen)?;
        table(&page.rows).write(screen)?;
    }
    Ok(())
}

/// What there is to say about all of them, with how it looks.
fn notes(page: &ClientsPage) -> Vec<(Option<Style>, String)> {
    let mut notes = vec![(
        None,
        format!(
            "since the start {}, {} refused, {} from networks that are not allowed, {} ended to make room",
            counted(page.connections, "connection"),
            count(page.refused),
            count(page.not_allowed),
            count(page.displaced)
        ),
    )];
    if let Some(short_of) = &page.short_of {
        let text = format!("the machine runs short of {}: idle sessions end", plain(short_of));
        notes.push((Some(Style::Bad), text));
    } else if page.busy {
        notes.push((Some(Style::Warning), "sessions run short: idle ones end sooner".into()));
    }
    if page.held_back > 0 {
        notes
            .push((None, format!("{} kept waiting for mistakes", counted(page.held_back.into(), "session"))));
    }
    if let Some(gateway) = &page.gateway {
        let text = format!(
            "nearly all connections come from {}: a filter in front belongs into listen.trusted_fronts",
            plain(gateway)
        );
        notes.push((Some(Style::Warning), text));
    }
    let descriptors = match page.descriptors_max {
        Some(max) => format!("{} of {} file descriptors open", count(page.descriptors), count(max)),
        None => format!("{} file descriptors open", count(page.descriptors)),
    };
    let memory = page.memory_free_bytes.map(|bytes| format!(", {} of memory free", size(bytes)));
    let reserved =
        format!(", {} of {} reserved for mail", size(page.reserved_bytes), size(page.reserved_bytes_max));
    notes.push((None, descriptors + &memory.unwrap_or_default() + &reserved));
    notes
}

fn table(rows: &[ClientView]) -> Table<9> {
    let mut table = Table::new([
        Column::left("SOURCE"),
        Column::right("SESSIONS"),
        Column::right("MSGS/MIN"),
        Column::right("RCPTS/MIN"),
        Column::right("ERRORS/MIN"),
        Column::right("ACCEPTED"),
        Column::right("REFUSED"),
        Column::right("SEEN"),
        Column::yielding("LIMITS"),
    ]);
    for row in rows {
        let limits = if row.trusted { "trusted front".into() } else { row.limits.join(", ") };
        let style = (!row.limits.is_empty()).then_some(Style::Warning);
        table.row([
            plain(&row.source).into(),
            count(row.sessions.into()).into(),
            count(row.messages_per_minute.into()).into(),
            count(row.recipients_per_minute.into()).into(),
            count(row.errors_per_minute.into()).into(),
            count(row.messages).into(),
            count(row.refused).into(),
            format!("{} ago", span(row.seen_ms_ago)).into(),
            Cell::styled(plain(&limits), style),
        ]);
    }
    table
}
