//! `SETTINGS.md` says what the table says. `WRITE=1 cargo test -p penstock-settings --test document` brings it in step.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict")]

use std::fmt::Write as _;

use penstock_settings::{Preset, SECTIONS};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/SETTINGS.md");

const HEAD: &str = "# Settings

Made from the table in `src/table.rs`; a test keeps it in step. `penstock settings defaults` prints the same as a file,
`penstock settings check FILE` says what is wrong with one.

A duration is a whole number with `ms`, `s`, `m`, `h` or `d`; a size is one with `B`, `KiB`, `MiB`, `GiB` or `TiB`.
Unknown keys and values out of range are refused, all at once, with line and reason; nothing is guessed.
";

fn document() -> String {
    let mut text = HEAD.to_string();
    for section in &SECTIONS {
        write!(text, "\n## `{}`\n\n", section.header()).unwrap();
        lines(&mut text, section.about);
        for key in section.keys {
            write!(text, "\n### `{}.{}`\n\n", section.name, key.name).unwrap();
            lines(&mut text, key.reason);
            match (key.preset)() {
                Preset::Default(value) => {
                    writeln!(text, "\nDefault: `{value}`. Must be {}.", (key.allowed)())
                }
                Preset::Required(example) => {
                    writeln!(text, "\nNo default, for example `{example}`. Must be {}.", (key.allowed)())
                }
            }
            .unwrap();
        }
    }
    text
}

fn lines(text: &mut String, lines: &[&str]) {
    for line in lines {
        writeln!(text, "{}", line.trim()).unwrap();
    }
}

#[test]
fn the_document_is_in_step_with_the_table() {
    if std::env::var_os("WRITE").is_some() {
        std::fs::write(DOCUMENT, document()).unwrap();
    }
    let there = std::fs::read_to_string(DOCUMENT).unwrap();
    assert!(there == document(), "SETTINGS.md is out of step: see the head of this test");
}
