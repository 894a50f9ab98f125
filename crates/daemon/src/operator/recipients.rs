//! The list of recipients as the operator sees and changes it.

use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

use bytes::Bytes;
use penstock_settings::{MailAddress, Settings};
use penstock_spool::{Error as SpoolError, Event};
use tokio::sync::mpsc;
use tracing::warn;

use super::view::blocking;
use super::{Operator, judging, unavailable};
use crate::control::recipients::{
    DatabaseView, DomainView, FILE_BYTES_MAX, FoundRecipient, ImportedView, ListView, RecipientsView,
    SkippedView, Upload,
};
use crate::control::types::{ActionResult, ErrorBody};
use crate::control::{Kind as Fault, Refusal, Store, Who};
use crate::directory::{List, Mailbox, Mistakes, Read, Reading};
use crate::ledger::Kind;
use crate::storage::{Storage, Volumes};

/// Pieces of a file that wait for the thread that reads it.
const PIECES: usize = 4;

/// What the thread that reads is given.
enum Piece {
    Bytes(Bytes),
    /// That was all. Where this does not come, the file broke off.
    End,
}

pub(super) fn view(operator: &Operator) -> RecipientsView {
    let directory = &operator.directory;
    let list = directory.list();
    RecipientsView {
        now_unix_ms: operator.clock.stamp().unix_ms,
        warnings: list
            .as_deref()
            .map(|list| probe_warnings(list, probes(&operator.settings)))
            .unwrap_or_default(),
        list: list.map(|list| list_view(&list, &operator.settings)),
        unreadable: directory.is_unreadable(),
        volumes: directory.volumes(),
        policy: judging::view(operator),
        source: operator.sources.view(),
    }
}

/// Has the list read from where it is read by itself.
pub(super) async fn reload(operator: &Operator, believe: bool, who: &Who) -> Result<RecipientsView, Refusal> {
    if operator.policy.is_frozen() && !believe {
        return Err(Refusal::new(
            Fault::Conflict,
            "PS-D246",
            "the list is not read while no next hop is there: the directory may be as much away as the mail server",
            "`penstock recipients reload --believe` reads it all the same. Whom it names is then taken; who is refused \
             stays as it was when the outage began.",
        ));
    }
    match operator.sources.reload(believe, Some(&who.to_string())).await {
        Ok(Some(_)) => Ok(view(operator)),
        Ok(None) => Err(Refusal::new(
            Fault::Conflict,
            "PS-D246",
            "the list of recipients is read from nowhere by itself",
            "Set recipients.file or ldap.url, or use `penstock recipients import`.",
        )),
        Err(trouble) => {
            let ErrorBody { code, message, help } = trouble.body;
            Err(Refusal::new(Fault::Conflict, &code, message, help))
        }
    }
}

pub(super) fn find(operator: &Operator, address: String) -> FoundRecipient {
    let list = operator.directory.list();
    let entry = operator.directory.find(&address);
    let database = entry.and_then(|entry| list.as_deref()?.database(entry.database?));
    FoundRecipient {
        known: list.is_some().then_some(entry.is_some()),
        database: database.map(ToOwned::to_owned),
        without_tag: entry.is_some_and(|entry| entry.without_tag),
        address,
    }
}

pub(super) async fn import(
    operator: &Operator,
    mut upload: Upload,
    dry_run: bool,
    who: &Who,
) -> Result<ImportedView, Refusal> {
    let Some(_change) = operator.directory.try_change() else {
        // Who is still sending does not listen.
        let mut size_bytes = 0;
        while size_bytes <= FILE_BYTES_MAX
            && let Some(chunk) = upload.next_chunk().await?
        {
            size_bytes += chunk.len() as u64;
        }
        return Err(busy());
    };
    let read = match read(operator, upload, who).await? {
        Ok(read) => read,
        Err(mistakes) => {
            let refusal = wrong(&mistakes);
            if !dry_run {
                let what = &refusal.body.message;
                warn!(code = "PS-D295", %who, what, "a list of recipients was refused");
                let text = format!("refused, imported by {who}: {what}");
                record(&operator.volumes, Kind::Recipients.event(operator.clock.stamp(), None, text)).await;
            }
            return Err(refusal);
        }
    };
    let Read { list, lines, skipped, has_databases } = read;
    let view = list_view(&list, &operator.settings);
    let mut warnings = list_warnings(&view, has_databases);
    warnings.extend(probe_warnings(&list, probes(&operator.settings)));
    if !dry_run {
        let text = format!("imported by {who}: {}", summary(&view));
        replace(operator, Some(list), text).await?;
    }
    let volumes = if dry_run { Vec::new() } else { operator.directory.volumes() };
    let all = operator.volumes.all().map(Storage::store).filter(|_| !dry_run);
    warnings.extend(all.filter(|store| !volumes.contains(store)).map(|store| not_on(store).to_owned()));
    warnings.extend(operator.sources.view().map(|source| {
        format!(
            "The list is read from {} by itself: what is read there next takes the place of this one.",
            source.place
        )
    }));
    let skipped = skipped.iter().map(|skipped| SkippedView {
        why: skipped.why.as_str().to_owned(),
        count: skipped.count,
        first_line: skipped.first_line,
    });
    Ok(ImportedView {
        kept: !dry_run,
        lines,
        skipped: skipped.collect(),
        view: RecipientsView {
            now_unix_ms: operator.clock.stamp().unix_ms,
            list: Some(view),
            unreadable: false,
            volumes,
            warnings,
            policy: judging::view(operator),
            source: operator.sources.view(),
        },
    })
}

pub(super) async fn clear(operator: &Operator, who: &Who) -> Result<ActionResult, Refusal> {
    let Some(_change) = operator.directory.try_change() else { return Err(busy()) };
    let had = operator.directory.list().is_some() || operator.directory.is_unreadable();
    let summary = if had {
        replace(operator, None, format!("cleared by {who}")).await?;
        "The list of recipients is cleared."
    } else {
        "There was no list of recipients."
    };
    Ok(ActionResult { summary: summary.to_owned(), messages: 0, refused: Vec::new() })
}

/// Has a file read on a thread of its own while it comes.
async fn read(operator: &Operator, mut upload: Upload, who: &Who) -> Result<Result<Read, Mistakes>, Refusal> {
    let (at, by) = (operator.clock.stamp(), who.to_string());
    let (pieces, mut to_read) = mpsc::channel(PIECES);
    let reading = blocking(move || {
        let mut key = [0; 16];
        File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut key)).map_err(|error| {
            Refusal::new(Fault::Internal, "PS-D005", format!("no random bytes: {error}"), "")
        })?;
        let mut reading = Reading::new(key, at, by);
        while let Some(piece) = to_read.blocking_recv() {
            match piece {
                Piece::Bytes(bytes) => reading.push(&bytes),
                Piece::End => return Ok(reading.finish()),
            }
        }
        Err(Refusal::bad_request("the file broke off"))
    });
    let feed = async {
        let mut size_bytes = 0;
        loop {
            let piece = upload.next_chunk().await?;
            size_bytes += piece.as_ref().map_or(0, Bytes::len) as u64;
            // Of a file that is too large no more is wanted than shows it. What comes of one with mistakes is taken
            // to its end, so that who sends it hears of them.
            let is_last = piece.is_none() || size_bytes > FILE_BYTES_MAX;
            if let Some(bytes) = piece
                && pieces.send(Piece::Bytes(bytes)).await.is_err()
            {
                break;
            }
            if is_last {
                let _ = pieces.send(Piece::End).await;
                break;
            }
        }
        drop(pieces);
        Ok::<(), Refusal>(())
    };
    let (fed, read) = tokio::join!(feed, reading);
    fed?;
    read?
}

fn list_view(list: &List, settings: &Settings) -> ListView {
    let about = &list.about;
    let accepted = |domain: &str| settings.domains.accepted.iter().any(|ours| ours.accepts(domain));
    let databases = about.databases.iter();
    let domains = about.domains.iter();
    ListView {
        imported_unix_ms: about.imported.unix_ms,
        clock_trusted: about.imported.trusted,
        by: about.by.clone(),
        recipients: about.recipients.into(),
        addresses: list.len() as u64,
        databases: databases
            .map(|(name, count)| DatabaseView { name: name.clone(), addresses: (*count).into() })
            .collect(),
        without_database: about.without_database.into(),
        domains: domains
            .map(|(name, count)| DomainView {
                name: name.clone(),
                addresses: (*count).into(),
                accepted: accepted(name),
            })
            .collect(),
        other_addresses: about.other_addresses.into(),
    }
}

/// What should make somebody look at the file again.
fn list_warnings(view: &ListView, has_databases: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if !has_databases {
        warnings.push(
            "No mailbox databases are known, as the file has no column Database: when one of several is gone, mail \
             cannot be held for its mailboxes alone."
                .to_owned(),
        );
    }
    if !view.domains.iter().any(|domain| domain.accepted) {
        warnings.push(
            "None of the domains with the most addresses is one that mail is taken for here: is it the list of this \
             site?"
                .to_owned(),
        );
    }
    warnings
}

/// What it means that the list is not on a volume.
fn not_on(store: Store) -> &'static str {
    match store {
        Store::Nor => {
            "The list is not in the NOR flash: it is too large for it, or the flash cannot be written. While the disk \
             is away there is no list."
        }
        Store::Disk => "The list is not on the disk yet: it is written there when the disk is back.",
    }
}

/// The mailboxes to which probes are sent, one in each database.
fn probes(settings: &Settings) -> impl Iterator<Item = &str> {
    settings.next_hops.iter().flat_map(|hop| &hop.probe_mailboxes).map(MailAddress::as_str)
}

/// What stands in the way of knowing of each database whether mail arrives in it.
fn probe_warnings<'a>(list: &List, probes: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut probed = Vec::new();
    let mut warnings = Vec::new();
    for probe in probes {
        let known = Mailbox::parse(probe).and_then(|mailbox| list.find(&mailbox, None));
        match known {
            Some(entry) => probed.extend(entry.database),
            None => warnings.push(format!("The probe mailbox {probe} is not on the list.")),
        }
    }
    let names = list.about.databases.iter().map(|(name, _)| name.as_str());
    let without: Vec<&str> =
        (0u16..).zip(names).filter(|(number, _)| !probed.contains(number)).map(|(_, name)| name).collect();
    match without.as_slice() {
        [] => {}
        [name] => warnings.push(format!("No probe mailbox is configured for the database {name}.")),
        [first, others @ ..] => {
            warnings.push(format!(
                "No probe mailbox is configured for the database {first} and {} others.",
                others.len()
            ));
        }
    }
    warnings
}

/// What a list is, for the ledger.
fn summary(view: &ListView) -> String {
    let ListView { recipients, addresses, databases, .. } = view;
    format!("{recipients} recipients with {addresses} addresses in {} mailbox databases", databases.len())
}

/// Puts another list in the place of this one and tells the ledger, whether or not who asked waits for it.
async fn replace(operator: &Operator, list: Option<List>, text: String) -> Result<(), Refusal> {
    let (directory, volumes) = (Arc::clone(&operator.directory), operator.volumes.clone());
    let now_ms = operator.clock.mono_ms();
    let event = Kind::Recipients.event(operator.clock.stamp(), None, text);
    let replacing = tokio::spawn(async move {
        directory.replace(&volumes, list, Some(now_ms)).await?;
        record(&volumes, event).await;
        Ok(())
    });
    replacing.await.unwrap_or(Err(SpoolError::ReadOnly)).map_err(not_kept)
}

async fn record(volumes: &Volumes, event: Event) {
    if let Err(error) = volumes.record(event).await {
        warn!(code = error.code(), %error, "a change of the list of recipients could not be written to the ledger");
    }
}

/// `PS-D295`: the file is not right.
fn wrong(mistakes: &Mistakes) -> Refusal {
    let message = format!("the list of recipients is not right: {mistakes}");
    Refusal::new(Fault::BadRequest, "PS-D295", message, "Nothing was changed: the list from before counts.")
}

/// `PS-D296`: somebody else is at it.
fn busy() -> Refusal {
    Refusal::new(
        Fault::Conflict,
        "PS-D296",
        "another list of recipients is being imported at this moment",
        "Try again in a minute.",
    )
}

fn not_kept(error: SpoolError) -> Refusal {
    match error {
        SpoolError::Full => Refusal::new(
            Fault::Conflict,
            error.code(),
            "there is no room for the list of recipients",
            "The list from before counts. Import it again when mail has gone, or when the disk is back.",
        ),
        other => unavailable(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str) -> Read {
        let mut reading = Reading::new([7; 16], penstock_spool::Stamp::default(), "mia".into());
        reading.push(file.as_bytes());
        reading.finish().unwrap()
    }

    #[test]
    fn a_database_without_a_probe_mailbox_is_told_and_a_probe_mailbox_that_nobody_knows() {
        let list = read("PrimarySmtpAddress,Database\na@x.org,DB1\nb@x.org,DB2\nc@x.org,DB3\n").list;
        let warnings = |probes: &[&'static str]| probe_warnings(&list, probes.iter().copied());
        assert!(warnings(&["a@x.org", "B@X.org", "c@x.org"]).is_empty());
        assert_eq!(
            warnings(&["a@x.org", "c@x.org", "d@x.org"]),
            [
                "The probe mailbox d@x.org is not on the list.",
                "No probe mailbox is configured for the database DB2."
            ]
        );
        assert_eq!(warnings(&[]), ["No probe mailbox is configured for the database DB1 and 2 others."]);
        let plain = read("a@x.org\n").list;
        assert!(probe_warnings(&plain, ["a@x.org"].into_iter()).is_empty());
    }

    #[test]
    fn of_many_mistakes_each_is_told_with_its_line_and_the_rest_as_a_number() {
        let mut reading = Reading::new([7; 16], penstock_spool::Stamp::default(), "mia".into());
        reading.push("a@x.org\n".as_bytes());
        reading.push("wrong\n".repeat(12).as_bytes());
        let refusal = wrong(&reading.finish().unwrap_err());
        let message = refusal.body.message;
        assert!(message.starts_with("the list of recipients is not right: line 2: no address"), "{message}");
        assert!(message.ends_with("; line 11: no address: \"wrong\"; and 2 more"), "{message}");
    }
}
