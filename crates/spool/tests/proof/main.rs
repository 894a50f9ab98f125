//! The log, proven: no power cut loses acknowledged mail, no rot passes unseen.
//!
//! - *Class A* (`cuts`): for six geometries and every kind of workload, a cut in every operation, powered on in several
//!   ways, mounted, checked, worked on, stopped and mounted again; on the smallest geometry a cut in every operation of
//!   each distinct recovery too, elsewhere of one in so many; and some of those a third time. Nothing that was
//!   acknowledged is lost, nothing is half there, and every invariant holds.
//! - *Class B* (`rot`): what the faults touched, and no more, may be lost; each loss is told of; altered bytes are never
//!   given out; what cannot be read is never erased; the box never stops.
//! - *Sabotage*: with any one protection off, the same checks find a broken promise.
//! - *Loops*: crashes in a row use up nothing.
//! - Every branch that only a stop, a cut or rot leads to was entered.
//!
//! What was promised is kept by the `ledger`; `workload` says what is done. Everything follows from seeds. A broken
//! promise prints one line; with it in `PENSTOCK_REPLAY` that one scenario is done again and told in detail.
//!
//! | variable | meaning |
//! |---|---|
//! | `PENSTOCK_REPLAY` | a line such as `cuts nor-4 mixed 7: cut@123 on@99`: does that scenario alone |
//! | `PENSTOCK_PROOF_SCALE` | how many workloads are run, in percent; 100 in release, 2 with debug assertions |
//! | `PENSTOCK_PROOF_ONLY` | does only what is so called, such as `cuts nor-8`, `rot block-4k fates` or `loops` |
//! | `PENSTOCK_PROVE_HOURS` | only cuts and rot, on workloads drawn at random, for so many hours (a fraction will do) |
//! | `PENSTOCK_PROVE_SEED` | where those begin; printed, and drawn from the clock where it is not given |

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
mod loops;
mod owners;
mod replay;
mod rot;
mod sabotage;
mod tally;
mod workload;

use std::env;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use common::GEOMETRIES;
use cuts::{Cuts, RECOVERY_CUT};
use penstock_spool::proof::Protection;
use rot::Rot;
use tally::Tally;
use workload::SCRIPTS;

/// Workloads of each script on each geometry, at full scale; on the smallest geometry, where each recovery is cut
/// everywhere, fewer.
const CUT_WORKLOADS: u64 = 8;
const CUT_WORKLOADS_SMALLEST: u64 = 1;
/// In how many ways a cut is powered on.
const POWER_ONS: u64 = 6;
const ROT_WORKLOADS: u64 = 7;
const ROT_CASES: u64 = 400;
/// What a run at full scale must reach.
const SINGLE_CUTS_MIN: u64 = 1_000_000;
const RECOVERY_CUTS_MIN: u64 = 200_000;
const ROT_CASES_MIN: u64 = 100_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let Some(done) = answer_harness(&arguments) {
        return done;
    }
    if let Ok(line) = env::var("PENSTOCK_REPLAY") {
        return match replay::replay(&line) {
            Some(true) => ExitCode::SUCCESS,
            Some(false) => ExitCode::FAILURE,
            None => {
                println!("not a line that replays: {line}");
                ExitCode::FAILURE
            }
        };
    }
    let passed = match number("PENSTOCK_PROVE_HOURS") {
        Some(hours) => prove_for(Duration::from_secs_f64(hours * 3600.0)),
        None => prove(),
    };
    println!("test proof ... {}", if passed { "ok" } else { "FAILED" });
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Speaks to `cargo test` and `cargo nextest` as their own harness would, so far as they ask: one test, `proof`.
fn answer_harness(arguments: &[String]) -> Option<ExitCode> {
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--list") {
        if !has("--ignored") {
            println!("proof: test");
        }
        return Some(ExitCode::SUCCESS);
    }
    let takes_value =
        |flag: &str| ["--format", "--color", "--test-threads", "--skip", "--logfile"].contains(&flag);
    let mut filters = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if takes_value(argument) {
            rest.next();
        } else if !argument.starts_with('-') {
            filters.push(argument);
        }
    }
    let is_wanted = filters.is_empty() || filters.iter().any(|filter| "proof".contains(filter.as_str()));
    (!is_wanted || has("--ignored")).then_some(ExitCode::SUCCESS)
}

fn number(variable: &str) -> Option<f64> {
    env::var(variable).ok()?.parse().ok()
}

/// A piece of work for one thread.
type Job = Box<dyn Fn(&mut Tally) + Send + Sync>;

/// Does all jobs, on all cores. Each job's result depends on nothing but itself.
fn run(jobs: &[Job]) -> Tally {
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Tally::default());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut tally = Tally::default();
                    job(&mut tally);
                    all.lock().unwrap().add(tally);
                }
            });
        }
    });
    all.into_inner().unwrap()
}

fn cut_job(geometry: usize, script: &'static workload::Script, seed: u64) -> Job {
    Box::new(move |tally| Cuts::new(geometry, script, seed, tally).run(POWER_ONS))
}

fn rot_job(geometry: usize, script: &'static workload::Script, seed: u64) -> Job {
    Box::new(move |tally| Rot::new(geometry, script, seed, tally).run(ROT_CASES))
}

/// The whole proof.
fn prove() -> bool {
    let begun = Instant::now();
    let default = if cfg!(debug_assertions) { 2.0 } else { 100.0 };
    let scale = number("PENSTOCK_PROOF_SCALE").unwrap_or(default) / 100.0;
    println!("proof at {:.0} % (PENSTOCK_PROOF_SCALE; all of it in a release build)", scale * 100.0);
    let scaled = |count: u64| ((count as f64 * scale).ceil() as u64).max(1);
    let only = env::var("PENSTOCK_PROOF_ONLY").ok();
    let is_wanted = |class: &str, geometry: usize, script: &workload::Script| {
        let called = format!("{class} {} {}", GEOMETRIES[geometry].0, script.name);
        only.as_ref().is_none_or(|only| called.contains(only.as_str()))
    };
    let mut loops = Tally::default();
    if only.as_ref().is_none_or(|only| only == "loops") {
        loops::crashes_in_a_row_use_up_nothing(&mut loops);
        loops::boots_that_end_in_their_first_writes_use_up_nothing(&mut loops);
        loops.print_failures();
    }
    let mut cuts: Vec<Job> = Vec::new();
    let mut rots: Vec<Job> = Vec::new();
    for geometry in 0..GEOMETRIES.len() {
        for script in SCRIPTS {
            let is_smallest = geometry == cuts::SMALLEST;
            // What takes longest comes first.
            let workloads = if is_smallest { CUT_WORKLOADS_SMALLEST } else { CUT_WORKLOADS };
            if (!is_smallest || scale >= 1.0) && is_wanted("cuts", geometry, script) {
                cuts.extend((1..=scaled(workloads)).map(|seed| cut_job(geometry, script, seed)));
            }
            if is_wanted("rot", geometry, script) {
                rots.extend((1..=scaled(ROT_WORKLOADS)).map(|seed| rot_job(geometry, script, seed)));
            }
        }
    }
    let class_a = run(&cuts);
    println!("class A took {:.0} s", begun.elapsed().as_secs_f64());
    class_a.print_failures();
    let class_b = run(&rots);
    println!("class B took until {:.0} s", begun.elapsed().as_secs_f64());
    class_b.print_failures();
    if only.is_some() {
        println!("{}", class_a.verdict(&class_b));
        return [class_a, class_b, loops].iter().all(|tally| tally.failures.is_empty());
    }
    let mut passed = sabotage_all();

    let (single, recovery) =
        (class_a.sum(|what| what.starts_with("cut, ")), class_a.sum(|what| what == RECOVERY_CUT));
    let rotten = class_b.sum(|what| what.starts_with("rot: "));
    let mut all = class_a;
    all.add(loops);
    let verdict = all.verdict(&class_b);
    all.add(class_b);
    all.print_cases(&GEOMETRIES.map(|(name, _)| name));
    all.print_branches();
    all.print_failures();
    passed &= all.failures.is_empty();
    if scale >= 1.0 {
        for branch in all.missed_branches() {
            println!("never entered: {branch:?}");
            passed = false;
        }
        let enough = [(single, SINGLE_CUTS_MIN), (recovery, RECOVERY_CUTS_MIN), (rotten, ROT_CASES_MIN)];
        if enough.iter().any(|(count, min)| count < min) {
            println!("too few cases to mean anything");
            passed = false;
        }
    }
    println!(
        "{single} single cuts, {recovery} cuts inside recovery, {rotten} cases of rot in {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    rot::print_exceptions();
    println!("{verdict}");
    passed
}

/// Whether the absence of each protection is found.
fn sabotage_all() -> bool {
    let jobs = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    // What a broken log panics with is of no interest.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(protection) = Protection::ALL.get(jobs.fetch_add(1, Ordering::Relaxed)) {
                    let done = sabotage::sabotage(*protection);
                    found.lock().unwrap().push(done);
                }
            });
        }
    });
    std::panic::set_hook(hook);
    let mut found = found.into_inner().unwrap();
    found.sort_by_key(|found| found.protection);
    for sabotage::Found { protection, broken } in &found {
        match broken {
            Some((cases, how)) => println!("sabotage: {protection:?} off: found after {cases} cases ({how})"),
            None => println!("sabotage: {protection:?} off: NOT FOUND"),
        }
    }
    found.iter().all(|found| found.broken.is_some())
}

/// Cuts and rot on random workloads, until the time is over.
fn prove_for(time: Duration) -> bool {
    let drawn = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |since| since.as_secs());
    let seed = env::var("PENSTOCK_PROVE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(drawn);
    println!("seed {seed}: PENSTOCK_PROVE_SEED={seed} begins at the same workloads");
    let begun = Instant::now();
    let (mut class_a, mut class_b) = (Tally::default(), Tally::default());
    let mut round = 0;
    while begun.elapsed() < time && class_a.failures.is_empty() && class_b.failures.is_empty() {
        let seed = replay::mix(seed, round);
        round += 1;
        for geometry in 0..GEOMETRIES.len() {
            if begun.elapsed() >= time {
                break;
            }
            let seed = replay::mix(seed, geometry as u64) >> 16;
            class_a
                .add(run(&SCRIPTS.iter().map(|script| cut_job(geometry, script, seed)).collect::<Vec<_>>()));
            class_b
                .add(run(&SCRIPTS.iter().map(|script| rot_job(geometry, script, seed)).collect::<Vec<_>>()));
        }
    }
    let verdict = class_a.verdict(&class_b);
    class_a.add(class_b);
    class_a.print_cases(&GEOMETRIES.map(|(name, _)| name));
    class_a.print_failures();
    println!("seed {seed}, {round} rounds, {:.0} s", begun.elapsed().as_secs_f64());
    println!("{verdict}");
    class_a.failures.is_empty()
}
