//! Load on the daemon while it is killed again and again: what the crash and the power-cut tests have in common.

use std::fmt::Debug;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::daemon::{Daemon, Fault, Settings};
use crate::ledger::Balance;
use crate::load::{Source, send_random};
use crate::process::Process;
use crate::random::Random;
use crate::recorder::Recorder;
use crate::scratch::Scratch;
use crate::sink::Sink;

/// Sessions to the next hop: so many messages may be in flight when the daemon dies.
const RELEASE_SESSIONS: usize = 5;

/// What clients were told and the next hop got, and how many messages could have been sent twice.
pub struct Outcome {
    /// The comparison.
    pub balance: Balance,
    /// One message for each session to the next hop that a kill may have cut.
    pub again_max: usize,
    /// What was sent and what arrived, one line each; left behind if the test fails.
    _records: Scratch,
}

/// Kills the daemon `rounds` times at a random moment under load, with a medium that may do wrong. In every other
/// round mail is held, so that kills meet it in all states. Then releases everything.
pub fn storm(rounds: u64, fault: Fault) -> Outcome {
    let mut random = Random::announced();
    let sink = Sink::start(0, 1);
    let settings = Settings::before(sink.address())
        .set("volume.size", "\"1GiB\"")
        .set("release.connections_max", &RELEASE_SESSIONS.to_string())
        .with(fault);
    let mut daemon = Daemon::start(settings);
    let recorder = Recorder::start(daemon.address());
    let to = recorder.address();
    let mut again_max = 0;
    for round in 0..rounds {
        let holding = round % 2 == 0;
        if holding {
            daemon.hold();
        } else {
            daemon.release();
            again_max += RELEASE_SESSIONS;
        }
        let source = |sessions, messages, len_bytes, recipients, keep_open| {
            Source { sessions, messages, len_bytes, recipients, keep_open }.spawn(to)
        };
        let mut sources = [
            source(10, 2000, 4096, 1, true),
            source(3, 200, 30_000, 3, false),
            source(2, 20, 700_000, 1, true),
        ];
        let seed = random.bits();
        let own = thread::spawn(move || send_random(to, seed, 500, 20_000));
        thread::sleep(Duration::from_millis(random.within(20..1000)));
        daemon.kill();
        own.join().unwrap();
        sources.iter_mut().for_each(Process::kill);
        let took = daemon.up();
        println!("round {round}: {} acknowledged so far, greeting after {took:?}", recorder.acknowledged());
    }
    let sent = recorder.finish();
    // What the last sessions left is settled when a clean stop returns.
    daemon.stop();
    daemon.up();
    daemon.release();
    daemon.wait_until_empty();
    let arrived = sink.deliveries();
    let records = Scratch::new("records");
    write_lines(&records.join("sent"), &sent);
    write_lines(&records.join("arrived"), &arrived);
    Outcome { balance: Balance::of(&sent, &arrived), again_max, _records: records }
}

fn write_lines(file: &Path, lines: &[impl Debug]) {
    let mut file = BufWriter::new(File::create(file).unwrap());
    lines.iter().for_each(|line| writeln!(file, "{line:?}").unwrap());
    file.flush().unwrap();
}
