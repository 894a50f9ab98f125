//! Commands that tell the daemon to do something.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::fake::{Daemon, Ran, outage};

fn uid() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

#[test]
fn modes_are_set_with_a_reason_and_the_daemon_knows_who_asked() {
    let daemon = Daemon::with(outage());
    assert_eq!(daemon.run(&["hold", "--reason", " restoring "]).printed(), "now: hold\n");
    assert_eq!(daemon.run(&["hold", "--until", "2099-03-01T06:00:00Z"]).printed(), "now: hold\n");
    assert_eq!(daemon.run(&["drain"]).printed(), "now: drain\n");
    assert_eq!(daemon.run(&["release"]).printed(), "now: auto\n");
    let uid = uid();
    assert_eq!(
        daemon.told(),
        [
            format!("uid {uid}: Hold {{ until_unix_ms: None }}, Some(\"restoring\")"),
            format!("uid {uid}: Hold {{ until_unix_ms: Some(4076028000000) }}, None"),
            format!("uid {uid}: Drain, None"),
            format!("uid {uid}: Auto, None"),
        ]
    );
}

#[test]
fn a_hold_for_a_time_ends_that_much_later() {
    let daemon = Daemon::with(outage());
    let now_ms = || std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    let before = now_ms();
    daemon.run(&["hold", "--for", "2h"]).printed();
    let after = now_ms();
    let told = daemon.told().remove(0);
    let until: u64 = told.split(['(', ')']).nth(1).unwrap().parse().unwrap();
    assert!((before + 7_200_000..=after + 7_200_000).contains(&until), "{told}");
}

#[test]
fn messages_are_released_one_by_one_or_all() {
    let daemon = Daemon::with(outage());
    daemon.run(&["release", "d-17", "18"]).printed();
    daemon.run(&["release", "--all"]).printed();
    let told: Vec<_> = daemon.told().iter().map(|line| line.split_once(": ").unwrap().1.to_owned()).collect();
    assert_eq!(
        told,
        [
            "release Ids([MailId { store: Disk, number: 17 }, MailId { store: Disk, number: 18 }])",
            "Auto, None",
            "release All"
        ]
    );
}

#[test]
fn a_next_hop_is_confirmed_by_name_or_every_one_that_waits_for_it() {
    let daemon = Daemon::with(outage());
    assert_eq!(daemon.run(&["confirm"]).printed(), "confirmed\n");
    daemon.run(&["confirm", "exchange"]).printed();
    let uid = uid();
    assert_eq!(
        daemon.told(),
        [format!("uid {uid}: confirm None"), format!("uid {uid}: confirm Some(\"exchange\")")]
    );
}

#[test]
fn what_could_not_be_removed_is_told_and_the_rest_is_removed() {
    let daemon = Daemon::with(outage());
    let ran = daemon.run(&["remove", "17", "99", "--reason", "spam"]);
    assert_eq!(ran.exit, Some(1));
    assert_eq!(ran.stdout, "1 removed\nd-99: there is no message d-99 (PS-D102)\n");
    assert!(daemon.told()[0].ends_with("remove [MailId { store: Disk, number: 17 }], \"spam\""));
    let ran = daemon.run(&["remove", "99", "--reason", "spam", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.exit, &json["refused"][0]["error"]["code"]), (Some(1), &"PS-D102".into()));
}

#[test]
fn what_the_daemon_refuses_is_told_with_what_to_do() {
    let ran = Daemon::with(outage()).run(&["stop"]);
    assert_eq!((ran.exit, ran.stdout.as_str()), (Some(1), ""));
    assert_eq!(ran.stderr, "penstock: not now (PS-T001)\nAsk again later.\n");
}

#[test]
fn a_reason_that_is_none_or_would_not_fit_the_ledger_is_refused() {
    let daemon = Daemon::with(outage());
    for reason in ["", "  ", "two\nlines", &"x".repeat(257)] {
        let ran = daemon.run(&["remove", "17", "--reason", reason]);
        assert_eq!(ran.exit, Some(1), "{reason:?}");
        assert!(ran.stderr.contains("PS-D101"), "{ran:?}");
    }
    assert_eq!(daemon.told(), [""; 0]);
}

#[test]
fn an_exported_message_is_the_one_that_was_received() {
    let mut world = outage();
    world.body = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    let body = world.body.clone();
    let daemon = Daemon::with(world);
    let path = daemon.dir.path().join("d-17.eml");
    let args = ["export", "d-17", "--reason", "Mia asked", "-o", path.to_str().unwrap()];
    assert_eq!(daemon.run(&args).printed(), format!("d-17 is in {} (3.8 MiB)\n", path.display()));
    assert_eq!(fs::read(&path).unwrap(), body);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "mail is for its owner");
    assert_eq!(daemon.told(), [format!("uid {}: export d-17, \"Mia asked\"", uid())]);

    let again = daemon.run(&args);
    assert_eq!(again.exit, Some(1), "an existing file is not overwritten");
    assert_eq!(daemon.told().len(), 1, "and nothing is read for it");

    let piped = crate::fake::penstock(&daemon.socket()).args(&args[..4]).output().unwrap();
    assert_eq!((piped.status.code(), piped.stdout == body), (Some(0), true));

    fs::remove_file(&path).unwrap();
    let json = daemon.run(&[&args[..], &["--json"]].concat()).json();
    assert_eq!(json["sha256"], "ab".repeat(32));
    assert_eq!(json["size_bytes"], 4_000_000);
}

#[test]
fn a_message_that_turns_out_damaged_leaves_no_file_behind() {
    let mut world = outage();
    world.body = vec![b'x'; 300_000];
    world.readable_bytes = 200_000;
    let daemon = Daemon::with(world);
    let path = daemon.dir.path().join("d-17.eml");
    let ran = daemon.run(&["export", "17", "--reason", "look", "-o", path.to_str().unwrap()]);
    assert_eq!(ran.exit, Some(1));
    assert!(ran.stderr.contains("PS-D307"), "{ran:?}");
    assert!(!path.exists());
    let piped: Ran = daemon.run(&["export", "17", "--reason", "look"]);
    assert_eq!(piped.exit, Some(1), "who reads from the pipe must know that it is not whole");
}
