//! A search filter as people write it (RFC 4515), as LDAP sends it (RFC 4511 §4.5.1.7).

use super::ber::{OCTETS, SEQUENCE, put};

/// How deep filters may lie in each other.
const DEPTH_MAX: usize = 16;

/// The filter as it is sent.
///
/// # Errors
/// What is wrong with the text, as words that follow "the filter".
pub(super) fn encode(text: &str) -> Result<Vec<u8>, &'static str> {
    let mut encoded = Vec::new();
    let rest = filter(text.trim(), DEPTH_MAX, &mut encoded)?;
    if rest.is_empty() { Ok(encoded) } else { Err("goes on behind its last bracket") }
}

/// Takes one filter off the head of a text. What is behind it.
fn filter<'t>(text: &'t str, depth: usize, into: &mut Vec<u8>) -> Result<&'t str, &'static str> {
    let depth = depth.checked_sub(1).ok_or("has too many brackets in each other")?;
    let text =
        text.trim_start().strip_prefix('(').ok_or("has no opening bracket where one is needed")?.trim_start();
    let mut content = Vec::new();
    let (tag, rest) = match text.chars().next() {
        Some(kind @ ('&' | '|')) => {
            let mut rest = text.get(1..).unwrap_or_default().trim_start();
            while rest.starts_with('(') {
                rest = filter(rest, depth, &mut content)?.trim_start();
            }
            (if kind == '&' { 0xA0 } else { 0xA1 }, rest)
        }
        Some('!') => (0xA2, filter(text.get(1..).unwrap_or_default(), depth, &mut content)?.trim_start()),
        _ => {
            let end = text.find([')', '(']).ok_or("has no closing bracket where one is needed")?;
            let (item, rest) = text.split_at(end);
            (comparison(item, &mut content)?, rest)
        }
    };
    put(into, tag, &content);
    rest.strip_prefix(')').ok_or("has no closing bracket where one is needed")
}

/// Encodes the content of a comparison. Its tag.
fn comparison(item: &str, into: &mut Vec<u8>) -> Result<u8, &'static str> {
    let (left, value) = item.split_once('=').ok_or("has a comparison without =")?;
    let (attribute, tag) = match left.chars().next_back() {
        Some('>') => (left.trim_end_matches('>'), 0xA5),
        Some('<') => (left.trim_end_matches('<'), 0xA6),
        Some('~') => (left.trim_end_matches('~'), 0xA8),
        Some(':') => return extensible(left.trim_end_matches(':'), value, into),
        _ => (left, 0xA3),
    };
    let attribute = checked(attribute)?;
    if tag == 0xA3 && value == "*" {
        into.extend_from_slice(attribute.as_bytes());
        return Ok(0x87);
    }
    put(into, OCTETS, attribute.as_bytes());
    if tag != 0xA3 || !value.contains('*') {
        put(into, OCTETS, &unescaped(value)?);
        return Ok(tag);
    }
    let mut pieces = Vec::new();
    let last = value.split('*').count() - 1;
    for (n, piece) in value.split('*').enumerate().filter(|(_, piece)| !piece.is_empty()) {
        let tag = if n == 0 {
            0x80
        } else if n == last {
            0x82
        } else {
            0x81
        };
        put(&mut pieces, tag, &unescaped(piece)?);
    }
    put(into, SEQUENCE, &pieces);
    Ok(0xA4)
}

/// `attribute:dn:rule:=value`, of which attribute or rule may be missing.
fn extensible(left: &str, value: &str, into: &mut Vec<u8>) -> Result<u8, &'static str> {
    let mut parts = left.split(':');
    let attribute = parts.next().unwrap_or_default();
    let (mut of_dn, mut rule) = (false, None);
    for part in parts {
        match part {
            "dn" if !of_dn && rule.is_none() => of_dn = true,
            part if rule.is_none() => rule = Some(checked(part)?),
            _ => return Err("has a comparison with too many colons"),
        }
    }
    if let Some(rule) = rule {
        put(into, 0x81, rule.as_bytes());
    }
    if !attribute.is_empty() {
        put(into, 0x82, checked(attribute)?.as_bytes());
    } else if rule.is_none() {
        return Err("has a comparison without attribute");
    }
    put(into, 0x83, &unescaped(value)?);
    if of_dn {
        put(into, 0x84, &[0xFF]);
    }
    Ok(0xA9)
}

/// The name of an attribute or a rule.
fn checked(name: &str) -> Result<&str, &'static str> {
    let name = name.trim();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b';' | b'_');
    if name.is_empty() || !name.bytes().all(fits) {
        return Err("has a comparison whose attribute is no name");
    }
    Ok(name)
}

/// A value with its `\2a` made into bytes.
fn unescaped(value: &str) -> Result<Vec<u8>, &'static str> {
    let mut plain = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            plain.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err("has a \\ that no two hexadecimal digits follow");
        };
        plain.push((high * 16 + low) as u8);
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn filters_are_sent_as_the_protocol_has_them() {
        assert_eq!(encode("(a=*)"), Ok(b"\x87\x01a".to_vec()));
        assert_eq!(encode("(a=b)"), Ok(b"\xA3\x06\x04\x01a\x04\x01b".to_vec()));
        assert_eq!(encode(" ( a>=1) "), Ok(b"\xA5\x06\x04\x01a\x04\x011".to_vec()));
        assert_eq!(encode("(!(a=\\2a\\28))"), Ok(b"\xA2\x09\xA3\x07\x04\x01a\x04\x02*(".to_vec()));
        assert_eq!(
            encode("(p=smtp:*x*y)"),
            Ok(b"\xA4\x12\x04\x01p\x30\x0D\x80\x05smtp:\x81\x01x\x82\x01y".to_vec())
        );
        assert_eq!(
            encode("(&(a=*)(|(b=*)(c=*)))"),
            Ok(b"\xA0\x0B\x87\x01a\xA1\x06\x87\x01b\x87\x01c".to_vec())
        );
        assert_eq!(
            encode("(u:1.2.840.113556.1.4.803:=2)"),
            Ok([&b"\xA9\x1D\x81\x17"[..], b"1.2.840.113556.1.4.803"].concat()).map(|mut head: Vec<u8>| {
                // The rule has 22 bytes.
                head[1] = 2 + 22 + 3 + 3;
                head[3] = 22;
                head.extend(b"\x82\x01u\x83\x012");
                head
            })
        );
        assert_eq!(encode("(o:dn:=x)"), Ok(b"\xA9\x09\x82\x01o\x83\x01x\x84\x01\xFF".to_vec()));
    }

    #[test]
    fn what_is_no_filter_is_told() {
        for text in
            ["", "a=b", "(a=b", "(a)", "(=b)", "(a=b))", "(a b=c)", "(a=\\2)", "(&(a=b)", "(:=x)", "((a=b))"]
        {
            assert!(encode(text).is_err(), "{text:?}");
        }
        let deep = format!("{}(a=b){}", "(!".repeat(DEPTH_MAX), ")".repeat(DEPTH_MAX));
        assert_eq!(encode(&deep), Err("has too many brackets in each other"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_filter_or_is_not(text in "[()&|!=<>~:*\\\\a-c0-2é ]{0,40}") {
            let _ = encode(&text);
        }
    }
}
