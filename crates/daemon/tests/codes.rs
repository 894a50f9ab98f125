//! Whoever is woken by a code finds it in the document.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const DESIGN: &str = include_str!("../DESIGN.md");

/// The numbers in the first column of the table: single ones, and ranges with an ellipsis between.
fn documented() -> BTreeSet<u16> {
    let rows = DESIGN.lines().filter_map(|line| line.strip_prefix("| PS-D"));
    let cells = rows.filter_map(|row| row.split('|').next());
    let numbers = cells.flat_map(|cell| cell.split(',')).flat_map(|part| {
        let mut ends = part.split('…').map(|end| end.trim().parse::<u16>().unwrap());
        let first = ends.next().unwrap();
        first..=ends.next().unwrap_or(first)
    });
    numbers.collect()
}

/// The numbers of all codes of the service in the sources below a folder.
fn spoken(folder: &Path, found: &mut BTreeSet<u16>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            spoken(&path, found);
        } else {
            let text = fs::read_to_string(&path).unwrap();
            found.extend(text.split("\"PS-D").skip(1).filter_map(|rest| rest.get(..3)?.parse::<u16>().ok()));
        }
    }
}

#[test]
fn every_code_that_a_running_service_tells_is_explained_and_none_else() {
    let mut spoken_here = BTreeSet::new();
    spoken(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut spoken_here);
    // Those of its start and of the control interface say themselves what to do.
    let told: BTreeSet<u16> = spoken_here.into_iter().filter(|code| *code >= 200).collect();
    assert!(told.len() > 80, "{told:?}");
    let documented = documented();
    let unexplained: Vec<_> = told.difference(&documented).collect();
    assert!(unexplained.is_empty(), "not in DESIGN.md: {unexplained:?}");
    // The command line's own are beside the service's.
    let gone: Vec<_> = documented.difference(&told).filter(|code| !(282..=284).contains(*code)).collect();
    assert!(gone.is_empty(), "nobody says them any more: {gone:?}");
}
