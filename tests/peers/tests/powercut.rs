//! What was acknowledged survives a power cut: a kill of the daemon takes everything with it that was not synced.

#![allow(missing_docs)]

use penstock_peers::daemon::Fault;
use penstock_peers::storm::storm;

#[test]
fn acknowledged_mail_outlives_power_cuts_and_arrives_once() {
    let outcome = storm(20, Fault::PowerCut);
    assert!(outcome.balance.acknowledged > 1000, "hardly any load: {}", outcome.balance.acknowledged);
    outcome.balance.assert_sound(outcome.again_max);
}

#[test]
fn without_sync_the_same_check_finds_mail_lost() {
    let outcome = storm(4, Fault::PowerCutWithoutSync);
    let lost = outcome.balance.lost.len();
    println!("{lost} lost of {} acknowledged", outcome.balance.acknowledged);
    assert!(lost > 0, "a sync that does nothing went unnoticed: this test could not find a loss");
}
