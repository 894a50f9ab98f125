//! `config`: the settings seen and changed. Changes are collected in a draft; `config apply` has the box run with it, and keeps
//! it only if the service is well then.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use penstock_daemon::keeper::{self, Kept, Request};
use penstock_settings::{Change, Code, Settings, changes, entries, with_kept, without_secrets};

use super::editor::Lines;
use super::failure;
use crate::args::SETTINGS_FILE;
use crate::client::Client;
use crate::commands::await_it;
use crate::commands::settings::{follow, summary};
use crate::edit::{self, Place};
use crate::failure::{Exit, Failure};
use crate::text::block::{Read, SETTINGS};
use crate::text::human::plain;
use crate::text::{Screen, wrap};

/// How wide a reason is shown.
const COLUMNS: usize = 76;

/// The settings that hold, and what is to become of them.
#[derive(Debug, Default)]
pub(super) struct Draft(Option<String>);

impl Draft {
    /// The text with all changes that were typed.
    pub(super) fn text(&self) -> String {
        self.0.clone().unwrap_or_else(|| current().unwrap_or_default())
    }

    /// Shows all settings, or one with all that is known of it.
    pub(super) fn show(&self, key: Option<&str>, screen: &mut Screen) -> Result<(), Failure> {
        let held = current()?;
        let Some(path) = key else {
            for line in without_secrets(&held).lines() {
                writeln!(screen, "{}", printable(line))?;
            }
            if self.0.is_some() {
                writeln!(screen, "# There are changes that are not applied: `config diff` shows them.")?;
            }
            return Ok(());
        };
        let place = Place::find(path)?;
        let Some(key) = place.key else {
            let all = entries(&held);
            let inside = all.iter().filter(|entry| entry.key.starts_with(&format!("{path}.")));
            for entry in inside {
                writeln!(screen, "{} = {}", plain(&entry.key), plain(&entry.value))?;
            }
            return Ok(());
        };
        match edit::value_of(&held, path) {
            Some(value) => writeln!(screen, "{path} = {}", plain(&value))?,
            None => writeln!(screen, "{path} is not set: its default holds")?,
        }
        if let Some(drafted) = self.0.as_deref().and_then(|draft| edit::value_of(draft, path)) {
            writeln!(screen, "to become {}", plain(&drafted))?;
        }
        if let Some(default) = edit::default_of(key) {
            writeln!(screen, "default   {default}")?;
        }
        for line in wrap(&format!("must be {}", (key.allowed)()), Some(COLUMNS)) {
            writeln!(screen, "{line}")?;
        }
        let reason: Vec<&str> = key.reason.iter().map(|line| line.trim()).collect();
        for line in wrap(&reason.join(" "), Some(COLUMNS)) {
            writeln!(screen, "  {line}")?;
        }
        Ok(())
    }

    pub(super) fn set(&mut self, key: &str, words: &[String], screen: &mut Screen) -> Result<(), Failure> {
        self.become_text(edit::set(&self.text(), key, words)?, screen)
    }

    pub(super) fn unset(&mut self, key: &str, screen: &mut Screen) -> Result<(), Failure> {
        self.become_text(edit::unset(&self.text(), key)?, screen)
    }

    fn become_text(&mut self, text: String, screen: &mut Screen) -> Result<(), Failure> {
        write_changes(&changes(&self.text(), &text), screen)?;
        if let Err(problems) = Settings::parse(&text) {
            writeln!(screen, "Before `config apply` something else has to change as well:")?;
            for problem in problems.iter().filter(|problem| problem.code != Code::Missing).take(10) {
                writeln!(screen, "  {}", plain(&problem.to_string()))?;
            }
            let missing: Vec<&str> = problems
                .iter()
                .filter(|problem| problem.code == Code::Missing)
                .map(|problem| problem.key.as_str())
                .collect();
            if !missing.is_empty() {
                writeln!(screen, "  to be set: {}", missing.join(", "))?;
            }
        }
        self.0 = Some(text);
        Ok(())
    }

    /// Shows what would change.
    pub(super) fn diff(&self, screen: &mut Screen) -> Result<(), Failure> {
        match &self.0 {
            None => writeln!(screen, "nothing")?,
            Some(draft) => write_changes(&changes(&current().unwrap_or_default(), draft), screen)?,
        }
        Ok(())
    }

    /// Forgets the changes.
    pub(super) fn discard(&mut self) {
        self.0 = None;
    }

    /// Has the box run with the changes.
    pub(super) fn apply(&mut self, screen: &mut Screen) -> Result<(), Failure> {
        let Some(draft) = &self.0 else {
            return Ok(writeln!(screen, "there is nothing to apply")?);
        };
        apply(draft, screen)?;
        self.0 = None;
        Ok(())
    }

    /// Reads settings from the line, up to the line that ends them, and has the box run with them.
    pub(super) fn import(&mut self, lines: &mut Lines, screen: &mut Screen) -> Result<(), Failure> {
        writeln!(screen, "Send the settings, then a line with \"{}\".", SETTINGS.ends)?;
        screen.flush()?;
        let block = lines.read_until(|line| SETTINGS.is_end(line))?.ok_or_else(|| {
            failure("PS-K042", "the settings have no end, or are too long", "Nothing was changed.")
        })?;
        let text = match SETTINGS.read(&block, true) {
            Read::Whole(text) => text,
            Read::Changed { written, found } => {
                return Err(failure(
                    "PS-K043",
                    format!("that is not what was sent: CRC-32C {found:08x} in place of {written:08x}"),
                    "Send them again, slower if characters are lost. Nothing was changed.",
                ));
            }
            Read::NoBegin | Read::NoEnd => {
                return Err(failure("PS-K042", "the settings have no end", "Nothing was changed."));
            }
        };
        apply(&text, screen)?;
        self.0 = None;
        Ok(())
    }
}

/// Writes the settings that hold, in a block that `import` takes. Secrets are left out, which means there: as they are.
pub(super) fn export(screen: &mut Screen) -> Result<(), Failure> {
    let text: String = shown()?.lines().map(|line| printable(line) + "\n").collect();
    Ok(screen.write_all(SETTINGS.wrap(&text).as_bytes())?)
}

/// The settings that hold, without secrets.
pub(super) fn shown() -> Result<String, Failure> {
    current().map(|text| without_secrets(&text))
}

/// The settings that hold: as the first process has them, or where there is none as they stand in the file.
pub(super) fn current() -> Result<String, Failure> {
    let no_settings = || {
        failure(
            "PS-K044",
            "this box has no settings yet",
            "`setup` asks for what it needs; `settings import` takes a file.",
        )
    };
    match keeper::ask::<Kept>(Path::new(keeper::SOCKET), &Request::Settings) {
        Ok(kept) => kept.text.ok_or_else(no_settings),
        Err(_) => fs::read_to_string(SETTINGS_FILE).map_err(|_| no_settings()),
    }
}

/// Has the box run with settings, and waits whether it keeps them.
pub(super) fn apply(text: &str, screen: &mut Screen) -> Result<(), Failure> {
    // Settings that were exported have no secrets, and mean those that the box has.
    let text = &with_kept(text, &current().unwrap_or_default());
    let settings = Settings::parse(text).map_err(|problems| edit::wrong(&problems))?;
    let said =
        "The service starts with these settings. They are kept once it has been well for some seconds.";
    for text in [summary(&settings).as_str(), said] {
        for line in wrap(text, Some(COLUMNS)) {
            writeln!(screen, "{line}")?;
        }
    }
    screen.flush()?;
    let first = Path::new(keeper::SOCKET);
    // What an operator does is in the ledger, which the service writes. Where it does not run it cannot.
    let through_service = await_it(async { Client::new(None).put_settings(text.clone()).await })?;
    let trial = match through_service {
        Ok(view) => view.trial,
        Err(Failure::Told(Exit::Unreachable, _)) => {
            let request = Request::Try { text: text.clone(), by: String::new() };
            keeper::ask::<Kept>(first, &request).map_err(|why| Failure::Told(Exit::Failed, why))?.trial
        }
        Err(other) => return Err(other),
    };
    let number = trial.map_or(0, |trial| trial.number);
    follow(number, || keeper::ask::<Kept>(first, &Request::Settings).ok()?.trial)?;
    Ok(writeln!(screen, "The service is well: the settings are kept.")?)
}

fn write_changes(changed: &[Change], screen: &mut Screen) -> Result<(), Failure> {
    if changed.is_empty() {
        return Ok(writeln!(screen, "nothing changes")?);
    }
    for Change { key, from, to } in changed {
        let value = |value: &Option<String>| value.as_deref().map_or_else(|| "its default".into(), plain);
        writeln!(screen, "{}: {} -> {}", plain(key), value(from), value(to))?;
    }
    Ok(())
}

/// A line of a settings file as it can go to a terminal. The only control character that TOML allows is the tab.
fn printable(line: &str) -> String {
    line.split('\t').map(plain).collect::<Vec<_>>().join("\t")
}
