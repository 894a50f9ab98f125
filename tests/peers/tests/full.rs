//! When there is no room, or the volume fails, mail waits at its sender: 4xx, service goes on, nothing is lost.

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;

use penstock_peers::client::{Client, Reply};
use penstock_peers::daemon::{Daemon, Fault, Settings};
use penstock_peers::ledger::Balance;
use penstock_peers::load::random_message;
use penstock_peers::process::wait_until;
use penstock_peers::random::Random;
use penstock_peers::recorder::Recorder;
use penstock_peers::sink::Sink;

const KIB: usize = 1024;

/// The smallest volume there is.
fn small(sink: &Sink) -> Settings {
    Settings::before(sink.address())
        .set("volume.size", "\"64MiB\"")
        .set("volume.segment_size", "\"1MiB\"")
        .set("listen.size_max", "\"8MiB\"")
        .set("listen.reserved_max", "\"16MiB\"")
        .set("listen.reserved_per_source_max", "\"16MiB\"")
}

fn greeted(recorder: &Recorder) -> Client {
    let mut client = Client::connect(recorder.address());
    assert_eq!(client.ask("EHLO client.example").code, 250);
    client
}

/// Sends messages of this length until one is refused; returns how many were not, and the refusal.
fn fill(client: &mut Client, random: &mut Random, len_bytes: usize) -> (usize, Reply) {
    for sent in 0.. {
        let reply = client.message("a@example.org", &["b@example.com"], &random_message(random, len_bytes));
        if reply.code != 250 {
            return (sent, reply);
        }
        assert!(sent < 10_000, "a volume of 64 MiB has no end");
    }
    unreachable!()
}

#[test]
fn a_full_volume_says_452_and_takes_mail_again_when_some_is_delivered() {
    let mut random = Random::announced();
    let sink = Sink::start(0, 1);
    let daemon = Daemon::start(small(&sink));
    let recorder = Recorder::start(daemon.address());
    daemon.hold();
    let mut client = greeted(&recorder);
    for len_bytes in [1024 * KIB, 64 * KIB, KIB] {
        let (taken, refusal) = fill(&mut client, &mut random, len_bytes);
        println!("{taken} of {len_bytes} bytes, then {refusal:?}");
        assert_eq!(refusal.code, 452, "{refusal:?}");
        assert_eq!(client.ask("RSET").code, 250, "the session goes on");
    }
    let taken = recorder.acknowledged();
    assert!(taken >= 32, "half the volume at least is for mail, {taken} messages were taken");
    assert_eq!(greeted(&recorder).ask("NOOP").code, 250, "new sessions are served");

    daemon.release();
    daemon.wait_until_empty();
    wait_until("there is room again", || {
        greeted(&recorder)
            .message("a@example.org", &["b@example.com"], &random_message(&mut random, 64 * KIB))
            .code
            == 250
    });
    daemon.wait_until_empty();
    drop(client);
    Balance::of(&recorder.finish(), &sink.deliveries()).assert_sound(0);
}

#[test]
fn a_hundred_idle_sessions_that_declared_nothing_do_not_close_the_box() {
    let sink = Sink::start(0, 1);
    let daemon = Daemon::start(small(&sink));
    let recorder = Recorder::start(daemon.address());
    let _idle: Vec<_> = (0..100)
        .map(|_| {
            let mut client = greeted(&recorder);
            assert_eq!(client.ask("MAIL FROM:<idle@example.org>").code, 250);
            assert_eq!(client.ask("RCPT TO:<b@example.com>").code, 250);
            client
        })
        .collect();
    let message = random_message(&mut Random::announced(), 64 * KIB);
    assert_eq!(greeted(&recorder).message("a@example.org", &["b@example.com"], &message).code, 250);
    wait_until("it has arrived", || sink.count() == 1);
}

/// A box that holds some messages and whose volume has just begun to refuse writes.
fn failing(sink: &Sink) -> (Daemon, Recorder, Vec<Vec<u8>>) {
    let mut random = Random::announced();
    let daemon = Daemon::start(small(sink).with(Fault::OnDemand));
    let recorder = Recorder::start(daemon.address());
    daemon.hold();
    let mut client = greeted(&recorder);
    let messages: Vec<_> = (0..20).map(|_| random_message(&mut random, 20 * KIB)).collect();
    for message in &messages {
        assert_eq!(client.message("a@example.org", &["b@example.com"], message).code, 250);
    }
    daemon.begin_write_errors();
    let refused = client.message("a@example.org", &["b@example.com"], b"too late\r\n");
    assert_eq!(refused.code / 100, 4, "{refused:?}");
    (daemon, recorder, messages)
}

#[test]
fn a_volume_that_fails_to_write_refuses_mail_and_what_it_has_can_be_read() {
    let sink = Sink::start(0, 1);
    let (daemon, _, messages) = failing(&sink);
    assert!(!daemon.alerts().is_empty(), "the operator is told");
    let mut exports = daemon.exports();
    assert_eq!(exports.len(), messages.len());
    for message in &messages {
        let position = exports.iter().position(|export| export.ends_with(message));
        exports.remove(position.expect("what was acknowledged can be read"));
    }
}

#[test]
fn a_volume_that_recovers_takes_mail_again_and_has_lost_none() {
    let sink = Sink::start(0, 1);
    let (daemon, recorder, _) = failing(&sink);
    daemon.end_write_errors();
    wait_until("mail is taken again", || {
        greeted(&recorder).message("a@example.org", &["b@example.com"], b"again\r\n").code == 250
    });
    assert!(daemon.alerts().is_empty(), "nothing is left to tell");
    daemon.release();
    daemon.wait_until_empty();
    Balance::of(&recorder.finish(), &sink.deliveries()).assert_sound(0);
}

#[test]
fn a_file_that_is_no_volume_is_refused_and_left_alone() {
    let sink = Sink::start(0, 1);
    let daemon = Daemon::prepare(small(&sink));
    let foreign = random_message(&mut Random::announced(), 64 * KIB * KIB);
    fs::write(daemon.volume(), &foreign).unwrap();
    let (status, log) = daemon.refuse();
    assert!(!status.success());
    assert!(log.contains("PS-"), "an error with a code: {log}");
    assert_eq!(fs::read(daemon.volume()).unwrap(), foreign, "not a byte was changed");
}
