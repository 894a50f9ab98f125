//! `penstock volume format`

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::Path;

use penstock_daemon::control::volume::hexadecimal;
use penstock_flash_linux::{Create, Image, Volume};
use serde::Serialize;

use super::image::{self, mount_failure, volume_failure};
use crate::commands::write_json;
use crate::failure::{Exit, Failure};
use crate::text::Screen;
use crate::text::human::size;
use crate::text::progress::Progress;

/// The longest line that is read as an answer.
const ANSWER_BYTES_MAX: u64 = 8192;

/// What was asked for.
pub(super) struct Format {
    pub(super) size_bytes: u64,
    pub(super) segment_bytes: u32,
    pub(super) overwrite: bool,
    pub(super) confirm: Option<String>,
}

/// What was made, for programs.
#[derive(Serialize)]
struct Made<'a> {
    path: &'a Path,
    id: String,
    size_bytes: u64,
    segment_bytes: u32,
}

pub(super) fn run(path: &Path, asked: &Format, json: bool, screen: &mut Screen) -> Result<(), Failure> {
    let exists = path.exists();
    if exists {
        confirm(path, asked)?;
    }
    let mut name = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut name))
        .map_err(|error| Failure::file(Path::new("/dev/urandom"), "read", &error))?;
    let create =
        Create { size_bytes: asked.size_bytes, segment_bytes: asked.segment_bytes, overwrite: exists };
    let mut progress = Progress::new("writing", json);
    let made = Volume::create(path, &create, |done, total| progress.at(done, total));
    let mut volume = made.map_err(|error| volume_failure(&error))?;
    drop(progress);
    let mut progress = Progress::new("formatting", json);
    let segment_bytes = u64::from(asked.segment_bytes);
    let mut size_bytes = 0;
    let formatted = penstock_spool::format(&mut volume, name, exists, |done, total| {
        size_bytes = u64::from(total) * segment_bytes;
        progress.at(u64::from(done) * segment_bytes, size_bytes);
    });
    drop(progress);
    formatted.map_err(|error| mount_failure(path, &error))?;
    let id = hexadecimal(&name);
    if json {
        return write_json(&Made { path, id, size_bytes, segment_bytes: asked.segment_bytes }, screen);
    }
    Ok(writeln!(
        screen,
        "{} is a new volume of {} with the id {id}.\nName it in the settings (volume.path) and start the service.",
        path.display(),
        size(size_bytes)
    )?)
}

/// Asks before anything is destroyed. A device of which every byte is zero holds nothing.
fn confirm(path: &Path, asked: &Format) -> Result<(), Failure> {
    let shape = image::shape(path)?;
    // Who uses it is told before anybody is asked.
    drop(Image::open(path, 4096).map_err(|error| volume_failure(&error))?);
    let (what, word) = match shape {
        Some(shape) => {
            let id = hexadecimal(&shape.volume);
            (format!("the volume {id} and all mail on it"), id)
        }
        None if is_blank(path)? => return Ok(()),
        None => ("something that is no penstock volume".to_owned(), path.display().to_string()),
    };
    let refused =
        |code: &str, message: String, help: String| Err(Failure::new(Exit::Failed, code, message, help));
    if !asked.overwrite {
        return refused(
            "PS-D311",
            format!("{} holds {what}; nothing was touched", path.display()),
            "To destroy it, say --overwrite; you are then asked to type a word back.".to_owned(),
        );
    }
    let answer = match &asked.confirm {
        Some(answer) => answer.clone(),
        None if io::stdin().is_terminal() => {
            eprint(&format!("This destroys {what}.\nType {word} to go on: "));
            let mut answer = String::new();
            io::stdin().lock().take(ANSWER_BYTES_MAX).read_line(&mut answer)?;
            answer.trim().to_owned()
        }
        None => {
            return refused(
                "PS-D312",
                format!("{} holds {what}; nothing was touched", path.display()),
                format!("To destroy it, say --overwrite --confirm {word}"),
            );
        }
    };
    if answer == word {
        return Ok(());
    }
    refused("PS-D312", format!("that was not {word}; nothing was touched"), String::new())
}

fn eprint(text: &str) {
    // Without standard error nobody can be asked, and no answer will come.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Whether every byte is zero.
fn is_blank(path: &Path) -> Result<bool, Failure> {
    let failed = |error| Failure::file(path, "read", &error);
    let mut file = File::open(path).map_err(failed)?;
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(true),
            read if buffer[..read].iter().any(|byte| *byte != 0) => return Ok(false),
            _ => {}
        }
    }
}
