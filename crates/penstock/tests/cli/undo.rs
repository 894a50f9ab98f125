//! What can be taken back: replays, what is held, and watching mail go.

use std::fs;

use penstock_daemon::control::types::*;

use crate::fake::{Daemon, outage};

/// What was told to the daemon, without who told it.
fn told(daemon: &Daemon) -> Vec<String> {
    daemon.told().iter().map(|line| line.split_once(": ").unwrap().1.to_owned()).collect()
}

#[test]
fn a_replay_says_what_exchange_does_with_it_before_it_begins_and_sums_up_all_pages() {
    let daemon = Daemon::with(outage());
    let ran = daemon.run(&[
        "replay",
        "--mailbox",
        "mia@example.org",
        "--from",
        "2026-02-28T06:00:00Z",
        "--reason",
        "restored",
    ]);
    assert_eq!(
        ran.stdout,
        "\
Exchange discards, without a word, what it has taken in the last days. If messages do not appear in a mailbox
that was put back to an older state, replay them with --as-attachment.
It went on at d-17, where the same replay was cut before; --again would begin anew.
To be delivered once more: 3 messages (4.0 KiB) to 4 recipients; `penstock watch` shows how far that is.
Among them 1 message of which it is not known when they were delivered.
d-4100: there is no message d-4100 (PS-D102)
"
    );
    assert_eq!(ran.exit, Some(1), "not all of it could be done");
    let told = told(&daemon);
    assert_eq!(told.len(), 2);
    for part in [
        "which: Mailbox(\"mia@example.org\")",
        "from_unix_ms: Some(1772258400000)",
        "until_unix_ms: None",
        "as_attachment: false",
        "dry_run: false",
        "reason: Some(\"restored\")",
    ] {
        assert!(told.iter().all(|told| told.contains(part)), "{part:?} is not in {told:?}");
    }
    assert!(told[0].contains("position: None") && told[1].contains("number: 4097"), "{told:?}");
}

#[test]
fn a_dry_run_counts_and_says_how_far_back_delivered_mail_is_kept() {
    let daemon = Daemon::with(outage());
    let ran = daemon.run(&["replay", "--all", "--from", "2026-02-01", "--dry-run"]);
    let lines: Vec<_> = ran.printed().lines().collect();
    assert_eq!(lines[0], "Would go out once more: 3 messages (4.0 KiB) to 4 recipients. Nothing was done.");
    assert!(lines[2].starts_with(
        "Not all of the time asked for is there: the oldest mail that is kept was delivered 2026-0"
    ));
    let json = daemon.run(&["replay", "--all", "--dry-run", "--json"]).json();
    assert_eq!((&json["messages"], &json["dry_run"]), (&3.into(), &true.into()));
    assert!(told(&daemon).iter().all(|told| told.contains("dry_run: true")));
}

#[test]
fn a_replay_must_say_of_what_and_of_no_time_that_is_none() {
    let daemon = Daemon::with(outage());
    for args in [
        &["replay"][..],
        &["replay", "--all", "--domain", "example.org"],
        &["replay", "d-17", "--all"],
        &["replay", "--all", "--from", "soon"],
        &["replay", "--all", "--from", "2026-03-02", "--until", "2026-03-01"],
    ] {
        assert_eq!(daemon.run(args).exit, Some(2), "{args:?}");
    }
    assert_eq!(daemon.told(), [""; 0]);
}

#[test]
fn what_is_held_is_listed_with_why_and_what_a_stranger_wrote_is_harmless() {
    let daemon = Daemon::with(outage());
    assert_eq!(
        daemon.run(&["quarantine", "list"]).printed(),
        "\
ID    HELD     SIZE  FROM             FOR                 WHY      SAID
d-17   1 h  2.0 KiB  ann@example.com  mia@example.org +2  refused  550 5.1.1 gone \\u{1b}[2J(RCPT)
d-18   1 h  2.0 KiB  ann@example.com  mia@example.org +2  refused  550 5.7.1 spam (end of data)

2 messages held
"
    );
    let json = daemon.run(&["quarantine", "list", "--said", "spam", "--json"]).json();
    assert_eq!((&json["rows"][0]["id"], json["rows"].as_array().unwrap().len()), (&"d-18".into(), 1));
    let some = daemon.run(&["quarantine", "list", "--limit", "1"]);
    assert!(some.printed().ends_with("1 message held\nthere are more: --limit COUNT\n"), "{some:?}");
}

#[test]
fn what_is_held_is_tried_again_by_name_or_by_reason() {
    let daemon = Daemon::with(outage());
    daemon.run(&["quarantine", "retry", "d-17"]).printed();
    assert_eq!(
        daemon.run(&["quarantine", "retry", "--said", "spam"]).printed(),
        "2 messages are tried again as the next hop takes mail.\n"
    );
    daemon.run(&["quarantine", "retry", "--all"]).printed();
    let id = |number: u64| format!("MailId {{ store: Disk, number: {number} }}");
    let release = |ids: &[u64]| {
        let ids: Vec<_> = ids.iter().map(|number| id(*number)).collect();
        format!("release Ids([{}])", ids.join(", "))
    };
    assert_eq!(told(&daemon), [release(&[17]), release(&[18]), release(&[17, 18])]);
    assert_eq!(daemon.run(&["quarantine", "retry"]).exit, Some(2), "which?");
    assert_eq!(daemon.run(&["quarantine", "retry", "d-17", "--all"]).exit, Some(2));
}

#[test]
fn held_mail_is_written_out_with_its_envelope_and_once() {
    let mut world = outage();
    world.body = b"Subject: x\r\n\r\nbody\r\n".to_vec();
    let daemon = Daemon::with(world);
    let dir = daemon.dir.path().join("held");
    let args = ["quarantine", "export", dir.to_str().unwrap(), "d-17", "--reason", "for Mia"];
    assert_eq!(daemon.run(&args).printed(), format!("1 message written to {} (20 B)\n", dir.display()));
    assert_eq!(fs::read(dir.join("d-17.eml")).unwrap(), b"Subject: x\r\n\r\nbody\r\n");
    let envelope: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.join("d-17.json")).unwrap()).unwrap();
    assert_eq!(envelope["recipient_list"][1]["address"], "mia@example.org");
    assert_eq!(told(&daemon), ["export d-17, \"for Mia\""]);
    assert_eq!(
        daemon.run(&args).printed(),
        format!("0 messages written to {} (0 B), 1 had been there\n", dir.display())
    );
    assert_eq!(daemon.told().len(), 1, "nothing is read twice");
}

#[test]
fn a_sender_is_told_only_by_who_says_so_of_each_message() {
    let daemon = Daemon::with(outage());
    let ran = daemon.run(&["quarantine", "bounce", "d-17", "d-18", "--reason", "left"]);
    assert_eq!(ran.exit, Some(1));
    assert_eq!(
        ran.stdout,
        "The senders of 0 messages were told.\nd-17: nobody knows the sender (PS-D278)\n\
         d-18: nobody knows the sender (PS-D278)\nSay --force.\n"
    );
    let ran = daemon.run(&["quarantine", "bounce", "d-17", "--force", "--reason", "left"]);
    assert_eq!(ran.printed(), "The senders of 1 message were told.\n");
    assert!(told(&daemon)[2].contains("force: true, reason: \"left\""), "{:?}", told(&daemon));
}

#[test]
fn watching_ends_by_itself_when_nothing_is_left() {
    let mut world = outage();
    world.status.progress = Progress { left_messages: 0, left_bytes: 0, ..world.status.progress };
    world.status.mail.held = 2;
    let daemon = Daemon::with(world);
    assert_eq!(daemon.run(&["watch"]).printed(), "nothing is left to go; 2 messages held for you\n");
}

#[test]
fn watching_writes_a_plain_line_now_and_then_where_there_is_no_terminal() {
    use std::io::{BufRead as _, BufReader};
    let daemon = Daemon::with(outage());
    let mut child = crate::fake::penstock(&daemon.socket())
        .args(["watch", "--interval", "1s"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        assert_eq!(
            lines.next().unwrap().unwrap(),
            "1,204 messages (312.5 MiB) left, 0 % gone; The next hop does not answer. Check that the server is \
             up.; exchange is down"
        );
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
