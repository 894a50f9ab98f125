//! `penstock export`

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use penstock_daemon::control::MailId;
use serde::Serialize;

use super::write_json;
use crate::client::{Client, Exported};
use crate::failure::{Exit, Failure};
use crate::text::Screen;
use crate::text::human::size;

/// What was written, for programs.
#[derive(Serialize)]
struct Written<'a> {
    id: MailId,
    file: &'a Path,
    size_bytes: u64,
    sha256: &'a str,
}

pub(super) async fn run(
    client: &Client,
    id: MailId,
    reason: String,
    output: Option<&Path>,
    json: bool,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let Some(path) = output else {
        if screen.is_terminal() || json {
            return Err(Failure::new(
                Exit::Usage,
                "PS-D309",
                if json { "--json needs -o FILE" } else { "a message can steer your terminal" },
                "Write it to a file with -o FILE, or send it through a pipe.",
            ));
        }
        let mut exported = client.export(id, reason).await?;
        while let Some(chunk) = exported.next_chunk().await? {
            screen.write_all(&chunk)?;
        }
        return Ok(());
    };
    let exported = to_file(client, id, reason, path).await?;
    if json {
        let Exported { size_bytes, ref sha256, .. } = exported;
        return write_json(&Written { id, file: path, size_bytes, sha256 }, screen);
    }
    Ok(writeln!(screen, "{id} is in {} ({})", path.display(), size(exported.size_bytes))?)
}

/// Writes a message to a file that is not there yet.
pub(super) async fn to_file(
    client: &Client,
    id: MailId,
    reason: String,
    path: &Path,
) -> Result<Exported, Failure> {
    // Made before the message is asked for: nothing is read, and no reading is noted, if it cannot be written.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| Failure::file(path, "made", &error))?;
    let copied = copy(client, id, reason, path, &mut file).await;
    if copied.is_err() {
        // Half a message must not be taken for a whole one. If even this fails, the failure is told all the same.
        let _ = fs::remove_file(path);
    }
    copied
}

async fn copy(
    client: &Client,
    id: MailId,
    reason: String,
    path: &Path,
    file: &mut File,
) -> Result<Exported, Failure> {
    let mut exported = client.export(id, reason).await?;
    let failed = |error| Failure::file(path, "written", &error);
    while let Some(chunk) = exported.next_chunk().await? {
        file.write_all(&chunk).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    Ok(exported)
}
