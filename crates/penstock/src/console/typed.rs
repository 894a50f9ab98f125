//! What can be typed at the console, and what a line means.

use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use penstock_console::{COMMANDS, Definition, Level};
use penstock_daemon::control::MailId;
use penstock_settings::SECTIONS;

use super::failure;
use crate::args::{Ask, Command, Daemon, Quarantine, Queue, Recipients, Target, Tls, Update, Volume};
use crate::failure::Failure;

/// What can be typed. What each does, with its examples, is in the table of commands that userland shares with the firmware's
/// console and stage 0; here is how it is read.
#[derive(Debug, Parser)]
#[command(multicall = true, disable_version_flag = true)]
#[command(override_usage = "COMMAND [ARGUMENT...]", max_term_width = 80)]
#[command(after_help = "\
`help COMMAND` explains one, with examples. The last line of every answer is OK, or ERR and a code.")]
pub(super) enum Typed {
    #[command(flatten)]
    Ask(Ask),

    Spool {
        #[command(subcommand)]
        what: Option<Spool>,
    },

    Version,
    Journal {
        /// How many
        #[arg(default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        lines: u16,
    },
    Counters,
    Dt,
    Mem,
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
    Setup,
    Why,
    Slots,
    Verify,
    Update(Update),
    Net,
    Arp,
    Ping {
        /// Its address or name
        host: String,
        /// How many times; q ends it
        #[arg(short, long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=10_000))]
        count: u16,
    },
    Smtp,
    Report,
    Script {
        /// Whether
        on: Switch,
    },
    #[command(visible_alias = "reboot")]
    Restart,
    #[command(visible_alias = "poweroff")]
    PowerOff,
    FactoryReset {
        /// The serial number of the box, typed back
        serial: String,
    },
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
    Show {
        /// Which, such as listen.size_max
        key: Option<String>,
    },
    Set {
        /// Which, such as listen.size_max or next_hop.exchange.address
        key: String,
        /// Its value: as in a settings file, or without quotation marks and brackets
        #[arg(required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
        value: Vec<String>,
    },
    Unset {
        /// Which, such as listen.size_max or next_hop.spare
        key: String,
    },
    Diff,
    Apply,
    Discard,
    Export,
    Import,
}

/// What can be typed after `spool`.
#[derive(Debug, Subcommand)]
pub(super) enum Spool {
    List(Queue),
    Show {
        /// The message, such as d-123 or 123
        id: MailId,
    },
    Check,
    Nor,
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
    let all = Typed::command().mut_subcommand("export", hide).mut_subcommand("quarantine", of_held);
    shared().fold(all, |all, row| explained(all, row.name, row))
}

/// The rows of the table that are about userland.
fn shared() -> impl Iterator<Item = &'static Definition> {
    COMMANDS.iter().filter(|row| row.levels.contain(Level::Userland))
}

/// Gives the subcommand of this name, one word or two, what the table says of it.
fn explained(command: clap::Command, name: &str, row: &'static Definition) -> clap::Command {
    let (first, rest) = name.split_once(' ').unwrap_or((name, ""));
    if command.find_subcommand(first).is_none() {
        // The parser has its own `help`.
        return command;
    }
    command.mut_subcommand(first, |subcommand| match rest {
        "" if row.more.is_empty() => subcommand.about(row.about),
        "" => subcommand.about(row.about).after_help(row.more),
        rest => explained(subcommand, rest, row),
    })
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

    /// The subcommand of a name, one word or two.
    fn named<'a>(definition: &'a clap::Command, name: &str) -> Option<&'a clap::Command> {
        name.split(' ').try_fold(definition, |at, word| at.find_subcommand(word))
    }

    #[test]
    fn what_the_table_shares_with_the_firmware_is_here_under_the_same_names_and_explained_alike() {
        let definition = definition();
        for row in shared().filter(|row| row.name != "help") {
            let command = named(&definition, row.name).unwrap_or_else(|| panic!("{} is not here", row.name));
            assert_eq!(
                command.get_about().map(ToString::to_string).as_deref(),
                Some(row.about),
                "{}",
                row.name
            );
            if !row.more.is_empty() {
                assert_eq!(command.get_after_help().map(ToString::to_string).as_deref(), Some(row.more));
            }
            for alias in row.names(Level::Userland).skip(1) {
                let meant = named(&definition, alias).map(clap::Command::get_name);
                // `config` is `config show`.
                assert!(meant.is_some_and(|meant| row.name.starts_with(meant)), "{alias}: {meant:?}");
            }
        }
    }

    #[test]
    fn the_table_has_every_command_of_the_console_but_those_of_the_command_line() {
        let definition = definition();
        let of_command_line = Command::augment_subcommands(clap::Command::new(""));
        let in_table = |name: &str| shared().any(|row| row.name == name);
        for command in definition.get_subcommands() {
            let name = command.get_name();
            if of_command_line.find_subcommand(name).is_some() {
                continue;
            }
            assert!(in_table(name) || command.has_subcommands(), "{name}");
            for second in command.get_subcommands() {
                assert!(in_table(&format!("{name} {}", second.get_name())), "{name} {}", second.get_name());
            }
        }
    }

    #[test]
    fn what_only_the_firmware_has_is_no_command_here() {
        let definition = definition();
        for row in COMMANDS.iter().filter(|row| !row.levels.contain(Level::Userland)) {
            assert!(named(&definition, row.name).is_none(), "{}", row.name);
        }
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
