//! What a hop's answers have taught of recipients, and of their domains. In memory only and bounded: after a restart
//! nothing is known, and what a server says is taken as seriously as that of one that is met for the first time.
//!
//! That a recipient was taken says nothing of a server that takes every name. Whether one looks at them is found out
//! domain by domain (`validation`); where it is not known yet, one that has refused a recipient as not there does. Whom it
//! takes after that is there, and so is whose mailbox a report says that mail lies in. A domain is known once a recipient
//! in it was taken: Exchange refuses those of domains that it does not have at once.
//!
//! Nothing is learnt of who is there while the server may not be itself: what was known before the outage counts in it.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use penstock_release::{Event, Found, Verdict};
use penstock_settings::Network;
use penstock_smtp::Address;
use penstock_spool::Begin;

use super::validation::Checks;
use crate::directory::{Directory, Mailbox};

/// Recipients that are kept in mind; of more, some are forgotten.
const RECIPIENTS_MAX: usize = 4_096;
/// Domains that are kept in mind.
const DOMAINS_MAX: usize = 256;

/// What is known of one hop's recipients.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Drawn at each start, so that nobody can find two addresses that are taken for one.
    digests: RandomState,
    directory: Arc<Directory>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Digests of domains of which a recipient was taken, and whether that was so when one was last named.
    domains: Vec<(u64, bool)>,
    /// Whether it has refused a recipient as not there.
    looks_at_recipients: bool,
    /// Digests of domains of which it was found out when it looks at their recipients.
    found_out: Vec<(u64, Checks)>,
    /// Whether the server may not be itself.
    is_frozen: bool,
    /// Digests of recipients that are there, each at a place of its own; 0 where there is none.
    recipients: Vec<u64>,
    /// The last recipient that it would not take as none of its own, until it takes one.
    denied: Option<String>,
}

impl Known {
    /// Of a hop that nothing is known of yet, beside the list of who is there.
    pub(super) fn new(directory: &Arc<Directory>) -> Self {
        Self { directory: Arc::clone(directory), ..Self::default() }
    }

    /// Takes in what was said to a RCPT. Of a refusal to relay it gives back what it is about. The site, where the hop takes
    /// mail for no other domain. Else the domain, if the hop has taken mail for it before, or the recipient is known to be
    /// there; and if not, that recipient alone.
    pub(super) fn heard(&self, address: &Address<'_>, found: Found) -> Found {
        let evidence = found.evidence();
        let domain = self.domain(address);
        let mut inner = self.inner();
        if evidence.verdict() == Verdict::Accepted {
            inner.denied = None;
            inner.takes(domain);
            if inner.found_out(domain).map_or(inner.looks_at_recipients, |checks| checks == Checks::AtRcpt) {
                inner.add_good(self.recipient(address));
            }
        } else if evidence.denies_relay() {
            let takes_others = inner.domains.iter().any(|(other, taken)| *taken && *other != domain);
            if takes_others {
                let was_taken = inner.lost(domain);
                drop(inner);
                return if was_taken || self.is_there(address) { found.of_domain() } else { found.alone() };
            }
            inner.denied = Some(address.to_string());
        } else if is_no_such_user(&evidence.event) {
            inner.looks_at_recipients = true;
        }
        drop(inner);
        found
    }

    /// The hop took a message for this recipient.
    pub(super) fn took(&self, address: &Address<'_>) {
        let mut inner = self.inner();
        if inner.found_out(self.domain(address)) == Some(Checks::AtEnd) {
            inner.add_good(self.recipient(address));
        }
    }

    /// It was found out when the hop looks at recipients of a domain; `None` if that is not known any more.
    pub(super) fn set_found_out(&self, domain: &str, checks: Option<Checks>) {
        let domain = self.digest_of_domain(domain);
        let mut inner = self.inner();
        inner.found_out.retain(|(found, _)| *found != domain);
        if let Some(checks) = checks
            && inner.found_out.len() < DOMAINS_MAX
        {
            inner.found_out.push((domain, checks));
        }
    }

    /// Whether anything is to be learnt of who is there.
    pub(super) fn set_learning(&self, is_itself: bool) {
        self.inner().is_frozen = !is_itself;
    }

    /// A report says that mail lies in this mailbox.
    pub(super) fn delivered(&self, address: &Address<'_>) {
        self.inner().add_good(self.recipient(address));
    }

    /// The recipient that a probe is to name: one that the hop would not take as none of its own.
    pub(super) fn denied(&self) -> Option<String> {
        self.inner().denied.clone()
    }

    /// Whether a recipient is known to be there, from the list or from the hop's answers.
    pub(super) fn is_there(&self, address: &Address<'_>) -> bool {
        self.is_good(address) || self.directory.find(address.as_str()).is_some()
    }

    /// Whether the hop's answers have shown that a recipient is there.
    pub(super) fn is_good(&self, address: &Address<'_>) -> bool {
        let recipient = self.recipient(address);
        self.inner().recipients.get(recipient as usize % RECIPIENTS_MAX) == Some(&recipient)
    }

    /// A digest of an address; never 0. It is the same for all forms of one mailbox.
    pub(super) fn recipient(&self, address: &Address<'_>) -> u64 {
        match Mailbox::parse(address.as_str()) {
            Some(mailbox) => self.digests.hash_one((mailbox.local(), mailbox.domain())).max(1),
            None => self.digests.hash_one(address.as_str().to_ascii_lowercase()).max(1),
        }
    }

    fn domain(&self, address: &Address<'_>) -> u64 {
        self.digest_of_domain(address.domain().unwrap_or_default())
    }

    fn digest_of_domain(&self, domain: &str) -> u64 {
        self.digests.hash_one(domain.strip_suffix('.').unwrap_or(domain).to_ascii_lowercase())
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

impl Inner {
    /// A recipient of this domain was taken.
    fn takes(&mut self, domain: u64) {
        if let Some((_, taken)) = self.domains.iter_mut().find(|(known, _)| *known == domain) {
            *taken = true;
        } else if self.domains.len() < DOMAINS_MAX {
            self.domains.push((domain, true));
        }
    }

    /// This domain is none of the hop's now. Whether it ever was.
    fn lost(&mut self, domain: u64) -> bool {
        let known = self.domains.iter_mut().find(|(known, _)| *known == domain);
        known.map(|(_, taken)| *taken = false).is_some()
    }

    fn found_out(&self, domain: u64) -> Option<Checks> {
        self.found_out.iter().find(|(found, _)| *found == domain).map(|(_, checks)| *checks)
    }

    fn add_good(&mut self, recipient: u64) {
        if self.is_frozen {
            return;
        }
        self.recipients.resize(RECIPIENTS_MAX, 0);
        if let Some(slot) = self.recipients.get_mut(recipient as usize % RECIPIENTS_MAX) {
            *slot = recipient;
        }
    }
}

/// Whether a refusal says that there is no such mailbox (RFC 3463 section 3.2: X.1.1, and Exchange's X.1.10).
pub(super) fn is_no_such_user(event: &Event<'_>) -> bool {
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
    fn of_a_domain_that_is_lost_while_others_are_taken_the_mail_waits() {
        let known = Known::default();
        take(&known, "ann@one.example");
        take(&known, "ann@two.example");
        assert_eq!(deny(&known, "ann@two.example"), Verdict::RetryRecipient);
        assert_eq!(deny(&known, "bob@Two.example"), Verdict::RetryRecipient, "no more than the first");
        assert_eq!(known.denied(), None, "whether the hop knows the site is not asked of it");
        let about_the_site = Verdict::Destination(penstock_release::Trouble::Unconfigured);
        assert_eq!(deny(&known, "ann@one.example"), about_the_site, "then there is none that it takes");
        take(&known, "ann@two.example");
        assert_eq!(deny(&known, "ann@one.example"), Verdict::RetryRecipient);
        known.delivered(&address("leo@three.example"));
        assert_eq!(deny(&known, "leo@three.example"), Verdict::RetryRecipient, "he is known to be there");
        assert_eq!(deny(&known, "eve@three.example"), Verdict::Held);
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
    fn where_it_was_found_out_whether_recipients_are_looked_at_that_counts() {
        let known = Known::default();
        let is_good = |to: &str| known.is_good(&address(to));
        known.set_found_out("one.example", Some(Checks::Never));
        known.set_found_out("two.example", Some(Checks::AtRcpt));
        known.set_found_out("four.example", Some(Checks::AtEnd));
        say(&known, "nobody@one.example", 550, (5, 1, 1), "blocked");
        for to in ["ann@one.example", "ann@Two.example", "ann@three.example", "ann@four.example"] {
            take(&known, to);
        }
        assert!(!is_good("ann@four.example"), "it has not looked yet");
        for to in ["ann@one.example", "ann@four.example"] {
            known.took(&address(to));
        }
        assert!(is_good("ann@four.example"));
        assert!(!is_good("ann@one.example"), "a single refusal does not make it look");
        assert!(is_good("\"ann\"@two.example.") && is_good("ann@three.example"));
        known.set_found_out("one.example", None);
        take(&known, "ann@one.example");
        assert!(is_good("ann@one.example"));
    }

    #[test]
    fn nothing_is_learnt_of_who_is_there_while_the_server_may_not_be_itself() {
        let known = Known::default();
        known.set_found_out("one.example", Some(Checks::AtRcpt));
        take(&known, "ann@one.example");
        known.set_learning(false);
        take(&known, "eve@one.example");
        known.delivered(&address("leo@one.example"));
        let is_good = |to: &str| known.is_good(&address(to));
        assert!(is_good("ann@one.example"), "what was known before counts");
        assert!(!is_good("eve@one.example") && !is_good("leo@one.example"));
        known.set_learning(true);
        known.delivered(&address("leo@one.example"));
        assert!(is_good("leo@one.example"));
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
