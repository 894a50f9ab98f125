//! The one binary of Penstock: the service, and the commands with which an operator speaks to it.
//!
//! A command asks the daemon through its control socket and prints the answer, for people or as JSON; it knows nothing
//! by itself and keeps nothing.

mod args;
mod client;
mod commands;
mod console;
mod edit;
mod failure;
mod init;
mod memory;
mod text;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use args::Cli;
use failure::Failure;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let json = command.answers_in_json();
    match commands::run(command) {
        Ok(()) | Err(Failure::Unread) => ExitCode::SUCCESS,
        Err(failure) => {
            // If standard error is closed as well, the exit status has to do.
            let _ = tell(&failure, json);
            match failure {
                Failure::Told(exit, _) | Failure::Silent(exit) => ExitCode::from(exit as u8),
                Failure::Unread => ExitCode::SUCCESS,
            }
        }
    }
}

fn tell(failure: &Failure, json: bool) -> io::Result<()> {
    let Failure::Told(_, body) = failure else { return Ok(()) };
    let mut stderr = io::stderr().lock();
    if json {
        serde_json::to_writer(&mut stderr, body)?;
        return writeln!(stderr);
    }
    writeln!(stderr, "penstock: {}", text::human::plain(&body.to_string()))?;
    if body.help.is_empty() { Ok(()) } else { writeln!(stderr, "{}", text::human::plain(&body.help)) }
}
