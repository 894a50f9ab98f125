//! `penstock recipients`

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use bytes::Bytes;
use penstock_daemon::control::Store;
use penstock_daemon::control::recipients::{
    CheckedRecipient, FILE_BYTES_MAX, FoundRecipient, ImportedView, ListView, RecipientsView,
};

use super::{acted, write_json};
use crate::args::Recipients;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::text::human::{count, counted, moment, plain, since};
use crate::text::progress::Progress;
use crate::text::{Column, Screen, Style, Table};

/// How much is sent at a time, in bytes.
const PIECE_BYTES: usize = 64 * 1024;
/// Domains that are listed.
const DOMAINS_LISTED: usize = 20;

pub(super) async fn run(
    client: &Client,
    what: Recipients,
    json: bool,
    screen: &mut Screen,
) -> Result<(), Failure> {
    match what {
        Recipients::Import { file, dry_run, .. } => import(client, &file, dry_run, json, screen).await,
        Recipients::Status { .. } => {
            let view = client.recipients().await?;
            if json { write_json(&view, screen) } else { status(&view, screen) }
        }
        Recipients::Find { address, .. } => {
            let found = client.find_recipient(address).await?;
            if json { write_json(&found, screen) } else { tell_found(&found, screen) }
        }
        Recipients::Check { address, .. } => {
            let checked = client.check_recipient(address).await?;
            if json { write_json(&checked, screen) } else { tell_checked(&checked, screen) }
        }
        Recipients::Reload { believe, .. } => {
            let view = client.reload_recipients(believe).await?;
            if json { write_json(&view, screen) } else { status(&view, screen) }
        }
        Recipients::Clear { .. } => acted(&client.clear_recipients().await?, json, screen),
    }
}

async fn import(
    client: &Client,
    path: &Path,
    dry_run: bool,
    json: bool,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let file = Bytes::from(read(path)?);
    let mut progress = Progress::new("importing", json);
    let mut done_bytes = 0;
    let next = || {
        let piece = file.slice(done_bytes..(done_bytes + PIECE_BYTES).min(file.len()));
        done_bytes += piece.len();
        progress.at(done_bytes as u64, file.len() as u64);
        (!piece.is_empty()).then_some(piece)
    };
    let imported = client.import_recipients(dry_run, next).await?;
    drop(progress);
    if json { write_json(&imported, screen) } else { report(&imported, screen) }
}

/// The whole file: of one that can be read only in part nothing must be imported.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |error: io::Error| Failure::file(path, "read", &error);
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(unreadable)?)
    };
    let mut bytes = Vec::new();
    source.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Failure::new(
            Exit::Failed,
            "PS-D317",
            format!(
                "{} is larger than {} MiB: it is no list of recipients",
                path.display(),
                FILE_BYTES_MAX >> 20
            ),
            "",
        ));
    }
    Ok(bytes)
}

/// What was made of a file.
fn report(imported: &ImportedView, screen: &mut Screen) -> Result<(), Failure> {
    let verdict =
        if imported.kept { "The list counts from now on." } else { "Nothing was changed: a dry run." };
    writeln!(screen, "{} read. {verdict}", counted(imported.lines, "line"))?;
    for skipped in &imported.skipped {
        writeln!(
            screen,
            "passed over: {} {}, the first in line {}",
            count(skipped.count),
            plain(&skipped.why),
            count(skipped.first_line)
        )?;
    }
    writeln!(screen)?;
    status(&imported.view, screen)
}

fn status(view: &RecipientsView, screen: &mut Screen) -> Result<(), Failure> {
    match &view.list {
        Some(list) => {
            let when = moment(list.imported_unix_ms);
            let when = if list.clock_trusted {
                format!("{when} ({} ago)", since(view.now_unix_ms, list.imported_unix_ms))
            } else {
                format!("{when}? (the clock was not trusted)")
            };
            writeln!(screen, "{}{when} by {}", label("List", screen), plain(&list.by))?;
            let on = match view.volumes.as_slice() {
                [] => "nowhere yet".to_owned(),
                volumes => volumes.iter().map(|store| name(*store)).collect::<Vec<_>>().join(" and "),
            };
            writeln!(screen, "{}{on}", label("Kept", screen))?;
            lists(list, screen)?;
        }
        None if view.unreadable => writeln!(
            screen,
            "There is a list of recipients, but no volume that is here gives it out: none counts. If no volume is \
             away, import it again."
        )?,
        None => {
            writeln!(screen, "There is no list of recipients. `penstock recipients import FILE` gives one.")?;
        }
    }
    judging(view, screen)?;
    for warning in &view.warnings {
        let warning = plain(warning);
        writeln!(screen, "{}", screen.paint(Style::Warning, &warning))?;
    }
    Ok(())
}

/// What becomes of mail for those who are not on the list, and what that goes by.
fn judging(view: &RecipientsView, screen: &mut Screen) -> Result<(), Failure> {
    let now = view.now_unix_ms;
    if let Some(source) = &view.source {
        let when = source.read_unix_ms.map(|then| format!(", last {} ago", since(now, then)));
        let (place, when) = (plain(&source.place), when.unwrap_or_default());
        writeln!(screen, "\n{}by itself from {place}{when}", label("Read", screen))?;
        writeln!(screen, "{:12}{}", "", plain(&source.last))?;
        if let Some(trouble) = &source.trouble {
            let told = plain(&trouble.to_string());
            writeln!(screen, "{:12}{}", "", screen.paint(Style::Warning, &told))?;
            writeln!(screen, "{:12}{}", "", plain(&trouble.help))?;
        }
    }
    let policy = &view.policy;
    if policy.unknown.is_empty() {
        return Ok(());
    }
    writeln!(screen, "\n{}{}", label("Unknown", screen), plain(&policy.unknown))?;
    if let Some(then) = policy.away_since_unix_ms {
        writeln!(screen, "{:12}no next hop has been there for {}", "", since(now, then))?;
    }
    if let Some(then) = policy.in_step_unix_ms {
        let fresh = if policy.in_step { "in step" } else { "not in step any more" };
        writeln!(screen, "{:12}the list is {fresh}: as of {} ago", "", since(now, then))?;
    }
    for entry in &policy.validation {
        let when = entry.found_unix_ms.map(|then| format!(", found out {} ago", since(now, then)));
        writeln!(
            screen,
            "{:12}{} {}{}: {}",
            "",
            plain(&entry.hop),
            plain(&entry.words),
            when.unwrap_or_default(),
            plain(&entry.domain)
        )?;
    }
    Ok(())
}

fn name(store: Store) -> &'static str {
    match store {
        Store::Disk => "on the disk",
        Store::Nor => "in the NOR flash",
    }
}

fn label(text: &str, screen: &Screen) -> String {
    screen.paint(Style::Heading, &format!("{text:12}"))
}

fn lists(list: &ListView, screen: &mut Screen) -> Result<(), Failure> {
    let recipients = counted(list.recipients, "recipient");
    writeln!(screen, "{}{recipients}, {} addresses\n", label("Known", screen), count(list.addresses))?;
    let mut databases = Table::new([Column::left("DATABASE"), Column::right("ADDRESSES")]);
    for database in &list.databases {
        databases.row([plain(&database.name).into(), count(database.addresses).into()]);
    }
    if list.without_database > 0 {
        databases.row(["(none)".to_owned().into(), count(list.without_database).into()]);
    }
    databases.write(screen)?;
    writeln!(screen)?;
    let mut domains = Table::new([Column::left("DOMAIN"), Column::right("ADDRESSES"), Column::left("")]);
    for domain in list.domains.iter().take(DOMAINS_LISTED) {
        let note = if domain.accepted { "" } else { "mail for it is not taken here" };
        domains.row([plain(&domain.name).into(), count(domain.addresses).into(), note.to_owned().into()]);
    }
    let listed: u64 = list.domains.iter().take(DOMAINS_LISTED).map(|domain| domain.addresses).sum();
    if list.addresses > listed {
        domains.row([
            "(others)".to_owned().into(),
            count(list.addresses - listed).into(),
            String::new().into(),
        ]);
    }
    Ok(domains.write(screen)?)
}

fn tell_found(found: &FoundRecipient, screen: &mut Screen) -> Result<(), Failure> {
    let address = plain(&found.address);
    let line = match (found.known, &found.database) {
        (None, _) => "there is no list of recipients".to_owned(),
        (Some(false), _) => format!("{address} is not on the list"),
        (Some(true), database) => {
            let how = if found.without_tag { " without its subaddress" } else { "" };
            let place = match database {
                Some(name) => format!("in the database {}", plain(name)),
                None => "in no database".to_owned(),
            };
            format!("{address} is on the list{how}, {place}")
        }
    };
    Ok(writeln!(screen, "{line}")?)
}

fn tell_checked(checked: &CheckedRecipient, screen: &mut Screen) -> Result<(), Failure> {
    let what = match checked.answer.as_str() {
        "take" => "would be taken",
        "later" => "would be put off",
        _ => "would be refused",
    };
    writeln!(screen, "{} {what}: {}", plain(&checked.address), plain(&checked.reply))?;
    for sentence in &checked.why {
        writeln!(screen, "{}", plain(sentence))?;
    }
    Ok(())
}
