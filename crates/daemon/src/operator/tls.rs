//! What the operator sees of TLS, and does about it.

use penstock_release::{Cause, Change, HopId, HopStatus};

use super::{Operator, unavailable};
use crate::control::tls::{CertificateView, CheckView, HopTlsView, InstallRequest, TlsView};
use crate::control::types::{ActionResult, Alert, ErrorBody, Severity};
use crate::control::{Kind as Fault, Refusal, Who};
use crate::ledger::Kind;
use crate::tls::{self, Expiry, Facts, Hop, HopFacts, Tls};

pub(super) fn view(operator: &Operator) -> TlsView {
    let (tls, now) = (operator.delivery.tls(), operator.clock.stamp());
    let served = tls.serving().served();
    let hops = (0..).zip(&operator.settings.next_hops).filter_map(|(n, settings)| {
        let HopFacts { wants, seen, unpinned, pins, trouble } = tls.hop(HopId(n))?.facts();
        Some(HopTlsView {
            hop: settings.name.as_str().to_owned(),
            wants: wants.as_str().to_owned(),
            certificate: seen.as_ref().map(|seen| certificate(&seen.facts)),
            vouched: seen.as_ref().is_some_and(|seen| seen.is_vouched),
            since_unix_ms: seen.as_ref().map(|seen| seen.since_unix_ms),
            session: seen.map(|seen| seen.session),
            pins: pins.iter().map(ToString::to_string).collect(),
            unpinned: unpinned.map(|seen| certificate(&seen.facts)),
            trouble,
        })
    });
    TlsView {
        now_unix_ms: now.unix_ms,
        clock_trusted: now.trusted,
        offered: tls.serving().is_offered(),
        certificate: served.as_ref().map(|served| certificate(&served.facts)),
        origin: served.map(|served| served.origin.as_str().to_owned()),
        trouble: tls.trouble(),
        hops: hops.collect(),
    }
}

fn certificate(facts: &Facts) -> CertificateView {
    CertificateView {
        names: facts.names.clone(),
        issuer: facts.issuer.clone(),
        self_signed: facts.is_self_signed,
        not_before_unix_ms: facts.not_before_unix_s.saturating_mul(1000),
        not_after_unix_ms: facts.not_after_unix_s.saturating_mul(1000),
        certificate_sha256: facts.certificate.to_string(),
        key_sha256: facts.key.to_string(),
    }
}

/// What of it needs somebody.
pub(super) fn alerts(operator: &Operator) -> Vec<Alert> {
    let (tls, now) = (operator.delivery.tls(), operator.clock.stamp());
    let mut alerts = Vec::new();
    let mut add = |severity, code: &str, message: String, help: &str| {
        let what = ErrorBody { code: code.to_owned(), message, help: help.to_owned() };
        alerts.push(Alert { severity, what });
    };
    if let Some(served) = tls.serving().served().filter(|_| tls.serving().is_offered())
        && let Some(expiry) = Expiry::of(&served.facts, now)
    {
        let severity = if expiry == Expiry::Soon { Severity::Warning } else { Severity::Critical };
        let message = format!("The certificate that clients are shown {}.", expiry.told(&served.facts, now));
        let help = "Put the new one into the file that tls.certificate_file names, or give it to the box with `penstock tls \
                    install`; `penstock tls check` tells who looks at it.";
        add(severity, "PS-D401", message, help);
    }
    if let Some(trouble) = tls.trouble() {
        let message = format!("The certificate's file cannot be used: {trouble}.");
        let help = "Clients are shown the certificate from before, or one of the box's own making. Correct the file; it is \
                    read again when it has changed.";
        add(Severity::Warning, "PS-D402", message, help);
    }
    for (n, hop) in (0..).zip(&operator.settings.next_hops) {
        let Some(facts) = tls.hop(HopId(n)).map(Hop::facts) else { continue };
        let name = hop.name.as_str();
        let Some(trouble) = facts.trouble else { continue };
        if facts.unpinned.is_some() {
            let message = format!("Mail for {name} waits: {trouble}.");
            let help = format!(
                "If that is its new certificate, `penstock tls accept {name}`; if nobody changed it, look what answers there."
            );
            add(Severity::Critical, "PS-D404", message, &help);
        } else if facts.wants == penstock_settings::HopTls::Opportunistic {
            let message = format!("Mail goes to {name} in plain text: {trouble}.");
            add(Severity::Warning, "PS-D403", message, HANDSHAKE_HELP);
        } else {
            let message = format!("Mail for {name} waits, since there is no TLS: {trouble}.");
            add(Severity::Critical, "PS-D406", message, HANDSHAKE_HELP);
        }
    }
    alerts
}

/// What to do about a next hop without TLS.
const HANDSHAKE_HELP: &str = "Look at its certificate and at the log of its receive connector (Get-ExchangeCertificate, \
                              Enable-ExchangeCertificate -Services SMTP). The box needs TLS 1.2 with ECDHE and AES-GCM, or TLS \
                              1.3; next_hop.tls says what happens without.";

/// Says that the certificate that a hop shows is right.
pub(super) async fn accept(operator: &Operator, hop: String, who: &Who) -> Result<ActionResult, Refusal> {
    let hops: Vec<HopStatus> = operator.delivery.release().hops(operator.delivery.now()).collect();
    let Some(status) = hops.into_iter().find(|it| it.name == hop) else {
        let (message, help) = (format!("there is no next hop {hop}"), "`penstock tls show` names them.");
        return Err(Refusal::new(Fault::NotFound, "PS-D264", message, help));
    };
    let pinned = operator.delivery.tls().accept(status.id);
    let is_doubted = status.cause == Some(Cause::Fingerprint(Change::Certificate));
    if pinned.is_none() && !is_doubted {
        return Err(Refusal::new(
            Fault::Conflict,
            "PS-D407",
            format!("{hop} shows no certificate that waits to be accepted"),
            "`penstock tls show` tells what it shows; other doubts about it are ended by `penstock confirm`.",
        ));
    }
    let shown = match &pinned {
        Some(seen) => Some(seen.facts.clone()),
        None => operator.delivery.tls().hop(status.id).and_then(|it| it.facts().seen).map(|seen| seen.facts),
    };
    let key = shown.map(|facts| format!(": SHA-256 of its key {}", facts.key)).unwrap_or_default();
    let event = Kind::Certificate.event(
        operator.clock.stamp(),
        None,
        format!("that of {hop} accepted by {who}{key}"),
    );
    operator.volumes.record(event).await.map_err(unavailable)?;
    {
        let (now, mut release) = (operator.delivery.now(), operator.delivery.release());
        if pinned.is_some() {
            // The next one that it shows is this one, and is no news then.
            release.forget_certificates(status.id);
        }
        if is_doubted {
            release.confirm(status.id, now);
        }
    }
    // If this fails it has to be said again after a restart.
    operator.delivery.save().await.map_err(unavailable)?;
    operator.delivery.save_tls(true).await.map_err(unavailable)?;
    operator.delivery.end_waits();
    let messages = operator.delivery.release().progress(operator.delivery.now()).messages;
    let summary = format!("The certificate of {hop} is accepted. Mail is released as it can be taken.");
    Ok(ActionResult { summary, messages, refused: Vec::new() })
}

/// Reads the certificate's file again.
pub(super) async fn reload(operator: &Operator) -> Result<ActionResult, Refusal> {
    match tls::reload(operator.delivery.tls(), &operator.clock, &operator.volumes).await {
        Ok(Some(facts)) => Ok(done(format!(
            "Clients are shown the certificate of {} from {}.",
            facts.names.join(", "),
            facts.issuer
        ))),
        Ok(None) => Err(Refusal::new(
            Fault::Conflict,
            "PS-D408",
            "the settings name no file with a certificate",
            "Set tls.certificate_file, or give the box one with `penstock tls install`.",
        )),
        Err(trouble) => Err(not_right(trouble)),
    }
}

/// Compares the certificate with what the world expects of it.
pub(super) async fn check(operator: &Operator) -> CheckView {
    let (tls, dns) = (operator.delivery.tls(), operator.listening.dns());
    CheckView { findings: tls::check(tls, &operator.settings, dns, operator.clock.stamp()).await }
}

/// Keeps a certificate and has clients shown it.
pub(super) async fn install(
    operator: &Operator,
    request: InstallRequest,
    who: &Who,
) -> Result<ActionResult, Refusal> {
    let InstallRequest { certificate, key, password } = request;
    // Opening a PFX costs the processor some tenths of a second.
    let read = tokio::task::spawn_blocking(move || {
        let material = Tls::read(&certificate, key.as_deref(), password.as_deref().unwrap_or_default())?;
        let facts = material.serve()?.facts;
        Ok::<_, String>((material, facts))
    });
    let (material, facts) = match read.await {
        Ok(read) => read.map_err(not_right)?,
        Err(_) => return Err(not_right("it could not be read".to_owned())),
    };
    if material.to_bytes().len() > crate::boxstate::OWN_CERTIFICATE_BYTES_MAX {
        return Err(not_right("certificates and key are more than the box has room for, 12 KiB".to_owned()));
    }
    operator.delivery.tls().install(Some(material)).map_err(not_right)?;
    let what = format!(
        "that of {} given to the box by {who}: SHA-256 {}",
        facts.names.join(", "),
        facts.certificate
    );
    keep(operator, what).await?;
    let is_shown = operator
        .delivery
        .tls()
        .serving()
        .served()
        .is_some_and(|it| it.facts.certificate == facts.certificate);
    let follows =
        if is_shown { "clients are shown it" } else { "clients are shown that of tls.certificate_file" };
    Ok(done(format!("The certificate of {} is kept; {follows}.", facts.names.join(", "))))
}

/// Goes back to a certificate of the box's own making.
pub(super) async fn uninstall(operator: &Operator, who: &Who) -> Result<ActionResult, Refusal> {
    operator.delivery.tls().install(None).map_err(not_right)?;
    keep(operator, format!("one of the box's own making, by {who}")).await?;
    Ok(done("The box has a certificate of its own making again.".to_owned()))
}

async fn keep(operator: &Operator, text: String) -> Result<(), Refusal> {
    operator.delivery.save_tls(true).await.map_err(unavailable)?;
    let event = Kind::Certificate.event(operator.clock.stamp(), None, text);
    operator.volumes.record(event).await.map_err(unavailable)
}

fn done(summary: String) -> ActionResult {
    ActionResult { summary, messages: 0, refused: Vec::new() }
}

fn not_right(why: String) -> Refusal {
    Refusal::new(
        Fault::BadRequest,
        "PS-D402",
        why,
        "Nothing was changed: the certificate from before is shown.",
    )
}
