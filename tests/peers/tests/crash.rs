//! What was acknowledged survives the daemon.

#![allow(missing_docs)]

use penstock_peers::daemon::Fault;
use penstock_peers::storm::storm;

#[test]
fn acknowledged_mail_outlives_twenty_kills_and_arrives_once() {
    let outcome = storm(20, Fault::None);
    assert!(outcome.balance.acknowledged > 1000, "hardly any load: {}", outcome.balance.acknowledged);
    outcome.balance.assert_sound(outcome.again_max);
}
