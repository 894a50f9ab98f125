//! The power fails at every single operation on flash: what was acknowledged is there afterwards, whole, and mail goes on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict")]

mod support;

use penstock_flash::sim::{Fault, SEED_DROP_ALL, SEED_KEEP_ALL, Sim};
use penstock_flash::{Erase, Geometry};
use penstock_rescue::smoltcp::time::Duration;
use support::client::Mail;
use support::wire::Weather;
use support::{Found, SimWorld, formatted, found, world};

const NOR: Geometry =
    Geometry { segments: 32, segment_bytes: 16 << 10, unit_bytes: 32, erase: Erase::Physical };
const DISK: Geometry =
    Geometry { segments: 32, segment_bytes: 128 << 10, unit_bytes: 4096, erase: Erase::Logical };

/// Which volume there is.
#[derive(Clone, Copy, Debug)]
enum On {
    Disk,
    Nor,
}

impl On {
    fn formatted(self) -> Sim {
        formatted(match self {
            Self::Disk => DISK,
            Self::Nor => NOR,
        })
    }

    fn world(self, sim: &Sim) -> SimWorld {
        match self {
            Self::Disk => world(Some(sim), None, Weather::FAIR, 1),
            Self::Nor => world(None, Some(sim), Weather::FAIR, 1),
        }
    }
}

/// Brings some mail over several connections at once.
fn bring(world: &mut SimWorld, number: u64) -> Vec<Mail> {
    let mails: Vec<Vec<Mail>> = (0..3)
        .map(|n| (0..4).map(|m| Mail::new(number + 10 * n + m, 700 * (m * n) as usize)).collect())
        .collect();
    for of_client in &mails {
        world.client(of_client.iter().cloned());
    }
    mails.concat()
}

/// Asserts that what was acknowledged is there and told of in the ledger, and that nothing is there that nobody sent.
fn assert_kept(found: &[Found], acknowledged: &[Mail], sent: &[Mail], how: &str) {
    for mail in acknowledged {
        let is_told_of = |found: &Found| found.events.len() == 1;
        let found = found.iter().find(|found| found.is(mail));
        assert!(found.is_some_and(is_told_of), "{how}: lost what came from {}: {found:?}", mail.sender);
    }
    for found in found {
        assert!(sent.iter().any(|mail| found.is(mail)), "{how}: {} is not what was sent", found.id);
        assert!(found.trace.contains("(Penstock rescue)"), "{how}");
    }
}

/// Lets clients bring mail to a volume, and the power fail at each operation of that. What was there `before` stays there.
/// Gives how many cuts those were.
fn cut_everywhere(on: On, sim: &Sim, before: &[Mail], number: u64, every: usize) -> usize {
    sim.branch_everywhere();
    let _ = sim.take_branches();
    let mut world = on.world(sim);
    let mut cuts = 0_usize;
    let sent = [bring(&mut world, number), before.to_vec()].concat();
    let until = world.now + Duration::from_secs(60);
    while !world.are_clients_over() || world.rescue.status().sessions > 0 {
        assert!(world.now < until);
        // What a client has heard of, and how many the rescue has said it of.
        let acknowledged = world.acknowledged();
        let count = before.len() as u64 + world.rescue.status().counters.messages;
        world.step();
        for branch in sim.take_branches() {
            cuts += 1;
            if !cuts.is_multiple_of(every) {
                continue;
            }
            for seed in [SEED_DROP_ALL, SEED_KEEP_ALL, 7, 8] {
                let sim = branch.clone();
                let medium = sim.power_on(seed);
                let how = format!("{on:?}, cut {cuts}; replay: {}", sim.story());
                let found = found(medium);
                assert!(found.len() as u64 >= count, "{how}: {} of {count}", found.len());
                assert_kept(&found, &acknowledged, &sent, &how);
                for mail in before {
                    assert!(found.iter().any(|found| found.is(mail)), "{how}: lost {}", mail.sender);
                }
                assert_eq!(sim.counters().violations, 0, "{how}");
            }
        }
    }
    assert_eq!(world.acknowledged().len() + before.len(), sent.len());
    cuts
}

#[test]
fn what_was_acknowledged_survives_a_cut_at_every_operation() {
    for on in [On::Disk, On::Nor] {
        let sim = on.formatted();
        let cuts = cut_everywhere(on, &sim, &[], 1000, 1);
        println!("{on:?}: {cuts} cuts");
        assert!(cuts > 40, "{cuts}");
    }
}

/// The next boot in rescue begins with what a cut has left, and its own power fails too.
#[test]
fn and_so_it_does_where_boot_after_boot_is_cut() {
    for on in [On::Disk, On::Nor] {
        let mut cuts = 0;
        for (first, seed) in [(5, 1), (9, 0), (14, 7), (20, 8), (31, 9)] {
            let sim = on.formatted();
            let mut acknowledged = Vec::new();
            let mut sent = Vec::new();
            // Some boots that are cut one after the other, at other places each time.
            for boot in 0..3 {
                let _ = sim.power_on(seed + boot);
                let mut world = on.world(&sim);
                sent.extend(bring(&mut world, 1000 * (boot + 1)));
                sim.inject_at(sim.operations() + first + 3 * boot, Fault::Cut);
                let until = world.now + Duration::from_secs(20);
                while !sim.is_cut() && !world.are_clients_over() && world.now < until {
                    world.step();
                }
                assert!(sim.is_cut(), "boot {boot} came to its end");
                acknowledged.extend(world.acknowledged());
            }
            let medium = sim.power_on(seed);
            let how = format!("{on:?}; replay: {}", sim.story());
            let there = found(medium);
            assert_kept(&there, &acknowledged, &sent, &how);
            // And the next one is cut everywhere.
            let before: Vec<Mail> =
                sent.iter().filter(|mail| there.iter().any(|found| found.is(mail))).cloned().collect();
            cuts += cut_everywhere(on, &sim, &before, 9000, 3);
        }
        println!("{on:?}: {cuts} cuts, a third of them looked at");
    }
}

/// With a medium that never makes anything durable the tests above would find it: they can fail.
#[test]
#[should_panic(expected = "of")]
fn without_syncs_that_hold_it_would_not() {
    let sim = On::Disk.formatted();
    sim.inject(Fault::NoSync);
    cut_everywhere(On::Disk, &sim, &[], 1000, 1);
}
