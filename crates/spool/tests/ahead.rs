//! What the first write of a boot would erase can be erased before it, and whoever is stopped at that has lost nothing.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict")]

mod common;

use penstock_flash::sim::{SEED_DROP_ALL, SEED_KEEP_ALL, Sim};
use penstock_spool::{Error, MessageId, Spool};

use common::{GEOMETRIES, Mail, TestSpool, buffers, formatted, mail, mount, read, store};

/// A volume with mail, and something under way when the power failed.
fn torn(geometry: penstock_flash::Geometry) -> (Sim, Vec<(MessageId, Mail)>) {
    let sim = formatted(geometry);
    let mut spool = mount(sim.medium()).unwrap();
    let mut kept = Vec::new();
    for number in 0..8 {
        let mail = mail(number, 2, 700);
        kept.push((store(&mut spool, &mail, 300).unwrap(), mail));
        spool.sync().unwrap();
    }
    store(&mut spool, &mail(50, 1, 3000), 100).unwrap();
    sim.cut_after(0);
    assert!(spool.sync().is_err());
    let _ = sim.power_on(7);
    (sim, kept)
}

fn erase_ahead(spool: &mut TestSpool) -> Result<u32, Error> {
    let mut steps = 0;
    while spool.step_erases_ahead()? {
        steps += 1;
    }
    Ok(steps)
}

#[test]
fn the_first_message_needs_no_erase_then() {
    for (name, geometry) in GEOMETRIES {
        for to_append in [false, true] {
            let (sim, kept) = torn(geometry);
            let mut spool = if to_append {
                Spool::mount_append(sim.medium(), buffers()).unwrap()
            } else {
                mount(sim.medium()).unwrap()
            };
            let before = sim.counters().erases;
            let steps = erase_ahead(&mut spool).unwrap();
            let ahead = sim.counters().erases - before;
            println!("{name}: {ahead} erases in {steps} steps");
            assert!((2..=3).contains(&ahead), "{name}: {ahead}");
            assert!(!spool.step_erases_ahead().unwrap(), "{name}: once is enough");

            let new = mail(100, 2, 900);
            let id = store(&mut spool, &new, 300).unwrap();
            spool.sync().unwrap();
            assert_eq!(sim.counters().erases, before + ahead, "{name}, to append: {to_append}");
            assert!(!spool.step_erases_ahead().unwrap(), "{name}: and there is nothing to do afterwards");
            assert_eq!(sim.counters().violations, 0, "{name}");
            drop(spool);
            let mut spool = mount(sim.medium()).unwrap();
            assert_eq!(read(&mut spool, id).unwrap(), new, "{name}");
            for (id, mail) in &kept {
                assert_eq!(read(&mut spool, *id).unwrap(), *mail, "{name}");
            }
        }
    }
}

#[test]
fn a_power_cut_anywhere_in_it_or_in_the_message_behind_it_costs_nothing() {
    for (name, geometry) in GEOMETRIES {
        let (sim, kept) = torn(geometry);
        let mut spool = Spool::mount_append(sim.medium(), buffers()).unwrap();
        sim.branch_everywhere();
        erase_ahead(&mut spool).unwrap();
        let new = mail(100, 2, 900);
        store(&mut spool, &new, 300).unwrap();
        spool.sync().unwrap();
        let branches = sim.take_branches();
        assert!(branches.len() > 8, "{name}: {}", branches.len());
        for branch in branches {
            for seed in [SEED_DROP_ALL, SEED_KEEP_ALL, 7, 8, 9] {
                let sim = branch.clone();
                let _ = sim.power_on(seed);
                // The next boot does the same, and comes to its end.
                let mut spool = Spool::mount_append(sim.medium(), buffers()).unwrap();
                erase_ahead(&mut spool).unwrap();
                let later = mail(200, 1, 500);
                let id = store(&mut spool, &later, 300).unwrap();
                spool.sync().unwrap();
                drop(spool);
                let mut spool = mount(sim.medium()).unwrap();
                let how = format!("{name}; replay: {}", sim.story());
                assert_eq!(read(&mut spool, id).unwrap(), later, "{how}");
                for (id, mail) in &kept {
                    assert_eq!(read(&mut spool, *id).unwrap(), *mail, "{how}");
                }
                assert_eq!(sim.counters().violations, 0, "{how}");
            }
        }
    }
}
