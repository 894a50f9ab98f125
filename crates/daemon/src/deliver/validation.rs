//! Whether a next hop looks at recipients before it takes mail for them. Exchange does not unless it was told to: it says
//! `250` to every name, and reports the mail back later, so that its `250` says nothing about who is there.
//!
//! It is found out for each hop and each of the site's domains (those that have a name of their own, the first
//! [`DOMAINS_MAX`]), daily and after the hop was in doubt: a message is offered to a mailbox that cannot exist, named by
//! 128 random bits, through to the end of data, since recipient filtering on a Mailbox server refuses there. It comes from
//! a return path of the box's own, as a canary does, so that the report on it comes here and to nobody else.
//!
//! What follows is not decided here: `known` learns by it, and the operator is shown it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use penstock_release::{HopId, HopStatus, Mode, Phase, State};
use penstock_settings::Settings;
use penstock_smtp::{Address, MailFrom, Notify, Recipient, Return};
use penstock_spool::{META_VALUE_BYTES_MAX, Stamp};
use serde::{Deserialize, Serialize};
use tracing::{debug, info, warn};

use super::Delivery;
use super::canary::{ReportVerdict, Token, own_message};
use super::known::{Known, is_no_such_user};
use super::letter::{self, Sent};
use crate::boxstate::Kept;
use crate::clock::host_time;
use crate::ledger::Kind;

/// Under which key of the box's state it is kept.
const KEY_VALIDATION: &[u8] = b"validation";
/// Domains that are asked about, of each hop.
const DOMAINS_MAX: usize = 16;
/// How often it is looked whether there is something to find out.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long what was found out holds.
const HOLDS_FOR_MS: u64 = 24 * 3_600_000;
/// How long after an answer that says nothing the next try is.
const AGAIN_AFTER_MS: u64 = 3_600_000;
/// How long a report is awaited, and of how many messages.
const AWAITED_FOR_MS: u64 = 3_600_000;
const AWAITED_MAX: usize = 64;
/// What the local part of the mailbox that cannot exist begins with.
const NOBODY: &str = "penstock-nobody-";

/// When a hop looks at recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Checks {
    /// It refuses RCPT.
    AtRcpt,
    /// It refuses the message, for all of its recipients.
    AtEnd,
    /// Not before it has taken the mail.
    Never,
}

impl Checks {
    /// For the operator, after the name of a hop.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::AtRcpt => "refuses unknown recipients at RCPT",
            Self::AtEnd => "refuses unknown recipients at the end of the message",
            Self::Never => "takes mail for every name",
        }
    }
}

/// What was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) checks: Checks,
    pub(crate) at: Stamp,
    /// When in this run; `None` if before it.
    mono_ms: Option<u64>,
}

impl Finding {
    fn holds(&self, now: &Stamp, now_ms: u64) -> bool {
        match self.mono_ms {
            Some(then_ms) => now_ms.saturating_sub(then_ms) < HOLDS_FOR_MS,
            // By a clock that was not right, then or now, nobody can say: it is asked again.
            None => {
                now.trusted && self.at.trusted && now.unix_ms.saturating_sub(self.at.unix_ms) < HOLDS_FOR_MS
            }
        }
    }
}

/// How a hop stands to one domain's recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ValidationView {
    pub(crate) hop: HopId,
    pub(crate) domain: String,
    /// `None` if it is not known.
    pub(crate) finding: Option<Finding>,
    /// Why not, if it was tried.
    pub(crate) trouble: Option<String>,
}

/// As it is kept: hops by their names.
#[derive(Serialize, Deserialize)]
struct Saved {
    hop: String,
    domain: String,
    at: Stamp,
    checks: Checks,
}

#[derive(Debug, Default)]
struct Question {
    finding: Option<Finding>,
    /// When it was last tried without an answer, and what was said.
    tried_ms: Option<u64>,
    trouble: Option<String>,
}

impl Question {
    fn is_due(&self, now: &Stamp, now_ms: u64) -> bool {
        let rests = self.tried_ms.is_some_and(|tried_ms| now_ms.saturating_sub(tried_ms) < AGAIN_AFTER_MS);
        !rests && !self.finding.is_some_and(|finding| finding.holds(now, now_ms))
    }
}

#[derive(Debug)]
struct Awaited {
    token: Token,
    hop: HopId,
    domain: String,
    begun_ms: u64,
}

#[derive(Debug, Default)]
struct Inner {
    questions: BTreeMap<(HopId, String), Question>,
    awaited: VecDeque<Awaited>,
}

/// What is known of all hops.
#[derive(Debug)]
pub(super) struct Validations(Mutex<Inner>);

impl Validations {
    /// As it was kept, for the hops and domains that there are.
    pub(super) fn load(kept: &Kept, settings: &Settings, known: &[Arc<Known>]) -> Self {
        let mut inner = Inner::default();
        let domains: Vec<&str> =
            settings.domains.accepted.iter().filter_map(|domain| domain.exact()).collect();
        for number in 0..u8::try_from(settings.next_hops.len()).unwrap_or(u8::MAX) {
            for domain in domains.iter().take(DOMAINS_MAX) {
                inner.questions.insert((HopId(number), (*domain).to_owned()), Question::default());
            }
        }
        let saved = kept.value(KEY_VALIDATION).map(postcard::from_bytes::<Vec<Saved>>);
        for Saved { hop, domain, at, checks } in saved.and_then(Result::ok).unwrap_or_default() {
            let number = settings.next_hops.iter().position(|other| other.name.as_str() == hop);
            let Some(number) = number.and_then(|number| u8::try_from(number).ok()) else { continue };
            let Some(known) = known.get(usize::from(number)) else { continue };
            known.set_found_out(&domain, Some(checks));
            if let Some(question) = inner.questions.get_mut(&(HopId(number), domain)) {
                question.finding = Some(Finding { checks, at, mono_ms: None });
            }
        }
        Self(Mutex::new(inner))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a report with this token is taken.
    pub(super) fn awaits(&self, token: Token, now_ms: u64) -> bool {
        let is_young = |awaited: &Awaited| now_ms.saturating_sub(awaited.begun_ms) < AWAITED_FOR_MS;
        self.lock().awaited.iter().any(|awaited| awaited.token == token && is_young(awaited))
    }

    /// Whether any report may come.
    pub(super) fn awaits_any(&self, now_ms: u64) -> bool {
        let inner = self.lock();
        inner.awaited.iter().any(|awaited| now_ms.saturating_sub(awaited.begun_ms) < AWAITED_FOR_MS)
    }

    /// The bytes to be kept: as many of what was found out as there is room for.
    fn save(&self, name: impl Fn(HopId) -> String) -> Vec<u8> {
        let inner = self.lock();
        let found = inner.questions.iter().filter_map(|((hop, domain), question)| {
            let Finding { checks, at, .. } = question.finding?;
            Some(Saved { hop: name(*hop), domain: domain.clone(), at, checks })
        });
        let mut saved: Vec<Saved> = found.collect();
        loop {
            // Writing to a vector cannot fail.
            let bytes = postcard::to_extend(&saved, Vec::new()).unwrap_or_default();
            if bytes.len() <= META_VALUE_BYTES_MAX || saved.pop().is_none() {
                return bytes;
            }
        }
    }
}

/// What came of a try.
enum Offered {
    Found(Checks),
    /// Something was said that has nothing to do with the recipient, or nothing was.
    Nothing(String),
    /// We are stopping, or have no random bytes.
    NotAtAll,
}

impl Delivery {
    /// Finds out for good what there is to find out.
    pub(crate) async fn find_out(self: Arc<Self>) {
        if !self.settings.recipients.find_out {
            return;
        }
        loop {
            tokio::time::sleep(host_time(LOOK_EVERY)).await;
            let (mode, hops) = {
                let (now, release) = (self.now(), self.release());
                (release.mode(), release.hops(now).collect::<Vec<HopStatus>>())
            };
            let mut is_changed = false;
            for hop in hops {
                if hop.cause.is_some() {
                    // It may be another server by now.
                    is_changed |= self.forget_findings(hop.id);
                } else if hop.state == State::Healthy
                    && matches!(mode, Mode::Auto | Mode::Drain)
                    && let Some(domain) = self.due(hop.id)
                {
                    is_changed |= self.find_out_about(hop.id, domain).await;
                }
            }
            if is_changed {
                let bytes = self.validations.save(|hop| self.hop_name(hop).to_owned());
                let values = vec![(KEY_VALIDATION.to_vec(), bytes)];
                if let Err(error) = self.state.put(&self.volumes, values, false).await {
                    debug!(%error, "what was found out cannot be kept: it is found out again after a start");
                }
            }
        }
    }

    /// The next domain that is to be asked about.
    fn due(&self, hop: HopId) -> Option<String> {
        let (now, now_ms) = (self.clock.stamp(), self.clock.mono_ms());
        let inner = self.validations.lock();
        let mut of_hop = inner.questions.iter().filter(|((of, _), _)| *of == hop);
        of_hop.find(|(_, question)| question.is_due(&now, now_ms)).map(|((_, domain), _)| domain.clone())
    }

    /// Whether there was something to forget.
    fn forget_findings(&self, hop: HopId) -> bool {
        let mut inner = self.validations.lock();
        let mut forgotten = false;
        for ((_, domain), question) in inner.questions.iter_mut().filter(|((of, _), _)| *of == hop) {
            question.tried_ms = None;
            if question.finding.take().is_some() {
                forgotten = true;
                if let Some(known) = self.known.get(usize::from(hop.0)) {
                    known.set_found_out(domain, None);
                }
            }
        }
        forgotten
    }

    /// Whether something is to be kept.
    async fn find_out_about(&self, hop: HopId, domain: String) -> bool {
        let tried = self.offer_to_nobody(hop, &domain).await;
        let (at, now_ms, name) = (self.clock.stamp(), self.clock.mono_ms(), self.hop_name(hop));
        let told = {
            let mut inner = self.validations.lock();
            let Some(question) = inner.questions.get_mut(&(hop, domain.clone())) else { return false };
            match tried {
                Offered::NotAtAll => return false,
                Offered::Nothing(why) => {
                    info!(
                        code = "PS-D299",
                        hop = name,
                        domain,
                        why,
                        "it cannot be found out whether the next hop looks at recipients"
                    );
                    (question.tried_ms, question.trouble) = (Some(now_ms), Some(why));
                    return false;
                }
                Offered::Found(checks) => {
                    let before = question.finding.map(|finding| finding.checks);
                    let finding = Some(Finding { checks, at, mono_ms: Some(now_ms) });
                    *question = Question { finding, ..Question::default() };
                    (before != Some(checks)).then_some(checks)
                }
            }
        };
        if let Some(checks) = told {
            if let Some(known) = self.known.get(usize::from(hop.0)) {
                known.set_found_out(&domain, Some(checks));
            }
            let found = checks.as_str();
            info!(hop = name, domain, "the next hop {found}");
            let event = Kind::Hop.event(at, None, format!("{name} {found} in {domain}"));
            // Told in the log already; what cannot be recorded now is no reason to stop.
            let _ = self.volumes.record(event).await;
        }
        true
    }

    /// Offers a message to a mailbox that cannot exist.
    async fn offer_to_nobody(&self, hop: HopId, domain: &str) -> Offered {
        let (Some(token), Some(nobody)) = (Token::draw(), Token::draw()) else { return Offered::NotAtAll };
        let host_name = self.settings.system.hostname.as_str();
        let (from, to) = (token.return_path(host_name), format!("{NOBODY}{nobody}@{domain}"));
        let (Ok(sender), Ok(address)) = (Address::parse(&from), Address::parse(&to)) else {
            return Offered::NotAtAll;
        };
        let mut connection = match self.connect(hop).await {
            Ok(connection) => connection,
            Err(found) => {
                return found.map_or(Offered::NotAtAll, |found| Offered::Nothing(found.to_string()));
            }
        };
        let dsn = connection.session().capabilities().dsn;
        let text = text(host_name, &to, token, self.clock.stamp().unix_ms);
        let mail = MailFrom {
            size_bytes: Some(text.len() as u64),
            ret: dsn.then_some(Return::Headers),
            ..MailFrom::new(sender)
        };
        let notify = Notify { success: true, failure: true, delay: false };
        let recipient = Recipient { notify: dsn.then_some(notify), ..Recipient::new(address) };
        {
            let mut inner = self.validations.lock();
            if inner.awaited.len() >= AWAITED_MAX {
                inner.awaited.pop_front();
            }
            let begun_ms = self.clock.mono_ms();
            inner.awaited.push_back(Awaited { token, hop, domain: domain.to_owned(), begun_ms });
        }
        let Sent { taken, .. } = letter::send(&mut connection, &mail, &recipient, text.as_bytes()).await;
        tokio::spawn(connection.quit());
        match taken {
            Ok(_) => Offered::Found(Checks::Never),
            Err(Some(found)) if is_no_such_user(&found.evidence().event) => match found.phase() {
                Phase::Rcpt => Offered::Found(Checks::AtRcpt),
                Phase::Data | Phase::EndOfData => Offered::Found(Checks::AtEnd),
                _ => Offered::Nothing(found.to_string()),
            },
            Err(Some(found)) => Offered::Nothing(found.to_string()),
            Err(None) => Offered::NotAtAll,
        }
    }

    /// A report on a message to nobody has come. Whether it is one.
    pub(super) fn reported_nobody(&self, token: Token, verdict: &ReportVerdict) -> bool {
        let (hop, domain) = {
            let inner = self.validations.lock();
            let Some(awaited) = inner.awaited.iter().find(|awaited| awaited.token == token) else {
                return false;
            };
            (awaited.hop, awaited.domain.clone())
        };
        let hop = self.hop_name(hop);
        match verdict {
            ReportVerdict::Delivered => warn!(
                code = "PS-D285",
                hop,
                domain,
                "mail to a mailbox that cannot exist was delivered: somebody gets all mail for unknown names"
            ),
            ReportVerdict::Failed(why) => {
                debug!(hop, domain, why, "mail to a mailbox that cannot exist was reported back");
            }
            ReportVerdict::Nothing => {}
        }
        true
    }

    /// A hop took a message for these recipients.
    pub(super) fn took_mail_for<'r>(
        &self,
        hop: HopId,
        recipients: impl Iterator<Item = &'r penstock_spool::Recipient>,
    ) {
        let Some(known) = self.known.get(usize::from(hop.0)) else { return };
        for address in recipients.filter_map(|recipient| Address::parse(&recipient.address).ok()) {
            known.took(&address);
        }
    }

    /// What is known of all hops.
    pub(crate) fn validations(&self) -> Vec<ValidationView> {
        let inner = self.validations.lock();
        let view = |((hop, domain), question): (&(HopId, String), &Question)| ValidationView {
            hop: *hop,
            domain: domain.clone(),
            finding: question.finding,
            trouble: question.trouble.clone(),
        };
        inner.questions.iter().map(view).collect()
    }

    /// Whether a recipient is known to be there, by what next hops did with mail for it.
    pub(crate) fn is_known_good(&self, address: &Address<'_>) -> bool {
        self.known.iter().any(|known| known.is_good(address))
    }
}

/// The message. Where somebody gets all mail for unknown names he reads what it is.
fn text(host_name: &str, to: &str, token: Token, unix_ms: u64) -> String {
    own_message(
        host_name,
        to,
        token,
        unix_ms,
        "Penstock asks whether this mailbox exists, can be deleted",
        "Once a day it\r\n\
         offers the server a message to a mailbox that cannot exist, to see whether\r\n\
         the server refuses mail for unknown recipients or takes it.\r\n\
         \r\n\
         Nobody needs to read or answer it, and it can be deleted at once.\r\n",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = HOLDS_FOR_MS;

    fn stamp(unix_ms: u64, trusted: bool) -> Stamp {
        Stamp { unix_ms, boot: 1, trusted }
    }

    #[test]
    fn what_was_found_out_holds_for_a_day_and_after_a_start_only_by_clocks_that_were_right() {
        let (then, now) = (stamp(DAY_MS, true), stamp(2 * DAY_MS - 1, true));
        let finding = |mono_ms| Finding { checks: Checks::Never, at: then, mono_ms };
        assert!(finding(Some(0)).holds(&stamp(0, false), DAY_MS - 1));
        assert!(!finding(Some(0)).holds(&now, DAY_MS));
        assert!(finding(None).holds(&now, 5));
        assert!(!finding(None).holds(&stamp(2 * DAY_MS, true), 5));
        assert!(!finding(None).holds(&stamp(2 * DAY_MS - 1, false), 5));
    }

    #[test]
    fn an_answer_that_says_nothing_is_asked_for_again_an_hour_later() {
        let now = stamp(DAY_MS, true);
        let mut question = Question::default();
        assert!(question.is_due(&now, 0));
        question.tried_ms = Some(1000);
        assert!(!question.is_due(&now, 1000 + AGAIN_AFTER_MS - 1));
        assert!(question.is_due(&now, 1000 + AGAIN_AFTER_MS));
    }

    const SETTINGS: &str = "[system]\nhostname = \"mx.example.org\"\n\
        [domains]\naccepted = [\"*.example.com\", \"example.org\", \"example.net\"]\n\
        [[next_hop]]\nname = \"one\"\naddress = \"192.0.2.25\"\n[[next_hop]]\nname = \"two\"\naddress = \"192.0.2.26\"\n";

    #[test]
    fn it_is_kept_by_the_names_of_hops_and_only_what_there_still_is_counts() {
        let settings = Settings::parse(SETTINGS).unwrap();
        let known = || vec![Arc::new(Known::default()), Arc::new(Known::default())];
        let fresh = Validations::load(&Kept::default(), &settings, &known());
        assert_eq!(fresh.lock().questions.len(), 4, "each hop, each domain that has a name of its own");
        let key = (HopId(1), "example.org".to_owned());
        let finding = Finding { checks: Checks::AtEnd, at: stamp(7, true), mono_ms: Some(9) };
        fresh.lock().questions.get_mut(&key).unwrap().finding = Some(finding);
        let names = ["one", "two"];
        let bytes = fresh.save(|hop| names[usize::from(hop.0)].to_owned());
        let kept = Kept::of([(KEY_VALIDATION.to_vec(), bytes)]);
        let swapped =
            SETTINGS.replace("\"one\"", "\"x\"").replace("\"two\"", "\"one\"").replace("\"x\"", "\"two\"");
        let again = Validations::load(&kept, &Settings::parse(&swapped).unwrap(), &known());
        let found: Vec<_> = again
            .lock()
            .questions
            .iter()
            .filter_map(|((hop, domain), question)| Some((*hop, domain.clone(), question.finding?.checks)))
            .collect();
        assert_eq!(found, [(HopId(0), "example.org".to_owned(), Checks::AtEnd)]);
        let other = SETTINGS.replace("example.org\"]", "other.example\"]").replace("\"two\"", "\"three\"");
        let none = Validations::load(&kept, &Settings::parse(&other).unwrap(), &known());
        assert!(none.lock().questions.values().all(|question| question.finding.is_none()));
    }

    #[test]
    fn what_is_kept_has_room_whatever_there_is() {
        let domains: Vec<String> = (0..16).map(|n| format!("\"{n}{}.example\"", "d".repeat(60))).collect();
        let settings = SETTINGS.replace("\"example.org\"", &domains.join(", "));
        let settings = Settings::parse(&settings).unwrap();
        let all = Validations::load(&Kept::default(), &settings, &[]);
        for question in all.lock().questions.values_mut() {
            question.finding =
                Some(Finding { checks: Checks::Never, at: stamp(u64::MAX, true), mono_ms: None });
        }
        let bytes = all.save(|_| "h".repeat(32));
        assert!(
            bytes.len() <= META_VALUE_BYTES_MAX && bytes.len() > META_VALUE_BYTES_MAX / 2,
            "{}",
            bytes.len()
        );
    }

    #[test]
    fn the_message_says_what_it_is() {
        let text = text("box.example.org", "penstock-nobody-1@example.org", Token::draw().unwrap(), 0);
        let message = mail_parser::MessageParser::default().parse(&text).unwrap();
        assert!(message.subject().unwrap().contains("can be deleted") && !text.contains("Suppress: All"));
        assert!(text.lines().all(|line| line.len() <= 78), "RFC 5322 §2.1.1");
    }
}
