//! What must not be shown: passwords.
//!
//! A secret stands in the text of the settings, since that is what the box keeps. Whatever is shown of them, printed, put
//! into a report or written into the ledger goes through [`without_secrets`] or [`changes`](crate::changes), which put
//! [`KEPT`] in its place; where that comes back in settings that somebody sends, [`with_kept`] puts the secret back.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::Code;
use crate::read::At;
use crate::value::{Value, found};

/// What is shown in the place of a secret.
pub const KEPT: &str = "(kept)";

/// The keys whose values are secrets.
const KEYS: [(&str, &str); 1] = [("ldap", "password")];

/// The longest secret in bytes.
const SECRET_BYTES_MAX: usize = 256;

/// A password. It shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// There is none.
    pub(crate) const fn none() -> Self {
        Self(String::new())
    }

    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The secret, for whoever has to say it to another system.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.is_none() { "none" } else { KEPT })
    }
}

/// Not as a [`Text`](crate::value::Text), since what is wrong with one is told with the text in it.
impl Value for Secret {
    type Limits = ();

    fn allowed((): &()) -> String {
        format!("a text of at most {SECRET_BYTES_MAX} bytes")
    }

    fn read(value: &Spanned<DeValue<'_>>, limits: &(), at: &mut At<'_>) -> Option<Self> {
        let must = Self::allowed(limits);
        let DeValue::String(text) = value.get_ref() else {
            let reason = format!("is {}: must be {must}, in quotes", found(value.get_ref()));
            at.refuse(&value.span(), Code::WrongType, reason);
            return None;
        };
        if text.len() > SECRET_BYTES_MAX {
            at.refuse(&value.span(), Code::OutOfRange, format!("has {} bytes: must be {must}", text.len()));
            return None;
        }
        if text == KEPT {
            let reason = format!("{KEPT} stands for a secret that was not shown: write the secret itself");
            at.refuse(&value.span(), Code::BadValue, reason);
            return None;
        }
        Some(Self(text.clone().into_owned()))
    }

    fn to_toml(&self) -> String {
        let shown = if self.is_none() { "" } else { KEPT };
        format!("\"{shown}\"")
    }
}

/// Whether the value under this path is a secret.
pub(crate) fn is_secret(path: &str) -> bool {
    KEYS.iter().any(|(section, key)| {
        path.strip_prefix(section).and_then(|rest| rest.strip_prefix('.')) == Some(*key)
    })
}

/// Where the values of secrets stand in a text, in its order.
fn places(text: &str) -> Vec<(&'static str, &'static str, Range<usize>)> {
    let (root, _) = DeTable::parse_recoverable(text);
    let mut places = Vec::new();
    for (section, value) in root.get_ref() {
        let DeValue::Table(table) = value.get_ref() else { continue };
        for (key, value) in table {
            let known = KEYS.iter().find(|known| (known.0, known.1) == (section.get_ref(), key.get_ref()));
            // Nothing, and nothing that is no text, is worth hiding; but whoever errs must not be exposed for it.
            let is_nothing = matches!(value.get_ref(), DeValue::String(text) if text.is_empty());
            if let Some((section, key)) = known.filter(|_| !is_nothing) {
                places.push((*section, *key, value.span()));
            }
        }
    }
    places.sort_by_key(|(_, _, span)| span.start);
    places
}

fn replace(text: &str, with: impl Fn(&str, &str, &str) -> Option<String>) -> String {
    let mut replaced = String::with_capacity(text.len());
    let mut done = 0;
    for (section, key, span) in places(text) {
        let Some(value) = text.get(span.clone()) else { continue };
        let Some(other) = with(section, key, value) else { continue };
        replaced.push_str(text.get(done..span.start).unwrap_or_default());
        replaced.push_str(&other);
        done = span.end;
    }
    replaced.push_str(text.get(done..).unwrap_or_default());
    replaced
}

/// The text of settings with [`KEPT`] in the place of each secret.
pub fn without_secrets(text: &str) -> String {
    replace(text, |_, _, _| Some(format!("\"{KEPT}\"")))
}

/// The text of settings with the secrets of `held` where [`KEPT`] stands in their place. What `held` does not have stays.
pub fn with_kept(text: &str, held: &str) -> String {
    let known = places(held);
    replace(text, |section, key, value| {
        let is_kept = value.get(1..value.len().saturating_sub(1)) == Some(KEPT);
        let (_, _, span) =
            known.iter().find(|place| (place.0, place.1) == (section, key)).filter(|_| is_kept)?;
        held.get(span.clone()).map(ToOwned::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::{SECTIONS, Settings, changes};

    const TEXT: &str = "[system]\nhostname = \"mx.example.org\"\n[domains]\naccepted = [\"example.org\"]\n\
        [[next_hop]]\nname = \"x\"\naddress = \"192.0.2.25\"\n\
        [ldap]\nurl = \"ldaps://dc1\"\nbase = \"DC=x\"\nuser = \"u\"\npassword = 'tr\"uo' # theirs\ninterval = \"1h\"\n";

    #[test]
    fn nothing_that_is_shown_has_the_secret_and_what_is_shown_can_come_back() {
        let shown = without_secrets(TEXT);
        assert!(
            !shown.contains("uo'") && shown.contains("password = \"(kept)\" # theirs\ninterval"),
            "{shown}"
        );
        assert_eq!(with_kept(&shown, TEXT), TEXT);
        let settings = Settings::parse(TEXT).unwrap();
        assert_eq!(settings.ldap.password.reveal(), "tr\"uo");
        assert!(!alloc::format!("{settings:?}").contains("tr\""));
        let refused = Settings::parse(&shown).unwrap_err().to_string();
        assert!(refused.contains("write the secret itself"), "{refused}");
        assert_eq!(with_kept(&shown, ""), shown);
    }

    #[test]
    fn that_a_secret_changed_is_told_and_neither_of_the_two() {
        let other = TEXT.replace("tr\"uo", "sesame");
        let told = changes(TEXT, &other);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].key, "ldap.password");
        for value in [&told[0].from, &told[0].to] {
            assert!(value.as_deref().is_some_and(|value| !value.contains("uo") && !value.contains("sesame")));
        }
        assert!(changes(TEXT, TEXT).is_empty());
    }

    #[test]
    fn a_secret_that_is_wrong_is_not_told_with_what_is_wrong() {
        for wrong in [
            "\"\"\"\nsesame\n".to_owned() + &"x".repeat(300) + "\"\"\"",
            "[\"sesame\"]".into(),
            "sesame".into(),
        ] {
            let text = TEXT.replace("'tr\"uo'", &wrong);
            let told = Settings::parse(&text).unwrap_err().to_string();
            assert!(!told.contains("sesame"), "{told}");
        }
    }

    #[test]
    fn every_secret_is_a_key_of_the_table() {
        for (section, key) in KEYS {
            assert!(SECTIONS.iter().any(|known| known.name == section && known.has(key)), "{section}.{key}");
            assert!(is_secret(&alloc::format!("{section}.{key}")));
        }
        assert!(!is_secret("ldap.user") && !is_secret("ldap.passwords"));
    }
}
