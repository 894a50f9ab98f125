//! What all of it came to.

use std::collections::BTreeMap;

use penstock_spool::proof::Branch;

/// Broken promises that are printed.
const FAILURES_PRINTED: usize = 20;

/// Counts, which add up over threads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// By geometry and what was done to it, how often.
    pub(crate) cases: BTreeMap<(&'static str, &'static str), u64>,
    /// How often each branch of the log was reached, counted once a case.
    pub(crate) branches: BTreeMap<Branch, u64>,
    /// Class B: what faults cost, and how much of that was reported.
    pub(crate) hit: u64,
    pub(crate) reported: u64,
    /// One line for each broken promise.
    pub(crate) failures: Vec<Failure>,
}

/// A promise that was broken, and the line with which that replays.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) what: String,
    pub(crate) replay: String,
}

/// The kinds that the last line counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Something that was acknowledged is not there, or not as it was.
    Lost,
    /// Something is there in part, or as it never was.
    Half,
    /// Anything else that must hold.
    Invariant,
}

impl Tally {
    pub(crate) fn count(&mut self, geometry: &'static str, what: &'static str) {
        *self.cases.entry((geometry, what)).or_default() += 1;
    }

    /// Notes which branches of the log this thread has been in since the last time.
    pub(crate) fn note_branches(&mut self) {
        for branch in Branch::take_reached() {
            *self.branches.entry(branch).or_default() += 1;
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        for (case, count) in other.cases {
            *self.cases.entry(case).or_default() += count;
        }
        for (branch, count) in other.branches {
            *self.branches.entry(branch).or_default() += count;
        }
        self.hit += other.hit;
        self.reported += other.reported;
        self.failures.extend(other.failures);
    }

    /// The cases of all geometries that `wanted` says yes to.
    pub(crate) fn sum(&self, wanted: impl Fn(&str) -> bool) -> u64 {
        self.cases.iter().filter(|((_, what), _)| wanted(what)).map(|(_, count)| count).sum()
    }

    fn failed(&self, kind: Kind) -> usize {
        self.failures.iter().filter(|failure| failure.kind == kind).count()
    }

    /// The branches that were never reached.
    pub(crate) fn missed_branches(&self) -> Vec<Branch> {
        Branch::ALL.iter().copied().filter(|branch| !self.branches.contains_key(branch)).collect()
    }

    /// The table of cases: a line for each kind, a column for each geometry.
    pub(crate) fn print_cases(&self, geometries: &[&'static str]) {
        let mut kinds: Vec<&str> = self.cases.keys().map(|(_, what)| *what).collect();
        kinds.sort_unstable();
        kinds.dedup();
        print!("{:<34}", "cases");
        geometries.iter().for_each(|name| print!("{name:>11}"));
        println!("{:>11}", "all");
        for kind in kinds {
            print!("{kind:<34}");
            for name in geometries {
                print!("{:>11}", self.cases.get(&(*name, kind)).copied().unwrap_or_default());
            }
            println!("{:>11}", self.sum(|what| what == kind));
        }
    }

    pub(crate) fn print_branches(&self) {
        println!(
            "branches of the log that only a stop, a cut or rot leads to, and in how many cases they were entered:"
        );
        for branch in Branch::ALL {
            println!(
                "  {:<32}{:>11}",
                format!("{branch:?}"),
                self.branches.get(branch).copied().unwrap_or_default()
            );
        }
    }

    /// The first broken promises, each with the line that replays it.
    pub(crate) fn print_failures(&self) {
        for failure in self.failures.iter().take(FAILURES_PRINTED) {
            println!("BROKEN: {}\n  PENSTOCK_REPLAY='{}'", failure.what, failure.replay);
        }
    }

    /// The line that says whether the promises hold.
    pub(crate) fn verdict(&self, class_b: &Self) -> String {
        format!(
            "class A: {} acknowledged lost, {} half delivered, {} broken invariants; \
             class B: {} hit, {} reported, {} altered delivered",
            self.failed(Kind::Lost),
            self.failed(Kind::Half),
            self.failed(Kind::Invariant),
            class_b.hit,
            class_b.reported,
            class_b.failed(Kind::Half),
        )
    }
}
