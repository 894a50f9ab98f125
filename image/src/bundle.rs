//! An image: all the files that are made of a kernel, the one binary, settings and a board. `FORMAT.md` lists them.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use penstock_settings::Settings;
use sha2::{Digest, Sha256, Sha512};

use crate::board::Board;
use crate::manifest::{self, BundleError, MANIFEST_BYTES, Manifest};
use crate::{Error, flash, initramfs, sbom};

/// The compressed kernel.
pub const KERNEL: &str = "kernel.gz";
/// The configuration of the kernel.
pub const KERNEL_CONFIG: &str = "kernel.config";
/// The compressed initramfs.
pub const INITRAMFS: &str = "initramfs.cpio.gz";
/// The kernel's command line.
pub const COMMAND_LINE: &str = "command-line";
/// The manifest of the bundle: what is to be signed.
pub const MANIFEST: &str = "manifest.bin";
/// What a system slot holds.
pub const BUNDLE: &str = "system.bundle";
/// The flash chip with the system.
pub const SYSTEM_FLASH: &str = "flash0.img";
/// The flash chip with the partitions of a box's own.
pub const OWN_FLASH: &str = "flash1.img";
/// A blank disk.
pub const DISK: &str = "disk.img";
/// What is in the image.
pub const SBOM: &str = "sbom.cdx.json";
/// The checksums of all files but the blank disk, as `sha256sum --check` takes them.
pub const SUMS: &str = "SHA256SUMS";

/// Counts up when an older system must not be started any more, since it can be attacked by what was put right.
const SECURITY_VERSION: u32 = 1;

/// What an image is made from.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The folder with `board.toml`.
    pub board: &'a Path,
    /// The compressed kernel, beside its `version` and `config`, as `build-kernel` leaves them.
    pub kernel: &'a Path,
    /// The static binary.
    pub penstock: &'a Path,
    /// How the binary came to be.
    pub compiled: Compiled<'a>,
    /// The settings that the box begins with, if any.
    pub settings: Option<&'a Path>,
}

/// Where it is written what the binary was compiled from.
#[derive(Clone, Copy, Debug)]
pub struct Compiled<'a> {
    /// What `cargo build --message-format=json` said.
    pub messages: &'a Path,
    /// What `cargo metadata` said.
    pub metadata: &'a Path,
    /// `Cargo.lock`.
    pub lock: &'a Path,
    /// The target.
    pub target: &'a str,
    /// The version of the compiler.
    pub rust: &'a str,
    /// The version of the C library.
    pub libc: &'a str,
}

/// Writes all files of an image into a folder, in place of those of an earlier one.
///
/// # Errors
/// [`Error`].
pub fn build(parts: &Parts<'_>, into: &Path) -> Result<(), Error> {
    let board = Board::read(parts.board)?;
    let settings = parts.settings.map(read_settings).transpose()?;
    let (kernel, penstock) = (read(parts.kernel)?, read(parts.penstock)?);
    let kernel_version = read_text(&parts.kernel.with_file_name("version"))?;
    let kernel_config = read(&parts.kernel.with_file_name("config"))?;
    let initramfs = initramfs::pack(&penstock);
    let command_line = board.command_line();
    let version = env!("CARGO_PKG_VERSION");
    let system = [&kernel[..], &initramfs, command_line.as_bytes()];
    let bundle = manifest::bundle(&board.name, version, SECURITY_VERSION, system)?;
    let system_flash = flash::system_flash(&board, &bundle)?;
    let own_flash = flash::own_flash(&board, settings.as_deref())?;
    let about = sbom::Parts {
        board: &board.name,
        version,
        bundle_sha512: &hex(&Sha512::digest(&bundle)),
        penstock_sha256: &hex(&Sha256::digest(&penstock)),
        kernel_version: kernel_version.trim(),
        kernel_sha256: &hex(&Sha256::digest(&kernel)),
        kernel_config_sha256: &hex(&Sha256::digest(&kernel_config)),
    };
    let sbom = describe(&parts.compiled, &about)?;

    fs::create_dir_all(into).map_err(Error::file("make", into))?;
    remove_earlier(into)?;
    let files = [
        (KERNEL, &kernel[..]),
        (KERNEL_CONFIG, &kernel_config),
        (INITRAMFS, &initramfs),
        (COMMAND_LINE, command_line.as_bytes()),
        (MANIFEST, &bundle[..MANIFEST_BYTES]),
        (BUNDLE, &bundle),
        (SYSTEM_FLASH, &system_flash),
        (OWN_FLASH, &own_flash),
        (SBOM, &sbom),
    ];
    let mut sums = String::new();
    for (name, bytes) in files {
        write(&into.join(name), bytes)?;
        sums.push_str(&format!("{}  {name}\n", hex(&Sha256::digest(bytes))));
    }
    blank_disk(&into.join(DISK), &board)?;
    write(&into.join(SUMS), sums.as_bytes())
}

/// Makes a disk of the board's size to which nothing was ever written.
///
/// # Errors
/// [`Error::File`], also where there is one already.
pub fn blank_disk(path: &Path, board: &Board) -> Result<(), Error> {
    let file = File::create_new(path).map_err(Error::file("make", path))?;
    file.set_len(u64::from(board.disk.size_mib) << 20).map_err(Error::file("enlarge", path))
}

/// Looks at a bundle that begins at an offset of a file, which may be a flash chip, and holds its parts against its manifest.
///
/// # Errors
/// [`Error::File`], [`Error::Bundle`].
pub fn inspect(path: &Path, offset: u64) -> Result<Manifest, Error> {
    let bytes = read(path)?;
    let bundle = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..));
    Ok(Manifest::verify(bundle.ok_or(BundleError::Absent)?)?)
}

/// Removes what an earlier build has listed. What somebody else keeps in the folder stays.
fn remove_earlier(folder: &Path) -> Result<(), Error> {
    let listed = fs::read_to_string(folder.join(SUMS)).unwrap_or_default();
    let listed = listed.lines().filter_map(|line| line.split_once("  ")).map(|(_, name)| name);
    for name in listed.filter(|name| !name.contains('/')).chain([DISK, SUMS]) {
        let path = folder.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::file("remove", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn describe(compiled: &Compiled<'_>, about: &sbom::Parts<'_>) -> Result<Vec<u8>, Error> {
    let Compiled { target, rust, libc, .. } = *compiled;
    let compiled = sbom::Compiled {
        messages: &read_text(compiled.messages)?,
        metadata: &read_text(compiled.metadata)?,
        lock: &read_text(compiled.lock)?,
        target,
        rust,
        libc,
    };
    sbom::describe(&compiled, about).map_err(Error::Sbom)
}

/// Reads settings that the box would take.
fn read_settings(path: &Path) -> Result<String, Error> {
    let text = read_text(path)?;
    match Settings::parse(&text) {
        Ok(_) => Ok(text),
        Err(problems) => Err(Error::Settings { path: path.to_owned(), problems }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(Error::file("read", path))
}

fn read_text(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(Error::file("read", path))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(Error::file("write", path))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
