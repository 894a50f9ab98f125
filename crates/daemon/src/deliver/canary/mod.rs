//! Canaries: small messages of the box to probe mailboxes. Exchange takes mail for anybody and sorts it out later, so that
//! its `250` proves custody and nothing more; its report that a canary lies in a mailbox proves the way to the end.
//!
//! When one goes, and what follows from its arrival, is decided by `release`. Here it is written, sent, and known again
//! by its report, which comes by SMTP to a return path that only its canary has.

mod book;
mod message;
mod report;

use std::sync::{Mutex, MutexGuard, PoisonError};

use penstock_release::{CanaryOutcome, Found, HopId, HopStatus, PROBES_MAX, Phase};
use penstock_smtp::{Address, MailFrom, Notify, OriginalRecipient, Recipient, Return, Xtext};
use tracing::{debug, info, warn};

use super::Delivery;
use super::connection::Connection;
use super::letter::{self, Sent};
use crate::ledger::Kind;
use book::{Book, Reported};
pub(crate) use book::{Canary, Fate, OfHop};
pub(crate) use message::Token;
pub(super) use message::own_message;
pub(crate) use report::REPORT_BYTES_MAX;
pub(super) use report::Verdict as ReportVerdict;

/// The canaries of all hops.
#[derive(Debug)]
pub(super) struct Canaries(Mutex<Book>);

impl Canaries {
    pub(super) fn new(hops: usize) -> Self {
        Self(Mutex::new(Book::new(hops)))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of a canary that was to be sent.
enum Outcome {
    Taken,
    Refused(Found),
    NotTried,
}

/// What an address is to the canaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReturnPath {
    /// An address like any other.
    NoCanarys,
    /// It looks like a canary's, and is none's whose report is taken.
    Unknown,
    /// A report on this canary is taken.
    Awaited(Token),
}

/// Whether a session had ended before anything was said of the canary.
fn is_farewell(found: &Found) -> bool {
    found.phase() == Phase::Mail && matches!(found.code(), 0 | 421)
}

impl Delivery {
    /// Sends a canary and reports what came of it.
    pub(super) async fn canary(&self, hop: HopId, probe: u16, id: u64) {
        let outcome = self.send_canary(hop, probe, id).await;
        let reported = match &outcome {
            Outcome::Taken => {
                self.canaries.book().ended(hop, id, Fate::Taken);
                CanaryOutcome::Taken
            }
            Outcome::Refused(found) => {
                debug!(hop = self.hop_name(hop), %found, "a canary was not taken");
                self.canaries.book().ended(hop, id, Fate::Refused(found.to_string()));
                CanaryOutcome::Refused(found.evidence())
            }
            Outcome::NotTried => {
                self.canaries.book().forget(hop, id);
                CanaryOutcome::NotTried
            }
        };
        self.release().canary_ended(id, reported, self.now());
    }

    async fn send_canary(&self, hop: HopId, probe: u16, id: u64) -> Outcome {
        let settings = self.settings.next_hops.get(usize::from(hop.0));
        let mailbox = settings.and_then(|settings| settings.probe_mailboxes.get(usize::from(probe)));
        let (Some(mailbox), Some(token)) = (mailbox, Token::draw()) else { return Outcome::NotTried };
        let host_name = self.settings.system.hostname.as_str();
        let (from, named, original) =
            (token.return_path(host_name), token.to_string(), format!("rfc822;{mailbox}"));
        // All three parse: a host name and a checked address are in them, and digits.
        let (Ok(sender), Ok(address)) = (Address::parse(&from), Address::parse(mailbox.as_str())) else {
            return Outcome::NotTried;
        };
        let begun = self.clock.stamp();
        let text = message::text(host_name, mailbox.as_str(), token, begun.unix_ms);
        let mail = MailFrom {
            size_bytes: Some(text.len() as u64),
            ret: Some(Return::Headers),
            envid: Xtext::parse(&named).ok(),
            ..MailFrom::new(sender)
        };
        let recipient = Recipient {
            // A failure is worth knowing, too.
            notify: Some(Notify { success: true, failure: true, delay: false }),
            orcpt: OriginalRecipient::parse(&original).ok(),
            ..Recipient::new(address)
        };
        let mut connection = match self.connection(hop).await {
            Ok(connection) => connection,
            Err(found) => return found.map_or(Outcome::NotTried, Outcome::Refused),
        };
        loop {
            if !self.makes_reports(hop, &mut connection) {
                self.keep(hop, connection);
                return Outcome::NotTried;
            }
            self.canaries.book().begin(hop, id, probe, token, self.clock.mono_ms(), begun);
            let Sent { taken, answered_ms } =
                letter::send(&mut connection, &mail, &recipient, text.as_bytes()).await;
            if connection.is_used() && matches!(&taken, Err(Some(found)) if is_farewell(found)) {
                // The server had closed it meanwhile, which says nothing about anything.
                self.canaries.book().forget(hop, id);
                connection = match self.connect(hop).await {
                    Ok(connection) => connection,
                    Err(found) => return found.map_or(Outcome::NotTried, Outcome::Refused),
                };
                continue;
            }
            for (phase, took_ms) in answered_ms {
                self.answered(hop, phase, text.len() as u64, took_ms);
            }
            return match taken {
                Ok(_) => {
                    connection.carried();
                    self.keep(hop, connection);
                    Outcome::Taken
                }
                Err(found) => {
                    tokio::spawn(connection.quit());
                    found.map_or(Outcome::NotTried, Outcome::Refused)
                }
            };
        }
    }

    /// Whether a hop makes reports; if not, that is told once.
    fn makes_reports(&self, hop: HopId, connection: &mut Connection) -> bool {
        let offered = connection.session().capabilities().dsn;
        if self.canaries.book().set_without_dsn(hop, !offered) && !offered {
            warn!(
                code = "PS-D290",
                hop = self.hop_name(hop),
                "the next hop offers no delivery reports (DSN): canaries prove nothing, and none is sent"
            );
        }
        offered
    }

    /// What is known of a hop's canaries.
    pub(crate) fn canaries_of(&self, hop: HopId) -> OfHop {
        self.canaries.book().of(hop).cloned().unwrap_or_default()
    }

    /// Whether a report on a canary may come.
    pub(crate) fn awaits_report(&self) -> bool {
        let now_ms = self.clock.mono_ms();
        self.canaries.book().awaits_any(now_ms)
            || self.validations.awaits_any(now_ms)
            || self.awaits_read_back(None)
    }

    /// Which canary's return path this is.
    pub(crate) fn return_path(&self, address: &Address<'_>) -> ReturnPath {
        let now_ms = self.clock.mono_ms();
        match Token::of_return_path(address, self.settings.system.hostname.as_str()) {
            None => ReturnPath::NoCanarys,
            Some(token)
                if self.canaries.book().knows(token, now_ms)
                    || self.validations.awaits(token, now_ms)
                    || self.awaits_read_back(Some(token)) =>
            {
                ReturnPath::Awaited(token)
            }
            Some(_) => ReturnPath::Unknown,
        }
    }

    /// Something was sent to the return path of a canary: its report, most likely.
    pub(crate) async fn reported(&self, token: Token, message: &[u8]) {
        let verdict = report::verdict(message);
        if self.reported_nobody(token, &verdict) || self.reported_back(token, &verdict).await {
            return;
        }
        let reported = self.canaries.book().reported(token, verdict, self.clock.mono_ms());
        let Some(Reported { hop, id, probe, fate, is_news }) = reported else { return };
        let mailbox = self.probe_mailbox(hop, probe);
        let name = self.hop_name(hop);
        let told = match &fate {
            Fate::Arrived { sojourn_ms } => {
                self.release().canary_arrived(id, self.now());
                if let (Some(known), Ok(address)) =
                    (self.known.get(usize::from(hop.0)), Address::parse(mailbox))
                {
                    known.delivered(&address);
                }
                self.wake();
                debug!(hop = name, mailbox, sojourn_ms, "a canary has arrived");
                is_news.then(|| {
                    info!(hop = name, mailbox, sojourn_ms, "canaries arrive: mail reaches mailboxes");
                    format!("{name}: a canary lies in {mailbox}, {sojourn_ms} ms after it was sent")
                })
            }
            Fate::Failed(why) => {
                self.release().canary_failed(id, self.now());
                self.wake();
                is_news.then(|| {
                    warn!(
                        code = "PS-D291",
                        hop = name,
                        mailbox,
                        why,
                        "a canary was taken and did not arrive"
                    );
                    format!("{name}: a canary to {mailbox} was taken and did not arrive: {why}")
                })
            }
            _ => None,
        };
        if let Some(text) = told {
            // Told in the log already; what cannot be recorded now is no reason to stop.
            let _ = self.volumes.record(Kind::Hop.event(self.clock.stamp(), None, text)).await;
        }
    }

    /// The probe mailboxes of a hop whose canaries are missing, as a text.
    pub(crate) fn missing_mailboxes(&self, hop: &HopStatus) -> String {
        let is_missing = |probe: &u16| hop.missing & (1 << probe) != 0;
        let missing: Vec<&str> =
            (0..PROBES_MAX).filter(is_missing).map(|probe| self.probe_mailbox(hop.id, probe)).collect();
        missing.join(", ")
    }

    pub(crate) fn probe_mailbox(&self, hop: HopId, probe: u16) -> &str {
        let settings = self.settings.next_hops.get(usize::from(hop.0));
        let mailbox = settings.and_then(|settings| settings.probe_mailboxes.get(usize::from(probe)));
        mailbox.map_or("?", |mailbox| mailbox.as_str())
    }
}
