//! Where the proof that mail reaches mailboxes comes from: probe mailboxes, and the page with a server's counters.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::net::Ipv6Addr;

use crate::names::{HostName, is_local_part};
use crate::network::HopHost;
use crate::value::{Refusal, Text};

/// The longest path of a URL with its query, in bytes.
const PATH_BYTES_MAX: usize = 512;
/// The port of HTTP.
const HTTP_PORT: u16 = 80;
/// The path of windows_exporter's page.
const COUNTERS_PATH: &str = "/metrics";

/// The address of a mailbox, ASCII, without quotes: `local@domain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailAddress {
    text: String,
    domain_at: usize,
}

/// A page that is fetched by HTTP, without user, password and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    /// The host.
    pub host: HopHost,
    /// The TCP port, 80 if the file names none.
    pub port: u16,
    path: String,
}

impl MailAddress {
    /// The address, the domain in lower case.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands behind the `@`.
    pub fn domain(&self) -> &str {
        self.text.get(self.domain_at..).unwrap_or_default()
    }
}

impl HttpUrl {
    /// Host and port as a request names them (RFC 9110 section 7.2).
    pub fn authority(&self) -> String {
        let host = match &self.host {
            HopHost::Ip(core::net::IpAddr::V6(ip)) => format!("[{ip}]"),
            HopHost::Ip(ip) => ip.to_string(),
            HopHost::Name(name) => name.to_string(),
        };
        if self.port == HTTP_PORT { host } else { format!("{host}:{}", self.port) }
    }

    /// The path with its query; begins with `/`.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for MailAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.text)
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "http://{}{}", self.authority(), self.path)
    }
}

impl Text for MailAddress {
    type Limits = ();
    const EXAMPLE: &'static str = "\"probe-db1@example.org\"";

    fn allowed((): &()) -> String {
        "the address of a mailbox".into()
    }

    fn from_text(text: &str, (): &()) -> Result<Self, Refusal> {
        let (local, domain) = text.rsplit_once('@').ok_or(Refusal::Bad)?;
        if !is_local_part(local) {
            return Err(Refusal::Bad);
        }
        let domain = HostName::new(domain)?;
        Ok(Self { text: format!("{local}@{domain}"), domain_at: local.len() + 1 })
    }

    fn to_text(&self) -> String {
        self.text.clone()
    }
}

impl Text for Option<HttpUrl> {
    type Limits = ();
    const EXAMPLE: &'static str = "\"http://192.0.2.25:9182/metrics\"";

    fn allowed((): &()) -> String {
        "empty for none, or a URL of HTTP".into()
    }

    fn from_text(text: &str, (): &()) -> Result<Self, Refusal> {
        if text.is_empty() {
            return Ok(None);
        }
        if text.starts_with("https:") {
            return Err(Refusal::Because("windows_exporter is asked without TLS: write http"));
        }
        let rest = text.strip_prefix("http://").ok_or(Refusal::Bad)?;
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err(Refusal::Because("a user or a password has no place in it"));
        }
        let (host, port) = host_and_port(authority, HTTP_PORT)?;
        Ok(Some(HttpUrl { host, port, path: path_and_query(path)? }))
    }

    fn to_text(&self) -> String {
        self.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

/// A host, and a port that is the usual one if none stands there.
pub(crate) fn host_and_port(authority: &str, usual: u16) -> Result<(HopHost, u16), Refusal> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (ip, port) = rest.split_once(']').ok_or(Refusal::Bad)?;
            let ip: Ipv6Addr = ip.parse().map_err(|_| Refusal::Bad)?;
            (HopHost::Ip(ip.into()), port)
        }
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            let host = match host.parse() {
                Ok(ip) => HopHost::Ip(ip),
                Err(_) => HopHost::Name(HostName::new(host)?),
            };
            (host, port)
        }
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(Refusal::Bad)?,
        None if port.is_empty() => usual,
        None => return Err(Refusal::Bad),
    };
    Ok((host, port))
}

/// What RFC 3986 allows in a path and a query, and the brackets of `collect[]`.
fn path_and_query(text: &str) -> Result<String, Refusal> {
    if matches!(text, "" | "/") {
        return Ok(COUNTERS_PATH.into());
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%[]".contains(&byte);
    if !text.starts_with('/') || text.len() > PATH_BYTES_MAX || !text.bytes().all(fits) {
        return Err(Refusal::Bad);
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_mailbox_is_a_plain_address() {
        let address = MailAddress::from_text("Probe.db-1@Example.ORG", &()).ok().unwrap();
        assert_eq!((address.as_str(), address.domain()), ("Probe.db-1@example.org", "example.org"));
        for text in [
            "",
            "probe",
            "@example.org",
            "probe@",
            ".probe@example.org",
            "probe..db1@example.org",
            "\"a b\"@example.org",
            "a b@example.org",
            "a@b@example.org",
            "a>\r\nRSET@example.org",
            "bücher@example.org",
            "probe@[192.0.2.1]",
        ] {
            assert!(MailAddress::from_text(text, &()).is_err(), "{text:?}");
        }
        assert!(MailAddress::from_text(&format!("{}@example.org", "a".repeat(65)), &()).is_err());
    }

    #[test]
    fn a_page_of_counters_is_named_by_a_url_of_http() {
        let url = |text: &str| Option::<HttpUrl>::from_text(text, &()).ok();
        for (text, authority, path) in [
            ("http://192.0.2.25:9182/metrics", "192.0.2.25:9182", "/metrics"),
            ("http://[2001:db8::25]:9182", "[2001:db8::25]:9182", "/metrics"),
            ("http://Exchange.example.org/", "exchange.example.org", "/metrics"),
            ("http://exchange:9182/m?collect[]=exchange", "exchange:9182", "/m?collect[]=exchange"),
        ] {
            let read = url(text).flatten().unwrap();
            assert_eq!((read.authority().as_str(), read.path()), (authority, path));
            assert_eq!(url(&read.to_string()), Some(Some(read)), "{text}");
        }
        assert_eq!(url(""), Some(None));
        for text in [
            "exchange:9182",
            "ftp://exchange",
            "https://exchange:9182/metrics",
            "http://",
            "http://:9182/",
            "http://exchange:0/",
            "http://exchange:99999/",
            "http://exchange:/",
            "http://[2001:db8::25/",
            "http://[2001:db8::25]9182/",
            "http://admin:secret@exchange/",
            "http://exchange?collect[]=exchange",
            "http://exchange/a b",
            "http://exchange/a\r\nHost: b",
            "http://exchange/#part",
        ] {
            assert_eq!(url(text), None, "{text:?}");
        }
    }
}
