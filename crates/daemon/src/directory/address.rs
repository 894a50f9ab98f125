//! Addresses and names of mailbox databases as Exchange exports them.

use std::borrow::Cow;

use penstock_smtp::Address;

/// The longest domain in bytes (RFC 5321 §4.5.3.1.2).
const DOMAIN_BYTES_MAX: usize = 255;
/// The longest local part with letters beyond ASCII, in bytes.
const LOCAL_BYTES_MAX: usize = 256;

/// An address in the form in which two that mean the same mailbox are equal: without quotes where they stood around the
/// local part, letters in lower case, which is how Exchange compares them, and the domain as the DNS has it (RFC 5891).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mailbox {
    pub(super) local: String,
    pub(super) domain: String,
}

impl Mailbox {
    /// `None` if it is no address, or one without a domain.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        // A domain has no `@`; a quoted local part may.
        let (local, domain) = text.rsplit_once('@')?;
        let domain = ascii_domain(domain)?;
        let mut local = if local.is_ascii() {
            Address::parse(&format!("{local}@{domain}")).ok()?.local_part().to_ascii_lowercase()
        } else if domain.len() <= DOMAIN_BYTES_MAX && is_utf8_local_part(local) {
            local.to_lowercase()
        } else {
            return None;
        };
        if let Some(quoted) = local.strip_prefix('"').and_then(|local| local.strip_suffix('"')) {
            local = unescaped(quoted);
        }
        Some(Self { local, domain: domain.into_owned() })
    }

    /// The local part without quotes, in lower case.
    pub(crate) fn local(&self) -> &str {
        &self.local
    }

    /// The domain in ASCII and lower case, without a final dot.
    pub(crate) fn domain(&self) -> &str {
        &self.domain
    }

    /// The mailbox without a subaddress (`user+tag`, RFC 5233), if there is one.
    pub(super) fn without_tag(&self, delimiter: Option<char>) -> Option<Self> {
        let (user, _) = self.local.split_once(delimiter?)?;
        (!user.is_empty()).then(|| Self { local: user.to_owned(), domain: self.domain.clone() })
    }
}

/// A domain as the DNS has it: ASCII, lower case, without a final dot. `None` if it is none.
pub(crate) fn ascii_domain(domain: &str) -> Option<Cow<'_, str>> {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    if !domain.is_ascii() {
        return (domain.len() <= DOMAIN_BYTES_MAX)
            .then(|| idna::domain_to_ascii(domain).ok())?
            .map(Cow::Owned);
    }
    let is_lower = !domain.bytes().any(|byte| byte.is_ascii_uppercase());
    Some(if is_lower { Cow::Borrowed(domain) } else { Cow::Owned(domain.to_ascii_lowercase()) })
}

/// Whether a text with letters beyond ASCII is a local part (RFC 6531 §3.3).
fn is_utf8_local_part(text: &str) -> bool {
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace() && !"()<>[]:;@\\,\"".contains(c);
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    match inner {
        Some(inner) => !inner.is_empty() && !inner.contains(char::is_control),
        None => text.len() <= LOCAL_BYTES_MAX && text.chars().all(is_plain),
    }
}

/// A text without the backslashes that make the character after them an ordinary one.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain
}

/// Whether a field is the name of a .NET type, which `Export-Csv` writes in the place of a list.
pub(super) fn is_type_name(field: &str) -> bool {
    let field = field.trim();
    ["Microsoft.Exchange.", "System.", "Deserialized."].iter().any(|prefix| field.starts_with(prefix))
        && !field.contains(['@', ' ', ','])
}

/// The SMTP addresses in a field `EmailAddresses`. There are proxies of other kinds in it, such as `X500:/o=…`, which
/// may have spaces and commas; so where one has a prefix, only what has that of SMTP is an address.
pub(super) fn proxies(field: &str) -> impl Iterator<Item = &str> {
    let is_prefixed = field.contains(':');
    field.split([' ', ',', ';', '\t', '{', '}']).filter_map(move |word| match word.split_once(':') {
        Some((kind, address)) => kind.eq_ignore_ascii_case("smtp").then_some(address),
        None => (!is_prefixed && word.contains('@')).then_some(word),
    })
}

/// The name of a database, from a field `Database`: the name itself, or a distinguished name (RFC 4514) that begins
/// with it. `None` if the recipient has none.
pub(super) fn database_name(field: &str) -> Option<String> {
    let field = field.trim();
    let name = match field.get(..3) {
        Some(kind) if kind.eq_ignore_ascii_case("CN=") => first_value(field.get(3..).unwrap_or_default()),
        _ => field.to_owned(),
    };
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// The value at the head of a distinguished name, up to the first comma that has no backslash before it.
fn first_value(text: &str) -> String {
    let mut value = Vec::new();
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b',' => break,
            b'\\' => {
                let Some(next) = bytes.next() else { break };
                // Two hexadecimal digits are a byte; anything else stands for itself.
                let low = bytes.peek().and_then(|low| char::from(*low).to_digit(16));
                match char::from(next).to_digit(16).zip(low) {
                    Some((high, low)) => {
                        bytes.next();
                        value.push((high * 16 + low) as u8);
                    }
                    None => value.push(next),
                }
            }
            byte => value.push(byte),
        }
    }
    String::from_utf8_lossy(&value).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compared_as_exchange_does() {
        let mailbox = |text: &str| Mailbox::parse(text).unwrap();
        assert_eq!(mailbox("Mia.Meier@Example.ORG"), mailbox("mia.meier@example.org."));
        assert_eq!(mailbox("\"mia\\ \\\"m\"@example.org").local, "mia \"m");
        assert_eq!(mailbox("\"mia\"@example.org"), mailbox("mia@example.org"));
        for text in ["", "mia", "postmaster", "mia@", "@example.org", "m ia@example.org", "m ía@example.org"]
        {
            assert_eq!(Mailbox::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn letters_beyond_ascii_have_a_case_and_domains_another_form() {
        let mailbox = |text: &str| Mailbox::parse(text).unwrap();
        assert_eq!(mailbox("mia@B\u{fc}cher.example."), mailbox("MIA@xn--bcher-kva.EXAMPLE"));
        assert_eq!(mailbox("M\u{cd}A@example.org"), mailbox("m\u{ed}a@example.org"));
        assert_eq!(mailbox("\"m\u{ed}a x\"@example.org").local, "m\u{ed}a x");
        for text in ["m\u{ed}a\u{a0}@example.org", "m\u{ed}a<@example.org", "mia@b\u{fc}..example"] {
            assert_eq!(Mailbox::parse(text), None, "{text:?}");
        }
        assert_eq!(Mailbox::parse(&format!("mia@{}", "\u{fc}".repeat(4000))), None);
        assert_eq!(ascii_domain("[192.0.2.1]").as_deref(), Some("[192.0.2.1]"));
    }

    #[test]
    fn a_subaddress_leads_to_its_user() {
        let user = |text: &str, by| Mailbox::parse(text).unwrap().without_tag(by).map(|user| user.local);
        assert_eq!(user("mia+news+x@example.org", Some('+')).as_deref(), Some("mia"));
        assert_eq!(user("mia-news@example.org", Some('-')).as_deref(), Some("mia"));
        assert_eq!((user("mia@example.org", Some('+')), user("+x@example.org", Some('+'))), (None, None));
        assert_eq!(
            (user("mia-news@example.org", Some('+')), user("mia+news@example.org", None)),
            (None, None)
        );
    }

    #[test]
    fn proxies_of_other_kinds_are_passed_over() {
        let found = |field: &'static str| proxies(field).collect::<Vec<_>>();
        assert_eq!(
            found(
                "SMTP:mia@example.org smtp:m@example.org,X500:/o=First Org/ou=a, b@c/cn=mia SIP:mia@example.org"
            ),
            ["mia@example.org", "m@example.org"]
        );
        assert_eq!(found("mia@example.org; m@example.org"), ["mia@example.org", "m@example.org"]);
        assert_eq!(found("{SMTP:a@example.org, smtp:b@example.org}"), ["a@example.org", "b@example.org"]);
        assert!(found("X500:/o=First Org/cn=a@b").is_empty() && found("").is_empty());
    }

    #[test]
    fn a_database_is_known_by_its_name_or_its_distinguished_name() {
        let named = |field: &str| database_name(field).unwrap_or_default();
        assert_eq!(named(" DB01 "), "DB01");
        assert_eq!(named("CN=DB01,CN=Databases,CN=Exchange Administrative Group,DC=site"), "DB01");
        assert_eq!(named(r"cn=Mail\, west \2B more,CN=Databases"), "Mail, west + more");
        assert_eq!((named(""), named("CN="), named("CN=\\")), (String::new(), String::new(), String::new()));
    }

    #[test]
    fn the_name_of_a_type_is_no_list() {
        for text in ["Microsoft.Exchange.Data.ProxyAddressCollection", "System.Collections.ArrayList"] {
            assert!(is_type_name(text), "{text}");
        }
        assert!(!is_type_name("SMTP:a@example.org") && !is_type_name("") && !is_type_name("DB01"));
    }
}
