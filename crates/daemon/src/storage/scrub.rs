//! When the volume is gone through, and what is told of what is found.
//!
//! A pass is due when the last one that ended is older than the settings say; where no clock can be trusted, after each
//! start. It goes in steps when nothing else waits for the storage thread, and rests after each so long that its share
//! of the time stays below what the settings allow. Where it has come to is on the volume, so that a box that is
//! switched off every night gets through all the same. A pass that the operator asks for does not rest.

use std::time::{Duration, Instant};

use penstock_settings::Volume as Settings;
use penstock_spool::{Error, MessageId, Scrub, ScrubMode, Stamp};
use serde::{Deserialize, Serialize};

use crate::control::volume::{ScrubCounts, ScrubResult, ScrubRun, ScrubView};
use crate::ledger::META_SCRUB;
use crate::volume::{Reader, Spool};

/// What a step may read, in bytes: a commit that comes in the middle of one waits a few milliseconds.
pub(super) const STEP_BYTES: u64 = 256 * 1024;
/// Where a pass has come to is noted this often, so that what a stop costs is little, and so are the notes.
const NOTES_PER_PASS: u64 = 20;
const KEY_LAST: &[u8] = b"last";
const KEY_POSITION: &[u8] = b"position";

/// What is kept on the volume of a pass that has not ended.
#[derive(Serialize, Deserialize)]
struct Position {
    next: u64,
    found: ScrubCounts,
}

/// A pass that is under way.
#[derive(Debug)]
struct Pass {
    scrub: Scrub<Reader>,
    number: u64,
    asked: bool,
    mode: ScrubMode,
    begun: Instant,
    /// What was found before the last stop.
    before: ScrubCounts,
    noted_bytes: u64,
}

/// The watch over the volume.
#[derive(Debug)]
pub(super) struct Watch {
    interval: Duration,
    percent_max: u32,
    pass: Option<Pass>,
    passes: u64,
    /// When the next step may be done, or the next pass begins by itself.
    next_step: Option<Instant>,
    last: Option<ScrubResult>,
}

impl Watch {
    pub(super) fn new(settings: &Settings, spool: &Spool, now: Stamp) -> Self {
        let last: Option<ScrubResult> = load(spool, KEY_LAST);
        let mut watch = Self {
            interval: settings.scrub_interval,
            percent_max: settings.scrub_percent_max,
            pass: None,
            passes: 0,
            next_step: None,
            last: last.map(|last| ScrubResult { number: 0, ..last }),
        };
        let resumes = load::<Position>(spool, KEY_POSITION).is_some();
        let ended =
            watch.last.as_ref().and_then(|last| last.ended_unix_ms).filter(|_| now.trusted && !resumes);
        let age = ended.map(|ended| Duration::from_millis(now.unix_ms.saturating_sub(ended)));
        watch.rest(age.map_or(Duration::ZERO, |age| watch.interval.saturating_sub(age)));
        watch
    }

    /// When it has something to do next.
    pub(super) fn next_step(&self) -> Option<Instant> {
        self.next_step
    }

    fn rest(&mut self, rest: Duration) {
        let by_itself = self.percent_max > 0 || self.pass.as_ref().is_some_and(|pass| pass.asked);
        self.next_step = Some(Instant::now() + rest).filter(|_| by_itself);
    }

    /// Begins a pass that somebody asked for, in the place of one that goes by itself.
    pub(super) fn begin(&mut self, spool: &mut Spool, mode: ScrubMode) -> Result<u64, u64> {
        if let Some(pass) = self.pass.as_ref().filter(|pass| pass.asked) {
            return Err(pass.number);
        }
        self.give_up(spool);
        Ok(self.start(spool, mode, true))
    }

    fn start(&mut self, spool: &Spool, mode: ScrubMode, asked: bool) -> u64 {
        let position: Option<Position> = load(spool, KEY_POSITION).filter(|_| !asked);
        let (from, before) = position.map_or((MessageId(0), ScrubCounts::default()), |position| {
            (MessageId(position.next), position.found)
        });
        let scrub = spool.begin_scrub(mode, from);
        self.passes += 1;
        let (number, begun) = (self.passes, Instant::now());
        self.pass = Some(Pass { scrub, number, asked, mode, begun, before, noted_bytes: 0 });
        self.next_step = Some(begun);
        number
    }

    /// Gives up the pass that is under way: the volume is mounted anew, or somebody wants another.
    fn give_up(&mut self, spool: &mut Spool) {
        if let Some(pass) = self.pass.take() {
            spool.end_scrub(pass.scrub);
        }
    }

    /// Ends the pass before it is through. Whether there was one. The next begins when it would have.
    pub(super) fn stop(&mut self, spool: &mut Spool) -> bool {
        let Some(pass) = &self.pass else { return false };
        self.last = Some(ScrubResult { complete: false, ..pass.result(None) });
        self.give_up(spool);
        self.rest(self.interval);
        true
    }

    /// Forgets the pass, since the spool that it was begun on is gone. It begins anew.
    pub(super) fn forget(&mut self) {
        self.pass = None;
        self.rest(Duration::ZERO);
    }

    /// The pass that is due, begun if need be.
    pub(super) fn due(&mut self, spool: &Spool) -> Option<&mut Scrub<Reader>> {
        if self.next_step.is_none_or(|at| Instant::now() < at) {
            return None;
        }
        if self.pass.is_none() {
            self.start(spool, ScrubMode::Repair, false);
        }
        self.pass.as_mut().map(|pass| &mut pass.scrub)
    }

    /// Rests after a step that took so long, and notes now and then where the pass has come to. Whether it did.
    ///
    /// # Errors
    /// What the log says about the note.
    pub(super) fn stepped(&mut self, spool: &mut Spool, took: Duration) -> Result<bool, Error> {
        let Some(pass) = &mut self.pass else { return Ok(false) };
        let mut noted = false;
        if !pass.asked {
            let progress = pass.scrub.progress();
            if progress.done_bytes > pass.noted_bytes + progress.total_bytes / NOTES_PER_PASS {
                pass.noted_bytes = progress.done_bytes;
                let position = Position { next: pass.scrub.position().0, found: pass.found() };
                store(spool, KEY_POSITION, Some(&position))?;
                noted = true;
            }
        }
        let rest = if pass.asked {
            Duration::ZERO
        } else {
            took * (100 / self.percent_max.max(1)).saturating_sub(1)
        };
        self.rest(rest);
        Ok(noted)
    }

    /// Notes that the pass has come to its end.
    ///
    /// # Errors
    /// What the log says about the note.
    pub(super) fn finish(&mut self, spool: &mut Spool, now: Stamp) -> Result<Option<ScrubResult>, Error> {
        let Some(pass) = self.pass.take() else { return Ok(None) };
        let result = pass.result(now.trusted.then_some(now.unix_ms));
        self.last = Some(result.clone());
        self.rest(self.interval);
        store(spool, KEY_LAST, Some(&result))?;
        store::<Position>(spool, KEY_POSITION, None)?;
        Ok(Some(result))
    }

    /// How it stands.
    pub(super) fn view(&self) -> ScrubView {
        let running = self.pass.as_ref().map(Pass::run);
        let next_in_s = self
            .next_step
            .filter(|_| running.is_none())
            .map(|at| at.saturating_duration_since(Instant::now()).as_secs());
        ScrubView { running, last: self.last.clone(), next_in_s }
    }
}

impl Pass {
    fn found(&self) -> ScrubCounts {
        let (before, now) = (self.before, ScrubCounts::from(self.scrub.report()));
        ScrubCounts {
            messages: before.messages + now.messages,
            message_bytes: before.message_bytes + now.message_bytes,
            unsteady: before.unsteady + now.unsteady,
            repaired: before.repaired + now.repaired,
            repairable: before.repairable + now.repairable,
            damaged: before.damaged + now.damaged,
            kept_damaged: before.kept_damaged + now.kept_damaged,
            // Records and headers are gone through after the last message, and anew each time.
            ..now
        }
    }

    fn result(&self, ended_unix_ms: Option<u64>) -> ScrubResult {
        let repair = self.mode == ScrubMode::Repair;
        ScrubResult { number: self.number, ended_unix_ms, complete: true, repair, found: self.found() }
    }

    fn run(&self) -> ScrubRun {
        let progress = self.scrub.progress();
        let (done, left) = (progress.done_bytes, progress.total_bytes - progress.done_bytes);
        let elapsed = self.begun.elapsed().as_secs_f64();
        ScrubRun {
            number: self.number,
            asked: self.asked,
            repair: self.mode == ScrubMode::Repair,
            done_bytes: done,
            total_bytes: progress.total_bytes,
            left_in_s: (done > 0).then(|| (elapsed * left as f64 / done as f64).ceil() as u64),
            found: self.found(),
        }
    }
}

fn load<T: for<'a> Deserialize<'a>>(spool: &Spool, key: &[u8]) -> Option<T> {
    // What a later version wrote is as if there were none.
    spool.meta(META_SCRUB, key).and_then(|value| serde_json::from_slice(value).ok())
}

fn store<T: Serialize>(spool: &mut Spool, key: &[u8], value: Option<&T>) -> Result<(), Error> {
    // Plain numbers and words: they can always be written as JSON.
    let value = value.and_then(|value| serde_json::to_vec(value).ok()).unwrap_or_default();
    spool.put_meta(META_SCRUB, key, &value)
}
