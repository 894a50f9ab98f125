//! Walks the parsed TOML along the table and collects what is wrong.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::FILE_BYTES_MAX;
use crate::problem::{Code, PROBLEMS_MAX, Problem, Problems};
use crate::schema::{Group, Section};
use crate::value::{Value, found};

/// Text that a file contains is quoted back up to this many characters.
const QUOTED_CHARS_MAX: usize = 60;

/// Where problems go. Knows which byte is on which line.
pub(crate) struct Sink {
    line_starts: Vec<usize>,
    problems: Vec<Problem>,
    more: usize,
    /// On which line each key stands, for those that stand once.
    key_lines: BTreeMap<String, u32>,
    /// Lines that are no TOML: what was salvaged from them is guesswork and not worth a second complaint.
    broken_lines: Vec<u32>,
}

impl Sink {
    /// What is read of a text, if nothing is wrong with it; else everything that is. A text that is too long is not looked at.
    pub(crate) fn collect<T>(text: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Result<T, Problems> {
        if text.len() > FILE_BYTES_MAX {
            return Err(Problems::file_too_long(text.len()));
        }
        let mut sink = Self::new(text);
        match read(&mut sink) {
            Some(read) if sink.problems.is_empty() => Ok(read),
            _ => Err(Problems::new(sink.problems, sink.more)),
        }
    }

    fn new(text: &str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let line_starts = core::iter::once(0).chain(starts).collect();
        Self {
            line_starts,
            problems: Vec::new(),
            more: 0,
            key_lines: BTreeMap::new(),
            broken_lines: Vec::new(),
        }
    }

    fn line(&self, offset: usize) -> u32 {
        u32::try_from(self.line_starts.partition_point(|start| *start <= offset)).unwrap_or(u32::MAX)
    }

    /// Takes down that the text at `span` is no TOML.
    pub(crate) fn syntax(&mut self, span: Option<&Range<usize>>, code: Code, reason: String) {
        if let Some(span) = span
            && code == Code::Syntax
        {
            self.broken_lines.push(self.line(span.start));
        }
        self.push(span.map(|span| self.line(span.start)), String::new(), code, reason);
    }

    pub(crate) fn refuse(&mut self, span: &Range<usize>, key: &str, code: Code, reason: String) {
        let line = self.line(span.start);
        if !self.broken_lines.contains(&line) {
            self.push(Some(line), key.to_string(), code, reason);
        }
    }

    /// Takes down that `key` is not there. Behind a syntax error nobody knows what is there.
    pub(crate) fn missing(&mut self, key: &str, reason: String) {
        if self.broken_lines.is_empty() {
            self.push(None, key.to_string(), Code::Missing, reason);
        }
    }

    /// Takes down that `keys` (as `section.key`) cannot hold together, the one to change first. The line is that of the
    /// first that is in the file at all.
    pub(crate) fn clash(&mut self, keys: &[&str], code: Code, reason: String) {
        let line = keys.iter().find_map(|key| self.key_lines.get(*key)).copied();
        self.push(line, keys.first().copied().unwrap_or_default().to_string(), code, reason);
    }

    /// Takes down a problem of the section that begins at `line`.
    pub(crate) fn section(&mut self, line: u32, key: &str, code: Code, reason: String) {
        self.push(Some(line), key.to_string(), code, reason);
    }

    fn push(&mut self, line: Option<u32>, key: String, code: Code, reason: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { line, key, code, reason });
        } else {
            self.more += 1;
        }
    }
}

/// The value that is being read: where its problems go and under which key.
pub(crate) struct At<'a> {
    pub(crate) sink: &'a mut Sink,
    pub(crate) key: &'a str,
}

impl At<'_> {
    pub(crate) fn refuse(&mut self, span: &Range<usize>, code: Code, reason: String) {
        self.sink.refuse(span, self.key, code, reason);
    }
}

/// The keys of one table that have not been asked for yet; what is left at the end is unknown.
pub(crate) struct TableReader<'a, 'i> {
    sink: &'a mut Sink,
    section: &'static str,
    left: DeTable<'i>,
}

impl<'i> TableReader<'_, 'i> {
    /// Reads one key: its value, else `default`, else a problem.
    pub(crate) fn value<T: Value>(
        &mut self,
        name: &'static str,
        default: Option<T>,
        example: &str,
        limits: &T::Limits,
    ) -> Option<T> {
        let key = format!("{}.{name}", self.section);
        match take(&mut self.left, name) {
            Some((span, value)) => {
                self.sink.key_lines.insert(key.clone(), self.sink.line(span.start));
                T::read(&value, limits, &mut At { sink: self.sink, key: &key })
            }
            None => {
                if default.is_none() {
                    self.sink.missing(&key, format!("must be set, for example {name} = {example}"));
                }
                default
            }
        }
    }
}

fn take<'i>(table: &mut DeTable<'i>, name: &'static str) -> Option<(Range<usize>, Spanned<DeValue<'i>>)> {
    let key = Spanned::new(0..0, Cow::Borrowed(name));
    table.remove_entry(&key).map(|(key, value)| (key.span(), value))
}

/// The whole file, section by section.
pub(crate) struct Document<'a, 'i> {
    pub(crate) sink: &'a mut Sink,
    root: DeTable<'i>,
    sections: &'static [Section],
}

impl<'a, 'i> Document<'a, 'i> {
    /// Parses TOML. Syntax errors go to the sink; what could be salvaged is read all the same, so that one run of the
    /// parser tells as much as it can.
    pub(crate) fn parse(text: &'i str, sections: &'static [Section], sink: &'a mut Sink) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let code =
                if error.message().starts_with("duplicate key") { Code::Duplicate } else { Code::Syntax };
            let reason = match code {
                Code::Duplicate => "this stands twice: each key and each [section] once only".to_string(),
                _ => format!("this is not TOML: {}", error.message()),
            };
            sink.syntax(error.span().as_ref(), code, reason);
        }
        Self { sink, root: root.into_inner(), sections }
    }

    /// Reads a `[section]`; one that is not in the file has its defaults.
    pub(crate) fn one<G: Group>(&mut self) -> Option<G> {
        let table = self.table(G::SECTION.name)?;
        self.group(table)
    }

    /// Reads a `[section]`, and passes over keys that are not known.
    pub(crate) fn known_of_one<G: Group>(&mut self) -> Option<G> {
        let section = G::SECTION.name;
        let left = self.table(section)?;
        G::read(&mut TableReader { sink: self.sink, section, left })
    }

    /// What stands in a `[section]`, if it is one.
    fn table(&mut self, name: &'static str) -> Option<DeTable<'i>> {
        let Some((span, value)) = take(&mut self.root, name) else {
            return Some(DeTable::new());
        };
        match value.into_inner() {
            DeValue::Table(table) => Some(table),
            other => {
                let reason =
                    format!("must be a section that begins with the line [{name}], is {}", found(&other));
                self.sink.refuse(&span, name, Code::WrongType, reason);
                None
            }
        }
    }

    /// Reads all `[[section]]` entries, at least one and at most `count_max`, each with the line where it begins.
    pub(crate) fn many<G: Group>(&mut self, count_max: usize) -> Option<Vec<(u32, G)>> {
        let name = G::SECTION.name;
        let Some((span, value)) = take(&mut self.root, name) else {
            self.sink.missing(name, format!("there must be at least one section [[{name}]]"));
            return None;
        };
        let entries = match value.into_inner() {
            DeValue::Array(entries) => entries,
            other => {
                let reason = format!("must be sections that begin with [[{name}]], is {}", found(&other));
                self.sink.refuse(&span, name, Code::WrongType, reason);
                return None;
            }
        };
        if entries.is_empty() || entries.len() > count_max {
            let reason = format!("there are {}: must be 1 to {count_max}", entries.len());
            self.sink.refuse(&span, name, Code::OutOfRange, reason);
            return None;
        }
        let mut groups = Some(Vec::new());
        for entry in entries {
            let span = entry.span();
            let line = self.sink.line(span.start);
            let group = match entry.into_inner() {
                DeValue::Table(table) => self.group(table),
                other => {
                    let reason = format!("must be a section [[{name}]], is {}", found(&other));
                    self.sink.refuse(&span, name, Code::WrongType, reason);
                    None
                }
            };
            groups = groups.zip(group).map(|(mut groups, group): (Vec<_>, G)| {
                groups.push((line, group));
                groups
            });
        }
        groups
    }

    fn group<G: Group>(&mut self, table: DeTable<'i>) -> Option<G> {
        let section = G::SECTION;
        let mut reader = TableReader { sink: self.sink, section: section.name, left: table };
        let group = G::read(&mut reader);
        let left = reader.left;
        for (key, _) in left {
            let here = section.keys.iter().map(|key| key.name);
            let elsewhere = self.sections.iter().find(|other| other.has(key.get_ref()));
            let hint = match (nearest(key.get_ref(), here), elsewhere) {
                (Some(near), _) => format!("did you mean {near}?"),
                (None, Some(other)) => format!("it belongs in {}", other.header()),
                (None, None) => {
                    let names: Vec<_> = section.keys.iter().map(|key| key.name).collect();
                    format!("{} has {}", section.header(), names.join(", "))
                }
            };
            let path = format!("{}.{}", section.name, quoted(key.get_ref()));
            self.sink.refuse(&key.span(), &path, Code::Unknown, format!("there is no such key; {hint}"));
        }
        group
    }

    /// What nobody asked for is unknown.
    pub(crate) fn refuse_the_rest(self) {
        for (key, _) in self.root {
            let name = key.get_ref();
            let home = self.sections.iter().find(|section| section.has(name));
            let hint = match (home, nearest(name, self.sections.iter().map(|section| section.name))) {
                (Some(section), _) => format!("it belongs in {}", section.header()),
                (None, Some(near)) => format!("did you mean {near}?"),
                (None, None) => {
                    let headers: Vec<_> = self.sections.iter().map(Section::header).collect();
                    format!("there are {}", headers.join(", "))
                }
            };
            self.sink.refuse(
                &key.span(),
                &quoted(name),
                Code::Unknown,
                format!("there is no such section; {hint}"),
            );
        }
    }
}

/// Foreign text for a message to people: bounded, and without anything that a terminal would obey.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(QUOTED_CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(QUOTED_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// The candidate that `name` most likely was meant to be: at most a third of its letters differ.
fn nearest<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    if name.len() > 64 {
        return None;
    }
    let allowed = (name.len() / 3).clamp(1, 3);
    candidates.map(|it| (distance(name, it), it)).filter(|(far, _)| *far <= allowed).min().map(|(_, it)| it)
}

/// Levenshtein's distance by bytes, two rows at a time.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_the_key_and_a_foreign_word_does_not() {
        let keys = ["connections_max", "size_max", "addresses"];
        assert_eq!(nearest("conections_max", keys.into_iter()), Some("connections_max"));
        assert_eq!(nearest("adresses", keys.into_iter()), Some("addresses"));
        assert_eq!(nearest("starttls", keys.into_iter()), None);
    }
}
