//! `penstock volume salvage`

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use penstock_daemon::control::MailId;
use penstock_daemon::control::envelope::{parameters, recipient_views};
use penstock_daemon::control::types::RecipientView;
use penstock_daemon::control::volume::hexadecimal;
use penstock_flash::{Medium, ReadAt};
use penstock_flash_linux::Image;
use penstock_spool::{Fate, Message, MessageId, Salvage};
use serde::{Deserialize, Serialize};

use super::NAMES_MAX;
use super::image::{self, mount_failure, volume_failure};
use crate::commands::write_json;
use crate::failure::{Exit, Failure};
use crate::text::human::{count, counted, size};
use crate::text::progress::Progress;
use crate::text::{Screen, Style};

/// The file that says of which volume a folder holds the mail.
const MARKER: &str = "penstock-salvage.json";

/// Of which volume a folder holds the mail.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    image: PathBuf,
    volume: Option<String>,
}

/// What stands beside a message.
#[derive(Debug, Serialize)]
struct Envelope<'a> {
    id: MailId,
    sender: &'a str,
    /// The parameters of MAIL as they were given.
    parameters: String,
    recipients: Vec<RecipientView>,
    received_unix_ms: u64,
    clock_trusted: bool,
    client: Option<String>,
    helo: &'a str,
    tls: bool,
    size_bytes: u64,
    sha256: String,
    /// Whether fates come from a mount; else from records that happened to be found.
    mounted: bool,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
struct Summary {
    written: u64,
    written_bytes: u64,
    /// Those that an earlier run had written.
    present: u64,
    damaged: Vec<Damaged>,
    /// Beginnings without an end: never acknowledged, or their end is lost.
    unfinished: u64,
    /// Why the volume could not be mounted.
    not_mounted: Option<String>,
}

#[derive(Debug, Serialize)]
struct Damaged {
    id: MailId,
    reason: &'static str,
}

pub(super) fn run(
    path: &Path,
    segment_bytes: Option<u32>,
    dir: &Path,
    resume: bool,
    json: bool,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let asked = segment_bytes.is_some();
    let segment_bytes = image::segment_bytes(path, segment_bytes)?;
    let medium = Image::open(path, segment_bytes).map_err(|error| volume_failure(&error))?;
    let volume = image::shape(path)?.map(|shape| hexadecimal(&shape.volume));
    if volume.is_none() && !asked {
        let text = "no segment tells its size: 16 MiB is taken for it; if it was another, say --segment-size";
        Progress::new("", json).say(text);
    }
    let image = fs::canonicalize(path).map_err(|error| Failure::file(path, "read", &error))?;
    prepare(dir, &Marker { image, volume }, resume)?;
    let summary = salvage(path, medium, dir, json)?;
    write_summary(&summary, dir, json, screen)?;
    if summary.damaged.is_empty() {
        return Ok(());
    }
    screen.flush()?;
    Err(Failure::Silent(Exit::Failed))
}

/// Makes the folder, or looks whether it is the one of an earlier run.
fn prepare(dir: &Path, marker: &Marker, resume: bool) -> Result<(), Failure> {
    let failed = |error| Failure::file(dir, "made", &error);
    if !dir.exists() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    }
    let is_empty = fs::read_dir(dir).map_err(failed)?.next().is_none();
    let at = dir.join(MARKER);
    if is_empty {
        let file = new_file(&at).map_err(|error| Failure::file(&at, "written", &error))?;
        return Ok(serde_json::to_writer(file, marker)?);
    }
    let refused = |message: String, help: &str| Err(Failure::new(Exit::Failed, "PS-D313", message, help));
    let there: Option<Marker> = fs::read(&at).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    match there {
        Some(there) if there == *marker && resume => Ok(()),
        Some(there) if there == *marker => refused(
            format!("{} holds mail of an earlier salvage of the same volume", dir.display()),
            "Say --resume to go on with it, or name a new folder.",
        ),
        Some(there) => refused(
            format!("{} holds mail of another volume, {}", dir.display(), there.image.display()),
            "Name a new folder.",
        ),
        None => refused(format!("{} is not empty", dir.display()), "Name a new folder, or an empty one."),
    }
}

fn salvage(path: &Path, medium: Image, dir: &Path, json: bool) -> Result<Summary, Failure> {
    let (geometry, reader) = (medium.geometry(), medium.reader());
    let mut summary = Summary::default();
    let mut writer = Writer { dir, summary: &mut summary };
    // What the mount knows: damaged messages that another copy may be found of, and all others.
    let mut damaged: BTreeMap<MessageId, Vec<(u16, u16, Fate)>> = BTreeMap::new();
    let mut known: Vec<MessageId> = Vec::new();
    let thorough = match image::mount(medium) {
        Err(error) => {
            writer.summary.not_mounted = Some(error.to_string());
            Progress::new("", json).say(&format!("{}: {error}; looking at every frame", path.display()));
            true
        }
        Ok((mut spool, _)) => {
            let mut progress = Progress::new("writing", json);
            let found: Vec<_> = spool.queue(MessageId(0)).chain(spool.kept(MessageId(0))).collect();
            let total_bytes = found.iter().map(|found| u64::from(found.size_bytes)).sum();
            let mut done_bytes = 0;
            for found in found {
                let fates = spool.fates(found.id).unwrap_or_default();
                let message = spool.open_mending(found.id).ok();
                if !writer.write_first(found.id, message.into_iter(), &fates, true)? {
                    damaged.insert(found.id, fates);
                }
                known.push(found.id);
                done_bytes += u64::from(found.size_bytes);
                progress.at(done_bytes, total_bytes);
            }
            let report = spool.mount_report();
            !damaged.is_empty() || report.quarantined_segments > 0 || report.damaged_frames > 0
        }
    };
    if thorough {
        known.sort_unstable();
        let mut search = Salvage::new(reader, &geometry).map_err(|error| mount_failure(path, &error))?;
        let mut progress = Progress::new("looking at every frame", json);
        while let Some(at) = search.step() {
            progress.at(at.done_bytes, at.total_bytes);
        }
        drop(progress);
        let mounted = writer.summary.not_mounted.is_none();
        let mut progress = Progress::new("writing", json);
        let ids: Vec<MessageId> = search.messages().collect();
        for (done, id) in (1..).zip(&ids) {
            let fates = match damaged.remove(id) {
                Some(fates) => fates,
                // Written already.
                None if known.binary_search(id).is_ok() => continue,
                None => search.fates(*id),
            };
            // What a mount does not know and was finished has been given up.
            let is_finished = fates.iter().all(|(_, _, fate)| fate.is_final());
            if mounted && is_finished && known.binary_search(id).is_err() {
                continue;
            }
            if !writer.write_first(*id, search.open(*id), &fates, mounted)? {
                writer.damaged(*id, "its bytes are not those that were written");
            }
            progress.at(done, ids.len() as u64);
        }
        writer.summary.unfinished = search.unfinished() as u64;
    }
    damaged.into_keys().for_each(|id| writer.damaged(id, "no COMMIT of it can be read"));
    File::open(dir)
        .and_then(|dir| rustix::fs::syncfs(dir).map_err(io::Error::from))
        .map_err(|error| Failure::file(dir, "written", &error))?;
    Ok(summary)
}

/// Writes messages into the folder.
struct Writer<'a> {
    dir: &'a Path,
    summary: &'a mut Summary,
}

impl Writer<'_> {
    /// Writes the first of some copies that is whole. Whether there was one, now or in an earlier run.
    fn write_first<R: ReadAt>(
        &mut self,
        id: MessageId,
        copies: impl Iterator<Item = Message<R>>,
        fates: &[(u16, u16, Fate)],
        mounted: bool,
    ) -> Result<bool, Failure> {
        let name = MailId::disk(id.0);
        let (eml, envelope_path) = (self.path(name, "eml"), self.path(name, "json"));
        if envelope_path.exists() {
            self.summary.present += 1;
            return Ok(true);
        }
        for mut message in copies {
            let Ok(envelope) = message.envelope() else { continue };
            if !write_body(&mut message, &eml)? {
                continue;
            }
            let begin = &envelope.begin;
            let told = Envelope {
                id: name,
                sender: &begin.sender,
                parameters: parameters(begin),
                recipients: recipient_views(&envelope.recipients, fates),
                received_unix_ms: begin.received.unix_ms,
                clock_trusted: begin.received.trusted,
                client: begin.client.map(|client| client.to_string()),
                helo: &begin.helo,
                tls: begin.tls,
                size_bytes: message.size_bytes(),
                sha256: hexadecimal(&message.sha256()),
                mounted,
            };
            // The envelope comes last, and says that the message is there.
            write_whole(&envelope_path, |file| {
                serde_json::to_writer_pretty(&mut *file, &told).map_err(io::Error::from)?;
                file.write_all(b"\n").map(|()| true)
            })?;
            self.summary.written += 1;
            self.summary.written_bytes += message.size_bytes();
            return Ok(true);
        }
        Ok(false)
    }

    fn path(&self, name: MailId, extension: &str) -> PathBuf {
        self.dir.join(format!("{name}.{extension}"))
    }

    fn damaged(&mut self, id: MessageId, reason: &'static str) {
        self.summary.damaged.push(Damaged { id: MailId::disk(id.0), reason });
    }
}

/// Writes a body, if it is whole.
fn write_body<R: ReadAt>(message: &mut Message<R>, path: &Path) -> Result<bool, Failure> {
    write_whole(path, |file| {
        loop {
            match message.next_chunk() {
                Ok(Some(chunk)) => file.write_all(chunk)?,
                Ok(None) => return Ok(true),
                Err(_) => return Ok(false),
            }
        }
    })
}

/// Writes a file under another name, which it gets only when it is whole.
fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut io::BufWriter<File>) -> io::Result<bool>,
) -> Result<bool, Failure> {
    let failed = |error| Failure::file(path, "written", &error);
    let partial = path.with_extension("partial");
    let mut file = io::BufWriter::new(new_file(&partial).map_err(failed)?);
    let whole = write(&mut file).and_then(|whole| file.flush().map(|()| whole)).map_err(failed)?;
    if whole {
        fs::rename(&partial, path).map_err(failed)?;
    } else {
        fs::remove_file(&partial).map_err(failed)?;
    }
    Ok(whole)
}

/// A file that only its owner reads: mail is private. What an earlier run left half written is written anew.
fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn write_summary(summary: &Summary, dir: &Path, json: bool, screen: &mut Screen) -> Result<(), Failure> {
    if json {
        return write_json(summary, screen);
    }
    let written = format!(
        "{} written to {} ({})",
        counted(summary.written, "message"),
        dir.display(),
        size(summary.written_bytes)
    );
    let present =
        if summary.present > 0 { format!(", {} were there", count(summary.present)) } else { String::new() };
    writeln!(screen, "{written}{present}")?;
    if summary.unfinished > 0 {
        let beginnings = counted(summary.unfinished, "beginning");
        writeln!(screen, "{beginnings} without an end: never acknowledged, or their end is lost")?;
    }
    if summary.damaged.is_empty() {
        return Ok(());
    }
    let damaged = format!("{} damaged:", counted(summary.damaged.len() as u64, "message"));
    writeln!(screen, "{}", screen.paint(Style::Bad, &damaged))?;
    for damaged in summary.damaged.iter().take(NAMES_MAX) {
        writeln!(screen, "  {}: {}", damaged.id, damaged.reason)?;
    }
    if let Some(more) = summary.damaged.len().checked_sub(NAMES_MAX).filter(|more| *more > 0) {
        writeln!(screen, "  and {} more; --json has them all", count(more as u64))?;
    }
    Ok(())
}
