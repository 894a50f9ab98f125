//! The list of recipients.

use std::fs;

use crate::fake::{Daemon, outage};

const STATUS: &str = "\
List        2026-02-28 00:00:00 (1 d 2 h ago) by mia
Kept        on the disk and in the NOR flash
Known       1,180 recipients, 2,345 addresses

DATABASE  ADDRESSES
DB01          1,500
Sales           800
(none)           45

DOMAIN       ADDRESSES
example.org      2,300
example.net         40  mail for it is not taken here
(others)             5

Read        by itself from ldaps://dc1.example.org, last 1 d 2 h ago
            It was not taken: of 2345 addresses 900 are missing.
            of 2345 addresses 900 are missing (PS-D288)
            Look whether it is whole.

Unknown     No next hop is there: unknown recipients are put off with 450.
            no next hop has been there for 5 h
            the list is not in step any more: as of 1 d 2 h ago
            exchange takes mail for every name, found out 7 h ago: example.org
No probe mailbox is configured for the database Sales.
";

#[test]
fn status_tells_of_when_the_list_is_and_what_is_on_it() {
    let daemon = Daemon::with(outage());
    assert_eq!(daemon.run(&["recipients", "status"]).printed(), STATUS);
    assert_eq!(daemon.run(&["recipients", "status", "--json"]).json()["list"]["addresses"], 2_345);
}

#[test]
fn an_import_reports_what_was_read_and_what_was_passed_over() {
    let daemon = Daemon::with(outage());
    let path = daemon.dir.path().join("recipients.csv");
    // More than one piece.
    fs::write(&path, "x".repeat(200_000)).unwrap();
    let path = path.to_str().unwrap();
    let dry = daemon.run(&["recipients", "import", "--dry-run", path]);
    assert!(dry.printed().starts_with("1,200 lines read. Nothing was changed: a dry run.\n"), "{dry:?}");
    let imported = daemon.run(&["recipients", "import", path]);
    let begin = "\
1,200 lines read. The list counts from now on.
passed over: 2 listed before, the first in line 1,017

";
    assert_eq!(imported.printed(), format!("{begin}{STATUS}"));
    let told: Vec<_> = daemon.told().iter().map(|line| line.split_once(": ").unwrap().1.to_owned()).collect();
    assert_eq!(
        told,
        ["recipients of 200000 bytes, dry run true", "recipients of 200000 bytes, dry run false"]
    );
}

#[test]
fn a_file_that_is_not_right_or_not_there_is_an_error() {
    let daemon = Daemon::with(outage());
    let path = daemon.dir.path().join("recipients.csv");
    let path = path.to_str().unwrap();
    let missing = daemon.run(&["recipients", "import", path]);
    assert_eq!(missing.exit, Some(1));
    assert!(missing.stderr.contains("PS-D304"), "{missing:?}");
    fs::write(path, "wrong").unwrap();
    let wrong = daemon.run(&["recipients", "import", path]);
    assert_eq!((wrong.exit, wrong.stdout.as_str()), (Some(1), ""));
    assert!(wrong.stderr.contains("line 1: no address (PS-D295)"), "{wrong:?}");
    assert!(daemon.told().is_empty());
}

#[test]
fn a_recipient_is_found_with_its_database() {
    let daemon = Daemon::with(outage());
    let find = |address: &str| daemon.run(&["recipients", "find", address]).printed().to_owned();
    assert_eq!(find("mia@example.org"), "mia@example.org is on the list, in the database DB01\n");
    assert_eq!(
        find("mia+news@example.org"),
        "mia+news@example.org is on the list without its subaddress, in the database DB01\n"
    );
    assert_eq!(find("all@example.org"), "all@example.org is on the list, in no database\n");
    assert_eq!(find("eve@example.org"), "eve@example.org is not on the list\n");
    assert_eq!(daemon.run(&["recipients", "clear"]).printed(), "cleared\n");
}

#[test]
fn what_would_be_said_to_an_address_is_told_with_why() {
    let daemon = Daemon::with(outage());
    let checked = daemon.run(&["recipients", "check", "eve@example.org"]);
    assert_eq!(
        checked.printed(),
        "eve@example.org would be put off: 450 4.1.1 User cannot be checked now\nIt is not on the list.\nThat is old.\n"
    );
    assert_eq!(daemon.run(&["recipients", "check", "eve@example.org", "--json"]).json()["answer"], "later");
}

#[test]
fn a_reload_is_asked_for_and_tells_how_the_list_stands() {
    let daemon = Daemon::with(outage());
    assert_eq!(daemon.run(&["recipients", "reload"]).printed(), STATUS);
    daemon.run(&["recipients", "reload", "--believe"]);
    let told: Vec<_> = daemon.told().iter().map(|line| line.split_once(": ").unwrap().1.to_owned()).collect();
    assert_eq!(told, ["reload, believe false", "reload, believe true"]);
}
