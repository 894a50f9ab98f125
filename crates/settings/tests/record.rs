//! A record as boxes have it in flash stays readable: the stored one was not written by this code.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict")]

use penstock_settings::{RECORD_HEADER_BYTES, Record, Settings, newest_record};

/// Sequence 42, written by hand from the drawing in `src/record.rs`.
const IMAGE: &[u8] = include_bytes!("images/record-1.bin");

#[test]
fn the_stored_record_of_version_1_is_read_and_written_byte_for_byte() {
    let record = Record::from_bytes(IMAGE).unwrap();
    assert_eq!(record.sequence, 42);
    let settings = Settings::parse(&record.text).unwrap();
    assert_eq!(settings.system.hostname.as_str(), "mx.example.org");
    assert_eq!(record.to_bytes().unwrap(), IMAGE);
}

#[test]
fn a_write_that_was_cut_anywhere_leaves_the_record_before_it() {
    let before = Record { sequence: 41, text: "before".into() }.to_bytes().unwrap();
    for cut in 0..IMAGE.len() {
        // What was not programmed any more is erased flash.
        let mut torn = vec![0xFF; IMAGE.len()];
        torn[..cut].copy_from_slice(&IMAGE[..cut]);
        let (sector, record) = newest_record([&before[..], &torn[..]].into_iter()).unwrap();
        assert_eq!((sector, record.sequence), (0, 41), "cut after {cut} of {RECORD_HEADER_BYTES} + text");
    }
}
