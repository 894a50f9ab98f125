//! Load on a box whose plug is pulled again and again.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use penstock_peers::daemon::Settings;
use penstock_peers::ledger::Balance;
use penstock_peers::load::{Source, send_random};
use penstock_peers::process::{Process, wait_until};
use penstock_peers::random::Random;
use penstock_peers::recorder::Recorder;
use penstock_peers::sink::{Manner, Sink, Stage};

use crate::machine::Appliance;

/// Sessions to the next hop: so many messages may be in flight when the plug is pulled.
const RELEASE_SESSIONS: usize = 5;

/// What clients were told and the next hop got, and how many messages could have been sent twice.
pub struct Outcome {
    /// The comparison.
    pub balance: Balance,
    /// One message for each session to the next hop that may have been cut.
    pub again_max: usize,
}

/// Pulls the plug of a box with these settings `rounds` times at a random moment under load. In every other round the next hop takes nothing, so that
/// the box fills. Then everything is released, and the box is switched off by its key.
pub fn storm(settings: fn(SocketAddr) -> Settings, rounds: u64) -> Outcome {
    let mut random = Random::announced();
    let sink = Sink::start(0, 1);
    let settings = settings(sink.address()).set("release.connections_max", &RELEASE_SESSIONS.to_string());
    let mut appliance = Appliance::start(&settings);
    let recorder = Recorder::start(appliance.address());
    let to = recorder.address();
    let mut again_max = 0;
    for round in 0..rounds {
        if round % 2 == 0 {
            sink.behave(Manner::Say(Stage::Mail, "451 4.3.2 not now".into()));
        } else {
            sink.behave(Manner::Accept);
            again_max += RELEASE_SESSIONS;
        }
        let source = |sessions, messages, len_bytes, recipients, keep_open| {
            Source { sessions, messages, len_bytes, recipients, keep_open }.spawn(to)
        };
        let mut sources = [source(6, 400, 4096, 1, true), source(2, 20, 300_000, 2, false)];
        let seed = random.bits();
        let own = thread::spawn(move || send_random(to, seed, 100, 20_000));
        thread::sleep(Duration::from_millis(random.within(200..3000)));
        appliance.unplug();
        own.join().unwrap();
        sources.iter_mut().for_each(Process::kill);
        let took = appliance.up();
        println!("round {round}: {} acknowledged so far, greeting after {took:?}", recorder.acknowledged());
    }
    let sent = recorder.finish();
    sink.behave(Manner::Accept);
    wait_until("all acknowledged mail has arrived", || {
        Balance::of(&sent, &sink.deliveries()).lost.is_empty()
    });
    // What the last sessions left is settled when the box is off.
    let status = appliance.press_power_key();
    assert!(status.success(), "{status}");
    Outcome { balance: Balance::of(&sent, &sink.deliveries()), again_max }
}
