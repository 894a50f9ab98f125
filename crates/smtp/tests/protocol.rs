//! `PROTOCOL.md` says what the code does, and which tests show it.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use penstock_smtp::bounds::*;
use penstock_smtp::{client, replies, server};

const PROTOCOL: &str = include_str!("../PROTOCOL.md");

fn assert_has_row(start: &str) {
    let found = PROTOCOL.lines().any(|line| line.starts_with(start));
    assert!(found, "PROTOCOL.md lacks a row that begins with:\n{start}");
}

#[test]
fn every_reply_is_in_the_table_and_the_table_has_no_other() {
    for row in replies::TABLE {
        assert_has_row(&format!("| `{}` | `{}` | {} |", row.name, row.reply, row.when));
    }
    let (_, table) = PROTOCOL.split_once("| constant | reply | when |\n|---|---|---|\n").unwrap_or_default();
    assert_eq!(table.lines().count(), replies::TABLE.len());
}

#[test]
fn every_bound_is_in_the_table_with_its_value() {
    for (name, value) in [
        ("COMMAND_LINE_BYTES_MAX", COMMAND_LINE_BYTES_MAX as u64),
        ("SWALLOWED_BYTES_MAX", SWALLOWED_BYTES_MAX.into()),
        ("ADDRESS_BYTES_MAX", ADDRESS_BYTES_MAX as u64),
        ("DOMAIN_BYTES_MAX", DOMAIN_BYTES_MAX as u64),
        ("GREETING_BYTES_MAX", GREETING_BYTES_MAX as u64),
        ("ENVID_BYTES_MAX", ENVID_BYTES_MAX as u64),
        ("ORCPT_BYTES_MAX", ORCPT_BYTES_MAX as u64),
        ("RECIPIENTS_TRIED_FACTOR", RECIPIENTS_TRIED_FACTOR.into()),
        ("REPLY_LINE_BYTES_MAX", REPLY_LINE_BYTES_MAX as u64),
        ("REPLY_TEXT_BYTES_MAX", REPLY_TEXT_BYTES_MAX as u64),
        ("REPLY_BYTES_MAX", REPLY_BYTES_MAX as u64),
        ("SERVER_OUTPUT_BYTES", SERVER_OUTPUT_BYTES as u64),
        ("CLIENT_OUTPUT_BYTES", CLIENT_OUTPUT_BYTES as u64),
        ("LIMIT_MAX", LIMIT_MAX.into()),
        ("COMMAND_BYTES_MAX", COMMAND_BYTES_MAX as u64),
        ("OUTSTANDING_MAX", OUTSTANDING_MAX.into()),
        ("FOREIGN_LINE_BYTES_MAX", FOREIGN_LINE_BYTES_MAX as u64),
        ("FOREIGN_LINES_MAX", FOREIGN_LINES_MAX.into()),
    ] {
        assert_has_row(&format!("| `{name}` | {value} |"));
    }
}

#[test]
fn every_default_is_in_the_table_with_its_value() -> Result<(), penstock_smtp::Error> {
    let config = server::Config::new("mx.example.com")?;
    for (name, value) in [
        ("`size_bytes_max`", config.size_bytes_max),
        ("`discarded_bytes_max`", config.discarded_bytes_max),
        ("`recipients_max` (server)", config.recipients_max.into()),
        ("`errors_max`", config.errors_max.into()),
        ("`idle_commands_max`", config.idle_commands_max.into()),
        ("`recipients_max` (client)", client::Config::new("x")?.recipients_max.into()),
    ] {
        assert_has_row(&format!("| {name} | {value} |"));
    }
    Ok(())
}

/// The rows that say what a section asks for, where that is done, and which tests show it.
fn rows() -> impl Iterator<Item = [&'static str; 3]> {
    let mut in_table = false;
    PROTOCOL.lines().filter_map(move |line| {
        in_table = line.starts_with("| § |") || (in_table && line.starts_with('|'));
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        match cells.as_slice() {
            ["§" | "---", ..] => None,
            [_, asks, place, shown] if in_table => Some([*asks, *place, *shown]),
            _ => {
                assert!(!in_table, "a row of another shape:\n{line}");
                None
            }
        }
    })
}

/// What stands between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The names of all functions in the sources below `folder`.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let named = text.lines().filter_map(|line| line.trim_start().strip_prefix("fn "));
            names.extend(named.filter_map(|rest| rest.split(['(', '<']).next()).map(str::to_owned));
        }
    }
}

#[test]
fn every_section_names_a_test_that_there_is_or_says_why_it_is_left_out() {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut tests = BTreeSet::new();
    for folder in ["src", "tests", "../daemon/src", "../daemon/tests", "../../tests/peers/tests"] {
        functions(&here.join(folder), &mut tests);
    }
    let mut shown_rows = 0;
    for [asks, place, shown] in rows() {
        for path in quoted(place) {
            assert!(here.join(path).is_file(), "{asks}: there is no {path}");
        }
        if shown.starts_with("*Omitted*") {
            assert!(shown.len() > "*Omitted*: ".len(), "{asks}: left out without a reason");
            continue;
        }
        assert!(quoted(place).next().is_some(), "{asks}: where?");
        assert!(quoted(shown).next().is_some(), "{asks}: shown by what?");
        for test in quoted(shown) {
            assert!(tests.contains(test), "{asks}: there is no test {test}");
        }
        shown_rows += 1;
    }
    assert!(shown_rows > 60, "{shown_rows}: the tables are no longer found");
}

#[test]
fn every_rfc_that_is_promised_has_its_tables() {
    for rfc in [
        "5321",
        "1870",
        "1985",
        "2034 and 3463",
        "2920",
        "3030",
        "3207",
        "3461 and 3464",
        "3848",
        "6152",
        "7504",
        "9422",
    ] {
        assert!(PROTOCOL.contains(&format!("### {rfc}: ")), "{rfc}");
    }
    for rfc in ["### 6531, 6532 and 6533: ", "- [4954](", "- [8689]("] {
        assert!(PROTOCOL.contains(rfc), "{rfc}");
    }
}
