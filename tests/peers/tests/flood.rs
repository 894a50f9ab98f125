//! A hostile run: everything at once that comes to a port 25 which faces the internet, with ordinary mail going on. Mail is
//! taken throughout, memory stays bounded, and all is free again afterwards.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use penstock_peers::client::Client;
use penstock_peers::daemon::{Daemon, Settings};
use penstock_peers::flood::{Flood, address};
use penstock_peers::memory::peak_kib;
use penstock_peers::process::wait_until;
use penstock_peers::sink::Sink;

/// In KiB, as the kernel counts.
const MIB: u64 = 1024;
const IDLE: usize = 5_000;
const SLOW: usize = 500;
const RECIPIENTS: u64 = 1_000_000;
/// Ordinary messages at least, and the pause after each try.
const MESSAGES: usize = 100;
const PAUSE: Duration = Duration::from_millis(50);

fn before(sink: &Sink) -> Settings {
    // What the flood names as recipients is nobody's; what counts is that mail for the others comes through.
    Settings::before(sink.address()).listening_as_shipped().set("system.log_level", "\"warn\"")
}

/// The last code of one try; nothing if the connection ended before.
fn tried(daemon: &Daemon, n: usize, text: &[u8]) -> Option<u16> {
    let mut client = Client::try_connect_from(Some(address(0, n)), daemon.address())?;
    if client.banner.code != 220 {
        return Some(client.banner.code);
    }
    let recipient = format!("RCPT TO:<ordinary-{n}@example.com>\r\n");
    let steps =
        ["EHLO ordinary.example\r\n", "MAIL FROM:<someone@example.net>\r\n", recipient.as_str(), "DATA\r\n"];
    for step in steps {
        let sent = client.try_send(step.as_bytes());
        let reply = client.try_reply().filter(|_| sent)?;
        if reply.code >= 400 {
            return Some(reply.code);
        }
    }
    let sent = client.try_send(&[text, b".\r\n"].concat());
    client.try_reply().filter(|_| sent).map(|reply| reply.code)
}

/// What came of ordinary mail.
#[derive(Default)]
struct Tries {
    /// How often each message was tried.
    of_each: Vec<u32>,
    /// How often a try ended how.
    ends: BTreeMap<Option<u16>, u32>,
}

impl Tries {
    /// Sends a message as a mail server does that has an address of its own, and tries again if it is put off.
    fn send(&mut self, daemon: &Daemon) {
        let n = self.of_each.len();
        let text = format!("Subject: {n}\r\n\r\nordinary\r\n");
        for attempt in 1.. {
            let end = tried(daemon, n, text.as_bytes());
            *self.ends.entry(end).or_default() += 1;
            thread::sleep(PAUSE);
            if end == Some(250) {
                return self.of_each.push(attempt);
            }
        }
    }

    fn at_once(&self) -> usize {
        self.of_each.iter().filter(|tries| **tries == 1).count()
    }

    fn most(&self) -> u32 {
        self.of_each.iter().copied().max().unwrap_or(0)
    }
}

/// The whole of the hostile run, with ordinary mail until the last recipient was named.
fn hostile_run(daemon: &Daemon) -> (Flood, Tries) {
    let flood = Flood::against(daemon.address())
        .idle(IDLE)
        .slow(SLOW)
        .half_open_tls(100)
        .garbage(4)
        .endless()
        .recipients(8);
    let mut tries = Tries::default();
    while tries.of_each.len() < MESSAGES || flood.done().recipients.load(Relaxed) < RECIPIENTS {
        tries.send(daemon);
    }
    (flood, tries)
}

fn arrived(sink: &Sink) -> usize {
    let ordinary = |address: &str| address.starts_with("ordinary-");
    sink.deliveries().iter().filter(|delivery| delivery.to.iter().any(|to| ordinary(&to.address))).count()
}

/// Waits until nothing is left of the flood but memory of its sources.
fn assert_all_is_free_again(daemon: &Daemon, descriptors: u64) {
    wait_until("no session is left", || daemon.metric("penstock_sessions_open") == 0);
    assert_eq!(daemon.metric("penstock_reserved_bytes"), 0);
    assert_eq!(daemon.metric("penstock_sessions_held_back"), 0);
    wait_until("descriptors are closed", || daemon.descriptors() <= descriptors + 8);
    let clients = daemon.clients();
    let holding = clients["rows"].as_array().unwrap().iter().filter(|row| row["sessions"] != 0).count();
    assert_eq!(holding, 0, "{clients}");
}

/// The hostile run: what came of ordinary mail, and the most that the daemon had allocated, in KiB.
fn under_attack(daemon: &Daemon) -> (Tries, u64) {
    let mut outcome = None;
    let attack = || {
        let (flood, tries) = hostile_run(daemon);
        println!("{:?}", flood.done());
        println!("at its height: {}", summary(daemon));
        outcome = Some(tries);
    };
    let peak_kib = peak_kib(|| daemon.allocated_kib(), attack);
    let tries = outcome.unwrap();
    println!(
        "{} ordinary messages, {} of them at the first try, {} tries at most, ends {:?}; peak {peak_kib} KiB",
        tries.of_each.len(),
        tries.at_once(),
        tries.most(),
        tries.ends
    );
    (tries, peak_kib)
}

fn assert_survives(daemon: &Daemon, sink: &Sink, peak_kib_max: u64) -> Tries {
    let descriptors = daemon.descriptors();
    let (tries, peak_kib) = under_attack(daemon);
    assert!(peak_kib < peak_kib_max, "{peak_kib} KiB");
    wait_until("all ordinary mail has arrived", || arrived(sink) >= tries.of_each.len());
    assert_eq!(arrived(sink), tries.of_each.len());
    assert_all_is_free_again(daemon, descriptors);
    assert_eq!(tried(daemon, 1, b"after\r\n"), Some(250));
    // An allocator keeps much of what it was given back: another time takes no more.
    let (_, again_kib) = under_attack(daemon);
    assert!(again_kib < peak_kib + 8 * MIB, "{peak_kib} KiB, and {again_kib} KiB another time");
    assert_all_is_free_again(daemon, descriptors);
    tries
}

fn summary(daemon: &Daemon) -> String {
    let mut clients = daemon.clients();
    clients["rows"].take();
    clients.to_string()
}

#[test]
fn with_two_hundred_sessions_nobody_who_does_nothing_keeps_mail_out() {
    let sink = Sink::start(0, 1);
    let daemon = Daemon::start(before(&sink));
    // Thousands of connections a second take each other's places here. Those who never brought a message make room first,
    // so that hardly anybody else has to come twice; how many do is a matter of the machine.
    let tries = assert_survives(&daemon, &sink, 64 * MIB);
    assert!(tries.at_once() * 10 >= tries.of_each.len() * 8, "{} at once", tries.at_once());
    assert!(daemon.metric("penstock_sessions_displaced_total") > 0);
}

#[test]
fn with_room_for_all_of_them_memory_stays_below_64_mib() {
    let sink = Sink::start(0, 1);
    let daemon = Daemon::start(
        before(&sink).set("listen.connections_max", "6000").set("listen.connections_per_source_max", "40"),
    );
    let tries = assert_survives(&daemon, &sink, 64 * MIB);
    // Hardly anybody has to come twice.
    assert!(
        tries.at_once() * 10 >= tries.of_each.len() * 8,
        "{} of {} at once",
        tries.at_once(),
        tries.of_each.len()
    );
}
