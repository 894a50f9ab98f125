//! `why`: how the last starts of the box came about, in sentences.
//!
//! Only what is known is said. The ledger has every start and every stop in order of the service, with the reason of the stop;
//! the first process knows what the firmware told, how the service fared since this start, and whether the hardware watchdog
//! says that it was it. A box that was started without its firmware knows less of that: power that was lost and a kernel that
//! panicked leave no trace of their own there.

use std::io::Write as _;
use std::path::Path;

use penstock_daemon::control::types::{EventFilter, EventView, PAGE_ROWS_MAX};
use penstock_daemon::keeper::slots::FirmwareTold;
use penstock_daemon::keeper::{self, Request, Start};

use crate::client::Client;
use crate::commands::await_it;
use crate::failure::Failure;
use crate::text::Screen;
use crate::text::human::{count, moment, plain};

/// Starts that are told.
const STARTS_TOLD: usize = 8;

pub(super) fn why(screen: &mut Screen) -> Result<(), Failure> {
    match keeper::ask::<Start>(Path::new(keeper::SOCKET), &Request::Start) {
        Ok(start) => {
            for sentence in since_this_start(&start) {
                writeln!(screen, "{}", plain(&sentence))?;
            }
        }
        Err(why) => writeln!(screen, "{}", plain(&why.message))?,
    }
    let filter = |kind: &str| EventFilter { message: None, kind: Some(kind.into()), limit: PAGE_ROWS_MAX };
    let client = Client::new(None);
    let asked = await_it(async {
        let started = client.events(&filter("started")).await?;
        let stopped = client.events(&filter("stopped")).await?;
        Ok::<_, Failure>((started.events, stopped.events))
    })?;
    match asked {
        Ok((started, stopped)) => {
            for sentence in starts(&started, &stopped) {
                writeln!(screen, "{}", plain(&sentence))?;
            }
        }
        Err(failure) => writeln!(screen, "The ledger cannot be asked: {}", plain(&failure.to_string()))?,
    }
    Ok(())
}

fn since_this_start(start: &Start) -> Vec<String> {
    let mut sentences: Vec<String> = start.firmware.as_ref().map(from_firmware).unwrap_or_default();
    if start.by_watchdog == Some(true) {
        sentences.push("The hardware watchdog reset the box: the service had not been well for long, or the system hung.".into());
    }
    sentences.push(match start.service_ends {
        0 => "The service has not failed since the box was started.".into(),
        1 => "The service has failed once since the box was started.".into(),
        n => format!("The service has failed {} times since the box was started.", count(n.into())),
    });
    if let Some(how) = &start.last_end {
        sentences.push(format!("It ended last with {how}."));
    }
    sentences
}

/// What the firmware told of this start.
fn from_firmware(told: &FirmwareTold) -> Vec<String> {
    let mut sentences = vec![match told.reason.as_str() {
        "power" => "The power had been off.".into(),
        "asked" => "Somebody had asked for the restart.".into(),
        "watchdog" => {
            "The system had failed: it was reset without a word, as by the watchdog or a kernel that panics."
                .into()
        }
        "panic" => "The first process of the box had failed.".into(),
        "firmware" => "The firmware had failed.".into(),
        "service" => "The service had failed again and again, so that the box was started again.".into(),
        "rescue-turn" => "The rescue had taken mail, and its turn was over.".into(),
        other => format!("The firmware names as the reason of the reset: {other}."),
    }];
    sentences.push(format!(
        "Firmware {} in slot {} has started the system in slot {}.",
        told.firmware_version, told.firmware_slot, told.system_slot
    ));
    for software in &told.on_trial {
        sentences.push(format!("The {} is on trial: `slots` tells what is waited for.", software.name()));
    }
    if told.resets > 0 {
        sentences.push(format!(
            "Failures in a row: {}. After the third within 30 min the rescue takes the mail for a while.",
            told.resets
        ));
    }
    if told.rescue_turns > 0 {
        let turns = count(told.rescue_turns.into());
        sentences.push(format!("Turns of the rescue since the system last stayed up: {turns}."));
    }
    sentences
}

/// The last starts of the service, the newest first.
fn starts(started: &[EventView], stopped: &[EventView]) -> Vec<String> {
    let sentence = |start: &EventView| {
        let when = if start.clock_trusted { moment(start.at_unix_ms) } else { "at a time not known".into() };
        // Each mount of the volume has a number, and the ledger one start and at most one stop for each.
        let before = stopped.iter().find(|stop| stop.boot + 1 == start.boot);
        let how = match before.map(|stop| stop.text.as_str()) {
            Some(text) => match text.split_once(": ") {
                Some((_, reason)) => format!("it had been stopped in order: {reason}"),
                None => "it had been stopped in order".into(),
            },
            None if start.boot <= 1 => "for the first time on this volume".into(),
            None => {
                "it had not been stopped: the power was lost, the box was reset, or the service failed".into()
            }
        };
        format!("{when}  the service started ({}): {how}", start.boot)
    };
    started.iter().rev().take(STARTS_TOLD).map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use penstock_daemon::keeper::slots::Software;

    use super::*;

    fn event(boot: u32, text: &str) -> EventView {
        EventView {
            at_unix_ms: 1_772_330_400_000,
            clock_trusted: false,
            boot,
            kind: String::new(),
            message: None,
            text: text.into(),
        }
    }

    #[test]
    fn a_start_after_a_stop_has_its_reason_and_one_without_says_what_is_not_known() {
        let started = [event(1, "started"), event(2, "started"), event(3, "started")];
        let stopped = [event(1, "stopped: power-off, the power key was pressed")];
        let told = starts(&started, &stopped);
        assert!(told[0].contains("it had not been stopped"), "{told:?}");
        assert!(
            told[1].ends_with("it had been stopped in order: power-off, the power key was pressed"),
            "{told:?}"
        );
        assert!(told[2].ends_with("for the first time on this volume"), "{told:?}");
    }

    #[test]
    fn what_the_firmware_told_comes_first() {
        let told = FirmwareTold {
            firmware_version: "0.1.0".into(),
            firmware_slot: "a".into(),
            system_slot: "b".into(),
            on_trial: vec![Software::System],
            reason: "rescue-turn".into(),
            resets: 0,
            rescue_turns: 2,
        };
        let told = since_this_start(&Start { firmware: Some(told), ..Start::default() });
        assert!(told[0].contains("rescue had taken mail"), "{told:?}");
        assert!(told[1].contains("system in slot b") && told[2].contains("system is on trial"), "{told:?}");
        assert!(told[3].contains("rescue since the system last stayed up: 2"), "{told:?}");
    }

    #[test]
    fn the_watchdog_is_named_only_if_it_says_so() {
        let last_end = Some("signal 9".into());
        let start = Start { by_watchdog: Some(true), service_ends: 1, last_end, firmware: None };
        let told = since_this_start(&start).join(" ");
        assert!(
            told.contains("watchdog reset the box")
                && told.contains("failed once")
                && told.contains("signal 9")
        );
        assert!(!since_this_start(&Start::default()).join(" ").contains("watchdog"));
    }
}
