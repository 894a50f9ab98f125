//! An image: all the files that are made of a kernel, the programs, settings and a board. `FORMAT.md` lists them.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use penstock_settings::Settings;
use penstock_slots::{Held, Kept, VerifyingKey};
use sha2::{Digest, Sha256, Sha512};

use crate::board::Board;
use crate::flash::Software;
use crate::flat::{Flat, flatten};
use crate::gzip::gzip;
use crate::keys::Key;
use crate::slot::Bundle;
use crate::{Error, flash, initramfs, sbom};

/// The compressed kernel.
pub const KERNEL: &str = "kernel.gz";
/// The configuration of the kernel.
pub const KERNEL_CONFIG: &str = "kernel.config";
/// The compressed initramfs.
pub const INITRAMFS: &str = "initramfs.cpio.gz";
/// The kernel's command line.
pub const COMMAND_LINE: &str = "command-line";
/// What a system slot holds.
pub const SYSTEM_BUNDLE: &str = "system.bundle";
/// What its signature covers.
pub const SYSTEM_MANIFEST: &str = "system.manifest";
/// What a firmware slot holds.
pub const FIRMWARE_BUNDLE: &str = "firmware.bundle";
/// What its signature covers.
pub const FIRMWARE_MANIFEST: &str = "firmware.manifest";
/// What the processor starts.
pub const STAGE0: &str = "stage0.bin";
/// The flash chip with the software.
pub const SYSTEM_FLASH: &str = "flash0.img";
/// The flash chip with the partitions of a box's own.
pub const OWN_FLASH: &str = "flash1.img";
/// A blank disk.
pub const DISK: &str = "disk.img";
/// What is in the image.
pub const SBOM: &str = "sbom.cdx.json";
/// The checksums of all files but the blank disk, as `sha256sum --check` takes them.
pub const SUMS: &str = "SHA256SUMS";

/// How large stage 0 may be, in bytes.
pub const STAGE0_BYTES_MAX: usize = 128 * 1024;
/// How large the firmware may be as it stands in flash, compressed, in bytes.
pub const FIRMWARE_BYTES_MAX: usize = 512 * 1024;
/// How large it may be in memory, in bytes: as much as stage 0 unpacks.
const FIRMWARE_FLAT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// What an image is made from.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The folder with `board.toml`.
    pub board: &'a Path,
    /// The compressed kernel, beside its `version` and `config`, as `build-kernel` leaves them.
    pub kernel: &'a Path,
    /// The static binary.
    pub penstock: &'a Path,
    /// What runs before the kernel. Without it the image is for who starts a kernel otherwise.
    pub firmware: Option<Programs<'a>>,
    /// How the binary came to be.
    pub compiled: Compiled<'a>,
    /// The settings that the box begins with, if any.
    pub settings: Option<&'a Path>,
    /// What signs the bundles. Without a key they are signed later, by [`sign`].
    pub key: Option<&'a Key>,
    /// The keys that firmware and system were compiled with.
    pub known: &'a [VerifyingKey],
}

/// Programs without an operating system, as the linker made them (ELF).
#[derive(Clone, Copy, Debug)]
pub struct Programs<'a> {
    /// Stage 0.
    pub stage0: &'a Path,
    /// The firmware.
    pub firmware: &'a Path,
    /// What `cargo build --message-format=json` said of them.
    pub messages: &'a Path,
    /// The target.
    pub target: &'a str,
}

/// Where it is written what the binary was compiled from.
#[derive(Clone, Copy, Debug)]
pub struct Compiled<'a> {
    /// What `cargo build --message-format=json` said.
    pub messages: &'a Path,
    /// What `cargo metadata` said, for all targets in the image.
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
    let number = Held::version_number(version)
        .ok_or_else(|| Error::Bundle(format!("the version {version} does not fit into a manifest")))?;
    let held = Held { version: number, security: board.security.version };
    let finish = |kind, parts_of: &[&[u8]]| -> Result<Bundle, Error> {
        let mut bundle = Bundle::new(kind, &board.name, held, parts_of)?;
        if let Some(key) = parts.key {
            key.sign(&mut bundle);
            bundle.check(&board, parts.known)?;
        }
        Ok(bundle)
    };
    let system = finish(Kept::System, &[&kernel, &initramfs, command_line.as_bytes()])?;
    let programs = parts.firmware.as_ref().map(|programs| bare(&board, programs)).transpose()?;
    let firmware = match &programs {
        Some((_, firmware)) => Some(finish(Kept::Firmware, &[firmware])?),
        None => None,
    };
    let stage0 = programs.as_ref().map(|(stage0, _)| stage0.as_slice());
    let own_flash = flash::own_flash(&board, settings.as_deref())?;
    let about = sbom::Parts {
        board: &board.name,
        version,
        manifest_sha512: &hex(&Sha512::digest(system.to_sign())),
        penstock_sha256: &hex(&Sha256::digest(&penstock)),
        kernel_version: kernel_version.trim(),
        kernel_sha256: &hex(&Sha256::digest(&kernel)),
        kernel_config_sha256: &hex(&Sha256::digest(&kernel_config)),
    };
    let sbom = describe(parts, programs.as_ref(), &about)?;

    fs::create_dir_all(into).map_err(Error::file("make", into))?;
    remove_earlier(into)?;
    for (name, bytes) in [
        (KERNEL, &kernel[..]),
        (KERNEL_CONFIG, &kernel_config),
        (INITRAMFS, &initramfs),
        (COMMAND_LINE, command_line.as_bytes()),
        (OWN_FLASH, &own_flash),
        (SBOM, &sbom),
    ] {
        write(&into.join(name), bytes)?;
    }
    if let Some(stage0) = stage0 {
        write(&into.join(STAGE0), stage0)?;
    }
    write_signed(into, &board, &system, firmware.as_ref(), stage0)?;
    blank_disk(&into.join(DISK), &board)
}

/// Stage 0 and the firmware as they stand in flash, each at most as large as a board may count on.
fn bare(board: &Board, programs: &Programs<'_>) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let flat = |path: &Path, bytes_max| flatten(path, &read(path)?, bytes_max);
    let stage0 = flat(programs.stage0, STAGE0_BYTES_MAX)?;
    let Flat { base, bytes } = flat(programs.firmware, FIRMWARE_FLAT_BYTES_MAX)?;
    if base != board.memory.firmware_base {
        let reason =
            format!("it runs at {base:#x}, and the board has it at {:#x}", board.memory.firmware_base);
        return Err(Error::Elf { path: programs.firmware.to_owned(), reason });
    }
    let firmware = gzip(&bytes);
    if firmware.len() > FIRMWARE_BYTES_MAX {
        return Err(Error::TooLarge {
            what: "the firmware".into(),
            size_bytes: firmware.len() as u64,
            room_bytes: FIRMWARE_BYTES_MAX as u64,
        });
    }
    Ok((stage0.bytes, firmware))
}

/// Writes the bundles, and what changes with their signatures.
fn write_signed(
    into: &Path,
    board: &Board,
    system: &Bundle,
    firmware: Option<&Bundle>,
    stage0: Option<&[u8]>,
) -> Result<(), Error> {
    let software = Software { system: system.bytes(), firmware: stage0.zip(firmware.map(Bundle::bytes)) };
    let system_flash = flash::system_flash(board, software)?;
    write(&into.join(SYSTEM_BUNDLE), system.bytes())?;
    write(&into.join(SYSTEM_MANIFEST), &system.to_sign())?;
    if let Some(firmware) = firmware {
        write(&into.join(FIRMWARE_BUNDLE), firmware.bytes())?;
        write(&into.join(FIRMWARE_MANIFEST), &firmware.to_sign())?;
    }
    write(&into.join(SYSTEM_FLASH), &system_flash)?;
    sum(into)
}

/// Writes the checksums of what is there.
fn sum(folder: &Path) -> Result<(), Error> {
    let mut sums = String::new();
    for name in [
        KERNEL,
        KERNEL_CONFIG,
        INITRAMFS,
        COMMAND_LINE,
        SYSTEM_MANIFEST,
        SYSTEM_BUNDLE,
        STAGE0,
        FIRMWARE_MANIFEST,
        FIRMWARE_BUNDLE,
        SYSTEM_FLASH,
        OWN_FLASH,
        SBOM,
    ] {
        let path = folder.join(name);
        if path.exists() {
            sums.push_str(&format!("{}  {name}\n", hex(&Sha256::digest(read(&path)?))));
        }
    }
    write(&folder.join(SUMS), sums.as_bytes())
}

/// Who signs the bundles of an image.
#[derive(Clone, Copy, Debug)]
pub enum Signer<'a> {
    /// A key that is here.
    Key(&'a Key),
    /// Somebody elsewhere, who gave the signatures, 64 bytes each, of `system.manifest` and `firmware.manifest`.
    Elsewhere {
        /// That of the system.
        system: &'a Path,
        /// That of the firmware, if there is one.
        firmware: Option<&'a Path>,
    },
}

/// Signs what [`build`] left unsigned, or anew what it signed, and puts it into flash.
///
/// # Errors
/// [`Error`], among them [`Error::Rejected`] if the box would not start the result; nothing is changed then.
pub fn sign(folder: &Path, board: &Board, signer: Signer<'_>, known: &[VerifyingKey]) -> Result<(), Error> {
    let signed = |name: &str, signature: Option<&Path>| -> Result<Bundle, Error> {
        let mut bundle = Bundle::from_bytes(read(&folder.join(name))?)?;
        match (signer, signature) {
            (Signer::Key(key), _) => key.sign(&mut bundle),
            (Signer::Elsewhere { .. }, Some(path)) => {
                let bytes = read(path)?;
                let signature = bytes.as_slice().try_into().map_err(|_| {
                    Error::Key(format!("{} is no signature: it has {} bytes", path.display(), bytes.len()))
                })?;
                bundle.put_signature(signature);
            }
            (Signer::Elsewhere { .. }, None) => {
                return Err(Error::Key(format!("there is no signature of {name}")));
            }
        }
        bundle.check(board, known)?;
        Ok(bundle)
    };
    let (of_system, of_firmware) = match signer {
        Signer::Key(_) => (None, None),
        Signer::Elsewhere { system, firmware } => (Some(system), firmware),
    };
    let system = signed(SYSTEM_BUNDLE, of_system)?;
    let stage0 = folder.join(STAGE0);
    let (firmware, stage0) = if stage0.exists() {
        (Some(signed(FIRMWARE_BUNDLE, of_firmware)?), Some(read(&stage0)?))
    } else {
        (None, None)
    };
    write_signed(folder, board, &system, firmware.as_ref(), stage0.as_deref())
}

/// Makes a disk of the board's size to which nothing was ever written.
///
/// # Errors
/// [`Error::File`], also where there is one already.
pub fn blank_disk(path: &Path, board: &Board) -> Result<(), Error> {
    let file = File::create_new(path).map_err(Error::file("make", path))?;
    file.set_len(u64::from(board.disk.size_mib) << 20).map_err(Error::file("enlarge", path))
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

fn describe(
    parts: &Parts<'_>,
    programs: Option<&(Vec<u8>, Vec<u8>)>,
    about: &sbom::Parts<'_>,
) -> Result<Vec<u8>, Error> {
    let Compiled { target, rust, libc, .. } = parts.compiled;
    let sums = programs.map(|(stage0, firmware)| [stage0, firmware].map(|it| hex(&Sha256::digest(it))));
    let messages = parts.firmware.as_ref().map(|programs| read_text(programs.messages)).transpose()?;
    let firmware = match (&parts.firmware, &messages, &sums) {
        (Some(programs), Some(messages), Some([stage0_sha256, firmware_sha256])) => {
            Some(sbom::Firmware { messages, target: programs.target, stage0_sha256, firmware_sha256 })
        }
        _ => None,
    };
    let compiled = sbom::Compiled {
        messages: &read_text(parts.compiled.messages)?,
        metadata: &read_text(parts.compiled.metadata)?,
        lock: &read_text(parts.compiled.lock)?,
        target,
        rust,
        libc,
        firmware,
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
