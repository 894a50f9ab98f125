//! What was found about a message, as the ledger and as a header field say it (RFC 8601).

use std::fmt::{self, Write as _};

/// A value that a stranger chose is cut here, in bytes.
const VALUE_BYTES_MAX: usize = 120;
/// The longest field, in bytes; what does not fit is left out.
const HEADER_BYTES_MAX: usize = 2000;

/// What was found, method by method.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings(Vec<Finding>);

/// What one method found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    method: &'static str,
    outcome: Outcome,
    reason: String,
    properties: Vec<(&'static str, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A result of RFC 8601 §2.7.
    Is(&'static str),
    /// It was not looked at.
    Skipped,
}

impl Finding {
    pub(super) fn new(method: &'static str, outcome: Outcome) -> Self {
        Self { method, outcome, reason: String::new(), properties: Vec::new() }
    }

    pub(super) fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    pub(super) fn with(mut self, property: &'static str, value: &str) -> Self {
        self.properties.push((property, value.to_owned()));
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.outcome {
            Outcome::Is(result) => write!(f, "{}={result}", self.method)?,
            Outcome::Skipped => write!(f, "{} skipped", self.method)?,
        }
        if !self.reason.is_empty() {
            write!(f, " ({})", Comment(&self.reason))?;
        }
        self.properties.iter().try_for_each(|(property, value)| write!(f, " {property}={}", Value(value)))
    }
}

/// A value as a word, or in quotes where it is none. What is neither printable nor ASCII is `?`: it may be anybody's, and it
/// must not end a line.
struct Value<'a>(&'a str);

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| c.is_ascii_alphanumeric() || "@.-_+=/!#$%&*".contains(c);
        let value: String = self.0.chars().take(VALUE_BYTES_MAX).map(printable).collect();
        if !value.is_empty() && value.chars().all(plain) {
            return f.write_str(&value);
        }
        f.write_char('"')?;
        for c in value.chars() {
            if matches!(c, '"' | '\\') {
                f.write_char('\\')?;
            }
            f.write_char(c)?;
        }
        f.write_char('"')
    }
}

/// What stands in parentheses.
struct Comment<'a>(&'a str);

impl fmt::Display for Comment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let harmless = |c: char| if matches!(c, '(' | ')' | '\\') { '?' } else { printable(c) };
        self.0.chars().take(VALUE_BYTES_MAX).map(harmless).try_for_each(|c| f.write_char(c))
    }
}

fn printable(c: char) -> char {
    if c.is_ascii_graphic() || c == ' ' { c } else { '?' }
}

impl Findings {
    /// Nothing was looked at, and why.
    pub(super) fn skipped(why: impl Into<String>) -> Self {
        Self(vec![Finding::new("all", Outcome::Skipped).because(why)])
    }

    pub(super) fn push(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    /// Whether the DNS was missed.
    pub(super) fn missed_answers(&self) -> bool {
        self.0.iter().any(|finding| finding.outcome == Outcome::Is("temperror"))
    }

    /// The field that says so in our name. What was not looked at is not in it.
    pub(crate) fn header(&self, host_name: &str) -> String {
        let mut text = format!("Authentication-Results: {host_name}");
        let mut any = false;
        for finding in self.0.iter().filter(|finding| finding.outcome != Outcome::Skipped) {
            let part = format!(";\r\n\t{finding}");
            if text.len() + part.len() + 2 > HEADER_BYTES_MAX {
                break;
            }
            text.push_str(&part);
            any = true;
        }
        text.push_str(if any { "\r\n" } else { "; none\r\n" });
        text
    }
}

/// As the ledger has it, on one line.
impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, finding) in self.0.iter().enumerate() {
            write!(f, "{}{finding}", if n == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Findings {
        let mut findings = Findings::default();
        findings.push(Finding::new("spf", Outcome::Skipped).because("a front"));
        findings.push(Finding::new("dkim", Outcome::Is("pass")).with("header.d", "example.com"));
        findings.push(
            Finding::new("dmarc", Outcome::Is("fail"))
                .because("not (aligned)")
                .with("header.from", "a b\r\nX: \u{e9}\""),
        );
        findings
    }

    #[test]
    fn the_ledger_says_all_and_the_header_what_was_looked_at() {
        let said = "dkim=pass header.d=example.com; dmarc=fail (not ?aligned?) header.from=\"a b??X: ?\\\"\"";
        assert_eq!(findings().to_string(), format!("spf skipped (a front); {said}"));
        assert_eq!(
            findings().header("mx.example.org"),
            format!("Authentication-Results: mx.example.org; {said}\r\n").replace("; ", ";\r\n\t")
        );
        assert_eq!(
            Findings::skipped("why").header("mx.example.org"),
            "Authentication-Results: mx.example.org; none\r\n"
        );
        assert_eq!(Findings::skipped("why").to_string(), "all skipped (why)");
    }

    #[test]
    fn the_header_has_a_bound_whatever_strangers_choose() {
        let mut findings = Findings::default();
        for _ in 0..100 {
            findings.push(Finding::new("dkim", Outcome::Is("fail")).with("header.d", &"\"".repeat(5000)));
        }
        let header = findings.header("mx.example.org");
        assert!(header.len() <= HEADER_BYTES_MAX && header.ends_with("\"\r\n"), "{header}");
        assert!(header.lines().all(|line| line.len() < 998));
    }
}
