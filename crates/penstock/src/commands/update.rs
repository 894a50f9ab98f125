//! `penstock update`: another system or firmware for the box. The first process of the box does it, which is asked directly:
//! it may be done at the box only.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use penstock_daemon::control::types::ErrorBody;
use penstock_daemon::keeper::slots::{
    self, Doing, Offer, PairView, Progress as Step, SlotView, SlotsView, UPDATE_SOCKET, Updated, VerifiedView,
};
use penstock_daemon::keeper::{self, Done, How, Request};
use serde::de::DeserializeOwned;

use super::write_json;
use crate::args::{Update, UpdateWhat};
use crate::failure::{Exit, Failure};
use crate::text::Screen;
use crate::text::human::{count, plain, size};
use crate::text::progress::Progress;

pub(super) fn run(update: Update, screen: &mut Screen) -> Result<(), Failure> {
    match update {
        Update { what: Some(UpdateWhat::Status { json }), .. } => status(json, screen),
        Update { what: Some(UpdateWhat::Verify { json }), .. } => verify(json, screen),
        Update { what: Some(UpdateWhat::MarkGood), .. } => act(&Request::MarkGood, screen),
        Update { what: Some(UpdateWhat::Rollback { software, reboot }), .. } => {
            act(&Request::RollBack { software: software.into() }, screen)?;
            restart(reboot, screen)
        }
        Update { file: Some(file), reboot, json, .. } => from_file(&file, reboot, json, screen),
        Update { file: None, .. } => status(false, screen),
    }
}

fn from_file(path: &Path, reboot: bool, json: bool, screen: &mut Screen) -> Result<(), Failure> {
    let unreadable = |error: io::Error| Failure::file(path, "read", &error);
    if path == Path::new("-") {
        return install(&Offer::Stream, &mut io::stdin().lock(), None, reboot, json, screen);
    }
    let found = fs::metadata(path).map_err(unreadable)?;
    if found.file_type().is_block_device() {
        let device = Offer::Device { path: path.display().to_string() };
        return install(&device, &mut io::empty(), None, reboot, json, screen);
    }
    let mut file = File::open(path).map_err(unreadable)?;
    install(&Offer::Stream, &mut file, Some(found.len()), reboot, json, screen)
}

/// Gives a bundle to the box, and tells what comes of it. `bytes` may come from anywhere; `len_bytes` is how many, if that is
/// known.
pub(crate) fn install(
    offer: &Offer,
    bytes: &mut dyn Read,
    len_bytes: Option<u64>,
    reboot: bool,
    json: bool,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let mut shown = Shown { doing: None, progress: None, json };
    let heard = |mut step: Step| {
        if step.all_bytes == 0 {
            step.all_bytes = len_bytes.unwrap_or(0);
        }
        shown.at(step);
    };
    let updated = slots::update(Path::new(UPDATE_SOCKET), offer, bytes, heard).map_err(told)?;
    drop(shown);
    if json {
        write_json(&updated, screen)?;
    } else {
        let Updated { software, slot, version } = &updated;
        writeln!(
            screen,
            "The {} {} stands in slot {slot}, as it was signed. The next start tries it; `penstock update status` tells what \
             is waited for then.",
            software.name(),
            plain(version)
        )?;
    }
    restart(reboot, screen)
}

/// What is shown of an update while it goes on.
struct Shown {
    doing: Option<Doing>,
    progress: Option<Progress>,
    json: bool,
}

impl Shown {
    fn at(&mut self, step: Step) {
        if self.doing != Some(step.doing) {
            let label = match step.doing {
                Doing::Receiving => "reading",
                Doing::Verifying => "verifying",
                Doing::Writing => "writing",
                Doing::Comparing => "comparing",
            };
            // The one before it ends its line first.
            self.progress = None;
            self.progress = Some(Progress::new(label, self.json));
            self.doing = Some(step.doing);
        }
        match &mut self.progress {
            Some(progress) if step.all_bytes == 0 => progress.so_far(&size(step.done_bytes)),
            Some(progress) => progress.at(step.done_bytes, step.all_bytes),
            None => {}
        }
    }
}

/// How the slots stand.
pub(crate) fn status(json: bool, screen: &mut Screen) -> Result<(), Failure> {
    let view: SlotsView = ask(&Request::Slots)?;
    if json { write_json(&view, screen) } else { tell(&view, screen) }
}

/// Whether all that stands in the slots is what was signed.
pub(crate) fn verify(json: bool, screen: &mut Screen) -> Result<(), Failure> {
    let views: Vec<VerifiedView> = ask(&Request::Verify)?;
    if json {
        return write_json(&views, screen);
    }
    for VerifiedView { software, slot, version, rejected } in &views {
        let found = match (rejected, version) {
            (Some(rejected), _) => rejected.clone(),
            (None, Some(version)) => format!("{version}, as it was signed"),
            (None, None) => "as it was signed".into(),
        };
        writeln!(screen, "{:<12}{}", format!("{}-{slot}", software.name()), plain(&found))?;
    }
    Ok(())
}

/// What runs on a box, in a line for whoever asks how things stand. `None` on a host, and where nobody can say.
pub(crate) fn short() -> Option<String> {
    if !Path::new(keeper::SOCKET).exists() {
        return None;
    }
    let SlotsView { started, waits_for, .. } = ask(&Request::Slots).ok()?;
    let started = started?;
    let mut line = format!(
        "system in slot {}, firmware {} in slot {}",
        started.system_slot, started.firmware_version, started.firmware_slot
    );
    if !started.on_trial.is_empty() {
        let names = started.on_trial.iter().map(|software| software.name()).collect::<Vec<_>>().join(" and ");
        line.push_str(&format!("; on trial: {names}"));
    }
    if let Some(waits_for) = waits_for {
        line.push_str(&format!(", until {waits_for}"));
    }
    Some(line)
}

fn tell(view: &SlotsView, screen: &mut Screen) -> Result<(), Failure> {
    for PairView { software, floor, slots } in &view.pairs {
        writeln!(screen, "{} (none below security version {floor} is started)", software.name())?;
        for slot in slots {
            writeln!(screen, "  {}", plain(&slot_line(slot)))?;
        }
    }
    if let Some(started) = &view.started {
        writeln!(screen, "This start: {}", plain(&started.reason))?;
    }
    if let Some(waits_for) = &view.waits_for {
        writeln!(screen, "On trial; waited for: {}", plain(waits_for))?;
    }
    match (&view.update, &view.last_update) {
        (Some(step), _) => writeln!(screen, "An update is under way: {}", plain(&step_line(step)))?,
        (None, Some(last)) => writeln!(screen, "The last update: {}", plain(last))?,
        (None, None) => {}
    }
    for warning in &view.warnings {
        writeln!(screen, "WARNING: {}", plain(warning))?;
    }
    Ok(())
}

fn slot_line(slot: &SlotView) -> String {
    let version = match (&slot.version, slot.security_version) {
        (Some(version), Some(security)) => format!("{version} (security version {security})"),
        _ => "nothing".into(),
    };
    let mut line = format!("{}  {:<10} {version}", slot.slot, slot.condition);
    if let Some(detail) = &slot.detail {
        line.push_str(&format!("; {detail}"));
    }
    if slot.runs {
        line.push_str("; runs");
    }
    if slot.preferred {
        line.push_str("; started first");
    }
    line
}

fn step_line(step: &Step) -> String {
    let doing = match step.doing {
        Doing::Receiving => "read",
        Doing::Verifying => "verified",
        Doing::Writing => "written",
        Doing::Comparing => "compared",
    };
    if step.all_bytes == 0 {
        return format!("{} bytes {doing}", count(step.done_bytes));
    }
    format!("{} of {} bytes {doing}", count(step.done_bytes), count(step.all_bytes))
}

fn restart(reboot: bool, screen: &mut Screen) -> Result<(), Failure> {
    if reboot { act(&Request::End { how: How::Restart }, screen) } else { Ok(()) }
}

fn act(request: &Request, screen: &mut Screen) -> Result<(), Failure> {
    let done: Done = ask(request)?;
    Ok(writeln!(screen, "{}", plain(&done.summary))?)
}

fn ask<T: DeserializeOwned>(request: &Request) -> Result<T, Failure> {
    keeper::ask(Path::new(keeper::SOCKET), request).map_err(told)
}

fn told(why: ErrorBody) -> Failure {
    Failure::Told(Exit::Failed, why)
}

#[cfg(test)]
mod tests {
    use penstock_daemon::keeper::slots::{FirmwareTold, Software};

    use super::*;

    fn slot(letter: &str, condition: &str, version: Option<&str>) -> SlotView {
        SlotView {
            slot: letter.into(),
            runs: letter == "b",
            preferred: letter == "b",
            condition: condition.into(),
            detail: None,
            version: version.map(ToOwned::to_owned),
            security_version: version.map(|_| 1),
        }
    }

    #[test]
    fn the_slots_are_told_a_line_each() {
        let view = SlotsView {
            started: Some(FirmwareTold {
                firmware_version: "0.1.0".into(),
                firmware_slot: "a".into(),
                system_slot: "b".into(),
                on_trial: vec![Software::System],
                reason: "asked".into(),
                resets: 0,
                rescue_turns: 0,
            }),
            pairs: vec![PairView {
                software: Software::System,
                floor: 1,
                slots: vec![slot("a", "confirmed", Some("0.1.0")), slot("b", "trial", None)],
            }],
            warnings: vec!["the state is damaged".into()],
            update: Some(Step { doing: Doing::Writing, done_bytes: 5, all_bytes: 9 }),
            last_update: None,
            waits_for: Some("the network".into()),
        };
        let mut screen = Screen::keeping();
        tell(&view, &mut screen).unwrap();
        let text = screen.take();
        for line in [
            "system (none below security version 1 is started)",
            "  a  confirmed  0.1.0 (security version 1)\n",
            "  b  trial      nothing; runs; started first\n",
            "This start: asked",
            "On trial; waited for: the network",
            "An update is under way: 5 of 9 bytes written",
            "WARNING: the state is damaged",
        ] {
            assert!(text.contains(line), "{line} is missing:\n{text}");
        }
    }
}
