//! `penstock volume`: the volume of the running service through its socket, or an image that nobody uses.

mod adopt;
mod check;
mod format;
mod image;
mod info;
mod online;
mod qualify;
mod salvage;

use penstock_spool::ScrubMode;

use crate::args::{Daemon, Volume};
use crate::client::Client;
use crate::failure::Failure;
use crate::text::Screen;

/// Names of damaged messages that are told; the JSON has all.
const NAMES_MAX: usize = 20;

pub(super) fn run(what: Volume, screen: &mut Screen) -> Result<(), Failure> {
    match what {
        Volume::Format { path, size, segment_size, overwrite, confirm, json } => {
            let asked =
                format::Format { size_bytes: size.0, segment_bytes: segment_size, overwrite, confirm };
            format::run(&path, &asked, json, screen)
        }
        Volume::Info(target) => match &target.image {
            Some(image) => info::offline(image, target.segment_size, target.daemon.json, screen),
            None => ask(&target.daemon, async |client| {
                info::online(client, target.store(), target.daemon.json, screen).await
            }),
        },
        Volume::Check(target) => match &target.image {
            Some(image) => {
                check::run(image, target.segment_size, ScrubMode::Check, target.daemon.json, screen)
            }
            None => ask(&target.daemon, async |client| {
                online::scrub(client, target.store(), false, true, target.daemon.json, screen).await
            }),
        },
        Volume::Scrub { target, detach, follow, stop } => {
            let (json, which) = (target.daemon.json, target.store());
            match &target.image {
                Some(image) => check::run(image, target.segment_size, ScrubMode::Repair, json, screen),
                None if stop => {
                    ask(&target.daemon, async |client| online::stop(client, which, json, screen).await)
                }
                None if follow => {
                    ask(&target.daemon, async |client| online::follow(client, which, json, screen).await)
                }
                None => ask(&target.daemon, async |client| {
                    online::scrub(client, which, true, !detach, json, screen).await
                }),
            }
        }
        Volume::Salvage { image, dir, resume, segment_size, json } => {
            salvage::run(&image, segment_size, &dir, resume, json, screen)
        }
        Volume::Adopt { image, segment_size, daemon } => {
            let json = daemon.json;
            ask(&daemon, async |client| adopt::run(client, &image, segment_size, json, screen).await)
        }
        Volume::Qualify(asked) => qualify::run(&asked, screen),
    }
}

fn ask(daemon: &Daemon, ask: impl AsyncFnOnce(&Client) -> Result<(), Failure>) -> Result<(), Failure> {
    let client = Client::new(daemon.socket.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ask(&client))
}
