//! Stage 0's small console says and takes what the table has for it.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict")]

use penstock_console::{COMMANDS, Level, explain_short, parse, parse_short};

/// Lines that begin with each name that a command has anywhere, with arguments that one of them may take.
fn lines() -> Vec<String> {
    let names =
        COMMANDS.iter().flat_map(|row| [row.name].into_iter().chain(row.aliases.iter().map(|it| it.0)));
    let arguments = [
        "",
        " firmware-b",
        " firmware-b once",
        " system-a twice",
        " on",
        " off",
        " status",
        " 10.0.0.1",
        "x",
    ];
    names.flat_map(|name| arguments.map(|arguments| format!("  {name}{arguments} "))).collect()
}

#[test]
fn it_takes_what_the_table_has_for_stage_0_and_nothing_else() {
    let mut taken = 0;
    for line in lines() {
        let long = parse(&line, Level::Stage0);
        match parse_short(&line) {
            Ok(short) => {
                taken += 1;
                assert_eq!(short, long.unwrap().map(|it| it.command), "{line}");
            }
            Err(failure) => {
                let long = long.unwrap_err();
                let same = failure.code() == long.code() || long.code() == "PS-K020";
                assert!(same, "{line}: {failure}, {long}");
            }
        }
    }
    assert!(taken > COMMANDS.iter().filter(|row| row.levels.contain(Level::Stage0)).count(), "{taken}");
    assert_eq!(parse_short("   "), Ok(None));
}

#[test]
fn its_help_is_that_of_the_table() {
    let mut all = String::new();
    explain_short("", &mut all).unwrap();
    let mut rows = String::new();
    for row in COMMANDS {
        let mut one = String::new();
        let explained = explain_short(row.name, &mut one);
        assert_eq!(explained.is_ok(), row.levels.contain(Level::Stage0), "{}", row.name);
        if explained.is_ok() {
            let usage = format!("{} {}", row.name, row.arguments);
            assert_eq!(one, format!("{}\n  {}\n", usage.trim_end(), row.about));
        }
        rows += &one;
    }
    assert_eq!(all, rows);
}
