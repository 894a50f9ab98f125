//! Any sequence of what can be done to a spool, against a model of what it promised.
//!
//! In the first machine the power fails and programs crash (class A): nothing acknowledged is lost, nothing is there
//! in part, no known fate is forgotten. In the second the medium is not what it says either (class B): no altered mail
//! is given out, what a defect did not touch is not lost, and the spool goes on after a restart.
//!
//! `PROPTEST_CASES` and `PROPTEST_RNG_SEED` say how much is tried and from where; `scripts/prove` does so for hours.
//! A failure prints its acts, shrunk, and a seed that is kept in `proptest-regressions/` and tried first from then on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict")]

mod acts;
#[path = "../common/mod.rs"]
mod common;
mod ledger;
mod machine;

use machine::Machine;
use proptest::test_runner::{Config, FileFailurePersistence, RngSeed};
use proptest_state_machine::prop_state_machine;

/// Sequences that are tried in each machine where nobody asks for more.
const CASES: u32 = 300;

/// Always the same sequences, unless somebody asks for other or more ones.
fn config() -> Config {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/proptest-regressions/model.txt");
    let asked = Config {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(seeds))),
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_some() {
        return asked;
    }
    Config { cases: CASES, rng_seed: RngSeed::Fixed(1), ..asked }
}

prop_state_machine! {
    #![proptest_config(config())]

    #[test]
    fn whatever_happens_no_stop_breaks_a_promise(sequential 1..160 => Machine<false>);

    #[test]
    fn whatever_breaks_no_altered_mail_is_given_out(sequential 1..160 => Machine<true>);
}
