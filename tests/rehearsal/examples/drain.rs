//! Drains a backlog in simulated time and prints how it went, one row a run.
//!
//! `drain [SITE|all] [INSIGHT|all] [MESSAGES] [COMMAND…]`: commands are the model's, one an argument.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::time::Instant;

use penstock_rehearsal::drain::{Drain, Figures, Insight, Site};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |n: usize| words.get(n).map_or("all", String::as_str);
    let sites: Vec<Site> =
        Site::ALL.into_iter().filter(|site| matches!(word(0), "all") || word(0) == site.name()).collect();
    let insights: Vec<Insight> =
        Insight::ALL.into_iter().filter(|it| matches!(word(1), "all") || word(1) == it.name()).collect();
    let messages = words.get(2).map_or(Ok(20_000), |text| text.parse());
    let (false, false, Ok(messages)) = (sites.is_empty(), insights.is_empty(), messages) else {
        let sites: Vec<&str> = Site::ALL.iter().map(|site| site.name()).collect();
        let insights: Vec<&str> = Insight::ALL.iter().map(|it| it.name()).collect();
        eprintln!(
            "drain [SITE|all] [INSIGHT|all] [MESSAGES] [COMMAND…]\nsites: {}\ninsights: {}",
            sites.join(" "),
            insights.join(" ")
        );
        return ExitCode::FAILURE;
    };
    let script = words.iter().skip(3).map(|line| format!("{line}\n")).collect::<String>();
    println!("{:<13} {:<9} {}   real s", "site", "insight", Figures::HEAD);
    let mut sound = true;
    for site in sites {
        for insight in &insights {
            let began = Instant::now();
            let drain = Drain { site, insight: *insight, messages, script: script.clone(), config: None };
            let figures = drain.run();
            println!(
                "{:<13} {:<9} {figures} {:>8.1}",
                site.name(),
                insight.name(),
                began.elapsed().as_secs_f64()
            );
            for broken in figures.broken.iter().take(10) {
                println!("  BROKEN {broken}");
            }
            sound &= figures.broken.is_empty();
        }
    }
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
