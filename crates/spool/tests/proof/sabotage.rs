//! A log that is broken on purpose, and found out.
//!
//! Each [`Protection`] is turned off by itself, and the same cuts and rot that the whole log withstands must come upon
//! a broken promise. This is the proof that the checks can fail.

use std::panic::{AssertUnwindSafe, catch_unwind};

use penstock_spool::proof::Protection;

use crate::common::GEOMETRIES;
use crate::cuts::Cuts;
use crate::rot::Rot;
use crate::tally::Tally;
use crate::workload::SCRIPTS;

/// The geometries that are tried, in this order: the weak spots of cells and of sectors differ.
const ORDER: [usize; 3] = [4, 1, 3];
/// Workloads that are tried of each script.
const SEEDS: u64 = 3;
/// Class B cases that are tried on each workload.
const ROT_CASES: u64 = 400;

/// What was found of a protection.
pub(crate) struct Found {
    pub(crate) protection: Protection,
    /// The cases until a promise was broken, and how; `None` where none was.
    pub(crate) broken: Option<(u64, String)>,
}

/// Turns a protection off, and looks for a broken promise. For one thread: others keep all protections.
pub(crate) fn sabotage(protection: Protection) -> Found {
    let mut cases = 0;
    for seed in 1..=SEEDS {
        for geometry in ORDER {
            for script in SCRIPTS {
                for is_rot in [false, true] {
                    let attack = |tally: &mut Tally| {
                        if is_rot {
                            Rot::new(geometry, script, seed, tally).run(ROT_CASES);
                        } else {
                            Cuts::new(geometry, script, seed, tally).run(3);
                        }
                    };
                    protection.turn_off_alone();
                    let (tried, broken) = run(&attack);
                    Protection::turn_all_on();
                    cases += tried;
                    let Some(what) = broken else { continue };
                    // Only what the whole log withstands says anything of the protection.
                    if run(&attack).1.is_none() {
                        let (name, _) = GEOMETRIES[geometry];
                        let broken = Some((cases, format!("{name} {}: {what}", script.name)));
                        return Found { protection, broken };
                    }
                }
            }
        }
    }
    Found { protection, broken: None }
}

/// How many cases were tried, and what broke.
fn run(attack: &impl Fn(&mut Tally)) -> (u64, Option<String>) {
    let mut tally = Tally::default();
    let panicked = catch_unwind(AssertUnwindSafe(|| attack(&mut tally))).is_err();
    let cases = tally.sum(|_| true);
    let broken = tally.failures.first().map(|failure| failure.what.clone());
    (cases, broken.or_else(|| panicked.then(|| "a panic".into())))
}
