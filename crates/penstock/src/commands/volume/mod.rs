//! `penstock volume`: the volume of the running service through its socket, or an image that nobody uses.

mod check;
mod format;
mod image;
mod info;
mod online;
mod qualify;
mod salvage;

use penstock_spool::ScrubMode;

use crate::args::{Target, Volume};
use crate::client::Client;
use crate::failure::Failure;
use crate::text::Screen;

pub(super) fn run(what: Volume, screen: &mut Screen) -> Result<(), Failure> {
    match what {
        Volume::Format { path, size, segment_size, overwrite, confirm, json } => {
            let asked =
                format::Format { size_bytes: size.0, segment_bytes: segment_size, overwrite, confirm };
            format::run(&path, &asked, json, screen)
        }
        Volume::Info(target) => match &target.image {
            Some(image) => info::offline(image, target.segment_size, target.daemon.json, screen),
            None => ask(&target, async |client| info::online(client, target.daemon.json, screen).await),
        },
        Volume::Check(target) => match &target.image {
            Some(image) => {
                check::run(image, target.segment_size, ScrubMode::Check, target.daemon.json, screen)
            }
            None => ask(&target, async |client| {
                online::scrub(client, false, true, target.daemon.json, screen).await
            }),
        },
        Volume::Scrub { target, detach, follow, stop } => {
            let json = target.daemon.json;
            match &target.image {
                Some(image) => check::run(image, target.segment_size, ScrubMode::Repair, json, screen),
                None if stop => ask(&target, async |client| online::stop(client, json, screen).await),
                None if follow => ask(&target, async |client| online::follow(client, json, screen).await),
                None => ask(&target, async |client| online::scrub(client, true, !detach, json, screen).await),
            }
        }
        Volume::Salvage { image, dir, resume, segment_size, json } => {
            salvage::run(&image, segment_size, &dir, resume, json, screen)
        }
        Volume::Qualify(asked) => qualify::run(&asked, screen),
    }
}

fn ask(target: &Target, ask: impl AsyncFnOnce(&Client) -> Result<(), Failure>) -> Result<(), Failure> {
    let client = Client::new(target.daemon.socket.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ask(&client))
}
