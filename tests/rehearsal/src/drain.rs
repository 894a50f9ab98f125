//! How a backlog goes: the figures by which the control law is tuned.

use std::fmt;

use penstock_exchange::Server;
use penstock_exchange::simulated::{Party, World};
use penstock_release::Config;

use crate::appliance::{Appliance, Knowledge, config};
use crate::bystander::Bystander;
use crate::judge::judge;
use crate::mail::Mail;

/// Between two messages of a bystander, and between two fresh messages of the appliance.
const INTERVAL_MS: u64 = 5_000;
/// Fresh messages have numbers from here on.
const FRESH: u64 = 1_000_000_000;
/// A drain that takes longer than this many times the ideal is given up.
const PATIENCE: u64 = 100;

/// What the server is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// 20 messages a second.
    Steady20,
    /// 100 messages a second.
    Steady100,
    /// 20 a second, 50 % up and down within a minute.
    Varying,
    /// 20 a second, of 20 KiB each, that fill its memory while they wait.
    MemoryBound,
    /// 20 a second, and no room on its disk for the first 90 s.
    FullDisk,
}

/// What the appliance knows of what happens behind 250.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insight {
    /// Nothing.
    Blind,
    /// Canaries to a mailbox of each database.
    Canaries,
    /// The counters.
    Counters,
    /// Both.
    Both,
}

impl Site {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Steady20, Self::Steady100, Self::Varying, Self::MemoryBound, Self::FullDisk];

    /// Its name on a command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Steady20 => "steady-20",
            Self::Steady100 => "steady-100",
            Self::Varying => "varying",
            Self::MemoryBound => "memory-bound",
            Self::FullDisk => "full-disk",
        }
    }

    /// What makes the model so.
    const fn script(self) -> &'static str {
        match self {
            Self::Steady20 => "capacity 20",
            Self::Steady100 => "capacity 100",
            Self::Varying => "capacity wave 10 30 60s",
            Self::MemoryBound => "capacity 20\nmemory 60%\nmemory-mib 2.5",
            Self::FullDisk => "capacity 20\ndisk 95%\nat 90s disk ok",
        }
    }

    /// Messages a second, on the average.
    const fn capacity(self) -> f64 {
        match self {
            Self::Steady100 => 100.0,
            _ => 20.0,
        }
    }

    const fn len_bytes(self) -> usize {
        match self {
            Self::MemoryBound => 20 * 1024,
            _ => 4 * 1024,
        }
    }

    /// When the server is fit for mail.
    const fn begins_ms(self) -> u64 {
        match self {
            Self::FullDisk => 90_000,
            _ => 0,
        }
    }
}

impl Insight {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Blind, Self::Canaries, Self::Counters, Self::Both];

    /// Its name on a command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blind => "blind",
            Self::Canaries => "canaries",
            Self::Counters => "counters",
            Self::Both => "both",
        }
    }

    /// What the appliance is given.
    pub fn knowledge(self) -> Knowledge {
        let canaries = matches!(self, Self::Canaries | Self::Both);
        Knowledge {
            probes: if canaries { (1..=3).map(probe).collect() } else { Vec::new() },
            counters: matches!(self, Self::Counters | Self::Both),
            places: canaries,
        }
    }
}

/// The probe mailbox of a database, from 1.
pub fn probe(database: usize) -> String {
    format!("probe-db{database}@example.com")
}

/// What tells a server of three databases about its probe mailboxes.
pub fn probes_script() -> String {
    (1..=3).map(|n| format!("probe {0}\nplace {0} DB{n}\n", probe(n))).collect()
}

/// One drain.
#[derive(Clone, Debug)]
pub struct Drain {
    /// The server.
    pub site: Site,
    /// What is known of it.
    pub insight: Insight,
    /// How many messages wait at the beginning.
    pub messages: u64,
    /// More commands for the server, one a line.
    pub script: String,
    /// Other numbers for release than the defaults; how many probe mailboxes there are is put right.
    pub config: Option<Config>,
}

/// How it went.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// When the last message of the backlog was in its mailbox, from when the server was fit, in seconds.
    pub took_s: f64,
    /// What a sender with perfect knowledge would need, in seconds.
    pub ideal_s: f64,
    /// Whether the whole backlog is in mailboxes.
    pub complete: bool,
    /// How often pressure rose to medium or above, and for which share of the time.
    pub excursions: u64,
    /// See `excursions`.
    pub medium_share: f64,
    /// Transactions that the server ended in 452.
    pub in_vain: u64,
    /// From when a bystander's message was due to the mailbox, in seconds: the 99th of 100.
    pub bystander_p99_s: f64,
    /// From when the appliance accepted a fresh message to the mailbox, in seconds: the 99th of 100.
    pub fresh_p99_s: f64,
    /// The longest time, by its mean, that the submission queue made messages wait, in seconds.
    pub queue_s_mean: f64,
    /// Canaries that arrived.
    pub canaries: u64,
    /// What is wrong with where the mail is.
    pub broken: Vec<String>,
}

impl Drain {
    /// Plays it.
    pub fn run(&self) -> Figures {
        let mut server = Server::new(1, 1_767_225_600);
        let script = format!("duplicates off\n{}\n{}{}", self.site.script(), probes_script(), self.script);
        server.scenario(0, &script).expect("the script is right");
        let mut world = World::new(server).with_one_way_ms(1);
        let ideal_ms = self.ideal_ms();
        let until_ms = self.site.begins_ms() + ideal_ms * PATIENCE;
        let knowledge = self.insight.knowledge();
        let mut numbers = self.config.clone().unwrap_or_else(|| config(0));
        numbers.hops[0].probes = knowledge.probes.len() as u16;
        let mut appliance = Appliance::with_config(numbers, knowledge, self.mail(until_ms));
        let mut bystander = Bystander::new(INTERVAL_MS);
        let mut backlog = Backlog { left: self.messages, read: 0, last_ms: 0 };
        while backlog.left > 0 && world.now_ms() < until_ms {
            let until_ms = world.now_ms() + INTERVAL_MS;
            world.run(&mut [&mut appliance as &mut dyn Party, &mut bystander], until_ms);
            backlog.look(&world);
        }
        let ended_ms = backlog.last_ms;
        self.figures(&world, &appliance, ideal_ms, ended_ms, backlog.left == 0)
    }

    fn mail(&self, until_ms: u64) -> Vec<Mail> {
        let len_bytes = self.site.len_bytes();
        let backlog = (0..self.messages)
            .map(|n| Mail { len_bytes, ..Mail::numbered(n, format!("user{}@example.com", n % 997)) });
        let fresh = (1..until_ms / INTERVAL_MS).map(|n| {
            let to = format!("user{}@example.com", n % 997);
            Mail { len_bytes: 4096, ..Mail::numbered(FRESH + n, to) }.at_ms(n * INTERVAL_MS)
        });
        backlog.chain(fresh).collect()
    }

    /// The work of the backlog, by what is left of the capacity beside the bystander and the fresh mail.
    fn ideal_ms(&self) -> u64 {
        let cost = |len_bytes: usize| 1.0 + 0.5 * len_bytes as f64 / 1_048_576.0;
        let others = 2.0 * cost(4096) * 1000.0 / INTERVAL_MS as f64;
        let work = self.messages as f64 * cost(self.site.len_bytes());
        (1000.0 * work / (self.site.capacity() - others)) as u64
    }

    fn figures(
        &self,
        world: &World,
        appliance: &Appliance,
        ideal_ms: u64,
        ended_ms: u64,
        complete: bool,
    ) -> Figures {
        let summary = world.server.summary();
        let ours = Some(Appliance::SOURCE);
        let mut fresh_ms = Vec::new();
        let mut bystander_ms = Vec::new();
        for delivery in world.server.deliveries() {
            let number = delivery.message_id.as_deref().and_then(number_of);
            match number {
                Some(n) if delivery.source == ours && n >= FRESH => {
                    fresh_ms.push(delivery.delivered_ms - (n - FRESH) * INTERVAL_MS);
                }
                Some(n) if delivery.source == Some(Bystander::SOURCE) => {
                    bystander_ms.push(delivery.delivered_ms.saturating_sub(n * INTERVAL_MS));
                }
                _ => {}
            }
        }
        // What was due in good time and has not come has waited until now at least.
        let due = |waits: &mut Vec<u64>, from: u64| {
            let due = world.now_ms().saturating_sub(60_000) / INTERVAL_MS;
            let missing = due.saturating_sub(from).saturating_sub(waits.len() as u64);
            waits.extend((0..missing).map(|n| world.now_ms() - (due - n) * INTERVAL_MS));
            percentile_s(waits)
        };
        Figures {
            took_s: ended_ms.saturating_sub(self.site.begins_ms()) as f64 / 1000.0,
            ideal_s: ideal_ms as f64 / 1000.0,
            complete,
            excursions: summary["excursions_medium"].as_u64().unwrap_or_default(),
            medium_share: summary["medium_share"].as_f64().unwrap_or_default(),
            in_vain: summary["in_vain"].as_u64().unwrap_or_default(),
            bystander_p99_s: due(&mut bystander_ms, 0),
            fresh_p99_s: due(&mut fresh_ms, 1),
            queue_s_mean: summary["queue_s_mean"].as_f64().unwrap_or_default(),
            canaries: appliance.canaries_arrived(),
            broken: judge(appliance, world).broken,
        }
    }
}

/// What of the backlog is not in its mailbox yet.
struct Backlog {
    left: u64,
    read: usize,
    last_ms: u64,
}

impl Backlog {
    fn look(&mut self, world: &World) {
        let deliveries = world.server.deliveries();
        for delivery in deliveries.get(self.read..).unwrap_or_default() {
            let ours = delivery.from == "sender@sender.example" && delivery.mailbox.starts_with("user");
            let number = delivery.message_id.as_deref().and_then(number_of);
            if ours && number.is_some_and(|number| number < FRESH) {
                self.left = self.left.saturating_sub(1);
                self.last_ms = delivery.delivered_ms;
            }
        }
        self.read = deliveries.len();
    }
}

fn number_of(message_id: &str) -> Option<u64> {
    message_id.strip_prefix('<')?.split_once('@')?.0.parse().ok()
}

fn percentile_s(waits_ms: &mut [u64]) -> f64 {
    waits_ms.sort_unstable();
    waits_ms.get(waits_ms.len() * 99 / 100).copied().unwrap_or_default() as f64 / 1000.0
}

impl Figures {
    /// The heads of what `Display` writes.
    pub const HEAD: &str =
        "took/ideal   took s  excursions  medium  in vain  bystander p99 s  fresh p99 s  queue s";
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>10.2}{} {:>8.0} {:>11} {:>6.1}% {:>8} {:>16.1} {:>12.1} {:>8.1}",
            self.took_s / self.ideal_s,
            if self.complete { ' ' } else { '+' },
            self.took_s,
            self.excursions,
            self.medium_share * 100.0,
            self.in_vain,
            self.bystander_p99_s,
            self.fresh_p99_s,
            self.queue_s_mean,
        )
    }
}
