//! What a system slot holds: kernel, initramfs, the kernel's command line, and a manifest that binds them together.

use std::fs;
use std::path::Path;

use penstock_settings::Settings;
use serde::Serialize;
use sha2::{Digest, Sha256, Sha512};

use crate::board::Board;
use crate::{Error, flash, initramfs};

/// The compressed kernel.
pub const KERNEL: &str = "kernel.gz";
/// The compressed initramfs.
pub const INITRAMFS: &str = "initramfs.cpio.gz";
/// The kernel's command line.
pub const COMMAND_LINE: &str = "command-line";
/// The manifest.
pub const MANIFEST: &str = "manifest.json";
/// The flash chip with the partitions of a box's own.
pub const OWN_FLASH: &str = "flash1.img";
/// The checksums of all files, as `sha256sum --check` takes them.
pub const SUMS: &str = "SHA256SUMS";

/// What an image is made from.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The folder with `board.toml`.
    pub board: &'a Path,
    /// The compressed kernel.
    pub kernel: &'a Path,
    /// The static binary.
    pub penstock: &'a Path,
    /// The settings that the box begins with, if any.
    pub settings: Option<&'a Path>,
}

/// What the files of a slot are, for whoever verifies them.
#[derive(Debug, Serialize)]
struct Manifest<'a> {
    format: u32,
    board: &'a str,
    version: &'a str,
    files: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    name: &'static str,
    size_bytes: u64,
    sha512: String,
}

/// Writes all files of an image into a folder, in place of those of an earlier one.
///
/// # Errors
/// [`Error`].
pub fn build(parts: &Parts<'_>, into: &Path) -> Result<(), Error> {
    let board = Board::read(parts.board)?;
    let settings = parts.settings.map(read_settings).transpose()?;
    let kernel = read(parts.kernel)?;
    let initramfs = initramfs::pack(&read(parts.penstock)?);
    let command_line = board.command_line();
    let slot = [(KERNEL, &kernel[..]), (INITRAMFS, &initramfs), (COMMAND_LINE, command_line.as_bytes())];
    let manifest = Manifest {
        format: 1,
        board: &board.name,
        version: env!("CARGO_PKG_VERSION"),
        files: slot
            .iter()
            .map(|(name, bytes)| Entry {
                name,
                size_bytes: bytes.len() as u64,
                sha512: hex(&Sha512::digest(bytes)),
            })
            .collect(),
    };
    let mut manifest = serde_json::to_vec_pretty(&manifest).unwrap_or_default();
    manifest.push(b'\n');
    check_slot(
        &board,
        slot.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>() + manifest.len() as u64,
    )?;
    let own_flash = flash::own_flash(&board, settings.as_deref())?;

    fs::create_dir_all(into).map_err(Error::file("make", into))?;
    let mut files = slot.to_vec();
    files.extend([(MANIFEST, &manifest[..]), (OWN_FLASH, &own_flash)]);
    let mut sums = String::new();
    for (name, bytes) in files {
        write(&into.join(name), bytes)?;
        sums.push_str(&format!("{}  {name}\n", hex(&Sha256::digest(bytes))));
    }
    write(&into.join(SUMS), sums.as_bytes())
}

/// Whether this much fits into each of the system slots.
fn check_slot(board: &Board, size_bytes: u64) -> Result<(), Error> {
    for (_, slot) in ["system-a", "system-b"].iter().filter_map(|name| board.partition(name)) {
        if size_bytes > slot.size_bytes {
            let what = format!("the system for partition '{}'", slot.name);
            return Err(Error::TooLarge { what, size_bytes, room_bytes: slot.size_bytes });
        }
    }
    Ok(())
}

/// Reads settings that the box would take.
fn read_settings(path: &Path) -> Result<String, Error> {
    let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
    match Settings::parse(&text) {
        Ok(_) => Ok(text),
        Err(problems) => Err(Error::Settings { path: path.to_owned(), problems }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(Error::file("read", path))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(Error::file("write", path))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
