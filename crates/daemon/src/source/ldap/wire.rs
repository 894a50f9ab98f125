//! The few messages of LDAP (RFC 4511) that a list is read with: bind, search by pages (RFC 2696), StartTLS, unbind.

use super::ber::{ENUMERATED, INTEGER, Malformed, OCTETS, SEQUENCE, SET, Values, put, put_number};

/// What begins TLS (RFC 4511 §4.14).
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";
/// The control that asks for pages.
const PAGED: &[u8] = b"1.2.840.113556.1.4.319";

/// What is asked of each recipient.
const ATTRIBUTES: [&str; 3] = ["proxyAddresses", "mail", "homeMDB"];

/// How a request ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// RFC 4511 appendix A; 0 is success.
    pub(super) code: u32,
    /// What the server says beyond it.
    pub(super) text: String,
    /// Where the next page begins; empty if there is none.
    pub(super) cookie: Vec<u8>,
}

/// A recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its addresses, of whatever kind.
    pub(super) addresses: Vec<String>,
    /// The distinguished name of its mailbox database.
    pub(super) database: Option<String>,
}

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Entry(Entry),
    Done(Done),
    /// It ends the connection, and says why.
    Notice(Done),
    /// A part of the directory is elsewhere, or something that nobody asked for.
    Other,
}

fn message(id: u32, operation: &[u8], controls: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(operation.len() + controls.len() + 8);
    put_number(&mut content, INTEGER, id);
    content.extend_from_slice(operation);
    content.extend_from_slice(controls);
    let mut message = Vec::with_capacity(content.len() + 6);
    put(&mut message, SEQUENCE, &content);
    message
}

/// Says who asks.
pub(super) fn bind(id: u32, user: &str, password: &str) -> Vec<u8> {
    let (mut content, mut operation) = (Vec::new(), Vec::new());
    put_number(&mut content, INTEGER, 3);
    put(&mut content, OCTETS, user.as_bytes());
    put(&mut content, 0x80, password.as_bytes());
    put(&mut operation, 0x60, &content);
    message(id, &operation, &[])
}

/// Asks for TLS.
pub(super) fn start_tls(id: u32) -> Vec<u8> {
    let (mut content, mut operation) = (Vec::new(), Vec::new());
    put(&mut content, 0x80, START_TLS);
    put(&mut operation, 0x77, &content);
    message(id, &operation, &[])
}

/// Says farewell.
pub(super) fn unbind(id: u32) -> Vec<u8> {
    message(id, &[0x42, 0], &[])
}

/// Asks for a page of all that `filter`, as it is sent, finds below a place.
pub(super) fn search(id: u32, base: &str, filter: &[u8], page: u32, cookie: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    put(&mut content, OCTETS, base.as_bytes());
    // Everything below it; aliases as they are; without limits of ours; with values.
    put_number(&mut content, ENUMERATED, 2);
    put_number(&mut content, ENUMERATED, 0);
    put_number(&mut content, INTEGER, 0);
    put_number(&mut content, INTEGER, 0);
    put(&mut content, super::ber::BOOLEAN, &[0]);
    content.extend_from_slice(filter);
    let mut attributes = Vec::new();
    for attribute in ATTRIBUTES {
        put(&mut attributes, OCTETS, attribute.as_bytes());
    }
    put(&mut content, SEQUENCE, &attributes);
    let mut operation = Vec::new();
    put(&mut operation, 0x63, &content);
    let (mut value, mut paged) = (Vec::new(), Vec::new());
    put_number(&mut value, INTEGER, page);
    put(&mut value, OCTETS, cookie);
    put(&mut paged, SEQUENCE, &value);
    let (mut control, mut list, mut controls) = (Vec::new(), Vec::new(), Vec::new());
    put(&mut control, OCTETS, PAGED);
    put(&mut control, OCTETS, &paged);
    put(&mut list, SEQUENCE, &control);
    put(&mut controls, 0xA0, &list);
    message(id, &operation, &controls)
}

/// Reads what a server said to the request `id`.
///
/// # Errors
/// It is no LDAP.
pub(super) fn answer(message: &[u8], id: u32) -> Result<Answer, Malformed> {
    let mut values = Values(Values(message).expect(SEQUENCE)?);
    let of = values.number(INTEGER)?;
    let (operation, content) = values.next()?.ok_or(Malformed)?;
    match operation {
        // What nobody asked for has the number 0.
        0x78 if of == 0 => done(content, values).map(Answer::Notice),
        _ if of != id => Err(Malformed),
        0x61 | 0x65 | 0x78 => done(content, values).map(Answer::Done),
        0x64 => entry(content).map(Answer::Entry),
        _ => Ok(Answer::Other),
    }
}

fn done(content: &[u8], mut rest: Values<'_>) -> Result<Done, Malformed> {
    let mut values = Values(content);
    let code = values.number(ENUMERATED)?;
    let (_, text) = (values.text()?, values.text()?);
    let mut done = Done { code, text, cookie: Vec::new() };
    while let Some((tag, controls)) = rest.next()? {
        if tag != 0xA0 {
            // Active Directory puts the name of a notice here.
            continue;
        }
        let mut controls = Values(controls);
        while let Some((_, control)) = controls.next()? {
            let mut control = Values(control);
            if control.expect(OCTETS)? != PAGED {
                continue;
            }
            while let Some((tag, value)) = control.next()? {
                if tag == OCTETS {
                    let mut value = Values(Values(value).expect(SEQUENCE)?);
                    value.number(INTEGER)?;
                    done.cookie = value.expect(OCTETS)?.to_vec();
                }
            }
        }
    }
    Ok(done)
}

fn entry(content: &[u8]) -> Result<Entry, Malformed> {
    let mut entry = Entry::default();
    let mut values = Values(content);
    values.expect(OCTETS)?;
    let mut attributes = Values(values.expect(SEQUENCE)?);
    while let Some((_, attribute)) = attributes.next()? {
        let mut attribute = Values(attribute);
        let name = attribute.text()?;
        // Of very long lists a server gives a part, under a name with `;range=…` behind it.
        let name = name.split(';').next().unwrap_or_default();
        let mut of_attribute = Values(attribute.expect(SET)?);
        while let Some((_, value)) = of_attribute.next()? {
            let value = String::from_utf8_lossy(value).into_owned();
            if name.eq_ignore_ascii_case("homeMDB") {
                entry.database = Some(value);
            } else if name.eq_ignore_ascii_case("proxyAddresses") || name.eq_ignore_ascii_case("mail") {
                entry.addresses.push(value);
            }
        }
    }
    Ok(entry)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As a server says that a request ended.
    pub(crate) fn done_message(
        id: u32,
        operation: u8,
        code: u32,
        text: &str,
        cookie: Option<&[u8]>,
    ) -> Vec<u8> {
        let (mut content, mut op) = (Vec::new(), Vec::new());
        put_number(&mut content, ENUMERATED, code);
        put(&mut content, OCTETS, b"");
        put(&mut content, OCTETS, text.as_bytes());
        put(&mut op, operation, &content);
        let mut controls = Vec::new();
        if let Some(cookie) = cookie {
            let (mut value, mut paged) = (Vec::new(), Vec::new());
            put_number(&mut value, INTEGER, 0);
            put(&mut value, OCTETS, cookie);
            put(&mut paged, SEQUENCE, &value);
            let (mut control, mut list) = (Vec::new(), Vec::new());
            put(&mut control, OCTETS, PAGED);
            put(&mut control, super::super::ber::BOOLEAN, &[0]);
            put(&mut control, OCTETS, &paged);
            put(&mut list, SEQUENCE, &control);
            put(&mut controls, 0xA0, &list);
        }
        message(id, &op, &controls)
    }

    /// As a server gives a recipient.
    pub(crate) fn entry_message(id: u32, attributes: &[(&str, &[&str])]) -> Vec<u8> {
        let (mut list, mut content, mut op) = (Vec::new(), Vec::new(), Vec::new());
        for (name, values) in attributes {
            let (mut set, mut attribute, mut one) = (Vec::new(), Vec::new(), Vec::new());
            values.iter().for_each(|value| put(&mut set, OCTETS, value.as_bytes()));
            put(&mut attribute, OCTETS, name.as_bytes());
            put(&mut attribute, SET, &set);
            put(&mut one, SEQUENCE, &attribute);
            list.extend(one);
        }
        put(&mut content, OCTETS, b"CN=Somebody,DC=x");
        put(&mut content, SEQUENCE, &list);
        put(&mut op, 0x64, &content);
        message(id, &op, &[])
    }

    #[test]
    fn a_bind_is_as_the_protocol_has_it() {
        assert_eq!(bind(1, "u", "p"), b"\x30\x0E\x02\x01\x01\x60\x09\x02\x01\x03\x04\x01u\x80\x01p");
        assert_eq!(unbind(3), b"\x30\x05\x02\x01\x03\x42\x00");
    }

    #[test]
    fn entries_and_ends_are_read() {
        let given = entry_message(
            2,
            &[
                ("ProxyAddresses;range=0-1499", &["SMTP:a@x.org", "smtp:b@x.org"]),
                ("homeMDB", &["CN=DB"]),
                ("cn", &["x"]),
            ],
        );
        let entry = Entry {
            addresses: vec!["SMTP:a@x.org".into(), "smtp:b@x.org".into()],
            database: Some("CN=DB".into()),
        };
        assert_eq!(answer(&given, 2), Ok(Answer::Entry(entry)));
        let ended = |code, text: &str, cookie: &[u8]| Done { code, text: text.into(), cookie: cookie.into() };
        let page = done_message(2, 0x65, 0, "", Some(b"next"));
        assert_eq!(answer(&page, 2), Ok(Answer::Done(ended(0, "", b"next"))));
        let refused = done_message(1, 0x61, 49, "80090308: LdapErr", None);
        assert_eq!(answer(&refused, 1), Ok(Answer::Done(ended(49, "80090308: LdapErr", b""))));
        assert_eq!(answer(&refused, 2), Err(Malformed), "an answer to something else");
        let notice = done_message(0, 0x78, 52, "shutting down", None);
        assert_eq!(answer(&notice, 2), Ok(Answer::Notice(ended(52, "shutting down", b""))));
    }

    proptest! {
        #[test]
        fn nothing_that_a_server_says_does_harm(
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(),
            noise in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let _ = answer(&noise, 1);
            for mut bytes in [
                entry_message(1, &[("proxyAddresses", &["SMTP:a@x.org"]), ("homeMDB", &["CN=DB"])]),
                done_message(1, 0x65, 0, "text", Some(b"cookie")),
            ] {
                for (at, byte) in &flips {
                    let at = at.index(bytes.len());
                    bytes[at] ^= byte;
                }
                let _ = answer(&bytes, 1);
                let _ = answer(&bytes[..cut.index(bytes.len())], 1);
            }
        }
    }
}
