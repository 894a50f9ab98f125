//! `penstock settings`

mod fill;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use penstock_daemon::control::types::{Trial, TrialState};
use penstock_settings::{FILE_BYTES_MAX, Problem, Problems, Settings, defaults_text, with_kept};
use serde_json::json;

use super::{await_it, write_json};
use crate::args;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::text::Screen;
use crate::text::human::counted;

/// How long a trial can last: the service has two minutes to become well, and a minute to go back.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(240);
const TRIAL_PAUSE: Duration = Duration::from_millis(250);

/// Settings with something in the place of each secret.
const ANY_SECRETS: &str = "[ldap]\npassword = \"any\"\n";

pub(super) fn run(what: args::Settings, screen: &mut Screen) -> Result<(), Failure> {
    match what {
        args::Settings::Defaults => Ok(screen.write_all(defaults_text().as_bytes())?),
        args::Settings::Check { file, json } => check(&file, json, screen),
        args::Settings::Fill { template, values, into } => fill::run(&template, &values, &into, screen),
        args::Settings::Export { daemon } => export(daemon, screen),
        args::Settings::Import { file, daemon } => import(&file, daemon, screen),
    }
}

fn export(daemon: args::Daemon, screen: &mut Screen) -> Result<(), Failure> {
    let view = await_it(async { Client::new(daemon.socket).settings().await })??;
    if daemon.json {
        return write_json(&view, screen);
    }
    Ok(screen.write_all(view.text.as_bytes())?)
}

fn import(file: &Path, daemon: args::Daemon, screen: &mut Screen) -> Result<(), Failure> {
    let text = read(file)?;
    // For those that were exported the box puts in the secrets that it has.
    if let Err(problems) = Settings::parse(&with_kept(&text, ANY_SECRETS)) {
        write_problems(file, &problems, &mut io::stderr().lock())?;
        return Err(Failure::Silent(Exit::Failed));
    }
    let client = Client::new(daemon.socket);
    let view = await_it(client.put_settings(text))??;
    let number = view.trial.map_or(0, |trial| trial.number);
    // Meanwhile the service starts again, and may not answer for a moment.
    let outcome = follow(number, || await_it(client.settings()).ok()?.ok()?.trial)?;
    if daemon.json {
        return write_json(&outcome, screen);
    }
    Ok(writeln!(screen, "the service is well with them: they are kept")?)
}

/// Waits for the end of a trial. If the settings went back, that is a failure.
pub(crate) fn follow(number: u32, look: impl Fn() -> Option<Trial>) -> Result<Trial, Failure> {
    let began = Instant::now();
    while began.elapsed() < TRIAL_TIMEOUT {
        match look() {
            Some(trial) if trial.number != number => {
                return Err(Failure::new(
                    Exit::Failed,
                    "PS-D283",
                    "others have tried settings meanwhile, or the box was started again",
                    "`penstock settings export` tells which ones hold.",
                ));
            }
            Some(trial) if trial.state == TrialState::Kept => return Ok(trial),
            Some(Trial { state: TrialState::GoneBack, why, .. }) => {
                return Err(Failure::new(
                    Exit::Failed,
                    "PS-D282",
                    format!("the settings were not kept: {}", why.unwrap_or_default()),
                    "Those from before are back.",
                ));
            }
            _ => thread::sleep(TRIAL_PAUSE),
        }
    }
    Err(Failure::new(
        Exit::Failed,
        "PS-D284",
        "it is not known whether the settings were kept: the box does not say",
        "`penstock settings export` tells which ones hold; its serial line says more.",
    ))
}

/// Reads a settings file, at most as much of it as settings may be long; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let limit = FILE_BYTES_MAX as u64 + 1;
    let read = if path == Path::new("-") {
        io::stdin().lock().take(limit).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text))
    };
    read.map_err(|error| Failure::file(path, "read", &error))?;
    Ok(text)
}

fn check(path: &Path, json: bool, screen: &mut Screen) -> Result<(), Failure> {
    let checked = Settings::parse(&read(path)?);
    match (&checked, json) {
        (Ok(_), true) => write_json(&json!({ "ok": true, "problems": [], "more": 0 }), screen)?,
        (Ok(settings), false) => writeln!(screen, "{} is right: {}", path.display(), summary(settings))?,
        (Err(problems), true) => {
            let list: Vec<_> = problems.iter().map(problem_json).collect();
            write_json(&json!({ "ok": false, "problems": list, "more": problems.more() }), screen)?;
        }
        (Err(problems), false) => write_problems(path, problems, screen)?,
    }
    if checked.is_ok() {
        return Ok(());
    }
    screen.flush()?;
    Err(Failure::Silent(Exit::Failed))
}

/// What is wrong with a file, one problem a line.
pub(super) fn write_problems(path: &Path, problems: &Problems, to: &mut impl Write) -> io::Result<()> {
    let count = problems.iter().count() + problems.more();
    writeln!(to, "{}: {}", path.display(), counted(count as u64, "problem"))?;
    writeln!(to, "{problems}")
}

fn problem_json(problem: &Problem) -> serde_json::Value {
    json!({
        "code": problem.code.as_str(),
        "line": problem.line,
        "key": problem.key,
        "reason": problem.reason,
    })
}

/// What the box would do with these settings, one sentence.
pub(crate) fn summary(settings: &Settings) -> String {
    let listen: Vec<_> = settings.listen.addresses.iter().map(ToString::to_string).collect();
    let hops: Vec<_> =
        settings.next_hops.iter().map(|hop| format!("{} ({})", hop.name.as_str(), hop.address)).collect();
    let domains = match settings.domains.accepted.as_slice() {
        [one] => one.to_string(),
        many => counted(many.len() as u64, "domain"),
    };
    let volume = &settings.volume;
    let size = if volume.is_device() { String::new() } else { format!(" ({})", volume.size) };
    format!(
        "{} takes mail for {domains} on {}, keeps it in {}{size} and gives it to {}.",
        settings.system.hostname.as_str(),
        listen.join(", "),
        volume.path.as_str(),
        hops.join(", "),
    )
}
