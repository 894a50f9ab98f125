//! What a settings file says key by key, and in what two of them differ: for a person who is about to apply one, and for
//! the ledger.
//!
//! Works on the text alone, so that it can tell of files that are not right. Each key has a path: `listen.size_max`, and
//! `next_hop.exchange.address` for the hop that is called so.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::secret::{KEPT, is_secret};

/// The key by whose value the entries of a section that repeats are told apart.
const NAME: &str = "name";

/// A key that a file sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path.
    pub key: String,
    /// Its value as it stands in the file, TOML.
    pub value: String,
}

/// A key that two files set differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its path.
    pub key: String,
    /// Its value before, TOML; `None` where the default held.
    pub from: Option<String>,
    /// Its value after.
    pub to: Option<String>,
}

/// The keys that a file sets, in its order, with [`KEPT`] in the place of secrets. What is no TOML is passed over.
pub fn entries(text: &str) -> Vec<Entry> {
    let shown = |Entry { key, value }| Entry { value: shown(&key, value, KEPT), key };
    raw_entries(text).into_iter().map(shown).collect()
}

/// A value as it may be shown: in the place of a secret stands a word.
fn shown(key: &str, value: String, word: &str) -> String {
    if is_secret(key) { format!("\"{word}\"") } else { value }
}

fn raw_entries(text: &str) -> Vec<Entry> {
    let (root, _) = DeTable::parse_recoverable(text);
    let mut found: Vec<(usize, Entry)> = Vec::new();
    for (section, value) in root.get_ref() {
        let section: &str = section.get_ref();
        match value.get_ref() {
            DeValue::Table(table) => list(text, section, table, &mut found),
            DeValue::Array(tables) => {
                for (n, table) in tables.iter().enumerate() {
                    let DeValue::Table(table) = table.get_ref() else { continue };
                    let name =
                        table.iter().find(|(key, _)| key.get_ref() == NAME).map(|(_, value)| value.get_ref());
                    let path = match name {
                        Some(DeValue::String(name)) => format!("{section}.{name}"),
                        // Nobody can say which one is meant, but it is there.
                        _ => format!("{section}.{}", n + 1),
                    };
                    list(text, &path, table, &mut found);
                }
            }
            _ => found.extend(entry(text, section.to_owned(), value)),
        }
    }
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, entry)| entry).collect()
}

fn list(text: &str, path: &str, table: &DeTable<'_>, found: &mut Vec<(usize, Entry)>) {
    found.extend(
        table.iter().filter_map(|(key, value)| entry(text, format!("{path}.{}", key.get_ref()), value)),
    );
}

fn entry(text: &str, key: String, value: &Spanned<DeValue<'_>>) -> Option<(usize, Entry)> {
    let span = value.span();
    let value = text.get(span.clone())?.to_owned();
    // What the parser made up where there was nothing says nothing.
    if key.is_empty() || value.is_empty() {
        return None;
    }
    Some((span.start, Entry { key, value }))
}

/// In what the second of two files differs from the first, by the path of the key. Of a secret only that it differs.
pub fn changes(from: &str, to: &str) -> Vec<Change> {
    let mut all: BTreeMap<String, (Option<String>, Option<String>)> = BTreeMap::new();
    for Entry { key, value } in raw_entries(from) {
        all.entry(key).or_default().0 = Some(value);
    }
    for Entry { key, value } in raw_entries(to) {
        all.entry(key).or_default().1 = Some(value);
    }
    all.into_iter()
        .filter(|(_, (from, to))| from != to)
        .map(|(key, (from, to))| Change {
            from: from.map(|value| shown(&key, value, KEPT)),
            to: to.map(|value| shown(&key, value, "(another)")),
            key,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "\
# a comment
[system]
hostname = \"mx.example.org\"
[listen]
size_max = \"10MiB\" # theirs
[[next_hop]]
name = \"exchange\"
address = \"192.0.2.25\"
";

    #[test]
    fn every_key_of_a_file_has_a_path_in_the_order_of_the_file() {
        let keys: Vec<_> = entries(BEFORE).into_iter().map(|entry| entry.key).collect();
        assert_eq!(
            keys,
            ["system.hostname", "listen.size_max", "next_hop.exchange.name", "next_hop.exchange.address"]
        );
        assert_eq!(entries(BEFORE)[1].value, "\"10MiB\"");
    }

    #[test]
    fn a_change_says_what_was_and_what_is() {
        let after = BEFORE.replace("192.0.2.25", "192.0.2.26").replace("size_max = \"10MiB\"", "");
        let change = |key: &str, from: &str, to: Option<&str>| Change {
            key: key.into(),
            from: Some(from.into()),
            to: to.map(Into::into),
        };
        assert_eq!(
            changes(BEFORE, &after),
            [
                change("listen.size_max", "\"10MiB\"", None),
                change("next_hop.exchange.address", "\"192.0.2.25\"", Some("\"192.0.2.26\"")),
            ]
        );
        assert_eq!(changes(BEFORE, BEFORE), []);
        assert_eq!(changes("", BEFORE).len(), 4);
    }

    #[test]
    fn what_is_no_toml_is_passed_over() {
        assert_eq!(entries("= = =\n[[[\n"), []);
        let broken = entries("[system]\nhostname = \"a.example\"\nlog_level = \n");
        assert_eq!(broken.first().map(|entry| &*entry.key), Some("system.hostname"));
    }
}
