//! Where this start comes from, and whether it proves itself: what is on trial becomes good, or is gone back from.

use std::sync::Arc;
use std::time::{Duration, Instant};

use penstock_daemon::keeper::slots::{FirmwareTold, SlotsView, Software};
use penstock_daemon::keeper::{Done, How};
use penstock_slots::Cause;

use super::super::chosen::Told;
use super::super::gate::{Gate, Sight, Verdict};
use super::super::log::say;
use super::super::mailbox::Letterbox;
use super::super::requests::Answer;
use super::super::slots::{Slots, SlotsError};
use super::super::told;
use super::Keeper;

/// Where this start comes from.
pub(in super::super) struct Origin {
    chosen: Option<Told>,
    letterbox: Option<Letterbox>,
    slots: Arc<Slots>,
    gate: Gate,
    waits_for: Option<String>,
}

impl Origin {
    /// Finds out, and says it.
    pub(in super::super) fn find() -> Self {
        let chosen = Told::read();
        let letterbox = Letterbox::open().and_then(told);
        let slots = Arc::new(Slots::open(chosen.as_ref()));
        let origin = Self { chosen, letterbox, slots, gate: Gate::new(), waits_for: None };
        if let Some(view) = origin.view() {
            let mut told = sentence(&view);
            // The box may have gone back from one without a service that heard of it.
            origin.slots.failed().iter().for_each(|failed| told.push_str(&format!("; {failed}")));
            origin.slots.news().tell(&told);
        }
        origin
    }

    /// Whether a firmware hears of it when the box ends.
    pub(super) const fn has_firmware(&self) -> bool {
        self.letterbox.is_some()
    }

    pub(in super::super) fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    /// What the firmware told, as it is now.
    pub(super) fn view(&self) -> Option<FirmwareTold> {
        let mut view = self.chosen.as_ref()?.view(self.letterbox.as_ref().map(Letterbox::known));
        view.on_trial = self.slots.on_trial();
        Some(view)
    }

    fn slots_view(&self) -> SlotsView {
        SlotsView { started: self.view(), ..self.slots.view(self.waits_for.clone()) }
    }

    /// Leaves word why the box ends.
    pub(in super::super) fn announce(&mut self, cause: Cause) {
        if let Some(letterbox) = &mut self.letterbox {
            told(letterbox.announce(cause));
        }
    }

    fn calm(&mut self) {
        if let Some(letterbox) = &mut self.letterbox {
            told(letterbox.calm());
        }
    }
}

/// How this start came about.
fn sentence(view: &FirmwareTold) -> String {
    let FirmwareTold { firmware_version, firmware_slot, system_slot, .. } = view;
    let mut sentence = format!(
        "firmware {firmware_version} in slot {firmware_slot} has started the system in slot {system_slot}; before it: {}",
        view.reason
    );
    if !view.on_trial.is_empty() {
        let names = view.on_trial.iter().map(|software| software.name()).collect::<Vec<_>>().join(" and ");
        sentence.push_str(&format!("; on trial: {names}"));
    }
    if view.resets > 0 {
        sentence.push_str(&format!("; failures in a row: {}", view.resets));
    }
    sentence
}

impl Keeper {
    /// Looks whether this start has proved itself. How the box is to end, if it has not.
    pub(super) async fn prove(&mut self) -> Option<(How, &'static str)> {
        if self.origin.chosen.is_none() || self.origin.gate.is_decided() {
            return None;
        }
        let now = Instant::now();
        let network_is_up = match &self.network {
            Some(network) => network.is_up().await,
            None => false,
        };
        let sight = Sight {
            has_service: self.daemon.is_wanted(),
            is_well: self.daemon.is_well(now),
            // A service that does not run with settings on trial says nothing of what runs it.
            ends: self.daemon.ends().saturating_sub(self.ends_of_trials),
            volume_is_proven: self.daemon.has_proven_volume(),
            network_is_up,
        };
        let good_after = self.kept.as_ref().map_or(Duration::MAX, |kept| kept.settings.update.good_after);
        let is_trial = !self.origin.slots.on_trial().is_empty();
        match self.origin.gate.look(sight, is_trial, good_after, now) {
            Verdict::Wait(what) => {
                self.origin.waits_for = Some(what);
                None
            }
            Verdict::Passed => {
                self.origin.waits_for = None;
                self.origin.calm();
                if is_trial {
                    match self.origin.slots.mark_good() {
                        Ok(marked) => self.origin.slots.news().tell(&marked_words(&marked)),
                        Err(error) => say(&format!("{error}; it stays on trial")),
                    }
                }
                None
            }
            Verdict::GiveUp(why) => self.give_up(&why),
        }
    }

    /// Goes back from what is on trial.
    fn give_up(&mut self, why: &str) -> Option<(How, &'static str)> {
        let mut goes_back = false;
        for software in self.origin.slots.on_trial() {
            match self.origin.slots.roll_back(software) {
                Ok(slot) => {
                    goes_back = true;
                    let letter = slot.letter();
                    self.origin.slots.news().tell(&format!(
                        "PS-U020: the {} on trial is no good: {why}; back to slot {letter}",
                        software.name()
                    ));
                }
                Err(error) => say(&format!("{error}; the {} on trial stays: {why}", software.name())),
            }
        }
        goes_back.then_some((How::Restart, "what was on trial is gone back from"))
    }

    pub(super) fn answer_slots(&self, answer: Answer) {
        answer.give(Ok(self.origin.slots_view()));
    }

    /// Looks at all slots, on a thread of its own.
    pub(super) fn answer_verify(&self, answer: Answer) {
        let slots = Arc::clone(&self.origin.slots);
        tokio::task::spawn_blocking(move || answer.give(slots.verify().map_err(Into::into)));
    }

    pub(super) fn answer_mark_good(&self, answer: Answer) {
        let marked = self.origin.slots.mark_good().map(|marked| {
            let summary = marked_words(&marked);
            self.origin.slots.news().tell(&format!("{summary}, as the console asks"));
            Done { summary }
        });
        answer.give(marked.map_err(Into::into));
    }

    pub(super) fn answer_roll_back(&self, software: Software, answer: Answer) {
        let gone = self.origin.slots.roll_back(software).map(|slot| {
            let summary = format!("The next start is of the {} in slot {}.", software.name(), slot.letter());
            self.origin.slots.news().tell(&format!("{summary} The console asked for it"));
            Done { summary }
        });
        answer.give(gone.map_err(|error: SlotsError| error.into()));
    }
}

fn marked_words(marked: &[Software]) -> String {
    let names = marked.iter().map(|software| software.name()).collect::<Vec<_>>().join(" and ");
    format!("{names}: marked good")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_told_in_one_sentence() {
        let mut view = FirmwareTold {
            firmware_version: "0.1.0".into(),
            firmware_slot: "a".into(),
            system_slot: "b".into(),
            on_trial: Vec::new(),
            reason: "power".into(),
            resets: 0,
            rescue_turns: 0,
        };
        assert_eq!(
            sentence(&view),
            "firmware 0.1.0 in slot a has started the system in slot b; before it: power"
        );
        view.on_trial = vec![Software::Firmware, Software::System];
        view.resets = 2;
        let told = sentence(&view);
        assert!(told.ends_with("; on trial: firmware and system; failures in a row: 2"), "{told}");
    }
}
