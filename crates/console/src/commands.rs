//! The table of commands: the one place that says what can be typed.

use crate::levels::Levels;
use crate::table::{Definition, Group, TypedBack};
use crate::words::{Command, DUMP_BYTES_MAX};

/// What a definition has unless it says otherwise.
const NEW: Definition = Definition {
    name: "",
    aliases: &[],
    group: Group::Look,
    arguments: "",
    about: "",
    more: "",
    levels: Levels::NONE,
    typed_back: None,
    reads: None,
};

/// Every command that more than one console has, and every one that userland's console has beside those of the command
/// line. In the order in which the help lists them.
pub static COMMANDS: &[Definition] = ROWS;

/// The same, for what is made of it when this is compiled.
pub(crate) const ROWS: &[Definition] = &[
    // --- look
    Definition {
        name: "help",
        aliases: &[("?", Levels::LOWER)],
        arguments: "[COMMAND]",
        about: "List what can be typed, or explain a command",
        more: "\
Examples:
  help
  help status",
        levels: Levels::ALL,
        reads: Some(|words| Ok(Command::Help(words.rest()))),
        ..NEW
    },
    Definition {
        name: "status",
        about: "Tell how things stand: is the mail safe, what runs, what is wrong",
        more: "\
Examples:
  status",
        levels: Levels::ALL,
        reads: Some(|_| Ok(Command::Status)),
        ..NEW
    },
    Definition {
        name: "version",
        about: "Tell which box and which software this is, and for how long it has run",
        more: "\
Examples:
  version    also shows the serial number, which some commands want typed back",
        levels: Levels::ALL,
        reads: Some(|_| Ok(Command::Version)),
        ..NEW
    },
    Definition {
        name: "why",
        about: "Tell why the box and the service started, the last times",
        more: "\
Examples:
  why    what came of each slot, and what the last reset was",
        levels: Levels::ALL,
        reads: Some(|_| Ok(Command::Why)),
        ..NEW
    },
    Definition {
        name: "journal",
        aliases: &[("log", Levels::LOWER)],
        arguments: "[LINES]",
        about: "Show the newest lines of what the service has said",
        more: "\
`events`, which Linux has, is the ledger on the volume.

Examples:
  journal
  journal 200",
        levels: Levels::UPPER,
        reads: Some(|words| Ok(Command::Journal { lines: words.number("LINES", 1, 1000, 20)? as u16 })),
        ..NEW
    },
    Definition {
        name: "counters",
        about: "Show what is counted",
        more: "\
Examples:
  counters    names and numbers, as Prometheus would read them",
        levels: Levels::UPPER,
        reads: Some(|_| Ok(Command::Counters)),
        ..NEW
    },
    Definition {
        name: "dt",
        about: "Tell which machine this is, as the device tree describes it",
        more: "\
Examples:
  dt",
        levels: Levels::UPPER,
        reads: Some(|_| Ok(Command::Dt)),
        ..NEW
    },
    Definition {
        name: "mem",
        about: "Tell how much memory there is",
        more: "\
Examples:
  mem",
        levels: Levels::UPPER,
        reads: Some(|_| Ok(Command::Mem)),
        ..NEW
    },
    Definition {
        name: "clock",
        about: "Tell what time it is, and whether that can be believed",
        more: "\
Examples:
  clock",
        levels: Levels::UPPER,
        reads: Some(|_| Ok(Command::Clock)),
        ..NEW
    },
    // --- slots
    Definition {
        name: "slots",
        group: Group::Slots,
        about: "Tell how the slots stand: what each holds, whether it is confirmed, on trial or failed",
        more: "\
Examples:
  slots",
        levels: Levels::ALL,
        reads: Some(|_| Ok(Command::Slots)),
        ..NEW
    },
    Definition {
        name: "verify",
        group: Group::Slots,
        arguments: "[SLOT]",
        about: "Read a slot, or all of them, and tell whether it may be started",
        more: "\
Nothing is written down of what this finds. Where Linux runs, it is always all
of them.

Examples:
  verify
  verify system-b    in the firmware and in stage 0",
        levels: Levels::ALL,
        reads: Some(|words| Ok(Command::Verify(words.slot_or_none()?))),
        ..NEW
    },
    Definition {
        name: "boot",
        group: Group::Slots,
        arguments: "[SLOT once]",
        about: "Go on with the boot, or start a certain slot this once",
        more: "\
A slot that does not verify is not started, whoever asks. Which slot is started
the next time stays as it is.

Examples:
  boot                    as it would have gone by itself
  boot system-b once",
        levels: Levels::LOWER,
        reads: Some(|words| Ok(Command::Boot(words.slot_once()?))),
        ..NEW
    },
    Definition {
        name: "trial",
        group: Group::Slots,
        arguments: "SLOT",
        about: "Have a slot tried first from the next start on; it has to prove itself",
        more: "\
It has three starts. Unless the system marks it good in one of them, the other
slot is back after that.

Examples:
  trial system-b",
        levels: Levels::FIRMWARE,
        reads: Some(|words| Ok(Command::Trial(words.slot()?))),
        ..NEW
    },
    Definition {
        name: "reset-tries",
        group: Group::Slots,
        arguments: "SLOT",
        about: "Give a slot that has failed its tries back",
        more: "\
Only a slot that verifies gets them. `why` tells what it failed by.

Examples:
  reset-tries system-a",
        levels: Levels::LOWER,
        reads: Some(|words| Ok(Command::ResetTries(words.slot()?))),
        ..NEW
    },
    Definition {
        name: "update",
        group: Group::Slots,
        arguments: "FILE",
        about: "Give the box another system or firmware from a disk, mark what is on trial good, or go back",
        more: "\
Examples:
  update /dev/vdb            a disk that begins with a bundle
  update /dev/vdb --reboot
  update status
  update mark-good
  update rollback --reboot",
        levels: Levels::USERLAND,
        ..NEW
    },
    Definition {
        name: "reflash",
        group: Group::Slots,
        arguments: "SLOT",
        about: "Overwrite a slot with a bundle that comes over this line",
        more: "\
By XMODEM with CRC, 1 KiB a block, or YMODEM. A minute is 600 KiB at 115200
baud. The slot is nothing until the whole bundle has come, verified and was
read back; the other slot stays as it is.

Examples:
  reflash firmware-b    then, from a shell on the machine at the other end:
                        sx -k firmware.bundle </dev/ttyUSB0 >/dev/ttyUSB0",
        levels: Levels::LOWER,
        typed_back: Some(TypedBack::Slot),
        reads: Some(|words| Ok(Command::Reflash(words.slot()?))),
        ..NEW
    },
    // --- flash
    Definition {
        name: "flash info",
        group: Group::Flash,
        about: "Tell what the flash chips say they are, and how they are divided",
        more: "\
Examples:
  flash info",
        levels: Levels::FIRMWARE,
        reads: Some(|_| Ok(Command::FlashInfo)),
        ..NEW
    },
    Definition {
        name: "flash test",
        group: Group::Flash,
        about: "Erase, write and read the scratch sector, which holds nothing",
        more: "\
Examples:
  flash test",
        levels: Levels::FIRMWARE,
        reads: Some(|_| Ok(Command::FlashTest)),
        ..NEW
    },
    Definition {
        name: "flash dump",
        group: Group::Flash,
        arguments: "PARTITION [OFFSET [BYTES]]",
        about: "Show bytes of a partition that holds no mail and no secrets",
        more: "\
Examples:
  flash dump boot-state
  flash dump system-a 0x1000 64",
        levels: Levels::FIRMWARE,
        reads: Some(|words| {
            let partition = words.partition()?;
            let offset = words.number("OFFSET", 0, u32::MAX, 0)?;
            let bytes = words.number("BYTES", 1, DUMP_BYTES_MAX, 256)?;
            Ok(Command::FlashDump { partition, offset, bytes })
        }),
        ..NEW
    },
    Definition {
        name: "state dump",
        group: Group::Flash,
        about: "Show the records of the boot state, the newest last",
        more: "\
Examples:
  state dump",
        levels: Levels::LOWER,
        reads: Some(|_| Ok(Command::StateDump)),
        ..NEW
    },
    // --- spool
    Definition {
        name: "spool",
        group: Group::Spool,
        about: "The volumes: how they stand, what is on them, whether it is as it was written",
        more: "\
Examples:
  spool          how the volumes stand
  spool check    read everything and tell what is wrong, where Linux runs",
        levels: Levels::UPPER,
        reads: Some(|_| Ok(Command::Spool)),
        ..NEW
    },
    Definition {
        name: "spool list",
        group: Group::Spool,
        arguments: "[--from ID] [--limit COUNT]",
        about: "List the mail that is here, oldest first",
        more: "\
Examples:
  spool list
  spool list --limit 200",
        levels: Levels::USERLAND,
        ..NEW
    },
    Definition {
        name: "spool show",
        group: Group::Spool,
        arguments: "ID",
        about: "Show a message: envelope, recipients and what happened to it, but nothing of its text",
        more: "\
Examples:
  spool show d-17",
        levels: Levels::USERLAND,
        ..NEW
    },
    Definition {
        name: "spool check",
        group: Group::Spool,
        about: "Read everything on the disk and tell whether it is as it was written",
        more: "\
Examples:
  spool check",
        levels: Levels::USERLAND,
        ..NEW
    },
    Definition {
        name: "spool nor",
        group: Group::Spool,
        about: "Tell what the volume in the NOR flash is and how it stands",
        levels: Levels::USERLAND,
        ..NEW
    },
    Definition {
        name: "spool nor-check",
        group: Group::Spool,
        about: "Read everything in the NOR flash and tell whether it is as it was written",
        levels: Levels::USERLAND,
        ..NEW
    },
    // --- net
    Definition {
        name: "net",
        group: Group::Net,
        about: "Show interfaces, addresses and routers",
        more: "\
Examples:
  net",
        levels: Levels::UPPER,
        reads: Some(|_| Ok(Command::Net)),
        ..NEW
    },
    Definition {
        name: "arp",
        group: Group::Net,
        about: "Show which machines of the local network have answered",
        more: "\
Examples:
  arp",
        levels: Levels::UPPER,
        reads: Some(|_| Ok(Command::Arp)),
        ..NEW
    },
    Definition {
        name: "ping",
        group: Group::Net,
        arguments: "HOST [--count COUNT]",
        about: "Ask whether a machine is there",
        more: "\
HOST is an address; where Linux runs also a name.

Examples:
  ping 10.0.2.2
  ping 10.0.2.2 --count 20",
        levels: Levels::UPPER,
        reads: Some(|words| words.ping()),
        ..NEW
    },
    Definition {
        name: "smtp",
        group: Group::Net,
        about: "Ask each next hop for its greeting, as a sender would",
        more: "\
Examples:
  smtp",
        levels: Levels::UPPER,
        reads: Some(|_| Ok(Command::Smtp)),
        ..NEW
    },
    Definition {
        name: "rescue start",
        aliases: &[("rescue", Levels::FIRMWARE)],
        group: Group::Net,
        about: "Take mail here, without Linux",
        more: "\
What is taken is on flash before it is acknowledged, and goes out when Linux
runs again.

Examples:
  rescue start",
        levels: Levels::FIRMWARE,
        reads: Some(|_| Ok(Command::RescueStart)),
        ..NEW
    },
    Definition {
        name: "rescue stop",
        group: Group::Net,
        about: "Take no more mail here, until the console is left or nobody types for a while",
        more: "\
Examples:
  rescue stop",
        levels: Levels::FIRMWARE,
        reads: Some(|_| Ok(Command::RescueStop)),
        ..NEW
    },
    // --- act
    Definition {
        name: "report",
        group: Group::Act,
        about: "Write what support needs to know, in one block",
        more: "\
Examples:
  report    paste all of it, with its first and its last line",
        levels: Levels::UPPER,
        reads: Some(|_| Ok(Command::Report)),
        ..NEW
    },
    Definition {
        name: "config show",
        aliases: &[("config", Levels::ALL), ("settings", Levels::ALL)],
        group: Group::Act,
        arguments: "[KEY]",
        about: "Show the settings that the box runs with, or one of them with what it is for",
        more: "\
Examples:
  config show
  config show network.address",
        levels: Levels::UPPER,
        reads: Some(|words| Ok(Command::ConfigShow { key: words.next() })),
        ..NEW
    },
    Definition {
        name: "config set",
        group: Group::Act,
        arguments: "KEY VALUE",
        about: "Change a setting",
        more: "\
Changes are collected, and `config apply` keeps them only if the service is
well with them.

Examples:
  config set network.dns_servers 10.0.0.3",
        levels: Levels::USERLAND,
        ..NEW
    },
    Definition {
        name: "config unset",
        group: Group::Act,
        arguments: "KEY",
        about: "Take one out of the draft, so that its default holds; or a whole next hop",
        levels: Levels::USERLAND,
        ..NEW
    },
    Definition {
        name: "config diff",
        group: Group::Act,
        about: "Show what would change",
        levels: Levels::USERLAND,
        ..NEW
    },
    Definition {
        name: "config apply",
        group: Group::Act,
        about: "Have the box run with the draft, and keep it if the service is well",
        levels: Levels::USERLAND,
        ..NEW
    },
    Definition {
        name: "config discard",
        group: Group::Act,
        about: "Forget the draft",
        levels: Levels::USERLAND,
        ..NEW
    },
    Definition {
        name: "config export",
        group: Group::Act,
        about: "Write the settings in a block that `import` takes, without secrets; those stay as they are where it is imported",
        levels: Levels::USERLAND,
        ..NEW
    },
    Definition {
        name: "config import",
        group: Group::Act,
        about: "Read settings up to a line \"--- settings end\", and apply them",
        levels: Levels::USERLAND,
        ..NEW
    },
    Definition {
        name: "setup",
        group: Group::Act,
        about: "Ask for all that a box needs, and look whether it is so; with the present settings as proposals",
        levels: Levels::USERLAND,
        ..NEW
    },
    Definition {
        name: "script",
        group: Group::Act,
        arguments: "on|off",
        about: "Read lines as they come, without prompt, echo and editing; for programs",
        more: "\
Examples:
  script on",
        levels: Levels::ALL,
        reads: Some(|words| Ok(Command::Script { on: words.on_or_off()? })),
        ..NEW
    },
    Definition {
        name: "restart",
        aliases: &[("reboot", Levels::ALL)],
        group: Group::Act,
        about: "Finish what is under way, and start the box again",
        more: "\
Examples:
  restart",
        levels: Levels::ALL,
        reads: Some(|_| Ok(Command::Restart)),
        ..NEW
    },
    Definition {
        name: "power-off",
        aliases: &[("poweroff", Levels::ALL)],
        group: Group::Act,
        about: "Finish what is under way, and switch the box off",
        more: "\
Examples:
  power-off",
        levels: Levels::ALL,
        reads: Some(|_| Ok(Command::PowerOff)),
        ..NEW
    },
    Definition {
        name: "exit",
        aliases: &[("quit", Levels::LOWER)],
        group: Group::Act,
        about: "Leave the console; the box goes on with its service",
        more: "\
Examples:
  exit",
        levels: Levels::LOWER,
        reads: Some(|_| Ok(Command::Exit)),
        ..NEW
    },
    Definition {
        name: "factory-reset",
        group: Group::Act,
        arguments: "SERIAL",
        about: "Clear the settings and what the service remembers of them; the mail stays",
        more: "\
The box starts again and asks for new settings. Mail and ledger stay on the
volume; mode and states of the next hops begin anew.

Examples:
  version                        shows the serial number
  factory-reset PS-00042         with the serial number of this box",
        levels: Levels::USERLAND,
        typed_back: Some(TypedBack::Serial),
        ..NEW
    },
    Definition {
        name: "erase-mail",
        group: Group::Act,
        arguments: "SERIAL destroy-all-mail",
        about: "Destroy all mail and the ledger; the settings stay",
        more: "\
The disk is made zeros, which may take minutes, and the box begins with a new
volume. What was acknowledged and not delivered is lost: its senders believe
that you have it.

Examples:
  queue                                     what would be lost
  erase-mail PS-00042 destroy-all-mail      with the serial number of this box",
        levels: Levels::USERLAND,
        typed_back: Some(TypedBack::Serial),
        ..NEW
    },
];
