//! What can be typed. Help, completions and man pages are all made from these definitions.

mod quarantine;
mod recipients;
mod replay;
mod tls;
mod update;
mod volume;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use penstock_daemon::control::MailId;
use penstock_daemon::control::types::{IDS_MAX, MailState};
use penstock_settings::DurationText;

pub(crate) use quarantine::{Held, HeldOnes, Quarantine};
pub(crate) use recipients::Recipients;
pub(crate) use replay::Replay;
pub(crate) use tls::Tls;
pub(crate) use update::{Update, UpdateWhat};
pub(crate) use volume::{Qualify, Target, Volume};

/// Where the settings are unless somebody says otherwise.
pub(crate) const SETTINGS_FILE: &str = "/etc/penstock/settings.toml";

/// Takes mail while the mail server is away, keeps it, and gives it back.
#[derive(Debug, Parser)]
#[command(name = "penstock", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "\
Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 the daemon cannot be reached.

Examples:
  penstock status               how things stand
  penstock hold --for 2h        let nothing through for two hours
  penstock release              let it through again
  penstock queue --address mia  the mail from and to mia")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the service in the foreground
    #[command(after_help = "\
Examples:
  penstock settings defaults > settings.toml    a file to start from
  penstock serve --settings settings.toml       until Ctrl-C or SIGTERM")]
    Serve {
        /// The settings file
        #[arg(long, value_name = "FILE", default_value = SETTINGS_FILE, value_hint = ValueHint::FilePath)]
        settings: PathBuf,
        /// On an appliance: the file in which its first process says whether the clock is right
        #[arg(long, value_name = "FILE", hide = true, value_hint = ValueHint::FilePath)]
        clock_file: Option<PathBuf>,
    },

    /// Be the first process of a box; what its kernel starts
    #[command(
        hide = true,
        after_help = "\
Examples:
  penstock init    only the kernel of a box can do that"
    )]
    Init,

    /// Take commands from a serial line or a pipe, one a line, each answered by OK or ERR
    #[command(
        hide = true,
        after_help = "\
Examples:
  penstock console                           what the first process of a box starts on its serial line
  printf 'status\nqueue\n' | penstock console"
    )]
    Console,

    #[command(flatten)]
    Ask(Ask),

    /// Check a settings file, write one, or give a box other settings
    #[command(subcommand)]
    Settings(Settings),

    /// On an appliance: give it another system or firmware, or tell how its slots stand
    #[command(after_help = "\
The bundle (system.bundle or firmware.bundle of an image) is verified, written into the slot that does not run, read back,
and tried with the next start; mail flows meanwhile. The box marks it good by itself when all has been well for as long as
update.good_after says, and goes back by itself if not. Until then `rollback` goes back at once.

Examples:
  penstock update system.bundle            write it; the next start tries it
  penstock update system.bundle --reboot   and start at once
  penstock update /dev/vdb                 the same from a disk that begins with a bundle
  penstock update status
  penstock update rollback --reboot")]
    Update(Update),

    /// Look after volumes: make, check and repair them, and get mail off damaged ones
    #[command(subcommand)]
    Volume(Volume),

    /// Tell whether a report that was pasted somewhere is whole
    #[command(after_help = "\
The console of a box writes reports (`report`). The last line of one has a CRC-32C of the lines before it.

Examples:
  penstock verify-report mail-from-site-17.txt
  wl-paste | penstock verify-report -")]
    VerifyReport {
        /// The file in which it is, whatever stands around it; - is standard input
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },

    /// Write completions for a shell to standard output
    #[command(after_help = "\
Examples:
  penstock completions bash > /etc/bash_completion.d/penstock
  penstock completions zsh > ~/.zfunc/_penstock")]
    Completions {
        /// The shell
        shell: Shell,
    },

    /// Write the man pages
    #[command(after_help = "\
Examples:
  penstock man /usr/local/share/man/man1
  penstock man | man -l -")]
    Man {
        /// The directory for all pages; without it, penstock(1) goes to standard output
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: Option<PathBuf>,
    },
}

/// The commands that ask the daemon.
#[derive(Debug, Subcommand)]
pub(crate) enum Ask {
    /// Tell how things stand: is the mail safe, what does the mail server say, when will it be done
    #[command(after_help = "\
Examples:
  penstock status
  penstock status --json | jq .mail.messages
  watch penstock status")]
    Status {
        #[command(flatten)]
        daemon: Daemon,
    },

    /// Watch how things stand, until q or Ctrl-C
    #[command(after_help = "\
Only what has changed is drawn, so that a serial line is fast enough.

Examples:
  penstock top
  penstock top --interval 5s")]
    Top {
        /// How often to look
        #[arg(long, value_name = "DURATION", value_parser = interval, default_value = "2s")]
        interval: Duration,
        #[command(flatten)]
        daemon: Daemon,
    },

    /// Watch mail being released, until the queue is empty
    #[command(after_help = "\
On a terminal a picture that changes; else a line every few seconds. Ends by itself, with exit status 0, when nothing is left
to go, and with 1 if q or Ctrl-C ends it before. What is held for you is not waited for.

Examples:
  penstock watch
  penstock watch && mail -s 'all delivered' mia@example.org </dev/null")]
    Watch {
        /// How often to look; without a terminal 5s unless you say otherwise
        #[arg(long, value_name = "DURATION", value_parser = interval)]
        interval: Option<Duration>,
        #[command(flatten)]
        daemon: Daemon,
    },

    /// List the mail that is here, oldest first
    #[command(after_help = "\
Examples:
  penstock queue
  penstock queue --state held                 what needs a decision; `quarantine list` tells why
  penstock queue --address mia@example.org    from or to her
  penstock queue --all --json | jq -r '.rows[].id'")]
    Queue(Queue),

    /// Show a message: envelope, recipients and what happened to it, but nothing of its text
    #[command(after_help = "\
Examples:
  penstock show d-123
  penstock show 123 --json")]
    Show {
        /// The message, such as d-123 or 123
        id: MailId,
        #[command(flatten)]
        daemon: Daemon,
    },

    /// Take mail but let none through, until `penstock release`
    #[command(after_help = "\
Whether the mail server is there is still looked at. A hold outlives restarts.

Examples:
  penstock hold --reason 'restoring the database'
  penstock hold --for 2h
  penstock hold --until 06:00
  penstock hold --until '2026-03-01 06:00'")]
    Hold(Hold),

    /// Let mail through again; with messages named, try those now
    #[command(after_help = "\
Without arguments this ends hold, drain and stop. A message that was set aside (held) or waits for its next attempt
is tried as soon as the mode and the mail server allow.

Examples:
  penstock release                back to normal
  penstock release d-17 d-18      try these two now
  penstock release --all          back to normal, and try everything now")]
    Release {
        /// Messages to try now; the mode stays as it is
        #[arg(value_name = "ID", conflicts_with = "all", num_args = 1..=IDS_MAX)]
        ids: Vec<MailId>,
        /// Try everything now, also what was set aside
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        daemon: Daemon,
    },

    /// Say that a next hop is the right server and its mailboxes are there, so that it gets its mail
    #[command(after_help = "\
After a server was rebuilt, was away for more than a day or refused what it should take, nothing goes before canaries
have arrived in its probe mailboxes, or before this. `penstock status` says what to look at first.

Examples:
  penstock confirm             every next hop that waits for it
  penstock confirm exchange    this one")]
    Confirm {
        /// The next hop, by its name in the settings; without it, every one that is unproven or held
        #[arg(value_name = "HOP")]
        hop: Option<String>,
        #[command(flatten)]
        daemon: Daemon,
    },

    /// Let everything through as fast as the limits allow
    #[command(after_help = "\
What the mail server answers counts as ever: drain waits less, it does not push harder. Ends with `penstock release`.

Examples:
  penstock drain --reason 'box is to be replaced tonight'")]
    Drain(Why),

    /// Take mail and do nothing else: not even look whether the mail server is there
    #[command(after_help = "\
Ends with `penstock release`. To end the service itself: systemctl stop penstock.

Examples:
  penstock stop --reason 'server must not be touched'")]
    Stop(Why),

    /// Give up messages: nothing more is tried for them, and no bounce is sent
    #[command(after_help = "\
Who removed what, and why, goes into the ledger (`penstock events`).

Examples:
  penstock remove d-17 d-18 --reason 'spam, agreed with Mia'")]
    Remove {
        /// The messages
        #[arg(value_name = "ID", required = true, num_args = 1..=IDS_MAX)]
        ids: Vec<MailId>,
        /// Why, for the ledger
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        daemon: Daemon,
    },

    /// Have mail delivered once more that was delivered and is kept: for a mailbox that was restored from a backup
    #[command(after_help = "\
Exchange discards, without a word, what it has taken in the last days: it knows a message by its Message-ID and its time. A
mailbox that was put back to an older state may so get nothing of what it lost. If messages do not appear, replay them with
--as-attachment. Which mailboxes lie in a database says the list of recipients (`penstock recipients import`).

How long delivered mail is kept say volume.kept_age_max and volume.kept_percent_max. A replay that is stopped (q, Ctrl-C) or
cut goes on where it was when the same command is given again.

Examples:
  penstock replay --mailbox mia@example.org --from '2026-03-01 06:00' --dry-run
  penstock replay --mailbox mia@example.org --from '2026-03-01 06:00'
  penstock replay --domain example.org --from 06:00 --until 09:30
  penstock replay --database DB2 --as-attachment --reason 'database restored from Sunday'
  penstock replay d-17 d-18")]
    Replay(Replay),

    /// Look after mail that is held for you: list it, have it tried again, write it out, tell its sender
    #[command(subcommand)]
    Quarantine(Quarantine),

    /// Write out a message as it was received
    #[command(after_help = "\
Who read what, and why, goes into the ledger (`penstock events`).

Examples:
  penstock export d-17 --reason 'Mia asked for it' -o d-17.eml
  penstock export d-17 --reason 'virus report' | clamscan -")]
    Export {
        /// The message
        id: MailId,
        /// Why it is read, for the ledger
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// The file to write, which must not exist yet; without it, standard output
        #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: Option<PathBuf>,
        #[command(flatten)]
        daemon: Daemon,
    },

    /// Show the canaries of the last hour: whether mail that the mail server takes reaches mailboxes, and how fast
    #[command(after_help = "\
The service sends them by itself, to the mailboxes in next_hop.probe_mailboxes.

Examples:
  penstock canary
  penstock canary exchange
  penstock canary --json | jq '.hops[].proof.last_sojourn_ms'")]
    Canary {
        /// Only those of this next hop
        #[arg(value_name = "HOP")]
        hop: Option<String>,
        #[command(flatten)]
        daemon: Daemon,
    },

    /// Show who connects: which addresses hold sessions, what they send, and which limits they came to
    #[command(after_help = "\
One line for each address (in IPv6 for each network), those with most sessions first; sums are since it was first seen. The
limits are those of the settings in [listen]; a filter or gateway in front belongs into listen.trusted_fronts.

Examples:
  penstock clients
  penstock clients --limit 200
  penstock clients --json | jq -r '.rows[] | select(.limits != []) | .source'")]
    Clients {
        /// At most so many
        #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        #[command(flatten)]
        daemon: Daemon,
    },

    /// Look after the list of recipients: who is known, and in which mailbox database
    #[command(subcommand)]
    Recipients(Recipients),
    /// Look after certificates: the one that clients see, and those that next hops show
    #[command(subcommand)]
    Tls(Tls),

    /// Tell what happened: the ledger of what was taken, handed on, read and removed, and by whom
    #[command(visible_alias = "log")]
    #[command(after_help = "\
Examples:
  penstock events
  penstock events --message d-17
  penstock events --kind removed --limit 500 --json")]
    Events {
        /// Only about this message
        #[arg(long, value_name = "ID")]
        message: Option<MailId>,
        /// Only of this kind
        #[arg(long)]
        kind: Option<String>,
        /// The newest so many
        #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        #[command(flatten)]
        daemon: Daemon,
    },
}

/// How to speak with the daemon and with the one who asks.
#[derive(Args, Clone, Debug)]
pub(crate) struct Daemon {
    /// The daemon's control socket; else the one in /etc/penstock/settings.toml, else /run/penstock/control.sock
    #[arg(long, value_name = "PATH", env = "PENSTOCK_SOCKET", hide_env_values = true, value_hint = ValueHint::FilePath)]
    pub(crate) socket: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `penstock queue`
#[derive(Args, Debug)]
pub(crate) struct Queue {
    /// Only messages in this state; without it, all that is not finished
    #[arg(long)]
    pub(crate) state: Option<State>,
    /// Only messages from or to an address that contains this
    #[arg(long, value_name = "TEXT")]
    pub(crate) address: Option<String>,
    /// Begin with this message
    #[arg(long, value_name = "ID")]
    pub(crate) from: Option<MailId>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: u64,
    /// All of them
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) daemon: Daemon,
}

/// Where a message is in its life.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum State {
    /// Not tried yet
    Queued,
    /// On its way at this moment
    InFlight,
    /// Waiting for its next attempt
    Deferred,
    /// Set aside for the operator
    Held,
    /// Damaged on flash
    Damaged,
    /// Finished, and kept for replay
    Kept,
}

impl From<State> for MailState {
    fn from(state: State) -> Self {
        match state {
            State::Queued => Self::Queued,
            State::InFlight => Self::InFlight,
            State::Deferred => Self::Deferred,
            State::Held => Self::Held,
            State::Damaged => Self::Damaged,
            State::Kept => Self::Kept,
        }
    }
}

/// `penstock hold`
#[derive(Args, Debug)]
pub(crate) struct Hold {
    /// End by itself after this time, such as 90m, 2h or 1d
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, conflicts_with = "until")]
    pub(crate) for_: Option<Duration>,
    /// End by itself at this time, such as 06:00, '2026-03-01 06:00' or 2026-03-01T06:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    #[command(flatten)]
    pub(crate) why: Why,
}

/// A change of mode.
#[derive(Args, Debug)]
pub(crate) struct Why {
    /// Why, for whoever looks next
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) daemon: Daemon,
}

/// `penstock settings`
#[derive(Debug, Subcommand)]
pub(crate) enum Settings {
    /// Tell everything that is wrong with a settings file, or that nothing is
    #[command(after_help = "\
Examples:
  penstock settings check /etc/penstock/settings.toml")]
    Check {
        /// The file; - is standard input
        #[arg(value_name = "FILE", default_value = SETTINGS_FILE, value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a settings file with every key, its reason and its default
    #[command(after_help = "\
Examples:
  penstock settings defaults > settings.toml")]
    Defaults,
    /// Write the settings that the service runs with
    #[command(after_help = "\
Examples:
  penstock settings export > site-17.toml")]
    Export {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Give a box other settings; it keeps them if it is well with them, else goes back by itself
    #[command(after_help = "\
The service starts again with them. After some seconds in which it is well they are in flash; until then, and after a
power cut, those from before count. On a host the settings are a file: this command says which.

Examples:
  penstock settings import site-17.toml
  penstock settings import --socket /run/boxes/17.sock site-17.toml")]
    Import {
        /// The file; - is standard input
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Make a settings file for each of many sites, from one template and a table of values
    #[command(after_help = "\
In the template, {{name}} stands for the value in the column of that name. The first column names the file. Nothing is
written unless every site's settings are right.

Examples:
  penstock settings fill template.toml sites.csv --into boxes/
  scripts/image --settings boxes/berlin.toml berlin-image")]
    Fill {
        /// The settings file with {{name}} in place of what differs
        #[arg(value_name = "TEMPLATE", value_hint = ValueHint::FilePath)]
        template: PathBuf,
        /// The table (CSV, RFC 4180) with the names in its first line
        #[arg(value_name = "CSV", value_hint = ValueHint::FilePath)]
        values: PathBuf,
        /// The directory for the files
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        into: PathBuf,
    },
}

fn interval(text: &str) -> Result<Duration, &'static str> {
    duration(text)
        .ok()
        .filter(|interval| (Duration::from_secs(1)..=Duration::from_secs(60)).contains(interval))
        .ok_or("must be from 1s to 1m")
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    DurationText::parse(text)
        .filter(|duration| !duration.is_zero())
        .ok_or("must be a whole number and a unit, such as 90s, 30m, 2h or 1d")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_explains_itself_with_an_example() {
        fn explains(command: &clap::Command, name: &str) {
            if command.has_subcommands() {
                let subcommands = command.get_subcommands();
                return subcommands.for_each(|sub| explains(sub, &format!("{name} {}", sub.get_name())));
            }
            let example = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(example.contains(name), "{name}");
        }
        explains(&Cli::command(), "penstock");
    }
}
