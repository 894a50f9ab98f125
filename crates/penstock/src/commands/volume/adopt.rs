//! `penstock volume adopt`: the undelivered mail of another box's volume, given to the running service.

use std::io::Write;
use std::path::Path;

use penstock_daemon::control::adopt::AdoptHead;
use penstock_daemon::control::volume::hexadecimal;
use penstock_flash::{Medium as _, ReadAt};
use penstock_flash_linux::Image;
use penstock_spool::{Fate, Message, MessageId, Recipient, Salvage};
use serde::Serialize;

use super::image::{self, mount_failure, volume_failure};
use crate::client::Client;
use crate::commands::write_json;
use crate::failure::{Exit, Failure};
use crate::text::human::{count, counted, size};
use crate::text::progress::Progress;
use crate::text::{Screen, Style};

/// What was done.
#[derive(Debug, Default, Serialize)]
struct Summary {
    volume: String,
    adopted: u64,
    adopted_bytes: u64,
    /// Those that an earlier run had brought over.
    present: u64,
    /// Those that cannot be read as they were written, by their numbers there.
    damaged: Vec<u64>,
    /// Why the volume could not be mounted.
    not_mounted: Option<String>,
}

/// A message that is to be brought over.
struct Candidate<R> {
    id: MessageId,
    /// All of which was read and is as it was written.
    message: Option<Message<R>>,
    fates: Vec<(u16, u16, Fate)>,
}

pub(super) async fn run(
    client: &Client,
    path: &Path,
    segment_bytes: Option<u32>,
    json: bool,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let segment_bytes = image::segment_bytes(path, segment_bytes)?;
    let medium = Image::open(path, segment_bytes).map_err(|error| volume_failure(&error))?;
    let Some(shape) = image::shape(path)? else {
        return Err(mount_failure(path, &penstock_spool::Error::NotAVolume));
    };
    let mut summary = Summary { volume: hexadecimal(&shape.volume), ..Summary::default() };
    let below = client.adopted(&summary.volume).await?.below;
    let done = bring_over(client, path, medium, below, &mut summary, json).await;
    write_summary(&summary, path, json, screen)?;
    done?;
    if summary.damaged.is_empty() {
        return Ok(());
    }
    screen.flush()?;
    Err(Failure::Silent(Exit::Failed))
}

/// Brings over what a mount knows; where there is none, what can be found.
async fn bring_over(
    client: &Client,
    path: &Path,
    medium: Image,
    below: u64,
    summary: &mut Summary,
    json: bool,
) -> Result<(), Failure> {
    let (geometry, reader) = (medium.geometry(), medium.reader());
    match image::mount(medium) {
        Ok((mut spool, _)) => {
            let found: Vec<_> = spool.queue(MessageId(0)).map(|found| found.id).collect();
            let (done, left): (Vec<_>, Vec<_>) = found.into_iter().partition(|id| id.0 < below);
            summary.present = done.len() as u64;
            let mut progress = Progress::new("adopting", json);
            for (n, id) in (1..).zip(&left) {
                let fates = spool.fates(*id).unwrap_or_default();
                let message = spool.open_mending(*id).ok().and_then(whole);
                hand_over(client, Candidate { id: *id, message, fates }, summary).await?;
                progress.at(n, left.len() as u64);
            }
        }
        Err(error) => {
            summary.not_mounted = Some(error.to_string());
            Progress::new("", json).say(&format!("{}: {error}; looking at every frame", path.display()));
            let mut search = Salvage::new(reader, &geometry).map_err(|error| mount_failure(path, &error))?;
            let mut progress = Progress::new("looking at every frame", json);
            while let Some(at) = search.step() {
                progress.at(at.done_bytes, at.total_bytes);
            }
            drop(progress);
            let mut ids: Vec<MessageId> = search.messages().collect();
            ids.sort_unstable();
            let mut progress = Progress::new("adopting", json);
            for (n, id) in (1..).zip(&ids) {
                let fates = search.fates(*id);
                if id.0 < below {
                    summary.present += 1;
                } else if fates.is_empty() || fates.iter().any(|(_, _, fate)| !fate.is_final()) {
                    let message = search.open(*id).find_map(whole);
                    hand_over(client, Candidate { id: *id, message, fates }, summary).await?;
                }
                progress.at(n, ids.len() as u64);
            }
        }
    }
    Ok(())
}

/// A message all of which reads as it was written, at its beginning again.
fn whole<R: ReadAt>(mut message: Message<R>) -> Option<Message<R>> {
    while message.next_chunk().ok()?.is_some() {}
    message.rewind();
    Some(message)
}

/// Gives one message to the service, if it is whole.
async fn hand_over<R: ReadAt>(
    client: &Client,
    candidate: Candidate<R>,
    summary: &mut Summary,
) -> Result<(), Failure> {
    let Candidate { id, message, fates } = candidate;
    let read = message.and_then(|mut message| {
        let envelope = message.envelope().ok()?;
        message.rewind();
        Some((message, envelope))
    });
    let Some((mut message, envelope)) = read else {
        summary.damaged.push(id.0);
        return Ok(());
    };
    let head = AdoptHead {
        volume: summary.volume.clone(),
        id: id.0,
        size_bytes: message.size_bytes(),
        begin: envelope.begin,
        recipients: open_recipients(envelope.recipients, &fates),
    };
    let next = || message.next_chunk().ok().flatten().map(bytes::Bytes::copy_from_slice);
    match client.adopt(&head, next).await?.id {
        Some(_) => {
            summary.adopted += 1;
            summary.adopted_bytes += head.size_bytes;
        }
        None => summary.present += 1,
    }
    Ok(())
}

/// The recipients that are not done. Of whom nothing is known is not.
fn open_recipients(recipients: Vec<Recipient>, fates: &[(u16, u16, Fate)]) -> Vec<Recipient> {
    let is_done = |number: usize| {
        let covers = |(first, count, fate): &(u16, u16, Fate)| {
            let first = usize::from(*first);
            fate.is_final() && (first..first + usize::from(*count)).contains(&number)
        };
        fates.iter().any(covers)
    };
    recipients.into_iter().enumerate().filter(|(n, _)| !is_done(*n)).map(|(_, recipient)| recipient).collect()
}

fn write_summary(summary: &Summary, path: &Path, json: bool, screen: &mut Screen) -> Result<(), Failure> {
    if json {
        return write_json(summary, screen);
    }
    let present = match summary.present {
        0 => String::new(),
        there => format!(", {} had been before", count(there)),
    };
    writeln!(
        screen,
        "{} of {} adopted ({}){present}; nothing was changed there",
        counted(summary.adopted, "message"),
        path.display(),
        size(summary.adopted_bytes)
    )?;
    if summary.damaged.is_empty() {
        return Ok(());
    }
    let damaged = format!("{} damaged and not adopted:", counted(summary.damaged.len() as u64, "message"));
    writeln!(screen, "{}", screen.paint(Style::Bad, &damaged))?;
    for id in summary.damaged.iter().take(super::NAMES_MAX) {
        writeln!(screen, "  d-{id}")?;
    }
    if let Some(more) = summary.damaged.len().checked_sub(super::NAMES_MAX).filter(|more| *more > 0) {
        writeln!(screen, "  and {} more; --json has them all", count(more as u64))?;
    }
    writeln!(screen, "`penstock volume salvage` looks at every frame for another copy of them.")?;
    Ok(())
}
