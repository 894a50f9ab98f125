//! Mailboxes that the operator means: one, or all of a domain.

use alloc::format;
use alloc::string::String;
use core::fmt;

use crate::names::{Domain, is_local_part};
use crate::value::{Refusal, Text};

/// One mailbox, `jane@example.org`, or those of a domain: `@example.org`, or `@*.example.org` for every name below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailboxes {
    /// Empty for every one. In lower case.
    local: String,
    domain: Domain,
}

impl Mailboxes {
    /// Whether the mailbox with this address is one of them. The case of ASCII letters does not matter.
    pub fn include(&self, address: &str) -> bool {
        address.rsplit_once('@').is_some_and(|(local, domain)| {
            (self.local.is_empty() || self.local.eq_ignore_ascii_case(local)) && self.domain.accepts(domain)
        })
    }
}

impl fmt::Display for Mailboxes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}@{}", self.local, self.domain)
    }
}

impl Text for Mailboxes {
    type Limits = ();
    const EXAMPLE: &'static str = "\"jane@example.org\", or \"@example.org\" for a whole domain";

    fn allowed((): &()) -> String {
        "the address of a mailbox".into()
    }

    fn from_text(text: &str, (): &()) -> Result<Self, Refusal> {
        let (local, domain) = text.rsplit_once('@').ok_or(Refusal::Bad)?;
        if !local.is_empty() && !is_local_part(local) {
            return Err(Refusal::Bad);
        }
        Ok(Self { local: local.to_ascii_lowercase(), domain: Domain::from_text(domain, &())? })
    }

    fn to_text(&self) -> String {
        format!("{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailboxes(text: &str) -> Mailboxes {
        Mailboxes::from_text(text, &()).ok().unwrap()
    }

    #[test]
    fn an_address_means_one_mailbox_and_an_at_a_whole_domain() {
        let one = mailboxes("Jane.Doe@Example.org");
        assert!(one.include("jane.doe@example.ORG"));
        let all = mailboxes("@example.org");
        assert!(all.include("jane.doe@example.org") && all.include("\"odd@name\"@Example.org"));
        let below = mailboxes("@*.example.org");
        assert!(below.include("jane@sales.example.org"));
        for other in ["doe@example.org", "jane.doe@example.com", "jane.doe", "", "@"] {
            assert!(!one.include(other) && !below.include(other), "{other:?}");
        }
        assert!(!all.include("jane@sales.example.org") && !all.include("example.org"));
    }

    #[test]
    fn what_is_no_mailbox_is_refused() {
        for text in ["", "jane", "example.org", "@", "jane@", ".jane@example.org", "ja ne@example.org", "@*"]
        {
            assert!(Mailboxes::from_text(text, &()).is_err(), "{text:?}");
        }
        assert_eq!(mailboxes("Jane@Example.org").to_text(), "jane@example.org");
    }
}
