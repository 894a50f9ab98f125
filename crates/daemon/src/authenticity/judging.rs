//! Asks the DNS what the domains of a message say about it. The rules are those of `mail-auth`; here they are applied, and what
//! they give is put into words.

use std::net::IpAddr;

use hickory_resolver::TokioResolver;
use mail_auth::dkim::DkimError;
use mail_auth::dmarc::Policy;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{
    AuthenticatedMessage, DkimOutput, DkimResult, DmarcOutput, DmarcResult, Error, MessageAuthenticator,
    SpfOutput, SpfResult,
};

use super::Sender;
use super::findings::{Finding, Findings, Outcome};
use super::reading::Message;

/// What is said instead of SPF where a client brings everybody's mail.
const FRONT: &str = "the client is a trusted front and brings everybody's mail";

/// Judges a message, or, where its end is not known yet, who sent it.
pub(super) async fn judge(
    resolver: TokioResolver,
    host_name: &str,
    sender: &Sender,
    front: bool,
    message: Option<&Message>,
) -> Findings {
    let authenticator = MessageAuthenticator(resolver);
    let mut findings = Findings::default();
    let spf = if front {
        findings.push(Finding::new("spf", Outcome::Skipped).because(FRONT));
        SpfOutput::default()
    } else {
        let client: IpAddr = sender.client.to_canonical();
        let asked = if sender.path.is_empty() {
            SpfParameters::verify_ehlo(client, &sender.helo, host_name)
        } else {
            SpfParameters::verify_mail_from(client, &sender.helo, host_name, &sender.path)
        };
        let spf = authenticator.verify_spf(asked).await;
        findings.push(spf_finding(&spf, sender));
        spf
    };
    let Some(message) = message else { return findings };
    let Some(parsed) = message.parsed() else {
        findings.push(Finding::new("dkim", Outcome::Is("none")).because("it has no header"));
        return findings;
    };
    let dkim = authenticator.verify_dkim(&parsed).await;
    for finding in dkim_findings(&dkim) {
        findings.push(finding);
    }
    let dmarc = authenticator.verify_dmarc(DmarcParameters::new(&parsed, &dkim, sender.domain(), &spf)).await;
    findings.push(dmarc_finding(&dmarc, &parsed, front));
    findings
}

fn spf_finding(spf: &SpfOutput, sender: &Sender) -> Finding {
    let outcome = match spf.result() {
        SpfResult::Pass => "pass",
        SpfResult::Fail => "fail",
        SpfResult::SoftFail => "softfail",
        SpfResult::Neutral => "neutral",
        SpfResult::TempError => "temperror",
        SpfResult::PermError => "permerror",
        SpfResult::None => "none",
    };
    let finding = Finding::new("spf", Outcome::Is(outcome));
    if sender.path.is_empty() {
        finding.with("smtp.helo", &sender.helo)
    } else {
        finding.with("smtp.mailfrom", &sender.path)
    }
}

/// One for each signature, those that hold first.
fn dkim_findings(dkim: &[DkimOutput<'_>]) -> Vec<Finding> {
    if dkim.is_empty() {
        return vec![Finding::new("dkim", Outcome::Is("none"))];
    }
    let mut sorted: Vec<_> = dkim.iter().collect();
    sorted.sort_by_key(|output| *output.result() != DkimResult::Pass);
    sorted.into_iter().map(dkim_finding).collect()
}

fn dkim_finding(output: &DkimOutput<'_>) -> Finding {
    let (outcome, error) = match output.result() {
        DkimResult::Pass => ("pass", None),
        // "The message was signed and the signature did not pass" (RFC 8601 §2.7.1).
        DkimResult::Neutral(error @ Error::Dkim(DkimError::FailedBodyHashMatch)) => ("fail", Some(error)),
        DkimResult::Neutral(error) => ("neutral", Some(error)),
        DkimResult::Fail(error) => ("fail", Some(error)),
        DkimResult::PermError(error) => ("permerror", Some(error)),
        DkimResult::TempError(error) => ("temperror", Some(error)),
        DkimResult::None => ("none", None),
    };
    let mut finding = Finding::new("dkim", Outcome::Is(outcome));
    if let Some(error) = error {
        finding = finding.because(reason(error));
    }
    match output.signature() {
        Some(signature) => finding.with("header.d", &signature.d).with("header.s", &signature.s),
        None => finding,
    }
}

fn dmarc_finding(dmarc: &DmarcOutput, parsed: &AuthenticatedMessage<'_>, front: bool) -> Finding {
    let result = dmarc.result();
    let (outcome, error) = match &result {
        DmarcResult::Pass => ("pass", None),
        DmarcResult::Fail(error) => ("fail", Some(error)),
        DmarcResult::TempError(error) => ("temperror", Some(error)),
        DmarcResult::PermError(error) => ("permerror", Some(error)),
        DmarcResult::None => ("none", None),
    };
    let mut finding = if front && matches!(result, DmarcResult::Fail(_)) {
        // SPF might have passed.
        Finding::new("dmarc", Outcome::Skipped)
            .because("no signature is the author's, and SPF was not looked at")
    } else {
        Finding::new("dmarc", Outcome::Is(outcome))
    };
    if let Some(error) = error.filter(|_| !front) {
        finding = finding.because(reason(error));
    }
    if dmarc.domain().is_empty() {
        let why =
            if parsed.from.is_empty() { "it has no author" } else { "it has authors in several domains" };
        return finding.because(why);
    }
    finding = finding.with("header.from", dmarc.domain());
    if dmarc.dmarc_record().is_none() {
        return finding;
    }
    finding.with(
        "policy.dmarc",
        match dmarc.policy() {
            Policy::Reject => "reject",
            Policy::Quarantine => "quarantine",
            Policy::None | Policy::Unspecified => "none",
        },
    )
}

/// An error in a few words.
fn reason(error: &Error) -> String {
    use mail_auth::DnsError;
    use mail_auth::common::crypto::CryptoError;
    match error {
        Error::Dns(DnsError::RecordNotFound(_)) => "no such key or record".into(),
        Error::Dns(DnsError::InvalidRecordType) => "the key or record is not valid".into(),
        Error::Dns(DnsError::Resolver(_)) => "no answer from the DNS".into(),
        Error::Dkim(DkimError::FailedBodyHashMatch) => "the body was changed".into(),
        Error::Dkim(DkimError::SignatureExpired) => "the signature has expired".into(),
        Error::Dkim(DkimError::SignatureLength) => "the signature covers part of the body only".into(),
        Error::Dkim(DkimError::RevokedPublicKey) => "the key was revoked".into(),
        Error::Crypto(CryptoError::FailedVerification | CryptoError::Library(_)) => {
            "the signature does not match".into()
        }
        Error::NotAligned => "neither SPF nor a signature is the author's".into(),
        other => other.to_string(),
    }
}
