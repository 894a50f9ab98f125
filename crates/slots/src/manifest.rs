//! What a signature covers: which parts a bundle has, for which board it is, and how new.
//!
//! ```text
//!   0  "PS-MAN-1"            the last character is the version of the format
//!   8  kind, u8              0 system, 1 firmware
//!   9  parts, u8             how many of the four below are there
//!  10  0, u16
//!  12  version, u32          major, minor and patch in 8, 12 and 12 bits
//!  16  security version, u32
//!  20  board, 32 bytes       ASCII, filled up with zeros
//!  52  0, 12 bytes
//!  64  part 1                offset u32, length u32, SHA-512 64 bytes
//! 136  part 2, 208 part 3, 280 part 4
//! 352  Ed25519 signature of bytes 0 to 351, 64 bytes
//! ```
//! Offsets are from the beginning of the slot; the manifest is the slot's first block. A system has kernel, initramfs and
//! command line, in this order; a firmware has one part.

use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha512};

use crate::field;
use crate::state::{Held, Kept};

/// What a manifest takes, its signature included, in bytes.
pub const MANIFEST_BYTES: usize = SIGNED_BYTES + 64;
/// What of it is signed.
pub const SIGNED_BYTES: usize = PARTS_AT + PARTS_MAX * PART_BYTES;
/// How many parts a bundle has at most.
pub const PARTS_MAX: usize = 4;
/// The longest name of a board, in bytes.
pub const BOARD_BYTES_MAX: usize = 32;
/// How many keys a firmware knows: the one that signs now, and the one that will.
pub const KEYS: usize = 2;

/// What stands at its beginning.
const MAGIC: [u8; 8] = *b"PS-MAN-1";
const PARTS_AT: usize = 64;
const PART_BYTES: usize = 72;

/// One part of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it begins in the slot, in bytes.
    pub offset: u32,
    /// How long it is, in bytes.
    pub len_bytes: u32,
    /// Its SHA-512.
    pub sha512: [u8; 64],
}

/// What a bundle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Which kind.
    pub kind: Kept,
    /// How new.
    pub held: Held,
    board: [u8; BOARD_BYTES_MAX],
    parts: [Part; PARTS_MAX],
    part_count: usize,
}

/// Why a bundle is not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// There is no manifest.
    None,
    /// No key that is known has signed it.
    Signature,
    /// It is signed, and makes no sense.
    Malformed,
    /// It is for another board.
    Board,
    /// It is of the other kind.
    Kind,
    /// It is older than may be started.
    Security {
        /// Its security version.
        found: u32,
        /// The lowest that is started.
        floor: u32,
    },
    /// A part of it is not what was signed.
    Part(u8),
}

impl Rejected {
    /// The stable code under which the console and the documents speak of it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::None => "PS-B010",
            Self::Signature => "PS-B011",
            Self::Malformed => "PS-B012",
            Self::Board => "PS-B013",
            Self::Kind => "PS-B014",
            Self::Security { .. } => "PS-B015",
            Self::Part(_) => "PS-B016",
        }
    }
}

impl core::fmt::Display for Rejected {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}: ", self.code())?;
        match self {
            Self::None => f.write_str("there is no bundle"),
            Self::Signature => f.write_str("the bundle is not signed by a key that this box knows"),
            Self::Malformed => f.write_str("the bundle's manifest makes no sense"),
            Self::Board => f.write_str("the bundle is for another board"),
            Self::Kind => f.write_str(
                "the bundle is of another kind: a firmware in the place of a system, or vice versa",
            ),
            Self::Security { found, floor } => {
                write!(f, "the bundle's security version is {found}, and this box starts none below {floor}")
            }
            Self::Part(number) => write!(f, "part {number} of the bundle is not what was signed"),
        }
    }
}

impl Manifest {
    /// Describes a bundle. `None` if the name of the board is too long or the parts are too many.
    pub fn new(kind: Kept, board: &str, held: Held, parts: &[Part]) -> Option<Self> {
        let mut name = [0; BOARD_BYTES_MAX];
        name.get_mut(..board.len())?.copy_from_slice(board.as_bytes());
        let empty = Part { offset: 0, len_bytes: 0, sha512: [0; 64] };
        let mut all = [empty; PARTS_MAX];
        all.get_mut(..parts.len())?.copy_from_slice(parts);
        Some(Self { kind, held, board: name, parts: all, part_count: parts.len() })
    }

    /// The board that it is for.
    pub fn board(&self) -> &str {
        let len = self.board.iter().position(|byte| *byte == 0).unwrap_or(BOARD_BYTES_MAX);
        core::str::from_utf8(&self.board[..len]).unwrap_or_default()
    }

    /// Its parts.
    pub fn parts(&self) -> &[Part] {
        &self.parts[..self.part_count]
    }

    /// The bytes to be signed; the signature follows them in the slot.
    pub fn to_bytes(&self) -> [u8; SIGNED_BYTES] {
        let mut bytes = [0; SIGNED_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8] = match self.kind {
            Kept::System => 0,
            Kept::Firmware => 1,
        };
        bytes[9] = self.part_count as u8;
        bytes[12..16].copy_from_slice(&self.held.version.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.held.security.to_le_bytes());
        bytes[20..20 + BOARD_BYTES_MAX].copy_from_slice(&self.board);
        for (part, at) in self.parts().iter().zip((PARTS_AT..).step_by(PART_BYTES)) {
            bytes[at..at + 4].copy_from_slice(&part.offset.to_le_bytes());
            bytes[at + 4..at + 8].copy_from_slice(&part.len_bytes.to_le_bytes());
            bytes[at + 8..at + PART_BYTES].copy_from_slice(&part.sha512);
        }
        bytes
    }

    /// How much of a slot the bundle takes, in bytes from the slot's beginning: what has to be read before it is verified.
    pub fn extent_bytes(&self) -> u64 {
        let ends = self.parts().iter().map(|part| u64::from(part.offset) + u64::from(part.len_bytes));
        ends.fold(MANIFEST_BYTES as u64, u64::max)
    }

    /// Whether it is of this kind, for this board and new enough.
    ///
    /// # Errors
    /// [`Rejected::Kind`], [`Rejected::Board`], [`Rejected::Security`].
    pub fn suits(&self, kind: Kept, board: &str, floor: u32) -> Result<(), Rejected> {
        if self.kind != kind {
            return Err(Rejected::Kind);
        }
        if self.board() != board {
            return Err(Rejected::Board);
        }
        let found = self.held.security;
        if found < floor { Err(Rejected::Security { found, floor }) } else { Ok(()) }
    }

    /// Reads what a slot begins with, if it is signed by one of the keys. Nothing is taken from it before that is known.
    /// It says what the slot ought to hold; whether it does is [`verify`]'s to say.
    ///
    /// # Errors
    /// [`Rejected::None`], [`Rejected::Signature`], [`Rejected::Malformed`].
    pub fn from_slot(slot: &[u8], keys: &[VerifyingKey]) -> Result<Self, Rejected> {
        let bytes =
            slot.get(..MANIFEST_BYTES).filter(|bytes| bytes.starts_with(&MAGIC)).ok_or(Rejected::None)?;
        let (signed, signature) = bytes.split_at(SIGNED_BYTES);
        let signature = Signature::from_bytes(&field(signature, 0));
        if !keys.iter().any(|key| key.verify_strict(signed, &signature).is_ok()) {
            return Err(Rejected::Signature);
        }
        Self::parse(signed)
    }

    /// Reads what a slot claims to hold, whoever wrote that. It is for showing: nothing may be started or kept on the
    /// strength of it.
    ///
    /// # Errors
    /// [`Rejected::None`], [`Rejected::Malformed`].
    pub fn claimed(slot: &[u8]) -> Result<Self, Rejected> {
        Self::parse(slot.get(..SIGNED_BYTES).filter(|bytes| bytes.starts_with(&MAGIC)).ok_or(Rejected::None)?)
    }

    fn parse(signed: &[u8]) -> Result<Self, Rejected> {
        let kind = match signed[8] {
            0 => Kept::System,
            1 => Kept::Firmware,
            _ => return Err(Rejected::Malformed),
        };
        let part_count = usize::from(signed[9]);
        if part_count == 0 || part_count > PARTS_MAX {
            return Err(Rejected::Malformed);
        }
        let mut parts = [Part { offset: 0, len_bytes: 0, sha512: [0; 64] }; PARTS_MAX];
        for (part, at) in parts.iter_mut().zip((PARTS_AT..).step_by(PART_BYTES)).take(part_count) {
            part.offset = u32::from_le_bytes(field(signed, at));
            part.len_bytes = u32::from_le_bytes(field(signed, at + 4));
            part.sha512 = field(signed, at + 8);
        }
        let held = Held {
            version: u32::from_le_bytes(field(signed, 12)),
            security: u32::from_le_bytes(field(signed, 16)),
        };
        Ok(Self { kind, held, board: field(signed, 20), parts, part_count })
    }
}

/// A bundle that may be started: where its parts are in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bundle<'a> {
    /// What it is.
    pub manifest: Manifest,
    slot: &'a [u8],
}

impl<'a> Bundle<'a> {
    /// A part's bytes.
    pub fn part(&self, number: usize) -> Option<&'a [u8]> {
        let part = self.manifest.parts().get(number)?;
        self.slot.get(part.offset as usize..)?.get(..part.len_bytes as usize)
    }
}

/// Whether what a slot holds may be started here: signed, for this board, of this kind, new enough, and every part as it was
/// signed. `slot` is the slot **in memory**: what is verified is what is started, whatever the flash says afterwards.
///
/// # Errors
/// [`Rejected`].
pub fn verify<'a>(
    slot: &'a [u8],
    keys: &[VerifyingKey],
    kind: Kept,
    board: &str,
    floor: u32,
) -> Result<Bundle<'a>, Rejected> {
    let manifest = Manifest::from_slot(slot, keys)?;
    manifest.suits(kind, board, floor)?;
    let bundle = Bundle { manifest, slot };
    for number in 0..manifest.parts().len() {
        let is_right = bundle
            .part(number)
            .is_some_and(|bytes| Sha512::digest(bytes).as_slice() == manifest.parts()[number].sha512);
        if !is_right {
            return Err(Rejected::Part(number as u8));
        }
    }
    Ok(bundle)
}
