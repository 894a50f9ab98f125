//! Reports of success that a hop cannot give: it took the message, and offers no DSN.
//!
//! RFC 3461 wants the sender to be told then that its message was relayed. But the sender is whoever a stranger says it is, and
//! nothing that comes from outside may make the box write to third parties. So the ledger says it, and the sender is told only if
//! the settings ask for that and SPF had found, when the message came, that its client may use the sender's domain. It is tried
//! once: nobody misses the report of a success as they would miss mail.

use std::time::Duration;

use penstock_release::HopId;
use penstock_settings::RelayedReports;
use penstock_spool::MessageId;
use tracing::{info, warn};

use super::Delivery;
use super::attempt::Attempt;
use super::record::named;
use crate::control::MailId;
use crate::dsn::{About, Outcome, Report};
use crate::header;
use crate::ledger::Kind;
use crate::operator::postmaster;
use crate::stop;
use crate::storage::Storage;
use crate::volume::Spool;

/// What SPF found is written down after the message was taken. Where it is not there yet it is waited for, once.
const FINDINGS_WAIT: Duration = Duration::from_secs(30);
/// How long handing a report over may take.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(120);

impl Delivery {
    /// Says what no server will say: in the ledger, and to the sender where that may be.
    pub(super) async fn tell_unreported(&self, id: MailId, hop: HopId, attempt: &mut Attempt) {
        let unreported = attempt.unreported().to_vec();
        let Some(storage) = self.volumes.of(id.store).filter(|_| !unreported.is_empty()) else { return };
        let numbers: Vec<u16> = unreported.iter().map(|(number, _)| *number).collect();
        let envelope = attempt.envelope();
        let (name, names) = (self.hop_name(hop), named(&envelope.recipients, &numbers));
        let told = match self.settings.bounce.relayed {
            RelayedReports::Never => Err("as bounce.relayed has it".to_owned()),
            RelayedReports::Proven => self.report_relayed(storage, id, name, unreported, attempt).await,
        };
        let told = match told {
            Ok(said) => format!("its sender was told that it went on: {said}"),
            Err(why) => format!("its sender was not told: {why}"),
        };
        let text = format!("{name} reports no delivery, which was asked for {names}; {told}");
        info!(%id, text, "taken without a report of success");
        let (at, message) = (self.clock.stamp(), MessageId(id.number));
        let event = Kind::Relayed.event(at, Some(message), text);
        if let Err(error) = storage.change(move |spool| spool.record_event(&event)).await {
            warn!(code = error.code(), %id, %error, "that could not be recorded");
        }
    }

    /// Tells the sender. What the smarthost said to it, or why the sender was not told.
    async fn report_relayed(
        &self,
        storage: &Storage,
        id: MailId,
        server: &str,
        unreported: Vec<(u16, String)>,
        attempt: &mut Attempt,
    ) -> Result<String, String> {
        let Some(smarthost) = self.settings.bounce.smarthost.address() else {
            return Err("there is no bounce.smarthost".to_owned());
        };
        if !self.is_sender_proven(storage, MessageId(id.number)).await {
            return Err("SPF did not find that it is who it says".to_owned());
        }
        let (envelope, source) = attempt.reread();
        let header = header::read(source).await.map_err(|error| error.to_string())?;
        let about: Vec<_> = unreported
            .into_iter()
            .filter_map(|(number, said)| {
                let recipient = envelope.recipients.get(usize::from(number))?;
                Some(About { recipient, status: (2, 0, 0), said })
            })
            .collect();
        let now = self.clock.stamp();
        let report = Report {
            outcome: Outcome::Relayed,
            hostname: self.settings.system.hostname.as_str(),
            postmaster: &postmaster(&self.settings),
            id: &id.to_string(),
            boot: now.boot,
            unix_ms: now.unix_ms,
            begin: &envelope.begin,
            header: &header,
            about: &about,
            server,
        };
        let report = report.write();
        let handed = self.hand_over(smarthost, &envelope.begin.sender, &report);
        match tokio::time::timeout(HAND_OVER_TIMEOUT, handed).await {
            Ok(handed) => handed.map_err(|not| format!("{smarthost}: {}", not.said)),
            Err(_) => Err(format!("{smarthost} did not answer in time")),
        }
    }

    /// Whether SPF found that the message came from where mail of its sender's domain comes from.
    async fn is_sender_proven(&self, storage: &Storage, message: MessageId) -> bool {
        if let Some(found) = spf_passed(storage, message).await {
            return found;
        }
        tokio::select! {
            () = tokio::time::sleep(FINDINGS_WAIT) => {}
            () = stop::signalled(self.stopping.clone()) => return false,
        }
        spf_passed(storage, message).await == Some(true)
    }
}

/// What the ledger says of that; nothing if SPF has not been looked at.
async fn spf_passed(storage: &Storage, message: MessageId) -> Option<bool> {
    let events = storage.look(Spool::events).await.ok()?;
    let found = tokio::task::spawn_blocking(move || {
        let of_it = events.into_iter().filter(|event| event.message == Some(message));
        let mut findings = of_it.filter(|event| event.code == Kind::Authenticity as u16);
        findings.next().map(|event| is_pass(&event.text))
    });
    found.await.ok()?
}

/// Whether what was found about a message begins with SPF passing for the address in MAIL. For the null sender it is about the
/// name in EHLO, which is nobody's address.
fn is_pass(findings: &str) -> bool {
    findings.starts_with("spf=pass smtp.mailfrom=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_spf_for_the_sender_itself_is_proof() {
        assert!(is_pass("spf=pass smtp.mailfrom=a@example.net; dkim=none"));
        for other in [
            "spf=fail smtp.mailfrom=a@example.net",
            "spf=pass smtp.helo=mx.example.net",
            "spf=softfail smtp.mailfrom=\"spf=pass smtp.mailfrom=x\"@example.net",
            "dkim=pass header.d=example.net",
            "spf skipped (the client is a trusted front and brings everybody's mail)",
            "",
        ] {
            assert!(!is_pass(other), "{other}");
        }
    }
}
