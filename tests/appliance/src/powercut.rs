//! Load on a box whose disk remembers, and then a power cut at every moment that matters.

use std::thread;
use std::time::{Duration, Instant};

use penstock_peers::load::{Source, send_random};
use penstock_peers::process::{Process, wait_until};
use penstock_peers::random::Random;
use penstock_peers::recorder::Recorder;
use penstock_peers::scratch::Scratch;
use penstock_peers::sink::{Manner, Sink, Stage};

use crate::judge::Testimony;
use crate::machine::{Appliance, settings_before};
use crate::nbd::{RecordedDisk, Recording};
use crate::replay::{Cut, Replay};

/// A small disk of small segments, so that many are opened and filled; several times what is sent has room.
const DISK_BYTES: usize = 32 << 20;
const SEGMENT_BYTES: u32 = 512 << 10;
/// Cuts that are drawn at each moment, besides the two that keep and drop everything.
const DRAWS: u64 = 2;
/// After how many writes a cut is tried, wherever flushes are.
const WRITES_BETWEEN_CUTS: usize = 50;

/// How many messages are handed on at least before the plug is pulled.
pub const DELIVERED_MIN: usize = 20;

/// Whether the box syncs its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// As it is shipped.
    Shipped,
    /// Its sync does nothing and reports success. Needs an image that was built for tests.
    Nothing,
}

/// What a box asked of its disk, and what was told meanwhile.
pub struct Recorded {
    recording: Recording,
    testimony: Testimony,
    /// When the plug was pulled.
    ended: Instant,
    /// From which the cuts are drawn.
    seed: u64,
}

/// What a replay has come to.
pub struct Verdict {
    /// Moments at which a flush was about to end.
    pub boundaries: usize,
    /// Disks that were made and looked at.
    pub disks: usize,
    /// The most messages that one of them had to hold.
    pub owed_max: usize,
    /// Messages that had been handed on when the plug was pulled.
    pub delivered: usize,
    /// The first that did not hold what it should: what is wrong, and how to see it again.
    pub failure: Option<String>,
    /// Holds that disk; left behind if the test fails.
    _scratch: Scratch,
}

/// Records a box under load until so many messages were acknowledged. During the first half the next hop takes nothing;
/// then it takes everything, and some is handed on, so that both mail and fates are on the way when the power is cut.
pub fn record(sync: Sync, acknowledged: usize) -> Recorded {
    let mut random = Random::announced();
    let disk = RecordedDisk::start(DISK_BYTES);
    let sink = Sink::start(0, 1);
    sink.behave(Manner::Say(Stage::Banner, "421 4.3.2 being rebuilt".into()));
    let settings = settings_before(sink.address())
        .set("volume.segment_size", &format!("\"{SEGMENT_BYTES}B\""))
        .set("release.probe_interval", "\"1s\"");
    let mut appliance = Appliance::prepare(&settings).with_recorded_disk(&disk);
    if sync == Sync::Nothing {
        // The volume is made before: what is to be lost is mail.
        appliance = appliance.with_faults_image();
        appliance.up();
        appliance.unplug();
        appliance.tell_the_kernel("PENSTOCK_FAULT=nosync");
    }
    appliance.up();
    let recorder = Recorder::start(appliance.address());
    let to = recorder.address();
    let source = |sessions, len_bytes, recipients, keep_open| {
        Source { sessions, messages: 1_000_000, len_bytes, recipients, keep_open }.spawn(to)
    };
    let mut sources = [source(4, 4096, 1, true), source(1, 60_000, 3, false)];
    let seed = random.bits();
    let own = thread::spawn(move || send_random(to, seed, u32::MAX, 20_000));
    wait_until("half of the mail is acknowledged", || recorder.acknowledged() >= acknowledged / 2);
    sink.behave(Manner::Accept);
    wait_until("all of the mail is acknowledged and some is handed on", || {
        recorder.acknowledged() >= acknowledged && sink.deliveries().len() >= DELIVERED_MIN
    });
    appliance.unplug();
    let ended = Instant::now();
    own.join().unwrap();
    sources.iter_mut().for_each(Process::kill);
    let testimony = Testimony {
        began: recorder.began(),
        transactions: recorder.finish(),
        deliveries: sink.deliveries(),
        segment_bytes: SEGMENT_BYTES,
    };
    Recorded { recording: disk.finish(), testimony, ended, seed: random.bits() }
}

impl Recorded {
    /// Cuts the power before the end of every flush, where everything since the one before is in doubt, and at some moments
    /// in between; each time some disks are made. Stops at the first that does not hold what it should, and leaves it.
    pub fn replay(&self) -> Verdict {
        self.replay_with(|random| {
            let draws = (0..DRAWS).map(|_| Cut::Draws(random.bits()));
            [Cut::Drops, Cut::Keeps].into_iter().chain(draws).collect()
        })
    }

    /// The same where nothing that is in doubt is ever there.
    pub fn replay_dropping(&self) -> Verdict {
        self.replay_with(|_| vec![Cut::Drops])
    }

    fn replay_with(&self, cuts: impl Fn(&mut Random) -> Vec<Cut>) -> Verdict {
        let mut random = Random::seeded(self.seed);
        let scratch = Scratch::new("replay");
        let mut replay = Replay::new(&self.recording, &scratch.join("disk"), DISK_BYTES as u64).unwrap();
        let kept = scratch.join("cut.img");
        let delivered = self.testimony.deliveries.len();
        let mut verdict =
            Verdict { boundaries: 0, disks: 0, owed_max: 0, delivered, failure: None, _scratch: scratch };
        for (number, moment) in self.moments().into_iter().enumerate() {
            replay.advance(moment).unwrap();
            verdict.boundaries = replay.flushes();
            for cut in cuts(&mut random) {
                let judged = replay.cut(cut, |disk| {
                    let judged = self.testimony.judge(moment, disk);
                    if judged.is_err() {
                        std::fs::copy(disk, &kept).unwrap();
                    }
                    judged
                });
                verdict.disks += 1;
                match judged.unwrap() {
                    Ok(owed) => verdict.owed_max = verdict.owed_max.max(owed),
                    Err(wrong) => {
                        verdict.failure = Some(format!(
                            "{wrong}\nmoment {number}, after {} flushes, {} writes in doubt, {cut:?}; the disk as it \
                             was left: {}",
                            replay.flushes(),
                            replay.in_doubt(),
                            kept.display()
                        ));
                        return verdict;
                    }
                }
            }
        }
        verdict
    }

    /// The moments of the cuts, in their order.
    fn moments(&self) -> Vec<Instant> {
        let before = |moment: Instant| moment - Duration::from_nanos(1);
        let flushes = self.recording.flushes.iter().filter_map(|flush| flush.ended).map(before);
        let writes = self.recording.writes.iter().step_by(WRITES_BETWEEN_CUTS).map(|write| write.began);
        let mut moments: Vec<Instant> = flushes.chain(writes).chain([self.ended]).collect();
        moments.sort_unstable();
        moments
    }
}
