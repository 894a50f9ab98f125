//! The transport service behind the sessions: submission queue, categorizer, and the polls of the resource monitor.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use crate::config::Config;
use crate::directory::Who;
use crate::fluid::Fluid;
use crate::line::domain_of;
use crate::message::{Delivering, Envelope, Message, Recipient};
use crate::pressure::{POLL_MS, Pressure};
use crate::random::Random;
use crate::report::{Report, ReportKind, date};
use crate::store::{Outcome, Store};
use crate::totals::Totals;
use crate::units::MINUTE;

/// Reports that are remembered one by one.
const REPORTS_MAX: usize = 1_000_000;
const MIB: f64 = 1_048_576.0;

/// What waits in the submission queue.
#[derive(Debug)]
enum Entry {
    /// The organisation's own mail, of which only the work matters.
    Own,
    Mail(Arc<Message>),
}

/// A message for the outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) to: String,
    pub(crate) bytes: Vec<u8>,
}

/// Everything behind the sessions.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) config: Config,
    pub(crate) random: Random,
    pub(crate) pressure: Pressure,
    pub(crate) store: Store,
    pub(crate) totals: Totals,
    pub(crate) reports: Vec<Report>,
    pub(crate) outgoing: VecDeque<Outgoing>,
    epoch_s: i64,
    submission: Fluid<Entry>,
    submission_bytes: u64,
    poll_at_ms: u64,
    /// When the organisation's own messages come, up to the next poll.
    background: VecDeque<u64>,
    last_id: u64,
    /// Of each source, when its messages of the last minute began.
    rates: BTreeMap<IpAddr, VecDeque<u64>>,
    /// When a throttled mailbox bears the next message.
    throttles: BTreeMap<String, u64>,
}

impl Transport {
    pub(crate) fn new(seed: u64, epoch_s: i64) -> Self {
        Self {
            config: Config::default(),
            random: Random::seeded(seed),
            pressure: Pressure::new(),
            store: Store::new(),
            totals: Totals::default(),
            reports: Vec::new(),
            outgoing: VecDeque::new(),
            epoch_s,
            submission: Fluid::new(),
            submission_bytes: 0,
            poll_at_ms: POLL_MS,
            background: VecDeque::new(),
            last_id: 0,
            rates: BTreeMap::new(),
            throttles: BTreeMap::new(),
        }
    }

    pub(crate) fn date(&self, now_ms: u64) -> String {
        date(self.epoch_s, now_ms)
    }

    pub(crate) fn submission_len(&self) -> usize {
        self.submission.len()
    }

    pub(crate) fn next_event_ms(&self) -> u64 {
        let others =
            [self.background.front().copied(), self.submission.next_event_ms(), self.store.next_event_ms()];
        others.into_iter().flatten().fold(self.poll_at_ms, u64::min)
    }

    /// Does what is due. Time does not go beyond the next event in one step.
    pub(crate) fn advance(&mut self, now_ms: u64) {
        if self.poll_at_ms <= now_ms {
            self.poll_at_ms = now_ms + POLL_MS;
            self.poll(now_ms);
        }
        while self.background.pop_front_if(|at_ms| *at_ms <= now_ms).is_some() {
            self.totals.background += 1;
            let cost = self.cost(0, 1);
            self.submission.push(now_ms, &self.config.load.capacity, cost, Entry::Own);
        }
        while let Some(entry) = self.submission.pop(now_ms, &self.config.load.capacity) {
            if let Entry::Mail(message) = entry {
                self.categorize(now_ms, &message);
            }
        }
        for outcome in self.store.advance(now_ms, &self.config.site, &self.config.load) {
            match outcome {
                Outcome::Delivered(copy) => self.delivered(now_ms, &copy),
                Outcome::Expired(copy) => {
                    self.report(now_ms, &copy.message, &copy.recipient, ReportKind::Expired);
                }
            }
        }
    }

    fn poll(&mut self, now_ms: u64) {
        let resources = &self.config.resources;
        let queued_mib = self.submission_bytes as f64 / MIB;
        let readings = [
            resources.queue_drive.at(now_ms),
            resources.log_drive.at(now_ms),
            resources.private_bytes.at(now_ms) + resources.private_bytes_per_mib * queued_mib,
            self.submission.len() as f64,
            resources.version_buckets.at(now_ms) + resources.version_buckets_per_mib * queued_mib,
            resources.system_memory.at(now_ms),
        ];
        self.pressure.poll(readings, resources.scale, resources.delay_step_ms);
        self.expire_submissions(now_ms);
        self.rates.retain(|_, began| {
            began.retain(|at_ms| at_ms + MINUTE > now_ms);
            !began.is_empty()
        });
        self.throttles.retain(|_, at_ms| *at_ms > now_ms);
        let rate = self.config.load.background.at(now_ms);
        if rate > 0.0 {
            let mut at_ms = now_ms as f64 + self.random.exponential(1000.0 / rate);
            while at_ms < (now_ms + POLL_MS) as f64 {
                self.background.push_back(at_ms.ceil() as u64);
                at_ms += self.random.exponential(1000.0 / rate);
            }
        }
    }

    /// What a message costs the categorizer.
    fn cost(&mut self, len_bytes: u64, recipients: usize) -> f64 {
        let load = &self.config.load;
        let noise = load.cost_noise;
        let usual = 1.0
            + load.cost_per_mib * len_bytes as f64 / MIB
            + load.cost_per_recipient * recipients.saturating_sub(1) as f64;
        usual * self.random.between(1.0 - noise, 1.0 + noise)
    }

    /// Another number for something that is counted.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Takes a message into the submission queue.
    pub(crate) fn submit(&mut self, now_ms: u64, mut message: Message) {
        message.accepted_ms = now_ms;
        let cost = self.cost(message.len_bytes, message.envelope.recipients.len());
        self.submission_bytes += message.len_bytes;
        self.submission.push(now_ms, &self.config.load.capacity, cost, Entry::Mail(Arc::new(message)));
    }

    /// Resolves the recipients of a message whose turn has come.
    fn categorize(&mut self, now_ms: u64, message: &Arc<Message>) {
        self.left_submission(now_ms, message);
        let limits = &self.config.limits;
        let too_large = limits.organisation_reports && message.len_bytes > limits.organisation_bytes;
        for recipient in &message.envelope.recipients {
            if too_large {
                self.report(now_ms, message, recipient, ReportKind::TooLarge);
                continue;
            }
            let who = self.config.site.who(&recipient.address);
            let copy = Delivering {
                message: Arc::clone(message),
                recipient: recipient.clone(),
                is_mailbox: matches!(who, Who::Mailbox(_)),
            };
            match who {
                Who::Mailbox(database) => self.store.push(now_ms, database, &self.config.load, copy),
                Who::Contact => {
                    if self.store.deliver(now_ms, "contact".into(), &self.config.site, &copy) {
                        self.delivered(now_ms, &copy);
                    }
                }
                Who::Unknown | Who::Foreign => {
                    self.report(now_ms, message, recipient, ReportKind::UnknownRecipient);
                }
            }
        }
    }

    fn left_submission(&mut self, now_ms: u64, message: &Message) {
        self.submission_bytes = self.submission_bytes.saturating_sub(message.len_bytes);
        self.totals.categorized += 1;
        self.totals.queue_ms += now_ms.saturating_sub(message.accepted_ms);
    }

    /// Exchange expires its own queued mail after two days, in this queue as in others.
    fn expire_submissions(&mut self, now_ms: u64) {
        let expire_ms = self.config.site.expire_ms;
        let expired = |entry: &Entry| match entry {
            Entry::Own => false,
            Entry::Mail(message) => message.accepted_ms + expire_ms <= now_ms,
        };
        // Nothing in the queue is older than its first message.
        if !self.submission.first_that(|entry| matches!(entry, Entry::Mail(_))).is_some_and(expired) {
            return;
        }
        for entry in self.submission.remove_if(now_ms, &self.config.load.capacity, expired) {
            if let Entry::Mail(message) = entry {
                self.left_submission(now_ms, &message);
                for recipient in &message.envelope.recipients {
                    self.report(now_ms, &message, recipient, ReportKind::Expired);
                }
            }
        }
    }

    fn delivered(&mut self, now_ms: u64, copy: &Delivering) {
        self.totals.delivered += 1;
        self.totals.delivered_ms += now_ms.saturating_sub(copy.message.accepted_ms);
        if copy.recipient.wants_success {
            self.report(now_ms, &copy.message, &copy.recipient, ReportKind::Delivered);
        }
    }

    /// Tells the sender, if there is one and it wants to know.
    fn report(&mut self, now_ms: u64, message: &Message, recipient: &Recipient, kind: ReportKind) {
        let wanted = match kind {
            ReportKind::Delivered => {
                self.totals.success_reports += 1;
                true
            }
            _ => {
                self.totals.ndr_after_250 += 1;
                self.totals.expired += u64::from(kind == ReportKind::Expired);
                recipient.wants_failure
            }
        };
        let report = Report::about(message, recipient, kind, now_ms);
        if wanted && !report.to.is_empty() {
            self.send(now_ms, &report, recipient.original.as_deref());
        }
        if self.reports.len() < REPORTS_MAX {
            self.reports.push(report);
        }
    }

    /// Sends a report to where its addressee is: into our own queue, or outside.
    fn send(&mut self, now_ms: u64, report: &Report, original: Option<&str>) {
        let number = self.next_id();
        let date = self.date(now_ms);
        let bytes = report.to_message(&self.config.site.host, number, &date, original);
        let ours = domain_of(&report.to).is_some_and(|domain| {
            self.config.site.domains.iter().any(|ours| ours.eq_ignore_ascii_case(domain))
        });
        if !ours {
            self.outgoing.push_back(Outgoing { to: report.to.clone(), bytes });
            return;
        }
        let recipient = Recipient {
            address: report.to.to_lowercase(),
            wants_success: false,
            wants_failure: false,
            original: None,
        };
        self.submit(
            now_ms,
            Message {
                id: number,
                source: None,
                envelope: Envelope { recipients: vec![recipient], mail_ms: now_ms, ..Envelope::default() },
                message_id: Some(format!("<report-{number}@{}>", self.config.site.host)),
                date,
                len_bytes: bytes.len() as u64,
                accepted_ms: now_ms,
                kept: bytes,
            },
        );
    }

    /// Whether a source may send another message in this minute. Counts it.
    pub(crate) fn within_rate(&mut self, source: IpAddr, now_ms: u64) -> bool {
        let Some(rate) = self.config.limits.messages_per_minute else { return true };
        let began = self.rates.entry(source).or_default();
        while began.pop_front_if(|at_ms| *at_ms + MINUTE <= now_ms).is_some() {}
        if began.len() >= rate as usize {
            return false;
        }
        began.push_back(now_ms);
        true
    }

    /// Whether a mailbox bears another message now. Counts it.
    pub(crate) fn mailbox_bears(&mut self, address: &str, now_ms: u64) -> bool {
        let Some(rate) = self.config.site.throttled.get(address) else { return true };
        if self.throttles.get(address).is_some_and(|at_ms| *at_ms > now_ms) {
            return false;
        }
        self.throttles.insert(address.to_owned(), now_ms + MINUTE / u64::from(*rate));
        true
    }
}
