//! Images: how one is opened, and what is said if it cannot be.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use penstock_flash::Medium;
use penstock_flash_linux::{AlignedBuffer, VolumeError};
use penstock_spool::{Buffers, Error, MountOptions, Shape, Spool};

use crate::failure::{Exit, Failure};

/// The size of a segment unless somebody says otherwise: the default of the settings.
const SEGMENT_BYTES: u32 = 16 << 20;
/// Segments begin at multiples of this many bytes.
const SEGMENT_STEP: u64 = 64 << 10;
/// Group buffers for a volume that is written little: a chunk of 64 KiB with its header fits.
const BUFFER_BYTES: usize = 128 * 1024;
/// Messages that an image may hold, beyond any setting.
const MESSAGES_MAX: usize = 100_000_000;

/// A mounted image.
pub(super) type Mounted<M> = Spool<M, AlignedBuffer>;

/// The shape of the volume in a file or on a device: of the first segment whose header is whole.
pub(super) fn shape(path: &Path) -> Result<Option<Shape>, Failure> {
    let failed = |error| Failure::file(path, "read", &error);
    if path.is_dir() {
        return Err(volume_failure(&VolumeError::WrongKind { path: path.to_owned() }));
    }
    let mut file = File::open(path).map_err(failed)?;
    let end = file.seek(SeekFrom::End(0)).map_err(failed)?;
    let mut bytes = [0; Shape::BYTES];
    let found = (0..end).step_by(SEGMENT_STEP as usize).find_map(|at| {
        file.read_exact_at(&mut bytes, at).ok()?;
        Shape::decode(&bytes)
    });
    Ok(found)
}

/// The size of a segment: what was asked for, else what the volume says, else the usual.
pub(super) fn segment_bytes(path: &Path, asked: Option<u32>) -> Result<u32, Failure> {
    let shape = if asked.is_some() { None } else { shape(path)? };
    Ok(asked.or(shape.map(|shape| shape.segment_bytes)).unwrap_or(SEGMENT_BYTES))
}

/// Mounts a medium, and says how long it took, in ms.
pub(super) fn mount<M: Medium>(medium: M) -> Result<(Mounted<M>, u64), Error> {
    let begun = Instant::now();
    let buffer = || AlignedBuffer::new(BUFFER_BYTES);
    let buffers = Buffers { hot: buffer(), moved: buffer(), status: buffer() };
    let options = MountOptions { messages_max: MESSAGES_MAX, ..MountOptions::default() };
    let spool = Spool::mount(medium, buffers, options)?;
    Ok((spool, u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)))
}

/// What the operator is told when a volume cannot be opened or made.
pub(super) fn volume_failure(error: &VolumeError) -> Failure {
    let help = match error {
        VolumeError::InUse { .. } => {
            "The service uses it: leave IMAGE out to ask the service (`penstock volume info`, `check`, `scrub`), or stop \
             it first with `systemctl stop penstock`. A mounted file system must be unmounted."
        }
        VolumeError::Exists { .. } => "To destroy what is there, say --overwrite.",
        VolumeError::NoSpace { .. } => "Make room, or ask for less with --size.",
        VolumeError::WrongKind { .. } => "Name a volume file, or a device such as /dev/mmcblk1.",
        VolumeError::BadSize { .. } => {
            "A volume has at least 16 segments: ask for more --size or a smaller --segment-size."
        }
        _ => "",
    };
    Failure::new(Exit::Failed, error.code(), said(&error.to_string(), error.code()), help)
}

/// What the operator is told when a volume cannot be mounted.
pub(super) fn mount_failure(path: &Path, error: &Error) -> Failure {
    let help = match error {
        Error::NotAVolume | Error::GeometryChanged { .. } => {
            "If it should be one, `penstock volume salvage IMAGE DIR` looks for mail on it all the same."
        }
        Error::UnknownFormat { .. } => {
            "Use the version that made it; `penstock volume salvage IMAGE DIR` may find the mail on it."
        }
        Error::Full => "Deliver or remove mail first.",
        Error::BadGeometry => {
            "A volume has at least 16 segments: ask for more --size or a smaller --segment-size."
        }
        _ => "",
    };
    let message = format!("{}: {}", path.display(), said(&error.to_string(), error.code()));
    Failure::new(Exit::Failed, error.code(), message, help)
}

/// The text of an error without its code, which is told behind it.
fn said(text: &str, code: &str) -> String {
    text.strip_prefix(code).unwrap_or(text).trim_start_matches([':', ' ']).to_owned()
}
