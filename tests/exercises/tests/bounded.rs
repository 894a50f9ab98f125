//! Every seed, everything that fuzzing ever found, and some thousand drawn inputs, through the functions that are fuzzed.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict")]

use std::fs;
use std::path::Path;

use penstock_exercises::TARGETS;
use penstock_exercises::generate::Random;

/// How many inputs are drawn for each target, always the same ones; `PENSTOCK_DRAWN` draws more.
const DRAWN: u64 = 3000;

#[test]
fn everything_that_was_ever_found_holds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    for (name, target, _) in TARGETS {
        let mut files: Vec<_> =
            fs::read_dir(seeds.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{name} has no seeds");
        for file in files {
            // What is printed last is what failed.
            println!("{name}: {}", file.display());
            target(&fs::read(file).unwrap());
        }
    }
}

/// Draws inputs for a target.
fn drawn(name: &str) {
    let (_, target, draw) = TARGETS.into_iter().find(|(known, ..)| *known == name).unwrap();
    let count = std::env::var("PENSTOCK_DRAWN").map_or(DRAWN, |count| count.parse().unwrap());
    for seed in 0..count {
        let input = draw(&mut Random::seeded(seed));
        if std::panic::catch_unwind(|| target(&input)).is_err() {
            panic!("{name}, seed {seed}: {}", input.escape_ascii());
        }
    }
}

#[test]
fn any_client_and_any_cut_get_what_the_reference_says_out_of_the_server() {
    drawn("server");
}

#[test]
fn any_server_and_any_caller_get_whole_commands_and_one_end_out_of_the_client() {
    drawn("client");
}

#[test]
fn any_reply_is_read_as_the_reference_reads_it() {
    drawn("reply");
}

#[test]
fn an_address_never_becomes_another_command_parameter_or_address() {
    drawn("address");
}

#[test]
fn a_serial_line_that_says_anything_destroys_nothing_and_ends_in_service() {
    drawn("console");
}

#[test]
fn any_settings_file_is_settings_or_problems() {
    drawn("settings");
}
