//! What a line means.

use crate::commands::COMMANDS;
use crate::failure::Failure;
use crate::failure::codes::{ELSEWHERE, NOT_UNDERSTOOD};
use crate::levels::Level;
use crate::similar::most_similar;
use crate::table::Definition;
use crate::words::{Command, Words};

/// A line that was understood.
#[derive(Clone, Copy, Debug)]
pub struct Understood<'a> {
    /// What is to be done.
    pub command: Command<'a>,
    /// Its row of the table.
    pub definition: &'static Definition,
}

/// Takes a line apart, at a level below Linux; userland's console has its own parser for more. Nothing comes of an empty line.
///
/// # Errors
/// When there is no such command, not here, or not with such arguments.
pub fn parse(line: &str, level: Level) -> Result<Option<Understood<'_>>, Failure> {
    let mut words = Words::new(line);
    let mut behind = words.clone();
    // Who is used to a shell types the name of the program; userland's examples have it as well.
    if behind.next() == Some("penstock") {
        words = behind;
    }
    let Some((name, definition)) = take_name(&mut words, level) else { return Ok(None) };
    let definition = definition.ok_or_else(|| unknown(name, words.clone(), level))?;
    let reads = definition.reads.filter(|_| definition.levels.contain(level));
    let reads = reads.ok_or_else(|| Failure::new(ELSEWHERE, Elsewhere { definition, level }))?;
    let command = reads(&mut words)?;
    words.end()?;
    Ok(Some(Understood { command, definition }))
}

/// The command of this name, one word or two, at that level if it is there, else at any.
pub(crate) fn find(name: &str, level: Level) -> Option<&'static Definition> {
    let here = COMMANDS.iter().find(|row| row.levels.contain(level) && row.is_called(name, level));
    here.or_else(|| {
        Level::ALL.into_iter().find_map(|level| {
            COMMANDS.iter().find(|row| row.levels.contain(level) && row.is_called(name, level))
        })
    })
}

/// Takes the words that name a command from a line: what was typed first, and the command, which two words name sooner than
/// one. `None` if there are no words.
fn take_name<'a>(words: &mut Words<'a>, level: Level) -> Option<(&'a str, Option<&'static Definition>)> {
    let whole = words.clone().rest();
    let first = words.next()?;
    let mut behind = words.clone();
    if behind.next().is_some() {
        let two = whole.strip_suffix(behind.clone().rest()).unwrap_or(whole);
        if let Some(definition) = find(two, level) {
            *words = behind;
            return Some((first, Some(definition)));
        }
    }
    Some((first, find(first, level)))
}

/// Says that there is no such command, and what may have been meant.
fn unknown(first: &str, mut rest: Words<'_>, level: Level) -> Failure {
    let here = || COMMANDS.iter().filter(move |row| row.levels.contain(level));
    let mut family = here().filter(|row| row.name.split_once(' ').is_some_and(|(head, _)| head == first));
    if let Some(one) = family.clone().next() {
        let meant = rest.next().and_then(|second| {
            most_similar(second, family.clone().filter_map(|row| Some(row.name.split_once(' ')?.1)))
        });
        let row = meant.and_then(|tail| family.find(|row| row.name.ends_with(tail))).unwrap_or(one);
        return Failure::new(NOT_UNDERSTOOD, format_args!("no such command: did you mean `{}`?", row.name));
    }
    match most_similar(first, here().flat_map(|row| row.names(level))) {
        Some(name) => {
            Failure::new(NOT_UNDERSTOOD, format_args!("no command `{first}`: did you mean `{name}`?"))
        }
        None => {
            Failure::new(NOT_UNDERSTOOD, format_args!("no command `{first}`: `help` lists what can be typed"))
        }
    }
}

/// Says where a command is.
struct Elsewhere {
    definition: &'static Definition,
    level: Level,
}

impl core::fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { definition, level } = self;
        write!(f, "`{}` is not for {level}, but for", definition.name)?;
        let levels = Level::ALL.into_iter().filter(|level| definition.levels.contain(*level));
        for (index, level) in levels.enumerate() {
            write!(f, "{} {level}", if index == 0 { "" } else { " and" })?;
        }
        Ok(())
    }
}
