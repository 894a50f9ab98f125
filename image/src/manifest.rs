//! The manifest of a bundle: what stands at the start of a system slot and says what the rest of it is. `FORMAT.md` draws
//! the bytes.
//!
//! Who made a bundle is not known here: the signature over the manifest is made outside the build.

use std::fmt;

use crc::{CRC_32_ISCSI, Crc, Table};
use sha2::{Digest, Sha512};

/// The version of the layout.
const FORMAT: u16 = 1;
const MAGIC: [u8; 8] = *b"PSTKSLOT";
/// The size of a manifest in bytes.
pub const MANIFEST_BYTES: usize = 512;
/// What every part of a bundle begins at a multiple of, in bytes. The first one begins at one of them, behind the manifest
/// and the room for its signature.
pub const ALIGN_BYTES: usize = 4096;
/// How long names may be, in bytes.
const NAME_BYTES: usize = 32;
const PARTS_AT: usize = 88;
const PART_BYTES: usize = 80;
const CRC_AT: usize = MANIFEST_BYTES - 4;
/// CRC-32C, as everywhere in flash.
const CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
/// What stands in flash where nothing was written.
const ERASED: u8 = 0xFF;

/// What a part of a bundle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The compressed kernel.
    Kernel,
    /// The compressed initramfs.
    Initramfs,
    /// The kernel's command line.
    CommandLine,
}

impl Kind {
    /// All of them, in the order in which they stand in a bundle.
    pub const ALL: [Self; 3] = [Self::Kernel, Self::Initramfs, Self::CommandLine];

    const fn number(self) -> u32 {
        match self {
            Self::Kernel => 1,
            Self::Initramfs => 2,
            Self::CommandLine => 3,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kernel => "kernel",
            Self::Initramfs => "initramfs",
            Self::CommandLine => "command line",
        })
    }
}

/// A part of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it begins, in bytes from the start of the bundle.
    pub offset: u32,
    /// How large it is, in bytes.
    pub size_bytes: u32,
    /// Its SHA-512.
    pub sha512: [u8; 64],
}

/// What a bundle is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The board that it is for.
    pub board: String,
    /// The version of Penstock.
    pub version: String,
    /// A box that has confirmed one takes none that is lower.
    pub security_version: u32,
    /// How large the bundle is in bytes, this manifest among them.
    pub bundle_bytes: u32,
    /// Its parts, in the order of [`Kind::ALL`].
    pub parts: [Part; 3],
}

/// What is wrong with a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BundleError {
    /// There is none: no manifest begins here.
    Absent,
    /// It has a layout that this version does not know.
    UnknownFormat(u16),
    /// The manifest is not as it was written.
    Damaged,
    /// The manifest says what cannot be.
    Nonsense(&'static str),
    /// A name is longer than its field, or is not printable ASCII.
    Name(String),
    /// All in all it is larger than a manifest can say.
    TooLarge,
    /// A part is not as it was written, or is cut short.
    Part(Kind),
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("there is no system"),
            Self::UnknownFormat(format) => {
                write!(f, "the system has format {format}, and this version knows {FORMAT}")
            }
            Self::Damaged => f.write_str("the manifest is damaged"),
            Self::Nonsense(what) => write!(f, "the manifest makes no sense: {what}"),
            Self::Name(name) => {
                write!(f, "'{name}' does not fit into a manifest: at most {NAME_BYTES} letters of ASCII")
            }
            Self::TooLarge => f.write_str("a bundle has less than 4 GiB"),
            Self::Part(kind) => write!(f, "the {kind} is damaged"),
        }
    }
}

impl std::error::Error for BundleError {}

impl Manifest {
    /// The bytes that are signed.
    ///
    /// # Errors
    /// [`BundleError::Name`].
    pub fn to_bytes(&self) -> Result<[u8; MANIFEST_BYTES], BundleError> {
        let mut bytes = [0; MANIFEST_BYTES];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &MAGIC);
        put(8, &FORMAT.to_le_bytes());
        put(10, &(MANIFEST_BYTES as u16).to_le_bytes());
        put(12, &self.security_version.to_le_bytes());
        put(16, name(&self.board)?);
        put(48, name(&self.version)?);
        put(80, &self.bundle_bytes.to_le_bytes());
        put(84, &(self.parts.len() as u32).to_le_bytes());
        for (index, (kind, part)) in Kind::ALL.iter().zip(&self.parts).enumerate() {
            let at = PARTS_AT + index * PART_BYTES;
            put(at, &kind.number().to_le_bytes());
            put(at + 4, &part.offset.to_le_bytes());
            put(at + 8, &part.size_bytes.to_le_bytes());
            put(at + 16, &part.sha512);
        }
        let crc = CRC.checksum(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        Ok(bytes)
    }

    /// Reads the manifest at the start of a bundle. Its parts are not looked at.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn read(bundle: &[u8]) -> Result<Self, BundleError> {
        let bytes = bundle.get(..MANIFEST_BYTES).ok_or(BundleError::Absent)?;
        if bytes[..8] != MAGIC {
            return Err(BundleError::Absent);
        }
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let format = u16::from_le_bytes([bytes[8], bytes[9]]);
        if format != FORMAT {
            return Err(BundleError::UnknownFormat(format));
        }
        if number(CRC_AT) != CRC.checksum(&bytes[..CRC_AT]) {
            return Err(BundleError::Damaged);
        }
        let text = |at: usize| {
            let field = &bytes[at..at + NAME_BYTES];
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(NAME_BYTES);
            let text = String::from_utf8_lossy(&field[..end]).into_owned();
            name(&text).map(|_| ()).map_err(|_| BundleError::Nonsense("a name is not ASCII"))?;
            Ok(text)
        };
        let (bundle_bytes, parts) = (number(80), number(84));
        if parts != Kind::ALL.len() as u32 {
            return Err(BundleError::Nonsense("it has three parts"));
        }
        let part = |index: usize| {
            let at = PARTS_AT + index * PART_BYTES;
            let mut sha512 = [0; 64];
            sha512.copy_from_slice(&bytes[at + 16..at + PART_BYTES]);
            (number(at), Part { offset: number(at + 4), size_bytes: number(at + 8), sha512 })
        };
        let parts = [part(0), part(1), part(2)];
        let mut free_from = ALIGN_BYTES as u64;
        for (kind, (number, part)) in Kind::ALL.iter().zip(&parts) {
            if *number != kind.number() {
                return Err(BundleError::Nonsense("its parts are not those of a system"));
            }
            let offset = u64::from(part.offset);
            if offset < free_from || !offset.is_multiple_of(ALIGN_BYTES as u64) {
                return Err(BundleError::Nonsense("a part begins before the one before it ends"));
            }
            free_from = offset + u64::from(part.size_bytes);
        }
        if free_from != u64::from(bundle_bytes) {
            return Err(BundleError::Nonsense("it does not end where its last part does"));
        }
        Ok(Self {
            board: text(16)?,
            version: text(48)?,
            security_version: number(12),
            bundle_bytes,
            parts: parts.map(|(_, part)| part),
        })
    }

    /// Reads the manifest of a bundle and holds every part against it.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn verify(bundle: &[u8]) -> Result<Self, BundleError> {
        let manifest = Self::read(bundle)?;
        for (kind, part) in Kind::ALL.into_iter().zip(&manifest.parts) {
            let begin = part.offset as usize;
            let bytes = bundle.get(begin..begin + part.size_bytes as usize);
            if bytes.is_none_or(|bytes| Sha512::digest(bytes).as_slice() != part.sha512) {
                return Err(BundleError::Part(kind));
            }
        }
        Ok(manifest)
    }
}

/// Makes a bundle of the parts, in the order of [`Kind::ALL`].
///
/// # Errors
/// [`BundleError::Name`], [`BundleError::TooLarge`].
pub fn bundle(
    board: &str,
    version: &str,
    security_version: u32,
    parts: [&[u8]; 3],
) -> Result<Vec<u8>, BundleError> {
    let mut bytes = vec![ERASED; ALIGN_BYTES];
    let mut described = Vec::with_capacity(parts.len());
    let size = |len: usize| u32::try_from(len).map_err(|_| BundleError::TooLarge);
    for part in parts {
        bytes.resize(bytes.len().next_multiple_of(ALIGN_BYTES), ERASED);
        let offset = size(bytes.len())?;
        let sha512 = Sha512::digest(part).into();
        described.push(Part { offset, size_bytes: size(part.len())?, sha512 });
        bytes.extend_from_slice(part);
    }
    let manifest = Manifest {
        board: board.to_owned(),
        version: version.to_owned(),
        security_version,
        bundle_bytes: size(bytes.len())?,
        parts: [described[0], described[1], described[2]],
    };
    bytes[..MANIFEST_BYTES].copy_from_slice(&manifest.to_bytes()?);
    Ok(bytes)
}

/// The bytes of a name, if it has a place in a manifest.
fn name(text: &str) -> Result<&[u8], BundleError> {
    let fits = text.len() <= NAME_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits && !text.is_empty() { Ok(text.as_bytes()) } else { Err(BundleError::Name(text.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by version 1 of the layout, and kept.
    const SAMPLE: &[u8] = include_bytes!("../tests/samples/slot-1.bundle");
    const PARTS: [&[u8]; 3] = [b"a kernel", &[0x5A; 5000], b"console=ttyAMA0 -- init"];

    fn made() -> Vec<u8> {
        bundle("sample-board", "1.2.3", 7, PARTS).unwrap()
    }

    #[test]
    fn the_stored_bundle_is_read_and_would_be_made_the_same_today() {
        let manifest = Manifest::verify(SAMPLE).unwrap();
        assert_eq!((manifest.board.as_str(), manifest.version.as_str()), ("sample-board", "1.2.3"));
        assert_eq!(manifest.security_version, 7);
        assert_eq!(manifest.bundle_bytes as usize, SAMPLE.len());
        let offsets = manifest.parts.map(|part| (part.offset, part.size_bytes));
        assert_eq!(offsets, [(4096, 8), (8192, 5000), (16_384, 23)]);
        assert_eq!(made(), SAMPLE);
    }

    #[test]
    fn a_signature_has_its_place_and_changes_nothing_that_it_covers() {
        let mut signed = made();
        assert!(signed[MANIFEST_BYTES..ALIGN_BYTES].iter().all(|byte| *byte == ERASED));
        signed[512..584].fill(0x11);
        assert_eq!(Manifest::verify(&signed).unwrap(), Manifest::verify(SAMPLE).unwrap());
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed() {
        let good = made();
        let parts = Manifest::read(&good).unwrap().parts;
        let in_parts = parts.iter().flat_map(|part| part.offset..part.offset + part.size_bytes);
        for at in (0..MANIFEST_BYTES).chain(in_parts.map(|at| at as usize)) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            assert!(Manifest::verify(&bad).is_err(), "byte {at}");
        }
    }

    #[test]
    fn what_is_cut_short_or_was_never_written_is_told() {
        let good = made();
        for len in [0, 8, MANIFEST_BYTES - 1] {
            assert_eq!(Manifest::read(&good[..len]), Err(BundleError::Absent), "{len} bytes");
        }
        assert_eq!(Manifest::read(&vec![ERASED; 8192]), Err(BundleError::Absent));
        assert_eq!(Manifest::verify(&good[..good.len() - 1]), Err(BundleError::Part(Kind::CommandLine)));
        let mut newer = good;
        newer[8] = 2;
        assert_eq!(Manifest::read(&newer), Err(BundleError::UnknownFormat(2)));
    }

    #[test]
    fn a_manifest_with_a_good_crc_is_not_believed_blindly() {
        for (at, value, says) in [
            (84, 4, "three parts"),
            (PARTS_AT, 2, "not those of a system"),
            (PARTS_AT + 4, 512, "before the one before"),
            (PARTS_AT + 4, 4097, "before the one before"),
            (PARTS_AT + 8, 100_000, "before the one before"),
            (80, 10, "where its last part does"),
            (48, 0x80, "ASCII"),
        ] {
            let mut bytes = made();
            bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
            let crc = CRC.checksum(&bytes[..CRC_AT]);
            bytes[CRC_AT..MANIFEST_BYTES].copy_from_slice(&crc.to_le_bytes());
            let error = Manifest::read(&bytes).unwrap_err();
            assert!(error.to_string().contains(says), "{at}: {error}");
        }
    }

    #[test]
    fn names_that_do_not_fit_are_refused() {
        for board in ["", "umlaut-ü", "two words", "a-board-whose-name-has-33-letters"] {
            assert_eq!(bundle(board, "1", 0, PARTS), Err(BundleError::Name(board.to_owned())));
        }
    }
}
