//! What a box promises of a power cut at any moment: nothing that it told anybody hangs on a write that was not flushed.

#![allow(missing_docs, clippy::print_stdout)]

use penstock_appliance::powercut::{DELIVERED_MIN, Sync, Verdict, record};

#[test]
fn acknowledged_mail_is_on_the_disk_whenever_the_power_is_cut() {
    let verdict = record(Sync::Shipped, 400).replay();
    let Verdict { boundaries, disks, owed_max, delivered, failure, .. } = &verdict;
    println!("{boundaries} flushes, {disks} disks, up to {owed_max} messages on one, {delivered} handed on");
    assert!(failure.is_none(), "{}", failure.as_deref().unwrap_or_default());
    assert!(*boundaries >= 200 && *owed_max >= 100 && *delivered >= DELIVERED_MIN, "hardly any load");
}

#[test]
fn with_a_sync_that_does_nothing_the_same_check_finds_mail_lost() {
    let verdict = record(Sync::Nothing, 100).replay_dropping();
    let found = verdict.failure.as_deref().unwrap_or_default();
    println!("after {} disks: {found}", verdict.disks);
    assert!(
        found.contains(" lost, first "),
        "a sync that does nothing went unnoticed: this check could not find a loss"
    );
}
