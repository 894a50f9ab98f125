//! What stage 0 has of the table, and nothing else of it.
//!
//! Its 128 KiB have no room for what explains the commands, nor for those of others. So its rows are taken out of the table when
//! this is compiled: what can be typed, and what the help says of it, is there and here the same.

use core::fmt::{self, Write};

use crate::commands::ROWS;
use crate::failure::Failure;
use crate::failure::codes::NOT_UNDERSTOOD;
use crate::levels::{Level, Levels};
use crate::table::{Definition, Reads};
use crate::words::{Command, Words};

/// A row of the table, as far as it is needed.
#[derive(Clone, Copy)]
struct Short {
    name: &'static str,
    aliases: &'static [(&'static str, Levels)],
    arguments: &'static str,
    about: &'static str,
    reads: Reads,
}

static SHORT: [Short; count()] = rows();

/// How the rows of stage 0 are told from others. One without arguments to read is userland's.
const fn reads(row: &Definition) -> Option<Reads> {
    if row.levels.contain(Level::Stage0) { row.reads } else { None }
}

const fn count() -> usize {
    let (mut count, mut at) = (0, 0);
    while at < ROWS.len() {
        if reads(&ROWS[at]).is_some() {
            count += 1;
        }
        at += 1;
    }
    count
}

const fn rows() -> [Short; count()] {
    const NONE: Short =
        Short { name: "", aliases: &[], arguments: "", about: "", reads: |_| Ok(Command::Help("")) };
    let mut rows = [NONE; count()];
    let (mut count, mut at) = (0, 0);
    while at < ROWS.len() {
        let Definition { name, aliases, arguments, about, .. } = ROWS[at];
        if let Some(reads) = reads(&ROWS[at]) {
            rows[count] = Short { name, aliases, arguments, about, reads };
            count += 1;
        }
        at += 1;
    }
    rows
}

impl Short {
    /// What stands behind the name of this command, if a line begins with it.
    fn behind<'a>(&self, line: &'a str) -> Option<&'a str> {
        let others = self.aliases.iter().filter(|(_, levels)| levels.contain(Level::Stage0));
        let mut names = core::iter::once(self.name).chain(others.map(|(name, _)| *name));
        names.find_map(|name| line.strip_prefix(name).filter(|rest| rest.is_empty() || rest.starts_with(' ')))
    }
}

fn find(line: &str) -> Result<(&'static Short, &str), Failure> {
    let found = SHORT.iter().find_map(|row| Some((row, row.behind(line)?)));
    found.ok_or_else(|| Failure::new(NOT_UNDERSTOOD, "no such command here: `help` lists what can be typed"))
}

/// Takes a line apart as [`parse`](crate::parse) does for stage 0, without guesses at what may have been meant.
///
/// # Errors
/// When stage 0 has no such command, or not with such arguments.
pub fn parse_short(line: &str) -> Result<Option<Command<'_>>, Failure> {
    let line = line.trim_ascii();
    if line.is_empty() {
        return Ok(None);
    }
    let (row, rest) = find(line)?;
    let mut words = Words::new(rest);
    let command = (row.reads)(&mut words)?;
    words.end()?;
    Ok(Some(command))
}

/// Lists the commands of stage 0, or the one that is named, a line each.
///
/// # Errors
/// When stage 0 has no such command.
pub fn explain_short(name: &str, out: &mut dyn Write) -> Result<(), Failure> {
    // Where nothing can be written nobody reads it.
    if name.is_empty() {
        let _ = SHORT.iter().try_for_each(|row| write_row(row, out));
    } else {
        let _ = write_row(find(name)?.0, out);
    }
    Ok(())
}

fn write_row(row: &Short, out: &mut dyn Write) -> fmt::Result {
    let space = if row.arguments.is_empty() { "" } else { " " };
    writeln!(out, "{}{space}{}\n  {}", row.name, row.arguments, row.about)
}
