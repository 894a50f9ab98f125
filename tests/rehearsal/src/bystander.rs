//! Somebody else who sends to the same server: what a drain costs those who have nothing to do with it.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use penstock_exchange::simulated::{Party, World};
use penstock_release::{End, Verdict};
use penstock_smtp::client::Config as ClientConfig;

use crate::connection::{Connection, Happened, Letter};
use crate::mail::Mail;

/// How long a message waits that was not taken.
const RETRY_MS: u64 = 60_000;

/// A mail server that sends a message now and then, each on a connection of its own, and comes back after a minute.
#[derive(Debug)]
pub struct Bystander {
    client: ClientConfig,
    interval_ms: u64,
    next: u64,
    waiting: VecDeque<(u64, u64)>,
    works: Vec<(u64, Connection)>,
}

impl Bystander {
    /// Where its mail comes from.
    pub const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 99));

    /// One that sends this often. Its message number `n` is due at `n` intervals.
    pub fn new(interval_ms: u64) -> Self {
        let client = ClientConfig::new("bystander.example").expect("a name");
        Self { client, interval_ms, next: 0, waiting: VecDeque::new(), works: Vec::new() }
    }

    fn begin(&mut self, world: &mut World, number: u64) {
        match Connection::open(world, Self::SOURCE, self.client.clone()) {
            Ok(connection) => self.works.push((number, connection)),
            Err(_) => self.waiting.push_back((world.now_ms() + RETRY_MS, number)),
        }
    }
}

impl Party for Bystander {
    fn next_event_ms(&self) -> Option<u64> {
        let deadlines = self.works.iter().filter_map(|(_, connection)| connection.deadline_ms());
        let waiting = self.waiting.front().map(|(at_ms, _)| *at_ms);
        deadlines.chain(waiting).chain([self.next * self.interval_ms]).min()
    }

    fn act(&mut self, world: &mut World) {
        let now_ms = world.now_ms();
        while let Some((_, number)) = self.waiting.pop_front_if(|(at_ms, _)| *at_ms <= now_ms) {
            self.begin(world, number);
        }
        while self.next * self.interval_ms <= now_ms {
            self.begin(world, self.next);
            self.next += 1;
        }
        for (number, mut connection) in std::mem::take(&mut self.works) {
            let taken = match connection.turn(world) {
                None => {
                    self.works.push((number, connection));
                    continue;
                }
                Some(Happened::Ready) => {
                    let to = format!("by{number}@example.com");
                    let body = Mail::numbered(number, to.as_str()).to_bytes();
                    let from = "bystander@bystander.example".into();
                    connection.transact(Letter { from, to: vec![to], envelope_id: None, body });
                    let said = connection.turn(world);
                    debug_assert!(said.is_none(), "the server has not heard it yet");
                    self.works.push((number, connection));
                    continue;
                }
                Some(Happened::Transacted { end: End::Message(found), .. }) => {
                    found.verdict() == Verdict::Delivered
                }
                Some(_) => false,
            };
            connection.close(world);
            if !taken {
                self.waiting.push_back((now_ms + RETRY_MS, number));
            }
        }
    }
}
