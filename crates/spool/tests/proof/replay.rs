//! The one line with which a failure replays.

use std::fmt;

use penstock_flash::sim::{Rng, Story};

use crate::common::GEOMETRIES;
use crate::cuts::Cuts;
use crate::rot::Rot;
use crate::tally::Tally;
use crate::workload::Script;

/// What kind of scenario it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Class A.
    Cuts,
    /// Class B, with the seed of the case.
    Rot(u64),
}

/// A scenario: `cuts nor-4 mixed 7: cut@123 on@99`.
pub(crate) struct Line<'a> {
    pub(crate) class: Class,
    pub(crate) geometry: &'a str,
    pub(crate) script: &'a str,
    pub(crate) seed: u64,
    pub(crate) story: &'a Story,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, geometry, script, seed, story } = self;
        match class {
            Class::Cuts => write!(f, "cuts {geometry} {script} {seed}: {story}"),
            Class::Rot(case) => write!(f, "rot {geometry} {script} {seed} {case}: {story}"),
        }
    }
}

/// Does the scenario of a line again and tells what happens. Whether all promises were kept; `None` for a line that is
/// none.
pub(crate) fn replay(line: &str) -> Option<bool> {
    let (head, story) = line.split_once(':')?;
    let mut words = head.split_whitespace();
    let class = words.next()?;
    let name = words.next()?;
    let geometry = GEOMETRIES.iter().position(|(known, _)| *known == name)?;
    let script = Script::named(words.next()?)?;
    let seed = words.next()?.parse().ok()?;
    let story: Story = story.parse().ok()?;
    let mut tally = Tally::default();
    match class {
        "cuts" => Cuts::new(geometry, script, seed, &mut tally).replay(&story),
        "rot" => Rot::new(geometry, script, seed, &mut tally).replay(words.next()?.parse().ok()?),
        _ => return None,
    }
    for failure in &tally.failures {
        println!("BROKEN: {}", failure.what);
    }
    Some(tally.failures.is_empty())
}

/// Two numbers as one seed.
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let first = Rng::new(a).next_u64();
    Rng::new(first ^ b).next_u64()
}
