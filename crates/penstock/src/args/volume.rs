//! What can be typed after `penstock volume`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use penstock_daemon::control::Store;
use penstock_settings::Bytes;

use super::Daemon;

/// `penstock volume`
#[derive(Debug, Subcommand)]
pub(crate) enum Volume {
    /// Make a volume in a file or on a device
    #[command(after_help = "\
A file is written out in full, so that space cannot run out underneath it. What is there is not overwritten unless
--overwrite is given and the id of the volume there (or, if it holds something else, its path) is typed back.

Examples:
  penstock volume format /var/lib/penstock/volume --size 32GiB
  penstock volume format /dev/mmcblk1
  penstock volume format /dev/mmcblk1 --overwrite --confirm 5f2c…")]
    Format {
        /// The file or device
        #[arg(value_name = "PATH", value_hint = ValueHint::FilePath)]
        path: PathBuf,
        /// The size of a file; a device is used whole
        #[arg(long, value_name = "SIZE", default_value = "4GiB", value_parser = bytes)]
        size: Bytes,
        /// The size of a segment, a power of two
        #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = segment_bytes)]
        segment_size: u32,
        /// Destroy what is there
        #[arg(long)]
        overwrite: bool,
        /// The id of the volume that is destroyed, instead of typing it
        #[arg(long, value_name = "ID", requires = "overwrite")]
        confirm: Option<String>,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },

    /// Tell what a volume is and how it stands: the daemon's, or an image that nobody uses
    #[command(after_help = "\
Examples:
  penstock volume info                   the volume of the running service
  penstock volume info --nor             the one that stands in for it
  penstock volume info /dev/mmcblk1      one that is not in use")]
    Info(Target),

    /// Read everything on a volume and tell whether it is as it was written; changes nothing
    #[command(after_help = "\
Exit status: 0 if everything is as it was written, 1 if not.

Examples:
  penstock volume check                  the volume of the running service, while it runs
  penstock volume check old-volume       an image that is not in use")]
    Check(Target),

    /// Read everything on a volume and put right what can be
    #[command(after_help = "\
A message with flipped bits is written again if its SHA-256 then agrees. What cannot be put right is kept, and not given
out. The service does this by itself (settings: volume.scrub_interval, volume.scrub_percent_max).

Examples:
  penstock volume scrub                  now, and show how far it is
  penstock volume scrub --detach         now, without waiting for it
  penstock volume scrub --follow         watch the one that is running
  penstock volume scrub --stop
  penstock volume scrub old-volume       an image that is not in use")]
    Scrub {
        #[command(flatten)]
        target: Target,
        /// Do not wait for its end
        #[arg(long, conflicts_with_all = ["image", "stop", "follow"])]
        detach: bool,
        /// Show how far the one is that is running
        #[arg(long, conflicts_with_all = ["image", "stop"])]
        follow: bool,
        /// End the one that is running
        #[arg(long, conflicts_with = "image")]
        stop: bool,
    },

    /// Write every intact message of a damaged volume into a folder; the volume is only read
    #[command(after_help = "\
For each message there are two files: d-17.eml, the message as it was received, and d-17.json with its envelope, its
recipients and what became of each. It works also where the volume cannot be mounted; then it may find mail that was
delivered long ago, and says so of each recipient as far as it knows.

Examples:
  penstock volume salvage /dev/mmcblk1 rescued
  penstock volume salvage volume.img rescued --resume")]
    Salvage {
        /// The damaged volume: a file or device
        #[arg(value_hint = ValueHint::FilePath)]
        image: PathBuf,
        /// The folder to write to: a new or empty one
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        /// Go on with a salvage of the same volume into the same folder
        #[arg(long)]
        resume: bool,
        /// The size of a segment, if the volume no longer tells
        #[arg(long, value_name = "SIZE", value_parser = segment_bytes)]
        segment_size: Option<u32>,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },

    /// Take over the undelivered mail of another box's volume; that volume is only read
    #[command(after_help = "\
For the disk of a box that is dead: plug it into a machine on which the service runs. Each message goes into the service's
queue with its envelope, its age and every byte, and is released like the rest; the ledger says where it came from. Recipients
that were done stay done; those that were held are tried again. Run it again if it was cut: it goes on where it stopped, and
brings nothing over twice.

Examples:
  penstock volume adopt /dev/sdb
  penstock volume adopt old-box.img")]
    Adopt {
        /// The volume of the other box: a file or device that is not in use
        #[arg(value_name = "IMAGE", value_hint = ValueHint::FilePath)]
        image: PathBuf,
        /// The size of a segment, if the volume no longer tells
        #[arg(long, value_name = "SIZE", value_parser = segment_bytes)]
        segment_size: Option<u32>,
        #[command(flatten)]
        daemon: Daemon,
    },

    /// Tell whether a device's flush can be believed
    #[command(after_help = "\
Without pulling the plug this can only be guessed, from what the kernel says and how long a flush takes. To know:
write until the power is pulled, note the last number, and look for all of them afterwards.

Examples:
  penstock volume qualify /var/lib/penstock                           guess, with a scratch file there
  penstock volume qualify --listen 0.0.0.0:2600                       on another machine: note the numbers
  penstock volume qualify /var/lib/penstock --write --witness other:2600    write, and pull the plug
  penstock volume qualify /var/lib/penstock --verify 48213            after the power is back")]
    Qualify(Qualify),
}

/// A volume of the daemon, or another.
#[derive(Args, Debug)]
pub(crate) struct Target {
    /// The volume that takes mail while the disk fails (settings: volume.reserve), instead of the disk
    #[arg(long, conflicts_with = "image")]
    pub(crate) nor: bool,
    /// A file or device that is not in use; without it, the volume of the running service
    #[arg(value_name = "IMAGE", value_hint = ValueHint::FilePath)]
    pub(crate) image: Option<PathBuf>,
    /// The size of a segment, if the image does not tell
    #[arg(long, value_name = "SIZE", value_parser = segment_bytes, requires = "image")]
    pub(crate) segment_size: Option<u32>,
    #[command(flatten)]
    pub(crate) daemon: Daemon,
}

/// `penstock volume qualify`
#[derive(Args, Debug)]
pub(crate) struct Qualify {
    /// A folder on the device, where a scratch file of 64 MiB is made; or a whole device, which needs --destroy
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath, required_unless_present = "listen")]
    pub(crate) path: Option<PathBuf>,
    /// Write numbered records, each with its flush, and tell their numbers until the power is pulled
    #[arg(long, conflicts_with_all = ["verify", "listen"])]
    pub(crate) write: bool,
    /// Tell the numbers to this machine, where `qualify --listen` runs; else they go to standard output
    #[arg(long, value_name = "HOST:PORT", requires = "write")]
    pub(crate) witness: Option<String>,
    /// Stop by itself after so many records
    #[arg(long, value_name = "COUNT", requires = "write", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) records: Option<u64>,
    /// Look for every record up to this number
    #[arg(long, value_name = "NUMBER", conflicts_with = "listen", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) verify: Option<u64>,
    /// Note the numbers of another machine, one after the other, until Ctrl-C
    #[arg(long, value_name = "ADDRESS", conflicts_with = "path")]
    pub(crate) listen: Option<SocketAddr>,
    /// Overwrite the first 64 MiB of the device
    #[arg(long, requires = "path", conflicts_with = "verify")]
    pub(crate) destroy: bool,
    /// Answer in JSON
    #[arg(long, conflicts_with_all = ["write", "listen"])]
    pub(crate) json: bool,
}

impl Target {
    /// Which volume of the daemon it is.
    pub(crate) const fn store(&self) -> Store {
        if self.nor { Store::Nor } else { Store::Disk }
    }
}

impl Volume {
    pub(crate) fn answers_in_json(&self) -> bool {
        match self {
            Self::Format { json, .. } | Self::Salvage { json, .. } => *json,
            Self::Info(target) | Self::Check(target) | Self::Scrub { target, .. } => target.daemon.json,
            Self::Adopt { daemon, .. } => daemon.json,
            Self::Qualify(qualify) => qualify.json,
        }
    }
}

fn bytes(text: &str) -> Result<Bytes, &'static str> {
    Bytes::from_text(text).ok_or("must be a whole number and a unit, such as 64MiB or 4GiB")
}

fn segment_bytes(text: &str) -> Result<u32, &'static str> {
    let wrong = "must be a power of two from 64KiB to 256MiB, such as 16MiB";
    let size = u32::try_from(bytes(text)?.0).map_err(|_| wrong)?;
    let fits = size.is_power_of_two() && (64 << 10..=256 << 20).contains(&size);
    if fits { Ok(size) } else { Err(wrong) }
}
