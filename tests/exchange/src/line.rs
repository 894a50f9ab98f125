//! Command lines and path arguments, with bounds: whatever a peer sends, this holds little of it.

use memchr::memchr;

/// The longest command line. RFC 5321 section 4.5.3.1.4 asks for 512 bytes; the DSN parameters add to that.
pub(crate) const LINE_BYTES_MAX: usize = 4096;

/// What stands at the front of the input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// No whole line yet.
    Incomplete,
    /// A line without its end. A bare LF ends one too (BareLinefeedRejection is off).
    Whole(String),
    /// More than [`LINE_BYTES_MAX`] without an end; they are gone, and what is left of the line is to be skipped.
    TooLong,
}

/// Takes one line off the front of `input`.
pub(crate) fn take_line(input: &mut Vec<u8>) -> Line {
    match memchr(b'\n', input) {
        Some(end) if end <= LINE_BYTES_MAX => {
            let mut line: Vec<u8> = input.drain(..=end).collect();
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            Line::Whole(String::from_utf8_lossy(&line).into_owned())
        }
        None if input.len() <= LINE_BYTES_MAX => Line::Incomplete,
        _ => Line::TooLong,
    }
}

/// Removes the rest of a line that was too long. Says whether its end was found.
pub(crate) fn skip_line(input: &mut Vec<u8>) -> bool {
    let end = memchr(b'\n', input);
    input.drain(..end.map_or(input.len(), |end| end + 1));
    end.is_some()
}

/// `<address> KEY=VALUE KEY=VALUE`, as it follows `MAIL FROM:` and `RCPT TO:`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Path<'a> {
    pub(crate) address: &'a str,
    parameters: &'a str,
}

impl<'a> Path<'a> {
    /// Reads it; angle brackets may be missing, as Exchange allows.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim();
        let (address, parameters) = match text.strip_prefix('<') {
            Some(rest) => rest.split_once('>')?,
            None => text.split_once(' ').unwrap_or((text, "")),
        };
        // A source route is to be ignored (RFC 5321 appendix C).
        let address = match address.strip_prefix('@') {
            Some(route) => route.split_once(':')?.1,
            None => address,
        };
        Some(Self { address: address.trim(), parameters })
    }

    /// Key in upper case, value or nothing.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = (String, &'a str)> {
        self.parameters.split_ascii_whitespace().map(|word| {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            (key.to_ascii_uppercase(), value)
        })
    }
}

/// The domain of an address that has a local part and a domain and nothing that belongs in neither.
pub(crate) fn domain_of(address: &str) -> Option<&str> {
    let (local, domain) = address.rsplit_once('@')?;
    let plain = |c: char| !c.is_control() && !matches!(c, ' ' | '<' | '>');
    let named = domain.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '[' | ']' | ':'));
    (!local.is_empty() && !domain.is_empty() && local.chars().all(plain) && named && address.len() <= 320)
        .then_some(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_or_without_cr_and_endless_ones_are_given_up() {
        let mut input = b"EHLO a\r\nNOOP\nMA".to_vec();
        assert_eq!(take_line(&mut input), Line::Whole("EHLO a".into()));
        assert_eq!(take_line(&mut input), Line::Whole("NOOP".into()));
        assert_eq!(take_line(&mut input), Line::Incomplete);
        input = vec![b'x'; LINE_BYTES_MAX + 1];
        assert_eq!(take_line(&mut input), Line::TooLong);
        assert!(!skip_line(&mut input));
        input = b"rest\r\nNOOP\r\n".to_vec();
        assert!(skip_line(&mut input));
        assert_eq!(take_line(&mut input), Line::Whole("NOOP".into()));
    }

    #[test]
    fn paths_have_an_address_and_parameters() {
        let path = Path::parse(" <a@b.example> SIZE=12 body=8BITMIME XRDST").unwrap();
        assert_eq!(path.address, "a@b.example");
        let parameters: Vec<_> = path.parameters().collect();
        assert_eq!(parameters[0], ("SIZE".into(), "12"));
        assert_eq!(parameters[1], ("BODY".into(), "8BITMIME"));
        assert_eq!(parameters[2], ("XRDST".into(), ""));
        assert_eq!(Path::parse("<@x,@y:a@b>").unwrap().address, "a@b");
        assert_eq!(Path::parse("<>").unwrap().address, "");
        assert_eq!(Path::parse("<a@b"), None);
        for wrong in ["", "a", "@b", "a@", "a b@c", "a@b c", "a@b\u{7f}"] {
            assert_eq!(domain_of(wrong), None, "{wrong}");
        }
        assert_eq!(domain_of("a@b@c.example"), Some("c.example"));
    }
}
