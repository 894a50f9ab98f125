//! What a hop's answers have taught of recipients, and of their domains. In memory only and bounded: after a restart
//! nothing is known, and what a server says is taken as seriously as that of one that is met for the first time.
//!
//! That a recipient was taken says nothing of a server that takes every name; one that has refused a recipient as not
//! there looks at them, and whom it takes after that is there. A domain is known once a recipient in it was taken:
//! Exchange refuses those of domains that it does not have at once.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use penstock_release::{Event, Found, Verdict};
use penstock_settings::Network;
use penstock_smtp::Address;
use penstock_spool::Begin;

/// Recipients that are kept in mind; of more, some are forgotten.
const RECIPIENTS_MAX: usize = 4_096;
/// Domains that are kept in mind.
const DOMAINS_MAX: usize = 256;

/// What is known of one hop's recipients.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Drawn at each start, so that nobody can find two addresses that are taken for one.
    digests: RandomState,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Digests of domains of which a recipient was taken.
    domains: Vec<u64>,
    /// Whether it has refused a recipient as not there.
    looks_at_recipients: bool,
    /// Digests of recipients that are there, each at a place of its own; 0 where there is none.
    recipients: Vec<u64>,
    /// The last recipient that it would not take as none of its own, until it takes one.
    denied: Option<String>,
}

impl Known {
    /// Takes in what was said to a RCPT. Of a refusal to relay it gives back whether it judges that recipient alone: it
    /// does if the hop has taken mail, and never any for that domain.
    pub(super) fn heard(&self, address: &Address<'_>, found: Found) -> Found {
        let evidence = found.evidence();
        let mut inner = self.inner();
        if evidence.verdict() == Verdict::Accepted {
            inner.denied = None;
            let domain = self.domain(address);
            if !inner.domains.contains(&domain) && inner.domains.len() < DOMAINS_MAX {
                inner.domains.push(domain);
            }
            if inner.looks_at_recipients {
                let recipient = self.recipient(address);
                inner.recipients.resize(RECIPIENTS_MAX, 0);
                if let Some(slot) = inner.recipients.get_mut(recipient as usize % RECIPIENTS_MAX) {
                    *slot = recipient;
                }
            }
        } else if evidence.denies_relay() {
            if !inner.domains.is_empty() && !inner.domains.contains(&self.domain(address)) {
                drop(inner);
                return found.alone();
            }
            inner.denied = Some(address.to_string());
        } else if is_no_such_user(&evidence.event) {
            inner.looks_at_recipients = true;
        }
        drop(inner);
        found
    }

    /// The recipient that a probe is to name: one that the hop would not take as none of its own.
    pub(super) fn denied(&self) -> Option<String> {
        self.inner().denied.clone()
    }

    /// Whether a recipient is known to be there.
    pub(super) fn is_good(&self, address: &Address<'_>) -> bool {
        let recipient = self.recipient(address);
        self.inner().recipients.get(recipient as usize % RECIPIENTS_MAX) == Some(&recipient)
    }

    /// A digest of an address; never 0. Local parts of a site's own mailboxes are the same whatever their case.
    pub(super) fn recipient(&self, address: &Address<'_>) -> u64 {
        self.digests.hash_one(address.to_string().to_ascii_lowercase()).max(1)
    }

    fn domain(&self, address: &Address<'_>) -> u64 {
        self.digests.hash_one(address.domain().unwrap_or_default().to_ascii_lowercase())
    }

    /// A digest of whoever is behind a message, as far as that is not the sender's to choose: the network that the client
    /// connected from. Behind a front that brings everybody's mail, which has looked at senders itself, it is the domain.
    pub(super) fn source(&self, begin: &Begin, fronts: &[Network]) -> u64 {
        let client = begin.client.map(|client| client.ip().to_canonical());
        match client {
            Some(ip) if fronts.iter().any(|front| front.contains(ip)) => {
                let domain = begin.sender.rsplit_once('@').map_or("", |(_, domain)| domain);
                self.digests.hash_one(("front", domain.to_ascii_lowercase()))
            }
            Some(IpAddr::V4(ip)) => {
                let [a, b, c, _] = ip.octets();
                self.digests.hash_one((4, [a, b, c]))
            }
            Some(IpAddr::V6(ip)) => {
                let [a, b, c, ..] = ip.segments();
                self.digests.hash_one((6, [a, b, c]))
            }
            None => self.digests.hash_one("unknown"),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a refusal says that there is no such mailbox (RFC 3463 section 3.2: X.1.1, and Exchange's X.1.10).
fn is_no_such_user(event: &Event<'_>) -> bool {
    matches!(event, Event::Reply(reply) if matches!(reply.enhanced, Some((5, 1, 1 | 10))))
}

#[cfg(test)]
mod tests {
    use penstock_release::{Phase, Reply};
    use penstock_settings::Settings;

    use super::*;

    fn address(text: &str) -> Address<'_> {
        Address::parse(text).unwrap()
    }

    fn say(known: &Known, to: &str, code: u16, status: (u8, u16, u16), text: &str) -> Verdict {
        let found = Found::reply(Phase::Rcpt, Reply { code, enhanced: Some(status), text }, 0);
        known.heard(&address(to), found).verdict()
    }

    fn take(known: &Known, to: &str) {
        assert_eq!(say(known, to, 250, (2, 1, 5), "Ok"), Verdict::Accepted);
    }

    fn deny(known: &Known, to: &str) -> Verdict {
        say(known, to, 550, (5, 7, 54), "SMTP; Unable to relay recipient in non-accepted domain")
    }

    #[test]
    fn a_domain_that_never_was_is_no_reason_to_doubt_a_server_that_takes_others() {
        let known = Known::default();
        let about_the_site = Verdict::Destination(penstock_release::Trouble::Unconfigured);
        assert_eq!(deny(&known, "a@one.example"), about_the_site, "nothing is known yet");
        assert_eq!(known.denied().as_deref(), Some("a@one.example"));
        take(&known, "b@one.example");
        assert_eq!(known.denied(), None);
        assert_eq!(deny(&known, "a@two.example"), Verdict::Held);
        assert_eq!(deny(&known, "c@ONE.example"), about_the_site);
    }

    #[test]
    fn who_is_taken_by_a_server_that_takes_everybody_is_not_known_to_be_there() {
        let known = Known::default();
        take(&known, "ann@one.example");
        assert!(!known.is_good(&address("ann@one.example")));
        say(&known, "nobody@one.example", 550, (5, 1, 10), "RESOLVER.ADR.RecipientNotFound");
        assert!(!known.is_good(&address("ann@one.example")));
        take(&known, "ann@one.example");
        assert!(known.is_good(&address("Ann@one.example")) && !known.is_good(&address("mia@one.example")));
    }

    #[test]
    fn whatever_a_sender_forges_he_is_one_source() {
        let known = Known::default();
        let settings = "[system]\nhostname = \"mx.example.org\"\n[domains]\naccepted = [\"example.org\"]\n[[next_hop]]\n\
                        name = \"x\"\naddress = \"192.0.2.25\"\n[listen]\ntrusted_fronts = [\"192.0.2.1\"]\n";
        let fronts = Settings::parse(settings).unwrap().listen.trusted_fronts;
        let source = |client: &str, sender: &str| {
            let begin = Begin { client: client.parse().ok(), sender: sender.into(), ..Begin::default() };
            known.source(&begin, &fronts)
        };
        let forger = source("198.51.100.7:1", "a@one.example");
        assert_eq!(forger, source("198.51.100.200:2", "b@two.example"));
        assert_eq!(forger, source("[::ffff:198.51.100.9]:2", ""));
        assert_ne!(forger, source("203.0.113.7:1", "a@one.example"));
        assert_eq!(source("[2001:db8:1:2::3]:1", "a"), source("[2001:db8:1:3::4]:1", "b"));
        // What comes through a front comes from everybody.
        assert_ne!(source("192.0.2.1:1", "a@one.example"), source("192.0.2.1:1", "a@two.example"));
    }
}
