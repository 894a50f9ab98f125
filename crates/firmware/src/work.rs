//! What the consoles of stage 0 and firmware both do.

use penstock_console::{Command, Place};

/// A command that either of them can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Tell which box and which software this is.
    Version,
    /// Tell what the last reset was, how the slots stand, what a failure left.
    Why,
    /// Tell how the slots stand.
    Slots,
    /// Verify a slot, or all of them.
    Verify(Option<Place>),
    /// Go on with the boot, or start that slot once.
    Boot(Option<Place>),
    /// Put a slot on trial.
    Trial(Place),
    /// Give a slot its tries back.
    ResetTries(Place),
    /// Take a bundle for a slot.
    Reflash(Place),
    /// Show the records of the boot state.
    StateDump,
    /// Start the box again.
    Restart,
    /// Switch it off.
    PowerOff,
}

impl Work {
    /// Which one a command is. `None` if it is none: the firmware's alone, or its console's.
    pub const fn of(command: Command<'_>) -> Option<Self> {
        Some(match command {
            Command::Version => Self::Version,
            Command::Why => Self::Why,
            Command::Slots => Self::Slots,
            Command::Verify(place) => Self::Verify(place),
            Command::Boot(place) => Self::Boot(place),
            Command::Trial(place) => Self::Trial(place),
            Command::ResetTries(place) => Self::ResetTries(place),
            Command::Reflash(place) => Self::Reflash(place),
            Command::StateDump => Self::StateDump,
            Command::Restart => Self::Restart,
            Command::PowerOff => Self::PowerOff,
            _ => return None,
        })
    }
}

/// A command of stage 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage0Work<'a> {
    /// List the commands, or that one.
    Help(&'a str),
    /// Tell how things stand.
    Status,
    /// Read lines without prompt and echo, or with.
    Script(bool),
    /// Leave the console.
    Exit,
    /// What the firmware does as well.
    Work(Work),
}

impl<'a> Stage0Work<'a> {
    /// Which one a command is. `None` if stage 0 does not do it; the table has none such for it.
    pub fn of(command: Command<'a>) -> Option<Self> {
        match command {
            Command::Help(name) => Some(Self::Help(name)),
            Command::Status => Some(Self::Status),
            Command::Script { on } => Some(Self::Script(on)),
            Command::Exit => Some(Self::Exit),
            command => Work::of(command).map(Self::Work),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;

    use penstock_console::{COMMANDS, Level, parse, parse_short};

    use super::*;

    /// A line that the command takes.
    fn line(name: &str, arguments: &str) -> String {
        let arguments = match arguments {
            "SLOT" => "firmware-b",
            "on|off" => "on",
            optional if optional.starts_with('[') || optional.is_empty() => "",
            other => panic!("{name} {other}: what does that take?"),
        };
        format!("{name} {arguments}")
    }

    #[test]
    fn stage_0_does_all_that_the_table_has_for_it() {
        let here = COMMANDS.iter().filter(|row| row.levels.contain(Level::Stage0));
        for row in here {
            let line = line(row.name, row.arguments);
            let command = parse_short(&line).unwrap().unwrap();
            assert!(Stage0Work::of(command).is_some(), "{line}");
        }
    }

    #[test]
    fn what_both_do_means_the_same_to_both() {
        for row in COMMANDS.iter().filter(|row| row.levels.contain(Level::Stage0)) {
            let line = line(row.name, row.arguments);
            let above = parse(&line, Level::Firmware).unwrap().map(|it| it.command);
            assert_eq!(above, parse_short(&line).unwrap(), "{line}");
        }
    }
}
