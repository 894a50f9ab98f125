//! The arguments of `penstock update`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use penstock_daemon::keeper::slots::Software;

/// Another system or firmware for the box, or how its slots stand.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Update {
    #[command(subcommand)]
    pub(crate) what: Option<UpdateWhat>,
    /// The bundle: a file, a disk that begins with it (/dev/vdb), or - for standard input
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// Start the box again once the slot is written
    #[arg(long)]
    pub(crate) reboot: bool,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What else than a bundle can follow.
#[derive(Debug, Subcommand)]
pub(crate) enum UpdateWhat {
    /// Tell how the slots stand, which update is under way, and what a trial waits for
    #[command(after_help = "\
Examples:
  penstock update status
  penstock update status --json | jq .waits_for")]
    Status {
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
    /// Look whether the slots hold what was signed, all of it
    #[command(after_help = "\
Examples:
  penstock update verify    reads both slots of both kinds, which takes seconds")]
    Verify {
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
    /// Say that what is on trial is good, before the box finds that by itself
    #[command(after_help = "\
From then on nothing with a lower security version is started: there may be no way back.

Examples:
  penstock update mark-good")]
    MarkGood,
    /// Go back to the other slot
    #[command(after_help = "\
The next start is of the other slot. What has proved itself stays there to fall back on; what is on trial is not tried again.

Examples:
  penstock update rollback
  penstock update rollback --reboot
  penstock update rollback firmware --reboot")]
    Rollback {
        /// Of what
        #[arg(value_enum, default_value_t = Of::System)]
        software: Of,
        /// Start the box again at once
        #[arg(long)]
        reboot: bool,
    },
}

/// Which of the two kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Of {
    /// Kernel and userland
    System,
    /// What starts them
    Firmware,
}

impl From<Of> for Software {
    fn from(of: Of) -> Self {
        match of {
            Of::System => Self::System,
            Of::Firmware => Self::Firmware,
        }
    }
}

impl Update {
    /// Whether the one who asks is a program.
    pub(crate) const fn answers_in_json(&self) -> bool {
        match &self.what {
            None => self.json,
            Some(UpdateWhat::Status { json } | UpdateWhat::Verify { json }) => *json,
            Some(UpdateWhat::MarkGood | UpdateWhat::Rollback { .. }) => false,
        }
    }
}
