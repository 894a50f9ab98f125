//! `penstock serve`

use std::io;
use std::path::{Path, PathBuf};

use penstock_daemon::Options;
use penstock_settings::Settings;

use super::settings::{read, write_problems};
use crate::failure::{Exit, Failure};

/// The variable that names the socket of the first process.
pub(crate) const KEEPER_VARIABLE: &str = "PENSTOCK_KEEPER";
/// The variable with what is to stand in the ledger about the settings.
pub(crate) const NOTE_VARIABLE: &str = "PENSTOCK_NOTE";
/// The variable that names the file with the reason of a stop.
pub(crate) const STOP_REASON_VARIABLE: &str = "PENSTOCK_STOP_REASON";
/// The variable that has mode and states begin anew.
pub(crate) const FORGET_VARIABLE: &str = "PENSTOCK_FORGET";
/// The variable that says that all mail was destroyed.
pub(crate) const ERASED_VARIABLE: &str = "PENSTOCK_ERASED";

pub(super) fn run(path: &Path) -> Result<(), Failure> {
    let settings = match Settings::parse(&read(path)?) {
        Ok(settings) => settings,
        Err(problems) => {
            write_problems(path, &problems, &mut io::stderr().lock())?;
            return Err(Failure::Silent(Exit::Failed));
        }
    };
    penstock_daemon::start_log(&settings.system);
    penstock_daemon::run(settings, &options(path)).map_err(|error| {
        let text = error.to_string();
        let message = text.strip_prefix(error.code()).unwrap_or(&text).trim_start();
        Failure::new(Exit::Failed, error.code(), message, "")
    })
}

/// What the first process of a box says through the environment; on a host there is nothing of it.
fn options(path: &Path) -> Options {
    let said = |name: &str| std::env::var_os(name);
    Options {
        settings_file: path.to_owned(),
        keeper: said(KEEPER_VARIABLE).map(PathBuf::from),
        note: said(NOTE_VARIABLE).and_then(|note| note.into_string().ok()),
        stop_reason: said(STOP_REASON_VARIABLE).map(PathBuf::from),
        forget: said(FORGET_VARIABLE).is_some(),
        erased: said(ERASED_VARIABLE).is_some(),
    }
}
