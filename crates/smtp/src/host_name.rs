use heapless::String;

use crate::address::is_domain_or_literal;
use crate::bounds::DOMAIN_BYTES_MAX;
use crate::error::Error;

/// A name that may stand in EHLO and in a greeting: a domain, or an address literal in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String<DOMAIN_BYTES_MAX>);

impl HostName {
    /// Checks `name`.
    ///
    /// # Errors
    /// [`Error::HostName`].
    pub fn parse(name: &str) -> Result<Self, Error> {
        if !name.is_ascii() || !is_domain_or_literal(name) {
            return Err(Error::HostName);
        }
        String::try_from(name).map(Self).map_err(|_| Error::HostName)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_a_domain_or_a_literal() {
        for name in ["mx.example.com", "box-1", "[192.0.2.1]", "[IPv6:2001:db8::1]"] {
            assert_eq!(HostName::parse(name).unwrap().as_str(), name);
        }
        for name in ["", "a b", "a\r\nb", "a@b", "[", "a..b", "é"] {
            assert_eq!(HostName::parse(name), Err(Error::HostName), "{name:?}");
        }
    }
}
