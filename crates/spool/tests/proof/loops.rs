//! Crashes in a row, which use up nothing: neither where a boot gets no further than the mount, nor where it takes a
//! message before the next crash, nor where the power fails in the midst of its first writes.

use penstock_flash::Geometry;
use penstock_flash::sim::SEED_KEEP_ALL;
use penstock_spool::Error;

use crate::common::{GEOMETRIES, delivered, formatted, mail, mount, read, store, tidy};
use crate::replay::mix;
use crate::tally::{Failure, Kind, Tally};

/// How many crashes in a row.
const CRASHES: u64 = 200;

/// How many boots in a row end after the same number of operations, and up to which number.
const CUT_BOOTS: u64 = 8;
const CUT_AFTER_MAX: u64 = 48;

pub(crate) fn boots_that_end_in_their_first_writes_use_up_nothing(tally: &mut Tally) {
    for (name, geometry) in GEOMETRIES {
        for operations in (0..CUT_AFTER_MAX).step_by(3) {
            tally.count(name, "boots in a row that end in their first writes");
            if let Err(what) = cut_in_a_row(geometry, operations) {
                tally.failures.push(Failure {
                    kind: Kind::Invariant,
                    what: format!("{name}, {CUT_BOOTS} boots that end after {operations} operations: {what}"),
                    replay: "boots in a row".into(),
                });
            }
        }
    }
}

/// Cuts boot after boot after so many operations. Then the log must work, and have what it acknowledged.
fn cut_in_a_row(geometry: Geometry, operations: u64) -> Result<(), String> {
    let sim = formatted(geometry);
    let mut spool = mount(sim.medium()).unwrap();
    for number in 0..40 {
        let done = store(&mut spool, &mail(number, 1, 1200), 1200).unwrap();
        spool.sync().unwrap();
        delivered(&mut spool, done);
    }
    spool.sync().unwrap();
    drop(spool);
    let mut acknowledged = Vec::new();
    for boot in 0..CUT_BOOTS {
        let seed = [SEED_KEEP_ALL, mix(operations, boot) >> 8][(boot % 2) as usize];
        let mut spool = mount(sim.power_on(seed)).map_err(|error| format!("boot {boot}: {error}"))?;
        sim.cut_after(operations);
        let wanted = mail(100 + boot, 1, 200);
        while !sim.is_cut() {
            let stored = store(&mut spool, &wanted, 200);
            match stored.and_then(|id| spool.sync().map(|()| id)) {
                Ok(id) => acknowledged.push((id, wanted.clone())),
                Err(_) if sim.is_cut() => {}
                // Nothing is lost by that, and the next boot that lives for longer must find room.
                Err(Error::Full) => break,
                Err(error) => return Err(format!("boot {boot}: {error}")),
            }
        }
    }
    let mut spool = mount(sim.power_on(SEED_KEEP_ALL)).map_err(|error| error.to_string())?;
    for (id, wanted) in &acknowledged {
        if read(&mut spool, *id).as_ref() != Ok(wanted) {
            return Err(format!("message {} was acknowledged", id.0));
        }
        delivered(&mut spool, *id);
    }
    let last = store(&mut spool, &mail(999, 1, 4000), 500).map_err(|error| error.to_string())?;
    spool.sync().map_err(|error| error.to_string())?;
    delivered(&mut spool, last);
    spool.sync().map_err(|error| error.to_string())?;
    tidy(&mut spool);
    let info = spool.info();
    if info.segments.1 < 6 || info.segments.2 > 0 {
        return Err(format!("{:?} segments in all, free and quarantined", info.segments));
    }
    Ok(())
}

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
