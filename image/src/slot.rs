//! What a slot of flash holds: a bundle, which is a manifest with its signature and the parts that it names. The manifest
//! is that of `penstock-slots`, whose FORMAT.md draws its bytes; here is where the parts go.
//!
//! Who signs is not known here: a bundle is laid out, [`to_sign`](Bundle::to_sign) says what the signature is to cover, and
//! [`put_signature`](Bundle::put_signature) takes it from whoever made it.

use penstock_slots::{
    Held, Kept, MANIFEST_BYTES, Manifest, PARTS_MAX, Part, Rejected, SIGNED_BYTES, VerifyingKey, verify,
};
use sha2::{Digest as _, Sha512};

use crate::Error;
use crate::board::Board;
use crate::flash::ERASED;

/// What every part begins at a multiple of, in bytes. The first one begins at one of them, behind the manifest.
pub const ALIGN_BYTES: usize = 4096;

/// The parts of a system, in their order.
pub const SYSTEM_PARTS: [&str; 3] = ["kernel", "initramfs", "command line"];
/// The parts of a firmware.
pub const FIRMWARE_PARTS: [&str; 1] = ["firmware"];

/// What the parts of a kind are called.
pub const fn part_names(kind: Kept) -> &'static [&'static str] {
    match kind {
        Kept::System => &SYSTEM_PARTS,
        Kept::Firmware => &FIRMWARE_PARTS,
    }
}

/// A bundle, signed or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    manifest: Manifest,
    bytes: Vec<u8>,
}

impl Bundle {
    /// Lays out a bundle of these parts, not signed yet.
    ///
    /// # Errors
    /// [`Error::Bundle`] if a manifest cannot say so much.
    pub fn new(kind: Kept, board: &str, held: Held, parts: &[&[u8]]) -> Result<Self, Error> {
        let too_large = || Error::Bundle("a bundle has less than 4 GiB".into());
        let mut bytes = vec![ERASED; ALIGN_BYTES];
        let mut described = Vec::with_capacity(PARTS_MAX);
        for part in parts {
            bytes.resize(bytes.len().next_multiple_of(ALIGN_BYTES), ERASED);
            described.push(Part {
                offset: u32::try_from(bytes.len()).map_err(|_| too_large())?,
                len_bytes: u32::try_from(part.len()).map_err(|_| too_large())?,
                sha512: Sha512::digest(part).into(),
            });
            bytes.extend_from_slice(part);
        }
        let manifest = Manifest::new(kind, board, held, &described).ok_or_else(|| {
            Error::Bundle(format!(
                "a manifest has no room for the board '{board}' and {} parts",
                described.len()
            ))
        })?;
        bytes[..SIGNED_BYTES].copy_from_slice(&manifest.to_bytes());
        Ok(Self { manifest, bytes })
    }

    /// Takes a bundle that was laid out before, signed or not.
    ///
    /// # Errors
    /// [`Error::Rejected`] if no manifest begins here.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Error> {
        let manifest = Manifest::claimed(&bytes)?;
        Ok(Self { manifest, bytes })
    }

    /// What it claims to be.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What stands in flash.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the signature covers.
    pub fn to_sign(&self) -> [u8; SIGNED_BYTES] {
        self.manifest.to_bytes()
    }

    /// Signs it.
    pub fn put_signature(&mut self, signature: &[u8; MANIFEST_BYTES - SIGNED_BYTES]) {
        self.bytes[SIGNED_BYTES..MANIFEST_BYTES].copy_from_slice(signature);
    }

    /// Whether a box of this board that knows these keys would start it.
    ///
    /// # Errors
    /// [`Error::Rejected`].
    pub fn check(&self, board: &Board, keys: &[VerifyingKey]) -> Result<(), Error> {
        let kind = self.manifest.kind;
        verify(&self.bytes, keys, kind, &board.name, board.security.floor(kind))?;
        Ok(())
    }
}

/// What a bundle somewhere in flash says of itself, and whether a box of this board would start it.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// What it claims to be.
    pub manifest: Manifest,
    /// Why a box would not start it.
    pub rejected: Option<Rejected>,
}

/// Looks at what begins here, which may be as long as the rest of the flash.
///
/// # Errors
/// [`Rejected::None`], [`Rejected::Malformed`] if there is nothing to be told.
pub fn inspect(slot: &[u8], keys: &[VerifyingKey], board: &Board) -> Result<Inspected, Rejected> {
    let manifest = Manifest::claimed(slot)?;
    let floor = board.security.floor(manifest.kind);
    Ok(Inspected { manifest, rejected: verify(slot, keys, manifest.kind, &board.name, floor).err() })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;

    const HELD: Held = Held { version: 0x0000_1000, security: 1 };
    const PARTS: [&[u8]; 3] = [b"a kernel", &[0x5A; 5000], b"console=ttyAMA0 -- init"];

    fn board() -> Board {
        Board::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../board/qemu-virt")).unwrap()
    }

    #[test]
    fn parts_stand_behind_the_manifest_each_on_a_page_of_its_own() {
        let bundle = Bundle::new(Kept::System, "qemu-virt", HELD, &PARTS).unwrap();
        let places: Vec<_> =
            bundle.manifest().parts().iter().map(|part| (part.offset, part.len_bytes)).collect();
        assert_eq!(places, [(4096, 8), (8192, 5000), (16_384, 23)]);
        assert_eq!(bundle.manifest().extent_bytes() as usize, bundle.bytes().len());
        assert!(bundle.bytes()[SIGNED_BYTES..4096].iter().all(|byte| *byte == ERASED), "nobody signed it");
        assert_eq!(&bundle.bytes()[4096..4104], b"a kernel");
    }

    #[test]
    fn it_is_started_once_it_is_signed_by_a_key_that_the_box_knows() {
        let (ours, theirs) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let known = [ours.verifying_key()];
        let mut bundle = Bundle::new(Kept::System, "qemu-virt", HELD, &PARTS).unwrap();
        let verdict = |bundle: &Bundle| bundle.check(&board(), &known).map_err(|error| error.code());
        assert_eq!(verdict(&bundle), Err(Rejected::Signature.code()));
        bundle.put_signature(&theirs.sign(&bundle.to_sign()).to_bytes());
        assert_eq!(verdict(&bundle), Err(Rejected::Signature.code()));
        bundle.put_signature(&ours.sign(&bundle.to_sign()).to_bytes());
        assert_eq!(verdict(&bundle), Ok(()));
        let again = Bundle::from_bytes(bundle.bytes().to_vec()).unwrap();
        assert_eq!(again, bundle);
    }

    #[test]
    fn what_stands_in_a_slot_is_told_also_if_nobody_would_start_it() {
        let bundle = Bundle::new(Kept::Firmware, "other-board", HELD, &[b"code"]).unwrap();
        let key = SigningKey::from_bytes(&[1; 32]);
        let mut slot = bundle.bytes().to_vec();
        slot.resize(0x1_0000, ERASED);
        let found = inspect(&slot, &[key.verifying_key()], &board()).unwrap();
        assert_eq!((found.manifest.kind, found.manifest.board()), (Kept::Firmware, "other-board"));
        assert_eq!(found.rejected, Some(Rejected::Signature));
        assert!(matches!(inspect(&[ERASED; 8192], &[], &board()), Err(Rejected::None)));
    }

    #[test]
    fn what_a_manifest_cannot_say_is_refused() {
        let long = "a-board-whose-name-has-33-letters";
        assert!(Bundle::new(Kept::System, long, HELD, &PARTS).is_err());
        assert!(Bundle::new(Kept::System, "b", HELD, &[&b"x"[..]; PARTS_MAX + 1]).is_err());
    }
}
