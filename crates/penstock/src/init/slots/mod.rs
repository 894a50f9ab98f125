//! The slots of the box: what is in them, which of them run, and what an update, the good word and going back do to them.
//!
//! `penstock_slots` has the rules and the formats; the firmware reads what is written here, and starts by it.

mod error;
mod incoming;
mod nor;
mod state;
#[cfg(test)]
mod tests;
mod write;

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};

use penstock_daemon::keeper::slots::{
    PairView, Progress, SlotView, SlotsView, Software, Updated, VerifiedView,
};
use penstock_flash_linux::Mtd;
use penstock_slots::{
    Condition, Failure, Held, KEYS, Kept, MANIFEST_BYTES, Manifest, Rejected, Slot, VerifyingKey, parse_keys,
    verify,
};

use super::chosen::Told;
use super::news::News;
use state::BootState;
use write::{Facts, take};

pub(super) use error::SlotsError;
pub(super) use incoming::Incoming;
pub(super) use state::{Floors, Running};

/// The partition with what is known of the slots.
const STATE_PARTITION: &str = "boot-state";
/// The keys that sign for this box, as it was built.
const KNOWN_KEYS: Option<&str> = option_env!("PENSTOCK_KEYS");
/// In which words of the kernel's command line the image says for which board it is and what the floors are. It is signed.
const BOARD_WORD: &str = "penstock.board=";
const FLOORS_WORD: &str = "penstock.floors=";
/// As much of a slot is read to see what it claims to hold, in bytes.
const HEAD_BYTES: usize = 4096;
const _: () = assert!(HEAD_BYTES >= MANIFEST_BYTES);

/// Firmware first: it is what starts the other.
const BOTH_KINDS: [(Software, Kept); 2] =
    [(Software::Firmware, Kept::Firmware), (Software::System, Kept::System)];

const fn kept(software: Software) -> Kept {
    match software {
        Software::System => Kept::System,
        Software::Firmware => Kept::Firmware,
    }
}

const fn software(kept: Kept) -> Software {
    match kept {
        Kept::System => Software::System,
        Kept::Firmware => Software::Firmware,
    }
}

/// The slots of the box.
#[derive(Debug)]
pub(super) struct Slots {
    keys: Option<[VerifyingKey; KEYS]>,
    board: String,
    running: Option<Running>,
    state: Result<Mutex<BootState<Mtd>>, SlotsError>,
    /// What of that which runs has to prove itself.
    on_trial: Mutex<Vec<Software>>,
    /// The update that is under way.
    progress: Mutex<Option<Progress>>,
    /// How the last one ended.
    last_update: Mutex<Option<String>>,
    news: News,
}

impl Slots {
    /// Looks what is known.
    pub(super) fn open(told: Option<&Told>) -> Self {
        let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
        let open = || {
            let unreadable = |error: penstock_flash_linux::MtdError| SlotsError::State {
                code: error.code(),
                message: error.to_string(),
            };
            let device = Mtd::find(STATE_PARTITION).map_err(unreadable)?;
            BootState::open(Mtd::open(&device, true).map_err(unreadable)?, floors(&line))
        };
        Self {
            keys: KNOWN_KEYS.and_then(parse_keys),
            board: word(&line, BOARD_WORD).unwrap_or_default().to_owned(),
            running: told.map(|told| told.running),
            state: open().map(Mutex::new),
            on_trial: Mutex::new(told.map(|told| told.on_trial.clone()).unwrap_or_default()),
            progress: Mutex::new(None),
            last_update: Mutex::new(None),
            news: News::default(),
        }
    }

    /// Where it is told what becomes of them.
    pub(super) fn news(&self) -> &News {
        &self.news
    }

    /// What has to prove itself.
    pub(super) fn on_trial(&self) -> Vec<Software> {
        lock(&self.on_trial).clone()
    }

    /// Whether the first block of a bundle is worth waiting for the rest, which is so long.
    pub(super) fn check_first(&self, first: &[u8]) -> Result<u64, SlotsError> {
        let (keys, running) = self.ready()?;
        let manifest = Manifest::from_slot(first, &keys)?;
        let state = self.state()?;
        let pair = state.pair(manifest.kind);
        manifest.suits(manifest.kind, &self.board, pair.floor)?;
        if pair.condition(running.of(manifest.kind)) != Condition::Confirmed {
            return Err(penstock_slots::Refusal::OnTrial.into());
        }
        drop(state);
        let slot_bytes = open_slot(manifest.kind, running.of(manifest.kind).other(), false)?.size_bytes();
        let bundle_bytes = manifest.extent_bytes();
        if bundle_bytes > slot_bytes {
            return Err(SlotsError::TooLarge { bundle_bytes, slot_bytes });
        }
        Ok(bundle_bytes)
    }

    /// Writes a whole bundle into the slot of its kind that does not run, and has it tried with the next start. Takes as long
    /// as flash does.
    pub(super) fn update(
        &self,
        bundle: &[u8],
        mut heard: impl FnMut(Progress),
    ) -> Result<Updated, SlotsError> {
        let (keys, running) = self.ready()?;
        let Manifest { kind, held, .. } = Manifest::from_slot(bundle, &keys)?;
        let other = running.of(kind).other();
        let slot = open_slot(kind, other, true)?;
        let state = self.state.as_ref().map_err(SlotsError::clone)?;
        let facts = Facts { keys: &keys, board: &self.board, running };
        take(state, &slot, bundle, kind, facts, |progress| {
            self.note_progress(Some(progress));
            heard(progress);
        })?;
        Ok(Updated {
            software: software(kind),
            slot: other.letter().to_string(),
            version: held.version().to_string(),
        })
    }

    /// Whether an update is under way.
    pub(super) fn is_being_updated(&self) -> bool {
        lock(&self.progress).is_some()
    }

    /// How far the update is that is under way.
    pub(super) fn note_progress(&self, progress: Option<Progress>) {
        *lock(&self.progress) = progress;
    }

    /// How an update ended.
    pub(super) fn note_end(&self, sentence: String) {
        *lock(&self.last_update) = Some(sentence);
    }

    /// What is on trial has proved itself. Says what was marked.
    pub(super) fn mark_good(&self) -> Result<Vec<Software>, SlotsError> {
        let (keys, running) = self.ready()?;
        let trials = self.on_trial();
        if trials.is_empty() {
            return Err(SlotsError::NoTrial);
        }
        for trial in &trials {
            let kept = kept(*trial);
            let slot = running.of(kept);
            // The floor must not rise by what was not signed.
            let held = head(kept, slot)
                .and_then(|head| Manifest::from_slot(&head, &keys))
                .map_err(SlotsError::Rotten)?
                .held;
            self.state()?.mark_good(kept, slot, held)?;
            lock(&self.on_trial).retain(|one| one != trial);
        }
        Ok(trials)
    }

    /// The other slot of that kind is started next. All of it is looked at before: going back to what has rotted would be none.
    pub(super) fn roll_back(&self, software: Software) -> Result<Slot, SlotsError> {
        let (keys, running) = self.ready()?;
        let kept = kept(software);
        let (slot, other) = (running.of(kept), running.of(kept).other());
        if self.state()?.pair(kept).condition(other) != Condition::Confirmed {
            return Err(penstock_slots::Refusal::NothingToGoBackTo.into());
        }
        let floor = self.state()?.pair(kept).floor;
        let bytes = whole(kept, other, &keys)?;
        let there = verify(&bytes, &keys, kept, &self.board, floor)?.manifest.held;
        self.state()?.roll_back(kept, slot, there)?;
        Ok(other)
    }

    /// Which of them have failed, and why, each in words.
    pub(super) fn failed(&self) -> Vec<String> {
        let Ok(state) = self.state() else { return Vec::new() };
        let each = BOTH_KINDS.into_iter().flat_map(|kind| Slot::BOTH.map(|slot| (kind, slot)));
        let failed = each.filter_map(|((software, kept), slot)| {
            let condition = state.pair(kept).condition(slot);
            let Condition::Failed(_) = condition else { return None };
            let why = words(condition).1.unwrap_or_default();
            Some(format!("the {} in slot {} has failed ({why})", software.name(), slot.letter()))
        });
        failed.collect()
    }

    /// How they stand.
    pub(super) fn view(&self, waits_for: Option<String>) -> SlotsView {
        let mut warnings = Vec::new();
        if self.running.is_none() {
            warnings.push(SlotsError::NoFirmware.to_string());
        }
        if self.keys.is_none() {
            warnings.push(SlotsError::NoKeys.to_string());
        }
        let pairs = match self.state() {
            Err(error) => {
                warnings.push(error.to_string());
                Vec::new()
            }
            Ok(state) => {
                if state.is_corrupt() {
                    warnings
                        .push("what was known of the slots is damaged: whatever verifies is started".into());
                }
                BOTH_KINDS.map(|(software, kept)| self.pair_view(&state, software, kept)).into()
            }
        };
        SlotsView {
            started: None,
            pairs,
            warnings,
            update: *lock(&self.progress),
            last_update: lock(&self.last_update).clone(),
            waits_for: waits_for.filter(|_| !self.on_trial().is_empty()),
        }
    }

    fn pair_view(&self, state: &BootState<Mtd>, software: Software, kept: Kept) -> PairView {
        let pair = state.pair(kept);
        let slots = Slot::BOTH.map(|slot| {
            let claimed = head(kept, slot).and_then(|head| Manifest::claimed(&head)).ok();
            // A new box takes for good whatever verifies, also where nothing was ever written.
            let was_written = claimed.is_some() || pair.held(slot).version != 0;
            let condition = match pair.condition(slot) {
                Condition::Confirmed if !was_written => Condition::Empty,
                condition => condition,
            };
            let (condition, detail) = words(condition);
            SlotView {
                slot: slot.letter().to_string(),
                runs: self.running.is_some_and(|running| running.of(kept) == slot),
                preferred: pair.preferred == slot,
                condition: condition.into(),
                detail,
                version: claimed.map(|manifest| manifest.held.version().to_string()),
                security_version: claimed.map(|manifest| manifest.held.security),
            }
        });
        PairView { software, floor: pair.floor, slots: slots.into() }
    }

    /// Looks at the whole content of all slots, as the firmware would. Takes seconds.
    pub(super) fn verify(&self) -> Result<Vec<VerifiedView>, SlotsError> {
        let keys = self.keys.ok_or(SlotsError::NoKeys)?;
        let mut views = Vec::new();
        for (software, kept) in BOTH_KINDS {
            let floor = self.state()?.pair(kept).floor;
            for slot in Slot::BOTH {
                let looked = whole(kept, slot, &keys)
                    .and_then(|bytes| Ok(verify(&bytes, &keys, kept, &self.board, floor)?.manifest.held));
                views.push(VerifiedView {
                    software,
                    slot: slot.letter().to_string(),
                    version: looked.as_ref().ok().map(|held: &Held| held.version().to_string()),
                    rejected: looked.err().map(|error| error.to_string()),
                });
            }
        }
        Ok(views)
    }

    /// What an update needs to know.
    fn ready(&self) -> Result<([VerifyingKey; KEYS], Running), SlotsError> {
        Ok((self.keys.ok_or(SlotsError::NoKeys)?, self.running.ok_or(SlotsError::NoFirmware)?))
    }

    fn state(&self) -> Result<MutexGuard<'_, BootState<Mtd>>, SlotsError> {
        Ok(lock(self.state.as_ref().map_err(SlotsError::clone)?))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn words(condition: Condition) -> (&'static str, Option<String>) {
    match condition {
        Condition::Empty => ("empty", None),
        Condition::Trial { tries_left } => {
            ("trial", Some(format!("{tries_left} starts left to prove itself")))
        }
        Condition::Confirmed => ("confirmed", None),
        Condition::Failed(Failure::Tries) => ("failed", Some("it never proved itself".into())),
        Condition::Failed(Failure::Rejected) => ("failed", Some("it is not what was signed".into())),
        Condition::Failed(Failure::RolledBack) => ("failed", Some("it was gone back from".into())),
    }
}

fn open_slot(kept: Kept, slot: Slot, writable: bool) -> Result<Mtd, SlotsError> {
    let name = format!("{}-{}", software(kept).name(), slot.letter());
    Mtd::find(&name)
        .and_then(|device| Mtd::open(&device, writable))
        .map_err(|error| SlotsError::Flash(error.to_string()))
}

/// The beginning of a slot. One that cannot be read holds nothing.
fn head(kept: Kept, slot: Slot) -> Result<Vec<u8>, Rejected> {
    let mut bytes = vec![0; HEAD_BYTES];
    let read = open_slot(kept, slot, false).map(|flash| flash.read(0, &mut bytes).is_ok());
    if read == Ok(true) { Ok(bytes) } else { Err(Rejected::None) }
}

/// As much of a slot as its manifest says, if that is signed.
fn whole(kept: Kept, slot: Slot, keys: &[VerifyingKey]) -> Result<Vec<u8>, SlotsError> {
    let flash = open_slot(kept, slot, false)?;
    let extent = Manifest::from_slot(&head(kept, slot)?, keys)?.extent_bytes();
    let mut bytes = vec![0; extent.min(flash.size_bytes()) as usize];
    flash.read(0, &mut bytes).map_err(|error| SlotsError::Flash(error.to_string()))?;
    Ok(bytes)
}

fn word<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    line.split_whitespace().find_map(|word| word.strip_prefix(name))
}

/// The floors of the image. One that says none has none.
fn floors(line: &str) -> Floors {
    let floors = word(line, FLOORS_WORD).and_then(|floors| {
        let (system, firmware) = floors.split_once(',')?;
        Some(Floors { system: system.parse().ok()?, firmware: firmware.parse().ok()? })
    });
    floors.unwrap_or(Floors { system: 0, firmware: 0 })
}
