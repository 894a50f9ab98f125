//! A settings file that holds anything at all: settings, or problems that a person can read.

use penstock_settings::{FILE_BYTES_MAX, PROBLEMS_MAX, Record, Settings, changes, entries, newest_record};

/// Tries an input: as a file, and as the record of one in flash.
pub fn settings(input: &[u8]) {
    if let Ok(record) = Record::from_bytes(input) {
        assert!(input.starts_with(&record.to_bytes().expect("what was read can be written")));
    }
    let Ok(text) = core::str::from_utf8(input) else { return };
    match Settings::parse(text) {
        Ok(_) => {
            assert!(text.len() <= FILE_BYTES_MAX);
            // What was applied is what the rescue reads later.
            let record = Record { sequence: 7, text: text.to_owned() };
            if let Some(bytes) = record.to_bytes() {
                let (_, read) = newest_record([&bytes[..]].into_iter()).expect("a whole record is read");
                assert_eq!((read.sequence, &read.text[..]), (7, text));
            }
        }
        Err(problems) => {
            assert!((1..=PROBLEMS_MAX).contains(&problems.iter().count()));
            let lines = u32::try_from(text.split('\n').count()).unwrap();
            for problem in problems.iter() {
                assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{problem}");
                assert!(!problem.reason.is_empty());
            }
            // What a file holds cannot speak to the terminal, nor make a screen of one line.
            let said = problems.to_string();
            assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{}", said.escape_debug());
        }
    }
    assert!(changes(text, text).is_empty(), "a file does not differ from itself");
    let set = entries(text).len();
    assert!(changes(text, "").len() <= set);
}
