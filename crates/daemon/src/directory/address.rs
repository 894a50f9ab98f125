//! Addresses and names of mailbox databases as Exchange exports them.

use penstock_smtp::Address;

/// An address in the form in which two that mean the same mailbox are equal: without quotes where they stood around the
/// local part, and letters of ASCII in lower case, which is how Exchange compares them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mailbox {
    pub(super) local: String,
    pub(super) domain: String,
}

impl Mailbox {
    /// `None` if it is no address, or one without a domain.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let address = Address::parse(text).ok()?;
        let domain = address.domain()?;
        let mut local = address.local_part().to_ascii_lowercase();
        if let Some(quoted) = local.strip_prefix('"').and_then(|local| local.strip_suffix('"')) {
            local = unescaped(quoted);
        }
        let domain = domain.strip_suffix('.').unwrap_or(domain).to_ascii_lowercase();
        Some(Self { local, domain })
    }

    /// The mailbox without a subaddress (`user+tag`, RFC 5233), if there is one.
    pub(super) fn without_tag(&self) -> Option<Self> {
        let (user, _) = self.local.split_once('+')?;
        (!user.is_empty()).then(|| Self { local: user.to_owned(), domain: self.domain.clone() })
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
        for text in ["", "mia", "postmaster", "mia@", "@example.org", "m ia@example.org", "mía@example.org"]
        {
            assert_eq!(Mailbox::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_subaddress_leads_to_its_user() {
        let user = |text: &str| Mailbox::parse(text).unwrap().without_tag().map(|user| user.local);
        assert_eq!(user("mia+news+x@example.org").as_deref(), Some("mia"));
        assert_eq!((user("mia@example.org"), user("+x@example.org")), (None, None));
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
