//! What a site is: every quantity that Microsoft's documentation names, with the value that it has after installation.

use std::collections::{BTreeMap, BTreeSet};

use crate::curve::Curve;
use crate::pressure::POLL_MS;
use crate::random::Random;
use crate::units::{DAY, HOUR, MINUTE, SECOND};

/// Which SMTP service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Face {
    /// Port 25 of 2013 and later: answers MAIL and RCPT itself and opens the back end at DATA.
    FrontEnd,
    /// 2010, or port 2525: the transport service itself.
    Direct,
    /// The Edge Transport role: direct, with its own limits.
    Edge,
}

/// Where in a transaction the back end's trouble shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// At MAIL.
    Mail,
    /// At DATA, or at the first BDAT.
    Data,
    /// At the end of data.
    End,
}

/// Whether the server is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It answers.
    Up,
    /// Connections are refused.
    Down,
    /// Connections are taken and nothing is ever said.
    BlackHole,
}

/// What a server that is not itself says of the site's mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setup {
    /// It is configured.
    Done,
    /// No accepted domain: 5.7.54 at RCPT.
    NoDomain,
    /// Unable to relay: 5.7.1 at RCPT.
    NoRelay,
    /// No anonymous permission: 530 at MAIL.
    NoAnonymous,
    /// The transport component is inactive: 421 in place of the banner.
    InactiveAtBanner,
    /// The same, seen at MAIL as 412.
    InactiveAtMail,
}

/// Who is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Directory {
    /// Every address of the accepted domains is a mailbox.
    Full,
    /// Nobody is.
    Empty,
    /// This share of them, 0 to 1: always the same ones.
    Partly(f64),
}

/// How the counters are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counters {
    /// As a current windows_exporter serves them.
    Full,
    /// As older ones do: without the submission queue and the totals.
    Old,
    /// The collector finds nothing.
    Missing,
    /// What was true when they froze.
    Frozen,
}

/// Limits of the receive connector and of the organisation.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) connections_max: usize,
    pub(crate) per_source_max: usize,
    pub(crate) source_share_percent: usize,
    pub(crate) session_ms: u64,
    pub(crate) idle_ms: u64,
    pub(crate) messages_per_minute: Option<u32>,
    pub(crate) tarpit_ms: u64,
    pub(crate) errors_max: u32,
    pub(crate) recipients_max: usize,
    pub(crate) size_bytes: u64,
    pub(crate) header_bytes: u64,
    pub(crate) hops_max: usize,
    pub(crate) organisation_bytes: u64,
    /// The organisation's limit is found out by the categorizer, after 250.
    pub(crate) organisation_reports: bool,
}

/// What a message costs, and what there is to pay it with.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Messages of cost 1 that the categorizer does in a second.
    pub(crate) capacity: Curve,
    /// Copies that each database takes in a second.
    pub(crate) delivery: Curve,
    /// Messages a second of the organisation's own.
    pub(crate) background: Curve,
    pub(crate) cost_per_mib: f64,
    pub(crate) cost_per_recipient: f64,
    /// The cost of a message varies by up to this share.
    pub(crate) cost_noise: f64,
    /// How long the end of data takes: the queue database, and the shadow copy.
    pub(crate) commit_ms: u64,
}

/// What the resources stand at, and how thresholds are scaled.
#[derive(Clone, Debug)]
pub(crate) struct Resources {
    /// Percent.
    pub(crate) queue_drive: Curve,
    pub(crate) log_drive: Curve,
    /// Percent, before what the queue adds.
    pub(crate) private_bytes: Curve,
    pub(crate) private_bytes_per_mib: f64,
    /// Before what the queue adds.
    pub(crate) version_buckets: Curve,
    pub(crate) version_buckets_per_mib: f64,
    pub(crate) system_memory: Curve,
    /// Multiplies the thresholds that are numbers of messages and of buckets.
    pub(crate) scale: f64,
    /// How often the delay at medium grows.
    pub(crate) delay_step_ms: u64,
}

/// Who gets mail, and how it ends.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) host: String,
    pub(crate) domains: Vec<String>,
    pub(crate) directory: Directory,
    /// Explicit exceptions to the directory: known or not.
    pub(crate) known: BTreeMap<String, bool>,
    pub(crate) contacts: BTreeSet<String>,
    /// Mailboxes that keep what they get, so that it can be read back.
    pub(crate) probes: BTreeSet<String>,
    pub(crate) databases: usize,
    /// Mailboxes that are not where their name puts them.
    pub(crate) places: BTreeMap<String, usize>,
    pub(crate) dismounted: BTreeSet<usize>,
    /// Messages a minute that a mailbox bears.
    pub(crate) throttled: BTreeMap<String, u32>,
    pub(crate) retry_ms: u64,
    pub(crate) expire_ms: u64,
    /// How long duplicates are recognised; 0: never.
    pub(crate) duplicates_ms: u64,
}

/// What the receive connector shows to whoever says STARTTLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// Which of the keys that the server has had.
    pub(crate) key: u32,
    /// How often it was renewed with that key.
    pub(crate) renewals: u32,
    /// STARTTLS is offered, and no handshake works.
    pub(crate) broken: bool,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    pub(crate) presence: Presence,
    pub(crate) setup: Setup,
    /// The recipient filter judges whole messages.
    pub(crate) recipient_filter: bool,
    pub(crate) poison: Option<String>,
    pub(crate) spam: Option<String>,
    /// This many replies to the end of data will be lost.
    pub(crate) lose_replies: u32,
    pub(crate) proxy_broken: bool,
    pub(crate) shadow_broken: bool,
    pub(crate) bdat_hangs: bool,
}

/// Everything that a command can change.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) face: Face,
    pub(crate) smtputf8: bool,
    /// Without one there is no STARTTLS.
    pub(crate) certificate: Option<Certificate>,
    /// Keys that there have been for certificates.
    pub(crate) keys_made: u32,
    /// `None`: as the face has it.
    pub(crate) refuse_at: Option<Stage>,
    pub(crate) delay_at: Option<Stage>,
    pub(crate) limits: Limits,
    pub(crate) load: Load,
    pub(crate) resources: Resources,
    pub(crate) site: Site,
    pub(crate) faults: Faults,
    pub(crate) counters: Counters,
}

/// What a resource stands at on a healthy server: far from any threshold.
pub(crate) const AT_EASE_PERCENT: f64 = 40.0;

impl Default for Config {
    fn default() -> Self {
        Self {
            face: Face::FrontEnd,
            smtputf8: false,
            certificate: None,
            keys_made: 0,
            refuse_at: None,
            delay_at: None,
            // Receive connector defaults.
            limits: Limits {
                connections_max: 5000,
                per_source_max: 20,
                source_share_percent: 2,
                session_ms: 10 * MINUTE,
                idle_ms: 5 * MINUTE,
                messages_per_minute: None,
                tarpit_ms: 5 * SECOND,
                errors_max: 5,
                recipients_max: 200,
                size_bytes: 37_748_736,
                header_bytes: 256 * 1024,
                hops_max: 30,
                organisation_bytes: 10 * 1_048_576,
                organisation_reports: false,
            },
            load: Load {
                capacity: Curve::Fixed(50.0),
                delivery: Curve::Fixed(200.0),
                background: Curve::Fixed(0.0),
                cost_per_mib: 0.5,
                cost_per_recipient: 0.1,
                cost_noise: 0.2,
                commit_ms: 20,
            },
            resources: Resources {
                queue_drive: Curve::Fixed(AT_EASE_PERCENT),
                log_drive: Curve::Fixed(AT_EASE_PERCENT),
                private_bytes: Curve::Fixed(AT_EASE_PERCENT),
                private_bytes_per_mib: 0.0,
                version_buckets: Curve::Fixed(0.0),
                version_buckets_per_mib: 0.0,
                system_memory: Curve::Fixed(AT_EASE_PERCENT),
                scale: 1.0,
                delay_step_ms: POLL_MS,
            },
            site: Site {
                host: "exchange.example.com".into(),
                domains: vec!["example.com".into()],
                directory: Directory::Full,
                known: BTreeMap::new(),
                contacts: BTreeSet::new(),
                probes: BTreeSet::new(),
                databases: 3,
                places: BTreeMap::new(),
                dismounted: BTreeSet::new(),
                throttled: BTreeMap::new(),
                retry_ms: 5 * MINUTE,
                expire_ms: 48 * HOUR,
                duplicates_ms: 7 * DAY,
            },
            faults: Faults {
                presence: Presence::Up,
                setup: Setup::Done,
                recipient_filter: false,
                poison: None,
                spam: None,
                lose_replies: 0,
                proxy_broken: false,
                shadow_broken: false,
                bdat_hangs: false,
            },
            counters: Counters::Full,
        }
    }
}

impl Config {
    /// Where delays show. The front end opens the back end at DATA.
    pub(crate) fn delay_stage(&self) -> Stage {
        let usual = if self.face == Face::FrontEnd { Stage::Data } else { Stage::Mail };
        self.delay_at.unwrap_or(usual)
    }

    /// From where on refusals show.
    pub(crate) fn refusal_stage(&self) -> Stage {
        let usual = if self.face == Face::FrontEnd { Stage::End } else { Stage::Mail };
        self.refuse_at.unwrap_or(usual)
    }

    /// Becomes another role, with its limits.
    pub(crate) fn set_face(&mut self, face: Face) {
        self.face = face;
        let edge = face == Face::Edge;
        self.limits.session_ms = if edge { 5 * MINUTE } else { 10 * MINUTE };
        self.limits.idle_ms = if edge { MINUTE } else { 5 * MINUTE };
        self.limits.messages_per_minute = edge.then_some(600);
    }

    /// Draws what one site has and another has not, and says what it drew.
    pub(crate) fn draw(&mut self, random: &mut Random) -> String {
        self.resources.scale = random.factor(0.2, 3.0);
        let share = random.between(0.0, 0.3);
        if let Curve::Fixed(capacity) = self.load.capacity {
            self.load.background = Curve::Fixed(share * capacity);
        }
        self.load.cost_per_mib = random.factor(0.1, 2.0);
        self.load.cost_per_recipient = random.factor(0.02, 0.5);
        self.load.cost_noise = random.between(0.05, 0.5);
        self.load.commit_ms = random.between(5.0, 60.0) as u64;
        format!(
            "scale {:.2}, background {} a second, cost {:.2} per MiB and {:.2} per recipient, noise {:.2}, \
             commit {} ms",
            self.resources.scale,
            self.load.background,
            self.load.cost_per_mib,
            self.load.cost_per_recipient,
            self.load.cost_noise,
            self.load.commit_ms
        )
    }
}
