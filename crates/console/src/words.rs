//! A line taken apart: commands and their arguments, each within its bounds.

use core::fmt;
use core::net::IpAddr;

use penstock_slots::{Kept, Slot};

use crate::failure::Failure;
use crate::failure::codes::{NOT_SHOWN, NOT_UNDERSTOOD};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// List what can be typed, or explain a command. The console does that itself.
    Help(&'a str),
    /// Tell how things stand.
    Status,
    /// Tell which box and which software this is.
    Version,
    /// Tell why the box started, the last times.
    Why,
    /// Show the newest so many lines of what was said.
    Journal {
        /// So many.
        lines: u16,
    },
    /// Show what is counted.
    Counters,
    /// Show what the device tree says.
    Dt,
    /// Tell how much memory there is.
    Mem,
    /// Tell what time it is.
    Clock,
    /// Tell how the slots stand.
    Slots,
    /// Verify a slot, or all of them.
    Verify(Option<Place>),
    /// Start that slot once, or go on with the boot as the policy has it.
    Boot(Option<Place>),
    /// Put a slot on trial.
    Trial(Place),
    /// Give a slot its tries back.
    ResetTries(Place),
    /// Tell what the chips say they are.
    FlashInfo,
    /// Erase, write and read the scratch sector.
    FlashTest,
    /// Show bytes of a partition.
    FlashDump {
        /// One of [`DUMPED`].
        partition: &'static str,
        /// From here, in bytes.
        offset: u32,
        /// So many, at most [`DUMP_BYTES_MAX`].
        bytes: u32,
    },
    /// Show the records of the boot state.
    StateDump,
    /// Take a bundle for a slot over this line. The machine answers [`After::Receive`](crate::After::Receive).
    Reflash(Place),
    /// Tell how the volumes stand.
    Spool,
    /// Show interface, addresses and router.
    Net,
    /// Show who of the local network has answered.
    Arp,
    /// Ask whether a machine is there.
    Ping {
        /// Its address.
        host: IpAddr,
        /// How many times.
        count: u16,
    },
    /// Ask each next hop for its greeting.
    Smtp,
    /// Take mail.
    RescueStart,
    /// Stop taking mail.
    RescueStop,
    /// Write all that support asks for.
    Report,
    /// Show the settings, or one of them.
    ConfigShow {
        /// Which.
        key: Option<&'a str>,
    },
    /// Lines without prompt and echo, or with. The console does that itself.
    Script {
        /// Without.
        on: bool,
    },
    /// Start the box again.
    Restart,
    /// Switch it off.
    PowerOff,
    /// Leave the console. The console does that itself.
    Exit,
}

/// A slot by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Of which pair.
    pub kept: Kept,
    /// Which of the two.
    pub slot: Slot,
}

impl Place {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self { kept: Kept::Firmware, slot: Slot::A },
        Self { kept: Kept::Firmware, slot: Slot::B },
        Self { kept: Kept::System, slot: Slot::A },
        Self { kept: Kept::System, slot: Slot::B },
    ];

    /// Its name, which is that of its partition.
    pub const fn name(self) -> &'static str {
        match (self.kept, self.slot) {
            (Kept::Firmware, Slot::A) => "firmware-a",
            (Kept::Firmware, Slot::B) => "firmware-b",
            (Kept::System, Slot::A) => "system-a",
            (Kept::System, Slot::B) => "system-b",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The partitions of which bytes are shown. The others hold mail, keys and passwords.
pub const DUMPED: [&str; 7] =
    ["stage0", "boot-state", "scratch", "firmware-a", "firmware-b", "system-a", "system-b"];

/// So many bytes are shown at once: half a minute of the line.
pub const DUMP_BYTES_MAX: u32 = 64 * 1024;

/// The words of a line that are still to be read.
#[derive(Clone, Debug)]
pub(crate) struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    pub(crate) const fn new(line: &'a str) -> Self {
        Self(line.trim_ascii())
    }

    /// All that is left, as it was typed.
    pub(crate) const fn rest(&mut self) -> &'a str {
        let rest = self.0;
        self.0 = "";
        rest
    }

    pub(crate) fn required(&mut self, what: &str) -> Result<&'a str, Failure> {
        self.next().ok_or_else(|| Failure::new(NOT_UNDERSTOOD, format_args!("{what} is missing")))
    }

    /// Nothing may be left.
    pub(crate) fn end(&mut self) -> Result<(), Failure> {
        self.next()
            .map_or(Ok(()), |word| Err(Failure::new(NOT_UNDERSTOOD, format_args!("`{word}` is too much"))))
    }

    pub(crate) fn slot(&mut self) -> Result<Place, Failure> {
        let word = self.required("SLOT")?;
        Place::ALL.into_iter().find(|place| place.name() == word).ok_or_else(|| {
            Failure::new(
                NOT_UNDERSTOOD,
                format_args!("`{word}` is no slot; they are firmware-a, firmware-b, system-a and system-b"),
            )
        })
    }

    pub(crate) fn slot_or_none(&mut self) -> Result<Option<Place>, Failure> {
        if self.0.is_empty() { Ok(None) } else { self.slot().map(Some) }
    }

    /// The slot of `SLOT once`, if there is one.
    pub(crate) fn slot_once(&mut self) -> Result<Option<Place>, Failure> {
        let Some(place) = self.slot_or_none()? else { return Ok(None) };
        match self.next() {
            Some("once") => Ok(Some(place)),
            _ => Err(Failure::new(NOT_UNDERSTOOD, format_args!("`boot {place} once` starts it once"))),
        }
    }

    /// A number that may be left out, decimal or with 0x before it.
    pub(crate) fn number(&mut self, what: &str, from: u32, to: u32, default: u32) -> Result<u32, Failure> {
        let Some(word) = self.next() else { return Ok(default) };
        let parsed = match word.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => word.parse(),
        };
        parsed.ok().filter(|number| (from..=to).contains(number)).ok_or_else(|| {
            Failure::new(NOT_UNDERSTOOD, format_args!("{what} is a number from {from} to {to}, not `{word}`"))
        })
    }

    pub(crate) fn partition(&mut self) -> Result<&'static str, Failure> {
        let word = self.required("PARTITION")?;
        DUMPED.into_iter().find(|name| *name == word).ok_or_else(|| {
            Failure::new(
                NOT_SHOWN,
                format_args!("`{word}` is not shown: of other partitions there is no dump"),
            )
        })
    }

    /// The switch of a command.
    pub(crate) fn on_or_off(&mut self) -> Result<bool, Failure> {
        match self.required("on or off")? {
            "on" => Ok(true),
            "off" => Ok(false),
            word => Err(Failure::new(NOT_UNDERSTOOD, format_args!("on or off, not `{word}`"))),
        }
    }

    pub(crate) fn ping(&mut self) -> Result<Command<'a>, Failure> {
        let (mut host, mut count) = (None, 4);
        while let Some(word) = self.next() {
            match word {
                "--count" | "-c" => count = self.after("--count", 1, 10_000)? as u16,
                _ if word.starts_with('-') || host.is_some() => return Err(unknown(word)),
                _ => {
                    let parsed = word.parse().map_err(|_| {
                        Failure::new(
                            NOT_UNDERSTOOD,
                            format_args!("`{word}` is no address: names are not looked up here"),
                        )
                    })?;
                    host = Some(parsed);
                }
            }
        }
        let host = host.ok_or_else(|| Failure::new(NOT_UNDERSTOOD, "HOST is missing"))?;
        Ok(Command::Ping { host, count })
    }

    /// The number that has to follow an option.
    fn after(&mut self, option: &str, from: u32, to: u32) -> Result<u32, Failure> {
        if self.0.is_empty() {
            return Err(Failure::new(NOT_UNDERSTOOD, format_args!("{option} wants a number")));
        }
        self.number(option, from, to, from)
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let end = self.0.find(|c: char| c.is_ascii_whitespace()).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest.trim_ascii_start();
        (!word.is_empty()).then_some(word)
    }
}

fn unknown(option: &str) -> Failure {
    Failure::new(NOT_UNDERSTOOD, format_args!("`{option}` means nothing here"))
}
