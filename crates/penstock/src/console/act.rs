//! What somebody at the box can do to it, apart from its mail.

use std::io::Write as _;
use std::os::unix::net::UnixDatagram;

use super::{failure, look, net};
use crate::args::{Ask, Command, Daemon};
use crate::commands;
use crate::failure::Failure;
use crate::init::{How, REQUESTS_SOCKET};
use crate::text::Screen;

/// Lines of the log in a report.
const REPORT_LOG_LINES: u16 = 40;
/// Events in a report.
const REPORT_EVENTS: u32 = 20;

/// A part of a report that is the console's own.
type Part = fn(&mut Screen) -> Result<(), Failure>;

/// Asks the first process to end the box.
pub(super) fn end(how: How) -> Result<(), Failure> {
    let ask = || UnixDatagram::unbound()?.send_to(how.word().as_bytes(), REQUESTS_SOCKET);
    match ask() {
        Ok(_) => Ok(()),
        Err(error) => Err(failure(
            "PS-K020",
            format!("the first process cannot be asked: {error}"),
            "Only the console of a box can do that; elsewhere use what the system has for it.",
        )),
    }
}

/// Everything that support asks for first. There are no secrets in settings or log, and no text of a message.
pub(super) fn report(screen: &mut Screen) -> Result<(), Failure> {
    let daemon = || Daemon { socket: None, json: false };
    writeln!(screen, "--- report begins")?;
    let own: [(&str, Part); 6] = [
        ("version", look::version),
        ("clock", look::clock),
        ("mem", look::memory),
        ("net", net::interfaces),
        ("config", look::config),
        ("journal", |screen| look::journal(REPORT_LOG_LINES, screen)),
    ];
    for (name, write) in own {
        writeln!(screen, "--- {name}")?;
        part(screen, write)?;
    }
    let events = Ask::Events { message: None, kind: None, limit: REPORT_EVENTS, daemon: daemon() };
    for (name, ask) in [("status", Ask::Status { daemon: daemon() }), ("events", events)] {
        writeln!(screen, "--- {name}")?;
        screen.flush()?;
        part(screen, |_| commands::run(Command::Ask(ask)))?;
    }
    Ok(writeln!(screen, "--- report ends")?)
}

/// Writes a part of a report. One that cannot be had says so, and the rest follows.
fn part(screen: &mut Screen, write: impl FnOnce(&mut Screen) -> Result<(), Failure>) -> Result<(), Failure> {
    match write(screen) {
        Err(error @ Failure::Told(..)) => Ok(writeln!(screen, "{error}")?),
        other => other,
    }
}
