//! Commands that ask.

use penstock_daemon::control::MailId;
use penstock_daemon::control::clients::{ClientView, ClientsPage};
use penstock_daemon::control::types::*;
use serde_json::json;

use crate::fake::{Daemon, HOUR, MINUTE, NOW, outage, run};

#[test]
fn status_answers_the_questions_of_two_in_the_morning() {
    let daemon = Daemon::with(outage());
    assert_eq!(
        daemon.run(&["status"]).printed(),
        "\
mx.example.org, Penstock 0.1.0, up 3 d 4 h

Mail      safe: 1,204 messages, 312.5 MiB, the oldest from 5 h 12 min ago
          2,000 taken and 796 handed on since the start
Next hop  exchange (192.0.2.25:25) has been down for 5 h 13 min
          last trouble: connect: Connection refused
          tried again in 5 s
Senders   are told 250 as soon as their mail is safe: the next hop is down
Release   auto: mail goes as the next hop takes it
          The next hop does not answer. Check that the server is up.
Done      1,204 messages (312.5 MiB) to go; how long is not known while none goes
Clients   3 sessions of 200, from 2 sources
Room      2.7 GiB free of 3.0 GiB on the disk: enough for 10 d at today's rate (270.0 MiB a day)
"
    );
}

#[test]
fn status_tells_a_drain_with_its_end_and_a_hold_with_who_and_why() {
    let mut world = outage();
    world.status.hops[0] = HopView {
        state: "healthy".into(),
        takes_mail: true,
        last_reply: None,
        next_probe_in_ms: None,
        advice: None,
        ..world.status.hops[0].clone()
    };
    world.status.through = ThroughView { on: true, refused: 12, ..ThroughView::default() };
    world.status.progress = Progress {
        messages_per_minute: 80,
        bytes_per_minute: 21_000_000,
        estimate: Some(Estimate { earliest_in_s: 720, latest_in_s: 1500 }),
        still: None,
        ..world.status.progress
    };
    world.status.mode = ModeView {
        mode: Mode::Hold { until_unix_ms: Some(NOW + 4 * HOUR) },
        since_unix_ms: Some(NOW - 20 * MINUTE),
        by: Some("mia".into()),
        reason: Some("restoring".into()),
    };
    let status = Daemon::with(world).run(&["status"]);
    let lines: Vec<_> = status.printed().lines().skip(4).take(6).collect();
    assert_eq!(
        lines,
        [
            "Next hop  exchange (192.0.2.25:25) has been healthy for 5 h 13 min",
            "Senders   are told what the next hop says of their mail",
            "          12 messages refused by it since the start, of which they were told",
            "Release   on hold until 06:00 (for another 4 h): no mail goes; set by mia 20 min ago",
            "          because: restoring",
            "Done      in 12 min to 25 min: 1,204 messages (312.5 MiB) to go, 80 messages (20.0 MiB) a minute",
        ]
    );
}

#[test]
fn status_tells_whether_mail_reaches_mailboxes_and_what_waits_before_them() {
    let mut world = outage();
    let counters = CountersView {
        submission: Some(1200),
        active_mailbox: Some(34),
        retry_mailbox: Some(5),
        poison: Some(0),
    };
    world.status.hops[0].proof = ProofView {
        grade: "counters".into(),
        last_sojourn_ms: Some(2_340),
        counters_age_ms: Some(2_000),
        counters: Some(counters),
        trouble: Some("The counters are of no use: no answer.".into()),
        ..ProofView::default()
    };
    let told = Daemon::with(world).run(&["status"]).printed().to_owned();
    for line in [
        "          mail reaches mailboxes: the last canary to arrive took 2.3 s\n",
        "          1,234 wait in its queues, 5 for a database that does not take them (read 2 s ago)\n",
        "          The counters are of no use: no answer.\n",
    ] {
        assert!(told.contains(line), "{line:?} in\n{told}");
    }
}

#[test]
fn trouble_that_is_an_alert_is_told_once() {
    let mut world = outage();
    let trouble = "It takes canaries, and for 20 min none has arrived.".to_owned();
    world.status.hops[0].proof = ProofView { trouble: Some(trouble.clone()), ..ProofView::default() };
    world.status.alerts = vec![Alert {
        severity: Severity::Warning,
        what: ErrorBody {
            code: "PS-D293".into(),
            message: format!("Not known. {trouble}"),
            help: String::new(),
        },
    }];
    let told = Daemon::with(world).run(&["status"]).printed().to_owned();
    assert_eq!(told.matches("none has arrived").count(), 1, "{told}");
}

#[test]
fn canaries_are_listed_with_what_became_of_them() {
    let mut world = outage();
    let canary = |age_ms, state, sojourn_ms, why: Option<&str>| CanaryView {
        mailbox: "probe@example.org".into(),
        age_ms,
        sent_unix_ms: NOW - age_ms,
        state,
        sojourn_ms,
        why: why.map(Into::into),
    };
    world.canaries = vec![
        canary(20 * MINUTE, CanaryState::Failed, None, Some("550 5.1.10 RecipientNotFound")),
        canary(MINUTE, CanaryState::Arrived, Some(12_000), None),
        canary(5_000, CanaryState::Taken, None, None),
    ];
    world.status.hops[0].proof =
        ProofView { probe_mailboxes: 1, canaries_taken: 3, canaries_arrived: 1, ..ProofView::default() };
    let daemon = Daemon::with(world);
    assert_eq!(
        daemon.run(&["canary"]).printed(),
        "\
exchange
3 taken and 1 arrived since the start
      SENT  WHAT     AFTER  MAILBOX            WHY
20 min ago  failed          probe@example.org  550 5.1.10 RecipientNotFound
 1 min ago  arrived   12 s  probe@example.org
   5 s ago  taken           probe@example.org
"
    );
    assert_eq!(daemon.run(&["canary", "other"]).printed(), "");
    let page: CanaryPage = serde_json::from_str(daemon.run(&["canary", "--json"]).printed()).unwrap();
    assert_eq!(page.hops[0].canaries[0].state, CanaryState::Failed);
}

#[test]
fn status_tells_when_clients_are_too_many_for_the_machine() {
    let mut world = outage();
    world.status.listener.sources_at_limits = 1;
    world.status.listener.short_of = Some("memory".into());
    let told = Daemon::with(world).run(&["status"]).printed().to_owned();
    let lines = "\
Clients   3 sessions of 200, from 2 sources
          the machine runs short of memory: idle sessions end
          1 source came to a limit within the last minute: penstock clients
";
    assert!(told.contains(lines), "{told}");
}

#[test]
fn clients_are_listed_with_what_they_send_and_their_limits() {
    let mut world = outage();
    let client = ClientView {
        source: "192.0.2.7".into(),
        sessions: 20,
        messages_per_minute: 600,
        ..ClientView::default()
    };
    world.clients = ClientsPage {
        sessions: 21,
        sessions_max: 200,
        connections: 1_300,
        refused: 12,
        displaced: 3,
        busy: true,
        held_back: 1,
        sources: 2,
        remembered: 9,
        descriptors: 45,
        descriptors_max: Some(16_384),
        memory_free_bytes: Some(100 << 20),
        reserved_bytes_max: 1 << 30,
        gateway: Some("10.0.0.1".into()),
        rows: vec![
            ClientView {
                limits: vec!["connections".into(), "messages".into()],
                recipients_per_minute: 1_250,
                errors_per_minute: 2,
                messages: 5_000,
                refused: 12,
                seen_ms_ago: 3_000,
                ..client.clone()
            },
            ClientView { source: "2001:db8::/64".into(), sessions: 1, trusted: true, ..client },
        ],
        ..ClientsPage::default()
    };
    let daemon = Daemon::with(world);
    assert_eq!(
        daemon.run(&["clients"]).printed(),
        "\
21 sessions of 200 from 2 sources
since the start 1,300 connections, 12 refused, 0 from networks that are not allowed, 3 ended to make room
sessions run short: idle ones end sooner
1 session kept waiting for mistakes
nearly all connections come from 10.0.0.1: a filter in front belongs into listen.trusted_fronts
45 of 16,384 file descriptors open, 100.0 MiB of memory free, 0 B of 1.0 GiB reserved for mail

SOURCE         SESSIONS  MSGS/MIN  RCPTS/MIN  ERRORS/MIN  ACCEPTED  REFUSED     SEEN  LIMITS
192.0.2.7            20       600      1,250           2     5,000       12  3 s ago  connections, messages
2001:db8::/64         1       600          0           0         0        0  0 s ago  trusted front
"
    );
    let page = daemon.run(&["clients", "--limit", "1", "--json"]).json();
    assert_eq!(
        (page["rows"].as_array().unwrap().len(), &page["rows"][0]["source"]),
        (1, &json!("192.0.2.7"))
    );
}

#[test]
fn status_says_where_new_mail_goes_while_the_disk_is_away() {
    let mut world = outage();
    let nor = VolumeView { name: "nor".into(), path: "mtd:mail".into(), ..world.status.volumes[0].clone() };
    let disk = &mut world.status.volumes[0];
    (disk.health, disk.takes_mail, disk.why) = (Health::Absent, false, Some("It is missing.".into()));
    world.status.volumes.push(nor);
    let status = Daemon::with(world).run(&["status"]);
    let told = status.printed();
    assert!(!told.contains("no new mail is taken"), "{told}");
    assert!(
        told.contains("Room      none on the disk (/var/lib/penstock/volume), which cannot be used"),
        "{told}"
    );
    assert!(
        told.contains("on the nor") && told.contains("new mail goes here, up to 4 MiB a message"),
        "{told}"
    );
}

#[test]
fn status_says_first_what_is_wrong() {
    let mut world = outage();
    world.status.clock_trusted = false;
    world.status.mail.damaged = 2;
    world.status.mail.held = 1;
    world.status.volumes[0].health = Health::ReadOnly;
    world.status.volumes[0].takes_mail = false;
    world.status.volumes[0].why = Some("the last write failed".into());
    let alert = |severity: Severity, code: &str, message: &str| Alert {
        severity,
        what: ErrorBody { code: code.into(), message: message.into(), help: "Do this.".into() },
    };
    world.status.alerts = vec![
        alert(Severity::Critical, "PS-S003", "the volume takes nothing"),
        alert(Severity::Warning, "PS-D232", "the next hop is down, which stands below in more words"),
    ];
    let status = Daemon::with(world).run(&["status"]);
    let lines: Vec<_> = status.printed().lines().skip(2).take(7).collect();
    assert_eq!(
        lines,
        [
            "Critical  the volume takes nothing (PS-S003)",
            "          Do this.",
            "Mail      2 of 1,204 messages damaged on flash and not given out; the others are safe, \
             the oldest from 5 h 12 min ago",
            "          what is on the disk waits until that can be used again",
            "          no new mail is taken: senders are told to come back later",
            "          1 message set aside for you to decide: penstock quarantine list",
            "          2,000 taken and 796 handed on since the start",
        ]
    );
    let end: Vec<_> = status.printed().lines().rev().take(2).collect();
    assert_eq!(end[1], "          the last write failed");
    assert_eq!(end[0], "Clock     not known to be right: nothing expires, and a hold does not end by itself");
}

#[test]
fn status_tells_why_a_next_hop_has_to_prove_itself_and_how_that_goes() {
    let mut world = outage();
    world.status.hops[0] = HopView {
        state: "unproven".into(),
        last_reply: None,
        advice: Some("Look, then `penstock confirm`.".into()),
        cause: Some("its greeting has another name than before".into()),
        proving: Some(Proof { arrived: 1, needed: 3 }),
        ..world.status.hops[0].clone()
    };
    let status = Daemon::with(world).run(&["status"]);
    let lines: Vec<_> = status.printed().lines().skip(4).take(5).collect();
    assert_eq!(
        lines,
        [
            "Next hop  exchange (192.0.2.25:25) has been unproven for 5 h 13 min",
            "          has to prove itself before it gets mail: its greeting has another name than before",
            "          1 of 3 canaries have arrived since",
            "          tried again in 5 s",
            "          Look, then `penstock confirm`.",
        ]
    );
}

#[test]
fn status_for_programs_is_what_the_daemon_said() {
    let world = outage();
    let expected = serde_json::to_value(&world.status).unwrap();
    assert_eq!(
        expected["mode"],
        json!({ "mode": "auto", "since_unix_ms": null, "by": null, "reason": null })
    );
    assert_eq!(Daemon::with(world).run(&["status", "--json"]).json(), expected);
}

#[test]
fn the_queue_is_a_table_in_order_of_arrival() {
    let daemon = Daemon::with(outage());
    assert_eq!(
        daemon.run(&["queue"]).printed(),
        "\
ID    STATE            AGE      SIZE  TRIES  FROM             TO                  NEXT
d-17  deferred  5 h 12 min  12.1 KiB      3  bob@example.com  mia@example.org     in 4 min 10 s: RCPT: 451 4.7.1 try later
d-18  queued          45 s     900 B      0  <>               ann@example.org +2

2 shown; 1,204 messages unfinished, 312.5 MiB
"
    );
    let held = daemon.run(&["queue", "--state", "held"]);
    assert_eq!(held.printed(), "0 shown; 1,204 messages unfinished, 312.5 MiB\n");
}

#[test]
fn a_long_queue_comes_in_pages_whole_and_in_order() {
    let mut world = outage();
    let row = world.rows[1].clone();
    world.rows = (1..=2_500).map(|number| QueueRow { id: MailId::disk(number), ..row.clone() }).collect();
    let daemon = Daemon::with(world);
    let ids = |args: &[&str]| -> Vec<u64> {
        let list = daemon.run(args).json();
        let id = |row: &serde_json::Value| row["id"].as_str().unwrap()[2..].parse().unwrap();
        list["rows"].as_array().unwrap().iter().map(id).collect()
    };
    assert_eq!(ids(&["queue", "--all", "--json"]), (1..=2_500).collect::<Vec<_>>());
    assert_eq!(
        ids(&["queue", "--limit", "1500", "--from", "d-11", "--json"]),
        (11..=1_510).collect::<Vec<_>>()
    );
    let some = daemon.run(&["queue", "--limit", "2"]);
    assert!(some.printed().ends_with("\nmore: --from d-3, or --all\n"), "{some:?}");
}

#[test]
fn an_empty_queue_for_programs_is_an_empty_list() {
    let mut world = outage();
    world.rows.clear();
    let list = Daemon::with(world).run(&["queue", "--json"]).json();
    let wanted = json!({
        "now_unix_ms": NOW, "rows": [], "next": null, "messages": 1204, "bytes": 327_680_000, "unreachable": []
    });
    assert_eq!(list, wanted);
}

#[test]
fn a_queue_says_what_is_missing_from_it() {
    let mut world = outage();
    world.unreachable = vec!["disk".into()];
    let daemon = Daemon::with(world);
    let list = daemon.run(&["queue"]);
    assert!(list.printed().contains("what is on the disk is not among them: it does not answer"), "{list:?}");
    assert_eq!(daemon.run(&["queue", "--json"]).json()["unreachable"], json!(["disk"]));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut world = outage();
    let row = world.rows[1].clone();
    world.rows = (1..=5_000).map(|number| QueueRow { id: MailId::disk(number), ..row.clone() }).collect();
    let daemon = Daemon::with(world);
    let mut child = crate::fake::penstock(&daemon.socket())
        .args(["queue", "--all"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ran: crate::fake::Ran = child.wait_with_output().unwrap().into();
    assert_eq!((ran.exit, ran.stderr.as_str()), (Some(0), ""));
}

#[test]
fn show_tells_all_but_the_text() {
    let daemon = Daemon::with(outage());
    let shown = daemon.run(&["show", "17"]);
    let (before, events) = shown.printed().split_at(shown.stdout.find("WHEN").unwrap());
    assert_eq!(
        before,
        format!(
            "\
Message     d-17, deferred
Received    2026-02-28 20:48:00 (5 h 12 min ago) from 198.51.100.7:2525 as mail.example.com, not encrypted
Sender      bob@example.com
Size        12.1 KiB (12,345 bytes)
SHA-256     {}
Parameters  BODY=8BITMIME
Attempts    3, the next in 4 min 10 s
Last answer RCPT: 451 4.7.1 try later

RECIPIENT        FATE       PARAMETERS
ann@example.org  delivered
mia@example.org  deferred   NOTIFY=NEVER

",
            "ab".repeat(32)
        )
    );
    assert!(events.contains("accepted"), "{events}");
    assert_eq!(daemon.run(&["show", "d-17", "--json"]).json()["recipient_list"][0]["fate"], "delivered");
}

#[test]
fn events_say_when_their_clock_was_not_to_be_trusted() {
    let daemon = Daemon::with(outage());
    assert_eq!(
        daemon.run(&["events"]).printed(),
        "\
WHEN                           WHAT      ID    DETAILS
2026-02-28 20:48:00            accepted  d-17  from 198.51.100.7
1970-01-01 00:00:05? (boot 5)  started         version 0.1.0
"
    );
    assert_eq!(daemon.run(&["log", "--message", "18"]).printed(), "nothing\n");
    let one = daemon.run(&["events", "--limit", "1", "--json"]).json();
    assert_eq!((&one["events"][0]["kind"], &one["more"]), (&json!("started"), &json!(true)));
}

#[test]
fn what_a_stranger_put_into_an_envelope_cannot_steer_the_terminal() {
    let mut world = outage();
    world.rows[0].sender = Some("\u{1b}[2J@example.com".into());
    world.rows[0].last_reply = Some("550 \u{7}bell".into());
    let daemon = Daemon::with(world);
    for args in [["queue", "--all"], ["show", "17"]] {
        let ran = daemon.run(&args);
        assert!(ran.printed().contains("\\u{1b}[2J@example.com"), "{ran:?}");
        assert!(!ran.stdout.contains(['\u{1b}', '\u{7}']), "{ran:?}");
    }
}

#[test]
fn a_message_that_is_not_there_is_refused_with_a_code() {
    let daemon = Daemon::with(outage());
    let ran = daemon.run(&["show", "d-99"]);
    assert_eq!((ran.exit, ran.stdout.as_str()), (Some(1), ""));
    assert!(ran.stderr.starts_with("penstock: there is no message d-99 (PS-D102)\n"), "{ran:?}");
    let for_program = daemon.run(&["show", "d-99", "--json"]);
    let error: ErrorBody = serde_json::from_str(&for_program.stderr).unwrap();
    assert_eq!((for_program.exit, error.code.as_str()), (Some(1), "PS-D102"));
}

#[test]
fn without_a_daemon_it_says_how_to_start_one() {
    let mut daemon = Daemon::with(outage());
    daemon.stop();
    for args in [
        &["status"][..],
        &["queue", "--all"],
        &["hold"],
        &["export", "1", "--reason", "x", "-o", "/dev/null/x"],
    ] {
        let ran = run(&daemon.socket(), args);
        if args[0] == "export" {
            // Where it cannot be written nothing is asked.
            assert_eq!(ran.exit, Some(1), "{ran:?}");
            continue;
        }
        assert_eq!((ran.exit, ran.stdout.as_str()), (Some(3), ""), "{args:?}");
        assert!(ran.stderr.contains("PS-D301") && ran.stderr.contains("systemctl start penstock"), "{ran:?}");
    }
}

#[test]
fn what_answers_and_is_no_daemon_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let other = std::thread::spawn(move || {
        use std::io::Write;
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"220 mx.example.org ESMTP\r\n").unwrap();
    });
    let ran = run(&path, &["status"]);
    other.join().unwrap();
    assert_eq!(ran.exit, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("PS-D303"), "{ran:?}");
}
