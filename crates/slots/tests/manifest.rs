//! What may be started: signed, for this board, of this kind, new enough, and byte for byte what was signed.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict, in its helpers too")]

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use penstock_slots::{
    Held, Kept, MANIFEST_BYTES, Manifest, Part, Rejected, SIGNED_BYTES, parse_keys, verify,
};
use proptest::prelude::*;
use sha2::{Digest as _, Sha512};

const BOARD: &str = "qemu-virt";
const HELD: Held = Held { version: 0x0100_2003, security: 7 };

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn known() -> [VerifyingKey; 2] {
    [key(1).verifying_key(), key(2).verifying_key()]
}

/// A slot with three parts, signed.
fn slot(by: &SigningKey, kind: Kept, board: &str) -> Vec<u8> {
    let parts: [&[u8]; 3] = [b"the kernel", b"the initramfs", b"console=ttyAMA0"];
    let mut bytes = vec![0xFF; 4096];
    let mut described = Vec::new();
    for (part, offset) in parts.into_iter().zip((1024..).step_by(1024)) {
        bytes[offset..offset + part.len()].copy_from_slice(part);
        let sha512 = Sha512::digest(part).as_slice().try_into().unwrap();
        described.push(Part { offset: offset as u32, len_bytes: part.len() as u32, sha512 });
    }
    let manifest = Manifest::new(kind, board, HELD, &described).unwrap();
    let signed = manifest.to_bytes();
    bytes[..SIGNED_BYTES].copy_from_slice(&signed);
    bytes[SIGNED_BYTES..MANIFEST_BYTES].copy_from_slice(&by.sign(&signed).to_bytes());
    bytes
}

fn verdict(slot: &[u8], floor: u32) -> Result<(), Rejected> {
    verify(slot, &known(), Kept::System, BOARD, floor).map(|_| ())
}

#[test]
fn what_either_key_signed_is_started() {
    for number in [1, 2] {
        let slot = slot(&key(number), Kept::System, BOARD);
        let bundle = verify(&slot, &known(), Kept::System, BOARD, 7).unwrap();
        assert_eq!((bundle.manifest.held, bundle.manifest.board()), (HELD, BOARD));
        assert_eq!(bundle.part(2), Some(&b"console=ttyAMA0"[..]));
        assert_eq!(bundle.part(3), None);
    }
}

#[test]
fn a_version_is_a_number_in_flash_and_text_for_people() {
    for (text, number) in [("0.1.0", 0x0000_1000), ("1.2.3", 0x0100_2003), ("255.4095.4095", u32::MAX)] {
        assert_eq!(Held::version_number(text), Some(number));
        assert_eq!(Held { version: number, security: 0 }.version().to_string(), text);
    }
    assert_eq!(Held::version_number("1.2.3-rc1+x"), Some(0x0100_2003));
    for text in ["", "1.2", "1.2.3.4", "256.0.0", "0.4096.0", "1.x.0"] {
        assert_eq!(Held::version_number(text), None, "{text}");
    }
    assert_eq!(Held::default().version().to_string(), "unknown");
}

#[test]
fn keys_are_compiled_in_as_text_and_nothing_else_is_taken_for_them() {
    let text =
        |key: &VerifyingKey| key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let [one, two] = known().map(|key| text(&key));
    assert_eq!(parse_keys(&format!("{one},{two}")), Some(known()));
    assert_eq!(parse_keys(&format!("{} , {two}\n", one.to_uppercase())), Some(known()));
    let (three, longer, no_digit) =
        (format!("{one},{two},{one}"), format!("{one}0,{two}"), format!("{one},g{}", &two[1..]));
    for wrong in ["", &one, &three, &longer, &no_digit] {
        assert_eq!(parse_keys(wrong), None, "{wrong}");
    }
}

#[test]
fn each_reason_to_refuse_is_told_apart() {
    assert_eq!(verdict(&slot(&key(3), Kept::System, BOARD), 0), Err(Rejected::Signature));
    assert_eq!(verdict(&slot(&key(1), Kept::Firmware, BOARD), 0), Err(Rejected::Kind));
    assert_eq!(verdict(&slot(&key(1), Kept::System, "other"), 0), Err(Rejected::Board));
    let good = slot(&key(1), Kept::System, BOARD);
    assert_eq!(verdict(&good, 8), Err(Rejected::Security { found: 7, floor: 8 }));
    assert_eq!(verdict(&[0xFF; 4096], 0), Err(Rejected::None));
    assert_eq!(verdict(&[], 0), Err(Rejected::None));
    let mut rotten = good.clone();
    rotten[2050] ^= 1;
    assert_eq!(verdict(&rotten, 0), Err(Rejected::Part(1)));
    assert_eq!(verdict(&good[..3000], 0), Err(Rejected::Part(2)));
}

#[test]
fn the_first_block_says_how_much_is_to_be_read() {
    let good = slot(&key(1), Kept::System, BOARD);
    let manifest = Manifest::from_slot(&good[..MANIFEST_BYTES], &known()).unwrap();
    let extent = manifest.extent_bytes() as usize;
    assert_eq!(extent, 3072 + b"console=ttyAMA0".len());
    assert_eq!(verdict(&good[..extent], 0), Ok(()));
    assert_eq!(verdict(&good[..extent - 1], 0), Err(Rejected::Part(2)));
}

#[test]
fn no_bit_of_a_manifest_can_change_unseen() {
    let good = slot(&key(1), Kept::System, BOARD);
    for bit in 0..MANIFEST_BYTES * 8 {
        let mut changed = good.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(verdict(&changed, 0).is_err(), "bit {bit}");
    }
}

proptest! {
    #[test]
    fn whatever_is_signed_never_reads_beyond_the_slot(
        count in 0..6_u8,
        places in prop::collection::vec((any::<u32>(), any::<u32>()), 4),
    ) {
        let mut signed = slot(&key(1), Kept::System, BOARD);
        signed[9] = count;
        for ((offset, len), at) in places.into_iter().zip((64..).step_by(72)) {
            signed[at..at + 4].copy_from_slice(&offset.to_le_bytes());
            signed[at + 4..at + 8].copy_from_slice(&len.to_le_bytes());
        }
        let signature = key(1).sign(&signed[..SIGNED_BYTES]).to_bytes();
        signed[SIGNED_BYTES..MANIFEST_BYTES].copy_from_slice(&signature);
        prop_assert!(verdict(&signed, 0).is_err());
    }
}
