//! What the firmware tells of this start, in the device tree. Something else may have started the kernel: then there is
//! nothing of it, and the box goes on without.

use std::fs;
use std::path::Path;

use penstock_daemon::keeper::slots::{FirmwareTold, Software};
use penstock_slots::{Mailbox, Slot};

use super::slots::Running;

/// Where the kernel has what stands in `/chosen`.
const CHOSEN: &str = "/sys/firmware/devicetree/base/chosen";
/// The longest of its texts that is believed, in bytes.
const TEXT_BYTES_MAX: usize = 64;

/// What was told.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) firmware_version: String,
    pub(super) running: Running,
    pub(super) on_trial: Vec<Software>,
    pub(super) reason: String,
}

impl Told {
    /// Reads it.
    pub(super) fn read() -> Option<Self> {
        Self::read_in(Path::new(CHOSEN))
    }

    fn read_in(chosen: &Path) -> Option<Self> {
        let text = |name: &str| {
            let bytes = fs::read(chosen.join(format!("penstock,{name}"))).ok()?;
            // A text ends with a zero.
            let bytes = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
            let text = String::from_utf8(bytes.to_vec()).ok()?;
            (text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control)).then_some(text)
        };
        let slot = |name: &str| {
            let letter = text(name)?;
            Slot::BOTH.into_iter().find(|slot| letter == slot.letter().to_string())
        };
        let running = Running { system: slot("system-slot")?, firmware: slot("firmware-slot")? };
        let trial = text("trial").unwrap_or_default();
        let is_on_trial = |software: &Software| trial.split(' ').any(|word| word == software.name());
        Some(Self {
            firmware_version: text("firmware-version").unwrap_or_else(|| "unknown".into()),
            running,
            on_trial: [Software::Firmware, Software::System].into_iter().filter(is_on_trial).collect(),
            reason: text("reason").unwrap_or_else(|| "unknown".into()),
        })
    }

    /// As it is told to others, with what the mailbox says.
    pub(super) fn view(&self, mailbox: Option<Mailbox>) -> FirmwareTold {
        FirmwareTold {
            firmware_version: self.firmware_version.clone(),
            firmware_slot: self.running.firmware.letter().to_string(),
            system_slot: self.running.system.letter().to_string(),
            on_trial: self.on_trial.clone(),
            reason: self.reason.clone(),
            resets: mailbox.map_or(0, |mailbox| mailbox.resets),
            rescue_turns: mailbox.map_or(0, |mailbox| mailbox.turn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(texts: &[(&str, &[u8])]) -> Option<Told> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in texts {
            fs::write(folder.path().join(format!("penstock,{name}")), text).unwrap();
        }
        Told::read_in(folder.path())
    }

    #[test]
    fn what_the_firmware_tells_is_read() {
        let told = chosen(&[
            ("firmware-version", b"0.1.0\0"),
            ("firmware-slot", b"a\0"),
            ("system-slot", b"b\0"),
            ("trial", b"system firmware\0"),
            ("reason", b"watchdog\0"),
        ])
        .unwrap();
        assert_eq!(told.running, Running { system: Slot::B, firmware: Slot::A });
        assert_eq!(told.on_trial, [Software::Firmware, Software::System]);
        let view = told.view(Some(Mailbox { resets: 2, turn: 1, ..Mailbox::NEW }));
        assert_eq!((view.reason.as_str(), view.resets, view.rescue_turns), ("watchdog", 2, 1));
        assert_eq!((view.system_slot.as_str(), view.firmware_version.as_str()), ("b", "0.1.0"));
    }

    #[test]
    fn without_a_firmware_nothing_is_told_and_what_makes_no_sense_is_not_believed() {
        assert!(chosen(&[]).is_none());
        assert!(chosen(&[("system-slot", b"a\0")]).is_none(), "half of it is not enough");
        assert!(chosen(&[("system-slot", b"c\0"), ("firmware-slot", b"a\0")]).is_none());
        let long = [b'x'; TEXT_BYTES_MAX + 1];
        let told = chosen(&[
            ("system-slot", b"a\0"),
            ("firmware-slot", b"b\0"),
            ("trial", b"\0"),
            ("reason", b"\x1b[2J\0"),
            ("firmware-version", &long),
        ])
        .unwrap();
        assert!(told.on_trial.is_empty());
        assert_eq!((told.reason.as_str(), told.firmware_version.as_str()), ("unknown", "unknown"));
    }
}
