//! giving mail back to an Exchange that has just returned: against Postfix, Postfix tuned, and Exim
//!
//! A backlog of mixed mail lies in the sender's queue, and the model of Exchange (`tests/exchange`) starts taking it.
//! Meanwhile one message a second goes to the server from another address, and one through the sender. What is measured
//! is how long it takes, and what the server and the others have to bear for it.

// A measurement that cannot be made ends the program, and what it prints is what it is for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::time::Instant;

use clap::Parser;
use penstock_peers::drain::report::Row;
use penstock_peers::drain::row::{self, Idle, Question};
use penstock_peers::drain::scenario::{SCENARIOS, Scenario};
use penstock_peers::drain::spool::{KINDS, Kind};
use serde_json::json;

/// Drains a backlog into a model of Exchange, sender by sender and scenario by scenario.
///
/// The whole table takes about three hours and a half on a machine of two cores: a row two to four minutes of real time at
/// the speeds that are chosen for the scenarios. Those of a blind Penstock, which gives no more than 1,500 messages of a
/// backlog within ten minutes, take nine, and those of Exim, for which time runs at speed 1, up to half an hour. These mostly
/// wait: run them beside the others, and nothing else. One row in a minute:
/// `--messages 2000 --speed 10 --scenario steady-100 --sender penstock-counters`.
///
/// The figures are the model's seconds. What a machine can do in a second does not grow with the speed: at a high speed
/// the machine, not the sender's restraint, may be what protects the server.
#[derive(Parser)]
#[command(name = "scripts/bench drain")]
struct Arguments {
    /// steady-20, steady-100, varying, memory, disk; several times for several. All unless given.
    #[arg(long = "scenario", value_name = "NAME", value_parser = scenario)]
    scenarios: Vec<Scenario>,
    /// penstock-blind, penstock-canaries, penstock-counters, postfix, postfix-tuned, exim, the same way.
    #[arg(long = "sender", value_name = "NAME", value_parser = kind)]
    senders: Vec<Kind>,
    /// The length of the backlog. Below 20,000 the server's thresholds shrink alike.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(10..))]
    messages: u32,
    /// Seconds of all clocks in one of the wall's. Unless given: as fast as makes sense for scenario and sender.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    speed: Option<u32>,
    /// A further command for the model, such as 'delay-step 10s'; several times for several.
    #[arg(long = "set", value_name = "COMMAND")]
    commands: Vec<String>,
}

fn scenario(name: &str) -> Result<Scenario, String> {
    SCENARIOS.into_iter().find(|one| one.name() == name).ok_or_else(|| format!("no scenario {name}"))
}

fn kind(name: &str) -> Result<Kind, String> {
    KINDS.into_iter().find(|one| one.name() == name).ok_or_else(|| format!("no sender {name}"))
}

impl Arguments {
    fn questions(&self) -> Vec<Question> {
        let scenarios = if self.scenarios.is_empty() { SCENARIOS.to_vec() } else { self.scenarios.clone() };
        let kinds = if self.senders.is_empty() { KINDS.to_vec() } else { self.senders.clone() };
        let (more, messages) = (self.commands.join("\n"), self.messages);
        let speed = |scenario: Scenario, kind: Kind| self.speed.unwrap_or_else(|| kind.speed(scenario));
        let pairs = scenarios.iter().flat_map(|scenario| kinds.iter().map(move |kind| (*scenario, *kind)));
        pairs
            .map(|(scenario, kind)| {
                let speed = speed(scenario, kind);
                Question { scenario, kind, messages, speed, more: more.clone() }
            })
            .collect()
    }
}

fn main() {
    let arguments = Arguments::parse();
    let questions = arguments.questions();
    let (began, count) = (Instant::now(), questions.len());
    // At rest all scenarios are alike but for the speed.
    let mut idle: BTreeMap<(Kind, u32), Idle> = BTreeMap::new();
    let mut rows = Vec::new();
    println!("{}", Row::header());
    for (number, question) in (1..).zip(&questions) {
        let name = format!("{} {}", question.scenario.name(), question.kind.name());
        let tell = |what: &str| {
            let minutes = began.elapsed().as_secs_f64() / 60.0;
            eprintln!("{minutes:5.1} min, row {number} of {count}, {name}: {what}");
        };
        let idle = *idle.entry((question.kind, question.speed)).or_insert_with(|| row::idle(question, &tell));
        let row = row::measure(question, idle, &tell);
        println!("{}", row.line());
        rows.push(row.to_json());
    }
    println!("{}", json!({ "bench": "drain", "rows": rows }));
}
