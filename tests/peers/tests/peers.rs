//! The software that people have: each delivers through the daemon, and what it asks for arrives with the mail.

#![allow(missing_docs, clippy::unwrap_used)]

use std::net::SocketAddr;
use std::process::Command;

use penstock_peers::client::Client;
use penstock_peers::daemon::{Daemon, Settings};
use penstock_peers::envelope::Path;
use penstock_peers::exim::Exim;
use penstock_peers::ledger::Balance;
use penstock_peers::postfix::{Postfix, Role};
use penstock_peers::process::{run, wait_until};
use penstock_peers::recorder::{Recorder, Transaction};
use penstock_peers::sink::{Delivery, Sink};

/// A daemon between a recorder and a sink.
struct Line {
    sink: Sink,
    _daemon: Daemon,
    recorder: Recorder,
}

impl Line {
    fn start() -> Self {
        let sink = Sink::start(0, 1);
        let daemon = Daemon::start(Settings::before(sink.address()));
        let recorder = Recorder::start(daemon.address());
        Self { sink, _daemon: daemon, recorder }
    }

    /// Waits for this many messages, checks that they are the ones that were acknowledged, and returns the last on
    /// either side.
    fn settle(self, messages: usize) -> (Transaction, Delivery) {
        wait_until("the mail has arrived", || self.sink.count() >= messages);
        settled(self.recorder, &self.sink, messages)
    }
}

fn settled(recorder: Recorder, sink: &Sink, messages: usize) -> (Transaction, Delivery) {
    let (sent, arrived) = (recorder.finish(), sink.deliveries());
    let balance = Balance::of(&sent, &arrived);
    balance.assert_sound(0);
    assert_eq!((balance.acknowledged, balance.arrived), (messages, messages));
    (sent.last().unwrap().clone(), arrived.last().unwrap().clone())
}

/// Submits a message that asks for everything that DSN (RFC 3461) knows, to a mail server that passes it on.
fn submit_with_dsn(to: SocketAddr) {
    let mut client = Client::connect(to);
    client.ask("EHLO client.example");
    assert_eq!(client.ask("MAIL FROM:<a@example.org> RET=HDRS ENVID=QQ314159").code, 250);
    let rcpt = "RCPT TO:<b@example.com> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;some+2Bone@example.com";
    assert_eq!(client.ask(rcpt).code, 250);
    assert_eq!(client.ask("DATA").code, 354);
    client.send(b"Subject: Gr\xc3\xb6\xc3\x9fe\r\n\r\n..\r\nbody\r\n.\r\n");
    assert_eq!(client.reply().code, 250);
    client.ask("QUIT");
}

fn wishes(path: &Path) -> Vec<(&'static str, Option<&str>)> {
    ["RET", "ENVID", "NOTIFY", "ORCPT", "BODY"].map(|keyword| (keyword, path.parameter(keyword))).to_vec()
}

/// What the client asked the daemon for is what the daemon asks the next hop for.
fn assert_wishes_kept(sent: &Transaction, arrived: &Delivery) {
    assert_eq!(wishes(&sent.from), wishes(&arrived.from));
    for (sent, arrived) in sent.to.iter().zip(&arrived.to) {
        assert_eq!(wishes(sent), wishes(arrived));
    }
    assert_eq!(sent.from.parameter("ENVID"), Some("QQ314159"));
    assert_eq!(sent.to[0].parameter("NOTIFY"), Some("SUCCESS,DELAY"));
}

#[test]
fn swaks_delivers() {
    let line = Line::start();
    let port = line.recorder.address().port().to_string();
    run(Command::new("swaks")
        .args(["--server", "127.0.0.1", "--port", &port, "--helo", "client.example", "--suppress-data"])
        .args(["--from", "a@example.org", "--to", "b@example.com,c@example.com", "--body", ".\n..\nend"]));
    let (_, delivery) = line.settle(1);
    assert_eq!(delivery.to.len(), 2);
    let trace = delivery.trace;
    assert!(trace.starts_with("Received: from client.example"), "{trace}");
    assert!(trace.contains("by penstock.example"), "{trace}");
}

#[test]
fn pythons_smtplib_delivers_and_its_dsn_wishes_are_kept() {
    let line = Line::start();
    let script = format!(
        "import smtplib\n\
         with smtplib.SMTP('127.0.0.1', {}, local_hostname='client.example') as server:\n\
         \x20   for n in range(3):\n\
         \x20       server.sendmail('a@example.org', ['b@example.com'],\n\
         \x20           ('Subject: %d\\r\\n\\r\\n.\\r\\nGr\u{f6}\u{df}e\\r\\n' % n).encode(),\n\
         \x20           mail_options=['BODY=8BITMIME', 'RET=HDRS', 'ENVID=QQ314159'],\n\
         \x20           rcpt_options=['NOTIFY=SUCCESS,DELAY', 'ORCPT=rfc822;b@example.com'])\n",
        line.recorder.address().port()
    );
    run(Command::new("python3").args(["-c", &script]));
    let (sent, arrived) = line.settle(3);
    assert_wishes_kept(&sent, &arrived);
    assert_eq!(arrived.from.parameter("BODY"), Some("8BITMIME"));
}

#[test]
fn postfix_relays_through_the_daemon_and_its_dsn_wishes_are_kept() {
    let line = Line::start();
    let postfix = Postfix::start(Role::Relay(line.recorder.address()));
    submit_with_dsn(postfix.address());
    let (sent, arrived) = line.settle(1);
    assert_wishes_kept(&sent, &arrived);
}

#[test]
fn exim_relays_through_the_daemon_and_its_dsn_wishes_are_kept() {
    let line = Line::start();
    let exim = Exim::start(line.recorder.address());
    submit_with_dsn(exim.address());
    let (sent, arrived) = line.settle(1);
    assert_wishes_kept(&sent, &arrived);
}

#[test]
fn postfix_behind_the_daemon_gets_mail_and_dsn_wishes() {
    // Postfix puts its own Received line above ours.
    let sink = Sink::start(0, 2);
    let postfix = Postfix::start(Role::Relay(sink.address()));
    let daemon = Daemon::start(Settings::before(postfix.address()));
    let recorder = Recorder::start(daemon.address());
    submit_with_dsn(recorder.address());
    wait_until("the mail has arrived", || sink.count() == 1);
    let (sent, arrived) = settled(recorder, &sink, 1);
    assert_wishes_kept(&sent, &arrived);
}

#[test]
fn mail_waits_while_the_next_hop_is_away_and_flows_when_it_is_there() {
    let sink = Sink::start(0, 1);
    let next_hop = sink.address();
    drop(sink);
    let daemon = Daemon::start(Settings::before(next_hop));
    let recorder = Recorder::start(daemon.address());
    let mut client = Client::connect(recorder.address());
    client.ask("EHLO client.example");
    for n in 0..10 {
        let message = format!("Subject: {n}\r\n\r\nbody\r\n");
        assert_eq!(client.message("a@example.org", &["b@example.com"], message.as_bytes()).code, 250);
    }
    assert_eq!(daemon.queued(), 10);
    let sink = Sink::start(next_hop.port(), 1);
    wait_until("the mail has arrived", || sink.count() == 10);
    settled(recorder, &sink, 10);
}
