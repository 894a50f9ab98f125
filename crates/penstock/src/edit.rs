//! One key of a settings file changed, its comments and everything else left as they are.
//!
//! Keys are named by their path: `listen.size_max`, and `next_hop.exchange.address` for the hop that is called so. A value is
//! what a person types: TOML, or without its quotation marks and brackets where it is clear what is meant.

use penstock_settings::{Code, Key, Preset, Problem, Problems, SECTIONS, Section, Settings};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value};

use crate::failure::{Exit, Failure};

/// What a path names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'p> {
    pub(crate) section: &'static Section,
    /// Which entry of a section that repeats.
    pub(crate) name: Option<&'p str>,
    /// The key; none where a whole entry is meant.
    pub(crate) key: Option<&'static Key>,
}

impl<'p> Place<'p> {
    /// Finds it in the table of all settings.
    pub(crate) fn find(path: &'p str) -> Result<Self, Failure> {
        let unknown = |hint: String| {
            Failure::new(Exit::Failed, "PS-C04", format!("{path}: there is no such key"), hint)
        };
        let mut parts = path.splitn(3, '.');
        let first = parts.next().unwrap_or_default();
        let Some(section) = SECTIONS.iter().find(|section| section.name == first) else {
            let names: Vec<_> = SECTIONS.iter().map(|section| section.name).collect();
            return Err(unknown(format!("A key begins with its section, one of {}.", names.join(", "))));
        };
        let rest: Vec<&str> = parts.collect();
        let (name, key) = match (section.repeats, rest.as_slice()) {
            (true, [name]) => (Some(*name), None),
            (true, [name, key]) => (Some(*name), Some(*key)),
            (false, [key]) => (None, Some(*key)),
            (true, _) => {
                return Err(unknown(format!(
                    "There may be several: write {first}.NAME.KEY, with the name of one."
                )));
            }
            (false, _) => return Err(unknown(of_section(section))),
        };
        let Some(key) = key else { return Ok(Self { section, name, key: None }) };
        match section.keys.iter().find(|known| known.name == key) {
            Some(known) => Ok(Self { section, name, key: Some(known) }),
            None => Err(unknown(of_section(section))),
        }
    }

    /// How a problem names this key.
    fn as_told(&self) -> Option<String> {
        self.key.map(|key| format!("{}.{}", self.section.name, key.name))
    }
}

fn of_section(section: &Section) -> String {
    let keys: Vec<_> = section.keys.iter().map(|key| key.name).collect();
    format!("{} has {}.", section.header(), keys.join(", "))
}

/// The text with a key set to what was typed, if that is a value that the key can have. Whether it fits the other settings is
/// not asked here: several may have to change together.
pub(crate) fn set(text: &str, path: &str, words: &[String]) -> Result<String, Failure> {
    let place = Place::find(path)?;
    if place.key.is_none() {
        return Err(Failure::new(
            Exit::Failed,
            "PS-C04",
            format!("{path} is no key"),
            of_section(place.section),
        ));
    }
    let mut refused: Option<Problem> = None;
    for value in readings(words) {
        let changed = with_value(text, place, value)?;
        match problem_of(&changed, place) {
            None => return Ok(changed),
            // A wrong type mostly means that the words were read in another way than they were meant.
            Some(problem) if refused.as_ref().is_none_or(|other| other.code == Code::WrongType) => {
                refused = Some(problem);
            }
            Some(_) => {}
        }
    }
    let (code, reason) =
        refused.map_or((Code::BadValue, "no value was given".to_owned()), |it| (it.code, it.reason));
    Err(Failure::new(Exit::Failed, code.as_str(), format!("{path}: {reason}"), "Nothing was changed."))
}

/// The text without a key, whose default holds then, or without a whole entry.
pub(crate) fn unset(text: &str, path: &str) -> Result<String, Failure> {
    let place = Place::find(path)?;
    let mut document = parse(text)?;
    let not_there =
        || Failure::new(Exit::Failed, "PS-K041", format!("{path} is not set"), "Its default holds already.");
    let removed = match (place.name, place.key) {
        (Some(name), None) => {
            let entries = entries_of(&mut document, place.section)?;
            let count = entries.len();
            entries.retain(|entry| !is_called(entry, name));
            entries.len() < count
        }
        (Some(name), Some(key)) => {
            let entries = entries_of(&mut document, place.section)?;
            entries
                .iter_mut()
                .find(|entry| is_called(entry, name))
                .and_then(|entry| entry.remove(key.name))
                .is_some()
        }
        (None, Some(key)) => document
            .get_mut(place.section.name)
            .and_then(Item::as_table_like_mut)
            .and_then(|table| table.remove(key.name))
            .is_some(),
        (None, None) => false,
    };
    if removed { Ok(document.to_string()) } else { Err(not_there()) }
}

/// What typed words may mean: a value of TOML, a text, a list.
fn readings(words: &[String]) -> Vec<Value> {
    let whole = words.join(" ");
    let mut readings: Vec<Value> = whole.parse().into_iter().collect();
    readings.push(Value::from(whole.as_str()));
    let parts = whole.split([',', ' ']).map(str::trim).filter(|part| !part.is_empty());
    let list = parts.map(|part| part.parse::<i64>().map_or_else(|_| Value::from(part), Value::from));
    readings.push(Value::Array(list.collect::<Array>()));
    readings
}

/// What is wrong with that key alone.
fn problem_of(text: &str, place: Place<'_>) -> Option<Problem> {
    let told = place.as_told()?;
    let problems = Settings::parse(text).err()?;
    problems.iter().find(|problem| problem.key == told && problem.code != Code::Contradiction).cloned()
}

fn with_value(text: &str, place: Place<'_>, value: Value) -> Result<String, Failure> {
    let mut document = parse(text)?;
    let Some(key) = place.key else { return Ok(text.to_owned()) };
    match place.name {
        None => {
            let section = document.entry(place.section.name).or_insert(Item::Table(Table::new()));
            let Some(table) = section.as_table_like_mut() else { return Err(not_understood(place.section)) };
            match table.get_mut(key.name) {
                Some(there) => replace(there, value),
                None => drop(table.insert(key.name, Item::Value(value))),
            }
        }
        Some(name) => {
            let entries = entries_of(&mut document, place.section)?;
            if !entries.iter().any(|entry| is_called(entry, name)) {
                let mut entry = Table::new();
                entry.insert("name", Item::Value(Value::from(name)));
                entries.push(entry);
            }
            let entry = entries.iter_mut().find(|entry| is_called(entry, name));
            if let Some(entry) = entry {
                match entry.get_mut(key.name) {
                    Some(there) => replace(there, value),
                    None => drop(entry.insert(key.name, Item::Value(value))),
                }
            }
        }
    }
    Ok(document.to_string())
}

/// Puts another value where one is; the comment beside it stays.
fn replace(there: &mut Item, mut value: Value) {
    if let Some(old) = there.as_value() {
        *value.decor_mut() = old.decor().clone();
    }
    *there = Item::Value(value);
}

fn entries_of<'d>(
    document: &'d mut DocumentMut,
    section: &Section,
) -> Result<&'d mut ArrayOfTables, Failure> {
    let entries = document.entry(section.name).or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    entries.as_array_of_tables_mut().ok_or_else(|| not_understood(section))
}

fn is_called(entry: &Table, name: &str) -> bool {
    entry.get("name").and_then(Item::as_str) == Some(name)
}

fn parse(text: &str) -> Result<DocumentMut, Failure> {
    text.parse().map_err(|error: toml_edit::TomlError| {
        let message = format!("the settings are no TOML: {}", error.message());
        Failure::new(Exit::Failed, "PS-C02", message, "`settings import` replaces them as a whole.")
    })
}

fn not_understood(section: &Section) -> Failure {
    Failure::new(
        Exit::Failed,
        "PS-C05",
        format!("{} is not written as a section", section.name),
        format!("Only a section that begins with the line {} can be changed key by key.", section.header()),
    )
}

/// What holds for a key: its value in the text, else its default.
pub(crate) fn value_of(text: &str, path: &str) -> Option<String> {
    penstock_settings::entries(text).into_iter().find(|entry| entry.key == path).map(|entry| entry.value)
}

/// The default of a key as a person reads it.
pub(crate) fn default_of(key: &Key) -> Option<String> {
    match (key.preset)() {
        Preset::Default(value) => Some(value),
        Preset::Required(_) => None,
    }
}

/// Settings that are not right, for whoever wants to use them.
pub(crate) fn wrong(problems: &Problems) -> Failure {
    let code = problems.iter().next().map_or("PS-C02", |problem| problem.code.as_str());
    let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Failure::new(
        Exit::Failed,
        code,
        format!("the settings are not right: {}", list.join("; ")),
        "Nothing was changed.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# Site 17
[system]
hostname = \"mx.example.org\" # as in the DNS

[domains]
accepted = [\"example.org\"]

[[next_hop]]
name = \"exchange\"
address = \"192.0.2.25\"
";

    fn typed(path: &str, words: &[&str]) -> Result<String, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        set(TEXT, path, &words).map_err(|failure| failure.to_string())
    }

    #[test]
    fn one_key_changes_and_every_comment_stays() {
        let changed = typed("system.hostname", &["mail.example.org"]).unwrap();
        assert_eq!(changed, TEXT.replace("mx.example.org", "mail.example.org"));
        let changed = typed("release.connections_max", &["3"]).unwrap();
        assert!(changed.contains("[release]\nconnections_max = 3\n") && changed.starts_with("# Site 17"));
        assert_eq!(unset(&changed, "release.connections_max").unwrap(), format!("{TEXT}\n[release]\n"));
    }

    #[test]
    fn a_value_is_understood_as_a_person_types_it() {
        for words in
            [&["[\"10.0.0.1\", \"10.0.0.2\"]"][..], &["10.0.0.1", "10.0.0.2"], &["10.0.0.1,10.0.0.2"]]
        {
            let changed = typed("network.dns_servers", words).unwrap();
            assert!(changed.contains("dns_servers = [\"10.0.0.1\", \"10.0.0.2\"]"), "{words:?}: {changed}");
        }
        assert!(typed("listen.size_max", &["10MiB"]).unwrap().contains("size_max = \"10MiB\""));
        assert!(typed("listen.size_max", &["\"10MiB\""]).unwrap().contains("size_max = \"10MiB\""));
        assert!(typed("network.gateways", &["192.0.2.1"]).unwrap().contains("gateways = [\"192.0.2.1\"]"));
    }

    #[test]
    fn a_next_hop_is_named_made_and_taken_away() {
        let changed = typed("next_hop.exchange.address", &["192.0.2.26:2525"]).unwrap();
        assert_eq!(changed, TEXT.replace("192.0.2.25", "192.0.2.26:2525"));
        let two = typed("next_hop.spare.address", &["192.0.2.26"]).unwrap();
        assert_eq!(Settings::parse(&two).unwrap().next_hops[1].name.as_str(), "spare");
        assert_eq!(unset(&two, "next_hop.spare").unwrap(), TEXT);
    }

    #[test]
    fn what_no_key_can_have_is_refused_with_the_key_and_the_reason() {
        let refused = typed("listen.size_max", &["much"]).unwrap_err();
        assert!(refused.contains("listen.size_max: \"much\": must be a size"), "{refused}");
        let refused = typed("release.connections_max", &["21"]).unwrap_err();
        assert!(refused.contains("a whole number from 1 to 20") && refused.contains("PS-C07"), "{refused}");
        assert!(typed("listen.sizemax", &["1MiB"]).unwrap_err().contains("PS-C04"));
        assert!(typed("next_hop", &["x"]).unwrap_err().contains("PS-C04"));
        assert!(unset(TEXT, "listen.size_max").unwrap_err().to_string().contains("PS-K041"));
    }

    #[test]
    fn a_blank_file_can_be_filled_key_by_key() {
        let words = |word: &str| [word.to_owned()];
        let mut text = String::new();
        for (path, word) in [
            ("system.hostname", "mx.example.org"),
            ("domains.accepted", "example.org"),
            ("next_hop.exchange.address", "192.0.2.25"),
        ] {
            text = set(&text, path, &words(word)).unwrap();
        }
        assert!(Settings::parse(&text).is_ok(), "{text}");
    }
}
