//! Settings given to a box, settings for many boxes, and reports that were pasted.

use std::fs;
use std::path::Path;

use penstock_daemon::control::types::{Trial, TrialState};

use crate::fake::{Daemon, Ran, outage, penstock, run};

const LEAST: &str = "\
[system]
hostname = \"mx.example.org\"
[domains]
accepted = [\"example.org\"]
[[next_hop]]
name = \"exchange\"
address = \"192.0.2.25:25\"
";

fn alone(args: &[&str]) -> Ran {
    run(Path::new("/nonexistent/control.sock"), args)
}

/// A file with this text in the directory of a daemon.
fn file(daemon: &Daemon, text: &str) -> String {
    let path = daemon.dir.path().join("settings.toml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn settings_are_given_to_a_box_and_kept_if_it_is_well() {
    let daemon = Daemon::with(outage());
    let path = file(&daemon, LEAST);
    let ran = daemon.run(&["settings", "import", &path]);
    assert_eq!(ran.printed(), "the service is well with them: they are kept\n");
    assert!(daemon.told()[0].ends_with(&format!("settings of {} bytes", LEAST.len())), "{:?}", daemon.told());
    assert_eq!(daemon.run(&["settings", "export"]).printed(), LEAST);
}

#[test]
fn settings_with_which_the_box_is_not_well_are_a_failure_with_its_reason() {
    let mut world = outage();
    let why = Some("the service does not run with them: exit status 1".into());
    world.outcome = Some(Trial { number: 1, by: "you".into(), state: TrialState::GoneBack, why });
    let daemon = Daemon::with(world);
    let ran = daemon.run(&["settings", "import", &file(&daemon, LEAST)]);
    assert_eq!((ran.exit, ran.stdout.as_str()), (Some(1), ""));
    assert!(ran.stderr.contains("exit status 1 (PS-D282)"), "{ran:?}");
    assert!(ran.stderr.contains("Those from before are back."), "{ran:?}");
}

#[test]
fn wrong_settings_do_not_leave_the_desk() {
    let daemon = Daemon::with(outage());
    let ran = daemon.run(&["settings", "import", &file(&daemon, &LEAST.replace("hostname", "hostnam"))]);
    assert_eq!(ran.exit, Some(1));
    assert!(ran.stderr.contains("PS-C04 line 2: system.hostnam: "), "{ran:?}");
    assert!(daemon.told().is_empty());
}

#[test]
fn on_a_host_it_is_told_where_the_settings_are() {
    let mut world = outage();
    world.settings.changeable = false;
    let daemon = Daemon::with(world);
    let ran = daemon.run(&["settings", "import", &file(&daemon, LEAST)]);
    assert_eq!(ran.exit, Some(1));
    assert!(ran.stderr.contains("PS-T003"), "{ran:?}");
}

#[test]
fn one_template_and_a_table_make_a_file_for_every_box() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let template = LEAST.replace("example.org", "{{domain}}").replace("192.0.2.25", "{{exchange}}");
    fs::write(at("template.toml"), template).unwrap();
    fs::write(
        at("sites.csv"),
        "site,domain,exchange\nberlin,example.de,10.1.0.5\nparis,example.fr,10.2.0.5\n",
    )
    .unwrap();
    let args = ["settings", "fill", &at("template.toml"), &at("sites.csv"), "--into", &at("boxes")];
    assert_eq!(alone(&args).printed(), format!("2 settings files in {}\n", at("boxes")));
    let paris = at("boxes/paris.toml");
    assert!(
        alone(&["settings", "check", &paris]).printed().contains("mx.example.fr takes mail for example.fr")
    );

    fs::write(at("sites.csv"), "site,domain,exchange\nberlin,example.de,nowhere:0\n").unwrap();
    fs::remove_dir_all(at("boxes")).unwrap();
    let ran = alone(&args);
    assert_eq!(ran.exit, Some(1));
    assert!(ran.stdout.contains("berlin") && ran.stdout.contains("next_hop.address"), "{ran:?}");
    assert!(!Path::new(&at("boxes")).exists(), "nothing is written unless all of it is right");
}

#[test]
fn the_packaged_template_and_table_fit_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let packaged = |name: &str| format!("{}/../../packaging/sites/{name}", env!("CARGO_MANIFEST_DIR"));
    let into = dir.path().to_str().unwrap();
    let args = ["settings", "fill", &packaged("template.toml"), &packaged("sites.csv"), "--into", into];
    alone(&args).printed();
}

#[test]
fn a_report_that_lost_a_line_on_its_way_is_told_apart_from_a_whole_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("report.txt");
    // Without a box and a service most of it says so, and that is a report as well.
    let asked =
        penstock(Path::new("/nonexistent")).arg("console").stdin(input(dir.path(), "report\n")).output();
    let said = String::from_utf8(asked.unwrap().stdout).unwrap();
    assert!(said.ends_with("OK\n") && said.contains("--- report begins"), "{said}");
    fs::write(&path, format!("Hello,\n{said}")).unwrap();
    let file = path.to_str().unwrap();
    assert!(alone(&["verify-report", file]).printed().starts_with("the report is whole: "));
    let line = said.lines().find(|line| line.starts_with("--- clock")).unwrap();
    fs::write(&path, said.replace(&format!("{line}\n"), "")).unwrap();
    let ran = alone(&["verify-report", file]);
    assert_eq!(ran.exit, Some(1));
    assert!(ran.stderr.contains("PS-D323"), "{ran:?}");
    fs::write(&path, "no report\n").unwrap();
    assert!(alone(&["verify-report", file]).stderr.contains("PS-D321"));
}

fn input(dir: &Path, text: &str) -> fs::File {
    let path = dir.join("input");
    fs::write(&path, text).unwrap();
    fs::File::open(path).unwrap()
}

#[test]
fn to_watch_takes_a_terminal() {
    let ran = alone(&["top"]);
    assert_eq!(ran.exit, Some(2));
    assert!(ran.stderr.contains("PS-D330"), "{ran:?}");
}
