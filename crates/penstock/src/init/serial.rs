//! Which box this is, as the file says that is made of its identity sector.

use std::fs;

use penstock_daemon::control::types::ErrorBody;
use penstock_settings::entries;

/// The file: TOML with `serial`, `mac`, `board` and `hostname`.
pub(crate) const FILE: &str = "/run/identity";

/// One of its facts.
pub(crate) fn fact(name: &str) -> Option<String> {
    of(&fs::read_to_string(FILE).ok()?, name)
}

fn of(text: &str, name: &str) -> Option<String> {
    let value = entries(text).into_iter().find(|entry| entry.key == name)?.value;
    let value = value.trim_matches(['"', '\'']).trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// Whether this is the serial number of the box, typed by somebody who is about to do what cannot be undone.
pub(super) fn check(typed: &str) -> Result<(), ErrorBody> {
    match fact("serial") {
        Some(serial) if serial == typed => Ok(()),
        Some(_) => Err(refusal(
            "PS-I084",
            "that is not the serial number of this box",
            "`version` shows it. Nothing was changed.",
        )),
        None => Err(refusal(
            "PS-I087",
            "this box has no serial number",
            "Its identity sector is empty or cannot be read, so that nobody can confirm which box is meant. Nothing was \
             changed.",
        )),
    }
}

fn refusal(code: &str, message: &str, help: &str) -> ErrorBody {
    ErrorBody { code: code.into(), message: message.into(), help: help.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_serial_number_is_read_from_the_file() {
        let text = "serial = \"PS-00042\"\nmac = \"52:54:00:12:34:56\"\nboard = \"qemu-virt\"\n";
        assert_eq!(of(text, "serial").as_deref(), Some("PS-00042"));
        assert_eq!(of(text, "hostname"), None);
        assert_eq!(of("serial = \"\"\n", "serial"), None);
    }
}
