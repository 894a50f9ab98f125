//! `penstock console`: the serial line of a box, for a person with a cable and for a script.
//!
//! One command a line. The last line of every answer is `OK`, or `ERR` with the code of what went wrong and what it is, so that
//! a program can tell where an answer ends and what it was. The operator's commands are those of the command line, without the
//! word `penstock`; to them come what only somebody at the box needs: its memory, clock and network, and switching it off. What
//! the firmware's console and stage 0 have as well is called and explained as it is there.
//!
//! What is here runs as a user of its own, which may use the control socket and may ask the first process to end the box. It
//! never writes the text of a message to the line.

mod act;
mod checks;
mod config;
mod dns;
mod editor;
mod look;
mod net;
mod ping;
mod setup;
mod typed;
mod why;

use std::io::{self, Write as _};

use crate::commands;
use crate::failure::{Exit, Failure};
use crate::text::Screen;
use crate::text::human::plain;
use config::Draft;
use editor::{Lines, Read};
use penstock_daemon::keeper::{How, Reset};
use typed::{Config, Meaning, Typed};

/// What is kept from one line to the next.
struct Session {
    lines: Lines,
    draft: Draft,
}

/// Reads and answers until the line is closed.
pub(crate) fn run() -> Result<(), Failure> {
    take_terminal();
    let mut session = Session { lines: Lines::new(), draft: Draft::default() };
    let greeting = format!("Penstock {}. `help` lists what can be typed.", env!("CARGO_PKG_VERSION"));
    writeln!(io::stdout().lock(), "\n{greeting}")?;
    if setup::is_needed() {
        let asked = setup::run(&mut session, true);
        tell(asked)?;
    }
    loop {
        match session.lines.read()? {
            Read::Line(line) => answer(&line, &mut session)?,
            Read::Nothing => {}
            Read::Closed => return Ok(()),
        }
    }
}

/// Makes the line the controlling terminal, so that Ctrl-C comes as a signal. Where that is not to be had, in a pipe or in a
/// shell that has it already, nothing is lost.
fn take_terminal() {
    let _ = rustix::process::setsid();
    let _ = rustix::process::ioctl_tiocsctty(io::stdin());
}

/// Does what a line asks for, and says how it went.
fn answer(line: &str, session: &mut Session) -> Result<(), Failure> {
    let done = match typed::understand(line) {
        Ok(Meaning::Nothing) => return Ok(()),
        Ok(Meaning::Help(text)) => Ok(write!(io::stdout().lock(), "{text}")?),
        Ok(Meaning::Command(command)) => carry_out(command, session),
        Err(failure) => Err(failure),
    };
    tell(done)
}

/// Says how something went, on a line of its own.
fn tell(done: Result<(), Failure>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match done {
        Ok(()) | Err(Failure::Unread) => writeln!(out, "OK")?,
        // What was wrong has been written already.
        Err(Failure::Silent(_)) => writeln!(out, "ERR PS-K002 what was wrong is written above")?,
        Err(Failure::Told(_, body)) => {
            write!(out, "ERR {} {}", plain(&body.code), plain(&body.message))?;
            if !body.help.is_empty() {
                write!(out, "{} {}", if body.message.ends_with('.') { "" } else { "." }, plain(&body.help))?;
            }
            writeln!(out)?;
        }
    }
    Ok(out.flush()?)
}

fn carry_out(command: Typed, session: &mut Session) -> Result<(), Failure> {
    let mut screen = Screen::new();
    match command {
        Typed::Ask(what) => return commands::run(crate::args::Command::Ask(what)),
        Typed::Spool { what } => return commands::run(typed::spool(what)),
        Typed::Version => look::version(&mut screen)?,
        Typed::Why => why::why(&mut screen)?,
        Typed::Slots => commands::update::status(false, &mut screen)?,
        Typed::Verify => commands::update::verify(false, &mut screen)?,
        Typed::Update(what) => return commands::run(crate::args::Command::Update(what)),
        Typed::Journal { lines } => look::journal(lines, &mut screen)?,
        Typed::Counters => look::counters(&mut screen)?,
        Typed::Dt => look::device_tree(&mut screen)?,
        Typed::Mem => look::memory(&mut screen)?,
        Typed::Clock => look::clock(&mut screen)?,
        Typed::Config { what } => settle(what, session, &mut screen)?,
        Typed::Setup => setup::run(session, false)?,
        Typed::Net => net::interfaces(&mut screen)?,
        Typed::Arp => net::neighbours(&mut screen)?,
        Typed::Ping { host, count } => ping::ping(&host, count, &mut screen)?,
        Typed::Smtp => net::next_hops(&mut screen)?,
        Typed::Report => act::report(&mut screen)?,
        Typed::Script { on } => session.lines.set_plain(on == typed::Switch::On),
        Typed::Restart => act::end(How::Restart, &mut screen)?,
        Typed::PowerOff => act::end(How::Off, &mut screen)?,
        Typed::EraseMail { serial, .. } => act::reset(Reset::Mail, serial, &mut screen)?,
        Typed::FactoryReset { serial } => act::reset(Reset::Settings, serial, &mut screen)?,
    }
    Ok(screen.flush()?)
}

fn settle(what: Option<Config>, session: &mut Session, screen: &mut Screen) -> Result<(), Failure> {
    let Session { lines, draft } = session;
    match what {
        None => draft.show(None, screen),
        Some(Config::Show { key }) => draft.show(key.as_deref(), screen),
        Some(Config::Set { key, value }) => draft.set(&key, &value, screen),
        Some(Config::Unset { key }) => draft.unset(&key, screen),
        Some(Config::Diff) => draft.diff(screen),
        Some(Config::Apply) => draft.apply(screen),
        Some(Config::Discard) => {
            draft.discard();
            Ok(())
        }
        Some(Config::Export) => config::export(screen),
        Some(Config::Import) => draft.import(lines, screen),
    }
}

/// A failure of the console's own.
fn failure(code: &str, message: impl Into<String>, help: &str) -> Failure {
    Failure::new(Exit::Failed, code, message, help)
}
