//! Commands that need no daemon, and what is typed wrong.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::fake::{Ran, penstock, run};

fn alone(args: &[&str]) -> Ran {
    run(Path::new("/nonexistent/control.sock"), args)
}

#[test]
fn wrong_usage_is_told_apart_from_failure() {
    let wrong: [&[&str]; 14] = [
        &[],
        &["frobnicate"],
        &["show"],
        &["show", "seventeen"],
        &["remove", "--reason", "x"],
        &["remove", "1"],
        &["export", "1"],
        &["release", "--all", "1"],
        &["hold", "--for", "2h", "--until", "06:00"],
        &["hold", "--for", "soon"],
        &["hold", "--until", "2020-01-01T00:00:00Z"],
        &["hold", "--until", "noon"],
        &["queue", "--state", "lost"],
        &["queue", "--limit", "0"],
    ];
    for args in wrong {
        let ran = alone(args);
        assert_eq!((ran.exit, ran.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(!ran.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn help_comes_with_examples_and_exit_codes() {
    let help = alone(&["--help"]);
    assert!(
        help.printed().contains("Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3"),
        "{help:?}"
    );
    assert!(alone(&["hold", "--help"]).printed().contains("penstock hold --until 06:00"));
}

#[test]
fn a_right_settings_file_is_summed_up_in_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("settings.toml");
    let text = "\
[system]
hostname = \"mx.example.org\"
[domains]
accepted = [\"example.org\"]
[[next_hop]]
name = \"exchange\"
address = \"192.0.2.25:25\"
";
    fs::write(&path, text).unwrap();
    let file = path.to_str().unwrap();
    assert_eq!(
        alone(&["settings", "check", file]).printed(),
        format!(
            "{file} is right: mx.example.org takes mail for example.org on [::]:25, keeps it in \
             /var/lib/penstock/volume (4GiB) and gives it to exchange (192.0.2.25:25).\n"
        )
    );
    let ok = json!({ "ok": true, "problems": [], "more": 0 });
    assert_eq!(alone(&["settings", "check", file, "--json"]).json(), ok);
}

#[test]
fn a_wrong_settings_file_is_told_whole_with_lines_keys_reasons_and_codes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("settings.toml");
    fs::write(&path, "[system]\nhostname = \"mx.example.org\"\nhostnam = 1\n[listen]\nsize_max = 7\n")
        .unwrap();
    let file = path.to_str().unwrap();
    let ran = alone(&["settings", "check", file]);
    assert_eq!((ran.exit, ran.stderr.as_str()), (Some(1), ""));
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(lines[0], format!("{file}: 4 problems"));
    assert!(lines[1].starts_with("PS-C04 line 3: system.hostnam: "), "{ran:?}");
    assert!(lines[2].starts_with("PS-C05 line 5: listen.size_max: "), "{ran:?}");
    assert!(lines[3..].iter().all(|line| line.starts_with("PS-C08 ")), "{ran:?}");
    let ran = alone(&["settings", "check", file, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.exit, &json["ok"]), (Some(1), &json!(false)));
    let first = &json["problems"][0];
    assert_eq!((&first["code"], &first["line"]), (&json!("PS-C04"), &json!(3)));
    assert_eq!(alone(&["settings", "check", "/nonexistent/file"]).exit, Some(1));
}

#[test]
fn the_defaults_are_a_file_that_lacks_only_what_must_be_set() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("settings.toml");
    fs::write(&path, alone(&["settings", "defaults"]).printed()).unwrap();
    let ran = alone(&["settings", "check", path.to_str().unwrap()]);
    assert_eq!(ran.exit, Some(1));
    assert!(ran.stdout.lines().skip(1).all(|line| line.starts_with("PS-C08 ")), "{ran:?}");
}

#[test]
fn the_settings_file_that_is_packaged_is_the_table() {
    let packaged = include_str!("../../../../packaging/settings.toml");
    assert!(
        alone(&["settings", "defaults"]).printed() == packaged,
        "write it anew: penstock settings defaults > packaging/settings.toml"
    );
}

#[test]
fn completions_and_man_pages_know_every_command() {
    let man = tempfile::tempdir().unwrap();
    alone(&["man", man.path().to_str().unwrap()]).printed();
    let bash = alone(&["completions", "bash"]);
    for command in [
        "serve",
        "status",
        "queue",
        "show",
        "hold",
        "release",
        "confirm",
        "drain",
        "stop",
        "remove",
        "export",
        "volume-salvage",
    ] {
        assert!(bash.printed().contains(command.rsplit('-').next().unwrap()), "{command}");
        let page = fs::read_to_string(man.path().join(format!("penstock-{command}.1"))).unwrap();
        assert!(page.contains("Examples"), "{command}");
    }
    assert!(alone(&["man"]).printed().contains("penstock"));
}

#[test]
fn without_a_terminal_there_are_no_colours() {
    let ran: Ran = penstock(Path::new("/nonexistent"))
        .env("TERM", "xterm-256color")
        .args(["status"])
        .output()
        .unwrap()
        .into();
    assert!(!ran.stderr.contains('\u{1b}') && !ran.stdout.contains('\u{1b}'), "{ran:?}");
}
