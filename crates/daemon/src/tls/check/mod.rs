//! Compares what clients are shown with what the world expects of it: the names of a domain's MX records, a chain that leads
//! to a public authority, an MTA-STS policy, TLSA records.
//!
//! Senders that look at nothing of it, which is most, send encrypted to any certificate. Those that look do not deliver, or
//! deliver in plain text, when it is wrong, and nobody at the site hears of it.

mod dane;
mod fetch;
mod policy;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use penstock_settings::{Domain, Settings};
use penstock_spool::Stamp;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::time::Instant;

use super::{Expiry, Origin, Served, Tls, provider};
use crate::control::tls::{Finding, Verdict};
use crate::dns::{Dns, Failure, Tlsa};
use dane::Says;
use policy::{Mode, Policy};

/// How long a look-up may take.
const LOOK_UP: Duration = Duration::from_secs(5);
/// How long all of it may take.
const ALL: Duration = Duration::from_secs(45);
/// Domains that are looked at, and MX records of each.
const DOMAINS_MAX: usize = 50;
const EXCHANGERS_MAX: usize = 10;
/// A policy that is believed for less protects little.
const MAX_AGE_MIN_S: u64 = 86_400;

/// Looks at everything.
pub(crate) async fn check(tls: &Tls, settings: &Settings, dns: &Arc<Dns>, now: Stamp) -> Vec<Finding> {
    let mut findings = Findings::default();
    let serving = tls.serving();
    let Some(served) = serving.served().filter(|_| serving.is_offered()) else {
        findings.add(Verdict::Wrong, "STARTTLS", "is not offered: all mail comes in plain text", "Set tls.offer.");
        return findings.0;
    };
    let host = settings.system.hostname.as_str();
    let checking = Checking { served: &served, public: public(), now };
    checking.certificate(host, &mut findings);
    if let Some(trouble) = tls.trouble() {
        let what = format!("of tls.certificate_file cannot be used: {trouble}");
        findings.add(Verdict::Wrong, "certificate", &what, "Correct the file; it is read again when it has changed.");
    }
    let domains = settings.domains.accepted.iter().filter_map(Domain::exact).take(DOMAINS_MAX);
    let until = Instant::now() + ALL;
    for domain in domains {
        if tokio::time::timeout_at(until, checking.domain(domain, dns, &mut findings)).await.is_err() {
            let what = "could not be looked at in time: the name servers are slow, or the domains are many";
            findings.add(Verdict::Unknown, domain, what, "");
        }
    }
    findings.0
}

#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, verdict: Verdict, subject: &str, what: &str, help: &str) {
        let (subject, what, help) = (subject.to_owned(), what.to_owned(), help.to_owned());
        self.0.push(Finding { verdict, subject, what, help });
    }
}

struct Checking<'c> {
    served: &'c Served,
    public: Option<Arc<WebPkiServerVerifier>>,
    now: Stamp,
}

/// What knows the public authorities.
fn public() -> Option<Arc<WebPkiServerVerifier>> {
    let roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().ok()
}

impl Checking<'_> {
    fn chain(&self) -> &[CertificateDer<'static>] {
        &self.served.certified.cert
    }

    /// Whether a sender that looks at names and issuers would be content with it for a server of that name.
    fn holds_for(&self, host: &str) -> Result<(), String> {
        let (Some(public), Some((leaf, between))) = (&self.public, self.chain().split_first()) else {
            return Err("the public authorities are not known".to_owned());
        };
        let name = ServerName::try_from(host).map_err(|_| format!("{host} is no host name"))?;
        let now = UnixTime::since_unix_epoch(Duration::from_millis(self.now.unix_ms));
        match public.verify_server_cert(leaf, between, &name, &[], now) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn certificate(&self, host: &str, findings: &mut Findings) {
        let facts = &self.served.facts;
        let subject = "certificate";
        match Expiry::of(facts, self.now) {
            None if !self.now.trusted => {
                let help = "On an appliance `clock` at its console tells why; on any other host set its clock.";
                findings.add(Verdict::Unknown, subject, "may have expired: the clock of the box is not trusted", help);
            }
            None => {}
            Some(expiry) => {
                let verdict = if expiry == Expiry::Over { Verdict::Wrong } else { Verdict::Hint };
                findings.add(verdict, subject, &expiry.told(facts, self.now), "Put the new one in its place.");
            }
        }
        let is_own = self.served.origin == Origin::OwnMaking;
        match self.holds_for(host) {
            Ok(()) => findings.add(
                Verdict::Good,
                subject,
                &format!("is for {host}, and {} leads to a public authority", facts.issuer),
                "",
            ),
            Err(_) if is_own => findings.add(
                Verdict::Hint,
                subject,
                "is one of the box's own making: senders that do not look, which is most, send encrypted; no other ones do",
                "Get one from a public authority for the names of the MX records, and give it to the box.",
            ),
            Err(why) => findings.add(
                Verdict::Hint,
                subject,
                &format!("does not stand up to a sender that looks at {host}: {why}"),
                "The file needs the certificates of its issuers as well, without the root; the name has to be among its names.",
            ),
        }
    }

    async fn domain(&self, domain: &str, dns: &Arc<Dns>, findings: &mut Findings) {
        let subject = format!("MX {domain}");
        let exchangers = match dns.exchangers(domain, LOOK_UP).await {
            Ok(exchangers) => exchangers,
            Err(Failure::Absent) => {
                let help = "Senders take the domain's own address then; an MX record says it better.";
                findings.add(Verdict::Hint, &subject, "there is none", help);
                vec![(0, domain.to_owned())]
            }
            Err(why) => {
                findings.add(Verdict::Unknown, &subject, &why.to_string(), "");
                return;
            }
        };
        let hosts: Vec<String> =
            exchangers.into_iter().map(|(_, host)| host.to_ascii_lowercase()).take(EXCHANGERS_MAX).collect();
        let ours: Vec<&String> = hosts.iter().filter(|host| self.is_named(host)).collect();
        if ours.is_empty() {
            let what = format!("{}: the certificate has none of these names", hosts.join(", "));
            let help = "If one of them is this box, get a certificate with that name. If a filter stands in front, it is the \
                        filter's certificate that senders see.";
            findings.add(Verdict::Hint, &subject, &what, help);
        } else {
            let names: Vec<&str> = ours.iter().map(|host| host.as_str()).collect();
            findings.add(Verdict::Good, &subject, &format!("{} is among the certificate's names", names.join(", ")), "");
        }
        self.policy(domain, &hosts, dns, findings).await;
        for host in &hosts {
            self.dane(host, ours.contains(&host), dns, findings).await;
        }
    }

    /// Whether a host is one of the certificate's names.
    fn is_named(&self, host: &str) -> bool {
        self.served.facts.names.iter().any(|name| policy::is_like(host, name))
    }

    async fn policy(&self, domain: &str, hosts: &[String], dns: &Arc<Dns>, findings: &mut Findings) {
        let subject = format!("MTA-STS {domain}");
        match dns.texts(&format!("_mta-sts.{domain}"), LOOK_UP).await {
            Ok(texts) if texts.iter().any(|text| policy::is_announcement(text)) => {}
            Ok(_) | Err(Failure::Absent) => {
                let what = "there is no policy: whoever sits between can have mail sent in plain text";
                findings.add(Verdict::Good, &subject, what, "");
                return;
            }
            Err(why) => {
                findings.add(Verdict::Unknown, &subject, &why.to_string(), "");
                return;
            }
        }
        let host = format!("mta-sts.{domain}");
        let text = match addresses(&host, dns).await {
            Ok(addresses) => fetch::policy(&host, &addresses).await,
            Err(why) => Err(why.to_string()),
        };
        match text.and_then(|text| Policy::parse(&text)) {
            Ok(policy) => self.compare(&policy, &subject, hosts, findings),
            Err(why) => {
                let what = format!("a policy is announced, and https://{host}/.well-known/mta-sts.txt cannot be used: {why}");
                let help = "Senders go on with the policy that they remember until its time is over. Correct the page, or take \
                            the announcement out of the name service.";
                findings.add(Verdict::Wrong, &subject, &what, help);
            }
        }
    }

    /// Compares a policy with the domain's servers and the certificate.
    fn compare(&self, policy: &Policy, subject: &str, hosts: &[String], findings: &mut Findings) {
        let (verdict, follows) = match policy.mode {
            Mode::Enforce => (Verdict::Wrong, "senders that know the policy do not deliver"),
            Mode::Testing => (Verdict::Hint, "the policy only tests; enforced, senders would not deliver"),
            Mode::None => {
                findings.add(Verdict::Good, subject, "the policy asks for nothing (mode none)", "");
                return;
            }
        };
        let before = findings.0.len();
        for host in hosts.iter().filter(|host| !policy.has(host)) {
            let what = format!("{host} is an MX and not in the policy: {follows} to it");
            findings.add(verdict, subject, &what, "Add it to the policy, or take it out of the MX records.");
        }
        for host in hosts.iter().filter(|host| policy.has(host) && self.is_named(host)) {
            if let Err(why) = self.holds_for(host) {
                let what = format!("the certificate does not hold for {host}: {why}; {follows}");
                findings.add(verdict, subject, &what, "Get one from a public authority, with all of its chain in the file.");
            }
        }
        if !hosts.iter().any(|host| self.is_named(host)) {
            let what = format!("the certificate has no name of an MX in it: {follows} if one of them is this box");
            findings.add(verdict, subject, &what, "Get one with the name of the MX.");
        }
        if findings.0.len() == before {
            findings.add(Verdict::Good, subject, "policy, MX records and certificate agree", "");
        }
        if policy.max_age_s < MAX_AGE_MIN_S {
            let what = format!("it is believed for {} s only, which protects little", policy.max_age_s);
            findings.add(Verdict::Hint, subject, &what, "A max_age of some weeks is usual.");
        }
    }

    async fn dane(&self, host: &str, is_ours: bool, dns: &Arc<Dns>, findings: &mut Findings) {
        let subject = format!("TLSA _25._tcp.{host}");
        match dns.certificates(&format!("_25._tcp.{host}"), LOOK_UP).await {
            Ok(records) if !records.is_empty() => self.compare_records(&records, host, is_ours, &subject, findings),
            Ok(_) | Err(Failure::Absent) => {}
            Err(why) => findings.add(Verdict::Unknown, &subject, &why.to_string(), ""),
        }
    }

    fn compare_records(
        &self,
        records: &[Tlsa],
        host: &str,
        is_ours: bool,
        subject: &str,
        findings: &mut Findings,
    ) {
        let says: Vec<Says> = records.iter().map(|record| dane::compare(record, self.chain())).collect();
        let is_named = self.is_named(host);
        if says.contains(&Says::Leaf) || says.contains(&Says::Issuer) && is_named {
            findings.add(Verdict::Good, subject, "a record names what is shown", "");
        } else if says.iter().all(|it| *it == Says::Unusable) {
            let help = "Mail servers look at records of usage 2 and 3 only.";
            findings.add(Verdict::Hint, subject, "its records are of a kind at which mail servers do not look", help);
        } else {
            // Of another server they may well be right.
            let verdict = if is_ours { Verdict::Wrong } else { Verdict::Hint };
            let what = if says.contains(&Says::Issuer) {
                "a record names the issuer, and the certificate does not have this name: senders that look do not deliver"
            } else {
                "no record names what is shown: senders that look do not deliver, if this is the box"
            };
            let key = self.served.facts.key;
            let help = format!("The record for this certificate, and every later one with its key, is: 3 1 1 {key}");
            findings.add(verdict, subject, what, &help);
        }
    }
}

async fn addresses(host: &str, dns: &Arc<Dns>) -> Result<Vec<IpAddr>, Failure> {
    let host = format!("{host}.");
    dns.within(LOOK_UP, async move |resolver| {
        let found = resolver.lookup_ip(host).await.map_err(Failure::from)?;
        Ok(found.iter().collect())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::material::Material;

    const NOW: Stamp = Stamp { unix_ms: 1_795_317_580_000, boot: 0, trusted: true };

    fn own(host: &str) -> Served {
        Material::make(host, None).unwrap().serve().unwrap()
    }

    fn compared(served: &Served, mode: &str, mx: &str, hosts: &[&str]) -> Vec<Finding> {
        let policy = Policy::parse(&format!("version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: 604800")).unwrap();
        let mut findings = Findings::default();
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let checking = Checking { served, public: public(), now: NOW };
        checking.compare(&policy, "MTA-STS", &hosts, &mut findings);
        findings.0
    }

    #[test]
    fn a_certificate_of_our_own_is_told_where_a_policy_enforces_another() {
        let served = own("mx.example.org");
        let found = compared(&served, "enforce", "mx.example.org", &["mx.example.org"]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].verdict, Verdict::Wrong);
        assert!(found[0].what.contains("does not hold for mx.example.org"), "{found:?}");
        assert_eq!(compared(&served, "testing", "mx.example.org", &["mx.example.org"])[0].verdict, Verdict::Hint);
        assert_eq!(compared(&served, "none", "mx.example.org", &["mx.example.org"])[0].verdict, Verdict::Good);
    }

    #[test]
    fn an_mx_that_the_policy_does_not_have_is_told() {
        let found = compared(&own("mx.example.org"), "enforce", "mail.example.org", &["mx.example.org"]);
        assert!(found[0].what.contains("mx.example.org is an MX and not in the policy"), "{found:?}");
    }

    #[test]
    fn a_record_that_names_the_key_is_good_and_another_comes_with_the_right_one() {
        let (served, other) = (own("mx.example.org"), own("mx.example.org"));
        let told = |key: super::super::Sha, is_ours| {
            let record = Tlsa { usage: 3, selector: 1, matching: 1, data: key.0.to_vec() };
            let mut findings = Findings::default();
            let checking = Checking { served: &served, public: public(), now: NOW };
            checking.compare_records(&[record], "mx.example.org", is_ours, "TLSA", &mut findings);
            findings.0.remove(0)
        };
        assert_eq!(told(served.facts.key, true).verdict, Verdict::Good);
        let wrong = told(other.facts.key, true);
        assert_eq!(wrong.verdict, Verdict::Wrong);
        assert!(wrong.help.ends_with(&format!("3 1 1 {}", served.facts.key)), "{wrong:?}");
        assert_eq!(told(other.facts.key, false).verdict, Verdict::Hint, "of another server it may be right");
    }

    #[test]
    fn what_is_told_of_the_certificate_itself() {
        let served = own("mx.example.org");
        let mut findings = Findings::default();
        Checking { served: &served, public: public(), now: NOW }.certificate("mx.example.org", &mut findings);
        assert_eq!(findings.0.len(), 1);
        assert!(findings.0[0].what.contains("own making"));
        let after = Stamp { unix_ms: 2_800_000_000_000, ..NOW };
        let mut findings = Findings::default();
        Checking { served: &served, public: public(), now: after }.certificate("mx.example.org", &mut findings);
        assert_eq!(findings.0[0].verdict, Verdict::Wrong);
        assert!(findings.0[0].what.contains("expired"));
    }
}
