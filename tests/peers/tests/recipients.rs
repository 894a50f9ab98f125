//! The daemon before a model of an Exchange server, and mail for recipients that nobody knows: with a recipient filter and
//! without, healthy and away, with a list and without.

#![allow(missing_docs, clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};

use penstock_exchange::real::{Background, Options};
use penstock_peers::client::Client;
use penstock_peers::daemon::{Daemon, Settings};
use penstock_peers::process::wait_until;
use serde_json::Value;

/// A server that knows ann, bob and a probe mailbox, and a daemon before it that finds out whether it looks.
fn site(scenario: &str) -> (Background, Daemon) {
    let address = Daemon::free_address();
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let known = "directory empty\nknown ann@example.com\nknown bob@example.com\n\
                 probe probe-1@example.com\nknown probe-1@example.com\n";
    let options = Options {
        listen: local,
        http: None,
        send_connector: Some(address),
        speed: 20.0,
        seed: 1,
        epoch_s: 1_700_000_000,
        scenario: format!("{known}{scenario}"),
    };
    let exchange = Background::start(options).unwrap();
    let settings = Settings::before(exchange.address())
        .set("recipients.find_out", "true")
        .set("next_hop.probe_mailboxes", "[\"probe-1@example.com\"]");
    (exchange, Daemon::start_at(address, settings))
}

fn policy(daemon: &Daemon) -> Value {
    daemon.recipients()["policy"].clone()
}

fn finding(daemon: &Daemon) -> String {
    let entry = policy(daemon)["validation"][0].clone();
    if entry["validates"].is_null() { String::new() } else { entry["words"].as_str().unwrap().to_owned() }
}

fn rcpt(daemon: &Daemon, address: &str) -> u16 {
    let mut client = Client::connect(daemon.address());
    client.ask("EHLO client.example");
    client.ask("MAIL FROM:<a@client.example>");
    client.ask(&format!("RCPT TO:<{address}>")).code
}

fn send(daemon: &Daemon, to: &str) {
    let mut client = Client::connect(daemon.address());
    client.ask("EHLO client.example");
    let message = format!("Message-ID: <{to}>\r\n\r\nx\r\n");
    assert_eq!(client.message("a@client.example", &[to], message.as_bytes()).code, 250);
}

/// The server goes away, and a message finds that out.
fn go_away(exchange: &Background, daemon: &Daemon) {
    exchange.command("state down").unwrap();
    send(daemon, "probe-1@example.com");
    wait_until("the server is away", || policy(daemon)["decides"] != "next_hop");
}

#[test]
fn a_server_without_recipient_filter_is_found_to_take_every_name_and_teaches_nothing() {
    let (exchange, daemon) = site("");
    wait_until("it is found out", || !finding(&daemon).is_empty());
    assert!(finding(&daemon).contains("takes mail for every name"), "{}", finding(&daemon));
    // It reports the message to nobody back to us, which is no mail.
    wait_until("it has reported back", || {
        exchange.with(|server| server.summary())["ndr_after_250"].as_u64().unwrap() >= 1
    });
    send(&daemon, "ann@example.com");
    daemon.wait_until_empty();
    assert_eq!(daemon.metric("penstock_accepted_messages_total"), 1);
    // By a list that has bob alone, ann is nobody: a 250 is no reason to think otherwise.
    daemon.import_recipients("bob@example.com\n");
    go_away(&exchange, &daemon);
    assert_eq!((rcpt(&daemon, "bob@example.com"), rcpt(&daemon, "ann@example.com")), (250, 550));
    assert_eq!(rcpt(&daemon, "probe-1@example.com"), 250, "the settings name it");
    assert_eq!(rcpt(&daemon, "postmaster@example.com"), 250);
}

#[test]
fn a_server_with_recipient_filter_is_found_to_look_and_whom_it_took_is_known() {
    for (face, when) in [("frontend", "at the end of the message"), ("direct", "at RCPT")] {
        let (exchange, daemon) = site(&format!("face {face}\nfilter on\n"));
        wait_until("it is found out", || !finding(&daemon).is_empty());
        assert!(finding(&daemon).contains(when), "{face}: {}", finding(&daemon));
        send(&daemon, "ann@example.com");
        daemon.wait_until_empty();
        daemon.import_recipients("bob@example.com\n");
        go_away(&exchange, &daemon);
        let said = |address: &str| rcpt(&daemon, address);
        assert_eq!(
            (said("bob@example.com"), said("ann@example.com"), said("eve@example.com")),
            (250, 250, 550)
        );
    }
}

#[test]
fn a_rebuilt_server_is_asked_again() {
    let (exchange, daemon) = site("face direct\nfilter on\n");
    wait_until("it is found out", || finding(&daemon).contains("at RCPT"));
    exchange.command("filter off").unwrap();
    exchange.command("identity rebuilt.example.com").unwrap();
    // The next connection shows another name: it proves itself by canaries, and is asked anew.
    send(&daemon, "ann@example.com");
    wait_until("it is found out again", || finding(&daemon).contains("takes mail for every name"));
}

#[test]
fn in_an_outage_without_a_list_everybody_is_taken_and_nothing_is_lost() {
    let (exchange, daemon) = site("");
    wait_until("the server is there", || policy(&daemon)["decides"] == "next_hop");
    go_away(&exchange, &daemon);
    assert_eq!(policy(&daemon)["decides"], "nobody");
    send(&daemon, "bob@example.com");
    assert_eq!(rcpt(&daemon, "eve@example.com"), 250);
    exchange.command("state ok").unwrap();
    daemon.wait_until_empty();
    wait_until("bob has it", || {
        exchange
            .with(|server| server.deliveries().iter().any(|delivery| delivery.mailbox == "bob@example.com"))
    });
}
