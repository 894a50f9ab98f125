//! Mail addresses as they stand in MAIL and RCPT (RFC 5321 §4.1.2, RFC 6531 §3.3).

use core::fmt;

use crate::bounds::{ADDRESS_BYTES_MAX, DOMAIN_BYTES_MAX};
use crate::error::Error;

/// An address without its angle brackets, byte for byte as it came.
///
/// It is one of: empty (the null sender `<>`), `local@domain`, `local@[literal]`, or `postmaster` alone in whatever
/// case. The local part may be quoted. Printable ASCII, without a line break, so that it can be written into a
/// command as it is; or, where [`is_ascii`](Self::is_ascii) says no, printable UTF-8, for which both sides need SMTPUTF8.
///
/// More forgiving than the RFC where real senders are: dots may stand anywhere in an unquoted local part, a local
/// part may be longer than 64 bytes, a domain may have underscores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address<'a>(&'a str);

impl<'a> Address<'a> {
    /// The null sender, `<>`.
    pub const NULL: Address<'static> = Address("");

    /// Checks `text`, an address without angle brackets or source route.
    ///
    /// # Errors
    /// [`Error::Address`].
    pub fn parse(text: &'a str) -> Result<Self, Error> {
        if text.is_empty() || text.eq_ignore_ascii_case("postmaster") {
            return Ok(Self(text));
        }
        let domain_at = local_part_len(text.as_bytes()).ok_or(Error::Address)?;
        let domain = text.get(domain_at..).and_then(|rest| rest.strip_prefix('@')).ok_or(Error::Address)?;
        if text.len() > ADDRESS_BYTES_MAX
            || !is_domain_or_literal(domain)
            || !text.chars().all(|c| c.is_ascii() || is_beyond_ascii(c))
        {
            return Err(Error::Address);
        }
        Ok(Self(text))
    }

    /// Splits a path off the head of a command's argument: `<address>`, `<@route,@route:address>` (the route is
    /// dropped, RFC 5321 §3.6.1 and appendix C), or an address without brackets, which real clients send. Returns what
    /// follows the path.
    pub(crate) fn split_off_path(argument: &'a str) -> Result<(Self, &'a str), Error> {
        let Some(inner) = argument.strip_prefix('<') else {
            let end = argument.find(' ').unwrap_or(argument.len());
            let (word, rest) = argument.split_at(end);
            return if word.is_empty() { Err(Error::Address) } else { Ok((Self::parse(word)?, rest)) };
        };
        // A `>` may stand in a quoted local part.
        let inner =
            if inner.starts_with('@') { inner.split_once(':').ok_or(Error::Address)?.1 } else { inner };
        let local_len = local_part_len(inner.as_bytes()).unwrap_or(0);
        let end = inner.get(local_len..).and_then(|rest| rest.find('>')).ok_or(Error::Address)? + local_len;
        let (address, rest) = inner.split_at(end);
        Ok((Self::parse(address)?, rest.get(1..).unwrap_or_default()))
    }

    /// The address as text; empty for the null sender.
    pub const fn as_str(&self) -> &'a str {
        self.0
    }

    /// Whether it can be used without SMTPUTF8.
    pub const fn is_ascii(&self) -> bool {
        self.0.is_ascii()
    }

    /// Whether this is the null sender.
    pub const fn is_null(&self) -> bool {
        self.0.is_empty()
    }

    /// What stands before the `@`, quotes included.
    pub fn local_part(&self) -> &'a str {
        self.0.rsplit_once('@').map_or(self.0, |(local, _)| local)
    }

    /// What stands after the `@`: a domain, or an address literal with its brackets. `None` for the null sender and
    /// for `postmaster` alone.
    pub fn domain(&self) -> Option<&'a str> {
        self.0.rsplit_once('@').map(|(_, domain)| domain)
    }
}

impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The length of the local part at the head of `bytes`, or `None` where there is none.
fn local_part_len(bytes: &[u8]) -> Option<usize> {
    if bytes.first() == Some(&b'"') {
        let mut at = 1;
        loop {
            match bytes.get(at)? {
                b'"' => return Some(at + 1),
                b'\\' if matches!(bytes.get(at + 1), Some(b' '..=b'~')) => at += 2,
                b'\\' => return None,
                b' '..=b'~' | 0x80.. => at += 1,
                _ => return None,
            }
        }
    }
    let len = bytes.iter().position(|&byte| !is_local_byte(byte)).unwrap_or(bytes.len());
    (len > 0).then_some(len)
}

/// atext (RFC 5322 §3.2.3, RFC 6531 §3.3) and the dot. That bytes beyond ASCII are text is looked at elsewhere.
fn is_local_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte)
}

/// What an address may have beyond ASCII: what is printed, without blanks, and without the marks that turn the direction of
/// text, which make an operator read another address than there is.
pub(crate) fn is_beyond_ascii(c: char) -> bool {
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    !c.is_ascii() && !c.is_control() && !c.is_whitespace() && !turns
}

/// A domain, or an address literal with its brackets.
pub(crate) fn is_domain_or_literal(text: &str) -> bool {
    if text.is_empty() || text.len() > DOMAIN_BYTES_MAX {
        return false;
    }
    match text.strip_prefix('[') {
        Some(literal) => literal.strip_suffix(']').is_some_and(is_literal),
        None => is_domain(text),
    }
}

/// Labels of letters, digits, hyphens and underscores with single dots between them; one dot may end it. Of labels beyond
/// ASCII only what looks like a dot is refused.
fn is_domain(text: &str) -> bool {
    let is_wide = |c: char| is_beyond_ascii(c) && !matches!(c, '\u{3002}' | '\u{ff0e}' | '\u{ff61}');
    let is_label = |label: &str| {
        !label.is_empty()
            && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_') || is_wide(c))
    };
    text.len() <= DOMAIN_BYTES_MAX && text.strip_suffix('.').unwrap_or(text).split('.').all(is_label)
}

/// What may stand between the brackets of an address literal, such as `192.0.2.1` or `IPv6:2001:db8::1`.
fn is_literal(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b':' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_real_senders_use_are_taken_as_they_are() {
        for (text, local, domain) in [
            ("a@b", "a", Some("b")),
            ("first.last+tag@Example.COM", "first.last+tag", Some("Example.COM")),
            ("..dots..@docomo.example", "..dots..", Some("docomo.example")),
            ("\"quoted @ > local\"@b.example", "\"quoted @ > local\"", Some("b.example")),
            ("\"a\\\"b\"@b.example", "\"a\\\"b\"", Some("b.example")),
            ("user@[192.0.2.1]", "user", Some("[192.0.2.1]")),
            ("user@[IPv6:2001:db8::1]", "user", Some("[IPv6:2001:db8::1]")),
            ("bounce=x=y.example@under_score.example.", "bounce=x=y.example", Some("under_score.example.")),
            ("PostMaster", "PostMaster", None),
            ("", "", None),
            ("jürgen+tag@bücher.example", "jürgen+tag", Some("bücher.example")),
            ("\"用户 x\"@例え.jp", "\"用户 x\"", Some("例え.jp")),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.as_str(), address.local_part(), address.domain()), (text, local, domain));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "a",
            "a@",
            "@b",
            "a@b@c",
            "a b@c",
            "a@b c",
            "a@b..c",
            "a@.b",
            "a@[",
            "a@[]",
            "a@[1]2]",
            "\"a@b",
            "\"a\\",
            "\"a\"b@c",
            "a@b>",
            "<a@b",
            "a@b\r\nQUIT",
            "a\0@b",
            "a@b\t",
            "a\u{a0}b@c",
            "a\u{85}b@c",
            "\"a\u{2028}b\"@c",
            "a\u{202e}b@c",
            "a@b\u{3002}c",
            "a@[\u{e9}]",
            "\"a\\\u{e9}\"@b",
        ] {
            assert_eq!(Address::parse(text), Err(Error::Address), "{text:?}");
        }
    }

    #[test]
    fn an_address_is_bounded_as_a_whole_and_not_by_its_local_part() {
        let local = "x".repeat(ADDRESS_BYTES_MAX - 2);
        assert!(Address::parse(&std::format!("{local}@b")).is_ok());
        assert!(Address::parse(&std::format!("{local}x@b")).is_err());
        assert!(Address::parse(&std::format!("a@{}", "d".repeat(DOMAIN_BYTES_MAX + 1))).is_err());
    }

    #[test]
    fn a_path_gives_its_address_without_brackets_and_route() {
        for (argument, address, rest) in [
            ("<a@b>", "a@b", ""),
            ("<> SIZE=1", "", " SIZE=1"),
            ("<@r1,@r2:a@b> X", "a@b", " X"),
            ("a@b X", "a@b", " X"),
            ("<\"x>y\"@b> X", "\"x>y\"@b", " X"),
            ("<Postmaster>", "Postmaster", ""),
            ("<a@b>X", "a@b", "X"),
        ] {
            let (parsed, left) = Address::split_off_path(argument).unwrap();
            assert_eq!((parsed.as_str(), left), (address, rest));
        }
        for argument in ["", " <a@b>", "<a@b", "<@r a@b>", "<<a@b>>", "<a@b", "<a @b>", "<\"a>"] {
            assert!(Address::split_off_path(argument).is_err(), "{argument:?}");
        }
    }
}
