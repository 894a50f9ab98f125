//! The server, and what it has seen.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use penstock_exchange::ReportKind;
use penstock_exchange::real::{Background, Options};
use serde_json::Value;

use super::backlog::kind_and_number;

/// A copy that lies in a mailbox.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `backlog`, `fresh` or `bystander`.
    pub kind: String,
    /// Which one of its kind.
    pub number: u32,
    /// Its mailbox.
    pub mailbox: String,
    /// When its end of data was answered, in ms of the model's time.
    pub accepted_ms: u64,
    /// When it came to lie there.
    pub delivered_ms: u64,
}

/// Where the model is to be found, before it is there.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// SMTP.
    pub smtp: SocketAddr,
    /// Counters.
    pub http: SocketAddr,
}

impl Place {
    /// A place where nothing is yet.
    pub fn free() -> Self {
        let free = || SocketAddr::from((Ipv4Addr::LOCALHOST, crate::process::free_port()));
        Self { smtp: free(), http: free() }
    }
}

/// A running model. Clones are of the same one.
#[derive(Clone)]
pub struct Site {
    exchange: Arc<Background>,
}

impl Site {
    /// Starts the model; its time begins now. `reports_to` takes its reports for the outside.
    pub fn start(place: Place, speed: u32, scenario: &str, reports_to: Option<SocketAddr>) -> Self {
        let options = Options {
            listen: place.smtp,
            http: Some(place.http),
            send_connector: reports_to,
            speed: f64::from(speed),
            seed: 1,
            epoch_s: 1_700_000_000,
            scenario: scenario.to_owned(),
        };
        let exchange = Background::start(options).unwrap_or_else(|error| panic!("{error}: {scenario}"));
        Self { exchange: Arc::new(exchange) }
    }

    /// Its time.
    pub fn now_ms(&self) -> u64 {
        self.exchange.with(|server| server.now_ms())
    }

    /// Gives it a command.
    pub fn command(&self, line: &str) {
        self.exchange.command(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }

    /// Everything that it has counted.
    pub fn summary(&self) -> Value {
        self.exchange.with(|server| server.summary())
    }

    /// How it is, in a line.
    pub fn status_line(&self) -> String {
        self.exchange.with(|server| server.status_line())
    }

    /// What has come to lie in mailboxes since the first `after` copies; with the number of all.
    pub fn seen_after(&self, after: usize) -> (Vec<Seen>, usize) {
        self.exchange.with(|server| {
            let all = server.deliveries();
            let new = all.get(after..).unwrap_or_default();
            let seen = new.iter().filter_map(|delivery| {
                let (kind, number) = kind_and_number(delivery.message_id.as_deref()?)?;
                Some(Seen {
                    kind: kind.to_owned(),
                    number,
                    mailbox: delivery.mailbox.clone(),
                    accepted_ms: delivery.accepted_ms,
                    delivered_ms: delivery.delivered_ms,
                })
            });
            (seen.collect(), all.len())
        })
    }

    /// The messages that it had taken and then reported as undeliverable, by number.
    pub fn reported(&self) -> BTreeSet<u32> {
        self.exchange.with(|server| {
            let failed = server.reports().iter().filter(|report| report.kind != ReportKind::Delivered);
            let numbers = failed.filter_map(|report| Some(kind_and_number(report.message_id.as_deref()?)?.1));
            numbers.collect()
        })
    }
}

/// Another address of this machine.
pub fn bystander_address() -> IpAddr {
    Ipv4Addr::new(127, 0, 0, 2).into()
}
