//! What the help says.

use core::fmt::{self, Write};

use crate::commands::COMMANDS;
use crate::failure::Failure;
use crate::failure::codes::NOT_UNDERSTOOD;
use crate::levels::Level;
use crate::parse::find;
use crate::table::{Definition, Group, TypedBack};

/// So wide is a terminal, whose last column is left free.
const COLUMNS: usize = 79;
/// So wide is the column of names.
const NAME_COLUMNS: usize = 16;

/// Lists what can be typed at a level, group by group.
pub(crate) fn list(level: Level, out: &mut dyn Write) -> fmt::Result {
    for group in Group::ALL {
        let mut rows =
            COMMANDS.iter().filter(|row| row.group == group && row.levels.contain(level)).peekable();
        if rows.peek().is_none() {
            continue;
        }
        writeln!(out, "{}", group.name())?;
        for row in rows {
            write_row(row, out)?;
        }
    }
    writeln!(out, "`help COMMAND` explains one. Every answer ends in OK, or ERR and a code.")
}

/// Explains a command.
pub(crate) fn explain(name: &str, level: Level, out: &mut dyn Write) -> Result<(), Failure> {
    if let Some(row) = find(name, level) {
        // Where nothing can be written nobody reads it.
        let _ = write_explanation(row, level, out);
        return Ok(());
    }
    // The first word of several commands.
    let is_one = |row: &&Definition| {
        row.levels.contain(level) && row.name.split_once(' ').is_some_and(|(head, _)| head == name)
    };
    let mut rows = COMMANDS.iter().filter(is_one).peekable();
    if rows.peek().is_none() {
        let text = format_args!("no command `{name}`: `help` lists what can be typed");
        return Err(Failure::new(NOT_UNDERSTOOD, text));
    }
    for row in rows {
        let _ = write_row(row, out);
    }
    Ok(())
}

fn write_row(row: &Definition, out: &mut dyn Write) -> fmt::Result {
    write!(out, "  {:NAME_COLUMNS$}", row.name)?;
    write_folded(row.about, 2 + NAME_COLUMNS, out)
}

/// Writes words, of which those that no line has room for stand on further ones below the first. There is something on that
/// up to a column.
fn write_folded(words: &str, column: usize, out: &mut dyn Write) -> fmt::Result {
    let mut at = column;
    for word in words.split(' ') {
        if at == column {
            at += word.len();
        } else if at + 1 + word.len() > COLUMNS {
            write!(out, "\n{:column$}", "")?;
            at = column + word.len();
        } else {
            out.write_char(' ')?;
            at += 1 + word.len();
        }
        out.write_str(word)?;
    }
    writeln!(out)
}

fn write_explanation(row: &Definition, level: Level, out: &mut dyn Write) -> fmt::Result {
    write_folded(row.about, 0, out)?;
    writeln!(out, "\nUsage: {} {}", row.name, row.arguments)?;
    for (alias, levels) in row.aliases {
        if levels.contain(level) {
            writeln!(out, "Also: {alias}")?;
        }
    }
    write!(out, "At:")?;
    for (index, level) in Level::ALL.into_iter().filter(|level| row.levels.contain(*level)).enumerate() {
        write!(out, "{} {level}", if index == 0 { "" } else { "," })?;
    }
    writeln!(out)?;
    match row.typed_back {
        Some(TypedBack::Slot) => writeln!(out, "The name of the slot has to be typed back.")?,
        Some(TypedBack::Serial) => writeln!(out, "The serial number of the box has to be typed back.")?,
        None => {}
    }
    if !row.more.is_empty() {
        writeln!(out, "\n{}", row.more)?;
    }
    Ok(())
}
