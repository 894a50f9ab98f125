//! Looks after the certificate that clients are shown: reads its file again when that has changed, and warns before it ends.

use std::sync::Arc;
use std::time::Duration;

use penstock_spool::Stamp;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::server::{SETTLED_AFTER, Stamps};
use super::{Facts, Tls};
use crate::clock::Clock;
use crate::ledger::Kind;
use crate::storage::Volumes;

/// Days before its end at which a certificate is spoken of, …
const SOON_DAYS: i64 = 21;
/// … and at which it is urgent.
const URGENT_DAYS: i64 = 7;

/// How near a certificate's end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Expiry {
    Soon,
    Urgent,
    Over,
}

impl Expiry {
    /// What is to be said of a certificate, if the clock can be believed.
    pub(crate) fn of(facts: &Facts, now: Stamp) -> Option<Self> {
        let days = facts.days_left(now.unix_ms);
        match days {
            _ if !now.trusted => None,
            ..0 => Some(Self::Over),
            days if days <= URGENT_DAYS => Some(Self::Urgent),
            days if days <= SOON_DAYS => Some(Self::Soon),
            _ => None,
        }
    }

    /// It in words, as the end of a sentence about the certificate.
    pub(crate) fn told(self, facts: &Facts, now: Stamp) -> String {
        match (self, facts.days_left(now.unix_ms)) {
            (Self::Over, _) => "has expired".to_owned(),
            (_, 0) => "expires within a day".to_owned(),
            (_, 1) => "expires in 1 day".to_owned(),
            (_, days) => format!("expires in {days} days"),
        }
    }
}

/// Watches until the runtime ends.
pub(crate) async fn watch(tls: Arc<Tls>, clock: Arc<Clock>, volumes: Volumes) {
    let mut tick = tokio::time::interval(SETTLED_AFTER);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut files = Files::default();
    let mut told: Option<Expiry> = None;
    let mut told_of = None;
    if let Some(trouble) = tls.trouble() {
        warn!(code = "PS-D402", trouble, "{NOT_READ}");
    }
    loop {
        tick.tick().await;
        if let Some(stamps) = stamps(&tls).await
            && files.have_changed(stamps)
        {
            reload(&tls, &clock, &volumes).await.unwrap_or_default();
        }
        let (Some(served), now) = (tls.serving().served(), clock.stamp()) else { continue };
        if told_of.replace(served.facts.certificate) != Some(served.facts.certificate) {
            told = None;
        }
        let expiry = Expiry::of(&served.facts, now);
        if let Some(expiry) = expiry.filter(|expiry| told < Some(*expiry)) {
            told = Some(expiry);
            let text = format!("the certificate that clients are shown {}", expiry.told(&served.facts, now));
            warn!(code = "PS-D401", text, "`penstock tls show` tells which; put a new one in its place");
            let event = Kind::Certificate.event(now, None, text);
            if let Err(error) = volumes.record(event).await {
                warn!(code = error.code(), %error, "that could not be written to the ledger");
            }
        }
    }
}

/// What it means when the file cannot be used.
const NOT_READ: &str =
    "the certificate's file cannot be used; clients are shown the one from before, or one of the box's own";

/// The states of the files, where the settings name any. A file system may hang.
async fn stamps(tls: &Arc<Tls>) -> Option<Stamps> {
    let tls = Arc::clone(tls);
    let stamps = tokio::task::spawn_blocking(move || tls.serving().stamps());
    let stamps = tokio::time::timeout(Duration::from_secs(10), stamps).await.ok()?.ok()?;
    (!stamps.is_empty()).then_some(stamps)
}

/// Reads the certificate's file again, if the settings name one. Tells what came of it.
///
/// # Errors
/// In words; the certificate from before stays.
pub(crate) async fn reload(
    tls: &Arc<Tls>,
    clock: &Clock,
    volumes: &Volumes,
) -> Result<Option<Facts>, String> {
    let before = tls.serving().served().map(|served| served.facts.certificate);
    let reading = Arc::clone(tls);
    let read = tokio::task::spawn_blocking(move || reading.load_file()).await;
    match read.unwrap_or_else(|_| Err("it could not be read".to_owned())) {
        Ok(false) => return Ok(None),
        Ok(true) => {}
        Err(trouble) => {
            warn!(code = "PS-D402", trouble, "{NOT_READ}");
            return Err(trouble);
        }
    }
    let Some(served) = tls.serving().served() else { return Ok(None) };
    if before != Some(served.facts.certificate) {
        let facts = &served.facts;
        let text = format!(
            "clients are shown another certificate, of {}: SHA-256 {}",
            facts.names.join(", "),
            facts.certificate
        );
        info!(text, "the certificate's file was read again");
        let event = Kind::Certificate.event(clock.stamp(), None, text);
        if let Err(error) = volumes.record(event).await {
            warn!(code = error.code(), %error, "that could not be written to the ledger");
        }
    }
    Ok(Some(served.facts.clone()))
}

/// Notices that files have changed, once they have stopped changing.
#[derive(Debug, Default)]
struct Files {
    /// As they were read.
    read: Option<Stamps>,
    /// As they were at the last look.
    last: Stamps,
}

impl Files {
    /// Looks at them. Whether they are to be read again: they are as they were a moment ago, and not as they were read.
    fn have_changed(&mut self, now: Stamps) -> bool {
        // At the first look they have just been read.
        let read = self.read.get_or_insert_with(|| now.clone());
        let is_settled = std::mem::replace(&mut self.last, now.clone()) == now;
        let has_changed = is_settled && *read != now;
        if has_changed {
            *read = now;
        }
        has_changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::certificate::Sha;

    const DAY_MS: u64 = 86_400_000;

    fn expiry(days: u64, trusted: bool) -> Option<Expiry> {
        let facts = Facts {
            names: vec!["mx.example.org".to_owned()],
            issuer: String::new(),
            is_self_signed: true,
            not_before_unix_s: 0,
            not_after_unix_s: 100 * 86_400,
            certificate: Sha([0; 32]),
            key: Sha([0; 32]),
        };
        Expiry::of(&facts, Stamp { unix_ms: days * DAY_MS, boot: 0, trusted })
    }

    #[test]
    fn a_certificate_is_spoken_of_from_21_days_before_its_end_and_urgent_from_7() {
        assert_eq!(expiry(78, true), None);
        assert_eq!(expiry(79, true), Some(Expiry::Soon));
        assert_eq!(expiry(92, true), Some(Expiry::Soon));
        assert_eq!(expiry(93, true), Some(Expiry::Urgent));
        assert_eq!(expiry(100, true), Some(Expiry::Urgent));
        assert_eq!(expiry(101, true), Some(Expiry::Over));
        assert_eq!(expiry(101, false), None, "a clock that nobody trusts says nothing");
        assert!(Expiry::Soon < Expiry::Urgent && Expiry::Urgent < Expiry::Over && None < Some(Expiry::Soon));
    }

    #[test]
    fn files_are_read_again_once_they_have_stopped_changing() {
        let at = |n: u64| vec![Some((n, 0, 0))];
        let mut files = Files::default();
        assert!(!files.have_changed(at(1)) && !files.have_changed(at(1)));
        assert!(!files.have_changed(at(2)), "it may be half written");
        assert!(!files.have_changed(at(3)));
        assert!(files.have_changed(at(3)) && !files.have_changed(at(3)));
        assert!(!files.have_changed(vec![None]) && files.have_changed(vec![None]), "it is gone");
    }
}
