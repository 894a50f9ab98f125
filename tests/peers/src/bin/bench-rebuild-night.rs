//! a night in which Exchange is rebuilt: what becomes of the mail with Postfix as the spool, and with Penstock
//!
//! The same evening for each: the server dies; comes back unconfigured (`550 5.7.54`), under another name; then takes
//! all mail with `250` while its directory is empty; then a database is missing for three hours; then all is well. Mail
//! comes all the while. Nobody touches the spool,
//! until in the morning an operator confirms the server to a Penstock that asks for that.

// A measurement that cannot be made ends the program, and what it prints is what it is for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use std::time::Instant;

use clap::Parser;
use penstock_peers::drain::night::{self, Night};
use penstock_peers::drain::spool::{KINDS, Kind};
use serde_json::json;

/// Lives through a night in which Exchange is rebuilt, once with each spool.
///
/// Each takes eight minutes at speed 60, and up to thirteen if mail is still to come. Faster nights are for spools without
/// canaries: those go every ten seconds, and the reports of their arrival have to come back in the wall's time.
#[derive(Parser)]
#[command(name = "scripts/bench rebuild-night")]
struct Arguments {
    /// postfix, postfix-tuned, exim, penstock-blind, penstock-canaries, penstock-counters; several times for several.
    #[arg(long = "spool", value_name = "NAME", value_parser = kind, default_values = ["postfix", "penstock-canaries"])]
    spools: Vec<Kind>,
    /// Seconds of all clocks in one of the wall's.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1000))]
    speed: u32,
}

fn kind(name: &str) -> Result<Kind, String> {
    KINDS.into_iter().find(|one| one.name() == name).ok_or_else(|| format!("no spool {name}"))
}

fn main() {
    let arguments = Arguments::parse();
    let began = Instant::now();
    println!("{}", night::programme());
    println!("{}", Night::header());
    let mut rows = Vec::new();
    for kind in arguments.spools {
        let night = night::live_through(kind, arguments.speed, &|what| {
            let minutes = began.elapsed().as_secs_f64() / 60.0;
            eprintln!("{minutes:5.1} min, {}: {what}", kind.name());
        });
        println!("{}", night.line());
        rows.push(night.to_json());
    }
    println!("{}", json!({ "bench": "rebuild-night", "rows": rows }));
}
