//! `penstock serve`

use std::io;
use std::path::{Path, PathBuf};

use penstock_daemon::Options;
use penstock_settings::Settings;

use super::settings::{read, write_problems};
use crate::failure::{Exit, Failure};

pub(super) fn run(path: &Path, clock_file: Option<PathBuf>) -> Result<(), Failure> {
    let settings = match Settings::parse(&read(path)?) {
        Ok(settings) => settings,
        Err(problems) => {
            write_problems(path, &problems, &mut io::stderr().lock())?;
            return Err(Failure::Silent(Exit::Failed));
        }
    };
    penstock_daemon::start_log(&settings.system);
    penstock_daemon::run(settings, &Options { clock_file, sandbox: true }).map_err(|error| {
        let text = error.to_string();
        let message = text.strip_prefix(error.code()).unwrap_or(&text).trim_start();
        Failure::new(Exit::Failed, error.code(), message, "")
    })
}
