//! What somebody at the box can do to it, apart from its mail.

use std::io::Write as _;
use std::path::Path;

use penstock_daemon::keeper::{self, Done, How, Request, Reset};

use super::{config, look, net, why};
use crate::args::{Ask, Command, Daemon};
use crate::commands;
use crate::failure::{Exit, Failure};
use crate::text::Screen;
use crate::text::block::{REPORT, folded};
use crate::text::human::plain;

/// Lines of the log in a report.
const REPORT_LOG_LINES: u16 = 40;
/// Events in a report.
const REPORT_EVENTS: u32 = 20;

/// A report is that wide, so that no terminal breaks its lines.
const REPORT_COLUMNS: usize = 79;

/// A part of a report that is the console's own.
type Part = fn(&mut Screen) -> Result<(), Failure>;

/// Asks the first process to end the box.
pub(super) fn end(how: How, screen: &mut Screen) -> Result<(), Failure> {
    ask(&Request::End { how }, screen)
}

/// Asks the first process to forget.
pub(super) fn reset(what: Reset, serial: String, screen: &mut Screen) -> Result<(), Failure> {
    ask(&Request::Reset { what, serial }, screen)
}

fn ask(request: &Request, screen: &mut Screen) -> Result<(), Failure> {
    let done: Done =
        keeper::ask(Path::new(keeper::SOCKET), request).map_err(|why| Failure::Told(Exit::Failed, why))?;
    Ok(writeln!(screen, "{}", plain(&done.summary))?)
}

/// Everything that support asks for first, closed by a checksum. There are no secrets in it and in the log, and no text of
/// a message.
pub(super) fn report(screen: &mut Screen) -> Result<(), Failure> {
    let daemon = || Daemon { socket: None, json: false };
    let mut kept = Screen::keeping();
    let own: [(&str, Part); 7] = [
        ("version", look::version),
        ("why", why::why),
        ("clock", look::clock),
        ("mem", look::memory),
        ("net", net::interfaces),
        ("config", |screen| config::shown().and_then(|text| Ok(screen.write_all(text.as_bytes())?))),
        ("journal", |screen| look::journal(REPORT_LOG_LINES, screen)),
    ];
    for (name, write) in own {
        writeln!(kept, "--- {name}")?;
        part(&mut kept, write)?;
    }
    let events = Ask::Events { message: None, kind: None, limit: REPORT_EVENTS, daemon: daemon() };
    for (name, ask) in [("status", Ask::Status { daemon: daemon() }), ("events", events)] {
        writeln!(kept, "--- {name}")?;
        part(&mut kept, |kept| commands::run_on(Command::Ask(ask), kept))?;
    }
    let text: String = kept.take().lines().map(|line| plain(&line.replace('\t', "    ")) + "\n").collect();
    Ok(screen.write_all(REPORT.wrap(&folded(&text, REPORT_COLUMNS)).as_bytes())?)
}

/// Writes a part of a report. One that cannot be had says so, and the rest follows.
fn part(screen: &mut Screen, write: impl FnOnce(&mut Screen) -> Result<(), Failure>) -> Result<(), Failure> {
    match write(screen) {
        Err(error @ Failure::Told(..)) => Ok(writeln!(screen, "{error}")?),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use penstock_console::Report;

    use crate::text::block::{REPORT, Read};

    #[test]
    fn a_report_of_the_firmware_is_verified_as_ours_are() {
        let mut pasted = String::from("it says this:\n");
        let mut report = Report::begin(&mut pasted).unwrap();
        writeln!(report, "version\nOK  \n\nfür alle").unwrap();
        report.end().unwrap();
        assert!(matches!(REPORT.read(&pasted, false), Read::Whole(_)), "{pasted}");
        assert!(matches!(REPORT.read(&pasted.replace("alle", "alles"), false), Read::Changed { .. }));
    }
}
