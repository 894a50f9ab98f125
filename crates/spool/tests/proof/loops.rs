//! Crashes in a row, which use up nothing: neither where a boot gets no further than the mount, nor where it takes a
//! message before the next crash.

use crate::common::{GEOMETRIES, delivered, formatted, mail, mount, read, store, tidy};
use crate::tally::{Failure, Kind, Tally};

/// How many crashes in a row.
const CRASHES: u64 = 200;

pub(crate) fn crashes_in_a_row_use_up_nothing(tally: &mut Tally) {
    for (name, geometry) in GEOMETRIES {
        tally.count(name, "crashes in a row");
        let broken = |what: &str| Failure {
            kind: Kind::Invariant,
            what: format!("{name}: {what}"),
            replay: "crashes in a row".into(),
        };
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        let kept = mail(1, 2, 1500);
        let id = store(&mut spool, &kept, 1500).unwrap();
        spool.sync().unwrap();
        let mut medium = spool.into_medium();
        let image = sim.image();
        for _ in 0..CRASHES {
            medium = mount(medium).unwrap().into_medium();
        }
        let mut spool = mount(medium).unwrap();
        if sim.image() != image {
            tally.failures.push(broken("mounts in a row wrote something"));
        }
        let free = |spool: &crate::common::TestSpool| spool.info().segments.1;
        let least = free(&spool).min(geometry.segments - 4);
        for round in 0..CRASHES {
            let mail = mail(100 + round, 1, 200);
            let stored = store(&mut spool, &mail, 200).unwrap();
            spool.sync().unwrap();
            delivered(&mut spool, stored);
            spool.sync().unwrap();
            tidy(&mut spool);
            spool = mount(spool.into_medium()).unwrap();
        }
        tidy(&mut spool);
        // What was delivered is kept for as long as there is room, down to where housekeeping begins.
        if least == 0 || free(&spool) < 6 || spool.info().segments.2 > 0 {
            tally.failures.push(broken("crashes in a row used up segments"));
        }
        if read(&mut spool, id).ok() != Some(kept) {
            tally.failures.push(broken("crashes in a row lost a message"));
        }
    }
}
