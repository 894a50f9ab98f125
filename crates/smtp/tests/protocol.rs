//! `PROTOCOL.md` says what the code does.

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
