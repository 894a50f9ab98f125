//! What each command does.

mod canary;
mod clients;
mod docs;
mod events;
mod export;
mod hold;
mod quarantine;
mod queue;
mod recipients;
mod replay;
mod report;
mod serve;
pub(crate) mod settings;
mod show;
mod status;
mod times;
mod tls;
mod top;
pub(crate) mod update;
mod volume;
mod watch;

pub(crate) use serve::{
    ERASED_VARIABLE, FORGET_VARIABLE, KEEPER_VARIABLE, NOTE_VARIABLE, STOP_REASON_VARIABLE,
};

use std::io::Write;

use penstock_daemon::control::clients::ClientsFilter;
use penstock_daemon::control::types::{
    ActionResult, CanaryFilter, ConfirmRequest, EventFilter, Mode, ModeRequest, RemoveRequest, Selection,
};
use serde::Serialize;

use crate::args::{self, Ask, Command, Daemon};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::text::Screen;
use crate::text::human::plain;

impl Command {
    /// Whether the one who asks is a program.
    pub(crate) fn answers_in_json(&self) -> bool {
        match self {
            Self::Ask(ask) => ask.daemon().json,
            Self::Volume(volume) => volume.answers_in_json(),
            Self::Update(update) => update.answers_in_json(),
            Self::Settings(args::Settings::Check { json, .. }) => *json,
            Self::Settings(args::Settings::Export { daemon } | args::Settings::Import { daemon, .. }) => {
                daemon.json
            }
            Self::Settings(args::Settings::Defaults | args::Settings::Fill { .. })
            | Self::VerifyReport { .. }
            | Self::Serve { .. }
            | Self::Init
            | Self::Console
            | Self::Completions { .. }
            | Self::Man { .. } => false,
        }
    }
}

impl Ask {
    fn daemon(&self) -> &Daemon {
        match self {
            Self::Status { daemon }
            | Self::Show { daemon, .. }
            | Self::Confirm { daemon, .. }
            | Self::Release { daemon, .. }
            | Self::Remove { daemon, .. }
            | Self::Export { daemon, .. }
            | Self::Canary { daemon, .. }
            | Self::Clients { daemon, .. }
            | Self::Events { daemon, .. }
            | Self::Watch { daemon, .. }
            | Self::Top { daemon, .. } => daemon,
            Self::Replay(replay) => &replay.daemon,
            Self::Quarantine(quarantine) => quarantine.daemon(),
            Self::Queue(queue) => &queue.daemon,
            Self::Recipients(what) => what.daemon(),
            Self::Tls(what) => what.daemon(),
            Self::Hold(hold) => &hold.why.daemon,
            Self::Drain(why) | Self::Stop(why) => &why.daemon,
        }
    }
}

/// Does what was asked.
pub(crate) fn run(command: Command) -> Result<(), Failure> {
    run_on(command, &mut Screen::new())
}

/// Does what was asked, and writes the answer there.
pub(crate) fn run_on(command: Command, screen: &mut Screen) -> Result<(), Failure> {
    match command {
        Command::Ask(what) => await_it(ask(what, screen))??,
        Command::Volume(what) => volume::run(what, screen)?,
        Command::Settings(what) => settings::run(what, screen)?,
        Command::Update(what) => update::run(what, screen)?,
        Command::VerifyReport { file } => report::verify(&file, screen)?,
        Command::Completions { shell } => docs::completions(shell, screen)?,
        Command::Man { dir } => docs::man(dir.as_deref(), screen)?,
        Command::Serve { settings, clock_file } => serve::run(&settings, clock_file)?,
        Command::Console => crate::console::run()?,
        Command::Init => match crate::init::run()? {},
    }
    Ok(screen.flush()?)
}

/// Runs what waits for an answer.
pub(crate) fn await_it<T>(answer: impl Future<Output = T>) -> Result<T, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(answer))
}

async fn ask(what: Ask, screen: &mut Screen) -> Result<(), Failure> {
    let Daemon { socket, json } = what.daemon().clone();
    let client = Client::new(socket);
    match what {
        Ask::Status { .. } => status::run(&client, json, screen).await,
        Ask::Top { interval, .. } => top::run(&client, interval, screen).await,
        Ask::Watch { interval, .. } => watch::run(&client, interval, json, screen).await,
        Ask::Replay(asked) => replay::run(&client, asked, screen).await,
        Ask::Quarantine(asked) => quarantine::run(&client, asked, screen).await,
        Ask::Queue(asked) => queue::run(&client, asked, screen).await,
        Ask::Show { id, .. } => show::run(&client, id, json, screen).await,
        Ask::Hold(hold) => {
            let mode = hold::mode(&hold)?;
            acted(&client.set_mode(&ModeRequest { mode, reason: hold.why.reason }).await?, json, screen)
        }
        Ask::Drain(why) => {
            let request = ModeRequest { mode: Mode::Drain, reason: why.reason };
            acted(&client.set_mode(&request).await?, json, screen)
        }
        Ask::Stop(why) => {
            let request = ModeRequest { mode: Mode::Stop, reason: why.reason };
            acted(&client.set_mode(&request).await?, json, screen)
        }
        Ask::Release { ids, all, .. } => {
            if ids.is_empty() {
                let back = client.set_mode(&ModeRequest { mode: Mode::Auto, reason: None }).await?;
                if !all {
                    return acted(&back, json, screen);
                }
            }
            let which = if all { Selection::All } else { Selection::Ids(ids) };
            acted(&client.release(&which).await?, json, screen)
        }
        Ask::Confirm { hop, .. } => acted(&client.confirm(&ConfirmRequest { hop }).await?, json, screen),
        Ask::Remove { ids, reason, .. } => {
            acted(&client.remove(&RemoveRequest { ids, reason }).await?, json, screen)
        }
        Ask::Export { id, reason, output, .. } => {
            export::run(&client, id, reason, output.as_deref(), json, screen).await
        }
        Ask::Canary { hop, .. } => canary::run(&client, &CanaryFilter { hop }, json, screen).await,
        Ask::Clients { limit, .. } => clients::run(&client, ClientsFilter { limit }, json, screen).await,
        Ask::Recipients(what) => recipients::run(&client, what, json, screen).await,
        Ask::Tls(what) => tls::run(&client, what, json, screen).await,
        Ask::Events { message, kind, limit, .. } => {
            events::run(&client, &EventFilter { message, kind, limit }, json, screen).await
        }
    }
}

/// Writes an answer as JSON, on one line.
fn write_json(answer: &impl Serialize, screen: &mut Screen) -> Result<(), Failure> {
    serde_json::to_writer(&mut *screen, answer)?;
    Ok(writeln!(screen)?)
}

/// Tells what an action did. If it could not be done with some messages, it failed.
fn acted(result: &ActionResult, json: bool, screen: &mut Screen) -> Result<(), Failure> {
    if json {
        write_json(result, screen)?;
    } else {
        writeln!(screen, "{}", plain(&result.summary))?;
        for refused in &result.refused {
            writeln!(screen, "{}: {}", refused.id, plain(&refused.error.to_string()))?;
        }
    }
    if result.refused.is_empty() {
        return Ok(());
    }
    screen.flush()?;
    Err(Failure::Silent(Exit::Failed))
}
