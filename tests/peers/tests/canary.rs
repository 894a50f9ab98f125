//! The daemon before a model of an Exchange server whose reports come back to it, and whose counters it can read: it knows
//! whether mail reaches mailboxes, and does not believe what it should not.

#![allow(missing_docs, clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};

use penstock_exchange::real::{Background, Options};
use penstock_peers::client::Client;
use penstock_peers::daemon::{Daemon, Settings};
use penstock_peers::process::wait_until;
use serde_json::Value;

/// Twenty of the server's seconds in one of ours. The daemon's own times are not divided.
const SPEED: f64 = 20.0;

/// A server with a probe mailbox in each of two databases and a send connector to the daemon before it, which knows the
/// mailboxes or the counters.
fn site(scenario: &str, next_hop: impl Fn(Settings, &Background) -> Settings) -> (Background, Daemon) {
    let address = Daemon::free_address();
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let places = "probe probe-1@example.com\nplace probe-1@example.com DB1\n\
                  probe probe-2@example.com\nplace probe-2@example.com DB2\n";
    let options = Options {
        listen: local,
        http: Some(local),
        send_connector: Some(address),
        speed: SPEED,
        seed: 1,
        epoch_s: 1_700_000_000,
        scenario: format!("{places}{scenario}"),
    };
    let exchange = Background::start(options).unwrap();
    let settings = next_hop(Settings::before(exchange.address()), &exchange);
    (exchange, Daemon::start_at(address, settings))
}

fn with_probes(settings: Settings, _: &Background) -> Settings {
    settings.set("next_hop.probe_mailboxes", "[\"probe-1@example.com\", \"probe-2@example.com\"]")
}

fn with_counters(settings: Settings, exchange: &Background) -> Settings {
    let url = format!("\"http://{}/metrics?collect[]=exchange\"", exchange.http().unwrap());
    // Mail that nobody waits for and that goes for a while, so that counters are read often.
    settings
        .set("next_hop.counters_url", &url)
        .set("release.messages_per_minute_max", "120")
        .set("release.through", "\"off\"")
}

/// Sends messages to one mailbox.
fn submit(daemon: &Daemon, messages: usize) {
    let mut client = Client::connect(daemon.address());
    client.ask("EHLO client.example");
    for number in 0..messages {
        let message = format!("Message-ID: <{number}@client.example>\r\n\r\n{number}\r\n");
        assert_eq!(client.message("a@client.example", &["ann@example.com"], message.as_bytes()).code, 250);
    }
}

fn number(of: &Value) -> u64 {
    of.as_u64().unwrap()
}

fn trouble(daemon: &Daemon) -> String {
    daemon.proof()["trouble"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_canary_comes_back_from_a_server_that_delivers() {
    let (exchange, daemon) = site("", with_probes);
    wait_until("a canary has arrived", || number(&daemon.proof()["canaries_arrived"]) >= 1);
    let proof = daemon.proof();
    assert_ne!(proof["grade"], "blind", "{proof}");
    let delivery = exchange.with(|server| server.deliveries()[0].clone());
    assert!(delivery.mailbox.starts_with("probe-"), "{delivery:?}");
    let said = String::from_utf8(delivery.kept).unwrap();
    assert!(said.contains("Subject: Penstock canary") && said.contains("can be deleted at once"), "{said}");
    // Reports are read and not kept: nothing of them is mail.
    assert_eq!(daemon.queued(), 0);
    assert_eq!(daemon.metric("penstock_accepted_messages_total"), 0);
    assert!(daemon.metric("penstock_canaries_arrived_total{hop=\"sink\"}") >= 1);
}

#[test]
fn no_canary_arrives_at_a_server_that_takes_all_and_knows_nobody() {
    let (exchange, daemon) = site("directory empty", with_probes);
    wait_until("a canary came to nothing", || {
        daemon.canaries().first().is_some_and(|canary| canary["state"] == "failed")
    });
    let proof = daemon.proof();
    assert_eq!((number(&proof["canaries_arrived"]), &proof["grade"]), (0, &"blind".into()), "{proof}");
    assert!(daemon.canaries()[0]["why"].as_str().unwrap().contains("RecipientNotFound"));
    assert_eq!(exchange.with(|server| server.deliveries().len()), 0);
}

#[test]
fn a_canary_to_a_database_that_is_gone_is_waited_for_and_its_report_cannot_be_forged() {
    let (_exchange, daemon) = site("dismount DB1\ndismount DB2", with_probes);
    wait_until("a canary was taken", || number(&daemon.proof()["canaries_taken"]) >= 1);
    let mut client = Client::connect(daemon.address());
    client.ask("EHLO client.example");
    for to in ["penstock-canary+00000000000000000000000000000000@penstock.example", "a@penstock.example"] {
        assert_eq!(client.ask("MAIL FROM:<>").code, 250);
        assert_eq!(client.ask(&format!("RCPT TO:<{to}>")).code, 550, "{to}");
        assert_eq!(client.ask("RSET").code, 250);
    }
    let proof = daemon.proof();
    assert_eq!((number(&proof["canaries_arrived"]), &proof["grade"]), (0, &"blind".into()), "{proof}");
    assert!(number(&proof["canaries_outstanding"]) >= 1, "{proof}");
}

#[test]
fn counters_are_believed_only_while_they_are_those_of_now() {
    let (exchange, daemon) = site("capacity 100", with_counters);
    submit(&daemon, 100);
    wait_until("they are read", || daemon.proof()["counters"]["submission"].is_u64());
    assert_eq!((&daemon.proof()["grade"], trouble(&daemon).as_str()), (&"counters".into(), ""));

    exchange.command("counters missing").unwrap();
    wait_until("they are missed", || trouble(&daemon).contains("collector"));
    exchange.command("counters old").unwrap();
    wait_until("those of an old version do", || trouble(&daemon).is_empty());
    let counters = daemon.proof()["counters"].clone();
    assert!(counters["submission"].is_null() && counters["retry_mailbox"].is_u64(), "{counters}");

    exchange.command("counters frozen").unwrap();
    wait_until("it is seen that they stand still", || trouble(&daemon).contains("stand still"));
    exchange.command("counters full").unwrap();
    wait_until("they move again", || trouble(&daemon).is_empty());
    daemon.wait_until_empty();
    assert_eq!(exchange.with(|server| server.summary())["delivered"], 100);
}
