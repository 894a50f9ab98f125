//! Slots, boot state, and leaving.

use alloc::vec;
use core::fmt::{self, Write};

use penstock_console::{After, Failure, Place};
use penstock_slots::{Cause, Condition, Journal, Kept, Mailbox, Sectors as _, put_on_trial};

use super::reflash::Coming;
use super::{NOT_SO, NOT_THERE, Next, failure, lost};
use crate::bare::begin::Begun;
use crate::bare::flash::{Banks, Chips};
use crate::bare::ground::{boot_state, load};
use crate::bare::{fail, memory};
use crate::board::BOARD;
use crate::decide::state;
use crate::handover::{Handover, reason_name};
use crate::load::Loader;
use crate::part::Part;
use crate::work::Work;
use crate::{Error, VERSION, show};

/// What it works on.
pub(in crate::bare) struct Lower<'a> {
    pub(in crate::bare) begun: &'a Begun,
    pub(in crate::bare) banks: &'a Banks,
    pub(in crate::bare) loader: Loader<'a>,
    /// What stage 0 told; nothing in stage 0 itself.
    pub(in crate::bare) from: Option<Handover>,
    /// What caused the last reset, and what it left in memory.
    pub(in crate::bare) reset: (Option<Cause>, Option<Mailbox>),
    pub(in crate::bare) serial: Option<penstock_identity::Serial>,
    /// What is to follow, once a command has left the console.
    pub(in crate::bare) next: Option<Next>,
    coming: Option<Coming>,
}

impl<'a> Lower<'a> {
    pub(in crate::bare) const fn new(
        begun: &'a Begun,
        banks: &'a Banks,
        loader: Loader<'a>,
        from: Option<Handover>,
        reset: (Option<Cause>, Option<Mailbox>),
        serial: Option<penstock_identity::Serial>,
    ) -> Self {
        Self { begun, banks, loader, from, reset, serial, next: None, coming: None }
    }

    /// Does a command. `pause` is called while it takes long.
    pub(in crate::bare) fn run(
        &mut self,
        work: Work,
        out: &mut dyn Write,
        pause: &mut dyn FnMut(),
    ) -> Result<After, Failure> {
        match work {
            Work::Version => told(self.version(out)),
            Work::Why => {
                told(self.why(out))?;
                self.slots(out)
            }
            Work::Slots => self.slots(out),
            Work::Verify(place) => self.verify(place, out, pause),
            Work::Boot(place) => self.boot(place),
            Work::Trial(place) => self.put_on_trial(place, out, true, pause),
            Work::ResetTries(place) => self.reset_tries(place, out, pause),
            Work::Reflash(place) => self.reflash(place),
            Work::StateDump => self.state_dump(out),
            Work::Restart => Ok(self.leave(Next::Restart)),
            Work::PowerOff => Ok(self.leave(Next::PowerOff)),
        }
    }

    const fn leave(&mut self, next: Next) -> After {
        self.next = Some(next);
        After::Leave
    }

    fn version(&self, out: &mut dyn Write) -> fmt::Result {
        writeln!(out, "{} {VERSION}", fail::program())?;
        writeln!(out, "board {} revision {}", BOARD.name, BOARD.revision)?;
        if let Some(from) = &self.from {
            let serial = self.serial.as_ref().map_or("none yet", penstock_identity::Serial::as_str);
            writeln!(out, "from slot {}, serial number {serial}", from.slot.letter())?;
        }
        writeln!(out, "runs for {} s", fail::since_reset_ms() / 1000)
    }

    fn why(&self, out: &mut dyn Write) -> fmt::Result {
        let (reason, mailbox) = self.reset;
        writeln!(out, "the last reset: {}", reason_name(reason))?;
        if let Some(mailbox) = mailbox {
            let (resets, turn) = (mailbox.resets, mailbox.turn);
            writeln!(out, "failures in a row before it: {resets}; turns of the rescue: {turn}")?;
        }
        memory::with_kept_report(|report| match report {
            Some(report) => writeln!(out, "the report of the last failure of the firmware:\n{report}"),
            None => writeln!(out, "no failure of the firmware is known"),
        })
    }

    pub(in crate::bare) fn slots(&self, out: &mut dyn Write) -> Result<After, Failure> {
        let journal = self.journal()?;
        let mut tell = || {
            if journal.newest().is_none() {
                let what =
                    if journal.is_corrupt() { "all records are damaged" } else { "nothing was recorded yet" };
                writeln!(out, "boot state: {what}, so that defaults hold")?;
            }
            show::slots(&state(&journal), out)
        };
        told(tell())
    }

    fn journal(&self) -> Result<Journal<Part<'a, Chips>>, Failure> {
        boot_state(self.banks).map_err(said)
    }

    fn verify(
        &mut self,
        place: Option<Place>,
        out: &mut dyn Write,
        pause: &mut dyn FnMut(),
    ) -> Result<After, Failure> {
        let all = Place::ALL;
        let mut failed = None;
        for place in all.into_iter().filter(|any| place.is_none_or(|one| one == *any)) {
            match self.load(place, pause) {
                Ok(()) => writeln!(out, "{place} may be started"),
                Err(failure) => {
                    let written = writeln!(out, "{place}: {failure}");
                    failed = Some(failure);
                    written
                }
            }
            .map_err(lost)?;
        }
        match failed {
            Some(failure) if place.is_some() => Err(failure),
            _ => Ok(After::Prompt),
        }
    }

    /// Reads a slot and verifies it.
    fn load(&mut self, place: Place, pause: &mut dyn FnMut()) -> Result<(), Failure> {
        let Place { kept, slot } = place;
        let floor = self.journal().map_or(0, |journal| state(&journal).pair(kept).floor);
        load((self.begun, self.banks), &mut self.loader, (kept, slot), floor, pause)
            .map_err(|rejected| failure(rejected.code(), rejected))
    }

    fn boot(&mut self, place: Option<Place>) -> Result<After, Failure> {
        let Some(place) = place else { return Ok(self.leave(Next::Boot)) };
        match (place.kept, self.from) {
            (Kept::Firmware, Some(_)) => {
                return Err(failure(NOT_THERE, "firmware is started by stage 0: try it with `trial`"));
            }
            (Kept::System, None) => return Err(failure(NOT_THERE, "stage 0 starts firmware alone")),
            _ => {}
        }
        self.load(place, &mut || {})?;
        Ok(self.leave(Next::BootOnce(place)))
    }

    fn reset_tries(
        &mut self,
        place: Place,
        out: &mut dyn Write,
        pause: &mut dyn FnMut(),
    ) -> Result<After, Failure> {
        let journal = self.journal()?;
        match state(&journal).pair(place.kept).condition(place.slot) {
            Condition::Failed(_) | Condition::Trial { .. } => self.put_on_trial(place, out, false, pause),
            Condition::Confirmed => Err(failure(NOT_SO, "it is confirmed, and needs no tries")),
            Condition::Empty => Err(failure(NOT_SO, "it is empty")),
        }
    }

    fn put_on_trial(
        &mut self,
        place: Place,
        out: &mut dyn Write,
        is_preferred: bool,
        pause: &mut dyn FnMut(),
    ) -> Result<After, Failure> {
        self.load(place, pause)?;
        let held = self.loader.loaded().map(|(_, manifest)| manifest.held).unwrap_or_default();
        let mut journal = self.journal()?;
        let next = put_on_trial(&state(&journal), place.kept, place.slot, held, is_preferred);
        journal.append(&next).map_err(|error| failure(error.code(), error))?;
        self.slots(out)
    }

    fn reflash(&mut self, place: Place) -> Result<After, Failure> {
        let part = self.banks.part(place.name()).map_err(said)?;
        let bytes_max = part.size_bytes().min(self.loader.memory().len()) as u64;
        self.coming = Some(Coming { place, len_bytes: 0 });
        Ok(After::Receive { bytes_max })
    }

    pub(in crate::bare) fn receive(&mut self, block: &[u8]) -> Result<(), Failure> {
        let coming = self.coming.as_mut().ok_or_else(|| failure(NOT_SO, "nothing is to come"))?;
        coming.take(&mut self.loader, block)
    }

    pub(in crate::bare) fn received(
        &mut self,
        out: &mut dyn Write,
        pause: &mut dyn FnMut(),
    ) -> Result<After, Failure> {
        let coming = self.coming.take().ok_or_else(|| failure(NOT_SO, "nothing was to come"))?;
        coming.write((self.begun, self.banks), &mut self.loader, out, pause)?;
        Ok(After::Prompt)
    }

    pub(in crate::bare) const fn receive_ended(&mut self) {
        self.coming = None;
    }

    fn state_dump(&self, out: &mut dyn Write) -> Result<After, Failure> {
        let mut part = self.banks.part("boot-state").map_err(said)?;
        let mut bytes = vec![0; part.len_bytes()];
        for sector in 0..part.count() {
            part.read(sector, 0, &mut bytes).map_err(|error| failure(error.code(), error))?;
            show::records(sector, &bytes, out).map_err(lost)?;
        }
        Ok(After::Prompt)
    }
}

fn told(written: fmt::Result) -> Result<After, Failure> {
    written.map_err(lost)?;
    Ok(After::Prompt)
}

pub(super) fn said(error: Error) -> Failure {
    failure(error.code(), error)
}
