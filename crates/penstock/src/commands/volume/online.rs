//! `penstock volume check` and `scrub` of the volume that the service runs on.

use std::io::Write;
use std::time::Duration;

use penstock_daemon::control::Store;
use penstock_daemon::control::volume::{ScrubRequest, ScrubResult, ScrubView};

use super::check::write_verdict;
use crate::client::Client;
use crate::commands::{acted, write_json};
use crate::failure::{Exit, Failure};
use crate::text::Screen;
use crate::text::human::{moment, wait};
use crate::text::progress::Progress;

/// How often the service is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// Has the volume gone through, and waits for the end.
pub(super) async fn scrub(
    client: &Client,
    which: Store,
    repair: bool,
    waits: bool,
    json: bool,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let view = client.begin_scrub(which, &ScrubRequest { repair }).await?;
    if !waits {
        if json {
            return write_json(&view, screen);
        }
        return Ok(writeln!(screen, "It has begun; `penstock volume scrub --follow` shows how far it is.")?);
    }
    let number = view.running.as_ref().map(|run| run.number);
    wait_for(client, which, view, number, json, screen).await
}

/// Waits for the end of the pass that is under way, or tells of the last.
pub(super) async fn follow(
    client: &Client,
    which: Store,
    json: bool,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let view = client.scrub(which).await?;
    let number = view.running.as_ref().map(|run| run.number);
    if number.is_none() && !json {
        match (&view.last, view.next_in_s) {
            (None, None) => {
                writeln!(screen, "None is running, and none is due (volume.scrub_percent_max is 0).")?;
            }
            (None, Some(s)) => writeln!(screen, "None is running; the next begins in {}.", wait(s * 1000))?,
            (Some(last), next) => {
                let ended = last.ended_unix_ms.map_or_else(|| "at a time not known".to_owned(), moment);
                let next = next.map_or(String::new(), |s| format!("; the next begins in {}", wait(s * 1000)));
                writeln!(screen, "None is running. The last ended {ended}{next}.")?;
            }
        }
    }
    wait_for(client, which, view, number, json, screen).await
}

pub(super) async fn stop(
    client: &Client,
    which: Store,
    json: bool,
    screen: &mut Screen,
) -> Result<(), Failure> {
    acted(&client.stop_scrub(which).await?, json, screen)
}

async fn wait_for(
    client: &Client,
    which: Store,
    mut view: ScrubView,
    number: Option<u64>,
    json: bool,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let mut progress = Progress::new("scrubbing", json);
    while let Some(run) = view.running.as_ref().filter(|run| Some(run.number) == number) {
        progress.with_left(run.done_bytes, run.total_bytes, run.left_in_s);
        tokio::time::sleep(ASK_EVERY).await;
        view = client.scrub(which).await?;
    }
    drop(progress);
    let Some(last) = view.last else { return Ok(()) };
    if number.is_some_and(|number| number != last.number) {
        return Err(Failure::new(
            Exit::Failed,
            "PS-D310",
            "the scrub that was followed has no result: the volume was mounted anew, or another began",
            "`penstock volume scrub --follow` shows how it stands.",
        ));
    }
    tell(&last, json, screen)
}

fn tell(last: &ScrubResult, json: bool, screen: &mut Screen) -> Result<(), Failure> {
    let clean = last.found.flaws().is_none();
    if json {
        write_json(last, screen)?;
    } else {
        if !last.complete {
            writeln!(screen, "It was stopped before its end.")?;
        }
        write_verdict(last, clean, screen)?;
    }
    if clean && last.complete {
        return Ok(());
    }
    screen.flush()?;
    Err(Failure::Silent(Exit::Failed))
}
