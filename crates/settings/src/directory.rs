//! Where a site's directory is, and what to ask it.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

use crate::network::HopHost;
use crate::proof::host_and_port;
use crate::value::{Refusal, Text};

/// The ports of LDAP, without TLS from the beginning and with it.
const LDAP_PORT: u16 = 389;
const LDAPS_PORT: u16 = 636;

/// A directory server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdapUrl {
    /// Whether the connection begins with TLS: `ldaps://`.
    pub tls: bool,
    /// The host.
    pub host: HopHost,
    /// The TCP port: 389, or 636 with TLS, if the file names none.
    pub port: u16,
}

/// A line of text that means something to another system: a user, a distinguished name, a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line(String);

/// The SHA-256 of something, or of nothing in particular.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sha256(Option<[u8; 32]>);

impl Line {
    /// No text.
    pub(crate) const fn empty() -> Self {
        Self(String::new())
    }

    /// A text of the table.
    pub(crate) fn known(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Sha256 {
    /// None is asked for.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// Whether none is asked for.
    pub const fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// The bytes.
    pub const fn bytes(&self) -> Option<[u8; 32]> {
        self.0
    }
}

impl fmt::Display for LdapUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.tls { "ldaps://" } else { "ldap://" })?;
        match &self.host {
            HopHost::Ip(core::net::IpAddr::V6(ip)) => write!(out, "[{ip}]"),
            HopHost::Ip(ip) => write!(out, "{ip}"),
            HopHost::Name(name) => write!(out, "{name}"),
        }?;
        let usual = if self.tls { LDAPS_PORT } else { LDAP_PORT };
        if self.port == usual { Ok(()) } else { write!(out, ":{}", self.port) }
    }
}

impl Text for Option<LdapUrl> {
    type Limits = ();
    const EXAMPLE: &'static str = "\"ldaps://dc1.example.org\"";

    fn allowed((): &()) -> String {
        "empty for none, or a URL that begins with ldaps:// or ldap:// and has nothing behind host and port"
            .into()
    }

    fn from_text(text: &str, (): &()) -> Result<Self, Refusal> {
        if text.is_empty() {
            return Ok(None);
        }
        let (tls, rest) = match (text.strip_prefix("ldaps://"), text.strip_prefix("ldap://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(Refusal::Bad),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('@') {
            return Err(Refusal::Because("who asks stands in ldap.user and ldap.password"));
        }
        if authority.contains('/') {
            return Err(Refusal::Because("below what to look stands in ldap.base"));
        }
        let usual = if tls { LDAPS_PORT } else { LDAP_PORT };
        let (host, port) = host_and_port(authority, usual)?;
        Ok(Some(LdapUrl { tls, host, port }))
    }

    fn to_text(&self) -> String {
        self.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

impl Text for Line {
    /// The longest text in bytes.
    type Limits = usize;
    const EXAMPLE: &'static str = "";

    fn allowed(bytes_max: &usize) -> String {
        format!("a text of at most {bytes_max} bytes without control characters")
    }

    fn from_text(text: &str, bytes_max: &usize) -> Result<Self, Refusal> {
        if text.contains(char::is_control) {
            return Err(Refusal::Bad);
        }
        if text.len() > *bytes_max { Err(Refusal::OutOfRange) } else { Ok(Self(text.into())) }
    }

    fn to_text(&self) -> String {
        self.0.clone()
    }
}

impl Text for Sha256 {
    type Limits = ();
    const EXAMPLE: &'static str = "";

    fn allowed((): &()) -> String {
        "empty, or 64 hexadecimal digits, with or without colons between the bytes".into()
    }

    fn from_text(text: &str, (): &()) -> Result<Self, Refusal> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let mut bytes = [0; 32];
        let mut digits = text.bytes().filter(|byte| *byte != b':').map(|byte| char::from(byte).to_digit(16));
        for byte in &mut bytes {
            let high = digits.next().flatten().ok_or(Refusal::Bad)?;
            let low = digits.next().flatten().ok_or(Refusal::Bad)?;
            *byte = (high * 16 + low) as u8;
        }
        if digits.next().is_some() { Err(Refusal::Bad) } else { Ok(Self(Some(bytes))) }
    }

    fn to_text(&self) -> String {
        self.0.map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Option<LdapUrl> {
        Option::<LdapUrl>::from_text(text, &()).ok().flatten()
    }

    #[test]
    fn a_directory_is_a_host_and_a_port() {
        for (text, tls, port) in [
            ("ldaps://dc1.example.org", true, 636),
            ("ldap://192.0.2.5", false, 389),
            ("ldap://[2001:db8::5]:3268", false, 3268),
            ("ldaps://dc1.example.org:3269", true, 3269),
        ] {
            let read = url(text).unwrap();
            assert_eq!((read.tls, read.port, read.to_string().as_str()), (tls, port, text));
        }
        assert_eq!(url("ldaps://dc1.example.org/"), url("ldaps://dc1.example.org"));
        for text in [
            "dc1.example.org",
            "https://dc1.example.org",
            "ldap://",
            "ldaps://a:b@dc1.example.org",
            "ldap://dc1/DC=example,DC=org",
            "ldap://dc1:0",
        ] {
            assert!(Option::<LdapUrl>::from_text(text, &()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_sha_256_is_read_as_every_tool_writes_it() {
        let digits = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
        let colons = digits.as_bytes().chunks(2).map(|two| str::from_utf8(two).unwrap());
        let colons = colons.collect::<alloc::vec::Vec<_>>().join(":");
        for text in [digits, &colons] {
            let read = Sha256::from_text(text, &()).ok().unwrap();
            assert_eq!(read.to_text(), digits.to_ascii_lowercase());
        }
        assert!(Sha256::from_text("", &()).ok().unwrap().is_none());
        for text in ["00", &digits[1..], &format!("{digits}00"), &digits.replace('0', "g")] {
            assert!(Sha256::from_text(text, &()).is_err(), "{text:?}");
        }
    }
}
