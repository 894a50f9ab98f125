//! `penstock queue`

use std::io::Write;

use penstock_daemon::control::MailId;
use penstock_daemon::control::types::{MailState, PAGE_ROWS_MAX, QueueFilter, QueuePage, QueueRow};

use super::write_json;
use crate::args::Queue;
use crate::client::Client;
use crate::failure::Failure;
use crate::text::human::{counted, plain, since, size, wait};
use crate::text::{Cell, Column, Screen, Style, Table};

pub(super) async fn run(client: &Client, asked: Queue, screen: &mut Screen) -> Result<(), Failure> {
    let mut left = if asked.all { u64::MAX } else { asked.limit };
    let mut filter = QueueFilter {
        state: asked.state.map(MailState::from),
        address: asked.address,
        from: asked.from,
        limit: 0,
    };
    let mut list: Box<dyn List> =
        if asked.daemon.json { Box::new(JsonList::default()) } else { Box::new(PeopleList::default()) };
    // Page by page, so that a million messages need no more memory than a thousand.
    loop {
        filter.limit = u32::try_from(left).unwrap_or(u32::MAX).min(PAGE_ROWS_MAX);
        let page = client.queue(&filter).await?;
        left = left.saturating_sub(page.rows.len() as u64);
        list.page(&page, screen)?;
        match page.next {
            Some(next) if left > 0 => filter.from = Some(next),
            _ => return list.end(&page, screen),
        }
    }
}

/// A way to write the queue.
trait List {
    fn page(&mut self, page: &QueuePage, screen: &mut Screen) -> Result<(), Failure>;
    fn end(&mut self, last: &QueuePage, screen: &mut Screen) -> Result<(), Failure>;
}

/// One object in the end, [`QueuePage`] with the rows of all pages.
#[derive(Default)]
struct JsonList {
    rows: u64,
}

impl List for JsonList {
    fn page(&mut self, page: &QueuePage, screen: &mut Screen) -> Result<(), Failure> {
        for row in &page.rows {
            screen.write_all(if self.rows == 0 { b"{\"rows\":[" } else { b"," })?;
            serde_json::to_writer(&mut *screen, row)?;
            self.rows += 1;
        }
        Ok(())
    }

    fn end(&mut self, last: &QueuePage, screen: &mut Screen) -> Result<(), Failure> {
        if self.rows == 0 {
            return write_json(&QueuePage { rows: Vec::new(), ..last.clone() }, screen);
        }
        let rest = Rest {
            now_unix_ms: last.now_unix_ms,
            next: last.next,
            messages: last.messages,
            bytes: last.bytes,
            unreachable: &last.unreachable,
        };
        let rest = serde_json::to_string(&rest)?;
        Ok(writeln!(screen, "],{}", rest.trim_start_matches('{'))?)
    }
}

/// A [`QueuePage`] without its rows.
#[derive(serde::Serialize)]
struct Rest<'a> {
    now_unix_ms: u64,
    next: Option<MailId>,
    messages: u64,
    bytes: u64,
    unreachable: &'a [String],
}

#[derive(Default)]
struct PeopleList {
    rows: u64,
}

impl List for PeopleList {
    fn page(&mut self, page: &QueuePage, screen: &mut Screen) -> Result<(), Failure> {
        if page.rows.is_empty() {
            return Ok(());
        }
        self.rows += page.rows.len() as u64;
        let mut table = Table::new([
            Column::left("ID"),
            Column::left("STATE"),
            Column::right("AGE"),
            Column::right("SIZE"),
            Column::right("TRIES"),
            Column::yielding("FROM"),
            Column::yielding("TO"),
            Column::yielding("NEXT"),
        ]);
        for row in &page.rows {
            table.row(cells(row, page.now_unix_ms));
        }
        Ok(table.write(screen)?)
    }

    fn end(&mut self, last: &QueuePage, screen: &mut Screen) -> Result<(), Failure> {
        if self.rows > 0 {
            writeln!(screen)?;
        }
        let shown = if self.rows == last.messages { String::new() } else { format!("{} shown; ", self.rows) };
        writeln!(screen, "{shown}{} unfinished, {}", counted(last.messages, "message"), size(last.bytes))?;
        for volume in &last.unreachable {
            writeln!(screen, "what is on the {} is not among them: it does not answer", plain(volume))?;
        }
        if let Some(next) = last.next {
            writeln!(screen, "more: --from {next}, or --all")?;
        }
        Ok(())
    }
}

fn cells(row: &QueueRow, now_unix_ms: u64) -> [Cell; 8] {
    let unknown = || "?".to_owned();
    let style = match row.state {
        MailState::Held => Some(Style::Warning),
        MailState::Damaged => Some(Style::Bad),
        MailState::Kept => Some(Style::Faint),
        MailState::Queued | MailState::InFlight | MailState::Deferred => None,
    };
    let next = match (&row.next_attempt_in_ms, &row.last_reply) {
        (Some(ms), Some(reply)) => format!("in {}: {}", wait(*ms), plain(reply)),
        (Some(ms), None) => format!("in {}", wait(*ms)),
        (None, Some(reply)) => plain(reply),
        (None, None) => String::new(),
    };
    [
        row.id.to_string().into(),
        Cell::styled(row.state.as_str(), style),
        row.received_unix_ms.map_or_else(unknown, |then| since(now_unix_ms, then)).into(),
        size(row.size_bytes).into(),
        row.attempts.to_string().into(),
        row.sender.as_deref().map_or_else(unknown, sender).into(),
        recipients(row).unwrap_or_else(unknown).into(),
        next.into(),
    ]
}

/// The null sender is written as SMTP has it.
pub(super) fn sender(address: &str) -> String {
    if address.is_empty() { "<>".into() } else { plain(address) }
}

/// The first of them, and how many more.
fn recipients(row: &QueueRow) -> Option<String> {
    let first = plain(row.recipient.as_deref()?);
    // What is done is no longer to be told, unless all of it is.
    let concerned = if row.open_recipients > 0 { row.open_recipients } else { row.recipients };
    Some(match concerned.saturating_sub(1) {
        0 => first,
        more => format!("{first} +{more}"),
    })
}
