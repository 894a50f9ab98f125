//! How a sender can know more than SMTP tells: success reports, a probe mailbox, the counters.

use penstock_exchange::units::HOUR;

use crate::common::{numbered, send, session, world};

fn metric(text: &str, name: &str) -> Option<u64> {
    let line = format!("windows_exchange_transport_queues_{name}{{name=\"_total\"}} ");
    text.lines().find_map(|text| text.strip_prefix(&line)?.parse().ok())
}

#[test]
fn a_success_report_comes_when_the_message_lies_in_the_mailbox_and_not_before() {
    let mut world = world(&["capacity 0", "at 60s capacity 10"]);
    let connection = session(&mut world);
    world.ask(connection, "MAIL FROM:<canary@box.example.net> RET=HDRS ENVID=QQ314159");
    world
        .ask(connection, "RCPT TO:<probe@example.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;probe@example.com");
    world.ask(connection, "DATA");
    assert!(world.ask(connection, &format!("{}\r\n.", numbered(1))).starts_with("250"));
    world.run_until(59_000);
    assert!(world.mail().is_empty());
    world.run_until(62_000);
    let mail = &world.mail()[0];
    assert_eq!(
        (mail.to.as_str(), mail.at_ms),
        ("canary@box.example.net", world.server.deliveries()[0].delivered_ms)
    );
    let text = String::from_utf8(mail.bytes.clone()).unwrap();
    for line in ["Original-Envelope-Id: QQ314159", "Action: delivered", "In-Reply-To: <1@box.example.net>"] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

#[test]
fn no_success_report_comes_from_an_empty_directory_or_a_database_that_is_gone() {
    for command in ["directory empty", "dismount DB1"] {
        let mut world = world(&[command, "place probe@example.com DB1"]);
        let connection = session(&mut world);
        world.ask(connection, "MAIL FROM:<canary@box.example.net>");
        world.ask(connection, "RCPT TO:<probe@example.com> NOTIFY=SUCCESS");
        world.ask(connection, "DATA");
        assert!(world.ask(connection, "Subject: x\r\n\r\n.").starts_with("250"));
        world.run_until(HOUR);
        assert!(world.mail().is_empty());
    }
}

#[test]
fn a_report_to_one_of_our_own_mailboxes_lies_in_it() {
    let mut world = world(&["probe canary@example.com"]);
    let connection = session(&mut world);
    world.ask(connection, "MAIL FROM:<canary@example.com>");
    world.ask(connection, "RCPT TO:<ann@example.com> NOTIFY=SUCCESS");
    world.ask(connection, "DATA");
    world.ask(connection, &format!("{}\r\n.", numbered(1)));
    world.run_until(10_000);
    assert!(world.mail().is_empty());
    let report = &world.server.deliveries()[1];
    assert_eq!((report.mailbox.as_str(), report.source), ("canary@example.com", None));
    assert!(String::from_utf8_lossy(&report.kept).contains("Action: delivered"));
}

#[test]
fn the_mail_of_a_probe_mailbox_can_be_read_back_and_that_of_others_not() {
    let mut world = world(&["probe probe@example.com"]);
    send(&mut world, 1, "probe@example.com");
    send(&mut world, 2, "ann@example.com");
    world.run_until(10_000);
    let kept: Vec<_> = world.server.deliveries().iter().map(|each| each.kept.clone()).collect();
    assert_eq!(kept, [format!("{}\r\n", numbered(1)).into_bytes(), Vec::new()]);
}

#[test]
fn counters_are_those_of_windows_exporter() {
    let mut world =
        world(&["capacity 0", "dismount DB1", "place bob@example.com DB1", "place ann@example.com DB2"]);
    for (number, to) in [(1, "ann@example.com"), (2, "bob@example.com"), (3, "ann@example.com")] {
        send(&mut world, number, to);
    }
    let text = world.server.metrics();
    assert_eq!(metric(&text, "submission_queue_length"), Some(3));
    assert_eq!(metric(&text, "messages_submitted_total"), Some(3));
    assert_eq!(metric(&text, "messages_completed_delivery_total"), Some(0));
    world.command("capacity 10").unwrap();
    world.run_until(30_000);
    let text = world.server.metrics();
    assert_eq!(metric(&text, "submission_queue_length"), Some(0));
    assert_eq!(metric(&text, "retry_mailbox_delivery"), Some(1));
    assert_eq!(metric(&text, "active_mailbox_delivery"), Some(0));
    assert_eq!(metric(&text, "poison"), Some(0));
    assert_eq!(metric(&text, "messages_completed_delivery_total"), Some(2));
    assert!(
        text.contains("# TYPE windows_exchange_transport_queues_messages_completed_delivery_total counter\n")
    );
}

#[test]
fn counters_may_be_old_missing_or_frozen() {
    let mut world = world(&["capacity 0", "counters frozen"]);
    send(&mut world, 1, "ann@example.com");
    assert_eq!(metric(&world.server.metrics(), "submission_queue_length"), Some(0));
    world.command("counters full").unwrap();
    assert_eq!(metric(&world.server.metrics(), "submission_queue_length"), Some(1));
    world.command("counters old").unwrap();
    let text = world.server.metrics();
    assert_eq!(metric(&text, "submission_queue_length"), None);
    assert_eq!(metric(&text, "retry_mailbox_delivery"), Some(0));
    world.command("counters missing").unwrap();
    let text = world.server.metrics();
    assert!(text.contains("collector_success{collector=\"exchange\"} 0"), "{text}");
    assert_eq!(metric(&text, "retry_mailbox_delivery"), None);
}
