//! Senders and recipients with their parameters, as commands carry them.

use std::fmt;

/// The argument of MAIL or RCPT: an address and its ESMTP parameters, in the order given.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    /// The address without its angle brackets; empty for the null sender.
    pub address: String,
    /// The parameters (`NOTIFY=NEVER`), keywords in capitals.
    pub parameters: Vec<String>,
}

impl Path {
    /// Reads what follows `MAIL FROM:` or `RCPT TO:`. What is no path at all is kept whole as the address, since a
    /// test wants to see it.
    pub fn parse(argument: &str) -> Self {
        let argument = argument.trim();
        let bracketed = argument.strip_prefix('<');
        let (address, rest) = match bracketed.and_then(|rest| Some((rest, end_of_path(rest)?))) {
            Some((rest, end)) => (&rest[..end], &rest[end + 1..]),
            None => argument.split_once(' ').unwrap_or((argument, "")),
        };
        let parameters = rest
            .split_whitespace()
            .map(|parameter| match parameter.split_once('=') {
                Some((keyword, value)) => format!("{}={value}", keyword.to_ascii_uppercase()),
                None => parameter.to_ascii_uppercase(),
            })
            .collect();
        Self { address: address.to_owned(), parameters }
    }

    /// The value of a parameter, if it was given.
    pub fn parameter(&self, keyword: &str) -> Option<&str> {
        self.parameters.iter().find_map(|parameter| parameter.strip_prefix(keyword)?.strip_prefix('='))
    }
}

/// Where the bracket is that closes a path: not within a quoted local part (RFC 5321 section 4.1.2).
fn end_of_path(path: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    path.bytes().position(|byte| {
        if std::mem::take(&mut escaped) {
            return false;
        }
        match byte {
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        byte == b'>' && !quoted
    })
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.address)?;
        self.parameters.iter().try_for_each(|parameter| write!(f, " {parameter}"))
    }
}

/// Splits a command line into its verb in capitals and its argument; `MAIL FROM:` and `RCPT TO:` count as the verb.
pub fn split_command(line: &[u8]) -> (String, String) {
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end_matches(['\r', '\n']);
    let capitals = line.to_ascii_uppercase();
    for verb in ["MAIL FROM:", "RCPT TO:"] {
        if capitals.starts_with(verb) {
            return (verb[..4].to_owned(), line[verb.len()..].to_owned());
        }
    }
    let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
    (verb.to_ascii_uppercase(), argument.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_apart_into_address_and_parameters() {
        let (verb, argument) =
            split_command(b"rcpt to:<a b@example.org> notify=SUCCESS,DELAY ORCPT=rfc822;x@y\r\n");
        assert_eq!(verb, "RCPT");
        let path = Path::parse(&argument);
        assert_eq!(path.address, "a b@example.org");
        assert_eq!(path.parameter("NOTIFY"), Some("SUCCESS,DELAY"));
        assert_eq!(path.parameter("ORCPT"), Some("rfc822;x@y"));
        assert_eq!(Path::parse("<>").address, "");
        let quoted = Path::parse(r#"<"a> \"> b"@example.org> SIZE=1"#);
        assert_eq!(
            (quoted.address.as_str(), quoted.parameter("SIZE")),
            (r#""a> \"> b"@example.org"#, Some("1"))
        );
    }
}
