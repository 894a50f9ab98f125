//! Names that a setting can hold: hosts, domains, next hops, paths. A value of these types has been checked.

use alloc::string::String;
use core::fmt;

use crate::value::{Refusal, Text};

/// What the ASCII form of a name is for.
const WRITE_IN_ASCII: Refusal = Refusal::Because("write a name with other letters in its ASCII form (xn--…)");

/// A host name in ASCII, lower case, without a final dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

/// A domain whose mail is accepted: exactly `example.org`, or with `*.example.org` every name below it (and not
/// itself), as Exchange writes its accepted domains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    name: HostName,
    below: bool,
}

/// The operator's short name for a next hop: 1 to 32 of `a-z`, `0-9` and `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HopName(String);

/// The name of a mailbox database of the next hop's: 1 to 64 characters, none of them a control character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseName(String);

/// A path from the root, of printable ASCII without quotes and backslashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbsolutePath(String);

/// A second place for mail, for when the first one fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserve {
    /// There is none.
    None,
    /// A partition of raw flash, by its name: 1 to 32 of `a-z`, `0-9` and `-`.
    Partition(String),
    /// A file or a block device.
    Path(AbsolutePath),
}

impl HostName {
    /// RFC 1123 section 2.1, RFC 5321 section 4.5.3.1.2: labels of letters, digits and inner hyphens, 63 bytes each,
    /// 253 in all. A name of digits only would be an address that lacks its brackets.
    pub(crate) fn new(text: &str) -> Result<Self, Refusal> {
        if !text.is_ascii() {
            return Err(WRITE_IN_ASCII);
        }
        let fits = |label: &str| {
            let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            (1..=63).contains(&label.len())
                && label.bytes().all(inner)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let numeric_end =
            text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        if text.len() > 253 || numeric_end || !text.split('.').all(fits) {
            return Err(Refusal::Bad);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Domain {
    /// Its name, if it is one domain and not all below one.
    pub fn exact(&self) -> Option<&str> {
        (!self.below).then_some(self.name.as_str())
    }

    /// Whether mail to `domain` is meant. The case of ASCII letters does not matter (RFC 5321 section 2.4), nor does
    /// one final dot.
    pub fn accepts(&self, domain: &str) -> bool {
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        let name = self.name.as_str();
        if !self.below {
            return domain.eq_ignore_ascii_case(name);
        }
        // At least one byte and the dot before the name; bytes, since foreign text may hold any character there.
        let Some(dot) = domain.len().checked_sub(name.len() + 1).filter(|dot| *dot > 0) else {
            return false;
        };
        let (domain, name) = (domain.as_bytes(), name.as_bytes());
        domain[dot] == b'.' && domain[dot + 1..].eq_ignore_ascii_case(name)
    }
}

impl Domain {
    /// Whether there may be names that both mean.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.accepts(other.name.as_str())
            || other.accepts(self.name.as_str())
            || self.below == other.below && self.name == other.name
    }
}

impl HopName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl DatabaseName {
    /// Whether a database of this name is meant, whatever the case.
    pub fn is(&self, name: &str) -> bool {
        self.0.to_lowercase() == name.to_lowercase()
    }
}

impl fmt::Display for DatabaseName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

impl AbsolutePath {
    /// A path of the table.
    pub(crate) fn known(path: &str) -> Self {
        Self(path.into())
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}", if self.below { "*." } else { "" }, self.name)
    }
}

impl fmt::Display for HopName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

impl fmt::Display for AbsolutePath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

impl fmt::Display for Reserve {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => out.pad("none"),
            _ => out.pad(&self.to_text()),
        }
    }
}

impl Text for HostName {
    type Limits = ();
    const EXAMPLE: &'static str = "\"mx.example.org\"";

    fn allowed((): &()) -> String {
        "a host name".into()
    }

    fn from_text(text: &str, (): &()) -> Result<Self, Refusal> {
        Self::new(text)
    }

    fn to_text(&self) -> String {
        self.0.clone()
    }
}

impl Text for Domain {
    type Limits = ();
    const EXAMPLE: &'static str = "\"example.org\", or \"*.example.org\" for every name below it";

    fn allowed((): &()) -> String {
        "a domain".into()
    }

    fn from_text(text: &str, (): &()) -> Result<Self, Refusal> {
        if text == "*" {
            return Err(Refusal::Because("a box that takes mail for every domain is an open relay"));
        }
        if text.contains('@') {
            return Err(Refusal::Because("write what stands behind the @"));
        }
        match text.strip_prefix("*.") {
            Some(name) => Ok(Self { name: HostName::new(name)?, below: true }),
            None => Ok(Self { name: HostName::new(text)?, below: false }),
        }
    }

    fn to_text(&self) -> String {
        alloc::format!("{self}")
    }
}

impl Text for HopName {
    type Limits = ();
    const EXAMPLE: &'static str = "\"exchange-1\"";

    fn allowed((): &()) -> String {
        "a name of 1 to 32 of a-z, 0-9 and -".into()
    }

    fn from_text(text: &str, (): &()) -> Result<Self, Refusal> {
        if is_short_name(text) { Ok(Self(text.into())) } else { Err(Refusal::Bad) }
    }

    fn to_text(&self) -> String {
        self.0.clone()
    }
}

/// The longest name of a database, in characters: what Exchange allows.
const DATABASE_CHARS_MAX: usize = 64;

impl Text for DatabaseName {
    type Limits = ();
    const EXAMPLE: &'static str = "\"DB01\"";

    fn allowed((): &()) -> String {
        alloc::format!("the name of a mailbox database, 1 to {DATABASE_CHARS_MAX} characters")
    }

    fn from_text(text: &str, (): &()) -> Result<Self, Refusal> {
        let plain = !text.is_empty() && !text.contains(char::is_control) && text.trim() == text;
        if !plain {
            return Err(Refusal::Bad);
        }
        if text.chars().count() > DATABASE_CHARS_MAX {
            Err(Refusal::OutOfRange)
        } else {
            Ok(Self(text.into()))
        }
    }

    fn to_text(&self) -> String {
        self.0.clone()
    }
}

impl Text for AbsolutePath {
    /// The longest path in bytes.
    type Limits = usize;
    const EXAMPLE: &'static str = "\"/var/lib/penstock/volume\"";

    fn allowed(bytes_max: &usize) -> String {
        alloc::format!("a path that begins with / and has at most {bytes_max} characters")
    }

    fn from_text(text: &str, bytes_max: &usize) -> Result<Self, Refusal> {
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\' || byte == b' ';
        if !text.starts_with('/') || !text.bytes().all(plain) {
            return Err(Refusal::Bad);
        }
        if text.len() > *bytes_max { Err(Refusal::OutOfRange) } else { Ok(Self(text.into())) }
    }

    fn to_text(&self) -> String {
        self.0.clone()
    }
}

impl Text for Option<AbsolutePath> {
    /// The longest path in bytes.
    type Limits = usize;
    const EXAMPLE: &'static str = "";

    fn allowed(bytes_max: &usize) -> String {
        alloc::format!("empty for none, or {}", AbsolutePath::allowed(bytes_max))
    }

    fn from_text(text: &str, bytes_max: &usize) -> Result<Self, Refusal> {
        if text.is_empty() { Ok(None) } else { AbsolutePath::from_text(text, bytes_max).map(Some) }
    }

    fn to_text(&self) -> String {
        self.as_ref().map(Text::to_text).unwrap_or_default()
    }
}

impl Text for Reserve {
    /// The longest path in bytes.
    type Limits = usize;
    const EXAMPLE: &'static str = "\"mtd:mail\"";

    fn allowed(bytes_max: &usize) -> String {
        alloc::format!(
            "empty for none, mtd: and the name of a flash partition, or {}",
            AbsolutePath::allowed(bytes_max)
        )
    }

    fn from_text(text: &str, bytes_max: &usize) -> Result<Self, Refusal> {
        match text.strip_prefix("mtd:") {
            Some(name) if is_short_name(name) => Ok(Self::Partition(name.into())),
            Some(_) => Err(Refusal::Bad),
            None if text.is_empty() => Ok(Self::None),
            None => AbsolutePath::from_text(text, bytes_max).map(Self::Path),
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Partition(name) => alloc::format!("mtd:{name}"),
            Self::Path(path) => path.to_text(),
        }
    }
}

/// Whether it is 1 to 32 of `a-z`, `0-9` and `-`.
fn is_short_name(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(known)
}

/// The longest local part in bytes (RFC 5321 section 4.5.3.1.1).
const LOCAL_PART_BYTES_MAX: usize = 64;

/// Whether this is a local part that every server takes as it is: a dot-atom (RFC 5322 section 3.2.3).
pub(crate) fn is_local_part(text: &str) -> bool {
    let atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    let fits = |part: &str| !part.is_empty() && part.bytes().all(atom);
    text.len() <= LOCAL_PART_BYTES_MAX && text.split('.').all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::from_text(text, &()).ok().unwrap()
    }

    #[test]
    fn a_domain_accepts_itself_in_any_case_and_nothing_else() {
        let exact = domain("Example.ORG");
        assert!(exact.accepts("example.org") && exact.accepts("EXAMPLE.org."));
        for other in
            ["", ".", "example.org..", "sub.example.org", "notexample.org", "example.or", "example.orgs"]
        {
            assert!(!exact.accepts(other), "{other:?}");
        }
    }

    #[test]
    fn a_star_accepts_every_name_below_and_not_the_domain_itself() {
        let below = domain("*.example.org");
        assert!(below.accepts("a.example.org") && below.accepts("a.b.Example.Org"));
        for other in
            ["example.org", ".example.org", "notexample.org", "a.example.org.evil.net", "éexample.org"]
        {
            assert!(!below.accepts(other), "{other:?}");
        }
    }

    #[test]
    fn domains_meet_where_a_name_is_in_both() {
        let meet = |one: &str, other: &str| {
            let (one, other) = (domain(one), domain(other));
            assert_eq!(one.meets(&other), other.meets(&one));
            one.meets(&other)
        };
        assert!(meet("example.org", "Example.org") && meet("*.example.org", "*.example.org"));
        assert!(meet("*.example.org", "a.example.org") && meet("*.example.org", "*.a.example.org"));
        assert!(!meet("example.org", "*.example.org") && !meet("example.org", "a.example.org"));
    }

    #[test]
    fn a_reserve_is_none_a_partition_or_a_path() {
        let reserve = |text: &str| Reserve::from_text(text, &4095).ok();
        for text in ["", "mtd:mail", "/dev/sdb", "/var/lib/penstock/reserve"] {
            assert_eq!(reserve(text).unwrap().to_text(), text);
        }
        assert_eq!(reserve("mtd:mail"), Some(Reserve::Partition("mail".into())));
        for text in ["mail", "mtd:", "mtd:Mail", "mtd:/dev/mtd9", "var/reserve"] {
            assert_eq!(reserve(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_database_is_known_by_its_name_in_any_case() {
        let name = DatabaseName::from_text("Mailbox Database 1", &()).ok().unwrap();
        assert!(name.is("MAILBOX database 1") && !name.is("Mailbox Database 10"));
        for text in ["", " DB1", "DB\n1", "d".repeat(65).as_str()] {
            assert!(DatabaseName::from_text(text, &()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_that_would_mean_something_else_are_refused() {
        for text in [
            "",
            "*",
            "*.",
            "*.*.org",
            ".example.org",
            "a..b",
            "-a.org",
            "a-.org",
            "user@example.org",
            "bücher.example",
        ] {
            assert!(Domain::from_text(text, &()).is_err(), "{text:?}");
        }
        for text in ["192.0.2.1", "1", "a_b.org", "a b", "[::1]"] {
            assert!(HostName::new(text).is_err(), "{text:?}");
        }
    }
}
