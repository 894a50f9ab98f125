//! What the scenarios share: a world with a server, mail, and the end of it all.

use penstock_exchange::Server;
use penstock_exchange::simulated::{Party, World};
use penstock_rehearsal::drain::probes_script;
use penstock_rehearsal::{Appliance, Fate, Judgement, Knowledge, Mail, judge};

/// How often it is looked whether all is over.
const STEP_MS: u64 = 60_000;

/// A server that does not hide duplicates and has been given these commands, 2 ms away.
pub(crate) fn world(script: &str) -> World {
    let mut server = Server::new(1, 1_767_225_600);
    server.scenario(0, &format!("duplicates off\n{}{script}", probes_script())).unwrap();
    World::new(server).with_one_way_ms(1)
}

/// Messages to some hundred mailboxes, one every so often.
pub(crate) fn mail(count: u64, interval_ms: u64) -> Vec<Mail> {
    (0..count)
        .map(|n| Mail::numbered(n, format!("user{}@example.com", n % 317)).at_ms(n * interval_ms))
        .collect()
}

/// An appliance that knows nothing of what happens behind 250.
pub(crate) fn blind(mail: Vec<Mail>) -> Appliance {
    Appliance::new(Knowledge::default(), mail)
}

/// Lets it all go on until every message has its fate and the server has delivered what it took; or until then.
pub(crate) fn play(world: &mut World, appliance: &mut Appliance, until_ms: u64) -> Judgement {
    loop {
        let next_ms = (world.now_ms() + STEP_MS).min(until_ms);
        world.run(&mut [appliance as &mut dyn Party], next_ms);
        let at_end = next_ms == until_ms;
        if !appliance.is_done() && !at_end {
            continue;
        }
        let judgement = judge(appliance, world);
        if judgement.with_server == 0 || at_end {
            assert!(judgement.broken.is_empty(), "{:#?}", judgement.broken);
            return judgement;
        }
    }
}

/// As [`play`], for mail of which none may be refused, reported back or doubled.
pub(crate) fn play_to_mailboxes(world: &mut World, appliance: &mut Appliance, until_ms: u64) {
    let judgement = play(world, appliance, until_ms);
    let all = judgement.recipients;
    assert_eq!(judgement, Judgement { recipients: all, in_mailbox: all, ..Judgement::default() });
    assert!(appliance.is_done());
}

/// Why messages are in quarantine, with their numbers.
pub(crate) fn quarantine(appliance: &Appliance) -> Vec<(u64, &str)> {
    let mut found = Vec::new();
    for held in appliance.held() {
        for fate in &held.fates {
            if let Fate::Quarantined { why, .. } = fate {
                found.push((held.mail.number, why.as_str()));
            }
        }
    }
    found
}

/// When mail was delivered to mailboxes, in order.
pub(crate) fn deliveries_ms(world: &World) -> Vec<u64> {
    world.server.deliveries().iter().map(|delivery| delivery.delivered_ms).collect()
}
