//! The daemon before a model of an Exchange server that is not itself at first: nothing is lost, and every message lies
//! in its mailbox once.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;

use penstock_exchange::real::{Background, Options};
use penstock_peers::client::Client;
use penstock_peers::daemon::{Daemon, Settings};
use penstock_peers::postfix::{Postfix, Role};
use penstock_peers::process::{run, wait_until};

/// So many seconds of the server's, and of the daemon's, in one of ours.
const SPEED: u32 = 20;

fn exchange(scenario: &str) -> Background {
    let options = Options {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        http: None,
        send_connector: None,
        speed: f64::from(SPEED),
        seed: 1,
        epoch_s: 1_700_000_000,
        scenario: scenario.to_owned(),
    };
    Background::start(options).unwrap()
}

/// A server, and a daemon before it that holds this many messages.
fn site(scenario: &str, messages: usize) -> (Background, Daemon) {
    let exchange = exchange(scenario);
    let settings = Settings::before(exchange.address())
        .set("release.probe_data_interval", "\"10s\"")
        .set("release.retry_schedule", "[\"10s\"]")
        .at_speed(SPEED);
    let daemon = Daemon::start(settings);
    daemon.hold();
    submit(daemon.address(), 0..messages);
    (exchange, daemon)
}

/// Sends messages with these numbers to ten mailboxes.
fn submit(to: SocketAddr, numbers: Range<usize>) {
    let mut client = Client::connect(to);
    client.ask("EHLO client.example");
    for number in numbers {
        let message = format!(
            "Message-ID: <{number}@client.example>\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\n\r\n{number}\r\n"
        );
        let to = format!("user{}@example.com", number % 10);
        assert_eq!(client.message("a@client.example", &[&to], message.as_bytes()).code, 250);
    }
}

fn replies(exchange: &Background, code: &str) -> u64 {
    exchange.with(|server| server.summary())["replies"][code].as_u64().unwrap_or(0)
}

/// Waits until the server has nothing left to do, and asserts that every message lies in its mailbox once.
fn every_message_arrives_once(exchange: &Background, messages: usize) {
    wait_until("all mail lies in mailboxes", || {
        let summary = exchange.with(|server| server.summary());
        summary["in_submission_queue"] == 0 && summary["in_delivery_queues"] == 0
    });
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for delivery in exchange.with(|server| server.deliveries().to_vec()) {
        let id = delivery.message_id.unwrap();
        let number: usize = id.trim_matches(['<', '>']).split('@').next().unwrap().parse().unwrap();
        assert_eq!(delivery.mailbox, format!("user{}@example.com", number % 10));
        *times.entry(id).or_default() += 1;
    }
    assert_eq!(times.len(), messages, "some are lost");
    assert!(times.values().all(|times| *times == 1), "some lie twice: {times:?}");
    let summary = exchange.with(|server| server.summary());
    assert_eq!(summary["ndr_after_250"], 0, "{summary}");
}

#[test]
fn a_server_that_does_not_know_its_domain_gets_the_backlog_when_it_does() {
    let (exchange, daemon) = site("state unconfigured", 40);
    daemon.release();
    // 5.7.54, and again after the trial's time: it is asked one message at a time.
    wait_until("it was asked some times", || replies(&exchange, "550") >= 3);
    assert!(replies(&exchange, "550") < 20);
    assert_eq!(exchange.with(|server| server.deliveries().len()), 0);
    assert_eq!(daemon.queued(), 40);
    exchange.command("state ok").unwrap();
    // That it takes recipients again is no proof that their mailboxes are there.
    daemon.confirm();
    daemon.wait_until_empty();
    every_message_arrives_once(&exchange, 40);
}

#[test]
fn a_server_that_restarts_in_mid_drain_and_loses_replies_has_every_message_once() {
    let (exchange, daemon) = site("lose-replies 2", 300);
    daemon.release();
    wait_until("the drain is under way", || replies(&exchange, "354") >= 50);
    exchange.command("restart 30s").unwrap();
    daemon.wait_until_empty();
    every_message_arrives_once(&exchange, 300);
    assert_eq!(exchange.with(|server| server.summary())["replies_lost"], 2);
}

#[test]
fn a_server_without_disk_space_is_asked_now_and_then_and_then_drained() {
    let (exchange, daemon) = site("disk 95%", 60);
    wait_until("it is under pressure", || {
        exchange.with(|server| server.level()) > penstock_exchange::Level::Low
    });
    daemon.release();
    wait_until("it was asked", || replies(&exchange, "452") >= 2);
    // Sixty messages wait, and few were sent in vain.
    assert!(replies(&exchange, "452") < 20, "{} in vain", replies(&exchange, "452"));
    exchange.command("disk ok").unwrap();
    daemon.wait_until_empty();
    every_message_arrives_once(&exchange, 60);
}

/// Ten minutes between two trials are above any hang guard, and some seconds at this speed: benches rely on it.
#[test]
fn a_build_for_tests_lives_as_fast_as_it_is_told_to() {
    let exchange = exchange("");
    let settings = Settings::as_shipped_before(exchange.address())
        .set("release.probe_data_interval", "\"10m\"")
        .at_speed(100);
    let daemon = Daemon::start(settings);
    // A server that has taken mail before is not believed when it refuses a single client's: it is tried on, and nobody has
    // to say that it is itself.
    submit(daemon.address(), 0..1);
    daemon.wait_until_empty();
    exchange.command("state unconfigured").unwrap();
    submit(daemon.address(), 1..4);
    // A message, and the trial that follows at once. The next one is ten minutes later.
    wait_until("it was asked", || replies(&exchange, "550") >= 2);
    exchange.command("state ok").unwrap();
    daemon.wait_until_empty();
    every_message_arrives_once(&exchange, 4);
}

/// What the model shows of a plain relay: what a server that is not itself refuses is sent back for good, where the
/// daemon keeps it; with a server that is itself all is well.
#[test]
fn postfix_gives_up_what_an_unconfigured_server_refuses_and_delivers_to_one_that_is_configured() {
    let exchange = exchange("state unconfigured");
    let postfix = Postfix::start(Role::Relay(exchange.address()));
    submit(postfix.address(), 100..105);
    // The five, and Postfix's five reports about them, whose recipients are not of this site.
    wait_until("all is refused", || replies(&exchange, "550") >= 10);
    exchange.command("state ok").unwrap();
    // If it still had them it would send them now.
    run(&mut postfix.command("flush"));
    submit(postfix.address(), 0..20);
    wait_until("the mail is there", || exchange.with(|server| server.deliveries().len()) >= 20);
    every_message_arrives_once(&exchange, 20);
}
