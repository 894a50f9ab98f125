//! The log, proven: no power cut loses acknowledged mail, no rot passes unseen.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is the verdict, and it says what it did"
)]

#[path = "../common/mod.rs"]
mod common;
mod cuts;
mod ledger;
mod owners;
mod replay;
mod rot;
mod tally;
mod workload;

use common::GEOMETRIES;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    if let Ok(line) = std::env::var("PENSTOCK_REPLAY") {
        return match replay::replay(&line) {
            Some(true) => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        };
    }
    let mut all = tally::Tally::default();
    if std::env::var("ROT").is_ok() {
        for (g, (name, _)) in GEOMETRIES.iter().enumerate() {
            for script in workload::SCRIPTS {
                for seed in 1..4 {
                    let mut tally = tally::Tally::default();
                    let begun = Instant::now();
                    rot::Rot::new(g, script, seed, &mut tally).run(400);
                    println!(
                        "{name} {}: {} cases {:?}; {:?}",
                        script.name,
                        tally.sum(|w| w.starts_with("rot")),
                        begun.elapsed(),
                        tally.failures
                    );
                    all.add(tally);
                }
            }
        }
        all.print_cases(&GEOMETRIES.map(|g| g.0));
        println!("{}", all.verdict(&all));
        return ExitCode::SUCCESS;
    }
    for (g, (name, _)) in GEOMETRIES.iter().enumerate() {
        for script in workload::SCRIPTS {
            let mut tally = tally::Tally::default();
            let begun = Instant::now();
            cuts::Cuts::new(g, script, 1, &mut tally).run(4);
            println!(
                "{name} {}: {} cuts {} rec {:?}; {:?}",
                script.name,
                tally.sum(|w| w.starts_with("cut,")),
                tally.sum(|w| w == cuts::RECOVERY_CUT),
                begun.elapsed(),
                tally.failures
            );
            all.add(tally);
        }
    }
    all.print_cases(&GEOMETRIES.map(|g| g.0));
    all.print_branches();
    println!("{}", all.verdict(&tally::Tally::default()));
    ExitCode::SUCCESS
}
