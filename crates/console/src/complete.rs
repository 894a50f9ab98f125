//! Which words can come next.

use crate::commands::COMMANDS;
use crate::levels::Level;
use crate::parse::find;
use crate::table::Definition;
use crate::words::{DUMPED, Place, Words};

/// Gives every word that can stand where the last one of `line` was begun, each once; the last one is empty behind a space.
pub(crate) fn candidates(line: &str, level: Level, mut give: impl FnMut(&'static str)) {
    let (before, begun) = line.rsplit_once(' ').map_or(("", line), |(before, begun)| (before, begun));
    let mut give_fitting = |word: &'static str| {
        if word.starts_with(begun) {
            give(word);
        }
    };
    let here = || COMMANDS.iter().filter(move |row| row.levels.contain(level));
    let mut words = Words::new(before);
    let Some(first) = words.next() else { return first_words(level, &mut give_fitting) };
    let typed = words.clone().count();
    if first == "help" {
        let mut explained = words;
        return match explained.next() {
            None => first_words(level, &mut give_fitting),
            Some(head) if typed == 1 => second_words(here(), head, &mut give_fitting),
            Some(_) => {}
        };
    }
    if typed == 0 {
        second_words(here(), first, &mut give_fitting);
    }
    // What follows a command of two words, or of one.
    let mut behind = words.clone();
    let two =
        behind.next().and_then(|second| here().find(|row| row.name.split_once(' ') == Some((first, second))));
    let (row, left) = match two {
        Some(row) => (Some(row), behind),
        None => (find(first, level).filter(|row| row.levels.contain(level)), words),
    };
    if let Some(row) = row {
        arguments(row, left.count(), &mut give_fitting);
    }
}

/// The first words of all commands, each once.
fn first_words(level: Level, give: &mut impl FnMut(&'static str)) {
    let heads = || COMMANDS.iter().filter(|row| row.levels.contain(level)).map(head);
    for (index, head) in heads().enumerate() {
        if heads().take(index).all(|earlier| earlier != head) {
            give(head);
        }
    }
}

fn head(row: &Definition) -> &'static str {
    row.name.split_once(' ').map_or(row.name, |(head, _)| head)
}

fn second_words(
    rows: impl Iterator<Item = &'static Definition>,
    head: &str,
    give: &mut impl FnMut(&'static str),
) {
    rows.filter_map(|row| row.name.split_once(' '))
        .filter(|(first, _)| *first == head)
        .for_each(|(_, second)| give(second));
}

/// The words for an argument, of which so many are there already.
fn arguments(row: &Definition, there: usize, give: &mut impl FnMut(&'static str)) {
    let Some(argument) = row.arguments.split(' ').nth(there) else { return };
    match argument.trim_matches(['[', ']']) {
        "SLOT" => Place::ALL.into_iter().for_each(|place| give(place.name())),
        "PARTITION" => DUMPED.into_iter().for_each(give),
        literal if !literal.starts_with(|c: char| c.is_ascii_uppercase()) => {
            literal.split('|').for_each(give);
        }
        _ => {}
    }
}
