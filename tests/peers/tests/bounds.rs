//! Memory has bounds that do not depend on what passes through or lies in the queue.

#![allow(missing_docs, clippy::unwrap_used)]

use penstock_peers::daemon::{Daemon, Settings};
use penstock_peers::load::{Source, send_big_message};
use penstock_peers::memory::peak_kib;
use penstock_peers::process::wait_until;
use penstock_peers::sink::Sink;

/// In KiB, as the kernel counts.
const MIB: u64 = 1024;

#[test]
fn a_message_of_200_mib_passes_both_ways_in_bounded_memory() {
    let sink = Sink::start(0, 1);
    let settings =
        Settings::before(sink.address()).set("volume.size", "\"1GiB\"").set("listen.size_max", "\"208MiB\"");
    let daemon = Daemon::start(settings);
    let idle_kib = daemon.allocated_kib();
    println!("idle: {idle_kib} KiB");
    assert!(idle_kib < 12 * MIB, "idle: {idle_kib} KiB");
    daemon.hold();

    let mut sent = None;
    let peak_in_kib =
        peak_kib(|| daemon.allocated_kib(), || sent = Some(send_big_message(daemon.address(), 200)));
    println!("while it came in: {peak_in_kib} KiB");
    assert!(peak_in_kib < idle_kib + 32 * MIB, "{peak_in_kib} KiB while it came in");

    let peak_out_kib = peak_kib(
        || daemon.allocated_kib(),
        || {
            daemon.release();
            wait_until("it has arrived", || sink.count() == 1);
        },
    );
    println!("while it went out: {peak_out_kib} KiB");
    assert!(peak_out_kib < idle_kib + 32 * MIB, "{peak_out_kib} KiB while it went out");
    assert_eq!(Some(sink.deliveries()[0].content), sent);
}

#[test]
fn fifty_thousand_queued_messages_cost_little_memory() {
    let sink = Sink::start(0, 1);
    let daemon = Daemon::start(Settings::before(sink.address()).set("volume.size", "\"1GiB\""));
    daemon.hold();
    let idle_kib = daemon.allocated_kib();
    let source = Source { sessions: 50, messages: 50_000, len_bytes: 4096, recipients: 1, keep_open: true };
    assert!(source.spawn(daemon.address()).wait().success());
    assert_eq!(daemon.queued(), 50_000);
    let queued_kib = daemon.allocated_kib();
    println!("idle: {idle_kib} KiB, with 50,000 queued: {queued_kib} KiB");
    assert!(queued_kib < idle_kib + 16 * MIB, "{queued_kib} KiB with 50,000 queued, {idle_kib} KiB idle");
}
