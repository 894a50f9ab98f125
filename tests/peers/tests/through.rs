//! The daemon before a model of an Exchange server that refuses spam and mail for nobody: in peacetime senders are told
//! by the box what Exchange says, and nobody sends a report to a sender who is forged.

#![allow(missing_docs, clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;

use penstock_exchange::real::{Background, Options};
use penstock_peers::client::{Client, Reply};
use penstock_peers::daemon::{Daemon, Settings};
use penstock_peers::process::wait_until;
use penstock_peers::sink::Sink;

/// Twenty of the server's seconds in one of ours. The daemon's own times are not divided.
const SPEED: f64 = 20.0;

/// Senders at a time, each with so many messages.
const SENDERS: usize = 8;
const MESSAGES: usize = 30;

/// A server, the daemon before it, and who takes reports of either for the outside.
struct Site {
    exchange: Background,
    daemon: Daemon,
    outside: Sink,
}

impl Site {
    /// Before a server that refuses this way, and has taken a message.
    fn new(scenario: &str, through: &str) -> Self {
        let outside = Sink::start(0, 0);
        let options = Options {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            http: None,
            send_connector: Some(outside.address()),
            speed: SPEED,
            seed: 1,
            epoch_s: 1_700_000_000,
            scenario: scenario.to_owned(),
        };
        let exchange = Background::start(options).unwrap();
        let settings = Settings::before(exchange.address())
            .set("release.through", &format!("\"{through}\""))
            .set("bounce.smarthost", &format!("\"{}\"", outside.address()));
        let daemon = Daemon::start(settings);
        let mut client = Client::connect(daemon.address());
        client.ask("EHLO client.example");
        let first = "Message-ID: <first@client.example>\r\n\r\nfirst\r\n";
        assert_eq!(client.message("a@client.example", &["ann@example.com"], first.as_bytes()).code, 250);
        wait_until("the first message is there", || delivered(&exchange) == 1);
        daemon.wait_until_empty();
        Self { exchange, daemon, outside }
    }

    /// A spam run with some good mail in it. What the senders were told, each with its kind.
    fn spam_run(&self) -> Vec<(Kind, Reply)> {
        let to = self.daemon.address();
        let senders: Vec<_> = (0..SENDERS).map(|sender| thread::spawn(move || run(to, sender))).collect();
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
    }

    /// What is neither delivered nor reported, when the server has worked off what it took.
    fn assert_quiet(&self, good: usize) {
        wait_until("all good mail lies in mailboxes", || delivered(&self.exchange) > good as u64);
        let summary = self.exchange.with(|server| server.summary());
        assert_eq!(summary["delivered"], good + 1, "{summary}");
        assert_eq!(summary["ndr_after_250"], 0, "{summary}");
        assert_eq!(self.outside.count(), 0, "reports went out");
    }
}

fn delivered(exchange: &Background) -> u64 {
    exchange.with(|server| server.summary())["delivered"].as_u64().unwrap()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Good,
    Spam,
    ForNobody,
}

/// One sender's mail: two thirds of it is unwanted, from senders who are forged.
fn run(to: SocketAddr, sender: usize) -> Vec<(Kind, Reply)> {
    let mut client = Client::connect(to);
    client.ask("EHLO client.example");
    let mut told = Vec::new();
    for number in 0..MESSAGES {
        let kind = [Kind::Good, Kind::Spam, Kind::ForNobody][number % 3];
        let word = if kind == Kind::Spam { "casino" } else { "hello" };
        let message = format!("Message-ID: <{sender}-{number}@client.example>\r\n\r\n{word}\r\n");
        let address = match kind {
            Kind::ForNobody => format!("nobody{}@example.com", number % 2),
            Kind::Good | Kind::Spam => format!("user{}@example.com", number % 10),
        };
        told.push((
            kind,
            client.message(&format!("forged{number}@victim.example"), &[&address], message.as_bytes()),
        ));
    }
    told
}

const POLICIES: &str = "spam casino\nfilter on\nunknown nobody0@example.com\nunknown nobody1@example.com\n";

#[test]
fn a_spam_run_is_refused_in_session_and_nobody_gets_a_report() {
    for face in ["frontend", "direct"] {
        let site = Site::new(&format!("face {face}\n{POLICIES}"), "auto");
        let told = site.spam_run();
        for (kind, reply) in &told {
            let text = reply.lines.concat();
            match kind {
                Kind::Good => {
                    assert!(reply.code == 250 && text.contains("queued as d-"), "{face}: {reply:?}");
                }
                Kind::Spam => assert!(reply.code == 550 && text.starts_with("5.7.1 "), "{face}: {reply:?}"),
                Kind::ForNobody => {
                    assert!(reply.code == 550 && text.starts_with("5.1."), "{face}: {reply:?}");
                }
            }
        }
        let good = told.iter().filter(|(kind, _)| *kind == Kind::Good).count();
        site.assert_quiet(good);
        assert_eq!(site.daemon.queued(), 0, "{face}: nothing is held for the operator");
        let refused = site.daemon.metric("penstock_through_refused_messages_total");
        assert_eq!(refused as usize, told.len() - good, "{face}");
    }
}

/// What the same run comes to without it: as little backscatter, and all of it before the operator.
#[test]
fn without_through_mode_the_same_run_is_held_for_the_operator() {
    let site = Site::new(POLICIES, "off");
    let told = site.spam_run();
    assert!(told.iter().all(|(_, reply)| reply.code == 250));
    let good = told.iter().filter(|(kind, _)| *kind == Kind::Good).count();
    site.assert_quiet(good);
    wait_until("the rest is held", || site.daemon.queued() as usize == told.len() - good);
}

/// A server without a recipient filter takes mail for nobody and reports it itself: the box hands on its 250.
#[test]
fn what_the_server_takes_is_the_servers() {
    let site = Site::new("unknown nobody0@example.com\nunknown nobody1@example.com", "auto");
    let told = site.spam_run();
    assert!(told.iter().all(|(_, reply)| reply.code == 250));
    let for_nobody = told.iter().filter(|(kind, _)| *kind == Kind::ForNobody).count();
    wait_until("the server has reported", || site.outside.count() == for_nobody);
    assert_eq!(site.daemon.queued(), 0);
}
