//! What earlier versions have written is read by this one. `WRITE=1 cargo test -p penstock-identity --test images` makes the
//! images anew, which only a new version of the format may need.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict")]

use std::fs;

use penstock_identity::{
    Found, IDENTITY_PLACE_BYTES, Identity, SEED_RECORD_BYTES, SeedRecord, Serial, find_identity, survey,
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/images/");

fn image(name: &str, make: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path = format!("{FOLDER}{name}");
    if std::env::var_os("WRITE").is_some() {
        fs::write(&path, make()).unwrap();
    }
    fs::read(path).unwrap()
}

#[test]
fn an_identity_of_version_1_is_read() {
    let identity = Identity {
        serial: Serial::parse("PS-7Q2MX-04KTR").unwrap(),
        mac: [0x52, 0x54, 0, 0x12, 0x34, 0x56],
        board: "qemu-virt".into(),
        revision: 3,
        key: std::array::from_fn(|n| n as u8),
    };
    let stored = image("identity-1.bin", || {
        let mut sector = vec![0xFF; 4 * IDENTITY_PLACE_BYTES];
        for place in [0, 1] {
            let bytes = identity.to_bytes().unwrap();
            sector[place * IDENTITY_PLACE_BYTES..][..bytes.len()].copy_from_slice(&bytes);
        }
        sector
    });
    assert_eq!(find_identity(&stored), Found::Identity(identity.clone()));
    assert_eq!(stored[..104], identity.to_bytes().unwrap(), "and written as it was");
}

#[test]
fn seeds_of_version_1_are_read() {
    let record = |sequence: u64, trusted| SeedRecord {
        sequence,
        unix_ms: 1_795_317_580_000 + sequence,
        trusted,
        seed: [sequence as u8; 32],
    };
    let stored = image("seed-1.bin", || {
        let mut sector = vec![0xFF; 4 * SEED_RECORD_BYTES];
        for (place, record) in [record(7, true), record(8, false)].into_iter().enumerate() {
            let bytes = record.to_bytes();
            sector[place * SEED_RECORD_BYTES..][..bytes.len()].copy_from_slice(&bytes);
        }
        sector
    });
    let seeds = survey(&[&stored]);
    assert_eq!(seeds.newest, Some(record(8, false)));
    assert_eq!(seeds.last_trusted_ms, Some(record(7, true).unix_ms));
    assert_eq!(stored[..68], record(7, true).to_bytes(), "and written as it was");
}
