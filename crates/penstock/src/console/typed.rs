//! What can be typed at the console, and what a line means.

use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use penstock_daemon::control::MailId;
use penstock_settings::SECTIONS;

use super::failure;
use crate::args::{Ask, Command, Daemon, Quarantine, Queue, Recipients, Target, Tls, Update, Volume};
use crate::failure::Failure;

/// What can be typed.
#[derive(Debug, Parser)]
#[command(multicall = true, disable_version_flag = true)]
#[command(override_usage = "COMMAND [ARGUMENT...]", max_term_width = 80)]
#[command(after_help = "\
`help COMMAND` explains one, with examples. The last line of every answer is OK, or ERR and a code.")]
pub(super) enum Typed {
    #[command(flatten)]
    Ask(Ask),

    /// The volume: how it stands, what is on it, whether it is as it was written
    #[command(after_help = "\
Examples:
  spool              how the volume stands
  spool list         the mail on it
  spool show d-17    a message, without its text
  spool check        read everything and tell what is wrong")]
    Spool {
        #[command(subcommand)]
        what: Option<Spool>,
    },

    /// Tell which box and which software this is, and for how long it has run
    Version,
    /// Show the newest lines of what the service has said; `events` is the ledger on the volume
    Journal {
        /// How many
        #[arg(default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        lines: u16,
    },
    /// Show what the service counts, as Prometheus would read it
    Counters,
    /// Tell which machine this is, as the firmware describes it
    Dt,
    /// Tell how much memory there is
    Mem,
    /// Tell what time it is, and whether that can be believed
    Clock,
    /// See and change the settings
    #[command(
        visible_alias = "settings",
        after_help = "\
Changes are collected; `config apply` has the box run with them and keeps them only if
the service is well then. A power cut before that brings back what was.

Examples:
  config                                    all settings
  config show listen.size_max               one, with what it is for
  config set network.dns_servers 10.0.0.3 10.0.0.4
  config set next_hop.exchange.address 10.0.0.5:25
  config unset listen.size_max              back to the default
  config diff                               what would change
  config apply"
    )]
    Config {
        #[command(subcommand)]
        what: Option<Config>,
    },
    /// Ask for all that a box needs, and look whether it is so; with the present settings as proposals
    Setup,
    /// Tell why the box and the service started, the last times
    Why,
    /// Tell how the slots stand: what each holds, whether it is confirmed, on trial or failed
    Slots,
    /// Read the slots and tell whether they hold what was signed
    Verify,
    /// Give the box another system or firmware from a disk, mark what is on trial good, or go back
    #[command(after_help = "\
Examples:
  update /dev/vdb            a disk that begins with a bundle
  update /dev/vdb --reboot
  update status
  update mark-good
  update rollback --reboot")]
    Update(Update),
    /// Show interfaces, addresses and routers
    Net,
    /// Show which machines of the local network have answered
    Arp,
    /// Ask whether a machine is there
    #[command(after_help = "\
Examples:
  ping 10.0.2.2
  ping exchange.example.org --count 20    q ends it")]
    Ping {
        /// Its address or name
        host: String,
        /// How many times
        #[arg(short, long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=10_000))]
        count: u16,
    },
    /// Ask each next hop for its greeting, as a sender would
    Smtp,
    /// Write what support needs to know, in one block
    Report,
    /// Read lines as they come, without prompt, echo and editing; for programs
    Script {
        /// Whether
        on: Switch,
    },
    /// Finish what is under way, and start the box again
    #[command(visible_alias = "reboot")]
    Restart,
    /// Finish what is under way, and switch the box off
    #[command(visible_alias = "poweroff")]
    PowerOff,
    /// Clear the settings and what the service remembers of them; the mail stays
    #[command(after_help = "\
The box starts again and asks for new settings. Mail and ledger stay on the volume; mode
and states of the next hops begin anew.

Examples:
  version                        shows the serial number
  factory-reset PS-00042         with the serial number of this box")]
    FactoryReset {
        /// The serial number of the box, typed back
        serial: String,
    },
    /// Destroy all mail and the ledger; the settings stay
    #[command(after_help = "\
The disk is made zeros, which may take minutes, and the box begins with a new volume. What
was acknowledged and not delivered is lost: its senders believe that you have it.

Examples:
  queue                                        what would be lost
  erase-mail PS-00042 destroy-all-mail         with the serial number of this box")]
    EraseMail {
        /// The serial number of the box, typed back
        serial: String,
        /// The word that says that this is meant
        #[arg(value_parser = ["destroy-all-mail"])]
        word: String,
    },
}

/// What can be typed after `config`.
#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Show the settings that the box runs with, or one of them with what it is for
    Show {
        /// Which, such as listen.size_max
        key: Option<String>,
    },
    /// Change one of them in the draft
    Set {
        /// Which, such as listen.size_max or next_hop.exchange.address
        key: String,
        /// Its value: as in a settings file, or without quotation marks and brackets
        #[arg(required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
        value: Vec<String>,
    },
    /// Take one out of the draft, so that its default holds; or a whole next hop
    Unset {
        /// Which, such as listen.size_max or next_hop.spare
        key: String,
    },
    /// Show what would change
    Diff,
    /// Have the box run with the draft, and keep it if the service is well
    Apply,
    /// Forget the draft
    Discard,
    /// Write the settings in a block that `import` takes; secrets are left out, and stay as they are where it is imported
    Export,
    /// Read settings up to a line "--- settings end", and apply them
    Import,
}

/// What can be typed after `spool`.
#[derive(Debug, Subcommand)]
pub(super) enum Spool {
    /// List the mail that is here, oldest first
    List(Queue),
    /// Show a message: envelope, recipients and what happened to it, but nothing of its text
    Show {
        /// The message, such as d-123 or 123
        id: MailId,
    },
    /// Read everything on the disk and tell whether it is as it was written
    Check,
    /// Tell what the volume in the NOR flash is and how it stands
    Nor,
    /// Read everything in the NOR flash and tell whether it is as it was written
    NorCheck,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Switch {
    On,
    Off,
}

/// What a line means.
#[derive(Debug)]
pub(super) enum Meaning {
    /// An empty line.
    Nothing,
    /// Somebody asks what can be typed.
    Help(String),
    Command(Typed),
}

/// Takes a line apart.
pub(super) fn understand(line: &str) -> Result<Meaning, Failure> {
    let Some(words) = shlex::split(line) else {
        return Err(failure("PS-K003", "a quotation mark has no partner", ""));
    };
    // Who is used to a shell types the name of the program; examples have it as well.
    let words = words.strip_prefix(&["penstock".to_owned()][..]).unwrap_or(&words);
    if words.is_empty() {
        return Ok(Meaning::Nothing);
    }
    let parsed =
        definition().try_get_matches_from(words).and_then(|matches| Typed::from_arg_matches(&matches));
    match parsed {
        Ok(Typed::Ask(Ask::Export { .. } | Ask::Quarantine(Quarantine::Export { .. }))) => Err(failure(
            "PS-K004",
            "the text of a message is never written to the console",
            "`show` tells everything about it but its text.",
        )),
        Ok(Typed::Ask(Ask::Recipients(Recipients::Import { .. }))) => Err(failure(
            "PS-K005",
            "a list of recipients does not fit through the console",
            "`penstock recipients import` on the network takes it; `recipients status`, `check` and `reload` work here.",
        )),
        Ok(Typed::Ask(Ask::Tls(Tls::Install { file: Some(_), .. }))) => Err(failure(
            "PS-K006",
            "a certificate does not fit through the console",
            "`penstock tls install` through the control socket takes it; `tls show`, `accept` and `check` work here.",
        )),
        Ok(command) => Ok(Meaning::Command(command)),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Ok(Meaning::Help(error.to_string()))
        }
        Err(error) => {
            Err(failure("PS-K001", first_words(&error.to_string()), "`help` lists what can be typed."))
        }
    }
}

/// What is wrong, out of what the parser says about it: without the usage, which `help` gives.
fn first_words(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let words: Vec<&str> =
        lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more")).collect();
    words.join("; ")
}

fn definition() -> clap::Command {
    let hide = |command: clap::Command| command.hide(true);
    let of_held = |command: clap::Command| command.mut_subcommand("export", hide);
    Typed::command().mut_subcommand("export", hide).mut_subcommand("quarantine", of_held)
}

/// The words that can come next, after those that are there.
pub(super) fn candidates(before: &[&str]) -> Vec<String> {
    if let ["config" | "settings", "show" | "set" | "unset"] = before {
        return keys();
    }
    let definition = definition();
    let mut at = &definition;
    for word in before {
        match at.find_subcommand(word) {
            Some(found) => at = found,
            None => return Vec::new(),
        }
    }
    let subcommands =
        at.get_subcommands().filter(|command| !command.is_hide_set()).map(clap::Command::get_name);
    let mut names: Vec<String> = subcommands.map(ToOwned::to_owned).collect();
    if before.is_empty() {
        names.push("help".into());
    } else {
        let options = at.get_arguments().filter_map(clap::Arg::get_long);
        names.extend(options.map(|option| format!("--{option}")));
    }
    names.sort();
    names
}

/// The paths of all settings; a section of which there may be several goes on with a name.
fn keys() -> Vec<String> {
    let paths = SECTIONS.iter().flat_map(|section| {
        let keys = section.keys.iter().map(move |key| format!("{}.{}", section.name, key.name));
        let names = section.repeats.then(|| format!("{}.", section.name));
        keys.take(if section.repeats { 0 } else { usize::MAX }).chain(names)
    });
    paths.collect()
}

/// The operator's command for what was typed after `spool`.
pub(super) fn spool(what: Option<Spool>) -> Command {
    let daemon = Daemon { socket: None, json: false };
    let target = Target { nor: false, image: None, segment_size: None, daemon: daemon.clone() };
    match what {
        None => Command::Volume(Volume::Info(target)),
        Some(Spool::Check) => Command::Volume(Volume::Check(target)),
        Some(Spool::Nor) => Command::Volume(Volume::Info(Target { nor: true, ..target })),
        Some(Spool::NorCheck) => Command::Volume(Volume::Check(Target { nor: true, ..target })),
        Some(Spool::List(queue)) => Command::Ask(Ask::Queue(queue)),
        Some(Spool::Show { id }) => Command::Ask(Ask::Show { id, daemon }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(line: &str) -> String {
        match understand(line) {
            Err(Failure::Told(_, body)) => body.code,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn the_definitions_do_not_contradict_each_other() {
        Typed::command().debug_assert();
    }

    #[test]
    fn a_line_is_a_command_with_or_without_the_name_of_the_program() {
        for line in ["status", "penstock status", "  status  "] {
            assert!(
                matches!(understand(line), Ok(Meaning::Command(Typed::Ask(Ask::Status { .. })))),
                "{line:?}"
            );
        }
        assert!(matches!(understand("spool"), Ok(Meaning::Command(Typed::Spool { what: None }))));
        assert!(matches!(understand("power-off"), Ok(Meaning::Command(Typed::PowerOff))));
        assert!(matches!(understand(" "), Ok(Meaning::Nothing)));
        for line in ["config export", "settings export"] {
            let Ok(Meaning::Command(Typed::Config { what: Some(Config::Export) })) = understand(line) else {
                panic!("{line}")
            };
        }
        let Ok(Meaning::Command(Typed::Config { what: Some(Config::Set { key, value }) })) =
            understand("config set network.dns_servers 10.0.0.3 10.0.0.4")
        else {
            panic!("not understood")
        };
        assert_eq!((key.as_str(), value.len()), ("network.dns_servers", 2));
    }

    #[test]
    fn noise_and_mistakes_have_a_code_and_do_nothing() {
        assert_eq!(code("qx\u{1b}[A7"), "PS-K001");
        assert_eq!(code("show"), "PS-K001");
        assert_eq!(code("hold --reason 'half a"), "PS-K003");
        assert_eq!(code("export d-1 --reason curious"), "PS-K004");
        assert_eq!(code("quarantine export here --all --reason curious"), "PS-K004");
        // A beginning is not enough, even where it could mean one thing only: noise must not switch the box off.
        assert_eq!(code("p"), "PS-K001");
    }

    #[test]
    fn help_lists_everything_but_what_writes_messages() {
        let Ok(Meaning::Help(text)) = understand("help") else { panic!("no help") };
        for word in ["status", "queue", "hold", "spool", "net", "report", "power-off"] {
            assert!(text.contains(&format!("  {word} ")), "{word} is missing:\n{text}");
        }
        assert!(!text.contains("export"), "{text}");
        let Ok(Meaning::Help(text)) = understand("help hold") else { panic!("no help") };
        assert!(text.contains("--reason"), "{text}");
    }

    #[test]
    fn what_can_come_next_is_known() {
        assert!(candidates(&[]).contains(&"status".to_owned()));
        assert!(candidates(&["spool"]).contains(&"check".to_owned()));
        assert!(candidates(&["queue"]).contains(&"--state".to_owned()));
        assert!(candidates(&["nonsense"]).is_empty());
        let keys = candidates(&["config", "set"]);
        assert!(keys.contains(&"listen.size_max".to_owned()) && keys.contains(&"next_hop.".to_owned()));
    }
}
