//! `FIELD-GUIDE.md` names what can be typed, and every code that the consoles speak.
#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use penstock_console::{COMMANDS, Level, parse};

const GUIDE: &str = include_str!("../FIELD-GUIDE.md");

/// Whose codes are told, and how those begin that are nobody else's.
const SPEAKERS: [(&str, &str); 7] = [
    ("slots", "PS-B"),
    ("flash-cfi", "PS-F"),
    ("firmware", "PS-W"),
    ("rescue", "PS-E"),
    ("console", "PS-X"),
    ("penstock/src/console", "PS-K"),
    ("penstock/src/edit.rs", "PS-K"),
];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All sources below a folder, or that one; its tests are not of it.
fn sources(path: &Path, into: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap().path();
            if entry.file_name().unwrap() != "tests" {
                sources(&entry, into);
            }
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        into.push(path.to_owned());
    }
}

/// The codes with which a source begins one of its texts.
fn codes(source: &str) -> impl Iterator<Item = &str> {
    source.match_indices("PS-").filter_map(|(at, _)| {
        let (before, code) = source.split_at(at);
        if !before.ends_with('"') && !before.ends_with("\"ERR ") {
            return None;
        }
        let digits = code.get(4..)?.find(|c: char| !c.is_ascii_digit())?;
        let ends = code[4 + digits..].starts_with(['"', ':', ' ']);
        (code.as_bytes()[3].is_ascii_uppercase() && digits >= 2 && ends).then(|| &code[..4 + digits])
    })
}

/// The rows of the guide that tell a code, each with what they say.
fn told() -> BTreeMap<&'static str, &'static str> {
    let rows = GUIDE.lines().filter_map(|line| line.strip_prefix("| `PS-").map(|_| line));
    let mut told = BTreeMap::new();
    for row in rows {
        let code = row.split('`').nth(1).unwrap();
        // Rows of symptoms name codes as well, several in one.
        if row.starts_with(&format!("| `{code}` | ")) {
            assert_eq!(told.insert(code, row), None, "{code} is told twice");
        }
    }
    told
}

#[test]
fn every_code_that_a_console_speaks_is_told_and_no_other() {
    let told = told();
    let mut spoken = BTreeMap::new();
    for (speaker, _) in SPEAKERS {
        let mut files = Vec::new();
        sources(&crates().join(speaker), &mut files);
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for code in codes(&text) {
                spoken.insert(code.to_owned(), file.clone());
            }
        }
    }
    assert!(spoken.len() > 50, "{spoken:?}");
    let is_listed = |code: &str| SPEAKERS.iter().any(|(_, begins)| code.starts_with(begins));
    for (code, file) in spoken.iter().filter(|(code, _)| is_listed(code)) {
        assert!(told.contains_key(code.as_str()), "{code} of {} is not in FIELD-GUIDE.md", file.display());
    }
    for (code, row) in told {
        let (speaker, _) = SPEAKERS.iter().find(|(_, begins)| code.starts_with(begins)).unwrap();
        let is_there = crates().join(speaker).exists();
        assert!(spoken.contains_key(code) || !is_there, "nobody says this:\n{row}");
    }
}

#[test]
fn every_code_has_what_it_is_and_what_to_do() {
    for row in told().values() {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert!(cells.len() == 3 && cells.iter().all(|cell| !cell.is_empty()), "{row}");
    }
}

/// What the guide has somebody type at a prompt: the second column of the table in its section.
fn typed(section: &str) -> Vec<&'static str> {
    let (_, section) = GUIDE.split_once(&format!("\n## {section}\n")).unwrap_or_else(|| panic!("{section}"));
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    let cells = rows.map(|row| row.split(" | ").nth(1).unwrap_or_else(|| panic!("{row}")));
    cells.map(|cell| cell.split('`').nth(1).unwrap_or_else(|| panic!("{cell}"))).collect()
}

#[test]
fn what_somebody_is_told_to_type_is_understood_there() {
    for (section, level) in
        [("At `stage0> `", Level::Stage0), ("At `rescue> ` and `firmware> `", Level::Firmware)]
    {
        let typed = typed(section);
        assert!(typed.len() > 4, "{section}");
        for line in typed {
            assert!(matches!(parse(line, level), Ok(Some(_))), "{section}: {line}");
        }
    }
    // Userland reads the arguments itself, and has the commands of the command line too.
    let of_command_line = ["quarantine list"];
    for line in typed("At `penstock> `") {
        let is_in_table = COMMANDS.iter().any(|row| {
            row.levels.contain(Level::Userland)
                && (line == row.name || line.starts_with(&format!("{} ", row.name)))
        });
        assert!(is_in_table || of_command_line.contains(&line), "{line}");
    }
}

#[test]
fn what_is_destroyed_is_never_the_first_thing_to_be_typed() {
    for section in ["At `stage0> `", "At `rescue> ` and `firmware> `"] {
        let first = typed(section)[0];
        let understood = parse(first, Level::Firmware).unwrap().unwrap();
        assert_eq!(understood.definition.typed_back, None, "{first}");
    }
}
